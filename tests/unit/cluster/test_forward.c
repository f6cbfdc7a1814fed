/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <signal.h>

#include "tests/unit/cluster/nodes.h"

#define COUNT(n)                                                                         \
    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<" #n           \
    ") SELECT i, printf('%.100c', 'x') FROM c"

/* --- statements ------------------------------------------------------------------- */

static void a_write_through_a_follower_is_answered_as_by_the_leader(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0), *l = leader_of(s);
    struct asked *a;

    expect(execute_on(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)"), "{0,0}");
    a = execute_on(f, "INSERT INTO t(v) VALUES('a')");
    assert_string_equal(a->u.call.served_by, l->addr);
    assert_true(a->u.execute.raft_index > 0);
    expect(a, "{1,1}");
    a = execute_on(l, "INSERT INTO t(v) VALUES('b')");
    assert_string_equal(a->u.call.served_by, l->http);
    expect(a, "{2,1}");
    expect(execute_on(f, "INSERT INTO nope VALUES(1)"), "<w:no such table: nope>");
    expect(execute_on(f, "DROP TABLE t"), "{2,1}");
    assert_true(metrics_get(f->metrics, METRIC_proxy_remote_executions) >= 4);
    assert_int_equal(metrics_get(f->metrics, METRIC_proxy_remote_executions_failed), 0);
    assert_true(metrics_get(l->metrics, METRIC_cluster_num_execute_req) >= 4);
}

static void reads_of_every_level_come_through_a_follower(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 1), *l = leader_of(s);
    struct asked *a;

    asked_free(execute_on(l, "CREATE TABLE r(id INTEGER PRIMARY KEY, v TEXT)"));
    expect(execute_on(l, "INSERT INTO r VALUES(7,'\xc3\xa9'),(8,x'00ff'),(9,NULL)"),
           "{9,3}");
    expect(query_on(f, "SELECT * FROM r", RQLITE__LEVEL__WEAK),
           "[id:INTEGER,v:TEXT](7,'\\c3\\a9')(8,x'00ff')(9,null).");
    expect(query_on(f, "SELECT count(*) FROM r", RQLITE__LEVEL__LINEARIZABLE),
           "[count(*):-](3).");
    a = query_on(f, "SELECT count(*) FROM r", RQLITE__LEVEL__STRONG);
    assert_true(a->u.query.went_through_log);
    assert_string_equal(a->u.call.served_by, l->addr);
    expect(a, "[count(*):-](3).");
    a = query_on(f, "SELECT 1", RQLITE__LEVEL__NONE);
    assert_string_equal(a->u.call.served_by, f->http);
    expect(a, "[1:-](1).");
    expect(query_on(f, "SELECT * FROM nope", RQLITE__LEVEL__WEAK),
           "<r:no such table: nope>");
    expect(execute_on(f, "DROP TABLE r"), "{9,3}");
}

static void a_request_may_read_or_write(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    struct asked *a;

    asked_free(request_on(f, "CREATE TABLE q(id INTEGER PRIMARY KEY)"));
    expect(request_on(f, "INSERT INTO q VALUES(5) RETURNING id"), "[id:INTEGER](5).");
    expect(request_on(f, "SELECT id FROM q"), "[id:INTEGER](5).");
    a = query_asked("INSERT INTO q VALUES(6)", RQLITE__LEVEL__NONE, true);
    cluster_request(f->cluster, &a->u.query); /* looked at here, carried out there */
    asked_wait(a);
    assert_true(a->u.query.went_through_log);
    expect(a, "{6,1}");
    expect(request_on(f, "DROP TABLE q"), "{6,1}");
}

static void many_rows_arrive_in_order_at_a_slow_sink(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    struct asked *a = query_asked(COUNT(100000), RQLITE__LEVEL__WEAK, false);

    a->sink.quiet = true;
    a->sink.slow_us = 200;
    cluster_query(f->cluster, &a->u.query);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_OK);
    assert_int_equal(a->sink.rows, 100000);
    assert_int_equal(a->sink.bytes, 100000 * 100);
    asked_free(a);
    expect(query_on(f,
                    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c "
                    "WHERE i<3) SELECT i FROM c",
                    RQLITE__LEVEL__WEAK),
           "[i:-](1)(2)(3).");
}

static void what_goes_through_the_log_is_not_bounded_by_a_window(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    struct asked *a = query_asked(COUNT(50000), RQLITE__LEVEL__STRONG, false);

    a->sink.quiet = true;
    cluster_query(f->cluster, &a->u.query);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_OK);
    assert_int_equal(a->sink.rows, 50000);
    asked_free(a);
}

static void a_sink_that_wants_no_more_ends_the_read(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    struct asked *a = query_asked(COUNT(1000000000), RQLITE__LEVEL__WEAK, false);

    a->sink.quiet = true;
    a->sink.stop_after = 1000;
    cluster_query(f->cluster, &a->u.query);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_OK);
    assert_int_equal(a->sink.rows, 1000);
    asked_free(a);
}

static void a_read_that_takes_too_long_is_given_up_on_both_sides(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    struct asked *a = query_asked("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 "
                                  "FROM c WHERE i<100000000000) SELECT count(*) FROM c",
                                  RQLITE__LEVEL__WEAK, false);

    a->u.call.timeout_ns = 100000000;
    cluster_query(f->cluster, &a->u.query);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_TIMEOUT);
    assert_true(a->u.call.top_level);
    assert_string_equal(a->u.call.served_by, "");
    asked_free(a);
}

static void many_calls_at_once_get_each_its_own_answer(void **state)
{
    enum { CALLS = 500 };
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    struct asked *a[CALLS];
    char sql[100], text[100];

    asked_free(execute_on(f, "CREATE TABLE m(id INTEGER PRIMARY KEY)"));
    for (int i = 0; i < CALLS; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO m VALUES(%d)", i + 1);
        a[i] = execute_asked(sql);
        cluster_execute(f->cluster, &a[i]->u.execute);
    }
    for (int i = 0; i < CALLS; i++) {
        asked_wait(a[i]);
        snprintf(text, sizeof text, "{%d,1}", i + 1);
        expect(a[i], text);
    }
    expect(query_on(f, "SELECT count(*) FROM m", RQLITE__LEVEL__WEAK),
           "[count(*):-](500).");
    asked_free(execute_on(f, "DROP TABLE m"));
}

/* --- the rest --------------------------------------------------------------------- */

static void a_redirect_names_the_leaders_address(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0), *l = leader_of(s);

    for (int i = 0; i < 2; i++) { /* asked, then remembered */
        struct asked *a = execute_asked("CREATE TABLE no(x)");

        a->u.call.redirect = true;
        cluster_execute(f->cluster, &a->u.execute);
        asked_wait(a);
        assert_int_equal(a->u.call.why.code, ERR_NOT_LEADER);
        assert_string_equal(a->u.call.leader_url, l->url);
        asked_free(a);
    }
    assert_int_equal(metrics_get(l->metrics, METRIC_cluster_num_get_node_api_req), 1);
}

/* Her password, "secret", is a hash; his is not. */
static const char users[] =
    "[{\"username\":\"fiona\",\"perms\":[\"query\",\"execute\",\"load\"],\"password\":"
    "\"$2b$04$T6dYb0/u4KDETiwrs3fVmODIFh72wFWcxV1DNlI3KWZMuL160cDCW\"},"
    " {\"username\":\"declan\",\"password\":\"d\",\"perms\":[\"query\",\"backup\"]}]";

static struct nodes *guarded(void)
{
    struct nodes *s = nodes_new(2);

    for (size_t i = 0; i < 2; i++) {
        s->n[i].users = users;
        node_up(&s->n[i]);
    }
    bootstrap_all(s);
    WAIT_FOR(settled(s));
    return s;
}

static struct asked *as(struct asked *a, const char *user, const char *password)
{
    a->u.call.user = user;
    a->u.call.password = password;
    return a;
}

static void the_leader_checks_the_callers_credentials(void **state)
{
    static const struct {
        const char *user, *password;
        bool query, request, backup;
    } who[] = {
        {NULL, NULL, false, false, false},      {"fiona", "wrong", false, false, false},
        {"fiona", "secret", true, true, false}, /* hashed here */
        {"fiona", "secret", true, true, false}, /* known by now */
        {"declan", "d", true, false, true},     {"nobody", "d", false, false, false},
    };
    struct nodes *s = guarded();
    struct member_node *f = follower_of(s, 0);
    struct asked *a;

    (void)state;
    a = execute_on(f, "CREATE TABLE t(x)");
    assert_int_equal(a->u.call.why.code, ERR_UNAUTHORIZED);
    assert_false(a->u.call.top_level);
    asked_free(a);
    for (size_t i = 0; i < sizeof who / sizeof *who; i++) {
        a = as(query_asked("SELECT 1", RQLITE__LEVEL__WEAK, false), who[i].user,
               who[i].password);
        cluster_query(f->cluster, &a->u.query);
        asked_wait(a);
        assert_int_equal(a->u.call.why.code, who[i].query ? ERR_OK : ERR_UNAUTHORIZED);
        asked_free(a);

        a = as(query_asked("SELECT 1", RQLITE__LEVEL__WEAK, true), who[i].user,
               who[i].password);
        cluster_request(f->cluster, &a->u.query);
        asked_wait(a);
        assert_int_equal(a->u.call.why.code, who[i].request ? ERR_OK : ERR_UNAUTHORIZED);
        asked_free(a);

        a = as(asked_new(), who[i].user, who[i].password);
        a->u.backup.fd = -1;
        cluster_backup(f->cluster, &a->u.backup);
        asked_wait(a);
        assert_int_equal(a->u.call.why.code, who[i].backup ? ERR_OK : ERR_UNAUTHORIZED);
        assert_int_equal(a->u.backup.fd >= 0, who[i].backup);
        if (a->u.backup.fd >= 0) close(a->u.backup.fd);
        asked_free(a);
    }
    nodes_free(s);
}

static void a_write_waits_for_its_password_to_be_hashed(void **state)
{
    struct nodes *s = guarded();
    struct member_node *f = follower_of(s, 0);
    struct asked *a[8];

    (void)state;
    a[0] = as(execute_asked("CREATE TABLE t(x)"), "fiona", "secret");
    cluster_execute(f->cluster, &a[0]->u.execute);
    asked_wait(a[0]);
    assert_int_equal(a[0]->u.call.why.code, ERR_OK);
    asked_free(a[0]);
    auth_reload(s->n[0].auth); /* what was known is forgotten, at some time */
    auth_reload(s->n[1].auth);
    for (int i = 0; i < 8; i++) {
        a[i] = as(execute_asked("INSERT INTO t VALUES(1)"), "fiona",
                  i % 2 ? "no" : "secret");
        cluster_execute(f->cluster, &a[i]->u.execute);
    }
    for (int i = 0; i < 8; i++) {
        asked_wait(a[i]);
        assert_int_equal(a[i]->u.call.why.code, i % 2 ? ERR_UNAUTHORIZED : ERR_OK);
        asked_free(a[i]);
    }
    nodes_free(s);
}

static void queued_writes_are_forwarded_by_the_nodes_own_authority(void **state)
{
    struct nodes *s = guarded();
    struct member_node *f = follower_of(s, 0);
    struct asked *a = execute_asked("CREATE TABLE t(x)");

    (void)state;
    a->u.call.own_authority = true;
    cluster_execute(f->cluster, &a->u.execute);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_OK);
    asked_free(a);
    nodes_free(s);
}

static void nodes_tells_of_every_member(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0), *l = leader_of(s);
    struct asked *a = asked_new();

    a->u.nodes.arena = &a->arena;
    cluster_nodes(f->cluster, &a->u.nodes);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_OK);
    assert_int_equal(a->u.nodes.n, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct node_view *v = &a->u.nodes.nodes[i];

        assert_string_equal(v->id, s->n[i].id);
        assert_string_equal(v->addr, s->n[i].addr);
        assert_string_equal(v->api_addr, s->n[i].url);
        assert_string_equal(v->version, "v1.test");
        assert_string_equal(v->error, "");
        assert_true(v->reachable && v->voter && v->time_ns > 0);
        assert_int_equal(v->leader, &s->n[i] == l);
    }
    asked_free(a);

    a = asked_new();
    a->u.nodes.arena = &a->arena;
    a->u.nodes.leader_only = true;
    cluster_nodes(f->cluster, &a->u.nodes);
    asked_wait(a);
    assert_int_equal(a->u.nodes.n, 1);
    assert_string_equal(a->u.nodes.nodes[0].id, l->id);
    assert_true(a->u.nodes.nodes[0].leader);
    asked_free(a);
}

static void a_follower_is_ready_when_it_has_what_the_leader_committed(void **state)
{
    struct nodes *s = *state;

    for (size_t i = 0; i < s->count; i++) {
        struct asked *a = asked_new();
        struct node_progress at;

        asked_free(execute_on(leader_of(s), "CREATE TABLE IF NOT EXISTS y(x)"));
        a->u.ready.sync = true;
        node_progress(leader_of(s)->node, &at);
        cluster_ready(s->n[i].cluster, &a->u.ready);
        asked_wait(a);
        assert_int_equal(a->u.ready.stage, READY_OK);
        asked_free(a);
        {
            struct node_progress p;

            node_progress(s->n[i].node, &p);
            assert_true(p.applied_index >= at.commit_index);
        }
    }
}

static void leadership_is_handed_over_through_a_follower(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    struct asked *a = asked_new();

    a->u.step_down.id = f->id;
    a->u.step_down.wait = true;
    cluster_step_down(f->cluster, &a->u.step_down);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_OK);
    asked_free(a);
    WAIT_FOR(settled(s) && leader_of(s) == f);

    a = asked_new();
    a->u.step_down.id = "nobody";
    cluster_step_down(follower_of(s, 0)->cluster, &a->u.step_down);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_NOT_FOUND);
    asked_free(a);
}

/* --- files ------------------------------------------------------------------------ */

static struct asked *backup_on(struct member_node *m, enum db_backup_format format)
{
    struct asked *a = asked_new();

    a->u.backup.format = format;
    cluster_backup(m->cluster, &a->u.backup);
    asked_wait(a);
    if (a->u.call.why.code) fail_msg("backup: %s", a->u.call.why.text);
    return a;
}

static struct asked *load_on(struct member_node *m, int fd, uint64_t size, bool script)
{
    struct asked *a = asked_new();

    a->u.load.fd = fd;
    a->u.load.size = size;
    a->u.load.script = script;
    a->u.load.sink = &a->sink.sink;
    cluster_load(m->cluster, &a->u.load);
    asked_wait(a);
    return a;
}

static int file_with(const void *data, size_t len)
{
    FILE *f = tmpfile();
    int fd;

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fflush(f);
    fd = dup(fileno(f));
    fclose(f);
    return fd;
}

static void a_backup_and_a_load_go_through_a_follower(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    struct asked *a, *b;
    char head[16];

    asked_free(execute_on(f, "CREATE TABLE big(id INTEGER PRIMARY KEY, v)"));
    asked_free(execute_on(f, "INSERT INTO big(v) SELECT randomblob(1000) FROM (WITH "
                             "RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c "
                             "WHERE i<3000) SELECT i FROM c)"));
    a = backup_on(f, DB_BACKUP_DELETE);
    assert_true(a->u.backup.size > 3000000);
    assert_int_equal(pread(a->u.backup.fd, head, 16, 0), 16);
    assert_memory_equal(head, "SQLite format 3", 16);
    asked_free(execute_on(f, "DELETE FROM big"));

    b = load_on(f, a->u.backup.fd, a->u.backup.size, false);
    if (b->u.call.why.code) fail_msg("load: %s", b->u.call.why.text);
    assert_string_equal(b->u.call.served_by, leader_of(s)->addr);
    expect(b, "");
    close(a->u.backup.fd);
    asked_free(a);
    for (size_t i = 0; i < s->count; i++) {
        struct asked *r = asked_new();

        r->u.ready.sync = true;
        cluster_ready(s->n[i].cluster, &r->u.ready);
        asked_wait(r);
        assert_int_equal(r->u.ready.stage, READY_OK);
        asked_free(r);
        expect(query_on(&s->n[i], "SELECT count(*), sum(length(v)) FROM big",
                        RQLITE__LEVEL__NONE),
               "[count(*):-,sum(length(v)):-](3000,3000000).");
    }

    a = backup_on(f, DB_BACKUP_SQL);
    assert_true(a->u.backup.size > 6000000);
    close(a->u.backup.fd);
    asked_free(a);
    asked_free(execute_on(f, "DROP TABLE big"));
}

static void sql_text_is_loaded_through_a_follower(void **state)
{
    static const char text[] = "CREATE TABLE l(x); INSERT INTO l VALUES(1),(2);";
    static const char bad[] = "INSERT INTO l VALUES(3); INSERT INTO nope VALUES(1);";
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    int fd = file_with(text, sizeof text - 1);

    expect(load_on(f, fd, sizeof text - 1, true), "{2,2}");
    close(fd);
    fd = file_with(bad, sizeof bad - 1);
    expect(load_on(f, fd, sizeof bad - 1, true), "<w:no such table: nope>");
    close(fd);
    asked_free(execute_on(f, "DROP TABLE l"));
}

static void a_file_that_is_no_database_is_refused(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0);
    char junk[10000];
    struct asked *a;
    int fd;

    memset(junk, 'x', sizeof junk);
    memcpy(junk, "SQLite format 3", 16);
    fd = file_with(junk, sizeof junk);
    a = load_on(f, fd, sizeof junk, false);
    assert_int_equal(a->u.call.why.code, ERR_INVALID);
    assert_string_equal(a->u.call.why.text, "invalid SQLite data");
    asked_free(a);
    close(fd);
}

/* --- nodes that go ---------------------------------------------------------------- */

static void without_a_majority_there_is_no_leader(void **state)
{
    struct nodes *s = nodes_up(3);
    struct member_node *f = follower_of(s, 0);
    struct asked *a;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        if (&s->n[i] != f) node_down(&s->n[i]);
    WAIT_FOR(!node_has_leader(f->node));
    a = execute_on(f, "CREATE TABLE t(x)");
    assert_int_equal(a->u.call.why.code, ERR_NO_LEADER);
    assert_string_equal(a->u.call.why.text, "leader not found");
    asked_free(a);
    a = query_on(f, "SELECT 1", RQLITE__LEVEL__WEAK);
    assert_int_equal(a->u.call.why.code, ERR_NO_LEADER);
    asked_free(a);
    expect(query_on(f, "SELECT 1", RQLITE__LEVEL__NONE), "[1:-](1).");

    a = asked_new();
    a->u.nodes.arena = &a->arena;
    cluster_nodes(f->cluster, &a->u.nodes);
    asked_wait(a);
    assert_int_equal(a->u.nodes.n, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct node_view *v = &a->u.nodes.nodes[i];
        char text[100];

        snprintf(text, sizeof text, "dial tcp %s: connect: connection refused", v->addr);
        if (v->reachable)
            assert_string_equal(v->id, f->id);
        else
            assert_string_equal(v->error, text);
        assert_false(v->leader);
    }
    asked_free(a);
    nodes_free(s);
}

/* One that is gone and not yet missed. */
static void a_leader_that_cannot_be_reached_is_a_top_level_error(void **state)
{
    struct nodes *s = nodes_up(2);
    struct member_node *f = follower_of(s, 0), *l = leader_of(s);
    struct asked *a;
    char text[100];

    (void)state;
    snprintf(text, sizeof text, "dial tcp %s: connect: connection refused", l->addr);
    node_down(l);
    a = execute_asked("CREATE TABLE t(x)");
    a->u.call.retries = 1;
    cluster_execute(f->cluster, &a->u.execute);
    asked_wait(a);
    if (a->u.call.why.code == ERR_UNREACHABLE || a->u.call.why.code == ERR_IO) {
        assert_string_equal(a->u.call.why.text, text);
        assert_true(a->u.call.top_level);
    } else { /* it was missed already */
        assert_int_equal(a->u.call.why.code, ERR_NO_LEADER);
    }
    asked_free(a);
    nodes_free(s);
}

static void calls_go_on_when_the_leader_stops(void **state)
{
    enum { CALLS = 200 };
    struct nodes *s = nodes_up(3);
    struct member_node *f = follower_of(s, 0), *old = leader_of(s);
    struct asked *a[CALLS];
    unsigned fine = 0, unknown = 0, there;

    (void)state;
    expect(execute_on(f, "CREATE TABLE t(id INTEGER PRIMARY KEY)"), "{0,0}");
    for (int i = 0; i < CALLS; i++) {
        char sql[100];

        snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", i + 1);
        a[i] = execute_asked(sql);
        cluster_execute(f->cluster, &a[i]->u.execute);
        if (i == CALLS / 2) {
            asked_wait(a[i / 4]);
            node_down(old);
        }
    }
    for (int i = 0; i < CALLS; i++) {
        asked_wait(a[i]);
        fine += a[i]->u.call.why.code == ERR_OK;
        unknown += a[i]->u.call.why.code == ERR_LEADERSHIP_LOST;
        asked_free(a[i]);
    }
    assert_true(fine > 0);
    WAIT_FOR(settled(s));
    there = count_of(f, "t"); /* nothing lost, nothing twice (they would be refused) */
    assert_true(there >= fine && there <= fine + unknown);
    expect(execute_on(f, "INSERT INTO t VALUES(1000)"), "{1000,1}");
    nodes_free(s);
}

/* Readers of the leader that wait for the wire must not keep it from stopping. */
static void query_all(struct member_node *m, struct asked **a, int n)
{
    for (int i = 0; i < n; i++) {
        a[i] = query_asked(COUNT(100000000), RQLITE__LEVEL__WEAK, i % 2 == 1);
        a[i]->sink.quiet = true;
        a[i]->sink.slow_us = 100;
        if (i % 2)
            cluster_request(m->cluster, &a[i]->u.query);
        else
            cluster_query(m->cluster, &a[i]->u.query);
    }
}

static void all_fail(struct asked **a, int n)
{
    for (int i = 0; i < n; i++) {
        asked_wait(a[i]);
        assert_int_not_equal(a[i]->u.call.why.code, ERR_OK);
        asked_free(a[i]);
    }
}

static void a_node_stops_with_calls_under_way(void **state)
{
    enum { CALLS = 20 };
    struct nodes *s = nodes_up(3);
    struct member_node *f = follower_of(s, 0), *l = leader_of(s);
    struct asked *a[CALLS];

    (void)state;
    query_all(f, a, CALLS);
    WAIT_FOR(metrics_get(l->metrics, METRIC_cluster_num_request_req) == CALLS / 2);
    node_down(f); /* who asked */
    all_fail(a, CALLS);

    f = follower_of(s, 0);
    query_all(f, a, CALLS);
    WAIT_FOR(metrics_get(l->metrics, METRIC_cluster_num_request_req) == CALLS);
    node_down(l); /* who was asked */
    all_fail(a, CALLS);
    nodes_free(s);
}

static int up(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    *state = nodes_up(3);
    return 0;
}

static int down(void **state)
{
    nodes_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_redirect_names_the_leaders_address),
        cmocka_unit_test(a_write_through_a_follower_is_answered_as_by_the_leader),
        cmocka_unit_test(reads_of_every_level_come_through_a_follower),
        cmocka_unit_test(a_request_may_read_or_write),
        cmocka_unit_test(many_rows_arrive_in_order_at_a_slow_sink),
        cmocka_unit_test(what_goes_through_the_log_is_not_bounded_by_a_window),
        cmocka_unit_test(a_sink_that_wants_no_more_ends_the_read),
        cmocka_unit_test(a_read_that_takes_too_long_is_given_up_on_both_sides),
        cmocka_unit_test(many_calls_at_once_get_each_its_own_answer),
        cmocka_unit_test(nodes_tells_of_every_member),
        cmocka_unit_test(a_follower_is_ready_when_it_has_what_the_leader_committed),
        cmocka_unit_test(a_backup_and_a_load_go_through_a_follower),
        cmocka_unit_test(sql_text_is_loaded_through_a_follower),
        cmocka_unit_test(a_file_that_is_no_database_is_refused),
        cmocka_unit_test(leadership_is_handed_over_through_a_follower),
        cmocka_unit_test(the_leader_checks_the_callers_credentials),
        cmocka_unit_test(a_write_waits_for_its_password_to_be_hashed),
        cmocka_unit_test(queued_writes_are_forwarded_by_the_nodes_own_authority),
        cmocka_unit_test(without_a_majority_there_is_no_leader),
        cmocka_unit_test(a_leader_that_cannot_be_reached_is_a_top_level_error),
        cmocka_unit_test(calls_go_on_when_the_leader_stops),
        cmocka_unit_test(a_node_stops_with_calls_under_way),
    };

    if (getenv("T")) cmocka_set_test_filter(getenv("T"));
    return cmocka_run_group_tests(tests, up, down);
}
