/* SPDX-License-Identifier: MIT */
/*
 * vfs_image: one file, or pages from elsewhere, to be read as a whole SQLite database.
 *
 * A database in WAL mode says so in its header, and SQLite then wants a -wal and a -shm
 * file beside it.  An image that was sent to us is complete by itself and may lie where
 * nothing can be made beside it, so this VFS shows it as one in the old journal mode, and
 * never writes to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/db/internal.h"

struct image_vfs {
    sqlite3_vfs vfs;
    sqlite3_vfs *base;
    char name[40];
    const struct db_pages *from; /* NULL: a file */
    struct why *why;             /* why a page could not be had */
};

struct image_file {
    sqlite3_file base; /* first */
    struct image_vfs *owner;
    int fd;         /* -1: pages */
    uint8_t *ahead; /* owned; pages read ahead, from number first on */
    uint32_t first, n;
};

enum {
    VERSIONS_AT = 18, /* file format write and read version: 2 = WAL */
    AHEAD_PAGES = 64  /* SQLite asks for one at a time */
};

static struct image_file *image_of(sqlite3_file *f)
{
    return (struct image_file *)(void *)f;
}

static int image_close(sqlite3_file *f)
{
    if (image_of(f)->fd >= 0) close(image_of(f)->fd);
    free(image_of(f)->ahead);
    return SQLITE_OK;
}

/* How many of the bytes there are; -1: they cannot be read. */
static int read_file(struct image_file *f, uint8_t *to, int amount, sqlite3_int64 offset)
{
    int got = 0;

    while (got < amount) {
        ssize_t n = pread(f->fd, to + got, (size_t)(amount - got), offset + got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        got += (int)n;
    }
    return got;
}

/* Have the page with that number, from 0 on, read ahead. */
static bool fetch(struct image_file *f, uint32_t number)
{
    const struct db_pages *from = f->owner->from;
    uint32_t left = from->n - number;

    if (number >= f->first && number < f->first + f->n) return true;
    f->n = 0;
    f->first = number;
    left = left < AHEAD_PAGES ? left : AHEAD_PAGES;
    if (from->read(from->arg, number + 1, left, f->ahead, f->owner->why) != ERR_OK)
        return false;
    f->n = left;
    return true;
}

static int read_pages(struct image_file *f, uint8_t *to, int amount, sqlite3_int64 offset)
{
    int got = 0;

    while (got < amount && (offset + got) / DB_PAGE < f->owner->from->n) {
        uint32_t number = (uint32_t)((offset + got) / DB_PAGE);
        int in_page = (int)((offset + got) % DB_PAGE), n = DB_PAGE - in_page;

        if (!fetch(f, number)) return -1;
        if (n > amount - got) n = amount - got;
        memcpy(to + got, f->ahead + (size_t)(number - f->first) * DB_PAGE + in_page,
               (size_t)n);
        got += n;
    }
    return got;
}

static int image_read(sqlite3_file *file, void *out, int amount, sqlite3_int64 offset)
{
    struct image_file *f = image_of(file);
    uint8_t *to = out;
    int got =
        f->fd >= 0 ? read_file(f, to, amount, offset) : read_pages(f, to, amount, offset);

    if (got < 0) return SQLITE_IOERR_READ;
    if (got < amount) memset(to + got, 0, (size_t)amount - (size_t)got);
    for (int at = VERSIONS_AT; at < VERSIONS_AT + 2; at++)
        if (offset <= at && at < offset + got && to[at - offset] == 2)
            to[at - offset] = 1;
    return got < amount ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int image_write(sqlite3_file *f, const void *data, int amount,
                       sqlite3_int64 offset)
{
    (void)f, (void)data, (void)amount, (void)offset;
    return SQLITE_READONLY;
}

static int image_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    (void)f, (void)size;
    return SQLITE_READONLY;
}

static int image_nothing(sqlite3_file *f, int flags)
{
    (void)f, (void)flags;
    return SQLITE_OK;
}

static int image_size(sqlite3_file *file, sqlite3_int64 *out)
{
    struct image_file *f = image_of(file);
    struct stat st;

    if (f->fd < 0) {
        *out = (sqlite3_int64)f->owner->from->n * DB_PAGE;
    } else {
        if (fstat(f->fd, &st) != 0) return SQLITE_IOERR_FSTAT;
        *out = st.st_size;
    }
    return SQLITE_OK;
}

static int image_check_reserved(sqlite3_file *f, int *out)
{
    (void)f;
    *out = 0;
    return SQLITE_OK;
}

static int image_file_control(sqlite3_file *f, int op, void *arg)
{
    (void)f, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int image_sector_size(sqlite3_file *f)
{
    (void)f;
    return 4096;
}

static int image_characteristics(sqlite3_file *f)
{
    (void)f;
    return SQLITE_IOCAP_IMMUTABLE;
}

static const sqlite3_io_methods image_methods = {
    .iVersion = 1,
    .xClose = image_close,
    .xRead = image_read,
    .xWrite = image_write,
    .xTruncate = image_truncate,
    .xSync = image_nothing,
    .xFileSize = image_size,
    .xLock = image_nothing,
    .xUnlock = image_nothing,
    .xCheckReservedLock = image_check_reserved,
    .xFileControl = image_file_control,
    .xSectorSize = image_sector_size,
    .xDeviceCharacteristics = image_characteristics,
};

static sqlite3_vfs *base_of(sqlite3_vfs *v)
{
    return ((struct image_vfs *)v->pAppData)->base;
}

/* Only the image: whatever else SQLite wants (temporary files) is kept in memory. */
static int image_open(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags,
                      int *out_flags)
{
    struct image_file *f = image_of(file);

    memset(f, 0, sizeof *f);
    f->owner = v->pAppData;
    f->fd = -1;
    if (!name || !(flags & SQLITE_OPEN_MAIN_DB)) return SQLITE_CANTOPEN;
    if (f->owner->from)
        f->ahead = malloc((size_t)AHEAD_PAGES * DB_PAGE);
    else
        f->fd = open(name, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 && !f->ahead) return f->owner->from ? SQLITE_NOMEM : SQLITE_CANTOPEN;
    f->base.pMethods = &image_methods;
    if (out_flags) *out_flags = SQLITE_OPEN_READONLY;
    return SQLITE_OK;
}

static int image_delete(sqlite3_vfs *v, const char *name, int sync_dir)
{
    (void)v, (void)name, (void)sync_dir;
    return SQLITE_IOERR_DELETE_NOENT;
}

static int image_access(sqlite3_vfs *v, const char *name, int flags, int *out)
{
    (void)v, (void)name, (void)flags;
    *out = 0;
    return SQLITE_OK;
}

static int image_full_path(sqlite3_vfs *v, const char *name, int n, char *out)
{
    (void)v;
    sqlite3_snprintf(n, out, "%s", name);
    return SQLITE_OK;
}

static int image_randomness(sqlite3_vfs *v, int n, char *out)
{
    return base_of(v)->xRandomness(base_of(v), n, out);
}

static int image_sleep(sqlite3_vfs *v, int us)
{
    return base_of(v)->xSleep(base_of(v), us);
}

static int image_time(sqlite3_vfs *v, double *out)
{
    return base_of(v)->xCurrentTime(base_of(v), out);
}

static int image_last_error(sqlite3_vfs *v, int n, char *out)
{
    (void)v, (void)n, (void)out;
    return 0;
}

static int open_image(sqlite3 **out, sqlite3_vfs **vfs, const char *path,
                      const struct db_pages *from, struct why *why)
{
    struct image_vfs *v = calloc(1, sizeof *v);

    *out = NULL;
    *vfs = NULL;
    if (!v) return SQLITE_NOMEM;
    snprintf(v->name, sizeof v->name, "rq-image-%p", (void *)v);
    v->base = sqlite3_vfs_find(NULL);
    v->from = from;
    v->why = why;
    v->vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct image_file),
        .mxPathname = 4096,
        .zName = v->name,
        .pAppData = v,
        .xOpen = image_open,
        .xDelete = image_delete,
        .xAccess = image_access,
        .xFullPathname = image_full_path,
        .xRandomness = image_randomness,
        .xSleep = image_sleep,
        .xCurrentTime = image_time,
        .xGetLastError = image_last_error,
    };
    int rc = sqlite3_vfs_register(&v->vfs, 0);
    if (rc != SQLITE_OK) {
        free(v);
        return rc;
    }
    *vfs = &v->vfs;
    rc = sqlite3_open_v2(
        path, out, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, v->name);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(*out, "PRAGMA temp_store=MEMORY", NULL, NULL, NULL);
    return rc;
}

int db_image_open(sqlite3 **out, sqlite3_vfs **vfs, const char *path)
{
    return open_image(out, vfs, path, NULL, NULL);
}

int db_image_open_pages(sqlite3 **out, sqlite3_vfs **vfs, const struct db_pages *from,
                        struct why *why)
{
    return open_image(out, vfs, "/image", from, why);
}

void db_image_close(sqlite3 *sqlite, sqlite3_vfs *vfs)
{
    sqlite3_close(sqlite);
    if (!vfs) return;
    sqlite3_vfs_unregister(vfs);
    free(vfs->pAppData);
}
