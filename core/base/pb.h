/* SPDX-License-Identifier: MIT */
/*
 * pb: protobuf-c messages in arenas and blobs.  Pure; the arena's owner calls.
 */
#ifndef CORE_BASE_PB_H
#define CORE_BASE_PB_H

#include <protobuf-c/protobuf-c.h>

#include "core/base/arena.h"
#include "core/base/blob.h"
#include "core/base/err.h"

/* Decode a message into the arena: it lives and dies with it, so
 * protobuf_c_message_free_unpacked() is never called.  ERR_CORRUPT when the bytes are no
 * such message, ERR_NOMEM. */
MUST_USE enum err pb_unpack(void *out_message, const ProtobufCMessageDescriptor *type,
                            struct arena *a, const void *data, size_t len,
                            struct why *why);

/* Encode into a new blob with room for spare more bytes behind the message (see
 * command.proto: the context fields that the leader appends).  NULL when out of memory or
 * over 4 GiB. */
struct blob *pb_pack(const ProtobufCMessage *message, size_t spare);

#endif
