/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "gateway/access_line.h"

static const struct access_line plain = {.at_ns = UINT64_C(1700000000123456789),
                                         .client = "10.0.0.1:99",
                                         .method = "GET",
                                         .target = "/readyz",
                                         .status = 200,
                                         .sent_bytes = 12,
                                         .elapsed_ns = 1500000000};

static void assert_line(const struct access_line *l, bool json, const char *expected)
{
    struct buf out;

    buf_init(&out, 0);
    access_line_put(&out, l, json);
    buf_append_u8(&out, 0);
    assert_int_equal(buf_error(&out), ERR_OK);
    assert_string_equal((const char *)out.data, expected);
    buf_fini(&out);
}

static void what_is_plain_stands_as_it_is(void **state)
{
    struct access_line l = plain;

    (void)state;
    assert_line(&l, false,
                "10.0.0.1:99 - [2023-11-14T22:13:20.123456789Z] \"GET /readyz\" 200 12 "
                "1.5 -\n");
    l.user = "bob";
    l.id = "id-1";
    assert_line(&l, false,
                "10.0.0.1:99 bob [2023-11-14T22:13:20.123456789Z] \"GET /readyz\" 200 "
                "12 1.5 id-1\n");
    assert_line(&l, true,
                "{\"time\":\"2023-11-14T22:13:20.123456789Z\",\"component\":\"access\","
                "\"client\":\"10.0.0.1:99\",\"user\":\"bob\",\"method\":\"GET\","
                "\"target\":\"/readyz\",\"status\":200,\"bytes\":12,\"duration\":1.5,"
                "\"request_id\":\"id-1\"}\n");
}

static void a_name_cannot_forge_a_line(void **state)
{
    static const struct {
        const char *user, *shown;
    } names[] = {{"a\n10.0.0.2:1 root", "\"a\\n10.0.0.2:1 root\""},
                 {"a\nb", "\"a\\nb\""},
                 {"\x1b[2J", "\"\\u001b[2J\""},
                 {"\x7f", "\"\\u007f\""},
                 {"-", "\"-\""},
                 {"", "\"\""},
                 {"a\"b\\", "\"a\\\"b\\\\\""},
                 {"\xc3\xa9", "\"\xc3\xa9\""},
                 {"\xff", "\"\\ufffd\""}};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct access_line l = plain;
        char expected[200];

        l.user = names[i].user;
        snprintf(expected, sizeof expected,
                 "10.0.0.1:99 %s [2023-11-14T22:13:20.123456789Z] \"GET /readyz\" 200 12 "
                 "1.5 -\n",
                 names[i].shown);
        assert_line(&l, false, expected);
    }
}

static void json_moves_no_cursor_either(void **state)
{
    struct access_line l = plain;

    (void)state;
    l.user = "\x7f\x1b\xff\n";
    assert_line(&l, true,
                "{\"time\":\"2023-11-14T22:13:20.123456789Z\",\"component\":\"access\","
                "\"client\":\"10.0.0.1:99\",\"user\":\"\\u007f\\u001b\\ufffd\\n\","
                "\"method\":\"GET\",\"target\":\"/readyz\",\"status\":200,\"bytes\":12,"
                "\"duration\":1.5}\n");
}

static void a_target_is_written_as_a_url(void **state)
{
    struct access_line l = plain;

    (void)state;
    l.method = "A\"B";
    l.target = "/a\n\"\xff\x7f?q=1&x=\t";
    assert_line(&l, false,
                "10.0.0.1:99 - [2023-11-14T22:13:20.123456789Z] "
                "\"A%22B /a%0A%22%FF%7F?q=1&x=%09\" 200 12 1.5 -\n");
}

static void long_statements_and_targets_are_cut(void **state)
{
    struct access_line l = plain;
    char target[5000], expected[300];
    struct buf out;

    (void)state;
    memset(target, 'a', sizeof target);
    memcpy(target, "/db/query?x=1&q=", 16);
    strcpy(target + 4000, "&level=none");
    l.target = target;
    snprintf(expected, sizeof expected,
             "10.0.0.1:99 - [2023-11-14T22:13:20.123456789Z] \"GET "
             "%.*s...&level=none\" 200 12 1.5 -\n",
             16 + ACCESS_LINE_Q, target);
    assert_line(&l, false, expected);
    memset(target, 'a', sizeof target);
    target[sizeof target - 1] = '\0';
    buf_init(&out, 0);
    access_line_put(&out, &l, false);
    assert_true(out.len < 2 * ACCESS_LINE_TARGET);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_plain_stands_as_it_is),
        cmocka_unit_test(a_name_cannot_forge_a_line),
        cmocka_unit_test(json_moves_no_cursor_either),
        cmocka_unit_test(a_target_is_written_as_a_url),
        cmocka_unit_test(long_statements_and_targets_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
