/* SPDX-License-Identifier: MIT */
#include "core/node/once.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/list.h"
#include "core/node/remember.h"
#include "core/node/results.h"

/* A sink that keeps what it tells another one.  What is kept must be the same on every
 * node, so it does not depend on the other sink, which is there on one node only. */
struct recorder {
    struct row_sink sink;
    struct row_sink *to; /* NULL: nobody else wants to know */
    struct results_writer kept;
    bool too_large;
};

struct once {
    struct remember *answers; /* owned */
    struct recorder recorder;
};

/* --- recording -------------------------------------------------------------------- */

static struct recorder *recorder_of(struct row_sink *s)
{
    return LIST_ITEM(s, struct recorder, sink);
}

static bool keep_no_more(struct results_writer *w)
{
    LIST_ITEM(w, struct recorder, kept)->too_large = true;
    return false;
}

static void record_columns(struct row_sink *s, const struct row_column *cols, size_t n)
{
    struct recorder *r = recorder_of(s);

    r->kept.sink.ops->columns(&r->kept.sink, cols, n);
    if (r->to) r->to->ops->columns(r->to, cols, n);
}

static bool record_row(struct row_sink *s, const struct db_value *values, size_t n)
{
    struct recorder *r = recorder_of(s);

    (void)r->kept.sink.ops->row(&r->kept.sink, values, n);
    if (r->to) (void)r->to->ops->row(r->to, values, n);
    return true;
}

static void record_rows_end(struct row_sink *s, uint64_t elapsed_ns)
{
    struct recorder *r = recorder_of(s);

    r->kept.sink.ops->rows_end(&r->kept.sink, 0);
    if (r->to) r->to->ops->rows_end(r->to, elapsed_ns);
}

static void record_written(struct row_sink *s, int64_t last_insert_id,
                           int64_t rows_affected, uint64_t elapsed_ns)
{
    struct recorder *r = recorder_of(s);

    r->kept.sink.ops->written(&r->kept.sink, last_insert_id, rows_affected, 0);
    if (r->to) r->to->ops->written(r->to, last_insert_id, rows_affected, elapsed_ns);
}

static void record_failed(struct row_sink *s, bool read_side, const char *text,
                          size_t len)
{
    struct recorder *r = recorder_of(s);

    r->kept.sink.ops->failed(&r->kept.sink, read_side, text, len);
    if (r->to) r->to->ops->failed(r->to, read_side, text, len);
}

static void record_request_failed(struct row_sink *s, const char *text, size_t len)
{
    struct recorder *r = recorder_of(s);

    r->kept.sink.ops->request_failed(&r->kept.sink, text, len);
    if (r->to) r->to->ops->request_failed(r->to, text, len);
}

static const struct row_sink_ops recorder_ops = {.columns = record_columns,
                                                 .row = record_row,
                                                 .rows_end = record_rows_end,
                                                 .written = record_written,
                                                 .failed = record_failed,
                                                 .request_failed = record_request_failed};

/* --- life ------------------------------------------------------------------------- */

enum err once_new(struct once **out)
{
    struct once *o = calloc(1, sizeof *o);

    if (o == NULL) return ERR_NOMEM;
    if (remember_new(&o->answers) != ERR_OK) {
        free(o);
        return ERR_NOMEM;
    }
    o->recorder.sink.ops = &recorder_ops;
    *out = o;
    return ERR_OK;
}

void once_free(struct once *o)
{
    if (o == NULL) return;
    remember_free(o->answers);
    free(o);
}

/* --- applying --------------------------------------------------------------------- */

static enum err tell_again(const struct remembered *known, struct row_sink *sink,
                           struct why *why)
{
    static const char gone[] =
        "the request was carried out before; its results were too large to be kept";
    struct results_reader reader;
    enum err e = ERR_OK;

    if (sink == NULL) return ERR_OK;
    if (known->len > REMEMBER_ANSWER_MAX) {
        sink->ops->request_failed(sink, gone, sizeof gone - 1);
        return ERR_OK;
    }
    results_reader_init(&reader, sink);
    e = results_read(&reader, known->answer, known->len, why);
    results_reader_fini(&reader);
    return e;
}

static enum err run_and_keep(struct once *o, struct db *d, const struct db_context *ctx,
                             const struct db_request *req,
                             const Rqlite__ExecuteRequest *m, struct row_sink *sink,
                             struct why *why)
{
    struct recorder *r = &o->recorder;
    struct remembered answer = {.index = ctx->index, .time_ns = ctx->time_ns};
    enum err e;

    r->to = sink;
    r->too_large = false;
    results_writer_init(&r->kept, keep_no_more);
    e = db_apply(d, ctx, req, &r->sink, why);
    results_writer_end(&r->kept, ctx->index);
    if (!e && r->kept.error == ERR_TOO_BIG) r->too_large = true;
    if (!e && r->kept.error && !r->too_large)
        e = why_set(why, r->kept.error, "keep an answer: out of memory");
    if (!e) {
        answer.answer = r->kept.out.data;
        answer.len = r->kept.out.len;
        if (r->too_large || answer.len > REMEMBER_ANSWER_MAX)
            answer.len = REMEMBER_ANSWER_MAX + 1;
        memcpy(answer.print, m->once_print.data, sizeof answer.print);
        e = remember_put(o->answers, m->once_key.data, m->once_key.len, &answer);
        if (e) (void)why_set(why, e, "keep an answer: out of memory");
    }
    results_writer_fini(&r->kept);
    return e;
}

enum err once_apply(struct once *o, struct db *d, const struct db_context *ctx,
                    const struct db_request *req, const Rqlite__ExecuteRequest *m,
                    struct row_sink *sink, struct once_outcome *out, struct why *why)
{
    struct remembered known;

    out->index = ctx->index;
    out->refusal = (struct why){0};
    if (m->once_key.len > REMEMBER_KEY_MAX || m->once_print.len != REMEMBER_PRINT) {
        db_apply_nothing(d, ctx);
        (void)why_set(&out->refusal, ERR_INVALID, "invalid idempotency key");
        return ERR_OK;
    }
    if (!remember_find(o->answers, m->once_key.data, m->once_key.len, ctx->time_ns,
                       &known))
        return run_and_keep(o, d, ctx, req, m, sink, why);
    db_apply_nothing(d, ctx);
    if (memcmp(known.print, m->once_print.data, REMEMBER_PRINT) != 0) {
        (void)why_set(&out->refusal, ERR_CONFLICT,
                      "the idempotency key was used for another request");
        return ERR_OK;
    }
    out->index = known.index;
    return tell_again(&known, sink, why);
}

enum err once_save(const struct once *o, struct blob **out)
{
    return remember_encode(o->answers, out);
}

enum err once_load(struct once *o, const struct blob *b, struct why *why)
{
    return remember_decode(o->answers, b, why);
}
