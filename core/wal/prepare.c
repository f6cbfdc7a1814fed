/* SPDX-License-Identifier: MIT */
#include "core/wal/prepare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/io.h"
#include "core/wal/segment.h"

/* Synced piece by piece: one sync of 16 MiB would keep the log's own syncs waiting behind
 * it. */
enum { PIECE_BYTES = 1024 * 1024 };

/* Written block by block: a larger write becomes one large folio of the page cache, and
 * Linux then counts all of it as dirtied (in /proc/<pid>/io, in cgroups, when it
 * throttles writers) for each block that is rewritten in it, though it writes but the
 * block. */
static const uint8_t zero_block[SEGMENT_BLOCK];

enum err prepare_init(struct prepare *p, struct io *io, const char *dir, bool background,
                      struct why *why)
{
    size_t len = strlen(dir) + sizeof "/" PREPARE_NAME;

    memset(p, 0, sizeof *p);
    p->io = io;
    p->background = background;
    atomic_init(&p->cancel, false);
    p->path = malloc(len);
    if (p->path == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    snprintf(p->path, len, "%s/" PREPARE_NAME, dir);
    return ERR_OK;
}

static void wait_for_thread(struct prepare *p)
{
    if (p->running) CHECK(pthread_join(p->thread, NULL) == 0);
    p->running = false;
}

void prepare_fini(struct prepare *p)
{
    atomic_store(&p->cancel, true);
    wait_for_thread(p);
    free(p->path);
    p->path = NULL;
}

static enum err zero_piece(struct io *io, struct io_file *file, uint64_t from,
                           uint64_t to, struct why *why)
{
    enum err e = ERR_OK;

    while (!e && from < to) {
        uint64_t end = round_up(from + 1, sizeof zero_block);

        if (end > to) end = to;
        e = io->ops->write(file, from, zero_block, (size_t)(end - from), why);
        from = end;
    }
    return e ? e : io->ops->sync(file, why);
}

enum err prepare_zero(struct io *io, struct io_file *file, uint64_t from, uint64_t to,
                      const atomic_bool *cancel, struct why *why)
{
    enum err e = ERR_OK;

    while (!e && from < to) {
        uint64_t end = to - from < PIECE_BYTES ? to : from + PIECE_BYTES;

        if (cancel != NULL && atomic_load(cancel))
            return why_set(why, ERR_CANCELLED, "cancelled");
        e = zero_piece(io, file, from, end, why);
        from = end;
    }
    return e;
}

/* What may be there is the remains of another attempt. */
static enum err make(struct prepare *p, struct io_file **file, uint64_t size,
                     struct why *why)
{
    const struct io_ops *ops = p->io->ops;
    enum err e = ops->open(p->io, file, p->path, IO_CREATE, why);

    if (e) return e;
    e = ops->truncate(*file, 0, why);
    if (!e) e = prepare_zero(p->io, *file, 0, size, &p->cancel, why);
    if (e) {
        ops->close(*file);
        *file = NULL;
    }
    return e;
}

static void *run(void *arg)
{
    struct prepare *p = arg;
    struct io_file *file = NULL;

    if (make(p, &file, p->want, NULL) == ERR_OK) p->done = p->want;
    if (file != NULL) p->io->ops->close(file);
    return NULL;
}

void prepare_start(struct prepare *p, uint64_t size)
{
    if (!p->background || p->running || p->done > 0) return;
    p->want = size;
    p->running = pthread_create(&p->thread, NULL, run, p) == 0;
}

enum err prepare_take(struct prepare *p, struct io_file **file, uint64_t *size,
                      struct why *why)
{
    uint64_t done;
    enum err e;

    wait_for_thread(p);
    done = p->done;
    p->done = 0;
    *file = NULL;
    if (done == 0) return make(p, file, *size, why);

    e = p->io->ops->open(p->io, file, p->path, IO_WRITE, why);
    if (!e && done < *size) {
        e = prepare_zero(p->io, *file, done, *size, NULL, why);
        done = *size;
    }
    *size = done;
    if (e && *file != NULL) {
        p->io->ops->close(*file);
        *file = NULL;
    }
    return e;
}

enum err prepare_take_sparse(struct prepare *p, struct io_file **file, uint64_t *size,
                             struct why *why)
{
    const struct io_ops *ops = p->io->ops;
    enum err e;

    *file = NULL;
    if (p->running || p->done > 0) return prepare_take(p, file, size, why);
    e = ops->open(p->io, file, p->path, IO_CREATE, why);
    if (!e) e = ops->truncate(*file, 0, why);
    if (!e) e = ops->truncate(*file, *size, why);
    if (e && *file != NULL) {
        ops->close(*file);
        *file = NULL;
    }
    return e;
}
