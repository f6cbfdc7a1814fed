/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "gateway/json_sink.h"
#include "gateway/stamp.h"

static struct json_sink sink;
static struct row_sink *s;
static struct why why;
static char shown[1 << 16];

static void start(uint64_t flags)
{
    struct params p = {.present = flags};

    json_sink_init(&sink, &p);
    s = &sink.sink;
}

#define FLAG(name) ((uint64_t)1 << PARAM_##name)

/* The whole answer; "!text" for an error. */
static const char *finish_with(struct json_envelope e)
{
    if (json_sink_finish(&sink, &e, &why)) {
        shown[0] = '!';
        strcpy(shown + 1, why.text);
    } else {
        memcpy(shown, sink.body.data, sink.body.len);
        shown[sink.body.len] = '\0';
    }
    json_sink_fini(&sink);
    return shown;
}

static const char *finish(void)
{
    return finish_with((struct json_envelope){0});
}

static struct db_value i(int64_t v)
{
    return (struct db_value){.type = DB_INTEGER, .u.i = v};
}
static struct db_value r(double v)
{
    return (struct db_value){.type = DB_REAL, .u.r = v};
}
static struct db_value t(const char *v)
{
    return (struct db_value){.type = DB_TEXT, .u.s = {v, strlen(v)}};
}
static struct db_value b(const char *v, size_t n)
{
    return (struct db_value){.type = DB_BLOB, .u.s = {v, n}};
}
static struct db_value null(void)
{
    return (struct db_value){.type = DB_NULL};
}

static void columns1(const char *name, const char *declared)
{
    const struct row_column c = {name, declared};
    s->ops->columns(s, &c, 1);
}

static bool row1(struct db_value v)
{
    return s->ops->row(s, &v, 1);
}

/* One row in one column. */
static const char *one(const char *declared, struct db_value v)
{
    columns1("c", declared);
    row1(v);
    s->ops->rows_end(s, 0);
    return finish();
}

static void failed(bool read_side, const char *text)
{
    s->ops->failed(s, read_side, text, strlen(text));
}

static void rows_have_columns_types_and_values(void **state)
{
    const struct row_column cols[] = {{"id", "INTEGER"}, {"name", "TEXT"}};
    struct db_value first[] = {i(1), t("fiona")}, second[] = {i(2), null()};

    (void)state;
    start(0);
    s->ops->columns(s, cols, 2);
    assert_true(s->ops->row(s, first, 2));
    assert_true(s->ops->row(s, second, 2));
    s->ops->rows_end(s, 100);
    s->ops->columns(s, cols, 2);
    s->ops->rows_end(s, 100);
    s->ops->columns(s, NULL, 0);
    s->ops->rows_end(s, 100);
    assert_string_equal(finish(), "{\"results\":[{\"columns\":[\"id\",\"name\"],"
                                  "\"types\":[\"integer\",\"text\"],\"values\":[[1,"
                                  "\"fiona\"],[2,null]]},{\"columns\":[\"id\",\"name\"],"
                                  "\"types\":[\"integer\",\"text\"]},{}]}");
}

static void writes_leave_out_zeros(void **state)
{
    (void)state;
    start(0);
    s->ops->written(s, 0, 0, 5);
    s->ops->written(s, 1, 1, 5);
    s->ops->written(s, -3, 0, 5);
    failed(false, "near \"x\": syntax error");
    assert_string_equal(finish(), "{\"results\":[{},{\"last_insert_id\":1,\"rows_"
                                  "affected\":1},{\"last_insert_id\":-3},"
                                  "{\"error\":\"near \\\"x\\\": syntax error\"}]}");
}

static void nothing_is_an_empty_list(void **state)
{
    (void)state;
    start(0);
    assert_string_equal(finish(), "{\"results\":[]}");
    start(FLAG(pretty));
    assert_string_equal(finish(), "{\n    \"results\": []\n}");
}

static void associative_rows_have_sorted_keys(void **state)
{
    const struct row_column cols[] = {{"b", NULL},  {"a", NULL}, {"B", NULL},
                                      {"10", NULL}, {"9", NULL}, {"a", "TEXT"}};
    struct db_value values[] = {i(1), i(2), i(3), i(7), i(8), t("last")};

    (void)state;
    start(FLAG(associative));
    s->ops->columns(s, cols, 6);
    s->ops->row(s, values, 6);
    s->ops->row(s, values, 6);
    s->ops->rows_end(s, 0);
    columns1("<", "INTEGER");
    s->ops->rows_end(s, 0);
    s->ops->written(s, 2, 1, 0);
    failed(false, "bad write");
    failed(true, "bad read");
    s->ops->columns(s, NULL, 0);
    s->ops->rows_end(s, 0);
    assert_string_equal(finish(),
                        "{\"results\":[{\"types\":{\"10\":\"integer\",\"9\":\"integer\","
                        "\"B\":\"integer\",\"a\":\"text\",\"b\":"
                        "\"integer\"},\"rows\":[{\"10\":7,\"9\":8,\"B\":3,\"a\":\"last\","
                        "\"b\":1},{\"10\":7,\"9\":8,\"B\":3,\"a\":"
                        "\"last\",\"b\":1}]},{\"types\":{\"\\u003c\":\"integer\"},"
                        "\"rows\":[]},{\"last_insert_id\":2,"
                        "\"rows_affected\":1,\"rows\":null},{\"error\":\"bad "
                        "write\"},{\"rows\":[],\"error\":\"bad read\"},"
                        "{\"rows\":[]}]}");
}

static void undeclared_columns_take_the_type_of_the_first_row(void **state)
{
    const struct row_column cols[] = {
        {"a", NULL}, {"b", NULL}, {"c", NULL}, {"d", NULL}, {"e", NULL}};
    struct db_value first[] = {i(1), r(1.5), t("a"), b("\0", 1), null()};
    struct db_value second[] = {b("A", 1), b("A", 1), b("A", 1), b("A", 1), b("A", 1)};

    (void)state;
    start(0);
    s->ops->columns(s, cols, 5);
    s->ops->row(s, first, 5);
    s->ops->row(s, second, 5);
    s->ops->rows_end(s, 0);
    columns1("x", NULL);
    s->ops->rows_end(s, 0);
    assert_string_equal(finish(),
                        "{\"results\":[{\"columns\":[\"a\",\"b\",\"c\",\"d\",\"e\"],"
                        "\"types\":[\"integer\",\"real\",\"text\",\"text\","
                        "\"\"],\"values\":[[1,1.5,\"a\",\"\\u0000\",null],[\"QQ==\",\"QQ="
                        "=\",\"A\",\"A\",\"A\"]]},"
                        "{\"columns\":[\"x\"],\"types\":[\"\"]}]}");
}

static void declared_types_are_shown_in_lower_case(void **state)
{
    (void)state;
    start(0);
    assert_string_equal(one("VarChar(20)", t("x")),
                        "{\"results\":[{\"columns\":[\"c\"],\"types\":[\"varchar(20)\"],"
                        "\"values\":[[\"x\"]]}]}");
}

static const char *value_in(const char *declared, struct db_value v, uint64_t flags)
{
    char *from;
    start(flags);
    one(declared, v);
    from = strstr(shown, "\"values\":[[");
    assert_non_null(from);
    from += strlen("\"values\":[[");
    from[strlen(from) - strlen("]]}]}")] = '\0';
    return from;
}

static void the_type_decides_about_the_form(void **state)
{
    (void)state;
    assert_string_equal(value_in("BOOLEAN", i(1), 0), "true");
    assert_string_equal(value_in("boolean", i(0), 0), "false");
    assert_string_equal(value_in("boolean", i(-1), 0), "false");
    assert_string_equal(value_in("boolean", r(0.5), 0), "0.5");
    assert_string_equal(value_in("boolean", t("t"), 0), "\"t\"");
    assert_string_equal(value_in("bool", i(1), 0), "1");
    assert_string_equal(value_in("DATE", i(0), 0), "\"1970-01-01T00:00:00Z\"");
    assert_string_equal(value_in("datetime", r(1.5), 0), "1.5");
    assert_string_equal(value_in("timestamp", t("2021-03-04"), 0),
                        "\"2021-03-04T00:00:00Z\"");
    assert_string_equal(value_in("datetime(6)", i(7), 0), "7");
    assert_string_equal(value_in("time", t("12:00"), 0), "\"12:00\"");
    assert_string_equal(value_in("integer", i(INT64_MIN), 0), "-9223372036854775808");
    assert_string_equal(value_in("integer", t("text"), 0), "\"text\"");
    assert_string_equal(value_in("blob", t("text in blob"), 0), "\"text in blob\"");
}

static void blobs_are_text_in_columns_for_text(void **state)
{
    static const char *const as_text[] = {NULL,
                                          "TEXT",
                                          "json",
                                          "varchar(10)",
                                          "varying character(3)",
                                          "NCHAR(5)",
                                          "native character(70)",
                                          "nvarchar(100)",
                                          "clob"};
    static const char *const as_blob[] = {"blob",    "char(3)", "character(20)",
                                          "string",  "integer", "date",
                                          "boolean", "text(3)"};

    (void)state;
    for (size_t k = 0; k < sizeof as_text / sizeof *as_text; k++) {
        assert_string_equal(value_in(as_text[k], b("ABC", 3), 0), "\"ABC\"");
        assert_string_equal(value_in(as_text[k], b("ABC", 3), FLAG(blob_array)),
                            "\"ABC\"");
    }
    for (size_t k = 0; k < sizeof as_blob / sizeof *as_blob; k++) {
        assert_string_equal(value_in(as_blob[k], b("ABC", 3), 0), "\"QUJD\"");
        assert_string_equal(value_in(as_blob[k], b("ABC", 3), FLAG(blob_array)),
                            "[65,66,67]");
    }
    assert_string_equal(value_in("blob", b(NULL, 0), 0), "\"\"");
    assert_string_equal(value_in("blob", b(NULL, 0), FLAG(blob_array)), "[]");
}

static const char *stamp_text(const char *text)
{
    static char out[STAMP_MAX];
    out[stamp_of_text(out, text, strlen(text))] = '\0';
    return out;
}

static const char *stamp_int(int64_t v)
{
    static char out[STAMP_MAX];
    out[stamp_of_int(out, v)] = '\0';
    return out;
}

static void integers_are_seconds_or_milliseconds(void **state)
{
    (void)state;
    assert_string_equal(stamp_int(1609556645), "2021-01-02T03:04:05Z");
    assert_string_equal(stamp_int(1609556645000), "2021-01-02T03:04:05Z");
    assert_string_equal(stamp_int(1000000000001), "2001-09-09T01:46:40.001Z");
    assert_string_equal(stamp_int(-1000000000001), "1938-04-24T22:13:19.999Z");
    assert_string_equal(stamp_int(-1), "1969-12-31T23:59:59Z");
    assert_string_equal(stamp_int(-62135596800), "0001-01-01T00:00:00Z");
    assert_string_equal(stamp_int(253402300799), "9999-12-31T23:59:59Z");
    assert_string_equal(stamp_int(20210304), "1970-08-22T21:58:24Z");
    assert_string_equal(stamp_int(951782400), "2000-02-29T00:00:00Z");
    assert_string_equal(stamp_int(-62167219200), "0000-01-01T00:00:00Z");
    assert_string_equal(stamp_int(-62167219201), "");
    assert_string_equal(stamp_int(253402300800), "");
    assert_string_equal(stamp_int(INT64_MAX), "");
    assert_string_equal(stamp_int(INT64_MIN), "");
}

static void texts_are_time_stamps_or_year_one(void **state)
{
    static const char *const none[] = {"not a date",
                                       "",
                                       "today",
                                       "2021-13-45",
                                       "2021-02-30",
                                       "12:30:00",
                                       "2021/03/04",
                                       "20210304",
                                       "2021-3-4",
                                       "2021-03-04 24:00",
                                       " 2021-03-04",
                                       "2021-03-04 ",
                                       "2021-03-04 05:06:07+0200",
                                       "2021-03-04 05:06+02:00",
                                       "2021-03-04 05:06:07.",
                                       "2021-03-04 05:6",
                                       "2021-03-04T",
                                       "2021-03-04 05:06:60",
                                       "2021-03-04ZZ",
                                       "1900-02-29"};

    (void)state;
    assert_string_equal(stamp_text("2021-03-04"), "2021-03-04T00:00:00Z");
    assert_string_equal(stamp_text("2021-03-04 10:20"), "2021-03-04T10:20:00Z");
    assert_string_equal(stamp_text("2021-03-04T05:06:07Z"), "2021-03-04T05:06:07Z");
    assert_string_equal(stamp_text("2021-03-04 10:20:30.123"),
                        "2021-03-04T10:20:30.123Z");
    assert_string_equal(stamp_text("2021-03-04 05:06:07+02:00"),
                        "2021-03-04T05:06:07+02:00");
    assert_string_equal(stamp_text("2021-03-04T05:06:07.123456789-05:30"),
                        "2021-03-04T05:06:07.123456789-05:30");
    assert_string_equal(stamp_text("2021-03-04T05:06:07.120Z"),
                        "2021-03-04T05:06:07.12Z");
    assert_string_equal(stamp_text("2021-03-04 05:06:07+00:00"), "2021-03-04T05:06:07Z");
    assert_string_equal(stamp_text("2021-03-04T05:06:07.000"), "2021-03-04T05:06:07Z");
    assert_string_equal(stamp_text("2021-03-04 5:06"), "2021-03-04T05:06:00Z");
    assert_string_equal(stamp_text("2021-03-04 05:06:07,1234567899"),
                        "2021-03-04T05:06:07.123456789Z");
    assert_string_equal(stamp_text("2000-02-29Z"), "2000-02-29T00:00:00Z");
    for (size_t k = 0; k < sizeof none / sizeof *none; k++)
        if (strcmp(stamp_text(none[k]), "0001-01-01T00:00:00Z") != 0)
            fail_msg("%s gives %s", none[k], stamp_text(none[k]));
}

static void a_year_out_of_range_fails_its_statement_only(void **state)
{
    (void)state;
    start(0);
    columns1("d", "date");
    assert_true(row1(i(1)));
    assert_true(row1(i(253402300800)));
    assert_true(row1(i(2)));
    s->ops->rows_end(s, 1);
    columns1("d", "date");
    assert_true(row1(i(INT64_MAX)));
    failed(true, "interrupted");
    s->ops->written(s, 1, 1, 0);
    assert_string_equal(finish(),
                        "{\"results\":[{\"error\":\"year outside of range "
                        "[0,9999]\"},{\"error\":\"year outside of range "
                        "[0,9999]\"},{\"last_insert_id\":1,\"rows_affected\":1}]}");
}

static void rows_of_a_failed_statement_are_dropped(void **state)
{
    (void)state;
    for (int pretty = 0; pretty < 2; pretty++) {
        start(pretty ? FLAG(pretty) : 0);
        columns1("a", NULL);
        row1(i(1));
        row1(r(INFINITY));
        failed(true, "integer overflow");
        columns1("b", NULL);
        row1(i(2));
        s->ops->rows_end(s, 0);
        finish();
        assert_string_equal(
            shown,
            pretty
                ? "{\n    \"results\": [\n        {\n            \"error\": \"integer "
                  "overflow\"\n        },\n"
                  "        {\n            \"columns\": [\n                \"b\"\n        "
                  "    ],\n"
                  "            \"types\": [\n                \"integer\"\n            "
                  "],\n"
                  "            \"values\": [\n                [\n                    2\n"
                  "                ]\n            ]\n        }\n    ]\n}"
                : "{\"results\":[{\"error\":\"integer "
                  "overflow\"},{\"columns\":[\"b\"],\"types\":["
                  "\"integer\"],\"values\":[[2]]}]}");
    }
}

static void an_infinite_value_fails_the_whole_answer(void **state)
{
    (void)state;
    start(0);
    s->ops->written(s, 1, 1, 0);
    columns1("a", NULL);
    row1(r(-INFINITY));
    s->ops->rows_end(s, 0);
    s->ops->written(s, 1, 1, 0);
    assert_string_equal(finish(), "!unsupported value: -Inf");
    start(FLAG(associative));
    assert_string_equal(one("real", r(INFINITY)), "!unsupported value: +Inf");
}

static void a_failed_request_shows_no_results(void **state)
{
    (void)state;
    start(0);
    s->ops->written(s, 1, 1, 0);
    columns1("a", NULL);
    row1(r(INFINITY));
    s->ops->request_failed(s, "FOREIGN KEY constraint failed", 29);
    assert_string_equal(finish(),
                        "{\"results\":[],\"error\":\"FOREIGN KEY constraint failed\"}");
    start(FLAG(pretty) | FLAG(associative));
    columns1("a", NULL);
    assert_string_equal(finish_with((struct json_envelope){.error = "stale read"}),
                        "{\n    \"results\": [],\n    \"error\": \"stale read\"\n}");
}

static void timings_are_shown_for_what_succeeded(void **state)
{
    (void)state;
    start(FLAG(timings));
    s->ops->written(s, 2, 1, 17276);
    s->ops->written(s, 0, 0, 0);
    columns1("a", NULL);
    s->ops->rows_end(s, 1000000);
    failed(true, "no");
    assert_string_equal(
        finish_with((struct json_envelope){.elapsed_ns = 1066352}),
        "{\"results\":[{\"last_insert_id\":2,\"rows_affected\":1,\"time\":0.000017276},{}"
        ",{\"columns\":[\"a\"],"
        "\"types\":[\"\"],\"time\":0.001},{\"error\":\"no\"}],\"time\":0.001066352}");
    start(FLAG(timings) | FLAG(associative));
    s->ops->written(s, 3, 3, 1000000);
    columns1("a", NULL);
    s->ops->rows_end(s, 1000000);
    assert_string_equal(
        finish_with((struct json_envelope){.error = "bad", .elapsed_ns = 1000000}),
        "{\"results\":[],\"error\":\"bad\",\"time\":0.001}");
    start(FLAG(timings) | FLAG(associative));
    s->ops->written(s, 3, 3, 1000000);
    columns1("a", NULL);
    s->ops->rows_end(s, 1000000);
    assert_string_equal(finish(), "{\"results\":[{\"last_insert_id\":3,\"rows_affected\":"
                                  "3,\"time\":0.001,\"rows\":null},{\"types\":{"
                                  "\"a\":\"\"},\"rows\":[],\"time\":0.001}]}");
}

static void the_envelope_ends_in_its_order(void **state)
{
    (void)state;
    start(FLAG(timings));
    assert_string_equal(
        finish_with((struct json_envelope){.error = "e",
                                           .elapsed_ns = 1,
                                           .sequence_number = 18446744073709551615U,
                                           .raft_index = 3}),
        "{\"results\":[],\"error\":\"e\",\"time\":1e-9,\"sequence_number\":"
        "18446744073709551615,\"raft_index\":3}");
    start(0);
    assert_string_equal(
        finish_with((struct json_envelope){.elapsed_ns = 1, .raft_index = 3}),
        "{\"results\":[],\"raft_index\":3}");
}

static void pretty_puts_each_value_on_its_line(void **state)
{
    (void)state;
    start(FLAG(pretty) | FLAG(blob_array));
    columns1("v", "BLOB");
    row1(b("\x00\x01\xff", 3));
    s->ops->rows_end(s, 0);
    assert_string_equal(finish(),
                        "{\n    \"results\": [\n        {\n            \"columns\": [\n  "
                        "              \"v\"\n            ],\n"
                        "            \"types\": [\n                \"blob\"\n            "
                        "],\n            \"values\": [\n"
                        "                [\n                    [\n                      "
                        "  0,\n                        1,\n"
                        "                        255\n                    ]\n            "
                        "    ]\n            ]\n        }\n    ]\n}");
    start(FLAG(pretty) | FLAG(associative));
    columns1("age", "INTEGER");
    row1(i(20));
    s->ops->rows_end(s, 0);
    s->ops->written(s, 2, 2, 0);
    failed(true, "no");
    assert_string_equal(finish(),
                        "{\n    \"results\": [\n        {\n            \"types\": {\n    "
                        "            \"age\": \"integer\"\n            },\n"
                        "            \"rows\": [\n                {\n                    "
                        "\"age\": 20\n                }\n            ]\n"
                        "        },\n        {\n            \"last_insert_id\": 2,\n     "
                        "       \"rows_affected\": 2,\n"
                        "            \"rows\": null\n        },\n        {\n            "
                        "\"rows\": [],\n            \"error\": \"no\"\n"
                        "        }\n    ]\n}");
}

static void a_cancelled_request_takes_no_more_rows(void **state)
{
    atomic_bool cancelled = false;

    (void)state;
    start(0);
    sink.cancelled = &cancelled;
    columns1("a", NULL);
    assert_true(row1(i(1)));
    atomic_store(&cancelled, true);
    assert_false(row1(i(2)));
    failed(true, "interrupted");
    assert_string_equal(finish(), "{\"results\":[{\"error\":\"interrupted\"}]}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_have_columns_types_and_values),
        cmocka_unit_test(writes_leave_out_zeros),
        cmocka_unit_test(nothing_is_an_empty_list),
        cmocka_unit_test(associative_rows_have_sorted_keys),
        cmocka_unit_test(undeclared_columns_take_the_type_of_the_first_row),
        cmocka_unit_test(declared_types_are_shown_in_lower_case),
        cmocka_unit_test(the_type_decides_about_the_form),
        cmocka_unit_test(blobs_are_text_in_columns_for_text),
        cmocka_unit_test(integers_are_seconds_or_milliseconds),
        cmocka_unit_test(texts_are_time_stamps_or_year_one),
        cmocka_unit_test(a_year_out_of_range_fails_its_statement_only),
        cmocka_unit_test(rows_of_a_failed_statement_are_dropped),
        cmocka_unit_test(an_infinite_value_fails_the_whole_answer),
        cmocka_unit_test(a_failed_request_shows_no_results),
        cmocka_unit_test(timings_are_shown_for_what_succeeded),
        cmocka_unit_test(the_envelope_ends_in_its_order),
        cmocka_unit_test(pretty_puts_each_value_on_its_line),
        cmocka_unit_test(a_cancelled_request_takes_no_more_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
