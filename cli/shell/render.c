/* SPDX-License-Identifier: MIT */
#include "cli/shell/render.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wchar.h>

#include "cli/shell/json.h"

static const char *const MODE_NAMES[RENDER_MODES] = {"column", "csv", "json", "line"};

const char *render_mode_name(enum render_mode mode)
{
    return MODE_NAMES[mode];
}

bool render_mode_find(enum render_mode *out, const char *name)
{
    for (int i = 0; i < RENDER_MODES; i++) {
        if (strcasecmp(name, MODE_NAMES[i]) != 0) continue;
        *out = (enum render_mode)i;
        return true;
    }
    return false;
}

/* --- widths
 * ----------------------------------------------------------------------------------- */

/* Length of the UTF-8 sequence at s, 1 if there is none; its code point goes to *out. */
static size_t decode_utf8(const unsigned char *s, size_t len, wchar_t *out)
{
    size_t n = *s >= 0xf0 && *s < 0xf5   ? 4
               : *s >= 0xe0 && *s < 0xf0 ? 3
               : *s >= 0xc2              ? 2
                                         : 1;
    uint32_t c = n == 4 ? *s & 0x07 : n == 3 ? *s & 0x0f : n == 2 ? *s & 0x1f : *s;

    if (n > len || *s >= 0xf5) n = 1;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            n = 1;
            break;
        }
        c = c << 6 | (s[i] & 0x3f);
    }
    *out = n == 1 && *s >= 0x80 ? 0xfffd : (wchar_t)c;
    return n;
}

size_t render_width(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t width = 0;

    for (size_t i = 0; i < len;) {
        wchar_t c = s[i];
        size_t n = s[i] < 0x80 ? 1 : decode_utf8(s + i, len - i, &c);
        int w = s[i] < 0x80 ? 1 : wcwidth(c);
        width +=
            w < 0
                ? 1
                : (size_t)w; /* what the terminal does with control characters: unknown */
        i += n;
    }
    return width;
}

static void append_spaces(struct buf *out, size_t n)
{
    for (; n > 0; n--) buf_append_u8(out, ' ');
}

/* --- values
 * ----------------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of an object by byte value; free() them.  NULL if there are none (or no
 * memory). */
static const char **sorted_keys(const json_t *object, size_t *n)
{
    json_t *o = (json_t *)(uintptr_t)object; /* jansson's iterators know no const */
    const char **keys;
    size_t i = 0;

    *n = json_object_size(object);
    keys = *n > 0 ? malloc(*n * sizeof(*keys)) : NULL;
    if (!keys) {
        *n = 0;
        return NULL;
    }
    for (void *iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter))
        keys[i++] = json_object_iter_key(iter);
    qsort(keys, *n, sizeof(*keys), compare_keys);
    return keys;
}

static void append_map(struct buf *out, const json_t *object)
{
    size_t n;
    const char **keys = sorted_keys(object, &n);

    buf_append_str(out, "map[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0) buf_append_u8(out, ' ');
        buf_printf(out, "%s:", keys[i]);
        render_value(out, json_object_get(object, keys[i]), "<nil>");
    }
    buf_append_u8(out, ']');
    free(keys);
}

void render_value(struct buf *out, const json_t *value, const char *null_text)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_NULL: buf_append_str(out, null_text); break;
    case JSON_TRUE: buf_append_str(out, "true"); break;
    case JSON_FALSE: buf_append_str(out, "false"); break;
    case JSON_INTEGER:
    case JSON_REAL: json_append_number(out, value); break;
    case JSON_STRING:
        buf_append(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_ARRAY:
        buf_append_u8(out, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i > 0) buf_append_u8(out, ' ');
            render_value(out, json_array_get(value, i), "<nil>");
        }
        buf_append_u8(out, ']');
        break;
    case JSON_OBJECT: append_map(out, value); break;
    }
}

/* --- trees
 * ------------------------------------------------------------------------------------ */

static void append_tree(struct buf *out, const json_t *object, size_t depth)
{
    size_t n;
    const char **keys = sorted_keys(object, &n);

    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(object, keys[i]);
        if (json_is_null(value)) continue;
        append_spaces(out, 2 * depth);
        if (json_is_object(value)) {
            buf_printf(out, "%s:\n", keys[i]);
            append_tree(out, value, depth + 1);
        } else {
            buf_printf(out, "%s: ", keys[i]);
            render_value(out, value, "<nil>");
            buf_append_u8(out, '\n');
        }
    }
    free(keys);
}

void render_tree(struct buf *out, const json_t *object)
{
    append_tree(out, object, 0);
}

/* --- tables
 * ----------------------------------------------------------------------------------- */

struct table {
    struct buf *out;
    const json_t *columns, *values;
    size_t n_columns, n_rows;
    struct buf cell; /* the text of the cell at hand */
};

static const json_t *table_at(const struct table *t, size_t row, size_t column)
{
    return json_array_get(json_array_get(t->values, row), column);
}

static const char *column_name(const struct table *t, size_t column)
{
    const char *name = json_string_value(json_array_get(t->columns, column));
    return name ? name : "";
}

static const struct buf *table_cell(struct table *t, size_t row, size_t column,
                                    const char *null_text)
{
    const json_t *value = table_at(t, row, column);

    buf_clear(&t->cell);
    render_value(&t->cell, value, value ? null_text : "NULL");
    return &t->cell;
}

static size_t cell_width(const struct buf *cell)
{
    return render_width((const char *)cell->data, cell->len);
}

/* Mode column. */

static void append_border(struct table *t, const size_t *widths)
{
    for (size_t c = 0; c < t->n_columns; c++) {
        buf_append_u8(t->out, '+');
        for (size_t i = 0; i < widths[c] + 2; i++) buf_append_u8(t->out, '-');
    }
    buf_append_str(t->out, "+\n");
}

static void append_padded(struct table *t, const void *text, size_t len, size_t width)
{
    buf_append_str(t->out, "| ");
    buf_append(t->out, text, len);
    append_spaces(t->out, width + 1 - render_width(text, len));
}

static void table_column(struct table *t, size_t *widths)
{
    for (size_t c = 0; c < t->n_columns; c++)
        widths[c] = render_width(column_name(t, c), strlen(column_name(t, c)));
    for (size_t r = 0; r < t->n_rows; r++) {
        for (size_t c = 0; c < t->n_columns; c++) {
            size_t width = cell_width(table_cell(t, r, c, "<nil>"));
            if (width > widths[c]) widths[c] = width;
        }
    }

    append_border(t, widths);
    for (size_t c = 0; c < t->n_columns; c++)
        append_padded(t, column_name(t, c), strlen(column_name(t, c)), widths[c]);
    buf_append_str(t->out, "|\n");
    append_border(t, widths);
    for (size_t r = 0; r < t->n_rows; r++) {
        for (size_t c = 0; c < t->n_columns; c++) {
            const struct buf *cell = table_cell(t, r, c, "<nil>");
            append_padded(t, cell->data, cell->len, widths[c]);
        }
        buf_append_str(t->out, "|\n");
        append_border(t, widths);
    }
}

/* Mode csv (RFC 4180, but with \n). */

static void append_csv_field(struct buf *out, const char *text, size_t len)
{
    bool quoted = len > 0 && isspace((unsigned char)*text);

    for (size_t i = 0; i < len && !quoted; i++)
        quoted = text[i] && strchr(",\"\r\n", text[i]);
    if (!quoted) {
        buf_append(out, text, len);
        return;
    }
    buf_append_u8(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"') buf_append_u8(out, '"');
        buf_append_u8(out, (uint8_t)text[i]);
    }
    buf_append_u8(out, '"');
}

static void table_csv(struct table *t)
{
    for (size_t c = 0; c < t->n_columns; c++) {
        if (c > 0) buf_append_u8(t->out, ',');
        append_csv_field(t->out, column_name(t, c), strlen(column_name(t, c)));
    }
    buf_append_u8(t->out, '\n');
    for (size_t r = 0; r < t->n_rows; r++) {
        for (size_t c = 0; c < t->n_columns; c++) {
            const struct buf *cell = table_cell(t, r, c, "NULL");
            if (c > 0) buf_append_u8(t->out, ',');
            append_csv_field(t->out, (const char *)cell->data, cell->len);
        }
        buf_append_u8(t->out, '\n');
    }
}

/* Mode json. */

static void append_json(struct buf *out, const json_t *value, size_t depth)
{
    size_t n = json_array_size(value);

    if (!json_is_array(value) && !json_is_string(value)) {
        render_value(out, value, "null");
    } else if (json_is_string(value)) {
        json_append_string(out, json_string_value(value), json_string_length(value));
    } else if (n == 0) {
        buf_append_str(out, "[]");
    } else {
        for (size_t i = 0; i < n; i++) {
            buf_append_str(out, i == 0 ? "[\n" : ",\n");
            append_spaces(out, 2 * (depth + 1));
            append_json(out, json_array_get(value, i), depth + 1);
        }
        buf_append_u8(out, '\n');
        append_spaces(out, 2 * depth);
        buf_append_u8(out, ']');
    }
}

struct json_column {
    const char *name;
    size_t at;
};

/* By name, and among equal names the later column last. */
static int compare_columns(const void *a, const void *b)
{
    const struct json_column *x = a, *y = b;
    int by_name = strcmp(x->name, y->name);

    return by_name ? by_name : (x->at > y->at) - (x->at < y->at);
}

static void table_json(struct table *t, struct json_column *columns)
{
    size_t n = 0;

    for (size_t c = 0; c < t->n_columns; c++)
        columns[c] = (struct json_column){column_name(t, c), c};
    qsort(columns, t->n_columns, sizeof(*columns), compare_columns);
    for (size_t c = 0; c < t->n_columns; c++) { /* of equal names, the last */
        if (n > 0 && strcmp(columns[n - 1].name, columns[c].name) == 0) n--;
        columns[n++] = columns[c];
    }

    for (size_t r = 0; r < t->n_rows; r++) {
        buf_append_str(t->out, r == 0 ? "[\n  {\n" : ",\n  {\n");
        for (size_t c = 0; c < n; c++) {
            buf_append_str(t->out, c == 0 ? "    " : ",\n    ");
            json_append_string(t->out, columns[c].name, strlen(columns[c].name));
            buf_append_str(t->out, ": ");
            append_json(t->out, table_at(t, r, columns[c].at), 2);
        }
        buf_append_str(t->out, "\n  }");
    }
    buf_append_str(t->out, t->n_rows == 0 ? "[]\n" : "\n]\n");
}

/* Mode line. */

static void table_line(struct table *t)
{
    size_t longest = 0;

    for (size_t c = 0; c < t->n_columns; c++) {
        size_t width = render_width(column_name(t, c), strlen(column_name(t, c)));
        if (width > longest) longest = width;
    }
    for (size_t r = 0; r < t->n_rows; r++) {
        if (r > 0) buf_append_u8(t->out, '\n');
        for (size_t c = 0; c < t->n_columns; c++) {
            const char *name = column_name(t, c);
            const struct buf *cell = table_cell(t, r, c, "NULL");
            append_spaces(t->out, longest - render_width(name, strlen(name)));
            buf_printf(t->out, "%s = ", name);
            buf_append(t->out, cell->data, cell->len);
            buf_append_u8(t->out, '\n');
        }
    }
}

enum err render_table(struct buf *out, enum render_mode mode, const json_t *columns,
                      const json_t *values, struct why *why)
{
    struct table t = {.out = out, .columns = columns, .values = values};
    void *scratch;
    enum err e;

    t.n_columns = json_array_size(columns);
    t.n_rows = json_array_size(values);
    if (t.n_columns == 0) return ERR_OK;
    scratch = calloc(t.n_columns, sizeof(struct json_column));
    if (!scratch) return why_set(why, ERR_NOMEM, "out of memory");
    buf_init(&t.cell, 0);
    switch (mode) {
    case RENDER_CSV: table_csv(&t); break;
    case RENDER_JSON: table_json(&t, scratch); break;
    case RENDER_LINE: table_line(&t); break;
    case RENDER_COLUMN:
    case RENDER_MODES: table_column(&t, scratch); break;
    }
    e = buf_error(out) ? buf_error(out) : buf_error(&t.cell);
    buf_fini(&t.cell);
    free(scratch);
    return e ? why_set(why, e, "out of memory") : ERR_OK;
}
