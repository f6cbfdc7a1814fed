/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/histogram.h"

static void a_time_goes_where_it_is_not_above_the_bound(void **state)
{
    struct histogram h;
    struct histogram_sum s = {0};

    (void)state;
    memset(&h, 0, sizeof h);
    histogram_add(&h, 0);
    histogram_add(&h, histogram_bound_ns(0));
    histogram_add(&h, histogram_bound_ns(0) + 1);
    histogram_add(&h, histogram_bound_ns(HISTOGRAM_BOUNDS - 1));
    histogram_add(&h, UINT64_MAX / 2);
    histogram_collect(&s, &h);
    assert_int_equal(s.counts[0], 2);
    assert_int_equal(s.counts[1], 1);
    assert_int_equal(s.counts[HISTOGRAM_BOUNDS - 1], 1);
    assert_int_equal(s.counts[HISTOGRAM_BOUNDS], 1);
    assert_int_equal(s.total, 5);
}

static void bounds_rise_and_their_texts_are_the_same_in_seconds(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        double s = strtod(histogram_bound_text(i), NULL);

        assert_true((uint64_t)(s * 1e9 + 0.5) == histogram_bound_ns(i));
        if (i > 0) assert_true(histogram_bound_ns(i) > histogram_bound_ns(i - 1));
    }
}

static void several_are_added_up(void **state)
{
    struct histogram a, b;
    struct histogram_sum s = {0};

    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    histogram_add(&a, 1000);
    histogram_add(&b, 2000);
    histogram_collect(&s, &a);
    histogram_collect(&s, &b);
    assert_int_equal(s.total, 2);
    assert_int_equal(s.sum_ns, 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_goes_where_it_is_not_above_the_bound),
        cmocka_unit_test(bounds_rise_and_their_texts_are_the_same_in_seconds),
        cmocka_unit_test(several_are_added_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
