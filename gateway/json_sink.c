/* SPDX-License-Identifier: MIT */
#include "gateway/json_sink.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "gateway/stamp.h"

static const size_t BODY_MAX = (size_t)1 << 31; /* of an answer that is built in memory */

enum { SHOWN_MS = 8 }; /* a row waits no longer for others to fill a piece */

/* How a column's type decides about its values (HTTP API 6.3). */
enum column_kind {
    KIND_OTHER,
    KIND_BOOLEAN,
    KIND_TIME,
    KIND_TEXT /* also undeclared ones in their first row: blobs are shown as text */
};

struct json_column {
    const char *name;
    const char *type; /* lower case; NULL until the first row decides */
    enum column_kind kind;
    const char *key; /* associative: "name": with its quotes */
    size_t key_len;
};

static struct json_sink *of(struct row_sink *s)
{
    return (struct json_sink *)(void *)s;
}

/* --- types --- */

static enum column_kind kind_of(const char *type)
{
    static const char *const text_prefixes[] = {
        "varchar", "varying character", "nchar", "native character", "nvarchar", "clob"};

    if (strcmp(type, "boolean") == 0) return KIND_BOOLEAN;
    if (strcmp(type, "date") == 0 || strcmp(type, "datetime") == 0 ||
        strcmp(type, "timestamp") == 0)
        return KIND_TIME;
    if (strcmp(type, "") == 0 || strcmp(type, "text") == 0 || strcmp(type, "json") == 0)
        return KIND_TEXT;
    for (size_t i = 0; i < sizeof text_prefixes / sizeof *text_prefixes; i++)
        if (strncmp(type, text_prefixes[i], strlen(text_prefixes[i])) == 0)
            return KIND_TEXT;
    return KIND_OTHER;
}

static const char *lower(struct arena *a, const char *text)
{
    char *copy = arena_strdup(a, text);

    for (char *p = copy; p && *p; p++)
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p - 'A' + 'a');
    return copy ? copy : "";
}

/* Of a column without a declared type, by the value in the first row. */
static const char *type_of_value(enum db_type type)
{
    switch (type) {
    case DB_INTEGER: return "integer";
    case DB_REAL: return "real";
    case DB_TEXT:
    case DB_BLOB: return "text";
    case DB_NULL: break;
    }
    return "";
}

/* --- the beginning of a rows entry --- */

static void entry_begin(struct json_sink *s)
{
    s->begun_out = false;
    s->start = s->body.len;
    s->start_empty = s->json.empty;
    s->infinite_here = 0;
    s->dropped = false;
    json_item(&s->json);
    json_open(&s->json, '{');
}

/* Go back to where the entry began. */
static void entry_drop(struct json_sink *s)
{
    if (s->begun_out) s->broken = true;
    buf_truncate(&s->body, s->start);
    s->json.empty = s->start_empty;
    s->json.depth = 2; /* in results, in the envelope */
    s->infinite_here = 0;
    s->open = false;
}

static int by_name(const void *a, const void *b, void *columns)
{
    const size_t *x = a, *y = b;
    const struct json_column *c = columns;
    int order = strcmp(c[*x].name, c[*y].name);

    return order ? order : (*x > *y) - (*x < *y);
}

/* The keys of a row: sorted, of equal names the last column's. */
static void order_columns(struct json_sink *s)
{
    size_t n = s->n_columns, kept = 0;
    struct buf key;

    s->n_order = 0;
    s->order = arena_alloc(&s->arena, n * sizeof *s->order);
    if (!s->order) return;
    for (size_t i = 0; i < n; i++) s->order[i] = i;
    qsort_r(s->order, n, sizeof *s->order, by_name, s->columns);
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n || strcmp(s->columns[s->order[i]].name,
                                         s->columns[s->order[i + 1]].name) != 0;
        if (last) s->order[kept++] = s->order[i];
    }
    s->n_order = kept;

    buf_init(&key, 0);
    for (size_t i = 0; i < kept; i++) {
        struct json_column *c = &s->columns[s->order[i]];

        buf_clear(&key);
        json_put_cstring(&key, c->name);
        buf_append(&key, ": ", s->json.pretty ? 2 : 1);
        c->key_len = buf_error(&key) ? 0 : key.len;
        c->key = arena_dup(&s->arena, key.data, c->key_len);
    }
    buf_fini(&key);
}

static void on_columns(struct row_sink *sink, const struct row_column *cols, size_t n)
{
    struct json_sink *s = of(sink);
    struct json *j = &s->json;

    if (s->open) entry_drop(s); /* a statement's earlier pieces show nothing */
    arena_reset(&s->arena);
    entry_begin(s);
    s->open = true;
    s->first_row = true;
    s->n_columns = n;
    s->columns = arena_calloc(&s->arena, n, sizeof *s->columns);
    if (!s->columns) return;
    for (size_t i = 0; i < n; i++) {
        struct json_column *c = &s->columns[i];

        c->name = arena_strdup(&s->arena, cols[i].name ? cols[i].name : "");
        if (cols[i].declared && *cols[i].declared)
            c->type = lower(&s->arena, cols[i].declared);
        c->kind = c->type ? kind_of(c->type) : KIND_TEXT;
    }
    if (arena_failed(&s->arena)) return;
    if (s->associative) {
        order_columns(s);
    } else if (n > 0) {
        json_key(j, "columns");
        json_open(j, '[');
        for (size_t i = 0; i < n; i++) {
            json_item(j);
            json_put_cstring(j->out, s->columns[i].name);
        }
        json_close(j, ']');
    }
}

/* first is NULL where there is no row. */
static void write_types(struct json_sink *s, const struct db_value *first)
{
    struct json *j = &s->json;

    s->first_row = false;
    for (size_t i = 0; i < s->n_columns; i++)
        if (!s->columns[i].type)
            s->columns[i].type = first ? type_of_value(first[i].type) : "";
    if (s->n_columns == 0) return;
    json_key(j, "types");
    if (s->associative) {
        json_open(j, '{');
        for (size_t i = 0; i < s->n_order; i++) {
            const struct json_column *c = &s->columns[s->order[i]];

            json_item(j);
            buf_append(j->out, c->key, c->key_len);
            json_put_cstring(j->out, c->type);
        }
        json_close(j, '}');
    } else {
        json_open(j, '[');
        for (size_t i = 0; i < s->n_columns; i++) {
            json_item(j);
            json_put_cstring(j->out, s->columns[i].type);
        }
        json_close(j, ']');
    }
}

/* --- values --- */

static void write_error(struct json_sink *s, bool read_side, const char *text, size_t len)
{
    struct json *j = &s->json;

    entry_begin(s);
    if (s->associative && read_side) {
        json_key(j, "rows");
        json_open(j, '[');
        json_close(j, ']');
    }
    if (len > 0) {
        json_key(j, "error");
        json_put_string(j->out, text, len);
    }
    json_close(j, '}');
}

/* The statement's result becomes an error, and what still comes of it is left out. */
static void fail_result(struct json_sink *s, const char *text)
{
    entry_drop(s);
    write_error(s, true, text, strlen(text));
    s->dropped = true;
}

static bool write_value(struct json_sink *s, const struct json_column *c,
                        const struct db_value *v)
{
    struct buf *out = &s->body;
    char stamp[STAMP_MAX];
    size_t n;

    switch (v->type) {
    case DB_NULL: buf_append(out, "null", 4); return true;
    case DB_INTEGER:
        if (c->kind == KIND_BOOLEAN) {
            json_put_bool(out, v->u.i > 0);
        } else if (c->kind == KIND_TIME) {
            n = stamp_of_int(stamp, v->u.i);
            if (n == 0) {
                fail_result(s, "year outside of range [0,9999]");
                return false;
            }
            json_put_string(out, stamp, n);
        } else {
            json_put_int(out, v->u.i);
        }
        return true;
    case DB_REAL:
        if (!json_put_real(out, v->u.r)) s->infinite_here = v->u.r > 0 ? 1 : -1;
        return true;
    case DB_TEXT:
        if (c->kind == KIND_TIME) {
            n = stamp_of_text(stamp, v->u.s.p, v->u.s.n);
            json_put_string(out, stamp, n);
        } else {
            json_put_string(out, v->u.s.p, v->u.s.n);
        }
        return true;
    case DB_BLOB:
        if (c->kind == KIND_TEXT)
            json_put_string(out, v->u.s.p, v->u.s.n);
        else if (s->blob_array)
            json_put_blob_array(&s->json, v->u.s.p, v->u.s.n);
        else
            json_put_base64(out, v->u.s.p, v->u.s.n);
        return true;
    }
    return true;
}

static bool write_row(struct json_sink *s, const struct db_value *values)
{
    struct json *j = &s->json;

    if (!j->pretty && !s->associative) { /* as below, on a straighter way */
        if (!j->empty) buf_append_u8(j->out, ',');
        j->empty = false;
        for (size_t i = 0; i < s->n_columns; i++) {
            buf_append_u8(j->out, i > 0 ? ',' : '[');
            if (!write_value(s, &s->columns[i], &values[i])) return false;
        }
        if (s->n_columns == 0) buf_append_u8(j->out, '[');
        buf_append_u8(j->out, ']');
        return true;
    }
    json_item(j);
    if (s->associative) {
        json_open(j, '{');
        for (size_t i = 0; i < s->n_order; i++) {
            const struct json_column *c = &s->columns[s->order[i]];

            json_item(j);
            buf_append(j->out, c->key, c->key_len);
            if (!write_value(s, c, &values[s->order[i]])) return false;
        }
        json_close(j, '}');
    } else {
        json_open(j, '[');
        for (size_t i = 0; i < s->n_columns; i++) {
            json_item(j);
            if (!write_value(s, &s->columns[i], &values[i])) return false;
        }
        json_close(j, ']');
    }
    return true;
}

/* --- on its way out --- */

static bool give_piece(struct json_sink *s)
{
    int infinite = s->infinite ? s->infinite : s->infinite_here;

    /* An answer that cannot be given is not begun, and one that was ends here. */
    if (infinite) {
        s->infinite = infinite;
        s->broken = s->partial;
        return false;
    }
    s->since_ms = 0;
    s->partial = true;
    if (s->open) s->begun_out = true;
    s->start = 0;
    if (s->on_piece(s)) return true;
    s->broken = true;
    return false;
}

/* Enough for a piece, or the client has waited for it long enough? */
static bool is_due(struct json_sink *s)
{
    uint64_t now;

    if (s->body.len >= JSON_SINK_PIECE) return true;
    now = clock_coarse_ms();
    if (s->since_ms == 0) s->since_ms = now;
    return now - s->since_ms >= SHOWN_MS;
}

/* Something was added.  False: no more is wanted. */
static bool grown(struct json_sink *s)
{
    if (s->broken) return false;
    if (s->budget && !budget_cover(s->budget, &s->held, s->body.len)) {
        s->over = true;
        s->broken = s->partial;
        buf_fini(&s->body); /* an error now; what comes is dropped */
        s->body.error = ERR_TOO_BIG;
        return false;
    }
    if (s->sink.pace == SINK_KEEPS || !s->on_piece) return true;
    return !is_due(s) || give_piece(s);
}

static bool on_row(struct row_sink *sink, const struct db_value *values, size_t n)
{
    struct json_sink *s = of(sink);

    if (s->cancelled && atomic_load_explicit(s->cancelled, memory_order_relaxed))
        return false;
    if (s->dropped) return true;
    if (arena_failed(&s->arena) || !s->open || n != s->n_columns) return false;
    s->rows++;
    if (s->first_row) {
        write_types(s, values);
        json_key(&s->json, s->associative ? "rows" : "values");
        json_open(&s->json, '[');
        (void)write_row(s, values);
        /* From the second row on, the first one's types decide. */
        for (size_t i = 0; i < n && !s->dropped; i++)
            s->columns[i].kind = kind_of(s->columns[i].type);
    } else {
        (void)write_row(s, values);
    }
    return buf_error(&s->body) == ERR_OK && grown(s);
}

static void on_rows_end(struct row_sink *sink, uint64_t elapsed_ns)
{
    struct json_sink *s = of(sink);
    struct json *j = &s->json;

    if (!s->open || s->dropped) {
        s->open = s->dropped = false;
        return;
    }
    if (!s->first_row) {
        json_close(j, ']');
    } else {
        write_types(s, NULL);
        if (s->associative) {
            json_key(j, "rows");
            json_open(j, '[');
            json_close(j, ']');
        }
    }
    if (s->timings && elapsed_ns > 0) {
        json_key(j, "time");
        json_put_seconds(j->out, elapsed_ns);
    }
    json_close(j, '}');
    if (s->infinite_here && !s->infinite) s->infinite = s->infinite_here;
    s->infinite_here = 0;
    s->open = false;
    (void)grown(s);
}

/* --- the other entries --- */

static void on_written(struct row_sink *sink, int64_t last_insert_id,
                       int64_t rows_affected, uint64_t elapsed_ns)
{
    struct json_sink *s = of(sink);
    struct json *j = &s->json;

    if (s->open) entry_drop(s);
    if (rows_affected > 0) s->rows += (uint64_t)rows_affected;
    entry_begin(s);
    if (last_insert_id != 0) {
        json_key(j, "last_insert_id");
        json_put_int(j->out, last_insert_id);
    }
    if (rows_affected != 0) {
        json_key(j, "rows_affected");
        json_put_int(j->out, rows_affected);
    }
    if (s->timings && elapsed_ns > 0) {
        json_key(j, "time");
        json_put_seconds(j->out, elapsed_ns);
    }
    if (s->associative) {
        json_key(j, "rows");
        buf_append(j->out, "null", 4);
    }
    json_close(j, '}');
}

static void on_failed(struct row_sink *sink, bool read_side, const char *text, size_t len)
{
    struct json_sink *s = of(sink);

    if (s->dropped) { /* it has its error already */
        s->dropped = false;
        return;
    }
    if (s->open) entry_drop(s);
    write_error(s, read_side, text, len);
    (void)grown(s);
}

static void on_request_failed(struct row_sink *sink, const char *text, size_t len)
{
    struct json_sink *s = of(sink);

    s->request_failed = true;
    buf_clear(&s->error);
    buf_append(&s->error, text, len);
}

static bool on_room_asked(struct row_sink *sink, void (*on_room)(void *arg), void *arg)
{
    struct json_sink *s = of(sink);

    return !s->room || s->room(s, on_room, arg);
}

/* --- the envelope --- */

static void begin(struct json_sink *s)
{
    s->json.empty = true;
    s->json.depth = 0;
    json_open(&s->json, '{');
    json_key(&s->json, "results");
    json_open(&s->json, '[');
}

void json_sink_init(struct json_sink *s, const struct params *p)
{
    static const struct row_sink_ops ops = {
        on_columns,        on_row,        on_rows_end, on_written, on_failed,
        on_request_failed, on_room_asked,
    };

    *s = (struct json_sink){.sink.ops = &ops};
    buf_init(&s->body, BODY_MAX);
    buf_init(&s->error, 0);
    arena_init(&s->arena, 0);
    json_init(&s->json, &s->body, params_has(p, PARAM_pretty));
    s->timings = params_has(p, PARAM_timings);
    s->associative = params_has(p, PARAM_associative);
    s->blob_array = params_has(p, PARAM_blob_array);
    begin(s);
}

void json_sink_fini(struct json_sink *s)
{
    buf_fini(&s->body);
    buf_fini(&s->error);
    arena_fini(&s->arena);
}

enum err json_sink_finish(struct json_sink *s, const struct json_envelope *e,
                          struct why *why)
{
    struct json *j = &s->json;
    const char *error = e->error;
    size_t error_len = error ? strlen(error) : 0;

    if (s->request_failed) {
        error = (const char *)s->error.data;
        error_len = s->error.len;
    }
    if (s->open) entry_drop(s); /* cut off by a failure of the whole */
    if (s->partial && (error || s->broken || s->infinite))
        return why_set(why, ERR_CANCELLED, "cannot be completed");
    if (s->over && !error) return why_set(why, ERR_TOO_BIG, "%s", JSON_SINK_OVER);
    if (error) {
        if (s->over) s->body.error = ERR_OK;
        buf_truncate(&s->body, 0);
        s->infinite = 0;
        begin(s);
    }
    if (s->infinite)
        return why_set(why, ERR_UNSUPPORTED, "unsupported value: %sInf",
                       s->infinite > 0 ? "+" : "-");
    json_close(j, ']');
    if (error_len > 0) {
        json_key(j, "error");
        json_put_string(j->out, error, error_len);
    }
    if (s->timings && e->elapsed_ns > 0) {
        json_key(j, "time");
        json_put_seconds(j->out, e->elapsed_ns);
    }
    if (e->sequence_number > 0) {
        json_key(j, "sequence_number");
        json_put_uint(j->out, e->sequence_number);
    }
    if (e->raft_index > 0) {
        json_key(j, "raft_index");
        json_put_uint(j->out, e->raft_index);
    }
    json_close(j, '}');
    if (buf_error(&s->error) || arena_failed(&s->arena) ||
        buf_error(&s->body) == ERR_NOMEM)
        return why_set(why, ERR_NOMEM, "out of memory");
    if (buf_error(&s->body)) return why_set(why, ERR_TOO_BIG, "response too large");
    return ERR_OK;
}
