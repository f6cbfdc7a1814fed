/* SPDX-License-Identifier: MIT */
/* What is captured, piece by piece or as a whole, is the database. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "core/base/rand.h"
#include "core/db/internal.h"
#include "core/db/snapshot.h"
#include "tests/unit/db/db_test.h"

/* --- a model of the pages ----------------------------------------------------------- */

struct model {
    uint8_t *pages; /* owned */
    uint32_t n, last, calls, put;
};

static void model_size(struct model *m, uint32_t n)
{
    m->pages = realloc(m->pages, (size_t)(n ? n : 1) * DB_PAGE);
    assert_non_null(m->pages);
    /* What nobody gives is not by chance what it should be. */
    if (n > m->n)
        memset(m->pages + (size_t)m->n * DB_PAGE, 0xee, (size_t)(n - m->n) * DB_PAGE);
    m->n = n;
}

static enum err put_model(void *arg, uint32_t first, uint32_t n, const void *data,
                          struct why *why)
{
    struct model *m = arg;

    (void)why;
    assert_true(first > m->last && n > 0);
    assert_true((uint64_t)first + n - 1 <= m->n);
    memcpy(m->pages + (size_t)(first - 1) * DB_PAGE, data, (size_t)n * DB_PAGE);
    m->last = first + n - 1;
    m->calls++;
    m->put += n;
    return ERR_OK;
}

static enum err read_model(void *arg, uint32_t first, uint32_t n, void *out,
                           struct why *why)
{
    const struct model *m = arg;

    (void)why;
    assert_true(first >= 1 && (uint64_t)first + n - 1 <= m->n);
    memcpy(out, m->pages + (size_t)(first - 1) * DB_PAGE, (size_t)n * DB_PAGE);
    return ERR_OK;
}

static bool same_as_model(void *arg, uint32_t page, const void *data)
{
    const struct model *m = arg;

    assert_true(page >= 1 && page <= m->n);
    return memcmp(m->pages + (size_t)(page - 1) * DB_PAGE, data, DB_PAGE) == 0;
}

static struct db_pages pages_of_model(struct model *m)
{
    return (struct db_pages){
        .n = m->n, .read = read_model, .same = same_as_model, .arg = m};
}

static void model_begin(struct model *m, uint32_t n)
{
    model_size(m, n);
    m->last = m->calls = m->put = 0;
}

static void model_free(struct model *m)
{
    free(m->pages);
    *m = (struct model){0};
}

static void check(enum err e, const struct why *why)
{
    if (e != ERR_OK) fail_msg("%s", why->text);
}

static void whole(struct db *d, struct model *m, struct db_state *st)
{
    struct why why = {0};
    struct db_reader *r;
    uint32_t changed;

    check(db_capture_begin(d, st, &changed, &why), &why);
    check(db_snapshot_pin(d, &r, &why), &why);
    db_captured(d);
    model_begin(m, st->pages);
    check(db_reader_pages(r, put_model, m, &why), &why);
    assert_int_equal(m->put, st->pages);
    db_reader_close(r);
}

/* Only what changed; the number of pages. */
static uint32_t delta(struct db *d, struct model *m, struct db_state *st)
{
    struct why why = {0};
    uint32_t changed;

    check(db_capture_begin(d, st, &changed, &why), &why);
    assert_true(changed != UINT32_MAX);
    model_begin(m, st->pages);
    check(db_capture(d, put_model, m, &why), &why);
    assert_int_equal(m->put, changed);
    db_captured(d);
    return changed;
}

/* --- databases compared ------------------------------------------------------------- */

static uint64_t hash_of(struct db *d)
{
    return db_effect_hash(d, NULL);
}

/* Everything as SQL, in a file that the caller closes. */
static int dump_of(struct fixture *f, struct db_reader *r)
{
    char path[128];
    struct why why = {0};

    snprintf(path, sizeof path, "%s/dump", f->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    check(db_reader_backup(r, DB_BACKUP_SQL, NULL, path, &why), &why);
    unlink(path);
    return fd;
}

static void assert_same_dump(struct fixture *a, struct fixture *b)
{
    struct stat sa, sb;
    int fa = dump_of(a, a->reader), fb = dump_of(b, b->reader);

    assert_int_equal(fstat(fa, &sa), 0);
    assert_int_equal(fstat(fb, &sb), 0);
    assert_int_equal(sa.st_size, sb.st_size);
    if (sa.st_size > 0) {
        void *pa = mmap(NULL, (size_t)sa.st_size, PROT_READ, MAP_SHARED, fa, 0),
             *pb = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_SHARED, fb, 0);
        assert_true(pa != MAP_FAILED && pb != MAP_FAILED);
        assert_memory_equal(pa, pb, (size_t)sa.st_size);
        munmap(pa, (size_t)sa.st_size);
        munmap(pb, (size_t)sb.st_size);
    }
    close(fa);
    close(fb);
}

/* Another database made of the model. */
static void rebuilt(struct fixture *f, struct model *m, const struct db_state *st,
                    bool on_disk)
{
    struct db_pages from = pages_of_model(m);
    struct why why = {0};

    fixture_open(f, on_disk, false);
    db_reader_close(f->reader);
    check(db_rebuild(f->db, &from, st, &why), &why);
    check(db_reader_open(f->db, &f->reader, &why), &why);
}

/* The model is the database: another made of it says the same, and goes on the same way.
 */
static void assert_model(struct fixture *f, struct model *m, const struct db_state *st,
                         bool on_disk)
{
    struct fixture g;

    rebuilt(&g, m, st, on_disk);
    assert_text(query(&g, "PRAGMA integrity_check", NULL), "(integrity_check) ['ok']");
    assert_same_dump(f, &g);
    assert_true(hash_of(f->db) == hash_of(g.db));
    assert_int_equal(db_changed_index(f->db), db_changed_index(g.db));
    g.ctx = f->ctx;
    g.commit_late = f->commit_late;
    char mine[200];
    snprintf(mine, sizeof mine, "%s",
             request(f, "SELECT last_insert_rowid()", "INSERT INTO t(v) VALUES('both')",
                     "PRAGMA recursive_triggers", NULL));
    assert_text(request(&g, "SELECT last_insert_rowid()",
                        "INSERT INTO t(v) VALUES('both')", "PRAGMA recursive_triggers",
                        NULL),
                mine);
    assert_true(hash_of(f->db) == hash_of(g.db));
    fixture_close(&g);
}

/* --- random work -------------------------------------------------------------------- */

static const char *random_write(struct rand *r, char *sql, size_t size)
{
    int k = (int)rand_below(r, 40), t = (int)rand_below(r, 4);

    switch (rand_below(r, 40)) {
    case 0: snprintf(sql, size, "CREATE TABLE IF NOT EXISTS x%d(a, b UNIQUE)", t); break;
    case 1: snprintf(sql, size, "DROP TABLE IF EXISTS x%d", t); break;
    case 2:
        snprintf(sql, size, "CREATE INDEX IF NOT EXISTS i%d ON t(length(v), %d)", t, t);
        break;
    case 3: snprintf(sql, size, "DROP INDEX IF EXISTS i%d", t); break;
    case 4: return "VACUUM";
    case 5: return "PRAGMA recursive_triggers=1";
    case 6: return "PRAGMA incremental_vacuum(5)";
    case 7: return "DELETE FROM t WHERE id > 5";
    case 8:
    case 9: snprintf(sql, size, "DELETE FROM t WHERE id %% 40 = %d", k); break;
    case 10:
    case 11:
        snprintf(sql, size, "INSERT INTO t(v) VALUES(zeroblob(%d))", 1 + 10000 * k);
        break;
    case 12:
        snprintf(
            sql, size,
            "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%d) "
            "INSERT INTO t(v) SELECT randomblob(900) FROM c",
            1 + 10 * k);
        break;
    case 13: return "INSERT INTO ft SELECT hex(v) FROM t LIMIT 20";
    case 14: return "BEGIN; UPDATE t SET v=randomblob(3000); ROLLBACK";
    case 15: snprintf(sql, size, "INSERT INTO x%d VALUES(%d, random())", t, k); break;
    case 16:
        snprintf(sql, size, "UPDATE t SET v=randomblob(%d) WHERE id %% 7 = %d", 50 * k,
                 k % 7);
        break;
    case 17: return "ALTER TABLE t ADD COLUMN c";
    case 18: return "ALTER TABLE t DROP COLUMN c";
    case 19: return "DELETE FROM ft";
    default:
        snprintf(sql, size,
                 k % 2 ? "INSERT INTO t(v) VALUES(randomblob(%d))"
                       : "UPDATE t SET v=randomblob(100) WHERE id=%d",
                 k);
        break;
    }
    return sql;
}

static void some_writes(struct fixture *f, struct rand *r, uint64_t max)
{
    char sql[300];

    for (uint64_t n = rand_below(r, max); n > 0; n--)
        execute(f, random_write(r, sql, sizeof sql), NULL);
}

/* An old transaction, and what it sees. */
struct old {
    struct db_reader *reader;
    struct model m;
};

static void old_free(struct old *o)
{
    db_reader_close(o->reader);
    model_free(&o->m);
    o->reader = NULL;
}

static void old_new(struct old *o, struct db *d, const struct model *m)
{
    struct why why = {0};

    check(db_snapshot_pin(d, &o->reader, &why), &why);
    model_begin(&o->m, m->n);
    check(db_reader_pages(o->reader, put_model, &o->m, &why), &why);
    assert_int_equal(o->m.put, m->n);
}

/* It sees what it saw. */
static void assert_old(struct old *o)
{
    struct model again = {0};
    struct why why = {0};

    model_begin(&again, o->m.n);
    check(db_reader_pages(o->reader, put_model, &again, &why), &why);
    assert_int_equal(again.put, again.n);
    assert_memory_equal(again.pages, o->m.pages, (size_t)o->m.n * DB_PAGE);
    model_free(&again);
}

/* The main file is the model, and there is no WAL. */
static void assert_main_file(struct fixture *f, const struct model *m)
{
    static uint8_t page[DB_PAGE];
    struct stat st;
    char wal[140];
    int fd;

    /* Closing it may drop SQLite's locks, so only on what was copied. */
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_size, (off_t)m->n * DB_PAGE);
    assert_int_equal(db_wal_bytes(f->db), 0);
    char cmd[400];
    snprintf(cmd, sizeof cmd, "cp '%s' '%s/copy'", f->path, f->dir);
    assert_int_equal(system(cmd), 0);
    snprintf(cmd, sizeof cmd, "%s/copy", f->dir);
    fd = open(cmd, O_RDONLY);
    assert_true(fd >= 0);
    unlink(cmd);
    for (uint32_t i = 0; i < m->n; i++) {
        assert_int_equal(pread(fd, page, DB_PAGE, (off_t)i * DB_PAGE), DB_PAGE);
        if (memcmp(page, m->pages + (size_t)i * DB_PAGE, DB_PAGE) != 0)
            fail_msg("page %u of %u differs", i + 1, m->n);
    }
    close(fd);
}

/* The process ends, with writes that no snapshot has, and starts again. */
static void restart(struct fixture *f, struct model *m, const struct db_state *st)
{
    struct db_options o = {.path = f->path, .scratch_dir = f->dir};
    struct db_pages from = pages_of_model(m);
    uint8_t fingerprint[DB_FINGERPRINT_MAX];
    size_t len = db_fingerprint(f->db, false, fingerprint);
    struct why why = {0};
    uint32_t changed;
    struct db_state now;

    execute(f, "INSERT INTO t(v) VALUES(zeroblob(100000))", NULL);
    assert_int_equal(db_commit(f->db, NULL), ERR_OK);
    db_reader_close(f->reader);
    db_close(f->db);
    if (!db_can_reuse(&o, fingerprint, len, &from, &why)) fail_msg("%s", why.text);
    check(db_open_existing(&f->db, &o, st, &why), &why);
    check(db_reader_open(f->db, &f->reader, &why), &why);
    f->ctx.index = st->index;
    check(db_capture_begin(f->db, &now, &changed, &why), &why);
    assert_int_equal(changed, 0);
    assert_memory_equal(&now, st, sizeof now);
}

static void random_run(uint64_t seed, bool on_disk, int steps)
{
    enum { OLD = 3 };
    struct fixture f;
    struct model m = {0};
    struct old old[OLD] = {0};
    struct db_state st;
    struct why why = {0};
    struct rand r;

    rand_init(&r, seed);
    fixture_open(&f, on_disk, false);
    if (rand_below(&r, 3) == 0)
        execute(&f, "PRAGMA auto_vacuum=1", "VACUUM", NULL);
    else if (rand_below(&r, 2))
        execute(&f, "PRAGMA auto_vacuum=2", "VACUUM", NULL);
    f.commit_late = rand_below(&r, 2);
    execute(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
            "CREATE VIRTUAL TABLE ft USING fts5(body)", NULL);
    whole(f.db, &m, &st);
    for (int i = 0; i < steps; i++) {
        bool complete = false;
        uint32_t changed;

        /* Its transactions get into the WAL before they end, however that will be. */
        if (seed % 2)
            assert_int_equal(db_conn_exec(f.db->w, "PRAGMA cache_size=10"), SQLITE_OK);
        some_writes(&f, &r, rand_below(&r, 4) ? 10 : 100);
        /* One that fails does not make us forget. */
        if (rand_below(&r, 4) == 0) {
            check(db_capture_begin(f.db, &st, &changed, &why), &why);
            some_writes(&f, &r, 10);
        }
        if (rand_below(&r, 4) == 0) {
            check(db_write_back(f.db, false, &complete, &why), &why);
            some_writes(&f, &r, 10);
        }
        if (rand_below(&r, 8) == 0)
            whole(f.db, &m, &st);
        else
            delta(f.db, &m, &st);
        if (rand_below(&r, 2) == 0) {
            bool may = !old[0].reader && !old[1].reader && !old[2].reader;
            check(db_write_back(f.db, rand_below(&r, 4) == 0, &complete, &why), &why);
            if (may) assert_true(complete);
            if (complete && on_disk) assert_main_file(&f, &m);
            if (complete && on_disk && may && rand_below(&r, 3) == 0)
                restart(&f, &m, &st);
        }
        struct old *o = &old[rand_below(&r, OLD)];
        if (!o->reader && rand_below(&r, 3) == 0) old_new(o, f.db, &m);
        assert_model(&f, &m, &st, rand_below(&r, 4) == 0);
        for (int k = 0; k < OLD; k++)
            if (old[k].reader) assert_old(&old[k]);
        if (o->reader && rand_below(&r, 3) == 0) old_free(o);
    }
    for (int k = 0; k < OLD; k++) old_free(&old[k]);
    fixture_close(&f);
    model_free(&m);
}

static int steps_of_run(void)
{
    const char *s = getenv("STEPS");
    return s ? atoi(s) : 40;
}

static void random_changes_add_up_in_memory(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) random_run(seed, false, steps_of_run());
}

static void random_changes_add_up_on_disk(void **state)
{
    (void)state;
    for (uint64_t seed = 11; seed <= 14; seed++) random_run(seed, true, steps_of_run());
}

/* --- one thing at a time ------------------------------------------------------------ */

static void begin_table(struct fixture *f, bool on_disk, int rows)
{
    char sql[200];

    fixture_open(f, on_disk, false);
    execute(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)", NULL);
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%d) "
             "INSERT INTO t(v) SELECT randomblob(900) FROM c",
             rows);
    execute(f, sql, NULL);
}

static bool write_back(struct fixture *f)
{
    struct why why = {0};
    bool complete;

    check(db_write_back(f->db, false, &complete, &why), &why);
    return complete;
}

static void only_what_changed_is_given(void **state)
{
    (void)state;
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        struct fixture f, g;
        struct model m = {0};
        struct db_state st;
        uint32_t changed;
        struct why why = {0};

        begin_table(&f, on_disk, 4000);
        check(db_capture_begin(f.db, &st, &changed, &why), &why);
        assert_int_equal(changed, UINT32_MAX); /* of a database from nothing */
        whole(f.db, &m, &st);
        assert_true(st.pages > 900);
        assert_int_equal(delta(f.db, &m, &st), 0);
        execute(&f, "UPDATE t SET v=zeroblob(900) WHERE id IN (5, 3000)", NULL);
        assert_int_equal(delta(f.db, &m, &st), 2);
        assert_true(write_back(&f));
        assert_int_equal(delta(f.db, &m, &st), 0);
        assert_model(&f, &m, &st, !on_disk);
        rebuilt(&g, &m, &st, on_disk);
        assert_int_equal(delta(g.db, &m, &st), 0);
        execute(&g, "UPDATE t SET v='x' WHERE id=7", NULL);
        assert_int_equal(delta(g.db, &m, &st), 1);
        assert_model(&g, &m, &st, on_disk);
        fixture_close(&g);
        fixture_close(&f);
        model_free(&m);
    }
}

/* The one at 1 GiB, where SQLite's locks are; here it is elsewhere. */
static void a_page_that_is_never_written_is_given(void **state)
{
    enum { LOCK_PAGE = 41, PENDING = 0x40000000 };

    (void)state;
    sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, (LOCK_PAGE - 1) * DB_PAGE);
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        struct fixture f;
        struct model m = {0};
        struct db_state st;

        begin_table(&f, on_disk, 10);
        whole(f.db, &m, &st);
        assert_true(st.pages < LOCK_PAGE);
        execute(&f, "INSERT INTO t(v) VALUES(randomblob(400000))", NULL);
        assert_true(delta(f.db, &m, &st) > 90);
        assert_int_equal(m.pages[(LOCK_PAGE - 1) * DB_PAGE], 0);
        assert_true(write_back(&f));
        if (on_disk) assert_main_file(&f, &m);
        assert_model(&f, &m, &st, !on_disk);
        whole(f.db, &m, &st);
        assert_int_equal(m.pages[(LOCK_PAGE - 1) * DB_PAGE], 0);
        fixture_close(&f);
        model_free(&m);
    }
    sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, PENDING);
}

static void what_is_rebuilt_is_the_file_to_the_byte(void **state)
{
    struct fixture f, g;
    struct model m = {0};
    struct db_state st;

    (void)state;
    begin_table(&f, false, 2000);
    whole(f.db, &m, &st);
    rebuilt(&g, &m, &st, true);
    assert_main_file(&g, &m);
    fixture_close(&g);
    memset(m.pages + 18, 1, 2); /* not in WAL mode */
    rebuilt(&g, &m, &st, true);
    memset(m.pages + 18, 2, 2);
    assert_main_file(&g, &m);
    assert_same_dump(&f, &g);
    fixture_close(&g);
    fixture_close(&f);
    model_free(&m);
}

static void what_changed_outlives_checkpoints(void **state)
{
    struct fixture f;
    struct model m = {0};
    struct db_state st;
    char sql[100];

    (void)state;
    begin_table(&f, false, 8000);
    whole(f.db, &m, &st);
    for (int i = 0; i < 6000; i++) {
        snprintf(sql, sizeof sql, "UPDATE t SET v=randomblob(900) WHERE id=%d",
                 1 + i * 7 % 1000);
        execute(&f, sql, NULL);
        /* Many times it has started over. */
        assert_true(db_wal_bytes(f.db) <= UINT64_C(1100) * 4120);
    }
    uint32_t n = delta(f.db, &m, &st);
    assert_true(n >= 200 && n < 400);
    assert_model(&f, &m, &st, true);
    fixture_close(&f);
    model_free(&m);
}

static void a_wal_that_a_reader_holds_up_grows_and_is_given_back(void **state)
{
    struct fixture f;
    struct model m = {0};
    struct old old = {0};
    struct db_state st;
    char sql[100];

    (void)state;
    begin_table(&f, false, 100);
    whole(f.db, &m, &st);
    execute(&f, "INSERT INTO t(v) VALUES('one more')", NULL);
    delta(f.db, &m, &st);
    old_new(&old, f.db, &m);
    for (int i = 0; i < 4500; i++) {
        snprintf(sql, sizeof sql, "UPDATE t SET v=randomblob(900) WHERE id=%d",
                 1 + i % 50);
        execute(&f, sql, NULL);
    }
    assert_true(db_wal_bytes(f.db) > UINT64_C(4500) * 4096);
    assert_false(write_back(&f));
    assert_old(&old);
    delta(f.db, &m, &st);
    assert_model(&f, &m, &st, false);
    assert_old(&old);
    old_free(&old);
    assert_true(write_back(&f));
    assert_int_equal(db_wal_bytes(f.db), 0);
    assert_int_equal(db_vfs_mem_size(f.db->mem, "/main-wal"), 0);
    assert_int_equal(delta(f.db, &m, &st), 1); /* the row of assert_model() */
    assert_model(&f, &m, &st, false);
    fixture_close(&f);
    model_free(&m);
}

static void only_a_write_back_changes_the_main_file(void **state)
{
    struct fixture f;
    struct model m = {0};
    struct db_state st;
    uint8_t before[DB_FINGERPRINT_MAX], after[DB_FINGERPRINT_MAX];
    char sql[100];

    (void)state;
    begin_table(&f, true, 1000);
    whole(f.db, &m, &st);
    assert_true(write_back(&f));
    assert_main_file(&f, &m);
    size_t len = db_fingerprint(f.db, false, before);
    for (int i = 0; i < 3000; i++) {
        snprintf(sql, sizeof sql, "UPDATE t SET v=randomblob(900) WHERE id=%d",
                 1 + i % 500);
        execute(&f, sql, NULL);
    }
    assert_true(db_wal_bytes(f.db) > UINT64_C(3000) * 4096);
    assert_int_equal(db_fingerprint(f.db, false, after), len);
    assert_memory_equal(before, after, len);
    /* But for the WAL getting very large. */
    f.db->wal_valve = 3100;
    for (int i = 0; i < 200; i++)
        execute(&f, "UPDATE t SET v=randomblob(900) WHERE id=600", NULL);
    assert_true(db_wal_bytes(f.db) < UINT64_C(200) * 4120);
    assert_int_equal(db_fingerprint(f.db, false, after), len);
    assert_memory_not_equal(before, after, len);
    uint32_t n = delta(f.db, &m, &st);
    assert_true(n > 100 && n < 300);
    assert_true(write_back(&f));
    assert_main_file(&f, &m);
    assert_model(&f, &m, &st, true);
    fixture_close(&f);
    model_free(&m);
}

/* What the program sqlite3 says to that. */
static void ask_sqlite3(const struct fixture *f, const char *sql, char *out, size_t size)
{
    char cmd[400];

    snprintf(cmd, sizeof cmd, "sqlite3 '%s' '%s' 2>&1", f->path, sql);
    FILE *p = popen(cmd, "r");
    assert_non_null(p);
    size_t n = fread(out, 1, size - 1, p);
    out[n] = '\0';
    assert_int_equal(pclose(p), 0);
}

static void another_program_cannot_copy_the_wal_back(void **state)
{
    struct fixture f;
    struct model m = {0};
    struct db_state st;
    uint8_t before[DB_FINGERPRINT_MAX], after[DB_FINGERPRINT_MAX];
    char out[200];

    (void)state;
    begin_table(&f, true, 100);
    whole(f.db, &m, &st);
    assert_true(write_back(&f));
    for (int round = 0; round < 3; round++) {
        size_t len = db_fingerprint(f.db, false, before);

        execute(&f, "INSERT INTO t(v) VALUES('from us')", NULL);
        if (round == 1) check(db_writer_reopen(f.db, true, NULL), NULL);
        ask_sqlite3(&f, "SELECT count(*) FROM t", out, sizeof out);
        assert_int_equal(atoi(out), 101 + round);
        ask_sqlite3(&f, "PRAGMA wal_checkpoint(TRUNCATE)", out, sizeof out);
        assert_string_equal(out, "1|-1|-1\n");
        db_fingerprint(f.db, false, after);
        assert_memory_equal(before, after, len);
        assert_true(delta(f.db, &m, &st) > 0);
        if (round < 2) assert_true(write_back(&f));
    }
    assert_model(&f, &m, &st, true);
    fixture_close(&f);
    model_free(&m);
}

static void
a_checkpoint_we_did_not_make_means_that_anything_may_have_changed(void **state)
{
    struct fixture f;
    struct model m = {0};
    struct db_state st;
    struct why why = {0};
    char out[200];
    uint32_t changed;

    (void)state;
    begin_table(&f, true, 100);
    whole(f.db, &m, &st);
    assert_true(write_back(&f));
    execute(&f, "UPDATE t SET v='unseen' WHERE id=3", NULL);
    db_unguard(f.db);
    f.db->unguarded = true;
    ask_sqlite3(&f, "PRAGMA wal_checkpoint(TRUNCATE)", out, sizeof out);
    assert_string_equal(out, "0|0|0\n");
    execute(&f, "UPDATE t SET v='seen' WHERE id=90", NULL);
    check(db_capture_begin(f.db, &st, &changed, &why), &why);
    assert_int_equal(changed, UINT32_MAX);
    whole(f.db, &m, &st);
    execute(&f, "UPDATE t SET v='seen' WHERE id=91", NULL);
    assert_int_equal(delta(f.db, &m, &st), 1);
    assert_model(&f, &m, &st, true);
    fixture_close(&f);
    model_free(&m);
}

static void a_reader_of_another_program_only_delays_the_write_back(void **state)
{
    struct fixture f;
    struct model m = {0};
    struct db_state st;
    sqlite3 *other;

    (void)state;
    begin_table(&f, true, 100);
    whole(f.db, &m, &st);
    assert_int_equal(sqlite3_open_v2(f.path, &other, SQLITE_OPEN_READONLY, NULL),
                     SQLITE_OK);
    for (int first = 0; first < 2; first++) { /* something in the WAL, nothing in it */
        assert_int_equal(
            sqlite3_exec(other, "BEGIN; SELECT count(*) FROM t", NULL, NULL, NULL),
            SQLITE_OK);
        for (int i = 0; i < 50; i++) {
            assert_text(execute(&f, "UPDATE t SET v=randomblob(500) WHERE id=9", NULL),
                        "id=100 n=1");
            if (i % 10 == 0) {
                assert_true(delta(f.db, &m, &st) > 0);
                assert_false(write_back(&f));
            }
        }
        assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
        delta(f.db, &m, &st);
        assert_true(write_back(&f));
        assert_main_file(&f, &m);
    }
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    assert_model(&f, &m, &st, false);
    fixture_close(&f);
    model_free(&m);
}

/* --- threads ------------------------------------------------------------------------ */

struct copier {
    struct db_reader *reader;
    struct model *first;
    atomic_bool stop;
    unsigned rounds;
    bool same;
};

static enum err compare(void *arg, uint32_t first, uint32_t n, const void *data,
                        struct why *why)
{
    struct copier *c = arg;

    (void)why;
    if (memcmp(c->first->pages + (size_t)(first - 1) * DB_PAGE, data,
               (size_t)n * DB_PAGE) != 0)
        c->same = false;
    return ERR_OK;
}

static void *copy_again_and_again(void *arg)
{
    struct copier *c = arg;
    struct why why = {0};

    c->same = true;
    do {
        if (db_reader_pages(c->reader, compare, c, &why) != ERR_OK) c->same = false;
        c->rounds++;
    } while (!atomic_load(&c->stop));
    return NULL;
}

static void a_pinned_reader_copies_one_state_while_writes_go_on(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        struct fixture f;
        struct model m = {0}, pinned = {0};
        struct db_state st;
        struct copier c = {.first = &pinned};
        struct why why = {0};
        pthread_t thread;
        struct rand r;

        rand_init(&r, (uint64_t)k);
        begin_table(&f, k & 1, 500);
        execute(&f, "CREATE VIRTUAL TABLE ft USING fts5(body)", NULL);
        if (k & 2) (void)write_back(&f); /* nothing, or all of it, in the WAL */
        whole(f.db, &m, &st);
        model_begin(&pinned, m.n);
        memcpy(pinned.pages, m.pages, (size_t)m.n * DB_PAGE);
        check(db_snapshot_pin(f.db, &c.reader, &why), &why);
        assert_int_equal(pthread_create(&thread, NULL, copy_again_and_again, &c), 0);
        for (int i = 0; i < 60; i++) {
            some_writes(&f, &r, 10);
            delta(f.db, &m, &st);
            (void)write_back(&f);
        }
        atomic_store(&c.stop, true);
        pthread_join(thread, NULL);
        assert_true(c.same && c.rounds > 0);
        db_reader_close(c.reader);
        assert_model(&f, &m, &st, false);
        fixture_close(&f);
        model_free(&m);
        model_free(&pinned);
    }
}

/* --- failures ----------------------------------------------------------------------- */

static void limit_files(rlim_t bytes)
{
    struct rlimit l;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static void a_write_back_that_fails_loses_nothing(void **state)
{
    struct fixture f;
    struct model m = {0};
    struct db_state st;
    struct why why = {0};
    bool complete = true;

    (void)state;
    begin_table(&f, true, 1000);
    whole(f.db, &m, &st);
    assert_true(write_back(&f));
    execute(&f, "INSERT INTO t(v) VALUES(randomblob(100000))", NULL);
    signal(SIGXFSZ, SIG_IGN);
    limit_files((rlim_t)m.n * DB_PAGE);
    enum err e = db_write_back(f.db, false, &complete, &why);
    limit_files(RLIM_INFINITY);
    assert_true(e == ERR_IO || e == ERR_NO_SPACE);
    assert_non_null(strstr(why.text, f.path));
    assert_false(complete);
    delta(f.db, &m, &st);
    assert_model(&f, &m, &st, false);
    delta(f.db, &m, &st);
    assert_true(write_back(&f));
    assert_main_file(&f, &m);
    fixture_close(&f);
    model_free(&m);
}

static void an_entry_that_cannot_be_written_is_an_error(void **state)
{
    struct fixture f;
    struct why why = {0};
    struct db_stmt s = {.sql = "INSERT INTO t(v) VALUES(randomblob(300000))"};
    struct db_request req = {.stmts = &s, .n = 1};

    (void)state;
    s.sql_len = strlen(s.sql);
    begin_table(&f, true, 10);
    assert_true(write_back(&f));
    f.ctx.index++;
    signal(SIGXFSZ, SIG_IGN);
    limit_files(100000);
    enum err e = db_apply(f.db, &f.ctx, &req, NULL, &why);
    if (!e) e = db_commit(f.db, &why);
    limit_files(RLIM_INFINITY);
    assert_true(e == ERR_IO || e == ERR_NO_SPACE);
    assert_true(strlen(why.text) > 0);
    fixture_close(&f);
}

static enum err read_fails(void *arg, uint32_t first, uint32_t n, void *out,
                           struct why *why)
{
    (void)arg;
    memset(out, 0, (size_t)n * DB_PAGE);
    if (first == 1) memcpy(out, "SQLite format 3\0\x10\0", 18);
    return first > 1 ? why_set(why, ERR_CORRUPT, "page %u is damaged", first) : ERR_OK;
}

static enum err read_zeros(void *arg, uint32_t first, uint32_t n, void *out,
                           struct why *why)
{
    (void)arg, (void)first, (void)why;
    memset(out, 0, (size_t)n * DB_PAGE);
    return ERR_OK;
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        struct db_pages from = {.n = 1000, .read = k & 2 ? read_fails : read_zeros};
        struct db_state st = {.len = 10, .bytes = {1}};
        struct why why = {0};
        struct fixture f;
        struct stat s;
        char path[160];

        fixture_open(&f, k & 1, false);
        db_reader_close(f.reader);
        f.reader = NULL;
        assert_int_equal(db_rebuild(f.db, &from, &st, &why), ERR_CORRUPT);
        assert_true(strlen(why.text) > 0);
        snprintf(path, sizeof path, "%s" DB_REBUILD_SUFFIX, f.path);
        assert_int_equal(stat(path, &s), -1);
        fixture_close(&f);
    }
}

static void a_database_other_than_the_snapshots_is_not_opened(void **state)
{
    struct fixture f;
    struct db_state st;
    struct model m = {0};
    struct db *again;
    struct why why = {0};

    (void)state;
    begin_table(&f, true, 100);
    whole(f.db, &m, &st);
    assert_true(write_back(&f));
    st.pages++;
    struct db_options o = {.path = f.path, .scratch_dir = f.dir};
    db_reader_close(f.reader);
    f.reader = NULL;
    db_close(f.db);
    f.db = NULL;
    assert_int_equal(db_open_existing(&again, &o, &st, &why), ERR_CORRUPT);
    assert_null(again);
    fixture_close(&f);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_changed_is_given),
        cmocka_unit_test(a_page_that_is_never_written_is_given),
        cmocka_unit_test(what_is_rebuilt_is_the_file_to_the_byte),
        cmocka_unit_test(what_changed_outlives_checkpoints),
        cmocka_unit_test(a_wal_that_a_reader_holds_up_grows_and_is_given_back),
        cmocka_unit_test(only_a_write_back_changes_the_main_file),
        cmocka_unit_test(another_program_cannot_copy_the_wal_back),
        cmocka_unit_test(
            a_checkpoint_we_did_not_make_means_that_anything_may_have_changed),
        cmocka_unit_test(a_reader_of_another_program_only_delays_the_write_back),
        cmocka_unit_test(a_pinned_reader_copies_one_state_while_writes_go_on),
        cmocka_unit_test(a_write_back_that_fails_loses_nothing),
        cmocka_unit_test(an_entry_that_cannot_be_written_is_an_error),
        cmocka_unit_test(what_is_no_database_is_refused),
        cmocka_unit_test(a_database_other_than_the_snapshots_is_not_opened),
        cmocka_unit_test(random_changes_add_up_in_memory),
        cmocka_unit_test(random_changes_add_up_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
