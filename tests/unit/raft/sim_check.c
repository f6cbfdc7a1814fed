/* SPDX-License-Identifier: MIT */
/* What must hold after every step (paper, figure 3), seen from outside: through effects
 * and views. */
#include "tests/unit/raft/sim.h"

static void sim_violated(struct sim *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void sim_violated(struct sim *w, const char *fmt, ...)
{
    va_list args;
    int n;

    if (w->violation[0]) return;
    n = snprintf(w->violation, sizeof w->violation, "%" PRIu64 "ms: ", w->now);
    va_start(args, fmt);
    vsnprintf(w->violation + n, sizeof w->violation - (size_t)n, fmt, args);
    va_end(args);
}

static uint64_t sim_mix(uint64_t h, uint64_t x)
{
    h ^= x + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 33);
}

static uint64_t sim_content(uint8_t type, const struct blob *payload)
{
    uint64_t h = type;

    for (uint32_t i = 0; payload && i < payload->len; i++)
        h = sim_mix(h, payload->data[i]);
    return h;
}

static struct sim_index *sim_at(struct sim *w, uint64_t index)
{
    if (index >= w->cap_index) {
        size_t cap = (size_t)index * 2 + 1024;
        w->index = realloc(w->index, cap * sizeof *w->index);
        sim_must(w->index != NULL);
        memset(w->index + w->cap_index, 0, (cap - w->cap_index) * sizeof *w->index);
        w->cap_index = cap;
    }
    return &w->index[index];
}

/* Log matching: an index and a term name one entry and, through its predecessor, all
 * before it. */
static void check_entry(struct sim *w, const struct sim_node *n,
                        const struct raft_entry *e)
{
    struct sim_index *at = sim_at(w, e->index);
    uint64_t prev_term = raft_term_of(n->r, e->index - 1);
    uint64_t content = sim_content(e->type, e->payload);

    for (size_t i = 0; i < at->n; i++) {
        if (at->known[i].term != e->term) continue;
        if (at->known[i].content != content)
            sim_violated(
                w, "log matching: %s has another entry %" PRIu64 " of term %" PRIu64,
                n->id, e->index, e->term);
        if (prev_term && at->known[i].prev_term && at->known[i].prev_term != prev_term)
            sim_violated(w, "log matching: %s has another entry before %" PRIu64, n->id,
                         e->index);
        return;
    }
    if (at->n == at->cap) {
        at->cap = at->cap ? at->cap * 2 : 2;
        at->known = realloc(at->known, at->cap * sizeof *at->known);
        sim_must(at->known != NULL);
    }
    at->known[at->n++] = (struct sim_known){e->term, prev_term, content};
}

/* State-machine safety: nobody commits something else at an index. */
static void check_commit(struct sim *w, struct sim_node *n)
{
    uint64_t commit = raft_commit(n->r);

    if (commit < n->commit)
        sim_violated(w, "%s takes its commit index back from %" PRIu64 " to %" PRIu64,
                     n->id, n->commit, commit);
    for (uint64_t i = n->commit + 1; i <= commit; i++) {
        struct sim_index *at = sim_at(w, i);
        uint64_t term = raft_term_of(n->r, i);
        if (term == 0) { /* inside a snapshot */
            if (!at->committed)
                sim_violated(w, "%s skips %" PRIu64 ", uncommitted", n->id, i);
        } else if (!at->committed) {
            at->committed = true;
            at->term = term;
            at->commit_term = raft_term(n->r);
            for (size_t k = 0; k < at->n; k++)
                if (at->known[k].term == term) at->content = at->known[k].content;
            at->hash = sim_mix(sim_at(w, i - 1)->hash, sim_at(w, i)->content);
            w->commits++;
        } else if (at->term != term) {
            sim_violated(w,
                         "state machine safety: %s commits %" PRIu64 " of term %" PRIu64
                         ", it was of term %" PRIu64,
                         n->id, i, term, at->term);
        }
    }
    n->commit = commit;
    if (commit > w->max_commit) w->max_commit = commit;
}

/* Election safety, and leader completeness. */
static void check_leader(struct sim *w, struct sim_node *n)
{
    uint64_t term = raft_term(n->r);
    int me = (int)(n - w->nodes) + 1;

    if (term >= sizeof w->leader_of / sizeof w->leader_of[0]) {
        sim_violated(w, "terms explode: %s is in term %" PRIu64, n->id, term);
        return;
    }
    if (w->leader_of[term] && w->leader_of[term] != me)
        sim_violated(w, "election safety: %s and %s lead in term %" PRIu64, n->id,
                     w->nodes[w->leader_of[term] - 1].id, term);
    if (!w->leader_of[term]) w->elections++;
    w->leader_of[term] = me;
    for (uint64_t i = raft_snapshot_index(n->r) + 1; i <= w->max_commit; i++) {
        const struct sim_index *at = sim_at(w, i);
        /* Elected late, it need not have what newer leaders have committed meanwhile. */
        if (!at->committed || at->commit_term >= term) continue;
        if (raft_term_of(n->r, i) != at->term)
            sim_violated(w,
                         "leader completeness: %s leads term %" PRIu64 " without %" PRIu64
                         " of term %" PRIu64,
                         n->id, term, i, at->term);
    }
}

/* Pre-vote: who raises the term on its own account has been encouraged by a majority. */
static void check_campaign(struct sim *w, struct sim_node *n, const struct raft_config *c,
                           bool told, uint64_t term)
{
    const struct raft_member *self = raft_config_find(c, n->id);
    size_t grants = self && self->voter;

    if (told || (grants == 1 && raft_config_voters(c) == 1)) return;
    for (int from = 0; from < SIM_NODES; from++) {
        const struct raft_member *m = raft_config_find(c, w->nodes[from].id);
        bool granted = false;
        for (size_t i = 0; i < n->n_grants && i < SIM_GRANTS; i++)
            granted |= n->grants[i].term == term && n->grants[i].from == from;
        grants += granted && m && m->voter;
    }
    if (grants <= raft_config_voters(c) / 2)
        sim_violated(w, "pre-vote: %s campaigns for term %" PRIu64 " with %zu of %zu",
                     n->id, term, grants, raft_config_voters(c));
}

/* Linearizability of reads: what had committed when one was asked is visible to it. */
static void check_read(struct sim *w, struct sim_node *n,
                       const struct raft_read_result *read)
{
    for (size_t i = 0; i < n->n_reads; i++) {
        if (n->reads[i].id != read->id) continue;
        if (read->ok && read->index < n->reads[i].floor)
            sim_violated(w,
                         "stale read: %s reads at %" PRIu64 ", but %" PRIu64
                         " had committed before",
                         n->id, read->index, n->reads[i].floor);
        w->reads_ok += read->ok;
        n->reads[i] = n->reads[--n->n_reads];
        return;
    }
    sim_violated(w, "%s answers a read nobody asked: %" PRIu64, n->id, read->id);
}

static void check_effects(struct sim *w, struct sim_node *n,
                          const struct raft_effects *fx)
{
    if (fx->out_of_memory) sim_violated(w, "%s is out of memory", n->id);
    if (fx->ticket < n->ticket) sim_violated(w, "%s: ticket goes back", n->id);
    if (fx->apply_to < n->apply_to)
        sim_violated(w, "%s: apply_to goes back from %" PRIu64 " to %" PRIu64, n->id,
                     n->apply_to, fx->apply_to);
    if (fx->apply_to > raft_commit(n->r))
        sim_violated(w, "%s applies the uncommitted", n->id);
    if (fx->apply_to > n->disk.last && fx->apply_to > n->disk.snapshot.index)
        sim_violated(w, "%s applies %" PRIu64 ", which its disk does not have", n->id,
                     fx->apply_to);
    if (fx->truncate_from && fx->truncate_from <= n->commit)
        sim_violated(w, "%s cuts off %" PRIu64 ", which it had committed", n->id,
                     fx->truncate_from);
    for (size_t i = 0; i < fx->n_append; i++) check_entry(w, n, &fx->append[i]);
    for (size_t i = 0; i < fx->n_reads; i++) check_read(w, n, &fx->reads[i]);
    n->apply_to = fx->apply_to;
}
