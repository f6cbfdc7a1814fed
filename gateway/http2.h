/* SPDX-License-Identifier: MIT */
/*
 * http2: HTTP/2 on one connection: in clear text with prior knowledge (RFC 9113, 3.3) or
 * by an upgrade, in TLS by ALPN.
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

struct exchange;

/* The same for a connection whose first request, complete and without a body, asks for it
 * by "Upgrade: h2c" (RFC 7540, 3.2): it becomes stream 1 and is started with the client's
 * first frame.  settings is the value of its HTTP2-Settings.  False: that is none, or out
 * of memory; nothing was changed. */
bool http2_upgrade(struct hconn *c, struct exchange *e, const char *settings);

#endif
