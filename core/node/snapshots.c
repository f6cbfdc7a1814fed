/* SPDX-License-Identifier: MIT */
#include "core/node/snapshots.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/doc.h"
#include "core/base/text.h"
#include "core/node/images.h"
#include "core/node/internal.h"
#include "core/node/streams.h"

enum { AGAIN_MS = 5000 }; /* after one that came to nothing */

enum cause { FOR_ENTRIES, FOR_WAL, FOR_USER };

struct snapshots {
    struct node *n;
    struct snapshot_store *store; /* owned; any thread */
    struct images *images;        /* owned */
    struct streams *streams;      /* owned */
    struct call *waiting;         /* for the one being taken */
    struct call *asked;           /* for the next; begun when that is possible */
    struct call *reaping;         /* for the folding under way */
    struct call *reaps;           /* for the next */
    uint64_t check_ms;            /* when to look at the thresholds next */
    uint64_t not_before_ms;       /* a full WAL does not ask before */
    uint64_t wal_left;            /* bytes of it that the last one could not free */
    uint64_t begun_ns;            /* when the one being taken, or folding, was begun */
    enum cause cause;
    uint64_t last_changed; /* entry that changed the database last, in it, at first */
};

/* --- opening ---------------------------------------------------------------------- */

static uint64_t interval_ms(const struct node *n)
{
    uint64_t ms = n->o.snapshot_interval_ns / 1000000;

    return ms ? ms : SNAPSHOTS_INTERVAL_MS;
}

static void plan_check(struct snapshots *s, uint64_t now_ms)
{
    uint64_t period = interval_ms(s->n);

    s->check_ms = now_ms + period + rand_below(&s->n->rand, period);
}

enum err snapshots_new(struct snapshots **out, struct node *n,
                       struct snapshot_store **store, const struct snapshot_meta *found,
                       struct why *why)
{
    struct snapshots *s = calloc(1, sizeof *s);
    enum err e;

    if (s == NULL) {
        snapshot_store_close(*store);
        *store = NULL;
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    s->n = n;
    s->store = *store;
    *store = NULL;
    s->last_changed = found->changed_index;
    e = streams_new(&s->streams, n, why);
    if (e) {
        snapshots_free(s);
        return e;
    }
    plan_check(s, node_now_ms(n));
    *out = s;
    return ERR_OK;
}

void snapshots_free(struct snapshots *s)
{
    if (s == NULL) return;
    streams_free(s->streams);
    images_free(s->images);
    snapshot_store_close(s->store);
    free(s);
}

struct snapshot_store *snapshots_store(struct snapshots *s)
{
    return s->store;
}

void snapshots_hurry(struct snapshots *s)
{
    if (s->images) images_hurry(s->images);
}

/* --- calls ------------------------------------------------------------------------ */

static void answer_all(struct call **list, const struct why *why)
{
    while (*list) {
        struct call *c = *list;

        *list = c->next;
        c->why = *why;
        c->done(c);
    }
}

static void queue(struct call **list, struct call *c)
{
    while (*list) list = &(*list)->next;
    c->next = NULL;
    *list = c;
}

void snapshots_stop(struct snapshots *s)
{
    const struct why why = {.code = ERR_CLOSED, .text = "store not open"};

    answer_all(&s->waiting, &why);
    answer_all(&s->asked, &why);
    answer_all(&s->reaping, &why);
    answer_all(&s->reaps, &why);
}

uint64_t snapshots_trailing(const struct node *n)
{
    uint64_t entries = n->o.snapshot_entries ? n->o.snapshot_entries : SNAPSHOTS_ENTRIES;

    return entries + entries / 4;
}

/* --- taking ----------------------------------------------------------------------- */

static void count(struct snapshots *s, enum metric which, int64_t by)
{
    metrics_add(s->n->o.metrics, which, by);
}

static uint64_t took_ns(const struct snapshots *s)
{
    return clock_mono_ns(s->n->o.clock) - s->begun_ns;
}

static void note_taken(struct snapshots *s, const struct image_taken *t)
{
    const char *kind = t->whole ? "full" : "incremental";
    struct logger *l = s->n->o.logger;
    char took[TEXT_DURATION_MAX];
    int64_t ns = (int64_t)took_ns(s);

    text_duration(took, ns);
    logger_debug(l, "store", "%s snapshot created in %s on node ID %s", kind, took,
                 s->n->o.id);
    logger_debug(l, "store", "persisted %s snapshot %s in %s", kind, t->meta->id, took);
    count(s, METRIC_store_num_snapshots, 1);
    count(s, METRIC_store_num_snapshot_persists, 1);
    count(s,
          t->whole ? METRIC_store_num_snapshots_full
                   : METRIC_store_num_snapshots_incremental,
          1);
    count(s,
          t->whole ? METRIC_snapshot_sink_full_total
                   : METRIC_snapshot_sink_incremental_total,
          1);
    if (s->cause == FOR_WAL) count(s, METRIC_store_num_wal_snapshots, 1);
    metrics_time(s->n->o.metrics, TIMER_snapshot, (uint64_t)ns);
    metrics_set(s->n->o.metrics, METRIC_store_snapshot_create_duration, ns / 1000000);
    metrics_set(s->n->o.metrics, METRIC_store_snapshot_persist_duration, ns / 1000000);
    metrics_set(s->n->o.metrics, METRIC_snapshot_persist_duration_ms, ns / 1000000);
    metrics_set(s->n->o.metrics, METRIC_snapshot_persist_size, (int64_t)t->bytes);
}

static void note_failed(struct snapshots *s, const struct why *why)
{
    logger_warn(s->n->o.logger, "store",
                "failed to generate application-level snapshot: %s", why->text);
    count(s, METRIC_store_num_snapshots_failed, 1);
    if (why->code != ERR_BUSY) {
        count(s, METRIC_store_num_snapshot_persists_failed, 1);
        count(s, METRIC_snapshot_sink_errors, 1);
    }
    if (s->cause == FOR_WAL) count(s, METRIC_store_num_wal_snapshots_failed, 1);
}

static enum err take(struct snapshots *s, enum cause cause, uint64_t trailing,
                     struct why *why)
{
    enum err e;

    s->begun_ns = clock_mono_ns(s->n->o.clock);
    s->cause = cause;
    e = images_take(s->images, trailing, cause == FOR_ENTRIES, why);
    if (e && e != ERR_NOTHING) note_failed(s, why);
    return e;
}

static void fold(struct snapshots *s)
{
    struct why why = {0};

    s->begun_ns = clock_mono_ns(s->n->o.clock);
    s->reaping = s->reaps;
    s->reaps = NULL;
    if (images_fold(s->images, &why) != ERR_OK) answer_all(&s->reaping, &why);
}

static void take_asked(struct snapshots *s)
{
    const struct call_snapshot *c = LIST_ITEM(s->asked, struct call_snapshot, call);
    uint64_t trailing = c->trailing ? c->trailing : snapshots_trailing(s->n);
    struct why why = {0};

    s->waiting = s->asked;
    s->asked = NULL;
    if (take(s, FOR_USER, trailing, &why) != ERR_OK) answer_all(&s->waiting, &why);
}

static bool fold_due(struct snapshots *s)
{
    struct snapshot_stats st;

    snapshot_stats(s->store, &st);
    return st.deltas >= SNAPSHOT_FOLD_AT;
}

/* Something has ended: what has waited for that? */
static void next(struct snapshots *s)
{
    if (!images_busy(s->images) && s->asked) take_asked(s);
    if (!images_busy(s->images) && (s->reaps || fold_due(s))) fold(s);
}

static void port_taken(void *host, const struct image_taken *t)
{
    struct node *n = host;
    struct snapshots *s = n->snapshots;

    s->wal_left = db_wal_bytes(n->db);
    if (t->why->code == ERR_OK)
        note_taken(s, t);
    else if (t->why->code != ERR_NOTHING)
        note_failed(s, t->why);
    if (t->why->code) s->not_before_ms = node_now_ms(n) + AGAIN_MS;
    if (t->again) member_cut(n->member, t->again);
    answer_all(&s->waiting, t->why);
    next(s);
}

static void port_folded(void *host, size_t folded, const struct why *why)
{
    struct node *n = host;
    struct snapshots *s = n->snapshots;
    int64_t ms = (int64_t)(took_ns(s) / 1000000);
    struct metrics *m = n->o.metrics;

    if (why->code == ERR_OK) {
        count(s, METRIC_snapshot_reap_total, 1);
        count(s, METRIC_snapshot_reap_snapshots, (int64_t)folded);
        count(s, METRIC_snapshot_reap_wals, (int64_t)folded);
        metrics_set(m, METRIC_snapshot_reap_execute_duration_ms, ms);
        if (!s->reaping) metrics_set(m, METRIC_snapshot_auto_reap_duration_ms, ms);
    } else {
        count(s, METRIC_snapshot_reap_errors, 1);
        if (why->code != ERR_BUSY)
            logger_warn(n->o.logger, "snapshot-store", "reaping failed: %s", why->text);
    }
    for (struct call *c = s->reaping; c; c = c->next) {
        struct call_reap *r = LIST_ITEM(c, struct call_reap, call);

        r->snapshots_reaped = r->wals_checkpointed = folded;
    }
    answer_all(&s->reaping, why);
    if (s->asked) take_asked(s); /* a folding that failed is not tried again at once */
    if (s->reaps && !images_busy(s->images)) fold(s);
}

/* --- when ------------------------------------------------------------------------- */

static bool entries_due(const struct snapshots *s)
{
    const struct node *n = s->n;
    uint64_t since = raft_last_index(n->raft) - raft_snapshot_index(n->raft);
    uint64_t entries = n->o.snapshot_entries ? n->o.snapshot_entries : SNAPSHOTS_ENTRIES;

    return since >= entries;
}

static bool wal_due(const struct snapshots *s)
{
    const struct node *n = s->n;

    return n->o.snapshot_wal_bytes > 0 && n->o.snapshot_interval_ns > 0 &&
           db_wal_bytes(n->db) >= n->o.snapshot_wal_bytes;
}

/* What a reader keeps in the WAL is no reason to try again and again. */
static bool wal_full(const struct snapshots *s, uint64_t now_ms)
{
    uint64_t bytes = db_wal_bytes(s->n->db);

    return bytes >= SNAPSHOTS_WAL_BYTES_MAX && now_ms >= s->not_before_ms &&
           (bytes < s->wal_left || bytes - s->wal_left >= SNAPSHOTS_WAL_BYTES_MAX);
}

static void consider(struct snapshots *s, uint64_t now_ms)
{
    struct why why = {0};

    if (wal_full(s, now_ms) && !images_busy(s->images)) {
        if (take(s, FOR_WAL, snapshots_trailing(s->n), &why) != ERR_OK)
            s->not_before_ms = now_ms + AGAIN_MS;
    }
    if (now_ms < s->check_ms) return;
    plan_check(s, now_ms);
    if (images_busy(s->images)) return;
    if (entries_due(s))
        (void)!take(s, FOR_ENTRIES, snapshots_trailing(s->n), &why);
    else if (wal_due(s))
        (void)!take(s, FOR_WAL, snapshots_trailing(s->n), &why);
    if (!images_busy(s->images) && fold_due(s)) fold(s); /* it was in use until now */
}

/* Without regard to the time: the next such place may be far. */
void snapshots_cut(struct snapshots *s)
{
    struct why why = {0};

    if (images_busy(s->images)) return;
    if (entries_due(s))
        (void)!take(s, FOR_ENTRIES, snapshots_trailing(s->n), &why);
    else if (wal_due(s) || db_wal_bytes(s->n->db) >= SNAPSHOTS_WAL_BYTES_MAX)
        (void)!take(s, FOR_WAL, snapshots_trailing(s->n), &why);
}

void snapshots_consider(struct snapshots *s, uint64_t now_ms)
{
    consider(s, now_ms);
    images_tick(s->images, now_ms);
    streams_tick(s->streams, now_ms);
}

uint64_t snapshots_deadline_ms(const struct snapshots *s)
{
    uint64_t at = s->check_ms, other = images_deadline_ms(s->images);

    if (other < at) at = other;
    other = streams_deadline_ms(s->streams);
    return other < at ? other : at;
}

void snapshots_take_for(struct snapshots *s, struct call_snapshot *c)
{
    count(s, METRIC_store_num_user_snapshots, 1);
    queue(&s->asked, &c->call);
    next(s);
}

void snapshots_reap_for(struct snapshots *s, struct call_reap *c)
{
    queue(&s->reaps, &c->call);
    next(s);
}

void snapshots_take_last(struct snapshots *s)
{
    struct node *n = s->n;
    char took[TEXT_DURATION_MAX];
    struct why why = {0};
    enum err e;

    if (s->images == NULL) return;
    s->begun_ns = clock_mono_ns(n->o.clock);
    e = images_take_last(s->images, n->applier, &why);
    if (e == ERR_NOTHING) return;
    if (e) {
        logger_warn(n->o.logger, "store", "pre-close snapshot failed: %s", why.text);
        return;
    }
    text_duration(took, (int64_t)took_ns(s));
    logger_info(n->o.logger, "store", "snapshot-on-close took %s", took);
}

/* --- streams ---------------------------------------------------------------------- */

void snapshots_send(struct snapshots *s, const char *peer, uint64_t min_index)
{
    images_send(s->images, peer, min_index);
}

void snapshots_on_install(struct snapshots *s, struct net_call *c)
{
    streams_on_install(s->streams, s->images, c);
}

static enum err port_stream(void *host, const char *peer, const char *addr,
                            uint64_t min_index, struct why *why)
{
    struct snapshots *s = ((struct node *)host)->snapshots;

    return streams_send(s->streams, s->images, peer, addr, min_index, why);
}

static void port_received(void *host, void *user, const struct snapshot_meta *m,
                          const struct why *why)
{
    (void)host;
    streams_received(user, m, why);
}

static void port_restored(void *host, const struct snapshot_meta *m)
{
    struct node *n = host;

    logger_info(n->o.logger, "store", "node restored from snapshot %s", m->id);
    metrics_add(n->o.metrics, METRIC_store_num_restores, 1);
}

/* --- what images asks of its host --------------------------------------------------- */

static void port_aside(void *host, struct reader_job *j)
{
    readers_submit(((struct node *)host)->readers, j);
}

static bool port_back(void *host, struct mail *m,
                      void (*deliver)(struct mail *m, void *host))
{
    return node_post(host, m, deliver);
}

static uint64_t port_now_ms(void *host)
{
    return node_now_ms(host);
}

static uint64_t port_wall_ms(void *host)
{
    return clock_wall_ns(((struct node *)host)->o.clock) / 1000000;
}

static uint64_t port_cluster_id(void *host)
{
    return ((struct node *)host)->cluster_id;
}

static const struct images_ports ports = {
    .aside = port_aside,
    .back = port_back,
    .taken = port_taken,
    .folded = port_folded,
    .stream = port_stream,
    .received = port_received,
    .restored = port_restored,
    .now_ms = port_now_ms,
    .wall_ms = port_wall_ms,
    .cluster_id = port_cluster_id,
};

enum err snapshots_begin(struct snapshots *s, struct why *why)
{
    struct node *n = s->n;
    struct images_options io = {.store = s->store,
                                .member = n->member,
                                .raft = n->raft,
                                .trailing = snapshots_trailing(n),
                                .last_changed = s->last_changed,
                                .marked = n->o.on_disk,
                                .deflate = n->o.compress_snapshots,
                                .ports = &ports,
                                .host = n};

    return images_new(&s->images, &io, why);
}

/* --- status ----------------------------------------------------------------------- */

static void add_id(const char *id, void *arg)
{
    doc_add_text(arg, NULL, id);
}

void snapshots_status(struct snapshots *s, struct doc *store)
{
    struct doc *d = doc_add_object(store, "snapshot_store");
    struct snapshot_stats st;
    char dir[4096];

    snapshot_stats(s->store, &st);
    snprintf(dir, sizeof dir, "%.4000s/snapshots", s->n->o.data_dir);
    doc_add_text(d, "dir", dir);
    doc_add_uint(d, "dir_size", st.bytes);
    snapshot_each(s->store, add_id, doc_add_array(d, "snapshots"));
    d = doc_add_object(store, "snapshot_cas");
    doc_add_null(d, "owner");
    doc_add_duration(d, "duration", 0);
}
