/* SPDX-License-Identifier: MIT */
/*
 * recover: a node that goes on with what it has, under a configuration that an operator
 * gives it (server.md 11).
 *
 * For a cluster that has lost its quorum for good, or all of whose addresses changed:
 * nobody can commit the change, so each node makes it by itself.  Snapshot and whole log
 * become a new snapshot with the given configuration, and the log begins after it.  A
 * crash on the way leaves either the state of before or that of after.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/io.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/base/rand.h"
#include "core/node/identity.h"
#include "core/node/node.h"
#include "core/node/pages.h"
#include "core/node/restart.h"

enum { BATCH_BYTES = 4 << 20, BATCH_ENTRIES = 4096 };

struct recovery {
    const struct node_options *o;
    const struct raft_config *config;
    struct restarted found;
    struct db *db; /* owned, as the next */
    struct applier *applier;
    uint64_t cluster_id;
    char scratch[4096], db_path[4200];
};

static enum err open_all(struct recovery *r, struct why *why)
{
    const struct node_options *o = r->o;
    struct restart_options ro = {.io = o->io,
                                 .logger = o->logger,
                                 .data_dir = o->data_dir,
                                 .raft = {.id = o->id,
                                          .seed = rand_entropy(),
                                          .heartbeat_ms = o->heartbeat_ms,
                                          .election_ms = o->election_ms,
                                          .lease_ms = o->lease_ms,
                                          .commit_ms = o->commit_ms}};
    struct db_options dbo = {.path = o->on_disk ? r->db_path : NULL,
                             .scratch_dir = r->scratch,
                             .foreign_keys = o->foreign_keys,
                             .extensions = o->extensions,
                             .n_extensions = o->n_extensions,
                             .logger = o->logger};
    struct restarted_database d;
    enum err e = o->io->ops->mkdir(o->io, r->scratch, why);

    if (!e) e = cluster_id_load(o->io, o->data_dir, &r->cluster_id, why);
    if (!e) e = restart_open(&r->found, &ro, why);
    if (!e && r->found.snapshot.index == 0 && wal_last(r->found.wal) == 0)
        return why_set(why, ERR_NOT_FOUND,
                       "refused to recover cluster with no initial state, this is "
                       "probably an operator error");
    if (e) return e;
    e = restart_database(&d, &dbo, r->found.store, &r->found.snapshot, o->id, why);
    r->db = d.db;
    r->applier = d.applier;
    return e;
}

/* --- the log into the database ---------------------------------------------------- */

static enum err take_entry(const struct raft_entry *e, void *arg, struct why *why)
{
    struct apply_job *job = arg;

    (void)why;
    if (job->n == job->cap) return ERR_NOTHING; /* the rest comes with the next batch */
    blob_ref(e->payload);
    job->items[job->n++] = (struct apply_item){.entry = *e};
    return ERR_OK;
}

static enum err apply_batch(struct recovery *r, uint64_t *next, uint64_t last,
                            struct why *why)
{
    struct apply_job *job = apply_job_new(BATCH_ENTRIES);
    enum err e;

    if (job == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    e = wal_read(r->found.wal, *next, last, BATCH_BYTES, take_entry, job, why);
    if ((e && e != ERR_NOTHING) || job->n == 0) {
        apply_job_free(job);
        return e ? e : why_set(why, ERR_CORRUPT, "the log has no entry %" PRIu64, *next);
    }
    *next += job->n;
    job->mail.next = NULL;
    return applier_run(r->applier, &job->mail, why);
}

/* All of it, committed or not: nobody is left who could tell. */
static enum err apply_log(struct recovery *r, uint64_t last, struct why *why)
{
    uint64_t next = r->found.snapshot.index + 1;
    enum err e = ERR_OK;

    while (!e && next <= last) e = apply_batch(r, &next, last, why);
    return e;
}

/* --- the snapshot ----------------------------------------------------------------- */

struct last { /* the state after the whole log, on its way into the store */
    struct apply_capture capture;
    struct snapshot_store *store; /* borrowed */
    struct snapshot_meta meta;
    uint64_t wall_ms;
    struct why why;
};

static enum err put_pages(void *writer, uint32_t first, uint32_t n, const void *data,
                          struct why *why)
{
    return snapshot_put(writer, first, n, data, why);
}

static enum err write_snapshot(struct last *l, struct db *d, struct why *why)
{
    struct snapshot_writer *w;
    struct db_reader *r;
    enum err e = db_snapshot_pin(d, &r, why);

    if (e) return e;
    e = snapshot_begin_base(l->store, &w, &l->meta, l->wall_ms, why);
    if (!e) {
        e = db_reader_pages(r, put_pages, w, why);
        if (e)
            snapshot_abort(w);
        else
            e = snapshot_commit(w, why);
    }
    db_reader_close(r);
    return e;
}

static enum err take_last(struct apply_capture *c, struct db *d, struct why *why)
{
    struct last *l = LIST_ITEM(c, struct last, capture);

    (void)why;
    l->why = c->why;
    if (l->why.code) return ERR_OK;
    pages_describe(&l->meta, &c->state, c->time_ns);
    l->meta.extra = c->extra;
    l->why.code = write_snapshot(l, d, &l->why);
    return ERR_OK;
}

static enum err take_snapshot(struct recovery *r, uint64_t index, uint64_t term,
                              struct why *why)
{
    struct last l = {.capture.run = take_last,
                     .store = r->found.store,
                     .wall_ms = clock_wall_ns(r->o->clock) / 1000000};
    struct apply_job *job = apply_job_new(0);
    enum err e;

    if (job == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    snapshot_meta_init(&l.meta);
    l.meta.index = index;
    l.meta.term = term;
    l.meta.cluster_id = r->cluster_id;
    e = raft_config_copy(&l.meta.config, r->config);
    l.meta.config.index = index;
    if (e) {
        apply_job_free(job);
        return why_set(why, e, "out of memory");
    }
    job->capture = &l.capture;
    job->mail.next = NULL;
    e = applier_run(r->applier, &job->mail, why);
    if (!e && l.why.code && why) *why = l.why;
    if (!e) e = l.why.code;
    snapshot_meta_fini(&l.meta);
    return e;
}

/* ---------------------------------------------------------------------------------- */

static enum err recover(struct recovery *r, struct why *why)
{
    struct raft_event tick = {.type = RAFT_TICK};
    struct raft_effects fx;
    uint64_t last, term;
    enum err e = open_all(r, why);

    if (e) return e;
    raft_step(r->found.raft, &tick, &fx); /* decides whether log and snapshot agree */
    last = fx.reset_log ? r->found.snapshot.index : raft_last_index(r->found.raft);
    term = raft_term_of(r->found.raft, last);
    e = apply_log(r, last, why);
    /* At an index of its own, for there may be a snapshot of the last entry's. */
    if (!e)
        e = applier_forget(r->applier, why); /* the log ends here: no more will come */
    if (!e) e = take_snapshot(r, last + 1, term, why);
    if (!e) e = wal_reset(r->found.wal, last + 1, term, why);
    if (!e) e = wal_sync(r->found.wal, why);
    return e;
}

static void remove_scratch(struct recovery *r)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[4300];

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s%s", r->db_path, ends[i]);
        unlink(path);
    }
}

enum err node_recover(const struct node_options *o, const struct raft_config *c,
                      struct why *why)
{
    struct recovery r = {.o = o, .config = c};
    enum err e;

    snprintf(r.scratch, sizeof r.scratch, "%.4000s/scratch", o->data_dir);
    snprintf(r.db_path, sizeof r.db_path, "%s/recovery.db", r.scratch);
    e = recover(&r, why);
    applier_free(r.applier);
    db_close(r.db);
    restart_close(&r.found);
    remove_scratch(&r);
    return e;
}
