/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/node/space.h"

#define MB (UINT64_C(1) << 20)

static void little_is_low_and_some_more_is_needed_to_go_on(void **state)
{
    (void)state;
    assert_false(space_is_low(false, 48 * MB, 1000 * MB));
    assert_true(space_is_low(false, 48 * MB - 1, 1000 * MB));
    assert_true(space_is_low(true, 59 * MB, 1000 * MB));
    assert_false(space_is_low(true, 60 * MB, 1000 * MB));
}

static void a_small_disk_may_be_filled_further(void **state)
{
    (void)state;
    assert_false(space_is_low(false, 10 * MB, 100 * MB));
    assert_true(space_is_low(false, 10 * MB - 1, 100 * MB));
    assert_true(space_is_low(false, 0, 0) == false);
}

static void a_disk_that_cannot_be_asked_is_not_low(void **state)
{
    struct space s;
    bool changed;

    (void)state;
    space_init(&s, "/nowhere/at/all");
    assert_false(space_low(&s, 5, &changed));
    assert_false(changed);
}

static void it_is_asked_once_a_second(void **state)
{
    struct space s;
    bool changed;

    (void)state;
    space_init(&s, ".");
    (void)space_low(&s, 5, &changed);
    assert_int_equal(s.look_ms, 5 + SPACE_LOOK_MS);
    s.low = true; /* as it stays until it is asked again */
    assert_true(space_low(&s, 4 + SPACE_LOOK_MS, &changed));
    assert_false(space_low(&s, 5 + SPACE_LOOK_MS, &changed));
    assert_true(changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(little_is_low_and_some_more_is_needed_to_go_on),
        cmocka_unit_test(a_small_disk_may_be_filled_further),
        cmocka_unit_test(a_disk_that_cannot_be_asked_is_not_low),
        cmocka_unit_test(it_is_asked_once_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
