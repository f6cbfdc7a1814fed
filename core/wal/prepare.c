/* SPDX-License-Identifier: MIT */
#include "core/wal/prepare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/io.h"

/* Synced piece by piece: one sync of 16 MiB would keep the log's own syncs waiting behind
 * it. */
enum { PIECE_BYTES = 1024 * 1024 };

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

enum err prepare_zero(struct io *io, struct io_file *file, uint64_t from, uint64_t to,
                      const atomic_bool *cancel, struct why *why)
{
    size_t piece = to - from < PIECE_BYTES ? (size_t)(to - from) : PIECE_BYTES;
    uint8_t *zeroes;
    enum err e = ERR_OK;

    if (piece == 0) return ERR_OK;
    zeroes = calloc(1, piece);
    if (zeroes == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    while (!e && from < to) {
        size_t n = to - from < piece ? (size_t)(to - from) : piece;

        if (cancel != NULL && atomic_load(cancel)) {
            e = why_set(why, ERR_CANCELLED, "cancelled");
            break;
        }
        e = io->ops->write(file, from, zeroes, n, why);
        if (!e) e = io->ops->sync(file, why);
        from += n;
    }
    free(zeroes);
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
