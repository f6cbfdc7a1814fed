/* SPDX-License-Identifier: MIT */
#include "core/base/pb.h"

#include <string.h>

static void *alloc_in_arena(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void free_with_arena(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

enum err pb_unpack(void *out_message, const ProtobufCMessageDescriptor *type,
                   struct arena *a, const void *data, size_t len, struct why *why)
{
    ProtobufCAllocator in_arena = {alloc_in_arena, free_with_arena, a};
    bool failed_before = a->failed, failed_now;
    ProtobufCMessage *message;

    a->failed = false; /* the library says NULL for bad bytes and for no memory alike */
    message = protobuf_c_message_unpack(type, &in_arena, len, data);
    failed_now = a->failed;
    a->failed = failed_before || failed_now;
    memcpy(out_message, &message, sizeof message);
    if (message) return ERR_OK;
    if (failed_now)
        return why_set(why, ERR_NOMEM, "decode %s: out of memory", type->name);
    return why_set(why, ERR_CORRUPT, "decode %s: malformed message", type->name);
}

struct blob *pb_pack(const ProtobufCMessage *message, size_t spare)
{
    size_t len = protobuf_c_message_get_packed_size(message), cap;
    struct blob *b;

    if (__builtin_add_overflow(len, spare, &cap)) return NULL;
    b = blob_new(cap);
    if (!b) return NULL;
    b->len = (uint32_t)protobuf_c_message_pack(message, b->data);
    CHECK(b->len == len);
    return b;
}
