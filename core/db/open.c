/* SPDX-License-Identifier: MIT */
/*
 * open: the database and its connections, with the settings of HTTP API 12.5 and
 * server 6.1.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/logger.h"
#include "core/db/internal.h"

enum {
    BUSY_MS = 5000,
    VARIABLES_MAX = 32766, /* as the reference; Debian's library allows 250000 */
    PROGRESS_OPS = 1000,
    WAL_VALVE = 65536 /* 256 MiB */
};

/* 'localtime' must not depend on the machine's time zone: every node is in UTC. */
static int utc_localtime(const void *t, void *out)
{
    return gmtime_r(t, out) == NULL;
}

static void configure_sqlite(void)
{
    /* Its statistics cost a global lock for each allocation. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_initialize();
    sqlite3_test_control(SQLITE_TESTCTRL_LOCALTIME_FAULT, 2, utc_localtime);
}

enum err db_conn_why(struct db_conn *c, int rc, struct why *why, const char *what)
{
    const char *text = c && c->sqlite ? sqlite3_errmsg(c->sqlite) : sqlite3_errstr(rc);
    int os = c && c->sqlite ? sqlite3_system_errno(c->sqlite) : 0;
    enum err e = ERR_IO;

    switch (rc & 0xff) {
    case SQLITE_NOMEM: e = ERR_NOMEM; break;
    case SQLITE_FULL: e = ERR_NO_SPACE; break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: e = ERR_CORRUPT; break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: e = ERR_BUSY; break;
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM) e = ERR_NOMEM;
        if (os == ENOSPC || os == EDQUOT) e = ERR_NO_SPACE;
        break;
    default: break;
    }
    return why_set(why, e, "%s: %s%s%s", what, text, os ? ": " : "",
                   os ? strerror(os) : "");
}

int db_conn_exec(struct db_conn *c, const char *sql)
{
    bool was = c->internal;
    c->internal = true;
    int rc = sqlite3_exec(c->sqlite, sql, NULL, NULL, NULL);
    c->internal = was;
    return rc;
}

int64_t db_conn_int(struct db_conn *c, const char *sql)
{
    sqlite3_stmt *s = NULL;
    bool was = c->internal;
    int64_t v = -1;

    c->internal = true;
    if (sqlite3_prepare_v2(c->sqlite, sql, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        v = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    c->internal = was;
    return v;
}

static int on_progress(void *arg)
{
    struct db_conn *c = arg;

    if (c->cancel && atomic_load_explicit(c->cancel, memory_order_relaxed)) return 1;
    if (c->deadline_ns && clock_mono_ns(clock_real()) >= c->deadline_ns) {
        c->timed_out = true;
        return 1;
    }
    return 0;
}

static int on_wal_commit(void *arg, sqlite3 *sqlite, const char *schema, int frames)
{
    struct db *d = arg;
    (void)sqlite;
    if (strcmp(schema, "main") == 0) {
        d->wal_frames = frames;
        db_wal_count(d);
    }
    return SQLITE_OK;
}

static int load_extensions(struct db_conn *c, struct why *why)
{
    char *text = NULL;
    int rc = SQLITE_OK;

    if (c->db->n_extensions == 0) return SQLITE_OK;
    sqlite3_db_config(c->sqlite, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
    for (size_t i = 0; i < c->db->n_extensions && rc == SQLITE_OK; i++) {
        rc = sqlite3_load_extension(c->sqlite, c->db->extensions[i], NULL, &text);
        if (rc != SQLITE_OK)
            why_set(why, ERR_INVALID, "load extension: %s",
                    text ? text : "unknown error");
        sqlite3_free(text);
        text = NULL;
    }
    sqlite3_db_config(c->sqlite, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    return rc;
}

static int prepare_control(struct db_conn *c, const char *sql, sqlite3_stmt **out)
{
    return sqlite3_prepare_v3(c->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
}

static int setup_writer(struct db_conn *c)
{
    struct db *d = c->db;
    int rc = sqlite3_exec(c->sqlite,
                          "PRAGMA page_size=4096;"
                          "PRAGMA journal_mode=WAL;"
                          "PRAGMA synchronous=OFF;"
                          "PRAGMA secure_delete=OFF;"
                          "PRAGMA cache_size=-16000;",
                          NULL, NULL, NULL);
    if (rc == SQLITE_OK && d->mem)
        rc = sqlite3_exec(c->sqlite, "PRAGMA temp_store=MEMORY", NULL, NULL, NULL);
    if (rc == SQLITE_OK) rc = db_functions_register(c);
    if (rc == SQLITE_OK) rc = prepare_control(c, "BEGIN", &d->begin);
    if (rc == SQLITE_OK) rc = prepare_control(c, "COMMIT", &d->commit);
    if (rc == SQLITE_OK) rc = prepare_control(c, "SAVEPOINT request", &d->savepoint);
    if (rc == SQLITE_OK) rc = prepare_control(c, "RELEASE request", &d->release);
    if (rc == SQLITE_OK) rc = prepare_control(c, "ROLLBACK TO request", &d->rollback_to);
    if (rc != SQLITE_OK) return rc;

    sqlite3_wal_hook(c->sqlite, on_wal_commit, d); /* and no automatic checkpoints */
    sqlite3_preupdate_hook(c->sqlite, db_effect_hook, d);
    /* WAL and wal-index are made by the first access: other programs expect to find them.
     */
    return sqlite3_exec(c->sqlite, "SELECT count(*) FROM sqlite_schema", NULL, NULL,
                        NULL);
}

static int setup_reader(struct db_conn *c)
{
    int rc = sqlite3_exec(
        c->sqlite,
        "PRAGMA query_only=1; PRAGMA synchronous=OFF; PRAGMA cache_size=-4000;", NULL,
        NULL, NULL);
    if (rc == SQLITE_OK && c->db->mem)
        rc = sqlite3_exec(c->sqlite, "PRAGMA temp_store=MEMORY;", NULL, NULL, NULL);
    sqlite3_progress_handler(c->sqlite, PROGRESS_OPS, on_progress, c);
    return rc;
}

enum err db_conn_open(struct db_conn **out, struct db *d, bool writer, struct why *why)
{
    struct db_conn *c = calloc(1, sizeof *c);
    int flags =
        SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI |
        (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    sqlite3_vfs *vfs = writer ? d->vfs_write : d->vfs_read;

    *out = NULL;
    if (!c) return why_set(why, ERR_NOMEM, "open database: out of memory");
    c->db = d;
    c->writer = writer;
    db_stmt_cache_init(&c->cache);
    int rc = sqlite3_open_v2(d->file, &c->sqlite, flags, vfs->zName);
    /* SQLite is content with reading where it may not write. */
    if (rc == SQLITE_OK && writer && sqlite3_db_readonly(c->sqlite, "main") != 0) {
        db_conn_close(c);
        return why_set(why, ERR_IO, "open database: %s cannot be written to", d->file);
    }
    if (rc == SQLITE_OK) {
        sqlite3_extended_result_codes(c->sqlite, 1);
        sqlite3_busy_timeout(c->sqlite, BUSY_MS);
        sqlite3_limit(c->sqlite, SQLITE_LIMIT_VARIABLE_NUMBER, VARIABLES_MAX);
        sqlite3_db_config(c->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_db_config(c->sqlite, SQLITE_DBCONFIG_ENABLE_FKEY, (int)d->foreign_keys,
                          NULL);
        /* It takes pointers as blobs from anybody. */
        sqlite3_db_config(c->sqlite, SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0, NULL);
        rc = writer ? setup_writer(c) : setup_reader(c);
    }
    if (rc != SQLITE_OK) {
        enum err e = db_conn_why(c, rc, why, "open database");
        db_conn_close(c);
        return e;
    }
    if (load_extensions(c, why) != SQLITE_OK) {
        db_conn_close(c);
        return ERR_INVALID;
    }
    sqlite3_set_authorizer(c->sqlite, db_authorize, c);
    *out = c;
    return ERR_OK;
}

void db_conn_close(struct db_conn *c)
{
    if (!c) return;
    if (c->writer) {
        if (c == c->db->w) db_unguard(c->db);
        sqlite3_stmt **control[] = {&c->db->begin, &c->db->commit, &c->db->savepoint,
                                    &c->db->release, &c->db->rollback_to};
        for (size_t i = 0; i < sizeof control / sizeof *control; i++) {
            sqlite3_finalize(*control[i]);
            *control[i] = NULL;
        }
    }
    db_stmt_cache_clear(&c->cache);
    free(c->values);
    sqlite3_close(c->sqlite);
    free(c);
}

enum err db_writer_reopen(struct db *d, bool keep, struct why *why)
{
    sqlite3_int64 rowid = d->w ? sqlite3_last_insert_rowid(d->w->sqlite) : 0;
    struct db_wal wal;

    if (d->w) db_changes_look(d, &wal);
    db_conn_close(d->w);
    d->w = NULL;
    d->batch = false;
    d->session_since = 0;
    d->schema_stale = true;
    enum err e = db_conn_open(&d->w, d, true, why);
    if (e) return e;
    db_guard(d);
    d->fn.base_changes = 0;
    d->changes_stale = true;
    if (!keep) {
        d->n_pragmas = 0;
        return ERR_OK;
    }
    sqlite3_set_last_insert_rowid(d->w->sqlite, rowid);
    for (size_t i = 0; i < d->n_pragmas; i++) {
        char sql[160];
        sqlite3_snprintf(sizeof sql, sql, "PRAGMA %s='%q'", d->pragmas[i].pragma->name,
                         d->pragmas[i].value);
        db_conn_exec(d->w, sql);
    }
    return ERR_OK;
}

/* --- the database ------------------------------------------------------------------- */

static enum err copy_options(struct db *d, const struct db_options *o, struct why *why)
{
    d->foreign_keys = o->foreign_keys;
    d->logger = o->logger;
    d->metrics = o->metrics;
    d->clock = clock_real();
    d->wal_valve = WAL_VALVE;
    d->file = strdup(o->path ? o->path : "/main");
    d->path = o->path ? strdup(o->path) : NULL;
    d->scratch_dir = strdup(o->scratch_dir ? o->scratch_dir : "/tmp");
    d->extensions = calloc(o->n_extensions + 1, sizeof *d->extensions);
    bool ok = d->file && (d->path || !o->path) && d->scratch_dir && d->extensions;
    for (size_t i = 0; i < o->n_extensions && ok; i++) {
        ok = (d->extensions[i] = strdup(o->extensions[i])) != NULL;
        if (ok) d->n_extensions++;
    }
    return ok ? ERR_OK : why_set(why, ERR_NOMEM, "open database: out of memory");
}

/* An empty file that others may read, and nothing left of an earlier one. */
static enum err fresh_file(const char *path, struct why *why)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal",
                                           DB_REBUILD_SUFFIX};
    char name[4096];

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if ((size_t)snprintf(name, sizeof name, "%s%s", path, suffixes[i]) >= sizeof name)
            return why_set(why, ERR_INVALID, "%s: name too long", path);
        if (unlink(name) != 0 && errno != ENOENT)
            return why_errno(why, "remove %s", name);
    }
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return why_errno(why, "create %s", path);
    int failed =
        fchmod(fd, 0644); /* whatever the umask; SQLite gives -wal and -shm the same */
    close(fd);
    return failed ? why_errno(why, "chmod %s", path) : ERR_OK;
}

static enum err open_vfs(struct db *d, struct why *why)
{
    enum err e = ERR_OK;

    if (d->path) {
        sqlite3_vfs *base = sqlite3_vfs_find(NULL);
        e = db_vfs_clock_new(&d->vfs_read, base, NULL, d->scratch_dir, why);
        if (!e)
            e = db_vfs_clock_new(&d->vfs_write, base, &d->write_time_ns, d->scratch_dir,
                                 why);
    } else {
        e = db_vfs_mem_new(&d->mem, why);
        if (!e) d->vfs_read = db_vfs_mem_vfs(d->mem);
        if (!e)
            e = db_vfs_clock_new(&d->vfs_write, d->vfs_read, &d->write_time_ns, NULL,
                                 why);
    }
    return e;
}

static enum err open_db(struct db **out, const struct db_options *o, bool fresh,
                        struct why *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct db *d = calloc(1, sizeof *d);
    enum err e;

    *out = NULL;
    pthread_once(&once, configure_sqlite);
    if (!d) return why_set(why, ERR_NOMEM, "open database: out of memory");
    map_init(&d->tables, rand_entropy());
    db_changes_init(&d->changes);
    d->schema_stale = true;
    e = copy_options(d, o, why);
    if (!e && d->path && fresh) e = fresh_file(d->path, why);
    if (!e) e = open_vfs(d, why);
    if (!e) e = db_conn_open(&d->w, d, true, why);
    if (e) {
        db_close(d);
        return e;
    }
    db_guard(d);
    *out = d;
    return ERR_OK;
}

enum err db_open(struct db **out, const struct db_options *o, struct why *why)
{
    return open_db(out, o, true, why);
}

/* Nothing but the main file counts, which db_can_reuse() has seen to. */
enum err db_open_existing(struct db **out, const struct db_options *o,
                          const struct db_state *state, struct why *why)
{
    struct db_wal wal;
    struct db *d;
    enum err e = open_db(&d, o, false, why);

    *out = NULL;
    if (e) return e;
    e = db_wal_look(d->w->sqlite, &wal, why);
    if (!e && (wal.frames > 0 || wal.pages != state->pages))
        e = why_set(why, ERR_CORRUPT, "%s is not the database of the snapshot", d->file);
    if (!e) e = db_state_load(d, state, why);
    if (e) {
        db_close(d);
        return e;
    }
    *out = d;
    return ERR_OK;
}

void db_close(struct db *d)
{
    if (!d) return;
    CHECK(atomic_load(&d->n_readers) == 0);
    db_conn_close(d->here);
    db_conn_close(d->w);
    db_vfs_clock_free(d->vfs_write);
    if (d->mem)
        db_vfs_mem_free(d->mem);
    else
        db_vfs_clock_free(d->vfs_read);
    db_schema_free(d);
    db_changes_fini(&d->changes);
    for (size_t i = 0; i < d->n_extensions; i++) free(d->extensions[i]);
    free(d->extensions);
    free(d->scratch_dir);
    free(d->path);
    free(d->file);
    free(d);
}

const char *db_sqlite_version(void)
{
    return sqlite3_libversion();
}
