/* SPDX-License-Identifier: MIT */
/*
 * rebuild: a database just opened, that nobody else has open yet, becomes an image, not
 * through SQLite but as a file: as fast as the image can be read.
 *
 * On disk the content is written beside the database's file and then takes its name, so
 * that no other program ever finds half of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/db/internal.h"
#include "core/base/io.h"

enum { PIECE_PAGES = 256, VERSIONS_AT = 18, WAL_MODE = 2, PAGE_SIZE_AT = 16 };

/* As the pages behind arg, with the first one looked at. */
static enum err read_some(void *arg, uint32_t first, uint32_t n, void *out,
                          struct why *why)
{
    const struct db_pages *from = *(const struct db_pages **)arg;
    enum err e = from->read(from->arg, first, n, out, why);
    uint8_t *head = out;

    if (e || first > 1) return e;
    if (memcmp(head, "SQLite format 3", 16) != 0 ||
        (head[PAGE_SIZE_AT] << 8 | head[PAGE_SIZE_AT + 1]) != DB_PAGE)
        return why_set(why, ERR_CORRUPT, "the snapshot's first page is no database's");
    memset(head + VERSIONS_AT, WAL_MODE, 2);
    return ERR_OK;
}

static enum err write_all(int fd, const uint8_t *p, size_t len, uint64_t at,
                          const char *path, struct why *why)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, p, io_write_some(len), (off_t)at);

        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return why_errno(why, "write %s", path);
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static enum err write_pages(int fd, const struct db_pages *from, const char *path,
                            struct why *why)
{
    uint8_t *piece = malloc((size_t)PIECE_PAGES * DB_PAGE);
    enum err e = ERR_OK;

    if (!piece) return why_set(why, ERR_NOMEM, "rebuild: out of memory");
    for (uint64_t at = 0; at < from->n && !e; at += PIECE_PAGES) {
        uint64_t left = from->n - at;
        uint32_t n = left < PIECE_PAGES ? (uint32_t)left : PIECE_PAGES;

        e = from->read(from->arg, (uint32_t)at + 1, n, piece, why);
        if (!e) e = write_all(fd, piece, (size_t)n * DB_PAGE, at * DB_PAGE, path, why);
    }
    free(piece);
    return e;
}

/* Others may have the empty file open already: they keep it, with its own WAL. */
static enum err take_name(const struct db *d, const char *path, struct why *why)
{
    static const char *const suffixes[] = {"-wal", "-shm"};
    char name[4200];

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(name, sizeof name, "%s%s", d->path, suffixes[i]);
        if (unlink(name) != 0 && errno != ENOENT)
            return why_errno(why, "remove %s", name);
    }
    return rename(path, d->path) == 0 ? ERR_OK : why_errno(why, "rename %s", path);
}

static enum err rebuild_file(const struct db *d, const struct db_pages *from,
                             struct why *why)
{
    char path[4200];

    if ((size_t)snprintf(path, sizeof path, "%s" DB_REBUILD_SUFFIX, d->path) >=
        sizeof path)
        return why_set(why, ERR_INVALID, "%s: name too long", d->path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return why_errno(why, "create %s", path);
    enum err e = fchmod(fd, 0644) == 0 ? ERR_OK : why_errno(why, "chmod %s", path);
    if (!e) e = write_pages(fd, from, path, why);
    if (close(fd) != 0 && !e) e = why_errno(why, "close %s", path);
    if (!e) e = take_name(d, path, why);
    if (e) unlink(path);
    return e;
}

static enum err rebuild_memory(struct db *d, const struct db_pages *from, struct why *why)
{
    char wal[64];

    snprintf(wal, sizeof wal, "%s-wal", d->file);
    d->vfs_read->xDelete(d->vfs_read, wal, 0);
    return db_vfs_mem_fill(d->mem, d->file, from, why);
}

enum err db_rebuild(struct db *d, const struct db_pages *from,
                    const struct db_state *state, struct why *why)
{
    const struct db_pages checked = {.n = from->n, .read = read_some, .arg = &from};
    enum err e = ERR_OK;

    CHECK(atomic_load(&d->n_readers) == 0);
    db_conn_close(d->here);
    d->here = NULL;
    if (from->n > 0) {
        db_conn_close(d->w);
        d->w = NULL;
        e = d->mem ? rebuild_memory(d, &checked, why) : rebuild_file(d, &checked, why);
    }
    if (!e) e = db_state_load(d, state, why);
    if (!e && from->n == 0) d->changes.pages = 0; /* it has a header nevertheless */
    return e;
}
