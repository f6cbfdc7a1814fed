/* SPDX-License-Identifier: MIT */
/*
 * A node made of core/net alone, on a thread of its own, whose statements are orders:
 *
 *     echo              a row of the parameters, and a column for each
 *     write             counts as applied
 *     fail, top         the statement, or the request, fails
 *     many N            N rows of a KiB, as fast as they are taken
 *     break N           the same, but the connection breaks in the middle
 *     hang              no answer
 *     lose              applied, but the connection breaks before the answer
 *     vanish            the same, and nobody listens any more
 *     forget            the connection breaks, and the repeat finds nothing known
 *     refuse            refused once: another node leads
 *     garbage           a row without columns
 */
#ifndef TESTS_UNIT_CLIENT_FAKE_H
#define TESTS_UNIT_CLIENT_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/net/server.h"
#include "proto/cluster.pb-c.h"

enum { FAKE_IDS = 64, FAKE_ROW_BYTES = 1024 };

struct fake_options {
    struct net_limits limits;
    struct tls *tls; /* borrowed; NULL: clear text */
    bool no_cluster; /* doesn't know Cluster.Info */
};

struct fake {
    struct fake_options o;
    pthread_t thread;
    struct event_base *base;
    struct net *net;
    struct net_server *server; /* NULL: down */
    int wake;
    struct event *woken, *breaking;
    void (*job)(struct fake *f);
    sem_t done;
    bool over, vanish;

    char address[32];
    char leader[64]; /* what Info says; set through fake_set_leader() */
    const char *new_leader;
    char user[64], password[64]; /* of the last call */
    uint64_t ids[FAKE_IDS][2];   /* of writes, as they came */
    bool refused;
    int64_t lost; /* answer of "lose" */

    atomic_int calls, applied, infos, gone, repeats;
    atomic_size_t rows_sent, n_ids;
};

/* --- what it answers -------------------------------------------------------------- */

struct fake_stream { /* of "many" and "break" */
    struct fake *f;
    size_t left, break_at;
};

static inline void fake_break(struct fake *f)
{
    event_active(f->breaking, EV_TIMEOUT, 1);
}

static inline void fake_send(struct net_call *c, Rqlite__Event *events, size_t n,
                             bool done)
{
    Rqlite__Results m = RQLITE__RESULTS__INIT;
    Rqlite__Event *p[8];

    assert_true(n <= 8);
    for (size_t i = 0; i < n; i++) p[i] = &events[i];
    m.n_events = n;
    m.events = p;
    m.done = done;
    m.raft_index = done ? 77 : 0;
    assert_int_equal(net_call_send(c, &m.base), ERR_OK);
}

static inline Rqlite__Event fake_event(Rqlite__Event__KindCase kind)
{
    Rqlite__Event e = RQLITE__EVENT__INIT;

    e.kind_case = kind;
    return e;
}

static inline void fake_columns(struct net_call *c, size_t n)
{
    Rqlite__Event e = fake_event(RQLITE__EVENT__KIND_COLUMNS);
    Rqlite__Columns columns = RQLITE__COLUMNS__INIT;
    Rqlite__Column all[32], *p[32];
    char names[32][24], declared[] = "VARCHAR(10)";

    for (size_t i = 0; i < n; i++) {
        rqlite__column__init(&all[i]);
        snprintf(names[i], sizeof names[i], "c%zu", i);
        all[i].name = names[i];
        all[i].has_declared = i % 2 == 0;
        if (i % 2 == 0) all[i].declared = declared;
        p[i] = &all[i];
    }
    columns.n_columns = n;
    columns.columns = p;
    e.columns = &columns;
    fake_send(c, &e, 1, false);
}

static inline void fake_row(struct net_call *c, Rqlite__Value **values, size_t n)
{
    Rqlite__Event e = fake_event(RQLITE__EVENT__KIND_ROW);
    Rqlite__Row row = RQLITE__ROW__INIT;

    row.n_values = n;
    row.values = values;
    e.row = &row;
    fake_send(c, &e, 1, false);
}

static inline void fake_rows_end(struct net_call *c, bool done)
{
    Rqlite__Event e = fake_event(RQLITE__EVENT__KIND_ROWS_END_NS);

    e.rows_end_ns = 5;
    fake_send(c, &e, 1, done);
}

static inline void fake_written(struct net_call *c, int64_t id)
{
    Rqlite__Event e = fake_event(RQLITE__EVENT__KIND_WRITTEN);
    Rqlite__Written written = RQLITE__WRITTEN__INIT;

    written.last_insert_id = id;
    written.rows_affected = 1;
    written.elapsed_ns = 9;
    e.written = &written;
    fake_send(c, &e, 1, false);
}

static inline void fake_pump(struct net_call *c)
{
    struct fake_stream *s = net_call_user(c);
    static uint8_t bytes[FAKE_ROW_BYTES];
    Rqlite__Value value = RQLITE__VALUE__INIT, *p = &value;

    value.kind_case = RQLITE__VALUE__KIND_BLOB;
    value.blob.data = bytes;
    value.blob.len = sizeof bytes;
    while (s->left > 0 && net_call_writable(c)) {
        fake_row(c, &p, 1);
        atomic_fetch_add(&s->f->rows_sent, 1);
        if (--s->left == s->break_at) {
            fake_break(s->f);
            return;
        }
    }
    if (s->left > 0 || !net_call_writable(c)) return;
    fake_rows_end(c, true);
    net_call_end(c, ERR_OK, NULL);
}

static inline void fake_on_gone(struct net_call *c)
{
    struct fake *f = net_call_service_arg(c);

    atomic_fetch_add(&f->gone, 1);
    net_call_end(c, ERR_OK, NULL);
}

static const struct net_call_events fake_call_events = {.on_gone = fake_on_gone};
static const struct net_call_events fake_stream_events = {.on_gone = fake_on_gone,
                                                          .on_writable = fake_pump};

static inline void fake_failed(struct net_call *c, bool request)
{
    static char text[] = "no such table: x";
    Rqlite__Event e = fake_event(request ? RQLITE__EVENT__KIND_REQUEST_FAILED
                                         : RQLITE__EVENT__KIND_FAILED);
    Rqlite__Failed failed = RQLITE__FAILED__INIT;
    ProtobufCBinaryData words = {.len = strlen(text), .data = (uint8_t *)text};

    failed.text = words;
    if (request)
        e.request_failed = words;
    else
        e.failed = &failed;
    fake_send(c, &e, 1, false);
}

/* False: the call is not over when all statements are. */
static inline bool fake_obey(struct fake *f, struct net_call *c,
                             const Rqlite__Statement *s, bool repeat)
{
    Rqlite__Value *values[32];
    struct fake_stream *stream;
    size_t n = 0;

    if (strcmp(s->sql, "echo") == 0) {
        for (; n < s->n_parameters; n++) values[n] = s->parameters[n]->value;
        fake_columns(c, n);
        fake_row(c, values, n);
        fake_rows_end(c, false);
    } else if (strcmp(s->sql, "write") == 0) {
        fake_written(c, atomic_fetch_add(&f->applied, 1) + 1);
    } else if (strcmp(s->sql, "lose") == 0 && repeat) {
        fake_written(c, f->lost);
    } else if (strcmp(s->sql, "fail") == 0 || strcmp(s->sql, "top") == 0) {
        fake_failed(c, s->sql[0] == 't');
    } else if (strcmp(s->sql, "garbage") == 0) {
        fake_row(c, NULL, 0);
    } else if (sscanf(s->sql, "many %zu", &n) == 1 ||
               sscanf(s->sql, "break %zu", &n) == 1) {
        stream = arena_alloc(net_call_arena(c), sizeof *stream);
        *stream = (struct fake_stream){f, n, s->sql[0] == 'b' ? n / 2 : SIZE_MAX};
        net_call_listen(c, &fake_stream_events, stream);
        fake_columns(c, 1);
        fake_pump(c);
        return false;
    } else if (strcmp(s->sql, "forget") == 0 && repeat) {
        net_call_end(c, ERR_LEADERSHIP_LOST, "nobody knows");
        return false;
    } else if (strcmp(s->sql, "refuse") == 0) {
        if (f->refused) {
            fake_written(c, 5);
        } else {
            f->refused = true;
            net_call_refuse(c, ERR_NOT_LEADER, "not leader");
            return false;
        }
    } else {
        net_call_listen(c, &fake_call_events, NULL);
        f->vanish = strcmp(s->sql, "vanish") == 0;
        if (strcmp(s->sql, "lose") == 0 || f->vanish)
            f->lost = atomic_fetch_add(&f->applied, 1) + 1;
        if (strcmp(s->sql, "hang") != 0) fake_break(f);
        return false;
    }
    return true;
}

static inline void fake_statements(struct net_call *c, Rqlite__Statement **statements,
                                   size_t n)
{
    struct fake *f = net_call_service_arg(c);
    const struct net_meta *meta = net_call_meta(c);
    bool repeat = (meta->call_id[1] >> 23 & 1) != 0;
    size_t i = atomic_load(&f->n_ids);

    snprintf(f->user, sizeof f->user, "%s", meta->user ? meta->user : "");
    snprintf(f->password, sizeof f->password, "%s", meta->password ? meta->password : "");
    if (meta->call_id[0] && i < FAKE_IDS) {
        memcpy(f->ids[i], meta->call_id, sizeof f->ids[i]);
        atomic_store(&f->n_ids, i + 1);
    }
    if (repeat) atomic_fetch_add(&f->repeats, 1);
    atomic_fetch_add(&f->calls, 1);
    if (strcmp(f->user, "mallory") == 0) {
        net_call_refuse(c, ERR_UNAUTHORIZED, "unauthorized");
        return;
    }
    for (i = 0; i < n; i++)
        if (!fake_obey(f, c, statements[i], repeat)) return;
    fake_send(c, NULL, 0, true);
    net_call_end(c, ERR_OK, NULL);
}

static inline void fake_execute(struct net_call *c, const ProtobufCMessage *message)
{
    const Rqlite__ExecuteRequest *m = (const void *)message;

    fake_statements(c, m->statements, m->n_statements);
}

static inline void fake_query(struct net_call *c, const ProtobufCMessage *message)
{
    const Rqlite__QueryRequest *m = (const void *)message;

    fake_statements(c, m->statements, m->n_statements);
}

static inline void fake_script(struct net_call *c, const ProtobufCMessage *message)
{
    const Rqlite__ScriptRequest *m = (const void *)message;

    fake_written(c, (int64_t)m->sql.len);
    fake_send(c, NULL, 0, true);
    net_call_end(c, ERR_OK, NULL);
}

static inline void fake_info(struct net_call *c, const ProtobufCMessage *message)
{
    struct fake *f = net_call_service_arg(c);
    Rqlite__NodeInfo info = RQLITE__NODE_INFO__INIT;

    (void)message;
    atomic_fetch_add(&f->infos, 1);
    info.leader_addr = f->leader;
    net_call_reply(c, &info.base);
}

static const struct net_method fake_database[NET_DATABASE_METHODS] = {
    [NET_DATABASE_EXECUTE] = {.on_call = fake_execute},
    [NET_DATABASE_QUERY] = {.on_call = fake_query},
    [NET_DATABASE_SCRIPT] = {.on_call = fake_script},
};
static const struct net_method fake_cluster[NET_CLUSTER_METHODS] = {
    [NET_CLUSTER_INFO] = {.on_call = fake_info},
};

/* --- up and down ------------------------------------------------------------------ */

static inline void fake_up(struct fake *f)
{
    struct why why;

    if (f->server) return;
    assert_int_equal(net_server_new(&f->server, f->net, NULL, &why), ERR_OK);
    assert_int_equal(net_server_add(f->server, &net_service_database, fake_database, f),
                     ERR_OK);
    if (!f->o.no_cluster)
        assert_int_equal(net_server_add(f->server, &net_service_cluster, fake_cluster, f),
                         ERR_OK);
    if (net_server_listen(f->server, f->address[0] ? f->address : "127.0.0.1:0", &why))
        fail_msg("%s", why.text);
    snprintf(f->address, sizeof f->address, "127.0.0.1:%u", net_server_port(f->server));
}

static inline void fake_down(struct fake *f)
{
    net_server_free(f->server);
    f->server = NULL;
}

static inline void fake_on_break(evutil_socket_t fd, short what, void *arg)
{
    struct fake *f = arg;

    (void)fd;
    (void)what;
    fake_down(f);
    if (!f->vanish) fake_up(f);
}

static inline void fake_on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct fake *f = arg;
    uint64_t n;

    (void)what;
    if (read(fd, &n, sizeof n) != sizeof n) return;
    if (f->job) f->job(f);
    sem_post(&f->done);
}

static inline void *fake_main(void *arg)
{
    struct fake *f = arg;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE); /* whatever a test has the process do about it */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    while (!f->over) event_base_loop(f->base, EVLOOP_ONCE);
    return NULL;
}

/* Have job run on its thread. */
static inline void fake_do(struct fake *f, void (*job)(struct fake *f))
{
    uint64_t one = 1;

    f->job = job;
    assert_int_equal(write(f->wake, &one, sizeof one), sizeof one);
    while (sem_wait(&f->done) != 0) {
    }
}

/* Down, and its connections are seen to be closed. */
static inline void fake_kill(struct fake *f)
{
    fake_do(f, fake_down);
    fake_do(f, NULL);
}

static inline void fake_apply_leader(struct fake *f)
{
    snprintf(f->leader, sizeof f->leader, "%s", f->new_leader);
}

static inline void fake_set_leader(struct fake *f, const char *address)
{
    f->new_leader = address;
    fake_do(f, fake_apply_leader);
}

static inline void fake_open(struct fake *f, const struct fake_options *o)
{
    struct net_options n = {.identity = {7, "1", "localhost:4002", "v1.0.0"}};
    struct why why;

    signal(SIGPIPE, SIG_IGN); /* of the server's side; the client's sees to its own */
    memset(f, 0, sizeof *f);
    if (o) f->o = *o;
    f->base = event_base_new();
    n.base = f->base;
    n.limits = f->o.limits;
    n.tls = f->o.tls;
    assert_int_equal(net_new(&f->net, &n, &why), ERR_OK);
    f->wake = eventfd(0, EFD_CLOEXEC);
    f->woken = event_new(f->base, f->wake, EV_READ | EV_PERSIST, fake_on_wake, f);
    f->breaking = event_new(f->base, -1, 0, fake_on_break, f);
    event_add(f->woken, NULL);
    sem_init(&f->done, 0, 0);
    fake_up(f);
    snprintf(f->leader, sizeof f->leader, "%s", f->address);
    assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
}

static inline void fake_stop(struct fake *f)
{
    f->over = true;
}

static inline void fake_close(struct fake *f)
{
    fake_do(f, fake_stop);
    pthread_join(f->thread, NULL);
    fake_down(f);
    net_free(f->net);
    event_free(f->woken);
    event_free(f->breaking);
    event_base_free(f->base);
    close(f->wake);
    sem_destroy(&f->done);
}

#endif
