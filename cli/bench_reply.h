/* SPDX-License-Identifier: MIT */
/*
 * bench_reply: reads HTTP/1.1 responses off the front of a buffer, and judges what they
 * say. Pure: bytes in, values out.
 */
#ifndef CLI_BENCH_REPLY_H
#define CLI_BENCH_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

struct bench_reply {
    int status;
    const char *body; /* in the buffer; chunks are moved together there */
    size_t body_len;
    size_t used; /* bytes of the buffer that the response took */
    bool close;  /* the server ends the connection after it */
};

/* One response of data, which may be changed.  ERR_NOTHING when more bytes are needed
 * (data is then unchanged), ERR_CORRUPT when this is no response.  at_end: the connection
 * has ended, which is how a response without a length ends, too. */
MUST_USE enum err bench_reply_read(struct bench_reply *r, char *data, size_t len,
                                   bool at_end, struct why *why);

/* ERR_SQL with "received ..." unless the status is 200 and, when parse is set, the body
 * has at least one result and no error. */
MUST_USE enum err bench_reply_check(int status, const char *body, size_t len, bool parse,
                                    struct why *why);

#endif
