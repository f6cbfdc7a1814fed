/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/blob.h"
#include "core/base/crc32c.h"
#include "core/snapshot/internal.h"

/* --- beginning ---------------------------------------------------------------------- */

static bool id_used(const struct state *st, const char *id)
{
    if (strcmp(st->base, id) == 0) return true;
    for (uint32_t i = 0; i < st->n; i++)
        if (strcmp(st->layers[i]->id, id) == 0) return true;
    return false;
}

static void make_id(struct snapshot_meta *m, const struct state *st, uint64_t wall_ms)
{
    do
        snprintf(m->id, sizeof m->id, "%" PRIu64 "-%" PRIu64 "-%" PRIu64, m->term,
                 m->index, wall_ms++);
    while (id_used(st, m->id));
}

enum err writer_new(struct snapshot_store *s, struct snapshot_writer **out,
                    enum writer_kind kind, const struct snapshot_meta *m, struct why *why)
{
    struct snapshot_writer *w;
    enum err e;

    *out = NULL;
    if (m->extra != NULL && m->extra->len > SNAPSHOT_EXTRA_MAX)
        return why_set(why, ERR_TOO_BIG, "the state beside the database is over %d bytes",
                       SNAPSHOT_EXTRA_MAX);
    w = calloc(1, sizeof *w);
    if (w == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    w->kind = kind;
    w->buffer = malloc((size_t)PIECE_PAGES * SNAPSHOT_PAGE);
    if (snapshot_meta_copy(&w->meta, m) != ERR_OK || w->buffer == NULL) {
        writer_free(w);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    e = store_begin_writing(s, false, why);
    if (e) {
        writer_free(w);
        return e;
    }
    w->store = s;
    *out = w;
    return ERR_OK;
}

void writer_free(struct snapshot_writer *w)
{
    struct io *io = w->store != NULL ? w->store->io : NULL;

    if (io != NULL) {
        io->ops->close(w->file);
        io->ops->close(w->log);
        store_end_writing(w->store);
    }
    snapshot_meta_fini(&w->meta);
    blob_unref(w->bytes);
    free(w->numbers);
    free(w->sums);
    free(w->buffer);
    free(w);
}

/* A new file of that name: one that a failed step could not remove is not reused. */
static enum err make_file(struct snapshot_writer *w, struct why *why)
{
    struct io *io = w->store->io;
    char path[PATH_BYTES];

    store_path(w->store, path, w->name);
    (void)io->ops->unlink(io, path, NULL);
    return io->ops->open(io, &w->file, path, IO_EXCL, why);
}

static enum err check_place(const struct snapshot_writer *w, const struct state *st,
                            struct why *why)
{
    if (st->n > 0 && st->meta.index > w->meta.index)
        return why_set(why, ERR_STALE, "there is a newer snapshot, at %" PRIu64,
                       st->meta.index);
    if (w->kind == WRITER_BASE) return ERR_OK;
    if (st->n == 0)
        return why_set(why, ERR_NOT_FOUND, "there is no snapshot to add changes to");
    if (st->n == LAYERS_MAX)
        return why_set(why, ERR_TOO_BIG, "there are too many snapshots: fold them first");
    return ERR_OK;
}

static enum err start(struct snapshot_writer *w, uint64_t wall_ms, struct why *why)
{
    struct state *st = store_state(w->store);
    enum err e = check_place(w, st, why);

    if (!e) {
        make_id(&w->meta, st, wall_ms);
        w->before_pages = st->n > 0 ? st->meta.pages : 0;
        if (w->kind == WRITER_BASE)
            base_name(w->name, w->meta.id);
        else
            delta_name(w->name, w->meta.id);
        w->bytes = snapshot_meta_encode(&w->meta);
        if (w->bytes == NULL) e = why_set(why, ERR_NOMEM, "out of memory");
    }
    state_unref(st);
    return e ? e : make_file(w, why);
}

static enum err begin(struct snapshot_store *s, struct snapshot_writer **out,
                      enum writer_kind kind, const struct snapshot_meta *m,
                      uint64_t wall_ms, struct why *why)
{
    enum err e = writer_new(s, out, kind, m, why);

    if (e) return e;
    e = start(*out, wall_ms, why);
    if (e) {
        writer_free(*out);
        *out = NULL;
    }
    return e;
}

enum err snapshot_begin_base(struct snapshot_store *s, struct snapshot_writer **out,
                             const struct snapshot_meta *m, uint64_t wall_ms,
                             struct why *why)
{
    return begin(s, out, WRITER_BASE, m, wall_ms, why);
}

enum err snapshot_begin_delta(struct snapshot_store *s, struct snapshot_writer **out,
                              const struct snapshot_meta *m, uint64_t wall_ms,
                              struct why *why)
{
    return begin(s, out, WRITER_DELTA, m, wall_ms, why);
}

/* --- pages -------------------------------------------------------------------------- */

static enum err write_pages(struct snapshot_writer *w, const uint8_t *data, uint32_t n,
                            struct why *why)
{
    uint64_t at = w->kind == WRITER_DELTA ? delta_offset(w->written)
                                          : (uint64_t)w->written * SNAPSHOT_PAGE;
    enum err e =
        w->store->io->ops->write(w->file, at, data, (size_t)n * SNAPSHOT_PAGE, why);

    if (e) return e;
    w->written += n;
    return w->kind == WRITER_INCOMING ? incoming_log(w, why) : ERR_OK;
}

enum err writer_flush(struct snapshot_writer *w, struct why *why)
{
    uint32_t n = w->buffered;

    w->buffered = 0;
    return n > 0 ? write_pages(w, w->buffer, n, why) : ERR_OK;
}

static enum err put_bytes(struct snapshot_writer *w, const uint8_t *data, uint32_t n,
                          struct why *why)
{
    enum err e = ERR_OK;

    if (w->buffered == 0 && n >= PIECE_PAGES) return write_pages(w, data, n, why);
    while (n > 0 && !e) {
        uint32_t some = n < PIECE_PAGES - w->buffered ? n : PIECE_PAGES - w->buffered;

        memcpy(w->buffer + (size_t)w->buffered * SNAPSHOT_PAGE, data,
               (size_t)some * SNAPSHOT_PAGE);
        w->buffered += some;
        data += (size_t)some * SNAPSHOT_PAGE;
        n -= some;
        if (w->buffered == PIECE_PAGES) e = writer_flush(w, why);
    }
    return e;
}

static bool grow(uint32_t **array, uint32_t cap)
{
    uint32_t *p = realloc(*array, (size_t)cap * sizeof *p);

    if (p == NULL) return false;
    *array = p;
    return true;
}

enum err writer_count(struct snapshot_writer *w, uint32_t page, uint32_t sum,
                      struct why *why)
{
    if (w->n == w->cap) {
        uint32_t cap = w->cap == 0               ? 256
                       : w->cap < UINT32_MAX / 2 ? w->cap * 2
                                                 : UINT32_MAX;

        if (!grow(&w->sums, cap) || (w->kind == WRITER_DELTA && !grow(&w->numbers, cap)))
            return why_set(why, ERR_NOMEM, "out of memory");
        w->cap = cap;
    }
    if (w->kind == WRITER_DELTA) w->numbers[w->n] = page;
    w->sums[w->n++] = sum;
    w->last = page;
    return ERR_OK;
}

static enum err put(struct snapshot_writer *w, uint32_t first, uint32_t n,
                    const uint8_t *data, struct why *why)
{
    enum err e = ERR_OK;

    for (uint32_t i = 0; i < n && !e; i++)
        e = writer_count(w, first + i,
                         crc32c(0, data + (size_t)i * SNAPSHOT_PAGE, SNAPSHOT_PAGE), why);
    return e ? e : put_bytes(w, data, n, why);
}

/* A whole image has a place for every page, also for the one that nobody puts. */
static enum err fill_lock_page(struct snapshot_writer *w, uint32_t next, struct why *why)
{
    static const uint8_t zeros[SNAPSHOT_PAGE];

    if (w->kind == WRITER_DELTA || w->last + 1 != SNAPSHOT_LOCK_PAGE ||
        next != SNAPSHOT_LOCK_PAGE + 1)
        return ERR_OK;
    return put(w, SNAPSHOT_LOCK_PAGE, 1, zeros, why);
}

static enum err put_checked(struct snapshot_writer *w, uint32_t first, uint32_t n,
                            const void *data, struct why *why)
{
    enum err e;

    if (first == 0 || n > w->meta.pages || first > w->meta.pages - n + 1)
        return why_set(why, ERR_INVALID,
                       "page %" PRIu32 " is not in a snapshot of %" PRIu32 " pages",
                       first, w->meta.pages);
    e = fill_lock_page(w, first, why);
    if (e) return e;
    if (first <= w->last || (w->kind != WRITER_DELTA && first != w->last + 1))
        return why_set(why, ERR_INVALID, "page %" PRIu32 " of a snapshot is not in order",
                       first);
    return put(w, first, n, data, why);
}

enum err snapshot_put(struct snapshot_writer *w, uint32_t first, uint32_t n,
                      const void *data, struct why *why)
{
    if (n == 0) return ERR_OK;
    if (w->failed.code == ERR_OK)
        w->failed.code = put_checked(w, first, n, data, &w->failed);
    if (w->failed.code == ERR_OK) return ERR_OK;
    return why_set(why, w->failed.code, "write snapshot: %s", w->failed.text);
}

void snapshot_put_marker(struct snapshot_writer *w, const void *data, size_t len)
{
    CHECK(len <= SNAPSHOT_MARKER_MAX);
    if (len > 0) memcpy(w->marker, data, len);
    w->marker_len = (uint32_t)len;
}

uint64_t snapshot_put_bytes(const struct snapshot_writer *w)
{
    return (uint64_t)w->n * SNAPSHOT_PAGE;
}

/* --- ending ------------------------------------------------------------------------- */

/* Every page that the snapshot before did not have must be here. */
static enum err check_growth(const struct snapshot_writer *w, struct why *why)
{
    uint32_t want = w->meta.pages, i = w->n;

    for (; want > w->before_pages; want--) {
        if (i > 0 && w->numbers[i - 1] == want)
            i--;
        else if (want != SNAPSHOT_LOCK_PAGE)
            return why_set(why, ERR_INVALID,
                           "page %" PRIu32 " of the snapshot is missing", want);
    }
    return ERR_OK;
}

static enum err check_complete(struct snapshot_writer *w, struct why *why)
{
    enum err e;

    if (w->failed.code) return why_set(why, w->failed.code, "%s", w->failed.text);
    if (w->kind == WRITER_DELTA) return check_growth(w, why);
    e = fill_lock_page(w, w->meta.pages + 1, why);
    if (!e && w->last != w->meta.pages)
        e = why_set(why, ERR_INVALID,
                    "the snapshot ends with page %" PRIu32 " instead of %" PRIu32,
                    w->last, w->meta.pages);
    return e;
}

/* What was received gets the name of a base. */
static enum err adopt_incoming(struct snapshot_writer *w, struct why *why)
{
    struct io *io = w->store->io;
    char from[PATH_BYTES], to[PATH_BYTES];
    enum err e;

    store_path(w->store, from, INCOMING_PAGES);
    base_name(w->name, w->meta.id);
    store_path(w->store, to, w->name);
    e = io->ops->rename(io, from, to, why);
    return e;
}

static enum err write_sums(struct snapshot_writer *w, const char *name, uint32_t *sum,
                           struct why *why)
{
    struct io_file *f = NULL;
    char path[PATH_BYTES];
    enum err e;

    store_path(w->store, path, name);
    (void)w->store->io->ops->unlink(w->store->io, path, NULL);
    e = sums_write(w->store->io, path, w->n, w->sums, sum, &f, why);
    w->store->io->ops->close(f);
    return e;
}

/* Everything durable but that it is listed.  l: what describes it, completed here. */
static enum err seal(struct snapshot_writer *w, struct layer *l, struct why *why)
{
    struct io *io = w->store->io;
    enum err e = check_complete(w, why);

    if (!e) e = writer_flush(w, why);
    if (!e && w->kind == WRITER_DELTA)
        e = delta_finish(io, w->file, w->meta.id, w->meta.pages, w->n, w->numbers,
                         w->sums, &l->sum, why);
    if (!e) e = io->ops->sync(w->file, why);
    if (!e && w->kind == WRITER_INCOMING) e = adopt_incoming(w, why);
    if (!e && w->kind != WRITER_DELTA) {
        sums_name(l->sums_name, w->meta.id, 1);
        e = write_sums(w, l->sums_name, &l->sum, why);
    }
    if (!e) e = io->ops->sync_dir(io, w->store->dir, why);
    if (e) return e;
    memcpy(l->name, w->name, sizeof l->name);
    l->pages = w->meta.pages;
    l->n = w->n;
    l->file = w->file;
    l->numbers = w->numbers;
    atomic_store(&l->sums, w->sums);
    w->file = NULL;
    w->numbers = w->sums = NULL;
    return ERR_OK;
}

/* Arrays that are there even if they are empty: a layer's show what it is. */
static enum err have_arrays(struct snapshot_writer *w, struct why *why)
{
    if (w->sums != NULL ||
        (grow(&w->sums, 1) && (w->kind != WRITER_DELTA || grow(&w->numbers, 1))))
        return ERR_OK;
    return why_set(why, ERR_NOMEM, "out of memory");
}

/* With s->disk held.  Takes l. */
static enum err list_it(struct snapshot_writer *w, struct layer *l, bool *unsure,
                        struct why *why)
{
    struct snapshot_store *s = w->store;
    struct state *st = state_clone(s->state, w->kind == WRITER_DELTA ? s->state->n : 0);
    enum err e = ERR_NOMEM;

    if (st != NULL) {
        snapshot_meta_fini(&st->meta);
        e = snapshot_meta_copy(&st->meta, &w->meta);
    }
    if (e) {
        state_unref(st);
        layer_unref(l);
        return why_set(why, e, "out of memory");
    }
    blob_unref(st->bytes);
    st->bytes = blob_ref(w->bytes);
    st->layers[st->n++] = l;
    if (w->kind != WRITER_DELTA) {
        memcpy(st->base, w->meta.id, sizeof st->base);
        st->generation = 1;
        st->folding = 0;
    }
    st->marker_len = w->marker_len;
    memcpy(st->marker, w->marker, w->marker_len);
    return store_publish(s, st, unsure, why);
}

/* It is listed, or its files are removed. */
static enum err finish(struct snapshot_writer *w, struct why *why)
{
    struct snapshot_store *s = w->store;
    struct layer *l = layer_new(s->io, s->dir, w->meta.id);
    char sums[FILE_NAME_MAX] = "";
    bool unsure = false;
    enum err e =
        l != NULL ? have_arrays(w, why) : why_set(why, ERR_NOMEM, "out of memory");

    if (!e) e = seal(w, l, why);
    if (l != NULL) memcpy(sums, l->sums_name, sizeof sums);
    if (e) {
        layer_unref(l);
    } else {
        pthread_mutex_lock(&s->disk);
        e = list_it(w, l, &unsure, why);
        pthread_mutex_unlock(&s->disk);
    }
    if (e) {
        store_doom(s, w->name, unsure);
        if (sums[0] != '\0') store_doom(s, sums, unsure);
    }
    return e;
}

enum err snapshot_commit(struct snapshot_writer *w, struct why *why)
{
    struct snapshot_store *s = w->store;
    uint64_t bytes = snapshot_put_bytes(w);
    enum err e = finish(w, why);

    if (!e) {
        pthread_mutex_lock(&s->lock);
        s->counts.written_bytes += bytes;
        pthread_mutex_unlock(&s->lock);
    }
    /* What is being received is older than this now, or is this. */
    if (w->kind == WRITER_INCOMING || (!e && s->incoming_index <= w->meta.index))
        incoming_remove(s);
    writer_free(w);
    return e ? err_wrap(why, e, "write snapshot") : ERR_OK;
}

void snapshot_abort(struct snapshot_writer *w)
{
    if (w == NULL) return;
    if (w->kind == WRITER_INCOMING)
        incoming_remove(w->store);
    else
        store_unlink(w->store, w->name);
    writer_free(w);
}
