/* SPDX-License-Identifier: MIT */
/* GET /status (HTTP API 12): the backend's document, the gateway's own section, one
 * printer. */
#include "core/base/doc.h"
#include "gateway/api/api.h"
#include "gateway/json_doc.h"
#include "gateway/queue.h"

static const struct api_endpoint endpoint = {API_OTHER, "status", API_JSON};

static void add_tls(struct doc *d, const struct gateway_options *o)
{
    struct doc *protocols;

    doc_add_text(d, "enabled", o->tls ? "true" : "false");
    if (!o->tls) return;
    doc_add_text(d, "ca_file", o->tls_ca ? o->tls_ca : "");
    doc_add_text(d, "cert_file", o->tls_cert);
    doc_add_text(d, "client_auth",
                 o->tls_verify_client ? "RequireAndVerifyClientCert" : "NoClientCert");
    doc_add_text(d, "key_file", o->tls_key);
    protocols = doc_add_array(d, "next_protos");
    doc_add_text(protocols, NULL, "h2");
    doc_add_text(protocols, NULL, "http/1.1");
}

/* The object of that name; the backend may have begun it. */
static struct doc *member(struct doc *parent, const char *key)
{
    struct doc *d = doc_get(parent, key);

    return d ? d : doc_add_object(parent, key);
}

static void add_http(struct doc *root, struct gateway *g)
{
    struct doc *http = member(root, "http"), *section;
    struct doc *raft_addr = doc_get(doc_get(root, "store"), "addr");

    doc_add_text(http, "auth", g->options.auth ? "enabled" : "disabled");
    doc_add_text(http, "bind_addr", g->options.bind_addr);
    if (g->options.allow_origin)
        doc_add_text(http, "allow_origin", g->options.allow_origin);
    section = member(http, "cluster");
    if (raft_addr && raft_addr->type == DOC_TEXT)
        doc_add_textn(section, "local_node_addr", raft_addr->v.text.s,
                      raft_addr->v.text.n);
    doc_add_text(section, "timeout", "30s");
    queue_status(g, doc_add_object(http, "queue"));
    add_tls(doc_add_object(http, "tls"), &g->options);
}

static void answer(struct api_call *a)
{
    const struct params *p = a->params;
    struct call_status *c = &a->c.status;
    bool part = params_has(p, PARAM_key);
    struct gateway *g = a->x->thread->gateway;
    uint64_t backup_ns;
    struct doc *shown = c->into;
    struct buf body;
    struct json j;

    if (c->call.why.code) {
        respond_failed(a->x, p, a->endpoint, &c->call);
        return;
    }
    add_http(c->into, g);
    backup_ns = atomic_load_explicit(&g->last_backup_ns, memory_order_relaxed);
    if (backup_ns) doc_add_time(c->into, "last_backup_time", backup_ns);
    if (part) shown = json_doc_at(c->into, params_text(p, PARAM_key).s);
    buf_init(&body, 0);
    json_init(&j, &body, params_has(p, PARAM_pretty) && !part);
    if (shown)
        json_doc(&j, shown);
    else
        buf_append_str(&body, "{}");
    if (arena_failed(&a->x->arena))
        http_respond_text(a->x, 500, "out of memory");
    else
        api_respond_json(a->x, API_JSON, &body);
    buf_fini(&body);
}

void api_ask_status(struct http_exchange *x, const struct params *p,
                    const struct api_endpoint *of, bool figures,
                    void (*then)(struct api_call *a))
{
    struct backend *b = api_backend(x);
    struct doc *root = doc_object(&x->arena);
    struct api_call *a;

    if (!root) {
        http_respond_text(x, 500, "out of memory");
        return;
    }
    a = api_call_new(x, p, of, then);
    if (!a) return;
    a->c.status.into = root;
    a->c.status.figures = figures;
    b->ops->status(b, &a->c.status);
}

void api_status(struct http_exchange *x, const struct params *p)
{
    api_ask_status(x, p, &endpoint, false, answer);
}
