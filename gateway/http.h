/* SPDX-License-Identifier: MIT */
/*
 * http: one request and its response, whichever of HTTP/1.1 and HTTP/2 carried them.
 *
 * A transport (http1.c, http2.c) fills struct http_request and starts it on its gateway
 * thread by gateway_dispatch(); handlers answer, now or later but on that same thread, by
 * http_respond() and its like, exactly once.  If the client leaves first, on_gone() is
 * called; the exchange then stays allocated, answers to it are dropped, until
 * http_release() is called by whoever kept it.
 *
 * Memory: everything of a request lives in its arena, which dies with the exchange.
 */
#ifndef GATEWAY_HTTP_H
#define GATEWAY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/buf.h"

struct gateway_thread;
struct http_stream;

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER
};

struct http_header {
    const char *name; /* as sent (HTTP/2: lower case) */
    const char *value;
};

/* Where a body goes that may be too large for memory: /db/load and /boot (see
 * http_body_to_file). */
enum http_body_kind { HTTP_BODY_MEMORY, HTTP_BODY_FILE };

struct http_request {
    enum http_method method;
    const char *method_text;
    const char *target; /* as sent: path and query */
    const char *path; /* percent-decoded, NUL-terminated; path_len says if it holds a NUL
                         itself */
    size_t path_len;
    const char *query; /* raw, behind '?'; "" if none */
    bool has_query;
    int major, minor; /* 1.0, 1.1, 2.0 */
    struct http_header *headers;
    size_t n_headers;
    enum http_body_kind body_kind;
    struct buf body; /* HTTP_BODY_MEMORY */
    int body_fd; /* HTTP_BODY_FILE: an unlinked scratch file, closed with the exchange; -1
                    if the body is empty */
    uint64_t body_size; /* either way */
    bool has_content_length;
    uint64_t received_ns; /* monotonic, when the headers were complete */
};

/* Value of the first header of that name (any case); NULL if absent. */
const char *http_header(const struct http_request *r, const char *name);

struct http_exchange {
    struct http_request request;
    struct arena arena;
    struct gateway_thread *thread;
    struct http_transport *transport; /* the connection or stream that carried it */
    void *handler_state;              /* the handler's */
    void (*on_gone)(
        struct http_exchange *x); /* may be NULL; the client left before the answer */
    const char *request_id; /* in logs, and sent back; NULL = it has none (observe.h) */
    uint8_t endpoint;       /* for observe.c */
    bool gone, answered;
    bool has_credentials;        /* the next two are set; auth.c's */
    const char *user, *password; /* NULL = none */
    bool cut;                    /* its body is not taken, since it will be refused */
    uint32_t granted;            /* of the permissions its route asks for */
    uint64_t held;               /* of the gateway's budget, for body and answer */
    bool counted;                /* in the gateway's requests */
    unsigned holds;              /* http_hold()s not yet released */
};

/* Extra response headers, besides those every response has (HTTP API 1.4). */
struct http_response {
    int status;
    const char *content_type; /* NULL = none */
    struct http_header headers[8];
    size_t n_headers;
};

/* Answer with a body in memory; the bytes move out of body (which is empty afterwards).
 * body may be NULL. */
void http_respond(struct http_exchange *x, const struct http_response *r,
                  struct buf *body);
/* Text error of HTTP API 1.5: text + "\n". */
void http_respond_text(struct http_exchange *x, int status, const char *text);
/* 503 with Retry-After: another time it may work. */
void http_respond_busy(struct http_exchange *x, const char *text);
void http_respond_empty(struct http_exchange *x, int status, const char *content_type);
/* Answer with size bytes of an open file, streamed as the client takes them; the exchange
 * closes fd. */
void http_respond_file(struct http_exchange *x, const struct http_response *r, int fd,
                       uint64_t size);
/* As above, gzip-compressed on the way (length unknown, so chunked). */
void http_respond_file_gzip(struct http_exchange *x, const struct http_response *r,
                            int fd, uint64_t size);

/* Answer with what is written to s (stream.h), whose reader moves. */
void http_respond_stream(struct http_exchange *x, const struct http_response *r,
                         struct http_stream *s);

/* Keep the exchange's memory while a call is under way elsewhere. */
void http_hold(struct http_exchange *x);
void http_release(struct http_exchange *x);

/* Transports ask, once headers are known: may this body be large (then it is spooled to a
 * file)?  And how large may it be at most (over it: 413)? */
struct http_body_rule {
    enum http_body_kind kind;
    uint64_t max;
    bool hopeless; /* whoever sends it may not: with a large body cut is set, and
                      dispatched without it */
};

#endif
