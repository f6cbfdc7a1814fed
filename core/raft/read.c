/* SPDX-License-Identifier: MIT */
/*
 * Linearizable reads (dissertation, 6.4).  A read takes a position; every append carries
 * the newest position, its reply echoes it.  Once a majority has echoed a position,
 * nobody else can have committed anything before the reads up to it were asked, so they
 * may run at the commit index of that time.
 */
#include <stdlib.h>
#include <string.h>

#include "core/raft/internal.h"

static void read_answer(struct raft *r, uint64_t id, uint64_t index, bool ok)
{
    if (!raft_room(r, &r->results, &r->cap_results, r->fx->n_reads, sizeof *r->results))
        return;
    r->results[r->fx->n_reads++] = (struct raft_read_result){id, index, ok};
}

void read_ask(struct raft *r, uint64_t id)
{
    /* Until the no-op commits, our commit index may be behind what older leaders
     * committed; the no-op is not (6.4, step 1). */
    uint64_t index = r->commit > r->noop ? r->commit : r->noop;

    if (r->role != RAFT_LEADER) {
        read_answer(r, id, 0, false);
        return;
    }
    if (mutation(RAFT_MUT_READ_UNCONFIRMED)) {
        read_answer(r, id, r->commit, true);
        return;
    }
    if (!raft_room(r, &r->reads, &r->cap_reads, r->n_reads, sizeof *r->reads)) return;
    r->reads[r->n_reads++] = (struct raft_waiting_read){id, ++r->read_position, index};
}

void read_confirm(struct raft *r, uint64_t position)
{
    size_t done = 0;

    if (position > r->read_confirmed) r->read_confirmed = position;
    if (r->commit < r->noop) return; /* no entry of our term has committed yet */
    while (done < r->n_reads && r->reads[done].position <= position) {
        read_answer(r, r->reads[done].id, r->reads[done].index, true);
        done++;
    }
    if (done == 0) return;
    r->n_reads -= done;
    memmove(r->reads, r->reads + done, r->n_reads * sizeof *r->reads);
}

/* One round of heartbeats for all reads that wait; those that come while it is on its way
 * share the next.  Should it be lost, the ordinary heartbeats carry the position, too. */
void read_start_round(struct raft *r)
{
    if (r->n_reads == 0 || r->read_position == r->read_round) return;
    if (r->read_confirmed < r->read_round) return;
    r->read_round = r->read_position;
    for (size_t i = 0; i < r->peers.n; i++) {
        struct progress *p = &r->peers.at[i];
        if (p->voter && p->read_sent < r->read_position) replicate_heartbeat(r, p);
    }
}

void read_fail_all(struct raft *r)
{
    for (size_t i = 0; i < r->n_reads; i++) read_answer(r, r->reads[i].id, 0, false);
    r->n_reads = 0;
}
