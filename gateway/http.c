/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/io.h"
#include "gateway/conn.h"
#include "gateway/gzip.h"
#include "gateway/http.h"
#include "gateway/observe.h"
#include "gateway/server.h"
#include "gateway/stream.h"
#include "gateway/transport.h"

enum {
    POOL_MAX = 256,           /* unused exchanges that a thread keeps */
    BODY_KEEP = 16 * 1024,    /* a larger body buffer is not kept with them */
    BODY_FIRST = 1024 * 1024, /* room made at once for what Content-Length promises */
    HEADERS_MAX = 100000,
    HOPELESS_MAX = 64 * 1024 /* less is taken all the same, and the connection kept */
};

/* --- exchanges
 * --------------------------------------------------------------------------- */

static struct exchange *exchange_of(struct http_exchange *x)
{
    return (struct exchange *)x; /* its first member */
}

void exchange_pool_init(struct exchange_pool *p)
{
    list_init(&p->unused);
    p->n = 0;
}

static void exchange_destroy(struct exchange *e)
{
    arena_fini(&e->x.arena);
    buf_fini(&e->x.request.body);
    free(e);
}

void exchange_pool_fini(struct exchange_pool *p)
{
    struct list *l;

    while ((l = list_pop_front(&p->unused)))
        exchange_destroy(LIST_ITEM(l, struct exchange, link));
    p->n = 0;
}

struct exchange *exchange_new(struct hconn *c)
{
    struct exchange_pool *pool = &c->set->exchanges;
    struct list *l = list_pop_front(&pool->unused);
    struct exchange *e = l ? LIST_ITEM(l, struct exchange, link) : NULL;

    if (e) {
        pool->n--;
    } else {
        e = calloc(1, sizeof *e);
        if (!e) return NULL;
        list_init(&e->link);
        arena_init(&e->x.arena, 0);
        buf_init(&e->x.request.body, 0);
    }
    e->x.thread = c->set->thread;
    e->x.transport = &c->transport;
    e->x.request.headers = e->headers;
    e->x.request.body_fd = -1;
    e->x.request.method_text = e->x.request.target = e->x.request.path = "";
    e->x.request.query = "";
    e->headers_cap = EXCHANGE_HEADERS;
    e->conn = c;
    e->attached = true;
    return e;
}

/* Nobody has it any more: what it held goes, what is quick to use again stays. */
static void exchange_free(struct exchange *e)
{
    struct exchange_pool *pool = &e->x.thread->conns->exchanges;
    struct buf body = e->x.request.body;
    struct arena arena;

    if (e->x.request.body_fd >= 0) close(e->x.request.body_fd);
    payload_fini(&e->payload);
    budget_return(&e->x.thread->gateway->budget, &e->x.held);
    if (e->x.counted) atomic_fetch_sub(&e->x.thread->gateway->requests, 1);
    buf_fini(&e->head);
    if (pool->n >= POOL_MAX) {
        exchange_destroy(e);
        return;
    }
    arena_reset(&e->x.arena);
    buf_clear(&body);
    if (body.cap > BODY_KEEP) buf_fini(&body);
    arena = e->x.arena;
    memset(e, 0, offsetof(struct exchange, headers));
    e->x.arena = arena;
    e->x.request.body = body;
    list_push_front(&pool->unused, &e->link);
    pool->n++;
}

void exchange_detach(struct exchange *e)
{
    CHECK(e->attached);
    observe_end(e);
    if (list_linked(&e->link)) list_remove(&e->link);
    e->attached = false;
    e->conn = NULL;
    e->x.transport = NULL;
    if (e->x.holds == 0) exchange_free(e);
}

void exchange_gone(struct exchange *e)
{
    bool streams = e->payload.kind == PAYLOAD_STREAM;
    bool tell = e->dispatched && (!e->x.answered || streams);

    e->x.gone = true;
    payload_fini(&e->payload);
    http_hold(&e->x); /* on_gone() may release its own */
    if (list_linked(&e->link)) list_remove(&e->link);
    if (tell && e->x.on_gone) e->x.on_gone(&e->x);
    exchange_detach(e);
    http_release(&e->x);
}

void exchange_dispatch(struct exchange *e)
{
    e->dispatched = true;
    http_hold(&e->x);
    gateway_dispatch(&e->x);
    http_release(&e->x);
}

bool exchange_is_hopeless(const struct exchange *e)
{
    return e->rule.hopeless &&
           (!e->x.request.has_content_length || e->content_length > HOPELESS_MAX);
}

void http_hold(struct http_exchange *x)
{
    x->holds++;
    gateway_hold(x->thread);
}

void http_release(struct http_exchange *x)
{
    struct gateway_thread *t = x->thread;
    struct exchange *e = exchange_of(x);

    CHECK(x->holds > 0);
    x->holds--;
    if (x->holds == 0 && !e->attached) exchange_free(e);
    gateway_release(t);
}

/* --- requests
 * ---------------------------------------------------------------------------- */

const char *http_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (strcasecmp(r->headers[i].name, name) == 0) return r->headers[i].value;
    return NULL;
}

struct http_header *exchange_header(struct exchange *e)
{
    struct http_request *r = &e->x.request;

    if (r->n_headers == e->headers_cap) {
        struct http_header *more;

        if (e->headers_cap >= HEADERS_MAX) return NULL;
        more = arena_alloc(&e->x.arena, 2 * e->headers_cap * sizeof *more);
        if (!more) return NULL;
        memcpy(more, r->headers, r->n_headers * sizeof *more);
        r->headers = more;
        e->headers_cap *= 2;
    }
    return &r->headers[r->n_headers++];
}

void exchange_method(struct exchange *e, const char *method)
{
    static const struct {
        const char *text;
        enum http_method method;
    } known[] = {
        {"GET", HTTP_GET}, {"POST", HTTP_POST},     {"HEAD", HTTP_HEAD},
        {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS},
    };

    e->x.request.method_text = method;
    e->x.request.method = HTTP_OTHER;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(method, known[i].text) == 0) e->x.request.method = known[i].method;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool percent_decode(char *out, size_t *out_len, const char *s, size_t len)
{
    char *to = out;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '%') {
            int high, low;

            if (len - i < 3) return false;
            high = hex_digit(s[i + 1]);
            low = hex_digit(s[i + 2]);
            if (high < 0 || low < 0) return false;
            *to++ = (char)(high << 4 | low);
            i += 2;
        } else {
            *to++ = s[i];
        }
    }
    *to = '\0';
    *out_len = (size_t)(to - out);
    return true;
}

/* The path of "http://host/path" begins behind the host; NULL if target has no scheme and
 * host. */
static const char *behind_authority(const char *target)
{
    const char *p;

    if (strncasecmp(target, "http://", 7) == 0)
        p = target + 7;
    else if (strncasecmp(target, "https://", 8) == 0)
        p = target + 8;
    else
        return NULL;
    return p + strcspn(p, "/?");
}

bool exchange_target(struct exchange *e, const char *target)
{
    struct http_request *r = &e->x.request;
    const char *path = target, *mark;
    size_t len;
    char *decoded;

    for (const char *p = target; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f) return false;
    if (target[0] != '/' && strcmp(target, "*") != 0) {
        path = behind_authority(target);
        if (!path) return false;
    }
    mark = strchr(path, '?');
    len = mark ? (size_t)(mark - path) : strlen(path);
    decoded = arena_alloc(&e->x.arena, len + 1);
    if (!decoded || !percent_decode(decoded, &r->path_len, path, len)) return false;
    r->target = target;
    r->path = decoded;
    r->has_query = mark != NULL;
    r->query = mark ? mark + 1 : "";
    return true;
}

/* A file that is gone when it is closed, whatever happens to us. */
static enum err scratch_open(const char *dir, int *fd, struct why *why)
{
    char path[4096];

    if (!dir)
        return why_set(why, ERR_UNSUPPORTED, "there is no directory for scratch files");
    *fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*fd >= 0) return ERR_OK;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
        return why_errno(why, "make a scratch file in %s", dir);
    /* The file system has no O_TMPFILE: unlink it ourselves. */
    if (snprintf(path, sizeof path, "%s/body.XXXXXX", dir) >= (int)sizeof path)
        return why_set(why, ERR_INVALID, "the scratch directory's name is too long");
    *fd = mkostemp(path, O_CLOEXEC);
    if (*fd < 0) return why_errno(why, "make a scratch file in %s", dir);
    unlink(path);
    return ERR_OK;
}

static enum err write_all(int fd, const char *data, size_t len, struct why *why)
{
    while (len > 0) {
        ssize_t n = write(fd, data, io_write_some(len));

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return why_errno(why, "write the body to a scratch file");
        data += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

enum err exchange_body(struct exchange *e, const void *data, size_t len, struct why *why)
{
    struct http_request *r = &e->x.request;
    enum err err = ERR_OK;

    if (len > e->rule.max || r->body_size > e->rule.max - len)
        return why_set(why, ERR_TOO_BIG, EXCHANGE_TOO_LARGE);
    if (e->rule.kind == HTTP_BODY_FILE) {
        if (r->body_fd < 0)
            err =
                scratch_open(e->x.thread->gateway->options.scratch_dir, &r->body_fd, why);
        if (!err) err = write_all(r->body_fd, data, len, why);
        if (err) return err;
    } else {
        if (!budget_cover(&e->x.thread->gateway->budget, &e->x.held, r->body_size + len))
            return why_set(why, ERR_BUSY, EXCHANGE_NO_MEMORY);
        if (!r->body.data && r->has_content_length)
            (void)buf_reserve(&r->body, e->content_length < BODY_FIRST
                                            ? (size_t)e->content_length
                                            : BODY_FIRST);
        buf_append(&r->body, data, len);
        if (buf_error(&r->body))
            return why_set(why, ERR_NOMEM, "out of memory for the request body");
    }
    r->body_size += len;
    return ERR_OK;
}

void exchange_body_failed(struct exchange *e, const struct why *why)
{
    if (why->code == ERR_BUSY)
        http_respond_busy(&e->x, why->text);
    else
        http_respond_text(&e->x, why->code == ERR_TOO_BIG ? 413 : 500, why->text);
}

/* --- responses
 * --------------------------------------------------------------------------- */

ssize_t payload_read(struct payload *p, void *out, size_t cap)
{
    uint64_t left = p->size - p->done;
    ssize_t n = 0;

    switch (p->kind) {
    case PAYLOAD_NONE: break;
    case PAYLOAD_MEMORY:
        n = (ssize_t)(left < cap ? left : cap);
        if (n > 0) memcpy(out, p->data + p->done, (size_t)n);
        break;
    case PAYLOAD_FILE:
        if (left == 0) break;
        do n = pread(p->fd, out, left < cap ? (size_t)left : cap, (off_t)p->done);
        while (n < 0 && errno == EINTR);
        if (n == 0) n = -1; /* shorter than was promised */
        break;
    case PAYLOAD_GZIP: n = gzip_read(p->gzip, out, cap); break;
    case PAYLOAD_STREAM: n = http_stream_read(p->stream, out, cap); break;
    }
    if (n > 0) p->done += (uint64_t)n;
    return n;
}

void payload_fini(struct payload *p)
{
    if (p->kind == PAYLOAD_MEMORY) free(p->data);
    if (p->kind == PAYLOAD_FILE || p->kind == PAYLOAD_GZIP) close(p->fd);
    gzip_free(p->gzip);
    if (p->kind == PAYLOAD_STREAM) http_stream_close(p->stream);
    *p = (struct payload){.kind = PAYLOAD_NONE};
}

static void respond(struct http_exchange *x, const struct http_response *r,
                    struct payload *p)
{
    struct http_response with_id;

    CHECK(!x->answered);
    x->answered = true;
    if (x->gone) {
        payload_fini(p);
        return;
    }
    exchange_of(x)->status = r->status;
    if (x->request.method != HTTP_HEAD) exchange_of(x)->body_size = p->size;
    if (x->request_id &&
        r->n_headers < sizeof with_id.headers / sizeof *with_id.headers) {
        with_id = *r;
        with_id.headers[with_id.n_headers++] =
            (struct http_header){"X-Request-Id", x->request_id};
        r = &with_id;
    }
    x->transport->respond(exchange_of(x), r, p);
}

void http_respond(struct http_exchange *x, const struct http_response *r,
                  struct buf *body)
{
    struct payload p = {.kind = PAYLOAD_NONE};

    if (body && buf_error(body)) {
        enum err e = buf_error(body);

        buf_fini(body);
        http_respond_text(x, 500, err_name(e));
        return;
    }
    if (body && body->len > 0) {
        size_t len;

        p.kind = PAYLOAD_MEMORY;
        p.data = buf_take(body, &len);
        p.size = len;
    } else if (body) {
        buf_fini(body);
    }
    respond(x, r, &p);
}

static void respond_text(struct http_exchange *x, const struct http_response *r,
                         const char *text)
{
    struct buf body;

    buf_init(&body, 0);
    buf_append_str(&body, text);
    buf_append_u8(&body, '\n');
    if (buf_error(&body)) /* then without the words */
        buf_fini(&body);
    http_respond(x, r, &body);
}

void http_respond_text(struct http_exchange *x, int status, const char *text)
{
    struct http_response r = {
        .status = status,
        .content_type = "text/plain; charset=utf-8",
        .headers = {{"X-Content-Type-Options", "nosniff"}},
        .n_headers = 1,
    };

    respond_text(x, &r, text);
}

void http_respond_empty(struct http_exchange *x, int status, const char *content_type)
{
    struct http_response r = {.status = status, .content_type = content_type};

    http_respond(x, &r, NULL);
}

void http_respond_file(struct http_exchange *x, const struct http_response *r, int fd,
                       uint64_t size)
{
    struct payload p = {.kind = PAYLOAD_FILE, .fd = fd, .size = size};

    respond(x, r, &p);
}

void http_respond_file_gzip(struct http_exchange *x, const struct http_response *r,
                            int fd, uint64_t size)
{
    struct payload p = {.kind = PAYLOAD_GZIP, .fd = fd};

    p.gzip = gzip_new(fd, size);
    if (!p.gzip) {
        close(fd);
        http_respond_text(x, 500, err_name(ERR_NOMEM));
        return;
    }
    respond(x, r, &p);
}

void http_respond_stream(struct http_exchange *x, const struct http_response *r,
                         struct http_stream *s)
{
    struct payload p = {.kind = PAYLOAD_STREAM, .stream = s};

    respond(x, r, &p);
}

void transport_resume(struct http_exchange *x)
{
    struct exchange *e = exchange_of(x);

    CHECK(e->attached);
    x->transport->resume(e);
}

void http_respond_busy(struct http_exchange *x, const char *text)
{
    struct http_response r = {
        .status = 503,
        .content_type = "text/plain; charset=utf-8",
        .headers = {{"X-Content-Type-Options", "nosniff"}, {"Retry-After", "1"}},
        .n_headers = 2,
    };

    respond_text(x, &r, text);
}

bool http_value_ok(const char *value)
{
    return strpbrk(value, "\r\n") == NULL;
}

const char *http_reason(int status)
{
    switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Request Entity Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Unknown";
    }
}
