/* SPDX-License-Identifier: MIT */
/*
 * The log as Raft sees it: the term of every entry, as runs of equal terms (a log of a
 * million entries has as many runs as it saw leaders), and a ring of the newest entries
 * themselves.
 */
#include <stdlib.h>
#include <string.h>

#include "core/raft/internal.h"

static size_t log_entry_bytes(const struct raft_entry *e)
{
    return sizeof *e + (e->payload ? e->payload->len : 0);
}

void log_init(struct raft_log *l, uint64_t snap_index, uint64_t snap_term,
              size_t cache_bytes)
{
    *l = (struct raft_log){.snap_index = snap_index,
                           .snap_term = snap_term,
                           .base = snap_index,
                           .base_term = snap_term,
                           .last = snap_index,
                           .max_ring_bytes = cache_bytes};
}

static void log_cache_pop_newest(struct raft_log *l)
{
    struct raft_entry *e = &l->ring[(l->head + l->n_ring - 1) % l->cap_ring];

    l->ring_bytes -= log_entry_bytes(e);
    blob_unref(e->payload);
    l->n_ring--;
}

static void log_cache_pop_oldest(struct raft_log *l)
{
    struct raft_entry *e = &l->ring[l->head];

    l->ring_bytes -= log_entry_bytes(e);
    blob_unref(e->payload);
    l->head = (l->head + 1) % l->cap_ring;
    l->n_ring--;
}

static void log_cache_clear(struct raft_log *l)
{
    while (l->n_ring > 0) log_cache_pop_oldest(l);
}

void log_fini(struct raft_log *l)
{
    log_cache_clear(l);
    free(l->ring);
    free(l->runs);
    *l = (struct raft_log){0};
}

/* --- terms -------------------------------------------------------------------------- */

/* The run that holds index, which is in base + 1 .. last. */
static size_t log_run_of(const struct raft_log *l, uint64_t index)
{
    size_t low = 0, high = l->n_runs; /* runs[low].first <= index < runs[high].first */

    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (l->runs[mid].first <= index)
            low = mid;
        else
            high = mid;
    }
    return low;
}

uint64_t log_term(const struct raft_log *l, uint64_t index)
{
    if (index == 0 || index > l->last || index < l->base) return 0;
    if (index == l->snap_index) return l->snap_term;
    if (index == l->base) return l->base_term;
    return l->runs[log_run_of(l, index)].term;
}

bool log_knows(const struct raft_log *l, uint64_t index)
{
    return index == 0 ? l->base == 0 : log_term(l, index) != 0;
}

uint64_t log_run_start(const struct raft_log *l, uint64_t index)
{
    if (index <= l->base || index > l->last) return index;
    return l->runs[log_run_of(l, index)].first;
}

uint64_t log_last_upto_term(const struct raft_log *l, uint64_t term)
{
    uint64_t last = l->last;

    for (size_t i = l->n_runs; i-- > 0;) { /* from the end: logs disagree near it */
        if (l->runs[i].term <= term) return last;
        last = l->runs[i].first - 1;
    }
    return last; /* base */
}

/* --- growing and shrinking ---------------------------------------------------------- */

static bool log_cache_room(struct raft_log *l)
{
    size_t cap = l->cap_ring ? l->cap_ring * 2 : 64;
    struct raft_entry *ring;

    if (l->n_ring < l->cap_ring) return true;
    ring = malloc(cap * sizeof *ring);
    if (!ring) return false;
    for (size_t i = 0; i < l->n_ring; i++) ring[i] = l->ring[(l->head + i) % l->cap_ring];
    free(l->ring);
    l->ring = ring;
    l->cap_ring = cap;
    l->head = 0;
    return true;
}

static bool log_run_room(struct raft_log *l)
{
    size_t cap = l->cap_runs ? l->cap_runs * 2 : 16;
    struct raft_run *runs;

    if (l->n_runs < l->cap_runs) return true;
    runs = realloc(l->runs, cap * sizeof *runs);
    if (!runs) return false;
    l->runs = runs;
    l->cap_runs = cap;
    return true;
}

bool log_append(struct raft_log *l, const struct raft_entry *e)
{
    CHECK(e->index == l->last + 1);
    if (!log_cache_room(l) || !log_run_room(l)) {
        blob_unref(e->payload);
        return false;
    }
    if (l->n_runs == 0 || l->runs[l->n_runs - 1].term != e->term)
        l->runs[l->n_runs++] = (struct raft_run){e->index, e->term};
    l->ring[(l->head + l->n_ring) % l->cap_ring] = *e;
    l->n_ring++;
    l->ring_bytes += log_entry_bytes(e);
    l->last = e->index;
    return true;
}

void log_truncate(struct raft_log *l, uint64_t from)
{
    CHECK(from > l->base);
    while (l->n_ring > 0 && l->last >= from) {
        log_cache_pop_newest(l);
        l->last--;
    }
    if (l->last >= from) l->last = from - 1;
    while (l->n_runs > 0 && l->runs[l->n_runs - 1].first > l->last) l->n_runs--;
}

void log_reset(struct raft_log *l, uint64_t index, uint64_t term)
{
    log_cache_clear(l);
    l->n_runs = 0;
    l->base = l->last = l->snap_index = index;
    l->base_term = l->snap_term = term;
}

void log_drop_upto(struct raft_log *l, uint64_t base)
{
    size_t gone = 0;

    if (base <= l->base) return;
    CHECK(base <= l->last);
    l->base_term = log_term(l, base);
    l->base = base;
    while (l->n_ring > 0 && l->ring[l->head].index <= base) log_cache_pop_oldest(l);
    while (gone < l->n_runs &&
           (gone + 1 < l->n_runs ? l->runs[gone + 1].first - 1 : l->last) <= base)
        gone++;
    l->n_runs -= gone;
    memmove(l->runs, l->runs + gone, l->n_runs * sizeof *l->runs);
    if (l->n_runs > 0 && l->runs[0].first <= base) l->runs[0].first = base + 1;
}

/* --- the cache ---------------------------------------------------------------------- */

const struct raft_entry *log_cached(const struct raft_log *l, uint64_t index)
{
    uint64_t first = l->last + 1 - l->n_ring;

    if (index < first || index > l->last) return NULL;
    return &l->ring[(l->head + (size_t)(index - first)) % l->cap_ring];
}

void log_evict(struct raft_log *l, uint64_t keep)
{
    while (l->ring_bytes > l->max_ring_bytes && l->n_ring > 1 &&
           l->ring[l->head].index < keep)
        log_cache_pop_oldest(l);
}
