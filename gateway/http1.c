/* SPDX-License-Identifier: MIT */
/*
 * How a request comes in.  The header block is waited for as a whole, looked at line by
 * line as it arrives, copied once into the request's arena and parsed there in place. The
 * request line is taken apart here, because any token is a method (RFC 9110, 9.1) and
 * llhttp knows only some; header fields and the body's framing are llhttp's.
 *
 *      bytes -> take_head -> receiving -> [parked] -> running -> ready -> sending -> gone
 *               scan, parse  take_body    complete;    at the    answered;  file or
 *                                         must wait    handler   its turn?  gzip only
 *
 * From receiving on an exchange is in queue, which is the order of the answers.
 */
#include "gateway/http1.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Its names for methods are ours, too. */
#define HTTP_GET     LLHTTP_GET
#define HTTP_HEAD    LLHTTP_HEAD
#define HTTP_POST    LLHTTP_POST
#define HTTP_PUT     LLHTTP_PUT
#define HTTP_DELETE  LLHTTP_DELETE
#define HTTP_OPTIONS LLHTTP_OPTIONS
#include "llhttp.h"
#undef HTTP_GET
#undef HTTP_HEAD
#undef HTTP_POST
#undef HTTP_PUT
#undef HTTP_DELETE
#undef HTTP_OPTIONS

#include "core/base/clock.h"
#include "gateway/conn.h"
#include "gateway/http2.h"
#include "gateway/transport.h"

enum {
    PIPELINE_MAX = 32,       /* requests of one connection at a time */
    UNSENT_MAX = 256 * 1024, /* output that is not taken: no further request is begun */
    COPY_MAX = 16 * 1024,    /* a body up to this leaves in one piece with its headers */
    FILE_STEP = 64 * 1024 - 256, /* read from a file at a time */
    FRAMING_MAX =
        16 * 1024,        /* bytes of a chunked body that are not data, and as many ... */
    FRAMING_PER_BYTE = 16 /* ... for each that is */
};

#define TEXT_TYPE "text/plain; charset=utf-8"

struct http1 {
    llhttp_t parser;            /* of the request that comes in */
    struct list queue;          /* exchanges, oldest first */
    unsigned queued;            /* in queue */
    unsigned running;           /* at their handlers */
    bool unsafe;                /* one of them may change something */
    struct exchange *receiving; /* headers complete, body still coming */
    struct exchange *parked;    /* complete, waits for those before it */
    struct exchange
        *sending; /* its headers are out, its body streams; the first in queue */
    size_t line,
        scanned; /* of the header block: where the last line begins, what was looked at */
    bool last;   /* no request is taken any more */
    struct exchange *upgrading; /* it wants HTTP/2 (RFC 7540, 3.2) */
    bool draining;

    /* Set by the parser's callbacks. */
    struct exchange *parsing;   /* its header fields */
    struct http_header *field;  /* the latest */
    char *name_end, *value_end; /* where its parts end, NULL before */
    bool complete;
    uint64_t framing;
    enum err body_error;
    struct why why;
};

static struct http1 *http1_of(const struct hconn *c)
{
    return c->state;
}

static struct exchange *first(const struct http1 *h)
{
    return list_empty(&h->queue) ? NULL : LIST_ITEM(h->queue.next, struct exchange, link);
}

static bool is_safe(const struct exchange *e)
{
    enum http_method m = e->x.request.method;

    return m == HTTP_GET || m == HTTP_HEAD || m == HTTP_OPTIONS;
}

static bool may_run(const struct http1 *h, const struct exchange *e)
{
    return h->running == 0 || (!h->unsafe && is_safe(e));
}

/* Would input() get on now, if it had been held? */
static bool may_take(const struct hconn *c)
{
    const struct http1 *h = http1_of(c);

    if (h->parked) return may_run(h, h->parked);
    return h->queued < PIPELINE_MAX && hconn_unsent(c) < UNSENT_MAX;
}

/* --- answers
 * ----------------------------------------------------------------------------- */

static void put_header(struct buf *b, const char *name, const char *value)
{
    if (!http_value_ok(value)) return;
    buf_append_str(b, name);
    buf_append(b, ": ", 2);
    buf_append_str(b, value);
    buf_append(b, "\r\n", 2);
}

static bool has_body(const struct exchange *e, int status)
{
    return status >= 200 && status != 204 && status != 304 &&
           e->x.request.method != HTTP_HEAD;
}

static void put_head(struct buf *b, struct exchange *e, const struct http_response *r,
                     const struct payload *p)
{
    const struct buf *common = hconn_set_common(e->conn->set);
    bool old = e->x.request.minor == 0;

    buf_append_str(b, old ? "HTTP/1.0 " : "HTTP/1.1 ");
    buf_append_u64(b, (uint64_t)r->status);
    buf_append_u8(b, ' ');
    buf_append_str(b, http_reason(r->status));
    buf_append(b, "\r\n", 2);
    buf_append(b, common->data, common->len);
    if (r->content_type) put_header(b, "Content-Type", r->content_type);
    for (size_t i = 0; i < r->n_headers; i++)
        put_header(b, r->headers[i].name, r->headers[i].value);
    if (!payload_has_size(p)) {
        if (old)
            e->keep_alive = false; /* the end of the connection is the end of the body */
        else
            buf_append_str(b, "Transfer-Encoding: chunked\r\n");
    } else if (r->status >= 200 && r->status != 204 && r->status != 304) {
        buf_append_str(b, "Content-Length: ");
        buf_append_u64(b, p->size);
        buf_append(b, "\r\n", 2);
    }
    if (!e->keep_alive)
        buf_append_str(b, "Connection: close\r\n");
    else if (old)
        buf_append_str(b, "Connection: keep-alive\r\n");
    buf_append(b, "\r\n", 2);
}

/* The answer is out, or on its way without us. */
static void finished(struct hconn *c, struct exchange *e)
{
    struct http1 *h = http1_of(c);
    bool keep = e->keep_alive;

    if (h->sending == e) h->sending = NULL;
    h->queued--;
    exchange_detach(e);
    c->fresh = true;
    if (!keep) {
        h->last = true;
        hconn_finish(c, true);
    } else if (h->draining && h->queued == 0 && c->in.len == 0) {
        hconn_finish(c, false);
    }
}

static void chunk_head(uint8_t out[6], size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 4; i++) out[i] = (uint8_t)digits[len >> (12 - 4 * i) & 15];
    out[4] = '\r';
    out[5] = '\n';
}

/* Append the next piece of what is being sent. */
static void produce(struct hconn *c)
{
    struct exchange *e = http1_of(c)->sending;
    bool chunked = !payload_has_size(&e->payload) && e->x.request.minor > 0;
    size_t before = chunked ? 6 : 0;
    struct buf *b = hconn_out(c);
    uint8_t *to = buf_reserve(b, FILE_STEP + 16);
    ssize_t n;

    if (!to) return; /* settling finds the failed buffer */
    n = payload_read(&e->payload, to + before, FILE_STEP);
    e->starved = n == PAYLOAD_LATER;
    if (e->starved) return;
    if (n < 0) {
        hconn_break(c);
        return;
    }
    if (n > 0) {
        if (chunked) chunk_head(to, (size_t)n);
        buf_advance(b, before + (size_t)n);
        if (chunked) buf_append(b, "\r\n", 2);
    } else if (chunked) {
        buf_append_str(b, "0\r\n\r\n");
    }
    if (n == 0 || (e->payload.kind == PAYLOAD_FILE && e->payload.done == e->payload.size))
        finished(c, e);
}

static void send_payload(struct hconn *c, struct exchange *e)
{
    struct payload *p = &e->payload;

    if (p->kind == PAYLOAD_FILE || !payload_has_size(p)) {
        http1_of(c)->sending = e;
        produce(c);
        return;
    }
    if (p->kind == PAYLOAD_MEMORY && p->size <= COPY_MAX) {
        buf_append(hconn_out(c), p->data, p->size);
    } else if (p->kind == PAYLOAD_MEMORY) {
        hconn_send_tail(c, p->data, p->size);
        c->tail_held = e->x.held;
        e->x.held = 0;
        *p = (struct payload){.kind = PAYLOAD_NONE};
    }
    finished(c, e);
}

/* Queue the output of every answer whose turn it is. */
static void advance(struct hconn *c)
{
    struct http1 *h = http1_of(c);
    struct exchange *e;

    while (!h->sending && !c->tail && !c->finishing && (e = first(h)) && e->ready) {
        struct buf *b = hconn_out(c);

        buf_append(b, e->head.data, e->head.len);
        if (buf_error(&e->head))
            b->error = ERR_NOMEM; /* so that settling ends the connection */
        send_payload(c, e);
    }
    if (!h->sending && !c->tail && !c->finishing && (e = first(h)) && e->want_continue) {
        e->want_continue = false;
        buf_append_str(hconn_out(c), "HTTP/1.1 100 Continue\r\n\r\n");
    }
}

static void http1_respond(struct exchange *e, const struct http_response *r,
                          struct payload *p)
{
    struct hconn *c = e->conn;
    struct http1 *h = http1_of(c);
    bool its_turn = first(h) == e && !c->tail && !c->finishing;

    if (e->dispatched && --h->running == 0) h->unsafe = false;
    e->want_continue = false;
    if (h->draining && e->link.next == &h->queue) e->keep_alive = false;
    put_head(its_turn ? hconn_out(c) : &e->head, e, r, p);
    if (!has_body(e, r->status)) payload_fini(p);
    e->payload = *p;
    e->ready = true;
    if (its_turn) {
        send_payload(c, e);
        advance(c);
    }
    if (c->held && may_take(c)) hconn_resume(c);
}

static void http1_resume(struct exchange *e)
{
    struct hconn *c = e->conn;

    e->starved = false;
    /* Otherwise it is asked when its turn comes, or the client has taken some. */
    if (http1_of(c)->sending == e && !c->writing) hconn_mark(c);
}

/* HTTP API 1.6: an answer in the name of the protocol, behind those that are due, and the
 * end. */
static void refuse(struct hconn *c, struct exchange *e, const char *status,
                   const char *text)
{
    struct http1 *h = http1_of(c);

    h->last = true;
    h->receiving = NULL;
    if (!e) {
        e = exchange_new(c);
        if (!e) {
            hconn_break(c);
            return;
        }
        list_push_back(&h->queue, &e->link);
        h->queued++;
    }
    buf_printf(&e->head, "HTTP/1.1 %s\r\n", status);
    if (text)
        buf_printf(&e->head, "Content-Type: " TEXT_TYPE "\r\nConnection: close\r\n\r\n%s",
                   text);
    else
        buf_append_str(&e->head, "Connection: close\r\nContent-Length: 0\r\n\r\n");
    e->keep_alive = e->want_continue = false;
    e->ready = true;
    advance(c);
}

static void refuse_400(struct hconn *c, struct exchange *e)
{
    refuse(c, e, "400 Bad Request", "400 Bad Request");
}

/* --- the header block
 * -------------------------------------------------------------------- */

enum scan { SCAN_MORE, SCAN_END, SCAN_BAD };

/* Look at the lines that are new.  SCAN_END: the block is *end bytes long. */
static enum scan scan_head(struct http1 *h, const uint8_t *data, size_t len, size_t *end)
{
    while (h->scanned < len) {
        const uint8_t *nl = memchr(data + h->scanned, '\n', len - h->scanned);
        size_t at;

        if (!nl) break;
        at = (size_t)(nl - data);
        if (at == h->line || data[at - 1] != '\r') return SCAN_BAD;
        if (at == h->line + 1) {
            *end = at + 1;
            return SCAN_END;
        }
        /* A folded line, or one without a name. */
        if (data[h->line] == ' ' || data[h->line] == '\t' || data[h->line] == ':')
            return SCAN_BAD;
        h->line = h->scanned = at + 1;
    }
    h->scanned = len;
    return SCAN_MORE;
}

/* RFC 9110, 5.6.2 */
static bool is_token(const char *s)
{
    if (!*s) return false;
    for (; *s; s++) {
        bool alnum = (*s >= '0' && *s <= '9') || ((*s | 32) >= 'a' && (*s | 32) <= 'z');

        if (!alnum && !strchr("!#$%&'*+-.^_`|~", *s)) return false;
    }
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Take "METHOD target HTTP/1.1" apart, in place.  False: it is none. */
static bool request_line(struct exchange *e, char *line)
{
    char *target = strchr(line, ' '), *version;

    if (!target) return false;
    *target++ = '\0';
    version = strchr(target, ' ');
    if (!version || !is_token(line)) return false;
    *version++ = '\0';
    if (strncmp(version, "HTTP/", 5) != 0 || !is_digit(version[5]) || version[6] != '.' ||
        !is_digit(version[7]) || version[8] != '\0')
        return false;
    e->x.request.major = version[5] - '0';
    e->x.request.minor = version[7] - '0';
    exchange_method(e, line);
    return exchange_target(e, target);
}

static void end_field(struct http1 *h)
{
    if (!h->field) return;
    if (h->value_end) {
        while (h->value_end > h->field->value &&
               (h->value_end[-1] == ' ' || h->value_end[-1] == '\t'))
            h->value_end--;
        *h->value_end = '\0';
    }
    *h->name_end = '\0';
    h->field = NULL;
}

/* The block is ours, in an arena, and parsed in one call, so the parser's spans are whole
 * and lie in it. A part is ended by a NUL only when the parser is past the byte that it
 * replaces. */
static int on_field(llhttp_t *p, const char *at, size_t len)
{
    struct http1 *h = p->data;

    if (!h->parsing) return 0; /* a trailer, which nobody wants */
    end_field(h);
    h->field = exchange_header(h->parsing);
    if (!h->field) return HPE_USER;
    h->field->name = at;
    h->field->value = "";
    h->name_end = (char *)at + len;
    h->value_end = NULL;
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t len)
{
    struct http1 *h = p->data;

    if (!h->parsing) return 0;
    if (!h->field || h->value_end) return HPE_USER;
    if (len == 0) return 0; /* then at is already in the next line */
    h->field->value = at;
    h->value_end = (char *)at + len;
    return 0;
}

static int on_headers_complete(llhttp_t *p)
{
    struct http1 *h = p->data;
    struct exchange *e = h->parsing;

    end_field(h);
    h->parsing = NULL;
    e->keep_alive = llhttp_should_keep_alive(p);
    e->x.request.has_content_length = (p->flags & F_CONTENT_LENGTH) != 0;
    e->content_length = p->content_length;
    p->upgrade = 0; /* whatever is asked for, we stay what we are */
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
    struct http1 *h = p->data;

    h->body_error = exchange_body(h->receiving, at, len, &h->why);
    return h->body_error ? HPE_USER : 0;
}

static int on_complete(llhttp_t *p)
{
    struct http1 *h = p->data;

    h->complete = true;
    return HPE_PAUSED; /* what follows is not this request's */
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

/* Header fields and framing.  HPE_OK or HPE_PAUSED: fine. */
static llhttp_errno_t parse_fields(struct http1 *h, struct exchange *e,
                                   const char *fields, size_t len)
{
    static const char line10[] = "POST / HTTP/1.0\r\n", line11[] = "POST / HTTP/1.1\r\n";

    llhttp_init(&h->parser, HTTP_REQUEST, &settings);
    h->parser.data = h;
    h->parsing = e;
    h->field = NULL;
    h->complete = false;
    h->framing = 0;
    h->body_error = ERR_OK;
    llhttp_execute(&h->parser, e->x.request.minor == 0 ? line10 : line11,
                   sizeof line11 - 1);
    return llhttp_execute(&h->parser, fields, len);
}

struct seen {
    unsigned hosts, encodings;
    const char *encoding, *expect;
};

static void look(const struct http_request *r, struct seen *s)
{
    *s = (struct seen){0};
    for (size_t i = 0; i < r->n_headers; i++) {
        const struct http_header *f = &r->headers[i];

        switch (f->name[0] | 32) {
        case 'h': s->hosts += strcasecmp(f->name, "Host") == 0; break;
        case 't':
            if (strcasecmp(f->name, "Transfer-Encoding") == 0) {
                s->encodings++;
                s->encoding = f->value;
            }
            break;
        case 'e':
            if (strcasecmp(f->name, "Expect") == 0) s->expect = f->value;
            break;
        }
    }
}

static void refuse_encoding(struct hconn *c, struct exchange *e)
{
    refuse(c, e, "501 Not Implemented", "Unsupported transfer encoding");
}

/* The body will not be taken: say why, and take nothing more. */
static void refuse_body(struct http1 *h, struct exchange *e, const struct why *why)
{
    h->last = true;
    h->receiving = NULL;
    e->keep_alive = false;
    exchange_body_failed(e, why);
}

static void begin_body(struct http1 *h, struct exchange *e)
{
    e->rule = gateway_body_rule(&e->x.request);
    e->x.request.body_kind = e->rule.kind;
    if (exchange_is_hopeless(e)) {
        h->last = true;
        h->receiving = NULL;
        e->keep_alive = false;
        e->x.cut = true;
        gateway_dispatch(&e->x);
        return;
    }
    if (e->content_length > e->rule.max) {
        (void)why_set(&h->why, ERR_TOO_BIG, EXCHANGE_TOO_LARGE);
        refuse_body(h, e, &h->why);
    }
}

/* The first thing on a connection in clear text, asking for HTTP/2 as RFC 7540, 3.2 has
 * it?  Only without a body: one would have to be taken as HTTP/1.1 first. */
static bool wants_http2(const struct hconn *c, const struct exchange *e)
{
    const struct http1 *h = http1_of(c);
    const struct http_request *r = &e->x.request;
    const char *to = http_header(r, "Upgrade");

    return to && strcasecmp(to, "h2c") == 0 && r->minor > 0 && h->complete &&
           h->queued == 1 && !h->draining && hconn_unsent(c) == 0 &&
           (h->parser.flags & F_CONNECTION_UPGRADE) != 0 &&
           http_header(r, "HTTP2-Settings") && !c->set->thread->gateway->options.tls;
}

/* A block is complete: make it a request, or refuse it. */
static void begin_request(struct hconn *c, const uint8_t *data, size_t len)
{
    struct http1 *h = http1_of(c);
    struct exchange *e = exchange_new(c);
    struct http_request *r;
    struct seen seen;
    llhttp_errno_t parsed;
    char *block, *fields;

    block = e ? arena_alloc(&e->x.arena, len + 1) : NULL;
    if (!block) {
        if (e) exchange_detach(e);
        hconn_break(c);
        return;
    }
    memcpy(block, data, len);
    block[len] = '\0';
    list_push_back(&h->queue, &e->link);
    h->queued++;
    r = &e->x.request;
    r->received_ns = clock_mono_ns(clock_real());

    fields = memchr(block, '\n', len);
    fields[-1] = '\0';
    fields++;
    if (memchr(block, '\0', len) != fields - 2 || !request_line(e, block)) {
        refuse_400(c, e);
        return;
    }
    if (r->major != 1) {
        const char *text = "505 HTTP Version Not Supported: unsupported protocol version";

        refuse(c, e, text, text);
        return;
    }
    parsed = parse_fields(h, e, fields, len - (size_t)(fields - block));
    if (parsed == HPE_INVALID_TRANSFER_ENCODING && r->minor > 0) {
        refuse_encoding(c, e);
        return;
    }
    if (parsed != HPE_OK && parsed != HPE_PAUSED) {
        refuse_400(c, e);
        return;
    }
    look(r, &seen);
    if (r->minor > 0 && seen.hosts == 0) {
        const char *text = "400 Bad Request: missing required Host header";

        refuse(c, e, text, text);
        return;
    }
    if (seen.hosts > 1 || seen.encodings > 1 || (r->minor == 0 && seen.encodings > 0)) {
        refuse_400(c, e);
        return;
    }
    if (seen.encodings > 0 && strcasecmp(seen.encoding, "chunked") != 0) {
        refuse_encoding(c, e);
        return;
    }
    if (seen.expect && r->minor > 0) {
        if (strcasecmp(seen.expect, "100-continue") != 0) {
            refuse(c, e, "417 Expectation Failed", NULL);
            return;
        }
        e->want_continue = !h->complete;
    }
    if (!e->keep_alive) h->last = true;
    h->receiving = e;
    if (wants_http2(c, e)) h->upgrading = e;
    if (!h->complete) begin_body(h, e);
    advance(c); /* "100 Continue", if it is its turn */
}

/* Bytes taken; 0: the block is not complete. */
static size_t take_head(struct hconn *c, const uint8_t *data, size_t len)
{
    struct http1 *h = http1_of(c);
    uint64_t max = c->set->thread->gateway->options.limits.header_bytes;
    size_t end = 0;
    enum scan s;

    if (h->scanned == 0 &&
        data[0] == '\r') { /* RFC 9112, 2.2: empty lines before a request */
        if (len == 1) return 0;
        if (data[1] == '\n') return 2;
    }
    s = scan_head(h, data, len, &end);
    if (s == SCAN_BAD) {
        refuse_400(c, NULL);
        return len;
    }
    if ((s == SCAN_MORE ? len : end) > max) {
        const char *text = "431 Request Header Fields Too Large";

        refuse(c, NULL, text, text);
        return len;
    }
    if (s == SCAN_MORE) return 0;
    h->line = h->scanned = 0;
    begin_request(c, data, end);
    return end;
}

/* --- the body
 * ---------------------------------------------------------------------------- */

static void run(struct http1 *h, struct exchange *e)
{
    h->running++;
    if (!is_safe(e)) h->unsafe = true;
    exchange_dispatch(e);
}

static void request_complete(struct http1 *h)
{
    struct exchange *e = h->receiving;

    h->receiving = NULL;
    e->want_continue = false;
    if (may_run(h, e))
        run(h, e);
    else
        h->parked = e;
}

static size_t take_body(struct hconn *c, const uint8_t *data, size_t len)
{
    struct http1 *h = http1_of(c);
    struct exchange *e = h->receiving;
    uint64_t before = e->x.request.body_size, after;
    llhttp_errno_t parsed = llhttp_execute(&h->parser, (const char *)data, len);
    size_t used = len;

    c->progress = true;
    if (h->body_error) {
        refuse_body(h, e, &h->why);
        return len;
    }
    after = e->x.request.body_size;
    if (parsed == HPE_PAUSED)
        used = (size_t)(llhttp_get_error_pos(&h->parser) - (const char *)data);
    h->framing += used - (after - before);
    if ((parsed != HPE_OK && parsed != HPE_PAUSED) ||
        h->framing > FRAMING_MAX + FRAMING_PER_BYTE * after) {
        refuse_400(c, e);
        return len;
    }
    return used;
}

/* --- the connection
 * ---------------------------------------------------------------------- */

/* The request in receiving is answered by HTTP/2, which takes over the connection.
 * False: not by us. */
static bool upgrade(struct hconn *c)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                 "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    struct http1 *h = http1_of(c);
    struct exchange *e = h->upgrading;

    h->upgrading = NULL;
    buf_append(hconn_out(c), answer, sizeof answer - 1);
    if (http2_upgrade(c, e, http_header(&e->x.request, "HTTP2-Settings"))) {
        free(h);
        return true;
    }
    buf_truncate(hconn_out(c), c->out.len - (sizeof answer - 1));
    return false;
}

static size_t http1_input(struct hconn *c, const uint8_t *data, size_t len)
{
    struct http1 *h = http1_of(c);
    size_t used = 0;

    while (!c->broken && !c->finishing) {
        size_t n;

        if (h->upgrading && upgrade(c))
            return used + c->protocol->input(c, data + used, len - used);
        if (h->receiving && h->complete) {
            request_complete(h);
            continue;
        }
        if (!may_take(c)) {
            c->held = true;
            return used;
        }
        if (h->parked) {
            struct exchange *e = h->parked;

            h->parked = NULL;
            run(h, e);
            continue;
        }
        if (used == len) return used;
        if (h->receiving)
            n = take_body(c, data + used, len - used);
        else if (h->last)
            n = len - used; /* not wanted */
        else
            n = take_head(c, data + used, len - used);
        if (n == 0) return used;
        used += n;
    }
    return len;
}

static bool http1_output(struct hconn *c)
{
    struct http1 *h = http1_of(c);

    if (!h->sending)
        advance(c);
    else if (!h->sending->starved)
        produce(c);
    if (c->held && may_take(c)) c->resume = true;
    return hconn_unsent(c) > 0;
}

static bool http1_on_eof(struct hconn *c)
{
    struct http1 *h = http1_of(c);

    if (h->receiving) { /* the rest of its body will not come */
        struct exchange *e = h->receiving;

        h->receiving = NULL;
        h->queued--;
        h->last = true;
        exchange_detach(e);
    } else if (c->in.len > 0 && !c->held && !h->last) {
        refuse_400(c, NULL);
    }
    return h->queued > 0 || hconn_unsent(c) > 0;
}

static enum hconn_wait http1_waits(const struct hconn *c)
{
    const struct http1 *h = http1_of(c);

    if (h->running > 0 || h->parked) return CONN_NONE;
    if (h->receiving) return CONN_STALL;
    if (c->in.len > 0 && !c->held) return CONN_HEADER;
    return h->queued > 0 ? CONN_NONE : CONN_IDLE;
}

static void http1_drain(struct hconn *c)
{
    struct http1 *h = http1_of(c);

    h->draining = true;
    if (h->queued == 0 && c->in.len == 0) hconn_finish(c, false);
}

static void http1_fini(struct hconn *c)
{
    struct http1 *h = http1_of(c);
    struct list *l;

    while ((l = list_pop_front(&h->queue)))
        exchange_gone(LIST_ITEM(l, struct exchange, link));
    free(h);
    c->state = NULL;
}

static const struct hconn_protocol http1_protocol = {
    .input = http1_input,
    .output = http1_output,
    .on_eof = http1_on_eof,
    .waits = http1_waits,
    .drain = http1_drain,
    .fini = http1_fini,
};

enum err http1_open(struct hconn *c)
{
    struct http1 *h = calloc(1, sizeof *h);

    if (!h) return ERR_NOMEM;
    list_init(&h->queue);
    h->draining = c->set->draining;
    c->state = h;
    c->protocol = &http1_protocol;
    c->transport.respond = http1_respond;
    c->transport.resume = http1_resume;
    return ERR_OK;
}
