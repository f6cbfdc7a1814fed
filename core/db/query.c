/* SPDX-License-Identifier: MIT */
/*
 * query: the read path (HTTP API 5.1): statements of a request on a connection that
 * cannot write.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/metrics.h"
#include "core/db/internal.h"

static const char REFUSED[] = "attempt to change database via query operation";
static const char TIMED_OUT[] = "query timeout";

/* --- rows --------------------------------------------------------------------------- */

const struct db_value *db_row_values(struct db_conn *c, struct db_prep *p)
{
    sqlite3_stmt *s = p->handle;
    size_t n = (size_t)p->n_cols;

    if (n > c->values_cap) {
        struct db_value *grown = realloc(c->values, n * sizeof *grown);
        if (!grown) return NULL;
        c->values = grown;
        c->values_cap = n;
    }
    for (size_t i = 0; i < n; i++) {
        struct db_value *v = &c->values[i];
        sqlite3_value *from = sqlite3_column_value(s, (int)i);
        switch (sqlite3_value_type(from)) {
        case SQLITE_INTEGER:
            v->type = DB_INTEGER;
            v->u.i = sqlite3_value_int64(from);
            break;
        case SQLITE_FLOAT:
            v->type = DB_REAL;
            v->u.r = sqlite3_value_double(from);
            break;
        case SQLITE_TEXT: /* read as a blob: no copy to put a NUL behind it */
        case SQLITE_BLOB:
            v->type = sqlite3_value_type(from) == SQLITE_TEXT ? DB_TEXT : DB_BLOB;
            v->u.s.p = sqlite3_value_blob(from);
            v->u.s.n = (size_t)sqlite3_value_bytes(from);
            if (!v->u.s.p) v->u.s.p = "";
            break;
        default: v->type = DB_NULL; break;
        }
    }
    return c->values;
}

/* "table.column" where the table is known, in one allocation behind the array; NULL when
 * out of memory. */
static struct row_column *qualified(struct db_prep *p, const struct row_column *cols)
{
    size_t n = (size_t)p->n_cols, bytes = n * sizeof(struct row_column);
    for (size_t i = 0; i < n; i++) {
        const char *table = sqlite3_column_table_name(p->handle, (int)i);
        bytes += strlen(cols[i].name) + 2 + (table ? strlen(table) : 0);
    }
    struct row_column *out = malloc(bytes);
    if (!out) return NULL;
    char *at = (char *)(out + n);
    for (size_t i = 0; i < n; i++) {
        const char *table = sqlite3_column_table_name(p->handle, (int)i);
        out[i] = (struct row_column){.name = at, .declared = cols[i].declared};
        at +=
            sprintf(at, "%s%s%s", table ? table : "", table ? "." : "", cols[i].name) + 1;
    }
    return out;
}

bool db_sink_columns(struct db_prep *p, bool qualify, struct row_sink *sink)
{
    const struct row_column *cols = db_prep_columns(p);
    if (!cols) return false;
    if (!qualify || p->n_cols == 0) {
        sink->ops->columns(sink, cols, (size_t)p->n_cols);
        return true;
    }
    struct row_column *long_names = qualified(p, cols);
    if (!long_names) return false;
    sink->ops->columns(sink, long_names, (size_t)p->n_cols);
    free(long_names);
    return true;
}

void db_sink_error(struct row_sink *sink, bool read_side, const char *text)
{
    sink->ops->failed(sink, read_side, text, strlen(text));
}

/* SQLite's own words, and for files the operating system's after them. */
void db_sink_sqlite_error(struct db_conn *c, int rc, bool read_side,
                          struct row_sink *sink)
{
    const char *text = rc == SQLITE_TOOBIG || rc == SQLITE_NOMEM
                           ? sqlite3_errstr(rc)
                           : sqlite3_errmsg(c->sqlite);
    int os = sqlite3_system_errno(c->sqlite), kind = rc & 0xff;
    char both[600];

    /* VACUUM INTO asks in the middle of its work, and then the words are others. */
    if (kind == SQLITE_AUTH && strcmp(text, "authorization denied") == 0)
        text = "not authorized";
    if (os && (kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN || kind == SQLITE_FULL)) {
        snprintf(both, sizeof both, "%s: %s", text, strerror(os));
        text = both;
    }
    db_sink_error(sink, read_side, text);
}

/* --- one string --------------------------------------------------------------------- */

struct query {
    struct db_conn *c;
    const struct db_request *req;
    struct row_sink *sink;
    uint64_t started_ns; /* the running string */
    bool stop;           /* the sink takes no more */
};

static void fail_text(struct query *q, bool read_side, const char *text)
{
    metrics_add(q->c->db->metrics, METRIC_db_query_errors, 1);
    db_sink_error(q->sink, read_side, text);
}

static void fail_sqlite(struct query *q, int rc, bool read_side)
{
    metrics_add(q->c->db->metrics, METRIC_db_query_errors, 1);
    db_sink_sqlite_error(q->c, rc, read_side, q->sink);
}

static void fail_step(struct query *q, int rc)
{
    if (q->c->timed_out)
        fail_text(q, true, TIMED_OUT);
    else
        fail_sqlite(q, rc, true);
}

/* Step to the end; rows go to the sink if this is the last piece of its string. */
static bool run_rows(struct query *q, struct db_prep *p, bool last)
{
    int rc = sqlite3_step(p->handle); /* first: it may find that the schema has changed */

    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        fail_step(q, rc);
        return false;
    }
    if (last && !db_sink_columns(p, q->req->qualify_columns, q->sink)) {
        fail_text(q, true, sqlite3_errstr(SQLITE_NOMEM));
        return false;
    }
    while (rc == SQLITE_ROW) {
        if (last) {
            const struct db_value *row = db_row_values(q->c, p);
            if (!row || !q->sink->ops->row(q->sink, row, (size_t)p->n_cols)) {
                q->stop = true;
                return false;
            }
        }
        rc = sqlite3_step(p->handle);
    }
    if (rc != SQLITE_DONE) {
        fail_step(q, rc);
        return false;
    }
    return true;
}

static bool run_piece(struct query *q, struct db_prep *p, const struct db_binding *b,
                      size_t *used, bool last)
{
    char text[DB_BIND_ERR_MAX];

    if (!p->handle) { /* blanks or a comment */
        if (last) q->sink->ops->columns(q->sink, NULL, 0);
        return true;
    }
    if (!(p->flags & PREP_READ)) {
        fail_text(q, true, REFUSED);
        return false;
    }
    if (!db_bind(q->c, p, b, used, text)) {
        fail_text(q, true, text);
        return false;
    }
    return run_rows(q, p, last);
}

static void run_string(struct query *q, const struct db_stmt *in)
{
    const char *at = in->sql, *end = in->sql + in->sql_len, *tail;
    struct db_binding b;
    char text[DB_BIND_ERR_MAX];
    size_t used = 0;
    bool last, ok;

    if (in->sql_len == 0) return;
    if (q->c->timed_out) {
        fail_text(q, true, TIMED_OUT);
        return;
    }
    if (!db_binding_init(&b, in, true, q->req->limited, text)) {
        fail_text(q, true, text);
        return;
    }
    do {
        struct db_prep *p;
        int rc = db_prepare(q->c, at, (size_t)(end - at), at == in->sql, &p, &tail);
        if (q->c->seen.pragma_setting) q->c->dirty = true;
        if (rc != SQLITE_OK) {
            bool refused = (rc & 0xff) == SQLITE_AUTH && q->c->seen.pragma_refused;
            if (refused)
                fail_text(q, !q->req->rows, "disallowed pragma");
            else
                fail_sqlite(q, rc, !q->req->rows);
            return;
        }
        last = db_text_blank(tail, end);
        ok = run_piece(q, p, &b, &used, last);
        db_prep_done(q->c, p);
        at = tail;
    } while (ok && !last);
    if (ok) q->sink->ops->rows_end(q->sink, clock_mono_ns(clock_real()) - q->started_ns);
}

void db_conn_query(struct db_conn *c, const struct db_request *req,
                   const atomic_bool *cancel, struct row_sink *sink)
{
    struct query q = {
        .c = c, .req = req, .sink = sink, .started_ns = clock_mono_ns(clock_real())};

    c->cancel = cancel;
    c->timed_out = false;
    c->deadline_ns = req->timeout_ns ? q.started_ns + req->timeout_ns : 0;
    metrics_add(c->db->metrics, METRIC_db_queries, (int64_t)req->n);
    if (req->transaction) {
        metrics_add(c->db->metrics, METRIC_db_query_transactions, 1);
        db_conn_exec(c, "BEGIN");
    }
    for (size_t i = 0; i < req->n && !q.stop; i++) {
        if (i > 0) q.started_ns = clock_mono_ns(clock_real());
        if (c->deadline_ns && q.started_ns >= c->deadline_ns) c->timed_out = true;
        run_string(&q, &req->stmts[i]);
    }
    c->cancel = NULL;
    c->deadline_ns = 0;
    /* A read transaction ends with its request, however it was begun. */
    if (!sqlite3_get_autocommit(c->sqlite)) db_conn_exec(c, "ROLLBACK");
}

/* --- readers ------------------------------------------------------------------------ */

enum err db_reader_open(struct db *d, struct db_reader **out, struct why *why)
{
    struct db_reader *r = calloc(1, sizeof *r);

    *out = NULL;
    if (!r) return why_set(why, ERR_NOMEM, "open reader: out of memory");
    r->db = d;
    enum err e = db_conn_open(&r->conn, d, false, why);
    if (e) {
        free(r);
        return e;
    }
    atomic_fetch_add(&d->n_readers, 1);
    *out = r;
    return ERR_OK;
}

void db_reader_close(struct db_reader *r)
{
    if (!r) return;
    db_image_fini(&r->image);
    db_conn_close(r->conn);
    atomic_fetch_sub(&r->db->n_readers, 1);
    free(r);
}

/* A connection whose settings a client has changed is not given to the next one. */
enum err db_reader_refresh(struct db_reader *r, struct why *why)
{
    if (r->conn && !r->conn->dirty) return ERR_OK;
    db_image_fini(&r->image);
    r->pinned = false;
    db_conn_close(r->conn);
    return db_conn_open(&r->conn, r->db, false, why);
}

enum err db_reader_query(struct db_reader *r, const struct db_request *req,
                         const atomic_bool *cancel, struct row_sink *sink,
                         struct why *why)
{
    enum err e = db_reader_refresh(r, why);
    if (e) return e;
    db_conn_query(r->conn, req, cancel, sink);
    return ERR_OK;
}

bool db_reader_is_read_only(struct db_reader *r, const struct db_request *req)
{
    if (db_reader_refresh(r, NULL) != ERR_OK) return false;
    for (size_t i = 0; i < req->n; i++) {
        struct db_prep *p;
        const char *tail;
        int rc = db_prepare(r->conn, req->stmts[i].sql, req->stmts[i].sql_len, true, &p,
                            &tail);
        if (r->conn->seen.pragma_setting) r->conn->dirty = true;
        if (rc != SQLITE_OK) return false;
        bool read = p->flags & PREP_READ;
        db_prep_done(r->conn, p);
        if (!read) return false;
    }
    return true;
}

/* SQLite stops at the first fault.  Unknown names are found after the grammar has
 * accepted the statement, so an error that speaks of them means that the text is SQL. */
static bool is_syntax_error(const char *text)
{
    return strstr(text, "syntax error") || strcmp(text, "incomplete input") == 0 ||
           strncmp(text, "unrecognized token", 18) == 0;
}

void db_reader_check_syntax(struct db_reader *r, const char *sql, size_t len, char *err,
                            size_t err_size)
{
    const char *end = sql + len, *tail = end;
    struct db_prep *p;

    if (err_size > 0) err[0] = '\0';
    if (db_reader_refresh(r, NULL) != ERR_OK) return;
    do {
        int rc = db_prepare(r->conn, sql, (size_t)(end - sql), false, &p, &tail);
        if (r->conn->seen.pragma_setting) r->conn->dirty = true;
        if (rc != SQLITE_OK) {
            const char *text = sqlite3_errmsg(r->conn->sqlite);
            if (is_syntax_error(text)) snprintf(err, err_size, "%s", text);
            return;
        }
        db_prep_done(r->conn, p);
        sql = tail;
    } while (!db_text_blank(tail, end));
}
