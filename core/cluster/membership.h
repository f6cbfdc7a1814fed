/* SPDX-License-Identifier: MIT */
/*
 * membership: who belongs to the cluster, as others ask us to change it.
 *
 * The handlers of the calls Join, Notify, Remove and StepDown (proto/cluster.proto), the
 * leader's checks of cluster.md 2.4, the promotion of voters that have caught up, the
 * gathering of a group's first members (bootstrap.c), and the reaping of members nobody
 * can reach (reap.c).
 *
 * Owner: the node thread.  A handler is given its call and ends it in every case; the
 * permission has been checked before.
 */
#ifndef CORE_CLUSTER_MEMBERSHIP_H
#define CORE_CLUSTER_MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/net/server.h"
#include "core/node/call.h"
#include "proto/cluster.pb-c.h"

struct auth;
struct gathering;
struct cluster; /* core/cluster/internal.h; has one of these as c->membership */
struct logger;
struct membership; /* opaque */
struct metrics;
struct node;

struct membership_options {                  /* texts are copied */
    const char *id, *raft_addr;              /* this node's */
    unsigned bootstrap_expect;               /* 0: notifies are ignored */
    uint64_t reap_voter_ms, reap_replica_ms; /* 0 = never */

    struct auth *auth;   /* borrowed; where join_as has its password; NULL = none */
    const char *join_as; /* who asks for a vote; borrowed; NULL = nobody */

    struct node *node;       /* borrowed, as the next two */
    struct logger *logger;   /* may be NULL */
    struct metrics *metrics; /* may be NULL */
};

/* Between node_open() and node_start().  On ERR_OK the caller owns *out. */
MUST_USE enum err membership_new(struct membership **out,
                                 const struct membership_options *o, struct why *why);

/* After node_stop(), when every call has been ended.  NULL is allowed. */
void membership_free(struct membership *m);

/* What notifies have told; NULL without bootstrap_expect. */
struct gathering *cluster_gathering(struct cluster *c);

/* POST /join and /notify.  Any thread.  Not the leader: ERR_NOT_LEADER or ERR_NO_LEADER;
 * an address nobody knows: ERR_UNREACHABLE. */
void cluster_join(struct cluster *c, struct call_join *j);

/* Another node wants to be a member.  Answered when the configuration with it is
 * committed; a reply with leader_addr says: ask there, I am not the leader. */
void membership_on_join(struct cluster *c, struct net_call *call,
                        const Rqlite__JoinRequest *request);

/* Another node would like to found a cluster with us (-bootstrap-expect). */
void membership_on_notify(struct cluster *c, struct net_call *call,
                          const Rqlite__NotifyRequest *request);

/* On the leader; elsewhere ERR_NOT_LEADER. */
void membership_on_remove(struct cluster *c, struct net_call *call,
                          const Rqlite__RemoveRequest *request);
void membership_on_step_down(struct cluster *c, struct net_call *call,
                             const Rqlite__StepDownRequest *request);

#endif
