/* SPDX-License-Identifier: MIT */
/*
 * overwrite: the database becomes other pages in place, and nothing goes through the WAL.
 *
 * That is only possible while nobody reads, and takes so long that larger ones go through
 * the WAL all the same.  All locks of the wal-index are held
 * (https://www.sqlite.org/walformat.html, 2.3), so readers, of other programs too, wait
 * as they do while a WAL starts over.  The WAL is empty by then.  The header of the
 * wal-index changes before the locks are released, which tells every connection that what
 * it has cached is old.
 *
 * A crash in the middle leaves a torn file: its times are not those of the fingerprint,
 * so it is rebuilt from snapshot and log.  After a failure the locks are kept until the
 * connection is closed, which is what an applier does that cannot go on.
 */
#include <stdlib.h>
#include <string.h>

#include "core/db/internal.h"

enum {
    PIECE_PAGES = 256,
    WRITE_PAGES = 16,
    PAGES_MAX = 1 << 18, /* 1 GiB: SQLite gives up waiting for the locks after 10 s */
    VERSIONS_AT = 18,
    WAL_MODE = 2,
    PAGE_SIZE_AT = 16,
    COOKIE_AT = 40
};

/* The connection knows nothing of it. */
static enum err failed(const struct db *d, int rc, struct why *why)
{
    enum err e = (rc & 0xff) == SQLITE_FULL                                ? ERR_NO_SPACE
                 : (rc & 0xff) == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM ? ERR_NOMEM
                                                                           : ERR_IO;

    return why_set(why, e, "write %s: %s", d->file, sqlite3_errstr(rc));
}

/* What a backup by SQLite leaves: a schema cookie that makes everybody look again. */
static enum err set_head(uint8_t *page, uint32_t cookie, struct why *why)
{
    if (memcmp(page, "SQLite format 3", 16) != 0 ||
        (page[PAGE_SIZE_AT] << 8 | page[PAGE_SIZE_AT + 1]) != DB_PAGE)
        return why_set(why, ERR_CORRUPT, "the first page is no database's");
    memset(page + VERSIONS_AT, WAL_MODE, 2);
    for (int i = 0; i < 4; i++) page[COOKIE_AT + i] = (uint8_t)(cookie >> (24 - 8 * i));
    return ERR_OK;
}

/* In pieces: SQLite's own files take less than 128 KiB at once; and see io.h. */
static int write_run(sqlite3_file *f, uint64_t first, uint64_t n, const uint8_t *data)
{
    int rc = SQLITE_OK;

    for (uint64_t at = 0; at < n && rc == SQLITE_OK; at += WRITE_PAGES) {
        uint64_t some = n - at < WRITE_PAGES ? n - at : WRITE_PAGES;

        rc = f->pMethods->xWrite(f, data + at * DB_PAGE, (int)(some * DB_PAGE),
                                 (sqlite3_int64)((first - 1 + at) * DB_PAGE));
    }
    return rc;
}

static enum err write_all(struct db *d, sqlite3_file *f, const struct db_pages *from,
                          uint32_t cookie, struct why *why)
{
    uint8_t *piece = malloc((size_t)PIECE_PAGES * DB_PAGE);
    enum err e = ERR_OK;
    int rc = SQLITE_OK;

    if (!piece) return why_set(why, ERR_NOMEM, "out of memory");
    for (uint64_t at = 0; at < from->n && !e && rc == SQLITE_OK; at += PIECE_PAGES) {
        uint64_t left = from->n - at;
        uint32_t n = left < PIECE_PAGES ? (uint32_t)left : PIECE_PAGES;

        e = from->read(from->arg, (uint32_t)at + 1, n, piece, why);
        if (!e && at == 0) e = set_head(piece, cookie, why);
        if (!e) rc = write_run(f, at + 1, n, piece);
    }
    free(piece);
    if (e) return e;
    if (rc == SQLITE_OK) rc = f->pMethods->xTruncate(f, (sqlite3_int64)from->n * DB_PAGE);
    return rc == SQLITE_OK ? ERR_OK : failed(d, rc, why);
}

/* The pages read well, before anything of ours is given up. */
static enum err look_at_first(const struct db_pages *from, struct why *why)
{
    uint8_t page[DB_PAGE];
    enum err e = from->read(from->arg, 1, 1, page, why);

    return e ? e : set_head(page, 0, why);
}

enum err db_overwrite(struct db *d, const struct db_pages *from, bool *done,
                      struct why *why)
{
    uint32_t cookie = (uint32_t)db_conn_int(d->w, "PRAGMA schema_version") + 1;
    struct db_wal wal;
    enum err e = ERR_OK;

    *done = false;
    if (from->n == 0 || from->n > PAGES_MAX) return ERR_OK;
    e = look_at_first(from, why);
    if (e || !db_wal_empty(d)) return e;
    if (!db_wal_lock(d, &wal)) {
        db_guard(d);
        return ERR_OK;
    }
    e = write_all(d, wal.main, from, cookie, why);
    if (e) return e;
    db_wal_renew(&wal, from->n);
    db_wal_unlock(&wal);
    d->changes.fresh.unknown = true;
    db_guard(d);
    *done = true;
    return ERR_OK;
}
