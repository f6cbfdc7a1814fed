/* SPDX-License-Identifier: MIT */
#include "core/node/images.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/crc32c.h"
#include "core/base/io.h"
#include "core/base/list.h"
#include "core/node/mutation.h"

struct take {              /* one being taken; travels from thread to thread */
    struct apply_pin pin;  /* apply thread */
    struct reader_job job; /* aside */
    struct mail mail;      /* back to the node thread */
    struct images *x;
    struct snapshot_meta meta;
    uint64_t trailing, last_changed;
    struct why why;
};

struct image_in {
    struct images *x;
    void *user;
    struct snapshot_writer *writer; /* NULL until the header is here */
    struct snapshot_meta meta;
    struct reader_job job;
    struct apply_restore restore;
    struct mail mail;
    struct why why;
    char path[4096];
};

struct want { /* a member that is to get one */
    char peer[RAFT_ID_MAX + 1];
    uint64_t min_index;
    bool streaming;
};

struct images {
    struct images_options o;
    char scratch[4200];
    struct take *taking;        /* owned; NULL = none */
    struct image_in *receiving; /* owned; NULL = none */
    struct want wants[RAFT_MEMBERS_MAX];
    size_t n_wants;
    struct mail wants_mail;
    bool wants_posted;
    uint64_t last_changed;
};

enum err images_new(struct images **out, const struct images_options *o, struct why *why)
{
    struct images *x = calloc(1, sizeof *x);

    if (x == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    x->o = *o;
    x->last_changed = o->last_changed;
    snprintf(x->scratch, sizeof x->scratch, "%.4000s/snapshot.sqlite", o->scratch_dir);
    *out = x;
    return ERR_OK;
}

static void take_free(struct take *t)
{
    db_reader_close(t->pin.reader); /* pinned, and never copied */
    snapshot_meta_fini(&t->meta);
    free(t);
}

void images_free(struct images *x)
{
    if (x == NULL) return;
    if (x->taking) take_free(x->taking);
    if (x->receiving) image_in_abort(x->receiving);
    free(x);
}

static bool back(struct images *x, struct mail *m,
                 void (*deliver)(struct mail *m, void *host))
{
    return x->o.ports->back(x->o.host, m, deliver);
}

/* --- taking -------------------------------------------------------------------- */

static void try_wants(struct images *x);

/* Node thread: it is durable, or it failed. */
static void deliver_taken(struct mail *m, void *host)
{
    struct take *t = LIST_ITEM(m, struct take, mail);
    struct images *x = t->x;

    x->taking = NULL;
    if (t->why.code == ERR_OK) {
        x->last_changed = t->meta.changed_index;
        member_snapshot_taken(x->o.member, t->meta.index, t->meta.term, &t->meta.config,
                              t->trailing, x->o.ports->now_ms(host));
    }
    x->o.ports->taken(host, &t->meta, &t->why);
    take_free(t);
    try_wants(x);
}

/* Aside: copy what the pinned reader sees. */
static void take_copy(struct reader_job *j, struct db_reader *unused)
{
    struct take *t = LIST_ITEM(j, struct take, job);
    struct images *x = t->x;
    struct snapshot_writer *w = NULL;
    struct snapshot_meta newest;
    enum err e;

    (void)unused;
    e = db_reader_backup(t->pin.reader, DB_BACKUP_WAL, NULL, x->scratch, &t->why);
    db_reader_close(t->pin.reader);
    t->pin.reader = NULL;
    if (!e)
        e = snapshot_begin(x->o.store, &w, t->meta.index, t->meta.term,
                           x->o.ports->wall_ms(x->o.host), &t->why);
    if (!e) {
        e = snapshot_adopt(w, x->scratch, &t->why);
        if (e)
            snapshot_abort(w);
        else
            e = snapshot_commit(w, &t->meta, &t->why);
    }
    unlink(x->scratch);
    if (!e && snapshot_newest(x->o.store, &newest) == ERR_OK) {
        t->meta.size = newest.size;
        snapshot_meta_fini(&newest);
    }
    t->why.code = e;
    (void)back(x, &t->mail, deliver_taken);
}

/* Apply thread: the state is pinned. */
static void take_pinned(struct apply_pin *p)
{
    struct take *t = LIST_ITEM(p, struct take, pin);

    t->why = p->why;
    if (p->why.code == ERR_OK && p->state.changed_index <= t->last_changed) {
        db_reader_close(p->reader); /* membership entries and the like only */
        p->reader = NULL;
        (void)why_set(&t->why, ERR_NOTHING, "nothing new to snapshot");
    }
    if (t->why.code) {
        (void)back(t->x, &t->mail, deliver_taken);
        return;
    }
    CHECK(p->state.index == t->meta.index);
    t->meta.time_ns = p->time_ns;
    t->meta.effect_hash = p->state.effect_hash;
    t->meta.changed_index = p->state.changed_index;
    t->meta.state_len = p->state.len;
    memcpy(t->meta.state, p->state.bytes, p->state.len);
    t->job.run = take_copy;
    t->x->o.ports->aside(t->x->o.host, &t->job);
}

/* What it will stand for. */
static enum err take_describe(struct take *t, struct why *why)
{
    const struct images_options *o = &t->x->o;
    const struct raft_config *c;
    enum err e;

    t->meta.index = member_handed_over(o->member);
    t->meta.term = raft_term_of(o->raft, t->meta.index);
    t->meta.cluster_id = o->ports->cluster_id(o->host);
    c = raft_config_at(o->raft, t->meta.index);
    if (t->meta.index <= raft_snapshot_index(o->raft) || t->meta.term == 0 || c == NULL)
        return why_set(why, ERR_NOTHING, "nothing new to snapshot");
    e = raft_config_copy(&t->meta.config, c);
    if (e) return why_set(why, e, "out of memory");
    t->meta.config.index = c->index;
    return ERR_OK;
}

enum err images_take(struct images *x, uint64_t trailing, struct why *why)
{
    struct apply_job *job;
    struct take *t;
    enum err e;

    if (x->taking) return why_set(why, ERR_BUSY, "snapshot already in progress");
    t = calloc(1, sizeof *t);
    job = apply_job_new(0);
    if (t == NULL || job == NULL) {
        free(t);
        apply_job_free(job);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    t->x = x;
    t->trailing = trailing;
    t->last_changed = x->last_changed;
    raft_config_init(&t->meta.config);
    e = take_describe(t, why);
    if (e) {
        take_free(t);
        apply_job_free(job);
        return e;
    }
    t->pin.done = take_pinned;
    job->pin = &t->pin;
    x->taking = t;
    if (node_mutation(NODE_MUT_TAKEN_TOO_EARLY))
        member_snapshot_taken(x->o.member, t->meta.index, t->meta.term, &t->meta.config,
                              trailing, x->o.ports->now_ms(x->o.host));
    member_pin(x->o.member, job);
    return ERR_OK;
}

bool images_taking(const struct images *x)
{
    return x->taking != NULL;
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
        } else if (o->ports->stream(o->host, w->peer, m->addr, &why) == ERR_OK) {
            w->streaming = true;
        } else {
            want_fail(x, i);
        }
    }
    if (!missing || x->taking) return;
    if (images_take(x, o->trailing, &why) == ERR_OK) return;
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
}

enum err image_out_open(struct image_out *o, struct snapshot_store *s, struct io *io,
                        size_t piece_bytes, struct why *why)
{
    char path[4096];
    enum err e;

    memset(o, 0, sizeof *o);
    o->store = s;
    o->io = io;
    o->piece_bytes = piece_bytes;
    e = snapshot_pin(s, &o->meta, path, sizeof path);
    if (e) return why_set(why, e, "there is no snapshot");
    o->pinned = true;
    o->description = snapshot_meta_encode(&o->meta);
    o->piece = malloc(piece_bytes);
    if (o->description == NULL || o->piece == NULL)
        e = why_set(why, ERR_NOMEM, "out of memory");
    if (!e) e = io->ops->open(io, &o->file, path, IO_READ, why);
    if (e) image_out_close(o);
    return e;
}

static void give_header(struct image_out *o)
{
    rqlite__snapshot_header__init(&o->header);
    o->header.index = o->meta.index;
    o->header.term = o->meta.term;
    o->header.size = o->meta.size;
    o->header.crc32c = o->meta.crc32c;
    o->header.effect_hash = o->meta.effect_hash;
    o->header.meta.data = o->description->data;
    o->header.meta.len = o->description->len;
    o->chunk.kind_case = RQLITE__SNAPSHOT_CHUNK__KIND_HEADER;
    o->chunk.header = &o->header;
    o->header_given = true;
}

enum err image_out_next(struct image_out *o, const Rqlite__SnapshotChunk **out,
                        struct why *why)
{
    size_t got = 0;
    enum err e;

    *out = &o->chunk;
    rqlite__snapshot_chunk__init(&o->chunk);
    if (!o->header_given) {
        give_header(o);
        return ERR_OK;
    }
    if (o->offset >= o->meta.size) {
        *out = NULL;
        return ERR_OK;
    }
    e = o->io->ops->read(o->file, o->offset, o->piece, o->piece_bytes, &got, why);
    if (!e && got == 0) e = why_set(why, ERR_CORRUPT, "the snapshot's file is too short");
    if (e) return e;
    o->chunk.kind_case = RQLITE__SNAPSHOT_CHUNK__KIND_DATA;
    o->chunk.data.data = o->piece;
    o->chunk.data.len = got;
    o->chunk.offset = o->offset;
    o->chunk.crc32c = crc32c(0, o->piece, got);
    o->offset += got;
    return ERR_OK;
}

void image_out_close(struct image_out *o)
{
    if (o->file) o->io->ops->close(o->file);
    if (o->pinned) snapshot_unpin(o->store, o->meta.id);
    snapshot_meta_fini(&o->meta);
    blob_unref(o->description);
    free(o->piece);
    memset(o, 0, sizeof *o);
}

/* --- receiving ----------------------------------------------------------------- */

static void in_free(struct image_in *in)
{
    snapshot_abort(in->writer);
    snapshot_meta_fini(&in->meta);
    if (in->x->receiving == in) in->x->receiving = NULL;
    free(in);
}

enum err images_receive(struct images *x, struct image_in **out, void *user,
                        struct why *why)
{
    struct image_in *in;

    if (x->receiving) return why_set(why, ERR_BUSY, "another snapshot is being received");
    in = calloc(1, sizeof *in);
    if (in == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    in->x = x;
    in->user = user;
    raft_config_init(&in->meta.config);
    x->receiving = in;
    *out = in;
    return ERR_OK;
}

static enum err in_begin(struct image_in *in, const Rqlite__SnapshotHeader *h,
                         struct why *why)
{
    struct images *x = in->x;
    enum err e = snapshot_meta_decode(&in->meta, h->meta.data, h->meta.len, why);

    if (e) return e;
    if (x->taking) return why_set(why, ERR_BUSY, "a snapshot is being taken here");
    return snapshot_begin(x->o.store, &in->writer, in->meta.index, in->meta.term,
                          x->o.ports->wall_ms(x->o.host), why);
}

static enum err in_piece(struct image_in *in, const Rqlite__SnapshotChunk *m,
                         struct why *why)
{
    if (in->writer == NULL) return why_set(why, ERR_INVALID, "data before the header");
    if (m->offset != snapshot_written(in->writer) ||
        m->data.len > in->meta.size - m->offset)
        return why_set(why, ERR_INVALID, "data out of order");
    if (crc32c(0, m->data.data, m->data.len) != m->crc32c)
        return why_set(why, ERR_CORRUPT, "a chunk does not match its checksum");
    return snapshot_write(in->writer, m->data.data, m->data.len, why);
}

enum err image_in_message(struct image_in *in, const Rqlite__SnapshotChunk *m,
                          struct why *why)
{
    if (m->kind_case == RQLITE__SNAPSHOT_CHUNK__KIND_HEADER && in->writer == NULL)
        return in_begin(in, m->header, why);
    if (m->kind_case == RQLITE__SNAPSHOT_CHUNK__KIND_DATA) return in_piece(in, m, why);
    return why_set(why, ERR_INVALID, "unexpected message");
}

static void deliver_restored(struct mail *m, void *host)
{
    struct image_in *in = LIST_ITEM(m, struct image_in, mail);
    const struct images_options *o = &in->x->o;

    snapshot_unpin(o->store, in->meta.id);
    o->ports->restored(host, &in->meta);
    member_applied(o->member, in->meta.index, in->meta.effect_hash,
                   o->ports->now_ms(host));
    in_free(in);
}

/* Apply thread. */
static void in_restored(struct apply_restore *r)
{
    struct image_in *in = LIST_ITEM(r, struct image_in, restore);

    (void)back(in->x, &in->mail, deliver_restored);
}

static void fill_restore(struct image_in *in)
{
    in->restore.path = in->path;
    in->restore.time_ns = in->meta.time_ns;
    in->restore.state.index = in->meta.index;
    in->restore.state.effect_hash = in->meta.effect_hash;
    in->restore.state.changed_index = in->meta.changed_index;
    in->restore.state.len = in->meta.state_len;
    memcpy(in->restore.state.bytes, in->meta.state, in->meta.state_len);
    in->restore.done = in_restored;
}

/* Node thread: the snapshot is durable here, or refused. */
static void deliver_committed(struct mail *m, void *host)
{
    struct image_in *in = LIST_ITEM(m, struct image_in, mail);
    struct images *x = in->x;
    const struct images_options *o = &x->o;
    struct apply_job *job = NULL;

    if (in->why.code == ERR_OK && (job = apply_job_new(0)) == NULL) {
        snapshot_unpin(o->store, in->meta.id);
        (void)why_set(&in->why, ERR_NOMEM, "out of memory");
    }
    if (in->why.code == ERR_OK) x->last_changed = in->meta.changed_index;
    o->ports->received(host, in->user, &in->meta, &in->why);
    if (in->why.code) {
        in_free(in);
        return;
    }
    fill_restore(in);
    job->restore = &in->restore;
    if (!member_snapshot_installed(o->member, in->meta.index, in->meta.term,
                                   &in->meta.config, job, o->ports->now_ms(host))) {
        snapshot_unpin(o->store, in->meta.id); /* we were past it already */
        in_free(in);
    }
}

/* Aside: syncing a large file must not hold up the node thread. */
static void in_commit(struct reader_job *j, struct db_reader *unused)
{
    struct image_in *in = LIST_ITEM(j, struct image_in, job);
    struct snapshot_store *store = in->x->o.store;
    struct snapshot_meta pinned;

    (void)unused;
    in->why.code = snapshot_commit(in->writer, &in->meta, &in->why);
    in->writer = NULL;
    if (in->why.code == ERR_OK) {
        in->why.code = snapshot_pin(store, &pinned, in->path, sizeof in->path);
        if (in->why.code == ERR_OK) {
            if (pinned.index != in->meta.index) /* ours is newer by now */
                (void)why_set(&in->why, ERR_STALE, "this node has a newer snapshot");
            snprintf(in->meta.id, sizeof in->meta.id, "%s", pinned.id);
            if (in->why.code) snapshot_unpin(store, pinned.id);
            snapshot_meta_fini(&pinned);
        }
    }
    (void)back(in->x, &in->mail, deliver_committed);
}

enum err image_in_end(struct image_in *in, struct why *why)
{
    if (in->writer == NULL || snapshot_written(in->writer) != in->meta.size)
        return why_set(why, ERR_INVALID, "the stream ended too early");
    in->job.run = in_commit;
    in->x->o.ports->aside(in->x->o.host, &in->job);
    return ERR_OK;
}

void image_in_abort(struct image_in *in)
{
    in_free(in);
}
