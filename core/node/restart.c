/* SPDX-License-Identifier: MIT */
#include "core/node/restart.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/logger.h"
#include "core/base/text.h"
#include "core/node/command.h"

enum { COMPRESS_ABOVE = 64 << 10 }; /* bytes of a payload */

/* raft_new() wants term and vote, which the log gives only when it has been read to its
 * end; so the entries are kept until then.  Only references: the bytes exist once. */
struct replayed {
    struct raft_entry *entries;
    size_t n, cap;
};

static enum err keep_entry(const struct raft_entry *e, void *arg, struct why *why)
{
    struct replayed *r = arg;

    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 1024;
        struct raft_entry *p = realloc(r->entries, cap * sizeof *p);

        if (p == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        r->entries = p;
        r->cap = cap;
    }
    r->entries[r->n++] = *e;
    blob_ref(e->payload);
    return ERR_OK;
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
    struct raft_restored restored = {.snapshot_index = snap->index,
                                     .snapshot_term = snap->term,
                                     .config = snap->index ? &snap->config : NULL};
    struct wal_found found;
    struct replayed log = {0};
    enum err e;

    e = wal_open(&out->wal, &wo, &found, keep_entry, &log, why);
    if (!e) {
        restored.term = found.term;
        restored.vote = found.vote;
        e = raft_new(&out->raft, &o->raft, &restored, why);
    }
    /* A log that ends before the snapshot, or holds another history there, was about to
     * be dropped when the node stopped: raft does that in its first step. */
    for (size_t i = 0; i < log.n; i++) {
        if (!e) e = raft_restore(out->raft, &log.entries[i], why);
        blob_unref(log.entries[i].payload);
    }
    free(log.entries);
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
    if (e == ERR_NOT_FOUND) return ERR_OK;
    if (e) return why_set(why, e, "cannot read the newest snapshot");
    return snapshot_verify(out->store, &out->snapshot, why);
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
        logger_info(o->logger, "store", "%d preexisting snapshots present",
                    out->snapshot.index ? 1 : 0);
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

enum err restart_database(struct applier *a, struct snapshot_store *s,
                          const struct snapshot_meta *m, struct why *why)
{
    struct apply_restore r = {.time_ns = m->time_ns};
    struct snapshot_meta pinned;
    char path[4096];
    enum err e = snapshot_pin(s, &pinned, path, sizeof path);

    if (e) return why_set(why, e, "the snapshot is gone");
    r.path = path;
    r.state.index = m->index;
    r.state.effect_hash = m->effect_hash;
    r.state.changed_index = m->changed_index;
    r.state.len = m->state_len;
    memcpy(r.state.bytes, m->state, m->state_len);
    e = applier_restore(a, &r, why);
    snapshot_unpin(s, pinned.id);
    snapshot_meta_fini(&pinned);
    return e;
}
