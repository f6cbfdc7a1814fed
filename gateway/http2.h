/* SPDX-License-Identifier: MIT */
/*
 * http2: HTTP/2 in clear text with prior knowledge (RFC 9113, 3.3) on one connection.
 */
#ifndef GATEWAY_HTTP2_H
#define GATEWAY_HTTP2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct hconn;

enum { HTTP2_PREFACE = 24 };

/* Can a connection that begins with these bytes be HTTP/2?  Certain with HTTP2_PREFACE of
 * them. */
bool http2_may_begin(const uint8_t *data, size_t len);

/* Make c speak HTTP/2.  ERR_NOMEM only. */
MUST_USE enum err http2_open(struct hconn *c);

#endif
