/* SPDX-License-Identifier: MIT */
/*
 * One node that ends, in order or not, and starts again: what it takes up from where, and
 * that nothing is lost or done twice whatever became of its database file.
 */
#include "tests/unit/node/bad_disk.h"
#include "tests/unit/node/one_node.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "core/node/internal.h"
#include "core/node/snapshots.h"
#include "core/snapshot/snapshot.h"

enum { ROWS = 200 };

static enum err ask_snapshot(struct one *o)
{
    struct asked *a = asked_new();
    enum err e;

    node_snapshot(o->node, &a->u.snapshot);
    e = asked_wait(a);
    asked_free(a);
    return e;
}

static void must_snapshot(struct one *o)
{
    assert_int_equal(ask_snapshot(o), ERR_OK);
}

static void write_rows(struct one *o, const char *table, int n)
{
    char sql[200];

    snprintf(sql, sizeof sql, "CREATE TABLE IF NOT EXISTS %s(id INTEGER PRIMARY KEY, x)",
             table);
    must_execute(o, sql);
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < %d) "
             "INSERT INTO %s(x) SELECT randomblob(500) FROM n",
             n, table);
    must_execute(o, sql);
}

static void expect_rows(struct one *o, const char *table, int n)
{
    char sql[100], want[40];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    snprintf(want, sizeof want, "%d;", n);
    must_query(o, sql, want);
    must_query(o, "PRAGMA integrity_check", "ok;");
}

static int64_t figure(const struct one *o, enum metric m)
{
    return metrics_get(o->metrics, m);
}

static void count_anew(struct one *o)
{
    metrics_free(o->metrics);
    assert_int_equal(metrics_new(&o->metrics), ERR_OK);
}

/* Start, and tell how the database came about. */
static void up_again(struct one *o, int reused, int rebuilt)
{
    count_anew(o);
    one_up(o);
    assert_int_equal(figure(o, METRIC_store_num_restores_start_skipped), reused);
    assert_int_equal(figure(o, METRIC_store_num_restores_start), rebuilt);
}

/* The process ends while it is at it: nothing is closed. */
static void killed_after(struct one *o, void (*story)(struct one *o))
{
    pid_t pid;
    int status;

    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        one_up(o);
        story(o);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void file_of(const struct one *o, char out[100])
{
    snprintf(out, 100, "%s/db.sqlite", o->dir);
}

/* --- an orderly end --------------------------------------------------------------- */

static void a_file_left_in_order_is_used_as_it_is(void **state)
{
    struct one o;

    (void)state;
    one_begin(&o);
    o.on_disk = true;
    one_up(&o);
    write_rows(&o, "t", ROWS);
    one_down(&o);
    for (int i = 1; i < 4; i++) {
        up_again(&o, 1, 0);
        expect_rows(&o, "t", ROWS * i);
        write_rows(&o, "t", ROWS);
        one_down(&o);
    }
    up_again(&o, 1, 0); /* and without anything new */
    one_down(&o);
    up_again(&o, 1, 0);
    expect_rows(&o, "t", ROWS * 4);
    one_end(&o);
}

static void in_memory_it_is_made_from_the_snapshot(void **state)
{
    struct one o;

    (void)state;
    one_begin(&o);
    one_up(&o);
    write_rows(&o, "t", ROWS);
    one_down(&o);
    up_again(&o, 0, 1);
    expect_rows(&o, "t", ROWS);
    one_end(&o);
}

static uint64_t snapshots_of(const struct one *o)
{
    struct snapshot_store *s;
    struct snapshot_meta m;
    char dir[100];
    uint64_t index = 0;

    snprintf(dir, sizeof dir, "%s/snapshots", o->dir);
    assert_int_equal(snapshot_store_open(&s, io_real(), dir, NULL, NULL), ERR_OK);
    if (snapshot_newest(s, &m) == ERR_OK) {
        index = m.index;
        snapshot_meta_fini(&m);
    }
    snapshot_store_close(s);
    return index;
}

static void nothing_new_is_no_snapshot_at_the_end(void **state)
{
    struct one o;
    uint64_t index;

    (void)state;
    one_begin(&o);
    one_up(&o);
    write_rows(&o, "t", 1);
    one_down(&o);
    index = snapshots_of(&o);
    assert_true(index > 0);
    one_up(&o); /* elects itself, which is an entry, too */
    one_down(&o);
    assert_true(snapshots_of(&o) == index);
    one_end(&o);
}

static void a_last_snapshot_that_fails_costs_itself_alone(void **state)
{
    struct disk disk;
    struct one o;

    (void)state;
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        disk_init(&disk);
        disk.only = "/snapshots/";
        one_begin(&o);
        o.on_disk = on_disk;
        o.io = &disk.io;
        one_up(&o);
        write_rows(&o, "t", ROWS);
        atomic_store(&disk.write_in, 0);
        one_down(&o);
        assert_int_equal(atomic_load(&o.fatal), 0);
        atomic_store(&disk.write_in, -1);
        up_again(&o, 0, 0);
        expect_rows(&o, "t", ROWS);
        one_end(&o);
    }
}

/* --- no order at all -------------------------------------------------------------- */

static void write_and_die(struct one *o)
{
    write_rows(o, "t", ROWS);
}

static void snapshot_write_and_die(struct one *o)
{
    write_rows(o, "t", ROWS);
    usleep(
        60000); /* nothing is marked before files' times can tell it apart (images.c) */
    must_snapshot(o);
    write_rows(o, "t", ROWS);
}

static void without_a_snapshot_the_log_is_enough(void **state)
{
    struct one o;

    (void)state;
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        one_begin(&o);
        o.on_disk = on_disk;
        killed_after(&o, write_and_die);
        up_again(&o, 0, 0);
        expect_rows(&o, "t", ROWS);
        one_end(&o);
    }
}

static void after_a_kill_the_file_is_that_of_the_newest_snapshot(void **state)
{
    struct one o;

    (void)state;
    one_begin(&o);
    o.on_disk = true;
    killed_after(&o, snapshot_write_and_die);
    up_again(&o, 1, 0);
    expect_rows(&o, "t", 2 * ROWS);
    one_down(&o);
    for (int i = 2; i < 5; i++) { /* deltas, foldings */
        killed_after(&o, snapshot_write_and_die);
        up_again(&o, 1, 0);
        expect_rows(&o, "t", 2 * i * ROWS);
        one_down(&o);
    }
    one_end(&o);
}

static void after_a_rebuild_the_next_start_is_quick(void **state)
{
    char path[100];
    struct one o;

    (void)state;
    one_begin(&o);
    o.on_disk = true;
    file_of(&o, path);
    killed_after(&o, snapshot_write_and_die);
    assert_int_equal(unlink(path), 0);
    killed_after(&o, write_and_die); /* makes it anew */
    up_again(&o, 1, 0);
    expect_rows(&o, "t", 3 * ROWS);
    one_end(&o);
}

/* --- what others do to the file --------------------------------------------------- */

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    char *text = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &text) != SQLITE_OK) fail_msg("%s", text);
    sqlite3_close(db);
}

static void delete_it(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

static void write_to_it(const char *path)
{
    run_sql(path, "INSERT INTO t(x) VALUES('from elsewhere')");
}

/* As the sqlite3 shell does when it is left. */
static void look_at_it(const char *path)
{
    run_sql(path, "SELECT count(*) FROM t");
}

static void cut_it(const char *path)
{
    assert_int_equal(truncate(path, 4096), 0);
}

/* The same length, the same time. */
static void damage_all_of_it(const char *path)
{
    struct stat st;
    struct timespec times[2];
    uint8_t junk[4096];
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    memset(junk, 0xa5, sizeof junk);
    for (off_t at = 0; at < st.st_size; at += (off_t)sizeof junk)
        assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static void whatever_others_do_to_the_file_does_no_harm(void **state)
{
    void (*const harms[])(const char *path) = {delete_it, write_to_it, look_at_it, cut_it,
                                               damage_all_of_it};
    char path[100];
    struct one o;

    (void)state;
    for (size_t i = 0; i < 2 * sizeof harms / sizeof *harms; i++) {
        one_begin(&o);
        o.on_disk = true;
        file_of(&o, path);
        killed_after(&o, snapshot_write_and_die);
        if (i % 2) { /* after an orderly end, too */
            one_up(&o);
            one_down(&o);
        }
        harms[i / 2](path);
        count_anew(&o);
        one_up(&o);
        if (harms[i / 2] != look_at_it) /* that may, or may not, have written it */
            assert_int_equal(figure(&o, METRIC_store_num_restores_start), 1);
        expect_rows(&o, "t", 2 * ROWS);
        must_query(&o, "SELECT count(*) FROM t WHERE x = 'from elsewhere'", "0;");
        one_end(&o);
    }
}

static void modes_may_change_at_every_start(void **state)
{
    struct one o;
    int rows = 0;

    (void)state;
    one_begin(&o);
    for (int i = 0; i < 8; i++) {
        o.on_disk = "01101001"[i] == '1';
        if (i % 3) {
            killed_after(&o, snapshot_write_and_die);
            rows += 2 * ROWS;
        } else {
            one_up(&o);
            write_rows(&o, "t", ROWS);
            one_down(&o);
            rows += ROWS;
        }
    }
    one_up(&o);
    expect_rows(&o, "t", rows);
    one_end(&o);
}

/* --- what holds the WAL ----------------------------------------------------------- */

static void snapshot_beside_a_reader_and_die(struct one *o)
{
    char path[100];
    sqlite3 *db;

    write_rows(o, "t", ROWS);
    file_of(o, path);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN; SELECT count(*) FROM t", NULL, NULL, NULL),
                     SQLITE_OK);
    write_rows(o, "t", ROWS);
    must_snapshot(o); /* what is in the WAL stays there */
    write_rows(o, "t", ROWS);
}

/* The file alone is not the snapshot then, so nothing may say so. */
static void a_reader_in_the_way_only_makes_the_next_start_longer(void **state)
{
    struct one o;

    (void)state;
    one_begin(&o);
    o.on_disk = true;
    killed_after(&o, snapshot_beside_a_reader_and_die);
    up_again(&o, 0, 1);
    expect_rows(&o, "t", 3 * ROWS);
    one_end(&o);
}

/* --- snapshots that fail ---------------------------------------------------------- */

static void what_a_failed_snapshot_missed_is_in_the_next(void **state)
{
    struct disk disk;
    struct one o;

    (void)state;
    for (int i = 0; i < 8; i++) {
        int rows = 3 * ROWS;

        disk_init(&disk);
        disk.only = "/snapshots/";
        one_begin(&o);
        o.io = &disk.io;
        o.on_disk = i % 2;
        one_up(&o);
        write_rows(&o, "t", ROWS);
        must_snapshot(&o);
        write_rows(&o, "t", ROWS);
        atomic_store(i < 4 ? &disk.write_in : &disk.sync_in, i / 2 % 2);
        assert_true(ask_snapshot(&o) != ERR_OK);
        atomic_store(&disk.write_in, -1);
        atomic_store(&disk.sync_in, -1);
        assert_int_equal(atomic_load(&o.fatal), 0);
        assert_int_equal(figure(&o, METRIC_store_num_snapshots_failed), 1);
        write_rows(&o, "t", ROWS);
        must_snapshot(&o);
        expect_rows(&o, "t", rows);
        one_down(&o);
        one_up(&o);
        expect_rows(&o, "t", rows);
        one_end(&o);
    }
}

static void only_what_changed_is_written(void **state)
{
    struct asked *a = asked_new();
    struct one o;

    (void)state;
    one_begin(&o);
    one_up(&o);
    write_rows(&o, "t", ROWS);
    assert_int_equal(ask_snapshot(&o), ERR_OK);
    assert_int_equal(ask_snapshot(&o), ERR_NOTHING);
    for (int i = 0; i < 2; i++) {
        must_execute(&o, "UPDATE t SET x = 1 WHERE id = 5");
        must_snapshot(&o);
    }
    assert_int_equal(figure(&o, METRIC_store_num_snapshots_full), 1);
    assert_int_equal(figure(&o, METRIC_store_num_snapshots_incremental), 2);
    assert_true(figure(&o, METRIC_snapshot_persist_size) < 20000);
    node_reap(o.node, &a->u.reap);
    assert_int_equal(asked_wait(a), ERR_OK);
    assert_int_equal(a->u.reap.snapshots_reaped, 2);
    assert_int_equal(a->u.reap.wals_checkpointed, 2);
    asked_free(a);
    one_down(&o);
    up_again(&o, 0, 1);
    expect_rows(&o, "t", ROWS);
    one_end(&o);
}

static void deltas_are_folded_when_there_are_many(void **state)
{
    struct one o;

    (void)state;
    one_begin(&o);
    one_up(&o);
    write_rows(&o, "t", ROWS);
    for (int i = 0; i < 12; i++) {
        must_execute(&o, "UPDATE t SET x = random() WHERE id % 50 = 1");
        must_snapshot(&o);
    }
    WAIT_FOR(figure(&o, METRIC_snapshot_reap_total) >= 2);
    one_down(&o);
    up_again(&o, 0, 1);
    expect_rows(&o, "t", ROWS);
    one_end(&o);
}

/* While one is being sent nothing is folded, and each delta is an open file. */
static void what_cannot_be_folded_does_not_pile_up(void **state)
{
    struct snapshot_reader *r;
    struct snapshot_stats st;
    struct snapshot_store *s;
    struct one o;

    (void)state;
    one_begin(&o);
    one_up(&o);
    write_rows(&o, "t", ROWS);
    must_snapshot(&o);
    s = snapshots_store(o.node->snapshots);
    assert_int_equal(snapshot_reader_open(s, &r, NULL), ERR_OK);
    for (int i = 0; i < 80; i++) {
        must_execute(&o, "UPDATE t SET x = random() WHERE id % 50 = 1");
        must_snapshot(&o);
        snapshot_stats(s, &st);
        assert_true(st.deltas <= 64);
    }
    assert_int_equal(figure(&o, METRIC_store_num_snapshots_full), 2);
    snapshot_reader_close(r);
    must_execute(&o, "UPDATE t SET x = random() WHERE id % 50 = 1");
    must_snapshot(&o);
    WAIT_FOR(figure(&o, METRIC_snapshot_reap_total) >= 1);
    one_down(&o);
    up_again(&o, 0, 1);
    expect_rows(&o, "t", ROWS);
    one_end(&o);
}

/* The log alone would need a snapshot of 8192 entries; its memory would not wait. */
static void a_large_wal_is_a_reason_for_a_snapshot(void **state)
{
    struct one o;

    (void)state;
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        one_begin(&o);
        o.on_disk = on_disk;
        o.snapshot_wal_bytes = 200000;
        one_up(&o);
        write_rows(&o, "t", 1000);
        WAIT_FOR(figure(&o, METRIC_store_num_wal_snapshots) == 1);
        one_end(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_left_in_order_is_used_as_it_is),
        cmocka_unit_test(in_memory_it_is_made_from_the_snapshot),
        cmocka_unit_test(nothing_new_is_no_snapshot_at_the_end),
        cmocka_unit_test(a_last_snapshot_that_fails_costs_itself_alone),
        cmocka_unit_test(without_a_snapshot_the_log_is_enough),
        cmocka_unit_test(after_a_kill_the_file_is_that_of_the_newest_snapshot),
        cmocka_unit_test(after_a_rebuild_the_next_start_is_quick),
        cmocka_unit_test(whatever_others_do_to_the_file_does_no_harm),
        cmocka_unit_test(modes_may_change_at_every_start),
        cmocka_unit_test(a_reader_in_the_way_only_makes_the_next_start_longer),
        cmocka_unit_test(what_a_failed_snapshot_missed_is_in_the_next),
        cmocka_unit_test(only_what_changed_is_written),
        cmocka_unit_test(deltas_are_folded_when_there_are_many),
        cmocka_unit_test(what_cannot_be_folded_does_not_pile_up),
        cmocka_unit_test(a_large_wal_is_a_reason_for_a_snapshot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
