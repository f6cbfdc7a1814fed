/* SPDX-License-Identifier: MIT */
#include "gateway/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "gateway/http1.h"
#include "gateway/http2.h"
#include "gateway/tls.h"

enum {
    IN_MAX = 64 * 1024,     /* input held back before we stop reading */
    IN_STEP = 16 * 1024,    /* read at once into a connection's own buffer */
    SPARE_MAX = 128 * 1024, /* a larger output buffer is not kept */
    TURNS = 16,             /* refills of the output before others get a turn */
    LINGER_MS = 5000,
    TICK_MIN_MS = 5,
    TICK_MAX_MS = 1000
};

/* --- the socket
 * -------------------------------------------------------------------------- */

static ssize_t socket_recv(struct hconn *c, void *out, size_t cap)
{
    ssize_t n;

    do n = recv(c->fd, out, cap, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

static ssize_t socket_send(struct hconn *c, const struct iovec *v, int n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)n};
    ssize_t sent;

    do sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static void socket_shutdown(struct hconn *c)
{
    shutdown(c->fd, SHUT_WR);
}

static void socket_close(struct hconn *c, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (reset) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    c->fd = -1;
}

const struct hconn_io hconn_plain_io = {
    .recv = socket_recv,
    .send = socket_send,
    .shutdown = socket_shutdown,
    .close = socket_close,
};

static void want_read(struct hconn *c, bool on)
{
    if (c->reading == on || c->fd < 0) return;
    c->reading = on;
    if (on)
        event_add(&c->read_event, NULL);
    else
        event_del(&c->read_event);
}

/* writing is also how we know that the last write was cut short. */
static void want_write(struct hconn *c, bool on)
{
    if (c->writing == on) return;
    c->writing = on;
    if (c->fd < 0) return;
    if (on)
        event_add(&c->write_event, NULL);
    else
        event_del(&c->write_event);
}

/* --- output
 * ------------------------------------------------------------------------------ */

struct buf *hconn_out(struct hconn *c)
{
    struct hconn_set *s = c->set;

    CHECK(!c->tail);
    if (!c->out.data && s->n_spare > 0) c->out = s->spare[--s->n_spare];
    hconn_mark(c);
    return &c->out;
}

static void out_release(struct hconn *c)
{
    struct hconn_set *s = c->set;

    c->out_pos = 0;
    if (!c->out.data) return;
    if (s->n_spare < CONN_SPARES && c->out.cap <= SPARE_MAX) {
        buf_clear(&c->out);
        s->spare[s->n_spare++] = c->out;
        buf_init(&c->out, 0);
    } else {
        buf_fini(&c->out);
    }
}

static void tail_release(struct hconn *c)
{
    free(c->tail);
    c->tail = NULL;
    budget_return(&c->set->thread->gateway->budget, &c->tail_held);
    c->tail_len = c->tail_pos = 0;
}

void hconn_send_tail(struct hconn *c, uint8_t *data, size_t len)
{
    CHECK(!c->tail);
    c->tail = data;
    c->tail_len = len;
    hconn_mark(c);
}

size_t hconn_unsent(const struct hconn *c)
{
    return c->out.len - c->out_pos + c->tail_len - c->tail_pos;
}

static void sent(struct hconn *c, size_t n)
{
    size_t of_out = c->out.len - c->out_pos;

    c->progress = true;
    if (n < of_out) {
        c->out_pos += n;
        return;
    }
    c->out_pos = c->out.len;
    c->tail_pos += n - of_out;
}

/* True when nothing is left to send. */
static bool write_out(struct hconn *c)
{
    if (buf_error(&c->out)) {
        hconn_close(c, true);
        return false;
    }
    while (hconn_unsent(c) > 0) {
        struct iovec v[2];
        int n = 0;
        ssize_t done;

        if (c->out_pos < c->out.len)
            v[n++] = (struct iovec){c->out.data + c->out_pos, c->out.len - c->out_pos};
        if (c->tail_pos < c->tail_len)
            v[n++] = (struct iovec){c->tail + c->tail_pos, c->tail_len - c->tail_pos};
        done = c->io->send(c, v, n);
        if (done < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                want_write(c, true);
            else
                hconn_close(c, true);
            return false;
        }
        sent(c, (size_t)done);
    }
    out_release(c);
    tail_release(c);
    return true;
}

/* --- input
 * ------------------------------------------------------------------------------- */

/* The first bytes decide.  False: too few to tell. */
static bool choose_protocol(struct hconn *c, const uint8_t *data, size_t len)
{
    enum err e;

    if (http2_may_begin(data, len)) {
        if (len < HTTP2_PREFACE) return false;
        e = http2_open(c);
    } else {
        e = http1_open(c);
    }
    if (e) hconn_close(c, true);
    return !e;
}

static size_t take(struct hconn *c, const uint8_t *data, size_t len)
{
    c->held = false;
    if (!c->protocol && !choose_protocol(c, data, len)) return 0;
    return c->protocol->input(c, data, len);
}

static void offer(struct hconn *c)
{
    size_t used;

    c->resume = false;
    used = take(c, c->in.data, c->in.len);
    buf_consume(&c->in, used);
    if (c->in.len == 0) buf_fini(&c->in);
}

static void receive(struct hconn *c)
{
    struct hconn_set *s = c->set;
    bool drop = c->finishing || c->discarding;
    bool direct = c->in.len == 0 || drop;
    uint8_t *to = direct ? s->scratch : buf_reserve(&c->in, IN_STEP);
    ssize_t n;

    if (!to) {
        hconn_close(c, true);
        return;
    }
    n = c->io->recv(c, to, direct ? sizeof s->scratch : c->in.cap - c->in.len);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK) hconn_close(c, true);
        return;
    }
    if (n == 0) {
        c->eof = true;
        if (drop && c->discarding) hconn_close(c, false);
        return;
    }
    if (drop) return;
    if (direct) {
        size_t used = take(c, s->scratch, (size_t)n);

        if (c->closed || used == (size_t)n) return;
        buf_append(&c->in, s->scratch + used, (size_t)n - used);
        if (buf_error(&c->in)) hconn_close(c, true);
    } else {
        buf_advance(&c->in, (size_t)n);
        c->resume = true;
    }
}

/* --- deadlines
 * --------------------------------------------------------------------------- */

static void tick_set(struct hconn_set *s)
{
    uint64_t ms = TICK_MAX_MS;

    for (int i = 0; i < CONN_WAITS; i++)
        if (s->wait_ms[i] / 4 < ms) ms = s->wait_ms[i] / 4;
    if (ms < TICK_MIN_MS) ms = TICK_MIN_MS;
    event_add(s->tick,
              &(struct timeval){(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)});
    s->ticking = true;
}

static void set_wait(struct hconn *c, enum hconn_wait wait, bool again)
{
    struct hconn_set *s = c->set;

    if (wait == c->wait && !again) return;
    if (list_linked(&c->waiting)) list_remove(&c->waiting);
    c->wait = wait;
    if (wait == CONN_NONE) return;
    c->deadline_ms = s->now_ms + s->wait_ms[wait];
    list_push_back(&s->waiting[wait], &c->waiting);
    if (!s->ticking) tick_set(s);
}

static enum hconn_wait waits(const struct hconn *c)
{
    enum hconn_wait w;

    if (c->discarding) return CONN_LINGER;
    if (c->opening) return CONN_HEADER;
    if (c->writing) return CONN_STALL;
    if (!c->protocol) return c->in.len > 0 ? CONN_HEADER : CONN_IDLE;
    w = c->protocol->waits(c);
    return w == CONN_NONE && c->eof ? CONN_GONE : w;
}

static void update_wait(struct hconn *c)
{
    enum hconn_wait w = waits(c);

    set_wait(c, w, w == CONN_STALL ? c->progress : c->fresh);
    c->progress = c->fresh = false;
}

static void drain(struct hconn *c)
{
    if (c->finishing) return;
    if (c->protocol)
        c->protocol->drain(c);
    else
        hconn_finish(c, false);
}

static void expire(struct hconn *c)
{
    switch (c->wait) {
    case CONN_IDLE: /* with a good-bye, where the protocol has one */
        set_wait(c, CONN_NONE, false);
        drain(c);
        break;
    case CONN_LINGER: hconn_close(c, false); break;
    default: hconn_close(c, true); break;
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct hconn_set *s = arg;
    bool any = false;

    (void)fd, (void)what;
    hconn_set_enter(s);
    for (int i = 0; i < CONN_WAITS; i++) {
        while (!list_empty(&s->waiting[i])) {
            struct hconn *c = LIST_ITEM(s->waiting[i].next, struct hconn, waiting);

            if (c->deadline_ms > s->now_ms) break;
            expire(c);
        }
        if (!list_empty(&s->waiting[i])) any = true;
    }
    if (!any) { /* an idle server sleeps */
        event_del(s->tick);
        s->ticking = false;
    }
    hconn_set_leave(s);
}

/* --- settling
 * ---------------------------------------------------------------------------- */

void hconn_mark(struct hconn *c)
{
    struct hconn_set *s = c->set;

    if (c->closed || list_linked(&c->marked)) return;
    list_push_back(&s->marked, &c->marked);
    if (s->depth == 0) event_active(s->settle, 0, 0);
}

void hconn_resume(struct hconn *c)
{
    c->resume = true;
    hconn_mark(c);
}

void hconn_finish(struct hconn *c, bool linger)
{
    c->linger = c->linger || linger;
    if (c->finishing) return;
    c->finishing = true;
    hconn_mark(c);
}

void hconn_break(struct hconn *c)
{
    c->broken = true;
    hconn_mark(c);
}

static void finish(struct hconn *c)
{
    if (!c->linger || c->eof) {
        hconn_close(c, false);
        return;
    }
    if (c->discarding) return;
    c->discarding = true;
    buf_fini(&c->in);
    c->io->shutdown(c);
}

/* Offer, write and refill until nothing moves. */
static void settle(struct hconn *c)
{
    bool more;
    int turns = TURNS;

    do {
        if (c->resume && !c->finishing) offer(c);
        if (c->broken) hconn_close(c, true);
        if (c->closed || !write_out(c)) break;
        more = c->protocol && !c->finishing && c->protocol->output(c);
    } while ((more || (c->resume && !c->finishing)) && --turns > 0);
    if (c->broken) hconn_close(c, true);
    if (c->closed) return;
    if (turns == 0) {
        want_write(c, true); /* writable at once: go on when others had a turn */
    } else if (hconn_unsent(c) == 0) {
        want_write(c, c->recv_blocked);
        if (c->eof && !c->finishing && !(c->protocol && c->protocol->on_eof(c)))
            hconn_finish(c, false);
        if (c->finishing && hconn_unsent(c) == 0) finish(c);
        if (c->closed) return;
    }
    /* After an end of file only the deadline is left: a socket at its end is always
     * readable. */
    want_read(c, !c->eof && !(c->held && c->in.len >= IN_MAX));
    if (c->reading && c->recv_more) event_active(&c->read_event, EV_READ, 0);
    update_wait(c);
}

void hconn_set_enter(struct hconn_set *s)
{
    if (s->depth++ == 0) s->now_ms = clock_mono_ns(clock_real()) / 1000000;
}

void hconn_set_leave(struct hconn_set *s)
{
    struct list *l;

    CHECK(s->depth > 0);
    if (s->depth > 1) {
        s->depth--;
        return;
    }
    while ((l = list_pop_front(&s->marked))) settle(LIST_ITEM(l, struct hconn, marked));
    s->depth = 0;
    while ((l = list_pop_front(&s->dead))) {
        struct hconn *c = LIST_ITEM(l, struct hconn, all);

        buf_fini(&c->in); /* not earlier: a protocol may have been reading it */
        free(c);
    }
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    hconn_set_enter(arg);
    hconn_set_leave(arg);
}

/* --- a connection's life
 * ----------------------------------------------------------------- */

void hconn_readable(struct hconn *c)
{
    struct hconn_set *s = c->set;

    hconn_set_enter(s);
    if (!c->closed && !c->eof) {
        receive(c);
        hconn_mark(c);
    }
    hconn_set_leave(s);
}

void hconn_writable(struct hconn *c)
{
    struct hconn_set *s = c->set;

    hconn_set_enter(s);
    if (c->recv_blocked && !c->closed && !c->eof) receive(c);
    hconn_mark(c);
    hconn_set_leave(s);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    hconn_readable(arg);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    hconn_writable(arg);
}

static struct hconn *hconn_new(struct hconn_set *s, const struct hconn_io *io)
{
    struct hconn *c = calloc(1, sizeof *c);

    if (!c) return NULL;
    c->set = s;
    c->io = io;
    c->fd = -1;
    c->wait = CONN_NONE;
    list_init(&c->marked);
    list_init(&c->waiting);
    buf_init(&c->in, 0);
    buf_init(&c->out, 0);
    list_push_back(&s->all, &c->all);
    s->count++;
    gateway_connection_opened(s->thread);
    return c;
}

enum err hconn_open(struct gateway_thread *t, int fd)
{
    struct hconn_set *s = t->conns;
    bool secure = t->gateway->options.tls != NULL;
    struct hconn *c = hconn_new(s, secure ? &tls_io : &hconn_plain_io);

    if (!c) {
        close(fd);
        return ERR_NOMEM;
    }
    hconn_set_enter(s);
    c->fd = fd;
    c->opening = secure;
    event_assign(&c->read_event, t->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->write_event, t->base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
    hconn_mark(c);
    if (s->draining) hconn_close(c, false);
    hconn_set_leave(s);
    return ERR_OK;
}

struct hconn *hconn_open_io(struct gateway_thread *t, const struct hconn_io *io,
                            void *io_state)
{
    struct hconn *c = hconn_new(t->conns, io);

    if (c) c->io_state = io_state;
    return c;
}

void hconn_close(struct hconn *c, bool reset)
{
    struct hconn_set *s = c->set;

    if (c->closed) return;
    CHECK(s->depth > 0);
    c->closed = true;
    want_read(c, false);
    want_write(c, false);
    c->io->close(c, reset);
    if (c->protocol) c->protocol->fini(c);
    set_wait(c, CONN_NONE, false);
    if (list_linked(&c->marked)) list_remove(&c->marked);
    out_release(c);
    tail_release(c);
    list_remove(&c->all);
    list_push_back(&s->dead, &c->all);
    s->count--;
    gateway_connection_closed(s->thread);
}

/* --- a thread's connections
 * -------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* HTTP API 1.4 */
static void common_init(struct hconn_set *s, const struct gateway_options *o)
{
    struct buf *b = &s->common;

    buf_init(b, 0);
    if (o->auth)
        buf_append_str(b,
                       "Access-Control-Allow-Credentials: true\r\n"
                       "Access-Control-Allow-Headers: Content-Type, Authorization\r\n");
    else
        buf_append_str(b, "Access-Control-Allow-Headers: Content-Type\r\n");
    buf_append_str(b, "Access-Control-Allow-Methods: OPTIONS, GET, POST\r\n");
    if (o->allow_origin)
        buf_printf(b, "Access-Control-Allow-Origin: %s\r\n", o->allow_origin);
    if (o->auth) buf_append_str(b, "WWW-Authenticate: Basic realm=\"rqlite\"\r\n");
    buf_printf(b, "X-Rqlite-Version: %s\r\n", o->version ? o->version : "");
    buf_append_str(b, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
}

const struct buf *hconn_set_common(struct hconn_set *s)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    char date[64];
    struct tm tm;

    if (now == s->date_s || s->common.len < CONN_DATE + 2) return &s->common;
    s->date_s = now;
    gmtime_r(&now, &tm);
    /* Not strftime(): the names are English in every locale. */
    snprintf(date, sizeof date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
             days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900,
             tm.tm_hour, tm.tm_min, tm.tm_sec);
    memcpy(s->common.data + s->common.len - 2 - CONN_DATE, date, CONN_DATE);
    return &s->common;
}

const char *hconn_set_date(struct hconn_set *s)
{
    const struct buf *b = hconn_set_common(s);

    return (const char *)b->data + b->len - 2 - CONN_DATE;
}

enum err hconn_set_new(struct hconn_set **out, struct gateway_thread *t, struct why *why)
{
    const struct gateway_options *o = &t->gateway->options;
    struct hconn_set *s = calloc(1, sizeof *s);

    *out = s;
    if (!s) return why_set(why, ERR_NOMEM, "out of memory for a gateway thread");
    s->thread = t;
    list_init(&s->all);
    list_init(&s->marked);
    list_init(&s->dead);
    for (int i = 0; i < CONN_WAITS; i++) list_init(&s->waiting[i]);
    s->wait_ms[CONN_HEADER] = o->limits.header_ms;
    s->wait_ms[CONN_IDLE] = o->limits.idle_ms;
    s->wait_ms[CONN_STALL] = o->limits.stall_ms;
    s->wait_ms[CONN_LINGER] = least(LINGER_MS, o->limits.stall_ms);
    s->wait_ms[CONN_GONE] = least(LINGER_MS, o->limits.stall_ms);
    exchange_pool_init(&s->exchanges);
    common_init(s, o);
    s->tick = event_new(t->base, -1, EV_PERSIST, on_tick, s);
    s->settle = event_new(t->base, -1, 0, on_settle, s);
    if (buf_error(&s->common) || !s->tick || !s->settle) {
        hconn_set_free(s);
        *out = NULL;
        return why_set(why, ERR_NOMEM, "out of memory for a gateway thread");
    }
    return ERR_OK;
}

void hconn_set_close_all(struct hconn_set *s)
{
    hconn_set_enter(s);
    while (!list_empty(&s->all))
        hconn_close(LIST_ITEM(s->all.next, struct hconn, all), true);
    hconn_set_leave(s);
}

void hconn_set_drain(struct hconn_set *s)
{
    struct list *l, *next;

    hconn_set_enter(s);
    s->draining = true;
    for (l = s->all.next; l != &s->all; l = next) {
        next = l->next;
        drain(LIST_ITEM(l, struct hconn, all));
    }
    hconn_set_leave(s);
}

void hconn_set_free(struct hconn_set *s)
{
    if (!s) return;
    hconn_set_close_all(s);
    if (s->tick) event_free(s->tick);
    if (s->settle) event_free(s->settle);
    while (s->n_spare > 0) buf_fini(&s->spare[--s->n_spare]);
    exchange_pool_fini(&s->exchanges);
    buf_fini(&s->common);
    free(s);
}
