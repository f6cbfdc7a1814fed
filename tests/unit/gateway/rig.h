/* SPDX-License-Identifier: MIT */
/*
 * rig: a gateway thread without a thread, for the tests of the transports.
 *
 * Connections are socket pairs served by an event loop that the test itself turns, so a
 * test decides when what happens.  The handlers are a fake: what it does is in the path
 * of the request (see gateway_dispatch() below).
 */
#ifndef TESTS_UNIT_GATEWAY_RIG_H
#define TESTS_UNIT_GATEWAY_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it */
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "gateway/conn.h"
#include "gateway/server.h"

enum {
    RIG_LATER = 64,
    RIG_WAIT_MS = 10000,
    RIG_BODY_MAX = 64 * 1024,
    RIG_LOAD_MAX = 8 << 20
};

struct rig {
    struct gateway gateway;
    struct gateway_thread thread;
};

/* What the fake handler has seen; reset by rig_open(). */
static struct {
    struct http_exchange
        *later[RIG_LATER]; /* held, by the number in the path; NULL = not there */
    unsigned dispatched, gone;
    uint64_t file_size;
    char body[256]; /* the latest body that was spooled: its first bytes */
} seen;

/* --- the fake handlers
 * ------------------------------------------------------------------- */

static void rig_answer(unsigned i)
{
    struct http_exchange *x = seen.later[i];
    struct http_response r = {.status = 200, .content_type = "text/plain"};
    struct buf body;

    assert_non_null(x);
    seen.later[i] = NULL;
    buf_init(&body, 0);
    buf_printf(&body, "later %u", i);
    http_respond(x, &r, &body);
    http_release(x);
}

static void rig_on_gone(struct http_exchange *x)
{
    (void)x;
    seen.gone++;
}

/* A file whose byte at i is i * 7 / 16 mod 256: squeezable, and no piece looks like
 * another. */
static uint8_t rig_file_byte(uint64_t i)
{
    return (uint8_t)(i * 7 / 16);
}

static int rig_file(uint64_t size)
{
    char path[] = "rig.XXXXXX";
    int fd = mkstemp(path);
    uint8_t piece[4096];

    assert_true(fd >= 0);
    unlink(path);
    for (uint64_t at = 0; at < size; at += sizeof piece) {
        size_t n = size - at < sizeof piece ? (size_t)(size - at) : sizeof piece;

        for (size_t i = 0; i < n; i++) piece[i] = rig_file_byte(at + i);
        assert_int_equal(write(fd, piece, n), (ssize_t)n);
    }
    return fd;
}

static void rig_echo(struct http_exchange *x)
{
    struct http_request *r = &x->request;
    struct http_response response = {.status = 200, .content_type = "text/plain"};
    struct buf body;

    buf_init(&body, 0);
    buf_printf(&body, "%s %s", r->method_text, r->path);
    if (r->has_query) buf_printf(&body, "?%s", r->query);
    if (r->body_size > 0) {
        buf_append_str(&body, " ");
        buf_append(&body, r->body.data, r->body.len);
    }
    http_respond(x, &response, &body);
}

static void rig_big(struct http_exchange *x)
{
    struct http_response r = {.status = 200, .content_type = "text/plain"};
    struct buf body;

    buf_init(&body, 0);
    memset(buf_reserve(&body, (size_t)seen.file_size), 'b', (size_t)seen.file_size);
    buf_advance(&body, (size_t)seen.file_size);
    http_respond(x, &r, &body);
}

/* /later/N  answered by rig_answer(N)      /file /gzip  seen.file_size bytes
 * /short    a file cut short               /big         as many in memory
 * /load...  the body goes to a file        /none        204
 * /header   with the query as a header     otherwise    what came, as text */
void gateway_dispatch(struct http_exchange *x)
{
    const char *path = x->request.path;
    struct http_response r = {.status = 200, .content_type = "text/plain"};

    seen.dispatched++;
    if (strncmp(path, "/later/", 7) == 0) {
        http_hold(x);
        x->on_gone = rig_on_gone;
        seen.later[atoi(path + 7)] = x;
    } else if (strcmp(path, "/file") == 0) {
        http_respond_file(x, &r, rig_file(seen.file_size), seen.file_size);
    } else if (strcmp(path, "/gzip") == 0) {
        http_respond_file_gzip(x, &r, rig_file(seen.file_size), seen.file_size);
    } else if (strcmp(path, "/short") == 0) {
        http_respond_file(x, &r, rig_file(seen.file_size / 2), seen.file_size);
    } else if (strcmp(path, "/big") == 0) {
        rig_big(x);
    } else if (strncmp(path, "/load", 5) == 0) {
        assert_int_equal(x->request.body_kind, HTTP_BODY_FILE);
        assert_true(pread(x->request.body_fd, seen.body, sizeof seen.body - 1, 0) >= 0);
        seen.file_size = x->request.body_size;
        http_respond_empty(x, 200, NULL);
    } else if (strcmp(path, "/none") == 0) {
        http_respond_empty(x, 204, NULL);
    } else if (strcmp(path, "/header") == 0) {
        char value[64] = "one\r\nX-Two: two";

        r.headers[0] = (struct http_header){"X-Bad", value};
        r.headers[1] = (struct http_header){"X-Good", "good"};
        r.n_headers = 2;
        http_respond(x, &r, NULL);
    } else {
        rig_echo(x);
    }
}

struct http_body_rule gateway_body_rule(struct http_request *r)
{
    if (strncmp(r->path, "/load", 5) == 0)
        return (struct http_body_rule){.kind = HTTP_BODY_FILE, .max = RIG_LOAD_MAX};
    return (struct http_body_rule){.max = RIG_BODY_MAX};
}

enum err gateway_api_start(struct gateway *g, struct why *why)
{
    (void)g, (void)why;
    return ERR_OK;
}

void gateway_api_stop(struct gateway *g)
{
    (void)g;
}

void gateway_api_free(struct gateway *g)
{
    (void)g;
}

/* --- the rig
 * ----------------------------------------------------------------------------- */

static inline void rig_open(struct rig *r)
{
    struct gateway_options *o = &r->gateway.options;

    memset(r, 0, sizeof *r);
    memset(&seen, 0, sizeof seen);
    o->version = "v1";
    o->scratch_dir = ".";
    o->limits.header_bytes = 1052672;
    o->limits.header_ms = o->limits.idle_ms = o->limits.stall_ms = 60000;
    r->gateway.threads = &r->thread;
    r->gateway.n_threads = 1;
    r->thread.gateway = &r->gateway;
    r->thread.base = event_base_new();
    assert_int_equal(hconn_set_new(&r->thread.conns, &r->thread, NULL), ERR_OK);
}

/* Shorter deadlines; before connections are made. */
static inline void rig_waits(struct rig *r, uint64_t header_ms, uint64_t idle_ms,
                             uint64_t stall_ms)
{
    struct hconn_set *s = r->thread.conns;

    s->wait_ms[CONN_HEADER] = header_ms;
    s->wait_ms[CONN_IDLE] = idle_ms;
    s->wait_ms[CONN_STALL] = stall_ms;
    s->wait_ms[CONN_LINGER] = s->wait_ms[CONN_GONE] = stall_ms;
}

static inline void rig_close(struct rig *r)
{
    for (unsigned i = 0; i < RIG_LATER; i++)
        if (seen.later[i]) rig_answer(i);
    hconn_set_free(r->thread.conns);
    assert_int_equal(r->thread.holds, 0);
    assert_int_equal(atomic_load(&r->gateway.connections), 0);
    event_base_free(r->thread.base);
}

/* The client's end of a new connection; it never blocks. */
static inline int rig_connect(struct rig *r)
{
    int fd[2];

    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(hconn_open(&r->thread, fd[1]), ERR_OK);
    return fd[0];
}

/* The connection made last, or NULL when there is none. */
static inline struct hconn *rig_conn(struct rig *r)
{
    struct hconn_set *s = r->thread.conns;

    return list_empty(&s->all) ? NULL : LIST_ITEM(s->all.prev, struct hconn, all);
}

static inline uint64_t rig_now_ms(void)
{
    return clock_mono_ns(clock_real()) / 1000000;
}

/* Let the gateway do all that it can do now. */
static inline void rig_turn(struct rig *r)
{
    for (int i = 0; i < 20; i++) event_base_loop(r->thread.base, EVLOOP_NONBLOCK);
}

/* Turn until cond is true; a test fails when that takes for ever. */
#define RIG_UNTIL(r, cond)                                                               \
    do {                                                                                 \
        uint64_t rig_end_ms = rig_now_ms() + RIG_WAIT_MS;                                \
        while (!(cond)) {                                                                \
            event_base_loop((r)->thread.base, EVLOOP_NONBLOCK);                          \
            if (rig_now_ms() > rig_end_ms) fail_msg("never: %s", #cond);                 \
        }                                                                                \
    } while (0)

static inline void rig_send_bytes(struct rig *r, int fd, const void *data, size_t len)
{
    const char *p = data;
    uint64_t end_ms = rig_now_ms() + RIG_WAIT_MS;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            return; /* closed: what it answered is still there to be read */
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
        event_base_loop(r->thread.base, EVLOOP_NONBLOCK);
        if (rig_now_ms() > end_ms) fail_msg("nobody reads what the test sends");
    }
    rig_turn(r);
}

static inline void rig_send(struct rig *r, int fd, const char *text)
{
    rig_send_bytes(r, fd, text, strlen(text));
}

/* Read until want bytes are there or the end.  Returns how many. */
static inline size_t rig_recv(struct rig *r, int fd, void *out, size_t want)
{
    uint64_t end_ms = rig_now_ms() + RIG_WAIT_MS;
    size_t got = 0;

    while (got < want && rig_now_ms() < end_ms) {
        ssize_t n = recv(fd, (char *)out + got, want - got, 0);

        if (n == 0) break;
        if (n < 0 && errno != EAGAIN) break;
        if (n > 0) got += (size_t)n;
        event_base_loop(r->thread.base, EVLOOP_NONBLOCK);
    }
    return got;
}

/* "Date: ..." -> "Date: D", so that answers can be compared whole. */
static inline void rig_fix_dates(char *text)
{
    char *p = text;

    for (; (p = strstr(p, "Date: ")); p += 7) {
        char *end = strstr(p, "\r\n");

        if (!end) return;
        if (end == p + 7) continue; /* done before */
        assert_int_equal(end - p, 6 + CONN_DATE);
        p[6] = 'D';
        memmove(p + 7, end, strlen(end) + 1);
    }
}

#define RIG_COMMON                                                                       \
    "Access-Control-Allow-Headers: Content-Type\r\n"                                     \
    "Access-Control-Allow-Methods: OPTIONS, GET, POST\r\n"                               \
    "X-Rqlite-Version: v1\r\n"                                                           \
    "Date: D\r\n"

/* Exactly this comes, and nothing behind it for now. */
static inline void rig_expect(struct rig *r, int fd, const char *want)
{
    size_t cap = strlen(want) + 4096, len = 0;
    char *text = calloc(1, cap + 1);
    uint64_t end_ms = rig_now_ms() + RIG_WAIT_MS;

    assert_non_null(text);
    while (rig_now_ms() < end_ms) {
        ssize_t n;

        rig_turn(r);
        n = recv(fd, text + len, cap - len, 0);
        if (n == 0) break;
        if (n > 0) {
            len += (size_t)n;
            text[len] = '\0';
            rig_fix_dates(text);
            len = strlen(text);
        }
        if (n < 0 && len >= strlen(want)) break;
    }
    assert_string_equal(text, want);
    free(text);
}

static inline void rig_expect_eof(struct rig *r, int fd)
{
    char c;

    assert_int_equal(rig_recv(r, fd, &c, 1), 0);
    assert_int_equal(recv(fd, &c, 1, 0), 0);
}

/* The connection is over, from both sides. */
static inline void rig_expect_closed(struct rig *r, int fd)
{
    rig_expect_eof(r, fd);
    close(fd);
    RIG_UNTIL(r, r->thread.conns->count == 0);
}

#endif
