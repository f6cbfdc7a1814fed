/* SPDX-License-Identifier: MIT */
/* The write path: HTTP API 5.2 to 5.10. */
#include "tests/unit/db/db_test.h"

static int open_memory(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    fixture_open(f, false, false);
    *state = f;
    return 0;
}
static int open_memory_fk(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    fixture_open(f, false, true);
    *state = f;
    return 0;
}
static int close_it(void **state)
{
    fixture_close(*state);
    free(*state);
    return 0;
}

static const char FOO[] =
    "CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT, age INTEGER)";

static void the_first_answers_are_an_empty_object_and_an_id(void **state)
{
    struct fixture *f = *state;
    assert_text(execute(f, FOO, NULL), "{}");
    assert_text(execute(f, "INSERT INTO foo(name, age) VALUES('fiona', 20)", NULL),
                "id=1 n=1");
    assert_text(execute(f, "INSERT INTO foo(name, age) VALUES('bob', 21)", NULL),
                "id=2 n=1");
    assert_text(query(f, "SELECT * FROM foo", NULL),
                "(id:INTEGER, name:TEXT, age:INTEGER) [1, 'fiona', 20] [2, 'bob', 21]");
}

static void blank_strings_give_an_empty_object_and_empty_ones_nothing(void **state)
{
    struct fixture *f = *state;
    assert_text(execute(f, "", NULL), "");
    assert_text(execute(f, "", "", NULL), "");
    assert_text(execute(f, " ", NULL), "{}");
    assert_text(
        execute(f, "\n\t ", ";", ";;", "-- nothing", "/* nothing */", "-- x\n;", NULL),
        "{} | {} | {} | {} | {} | {}");
    assert_text(
        execute(f, "", "CREATE TABLE t(a)", "", " ", "INSERT INTO t VALUES(1)", NULL),
        "{} | {} | id=1 n=1");
}

static void statements_without_changes_repeat_the_counters(void **state)
{
    struct fixture *f = *state;
    execute(f, FOO, NULL);
    assert_text(execute(f, "INSERT INTO foo(name) VALUES('a'),('b')", NULL), "id=2 n=2");
    assert_text(execute(f, "CREATE TABLE bar(x)", "CREATE INDEX i ON foo(name)",
                        "ALTER TABLE foo ADD COLUMN e TEXT", "DROP INDEX i",
                        "DROP TABLE bar", "SELECT 1", "PRAGMA user_version", "VACUUM",
                        "ANALYZE", "REINDEX", "PRAGMA optimize", "SELECT * FROM foo",
                        NULL),
                "id=2 n=2 | id=2 n=2 | id=2 n=2 | id=2 n=2 | id=2 n=2 | id=2 n=2 | id=2 "
                "n=2 | id=2 n=2 | id=2 n=2 | "
                "id=2 n=2 | id=2 n=2 | id=2 n=2");
    assert_text(execute(f, "UPDATE foo SET age=0 WHERE age>100", NULL), "id=2");
    assert_text(execute(f, "SELECT 1", NULL), "id=2");
    assert_text(execute(f, "UPDATE foo SET age=0", NULL), "id=2 n=2");
    assert_text(execute(f, "INSERT INTO foo(id) VALUES(1)", "SELECT 1", NULL),
                "error: UNIQUE constraint failed: foo.id | id=2");
}

static void an_error_does_not_stop_the_following_statements(void **state)
{
    struct fixture *f = *state;
    execute(f, FOO, NULL);
    assert_text(execute(f, "INSERT INTO foo(id,name) VALUES(1,'a')",
                        "INSERT INTO foo(id,name) VALUES(1,'dup')",
                        "INSERT INTO foo(id,name) VALUES(2,'b')",
                        "INSERT INTO nosuch VALUES(1)", "SELEC 1",
                        "INSERT INTO foo(id,name) VALUES(3,'c')", NULL),
                "id=1 n=1 | error: UNIQUE constraint failed: foo.id | id=2 n=1 | error: "
                "no such table: nosuch | "
                "error: near \"SELEC\": syntax error | id=3 n=1");
    assert_text(query(f, "SELECT count(*) FROM foo", NULL), "(count(*)) [3]");
}

static void a_string_of_several_statements_answers_with_the_last(void **state)
{
    struct fixture *f = *state;
    assert_text(execute(f,
                        "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t(a) "
                        "VALUES(1); INSERT INTO t(a) VALUES(2)",
                        NULL),
                "id=2 n=1");
    assert_text(execute(f, "INSERT INTO t(a) VALUES(3);  ", NULL), "id=3 n=1");
    assert_text(execute(f, "INSERT INTO t(a) VALUES(4); -- done", NULL), "{}");
    assert_text(
        execute(f, "INSERT INTO t(a) VALUES(5); INSERT INTO t(a) VALUES('x", NULL),
        "error: unrecognized token: \"'x\"");
    assert_text(execute(f,
                        "INSERT INTO t(a) VALUES(6); INSERT INTO nope VALUES(1); INSERT "
                        "INTO t(a) VALUES(7)",
                        NULL),
                "error: no such table: nope");
    assert_text(execute(f, "DELETE FROM t WHERE a=1; SELECT 1", NULL), "id=6 n=1");
    assert_text(query(f, "SELECT * FROM t", NULL),
                "(id:INTEGER, a) [2, 2] [3, 3] [4, 4] [5, 5] [6, 6]");
    assert_text(
        execute(f, "INSERT INTO t(a) VALUES(8) RETURNING id; INSERT INTO t(a) VALUES(9)",
                NULL),
        "id=8 n=1");
    assert_text(
        execute(f,
                "INSERT INTO t(a) VALUES(10); INSERT INTO t(a) VALUES(11) RETURNING id",
                NULL),
        "(id:INTEGER) [10]");
}

static void a_nul_ends_the_text(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "CREATE TABLE t(a)\0 garbage";
    struct db_stmt s = {.sql = text, .sql_len = sizeof text - 1};
    struct db_request req = {.stmts = &s, .n = 1};
    assert_text(apply_request(f, &req), "{}");
    assert_text(query(f, "SELECT name FROM sqlite_schema", NULL), "(name:TEXT) ['t']");
}

static void rowids_of_every_kind_are_reported(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE a(id INTEGER PRIMARY KEY, x)",
            "CREATE TABLE b(id INTEGER PRIMARY KEY AUTOINCREMENT, x)",
            "CREATE TABLE c(k TEXT PRIMARY KEY) WITHOUT ROWID", "CREATE TABLE d(x)",
            NULL);
    assert_text(
        execute(f, "INSERT INTO a(id,x) VALUES(100,'x')", "INSERT INTO a(x) VALUES('y')",
                "INSERT INTO a(id,x) VALUES(-5,'neg')", "INSERT INTO b(x) VALUES('p')",
                "DELETE FROM b", "INSERT INTO b(x) VALUES('q')",
                "INSERT INTO c VALUES('k1')", "INSERT INTO d VALUES(1)", NULL),
        "id=100 n=1 | id=101 n=1 | id=-5 n=1 | id=1 n=1 | id=1 n=1 | id=2 n=1 | id=2 n=1 "
        "| id=1 n=1");
    assert_text(execute(f, "INSERT INTO a(id) VALUES(9223372036854775807)", NULL),
                "id=9223372036854775807 n=1");
    assert_text(execute(f, "INSERT INTO b(id) VALUES(9223372036854775807)", NULL),
                "id=9223372036854775807 n=1");
    assert_text(execute(f, "INSERT INTO b(x) VALUES('full')", NULL),
                "error: database or disk is full");
    assert_text(query(f, "SELECT * FROM sqlite_sequence", NULL),
                "(name, seq) ['b', 9223372036854775807]");
    assert_text(query(f, "SELECT count(*) FROM a", "SELECT count(*) FROM c", NULL),
                "(count(*)) [4] | (count(*)) [1]");
}

static void conflict_clauses_count_as_in_sqlite(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT UNIQUE, n INT DEFAULT 0)",
            NULL);
    assert_text(execute(f, "INSERT INTO t(k) VALUES('a'),('b')",
                        "INSERT OR REPLACE INTO t(k,n) VALUES('a',9)",
                        "INSERT OR IGNORE INTO t(k) VALUES('a')",
                        "INSERT OR FAIL INTO t(k) VALUES('c'),('a'),('d')",
                        "INSERT OR ABORT INTO t(k) VALUES('e'),('a')",
                        "REPLACE INTO t(k,n) VALUES('b',7)",
                        "INSERT INTO t(k,n) VALUES('a',1) ON CONFLICT(k) DO UPDATE SET "
                        "n=n+excluded.n",
                        "INSERT INTO t(k) VALUES('a') ON CONFLICT DO NOTHING", NULL),
                "id=2 n=2 | id=3 n=1 | id=3 | error: UNIQUE constraint failed: t.k | "
                "error: UNIQUE constraint failed: t.k | id=5 n=1 | id=5 n=1 | id=5");
    assert_text(query(f, "SELECT * FROM t ORDER BY id", NULL),
                "(id:INTEGER, k:TEXT, n:INT) [3, 'a', 10] [4, 'c', 0] [5, 'b', 7]");
}

static void a_transaction_is_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE foo(id INTEGER PRIMARY KEY, name TEXT)",
            "INSERT INTO foo VALUES(1,'a')", NULL);
    assert_text(execute_tx(f, "INSERT INTO foo(id,name) VALUES(2,'b')",
                           "INSERT INTO foo(id,name) VALUES(1,'dup')",
                           "INSERT INTO foo(id,name) VALUES(3,'c')", NULL),
                "id=2 n=1 | error: UNIQUE constraint failed: foo.id");
    assert_text(query(f, "SELECT count(*) FROM foo", NULL), "(count(*)) [1]");
    assert_text(execute_tx(f, "INSERT INTO foo(name) VALUES('b')", "NOT SQL", NULL),
                "id=2 n=1 | error: near \"NOT\": syntax error");
    assert_text(execute_tx(f, "INSERT INTO foo(name) VALUES('b')",
                           "UPDATE foo SET name='z'", NULL),
                "id=2 n=1 | id=2 n=2");
    assert_text(query(f, "SELECT * FROM foo", NULL),
                "(id:INTEGER, name:TEXT) [1, 'z'] [2, 'z']");
}

static void ddl_is_undone_with_the_transaction(void **state)
{
    struct fixture *f = *state;
    execute(f, FOO, NULL);
    assert_text(execute_tx(f, "CREATE TABLE bar(x)", "INSERT INTO bar VALUES(1)",
                           "DROP TABLE foo", "INSERT INTO foo(name) VALUES('x')", NULL),
                "{} | id=1 n=1 | id=1 n=1 | error: no such table: foo");
    assert_text(query(f, "SELECT name FROM sqlite_schema", NULL), "(name:TEXT) ['foo']");
    assert_text(execute_tx(f, "CREATE TABLE bar(x)", "INSERT INTO bar VALUES(1)", NULL),
                "id=1 n=1 | id=1 n=1");
    assert_text(execute_tx(f, "VACUUM", NULL),
                "error: cannot VACUUM from within a transaction");
}

static void
begin_commit_and_rollback_are_refused_inside_a_transaction_request(void **state)
{
    struct fixture *f = *state;
    execute(f, FOO, NULL);
    assert_text(execute_tx(f, "INSERT INTO foo(id) VALUES(1)", "COMMIT",
                           "INSERT INTO foo(id) VALUES(2)", NULL),
                "id=1 n=1 | error: cannot commit - no transaction is active");
    assert_text(execute_tx(f, "INSERT INTO foo(id) VALUES(1)", "END", NULL),
                "id=1 n=1 | error: cannot commit - no transaction is active");
    assert_text(execute_tx(f, "INSERT INTO foo(id) VALUES(1)", "ROLLBACK", NULL),
                "id=1 n=1 | error: cannot commit - no transaction is active");
    assert_text(execute_tx(f, "INSERT INTO foo(id) VALUES(1)", "BEGIN", NULL),
                "id=1 n=1 | error: cannot start a transaction within a transaction");
    assert_text(query(f, "SELECT count(*) FROM foo", NULL), "(count(*)) [0]");
    assert_text(execute_tx(f, "INSERT INTO foo(id) VALUES(1)", "SAVEPOINT s",
                           "INSERT INTO foo(id) VALUES(2)", "ROLLBACK TO s", "RELEASE s",
                           NULL),
                "id=1 n=1 | id=1 n=1 | id=2 n=1 | id=2 n=1 | id=2 n=1");
    assert_text(query(f, "SELECT id FROM foo", NULL), "(id:INTEGER) [1]");
}

static void explicit_transactions_work_within_one_request(void **state)
{
    struct fixture *f = *state;
    execute(f, FOO, NULL);
    assert_text(execute(f, "BEGIN", "INSERT INTO foo(name) VALUES('a')", "COMMIT", NULL),
                "{} | id=1 n=1 | id=1 n=1");
    assert_text(
        execute(f, "BEGIN", "INSERT INTO foo(name) VALUES('b')", "ROLLBACK", NULL),
        "id=1 n=1 | id=2 n=1 | id=2 n=1");
    assert_text(query(f, "SELECT id FROM foo", NULL), "(id:INTEGER) [1]");
    assert_text(execute(f, "COMMIT", NULL),
                "error: cannot commit - no transaction is active");
    assert_text(execute(f, "ROLLBACK", NULL),
                "error: cannot rollback - no transaction is active");
    assert_text(execute(f, "SAVEPOINT s", "INSERT INTO foo(name) VALUES('c')",
                        "ROLLBACK TO s", "RELEASE s", NULL),
                "id=2 n=1 | id=2 n=1 | id=2 n=1 | id=2 n=1");
    assert_text(execute(f, "RELEASE nosuch", NULL), "error: no such savepoint: nosuch");
    assert_text(query(f, "SELECT id FROM foo", NULL), "(id:INTEGER) [1]");
}

static void a_transaction_left_open_is_rolled_back_and_reported(void **state)
{
    struct fixture *f = *state;
    execute(f, FOO, NULL);
    assert_text(execute(f, "BEGIN", NULL), "{}");
    assert_text(execute(f, "BEGIN IMMEDIATE", NULL), "{}");
    assert_text(execute(f, "BEGIN", "SELECT * FROM foo", NULL), "{} | {}");
    assert_text(execute(f, "BEGIN", "INSERT INTO foo(name) VALUES('b')", NULL),
                "{} | id=1 n=1 | FAILED: transaction not committed, rolled back");
    assert_text(execute(f, "SAVEPOINT x", "CREATE TABLE z(a)", NULL),
                "id=1 n=1 | id=1 n=1 | FAILED: transaction not committed, rolled back");
    assert_text(
        execute(f, "BEGIN; INSERT INTO foo(name) VALUES('b'); COMMIT; BEGIN", NULL),
        "id=1 n=1");
    assert_text(
        query(f, "SELECT name FROM sqlite_schema", "SELECT count(*) FROM foo", NULL),
        "(name:TEXT) ['foo'] | (count(*)) [1]");
}

static void a_rollback_clause_ends_the_transaction_of_its_request_only(void **state)
{
    struct fixture *f = *state;
    f->commit_late = true;
    execute(f, "CREATE TABLE t(a INTEGER PRIMARY KEY ON CONFLICT ROLLBACK, b)",
            "CREATE TABLE u(a UNIQUE)", NULL);
    execute(f, "INSERT INTO t VALUES(1,'x')", "INSERT INTO u VALUES(1)", NULL);
    assert_text(execute_tx(f, "INSERT INTO t VALUES(2,'y')",
                           "INSERT INTO t VALUES(1,'dup')", "INSERT INTO t VALUES(3,'z')",
                           NULL),
                "id=2 n=1 | error: UNIQUE constraint failed: t.a");
    assert_text(execute(f, "DROP TABLE t", "INSERT INTO u VALUES(2)", NULL),
                "id=2 | id=2 n=1");
    assert_text(execute(f, "INSERT OR ROLLBACK INTO u VALUES(2)", NULL),
                "error: UNIQUE constraint failed: u.a");
    assert_text(execute(f, "BEGIN", "INSERT INTO u VALUES(3)",
                        "INSERT OR ROLLBACK INTO u VALUES(2)", "INSERT INTO u VALUES(4)",
                        "COMMIT", NULL),
                "id=2 | id=3 n=1 | error: UNIQUE constraint failed: u.a | id=3 n=1 | "
                "error: cannot commit - no transaction is active");
    assert_int_equal(db_commit(f->db, NULL), ERR_OK);
    assert_text(query(f, "SELECT a FROM u", NULL), "(a) [1] [2] [4]");
}

static void raise_rollback_does_not_undo_other_entries(void **state)
{
    struct fixture *f = *state;
    f->commit_late = true;
    execute(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v INT)", NULL);
    execute(f, "INSERT INTO t(v) VALUES(1)", NULL);
    execute(f,
            "CREATE TRIGGER d BEFORE INSERT ON t WHEN NEW.v=13 BEGIN SELECT "
            "RAISE(ROLLBACK, 'unlucky'); END",
            NULL);
    execute(f, "INSERT INTO t(v) VALUES(2)", NULL);
    assert_text(execute(f, "INSERT INTO t(v) VALUES(13)", NULL), "error: unlucky");
    assert_text(
        execute_tx(f, "INSERT INTO t(v) VALUES(5)", "INSERT INTO t(v) VALUES(13)", NULL),
        "id=3 n=1 | error: unlucky");
    assert_int_equal(db_commit(f->db, NULL), ERR_OK);
    assert_text(query(f, "SELECT v FROM t", NULL), "(v:INT) [1] [2]");
}

static void deferred_foreign_keys_are_checked_where_each_statement_ends(void **state)
{
    struct fixture *f = *state;
    f->commit_late = true;
    execute(f, "CREATE TABLE p(id INTEGER PRIMARY KEY)",
            "CREATE TABLE c(p_id INT REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)",
            NULL);
    assert_text(execute(f, "INSERT INTO c VALUES(1)", "INSERT INTO p VALUES(1)",
                        "INSERT INTO c VALUES(1)", NULL),
                "error: FOREIGN KEY constraint failed | id=1 n=1 | id=1 n=1");
    assert_text(execute_tx(f, "INSERT INTO c VALUES(2)", "INSERT INTO p VALUES(2)", NULL),
                "id=2 n=1 | id=2 n=1");
    assert_text(execute_tx(f, "INSERT INTO c VALUES(3)", NULL),
                "id=3 n=1 | FAILED: FOREIGN KEY constraint failed");
    assert_text(execute(f, "BEGIN", "INSERT INTO c VALUES(3)", "COMMIT", NULL),
                "id=3 n=1 | id=3 n=1 | error: FOREIGN KEY constraint failed | FAILED: "
                "transaction not committed, rolled back");
    assert_int_equal(db_commit(f->db, NULL), ERR_OK);
    assert_text(query(f, "SELECT * FROM p", "SELECT * FROM c", NULL),
                "(id:INTEGER) [1] [2] | (p_id:INT) [1] [2]");
}

static void defer_foreign_keys_ends_with_its_request(void **state)
{
    struct fixture *f = *state;
    f->commit_late = true;
    execute(f, "CREATE TABLE p(id INTEGER PRIMARY KEY)",
            "CREATE TABLE c(p_id INT REFERENCES p(id))", NULL);
    assert_text(execute(f, "PRAGMA defer_foreign_keys=1", NULL), "{}");
    assert_text(execute(f, "INSERT INTO c VALUES(1)", NULL),
                "error: FOREIGN KEY constraint failed");
    assert_text(execute(f, "BEGIN", "PRAGMA defer_foreign_keys=1",
                        "INSERT INTO c VALUES(1)", "INSERT INTO p VALUES(1)", "COMMIT",
                        NULL),
                "{} | {} | id=1 n=1 | id=1 n=1 | id=1 n=1");
    assert_text(execute(f, "INSERT INTO c VALUES(2)", "INSERT INTO c VALUES(1)", NULL),
                "error: FOREIGN KEY constraint failed | id=2 n=1");
    assert_int_equal(db_commit(f->db, NULL), ERR_OK);
}

static void foreign_keys_can_be_switched_by_pragma(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE p(id INTEGER PRIMARY KEY)",
            "CREATE TABLE c(p_id INT REFERENCES p(id))", NULL);
    assert_text(execute(f, "INSERT INTO c VALUES(9)", NULL), "id=1 n=1");
    assert_text(execute(f, "PRAGMA foreign_keys=ON", "INSERT INTO c VALUES(9)", NULL),
                "id=1 n=1 | error: FOREIGN KEY constraint failed");
    assert_text(request(f, "CREATE TABLE x(a)", "PRAGMA foreign_keys", NULL),
                "id=1 | (foreign_keys) [1]");
    assert_text(query(f, "PRAGMA foreign_keys", NULL), "(foreign_keys) [0]");
}

static void returning_gives_rows_for_any_dml(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE foo(id INTEGER PRIMARY KEY, name TEXT, age INT)", NULL);
    assert_text(
        execute(f, "INSERT INTO foo(name,age) VALUES('a',1),('b',2) RETURNING id, name",
                "UPDATE foo SET age=age+10\nRETURNING(id)",
                "DELETE FROM foo WHERE id=1 RETURNING name AS gone",
                "DELETE FROM foo WHERE id=99 RETURNING id",
                "WITH x(n) AS (VALUES('w')) INSERT INTO foo(name) SELECT n FROM x "
                "RETURNING *",
                "INSERT INTO foo(name) VALUES('d')", NULL),
        "(id:INTEGER, name:TEXT) [1, 'a'] [2, 'b'] | (id:INTEGER) [1] [2] | (gone:TEXT) "
        "['a'] | (id:INTEGER) | "
        "(id:INTEGER, name:TEXT, age:INT) [3, 'w', null] | id=4 n=1");
    struct db_stmt s = {.sql = "INSERT INTO foo(name) VALUES('b'),('c') RETURNING id",
                        .sql_len = 52};
    struct db_request req = {.stmts = &s, .n = 1, .noparse = true};
    assert_text(apply_request(f, &req), "id=6 n=2");
    assert_text(query(f, "SELECT count(*) FROM foo", NULL), "(count(*)) [5]");
    assert_text(execute(f, "INSERT INTO foo(id) VALUES(2) RETURNING id", NULL),
                "error: UNIQUE constraint failed: foo.id");
}

static void who_leaves_does_not_change_what_is_applied(void **state)
{
    struct fixture *f = *state;
    execute(f, FOO, NULL);
    f->sink.rows_left = 2;
    execute(f, "INSERT INTO foo(name) VALUES('a'),('b'),('c') RETURNING id",
            "INSERT INTO foo(name) VALUES('d')", NULL);
    f->sink.rows_left = 0;
    assert_text(query(f, "SELECT count(*) FROM foo", NULL), "(count(*)) [4]");
}

static void a_request_gives_rows_for_reads_and_counters_for_writes(void **state)
{
    struct fixture *f = *state;
    assert_text(request(f, FOO, "INSERT INTO foo(name,age) VALUES('fiona',20)",
                        "SELECT * FROM foo", "INSERT INTO foo(name,age) VALUES('bob',30)",
                        "SELECT count(*) AS n FROM foo", "DELETE FROM foo WHERE id=1",
                        "SELECT name FROM foo", NULL),
                "{} | id=1 n=1 | (id:INTEGER, name:TEXT, age:INTEGER) [1, 'fiona', 20] | "
                "id=2 n=1 | (n) [2] | id=2 n=1 | "
                "(name:TEXT) ['bob']");
    assert_text(request(f, "PRAGMA user_version=7", "PRAGMA user_version", NULL),
                "id=2 n=1 | (user_version) [7]");
    assert_text(request(f, "INSERT INTO foo(id) VALUES(5); SELECT 5",
                        "SELECT 5; INSERT INTO foo(id) VALUES(6)", NULL),
                "id=5 n=1 | read error: attempt to change database via query operation");
    assert_text(request(f, "INSERT INTO foo(id) VALUES(5)", "SELECT nope",
                        "SELECT abs(-9223372036854775807-1)", NULL),
                "error: UNIQUE constraint failed: foo.id | error: no such column: nope | "
                "read error: integer overflow");
    assert_text(request(f, "BEGIN", "INSERT INTO foo(id) VALUES(6)", "COMMIT", NULL),
                "() | id=6 n=1 | ()");
}

static void a_bad_statement_undoes_a_transaction_request_with_rows(void **state)
{
    struct fixture *f = *state;
    struct db_stmt s[] = {
        {.sql = "INSERT INTO foo(id,name) VALUES(1,'a')", .sql_len = 38},
        {.sql = "SELECT * FROM nosuch", .sql_len = 20},
        {.sql = "INSERT INTO foo(id,name) VALUES(2,'b')", .sql_len = 38}};
    struct db_request req = {.stmts = s, .n = 3, .rows = true, .transaction = true};
    execute(f, FOO, NULL);
    assert_text(apply_request(f, &req), "id=1 n=1 | error: no such table: nosuch");
    assert_text(query(f, "SELECT count(*) FROM foo", NULL), "(count(*)) [0]");
}

static void explain_runs_nothing(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)", "INSERT INTO t(b) VALUES(1)",
            NULL);
    assert_text(execute(f, "EXPLAIN SELECT * FROM t",
                        "EXPLAIN QUERY PLAN INSERT INTO t(b) VALUES(2)", NULL),
                "id=1 n=1 | id=1");
    assert_text(
        request(f, "EXPLAIN SELECT nocol FROM t", "EXPLAIN", "EXPLAIN QUERY PLAN", NULL),
        "error: no such column: nocol | error: incomplete input | error: incomplete "
        "input");
    assert_text(query(f, "SELECT * FROM t", NULL), "(a:INTEGER, b) [1, 1]");
}

static void temporary_objects_and_memory_databases_end_some_entries_later(void **state)
{
    struct fixture *f = *state;
    assert_text(execute(f, "CREATE TEMP TABLE tt(a)", NULL), "{}");
    assert_text(execute(f, "INSERT INTO tt VALUES(1)", NULL), "id=1 n=1");
    assert_text(query(f, "SELECT * FROM tt", NULL), "read error: no such table: tt");
    assert_text(execute(f, "ATTACH DATABASE ':memory:' AS aux1", "CREATE TABLE aux1.x(a)",
                        "DETACH DATABASE aux1", "DETACH DATABASE nosuch", NULL),
                "id=1 n=1 | id=1 n=1 | id=1 n=1 | error: no such database: nosuch");
    f->ctx.index += 990;
    assert_text(execute(f, "INSERT INTO tt VALUES(2)", NULL), "id=2 n=1");
    f->ctx.index += 20;
    assert_text(execute(f, "INSERT INTO tt VALUES(3)", NULL), "error: no such table: tt");
}

static void a_script_is_one_result_and_undone_if_it_was_one_transaction(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *sql, *result;
    } steps[] = {
        {"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE foo (id integer "
         "primary key, name text);\n"
         "INSERT INTO \"foo\" VALUES(1,'fiona');\nINSERT INTO \"foo\" "
         "VALUES(2,'bob;x');\nCOMMIT;\n",
         "id=2 n=1"},
        {"INSERT INTO foo VALUES(3,'a'); INSERT INTO foo VALUES(1,'dup'); INSERT INTO "
         "foo VALUES(4,'b');",
         "error: UNIQUE constraint failed: foo.id"},
        {"BEGIN; INSERT INTO foo VALUES(5,'x'); INSERT INTO nosuch VALUES(1); COMMIT;",
         "error: no such table: nosuch"},
        {"BEGIN; INSERT INTO foo VALUES(6,'x');",
         "id=6 n=1 | FAILED: transaction not committed, rolled back"},
        {"", ""},
        {"  \n", "{}"},
        {"-- only a comment", "{}"},
        {"SQLite format", "error: near \"SQLite\": syntax error"},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        fixture_clear(f);
        f->ctx.index++;
        assert_int_equal(db_apply_script(f->db, &f->ctx, steps[i].sql,
                                         strlen(steps[i].sql), &f->sink.base, NULL),
                         ERR_OK);
        assert_int_equal(db_commit(f->db, NULL), ERR_OK);
        assert_text(fixture_text(f), steps[i].result);
    }
    assert_text(query(f, "SELECT id FROM foo", NULL), "(id:INTEGER) [1] [2] [3]");
}

static void readers_see_rows_after_the_commit_only(void **state)
{
    struct fixture *f = *state;
    execute(f, FOO, NULL);
    f->commit_late = true;
    execute(f, "INSERT INTO foo(name) VALUES('a')", NULL);
    assert_text(query(f, "SELECT count(*) FROM foo", NULL), "(count(*)) [0]");
    assert_int_equal(db_commit(f->db, NULL), ERR_OK);
    assert_text(query(f, "SELECT count(*) FROM foo", NULL), "(count(*)) [1]");
}

static void the_changed_index_is_that_of_the_last_change(void **state)
{
    struct fixture *f = *state;
    execute(f, FOO, NULL);
    assert_int_equal(db_changed_index(f->db), f->ctx.index);
    execute(f, "INSERT INTO foo(name) VALUES('a')", NULL);
    uint64_t at = f->ctx.index;
    assert_int_equal(db_changed_index(f->db), at);
    execute(f, "SELECT 1", "UPDATE foo SET name='b' WHERE 0",
            "INSERT INTO nosuch VALUES(1)", NULL);
    assert_int_equal(db_changed_index(f->db), at);
    execute(f, "PRAGMA user_version=5", NULL);
    assert_int_equal(db_changed_index(f->db), f->ctx.index);
}

static void a_query_at_its_place_in_the_log_sees_what_was_applied(void **state)
{
    struct fixture *f = *state;
    struct db_stmt s = {.sql = "SELECT count(*) FROM foo", .sql_len = 24};
    struct db_request req = {.stmts = &s, .n = 1};
    f->commit_late = true;
    execute(f, FOO, "INSERT INTO foo(name) VALUES('a')", NULL);
    fixture_clear(f);
    assert_int_equal(db_query_here(f->db, &req, &f->sink.base, NULL), ERR_OK);
    assert_text(fixture_text(f), "(count(*)) [1]");
    s = (struct db_stmt){.sql = "DELETE FROM foo", .sql_len = 15};
    fixture_clear(f);
    assert_int_equal(db_query_here(f->db, &req, &f->sink.base, NULL), ERR_OK);
    assert_text(fixture_text(f),
                "read error: attempt to change database via query operation");
}

/* A table whose numbers are used up makes SQLite end the whole transaction: see schema.c.
 */
static void running_out_of_rowids_does_not_undo_other_entries(void **state)
{
    struct fixture *f = *state;
    f->commit_late = true;
    execute(f, "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, x)",
            "CREATE TABLE o(x)", NULL);
    execute(f, "INSERT INTO o VALUES(1)", NULL);
    assert_text(
        execute_tx(f, "INSERT INTO o VALUES(2)",
                   "INSERT INTO a(id) VALUES(9223372036854775807)",
                   "INSERT INTO a(x) VALUES(1)", NULL),
        "id=2 n=1 | id=9223372036854775807 n=1 | error: database or disk is full");
    assert_text(execute(f, "INSERT INTO o VALUES(3)",
                        "INSERT INTO a(id) VALUES(9223372036854775807),(NULL)",
                        "INSERT INTO a(id) VALUES(9223372036854775807)",
                        "INSERT INTO a(x) VALUES(1)", NULL),
                "id=2 n=1 | error: database or disk is full | id=9223372036854775807 n=1 "
                "| error: database or disk is full");
    assert_int_equal(db_commit(f->db, NULL), ERR_OK);
    assert_text(query(f, "SELECT x FROM o", "SELECT count(*) FROM a", NULL),
                "(x) [1] [3] | (count(*)) [1]");
}

static void the_first_row_with_the_largest_rowid_may_fail_its_own_statement(void **state)
{
    struct fixture *f = *state;
    f->commit_late = true;
    execute(f, "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, x)",
            "CREATE TABLE o(x)", NULL);
    execute(f, "INSERT INTO o VALUES(1)", NULL);
    assert_text(execute(f, "INSERT INTO a(id) VALUES(9223372036854775807),(NULL)", NULL),
                "error: database or disk is full");
    execute(f, "INSERT INTO o VALUES(2)", NULL);
    assert_text(execute(f,
                        "INSERT OR REPLACE INTO a(id) VALUES(9223372036854775807),(NULL)",
                        NULL),
                "error: database or disk is full");
    assert_int_equal(db_commit(f->db, NULL), ERR_OK);
    assert_text(query(f, "SELECT x FROM o", "SELECT count(*) FROM a", NULL),
                "(x) [1] [2] | (count(*)) [0]");
}

int main(void)
{
#define T(name)    cmocka_unit_test_setup_teardown(name, open_memory, close_it)
#define T_FK(name) cmocka_unit_test_setup_teardown(name, open_memory_fk, close_it)
    const struct CMUnitTest tests[] = {
        T(the_first_answers_are_an_empty_object_and_an_id),
        T(blank_strings_give_an_empty_object_and_empty_ones_nothing),
        T(statements_without_changes_repeat_the_counters),
        T(an_error_does_not_stop_the_following_statements),
        T(a_string_of_several_statements_answers_with_the_last),
        T(a_nul_ends_the_text),
        T(rowids_of_every_kind_are_reported),
        T(conflict_clauses_count_as_in_sqlite),
        T(a_transaction_is_all_or_nothing),
        T(ddl_is_undone_with_the_transaction),
        T(begin_commit_and_rollback_are_refused_inside_a_transaction_request),
        T(explicit_transactions_work_within_one_request),
        T(a_transaction_left_open_is_rolled_back_and_reported),
        T(a_rollback_clause_ends_the_transaction_of_its_request_only),
        T(raise_rollback_does_not_undo_other_entries),
        T_FK(deferred_foreign_keys_are_checked_where_each_statement_ends),
        T_FK(defer_foreign_keys_ends_with_its_request),
        T(foreign_keys_can_be_switched_by_pragma),
        T(returning_gives_rows_for_any_dml),
        T(who_leaves_does_not_change_what_is_applied),
        T(a_request_gives_rows_for_reads_and_counters_for_writes),
        T(a_bad_statement_undoes_a_transaction_request_with_rows),
        T(explain_runs_nothing),
        T(temporary_objects_and_memory_databases_end_some_entries_later),
        T(a_script_is_one_result_and_undone_if_it_was_one_transaction),
        T(readers_see_rows_after_the_commit_only),
        T(the_changed_index_is_that_of_the_last_change),
        T(a_query_at_its_place_in_the_log_sees_what_was_applied),
        T(running_out_of_rowids_does_not_undo_other_entries),
        T(the_first_row_with_the_largest_rowid_may_fail_its_own_statement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
