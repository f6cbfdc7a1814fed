/* SPDX-License-Identifier: MIT */
/*
 * The leader's half of replication.  Appends run ahead of the answers
 * (dissertation, 10.2.1) within a window of bytes, and ahead of our own disk.  A
 * heartbeat is an append without entries at the place where the next one would start, so
 * it also finds out that something was lost.
 */
#include <string.h>

#include "core/raft/internal.h"

/* --- sending ------------------------------------------------------------------------ */

/* Entries start at p->next; a peer that waits for a snapshot is told nothing about the
 * log. */
static void replicate_send(struct raft *r, struct progress *p, struct raft_entry *entries,
                           size_t n, size_t bytes)
{
    struct raft_message *m = raft_post(r, &r->now, RAFT_MSG_APPEND, p->id);

    if (!m) return;
    if (p->mode != PROGRESS_SNAPSHOT) {
        m->prev_index = p->next - 1;
        m->prev_term = log_term(&r->log, m->prev_index);
    }
    m->entries = entries;
    m->n_entries = n;
    m->commit = r->commit;
    m->read = r->read_position;
    m->sent_ms = r->now_ms;
    m->hash_index = r->applied;
    m->hash = r->hash;

    p->sent_ms = r->now_ms;
    p->read_sent = r->read_position;
    p->commit_sent = m->prev_index + n < r->commit ? m->prev_index + n : r->commit;
    if (p->mode == PROGRESS_PROBE) p->waiting = true;
    if (n > 0) progress_sent(p, entries[n - 1].index, bytes);
}

void replicate_heartbeat(struct raft *r, struct progress *p)
{
    replicate_send(r, p, NULL, 0, 0);
}

static size_t replicate_payload(const struct raft_entry *e)
{
    return e->payload ? e->payload->len : 0;
}

/* One append of what the cache holds from p->next on; false if it does not hold that
 * entry. */
static bool replicate_send_cached(struct raft *r, struct progress *p)
{
    const struct raft_entry *e = log_cached(&r->log, p->next);
    struct raft_entry *entries;
    size_t n = 0, bytes = 0;

    if (!e) return false;
    while (e && (n == 0 || bytes + replicate_payload(e) <= r->o.max_append_bytes)) {
        bytes += replicate_payload(e);
        n++;
        e = log_cached(&r->log, p->next + n);
    }
    entries = arena_alloc(&r->arena, n * sizeof *entries);
    if (!entries) return true; /* remembered by the arena */
    for (size_t i = 0; i < n; i++) entries[i] = *log_cached(&r->log, p->next + i);
    replicate_send(r, p, entries, n, bytes);
    return true;
}

static void replicate_load(struct raft *r, struct progress *p)
{
    if (p->loading || r->now_ms < p->retry_ms) return;
    if (!raft_room(r, &r->loads, &r->cap_loads, r->fx->n_loads, sizeof *r->loads)) return;
    r->loads[r->fx->n_loads++] =
        (struct raft_load){p->id, p->next, r->o.max_append_bytes};
    p->loading = true;
}

static void replicate_probe(struct raft *r, struct progress *p)
{
    if (p->waiting) return;
    if (p->bare || p->next > r->log.last || !replicate_send_cached(r, p))
        replicate_heartbeat(r, p);
}

static void replicate_pipeline(struct raft *r, struct progress *p)
{
    while (p->next <= r->log.last && progress_window_open(r, p) && !p->loading &&
           !r->failed) {
        uint64_t next = p->next;
        if (!replicate_send_cached(r, p)) replicate_load(r, p);
        if (p->next == next) return;
    }
}

void replicate_push(struct raft *r, struct progress *p)
{
    if (p->mode != PROGRESS_SNAPSHOT && !log_knows(&r->log, p->next - 1))
        snapshot_wanted(r, p);
    switch (p->mode) {
    case PROGRESS_PROBE: replicate_probe(r, p); break;
    case PROGRESS_PIPELINE: replicate_pipeline(r, p); break;
    case PROGRESS_SNAPSHOT: snapshot_push(r, p); break;
    }
    if (r->now_ms >= progress_due_ms(r, p)) replicate_heartbeat(r, p);
}

/* --- answers ------------------------------------------------------------------------ */

static void replicate_accepted(struct raft *r, struct progress *p,
                               const struct raft_message *m)
{
    progress_match(p, m->match);
    if (m->match == p->match && m->sent_ms > p->matched_ms) p->matched_ms = m->sent_ms;
    switch (p->mode) {
    case PROGRESS_PROBE:
        if (m->match + 1 >= p->next)
            progress_pipeline(r, p); /* else it answers something older */
        break;
    case PROGRESS_PIPELINE: break;
    case PROGRESS_SNAPSHOT:
        if (!log_knows(&r->log, p->match)) break;
        progress_probe(r, p, p->match + 1, false);
        progress_pipeline(r, p);
        break;
    }
}

/* The highest place after which the logs may agree. */
static uint64_t replicate_back_off(const struct raft *r, const struct raft_message *m)
{
    uint64_t ours, next = m->conflict_index;

    if (m->conflict_term == 0) return next;
    ours = log_last_upto_term(&r->log, m->conflict_term);
    if (log_term(&r->log, ours) == m->conflict_term) return ours + 1;
    return ours + 1 < next ? ours + 1 : next;
}

static void replicate_refused(struct raft *r, struct progress *p,
                              const struct raft_message *m)
{
    uint64_t next = replicate_back_off(r, m);

    if (m->conflict_index == 0 || p->mode == PROGRESS_SNAPSHOT) return;
    /* A window that was overtaken or lost is refused message by message; were each to
     * start another window, a network that reorders would drown in them. */
    if (m->sent_ms < p->mode_ms) return;
    if (m->conflict_index <= p->match) {
        /* What it promised to hold is gone: somebody gave it an empty disk.  Commits are
         * never taken back, but it must not count for further ones.  An overtaken reply
         * can look the same; the sending times tell most of those, and a mistake costs
         * one round trip. */
        if (m->sent_ms <= p->matched_ms) return;
        trace(r, TRACE_LOG_LOST, p->id, p->match, m->conflict_index);
        p->match = 0;
        next = m->conflict_index;
    } else if (next <= p->match || (p->mode == PROGRESS_PROBE && next >= p->next)) {
        return; /* answers something older */
    }
    progress_probe(r, p, next, true);
    trace(r, TRACE_BACKED_OFF, p->id, p->next, p->match);
}

void replicate_on_reply(struct raft *r, struct progress *p, const struct raft_message *m)
{
    if (m->match > r->log.last || m->sent_ms > r->now_ms || m->read > r->read_position) {
        trace(r, TRACE_NONSENSE, m->from, m->type, m->term);
        return;
    }
    if (m->sent_ms > p->contact_ms) p->contact_ms = m->sent_ms;
    if (m->read > p->read) p->read = m->read;
    if (m->type == RAFT_MSG_SNAPSHOT_REPLY)
        snapshot_on_reply(r, p, m);
    else if (m->accepted)
        replicate_accepted(r, p, m);
    else
        replicate_refused(r, p, m);
}

void replicate_on_peer_lost(struct raft *r, const char *peer)
{
    struct progress *p = r->role == RAFT_LEADER ? progress_find(r, peer) : NULL;

    if (!p) return;
    trace(r, TRACE_PEER_LOST, peer, p->match, p->next);
    if (p->mode == PROGRESS_SNAPSHOT) return; /* streamed over a connection of its own */
    progress_probe(r, p, p->next, true);
    p->waiting =
        true; /* the next heartbeat asks; a broken connection is not for hurrying */
}

/* --- entries read back from the disk ------------------------------------------------ */

/* How many of the entries are what our log holds from p->next on. */
static size_t replicate_usable(const struct raft *r, const struct progress *p,
                               const struct raft_entry *entries, size_t n)
{
    size_t i = 0;

    while (i < n && entries[i].index == p->next + i &&
           entries[i].term == log_term(&r->log, entries[i].index))
        i++;
    return i;
}

void replicate_on_loaded(struct raft *r, const struct raft_event *e)
{
    const struct raft_entry *from = e->u.loaded.entries;
    size_t n = e->u.loaded.n, bytes = 0;
    struct progress *p =
        r->role == RAFT_LEADER ? progress_find(r, e->u.loaded.peer) : NULL;
    struct raft_entry *entries;

    for (size_t i = 0; i < n; i++) {
        if (raft_room(r, &r->held, &r->cap_held, r->n_held, sizeof(struct blob *)))
            r->held[r->n_held++] = from[i].payload;
        else
            blob_unref(from[i].payload);
    }
    if (!p || r->failed) return;
    p->loading = false;
    if (n == 0) {
        if (r->log.snap_index >= p->next && p->mode == PROGRESS_PIPELINE)
            snapshot_wanted(r, p);
        p->retry_ms = r->now_ms + r->interval_ms;
        return;
    }
    n = replicate_usable(r, p, from, n);
    if (n == 0 || p->mode != PROGRESS_PIPELINE || !progress_window_open(r, p)) return;
    entries = arena_dup(&r->arena, from, n * sizeof *entries);
    if (!entries) return;
    for (size_t i = 0; i < n; i++) bytes += replicate_payload(&entries[i]);
    replicate_send(r, p, entries, n, bytes);
}

/* --- proposals ---------------------------------------------------------------------- */

static enum err replicate_check(const struct raft *r, const struct raft_event *e)
{
    size_t bytes = 0;

    if (r->role != RAFT_LEADER) return ERR_NOT_LEADER;
    if (transfer_active(r)) return ERR_TRANSFER;
    if (e->u.propose.n == 0) return ERR_INVALID;
    for (size_t i = 0; i < e->u.propose.n; i++) {
        uint8_t type = e->u.propose.types[i];
        if (type < RAFT_ENTRY_APP && type != RAFT_ENTRY_NOOP) return ERR_INVALID;
        if (e->u.propose.payloads[i]) bytes += e->u.propose.payloads[i]->len;
    }
    /* Whatever its size, one batch may always go when nothing else is under way. */
    if (r->uncommitted_bytes > 0 &&
        r->uncommitted_bytes + bytes > r->o.max_uncommitted_bytes)
        return ERR_BUSY;
    return ERR_OK;
}

enum err replicate_propose(struct raft *r, const struct raft_event *e)
{
    enum err error = replicate_check(r, e);

    for (size_t i = 0; i < e->u.propose.n; i++) {
        struct blob *payload = e->u.propose.payloads[i];
        if (error || r->failed)
            blob_unref(payload);
        else
            raft_append_entry(r, r->term, e->u.propose.types[i], payload);
    }
    if (!error) r->fx->first_index = r->log.last - e->u.propose.n + 1;
    return error;
}
