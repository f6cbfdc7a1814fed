/* SPDX-License-Identifier: MIT */
/*
 * json: documents of the server, read so that every number can be shown as it was
 * written, and strings written the way the server writes them.  Pure.
 */
#ifndef CLI_SHELL_JSON_H
#define CLI_SHELL_JSON_H

#include <jansson.h>

#include "core/base/buf.h"
#include "core/base/err.h"

/* Parse text; the caller ends *out with json_decref().  ERR_CORRUPT if it is not JSON. */
MUST_USE enum err json_read(json_t **out, const char *text, size_t len, struct why *why);

/* Append s as a JSON string, in the form of HTTP API 1.7, except that bytes that are not
 * valid UTF-8 are left for the server to judge. */
void json_append_string(struct buf *out, const char *s, size_t len);

/* Append a number as the server writes it. */
void json_append_number(struct buf *out, const json_t *number);

#endif
