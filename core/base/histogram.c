/* SPDX-License-Identifier: MIT */
#include "core/base/histogram.h"

#include "core/base/err.h"

/* From what a read in memory takes to what nobody waits for. */
#define MS UINT64_C(1000000)
static const uint64_t bounds_ns[HISTOGRAM_BOUNDS] = {
    MS / 20, MS / 10, MS / 4,   MS / 2,   MS,       5 * MS / 2, 5 * MS,    10 * MS,
    25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, 1000 * MS,  2500 * MS, 10000 * MS,
};
static const char *const bounds_text[HISTOGRAM_BOUNDS] = {
    "0.00005", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01",
    "0.025",   "0.05",   "0.1",     "0.25",   "0.5",   "1",      "2.5",   "10",
};

uint64_t histogram_bound_ns(unsigned i)
{
    CHECK(i < HISTOGRAM_BOUNDS);
    return bounds_ns[i];
}

const char *histogram_bound_text(unsigned i)
{
    CHECK(i < HISTOGRAM_BOUNDS);
    return bounds_text[i];
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned bucket = 0;

    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) /* no branch: compared all at once */
        bucket += ns > bounds_ns[i];
    counter_add(&h->counts[bucket], 1);
    counter_add(&h->sum_ns, ns);
}

void histogram_collect(struct histogram_sum *into, const struct histogram *h)
{
    for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        uint64_t n = atomic_load_explicit(&h->counts[i], memory_order_relaxed);

        into->counts[i] += n;
        into->total += n;
    }
    into->sum_ns += atomic_load_explicit(&h->sum_ns, memory_order_relaxed);
}
