/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/blob.h"
#include "core/base/bytes.h"
#include "core/base/logger.h"
#include "core/snapshot/internal.h"

#define MANIFEST     "manifest"
#define MANIFEST_NEW "manifest.new"

void store_path(const struct snapshot_store *s, char out[PATH_BYTES], const char *name)
{
    snprintf(out, PATH_BYTES, "%s/%s", s->dir, name);
}

void store_unlink(struct snapshot_store *s, const char *name)
{
    char path[PATH_BYTES];

    store_path(s, path, name);
    (void)s->io->ops->unlink(s->io, path, NULL);
}

/* --- states ------------------------------------------------------------------------- */

static struct state *state_new(uint32_t room)
{
    struct state *st = calloc(1, sizeof *st);

    if (st == NULL) return NULL;
    st->layers = calloc(room > 0 ? room : 1, sizeof *st->layers);
    if (st->layers == NULL) {
        free(st);
        return NULL;
    }
    atomic_init(&st->refs, 1);
    snapshot_meta_init(&st->meta);
    return st;
}

struct state *state_ref(struct state *st)
{
    atomic_fetch_add_explicit(&st->refs, 1, memory_order_relaxed);
    return st;
}

void state_unref(struct state *st)
{
    if (st == NULL) return;
    if (atomic_fetch_sub_explicit(&st->refs, 1, memory_order_acq_rel) != 1) return;
    for (uint32_t i = 0; i < st->n; i++) layer_unref(st->layers[i]);
    free(st->layers);
    snapshot_meta_fini(&st->meta);
    blob_unref(st->bytes);
    free(st);
}

struct state *store_state(struct snapshot_store *s)
{
    struct state *st;

    pthread_mutex_lock(&s->lock);
    st = state_ref(s->state);
    pthread_mutex_unlock(&s->lock);
    return st;
}

struct state *state_clone(const struct state *st, uint32_t n)
{
    struct state *out = state_new(n + 1);

    if (out == NULL) return NULL;
    if (snapshot_meta_copy(&out->meta, &st->meta) != ERR_OK) {
        state_unref(out);
        return NULL;
    }
    memcpy(out->base, st->base, sizeof out->base);
    out->generation = st->generation;
    out->folding = st->folding;
    for (; out->n < n; out->n++) out->layers[out->n] = layer_ref(st->layers[out->n]);
    out->bytes = blob_ref(st->bytes);
    out->marker_len = st->marker_len;
    memcpy(out->marker, st->marker, st->marker_len);
    return out;
}

static bool has_name(const struct state *st, const char *name)
{
    for (uint32_t i = 0; i < st->n; i++)
        if (strcmp(st->layers[i]->name, name) == 0 ||
            strcmp(st->layers[i]->sums_name, name) == 0)
            return true;
    return false;
}

/* --- the manifest on disk ----------------------------------------------------------- */

static struct blob *state_encode(const struct state *st)
{
    struct manifest m = {.generation = st->generation,
                         .folding = st->folding,
                         .n = st->n,
                         .meta = st->bytes != NULL ? st->bytes->data : NULL,
                         .meta_len = st->bytes != NULL ? st->bytes->len : 0,
                         .marker = st->marker,
                         .marker_len = st->marker_len};
    struct blob *out = NULL;

    memcpy(m.base, st->base, sizeof m.base);
    m.layers = calloc(st->n > 0 ? st->n : 1, sizeof *m.layers);
    if (m.layers == NULL) return NULL;
    for (uint32_t i = 0; i < st->n; i++) {
        const struct layer *l = st->layers[i];

        memcpy(m.layers[i].id, l->id, sizeof l->id);
        m.layers[i].pages = l->pages;
        m.layers[i].n = l->n;
        m.layers[i].sum = l->sum;
    }
    out = manifest_encode(&m);
    manifest_fini(&m);
    return out;
}

/* Under its temporary name, synced. */
static enum err write_new(struct snapshot_store *s, const struct blob *b, struct why *why)
{
    struct io_file *f = NULL;
    char path[PATH_BYTES];
    enum err e;

    store_path(s, path, MANIFEST_NEW);
    (void)s->io->ops->unlink(s->io, path, NULL); /* a failed sync spoils its file */
    e = s->io->ops->open(s->io, &f, path, IO_EXCL, why);
    if (!e) e = s->io->ops->write(f, 0, b->data, b->len, why);
    if (!e) e = s->io->ops->sync(f, why);
    s->io->ops->close(f);
    if (e) store_unlink(s, MANIFEST_NEW);
    return e;
}

/* *unsure: it has, or may have, its name, but not surely for good. */
static enum err write_manifest(struct snapshot_store *s, const struct state *st,
                               bool *unsure, struct why *why)
{
    struct blob *b = state_encode(st);
    char from[PATH_BYTES], to[PATH_BYTES];
    enum err e;

    *unsure = false;
    if (b == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    if (b->len > MANIFEST_MAX) {
        blob_unref(b);
        return why_set(why, ERR_TOO_BIG, "the manifest of the snapshots is too long");
    }
    e = write_new(s, b, why);
    blob_unref(b);
    if (e) return e;
    store_path(s, from, MANIFEST_NEW);
    store_path(s, to, MANIFEST);
    e = s->io->ops->rename(s->io, from, to, why);
    *unsure = e != ERR_OK && e != ERR_NO_SPACE;
    if (e) return e;
    e = s->io->ops->sync_dir(s->io, s->dir, why);
    *unsure = e != ERR_OK;
    return e;
}

static void remove_unlisted(struct snapshot_store *s, const struct state *old,
                            const struct state *now)
{
    for (uint32_t i = 0; i < old->n; i++) {
        const struct layer *l = old->layers[i];

        if (!has_name(now, l->name)) store_unlink(s, l->name);
        if (l->sums_name[0] != '\0' && !has_name(now, l->sums_name))
            store_unlink(s, l->sums_name);
    }
    for (size_t i = 0; i < s->n_doomed; i++)
        if (!has_name(now, s->doomed[i])) store_unlink(s, s->doomed[i]);
    free(s->doomed);
    s->doomed = NULL;
    s->n_doomed = 0;
}

enum err store_publish(struct snapshot_store *s, struct state *st, bool *unsure,
                       struct why *why)
{
    struct state *old;
    enum err e = write_manifest(s, st, unsure, why);

    if (e) {
        s->unsure |= *unsure;
        state_unref(st);
        return e;
    }
    s->unsure = false;
    pthread_mutex_lock(&s->lock);
    old = s->state;
    s->state = st;
    pthread_mutex_unlock(&s->lock);
    remove_unlisted(s, old, st);
    state_unref(old);
    return ERR_OK;
}

void store_doom(struct snapshot_store *s, const char *name, bool unsure)
{
    void *p;

    pthread_mutex_lock(&s->disk);
    if (!unsure || !s->unsure) {
        store_unlink(s, name);
    } else {
        p = realloc(s->doomed, (s->n_doomed + 1) * sizeof *s->doomed);
        if (p != NULL) { /* else the next opening removes it */
            s->doomed = p;
            snprintf(s->doomed[s->n_doomed++], FILE_NAME_MAX, "%s", name);
        }
    }
    pthread_mutex_unlock(&s->disk);
}

/* The manifest on disk may be that of a step that failed: put the current one there. */
static enum err settle(struct snapshot_store *s, struct why *why)
{
    enum err e = ERR_OK;
    bool unsure;

    pthread_mutex_lock(&s->disk);
    if (s->unsure) {
        struct state *st = state_clone(s->state, s->state->n);

        e = st != NULL ? store_publish(s, st, &unsure, why)
                       : why_set(why, ERR_NOMEM, "out of memory");
        if (e) err_wrap(why, e, "write the manifest again after a failure");
    }
    pthread_mutex_unlock(&s->disk);
    return e;
}

enum err store_begin_writing(struct snapshot_store *s, bool no_readers, struct why *why)
{
    bool busy;
    enum err e;

    pthread_mutex_lock(&s->lock);
    busy = s->writing || (no_readers && s->readers > 0);
    if (!busy) s->writing = true;
    pthread_mutex_unlock(&s->lock);
    if (busy) return why_set(why, ERR_BUSY, "the snapshots are in use");
    e = settle(s, why);
    if (e) store_end_writing(s);
    return e;
}

void store_end_writing(struct snapshot_store *s)
{
    pthread_mutex_lock(&s->lock);
    s->writing = false;
    pthread_mutex_unlock(&s->lock);
}

/* --- opening ------------------------------------------------------------------------ */

/* What a name in our directory stands for. */
enum kind { KIND_FOREIGN, KIND_OLD, KIND_PART, KIND_DATA };

static enum kind kind_of(const char *name)
{
    uint64_t term, index;
    const char *p;

    if (strcmp(name, MANIFEST_NEW) == 0) return KIND_PART;
    if (strncmp(name, "base-", 5) == 0) {
        p = id_parse(name + 5, &term, &index);
        if (p == NULL) return KIND_FOREIGN;
        if (strcmp(p, ".sqlite") == 0) return KIND_DATA;
        if (strncmp(p, ".sums-", 6) != 0) return KIND_FOREIGN;
        p = sums_parse(p + 6);
        return p != NULL && *p == '\0' ? KIND_DATA : KIND_FOREIGN;
    }
    p = id_parse(name, &term, &index);
    if (p == NULL) return KIND_FOREIGN;
    if (*p == '\0') return KIND_OLD;
    return strcmp(p, ".delta") == 0 ? KIND_DATA : KIND_FOREIGN;
}

struct scan {
    struct names {
        char name[FILE_NAME_MAX];
        enum kind kind;
    } * found;
    size_t n, cap;
    bool failed;
};

static void scan_name(const char *name, void *arg)
{
    enum kind kind = kind_of(name);
    struct scan *sc = arg;

    if (kind == KIND_FOREIGN || strlen(name) >= FILE_NAME_MAX || sc->failed) return;
    if (sc->n == sc->cap) {
        size_t cap = sc->cap ? sc->cap * 2 : 16;
        void *p = realloc(sc->found, cap * sizeof *sc->found);

        sc->failed = p == NULL;
        if (sc->failed) return;
        sc->found = p;
        sc->cap = cap;
    }
    sc->found[sc->n].kind = kind;
    snprintf(sc->found[sc->n++].name, FILE_NAME_MAX, "%s", name);
}

/* Builds before this format kept each whole image in a directory of its own. */
static enum err refuse_old(struct snapshot_store *s, const struct scan *sc,
                           struct why *why)
{
    for (size_t i = 0; i < sc->n; i++) {
        char path[PATH_BYTES];
        struct io_file *f = NULL;
        enum err e;

        if (sc->found[i].kind != KIND_OLD) continue;
        snprintf(path, sizeof path, "%s/%s/meta", s->dir, sc->found[i].name);
        e = s->io->ops->open(s->io, &f, path, IO_READ, NULL);
        s->io->ops->close(f);
        if (!e)
            return why_set(why, ERR_UNSUPPORTED,
                           "%s/%s is a snapshot in the format of an older build, which "
                           "this one does not read: take a backup with that build and "
                           "load it into an empty data directory",
                           s->dir, sc->found[i].name);
    }
    return ERR_OK;
}

/* *out: the caller's to free, NULL if there is no manifest. */
static enum err read_manifest(struct snapshot_store *s, uint8_t **out, size_t *len,
                              struct why *why)
{
    struct io_file *f = NULL;
    char path[PATH_BYTES];
    uint64_t size = 0;
    enum err e;

    *out = NULL;
    store_path(s, path, MANIFEST);
    e = s->io->ops->open(s->io, &f, path, IO_READ, why);
    if (e == ERR_NOT_FOUND) return ERR_OK;
    if (!e) e = s->io->ops->size(f, &size, why);
    if (!e && size > MANIFEST_MAX)
        e = why_set(why, ERR_CORRUPT, "%s is too long: " REMEDY, path);
    if (!e) {
        *out = malloc(size > 0 ? (size_t)size : 1);
        if (*out == NULL) e = why_set(why, ERR_NOMEM, "out of memory");
    }
    if (!e) e = s->io->ops->read(f, 0, *out, (size_t)size, len, why);
    s->io->ops->close(f);
    if (e) {
        free(*out);
        *out = NULL;
    }
    return e;
}

/* The files that st's layers need, st->layers[i] being from m->layers[i]. */
static enum err open_layers(struct snapshot_store *s, struct state *st,
                            const struct manifest *m, struct why *why)
{
    uint32_t least = UINT32_MAX;
    enum err e = ERR_OK;

    for (uint32_t i = 0; i < m->n; i++) {
        struct layer *l = layer_new(s->io, s->dir, m->layers[i].id);

        if (l == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        st->layers[st->n++] = l;
        l->pages = m->layers[i].pages;
        l->n = m->layers[i].n;
        l->sum = m->layers[i].sum;
        if (l->pages < least) least = l->pages;
    }
    for (uint32_t i = 1; i < m->n && !e; i++) e = layer_open_delta(st->layers[i], why);
    if (e || m->n == 0) return e;
    base_name(st->layers[0]->name, m->base);
    sums_name(st->layers[0]->sums_name, m->base, m->generation);
    return layer_open_base(st->layers[0], m->folding > 0 ? least : st->layers[0]->pages,
                           m->folding > 0, why);
}

static enum err load_meta(struct state *st, const struct manifest *m, struct why *why)
{
    enum err e;

    if (m->n == 0) return ERR_OK;
    e = snapshot_meta_decode(&st->meta, m->meta, m->meta_len, why);
    if (e) return e;
    st->bytes = blob_copy(m->meta, m->meta_len);
    if (st->bytes == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    if (strcmp(st->meta.id, m->layers[m->n - 1].id) != 0 ||
        st->meta.pages != m->layers[m->n - 1].pages)
        return why_set(why, ERR_CORRUPT, "the description is of another snapshot");
    return ERR_OK;
}

static enum err load(struct snapshot_store *s, const uint8_t *bytes, size_t len,
                     struct why *why)
{
    struct manifest m;
    struct why local = {0};
    struct state *st;
    enum err e = manifest_decode(&m, bytes, len, &local);

    if (e) goto fail;
    st = state_new(m.n + 1);
    if (st == NULL) {
        manifest_fini(&m);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    memcpy(st->base, m.base, sizeof st->base);
    st->generation = m.generation;
    st->folding = m.folding;
    st->marker_len = m.marker_len;
    memcpy(st->marker, m.marker, m.marker_len);
    s->state = st;
    e = load_meta(st, &m, &local);
    if (!e) {
        e = open_layers(s, st, &m, why);
        manifest_fini(&m);
        return e;
    }
    manifest_fini(&m);
fail:
    return why_set(why, e, "%s/" MANIFEST ": %s%s", s->dir, local.text,
                   e == ERR_CORRUPT ? ": " REMEDY : "");
}

static enum err sync_parent(struct snapshot_store *s, struct why *why)
{
    char parent[PATH_BYTES];
    char *slash;

    snprintf(parent, sizeof parent, "%s", s->dir);
    slash = strrchr(parent, '/');
    if (slash == NULL) return s->io->ops->sync_dir(s->io, ".", why);
    if (slash == parent) slash++;
    *slash = '\0';
    return s->io->ops->sync_dir(s->io, parent, why);
}

/* From now on there is a manifest whenever there is anything else, so that it cannot get
 * lost and the rest be taken for what a crash left. */
static enum err start_empty(struct snapshot_store *s, const struct scan *sc,
                            struct why *why)
{
    bool unsure;
    enum err e;

    for (size_t i = 0; i < sc->n; i++)
        if (sc->found[i].kind == KIND_DATA)
            return why_set(why, ERR_CORRUPT,
                           "%s/" MANIFEST " is missing, but %s is there: " REMEDY, s->dir,
                           sc->found[i].name);
    s->state = state_new(1);
    if (s->state == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    e = write_manifest(s, s->state, &unsure, why);
    return e ? e : sync_parent(s, why);
}

static void remove_leftovers(struct snapshot_store *s, const struct scan *sc)
{
    for (size_t i = 0; i < sc->n; i++) {
        const char *name = sc->found[i].name;

        if (sc->found[i].kind == KIND_OLD || has_name(s->state, name)) continue;
        logger_debug(s->logger, "snapshot-store", "removed %s, left by a crash", name);
        store_unlink(s, name);
    }
}

static enum err open_dir(struct snapshot_store *s, struct scan *sc, struct why *why)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    enum err e = s->io->ops->mkdir(s->io, s->dir, why);

    if (!e) e = s->io->ops->list(s->io, s->dir, scan_name, sc, why);
    if (!e && sc->failed) e = why_set(why, ERR_NOMEM, "out of memory");
    if (!e) e = refuse_old(s, sc, why);
    if (!e) e = read_manifest(s, &bytes, &len, why);
    if (e) return e;
    e = bytes != NULL ? load(s, bytes, len, why) : start_empty(s, sc, why);
    free(bytes);
    /* The manifest may have got its name just before the process died: what it does not
     * list may be needed again until that is durable. */
    if (!e && bytes != NULL) e = s->io->ops->sync_dir(s->io, s->dir, why);
    if (!e) remove_leftovers(s, sc);
    if (!e) incoming_look(s);
    return e;
}

enum err snapshot_store_open(struct snapshot_store **out, struct io *io, const char *dir,
                             struct logger *logger, struct why *why)
{
    struct snapshot_store *s = calloc(1, sizeof *s);
    struct scan sc = {0};
    enum err e = ERR_OK;

    *out = NULL;
    if (s == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    s->io = io;
    s->logger = logger;
    pthread_mutex_init(&s->disk, NULL);
    pthread_mutex_init(&s->lock, NULL);
    if ((size_t)snprintf(s->dir, sizeof s->dir, "%s", dir) >= sizeof s->dir)
        e = why_set(why, ERR_INVALID, "the snapshot directory's path is too long");
    if (!e) e = open_dir(s, &sc, why);
    free(sc.found);
    if (e) {
        snapshot_store_close(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void snapshot_store_close(struct snapshot_store *s)
{
    if (s == NULL) return;
    CHECK(s->readers == 0);
    CHECK(!s->writing);
    state_unref(s->state);
    free(s->doomed);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->disk);
    free(s);
}

/* --- what there is ------------------------------------------------------------------ */

enum err snapshot_newest(struct snapshot_store *s, struct snapshot_meta *out)
{
    struct state *st = store_state(s);
    enum err e = ERR_NOT_FOUND;

    if (st->n > 0)
        e = snapshot_meta_copy(out, &st->meta);
    else
        snapshot_meta_init(out);
    state_unref(st);
    return e;
}

void snapshot_stats(struct snapshot_store *s, struct snapshot_stats *out)
{
    struct state *st;

    pthread_mutex_lock(&s->lock);
    st = state_ref(s->state);
    *out = s->counts;
    pthread_mutex_unlock(&s->lock);
    out->snapshots = st->n;
    out->deltas = st->n > 0 ? st->n - 1 : 0;
    for (uint32_t i = 1; i < st->n; i++)
        out->delta_bytes += delta_bytes(st->layers[i]->n);
    out->bytes = out->delta_bytes;
    if (st->n > 0)
        out->bytes += (uint64_t)st->layers[0]->pages * SNAPSHOT_PAGE +
                      sums_bytes(st->layers[0]->pages);
    state_unref(st);
}

void snapshot_each(struct snapshot_store *s, void (*each)(const char *id, void *arg),
                   void *arg)
{
    struct state *st = store_state(s);

    for (uint32_t i = 0; i < st->n; i++) each(st->layers[i]->id, arg);
    state_unref(st);
}

/* --- the marker --------------------------------------------------------------------- */

size_t snapshot_marker(struct snapshot_store *s, uint8_t out[SNAPSHOT_MARKER_MAX])
{
    struct state *st = store_state(s);
    size_t len = st->marker_len;

    memcpy(out, st->marker, len);
    state_unref(st);
    return len;
}

static enum err set_marker(struct snapshot_store *s, uint64_t index, const void *data,
                           size_t len, struct why *why)
{
    const struct state *now = s->state; /* only with s->disk does it change */
    struct state *st;
    bool unsure;

    if (now->n == 0 || now->meta.index != index)
        return why_set(why, ERR_STALE, "the newest snapshot is not at %" PRIu64, index);
    if (!s->unsure && now->marker_len == len &&
        (len == 0 || memcmp(now->marker, data, len) == 0))
        return ERR_OK;
    st = state_clone(now, now->n);
    if (st == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    st->marker_len = (uint32_t)len;
    if (len > 0) memcpy(st->marker, data, len);
    return store_publish(s, st, &unsure, why);
}

enum err snapshot_set_marker(struct snapshot_store *s, uint64_t index, const void *data,
                             size_t len, struct why *why)
{
    enum err e;

    if (len > SNAPSHOT_MARKER_MAX)
        return why_set(why, ERR_TOO_BIG, "the marker is over %d bytes",
                       SNAPSHOT_MARKER_MAX);
    pthread_mutex_lock(&s->disk);
    e = set_marker(s, index, data, len, why);
    pthread_mutex_unlock(&s->disk);
    return e ? err_wrap(why, e, "write the snapshot's marker") : ERR_OK;
}
