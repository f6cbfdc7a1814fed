/* SPDX-License-Identifier: MIT */
/*
 * exec: the write path (HTTP API 5.3 to 5.10): log entries, one after the other, on the
 * one write connection.
 *
 * Plain DML of consecutive entries shares an SQLite transaction, opened when the first
 * needs it and ended by db_commit() or by the first statement that cannot share:
 *
 *     alone --a plain statement--> batch --any other, or db_commit()--> alone
 *
 * What a statement does must not depend on which of the two it runs in: nodes batch as
 * their load goes.  Statements that could tell the difference are alone (schema.c,
 * stmt_cache.c say which).  Should a shared transaction be lost all the same, db_apply()
 * fails: the node stops rather than differ.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/db/internal.h"

enum {
    STEP_BLOCK = 1000,     /* VM steps are counted in blocks */
    SESSION_ENTRIES = 1000 /* temporary objects live this long; see session_end_due() */
};

static const char NO_TRANSACTION[] = "cannot commit - no transaction is active";
static const char REFUSED[] = "attempt to change database via query operation";
static const char TIMED_OUT[] = "execute timeout";
static const char LEFT_OPEN[] = "transaction not committed, rolled back";

/* --- the request being run ---------------------------------------------------------- */

struct run {
    struct db *d;
    struct db_conn *c;
    const struct db_request *req;
    struct row_sink *sink;
    struct row_sink *real_sink; /* while the first results are not told again: see
                                   run_shared_transaction() */
    size_t muted, told;         /* results not to tell; results told */
    uint64_t started_ns;        /* the running string; 0: nobody asks */
    bool failed;                /* some statement did */
    bool defer_fk;              /* the PRAGMA was used: it ends with the request */
    bool touched;               /* the schema; a rollback touches it again */
    bool in_request_tx;         /* req->transaction: COMMIT and ROLLBACK are refused */
    bool shared_tx;             /* that transaction is a savepoint in the batch */
    bool open_before;           /* an explicit transaction was open before this piece */
    bool tx_wrote;              /* it has changed more than rows */
    int64_t tx_changes;         /* total changes when it began */
    enum err fatal;             /* this node cannot go on */
    struct why *why;
};

/* What means that this node, not the statement, failed: others may have succeeded. */
static enum err fatal_error(const struct run *r, int rc)
{
    const struct db *d = r->d;
    int os;

    switch (rc & 0xff) {
    case SQLITE_NOMEM: return ERR_NOMEM;
    case SQLITE_IOERR: return rc == SQLITE_IOERR_NOMEM ? ERR_NOMEM : ERR_IO;
    case SQLITE_FULL: /* of numbers for rows: the same everywhere */
        os = sqlite3_system_errno(r->c->sqlite);
        return d->rowid_max && os != ENOSPC && os != EDQUOT ? ERR_OK : ERR_NO_SPACE;
    case SQLITE_READONLY: /* plain: a setting; else it is about the files */
        return rc == SQLITE_READONLY ? ERR_OK : ERR_IO;
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:
    case SQLITE_CANTOPEN:
    case SQLITE_NOTADB: return ERR_IO;
    default: return ERR_OK;
    }
}

static void set_fatal(struct run *r, int rc, const char *what)
{
    if (r->fatal) return;
    r->fatal = db_conn_why(r->c, rc, r->why, what);
}

/* What we know of the schema holds no longer. */
static void schema_touched(struct run *r)
{
    r->touched = true;
    r->d->schema_stale = r->d->schema_reload = true;
}

static int step_control(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);
    sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* --- results ------------------------------------------------------------------------ */

static uint64_t elapsed(struct run *r)
{
    if (!r->started_ns) return 0;
    uint64_t now = clock_mono_ns(r->d->clock), ns = now - r->started_ns;
    r->started_ns = now;
    return ns;
}

/* One more entry is complete. */
static void told_one(struct run *r)
{
    r->told++;
    if (r->real_sink && r->told >= r->muted) {
        r->sink = r->real_sink;
        r->real_sink = NULL;
    }
}

static void tell_written(struct run *r, int64_t id, int64_t rows)
{
    uint64_t ns = elapsed(r);
    r->sink->ops->written(r->sink, id, rows, ns);
    told_one(r);
}

static void tell_counters(struct run *r)
{
    int64_t rows = r->d->changes_stale ? 0 : sqlite3_changes64(r->c->sqlite);
    tell_written(r, sqlite3_last_insert_rowid(r->c->sqlite), rows);
}

static void tell_rows_end(struct run *r)
{
    uint64_t ns = elapsed(r);
    r->sink->ops->rows_end(r->sink, ns);
    told_one(r);
}

static void tell_failed(struct run *r, bool read_side, const char *text)
{
    r->failed = true;
    metrics_add(r->d->metrics, METRIC_db_execution_errors, 1);
    elapsed(r);
    db_sink_error(r->sink, read_side, text);
    told_one(r);
}

/* A statement failed with rc: of this node (fatal), or of the statement. */
static void tell_sqlite_failed(struct run *r, int rc, bool read_side)
{
    struct db *d = r->d;
    enum err e = fatal_error(r, rc);

    if (e) {
        set_fatal(r, rc, "apply");
        return;
    }
    if (d->batch && sqlite3_get_autocommit(r->c->sqlite)) {
        d->batch = false;
        r->fatal =
            why_set(r->why, ERR_CORRUPT, "apply: a shared transaction was lost: %s",
                    sqlite3_errmsg(r->c->sqlite));
        return;
    }
    if ((rc & 0xff) == SQLITE_CORRUPT)
        logger_error(d->logger, "db", "index %" PRIu64 ": %s", d->ctx.index,
                     sqlite3_errmsg(r->c->sqlite));
    db_effect_mix(d, (uint64_t)rc);
    if (r->touched && sqlite3_get_autocommit(r->c->sqlite)) schema_touched(r);
    r->failed = true;
    metrics_add(d->metrics, METRIC_db_execution_errors, 1);
    elapsed(r);
    if ((rc & 0xff) == SQLITE_INTERRUPT && d->out_of_steps)
        db_sink_error(r->sink, read_side, TIMED_OUT);
    else if ((rc & 0xff) == SQLITE_AUTH && r->c->seen.pragma_refused)
        db_sink_error(r->sink, read_side, "disallowed pragma");
    else
        db_sink_sqlite_error(r->c, rc, read_side, r->sink);
    told_one(r);
}

/* --- the shared transaction --------------------------------------------------------- */

static void batch_begin(struct run *r)
{
    int rc = step_control(r->d->begin);
    if (rc == SQLITE_OK)
        r->d->batch = true;
    else
        set_fatal(r, rc, "begin");
}

static void batch_end(struct run *r)
{
    if (!r->d->batch) return;
    int rc = step_control(r->d->commit);
    r->d->batch = false;
    if (rc != SQLITE_OK) set_fatal(r, rc, "commit");
}

/* May anything share a transaction now? */
static bool may_share(const struct run *r)
{
    const struct db *d = r->d;
    return !d->alone && !d->rowid_max && !d->session_since && r->req->max_steps == 0;
}

/* Be in the transaction in which p belongs. */
static void enter(struct run *r, const struct db_prep *p)
{
    struct db *d = r->d;

    if (r->shared_tx) return;
    if ((p->flags & PREP_PLAIN) && may_share(r)) {
        if (!d->batch && sqlite3_get_autocommit(r->c->sqlite)) batch_begin(r);
    } else {
        batch_end(r);
    }
}

static int on_steps(void *arg)
{
    struct db *d = arg;
    if (d->steps_left > STEP_BLOCK) {
        d->steps_left -= STEP_BLOCK;
        return 0;
    }
    d->steps_left = 0;
    d->out_of_steps = true;
    return 1;
}

/* --- one piece of a string ---------------------------------------------------------- */

/* Step to the end, with the rows for the sink if this is the last piece. */
static int step_rows(struct run *r, struct db_prep *p, bool last)
{
    int rc = sqlite3_step(p->handle);

    if (rc != SQLITE_ROW && rc != SQLITE_DONE) return rc;
    if (last &&
        !db_sink_columns(p, r->req->qualify_columns && (p->flags & PREP_READ), r->sink))
        return SQLITE_NOMEM;
    while (rc == SQLITE_ROW) {
        if (last && r->sink != &db_null_sink) {
            const struct db_value *row = db_row_values(r->c, p);
            if (!row) return SQLITE_NOMEM;
            /* Who asked may leave; the entry is applied all the same. */
            if (!r->sink->ops->row(r->sink, row, (size_t)p->n_cols))
                r->sink = &db_null_sink;
        }
        rc = sqlite3_step(p->handle);
    }
    return rc;
}

/*
 * ANALYZE and REINDEX go through the tables in the order of a hash table, which depends
 * on how the connection came to know them; so have it read the schema again.  The
 * statement is then prepared anew by its first step.
 */
static void read_schema_again(struct run *r)
{
    db_conn_exec(r->c, "PRAGMA writable_schema=RESET");
}

/* ANALYZE in place of PRAGMA optimize, which would go by what this connection happened to
 * run. */
static int step_optimize(struct run *r)
{
    int64_t limit = db_conn_int(r->c, "PRAGMA analysis_limit");
    char back[64];

    if (db_conn_int(
            r->c, "SELECT count(*) FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*'") ==
        0)
        return SQLITE_DONE;
    snprintf(back, sizeof back, "PRAGMA analysis_limit=%lld", (long long)limit);
    read_schema_again(r);
    int rc = db_conn_exec(r->c, "PRAGMA analysis_limit=400; ANALYZE");
    db_conn_exec(r->c, back);
    return rc == SQLITE_OK ? SQLITE_DONE : rc;
}

static int step_once(struct run *r, struct db_prep *p)
{
    if (p->flags & PREP_OPTIMIZE) return step_optimize(r);
    if (p->flags & PREP_ALL_TABLES) read_schema_again(r);
    r->c->vacuuming = (p->flags & PREP_VACUUM) != 0;
    int rc = sqlite3_step(p->handle);
    r->c->vacuuming = false;
    return rc;
}

/*
 * Where the largest rowid is taken, SQLite picks the next one at random, with a generator
 * of the process.  Seed that, too: no other thread of a node uses it but to name
 * temporary files.
 */
static void seed_rowids(const struct db *d)
{
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)((d->ctx.seed ^ d->fn.stmt) | 1),
                         NULL);
}
static void unseed_rowids(void)
{
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, 0, NULL);
}

static void note_upkeep(struct db *d, enum db_upkeep what)
{
    uint64_t changed = atomic_load_explicit(&d->changed_index, memory_order_relaxed);

    atomic_fetch_add(&d->upkept[what].count, 1);
    atomic_store(&d->upkept[what].time_ns, d->ctx.time_ns);
    atomic_store(&d->upkept[what].index, d->ctx.index);
    atomic_store(&d->upkept[what].changed_before, changed);
    atomic_fetch_add(&d->upkept[what].count, 1);
}

/* After a piece that is not plain: what it may have changed besides rows. */
static void note_change(struct run *r, const struct db_prep *p)
{
    struct db *d = r->d;
    const struct db_seen *seen = &r->c->seen;

    if ((p->flags & (PREP_SCHEMA | PREP_SESSION | PREP_VACUUM | PREP_OPTIMIZE)) ||
        (r->touched && (p->flags & PREP_CONTROL)))
        schema_touched(r);
    if ((p->flags & PREP_PRAGMA) && seen->pragma_setting) {
        d->schema_stale = true;
        r->defer_fk |= seen->defer_fk;
    }
    if ((p->flags & PREP_SESSION) && !d->session_since) d->session_since = d->ctx.index;
    if (p->flags & PREP_SEQUENCE) d->rowid_max = true;
    if (!r->failed && (p->flags & PREP_VACUUM)) note_upkeep(d, DB_UPKEEP_VACUUM);
    if (!r->failed && (p->flags & PREP_OPTIMIZE)) note_upkeep(d, DB_UPKEEP_OPTIMIZE);
    if (!(p->flags & (PREP_READ | PREP_CONTROL))) {
        r->tx_wrote = true;
        atomic_store_explicit(&d->changed_index, d->ctx.index, memory_order_relaxed);
    }
    bool open = !sqlite3_get_autocommit(r->c->sqlite);
    if (open && !r->open_before) {
        r->tx_wrote = false;
        r->tx_changes = sqlite3_total_changes64(r->c->sqlite);
    }
    r->open_before = open;
}

/* A PRAGMA that every node has to set again when it starts from a snapshot. */
static void remember_pragma(struct run *r)
{
    struct db *d = r->d;
    const struct db_seen *seen = &r->c->seen;
    size_t i = 0;

    if (!seen->session_pragma) return;
    /* Within a transaction SQLite ignores it. */
    if (!sqlite3_get_autocommit(r->c->sqlite) &&
        strcmp(seen->session_pragma->name, "foreign_keys") == 0)
        return;
    while (i < d->n_pragmas && d->pragmas[i].pragma != seen->session_pragma) i++;
    if (i == DB_PRAGMA_MAX) return;
    if (i == d->n_pragmas) d->n_pragmas++;
    d->pragmas[i].pragma = seen->session_pragma;
    snprintf(d->pragmas[i].value, sizeof d->pragmas[i].value, "%s", seen->pragma_value);
}

static void run_prepared(struct run *r, struct db_prep *p, bool rows, bool last)
{
    struct db *d = r->d;
    bool read_side = rows && (p->flags & PREP_READ);
    bool wants_rows =
        read_side || ((p->flags & PREP_DML) && p->n_cols > 0 && !r->req->noparse);
    int rc;

    d->fn.stmt++;
    d->fn.seeded = false;
    if (r->req->max_steps && (p->flags & PREP_VTAB))
        sqlite3_progress_handler(r->c->sqlite, 0, NULL, NULL);
    bool seed = d->rowid_max;
    if (seed) seed_rowids(d);
    rc = wants_rows ? step_rows(r, p, last) : step_once(r, p);
    if (seed) unseed_rowids();
    if (r->req->max_steps)
        sqlite3_progress_handler(r->c->sqlite, STEP_BLOCK, on_steps, d);

    if (p->flags & PREP_DML) d->changes_stale = false;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        tell_sqlite_failed(r, rc, read_side);
        return;
    }
    /* Ends it, and so commits where it stands alone: before the counters are read. */
    rc = sqlite3_reset(p->handle);
    if (rc != SQLITE_OK) {
        tell_sqlite_failed(r, rc, read_side);
        return;
    }
    if (!last) return;
    if (wants_rows)
        tell_rows_end(r);
    else
        tell_counters(r);
}

/* Run one piece.  False: the rest of the string is not run. */
static bool run_piece(struct run *r, struct db_prep *p, const struct db_binding *b,
                      size_t *used, bool rows, bool last)
{
    char text[DB_BIND_ERR_MAX];
    bool plain = p->flags & PREP_PLAIN, failed = r->failed;

    if (!p->handle) { /* blanks or a comment */
        if (last && rows) {
            r->sink->ops->columns(r->sink, NULL, 0);
            tell_rows_end(r);
        } else if (last) {
            tell_written(r, 0, 0);
        }
        return true;
    }
    r->failed = false;
    if (r->in_request_tx && (p->flags & PREP_END)) {
        tell_failed(r, false, NO_TRANSACTION);
    } else if (rows && !(p->flags & PREP_READ)) {
        tell_failed(r, true, REFUSED);
    } else if (!db_bind(r->c, p, b, used, text)) {
        tell_failed(r, rows, text);
    } else {
        enter(r, p);
        if (!plain)
            db_effect_text(r->d, sqlite3_sql(p->handle), strlen(sqlite3_sql(p->handle)));

        if (!r->fatal) run_prepared(r, p, rows, last);
        if ((p->flags & PREP_PRAGMA) && !r->failed) remember_pragma(r);
    }
    bool ok = !r->failed && !r->fatal;
    r->failed |= failed;
    return ok;
}

/* Could a statement that begins so be plain?  Others may take effect while they are
 * prepared. */
static bool may_be_plain(enum db_word w)
{
    switch (w) {
    case WORD_SELECT:
    case WORD_VALUES:
    case WORD_WITH:
    case WORD_INSERT:
    case WORD_REPLACE:
    case WORD_UPDATE:
    case WORD_DELETE: return true;
    default: return false;
    }
}

/* Prepare the piece at sql, in the state in which it has to find the connection. */
static int prepare_piece(struct run *r, const char *sql, size_t len, bool whole,
                         struct db_prep **out, const char **tail)
{
    struct db *d = r->d;

    whole = whole && r->req->max_steps == 0; /* counting starts with a fresh statement */
    if (whole && !d->schema_stale && (*out = db_prep_cached(r->c, sql, len))) {
        *tail = sql + len;
        return SQLITE_OK;
    }
    if (!may_be_plain(db_text_first_word(sql, len)))
        batch_end(r);
    else if (d->schema_stale)
        r->fatal = db_schema_refresh(d, r->why);
    if (r->fatal) return SQLITE_ERROR;
    return db_prepare(r->c, sql, len, whole, out, tail);
}

static void run_string(struct run *r, const struct db_stmt *in)
{
    const char *at = in->sql, *end = in->sql + in->sql_len, *tail;
    struct db_binding b;
    char text[DB_BIND_ERR_MAX];
    size_t used = 0;
    bool rows = false, last, ok;

    if (in->sql_len == 0) return;
    if (r->d->out_of_steps) {
        tell_failed(r, false, TIMED_OUT);
        return;
    }
    if (!db_binding_init(&b, in, false, r->req->limited, text)) {
        tell_failed(r, false, text);
        return;
    }
    do {
        struct db_prep *p;
        int rc = prepare_piece(r, at, (size_t)(end - at), at == in->sql, &p, &tail);
        if (r->fatal) return;
        if (rc != SQLITE_OK) {
            tell_sqlite_failed(r, rc, false);
            return;
        }
        if (at == in->sql) rows = r->req->rows && (p->flags & PREP_READ);
        if (rows)
            b.checked = true; /* a read: its parameters are missed, as on the read path */
        last = db_text_blank(tail, end);
        unsigned flags = p->flags;
        ok = run_piece(r, p, &b, &used, rows, last);
        if (flags & PREP_PLAIN) {
            db_prep_done(r->c, p);
        } else {
            struct db_prep kept = {.flags = flags};
            db_prep_done(r->c, p);
            note_change(r, &kept);
        }
        at = tail;
    } while (ok && !last);
}

static void run_strings(struct run *r)
{
    for (size_t i = 0; i < r->req->n && !r->fatal; i++) {
        run_string(r, &r->req->stmts[i]);
        if (r->failed && r->in_request_tx) return;
    }
}

/* --- req->transaction --------------------------------------------------------------- */

/* Can the request be a savepoint in the shared transaction?  Every string has to be one
 * plain statement. */
static bool request_may_share(struct run *r)
{
    for (size_t i = 0; i < r->req->n && !r->fatal; i++) {
        const struct db_stmt *in = &r->req->stmts[i];
        struct db_prep *p;
        const char *tail;

        if (in->sql_len == 0) continue;
        if (!may_be_plain(db_text_first_word(in->sql, in->sql_len))) return false;
        if (prepare_piece(r, in->sql, in->sql_len, true, &p, &tail) != SQLITE_OK)
            continue; /* it will fail again, in its turn */
        bool ok = p->cached && (p->flags & PREP_PLAIN);
        db_prep_done(r->c, p);
        if (!ok) return false;
    }
    return !r->fatal && may_share(r);
}

static void run_own_transaction(struct run *r)
{
    batch_end(r);
    if (r->fatal) return;
    int rc = step_control(r->d->begin);
    if (rc != SQLITE_OK) {
        set_fatal(r, rc, "begin");
        return;
    }
    run_strings(r);
    if (r->fatal) return;
    if (!r->failed) {
        rc = step_control(r->d->commit);
        if (rc == SQLITE_OK) return;
        if (fatal_error(r, rc)) {
            set_fatal(r, rc, "commit");
            return;
        }
        const char *text = sqlite3_errmsg(r->c->sqlite);
        db_effect_mix(r->d, (uint64_t)rc);
        r->sink->ops->request_failed(r->sink, text, strlen(text));
    }
    if (!sqlite3_get_autocommit(r->c->sqlite)) db_conn_exec(r->c, "ROLLBACK");
    if (r->touched) schema_touched(r);
}

/*
 * As a savepoint in the batch.  If a row with the largest rowid turns up on the way,
 * later statements of the request could end the batch (schema.c): then the request is
 * undone and run once more in a transaction of its own, where it comes to the same
 * results, of which those already told are not told again.
 */
static void run_shared_transaction(struct run *r)
{
    struct db *d = r->d;
    struct db_effect effect = d->effect;
    struct db_functions fn = d->fn;
    sqlite3_int64 rowid = sqlite3_last_insert_rowid(r->c->sqlite);
    int rc = SQLITE_OK;

    if (!d->batch) batch_begin(r);
    if (!r->fatal && (rc = step_control(d->savepoint)) != SQLITE_OK)
        set_fatal(r, rc, "savepoint");
    if (r->fatal) return;
    r->shared_tx = true;
    for (size_t i = 0; i < r->req->n && !r->fatal && !r->failed; i++) {
        run_string(r, &r->req->stmts[i]);
        if (d->rowid_max) break;
    }
    r->shared_tx = false;
    if (r->fatal) return;
    bool again = d->rowid_max;
    if (again || r->failed) rc = step_control(d->rollback_to);
    if (rc == SQLITE_OK) rc = step_control(d->release);
    if (rc != SQLITE_OK) {
        set_fatal(r, rc, "end savepoint");
        return;
    }
    if (!again) return;

    d->effect = effect;
    d->fn = fn;
    sqlite3_set_last_insert_rowid(r->c->sqlite, rowid);
    d->fn.base_changes = sqlite3_total_changes64(r->c->sqlite);
    r->failed = false;
    r->muted = r->told;
    r->told = 0;
    if (r->muted > 0) {
        r->real_sink = r->sink;
        r->sink = &db_null_sink;
    }
    run_own_transaction(r);
}

/* --- entries ------------------------------------------------------------------------ */

/*
 * Temporary objects and attached in-memory databases live on the write connection, which
 * a node that starts from a snapshot does not have.  So they end at a place in the log
 * that is the same for all, SESSION_ENTRIES after the first of them was made, and no
 * snapshot is taken in between (db_capture_begin()); so one has to come just there if
 * they are made again and again.
 */
uint64_t db_session_ends(const struct db *d)
{
    return d->session_since ? d->session_since + SESSION_ENTRIES - 1 : 0;
}

enum err db_session_end(struct db *d, struct why *why)
{
    enum err e = db_commit(d, why);

    return e || !d->session_since ? e : db_writer_reopen(d, true, why);
}

static enum err entry_begin(struct db *d, const struct db_context *ctx, struct why *why)
{
    if (d->session_since && ctx->index > db_session_ends(d)) {
        enum err e = db_writer_reopen(d, true, why);
        if (e) return e;
    }
    d->ctx = *ctx;
    d->write_time_ns = ctx->time_ns;
    d->fn = (struct db_functions){.seed = ctx->seed,
                                  .base_changes = sqlite3_total_changes64(d->w->sqlite)};
    db_effect_begin(d);
    return ERR_OK;
}

static enum err entry_end(struct db *d)
{
    if (sqlite3_total_changes64(d->w->sqlite) != d->fn.base_changes)
        atomic_store_explicit(&d->changed_index, d->ctx.index, memory_order_relaxed);
    db_effect_end(d);
    return ERR_OK;
}

/* A transaction that the request left open. */
static void end_left_open(struct run *r)
{
    struct db *d = r->d;

    if (d->batch || sqlite3_get_autocommit(r->c->sqlite)) return;
    bool changed = r->tx_wrote || sqlite3_total_changes64(r->c->sqlite) != r->tx_changes;
    int rc = db_conn_exec(r->c, "ROLLBACK");
    if (rc != SQLITE_OK) {
        set_fatal(r, rc, "rollback");
        return;
    }
    if (r->touched) schema_touched(r);
    if (changed) r->sink->ops->request_failed(r->sink, LEFT_OPEN, strlen(LEFT_OPEN));
}

static void count(const struct db *d, const struct db_request *req)
{
    metrics_add(d->metrics, req->rows ? METRIC_db_requests : METRIC_db_executions,
                (int64_t)req->n);
    if (req->transaction)
        metrics_add(d->metrics,
                    req->rows ? METRIC_db_request_transactions
                              : METRIC_db_execute_transactions,
                    1);
}

static enum err apply(struct db *d, const struct db_context *ctx,
                      const struct db_request *req, bool script, struct row_sink *sink,
                      struct why *why)
{
    enum err e = entry_begin(d, ctx, why);
    if (e) return e;

    struct run r = {
        .d = d, .c = d->w, .req = req, .sink = sink ? sink : &db_null_sink, .why = why};
    count(d, req);
    if (sink) r.started_ns = clock_mono_ns(d->clock);
    if (req->max_steps) {
        d->steps_left = req->max_steps;
        sqlite3_progress_handler(d->w->sqlite, STEP_BLOCK, on_steps, d);
    }
    if (req->transaction) {
        r.in_request_tx = true;
        if (request_may_share(&r))
            run_shared_transaction(&r);
        else if (!r.fatal)
            run_own_transaction(&r);
    } else {
        run_strings(&r);
    }
    if (req->max_steps) {
        sqlite3_progress_handler(d->w->sqlite, 0, NULL, NULL);
        d->out_of_steps = false;
    }
    if (!r.fatal && script && r.failed && !d->batch &&
        !sqlite3_get_autocommit(d->w->sqlite)) {
        db_conn_exec(d->w, "ROLLBACK");
        if (r.touched) schema_touched(&r);
    }
    if (!r.fatal) end_left_open(&r);
    if (!r.fatal && r.defer_fk) db_conn_exec(d->w, "PRAGMA defer_foreign_keys=0");
    return r.fatal ? r.fatal : entry_end(d);
}

enum err db_apply(struct db *d, const struct db_context *ctx,
                  const struct db_request *req, struct row_sink *sink, struct why *why)
{
    return apply(d, ctx, req, false, sink, why);
}

enum err db_apply_script(struct db *d, const struct db_context *ctx, const char *sql,
                         size_t len, struct row_sink *sink, struct why *why)
{
    struct db_stmt stmt = {.sql = sql, .sql_len = len};
    struct db_request req = {.stmts = &stmt, .n = 1};
    return apply(d, ctx, &req, true, sink, why);
}

void db_apply_nothing(struct db *d, const struct db_context *ctx)
{
    d->ctx = *ctx;
    db_effect_begin(d);
    db_effect_end(d);
}

/* --- the end of a batch ------------------------------------------------------------- */

enum err db_commit(struct db *d, struct why *why)
{
    struct run r = {.d = d, .c = d->w, .why = why};
    batch_end(&r);
    if (!r.fatal) db_checkpoint(d);
    return r.fatal;
}

enum err db_query_here(struct db *d, const struct db_request *req, struct row_sink *sink,
                       struct why *why)
{
    enum err e = db_commit(d, why);
    if (e) return e;
    if (d->here && d->here->dirty) {
        db_conn_close(d->here);
        d->here = NULL;
    }
    if (!d->here) e = db_conn_open(&d->here, d, false, why);
    if (e) return e;
    db_conn_query(d->here, req, NULL, sink);
    return ERR_OK;
}

uint64_t db_effect_hash(const struct db *d, uint64_t *index)
{
    if (index) *index = d->effect.index;
    return d->effect.hash;
}

uint64_t db_changed_index(const struct db *d)
{
    return atomic_load_explicit(&d->changed_index, memory_order_relaxed);
}

void db_upkept(const struct db *d, enum db_upkeep what, struct db_upkept *out)
{
    uint64_t before;

    do {
        before = atomic_load(&d->upkept[what].count);
        out->time_ns = atomic_load(&d->upkept[what].time_ns);
        out->index = atomic_load(&d->upkept[what].index);
        out->changed_before = atomic_load(&d->upkept[what].changed_before);
    } while (before % 2 != 0 || before != atomic_load(&d->upkept[what].count));
}
