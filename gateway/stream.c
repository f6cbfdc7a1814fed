/* SPDX-License-Identifier: MIT */
#include "gateway/stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/mailbox.h"
#include "core/db/sink.h"
#include "gateway/http.h"
#include "gateway/server.h"
#include "gateway/transport.h"

struct piece {
    struct piece *next;
    uint8_t *data; /* owned */
    size_t len;
};

struct http_stream {
    struct http_exchange *x; /* valid until the writer's end */
    uint64_t stall_ms;
    void (*begin)(struct http_exchange *x, struct http_stream *s, void *arg);
    void *arg;
    struct mail mail; /* wakes the reader */
    bool begun;       /* on the exchange's thread */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t room;
    struct piece *first, **end;
    size_t pos;    /* taken of the first */
    size_t unsent; /* bytes */
    uint64_t taken;
    bool hungry; /* the reader has run out: the next piece wakes it */
    bool posted; /* the mail is on its way */
    bool ended, broken;
    bool writer, reader; /* who holds it */
    void (*on_room)(void *arg);
    void *on_room_arg;
};

static void stream_free(struct http_stream *s)
{
    while (s->first) {
        struct piece *p = s->first;

        s->first = p->next;
        free(p->data);
        free(p);
    }
    pthread_cond_destroy(&s->room);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Under the lock, which it gives back.  One of the two lets go. */
static void let_go(struct http_stream *s)
{
    bool last = !s->writer && !s->reader;
    void (*on_room)(void *arg) = s->on_room;
    void *arg = s->on_room_arg;

    s->on_room = NULL;
    pthread_cond_broadcast(&s->room);
    pthread_mutex_unlock(&s->lock);
    if (on_room) on_room(arg);
    if (last) stream_free(s);
}

static void on_mail(struct mail *m, void *taker)
{
    struct http_stream *s = LIST_ITEM(m, struct http_stream, mail);
    bool wanted;

    (void)taker;
    pthread_mutex_lock(&s->lock);
    s->posted = false;
    wanted = s->reader;
    pthread_mutex_unlock(&s->lock);
    if (!s->begun) {
        s->begun = true;
        s->begin(s->x, s, s->arg);
        return;
    }
    if (wanted) transport_resume(s->x);
}

/* --- the writer -------------------------------------------------------------------- */

struct http_stream *http_stream_new(struct http_exchange *x, uint64_t stall_ms,
                                    void (*begin)(struct http_exchange *x,
                                                  struct http_stream *s, void *arg),
                                    void *arg)
{
    struct http_stream *s = calloc(1, sizeof *s);
    pthread_condattr_t attr;

    if (!s) return NULL;
    s->x = x;
    s->stall_ms = stall_ms;
    s->begin = begin;
    s->arg = arg;
    s->mail.deliver = on_mail;
    s->end = &s->first;
    s->hungry = s->writer = s->reader = true;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->room, &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

/* Under the lock.  Must the mail be posted, which is the caller's to do, to wake the
 * reader? */
static bool wakes(struct http_stream *s)
{
    bool wake = s->reader && !s->posted;

    s->hungry = false;
    if (wake) s->posted = true;
    return wake;
}

bool http_stream_put(struct http_stream *s, uint8_t *data, size_t len)
{
    struct piece *p = malloc(sizeof *p);
    bool wake = false, wanted;

    pthread_mutex_lock(&s->lock);
    wanted = s->reader && !s->broken && p != NULL;
    if (wanted) {
        *p = (struct piece){.data = data, .len = len};
        *s->end = p;
        s->end = &p->next;
        s->unsent += len;
        wake = s->hungry && wakes(s);
    } else {
        s->broken = true; /* what was sent lacks this piece */
    }
    pthread_mutex_unlock(&s->lock);
    if (wake) gateway_post(s->x->thread, &s->mail);
    if (!wanted) {
        free(p);
        free(data);
    }
    return wanted;
}

/* Under the lock. */
static bool full(const struct http_stream *s)
{
    return s->unsent >= STREAM_AHEAD && s->reader && !s->broken;
}

static uint64_t now_ms(void)
{
    return clock_mono_ns(clock_real()) / 1000000;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct patience { /* with a client that does not take what there is; monotonic times */
    uint64_t taken, taken_ms; /* until when it has taken how much */
    uint64_t awaited_ms;      /* row_sink_hurries() */
};

/* Under the lock.  Is it at an end? */
static bool is_over(struct http_stream *s, struct patience *p,
                    const struct row_sink *sink)
{
    uint64_t now = now_ms();

    if (s->taken != p->taken) {
        p->taken = s->taken;
        p->taken_ms = now;
    }
    return row_sink_hurries(sink, &p->awaited_ms, now) ||
           now - p->taken_ms >= s->stall_ms;
}

/* Under the lock, until there is room or it is time to look. */
static void wait_for_room(struct http_stream *s, const struct patience *p)
{
    uint64_t until_ms = least(p->taken_ms + s->stall_ms, now_ms() + SINK_LOOK_MS);
    struct timespec until;

    until.tv_sec = (time_t)(until_ms / 1000);
    until.tv_nsec = (long)(until_ms % 1000) * 1000000L;
    (void)pthread_cond_timedwait(&s->room, &s->lock, &until);
}

bool http_stream_wait(struct http_stream *s, const struct row_sink *sink)
{
    struct patience patience = {0};
    bool wanted, wake = false;

    pthread_mutex_lock(&s->lock);
    if (full(s)) patience = (struct patience){s->taken, now_ms(), 0};
    while (full(s)) {
        wait_for_room(s, &patience);
        if (full(s) && is_over(s, &patience, sink)) { /* a client that does not read */
            s->broken = true;
            wake = wakes(s);
        }
    }
    wanted = s->reader && !s->broken;
    pthread_mutex_unlock(&s->lock);
    if (wake) gateway_post(s->x->thread, &s->mail);
    return wanted;
}

bool http_stream_room(struct http_stream *s, void (*on_room)(void *arg), void *arg)
{
    bool there;

    pthread_mutex_lock(&s->lock);
    there = !full(s);
    if (!there) {
        s->on_room = on_room;
        s->on_room_arg = arg;
    }
    pthread_mutex_unlock(&s->lock);
    return there;
}

void http_stream_end(struct http_stream *s, bool whole)
{
    struct http_exchange *x = s->x;
    bool wake;

    pthread_mutex_lock(&s->lock);
    s->ended = true;
    if (!whole) s->broken = true;
    wake = s->reader && (s->hungry || s->broken);
    s->hungry = false;
    s->writer = false;
    let_go(s);
    if (wake) transport_resume(x);
}

/* --- the reader -------------------------------------------------------------------- */

/* Under the lock: take bytes of the first piece. */
static size_t take(struct http_stream *s, uint8_t *out, size_t cap)
{
    struct piece *p = s->first;
    size_t n = p->len - s->pos < cap ? p->len - s->pos : cap;

    memcpy(out, p->data + s->pos, n);
    s->pos += n;
    s->unsent -= n;
    s->taken += n;
    if (s->pos == p->len) {
        s->first = p->next;
        if (!s->first) s->end = &s->first;
        s->pos = 0;
        free(p->data);
        free(p);
    }
    return n;
}

ssize_t http_stream_read(struct http_stream *s, void *out, size_t cap)
{
    void (*on_room)(void *arg) = NULL;
    void *arg = NULL;
    size_t n = 0;
    ssize_t result;

    pthread_mutex_lock(&s->lock);
    if (!s->broken)
        while (n < cap && s->first) n += take(s, (uint8_t *)out + n, cap - n);
    if (n > 0)
        result = (ssize_t)n;
    else if (s->broken)
        result = STREAM_BROKEN;
    else
        result = s->ended ? 0 : STREAM_LATER;
    s->hungry = result == STREAM_LATER;
    if (!full(s)) {
        pthread_cond_signal(&s->room);
        on_room = s->on_room;
        arg = s->on_room_arg;
        s->on_room = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    if (on_room) on_room(arg);
    return result;
}

bool http_stream_broken(struct http_stream *s)
{
    bool broken;

    pthread_mutex_lock(&s->lock);
    broken = s->broken;
    pthread_mutex_unlock(&s->lock);
    return broken;
}

void http_stream_close(struct http_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->reader = false;
    let_go(s);
}
