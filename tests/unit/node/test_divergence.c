/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/node/divergence.h"

static void equal_effects_agree_and_others_are_found(void **state)
{
    struct divergence *d = calloc(1, sizeof *d);

    (void)state;
    divergence_record(d, 7, 99);
    assert_int_equal(divergence_compare(d, 7, 99), DIVERGENCE_NONE);
    assert_int_equal(divergence_compare(d, 7, 98), DIVERGENCE_FOUND);
    free(d);
}

static void what_is_not_applied_yet_or_long_ago_is_unknown(void **state)
{
    struct divergence *d = calloc(1, sizeof *d);

    (void)state;
    assert_int_equal(divergence_compare(d, 0, 0), DIVERGENCE_UNKNOWN);
    assert_int_equal(divergence_compare(d, 5, 1), DIVERGENCE_UNKNOWN);
    for (uint64_t i = 1; i <= DIVERGENCE_KEPT + 10; i++) divergence_record(d, i, i * 3);
    assert_int_equal(divergence_compare(d, 10, 30), DIVERGENCE_UNKNOWN);
    assert_int_equal(divergence_compare(d, 11, 33), DIVERGENCE_NONE);
    assert_int_equal(divergence_compare(d, DIVERGENCE_KEPT + 10, 1), DIVERGENCE_FOUND);
    assert_int_equal(divergence_compare(d, DIVERGENCE_KEPT + 11, 1), DIVERGENCE_UNKNOWN);
    free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_effects_agree_and_others_are_found),
        cmocka_unit_test(what_is_not_applied_yet_or_long_ago_is_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
