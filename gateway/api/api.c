/* SPDX-License-Identifier: MIT */
#include "gateway/api/api.h"

#include <string.h>

#include "core/base/clock.h"
#include "core/base/metrics.h"
#include "gateway/auth.h"

uint64_t api_elapsed_ns(const struct http_exchange *x)
{
    return clock_mono_ns(clock_real()) - x->request.received_ns;
}

struct backend *api_backend(const struct http_exchange *x)
{
    return x->thread->gateway->backend;
}

struct metrics *api_metrics(const struct http_exchange *x)
{
    return x->thread->gateway->metrics;
}

/* --- from call to answer --- */

static struct api_call *of_call(struct call *c)
{
    return (struct api_call *)(void *)((char *)c - offsetof(struct api_call, c));
}

static void on_gone(struct http_exchange *x)
{
    struct api_call *a = x->handler_state;

    atomic_store_explicit(&a->c.call.cancelled, true, memory_order_relaxed);
}

void api_call_end(struct api_call *a)
{
    struct http_exchange *x = a->x;

    if (a->sink.sink.ops) json_sink_fini(&a->sink);
    x->handler_state = NULL;
    x->on_gone = NULL;
    http_release(x);
}

/* Back on the exchange's thread. */
static void deliver(struct mail *m, void *taker)
{
    struct api_call *a =
        of_call((struct call *)(void *)((char *)m - offsetof(struct call, mail)));

    (void)taker;
    api_slow_query(a);
    a->answer(a);
    api_call_end(a);
}

/* On any thread. */
static void on_done(struct call *c)
{
    c->mail.deliver = deliver;
    gateway_post(of_call(c)->x->thread, &c->mail);
}

struct api_call *api_call_new(struct http_exchange *x, const struct params *p,
                              const struct api_endpoint *endpoint,
                              void (*answer)(struct api_call *a))
{
    struct api_call *a = arena_calloc(&x->arena, 1, sizeof *a);
    struct call *c;

    if (!a) {
        http_respond_text(x, 500, "out of memory");
        return NULL;
    }
    a->x = x;
    a->params = p;
    a->endpoint = endpoint;
    a->answer = answer;
    c = &a->c.call;
    c->done = on_done;
    c->timeout_ns = p->timeout_ns;
    c->retries = p->retries < 0 ? 0 : p->retries > 1000 ? 1000 : (int)p->retries;
    c->redirect = params_has(p, PARAM_redirect);
    c->no_leader = params_has(p, PARAM_noleader);
    auth_credentials(x, &c->user, &c->password);
    x->handler_state = a;
    x->on_gone = on_gone;
    http_hold(x);
    return a;
}

/* --- results --- */

struct row_sink *api_call_sink(struct api_call *a)
{
    json_sink_init(&a->sink, a->params);
    a->sink.cancelled = &a->c.call.cancelled;
    return &a->sink.sink;
}

void api_answer_results(struct api_call *a, uint64_t raft_index)
{
    struct http_response r = {.status = 200, .content_type = a->endpoint->type};
    struct json_envelope envelope = {.elapsed_ns = api_elapsed_ns(a->x)};
    const struct call *c = &a->c.call;
    struct why why;

    if (c->why.code) {
        respond_failed(a->x, a->params, a->endpoint, c);
        return;
    }
    if (params_has(a->params, PARAM_raft_index) && !a->sink.request_failed)
        envelope.raft_index = raft_index;
    if (json_sink_finish(&a->sink, &envelope, &why)) {
        respond_error_served(a->x, 500, why.text, c->served_by);
        return;
    }
    if (c->served_by[0] && !a->sink.request_failed)
        r.headers[r.n_headers++] =
            (struct http_header){"X-Rqlite-Served-By", c->served_by};
    http_respond(a->x, &r, &a->sink.body);
}

void api_respond_json(struct http_exchange *x, const char *type, struct buf *body)
{
    const struct http_response r = {.status = 200, .content_type = type};

    if (buf_error(body)) {
        http_respond_text(x, 500, err_name(buf_error(body)));
        return;
    }
    http_respond(x, &r, body);
}

void api_respond_top_level(struct http_exchange *x, const struct params *p,
                           const char *type, const char *text)
{
    struct json_envelope envelope = {.error = text, .elapsed_ns = api_elapsed_ns(x)};
    struct json_sink s;
    struct why why;

    json_sink_init(&s, p);
    if (json_sink_finish(&s, &envelope, &why))
        http_respond_text(x, 500, why.text);
    else
        api_respond_json(x, type, &s.body);
    json_sink_fini(&s);
}

/* --- bodies --- */

static bool is_plain_text(const struct http_request *r)
{
    static const char plain[] = "text/plain";
    const char *type = http_header(r, "Content-Type");

    return type && strncmp(type, plain, strlen(plain)) == 0;
}

bool api_read_statements(struct http_exchange *x, bool plain, struct json_statements *out)
{
    struct buf *body = &x->request.body;
    struct why why;
    enum err e;

    if (plain && is_plain_text(&x->request)) {
        buf_append_u8(body, 0); /* the SQL's final NUL */
        e = buf_error(body);
        why_set(&why, e, "out of memory");
        if (!e)
            e = json_statement_of_text(out, (char *)body->data, body->len - 1, &x->arena,
                                       &why);
    } else {
        e = json_read_statements(out, (char *)body->data, body->len, &x->arena, &why);
    }
    if (e) http_respond_text(x, e == ERR_INVALID ? 400 : 500, why.text);
    return !e;
}

bool api_disallowed(struct http_exchange *x, const struct params *p,
                    const struct json_statements *statements)
{
    struct backend *b = api_backend(x);

    for (size_t i = 0; i < statements->n; i++) {
        const char *sql = statements->list[i]->sql;

        if (b->ops->disallowed(b, sql, strlen(sql))) {
            api_respond_top_level(x, p, API_JSON, "disallowed pragma");
            return true;
        }
    }
    return false;
}
