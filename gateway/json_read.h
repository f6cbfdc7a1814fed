/* SPDX-License-Identifier: MIT */
/*
 * json_read: the body of a data request -> the statements of its message (HTTP API
 * 3, 4.1).
 *
 * Why this is no library's: the API promises an answer by the first fault in reading
 * order, ignores what follows the closing bracket, keeps number literals for its error
 * texts, and turns invalid UTF-8 and lone surrogates into U+FFFD.  jansson does none of
 * that, and building its tree first would cost more than all the rest of a request.  So:
 * one pass over the bytes, straight into the messages.  The grammar has three levels at
 * most and refuses anything deeper, so there is no recursion.
 *
 * In place: texts are decoded where they stand, so the body's bytes are overwritten, and
 * the messages point into them.  They live as long as body and arena both do.  Pure
 * otherwise.
 */
#ifndef GATEWAY_JSON_READ_H
#define GATEWAY_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/arena.h"
#include "core/base/err.h"
#include "proto/command.pb-c.h"

struct json_statements {
    Rqlite__Statement **list; /* without empty strings, which are skipped (5.2) */
    size_t n;
    size_t received; /* with them */
};

/* ERR_INVALID with the answer's text, or ERR_NOMEM.  An empty array is no error here:
 * received is 0. */
MUST_USE enum err json_read_statements(struct json_statements *out, char *body,
                                       size_t len, struct arena *a, struct why *why);

/* One statement without parameters: the SQL of a text/plain body or of q.  sql is
 * borrowed and ends with a NUL. */
MUST_USE enum err json_statement_of_text(struct json_statements *out, char *sql,
                                         size_t len, struct arena *a, struct why *why);

/* --- the small objects of /remove, /leader and /join, read by jansson --- */

enum json_kind {
    JSON_KIND_ABSENT,
    JSON_KIND_NULL,
    JSON_KIND_TEXT,
    JSON_KIND_TRUE,
    JSON_KIND_FALSE,
    JSON_KIND_OTHER
};

struct json_field {
    const char *name;
    enum json_kind kind; /* result */
    const char *text;    /* result: of a text, in the arena */
};

/* Look up n fields in the object that body holds; *members says how many it has in all.
 * ERR_INVALID if the body is no JSON object, ERR_NOMEM. */
MUST_USE enum err json_read_object(struct json_field *fields, size_t n, size_t *members,
                                   const void *body, size_t len, struct arena *a,
                                   struct why *why);

#endif
