/* SPDX-License-Identifier: MIT */
/*
 * histogram: how long things took, in fixed buckets.
 *
 * One thread adds, any thread looks: relaxed atomics without a locked instruction, so
 * that adding costs a few nanoseconds.  What is seen may be a moment old; a histogram per
 * thread, and their sum when somebody looks, serves several writers.
 */
#ifndef CORE_BASE_HISTOGRAM_H
#define CORE_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 16 };

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* the last: above every bound */
    _Atomic uint64_t sum_ns;
};

/* The bounds: a bucket counts what took at most so long, and longer than the one before
 * it. */
uint64_t histogram_bound_ns(unsigned i);
const char *histogram_bound_text(unsigned i); /* the same in seconds; static */

/* Always from the same thread. */
void histogram_add(struct histogram *h, uint64_t ns);

struct histogram_sum { /* of some histograms; all zero to begin with */
    uint64_t counts[HISTOGRAM_BOUNDS + 1], total, sum_ns;
};
void histogram_collect(struct histogram_sum *into, const struct histogram *h);

/* Of a number with one writer: add, without a locked instruction. */
static inline void counter_add(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

#endif
