/* SPDX-License-Identifier: MIT */
#include "core/node/readers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/logger.h"

enum {
    STARVED_MS = 5, /* a job that waited this long wants another thread */
    IDLE_S = 10,    /* an extra thread without work for this long ends */
    TAKE_MAX = 4    /* jobs a thread takes at once when many wait */
};

struct batch { /* what a thread took at once; on its stack */
    struct batch *next;
    _Atomic(struct reader_job *) rest; /* not yet begun: whoever exchanges it has it */
};

struct readers {
    struct db *db; /* borrowed */
    struct logger *logger;
    pthread_t watcher;
    bool has_watcher;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work, ended, starve;
    struct reader_job *first, **end;
    size_t queued;
    unsigned base, max, threads, idle;
    struct batch *batches; /* of more than one job, under way */
    unsigned serving;      /* of the threads, those that have not yet decided to end */
    uint64_t waits, waited_ns;
    bool stopping, watching; /* watching: the watcher is awake anyway */
    atomic_bool awaited;     /* jobs wait, and there may be no more threads for them */
};

static void run_all(struct batch *b, struct db_reader *conn)
{
    struct reader_job *j;

    while ((j = atomic_exchange(&b->rest, NULL)) != NULL) {
        if (j->next) atomic_store(&b->rest, j->next);
        j->run(j, conn);
    }
}

/* With the lock held, as the next two. */
static void batch_begin(struct readers *r, struct batch *b, struct reader_job *jobs)
{
    atomic_store(&b->rest, jobs);
    if (jobs->next == NULL) return;
    b->next = r->batches;
    r->batches = b;
}

static void batch_end(struct readers *r, struct batch *b)
{
    for (struct batch **at = &r->batches; *at; at = &(*at)->next) {
        if (*at != b) continue;
        *at = b->next;
        return;
    }
}

/* What waits behind a job that takes its time goes back to the queue, to its head. */
static void take_back(struct readers *r)
{
    for (struct batch *b = r->batches; b; b = b->next) {
        struct reader_job *first = atomic_exchange(&b->rest, NULL), *last = first;

        if (first == NULL) continue;
        for (r->queued++; last->next; last = last->next) r->queued++;
        last->next = r->first;
        if (r->first == NULL) r->end = &last->next;
        r->first = first;
    }
    if (r->first && r->idle > 0) pthread_cond_signal(&r->work);
}

static void count_waits(struct readers *r, struct reader_job *jobs)
{
    uint64_t now_ns = clock_mono_ns(clock_real());

    for (struct reader_job *j = jobs; j; j = j->next) {
        if (!j->waited) continue;
        j->waited = false; /* it may be taken back, and taken again */
        r->waits++;
        r->waited_ns += now_ns - j->since_ns;
    }
}

/* Several at once when many wait: fewer trips through the lock; but leave some for the
 * others. */
static struct reader_job *take(struct readers *r)
{
    size_t share = r->queued / (r->threads ? r->threads : 1);
    size_t n = share < 1 ? 1 : share > TAKE_MAX ? TAKE_MAX : share;
    struct reader_job *first = r->first, *last = first;

    bool waited = first->waited;

    for (size_t i = 1; i < n; i++) {
        last = last->next;
        waited = waited || last->waited;
    }
    r->first = last->next;
    if (r->first == NULL) r->end = &r->first;
    last->next = NULL;
    r->queued -= n;
    if (waited) count_waits(r, first);
    return first;
}

static void *reader_main(void *arg)
{
    struct readers *r = arg;
    struct db_reader *conn = NULL;
    struct batch batch = {0};
    struct why why = {0};
    bool extra;

    if (db_reader_open(r->db, &conn, &why) != ERR_OK)
        logger_error(r->logger, "store", "failed to open read connection: %s", why.text);
    pthread_mutex_lock(&r->lock);
    extra = r->threads > r->base;
    for (;;) {
        struct reader_job *jobs;
        bool timed_out = false;

        while (r->first == NULL && !r->stopping && !timed_out) {
            struct timespec until;

            r->idle++;
            if (extra) {
                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_sec += IDLE_S;
                timed_out = pthread_cond_timedwait(&r->work, &r->lock, &until) != 0;
            } else {
                pthread_cond_wait(&r->work, &r->lock);
            }
            r->idle--;
        }
        if (r->first == NULL && (r->stopping || timed_out)) break;
        jobs = take(r);
        batch_begin(r, &batch, jobs);
        /* Who submitted the next may have seen idle threads, woken but not yet awake. */
        if ((r->batches || (r->first && r->idle == 0)) && !r->watching) {
            r->watching = true;
            pthread_cond_signal(&r->starve);
        }
        pthread_mutex_unlock(&r->lock);
        if (conn == NULL) /* what was missing then may be there now */
            (void)!db_reader_open(r->db, &conn, NULL);
        run_all(&batch, conn);
        pthread_mutex_lock(&r->lock);
        batch_end(r, &batch);
    }
    r->serving--;
    pthread_mutex_unlock(&r->lock);
    db_reader_close(conn); /* before readers_stop() may go on */
    pthread_mutex_lock(&r->lock);
    r->threads--;
    pthread_cond_broadcast(&r->ended);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void in_ms(struct timespec *t, long ms)
{
    clock_gettime(CLOCK_MONOTONIC, t);
    t->tv_nsec += ms * 1000000L;
    t->tv_sec += t->tv_nsec / 1000000000L;
    t->tv_nsec %= 1000000000L;
}

/* With the lock held. */
static bool spawn(struct readers *r)
{
    pthread_attr_t attr;
    pthread_t t;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&t, &attr, reader_main, r);
    pthread_attr_destroy(&attr);
    if (rc != 0) return false;
    r->threads++;
    r->serving++;
    return true;
}

/* With the lock held.  Does a job wait that no thread will take soon? */
static bool is_starved(const struct readers *r)
{
    return r->first && r->idle == 0 &&
           clock_mono_ns(clock_real()) - r->first->since_ns > STARVED_MS * 1000000ULL;
}

/* Looks every few milliseconds, but only while jobs wait. */
static void *watcher_main(void *arg)
{
    struct readers *r = arg;

    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        struct timespec until;

        if (r->first == NULL && r->batches == NULL) {
            r->watching = false;
            atomic_store(&r->awaited, false);
            pthread_cond_wait(&r->starve, &r->lock);
            r->watching = true;
            continue;
        }
        in_ms(&until, STARVED_MS);
        while (!r->stopping && pthread_cond_timedwait(&r->starve, &r->lock, &until) == 0)
            continue;
        take_back(r);
        /* No thread to be had: the job waits. */
        atomic_store(&r->awaited, is_starved(r) && (r->threads >= r->max || !spawn(r)));
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

enum err readers_start(struct readers **out, struct db *d, unsigned n, unsigned max,
                       struct logger *logger, struct why *why)
{
    struct readers *r = calloc(1, sizeof *r);
    pthread_condattr_t attr;

    if (r == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    r->db = d;
    r->logger = logger;
    r->base = n;
    r->max = max < n ? n : max;
    r->end = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->work, &attr);
    pthread_cond_init(&r->ended, &attr);
    pthread_cond_init(&r->starve, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < n; i++) {
        if (!spawn(r)) {
            pthread_mutex_unlock(&r->lock);
            readers_stop(r);
            readers_free(r);
            return why_set(why, ERR_NOMEM, "cannot start a reader thread");
        }
    }
    pthread_mutex_unlock(&r->lock);
    r->has_watcher = pthread_create(&r->watcher, NULL, watcher_main, r) == 0;
    if (!r->has_watcher) {
        readers_stop(r);
        readers_free(r);
        return why_set(why, ERR_NOMEM, "cannot start the readers' watcher");
    }
    *out = r;
    return ERR_OK;
}

void readers_submit(struct readers *r, struct reader_job *j)
{
    bool wake, starve;

    j->next = NULL;
    j->awaited = &r->awaited;
    j->since_ns = clock_mono_ns(clock_real());
    pthread_mutex_lock(&r->lock);
    if (r->stopping && r->serving == 0) { /* nobody else would */
        pthread_mutex_unlock(&r->lock);
        j->run(j, NULL);
        return;
    }
    *r->end = j;
    r->end = &j->next;
    r->queued++;
    wake = r->idle > 0;
    j->waited = !wake;
    starve = !wake && !r->watching;
    if (starve) r->watching = true;
    pthread_mutex_unlock(&r->lock);
    if (wake) pthread_cond_signal(&r->work);
    if (starve) pthread_cond_signal(&r->starve);
}

void readers_stats(struct readers *r, struct readers_stats *out)
{
    pthread_mutex_lock(&r->lock);
    *out = (struct readers_stats){.max = r->max,
                                  .threads = r->threads,
                                  .busy = r->threads - r->idle,
                                  .queued = r->queued,
                                  .waits = r->waits,
                                  .waited_ns = r->waited_ns};
    pthread_mutex_unlock(&r->lock);
}

void readers_stop(struct readers *r)
{
    if (r == NULL) return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->starve);
    pthread_cond_broadcast(&r->work);
    while (r->threads > 0) pthread_cond_wait(&r->ended, &r->lock);
    pthread_mutex_unlock(&r->lock);
    if (r->has_watcher) pthread_join(r->watcher, NULL);
    r->has_watcher = false;
}

void readers_free(struct readers *r)
{
    if (r == NULL) return;
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->ended);
    pthread_cond_destroy(&r->starve);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
