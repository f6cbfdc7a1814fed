/* SPDX-License-Identifier: MIT */
/*
 * A forwarded write is never applied twice, and never said to have failed when it may
 * have been applied.
 */
#include <event2/buffer.h>
#include <event2/event.h>
#include <signal.h>

#include "core/cluster/answers.h"
#include "core/node/results.h"
#include "core/net/client.h"
#include "tests/unit/cluster/breaker.h"

/* --- the table: pure ---------------------------------------------------------------- */

struct one {
    struct answers_entry entry;
    bool dropped;
};

static void note_drop(struct answers_entry *e)
{
    LIST_ITEM(e, struct one, entry)->dropped = true;
}

static enum answers_found look(struct answers *t, uint64_t session, uint64_t serial,
                               uint64_t oldest, bool repeat, struct answers_entry **out)
{
    struct answers_id id = {
        .session = session, .serial = serial, .oldest = oldest, .repeat = repeat};
    enum answers_found found;

    assert_int_equal(answers_find(t, &id, &found, out), ERR_OK);
    return found;
}

static void add(struct answers *t, uint64_t session, uint64_t serial, struct one *o)
{
    struct answers_id id = {.session = session, .serial = serial, .oldest = serial};
    struct answers_entry *e;

    assert_int_equal(look(t, session, serial, 0, false, &e), ANSWERS_NEW);
    memset(o, 0, sizeof *o);
    answers_add(t, &id, &o->entry);
}

static void an_id_is_two_numbers(void **state)
{
    struct answers_id id, out;
    uint64_t wire[2];

    (void)state;
    memset(&id, 0, sizeof id); /* they are compared whole */
    memset(&out, 0, sizeof out);
    id.session = 0xdeadbeefcafe;
    id.serial = (1ull << 40) - 1;
    id.oldest = id.serial - ANSWERS_BACK_MAX;
    id.repeat = true;
    answers_id_put(wire, &id);
    assert_true(answers_id_get(&out, wire));
    assert_memory_equal(&out, &id, sizeof out);
    id.oldest = id.serial;
    id.repeat = false;
    answers_id_put(wire, &id);
    assert_true(answers_id_get(&out, wire));
    assert_memory_equal(&out, &id, sizeof out);
    wire[0] = wire[1] = 0;
    assert_false(answers_id_get(&out, wire));
}

static void a_repeat_finds_its_entry_until_its_caller_needs_it_no_more(void **state)
{
    struct answers t;
    struct answers_entry *e;
    struct one a, b;

    (void)state;
    answers_init(&t, note_drop);
    add(&t, 9, 1, &a);
    add(&t, 9, 2, &b);
    assert_int_equal(look(&t, 9, 1, 1, true, &e), ANSWERS_KNOWN);
    assert_ptr_equal(e, &a.entry);
    answers_done(&t, &a.entry, 100);
    assert_int_equal(look(&t, 9, 1, 1, true, &e), ANSWERS_KNOWN);
    assert_false(a.dropped);
    assert_int_equal(look(&t, 9, 3, 2, false, &e), ANSWERS_NEW); /* 1 has its answer */
    assert_true(a.dropped);
    assert_int_equal(look(&t, 9, 2, 2, true, &e), ANSWERS_KNOWN);
    assert_int_equal(t.bytes, 0);
    answers_fini(&t);
    assert_false(b.dropped); /* under way: whoever carries it out still has it */
    assert_null(b.entry.session);
}

static void what_never_arrived_is_new_and_what_may_have_been_run_is_not(void **state)
{
    struct answers t;
    struct answers_entry *e;
    struct one a;

    (void)state;
    answers_init(&t, note_drop);
    /* a session nobody knows: this process may be new */
    assert_int_equal(look(&t, 9, 5, 5, true, &e), ANSWERS_FORGOTTEN);
    add(&t, 9, 6, &a);
    assert_int_equal(look(&t, 9, 5, 5, true, &e), ANSWERS_FORGOTTEN);
    assert_int_equal(look(&t, 9, 7, 5, true, &e),
                     ANSWERS_NEW); /* it was lost on its way */
    answers_remove(&t, &a.entry);
    answers_fini(&t);
}

static void what_arrives_late_is_not_run_again(void **state)
{
    struct answers t;
    struct answers_entry *e;
    struct one a, b;

    (void)state;
    answers_init(&t, note_drop);
    add(&t, 9, 1, &a);
    assert_int_equal(look(&t, 9, 2, 1, true, &e),
                     ANSWERS_NEW); /* overtook its first try */
    answers_add(&t, &(struct answers_id){.session = 9, .serial = 2}, &b.entry);
    assert_int_equal(look(&t, 9, 2, 1, false, &e), ANSWERS_FORGOTTEN);
    assert_int_equal(look(&t, 9, 1, 1, false, &e), ANSWERS_FORGOTTEN);
    assert_int_equal(look(&t, 9, 2, 1, true, &e), ANSWERS_KNOWN);
    answers_done(&t, &a.entry, 1);
    answers_done(&t, &b.entry, 1);
    assert_int_equal(look(&t, 9, 3, 3, false, &e),
                     ANSWERS_NEW); /* 1 and 2 are answered */
    assert_int_equal(look(&t, 9, 2, 1, true, &e), ANSWERS_FORGOTTEN);
    assert_int_equal(look(&t, 9, 1, 1, false, &e), ANSWERS_FORGOTTEN);
    answers_fini(&t);
}

static void entries_dropped_for_room_are_forgotten_and_not_run_again(void **state)
{
    enum { MANY = ANSWERS_MAX + 10 };
    struct answers t;
    struct answers_entry *e;
    struct one *list = calloc(MANY, sizeof *list);

    (void)state;
    answers_init(&t, note_drop);
    for (size_t i = 0; i < MANY; i++) {
        struct answers_id id = {.session = 3, .serial = i + 1, .oldest = 1};

        assert_int_equal(look(&t, 3, i + 1, 1, false, &e), ANSWERS_NEW);
        answers_add(&t, &id, &list[i].entry);
        answers_done(&t, &list[i].entry, 10);
    }
    assert_int_equal(t.n_answered, ANSWERS_MAX);
    assert_true(list[9].dropped && !list[10].dropped);
    assert_int_equal(look(&t, 3, 10, 1, true, &e), ANSWERS_FORGOTTEN);
    assert_int_equal(look(&t, 3, 11, 1, true, &e), ANSWERS_KNOWN);
    answers_fini(&t);

    answers_init(&t, note_drop);
    list[0].dropped = false;
    add(&t, 4, 1, &list[0]);
    answers_done(&t, &list[0].entry, ANSWERS_BYTES_MAX + 1); /* too large to keep */
    assert_true(list[0].dropped);
    assert_int_equal(look(&t, 4, 1, 1, true, &e), ANSWERS_FORGOTTEN);
    answers_fini(&t);
    free(list);
}

static void the_session_that_was_silent_longest_makes_room(void **state)
{
    enum { MANY = ANSWERS_SESSIONS_MAX + 1 };
    struct answers t;
    struct answers_entry *e;
    struct one *list = calloc(MANY + 1, sizeof *list);

    (void)state;
    answers_init(&t, note_drop);
    add(&t, 1, 1, &list[0]); /* under way for ever */
    for (size_t i = 1; i <= MANY; i++) {
        add(&t, i + 1, 1, &list[i]);
        answers_done(&t, &list[i].entry, 1);
    }
    assert_int_equal(t.n_sessions, ANSWERS_SESSIONS_MAX);
    assert_int_equal(look(&t, 1, 1, 1, true, &e), ANSWERS_KNOWN);
    assert_true(list[1].dropped);
    assert_int_equal(look(&t, 2, 1, 1, true, &e), ANSWERS_FORGOTTEN);
    answers_fini(&t);
    free(list);
}

/* --- a caller of its own ------------------------------------------------------------ */

struct caller {
    struct event_base *base;
    struct net *net;
    struct net_channel *channel;
    bool done, ok, not_run;
    struct why why;
    struct text_sink sink;
    struct results_reader reader;
};

static void caller_message(struct net_request *r, const ProtobufCMessage *m)
{
    struct caller *c = net_request_user(r);
    size_t len;
    const uint8_t *bytes = net_request_bytes(r, &len);

    (void)m;
    assert_int_equal(results_read(&c->reader, bytes, len, NULL), ERR_OK);
}

static void caller_done(struct net_request *r, const struct net_result *result)
{
    struct caller *c = net_request_user(r);

    c->done = true;
    c->why = result->why;
    c->not_run = result->not_run;
}

static const struct net_request_events caller_events = {.on_message = caller_message,
                                                        .on_done = caller_done};

static void caller_init(struct caller *c, const char *addr)
{
    struct net_options no = {0};
    struct net_channel_options co = {.address = addr, .class = NET_CALL};

    memset(c, 0, sizeof *c);
    no.base = c->base = event_base_new();
    no.identity = (struct net_identity){.node_id = "", .address = "", .software = "test"};
    assert_int_equal(net_new(&c->net, &no, NULL), ERR_OK);
    assert_int_equal(net_channel_new(&c->channel, c->net, &co, NULL), ERR_OK);
    text_sink_init(&c->sink);
    results_reader_init(&c->reader, &c->sink.sink);
}

static void caller_fini(struct caller *c)
{
    net_channel_free(c->channel);
    net_free(c->net);
    event_base_free(c->base);
    text_sink_fini(&c->sink);
    results_reader_fini(&c->reader);
}

static struct net_request *send_write(struct caller *c, const char *sql, uint64_t serial,
                                      bool repeat, bool as_request)
{
    Rqlite__ExecuteRequest x = RQLITE__EXECUTE_REQUEST__INIT;
    Rqlite__QueryRequest q = RQLITE__QUERY_REQUEST__INIT;
    struct answers_id id = {
        .session = 77, .serial = serial, .oldest = 1, .repeat = repeat};
    struct net_request_options o = {.service = &net_service_database,
                                    .raw = true,
                                    .events = &caller_events,
                                    .user = c};
    struct net_request *r;
    struct arena a;

    arena_init(&a, 0);
    x.n_statements = q.n_statements = 1;
    x.statements = q.statements = statements(&a, &sql, 1);
    q.rows = true;
    o.method = as_request ? NET_DATABASE_QUERY : NET_DATABASE_EXECUTE;
    o.message = as_request ? &q.base : &x.base;
    answers_id_put(o.meta.call_id, &id);
    o.meta.forwarded = true;
    assert_int_equal(net_request_start(&r, c->channel, &o, NULL), ERR_OK);
    arena_fini(&a);
    c->done = false;
    results_reader_fini(&c->reader);
    results_reader_init(&c->reader, &c->sink.sink);
    return r;
}

static void caller_wait(struct caller *c)
{
    uint64_t until = now_ms() + WAIT_MS;

    while (!c->done) {
        assert_true(now_ms() < until);
        event_base_loop(c->base, EVLOOP_ONCE);
    }
}

static void a_repeated_write_is_answered_and_not_run_again(void **state)
{
    struct nodes *s = *state;
    struct member_node *l = leader_of(s);
    struct caller c;

    asked_free(execute_on(l, "CREATE TABLE once(id INTEGER PRIMARY KEY, v)"));
    caller_init(&c, l->bind);
    for (int as_request = 0; as_request < 2; as_request++) {
        uint64_t serial = as_request ? 20 : 10;

        for (int i = 0; i < 3; i++) { /* first answered, then repeated */
            (void)send_write(&c, "INSERT INTO once(v) VALUES('a')", serial, i > 0,
                             as_request);
            caller_wait(&c);
            assert_int_equal(c.why.code, ERR_OK);
            assert_true(c.reader.done && c.reader.raft_index > 0);
        }
    }
    assert_string_equal(text_sink_get(&c.sink), "{1,1}{1,1}{1,1}{2,1}{2,1}{2,1}");
    expect(query_on(l, "SELECT count(*) FROM once", RQLITE__LEVEL__WEAK),
           "[count(*):-](2).");
    caller_fini(&c);
    asked_free(execute_on(l, "DROP TABLE once"));
}

static void a_repeat_meets_the_write_while_it_is_under_way(void **state)
{
    static const char slow[] = "INSERT INTO way SELECT count(*) FROM (WITH RECURSIVE "
                               "c(i) AS (SELECT 1 UNION ALL "
                               "SELECT i+1 FROM c WHERE i<1000000) SELECT i FROM c)";
    struct nodes *s = *state;
    struct member_node *l = leader_of(s);
    struct caller c, d;

    asked_free(execute_on(l, "CREATE TABLE way(v)"));
    for (int as_request = 0; as_request < 2; as_request++) {
        uint64_t serial = as_request ? 40 : 30;

        caller_init(&c, l->bind);
        (void)send_write(&c, slow, serial, false, as_request);
        while (!net_channel_up(c.channel)) event_base_loop(c.base, EVLOOP_ONCE);
        event_base_loop(c.base, EVLOOP_NONBLOCK);
        caller_init(&d, l->bind);
        (void)send_write(&d, slow, serial, true, as_request);
        caller_wait(&d);
        assert_int_equal(d.why.code, ERR_OK);
        assert_string_equal(text_sink_get(&d.sink), as_request ? "{2,1}" : "{1,1}");
        caller_fini(&c); /* its answer went to the repeat */
        caller_fini(&d);
    }
    expect(query_on(l, "SELECT * FROM way", RQLITE__LEVEL__WEAK),
           "[v:-](1000000)(1000000).");
    asked_free(execute_on(l, "DROP TABLE way"));
}

static void a_caller_that_is_gone_finds_its_answer_when_it_comes_back(void **state)
{
    struct nodes *s = *state;
    struct member_node *l = leader_of(s);
    struct caller c;

    asked_free(execute_on(l, "CREATE TABLE gone(v)"));
    caller_init(&c, l->bind);
    net_channel_connect(c.channel);
    while (!net_channel_up(c.channel)) event_base_loop(c.base, EVLOOP_ONCE);
    (void)send_write(&c, "INSERT INTO gone VALUES(1)", 51, false, false);
    event_base_loop(c.base, EVLOOP_NONBLOCK); /* written */
    caller_fini(&c);
    WAIT_FOR(count_of(l, "gone") == 1);
    caller_init(&c, l->bind);
    (void)send_write(&c, "INSERT INTO gone VALUES(1)", 51, true, false);
    caller_wait(&c);
    assert_int_equal(c.why.code, ERR_OK);
    assert_string_equal(text_sink_get(&c.sink), "{1,1}");
    assert_int_equal(count_of(l, "gone"), 1);
    caller_fini(&c);
    asked_free(execute_on(l, "DROP TABLE gone"));
}

static void a_repeat_that_nobody_remembers_has_an_unknown_outcome(void **state)
{
    struct nodes *s = *state;
    struct member_node *l = leader_of(s);
    struct caller c;

    caller_init(&c, l->bind);
    (void)send_write(&c, "CREATE TABLE never(v)", 1, true, false);
    caller_wait(&c);
    assert_int_equal(c.why.code, ERR_LEADERSHIP_LOST);
    assert_false(c.not_run);
    assert_non_null(strstr(c.why.text, "unknown"));
    caller_fini(&c);
    expect(query_on(l, "SELECT count(*) FROM sqlite_schema WHERE name='never'",
                    RQLITE__LEVEL__WEAK),
           "[count(*):-](0).");
}

/* --- a follower whose connection breaks --------------------------------------------- */

struct broken {
    struct nodes *s;
    struct breaker *b[NODES_MAX];
};

static struct broken broken_new(const char *mark)
{
    struct broken w = {.s = nodes_new(3)};

    for (size_t i = 0; i < 3; i++) {
        struct member_node *m = &w.s->n[i];

        w.b[i] = breaker_new((uint16_t)atoi(strchr(m->bind, ':') + 1), mark);
        snprintf(m->addr, sizeof m->addr, "127.0.0.1:%u", w.b[i]->port);
    }
    for (size_t i = 0; i < 3; i++) node_up(&w.s->n[i]);
    bootstrap_all(w.s);
    WAIT_FOR(settled(w.s));
    return w;
}

static void broken_free(struct broken *w)
{
    nodes_free(w->s);
    for (size_t i = 0; i < 3; i++) breaker_free(w->b[i]);
}

static struct breaker *before(struct broken *w, const struct member_node *m)
{
    return w->b[m - w->s->n];
}

static void a_follower_repeats_a_write_whose_answer_was_lost(void **state)
{
    struct broken w = broken_new("MARKED");
    struct member_node *f = follower_of(w.s, 0), *l = leader_of(w.s);
    struct breaker *b = before(&w, l);

    (void)state;
    expect(execute_on(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)"), "{0,0}");
    for (int i = 0; i < 5; i++) {
        char text[32];
        struct asked *a;

        snprintf(text, sizeof text, "{%d,1}", 2 * i + 1);
        atomic_store(&b->armed, true);
        expect(execute_on(f, "INSERT INTO t(v) VALUES('MARKED')"), text);
        assert_int_equal(atomic_load(&b->broken), 2 * i + 1);
        snprintf(text, sizeof text, "{%d,1}", 2 * i + 2);
        atomic_store(&b->armed, true);
        a = request_on(f, "INSERT INTO t(v) VALUES('MARKED')");
        expect(a, text);
        assert_int_equal(atomic_load(&b->broken), 2 * i + 2);
    }
    assert_int_equal(count_of(l, "t"), 10);
    broken_free(&w);
}

static unsigned occurrences(const char *text, char of)
{
    unsigned n = 0;

    for (; *text; text++) n += *text == of;
    return n;
}

/* A part of the answer has come, so the sink has been told: it is not told anew by a
 * repeat, and whose write it was learns that it has no whole answer. */
static void a_write_whose_answer_broke_off_tells_its_sink_once(void **state)
{
    enum { ROWS = 4000 };
    struct broken w = broken_new("MARKED");
    struct member_node *f = follower_of(w.s, 0), *l = leader_of(w.s);
    struct breaker *b = before(&w, l);
    struct asked *a;

    (void)state;
    expect(execute_on(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)"), "{0,0}");
    for (int request = 0; request < 2; request++) {
        const char *insert = "INSERT INTO t(v) WITH RECURSIVE c(i) AS (SELECT 1 UNION "
                             "ALL SELECT i + 1 FROM c WHERE i < 4000) "
                             "SELECT 'MARKED' FROM c RETURNING hex(zeroblob(500))";

        a = request ? query_asked(insert, RQLITE__LEVEL__WEAK, true)
                    : execute_asked(insert);
        a->sink.quiet = true;
        atomic_store(&b->pass, 512 << 10);
        atomic_store(&b->armed, true);
        if (request)
            cluster_request(f->cluster, &a->u.query);
        else
            cluster_execute(f->cluster, &a->u.execute);
        asked_wait(a);
        assert_int_equal(atomic_load(&b->broken), request + 1);
        assert_int_not_equal(a->u.call.why.code, ERR_OK);
        assert_true(a->sink.rows > 0 && a->sink.rows < ROWS);
        assert_int_equal(occurrences(asked_text(a), '['), 1);
        asked_free(a);
        assert_int_equal(count_of(l, "t"), (request + 1) * ROWS); /* applied once */
    }
    broken_free(&w);
}

static void a_read_whose_answer_was_lost_is_asked_again(void **state)
{
    struct broken w = broken_new("MARKED");
    struct member_node *f = follower_of(w.s, 0), *l = leader_of(w.s);
    struct breaker *b = before(&w, l);

    (void)state;
    expect(query_on(f, "SELECT 1", RQLITE__LEVEL__WEAK), "[1:-](1).");
    atomic_store(&b->armed, true);
    {
        struct asked *a = query_asked("SELECT 'MARKED' AS m", RQLITE__LEVEL__WEAK, false);

        a->u.call.retries = 1;
        cluster_query(f->cluster, &a->u.query);
        asked_wait(a);
        expect(a, "[m:-]('MARKED').");
    }
    assert_int_equal(atomic_load(&b->broken), 1);
    broken_free(&w);
}

/* The answer is lost, and with it the way to the leader: then it loses its office. */
static void without_the_leader_the_outcome_is_unknown(void **state)
{
    struct broken w = broken_new("MARKED");
    struct member_node *f = follower_of(w.s, 0), *l = leader_of(w.s);
    struct breaker *b = before(&w, l);
    struct asked *a;

    (void)state;
    expect(execute_on(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)"), "{0,0}");
    atomic_store(&b->armed, true);
    atomic_store(&b->refuse, true);
    a = execute_asked("INSERT INTO t(v) VALUES('MARKED')");
    cluster_execute(f->cluster, &a->u.execute);
    WAIT_FOR(atomic_load(&b->broken) == 1);
    node_down(l);
    asked_wait(a);
    assert_int_equal(a->u.call.why.code, ERR_LEADERSHIP_LOST);
    assert_true(a->u.call.top_level);
    assert_non_null(strstr(a->u.call.why.text, "outcome is unknown"));
    asked_free(a);
    WAIT_FOR(settled(w.s));
    assert_true(count_of(f, "t") <= 1);
    broken_free(&w);
}

/* The leader comes back in the same office only as a new process, which remembers
 * nothing: it must not run the write again. */
static void a_leader_that_was_restarted_does_not_run_a_repeat(void **state)
{
    struct broken w = broken_new("MARKED");
    struct member_node *f = follower_of(w.s, 0), *l = leader_of(w.s);
    struct breaker *b = before(&w, l);
    struct asked *a;

    (void)state;
    expect(execute_on(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)"), "{0,0}");
    atomic_store(&b->armed, true);
    atomic_store(&b->refuse, true);
    a = execute_asked("INSERT INTO t(v) VALUES('MARKED')");
    cluster_execute(f->cluster, &a->u.execute);
    WAIT_FOR(atomic_load(&b->broken) == 1);
    node_down(l);
    atomic_store(&b->refuse, false);
    node_up(l);
    asked_wait(a);
    if (a->u.call.why.code == ERR_OK)
        fail_msg("answered by a node that cannot know: %s", asked_text(a));
    assert_int_equal(a->u.call.why.code, ERR_LEADERSHIP_LOST);
    asked_free(a);
    WAIT_FOR(settled(w.s));
    assert_true(count_of(f, "t") <= 1);
    broken_free(&w);
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
        cmocka_unit_test(an_id_is_two_numbers),
        cmocka_unit_test(a_repeat_finds_its_entry_until_its_caller_needs_it_no_more),
        cmocka_unit_test(what_never_arrived_is_new_and_what_may_have_been_run_is_not),
        cmocka_unit_test(what_arrives_late_is_not_run_again),
        cmocka_unit_test(entries_dropped_for_room_are_forgotten_and_not_run_again),
        cmocka_unit_test(the_session_that_was_silent_longest_makes_room),
        cmocka_unit_test(a_repeated_write_is_answered_and_not_run_again),
        cmocka_unit_test(a_repeat_meets_the_write_while_it_is_under_way),
        cmocka_unit_test(a_caller_that_is_gone_finds_its_answer_when_it_comes_back),
        cmocka_unit_test(a_repeat_that_nobody_remembers_has_an_unknown_outcome),
        cmocka_unit_test(a_follower_repeats_a_write_whose_answer_was_lost),
        cmocka_unit_test(a_write_whose_answer_broke_off_tells_its_sink_once),
        cmocka_unit_test(a_read_whose_answer_was_lost_is_asked_again),
        cmocka_unit_test(without_the_leader_the_outcome_is_unknown),
        cmocka_unit_test(a_leader_that_was_restarted_does_not_run_a_repeat),
    };

    if (getenv("T")) cmocka_set_test_filter(getenv("T"));
    return cmocka_run_group_tests(tests, up, down);
}
