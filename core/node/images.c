/* SPDX-License-Identifier: MIT */
#include "core/node/images.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/crc32c.h"
#include "core/base/list.h"
#include "core/node/deflate.h"
#include "core/node/mutation.h"
#include "core/node/pages.h"

enum {
    PIECE_PAGES = 64,
    PIECE_PAGES_MAX = 1024, /* taken from others */
    DELTAS_MAX = 64,        /* each is an open file; more, and the next is a whole one */
    LARGE_PAGES = 4096,     /* below, only what changed is written, however much it is */
    FILE_TICK_MS = 50       /* files' times are told apart by more than this */
};

struct take {                     /* one being taken; travels from thread to thread */
    struct apply_capture capture; /* apply thread */
    struct reader_job job;        /* aside */
    struct mail mail;             /* back to the node thread */
    struct images *x;
    struct snapshot_meta meta;
    struct snapshot_writer *writer; /* owned; of what changed */
    struct db_reader *reader;       /* owned; pinned, of the whole */
    uint64_t trailing, last_changed;
    uint64_t until_ms; /* 0 = no matter */
    uint64_t bytes;
    size_t marker_len;
    uint8_t marker[DB_FINGERPRINT_MAX];
    bool whole;
    bool last;         /* on one thread */
    bool unchanged;    /* also if nothing has changed the database */
    bool captured;     /* the database counts changes from this state on */
    bool written_back; /* the main file is this state */
    struct why why;
};

struct image_out {
    struct list link;
    struct images *x;
    struct snapshot_reader *reader; /* owned, as the next three */
    struct blob *description;
    uint8_t *piece, *squeezed;
    uint32_t piece_pages;
    uint32_t next; /* page to send next, from 1 */
    bool may_deflate, deflate;
    Rqlite__SnapshotHeader header;
    Rqlite__SnapshotChunk chunk;
};

struct image_in {
    struct images *x;
    void *user;
    struct snapshot_writer *writer; /* owned; NULL until the header is here */
    struct snapshot_reader *reader; /* owned; of what was received */
    struct snapshot_meta meta;
    uint32_t have;     /* pages that are here */
    uint8_t *inflated; /* owned */
    struct reader_job job;
    struct apply_restore restore;
    struct mail mail;
    bool committed;
    struct why why;
};

struct want { /* a member that is to get one */
    char peer[RAFT_ID_MAX + 1];
    uint64_t min_index;
    bool streaming;
};

struct images {
    struct images_options o;
    struct take *taking; /* owned; NULL = none */
    struct {
        struct reader_job job;
        struct mail mail;
        size_t folded;
        struct why why;
    } fold;
    bool folding;
    struct image_in *receiving; /* owned; NULL = none */
    struct want wants[RAFT_MEMBERS_MAX];
    size_t n_wants;
    struct mail wants_mail;
    bool wants_posted;
    struct list outs;       /* being sent */
    struct image_out *kept; /* owned; to go on with; NULL = none */
    uint64_t kept_until_ms;
    uint64_t last_changed;
    uint64_t marked_ms; /* when the newest marker was made; apply thread; 0 = never */
    bool need_whole;    /* the database is not the newest snapshot plus known changes */
    atomic_bool
        damaged; /* what the store holds cannot be read: the next is a whole one */
    atomic_bool hurry;
};

enum err images_new(struct images **out, const struct images_options *o, struct why *why)
{
    struct images *x = calloc(1, sizeof *x);
    struct snapshot_meta newest;
    enum err e;

    if (x == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    x->o = *o;
    if (x->o.piece_pages == 0) x->o.piece_pages = PIECE_PAGES;
    x->last_changed = o->last_changed;
    if (o->marked) x->marked_ms = o->ports->now_ms(o->host);
    list_init(&x->outs);
    e = snapshot_newest(o->store, &newest);
    if (e == ERR_OK) {
        snapshot_meta_fini(&newest);
    } else if (e == ERR_NOT_FOUND) {
        x->need_whole = true;
    } else {
        free(x);
        return why_set(why, e, "cannot read the newest snapshot");
    }
    *out = x;
    return ERR_OK;
}

void images_hurry(struct images *x)
{
    atomic_store(&x->hurry, true);
}

static void take_free(struct take *t)
{
    snapshot_abort(t->writer);
    db_reader_close(t->reader); /* pinned, and never copied */
    blob_unref(t->capture.extra);
    snapshot_meta_fini(&t->meta);
    free(t);
}

static void out_free(struct image_out *o)
{
    snapshot_reader_close(o->reader);
    blob_unref(o->description);
    free(o->piece);
    free(o->squeezed);
    free(o);
}

static void in_free(struct image_in *in);

void images_free(struct images *x)
{
    if (x == NULL) return;
    if (x->taking) take_free(x->taking);
    if (x->receiving) in_free(x->receiving);
    if (x->kept) out_free(x->kept);
    free(x);
}

static bool back(struct images *x, struct mail *m,
                 void (*deliver)(struct mail *m, void *host))
{
    return x->o.ports->back(x->o.host, m, deliver);
}

bool images_busy(const struct images *x)
{
    return x->taking || x->folding || x->receiving;
}

static void drop_kept(struct images *x)
{
    if (x->kept) out_free(x->kept);
    x->kept = NULL;
}

void images_tick(struct images *x, uint64_t now_ms)
{
    if (x->kept && now_ms >= x->kept_until_ms) drop_kept(x);
}

uint64_t images_deadline_ms(const struct images *x)
{
    return x->kept ? x->kept_until_ms : UINT64_MAX;
}

/* --- taking -------------------------------------------------------------------- */

static void try_wants(struct images *x);

static void take_settle(struct take *t)
{
    struct images *x = t->x;

    if (t->why.code == ERR_OK) {
        x->last_changed = t->meta.changed_index;
        x->need_whole = false;
        if (t->whole) atomic_store(&x->damaged, false);
    } else if (t->captured && !node_mutation(NODE_MUT_CHANGES_FORGOTTEN)) {
        x->need_whole = true; /* what changed is nowhere */
    }
}

/* Who is being sent one needs the entries after it. */
static uint64_t entries_to_keep(const struct images *x, uint64_t index, uint64_t trailing)
{
    uint64_t oldest = index;

    for (const struct list *l = x->outs.next; l != &x->outs; l = l->next) {
        uint64_t i = image_out_index(LIST_ITEM(l, struct image_out, link));

        if (i < oldest) oldest = i;
    }
    if (x->kept && image_out_index(x->kept) < oldest) oldest = image_out_index(x->kept);
    if (index - oldest > IMAGES_CATCH_UP_MAX) return trailing;
    return index - oldest > trailing ? index - oldest : trailing;
}

/* Node thread: it is durable, or it failed. */
static void deliver_taken(struct mail *m, void *host)
{
    struct take *t = LIST_ITEM(m, struct take, mail);
    struct images *x = t->x;
    struct image_taken told = {.meta = &t->meta,
                               .why = &t->why,
                               .whole = t->whole,
                               .bytes = t->bytes,
                               .written_back = t->written_back,
                               .again = t->capture.again};

    x->taking = NULL;
    take_settle(t);
    if (t->why.code == ERR_OK)
        member_snapshot_taken(x->o.member, t->meta.index, t->meta.term, &t->meta.config,
                              entries_to_keep(x, t->meta.index, t->trailing),
                              x->o.ports->now_ms(host));
    x->o.ports->taken(host, &told);
    take_free(t);
    try_wants(x);
}

static void take_back(struct take *t)
{
    if (!t->last) (void)back(t->x, &t->mail, deliver_taken);
}

static enum err put_pages(void *arg, uint32_t first, uint32_t n, const void *data,
                          struct why *why)
{
    struct take *t = arg;
    const struct images_options *o = &t->x->o;

    if (t->whole && !t->last && atomic_load(&t->x->hurry))
        return why_set(why, ERR_CLOSED, "store not open");
    if (t->until_ms && o->ports->now_ms(o->host) > t->until_ms)
        return why_set(why, ERR_TIMEOUT, "writing it takes too long");
    return snapshot_put(t->writer, first, n, data, why);
}

/* The store has named it. */
static void take_name(struct take *t)
{
    struct snapshot_meta newest;

    if (snapshot_newest(t->x->o.store, &newest) != ERR_OK) return;
    memcpy(t->meta.id, newest.id, sizeof t->meta.id);
    snapshot_meta_fini(&newest);
}

/* Aside: write what is missing, and make it durable. */
static void take_finish(struct reader_job *j, struct db_reader *unused)
{
    struct take *t = LIST_ITEM(j, struct take, job);
    struct images *x = t->x;
    enum err e = ERR_OK;

    (void)unused;
    if (t->whole) {
        e = snapshot_begin_base(x->o.store, &t->writer, &t->meta,
                                x->o.ports->wall_ms(x->o.host), &t->why);
        if (!e) e = db_reader_pages(t->reader, put_pages, t, &t->why);
        db_reader_close(t->reader);
        t->reader = NULL;
    }
    if (!e) {
        t->bytes = snapshot_put_bytes(t->writer);
        if (t->marker_len) snapshot_put_marker(t->writer, t->marker, t->marker_len);
        e = snapshot_commit(t->writer, &t->why);
        t->writer = NULL;
        if (!e) take_name(t);
    }
    t->why.code = e;
    take_back(t);
}

/* Apply thread.  The WAL holds everything still, whatever becomes of this, so only damage
 * is an error.  Not twice within what files' times can tell apart: the marker in the
 * store would hold for both. */
static enum err take_write_back(struct take *t, struct db *d, struct why *why)
{
    struct images *x = t->x;
    uint64_t now = x->o.ports->now_ms(x->o.host);
    struct why local = {0};
    enum err e;

    if (x->marked_ms && now < x->marked_ms + FILE_TICK_MS) {
        const struct timespec tick = {.tv_nsec = FILE_TICK_MS * 1000000L};

        if (!t->last) return ERR_OK;
        (void)nanosleep(&tick, NULL);
    }
    e = db_write_back(d, t->last, &t->written_back, &local);
    if (e == ERR_CORRUPT) {
        if (why) *why = local;
        return e;
    }
    if (e) t->written_back = false;
    if (!t->written_back) return ERR_OK;
    t->marker_len = db_fingerprint(d, t->last, t->marker);
    if (t->marker_len) x->marked_ms = x->o.ports->now_ms(x->o.host);
    return ERR_OK;
}

/* Copying the whole takes long: a reader pinned to it does that aside.  It is pinned
 * after the write-back, which it would be in the way of. */
static enum err take_whole(struct take *t, struct db *d, struct why *why)
{
    enum err e;

    t->captured = true; /* from the write-back on, what changed is not known */
    e = take_write_back(t, d, why);
    if (e) return e;
    t->why.code = db_snapshot_pin(d, &t->reader, &t->why);
    if (t->why.code == ERR_OK) db_captured(d);
    return ERR_OK;
}

static enum err take_changes(struct take *t, struct db *d, struct why *why)
{
    struct images *x = t->x;

    t->why.code = snapshot_begin_delta(x->o.store, &t->writer, &t->meta,
                                       x->o.ports->wall_ms(x->o.host), &t->why);
    if (t->why.code == ERR_OK) t->why.code = db_capture(d, put_pages, t, &t->why);
    if (t->why.code) return ERR_OK;
    db_captured(d);
    t->captured = true;
    return take_write_back(t, d, why);
}

/* What changed is written twice in the end, into the delta and into the base. */
static bool better_whole(const struct apply_capture *c)
{
    return c->changed == UINT32_MAX || c->replaced ||
           (c->state.pages >= LARGE_PAGES && c->changed > c->state.pages / 2);
}

/* Folding cannot keep up: something is being sent all the time, or it fails. */
static bool too_many(const struct images *x)
{
    struct snapshot_stats st;

    snapshot_stats(x->o.store, &st);
    return st.deltas >= DELTAS_MAX;
}

/* Nothing but membership and the like since the last one.  With the last chance, the main
 * file becomes that one. */
static enum err take_nothing(struct take *t, struct db *d, struct why *why)
{
    struct images *x = t->x;
    enum err e = ERR_OK;

    if (t->last && !t->whole && t->capture.changed == 0) e = take_write_back(t, d, why);
    if (t->marker_len) {
        struct snapshot_meta newest;

        if (snapshot_newest(x->o.store, &newest) == ERR_OK) {
            (void)!snapshot_set_marker(x->o.store, newest.index, t->marker, t->marker_len,
                                       NULL);
            snapshot_meta_fini(&newest);
        }
    }
    (void)why_set(&t->why, ERR_NOTHING, "nothing new to snapshot");
    return e;
}

/* Apply thread: this is the state. */
static enum err take_capture(struct apply_capture *c, struct db *d, struct why *why)
{
    struct take *t = LIST_ITEM(c, struct take, capture);
    enum err e = ERR_OK;

    t->why = c->why;
    if (t->why.code == ERR_OK) {
        CHECK(c->state.index == t->meta.index);
        pages_describe(&t->meta, &c->state, c->time_ns);
        t->meta.extra = c->extra;
        c->extra = NULL;
        if (better_whole(c) || (!t->last && too_many(t->x))) t->whole = true;
        if (c->state.changed_index <= t->last_changed && !t->unchanged)
            e = take_nothing(t, d, why);
        else
            e = t->whole ? take_whole(t, d, why) : take_changes(t, d, why);
        if (e && why) t->why = *why;
        if (e) t->why.code = e;
    }
    if (t->why.code)
        take_back(t);
    else if (t->last)
        take_finish(&t->job, NULL);
    else
        t->x->o.ports->aside(t->x->o.host, &t->job);
    return e;
}

/* What it will stand for. */
static enum err take_describe(struct take *t, struct why *why)
{
    const struct images_options *o = &t->x->o;
    bool same = t->last || atomic_load(&t->x->damaged); /* may have the newest's index */
    const struct raft_config *c;
    enum err e;

    t->meta.index = member_handed_over(o->member);
    t->meta.term = raft_term_of(o->raft, t->meta.index);
    t->meta.cluster_id = o->ports->cluster_id(o->host);
    c = raft_config_at(o->raft, t->meta.index);
    if ((t->meta.index <= raft_snapshot_index(o->raft) && !same) || t->meta.term == 0 ||
        c == NULL)
        return why_set(why, ERR_NOTHING, "nothing new to snapshot");
    e = raft_config_copy(&t->meta.config, c);
    if (e) return why_set(why, e, "out of memory");
    t->meta.config.index = c->index;
    return ERR_OK;
}

static enum err take_new(struct take **out, struct apply_job **job, struct images *x,
                         bool last, struct why *why)
{
    struct take *t = calloc(1, sizeof *t);
    enum err e;

    *job = apply_job_new(0);
    if (t == NULL || *job == NULL) {
        free(t);
        apply_job_free(*job);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    t->x = x;
    t->last = last;
    t->last_changed = x->last_changed;
    t->whole = x->need_whole || atomic_load(&x->damaged);
    snapshot_meta_init(&t->meta);
    e = take_describe(t, why);
    if (e) {
        take_free(t);
        apply_job_free(*job);
        return e;
    }
    t->job.run = take_finish;
    t->capture.run = take_capture;
    (*job)->capture = &t->capture;
    (*job)->mail.next = NULL;
    *out = t;
    return ERR_OK;
}

enum err images_take(struct images *x, uint64_t trailing, bool unchanged, struct why *why)
{
    struct apply_job *job;
    struct take *t;
    enum err e;

    if (x->receiving) return why_set(why, ERR_BUSY, "a snapshot is being received");
    if (x->folding) return why_set(why, ERR_BUSY, "snapshots are being reaped");
    if (x->taking) return why_set(why, ERR_BUSY, "snapshot already in progress");
    e = take_new(&t, &job, x, false, why);
    if (e) return e;
    t->trailing = trailing;
    t->unchanged = unchanged;
    x->taking = t;
    if (node_mutation(NODE_MUT_TAKEN_TOO_EARLY))
        member_snapshot_taken(x->o.member, t->meta.index, t->meta.term, &t->meta.config,
                              trailing, x->o.ports->now_ms(x->o.host));
    member_pin(x->o.member, job);
    return ERR_OK;
}

enum err images_take_last(struct images *x, struct applier *a, struct why *why)
{
    struct apply_job *job;
    struct take *t;
    enum err e;

    if (x->taking) { /* it has ended, but could not say so any more */
        take_settle(x->taking);
        take_free(x->taking);
        x->taking = NULL;
    }
    if (x->receiving && x->receiving->committed)
        return why_set(why, ERR_BUSY, "a snapshot was received");
    if (x->receiving && x->receiving->writer) { /* no more of it comes */
        snapshot_suspend(x->receiving->writer);
        x->receiving->writer = NULL;
    }
    if (applier_index(a) != member_handed_over(x->o.member))
        return why_set(why, ERR_BUSY, "not everything was applied");
    e = take_new(&t, &job, x, true, why);
    if (e) return e;
    t->until_ms = x->o.ports->now_ms(x->o.host) + IMAGES_CLOSE_MS;
    e = applier_run(a, &job->mail, why);
    if (!e && t->why.code && why) *why = t->why;
    if (!e) e = t->why.code;
    take_settle(t);
    take_free(t);
    return e;
}

/* --- folding ------------------------------------------------------------------- */

static void deliver_folded(struct mail *m, void *host)
{
    struct images *x = LIST_ITEM(m, struct images, fold.mail);

    x->folding = false;
    x->o.ports->folded(host, x->fold.folded, &x->fold.why);
    try_wants(x);
}

static void fold_run(struct reader_job *j, struct db_reader *unused)
{
    struct images *x = LIST_ITEM(j, struct images, fold.job);

    (void)unused;
    x->fold.why.code = snapshot_fold(x->o.store, &x->fold.folded, &x->fold.why);
    (void)back(x, &x->fold.mail, deliver_folded);
}

enum err images_fold(struct images *x, struct why *why)
{
    if (images_busy(x) || !list_empty(&x->outs) || x->kept)
        return why_set(why, ERR_BUSY, "snapshots are in use");
    memset(&x->fold, 0, sizeof x->fold);
    x->folding = true;
    x->fold.job.run = fold_run;
    x->o.ports->aside(x->o.host, &x->fold.job);
    return ERR_OK;
}

/* --- sending ------------------------------------------------------------------- */

static void want_remove(struct images *x, size_t i)
{
    x->wants[i] = x->wants[--x->n_wants];
}

static void want_fail(struct images *x, size_t i)
{
    struct want w = x->wants[i];

    want_remove(x, i); /* raft asks again */
    member_snapshot_sent(x->o.member, w.peer, w.min_index, false,
                         x->o.ports->now_ms(x->o.host));
}

/* Nobody could be sent what is damaged, nor would the next start find it whole: take
 * another one.  Later, if something excludes it now. */
static void heal(struct images *x)
{
    if (atomic_load(&x->damaged) && !images_busy(x))
        (void)!images_take(x, x->o.trailing, true, NULL);
}

/* Start what can be started; take a newer snapshot for the others. */
static void try_wants(struct images *x)
{
    const struct images_options *o = &x->o;
    struct why why = {0};
    bool missing = false;

    for (size_t i = x->n_wants; i-- > 0;) {
        struct want *w = &x->wants[i];
        const struct raft_member *m = raft_config_find(raft_config(o->raft), w->peer);

        if (w->streaming) continue;
        if (m == NULL) {
            want_remove(x, i);
        } else if (raft_snapshot_index(o->raft) < w->min_index) {
            missing = true;
        } else if (o->ports->stream(o->host, w->peer, m->addr, w->min_index, &why) ==
                   ERR_OK) {
            w->streaming = true;
        } else {
            want_fail(x, i);
        }
    }
    heal(x);
    if (!missing || x->taking) return;
    if (images_take(x, o->trailing, false, &why) == ERR_OK) return;
    for (size_t i = x->n_wants; i-- > 0;)
        if (!x->wants[i].streaming) want_fail(x, i);
}

static void deliver_wants(struct mail *m, void *host)
{
    struct images *x = LIST_ITEM(m, struct images, wants_mail);

    (void)host;
    x->wants_posted = false;
    try_wants(x);
}

void images_send(struct images *x, const char *peer, uint64_t min_index)
{
    for (size_t i = 0; i < x->n_wants; i++)
        if (strcmp(x->wants[i].peer, peer) == 0) return;
    if (x->n_wants == RAFT_MEMBERS_MAX) return;
    memset(&x->wants[x->n_wants], 0, sizeof x->wants[0]);
    snprintf(x->wants[x->n_wants].peer, sizeof x->wants[0].peer, "%s", peer);
    x->wants[x->n_wants++].min_index = min_index;
    if (x->wants_posted) return; /* not within the turn that asked */
    x->wants_posted = back(x, &x->wants_mail, deliver_wants);
}

void images_sent(struct images *x, const char *peer, uint64_t index, bool ok)
{
    for (size_t i = x->n_wants; i-- > 0;)
        if (strcmp(x->wants[i].peer, peer) == 0) want_remove(x, i);
    member_snapshot_sent(x->o.member, peer, index, ok, x->o.ports->now_ms(x->o.host));
    heal(x);
}

static enum err out_new(struct image_out **out, struct images *x, struct why *why)
{
    struct image_out *o = calloc(1, sizeof *o);
    enum err e;

    if (o == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    e = snapshot_reader_open(x->o.store, &o->reader, why);
    if (e) {
        if (e == ERR_CORRUPT) atomic_store(&x->damaged, true);
        free(o);
        return e;
    }
    o->x = x;
    o->piece_pages = x->o.piece_pages;
    o->may_deflate = x->o.deflate;
    o->description = snapshot_meta_encode(snapshot_reader_meta(o->reader));
    o->piece = malloc((size_t)o->piece_pages * SNAPSHOT_PAGE);
    if (o->may_deflate) o->squeezed = malloc((size_t)o->piece_pages * SNAPSHOT_PAGE);
    if (o->description == NULL || o->piece == NULL ||
        (o->may_deflate && o->squeezed == NULL)) {
        out_free(o);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    *out = o;
    return ERR_OK;
}

enum err image_out_open(struct images *x, struct image_out **out, uint64_t min_index,
                        struct why *why)
{
    struct image_out *o = NULL;
    enum err e;

    if (x->kept && image_out_index(x->kept) >= min_index) {
        o = x->kept;
        x->kept = NULL;
    } else {
        e = out_new(&o, x, why);
        if (e) return e;
        if (image_out_index(o) < min_index) {
            out_free(o);
            return why_set(why, ERR_STALE, "the newest snapshot is too old");
        }
    }
    o->next = 0;
    list_push_back(&x->outs, &o->link);
    *out = o;
    return ERR_OK;
}

uint64_t image_out_index(const struct image_out *o)
{
    return snapshot_reader_meta(o->reader)->index;
}

const Rqlite__SnapshotChunk *image_out_header(struct image_out *o)
{
    const struct snapshot_meta *m = snapshot_reader_meta(o->reader);

    rqlite__snapshot_header__init(&o->header);
    rqlite__snapshot_chunk__init(&o->chunk);
    o->header.index = m->index;
    o->header.term = m->term;
    o->header.meta.data = o->description->data;
    o->header.meta.len = o->description->len;
    o->header.deflate = o->may_deflate;
    o->chunk.kind_case = RQLITE__SNAPSHOT_CHUNK__KIND_HEADER;
    o->chunk.header = &o->header;
    return &o->chunk;
}

enum err image_out_answer(struct image_out *o, const Rqlite__SnapshotReply *r,
                          struct why *why)
{
    if (r->pages > snapshot_reader_meta(o->reader)->pages)
        return why_set(why, ERR_INVALID, "it has more pages than there are");
    o->next = r->pages + 1;
    o->deflate = o->may_deflate && r->inflate;
    return ERR_OK;
}

enum err image_out_next(struct image_out *o, const Rqlite__SnapshotChunk **out,
                        struct why *why)
{
    uint32_t pages = snapshot_reader_meta(o->reader)->pages, n = o->piece_pages;
    size_t len, squeezed;
    enum err e;

    CHECK(o->next > 0);
    *out = NULL;
    if (o->next > pages) return ERR_OK;
    if (n > pages - o->next + 1) n = pages - o->next + 1;
    e = snapshot_read(o->reader, o->next, n, o->piece, why);
    if (e == ERR_CORRUPT) atomic_store(&o->x->damaged, true);
    if (e) return e;
    len = (size_t)n * SNAPSHOT_PAGE;
    rqlite__snapshot_chunk__init(&o->chunk);
    o->chunk.kind_case = RQLITE__SNAPSHOT_CHUNK__KIND_DATA;
    o->chunk.page = o->next;
    o->chunk.pages = n;
    o->chunk.crc32c = crc32c(0, o->piece, len);
    o->chunk.data.data = o->piece;
    o->chunk.data.len = len;
    if (o->deflate && deflate_pages(o->squeezed, len, &squeezed, o->piece, len)) {
        o->chunk.data.data = o->squeezed;
        o->chunk.data.len = squeezed;
        o->chunk.deflated = true;
    }
    o->next += n;
    *out = &o->chunk;
    return ERR_OK;
}

void image_out_close(struct images *x, struct image_out *o, bool again)
{
    if (o == NULL) return;
    list_remove(&o->link);
    if (again) {
        drop_kept(x);
        x->kept = o;
        x->kept_until_ms = x->o.ports->now_ms(x->o.host) + IMAGE_OUT_KEPT_MS;
    } else {
        out_free(o);
    }
}

/* --- receiving ----------------------------------------------------------------- */

static void in_free(struct image_in *in)
{
    if (in->writer) snapshot_suspend(in->writer);
    snapshot_reader_close(in->reader);
    snapshot_meta_fini(&in->meta);
    free(in->inflated);
    if (in->x->receiving == in) in->x->receiving = NULL;
    free(in);
}

enum err images_receive(struct images *x, struct image_in **out, void *user,
                        struct why *why)
{
    struct image_in *in;

    if (x->receiving) return why_set(why, ERR_BUSY, "another snapshot is being received");
    if (x->taking) return why_set(why, ERR_BUSY, "a snapshot is being taken here");
    if (x->folding) return why_set(why, ERR_BUSY, "snapshots are being reaped here");
    in = calloc(1, sizeof *in);
    if (in == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    in->x = x;
    in->user = user;
    snapshot_meta_init(&in->meta);
    x->receiving = in;
    *out = in;
    return ERR_OK;
}

static enum err in_begin(struct image_in *in, const Rqlite__SnapshotHeader *h,
                         struct why *why)
{
    const struct images_options *o = &in->x->o;
    uint64_t mine = o->ports->cluster_id(o->host);
    enum err e = snapshot_meta_decode(&in->meta, h->meta.data, h->meta.len, why);

    if (e) return e;
    if (mine != 0 && in->meta.cluster_id != mine)
        return why_set(why, ERR_INVALID, "the snapshot is of another cluster");
    return snapshot_begin_incoming(o->store, &in->writer, &in->meta, &in->have, why);
}

/* The pages of m as they are. */
static enum err in_inflate(struct image_in *in, const Rqlite__SnapshotChunk *m,
                           const uint8_t **out, struct why *why)
{
    size_t len = (size_t)m->pages * SNAPSHOT_PAGE;

    *out = m->data.data;
    if (!m->deflated)
        return m->data.len == len ? ERR_OK : why_set(why, ERR_INVALID, "no whole pages");
    if (in->inflated == NULL)
        in->inflated = malloc((size_t)PIECE_PAGES_MAX * SNAPSHOT_PAGE);
    if (in->inflated == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    if (!inflate_pages(in->inflated, len, m->data.data, m->data.len))
        return why_set(why, ERR_CORRUPT, "a chunk cannot be decompressed");
    *out = in->inflated;
    return ERR_OK;
}

static enum err in_piece(struct image_in *in, const Rqlite__SnapshotChunk *m,
                         struct why *why)
{
    const uint8_t *data;
    enum err e;

    if (in->writer == NULL) return why_set(why, ERR_INVALID, "data before the header");
    if (m->page != in->have + 1 || m->pages == 0 || m->pages > PIECE_PAGES_MAX ||
        m->pages > in->meta.pages - in->have)
        return why_set(why, ERR_INVALID, "data out of order");
    e = in_inflate(in, m, &data, why);
    if (e) return e;
    if (crc32c(0, data, (size_t)m->pages * SNAPSHOT_PAGE) != m->crc32c)
        return why_set(why, ERR_CORRUPT, "a chunk does not match its checksum");
    e = snapshot_put(in->writer, m->page, m->pages, data, why);
    if (!e) in->have += m->pages;
    return e;
}

enum err image_in_message(struct image_in *in, const Rqlite__SnapshotChunk *m,
                          struct why *why)
{
    if (m->kind_case == RQLITE__SNAPSHOT_CHUNK__KIND_HEADER && in->writer == NULL)
        return in_begin(in, m->header, why);
    if (m->kind_case == RQLITE__SNAPSHOT_CHUNK__KIND_DATA) return in_piece(in, m, why);
    return why_set(why, ERR_INVALID, "unexpected message");
}

void image_in_answer(const struct image_in *in, Rqlite__SnapshotReply *out)
{
    rqlite__snapshot_reply__init(out);
    out->pages = in->have;
    out->inflate = true;
}

static void deliver_restored(struct mail *m, void *host)
{
    struct image_in *in = LIST_ITEM(m, struct image_in, mail);
    struct images *x = in->x;
    const struct images_options *o = &x->o;

    o->ports->restored(host, &in->meta);
    member_applied(o->member, in->meta.index, in->meta.effect_hash,
                   o->ports->now_ms(host));
    in_free(in);
    try_wants(x);
}

/* Apply thread.  The WAL is as large as the image now.  There is no marker, for the first
 * page is not quite the snapshot's: readers have to notice the change. */
static void in_restored(struct apply_restore *r, struct db *d)
{
    struct image_in *in = LIST_ITEM(r, struct image_in, restore);
    bool complete;

    (void)!db_write_back(d, false, &complete, NULL);
    (void)back(in->x, &in->mail, deliver_restored);
}

static void fill_restore(struct image_in *in)
{
    in->restore.from = pages_of(in->reader);
    pages_state(&in->restore.state, &in->meta);
    in->restore.time_ns = in->meta.time_ns;
    in->restore.extra = in->meta.extra;
    in->restore.done = in_restored;
}

/* Node thread: the snapshot is durable here, or refused. */
static void deliver_committed(struct mail *m, void *host)
{
    struct image_in *in = LIST_ITEM(m, struct image_in, mail);
    struct images *x = in->x;
    const struct images_options *o = &x->o;
    struct apply_job *job = NULL;

    if (in->committed) {
        x->last_changed = in->meta.changed_index;
        /* Its pages need not be laid out as ours. */
        x->need_whole = true;
    }
    if (in->why.code == ERR_OK && (job = apply_job_new(0)) == NULL)
        (void)why_set(&in->why, ERR_NOMEM, "out of memory");
    o->ports->received(host, in->user, &in->meta, &in->why);
    if (in->why.code) {
        in_free(in);
        try_wants(x);
        return;
    }
    fill_restore(in);
    job->restore = &in->restore;
    if (member_snapshot_installed(o->member, in->meta.index, in->meta.term,
                                  &in->meta.config, job, o->ports->now_ms(host))) {
        x->need_whole = false; /* the database becomes this very image */
        return;
    }
    in_free(in); /* we were past it already */
    try_wants(x);
}

/* Aside: syncing a large file must not hold up the node thread. */
static void in_commit(struct reader_job *j, struct db_reader *unused)
{
    struct image_in *in = LIST_ITEM(j, struct image_in, job);

    (void)unused;
    in->why.code = snapshot_commit(in->writer, &in->why);
    in->writer = NULL;
    if (in->why.code == ERR_OK) {
        in->committed = true;
        in->why.code = snapshot_reader_open(in->x->o.store, &in->reader, &in->why);
    }
    if (in->why.code == ERR_OK &&
        snapshot_reader_meta(in->reader)->index != in->meta.index)
        (void)why_set(&in->why, ERR_STALE, "this node has a newer snapshot");
    (void)back(in->x, &in->mail, deliver_committed);
}

enum err image_in_end(struct image_in *in, struct why *why)
{
    if (in->writer == NULL || in->have != in->meta.pages)
        return why_set(why, ERR_INVALID, "the stream ended too early");
    in->job.run = in_commit;
    in->x->o.ports->aside(in->x->o.host, &in->job);
    return ERR_OK;
}

void image_in_abort(struct image_in *in)
{
    struct images *x = in->x;

    in_free(in);
    if (!atomic_load(&x->hurry)) try_wants(x);
}
