/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it */
#include <cmocka.h>

#include <pthread.h>

#include "gateway/budget.h"

enum { STEP = BUDGET_STEP };

static void what_is_small_is_not_counted(void **state)
{
    struct budget b = {.max = 1};
    uint64_t held = 0;

    (void)state;
    assert_true(budget_cover(&b, &held, 0));
    assert_true(budget_cover(&b, &held, STEP));
    assert_int_equal(held, 0);
    assert_int_equal(b.used, 0);
    budget_return(&b, &held);
    assert_int_equal(b.used, 0);
}

static void what_is_large_is_counted_in_steps(void **state)
{
    struct budget b = {.max = 10 * STEP};
    uint64_t held = 0;

    (void)state;
    assert_true(budget_cover(&b, &held, STEP + 1));
    assert_int_equal(held, 2 * STEP);
    assert_true(budget_cover(&b, &held, 2 * STEP));
    assert_true(budget_cover(&b, &held, 5)); /* never given back in part */
    assert_int_equal(b.used, 2 * STEP);
    assert_true(budget_cover(&b, &held, 2 * STEP + 1));
    assert_int_equal(held, 3 * STEP);
    assert_int_equal(b.used, 3 * STEP);
    budget_return(&b, &held);
    assert_int_equal(held, 0);
    assert_int_equal(b.used, 0);
}

static void what_does_not_fit_changes_nothing(void **state)
{
    struct budget b = {.max = 4 * STEP};
    uint64_t one = 0, other = 0;

    (void)state;
    assert_true(budget_cover(&b, &one, 3 * STEP));
    assert_false(budget_cover(&b, &other, 2 * STEP));
    assert_int_equal(other, 0);
    assert_false(budget_cover(&b, &one, 4 * STEP + 1));
    assert_int_equal(one, 3 * STEP);
    assert_int_equal(b.used, 3 * STEP);
    assert_true(budget_cover(&b, &one, 4 * STEP)); /* up to the last byte */
    budget_return(&b, &one);
    assert_true(budget_cover(&b, &other, 2 * STEP));
    budget_return(&b, &other);
    assert_int_equal(b.used, 0);
}

static void without_a_limit_everything_fits(void **state)
{
    struct budget b = {.max = 0};
    uint64_t held = 0;

    (void)state;
    assert_true(budget_cover(&b, &held, UINT64_C(1) << 50));
    budget_return(&b, &held);
    assert_int_equal(b.used, 0);
}

/* --- many at once ------------------------------------------------------------------- */

static atomic_uint_fast64_t granted; /* steps in use, as their holders count them */
static atomic_bool exceeded;

static void *take_and_give(void *arg)
{
    struct budget *b = arg;

    for (int i = 0; i < 20000; i++) {
        uint64_t held = 0;

        if (!budget_cover(b, &held, 2 * STEP)) continue;
        if (atomic_fetch_add(&granted, 2) + 2 > 5) atomic_store(&exceeded, true);
        atomic_fetch_sub(&granted, 2);
        budget_return(b, &held);
    }
    return NULL;
}

static void threads_together_never_hold_more_than_there_is(void **state)
{
    struct budget b = {.max = 5 * STEP};
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &b), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_false(exceeded);
    assert_int_equal(b.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_small_is_not_counted),
        cmocka_unit_test(what_is_large_is_counted_in_steps),
        cmocka_unit_test(what_does_not_fit_changes_nothing),
        cmocka_unit_test(without_a_limit_everything_fits),
        cmocka_unit_test(threads_together_never_hold_more_than_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
