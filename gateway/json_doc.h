/* SPDX-License-Identifier: MIT */
/*
 * json_doc: a struct doc as JSON text: objects sorted by key unless they keep their
 * order.  Pure.
 */
#ifndef GATEWAY_JSON_DOC_H
#define GATEWAY_JSON_DOC_H

#include "core/base/doc.h"
#include "gateway/json_write.h"

/* Write d; NULL is null.  Sorts the members of its objects in place.  A real without a
 * form in JSON is null. */
void json_doc(struct json *j, struct doc *d);

/* The value at a path "a.b.c"; one that goes below a scalar or an array gives that (HTTP
 * API 12).  NULL if there is none. */
struct doc *json_doc_at(struct doc *d, const char *path);

#endif
