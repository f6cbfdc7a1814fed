/* SPDX-License-Identifier: MIT */
/*
 * observe: what is kept of each request when it is over: figures for /metrics, a line of
 * the access log; and the ID that a request is known by in logs.
 *
 * Owner: a gateway thread has one, and is the only one to write to it; the figures may be
 * read by any thread.  Costs a look at the clock and a few stores per request while no
 * log is on.
 */
#ifndef GATEWAY_OBSERVE_H
#define GATEWAY_OBSERVE_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/histogram.h"
#include "gateway/http.h"

struct access_log;
struct exchange;
struct gateway_thread;

enum {
    OBSERVE_ENDPOINTS = 40,
    OBSERVE_CLASSES = 6, /* status / 100; 0: the client left before the answer */
    OBSERVE_METHODS = HTTP_OTHER + 1,
    OBSERVE_CLIENT_MAX = 64,
    OBSERVE_ID_MAX = 128
};

struct observe {
    _Atomic uint64_t requests[OBSERVE_ENDPOINTS][OBSERVE_METHODS][OBSERVE_CLASSES];
    _Atomic uint64_t sent_bytes[OBSERVE_ENDPOINTS]; /* of bodies */
    struct histogram seconds[OBSERVE_ENDPOINTS];
    struct access_log *log; /* owned; NULL = there is none */
    uint64_t id_state;      /* of the IDs given */
};

/* For t, before it runs.  ERR_IO: the access log cannot be written. */
MUST_USE enum err observe_new(struct observe **out, struct gateway_thread *t,
                              struct why *why);
void observe_free(struct observe *o); /* NULL is allowed */

/* A request for this endpoint (1 + its row in the table of routes, 0 = none of them)
 * begins: it gets its ID. */
void observe_begin(struct http_exchange *x, unsigned endpoint);

/* It is over: answered, or its client has left. */
void observe_end(struct exchange *e);

/* "10.0.0.1:51234"; "-" when it is not known any more.  Returns out. */
const char *observe_client(const struct http_exchange *x, char out[OBSERVE_CLIENT_MAX]);

#endif
