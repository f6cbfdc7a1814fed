/* SPDX-License-Identifier: MIT */
/*
 * reap: the leader removes members that it has not heard for too long (cluster.md 9).
 *
 * Silence is measured by this leader in its own term, so a new leader starts the clock
 * anew.  A removal needs a quorum like any other change, so no leader reaps itself out of
 * one.
 *
 * Owner: the node thread.
 */
#ifndef CORE_CLUSTER_REAP_H
#define CORE_CLUSTER_REAP_H

#include <stdint.h>

#include "core/base/err.h"

struct logger;
struct metrics;
struct node;
struct reaper; /* opaque */

struct reaper_options {
    struct node *node;             /* borrowed, as the next two */
    struct logger *logger;         /* may be NULL */
    struct metrics *metrics;       /* may be NULL */
    uint64_t voter_ms, replica_ms; /* 0 = never */
};

/* On ERR_OK the caller owns *out. */
MUST_USE enum err reaper_new(struct reaper **out, const struct reaper_options *o,
                             struct why *why);
/* After node_stop().  NULL is allowed. */
void reaper_free(struct reaper *r);

#endif
