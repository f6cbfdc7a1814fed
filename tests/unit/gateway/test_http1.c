/* SPDX-License-Identifier: MIT */
#include "tests/unit/gateway/rig.h"

#include <zlib.h>

#define HOST "Host: x\r\n"

static int setup(void **state)
{
    struct rig *r = malloc(sizeof *r);

    rig_open(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

/* An answer with text as its body. */
static const char *answer(const char *text, const char *more_headers)
{
    static char out[4][4096];
    static unsigned turn;
    char *p = out[turn++ % 4];

    snprintf(p, sizeof out[0],
             "HTTP/1.1 200 OK\r\n" RIG_COMMON "Content-Type: text/plain\r\n"
             "Content-Length: %zu\r\n%s\r\n%s",
             strlen(text), more_headers, text);
    return p;
}

static void one(struct rig *r, const char *request, const char *want)
{
    int fd = rig_connect(r);

    rig_send(r, fd, request);
    rig_expect(r, fd, want);
    close(fd);
    RIG_UNTIL(r, r->thread.conns->count == 0);
}

/* Refused with these bytes, and the connection ends. */
static void refused(struct rig *r, const char *request, size_t len, const char *want)
{
    int fd = rig_connect(r);
    unsigned before = seen.dispatched;

    rig_send_bytes(r, fd, request, len);
    rig_expect(r, fd, want);
    assert_int_equal(seen.dispatched, before);
    rig_expect_closed(r, fd);
}

#define BAD_REQUEST                                                                      \
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"            \
    "Connection: close\r\n\r\n400 Bad Request"

/* --- requests
 * ---------------------------------------------------------------------------- */

static void a_request_is_answered_byte_for_byte(void **state)
{
    one(*state, "GET /a%20b?q=1%20 HTTP/1.1\r\n" HOST "\r\n",
        answer("GET /a b?q=1%20", ""));
}

static void any_token_is_a_method(void **state)
{
    one(*state, "get /x HTTP/1.1\r\n" HOST "\r\n", answer("get /x", ""));
    one(*state, "BREW! /x HTTP/1.1\r\n" HOST "\r\n", answer("BREW! /x", ""));
}

static void a_target_may_name_the_host(void **state)
{
    one(*state, "GET http://a:1/x?y HTTP/1.1\r\n" HOST "\r\n", answer("GET /x?y", ""));
    one(*state, "GET http://a HTTP/1.1\r\n" HOST "\r\n", answer("GET ", ""));
    one(*state, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", answer("OPTIONS *", ""));
}

static void empty_lines_before_a_request_are_skipped(void **state)
{
    one(*state, "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", answer("GET /", ""));
}

static void a_request_may_come_in_single_bytes(void **state)
{
    struct rig *r = *state;
    const char *text = "POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                       "3;a=b\r\nabc\r\n02\r\nde\r\n0\r\nTrailer: t\r\n\r\n";
    int fd = rig_connect(r);

    for (const char *p = text; *p; p++) rig_send_bytes(r, fd, p, 1);
    rig_expect(r, fd, answer("POST /p abcde", ""));
    rig_send(r, fd, "GET /next HTTP/1.1\r\n" HOST "\r\n");
    rig_expect(r, fd, answer("GET /next", ""));
    close(fd);
}

static void a_body_has_the_length_it_says(void **state)
{
    one(*state, "POST /p HTTP/1.1\r\n" HOST "content-length: 3\r\n\r\nabc",
        answer("POST /p abc", ""));
    one(*state, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
        answer("POST /p", ""));
}

static void http_1_0_closes_unless_asked_otherwise(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);

    rig_send(r, fd, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    rig_expect(r, fd,
               "HTTP/1.0 200 OK\r\n" RIG_COMMON "Content-Type: text/plain\r\n"
               "Content-Length: 6\r\nConnection: keep-alive\r\n\r\nGET /x");
    rig_send(r, fd, "GET /x HTTP/1.0\r\n\r\n");
    rig_expect(r, fd,
               "HTTP/1.0 200 OK\r\n" RIG_COMMON "Content-Type: text/plain\r\n"
               "Content-Length: 6\r\nConnection: close\r\n\r\nGET /x");
    rig_expect_closed(r, fd);
}

static void connection_close_ends_the_connection(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);

    rig_send(r, fd,
             "GET /x HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"
             "GET /never HTTP/1.1\r\n" HOST "\r\n");
    rig_expect(r, fd, answer("GET /x", "Connection: close\r\n"));
    assert_int_equal(seen.dispatched, 1);
    rig_expect_closed(r, fd);
}

static void an_upgrade_that_makes_no_sense_is_ignored(void **state)
{
    one(*state, "GET /x HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        answer("GET /x", ""));
    one(*state,
        "GET /x HTTP/1.1\r\n" HOST
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAMAAABkAAQAAP_\r\n\r\n", /* not a whole setting */
        answer("GET /x", ""));
    one(*state,
        "GET /x HTTP/1.1\r\n" HOST
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: other\r\n"
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        answer("GET /x", ""));
}

static void many_headers_are_kept(void **state)
{
    struct rig *r = *state;
    char text[8192];
    size_t len = (size_t)sprintf(text, "GET /later/1 HTTP/1.1\r\n" HOST);
    int fd = rig_connect(r);

    for (int i = 0; i < 100; i++)
        len += (size_t)sprintf(text + len, "X-%d:  v%d \t\r\n", i, i);
    sprintf(text + len, "X-Empty: \r\nX-None:\r\nX-Last: l\r\n\r\n");
    rig_send(r, fd, text);
    assert_int_equal(seen.later[1]->request.n_headers, 104);
    assert_string_equal(http_header(&seen.later[1]->request, "x-0"), "v0");
    assert_string_equal(http_header(&seen.later[1]->request, "X-99"), "v99");
    assert_string_equal(http_header(&seen.later[1]->request, "x-empty"), "");
    assert_string_equal(http_header(&seen.later[1]->request, "x-none"), "");
    assert_string_equal(http_header(&seen.later[1]->request, "x-last"), "l");
    assert_null(http_header(&seen.later[1]->request, "X-100"));
    close(fd);
}

/* --- order
 * ------------------------------------------------------------------------------- */

static void pipelined_answers_leave_in_order(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char want[8192];

    rig_send(r, fd,
             "GET /later/1 HTTP/1.1\r\n" HOST "\r\nGET /later/2 HTTP/1.1\r\n" HOST "\r\n"
             "GET /x HTTP/1.1\r\n" HOST "\r\nGET /later/3 HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(seen.dispatched, 4);
    rig_answer(3);
    rig_answer(2);
    rig_expect(r, fd, "");
    rig_answer(1);
    snprintf(want, sizeof want, "%s%s%s%s", answer("later 1", ""), answer("later 2", ""),
             answer("GET /x", ""), answer("later 3", ""));
    rig_expect(r, fd, want);
    close(fd);
}

static void a_request_that_may_write_runs_alone(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);

    rig_send(r, fd,
             "GET /later/1 HTTP/1.1\r\n" HOST "\r\n"
             "POST /later/2 HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx"
             "GET /later/3 HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(seen.later[1]);
    assert_null(seen.later[2]);
    rig_answer(1);
    rig_expect(r, fd, answer("later 1", ""));
    assert_non_null(seen.later[2]);
    assert_null(seen.later[3]);
    rig_answer(2);
    rig_expect(r, fd, answer("later 2", ""));
    rig_answer(3);
    rig_expect(r, fd, answer("later 3", ""));
    close(fd);
}

static void a_long_pipeline_is_taken_in_parts(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char *text = malloc(1 << 20), *got = malloc(1 << 20);
    size_t len = 0, n = 0;

    for (int i = 0; i < 2000; i++)
        len += (size_t)sprintf(text + len, "GET /%04d HTTP/1.1\r\n" HOST "\r\n", i);
    rig_send_bytes(r, fd, text,
                   len); /* answers fill the socket, so that not all is read at once */
    len = strlen(answer("GET /0000", "")) + CONN_DATE - 1;
    n = rig_recv(r, fd, got, 2000 * len);
    assert_int_equal(n, 2000 * len);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(atoi(got + (size_t)i * len + len - 4), i);
    close(fd);
    free(text);
    free(got);
}

static void an_error_waits_for_answers_before_it(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char want[4096];

    rig_send(r, fd, "GET /later/1 HTTP/1.1\r\n" HOST "\r\nNONSENSE\r\n\r\n");
    rig_expect(r, fd, "");
    rig_answer(1);
    snprintf(want, sizeof want, "%s%s", answer("later 1", ""), BAD_REQUEST);
    rig_expect(r, fd, want);
    rig_expect_closed(r, fd);
}

/* --- refusals
 * ---------------------------------------------------------------------------- */

static void malformed_requests_are_refused(void **state)
{
    static const char *const bad[] = {
        "NONSENSE\r\n\r\n",
        "GET /\r\n\r\n",
        "GET  / HTTP/1.1\r\n" HOST "\r\n",
        "GET / HTTP/1.1 \r\n" HOST "\r\n",
        "GET / x HTTP/1.1\r\n" HOST "\r\n",
        " GET / HTTP/1.1\r\n" HOST "\r\n",
        "G(T / HTTP/1.1\r\n" HOST "\r\n",
        "GET x HTTP/1.1\r\n" HOST "\r\n",
        "GET /%zz HTTP/1.1\r\n" HOST "\r\n",
        "GET /%2 HTTP/1.1\r\n" HOST "\r\n",
        "GET /\x01 HTTP/1.1\r\n" HOST "\r\n",
        "GET /\x7f HTTP/1.1\r\n" HOST "\r\n",
        "GET / HTTP/11\r\n" HOST "\r\n",
        "GET / http/1.1\r\n" HOST "\r\n",
        "GET / HTTP/1.1\n" HOST "\r\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\n",
        "GET / HTTP/1.1\r\n" HOST "A: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST "A: b\r\n\tc\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: x\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST "A\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST "A(: b\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n",
        "GET / HTTP/1.1\r\n" HOST HOST "\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\na",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\na",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\na",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\na",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\na",
        "POST / HTTP/1.1\r\n" HOST
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        "1\r\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"
        "1\r\na\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n",
        "POST / HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\n1;a=\"\n\"\r\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
        "fffffffffffffffff\r\na\r\n0\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        print_message("%zu ", i);
        refused(*state, bad[i], strlen(bad[i]), BAD_REQUEST);
    }
    print_message("\n");
    refused(*state, "GET /\0 HTTP/1.1\r\n" HOST "\r\n", 28, BAD_REQUEST);
    refused(*state, "GET / HTTP/1.1\r\nHost: \0\r\n\r\n", 27, BAD_REQUEST);
}

static void a_chunked_body_must_hold_data(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char ext[1024];

    memset(ext, 'e', sizeof ext);
    rig_send(r, fd, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1;");
    for (int i = 0; i < 40; i++) rig_send_bytes(r, fd, ext, sizeof ext);
    rig_expect(r, fd, BAD_REQUEST);
    rig_expect_closed(r, fd);
}

#define REFUSED(status, text)                                                            \
    "HTTP/1.1 " status                                                                   \
    "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" text

static void what_is_missing_or_unknown_is_named(void **state)
{
    static const struct {
        const char *request, *want;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n",
         REFUSED("400 Bad Request: missing required Host header",
                 "400 Bad Request: missing required Host header")},
        {"GET / HTTP/9.9\r\n" HOST "\r\n",
         REFUSED("505 HTTP Version Not Supported: unsupported protocol version",
                 "505 HTTP Version Not Supported: unsupported protocol version")},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n",
         REFUSED("501 Not Implemented", "Unsupported transfer encoding")},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n",
         REFUSED("501 Not Implemented", "Unsupported transfer encoding")},
        {"POST / HTTP/1.1\r\n" HOST "Expect: a miracle\r\nContent-Length: 3\r\n\r\nabc",
         "HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: "
         "0\r\n\r\n"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(*state, cases[i].request, strlen(cases[i].request), cases[i].want);
}

static void headers_have_a_limit(void **state)
{
    enum { OVER = 1052672 + 1, HEAD = 25 };
    const char *want = REFUSED("431 Request Header Fields Too Large",
                               "431 Request Header Fields Too Large");
    char *text = malloc(OVER + 4);

    memset(text, 'a', OVER);
    memcpy(text, "GET / HTTP/1.1\r\nHost: x\r\nA: ", 28);
    refused(*state, text, OVER, want);

    /* Just inside. */
    {
        struct rig *r = *state;
        int fd = rig_connect(r);

        memcpy(text + 1052672 - 4, "\r\n\r\n", 4);
        rig_send_bytes(r, fd, text, 1052672);
        rig_expect(r, fd, answer("GET /", ""));
        close(fd);
    }
    free(text);
}

static void bodies_have_a_limit(void **state)
{
    struct rig *r = *state;
    const char *want = "HTTP/1.1 413 Request Entity Too Large\r\n" RIG_COMMON
                       "Content-Type: text/plain; charset=utf-8\r\n"
                       "X-Content-Type-Options: nosniff\r\nContent-Length: 23\r\n"
                       "Connection: close\r\n\r\nrequest body too large\n";
    char *body = calloc(1, RIG_BODY_MAX * 4);
    int fd;

    memset(body, 'x', RIG_BODY_MAX * 4);
    fd = rig_connect(r);
    rig_send(r, fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 65537\r\n\r\n");
    rig_expect(r, fd, want);
    rig_send_bytes(r, fd, body,
                   RIG_BODY_MAX); /* what a client had under way is swallowed */
    rig_expect_closed(r, fd);

    fd = rig_connect(r);
    rig_send(r, fd,
             "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n20000\r\n");
    rig_send_bytes(r, fd, body, 0x20000);
    rig_expect(r, fd, want);
    rig_expect_closed(r, fd);

    fd = rig_connect(r);
    rig_send(r, fd, "POST /later/1 HTTP/1.1\r\n" HOST "Content-Length: 65536\r\n\r\n");
    rig_send_bytes(r, fd, body, RIG_BODY_MAX);
    assert_int_equal(seen.later[1]->request.body.len, RIG_BODY_MAX);
    rig_answer(1);
    rig_expect(r, fd, answer("later 1", ""));
    close(fd);
    free(body);
}

/* A 413 that must wait for an earlier answer must not be given twice when more of the
 * body comes. */
static void a_refused_body_behind_another_request(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char got[8192] = "";

    rig_send(r, fd,
             "GET /later/1 HTTP/1.1\r\n" HOST "\r\n"
             "POST / HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nabc");
    rig_send(r, fd, "defghi");
    rig_answer(1);
    rig_recv(r, fd, got, sizeof got - 1);
    assert_non_null(strstr(got, "later 1HTTP/1.1 413 "));
    rig_expect_closed(r, fd);
}

/* --- bodies
 * ------------------------------------------------------------------------------ */

static void a_large_body_goes_to_a_file(void **state)
{
    struct rig *r = *state;
    size_t size = 1 << 20;
    char *body = calloc(1, size);
    int fd = rig_connect(r);

    memset(body, 'x', size);
    memcpy(body, "begin", 5);
    rig_send(r, fd, "POST /load HTTP/1.1\r\n" HOST "Content-Length: 1048576\r\n\r\n");
    rig_send_bytes(r, fd, body, size);
    rig_expect(r, fd, "HTTP/1.1 200 OK\r\n" RIG_COMMON "Content-Length: 0\r\n\r\n");
    assert_int_equal(seen.file_size, size);
    assert_memory_equal(seen.body, "beginx", 6);
    close(fd);
    free(body);
}

static void no_scratch_directory_is_an_answer(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char got[1024] = "";

    r->gateway.options.scratch_dir = "/nonexistent";
    rig_send(r, fd, "POST /load HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc");
    rig_recv(r, fd, got, sizeof got - 1);
    assert_non_null(strstr(got, "HTTP/1.1 500 "));
    assert_non_null(strstr(got, "No such file"));
    rig_expect_closed(r, fd);
}

static void continue_is_said_when_the_body_is_wanted(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);

    rig_send(r, fd,
             "POST /p HTTP/1.1\r\n" HOST
             "Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n");
    rig_expect(r, fd, "HTTP/1.1 100 Continue\r\n\r\n");
    rig_send(r, fd, "abc");
    rig_expect(r, fd, answer("POST /p abc", ""));
    rig_send(r, fd,
             "POST /p HTTP/1.1\r\n" HOST
             "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n");
    rig_expect(r, fd, answer("POST /p", ""));

    /* Not before the answer to an earlier request. */
    rig_send(r, fd,
             "GET /later/1 HTTP/1.1\r\n" HOST "\r\n"
             "POST /p HTTP/1.1\r\n" HOST
             "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    rig_expect(r, fd, "");
    rig_answer(1);
    {
        char want[1024];

        snprintf(want, sizeof want, "%sHTTP/1.1 100 Continue\r\n\r\n",
                 answer("later 1", ""));
        rig_expect(r, fd, want);
    }
    rig_send(r, fd, "abc");
    rig_expect(r, fd, answer("POST /p abc", ""));
    close(fd);
}

static void continue_is_not_said_to_a_body_that_is_too_large(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char got[32] = "";

    rig_send(r, fd,
             "POST /p HTTP/1.1\r\n" HOST
             "Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n");
    rig_recv(r, fd, got, 12);
    assert_string_equal(got, "HTTP/1.1 413");
    close(fd);
}

/* --- answers
 * ----------------------------------------------------------------------------- */

static void head_and_204_have_no_body(void **state)
{
    one(*state, "HEAD /x HTTP/1.1\r\n" HOST "\r\n",
        "HTTP/1.1 200 OK\r\n" RIG_COMMON
        "Content-Type: text/plain\r\nContent-Length: 7\r\n\r\n");
    one(*state, "GET /none HTTP/1.1\r\n" HOST "\r\n",
        "HTTP/1.1 204 No Content\r\n" RIG_COMMON "\r\n");
    seen.file_size = 1000;
    one(*state, "HEAD /file HTTP/1.1\r\n" HOST "\r\n",
        "HTTP/1.1 200 OK\r\n" RIG_COMMON
        "Content-Type: text/plain\r\nContent-Length: 1000\r\n\r\n");
}

static void a_header_cannot_smuggle_another(void **state)
{
    one(*state, "GET /header HTTP/1.1\r\n" HOST "\r\n",
        "HTTP/1.1 200 OK\r\n" RIG_COMMON
        "Content-Type: text/plain\r\nX-Good: good\r\nContent-Length: 0\r\n\r\n");
}

/* The header block of an answer, read byte by byte. */
static void skip_head(struct rig *r, int fd)
{
    char last[5] = "";

    while (strcmp(last, "\r\n\r\n") != 0) {
        memmove(last, last + 1, 3);
        assert_int_equal(rig_recv(r, fd, last + 3, 1), 1);
    }
}

static void a_large_answer_reaches_a_slow_reader(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    uint64_t size = 20 << 20;

    seen.file_size = size;
    rig_send(r, fd,
             "GET /file HTTP/1.1\r\n" HOST "\r\nGET /next HTTP/1.1\r\n" HOST "\r\n");
    skip_head(r, fd);
    for (uint64_t at = 0; at < size;) {
        uint8_t piece[30000];
        size_t want = size - at < sizeof piece ? (size_t)(size - at) : sizeof piece;
        size_t n = rig_recv(r, fd, piece, want);

        assert_int_equal(n, want);
        for (size_t i = 0; i < n; i++)
            if (piece[i] != rig_file_byte(at + i))
                fail_msg("byte %zu differs", (size_t)at + i);
        at += n;
        assert_true(hconn_unsent(rig_conn(r)) <= 256 * 1024); /* never the whole file */
    }
    rig_expect(r, fd, answer("GET /next", ""));

    seen.file_size = 3 << 20;
    rig_send(r, fd,
             "GET /big HTTP/1.1\r\n" HOST "\r\nGET /next HTTP/1.1\r\n" HOST "\r\n");
    skip_head(r, fd);
    for (uint64_t at = 0; at < seen.file_size; at++) {
        char c;

        assert_int_equal(rig_recv(r, fd, &c, 1), 1);
        if (c != 'b') fail_msg("byte %zu differs", (size_t)at);
    }
    rig_expect(r, fd, answer("GET /next", ""));
    close(fd);
}

/* Undo gzip and compare with the file. */
static void check_gzip(const uint8_t *data, size_t len, uint64_t size)
{
    uint8_t *plain = malloc((size_t)size + 1);
    z_stream z = {.next_in = (uint8_t *)data, .avail_in = (uInt)len};

    z.next_out = plain;
    z.avail_out = (uInt)size + 1;
    assert_int_equal(inflateInit2(&z, MAX_WBITS + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, size);
    assert_int_equal(z.avail_in, 0);
    for (uint64_t i = 0; i < size; i++) assert_int_equal(plain[i], rig_file_byte(i));
    inflateEnd(&z);
    free(plain);
}

static void a_compressed_file_comes_in_chunks(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    uint64_t size = 3 << 20;
    uint8_t *zipped = malloc((size_t)size);
    size_t len = 0, chunk;

    seen.file_size = size;
    rig_send(r, fd, "GET /gzip HTTP/1.1\r\n" HOST "\r\n");
    skip_head(r, fd);
    do {
        char head[7] = "", crlf[2];

        assert_int_equal(rig_recv(r, fd, head, 3), 3);
        if (strncmp(head, "0\r\n", 3) == 0) break;
        assert_int_equal(rig_recv(r, fd, head + 3, 3), 3);
        chunk = strtoul(head, NULL, 16);
        assert_int_equal(rig_recv(r, fd, zipped + len, chunk), chunk);
        len += chunk;
        assert_int_equal(rig_recv(r, fd, crlf, 2), 2);
        assert_memory_equal(crlf, "\r\n", 2);
    } while (true);
    rig_expect(r, fd, "\r\n");
    check_gzip(zipped, len, size);
    rig_send(r, fd, "GET /next HTTP/1.1\r\n" HOST "\r\n");
    rig_expect(r, fd, answer("GET /next", ""));

    /* HTTP/1.0 knows no chunks: the end of the connection is the end. */
    rig_send(r, fd, "GET /gzip HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    skip_head(r, fd);
    len = rig_recv(r, fd, zipped, (size_t)size);
    check_gzip(zipped, len, size);
    rig_expect_closed(r, fd);
    free(zipped);
}

static void a_file_that_cannot_be_read_cuts_the_connection(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char *got = malloc(3 << 20);

    seen.file_size = 2 << 20;
    rig_send(r, fd, "GET /short HTTP/1.1\r\n" HOST "\r\n");
    skip_head(r, fd);
    assert_true(rig_recv(r, fd, got, 2 << 20) < 2 << 20);
    assert_int_equal(r->thread.conns->count, 0);
    close(fd);
    free(got);
}

/* --- ends
 * -------------------------------------------------------------------------------- */

static void a_half_closed_client_is_answered(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);

    rig_send(r, fd,
             "GET /later/1 HTTP/1.1\r\n" HOST "\r\nPOST /p HTTP/1.1\r\n" HOST "\r\n");
    shutdown(fd, SHUT_WR);
    rig_turn(r);
    rig_answer(1);
    {
        char want[4096];

        snprintf(want, sizeof want, "%s%s", answer("later 1", ""), answer("POST /p", ""));
        rig_expect(r, fd, want);
    }
    rig_expect_closed(r, fd);
    assert_int_equal(seen.gone, 0);
}

static void half_a_request_is_no_request(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);

    rig_send(r, fd, "GET / HTTP/1.1\r\n");
    shutdown(fd, SHUT_WR);
    rig_expect(r, fd, BAD_REQUEST);
    rig_expect_closed(r, fd);

    fd = rig_connect(r);
    rig_send(r, fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc");
    shutdown(fd, SHUT_WR);
    rig_expect_closed(r, fd);
    assert_int_equal(seen.dispatched, 0);
}

static void a_handler_hears_that_its_client_is_gone(void **state)
{
    struct rig *r = *state;
    int fd;

    rig_waits(r, 20, 20, 20);
    fd = rig_connect(r);
    rig_send(r, fd, "GET /later/1 HTTP/1.1\r\n" HOST "\r\n");
    close(fd);
    RIG_UNTIL(r, seen.gone == 1);
    assert_true(seen.later[1]->gone);
    assert_int_equal(r->thread.conns->count, 0);
    rig_answer(1); /* to nobody */

    /* A reset, which needs no second thought: something we sent was not read. */
    rig_waits(r, 60000, 60000, 60000);
    fd = rig_connect(r);
    rig_send(r, fd,
             "GET /x HTTP/1.1\r\n" HOST "\r\nGET /later/2 HTTP/1.1\r\n" HOST "\r\n");
    close(fd);
    RIG_UNTIL(r, seen.gone == 2);
}

static void slow_headers_time_out_and_others_are_served(void **state)
{
    struct rig *r = *state;
    int slow, other;

    rig_waits(r, 60, 60000, 60000);
    slow = rig_connect(r);
    other = rig_connect(r);
    rig_send(r, slow, "GET / HT");
    for (uint64_t end_ms = rig_now_ms() + 1000; r->thread.conns->count == 2;) {
        rig_send(r, slow, "T"); /* dripping does not help */
        rig_send(r, other, "GET /x HTTP/1.1\r\n" HOST "\r\n");
        rig_expect(r, other, answer("GET /x", ""));
        assert_true(rig_now_ms() < end_ms);
    }
    rig_expect(r, slow, "");
    rig_send(r, other, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    rig_expect(r, other, answer("GET /x", ""));
    close(slow);
    close(other);
}

static void an_idle_connection_times_out(void **state)
{
    struct rig *r = *state;
    int fd;

    rig_waits(r, 60000, 30, 60000);
    fd = rig_connect(r);
    rig_expect_closed(r, fd);
    fd = rig_connect(r);
    rig_send(r, fd, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    rig_expect(r, fd, answer("GET /x", ""));
    rig_expect_closed(r, fd);
}

static void a_body_or_answer_without_progress_times_out(void **state)
{
    struct rig *r = *state;
    int fd;

    rig_waits(r, 60000, 60000, 30);
    fd = rig_connect(r);
    rig_send(r, fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc");
    RIG_UNTIL(r, r->thread.conns->count == 0);
    close(fd);

    seen.file_size = 20 << 20;
    fd = rig_connect(r);
    rig_send(r, fd, "GET /file HTTP/1.1\r\n" HOST "\r\n");
    RIG_UNTIL(r, r->thread.conns->count == 0);
    close(fd);
}

static void work_has_no_deadline(void **state)
{
    struct rig *r = *state;
    uint64_t end_ms;
    int fd;

    rig_waits(r, 10, 10, 10);
    fd = rig_connect(r);
    rig_send(r, fd, "GET /later/1 HTTP/1.1\r\n" HOST "\r\nGET /half");
    end_ms = rig_now_ms() + 100;
    RIG_UNTIL(r, rig_now_ms() > end_ms);
    rig_answer(1);
    rig_expect(r, fd, answer("later 1", ""));
    RIG_UNTIL(r, r->thread.conns->count == 0); /* now the other's headers are late */
    close(fd);
}

static void draining_finishes_what_was_begun(void **state)
{
    struct rig *r = *state;
    int idle = rig_connect(r), busy = rig_connect(r), begun = rig_connect(r);

    rig_send(r, idle, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    rig_expect(r, idle, answer("GET /x", ""));
    rig_send(r, busy, "GET /later/1 HTTP/1.1\r\n" HOST "\r\n");
    rig_send(r, begun, "POST /p HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na");
    hconn_set_drain(r->thread.conns);
    rig_expect_eof(r, idle);
    rig_answer(1);
    rig_expect(r, busy, answer("later 1", "Connection: close\r\n"));
    rig_expect_eof(r, busy);
    rig_send(r, begun, "bc");
    rig_expect(r, begun, answer("POST /p abc", "Connection: close\r\n"));
    close(idle);
    close(busy);
    rig_expect_closed(r, begun);
}

static void an_idle_connection_holds_no_buffers(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    struct hconn *c = rig_conn(r);

    rig_send(r, fd, "GET /x HTTP/1.1\r\n");
    assert_non_null(c->in.data);
    rig_send(r, fd, HOST "\r\n");
    rig_expect(r, fd, answer("GET /x", ""));
    assert_null(c->in.data);
    assert_null(c->out.data);
    assert_true(sizeof *c < 1024);
    close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(a_request_is_answered_byte_for_byte),
        T(any_token_is_a_method),
        T(a_target_may_name_the_host),
        T(empty_lines_before_a_request_are_skipped),
        T(a_request_may_come_in_single_bytes),
        T(a_body_has_the_length_it_says),
        T(http_1_0_closes_unless_asked_otherwise),
        T(connection_close_ends_the_connection),
        T(an_upgrade_that_makes_no_sense_is_ignored),
        T(many_headers_are_kept),
        T(pipelined_answers_leave_in_order),
        T(a_request_that_may_write_runs_alone),
        T(a_long_pipeline_is_taken_in_parts),
        T(an_error_waits_for_answers_before_it),
        T(malformed_requests_are_refused),
        T(a_chunked_body_must_hold_data),
        T(what_is_missing_or_unknown_is_named),
        T(headers_have_a_limit),
        T(bodies_have_a_limit),
        T(a_refused_body_behind_another_request),
        T(a_large_body_goes_to_a_file),
        T(no_scratch_directory_is_an_answer),
        T(continue_is_said_when_the_body_is_wanted),
        T(continue_is_not_said_to_a_body_that_is_too_large),
        T(head_and_204_have_no_body),
        T(a_header_cannot_smuggle_another),
        T(a_large_answer_reaches_a_slow_reader),
        T(a_compressed_file_comes_in_chunks),
        T(a_file_that_cannot_be_read_cuts_the_connection),
        T(a_half_closed_client_is_answered),
        T(half_a_request_is_no_request),
        T(a_handler_hears_that_its_client_is_gone),
        T(slow_headers_time_out_and_others_are_served),
        T(an_idle_connection_times_out),
        T(a_body_or_answer_without_progress_times_out),
        T(work_has_no_deadline),
        T(draining_finishes_what_was_begun),
        T(an_idle_connection_holds_no_buffers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
