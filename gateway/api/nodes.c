/* SPDX-License-Identifier: MIT */
/* GET /nodes, GET and POST /leader (HTTP API 11.1, 11.2). */
#include <string.h>

#include "core/base/text.h"
#include "gateway/api/api.h"

static const struct api_endpoint nodes_endpoint = {API_NODES, "nodes", API_JSON};
static const struct api_endpoint step_down_endpoint = {API_STEP_DOWN, "stepdown",
                                                       API_JSON};

static void write_text(struct json *j, const char *key, const char *text)
{
    json_key(j, key);
    json_put_cstring(j->out, text ? text : "");
}

static void write_bool(struct json *j, const char *key, bool v)
{
    json_key(j, key);
    json_put_bool(j->out, v);
}

static void write_node(struct json *j, const struct node_view *n)
{
    char duration[TEXT_DURATION_MAX];
    size_t len;

    json_open(j, '{');
    write_text(j, "id", n->id);
    if (n->api_addr && *n->api_addr) write_text(j, "api_addr", n->api_addr);
    write_text(j, "addr", n->addr);
    write_text(j, "version", n->version);
    write_bool(j, "voter", n->voter);
    write_bool(j, "reachable", n->reachable);
    write_bool(j, "leader", n->leader);
    if (n->reachable) {
        if (n->time_ns > 0) {
            json_key(j, "time");
            json_put_seconds(j->out, n->time_ns);
        }
        json_key(j, "time_s");
        len = text_duration(duration, (int64_t)n->time_ns);
        json_put_string(j->out, duration, len);
    }
    if (n->error && *n->error) write_text(j, "error", n->error);
    json_close(j, '}');
}

static void answer_nodes(struct api_call *a)
{
    const struct call_nodes *c = &a->c.nodes;
    bool list = strcmp(params_text(a->params, PARAM_ver).s, "2") == 0;
    struct buf body;
    struct json j;

    if (c->call.why.code) {
        respond_failed(a->x, a->params, a->endpoint, &c->call);
        return;
    }
    buf_init(&body, 0);
    json_init(&j, &body, params_has(a->params, PARAM_pretty));
    json_open(&j, '{');
    if (list) {
        json_key(&j, "nodes");
        json_open(&j, '[');
    }
    for (size_t i = 0; i < c->n; i++) {
        if (list)
            json_item(&j);
        else
            json_keyn(&j, c->nodes[i].id, strlen(c->nodes[i].id));
        write_node(&j, &c->nodes[i]);
    }
    if (list) json_close(&j, ']');
    json_close(&j, '}');
    api_respond_json(a->x, API_JSON, &body);
    buf_fini(&body);
}

void api_nodes(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    struct api_call *a = api_call_new(x, p, &nodes_endpoint, answer_nodes);

    if (!a) return;
    a->c.nodes.arena = &x->arena;
    a->c.nodes.nonvoters = params_has(p, PARAM_nonvoters);
    b->ops->nodes(b, &a->c.nodes);
}

/* --- /leader --- */

static void answer_leader(struct api_call *a)
{
    struct call_nodes *c = &a->c.nodes;
    struct buf body;
    struct json j;

    if (!c->call.why.code && c->n == 0)
        why_set(&c->call.why, ERR_NO_LEADER, "leader not found");
    if (c->call.why.code) {
        respond_failed(a->x, a->params, a->endpoint, &c->call);
        return;
    }
    buf_init(&body, 0);
    json_init(&j, &body, params_has(a->params, PARAM_pretty));
    write_node(&j, &c->nodes[0]);
    api_respond_json(a->x, API_JSON, &body);
    buf_fini(&body);
}

static void answer_step_down(struct api_call *a)
{
    struct http_response r = {.status = 200, .content_type = API_JSON};
    const struct call *c = &a->c.call;

    if (c->why.code) {
        respond_failed(a->x, a->params, a->endpoint, c);
        return;
    }
    if (c->served_by[0])
        r.headers[r.n_headers++] =
            (struct http_header){"X-Rqlite-Served-By", c->served_by};
    http_respond(a->x, &r, NULL);
}

/* The node named in the body, NULL for any.  False: x is answered. */
static bool read_id(struct http_exchange *x, const char **id)
{
    const struct http_request *r = &x->request;
    const char *type = http_header(r, "Content-Type");
    struct json_field field = {.name = "id"};
    size_t members;
    struct why why;
    enum err e;

    *id = NULL;
    if (!type || strcmp(type, "application/json") != 0) return true;
    if (!r->has_content_length || r->body.len == 0) return true;
    e = json_read_object(&field, 1, &members, r->body.data, r->body.len, &x->arena, &why);
    if (!e && (field.kind == JSON_KIND_TRUE || field.kind == JSON_KIND_FALSE ||
               field.kind == JSON_KIND_OTHER))
        e = why_set(&why, ERR_INVALID, "id must be a text");
    if (e) {
        err_wrap(&why, e, "invalid JSON");
        http_respond_text(x, 400, why.text);
        return false;
    }
    *id = field.text;
    return true;
}

void api_leader(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    struct api_call *a;
    const char *id;

    if (x->request.method == HTTP_GET) {
        a = api_call_new(x, p, &nodes_endpoint, answer_leader);
        if (!a) return;
        a->c.nodes.arena = &x->arena;
        a->c.nodes.nonvoters = a->c.nodes.leader_only = true;
        b->ops->nodes(b, &a->c.nodes);
        return;
    }
    if (!read_id(x, &id)) return;
    a = api_call_new(x, p, &step_down_endpoint, answer_step_down);
    if (!a) return;
    a->c.step_down.id = id;
    a->c.step_down.wait = params_has(p, PARAM_wait);
    b->ops->step_down(b, &a->c.step_down);
}
