/* SPDX-License-Identifier: MIT */
/* Time, events in order, and what is said about them. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

uint64_t sim_below(struct sim *w, uint64_t n)
{
    return n ? rand_below(&w->rand, n) : 0;
}

bool sim_chance(struct sim *w, uint32_t per_mille)
{
    return per_mille > 0 && rand_below(&w->rand, 1000) < per_mille;
}

uint64_t sim_mix(uint64_t h, uint64_t x)
{
    h ^= x + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 33);
}

/* --- the transcript ------------------------------------------------------------ */

void sim_say(struct sim *w, int level, const struct host *h, const char *fmt, ...)
{
    va_list args;
    char text[600];

    if (level > w->trace || w->out == NULL) return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!w->story)
        fprintf(w->out, "%6" PRIu64 ".%03" PRIu64 " ", w->now / MS, w->now % MS);
    if (h) fprintf(w->out, "%s: ", h->id);
    fprintf(w->out, "%s\n", text);
}

void sim_violated(struct sim *w, const char *fmt, ...)
{
    va_list args;
    int n;

    if (w->violation[0]) return;
    n = snprintf(w->violation, sizeof w->violation, "at %" PRIu64 "ms: ", w->now / MS);
    va_start(args, fmt);
    vsnprintf(w->violation + n, sizeof w->violation - (size_t)n, fmt, args);
    va_end(args);
    sim_say(w, 0, NULL, "VIOLATED %s", w->violation);
}

/* --- events in order ----------------------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(struct sim *w, struct event e)
{
    size_t i = w->n_heap;

    if (w->n_heap == w->cap_heap) {
        w->cap_heap = w->cap_heap ? w->cap_heap * 2 : 1024;
        w->heap = realloc(w->heap, w->cap_heap * sizeof *w->heap);
        CHECK(w->heap != NULL);
    }
    w->n_heap++;
    for (; i > 0 && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct event heap_pop(struct sim *w)
{
    struct event first = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < w->n_heap) {
        if (child + 1 < w->n_heap && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last)) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return first;
}

void sim_post(struct sim *w, uint64_t delay_us, struct event e)
{
    e.at = w->now + delay_us;
    e.order = w->order++;
    heap_push(w, e);
}

void host_post(struct host *h, uint64_t delay_us,
               void (*run)(struct sim *w, struct event *e), void (*drop)(struct event *e),
               void *arg)
{
    sim_post(
        h->w, delay_us,
        (struct event){.host = h, .life = h->life, .run = run, .drop = drop, .arg = arg});
}

static void nothing(struct sim *w, struct event *e)
{
    (void)w;
    (void)e;
}

void sim_drop_events(struct sim *w, struct host *h)
{
    for (size_t i = 0; i < w->n_heap; i++) {
        struct event *e = &w->heap[i];

        if (h != NULL && (e->host != h || e->life != h->life)) continue;
        if (e->drop) e->drop(e);
        e->drop = NULL;
        e->run = nothing;
        e->host = NULL;
    }
}

/* Power that went during the event takes the host with it; a process that met an error
 * after which it must not serve ends by itself. */
static void bury(struct sim *w)
{
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];

        if (!h->up) continue;
        if (faulty_dead(h->disk)) {
            w->stats.disk_deaths++;
            sim_say(w, 0, h, "loses power");
            host_end(h, HOST_POWER);
        } else if (h->failed) {
            w->stats.disk_errors++;
            host_end(h, HOST_KILL);
        }
    }
}

void sim_run_until(struct sim *w, uint64_t end)
{
    while (!w->violation[0] && w->n_heap > 0 && w->heap[0].at <= end) {
        struct event e = heap_pop(w);

        w->now = e.at;
        if (e.host && e.host->paused_until > w->now) { /* its whole process sleeps */
            e.at = e.host->paused_until;
            heap_push(w, e);
            continue;
        }
        w->stats.steps++;
        if (w->max_steps && w->stats.steps >= w->max_steps) w->calm = true;
        w->digest = sim_mix(w->digest, e.at ^ (e.order << 20));
        e.run(w, &e);
        bury(w);
        if (w->n_heap > 60000)
            sim_violated(w, "a storm: %zu events under way", w->n_heap);
    }
    if (!w->violation[0]) w->now = end;
}

/* --- the world ----------------------------------------------------------------- */

void sim_init(struct sim *w, uint64_t seed, const char *root)
{
    w->seed = seed;
    w->now = 1000 * MS;
    rand_init(&w->rand, seed);
    snprintf(w->root, sizeof w->root, "%s", root);
    for (int i = 0; i < HOSTS; i++) host_init(w, i + 1);
}

void sim_free(struct sim *w)
{
    for (int i = 0; i < HOSTS; i++)
        if (w->hosts[i].up) host_end(&w->hosts[i], HOST_KILL);
    sim_drop_events(w, NULL);
    for (int i = 0; i < HOSTS; i++) host_free(&w->hosts[i]);
    network_free(w);
    client_free(w);
    check_free(w);
    free(w->heap);
}

struct host *sim_leader(struct sim *w)
{
    struct host *best = NULL;

    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];

        if (h->up && raft_role(h->raft) == RAFT_LEADER &&
            (best == NULL || raft_term(h->raft) > raft_term(best->raft)))
            best = h;
    }
    return best;
}

void sim_bootstrap(struct sim *w, bool everywhere)
{
    struct raft_config c;

    raft_config_init(&c);
    for (uint32_t i = 0; i < w->c.voters + w->c.non_voters; i++)
        CHECK(raft_config_put(&c, w->hosts[i].id, w->hosts[i].addr, i < w->c.voters) ==
              ERR_OK);
    for (uint32_t i = 0; i < w->c.voters; i++) {
        struct host *h = &w->hosts[i];

        if (!h->up || (i > 0 && !everywhere)) continue;
        (void)member_bootstrap_config(h->member, &c, host_now_ms(h));
        host_turn_end(h);
    }
    raft_config_fini(&c);
}
