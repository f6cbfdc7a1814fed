/* SPDX-License-Identifier: MIT */
/*
 * sink: where results of statements go, row by row, without a detour.
 *
 * Whoever runs statements calls the sink in order, per request:
 *     ( columns row* rows_end | written | failed )*  then possibly  request_failed
 * columns may be followed by failed (a run-time error: rows given so far do not count).
 * One sink writes JSON, another protobuf.  A sink is called by one thread at a time;
 * values and texts are borrowed for the call.
 */
#ifndef CORE_DB_SINK_H
#define CORE_DB_SINK_H

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
};

struct row_sink {
    const struct row_sink_ops *ops;
};

#endif
