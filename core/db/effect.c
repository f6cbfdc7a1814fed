/* SPDX-License-Identifier: MIT */
/*
 * effect: a rolling hash of what every entry did, so that replicas that differ find out
 * (design 6.2).
 *
 * Into it go, per entry, the result code of each statement, the text of those that are
 * not plain DML, and for each row changed the table, the kind of change and the row's
 * ids; of every sixteenth row the new values as well, since reading all of them costs
 * more than the whole budget of 5 % of the apply time.  Which rows those are depends on
 * the entry alone, never on how entries were batched.
 */
#include <string.h>

#include "core/db/internal.h"

enum { WHOLE_ROW_EVERY = 16, BYTES_HASHED_MAX = 256 };
static const uint64_t K1 = 0xa0761d6478bd642f, K2 = 0xe7037ed1a0b428db;

static uint64_t hash_value(uint64_t h, sqlite3_value *v)
{
    int type = sqlite3_value_type(v);
    uint64_t x = 0;

    switch (type) {
    case SQLITE_INTEGER: x = (uint64_t)sqlite3_value_int64(v); break;
    case SQLITE_FLOAT: {
        double r = sqlite3_value_double(v);
        memcpy(&x, &r, sizeof x);
        break;
    }
    case SQLITE_TEXT:
    case SQLITE_BLOB: {
        const void *p = sqlite3_value_blob(v);
        size_t n = (size_t)sqlite3_value_bytes(v);
        x = n ^ db_hash_bytes(p ? p : "", n < BYTES_HASHED_MAX ? n : BYTES_HASHED_MAX);
        break;
    }
    default: break;
    }
    return db_mum(h ^ x, K1 ^ (uint64_t)type);
}

static uint64_t hash_new_values(uint64_t h, sqlite3 *sqlite)
{
    int n = sqlite3_preupdate_count(sqlite);
    for (int i = 0; i < n; i++) {
        sqlite3_value *v = NULL;
        if (sqlite3_preupdate_new(sqlite, i, &v) == SQLITE_OK && v) h = hash_value(h, v);
    }
    return h;
}

void db_effect_hook(void *arg, sqlite3 *sqlite, int op, const char *schema,
                    const char *table, sqlite3_int64 old_rowid, sqlite3_int64 new_rowid)
{
    struct db *d = arg;
    struct db_effect *e = &d->effect;

    (void)schema;
    if (d->w->vacuuming) return; /* the same rows, elsewhere */
    if (op != SQLITE_DELETE && new_rowid == INT64_MAX) d->rowid_max = true;
    uint64_t h = db_mum(e->entry ^ (uint64_t)old_rowid,
                        db_hash_bytes(table, strlen(table)) ^ (uint64_t)op);
    h = db_mum(h ^ (uint64_t)new_rowid, K2);
    if (op != SQLITE_DELETE && e->rows % WHOLE_ROW_EVERY == 0)
        h = hash_new_values(h, sqlite);
    e->rows++;
    e->entry = h;
}

void db_effect_begin(struct db *d)
{
    d->effect.entry = K1;
    d->effect.rows =
        d->ctx.index; /* where the sixteenth falls differs from entry to entry */
}

void db_effect_mix(struct db *d, uint64_t x)
{
    d->effect.entry = db_mum(d->effect.entry ^ x, K1);
}

void db_effect_text(struct db *d, const char *text, size_t len)
{
    db_effect_mix(d, db_hash_bytes(text, len));
}

void db_effect_end(struct db *d)
{
    struct db_effect *e = &d->effect;
    e->hash = db_mum(e->hash ^ e->entry, K2 ^ d->ctx.index);
    e->index = d->ctx.index;
}
