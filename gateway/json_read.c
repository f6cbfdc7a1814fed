/* SPDX-License-Identifier: MIT */
#include "gateway/json_read.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/base/map.h"
#include "core/base/rand.h"
#include "core/base/utf8.h"

enum { MEMBERS_FEW = 16 }; /* up to here duplicate names are looked for one by one */

struct text {
    char *s; /* n bytes, then a NUL */
    size_t n;
};

struct pointers { /* grows in the arena */
    void **list;
    size_t n, cap;
};

struct reader_state {
    char *p, *end;
    struct arena *arena;
    struct why *why;
    struct pointers statements;
    struct pointers parameters; /* of the statement being read */
};

enum token {
    END,
    OPEN_ARRAY,
    CLOSE_ARRAY,
    OPEN_OBJECT,
    STRING,
    NUMBER,
    TRUE,
    FALSE,
    NUL,
    OTHER
};

static enum err not_json(struct reader_state *r)
{
    return why_set(r->why, ERR_INVALID, "invalid JSON body");
}

static enum err not_request(struct reader_state *r)
{
    return why_set(r->why, ERR_INVALID, "invalid request");
}

static enum err out_of_memory(struct reader_state *r)
{
    return why_set(r->why, ERR_NOMEM, "out of memory");
}

static enum err unsupported(struct reader_state *r, const char *type)
{
    return why_set(r->why, ERR_INVALID, "unsupported type %s", type);
}

static enum err push(struct reader_state *r, struct pointers *to, void *item)
{
    if (to->n == to->cap) {
        size_t cap = to->cap ? to->cap * 2 : 16;
        void **list = arena_alloc(r->arena, cap * sizeof *list);

        if (!list) return out_of_memory(r);
        if (to->n > 0) memcpy(list, to->list, to->n * sizeof *list);
        to->list = list;
        to->cap = cap;
    }
    to->list[to->n++] = item;
    return ERR_OK;
}

static void skip_space(struct reader_state *r)
{
    while (r->p < r->end &&
           (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
}

/* What begins at the next byte that is no white space; nothing is taken. */
static enum token peek(struct reader_state *r)
{
    skip_space(r);
    if (r->p == r->end) return END;
    switch (*r->p) {
    case '[': return OPEN_ARRAY;
    case ']': return CLOSE_ARRAY;
    case '{': return OPEN_OBJECT;
    case '"': return STRING;
    case 't': return TRUE;
    case 'f': return FALSE;
    case 'n': return NUL;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': return NUMBER;
    default: return OTHER;
    }
}

/* Take c, or say that this is no JSON. */
static enum err take(struct reader_state *r, char c)
{
    skip_space(r);
    if (r->p == r->end || *r->p != c) return not_json(r);
    r->p++;
    return ERR_OK;
}

/* Behind an element: true if another follows, false at the closing bracket. */
static enum err take_comma(struct reader_state *r, char closing, bool *more)
{
    skip_space(r);
    if (r->p == r->end || (*r->p != ',' && *r->p != closing)) return not_json(r);
    *more = *r->p++ == ',';
    return ERR_OK;
}

/* --- strings --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The four digits at p, -1 if there are none. */
static long hex4(const char *p, const char *end)
{
    long v = 0;

    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) return -1;
        v = v << 4 | digit;
    }
    return v;
}

static char *put_utf8(char *to, long c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* Decode the escape at *from (behind its backslash) to *to; false if it is none.  Never
 * longer than it was. */
static bool unescape(char **from, const char *end, char **to)
{
    static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *known;
    long c, low;

    if (*from == end) return false;
    known = **from ? strchr(plain, **from) : NULL;
    if (known) {
        *(*to)++ = meant[known - plain];
        *from += 1;
        return true;
    }
    if (**from != 'u') return false;
    c = hex4(*from + 1, end);
    if (c < 0) return false;
    *from += 5;
    if (c >= 0xd800 && c <= 0xdbff && end - *from >= 6 && (*from)[0] == '\\' &&
        (*from)[1] == 'u') {
        low = hex4(*from + 2, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *to = put_utf8(*to, 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00));
            *from += 6;
            return true;
        }
    }
    *to = put_utf8(*to, c >= 0xd800 && c <= 0xdfff ? 0xfffd : c);
    return true;
}

/* The closing quote of a string that goes on at p; end if there is none. */
static const char *closing_quote(const char *p, const char *end)
{
    for (; p < end && *p != '"'; p++)
        if (*p == '\\' && p + 1 < end) p++;
    return p;
}

/*
 * Take the string at r->p.  It is decoded where it stands; only where bytes that are not
 * UTF-8 become U+FFFD, which is longer, may it have to move into the arena.
 */
static enum err take_string(struct reader_state *r, struct text *out)
{
    char *from = r->p + 1, *end = r->end, *start = from, *to;
    bool moved = false;

    from = to =
        (char *)(uintptr_t)bytes_plain_end((uint8_t *)from, (uint8_t *)end, "\"\\", 2);
    for (;;) {
        if (from == end || (unsigned char)*from < 0x20) return not_json(r);
        if (*from == '"') break;
        if (*from == '\\') {
            from++;
            if (!unescape(&from, end, &to)) return not_json(r);
        } else if ((unsigned char)*from >= 0x80) {
            size_t n = utf8_len((uint8_t *)from, (uint8_t *)end);

            if (n == 0 && !moved && from + 1 - to < 3) {
                size_t done = (size_t)(to - start);
                size_t left = (size_t)(closing_quote(from, end) - from);
                char *roomy = arena_alloc(r->arena, done + 3 * left + 1);

                if (!roomy) return out_of_memory(r);
                memcpy(roomy, start, done);
                start = roomy;
                to = roomy + done;
                moved = true;
            }
            if (n == 0) {
                to = put_utf8(to, 0xfffd);
                from++;
            } else {
                memmove(to, from, n);
                to += n;
                from += n;
            }
        } else {
            const uint8_t *stop =
                bytes_plain_end((uint8_t *)from, (uint8_t *)end, "\"\\", 2);
            size_t n = (size_t)((const char *)stop - from);

            memmove(to, from, n);
            to += n;
            from += n;
        }
    }
    *to = '\0'; /* over the quote at the latest */
    r->p = from + 1;
    *out = (struct text){start, (size_t)(to - start)};
    return ERR_OK;
}

/* --- numbers and literals --- */

static bool is_digit(const char *p, const char *end)
{
    return p < end && *p >= '0' && *p <= '9';
}

/* Behind the number or literal: does something stand that can follow one?  At the end of
 * the body nothing can but at the top level, where it does not matter what the value was.
 */
static bool is_delimited(const char *p, const char *end)
{
    return p < end && strchr(" \n\r\t,]}", *p) && *p;
}

struct number {
    const char *s; /* as written */
    size_t n;
    bool whole; /* neither fraction nor exponent */
};

static enum err take_number(struct reader_state *r, struct number *out)
{
    const char *p = r->p, *end = r->end;

    *out = (struct number){p, 0, true};
    if (*p == '-') p++;
    if (!is_digit(p, end)) return not_json(r);
    if (*p == '0')
        p++;
    else
        while (is_digit(p, end)) p++;
    if (p < end && *p == '.') {
        out->whole = false;
        if (!is_digit(++p, end)) return not_json(r);
        while (is_digit(p, end)) p++;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        out->whole = false;
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        if (!is_digit(p, end)) return not_json(r);
        while (is_digit(p, end)) p++;
    }
    if (!is_delimited(p, end)) return not_json(r);
    out->n = (size_t)(p - out->s);
    r->p += out->n;
    return ERR_OK;
}

static enum err take_literal(struct reader_state *r, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0) return not_json(r);
    if (!is_delimited(r->p + n, r->end)) return not_json(r);
    r->p += n;
    return ERR_OK;
}

/* Its value, if it fits. */
static bool number_as_int(const struct number *n, int64_t *v)
{
    bool negative = n->s[0] == '-';
    uint64_t sum = 0, most = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;

    if (!n->whole || n->n > 20) return false;
    for (size_t i = negative; i < n->n; i++) {
        uint64_t digit = (uint64_t)(n->s[i] - '0');

        if (sum > (most - digit) / 10) return false;
        sum = sum * 10 + digit;
    }
    *v = negative ? (int64_t)-sum : (int64_t)sum;
    return true;
}

/*
 * Digits, a point somewhere, no exponent, 15 digits at most: the digits as a number and
 * the power of ten are exact, so their quotient is the nearest double.
 */
static bool short_real(const struct number *n, double *v)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    bool negative = n->s[0] == '-';
    const char *p = n->s + negative, *end = n->s + n->n, *point = NULL;
    uint64_t digits = 0;

    if (end - p > 16) return false;
    for (; p < end; p++) {
        if (*p == '.')
            point = p;
        else if (*p >= '0' && *p <= '9')
            digits = digits * 10 + (uint64_t)(*p - '0');
        else
            return false;
    }
    if (!point) return false;
    *v = (double)digits / powers[end - point - 1];
    if (negative) *v = -*v;
    return true;
}

/* The nearest double; false if it is too large for one.  A delimiter follows the literal,
 * so strtod() stops there. */
static bool number_as_real(const struct number *n, double *v)
{
    if (short_real(n, v)) return true;
    errno = 0;
    *v = strtod(n->s, NULL);
    return !(errno == ERANGE &&
             (*v > 1 || *v < -1)); /* an underflow is 0, or nearly so */
}

/* --- parameters --- */

struct parameter { /* the two messages of one parameter, in one allocation */
    Rqlite__Parameter parameter;
    Rqlite__Value value;
};

static struct parameter *parameter_new(struct reader_state *r)
{
    struct parameter *p = arena_alloc(r->arena, sizeof *p);

    if (!p) return NULL;
    p->parameter = (Rqlite__Parameter)RQLITE__PARAMETER__INIT;
    p->value = (Rqlite__Value)RQLITE__VALUE__INIT;
    p->parameter.value = &p->value;
    return p;
}

static void set_bytes(Rqlite__Value *v, Rqlite__Value__KindCase kind, char *s, size_t n)
{
    v->kind_case = kind;
    /* text and blob share their place in the union */
    v->text = (ProtobufCBinaryData){.len = n, .data = (uint8_t *)s};
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* X'0102', decoded in place; false if t has not that form (then it is unchanged). */
static bool decode_blob(struct text *t)
{
    char *p = t->s, *end = t->s + t->n, *to = t->s;

    while (p < end && is_blank(*p)) p++;
    while (p < end && is_blank(end[-1])) end--;
    if (end - p < 3 || (*p != 'x' && *p != 'X') || p[1] != '\'' || end[-1] != '\'')
        return false;
    p += 2;
    end--;
    if ((end - p) % 2 != 0) return false;
    for (const char *q = p; q < end; q++)
        if (hex_digit(*q) < 0) return false;
    for (; p < end; p += 2) *to++ = (char)(hex_digit(p[0]) << 4 | hex_digit(p[1]));
    t->n = (size_t)(to - t->s);
    return true;
}

static enum err take_text_value(struct reader_state *r, Rqlite__Value *v)
{
    struct text t;
    enum err e = take_string(r, &t);

    if (e) return e;
    if (t.n >= 3 && decode_blob(&t))
        set_bytes(v, RQLITE__VALUE__KIND_BLOB, t.s, t.n);
    else
        set_bytes(v, RQLITE__VALUE__KIND_TEXT, t.s, t.n);
    return ERR_OK;
}

static enum err take_number_value(struct reader_state *r, Rqlite__Value *v)
{
    struct number n;
    enum err e = take_number(r, &n);

    if (e) return e;
    if (number_as_int(&n, &v->integer)) {
        v->kind_case = RQLITE__VALUE__KIND_INTEGER;
    } else if (number_as_real(&n, &v->real)) {
        v->kind_case = RQLITE__VALUE__KIND_REAL;
    } else {
        return why_set(r->why, ERR_INVALID, "invalid number %.*s",
                       (int)(n.n < 400 ? n.n : 400), n.s);
    }
    return ERR_OK;
}

/* One element of an array that stands for a blob. */
static enum err take_byte(struct reader_state *r, char *out)
{
    struct number n;
    struct text t;
    char literal[64];
    int64_t v;
    enum err e;

    switch (peek(r)) {
    case NUMBER:
        e = take_number(r, &n);
        if (e) return e;
        if (number_as_int(&n, &v) && v >= 0 && v <= 255) {
            *out = (char)v;
            return ERR_OK;
        }
        if (n.n >= sizeof literal) n.n = sizeof literal - 1;
        memcpy(literal, n.s, n.n);
        literal[n.n] = '\0';
        return unsupported(r, literal);
    case STRING: e = take_string(r, &t); return e ? e : unsupported(r, "string");
    case TRUE: e = take_literal(r, "true"); return e ? e : unsupported(r, "bool");
    case FALSE: e = take_literal(r, "false"); return e ? e : unsupported(r, "bool");
    case NUL: e = take_literal(r, "null"); return e ? e : unsupported(r, "null");
    case OPEN_ARRAY: return unsupported(r, "array");
    case OPEN_OBJECT: return unsupported(r, "object");
    default: return not_json(r);
    }
}

/* The bytes are gathered over the array itself: each took two characters at least. */
static enum err take_blob_array(struct reader_state *r, Rqlite__Value *v)
{
    char *start = r->p, *to = start;
    bool more = true;
    enum err e;

    r->p++;
    if (peek(r) == CLOSE_ARRAY) {
        r->p++;
        more = false;
    }
    while (more) {
        char byte = 0;

        e = take_byte(r, &byte);
        if (!e) e = take_comma(r, ']', &more);
        if (e) return e;
        *to++ = byte;
    }
    set_bytes(v, RQLITE__VALUE__KIND_BLOB, start, (size_t)(to - start));
    return ERR_OK;
}

/* Anything but an object. */
static enum err take_value(struct reader_state *r, Rqlite__Value *v)
{
    switch (peek(r)) {
    case STRING: return take_text_value(r, v);
    case NUMBER: return take_number_value(r, v);
    case TRUE:
        v->kind_case = RQLITE__VALUE__KIND_INTEGER;
        v->integer = 1;
        return take_literal(r, "true");
    case FALSE:
        v->kind_case = RQLITE__VALUE__KIND_INTEGER;
        v->integer = 0;
        return take_literal(r, "false");
    case NUL: return take_literal(r, "null"); /* no kind set: NULL */
    case OPEN_ARRAY: return take_blob_array(r, v);
    case OPEN_OBJECT: return unsupported(r, "object");
    default: return not_json(r);
    }
}

/* The last of members with one name wins, at the place of the first.  names is NULL where
 * few are compared one by one. */
static enum err drop_duplicate(struct reader_state *r, size_t first, struct map *names)
{
    struct parameter *last = r->parameters.list[r->parameters.n - 1], *same = NULL;
    const char *name = last->parameter.name;

    if (names) {
        same = map_get(names, name, strlen(name));
        if (!same && map_put(names, name, strlen(name), last, NULL))
            return out_of_memory(r);
    } else {
        for (size_t i = first; i + 1 < r->parameters.n && !same; i++) {
            struct parameter *p = r->parameters.list[i];
            if (strcmp(p->parameter.name, name) == 0) same = p;
        }
    }
    if (!same) return ERR_OK;
    same->value = last->value;
    r->parameters.n--;
    return ERR_OK;
}

static enum err take_member(struct reader_state *r)
{
    struct parameter *p = parameter_new(r);
    struct text name;
    enum err e;

    if (!p) return out_of_memory(r);
    if (peek(r) != STRING) return not_json(r);
    e = take_string(r, &name);
    if (!e) e = take(r, ':');
    if (!e) e = take_value(r, &p->value);
    if (!e) e = push(r, &r->parameters, p);
    p->parameter.name = e ? NULL : name.s;
    return e;
}

/* An object: named parameters, in the order of the document. */
static enum err take_members(struct reader_state *r)
{
    size_t first = r->parameters.n;
    struct map names;
    bool more = true, mapped = false;
    enum err e = ERR_OK;

    r->p++;
    skip_space(r);
    if (r->p < r->end && *r->p == '}') {
        r->p++;
        return ERR_OK;
    }
    while (more && !e) {
        e = take_member(r);
        if (!e && !mapped && r->parameters.n - first > MEMBERS_FEW) {
            map_init(&names, rand_entropy());
            mapped = true;
            for (size_t i = first; i + 1 < r->parameters.n && !e; i++) {
                struct parameter *p = r->parameters.list[i];
                const char *name = p->parameter.name;
                if (map_put(&names, name, strlen(name), p, NULL)) e = out_of_memory(r);
            }
        }
        if (!e) e = drop_duplicate(r, first, mapped ? &names : NULL);
        if (!e) e = take_comma(r, '}', &more);
    }
    if (mapped) map_fini(&names);
    return e;
}

static enum err take_parameter(struct reader_state *r)
{
    struct parameter *p;
    enum err e;

    if (peek(r) == OPEN_OBJECT) return take_members(r);
    p = parameter_new(r);
    if (!p) return out_of_memory(r);
    e = take_value(r, &p->value);
    return e ? e : push(r, &r->parameters, p);
}

/* --- statements --- */

/* SQL text ends at an embedded NUL (5.3); what is empty only because of that is blank,
 * not skipped. */
static enum err add_statement(struct reader_state *r, struct text sql)
{
    static char blank[] = " ";
    Rqlite__Statement *s;

    if (sql.n == 0) return ERR_OK;
    s = arena_alloc(r->arena, sizeof *s);
    if (!s) return out_of_memory(r);
    *s = (Rqlite__Statement)RQLITE__STATEMENT__INIT;
    s->sql = sql.s[0] ? sql.s : blank;
    s->n_parameters = r->parameters.n;
    if (s->n_parameters > 0) {
        s->parameters = arena_dup(r->arena, r->parameters.list,
                                  s->n_parameters * sizeof *s->parameters);
        if (!s->parameters) return out_of_memory(r);
    }
    return push(r, &r->statements, s);
}

/* A value that cannot stand where it stands: it is still read to its end, as a fault in
 * it comes first. */
static enum err refuse(struct reader_state *r)
{
    struct number n;
    struct text t;
    enum err e;

    switch (peek(r)) {
    case STRING: e = take_string(r, &t); break;
    case NUMBER: e = take_number(r, &n); break;
    case TRUE: e = take_literal(r, "true"); break;
    case FALSE: e = take_literal(r, "false"); break;
    case NUL: e = take_literal(r, "null"); break;
    case OPEN_ARRAY:
    case OPEN_OBJECT: e = ERR_OK; break;
    default: return not_json(r);
    }
    return e ? e : not_request(r);
}

/* ["SQL", parameter, ...] */
static enum err take_statement_array(struct reader_state *r)
{
    struct text sql;
    bool more;
    enum err e;

    r->p++;
    if (peek(r) == CLOSE_ARRAY) return not_request(r);
    if (peek(r) != STRING) return refuse(r);
    e = take_string(r, &sql);
    if (!e) e = take_comma(r, ']', &more);
    while (!e && more) {
        e = take_parameter(r);
        if (!e) e = take_comma(r, ']', &more);
    }
    return e ? e : add_statement(r, sql);
}

static enum err take_statement(struct reader_state *r)
{
    struct text sql;
    enum err e;

    r->parameters.n = 0;
    switch (peek(r)) {
    case OPEN_ARRAY: return take_statement_array(r);
    case STRING: e = take_string(r, &sql); return e ? e : add_statement(r, sql);
    default: return refuse(r);
    }
}

/* The top level is no array.  Here a number or literal may be the last thing of the body.
 */
static enum err refuse_top(struct reader_state *r)
{
    char ended[32];
    size_t n = (size_t)(r->end - r->p);

    if (n == 0 || n >= sizeof ended || *r->p == '"') return refuse(r);
    memcpy(ended, r->p, n);
    ended[n] = ' ';
    r->p = ended;
    r->end = ended + n + 1;
    return refuse(r);
}

enum err json_read_statements(struct json_statements *out, char *body, size_t len,
                              struct arena *a, struct why *why)
{
    struct reader_state r = {.p = body, .end = body + len, .arena = a, .why = why};
    bool more = true;
    enum err e = ERR_OK;

    *out = (struct json_statements){0};
    if (len == 0) return not_json(&r);
    if (peek(&r) != OPEN_ARRAY) return refuse_top(&r);
    r.p++;
    if (peek(&r) == CLOSE_ARRAY) return ERR_OK;
    while (more && !e) {
        e = take_statement(&r);
        if (!e) e = take_comma(&r, ']', &more);
        out->received++;
    }
    out->list = (Rqlite__Statement **)r.statements.list;
    out->n = r.statements.n;
    return e;
}

enum err json_statement_of_text(struct json_statements *out, char *sql, size_t len,
                                struct arena *a, struct why *why)
{
    struct reader_state r = {.arena = a, .why = why};
    enum err e = add_statement(&r, (struct text){sql, len});

    *out = (struct json_statements){(Rqlite__Statement **)r.statements.list,
                                    r.statements.n, 1};
    return e;
}

/* --- small objects --- */

static enum err set_field(struct json_field *f, const json_t *v, struct arena *a)
{
    f->text = NULL;
    if (!v) {
        f->kind = JSON_KIND_ABSENT;
    } else if (json_is_string(v)) {
        f->kind = JSON_KIND_TEXT;
        f->text = arena_strdup(a, json_string_value(v));
        if (!f->text) return ERR_NOMEM;
    } else {
        f->kind = json_is_null(v)    ? JSON_KIND_NULL
                  : json_is_true(v)  ? JSON_KIND_TRUE
                  : json_is_false(v) ? JSON_KIND_FALSE
                                     : JSON_KIND_OTHER;
    }
    return ERR_OK;
}

enum err json_read_object(struct json_field *fields, size_t n, size_t *members,
                          const void *body, size_t len, struct arena *a, struct why *why)
{
    json_error_t error;
    json_t *root;
    enum err e = ERR_OK;

    *members = 0;
    if (len == 0) return why_set(why, ERR_INVALID, "unexpected end of JSON input");
    root = json_loadb(body, len, 0, &error);
    if (!root) return why_set(why, ERR_INVALID, "%s", error.text);
    if (!json_is_object(root)) {
        e = why_set(why, ERR_INVALID, "an object is expected");
    } else {
        *members = json_object_size(root);
        for (size_t i = 0; i < n && !e; i++)
            e = set_field(&fields[i], json_object_get(root, fields[i].name), a);
        if (e) why_set(why, e, "out of memory");
    }
    json_decref(root);
    return e;
}
