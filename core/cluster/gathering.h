/* SPDX-License-Identifier: MIT */
/*
 * gathering: the nodes that have announced themselves for a new cluster
 * (-bootstrap-expect, cluster.md 5).
 *
 * The node thread adds them; the thread that starts the node waits for enough of them.
 *
 * Threads: any; a mutex guards a short list.
 */
#ifndef CORE_CLUSTER_GATHERING_H
#define CORE_CLUSTER_GATHERING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct gathering; /* opaque */
struct raft_config;

/* On ERR_OK the caller owns *out. */
MUST_USE enum err gathering_new(struct gathering **out, unsigned expect, struct why *why);
void gathering_free(struct gathering *g); /* NULL is allowed */

/* Are more wanted?  Not once gathering_close() was called. */
bool gathering_open(struct gathering *g);
void gathering_close(struct gathering *g);

/* This node is there; it says that it belongs to this cluster, 0 = to none.  False when
 * out of memory. */
bool gathering_add(struct gathering *g, const char *id, const char *addr,
                   uint64_t cluster_id);

/* It was met elsewhere and said so.  Counts for nothing if it has not announced itself.
 */
void gathering_met(struct gathering *g, const char *id, uint64_t cluster_id);

/* How many there are. */
size_t gathering_count(struct gathering *g);

/* Readable once as many are there as are expected. */
int gathering_fd(const struct gathering *g);

/* The first cluster's configuration: the expect smallest IDs, all voters.  ERR_NOT_FOUND
 * if there are not that many.  ERR_EXISTS if one of those that are there belongs to
 * another cluster than the one this would make: it has data, or others got ahead with
 * another set. */
MUST_USE enum err gathering_config(struct gathering *g, struct raft_config *out,
                                   struct why *why);

/* The id of a cluster founded with this configuration: the same on every node, another
 * for another configuration, never 0.  Pure. */
uint64_t gathering_cluster_id(const struct raft_config *c);

#endif
