/* SPDX-License-Identifier: MIT */
#include "core/base/clock.h"

#include <time.h>

static uint64_t now_ns(clockid_t which)
{
    struct timespec t;

    clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static uint64_t real_mono_ns(const struct clock *c)
{
    (void)c;
    return now_ns(CLOCK_MONOTONIC);
}

static uint64_t real_wall_ns(const struct clock *c)
{
    (void)c;
    return now_ns(CLOCK_REALTIME);
}

const struct clock *clock_real(void)
{
    static const struct clock real = {.mono_ns = real_mono_ns, .wall_ns = real_wall_ns};
    return &real;
}

uint64_t clock_coarse_ms(void)
{
    return now_ns(CLOCK_MONOTONIC_COARSE) / 1000000;
}
