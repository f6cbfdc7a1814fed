/* SPDX-License-Identifier: MIT */
/*
 * pack: an ExecuteRequest's bytes, quicker than by walking its descriptors (a request
 * with many statements spends more on that than on reading its JSON).  The bytes are
 * those of protobuf_c_message_pack().  Pure.
 */
#ifndef GATEWAY_PACK_H
#define GATEWAY_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/blob.h"
#include "proto/command.pb-c.h"

/* A new blob with room for spare more bytes.  NULL when out of memory or over 4 GiB. */
struct blob *pack_execute(const Rqlite__ExecuteRequest *m, size_t spare);

/* The statements alone, as the fields of an ExecuteRequest; those of several may be put
 * in a row. */
size_t pack_statements_size(Rqlite__Statement *const *list, size_t n);
uint8_t *pack_statements(uint8_t *to, Rqlite__Statement *const *list, size_t n);

#endif
