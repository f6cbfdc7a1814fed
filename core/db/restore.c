/* SPDX-License-Identifier: MIT */
/*
 * restore: the database becomes another image while it is open.
 *
 * In place if nobody reads (overwrite.c).  Else by SQLite's own online backup, in one
 * transaction of the write connection: readers, of other programs too, go on with the old
 * content until it commits.  The file stays the same file either way.
 */
#include "core/db/internal.h"

enum err db_restore(struct db *d, const struct db_pages *from,
                    const struct db_state *state, struct why *why)
{
    const struct db_context ctx = {.index = state->index};
    struct why cause = {0};
    sqlite3 *image = NULL;
    sqlite3_vfs *vfs = NULL;
    int rc = db_image_open_pages(&image, &vfs, from, &cause);
    enum err e;

    if (rc == SQLITE_OK)
        e = db_replace_content(d, &ctx, image, from, &cause, why);
    else if (cause.code)
        e = why_set(why, cause.code, "%s", cause.text);
    else
        e = why_set(why, rc == SQLITE_NOMEM ? ERR_NOMEM : ERR_CORRUPT, "restore: %s",
                    image ? sqlite3_errmsg(image) : sqlite3_errstr(rc));
    db_image_close(image, vfs);
    if (!e) e = db_state_load(d, state, why);
    if (e) return e;
    db_captured(d);
    /* All but the first page are the image's; that one counts as changed, since the
     * backup has put another schema cookie into it. */
    int64_t version = db_conn_int(d->w, "PRAGMA user_version");
    char sql[64];
    sqlite3_snprintf(sizeof sql, sql, "PRAGMA user_version=%lld", (sqlite3_int64)version);
    rc = db_conn_exec(d->w, sql);
    return rc == SQLITE_OK ? ERR_OK : db_conn_why(d->w, rc, why, "restore");
}
