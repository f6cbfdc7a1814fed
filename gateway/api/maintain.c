/* SPDX-License-Identifier: MIT */
/* GET /readyz, POST /snapshot and /reap (HTTP API 11.3, 11.5, 11.6). */
#include "gateway/api/api.h"

static const struct api_endpoint ready_endpoint = {API_OTHER, "readyz", API_TEXT};
static const struct api_endpoint snapshot_endpoint = {API_OTHER, "snapshot", NULL};
static const struct api_endpoint reap_endpoint = {API_OTHER, "reap", API_JSON};

/* A line for each check, up to the first that failed. */
static void write_ready(struct buf *out, const struct call_ready *c)
{
    const char *cause = c->call.why.text;

    buf_append_str(out, "[+]node ok\n");
    switch (c->stage) {
    case READY_NO_LEADER: buf_append_str(out, "[+]leader does not exist"); return;
    case READY_LEADER_UNREACHABLE:
        buf_printf(out, "[+]leader not contactable: %s", cause);
        return;
    default: buf_append_str(out, "[+]leader ok\n");
    }
    if (c->stage == READY_STORE) {
        buf_append_str(out, "[+]store not ready");
        return;
    }
    buf_append_str(out, "[+]store ok\n");
    if (c->stage == READY_SYNC) {
        buf_printf(out, "[+]sync %s", cause);
        return;
    }
    if (c->sync) buf_append_str(out, "[+]sync ok\n");
    if (c->stage == READY_DB)
        buf_printf(out, "[+]db not ok: (%s)", cause);
    else
        buf_append_str(out, "[+]db ok");
}

static void answer_ready(struct api_call *a)
{
    const struct call_ready *c = &a->c.ready;
    const struct http_response r = {.status = c->stage == READY_OK ? 200 : 503,
                                    .content_type = API_TEXT};
    struct buf body;

    if (c->call.why.code == ERR_UNSUPPORTED ||
        (c->call.why.code && c->stage == READY_OK)) {
        respond_failed(a->x, a->params, a->endpoint, &c->call);
        return;
    }
    buf_init(&body, 0);
    write_ready(&body, c);
    http_respond(a->x, &r, &body);
    buf_fini(&body);
}

void api_ready(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    struct api_call *a;

    if (params_has(p, PARAM_noleader)) {
        const struct http_response r = {.status = 200, .content_type = API_TEXT};
        struct buf body;

        buf_init(&body, 0);
        buf_append_str(&body, "[+]node ok");
        http_respond(x, &r, &body);
        buf_fini(&body);
        return;
    }
    a = api_call_new(x, p, &ready_endpoint, answer_ready);
    if (!a) return;
    a->c.ready.sync = params_has(p, PARAM_sync);
    b->ops->ready(b, &a->c.ready);
}

static void answer_snapshot(struct api_call *a)
{
    const struct call *c = &a->c.call;

    if (c->why.code == ERR_NOTHING)
        http_respond_empty(a->x, 204, NULL);
    else if (c->why.code)
        respond_failed(a->x, a->params, a->endpoint, c);
    else
        http_respond_empty(a->x, 200, NULL);
}

void api_snapshot(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    struct api_call *a;

    if (p->trailing_logs < 0) {
        http_respond_text(x, 400, "trailing_logs is not a valid integer");
        return;
    }
    a = api_call_new(x, p, &snapshot_endpoint, answer_snapshot);
    if (!a) return;
    a->c.snapshot.trailing = (uint64_t)p->trailing_logs;
    b->ops->snapshot(b, &a->c.snapshot);
}

static void answer_reap(struct api_call *a)
{
    const struct call_reap *c = &a->c.reap;
    struct buf body;

    if (c->call.why.code) {
        respond_failed(a->x, a->params, a->endpoint, &c->call);
        return;
    }
    buf_init(&body, 0);
    buf_append_str(&body, "{\"snapshots_reaped\":");
    buf_append_u64(&body, c->snapshots_reaped);
    buf_append_str(&body, ",\"wals_checkpointed\":");
    buf_append_u64(&body, c->wals_checkpointed);
    buf_append_str(&body, "}\n");
    api_respond_json(a->x, API_JSON, &body);
    buf_fini(&body);
}

void api_reap(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    struct api_call *a = api_call_new(x, p, &reap_endpoint, answer_reap);

    if (a) b->ops->reap(b, &a->c.reap);
}
