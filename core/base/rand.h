/* SPDX-License-Identifier: MIT */
/*
 * rand: a small, quick, seeded generator (xoshiro256**, seeded by splitmix64).  The same
 * seed gives the same numbers on every machine.  Not for secrets.
 */
#ifndef CORE_BASE_RAND_H
#define CORE_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

struct rand {
    uint64_t s[4];
};

void rand_init(struct rand *r, uint64_t seed);
uint64_t rand_u64(struct rand *r);
uint64_t rand_below(struct rand *r, uint64_t n); /* 0 <= x < n, unbiased; n > 0 */
void rand_fill(struct rand *r, void *out, size_t len);

/* A seed nobody can guess, from getrandom(2). */
uint64_t rand_entropy(void);

#endif
