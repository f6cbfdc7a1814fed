/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "gateway/json_read.h"

/* What a body means, as text: statements in a row, each "SQL(parameter,parameter)",
 * parameters as i5, r1.5, tTEXT, b0102, null, each with "name=" where it has one.  Errors
 * as "!text". */
static char *shown;

static void show_value(struct buf *out, const Rqlite__Value *v)
{
    switch (v->kind_case) {
    case RQLITE__VALUE__KIND_INTEGER:
        buf_printf(out, "i%lld", (long long)v->integer);
        break;
    case RQLITE__VALUE__KIND_REAL: buf_printf(out, "r%.17g", v->real); break;
    case RQLITE__VALUE__KIND_TEXT:
        buf_append_u8(out, 't');
        for (size_t i = 0; i < v->text.len; i++)
            if (v->text.data[i])
                buf_append_u8(out, v->text.data[i]);
            else
                buf_append_str(out, "<NUL>");
        break;
    case RQLITE__VALUE__KIND_BLOB:
        buf_append_u8(out, 'b');
        for (size_t i = 0; i < v->blob.len; i++) buf_printf(out, "%02x", v->blob.data[i]);
        break;
    default: buf_append_str(out, "null");
    }
}

static const char *read_n(const char *body, size_t len)
{
    struct json_statements s;
    struct arena a;
    struct buf out;
    struct why why = {0};
    char *copy = malloc(len > 0 ? len : 1);
    size_t n;
    enum err e;

    arena_init(&a, 0);
    buf_init(&out, 0);
    memcpy(copy, body, len);
    e = json_read_statements(&s, copy, len, &a, &why);
    if (e) {
        assert_int_equal(e, ERR_INVALID);
        buf_printf(&out, "!%s", why.text);
    } else {
        for (size_t i = 0; i < s.n; i++) {
            const Rqlite__Statement *st = s.list[i];

            buf_printf(&out, "%s(", st->sql);
            for (size_t j = 0; j < st->n_parameters; j++) {
                if (j > 0) buf_append_u8(&out, ',');
                if (*st->parameters[j]->name)
                    buf_printf(&out, "%s=", st->parameters[j]->name);
                show_value(&out, st->parameters[j]->value);
            }
            buf_append_u8(&out, ')');
        }
        if (s.received != s.n) buf_printf(&out, " of %zu", s.received);
    }
    buf_append_u8(&out, 0);
    free(shown);
    shown = (char *)buf_take(&out, &n);
    free(copy);
    arena_fini(&a);
    return shown;
}

static const char *reads(const char *body)
{
    return read_n(body, strlen(body));
}

static void strings_and_arrays_are_statements(void **state)
{
    (void)state;
    assert_string_equal(reads("[\"SELECT 1\"]"), "SELECT 1()");
    assert_string_equal(reads("[\"a\",[\"b\"],[\"c\",1,\"x\"]]"), "a()b()c(i1,tx)");
    assert_string_equal(reads(" \n[ \"a\" , [ \"b\" , 1 ] ]\t"), "a()b(i1)");
    assert_string_equal(reads("[]"), "");
}

static void empty_statements_are_skipped_but_counted(void **state)
{
    (void)state;
    assert_string_equal(reads("[\"\"]"), " of 1");
    assert_string_equal(reads("[\"\",\"a\",[\"\",1]]"), "a() of 3");
    assert_string_equal(reads("[\" \"]"), " ()");
    assert_string_equal(reads("[\"\\u0000x\"]"), " ()");
    assert_string_equal(reads("[\"a\\u0000b\"]"), "a()");
}

static void what_is_no_json_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " \n ",
        "x",
        "not json",
        "[",
        "[\"INSERT",
        "[\"SELECT 1\"",
        "[\"SELECT 1\",",
        "[\"SELECT 1\",]",
        "[[\"SELECT 1\"",
        "[[\"SELECT 1\",]]",
        "[[\"SELECT 1\"}",
        "['SELECT 1']",
        "\xef\xbb\xbf[\"a\"]",
        "[\"a\nb\"]",
        "[\"a\\x\"]",
        "[\"\\u12\"]",
        "[\"\\u12g4\"]",
        "[\"a\\",
        "[[\"a\",01]]",
        "[[\"a\",1.]]",
        "[[\"a\",.5]]",
        "[[\"a\",+1]]",
        "[[\"a\",NaN]]",
        "[[\"a\",-]]",
        "[[\"a\",1e]]",
        "[[\"a\",1e+]]",
        "[[\"a\",tru]]",
        "[[\"a\",truex]]",
        "[[\"a\",nul",
        "[1",
        "[[\"a\",1",
        "[[\"a\",{]]",
        "[[\"a\",{\"x\"}]]",
        "[[\"a\",{\"x\":}]]",
        "[[\"a\",{\"x\":1,}]]",
        "[[\"a\",{x:1}]]",
        "[[\"a\",{\"x\":1]]",
        "[[\"a\",[1,]]]",
        "[[\"a\",[1 2]]]",
        "[,]",
        "[\"a\" \"b\"]",
        "\"abc",
        "-",
        "nul",
        "[[\"a\",1e400x]]",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (strcmp(reads(bad[i]), "!invalid JSON body") != 0)
            fail_msg("%s gives %s", bad[i], shown);
    }
}

static void what_is_no_list_of_statements_is_refused(void **state)
{
    static const char *const bad[] = {
        "{",
        "{}",
        "{\"a\":1}",
        "\"SELECT 1\"",
        "1",
        "1.5e3",
        "true",
        "null",
        " null ",
        "[1]",
        "[null]",
        "[true]",
        "[{}]",
        "[{\"sql\":\"SELECT 1\"}]",
        "[[]]",
        "[ [ ] ]",
        "[[1,\"SELECT 1\"]]",
        "[[[\"SELECT 1\"]]]",
        "[[null]]",
        "[[{}]]",
        "[\"a\",1]",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (strcmp(reads(bad[i]), "!invalid request") != 0)
            fail_msg("%s gives %s", bad[i], shown);
    }
}

static void what_follows_the_closing_bracket_is_ignored(void **state)
{
    (void)state;
    assert_string_equal(reads("[\"a\"]garbage"), "a()");
    assert_string_equal(reads("[]]"), "");
}

static void the_first_fault_in_reading_order_decides(void **state)
{
    (void)state;
    assert_string_equal(reads("[[\"a\",1e400],garbage"), "!invalid number 1e400");
    assert_string_equal(reads("[[\"a\",{\"x\":{"), "!unsupported type object");
    assert_string_equal(reads("[1,garbage"), "!invalid request");
    assert_string_equal(reads("[garbage,[\"a\",1e400]]"), "!invalid JSON body");
}

static void numbers_keep_their_kind(void **state)
{
    (void)state;
    assert_string_equal(
        reads("[[\"a\",0,-0,1,-1,9223372036854775807,-9223372036854775808]]"),
        "a(i0,i0,i1,i-1,i9223372036854775807,i-9223372036854775808)");
    assert_string_equal(
        reads("[[\"a\",9223372036854775808,1.0,1e2,-0.0,1E-400,2.5e-3]]"),
        "a(r9.2233720368547758e+18,r1,r100,r-0,r0,r0.0025000000000000001)");
    assert_string_equal(reads("[[\"a\",100000000000000000000000000000]]"),
                        "a(r9.9999999999999991e+28)");
}

static void reals_are_the_nearest(void **state)
{
    unsigned seed = 1;
    char body[64], number[40];

    (void)state;
    for (int i = 0; i < 20000; i++) {
        unsigned a = (seed = seed * 1103515245 + 12345) >> 8;
        unsigned b = (seed = seed * 1103515245 + 12345) >> 8;

        snprintf(number, sizeof number, "%s%u.%0*u", a & 1 ? "-" : "", a >> (a & 15),
                 (int)(b & 15), b >> (b & 15));
        snprintf(body, sizeof body, "[[\"a\",%s]]", number);
        reads(body);
        assert_true(strtod(shown + strlen("a(r"), NULL) == strtod(number, NULL));
    }
}

static void numbers_too_large_are_refused_as_written(void **state)
{
    (void)state;
    assert_string_equal(reads("[[\"a\",1E400]]"), "!invalid number 1E400");
    assert_string_equal(reads("[[\"a\",-1e999]]"), "!invalid number -1e999");
}

static void literals_are_values(void **state)
{
    (void)state;
    assert_string_equal(reads("[[\"a\",true,false,null]]"), "a(i1,i0,null)");
}

static void texts_in_blob_form_are_blobs(void **state)
{
    (void)state;
    assert_string_equal(reads("[[\"a\",\"x'0102'\",\"  X'aBcD'  \",\"x''\"]]"),
                        "a(b0102,babcd,b)");
    assert_string_equal(
        reads("[[\"a\",\"X'0g'\",\"X'010'\",\"x'ab\",\"x\",\"'00'\",\"x'00' y\"]]"),
        "a(tX'0g',tX'010',tx'ab,tx,t'00',tx'00' y)");
}

static void arrays_of_bytes_are_blobs(void **state)
{
    (void)state;
    assert_string_equal(reads("[[\"a\",[],[0,1,255],[ 7 ],[-0]]]"),
                        "a(b,b0001ff,b07,b00)");
    assert_string_equal(reads("[[\"a\",[256]]]"), "!unsupported type 256");
    assert_string_equal(reads("[[\"a\",[1,-1]]]"), "!unsupported type -1");
    assert_string_equal(reads("[[\"a\",[1.0]]]"), "!unsupported type 1.0");
    assert_string_equal(reads("[[\"a\",[\"x\"]]]"), "!unsupported type string");
    assert_string_equal(reads("[[\"a\",[true]]]"), "!unsupported type bool");
    assert_string_equal(reads("[[\"a\",[null]]]"), "!unsupported type null");
    assert_string_equal(reads("[[\"a\",[[1]]]]"), "!unsupported type array");
    assert_string_equal(reads("[[\"a\",[{}]]]"), "!unsupported type object");
}

static void objects_are_named_parameters(void **state)
{
    (void)state;
    assert_string_equal(reads("[[\"a\",{\"x\":1,\"y\":[1,2]},5,{}]]"),
                        "a(x=i1,y=b0102,i5)");
    assert_string_equal(reads("[[\"a\",{\"\":1}]]"), "a(i1)");
    assert_string_equal(reads("[[\"a\",{\"x\":{\"y\":1}}]]"), "!unsupported type object");
}

static void the_last_of_equal_names_wins(void **state)
{
    struct buf body;

    (void)state;
    assert_string_equal(reads("[[\"a\",{\"x\":1,\"y\":2,\"x\":3}]]"), "a(x=i3,y=i2)");
    assert_string_equal(reads("[[\"a\",{\"x\":1},{\"x\":2}]]"), "a(x=i1,x=i2)");

    buf_init(&body, 0);
    buf_append_str(&body, "[[\"a\",{");
    for (int i = 0; i < 2000; i++) buf_printf(&body, "\"n%d\":%d,", i % 40, i);
    buf_append_str(&body, "\"z\":0}]]");
    read_n((char *)body.data, body.len);
    assert_true(strncmp(shown, "a(n0=i1960,n1=i1961,", 20) == 0);
    assert_non_null(strstr(shown, ",n39=i1999,z=i0)"));
    buf_fini(&body);
}

static void escapes_are_decoded(void **state)
{
    (void)state;
    assert_string_equal(reads("[\"a\\\"b\\\\c\\/d\\b\\f\\n\\r\\te\"]"),
                        "a\"b\\c/d\b\f\n\r\te()");
    assert_string_equal(reads("[\"\\u00e9\\u6F22\\ud83d\\ude00\"]"),
                        "\u00e9\u6f22\U0001f600()");
    assert_string_equal(reads("[[\"a\",\"x\\u0000y\"]]"), "a(tx<NUL>y)");
    assert_string_equal(reads("[[\"a\",\"\x7f\u2028\"]]"), "a(t\x7f\u2028)");
}

static void lone_surrogates_become_replacement_characters(void **state)
{
    (void)state;
    assert_string_equal(reads("[\"\\ud800x\"]"), "\ufffdx()");
    assert_string_equal(reads("[\"\\udc00\"]"), "\ufffd()");
    assert_string_equal(reads("[\"\\ud83d\\u0041\"]"), "\ufffdA()");
    assert_string_equal(reads("[\"\\ud83d\\ud83d\\ude00\"]"), "\ufffd\U0001f600()");
    assert_string_equal(reads("[\"\\ud83d\"]"), "\ufffd()");
}

static void invalid_utf8_becomes_replacement_characters(void **state)
{
    (void)state;
    assert_string_equal(reads("[\"a\xff\x62\"]"), "a\ufffd\x62()");
    assert_string_equal(reads("[\"\xed\xa0\x80\"]"), "\ufffd\ufffd\ufffd()");
    assert_string_equal(reads("[\"\xc3\"]"), "\ufffd()");
    assert_string_equal(reads("[[\"a\\n\xff\xfe\\n\xfd\",\"b\xc0\x80\"],\"c\"]"),
                        "a\n\ufffd\ufffd\n\ufffd(tb\ufffd\ufffd)c()");
    assert_string_equal(reads("[[\"a\",{\"n\xff\":1}]]"), "a(n\ufffd=i1)");
}

static void long_texts_survive(void **state)
{
    struct buf body;

    (void)state;
    for (size_t n = 0; n < 70; n++) {
        buf_init(&body, 0);
        buf_append_str(&body, "[\"");
        for (size_t i = 0; i < n; i++) buf_append_u8(&body, (uint8_t)('a' + i % 26));
        buf_append_str(&body, "\\t\u00e9 end\"]");
        read_n((char *)body.data, body.len);
        assert_int_equal(strlen(shown), n + 9);
        for (size_t i = 0; i < n; i++) assert_int_equal(shown[i], 'a' + i % 26);
        assert_string_equal(shown + n, "\t\u00e9 end()");
        buf_fini(&body);
    }
}

static void nothing_is_read_behind_the_end(void **state)
{
    static const char body[] =
        "[\"a\\u00e9\xff\",[\"b\",1.5e3,\"x'00'\",{\"k\":[1,2]},true,null],\"c\"]";

    (void)state; /* under the address sanitizer, with bodies of every length */
    for (size_t n = 0; n < sizeof body; n++) read_n(body, n);
}

static void running_out_of_memory_is_told(void **state)
{
    static const char text[] = "[[\"a\",1,\"x\",{\"n\":2}],\"b\xff\"]";
    bool ended = false;

    (void)state;
    for (size_t limit = 1; !ended; limit += 16) {
        struct json_statements s;
        struct arena a;
        char body[sizeof text];
        struct why why;
        enum err e;

        memcpy(body, text, sizeof text);
        arena_init(&a, limit);
        e = json_read_statements(&s, body, sizeof text - 1, &a, &why);
        ended = e == ERR_OK;
        if (!ended) assert_int_equal(e, ERR_NOMEM);
        arena_fini(&a);
    }
}

static int forget(void **state)
{
    (void)state;
    free(shown);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_and_arrays_are_statements),
        cmocka_unit_test(empty_statements_are_skipped_but_counted),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(what_is_no_list_of_statements_is_refused),
        cmocka_unit_test(what_follows_the_closing_bracket_is_ignored),
        cmocka_unit_test(the_first_fault_in_reading_order_decides),
        cmocka_unit_test(numbers_keep_their_kind),
        cmocka_unit_test(reals_are_the_nearest),
        cmocka_unit_test(numbers_too_large_are_refused_as_written),
        cmocka_unit_test(literals_are_values),
        cmocka_unit_test(texts_in_blob_form_are_blobs),
        cmocka_unit_test(arrays_of_bytes_are_blobs),
        cmocka_unit_test(objects_are_named_parameters),
        cmocka_unit_test(the_last_of_equal_names_wins),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(lone_surrogates_become_replacement_characters),
        cmocka_unit_test(invalid_utf8_becomes_replacement_characters),
        cmocka_unit_test(long_texts_survive),
        cmocka_unit_test(nothing_is_read_behind_the_end),
        cmocka_unit_test(running_out_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
