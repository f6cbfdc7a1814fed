/* SPDX-License-Identifier: MIT */
/*
 * Who leads.
 *
 *              no leader heard                a majority would vote
 *    FOLLOWER ----------------> PRE_CANDIDATE ----------------------> CANDIDATE
 *     ^ ^ ^                        |    ^                (term + 1)    |    |
 *     | | +--- hears a leader -----+    +--- split, election_ms -------+    |
 *     | |                                              a majority votes,    |
 *     | |                                              our vote is on disk  |
 *     | +--- newer term, no quorum for lease_ms, removed ---- LEADER <------+
 *     +--- RAFT_MSG_TIMEOUT_NOW skips PRE_CANDIDATE; so does the only voter
 *
 * While a node hears a leader it refuses to vote, and takes no notice of the candidate's
 * term: a node that was cut off, or removed and not told, cannot depose a leader that
 * works (6.2, 4.2.3, 9.6).
 */
#include <string.h>

#include "core/raft/internal.h"

static void election_wind_timer(struct raft *r, uint32_t base_ms)
{
    r->timer_ms = r->now_ms + base_ms + rand_below(&r->rand, base_ms);
}

static void election_set_leader(struct raft *r, const char *leader)
{
    if (strcmp(r->leader, leader) == 0) return;
    raft_copy_id(r->leader, leader);
    if (leader[0])
        trace(r, TRACE_FOLLOWS, leader, r->term, 0);
    else
        trace(r, TRACE_NO_LEADER, "", r->term, 0);
}

void election_start(struct raft *r)
{
    trace(r, TRACE_STARTED, "", r->term, r->log.last);
    election_wind_timer(r, r->o.heartbeat_ms);
}

bool election_hears_leader(const struct raft *r)
{
    if (r->role == RAFT_LEADER) return true;
    return r->leader[0] && r->now_ms - r->contact_ms < r->o.heartbeat_ms;
}

static void election_adopt_term(struct raft *r, uint64_t term)
{
    if (term == r->term) return;
    trace(r, TRACE_TERM, "", term, r->term);
    r->term = term;
    r->vote[0] = 0;
    durable_save_hard(r);
}

void election_follow(struct raft *r, uint64_t term, const char *leader)
{
    bool newer = term > r->term;

    election_adopt_term(r, term);
    if (r->role == RAFT_LEADER) {
        if (transfer_active(r)) transfer_end(r, newer && r->transfer.told_ms > 0);
        read_fail_all(r);
        r->noop = 0;
        r->peers.n = 0;
        r->uncommitted_bytes = 0;
    }
    if (r->role != RAFT_FOLLOWER) election_wind_timer(r, r->o.heartbeat_ms);
    r->role = RAFT_FOLLOWER;
    election_set_leader(r, leader);
}

void election_heard_leader(struct raft *r, const char *leader)
{
    if (r->role != RAFT_FOLLOWER) election_follow(r, r->term, leader);
    election_set_leader(r, leader);
    r->contact_ms = r->now_ms;
    election_wind_timer(r, r->o.heartbeat_ms);
}

/* Answers are kept by place in the configuration, so a round does not outlive it; and who
 * had no reason to campaign may have one now. */
void election_config_changed(struct raft *r)
{
    if (r->started && r->timer_ms == UINT64_MAX)
        election_wind_timer(r, r->o.heartbeat_ms);
    if (r->role == RAFT_PRE_CANDIDATE || r->role == RAFT_CANDIDATE)
        election_follow(r, r->term, "");
}

/* --- campaigning -------------------------------------------------------------------- */

static void election_ask(struct raft *r, struct raft_outbox *box,
                         enum raft_message_type type, uint64_t term, bool transfer)
{
    const struct raft_config *c = member_config(r);

    for (size_t i = 0; i < c->n; i++) {
        struct raft_message *m;
        if (!c->members[i].voter || strcmp(c->members[i].id, r->id) == 0) continue;
        m = raft_post(r, box, type, c->members[i].id);
        if (!m) return;
        m->term = term;
        m->last_index = r->log.last;
        m->last_term = log_term(&r->log, r->log.last);
        m->transfer = transfer;
    }
}

static void election_pre_campaign(struct raft *r)
{
    r->role = RAFT_PRE_CANDIDATE;
    election_set_leader(r, "");
    memset(r->granted, 0, sizeof r->granted);
    election_wind_timer(r, r->o.election_ms);
    trace(r, TRACE_PRE_CANDIDATE, "", r->term + 1, r->log.last);
    election_ask(r, &r->now, RAFT_MSG_PRE_VOTE, r->term + 1, false);
}

void election_campaign(struct raft *r, bool transfer)
{
    election_adopt_term(r, r->term + 1);
    raft_copy_id(r->vote, r->id);
    r->role = RAFT_CANDIDATE;
    election_set_leader(r, "");
    memset(r->granted, 0, sizeof r->granted);
    r->vote_ticket = durable_save_hard(r);
    election_wind_timer(r, r->o.election_ms);
    trace(r, TRACE_CANDIDATE, "", r->term, r->log.last);
    /* After our own sync: the request vouches for our last entry, and a vote given for it
     * must not find us with less after a crash. */
    election_ask(r, &r->after, RAFT_MSG_VOTE, r->term, transfer);
}

static bool election_has_majority(const struct raft *r)
{
    const struct raft_config *c = member_config(r);
    size_t voters = raft_config_voters(c), granted = 0;

    for (size_t i = 0; i < c->n; i++) {
        if (!c->members[i].voter) continue;
        if (strcmp(c->members[i].id, r->id) != 0)
            granted += r->granted[i];
        else if (r->role == RAFT_PRE_CANDIDATE)
            granted++;
        else
            granted += r->synced >= r->vote_ticket;
    }
    return granted > voters / 2;
}

static void election_lead(struct raft *r)
{
    r->role = RAFT_LEADER;
    raft_copy_id(r->leader, r->id);
    r->since_ms = r->now_ms;
    r->noop = r->log.last + 1;
    r->uncommitted_bytes = 0;
    r->read_position = r->read_round = r->read_confirmed = 0;
    r->timer_ms = UINT64_MAX;
    r->peers.n = 0;
    progress_rebuild(r);
    trace(r, TRACE_LEADER, "", r->term, r->noop);
    /* Commits what older terms left behind, by the rule of 3.6.2, and tells us that it
     * did. */
    raft_append_entry(r, r->term, RAFT_ENTRY_NOOP, NULL);
}

static void election_tally(struct raft *r)
{
    if (r->role == RAFT_PRE_CANDIDATE && election_has_majority(r))
        election_campaign(r, false);
    if (r->role == RAFT_CANDIDATE && election_has_majority(r)) election_lead(r);
}

static void election_timed_out(struct raft *r)
{
    election_set_leader(r, "");
    if (r->role == RAFT_CANDIDATE && r->synced < r->vote_ticket) {
        election_wind_timer(
            r, r->o.election_ms); /* nobody was asked yet: our disk is slow */
    } else if (!member_may_campaign(r)) {
        r->timer_ms = UINT64_MAX; /* until a leader is heard */
        r->role = RAFT_FOLLOWER;
    } else if (mutation(RAFT_MUT_NO_PRE_VOTE)) {
        election_campaign(r, false);
    } else {
        election_pre_campaign(r);
    }
}

void election_settle(struct raft *r)
{
    if (r->role == RAFT_FOLLOWER && !r->leader[0] && member_alone(r))
        election_campaign(r, false);
    if (r->role != RAFT_LEADER && r->now_ms >= r->timer_ms) election_timed_out(r);
    election_tally(r);
}

/* --- messages ----------------------------------------------------------------------- */

static bool election_log_is_current(const struct raft *r, const struct raft_message *m)
{
    uint64_t last_term = log_term(&r->log, r->log.last);

    if (m->last_term != last_term) return m->last_term > last_term;
    return m->last_index >= r->log.last;
}

static void election_reply(struct raft *r, struct raft_outbox *box,
                           const struct raft_message *m, enum raft_message_type type,
                           uint64_t term, bool granted)
{
    struct raft_message *reply = raft_post(r, box, type, m->from);

    if (!reply) return;
    reply->term = term;
    reply->granted = granted;
    if (!granted) trace(r, TRACE_VOTE_REFUSED, m->from, m->term, m->last_index);
}

void election_on_pre_vote(struct raft *r, const struct raft_message *m)
{
    bool granted =
        m->term > r->term && !election_hears_leader(r) && election_log_is_current(r, m);

    /* A grant speaks of the term asked for, a refusal of ours, so that the asker can
     * catch up. */
    election_reply(r, &r->now, m, RAFT_MSG_PRE_VOTE_REPLY, granted ? m->term : r->term,
                   granted);
}

static void election_note_grant(struct raft *r, const char *from)
{
    const struct raft_config *c = member_config(r);

    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->members[i].id, from) == 0) r->granted[i] = true;
}

void election_on_pre_vote_reply(struct raft *r, const struct raft_message *m)
{
    if (m->granted) {
        if (r->role == RAFT_PRE_CANDIDATE && m->term == r->term + 1)
            election_note_grant(r, m->from);
    } else if (m->term > r->term) {
        bool asking = r->role == RAFT_PRE_CANDIDATE;
        election_follow(r, m->term, "");
        if (asking) election_pre_campaign(r); /* at once, now that we know the term */
    }
}

void election_on_vote(struct raft *r, const struct raft_message *m)
{
    bool granted;

    if (m->term < r->term || (election_hears_leader(r) && !m->transfer)) {
        election_reply(r, &r->now, m, RAFT_MSG_VOTE_REPLY, r->term, false);
        return;
    }
    if (m->term > r->term) election_follow(r, m->term, "");
    granted =
        (!r->vote[0] || strcmp(r->vote, m->from) == 0) && election_log_is_current(r, m);
    if (!granted) {
        election_reply(r, &r->now, m, RAFT_MSG_VOTE_REPLY, r->term, false);
        return;
    }
    if (!r->vote[0]) {
        raft_copy_id(r->vote, m->from);
        if (!mutation(RAFT_MUT_VOTE_UNSAVED)) durable_save_hard(r);
    }
    if (r->role == RAFT_FOLLOWER) election_wind_timer(r, r->o.heartbeat_ms);
    trace(r, TRACE_VOTED, m->from, r->term, 0);
    election_reply(r, mutation(RAFT_MUT_VOTE_UNSAVED) ? &r->now : &r->after, m,
                   RAFT_MSG_VOTE_REPLY, r->term, true);
}

void election_on_vote_reply(struct raft *r, const struct raft_message *m)
{
    if (m->term > r->term)
        election_follow(r, m->term, "");
    else if (m->term == r->term && m->granted && r->role == RAFT_CANDIDATE)
        election_note_grant(r, m->from);
}
