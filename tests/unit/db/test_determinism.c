/* SPDX-License-Identifier: MIT */
/*
 * Replicas come to the same results: in memory or on disk, however entries were batched,
 * with a restart in between.
 */
#include "core/base/rand.h"
#include "core/db/internal.h"
#include "core/db/snapshot.h"
#include "tests/unit/db/db_test.h"

static void dump_of(struct fixture *f, char *out, size_t size)
{
    char path[160];
    struct why why = {0};
    snprintf(path, sizeof path, "%s/dump.sql", f->dir);
    if (db_commit(f->db, &why) != ERR_OK) fail_msg("%s", why.text);
    if (db_reader_backup(f->reader, DB_BACKUP_SQL, NULL, path, &why) != ERR_OK)
        fail_msg("%s", why.text);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(out, 1, size - 1, file);
    out[n] = '\0';
    assert_int_not_equal(n, size - 1);
    fclose(file);
    unlink(path);
}

static void random_and_the_clock_are_the_same_everywhere(void **state)
{
    struct fixture f[2];
    char text[2][20000];
    (void)state;
    for (int i = 0; i < 2; i++) {
        fixture_open(&f[i], i == 1, false);
        f[i].commit_late = i == 1;
        execute(&f[i],
                "CREATE TABLE t(id INTEGER PRIMARY KEY, r INT DEFAULT (random()), b BLOB "
                "DEFAULT (randomblob(8)),"
                " ts TEXT DEFAULT CURRENT_TIMESTAMP, d TEXT DEFAULT (date('now')), x)",
                "CREATE TABLE log(at TEXT, r INT, c INT)",
                "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log "
                "VALUES(strftime('%f','now'), random(), changes()); END",
                "CREATE VIEW v AS SELECT datetime('now') AS n, random() AS r", NULL);
        execute(
            &f[i], "INSERT INTO t(x) VALUES(1),(2),(3)",
            "INSERT INTO t(x) VALUES(total_changes())",
            "INSERT INTO t(x) SELECT n FROM v", "INSERT INTO t(x) SELECT r FROM v",
            "INSERT INTO t(x) "
            "VALUES(julianday('now')),(unixepoch()),(last_insert_rowid()),(changes())",
            NULL);
        execute(&f[i], "INSERT INTO t(x) SELECT x FROM t ORDER BY random()",
                "DELETE FROM t WHERE random() % 4 = 0",
                "UPDATE t SET x=abs(random()) % 100 WHERE id % 2", NULL);
        dump_of(&f[i], text[i], sizeof text[i]);
    }
    assert_text(text[0], text[1]);
    assert_true(db_effect_hash(f[0].db, NULL) == db_effect_hash(f[1].db, NULL));
    assert_non_null(strstr(text[0], "'2023-11-14 22:13:20'"));
    for (int i = 0; i < 2; i++) fixture_close(&f[i]);
}

static void one_statement_sees_one_now_and_random_differs_from_row_to_row(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(a, b, c)", NULL);
    execute(
        &f,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100)"
        " INSERT INTO t SELECT random(), strftime('%f','now'), hex(randomblob(4)) FROM n",
        NULL);
    assert_text(query(&f,
                      "SELECT count(DISTINCT a), count(DISTINCT b), count(DISTINCT c) > "
                      "95, min(a)<0, max(a)>0 FROM t",
                      NULL),
                "(count(DISTINCT a), count(DISTINCT b), count(DISTINCT c) > 95, "
                "min(a)<0, max(a)>0) [100, 1, 1, 1, 1]");
    execute(&f, "CREATE TABLE u(a)", "INSERT INTO u VALUES(random())",
            "INSERT INTO u VALUES(random())", NULL);
    assert_text(query(&f, "SELECT count(DISTINCT a) FROM u", NULL),
                "(count(DISTINCT a)) [2]");
    assert_text(
        request(&f, "INSERT INTO u VALUES(1)",
                "SELECT length(randomblob(0)), length(randomblob(5)), typeof(random())",
                NULL),
        "id=3 n=1 | (length(randomblob(0)), length(randomblob(5)), typeof(random())) [1, "
        "5, 'integer']");
    fixture_close(&f);
}

static void local_time_is_utc(void **state)
{
    struct fixture f;
    (void)state;
    setenv("TZ", "America/New_York", 1);
    fixture_open(&f, false, false);
    assert_text(
        query(&f,
              "SELECT datetime('2021-07-01 12:00', 'localtime'), datetime('2021-07-01 "
              "12:00', 'utc')",
              NULL),
        "(datetime('2021-07-01 12:00', 'localtime'), datetime('2021-07-01 12:00', 'utc'))"
        " ['2021-07-01 12:00:00', '2021-07-01 12:00:00']");
    fixture_close(&f);
    unsetenv("TZ");
}

static void readers_have_the_real_clock_and_real_random_numbers(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    assert_text(
        query(&f, "SELECT date('now') > '2024-01-01', random() <> random()", NULL),
        "(date('now') > '2024-01-01', random() <> random()) [1, 1]");
    fixture_close(&f);
}

/* --- batched or not ----------------------------------------------------------------- */

static const char *const pieces[] = {
    "INSERT INTO a(x) VALUES(random() % 50)",
    "INSERT INTO a(x, u) VALUES(1, abs(random()) % 20)",
    "INSERT INTO a(x, u) VALUES(2, abs(random()) % 20),(3, abs(random()) % 20)",
    "INSERT OR IGNORE INTO a(u) VALUES(abs(random()) % 20),(abs(random()) % 20)",
    "INSERT OR REPLACE INTO a(u) VALUES(abs(random()) % 20),(abs(random()) % 20)",
    "INSERT OR FAIL INTO a(u) VALUES(abs(random()) % 20),(abs(random()) % "
    "20),(abs(random()) % 20)",
    "INSERT OR ROLLBACK INTO a(u) VALUES(abs(random()) % 20)",
    "INSERT INTO a(u) VALUES(abs(random()) % 20) ON CONFLICT(u) DO UPDATE SET x=x+1 "
    "RETURNING id, x",
    "UPDATE a SET u = u + 1 WHERE id % 3 = abs(random()) % 3",
    "UPDATE OR REPLACE a SET u = u + 1 WHERE id % 5 = 0",
    "UPDATE a SET x = changes() + total_changes() WHERE id = last_insert_rowid()",
    "DELETE FROM a WHERE id % 7 = abs(random()) % 7",
    "DELETE FROM a WHERE u > 15 RETURNING id",
    "DELETE FROM b",
    "INSERT INTO b VALUES(abs(random()) % 10, 'x', datetime('now'))",
    "REPLACE INTO b VALUES(abs(random()) % 10, 'y', CURRENT_TIMESTAMP)",
    "INSERT INTO b SELECT u, 'z', id FROM a WHERE u NOT NULL",
    "INSERT INTO c(a_id) SELECT id FROM a ORDER BY random() LIMIT 1",
    "INSERT INTO c(a_id) VALUES(abs(random()) % 10)",
    "DELETE FROM c WHERE id % 2",
    "INSERT INTO s(v) VALUES(random() % 1000)",
    "INSERT OR IGNORE INTO s(id, v) VALUES(abs(random()) % 40, 1),(NULL, 2)",
    "DELETE FROM s WHERE id % 2",
    "INSERT INTO ft(body) VALUES('some words ' || (random() % 10))",
    "DELETE FROM ft WHERE ft MATCH 'words' AND rowid % 2",
    "INSERT INTO tr VALUES(abs(random()) % 8)",
    "SELECT count(*) FROM a",
    "SELECT abs(-9223372036854775807-1)",
    "INSERT INTO nosuch VALUES(1)",
    "SELEC",
    "",
    "-- nothing",
    "INSERT INTO a(x) VALUES(1); INSERT INTO a(x) VALUES(2)",
    "INSERT INTO b VALUES(11, 'q', 1); INSERT INTO b VALUES(11, 'q', 1); INSERT INTO b "
    "VALUES(12, 'q', 1)",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s1",
    "RELEASE s1",
    "ROLLBACK TO s1",
    "CREATE TABLE IF NOT EXISTS extra(a DEFAULT (random()), b)",
    "DROP TABLE IF EXISTS extra",
    "INSERT INTO extra(b) VALUES(random())",
    "CREATE INDEX IF NOT EXISTS a_x ON a(x)",
    "DROP INDEX IF EXISTS a_x",
    "CREATE TRIGGER IF NOT EXISTS ga AFTER INSERT ON a WHEN new.u > 10 BEGIN INSERT INTO "
    "tr VALUES(new.u); END",
    "CREATE TRIGGER IF NOT EXISTS gr BEFORE INSERT ON tr WHEN new.v = 3 BEGIN SELECT "
    "RAISE(ROLLBACK, 'three'); END",
    "CREATE TRIGGER IF NOT EXISTS gi BEFORE INSERT ON tr WHEN new.v = 4 BEGIN SELECT "
    "RAISE(IGNORE); END",
    "CREATE TRIGGER IF NOT EXISTS gf BEFORE INSERT ON b WHEN new.k = 5 BEGIN INSERT INTO "
    "ft(body) VALUES('five'); END",
    "DROP TRIGGER IF EXISTS ga",
    "DROP TRIGGER IF EXISTS gr",
    "DROP TRIGGER IF EXISTS gf",
    "PRAGMA foreign_keys=1",
    "PRAGMA foreign_keys=0",
    "PRAGMA defer_foreign_keys=1",
    "PRAGMA recursive_triggers=0",
    "PRAGMA user_version=9",
    "CREATE TABLE IF NOT EXISTS dp(id INTEGER PRIMARY KEY, r INT REFERENCES dp(id) "
    "DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO dp(r) VALUES(abs(random()) % 5)",
    "DROP TABLE IF EXISTS dp",
    "CREATE TEMP TABLE IF NOT EXISTS tt(a)",
    "INSERT INTO tt VALUES(random())",
    "INSERT INTO b SELECT rowid, 't', a FROM tt WHERE rowid < 5",
    "VACUUM",
    "ANALYZE",
    "PRAGMA optimize",
    "INSERT INTO big(id) VALUES(9223372036854775807)",
    "INSERT INTO big(v) VALUES(1)",
    "DELETE FROM big",
    "INSERT INTO r(v) VALUES(1),(2)",
    "INSERT INTO r(id) VALUES(9223372036854775807)",
};

static void setup_mix(struct fixture *f)
{
    execute(f, "CREATE TABLE a(id INTEGER PRIMARY KEY, x, u UNIQUE)",
            "CREATE TABLE b(k PRIMARY KEY, v, t) WITHOUT ROWID",
            "CREATE TABLE c(id INTEGER PRIMARY KEY, a_id INT REFERENCES a(id) ON DELETE "
            "CASCADE)",
            "CREATE TABLE s(id INTEGER PRIMARY KEY AUTOINCREMENT, v)",
            "CREATE VIRTUAL TABLE ft USING fts5(body)", "CREATE TABLE tr(v)",
            "CREATE TABLE big(id INTEGER PRIMARY KEY AUTOINCREMENT, v)",
            "CREATE TABLE r(id INTEGER PRIMARY KEY, v)", NULL);
}

/* A request of random statements; common ones (the first half) more often than the
 * others. */
static size_t random_stmts(struct rand *r, struct db_stmt *out, size_t max,
                           bool plain_only)
{
    size_t n = 1 + rand_below(r, max), all = sizeof pieces / sizeof *pieces;
    for (size_t i = 0; i < n; i++) {
        const char *sql =
            pieces[rand_below(r, plain_only || rand_below(r, 4) ? 28 : all)];
        out[i] = (struct db_stmt){.sql = sql, .sql_len = strlen(sql)};
    }
    return n;
}

/* Apply the same request to all; every result must be the same. */
static void apply_everywhere(struct fixture *f, size_t n, const struct db_request *req,
                             uint64_t seed, int at)
{
    char first[16000];
    for (size_t i = 0; i < n; i++) {
        struct db_request mine = *req;
        if (i == 2)
            mine.max_steps = UINT64_C(1)
                             << 50; /* never shares a transaction, never uses the cache */
        const char *text = apply_request(&f[i], &mine);
        if (i == 0)
            snprintf(first, sizeof first, "%s", text);
        else if ((i < 3 &&
                  strcmp(first, text) != 0) || /* a restart resets rows_affected */
                 db_effect_hash(f[0].db, NULL) != db_effect_hash(f[i].db, NULL)) {
            for (size_t k = 0; k < req->n; k++)
                fprintf(stderr, "  %s\n", req->stmts[k].sql);
            fail_msg("seed %" PRIu64
                     " request %d, db %zu: \"%s\" instead of \"%s\", effect %d",
                     seed, at, i, text, first,
                     db_effect_hash(f[0].db, NULL) == db_effect_hash(f[i].db, NULL));
        }
    }
}

/* An image in memory. */
struct image {
    uint8_t *pages;
    uint32_t n;
};

static enum err put_image(void *arg, uint32_t first, uint32_t n, const void *data,
                          struct why *why)
{
    struct image *im = arg;

    (void)why;
    assert_int_equal(first, im->n + 1);
    im->n += n;
    im->pages = realloc(im->pages, (size_t)im->n * DB_PAGE);
    assert_non_null(im->pages);
    memcpy(im->pages + (size_t)(first - 1) * DB_PAGE, data, (size_t)n * DB_PAGE);
    return ERR_OK;
}

static enum err read_image(void *arg, uint32_t first, uint32_t n, void *out,
                           struct why *why)
{
    const struct image *im = arg;

    (void)why;
    assert_true(first + n - 1 <= im->n);
    memcpy(out, im->pages + (size_t)(first - 1) * DB_PAGE, (size_t)n * DB_PAGE);
    return ERR_OK;
}

/* Go on as another database that starts from a snapshot of this one, unless it cannot be
 * taken now. */
static void restart(struct fixture *f)
{
    struct db_reader *pinned = NULL;
    struct db_state st;
    struct why why = {0};
    struct fixture fresh;
    struct image image = {0};
    uint32_t changed;

    enum err e = db_capture_begin(f->db, &st, &changed, &why);
    if (e == ERR_BUSY) return;
    if (!e) e = db_snapshot_pin(f->db, &pinned, &why);
    if (!e) e = db_reader_pages(pinned, put_image, &image, &why);
    if (e != ERR_OK) fail_msg("%s", why.text);
    db_reader_close(pinned);
    assert_int_equal(image.n, st.pages);
    fixture_open(&fresh, false, f->foreign_keys);
    db_reader_close(fresh.reader);
    struct db_pages from = {.n = image.n, .read = read_image, .arg = &image};
    if (db_rebuild(fresh.db, &from, &st, &why) != ERR_OK) fail_msg("%s", why.text);
    assert_int_equal(db_reader_open(fresh.db, &fresh.reader, &why), ERR_OK);
    free(image.pages);
    fresh.ctx = f->ctx;
    fresh.commit_late = f->commit_late;
    fixture_close(f);
    *f = fresh;
}

/*
 * 0: in memory, one commit per entry.  1: on disk, commits now and then.  2: every
 * statement by itself. 3: started anew from a snapshot every now and then.
 */
static void mix(uint64_t seed, int requests)
{
    struct fixture f[4];
    static char text[2][1 << 21];
    struct rand r;

    rand_init(&r, seed);
    bool foreign_keys = rand_below(&r, 2);
    bool plain_only = rand_below(&r, 3) == 0;
    for (int i = 0; i < 4; i++) {
        fixture_open(&f[i], i == 1, foreign_keys);
        f[i].commit_late = i == 1 || i == 3;
        setup_mix(&f[i]);
    }
    for (int at = 0; at < requests; at++) {
        struct db_stmt stmts[6];
        struct db_request req = {.stmts = stmts};
        req.n = random_stmts(&r, stmts, 6, plain_only);
        req.transaction = rand_below(&r, 4) == 0;
        req.rows = rand_below(&r, 3) == 0;
        apply_everywhere(f, 4, &req, seed, at);
        if (rand_below(&r, 10) == 0) assert_int_equal(db_commit(f[1].db, NULL), ERR_OK);
        if (rand_below(&r, 20) == 0) restart(&f[3]);
    }
    for (int i = 0; i < 4; i++) {
        dump_of(&f[i], text[i > 0], sizeof text[0]);
        if (i > 0) assert_text(text[0], text[1]);
        assert_text(query(&f[i], "PRAGMA integrity_check", NULL),
                    "(integrity_check) ['ok']");
    }
    for (int i = 0; i < 4; i++) fixture_close(&f[i]);
}

static void batches_do_not_change_any_result(void **state)
{
    const char *one = getenv("DB_SEED"), *many = getenv("DB_SEEDS");
    uint64_t n = many ? strtoull(many, NULL, 0) : 60;
    (void)state;
    if (one) mix(strtoull(one, NULL, 0), 150);
    for (uint64_t seed = 1; !one && seed <= n; seed++) mix(seed, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_and_the_clock_are_the_same_everywhere),
        cmocka_unit_test(one_statement_sees_one_now_and_random_differs_from_row_to_row),
        cmocka_unit_test(local_time_is_utc),
        cmocka_unit_test(readers_have_the_real_clock_and_real_random_numbers),
        cmocka_unit_test(batches_do_not_change_any_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
