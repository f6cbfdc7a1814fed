/* SPDX-License-Identifier: MIT */
#include "gateway/api/api.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/metrics.h"
#include "gateway/auth.h"
#include "gateway/stream.h"

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

    if (a->sink.sink.ops) {
        budget_return(&x->thread->gateway->budget, &a->sink.held);
        json_sink_fini(&a->sink);
    }
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

/* On the exchange's thread: the first piece is there. */
static void begin_stream(struct http_exchange *x, struct http_stream *s, void *arg)
{
    const struct api_call *a = arg;
    struct http_response r = {.status = 200, .content_type = a->endpoint->type};

    if (a->served_by[0])
        r.headers[r.n_headers++] =
            (struct http_header){"X-Rqlite-Served-By", a->served_by};
    http_respond_stream(x, &r, s);
}

static struct api_call *of_sink(struct json_sink *s)
{
    return (struct api_call *)(void *)((char *)s - offsetof(struct api_call, sink));
}

/* On whatever thread runs the statements. */
static bool on_piece(struct json_sink *s)
{
    struct api_call *a = of_sink(s);
    size_t len;
    uint8_t *data = buf_take(&s->body, &len);

    if (!a->stream) {
        memcpy(a->served_by, a->c.call.served_by, sizeof a->served_by);
        a->stream = http_stream_new(a->x, a->x->thread->gateway->options.limits.stall_ms,
                                    begin_stream, a);
    }
    if (!a->stream) {
        free(data);
        return false;
    }
    if (!http_stream_put(a->stream, data, len)) return false;
    (void)buf_reserve(&s->body, JSON_SINK_PIECE + JSON_SINK_PIECE / 8);
    return s->sink.pace != SINK_WAITS || http_stream_wait(a->stream, &s->sink);
}

static bool room(struct json_sink *s, void (*on_room)(void *arg), void *arg)
{
    const struct api_call *a = of_sink(s);

    return !a->stream || http_stream_room(a->stream, on_room, arg);
}

struct row_sink *api_call_sink(struct api_call *a)
{
    json_sink_init(&a->sink, a->params);
    a->sink.room = room;
    a->sink.cancelled = &a->c.call.cancelled;
    a->sink.on_piece = on_piece;
    a->sink.budget = &a->x->thread->gateway->budget;
    return &a->sink.sink;
}

/* The answer has begun: send what is left of it, or cut it off. */
static void end_stream(struct api_call *a, const struct json_envelope *envelope)
{
    bool whole = !a->c.call.why.code && !json_sink_finish(&a->sink, envelope, NULL);

    if (whole) {
        size_t len;
        uint8_t *rest = buf_take(&a->sink.body, &len);

        whole = http_stream_put(a->stream, rest, len);
    }
    http_stream_end(a->stream, whole);
    a->stream = NULL;
}

void api_answer_results(struct api_call *a, uint64_t raft_index)
{
    struct http_response r = {.status = 200, .content_type = a->endpoint->type};
    struct json_envelope envelope = {.elapsed_ns = api_elapsed_ns(a->x)};
    const struct call *c = &a->c.call;
    struct why why;

    if (params_has(a->params, PARAM_raft_index) && !a->sink.request_failed)
        envelope.raft_index = raft_index;
    if (a->stream) {
        end_stream(a, &envelope);
        return;
    }
    if (c->why.code) {
        respond_failed(a->x, a->params, a->endpoint, c);
        return;
    }
    if (json_sink_finish(&a->sink, &envelope, &why)) {
        respond_error_served(a->x, 500, why.text, c->served_by);
        return;
    }
    if (c->served_by[0] && !a->sink.request_failed)
        r.headers[r.n_headers++] =
            (struct http_header){"X-Rqlite-Served-By", c->served_by};
    a->x->held += a->sink.held; /* until it has been sent */
    a->sink.held = 0;
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

static void refuse(struct http_exchange *x, const struct params *p,
                   const struct api_endpoint *endpoint, int status, const char *text)
{
    if (status == 200)
        api_respond_top_level(x, p, endpoint->type, text);
    else
        http_respond_text(x, status, text);
}

/* The question whether another node leads has been answered. */
static void answer_refused(struct api_call *a)
{
    if (a->c.call.why.code)
        respond_failed(a->x, a->params, a->endpoint, &a->c.call);
    else
        refuse(a->x, a->params, a->endpoint, a->refusal_status, a->refusal);
}

void api_refuse(struct http_exchange *x, const struct params *p,
                const struct api_endpoint *endpoint, int status, const char *text)
{
    Rqlite__QueryRequest *nothing;
    struct api_call *a;

    if (!params_has(p, PARAM_redirect) || endpoint->family != API_DATA) {
        refuse(x, p, endpoint, status, text);
        return;
    }
    nothing = arena_alloc(&x->arena, sizeof *nothing);
    if (!nothing) {
        http_respond_text(x, 500, "out of memory");
        return;
    }
    *nothing = (Rqlite__QueryRequest)RQLITE__QUERY_REQUEST__INIT;
    nothing->level = p->level == RQLITE__LEVEL__NONE || p->level == RQLITE__LEVEL__AUTO
                         ? p->level
                         : RQLITE__LEVEL__WEAK;
    a = api_call_new(x, p, endpoint, answer_refused);
    if (!a) return;
    a->refusal = arena_strdup(&x->arena, text);
    a->refusal_status = status;
    if (!a->refusal) a->refusal = "";
    a->c.query.request = nothing;
    a->c.query.arena = &x->arena;
    a->c.query.sink = api_call_sink(a);
    api_backend(x)->ops->query(api_backend(x), &a->c.query);
}

bool api_read_statements(struct http_exchange *x, const struct params *p,
                         const struct api_endpoint *endpoint, bool plain,
                         struct json_statements *out)
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
    if (e) api_refuse(x, p, endpoint, e == ERR_INVALID ? 400 : 500, why.text);
    return !e;
}

bool api_disallowed(struct http_exchange *x, const struct params *p,
                    const struct api_endpoint *endpoint,
                    const struct json_statements *statements)
{
    struct backend *b = api_backend(x);

    for (size_t i = 0; i < statements->n; i++) {
        const char *sql = statements->list[i]->sql;

        if (b->ops->disallowed(b, sql, strlen(sql))) {
            api_refuse(x, p, endpoint, 200, "disallowed pragma");
            return true;
        }
    }
    return false;
}
