/* SPDX-License-Identifier: MIT */
/*
 * The encoding (protobuf's), as far as it is used here:
 *
 *     field    varint number << 3 | wire type, then
 *                0  a varint; sint64 zigzagged      1  eight bytes, little endian
 *                2  varint length, bytes            5  four bytes
 *
 *     Results  1: Event ...   2: done   3: raft_index   5: final, before the events
 *     Event    1: Columns   2: Row   3: rows_end_ns   4: Written   5: Failed
 *              6: request_failed                              (one of them)
 *     Columns  1: Column ...            Column   1: name  2: declared  3: has_declared
 *     Row      1: Value ...             Value    1: sint64  2: double  3: text  4: blob
 *     Written  1: sint64 last_insert_id  2: sint64 rows_affected  3: elapsed_ns
 *     Failed   1: text  2: read_side
 */
#include "core/node/results.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/base/list.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { VARINT_MAX = 10, HEADS_MAX = 64 /* tags and lengths around one thing */ };

#define TAG(number, wire) ((uint8_t)((number) << 3 | (wire)))

/* --- writing ---------------------------------------------------------------------- */

static size_t varint_size(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7) n++;
    return n;
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static size_t bytes_size(size_t len)
{
    return 1 + varint_size(len) + len;
}

/* Tag and length; the bytes follow. */
static uint8_t *put_head(uint8_t *p, uint8_t tag, size_t len)
{
    *p++ = tag;
    return put_varint(p, len);
}

static uint8_t *put_bytes(uint8_t *p, uint8_t tag, const void *data, size_t len)
{
    p = put_head(p, tag, len);
    if (len > 0) memcpy(p, data, len);
    return p + len;
}

static uint8_t *put_number(uint8_t *p, uint8_t tag, uint64_t v)
{
    *p++ = tag;
    return put_varint(p, v);
}

static struct results_writer *writer_of(struct row_sink *s)
{
    return LIST_ITEM(s, struct results_writer, sink);
}

static void stop(struct results_writer *w, enum err error)
{
    w->stopped = true;
    if (!w->error) w->error = error;
}

/* Room for len bytes more; the first ones of a message say if it may be passed on. */
static uint8_t *begin_message(struct results_writer *w, size_t len)
{
    uint8_t *p = buf_reserve(&w->out, len + 2);

    if (p == NULL)
        stop(w, buf_error(&w->out));
    else if (w->out.len == 0 && w->sink.pace != SINK_KEEPS)
        p = put_number(p, TAG(5, VARINT), 1);
    return p;
}

/* Room for an event of kind number, whose content has len bytes; NULL: nothing is written
 * any more.  Where the content goes. */
static uint8_t *begin_event(struct results_writer *w, unsigned number, size_t len)
{
    size_t inner = bytes_size(len);
    uint8_t *p;

    if (w->stopped) return NULL;
    if (len > RESULTS_EVENT_MAX) {
        stop(w, ERR_TOO_BIG);
        return NULL;
    }
    p = begin_message(w, inner + HEADS_MAX);
    if (p == NULL) return NULL;
    p = put_head(p, TAG(1, BYTES), inner);
    return put_head(p, TAG(number, BYTES), len);
}

static bool end_event(struct results_writer *w, const uint8_t *end)
{
    buf_advance(&w->out, (size_t)(end - (w->out.data + w->out.len)));
    if (w->out.len >= RESULTS_BATCH_BYTES) {
        w->since_ms = 0;
        if (!w->on_full(w)) w->stopped = true;
    }
    return !w->stopped;
}

/* Rows that come slowly are not kept until there are many. */
static bool end_row(struct results_writer *w, const uint8_t *end)
{
    uint64_t now;

    if (!end_event(w, end)) return false;
    if (w->sink.pace == SINK_KEEPS || w->out.len == 0) return true;
    now = clock_coarse_ms();
    if (w->since_ms == 0) w->since_ms = now;
    if (now - w->since_ms < RESULTS_SHOWN_MS) return true;
    w->since_ms = 0;
    if (!w->on_full(w)) w->stopped = true;
    return !w->stopped;
}

static size_t column_size(const struct row_column *c)
{
    size_t n = bytes_size(strlen(c->name));

    return c->declared ? n + bytes_size(strlen(c->declared)) + 2 : n;
}

static void write_columns(struct row_sink *s, const struct row_column *cols, size_t n)
{
    struct results_writer *w = writer_of(s);
    size_t len = 0;
    uint8_t *p;

    for (size_t i = 0; i < n; i++) len += bytes_size(column_size(&cols[i]));
    p = begin_event(w, 1, len);
    if (p == NULL) return;
    for (size_t i = 0; i < n; i++) {
        p = put_head(p, TAG(1, BYTES), column_size(&cols[i]));
        p = put_bytes(p, TAG(1, BYTES), cols[i].name, strlen(cols[i].name));
        if (cols[i].declared == NULL) continue;
        p = put_bytes(p, TAG(2, BYTES), cols[i].declared, strlen(cols[i].declared));
        p = put_number(p, TAG(3, VARINT), 1);
    }
    (void)end_event(w, p);
}

static size_t value_size(const struct db_value *v)
{
    switch (v->type) {
    case DB_NULL: return 0;
    case DB_INTEGER: return 1 + varint_size(zigzag(v->u.i));
    case DB_REAL: return 1 + 8;
    case DB_TEXT:
    case DB_BLOB: return bytes_size(v->u.s.n);
    }
    return 0;
}

static uint8_t *put_value(uint8_t *p, const struct db_value *v)
{
    uint64_t bits;

    p = put_head(p, TAG(1, BYTES), value_size(v));
    switch (v->type) {
    case DB_NULL: break;
    case DB_INTEGER: return put_number(p, TAG(1, VARINT), zigzag(v->u.i));
    case DB_REAL:
        memcpy(&bits, &v->u.r, sizeof bits);
        *p++ = TAG(2, FIXED64);
        put_le64(p, bits);
        return p + 8;
    case DB_TEXT: return put_bytes(p, TAG(3, BYTES), v->u.s.p, v->u.s.n);
    case DB_BLOB: return put_bytes(p, TAG(4, BYTES), v->u.s.p, v->u.s.n);
    }
    return p;
}

static bool write_row(struct row_sink *s, const struct db_value *values, size_t n)
{
    struct results_writer *w = writer_of(s);
    size_t len = 0;
    uint8_t *p;

    for (size_t i = 0; i < n; i++) len += bytes_size(value_size(&values[i]));
    p = begin_event(w, 2, len);
    if (p == NULL) return false;
    for (size_t i = 0; i < n; i++) p = put_value(p, &values[i]);
    return end_row(w, p);
}

static void write_rows_end(struct row_sink *s, uint64_t elapsed_ns)
{
    struct results_writer *w = writer_of(s);
    uint8_t *p;

    if (w->stopped) return;
    p = begin_message(w, HEADS_MAX);
    if (p == NULL) return;
    p = put_head(p, TAG(1, BYTES), 1 + varint_size(elapsed_ns));
    (void)end_event(w, put_number(p, TAG(3, VARINT), elapsed_ns));
}

static void write_written(struct row_sink *s, int64_t last_insert_id,
                          int64_t rows_affected, uint64_t elapsed_ns)
{
    struct results_writer *w = writer_of(s);
    uint64_t id = zigzag(last_insert_id), rows = zigzag(rows_affected);
    uint8_t *p = begin_event(
        w, 4, 3 + varint_size(id) + varint_size(rows) + varint_size(elapsed_ns));

    if (p == NULL) return;
    p = put_number(p, TAG(1, VARINT), id);
    p = put_number(p, TAG(2, VARINT), rows);
    (void)end_event(w, put_number(p, TAG(3, VARINT), elapsed_ns));
}

static void write_failed(struct row_sink *s, bool read_side, const char *text, size_t len)
{
    struct results_writer *w = writer_of(s);
    uint8_t *p = begin_event(w, 5, bytes_size(len) + 2);

    if (p == NULL) return;
    p = put_bytes(p, TAG(1, BYTES), text, len);
    (void)end_event(w, put_number(p, TAG(2, VARINT), read_side));
}

static void write_request_failed(struct row_sink *s, const char *text, size_t len)
{
    struct results_writer *w = writer_of(s);
    uint8_t *p = begin_event(w, 6, len);

    if (p == NULL) return;
    memcpy(p, text, len);
    (void)end_event(w, p + len);
}

static const struct row_sink_ops writer_ops = {.columns = write_columns,
                                               .row = write_row,
                                               .rows_end = write_rows_end,
                                               .written = write_written,
                                               .failed = write_failed,
                                               .request_failed = write_request_failed};

void results_writer_init(struct results_writer *w,
                         bool (*on_full)(struct results_writer *w))
{
    memset(w, 0, sizeof *w);
    w->sink.ops = &writer_ops;
    w->on_full = on_full;
    buf_init(&w->out, 0);
}

void results_writer_fini(struct results_writer *w)
{
    buf_fini(&w->out);
}

void results_writer_end(struct results_writer *w, uint64_t raft_index)
{
    uint8_t *p = buf_reserve(&w->out, HEADS_MAX), *end;

    if (p == NULL) {
        stop(w, buf_error(&w->out));
        return;
    }
    end = put_number(p, TAG(2, VARINT), 1);
    if (raft_index) end = put_number(end, TAG(3, VARINT), raft_index);
    buf_advance(&w->out, (size_t)(end - p));
}

/* --- reading ---------------------------------------------------------------------- */

struct span {
    const uint8_t *p, *end;
};

struct field {
    uint64_t number;
    unsigned wire;
    uint64_t value; /* VARINT, FIXED64, FIXED32 */
    struct span bytes;
};

static bool get_varint(struct span *s, uint64_t *out)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 7 * VARINT_MAX; shift += 7) {
        if (s->p == s->end) return false;
        v |= (uint64_t)(*s->p & 0x7f) << shift;
        if ((*s->p++ & 0x80) == 0) {
            *out = v;
            return true;
        }
    }
    return false;
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (~(v & 1) + 1));
}

/* The next field of s, which is not at its end; false: the bytes are no message. */
static bool get_field(struct span *s, struct field *f)
{
    uint64_t tag;

    if (!get_varint(s, &tag)) return false;
    f->number = tag >> 3;
    f->wire = (unsigned)(tag & 7);
    f->value = 0;
    f->bytes = (struct span){s->p, s->p};
    switch (f->wire) {
    case VARINT: return get_varint(s, &f->value);
    case FIXED64:
        if (s->end - s->p < 8) return false;
        f->value = get_le64(s->p);
        s->p += 8;
        return true;
    case FIXED32:
        if (s->end - s->p < 4) return false;
        f->value = get_le32(s->p);
        s->p += 4;
        return true;
    case BYTES:
        if (!get_varint(s, &f->value) || f->value > (uint64_t)(s->end - s->p))
            return false;
        f->bytes = (struct span){s->p, s->p + f->value};
        s->p += f->value;
        return true;
    default: return false;
    }
}

static bool is(const struct field *f, unsigned number, unsigned wire)
{
    return f->number == number && f->wire == wire;
}

static size_t length(struct span s)
{
    return (size_t)(s.end - s.p);
}

static enum err malformed(struct why *why)
{
    return why_set(why, ERR_CORRUPT, "malformed results");
}

static enum err out_of_place(struct why *why, const char *what)
{
    return why_set(why, ERR_CORRUPT, "results with %s out of place", what);
}

static enum err no_memory(struct why *why)
{
    return why_set(why, ERR_NOMEM, "out of memory for results");
}

static enum err read_column(struct results_reader *r, struct span in,
                            struct row_column *out, struct why *why)
{
    struct field f;
    struct span name = in, declared = in;
    bool has_declared = false;

    name.end = name.p;
    declared.end = declared.p;
    while (in.p < in.end) {
        if (!get_field(&in, &f)) return malformed(why);
        if (is(&f, 1, BYTES)) name = f.bytes;
        if (is(&f, 2, BYTES)) declared = f.bytes;
        if (is(&f, 3, VARINT)) has_declared = f.value != 0;
    }
    out->name = arena_strndup(&r->arena, (const char *)name.p, length(name));
    out->declared = NULL;
    if (has_declared)
        out->declared =
            arena_strndup(&r->arena, (const char *)declared.p, length(declared));
    return arena_failed(&r->arena) ? no_memory(why) : ERR_OK;
}

/* Fields 1 in s, which is well-formed on the outside; SIZE_MAX if it is not. */
static size_t count_items(struct span s)
{
    struct field f;
    size_t n = 0;

    while (s.p < s.end) {
        if (!get_field(&s, &f)) return SIZE_MAX;
        if (is(&f, 1, BYTES)) n++;
    }
    return n;
}

static enum err make_room(struct results_reader *r, size_t n, struct why *why)
{
    struct db_value *values;

    if (n <= r->values_cap) return ERR_OK;
    values = realloc(r->values, n * sizeof *values);
    if (values == NULL) return no_memory(why);
    r->values = values;
    r->values_cap = n;
    return ERR_OK;
}

static enum err read_columns(struct results_reader *r, struct span in, struct why *why)
{
    size_t n = count_items(in), i = 0;
    struct row_column *cols;
    struct field f;
    enum err e;

    if (r->open) return out_of_place(why, "columns");
    if (n > RESULTS_COLUMNS_MAX) return malformed(why);
    e = make_room(r, n, why);
    if (e) return e;
    arena_reset(&r->arena);
    cols = arena_calloc(&r->arena, n ? n : 1, sizeof *cols);
    if (cols == NULL) return no_memory(why);
    while (in.p < in.end && get_field(&in, &f)) {
        if (!is(&f, 1, BYTES)) continue;
        e = read_column(r, f.bytes, &cols[i++], why);
        if (e) return e;
    }
    r->n_columns = n;
    r->open = true;
    if (!r->muted) r->sink->ops->columns(r->sink, cols, n);
    return ERR_OK;
}

static bool read_value(struct span in, struct db_value *v)
{
    struct field f;

    v->type = DB_NULL;
    while (in.p < in.end) {
        if (!get_field(&in, &f)) return false;
        if (is(&f, 1, VARINT)) {
            v->type = DB_INTEGER;
            v->u.i = unzigzag(f.value);
        } else if (is(&f, 2, FIXED64)) {
            v->type = DB_REAL;
            memcpy(&v->u.r, &f.value, sizeof v->u.r);
        } else if (is(&f, 3, BYTES) || is(&f, 4, BYTES)) {
            v->type = f.number == 3 ? DB_TEXT : DB_BLOB;
            v->u.s.p = f.bytes.p;
            v->u.s.n = length(f.bytes);
        }
    }
    return true;
}

static enum err read_row(struct results_reader *r, struct span in, struct why *why)
{
    struct field f;
    size_t n = 0;

    if (!r->open) return out_of_place(why, "a row");
    while (in.p < in.end) {
        if (!get_field(&in, &f)) return malformed(why);
        if (!is(&f, 1, BYTES)) continue;
        if (n == r->n_columns || !read_value(f.bytes, &r->values[n++]))
            return malformed(why);
    }
    if (n != r->n_columns) return malformed(why);
    if (!r->muted && !r->sink->ops->row(r->sink, r->values, n)) r->muted = true;
    return ERR_OK;
}

static enum err read_rows_end(struct results_reader *r, uint64_t elapsed_ns,
                              struct why *why)
{
    if (!r->open) return out_of_place(why, "the end of rows");
    r->open = false;
    if (!r->muted) r->sink->ops->rows_end(r->sink, elapsed_ns);
    return ERR_OK;
}

static enum err read_written(struct results_reader *r, struct span in, struct why *why)
{
    int64_t id = 0, rows = 0;
    uint64_t elapsed_ns = 0;
    struct field f;

    if (r->open) return out_of_place(why, "the result of a write");
    while (in.p < in.end) {
        if (!get_field(&in, &f)) return malformed(why);
        if (is(&f, 1, VARINT)) id = unzigzag(f.value);
        if (is(&f, 2, VARINT)) rows = unzigzag(f.value);
        if (is(&f, 3, VARINT)) elapsed_ns = f.value;
    }
    if (!r->muted) r->sink->ops->written(r->sink, id, rows, elapsed_ns);
    return ERR_OK;
}

static enum err read_failed(struct results_reader *r, struct span in, struct why *why)
{
    struct span text = {in.p, in.p};
    bool read_side = false;
    struct field f;

    while (in.p < in.end) {
        if (!get_field(&in, &f)) return malformed(why);
        if (is(&f, 1, BYTES)) text = f.bytes;
        if (is(&f, 2, VARINT)) read_side = f.value != 0;
    }
    r->open = false;
    if (!r->muted)
        r->sink->ops->failed(r->sink, read_side, (const char *)text.p, length(text));
    return ERR_OK;
}

static enum err read_request_failed(struct results_reader *r, struct span text)
{
    r->open = false;
    r->over = true;
    if (!r->muted)
        r->sink->ops->request_failed(r->sink, (const char *)text.p, length(text));
    return ERR_OK;
}

static enum err read_event(struct results_reader *r, struct span in, struct why *why)
{
    struct field f, kind = {0};

    while (in.p < in.end) {
        if (!get_field(&in, &f)) return malformed(why);
        if (is(&f, 3, VARINT) || (f.wire == BYTES && f.number != 3)) kind = f;
    }
    if (r->over) return out_of_place(why, "an event");
    r->begun = true;
    switch (kind.number) {
    case 1: return read_columns(r, kind.bytes, why);
    case 2: return read_row(r, kind.bytes, why);
    case 3: return read_rows_end(r, kind.value, why);
    case 4: return read_written(r, kind.bytes, why);
    case 5: return read_failed(r, kind.bytes, why);
    case 6: return read_request_failed(r, kind.bytes);
    default: return why_set(why, ERR_CORRUPT, "results with an event of unknown kind");
    }
}

void results_reader_init(struct results_reader *r, struct row_sink *sink)
{
    memset(r, 0, sizeof *r);
    r->sink = sink;
    r->muted = sink == NULL;
    arena_init(&r->arena, 0);
}

void results_reader_fini(struct results_reader *r)
{
    free(r->values);
    r->values = NULL;
    r->values_cap = 0;
    arena_fini(&r->arena);
}

enum err results_read(struct results_reader *r, const void *message, size_t len,
                      struct why *why)
{
    const uint8_t *p = len ? message : (const uint8_t *)"";
    struct span in = {p, p + len};
    struct field f;
    enum err e;

    while (in.p < in.end) {
        if (!get_field(&in, &f)) return malformed(why);
        if (is(&f, 1, BYTES)) {
            if (r->done) return out_of_place(why, "an event");
            e = read_event(r, f.bytes, why);
            if (e) return e;
        } else if (is(&f, 2, VARINT)) {
            if (r->open && f.value) return out_of_place(why, "the end");
            if (f.value) r->done = true;
        } else if (is(&f, 3, VARINT)) {
            r->raft_index = f.value;
        } else if (is(&f, 5, VARINT)) {
            r->final = f.value != 0;
            if (r->final && r->sink) r->sink->pace = SINK_PAUSES;
        }
    }
    return ERR_OK;
}
