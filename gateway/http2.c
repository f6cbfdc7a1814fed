/* SPDX-License-Identifier: MIT */
/*
 * nghttp2 keeps the protocol; here its streams become exchanges.
 *
 * Against those who make us work for nothing: a stream that is reset early, by the client
 * or by us for a fault of its own, costs it from an allowance (rapid reset,
 * CVE-2023-44487 and CVE-2025-8671), a header list is counted while it is decoded and a
 * block that never ends is cut (HPACK and CONTINUATION bombs), and nghttp2 itself bounds
 * the answers to PING and SETTINGS.
 */
#include "gateway/http2.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "gateway/conn.h"
#include "gateway/stream.h"
#include "gateway/transport.h"

enum {
    STREAMS_MAX = 256,
    STREAM_WINDOW = 1024 * 1024,
    CONN_WINDOW = 4 * 1024 * 1024,
    UNSENT_MAX = 128 * 1024, /* frames made before the client takes them */
    RESETS_BURST = 500,      /* streams a client may reset at once ... */
    RESETS_PER_S = 33,       /* ... and in the long run */
    SETTINGS_MAX = 6 * 64,   /* bytes of HTTP2-Settings */
    BLOCK_FACTOR = 2,    /* a header block on the wire, against the limit of its list */
    FIELD_OVERHEAD = 32, /* RFC 9113, 6.5.2 */
    RESPONSE_FIELDS = 10 + 8 /* ours, two of them with authentication, and a handler's */
};

struct http2 {
    nghttp2_session *session; /* owned */
    struct list streams;      /* exchanges */
    size_t n_streams;
    size_t running;       /* of them at their handlers */
    size_t starved;       /* of them answered, with a handler that has yet to go on */
    bool in_block;        /* a header block has begun and not ended */
    uint64_t block_bytes; /* input since then, roughly */
    double resets_left;
    uint64_t resets_ms; /* when that was so */
    bool draining;
    struct exchange *upgraded; /* complete, and waits for the client's first frame */
};

static const char preface[] = NGHTTP2_CLIENT_MAGIC;

static struct http2 *http2_of(const struct hconn *c)
{
    return c->state;
}

bool http2_may_begin(const uint8_t *data, size_t len)
{
    return memcmp(data, preface, len < HTTP2_PREFACE ? len : HTTP2_PREFACE) == 0;
}

/* --- answers
 * ----------------------------------------------------------------------------- */

static ssize_t read_payload(nghttp2_session *session, int32_t stream, uint8_t *out,
                            size_t cap, uint32_t *flags, nghttp2_data_source *source,
                            void *arg)
{
    struct exchange *e = source->ptr;
    struct payload *p = &e->payload;
    struct hconn *c = arg;
    ssize_t n = payload_read(p, out, cap);

    (void)session, (void)stream;
    if (n == PAYLOAD_LATER) {
        e->starved = true;
        http2_of(c)->starved++;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n < 0) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the stream is reset */
    if (n == 0 || (payload_has_size(p) && p->done == p->size))
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    c->progress = true;
    return n;
}

struct fields {
    nghttp2_nv nv[RESPONSE_FIELDS];
    size_t n;
};

static void put(struct fields *f, const char *name, const char *value, size_t len)
{
    CHECK(f->n < RESPONSE_FIELDS);
    f->nv[f->n++] = (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), len, 0};
}

static void put_str(struct fields *f, const char *name, const char *value)
{
    if (http_value_ok(value)) put(f, name, value, strlen(value));
}

static void http2_respond(struct exchange *e, const struct http_response *r,
                          struct payload *p)
{
    struct hconn *c = e->conn;
    struct http2 *h = http2_of(c);
    const struct gateway_options *o = &c->set->thread->gateway->options;
    bool bodiless = r->status == 204 || r->status == 304;
    bool sized = payload_has_size(p) && !bodiless;
    nghttp2_data_provider body = {.source.ptr = e, .read_callback = read_payload};
    struct fields f = {.n = 0};
    char status[16], length[24];

    if (e->dispatched) h->running--;
    if (!e->body_done) e->refused = true;
    snprintf(status, sizeof status, "%d", r->status);
    snprintf(length, sizeof length, "%llu", (unsigned long long)p->size);
    put_str(&f, ":status", status);
    put_str(&f, "access-control-allow-headers",
            o->auth ? "Content-Type, Authorization" : "Content-Type");
    put_str(&f, "access-control-allow-methods", "OPTIONS, GET, POST");
    if (o->allow_origin) put_str(&f, "access-control-allow-origin", o->allow_origin);
    if (o->auth) {
        put_str(&f, "access-control-allow-credentials", "true");
        put_str(&f, "www-authenticate", "Basic realm=\"rqlite\"");
    }
    put_str(&f, "x-rqlite-version", o->version ? o->version : "");
    put(&f, "date", hconn_set_date(c->set), CONN_DATE);
    if (r->content_type) put_str(&f, "content-type", r->content_type);
    if (sized) put_str(&f, "content-length", length);
    for (size_t i = 0; i < r->n_headers; i++)
        put_str(&f, r->headers[i].name,
                r->headers[i].value); /* submitting lowers the names */

    if (bodiless || e->x.request.method == HTTP_HEAD || (sized && p->size == 0))
        payload_fini(p);
    e->payload = *p;
    if (nghttp2_submit_response(h->session, e->stream, f.nv, f.n,
                                p->kind == PAYLOAD_NONE ? NULL : &body) != 0)
        hconn_break(c);
    hconn_mark(c);
}

/* --- requests
 * ---------------------------------------------------------------------------- */

static void reset(struct http2 *h, int32_t stream, uint32_t code)
{
    /* Out of memory is the only failure, and the session's next call finds that itself.
     */
    (void)nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, stream, code);
}

static void feed(struct http2 *h, struct exchange *e)
{
    if (e->starved) h->starved--;
    e->starved = false;
}

static void http2_resume(struct exchange *e)
{
    struct http2 *h = http2_of(e->conn);

    feed(h, e);
    if (http_stream_broken(e->payload.stream)) /* also where its window is closed */
        reset(h, e->stream, NGHTTP2_INTERNAL_ERROR);
    else /* not deferred, when it waits for its window: then that wakes it */
        (void)nghttp2_session_resume_data(h->session, e->stream);
    hconn_mark(e->conn);
}

static void run(struct http2 *h, struct exchange *e)
{
    h->running++;
    exchange_dispatch(e);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame,
                            void *arg)
{
    struct hconn *c = arg;
    struct http2 *h = http2_of(c);
    struct exchange *e;

    h->in_block = true;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    e = exchange_new(c);
    if (!e) {
        reset(h, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    e->stream = frame->hd.stream_id;
    e->x.request.major = 2;
    list_push_back(&h->streams, &e->link);
    h->n_streams++;
    nghttp2_session_set_stream_user_data(session, e->stream, e);
    return 0;
}

static bool is(const uint8_t *name, size_t len, const char *want)
{
    return len == strlen(want) && memcmp(name, want, len) == 0;
}

static bool take_field(struct exchange *e, const uint8_t *name, size_t name_len,
                       const uint8_t *value, size_t len)
{
    struct http_request *r = &e->x.request;
    struct arena *a = &e->x.arena;
    char *v = arena_strndup(a, (const char *)value, len);
    struct http_header *f;

    if (!v) return false;
    if (is(name, name_len, ":method")) {
        exchange_method(e, v);
        return true;
    }
    if (is(name, name_len, ":path")) {
        r->target = v; /* taken apart when all is here */
        return true;
    }
    if (name[0] == ':' && !is(name, name_len, ":authority")) return true;
    f = exchange_header(e);
    if (!f) return false;
    f->value = v;
    f->name = name[0] == ':' ? "host" : arena_strndup(a, (const char *)name, name_len);
    return f->name != NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame,
                     const uint8_t *name, size_t name_len, const uint8_t *value,
                     size_t len, uint8_t flags, void *arg)
{
    struct exchange *e =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct hconn *c = arg;
    uint64_t max = c->set->thread->gateway->options.limits.header_bytes;

    (void)flags;
    if (!e || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0; /* refused, or a trailer */
    e->headers_size += name_len + len + FIELD_OVERHEAD;
    if (e->headers_size > BLOCK_FACTOR * max) return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (e->headers_size > max) return 0; /* answered with 431 when all is here */
    return take_field(e, name, name_len, value, len)
               ? 0
               : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* A decimal number; nghttp2 has checked that it is one. */
static void note_length(struct exchange *e)
{
    const char *s = http_header(&e->x.request, "content-length");

    if (!s) return;
    e->x.request.has_content_length = true;
    e->content_length = strtoull(s, NULL, 10);
}

static void send_continue(struct http2 *h, struct exchange *e)
{
    nghttp2_nv nv = {(uint8_t *)":status", (uint8_t *)"100", 7, 3, 0};

    (void)nghttp2_submit_headers(h->session, NGHTTP2_FLAG_NONE, e->stream, NULL, &nv, 1,
                                 NULL);
}

/* The header list is complete.  True: the request may go on. */
static bool begin_request(struct hconn *c, struct exchange *e, bool has_body)
{
    struct http2 *h = http2_of(c);
    struct http_request *r = &e->x.request;
    const char *expect;

    r->received_ns = clock_mono_ns(clock_real());
    if (e->headers_size > c->set->thread->gateway->options.limits.header_bytes) {
        http_respond_text(&e->x, 431, "431 Request Header Fields Too Large");
        return false;
    }
    if (!exchange_target(e, r->target)) {
        http_respond_text(&e->x, 400, "400 Bad Request");
        return false;
    }
    expect = http_header(r, "expect");
    if (expect && strcmp(expect, "100-continue") != 0) {
        http_respond_empty(&e->x, 417, NULL);
        return false;
    }
    note_length(e);
    if (!has_body) return true;
    e->rule = gateway_body_rule(r);
    r->body_kind = e->rule.kind;
    if (exchange_is_hopeless(e)) {
        e->x.cut = true; /* dropped as it comes; an early answer is missed by some */
    } else if (e->content_length > e->rule.max) {
        http_respond_text(&e->x, 413, EXCHANGE_TOO_LARGE);
        return false;
    }
    if (expect) send_continue(h, e);
    return true;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream,
                   const uint8_t *data, size_t len, void *arg)
{
    struct exchange *e = nghttp2_session_get_stream_user_data(session, stream);
    struct hconn *c = arg;
    struct why why;
    enum err err;

    (void)flags;
    c->progress = true;
    if (!e || e->x.answered || e->x.cut) return 0;
    err = exchange_body(e, data, len, &why);
    if (err) exchange_body_failed(e, &why);
    return 0;
}

/* One more stream was reset because of the client: how many may there be? */
static void count_reset(struct hconn *c)
{
    struct http2 *h = http2_of(c);
    uint64_t now = c->set->now_ms;

    h->resets_left += (double)(now - h->resets_ms) * RESETS_PER_S / 1000;
    if (h->resets_left > RESETS_BURST) h->resets_left = RESETS_BURST;
    h->resets_ms = now;
    if (h->resets_left >= 1)
        h->resets_left -= 1;
    else /* out of memory is the only failure, and found as in reset() */
        (void)nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* A reset that we have sent: was it for a mistake of the client?  Not if the stream was
 * too many, which it may have begun before it knew our settings. */
static bool is_for_mistake(uint32_t code)
{
    return code != NGHTTP2_NO_ERROR && code != NGHTTP2_INTERNAL_ERROR &&
           code != NGHTTP2_REFUSED_STREAM;
}

/* The client has understood our 101 and speaks HTTP/2.  Not earlier: some lose what comes
 * right behind the 101 if it is large (curl 7.88). */
static void run_upgraded(struct http2 *h)
{
    struct exchange *e = h->upgraded;

    h->upgraded = NULL;
    if (e) run(h, e);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct hconn *c = arg;
    struct http2 *h = http2_of(c);
    bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct exchange *e;

    switch (frame->hd.type) {
    case NGHTTP2_RST_STREAM: count_reset(c); return 0;
    case NGHTTP2_SETTINGS: run_upgraded(h); return 0;
    case NGHTTP2_HEADERS: h->in_block = false; break;
    case NGHTTP2_DATA: break;
    default: return 0;
    }
    e = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!e) return 0;
    if (ends) e->body_done = true;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST &&
        !begin_request(c, e, !ends))
        return 0;
    if (ends && !e->x.answered && !e->dispatched) run(h, e);
    return 0;
}

/* The answer is out; a body that was refused need not come any more (RFC 9113, 8.1). */
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct exchange *e;

    if (frame->hd.type == NGHTTP2_RST_STREAM &&
        is_for_mistake(frame->rst_stream.error_code))
        count_reset(arg);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    e = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (e && e->refused && !e->body_done)
        reset(http2_of(arg), e->stream, NGHTTP2_NO_ERROR);
    return 0;
}

static void drop(struct hconn *c, struct exchange *e)
{
    struct http2 *h = http2_of(c);

    h->n_streams--;
    if (e->dispatched && !e->x.answered) h->running--;
    feed(h, e);
    if (h->upgraded == e) h->upgraded = NULL;
    c->fresh = true;
    exchange_gone(e);
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code,
                           void *arg)
{
    struct exchange *e = nghttp2_session_get_stream_user_data(session, stream);

    (void)code;
    if (!e) return 0;
    nghttp2_session_set_stream_user_data(session, stream, NULL);
    drop(arg, e);
    return 0;
}

/* --- the connection
 * ---------------------------------------------------------------------- */

static size_t http2_input(struct hconn *c, const uint8_t *data, size_t len)
{
    struct http2 *h = http2_of(c);
    uint64_t max = c->set->thread->gateway->options.limits.header_bytes;

    if (len == 0) return 0;
    h->block_bytes = h->in_block ? h->block_bytes + len : 0;
    if (h->block_bytes > BLOCK_FACTOR * max + CONN_SCRATCH ||
        nghttp2_session_mem_recv(h->session, data, len) < 0)
        hconn_break(c);
    return len;
}

static bool http2_output(struct hconn *c)
{
    struct http2 *h = http2_of(c);
    nghttp2_session *s = h->session;

    while (!c->broken && nghttp2_session_want_write(s) && hconn_unsent(c) < UNSENT_MAX) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(s, &data);

        if (n < 0) hconn_break(c);
        if (n <= 0) break;
        buf_append(hconn_out(c), data, (size_t)n);
    }
    if (!nghttp2_session_want_write(s) &&
        (!nghttp2_session_want_read(s) || (h->draining && h->n_streams == 0)))
        hconn_finish(c, true);
    return hconn_unsent(c) > 0;
}

/* Answers would have nobody to take them: no client of HTTP/2 shuts down one direction
 * only. */
static bool http2_on_eof(struct hconn *c)
{
    (void)c;
    return false;
}

static enum hconn_wait http2_waits(const struct hconn *c)
{
    const struct http2 *h = http2_of(c);

    if (h->running + h->starved > 0) return CONN_NONE;
    if (h->in_block) return CONN_HEADER;
    return h->n_streams > 0 ? CONN_STALL : CONN_IDLE;
}

static void http2_drain(struct hconn *c)
{
    struct http2 *h = http2_of(c);

    if (h->draining) return;
    h->draining = true;
    if (nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h->session),
                              NGHTTP2_NO_ERROR, NULL, 0) != 0)
        hconn_break(c);
    hconn_mark(c);
}

static void http2_fini(struct hconn *c)
{
    struct http2 *h = http2_of(c);

    while (!list_empty(&h->streams))
        drop(c, LIST_ITEM(h->streams.next, struct exchange, link));
    nghttp2_session_del(h->session);
    free(h);
    c->state = NULL;
}

static const struct hconn_protocol http2_protocol = {
    .input = http2_input,
    .output = http2_output,
    .on_eof = http2_on_eof,
    .waits = http2_waits,
    .drain = http2_drain,
    .fini = http2_fini,
};

static int session_new(nghttp2_session **out, struct hconn *c)
{
    nghttp2_session_callbacks *cb;
    int e = nghttp2_session_callbacks_new(&cb);

    if (e) return e;
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    e = nghttp2_session_server_new(out, cb, c);
    nghttp2_session_callbacks_del(cb);
    return e;
}

static struct http2 *http2_new(struct hconn *c)
{
    uint64_t max = c->set->thread->gateway->options.limits.header_bytes;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
         max < UINT32_MAX ? (uint32_t)max : UINT32_MAX},
    };
    struct http2 *h = calloc(1, sizeof *h);

    if (!h) return NULL;
    list_init(&h->streams);
    h->resets_left = RESETS_BURST;
    h->resets_ms = c->set->now_ms;
    if (session_new(&h->session, c) != 0) {
        free(h);
        return NULL;
    }
    if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings,
                                sizeof settings / sizeof settings[0]) != 0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
                                              CONN_WINDOW) != 0) {
        nghttp2_session_del(h->session);
        free(h);
        return NULL;
    }
    return h;
}

static void begin(struct hconn *c, struct http2 *h)
{
    c->state = h;
    c->protocol = &http2_protocol;
    c->transport.respond = http2_respond;
    c->transport.resume = http2_resume;
}

enum err http2_open(struct hconn *c)
{
    struct http2 *h = http2_new(c);

    if (!h) return ERR_NOMEM;
    begin(c, h);
    return ERR_OK;
}

/* --- by an upgrade ------------------------------------------------------------------ */

/* base64url without padding (RFC 4648, 5); -1: it is none, or longer than max. */
static ssize_t decode_settings(uint8_t *out, size_t max, const char *text)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t n = 0, len = strcspn(text, "=");
    uint32_t bits = 0;

    for (size_t i = 0; i < len; i++) {
        const char *at = strchr(digits, text[i]);

        if (!at) return -1;
        bits = bits << 6 | (uint32_t)(at - digits);
        if (i % 4 == 0) continue; /* six bits make no byte yet */
        if (n == max) return -1;
        out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return len % 4 == 1 ? -1 : (ssize_t)n;
}

bool http2_upgrade(struct hconn *c, struct exchange *e, const char *settings)
{
    uint8_t payload[SETTINGS_MAX];
    ssize_t len = decode_settings(payload, sizeof payload, settings);
    bool head = e->x.request.method == HTTP_HEAD;
    struct http2 *h = len < 0 ? NULL : http2_new(c);
    void *before = c->state;

    if (!h) return false;
    c->state = h; /* its callbacks are called: the settings are a frame received */
    if (nghttp2_session_upgrade2(h->session, payload, (size_t)len, head, e) != 0) {
        c->state = before;
        nghttp2_session_del(h->session);
        free(h);
        return false;
    }
    begin(c, h);
    list_remove(&e->link);
    list_push_back(&h->streams, &e->link);
    h->n_streams++;
    e->stream = 1;
    e->body_done = true;
    e->x.request.major = 2;
    e->x.request.minor = 0;
    h->upgraded = e;
    hconn_mark(c);
    return true;
}
