/* SPDX-License-Identifier: MIT */
/*
 * promote: makes voters of members that have caught up (cluster.md 2.4).
 *
 * A voter that lacks the log only makes writes slower and a majority harder to find; so
 * one that joins is a non-voter until it has what the leader had a moment ago.
 *
 * Owner: the node thread.  What is wanted here is forgotten when this node stops leading;
 * who still wants to vote then asks the next leader (keep.h).
 */
#ifndef CORE_CLUSTER_PROMOTE_H
#define CORE_CLUSTER_PROMOTE_H

#include "core/base/err.h"

struct logger;
struct node;
struct promoter; /* opaque */

/* On ERR_OK the caller owns *out. */
MUST_USE enum err promoter_new(struct promoter **out, struct node *n,
                               struct logger *logger, struct why *why);
/* After node_stop().  NULL is allowed. */
void promoter_free(struct promoter *p);

/* This member wants to be a voter.  Wanted twice is wanted once. */
MUST_USE enum err promoter_want(struct promoter *p, const char *id);

/* It does not any more. */
void promoter_forget(struct promoter *p, const char *id);

#endif
