/* SPDX-License-Identifier: MIT */
/*
 * forward: one call on its way to the leader and back.
 *
 *     start -> exchange -> (results)* -> finish
 *       ^         |
 *       |         v  refused, not run, or to be repeated
 *       +----- waiting
 *
 * An exchange that certainly had no effect is tried again, where the leader is by then,
 * as often as the call's retries say; without counting, when the node that was asked does
 * not lead any more.  One that may have had an effect is only repeated if it is a write
 * with an id (answers.h), and only with the same leader.
 *
 * Owner: the node thread.
 */
#ifndef CORE_CLUSTER_FORWARD_H
#define CORE_CLUSTER_FORWARD_H

#include "core/cluster/internal.h"
#include "core/node/results.h"
#include "core/cluster/spool.h"
#include "core/cluster/targets.h"

enum forward_kind {
    FORWARD_EXECUTE,
    FORWARD_QUERY,
    FORWARD_REQUEST,
    FORWARD_LOAD,
    FORWARD_BACKUP,
    FORWARD_REMOVE,
    FORWARD_STEP_DOWN,
    FORWARD_KINDS
};

struct forward_room;

struct forward {
    struct list link;    /* cl->forwards */
    struct list waiting; /* cl->waiting, or nowhere */
    struct list in_serials;
    struct cluster *cl;
    struct call *call;
    enum forward_kind kind;

    char leader_id[RAFT_ID_MAX + 1], leader_addr[RAFT_ADDR_MAX + 1];
    struct target *target;       /* one use */
    struct net_channel *channel; /* the target's */
    struct net_request *request;
    int retries_left;
    uint64_t serial;      /* 0: no id */
    bool repeat;          /* the last exchange may have had an effect */
    uint64_t again_ms;    /* waiting: until then */
    uint64_t until_ms;    /* of this exchange; bulk: unless something moves */
    uint64_t patience_ms; /* until then look for who leads now */
    struct why last;      /* how the last exchange failed */

    struct results_reader results;
    struct forward_room *room; /* the sink is full; NULL: it is not */
    uint64_t full_ms;          /* since then */

    struct forward_bulk { /* loads and backups */
        struct spool_job job;
        bool busy;       /* the job is under way */
        int fd;          /* backup: owned until the end; -1 */
        uint64_t offset; /* read or written so far */
        bool sent_first, full;
        uint8_t *piece; /* owned */
        /* What came while the job was under way, and waits until it is back. */
        enum { BULK_GOES_ON, BULK_FINISHED, BULK_FAILED } then;
        struct why then_why;
        bool then_not_run, then_up;
    } bulk;
};

/* Give the call back to its caller. */
void forward_end_call(struct call *c);
/* The end: tell the caller, and free f, now or when its job is back. */
void forward_finish(struct forward *f, enum err code, const char *text);
/* The leader has answered; results are in the sink. */
void forward_succeeded(struct forward *f);
/* The exchange is over; decide what follows. */
void forward_failed(struct forward *f, const struct why *why, bool not_run);
/* The job is back: do what waited for it.  False: the exchange is over. */
bool forward_job_back(struct forward *f);
/* Something moves: the time-out of an exchange in pieces starts again. */
void forward_moves(struct forward *f);
/* A message with results.  False: f is over. */
bool forward_results(struct forward *f, struct net_request *r);
/* The end of a request with results. */
void forward_on_done(struct net_request *r, const struct net_result *result);

/* bulk.c */
MUST_USE enum err forward_bulk_start(struct forward *f, struct net_request_options *o,
                                     struct why *why);
void forward_bulk_fini(struct forward *f);

#endif
