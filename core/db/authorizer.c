/* SPDX-License-Identifier: MIT */
/*
 * authorizer: what a client's SQL may not do (HTTP API 5.7, design 6.4), and what it is
 * about to do.
 *
 * SQLite calls it while a statement is being prepared, for everything the statement
 * names, in its triggers and views, too.  So it is also where we learn whether a
 * statement changes the schema, ends a transaction, sets a PRAGMA or writes to a virtual
 * table: the text alone would not tell.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/db/internal.h"

/* Settings of a connection.  PRAGMAs that are not here have none: they read, or change
 * the database itself. */
static const struct db_pragma pragmas[] = {
    {"wal_checkpoint", PRAGMA_REFUSED},

    {"journal_mode", PRAGMA_READ_ONLY},
    {"synchronous", PRAGMA_READ_ONLY},
    {"query_only", PRAGMA_READ_ONLY},
    {"wal_autocheckpoint", PRAGMA_READ_ONLY},
    {"locking_mode", PRAGMA_READ_ONLY},
    {"mmap_size", PRAGMA_READ_ONLY},
    {"temp_store", PRAGMA_READ_ONLY}, /* setting it drops temporary tables */
    {"temp_store_directory", PRAGMA_READ_ONLY},
    {"data_store_directory", PRAGMA_READ_ONLY},
    {"writable_schema", PRAGMA_READ_ONLY},
    {"busy_timeout", PRAGMA_READ_ONLY},
    {"max_page_count", PRAGMA_READ_ONLY},  /* nodes would be full at different times */
    {"hard_heap_limit", PRAGMA_READ_ONLY}, /* of the whole process */
    {"soft_heap_limit", PRAGMA_READ_ONLY},

    {"foreign_keys", PRAGMA_REPLICATED},
    {"recursive_triggers", PRAGMA_REPLICATED},
    {"ignore_check_constraints", PRAGMA_REPLICATED},
    {"case_sensitive_like", PRAGMA_REPLICATED},
    {"reverse_unordered_selects", PRAGMA_REPLICATED},
    {"legacy_alter_table", PRAGMA_REPLICATED},
    {"automatic_index", PRAGMA_REPLICATED},
    {"trusted_schema", PRAGMA_REPLICATED},
    {"count_changes", PRAGMA_REPLICATED},
    {"full_column_names", PRAGMA_REPLICATED},
    {"short_column_names", PRAGMA_REPLICATED},
    {"empty_result_callbacks", PRAGMA_REPLICATED},
    {"analysis_limit", PRAGMA_REPLICATED},
    {"auto_vacuum", PRAGMA_REPLICATED},

    {"defer_foreign_keys", PRAGMA_PER_REQUEST},

    {"cache_size", PRAGMA_LOCAL},
    {"cache_spill", PRAGMA_LOCAL},
    {"cell_size_check", PRAGMA_LOCAL},
    {"checkpoint_fullfsync", PRAGMA_LOCAL},
    {"fullfsync", PRAGMA_LOCAL},
    {"journal_size_limit", PRAGMA_LOCAL},
    {"page_size", PRAGMA_LOCAL},
    {"read_uncommitted", PRAGMA_LOCAL},
    {"secure_delete", PRAGMA_LOCAL},
    {"threads", PRAGMA_LOCAL},
};

const struct db_pragma *db_pragma_find(const char *name)
{
    for (size_t i = 0; i < sizeof pragmas / sizeof *pragmas; i++)
        if (strcasecmp(pragmas[i].name, name) == 0) return &pragmas[i];
    return NULL;
}

static int authorize_pragma(struct db_conn *c, const char *name, const char *value)
{
    const struct db_pragma *p = db_pragma_find(name);
    struct db_seen *seen = &c->seen;

    seen->pragma = true;
    if (strcasecmp(name, "optimize") == 0) seen->optimize = true;
    if (!p) return SQLITE_OK;
    if (p->rule == PRAGMA_REFUSED || (p->rule == PRAGMA_READ_ONLY && value)) {
        seen->pragma_refused = true;
        return SQLITE_DENY;
    }
    if (!value) seen->pragma_question = true;
    if (!value || p->rule == PRAGMA_READ_ONLY) return SQLITE_OK;
    seen->pragma_setting = true;
    if (p->rule == PRAGMA_PER_REQUEST) seen->defer_fk = true;
    if (p->rule == PRAGMA_REPLICATED) {
        seen->session_pragma = p;
        snprintf(seen->pragma_value, sizeof seen->pragma_value, "%s", value);
    }
    return SQLITE_OK;
}

static int authorize_attach(struct db_conn *c, const char *file)
{
    if (c->vacuuming) return file && *file == '\0' ? SQLITE_OK : SQLITE_DENY;
    c->seen.schema = c->seen.session = true;
    return c->writer && file && strcmp(file, ":memory:") == 0 ? SQLITE_OK : SQLITE_DENY;
}

static const struct db_table *special_table(const struct db_conn *c, const char *table)
{
    char name[128];
    size_t n = 0;

    if (c->db->tables.count == 0) return NULL;
    for (; table[n] && n < sizeof name; n++)
        name[n] = table[n] >= 'A' && table[n] <= 'Z' ? (char)(table[n] + 32) : table[n];
    return map_get(&c->db->tables, name, n);
}

static void see_table(struct db_conn *c, const char *table, bool write)
{
    if (!c->writer || !table) return;
    const struct db_table *t = special_table(c, table);
    if (t && t->virtual) {
        c->seen.vtab = true;
        if (write) c->seen.vtab_write = true;
    } else if (t && write) {
        c->seen.autoincrement = true;
        if (t->conflict) c->seen.conflict = true;
    }
    /* The planner's figures: SQLite reads them with the schema. */
    if (write && strncasecmp(table, "sqlite_stat", 11) == 0) c->seen.schema = true;
    if (write && strcasecmp(table, "sqlite_sequence") == 0) c->seen.sequence_write = true;
}

int db_authorize(void *conn, int action, const char *a, const char *b, const char *schema,
                 const char *trigger)
{
    struct db_conn *c = conn;
    struct db_seen *seen = &c->seen;

    (void)schema;
    (void)trigger;
    if (c->internal) return SQLITE_OK;
    switch (action) {
    case SQLITE_READ:
        /* The list of this connection's prepared statements differs from node to node. */
        if (c->writer && a && strcasecmp(a, "sqlite_stmt") == 0) return SQLITE_DENY;
        see_table(c, a, false);
        return SQLITE_OK;
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE: see_table(c, a, true); return SQLITE_OK;

    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW: seen->session = seen->schema = true; return SQLITE_OK;
    case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TABLE:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_CREATE_VIEW:
    case SQLITE_CREATE_VTABLE:
    case SQLITE_DROP_INDEX:
    case SQLITE_DROP_TABLE:
    case SQLITE_DROP_TEMP_INDEX:
    case SQLITE_DROP_TEMP_TABLE:
    case SQLITE_DROP_TEMP_TRIGGER:
    case SQLITE_DROP_TEMP_VIEW:
    case SQLITE_DROP_TRIGGER:
    case SQLITE_DROP_VIEW:
    case SQLITE_DROP_VTABLE:
    case SQLITE_ALTER_TABLE: seen->schema = true; return SQLITE_OK;
    case SQLITE_REINDEX:
    case SQLITE_ANALYZE: seen->schema = seen->all_tables = true; return SQLITE_OK;

    case SQLITE_ATTACH: return authorize_attach(c, a);
    case SQLITE_DETACH:
        if (c->vacuuming) return SQLITE_OK;
        seen->schema = true;
        return c->writer ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_TRANSACTION:
        if (a && strcmp(a, "BEGIN") == 0)
            seen->begin = true;
        else
            seen->end = true;
        return SQLITE_OK;
    case SQLITE_SAVEPOINT: seen->savepoint = true; return SQLITE_OK;
    case SQLITE_PRAGMA: return authorize_pragma(c, a ? a : "", b);
    default: return SQLITE_OK;
    }
}
