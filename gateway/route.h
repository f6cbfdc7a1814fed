/* SPDX-License-Identifier: MIT */
/*
 * route: which handler serves a request, and who may ask it for what (HTTP API 1.2, 1.3):
 * one table. gateway_dispatch() and gateway_body_rule() of server.h are here, too.
 */
#ifndef GATEWAY_ROUTE_H
#define GATEWAY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/metrics.h"
#include "gateway/api/api.h"
#include "gateway/auth.h"
#include "gateway/http.h"

enum route_match { ROUTE_EXACT, ROUTE_PREFIX };

enum {
    ROUTE_GET = 1 << HTTP_GET,
    ROUTE_HEAD = 1 << HTTP_HEAD,
    ROUTE_POST = 1 << HTTP_POST,
    ROUTE_DELETE = 1 << HTTP_DELETE,
    ROUTE_ANY = ~0
};

struct route {
    const char *path;
    enum route_match match;
    int methods;
    uint32_t permissions; /* enum auth_permission: all are asked for, */
    bool one_suffices;    /* or any of them */
    enum http_body_kind body;
    const char *type; /* Content-Type of an empty 401 or 405; NULL = none */
    int metric;       /* enum metric counted for each request; NO_METRIC = none */
    api_handler *handler;
};

enum { ROUTE_NO_METRIC = -1 };

/* For tables by route: 1 + its row; and what stands there, NULL behind the last. */
unsigned route_number(const struct route *r);
const struct route *route_numbered(unsigned number);

/* NULL if nothing is there.  path may hold any bytes. */
const struct route *route_find(const char *path, size_t len);

#endif
