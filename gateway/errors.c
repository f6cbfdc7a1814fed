/* SPDX-License-Identifier: MIT */
#include "gateway/errors.h"

#include <stdio.h>
#include <string.h>

#include "core/base/metrics.h"
#include "gateway/api/api.h"

void respond_error_served(struct http_exchange *x, int status, const char *text,
                          const char *served_by)
{
    struct http_response r = {.status = status, .content_type = API_TEXT};
    struct buf body;

    r.headers[r.n_headers++] = (struct http_header){"X-Content-Type-Options", "nosniff"};
    if (*served_by)
        r.headers[r.n_headers++] = (struct http_header){"X-Rqlite-Served-By", served_by};
    buf_init(&body, 0);
    buf_append_str(&body, text);
    buf_append_u8(&body, '\n');
    http_respond(x, &r, &body);
    buf_fini(&body);
}

/* 301 to the same path and query on the leader. */
static void redirect(struct http_exchange *x, const struct api_endpoint *endpoint,
                     const struct call *c)
{
    struct http_response r = {.status = 301, .content_type = endpoint->type};
    const struct http_request *q = &x->request;
    const char *target = q->target, *location;
    size_t path_len;

    if (*target != '/') target = q->path; /* the absolute form */
    path_len = strcspn(target, "?");
    location = arena_printf(&x->arena, "%s%.*s%s%s", c->leader_url, (int)path_len, target,
                            q->has_query ? "?" : "", q->query);
    if (!location) {
        http_respond_text(x, 500, "out of memory");
        return;
    }
    r.headers[r.n_headers++] = (struct http_header){"Location", location};
    http_respond(x, &r, NULL);
}

/* The status of a failure; 200 stands for a top-level error. */
static int status_of(enum err code, enum api_family family)
{
    switch (code) {
    case ERR_NO_LEADER: return 503;
    case ERR_UNAUTHORIZED: return 401;
    case ERR_CONFLICT: return 422;
    case ERR_UNSUPPORTED: return 501;
    case ERR_NOMEM: return 500;
    case ERR_TOO_BIG:
        return family == API_DATA || family == API_FILE || family == API_BOOT ? 413 : 500;
    case ERR_INVALID:
        return family == API_FILE || family == API_BOOT ? 400
               : family == API_DATA                     ? 200
                                                        : 500;
    case ERR_NOT_OPEN:
        if (family == API_STEP_DOWN) return 503;
        break;
    case ERR_UNREACHABLE:
        if (family == API_JOIN) return 503;
        break;
    default: break;
    }
    switch (family) {
    case API_DATA: return 200;
    case API_BOOT:
    case API_NODES: return 503;
    default: return 500;
    }
}

void respond_failed(struct http_exchange *x, const struct params *p,
                    const struct api_endpoint *endpoint, const struct call *c)
{
    enum err code = c->why.code;
    const char *cause = c->why.text[0] ? c->why.text : err_name(code);
    int status = status_of(code, endpoint->family);
    char text[sizeof c->why.text + 64];

    if (c->redirect && code == ERR_NOT_LEADER && c->leader_url[0]) {
        redirect(x, endpoint, c);
        return;
    }
    if (status == 200 || (c->top_level && endpoint->family == API_DATA)) {
        api_respond_top_level(x, p, endpoint->type, cause);
        return;
    }
    if (code == ERR_NO_LEADER) {
        metrics_add(api_metrics(x), METRIC_http_leader_not_found, 1);
        snprintf(text, sizeof text, "leader not found");
    } else if (code == ERR_UNAUTHORIZED) {
        snprintf(text, sizeof text, "remote %s not authorized", endpoint->remote);
    } else if (endpoint->family == API_STEP_DOWN) {
        snprintf(text, sizeof text, "stepdown: %s", cause);
    } else if (endpoint->family == API_NODES) {
        snprintf(text, sizeof text, "store nodes: %s", cause);
    } else {
        snprintf(text, sizeof text, "%s", cause);
    }
    http_respond_text(x, status, text);
}
