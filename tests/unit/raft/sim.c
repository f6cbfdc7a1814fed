/* SPDX-License-Identifier: MIT */
/* The world around the machines: events in order of time, a bad network, chaos, then
 * calm. */
#include "tests/unit/raft/sim.h"
#include "tests/unit/raft/sim_disk.c"
#include "tests/unit/raft/sim_check.c"

static bool sim_chance(struct sim *w, uint32_t per_mille)
{
    return rand_below(&w->rand, 1000) < per_mille;
}

/* --- events in order ---------------------------------------------------------------- */

static bool sim_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void sim_post(struct sim *w, uint64_t delay_ms, struct sim_event e)
{
    size_t i = w->n_heap;

    if (w->n_heap == w->cap_heap) {
        w->cap_heap = w->cap_heap ? w->cap_heap * 2 : 1024;
        w->heap = realloc(w->heap, w->cap_heap * sizeof *w->heap);
        sim_must(w->heap != NULL);
    }
    e.at = w->now + delay_ms;
    e.order = w->order++;
    w->n_heap++;
    for (; i > 0 && sim_before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct sim_event sim_pop(struct sim *w)
{
    struct sim_event first = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < w->n_heap) {
        if (child + 1 < w->n_heap && sim_before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!sim_before(&w->heap[child], &last)) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return first;
}

static void sim_free_message(struct raft_message *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->n_entries; i++) blob_unref(m->entries[i].payload);
    free(m->entries);
    free(m);
}

static void sim_free_snapshot(struct sim_snapshot *s)
{
    if (!s) return;
    raft_config_fini(&s->config);
    free(s);
}

static struct sim_snapshot *sim_copy_snapshot(const struct sim_snapshot *s)
{
    struct sim_snapshot *copy = calloc(1, sizeof *copy);

    sim_must(copy != NULL);
    *copy = (struct sim_snapshot){.index = s->index, .term = s->term, .hash = s->hash};
    sim_must(raft_config_copy(&copy->config, &s->config) == ERR_OK);
    return copy;
}

static struct raft_message *sim_copy_message(const struct raft_message *m)
{
    struct raft_message *copy = malloc(sizeof *copy);

    sim_must(copy != NULL);
    *copy = *m;
    copy->entries = calloc(m->n_entries + 1, sizeof *copy->entries);
    sim_must(copy->entries != NULL);
    for (size_t i = 0; i < m->n_entries; i++) {
        copy->entries[i] = m->entries[i];
        blob_ref(copy->entries[i].payload);
    }
    return copy;
}

static int sim_find(const struct sim *w, const char *id)
{
    for (int i = 0; i < SIM_NODES; i++)
        if (strcmp(w->nodes[i].id, id) == 0) return i;
    return -1;
}

/* --- network ------------------------------------------------------------------------ */

static void sim_send(struct sim *w, const struct raft_message *m)
{
    int from = sim_find(w, m->from), to = sim_find(w, m->to);
    int copies = 1 + (w->duplicate && sim_chance(w, w->duplicate));

    if (from < 0 || to < 0) {
        sim_violated(w, "a message from %s to %s", m->from, m->to);
        return;
    }
    if (w->cut[from][to] || (w->loss && sim_chance(w, w->loss))) return;
    for (int i = 0; i < copies; i++) {
        uint64_t delay = rand_below(&w->rand, w->delay_ms + 1);
        if (sim_chance(w, 10)) delay *= 10;
        sim_post(w, delay,
                 (struct sim_event){.kind = SIM_MESSAGE,
                                    .node = to,
                                    .peer = from,
                                    .message = sim_copy_message(m)});
    }
}

static void sim_hold(struct sim_node *n, uint64_t ticket, const struct raft_message *m)
{
    sim_must(n->n_held < sizeof n->held / sizeof n->held[0]);
    n->held[n->n_held++] = (struct sim_held){ticket, sim_copy_message(m)};
}

static void sim_release(struct sim *w, struct sim_node *n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n->n_held; i++) {
        if (n->held[i].ticket > n->disk.synced) {
            n->held[kept++] = n->held[i];
            continue;
        }
        sim_send(w, n->held[i].message);
        sim_free_message(n->held[i].message);
    }
    n->n_held = kept;
}

/* --- one step of one node ----------------------------------------------------------- */

static void sim_start_sync(struct sim *w, int i)
{
    struct sim_disk *d = &w->nodes[i].disk;
    struct sim_write *last = d->pending;

    if (d->syncing || !last) return;
    while (last->next) last = last->next;
    d->syncing = true;
    sim_post(w, rand_below(&w->rand, w->sync_ms + 1),
             (struct sim_event){.kind = SIM_SYNC,
                                .node = i,
                                .life = w->nodes[i].life,
                                .ticket = last->ticket});
}

static void sim_set_timer(struct sim *w, int i, uint64_t late_ms)
{
    struct sim_node *n = &w->nodes[i];

    n->timer_at = n->deadline;
    sim_post(
        w, (n->deadline > w->now ? n->deadline - w->now : 0) + late_ms,
        (struct sim_event){
            .kind = SIM_TIMER, .node = i, .life = n->life, .ticket = ++n->timer_serial});
}

static void sim_effects(struct sim *w, int i, const struct raft_effects *fx)
{
    struct sim_node *n = &w->nodes[i];

    for (size_t k = 0; k < fx->n_send_now; k++) sim_send(w, &fx->send_now[k]);
    if (fx->ticket > n->ticket) disk_post(&n->disk, fx);
    n->ticket = fx->ticket;
    for (size_t k = 0; k < fx->n_send_after; k++) {
        if (n->disk.synced >= fx->ticket)
            sim_send(w, &fx->send_after[k]);
        else
            sim_hold(n, fx->ticket, &fx->send_after[k]);
    }
    sim_start_sync(w, i);
    if (fx->apply_to > n->applied && !n->applying) {
        n->applying = true;
        sim_post(w, rand_below(&w->rand, 4),
                 (struct sim_event){.kind = SIM_APPLY, .node = i, .life = n->life});
    }
    for (size_t k = 0; k < fx->n_loads; k++)
        sim_post(w, rand_below(&w->rand, 5),
                 (struct sim_event){.kind = SIM_LOAD,
                                    .node = i,
                                    .life = n->life,
                                    .ticket = n->ticket,
                                    .peer = sim_find(w, fx->loads[k].peer),
                                    .from = fx->loads[k].from,
                                    .max_bytes = fx->loads[k].max_bytes});
    for (size_t k = 0; k < fx->n_snapshots; k++) {
        int peer = sim_find(w, fx->snapshots[k].peer);
        bool ok = !w->cut[i][peer] && (w->calm || sim_chance(w, 800));
        if (n->disk.snapshot.index < fx->snapshots[k].min_index)
            sim_violated(w, "%s wants to send a snapshot it does not have", n->id);
        sim_post(w, 5 + rand_below(&w->rand, 200),
                 (struct sim_event){.kind = SIM_ARRIVED,
                                    .node = peer,
                                    .life = n->life,
                                    .peer = i,
                                    .snapshot = sim_copy_snapshot(&n->disk.snapshot),
                                    .ok = ok});
    }
    n->deadline =
        fx->deadline_ms == UINT64_MAX ? UINT64_MAX : fx->deadline_ms - n->clock_offset;
    if (n->deadline < n->timer_at) sim_set_timer(w, i, rand_below(&w->rand, 3));
}

static enum err sim_step(struct sim *w, int i, struct raft_event *e)
{
    struct sim_node *n = &w->nodes[i];
    struct raft_effects fx;
    struct raft_config before = {0};
    uint64_t term = raft_term(n->r);
    bool told = e->type == RAFT_MESSAGE && e->u.message->type == RAFT_MSG_TIMEOUT_NOW;

    sim_must(raft_config_copy(&before, raft_config(n->r)) == ERR_OK);
    e->now_ms = w->now + n->clock_offset;
    raft_step(n->r, e, &fx);
    w->steps++;
    check_effects(w, n, &fx);
    check_commit(w, n);
    if (fx.role_changed && raft_role(n->r) == RAFT_LEADER) {
        check_leader(w, n);
        if (!w->calm && w->change > 0 && sim_chance(w, 500))
            sim_post(w, rand_below(&w->rand, 3),
                     (struct sim_event){.kind = SIM_CHANGE, .node = i, .life = n->life});
    }
    if (fx.save_hard && strcmp(fx.vote, n->id) == 0 && fx.term > term)
        check_campaign(w, n, e->type == RAFT_MESSAGE ? &before : raft_config(n->r), told,
                       fx.term);
    if (fx.transfer == RAFT_TRANSFER_DONE) w->transfers++;
    raft_config_fini(&before);
    sim_effects(w, i, &fx);
    return fx.refused;
}

/* --- life and death ----------------------------------------------------------------- */

static void sim_start(struct sim *w, int i)
{
    struct sim_node *n = &w->nodes[i];
    struct sim_disk *d = &n->disk;
    struct raft_options o = {.id = n->id,
                             .seed = rand_u64(&w->rand),
                             .heartbeat_ms = SIM_HEARTBEAT_MS,
                             .election_ms = SIM_HEARTBEAT_MS,
                             .lease_ms = SIM_LEASE_MS,
                             .commit_ms = 10,
                             .max_append_bytes = w->append_bytes,
                             .max_inflight_bytes = w->inflight_bytes,
                             .max_uncommitted_bytes = w->uncommitted_bytes,
                             .cache_bytes = w->cache_bytes};
    struct raft_restored found = {.term = d->term,
                                  .vote = d->vote,
                                  .snapshot_index = d->snapshot.index,
                                  .snapshot_term = d->snapshot.term,
                                  .config =
                                      d->snapshot.index ? &d->snapshot.config : NULL};
    struct raft_event tick = {.type = RAFT_TICK};
    struct why why = {0};

    sim_must(raft_new(&n->r, &o, &found, &why) == ERR_OK);
    for (uint64_t k = d->base + 1; k <= d->last; k++) {
        struct sim_entry *e = disk_entry(d, k);
        struct raft_entry entry = {k, e->term, e->type, e->payload};
        if (raft_restore(n->r, &entry, &why)) {
            sim_violated(w, "%s cannot restart: %s", n->id, why.text);
            return;
        }
    }
    n->applied = n->commit = n->apply_to = d->snapshot.index;
    n->hash = d->snapshot.hash;
    n->ticket = 0;
    n->n_reads = n->n_grants = 0;
    n->applying = false;
    n->deadline = n->timer_at = UINT64_MAX;
    n->clock_offset = rand_below(&w->rand, 100000);
    sim_step(w, i, &tick);
}

static void sim_stop(struct sim *w, int i)
{
    struct sim_node *n = &w->nodes[i];

    raft_free(n->r);
    n->r = NULL;
    n->life++;
    for (size_t k = 0; k < n->n_held; k++) sim_free_message(n->held[k].message);
    n->n_held = 0;
    disk_crash(&n->disk, &w->rand);
}

/* --- events ------------------------------------------------------------------------- */

static void sim_on_message(struct sim *w, const struct sim_event *e)
{
    struct sim_node *n = &w->nodes[e->node];
    struct raft_event event = {.type = RAFT_MESSAGE, .u.message = e->message};

    if (!n->r || w->cut[e->peer][e->node]) return;
    if (e->message->type == RAFT_MSG_PRE_VOTE_REPLY && e->message->granted) {
        n->grants[n->n_grants % SIM_GRANTS].term = e->message->term;
        n->grants[n->n_grants++ % SIM_GRANTS].from = e->peer;
    }
    sim_step(w, e->node, &event);
}

static void sim_on_sync(struct sim *w, const struct sim_event *e)
{
    struct sim_node *n = &w->nodes[e->node];
    struct raft_event event = {.type = RAFT_SYNCED, .u.synced.ticket = e->ticket};
    bool messages_first = rand_below(&w->rand, 2);

    disk_synced(&n->disk, e->ticket);
    if (messages_first) sim_release(w, n);
    sim_step(w, e->node, &event);
    if (!messages_first) sim_release(w, n);
    sim_start_sync(w, e->node);
}

static void sim_on_timer(struct sim *w, const struct sim_event *e)
{
    struct sim_node *n = &w->nodes[e->node];
    struct raft_event event = {.type = RAFT_TICK};

    if (e->ticket != n->timer_serial) return; /* set anew since */
    n->timer_at = UINT64_MAX;
    if (n->deadline == UINT64_MAX) return;
    if (n->deadline > w->now) {
        sim_set_timer(w, e->node, 0);
        return;
    }
    sim_step(w, e->node, &event);
}

static void sim_on_apply(struct sim *w, const struct sim_event *e)
{
    struct sim_node *n = &w->nodes[e->node];
    struct raft_event event = {.type = RAFT_APPLIED};

    n->applying = false;
    for (; n->applied < n->apply_to; n->applied++) {
        uint64_t i = n->applied + 1;
        const struct raft_entry *cached = raft_cached(n->r, i);
        const struct sim_entry *stored = disk_entry(&n->disk, i);
        uint64_t content;
        if (!cached && !stored) {
            sim_violated(w, "%s cannot apply %" PRIu64 ": it is nowhere", n->id, i);
            return;
        }
        content = cached ? sim_content(cached->type, cached->payload)
                         : sim_content(stored->type, stored->payload);
        n->hash = sim_mix(n->hash, content);
        if (!sim_at(w, i)->committed || sim_at(w, i)->hash != n->hash)
            sim_violated(w, "state machine safety: %s applies something else at %" PRIu64,
                         n->id, i);
    }
    event.u.applied.index = n->applied;
    event.u.applied.hash = n->hash;
    sim_step(w, e->node, &event);
}

/* The log on disk as of a ticket: the read waits its turn behind the writes. */
static void sim_on_load(struct sim *w, const struct sim_event *e)
{
    struct sim_node *n = &w->nodes[e->node];
    struct raft_entry entries[256];
    size_t count = 0, bytes = 0;
    struct raft_event event = {.type = RAFT_LOADED};

    if (n->disk.synced < e->ticket) {
        struct sim_event again = *e;
        sim_post(w, 2, again);
        return;
    }
    for (uint64_t i = e->from; count < 256; i++) {
        const struct sim_entry *s = disk_entry(&n->disk, i);
        size_t size = s && s->payload ? s->payload->len : 0;
        if (!s || (count > 0 && bytes + size > e->max_bytes)) break;
        bytes += size;
        entries[count++] = (struct raft_entry){i, s->term, s->type, blob_ref(s->payload)};
    }
    w->loads += count > 0;
    event.u.loaded.peer = w->nodes[e->peer].id;
    event.u.loaded.entries = entries;
    event.u.loaded.n = count;
    sim_step(w, e->node, &event);
}

static void sim_put_snapshot(struct sim_disk *d,
                             struct sim_snapshot *s) /* takes its insides */
{
    raft_config_fini(&d->snapshot.config);
    d->snapshot = *s;
    raft_config_init(&s->config);
}

static void sim_on_taken(struct sim *w, struct sim_event *e)
{
    struct sim_node *n = &w->nodes[e->node];
    struct raft_event event = {.type = RAFT_SNAPSHOT_TAKEN};

    if (e->snapshot->index <= n->disk.snapshot.index) return;
    sim_put_snapshot(&n->disk, e->snapshot);
    event.u.snapshot.index = n->disk.snapshot.index;
    event.u.snapshot.term = n->disk.snapshot.term;
    event.u.snapshot.config = &n->disk.snapshot.config;
    event.u.snapshot.trailing = rand_below(&w->rand, 12);
    sim_step(w, e->node, &event);
}

/* A stream has ended, at both ends. */
static void sim_on_arrived(struct sim *w, struct sim_event *e)
{
    struct sim_node *to = &w->nodes[e->node], *from = &w->nodes[e->peer];
    uint64_t index = e->snapshot->index;
    bool ok = e->ok && to->r != NULL;

    if (ok && index > to->applied && index > to->disk.snapshot.index) {
        struct raft_event event = {.type = RAFT_SNAPSHOT_INSTALLED};
        if (sim_at(w, index)->hash != e->snapshot->hash)
            sim_violated(w, "%s installs a snapshot of something else", to->id);
        sim_put_snapshot(&to->disk, e->snapshot);
        to->applied = index;
        to->hash = to->disk.snapshot.hash;
        event.u.snapshot.index = index;
        event.u.snapshot.term = to->disk.snapshot.term;
        event.u.snapshot.config = &to->disk.snapshot.config;
        w->installs++;
        sim_step(w, e->node, &event);
    }
    if (from->r && from->life == e->life) {
        struct raft_event event = {.type = RAFT_SNAPSHOT_SENT,
                                   .u.sent = {.peer = to->id, .index = index, .ok = ok}};
        sim_step(w, e->peer, &event);
    }
}

/* --- what clients and operators do -------------------------------------------------- */

static int sim_some_node(struct sim *w, bool leader)
{
    int start = (int)rand_below(&w->rand, SIM_NODES);

    for (int k = 0; k < SIM_NODES; k++) {
        int i = (start + k) % SIM_NODES;
        if (w->nodes[i].r && (!leader || raft_role(w->nodes[i].r) == RAFT_LEADER))
            return i;
    }
    return -1;
}

static enum err sim_propose(struct sim *w, int i)
{
    uint8_t types[3];
    struct blob *payloads[3];
    size_t n = 1 + (sim_chance(w, 200) ? rand_below(&w->rand, 3) : 0);
    struct raft_event e = {.type = RAFT_PROPOSE,
                           .u.propose = {.types = types, .payloads = payloads, .n = n}};

    for (size_t k = 0; k < n; k++) {
        char text[200] = {0};
        size_t len =
            (size_t)snprintf(text, sizeof text, "value %" PRIu64, w->next_value++);
        if (sim_chance(w, 100)) len += rand_below(&w->rand, sizeof text - len);
        types[k] = (uint8_t)(RAFT_ENTRY_APP + rand_below(&w->rand, 3));
        payloads[k] = blob_copy(text, len);
    }
    return sim_step(w, i, &e);
}

static void sim_read(struct sim *w, int i)
{
    struct sim_node *n = &w->nodes[i];
    struct raft_event e = {.type = RAFT_READ, .u.read.id = ++w->next_read};

    if (n->n_reads == sizeof n->reads / sizeof n->reads[0]) return;
    n->reads[n->n_reads++] = (struct sim_read){w->next_read, w->max_commit};
    sim_step(w, i, &e);
}

static void sim_change(struct sim *w, int i)
{
    const struct raft_config *c = raft_config(w->nodes[i].r);
    int target = (int)rand_below(&w->rand, SIM_NODES);
    char id[16];
    struct raft_event e = {.type = RAFT_CHANGE, .u.change = {.id = id, .addr = "addr"}};

    snprintf(id, sizeof id, "%s", w->nodes[target].id);
    if (raft_config_find(c, id) && sim_chance(w, 500)) {
        if (c->n <= 1) return;
        e.u.change.op = RAFT_CHANGE_REMOVE;
    } else {
        e.u.change.op = RAFT_CHANGE_PUT;
        e.u.change.voter = sim_chance(w, 700);
    }
    w->changes += sim_step(w, i, &e) == ERR_OK;
}

static void sim_snapshot(struct sim *w, int i)
{
    struct sim_node *n = &w->nodes[i];
    const struct raft_config *c;
    struct sim_snapshot s = {.index = n->applied, .hash = n->hash};

    if (n->applied <= n->disk.snapshot.index) return;
    s.term = raft_term_of(n->r, n->applied);
    c = raft_config_at(n->r, n->applied);
    if (!s.term || !c) {
        sim_violated(w, "%s does not know term and members at %" PRIu64, n->id,
                     n->applied);
        return;
    }
    s.config = *c; /* copied, not owned */
    sim_post(w, rand_below(&w->rand, 50),
             (struct sim_event){.kind = SIM_TAKEN,
                                .node = i,
                                .life = n->life,
                                .snapshot = sim_copy_snapshot(&s)});
}

/* A node alone or with one other: where old terms live on to meet new ones. */
static void sim_isolate(struct sim *w, int node, bool with_another)
{
    int companion = with_another ? (int)rand_below(&w->rand, SIM_NODES) : -1;

    memset(w->cut, 0, sizeof w->cut);
    for (int k = 0; k < SIM_NODES; k++)
        if (k != companion && k != node) w->cut[node][k] = w->cut[k][node] = true;
}

static void sim_partition(struct sim *w)
{
    uint32_t how = (uint32_t)rand_below(&w->rand, 6);
    int leader = sim_some_node(w, true);

    memset(w->cut, 0, sizeof w->cut);
    if (how == 0) return;
    if (how == 1) { /* one link, one way */
        w->cut[rand_below(&w->rand, SIM_NODES)][rand_below(&w->rand, SIM_NODES)] = true;
        return;
    }
    for (int i = 0; i < SIM_NODES; i++)
        for (int k = 0, side = (int)rand_below(&w->rand, 2); k < SIM_NODES && how == 2;
             k++)
            if (side && i != k) w->cut[i][k] = sim_chance(w, 500);
    if (how == 3) {
        uint64_t side = rand_u64(&w->rand);
        for (int i = 0; i < SIM_NODES; i++)
            for (int k = 0; k < SIM_NODES; k++)
                w->cut[i][k] = ((side >> i) ^ (side >> k)) & 1;
    }
    if (how >= 4 && leader >= 0) sim_isolate(w, leader, how == 5);
    for (int i = 0; i < SIM_NODES; i++) w->cut[i][i] = false;
}

static void sim_lose_connection(struct sim *w)
{
    int i = sim_some_node(w, true);
    struct raft_event e = {.type = RAFT_PEER_LOST};

    if (i < 0) return;
    e.u.peer = w->nodes[rand_below(&w->rand, SIM_NODES)].id;
    sim_step(w, i, &e);
}

static void sim_crash_or_start(struct sim *w)
{
    int i = sim_some_node(w, sim_chance(w, 400));
    int down = (int)rand_below(&w->rand, SIM_NODES);

    if (sim_chance(w, 200)) { /* the power fails */
        for (int k = 0; k < SIM_NODES; k++)
            if (w->nodes[k].r) sim_stop(w, k);
        for (int k = 0; k < SIM_NODES; k++) sim_start(w, k);
        w->crashes++;
    } else if (!w->nodes[down].r)
        sim_start(w, down);
    else if (i >= 0) {
        sim_stop(w, i);
        w->crashes++;
        if (sim_chance(w, 500))
            sim_start(w, i); /* at once: nobody notices but for what is lost */
    }
}

static void sim_on_chaos(struct sim *w)
{
    uint32_t total = w->propose + w->read + w->crash + w->partition + w->change +
                     w->transfer + w->snapshot + 2;
    uint32_t pick = (uint32_t)rand_below(&w->rand, total);
    int leader = sim_some_node(w, true), any = sim_some_node(w, false);
    struct raft_event transfer = {.type = RAFT_TRANSFER};

    sim_post(w, 1 + rand_below(&w->rand, 8), (struct sim_event){.kind = SIM_CHAOS});
    if (pick < w->propose) {
        if (leader >= 0) sim_propose(w, leader);
        return;
    }
    pick -= w->propose;
    if (pick < w->read) {
        if (any >= 0) sim_read(w, leader >= 0 && sim_chance(w, 800) ? leader : any);
        return;
    }
    pick -= w->read;
    if (pick < w->change) {
        if (leader >= 0) sim_change(w, leader);
        return;
    }
    pick -= w->change;
    if (pick < w->snapshot) {
        if (any >= 0) sim_snapshot(w, any);
        return;
    }
    pick -= w->snapshot;
    if (pick < w->transfer) {
        if (sim_chance(w, 700))
            transfer.u.transfer.id = w->nodes[rand_below(&w->rand, SIM_NODES)].id;
        if (leader >= 0) sim_step(w, leader, &transfer);
        return;
    }
    pick -= w->transfer;
    if (pick < w->partition) {
        sim_partition(w);
        return;
    }
    pick -= w->partition;
    if (pick < w->crash)
        sim_crash_or_start(w);
    else
        sim_lose_connection(w);
}

static void sim_dispatch(struct sim *w, struct sim_event *e)
{
    bool alive = w->nodes[e->node].r && w->nodes[e->node].life == e->life;

    switch (e->kind) {
    case SIM_MESSAGE: sim_on_message(w, e); break;
    case SIM_CHAOS:
        if (!w->calm) sim_on_chaos(w);
        break;
    case SIM_ARRIVED: sim_on_arrived(w, e); break;
    case SIM_SYNC:
        if (alive) sim_on_sync(w, e);
        break;
    case SIM_TIMER:
        if (alive) sim_on_timer(w, e);
        break;
    case SIM_APPLY:
        if (alive) sim_on_apply(w, e);
        break;
    case SIM_LOAD:
        if (alive) sim_on_load(w, e);
        break;
    case SIM_TAKEN:
        if (alive) sim_on_taken(w, e);
        break;
    case SIM_CHANGE:
        if (!alive || w->calm) break;
        if (raft_role(w->nodes[e->node].r) == RAFT_LEADER) sim_change(w, e->node);
        if (w->partition > 0 && sim_chance(w, 300))
            sim_isolate(w, e->node, sim_chance(w, 500));
        break;
    }
    sim_free_message(e->message);
    sim_free_snapshot(e->snapshot);
}

static void sim_run_until(struct sim *w, uint64_t end)
{
    while (!w->violation[0] && w->n_heap > 0 && w->heap[0].at <= end) {
        if (w->n_heap > SIM_STORM)
            sim_violated(w, "a storm: %zu events under way", w->n_heap);
        struct sim_event e = sim_pop(w);
        w->now = e.at;
        sim_dispatch(w, &e);
    }
    if (!w->violation[0]) w->now = end;
}

/* --- a run -------------------------------------------------------------------------- */

static uint32_t sim_one_of(struct sim *w, const uint32_t *of, size_t n)
{
    return of[rand_below(&w->rand, n)];
}
#define SIM_ONE_OF(w, ...)                                                               \
    sim_one_of(w, (const uint32_t[]){__VA_ARGS__},                                       \
               sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void sim_character(struct sim *w)
{
    w->voters = SIM_ONE_OF(w, 1, 2, 3, 3, 3, 4, 5, 5, 7);
    w->non_voters = SIM_ONE_OF(w, 0, 0, 1);
    w->loss = SIM_ONE_OF(w, 0, 0, 5, 50, 200);
    w->duplicate = SIM_ONE_OF(w, 0, 0, 20, 200);
    w->delay_ms = SIM_ONE_OF(w, 0, 1, 3, 10, 40);
    w->sync_ms = SIM_ONE_OF(w, 0, 1, 5, 20, 60);
    w->propose = SIM_ONE_OF(w, 20, 60, 200);
    w->read = SIM_ONE_OF(w, 0, 10, 40);
    w->change = SIM_ONE_OF(w, 0, 0, 2, 20, 60);
    w->transfer = SIM_ONE_OF(w, 0, 1, 5);
    w->snapshot = SIM_ONE_OF(w, 0, 2, 10);
    w->partition = SIM_ONE_OF(w, 0, 1, 3, 8);
    w->crash = SIM_ONE_OF(w, 0, 1, 3, 8);
    w->append_bytes = SIM_ONE_OF(w, 1, 100, 0);
    w->inflight_bytes = SIM_ONE_OF(w, 1, 200, 0);
    w->cache_bytes = SIM_ONE_OF(w, 1, 400, 4000, 0);
    w->uncommitted_bytes = SIM_ONE_OF(w, 100, 2000, 0);
}

static void sim_bootstrap(struct sim *w, bool everywhere)
{
    struct raft_config c = {0};
    struct raft_event e = {.type = RAFT_BOOTSTRAP, .u.bootstrap.config = &c};

    for (uint32_t i = 0; i < w->voters + w->non_voters; i++)
        sim_must(raft_config_put(&c, w->nodes[i].id, "addr", i < w->voters) == ERR_OK);
    for (int i = 0; i < (int)w->voters; i++)
        if (i == 0 || everywhere) sim_step(w, i, &e);
    raft_config_fini(&c);
}

/* A crash may have taken the bootstrap itself. */
static bool sim_is_blank(const struct sim *w)
{
    for (int i = 0; i < SIM_NODES; i++)
        if (raft_config(w->nodes[i].r)->n > 0) return false;
    return true;
}

static void sim_calm_down(struct sim *w)
{
    w->calm = true;
    w->loss = w->duplicate = 0;
    w->delay_ms = 3;
    w->sync_ms = 3;
    memset(w->cut, 0, sizeof w->cut);
    for (int i = 0; i < SIM_NODES; i++)
        if (!w->nodes[i].r) sim_start(w, i);
    if (sim_is_blank(w)) sim_bootstrap(w, true);
}

/* The leader's word has reached every member, and it can still take another. */
static bool sim_all_agree(struct sim *w)
{
    int leader = -1;
    const struct raft_config *c;

    for (int i = 0; i < SIM_NODES; i++)
        if (raft_role(w->nodes[i].r) == RAFT_LEADER &&
            (leader < 0 || raft_term(w->nodes[i].r) > raft_term(w->nodes[leader].r)))
            leader = i;
    if (leader < 0) return false;
    c = raft_config(w->nodes[leader].r);
    if (raft_last_index(w->nodes[leader].r) != w->nodes[leader].applied) return false;
    for (size_t k = 0; k < c->n; k++) {
        const struct sim_node *n = &w->nodes[sim_find(w, c->members[k].id)];
        if (n->applied != w->nodes[leader].applied || n->hash != w->nodes[leader].hash)
            return false;
        if (strcmp(raft_leader(n->r), w->nodes[leader].id) != 0) return false;
    }
    return true;
}

static void sim_demand_progress(struct sim *w)
{
    uint64_t end = w->now + SIM_CALM_MS, commits = w->max_commit, term = 0;
    int leader;

    for (bool proposed = false; !w->violation[0]; sim_run_until(w, w->now + 50)) {
        if (w->now > end) {
            sim_violated(w, "no progress: %" PRIu64 " committed", w->max_commit);
            return;
        }
        leader = sim_some_node(w, true);
        if (leader < 0) continue;
        if (!proposed)
            proposed = sim_propose(w, leader) == ERR_OK;
        else if (w->max_commit > commits && sim_all_agree(w))
            break;
        if (proposed && w->max_commit <= commits)
            proposed = false; /* it may have been lost */
    }
    if (w->violation[0]) return;
    /* Whoever was removed, or left behind, does not disturb. */
    leader = sim_some_node(w, true);
    sim_read(w, leader);
    term = raft_term(w->nodes[leader].r);
    sim_run_until(w, w->now + SIM_STABLE_MS);
    if (w->violation[0]) return;
    if (raft_role(w->nodes[leader].r) != RAFT_LEADER ||
        raft_term(w->nodes[leader].r) != term)
        sim_violated(w, "%s was deposed in term %" PRIu64 " for nothing",
                     w->nodes[leader].id, term);
    else if (w->nodes[leader].n_reads > 0)
        sim_violated(w, "%s never answered a read", w->nodes[leader].id);
}

static bool sim_run(struct sim *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->seed = seed;
    rand_init(&w->rand, seed);
    sim_character(w);
    for (int i = 0; i < SIM_NODES; i++) {
        snprintf(w->nodes[i].id, sizeof w->nodes[i].id, "n%d", i + 1);
        disk_init(&w->nodes[i].disk);
        sim_start(w, i);
    }
    sim_bootstrap(w, rand_below(&w->rand, 2));
    sim_post(w, 0, (struct sim_event){.kind = SIM_CHAOS});
    sim_run_until(w, SIM_CHAOS_MS);
    if (!w->violation[0]) {
        sim_calm_down(w);
        sim_demand_progress(w);
    }
    return w->violation[0] == 0;
}

static void sim_free(struct sim *w)
{
    for (size_t i = 0; i < w->n_heap; i++) {
        sim_free_message(w->heap[i].message);
        sim_free_snapshot(w->heap[i].snapshot);
    }
    for (int i = 0; i < SIM_NODES; i++) {
        struct sim_node *n = &w->nodes[i];
        if (n->r) sim_stop(w, i);
        disk_free(&n->disk);
    }
    for (size_t i = 0; i < w->cap_index; i++) free(w->index[i].known);
    free(w->index);
    free(w->heap);
}

/* The last things every machine did: what the person who replays the seed wants first. */
static void sim_print_traces(const struct sim *w, size_t lines)
{
    char(*text)[120] = calloc(lines, sizeof *text);

    sim_must(text != NULL);
    for (int i = 0; i < SIM_NODES; i++) {
        const struct sim_node *n = &w->nodes[i];
        size_t k = n->r ? raft_trace(n->r, text, lines) : 0;
        if (!n->r) {
            fprintf(stderr, "%s is down\n", n->id);
            continue;
        }
        fprintf(stderr,
                "%s %s term=%" PRIu64 " commit=%" PRIu64 " last=%" PRIu64
                " clock=+%" PRIu64 "\n",
                n->id, raft_role_name(raft_role(n->r)), raft_term(n->r),
                raft_commit(n->r), raft_last_index(n->r), n->clock_offset);
        for (size_t m = 0; m < raft_config(n->r)->n; m++)
            fprintf(stderr, "%s%s%s%s",
                    m ? " " : "    members: ", raft_config(n->r)->members[m].id,
                    raft_config(n->r)->members[m].voter ? "" : "/",
                    m + 1 < raft_config(n->r)->n ? "" : "\n");
        while (k-- > 0) fprintf(stderr, "    %s\n", text[k]);
    }
    free(text);
}
