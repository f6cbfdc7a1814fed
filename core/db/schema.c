/* SPDX-License-Identifier: MIT */
/*
 * schema: what the write path has to know of the schema to let entries share a
 * transaction.
 *
 * In a shared transaction a statement must behave as if it committed by itself.  These
 * schemas could make one that does not, and then nothing shares:
 *  - ROLLBACK in a trigger (RAISE) or a table (ON CONFLICT): it would undo other entries;
 *  - DEFERRED foreign keys, while they are enforced: their check is due at the end of
 * each statement. Writes to virtual tables never share, because some of them (FTS) write
 * at the commit, so that the content of their shadow tables depends on where commits
 * fall; nor do writes to AUTOINCREMENT tables that risk SQLITE_FULL (stmt_cache.c).
 */
#include <stdlib.h>
#include <string.h>

#include "core/db/internal.h"

void db_schema_free(struct db *d)
{
    size_t pos = 0;
    struct db_table *t;

    while ((t = map_next(&d->tables, &pos))) free(t);
    uint64_t seed = d->tables.seed;
    map_fini(&d->tables);
    map_init(&d->tables, seed);
}

static enum err add_table(struct db *d, const char *name, bool is_virtual, bool conflict)
{
    size_t len = strlen(name);
    struct db_table *t = malloc(sizeof *t + len);
    void *old = NULL;

    if (!t) return ERR_NOMEM;
    *t = (struct db_table){.virtual = is_virtual, .conflict = conflict, .len = len};
    for (size_t i = 0; i < len; i++)
        t->name[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] + 32) : name[i];
    enum err e = map_put(&d->tables, t->name, t->len, t, &old);
    free(old); /* the same name in two schemas */
    if (e) free(t);
    return e;
}

enum err db_schema_refresh(struct db *d, struct why *why)
{
    struct db_conn *c = d->w;
    sqlite3_stmt *s = NULL;
    bool rollback = false, deferred = false, was = c->internal;
    enum err e = ERR_OK;
    int rc, fk = 0;

    /* A connection that has followed every change may list indexes in another order, and
     * know other row counts, than one that was opened since, and so find rows in another
     * order.  Nodes restart at different times: so all of them read the schema anew after
     * each change. */
    db_stmt_cache_clear(&c->cache);
    if (d->schema_reload) db_conn_exec(c, "PRAGMA writable_schema=RESET");
    d->schema_reload = false;
    db_schema_free(d);
    d->triggers = false;
    c->internal = true;
    rc = sqlite3_prepare_v2(
        c->sqlite,
        "SELECT type, name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL "
        "UNION ALL SELECT type, name, sql FROM temp.sqlite_schema WHERE sql IS NOT NULL",
        -1, &s, NULL);
    while (!e && rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        const char *type = (const char *)sqlite3_column_text(s, 0);
        const char *name = (const char *)sqlite3_column_text(s, 1);
        const char *sql = (const char *)sqlite3_column_text(s, 2);
        if (!type || !name || !sql) e = ERR_NOMEM;
        if (e) break;
        size_t len = strlen(sql);
        rollback |= db_text_contains(sql, len, "rollback");
        deferred |= db_text_contains(sql, len, "deferred");
        if (strcmp(type, "trigger") == 0) d->triggers = true;
        bool is_virtual = db_text_contains(sql, len < 40 ? len : 40, "virtual");
        if (is_virtual || db_text_contains(sql, len, "autoincrement"))
            e = add_table(d, name, is_virtual, db_text_contains(sql, len, "conflict"));
        rc = SQLITE_OK;
    }
    if (!e && rc != SQLITE_DONE)
        e = db_conn_why(c, rc, why, "read the schema");
    else if (e)
        why_set(why, e, "read the schema: out of memory");
    sqlite3_finalize(s);
    c->internal = was;
    if (e) return e;
    sqlite3_db_config(c->sqlite, SQLITE_DBCONFIG_ENABLE_FKEY, -1, &fk);
    d->alone = rollback || (deferred && fk);
    d->schema_stale = false;
    return ERR_OK;
}

void db_schema_find_rowid_max(struct db *d)
{
    struct db_conn *c = d->w;
    sqlite3_stmt *list = NULL;
    bool was = c->internal;

    d->rowid_max = false;
    c->internal = true;
    sqlite3_prepare_v2(
        c->sqlite,
        "SELECT format('SELECT max(rowid) FROM \"%w\"', name) FROM pragma_table_list"
        " WHERE schema='main' AND type IN ('table', 'shadow') AND NOT wr AND name NOT "
        "LIKE 'sqlite_%'"
        " UNION ALL SELECT 'SELECT max(seq) FROM sqlite_sequence' FROM sqlite_schema"
        " WHERE name='sqlite_sequence'",
        -1, &list, NULL);
    while (list && sqlite3_step(list) == SQLITE_ROW && !d->rowid_max) {
        const char *sql = (const char *)sqlite3_column_text(list, 0);
        if (sql && db_conn_int(c, sql) == INT64_MAX) d->rowid_max = true;
    }
    sqlite3_finalize(list);
    c->internal = was;
}
