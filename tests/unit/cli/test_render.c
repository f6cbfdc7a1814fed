/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <locale.h>
#include <string.h>

#include "cli/shell/json.h"
#include "cli/shell/render.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

static json_t *parse(const char *text)
{
    json_t *json = NULL;
    struct why why;

    assert_int_equal(json_read(&json, text, strlen(text), &why), ERR_OK);
    return json;
}

static void assert_renders(enum render_mode mode, const char *result,
                           const char *expected)
{
    json_t *json = parse(result);
    struct buf out;

    buf_init(&out, 0);
    assert_int_equal(render_table(&out, mode, json_object_get(json, "columns"),
                                  json_object_get(json, "values"), NULL),
                     ERR_OK);
    buf_append(&out, "", 1);
    assert_string_equal((char *)out.data, expected);
    buf_fini(&out);
    json_decref(json);
}

#define USERS "{\"columns\":[\"id\",\"name\"],\"values\":[[1,\"fiona\"],[2,\"a\"]]}"
#define EMPTY "{\"columns\":[\"id\",\"name\"]}"
#define MIXED                                                                            \
    "{\"columns\":[\"b\",\"a\",\"a\"],\"values\":[[null,1.5,[0,255]],[true,1e+100,\"\"]" \
    ",[[]]]}"

static void columns_have_a_border_after_every_row(void **state)
{
    (void)state;
    assert_renders(RENDER_COLUMN, USERS,
                   "+----+-------+\n"
                   "| id | name  |\n"
                   "+----+-------+\n"
                   "| 1  | fiona |\n"
                   "+----+-------+\n"
                   "| 2  | a     |\n"
                   "+----+-------+\n");
    assert_renders(RENDER_COLUMN, EMPTY,
                   "+----+------+\n"
                   "| id | name |\n"
                   "+----+------+\n");
    assert_renders(RENDER_COLUMN, "{}", "");
}

static void columns_tell_null_from_a_missing_cell(void **state)
{
    (void)state;
    assert_renders(RENDER_COLUMN, MIXED,
                   "+-------+--------+---------+\n"
                   "| b     | a      | a       |\n"
                   "+-------+--------+---------+\n"
                   "| <nil> | 1.5    | [0 255] |\n"
                   "+-------+--------+---------+\n"
                   "| true  | 1e+100 |         |\n"
                   "+-------+--------+---------+\n"
                   "| []    | NULL   | NULL    |\n"
                   "+-------+--------+---------+\n");
}

static void columns_are_as_wide_as_a_terminal_shows_them(void **state)
{
    (void)state;
    assert_renders(RENDER_COLUMN,
                   "{\"columns\":[\"é\"],\"values\":[[\"日本\"],[\"e\u0301\"]]}",
                   "+------+\n"
                   "| é    |\n"
                   "+------+\n"
                   "| 日本 |\n"
                   "+------+\n"
                   "| e\u0301    |\n"
                   "+------+\n");
}

static void csv_quotes_only_what_needs_it(void **state)
{
    (void)state;
    assert_renders(RENDER_CSV, USERS, "id,name\n1,fiona\n2,a\n");
    assert_renders(RENDER_CSV, EMPTY, "id,name\n");
    assert_renders(RENDER_CSV, MIXED,
                   "b,a,a\nNULL,1.5,[0 255]\ntrue,1e+100,\n[],NULL,NULL\n");
    assert_renders(
        RENDER_CSV,
        "{\"columns\":[\"a,b\"],\"values\":[[\"x\\\"y\"],[\" z\"],[\"l\\nm\"],[\"z \"],"
        "[\"a'b\"],[\"c\\rd\"]]}",
        "\"a,b\"\n\"x\"\"y\"\n\" z\"\n\"l\nm\"\nz \na'b\n\"c\rd\"\n");
}

static void json_sorts_keys_and_keeps_the_last_of_equal_names(void **state)
{
    (void)state;
    assert_renders(RENDER_JSON, USERS,
                   "[\n"
                   "  {\n"
                   "    \"id\": 1,\n"
                   "    \"name\": \"fiona\"\n"
                   "  },\n"
                   "  {\n"
                   "    \"id\": 2,\n"
                   "    \"name\": \"a\"\n"
                   "  }\n"
                   "]\n");
    assert_renders(RENDER_JSON, EMPTY, "[]\n");
    assert_renders(RENDER_JSON, MIXED,
                   "[\n"
                   "  {\n"
                   "    \"a\": [\n"
                   "      0,\n"
                   "      255\n"
                   "    ],\n"
                   "    \"b\": null\n"
                   "  },\n"
                   "  {\n"
                   "    \"a\": \"\",\n"
                   "    \"b\": true\n"
                   "  },\n"
                   "  {\n"
                   "    \"a\": null,\n"
                   "    \"b\": []\n"
                   "  }\n"
                   "]\n");
}

static void json_escapes_as_the_server_does(void **state)
{
    (void)state;
    assert_renders(
        RENDER_JSON,
        "{\"columns\":[\"<\"],\"values\":[[\"\\\"\\\\\\n\\u0001<&>\\u2028é\\u0000\"]]}",
        "[\n  {\n    \"\\u003c\": "
        "\"\\\"\\\\\\n\\u0001\\u003c\\u0026\\u003e\\u2028é\\u0000\"\n  }\n]\n");
}

static void lines_align_names_to_the_right(void **state)
{
    (void)state;
    assert_renders(RENDER_LINE, USERS, "  id = 1\nname = fiona\n\n  id = 2\nname = a\n");
    assert_renders(RENDER_LINE, EMPTY, "");
    assert_renders(RENDER_LINE, "{\"columns\":[\"x\"],\"values\":[[null]]}",
                   "x = NULL\n");
}

static void trees_are_sorted_and_leave_out_null(void **state)
{
    json_t *json =
        parse("{\"b\":{\"y\":1,\"x\":{}},\"a\":[1,\"two\",null,{\"k\":2.50,\"j\":[]}],"
              "\"n\":null,\"c\":-0,\"d\":100000000000000000000,\"e\":true}");
    struct buf out;

    (void)state;
    buf_init(&out, 0);
    render_tree(&out, json);
    buf_append(&out, "", 1);
    assert_string_equal((char *)out.data, "a: [1 two <nil> map[j:[] k:2.5]]\n"
                                          "b:\n"
                                          "  x:\n"
                                          "  y: 1\n"
                                          "c: -0\n"
                                          "d: 100000000000000000000\n"
                                          "e: true\n");
    buf_fini(&out);
    json_decref(json);
}

static void widths_are_those_of_a_terminal(void **state)
{
    static const struct {
        const char *text;
        size_t width;
    } rows[] = {
        {"", 0},        {"abc", 3},    {"é", 1},        {"日本", 4},     {"🐘", 2},
        {"e\u0301", 1}, {"\x01\n", 2}, {"\xff\xfe", 2}, {"\xe6\x97", 2}, {"\xc0\x80", 2},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(render_width(rows[i].text, strlen(rows[i].text)), rows[i].width);
}

static void modes_have_names(void **state)
{
    enum render_mode mode = RENDER_COLUMN;

    (void)state;
    assert_true(render_mode_find(&mode, "Line"));
    assert_int_equal(mode, RENDER_LINE);
    assert_false(render_mode_find(&mode, "bad"));
    assert_string_equal(render_mode_name(RENDER_JSON), "json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_have_a_border_after_every_row),
        cmocka_unit_test(columns_tell_null_from_a_missing_cell),
        cmocka_unit_test(columns_are_as_wide_as_a_terminal_shows_them),
        cmocka_unit_test(csv_quotes_only_what_needs_it),
        cmocka_unit_test(json_sorts_keys_and_keeps_the_last_of_equal_names),
        cmocka_unit_test(json_escapes_as_the_server_does),
        cmocka_unit_test(lines_align_names_to_the_right),
        cmocka_unit_test(trees_are_sorted_and_leave_out_null),
        cmocka_unit_test(widths_are_those_of_a_terminal),
        cmocka_unit_test(modes_have_names),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
