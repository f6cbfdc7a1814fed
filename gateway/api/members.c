/* SPDX-License-Identifier: MIT */
/* DELETE /remove (HTTP API 11.4); POST /join and /notify of v5-v7 (19). */
#include "gateway/api/api.h"
#include "gateway/auth.h"

static const struct api_endpoint remove_endpoint = {API_OTHER, "remove node", NULL};
static const struct api_endpoint join_endpoint = {API_JOIN, "join", NULL};

static void answer(struct api_call *a)
{
    struct http_response r = {.status = 200};
    const struct call *c = &a->c.call;

    if (c->why.code) {
        respond_failed(a->x, a->params, a->endpoint, c);
        return;
    }
    if (c->served_by[0] && a->endpoint == &remove_endpoint)
        r.headers[r.n_headers++] =
            (struct http_header){"X-Rqlite-Served-By", c->served_by};
    http_respond(a->x, &r, NULL);
}

void api_remove(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    const struct buf *body = &x->request.body;
    struct json_field id = {.name = "id"};
    size_t members;
    struct api_call *a;

    if (json_read_object(&id, 1, &members, body->data, body->len, &x->arena, NULL) ||
        members != 1 || id.kind != JSON_KIND_TEXT) {
        http_respond_empty(x, 400, NULL);
        return;
    }
    a = api_call_new(x, p, &remove_endpoint, answer);
    if (!a) return;
    a->c.remove.id = id.text;
    b->ops->remove(b, &a->c.remove);
}

/* v5-v7: who may join as a voter may do so as a replica. */
static bool may_join(struct http_exchange *x, bool voter)
{
    if (x->granted & AUTH_JOIN || !voter) return true;
    http_respond_text(x, 401, "joining as voter not allowed");
    return false;
}

static void join(struct http_exchange *x, const struct params *p, bool notify)
{
    struct backend *b = api_backend(x);
    const struct buf *body = &x->request.body;
    struct json_field fields[] = {{.name = "id"}, {.name = "addr"}, {.name = "voter"}};
    const struct json_field *id = &fields[0], *addr = &fields[1], *voter = &fields[2];
    size_t members;
    struct api_call *a;

    if (json_read_object(fields, 3, &members, body->data, body->len, &x->arena, NULL) ||
        id->kind != JSON_KIND_TEXT || !*id->text || addr->kind != JSON_KIND_TEXT ||
        !*addr->text ||
        (voter->kind != JSON_KIND_ABSENT && voter->kind != JSON_KIND_TRUE &&
         voter->kind != JSON_KIND_FALSE)) {
        http_respond_empty(x, 400, NULL);
        return;
    }
    if (!may_join(x, voter->kind != JSON_KIND_FALSE)) return;
    a = api_call_new(x, p, &join_endpoint, answer);
    if (!a) return;
    a->c.call.redirect = !notify;
    a->c.join.id = id->text;
    a->c.join.addr = addr->text;
    a->c.join.voter = voter->kind != JSON_KIND_FALSE;
    a->c.join.notify = notify;
    b->ops->join(b, &a->c.join);
}

void api_join(struct http_exchange *x, const struct params *p)
{
    join(x, p, false);
}

void api_notify(struct http_exchange *x, const struct params *p)
{
    join(x, p, true);
}
