/* SPDX-License-Identifier: MIT */
/*
 * backup: a consistent copy of the database, taken while writes go on (HTTP API 10.1).
 *
 * Everything happens in one read transaction of the reader's connection, so the copy is
 * the database as it was at one place in the log.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/db/internal.h"

enum { VERSIONS_AT = 18 }; /* in the header: 1,1 or, for a database in WAL mode, 2,2 */

static enum err sqlite_why(sqlite3 *sqlite, int rc, struct why *why)
{
    enum err e = rc == SQLITE_NOMEM           ? ERR_NOMEM
                 : (rc & 0xff) == SQLITE_FULL ? ERR_NO_SPACE
                                              : ERR_IO;
    return why_set(why, e, "backup: %s",
                   sqlite ? sqlite3_errmsg(sqlite) : sqlite3_errstr(rc));
}

/* Page by page, by SQLite's backup API. */
static enum err copy_pages(struct db_conn *c, sqlite3_vfs *files, const char *path,
                           struct why *why)
{
    sqlite3 *to = NULL;
    enum err e = ERR_OK;
    int rc = sqlite3_open_v2(
        path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
        files->zName);

    if (rc == SQLITE_OK)
        rc = sqlite3_exec(to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;", NULL,
                          NULL, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_backup *b = sqlite3_backup_init(to, "main", c->sqlite, "main");
        if (b) {
            sqlite3_backup_step(b, -1);
            rc = sqlite3_backup_finish(b);
        } else {
            rc = sqlite3_errcode(to);
        }
    }
    if (rc != SQLITE_OK) e = sqlite_why(to, rc, why);
    sqlite3_close(to);
    return e;
}

/* Percent-encode, so that no character of the path is taken for a part of a URI. */
static bool file_uri(char *out, size_t size, const char *path, const char *vfs)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = (size_t)snprintf(out, size, "file:");

    for (const unsigned char *p = (const unsigned char *)path; *p; p++) {
        if (n + 4 >= size) return false;
        if (strchr("/._-", *p) || (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
            (*p >= 'A' && *p <= 'Z')) {
            out[n++] = (char)*p;
        } else {
            out[n++] = '%';
            out[n++] = hex[*p >> 4];
            out[n++] = hex[*p & 15];
        }
    }
    return (size_t)snprintf(out + n, size - n, "?vfs=%s", vfs) < size - n;
}

static enum err copy_vacuumed(struct db_conn *c, sqlite3_vfs *files, const char *path,
                              struct why *why)
{
    char uri[8192], *sql;
    int rc;

    if (!file_uri(uri, sizeof uri, path, files->zName))
        return why_set(why, ERR_INVALID, "backup: name too long");
    sql = sqlite3_mprintf("VACUUM INTO %Q", uri);
    if (!sql) return why_set(why, ERR_NOMEM, "backup: out of memory");
    db_conn_exec(c, "PRAGMA query_only=0");
    rc = db_conn_exec(c, sql);
    enum err e = rc == SQLITE_OK ? ERR_OK : sqlite_why(c->sqlite, rc, why);
    db_conn_exec(c, "PRAGMA query_only=1");
    sqlite3_free(sql);
    return e;
}

static enum err set_versions(const char *path, uint8_t version, struct why *why)
{
    uint8_t bytes[2] = {version, version};
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0) return why_errno(why, "backup: open %s", path);
    ssize_t n = pwrite(fd, bytes, sizeof bytes, VERSIONS_AT);
    enum err e =
        n == (ssize_t)sizeof bytes ? ERR_OK : why_errno(why, "backup: write %s", path);
    close(fd);
    return e;
}

static enum err dump_to(struct db_conn *c, const char *const *tables, const char *path,
                        struct why *why)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return why_errno(why, "backup: open %s", path);
    enum err e = db_dump(c->sqlite, tables, fd, why);
    if (close(fd) != 0 && !e) e = why_errno(why, "backup: close %s", path);
    return e;
}

static enum err backup_file(struct db_reader *r, enum db_backup_format format,
                            const char *path, struct why *why)
{
    sqlite3_vfs *files = NULL;
    enum err e =
        db_vfs_clock_new(&files, sqlite3_vfs_find(NULL), NULL, r->db->scratch_dir, why);

    if (e) return e;
    e = format == DB_BACKUP_VACUUM ? copy_vacuumed(r->conn, files, path, why)
                                   : copy_pages(r->conn, files, path, why);
    if (!e) e = set_versions(path, format == DB_BACKUP_WAL ? 2 : 1, why);
    db_vfs_clock_free(files);
    return e;
}

/* SQLite follows no links, so what is named by a descriptor is made elsewhere first. */
static enum err backup_by_way_of(const char *temp, struct db_reader *r,
                                 enum db_backup_format format, const char *path,
                                 struct why *why)
{
    unlink(temp);
    enum err e = backup_file(r, format, temp, why);
    if (!e) e = db_copy_file(temp, path, why);
    unlink(temp);
    return e;
}

enum err db_reader_backup(struct db_reader *r, enum db_backup_format format,
                          const char *const *tables, const char *path, struct why *why)
{
    char temp[4200];
    enum err e = db_reader_refresh(r, why);

    if (e) return e;
    if (format == DB_BACKUP_SQL) {
        r->conn->internal = true;
        e = dump_to(r->conn, tables, path, why);
        r->conn->internal = false;
        return e;
    }
    if (strncmp(path, "/proc/", 6) != 0) return backup_file(r, format, path, why);
    snprintf(temp, sizeof temp, "%s/backup-%p", r->db->scratch_dir, (void *)r);
    return backup_by_way_of(temp, r, format, path, why);
}
