/* SPDX-License-Identifier: MIT */
/*
 * server: the threads of the HTTP port, as the transports and the handlers see them.
 *
 * Owner: a gateway thread owns its event_base, its connections and their exchanges;
 * nothing here locks.  Work comes back to a thread as mail: a call's done() runs on any
 * thread and does no more than gateway_post(t, &c->mail) to the exchange's thread.
 *
 * Life: gateway_start() makes all threads, calls gateway_api_start(), then lets the
 * threads run. gateway_stop() stops accepting, has gateway_api_stop() called on thread 0,
 * waits until no request is in flight and nothing is held (at most its grace), then
 * closes every connection; the threads go on delivering mail, so calls that are still
 * under way may end in their own time.  gateway_free() waits for the last hold, ends the
 * threads and calls gateway_api_free().
 */
#ifndef GATEWAY_SERVER_H
#define GATEWAY_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/mailbox.h"
#include "gateway/budget.h"
#include "gateway/gateway.h"
#include "gateway/http.h"

struct hconn_set;  /* gateway/conn.h: the connections of one thread */
struct event_base; /* libevent's */
struct gateway_api;
struct gateway_api_thread;
struct observe;  /* gateway/observe.h */
struct listener; /* gateway/server.c, both */
struct worker;

struct gateway_thread {
    struct gateway *gateway;
    unsigned index;
    struct event_base *base;        /* owned */
    struct mailbox *mailbox;        /* owned; see gateway_post() */
    struct hconn_set *conns;        /* owned */
    struct gateway_api_thread *api; /* the handlers' own, NULL until they set it */
    size_t holds;                   /* gateway_hold()s not yet released */
    atomic_size_t connections;      /* its own, and those on their way to it */
    struct worker *worker;          /* owned */
    struct observe *observe;        /* owned; NULL: nothing is counted (tests) */
};

struct gateway {
    struct gateway_options options; /* limits: defaults are filled in */
    struct backend *backend;        /* = options.backend, and so on */
    struct logger *logger;
    struct metrics *metrics;
    uint64_t started_ns;            /* wall clock */
    struct gateway_thread *threads; /* owned */
    unsigned n_threads;
    struct gateway_api *api;   /* the handlers' own, NULL until they set it */
    struct listener *listener; /* owned */
    struct mailbox *answers;   /* owned; what threads tell the one that stops them */
    atomic_size_t connections; /* of all threads */
    _Atomic uint64_t last_backup_ns; /* wall clock; 0 = none since the start */
    atomic_size_t requests;          /* exchanges whose handlers are limited (route.c) */
    struct budget budget;            /* of bodies and results in memory */
    atomic_bool stopping;
};

/* Any thread.  Hand m to t: m->deliver(m, t) runs there.  Never refused; whoever may
 * still post keeps t alive by gateway_hold() or http_hold(). */
void gateway_post(struct gateway_thread *t, struct mail *m);

/* On t.  Keep the thread running, and gateway_stop() waiting, while something that will
 * post to it is under way.  http_hold() includes it. */
void gateway_hold(struct gateway_thread *t);
void gateway_release(struct gateway_thread *t);

/* For conn.c: one connection more, one fewer. */
void gateway_connection_opened(struct gateway_thread *t);
void gateway_connection_closed(struct gateway_thread *t);

/* A timer of one thread, set and fired there (or set before the threads run).  Fires once
 * per set. */
struct gateway_timer;
MUST_USE enum err gateway_timer_new(struct gateway_timer **out, struct gateway_thread *t,
                                    void (*on_time)(void *arg), void *arg);
void gateway_timer_set(struct gateway_timer *timer,
                       uint64_t after_ns); /* replaces an earlier setting */
void gateway_timer_cancel(struct gateway_timer *timer);
void gateway_timer_free(struct gateway_timer *timer); /* NULL is allowed */

/*
 * What the handlers provide.
 */

/* route.c.  Start serving a request that is complete, body included.  Answered by
 * http_respond() and its like, now or later, exactly once, on x->thread.  x is valid
 * until this returns; to keep it longer (always, when the answer comes later),
 * http_hold() it. */
void gateway_dispatch(struct http_exchange *x);

/* route.c.  Asked before the first byte of a body is taken; all but the body is set.  max
 * is the limit in bytes, 0 = no body is wanted (one that comes is a 413). */
struct http_body_rule gateway_body_rule(struct http_request *r);

/* queue.c.  start: the threads exist but do not run yet, so timers and mail may be set up
 * for any. stop: on thread 0, while all threads still run: whatever waits for a later
 * time starts now, and so does what still comes; must not block.  free: no thread runs
 * any more; also after a failed start. */
MUST_USE enum err gateway_api_start(struct gateway *g, struct why *why);
void gateway_api_stop(struct gateway *g);
void gateway_api_free(struct gateway *g);

#endif
