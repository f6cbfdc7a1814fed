/* SPDX-License-Identifier: MIT */
/*
 * json_sink: results of statements -> the body of an answer (HTTP API 6), written row by
 * row.
 *
 * Owner: whoever has the call that the sink was given to; the sink and its body are moved
 * on with it. Everything is in the sink's own memory, so that it may run on a reader's
 * thread while the exchange waits.
 *
 * With on_piece, and where its caller's pace allows (core/db/sink.h), the body leaves in
 * pieces as it grows; then nothing that has left can be taken back, and what would have
 * to be makes json_sink_finish() fail.
 */
#ifndef GATEWAY_JSON_SINK_H
#define GATEWAY_JSON_SINK_H

#include <stdatomic.h>

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/db/sink.h"
#include "gateway/budget.h"
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

    /* Take the bytes of body away (JSON_SINK_PIECE of them, or what the client should see
     * now); false: no more is wanted.  On the thread that runs the statements; may block
     * with SINK_WAITS.  May be NULL. */
    bool (*on_piece)(struct json_sink *s);
    /* As row_sink_ops.room; may be NULL. */
    bool (*room)(struct json_sink *s, void (*on_room)(void *arg), void *arg);
    struct budget *budget; /* covers a body that stays; may be NULL */
    uint64_t held;         /* of it; whoever ends the sink gives it back */
    bool over;             /* the budget did not suffice */
    bool partial;          /* some of the body has left ... */
    bool broken;           /* ... and the rest cannot follow */
    uint64_t since_ms;     /* when the first row came that has not left; 0 = none has */

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
    size_t start;   /* where it began, to drop it ... */
    bool begun_out; /* ... but its beginning has left */
    bool start_empty;
    bool open;      /* columns() came, its end not yet */
    bool first_row; /* no row came yet, so types are not written */
    bool dropped;   /* it became an error: what still comes of it is left out */
    int infinite_here;
};

enum { JSON_SINK_PIECE = 64 * 1024 };
#define JSON_SINK_OVER "too much memory is in use by results; the statements were run"

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

/* Finish the body, or what of it has not left.  An error is one for the whole answer:
 * ERR_UNSUPPORTED "unsupported value: +Inf", ERR_NOMEM, ERR_TOO_BIG, ERR_CANCELLED (a
 * result was cut off whose beginning has left). */
MUST_USE enum err json_sink_finish(struct json_sink *s, const struct json_envelope *e,
                                   struct why *why);

#endif
