/* SPDX-License-Identifier: MIT */
/*
 * What a majority of the voters has in common.  One function computes it for the log
 * (what may commit), for reads (what is confirmed) and for contact (how long the lease
 * runs), so the three can never mean different majorities.
 */
#include <stdlib.h>

#include "core/raft/internal.h"

/* Sort falling.  There are seldom more than seven. */
static void quorum_sort(uint64_t *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t x = v[i];
        size_t j = i;
        for (; j > 0 && v[j - 1] < x; j--) v[j] = v[j - 1];
        v[j] = x;
    }
}

struct quorum quorum_reached(const struct raft *r)
{
    uint64_t match[RAFT_MEMBERS_MAX], read[RAFT_MEMBERS_MAX], contact[RAFT_MEMBERS_MAX];
    size_t n = 0, needed;

    if (member_is_voter(
            r, r->id)) { /* a leader that is removing itself does not count itself */
        match[n] = r->durable;
        read[n] = r->read_position;
        contact[n++] = r->now_ms;
    }
    for (size_t i = 0; i < r->peers.n; i++) {
        const struct progress *p = &r->peers.at[i];
        if (!p->voter) continue;
        match[n] = p->match;
        read[n] = p->read;
        contact[n++] = p->contact_ms > r->since_ms ? p->contact_ms : r->since_ms;
    }
    if (n == 0) return (struct quorum){0};
    quorum_sort(match, n);
    quorum_sort(read, n);
    quorum_sort(contact, n);
    needed = n / 2 + 1;
    return (struct quorum){match[needed - 1], read[needed - 1], contact[needed - 1]};
}
