/* SPDX-License-Identifier: MIT */
/*
 * A client's bytes to a connection of the gateway, HTTP/1 or HTTP/2 as they say
 * themselves.  The first byte of the input is how they come and go:
 *
 *      bits 0-2   sizes of the pieces that are read: all at once, or 1, 3, 7, 20 ...
 * bytes bits 3-5   what a write takes: everything, or 1 ... 1000 bytes, each time after
 * an EAGAIN bit 6      handlers answer at once, or when all bytes are there bit 7      at
 * the end: the end of the file, or a drain
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "gateway/conn.h"
#include "gateway/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LATER_MAX = 1024, BODY_MAX = 4096, HEADER_MAX = 8192, TURNS_MAX = 100000 };

static struct gateway gateway;
static struct gateway_thread thread;
static struct http_exchange *later[LATER_MAX];
static unsigned n_later;
static int zero_fd;
static bool at_once;

struct client {
    const uint8_t *next, *end;
    size_t read_max, write_max;
    bool blocked, eof, closed;
};

/* --- handlers
 * ---------------------------------------------------------------------------- */

static void answer(struct http_exchange *x)
{
    const struct http_request *r = &x->request;
    struct http_response response = {.status = 200, .content_type = "text/plain"};
    struct buf body;

    /* All of a request can be read. */
    CHECK(strlen(r->target) >= strlen(r->query));
    CHECK(strlen(r->path) <= r->path_len);
    for (size_t i = 0; i < r->n_headers; i++)
        CHECK(strlen(r->headers[i].name) > 0 &&
              strlen(r->headers[i].value) < HEADER_MAX * 2);
    CHECK(r->body_size <= BODY_MAX);
    CHECK(r->body_kind == HTTP_BODY_FILE || r->body.len == r->body_size);
    if (r->n_headers > 0) {
        response.headers[0] = (struct http_header){"X-Echo", r->headers[0].value};
        response.n_headers = 1;
    }
    switch (r->path_len % 5) {
    case 0: http_respond_empty(x, 204, NULL); break;
    case 1: http_respond_text(x, 404, r->path); break;
    case 2: http_respond_file(x, &response, dup(zero_fd), 100000); break;
    case 3: http_respond_file_gzip(x, &response, dup(zero_fd), 100000); break;
    default:
        buf_init(&body, 0);
        buf_append(&body, r->target, strlen(r->target));
        while (body.len < 40000 && r->has_query) buf_append(&body, "0123456789", 10);
        http_respond(x, &response, &body);
    }
}

void gateway_dispatch(struct http_exchange *x)
{
    if (at_once || n_later == LATER_MAX) {
        answer(x);
    } else {
        http_hold(x);
        later[n_later++] = x;
    }
}

static void answer_all(void)
{
    hconn_set_enter(thread.conns);
    while (n_later > 0) {
        struct http_exchange *x = later[--n_later]; /* the last one first */

        answer(x);
        http_release(x);
    }
    hconn_set_leave(thread.conns);
}

struct http_body_rule gateway_body_rule(struct http_request *r)
{
    enum http_body_kind kind = r->path_len % 2 ? HTTP_BODY_FILE : HTTP_BODY_MEMORY;

    return (struct http_body_rule){.kind = kind, .max = BODY_MAX};
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

/* --- the connection
 * ---------------------------------------------------------------------- */

static ssize_t fuzz_recv(struct hconn *c, void *out, size_t cap)
{
    struct client *k = c->io_state;
    size_t n = (size_t)(k->end - k->next);

    if (n == 0) {
        if (k->eof) return 0;
        errno = EAGAIN;
        return -1;
    }
    if (n > cap) n = cap;
    if (n > k->read_max) n = k->read_max;
    memcpy(out, k->next, n);
    k->next += n;
    return (ssize_t)n;
}

static ssize_t fuzz_send(struct hconn *c, const struct iovec *v, int n)
{
    struct client *k = c->io_state;
    size_t all = 0;

    k->blocked = !k->blocked && k->write_max < SIZE_MAX;
    if (k->blocked) {
        errno = EAGAIN;
        return -1;
    }
    for (int i = 0; i < n; i++) all += v[i].iov_len;
    return (ssize_t)(all < k->write_max ? all : k->write_max);
}

static void fuzz_shutdown(struct hconn *c)
{
    (void)c;
}

static void fuzz_close(struct hconn *c, bool reset)
{
    struct client *k = c->io_state;

    (void)reset;
    k->closed = true;
}

static const struct hconn_io fuzz_io = {
    .recv = fuzz_recv, .send = fuzz_send, .shutdown = fuzz_shutdown, .close = fuzz_close};

static void set_up(void)
{
    static char path[] = "fuzz.XXXXXX";

    gateway.options.version = "v1";
    gateway.options.scratch_dir = ".";
    gateway.options.limits.header_bytes = HEADER_MAX;
    gateway.options.limits.header_ms = gateway.options.limits.idle_ms = 1000000;
    gateway.options.limits.stall_ms = 1000000;
    gateway.threads = &thread;
    gateway.n_threads = 1;
    thread.gateway = &gateway;
    thread.base = event_base_new();
    zero_fd = mkstemp(path);
    CHECK(zero_fd >= 0);
    unlink(path);
    CHECK(ftruncate(zero_fd, 90000) == 0); /* shorter than answer() promises */
}

static size_t piece(unsigned which)
{
    static const size_t sizes[] = {SIZE_MAX, 1, 3, 7, 20, 100, 333, 1000};

    return sizes[which & 7];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client k = {0};
    struct hconn *c;

    if (!thread.base) set_up();
    if (size == 0) return 0;
    CHECK(hconn_set_new(&thread.conns, &thread, NULL) == ERR_OK);
    k.next = data + 1;
    k.end = data + size;
    k.read_max = piece(data[0]);
    k.write_max = piece(data[0] >> 3);
    at_once = (data[0] & 0x40) != 0;
    c = hconn_open_io(&thread, &fuzz_io, &k);
    CHECK(c != NULL);

    while (k.next < k.end && !k.closed) {
        hconn_readable(c);
        if (!k.closed && k.blocked) hconn_writable(c);
    }
    answer_all();
    if (data[0] & 0x80) {
        hconn_set_drain(thread.conns);
    } else if (!k.closed) {
        k.eof = true;
        hconn_readable(c);
    }
    for (int i = 0; i < TURNS_MAX && !k.closed && c->writing; i++) hconn_writable(c);
    hconn_set_close_all(thread.conns);
    answer_all(); /* nobody hears it; but what is held must be let go */
    CHECK(k.closed);
    CHECK(thread.holds == 0);
    hconn_set_free(thread.conns);
    thread.conns = NULL;
    return 0;
}
