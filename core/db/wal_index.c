/* SPDX-License-Identifier: MIT */
/*
 * wal_index: which version of each page a transaction sees, without asking SQLite for the
 * pages one by one.
 *
 * SQLite keeps the number of each page in the WAL, frame by frame, in the wal-index,
 * which is memory that all connections share (https://www.sqlite.org/walformat.html, 2;
 * numbers in the machine's byte order):
 *
 *     header      48    version 4, unused 4, change counter 4, initialised 1, ...,
 *                       frames 4 (at 16), pages of the database 4 (20), checksum 8,
 *                       salts 8 (32), checksum 8
 *     its copy    48
 *     checkpoint  40    frames copied back 4 (96), ...
 *     blocks            page numbers, then a hash table of 16 KiB: of 4062 frames in the
 *                       first block, which begins after the header, of 4096 in the others
 *
 * Content is read through SQLite's own file handles: opening the main file once more
 * would, when that is closed, drop the locks SQLite holds on it.
 */
#include <stdlib.h>
#include <string.h>

#include "core/db/internal.h"

enum {
    REGION_BYTES = 32768,
    WAL_VERSION = 3007000,
    AT_VERSION = 0, /* in words of 4 bytes */
    AT_CHANGE = 2,
    AT_FRAMES = 4,
    AT_PAGES = 5,
    AT_SALT = 8,
    AT_CHECKSUM = 10,
    HEADER_WORDS = 12,
    AT_COPIED = 24,
    AT_NUMBERS = 34,
    FIRST_BLOCK = 4062,
    BLOCK = 4096
};

static enum err damaged(struct why *why)
{
    return why_set(why, ERR_IO, "the database's wal-index cannot be read");
}

static sqlite3_file *file_of(sqlite3 *sqlite, int which)
{
    sqlite3_file *f = NULL;

    if (sqlite3_file_control(sqlite, "main", which, &f) != SQLITE_OK) return NULL;
    return f && f->pMethods ? f : NULL;
}

static volatile uint32_t *region(sqlite3_file *file, uint32_t n)
{
    volatile void *p = NULL;

    if (file->pMethods->iVersion < 2 ||
        file->pMethods->xShmMap(file, (int)n, REGION_BYTES, 0, &p) != SQLITE_OK)
        return NULL;
    return p;
}

enum err db_wal_look(sqlite3 *sqlite, struct db_wal *out, struct why *why)
{
    const volatile uint32_t *head;
    uint32_t h[HEADER_WORDS];
    sqlite3_int64 size;

    memset(out, 0, sizeof *out);
    out->main = file_of(sqlite, SQLITE_FCNTL_FILE_POINTER);
    out->file = file_of(sqlite, SQLITE_FCNTL_JOURNAL_POINTER);
    if (!out->main || !out->file || !(head = region(out->main, 0))) return damaged(why);
    for (size_t i = 0; i < HEADER_WORDS; i++) h[i] = head[i];
    if (h[AT_VERSION] != WAL_VERSION) return damaged(why);
    out->frames = h[AT_FRAMES];
    out->copied = head[AT_COPIED];
    out->pages = h[AT_PAGES];
    memcpy(out->salt, h + AT_SALT, sizeof out->salt);
    if (out->pages == 0) {
        if (out->main->pMethods->xFileSize(out->main, &size) != SQLITE_OK)
            return damaged(why);
        out->pages = (uint32_t)((uint64_t)size / DB_PAGE);
    }
    return ERR_OK;
}

enum err db_wal_each(const struct db_wal *w, uint32_t after, db_wal_frame *each,
                     void *arg, struct why *why)
{
    uint32_t frame = after + 1;

    while (frame <= w->frames) {
        bool first = frame <= FIRST_BLOCK;
        uint32_t block = first ? 0 : 1 + (frame - FIRST_BLOCK - 1) / BLOCK,
                 at = first ? frame - 1 : (frame - FIRST_BLOCK - 1) % BLOCK,
                 n = first ? FIRST_BLOCK : BLOCK;
        const volatile uint32_t *numbers = region(w->main, block);

        if (!numbers) return damaged(why);
        if (first) numbers += AT_NUMBERS;
        for (; at < n && frame <= w->frames; at++, frame++)
            if (numbers[at] == 0)
                return damaged(why);
            else
                each(arg, numbers[at], frame);
    }
    return ERR_OK;
}

/* --- all of it, for us alone -------------------------------------------------------- */

bool db_wal_lock(struct db *d, struct db_wal *out)
{
    const int how = SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE;

    db_unguard(d);
    if (db_wal_look(d->w->sqlite, out, NULL) != ERR_OK) return false;
    if (out->main->pMethods->xShmLock(out->main, 0, SQLITE_SHM_NLOCK, how) != SQLITE_OK)
        return false;
    /* Another program may have written before the locks were ours. */
    if (db_wal_look(d->w->sqlite, out, NULL) == ERR_OK && out->frames == 0) return true;
    db_wal_unlock(out);
    return false;
}

void db_wal_unlock(const struct db_wal *w)
{
    (void)w->main->pMethods->xShmLock(w->main, 0, SQLITE_SHM_NLOCK,
                                      SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
}

/* As SQLite writes it: the second copy first, for readers look at the first one first. */
void db_wal_renew(const struct db_wal *w, uint32_t pages)
{
    volatile uint32_t *head = region(w->main, 0);
    uint32_t h[HEADER_WORDS], s1 = 0, s2 = 0;

    CHECK(head); /* it is mapped since db_wal_look() */
    for (size_t i = 0; i < HEADER_WORDS; i++) h[i] = head[i];
    h[AT_CHANGE]++;
    h[AT_FRAMES] = 0;
    h[AT_PAGES] = pages;
    h[AT_SALT]++;
    for (size_t i = 0; i < AT_CHECKSUM; i += 2) {
        s1 += h[i] + s2;
        s2 += h[i + 1] + s1;
    }
    h[AT_CHECKSUM] = s1;
    h[AT_CHECKSUM + 1] = s2;
    for (size_t i = 0; i < HEADER_WORDS; i++) head[HEADER_WORDS + i] = h[i];
    w->main->pMethods->xShmBarrier(w->main);
    for (size_t i = 0; i < HEADER_WORDS; i++) head[i] = h[i];
    w->main->pMethods->xShmBarrier(w->main);
}

/* --- an image ----------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void add_frame(void *arg, uint32_t page, uint32_t frame)
{
    struct db_image *im = arg;
    im->frames[im->n++] = (uint64_t)page << 32 | frame;
}

enum err db_image_of(struct db_image *im, const struct db_wal *w, struct why *why)
{
    /* A reader that begins while all of the WAL is in the main file reads nothing of the
     * WAL, and does not keep it from starting over. */
    uint32_t frames = w->copied >= w->frames ? 0 : w->frames;
    enum err e;
    size_t n = 0;

    *im = (struct db_image){.main = w->main, .wal = w->file, .pages = w->pages};
    if (frames == 0) return ERR_OK;
    im->frames = malloc(frames * sizeof *im->frames);
    if (!im->frames) return why_set(why, ERR_NOMEM, "snapshot: out of memory");
    e = db_wal_each(w, 0, add_frame, im, why);
    if (e) {
        db_image_fini(im);
        return e;
    }
    qsort(im->frames, im->n, sizeof *im->frames, by_number);
    for (size_t i = 0; i < im->n; i++) /* the newest of each page */
        if (i + 1 == im->n || im->frames[i] >> 32 != im->frames[i + 1] >> 32)
            im->frames[n++] = im->frames[i];
    im->n = n;
    return ERR_OK;
}

void db_image_fini(struct db_image *im)
{
    free(im->frames);
    *im = (struct db_image){0};
}

static enum err read_at(sqlite3_file *f, void *out, size_t len, uint64_t at, bool whole,
                        struct why *why)
{
    int rc = f->pMethods->xRead(f, out, (int)len, (sqlite3_int64)at);

    if (rc == SQLITE_OK) return ERR_OK;
    /* Behind the end of the main file are pages nobody has written yet, of zeros. */
    if (rc == SQLITE_IOERR_SHORT_READ && !whole) return ERR_OK;
    return why_set(why, ERR_IO, "read %s for a snapshot: %s", whole ? "WAL" : "database",
                   sqlite3_errstr(rc));
}

enum err db_image_read(struct db_image *im, uint32_t first, uint32_t n, uint8_t *out,
                       struct why *why)
{
    uint64_t end = (uint64_t)first + n, page = first;
    enum err e = ERR_OK;

    if (im->at > 0 && im->frames[im->at - 1] >> 32 >= first) im->at = 0;
    while (im->at < im->n && im->frames[im->at] >> 32 < first) im->at++;
    while (page < end && !e) {
        uint64_t next = im->at < im->n ? im->frames[im->at] >> 32 : UINT64_MAX;
        uint8_t *to = out + (page - first) * DB_PAGE;

        if (page == next) {
            uint64_t frame = (uint32_t)im->frames[im->at++];

            e = read_at(im->wal, to, DB_PAGE, db_wal_bytes_of(frame) - DB_PAGE, true,
                        why);
            page++;
        } else {
            uint64_t to_page = next < end ? next : end;

            e = read_at(im->main, to, (to_page - page) * DB_PAGE, (page - 1) * DB_PAGE,
                        false, why);
            page = to_page;
        }
    }
    return e;
}
