/* SPDX-License-Identifier: MIT */
/*
 * Our own disk: which ticket covers which end of the log, and how far the log is durable.
 *
 * A later step may cut off what an earlier one wrote while that write is still on its
 * way.  When its ticket then comes back, it must not vouch for the new entries at the
 * same indexes, so a cut also lowers what every ticket under way stands for.
 */
#include <stdlib.h>

#include "core/raft/internal.h"

uint64_t durable_write(struct raft *r)
{
    r->writes = true;
    return r->ticket + 1;
}

uint64_t durable_save_hard(struct raft *r)
{
    r->saves_hard = true;
    return durable_write(r);
}

static struct raft_unsynced *durable_at(struct raft *r, size_t i)
{
    return &r->unsynced[(r->unsynced_head + i) % r->cap_unsynced];
}

static bool durable_room(struct raft *r)
{
    size_t cap = r->cap_unsynced ? r->cap_unsynced * 2 : 16;
    struct raft_unsynced *ring;

    if (r->n_unsynced < r->cap_unsynced) return true;
    ring = malloc(cap * sizeof *ring);
    if (!ring) return false;
    for (size_t i = 0; i < r->n_unsynced; i++) ring[i] = *durable_at(r, i);
    free(r->unsynced);
    r->unsynced = ring;
    r->cap_unsynced = cap;
    r->unsynced_head = 0;
    return true;
}

bool durable_end_step(struct raft *r)
{
    if (!r->writes) return true;
    if (!durable_room(r)) return false;
    r->ticket++;
    if (r->saves_hard) r->hard_ticket = r->ticket;
    *durable_at(r, r->n_unsynced) = (struct raft_unsynced){r->ticket, r->log.last};
    r->n_unsynced++;
    return true;
}

void durable_synced(struct raft *r, uint64_t ticket)
{
    if (ticket > r->ticket) ticket = r->ticket;
    if (ticket > r->synced) r->synced = ticket;
    while (r->n_unsynced > 0 && durable_at(r, 0)->ticket <= ticket) {
        if (durable_at(r, 0)->last > r->durable) r->durable = durable_at(r, 0)->last;
        r->unsynced_head = (r->unsynced_head + 1) % r->cap_unsynced;
        r->n_unsynced--;
    }
}

void durable_cut(struct raft *r, uint64_t last)
{
    if (r->durable > last) r->durable = last;
    for (size_t i = 0; i < r->n_unsynced; i++)
        if (durable_at(r, i)->last > last) durable_at(r, i)->last = last;
}

void durable_reset(struct raft *r, uint64_t index)
{
    durable_cut(r, index);
    r->durable = index;
}
