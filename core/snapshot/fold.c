/* SPDX-License-Identifier: MIT */
/*
 * fold: write the deltas' pages into the base, in place.
 *
 *   1. the manifest says that all deltas are being folded
 *   2. pages into the base; it gets the newest snapshot's length; sync
 *   3. the sums of the base as it is now, under the next generation; sync, and the
 *      directory
 *   4. the manifest lists the base alone, with these sums
 *
 * Between 1 and 4, and after a failure in there for as long as it takes, the deltas are
 * read before the base, and only pages that no delta has are compared with the old sums.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/crc32c.h"
#include "core/snapshot/internal.h"

struct fold {
    struct snapshot_store *store;
    struct state *from; /* owned reference */
    struct merge merge;
    struct io_file *file; /* the base, to be written to; owned, as the next two */
    uint32_t *sums;       /* of the base as it will be */
    uint8_t *buffer;      /* of PIECE_PAGES */
    uint32_t pages;       /* of the newest snapshot */
};

static enum err publish(struct fold *f, struct state *st, bool *unsure, struct why *why)
{
    enum err e;

    pthread_mutex_lock(&f->store->disk);
    /* Only the marker can have changed: this fold is the writer. */
    st->marker_len = f->store->state->marker_len;
    memcpy(st->marker, f->store->state->marker, st->marker_len);
    e = store_publish(f->store, st, unsure, why);
    pthread_mutex_unlock(&f->store->disk);
    return e;
}

static enum err announce(struct fold *f, struct why *why)
{
    uint32_t deltas = f->from->n - 1;
    struct state *st;
    bool unsure;

    if (f->from->folding == deltas) return ERR_OK; /* a fold that did not end */
    st = state_clone(f->from, f->from->n);
    if (st == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    st->folding = deltas;
    return publish(f, st, &unsure, why);
}

static enum err prepare(struct fold *f, struct why *why)
{
    struct layer *base = f->from->layers[0];
    char path[PATH_BYTES];
    uint32_t kept;
    enum err e = layer_load_sums(base, why);

    if (!e) e = merge_init(&f->merge, f->from, why);
    if (e) return e;
    f->pages = f->from->meta.pages;
    f->sums = calloc(f->pages > 0 ? f->pages : 1, sizeof *f->sums);
    f->buffer = malloc((size_t)PIECE_PAGES * SNAPSHOT_PAGE);
    if (f->sums == NULL || f->buffer == NULL)
        return why_set(why, ERR_NOMEM, "out of memory");
    kept = f->merge.cut[0];
    if (kept > 0) memcpy(f->sums, base->sums, (size_t)kept * sizeof *f->sums);
    store_path(f->store, path, base->name);
    return f->store->io->ops->open(f->store->io, &f->file, path, IO_WRITE, why);
}

/* n neighbours, all of them from deltas. */
static enum err copy_run(struct fold *f, uint32_t first, uint32_t n, struct why *why)
{
    enum err e = merge_read(&f->merge, first, n, f->buffer, why);

    if (e) return e;
    for (uint32_t i = 0; i < n; i++)
        f->sums[first - 1 + i] =
            crc32c(0, f->buffer + (size_t)i * SNAPSHOT_PAGE, SNAPSHOT_PAGE);
    return f->store->io->ops->write(f->file, (uint64_t)(first - 1) * SNAPSHOT_PAGE,
                                    f->buffer, (size_t)n * SNAPSHOT_PAGE, why);
}

static enum err copy_changed(struct fold *f, struct why *why)
{
    uint32_t first = merge_next_changed(&f->merge, 1);
    enum err e = ERR_OK;

    while (first != 0 && !e) {
        uint32_t n = 1, next = 0;

        while (first + n != 0 &&
               (next = merge_next_changed(&f->merge, first + n)) == first + n &&
               n < PIECE_PAGES)
            n++;
        e = copy_run(f, first, n, why);
        first = next;
    }
    return e;
}

/* Where the locks are, if the database has grown over it: no delta need have that. */
static enum err copy_lock_page(struct fold *f, struct why *why)
{
    if (f->pages < SNAPSHOT_LOCK_PAGE || f->merge.cut[0] >= SNAPSHOT_LOCK_PAGE)
        return ERR_OK;
    return copy_run(f, SNAPSHOT_LOCK_PAGE, 1, why);
}

static enum err write_base(struct fold *f, struct why *why)
{
    const struct io_ops *ops = f->store->io->ops;
    uint64_t size, want = (uint64_t)f->pages * SNAPSHOT_PAGE;
    enum err e = copy_changed(f, why);

    if (!e) e = copy_lock_page(f, why);
    if (!e) e = ops->size(f->file, &size, why);
    if (!e && size != want) e = ops->truncate(f->file, want, why);
    if (!e) e = ops->sync(f->file, why);
    return e;
}

/* The base as the only layer.  Takes what l needs from f. */
static enum err replace(struct fold *f, struct layer *l, bool *unsure, struct why *why)
{
    struct io *io = f->store->io;
    struct io_file *sums = NULL;
    char path[PATH_BYTES];
    struct state *st;
    enum err e;

    store_path(f->store, path, l->sums_name);
    (void)io->ops->unlink(io, path, NULL);
    e = sums_write(io, path, f->pages, f->sums, &l->sum, &sums, why);
    io->ops->close(sums);
    if (!e) e = io->ops->sync_dir(io, f->store->dir, why);
    st = e ? NULL : state_clone(f->from, 0);
    if (!e && st == NULL) e = why_set(why, ERR_NOMEM, "out of memory");
    if (e) {
        layer_unref(l);
        return e;
    }
    memcpy(l->name, f->from->layers[0]->name, sizeof l->name);
    l->pages = l->n = f->pages;
    l->file = f->file;
    atomic_store(&l->sums, f->sums);
    f->file = NULL;
    f->sums = NULL;
    st->layers[st->n++] = l;
    st->generation = f->from->generation + 1;
    st->folding = 0;
    return publish(f, st, unsure, why);
}

static enum err fold(struct fold *f, struct why *why)
{
    struct layer *l;
    char name[FILE_NAME_MAX];
    bool unsure = false;
    enum err e = prepare(f, why);

    if (!e) e = announce(f, why);
    if (!e) e = write_base(f, why);
    if (e) return e;
    l = layer_new(f->store->io, f->store->dir, f->from->meta.id);
    if (l == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    sums_name(name, f->from->base, f->from->generation + 1);
    memcpy(l->sums_name, name, sizeof name);
    e = replace(f, l, &unsure, why);
    if (e) store_doom(f->store, name, unsure);
    return e;
}

static void fold_fini(struct fold *f)
{
    merge_fini(&f->merge);
    f->store->io->ops->close(f->file);
    free(f->sums);
    free(f->buffer);
    state_unref(f->from);
}

enum err snapshot_fold(struct snapshot_store *s, size_t *folded, struct why *why)
{
    struct fold f = {.store = s};
    uint32_t deltas;
    enum err e = store_begin_writing(s, true, why);

    if (folded != NULL) *folded = 0;
    if (e) return e;
    f.from = store_state(s);
    deltas = f.from->n > 0 ? f.from->n - 1 : 0;
    if (deltas > 0) e = fold(&f, why);
    if (!e && deltas > 0) {
        pthread_mutex_lock(&s->lock);
        s->counts.folds++;
        s->counts.folded_deltas += deltas;
        pthread_mutex_unlock(&s->lock);
        if (folded != NULL) *folded = deltas;
    }
    fold_fini(&f);
    store_end_writing(s);
    return e ? err_wrap(why, e, "fold the snapshots") : ERR_OK;
}
