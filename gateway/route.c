/* SPDX-License-Identifier: MIT */
#include "gateway/route.h"

#include <string.h>

#include "gateway/observe.h"
#include "gateway/server.h"

/* clang-format off */
static const struct route routes[] = {
    {"/db/query",      ROUTE_PREFIX, ROUTE_GET | ROUTE_POST, {PERMISSION_QUERY},
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_queries, api_query},
    {"/db/execute",    ROUTE_PREFIX, ROUTE_POST,             {PERMISSION_EXECUTE},
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_executions, api_execute},
    {"/db/request",    ROUTE_PREFIX, ROUTE_POST,             {PERMISSION_QUERY, PERMISSION_EXECUTE},
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_requests, api_request},
    {"/db/backup",     ROUTE_PREFIX, ROUTE_GET,              {PERMISSION_BACKUP},
     HTTP_BODY_MEMORY, NULL,     METRIC_http_backups, api_backup},
    {"/db/load",       ROUTE_PREFIX, ROUTE_POST,             {PERMISSION_LOAD},
     HTTP_BODY_FILE,   NULL,     METRIC_http_loads, api_load},
    {"/db/sql",        ROUTE_PREFIX, ROUTE_GET | ROUTE_POST, {PERMISSION_QUERY},
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_sql_analyze, api_sql},
    {"/boot",          ROUTE_EXACT,  ROUTE_POST,             {PERMISSION_LOAD},
     HTTP_BODY_FILE,   NULL,     METRIC_http_boot, api_boot},
    {"/snapshot",      ROUTE_EXACT,  ROUTE_POST,             {PERMISSION_SNAPSHOT},
     HTTP_BODY_MEMORY, NULL,     METRIC_http_user_snapshots, api_snapshot},
    {"/reap",          ROUTE_EXACT,  ROUTE_POST,             {PERMISSION_SNAPSHOT},
     HTTP_BODY_MEMORY, NULL,     METRIC_http_user_reaps, api_reap},
    {"/remove",        ROUTE_PREFIX, ROUTE_DELETE,           {PERMISSION_REMOVE},
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_remove},
    {"/leader",        ROUTE_EXACT,  ROUTE_GET | ROUTE_POST, {PERMISSION_LEADER_OPS},
     HTTP_BODY_MEMORY, API_JSON, ROUTE_NO_METRIC, api_leader},
    {"/nodes",         ROUTE_PREFIX, ROUTE_GET,              {PERMISSION_STATUS},
     HTTP_BODY_MEMORY, API_JSON, ROUTE_NO_METRIC, api_nodes},
    {"/readyz",        ROUTE_PREFIX, ROUTE_GET,              {PERMISSION_READY},
     HTTP_BODY_MEMORY, NULL,     METRIC_http_num_readyz, api_ready},
    {"/status",        ROUTE_PREFIX, ROUTE_GET,              {PERMISSION_STATUS},
     HTTP_BODY_MEMORY, API_JSON, METRIC_http_num_status, api_status},
    {"/join",          ROUTE_EXACT,  ROUTE_POST,             {PERMISSION_NONE}, /* api_join() asks */
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_join},
    {"/notify",        ROUTE_EXACT,  ROUTE_POST,             {PERMISSION_JOIN},
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_notify},
    {"/metrics",       ROUTE_EXACT,  ROUTE_GET | ROUTE_HEAD, {PERMISSION_STATUS},
     HTTP_BODY_MEMORY, API_PROM, ROUTE_NO_METRIC, api_prom},
    {"/licenses",      ROUTE_EXACT,  ROUTE_GET,              {PERMISSION_STATUS},
     HTTP_BODY_MEMORY, API_TEXT, ROUTE_NO_METRIC, api_licenses},
    {"/debug/vars",    ROUTE_EXACT,  ROUTE_ANY,              {PERMISSION_STATUS},
     HTTP_BODY_MEMORY, API_JSON, ROUTE_NO_METRIC, api_vars},
    {"/debug/pprof",   ROUTE_PREFIX, ROUTE_ANY,              {PERMISSION_STATUS},
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_pprof},
    {"/console",       ROUTE_EXACT,  ROUTE_ANY,              {PERMISSION_NONE},
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_root},
    {"/console",       ROUTE_PREFIX, ROUTE_GET | ROUTE_HEAD, {PERMISSION_UI},
     HTTP_BODY_MEMORY, NULL,     METRIC_http_ui, api_console},
    {"/",              ROUTE_EXACT,  ROUTE_ANY,              {PERMISSION_NONE},
     HTTP_BODY_MEMORY, NULL,     ROUTE_NO_METRIC, api_root},
    {"",               ROUTE_EXACT,  ROUTE_ANY,              {PERMISSION_NONE},
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

void gateway_dispatch(struct http_exchange *x)
{
    const struct route *r;
    struct params *p;
    struct why why;
    enum err e;

    r = find(x);
    observe_begin(x, route_number(r));
    if (x->request.method == HTTP_OPTIONS) {
        http_respond_empty(x, 200, NULL);
        return;
    }
    p = arena_alloc(&x->arena, sizeof *p);
    e = p ? params_parse(p, x->request.query, &x->arena, &why)
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
    if (!auth_check(x, r->permissions[0]) || !auth_check(x, r->permissions[1])) {
        http_respond_empty(x, 401, r->type);
        return;
    }
    if (!(r->methods & 1 << x->request.method)) {
        http_respond_empty(x, 405, r->type);
        return;
    }
    r->handler(x, p);
}

struct http_body_rule gateway_body_rule(const struct http_request *q)
{
    const struct http_exchange *x =
        (const void *)((const char *)q - offsetof(struct http_exchange, request));
    const struct route *r = route_find(q->path, q->path_len);

    if (r && r->body == HTTP_BODY_FILE && r->methods & 1 << q->method)
        return (struct http_body_rule){HTTP_BODY_FILE, UINT64_MAX};
    /* What nobody looks at may still be sent: it is read up to the usual limit. */
    return (struct http_body_rule){HTTP_BODY_MEMORY,
                                   x->thread->gateway->options.limits.body_bytes};
}
