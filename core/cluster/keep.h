/* SPDX-License-Identifier: MIT */
/*
 * keep: a member that wants to vote keeps asking for it until it may.
 *
 * The leader that took it in as a non-voter may stop leading before the promotion
 * (promote.h); the next one knows nothing of the wish.  So a node that finds itself a
 * non-voter for a while, though it was not started as one, asks whoever leads now: the
 * same join request, which changes nothing where it is granted already.
 *
 * Owner: the node thread.
 */
#ifndef CORE_CLUSTER_KEEP_H
#define CORE_CLUSTER_KEEP_H

#include "core/base/err.h"

struct keeper; /* opaque */
struct logger;
struct node;

/* id and raft_addr are this node's, borrowed.  Between node_open() and node_start().  On
 * ERR_OK the caller owns *out. */
MUST_USE enum err keeper_new(struct keeper **out, struct node *n, const char *id,
                             const char *raft_addr, struct logger *logger,
                             struct why *why);
/* After node_stop().  NULL is allowed. */
void keeper_free(struct keeper *k);

#endif
