/* SPDX-License-Identifier: MIT */
/*
 * The real disk, which fails when told to.
 */
#ifndef TESTS_UNIT_NODE_BAD_DISK_H
#define TESTS_UNIT_NODE_BAD_DISK_H

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/io.h"

struct disk {
    struct io io;                  /* first */
    _Atomic int sync_in, write_in; /* fails when it has counted down to 0; -1 = never */
    _Atomic unsigned sync_ms;      /* how long a sync takes */
    _Atomic unsigned syncs;        /* begun so far */
    const char *only; /* a part of the names of files that fail; NULL = all */
};

struct io_file { /* the real one, which only io_real() knows by its own shape */
    struct io_file *real;
    struct disk *disk;
    bool spared;
};

static inline bool now_fails(_Atomic int *in)
{
    if (atomic_load(in) < 0) return false;
    return atomic_load(in) == 0 || atomic_fetch_sub(in, 1) == 1;
}

static inline const struct io_ops *real(void)
{
    return io_real()->ops;
}

static inline enum err d_open(struct io *io, struct io_file **out, const char *path,
                              int flags, struct why *why)
{
    struct io_file *f = calloc(1, sizeof *f);
    enum err e;

    CHECK(f != NULL);
    f->disk = (struct disk *)(void *)io;
    f->spared = f->disk->only && strstr(path, f->disk->only) == NULL;
    e = real()->open(io_real(), &f->real, path, flags, why);
    if (e) {
        free(f);
        return e;
    }
    *out = f;
    return ERR_OK;
}

static inline void d_close(struct io_file *f)
{
    if (f == NULL) return;
    real()->close(f->real);
    free(f);
}

static inline enum err d_read(struct io_file *f, uint64_t off, void *out, size_t len,
                              size_t *got, struct why *why)
{
    return real()->read(f->real, off, out, len, got, why);
}

static inline enum err d_write(struct io_file *f, uint64_t off, const void *data,
                               size_t len, struct why *why)
{
    if (!f->spared && now_fails(&f->disk->write_in)) { /* half of it arrives */
        (void)!real()->write(f->real, off, data, len / 2, NULL);
        return why_set(why, ERR_NO_SPACE, "write: No space left on device");
    }
    return real()->write(f->real, off, data, len, why);
}

static inline enum err d_sync(struct io_file *f, struct why *why)
{
    unsigned ms = atomic_load(&f->disk->sync_ms);

    atomic_fetch_add(&f->disk->syncs, 1);
    if (ms) usleep(ms * 1000);
    if (!f->spared && now_fails(&f->disk->sync_in))
        return why_set(why, ERR_IO, "sync: Input/output error");
    return real()->sync(f->real, why);
}

static inline enum err d_truncate(struct io_file *f, uint64_t size, struct why *why)
{
    return real()->truncate(f->real, size, why);
}

static inline enum err d_size(struct io_file *f, uint64_t *out, struct why *why)
{
    return real()->size(f->real, out, why);
}

static inline enum err d_mkdir(struct io *io, const char *path, struct why *why)
{
    (void)io;
    return real()->mkdir(io_real(), path, why);
}

static inline enum err d_rename(struct io *io, const char *from, const char *to,
                                struct why *why)
{
    (void)io;
    return real()->rename(io_real(), from, to, why);
}

static inline enum err d_unlink(struct io *io, const char *path, struct why *why)
{
    (void)io;
    return real()->unlink(io_real(), path, why);
}

static inline enum err d_sync_dir(struct io *io, const char *path, struct why *why)
{
    (void)io;
    return real()->sync_dir(io_real(), path, why);
}

static inline enum err d_list(struct io *io, const char *path,
                              void (*each)(const char *name, void *arg), void *arg,
                              struct why *why)
{
    (void)io;
    return real()->list(io_real(), path, each, arg, why);
}

static const struct io_ops disk_ops = {.open = d_open,
                                       .close = d_close,
                                       .read = d_read,
                                       .write = d_write,
                                       .sync = d_sync,
                                       .truncate = d_truncate,
                                       .size = d_size,
                                       .mkdir = d_mkdir,
                                       .rename = d_rename,
                                       .unlink = d_unlink,
                                       .sync_dir = d_sync_dir,
                                       .list = d_list};

static inline void disk_init(struct disk *d)
{
    memset(d, 0, sizeof *d);
    d->io.ops = &disk_ops;
    atomic_init(&d->sync_in, -1);
    atomic_init(&d->write_in, -1);
}

#endif
