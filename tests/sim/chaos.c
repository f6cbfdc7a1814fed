/* SPDX-License-Identifier: MIT */
/* A random run: a character, bad luck for some seconds, then calm, and progress is due.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { CALM_MS = 30000, STABLE_MS = 1500 };

/* --- the character of a run ---------------------------------------------------- */

static uint32_t one_of(struct sim *w, const uint32_t *of, size_t n)
{
    return of[rand_below(&w->rand, n)];
}
#define ONE_OF(w, ...)                                                                   \
    one_of(w, (const uint32_t[]){__VA_ARGS__},                                           \
           sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void draw_character(struct sim *w)
{
    struct character *c = &w->c;

    c->voters = ONE_OF(w, 1, 2, 3, 3, 3, 3, 4, 5, 5, 7);
    c->non_voters = ONE_OF(w, 0, 0, 1);
    if (c->voters == 7) c->non_voters = 0;
    c->loss = ONE_OF(w, 0, 0, 5, 50, 200);
    c->duplicate = ONE_OF(w, 0, 0, 20, 200);
    c->meddle = ONE_OF(w, 0, 100, 500);
    c->quick = ONE_OF(w, 0, 200, 900);
    c->delay_us = ONE_OF(w, 300, 1000, 3000, 10000, 40000);
    c->sync_us = ONE_OF(w, 100, 1000, 5000, 20000, 60000);
    c->apply_us = ONE_OF(w, 50, 500, 5000, 40000);
    c->propose = ONE_OF(w, 20, 60, 200);
    c->read = ONE_OF(w, 5, 20, 60);
    c->change = ONE_OF(w, 0, 0, 2, 15, 40);
    c->transfer = ONE_OF(w, 0, 1, 4);
    c->snapshot = ONE_OF(w, 0, 3, 10);
    c->partition = ONE_OF(w, 0, 1, 3, 8);
    c->crash = ONE_OF(w, 0, 1, 3, 8);
    c->pause = ONE_OF(w, 0, 0, 1, 4);
    c->disk = ONE_OF(w, 0, 0, 1, 3);
    c->stream_cut = ONE_OF(w, 0, 20, 200);
    c->skew_ppm = ONE_OF(w, 0, 100, 50000, 500000);
    c->trailing = ONE_OF(w, 0, 3, 20);
    c->segment_bytes = ONE_OF(w, 4 << 10, 16 << 10, 128 << 10);
    c->piece_pages = ONE_OF(w, 1, 2, 64);
    c->append_bytes = ONE_OF(w, 1, 500, 0);
    c->inflight_bytes = ONE_OF(w, 1, 2000, 0);
    c->cache_bytes = ONE_OF(w, 1, 2000, 20000, 0);
    c->uncommitted_bytes = ONE_OF(w, 1000, 20000, 0);
    c->chaos_ms = ONE_OF(w, 3000, 6000, 12000);
    if (sim_chance(w, 100)) { /* configurations that succeed one another quickly */
        c->voters = ONE_OF(w, 2, 4, 4, 4);
        c->meddle = 900;
        c->change = 15;
        c->partition = ONE_OF(w, 3, 8);
        c->crash = ONE_OF(w, 0, 1);
        c->delay_us = ONE_OF(w, 300, 3000);
        c->sync_us = 1000;
        c->loss = 0;
    } else if (sim_chance(w, 100)) { /* leaders that do not know they are none */
        c->voters = ONE_OF(w, 3, 5);
        c->partition = 8;
        c->read = 200;
        c->skew_ppm = 500000;
        c->crash = 0;
        c->delay_us = 300;
    }
}

/* --- bad luck ------------------------------------------------------------------ */

static struct host *some_up(struct sim *w)
{
    int start = (int)sim_below(w, HOSTS);

    for (int k = 0; k < HOSTS; k++)
        if (w->hosts[(start + k) % HOSTS].up) return &w->hosts[(start + k) % HOSTS];
    return NULL;
}

/* A node alone or with one other: where old terms live on to meet new ones. */
static void isolate(struct sim *w, int node, int companion)
{
    memset(w->cut, 0, sizeof w->cut);
    for (int k = 0; k < HOSTS; k++)
        if (k != companion && k != node) w->cut[node][k] = w->cut[k][node] = true;
}

static void partition(struct sim *w)
{
    uint32_t how = (uint32_t)sim_below(w, 6);
    struct host *leader = sim_leader(w);

    memset(w->cut, 0, sizeof w->cut);
    sim_say(w, 1, NULL, "the network changes");
    if (how == 0) return;
    if (how == 1) { /* one link, one way */
        w->cut[sim_below(w, HOSTS)][sim_below(w, HOSTS)] = true;
        return;
    }
    for (int i = 0; i < HOSTS && how == 2; i++) {
        bool side = sim_chance(w, 500);

        for (int k = 0; k < HOSTS; k++)
            if (side && i != k) w->cut[i][k] = sim_chance(w, 500);
    }
    if (how == 3) {
        uint64_t side = rand_u64(&w->rand);

        for (int i = 0; i < HOSTS; i++)
            for (int k = 0; k < HOSTS; k++)
                w->cut[i][k] = ((side >> i) ^ (side >> k)) & 1;
    }
    if (how >= 4 && leader)
        isolate(w, leader->number - 1, how == 5 ? (int)sim_below(w, HOSTS) : -1);
    for (int i = 0; i < HOSTS; i++) w->cut[i][i] = false;
}

static void start(struct host *h)
{
    /* It may lose its power again before it has read what is there. */
    if (h->w->c.disk && sim_chance(h->w, 200))
        faulty_die_at(h->disk, 1 + sim_below(h->w, 60));
    else if (h->w->c.disk && sim_chance(h->w, 50))
        faulty_fail_at(h->disk, 1 + sim_below(h->w, 60), ERR_IO);
    (void)host_start(h);
}

static void crash_or_start(struct sim *w)
{
    struct host *h = sim_chance(w, 400) ? sim_leader(w) : some_up(w);
    struct host *down = &w->hosts[sim_below(w, HOSTS)];
    enum host_end how = (enum host_end)sim_below(w, 3);

    if (sim_chance(w, 150)) { /* everywhere at once */
        bool was[HOSTS];

        for (int k = 0; k < HOSTS; k++) {
            was[k] = w->hosts[k].up;
            if (was[k]) host_end(&w->hosts[k], HOST_POWER);
        }
        for (int k = 0; k < HOSTS; k++)
            if (was[k]) start(&w->hosts[k]);
    } else if (!down->up && down->member_of_story) {
        start(down);
    } else if (h) {
        host_end(h, how);
        if (sim_chance(w, 500)) start(h); /* at once: only what is lost is noticed */
    }
}

/* Power goes between any two operations, or one of them fails. */
static void hurt_disk(struct sim *w)
{
    struct host *h = sim_chance(w, 400) ? sim_leader(w) : some_up(w);

    if (h == NULL) return;
    if (sim_chance(w, 700)) {
        faulty_die_at(h->disk, 1 + sim_below(w, 40));
        sim_say(w, 1, h, "will lose power");
    } else {
        faulty_fail_at(h->disk, 1 + sim_below(w, 40), ERR_IO);
        sim_say(w, 1, h, "will have a disk error");
    }
}

/* Gives whom it was about. */
static struct host *change(struct host *h)
{
    struct sim *w = h->w;
    const struct raft_config *c = raft_config(h->raft);
    struct host *target = &w->hosts[sim_below(w, HOSTS)];
    bool put = !raft_config_find(c, target->id) || sim_chance(w, 500);
    uint64_t index;
    enum err e;

    if (!put && c->n <= 1) return target;
    if (put && c->n >= 7 && !raft_config_find(c, target->id)) return target;
    if (!target->up && put && !target->member_of_story) {
        target->member_of_story = true;
        start(target);
    }
    e = member_change_config(h->member, put, target->id, target->addr, sim_chance(w, 700),
                             &index, host_now_ms(h));
    w->stats.changes += e == ERR_OK;
    sim_say(w, 1, h, "%s %s: %s", put ? "puts" : "removes", target->id, err_name(e));
    host_turn_end(h);
    return target;
}

/* New leaders are where most can go wrong: what they were left with is not settled. */
static void meddle(struct sim *w, struct event *e)
{
    struct host *h = e->host, *about = NULL;

    if (w->calm || raft_role(h->raft) != RAFT_LEADER) return;
    if (w->c.change && sim_chance(w, 700)) about = change(h);
    if (w->c.partition && sim_chance(w, 500)) {
        if (about == NULL || sim_chance(w, 300)) about = &w->hosts[sim_below(w, HOSTS)];
        isolate(w, h->number - 1, sim_chance(w, 700) ? about->number - 1 : -1);
        sim_say(w, 1, h, "is alone, or nearly");
    } else if (w->c.crash && sim_chance(w, 300)) {
        host_end(h, HOST_POWER);
    }
}

void chaos_elected(struct host *h)
{
    struct sim *w = h->w;

    if (w->calm || w->story || !sim_chance(w, w->c.meddle)) return;
    host_post(h, sim_below(w, 3 * (uint64_t)w->c.delay_us), meddle, NULL, NULL);
}

static void transfer(struct host *h)
{
    struct sim *w = h->w;
    const char *to = sim_chance(w, 700) ? w->hosts[sim_below(w, HOSTS)].id : NULL;
    enum err e = member_transfer(h->member, to, host_now_ms(h));

    sim_say(w, 1, h, "hands over to %s: %s", to ? to : "anybody", err_name(e));
    host_turn_end(h);
}

static void lose_connection(struct sim *w)
{
    struct host *h = sim_leader(w);

    if (h == NULL) return;
    member_peer_lost(h->member, w->hosts[sim_below(w, HOSTS)].id, host_now_ms(h));
    host_turn_end(h);
}

static void do_chaos(struct sim *w)
{
    const struct character *c = &w->c;
    struct host *leader = sim_leader(w), *any = some_up(w);
    uint32_t weights[] = {c->propose,   c->read,  c->change, c->snapshot, c->transfer,
                          c->partition, c->crash, c->pause,  c->disk,     2};
    uint32_t total = 0, pick;
    size_t what = 0;

    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) total += weights[i];
    pick = (uint32_t)sim_below(w, total);
    while (pick >= weights[what]) pick -= weights[what++];
    switch (what) {
    case 0: client_chaos(w, false); break;
    case 1: client_chaos(w, true); break;
    case 2:
        if (leader && leader->paused_until <= w->now) (void)change(leader);
        break;
    case 3:
        if (any && any->paused_until <= w->now) host_snapshot(any, sim_below(w, 12));
        break;
    case 4:
        if (leader && leader->paused_until <= w->now) transfer(leader);
        break;
    case 5: partition(w); break;
    case 6: crash_or_start(w); break;
    case 7:
        if (leader && sim_chance(w, 500)) any = leader;
        if (any && any->paused_until <= w->now)
            any->paused_until = w->now + sim_below(w, 600 * MS);
        break;
    case 8: hurt_disk(w); break;
    default: lose_connection(w); break;
    }
}

static void on_chaos(struct sim *w, struct event *e)
{
    if (w->calm) return;
    do_chaos(w);
    sim_post(w, 500 + sim_below(w, 8 * MS), *e);
}

/* --- calm ---------------------------------------------------------------------- */

/* A crash may have taken the bootstrap itself. */
static bool is_blank(const struct sim *w)
{
    for (int i = 0; i < HOSTS; i++)
        if (w->hosts[i].up && raft_config(w->hosts[i].raft)->n > 0) return false;
    return true;
}

static void start_missing(struct sim *w)
{
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];

        if (!h->up && h->member_of_story && !w->violation[0]) (void)host_start(h);
    }
}

void chaos_calm(struct sim *w)
{
    w->calm = true;
    w->c.loss = w->c.duplicate = 0;
    w->c.delay_us = 2 * MS;
    w->c.sync_us = w->c.apply_us = MS;
    memset(w->cut, 0, sizeof w->cut);
    sim_say(w, 0, NULL, "calm");
    for (int i = 0; i < HOSTS; i++) faulty_spare(w->hosts[i].disk);
    start_missing(w);
    if (!w->violation[0] && is_blank(w)) sim_bootstrap(w, true);
}

/* The leader's word has reached every member, and it can still take another. */
static bool all_agree(struct sim *w)
{
    struct host *leader = sim_leader(w);
    const struct raft_config *c;

    if (leader == NULL) return false;
    c = raft_config(leader->raft);
    if (raft_last_index(leader->raft) != leader->published.index) return false;
    for (size_t k = 0; k < c->n; k++) {
        const struct host *h = host_find(w, c->members[k].id);

        if (!h->up || h->published.index != leader->published.index ||
            h->published.hash != leader->published.hash)
            return false;
        if (strcmp(raft_leader(h->raft), leader->id) != 0) return false;
    }
    return true;
}

static void check_dumps(struct sim *w)
{
    struct host *leader = sim_leader(w);
    const struct raft_config *c = raft_config(leader->raft);
    uint64_t dump = client_dump(leader);

    for (size_t k = 0; k < c->n && !w->violation[0]; k++) {
        struct host *h = host_find(w, c->members[k].id);

        if (client_dump(h) != dump)
            sim_violated(w, "%s has another database than %s", h->id, leader->id);
    }
    w->digest = sim_mix(w->digest, dump);
    client_check_end(w, leader);
}

bool chaos_converge(struct sim *w, uint64_t within_ms)
{
    uint64_t end = w->now + within_ms * MS;
    struct op *o = NULL;

    for (; !w->violation[0]; sim_run_until(w, w->now + 20 * MS)) {
        struct host *leader = sim_leader(w);

        start_missing(w);
        if (w->now > end) {
            sim_violated(w, "no progress: %" PRIu64 " committed", w->max_commit);
            return false;
        }
        if (o && o->state != OP_OPEN && o->state != OP_DONE) o = NULL;
        if (o && o->state == OP_DONE && all_agree(w)) break;
        if (o || leader == NULL || w->clients[0]) continue;
        o = client_begin(w, 0, leader, w->set_up ? OP_APPEND : OP_SETUP, 0,
                         RQLITE__LEVEL__WEAK);
    }
    if (!w->violation[0]) check_dumps(w);
    return !w->violation[0];
}

/* Whoever was removed, or left behind, does not disturb; and reads are answered. */
static void demand_stability(struct sim *w)
{
    struct host *leader = sim_leader(w);
    uint64_t term = raft_term(leader->raft);
    struct op *o = NULL;

    if (w->clients[1] == NULL)
        o = client_begin(w, 1, leader, OP_READ, 0, RQLITE__LEVEL__LINEARIZABLE);
    sim_run_until(w, w->now + STABLE_MS * MS);
    if (w->violation[0]) return;
    if (!leader->up || raft_role(leader->raft) != RAFT_LEADER ||
        raft_term(leader->raft) != term)
        sim_violated(w, "%s was deposed in term %" PRIu64 " for nothing", leader->id,
                     term);
    else if (o && o->state != OP_DONE && strcmp(o->text, "no answer") == 0)
        sim_violated(w, "%s never answered a read", leader->id);
}

/* Everybody loses power, and everything that was promised is there again. */
static void power_cycle(struct sim *w)
{
    sim_say(w, 0, NULL, "power goes everywhere");
    for (int i = 0; i < HOSTS; i++)
        if (w->hosts[i].up) host_end(&w->hosts[i], HOST_POWER);
    start_missing(w);
}

bool chaos_run(struct sim *w, const char *root, uint64_t seed, uint32_t nodes,
               uint64_t steps, int trace)
{
    memset(w, 0, sizeof *w);
    w->trace = trace;
    w->out = trace >= 0 ? stdout : NULL;
    sim_init(w, seed, root);
    draw_character(w);
    w->max_steps = steps;
    if (nodes) {
        w->c.voters = nodes;
        w->c.non_voters = 0;
    }
    for (uint32_t i = 0; i < w->c.voters + w->c.non_voters; i++) {
        w->hosts[i].member_of_story = true;
        (void)host_start(&w->hosts[i]);
    }
    sim_bootstrap(w, sim_chance(w, 500));
    sim_post(w, 0, (struct event){.run = on_chaos});
    sim_run_until(w, w->now + (uint64_t)w->c.chaos_ms * MS);
    if (!w->violation[0]) chaos_calm(w);
    if (!w->violation[0] && chaos_converge(w, CALM_MS)) {
        demand_stability(w);
        if (!w->violation[0] && sim_chance(w, 500)) {
            power_cycle(w);
            if (!w->violation[0]) (void)chaos_converge(w, CALM_MS);
        }
    }
    return w->violation[0] == '\0';
}
