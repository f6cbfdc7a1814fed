/* SPDX-License-Identifier: MIT */
/*
 * db_test: a database under test, and its results as one line of text.
 *
 *     id=1 n=1                      a write            {}  a write with neither
 *     (a:INTEGER, b) [1, 'x']       columns with declared types, then rows
 *     error: text                   a failed statement; "read error:" if it counts as
 * rows FAILED: text                  the request as a whole Results of one request are
 * separated by " | ".
 */
#ifndef TESTS_UNIT_DB_DB_TEST_H
#define TESTS_UNIT_DB_DB_TEST_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/db/db.h"

struct text_sink {
    struct row_sink base;
    struct buf out;
    size_t n;         /* results */
    size_t rows_left; /* refuse rows after so many; 0 = never */
    bool open;        /* a rows result has begun */
    size_t begun_at;  /* where */
};

static inline struct text_sink *text_of(struct row_sink *s)
{
    return (struct text_sink *)(void *)s;
}
static inline void text_next(struct text_sink *t)
{
    if (t->n++ > 0) buf_append_str(&t->out, " | ");
}
static inline void text_columns(struct row_sink *s, const struct row_column *cols,
                                size_t n)
{
    struct text_sink *t = text_of(s);
    t->begun_at = t->out.len;
    t->open = true;
    text_next(t);
    buf_append_u8(&t->out, '(');
    for (size_t i = 0; i < n; i++)
        buf_printf(&t->out, "%s%s%s%s", i ? ", " : "", cols[i].name,
                   cols[i].declared ? ":" : "", cols[i].declared ? cols[i].declared : "");
    buf_append_u8(&t->out, ')');
}
static inline bool text_row(struct row_sink *s, const struct db_value *v, size_t n)
{
    struct text_sink *t = text_of(s);
    buf_append_str(&t->out, " [");
    for (size_t i = 0; i < n; i++) {
        if (i) buf_append_str(&t->out, ", ");
        switch (v[i].type) {
        case DB_NULL: buf_append_str(&t->out, "null"); break;
        case DB_INTEGER: buf_append_i64(&t->out, v[i].u.i); break;
        case DB_REAL: buf_printf(&t->out, "%.15g", v[i].u.r); break;
        case DB_TEXT:
            buf_append_u8(&t->out, '\'');
            buf_append(&t->out, v[i].u.s.p, v[i].u.s.n);
            buf_append_u8(&t->out, '\'');
            break;
        case DB_BLOB:
            buf_append_str(&t->out, "x'");
            for (size_t k = 0; k < v[i].u.s.n; k++)
                buf_printf(&t->out, "%02x", ((const uint8_t *)v[i].u.s.p)[k]);
            buf_append_u8(&t->out, '\'');
            break;
        }
    }
    buf_append_u8(&t->out, ']');
    return t->rows_left == 0 || --t->rows_left > 0;
}
static inline void text_rows_end(struct row_sink *s, uint64_t ns)
{
    (void)ns;
    text_of(s)->open = false;
}
static inline void text_written(struct row_sink *s, int64_t id, int64_t rows, uint64_t ns)
{
    struct text_sink *t = text_of(s);
    (void)ns;
    text_next(t);
    if (id == 0 && rows == 0)
        buf_append_str(&t->out, "{}");
    else if (rows == 0)
        buf_printf(&t->out, "id=%" PRId64, id);
    else
        buf_printf(&t->out, "id=%" PRId64 " n=%" PRId64, id, rows);
}
static inline void text_failed(struct row_sink *s, bool read_side, const char *text,
                               size_t len)
{
    struct text_sink *t = text_of(s);
    if (t->open) { /* rows given so far do not count */
        buf_truncate(&t->out, t->begun_at);
        t->n--;
        t->open = false;
    }
    text_next(t);
    buf_printf(&t->out, "%serror: %.*s", read_side ? "read " : "", (int)len, text);
}
static inline void text_request_failed(struct row_sink *s, const char *text, size_t len)
{
    struct text_sink *t = text_of(s);
    text_next(t);
    buf_printf(&t->out, "FAILED: %.*s", (int)len, text);
}
static const struct row_sink_ops text_ops = {
    text_columns,        text_row, text_rows_end, text_written, text_failed,
    text_request_failed, NULL};

struct fixture {
    struct db *db;
    struct db_reader *reader;
    struct db_context ctx;
    struct text_sink sink;
    bool foreign_keys;
    bool commit_late; /* leave the shared transaction open between requests */
    char dir[64], path[128];
};

static inline void fixture_open(struct fixture *f, bool on_disk, bool foreign_keys)
{
    struct why why = {0};
    memset(f, 0, sizeof *f);
    f->foreign_keys = foreign_keys;
    char dir[] = "rq-db-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(f->dir, sizeof f->dir, "%s", dir);
    snprintf(f->path, sizeof f->path, "%s/db.sqlite", dir);
    struct db_options o = {.path = on_disk ? f->path : NULL,
                           .scratch_dir = f->dir,
                           .foreign_keys = foreign_keys};
    if (db_open(&f->db, &o, &why) != ERR_OK) fail_msg("%s", why.text);
    if (db_reader_open(f->db, &f->reader, &why) != ERR_OK) fail_msg("%s", why.text);
    f->ctx = (struct db_context){
        .index = 2, .term = 1, .time_ns = 1700000000123456789, .seed = 42};
    f->sink.base.ops = &text_ops;
    buf_init(&f->sink.out, 0);
}
static inline void fixture_close(struct fixture *f)
{
    static const char *const names[] = {"db.sqlite", "db.sqlite-wal", "db.sqlite-shm"};
    char name[256];
    db_reader_close(f->reader);
    db_close(f->db);
    buf_fini(&f->sink.out);
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s/%s", f->dir, names[i]);
        unlink(name);
    }
    rmdir(f->dir);
}
static inline const char *fixture_text(struct fixture *f)
{
    buf_append_u8(&f->sink.out, 0);
    assert_int_equal(buf_error(&f->sink.out), ERR_OK);
    return (const char *)f->sink.out.data;
}
static inline void fixture_clear(struct fixture *f)
{
    buf_clear(&f->sink.out);
    f->sink.n = 0;
    f->sink.open = false;
}
static inline const char *apply_request(struct fixture *f, const struct db_request *req)
{
    struct why why = {0};
    fixture_clear(f);
    f->ctx.index++;
    f->ctx.seed = f->ctx.seed * 6364136223846793005u + 1442695040888963407u;
    f->ctx.time_ns += 1000000;
    if (db_apply(f->db, &f->ctx, req, &f->sink.base, &why) != ERR_OK)
        fail_msg("%s", why.text);
    if (!f->commit_late && db_commit(f->db, &why) != ERR_OK) fail_msg("%s", why.text);
    return fixture_text(f);
}

#define SQL_LIST_MAX 32
struct sql_list {
    struct db_stmt stmts[SQL_LIST_MAX];
    struct db_request req;
};
static inline struct sql_list sql_list(const char *first, va_list ap)
{
    struct sql_list l = {0};
    for (const char *s = first; s; s = va_arg(ap, const char *)) {
        l.stmts[l.req.n].sql = s;
        l.stmts[l.req.n++].sql_len = strlen(s);
    }
    return l;
}

/* /db/execute of the strings (ended by NULL). */
static inline const char *execute(struct fixture *f, ...)
{
    va_list ap;
    va_start(ap, f);
    struct sql_list l = sql_list(va_arg(ap, const char *), ap);
    va_end(ap);
    l.req.stmts = l.stmts;
    return apply_request(f, &l.req);
}
static inline const char *execute_tx(struct fixture *f, ...)
{
    va_list ap;
    va_start(ap, f);
    struct sql_list l = sql_list(va_arg(ap, const char *), ap);
    va_end(ap);
    l.req.stmts = l.stmts;
    l.req.transaction = true;
    return apply_request(f, &l.req);
}
/* /db/request on the write path. */
static inline const char *request(struct fixture *f, ...)
{
    va_list ap;
    va_start(ap, f);
    struct sql_list l = sql_list(va_arg(ap, const char *), ap);
    va_end(ap);
    l.req.stmts = l.stmts;
    l.req.rows = true;
    return apply_request(f, &l.req);
}
static inline const char *query_request(struct fixture *f, const struct db_request *req)
{
    struct why why = {0};
    fixture_clear(f);
    if (db_reader_query(f->reader, req, NULL, &f->sink.base, &why) != ERR_OK)
        fail_msg("%s", why.text);
    return fixture_text(f);
}
static inline const char *query(struct fixture *f, ...)
{
    va_list ap;
    va_start(ap, f);
    struct sql_list l = sql_list(va_arg(ap, const char *), ap);
    va_end(ap);
    l.req.stmts = l.stmts;
    return query_request(f, &l.req);
}

#define assert_text(actual, expected) assert_string_equal((actual), (expected))

#endif
