/* SPDX-License-Identifier: MIT */
/*
 * Bytes as the results of another node: whatever they are, a sink sees calls in the order
 * that sink.h promises, and what it was told can be written and read again to the same
 * effect.  The first byte cuts the input in two messages.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/list.h"
#include "core/node/results.h"

struct strict { /* a sink that insists on the order, and keeps what it was told */
    struct row_sink sink;
    struct results_writer copy;
    bool open, over;
    size_t n;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct strict *strict_of(struct row_sink *s)
{
    return LIST_ITEM(s, struct strict, sink);
}

static void columns(struct row_sink *s, const struct row_column *cols, size_t n)
{
    struct strict *t = strict_of(s);

    CHECK(!t->open);
    CHECK(!t->over);
    for (size_t i = 0; i < n; i++) CHECK(cols[i].name != NULL);
    t->open = true;
    t->n = n;
    t->copy.sink.ops->columns(&t->copy.sink, cols, n);
}

static bool row(struct row_sink *s, const struct db_value *values, size_t n)
{
    struct strict *t = strict_of(s);
    volatile uint8_t sum = 0;

    CHECK(t->open);
    CHECK(n == t->n);
    for (size_t i = 0; i < n; i++) {
        if (values[i].type != DB_TEXT && values[i].type != DB_BLOB) continue;
        for (size_t k = 0; k < values[i].u.s.n; k++)
            sum = (uint8_t)(sum + ((const uint8_t *)values[i].u.s.p)[k]);
    }
    return t->copy.sink.ops->row(&t->copy.sink, values, n);
}

static void rows_end(struct row_sink *s, uint64_t elapsed_ns)
{
    struct strict *t = strict_of(s);

    CHECK(t->open);
    t->open = false;
    t->copy.sink.ops->rows_end(&t->copy.sink, elapsed_ns);
}

static void written(struct row_sink *s, int64_t id, int64_t rows, uint64_t elapsed_ns)
{
    struct strict *t = strict_of(s);

    CHECK(!t->open);
    CHECK(!t->over);
    t->copy.sink.ops->written(&t->copy.sink, id, rows, elapsed_ns);
}

static void failed(struct row_sink *s, bool read_side, const char *text, size_t len)
{
    struct strict *t = strict_of(s);

    CHECK(!t->over);
    t->open = false;
    t->copy.sink.ops->failed(&t->copy.sink, read_side, text, len);
}

static void request_failed(struct row_sink *s, const char *text, size_t len)
{
    struct strict *t = strict_of(s);

    CHECK(!t->over);
    t->open = false;
    t->over = true;
    t->copy.sink.ops->request_failed(&t->copy.sink, text, len);
}

static const struct row_sink_ops ops = {.columns = columns,
                                        .row = row,
                                        .rows_end = rows_end,
                                        .written = written,
                                        .failed = failed,
                                        .request_failed = request_failed};

static bool keep(struct results_writer *w)
{
    (void)w;
    return true;
}

static void strict_init(struct strict *t)
{
    memset(t, 0, sizeof *t);
    t->sink.ops = &ops;
    results_writer_init(&t->copy, keep);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strict first, again;
    struct results_reader r;
    size_t cut;

    if (size == 0) return 0;
    cut = data[0] < size - 1 ? data[0] : size - 1;
    strict_init(&first);
    results_reader_init(&r, &first.sink);
    if (results_read(&r, data + 1, cut, NULL) == ERR_OK)
        (void)!results_read(&r, data + 1 + cut, size - 1 - cut, NULL);
    results_reader_fini(&r);

    strict_init(&again);
    results_reader_init(&r, &again.sink);
    if (!first.copy.error) {
        CHECK(results_read(&r, first.copy.out.data, first.copy.out.len, NULL) == ERR_OK);
        CHECK(again.copy.out.len == first.copy.out.len);
        CHECK(first.copy.out.len == 0 ||
              memcmp(again.copy.out.data, first.copy.out.data, first.copy.out.len) == 0);
    }
    results_reader_fini(&r);
    results_writer_fini(&first.copy);
    results_writer_fini(&again.copy);
    return 0;
}
