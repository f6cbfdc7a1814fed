/* SPDX-License-Identifier: MIT */
/*
 * libevent does not give away the descriptor that it waits on, so rqlite_fd() is an epoll
 * set of our own with the same descriptors in it, and a timer for the earliest of the
 * loop's timers.  After each round it is brought up to date from what libevent says is
 * registered; there are but a few.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clients/c/internal.h"

enum {
    FDS_MAX = NODES_MAX * 2 + 16, /* a connection each, and those that linger */
    TIMER_MAX_MS = 5000 /* libevent tells times of day, which may be set meanwhile */
};

struct loop_fd {
    int epoll, timer;
    struct watch {
        int fd;
        uint32_t events; /* EPOLLIN, EPOLLOUT; 0: no more */
    } watches[FDS_MAX];
    size_t n;
    struct timeval next; /* of the timers */
    bool has_next, overflow;
};

/* --- SIGPIPE ---------------------------------------------------------------------- */

/* Writing to a connection that the other side has closed must not end the program. */
struct pipe_guard {
    sigset_t before;
    bool pending;
};

static void guard_begin(struct pipe_guard *g)
{
    sigset_t set, pending;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigpending(&pending);
    g->pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &set, &g->before);
}

static void guard_end(const struct pipe_guard *g)
{
    static const struct timespec now;
    sigset_t set, pending;

    sigpending(&pending);
    if (!g->pending && sigismember(&pending, SIGPIPE) == 1) {
        sigemptyset(&set);
        sigaddset(&set, SIGPIPE);
        while (sigtimedwait(&set, NULL, &now) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &g->before, NULL);
}

/* --- the descriptor --------------------------------------------------------------- */

static void watch(struct loop_fd *f, int fd, uint32_t events)
{
    size_t i = 0;

    while (i < f->n && f->watches[i].fd != fd) i++;
    if (i == FDS_MAX) {
        f->overflow = true;
        return;
    }
    if (i == f->n) f->watches[f->n++] = (struct watch){.fd = fd};
    f->watches[i].events |= events;
}

static int see_event(const struct event_base *base, const struct event *e, void *arg)
{
    struct loop_fd *f = arg;
    int what = event_pending(e, EV_READ | EV_WRITE, NULL);
    struct timeval at;

    (void)base;
    if (what & (EV_READ | EV_WRITE))
        watch(f, event_get_fd(e),
              (what & EV_READ ? EPOLLIN : 0U) | (what & EV_WRITE ? EPOLLOUT : 0U));
    if (event_pending(e, EV_TIMEOUT, &at) &&
        (!f->has_next || evutil_timercmp(&at, &f->next, <))) {
        f->has_next = true;
        f->next = at;
    }
    return 0;
}

/* A descriptor may have been closed and its number taken by another since the last time,
 * which takes it out of the set: so each is set anew. */
static void apply_watches(struct loop_fd *f)
{
    size_t kept = 0;

    for (size_t i = 0; i < f->n; i++) {
        struct watch *w = &f->watches[i];
        struct epoll_event e = {.events = w->events, .data.fd = w->fd};

        if (w->events == 0) {
            (void)epoll_ctl(f->epoll, EPOLL_CTL_DEL, w->fd, NULL);
            continue;
        }
        if (epoll_ctl(f->epoll, EPOLL_CTL_MOD, w->fd, &e) != 0 && errno == ENOENT)
            (void)epoll_ctl(f->epoll, EPOLL_CTL_ADD, w->fd, &e);
        f->watches[kept++] = *w;
    }
    f->n = kept;
}

static void set_timer(struct loop_fd *f, bool now)
{
    struct itimerspec t = {0};
    struct timeval today;
    int64_t us = INT64_C(1000) * TIMER_MAX_MS, left;

    evutil_gettimeofday(&today, NULL);
    if (f->has_next && !now) { /* of an active event libevent tells no true time */
        left = (int64_t)(f->next.tv_sec - today.tv_sec) * 1000000 +
               (f->next.tv_usec - today.tv_usec);
        if (left < us) us = left;
    }
    if (now || us <= 0) us = 1;
    if (f->has_next || now) {
        t.it_value.tv_sec = us / 1000000;
        t.it_value.tv_nsec = us % 1000000 * 1000;
    }
    (void)timerfd_settime(f->timer, 0, &t, NULL);
}

static void update(struct rqlite *db)
{
    struct loop_fd *f = db->fd;

    if (f == NULL) return;
    for (size_t i = 0; i < f->n; i++) f->watches[i].events = 0;
    f->has_next = f->overflow = false;
    event_base_foreach_event(db->base, see_event, f);
    apply_watches(f);
    set_timer(f, f->overflow || !list_empty(&db->ready) ||
                     event_base_get_num_events(db->base, EVENT_BASE_COUNT_ACTIVE) > 0);
}

static void fd_close(struct loop_fd *f)
{
    if (f == NULL) return;
    if (f->epoll >= 0) close(f->epoll);
    if (f->timer >= 0) close(f->timer);
    free(f);
}

int rqlite_fd(struct rqlite *db)
{
    struct loop_fd *f = db->fd;
    struct epoll_event e = {.events = EPOLLIN};

    if (f) return f->epoll;
    f = calloc(1, sizeof *f);
    if (f == NULL) return -1;
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    f->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (f->epoll < 0 || f->timer < 0 ||
        epoll_ctl(f->epoll, EPOLL_CTL_ADD, f->timer, &e) != 0) {
        fd_close(f);
        return -1;
    }
    db->fd = f;
    update(db);
    return f->epoll;
}

/* --- the loop --------------------------------------------------------------------- */

void loop_forget_interrupt(struct rqlite *db)
{
    uint64_t n;

    /* Nothing in it: it has been read already. */
    if (read(db->interrupt_fd, &n, sizeof n) < 0) return;
}

static void on_interrupt(evutil_socket_t fd, short what, void *arg)
{
    struct rqlite *db = arg;

    (void)fd;
    (void)what;
    loop_forget_interrupt(db);
    for (struct list *l = db->calls.next; l != &db->calls; l = l->next)
        rqlite_cancel(LIST_ITEM(l, struct rqlite_call, all));
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config == NULL) return NULL;
    /* No environment: what RQLITE's host sets for its own libevent is not for us. */
    if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0 &&
        event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

enum rqlite_code loop_open(struct rqlite *db, struct rqlite_error *error)
{
    db->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (db->interrupt_fd < 0)
        return error_set(error, RQLITE_NOMEM, "eventfd: %s", strerror(errno));
    db->base = new_base();
    if (db->base == NULL) return error_set(error, RQLITE_NOMEM, "no event loop");
    event_assign(&db->interrupt, db->base, db->interrupt_fd, EV_READ | EV_PERSIST,
                 on_interrupt, db);
    db->interrupt_set_up = true;
    if (event_add(&db->interrupt, NULL) != 0)
        return error_set(error, RQLITE_NOMEM, "out of memory");
    return RQLITE_OK;
}

void loop_close(struct rqlite *db)
{
    fd_close(db->fd);
    db->fd = NULL;
    if (db->interrupt_set_up) event_del(&db->interrupt);
    if (db->base) event_base_free(db->base);
    if (db->interrupt_fd >= 0) close(db->interrupt_fd);
}

void loop_turn(struct rqlite *db, bool wait)
{
    struct pipe_guard guard;

    guard_begin(&guard);
    event_base_loop(db->base, EVLOOP_ONCE | (wait ? 0 : EVLOOP_NONBLOCK));
    guard_end(&guard);
}

void loop_changed(struct rqlite *db)
{
    if (!db->telling) update(db); /* else once, when all have been told */
}

void rqlite_interrupt(struct rqlite *db)
{
    uint64_t one = 1;
    int before = errno;

    /* Full: it has been interrupted already. */
    if (write(db->interrupt_fd, &one, sizeof one) < 0) errno = before;
}
