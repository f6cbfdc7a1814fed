/* SPDX-License-Identifier: MIT */
/*
 * json_write: JSON text into a buf, in the form of HTTP API 1.7.
 *
 * struct json keeps track of commas and, when pretty, of lines and indentation.  Failure
 * is remembered by the buf.  Pure.
 */
#ifndef GATEWAY_JSON_WRITE_H
#define GATEWAY_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"

struct json {
    struct buf *out; /* borrowed */
    unsigned depth;  /* of what is open; only counted when pretty */
    bool pretty;
    bool empty; /* nothing has been written since the last json_open() */
};

void json_init(struct json *j, struct buf *out, bool pretty);

/* '[' or '{', and their ends. */
void json_open(struct json *j, char bracket);
void json_close(struct json *j, char bracket);

/* Before each element of an array: the comma, and its line. */
void json_item(struct json *j);
/* Before each value of an object; key is a name that needs no escapes. */
void json_key(struct json *j, const char *key);
void json_keyn(struct json *j, const char *key, size_t n); /* any name */

/* Values. */
void json_put_string(struct buf *out, const void *text, size_t n);
void json_put_cstring(struct buf *out, const char *text);
void json_put_int(struct buf *out, int64_t v);
void json_put_uint(struct buf *out, uint64_t v);
bool json_put_real(struct buf *out, double v); /* false: infinite, nothing was written */
void json_put_seconds(struct buf *out, uint64_t ns);
void json_put_bool(struct buf *out, bool v);
void json_put_base64(struct buf *out, const void *data, size_t n);
void json_put_blob_array(struct json *j, const uint8_t *data, size_t n);

#endif
