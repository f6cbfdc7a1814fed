/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "clients/c/internal.h"

void answer_init(struct answer *a)
{
    memset(a, 0, sizeof *a);
    arena_init(&a->names, 0);
    buf_init(&a->bytes, 0);
}

void answer_fini(struct answer *a)
{
    arena_fini(&a->names);
    buf_fini(&a->bytes);
    free(a->values);
    a->values = NULL;
    a->message = NULL;
}

void answer_again(struct answer *a)
{
    a->message = NULL;
    a->statement = 0;
    a->skip = a->taken;
    a->open = a->done = false;
}

void answer_feed(struct answer *a, const Rqlite__Results *m)
{
    a->message = m;
    a->at = 0;
    if (m->done) a->done = true;
    if (m->raft_index) a->raft_index = m->raft_index;
}

static enum rqlite_code no_memory(struct rqlite_error *error)
{
    return error_set(error, RQLITE_NOMEM, "out of memory for an answer");
}

static enum rqlite_code out_of_place(struct rqlite_error *error, const char *what)
{
    return error_set(error, RQLITE_PROTOCOL, "answer with %s out of place", what);
}

static enum rqlite_code columns_event(struct answer *a, const Rqlite__Columns *m,
                                      struct rqlite_event *out,
                                      struct rqlite_error *error)
{
    if (a->open) return out_of_place(error, "columns");
    if (m->n_columns > a->values_cap) {
        struct rqlite_value *values = calloc(m->n_columns, sizeof *values);

        if (values == NULL) return no_memory(error);
        free(a->values);
        a->values = values;
        a->values_cap = m->n_columns;
    }
    arena_reset(&a->names);
    a->names.failed = false;
    a->n_columns = 0;
    a->columns = arena_calloc(&a->names, m->n_columns + 1, sizeof *a->columns);
    for (size_t i = 0; a->columns && i < m->n_columns; i++) {
        const Rqlite__Column *c = m->columns[i];

        a->columns[i].name = arena_strdup(&a->names, c->name);
        a->columns[i].declared =
            c->has_declared ? arena_strdup(&a->names, c->declared) : NULL;
    }
    if (arena_failed(&a->names)) return no_memory(error);
    a->n_columns = m->n_columns;
    a->open = true;
    out->kind = RQLITE_COLUMNS;
    return RQLITE_OK;
}

static const ProtobufCBinaryData *bytes_of(const Rqlite__Value *v)
{
    if (v->kind_case == RQLITE__VALUE__KIND_TEXT) return &v->text;
    if (v->kind_case == RQLITE__VALUE__KIND_BLOB) return &v->blob;
    return NULL;
}

/* The message's bytes are not followed by a NUL: they are copied, each with one. */
static bool reserve_bytes(struct buf *b, const Rqlite__Row *m)
{
    size_t want = 1;

    for (size_t i = 0; i < m->n_values; i++) {
        const ProtobufCBinaryData *d = bytes_of(m->values[i]);

        if (d) want += d->len + 1;
    }
    buf_clear(b);
    return buf_reserve(b, want) != NULL;
}

static void read_value(struct rqlite_value *out, const Rqlite__Value *v, struct buf *b)
{
    const ProtobufCBinaryData *d = bytes_of(v);

    *out = rqlite_null();
    if (d) {
        out->type = v->kind_case == RQLITE__VALUE__KIND_TEXT ? RQLITE_TEXT : RQLITE_BLOB;
        out->data = (const char *)b->data + b->len; /* b does not move: reserved */
        out->len = d->len;
        buf_append(b, d->data, d->len);
        buf_append_u8(b, 0);
    } else if (v->kind_case == RQLITE__VALUE__KIND_INTEGER) {
        *out = rqlite_integer(v->integer);
    } else if (v->kind_case == RQLITE__VALUE__KIND_REAL) {
        *out = rqlite_real(v->real);
    }
}

static enum rqlite_code row_event(struct answer *a, const Rqlite__Row *m,
                                  struct rqlite_event *out, struct rqlite_error *error)
{
    if (!a->open) return out_of_place(error, "a row");
    if (m->n_values != a->n_columns)
        return error_set(error, RQLITE_PROTOCOL, "row of %zu values for %zu columns",
                         m->n_values, a->n_columns);
    if (!reserve_bytes(&a->bytes, m)) return no_memory(error);
    for (size_t i = 0; i < m->n_values; i++)
        read_value(&a->values[i], m->values[i], &a->bytes);
    out->kind = RQLITE_ROW;
    out->values = a->values;
    return RQLITE_OK;
}

static enum rqlite_code failed_event(const Rqlite__Failed *m, struct buf *b,
                                     struct rqlite_event *out, struct rqlite_error *error)
{
    buf_clear(b);
    buf_append(b, m->text.data, m->text.len);
    buf_append_u8(b, 0);
    if (buf_error(b)) return no_memory(error);
    out->kind = RQLITE_ERROR;
    out->text = (const char *)b->data;
    out->text_len = m->text.len;
    return RQLITE_OK;
}

static enum rqlite_code read_event(struct answer *a, const Rqlite__Event *e,
                                   struct rqlite_event *out, struct rqlite_error *error)
{
    enum rqlite_code code = RQLITE_OK;

    memset(out, 0, sizeof *out);
    out->statement = a->statement;
    switch (e->kind_case) {
    case RQLITE__EVENT__KIND_COLUMNS:
        code = columns_event(a, e->columns, out, error);
        break;
    case RQLITE__EVENT__KIND_ROW: code = row_event(a, e->row, out, error); break;
    case RQLITE__EVENT__KIND_ROWS_END_NS:
        if (!a->open) return out_of_place(error, "the end of rows");
        out->kind = RQLITE_ROWS_END;
        out->elapsed_ns = e->rows_end_ns;
        break;
    case RQLITE__EVENT__KIND_WRITTEN:
        if (a->open) return out_of_place(error, "the result of a write");
        out->kind = RQLITE_WRITTEN;
        out->last_insert_id = e->written->last_insert_id;
        out->rows_affected = e->written->rows_affected;
        out->elapsed_ns = e->written->elapsed_ns;
        break;
    case RQLITE__EVENT__KIND_FAILED:
        code = failed_event(e->failed, &a->bytes, out, error);
        break;
    case RQLITE__EVENT__KIND_REQUEST_FAILED:
        return error_set(error, RQLITE_FAILED, "%.*s", (int)e->request_failed.len,
                         (const char *)e->request_failed.data);
    default:
        return error_set(error, RQLITE_PROTOCOL, "answer with an event of unknown kind");
    }
    if (code) return code;
    if (a->open) {
        out->columns = a->columns;
        out->n_columns = a->n_columns;
    }
    if (out->kind != RQLITE_COLUMNS && out->kind != RQLITE_ROW) {
        a->open = false;
        a->statement++;
    }
    return RQLITE_OK;
}

enum rqlite_code answer_next(struct answer *a, struct rqlite_event *out,
                             struct rqlite_error *error)
{
    enum rqlite_code code;

    while (a->message && a->at < a->message->n_events) {
        code = read_event(a, a->message->events[a->at++], out, error);
        if (code) return code;
        if (a->skip > 0) {
            a->skip--;
            continue;
        }
        a->taken++;
        return RQLITE_OK;
    }
    a->message = NULL;
    return RQLITE_AGAIN;
}
