/* SPDX-License-Identifier: MIT */
#include "cli/bench_stats.h"

#include <stddef.h>

static size_t bucket_of(uint64_t ns)
{
    unsigned shift = 0;

    if (ns >> BENCH_STATS_BITS)
        shift = 63 - (unsigned)__builtin_clzll(ns) - BENCH_STATS_BITS + 1;
    /* From shift 1 on the top bit is always set, so half of each block stays free: the
     * buckets are a little too many and the sum is simple. */
    return ((size_t)shift << BENCH_STATS_BITS) + (size_t)(ns >> shift);
}

static uint64_t bucket_top(size_t bucket)
{
    size_t shift = bucket >> BENCH_STATS_BITS;
    uint64_t low = bucket & (((size_t)1 << BENCH_STATS_BITS) - 1);

    return shift == 0 ? low : ((low + 1) << shift) - 1;
}

void bench_stats_add(struct bench_stats *s, uint64_t ns)
{
    if (s->count == 0 || ns < s->min_ns) s->min_ns = ns;
    if (ns > s->max_ns) s->max_ns = ns;
    s->count++;
    s->sum_ns += ns;
    s->buckets[bucket_of(ns)]++;
}

uint64_t bench_stats_quantile(const struct bench_stats *s, double share)
{
    uint64_t seen = 0;
    double wanted = share * (double)s->count;

    for (size_t i = 0; i < BENCH_STATS_BUCKETS; i++) {
        uint64_t top = bucket_top(i);
        seen += s->buckets[i];
        if (seen > 0 && (double)seen >= wanted) return top < s->max_ns ? top : s->max_ns;
    }
    return s->max_ns;
}
