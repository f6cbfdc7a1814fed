/* SPDX-License-Identifier: MIT */
/*
 * A few real nodes in one process, on loopback, with a cluster over each; and calls that
 * wait for their answer.
 */
#ifndef TESTS_UNIT_CLUSTER_NODES_H
#define TESTS_UNIT_CLUSTER_NODES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/auth/auth.h"
#include "core/base/clock.h"
#include "core/base/io.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/base/pb.h"
#include "core/cluster/cluster.h"
#include "core/node/node.h"
#include "core/raft/raft.h"

/* Long enough for a busy machine: a follower answers when its disk has. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { HEARTBEAT_MS = 3000 };
#else
enum { HEARTBEAT_MS = 1000 };
#endif
enum { NODES_MAX = 3, WAIT_MS = 30000 };

struct member_node { /* one of them */
    char id[8], dir[64], addr[32], bind[32], http[32], url[48];
    struct node *node;
    struct cluster *cluster;
    struct metrics *metrics;
    struct logger *logger; /* NULL unless LOG is set */
    const char *users;     /* its credentials file; NULL: there is none */
    struct auth *auth;
};

struct nodes {
    struct member_node n[NODES_MAX];
    size_t count;
    char dir[32];
};

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
            usleep(2000);                                                                \
        }                                                                                \
    } while (0)

static inline uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static inline struct auth *auth_of(const struct member_node *m)
{
    struct why why = {0};
    struct auth *a;
    char path[96];
    FILE *f;

    if (m->users == NULL) return NULL;
    snprintf(path, sizeof path, "%s.users", m->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(m->users, f) >= 0);
    assert_int_equal(fclose(f), 0);
    if (auth_open(&a, path, m->logger, &why)) fail_msg("%s", why.text);
    return a;
}

static inline void node_up(struct member_node *m)
{
    struct node_options o = {.id = m->id,
                             .data_dir = m->dir,
                             .raft_addr = m->addr,
                             .raft_bind = m->bind,
                             .connect_ms = 2000,
                             .http_addr = m->http,
                             .version = "v1.test",
                             .readers = 2,
                             .heartbeat_ms = HEARTBEAT_MS,
                             .election_ms = HEARTBEAT_MS,
                             .lease_ms = HEARTBEAT_MS,
                             .commit_ms = 20,
                             .apply_timeout_ms = 5000,
                             .snapshot_entries = 100000,
                             .snapshot_interval_ns = 3600000000000,
                             .snapshot_wal_bytes = 1 << 30,
                             .clock = clock_real(),
                             .io = io_real(),
                             .logger = m->logger,
                             .metrics = m->metrics};
    struct cluster_options c = {.id = m->id,
                                .raft_addr = m->addr,
                                .api_url = m->url,
                                .version = "v1.test",
                                .connect_ms = 2000,
                                .clock = clock_real(),
                                .logger = m->logger,
                                .metrics = m->metrics};
    struct why why = {0};

    c.auth = m->auth = auth_of(m);
    if (node_open(&m->node, &o, &why)) fail_msg("open node %s: %s", m->id, why.text);
    c.node = m->node;
    if (cluster_new(&m->cluster, &c, &why)) fail_msg("cluster: %s", why.text);
    if (node_start(m->node, &why)) fail_msg("start node %s: %s", m->id, why.text);
}

static inline void node_down(struct member_node *m)
{
    if (m->node == NULL) return;
    cluster_stop(m->cluster);
    node_stop(m->node);
    auth_stop(m->auth);
    cluster_free(m->cluster);
    node_free(m->node);
    auth_free(m->auth);
    m->node = NULL;
    m->auth = NULL;
    m->cluster = NULL;
}

/* Names, addresses and directories of count nodes; none is up. */
static inline struct nodes *nodes_new(size_t count)
{
    struct nodes *s = calloc(1, sizeof *s);

    assert_non_null(s);
    strcpy(s->dir, "forward-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    s->count = count;
    for (size_t i = 0; i < count; i++) {
        struct member_node *m = &s->n[i];

        snprintf(m->id, sizeof m->id, "n%u", (unsigned)(i + 1) % 100);
        snprintf(m->dir, sizeof m->dir, "%s/%s", s->dir, m->id);
        assert_int_equal(mkdir(m->dir, 0700), 0);
        snprintf(m->bind, sizeof m->bind, "127.0.0.1:%u", free_port());
        strcpy(m->addr, m->bind);
        snprintf(m->http, sizeof m->http, "127.0.0.1:%u", (unsigned)(14001 + i) % 65536);
        snprintf(m->url, sizeof m->url, "http://%s", m->http);
        assert_int_equal(metrics_new(&m->metrics), ERR_OK);
        if (getenv("LOG"))
            assert_int_equal(logger_new(&m->logger, 2, LOGGER_DEBUG), ERR_OK);
    }
    return s;
}

static inline void bootstrap_all(struct nodes *s)
{
    struct raft_config c;
    struct why why = {0};

    raft_config_init(&c);
    for (size_t i = 0; i < s->count; i++)
        assert_int_equal(raft_config_put(&c, s->n[i].id, s->n[i].addr, true), ERR_OK);
    for (size_t i = 0; i < s->count; i++)
        if (node_bootstrap_as(s->n[i].node, &c, 4711, &why)) fail_msg("%s", why.text);
    raft_config_fini(&c);
}

static inline void remove_tree(const char *path)
{
    struct io *io = io_real();
    DIR *d = opendir(path);
    struct dirent *e;
    char name[600];

    if (d == NULL) {
        (void)!io->ops->unlink(io, path, NULL);
        return;
    }
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

static inline void nodes_free(struct nodes *s)
{
    for (size_t i = 0; i < s->count; i++) {
        node_down(&s->n[i]);
        metrics_free(s->n[i].metrics);
        logger_free(s->n[i].logger);
    }
    remove_tree(s->dir);
    free(s);
}

/* --- who leads --------------------------------------------------------------------- */

static inline struct member_node *leader_of(struct nodes *s)
{
    struct node_progress p;

    for (size_t i = 0; i < s->count; i++) {
        if (s->n[i].node == NULL) continue;
        node_progress(s->n[i].node, &p);
        if (p.leader && p.caught_up) return &s->n[i];
    }
    return NULL;
}

/* Every node that is up knows the same leader, which is ready. */
static inline bool settled(struct nodes *s)
{
    const struct member_node *leader = leader_of(s);
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];

    if (leader == NULL) return false;
    for (size_t i = 0; i < s->count; i++) {
        if (s->n[i].node == NULL) continue;
        if (!node_leader(s->n[i].node, id, sizeof id, addr, sizeof addr)) return false;
        if (strcmp(id, leader->id) != 0) return false;
    }
    return true;
}

static inline struct member_node *follower_of(struct nodes *s, size_t which)
{
    struct member_node *leader = leader_of(s);

    for (size_t i = 0; i < s->count; i++) {
        if (&s->n[i] == leader || s->n[i].node == NULL) continue;
        if (which-- == 0) return &s->n[i];
    }
    return NULL;
}

static inline struct nodes *nodes_up(size_t count)
{
    struct nodes *s = nodes_new(count);

    for (size_t i = 0; i < count; i++) node_up(&s->n[i]);
    bootstrap_all(s);
    WAIT_FOR(settled(s));
    return s;
}

/* --- calls that wait ---------------------------------------------------------------- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

/* A sink that writes all it is told as text. */
struct text_sink {
    struct row_sink sink;
    char *text;
    size_t len;
    FILE *out;
    uint64_t rows, bytes;
    uint64_t stop_after; /* rows; 0 = never */
    unsigned slow_us;    /* for each hundred rows */
    bool quiet;          /* only count rows */
};

static inline struct text_sink *text_of(struct row_sink *s)
{
    return (struct text_sink *)(void *)s;
}

static inline void text_columns(struct row_sink *s, const struct row_column *cols,
                                size_t n)
{
    FILE *out = text_of(s)->out;

    fputc('[', out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s%s:%s", i ? "," : "", cols[i].name,
                cols[i].declared ? cols[i].declared : "-");
    fputc(']', out);
}

static inline void text_value(FILE *out, const struct db_value *v)
{
    switch (v->type) {
    case DB_NULL: fputs("null", out); break;
    case DB_INTEGER: fprintf(out, "%lld", (long long)v->u.i); break;
    case DB_REAL: fprintf(out, "%.17g", v->u.r); break;
    case DB_TEXT:
        fputc('\'', out);
        for (size_t i = 0; i < v->u.s.n; i++) {
            uint8_t c = ((const uint8_t *)v->u.s.p)[i];

            if (c >= 32 && c < 127)
                fputc(c, out);
            else
                fprintf(out, "\\%02x", c);
        }
        fputc('\'', out);
        break;
    case DB_BLOB:
        fputs("x'", out);
        for (size_t i = 0; i < v->u.s.n; i++)
            fprintf(out, "%02x", ((const uint8_t *)v->u.s.p)[i]);
        fputc('\'', out);
        break;
    }
}

static inline bool text_row(struct row_sink *s, const struct db_value *values, size_t n)
{
    struct text_sink *t = text_of(s);

    t->rows++;
    if (t->slow_us && t->rows % 100 == 0) usleep(t->slow_us);
    for (size_t i = 0; i < n; i++)
        if (values[i].type == DB_TEXT || values[i].type == DB_BLOB)
            t->bytes += values[i].u.s.n;
    if (!t->quiet) {
        fputc('(', t->out);
        for (size_t i = 0; i < n; i++) {
            if (i) fputc(',', t->out);
            text_value(t->out, &values[i]);
        }
        fputc(')', t->out);
    }
    return t->stop_after == 0 || t->rows < t->stop_after;
}

static inline void text_rows_end(struct row_sink *s, uint64_t elapsed_ns)
{
    (void)elapsed_ns;
    fputs(".", text_of(s)->out);
}

static inline void text_written(struct row_sink *s, int64_t id, int64_t rows,
                                uint64_t elapsed_ns)
{
    (void)elapsed_ns;
    fprintf(text_of(s)->out, "{%lld,%lld}", (long long)id, (long long)rows);
}

static inline void text_failed(struct row_sink *s, bool read_side, const char *text,
                               size_t len)
{
    fprintf(text_of(s)->out, "<%s%.*s>", read_side ? "r:" : "w:", (int)len, text);
}

static inline void text_request_failed(struct row_sink *s, const char *text, size_t len)
{
    fprintf(text_of(s)->out, "<<%.*s>>", (int)len, text);
}

static const struct row_sink_ops text_ops = {.columns = text_columns,
                                             .row = text_row,
                                             .rows_end = text_rows_end,
                                             .written = text_written,
                                             .failed = text_failed,
                                             .request_failed = text_request_failed};

static inline void text_sink_init(struct text_sink *t)
{
    memset(t, 0, sizeof *t);
    t->sink.ops = &text_ops;
    t->out = open_memstream(&t->text, &t->len);
    assert_non_null(t->out);
}

static inline const char *text_sink_get(struct text_sink *t)
{
    fflush(t->out);
    return t->text;
}

static inline void text_sink_fini(struct text_sink *t)
{
    fclose(t->out);
    free(t->text);
}

/* One call of any kind and what it needs. */
struct asked {
    struct waiter w;
    struct arena arena;
    struct text_sink sink;
    union {
        struct call call;
        struct call_execute execute;
        struct call_query query;
        struct call_load load;
        struct call_backup backup;
        struct call_remove remove;
        struct call_step_down step_down;
        struct call_nodes nodes;
        struct call_ready ready;
    } u;
};

static inline void asked_done(struct call *c)
{
    struct asked *a = LIST_ITEM(c, struct asked, u.call);

    pthread_mutex_lock(&a->w.lock);
    assert_false(a->w.done); /* exactly once */
    a->w.done = true;
    pthread_cond_signal(&a->w.cond);
    pthread_mutex_unlock(&a->w.lock);
}

static inline struct asked *asked_new(void)
{
    struct asked *a = calloc(1, sizeof *a);

    assert_non_null(a);
    pthread_mutex_init(&a->w.lock, NULL);
    pthread_cond_init(&a->w.cond, NULL);
    arena_init(&a->arena, 0);
    text_sink_init(&a->sink);
    a->u.call.done = asked_done;
    return a;
}

static inline bool asked_is_done(struct asked *a)
{
    bool done;

    pthread_mutex_lock(&a->w.lock);
    done = a->w.done;
    pthread_mutex_unlock(&a->w.lock);
    return done;
}

static inline void asked_wait(struct asked *a)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000 * 2;
    pthread_mutex_lock(&a->w.lock);
    while (!a->w.done && rc == 0)
        rc = pthread_cond_timedwait(&a->w.cond, &a->w.lock, &until);
    pthread_mutex_unlock(&a->w.lock);
    if (!a->w.done) fail_msg("a call has not ended");
}

static inline const char *asked_text(struct asked *a)
{
    return text_sink_get(&a->sink);
}

static inline void asked_free(struct asked *a)
{
    text_sink_fini(&a->sink);
    arena_fini(&a->arena);
    pthread_cond_destroy(&a->w.cond);
    pthread_mutex_destroy(&a->w.lock);
    free(a);
}

static inline Rqlite__Statement **statements(struct arena *a, const char *const *sql,
                                             size_t n)
{
    Rqlite__Statement **list = arena_calloc(a, n, sizeof(Rqlite__Statement *));

    for (size_t i = 0; i < n; i++) {
        list[i] = arena_alloc(a, sizeof *list[i]);
        rqlite__statement__init(list[i]);
        list[i]->sql = arena_strdup(a, sql[i]);
    }
    return list;
}

static inline struct asked *execute_asked(const char *sql)
{
    struct asked *a = asked_new();
    Rqlite__ExecuteRequest x = RQLITE__EXECUTE_REQUEST__INIT;

    x.n_statements = 1;
    x.statements = statements(&a->arena, &sql, 1);
    a->u.execute.request = pb_pack(&x.base, CALL_SPARE);
    a->u.execute.sink = &a->sink.sink;
    return a;
}

static inline struct asked *query_asked(const char *sql, Rqlite__Level level, bool rows)
{
    struct asked *a = asked_new();
    Rqlite__QueryRequest *q = arena_alloc(&a->arena, sizeof *q);

    rqlite__query_request__init(q);
    q->n_statements = 1;
    q->statements = statements(&a->arena, &sql, 1);
    q->level = level;
    q->rows = rows;
    a->u.query.request = q;
    a->u.query.arena = &a->arena;
    a->u.query.sink = &a->sink.sink;
    return a;
}

/* Start, wait, and give back what came of it. */
static inline struct asked *execute_on(struct member_node *m, const char *sql)
{
    struct asked *a = execute_asked(sql);

    cluster_execute(m->cluster, &a->u.execute);
    asked_wait(a);
    return a;
}

static inline struct asked *query_on(struct member_node *m, const char *sql,
                                     Rqlite__Level level)
{
    struct asked *a = query_asked(sql, level, false);

    cluster_query(m->cluster, &a->u.query);
    asked_wait(a);
    return a;
}

static inline struct asked *request_on(struct member_node *m, const char *sql)
{
    struct asked *a = query_asked(sql, RQLITE__LEVEL__WEAK, true);

    cluster_request(m->cluster, &a->u.query);
    asked_wait(a);
    return a;
}

/* It went well and gave this. */
static inline void expect(struct asked *a, const char *text)
{
    if (a->u.call.why.code) fail_msg("failed: %s", a->u.call.why.text);
    assert_string_equal(asked_text(a), text);
    asked_free(a);
}

static inline unsigned count_of(struct member_node *m, const char *table)
{
    char sql[100];
    struct asked *a;
    unsigned n;

    snprintf(sql, sizeof sql, "SELECT count(*) AS n FROM %s", table);
    a = query_on(m, sql, RQLITE__LEVEL__LINEARIZABLE);
    if (a->u.call.why.code) fail_msg("count: %s", a->u.call.why.text);
    n = (unsigned)atoi(asked_text(a) + strlen("[n:-]("));
    asked_free(a);
    return n;
}

#endif
