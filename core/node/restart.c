/* SPDX-License-Identifier: MIT */
#include "core/node/restart.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/logger.h"
#include "core/base/text.h"
#include "core/node/command.h"
#include "core/node/pages.h"

enum { COMPRESS_ABOVE = 64 << 10 }; /* bytes of a payload */

/* Raft keeps the newest entries up to the bounds of its cache, and no others are held. */
static enum err replay_entry(const struct raft_entry *e, void *arg, struct why *why)
{
    return raft_restore(arg, e, why);
}

static void log_log(const struct wal *w, const struct restart_options *o,
                    const struct wal_found *found)
{
    struct wal_stats st;
    char size[TEXT_SIZE_MAX];

    if (found->last < found->first || found->last == 0) {
        logger_info(o->logger, "store",
                    "raft log is 0 bytes at open, no entries present");
        return;
    }
    wal_stats(w, &st);
    text_size(size, st.bytes);
    logger_info(o->logger, "store",
                "raft log is %s, first index is %" PRIu64 ", last index is %" PRIu64,
                size, found->first, found->last);
}

static enum err open_log(struct restarted *out, const struct restart_options *o,
                         const char *dir, struct why *why)
{
    const struct snapshot_meta *snap = &out->snapshot;
    struct wal_options wo = {.io = o->io,
                             .logger = o->logger,
                             .dir = dir,
                             .segment_bytes = o->segment_bytes,
                             .compress_above = COMPRESS_ABOVE,
                             .plain_type = COMMAND_LOAD, /* deflating would take longer
                                                            than all the rest of a load */
                             .prepare_in_background = o->prepare_in_background};
    struct raft_restored restored = {.hard_later = true,
                                     .snapshot_index = snap->index,
                                     .snapshot_term = snap->term,
                                     .config = snap->index ? &snap->config : NULL};
    struct wal_found found;
    enum err e = raft_new(&out->raft, &o->raft, &restored, why);

    /* A log that ends before the snapshot, or holds another history there, was about to
     * be dropped when the node stopped: raft does that in its first step. */
    if (!e) e = wal_open(&out->wal, &wo, &found, replay_entry, out->raft, why);
    if (!e) e = raft_restore_hard(out->raft, found.term, found.vote, why);
    if (e) return err_wrap(why, e, "open log in %s", dir);
    log_log(out->wal, o, &found);
    return ERR_OK;
}

static enum err open_store(struct restarted *out, const struct restart_options *o,
                           const char *dir, struct why *why)
{
    enum err e = snapshot_store_open(&out->store, o->io, dir, o->logger, why);

    if (e) return e;
    e = snapshot_newest(out->store, &out->snapshot);
    if (e && e != ERR_NOT_FOUND)
        return why_set(why, e, "cannot read the newest snapshot");
    return ERR_OK;
}

enum err restart_open(struct restarted *out, const struct restart_options *o,
                      struct why *why)
{
    char dir[4096];
    enum err e;

    memset(out, 0, sizeof *out);
    snprintf(dir, sizeof dir, "%.4000s/snapshots", o->data_dir);
    e = open_store(out, o, dir, why);
    if (!e) {
        struct snapshot_stats st;

        snapshot_stats(out->store, &st);
        logger_info(o->logger, "store", "%zu preexisting snapshots present",
                    st.snapshots);
        snprintf(dir, sizeof dir, "%.4000s/wal", o->data_dir);
        e = open_log(out, o, dir, why);
    }
    if (e) restart_close(out);
    return e;
}

void restart_close(struct restarted *r)
{
    raft_free(r->raft);
    wal_close(r->wal);
    snapshot_store_close(r->store);
    snapshot_meta_fini(&r->snapshot);
    memset(r, 0, sizeof *r);
}

/* --- the database ----------------------------------------------------------------- */

/* Is the file at o->path that snapshot, by the marker that was left with it? */
static bool may_reuse(const struct db_options *o, struct snapshot_store *s,
                      const struct db_pages *from)
{
    uint8_t marker[SNAPSHOT_MARKER_MAX];
    size_t len = snapshot_marker(s, marker);
    struct why why = {0};

    if (o->path == NULL) return false;
    if (len == 0)
        (void)why_set(&why, ERR_NOT_FOUND, "nothing is known about the database file");
    else if (db_can_reuse(o, marker, len, from, &why))
        return true;
    logger_info(o->logger, "store",
                "clean snapshot check failed (%s), full restore needed", why.text);
    return false;
}

static enum err make_database(struct restarted_database *out, const struct db_options *o,
                              struct snapshot_reader *r, struct snapshot_store *s,
                              const char *id, struct why *why)
{
    const struct snapshot_meta *m = snapshot_reader_meta(r);
    struct db_pages from = pages_of(r);
    struct db_state state;
    enum err e;

    pages_state(&state, m);
    out->reused = may_reuse(o, s, &from);
    if (out->reused) return db_open_existing(&out->db, o, &state, why);
    out->rebuilt = true;
    logger_info(o->logger, "store", "initiating node restore on node ID %s", id);
    e = db_open(&out->db, o, why);
    if (!e) e = db_rebuild(out->db, &from, &state, why);
    return e ? err_wrap(why, e, "restore snapshot %s", m->id) : ERR_OK;
}

/* The database is the snapshot now.  That the file had been synced says nothing any more,
 * once it is written to again: that has to be forgotten first.  A marker that is missing
 * only makes the next start longer. */
static enum err mark(const struct restarted_database *d, struct snapshot_store *s,
                     const struct snapshot_meta *m, struct why *why)
{
    uint8_t marker[DB_FINGERPRINT_MAX];
    size_t len = db_fingerprint(d->db, false, marker);
    enum err e = snapshot_set_marker(s, m->index, marker, len, why);

    return d->reused ? e : ERR_OK;
}

enum err restart_database(struct restarted_database *out, const struct db_options *o,
                          struct snapshot_store *s, const struct snapshot_meta *m,
                          const char *id, struct why *why)
{
    struct snapshot_reader *r = NULL;
    enum err e;

    memset(out, 0, sizeof *out);
    if (m->index == 0) {
        e = db_open(&out->db, o, why);
    } else {
        e = snapshot_reader_open(s, &r, why);
        if (!e) e = make_database(out, o, r, s, id, why);
        snapshot_reader_close(r);
        if (!e && o->path) e = mark(out, s, m, why);
    }
    if (!e) e = applier_new(&out->applier, out->db, o->scratch_dir, o->logger, why);
    if (!e && m->index)
        e = applier_begin_at(out->applier, m->index, m->time_ns, m->extra, why);
    return e;
}
