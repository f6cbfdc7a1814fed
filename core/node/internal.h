/* SPDX-License-Identifier: MIT */
/*
 * What the files of core/node share: the node's parts and who owns them.
 *
 *   node.c      opening, the threads, closing
 *   calls.c     requests from other threads, and their way through the threads
 *   loads.c     databases loaded and backups taken (on reader threads)
 *   status.c    what /status tells
 *   figures.c   what /metrics tells besides
 */
#ifndef CORE_NODE_INTERNAL_H
#define CORE_NODE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/base/arena.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/base/mailbox.h"
#include "core/base/metrics.h"
#include "core/base/rand.h"
#include "core/node/applier.h"
#include "core/node/member.h"
#include "core/node/node.h"
#include "core/node/readers.h"
#include "core/node/space.h"
#include "core/raft/raft.h"
#include "core/wal/wal.h"

struct event;
struct event_base;
struct net;
struct maintenance;
struct net_server;
struct peers;
struct snapshots;

struct node {
    struct node_options o; /* texts copied into names */
    struct arena names;
    char scratch_dir[4096], db_path[4096];

    struct raft *raft;     /* owned; node thread */
    struct member *member; /* owned; node thread */
    struct wal *wal; /* owned; wal thread, or the node thread while that one is idle */
    struct db *db;   /* owned; apply thread */
    struct applier *applier; /* owned; apply thread */
    struct readers *readers; /* owned; any thread submits */

    struct mailbox *box, *wal_box, *apply_box; /* owned */
    pthread_t thread, wal_thread, apply_thread;
    bool started, wal_started, apply_started, thread_started;
    struct event_base *base;
    struct net *net; /* owned, as the next two; node thread; NULL without raft_bind */
    struct net_server *server;
    struct peers *peers;
    struct snapshots *snapshots;     /* owned; node thread */
    struct maintenance *maintenance; /* owned; node thread */
    _Atomic uint64_t
        cluster_id; /* 0 = not part of a cluster yet; set by the node thread */
    struct event *box_event, *timer, *turn_end;
    uint64_t timer_ms;     /* when the timer will fire; UINT64_MAX = not set */
    uint64_t last_wall;    /* the leader's clock never runs backwards */
    struct rand rand;      /* seeds of entries; node thread */
    struct space space;    /* for the log; node thread */
    bool ending;           /* node thread: leave the loop */
    uint64_t first_commit; /* when a leader was first heard; node thread, as the next */
    bool was_member;       /* of some configuration; node thread, as the next two */
    bool halted;           /* removed from the cluster, and told to stop then */
    struct call *changes;  /* of membership, waiting for their turn, oldest first */
    bool trying_changes;
    struct call *handing_over; /* wait for a transfer of leadership to end */
    size_t at_wal; /* jobs the wal thread has; while there are none the wal may be used
                      here */
    uint64_t slow_disk_until_ms; /* the wal thread syncs everything until then */
    struct mail *own_jobs, **own_jobs_end; /* jobs this thread carries out itself */

    struct applied_mail { /* the apply thread's report; at most one is on its way */
        struct mail mail;
        _Atomic uint64_t changes, index, hash;
        atomic_bool posted, wanted;
    } applied;
    atomic_bool applying;    /* the apply thread is at work */
    _Atomic uint64_t lag_ns; /* of the newest entry applied: since the leader took it */

    struct {
        struct mail mail;
        struct why why;
    } not_applied; /* an entry could not be applied; the apply thread's, then ours */

    /* Published by the node thread, read by any. */
    atomic_bool open, is_leader, has_leader, caught_up;
    _Atomic uint64_t term, strong_read_term, commit, last_contact_ms, last_index;
    atomic_bool failed;
    atomic_bool joining; /* not ready yet, whatever else is so */

    pthread_mutex_t
        lock; /* guards what follows: short texts that any thread may ask for */
    char leader_id[RAFT_ID_MAX + 1], leader_addr[RAFT_ADDR_MAX + 1];
    pthread_cond_t lock_changed; /* broadcast when the leader changes or catches up */
    struct {                     /* for /nodes, from any thread */
        struct raft_member *members;
        size_t n;
        uint64_t index;
    } view;

    uint64_t start_wall_ns;
};

static inline uint64_t node_now_ms(const struct node *n)
{
    return clock_mono_ns(n->o.clock) / 1000000;
}

/* Fail a call at once, from whatever thread. */
void call_fail(struct call *c, enum err code, const char *text);
/* The same, because another node leads, or nobody. */
void call_not_leader(struct node *n, struct call *c);

/* Changes of membership that wait, one at a time: try the next, drop what has waited too
 * long.  After each turn, and at the deadline.  Node thread, as the next. */
void calls_changes(struct node *n);
uint64_t calls_changes_deadline_ms(const struct node *n);
void calls_changes_fail(struct node *n);

/* A transfer of leadership has ended: answer who waits for it.  Node thread. */
void calls_handed_over(struct node *n, enum err code, const char *text);

/* Post a proposal that the node makes itself (chunks of a load). */
void node_propose(struct node *n, struct call_execute *c, uint8_t type);

/* This node belongs to that cluster from now on, also after a restart.  Node thread. */
MUST_USE enum err node_set_cluster_id(struct node *n, uint64_t id, struct why *why);

/* Add what the node thread knows to "store"; called there. */
void status_from_node(struct node *n, struct doc *store);
/* The rest, on a reader's thread. */
void status_from_reader(struct node *n, struct doc *store, struct db_reader *r);

/* Add "figures" to "store": numbers for /metrics that /status does not show.  Node
 * thread. */
void figures_from_node(struct node *n, struct doc *store);

#endif
