/* SPDX-License-Identifier: MIT */
/*
 * access_line: one line of the access log, as text or as a JSON object.  Pure.
 *
 * What a client sent cannot break a line apart or forge one: whatever it holds, a text
 * line has no control character in it but the newline at its end, and its fields end
 * where they should; a JSON line is one valid object.
 */
#ifndef GATEWAY_ACCESS_LINE_H
#define GATEWAY_ACCESS_LINE_H

#include <stdbool.h>
#include <stdint.h>

struct buf;

enum {
    ACCESS_LINE_Q = 64,       /* of the SQL in the query string so many bytes are shown */
    ACCESS_LINE_TARGET = 1024 /* and of the whole target, about */
};

struct access_line {
    uint64_t at_ns;              /* since 1970 */
    const char *client;          /* printable ASCII without spaces */
    const char *method, *target; /* as sent */
    const char *user;            /* anything; NULL: none was named */
    const char *id;              /* of the request: as client; NULL: none */
    int status;
    uint64_t sent_bytes, elapsed_ns;
};

/* Appends to out, which remembers a failure. */
void access_line_put(struct buf *out, const struct access_line *l, bool json);

#endif
