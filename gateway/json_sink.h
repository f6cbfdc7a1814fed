/* SPDX-License-Identifier: MIT */
/*
 * json_sink: results of statements -> the body of an answer (HTTP API 6), written row by
 * row.
 *
 * Owner: whoever has the call that the sink was given to; the sink and its body are moved
 * on with it. Everything is in the sink's own memory, so that it may run on a reader's
 * thread while the exchange waits.
 */
#ifndef GATEWAY_JSON_SINK_H
#define GATEWAY_JSON_SINK_H

#include <stdatomic.h>

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/db/sink.h"
#include "gateway/json_write.h"
#include "gateway/params.h"

struct json_column;

struct json_sink {
    struct row_sink sink;
    struct json json;             /* writes into body */
    struct buf body;              /* owned */
    const atomic_bool *cancelled; /* may be NULL: then rows are refused once it is set */
    bool timings, associative, blob_array;

    uint64_t rows; /* given or changed so far, in all statements */

    struct buf error; /* owned; the text of request_failed() */
    bool request_failed;
    int infinite; /* 1, -1: such a value stands in a finished result, so nothing can be
                     sent */

    /* The result that is being written. */
    struct arena arena; /* its columns */
    struct json_column *columns;
    size_t n_columns;
    size_t *order; /* associative: columns by name, each name once */
    size_t n_order;
    size_t start; /* where it began, to drop it */
    bool start_empty;
    bool open;      /* columns() came, its end not yet */
    bool first_row; /* no row came yet, so types are not written */
    bool dropped;   /* it became an error: what still comes of it is left out */
    int infinite_here;
};

/* What of the request decides about its form. */
void json_sink_init(struct json_sink *s, const struct params *p);
void json_sink_fini(struct json_sink *s);

/* What stands behind the results. */
struct json_envelope {
    const char *error;        /* NULL = none; a request_failed() counts more */
    uint64_t elapsed_ns;      /* only with timings */
    uint64_t sequence_number; /* 0 = none */
    uint64_t raft_index;      /* 0 = none */
};

/* Finish the body.  An error is one for the whole answer: ERR_UNSUPPORTED "unsupported
 * value: +Inf", ERR_NOMEM, ERR_TOO_BIG. */
MUST_USE enum err json_sink_finish(struct json_sink *s, const struct json_envelope *e,
                                   struct why *why);

#endif
