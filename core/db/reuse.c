/* SPDX-License-Identifier: MIT */
/*
 * reuse: does the database file on disk hold exactly what a snapshot holds?  (server 10)
 *
 * The bytes of a fingerprint, little endian:
 *
 *   version 1      1
 *   durable        1    the file had been synced
 *   dev, ino       8 8
 *   size           8
 *   mtime, ctime   8 8  in ns
 *   boot          36    the kernel's boot id, as text
 *
 * Between two write-backs only the WAL changes.  So after a mere crash of the process the
 * file is what the fingerprint was taken of, unless another program has touched it, which
 * its times tell; after a crash of the machine that is so only if it had been synced.
 *
 * The WAL that is left over holds entries that will be applied again, so it is emptied.
 * Another program may have it open: it must find an empty WAL rather than a new one
 * beside the one it reads, hence in place, under the locks of
 * https://www.sqlite.org/walformat.html (2.3), and with an invalid wal-index header,
 * which makes the next to look rebuild it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/db/internal.h"

enum {
    VERSION = 1,
    SIZE = 2 + 5 * 8 + DB_BOOT_ID,
    SAMPLES = 64,     /* pages compared */
    INDEX_HEAD = 136, /* of the wal-index: two headers, checkpoint information */
    LOCKS_AT = 120,   /* its locks: write, checkpoint, recover, five readers */
    LOCKS = 8,
    TRIES = 100, /* to get them */
    TRY_MS = 10
};

/* --- the fingerprint ---------------------------------------------------------------- */

void db_boot_id(char out[DB_BOOT_ID + 1])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, DB_BOOT_ID);

    if (fd >= 0) close(fd);
    memset(out + (n < 0 ? 0 : n), 0, (size_t)(DB_BOOT_ID + 1 - (n < 0 ? 0 : n)));
}

static uint64_t ns_of(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec;
}

size_t db_fingerprint_of(const char *path, const char *boot, bool durable,
                         uint8_t out[DB_FINGERPRINT_MAX])
{
    struct stat st;

    if (stat(path, &st) != 0 || boot[0] == '\0') return 0;
    /* In whole seconds, it seems: too coarse to tell one state from the next. */
    if (st.st_mtim.tv_nsec == 0) return 0;
    out[0] = VERSION;
    out[1] = durable;
    put_le64(out + 2, (uint64_t)st.st_dev);
    put_le64(out + 10, (uint64_t)st.st_ino);
    put_le64(out + 18, (uint64_t)st.st_size);
    put_le64(out + 26, ns_of(&st.st_mtim));
    put_le64(out + 34, ns_of(&st.st_ctim));
    memcpy(out + 42, boot, DB_BOOT_ID);
    return SIZE;
}

size_t db_fingerprint(const struct db *d, bool durable, uint8_t out[DB_FINGERPRINT_MAX])
{
    char boot[DB_BOOT_ID + 1];
    int moved = 0;

    if (d->path == NULL) return 0;
    /* Another file may have the name by now. */
    if (sqlite3_file_control(d->w->sqlite, "main", SQLITE_FCNTL_HAS_MOVED, &moved) !=
            SQLITE_OK ||
        moved)
        return 0;
    db_boot_id(boot);
    return db_fingerprint_of(d->path, boot, durable, out);
}

/* False: why says what has changed. */
static bool matches(const char *path, const char *boot, const uint8_t *fingerprint,
                    size_t len, struct why *why)
{
    static const struct {
        size_t at, len;
        const char *what;
    } fields[] = {{2, 16, "it is another file"},
                  {18, 8, "its size has changed"},
                  {26, 16, "it was changed since"}};
    uint8_t now[DB_FINGERPRINT_MAX];
    const char *what = NULL;

    if (len != SIZE || fingerprint[0] != VERSION)
        what = "it has not been recorded how the file was left";
    else if (db_fingerprint_of(path, boot, false, now) == 0)
        what = "it is not there, or its times are in whole seconds";
    for (size_t i = 0; i < sizeof fields / sizeof *fields && !what; i++)
        if (memcmp(now + fields[i].at, fingerprint + fields[i].at, fields[i].len) != 0)
            what = fields[i].what;
    if (!what && !fingerprint[1] && memcmp(now + 42, fingerprint + 42, DB_BOOT_ID) != 0)
        what = "the machine has been restarted since";
    if (what) (void)why_set(why, ERR_STALE, "%s: %s", path, what);
    return what == NULL;
}

/* --- some of its content ------------------------------------------------------------ */

static bool sample(const char *path, const struct db_pages *from, struct why *why)
{
    uint8_t page[DB_PAGE];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same = from->n > 0 && fd >= 0 && fstat(fd, &st) == 0 &&
                (uint64_t)st.st_size == (uint64_t)from->n * DB_PAGE;

    for (uint32_t i = 0; i < SAMPLES && same; i++) {
        uint32_t number = (uint32_t)((uint64_t)i * from->n / SAMPLES);

        same = pread(fd, page, sizeof page, (off_t)number * DB_PAGE) == DB_PAGE &&
               from->same(from->arg, number + 1, page);
    }
    if (fd >= 0) close(fd);
    if (!same) (void)why_set(why, ERR_STALE, "%s: its content has changed", path);
    return same;
}

/* --- the WAL that is left over -------------------------------------------------------
 */

static bool lock_index(int fd)
{
    struct flock l = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCKS_AT, .l_len = LOCKS};
    const struct timespec pause = {.tv_nsec = TRY_MS * 1000000L};

    for (int i = 0; i < TRIES; i++) {
        if (fcntl(fd, F_SETLK, &l) == 0) return true;
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) return false;
        nanosleep(&pause, NULL);
    }
    return false;
}

static bool empty_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done;

    if (fd < 0) return errno == ENOENT;
    done = ftruncate(fd, 0) == 0;
    close(fd);
    return done;
}

/* False: another program is in the middle of reading. */
static bool empty_wal(const char *path, struct why *why)
{
    static const uint8_t zeros[INDEX_HEAD];
    char wal[4096 + 8], index[4096 + 8];
    struct stat st;
    bool done;
    int fd;

    snprintf(wal, sizeof wal, "%.4096s-wal", path);
    snprintf(index, sizeof index, "%.4096s-shm", path);
    fd = open(index, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        done = errno == ENOENT && empty_file(wal);
    } else {
        done =
            lock_index(fd) && empty_file(wal) && fstat(fd, &st) == 0 &&
            (st.st_size < INDEX_HEAD || pwrite(fd, zeros, sizeof zeros, 0) == INDEX_HEAD);
        close(fd); /* the locks with it */
    }
    if (!done) (void)why_set(why, ERR_BUSY, "%s: another program is using it", path);
    return done;
}

/* --- may it be used? -----------------------------------------------------------------
 */

bool db_can_reuse_at(const struct db_options *o, const char *boot,
                     const uint8_t *fingerprint, size_t len, const struct db_pages *from,
                     struct why *why)
{
    char journal[4096 + 16];

    if (o->path == NULL) {
        (void)why_set(why, ERR_STALE, "the database is in memory");
        return false;
    }
    snprintf(journal, sizeof journal, "%.4096s-journal", o->path);
    if (access(journal, F_OK) == 0) {
        (void)why_set(why, ERR_STALE, "%s: another program has written to it", o->path);
        return false;
    }
    /* Once more when nobody can copy the WAL back any more. */
    return matches(o->path, boot, fingerprint, len, why) && sample(o->path, from, why) &&
           empty_wal(o->path, why) && matches(o->path, boot, fingerprint, len, why);
}

bool db_can_reuse(const struct db_options *o, const uint8_t *fingerprint, size_t len,
                  const struct db_pages *from, struct why *why)
{
    char boot[DB_BOOT_ID + 1];

    db_boot_id(boot);
    return db_can_reuse_at(o, boot, fingerprint, len, from, why);
}
