/* SPDX-License-Identifier: MIT */
/*
 * null_sink: results for nobody, as when the log is replayed.
 */
#include "core/db/internal.h"

static void null_columns(struct row_sink *s, const struct row_column *cols, size_t n)
{
    (void)s, (void)cols, (void)n;
}
static bool null_row(struct row_sink *s, const struct db_value *values, size_t n)
{
    (void)s, (void)values, (void)n;
    return true;
}
static void null_rows_end(struct row_sink *s, uint64_t ns)
{
    (void)s, (void)ns;
}
static void null_written(struct row_sink *s, int64_t id, int64_t rows, uint64_t ns)
{
    (void)s, (void)id, (void)rows, (void)ns;
}
static void null_failed(struct row_sink *s, bool read_side, const char *text, size_t len)
{
    (void)s, (void)read_side, (void)text, (void)len;
}
static void null_request_failed(struct row_sink *s, const char *text, size_t len)
{
    (void)s, (void)text, (void)len;
}
static const struct row_sink_ops null_ops = {
    .columns = null_columns,
    .row = null_row,
    .rows_end = null_rows_end,
    .written = null_written,
    .failed = null_failed,
    .request_failed = null_request_failed,
};
struct row_sink db_null_sink = {.ops = &null_ops};
