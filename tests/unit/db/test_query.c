/* SPDX-License-Identifier: MIT */
/* The read path: HTTP API 5.2, 5.3, 5.6, 6.2, 7.1, 8.4. */
#include <pthread.h>

#include "core/base/clock.h"
#include "tests/unit/db/db_test.h"

static int open_memory(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    fixture_open(f, false, false);
    *state = f;
    return 0;
}
static int close_it(void **state)
{
    fixture_close(*state);
    free(*state);
    return 0;
}

static const char ENDLESS[] = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 "
                              "FROM c) SELECT count(*) FROM c";

static void every_string_has_an_entry_but_the_empty_one(void **state)
{
    struct fixture *f = *state;
    assert_text(query(f, "SELECT 1", "", " ", "-- c", "SELECT 2", NULL),
                "(1) [1] | () | () | (2) [2]");
    assert_text(query(f, "BEGIN", "SELECT 1", "COMMIT", NULL), "() | (1) [1] | ()");
}

static void the_last_statement_of_a_string_answers(void **state)
{
    struct fixture *f = *state;
    assert_text(
        query(f, "SELECT 1; SELECT 2", "SELECT 1;", "SELECT 1; ", "SELECT 1; -- end",
              "SELECT 1; SELEC", "SELECT bad; SELECT 2", NULL),
        "(2) [2] | (1) [1] | (1) [1] | () | read error: near \"SELEC\": syntax error | "
        "read error: no such column: bad");
}

static void rows_before_a_run_time_error_do_not_count(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1),(2),('{bad')", NULL);
    assert_text(query(f, "SELECT json(a) FROM t", "SELECT 1", NULL),
                "read error: malformed JSON | (1) [1]");
}

static void columns_have_names_and_declared_types(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE foo(id INTEGER PRIMARY KEY, name VARCHAR(20), u)",
            "CREATE TABLE bar(id INTEGER PRIMARY KEY, note TEXT)",
            "INSERT INTO foo VALUES(1,'a',NULL)", "INSERT INTO bar VALUES(1,'n')",
            "CREATE VIEW v AS SELECT name AS n FROM foo", NULL);
    assert_text(
        query(f, "SELECT id, id, name AS N, u, id+1 FROM foo", "SELECT * FROM v", NULL),
        "(id:INTEGER, id:INTEGER, N:VARCHAR(20), u, id+1) [1, 1, 'a', null, 2] | "
        "(n:VARCHAR(20)) ['a']");
    struct db_stmt s[] = {
        {.sql = "SELECT f.id, b.note AS n, 1+1 AS two FROM foo f JOIN bar b ON f.id=b.id",
         .sql_len = 71},
        {.sql = "SELECT * FROM nosuch", .sql_len = 20}};
    struct db_request req = {.stmts = s, .n = 2, .qualify_columns = true};
    assert_text(query_request(f, &req), "(foo.id:INTEGER, bar.n:TEXT, two) [1, 'n', 2] | "
                                        "read error: no such table: nosuch");
}

static void a_kept_statement_follows_the_schema(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)", NULL);
    assert_text(query(f, "SELECT * FROM t", NULL), "(a) [1]");
    execute(f, "ALTER TABLE t ADD COLUMN b INT DEFAULT 7", NULL);
    assert_text(query(f, "SELECT * FROM t", NULL), "(a, b:INT) [1, 7]");
    execute(f, "DROP TABLE t", NULL);
    assert_text(query(f, "SELECT * FROM t", NULL), "read error: no such table: t");
}

static void a_transaction_sees_one_state_and_goes_on_after_errors(void **state)
{
    struct fixture *f = *state;
    struct db_stmt s[] = {{.sql = "SELECT 1", .sql_len = 8},
                          {.sql = "SELECT * FROM nosuch", .sql_len = 20},
                          {.sql = "INSERT INTO t VALUES(1)", .sql_len = 23},
                          {.sql = "SELECT 2", .sql_len = 8}};
    struct db_request req = {.stmts = s, .n = 4, .transaction = true};
    execute(f, "CREATE TABLE t(a)", NULL);
    assert_text(query_request(f, &req),
                "(1) [1] | read error: no such table: nosuch | "
                "read error: attempt to change database via query operation | (2) [2]");
    query(f, "BEGIN", "SELECT * FROM t", NULL);
    execute(f, "INSERT INTO t VALUES(5)", NULL);
    assert_text(query(f, "SELECT * FROM t", NULL), "(a) [5]");
}

static void a_query_over_its_time_ends_with_query_timeout(void **state)
{
    struct fixture *f = *state;
    struct db_stmt s[] = {{.sql = "SELECT 1", .sql_len = 8},
                          {.sql = ENDLESS, .sql_len = sizeof ENDLESS - 1},
                          {.sql = "SELECT 2", .sql_len = 8}};
    struct db_request req = {.stmts = s, .n = 3, .limited = true, .timeout_ns = 50000000};
    uint64_t began = clock_mono_ns(clock_real());
    assert_text(query_request(f, &req),
                "(1) [1] | read error: query timeout | read error: query timeout");
    assert_true(clock_mono_ns(clock_real()) - began < 5000000000);
    assert_text(query(f, "SELECT 1", NULL), "(1) [1]");
}

static void *cancel_soon(void *flag)
{
    usleep(20000);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

static void a_query_can_be_cancelled_from_another_thread(void **state)
{
    struct fixture *f = *state;
    struct db_stmt s = {.sql = ENDLESS, .sql_len = sizeof ENDLESS - 1};
    struct db_request req = {.stmts = &s, .n = 1};
    atomic_bool cancel = false;
    pthread_t t;
    pthread_create(&t, NULL, cancel_soon, &cancel);
    assert_int_equal(db_reader_query(f->reader, &req, &cancel, &f->sink.base, NULL),
                     ERR_OK);
    pthread_join(t, NULL);
    assert_text(fixture_text(f), "read error: interrupted");
}

static void a_sink_that_takes_no_more_ends_the_request(void **state)
{
    struct fixture *f = *state;
    f->sink.rows_left = 2;
    assert_text(query(f, "VALUES(1),(2),(3),(4)", "SELECT 9", NULL), "(column1) [1] [2]");
}

static bool is_read(struct fixture *f, const char *sql)
{
    struct db_stmt s = {.sql = sql, .sql_len = strlen(sql)};
    struct db_request req = {.stmts = &s, .n = 1};
    return db_reader_is_read_only(f->reader, &req);
}

static void the_first_statement_of_a_string_says_whether_it_reads(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE t(a)", NULL);
    assert_true(is_read(f, "SELECT * FROM t"));
    assert_true(is_read(f, "SELECT 1; DELETE FROM t"));
    assert_true(is_read(f, "EXPLAIN DELETE FROM t"));
    assert_true(is_read(f, "EXPLAIN QUERY PLAN DELETE FROM t"));
    assert_true(is_read(f, "PRAGMA table_info(t)"));
    assert_true(is_read(f, "PRAGMA journal_mode"));
    assert_false(is_read(f, "DELETE FROM t; SELECT 1"));
    assert_false(is_read(f, "INSERT INTO t VALUES(1) RETURNING a"));
    assert_false(is_read(f, "SELECT * FROM nosuch"));
    assert_false(is_read(f, "SELEC"));
    assert_false(is_read(f, "PRAGMA user_version=1"));
    assert_false(is_read(f, "ATTACH ':memory:' AS x"));
}

static const char *syntax(struct fixture *f, const char *sql)
{
    static char err[200];
    db_reader_check_syntax(f->reader, sql, strlen(sql), err, sizeof err);
    return err;
}

static void only_bad_grammar_is_a_syntax_error(void **state)
{
    struct fixture *f = *state;
    assert_text(syntax(f, "SELECT 1"), "");
    assert_text(syntax(f, "SELECT * FROM nosuch"), "");
    assert_text(syntax(f, "SELECT nofunc(1)"), "");
    assert_text(syntax(f, "nonsense"), "near \"nonsense\": syntax error");
    assert_text(syntax(f, "SELECT"), "incomplete input");
    assert_text(syntax(f, "SELECT 'x"), "unrecognized token: \"'x\"");
    assert_text(syntax(f, "SELECT 1; SELEC"), "near \"SELEC\": syntax error");
    assert_text(syntax(f, ""), "");
    assert_text(syntax(f, "PRAGMA foreign_keys=1"), "");
    assert_text(query(f, "PRAGMA foreign_keys", NULL), "(foreign_keys) [0]");
}

static void wide_rows_and_many_columns_pass(void **state)
{
    struct fixture *f = *state;
    struct buf sql;
    buf_init(&sql, 0);
    buf_append_str(&sql, "SELECT 0");
    for (int i = 1; i < 2000; i++) buf_printf(&sql, ",%d", i);
    struct db_stmt s = {.sql = (char *)sql.data, .sql_len = sql.len};
    struct db_request req = {.stmts = &s, .n = 1};
    buf_append_u8(&sql, 0);
    assert_non_null(strstr(query_request(f, &req), "1998, 1999]"));
    buf_fini(&sql);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_memory, close_it)
    const struct CMUnitTest tests[] = {
        T(every_string_has_an_entry_but_the_empty_one),
        T(the_last_statement_of_a_string_answers),
        T(rows_before_a_run_time_error_do_not_count),
        T(columns_have_names_and_declared_types),
        T(a_kept_statement_follows_the_schema),
        T(a_transaction_sees_one_state_and_goes_on_after_errors),
        T(a_query_over_its_time_ends_with_query_timeout),
        T(a_query_can_be_cancelled_from_another_thread),
        T(a_sink_that_takes_no_more_ends_the_request),
        T(the_first_statement_of_a_string_says_whether_it_reads),
        T(only_bad_grammar_is_a_syntax_error),
        T(wide_rows_and_many_columns_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
