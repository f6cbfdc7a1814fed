/* SPDX-License-Identifier: MIT */
/*
 * Snapshots, as far as Raft is concerned: (index, term, configuration).  The bytes travel
 * outside.
 *
 *     leader                                   follower
 *     RAFT_MSG_SNAPSHOT, effect snapshots ---> effect install_snapshot
 *     ... the callers stream ...
 *     RAFT_SNAPSHOT_SENT                       RAFT_SNAPSHOT_INSTALLED
 *                          <------------------ RAFT_MSG_SNAPSHOT_REPLY
 */
#include <string.h>

#include "core/raft/internal.h"

/* --- the leader --------------------------------------------------------------------- */

/* How long, in heartbeat timeouts, a streamed snapshot may take to show in the follower's
 * answers. */
enum { SNAPSHOT_PATIENCE = 10 };

void snapshot_wanted(struct raft *r, struct progress *p)
{
    trace(r, TRACE_SNAPSHOT_WANTED, p->id, p->next, r->log.base + 1);
    progress_probe(r, p, p->next, true); /* forget what is under way */
    p->mode = PROGRESS_SNAPSHOT;
    replicate_heartbeat(r, p);
}

/* It has answered since, so it is there, and does need one: the answer gave its commit
 * index. */
static bool snapshot_is_called_for(const struct raft *r, const struct progress *p)
{
    return p->contact_ms >= p->mode_ms && r->now_ms - p->contact_ms <= r->o.heartbeat_ms;
}

void snapshot_push(struct raft *r, struct progress *p)
{
    struct raft_message *m;

    if (p->streaming || r->now_ms < p->retry_ms || r->log.snap_index == 0) return;
    if (!snapshot_is_called_for(r, p)) return;
    if (!raft_room(r, &r->sends, &r->cap_sends, r->fx->n_snapshots, sizeof *r->sends))
        return;
    m = raft_post(r, &r->now, RAFT_MSG_SNAPSHOT, p->id);
    if (!m) return;
    m->snap_index = r->log.snap_index;
    m->snap_term = r->log.snap_term;
    m->sent_ms = p->sent_ms = r->now_ms;
    m->read = p->read_sent = r->read_position;
    r->sends[r->fx->n_snapshots++] = (struct raft_send_snapshot){p->id, r->log.base};
    p->streaming = true;
}

void snapshot_on_sent(struct raft *r, const char *peer, uint64_t index, bool ok)
{
    struct progress *p = r->role == RAFT_LEADER ? progress_find(r, peer) : NULL;

    if (!p || !p->streaming) return;
    p->streaming = false;
    /* Its answer was quicker; it may even need the next one already. */
    if (p->mode != PROGRESS_SNAPSHOT || (ok && p->match >= index)) return;
    /* What it holds is for itself to say: its next answer does, or we try again. */
    p->retry_ms = r->now_ms +
                  (ok ? (uint64_t)SNAPSHOT_PATIENCE * r->o.heartbeat_ms : r->interval_ms);
}

void snapshot_on_reply(struct raft *r, struct progress *p, const struct raft_message *m)
{
    if (!m->accepted) return;
    progress_match(p, m->match);
    if (p->mode != PROGRESS_SNAPSHOT || !log_knows(&r->log, p->match)) return;
    progress_probe(r, p, p->match + 1, false);
    progress_pipeline(r, p);
}

/* --- the follower ------------------------------------------------------------------- */

static void snapshot_reply(struct raft *r, const char *to, uint64_t sent_ms,
                           uint64_t read)
{
    struct raft_message *m = raft_post(r, &r->after, RAFT_MSG_SNAPSHOT_REPLY, to);

    if (!m) return;
    m->accepted = true;
    m->match = r->commit;
    m->sent_ms = sent_ms;
    m->read = read;
    m->hash_index = r->applied;
    m->hash = r->hash;
}

void snapshot_on_offer(struct raft *r, const struct raft_message *m)
{
    election_heard_leader(r, m->from);
    if (m->snap_index <= r->commit) {
        snapshot_reply(r, m->from, m->sent_ms, m->read);
        return;
    }
    trace(r, TRACE_SNAPSHOT_OFFERED, m->from, m->snap_index, m->snap_term);
    r->fx->install_snapshot = true;
    raft_copy_id(r->fx->offered.from, m->from);
    r->fx->offered.index = m->snap_index;
    r->fx->offered.term = m->snap_term;
}

/* --- our own ------------------------------------------------------------------------ */

static void snapshot_drop_upto(struct raft *r, uint64_t base)
{
    if (base <= r->log.base) return;
    log_drop_upto(&r->log, base);
    durable_write(r);
    r->fx->drop_before = base + 1;
}

/* The log holds (index, term), which is committed: it goes on, from a later start. */
static void snapshot_adopt(struct raft *r, uint64_t index, uint64_t term,
                           uint64_t trailing)
{
    if (index > r->log.snap_index) {
        r->log.snap_index = index;
        r->log.snap_term = term;
        member_forget_before(r, index);
    }
    snapshot_drop_upto(r, index > trailing ? index - trailing : 0);
}

void snapshot_on_taken(struct raft *r, const struct raft_event *e)
{
    uint64_t index = e->u.snapshot.index, term = e->u.snapshot.term;

    if (index > r->commit || index < r->log.snap_index ||
        log_term(&r->log, index) != term)
        return;
    snapshot_adopt(r, index, term, e->u.snapshot.trailing);
    trace(r, TRACE_SNAPSHOT_TAKEN, "", index, r->log.base + 1);
}

void snapshot_on_installed(struct raft *r, const struct raft_event *e)
{
    uint64_t index = e->u.snapshot.index, term = e->u.snapshot.term;

    if (term > r->term) election_follow(r, term, ""); /* it came before any message */
    if (r->role == RAFT_LEADER || index == 0 || index <= r->log.snap_index) return;
    if (index <= r->commit || log_term(&r->log, index) == term) {
        if (log_term(&r->log, index) != term) return; /* contradicts what is committed */
        snapshot_adopt(r, index, term, 0);
    } else {
        trace(r, TRACE_RESET, "", index, term);
        log_reset(&r->log, index, term);
        durable_reset(r, index);
        durable_write(r);
        r->fx->reset_log = true;
        r->fx->reset_index = index;
        r->fx->reset_term = term;
        if (!member_reset(r, e->u.snapshot.config)) return;
    }
    trace(r, TRACE_SNAPSHOT_INSTALLED, "", index, term);
    raft_commit_to(r, index);
    if (index > r->durable)
        r->durable = index; /* the snapshot is; what the log lacks it holds */
    if (r->leader[0]) snapshot_reply(r, r->leader, 0, 0);
}
