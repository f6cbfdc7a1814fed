/* SPDX-License-Identifier: MIT */
/* VACUUM and PRAGMA optimize by themselves: when they come, and when they don't. */
#include "tests/unit/node/one_node.h"

#include "core/base/bytes.h"

#define HOUR_NS (3600 * INT64_C(1000000000))

/* A clock that can be moved on. */
static _Atomic uint64_t ahead_ns;

static uint64_t moved_mono(const struct clock *c)
{
    (void)c;
    return clock_mono_ns(clock_real()) + atomic_load(&ahead_ns);
}

static uint64_t moved_wall(const struct clock *c)
{
    (void)c;
    return clock_wall_ns(clock_real()) + atomic_load(&ahead_ns);
}

static const struct clock moved = {.mono_ns = moved_mono, .wall_ns = moved_wall};

static void begin(struct one *o, int64_t vacuum_ns, int64_t optimize_ns)
{
    one_begin(o);
    o->clock = &moved;
    o->auto_vacuum_ns = vacuum_ns;
    o->auto_optimize_ns = optimize_ns;
    one_up(o);
}

static int64_t count(const struct one *o, enum metric which)
{
    return metrics_get(o->metrics, which);
}

/* Later, with everything done that was due then: a read makes the node look, and what it
 * then proposes is in the log before the write. */
static void an_hour_passes(struct one *o, const char *sql)
{
    atomic_fetch_add(&ahead_ns, HOUR_NS + HOUR_NS / 60);
    WAIT_FOR(node_wait_ready(o->node, 1000));
    must_query(o, "SELECT 1", "1;");
    must_query(o, "SELECT 1", "1;");
    must_execute(o, sql);
}

static uint64_t newest(const struct one *o, enum db_upkeep what)
{
    struct db_upkept u;

    db_upkept(o->node->db, what, &u);
    return u.index;
}

static void a_vacuum_comes_when_its_period_is_over(void **state)
{
    struct one o;
    uint64_t first;

    (void)state;
    begin(&o, HOUR_NS, 0);
    must_execute(&o, "CREATE TABLE t(a)");
    must_execute(&o, "INSERT INTO t VALUES(1)");
    assert_int_equal(newest(&o, DB_UPKEEP_VACUUM), 0);
    an_hour_passes(&o, "INSERT INTO t VALUES(2)");
    WAIT_FOR(count(&o, METRIC_store_num_auto_vacuums) == 1);
    first = newest(&o, DB_UPKEEP_VACUUM);
    must_execute(&o, "INSERT INTO t VALUES(3)");
    assert_int_equal(newest(&o, DB_UPKEEP_VACUUM), first);
    an_hour_passes(&o, "INSERT INTO t VALUES(4)");
    WAIT_FOR(count(&o, METRIC_store_num_auto_vacuums) == 2);
    assert_int_equal(count(&o, METRIC_store_num_auto_vacuums_failed), 0);
    assert_int_equal(newest(&o, DB_UPKEEP_OPTIMIZE), 0);
    one_end(&o);
}

static void nothing_comes_while_nothing_is_written(void **state)
{
    struct one o;
    uint64_t vacuum, optimize;

    (void)state;
    begin(&o, HOUR_NS, HOUR_NS);
    an_hour_passes(&o, "SELECT 1");
    assert_int_equal(newest(&o, DB_UPKEEP_VACUUM), 0);
    must_execute(&o, "CREATE TABLE t(a)");
    an_hour_passes(&o, "SELECT 1");
    WAIT_FOR(count(&o, METRIC_store_num_auto_vacuums) == 1);
    an_hour_passes(&o, "SELECT 1");
    WAIT_FOR(count(&o, METRIC_store_num_auto_optimizes) == 1);
    vacuum = newest(&o, DB_UPKEEP_VACUUM);
    optimize = newest(&o, DB_UPKEEP_OPTIMIZE);
    for (int i = 0; i < 4; i++) an_hour_passes(&o, "SELECT 1");
    assert_int_equal(newest(&o, DB_UPKEEP_VACUUM), vacuum);
    assert_int_equal(newest(&o, DB_UPKEEP_OPTIMIZE), optimize);
    one_end(&o);
}

static void a_vacuum_by_hand_counts_as_one(void **state)
{
    struct one o;
    uint64_t by_hand;

    (void)state;
    begin(&o, 2 * HOUR_NS, 0);
    must_execute(&o, "CREATE TABLE t(a)");
    an_hour_passes(&o, "VACUUM");
    by_hand = newest(&o, DB_UPKEEP_VACUUM);
    assert_true(by_hand > 0);
    must_execute(&o, "INSERT INTO t VALUES(1)");
    an_hour_passes(&o, "INSERT INTO t VALUES(2)");
    assert_int_equal(newest(&o, DB_UPKEEP_VACUUM), by_hand);
    one_end(&o);
}

static size_t kept(const struct one *o, char *text, size_t size)
{
    char path[100];
    FILE *f;
    size_t n = 0;

    snprintf(path, sizeof path, "%s/maintenance", o->dir);
    f = fopen(path, "r");
    if (f) {
        n = fread(text, 1, size - 1, f);
        fclose(f);
    }
    text[n] = '\0';
    return n;
}

static void times_are_kept_over_a_restart_and_forgotten_when_off(void **state)
{
    struct one o;
    char before[300], after[300];

    (void)state;
    begin(&o, HOUR_NS, 0);
    must_execute(&o, "CREATE TABLE t(a)");
    an_hour_passes(&o, "INSERT INTO t VALUES(1)");
    WAIT_FOR(count(&o, METRIC_store_num_auto_vacuums) == 1);
    one_down(&o);
    assert_true(kept(&o, before, sizeof before) > 0);
    assert_non_null(strstr(before, "vacuum "));

    one_up(&o);
    must_execute(&o, "INSERT INTO t VALUES(2)");
    must_execute(&o, "INSERT INTO t VALUES(3)");
    assert_int_equal(count(&o, METRIC_store_num_auto_vacuums), 1);
    one_down(&o);
    kept(&o, after, sizeof after);
    assert_string_equal(before, after);

    o.auto_vacuum_ns = 0;
    one_up(&o);
    one_down(&o);
    assert_int_equal(kept(&o, after, sizeof after), 0);
    one_end(&o);
}

static void a_damaged_file_counts_as_none(void **state)
{
    static const char *const texts[] = {"", "vacuum", "vacuum 1 2", "vacuum x y z",
                                        "\xff\xfe vacuum -1 99999999999999999999 1 1"};
    struct one o;
    char path[100];

    (void)state;
    one_begin(&o);
    o.clock = &moved;
    o.auto_vacuum_ns = HOUR_NS;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        FILE *f;

        snprintf(path, sizeof path, "%s/maintenance", o.dir);
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(texts[i], f);
        fclose(f);
        one_up(&o);
        must_execute(&o, "CREATE TABLE IF NOT EXISTS t(a)");
        one_down(&o);
    }
    one_end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vacuum_comes_when_its_period_is_over),
        cmocka_unit_test(nothing_comes_while_nothing_is_written),
        cmocka_unit_test(a_vacuum_by_hand_counts_as_one),
        cmocka_unit_test(times_are_kept_over_a_restart_and_forgotten_when_off),
        cmocka_unit_test(a_damaged_file_counts_as_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
