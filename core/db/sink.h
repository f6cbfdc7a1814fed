/* SPDX-License-Identifier: MIT */
/*
 * sink: where results of statements go, row by row, without a detour.
 *
 * Whoever runs statements calls the sink in order, per request:
 *     ( columns row* rows_end | written | failed )*  then possibly  request_failed
 * columns may be followed by failed (a run-time error: rows given so far do not count).
 * One sink writes JSON, another protobuf.  A sink is called by one thread at a time;
 * values and texts are borrowed for the call.
 *
 * A sink may pass on what it was told before the request is over, if its caller says so
 * beforehand by its pace.  Once rows have been passed on, a failed or request_failed that
 * would take them back makes the whole answer fail.
 */
#ifndef CORE_DB_SINK_H
#define CORE_DB_SINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum db_type { DB_NULL, DB_INTEGER, DB_REAL, DB_TEXT, DB_BLOB };

struct db_value {
    enum db_type type;
    union {
        int64_t i;
        double r;
        struct {
            const void *p;
            size_t n;
        } s; /* TEXT (any bytes, may hold NUL) and BLOB */
    } u;
};

struct row_column {
    const char *name;     /* with qualify_columns already "table.column" */
    const char *declared; /* as declared, any case; NULL if the column has none */
};

struct row_sink;

struct row_sink_ops {
    /* A rows result begins.  n may be 0 (a statement without columns on the read path).
     */
    void (*columns)(struct row_sink *s, const struct row_column *cols, size_t n);
    /* false: the sink takes no more (out of memory, client gone); the statement is ended
     * and the remaining ones are not run. */
    bool (*row)(struct row_sink *s, const struct db_value *values, size_t n);
    void (*rows_end)(struct row_sink *s, uint64_t elapsed_ns);
    /* A write result. */
    void (*written)(struct row_sink *s, int64_t last_insert_id, int64_t rows_affected,
                    uint64_t elapsed_ns);
    /* The statement failed.  read_side: it counts as a rows entry (HTTP API 6.1). */
    void (*failed)(struct row_sink *s, bool read_side, const char *text, size_t len);
    /* The whole request failed: a top-level error; results given so far do not count. */
    void (*request_failed)(struct row_sink *s, const char *text, size_t len);
    /* SINK_PAUSES: may more be told now?  If not, on_room(arg) is called once, later, on
     * any thread, when there is room or nobody wants more; it must not block.  NULL:
     * always. */
    bool (*room)(struct row_sink *s, void (*on_room)(void *arg), void *arg);
};

enum sink_pace {
    SINK_KEEPS,  /* what was told may be taken back, and nobody waits: all is kept */
    SINK_WAITS,  /* the sink's functions may block until there is room */
    SINK_PAUSES, /* they may not; the caller asks room() and stops telling meanwhile */
};

struct row_sink {
    const struct row_sink_ops *ops;
    enum sink_pace pace; /* its caller's, who sets it before the first call */
    /* SINK_WAITS: while this is true others wait for the thread that runs the statements,
     * and are to be kept waiting by none but SINK_HURRY_MS more; NULL = never. */
    const atomic_bool *awaited;
};

enum {
    SINK_HURRY_MS = 2000,
    SINK_LOOK_MS = 200 /* a sink that blocks asks as often: */
};

/* Must it block no more?  *since_ms is its own, 0 when it begins to block. */
static inline bool row_sink_hurries(const struct row_sink *s, uint64_t *since_ms,
                                    uint64_t now_ms)
{
    if (!s->awaited || !atomic_load_explicit(s->awaited, memory_order_relaxed))
        *since_ms = 0;
    else if (*since_ms == 0)
        *since_ms = now_ms;
    return *since_ms > 0 && now_ms - *since_ms >= SINK_HURRY_MS;
}

#endif
