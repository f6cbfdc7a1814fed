/* SPDX-License-Identifier: MIT */
/*
 * What the files of core/cluster share.
 *
 *   cluster.c     opening, closing, the service Cluster
 *   forward.c     calls carried out by the leader: the caller's side
 *   bulk.c        the same for loads and backups
 *   serve.c       and the leader's side: the service Database
 *   transfer.c    the same for loads and backups
 *   answers.c     answers kept for repeats, so that no write is applied twice
 *   results.c     results of statements <-> messages (pure)
 *   targets.c     channels to other nodes
 *   spool.c       files on their way
 *   infos.c       what other nodes say of themselves: /nodes, /readyz, redirects
 *   permit.c      who may do what
 *   membership.h  joining and what follows from it
 */
#ifndef CORE_CLUSTER_INTERNAL_H
#define CORE_CLUSTER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/base/arena.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/base/mailbox.h"
#include "core/base/metrics.h"
#include "core/cluster/answers.h"
#include "core/cluster/cluster.h"
#include "core/cluster/membership.h"
#include "core/net/server.h"
#include "core/node/node.h"
#include "core/raft/raft.h"

struct event;
struct evbuffer;
struct spool;

enum { CLUSTER_TIMEOUT_MS = 30000 }; /* of an exchange, unless the call says otherwise */

struct cluster {
    struct cluster_options o; /* texts copied into names */
    struct arena names;
    struct node *node; /* borrowed, as the next two */
    struct event_base *base;
    struct net *net; /* NULL: this node talks to nobody */

    struct membership *membership; /* owned; membership.h */
    atomic_bool stopping;
    struct mail stop;

    /* The node thread's, all of it. */
    struct list targets;
    struct list forwards; /* calls that wait for another node; forward.c */
    struct list waiting;  /* of them: to be tried again */
    struct list serials;  /* of them: writes whose id is out, by serial */
    uint64_t session, serial;
    struct list asks;       /* infos.c */
    struct list served;     /* answers to other nodes; serve.c */
    struct list loads;      /* loads of theirs being carried out */
    struct list permits;    /* calls whose callers are not known yet; permit.c */
    struct list transfers;  /* files to and from them; transfer.c */
    struct answers answers; /* serve.c */
    struct event *tick;     /* owned; goes while there are waiting or transfers */
    bool ticking;
    struct evbuffer *packed; /* owned; empty between uses */
    struct spool *spool;     /* owned; NULL until used */
    struct {                 /* the leader's HTTP address, as it told us */
        char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];
        char url[CALL_ADDR_MAX];
        uint64_t term;
    } leader;

    pthread_mutex_t late_lock; /* guards late: any thread may add */
    struct mail *late;         /* what the node thread is not there for any more */
};

static inline uint64_t cluster_now_ms(const struct cluster *cl)
{
    return clock_mono_ns(cl->o.clock) / 1000000;
}

/* Have deliver() run on the node thread, or in cluster_free() if that has ended.  Any
 * thread. */
void cluster_post(struct cluster *cl, struct mail *m,
                  void (*deliver)(struct mail *m, void *node));

/* Something waits: look again every CLUSTER_TICK_MS. */
enum {
    CLUSTER_TICK_MS = 20,
    CLUSTER_LIFE_MS = 3000 /* a long work tells its caller that it goes on */
};
void cluster_tick(struct cluster *cl);

/* Time-out of one exchange with another node. */
static inline uint64_t cluster_timeout_ms(const struct call *c)
{
    uint64_t ms = c->timeout_ns > 0 ? (uint64_t)c->timeout_ns / 1000000 : 0;

    return ms ? ms : c->timeout_ns > 0 ? 1 : CLUSTER_TIMEOUT_MS;
}

/* --- forward.c: node thread ------------------------------------------------------- */
bool forwards_tick(struct cluster *cl); /* is there more to wait for? */
void forwards_stop(struct cluster *cl);

/* --- infos.c: node thread --------------------------------------------------------- */
void infos_on_info(struct net_call *c, const ProtobufCMessage *message);
void infos_stop(struct cluster *cl);
/* Fill c->leader_url, then end c as ERR_NOT_LEADER; or as ERR_NO_LEADER. */
void infos_redirect(struct cluster *cl, struct call *c);

/* --- serve.c, transfer.c: node thread --------------------------------------------- */
extern const struct net_method serve_methods[NET_DATABASE_METHODS];
void serve_dropped(struct answers_entry *e); /* answers' on_drop */
bool serve_tick(struct cluster *cl);
void serve_stop(struct cluster *cl);
void serve_free(struct cluster *cl); /* when the node has stopped */
void transfer_on_load(struct net_call *c, const ProtobufCMessage *message);
void transfer_on_backup(struct net_call *c, const ProtobufCMessage *message);
bool transfers_tick(struct cluster *cl);
void transfers_free(struct cluster *cl); /* when node and spool have stopped */

#endif
