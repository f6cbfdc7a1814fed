/* SPDX-License-Identifier: MIT */
/* DELETE /remove (HTTP API 11.4); POST /join and /notify of v5-v7 (19). */
#include <string.h>

#include <jansson.h>

#include "gateway/api/api.h"
#include "gateway/auth.h"

static const struct api_endpoint remove_endpoint = {API_OTHER, "remove node", NULL};
static const struct api_endpoint join_endpoint = {API_JOIN, "join", NULL};

static json_t *read_object(const struct http_request *r)
{
    json_t *root;

    if (r->body.len == 0) return NULL;
    root = json_loadb((const char *)r->body.data, r->body.len, 0, NULL);
    if (root && !json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

/* A member that is a text; NULL if it is none. */
static const char *member(struct http_exchange *x, json_t *root, const char *key)
{
    json_t *v = root ? json_object_get(root, key) : NULL;

    return json_is_string(v) ? arena_strdup(&x->arena, json_string_value(v)) : NULL;
}

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
    json_t *root = read_object(&x->request);
    const char *id = root && json_object_size(root) == 1 ? member(x, root, "id") : NULL;
    struct api_call *a;

    json_decref(root);
    if (!id) {
        http_respond_empty(x, 400, NULL);
        return;
    }
    a = api_call_new(x, p, &remove_endpoint, answer);
    if (!a) return;
    a->c.remove.id = id;
    b->ops->remove(b, &a->c.remove);
}

static void join(struct http_exchange *x, const struct params *p, bool notify)
{
    struct backend *b = api_backend(x);
    json_t *root = read_object(&x->request),
           *voter = root ? json_object_get(root, "voter") : NULL;
    const char *id = member(x, root, "id"), *addr = member(x, root, "addr");
    bool is_voter = !voter || json_is_true(voter),
         good = !voter || json_is_boolean(voter);
    struct api_call *a;

    json_decref(root);
    if (!id || !addr || !*id || !*addr || !good) {
        http_respond_empty(x, 400, NULL);
        return;
    }
    a = api_call_new(x, p, &join_endpoint, answer);
    if (!a) return;
    a->c.call.redirect = !notify;
    a->c.join.id = id;
    a->c.join.addr = addr;
    a->c.join.voter = is_voter;
    a->c.join.notify = notify;
    b->ops->join(b, &a->c.join);
}

void api_join(struct http_exchange *x, const struct params *p)
{
    if (auth_check(x, PERMISSION_JOIN))
        join(x, p, false);
    else
        http_respond_empty(x, 401, NULL);
}

void api_notify(struct http_exchange *x, const struct params *p)
{
    join(x, p, true);
}
