/* SPDX-License-Identifier: MIT */
/*
 * auth: may this request do that?  (HTTP API 14)  The users are core/auth's; here is how
 * a request names one.
 */
#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/auth/auth.h"
#include "gateway/http.h"

/* Find out which of the wanted permissions (enum auth_permission) the request has and
 * call then(x, arg) with the answer in x->granted: before this returns, or later on
 * x->thread, with x held meanwhile.  Not if the client has left by then, or if too many
 * passwords are being checked: then x has been answered. */
void auth_then(struct http_exchange *x, uint32_t wanted,
               void (*then)(struct http_exchange *x, void *arg), void *arg);

/* Is the request certain to be refused all that is wanted?  At once, so false also means
 * that it is not known yet. */
bool auth_hopeless(struct http_exchange *x, uint32_t wanted);

/* What a forwarded request tells the leader (NULL = no credentials were sent). */
void auth_credentials(struct http_exchange *x, const char **user, const char **password);

#endif
