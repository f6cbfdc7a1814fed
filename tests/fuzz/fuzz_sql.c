/* SPDX-License-Identifier: MIT */
/*
 * Any text a client may send as SQL, on both paths: what is refused by its text or by the
 * authorizer, what runs within a budget of steps.  Afterwards the node must still be able
 * to go on, with settings and files as they were.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/db/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void columns(struct row_sink *s, const struct row_column *cols, size_t n)
{
    (void)s;
    for (size_t i = 0; i < n; i++) CHECK(cols[i].name != NULL);
}
static bool row(struct row_sink *s, const struct db_value *values, size_t n)
{
    (void)s;
    for (size_t i = 0; i < n; i++)
        CHECK(values[i].type < DB_TEXT || values[i].u.s.p != NULL);
    return true;
}
static void rows_end(struct row_sink *s, uint64_t ns)
{
    (void)s, (void)ns;
}
static void written(struct row_sink *s, int64_t id, int64_t rows, uint64_t ns)
{
    (void)s, (void)id, (void)rows, (void)ns;
}
static void failed(struct row_sink *s, bool read_side, const char *text, size_t len)
{
    (void)s, (void)read_side;
    CHECK(text != NULL && len > 0);
}
static void request_failed(struct row_sink *s, const char *text, size_t len)
{
    failed(s, false, text, len);
}
static const struct row_sink_ops ops = {columns,        row, rows_end, written, failed,
                                        request_failed, NULL};

static void must(enum err e, const struct why *why)
{
    if (e == ERR_OK) return;
    fprintf(stderr, "%s\n", why->text);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char setup[] =
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b DEFAULT (random()));"
        "INSERT INTO t(a) VALUES(1),('x'),(x'00');";
    struct db_options o = {.scratch_dir = "."};
    struct db_context ctx = {.index = 2, .time_ns = 1700000000000000000};
    struct row_sink sink = {.ops = &ops};
    struct why why = {0};
    struct db *d;
    struct db_reader *r;
    char err[200], *sql = malloc(size + 1);

    if (sql == NULL) return 0;
    memcpy(sql, data, size);
    sql[size] = '\0';
    must(db_open(&d, &o, &why), &why);
    must(db_reader_open(d, &r, &why), &why);
    sqlite3_limit(d->w->sqlite, SQLITE_LIMIT_LENGTH, 100000);
    sqlite3_limit(r->conn->sqlite, SQLITE_LIMIT_LENGTH, 100000);
    must(db_apply_script(d, &ctx, setup, sizeof setup - 1, NULL, &why), &why);
    must(db_commit(d, &why), &why);

    struct db_stmt s = {.sql = sql, .sql_len = size};
    struct db_request req = {
        .stmts = &s, .n = 1, .limited = true, .max_steps = 50000, .timeout_ns = 20000000};
    bool disallowed = db_text_disallowed(sql, size);
    db_reader_check_syntax(r, sql, size, err, sizeof err);
    (void)db_reader_is_read_only(r, &req);
    must(db_reader_query(r, &req, NULL, &sink, &why), &why);
    for (int i = 0; i < 3 && !disallowed; i++) {
        ctx.index++;
        req.transaction = i == 1;
        req.rows = i == 2;
        must(db_apply(d, &ctx, &req, &sink, &why), &why);
        must(db_commit(d, &why), &why);
    }
    CHECK(sqlite3_get_autocommit(d->w->sqlite));
    CHECK(db_conn_int(d->w, "PRAGMA synchronous") == 0);
    CHECK(db_conn_int(d->w, "SELECT journal_mode='wal' FROM pragma_journal_mode") == 1);
    CHECK(db_conn_int(d->w, "PRAGMA locking_mode") == 0); /* a text: 'normal' */
    db_reader_close(r);
    db_close(d);
    free(sql);
    return 0;
}
