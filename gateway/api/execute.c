/* SPDX-License-Identifier: MIT */
/* POST /db/execute (HTTP API 8.1). */
#include "core/base/metrics.h"
#include "gateway/api/api.h"
#include "gateway/pack.h"
#include "gateway/queue.h"

static const struct api_endpoint endpoint = {API_DATA, "Execute", API_JSON};

static void answer(struct api_call *a)
{
    api_answer_results(a, a->c.execute.raft_index);
}

void api_execute(struct http_exchange *x, const struct params *p)
{
    Rqlite__ExecuteRequest message = RQLITE__EXECUTE_REQUEST__INIT;
    struct json_statements statements;
    struct call_execute *c;
    struct api_call *a;

    if (params_has(p, PARAM_queue)) {
        queue_request(x, p);
        return;
    }
    if (!api_read_statements(x, p, &endpoint, true, &statements)) return;
    if (statements.received == 0) {
        api_refuse(x, p, &endpoint, 400, "no statements");
        return;
    }
    metrics_add(api_metrics(x), METRIC_http_execute_stmts_rx,
                (int64_t)statements.received);
    if (api_disallowed(x, p, &endpoint, &statements)) return;

    message.statements = statements.list;
    message.n_statements = statements.n;
    message.transaction = params_has(p, PARAM_transaction);
    message.noparse = params_has(p, PARAM_noparse);
    message.db_timeout_ns = p->db_timeout_ns > 0 ? p->db_timeout_ns : 0;
    message.max_steps = call_max_steps(p->db_timeout_ns);

    a = api_call_new(x, p, &endpoint, answer);
    if (!a) return;
    c = &a->c.execute;
    c->request = pack_execute(&message, CALL_SPARE);
    if (!c->request) {
        http_respond_text(x, 500, "out of memory");
        api_call_end(a);
        return;
    }
    c->sink = api_call_sink(a);
    a->sql = arena_dup(&x->arena, &statements, sizeof statements);
    a->writes = true;
    api_backend(x)->ops->execute(api_backend(x), c);
}
