/* SPDX-License-Identifier: MIT */
/*
 * http1: HTTP/1.0 and 1.1 on one connection.
 *
 * Pipelining: answers leave in the order of their requests.  Requests run side by side
 * only while all of them are safe (GET, HEAD, OPTIONS; RFC 9112, 9.3.2); any other waits
 * until those before it are answered, and those behind it wait for it.
 *
 * Stricter than a proxy in front of us can be lenient: no bare LF, no folded lines, no
 * space before a colon, one Content-Length, never both it and Transfer-Encoding, so that
 * nobody can see another boundary between two requests than we do (request smuggling).
 */
#ifndef GATEWAY_HTTP1_H
#define GATEWAY_HTTP1_H

#include "core/base/err.h"

struct hconn;

/* Make c speak HTTP/1.  ERR_NOMEM only. */
MUST_USE enum err http1_open(struct hconn *c);

#endif
