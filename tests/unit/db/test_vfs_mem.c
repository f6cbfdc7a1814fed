/* SPDX-License-Identifier: MIT */
/* The database on the heap: SQLite's guarantees hold there, with many connections at
 * once. */
#include <pthread.h>

#include "core/db/internal.h"
#include "tests/unit/db/db_test.h"

static void an_in_memory_database_is_whole_after_many_changes(void **state)
{
    struct fixture f;
    char sql[200];
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB)",
            "CREATE INDEX i ON t(a)", NULL);
    for (int i = 0; i < 300; i++) {
        snprintf(sql, sizeof sql,
                 "INSERT INTO t(a, b) VALUES(hex(randomblob(20)), randomblob(%d))",
                 i * 37 % 5000);
        execute(&f, sql, "INSERT INTO t(a) SELECT a||id FROM t WHERE id % 7 = 0 LIMIT 50",
                i % 3 ? "DELETE FROM t WHERE random() % 9 = 0"
                      : "UPDATE t SET b = randomblob(3000) WHERE id % 11 = 0",
                NULL);
        if (i % 100 == 50) execute(&f, "VACUUM", NULL);
    }
    assert_text(query(&f, "PRAGMA integrity_check", NULL), "(integrity_check) ['ok']");
    fixture_close(&f);
}

static void a_rolled_back_transaction_leaves_nothing(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(a)", NULL);
    /* More pages than the cache holds, so that some reach the WAL before the end. */
    execute(&f, "BEGIN",
            "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<8000) "
            "INSERT INTO t SELECT randomblob(4000) FROM c",
            "ROLLBACK", NULL);
    assert_text(query(&f, "SELECT count(*) FROM t", "PRAGMA integrity_check",
                      "PRAGMA page_count", NULL),
                "(count(*)) [0] | (integrity_check) ['ok'] | (page_count) [2]");
    fixture_close(&f);
}

static void the_wal_is_used_again_and_its_memory_given_back(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)", NULL);
    for (int i = 0; i < 3000; i++) {
        execute(&f, "REPLACE INTO t VALUES(abs(random()) % 100, randomblob(9000))", NULL);
        if (i % 50 == 0) query(&f, "SELECT count(*) FROM t", NULL);
    }
    assert_in_range(db_vfs_mem_size(f.db->mem, "/main-wal"), 1, 30 << 20);
    execute(&f,
            "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<30000) "
            "INSERT INTO t SELECT i+1000, randomblob(4000) FROM c",
            NULL);
    execute(&f, "DELETE FROM t WHERE id > 1000", NULL);
    execute(&f, "SELECT 1", NULL);
    assert_in_range(db_vfs_mem_size(f.db->mem, "/main-wal"), 0, 30 << 20);
    execute(&f, "VACUUM", NULL);
    execute(&f, "INSERT INTO t(b) VALUES(randomblob(9000000))", NULL);
    execute(&f, "DELETE FROM t WHERE length(b) > 1000000", NULL);
    assert_text(query(&f, "PRAGMA integrity_check", "SELECT count(*) FROM t", NULL),
                "(integrity_check) ['ok'] | (count(*)) [100]");
    fixture_close(&f);
}

/* A reader that stays in its transaction sees the same rows, whatever is written and
 * checkpointed meanwhile. */
static void a_long_reader_keeps_its_state(void **state)
{
    struct fixture f;
    struct db_reader *old;
    struct db_stmt s[] = {
        {.sql = "SELECT count(*), total(length(b)) FROM t", .sql_len = 40}};
    struct db_request req = {.stmts = s, .n = 1};
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, b)",
            "INSERT INTO t(b) VALUES(randomblob(5000)),(randomblob(6000))", NULL);
    assert_int_equal(db_reader_open(f.db, &old, NULL), ERR_OK);
    assert_int_equal(db_conn_exec(old->conn, "BEGIN; SELECT count(*) FROM t"), SQLITE_OK);
    for (int i = 0; i < 2500; i++)
        execute(&f, "INSERT INTO t(b) VALUES(randomblob(5000))",
                "UPDATE t SET b = randomblob(7000) WHERE id < 3", NULL);
    assert_int_equal(db_conn_int(old->conn, "SELECT total(length(b)) FROM t"), 11000);
    assert_text(query_request(&f, &req), "(count(*), total(length(b))) [2502, 12514000]");
    db_reader_close(old);
    usleep(1100000); /* a checkpoint that found a reader in its way is tried again after a
                        second */
    execute(&f, "INSERT INTO t(b) VALUES(1)", NULL);
    assert_in_range(db_vfs_mem_size(f.db->mem, "/main-wal"), 0, 8 << 20);
    fixture_close(&f);
}

static void attached_memory_databases_are_their_own(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(a)", "ATTACH ':memory:' AS m", "CREATE TABLE m.t(a)",
            "INSERT INTO m.t VALUES(1),(2)", NULL);
    assert_text(request(&f, "INSERT INTO main.t SELECT a FROM m.t",
                        "SELECT count(*) FROM m.t", "DETACH m", NULL),
                "id=2 n=2 | (count(*)) [2] | ()");
    assert_text(query(&f, "SELECT count(*) FROM t", NULL), "(count(*)) [2]");
    fixture_close(&f);
}

/* --- threads ------------------------------------------------------------------------ */

struct watcher {
    struct db *db;
    const atomic_bool *stop;
    unsigned seen, wrong;
    struct row_sink sink;
    int64_t last;
};

static struct watcher *watcher_of(struct row_sink *s)
{
    return (struct watcher *)(void *)((char *)s - offsetof(struct watcher, sink));
}
static void watch_columns(struct row_sink *s, const struct row_column *c, size_t n)
{
    (void)s, (void)c, (void)n;
}
static bool watch_row(struct row_sink *s, const struct db_value *v, size_t n)
{
    struct watcher *w = watcher_of(s);
    (void)n;
    /* The writer moves amounts between accounts and counts its transfers in the same
     * transaction. */
    if (v[0].u.i != 100000 || v[1].u.i != v[2].u.i || v[1].u.i < w->last) w->wrong++;
    w->last = v[1].u.i;
    w->seen++;
    return true;
}
static void watch_end(struct row_sink *s, uint64_t ns)
{
    (void)s, (void)ns;
}
static void watch_written(struct row_sink *s, int64_t a, int64_t b, uint64_t ns)
{
    (void)a, (void)b, (void)ns;
    watcher_of(s)->wrong++;
}
static void watch_failed(struct row_sink *s, bool r, const char *text, size_t len)
{
    (void)r;
    fprintf(stderr, "%.*s\n", (int)len, text);
    watcher_of(s)->wrong++;
}
static void watch_request_failed(struct row_sink *s, const char *text, size_t len)
{
    watch_failed(s, false, text, len);
}
static const struct row_sink_ops watch_ops = {
    watch_columns,        watch_row, watch_end, watch_written, watch_failed,
    watch_request_failed, NULL};

static void *watch(void *arg)
{
    static const char sql[] =
        "SELECT (SELECT sum(v) FROM account), n, (SELECT count(*) FROM log) FROM counter";
    struct watcher *w = arg;
    struct db_reader *r = NULL;
    struct db_stmt s = {.sql = sql, .sql_len = sizeof sql - 1};
    struct db_request req = {.stmts = &s, .n = 1};

    if (db_reader_open(w->db, &r, NULL) != ERR_OK) w->wrong++;
    while (r && !atomic_load(w->stop))
        if (db_reader_query(r, &req, NULL, &w->sink, NULL) != ERR_OK) w->wrong++;
    db_reader_close(r);
    return NULL;
}

static void transfers_under_watch(bool on_disk)
{
    enum { WATCHERS = 3 };
    struct fixture f;
    struct watcher w[WATCHERS];
    pthread_t t[WATCHERS];
    atomic_bool stop = false;

    fixture_open(&f, on_disk, false);
    execute(&f, "CREATE TABLE account(id INTEGER PRIMARY KEY, v INT)",
            "CREATE TABLE counter(n INT)",
            "CREATE TABLE log(at INTEGER PRIMARY KEY, pad BLOB)",
            "INSERT INTO counter VALUES(0)",
            "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<1000) "
            "INSERT INTO account SELECT i, 100 FROM c",
            NULL);
    for (int i = 0; i < WATCHERS; i++) {
        w[i] = (struct watcher){.db = f.db, .stop = &stop, .sink = {.ops = &watch_ops}};
        assert_int_equal(pthread_create(&t[i], NULL, watch, &w[i]), 0);
    }
    for (int i = 0; i < 1500; i++) {
        execute_tx(&f, "UPDATE account SET v = v - 1 WHERE id = 1 + abs(random()) % 500",
                   "UPDATE account SET v = v + 1 WHERE id = 501 + abs(random()) % 500",
                   "UPDATE counter SET n = n + 1",
                   "INSERT INTO log(pad) VALUES(randomblob(3000))", NULL);
        if (i % 400 == 399) execute(&f, "VACUUM", NULL);
    }
    atomic_store(&stop, true);
    unsigned seen = 0;
    for (int i = 0; i < WATCHERS; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].wrong, 0);
        seen += w[i].seen;
    }
    assert_int_not_equal(seen, 0);
    assert_text(query(&f, "PRAGMA integrity_check", "SELECT n FROM counter", NULL),
                "(integrity_check) ['ok'] | (n:INT) [1500]");
    fixture_close(&f);
}

static void readers_see_whole_transactions_only(void **state)
{
    (void)state;
    transfers_under_watch(false);
}
static void readers_see_whole_transactions_only_on_disk(void **state)
{
    (void)state;
    transfers_under_watch(true);
}

static void two_databases_do_not_meet(void **state)
{
    struct fixture f, g;
    (void)state;
    fixture_open(&f, false, false);
    fixture_open(&g, false, false);
    execute(&f, "CREATE TABLE t(a)", NULL);
    assert_text(query(&g, "SELECT * FROM t", NULL), "read error: no such table: t");
    fixture_close(&f);
    execute(&g, "CREATE TABLE t(b)", NULL);
    assert_text(query(&g, "SELECT * FROM t", NULL), "(b)");
    fixture_close(&g);
}

/* Beyond the 2 GiB of the reference's in-memory mode; with DB_BIG=1 only. */
static void a_database_may_be_larger_than_two_gigabytes(void **state)
{
    struct fixture f;
    (void)state;
    if (!getenv("DB_BIG")) skip();
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)", NULL);
    for (int i = 0; i < 300; i++)
        execute(&f, "INSERT INTO t(b) VALUES(randomblob(10000000))", NULL);
    assert_text(
        query(&f, "SELECT count(*), sum(length(b)) FROM t", "PRAGMA quick_check", NULL),
        "(count(*), sum(length(b))) [300, 3000000000] | (quick_check) ['ok']");
    execute(&f, "DELETE FROM t WHERE id > 10", "VACUUM", "INSERT INTO t(b) VALUES(1)",
            NULL);
    assert_in_range(db_vfs_mem_size(f.db->mem, "/main"), 90000000, 200000000);
    fixture_close(&f);
}

/* --- on disk ------------------------------------------------------------------------ */

static long size_of(const char *path, mode_t *mode)
{
    struct stat st;
    if (stat(path, &st) != 0) return -1;
    *mode = st.st_mode & 07777;
    return (long)st.st_size;
}

static void the_files_exist_from_the_start_and_others_may_read_them(void **state)
{
    struct fixture f;
    char name[160];
    mode_t mode = 0, old = umask(077);
    sqlite3 *other;
    (void)state;
    fixture_open(&f, true, false);
    umask(old);
    assert_int_equal(size_of(f.path, &mode), 4096);
    assert_int_equal(mode, 0644);
    snprintf(name, sizeof name, "%s-wal", f.path);
    assert_int_equal(size_of(name, &mode), 0);
    assert_int_equal(mode, 0644);
    snprintf(name, sizeof name, "%s-shm", f.path);
    assert_int_equal(size_of(name, &mode), 32768);
    assert_int_equal(mode, 0644);

    execute(&f, "CREATE TABLE t(a)", "INSERT INTO t VALUES(7)", NULL);
    assert_int_equal(sqlite3_open_v2(f.path, &other, SQLITE_OPEN_READONLY, NULL),
                     SQLITE_OK);
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_prepare_v2(other, "SELECT a FROM t", -1, &s, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(s, 0), 7);
    execute(&f, "UPDATE t SET a = 8", NULL);
    sqlite3_reset(s);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(s, 0), 8);
    sqlite3_finalize(s);
    sqlite3_close(other);

    db_reader_close(f.reader);
    db_close(f.db);
    snprintf(name, sizeof name, "%s-wal", f.path);
    assert_true(size_of(name, &mode) > 0); /* no checkpoint on close */
    struct db_options o = {.path = f.path, .scratch_dir = f.dir};
    assert_int_equal(db_open(&f.db, &o, NULL), ERR_OK);
    assert_int_equal(db_reader_open(f.db, &f.reader, NULL), ERR_OK);
    assert_text(query(&f, "SELECT count(*) FROM sqlite_schema", NULL), "(count(*)) [0]");
    fixture_close(&f);
}

static void a_path_that_cannot_be_made_is_an_error(void **state)
{
    struct db *d = NULL;
    struct why why = {0};
    struct db_options o = {.path = "/nonexistent/dir/db.sqlite", .scratch_dir = "/tmp"};
    (void)state;
    assert_int_equal(db_open(&d, &o, &why), ERR_IO);
    assert_null(d);
    assert_string_equal(why.text,
                        "create /nonexistent/dir/db.sqlite: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_in_memory_database_is_whole_after_many_changes),
        cmocka_unit_test(a_rolled_back_transaction_leaves_nothing),
        cmocka_unit_test(the_wal_is_used_again_and_its_memory_given_back),
        cmocka_unit_test(a_long_reader_keeps_its_state),
        cmocka_unit_test(attached_memory_databases_are_their_own),
        cmocka_unit_test(readers_see_whole_transactions_only),
        cmocka_unit_test(readers_see_whole_transactions_only_on_disk),
        cmocka_unit_test(two_databases_do_not_meet),
        cmocka_unit_test(a_database_may_be_larger_than_two_gigabytes),
        cmocka_unit_test(the_files_exist_from_the_start_and_others_may_read_them),
        cmocka_unit_test(a_path_that_cannot_be_made_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
