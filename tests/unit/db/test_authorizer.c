/* SPDX-License-Identifier: MIT */
/* What is refused: HTTP API 5.7, design 6.4. */
#include "tests/unit/db/db_test.h"

static void texts_that_refuse_a_request(void **state)
{
    static const struct {
        const char *sql;
        bool refused;
    } cases[] = {
        {"PRAGMA journal_mode=DELETE", true},
        {"PRAGMA journal_mode = wal", true},
        {" \t\npragma  main.journal_mode=off", true},
        {"PRAGMA journal_mode", false},
        {"PRAGMA journal_mode(off)", false},
        {"PRAGMA journal_modes=1", false},
        {"PRAGMA synchronous=FULL", true},
        {"PRAGMA x.synchronous\t=FULL", true},
        {"PRAGMA synchronous", false},
        {"PRAGMA query_only=1", true},
        {"PRAGMA query_only = 0", true},
        {"PRAGMA wal_autocheckpoint=1000", true},
        {"PRAGMA main.wal_autocheckpoint=1000", false},
        {"PRAGMA wal_autocheckpoint", false},
        {"PRAGMA wal_checkpoint", true},
        {"PRAGMA wal_checkpoint(TRUNCATE)", true},
        {"pragma main.wal_checkpoint;", true},
        {"PRAGMA", false},
        {"PRAGMA ", false},
        {"PRAGMA\0wal_checkpoint", false},
        {"", false},
        {"SELECT 'PRAGMA journal_mode=DELETE'", false},
        {"-- x\nPRAGMA journal_mode=DELETE", false},
        {"SELECT 1; PRAGMA journal_mode=DELETE", false},
        {"PRAGMA user_version=1", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (db_text_disallowed(cases[i].sql, strlen(cases[i].sql)) != cases[i].refused)
            fail_msg("%s", cases[i].sql);
}

/* Refused on either path, with this text. */
static const struct {
    const char *sql, *text;
} refused[] = {
    {"PRAGMA synchronous(1)", "disallowed pragma"},
    {"/* x */ PRAGMA journal_mode=DELETE", "disallowed pragma"},
    {"PRAGMA journal_mode('off')", "disallowed pragma"},
    {"SELECT 1; PRAGMA journal_mode=DELETE", "disallowed pragma"},
    {"PRAGMA query_only(0)", "disallowed pragma"},
    {"PRAGMA main.wal_autocheckpoint=5", "disallowed pragma"},
    {"PRAGMA main.wal_checkpoint", "disallowed pragma"},
    {"EXPLAIN PRAGMA wal_checkpoint", "disallowed pragma"},
    {"PRAGMA locking_mode=EXCLUSIVE", "disallowed pragma"},
    {"PRAGMA mmap_size=100000", "disallowed pragma"},
    {"PRAGMA temp_store_directory='/tmp'", "disallowed pragma"},
    {"PRAGMA writable_schema=1", "disallowed pragma"},
    {"PRAGMA writable_schema=RESET", "disallowed pragma"},
    {"PRAGMA busy_timeout=1", "disallowed pragma"},
    {"PRAGMA max_page_count=10", "disallowed pragma"},
    {"PRAGMA hard_heap_limit=1000", "disallowed pragma"},
    {"ATTACH 'x.db' AS x", "not authorized"},
    {"ATTACH '' AS x", "not authorized"},
    {"ATTACH 'file::memory:' AS x", "not authorized"},
    {"ATTACH ':mem'||'ory:' AS x", "not authorized"},
};

static void settings_and_files_are_refused_on_the_write_path(void **state)
{
    struct fixture f;
    char want[200];
    (void)state;
    fixture_open(&f, false, false);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(want, sizeof want, "error: %s", refused[i].text);
        const char *got = execute(&f, refused[i].sql, NULL);
        if (strcmp(got, want) != 0) fail_msg("%s: %s", refused[i].sql, got);
    }
    assert_text(execute(&f, "SELECT load_extension('x.so')", NULL),
                "error: not authorized");
    assert_text(execute(&f, "VACUUM INTO 'out.db'", NULL), "error: not authorized");
    assert_text(execute(&f, "VACUUM INTO ':memory:'", NULL), "error: not authorized");
    assert_text(execute(&f, "CREATE TABLE t(a)",
                        "INSERT INTO t SELECT sql FROM sqlite_stmt", NULL),
                "{} | error: access to sqlite_stmt.sql is prohibited");
    assert_text(execute(&f, "SELECT fts3_tokenizer('x', x'00')", NULL),
                "error: fts3tokenize disabled");
    assert_text(request(&f, "INSERT INTO t VALUES(1)", "PRAGMA journal_mode",
                        "PRAGMA synchronous", "PRAGMA locking_mode", NULL),
                "id=1 n=1 | (journal_mode) ['wal'] | (synchronous) [0] | (locking_mode) "
                "['normal']");
    fixture_close(&f);
}

static void settings_and_files_are_refused_on_the_read_path(void **state)
{
    struct fixture f;
    char want[200];
    (void)state;
    fixture_open(&f, true, false);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(want, sizeof want, "read error: %s", refused[i].text);
        const char *got = query(&f, refused[i].sql, NULL);
        if (strcmp(got, want) != 0) fail_msg("%s: %s", refused[i].sql, got);
    }
    assert_text(query(&f, "SELECT load_extension('x.so')", "ATTACH ':memory:' AS x",
                      "DETACH main", NULL),
                "read error: not authorized | read error: not authorized | read error: "
                "not authorized");
    fixture_close(&f);
}

static void writes_are_refused_on_the_read_path(void **state)
{
    static const char *const writes[] = {
        "INSERT INTO foo(name) VALUES('x')",
        "UPDATE foo SET name='y'",
        "DELETE FROM foo",
        "CREATE TABLE bar(a)",
        "DROP TABLE foo",
        "ALTER TABLE foo ADD COLUMN z",
        "CREATE INDEX i ON foo(name)",
        "VACUUM",
        "BEGIN IMMEDIATE",
        "PRAGMA user_version=9",
        "CREATE TEMP TABLE t(a)",
        "INSERT INTO foo(name) VALUES('x') RETURNING id",
        "SELECT 1; DELETE FROM foo",
        "DELETE FROM foo; SELECT 1",
        "VACUUM INTO 'x.db'",
        "ANALYZE",
    };
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE foo(id INTEGER PRIMARY KEY, name TEXT)",
            "INSERT INTO foo(name) VALUES('a')", NULL);
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
        const char *got = query(&f, writes[i], "SELECT 1 a", NULL);
        if (strcmp(
                got,
                "read error: attempt to change database via query operation | (a) [1]") !=
            0)
            fail_msg("%s: %s", writes[i], got);
    }
    assert_text(query(&f, "SELECT * FROM foo", "PRAGMA user_version", NULL),
                "(id:INTEGER, name:TEXT) [1, 'a'] | (user_version) [0]");
    fixture_close(&f);
}

static void a_setting_on_a_reader_does_not_leak(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    assert_text(query(&f, "PRAGMA foreign_keys=1", "PRAGMA foreign_keys", NULL),
                "() | (foreign_keys) [1]");
    assert_text(query(&f, "PRAGMA foreign_keys", NULL), "(foreign_keys) [0]");
    query(&f, "PRAGMA case_sensitive_like=1", NULL);
    assert_text(query(&f, "SELECT 'A' LIKE 'a' x", NULL), "(x) [1]");
    query(&f, "EXPLAIN PRAGMA recursive_triggers=1", NULL);
    assert_text(query(&f, "PRAGMA recursive_triggers", NULL), "(recursive_triggers) [0]");
    fixture_close(&f);
}

static void ordinary_pragmas_work(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    assert_text(execute(&f, "CREATE TABLE foo(id INTEGER PRIMARY KEY)",
                        "PRAGMA user_version=42", "PRAGMA application_id=7",
                        "PRAGMA nosuch=1", NULL),
                "{} | {} | {} | {}");
    assert_text(query(&f, "PRAGMA user_version", "PRAGMA application_id",
                      "PRAGMA encoding", "PRAGMA page_size", "PRAGMA integrity_check",
                      "PRAGMA nosuchpragma", "SELECT name FROM pragma_table_info('foo')",
                      "PRAGMA journal_mode", "PRAGMA wal_autocheckpoint", NULL),
                "(user_version) [42] | (application_id) [7] | (encoding) ['UTF-8'] | "
                "(page_size) [4096] | "
                "(integrity_check) ['ok'] | () | (name) ['id'] | (journal_mode) ['wal'] "
                "| (wal_autocheckpoint) [1000]");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_that_refuse_a_request),
        cmocka_unit_test(settings_and_files_are_refused_on_the_write_path),
        cmocka_unit_test(settings_and_files_are_refused_on_the_read_path),
        cmocka_unit_test(writes_are_refused_on_the_read_path),
        cmocka_unit_test(a_setting_on_a_reader_does_not_leak),
        cmocka_unit_test(ordinary_pragmas_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
