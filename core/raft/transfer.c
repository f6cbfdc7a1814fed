/* SPDX-License-Identifier: MIT */
/*
 * Handing leadership over (dissertation, 3.10): stop taking proposals, bring the
 * successor up to date, tell it to campaign at once.  If that has not worked within an
 * election timeout, carry on as before.
 */
#include <string.h>

#include "core/raft/internal.h"

bool transfer_active(const struct raft *r)
{
    return r->transfer.to[0] != 0;
}

/* The voter that would need the least; among equals, the one that was heard last. */
static struct progress *transfer_best(struct raft *r)
{
    struct progress *best = NULL;

    for (size_t i = 0; i < r->peers.n; i++) {
        struct progress *p = &r->peers.at[i];
        if (!p->voter) continue;
        if (!best || p->match > best->match ||
            (p->match == best->match && p->contact_ms > best->contact_ms))
            best = p;
    }
    return best;
}

enum err transfer_start(struct raft *r, const char *to)
{
    struct progress *p;

    if (r->role != RAFT_LEADER) return ERR_NOT_LEADER;
    if (transfer_active(r)) return ERR_TRANSFER;
    if (to && strcmp(to, r->id) == 0) return ERR_INVALID;
    p = to ? progress_find(r, to) : transfer_best(r);
    if (!p) return ERR_NOT_FOUND;
    if (!p->voter) return ERR_INVALID;
    raft_copy_id(r->transfer.to, p->id);
    r->transfer.deadline_ms = r->now_ms + r->o.election_ms;
    r->transfer.told_ms = 0;
    trace(r, TRACE_TRANSFER, p->id, r->term, p->match);
    return ERR_OK;
}

void transfer_end(struct raft *r, bool done)
{
    trace(r, TRACE_TRANSFER_ENDED, r->transfer.to, done, r->term);
    r->fx->transfer = done ? RAFT_TRANSFER_DONE : RAFT_TRANSFER_FAILED;
    r->transfer.to[0] = 0;
}

void transfer_settle(struct raft *r)
{
    struct progress *p;

    if (!transfer_active(r)) return;
    p = progress_find(r, r->transfer.to);
    if (!p || !p->voter || r->now_ms >= r->transfer.deadline_ms) {
        transfer_end(r, false);
        return;
    }
    if (p->match < r->log.last) return;
    if (r->transfer.told_ms > 0 && r->now_ms - r->transfer.told_ms < r->interval_ms)
        return;
    raft_post(r, &r->now, RAFT_MSG_TIMEOUT_NOW, p->id);
    r->transfer.told_ms = r->now_ms > 0 ? r->now_ms : 1;
}

void transfer_farewell(struct raft *r)
{
    struct progress *p = transfer_best(r);

    if (p && p->match == r->log.last) raft_post(r, &r->now, RAFT_MSG_TIMEOUT_NOW, p->id);
}

void transfer_on_timeout_now(struct raft *r, const struct raft_message *m)
{
    if (r->role != RAFT_FOLLOWER || strcmp(r->leader, m->from) != 0) return;
    if (!member_is_voter(r, r->id)) return;
    trace(r, TRACE_TIMEOUT_NOW, m->from, r->term, 0);
    election_campaign(r, true);
}
