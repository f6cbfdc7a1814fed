/* SPDX-License-Identifier: MIT */
#include "clients/c/internal.h"
#include "core/base/pb.h"

enum { REQUEST_MAX = 256 << 20, NS_PER_MS = 1000000 }; /* core/net takes no more */

static int64_t ns_of(int64_t ms)
{
    int64_t ns;

    if (ms <= 0) return 0;
    return __builtin_mul_overflow(ms, NS_PER_MS, &ns) ? INT64_MAX : ns;
}

static void pack_value(Rqlite__Value *out, const struct rqlite_value *v)
{
    /* protobuf-c's data are not const; it only reads them. */
    ProtobufCBinaryData bytes = {.len = v->len, .data = (uint8_t *)(uintptr_t)v->data};

    switch (v->type) {
    case RQLITE_NULL: return;
    case RQLITE_INTEGER:
        out->kind_case = RQLITE__VALUE__KIND_INTEGER;
        out->integer = v->integer;
        return;
    case RQLITE_REAL:
        out->kind_case = RQLITE__VALUE__KIND_REAL;
        out->real = v->real;
        return;
    case RQLITE_TEXT:
        out->kind_case = RQLITE__VALUE__KIND_TEXT;
        out->text = bytes;
        return;
    case RQLITE_BLOB:
        out->kind_case = RQLITE__VALUE__KIND_BLOB;
        out->blob = bytes;
        return;
    }
}

/* n messages of a type and the pointers to them that protobuf-c wants. */
static void *messages(struct arena *a, size_t n, size_t size, void *pointers_out)
{
    char *all = arena_calloc(a, n, size);
    void **pointers = arena_calloc(a, n, sizeof *pointers);

    for (size_t i = 0; all && pointers && i < n; i++) pointers[i] = all + i * size;
    memcpy(pointers_out, &pointers, sizeof pointers);
    return pointers ? all : NULL;
}

static void pack_statement(Rqlite__Statement *out, const struct rqlite_statement *s,
                           struct arena *a)
{
    Rqlite__Parameter *params;
    Rqlite__Value *values, **value_pointers;

    rqlite__statement__init(out);
    out->sql = (char *)(uintptr_t)s->sql;
    if (s->n_params == 0) return;
    params = messages(a, s->n_params, sizeof *params, &out->parameters);
    values = messages(a, s->n_params, sizeof *values, &value_pointers);
    if (params == NULL || values == NULL) return; /* the arena remembers */
    out->n_parameters = s->n_params;
    for (size_t i = 0; i < s->n_params; i++) {
        rqlite__parameter__init(&params[i]);
        rqlite__value__init(&values[i]);
        params[i].value = &values[i];
        if (s->params[i].name) params[i].name = (char *)(uintptr_t)s->params[i].name;
        pack_value(&values[i], &s->params[i].value);
    }
}

static enum rqlite_code check(const struct rqlite_request *r, struct rqlite_error *error)
{
    if (r == NULL || r->n_statements == 0 || r->statements == NULL)
        return error_set(error, RQLITE_INVALID, "a request without statements");
    if (r->level < RQLITE_WEAK || r->level > RQLITE_AUTO)
        return error_set(error, RQLITE_INVALID, "no such level: %d", (int)r->level);
    for (size_t i = 0; i < r->n_statements; i++) {
        const struct rqlite_statement *s = &r->statements[i];

        if (s->sql == NULL || s->sql[0] == '\0')
            return error_set(error, RQLITE_INVALID, "statement %zu is empty", i);
        if (s->n_params > 0 && s->params == NULL)
            return error_set(error, RQLITE_INVALID, "statement %zu lacks its parameters",
                             i);
        for (size_t k = 0; k < s->n_params; k++) {
            const struct rqlite_value *v = &s->params[k].value;
            bool bytes = v->type == RQLITE_TEXT || v->type == RQLITE_BLOB;

            if (v->type < RQLITE_NULL || v->type > RQLITE_BLOB ||
                (bytes && v->data == NULL && v->len > 0))
                return error_set(error, RQLITE_INVALID,
                                 "statement %zu, parameter %zu: no such value", i, k);
        }
    }
    return RQLITE_OK;
}

static enum rqlite_code pack(struct blob **out, const ProtobufCMessage *m,
                             struct rqlite_error *error)
{
    size_t len = protobuf_c_message_get_packed_size(m);

    if (len > REQUEST_MAX)
        return error_set(error, RQLITE_TOO_BIG,
                         "request of %zu bytes is over the limit of %d", len,
                         REQUEST_MAX);
    *out = pb_pack(m, 0);
    if (*out == NULL) return error_set(error, RQLITE_NOMEM, "out of memory");
    return RQLITE_OK;
}

static enum rqlite_code pack_execute(struct blob **out, const struct rqlite_request *r,
                                     Rqlite__Statement **statements,
                                     struct rqlite_error *error)
{
    Rqlite__ExecuteRequest m = RQLITE__EXECUTE_REQUEST__INIT;

    m.statements = statements;
    m.n_statements = r->n_statements;
    m.transaction = r->transaction;
    m.rows = true; /* reads between the writes give theirs */
    m.db_timeout_ns = ns_of(r->db_timeout_ms);
    return pack(out, &m.base, error);
}

static Rqlite__Level level_of(enum rqlite_level level)
{
    switch (level) {
    case RQLITE_WEAK: break;
    case RQLITE_NONE: return RQLITE__LEVEL__NONE;
    case RQLITE_LINEARIZABLE: return RQLITE__LEVEL__LINEARIZABLE;
    case RQLITE_STRONG: return RQLITE__LEVEL__STRONG;
    case RQLITE_AUTO: return RQLITE__LEVEL__AUTO;
    }
    return RQLITE__LEVEL__WEAK;
}

static enum rqlite_code pack_query(struct blob **out, const struct rqlite_request *r,
                                   Rqlite__Statement **statements,
                                   struct rqlite_error *error)
{
    Rqlite__QueryRequest m = RQLITE__QUERY_REQUEST__INIT;

    m.statements = statements;
    m.n_statements = r->n_statements;
    m.transaction = r->transaction;
    m.level = level_of(r->level);
    m.freshness_ns = ns_of(r->freshness_ms);
    m.freshness_strict = r->freshness_strict;
    m.linearizable_timeout_ns = ns_of(r->linearizable_timeout_ms);
    m.db_timeout_ns = ns_of(r->db_timeout_ms);
    return pack(out, &m.base, error);
}

enum rqlite_code request_pack(struct blob **out, enum call_kind kind,
                              const struct rqlite_request *r, struct rqlite_error *error)
{
    Rqlite__Statement *statements, **pointers;
    enum rqlite_code code = check(r, error);
    struct arena a;

    if (code) return code;
    arena_init(&a, 0);
    statements = messages(&a, r->n_statements, sizeof *statements, &pointers);
    for (size_t i = 0; statements && i < r->n_statements; i++)
        pack_statement(&statements[i], &r->statements[i], &a);
    if (arena_failed(&a))
        code = error_set(error, RQLITE_NOMEM, "out of memory for a request");
    else if (kind == CALL_EXECUTE)
        code = pack_execute(out, r, pointers, error);
    else
        code = pack_query(out, r, pointers, error);
    arena_fini(&a);
    return code;
}

enum rqlite_code request_pack_script(struct blob **out, const char *sql, size_t len,
                                     struct rqlite_error *error)
{
    Rqlite__ScriptRequest m = RQLITE__SCRIPT_REQUEST__INIT;

    if (sql == NULL || len == 0)
        return error_set(error, RQLITE_INVALID, "the SQL text is empty");
    m.sql.data = (uint8_t *)(uintptr_t)sql;
    m.sql.len = len;
    return pack(out, &m.base, error);
}
