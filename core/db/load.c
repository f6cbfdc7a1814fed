/* SPDX-License-Identifier: MIT */
/*
 * load: a SQLite file becomes the whole database (HTTP API 10.2).
 *
 * It is checked before it goes into the log; what passes fits every node.  The switch is
 * one transaction of the write connection, so readers, of other programs too, see all of
 * the old content or all of the new.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/logger.h"
#include "core/db/internal.h"

enum { HEADER_BYTES = 100, PAGE_BYTES = 4096, UTF8 = 1 };

/* The first 100 bytes of a database (https://www.sqlite.org/fileformat2.html, 1.3);
 * integers are big-endian. */
struct header {
    uint32_t page_bytes, pages, reserved, encoding;
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static enum err invalid(struct why *why)
{
    return why_set(why, ERR_INVALID, "invalid SQLite data");
}

static enum err read_header(const char *path, struct header *h, struct why *why)
{
    uint8_t b[HEADER_BYTES];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) return why_errno(why, "open %s", path);
    ssize_t n = pread(fd, b, sizeof b, 0);
    int failed = fstat(fd, &st);
    close(fd);
    if (n < 0 || failed) return why_errno(why, "read %s", path);
    if (n < HEADER_BYTES || memcmp(b, "SQLite format 3", 16) != 0) return invalid(why);

    h->page_bytes = (uint32_t)b[16] << 8 | b[17];
    if (h->page_bytes == 1) h->page_bytes = 65536;
    h->reserved = b[20];
    h->encoding = be32(b + 56);
    if (h->page_bytes < 512 || (h->page_bytes & (h->page_bytes - 1)) != 0)
        return invalid(why);
    if (b[18] < 1 || b[18] > 2 || b[19] < 1 || b[19] > 2 || h->encoding > 3)
        return invalid(why);
    if (h->page_bytes - h->reserved < 480) return invalid(why);
    uint64_t pages = (uint64_t)st.st_size / h->page_bytes;
    /* The count of the header counts if the file was last written by something that knows
     * of it. */
    bool counted = be32(b + 28) != 0 && be32(b + 24) == be32(b + 92);
    if (counted && be32(b + 28) > pages) return invalid(why);
    h->pages = counted ? be32(b + 28) : (uint32_t)pages;
    return h->pages > 0 ? ERR_OK : invalid(why);
}

/* Structure, not taste: CHECK constraints may have been switched off where the file was
 * made. */
static bool quick_check(sqlite3 *sqlite)
{
    sqlite3_stmt *s = NULL;
    bool ok = false;

    sqlite3_db_config(sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_exec(sqlite, "PRAGMA ignore_check_constraints=1; PRAGMA cell_size_check=1;",
                 NULL, NULL, NULL);
    if (sqlite3_prepare_v2(sqlite, "PRAGMA quick_check(1)", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        ok = text && strcmp(text, "ok") == 0;
    }
    sqlite3_finalize(s);
    return ok;
}

/* --- into the shape of our own ------------------------------------------------------ */

static int set_int(sqlite3 *sqlite, const char *pragma, int64_t v)
{
    char sql[80];
    snprintf(sql, sizeof sql, "PRAGMA %s=%" PRId64, pragma, v);
    return sqlite3_exec(sqlite, sql, NULL, NULL, NULL);
}

static int get_int(sqlite3 *sqlite, const char *sql, int64_t *out)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(sqlite, sql, -1, &s, NULL);
    if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        *out = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return rc;
}

static char *read_all(int fd, size_t *len)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return NULL;
    *len = (size_t)st.st_size;
    char *p = malloc(*len + 1);
    size_t got = 0;
    while (p && got < *len) {
        ssize_t n = pread(fd, p + got, *len - got, (off_t)got);
        if (n <= 0) {
            free(p);
            return NULL;
        }
        got += (size_t)n;
    }
    if (p) p[got] = '\0';
    return p;
}

/* Another text encoding cannot be changed, so everything is told once more as SQL. */
static int retell(sqlite3 *from, sqlite3 *to, const char *sql_path)
{
    int64_t version = 0, id = 0;
    size_t len;
    int fd = open(sql_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
        rc = SQLITE_IOERR;

    if (fd < 0) return SQLITE_CANTOPEN;
    unlink(sql_path);
    if (db_dump(from, NULL, fd, NULL) == ERR_OK) {
        char *sql = read_all(fd, &len);
        if (sql) rc = sqlite3_exec(to, sql, NULL, NULL, NULL);
        free(sql);
    }
    close(fd);
    if (rc == SQLITE_OK) rc = get_int(from, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK) rc = get_int(from, "PRAGMA application_id", &id);
    if (rc == SQLITE_OK) rc = set_int(to, "user_version", version);
    if (rc == SQLITE_OK) rc = set_int(to, "application_id", id);
    return rc;
}

/* Page by page if only the size of pages differs. */
static int repage(sqlite3 *from, sqlite3 *to)
{
    int none = 0;
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (!b) return sqlite3_errcode(to);
    sqlite3_backup_step(b, -1);
    int rc = sqlite3_backup_finish(b);
    if (rc != SQLITE_OK) return rc;
    sqlite3_file_control(to, "main", SQLITE_FCNTL_RESERVE_BYTES, &none);
    return sqlite3_exec(to, "PRAGMA page_size=4096; VACUUM;", NULL, NULL, NULL);
}

enum err db_copy_file(const char *from, const char *to, struct why *why)
{
    char block[1 << 16];
    uint64_t at = 0;
    int in = open(from, O_RDONLY | O_CLOEXEC),
        out = open(to, O_WRONLY | O_TRUNC | O_CLOEXEC);
    enum err e = in < 0 || out < 0 ? why_errno(why, "write %s", to) : ERR_OK;

    while (!e) {
        ssize_t n = pread(in, block, sizeof block, (off_t)at);
        if (n == 0) break;
        if (n < 0 || pwrite(out, block, (size_t)n, (off_t)at) != n)
            e = why_errno(why, "write %s", to);
        else
            at += (uint64_t)n;
    }
    if (in >= 0) close(in);
    if (out >= 0 && close(out) != 0 && !e) e = why_errno(why, "write %s", to);
    return e;
}

static enum err convert(sqlite3 *from, const char *path, const struct header *h,
                        struct why *why)
{
    char real[4096], temp[4200], sql_path[4200];
    sqlite3 *to = NULL;
    ssize_t n = readlink(path, real, sizeof real - 1);

    if (n > 0)
        real[n] = '\0'; /* the name behind /proc/self/fd */
    else
        snprintf(real, sizeof real, "%s", path);
    snprintf(temp, sizeof temp, "%s.rewrite", real);
    snprintf(sql_path, sizeof sql_path, "%s.sql", real);
    unlink(temp);
    int rc = sqlite3_open_v2(
        temp, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
        NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;", NULL,
                          NULL, NULL);
    if (rc == SQLITE_OK && h->encoding > UTF8) {
        rc = sqlite3_exec(to, "PRAGMA page_size=4096; PRAGMA encoding='UTF-8';", NULL,
                          NULL, NULL);
        if (rc == SQLITE_OK) rc = retell(from, to, sql_path);
    } else if (rc == SQLITE_OK) {
        rc = repage(from, to);
    }
    enum err e = ERR_OK;
    if (rc != SQLITE_OK)
        e = why_set(why, (rc & 0xff) == SQLITE_FULL ? ERR_NO_SPACE : ERR_INVALID,
                    "invalid SQLite data: %s",
                    to ? sqlite3_errmsg(to) : sqlite3_errstr(rc));
    sqlite3_close(to);
    if (!e) e = db_copy_file(temp, path, why);
    unlink(temp);
    return e;
}

enum err db_check_file(const char *path, struct why *why)
{
    struct header h = {0};
    sqlite3 *sqlite = NULL;
    sqlite3_vfs *vfs = NULL;
    enum err e = read_header(path, &h, why);

    if (e) return e;
    if (db_image_open(&sqlite, &vfs, path) != SQLITE_OK || !quick_check(sqlite))
        e = invalid(why);
    if (!e && (h.page_bytes != PAGE_BYTES || h.reserved != 0 || h.encoding > UTF8))
        e = convert(sqlite, path, &h, why);
    db_image_close(sqlite, vfs);
    return e;
}

/* --- the switch --------------------------------------------------------------------- */

/* Through the WAL: whoever reads goes on with the old content meanwhile. */
static enum err replace(struct db *d, sqlite3 *from, const struct why *cause,
                        struct why *why)
{
    sqlite3_backup *b = sqlite3_backup_init(d->w->sqlite, "main", from, "main");
    int rc = b ? sqlite3_backup_step(b, -1) : sqlite3_errcode(d->w->sqlite);

    if (b) {
        db_effect_mix(d, (uint64_t)sqlite3_backup_pagecount(b));
        rc = sqlite3_backup_finish(b);
    }
    if (rc == SQLITE_OK) return ERR_OK;
    if (cause && cause->code) return why_set(why, cause->code, "%s", cause->text);
    return db_conn_why(d->w, rc, why, "load");
}

enum err db_replace_content(struct db *d, const struct db_context *ctx, sqlite3 *from,
                            const struct db_pages *pages, const struct why *cause,
                            struct why *why)
{
    enum err e = db_commit(d, why);
    bool done = false;

    if (e) return e;
    d->ctx = *ctx;
    db_effect_begin(d);
    db_stmt_cache_clear(&d->w->cache);
    e = db_overwrite(d, pages, &done, why);
    if (!e && done) db_effect_mix(d, pages->n);
    if (!e && !done) e = replace(d, from, cause, why);
    if (!e)
        e = db_writer_reopen(d, false,
                             why); /* settings, counters and temporary objects go, too */
    if (e) return e;
    db_schema_find_rowid_max(d);
    db_checkpoint(d); /* all of the new content went through the WAL */
    return ERR_OK;
}

struct loaded { /* a file with the pages */
    const char *path;
    int fd;
};

static enum err read_loaded(void *arg, uint32_t first, uint32_t n, void *out,
                            struct why *why)
{
    const struct loaded *l = arg;
    size_t len = (size_t)n * PAGE_BYTES;

    for (size_t got = 0; got < len;) {
        off_t at = (off_t)(first - 1) * PAGE_BYTES + (off_t)got;
        ssize_t k = pread(l->fd, (char *)out + got, len - got, at);

        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return why_errno(why, "read %s", l->path);
        if (k == 0) return why_set(why, ERR_IO, "%s became shorter", l->path);
        got += (size_t)k;
    }
    return ERR_OK;
}

enum err db_apply_replace(struct db *d, const struct db_context *ctx, const char *path,
                          struct why *why)
{
    struct loaded l = {path, open(path, O_RDONLY | O_CLOEXEC)};
    struct db_pages pages = {.read = read_loaded, .arg = &l};
    struct header h = {0};
    sqlite3 *from = NULL;
    sqlite3_vfs *vfs = NULL;
    enum err e = l.fd < 0 ? why_errno(why, "open %s", path) : read_header(path, &h, why);
    int rc = e ? SQLITE_OK : db_image_open(&from, &vfs, path);

    /* One that has another shape was checked by an earlier release. */
    if (h.page_bytes == PAGE_BYTES && h.reserved == 0 && h.encoding <= UTF8)
        pages.n = h.pages;
    if (rc != SQLITE_OK)
        e = why_set(why, ERR_IO, "load %s: %s", path,
                    from ? sqlite3_errmsg(from) : sqlite3_errstr(rc));
    if (!e) e = db_replace_content(d, ctx, from, &pages, NULL, why);
    if (l.fd >= 0) close(l.fd);
    db_image_close(from, vfs);
    if (e) return e;
    atomic_store_explicit(&d->changed_index, ctx->index, memory_order_relaxed);
    db_effect_end(d);
    return ERR_OK;
}
