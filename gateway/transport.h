/* SPDX-License-Identifier: MIT */
/*
 * transport: what http.c, http1.c and http2.c share below the handlers' view of a
 * request: the whole exchange, and where the bytes of a response come from.
 *
 * Owner: the exchange's gateway thread.
 */
#ifndef GATEWAY_TRANSPORT_H
#define GATEWAY_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "gateway/http.h"

struct hconn;
struct exchange;
struct gzip;

/* The body of a response, pulled as the client takes it. */
enum payload_kind {
    PAYLOAD_NONE,
    PAYLOAD_MEMORY,
    PAYLOAD_FILE,
    PAYLOAD_GZIP,
    PAYLOAD_STREAM
};

struct payload {
    enum payload_kind kind;
    uint8_t *data;              /* MEMORY: owned */
    int fd;                     /* FILE, GZIP: owned */
    uint64_t size;              /* all but GZIP and STREAM: bytes in all */
    uint64_t done;              /* bytes read so far */
    struct gzip *gzip;          /* GZIP: owned */
    struct http_stream *stream; /* STREAM: its reader is here */
};

static inline bool payload_has_size(const struct payload *p)
{
    return p->kind != PAYLOAD_GZIP && p->kind != PAYLOAD_STREAM;
}

enum { PAYLOAD_LATER = -2 };

/* The next bytes, at most cap; 0 at the end, -1 when they cannot be had; PAYLOAD_LATER:
 * not yet, and the transport's resume() will be called. */
ssize_t payload_read(struct payload *p, void *out, size_t cap);
void payload_fini(struct payload *p); /* leaves PAYLOAD_NONE */

/* One per protocol.  Each connection embeds one as what its exchanges' transport points
 * to. */
struct http_transport {
    /* Take an answer; p moves.  Called once per exchange, never after it is gone. */
    void (*respond)(struct exchange *e, const struct http_response *r, struct payload *p);
    /* A payload that had nothing has something, or its end, or has broken. */
    void (*resume)(struct exchange *e);
};

/* For stream.c: x is not gone. */
void transport_resume(struct http_exchange *x);

enum { EXCHANGE_HEADERS = 24 };
#define EXCHANGE_TOO_LARGE "request body too large"
#define EXCHANGE_NO_MEMORY "too much memory is in use by other requests"

struct exchange {
    struct http_exchange x; /* first: the handlers know no more */
    struct list link;       /* in its connection, as long as attached */
    struct hconn *conn;     /* NULL once detached */
    bool attached;          /* the transport is not through with it */
    bool dispatched;
    int status;         /* of the answer; 0 = none yet */
    uint64_t body_size; /* of the answer, as far as it was known then */

    struct http_body_rule rule;
    bool want_continue;  /* the client waits for "100 Continue" */
    bool keep_alive;     /* HTTP/1: another request may follow */
    bool ready;          /* HTTP/1: answered, and waiting for those before it */
    bool body_done;      /* HTTP/2: the client's half is complete */
    bool refused;        /* HTTP/2: answered before its body came, which is dropped */
    int32_t stream;      /* HTTP/2 */
    size_t headers_size; /* HTTP/2: as counted by RFC 9113, 6.5.2 */
    bool starved;        /* its payload has nothing yet */
    size_t headers_cap;
    uint64_t content_length; /* with has_content_length */
    struct buf head;         /* HTTP/1, ready: status line and headers */
    struct payload payload;  /* the answer's */
    struct http_header headers[EXCHANGE_HEADERS]; /* more go to the arena */
};

struct exchange_pool { /* one per thread: exchanges and their first arena chunk are used
                          again */
    struct list unused;
    unsigned n;
};

void exchange_pool_init(struct exchange_pool *p);
void exchange_pool_fini(struct exchange_pool *p);

/* An empty exchange, attached to c; NULL when out of memory. */
struct exchange *exchange_new(struct hconn *c);
/* The transport is through with e (answered in full, or its connection is gone). */
void exchange_detach(struct exchange *e);
/* Is the body one that need not be taken in, since its sender will be refused? */
bool exchange_is_hopeless(const struct exchange *e);
/* The client left: on_gone() if a handler has it, then as above. */
void exchange_gone(struct exchange *e);
/* The request is complete: start its handler. */
void exchange_dispatch(struct exchange *e);

/* Room for one more request header; NULL when out of memory. */
struct http_header *exchange_header(struct exchange *e);

/* Take a target apart into path and query and decode the path.  False: not a valid
 * target. */
MUST_USE bool exchange_target(struct exchange *e, const char *target);
void exchange_method(struct exchange *e, const char *method);

/* Append to the body, wherever the rule says it goes.  ERR_TOO_BIG over the rule's max;
 * ERR_BUSY over the budget of all; else what went wrong. */
MUST_USE enum err exchange_body(struct exchange *e, const void *data, size_t len,
                                struct why *why);

/* Answer for a body that could not be taken. */
void exchange_body_failed(struct exchange *e, const struct why *why);

/* May this be the value of a response header?  One that came from a request must not end
 * the header. */
bool http_value_ok(const char *value);
const char *http_reason(int status);

#endif
