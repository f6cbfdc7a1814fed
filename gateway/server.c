/* SPDX-License-Identifier: MIT */
/*
 * Thread 0 accepts and hands each connection to the thread that has the fewest.  (With
 * SO_REUSEPORT the kernel would choose by a hash: of eight connections one thread may get
 * six.  A connection is accepted once and serves many requests, so handing it over costs
 * nothing that counts.)
 *
 * How threads stop.  The one that stops them posts an order to each; a thread answers
 * when what was ordered has come true for it.
 *
 *      DRAIN   finish what was begun     answered when it has no connections and no holds
 *      SETTLE  nothing more              likewise: work may have come from a thread that
 * was later CLOSE   close all connections     answered at once END     leave the loop
 * answered when it has no holds
 */
#include "gateway/server.h"

#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/logger.h"
#include "gateway/conn.h"
#include "gateway/observe.h"

enum {
    BACKLOG = 4096,
    ACCEPTS = 64,     /* in one go */
    RETRY_MS = 100,   /* after accept() was refused descriptors */
    FILES_KEPT = 256, /* descriptors that connections leave to the rest of the process */
    CONNECTIONS_MIN = 64,
    CONNECTIONS_MAX = 100000,
    FREE_WAIT_MS = 10000, /* gateway_free() for calls that are still under way */
    CLOSE_WAIT_MS = 5000
};

#define HEADER_BYTES 1052672u
#define BODY_BYTES   (256u << 20)

enum order { ORDER_DRAIN, ORDER_SETTLE, ORDER_CLOSE, ORDER_END, ORDERS };

struct notice { /* an order, or its answer */
    struct mail mail;
    enum order order;
};

struct worker {
    pthread_t id;
    bool running;
    struct event *mail_event; /* owned */
    struct notice orders[ORDERS], answers[ORDERS];
    bool owes[ORDERS]; /* ordered, not yet answered */
};

struct listener {
    struct gateway_thread *thread;
    int fd; /* owned */
    unsigned port, next;
    struct event *event, *retry; /* owned */
    bool refused;                /* the lack of descriptors was reported */
    atomic_bool full;            /* paused at the limit of connections */
    struct mail resume;
};

/* --- mail, holds, timers
 * ----------------------------------------------------------------- */

static bool order_is_done(const struct gateway_thread *t, enum order order)
{
    if (order == ORDER_CLOSE) return true;
    if (order == ORDER_END) return t->holds == 0;
    return t->holds == 0 && t->conns->count == 0;
}

static void answer_orders(struct gateway_thread *t)
{
    struct worker *w = t->worker;

    if (!w) return; /* a thread of a test, without a loop of its own */
    for (enum order o = 0; o < ORDERS; o++) {
        if (!w->owes[o] || !order_is_done(t, o)) continue;
        w->owes[o] = false;
        if (o == ORDER_END) event_base_loopbreak(t->base);
        CHECK(mailbox_post_always(t->gateway->answers, &w->answers[o].mail) == ERR_OK);
    }
}

void gateway_post(struct gateway_thread *t, struct mail *m)
{
    CHECK(mailbox_post_always(t->mailbox, m) == ERR_OK);
}

void gateway_hold(struct gateway_thread *t)
{
    t->holds++;
}

void gateway_release(struct gateway_thread *t)
{
    CHECK(t->holds > 0);
    if (--t->holds == 0) answer_orders(t);
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct gateway_thread *t = arg;
    struct mail *m, *next;

    (void)fd, (void)what;
    hconn_set_enter(t->conns);
    for (m = mailbox_take(t->mailbox); m; m = next) {
        next = m->next;
        m->deliver(m, t);
    }
    hconn_set_leave(t->conns);
}

struct gateway_timer {
    struct gateway_thread *thread;
    struct event *event; /* owned */
    void (*on_time)(void *arg);
    void *arg;
};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct gateway_timer *timer = arg;
    struct hconn_set *conns = timer->thread->conns;

    (void)fd, (void)what;
    hconn_set_enter(conns);
    timer->on_time(timer->arg); /* may free it */
    hconn_set_leave(conns);
}

enum err gateway_timer_new(struct gateway_timer **out, struct gateway_thread *t,
                           void (*on_time)(void *arg), void *arg)
{
    struct gateway_timer *timer = calloc(1, sizeof *timer);

    *out = timer;
    if (!timer) return ERR_NOMEM;
    timer->thread = t;
    timer->on_time = on_time;
    timer->arg = arg;
    timer->event = event_new(t->base, -1, 0, on_timer, timer);
    if (timer->event) return ERR_OK;
    free(timer);
    *out = NULL;
    return ERR_NOMEM;
}

void gateway_timer_set(struct gateway_timer *timer, uint64_t after_ns)
{
    uint64_t us = (after_ns + 999) / 1000;
    struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};

    event_add(timer->event, &tv);
}

void gateway_timer_cancel(struct gateway_timer *timer)
{
    event_del(timer->event);
}

void gateway_timer_free(struct gateway_timer *timer)
{
    if (!timer) return;
    event_free(timer->event);
    free(timer);
}

/* --- accepting
 * --------------------------------------------------------------------------- */

void gateway_connection_opened(struct gateway_thread *t)
{
    atomic_fetch_add(&t->connections, 1);
    atomic_fetch_add(&t->gateway->connections, 1);
}

void gateway_connection_closed(struct gateway_thread *t)
{
    struct gateway *g = t->gateway;
    struct listener *l = g->listener;

    atomic_fetch_sub(&t->connections, 1);
    atomic_fetch_sub(&g->connections, 1);
    if (l && atomic_load(&l->full) && atomic_exchange(&l->full, false))
        gateway_post(l->thread, &l->resume);
    answer_orders(t);
}

struct arrival {
    struct mail mail;
    int fd;
};

static void serve(struct gateway_thread *t, int fd)
{
    if (hconn_open(t, fd))
        logger_warn(t->gateway->logger, "http", "out of memory for a connection");
}

static void arrive(struct mail *m, void *taker)
{
    struct arrival *a = LIST_ITEM(m, struct arrival, mail);

    serve(taker, a->fd);
    gateway_connection_closed(
        taker); /* it was counted when it set out, and once more on arrival */
    free(a);
}

static struct gateway_thread *least_busy(struct gateway *g, unsigned first)
{
    struct gateway_thread *best = &g->threads[first % g->n_threads];

    for (unsigned i = 1; i < g->n_threads; i++) {
        struct gateway_thread *t = &g->threads[(first + i) % g->n_threads];

        if (atomic_load(&t->connections) < atomic_load(&best->connections)) best = t;
    }
    return best;
}

static void hand_over(struct listener *l, int fd)
{
    struct gateway_thread *t = least_busy(l->thread->gateway, l->next++);
    struct arrival *a;

    if (t == l->thread) {
        serve(t, fd);
        return;
    }
    a = malloc(sizeof *a);
    if (!a) {
        close(fd);
        return;
    }
    a->fd = fd;
    a->mail.deliver = arrive;
    gateway_connection_opened(t);
    gateway_post(t, &a->mail);
}

/* At the limit?  Then accepting is paused until a connection ends. */
static bool is_full(struct listener *l)
{
    struct gateway *g = l->thread->gateway;
    uint64_t max = g->options.limits.connections;

    if (atomic_load(&g->connections) < max) return false;
    atomic_store(&l->full, true);
    /* One that ended just before may not have seen the mark. */
    if (atomic_load(&g->connections) < max && atomic_exchange(&l->full, false))
        return false;
    event_del(l->event);
    return true;
}

static void out_of_files(struct listener *l)
{
    struct timeval tv = {0, RETRY_MS * 1000};

    if (!l->refused)
        logger_warn(l->thread->gateway->logger, "http", "accept: %s; waiting",
                    strerror(errno));
    l->refused = true;
    event_del(l->event);
    event_add(l->retry, &tv);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct listener *l = arg;

    (void)what;
    hconn_set_enter(l->thread->conns);
    for (int i = 0; i < ACCEPTS && !is_full(l); i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client >= 0) {
            l->refused = false;
            hand_over(l, client);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
                   errno == ENOMEM) {
            out_of_files(l);
            break;
        } else if (errno == EAGAIN) {
            break;
        } /* else: it was gone before we took it */
    }
    hconn_set_leave(l->thread->conns);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct listener *l = arg;

    (void)fd, (void)what;
    event_add(l->event, NULL);
}

static void on_resume(struct mail *m, void *taker)
{
    struct listener *l = LIST_ITEM(m, struct listener, resume);

    (void)taker;
    if (l->fd >= 0) event_add(l->event, NULL);
}

/* "host:port" -> its parts; an empty host = NULL. */
static bool split_addr(const char *addr, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(addr, ':');
    size_t len;

    if (!colon) return false;
    *port = colon + 1;
    len = (size_t)(colon - addr);
    if (len >= 2 && addr[0] == '[' && addr[len - 1] == ']') {
        addr++;
        len -= 2;
    }
    if (len >= size) return false;
    memcpy(host, addr, len);
    host[len] = '\0';
    return true;
}

/* The words of the operating system as the reference writes them. */
static enum err bind_failed(struct why *why, const char *addr, const char *call)
{
    int saved = errno;
    char text[128];

    snprintf(text, sizeof text, "%s", strerror(saved));
    text[0] = (char)tolower((unsigned char)text[0]);
    return why_set(why, ERR_IO, "listen tcp %s: %s: %s", addr, call, text);
}

static enum err bind_one(int *out, const struct addrinfo *ai, bool any, struct why *why)
{
    char host[256] = "", port[32] = "", text[300];
    int fd, on = 1, off = 0;
    const char *call = "socket";

    getnameinfo(ai->ai_addr, ai->ai_addrlen, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    if (any)
        snprintf(text, sizeof text, ":%s", port);
    else
        snprintf(text, sizeof text, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return bind_failed(why, text, call);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof on); /* accepted ones inherit it */
    if (ai->ai_family == AF_INET6 && any)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    call = "bind";
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0) {
        call = "listen";
        if (listen(fd, BACKLOG) == 0) {
            *out = fd;
            return ERR_OK;
        }
    }
    bind_failed(why, text, call);
    close(fd);
    return ERR_IO;
}

/* An address of that family in the list, or NULL. */
static const struct addrinfo *of_family(const struct addrinfo *ai, int family)
{
    while (ai && ai->ai_family != family) ai = ai->ai_next;
    return ai;
}

static enum err bind_addr(int *out, const char *addr, struct why *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
    const struct addrinfo *four, *six;
    const char *port;
    char host[256];
    bool any;
    enum err e = ERR_IO;
    int gai;

    if (!split_addr(addr, host, sizeof host, &port))
        return why_set(why, ERR_INVALID,
                       "listen tcp: address %s: missing port in address", addr);
    any = host[0] == '\0';
    gai = getaddrinfo(any ? NULL : host, port, &hints, &list);
    if (gai)
        return why_set(why, ERR_IO, "listen tcp: lookup %s: %s", host, gai_strerror(gai));
    four = of_family(list, AF_INET);
    six = of_family(list, AF_INET6);
    /* All interfaces: both families on one socket, where there is IPv6.  A name: IPv4
     * first. */
    if (any && six) e = bind_one(out, six, any, why);
    if (e && four) e = bind_one(out, four, any, why);
    if (e && !any && !four && six) e = bind_one(out, six, any, why);
    freeaddrinfo(list);
    return e;
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;

    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0) return 0;
    if (a.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
    return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

static void listener_close(struct listener *l)
{
    if (!l || l->fd < 0) return;
    if (l->event) event_free(l->event);
    if (l->retry) event_free(l->retry);
    l->event = l->retry = NULL;
    close(l->fd);
    l->fd = -1;
}

static enum err listener_open(struct listener **out, struct gateway_thread *t,
                              const char *addr, struct why *why)
{
    struct listener *l = calloc(1, sizeof *l);
    enum err e;

    if (!l) return why_set(why, ERR_NOMEM, "out of memory for a listener");
    l->thread = t;
    l->fd = -1;
    l->resume.deliver = on_resume;
    e = bind_addr(&l->fd, addr, why);
    if (!e) {
        l->port = port_of(l->fd);
        l->event = event_new(t->base, l->fd, EV_READ | EV_PERSIST, on_accept, l);
        l->retry = event_new(t->base, -1, 0, on_retry, l);
        if (!l->event || !l->retry || event_add(l->event, NULL) != 0)
            e = why_set(why, ERR_NOMEM, "out of memory for a listener");
    }
    if (e) {
        listener_close(l);
        free(l);
        return e;
    }
    *out = l;
    return ERR_OK;
}

/* --- threads
 * ----------------------------------------------------------------------------- */

static void obey(struct mail *m, void *taker)
{
    struct notice *n = LIST_ITEM(m, struct notice, mail);
    struct gateway_thread *t = taker;

    if (n->order == ORDER_DRAIN) {
        if (t->index == 0) {
            listener_close(t->gateway->listener);
            gateway_api_stop(t->gateway);
        }
        hconn_set_drain(t->conns);
    }
    if (n->order == ORDER_CLOSE) hconn_set_close_all(t->conns);
    t->worker->owes[n->order] = true;
    answer_orders(t);
}

static enum err thread_init(struct gateway_thread *t, struct gateway *g, unsigned index,
                            struct why *why)
{
    struct event_config *config = event_config_new();
    struct worker *w = calloc(1, sizeof *w);
    enum err e;

    t->gateway = g;
    t->index = index;
    t->worker = w;
    if (config && w) {
        event_config_set_flag(config,
                              EVENT_BASE_FLAG_NOLOCK); /* nobody else touches it */
        t->base = event_base_new_with_config(config);
    }
    if (config) event_config_free(config);
    if (!t->base) return why_set(why, ERR_NOMEM, "out of memory for a gateway thread");
    for (enum order o = 0; o < ORDERS; o++) {
        w->orders[o] = (struct notice){.mail.deliver = obey, .order = o};
        w->answers[o] = (struct notice){.order = o};
    }
    e = mailbox_new(&t->mailbox, 0, true, why);
    if (!e) e = hconn_set_new(&t->conns, t, why);
    if (!e) e = observe_new(&t->observe, t, why);
    if (e) return e;
    w->mail_event =
        event_new(t->base, mailbox_fd(t->mailbox), EV_READ | EV_PERSIST, on_mail, t);
    if (!w->mail_event || event_add(w->mail_event, NULL) != 0)
        return why_set(why, ERR_NOMEM, "out of memory for a gateway thread");
    return ERR_OK;
}

static void thread_fini(struct gateway_thread *t)
{
    hconn_set_free(t->conns);
    observe_free(t->observe);
    if (t->worker && t->worker->mail_event) event_free(t->worker->mail_event);
    mailbox_free(t->mailbox);
    if (t->base) event_base_free(t->base);
    free(t->worker);
}

static void *thread_main(void *arg)
{
    struct gateway_thread *t = arg;

    event_base_loop(t->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

static enum err thread_run(struct gateway_thread *t, struct why *why)
{
    struct worker *w = t->worker;
    sigset_t all, before;
    int e;

    /* Signals are for the main thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    e = pthread_create(&w->id, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e) {
        errno = e;
        return why_errno(why, "start a gateway thread");
    }
    w->running = true;
    return ERR_OK;
}

/* Order it from every thread and wait for the answers.  False: not all came in time. */
static bool order(struct gateway *g, enum order what, unsigned wait_ms)
{
    const struct clock *clock = clock_real();
    uint64_t end_ms = clock_mono_ns(clock) / 1000000 + wait_ms;
    unsigned answers = 0, wanted = 0;

    for (unsigned i = 0; i < g->n_threads; i++) {
        if (!g->threads[i].worker->running) continue;
        gateway_post(&g->threads[i], &g->threads[i].worker->orders[what].mail);
        wanted++;
    }
    while (answers < wanted) {
        uint64_t now_ms = clock_mono_ns(clock) / 1000000;
        struct mail *m;

        if (now_ms > end_ms) return false;
        m = mailbox_wait(g->answers, (int)(end_ms - now_ms));
        for (; m; m = m->next) /* late answers to earlier orders may be among them */
            if (LIST_ITEM(m, struct notice, mail)->order == what) answers++;
    }
    return true;
}

/* --- the gateway
 * ------------------------------------------------------------------------- */

static unsigned usable_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return (unsigned)CPU_COUNT(&set);
}

/* As many as the process may have files, less what the database needs. */
static uint64_t default_connections(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur < CONNECTIONS_MIN + FILES_KEPT)
        return CONNECTIONS_MIN;
    if (r.rlim_cur > CONNECTIONS_MAX + FILES_KEPT) return CONNECTIONS_MAX;
    return r.rlim_cur - FILES_KEPT;
}

static void set_default(uint64_t *field, uint64_t value)
{
    if (*field == 0) *field = value;
}

/* HTTP API 16 */
static void set_limits(struct gateway_options *o)
{
    set_default(&o->limits.header_bytes, HEADER_BYTES);
    set_default(&o->limits.body_bytes, BODY_BYTES);
    set_default(&o->limits.connections, default_connections());
    set_default(&o->limits.header_ms, 10 * 1000);
    set_default(&o->limits.idle_ms, 120 * 1000);
    set_default(&o->limits.stall_ms, 60 * 1000);
}

/* Everything but the end of threads that run. */
static void destroy(struct gateway *g, bool api)
{
    if (api) gateway_api_free(g);
    listener_close(g->listener);
    free(g->listener);
    g->listener = NULL;
    for (unsigned i = 0; g->threads && i < g->n_threads; i++) thread_fini(&g->threads[i]);
    free(g->threads);
    mailbox_free(g->answers);
    free(g);
}

static enum err threads_init(struct gateway *g, struct why *why)
{
    enum err e = mailbox_new(&g->answers, 0, false, why);

    if (e) return e;
    g->threads = calloc(g->n_threads, sizeof *g->threads);
    if (!g->threads)
        return why_set(why, ERR_NOMEM, "out of memory for the gateway's threads");
    for (unsigned i = 0; !e && i < g->n_threads; i++)
        e = thread_init(&g->threads[i], g, i, why);
    return e;
}

enum err gateway_start(struct gateway **out, const struct gateway_options *o,
                       struct why *why)
{
    struct gateway *g = calloc(1, sizeof *g);
    enum err e;

    *out = NULL;
    if (!g) return why_set(why, ERR_NOMEM, "out of memory for the gateway");
    g->options = *o;
    set_limits(&g->options);
    g->budget.max = g->options.limits.memory;
    g->backend = o->backend;
    g->logger = o->logger;
    g->metrics = o->metrics;
    g->started_ns = clock_wall_ns(clock_real());
    g->n_threads = o->threads > 0 ? o->threads : usable_cores();

    e = threads_init(g, why);
    if (!e) e = listener_open(&g->listener, &g->threads[0], o->bind_addr, why);
    if (e) {
        destroy(g, false);
        return e;
    }
    e = gateway_api_start(g, why);
    for (unsigned i = 0; !e && i < g->n_threads; i++) e = thread_run(&g->threads[i], why);
    if (e) {
        order(g, ORDER_END, FREE_WAIT_MS);
        for (unsigned i = 0; i < g->n_threads; i++)
            if (g->threads[i].worker->running)
                pthread_join(g->threads[i].worker->id, NULL);
        destroy(g, true);
        return e;
    }
    *out = g;
    return ERR_OK;
}

static unsigned left_ms(uint64_t end_ms)
{
    uint64_t now_ms = clock_mono_ns(clock_real()) / 1000000;

    return now_ms < end_ms ? (unsigned)(end_ms - now_ms) : 0;
}

void gateway_stop(struct gateway *g, unsigned grace_ms)
{
    uint64_t end_ms = clock_mono_ns(clock_real()) / 1000000 + grace_ms;

    if (atomic_exchange(&g->stopping, true)) return;
    if (!order(g, ORDER_DRAIN, grace_ms) || !order(g, ORDER_SETTLE, left_ms(end_ms)))
        logger_warn(g->logger, "http",
                    "closing connections whose requests have not finished");
    if (!order(g, ORDER_CLOSE, CLOSE_WAIT_MS))
        logger_error(g->logger, "http", "a gateway thread does not answer");
}

void gateway_free(struct gateway *g)
{
    if (!g) return;
    gateway_stop(g, 0);
    if (!order(g, ORDER_END, FREE_WAIT_MS)) {
        /* Whoever holds a thread will still post to it: rather lose the memory. */
        logger_error(g->logger, "http", "calls are still under way; left behind");
        return;
    }
    for (unsigned i = 0; i < g->n_threads; i++)
        pthread_join(g->threads[i].worker->id, NULL);
    destroy(g, true);
}

unsigned gateway_port(const struct gateway *g)
{
    return g->listener->port;
}
