/* SPDX-License-Identifier: MIT */
/*
 * One real node, asked by several threads at once, stopped while it is busy, and on a
 * disk that fails: every call is answered once, and what was acknowledged is there.
 */
#include "tests/unit/node/bad_disk.h"
#include "tests/unit/node/one_node.h"

#include <event2/event.h>

#include "core/base/crc32c.h"
#include "core/net/client.h"
#include "core/net/server.h"
#include "core/node/command.h"
#include "core/snapshot/snapshot.h"
#include "proto/raft.pb-c.h"

/* --- threads that ask ------------------------------------------------------------------
 */

enum { WRITERS = 3, BATCH = 8, IDS_MAX = 1 << 16, THREADS = WRITERS + 7 };

struct crowd {
    struct one *o;
    pthread_t threads[THREADS];
    size_t n;
    atomic_bool enough; /* they end */
    atomic_uint next_id, acked, answered;
    atomic_uchar written[IDS_MAX]; /* acknowledged */
    unsigned loads;                /* acknowledged; its own thread's */
};

/* Look at the answer, and drop it. */
static enum err ended(struct crowd *c, struct asked *a)
{
    enum err e = asked_wait(a);

    if (e == ERR_OK && a->sink.failed) e = ERR_SQL;
    if (e) usleep(500); /* a node that refuses is not asked without end */
    atomic_fetch_add(&c->answered, 1);
    asked_free(a);
    return e;
}

static void *writer(void *arg)
{
    struct crowd *c = arg;
    struct asked *a[BATCH];
    unsigned id[BATCH];
    char sql[100];

    while (!atomic_load(&c->enough)) {
        for (size_t i = 0; i < BATCH; i++) {
            id[i] = atomic_fetch_add(&c->next_id, 1) % IDS_MAX;
            snprintf(sql, sizeof sql, "INSERT INTO t(id) VALUES(%u)", id[i]);
            a[i] = execute_asked(sql);
            node_execute(c->o->node, &a[i]->u.execute);
        }
        for (size_t i = 0; i < BATCH; i++) {
            if (ended(c, a[i]) != ERR_OK) continue;
            atomic_store(&c->written[id[i]], 1);
            atomic_fetch_add(&c->acked, 1);
        }
    }
    return NULL;
}

static void *asker(void *arg)
{
    static const Rqlite__Level levels[] = {RQLITE__LEVEL__NONE, RQLITE__LEVEL__WEAK,
                                           RQLITE__LEVEL__STRONG, RQLITE__LEVEL__AUTO,
                                           RQLITE__LEVEL__LINEARIZABLE};
    struct crowd *c = arg;

    for (unsigned i = 0; !atomic_load(&c->enough); i++) {
        struct asked *a =
            query_asked("SELECT count(*), max(id) FROM t", levels[i % 5], false);

        if (i % 7 == 0) a->u.query.request->linearizable_timeout_ns = 2000000;
        node_query(c->o->node, &a->u.query);
        (void)ended(c, a);
    }
    return NULL;
}

static void *requester(void *arg)
{
    struct crowd *c = arg;
    char sql[100];

    for (unsigned i = 0; !atomic_load(&c->enough); i++) {
        unsigned id = atomic_fetch_add(&c->next_id, 1) % IDS_MAX;
        struct asked *a;

        snprintf(sql, sizeof sql,
                 i % 2 ? "INSERT INTO t(id) VALUES(%u) RETURNING id"
                       : "SELECT id FROM t WHERE id = %u",
                 id);
        a = query_asked(sql, i % 3 ? RQLITE__LEVEL__WEAK : RQLITE__LEVEL__LINEARIZABLE,
                        true);
        node_request(c->o->node, &a->u.query);
        if (ended(c, a) == ERR_OK && i % 2) atomic_store(&c->written[id], 1);
    }
    return NULL;
}

static int file_with(const char *text, size_t len)
{
    char path[] = "load-XXXXXX";
    int fd = mkstemp(path);

    CHECK(fd >= 0 && unlink(path) == 0);
    CHECK(write(fd, text, len) == (ssize_t)len);
    return fd;
}

static void *loader(void *arg)
{
    static const char sql[] = "INSERT INTO loads DEFAULT VALUES;";
    struct crowd *c = arg;

    while (!atomic_load(&c->enough)) {
        struct asked *a = asked_new();
        int fd = file_with(sql, strlen(sql));

        a->u.load.script = true;
        a->u.load.fd = fd;
        a->u.load.size = strlen(sql);
        a->u.load.sink = &a->sink.sink;
        node_load(c->o->node, &a->u.load);
        if (ended(c, a) == ERR_OK) c->loads++;
        close(fd);
    }
    return NULL;
}

static void *backer(void *arg)
{
    struct crowd *c = arg;

    for (unsigned i = 0; !atomic_load(&c->enough); i++) {
        struct asked *a = asked_new();

        a->u.backup.format = i % 2 ? DB_BACKUP_SQL : DB_BACKUP_DELETE;
        a->u.call.no_leader = i % 3 == 0;
        node_backup(c->o->node, &a->u.backup);
        if (asked_wait(a) == ERR_OK) close(a->u.backup.fd);
        (void)ended(c, a);
    }
    return NULL;
}

static void *snapshotter(void *arg)
{
    struct crowd *c = arg;

    while (!atomic_load(&c->enough)) {
        struct asked *a = asked_new();

        a->u.snapshot.trailing = 10;
        node_snapshot(c->o->node, &a->u.snapshot);
        (void)ended(c, a);
        a = asked_new();
        node_reap(c->o->node, &a->u.reap);
        (void)ended(c, a);
    }
    return NULL;
}

static void *looker(void *arg)
{
    static const char *const sql[] = {"SELECT 1", "SELEC 1"};
    struct crowd *c = arg;
    char errors[2][256];

    while (!atomic_load(&c->enough)) {
        struct asked *a = asked_new();

        a->u.status.into = doc_object(&a->arena);
        node_status(c->o->node, &a->u.status);
        (void)ended(c, a);
        a = asked_new();
        a->u.nodes.arena = &a->arena;
        node_nodes(c->o->node, &a->u.nodes);
        (void)ended(c, a);
        a = asked_new();
        a->u.ready.sync = true;
        node_ready(c->o->node, &a->u.ready);
        (void)ended(c, a);
        a = asked_new();
        a->u.analyze.sql = sql;
        a->u.analyze.n = 2;
        a->u.analyze.errors = errors;
        node_analyze(c->o->node, &a->u.analyze);
        (void)ended(c, a);
    }
    return NULL;
}

static void crowd_start(struct crowd *c, struct one *o)
{
    void *(*const others[])(void *) = {asker,  asker,       requester, loader,
                                       backer, snapshotter, looker};

    memset(c, 0, sizeof *c);
    c->o = o;
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&c->threads[c->n++], NULL, writer, c), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(pthread_create(&c->threads[c->n++], NULL, others[i], c), 0);
}

static void crowd_end(struct crowd *c)
{
    atomic_store(&c->enough, true);
    for (size_t i = 0; i < c->n; i++)
        assert_int_equal(pthread_join(c->threads[i], NULL), 0);
}

/* Each acknowledged write is there; id is unique, so none is there twice. */
static void crowd_check(struct crowd *c)
{
    char sql[100], expect[40];
    unsigned last = atomic_load(&c->next_id);

    for (unsigned i = 0; i < last && i < IDS_MAX; i++) {
        struct asked *a;

        if (!atomic_load(&c->written[i])) continue;
        snprintf(sql, sizeof sql, "SELECT id FROM t WHERE id = %u", i);
        snprintf(expect, sizeof expect, "%u;", i);
        a = query_asked(sql, RQLITE__LEVEL__NONE, false);
        node_query(c->o->node, &a->u.query);
        assert_int_equal(asked_wait(a), ERR_OK);
        assert_string_equal(a->sink.text, expect);
        asked_free(a);
    }
    snprintf(sql, sizeof sql, "SELECT count(*) >= %u FROM loads", c->loads);
    must_query(c->o, sql, "1;");
    must_query(c->o, "PRAGMA integrity_check", "ok;");
}

static void tables(struct one *o)
{
    must_execute(o, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    must_execute(o, "CREATE TABLE loads(id INTEGER PRIMARY KEY)");
}

static void stop_when_busy(bool on_disk, unsigned rounds)
{
    struct crowd *c = calloc(1, sizeof *c);
    struct one o;

    assert_non_null(c);
    for (unsigned i = 0; i < rounds; i++) {
        one_begin(&o);
        o.on_disk = on_disk;
        o.snapshot_entries = i % 2 ? 200 : 100000;
        one_up(&o);
        tables(&o);
        crowd_start(c, &o);
        WAIT_FOR(atomic_load(&c->acked) > 200);
        node_stop(o.node);
        crowd_end(c);
        one_down(&o);
        assert_int_equal(atomic_load(&o.fatal), 0);
        one_up(&o);
        crowd_check(c);
        one_end(&o);
    }
    free(c);
}

static void a_busy_node_stops_and_keeps_what_it_acknowledged(void **state)
{
    (void)state;
    stop_when_busy(false, 4);
}

static void so_it_does_with_its_database_on_disk(void **state)
{
    (void)state;
    stop_when_busy(true, 4);
}

/* --- bad disks
 * --------------------------------------------------------------------------- */

static void fail_when_busy(bool on_disk, bool sync, int in)
{
    struct crowd *c = calloc(1, sizeof *c);
    struct disk disk;
    struct asked *a;
    struct one o;

    assert_non_null(c);
    disk_init(&disk);
    one_begin(&o);
    o.on_disk = on_disk;
    o.io = &disk.io;
    one_up(&o);
    tables(&o);
    crowd_start(c, &o);
    WAIT_FOR(atomic_load(&c->acked) > 100);
    atomic_store(sync ? &disk.sync_in : &disk.write_in, in);
    WAIT_FOR(atomic_load(&o.fatal) > 0);
    a = execute_asked("INSERT INTO t(id) VALUES(-1)");
    node_execute(o.node, &a->u.execute);
    assert_int_equal(asked_wait(a), ERR_NOT_OPEN);
    asked_free(a);
    assert_false(node_has_leader(o.node));
    crowd_end(c);
    node_stop(o.node);
    assert_int_equal(atomic_load(&o.fatal), 1);
    assert_non_null(strstr(o.why.text, sync ? "Input/output error" : "No space left"));
    one_down(&o);
    o.io = io_real();
    one_up(&o);
    crowd_check(c);
    one_end(&o);
    free(c);
}

static void a_failed_sync_stops_the_node_and_loses_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) fail_when_busy(i % 2, true, i);
}

static void a_full_disk_stops_the_node_and_loses_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) fail_when_busy(i % 2, false, i);
}

/* --- a member of three whose other two are this test ----------------------------------
 */

struct errand {
    struct mail mail;
    void (*run)(struct node *n, void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void run_errand(struct mail *m, void *node)
{
    struct errand *e = LIST_ITEM(m, struct errand, mail);

    e->run(node, e->arg);
    pthread_mutex_lock(&e->lock);
    e->done = true;
    pthread_cond_signal(&e->cond);
    pthread_mutex_unlock(&e->lock);
}

/* On the node thread; what it does is not durable yet when this returns, but before the
 * next one runs. */
static void on_node(struct one *o, void (*run)(struct node *n, void *arg), void *arg)
{
    struct errand e = {.run = run,
                       .arg = arg,
                       .lock = PTHREAD_MUTEX_INITIALIZER,
                       .cond = PTHREAD_COND_INITIALIZER};

    assert_true(node_post(o->node, &e.mail, run_errand));
    pthread_mutex_lock(&e.lock);
    while (!e.done) pthread_cond_wait(&e.cond, &e.lock);
    pthread_mutex_unlock(&e.lock);
}

static void give_message(struct node *n, void *arg)
{
    struct raft_message *m = arg;

    strcpy(m->to, "1");
    m->sent_ms = node_now_ms(n);
    member_message(n->member, m, m->sent_ms);
}

static void turn_over(struct node *n, void *arg)
{
    (void)n;
    (void)arg;
}

static void from(struct one *o, const char *id, struct raft_message m)
{
    on_node(o, turn_over, NULL); /* what was asked before is in the log */
    strcpy(m.from, id);
    on_node(o, give_message, &m);
}

/* Node 1 of 1, 2 and 3, with time-outs longer than any test. */
static void three_begin(struct one *o)
{
    struct node_options no;
    struct raft_config c;
    struct why why = {0};

    one_begin(o);
    no = one_options(o);
    no.heartbeat_ms = no.election_ms = no.lease_ms = 120000;
    no.snapshot_interval_ns = 3600000000000;
    if (node_open(&o->node, &no, &why)) fail_msg("open: %s", why.text);
    if (node_start(o->node, &why)) fail_msg("start: %s", why.text);
    raft_config_init(&c);
    for (int i = 1; i <= 3; i++) {
        char id[2] = {(char)('0' + i), 0};

        assert_int_equal(raft_config_put(&c, id, i == 1 ? "127.0.0.1:4002" : id, true),
                         ERR_OK);
    }
    assert_int_equal(node_bootstrap_as(o->node, &c, 7, &why), ERR_OK);
    raft_config_fini(&c);
}

static struct node_progress progress(struct one *o)
{
    struct node_progress p;

    node_progress(o->node, &p);
    return p;
}

/* It leads in term 3; entry 2 is the first of its own, and committed. */
static void three_lead(struct one *o)
{
    from(o, "2",
         (struct raft_message){.type = RAFT_MSG_APPEND,
                               .term = 2,
                               .prev_index = 1,
                               .prev_term = 1,
                               .commit = 1});
    from(o, "2", (struct raft_message){.type = RAFT_MSG_TIMEOUT_NOW, .term = 2});
    from(o, "3",
         (struct raft_message){.type = RAFT_MSG_VOTE_REPLY, .term = 3, .granted = true});
    WAIT_FOR(node_is_leader(o->node));
    from(o, "3",
         (struct raft_message){
             .type = RAFT_MSG_APPEND_REPLY, .term = 3, .accepted = true, .match = 2});
    WAIT_FOR(progress(o).commit_index == 2);
}

static void a_read_is_not_confirmed_by_what_an_earlier_one_asked(void **state)
{
    struct one o;
    struct asked *a, *b;

    (void)state;
    three_begin(&o);
    three_lead(&o);
    a = query_asked("SELECT 1", RQLITE__LEVEL__LINEARIZABLE, false);
    node_query(o.node, &a->u.query); /* the first goes through the log */
    from(&o, "3",
         (struct raft_message){
             .type = RAFT_MSG_APPEND_REPLY, .term = 3, .accepted = true, .match = 3});
    assert_int_equal(asked_wait(a), ERR_OK);
    asked_free(a);

    a = query_asked("SELECT 1", RQLITE__LEVEL__LINEARIZABLE, false);
    a->u.query.request->linearizable_timeout_ns = 1000000;
    node_query(o.node, &a->u.query);
    assert_int_equal(asked_wait(a), ERR_TIMEOUT);

    /* Another call in the same memory; then the answer to the first one's round. */
    b = a;
    b->done = 0;
    memset(&b->u.call.why, 0, sizeof b->u.call.why);
    b->u.query.request->linearizable_timeout_ns = 100000000000;
    node_query(o.node, &b->u.query);
    from(&o, "3",
         (struct raft_message){.type = RAFT_MSG_APPEND_REPLY,
                               .term = 3,
                               .accepted = true,
                               .match = 3,
                               .read = 1});
    from(&o, "2",
         (struct raft_message){.type = RAFT_MSG_APPEND,
                               .term = 4,
                               .prev_index = 3,
                               .prev_term = 3,
                               .commit = 3});
    assert_int_equal(asked_wait(b), ERR_NOT_LEADER);
    asked_free(b);
    one_end(&o);
}

static void a_change_that_another_leader_overwrote_is_not_told_as_made(void **state)
{
    struct raft_entry e = {.index = 3, .term = 4, .type = RAFT_ENTRY_NOOP};
    struct asked *a = asked_new();
    struct one o;

    (void)state;
    three_begin(&o);
    three_lead(&o);
    a->u.remove.id = "3";
    node_remove(o.node, &a->u.remove);
    WAIT_FOR(progress(&o).last_index == 3); /* of term 3 */
    from(&o, "2",
         (struct raft_message){.type = RAFT_MSG_APPEND,
                               .term = 4,
                               .prev_index = 2,
                               .prev_term = 3,
                               .commit = 3,
                               .entries = &e,
                               .n_entries = 1});
    assert_int_equal(asked_wait(a), ERR_LEADERSHIP_LOST);
    asked_free(a);
    one_end(&o);
}

static struct blob *taken_in_1970(const char *sql)
{
    Rqlite__ExecuteRequest x = RQLITE__EXECUTE_REQUEST__INIT;
    struct arena a;
    struct blob *b;

    arena_init(&a, 0);
    x.n_statements = 1;
    x.statements = one_statement(&a, sql);
    b = pb_pack(&x.base, CALL_SPARE);
    assert_non_null(b);
    command_seal(b, 1, 1);
    arena_fini(&a);
    return b;
}

static enum err read_fresh(struct one *o, bool strict)
{
    struct asked *a = query_asked("SELECT 1", RQLITE__LEVEL__NONE, false);
    enum err e;

    a->u.query.request->freshness_ns = 3600000000000;
    a->u.query.request->freshness_strict = strict;
    node_query(o->node, &a->u.query);
    e = asked_wait(a);
    asked_free(a);
    return e;
}

static void a_follower_that_lags_behind_what_it_has_is_stale_if_asked(void **state)
{
    struct raft_entry e[2] = {
        {.index = 2, .term = 2, .type = COMMAND_EXECUTE},
        {.index = 3, .term = 2, .type = COMMAND_EXECUTE},
    };
    struct raft_message m = {.type = RAFT_MSG_APPEND,
                             .term = 2,
                             .prev_index = 1,
                             .prev_term = 1,
                             .commit = 2,
                             .entries = e,
                             .n_entries = 2};
    struct one o;

    (void)state;
    e[0].payload = taken_in_1970("CREATE TABLE t(id)");
    e[1].payload = taken_in_1970("INSERT INTO t VALUES(1)");
    three_begin(&o);
    from(&o, "2", m);
    WAIT_FOR(applier_index(o.node->applier) == 2);
    WAIT_FOR(read_fresh(&o, true) == ERR_STALE); /* it takes decades, and more is here */
    assert_int_equal(read_fresh(&o, false), ERR_OK);
    m.commit = 3;
    from(&o, "2", m);
    WAIT_FOR(applier_index(o.node->applier) == 3);
    assert_int_equal(read_fresh(&o, true), ERR_OK);
    one_end(&o);
    blob_unref(e[0].payload);
    blob_unref(e[1].payload);
}

/* --- one thing at a time
 * ----------------------------------------------------------------- */

static void a_request_that_comes_again_is_not_told_how_it_went_before(void **state)
{
    struct asked *a = query_asked("CREATE TABLE t(id)", RQLITE__LEVEL__WEAK, true);
    struct why why = {0};
    struct one o;

    (void)state;
    one_begin(&o);
    one_open(&o);
    node_request(o.node, &a->u.query); /* nobody leads yet */
    assert_int_equal(asked_wait(a), ERR_NO_LEADER);
    if (node_bootstrap(o.node, &why)) fail_msg("bootstrap: %s", why.text);
    assert_true(node_wait_ready(o.node, WAIT_MS));
    a->done = 0;
    a->u.call.why = (struct why){0};
    node_request(o.node, &a->u.query);
    assert_int_equal(asked_wait(a), ERR_OK);
    asked_free(a);
    must_query(&o, "SELECT count(*) FROM t", "0;");
    one_end(&o);
}

/* It would be in the leader's log, and never reach another node. */
static void what_fits_no_message_to_another_node_stays_out_of_the_log(void **state)
{
    const size_t size = (size_t)CALL_ENTRY_MAX + 1;
    struct asked *a = asked_new();
    int fd = file_with("", 0);
    struct one o;

    (void)state;
    one_begin(&o);
    one_up(&o);
    a->u.execute.request = blob_new(size + CALL_SPARE);
    assert_non_null(a->u.execute.request);
    a->u.execute.request->len = (uint32_t)size;
    a->u.execute.sink = &a->sink.sink;
    node_execute(o.node, &a->u.execute);
    assert_int_equal(asked_wait(a), ERR_TOO_BIG);
    asked_free(a);
    a = asked_new();
    a->u.load.script = true;
    a->u.load.fd = fd;
    a->u.load.size = size;
    a->u.load.sink = &a->sink.sink;
    node_load(o.node, &a->u.load);
    assert_int_equal(asked_wait(a), ERR_TOO_BIG);
    asked_free(a);
    close(fd);
    one_end(&o);
}

static void propose_as(struct one *o, struct asked *a, const ProtobufCMessage *m,
                       uint8_t type)
{
    a->u.execute.request = pb_pack(m, CALL_SPARE);
    assert_non_null(a->u.execute.request);
    node_propose(o->node, &a->u.execute, type);
}

static void take_deadline(struct node *n, void *arg)
{
    *(uint64_t *)arg = member_deadline_ms(n->member);
}

static void an_entry_that_cannot_be_applied_stops_the_node(void **state)
{
    Rqlite__ExecuteRequest x = RQLITE__EXECUTE_REQUEST__INIT;
    struct asked *a = asked_new();
    struct one o;

    (void)state;
    one_begin(&o);
    one_up(&o);
    must_execute(&o, "CREATE TABLE t(id)");
    propose_as(&o, a, &x.base, 77);
    assert_int_equal(asked_wait(a), ERR_UNSUPPORTED);
    asked_free(a);
    WAIT_FOR(atomic_load(&o.fatal) == 1);
    a = execute_asked("INSERT INTO t VALUES(1)");
    node_execute(o.node, &a->u.execute);
    assert_int_equal(asked_wait(a), ERR_NOT_OPEN);
    asked_free(a);
    one_down(&o);
    assert_int_equal(atomic_load(&o.fatal), 1);
    one_open(&o); /* it is not skipped the next time, either */
    WAIT_FOR(atomic_load(&o.fatal) == 2);
    one_end(&o);
}

static void a_leader_that_cannot_apply_leads_no_longer(void **state)
{
    Rqlite__ExecuteRequest x = RQLITE__EXECUTE_REQUEST__INIT;
    struct asked *a = asked_new();
    uint64_t deadline = 0;
    struct one o;

    (void)state;
    three_begin(&o);
    three_lead(&o);
    propose_as(&o, a, &x.base, 77);
    from(&o, "3",
         (struct raft_message){
             .type = RAFT_MSG_APPEND_REPLY, .term = 3, .accepted = true, .match = 3});
    assert_int_equal(asked_wait(a), ERR_UNSUPPORTED);
    asked_free(a);
    WAIT_FOR(atomic_load(&o.fatal) == 1);
    on_node(&o, take_deadline, &deadline);
    assert_true(deadline == UINT64_MAX); /* no heartbeat is due any more */
    one_end(&o);
}

static void a_node_recovers_from_a_log_that_ends_within_a_load(void **state)
{
    Rqlite__LoadChunk chunk = RQLITE__LOAD_CHUNK__INIT;
    struct asked *a = asked_new();
    struct node_options no;
    struct raft_config c;
    struct why why = {0};
    struct one o;

    (void)state;
    one_begin(&o);
    one_up(&o);
    must_execute(&o, "CREATE TABLE t(id)");
    chunk.load = 5;
    chunk.data.data = (uint8_t *)(uintptr_t) "SQLite";
    chunk.data.len = 6;
    propose_as(&o, a, &chunk.base, COMMAND_LOAD);
    assert_int_equal(asked_wait(a), ERR_OK);
    asked_free(a);
    one_down(&o);
    no = one_options(&o);
    raft_config_init(&c);
    assert_int_equal(raft_config_put(&c, "1", "127.0.0.1:4002", true), ERR_OK);
    if (node_recover(&no, &c, &why)) fail_msg("recover: %s", why.text);
    raft_config_fini(&c);
    one_up(&o);
    must_query(&o, "SELECT count(*) FROM t", "0;");
    one_end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_is_not_confirmed_by_what_an_earlier_one_asked),
        cmocka_unit_test(a_change_that_another_leader_overwrote_is_not_told_as_made),
        cmocka_unit_test(a_follower_that_lags_behind_what_it_has_is_stale_if_asked),
        cmocka_unit_test(a_request_that_comes_again_is_not_told_how_it_went_before),
        cmocka_unit_test(what_fits_no_message_to_another_node_stays_out_of_the_log),
        cmocka_unit_test(a_leader_that_cannot_apply_leads_no_longer),
        cmocka_unit_test(an_entry_that_cannot_be_applied_stops_the_node),
        cmocka_unit_test(a_node_recovers_from_a_log_that_ends_within_a_load),
        cmocka_unit_test(a_busy_node_stops_and_keeps_what_it_acknowledged),
        cmocka_unit_test(so_it_does_with_its_database_on_disk),
        cmocka_unit_test(a_failed_sync_stops_the_node_and_loses_nothing),
        cmocka_unit_test(a_full_disk_stops_the_node_and_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
