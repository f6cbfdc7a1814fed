/* SPDX-License-Identifier: MIT */
/*
 * cluster: one node among others: calls that other nodes answer, and calls of theirs that
 * this one answers; joining, leaving and knowing the members.
 *
 * It stands over a node and has the same calls (call.h).  What this node can answer it
 * answers; the rest goes to the leader over the Raft port, or is redirected.
 *
 * Owner: the node thread, through the node's event loop; the calls below come from any
 * thread.  Order: node_open, cluster_new, node_start ... cluster_stop, node_stop,
 * cluster_free, node_free.
 */
#ifndef CORE_CLUSTER_CLUSTER_H
#define CORE_CLUSTER_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/node/call.h"

struct auth;
struct clock;
struct cluster; /* opaque */
struct logger;
struct metrics;
struct node;

struct cluster_options {
    struct node *node;     /* borrowed */
    const char *id;        /* this node's */
    const char *raft_addr; /* advertised host:port */
    const char *api_url;   /* advertised, with scheme: "http://host:4001" */
    const char *version;
    uint32_t connect_ms; /* to dial another node; 0 = 30 s */

    unsigned bootstrap_expect;               /* 0 = not by gathering */
    uint64_t reap_voter_ms, reap_replica_ms; /* 0 = never */

    /* Who may do what here; borrowed, and stopped before cluster_free().  NULL: everybody
     * may do everything. */
    struct auth *auth;
    const char *join_as; /* whose password this node asks others with; NULL = nobody's */

    const struct clock *clock;
    struct logger *logger;   /* may be NULL */
    struct metrics *metrics; /* may be NULL */
};

/* Put the services Database and Cluster on the node's server.  After node_open() and
 * before node_start(), one per node.  Texts are copied.  On ERR_OK the caller owns *out
 * and ends it with cluster_free(). */
MUST_USE enum err cluster_new(struct cluster **out, const struct cluster_options *o,
                              struct why *why);

/* End every exchange with other nodes: calls that wait for one fail, readers that send
 * rows to one give up.  Before node_stop(), which would wait for them.  Any thread; safe
 * to call twice. */
void cluster_stop(struct cluster *cl);

/* After node_stop() and before node_free().  NULL is allowed. */
void cluster_free(struct cluster *cl);

/* --- calls: any thread; see call.h ------------------------------------------------ */

/*
 * Served here if this node can, else by the leader: forwarded with the call's user,
 * password, time-out and retries, and answered as the leader answered; or, with redirect,
 * failed as ERR_NOT_LEADER with leader_url.  ERR_NO_LEADER if nobody is known to lead.
 *
 * A write is never applied twice.  When its outcome cannot be known the call fails with a
 * top-level error that says so.
 */
void cluster_execute(struct cluster *cl, struct call_execute *c);
void cluster_query(struct cluster *cl, struct call_query *c);
void cluster_request(struct cluster *cl, struct call_query *c);
void cluster_load(struct cluster *cl, struct call_load *c);
void cluster_backup(struct cluster *cl, struct call_backup *c);
void cluster_remove(struct cluster *cl, struct call_remove *c);
void cluster_step_down(struct cluster *cl, struct call_step_down *c);

/* The node's status, and "http.cluster.conn_pool_stats" of the channels to others. */
void cluster_status(struct cluster *cl, struct call_status *c);

/* Every member asked for its details, at the same time. */
void cluster_nodes(struct cluster *cl, struct call_nodes *c);
void cluster_ready(struct cluster *cl, struct call_ready *c);

#endif
