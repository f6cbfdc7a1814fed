/* SPDX-License-Identifier: MIT */
/*
 * One real node in a directory of its own, and calls that wait for their answer.
 */
#ifndef TESTS_UNIT_NODE_ONE_NODE_H
#define TESTS_UNIT_NODE_ONE_NODE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/arena.h"
#include "core/base/clock.h"
#include "core/base/doc.h"
#include "core/base/io.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/base/pb.h"
#include "core/node/internal.h"
#include "core/node/node.h"

enum { WAIT_MS = 60000 };

struct one {
    char dir[40];
    bool on_disk;
    const char *bind; /* NULL = talk to nobody */
    uint64_t snapshot_entries, snapshot_wal_bytes;
    int64_t auto_vacuum_ns, auto_optimize_ns;
    const struct clock *clock; /* NULL = the machine's */
    struct io *io;
    struct metrics *metrics;
    struct logger *logger;
    struct node *node;
    atomic_int fatal; /* times it was told so */
    struct why why;
};

static inline void on_fatal(void *arg, const struct why *why)
{
    struct one *o = arg;

    o->why = *why;
    atomic_fetch_add(&o->fatal, 1);
}

static inline struct node_options one_options(struct one *o)
{
    return (struct node_options){.id = "1",
                                 .data_dir = o->dir,
                                 .raft_addr = "127.0.0.1:4002",
                                 .raft_bind = o->bind,
                                 .http_addr = "127.0.0.1:4001",
                                 .version = "v1.test",
                                 .on_disk = o->on_disk,
                                 .readers = 2,
                                 .heartbeat_ms = 100,
                                 .election_ms = 100,
                                 .lease_ms = 100,
                                 .commit_ms = 20,
                                 .apply_timeout_ms = 10000,
                                 .snapshot_entries = o->snapshot_entries,
                                 .snapshot_interval_ns = 20000000,
                                 .snapshot_wal_bytes = o->snapshot_wal_bytes,
                                 .auto_vacuum_ns = o->auto_vacuum_ns,
                                 .auto_optimize_ns = o->auto_optimize_ns,
                                 .clock = o->clock ? o->clock : clock_real(),
                                 .io = o->io,
                                 .logger = o->logger,
                                 .metrics = o->metrics,
                                 .on_fatal = on_fatal,
                                 .on_fatal_arg = o};
}

static inline void one_open(struct one *o)
{
    struct node_options no = one_options(o);
    struct why why = {0};

    if (node_open(&o->node, &no, &why)) fail_msg("open: %s", why.text);
    if (node_start(o->node, &why)) fail_msg("start: %s", why.text);
}

static inline void one_up(struct one *o)
{
    struct why why = {0};
    bool again;

    one_open(o);
    again = node_has_peers(o->node);
    if (!again && node_bootstrap(o->node, &why)) fail_msg("bootstrap: %s", why.text);
    assert_true(node_wait_ready(o->node, WAIT_MS));
}

static inline void one_down(struct one *o)
{
    node_free(o->node);
    o->node = NULL;
}

static inline void one_begin(struct one *o)
{
    memset(o, 0, sizeof *o);
    snprintf(o->dir, sizeof o->dir, "%s", "node-XXXXXX");
    assert_non_null(mkdtemp(o->dir));
    o->io = io_real();
    o->snapshot_entries = 100000;
    assert_int_equal(metrics_new(&o->metrics), ERR_OK);
    if (getenv("LOG")) assert_int_equal(logger_new(&o->logger, 2, LOGGER_DEBUG), ERR_OK);
}

static inline void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    char name[600];

    if (d == NULL) return;
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(name, sizeof name, "%.300s/%.255s", path, e->d_name);
        if (e->d_type == DT_DIR)
            remove_tree(name);
        else
            unlink(name);
    }
    closedir(d);
    rmdir(path);
}

static inline void one_end(struct one *o)
{
    one_down(o);
    metrics_free(o->metrics);
    logger_free(o->logger);
    remove_tree(o->dir);
}

/* --- a sink that keeps what it is told as text ---------------------------------------
 */

struct text_sink {
    struct row_sink sink;
    char text[256]; /* the start of it */
    size_t len;
    unsigned failed;
};

PRINTF_LIKE(2, 3) static inline void text_add(struct row_sink *s, const char *fmt, ...)
{
    struct text_sink *t = LIST_ITEM(s, struct text_sink, sink);
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(t->text + t->len, sizeof t->text - t->len, fmt, ap);
    va_end(ap);
    t->len += n < 0 ? 0 : (size_t)n;
    if (t->len >= sizeof t->text) t->len = sizeof t->text - 1;
}

static inline void text_columns(struct row_sink *s, const struct row_column *cols,
                                size_t n)
{
    (void)s;
    (void)cols;
    (void)n;
}

static inline bool text_row(struct row_sink *s, const struct db_value *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i].type == DB_INTEGER)
            text_add(s, "%s%lld", i ? "," : "", (long long)v[i].u.i);
        else if (v[i].type == DB_TEXT)
            text_add(s, "%s%.*s", i ? "," : "", (int)v[i].u.s.n,
                     (const char *)v[i].u.s.p);
    }
    text_add(s, ";");
    return true;
}

static inline void text_end(struct row_sink *s, uint64_t elapsed_ns)
{
    (void)s;
    (void)elapsed_ns;
}

static inline void text_written(struct row_sink *s, int64_t id, int64_t rows,
                                uint64_t elapsed_ns)
{
    (void)id;
    (void)elapsed_ns;
    text_add(s, "+%lld", (long long)rows);
}

static inline void text_failed(struct row_sink *s, bool read_side, const char *text,
                               size_t len)
{
    (void)read_side;
    LIST_ITEM(s, struct text_sink, sink)->failed++;
    text_add(s, "<%.*s>", (int)len, text);
}

static inline void text_request_failed(struct row_sink *s, const char *text, size_t len)
{
    text_failed(s, true, text, len);
}

static const struct row_sink_ops text_ops = {.columns = text_columns,
                                             .row = text_row,
                                             .rows_end = text_end,
                                             .written = text_written,
                                             .failed = text_failed,
                                             .request_failed = text_request_failed};

/* --- calls that wait ------------------------------------------------------------------
 */

struct asked {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned done;
    struct arena arena;
    struct text_sink sink;
    union {
        struct call call;
        struct call_execute execute;
        struct call_query query;
        struct call_load load;
        struct call_backup backup;
        struct call_snapshot snapshot;
        struct call_reap reap;
        struct call_status status;
        struct call_nodes nodes;
        struct call_ready ready;
        struct call_remove remove;
        struct call_step_down step_down;
        struct call_analyze analyze;
    } u;
};

static inline void asked_done(struct call *c)
{
    struct asked *a = LIST_ITEM(c, struct asked, u.call);

    pthread_mutex_lock(&a->lock);
    CHECK(a->done == 0); /* exactly once; a failed assertion would jump off this thread */
    a->done++;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
}

static inline struct asked *asked_new(void)
{
    struct asked *a = calloc(1, sizeof *a);

    CHECK(a != NULL);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->cond, NULL);
    arena_init(&a->arena, 0);
    a->sink.sink.ops = &text_ops;
    a->u.call.done = asked_done;
    return a;
}

static inline bool asked_is_done(struct asked *a)
{
    bool done;

    pthread_mutex_lock(&a->lock);
    done = a->done > 0;
    pthread_mutex_unlock(&a->lock);
    return done;
}

static inline enum err asked_wait(struct asked *a)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&a->lock);
    while (a->done == 0 && rc == 0)
        rc = pthread_cond_timedwait(&a->cond, &a->lock, &until);
    pthread_mutex_unlock(&a->lock);
    CHECK(a->done == 1 && "a call has not ended");
    return a->u.call.why.code;
}

static inline void asked_free(struct asked *a)
{
    arena_fini(&a->arena);
    pthread_cond_destroy(&a->cond);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static inline Rqlite__Statement **one_statement(struct arena *a, const char *sql)
{
    Rqlite__Statement **list = arena_calloc(a, 1, sizeof *list);

    list[0] = arena_alloc(a, sizeof **list);
    rqlite__statement__init(list[0]);
    list[0]->sql = arena_strdup(a, sql);
    return list;
}

static inline struct asked *execute_asked(const char *sql)
{
    struct asked *a = asked_new();
    Rqlite__ExecuteRequest x = RQLITE__EXECUTE_REQUEST__INIT;

    x.n_statements = 1;
    x.statements = one_statement(&a->arena, sql);
    a->u.execute.request = pb_pack(&x.base, CALL_SPARE);
    CHECK(a->u.execute.request != NULL);
    a->u.execute.sink = &a->sink.sink;
    return a;
}

static inline struct asked *query_asked(const char *sql, Rqlite__Level level, bool rows)
{
    struct asked *a = asked_new();
    Rqlite__QueryRequest *q = arena_alloc(&a->arena, sizeof *q);

    rqlite__query_request__init(q);
    q->n_statements = 1;
    q->statements = one_statement(&a->arena, sql);
    q->level = level;
    q->rows = rows;
    a->u.query.request = q;
    a->u.query.arena = &a->arena;
    a->u.query.sink = &a->sink.sink;
    return a;
}

static inline void must_execute(struct one *o, const char *sql)
{
    struct asked *a = execute_asked(sql);

    node_execute(o->node, &a->u.execute);
    if (asked_wait(a)) fail_msg("%s: %s", sql, a->u.call.why.text);
    if (a->sink.failed) fail_msg("%s: %s", sql, a->sink.text);
    asked_free(a);
}

/* What a linearizable query gives. */
static inline void must_query(struct one *o, const char *sql, const char *expect)
{
    struct asked *a = query_asked(sql, RQLITE__LEVEL__LINEARIZABLE, false);

    node_query(o->node, &a->u.query);
    if (asked_wait(a)) fail_msg("%s: %s", sql, a->u.call.why.text);
    assert_string_equal(a->sink.text, expect);
    asked_free(a);
}

static inline uint64_t now_ms(void)
{
    return clock_mono_ns(clock_real()) / 1000000;
}

/* Waits for a condition, not for a while. */
#define WAIT_FOR(condition)                                                              \
    do {                                                                                 \
        uint64_t until_ = now_ms() + WAIT_MS;                                            \
        while (!(condition)) {                                                           \
            if (now_ms() > until_) fail_msg("waited in vain for: %s", #condition);       \
            usleep(1000);                                                                \
        }                                                                                \
    } while (0)

#endif
