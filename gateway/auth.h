/* SPDX-License-Identifier: MIT */
/*
 * auth: may this request do that?  (HTTP API 14)
 */
#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H

#include <stdbool.h>

#include "gateway/http.h"

enum permission {
    PERMISSION_NONE, /* nothing is asked */
    PERMISSION_EXECUTE,
    PERMISSION_QUERY,
    PERMISSION_STATUS,
    PERMISSION_READY,
    PERMISSION_BACKUP,
    PERMISSION_LOAD,
    PERMISSION_SNAPSHOT,
    PERMISSION_REMOVE,
    PERMISSION_LEADER_OPS,
    PERMISSION_JOIN,
    PERMISSION_UI
};

/* Counts auth_ok or auth_fail; PERMISSION_NONE is always granted and not counted. */
bool auth_check(struct http_exchange *x, enum permission p);

/* What a forwarded request tells the leader (NULL = no credentials were sent). */
void auth_credentials(struct http_exchange *x, const char **user, const char **password);

#endif
