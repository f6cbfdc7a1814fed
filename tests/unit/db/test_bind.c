/* SPDX-License-Identifier: MIT */
/* Parameters: HTTP API 4.1 and 4.2. */
#include "tests/unit/db/db_test.h"

#define INT(v)                                                                           \
    {                                                                                    \
        NULL,                                                                            \
        {                                                                                \
            .type = DB_INTEGER, .u.i = (v)                                               \
        }                                                                                \
    }
#define NAMED(n, v)                                                                      \
    {                                                                                    \
        (n),                                                                             \
        {                                                                                \
            .type = DB_INTEGER, .u.i = (v)                                               \
        }                                                                                \
    }
#define TEXT(t)                                                                          \
    {                                                                                    \
        NULL,                                                                            \
        {                                                                                \
            .type = DB_TEXT, .u.s = {(t), sizeof(t) - 1 }                                \
        }                                                                                \
    }
#define BLOB(t)                                                                          \
    {                                                                                    \
        NULL,                                                                            \
        {                                                                                \
            .type = DB_BLOB, .u.s = {(t), sizeof(t) - 1 }                                \
        }                                                                                \
    }
#define REAL(v)                                                                          \
    {                                                                                    \
        NULL,                                                                            \
        {                                                                                \
            .type = DB_REAL, .u.r = (v)                                                  \
        }                                                                                \
    }
#define NOTHING                                                                          \
    {                                                                                    \
        NULL,                                                                            \
        {                                                                                \
            .type = DB_NULL                                                              \
        }                                                                                \
    }

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

static const char *ask(struct fixture *f, const char *sql, const struct db_param *params,
                       size_t n)
{
    struct db_stmt s = {
        .sql = sql, .sql_len = strlen(sql), .params = params, .n_params = n};
    struct db_request req = {.stmts = &s, .n = 1};
    return query_request(f, &req);
}
static const char *tell(struct fixture *f, const char *sql, const struct db_param *params,
                        size_t n)
{
    struct db_stmt s = {
        .sql = sql, .sql_len = strlen(sql), .params = params, .n_params = n};
    struct db_request req = {.stmts = &s, .n = 1};
    return apply_request(f, &req);
}
#define ASK(f, sql, ...)                                                                 \
    ask(f, sql, (const struct db_param[]){__VA_ARGS__},                                  \
        sizeof((const struct db_param[]){__VA_ARGS__}) / sizeof(struct db_param))
#define TELL(f, sql, ...)                                                                \
    tell(f, sql, (const struct db_param[]){__VA_ARGS__},                                 \
         sizeof((const struct db_param[]){__VA_ARGS__}) / sizeof(struct db_param))

static void values_keep_their_type(void **state)
{
    struct fixture *f = *state;
    assert_text(ASK(f, "SELECT ? a, typeof(?1) b", INT(INT64_MIN)),
                "(a, b) [-9223372036854775808, 'integer']");
    assert_text(ASK(f, "SELECT ? a, typeof(?1) b", REAL(1.5)), "(a, b) [1.5, 'real']");
    assert_text(ASK(f, "SELECT ? a, typeof(?1) b", REAL(1.0)), "(a, b) [1, 'real']");
    assert_text(ASK(f, "SELECT ? a, typeof(?1) b", TEXT("x")), "(a, b) ['x', 'text']");
    assert_text(ASK(f, "SELECT ? a, typeof(?1) b", TEXT("")), "(a, b) ['', 'text']");
    assert_text(ASK(f, "SELECT ? a, typeof(?1) b", BLOB("\0\x01")),
                "(a, b) [x'0001', 'blob']");
    assert_text(ASK(f, "SELECT ? a, typeof(?1) b", BLOB("")), "(a, b) [x'', 'blob']");
    assert_text(ASK(f, "SELECT ? a, typeof(?1) b", NOTHING), "(a, b) [null, 'null']");
    assert_text(ASK(f, "SELECT hex(?) h, length(?1) n", TEXT("a\0b")),
                "(h, n) ['610062', 1]");
}

static void unnamed_entries_go_by_position(void **state)
{
    struct fixture *f = *state;
    assert_text(ASK(f, "SELECT ?2 a, ?1 b", INT(1), INT(2)), "(a, b) [2, 1]");
    assert_text(ASK(f, "SELECT ?1, ?1", INT(7)), "(?1, ?1) [7, 7]");
    assert_text(ASK(f, "SELECT ?3 a", INT(1), INT(2), INT(3)), "(a) [3]");
    assert_text(ASK(f, "SELECT ? a", INT(1), INT(2), INT(3)), "(a) [1]");
    assert_text(ASK(f, "SELECT 1 a", INT(5)), "(a) [1]");
}

static void named_entries_match_any_prefix(void **state)
{
    struct fixture *f = *state;
    assert_text(
        ASK(f, "SELECT :a x, $b y, @c z", NAMED("a", 1), NAMED("b", 2), NAMED("c", 3)),
        "(x, y, z) [1, 2, 3]");
    assert_text(ASK(f, "SELECT :a, :b", NAMED("a", 1), NAMED("c", 3)),
                "(:a, :b) [1, null]");
    assert_text(ASK(f, "SELECT :a", NAMED("A", 1)), "(:a) [null]");
    assert_text(ASK(f, "SELECT :a, @a, $a", NAMED("a", 1)),
                "read error: not enough args to execute query: want 3 got 1");
    assert_text(ASK(f, "SELECT :a, @a, $a", NAMED("a", 1), NAMED("x", 1), NAMED("y", 1)),
                "(:a, @a, $a) [1, 1, 1]");
    assert_text(ASK(f, "SELECT ?, :a", INT(7), NAMED("a", 1)), "(?, :a) [7, 1]");
    assert_text(ASK(f, "SELECT :a", NAMED("a", 1), NAMED("a", 2)), "(:a) [2]");
    assert_text(ASK(f, "SELECT :a", NAMED("", 4)), "(:a) [4]");
    assert_text(ASK(f, "SELECT :\xc3\xa9t\xc3\xa9 x", NAMED("\xc3\xa9t\xc3\xa9", 9)),
                "(x) [9]");
}

static void a_cached_statement_keeps_nothing_of_the_last_values(void **state)
{
    struct fixture *f = *state;
    assert_text(ASK(f, "SELECT :a, :b", NAMED("a", 1), NAMED("b", 2)), "(:a, :b) [1, 2]");
    assert_text(ASK(f, "SELECT :a, :b", NAMED("a", 1), NAMED("c", 2)),
                "(:a, :b) [1, null]");
    execute(f, "CREATE TABLE t(a)", NULL);
    assert_text(TELL(f, "INSERT INTO t VALUES(?)", INT(5)), "id=1 n=1");
    assert_text(execute(f, "INSERT INTO t VALUES(?)", NULL), "id=2 n=1");
    assert_text(query(f, "SELECT a FROM t", NULL), "(a) [5] [null]");
}

static void a_name_begins_with_a_letter(void **state)
{
    struct fixture *f = *state;
    assert_text(ASK(f, "SELECT :a", NAMED(":a", 1)),
                "read error: name \":a\" does not begin with a letter");
    assert_text(ASK(f, "SELECT :a", NAMED("1a", 1)),
                "read error: name \"1a\" does not begin with a letter");
    assert_text(ASK(f, "SELECT :a", NAMED("_a", 1)),
                "read error: name \"_a\" does not begin with a letter");
    assert_text(ASK(f, "SELECT :a", NAMED("\xe2\x82\xac", 1)),
                "read error: name \"\xe2\x82\xac\" does not begin with a letter");
    assert_text(TELL(f, "SELEC", NAMED("$x", 1)),
                "error: name \"$x\" does not begin with a letter");
}

static void too_few_entries_are_an_error(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE t(a,b)", NULL);
    assert_text(ASK(f, "SELECT ?, ?", INT(1)),
                "read error: not enough args to execute query: want 2 got 1");
    assert_text(query(f, "SELECT ?", NULL),
                "read error: not enough args to execute query: want 1 got 0");
    assert_text(TELL(f, "INSERT INTO t VALUES(?,?)", INT(1)),
                "error: not enough args to execute query: want 2 got 1");
    assert_text(execute(f, "INSERT INTO t VALUES(?,?)", NULL), "id=1 n=1");
    struct db_stmt s = {.sql = "INSERT INTO t VALUES(?,?)", .sql_len = 25};
    struct db_request req = {.stmts = &s, .n = 1, .limited = true, .max_steps = 1000000};
    assert_text(apply_request(f, &req),
                "error: not enough args to execute query: want 2 got 0");
    assert_text(query(f, "SELECT * FROM t", NULL), "(a, b) [null, null]");
}

static void statements_of_one_string_share_the_list(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE t(a,b)", NULL);
    assert_text(TELL(f, "INSERT INTO t VALUES(?,?); INSERT INTO t VALUES(:n,?)", INT(1),
                     INT(2), INT(3), INT(4), NAMED("n", 9)),
                "id=2 n=1");
    assert_text(query(f, "SELECT * FROM t", NULL), "(a, b) [1, 2] [9, 4]");
    assert_text(
        TELL(f, "INSERT INTO t VALUES(?,5); INSERT INTO t VALUES(?,?)", INT(1), INT(2)),
        "error: not enough args to execute query: want 2 got 2");
    assert_text(ASK(f, "SELECT ?; SELECT ?, ?", INT(1), INT(2)),
                "read error: not enough args to execute query: want 2 got 1");
    assert_text(ASK(f, "SELECT ?; SELECT ?, ?", INT(1), INT(2), INT(3)), "(?, ?) [2, 3]");
}

static void there_may_be_32766_parameters(void **state)
{
    struct fixture *f = *state;
    struct db_param *p = calloc(32766, sizeof *p);
    for (int i = 0; i < 32766; i++)
        p[i].value = (struct db_value){.type = DB_INTEGER, .u.i = i};
    assert_text(ask(f, "SELECT ?32766 a", p, 32766), "(a) [32765]");
    assert_text(ask(f, "SELECT ?32767 a", p, 32766),
                "read error: variable number must be between ?1 and ?32766");
    free(p);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_memory, close_it)
    const struct CMUnitTest tests[] = {
        T(values_keep_their_type),
        T(unnamed_entries_go_by_position),
        T(named_entries_match_any_prefix),
        T(a_cached_statement_keeps_nothing_of_the_last_values),
        T(a_name_begins_with_a_letter),
        T(too_few_entries_are_an_error),
        T(statements_of_one_string_share_the_list),
        T(there_may_be_32766_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
