/* SPDX-License-Identifier: MIT */
/* What a leader knows of one peer: how far its log agrees, what is on the way, when it
 * was heard. */
#include <stdlib.h>
#include <string.h>

#include "core/raft/internal.h"

struct progress *progress_find(struct raft *r, const char *id)
{
    for (size_t i = 0; i < r->peers.n; i++)
        if (strcmp(r->peers.at[i].id, id) == 0) return &r->peers.at[i];
    return NULL;
}

static void progress_init(struct progress *p, const struct raft *r,
                          const struct raft_member *m)
{
    memset(p, 0, sizeof *p);
    raft_copy_id(p->id, m->id);
    p->mode = PROGRESS_PROBE;
    p->mode_ms = r->now_ms;
    p->next = r->log.last + 1; /* a guess; most followers are nearly up to date */
}

void progress_rebuild(struct raft *r)
{
    const struct raft_config *c = member_config(r);
    struct progress *at = calloc(c->n + 1, sizeof *at);
    size_t n = 0;

    if (!at) {
        r->failed = true;
        return;
    }
    for (size_t i = 0; i < c->n; i++) {
        const struct raft_member *m = &c->members[i];
        struct progress *known = progress_find(r, m->id);
        if (strcmp(m->id, r->id) == 0) continue;
        if (known)
            at[n] = *known;
        else
            progress_init(&at[n], r, m);
        at[n++].voter = m->voter;
    }
    free(r->peers.at);
    r->peers.at = at;
    r->peers.n = n;
}

static void progress_clear_flight(struct progress *p)
{
    p->flight_head = p->flight_n = p->flight_bytes = 0;
}

void progress_probe(const struct raft *r, struct progress *p, uint64_t next, bool bare)
{
    p->mode = PROGRESS_PROBE;
    p->mode_ms = r->now_ms;
    p->next = next > p->match ? next : p->match + 1;
    p->retry_ms = 0; /* the pause was for what did not work before */
    p->waiting = false;
    p->bare = bare;
    progress_clear_flight(p);
}

void progress_pipeline(const struct raft *r, struct progress *p)
{
    p->mode = PROGRESS_PIPELINE;
    p->mode_ms = r->now_ms;
    p->waiting = p->bare = false;
}

bool progress_window_open(const struct raft *r, const struct progress *p)
{
    return p->flight_n < INFLIGHT_MAX && p->flight_bytes < r->o.max_inflight_bytes;
}

void progress_sent(struct progress *p, uint64_t last, size_t bytes)
{
    p->flight[(p->flight_head + p->flight_n) % INFLIGHT_MAX] =
        (struct inflight){last, bytes};
    p->flight_n++;
    p->flight_bytes += bytes;
    p->next = last + 1;
}

void progress_match(struct progress *p, uint64_t match)
{
    if (match > p->match) p->match = match;
    if (p->next <= p->match) p->next = p->match + 1;
    while (p->flight_n > 0 && p->flight[p->flight_head].last <= p->match) {
        p->flight_bytes -= p->flight[p->flight_head].bytes;
        p->flight_head = (p->flight_head + 1) % INFLIGHT_MAX;
        p->flight_n--;
    }
}

uint64_t progress_due_ms(const struct raft *r, const struct progress *p)
{
    uint64_t usable = p->next - 1 < r->commit ? p->next - 1 : r->commit;

    /* A commit index that the peer could already use is not kept back for a whole
     * interval. */
    if (p->mode != PROGRESS_SNAPSHOT && p->commit_sent < usable)
        return p->sent_ms + r->o.commit_ms;
    return p->sent_ms + r->interval_ms;
}

bool raft_peer(const struct raft *r, size_t i, struct raft_peer_view *out)
{
    const struct progress *p;
    const struct raft_member *m;

    if (r->role != RAFT_LEADER || i >= r->peers.n) return false;
    p = &r->peers.at[i];
    m = raft_config_find(member_config(r), p->id);
    *out = (struct raft_peer_view){.id = p->id,
                                   .addr = m ? m->addr : "",
                                   .voter = p->voter,
                                   .match = p->match,
                                   .next = p->next,
                                   .last_contact_ms = p->contact_ms,
                                   .snapshotting = p->mode == PROGRESS_SNAPSHOT};
    return true;
}
