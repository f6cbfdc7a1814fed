/* SPDX-License-Identifier: MIT */
/*
 * bench_stats: how long requests took, in buckets less than 1% wide.  Pure; one owner.
 */
#ifndef CLI_BENCH_STATS_H
#define CLI_BENCH_STATS_H

#include <stdint.h>

/* Values below 2^7 ns have a bucket each; above, each power of two is cut in 2^7. */
enum {
    BENCH_STATS_BITS = 7,
    BENCH_STATS_BUCKETS = (64 - BENCH_STATS_BITS + 1) << BENCH_STATS_BITS
};

struct bench_stats {
    uint64_t count, sum_ns, min_ns, max_ns;
    uint64_t buckets[BENCH_STATS_BUCKETS];
};

void bench_stats_add(struct bench_stats *s, uint64_t ns);

/* The time within which a share of the requests (0 < share <= 1) was done; 0 if there
 * were none. */
uint64_t bench_stats_quantile(const struct bench_stats *s, double share);

#endif
