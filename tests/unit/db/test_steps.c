/* SPDX-License-Identifier: MIT */
/* db_timeout on the write path: a budget of steps, the same on every node (HTTP API 5.6,
 * design 6.2). */
#include "tests/unit/db/db_test.h"

#define COUNT_TO(n)                                                                      \
    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<" #n ") "

static const char *limited(struct fixture *f, uint64_t steps, int transaction, ...)
{
    va_list ap;
    va_start(ap, transaction);
    struct sql_list l = sql_list(va_arg(ap, const char *), ap);
    va_end(ap);
    l.req.stmts = l.stmts;
    l.req.limited = true;
    l.req.max_steps = steps;
    l.req.transaction = transaction;
    return apply_request(f, &l.req);
}

static void a_budget_that_is_spent_stops_this_and_all_following_statements(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(a)", NULL);
    assert_text(limited(&f, 100000, false, "INSERT INTO t VALUES(1)",
                        COUNT_TO(1000000) "INSERT INTO t SELECT i FROM c",
                        "INSERT INTO t VALUES(2)", NULL),
                "id=1 n=1 | error: execute timeout | error: execute timeout");
    assert_text(query(&f, "SELECT a FROM t", NULL), "(a) [1]");
    assert_text(limited(&f, 100000000, false,
                        COUNT_TO(1000) "INSERT INTO t SELECT i FROM c", NULL),
                "id=1001 n=1000");
    assert_text(execute(&f, "INSERT INTO t VALUES(2)", NULL), "id=1002 n=1");
    fixture_close(&f);
}

static void a_transaction_over_its_budget_is_undone(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(a)", NULL);
    assert_text(limited(&f, 100000, true, "INSERT INTO t VALUES(1)",
                        COUNT_TO(1000000) "INSERT INTO t SELECT i FROM c",
                        "INSERT INTO t VALUES(2)", NULL),
                "id=1 n=1 | error: execute timeout");
    assert_text(query(&f, "SELECT count(*) FROM t", NULL), "(count(*)) [0]");
    fixture_close(&f);
}

static void other_entries_of_the_batch_survive_a_timeout(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    f.commit_late = true;
    execute(&f, "CREATE TABLE t(a)", NULL);
    execute(&f, "INSERT INTO t VALUES(1)", NULL);
    assert_text(
        limited(&f, 1000, false, COUNT_TO(1000000) "INSERT INTO t SELECT i FROM c", NULL),
        "error: execute timeout");
    assert_int_equal(db_commit(f.db, NULL), ERR_OK);
    assert_text(query(&f, "SELECT a FROM t", NULL), "(a) [1]");
    fixture_close(&f);
}

/* Where exactly a budget ends must not depend on the disk, the cache, or what was done
 * before. */
static void every_node_stops_at_the_same_step(void **state)
{
    static const char sql[] = COUNT_TO(300) "INSERT INTO t SELECT i FROM c";
    struct fixture f[2];
    char first[300];
    size_t stopped = 0;
    (void)state;
    for (int i = 0; i < 2; i++) {
        fixture_open(&f[i], i == 1, false);
        execute(&f[i], "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT)",
                "CREATE TABLE l(a)",
                "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO l SELECT count(*) "
                "FROM t; END",
                NULL);
    }
    for (int k = 0; k < 7; k++) query(&f[1], sql, NULL);
    for (uint64_t steps = 1; steps < 30000; steps += 997)
        for (int i = 0; i < 2; i++) {
            const char *got =
                limited(&f[i], steps, false, "DELETE FROM t", "DELETE FROM l",
                        "UPDATE sqlite_sequence SET seq=0", sql, "SELECT 1", NULL);
            if (i == 0)
                snprintf(first, sizeof first, "%s", got);
            else
                assert_text(got, first);
            stopped += strstr(got, "timeout") != NULL;
            assert_true(db_effect_hash(f[0].db, NULL) == db_effect_hash(f[i].db, NULL) ||
                        i == 0);
        }
    assert_in_range(stopped, 4, 58); /* both outcomes occurred */
    for (int i = 0; i < 2; i++) fixture_close(&f[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_that_is_spent_stops_this_and_all_following_statements),
        cmocka_unit_test(a_transaction_over_its_budget_is_undone),
        cmocka_unit_test(other_entries_of_the_batch_survive_a_timeout),
        cmocka_unit_test(every_node_stops_at_the_same_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
