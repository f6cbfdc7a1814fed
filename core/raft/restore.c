/* SPDX-License-Identifier: MIT */
/* From what was found on disk to a machine that can step, and the end of it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/raft/internal.h"

enum {
    APPEND_BYTES = 512 << 10,
    INFLIGHT_BYTES = 4 << 20,
    UNCOMMITTED_BYTES = 64 << 20,
    CACHE_BYTES = 16 << 20,
    ARENA_BYTES_MAX = 0 /* bounded by the windows of all peers */
};

static enum err restore_options(struct raft *r, const struct raft_options *o,
                                struct why *why)
{
    size_t len = o->id ? strlen(o->id) : 0;

    if (len == 0 || len > RAFT_ID_MAX)
        return why_set(why, ERR_INVALID, "a node's id has 1 to %d bytes", RAFT_ID_MAX);
    if (o->heartbeat_ms == 0 || o->election_ms == 0)
        return why_set(why, ERR_INVALID,
                       "heartbeat and election timeout must be at least 1ms");
    if (o->lease_ms > o->heartbeat_ms)
        return why_set(why, ERR_INVALID,
                       "leader lease (%" PRIu32
                       "ms) must not be longer than the heartbeat "
                       "timeout (%" PRIu32 "ms)",
                       o->lease_ms, o->heartbeat_ms);
    raft_copy_id(r->id, o->id);
    r->o = *o;
    r->o.id = r->id;
    if (!r->o.lease_ms) r->o.lease_ms = o->heartbeat_ms;
    if (!r->o.max_append_bytes) r->o.max_append_bytes = APPEND_BYTES;
    if (!r->o.max_inflight_bytes) r->o.max_inflight_bytes = INFLIGHT_BYTES;
    if (!r->o.max_uncommitted_bytes) r->o.max_uncommitted_bytes = UNCOMMITTED_BYTES;
    if (!r->o.cache_bytes) r->o.cache_bytes = CACHE_BYTES;

    /* Few enough for an idle machine, enough that two may be lost before a follower
     * campaigns or the lease runs out. */
    r->interval_ms = o->heartbeat_ms / 5;
    if (r->interval_ms > r->o.lease_ms / 3) r->interval_ms = r->o.lease_ms / 3;
    if (r->interval_ms == 0) r->interval_ms = 1;
    if (!r->o.commit_ms || r->o.commit_ms > r->interval_ms)
        r->o.commit_ms = r->interval_ms;
    return ERR_OK;
}

enum err raft_new(struct raft **out, const struct raft_options *o,
                  const struct raft_restored *found, struct why *why)
{
    struct raft *r = calloc(1, sizeof *r);
    enum err e;

    *out = NULL;
    if (!r) return why_set(why, ERR_NOMEM, "out of memory");
    e = restore_options(r, o, why);
    if (e) goto fail;
    r->hard_later = found->hard_later;
    r->term = found->term;
    if (found->vote && strlen(found->vote) <= RAFT_ID_MAX)
        raft_copy_id(r->vote, found->vote);
    r->commit = r->apply_to = r->durable = found->snapshot_index;
    r->role = r->was_role = RAFT_FOLLOWER;
    r->timer_ms = UINT64_MAX;
    rand_init(&r->rand, o->seed);
    arena_init(&r->arena, ARENA_BYTES_MAX);
    log_init(&r->log, found->snapshot_index, found->snapshot_term, r->o.cache_bytes);
    r->trace = calloc(RAFT_TRACE_MAX, sizeof *r->trace);
    if (!r->trace || !member_reset(r, found->config)) {
        e = why_set(why, ERR_NOMEM, "out of memory");
        goto fail;
    }
    *out = r;
    return ERR_OK;
fail:
    raft_free(r);
    return e;
}

void raft_free(struct raft *r)
{
    if (!r) return;
    for (size_t i = 0; i < r->n_held; i++) blob_unref(r->held[i]);
    for (size_t i = 0; i < r->configs.n; i++) raft_config_fini(&r->configs.at[i]);
    log_fini(&r->log);
    arena_fini(&r->arena);
    free(r->configs.at);
    free(r->unsynced);
    free(r->peers.at);
    free(r->reads);
    free(r->now.at);
    free(r->after.at);
    free(r->held);
    free(r->results);
    free(r->loads);
    free(r->sends);
    free(r->trace);
    free(r);
}

/* The log may start anywhere up to the snapshot's end, but not beyond it. */
static enum err restore_first(struct raft *r, const struct raft_entry *e, struct why *why)
{
    struct raft_log *l = &r->log;

    if (e->index == 0 || e->index > l->snap_index + 1)
        return why_set(why, ERR_CORRUPT,
                       "the log starts at %" PRIu64 ", the snapshot ends at %" PRIu64,
                       e->index, l->snap_index);
    l->base = l->last = e->index - 1;
    l->base_term = l->base == l->snap_index ? l->snap_term : 0;
    return ERR_OK;
}

static enum err restore_config(struct raft *r, const struct raft_entry *e,
                               struct why *why)
{
    struct raft_config c = {0};
    enum err error;

    if (!e->payload)
        return why_set(why, ERR_CORRUPT, "configuration entry without payload");
    error = raft_config_decode(&c, e->payload->data, e->payload->len, why);
    raft_config_fini(&c);
    if (error) return err_wrap(why, error, "entry %" PRIu64, e->index);
    /* The snapshot has the configuration as of its end. */
    if (e->index <= r->log.snap_index && member_config(r)->n > 0) return ERR_OK;
    if (!member_appended(r, e->index, e->payload))
        return why_set(why, ERR_NOMEM, "out of memory");
    return ERR_OK;
}

static enum err restore_too_new(uint64_t index, uint64_t term, uint64_t known,
                                struct why *why)
{
    return why_set(why, ERR_CORRUPT,
                   "entry %" PRIu64 " has term %" PRIu64
                   ", but the node only knew term %" PRIu64,
                   index, term, known);
}

enum err raft_restore(struct raft *r, const struct raft_entry *e, struct why *why)
{
    struct raft_log *l = &r->log;
    struct raft_entry copy = *e;
    uint64_t last_term = l->n_runs > 0 ? l->runs[l->n_runs - 1].term : l->base_term;
    enum err error = ERR_OK;

    if (!r->restored_any) error = restore_first(r, e, why);
    if (error) return error;
    if (r->restored_any && e->index != l->last + 1)
        return why_set(why, ERR_CORRUPT, "entry %" PRIu64 " follows entry %" PRIu64,
                       e->index, l->last);
    if (!r->restored_any) last_term = l->base_term;
    if (e->term == 0 || e->term < last_term)
        return why_set(why, ERR_CORRUPT,
                       "entry %" PRIu64 " has term %" PRIu64 " after term %" PRIu64,
                       e->index, e->term, last_term);
    if (!r->hard_later && e->term > r->term)
        return restore_too_new(e->index, e->term, r->term, why);
    r->restored_any = true;
    if (e->type == RAFT_ENTRY_CONFIG) error = restore_config(r, e, why);
    if (error) return error;
    copy.payload = blob_ref(e->payload);
    if (!log_append(l, &copy)) return why_set(why, ERR_NOMEM, "out of memory");
    log_evict(l, UINT64_MAX);
    return ERR_OK;
}

enum err raft_restore_hard(struct raft *r, uint64_t term, const char *vote,
                           struct why *why)
{
    const struct raft_log *l = &r->log;
    uint64_t last_term = r->restored_any ? log_term(l, l->last) : 0;

    CHECK(r->hard_later && !r->started);
    if (last_term > term) return restore_too_new(l->last, last_term, term, why);
    r->hard_later = false;
    r->term = term;
    if (vote && strlen(vote) <= RAFT_ID_MAX) raft_copy_id(r->vote, vote);
    return ERR_OK;
}

/* A crash between a snapshot's installation and the new start of the log leaves an old
 * log, which ends before the snapshot or contradicts it.  One without entries cannot say
 * where it would go on. */
static bool restore_log_is_older(const struct raft *r)
{
    const struct raft_log *l = &r->log;
    uint64_t at_snapshot = l->base_term;

    if (!r->restored_any) return l->snap_index > 0;
    if (l->last < l->snap_index) return true;
    if (l->base == l->snap_index) return false;
    for (size_t i = 0; i < l->n_runs && l->runs[i].first <= l->snap_index; i++)
        at_snapshot = l->runs[i].term;
    return at_snapshot != l->snap_term;
}

void restore_finish(struct raft *r)
{
    struct raft_log *l = &r->log;

    r->durable = l->last;
    if (!restore_log_is_older(r)) return;
    trace(r, TRACE_RESET, "", l->snap_index, l->snap_term);
    member_truncated(r, l->snap_index + 1);
    log_reset(l, l->snap_index, l->snap_term);
    durable_reset(r, l->snap_index);
    durable_write(r);
    r->fx->reset_log = true;
    r->fx->reset_index = l->snap_index;
    r->fx->reset_term = l->snap_term;
}
