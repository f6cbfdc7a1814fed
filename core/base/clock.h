/* SPDX-License-Identifier: MIT */
/*
 * clock: where time comes from.  A function table, so that the simulator can supply its
 * own.
 */
#ifndef CORE_BASE_CLOCK_H
#define CORE_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t (*mono_ns)(const struct clock *c); /* never runs backwards, any origin */
    uint64_t (*wall_ns)(const struct clock *c); /* since 1970 UTC; may jump */
};

/* The machine's clocks.  Static, any thread. */
const struct clock *clock_real(void);

/* Milliseconds of the same kind of clock as clock_real()'s, some old, at a tenth of the
 * price: for what is asked once for each row. */
uint64_t clock_coarse_ms(void);

static inline uint64_t clock_mono_ns(const struct clock *c)
{
    return c->mono_ns(c);
}
static inline uint64_t clock_wall_ns(const struct clock *c)
{
    return c->wall_ns(c);
}

#endif
