/* SPDX-License-Identifier: MIT */
/*
 * budget: how much memory bodies of requests and results may take together.  Any thread.
 *
 * What is small is not counted, so that most requests never come here: a body or result
 * is counted in steps of BUDGET_STEP once it is larger than that.
 */
#ifndef GATEWAY_BUDGET_H
#define GATEWAY_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { BUDGET_STEP = 256 * 1024 };

struct budget {
    atomic_uint_fast64_t used;
    uint64_t max; /* bytes; 0 = no limit */
};

/* Let *held, of the caller, cover bytes.  False, and nothing changes: there is not so
 * much left. */
static inline bool budget_cover(struct budget *b, uint64_t *held, uint64_t bytes)
{
    uint64_t want, more, used;

    if (bytes <= BUDGET_STEP || bytes <= *held) return true;
    want = (bytes + BUDGET_STEP - 1) / BUDGET_STEP * BUDGET_STEP;
    more = want - *held;
    used = atomic_fetch_add(&b->used, more);
    if (b->max > 0 && used + more > b->max) {
        atomic_fetch_sub(&b->used, more);
        return false;
    }
    *held = want;
    return true;
}

static inline void budget_return(struct budget *b, uint64_t *held)
{
    if (*held > 0) atomic_fetch_sub(&b->used, *held);
    *held = 0;
}

#endif
