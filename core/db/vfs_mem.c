/* SPDX-License-Identifier: MIT */
/*
 * vfs_mem: files on the heap, for a database without a disk under it.
 *
 * SQLite's own memdb has no WAL, so a writer there blocks every reader; this VFS has one,
 * with the wal-index that many connections of one process share.
 *
 *     root[1024] -> leaf[1024] -> chunk (1 MiB)        1 TiB per file
 *
 * Chunks never move, so a reader needs no lock: pointers and size are published by atomic
 * stores, and SQLite's WAL protocol keeps anyone from reading bytes that are being
 * written (a checkpoint writes a page only if every reader finds it in the WAL, and
 * truncates only what no reader's snapshot holds).  Memory is mapped for the purpose, so
 * a truncated file gives it back at once.
 *
 * Locks: those of the wal-index are one atomic counter each; the file lock of the
 * rollback modes, hardly used in WAL mode, is under a mutex, as is the list of names.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/db/internal.h"

enum { CHUNK_BYTES = 1 << 20, SLOTS = 1024, PATH_MAX_BYTES = 512 };

struct leaf {
    _Atomic(uint8_t *) chunk[SLOTS];
};

struct mem_file {
    struct list link; /* in the file system's list, while it has a name */
    char *name;       /* owned; NULL: temporary */
    unsigned refs;    /* open handles, and 1 for the name; under fs->mutex */

    _Atomic(struct leaf *) root[SLOTS];
    _Atomic uint64_t size;

    pthread_mutex_t mutex; /* of what follows */
    unsigned n_shared;
    const struct mem_handle *reserved, *pending, *exclusive;
    void **regions; /* wal-index; owned */
    int n_regions;

    atomic_int
        shm_lock[SQLITE_SHM_NLOCK]; /* number of shared holders, or -1: exclusive */
    atomic_uint barrier;
};

struct mem_handle {
    sqlite3_file base; /* first */
    struct db_vfs_mem *fs;
    struct mem_file *file;
    int level;                          /* SQLITE_LOCK_* */
    unsigned shm_shared, shm_exclusive; /* slots held */
};

struct db_vfs_mem {
    sqlite3_vfs vfs;
    pthread_mutex_t mutex;
    struct list files;
    char name[40];
};

static struct mem_handle *handle_of(sqlite3_file *f)
{
    return (struct mem_handle *)(void *)f;
}

static struct db_vfs_mem *fs_of(sqlite3_vfs *v)
{
    return v->pAppData;
}

/* --- bytes -------------------------------------------------------------------------- */

static uint8_t *chunk_at(struct mem_file *f, uint64_t n)
{
    if (n >= (uint64_t)SLOTS * SLOTS) return NULL;
    struct leaf *leaf = atomic_load_explicit(&f->root[n / SLOTS], memory_order_acquire);
    return leaf ? atomic_load_explicit(&leaf->chunk[n % SLOTS], memory_order_acquire)
                : NULL;
}

/* Only the one who may write the file calls this. */
static uint8_t *chunk_make(struct mem_file *f, uint64_t n)
{
    if (n >= (uint64_t)SLOTS * SLOTS) return NULL;
    struct leaf *leaf = atomic_load_explicit(&f->root[n / SLOTS], memory_order_acquire);
    if (!leaf) {
        leaf = calloc(1, sizeof *leaf);
        if (!leaf) return NULL;
        atomic_store_explicit(&f->root[n / SLOTS], leaf, memory_order_release);
    }
    uint8_t *chunk = atomic_load_explicit(&leaf->chunk[n % SLOTS], memory_order_acquire);
    if (!chunk) {
        chunk = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (chunk == MAP_FAILED) return NULL;
        atomic_store_explicit(&leaf->chunk[n % SLOTS], chunk, memory_order_release);
    }
    return chunk;
}

/* Give back every chunk from number n on. */
static void chunks_drop(struct mem_file *f, uint64_t n)
{
    for (uint64_t i = n / SLOTS; i < SLOTS; i++) {
        struct leaf *leaf = atomic_load_explicit(&f->root[i], memory_order_acquire);
        if (!leaf) break; /* files have no holes */
        for (uint64_t k = i == n / SLOTS ? n % SLOTS : 0; k < SLOTS; k++) {
            uint8_t *chunk = atomic_load_explicit(&leaf->chunk[k], memory_order_acquire);
            if (!chunk) continue;
            atomic_store_explicit(&leaf->chunk[k], NULL, memory_order_release);
            munmap(chunk, CHUNK_BYTES);
        }
    }
}

static int mem_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 offset)
{
    struct mem_file *f = handle_of(file)->file;
    uint64_t size = atomic_load_explicit(&f->size, memory_order_acquire);
    uint64_t off = (uint64_t)offset;
    size_t left = (size_t)amount, have = off >= size ? 0 : size - off;
    uint8_t *to = out;
    int rc = SQLITE_OK;

    if (have < left) {
        memset(to + have, 0, left - have);
        left = have;
        rc = SQLITE_IOERR_SHORT_READ;
    }
    while (left > 0) {
        size_t at = off % CHUNK_BYTES,
               n = CHUNK_BYTES - at < left ? CHUNK_BYTES - at : left;
        const uint8_t *chunk = chunk_at(f, off / CHUNK_BYTES);
        if (chunk)
            memcpy(to, chunk + at, n);
        else
            memset(to, 0, n);
        to += n;
        off += n;
        left -= n;
    }
    return rc;
}

static int mem_write(sqlite3_file *file, const void *data, int amount,
                     sqlite3_int64 offset)
{
    struct mem_file *f = handle_of(file)->file;
    uint64_t off = (uint64_t)offset;
    size_t left = (size_t)amount;
    const uint8_t *from = data;

    while (left > 0) {
        size_t at = off % CHUNK_BYTES,
               n = CHUNK_BYTES - at < left ? CHUNK_BYTES - at : left;
        uint8_t *chunk = chunk_make(f, off / CHUNK_BYTES);
        if (!chunk) return SQLITE_IOERR_NOMEM;
        memcpy(chunk + at, from, n);
        from += n;
        off += n;
        left -= n;
    }
    if (off > atomic_load_explicit(&f->size, memory_order_relaxed))
        atomic_store_explicit(&f->size, off, memory_order_release);
    return SQLITE_OK;
}

static int mem_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct mem_file *f = handle_of(file)->file;
    uint64_t to = (uint64_t)size,
             old = atomic_load_explicit(&f->size, memory_order_relaxed);

    if (to < old) {
        uint8_t *last = chunk_at(f, to / CHUNK_BYTES);
        size_t at = to % CHUNK_BYTES;
        atomic_store_explicit(&f->size, to, memory_order_release);
        if (at > 0 && last) {
            memset(last + at, 0, CHUNK_BYTES - at);
            chunks_drop(f, to / CHUNK_BYTES + 1);
        } else {
            chunks_drop(f, to / CHUNK_BYTES);
        }
    } else {
        atomic_store_explicit(&f->size, to, memory_order_release);
    }
    return SQLITE_OK;
}

static int mem_size(sqlite3_file *file, sqlite3_int64 *out)
{
    *out = (sqlite3_int64)atomic_load_explicit(&handle_of(file)->file->size,
                                               memory_order_acquire);
    return SQLITE_OK;
}

static int mem_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    return SQLITE_OK;
}

/* --- the lock of the file itself ---------------------------------------------------- */

static int mem_lock(sqlite3_file *file, int level)
{
    struct mem_handle *h = handle_of(file);
    struct mem_file *f = h->file;
    int rc = SQLITE_OK;

    if (h->level >= level) return SQLITE_OK;
    pthread_mutex_lock(&f->mutex);
    if (level == SQLITE_LOCK_SHARED) {
        if (f->pending || f->exclusive) {
            rc = SQLITE_BUSY;
        } else {
            f->n_shared++;
        }
    } else if (level == SQLITE_LOCK_RESERVED) {
        if (f->reserved && f->reserved != h)
            rc = SQLITE_BUSY;
        else
            f->reserved = h;
    } else { /* EXCLUSIVE, by way of PENDING */
        if ((f->reserved && f->reserved != h) || (f->pending && f->pending != h)) {
            rc = SQLITE_BUSY;
        } else if (f->n_shared > 1) {
            f->pending = h;
            h->level = SQLITE_LOCK_PENDING;
            rc = SQLITE_BUSY;
        } else {
            f->pending = f->exclusive = h;
        }
    }
    if (rc == SQLITE_OK) h->level = level;
    pthread_mutex_unlock(&f->mutex);
    return rc;
}

static int mem_unlock(sqlite3_file *file, int level)
{
    struct mem_handle *h = handle_of(file);
    struct mem_file *f = h->file;

    if (h->level <= level) return SQLITE_OK;
    pthread_mutex_lock(&f->mutex);
    if (f->exclusive == h) f->exclusive = NULL;
    if (f->pending == h) f->pending = NULL;
    if (f->reserved == h) f->reserved = NULL;
    if (level == SQLITE_LOCK_NONE) f->n_shared--;
    h->level = level;
    pthread_mutex_unlock(&f->mutex);
    return SQLITE_OK;
}

static int mem_check_reserved(sqlite3_file *file, int *out)
{
    struct mem_file *f = handle_of(file)->file;
    pthread_mutex_lock(&f->mutex);
    *out = f->reserved != NULL;
    pthread_mutex_unlock(&f->mutex);
    return SQLITE_OK;
}

/* --- the wal-index ------------------------------------------------------------------ */

static int mem_shm_map(sqlite3_file *file, int region, int bytes, int extend,
                       void volatile **out)
{
    struct mem_file *f = handle_of(file)->file;
    int rc = SQLITE_OK;

    *out = NULL;
    pthread_mutex_lock(&f->mutex);
    if (region >= f->n_regions && extend) {
        void **grown = realloc(f->regions, (size_t)(region + 1) * sizeof *grown);
        if (!grown)
            rc = SQLITE_IOERR_NOMEM;
        else
            f->regions = grown;
        while (rc == SQLITE_OK && f->n_regions <= region) {
            void *p = calloc(1, (size_t)bytes);
            if (!p)
                rc = SQLITE_IOERR_NOMEM;
            else
                f->regions[f->n_regions++] = p;
        }
    }
    if (rc == SQLITE_OK && region < f->n_regions) *out = f->regions[region];
    pthread_mutex_unlock(&f->mutex);
    return rc;
}

static bool shm_try_shared(atomic_int *lock)
{
    int v = atomic_load_explicit(lock, memory_order_relaxed);
    while (v >= 0)
        if (atomic_compare_exchange_weak_explicit(lock, &v, v + 1, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return true;
    return false;
}

static bool shm_try_exclusive(atomic_int *lock)
{
    int v = 0;
    return atomic_compare_exchange_strong_explicit(lock, &v, -1, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

static void shm_release(struct mem_handle *h, int slot)
{
    unsigned bit = 1u << slot;
    if (h->shm_exclusive & bit)
        atomic_store_explicit(&h->file->shm_lock[slot], 0, memory_order_release);
    else if (h->shm_shared & bit)
        atomic_fetch_sub_explicit(&h->file->shm_lock[slot], 1, memory_order_acq_rel);
    h->shm_exclusive &= ~bit;
    h->shm_shared &= ~bit;
}

static int mem_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    struct mem_handle *h = handle_of(file);
    struct mem_file *f = h->file;

    if (flags & SQLITE_SHM_UNLOCK) {
        for (int i = offset; i < offset + n; i++) shm_release(h, i);
        return SQLITE_OK;
    }
    for (int i = offset; i < offset + n; i++) {
        unsigned bit = 1u << i;
        bool shared = (flags & SQLITE_SHM_SHARED) != 0;
        if ((shared ? h->shm_shared : h->shm_exclusive) & bit) continue;
        if (!(shared ? shm_try_shared(&f->shm_lock[i])
                     : shm_try_exclusive(&f->shm_lock[i]))) {
            while (i-- > offset) shm_release(h, i);
            return SQLITE_BUSY;
        }
        if (shared)
            h->shm_shared |= bit;
        else
            h->shm_exclusive |= bit;
    }
    return SQLITE_OK;
}

/* A read-modify-write on one variable orders everything before it in one thread with
 * everything after it in the next. */
static void mem_shm_barrier(sqlite3_file *file)
{
    atomic_fetch_add_explicit(&handle_of(file)->file->barrier, 1, memory_order_seq_cst);
}

static int mem_shm_unmap(sqlite3_file *file, int delete)
{
    struct mem_handle *h = handle_of(file);
    struct mem_file *f = h->file;

    for (int i = 0; i < SQLITE_SHM_NLOCK; i++) shm_release(h, i);
    if (!delete) return SQLITE_OK;
    pthread_mutex_lock(&f->mutex);
    for (int i = 0; i < f->n_regions; i++) free(f->regions[i]);
    free(f->regions);
    f->regions = NULL;
    f->n_regions = 0;
    pthread_mutex_unlock(&f->mutex);
    return SQLITE_OK;
}

static int mem_file_control(sqlite3_file *file, int op, void *arg)
{
    struct mem_handle *h = handle_of(file);

    switch (op) {
    case SQLITE_FCNTL_LOCKSTATE: *(int *)arg = h->level; return SQLITE_OK;
    default: return SQLITE_NOTFOUND;
    }
}

static int mem_sector_size(sqlite3_file *file)
{
    (void)file;
    return 4096;
}

static int mem_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_ATOMIC | SQLITE_IOCAP_SAFE_APPEND | SQLITE_IOCAP_SEQUENTIAL |
           SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* --- names -------------------------------------------------------------------------- */

static void file_unref(struct mem_file *f)
{
    if (--f->refs > 0) return;
    chunks_drop(f, 0);
    for (int i = 0; i < SLOTS; i++) free(f->root[i]);
    for (int i = 0; i < f->n_regions; i++) free(f->regions[i]);
    free(f->regions);
    pthread_mutex_destroy(&f->mutex);
    free(f->name);
    free(f);
}

static struct mem_file *file_new(const char *name)
{
    struct mem_file *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    list_init(&f->link);
    if (name && !(f->name = strdup(name))) {
        free(f);
        return NULL;
    }
    pthread_mutex_init(&f->mutex, NULL);
    return f;
}

static struct mem_file *file_find(struct db_vfs_mem *fs, const char *name)
{
    for (struct list *l = fs->files.next; l != &fs->files; l = l->next) {
        struct mem_file *f = LIST_ITEM(l, struct mem_file, link);
        if (strcmp(f->name, name) == 0) return f;
    }
    return NULL;
}

static void file_forget(struct mem_file *f)
{
    list_remove(&f->link);
    file_unref(f);
}

static int mem_close(sqlite3_file *file)
{
    struct mem_handle *h = handle_of(file);

    mem_unlock(file, SQLITE_LOCK_NONE);
    pthread_mutex_lock(&h->fs->mutex);
    file_unref(h->file);
    pthread_mutex_unlock(&h->fs->mutex);
    return SQLITE_OK;
}

static const sqlite3_io_methods mem_methods = {
    .iVersion = 2,
    .xClose = mem_close,
    .xRead = mem_read,
    .xWrite = mem_write,
    .xTruncate = mem_truncate,
    .xSync = mem_sync,
    .xFileSize = mem_size,
    .xLock = mem_lock,
    .xUnlock = mem_unlock,
    .xCheckReservedLock = mem_check_reserved,
    .xFileControl = mem_file_control,
    .xSectorSize = mem_sector_size,
    .xDeviceCharacteristics = mem_characteristics,
    .xShmMap = mem_shm_map,
    .xShmLock = mem_shm_lock,
    .xShmBarrier = mem_shm_barrier,
    .xShmUnmap = mem_shm_unmap,
};

static int vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags,
                    int *out_flags)
{
    struct db_vfs_mem *fs = fs_of(v);
    struct mem_handle *h = handle_of(file);
    int rc = SQLITE_OK;

    memset(h, 0, sizeof *h);
    pthread_mutex_lock(&fs->mutex);
    struct mem_file *f = name ? file_find(fs, name) : NULL;
    if (f && (flags & SQLITE_OPEN_EXCLUSIVE) && (flags & SQLITE_OPEN_CREATE)) {
        rc = SQLITE_CANTOPEN;
    } else if (!f && name && !(flags & SQLITE_OPEN_CREATE)) {
        rc = SQLITE_CANTOPEN;
    } else if (!f) {
        f = file_new(name);
        if (!f) {
            rc = SQLITE_NOMEM;
        } else if (name && !(flags & SQLITE_OPEN_DELETEONCLOSE)) {
            list_push_back(&fs->files, &f->link);
            f->refs++;
        }
    }
    if (rc == SQLITE_OK) {
        f->refs++;
        h->fs = fs;
        h->file = f;
        h->base.pMethods = &mem_methods;
        if (out_flags) *out_flags = flags;
    }
    pthread_mutex_unlock(&fs->mutex);
    return rc;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync_dir)
{
    struct db_vfs_mem *fs = fs_of(v);
    (void)sync_dir;
    pthread_mutex_lock(&fs->mutex);
    struct mem_file *f = file_find(fs, name);
    if (f) file_forget(f);
    pthread_mutex_unlock(&fs->mutex);
    return f ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

static int vfs_access(sqlite3_vfs *v, const char *name, int flags, int *out)
{
    struct db_vfs_mem *fs = fs_of(v);
    (void)flags;
    pthread_mutex_lock(&fs->mutex);
    *out = file_find(fs, name) != NULL;
    pthread_mutex_unlock(&fs->mutex);
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *v, const char *name, int n, char *out)
{
    (void)v;
    sqlite3_snprintf(n, out, "%s", name);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *v, int n, char *out)
{
    struct rand r;
    (void)v;
    rand_init(&r, rand_entropy());
    rand_fill(&r, out, (size_t)n);
    return n;
}

static int vfs_sleep(sqlite3_vfs *v, int us)
{
    (void)v;
    usleep((useconds_t)us);
    return us;
}

static int vfs_time_ms(sqlite3_vfs *v, sqlite3_int64 *out)
{
    (void)v;
    *out = (sqlite3_int64)(clock_wall_ns(clock_real()) / 1000000) + 210866760000000;
    return SQLITE_OK;
}

static int vfs_time(sqlite3_vfs *v, double *out)
{
    sqlite3_int64 ms;
    int rc = vfs_time_ms(v, &ms);
    *out = (double)ms / 86400000.0;
    return rc;
}

static int vfs_last_error(sqlite3_vfs *v, int n, char *out)
{
    (void)v;
    (void)n;
    (void)out;
    return 0;
}

enum err db_vfs_mem_new(struct db_vfs_mem **out, struct why *why)
{
    struct db_vfs_mem *m = calloc(1, sizeof *m);
    const sqlite3_vfs *unix_vfs = sqlite3_vfs_find(NULL); /* extensions are real files */

    *out = NULL;
    if (!m || !unix_vfs) {
        free(m);
        return why_set(why, ERR_NOMEM, "in-memory file system: out of memory");
    }
    snprintf(m->name, sizeof m->name, "rq-memory-%p", (void *)m);
    list_init(&m->files);
    pthread_mutex_init(&m->mutex, NULL);
    m->vfs = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = sizeof(struct mem_handle),
        .mxPathname = PATH_MAX_BYTES,
        .zName = m->name,
        .pAppData = m,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xDlOpen = unix_vfs->xDlOpen,
        .xDlError = unix_vfs->xDlError,
        .xDlSym = unix_vfs->xDlSym,
        .xDlClose = unix_vfs->xDlClose,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = vfs_time_ms,
    };
    if (sqlite3_vfs_register(&m->vfs, 0) != SQLITE_OK) {
        pthread_mutex_destroy(&m->mutex);
        free(m);
        return why_set(why, ERR_NOMEM, "in-memory file system: cannot register");
    }
    *out = m;
    return ERR_OK;
}

void db_vfs_mem_free(struct db_vfs_mem *m)
{
    if (!m) return;
    sqlite3_vfs_unregister(&m->vfs);
    while (!list_empty(&m->files))
        file_forget(LIST_ITEM(m->files.next, struct mem_file, link));
    pthread_mutex_destroy(&m->mutex);
    free(m);
}

sqlite3_vfs *db_vfs_mem_vfs(struct db_vfs_mem *m)
{
    return &m->vfs;
}

uint64_t db_vfs_mem_size(struct db_vfs_mem *m, const char *name)
{
    pthread_mutex_lock(&m->mutex);
    struct mem_file *f = file_find(m, name);
    uint64_t size = f ? atomic_load_explicit(&f->size, memory_order_acquire) : 0;
    pthread_mutex_unlock(&m->mutex);
    return size;
}

/* No handle is open, so nothing else looks at it. */
static enum err fill(struct mem_file *f, const struct db_pages *from, struct why *why)
{
    enum { CHUNK_PAGES = CHUNK_BYTES / DB_PAGE };
    enum err e = ERR_OK;

    for (int i = 0; i < f->n_regions; i++) free(f->regions[i]);
    free(f->regions);
    f->regions = NULL;
    f->n_regions = 0;
    atomic_store(&f->size, 0);
    for (uint64_t at = 0; at < from->n && !e; at += CHUNK_PAGES) {
        uint64_t left = from->n - at;
        uint32_t n = left < CHUNK_PAGES ? (uint32_t)left : CHUNK_PAGES;
        uint8_t *chunk = chunk_make(f, at / CHUNK_PAGES);

        e = chunk ? from->read(from->arg, (uint32_t)at + 1, n, chunk, why)
                  : why_set(why, ERR_NOMEM, "in-memory database: out of memory");
        if (!e && n < CHUNK_PAGES)
            memset(chunk + (size_t)n * DB_PAGE, 0, CHUNK_BYTES - (size_t)n * DB_PAGE);
    }
    if (e) return e;
    chunks_drop(f, ((uint64_t)from->n + CHUNK_PAGES - 1) / CHUNK_PAGES);
    atomic_store_explicit(&f->size, (uint64_t)from->n * DB_PAGE, memory_order_release);
    return ERR_OK;
}

enum err db_vfs_mem_fill(struct db_vfs_mem *m, const char *name,
                         const struct db_pages *from, struct why *why)
{
    pthread_mutex_lock(&m->mutex);
    struct mem_file *f = file_find(m, name);
    CHECK(f && f->refs == 1);
    pthread_mutex_unlock(&m->mutex);
    return fill(f, from, why);
}
