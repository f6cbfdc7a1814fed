/* SPDX-License-Identifier: MIT */
/*
 * fake: a gateway on a free port with a backend behind it that does what the test says,
 * and a client.
 */
#ifndef TESTS_UNIT_GATEWAY_FAKE_H
#define TESTS_UNIT_GATEWAY_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/metrics.h"
#include "core/base/pb.h"
#include "gateway/backend.h"
#include "gateway/gateway.h"

/* What the backend was asked, as text: "execute tx INSERT(i1)". */
struct fake {
    struct backend backend;
    struct gateway *gateway;
    struct metrics *metrics;
    bool no_leader;

    /* What the next call gets; each may be NULL. */
    void (*results)(struct row_sink *s);
    void (*result)(struct call *c); /* sets results of its own in the call */
    enum err fail;                  /* with fail_text */
    const char *fail_text;
    bool top_level;
    const char *served_by, *leader_url;
    bool threaded; /* done() comes from another thread */

    /* held: execute calls are kept until the test lets them go */
    bool hold;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct call_execute *held;
    char asked[4096];
    unsigned calls;
};

static inline void fake_note(struct fake *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void fake_note(struct fake *f, const char *fmt, ...)
{
    size_t n = strlen(f->asked);
    va_list args;

    va_start(args, fmt);
    vsnprintf(f->asked + n, sizeof f->asked - n, fmt, args);
    va_end(args);
}

static inline void fake_note_statements(struct fake *f, Rqlite__Statement **list,
                                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fake_note(f, " %s(", list[i]->sql);
        for (size_t j = 0; j < list[i]->n_parameters; j++) {
            const Rqlite__Value *v = list[i]->parameters[j]->value;

            if (j > 0) fake_note(f, ",");
            if (*list[i]->parameters[j]->name)
                fake_note(f, "%s=", list[i]->parameters[j]->name);
            if (v->kind_case == RQLITE__VALUE__KIND_INTEGER)
                fake_note(f, "%lld", (long long)v->integer);
            else if (v->kind_case == RQLITE__VALUE__KIND_TEXT)
                fake_note(f, "%.*s", (int)v->text.len, (char *)v->text.data);
            else
                fake_note(f, "?");
        }
        fake_note(f, ")");
    }
}

static void *fake_finish(void *arg)
{
    struct call *c = arg;
    c->done(c);
    return NULL;
}

static inline void fake_end(struct fake *f, struct call *c, struct row_sink *s)
{
    pthread_t thread;

    if (f->fail) {
        why_set(&c->why, f->fail, "%s", f->fail_text ? f->fail_text : "");
        c->top_level = f->top_level;
    } else {
        if (s && f->results) f->results(s);
        if (f->result) f->result(c);
    }
    if (f->served_by) snprintf(c->served_by, sizeof c->served_by, "%s", f->served_by);
    if (f->leader_url) snprintf(c->leader_url, sizeof c->leader_url, "%s", f->leader_url);
    if (f->threaded && pthread_create(&thread, NULL, fake_finish, c) == 0)
        pthread_detach(thread);
    else
        c->done(c);
}

static inline struct fake *fake_of(struct backend *b)
{
    return (struct fake *)(void *)b;
}

static inline void fake_common(struct fake *f, const struct call *c)
{
    if (c->redirect) fake_note(f, " redirect");
    if (c->no_leader) fake_note(f, " noleader");
    if (c->retries) fake_note(f, " retries=%d", c->retries);
    if (c->timeout_ns) fake_note(f, " timeout=%lld", (long long)c->timeout_ns);
    if (c->own_authority) fake_note(f, " own");
}

static inline void fake_execute(struct backend *b, struct call_execute *c)
{
    struct fake *f = fake_of(b);
    Rqlite__ExecuteRequest *m;
    struct arena a;

    pthread_mutex_lock(&f->mutex);
    f->calls++;
    fake_note(f, "execute");
    fake_common(f, &c->call);
    arena_init(&a, 0);
    assert_true(c->request->cap - c->request->len >= CALL_SPARE);
    assert_int_equal(pb_unpack(&m, &rqlite__execute_request__descriptor, &a,
                               c->request->data, c->request->len, NULL),
                     0);
    if (m->transaction) fake_note(f, " tx");
    if (m->noparse) fake_note(f, " noparse");
    if (m->db_timeout_ns) fake_note(f, " db_timeout=%lld", (long long)m->db_timeout_ns);
    if (m->max_steps) fake_note(f, " steps=%llu", (unsigned long long)m->max_steps);
    fake_note_statements(f, m->statements, m->n_statements);
    fake_note(f, "\n");
    arena_fini(&a);
    blob_unref(c->request);
    c->request = NULL;
    c->raft_index = 7;
    if (f->hold) {
        f->held = c;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->mutex);
        return;
    }
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
    fake_end(f, &c->call, c->sink);
}

/* Wait until an execute call is held, then end it as the fake is set. */
static inline void fake_let_go(struct fake *f)
{
    struct call_execute *c;

    pthread_mutex_lock(&f->mutex);
    while (!f->held) pthread_cond_wait(&f->changed, &f->mutex);
    c = f->held;
    f->held = NULL;
    pthread_mutex_unlock(&f->mutex);
    fake_end(f, &c->call, c->sink);
}

static inline void fake_wait_calls(struct fake *f, unsigned n)
{
    pthread_mutex_lock(&f->mutex);
    while (f->calls < n) pthread_cond_wait(&f->changed, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
}

static inline void fake_ask(struct fake *f, const char *name, struct call_query *c)
{
    static const char *const levels[] = {"weak", "none", "linearizable", "strong",
                                         "auto"};
    const Rqlite__QueryRequest *m = c->request;

    fake_note(f, "%s %s", name, levels[m->level]);
    fake_common(f, &c->call);
    if (m->transaction) fake_note(f, " tx");
    if (m->noparse) fake_note(f, " noparse");
    if (m->rows) fake_note(f, " rows");
    if (m->qualify_columns) fake_note(f, " qualify");
    if (m->freshness_ns) fake_note(f, " freshness=%lld", (long long)m->freshness_ns);
    if (m->freshness_strict) fake_note(f, " strict");
    if (m->linearizable_timeout_ns)
        fake_note(f, " lin=%lld", (long long)m->linearizable_timeout_ns);
    if (m->db_timeout_ns) fake_note(f, " db_timeout=%lld", (long long)m->db_timeout_ns);
    fake_note_statements(f, m->statements, m->n_statements);
    fake_note(f, "\n");
    fake_end(f, &c->call, c->sink);
}

static inline void fake_query(struct backend *b, struct call_query *c)
{
    fake_ask(fake_of(b), "query", c);
}
static inline void fake_request(struct backend *b, struct call_query *c)
{
    fake_ask(fake_of(b), "request", c);
}
static inline void fake_analyze(struct backend *b, struct call_analyze *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (strncmp(c->sql[i], "SELECT", 6) != 0)
            snprintf(c->errors[i], sizeof c->errors[i], "near \"%s\": syntax error",
                     c->sql[i]);
    fake_end(fake_of(b), &c->call, NULL);
}
static inline void fake_load(struct backend *b, struct call_load *c)
{
    fake_note(fake_of(b), "load %s %llu\n", c->script ? "script" : "file",
              (unsigned long long)c->size);
    fake_end(fake_of(b), &c->call, c->sink);
}

/* The other calls: note the name and end. */
#define FAKE_SIMPLE(name)                                                                \
    static inline void fake_##name(struct backend *b, struct call_##name *c)             \
    {                                                                                    \
        fake_note(fake_of(b), #name);                                                    \
        fake_common(fake_of(b), &c->call);                                               \
        fake_##name##_note(fake_of(b), c);                                               \
        fake_note(fake_of(b), "\n");                                                     \
        fake_end(fake_of(b), &c->call, NULL);                                            \
    }
static inline void fake_boot_note(struct fake *f, struct call_boot *c)
{
    fake_note(f, " %llu", (unsigned long long)c->size);
}
static inline void fake_backup_note(struct fake *f, struct call_backup *c)
{
    fake_note(f, " %d", c->format);
    for (size_t i = 0; c->tables && c->tables[i]; i++) fake_note(f, " %s", c->tables[i]);
}
static inline void fake_nodes_note(struct fake *f, struct call_nodes *c)
{
    if (c->nonvoters) fake_note(f, " nonvoters");
    if (c->leader_only) fake_note(f, " leader");
}
static inline void fake_ready_note(struct fake *f, struct call_ready *c)
{
    if (c->sync) fake_note(f, " sync");
}
static inline void fake_remove_note(struct fake *f, struct call_remove *c)
{
    fake_note(f, " %s", c->id);
}
static inline void fake_step_down_note(struct fake *f, struct call_step_down *c)
{
    fake_note(f, " %s%s", c->id ? c->id : "any", c->wait ? " wait" : "");
}
static inline void fake_snapshot_note(struct fake *f, struct call_snapshot *c)
{
    fake_note(f, " %llu", (unsigned long long)c->trailing);
}
static inline void fake_reap_note(struct fake *f, struct call_reap *c)
{
    (void)f, (void)c;
}
static inline void fake_status_note(struct fake *f, struct call_status *c)
{
    (void)f, (void)c;
}
static inline void fake_join_note(struct fake *f, struct call_join *c)
{
    fake_note(f, " %s %s%s%s", c->id, c->addr, c->voter ? " voter" : "",
              c->notify ? " notify" : "");
}
FAKE_SIMPLE(boot)
FAKE_SIMPLE(backup)
FAKE_SIMPLE(nodes)
FAKE_SIMPLE(ready)
FAKE_SIMPLE(remove)
FAKE_SIMPLE(step_down)
FAKE_SIMPLE(snapshot)
FAKE_SIMPLE(reap)
FAKE_SIMPLE(status)
FAKE_SIMPLE(join)

static inline bool fake_disallowed(struct backend *b, const char *sql, size_t len)
{
    (void)b;
    return len >= 12 && strncmp(sql, "PRAGMA query", 12) == 0;
}
static inline bool fake_has_leader(struct backend *b)
{
    return !fake_of(b)->no_leader;
}

static const struct backend_ops fake_ops = {
    fake_execute,    fake_query,      fake_request, fake_analyze, fake_load,
    fake_boot,       fake_backup,     fake_nodes,   fake_ready,   fake_remove,
    fake_step_down,  fake_snapshot,   fake_reap,    fake_status,  fake_join,
    fake_disallowed, fake_has_leader,
};

static const char *const fake_argv[] = {"rqlited", "-node-id", "1", NULL};

static inline void fake_start(struct fake *f, const struct gateway_options *options)
{
    struct gateway_options o = {0};
    struct why why;

    *f = (struct fake){.backend.ops = &fake_ops};
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->changed, NULL);
    assert_int_equal(metrics_new(&f->metrics), ERR_OK);
    if (options) o = *options;
    o.bind_addr = "127.0.0.1:0";
    o.adv_addr = "127.0.0.1:4001";
    o.threads = 2;
    o.backend = &f->backend;
    o.metrics = f->metrics;
    o.version = "v1.2.3";
    o.scratch_dir = ".";
    o.argv = fake_argv;
    if (gateway_start(&f->gateway, &o, &why)) fail_msg("%s", why.text);
}

static inline void fake_stop(struct fake *f)
{
    gateway_stop(f->gateway, 1000);
    gateway_free(f->gateway);
    metrics_free(f->metrics);
}

/* --- a client --- */

struct answer {
    int status;
    char *all;        /* owned: the whole response, headers first */
    const char *body; /* in all; chunked ones as sent */
    size_t body_len;
};

static inline int client_connect(const struct fake *f)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)gateway_port(f->gateway))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Send it and leave the connection open: the answer is read by client_answer(). */
static inline int client_send(const struct fake *f, const char *method,
                              const char *target, const char *headers, const void *body,
                              size_t len)
{
    char head[8192];
    int fd = client_connect(f);
    int n = snprintf(
        head, sizeof head,
        "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n",
        method, target, headers, len);

    assert_int_equal(send(fd, head, (size_t)n, MSG_NOSIGNAL), n);
    if (len > 0) assert_int_equal(send(fd, body, len, MSG_NOSIGNAL), len);
    return fd;
}

static inline void client_answer(int fd, struct answer *a)
{
    size_t n = 0, cap = 1 << 16;
    ssize_t got;
    char *end;

    a->all = malloc(cap);
    while ((got = recv(fd, a->all + n, cap - n - 1, 0)) > 0) {
        n += (size_t)got;
        if (cap - n < 4096) a->all = realloc(a->all, cap *= 2);
    }
    close(fd);
    a->all[n] = '\0';
    assert_true(n > 12);
    a->status = atoi(a->all + 9);
    end = strstr(a->all, "\r\n\r\n");
    assert_non_null(end);
    a->body = end + 4;
    a->body_len = n - (size_t)(a->body - a->all);
}

/* Value of a response header into out; "" if absent. */
static inline const char *client_header(const struct answer *a, const char *name)
{
    static char out[512];
    size_t len = strlen(name);

    out[0] = '\0';
    for (const char *line = strstr(a->all, "\r\n"); line && line + 4 < a->body;
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) != 0 || line[2 + len] != ':') continue;
        snprintf(out, sizeof out, "%.*s", (int)strcspn(line + 4 + len, "\r"),
                 line + 4 + len);
        break;
    }
    return out;
}

#endif
