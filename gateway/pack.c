/* SPDX-License-Identifier: MIT */
/*
 * By the field numbers of command.proto:
 *
 *     ExecuteRequest  1 Statement...
 *     Statement       1 sql   2 Parameter...
 *     Parameter       1 Value   2 name, unless empty
 *     Value           1 integer, zigzag | 2 real, fixed64 | 3 text | 4 blob | none: NULL
 */
#include "gateway/pack.h"

#include <string.h>

#include "core/base/bytes.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2 }; /* wire types */

#define TAG(field, wire) ((uint8_t)((field) << 3 | (wire)))

static size_t varint_size(uint64_t v)
{
    return (size_t)(63 - __builtin_clzll(v | 1)) / 7 + 1;
}

static uint8_t *put_varint(uint8_t *to, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) *to++ = (uint8_t)(v | 0x80);
    *to++ = (uint8_t)v;
    return to;
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

/* A field of n bytes, its tag and length included. */
static size_t bytes_size(size_t n)
{
    return 1 + varint_size(n) + n;
}

static uint8_t *put_bytes(uint8_t *to, uint8_t tag, const void *data, size_t n)
{
    *to++ = tag;
    to = put_varint(to, n);
    if (n > 0) memcpy(to, data, n);
    return to + n;
}

static size_t value_size(const Rqlite__Value *v)
{
    switch (v->kind_case) {
    case RQLITE__VALUE__KIND_INTEGER: return 1 + varint_size(zigzag(v->integer));
    case RQLITE__VALUE__KIND_REAL: return 1 + 8;
    case RQLITE__VALUE__KIND_TEXT: return bytes_size(v->text.len);
    case RQLITE__VALUE__KIND_BLOB: return bytes_size(v->blob.len);
    default: return 0;
    }
}

static uint8_t *put_value(uint8_t *to, const Rqlite__Value *v)
{
    uint64_t bits;

    switch (v->kind_case) {
    case RQLITE__VALUE__KIND_INTEGER:
        *to++ = TAG(1, VARINT);
        return put_varint(to, zigzag(v->integer));
    case RQLITE__VALUE__KIND_REAL:
        *to++ = TAG(2, FIXED64);
        memcpy(&bits, &v->real, sizeof bits);
        put_le64(to, bits);
        return to + 8;
    case RQLITE__VALUE__KIND_TEXT:
        return put_bytes(to, TAG(3, BYTES), v->text.data, v->text.len);
    case RQLITE__VALUE__KIND_BLOB:
        return put_bytes(to, TAG(4, BYTES), v->blob.data, v->blob.len);
    default: return to;
    }
}

static size_t parameter_size(const Rqlite__Parameter *p)
{
    size_t n = strlen(p->name);

    return bytes_size(value_size(p->value)) + (n > 0 ? bytes_size(n) : 0);
}

static uint8_t *put_parameter(uint8_t *to, const Rqlite__Parameter *p)
{
    size_t n = strlen(p->name);

    *to++ = TAG(1, BYTES);
    to = put_varint(to, value_size(p->value));
    to = put_value(to, p->value);
    return n > 0 ? put_bytes(to, TAG(2, BYTES), p->name, n) : to;
}

static size_t statement_size(const Rqlite__Statement *s)
{
    size_t n = strlen(s->sql), size = n > 0 ? bytes_size(n) : 0;

    for (size_t i = 0; i < s->n_parameters; i++)
        size += bytes_size(parameter_size(s->parameters[i]));
    return size;
}

size_t pack_statements_size(Rqlite__Statement *const *list, size_t n)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++) size += bytes_size(statement_size(list[i]));
    return size;
}

uint8_t *pack_statements(uint8_t *to, Rqlite__Statement *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const Rqlite__Statement *s = list[i];
        size_t sql_len = strlen(s->sql);

        *to++ = TAG(1, BYTES);
        to = put_varint(to, statement_size(s));
        if (sql_len > 0) to = put_bytes(to, TAG(1, BYTES), s->sql, sql_len);
        for (size_t j = 0; j < s->n_parameters; j++) {
            *to++ = TAG(2, BYTES);
            to = put_varint(to, parameter_size(s->parameters[j]));
            to = put_parameter(to, s->parameters[j]);
        }
    }
    return to;
}

struct blob *pack_execute(const Rqlite__ExecuteRequest *m, size_t spare)
{
    Rqlite__ExecuteRequest rest = *m; /* all but the statements, which come first */
    size_t size = pack_statements_size(m->statements, m->n_statements), cap;
    struct blob *b;

    rest.n_statements = 0;
    rest.statements = NULL;
    size += protobuf_c_message_get_packed_size(&rest.base);
    if (__builtin_add_overflow(size, spare, &cap)) return NULL;
    b = blob_new(cap);
    if (!b) return NULL;
    protobuf_c_message_pack(&rest.base,
                            pack_statements(b->data, m->statements, m->n_statements));
    b->len = (uint32_t)size;
    return b;
}
