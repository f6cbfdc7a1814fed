/* SPDX-License-Identifier: MIT */
/*
 * stmt_cache: prepared statements of one connection, found by their text.
 *
 * Preparing an INSERT takes several times as long as running it, and clients send the
 * same text over and over. Only strings that are one whole statement are kept, the least
 * recently used goes first.  PRAGMAs are never kept (they take effect while they are
 * prepared), nor is anything that acts on transactions or the schema.
 */
#include <stdlib.h>
#include <string.h>

#include "core/db/internal.h"

/* Eight bytes at a time; not for hostile keys beyond what the LRU bounds anyway. */
uint64_t db_hash_bytes(const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t h = 0x9e3779b97f4a7c15 ^ len, x;

    while (len >= 8) {
        memcpy(&x, p, 8);
        h = db_mum(h ^ x, 0xa0761d6478bd642f);
        p += 8;
        len -= 8;
    }
    x = 0;
    if (len > 0) memcpy(&x, p, len);
    return db_mum(h ^ x, 0xe7037ed1a0b428db);
}

void db_stmt_cache_init(struct db_stmt_cache *k)
{
    memset(k, 0, sizeof *k);
    list_init(&k->lru);
}

static void prep_free(struct db_prep *p)
{
    sqlite3_finalize(p->handle);
    free(p->cols);
    free(p);
}

static void cache_remove(struct db_stmt_cache *k, struct db_prep *p)
{
    struct db_prep **at = &k->buckets[p->hash % STMT_CACHE_BUCKETS];
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    list_remove(&p->lru);
    if (k->latest == p) k->latest = NULL;
    k->n--;
    prep_free(p);
}

void db_stmt_cache_clear(struct db_stmt_cache *k)
{
    while (!list_empty(&k->lru))
        cache_remove(k, LIST_ITEM(k->lru.prev, struct db_prep, lru));
}

static bool same_text(const struct db_prep *p, const char *sql, size_t len)
{
    return p->len == len && memcmp(p->sql, sql, len) == 0;
}

static struct db_prep *cache_find(struct db_stmt_cache *k, const char *sql, size_t len,
                                  uint64_t *hash)
{
    if (k->latest && same_text(k->latest, sql, len)) return k->latest;
    *hash = db_hash_bytes(sql, len);
    for (struct db_prep *p = k->buckets[*hash % STMT_CACHE_BUCKETS]; p; p = p->next)
        if (p->hash == *hash && same_text(p, sql, len)) {
            list_remove(&p->lru);
            list_push_front(&k->lru, &p->lru);
            return k->latest = p;
        }
    return NULL;
}

static void cache_add(struct db_stmt_cache *k, struct db_prep *p, uint64_t hash)
{
    if (k->n >= STMT_CACHE_MAX)
        cache_remove(k, LIST_ITEM(k->lru.prev, struct db_prep, lru));
    p->hash = hash;
    p->cached = true;
    p->next = k->buckets[hash % STMT_CACHE_BUCKETS];
    k->buckets[hash % STMT_CACHE_BUCKETS] = p;
    list_push_front(&k->lru, &p->lru);
    k->latest = p;
    k->n++;
}

/*
 * Could the statement end the whole transaction, and with it what other entries did?  By
 * its text, if it says ROLLBACK (that triggers and tables do not is checked with the
 * schema).  And by SQLITE_FULL, which an AUTOINCREMENT table gives when its numbers are
 * used up: SQLite then undoes the statement alone only if it keeps a statement journal,
 * as it does for the default conflict clause.
 */
static bool risks_rollback(const struct db_conn *c, const char *sql, size_t len)
{
    const struct db_seen *seen = &c->seen;
    if (db_text_contains(sql, len, "rollback")) return true;
    return seen->autoincrement &&
           (c->db->triggers || seen->conflict || db_text_contains(sql, len, "replace") ||
            db_text_contains(sql, len, "conflict") ||
            db_text_contains(sql, len, "ignore") || db_text_contains(sql, len, "fail"));
}

static unsigned classify(const struct db_conn *c, sqlite3_stmt *s, enum db_word word,
                         const char *sql, size_t len)
{
    const struct db_seen *seen = &c->seen;
    unsigned f = 0;

    if (!s) return PREP_READ;
    if (sqlite3_stmt_isexplain(s)) return PREP_READ | (seen->pragma ? PREP_PRAGMA : 0u);
    if (sqlite3_stmt_readonly(s) || seen->pragma_question) f |= PREP_READ;
    switch (word) {
    case WORD_INSERT:
    case WORD_REPLACE:
    case WORD_UPDATE:
    case WORD_DELETE: f |= PREP_DML; break;
    case WORD_WITH:
        if (!(f & PREP_READ)) f |= PREP_DML;
        break;
    case WORD_VACUUM: f |= PREP_VACUUM; break;
    default: break;
    }
    if (seen->pragma) f |= PREP_PRAGMA;
    if (seen->optimize) f |= PREP_OPTIMIZE;
    if (seen->all_tables) f |= PREP_ALL_TABLES;
    if (seen->schema) f |= PREP_SCHEMA;
    if (seen->session) f |= PREP_SESSION;
    if (seen->end) f |= PREP_END;
    if (seen->end || seen->begin || seen->savepoint) f |= PREP_CONTROL;
    if (seen->vtab) f |= PREP_VTAB;

    if (seen->sequence_write) f |= PREP_SEQUENCE;

    bool query = (f & PREP_READ) &&
                 (word == WORD_SELECT || word == WORD_VALUES || word == WORD_WITH);
    bool special = f & (PREP_PRAGMA | PREP_SCHEMA | PREP_CONTROL | PREP_VACUUM);
    if ((query || (f & PREP_DML)) && !special && !seen->vtab_write &&
        !seen->sequence_write && !risks_rollback(c, sql, len))
        f |= PREP_PLAIN;
    return f;
}

struct db_prep *db_prep_cached(struct db_conn *c, const char *sql, size_t len)
{
    uint64_t hash;
    return len <= STMT_CACHE_SQL_MAX ? cache_find(&c->cache, sql, len, &hash) : NULL;
}

int db_prepare(struct db_conn *c, const char *sql, size_t len, bool cacheable,
               struct db_prep **out, const char **tail)
{
    uint64_t hash = 0;
    bool whole = cacheable && len <= STMT_CACHE_SQL_MAX;
    struct db_prep *p;
    sqlite3_stmt *handle = NULL;
    const char *end = sql + len;

    *out = NULL;
    *tail = end;
    if (whole && (p = cache_find(&c->cache, sql, len, &hash))) {
        *out = p;
        return SQLITE_OK;
    }
    memset(&c->seen, 0, sizeof c->seen);
    enum db_word word = db_text_first_word(sql, len);
    if (len >= (size_t)sqlite3_limit(c->sqlite, SQLITE_LIMIT_SQL_LENGTH, -1))
        return SQLITE_TOOBIG;
    /* PRAGMAs answer from the schema as the connection knows it while they are prepared;
     * any read brings it up to date. */
    if (word == WORD_PRAGMA && !c->writer) {
        struct db_seen none = c->seen;

        db_conn_exec(c, "SELECT 1 FROM sqlite_schema LIMIT 1");
        c->seen = none;
    }
    /* The final NUL is counted: then SQLite reads the text where it is instead of copying
     * it. */
    int rc = sqlite3_prepare_v3(c->sqlite, sql, (int)len + 1,
                                whole ? SQLITE_PREPARE_PERSISTENT : 0, &handle, tail);
    if (rc != SQLITE_OK) return rc;

    size_t used = (size_t)(*tail - sql);
    if (used > len) used = len;
    unsigned flags = classify(c, handle, word, sql, used);
    whole = whole && handle && db_text_blank(*tail, end) &&
            !(flags & (PREP_PRAGMA | PREP_SCHEMA | PREP_VACUUM | PREP_SESSION));
    p = calloc(1, sizeof *p + (whole ? len : 0));
    if (!p) {
        sqlite3_finalize(handle);
        return SQLITE_NOMEM;
    }
    p->handle = handle;
    p->flags = flags;
    p->n_params = sqlite3_bind_parameter_count(handle);
    p->n_cols = sqlite3_column_count(handle);
    p->reprepared = -1;
    list_init(&p->lru);
    if (whole) {
        p->len = len;
        memcpy(p->sql, sql, len);
        cache_add(&c->cache, p, hash);
        *tail = end;
    }
    *out = p;
    return SQLITE_OK;
}

void db_prep_done(struct db_conn *c, struct db_prep *p)
{
    (void)c;
    if (!p->cached)
        prep_free(p);
    else
        sqlite3_reset(p->handle);
}

const struct row_column *db_prep_columns(struct db_prep *p)
{
    int seen = sqlite3_stmt_status(p->handle, SQLITE_STMTSTATUS_REPREPARE, 0);
    if (p->cols && p->reprepared == seen) return p->cols;

    int n = sqlite3_column_count(p->handle);
    struct row_column *cols = realloc(p->cols, (size_t)(n > 0 ? n : 1) * sizeof *cols);
    if (!cols) return NULL;
    p->cols = cols;
    p->n_cols = n;
    p->reprepared = seen;
    for (int i = 0; i < n; i++) {
        cols[i].name = sqlite3_column_name(p->handle, i);
        cols[i].declared = sqlite3_column_decltype(p->handle, i);
        if (!cols[i].name) return NULL;
    }
    return cols;
}
