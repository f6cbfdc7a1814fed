/* SPDX-License-Identifier: MIT */
/* The forms of -join's addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/cluster/address.h"

static struct address a;

static bool parse(const char *text)
{
    return address_parse(&a, text, strlen(text));
}

static void a_raft_address_is_taken_as_it_is(void **state)
{
    static const char *const good[] = {"host:4002", "10.0.0.1:4002", "[::1]:4002",
                                       ":4002", "host:"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[ADDRESS_URL_MAX];

        assert_true(parse(good[i]));
        assert_false(a.http || a.https);
        assert_string_equal(a.at, good[i]);
        address_text(&a, text);
        assert_string_equal(text, good[i]);
    }
}

static void what_is_no_host_and_port_is_refused(void **state)
{
    static const char *const bad[] = {
        "",        "foo",      "::1:4002",   "[::1]",        "[::1:400",    "a:b:c",
        "http://", "http:///", "http://a/x", "http://a:1/x", "https://[::1"};
    char longest[400];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(parse(bad[i]));
    memset(longest, 'h', sizeof longest);
    memcpy(longest + sizeof longest - 3, ":1", 3);
    assert_false(parse(longest));
    memcpy(longest, "http://", 7);
    assert_false(parse(longest));
}

static void http_addresses_have_a_port_by_default(void **state)
{
    char text[ADDRESS_URL_MAX];

    (void)state;
    assert_true(parse("http://host"));
    assert_true(a.http);
    assert_false(a.https);
    assert_string_equal(a.at, "host:4001");
    assert_true(parse("HTTPS://host:1234//"));
    assert_true(a.http && a.https);
    address_text(&a, text);
    assert_string_equal(text, "https://host:1234");
    assert_true(parse("http://[::1]/"));
    assert_string_equal(a.at, "[::1]:4001");
}

static void a_user_is_decoded_and_not_shown(void **state)
{
    char text[ADDRESS_URL_MAX];

    (void)state;
    assert_true(parse("http://bob:s%40cret%3A1@host:4001"));
    assert_string_equal(a.user, "bob");
    assert_string_equal(a.password, "s@cret:1");
    address_text(&a, text);
    assert_string_equal(text, "http://host:4001");
    assert_true(parse("http://bob@host"));
    assert_string_equal(a.user, "bob");
    assert_string_equal(a.password, "");
    assert_false(parse("http://bob:%4@host"));
    assert_false(parse("http://bob:%zz@host"));
    assert_false(parse("http://bob:%00@host"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_raft_address_is_taken_as_it_is),
        cmocka_unit_test(what_is_no_host_and_port_is_refused),
        cmocka_unit_test(http_addresses_have_a_port_by_default),
        cmocka_unit_test(a_user_is_decoded_and_not_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
