/* SPDX-License-Identifier: MIT */
/*
 * results: results of statements as messages, and back.
 *
 * A results_writer is a row_sink (core/db/sink.h) that writes what it is told as
 * Rqlite__Results: each call one event, many events one message.  A results_reader takes
 * such messages and tells another row_sink.  So rows cross the wire as they come, and a
 * sink cannot tell rows of this node from rows of another.
 *
 * The bytes are written and read here, without the generated code: a row costs no
 * allocation on either side.  Pure; one thread at a time, and what arrives is checked: a
 * sink behind a reader sees calls in the order that sink.h promises, or none.
 */
#ifndef CORE_NODE_RESULTS_H
#define CORE_NODE_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/db/sink.h"

enum {
    RESULTS_BATCH_BYTES = 64 << 10, /* a message is handed on when it has grown to this */
    RESULTS_SHOWN_MS = 8, /* or, of a read, when its first row is older than this */
    RESULTS_EVENT_MAX = 192 << 20, /* one row: below what core/net carries */
    RESULTS_COLUMNS_MAX = 32767    /* SQLite's own limit */
};

/* --- writing ---------------------------------------------------------------------- */

struct results_writer {
    struct row_sink sink;
    struct buf out; /* owned; a whole message at any time */
    /* out has RESULTS_BATCH_BYTES or more, or should be seen now: take it (and clear it),
     * or leave it to grow.  False: no more is wanted. */
    bool (*on_full)(struct results_writer *w);
    uint64_t since_ms; /* with a pace that lets rows go: when the first one of out came */
    bool stopped;      /* nothing is written any more */
    enum err error;    /* ERR_NOMEM, ERR_TOO_BIG: and that is why */
};

void results_writer_init(struct results_writer *w,
                         bool (*on_full)(struct results_writer *w));
void results_writer_fini(struct results_writer *w);

/* Mark what is in out as the last message. */
void results_writer_end(struct results_writer *w, uint64_t raft_index);

/* --- reading ---------------------------------------------------------------------- */

struct results_reader {
    struct row_sink *sink; /* borrowed; NULL: nobody wants to know */
    struct arena arena;    /* the columns being told */
    struct db_value *values;
    size_t n_columns, values_cap;
    bool open;  /* columns came, their end not yet */
    bool begun; /* the sink has been told something */
    bool over;  /* request_failed came */
    bool muted; /* the sink wants no more */
    bool final; /* what came is not taken back: the sink was told to pause at will */
    bool done;  /* the last message came */
    uint64_t raft_index;
};

void results_reader_init(struct results_reader *r, struct row_sink *sink);
void results_reader_fini(struct results_reader *r);

/* Tell the sink what is in one message.  ERR_CORRUPT: it is none, or comes at a place
 * where it makes no sense; the sink may have been told of what was before it.
 * ERR_NOMEM. */
MUST_USE enum err results_read(struct results_reader *r, const void *message, size_t len,
                               struct why *why);

#endif
