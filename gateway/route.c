/* SPDX-License-Identifier: MIT */
#include "gateway/route.h"

#include <string.h>

#include "gateway/observe.h"
#include "core/base/list.h"
#include "gateway/server.h"

/* clang-format off */
static const struct route routes[] = {
    {"/db/query",      ROUTE_PREFIX, ROUTE_GET | ROUTE_POST, AUTH_QUERY, false,
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_queries, api_query},
    {"/db/execute",    ROUTE_PREFIX, ROUTE_POST,             AUTH_EXECUTE, false,
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_executions, api_execute},
    {"/db/request",    ROUTE_PREFIX, ROUTE_POST,             AUTH_QUERY | AUTH_EXECUTE, false,
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_requests, api_request},
    {"/db/backup",     ROUTE_PREFIX, ROUTE_GET,              AUTH_BACKUP, false,
     HTTP_BODY_MEMORY, NULL,     METRIC_http_backups, api_backup},
    {"/db/load",       ROUTE_PREFIX, ROUTE_POST,             AUTH_LOAD, false,
     HTTP_BODY_FILE,   NULL,     METRIC_http_loads, api_load},
    {"/db/sql",        ROUTE_PREFIX, ROUTE_GET | ROUTE_POST, AUTH_QUERY, false,
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_sql_analyze, api_sql},
    {"/boot",          ROUTE_EXACT,  ROUTE_POST,             AUTH_LOAD, false,
     HTTP_BODY_FILE,   NULL,     METRIC_http_boot, api_boot},
    {"/snapshot",      ROUTE_EXACT,  ROUTE_POST,             AUTH_SNAPSHOT, false,
     HTTP_BODY_MEMORY, NULL,     METRIC_http_user_snapshots, api_snapshot},
    {"/reap",          ROUTE_EXACT,  ROUTE_POST,             AUTH_SNAPSHOT, false,
     HTTP_BODY_MEMORY, NULL,     METRIC_http_user_reaps, api_reap},
    {"/remove",        ROUTE_PREFIX, ROUTE_DELETE,           AUTH_REMOVE, false,
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_remove},
    {"/leader",        ROUTE_EXACT,  ROUTE_GET | ROUTE_POST, AUTH_LEADER_OPS, false,
     HTTP_BODY_MEMORY, API_JSON, ROUTE_NO_METRIC, api_leader},
    {"/nodes",         ROUTE_PREFIX, ROUTE_GET,              AUTH_STATUS, false,
     HTTP_BODY_MEMORY, API_JSON, ROUTE_NO_METRIC, api_nodes},
    {"/readyz",        ROUTE_PREFIX, ROUTE_GET,              AUTH_READY, false,
     HTTP_BODY_MEMORY, NULL,     METRIC_http_num_readyz, api_ready},
    {"/status",        ROUTE_PREFIX, ROUTE_GET,              AUTH_STATUS, false,
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_num_status, api_status},
    {"/join",          ROUTE_EXACT,  ROUTE_POST,             AUTH_JOIN | AUTH_JOIN_READ_ONLY, true, /* which, api_join() asks */
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_join},
    {"/notify",        ROUTE_EXACT,  ROUTE_POST,             AUTH_JOIN, false,
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_notify},
    {"/metrics",       ROUTE_EXACT,  ROUTE_GET | ROUTE_HEAD, AUTH_STATUS, false,
     HTTP_BODY_MEMORY, API_PROM, ROUTE_NO_METRIC, api_prom},
    {"/licenses",      ROUTE_EXACT,  ROUTE_GET,              AUTH_STATUS, false,
     HTTP_BODY_MEMORY, API_TEXT, ROUTE_NO_METRIC, api_licenses},
    {"/debug/vars",    ROUTE_EXACT,  ROUTE_ANY,              AUTH_STATUS, false,
     HTTP_BODY_MEMORY, API_JSON, ROUTE_NO_METRIC, api_vars},
    {"/debug/pprof",   ROUTE_PREFIX, ROUTE_ANY,              AUTH_STATUS, false,
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_pprof},
    {"/console",       ROUTE_EXACT,  ROUTE_ANY,              0, false,
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_root},
    {"/console",       ROUTE_PREFIX, ROUTE_GET | ROUTE_HEAD, AUTH_UI, false,
     HTTP_BODY_MEMORY, NULL,     METRIC_http_ui, api_console},
    {"/",              ROUTE_EXACT,  ROUTE_ANY,              0, false,
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_root},
    {"",               ROUTE_EXACT,  ROUTE_ANY,              0, false,
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_root},
};
/* clang-format on */

const struct route *route_find(const char *path, size_t len)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const struct route *r = &routes[i];
        size_t n = strlen(r->path);

        if (len < n || (r->match == ROUTE_EXACT && len != n)) continue;
        if (memcmp(path, r->path, n) == 0) return r;
    }
    return NULL;
}

_Static_assert(sizeof routes / sizeof *routes < OBSERVE_ENDPOINTS,
               "struct observe is too small");

unsigned route_number(const struct route *r)
{
    return r ? (unsigned)(r - routes) + 1 : 0;
}

const struct route *route_numbered(unsigned number)
{
    if (number == 0 || number > sizeof routes / sizeof *routes) return NULL;
    return &routes[number - 1];
}

/* -expvar=false and -pprof=false take their routes away. */
static const struct route *find(const struct http_exchange *x)
{
    const struct gateway_options *o = &x->thread->gateway->options;
    const struct route *r = route_find(x->request.path, x->request.path_len);

    if (r && r->handler == api_vars && o->no_expvar) return NULL;
    if (r && r->handler == api_pprof && o->no_pprof) return NULL;
    return r;
}

/* One more to work on.  False: there are enough. */
static bool count(struct http_exchange *x)
{
    struct gateway *g = x->thread->gateway;
    uint64_t max = g->options.limits.requests;

    x->counted = true; /* until it is freed */
    return atomic_fetch_add(&g->requests, 1) < max || max == 0;
}

struct routed { /* in the exchange's arena */
    const struct route *route;
    struct params *params;
};

static bool may(const struct route *r, uint32_t granted)
{
    if (r->one_suffices) return (granted & r->permissions) != 0;
    return (granted & r->permissions) == r->permissions;
}

/* The caller is known. */
static void dispatch(struct http_exchange *x, void *arg)
{
    struct routed *d = arg;
    const struct route *r = d->route;
    bool allowed = may(r, x->granted) && !x->cut;

    if (r->permissions)
        metrics_add(api_metrics(x), allowed ? METRIC_http_auth_ok : METRIC_http_auth_fail,
                    1);
    if (!allowed) {
        http_respond_empty(x, 401, r->type);
        return;
    }
    if (!(r->methods & 1 << x->request.method)) {
        http_respond_empty(x, 405, r->type);
        return;
    }
    if (strncmp(r->path, "/db/", 4) == 0 && !count(x)) {
        http_respond_busy(x, "too many requests are being worked on");
        return;
    }
    r->handler(x, d->params);
}

void gateway_dispatch(struct http_exchange *x)
{
    const struct route *r = find(x);
    struct routed *d;
    struct params *p;
    struct why why;
    enum err e;

    observe_begin(x, route_number(r));
    if (x->request.method == HTTP_OPTIONS) {
        http_respond_empty(x, 200, NULL);
        return;
    }
    p = arena_alloc(&x->arena, sizeof *p);
    d = arena_alloc(&x->arena, sizeof *d);
    e = p && d ? params_parse(p, x->request.query, &x->arena, &why)
               : why_set(&why, ERR_NOMEM, "out of memory");
    if (e) {
        http_respond_text(x, e == ERR_INVALID ? 400 : 500, why.text);
        return;
    }
    if (!r) {
        http_respond_empty(x, 404, NULL);
        return;
    }
    if (r->metric != ROUTE_NO_METRIC)
        metrics_add(api_metrics(x), (enum metric)r->metric, 1);
    *d = (struct routed){r, p};
    auth_then(x, r->permissions, dispatch, d);
}

struct http_body_rule gateway_body_rule(struct http_request *q)
{
    struct http_exchange *x = LIST_ITEM(q, struct http_exchange, request);
    const struct route *r = route_find(q->path, q->path_len);
    bool hopeless = r && auth_hopeless(x, r->permissions);

    if (r && r->body == HTTP_BODY_FILE && r->methods & 1 << q->method)
        return (struct http_body_rule){HTTP_BODY_FILE, UINT64_MAX, hopeless};
    /* What nobody looks at may still be sent: it is read up to the usual limit. */
    return (struct http_body_rule){
        HTTP_BODY_MEMORY, x->thread->gateway->options.limits.body_bytes, hopeless};
}
