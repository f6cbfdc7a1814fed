/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "gateway/json_write.h"

static struct buf out;

static const char *text(void)
{
    buf_append_u8(&out, 0);
    assert_int_equal(buf_error(&out), ERR_OK);
    out.len = 0;
    return (const char *)out.data;
}

static const char *string(const char *s, size_t n)
{
    json_put_string(&out, s, n);
    return text();
}

static const char *cstring(const char *s)
{
    return string(s, strlen(s));
}

static const char *real(double v)
{
    assert_true(json_put_real(&out, v));
    return text();
}

static void strings_are_escaped(void **state)
{
    (void)state;
    assert_string_equal(cstring(""), "\"\"");
    assert_string_equal(cstring("plain text"), "\"plain text\"");
    assert_string_equal(cstring("<a href=\"x\">&amp;</a>"),
                        "\"\\u003ca href=\\\"x\\\"\\u003e\\u0026amp;\\u003c/a\\u003e\"");
    assert_string_equal(cstring("back\\slash 'quote' /slash"),
                        "\"back\\\\slash 'quote' /slash\"");
    assert_string_equal(string("\b\f\n\r\t\0\x01\x1f\x7f", 9),
                        "\"\\b\\f\\n\\r\\t\\u0000\\u0001\\u001f\x7f\"");
    assert_string_equal(cstring("\u2028\u2029 \u00e9 \u6f22 \U0001f600 \u2027\u202a"),
                        "\"\\u2028\\u2029 \u00e9 \u6f22 \U0001f600 \u2027\u202a\"");
}

static void bytes_that_are_no_utf8_are_shown_one_by_one(void **state)
{
    (void)state;
    assert_string_equal(cstring("\xff"), "\"\\ufffd\"");
    assert_string_equal(cstring("a\xff\x62\xc3"), "\"a\\ufffdb\\ufffd\"");
    assert_string_equal(cstring("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");
    assert_string_equal(cstring("\xe2\x82"), "\"\\ufffd\\ufffd\"");
    assert_string_equal(cstring("\xc0\xaf\xf5\x80\xf4\x90\x80\x80"),
                        "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"");
    assert_string_equal(cstring("\xf4\x8f\xbf\xbf"), "\"\xf4\x8f\xbf\xbf\"");
}

/* The same bytes one by one, the slow way. */
static void a_long_string_is_the_sum_of_its_characters(void **state)
{
    static const char *const pieces[] = {"a",    "<",  "\u00e9", "\U0001f600",
                                         "\xff", "\n", "\u2028", "bcdefgh"};
    static const char *const shown[] = {"a",       "\\u003c", "\u00e9",  "\U0001f600",
                                        "\\ufffd", "\\n",     "\\u2028", "bcdefgh"};
    struct buf in, expected;
    unsigned seed = 1;

    (void)state;
    buf_init(&in, 0);
    buf_init(&expected, 0);
    buf_append_u8(&expected, '"');
    for (int i = 0; i < 20000; i++) {
        unsigned k = (seed = seed * 1103515245 + 12345) >> 16 & 7;

        buf_append_str(&in, pieces[k]);
        buf_append_str(&expected, shown[k]);
    }
    buf_append_u8(&expected, '"');
    json_put_string(&out, in.data, in.len);
    assert_int_equal(out.len, expected.len);
    assert_memory_equal(out.data, expected.data, expected.len);
    out.len = 0;
    buf_fini(&in);
    buf_fini(&expected);
}

static void integers_are_decimal(void **state)
{
    static const int64_t values[] = {0,   1,     9,  10,  99,        100,
                                     101, 12345, -1, -10, INT64_MAX, INT64_MIN};
    char expected[32];

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        snprintf(expected, sizeof expected, "%lld", (long long)values[i]);
        json_put_int(&out, values[i]);
        assert_string_equal(text(), expected);
    }
    json_put_uint(&out, UINT64_MAX);
    assert_string_equal(text(), "18446744073709551615");
}

static void reals_are_the_shortest_that_read_back(void **state)
{
    (void)state;
    assert_string_equal(real(1.0), "1");
    assert_string_equal(real(0.0), "0");
    assert_string_equal(real(-0.0), "-0");
    assert_string_equal(real(-1.5), "-1.5");
    assert_string_equal(real(100.0), "100");
    assert_string_equal(real(0.1), "0.1");
    assert_string_equal(real(0.1 + 0.2), "0.30000000000000004");
    assert_string_equal(real(1e15), "1000000000000000");
    assert_string_equal(real(9007199254740993.0), "9007199254740992");
    assert_string_equal(real(9223372036854775808.0), "9223372036854776000");
    assert_string_equal(real(1e20), "100000000000000000000");
    assert_string_equal(real(1e21), "1e+21");
    assert_string_equal(real(1e-6), "0.000001");
    assert_string_equal(real(1e-7), "1e-7");
    assert_string_equal(real(1.7976931348623157e308), "1.7976931348623157e+308");
    assert_string_equal(real(5e-324), "5e-324");
    assert_false(json_put_real(&out, INFINITY));
    assert_false(json_put_real(&out, -INFINITY));
    assert_int_equal(out.len, 0);
}

static void durations_are_seconds(void **state)
{
    (void)state;
    json_put_seconds(&out, 19169);
    assert_string_equal(text(), "0.000019169");
    json_put_seconds(&out, 100);
    assert_string_equal(text(), "1e-7");
    json_put_seconds(&out, 1066352);
    assert_string_equal(text(), "0.001066352");
    json_put_seconds(&out, 2000000000);
    assert_string_equal(text(), "2");
}

static void blobs_are_base64_or_arrays(void **state)
{
    struct json j;

    (void)state;
    json_put_base64(&out, "\x00\x01\x02\x03\xff", 5);
    assert_string_equal(text(), "\"AAECA/8=\"");
    json_put_base64(&out, "ABC", 3);
    assert_string_equal(text(), "\"QUJD\"");
    json_put_base64(&out, "\xaa", 1);
    assert_string_equal(text(), "\"qg==\"");
    json_put_base64(&out, NULL, 0);
    assert_string_equal(text(), "\"\"");
    json_init(&j, &out, false);
    json_put_blob_array(&j, (const uint8_t *)"\x00\x01\xff", 3);
    assert_string_equal(text(), "[0,1,255]");
    json_init(&j, &out, true);
    json_put_blob_array(&j, (const uint8_t *)"\x00\x01", 2);
    assert_string_equal(text(), "[\n    0,\n    1\n]");
    json_put_blob_array(&j, NULL, 0);
    assert_string_equal(text(), "[]");
}

static void structure(struct json *j)
{
    json_open(j, '{');
    json_key(j, "a");
    json_open(j, '[');
    json_close(j, ']');
    json_key(j, "b");
    json_open(j, '[');
    json_item(j);
    json_put_int(j->out, 1);
    json_item(j);
    json_open(j, '{');
    json_close(j, '}');
    json_close(j, ']');
    json_keyn(j, "<", 1);
    json_put_bool(j->out, true);
    json_close(j, '}');
}

static void commas_and_lines_are_in_place(void **state)
{
    struct json j;

    (void)state;
    json_init(&j, &out, false);
    structure(&j);
    assert_string_equal(text(), "{\"a\":[],\"b\":[1,{}],\"\\u003c\":true}");
    json_init(&j, &out, true);
    structure(&j);
    assert_string_equal(text(), "{\n    \"a\": [],\n    \"b\": [\n        1,\n        "
                                "{}\n    ],\n    \"\\u003c\": true\n}");
}

static int begin(void **state)
{
    (void)state;
    buf_init(&out, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(bytes_that_are_no_utf8_are_shown_one_by_one),
        cmocka_unit_test(a_long_string_is_the_sum_of_its_characters),
        cmocka_unit_test(integers_are_decimal),
        cmocka_unit_test(reals_are_the_shortest_that_read_back),
        cmocka_unit_test(durations_are_seconds),
        cmocka_unit_test(blobs_are_base64_or_arrays),
        cmocka_unit_test(commas_and_lines_are_in_place),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
