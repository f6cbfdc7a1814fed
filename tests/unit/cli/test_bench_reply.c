/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/bench_reply.h"

#define OK_BODY "{\"results\":[{\"last_insert_id\":1}]}"

/* The copy has exactly the bytes given, so that reading past them is seen. */
static enum err read_text(struct bench_reply *r, char **copy, const char *text,
                          size_t len, bool at_end)
{
    struct why why;

    free(*copy);
    *copy = malloc(len > 0 ? len : 1);
    memcpy(*copy, text, len);
    return bench_reply_read(r, *copy, len, at_end, &why);
}

static void every_prefix_waits_for_more(void **state)
{
    static const char *const rows[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: "
        "chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: "
        "b\r\n\r\n",
    };
    struct bench_reply r;
    char *copy = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = strlen(rows[i]);
        for (size_t n = 0; n < len; n++)
            assert_int_equal(read_text(&r, &copy, rows[i], n, false), ERR_NOTHING);
        assert_int_equal(read_text(&r, &copy, rows[i], len, false), ERR_OK);
        assert_int_equal(r.status, 200);
        assert_int_equal(r.used, len);
        assert_int_equal(r.body_len, 5);
        assert_memory_equal(r.body, "hello", 5);
        assert_false(r.close);
    }
    free(copy);
}

static void what_follows_a_response_is_left(void **state)
{
    static const char TEXT[] =
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\nHTTP/1.1 200";
    struct bench_reply r;
    char *copy = NULL;

    (void)state;
    assert_int_equal(read_text(&r, &copy, TEXT, strlen(TEXT), false), ERR_OK);
    assert_int_equal(r.status, 204);
    assert_int_equal(r.body_len, 0);
    assert_int_equal(r.used, strlen(TEXT) - 12);
    assert_true(r.close);
    free(copy);
}

static void a_body_without_length_ends_with_the_connection(void **state)
{
    static const char TEXT[] = "HTTP/1.0 200 OK\r\n\r\nhello";
    struct bench_reply r;
    char *copy = NULL;

    (void)state;
    assert_int_equal(read_text(&r, &copy, TEXT, strlen(TEXT), false), ERR_NOTHING);
    assert_int_equal(read_text(&r, &copy, TEXT, strlen(TEXT), true), ERR_OK);
    assert_int_equal(r.body_len, 5);
    assert_true(r.close);
    free(copy);
}

static void what_is_no_response_is_refused(void **state)
{
    static const char *const rows[] = {
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    };
    struct bench_reply r;
    char *copy = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(read_text(&r, &copy, rows[i], strlen(rows[i]), false),
                         ERR_CORRUPT);
    free(copy);
}

static void replies_are_judged(void **state)
{
    static const struct {
        int status;
        const char *body;
        const char *text; /* NULL = accepted */
    } rows[] = {
        {200, OK_BODY, NULL},
        {200, "{\"results\":[{}]}", NULL},
        {200, "{ \"results\": [ { \"rows_affected\": 1 } ] }", NULL},
        {200, "{\"results\":[{\"columns\":[\"error\"],\"values\":[[\"error\"]]}]}", NULL},
        {200, "{\"results\":[{\"values\":[[\"\\\"error\\\":\\\"x\\\"\"]]}]}", NULL},
        {404, "", "received 404 Not Found"},
        {503, "leader not found\n", "received 503 Service Unavailable"},
        {200, "{\"results\":[]}", "expected at least 1 result, got 0"},
        {200, "{\"results\":[{\"error\":\"no such table: nope\"}]}",
         "received error: no such table: nope"},
        {200, "{\"results\":[{\"rows_affected\":1},{\"error\":\"e\"}]}",
         "received error: e"},
        {200, "{\"results\":[],\"error\":\"stale read\"}", "received error: stale read"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct why why = {0};
        enum err e = bench_reply_check(rows[i].status, rows[i].body, strlen(rows[i].body),
                                       true, &why);
        assert_int_equal(e, rows[i].text ? ERR_SQL : ERR_OK);
        if (rows[i].text) assert_string_equal(why.text, rows[i].text);
    }
    assert_int_equal(bench_reply_check(200, "nonsense", 8, true, NULL), ERR_SQL);
    assert_int_equal(bench_reply_check(200, "nonsense", 8, false, NULL), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix_waits_for_more),
        cmocka_unit_test(what_follows_a_response_is_left),
        cmocka_unit_test(a_body_without_length_ends_with_the_connection),
        cmocka_unit_test(what_is_no_response_is_refused),
        cmocka_unit_test(replies_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
