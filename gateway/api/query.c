/* SPDX-License-Identifier: MIT */
/* GET and POST /db/query, POST /db/request (HTTP API 8.2, 8.3): a request that may write
 * differs from one that may not in one field and in whom it is given to. */
#include "core/base/metrics.h"
#include "gateway/api/api.h"

static const struct api_endpoint query_endpoint = {API_DATA, "query", API_JSON};
static const struct api_endpoint request_endpoint = {API_DATA, "Request", API_JSON};

static void answer(struct api_call *a)
{
    api_answer_results(a, a->c.query.raft_index);
}

/* NULL: x is answered. */
static struct api_call *prepare(struct http_exchange *x, const struct params *p,
                                const struct api_endpoint *endpoint,
                                const struct json_statements *statements)
{
    Rqlite__QueryRequest *m = arena_alloc(&x->arena, sizeof *m);
    struct api_call *a;

    if (!m) {
        http_respond_text(x, 500, "out of memory");
        return NULL;
    }
    *m = (Rqlite__QueryRequest)RQLITE__QUERY_REQUEST__INIT;
    m->statements = statements->list;
    m->n_statements = statements->n;
    m->transaction = params_has(p, PARAM_transaction);
    m->noparse = params_has(p, PARAM_noparse);
    m->qualify_columns = params_has(p, PARAM_qualify_columns);
    m->level = p->level;
    m->freshness_ns = p->freshness_ns;
    m->freshness_strict = params_has(p, PARAM_freshness_strict);
    m->linearizable_timeout_ns = p->linearizable_timeout_ns;
    m->db_timeout_ns = p->db_timeout_ns > 0 ? p->db_timeout_ns : 0;

    a = api_call_new(x, p, endpoint, answer);
    if (!a) return NULL;
    a->c.query.request = m;
    a->c.query.arena = &x->arena;
    a->c.query.sink = api_call_sink(a);
    a->sql = arena_dup(&x->arena, statements, sizeof *statements);
    return a;
}

void api_query(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    struct json_statements statements = {0};
    struct api_call *a;

    if (x->request.method == HTTP_GET) {
        struct param_text q = params_text(p, PARAM_q);
        struct why why;

        if (q.n > 0 && json_statement_of_text(&statements, (char *)(uintptr_t)q.s, q.n,
                                              &x->arena, &why)) {
            http_respond_text(x, 500, why.text);
            return;
        }
    } else {
        if (!api_read_statements(x, p, &query_endpoint, true, &statements)) return;
        if (statements.received == 0) {
            api_refuse(x, p, &query_endpoint, 400, "no statements");
            return;
        }
    }
    metrics_add(api_metrics(x), METRIC_http_query_stmts_rx, (int64_t)statements.received);
    if (api_disallowed(x, p, &query_endpoint, &statements)) return;
    a = prepare(x, p, &query_endpoint, &statements);
    if (a) b->ops->query(b, &a->c.query);
}

void api_request(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    struct json_statements statements;
    struct api_call *a;

    if (!api_read_statements(x, p, &request_endpoint, false, &statements)) return;
    if (statements.received == 0) {
        api_refuse(x, p, &request_endpoint, 400, "no statements");
        return;
    }
    metrics_add(api_metrics(x), METRIC_http_request_stmts_rx,
                (int64_t)statements.received);
    if (api_disallowed(x, p, &request_endpoint, &statements)) return;
    a = prepare(x, p, &request_endpoint, &statements);
    if (!a) return;
    a->c.query.request->rows = true;
    b->ops->request(b, &a->c.query);
}
