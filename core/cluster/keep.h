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

struct auth;
struct keeper; /* opaque */
struct logger;
struct node;

struct keeper_options { /* all borrowed */
    struct node *node;
    const char *id, *raft_addr; /* this node's */
    struct auth *auth;          /* where join_as has its password; may be NULL */
    const char *join_as;        /* NULL = nobody */
    struct logger *logger;      /* may be NULL */
};

/* Between node_open() and node_start().  On ERR_OK the caller owns *out. */
MUST_USE enum err keeper_new(struct keeper **out, const struct keeper_options *o,
                             struct why *why);
/* After node_stop().  NULL is allowed. */
void keeper_free(struct keeper *k);

#endif
