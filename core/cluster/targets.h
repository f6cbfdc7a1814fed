/* SPDX-License-Identifier: MIT */
/*
 * targets: the other nodes we call, and the channels to them.
 *
 * One target per node id; its channels dial when they are first used.  A target whose
 * node is no member any more goes when nobody uses it.  Owner: the node thread.
 */
#ifndef CORE_CLUSTER_TARGETS_H
#define CORE_CLUSTER_TARGETS_H

#include <stdbool.h>

#include "core/base/list.h"
#include "core/net/client.h"
#include "core/raft/raft.h"

struct cluster;
struct doc;

struct target {
    struct list link;
    struct cluster *cluster;
    char id[RAFT_ID_MAX + 1];
    struct net_channel *call, *bulk; /* owned; made when first asked for */
    unsigned users;
    bool up;   /* the connection for calls */
    bool lost; /* it broke, and nobody has called since */
};

/* The node of this id.  On ERR_OK one use is the caller's, who ends it with
 * target_drop().  ERR_NOMEM. */
MUST_USE enum err target_use(struct target **out, struct cluster *cl, const char *id,
                             struct why *why);
void target_drop(struct target *t); /* NULL is allowed */

/* NET_CALL or NET_BULK; to this address from now on.  Valid as long as the use.
 * ERR_INVALID (no such form of address), ERR_NOMEM. */
MUST_USE enum err target_channel(struct net_channel **out, struct target *t,
                                 const char *addr, enum net_class class, struct why *why);

/* Word a failure to reach a node as clients know it: "dial tcp 10.0.0.2:4002: connect:
 * connection refused". */
void target_cause(struct why *why);

/* Add http.cluster.conn_pool_stats to the root of /status, with a member for each address
 * that a channel leads to (HTTP API 12.2), if there is any. */
void targets_status(const struct cluster *cl, struct doc *root);

/* Close all: requests left fail before this returns.  Nobody may ask for more. */
void targets_close(struct cluster *cl);
void targets_free(struct cluster *cl);

#endif
