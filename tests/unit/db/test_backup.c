/* SPDX-License-Identifier: MIT */
/* Backup, load and dump: HTTP API 10. */
#include <fcntl.h>

#include "core/base/doc.h"
#include "core/db/internal.h"
#include "tests/unit/db/db_test.h"

static const char SOME[] =
    "CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT, r REAL, b BLOB)";

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long n = ftell(file);
    rewind(file);
    char *p = malloc((size_t)n + 1);
    assert_int_equal(fread(p, 1, (size_t)n, file), n);
    p[n] = '\0';
    fclose(file);
    return p;
}

static char *backup_path(struct fixture *f)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/backup", f->dir);
    return path;
}

static char *dump(struct fixture *f, const char *const *tables)
{
    struct why why = {0};
    if (db_reader_backup(f->reader, DB_BACKUP_SQL, tables, backup_path(f), &why) !=
        ERR_OK)
        fail_msg("%s", why.text);
    char *text = slurp(backup_path(f));
    unlink(backup_path(f));
    return text;
}

static void assert_dump(struct fixture *f, const char *const *tables,
                        const char *expected)
{
    char *text = dump(f, tables);
    assert_text(text, expected);
    free(text);
}

static void run_script(struct fixture *f, const char *sql)
{
    struct why why = {0};
    fixture_clear(f);
    f->ctx.index++;
    if (db_apply_script(f->db, &f->ctx, sql, strlen(sql), &f->sink.base, &why) != ERR_OK)
        fail_msg("%s", why.text);
    assert_int_equal(db_commit(f->db, NULL), ERR_OK);
    if (strstr(fixture_text(f), "error") || strstr(fixture_text(f), "FAILED"))
        fail_msg("%s", fixture_text(f));
}

/* A dump, loaded into an empty database, gives the same dump. */
static void assert_round_trip(struct fixture *f)
{
    struct fixture g;
    char *first = dump(f, NULL);
    fixture_open(&g, false, false);
    run_script(&g, first);
    assert_dump(&g, NULL, first);
    assert_text(query(&g, "PRAGMA integrity_check", NULL), "(integrity_check) ['ok']");
    fixture_close(&g);
    free(first);
}

static void tables_are_dumped_by_name_then_the_rest(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    assert_dump(&f, NULL, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n");
    execute(&f, SOME,
            "INSERT INTO foo(name,r,b) "
            "VALUES('fiona',1.5,x'00ff'),('it''s',NULL,NULL),('\xc3\xa9',-2,x''),('"
            "line\nbreak',3.0e10,NULL)",
            "CREATE INDEX foo_name ON foo(name)", "CREATE VIEW v AS SELECT name FROM foo",
            "CREATE TABLE \"odd table\"(\"a b\" TEXT, \"select\" INT)",
            "INSERT INTO \"odd table\" VALUES('x',1)",
            "CREATE TABLE \"a\"\"q\"(\"x\"\"y\")", "INSERT INTO \"a\"\"q\" VALUES(5)",
            NULL);
    assert_dump(
        &f, NULL,
        "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"
        "CREATE TABLE \"a\"\"q\"(\"x\"\"y\");\nINSERT INTO \"a\"\"q\" VALUES(5);\n"
        "CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT, r REAL, b BLOB);\n"
        "INSERT INTO \"foo\" VALUES(1,'fiona',1.5,X'00FF');\nINSERT INTO \"foo\" "
        "VALUES(2,'it''s',NULL,NULL);\n"
        "INSERT INTO \"foo\" VALUES(3,'\xc3\xa9',-2.0,X'');\nINSERT INTO \"foo\" "
        "VALUES(4,'line\nbreak',30000000000.0,NULL);\n"
        "CREATE TABLE \"odd table\"(\"a b\" TEXT, \"select\" INT);\nINSERT INTO \"odd "
        "table\" VALUES('x',1);\n"
        "CREATE INDEX foo_name ON foo(name);\nCREATE VIEW v AS SELECT name FROM "
        "foo;\nCOMMIT;\n");
    assert_round_trip(&f);
    fixture_close(&f);
}

static void tables_can_be_picked(void **state)
{
    struct fixture f;
    static const char *const a[] = {"a", NULL}, *const ca[] = {"c", "a", NULL},
                             *const none[] = {"nosuch", "A", NULL};
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE a(x)", "INSERT INTO a VALUES(1)", "CREATE TABLE b(x)",
            "CREATE TABLE c(x)", "INSERT INTO c VALUES(3)", NULL);
#define HEAD "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"
    assert_dump(&f, a,
                HEAD "CREATE TABLE a(x);\nINSERT INTO \"a\" VALUES(1);\nCOMMIT;\n");
    assert_dump(&f, ca,
                HEAD "CREATE TABLE a(x);\nINSERT INTO \"a\" VALUES(1);\nCREATE TABLE "
                     "c(x);\nINSERT INTO \"c\" VALUES(3);\nCOMMIT;\n");
    assert_dump(&f, none, HEAD "COMMIT;\n");
    fixture_close(&f);
}

static void values_of_every_kind_survive(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(a, b INTEGER, c REAL, d TEXT, e BLOB)",
            "INSERT INTO t VALUES('',-9223372036854775808,1e300,'quote '' and \"double\" "
            "and ; semicolon',x'')",
            "INSERT INTO t VALUES(0.1,'abc',1e-7,CAST(x'610062' AS TEXT),zeroblob(3))",
            "INSERT INTO t VALUES(9e999,-9e999,0.1+0.2,123456789.123456789,5e-324)",
            NULL);
    assert_dump(
        &f, NULL,
        HEAD
        "CREATE TABLE t(a, b INTEGER, c REAL, d TEXT, e BLOB);\n"
        "INSERT INTO \"t\" VALUES('',-9223372036854775808,1.0e+300,'quote '' and "
        "\"double\" and ; semicolon',X'');\n"
        "INSERT INTO \"t\" VALUES(0.1,'abc',1.0e-07,CAST(X'610062' AS TEXT),X'000000');\n"
        "INSERT INTO \"t\" "
        "VALUES(9.0e+999,-9.0e+999,3.00000000000000044408e-01,'123456789.123457',4."
        "94065645841247e-324);\n"
        "COMMIT;\n");
    assert_round_trip(&f);
    fixture_close(&f);
}

static void what_restoring_makes_by_itself_is_left_out(void **state)
{
    struct fixture f, g;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f,
            "CREATE TABLE z(id INTEGER PRIMARY KEY AUTOINCREMENT, a INT, b INT AS (a*2) "
            "STORED, c INT AS (a*3))",
            "INSERT INTO z(a) VALUES(1),(2)", "DELETE FROM z WHERE a=2",
            "CREATE VIRTUAL TABLE ft USING fts5(body, tag)",
            "INSERT INTO ft(rowid, body, tag) VALUES(7,'hello world','x'),(9,'other "
            "words','y')",
            "CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1)",
            "INSERT INTO rt VALUES(3, 1, 2)",
            "CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID",
            "INSERT INTO w VALUES('k','v')", "CREATE INDEX za ON z(a)",
            "CREATE TRIGGER g AFTER INSERT ON z BEGIN SELECT 1; END", "ANALYZE z", NULL);
    char *text = dump(&f, NULL);
    assert_null(strstr(text, "ft_data"));
    assert_null(strstr(text, "rt_node"));
    assert_non_null(strstr(text, "INSERT INTO \"z\"(\"id\",\"a\") VALUES(1,1);\n"));
    assert_non_null(strstr(
        text,
        "INSERT INTO \"ft\"(rowid,\"body\",\"tag\") VALUES(7,'hello world','x');\n"));
    assert_non_null(strstr(text, "DELETE FROM \"sqlite_sequence\";\nINSERT INTO "
                                 "\"sqlite_sequence\" VALUES('z',2);\n"
                                 "ANALYZE \"sqlite_master\";\nINSERT INTO "
                                 "\"sqlite_stat1\" VALUES('z','za','1 1');\n"
                                 "CREATE INDEX za"));
    fixture_open(&g, false, false);
    run_script(&g, text);
    assert_text(query(&g, "SELECT rowid, tag FROM ft WHERE ft MATCH 'hello'",
                      "SELECT * FROM z", "SELECT * FROM rt", NULL),
                "(rowid:INTEGER, tag) [7, 'x'] | (id:INTEGER, a:INT, b:INT, c:INT) [1, "
                "1, 2, 3] | "
                "(id:INT, x0:REAL, x1:REAL) [3, 1, 2]");
    free(text);
    fixture_close(&f);
    fixture_close(&g);
}

/* --- files -------------------------------------------------------------------------- */

static void header_is(const char *path, int version)
{
    uint8_t h[20];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(h, 1, 20, file), 20);
    fclose(file);
    assert_int_equal(h[18], version);
    assert_int_equal(h[19], version);
}

static int64_t file_int(const char *path, const char *sql)
{
    sqlite3 *s = NULL;
    sqlite3_stmt *st = NULL;
    int64_t v = -1;
    if (sqlite3_open_v2(path, &s, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(s, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(s);
    return v;
}

static void backups_of_each_format_are_whole(bool on_disk)
{
    static const struct {
        enum db_backup_format format;
        int version;
    } formats[] = {{DB_BACKUP_WAL, 2}, {DB_BACKUP_DELETE, 1}, {DB_BACKUP_VACUUM, 1}};
    struct fixture f;
    struct why why = {0};
    long sizes[3];
    fixture_open(&f, on_disk, false);
    execute(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, b)",
            "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<3000) "
            "INSERT INTO t SELECT i, randomblob(1000) FROM c",
            "DELETE FROM t WHERE id > 1000", "PRAGMA user_version=5", NULL);
    for (size_t i = 0; i < 3; i++) {
        char path[200], fd_path[64];
        struct stat st;
        snprintf(path, sizeof path, "%s/b %%41?x#%zu.db", f.dir,
                 i); /* no character is special */
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
        assert_true(fd >= 0);
        snprintf(fd_path, sizeof fd_path, "/proc/self/fd/%d", fd);
        if (db_reader_backup(f.reader, formats[i].format, NULL, i == 1 ? fd_path : path,
                             &why) != ERR_OK)
            fail_msg("%s", why.text);
        header_is(path, formats[i].version);
        assert_int_equal(fstat(fd, &st), 0);
        sizes[i] = (long)st.st_size;
        close(fd);
        assert_int_equal(db_check_file(path, &why), ERR_OK);
        header_is(path, formats[i].version); /* checking changes nothing */
        assert_int_equal(file_int(path, "SELECT count(*) FROM t"), 1000);
        assert_int_equal(file_int(path, "PRAGMA user_version"), 5);
        assert_int_equal(file_int(path, "PRAGMA page_size"), 4096);
        unlink(path);
    }
    assert_true(sizes[2] < sizes[0] / 2);
    fixture_close(&f);
}

static void file_backups_from_memory(void **state)
{
    (void)state;
    backups_of_each_format_are_whole(false);
}
static void file_backups_from_disk(void **state)
{
    (void)state;
    backups_of_each_format_are_whole(true);
}

static void a_backup_can_be_written_to_a_file_without_a_name(void **state)
{
    struct fixture f;
    struct why why = {0};
    char path[200], fd_path[64];
    struct stat st;
    (void)state;
    fixture_open(&f, false, false);
    execute(&f, "CREATE TABLE t(a)", NULL);
    snprintf(path, sizeof path, "%s/x", f.dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    unlink(path);
    snprintf(fd_path, sizeof fd_path, "/proc/self/fd/%d", fd);
    if (db_reader_backup(f.reader, DB_BACKUP_WAL, NULL, fd_path, &why) != ERR_OK)
        fail_msg("%s", why.text);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 8192);
    if (db_check_file(fd_path, &why) != ERR_OK) fail_msg("%s", why.text);
    close(fd);
    fixture_close(&f);
}

/* --- load --------------------------------------------------------------------------- */

static void make_file(const char *path, const char *sql)
{
    sqlite3 *s;
    unlink(path);
    assert_int_equal(sqlite3_open(path, &s), SQLITE_OK);
    char *err = NULL;
    if (sqlite3_exec(s, sql, NULL, NULL, &err) != SQLITE_OK) fail_msg("%s", err);
    sqlite3_close(s);
}

static void load(struct fixture *f, const char *path)
{
    struct why why = {0};
    if (db_check_file(path, &why) != ERR_OK) fail_msg("%s", why.text);
    f->ctx.index++;
    if (db_apply_replace(f->db, &f->ctx, path, &why) != ERR_OK) fail_msg("%s", why.text);
    assert_int_equal(db_commit(f->db, &why), ERR_OK);
}

static void a_loaded_file_is_the_whole_database(bool on_disk)
{
    struct fixture f;
    struct db_reader *old;
    (void)on_disk;
    fixture_open(&f, on_disk, false);
    execute(&f, "CREATE TABLE old(x)", "INSERT INTO old VALUES(1),(2)",
            "PRAGMA foreign_keys=1", "CREATE TEMP TABLE tt(a)", NULL);
    query(&f, "SELECT * FROM old", NULL);
    assert_int_equal(db_reader_open(f.db, &old, NULL), ERR_OK);
    assert_int_equal(db_conn_exec(old->conn, "BEGIN; SELECT * FROM old"), SQLITE_OK);

    make_file(backup_path(&f),
              "CREATE TABLE foo(id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX i ON "
              "foo(name);"
              "INSERT INTO foo VALUES(1,'one'),(2,'two'); PRAGMA user_version=77;");
    load(&f, backup_path(&f));
    assert_int_equal(db_conn_int(old->conn, "SELECT count(*) FROM old"),
                     2); /* until its transaction ends */
    db_reader_close(old);
    assert_text(query(&f, "SELECT * FROM foo",
                      "SELECT name FROM sqlite_schema ORDER BY name", "SELECT * FROM old",
                      "PRAGMA user_version", "PRAGMA journal_mode", NULL),
                "(id:INTEGER, name:TEXT) [1, 'one'] [2, 'two'] | (name:TEXT) ['foo'] "
                "['i'] | read error: no such table: old | "
                "(user_version) [77] | (journal_mode) ['wal']");
    assert_text(execute(&f, "SELECT 1", "INSERT INTO foo(name) VALUES('more')", NULL),
                "{} | id=3 n=1");
    assert_text(
        request(&f, "UPDATE foo SET name='x' WHERE 0", "PRAGMA foreign_keys", NULL),
        "id=3 | (foreign_keys) [0]");

    make_file(backup_path(&f),
              "PRAGMA journal_mode=WAL; CREATE TABLE w(a); INSERT INTO w VALUES(1),(2);");
    load(&f, backup_path(&f));
    assert_text(query(&f, "SELECT count(*) FROM w", "PRAGMA integrity_check", NULL),
                "(count(*)) [2] | (integrity_check) ['ok']");
    assert_text(execute(&f, "INSERT INTO w VALUES(3)", NULL), "id=3 n=1");
    unlink(backup_path(&f));
    fixture_close(&f);
}

static void loading_into_memory(void **state)
{
    (void)state;
    a_loaded_file_is_the_whole_database(false);
}
static void loading_on_disk(void **state)
{
    (void)state;
    a_loaded_file_is_the_whole_database(true);
}

/* Nothing goes through the WAL while nobody reads; what readers have cached is old. */
static void readers_see_what_was_loaded_in_place(bool on_disk)
{
    static const int rows[] = {3000, 5000, 10, 10, 4000};
    struct fixture f;
    sqlite3 *other = NULL; /* as another program would */
    char sql[300], want[100];
    struct stat before, after;

    fixture_open(&f, on_disk, false);
    execute(&f, "CREATE TABLE t(a, b)", "INSERT INTO t VALUES(1, 2)", NULL);
    if (on_disk) {
        assert_int_equal(stat(f.path, &before), 0);
        assert_int_equal(sqlite3_open_v2(f.path, &other, SQLITE_OPEN_READONLY, NULL),
                         SQLITE_OK);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(sql, sizeof sql,
                 "CREATE TABLE t(a, b); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL "
                 "SELECT i+1 FROM c WHERE i<%d) INSERT INTO t SELECT %zu, "
                 "hex(randomblob(100)) FROM c;",
                 rows[i], i);
        make_file(backup_path(&f), sql);
        load(&f, backup_path(&f));
        assert_int_equal(db_wal_bytes(f.db), 0);
        snprintf(want, sizeof want,
                 "(min(a), max(a), count(*)) [%zu, %zu, %d] | (integrity_check) ['ok']",
                 i, i, rows[i]);
        for (int again = 0; again < 2; again++)
            assert_text(query(&f, "SELECT min(a), max(a), count(*) FROM t",
                              "PRAGMA integrity_check", NULL),
                        want);
        if (on_disk) {
            snprintf(sql, sizeof sql, "SELECT count(*)=%d FROM t WHERE a=%zu", rows[i],
                     i);
            sqlite3_stmt *st;
            assert_int_equal(sqlite3_prepare_v2(other, sql, -1, &st, NULL), SQLITE_OK);
            assert_int_equal(sqlite3_step(st), SQLITE_ROW);
            assert_int_equal(sqlite3_column_int(st, 0), 1);
            sqlite3_finalize(st);
        }
    }
    assert_text(
        execute(&f, "INSERT INTO t VALUES(9, 9)", "DELETE FROM t WHERE a=4", NULL),
        "id=4001 n=1 | id=4001 n=4000");
    assert_text(query(&f, "SELECT * FROM t", "PRAGMA integrity_check", NULL),
                "(a, b) [9, 9] | (integrity_check) ['ok']");
    if (on_disk) {
        assert_int_equal(stat(f.path, &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        sqlite3_close(other);
    }
    unlink(backup_path(&f));
    fixture_close(&f);
}

static void what_was_loaded_in_place_in_memory(void **state)
{
    (void)state;
    readers_see_what_was_loaded_in_place(false);
}
static void what_was_loaded_in_place_on_disk(void **state)
{
    (void)state;
    readers_see_what_was_loaded_in_place(true);
}

static void files_of_another_shape_are_rewritten(void **state)
{
    static const struct {
        const char *sql;
        int reserve;
    } shapes[] = {{"PRAGMA page_size=1024;", 0},
                  {"PRAGMA page_size=65536;", 0},
                  {"PRAGMA encoding='UTF-16';", 0},
                  {"PRAGMA encoding='UTF-16be'; PRAGMA page_size=512;", 0},
                  {"", 12},
                  {"PRAGMA auto_vacuum=2;", 0}};
    struct fixture f;
    char sql[600];
    (void)state;
    fixture_open(&f, false, false);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        sqlite3 *s;
        int reserve = shapes[i].reserve;
        unlink(backup_path(&f));
        assert_int_equal(sqlite3_open(backup_path(&f), &s), SQLITE_OK);
        if (reserve)
            sqlite3_file_control(s, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);
        snprintf(
            sql, sizeof sql,
            "%s CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); PRAGMA user_version=4;"
            "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<2000) "
            "INSERT INTO t SELECT i, 'gr\xc3\xb6\xc3\x9f' || i FROM c;"
            "CREATE INDEX ta ON t(a);",
            shapes[i].sql);
        assert_int_equal(sqlite3_exec(s, sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(s);
        load(&f, backup_path(&f));
        assert_int_equal(file_int(backup_path(&f), "PRAGMA page_size"), 4096);
        assert_text(query(&f, "PRAGMA encoding", "PRAGMA page_size",
                          "SELECT count(*), max(a) FROM t", "PRAGMA integrity_check",
                          "PRAGMA user_version", NULL),
                    "(encoding) ['UTF-8'] | (page_size) [4096] | (count(*), max(a)) "
                    "[2000, 'gr\xc3\xb6\xc3\x9f"
                    "999'] | "
                    "(integrity_check) ['ok'] | (user_version) [4]");
        assert_text(execute(&f, "INSERT INTO t(a) VALUES('x')", NULL), "id=2001 n=1");
        unlink(backup_path(&f));
    }
    fixture_close(&f);
}

static void damaged_files_are_refused_and_left_alone(void **state)
{
    struct fixture f;
    struct why why = {0};
    char *path;
    (void)state;
    fixture_open(&f, false, false);
    path = backup_path(&f);
    make_file(path, "CREATE TABLE t(a PRIMARY KEY, b); WITH RECURSIVE c(i) AS (SELECT 1 "
                    "UNION ALL SELECT i+1 FROM c WHERE i<2000)"
                    " INSERT INTO t SELECT i, hex(randomblob(20)) FROM c;");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    size_t size = (size_t)st.st_size;
    char *whole = slurp(path);
    static const struct {
        long cut; /* bytes kept; 0 = all */
        long at;  /* overwritten there */
        const char *with;
        size_t n;
    } damage[] = {
        {5, 0, "", 0},
        {50, 0, "", 0},
        {100, 0, "", 0},
        {4096, 0, "", 0},
        {20000, 0, "", 0},
        {0, 0, "Sqlite", 6},
        {0, 16, "\x03\x03", 2},
        {0, 18, "\x07", 1},
        {0, 56, "\0\0\0\x09", 4},
        {0, 4096, "\xff\xff\xff\xff\xff\xff\xff\xff", 8},
        {0, 105, "\x00\x00\x00\x00", 4},
        {0, 12288, "\x0d\x00\x00\xff\xff\x00\x00\x00", 8},
    };
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        FILE *file = fopen(path, "wb");
        fwrite(whole, 1, damage[i].cut ? (size_t)damage[i].cut : size, file);
        if (damage[i].n > 0) {
            fseek(file, damage[i].at, SEEK_SET);
            fwrite(damage[i].with, 1, damage[i].n, file);
        }
        fclose(file);
        char *before = slurp(path);
        why.text[0] = '\0';
        if (db_check_file(path, &why) != ERR_INVALID)
            fail_msg("damage %zu was not noticed", i);
        assert_text(why.text, "invalid SQLite data");
        char *after = slurp(path);
        assert_int_equal(stat(path, &st), 0);
        assert_memory_equal(before, after, (size_t)st.st_size);
        free(before);
        free(after);
    }
    free(whole);
    unlink(path);
    assert_int_equal(db_check_file(path, &why), ERR_IO);
    fixture_close(&f);
}

static void rows_with_the_largest_rowid_are_found_after_a_load(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    f.commit_late = true;
    make_file(
        backup_path(&f),
        "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, x); CREATE TABLE o(x);"
        "INSERT INTO a(id) VALUES(9223372036854775807);");
    load(&f, backup_path(&f));
    execute(&f, "INSERT INTO o VALUES(1)", NULL);
    assert_text(execute(&f, "INSERT INTO a(x) VALUES(1)", NULL),
                "error: database or disk is full");
    assert_int_equal(db_commit(f.db, NULL), ERR_OK);
    assert_text(query(&f, "SELECT x FROM o", NULL), "(x) [1]");
    unlink(backup_path(&f));
    fixture_close(&f);
}

static void chinook_goes_round(void **state)
{
    const char *root = getenv("RQ_ROOT");
    char path[300], sql_path[320];
    struct fixture f;
    (void)state;
    snprintf(path, sizeof path, "%s/../shared/data/chinook.sqlite", root ? root : ".");
    if (access(path, R_OK) != 0) skip();
    fixture_open(&f, false, false);
    char *image = NULL;
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    image = slurp(path);
    FILE *copy = fopen(backup_path(&f), "wb");
    fwrite(image, 1, (size_t)st.st_size, copy);
    fclose(copy);
    free(image);
    load(&f, backup_path(&f));
    unlink(backup_path(&f));
    assert_text(query(&f, "PRAGMA integrity_check", NULL), "(integrity_check) ['ok']");
    assert_round_trip(&f);
    snprintf(sql_path, sizeof sql_path, "%s/../shared/data/chinook.sql",
             root ? root : ".");
    if (access(sql_path, R_OK) == 0) {
        struct fixture g;
        char *sql = slurp(sql_path);
        fixture_open(&g, true, false);
        run_script(&g, sql);
        assert_text(query(&g, "PRAGMA integrity_check", NULL),
                    "(integrity_check) ['ok']");
        fixture_close(&g);
        free(sql);
    }
    fixture_close(&f);
}

static void status_has_the_keys_of_the_reference(void **state)
{
    static const char *const keys[] = {
        "version",         "path",       "wal_size",
        "last_modified",   "db_size",    "db_size_friendly",
        "compile_options", "extensions", "mem_stats",
        "conn_pool_stats", "rw_dsn",     "ro_dsn",
        "transaction",     "pragmas",    "fk_constraints"};
    const struct db_pool ro_pool = {.max = 256, .open = 3, .in_use = 1};
    const struct db_pool rw_pool = {.max = 1, .open = 1};
    struct fixture f;
    struct arena a;
    (void)state;
    for (int disk = 0; disk < 2; disk++) {
        fixture_open(&f, disk == 1, disk == 1);
        arena_init(&a, 0);
        struct doc *d = doc_object(&a);
        db_reader_status(f.reader, &ro_pool, &rw_pool, d);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            if (!doc_get(d, keys[i])) fail_msg("no %s", keys[i]);
        assert_true((doc_get(d, "size") != NULL) == (disk == 1));
        struct doc *ro = doc_get(doc_get(d, "pragmas"), "ro");
        assert_int_equal(doc_get(ro, "wal_autocheckpoint")->v.text.n, 4);
        assert_memory_equal(doc_get(ro, "foreign_keys")->v.text.s, disk ? "1" : "0", 1);
        assert_int_equal(doc_get(doc_get(d, "mem_stats"), "page_size")->v.i, 4096);
        arena_fini(&a);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_dumped_by_name_then_the_rest),
        cmocka_unit_test(tables_can_be_picked),
        cmocka_unit_test(values_of_every_kind_survive),
        cmocka_unit_test(what_restoring_makes_by_itself_is_left_out),
        cmocka_unit_test(file_backups_from_memory),
        cmocka_unit_test(file_backups_from_disk),
        cmocka_unit_test(a_backup_can_be_written_to_a_file_without_a_name),
        cmocka_unit_test(loading_into_memory),
        cmocka_unit_test(loading_on_disk),
        cmocka_unit_test(what_was_loaded_in_place_in_memory),
        cmocka_unit_test(what_was_loaded_in_place_on_disk),
        cmocka_unit_test(files_of_another_shape_are_rewritten),
        cmocka_unit_test(damaged_files_are_refused_and_left_alone),
        cmocka_unit_test(rows_with_the_largest_rowid_are_found_after_a_load),
        cmocka_unit_test(chinook_goes_round),
        cmocka_unit_test(status_has_the_keys_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
