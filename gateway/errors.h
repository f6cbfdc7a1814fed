/* SPDX-License-Identifier: MIT */
/*
 * errors: how a failed call is told over HTTP (HTTP API 7.5): one place for all
 * endpoints.
 */
#ifndef GATEWAY_ERRORS_H
#define GATEWAY_ERRORS_H

#include "core/node/call.h"
#include "gateway/http.h"
#include "gateway/params.h"

/* What kind of endpoint it is decides about statuses that are not the same everywhere. */
enum api_family {
    API_DATA, /* failures on the way are top-level errors */
    API_FILE, /* load and boot a file, backup: the client's file may be invalid */
    API_BOOT,
    API_NODES,
    API_STEP_DOWN,
    API_JOIN,
    API_OTHER
};

struct api_endpoint {
    enum api_family family;
    const char *remote; /* "remote <this> not authorized" */
    const char *type;   /* Content-Type of its answers; NULL = none */
};

/* Answer x for a call that has failed: redirect, text error or top-level error. */
void respond_failed(struct http_exchange *x, const struct params *p,
                    const struct api_endpoint *endpoint, const struct call *c);

/* Text error with the call's served_by. */
void respond_error_served(struct http_exchange *x, int status, const char *text,
                          const char *served_by);

#endif
