/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/arena.h"
#include "gateway/basic.h"

static void expect(const char *value, const char *want_user, const char *want_password)
{
    const char *user, *password;
    struct arena a;

    arena_init(&a, 0);
    assert_int_equal(basic_parse(value, &a, &user, &password), want_user != NULL);
    if (want_user) {
        assert_string_equal(user, want_user);
        assert_string_equal(password, want_password);
    } else {
        assert_null(user);
        assert_null(password);
    }
    arena_fini(&a);
}

static void a_name_and_a_password_come_out(void **state)
{
    (void)state;
    expect("Basic Ym9iOnNlY3JldA==", "bob", "secret");
    expect("bAsIc Ym9iOnNlY3JldDE=", "bob", "secret1");
    expect("Basic Ym9iOnNlY3JldDEy", "bob", "secret12");
    expect("Basic Ym9iOmE6Yg==", "bob", "a:b"); /* the first colon */
    expect("Basic Og==", "", "");
    expect("Basic Ym9iOg==", "bob", "");
    expect("Basic w7w6+/8=", "\xc3\xbc", "\xfb\xff");
}

static void anything_else_is_nobody(void **state)
{
    static const char *const bad[] = {
        "",
        "Basic",
        "Basic ",
        "Bearer Ym9iOnNlY3JldA==",
        "BasicYm9iOnNlY3JldA==",
        "Basic  Ym9iOnNlY3JldA==",
        "Basic Ym9iOnNlY3JldA",   /* no padding */
        "Basic Ym9iOnNlY3JldA=",  /* too little */
        "Basic Ym9iOnNlY3Jl====", /* too much */
        "Basic Ym9iO=NlY3JldA==", /* in the middle */
        "Basic Ym9iOnNlY3JldA== ",
        "Basic Ym9iOnNlY3J-_A==", /* the other alphabet */
        "Basic Ym9i",             /* no colon */
        "Basic Ym9iOgBh",         /* a zero byte */
        "Basic ====",
        "Basic \xc3\xbc\xc3\xbc",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) expect(bad[i], NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_and_a_password_come_out),
        cmocka_unit_test(anything_else_is_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
