/* SPDX-License-Identifier: MIT */
/* GET and POST /db/sql (HTTP API 8.4): nothing is rewritten, so it shows the text as it
 * is, or why it is no SQL. */
#include <string.h>

#include "gateway/api/api.h"

static const struct api_endpoint endpoint = {API_OTHER, "sql", API_JSON};

static void answer(struct api_call *a)
{
    const struct call_analyze *c = &a->c.analyze;
    struct buf body;
    struct json j;

    if (c->call.why.code) {
        respond_failed(a->x, a->params, a->endpoint, &c->call);
        return;
    }
    buf_init(&body, 0);
    json_init(&j, &body, params_has(a->params, PARAM_pretty));
    json_open(&j, '{');
    json_key(&j, "results");
    json_open(&j, '[');
    for (size_t i = 0; i < c->n; i++) {
        json_item(&j);
        json_open(&j, '{');
        json_key(&j, "original");
        json_put_cstring(&body, c->sql[i]);
        json_key(&j, c->errors[i][0] ? "error" : "rewritten");
        json_put_cstring(&body, c->errors[i][0] ? c->errors[i] : c->sql[i]);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    if (params_has(a->params, PARAM_timings)) {
        json_key(&j, "time");
        json_put_seconds(&body, api_elapsed_ns(a->x));
    }
    json_close(&j, '}');
    api_respond_json(a->x, API_JSON, &body);
    buf_fini(&body);
}

void api_sql(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    struct json_statements statements;
    const char **sql;
    char(*errors)[256];
    struct api_call *a;

    if (x->request.method == HTTP_GET) {
        struct param_text q = params_text(p, PARAM_q);
        struct why why;

        if (q.n == 0) {
            http_respond_text(x, 400, "query not specified");
            return;
        }
        if (json_statement_of_text(&statements, (char *)(uintptr_t)q.s, q.n, &x->arena,
                                   &why)) {
            http_respond_text(x, 500, why.text);
            return;
        }
    } else {
        if (!api_read_statements(x, p, &endpoint, false, &statements)) return;
        if (statements.received == 0) {
            api_refuse(x, p, &endpoint, 400, "no statements");
            return;
        }
    }
    sql = arena_alloc(&x->arena, statements.n * sizeof *sql);
    errors = arena_calloc(&x->arena, statements.n, sizeof *errors);
    if (!sql || !errors) {
        http_respond_text(x, 500, "out of memory");
        return;
    }
    for (size_t i = 0; i < statements.n; i++) sql[i] = statements.list[i]->sql;
    a = api_call_new(x, p, &endpoint, answer);
    if (!a) return;
    a->c.analyze.sql = sql;
    a->c.analyze.n = statements.n;
    a->c.analyze.errors = errors;
    b->ops->analyze(b, &a->c.analyze);
}
