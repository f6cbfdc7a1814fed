/* SPDX-License-Identifier: MIT */
/*
 * How a wake-up is neither lost nor left behind.  A poster that finds the box empty adds
 * one to signals under the mutex and writes one to the eventfd after it.  The taker,
 * before it takes the mails, reads the eventfd and subtracts what it read.  So
 *
 *     signals == writes done or still to come - writes read
 *
 * and a readable fd means signals > 0, whatever the order in which threads get on: no
 * read is needed while signals is 0, and a write that comes late is found by the next
 * take.
 */
#include "core/base/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t mutex; /* for all below up to waiting */
    struct mail *first, *last;
    size_t count;
    bool closed;
    bool waiting; /* the taker sleeps on wake */
    pthread_cond_t wake;
    atomic_uint_fast64_t signals;
    size_t capacity;
    int fd; /* owned; -1 without use_fd */
};

enum err mailbox_new(struct mailbox **out, size_t capacity, bool use_fd, struct why *why)
{
    struct mailbox *b = calloc(1, sizeof *b);
    pthread_condattr_t attr;

    *out = NULL;
    if (!b) return why_set(why, ERR_NOMEM, "out of memory for a mailbox");
    b->capacity = capacity;
    b->fd = -1;
    if (use_fd && (b->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) {
        enum err e = why_errno(why, "eventfd");
        free(b);
        return e;
    }
    pthread_mutex_init(&b->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->wake, &attr);
    pthread_condattr_destroy(&attr);
    *out = b;
    return ERR_OK;
}

void mailbox_free(struct mailbox *b)
{
    if (!b) return;
    if (b->fd >= 0) close(b->fd);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->mutex);
    free(b);
}

static void fd_signal(struct mailbox *b)
{
    uint64_t one = 1;
    ssize_t n;

    do n = write(b->fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    CHECK(n == (ssize_t)sizeof one); /* the counter cannot overflow: see signals */
}

static void fd_reset(struct mailbox *b)
{
    uint64_t seen;
    ssize_t n;

    if (atomic_load(&b->signals) == 0) return;
    do n = read(b->fd, &seen, sizeof seen);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof seen) atomic_fetch_sub(&b->signals, seen);
}

static enum err post(struct mailbox *b, struct mail *m, size_t capacity)
{
    enum err e = ERR_OK;
    bool signal_fd = false, signal_wake = false;

    pthread_mutex_lock(&b->mutex);
    if (b->closed) {
        e = ERR_CLOSED;
    } else if (capacity > 0 && b->count >= capacity) {
        e = ERR_BUSY;
    } else {
        m->next = NULL;
        if (b->first) {
            b->last->next = m;
        } else {
            b->first = m;
            if (b->fd >= 0) signal_fd = true, atomic_fetch_add(&b->signals, 1);
            signal_wake = b->waiting;
        }
        b->last = m;
        b->count++;
    }
    pthread_mutex_unlock(&b->mutex);

    /* Outside, so that the woken taker does not run into the mutex at once. */
    if (signal_fd) fd_signal(b);
    if (signal_wake) pthread_cond_signal(&b->wake);
    return e;
}

enum err mailbox_post(struct mailbox *b, struct mail *m)
{
    return post(b, m, b->capacity);
}

enum err mailbox_post_always(struct mailbox *b, struct mail *m)
{
    return post(b, m, 0);
}

void mailbox_close(struct mailbox *b)
{
    bool first;

    pthread_mutex_lock(&b->mutex);
    first = !b->closed;
    b->closed = true;
    if (first && b->fd >= 0) atomic_fetch_add(&b->signals, 1);
    pthread_mutex_unlock(&b->mutex);
    if (first && b->fd >= 0) fd_signal(b);
    if (first) pthread_cond_signal(&b->wake);
}

static struct mail *take_locked(struct mailbox *b)
{
    struct mail *all = b->first;

    b->first = b->last = NULL;
    b->count = 0;
    return all;
}

struct mail *mailbox_take(struct mailbox *b)
{
    struct mail *all;

    if (b->fd >= 0)
        fd_reset(b); /* before the mails: a later post makes it readable again */
    pthread_mutex_lock(&b->mutex);
    all = take_locked(b);
    pthread_mutex_unlock(&b->mutex);
    return all;
}

static struct timespec in_ms(int ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

struct mail *mailbox_wait(struct mailbox *b, int timeout_ms)
{
    struct timespec until = {0};
    struct mail *all;
    int e = 0;

    if (b->fd >= 0) fd_reset(b);
    if (timeout_ms > 0) until = in_ms(timeout_ms);
    pthread_mutex_lock(&b->mutex);
    b->waiting = true;
    while (!b->first && !b->closed && e != ETIMEDOUT && timeout_ms != 0) {
        if (timeout_ms < 0)
            pthread_cond_wait(&b->wake, &b->mutex);
        else
            e = pthread_cond_timedwait(&b->wake, &b->mutex, &until);
    }
    b->waiting = false;
    all = take_locked(b);
    pthread_mutex_unlock(&b->mutex);
    return all;
}

int mailbox_fd(const struct mailbox *b)
{
    return b->fd;
}

bool mailbox_closed(struct mailbox *b)
{
    bool closed;

    pthread_mutex_lock(&b->mutex);
    closed = b->closed;
    pthread_mutex_unlock(&b->mutex);
    return closed;
}
