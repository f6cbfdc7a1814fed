/* SPDX-License-Identifier: MIT */
/*
 * One step: an event comes in, the duties of the role follow from the state it leaves,
 * effects go out.  What was decided in a step is in raft.fx and the outboxes until the
 * end of it.
 */
#include <stdlib.h>
#include <string.h>

#include "core/raft/internal.h"

#ifdef RAFT_MUTATIONS
enum raft_mutations raft_mutation;
#endif

/* --- what every file here uses ------------------------------------------------------ */

bool raft_room(struct raft *r, void *array, size_t *cap, size_t n, size_t item_size)
{
    size_t more = *cap ? *cap * 2 : 8;
    void *at;

    if (n < *cap) return true;
    memcpy(&at, array, sizeof at);
    at = realloc(at, more * item_size);
    if (!at) {
        r->failed = true;
        return false;
    }
    memcpy(array, &at, sizeof at);
    *cap = more;
    return true;
}

void raft_copy_id(char to[RAFT_ID_MAX + 1], const char *from)
{
    size_t len = strnlen(from, RAFT_ID_MAX);

    memmove(to, from, len);
    to[len] = 0;
}

struct raft_message *raft_post(struct raft *r, struct raft_outbox *box,
                               enum raft_message_type type, const char *to)
{
    struct raft_message *m;

    if (!raft_room(r, &box->at, &box->cap, box->n, sizeof *box->at)) return NULL;
    m = &box->at[box->n++];
    memset(m, 0, sizeof *m);
    m->type = type;
    m->term = r->term;
    raft_copy_id(m->to, to);
    raft_copy_id(m->from, r->id);
    return m;
}

bool raft_append_entry(struct raft *r, uint64_t term, uint8_t type, struct blob *payload)
{
    struct raft_entry e = {r->log.last + 1, term, type, payload};

    if (!log_append(&r->log, &e)) {
        r->failed = true;
        return false;
    }
    if (r->append_from == 0) r->append_from = e.index;
    durable_write(r);
    if (r->role == RAFT_LEADER && payload) r->uncommitted_bytes += payload->len;
    return type != RAFT_ENTRY_CONFIG || member_appended(r, e.index, payload);
}

void raft_commit_to(struct raft *r, uint64_t index)
{
    if (index <= r->commit) return;
    CHECK(index <= r->log.last);
    if (r->role == RAFT_LEADER) {
        for (uint64_t i = r->commit < r->noop ? r->noop : r->commit + 1; i <= index;
             i++) {
            const struct raft_entry *e =
                log_cached(&r->log, i); /* not evicted before it commits */
            if (e && e->payload) r->uncommitted_bytes -= e->payload->len;
        }
    }
    r->commit = index;
}

/* --- messages ----------------------------------------------------------------------- */

/* Terms and indexes beyond this are made up: no cluster lives to see them, and below it
 * sums do not overflow. */
#define RAFT_NUMBER_MAX (UINT64_MAX >> 2)

static bool message_sane(const struct raft *r, const struct raft_message *m)
{
    if (!memchr(m->to, 0, sizeof m->to) || !memchr(m->from, 0, sizeof m->from))
        return false;
    if (strcmp(m->to, r->id) != 0 || m->from[0] == 0 || strcmp(m->from, r->id) == 0)
        return false;
    if (m->term == 0 || m->term > RAFT_NUMBER_MAX) return false;
    if (m->last_index > RAFT_NUMBER_MAX || m->prev_index > RAFT_NUMBER_MAX) return false;
    if (m->match > RAFT_NUMBER_MAX || m->conflict_index > RAFT_NUMBER_MAX) return false;
    if (m->snap_index > RAFT_NUMBER_MAX || m->n_entries > UINT32_MAX) return false;
    return m->n_entries == 0 || m->entries != NULL;
}

/* APPEND, SNAPSHOT, TIMEOUT_NOW: what only a leader sends. */
static bool message_from_leader(struct raft *r, const struct raft_message *m)
{
    if (m->term < r->term) {
        if (m->type != RAFT_MSG_TIMEOUT_NOW) append_refuse_stale(r, m);
        return false;
    }
    if (m->type == RAFT_MSG_APPEND && !append_message_valid(m)) return false;
    if (m->type == RAFT_MSG_SNAPSHOT && (m->snap_index == 0 || m->snap_term == 0))
        return false;
    if (m->term > r->term) {
        election_follow(r, m->term, m->from);
    } else if (r->role == RAFT_LEADER ||
               (r->leader[0] && strcmp(r->leader, m->from) != 0)) {
        trace(r, TRACE_NONSENSE, m->from, m->type, m->term); /* two leaders in one term */
        return false;
    }
    return true;
}

/* The answer of a member to what we sent in this term as its leader. */
static void message_to_leader(struct raft *r, const struct raft_message *m)
{
    struct progress *p;

    if (m->term > r->term) election_follow(r, m->term, "");
    if (m->term < r->term || r->role != RAFT_LEADER) return;
    p = progress_find(r, m->from);
    if (p) replicate_on_reply(r, p, m);
}

static void raft_on_message(struct raft *r, const struct raft_message *m)
{
    bool member;

    if (!message_sane(r, m)) {
        trace(r, TRACE_NONSENSE, "", m->type, m->term);
        return;
    }
    /* Answers of others than members count for nothing, not even for their term; but a
     * candidate or a leader may well be new to us (dissertation, 4.1). */
    member = raft_config_find(member_config(r), m->from) != NULL;
    switch (m->type) {
    case RAFT_MSG_PRE_VOTE: election_on_pre_vote(r, m); break;
    case RAFT_MSG_VOTE: election_on_vote(r, m); break;
    case RAFT_MSG_PRE_VOTE_REPLY:
        if (member) election_on_pre_vote_reply(r, m);
        break;
    case RAFT_MSG_VOTE_REPLY:
        if (member) election_on_vote_reply(r, m);
        break;
    case RAFT_MSG_APPEND_REPLY:
    case RAFT_MSG_SNAPSHOT_REPLY:
        if (member) message_to_leader(r, m);
        break;
    case RAFT_MSG_APPEND:
        if (message_from_leader(r, m)) append_on_message(r, m);
        break;
    case RAFT_MSG_SNAPSHOT:
        if (message_from_leader(r, m)) snapshot_on_offer(r, m);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        if (m->term == r->term && message_from_leader(r, m))
            transfer_on_timeout_now(r, m);
        break;
    default: trace(r, TRACE_NONSENSE, m->from, m->type, m->term);
    }
}

/* --- events ------------------------------------------------------------------------- */

static void raft_on_event(struct raft *r, const struct raft_event *e)
{
    switch (e->type) {
    case RAFT_TICK: break; /* the timers are looked at in every step */
    case RAFT_MESSAGE: raft_on_message(r, e->u.message); break;
    case RAFT_PROPOSE: r->fx->refused = replicate_propose(r, e); break;
    case RAFT_READ: read_ask(r, e->u.read.id); break;
    case RAFT_CHANGE: r->fx->refused = member_change(r, e); break;
    case RAFT_TRANSFER: r->fx->refused = transfer_start(r, e->u.transfer.id); break;
    case RAFT_SYNCED: durable_synced(r, e->u.synced.ticket); break;
    case RAFT_APPLIED:
        r->applied = e->u.applied.index;
        r->hash = e->u.applied.hash;
        break;
    case RAFT_LOADED: replicate_on_loaded(r, e); break;
    case RAFT_SNAPSHOT_TAKEN: snapshot_on_taken(r, e); break;
    case RAFT_SNAPSHOT_SENT:
        snapshot_on_sent(r, e->u.sent.peer, e->u.sent.index, e->u.sent.ok);
        break;
    case RAFT_SNAPSHOT_INSTALLED: snapshot_on_installed(r, e); break;
    case RAFT_BOOTSTRAP:
        r->fx->refused = member_bootstrap(r, e->u.bootstrap.config);
        break;
    case RAFT_PEER_LOST: replicate_on_peer_lost(r, e->u.peer); break;
    }
}

/* --- the duties of a leader --------------------------------------------------------- */

static bool lead_may_commit(const struct raft *r, uint64_t index)
{
    if (index <= r->commit) return false;
    /* By counting only entries of the own term; older ones commit with them (3.6.2). */
    return log_term(&r->log, index) == r->term || mutation(RAFT_MUT_COMMIT_OLD_TERM);
}

static void lead_leave(struct raft *r)
{
    trace(r, TRACE_REMOVED, "", r->term, member_config(r)->index);
    for (size_t i = 0; i < r->peers.n; i++)
        if (r->peers.at[i].commit_sent < r->commit)
            replicate_heartbeat(r, &r->peers.at[i]);
    transfer_farewell(r);
    election_follow(r, r->term, "");
}

static void lead(struct raft *r)
{
    struct quorum q = quorum_reached(r);

    if (lead_may_commit(r, q.match)) raft_commit_to(r, q.match);
    read_confirm(r, q.read);
    r->lease_end_ms = member_alone(r) ? UINT64_MAX : q.contact_ms + r->o.lease_ms;
    if (r->now_ms >= r->lease_end_ms) {
        trace(r, TRACE_LEASE_LOST, "", r->term, r->now_ms - q.contact_ms);
        election_follow(r, r->term, "");
        return;
    }
    for (size_t i = 0; i < r->peers.n; i++) replicate_push(r, &r->peers.at[i]);
    read_start_round(r);
    transfer_settle(r);
    /* It leads on until the change that removes it has committed (4.2.2). */
    if (!member_is_voter(r, r->id) && member_config(r)->index <= r->commit) lead_leave(r);
}

static uint64_t lead_deadline(const struct raft *r)
{
    uint64_t at = r->lease_end_ms;

    for (size_t i = 0; i < r->peers.n; i++) {
        uint64_t due = progress_due_ms(r, &r->peers.at[i]);
        if (due < at) at = due;
    }
    if (transfer_active(r) && r->transfer.deadline_ms < at) at = r->transfer.deadline_ms;
    return at;
}

/* --- the step ----------------------------------------------------------------------- */

static void step_begin(struct raft *r, const struct raft_event *e,
                       struct raft_effects *fx)
{
    memset(fx, 0, sizeof *fx);
    r->fx = fx;
    if (e->now_ms > r->now_ms) r->now_ms = e->now_ms;
    for (size_t i = 0; i < r->n_held; i++) blob_unref(r->held[i]);
    r->n_held = r->now.n = r->after.n = 0;
    arena_reset(&r->arena);
    r->writes = r->saves_hard = false;
    r->append_from = 0;
    r->was_role = r->role;
    r->was_term = r->term;
    raft_copy_id(r->was_leader, r->leader);

    /* What the last step's effects pointed to may go now.  A leader keeps what has not
     * committed: it counts those bytes. */
    if (r->role != RAFT_LEADER)
        log_evict(&r->log, UINT64_MAX);
    else
        log_evict(&r->log, r->commit < r->noop ? r->noop : r->commit + 1);
}

static void step_settle(struct raft *r)
{
    uint64_t ready;

    election_settle(r);
    if (r->role == RAFT_LEADER && !r->failed) lead(r);
    if (r->failed) return;
    ready = r->commit < r->durable ? r->commit : r->durable;
    if (ready > r->apply_to) r->apply_to = ready;
}

static void step_collect_appended(struct raft *r)
{
    struct raft_effects *fx = r->fx;
    struct raft_entry *entries;
    size_t n = r->append_from ? (size_t)(r->log.last + 1 - r->append_from) : 0;

    if (n == 0) return;
    entries = arena_alloc(&r->arena, n * sizeof *entries);
    if (!entries) return;
    for (size_t i = 0; i < n; i++) entries[i] = *log_cached(&r->log, r->append_from + i);
    fx->append = entries;
    fx->n_append = n;
}

/* Out of memory: nothing of this step leaves. */
static void step_fail(struct raft *r)
{
    if (!r->fx->out_of_memory) trace(r, TRACE_NO_MEMORY, "", 0, 0);
    memset(r->fx, 0, sizeof *r->fx);
    r->failed = true;
    r->fx->refused = ERR_NOMEM;
    r->fx->out_of_memory = true;
    r->fx->vote = "";
    r->fx->ticket = r->ticket;
    r->fx->apply_to = r->apply_to;
    r->fx->deadline_ms = UINT64_MAX;
}

static void step_end(struct raft *r)
{
    struct raft_effects *fx = r->fx;

    step_collect_appended(r);
    if (r->failed || arena_failed(&r->arena) || !durable_end_step(r)) {
        step_fail(r);
        return;
    }
    fx->ticket = r->ticket;
    fx->save_hard = r->saves_hard;
    fx->term = r->term;
    fx->vote = r->vote;
    fx->send_now = r->now.at;
    fx->n_send_now = r->now.n;
    fx->send_after = r->after.at;
    fx->n_send_after = r->after.n;
    fx->apply_to = r->apply_to;
    fx->reads = r->results;
    fx->loads = r->loads;
    fx->snapshots = r->sends;
    fx->role_changed = r->role != r->was_role;
    fx->term_changed = r->term != r->was_term;
    fx->leader_changed = strcmp(r->leader, r->was_leader) != 0;
    fx->deadline_ms = r->role == RAFT_LEADER ? lead_deadline(r) : r->timer_ms;
}

/* References that an event passes to us are ours even when we can no longer use them. */
static void step_drop_event(const struct raft_event *e)
{
    if (e->type == RAFT_PROPOSE)
        for (size_t i = 0; i < e->u.propose.n; i++) blob_unref(e->u.propose.payloads[i]);
    if (e->type == RAFT_LOADED)
        for (size_t i = 0; i < e->u.loaded.n; i++)
            blob_unref(e->u.loaded.entries[i].payload);
}

void raft_step(struct raft *r, const struct raft_event *event, struct raft_effects *fx)
{
    step_begin(r, event, fx);
    if (r->failed) {
        step_drop_event(event);
        step_fail(r);
        return;
    }
    if (!r->started) {
        r->started = true;
        restore_finish(r);
        election_start(r);
    }
    raft_on_event(r, event);
    if (!r->failed) step_settle(r);
    step_end(r);
    r->fx = NULL;
}

/* --- looking in --------------------------------------------------------------------- */

enum raft_role raft_role(const struct raft *r)
{
    return r->role;
}

const char *raft_role_name(enum raft_role role)
{
    switch (role) {
    case RAFT_FOLLOWER: return "Follower";
    case RAFT_PRE_CANDIDATE:
    case RAFT_CANDIDATE: return "Candidate";
    case RAFT_LEADER: return "Leader";
    }
    return "Unknown";
}

uint64_t raft_term(const struct raft *r)
{
    return r->term;
}

const char *raft_leader(const struct raft *r)
{
    return r->leader;
}

uint64_t raft_commit(const struct raft *r)
{
    return r->commit;
}

uint64_t raft_last_index(const struct raft *r)
{
    return r->log.last;
}

uint64_t raft_last_term(const struct raft *r)
{
    return log_term(&r->log, r->log.last);
}

uint64_t raft_first_index(const struct raft *r)
{
    return r->log.base + 1;
}

uint64_t raft_snapshot_index(const struct raft *r)
{
    return r->log.snap_index;
}

uint64_t raft_snapshot_term(const struct raft *r)
{
    return r->log.snap_term;
}

uint64_t raft_term_of(const struct raft *r, uint64_t index)
{
    return log_term(&r->log, index);
}

uint64_t raft_noop_index(const struct raft *r)
{
    return r->noop;
}

uint64_t raft_last_contact_ms(const struct raft *r)
{
    return r->role == RAFT_LEADER ? r->now_ms : r->contact_ms;
}

const struct raft_entry *raft_cached(const struct raft *r, uint64_t index)
{
    return log_cached(&r->log, index);
}
