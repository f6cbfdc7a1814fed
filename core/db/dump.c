/* SPDX-License-Identifier: MIT */
/*
 * dump: the database as SQL text (HTTP API 10.1.1).
 *
 * Tables by name, each with its rows; then sqlite_sequence and sqlite_stat1, whose tables
 * exist once the others do; then indexes, triggers and views in the order in which they
 * were made.  What restoring makes by itself is left out: shadow tables of virtual ones,
 * generated columns, the statements of automatic indexes.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/db/internal.h"

enum { FLUSH_BYTES = 64 * 1024 };

struct dump {
    sqlite3 *sqlite;
    const char *const *tables; /* NULL: all */
    struct buf out;
    int fd;
    enum err error;
    struct why *why;
};

static void flush(struct dump *d)
{
    size_t done = 0;

    if (!d->error && buf_error(&d->out))
        d->error = why_set(d->why, buf_error(&d->out), "dump: out of memory");
    while (!d->error && done < d->out.len) {
        ssize_t n = write(d->fd, d->out.data + done, d->out.len - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            d->error = why_errno(d->why, "dump: write");
    }
    buf_clear(&d->out);
}

static void put(struct dump *d, const char *s)
{
    buf_append_str(&d->out, s);
}

static void put_name(struct dump *d, const char *name)
{
    buf_append_u8(&d->out, '"');
    for (; *name; name++) {
        if (*name == '"') buf_append_u8(&d->out, '"');
        buf_append_u8(&d->out, (uint8_t)*name);
    }
    buf_append_u8(&d->out, '"');
}

static void put_hex(struct dump *d, const uint8_t *p, size_t n)
{
    static const char hex[] = "0123456789ABCDEF";
    put(d, "X'");
    for (size_t i = 0; i < n; i++) {
        buf_append_u8(&d->out, (uint8_t)hex[p[i] >> 4]);
        buf_append_u8(&d->out, (uint8_t)hex[p[i] & 15]);
    }
    put(d, "'");
}

static void put_text(struct dump *d, const char *p, size_t n)
{
    if (memchr(p, '\0', n)) { /* SQL text would end there */
        put(d, "CAST(");
        put_hex(d, (const uint8_t *)p, n);
        put(d, " AS TEXT)");
        return;
    }
    buf_append_u8(&d->out, '\'');
    for (const char *quote; (quote = memchr(p, '\'', n));
         n -= (size_t)(quote + 1 - p), p = quote + 1) {
        buf_append(&d->out, p, (size_t)(quote + 1 - p));
        buf_append_u8(&d->out, '\'');
    }
    buf_append(&d->out, p, n);
    buf_append_u8(&d->out, '\'');
}

/* As quote() has it, but for the infinities, of which it makes no SQL. */
static void put_real(struct dump *d, double r)
{
    char text[64];

    if (isinf(r)) {
        put(d, r > 0 ? "9.0e+999" : "-9.0e+999");
        return;
    }
    sqlite3_snprintf(sizeof text, text, "%!.15g", r);
    if (strtod(text, NULL) != r) sqlite3_snprintf(sizeof text, text, "%!.20e", r);
    put(d, text);
}

static void put_value(struct dump *d, sqlite3_stmt *s, int i)
{
    switch (sqlite3_column_type(s, i)) {
    case SQLITE_INTEGER: buf_append_i64(&d->out, sqlite3_column_int64(s, i)); break;
    case SQLITE_FLOAT: put_real(d, sqlite3_column_double(s, i)); break;
    case SQLITE_TEXT: {
        const char *p = (const char *)sqlite3_column_text(s, i);
        put_text(d, p ? p : "", (size_t)sqlite3_column_bytes(s, i));
        break;
    }
    case SQLITE_BLOB: {
        const uint8_t *p = sqlite3_column_blob(s, i);
        put_hex(d, p, (size_t)sqlite3_column_bytes(s, i));
        break;
    }
    default: put(d, "NULL"); break;
    }
}

static sqlite3_stmt *prepare(struct dump *d, const char *sql)
{
    sqlite3_stmt *s = NULL;
    if (!d->error && sqlite3_prepare_v2(d->sqlite, sql, -1, &s, NULL) != SQLITE_OK)
        d->error = why_set(d->why, ERR_IO, "dump: %s", sqlite3_errmsg(d->sqlite));
    return s;
}

static void check_end(struct dump *d, int rc)
{
    if (!d->error && rc != SQLITE_DONE)
        d->error = why_set(d->why, ERR_IO, "dump: %s", sqlite3_errmsg(d->sqlite));
}

/* One INSERT per row of a SELECT; columns is the list behind the name, or empty. */
static void put_rows(struct dump *d, const char *table, const char *columns,
                     const char *select)
{
    sqlite3_stmt *s = prepare(d, select);
    int rc = SQLITE_DONE, n = sqlite3_column_count(s);

    while (s && !d->error && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        put(d, "INSERT INTO ");
        put_name(d, table);
        put(d, columns);
        put(d, " VALUES(");
        for (int i = 0; i < n; i++) {
            if (i > 0) put(d, ",");
            put_value(d, s, i);
        }
        put(d, ");\n");
        if (d->out.len >= FLUSH_BYTES) flush(d);
    }
    check_end(d, rc);
    sqlite3_finalize(s);
}

static void append_name(struct buf *b, const char *name)
{
    if (b->len > 0) buf_append_str(b, ",");
    char *q = sqlite3_mprintf("\"%w\"", name);
    if (q)
        buf_append_str(b, q);
    else
        b->error = ERR_NOMEM;
    sqlite3_free(q);
}

/* Rows of a table by name.  Where not every column can be inserted, those that can are
 * named. */
static void put_table_rows(struct dump *d, const char *table, bool is_virtual,
                           bool with_rowid)
{
    struct buf names, columns;
    bool listed = is_virtual, some_hidden = false;
    sqlite3_stmt *s = prepare(d, "SELECT name, hidden FROM pragma_table_xinfo(?)");

    buf_init(&names, 0);
    buf_init(&columns, 0);
    if (s) sqlite3_bind_text(s, 1, table, -1, SQLITE_STATIC);
    if (with_rowid) buf_append_str(&names, "rowid");
    while (s && sqlite3_step(s) == SQLITE_ROW) {
        if (sqlite3_column_int(s, 1) == 0)
            append_name(&names, (const char *)sqlite3_column_text(s, 0));
        else
            some_hidden = true;
    }
    sqlite3_finalize(s);
    listed |= some_hidden;
    if (listed) buf_printf(&columns, "(%.*s)", (int)names.len, (const char *)names.data);
    buf_append_u8(&columns, 0);
    buf_append_u8(&names, 0);
    char *select =
        sqlite3_mprintf("SELECT %s FROM \"%w\"", (const char *)names.data, table);
    if (buf_error(&names) || buf_error(&columns) || !select)
        d->error = why_set(d->why, ERR_NOMEM, "dump: out of memory");
    else
        put_rows(d, table, (const char *)columns.data, select);
    sqlite3_free(select);
    buf_fini(&names);
    buf_fini(&columns);
}

static bool wanted(const struct dump *d, const char *name)
{
    if (!d->tables || !d->tables[0]) return true;
    for (size_t i = 0; d->tables[i]; i++)
        if (strcmp(d->tables[i], name) == 0) return true;
    return false;
}

/* Does the module of a virtual table number its rows, so that the numbers have to be
 * kept? */
static bool is_fts(const char *sql)
{
    return strcasestr(sql, "using fts") != NULL;
}

static void put_tables(struct dump *d)
{
    sqlite3_stmt *s =
        prepare(d, "SELECT s.name, s.sql, l.type FROM sqlite_schema s"
                   " LEFT JOIN pragma_table_list l ON l.schema='main' AND l.name=s.name"
                   " WHERE s.type='table' AND s.sql NOT NULL AND s.name NOT LIKE "
                   "'sqlite\\_%' ESCAPE '\\'"
                   " AND coalesce(l.type,'') <> 'shadow' ORDER BY s.name");
    int rc = SQLITE_DONE;

    while (s && !d->error && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(s, 0);
        const char *sql = (const char *)sqlite3_column_text(s, 1);
        const char *type = (const char *)sqlite3_column_text(s, 2);
        if (!wanted(d, name)) continue;
        bool is_virtual = type && strcmp(type, "virtual") == 0;
        put(d, sql);
        put(d, ";\n");
        put_table_rows(d, name, is_virtual, is_virtual && is_fts(sql));
    }
    check_end(d, rc);
    sqlite3_finalize(s);
}

static bool has_table(struct dump *d, const char *name)
{
    sqlite3_stmt *s =
        prepare(d, "SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?");
    if (s) sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    bool has = s && sqlite3_step(s) == SQLITE_ROW;
    sqlite3_finalize(s);
    return has;
}

static void put_internal_tables(struct dump *d)
{
    if (wanted(d, "sqlite_sequence") && has_table(d, "sqlite_sequence")) {
        put(d, "DELETE FROM \"sqlite_sequence\";\n");
        put_rows(d, "sqlite_sequence", "", "SELECT name, seq FROM sqlite_sequence");
    }
    if (wanted(d, "sqlite_stat1") && has_table(d, "sqlite_stat1")) {
        put(d, "ANALYZE \"sqlite_master\";\n");
        put_rows(d, "sqlite_stat1", "", "SELECT tbl, idx, stat FROM sqlite_stat1");
    }
}

static void put_others(struct dump *d)
{
    sqlite3_stmt *s =
        prepare(d, "SELECT sql FROM sqlite_schema WHERE sql NOT NULL"
                   " AND type IN ('index', 'trigger', 'view') ORDER BY rowid");
    int rc = SQLITE_DONE;

    while (s && !d->error && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        put(d, (const char *)sqlite3_column_text(s, 0));
        put(d, ";\n");
        if (d->out.len >= FLUSH_BYTES) flush(d);
    }
    check_end(d, rc);
    sqlite3_finalize(s);
}

enum err db_dump(sqlite3 *sqlite, const char *const *tables, int fd, struct why *why)
{
    struct dump d = {.sqlite = sqlite, .tables = tables, .fd = fd, .why = why};

    buf_init(&d.out, 0);
    sqlite3_exec(sqlite, "BEGIN", NULL, NULL, NULL);
    put(&d, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
    put_tables(&d);
    put_internal_tables(&d);
    put_others(&d);
    put(&d, "COMMIT;\n");
    flush(&d);
    sqlite3_exec(sqlite, "ROLLBACK", NULL, NULL, NULL);
    buf_fini(&d.out);
    return d.error;
}
