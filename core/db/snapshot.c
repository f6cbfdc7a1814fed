/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a state, little endian:
 *
 *   version 1    1
 *   rowid        8    last_insert_rowid()
 *   count        1    then per replicated PRAGMA: name, NUL, value, NUL
 */
#include "core/db/snapshot.h"

#include <string.h>

#include "core/base/bytes.h"
#include "core/db/internal.h"

enum { STATE_VERSION = 1, STATE_HEAD = 10 };

static enum err state_save(struct db *d, struct db_state *out, struct why *why)
{
    uint8_t *p = out->bytes + STATE_HEAD, *end = out->bytes + DB_STATE_MAX;

    out->bytes[0] = STATE_VERSION;
    put_le64(out->bytes + 1, (uint64_t)sqlite3_last_insert_rowid(d->w->sqlite));
    out->bytes[9] = (uint8_t)d->n_pragmas;
    for (size_t i = 0; i < d->n_pragmas; i++) {
        const char *texts[2] = {d->pragmas[i].pragma->name, d->pragmas[i].value};

        for (size_t k = 0; k < 2; k++) {
            size_t n = strlen(texts[k]) + 1;

            if (n > (size_t)(end - p))
                return why_set(why, ERR_TOO_BIG, "too many settings for a snapshot");
            memcpy(p, texts[k], n);
            p += n;
        }
    }
    out->len = (uint32_t)(p - out->bytes);
    return ERR_OK;
}

/* A text of the state; NULL if it is not ended. */
static const char *take_text(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *nul = memchr(*p, 0, (size_t)(end - *p));
    const char *text = (const char *)*p;

    if (nul == NULL) return NULL;
    *p = nul + 1;
    return text;
}

static enum err load_pragmas(struct db *d, const struct db_state *in, struct why *why)
{
    const uint8_t *p = in->bytes + STATE_HEAD, *end = in->bytes + in->len;

    if (in->len < STATE_HEAD || in->len > DB_STATE_MAX || in->bytes[9] > DB_PRAGMA_MAX)
        return why_set(why, ERR_CORRUPT, "snapshot state is damaged");
    if (in->bytes[0] != STATE_VERSION)
        return why_set(why, ERR_UNSUPPORTED, "snapshot state is of a later version");
    d->n_pragmas = 0;
    for (uint8_t i = 0; i < in->bytes[9]; i++) {
        const char *name = take_text(&p, end), *value = name ? take_text(&p, end) : NULL;
        const struct db_pragma *pragma = value ? db_pragma_find(name) : NULL;

        if (pragma == NULL || pragma->rule != PRAGMA_REPLICATED ||
            strlen(value) >= sizeof d->pragmas[0].value)
            return why_set(why, ERR_CORRUPT, "snapshot state is damaged");
        d->pragmas[d->n_pragmas].pragma = pragma;
        strcpy(d->pragmas[d->n_pragmas].value, value);
        d->n_pragmas++;
    }
    return ERR_OK;
}

enum err db_state_load(struct db *d, const struct db_state *in, struct why *why)
{
    enum err e = load_pragmas(d, in, why);

    if (!e) e = db_writer_reopen(d, true, why);
    if (e) return e;
    db_schema_find_rowid_max(d);
    sqlite3_set_last_insert_rowid(d->w->sqlite, (sqlite3_int64)get_le64(in->bytes + 1));
    d->effect.hash = in->effect_hash;
    d->effect.index = in->index;
    atomic_store_explicit(&d->changed_index, in->changed_index, memory_order_relaxed);
    db_changes_none(d);
    return ERR_OK;
}

/* --- out ---------------------------------------------------------------------------- */

enum err db_capture_begin(struct db *d, struct db_state *state, uint32_t *changed,
                          struct why *why)
{
    enum err e = db_commit(d, why);

    if (e) return e;
    if (d->session_since)
        return why_set(why, ERR_BUSY,
                       "cannot take snapshot now, temporary tables are in use");
    memset(state, 0, sizeof *state);
    state->index = d->effect.index;
    state->effect_hash = d->effect.hash;
    state->changed_index = atomic_load_explicit(&d->changed_index, memory_order_relaxed);
    e = state_save(d, state, why);
    if (!e) e = db_changes_begin(d, &state->pages, changed, why);
    return e;
}

/* Nothing is written meanwhile, so what the wal-index says is what the transaction sees.
 */
static enum err pin(struct db_reader *r, struct why *why)
{
    struct db_wal wal;
    /* The first read of a transaction decides which state it sees
     * (https://www.sqlite.org/isolation.html). */
    int rc = db_conn_exec(r->conn, "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1;");
    enum err e;

    if (rc != SQLITE_OK) return db_conn_why(r->conn, rc, why, "snapshot");
    e = db_wal_look(r->conn->sqlite, &wal, why);
    if (!e) e = db_image_of(&r->image, &wal, why);
    r->pinned = !e;
    return e;
}

enum err db_snapshot_pin(struct db *d, struct db_reader **out, struct why *why)
{
    struct db_reader *r;
    enum err e = db_commit(d, why);

    *out = NULL;
    if (!e) e = db_reader_open(d, &r, why);
    if (e) return e;
    e = pin(r, why);
    if (e) {
        db_reader_close(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}
