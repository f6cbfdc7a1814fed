/* SPDX-License-Identifier: MIT */
#include "core/node/command.h"

#include <string.h>

#include "core/base/bytes.h"
#include "core/base/pb.h"

/* Tags of the context fields: number << 3 | wire type 1 (fixed64).  The same numbers in
 * every message that goes into the log, so sealing need not know which one it is. */
enum { TAG_TIME = 14 << 3 | 1, TAG_SEED = 15 << 3 | 1, SEAL_BYTES = 18 };

void command_seal(struct blob *payload, uint64_t time_ns, uint64_t seed)
{
    uint8_t *p = payload->data + payload->len;

    CHECK(payload->cap - payload->len >= SEAL_BYTES);
    p[0] = TAG_TIME;
    put_le64(p + 1, time_ns);
    p[9] = TAG_SEED;
    put_le64(p + 10, seed);
    payload->len += SEAL_BYTES;
}

enum err command_decode(struct command *out, struct arena *a, uint8_t type,
                        const struct blob *payload, struct why *why)
{
    const void *data = payload ? payload->data : NULL;
    size_t len = payload ? payload->len : 0;
    enum err e;

    memset(out, 0, sizeof *out);
    out->type = (enum command_type)type;
    switch (type) {
    case COMMAND_EXECUTE: {
        Rqlite__ExecuteRequest *m = NULL;

        e = pb_unpack(&m, &rqlite__execute_request__descriptor, a, data, len, why);
        if (e) return e;
        out->u.execute = m;
        out->time_ns = m->time_ns;
        out->seed = m->seed;
        return ERR_OK;
    }
    case COMMAND_QUERY: return ERR_OK;
    case COMMAND_SCRIPT: {
        Rqlite__ScriptRequest *m = NULL;

        e = pb_unpack(&m, &rqlite__script_request__descriptor, a, data, len, why);
        if (e) return e;
        out->u.script = m;
        out->time_ns = m->time_ns;
        out->seed = m->seed;
        return ERR_OK;
    }
    case COMMAND_LOAD: {
        Rqlite__LoadChunk *m = NULL;

        e = pb_unpack(&m, &rqlite__load_chunk__descriptor, a, data, len, why);
        if (e) return e;
        out->u.load = m;
        out->time_ns = m->time_ns;
        out->seed = m->seed;
        return ERR_OK;
    }
    default:
        return why_set(
            why, ERR_UNSUPPORTED,
            "the log holds an entry of type %u, which this version does not know", type);
    }
}

static struct db_value value_of(const Rqlite__Value *v)
{
    struct db_value out = {.type = DB_NULL};

    if (v == NULL) return out;
    switch (v->kind_case) {
    case RQLITE__VALUE__KIND_INTEGER:
        out.type = DB_INTEGER;
        out.u.i = v->integer;
        break;
    case RQLITE__VALUE__KIND_REAL:
        out.type = DB_REAL;
        out.u.r = v->real;
        break;
    case RQLITE__VALUE__KIND_TEXT:
        out.type = DB_TEXT;
        out.u.s.p = v->text.data;
        out.u.s.n = v->text.len;
        break;
    case RQLITE__VALUE__KIND_BLOB:
        out.type = DB_BLOB;
        out.u.s.p = v->blob.data;
        out.u.s.n = v->blob.len;
        break;
    default: break;
    }
    return out;
}

const struct db_stmt *command_statements(struct arena *a,
                                         Rqlite__Statement *const *statements, size_t n)
{
    struct db_stmt *out = arena_calloc(a, n ? n : 1, sizeof *out);

    if (out == NULL) return NULL;
    for (size_t i = 0; i < n; i++) {
        const Rqlite__Statement *s = statements[i];
        struct db_param *params = NULL;

        if (s->n_parameters > 0) {
            params = arena_calloc(a, s->n_parameters, sizeof *params);
            if (params == NULL) return NULL;
            for (size_t k = 0; k < s->n_parameters; k++) {
                params[k].name = s->parameters[k]->name;
                params[k].value = value_of(s->parameters[k]->value);
            }
        }
        out[i].sql = s->sql;
        out[i].sql_len = strlen(s->sql);
        out[i].params = params;
        out[i].n_params = s->n_parameters;
    }
    return out;
}

bool command_query(struct db_request *out, struct arena *a, const Rqlite__QueryRequest *q)
{
    memset(out, 0, sizeof *out);
    out->n = q->n_statements;
    out->transaction = q->transaction;
    out->noparse = q->noparse;
    out->rows = q->rows;
    out->qualify_columns = q->qualify_columns;
    out->limited = q->db_timeout_ns > 0;
    out->timeout_ns = out->limited ? (uint64_t)q->db_timeout_ns : 0;
    out->stmts = command_statements(a, q->statements, q->n_statements);
    return out->stmts != NULL;
}
