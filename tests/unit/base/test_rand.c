/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/base/clock.h"
#include "core/base/rand.h"

static void the_numbers_are_those_of_the_published_generator(void **state)
{
    /* splitmix64 from 0, as printed by the authors' C code. */
    struct rand r;

    (void)state;
    rand_init(&r, 0);
    assert_true(r.s[0] == 0xe220a8397b1dcdafU);
    assert_true(r.s[1] == 0x6e789e6aa1b965f4U);
    assert_true(r.s[2] == 0x06c45d188009454fU);
    assert_true(r.s[3] == 0xf88bb8a8724c81ecU);
    assert_true(rand_u64(&r) == 0x99ec5f36cb75f2b4U);

    /* xoshiro256** from the state {1, 2, 3, 4}. */
    r = (struct rand){{1, 2, 3, 4}};
    assert_true(rand_u64(&r) == 11520);
    assert_true(rand_u64(&r) == 0);
    assert_true(rand_u64(&r) == 1509978240);
    assert_true(rand_u64(&r) == 1215971899390074240U);
}

static void the_same_seed_gives_the_same_numbers(void **state)
{
    struct rand a, b, c;
    int equal = 0;

    (void)state;
    rand_init(&a, 42);
    rand_init(&b, 42);
    rand_init(&c, 43);
    for (int i = 0; i < 1000; i++) {
        uint64_t x = rand_u64(&a);
        assert_true(x == rand_u64(&b));
        equal += x == rand_u64(&c);
    }
    assert_int_equal(equal, 0);
}

static void below_stays_below_and_reaches_everything(void **state)
{
    int seen[7] = {0};
    struct rand r;

    (void)state;
    rand_init(&r, 7);
    for (int i = 0; i < 7000; i++) {
        uint64_t x = rand_below(&r, 7);
        assert_true(x < 7);
        seen[x]++;
    }
    for (int i = 0; i < 7; i++) assert_in_range(seen[i], 800, 1200);
    for (int i = 0; i < 100; i++) assert_int_equal(rand_below(&r, 1), 0);
    for (int i = 0; i < 100; i++) assert_true(rand_below(&r, UINT64_MAX) < UINT64_MAX);
    for (int i = 0; i < 100; i++)
        assert_true(rand_below(&r, ((uint64_t)1 << 63) + 1) <= (uint64_t)1 << 63);
}

static void filled_bytes_are_the_numbers_little_endian(void **state)
{
    struct rand a, b;
    uint8_t out[11], guard[4] = {9, 9, 9, 9};
    uint64_t x, y;

    (void)state;
    rand_init(&a, 5);
    rand_init(&b, 5);
    rand_fill(&a, out, sizeof out);
    x = rand_u64(&b);
    y = rand_u64(&b);
    for (int i = 0; i < 8; i++) assert_int_equal(out[i], x >> 8 * i & 0xff);
    for (int i = 0; i < 3; i++) assert_int_equal(out[8 + i], y >> 8 * i & 0xff);
    rand_fill(&a, guard, 0);
    assert_int_equal(guard[0], 9);
}

static void no_two_seeds_of_the_system_are_equal(void **state)
{
    (void)state;
    assert_true(rand_entropy() != rand_entropy());
}

static void the_monotonic_clock_never_runs_backwards(void **state)
{
    const struct clock *c = clock_real();
    uint64_t last = clock_mono_ns(c);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_mono_ns(c);
        assert_true(now >= last);
        last = now;
    }
    assert_true(clock_wall_ns(c) > 1600000000U * (uint64_t)1000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_numbers_are_those_of_the_published_generator),
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(below_stays_below_and_reaches_everything),
        cmocka_unit_test(filled_bytes_are_the_numbers_little_endian),
        cmocka_unit_test(no_two_seeds_of_the_system_are_equal),
        cmocka_unit_test(the_monotonic_clock_never_runs_backwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
