/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a peer, through all that reads them without a socket: headers, hello,
 * metadata, status, every message of proto/, and Raft's messages.  What is understood is
 * written again and must be understood in the same way.
 *
 * The first byte of an input chooses the reader; so a kept input stays with its reader.
 */
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/base/pb.h"
#include "core/net/frame.h"
#include "core/net/status.h"
#include "proto/cluster.pb-c.h"
#include "proto/command.pb-c.h"
#include "proto/raft.pb-c.h"

/* Fuzz targets are not linked with core/node, which stands above what they need. */
#include "core/node/raft_wire.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &rqlite__raft_message__descriptor,      &rqlite__snapshot_chunk__descriptor,
    &rqlite__snapshot_reply__descriptor,    &rqlite__configuration__descriptor,
    &rqlite__execute_request__descriptor,   &rqlite__query_request__descriptor,
    &rqlite__script_request__descriptor,    &rqlite__load_chunk__descriptor,
    &rqlite__results__descriptor,           &rqlite__status__descriptor,
    &rqlite__join_request__descriptor,      &rqlite__join_reply__descriptor,
    &rqlite__notify_request__descriptor,    &rqlite__remove_request__descriptor,
    &rqlite__step_down_request__descriptor, &rqlite__node_info__descriptor,
    &rqlite__backup_request__descriptor,    &rqlite__chunk__descriptor,
};
enum { TYPES = sizeof types / sizeof types[0] };

/* A conversation: preface or not, then frames as a connection takes them apart. */
static void read_frames(const uint8_t *p, size_t left)
{
    (void)frame_guess(p, left);
    while (left >= FRAME_HEADER_BYTES) {
        uint8_t again[FRAME_HEADER_BYTES];
        struct frame f;

        if (frame_get(&f, p, NULL)) return;
        CHECK(f.length <= FRAME_BODY_MAX);
        frame_put(again, &f);
        CHECK(memcmp(again, p, sizeof again) == 0);
        (void)frame_crc_start(p);
        if (left - FRAME_HEADER_BYTES < f.length) return;
        p += FRAME_HEADER_BYTES + f.length;
        left -= FRAME_HEADER_BYTES + f.length;
    }
}

static void read_hello(const uint8_t *p, size_t len)
{
    uint8_t again[FRAME_HELLO_ROOM];
    struct net_hello h, back;

    if (frame_get_hello(&h, p, len, NULL)) return;
    CHECK(frame_get_hello(&back, again, frame_put_hello(again, &h), NULL) == ERR_OK);
    CHECK(memcmp(&h, &back, sizeof h) == 0);
}

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void read_meta(struct arena *a, const uint8_t *p, size_t len)
{
    uint8_t again[FRAME_META_ROOM];
    struct net_meta m, back;
    size_t used, rewritten;

    if (frame_get_meta(&m, a, p, len, &used, NULL)) return;
    CHECK(used <= len);
    CHECK(frame_meta_check(&m, NULL) == ERR_OK);
    rewritten = frame_put_meta(again, &m);
    CHECK(frame_get_meta(&back, a, again, rewritten, &used, NULL) == ERR_OK);
    CHECK(used == rewritten);
    CHECK(same(m.user, back.user));
    CHECK(same(m.password, back.password));
    CHECK(m.timeout_ns == back.timeout_ns);
    CHECK(m.call_id[0] == back.call_id[0]);
    CHECK(m.call_id[1] == back.call_id[1]);
    CHECK(m.forwarded == back.forwarded);
}

static void read_status(const uint8_t *p, size_t len)
{
    uint8_t again[NET_STATUS_ROOM];
    struct why said, back;
    size_t rewritten;

    if (net_status_get(&said, p, len, NULL)) return;
    rewritten = net_status_put(again, said.code, said.text);
    CHECK(rewritten <= sizeof again);
    CHECK(net_status_get(&back, again, rewritten, NULL) == ERR_OK);
    CHECK(back.code == said.code);
}

static void read_raft(struct arena *a, const Rqlite__RaftMessage *w)
{
    struct raft_message m, back;
    struct evbuffer *bytes;
    Rqlite__RaftMessage *again;

    if (raft_wire_decode(&m, a, w, NULL)) return;
    bytes = evbuffer_new();
    if (raft_wire_encode(bytes, &m)) {
        CHECK(pb_unpack(&again, &rqlite__raft_message__descriptor, a,
                        evbuffer_pullup(bytes, -1), evbuffer_get_length(bytes),
                        NULL) == ERR_OK);
        CHECK(raft_wire_decode(&back, a, again, NULL) == ERR_OK);
        CHECK(back.n_entries == m.n_entries);
        CHECK(back.term == m.term);
        CHECK(strcmp(back.from, m.from) == 0);
        raft_wire_release(&back);
    }
    raft_wire_release(&m);
    evbuffer_free(bytes);
}

static void read_message(struct arena *a, const ProtobufCMessageDescriptor *type,
                         const uint8_t *p, size_t len)
{
    ProtobufCMessage *m;

    if (pb_unpack(&m, type, a, p, len, NULL)) return;
    (void)protobuf_c_message_get_packed_size(m);
    if (type == &rqlite__raft_message__descriptor) read_raft(a, (void *)m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    unsigned which;

    if (size == 0) return 0;
    which = *data++;
    size--;
    arena_init(&a, 64 << 20);
    if (which < TYPES)
        read_message(&a, types[which], data, size);
    else if (which == 'f')
        read_frames(data, size);
    else if (which == 'h')
        read_hello(data, size);
    else if (which == 'm')
        read_meta(&a, data, size);
    else if (which == 's')
        read_status(data, size);
    arena_fini(&a);
    return 0;
}
