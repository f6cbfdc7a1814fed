/* SPDX-License-Identifier: MIT */
/*
 * status: how a call ended, in gRPC's codes and in ours.
 *
 * On the wire a status is an Rqlite__Status: gRPC's code for everybody, the name of our
 * code ("NOT_LEADER") for those who know it, and words.  Pure; any thread.
 */
#ifndef CORE_NET_STATUS_H
#define CORE_NET_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

enum net_status { /* google.rpc.Code */
                  NET_STATUS_OK = 0,
                  NET_STATUS_CANCELLED = 1,
                  NET_STATUS_UNKNOWN = 2,
                  NET_STATUS_INVALID_ARGUMENT = 3,
                  NET_STATUS_DEADLINE_EXCEEDED = 4,
                  NET_STATUS_NOT_FOUND = 5,
                  NET_STATUS_ALREADY_EXISTS = 6,
                  NET_STATUS_PERMISSION_DENIED = 7,
                  NET_STATUS_RESOURCE_EXHAUSTED = 8,
                  NET_STATUS_FAILED_PRECONDITION = 9,
                  NET_STATUS_ABORTED = 10,
                  NET_STATUS_OUT_OF_RANGE = 11,
                  NET_STATUS_UNIMPLEMENTED = 12,
                  NET_STATUS_INTERNAL = 13,
                  NET_STATUS_UNAVAILABLE = 14,
                  NET_STATUS_DATA_LOSS = 15,
                  NET_STATUS_UNAUTHENTICATED = 16
};

enum net_status net_status_of(enum err e);
const char *net_status_name(enum net_status s); /* "UNAVAILABLE"; static */

/* The name of a code on the wire: "NOT_LEADER".  Static; never changes once released. */
const char *net_err_symbol(enum err e);

/* Our code for a status from the wire: by its symbol if that is known here, else the
 * nearest to gRPC's code.  ERR_OK only if both say so. */
enum err net_err_of(int32_t status, const char *symbol, size_t symbol_len);

/* Encode as a packed Rqlite__Status; gives its length.  text NULL: the code's name.  A
 * text over 511 bytes is cut. */
enum { NET_STATUS_ROOM = 640 };
size_t net_status_put(uint8_t out[NET_STATUS_ROOM], enum err code, const char *text);

/* Decode into *said, whose text is never empty.  ERR_CORRUPT if it is none, ERR_NOMEM. */
MUST_USE enum err net_status_get(struct why *said, const void *body, size_t len,
                                 struct why *why);

#endif
