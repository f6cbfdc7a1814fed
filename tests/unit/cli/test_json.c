/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/shell/json.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

static void numbers_come_out_as_they_went_in(void **state)
{
    static const char *const rows[] = {
        "0",
        "-0",
        "-1",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854776000",
        "-9223372036854776000",
        "100000000000000000000",
        "1.5",
        "1e+100",
        "1e-7",
        "0.000017596",
        "5e-324",
        "1.7976931348623157e+308",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        json_t *json = NULL;
        struct buf out;
        buf_init(&out, 0);
        assert_int_equal(json_read(&json, rows[i], strlen(rows[i]), NULL), ERR_OK);
        json_append_number(&out, json);
        buf_append(&out, "", 1);
        assert_string_equal((char *)out.data, rows[i]);
        buf_fini(&out);
        json_decref(json);
    }
}

static void digits_in_strings_are_left_alone(void **state)
{
    static const char TEXT[] =
        "[\"-0 \\\" 99999999999999999999\",99999999999999999999,\"-0\"]";
    json_t *json = NULL;

    (void)state;
    assert_int_equal(json_read(&json, TEXT, strlen(TEXT), NULL), ERR_OK);
    assert_string_equal(json_string_value(json_array_get(json, 0)),
                        "-0 \" 99999999999999999999");
    assert_true(json_is_real(json_array_get(json, 1)));
    assert_string_equal(json_string_value(json_array_get(json, 2)), "-0");
    json_decref(json);
}

static void what_is_not_json_is_refused(void **state)
{
    static const char *const rows[] = {"",    "{",      "[1,]",  "nonsense",
                                       "[-]", "\"open", "[\"a\\"};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct why why;
        json_t *json = NULL;
        /* Exactly as long as it is, so that reading past the end is seen. */
        char *text = malloc(strlen(rows[i]) + 1);
        memcpy(text, rows[i], strlen(rows[i]) + 1);
        assert_int_equal(json_read(&json, text, strlen(text), &why), ERR_CORRUPT);
        assert_null(json);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_out_as_they_went_in),
        cmocka_unit_test(digits_in_strings_are_left_alone),
        cmocka_unit_test(what_is_not_json_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
