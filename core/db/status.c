/* SPDX-License-Identifier: MIT */
/*
 * status: the sqlite3 object of /status (HTTP API 12.5).
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/doc.h"
#include "core/db/internal.h"

static void add_texts(struct db_conn *c, struct doc *into, const char *key,
                      const char *sql)
{
    struct doc *list = doc_add_array(into, key);
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(c->sqlite, sql, -1, &s, NULL) == SQLITE_OK)
        while (sqlite3_step(s) == SQLITE_ROW)
            doc_add_text(list, NULL, (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
}

static void add_mem_stats(struct db_conn *c, struct doc *into)
{
    static const char *const keys[] = {
        "cache_size", "freelist_count", "hard_heap_limit", "max_page_count",
        "page_count", "page_size",      "soft_heap_limit"};
    struct doc *stats = doc_add_object(into, "mem_stats");
    char sql[64];

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(sql, sizeof sql, "PRAGMA %s", keys[i]);
        doc_add_int(stats, keys[i], db_conn_int(c, sql));
    }
}

/* The settings open.c makes; a reader cannot ask the write connection. */
static void add_pragmas(const struct db *d, struct doc *into)
{
    struct doc *pragmas = doc_add_object(into, "pragmas");

    for (int rw = 0; rw < 2; rw++) {
        struct doc *p = doc_add_object(pragmas, rw ? "rw" : "ro");
        doc_add_text(p, "busy_timeout", "5000");
        doc_add_text(p, "foreign_keys", d->foreign_keys ? "1" : "0");
        doc_add_text(p, "journal_mode", "wal");
        doc_add_text(p, "synchronous", "0");
        doc_add_text(p, "wal_autocheckpoint", rw ? "0" : "1000");
    }
}

/* None is closed for the last three reasons. */
static void add_pool(struct doc *pools, const char *key, const struct db_pool *pool)
{
    struct doc *p = doc_add_object(pools, key);

    if (p) p->keep_order = true;
    doc_add_uint(p, "max_open_connections", pool->max);
    doc_add_uint(p, "open_connections", pool->open);
    doc_add_uint(p, "in_use", pool->in_use);
    doc_add_uint(p, "idle", pool->open - pool->in_use);
    doc_add_uint(p, "wait_count", pool->waits);
    doc_add_uint(p, "wait_duration", pool->waited_ns);
    doc_add_int(p, "max_idle_closed", 0);
    doc_add_int(p, "max_idle_time_closed", 0);
    doc_add_int(p, "max_lifetime_closed", 0);
}

static void add_dsn(const struct db *d, struct doc *into)
{
    const char *path = d->path ? d->path : ":memory:",
               *fk = d->foreign_keys ? "true" : "false";

    doc_addf(into, "rw_dsn", "file:%s?_fk=%s&_journal=WAL&_sync=0", path, fk);
    doc_addf(into, "ro_dsn",
             "file:%s?_fk=%s&_journal=WAL&_query_only=true&_sync=0&mode=ro", path, fk);
}

static void add_files(struct db *d, struct doc *into)
{
    char wal[4200];
    struct stat st;

    snprintf(wal, sizeof wal, "%s-wal", d->file);
    if (d->path) {
        memset(&st, 0, sizeof st);
        if (stat(d->path, &st) != 0) memset(&st, 0, sizeof st);
        doc_add_int(into, "size", st.st_size);
        doc_add_time(into, "last_modified",
                     (uint64_t)st.st_mtim.tv_sec * 1000000000 +
                         (uint64_t)st.st_mtim.tv_nsec);
        if (stat(wal, &st) != 0) memset(&st, 0, sizeof st);
        doc_add_int(into, "wal_size", st.st_size);
    } else {
        doc_add_uint(into, "wal_size", db_vfs_mem_size(d->mem, wal));
        doc_add_time(into, "last_modified", 0);
    }
}

void db_reader_status(struct db_reader *r, const struct db_pool *ro,
                      const struct db_pool *rw, struct doc *into)
{
    struct db *d = r->db;

    doc_add_text(into, "version", sqlite3_libversion());
    doc_add_text(into, "path", d->path ? d->path : ":memory:");
    add_files(d, into);
    add_dsn(d, into);
    add_pragmas(d, into);
    doc_add_text(into, "fk_constraints", d->foreign_keys ? "enabled" : "disabled");
    struct doc *names = doc_add_array(into, "extensions");
    for (size_t i = 0; i < d->n_extensions; i++) {
        const char *slash = strrchr(d->extensions[i], '/');
        doc_add_text(names, NULL, slash ? slash + 1 : d->extensions[i]);
    }
    struct doc *pools = doc_add_object(into, "conn_pool_stats");
    add_pool(pools, "ro", ro);
    add_pool(pools, "rw", rw);
    struct doc *tx = doc_add_object(into, "transaction");
    doc_add_bool(tx, "ro", false);
    doc_add_bool(tx, "rw", false);

    if (db_reader_refresh(r, NULL) != ERR_OK) return;
    r->conn->internal = true;
    add_mem_stats(r->conn, into);
    add_texts(r->conn, into, "compile_options", "PRAGMA compile_options");
    uint64_t bytes = (uint64_t)db_conn_int(r->conn, "PRAGMA page_count") *
                     (uint64_t)db_conn_int(r->conn, "PRAGMA page_size");
    doc_add_uint(into, "db_size", bytes);
    doc_add_bytes_friendly(into, "db_size_friendly", bytes);
    r->conn->internal = false;
}
