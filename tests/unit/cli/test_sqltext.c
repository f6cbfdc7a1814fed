/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/shell/sqltext.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

/* Fed line by line, as from a file. */
static enum sqltext_end state_of(const char *text)
{
    struct sqltext s;

    sqltext_init(&s);
    while (*text) {
        const char *nl = strchr(text, '\n');
        size_t len = nl ? (size_t)(nl + 1 - text) : strlen(text);
        sqltext_line(&s, text, len);
        text += len;
    }
    return sqltext_state(&s);
}

#define ASSERT_ALL(rows, wanted)                                                         \
    for (size_t i = 0; i < COUNT(rows); i++) {                                           \
        enum sqltext_end got = state_of(rows[i]);                                        \
        if (got != (wanted)) fail_msg("%s: %d", rows[i], (int)got);                      \
    }

static void a_semicolon_ends_a_statement(void **state)
{
    static const char *const rows[] = {
        "SELECT 1;",
        "SELECT 1; -- x",
        "SELECT 1; /* x */",
        "SELECT 1; SELECT 2;",
        "SELECT ';';",
        "SELECT 1 /* ; */;",
        "INSERT INTO t VALUES('it''s');",
        "CREATE TABLE t(\n a, -- ;(\n b\n);\n",
        "SELECT \"a;\", [b;], `c;`\n;",
        ";",
    };

    (void)state;
    ASSERT_ALL(rows, SQLTEXT_DONE);
}

static void an_open_statement_goes_on(void **state)
{
    static const char *const rows[] = {
        "SELECT 'a",
        "SELECT 'a;\n",
        "SELECT 'it''s",
        "SELECT \"a;",
        "SELECT `a;",
        "SELECT [a;",
        "SELECT 1 /* ;",
        "SELECT 1; /* ;\n",
        "CREATE TABLE t (\n  a,\n",
        "SELECT a,",
        "SELECT 1 +",
        "SELECT * FROM",
        "SELECT 1 UNION ALL",
        "CREATE VIEW v AS\n",
        "INSERT INTO t(a, b)\n",
        "INSERT INTO t",
        "REPLACE INTO t",
        "WITH x AS (SELECT 1)\n",
        "WITH x AS (SELECT 1) INSERT INTO t",
        "EXPLAIN",
        "EXPLAIN QUERY PLAN\n",
        "EXPLAIN INSERT INTO t",
        "ALTER TABLE t",
        "SELECT CASE WHEN a THEN b",
        "INSERT INTO t VALUES(1) ON CONFLICT DO\n",
        "UPDATE t SET a = (",
    };

    (void)state;
    ASSERT_ALL(rows, SQLTEXT_OPEN);
}

static void a_whole_line_may_be_the_end(void **state)
{
    static const char *const rows[] = {
        "SELECT 1",
        "SELECT * FROM foo\n",
        "DELETE FROM foo",
        "INSERT INTO t VALUES(1)",
        "INSERT INTO t SELECT 1",
        "INSERT INTO t DEFAULT VALUES",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "ALTER TABLE t ADD COLUMN c",
        "SELECT CASE WHEN a THEN b END",
        "SELECT 1; SELECT 2",
        "SELECT 1 -- and",
        "CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT)",
        "BEGIN",
        "SELECT 'a'",
    };

    (void)state;
    ASSERT_ALL(rows, SQLTEXT_MAYBE);
}

static void a_trigger_ends_with_its_end(void **state)
{
    static const char *const open[] = {
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN\n",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1;",
        "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; SELECT 2;\n",
        "create temporary trigger x BEGIN\n SELECT CASE 1 WHEN 1 THEN 2 END;\n",
        "EXPLAIN CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1;",
        "CREATE TRIGGER x BEGIN SELECT ';END;';",
    };
    static const char *const done[] = {
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN\n  SELECT 1;\nEND;\n",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; end /* x */ ;",
        "CREATE TABLE trigger_log(a);",
        "CREATE TABLE t(a); SELECT 1;",
    };
    static const char *const maybe[] = {
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
    };

    (void)state;
    ASSERT_ALL(open, SQLTEXT_OPEN);
    ASSERT_ALL(done, SQLTEXT_DONE);
    ASSERT_ALL(maybe, SQLTEXT_MAYBE);
}

static void blanks_and_comments_are_nothing(void **state)
{
    static const char *const rows[] = {"", " \t\n", "-- x\n", "/* x */",
                                       "/* x\n y */ -- z"};

    (void)state;
    ASSERT_ALL(rows, SQLTEXT_BLANK);
}

static void the_next_line_decides_by_its_first_word(void **state)
{
    static const struct {
        const char *line;
        bool starts;
    } rows[] = {
        {"SELECT 1", true},      {"  insert into t", true},
        {"END;", true},          {"PRAGMA x", true},
        {"WHERE id = 1", false}, {"FROM t", false},
        {"VALUES (1)", true},    {"(1)", false},
        {"SELECTED", false},     {"", false},
        {"-- SELECT", false},    {"'SELECT'", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(sqltext_starts(rows[i].line, strlen(rows[i].line)),
                         rows[i].starts);
}

static void ignorable_lines(void **state)
{
    (void)state;
    assert_true(sqltext_ignorable("", 0));
    assert_true(sqltext_ignorable(" \t\r\n", 4));
    assert_true(sqltext_ignorable("  -- x", 6));
    assert_false(sqltext_ignorable("-1", 2));
    assert_false(sqltext_ignorable("-", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_semicolon_ends_a_statement),
        cmocka_unit_test(an_open_statement_goes_on),
        cmocka_unit_test(a_whole_line_may_be_the_end),
        cmocka_unit_test(a_trigger_ends_with_its_end),
        cmocka_unit_test(blanks_and_comments_are_nothing),
        cmocka_unit_test(the_next_line_decides_by_its_first_word),
        cmocka_unit_test(ignorable_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
