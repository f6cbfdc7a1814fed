/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/io.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/snapshot/snapshot.h"

enum { COPY_BYTES = 1 << 20, META_MAX = 1 << 20 };

struct snapshot { /* in the store's list, oldest first */
    struct list link;
    struct snapshot_meta meta;
    unsigned pins;
};

struct snapshot_store {
    struct io *io;
    struct logger *logger;
    char dir[3000];
    pthread_mutex_t lock; /* guards snapshots */
    struct list snapshots;
};

struct snapshot_writer {
    struct snapshot_store *store;
    struct io_file *data; /* NULL until the first piece */
    char id[SNAPSHOT_ID_MAX];
    uint64_t index, term, size;
    uint32_t crc;
};

static void path_of(const struct snapshot_store *s, char *out, size_t size,
                    const char *id, const char *rest)
{
    snprintf(out, size, "%s/%s%s", s->dir, id, rest);
}

static void remove_dir(struct snapshot_store *s, const char *id, const char *suffix)
{
    static const char *const names[] = {"/data.sqlite", "/meta"};
    char path[4096], rest[64];

    for (size_t i = 0; i < 2; i++) {
        snprintf(rest, sizeof rest, "%s%s", suffix, names[i]);
        path_of(s, path, sizeof path, id, rest);
        (void)s->io->ops->unlink(s->io, path, NULL);
    }
    path_of(s, path, sizeof path, id, suffix);
    (void)s->io->ops->unlink(s->io, path, NULL);
}

static enum err read_whole(struct io *io, const char *path, uint8_t **out, size_t *len,
                           struct why *why)
{
    struct io_file *f;
    uint64_t size;
    enum err e = io->ops->open(io, &f, path, IO_READ, why);

    if (e) return e;
    *out = NULL;
    e = io->ops->size(f, &size, why);
    if (!e && size > META_MAX) e = why_set(why, ERR_CORRUPT, "%s is too long", path);
    if (!e) {
        *out = malloc(size ? (size_t)size : 1);
        e = *out ? io->ops->read(f, 0, *out, (size_t)size, len, why)
                 : why_set(why, ERR_NOMEM, "out of memory");
    }
    io->ops->close(f);
    if (e) free(*out);
    return e;
}

struct scan {
    struct snapshot_store *store;
    char (*names)[SNAPSHOT_ID_MAX];
    size_t n, cap;
    bool failed;
};

static void scan_name(const char *name, void *arg)
{
    struct scan *sc = arg;

    if (strlen(name) >= SNAPSHOT_ID_MAX || sc->failed) return;
    if (sc->n == sc->cap) {
        size_t cap = sc->cap ? sc->cap * 2 : 16;
        void *p = realloc(sc->names, cap * sizeof *sc->names);

        if (p == NULL) {
            sc->failed = true;
            return;
        }
        sc->names = p;
        sc->cap = cap;
    }
    snprintf(sc->names[sc->n++], SNAPSHOT_ID_MAX, "%s", name);
}

/* By index, and of those that stand for the same by name, which ends with the time: the
 * newest must be the same one after every restart, for the removal of any other may have
 * been cut short. */
static bool is_newer(const struct snapshot_meta *a, const struct snapshot_meta *b)
{
    if (a->index != b->index) return a->index > b->index;
    if (strlen(a->id) != strlen(b->id)) return strlen(a->id) > strlen(b->id);
    return strcmp(a->id, b->id) > 0;
}

static void insert(struct snapshot_store *s, struct snapshot *snap)
{
    struct list *at = s->snapshots.prev;

    while (at != &s->snapshots &&
           is_newer(&LIST_ITEM(at, struct snapshot, link)->meta, &snap->meta))
        at = at->prev;
    list_insert(at, &snap->link, at->next);
}

static enum err load_one(struct snapshot_store *s, const char *id, struct why *why)
{
    struct snapshot *snap = calloc(1, sizeof *snap);
    char path[4096];
    uint8_t *bytes = NULL;
    size_t len = 0;
    enum err e;

    if (snap == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    path_of(s, path, sizeof path, id, "/meta");
    e = read_whole(s->io, path, &bytes, &len, why);
    if (!e) {
        e = snapshot_meta_decode(&snap->meta, bytes, len, why);
        free(bytes);
    }
    if (e) {
        free(snap);
        return err_wrap(why, e, "%s", path);
    }
    snprintf(snap->meta.id, sizeof snap->meta.id, "%s", id);
    insert(s, snap);
    return ERR_OK;
}

static bool is_id(const char *name)
{
    uint64_t a, b, c;
    char end;

    return sscanf(name, "%" SCNu64 "-%" SCNu64 "-%" SCNu64 "%c", &a, &b, &c, &end) == 3;
}

enum err snapshot_store_open(struct snapshot_store **out, struct io *io, const char *dir,
                             struct logger *logger, struct why *why)
{
    struct snapshot_store *s = calloc(1, sizeof *s);
    struct scan sc = {.store = s};
    struct why first = {0};
    size_t bad = 0;
    enum err e;

    if (s == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    s->io = io;
    s->logger = logger;
    list_init(&s->snapshots);
    pthread_mutex_init(&s->lock, NULL);
    if ((size_t)snprintf(s->dir, sizeof s->dir, "%s", dir) >= sizeof s->dir) {
        snapshot_store_close(s);
        return why_set(why, ERR_INVALID, "snapshot directory path is too long");
    }
    e = io->ops->mkdir(io, s->dir, why);
    if (!e) e = io->ops->list(io, s->dir, scan_name, &sc, why);
    if (!e && sc.failed) e = why_set(why, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < sc.n && !e; i++) {
        struct why local = {0};
        size_t len = strlen(sc.names[i]);
        enum err one;

        if (len > 4 && strcmp(sc.names[i] + len - 4, ".tmp") == 0) {
            sc.names[i][len - 4] = '\0';
            remove_dir(s, sc.names[i], ".tmp");
            continue;
        }
        if (!is_id(sc.names[i])) continue;
        one = load_one(s, sc.names[i], &local);
        if (one == ERR_UNSUPPORTED || one == ERR_NOMEM || one == ERR_IO) {
            e = why_set(why, one, "%s", local.text);
        } else if (one) {
            logger_error(logger, "snapshot-store", "snapshot set aside: %s", local.text);
            if (bad++ == 0) first = local;
        }
    }
    free(sc.names);
    /* What is there may have got its name just before the process died, and others that
     * it replaces are removed soon. */
    if (!e && !list_empty(&s->snapshots)) e = io->ops->sync_dir(io, s->dir, why);
    if (!e && bad > 0 && list_empty(&s->snapshots))
        e = why_set(why, ERR_CORRUPT, "no usable snapshot: %s", first.text);
    if (e) {
        snapshot_store_close(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void snapshot_store_close(struct snapshot_store *s)
{
    struct list *l;

    if (s == NULL) return;
    while ((l = list_pop_front(&s->snapshots)) != NULL) {
        struct snapshot *snap = LIST_ITEM(l, struct snapshot, link);

        snapshot_meta_fini(&snap->meta);
        free(snap);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct snapshot *newest(struct snapshot_store *s)
{
    return list_empty(&s->snapshots)
               ? NULL
               : LIST_ITEM(s->snapshots.prev, struct snapshot, link);
}

enum err snapshot_newest(struct snapshot_store *s, struct snapshot_meta *out)
{
    struct snapshot *snap;
    enum err e = ERR_NOT_FOUND;

    pthread_mutex_lock(&s->lock);
    snap = newest(s);
    if (snap) e = snapshot_meta_copy(out, &snap->meta);
    pthread_mutex_unlock(&s->lock);
    return e;
}

enum err snapshot_pin(struct snapshot_store *s, struct snapshot_meta *out, char *path,
                      size_t path_size)
{
    struct snapshot *snap;
    enum err e = ERR_NOT_FOUND;

    pthread_mutex_lock(&s->lock);
    snap = newest(s);
    if (snap) e = snapshot_meta_copy(out, &snap->meta);
    if (!e) {
        snap->pins++;
        path_of(s, path, path_size, snap->meta.id, "/data.sqlite");
    }
    pthread_mutex_unlock(&s->lock);
    return e;
}

/* With the lock held: remove all but the newest that nobody reads. */
static size_t reap_locked(struct snapshot_store *s)
{
    size_t n = 0;

    for (struct list *l = s->snapshots.next, *next; l != &s->snapshots; l = next) {
        struct snapshot *snap = LIST_ITEM(l, struct snapshot, link);

        next = l->next;
        if (next == &s->snapshots || snap->pins > 0) continue;
        list_remove(l);
        remove_dir(s, snap->meta.id, "");
        snapshot_meta_fini(&snap->meta);
        free(snap);
        n++;
    }
    return n;
}

void snapshot_unpin(struct snapshot_store *s, const char *id)
{
    pthread_mutex_lock(&s->lock);
    for (struct list *l = s->snapshots.next; l != &s->snapshots; l = l->next) {
        struct snapshot *snap = LIST_ITEM(l, struct snapshot, link);

        if (strcmp(snap->meta.id, id) == 0 && snap->pins > 0) snap->pins--;
    }
    (void)reap_locked(s);
    pthread_mutex_unlock(&s->lock);
}

size_t snapshot_reap(struct snapshot_store *s)
{
    size_t n;

    pthread_mutex_lock(&s->lock);
    n = reap_locked(s);
    pthread_mutex_unlock(&s->lock);
    return n;
}

void snapshot_each(struct snapshot_store *s, void (*each)(const char *id, void *arg),
                   void *arg)
{
    pthread_mutex_lock(&s->lock);
    for (struct list *l = s->snapshots.next; l != &s->snapshots; l = l->next)
        each(LIST_ITEM(l, struct snapshot, link)->meta.id, arg);
    pthread_mutex_unlock(&s->lock);
}

/* Length and CRC of an open file, read once in pieces. */
static enum err measure(struct io *io, struct io_file *f, uint64_t *size, uint32_t *crc,
                        struct why *why)
{
    uint8_t *piece = malloc(COPY_BYTES);
    enum err e = ERR_OK;

    *size = 0;
    *crc = 0;
    if (piece == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    for (;;) {
        size_t got = 0;

        e = io->ops->read(f, *size, piece, COPY_BYTES, &got, why);
        if (e || got == 0) break;
        *crc = crc32c(*crc, piece, got);
        *size += got;
    }
    free(piece);
    return e;
}

enum err snapshot_verify(struct snapshot_store *s, const struct snapshot_meta *m,
                         struct why *why)
{
    char path[4096];
    struct io_file *f;
    uint64_t size = 0;
    uint32_t crc = 0;
    enum err e;

    path_of(s, path, sizeof path, m->id, "/data.sqlite");
    e = s->io->ops->open(s->io, &f, path, IO_READ, why);
    if (e) return e;
    e = measure(s->io, f, &size, &crc, why);
    s->io->ops->close(f);
    if (e) return e;
    if (size != m->size || crc != m->crc32c)
        return why_set(why, ERR_CORRUPT, "%s does not match its length and checksum",
                       path);
    return ERR_OK;
}

/* --- writing ---------------------------------------------------------------------- */

enum err snapshot_begin(struct snapshot_store *s, struct snapshot_writer **out,
                        uint64_t index, uint64_t term, uint64_t wall_ms, struct why *why)
{
    struct snapshot_writer *w = calloc(1, sizeof *w);
    char path[4096];
    enum err e;

    if (w == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    w->store = s;
    w->index = index;
    w->term = term;
    snprintf(w->id, sizeof w->id, "%" PRIu64 "-%" PRIu64 "-%" PRIu64, term, index,
             wall_ms);
    remove_dir(s, w->id, ".tmp");
    path_of(s, path, sizeof path, w->id, ".tmp");
    e = s->io->ops->mkdir(s->io, path, why);
    if (e) {
        free(w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

enum err snapshot_adopt(struct snapshot_writer *w, const char *path, struct why *why)
{
    struct io *io = w->store->io;
    char to[4096];
    enum err e;

    CHECK(w->data == NULL);
    path_of(w->store, to, sizeof to, w->id, ".tmp/data.sqlite");
    e = io->ops->rename(io, path, to, why);
    if (!e) e = io->ops->open(io, &w->data, to, IO_WRITE, why);
    if (!e) e = measure(io, w->data, &w->size, &w->crc, why);
    return e;
}

enum err snapshot_write(struct snapshot_writer *w, const void *data, size_t len,
                        struct why *why)
{
    struct io *io = w->store->io;
    enum err e = ERR_OK;

    if (w->data == NULL) {
        char path[4096];

        path_of(w->store, path, sizeof path, w->id, ".tmp/data.sqlite");
        e = io->ops->open(io, &w->data, path, IO_CREATE, why);
    }
    if (!e) e = io->ops->write(w->data, w->size, data, len, why);
    if (e) return e;
    w->crc = crc32c(w->crc, data, len);
    w->size += len;
    return ERR_OK;
}

uint64_t snapshot_written(const struct snapshot_writer *w)
{
    return w->size;
}

static enum err write_meta(struct snapshot_writer *w, const struct snapshot_meta *m,
                           struct why *why)
{
    struct io *io = w->store->io;
    struct blob *b = snapshot_meta_encode(m);
    struct io_file *f = NULL;
    char path[4096];
    enum err e;

    if (b == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    path_of(w->store, path, sizeof path, w->id, ".tmp/meta");
    e = io->ops->open(io, &f, path, IO_CREATE, why);
    if (!e) e = io->ops->write(f, 0, b->data, b->len, why);
    if (!e) e = io->ops->sync(f, why);
    io->ops->close(f);
    blob_unref(b);
    return e;
}

static enum err publish(struct snapshot_writer *w, struct snapshot *snap, struct why *why)
{
    struct snapshot_store *s = w->store;
    struct io *io = s->io;
    char from[4096], to[4096];
    enum err e;

    path_of(s, from, sizeof from, w->id, ".tmp");
    path_of(s, to, sizeof to, w->id, "");
    e = io->ops->sync_dir(io, from, why);
    if (!e) e = io->ops->rename(io, from, to, why);
    if (!e) e = io->ops->sync_dir(io, s->dir, why);
    if (e) return e;
    pthread_mutex_lock(&s->lock);
    insert(s, snap);
    (void)reap_locked(s);
    pthread_mutex_unlock(&s->lock);
    return ERR_OK;
}

enum err snapshot_commit(struct snapshot_writer *w, const struct snapshot_meta *m,
                         struct why *why)
{
    struct io *io = w->store->io;
    struct snapshot *snap = calloc(1, sizeof *snap);
    enum err e;

    if (snap == NULL || snapshot_meta_copy(&snap->meta, m) != ERR_OK) {
        e = why_set(why, ERR_NOMEM, "out of memory");
    } else if (w->data == NULL) {
        e = why_set(why, ERR_INVALID, "a snapshot without data");
    } else if (m->size != 0 && (m->size != w->size || m->crc32c != w->crc)) {
        e = why_set(why, ERR_CORRUPT,
                    "snapshot data does not match its length and checksum");
    } else {
        CHECK(m->index == w->index && m->term == w->term);
        snap->meta.size = w->size;
        snap->meta.crc32c = w->crc;
        snprintf(snap->meta.id, sizeof snap->meta.id, "%s", w->id);
        e = io->ops->sync(w->data, why);
        if (!e) e = write_meta(w, &snap->meta, why);
        if (!e) e = publish(w, snap, why);
    }
    if (e) {
        if (snap) snapshot_meta_fini(&snap->meta);
        free(snap);
        snapshot_abort(w);
        return err_wrap(why, e, "write snapshot");
    }
    io->ops->close(w->data);
    free(w);
    return ERR_OK;
}

void snapshot_abort(struct snapshot_writer *w)
{
    if (w == NULL) return;
    w->store->io->ops->close(w->data);
    remove_dir(w->store, w->id, ".tmp");
    free(w);
}
