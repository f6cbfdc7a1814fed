/* SPDX-License-Identifier: MIT */
/*
 * A database file as a crash leaves it: main file, WAL with frames after it, wal-index.
 * Other programs are forked children with SQLite of their own.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/db/internal.h"

struct world {
    char dir[64], path[96], wal[104], index[104];
    uint8_t *pages; /* owned; of the main file when it was recorded */
    uint32_t n;
    uint8_t fingerprint[DB_FINGERPRINT_MAX];
    size_t len;
    struct why why;
};

static const char BOOT[] = "11111111-2222-3333-4444-555555555555";
static const char OTHER_BOOT[] = "99999999-2222-3333-4444-555555555555";

static bool same(void *arg, uint32_t page, const void *data)
{
    const struct world *w = arg;

    return page <= w->n &&
           memcmp(w->pages + (size_t)(page - 1) * DB_PAGE, data, DB_PAGE) == 0;
}

static bool can_reuse(struct world *w, const char *boot)
{
    const struct db_options o = {.path = w->path};
    const struct db_pages from = {.n = w->n, .same = same, .arg = w};

    memset(&w->why, 0, sizeof w->why);
    return db_can_reuse_at(&o, boot, w->fingerprint, w->len, &from, &w->why);
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
        _exit(1);
    }
}

/* In a child, which dies without closing anything. */
static void in_child(void (*f)(struct world *w), struct world *w)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        f(w);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static sqlite3 *open_node(struct world *w)
{
    sqlite3 *db;

    if (sqlite3_open(w->path, &db) != SQLITE_OK) _exit(1);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            "PRAGMA wal_autocheckpoint=0;");
    return db;
}

static void make_and_write_back(struct world *w)
{
    sqlite3 *db = open_node(w);

    run(db, "CREATE TABLE t (n, b);"
            "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c"
            " WHERE x < 300) INSERT INTO t SELECT x, randomblob(2000) FROM c;"
            "PRAGMA wal_checkpoint(TRUNCATE);");
}

static void write_more_and_crash(struct world *w)
{
    run(open_node(w), "UPDATE t SET b = zeroblob(10); INSERT INTO t VALUES (1000, 1);");
}

static void record(struct world *w, bool durable)
{
    struct stat st;
    int fd = open(w->path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    free(w->pages);
    w->n = (uint32_t)(st.st_size / DB_PAGE);
    w->pages = malloc((size_t)st.st_size);
    assert_int_equal(pread(fd, w->pages, (size_t)st.st_size, 0), st.st_size);
    close(fd);
    w->len = db_fingerprint_of(w->path, BOOT, durable, w->fingerprint);
    assert_int_not_equal(w->len, 0);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    strcpy(w->dir, "rqlite-reuse-XXXXXX");
    if (!mkdtemp(w->dir)) return -1;
    snprintf(w->path, sizeof w->path, "%s/db.sqlite", w->dir);
    snprintf(w->wal, sizeof w->wal, "%s-wal", w->path);
    snprintf(w->index, sizeof w->index, "%s-shm", w->path);
    in_child(make_and_write_back, w);
    record(w, false);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char journal[128];

    snprintf(journal, sizeof journal, "%s-journal", w->path);
    unlink(journal);
    unlink(w->path);
    unlink(w->wal);
    unlink(w->index);
    rmdir(w->dir);
    free(w->pages);
    free(w);
    return 0;
}

static off_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* What a program that opens it now sees. */
static void sees_what_was_written_back(struct world *w)
{
    sqlite3_stmt *s;
    sqlite3 *db = open_node(w);

    run(db, "PRAGMA integrity_check");
    if (sqlite3_prepare_v2(db, "SELECT count(*), max(n), min(length(b)) FROM t", -1, &s,
                           NULL) != SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW || sqlite3_column_int(s, 0) != 300 ||
        sqlite3_column_int(s, 1) != 300 || sqlite3_column_int(s, 2) != 2000)
        _exit(1);
}

static void a_file_that_a_crash_left_is_used_without_its_wal(void **state)
{
    struct world *w = *state;

    in_child(write_more_and_crash, w);
    assert_true(size_of(w->wal) > 0);
    assert_true(can_reuse(w, BOOT));
    assert_int_equal(size_of(w->wal), 0);
    in_child(sees_what_was_written_back, w);
}

static void the_wal_and_its_index_may_be_gone(void **state)
{
    struct world *w = *state;

    unlink(w->wal);
    unlink(w->index);
    assert_true(can_reuse(w, BOOT));
    in_child(sees_what_was_written_back, w);
}

static void after_a_restart_of_the_machine_it_must_have_been_synced(void **state)
{
    struct world *w = *state;

    assert_false(can_reuse(w, OTHER_BOOT));
    assert_non_null(strstr(w->why.text, "restarted"));
    record(w, true);
    assert_true(can_reuse(w, OTHER_BOOT));
}

/* Where times are in whole seconds, two states of a file may have the same. */
static void a_file_whose_times_are_coarse_is_not_recognised(void **state)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1700000000}};
    struct world *w = *state;

    assert_int_equal(utimensat(AT_FDCWD, w->path, times, 0), 0);
    assert_int_equal(db_fingerprint_of(w->path, BOOT, false, w->fingerprint), 0);
    times[1].tv_nsec = 4000000;
    assert_int_equal(utimensat(AT_FDCWD, w->path, times, 0), 0);
    record(w, false);
    assert_true(can_reuse(w, BOOT));
}

/* The name may have come to another file since: that one is nobody's snapshot. */
static void only_the_file_that_is_open_is_recognised(void **state)
{
    struct world *w = *state;
    struct db_options o = {.path = w->path, .scratch_dir = w->dir};
    uint8_t fingerprint[DB_FINGERPRINT_MAX];
    char other[128];
    struct db *d;
    int fd;

    assert_int_equal(db_open(&d, &o, &w->why), ERR_OK);
    assert_int_not_equal(db_fingerprint(d, false, fingerprint), 0);
    snprintf(other, sizeof other, "%s-other", w->path);
    fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0 && pwrite(fd, w->pages, DB_PAGE, 0) == DB_PAGE);
    close(fd);
    assert_int_equal(rename(other, w->path), 0);
    assert_int_equal(db_fingerprint(d, false, fingerprint), 0);
    unlink(w->path);
    assert_int_equal(db_fingerprint(d, false, fingerprint), 0);
    db_close(d);
}

static void copy_the_wal_back(struct world *w)
{
    sqlite3 *db;

    if (sqlite3_open(w->path, &db) != SQLITE_OK) _exit(1);
    run(db, "SELECT count(*) FROM t");
    sqlite3_close(db); /* the last one out checkpoints */
}

static void a_program_that_copied_the_wal_back_is_noticed(void **state)
{
    struct world *w = *state;

    in_child(write_more_and_crash, w);
    in_child(copy_the_wal_back, w);
    assert_false(can_reuse(w, BOOT));
    assert_non_null(strstr(w->why.text, "change"));
}

static void write_in_another_mode(struct world *w)
{
    sqlite3 *db;

    if (sqlite3_open(w->path, &db) != SQLITE_OK) _exit(1);
    run(db, "PRAGMA journal_mode=DELETE; DELETE FROM t WHERE n = 7;");
    sqlite3_close(db);
}

static void a_program_that_wrote_is_noticed(void **state)
{
    struct world *w = *state;

    in_child(write_in_another_mode, w);
    assert_false(can_reuse(w, BOOT));
}

static void another_file_of_the_same_content_is_noticed(void **state)
{
    struct world *w = *state;
    int fd;

    assert_int_equal(unlink(w->path), 0);
    assert_false(can_reuse(w, BOOT));
    assert_non_null(strstr(w->why.text, "not there"));
    fd = open(w->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, w->pages, (size_t)w->n * DB_PAGE), w->n * DB_PAGE);
    close(fd);
    assert_false(can_reuse(w, BOOT));
}

static void content_that_differs_is_noticed(void **state)
{
    struct world *w = *state;

    w->pages[100] ^= 1;
    assert_false(can_reuse(w, BOOT));
    assert_non_null(strstr(w->why.text, "content"));
}

static void a_damaged_fingerprint_is_none(void **state)
{
    struct world *w = *state;
    size_t len = w->len;

    for (w->len = 0; w->len < len; w->len++) assert_false(can_reuse(w, BOOT));
    w->fingerprint[0] = 2;
    assert_false(can_reuse(w, BOOT));
    w->fingerprint[0] = 1;
    assert_true(can_reuse(w, BOOT));
}

static void a_journal_beside_it_means_that_somebody_wrote(void **state)
{
    struct world *w = *state;
    char journal[128];
    int fd;

    snprintf(journal, sizeof journal, "%s-journal", w->path);
    fd = open(journal, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    close(fd);
    assert_false(can_reuse(w, BOOT));
}

/* --- programs that have it open meanwhile ---------------------------------------------
 */

struct reader { /* a child that does what it is told by one byte at a time */
    pid_t pid;
    int to, from;
};

static int one_int(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s;
    int v = -1;

    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        v = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return v;
}

static void serve(struct world *w, int in, int out)
{
    sqlite3 *db;
    char order;
    int n;

    if (sqlite3_open_v2(w->path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) _exit(1);
    sqlite3_busy_timeout(db, 5000);
    while (read(in, &order, 1) == 1) {
        if (order == 'b') run(db, "BEGIN");
        if (order == 'e') run(db, "COMMIT");
        n = one_int(db, "SELECT count(*) FROM t");
        if (write(out, &n, sizeof n) != sizeof n) _exit(1);
    }
    _exit(0);
}

static void reader_start(struct reader *r, struct world *w)
{
    int to[2], from[2];

    assert_int_equal(pipe(to) | pipe(from), 0);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        close(to[1]);
        close(from[0]);
        serve(w, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    r->to = to[1];
    r->from = from[0];
}

static int reader_counts(struct reader *r, char order)
{
    int n = -2;

    assert_int_equal(write(r->to, &order, 1), 1);
    assert_int_equal(read(r->from, &n, sizeof n), sizeof n);
    return n;
}

static void reader_end(struct reader *r)
{
    int status;

    close(r->to);
    close(r->from);
    waitpid(r->pid, &status, 0);
}

static void insert_one(struct world *w)
{
    run(open_node(w), "INSERT INTO t VALUES (301, 1)");
}

static void a_program_that_has_it_open_reads_on(void **state)
{
    struct world *w = *state;
    struct reader r;

    in_child(write_more_and_crash, w);
    reader_start(&r, w);
    assert_int_equal(reader_counts(&r, 'r'), 301);
    assert_true(can_reuse(w, BOOT));
    in_child(sees_what_was_written_back, w);
    assert_int_equal(reader_counts(&r, 'r'), 300);
    in_child(insert_one, w);
    assert_int_equal(reader_counts(&r, 'r'), 301);
    reader_end(&r);
}

static void a_program_in_the_middle_of_reading_is_let_finish(void **state)
{
    struct world *w = *state;
    struct reader r;

    in_child(write_more_and_crash, w);
    reader_start(&r, w);
    assert_int_equal(reader_counts(&r, 'b'), 301);
    assert_false(can_reuse(w, BOOT));
    assert_non_null(strstr(w->why.text, "another program"));
    assert_int_equal(reader_counts(&r, 'r'), 301);
    assert_int_equal(reader_counts(&r, 'e'), 301);
    assert_true(can_reuse(w, BOOT));
    assert_int_equal(reader_counts(&r, 'r'), 300);
    reader_end(&r);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_a_crash_left_is_used_without_its_wal),
        TEST(the_wal_and_its_index_may_be_gone),
        TEST(after_a_restart_of_the_machine_it_must_have_been_synced),
        TEST(a_file_whose_times_are_coarse_is_not_recognised),
        TEST(only_the_file_that_is_open_is_recognised),
        TEST(a_program_that_copied_the_wal_back_is_noticed),
        TEST(a_program_that_wrote_is_noticed),
        TEST(another_file_of_the_same_content_is_noticed),
        TEST(content_that_differs_is_noticed),
        TEST(a_damaged_fingerprint_is_none),
        TEST(a_journal_beside_it_means_that_somebody_wrote),
        TEST(a_program_that_has_it_open_reads_on),
        TEST(a_program_in_the_middle_of_reading_is_let_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
