/* SPDX-License-Identifier: MIT */
/* What must hold after every step (Raft paper, figure 3), seen from outside. */
#include <stdlib.h>
#include <string.h>

#include "core/base/crc32c.h"
#include "tests/sim/sim.h"

static uint64_t content_of(const struct raft_entry *e)
{
    uint32_t crc = e->payload ? crc32c(0, e->payload->data, e->payload->len) : 0;

    return (uint64_t)e->type << 56 ^ (uint64_t)(e->payload ? e->payload->len : 0) << 32 ^
           crc;
}

static struct slot *slot_at(struct sim *w, uint64_t index)
{
    if (index >= w->cap_slots) {
        size_t cap = (size_t)index * 2 + 1024;

        w->slots = realloc(w->slots, cap * sizeof *w->slots);
        CHECK(w->slots != NULL);
        memset(w->slots + w->cap_slots, 0, (cap - w->cap_slots) * sizeof *w->slots);
        w->cap_slots = cap;
    }
    return &w->slots[index];
}

/* Log matching: an index and a term name one entry and, through its predecessor, all
 * before it. */
static void check_entry(struct host *h, const struct raft_entry *e, uint64_t prev_term)
{
    struct sim *w = h->w;
    struct slot *at = slot_at(w, e->index);
    uint64_t content = content_of(e);

    for (size_t i = 0; i < at->n; i++) {
        if (at->known[i].term != e->term) continue;
        if (at->known[i].content != content)
            sim_violated(
                w, "log matching: %s has another entry %" PRIu64 " of term %" PRIu64,
                h->id, e->index, e->term);
        if (prev_term && at->known[i].prev_term && at->known[i].prev_term != prev_term)
            sim_violated(w, "log matching: %s has another entry before %" PRIu64, h->id,
                         e->index);
        return;
    }
    if (at->n == at->cap) {
        at->cap = at->cap ? at->cap * 2 : 2;
        at->known = realloc(at->known, at->cap * sizeof *at->known);
        CHECK(at->known != NULL);
    }
    at->known[at->n++] = (struct known){e->term, prev_term, content};
}

/* Pre-vote: who raises the term on its own account has been encouraged by a majority. */
static void check_campaign(struct host *h, uint64_t term)
{
    const struct raft_config *c = raft_config(h->raft);
    const struct raft_member *self = raft_config_find(c, h->id);
    size_t grants = self && self->voter;

    if (h->told || (grants == 1 && raft_config_voters(c) == 1)) return;
    for (int from = 1; from <= HOSTS; from++) {
        const struct raft_member *m = raft_config_find(c, h->w->hosts[from - 1].id);
        bool granted = false;

        for (size_t i = 0; i < h->n_grants && i < GRANTS; i++)
            granted |= h->grants[i].term == term && h->grants[i].from == from;
        grants += granted && m && m->voter;
    }
    if (grants <= raft_config_voters(c) / 2)
        sim_violated(h->w, "pre-vote: %s campaigns for term %" PRIu64 " with %zu of %zu",
                     h->id, term, grants, raft_config_voters(c));
}

void check_persist(struct host *h, const struct wal_job *j)
{
    uint64_t prev_term = 0;

    if (j->truncate_from && j->truncate_from <= h->commit)
        sim_violated(h->w, "%s cuts off %" PRIu64 ", which it had committed", h->id,
                     j->truncate_from);
    if (j->save_hard && j->term > h->term && strcmp(j->vote, h->id) == 0)
        check_campaign(h, j->term);
    if (j->save_hard && j->term < h->term)
        sim_violated(h->w, "%s goes back to term %" PRIu64, h->id, j->term);
    if (j->save_hard) h->term = j->term;
    for (size_t i = 0; i < j->n_entries; i++) {
        if (i == 0) prev_term = raft_term_of(h->raft, j->entries[0].index - 1);
        check_entry(h, &j->entries[i], prev_term);
        prev_term = j->entries[i].term;
    }
}

/* State-machine safety: nobody commits something else at an index. */
static void check_commit(struct host *h)
{
    struct sim *w = h->w;
    uint64_t commit = raft_commit(h->raft);

    if (commit < h->commit)
        sim_violated(w, "%s takes its commit index back from %" PRIu64 " to %" PRIu64,
                     h->id, h->commit, commit);
    for (uint64_t i = h->commit + 1; i <= commit; i++) {
        struct slot *at = slot_at(w, i);
        uint64_t term = raft_term_of(h->raft, i);

        if (term == 0) { /* inside a snapshot */
            if (!at->committed)
                sim_violated(w, "%s skips %" PRIu64 ", uncommitted", h->id, i);
        } else if (!at->committed) {
            at->committed = true;
            at->term = term;
            at->commit_term = raft_term(h->raft);
            for (size_t k = 0; k < at->n; k++)
                if (at->known[k].term == term) at->content = at->known[k].content;
            w->stats.commits++;
        } else if (at->term != term) {
            sim_violated(w,
                         "state machine safety: %s commits %" PRIu64 " of term %" PRIu64
                         ", it was of term %" PRIu64,
                         h->id, i, term, at->term);
        }
    }
    h->commit = commit;
    if (commit > w->max_commit) w->max_commit = commit;
}

/* Election safety, and leader completeness. */
static void check_leader(struct host *h)
{
    struct sim *w = h->w;
    uint64_t term = raft_term(h->raft);

    if (term >= TERMS_MAX) {
        sim_violated(w, "terms explode: %s is in term %" PRIu64, h->id, term);
        return;
    }
    if (w->leader_of[term] == h->number) return;
    if (w->leader_of[term])
        sim_violated(w, "election safety: %s and %d lead in term %" PRIu64, h->id,
                     w->leader_of[term], term);
    w->stats.elections++;
    w->leader_of[term] = h->number;
    chaos_elected(h);
    for (uint64_t i = raft_snapshot_index(h->raft) + 1; i <= w->max_commit; i++) {
        const struct slot *at = slot_at(w, i);

        /* Elected late, it need not have what newer leaders have committed meanwhile. */
        if (!at->committed || at->commit_term >= term) continue;
        if (raft_term_of(h->raft, i) != at->term)
            sim_violated(w,
                         "leader completeness: %s leads term %" PRIu64 " without %" PRIu64
                         " of term %" PRIu64,
                         h->id, term, i, at->term);
    }
}

void check_turn(struct host *h)
{
    check_commit(h);
    if (raft_role(h->raft) == RAFT_LEADER) check_leader(h);
    if (member_applied_index(h->member) > raft_commit(h->raft) &&
        member_applied_index(h->member) > raft_snapshot_index(h->raft))
        sim_violated(h->w, "%s has applied %" PRIu64 ", but committed %" PRIu64, h->id,
                     member_applied_index(h->member), raft_commit(h->raft));
}

/* What goes into the state machine is what was committed, one after the other. */
void check_apply(struct host *h, const struct apply_job *job)
{
    struct sim *w = h->w;

    for (size_t i = 0; i < job->n; i++) {
        const struct raft_entry *e = &job->items[i].entry;
        const struct slot *at = slot_at(w, e->index);

        if (!at->committed)
            sim_violated(w, "%s applies %" PRIu64 ", uncommitted", h->id, e->index);
        else if (at->term != e->term || at->content != content_of(e))
            sim_violated(w, "state machine safety: %s applies something else at %" PRIu64,
                         h->id, e->index);
    }
}

/* Who has applied the same has the same. */
void check_applied(struct host *h, uint64_t index, uint64_t hash)
{
    struct slot *at = slot_at(h->w, index);

    if (at->hashed && at->hash != hash)
        sim_violated(h->w, "state machine safety: %s has other effects at %" PRIu64,
                     h->id, index);
    if (index < h->applied)
        sim_violated(h->w, "%s goes back from %" PRIu64 " to %" PRIu64, h->id, h->applied,
                     index);
    at->hashed = true;
    at->hash = hash;
    h->applied = index;
}

void check_content(struct host *h, uint64_t index)
{
    struct slot *at = slot_at(h->w, index);
    uint64_t dump = client_dump(h);

    if (at->dumped && at->dump != dump)
        sim_violated(h->w, "%s has other content at %" PRIu64, h->id, index);
    at->dumped = true;
    at->dump = dump;
}

void check_free(struct sim *w)
{
    for (size_t i = 0; i < w->cap_slots; i++) free(w->slots[i].known);
    free(w->slots);
}
