/* SPDX-License-Identifier: MIT */
/*
 * ask: one call of the service Cluster on another node, for a thread that may wait for
 * the answer: joining and leaving are a procedure of the main thread.
 *
 * Threads: any but the node's.  The node must not be stopped meanwhile.
 */
#ifndef CORE_CLUSTER_ASK_H
#define CORE_CLUSTER_ASK_H

#include <stdint.h>

#include "core/net/frame.h" /* struct net_hello */
#include "proto/cluster.pb-c.h"

enum { ASK_ADDR_MAX = 262 };

struct node;

struct asker { /* who asks, and how long it waits */
    struct node *node;
    uint32_t connect_ms;         /* 0 = 30 s */
    const char *user, *password; /* NULL = anonymous */
    int cancel_fd;               /* readable: give up, ERR_CANCELLED; -1 = never */
};

/* ERR_NOT_LEADER with the leader's address in leader_addr, ERR_NO_LEADER, and so on. */
MUST_USE enum err ask_join(const struct asker *a, const char *addr,
                           const Rqlite__JoinRequest *q, char leader_addr[ASK_ADDR_MAX],
                           struct why *why);

/* *who, which may be NULL, gets what the node there says of itself. */
MUST_USE enum err ask_notify(const struct asker *a, const char *addr,
                             const Rqlite__NotifyRequest *q, struct net_hello *who,
                             struct why *why);

MUST_USE enum err ask_remove(const struct asker *a, const char *addr,
                             const Rqlite__RemoveRequest *q, struct why *why);

#endif
