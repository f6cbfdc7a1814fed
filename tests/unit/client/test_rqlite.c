/* SPDX-License-Identifier: MIT */
/* The C client against nodes that do what their statements say (fake.h). */
#include "tests/unit/client/fake.h"

#include <math.h>
#include <poll.h>
#include <sys/resource.h>
#include <time.h>

#include "clients/c/include/rqlite.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

#ifdef CLIENT_TLS
#include "tests/unit/tls/certs.h"

static struct certs certs;
static struct tls *node_tls;

static int make_certificates(void **state)
{
    struct tls_options o;

    (void)state;
    certs_open(&certs);
    certs_issue(&certs, "node", "node", "IP:127.0.0.1");
    o = certs_options(&certs, "node");
    node_tls = certs_tls(&o);
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    tls_free(node_tls);
    certs_close(&certs);
    return 0;
}

/* Nodes and clients over TLS from here on. */
static void open_encrypted(struct fake *f, const struct fake_options *o)
{
    struct fake_options with = o ? *o : (struct fake_options){.tls = NULL};

    with.tls = node_tls;
    fake_open(f, &with);
}
#define fake_open open_encrypted
#endif

static const char *ca_file(void)
{
#ifdef CLIENT_TLS
    return certs_path(&certs, "ca.pem");
#else
    return NULL;
#endif
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* For conditions on the other thread. */
#define WAIT(condition)                                                                  \
    do {                                                                                 \
        uint64_t since = now_ms();                                                       \
        while (!(condition)) {                                                           \
            if (now_ms() - since > 20000)                                                \
                fail_msg("waited in vain for: %s", #condition);                          \
            usleep(1000);                                                                \
        }                                                                                \
    } while (0)

static struct rqlite *open_client(const char *nodes)
{
    struct rqlite_options o = {.nodes = nodes, .timeout_ms = 20000, .tls_ca = ca_file()};
    struct rqlite_error error;
    struct rqlite *db;

    if (rqlite_open(&db, &o, &error)) fail_msg("open: %s", error.text);
    return db;
}

static struct rqlite *open_both(const struct fake *a, const struct fake *b)
{
    char nodes[80];

    snprintf(nodes, sizeof nodes, "%s,%s", a->address, b->address);
    return open_client(nodes);
}

static struct rqlite_call *start(struct rqlite *db, bool write, const char *sql,
                                 int64_t timeout_ms)
{
    struct rqlite_statement s = {.sql = sql};
    struct rqlite_request r = {
        .statements = &s, .n_statements = 1, .timeout_ms = timeout_ms};
    struct rqlite_error error;
    struct rqlite_call *call;

    if ((write ? rqlite_execute : rqlite_query)(&call, db, &r, &error))
        fail_msg("start: %s", error.text);
    return call;
}

/* Take everything; how it ended. */
static struct rqlite_error drain(struct rqlite_call *call)
{
    struct rqlite_error error;
    struct rqlite_event e;
    enum rqlite_code code;

    while ((code = rqlite_next(call, &e)) == RQLITE_OK) {
    }
    error = *rqlite_call_error(call);
    assert_int_equal(code, error.code ? error.code : RQLITE_DONE);
    rqlite_free(call);
    return error;
}

static void must_write(struct rqlite *db, int64_t id)
{
    struct rqlite_written written;
    struct rqlite_error error;

    if (rqlite_write(db, &written, "write", NULL, 0, &error))
        fail_msg("write: %s", error.text);
    assert_int_equal(written.last_insert_id, id);
    assert_int_equal(written.rows_affected, 1);
}

/* --- values and results ----------------------------------------------------------- */

static void values_of_every_type_come_back_unchanged(void **state)
{
    static const char odd[] = "a\0\xff\xc3(";
    struct rqlite_param in[] = {{NULL, rqlite_integer(INT64_MIN)},
                                {NULL, rqlite_integer(INT64_MAX)},
                                {NULL, rqlite_integer(0)},
                                {NULL, rqlite_real(-0.0)},
                                {NULL, rqlite_real(0.1)},
                                {NULL, rqlite_real(INFINITY)},
                                {NULL, rqlite_real(NAN)},
                                {NULL, rqlite_text("Köhler")},
                                {NULL, rqlite_text("")},
                                {NULL, rqlite_bytes(RQLITE_TEXT, odd, 5)},
                                {NULL, rqlite_blob(odd, 5)},
                                {NULL, rqlite_blob(NULL, 0)},
                                {NULL, rqlite_null()},
                                {"name", rqlite_integer(42)}};
    size_t n = sizeof in / sizeof *in;
    struct rqlite_statement s = {"echo", in, n};
    struct rqlite_request r = {.statements = &s, .n_statements = 1};
    struct rqlite_call *call;
    struct rqlite_event e;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    for (int write = 0; write < 2; write++) {
        assert_int_equal((write ? rqlite_execute : rqlite_query)(&call, db, &r, NULL), 0);
        assert_int_equal(rqlite_next(call, &e), RQLITE_OK);
        assert_int_equal(e.kind, RQLITE_COLUMNS);
        assert_int_equal(e.n_columns, n);
        assert_int_equal(rqlite_next(call, &e), RQLITE_OK);
        assert_int_equal(e.kind, RQLITE_ROW);
        assert_int_equal(e.n_columns, n);
        for (size_t i = 0; i < n; i++) {
            const struct rqlite_value *out = &e.values[i], *want = &in[i].value;

            assert_int_equal(out->type, want->type);
            switch (want->type) {
            case RQLITE_NULL: break;
            case RQLITE_INTEGER: assert_true(out->integer == want->integer); break;
            case RQLITE_REAL:
                assert_memory_equal(&out->real, &want->real, sizeof out->real);
                break;
            case RQLITE_TEXT:
            case RQLITE_BLOB:
                assert_int_equal(out->len, want->len);
                assert_non_null(out->data);
                if (want->len) assert_memory_equal(out->data, want->data, want->len);
                assert_int_equal(out->data[out->len], 0);
                break;
            }
        }
        assert_int_equal(rqlite_next(call, &e), RQLITE_OK);
        assert_int_equal(e.kind, RQLITE_ROWS_END);
        assert_int_equal(e.elapsed_ns, 5);
        assert_int_equal(rqlite_next(call, &e), RQLITE_DONE);
        assert_int_equal(rqlite_next(call, &e), RQLITE_DONE);
        assert_int_equal(rqlite_call_index(call), 77);
        rqlite_free(call);
    }
    rqlite_close(db);
    fake_close(&f);
}

static void columns_have_names_and_declared_types(void **state)
{
    struct rqlite_param in[] = {{NULL, rqlite_null()}, {NULL, rqlite_null()}};
    struct rqlite_statement s = {"echo", in, 2};
    struct rqlite_request r = {.statements = &s, .n_statements = 1};
    struct rqlite_call *call;
    struct rqlite_event e;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    assert_int_equal(rqlite_query(&call, db, &r, NULL), RQLITE_OK);
    for (int i = 0; i < 2; i++) { /* with the row, too */
        assert_int_equal(rqlite_next(call, &e), RQLITE_OK);
        assert_string_equal(e.columns[0].name, "c0");
        assert_string_equal(e.columns[0].declared, "VARCHAR(10)");
        assert_string_equal(e.columns[1].name, "c1");
        assert_null(e.columns[1].declared);
    }
    rqlite_free(call);
    rqlite_close(db);
    fake_close(&f);
}

static void results_come_in_the_order_of_the_statements(void **state)
{
    static const struct {
        enum rqlite_event_kind kind;
        size_t statement;
    } want[] = {{RQLITE_WRITTEN, 0}, {RQLITE_ERROR, 1},    {RQLITE_COLUMNS, 2},
                {RQLITE_ROW, 2},     {RQLITE_ROWS_END, 2}, {RQLITE_WRITTEN, 3}};
    struct rqlite_statement s[] = {
        {.sql = "write"}, {.sql = "fail"}, {.sql = "echo"}, {.sql = "write"}};
    struct rqlite_request r = {.statements = s, .n_statements = 4, .transaction = true};
    struct rqlite_call *call;
    struct rqlite_event e;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    assert_int_equal(rqlite_execute(&call, db, &r, NULL), RQLITE_OK);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_int_equal(rqlite_next(call, &e), RQLITE_OK);
        assert_int_equal(e.kind, want[i].kind);
        assert_int_equal(e.statement, want[i].statement);
        if (e.kind == RQLITE_ERROR) assert_string_equal(e.text, "no such table: x");
        if (e.kind == RQLITE_ERROR) assert_int_equal(e.text_len, 16);
    }
    assert_int_equal(rqlite_next(call, &e), RQLITE_DONE);
    assert_int_equal(rqlite_call_error(call)->code, RQLITE_OK);
    rqlite_free(call);
    rqlite_close(db);
    fake_close(&f);
}

static void a_script_is_one_write(void **state)
{
    struct rqlite_call *call;
    struct rqlite_event e;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    assert_int_equal(rqlite_script(&call, db, "a;\0b;", 5, NULL, NULL), RQLITE_OK);
    assert_int_equal(rqlite_next(call, &e), RQLITE_OK);
    assert_int_equal(e.kind, RQLITE_WRITTEN);
    assert_int_equal(e.last_insert_id, 5);
    assert_int_equal(drain(call).code, RQLITE_OK);
    rqlite_close(db);
    fake_close(&f);
}

static void a_statement_or_request_that_fails_says_why(void **state)
{
    struct rqlite_error error;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    assert_int_equal(rqlite_write(db, NULL, "fail", NULL, 0, &error), RQLITE_SQL);
    assert_string_equal(error.text, "no such table: x");
    assert_false(error.unknown);
    assert_int_equal(rqlite_write(db, NULL, "top", NULL, 0, &error), RQLITE_FAILED);
    assert_string_equal(error.text, "no such table: x");
    assert_int_equal(rqlite_write(db, NULL, "garbage", NULL, 0, &error), RQLITE_PROTOCOL);
    assert_true(error.unknown);
    must_write(db, 1); /* the connection is still good */
    assert_int_equal(atomic_load(&f.repeats), 0);
    rqlite_close(db);
    fake_close(&f);
}

static long max_rss_kb(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void a_large_result_streams_in_bounded_memory(void **state)
{
    enum { ROWS = 200000, TAKEN_FIRST = 10 };
    struct rqlite_call *call;
    struct rqlite_event e;
    size_t rows = 0, seen;
    struct rqlite *db;
    struct fake f;
    long before;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    before = max_rss_kb();
    call = start(db, false, "many 200000", 60000);
    while (rows < TAKEN_FIRST) {
        assert_int_equal(rqlite_next(call, &e), RQLITE_OK);
        rows += e.kind == RQLITE_ROW;
    }
    /* What is not taken is not sent, but for the windows. */
    for (int i = 0; i < 50; i++) assert_int_equal(rqlite_process(db), RQLITE_OK);
    seen = atomic_load(&f.rows_sent);
    assert_true(seen * FAKE_ROW_BYTES < 8 << 20);
    while (rqlite_next(call, &e) == RQLITE_OK)
        if (e.kind == RQLITE_ROW) {
            assert_int_equal(e.values[0].len, FAKE_ROW_BYTES);
            rows++;
        }
    assert_int_equal(rows, ROWS);
    assert_int_equal(drain(call).code, RQLITE_OK);
    /* 200 MB have passed.  Sanitizers keep what was freed. */
    if (!SANITIZED) assert_true(max_rss_kb() - before < 32 << 10);
    rqlite_close(db);
    fake_close(&f);
}

static void wrong_use_is_said(void **state)
{
    struct rqlite_param bad = {NULL, {.type = (enum rqlite_type)9}};
    struct rqlite_statement empty = {.sql = ""}, odd = {"x", &bad, 1};
    struct rqlite_request r = {0};
    struct rqlite_options o = {0};
    struct rqlite_error error;
    struct rqlite_call *call;
    struct rqlite *db;

    (void)state;
    assert_int_equal(rqlite_open(&db, &o, &error), RQLITE_INVALID);
    assert_string_equal(error.text, "no address of a node was given");
    o.nodes = "a:1,,b:2";
    assert_int_equal(rqlite_open(&db, &o, &error), RQLITE_INVALID);
    o.nodes = "nowhere";
    assert_int_equal(rqlite_open(&db, &o, &error), RQLITE_INVALID);
    assert_null(db);
    db = open_client("127.0.0.1:1");
    assert_string_equal(rqlite_leader(db), "");
    assert_int_equal(rqlite_query(&call, db, &r, &error), RQLITE_INVALID);
    assert_null(call);
    r.n_statements = 1;
    r.statements = &empty;
    assert_int_equal(rqlite_query(&call, db, &r, &error), RQLITE_INVALID);
    assert_string_equal(error.text, "statement 0 is empty");
    r.statements = &odd;
    assert_int_equal(rqlite_query(&call, db, &r, &error), RQLITE_INVALID);
    assert_string_equal(error.text, "statement 0, parameter 0: no such value");
    assert_int_equal(rqlite_script(&call, db, "", 0, NULL, &error), RQLITE_INVALID);
    rqlite_free(NULL);
    rqlite_close(db);
    rqlite_close(NULL);
}

static void credentials_go_with_each_call(void **state)
{
    struct rqlite_options o = {.user = "bob", .password = "secret", .tls_ca = ca_file()};
    struct rqlite_error error;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    o.nodes = f.address;
    assert_int_equal(rqlite_open(&db, &o, &error), RQLITE_OK);
    must_write(db, 1);
    assert_string_equal(f.user, "bob");
    assert_string_equal(f.password, "secret");
    rqlite_close(db);
    o.user = "mallory";
    assert_int_equal(rqlite_open(&db, &o, &error), RQLITE_OK);
    assert_int_equal(rqlite_write(db, NULL, "write", NULL, 0, &error),
                     RQLITE_UNAUTHORIZED);
    assert_false(error.unknown);
    rqlite_close(db);
    fake_close(&f);
}

/* --- the end before the end ------------------------------------------------------- */

static void a_call_ends_at_its_deadline(void **state)
{
    struct rqlite_error error;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    must_write(db, 1);
    error = drain(start(db, false, "hang", 50));
    assert_int_equal(error.code, RQLITE_TIMEOUT);
    assert_false(error.unknown); /* it only reads */
    error = drain(start(db, true, "hang", 50));
    assert_int_equal(error.code, RQLITE_TIMEOUT);
    assert_true(error.unknown);
    WAIT(atomic_load(&f.gone) == 2); /* the node was told */
    must_write(db, 2);
    rqlite_close(db);
    fake_close(&f);
}

static void a_cancelled_call_is_told_to_the_node(void **state)
{
    struct rqlite_call *call, *other;
    struct rqlite_event e;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    must_write(db, 1);
    call = start(db, true, "hang", 0);
    other = start(db, false, "many 100000", 0);
    assert_int_equal(rqlite_next(other, &e), RQLITE_OK); /* both are there */
    rqlite_cancel(call);
    assert_int_equal(rqlite_next(call, &e), RQLITE_CANCELLED);
    assert_true(rqlite_call_error(call)->unknown);
    rqlite_free(call);
    rqlite_free(other); /* which cancels it */
    assert_int_equal(rqlite_process(db), RQLITE_OK);
    WAIT(atomic_load(&f.gone) == 2);
    call = start(db, true, "hang", 0);
    rqlite_close(db); /* frees what is left */
    fake_close(&f);
}

static void *interrupt_later(void *db)
{
    usleep(20000);
    rqlite_interrupt(db);
    return NULL;
}

static void an_interrupt_ends_what_is_waited_for(void **state)
{
    struct rqlite_error error;
    pthread_t thread;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    rqlite_interrupt(db); /* nothing is under way */
    must_write(db, 1);
    pthread_create(&thread, NULL, interrupt_later, db);
    error = drain(start(db, false, "hang", 0));
    assert_int_equal(error.code, RQLITE_CANCELLED);
    pthread_join(thread, NULL);
    must_write(db, 2);
    rqlite_close(db);
    fake_close(&f);
}

/* --- the leader ------------------------------------------------------------------- */

static void calls_go_to_the_leader(void **state)
{
    struct fake a, b;
    struct rqlite *db;

    (void)state;
    fake_open(&a, NULL);
    fake_open(&b, NULL);
    fake_set_leader(&a, b.address);
    db = open_client(a.address); /* b is learned */
    must_write(db, 1);
    must_write(db, 2);
    assert_string_equal(rqlite_leader(db), b.address);
    assert_int_equal(atomic_load(&b.applied), 2);
    assert_int_equal(atomic_load(&a.calls), 0);
    rqlite_close(db);
    fake_close(&a);
    fake_close(&b);
}

static void a_new_leader_is_found_when_the_old_one_refuses(void **state)
{
    struct fake a, b;
    struct rqlite *db;

    (void)state;
    fake_open(&a, NULL);
    fake_open(&b, NULL);
    fake_set_leader(&b, a.address);
    db = open_both(&a, &b);
    must_write(db, 1);
    fake_set_leader(&a, b.address);
    fake_set_leader(&b, b.address);
    b.refused = true;
    assert_int_equal(drain(start(db, true, "refuse", 0)).code, RQLITE_OK);
    assert_string_equal(rqlite_leader(db), b.address);
    /* It was tried again as a new call: nothing had happened. */
    assert_int_equal(atomic_load(&a.repeats) + atomic_load(&b.repeats), 0);
    must_write(db, 1);
    rqlite_close(db);
    fake_close(&a);
    fake_close(&b);
}

static void a_leader_that_is_gone_is_replaced(void **state)
{
    struct fake a, b;
    struct rqlite *db;

    (void)state;
    fake_open(&a, NULL);
    fake_open(&b, NULL);
    fake_set_leader(&b, a.address);
    db = open_both(&a, &b);
    must_write(db, 1);
    fake_kill(&a);
    fake_set_leader(&b, b.address);
    must_write(db, 1);
    assert_int_equal(atomic_load(&b.applied), 1);
    rqlite_close(db);
    fake_close(&a);
    fake_close(&b);
}

static void a_node_forwards_where_the_leader_cannot_be_reached(void **state)
{
    struct fake a;
    struct rqlite *db;

    (void)state;
    fake_open(&a, NULL);
    fake_set_leader(&a, "127.0.0.1:1");
    db = open_client(a.address);
    must_write(db, 1);
    must_write(db, 2);
    assert_string_equal(rqlite_leader(db), "");
    rqlite_close(db);
    fake_close(&a);
}

static void a_node_without_the_service_cluster_is_used(void **state)
{
    struct fake_options o = {.no_cluster = true};
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, &o);
    db = open_client(f.address);
    must_write(db, 1);
    rqlite_close(db);
    fake_close(&f);
}

static void without_a_leader_calls_fail_in_time(void **state)
{
    struct rqlite_error error;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    fake_set_leader(&f, "");
    db = open_client(f.address);
    error = drain(start(db, true, "write", 300));
    assert_int_equal(error.code, RQLITE_NO_LEADER);
    assert_false(error.unknown);
    assert_true(atomic_load(&f.infos) >= 2); /* it was asked again and again */
    fake_set_leader(&f, f.address);
    must_write(db, 1);
    rqlite_close(db);
    fake_close(&f);
}

static void without_a_node_calls_fail_in_time(void **state)
{
    struct rqlite_error error;
    struct rqlite *db;

    (void)state;
    db = open_client("127.0.0.1:1,127.0.0.1:2");
    error = drain(start(db, true, "write", 200));
    assert_int_equal(error.code, RQLITE_UNREACHABLE);
    assert_false(error.unknown);
    rqlite_close(db);
}

static void a_node_that_comes_late_is_found(void **state)
{
    struct rqlite_call *call;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    fake_kill(&f);
    db = open_client(f.address);
    call = start(db, true, "write", 0);
    for (uint64_t since = now_ms(); now_ms() - since < 50;) rqlite_process(db);
    fake_do(&f, fake_up);
    assert_int_equal(drain(call).code, RQLITE_OK);
    rqlite_close(db);
    fake_close(&f);
}

/* --- connections that break ------------------------------------------------------- */

static void a_write_whose_connection_breaks_is_repeated_under_its_id(void **state)
{
    struct rqlite_call *call;
    struct rqlite_event e;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    must_write(db, 1);
    call = start(db, true, "lose", 0);
    assert_int_equal(rqlite_next(call, &e), RQLITE_OK);
    assert_int_equal(e.last_insert_id, 2);
    assert_int_equal(drain(call).code, RQLITE_OK);
    assert_int_equal(atomic_load(&f.applied), 2);
    assert_int_equal(atomic_load(&f.repeats), 1);
    assert_int_equal(atomic_load(&f.n_ids), 3);
    assert_true(f.ids[1][0] == f.ids[0][0] && f.ids[2][0] == f.ids[0][0]);
    assert_true(f.ids[1][1] >> 24 == (f.ids[0][1] >> 24) + 1); /* serials */
    assert_true(f.ids[2][1] == (f.ids[1][1] | 1 << 23));       /* but for the mark */
    must_write(db, 3);
    rqlite_close(db);
    fake_close(&f);
}

static void the_outcome_is_unknown_when_the_node_is_gone(void **state)
{
    struct rqlite_error error;
    struct fake a, b;
    struct rqlite *db;

    (void)state;
    fake_open(&a, NULL);
    fake_open(&b, NULL);
    fake_set_leader(&b, a.address);
    db = open_both(&a, &b);
    must_write(db, 1);
    error = drain(start(db, true, "vanish", 0));
    assert_int_equal(error.code, RQLITE_UNKNOWN);
    assert_true(error.unknown);
    assert_int_equal(atomic_load(&b.calls), 0); /* it was not tried elsewhere */
    fake_set_leader(&b, b.address);
    must_write(db, 1);
    rqlite_close(db);
    fake_close(&a);
    fake_close(&b);
}

static void the_outcome_is_unknown_when_the_node_has_forgotten(void **state)
{
    struct rqlite_error error;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    error = drain(start(db, true, "forget", 0));
    assert_int_equal(error.code, RQLITE_UNKNOWN);
    assert_true(error.unknown);
    assert_string_equal(error.text, "nobody knows");
    rqlite_close(db);
    fake_close(&f);
}

static void a_read_whose_connection_breaks_is_asked_again_elsewhere(void **state)
{
    struct rqlite_call *call;
    struct fake a, b;
    struct rqlite *db;

    (void)state;
    fake_open(&a, NULL);
    fake_open(&b, NULL);
    fake_set_leader(&b, a.address);
    db = open_both(&a, &b);
    must_write(db, 1);
    call = start(db, false, "hang", 0);
    rqlite_process(db);
    WAIT(atomic_load(&a.calls) == 2);
    fake_kill(&a);
    fake_set_leader(&b, b.address);
    while (atomic_load(&b.calls) == 0) rqlite_process(db);
    rqlite_free(call);
    rqlite_close(db);
    fake_close(&a);
    fake_close(&b);
}

static void a_read_that_breaks_in_the_middle_fails(void **state)
{
    struct rqlite_error error;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    error = drain(start(db, false, "break 100", 0));
    assert_int_equal(error.code, RQLITE_UNREACHABLE);
    must_write(db, 1);
    rqlite_close(db);
    fake_close(&f);
}

static void an_idle_connection_that_was_closed_is_not_written_to(void **state)
{
    struct fake_options o = {.limits = {.idle_ping_ms = 100, .pong_ms = 100}};
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, &o);
    db = open_client(f.address);
    must_write(db, 1);
    usleep(1300000); /* nobody answers the node's ping meanwhile */
    must_write(db, 2);
    assert_int_equal(atomic_load(&f.repeats), 0);
    rqlite_close(db);
    fake_close(&f);
}

static void a_broken_pipe_does_not_end_the_program(void **state)
{
    struct sigaction now, before;
    struct rqlite_error error;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    signal(SIGPIPE, SIG_DFL);
    db = open_client(f.address);
    must_write(db, 1);
    for (int i = 0; i < 5; i++) {
        struct rqlite_call *call;

        fake_kill(&f);
        call = start(db, false, "write", 20);
        drain(call);
        fake_do(&f, fake_up);
        drain(start(db, false, "write", 0));
    }
    sigaction(SIGPIPE, NULL, &now);
    assert_true(now.sa_handler == SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGPIPE, NULL, &before);
    assert_int_equal(rqlite_write(db, NULL, "write", NULL, 0, &error), RQLITE_OK);
    rqlite_close(db);
    fake_close(&f);
}

/* --- event loops ------------------------------------------------------------------ */

struct looper {
    struct rqlite *db;
    int ready, done, events;
    int to_start;
};

static void looper_start(struct looper *l);

static void on_ready(struct rqlite_call *call, void *arg)
{
    struct looper *l = arg;
    struct rqlite_event e;
    enum rqlite_code code;

    l->ready++;
    while ((code = rqlite_try_next(call, &e)) == RQLITE_OK) l->events++;
    if (code == RQLITE_AGAIN) {
        assert_int_equal(rqlite_next(call, &e), RQLITE_INVALID);
        return;
    }
    assert_int_equal(code, RQLITE_DONE);
    assert_int_equal(rqlite_process(l->db), RQLITE_INVALID);
    rqlite_free(call);
    l->done++;
    if (l->to_start > 0) looper_start(l);
}

static void looper_start(struct looper *l)
{
    static const char *const sql[] = {"write", "many 3000", "echo"};
    struct rqlite_statement s = {.sql = sql[l->to_start % 3]};
    struct rqlite_request r = {
        .statements = &s, .n_statements = 1, .on_ready = on_ready, .arg = l};
    struct rqlite_call *call;

    l->to_start--;
    assert_int_equal(rqlite_query(&call, l->db, &r, NULL), RQLITE_OK);
}

/* Nothing happens unless the descriptor says so. */
static void poll_once(struct rqlite *db)
{
    struct pollfd p = {.fd = rqlite_fd(db), .events = POLLIN};

    if (poll(&p, 1, 10000) != 1) fail_msg("the descriptor did not become readable");
    assert_int_equal(rqlite_process(db), RQLITE_OK);
}

static void many_calls_are_driven_by_the_descriptor(void **state)
{
    /* The small answers are not sent in pieces, and must find room. */
    struct fake_options o = {.limits = {.high_water_bytes = 64 << 20}};
    struct looper l = {.to_start = 200};
    struct fake f;

    (void)state;
    fake_open(&f, &o);
    l.db = open_client(f.address);
    for (int i = 0; i < 10; i++) looper_start(&l);
    while (l.done < 200) poll_once(l.db);
    assert_true(l.ready >= 200);
    assert_int_equal(atomic_load(&f.calls), 200);
    rqlite_close(l.db);
    fake_close(&f);
}

static void note_ready(struct rqlite_call *call, void *arg)
{
    (void)call;
    ++*(int *)arg;
}

static void deadlines_and_lost_nodes_wake_the_descriptor(void **state)
{
    struct rqlite_statement s = {.sql = "hang"};
    int ready = 0;
    struct rqlite_request r = {.statements = &s,
                               .n_statements = 1,
                               .timeout_ms = 100,
                               .on_ready = note_ready,
                               .arg = &ready};
    struct pollfd p = {.events = POLLIN};
    struct rqlite_call *call;
    struct rqlite_event e;
    struct rqlite *db;
    struct fake f;

    (void)state;
    fake_open(&f, NULL);
    db = open_client(f.address);
    must_write(db, 1);
    assert_int_equal(rqlite_query(&call, db, &r, NULL), RQLITE_OK);
    assert_int_equal(rqlite_try_next(call, &e), RQLITE_AGAIN);
    while (!ready) poll_once(db);
    assert_int_equal(rqlite_try_next(call, &e), RQLITE_TIMEOUT);
    rqlite_free(call);

    fake_kill(&f);
    r.timeout_ms = 200;
    s.sql = "echo";
    assert_int_equal(rqlite_query(&call, db, &r, NULL), RQLITE_OK);
    ready = 0;
    while (!ready) poll_once(db);
    assert_int_equal(rqlite_try_next(call, &e), RQLITE_UNREACHABLE);
    rqlite_free(call);

    /* When there is nothing to do, the descriptor rests. */
    fake_do(&f, fake_up);
    must_write(db, 2);
    for (int i = 0; i < 10; i++) rqlite_process(db);
    p.fd = rqlite_fd(db);
    for (int i = 0; i < 20 && poll(&p, 1, 0) == 1; i++) rqlite_process(db);
    assert_int_equal(poll(&p, 1, 0), 0);
    rqlite_close(db);
    fake_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_type_come_back_unchanged),
        cmocka_unit_test(columns_have_names_and_declared_types),
        cmocka_unit_test(results_come_in_the_order_of_the_statements),
        cmocka_unit_test(a_script_is_one_write),
        cmocka_unit_test(a_statement_or_request_that_fails_says_why),
        cmocka_unit_test(a_large_result_streams_in_bounded_memory),
        cmocka_unit_test(wrong_use_is_said),
        cmocka_unit_test(credentials_go_with_each_call),
        cmocka_unit_test(a_call_ends_at_its_deadline),
        cmocka_unit_test(a_cancelled_call_is_told_to_the_node),
        cmocka_unit_test(an_interrupt_ends_what_is_waited_for),
        cmocka_unit_test(calls_go_to_the_leader),
        cmocka_unit_test(a_new_leader_is_found_when_the_old_one_refuses),
        cmocka_unit_test(a_leader_that_is_gone_is_replaced),
        cmocka_unit_test(a_node_forwards_where_the_leader_cannot_be_reached),
        cmocka_unit_test(a_node_without_the_service_cluster_is_used),
        cmocka_unit_test(without_a_leader_calls_fail_in_time),
        cmocka_unit_test(without_a_node_calls_fail_in_time),
        cmocka_unit_test(a_node_that_comes_late_is_found),
        cmocka_unit_test(a_write_whose_connection_breaks_is_repeated_under_its_id),
        cmocka_unit_test(the_outcome_is_unknown_when_the_node_is_gone),
        cmocka_unit_test(the_outcome_is_unknown_when_the_node_has_forgotten),
        cmocka_unit_test(a_read_whose_connection_breaks_is_asked_again_elsewhere),
        cmocka_unit_test(a_read_that_breaks_in_the_middle_fails),
        cmocka_unit_test(an_idle_connection_that_was_closed_is_not_written_to),
        cmocka_unit_test(a_broken_pipe_does_not_end_the_program),
        cmocka_unit_test(many_calls_are_driven_by_the_descriptor),
        cmocka_unit_test(deadlines_and_lost_nodes_wake_the_descriptor),
    };

#ifdef CLIENT_TLS
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
#else
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
