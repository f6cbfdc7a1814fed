/* SPDX-License-Identifier: MIT */
/* What is captured, piece by piece or as a whole, is the database. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "core/base/bytes.h"
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
static void rebuilt(struct fixture *f, const struct model *m, const struct db_state *st,
                    bool on_disk)
{
    struct db_pages from = {.n = m->n, .read = read_model, .arg = (void *)(uintptr_t)m};
    struct why why = {0};

    fixture_open(f, on_disk, false);
    db_reader_close(f->reader);
    check(db_rebuild(f->db, &from, st, &why), &why);
    check(db_reader_open(f->db, &f->reader, &why), &why);
}

/* The model is the database: another made of it says the same, and goes on the same way.
 */
static void assert_model(struct fixture *f, const struct model *m,
                         const struct db_state *st, bool on_disk)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_add_up_in_memory),
        cmocka_unit_test(random_changes_add_up_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
