/* SPDX-License-Identifier: MIT */
/*
 * frame: the bytes of the internal protocol.
 *
 * Pure: bytes in, values out; no memory but what the caller hands in, no sockets.  The
 * layouts are drawn at the top of frame.c.
 *
 * A connection begins, in both directions, with the eight bytes of the preface and then
 * carries frames: a header of 16 bytes and a body of at most FRAME_BODY_MAX.  The first
 * frame is a hello, or a goaway that says why there is none.  A message larger than one
 * body goes in several frames of its stream, all but the last marked FRAME_MORE; frames
 * of other streams may come between them.
 */
#ifndef CORE_NET_FRAME_H
#define CORE_NET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/err.h"

enum {
    FRAME_PREFACE_BYTES = 8,
    FRAME_HEADER_BYTES = 16,
    FRAME_BODY_MAX = 1 << 20,
    FRAME_VERSION_MIN = 1, /* of the protocol: what this code speaks */
    FRAME_VERSION_MAX = 1,
    FRAME_ID_MAX = 255, /* node ids */
    FRAME_ADDR_MAX = 261,
    FRAME_SOFTWARE_MAX = 63,
    FRAME_USER_MAX = 255,
    FRAME_PASSWORD_MAX = 1023,
    /* Room that suffices for these bodies. */
    FRAME_HELLO_ROOM = 18 + 3 * 2 + FRAME_ID_MAX + FRAME_ADDR_MAX + FRAME_SOFTWARE_MAX,
    FRAME_META_ROOM = 2 + 25 + 2 * 2 + FRAME_USER_MAX + FRAME_PASSWORD_MAX
};

enum frame_kind {
    FRAME_HELLO = 1, /* who I am; the first frame in each direction */
    FRAME_CALL,      /* opens a stream: metadata, and with FRAME_MESSAGE_HERE a message */
    FRAME_MESSAGE,   /* a message of a stream, or a part of one */
    FRAME_END, /* caller: no more messages; callee: the status, and the stream is over */
    FRAME_CANCEL, /* caller: the stream is over */
    FRAME_WINDOW, /* so many more bytes of messages may be sent on this stream */
    FRAME_PING,
    FRAME_PONG,
    FRAME_GOAWAY /* no new calls here, and why; with FRAME_FATAL the connection is over */
};

enum frame_flag {
    FRAME_MORE = 1,         /* CALL, MESSAGE: the message goes on in the next MESSAGE */
    FRAME_LAST = 2,         /* CALL, MESSAGE: and END; from the callee with status OK */
    FRAME_MESSAGE_HERE = 4, /* CALL: a message, possibly empty, follows the metadata */
    FRAME_NOT_RUN = 8,      /* END: the call has had no effect; it may be repeated */
    FRAME_FATAL = 16,       /* GOAWAY: nothing more will be read or written */
    FRAME_CHECKED = 128 /* the header's checksum is set.  We always do; it is left to the
                           sender for the sake of clients without a quick CRC-32C */
};

struct frame {
    uint32_t length; /* of the body */
    enum frame_kind kind;
    uint8_t flags;           /* enum frame_flag; only those allowed for kind */
    uint8_t service, method; /* CALL only, else 0 */
    uint32_t stream; /* 0 for what concerns the connection, never 0 for the rest */
    uint32_t crc;    /* with FRAME_CHECKED: of the header before it and the body */
};

extern const uint8_t frame_preface[FRAME_PREFACE_BYTES];

/* The header of f, with f->crc as it is. */
void frame_put(uint8_t out[FRAME_HEADER_BYTES], const struct frame *f);

/* Checksum of the header's first twelve bytes, to be continued over the body. */
uint32_t frame_crc_start(const uint8_t header[FRAME_HEADER_BYTES]);

/* Read a header.  ERR_CORRUPT: unknown kind, a flag, stream or length that the kind does
 * not allow.  ERR_TOO_BIG: a body over FRAME_BODY_MAX. */
MUST_USE enum err frame_get(struct frame *out, const uint8_t in[FRAME_HEADER_BYTES],
                            struct why *why);

const char *frame_kind_name(enum frame_kind kind); /* "call"; static */

/* Guess what a peer speaks whose first len bytes are not the preface: "an HTTP request",
 * "a TLS handshake", ...  Static, never NULL. */
const char *frame_guess(const uint8_t *first, size_t len);

/* --- bodies ----------------------------------------------------------------------------
 */

enum net_class { /* what a connection is for; each kind of traffic has its own */
                 NET_RAFT = 1, /* consensus; small, never behind anything large; no window
                                  per stream */
                 NET_CALL,     /* requests of clients and nodes */
                 NET_BULK      /* snapshots, backups, loads */
};
const char *net_class_name(enum net_class c); /* "raft"; static */

struct net_hello {
    uint16_t version_min, version_max; /* of the protocol */
    enum net_class class;              /* the dialer's wish, repeated by the other side */
    uint64_t cluster_id;               /* 0 = none yet, or not a node */
    uint32_t
        window; /* bytes of messages that a stream may at first send to who says this */
    char node_id[FRAME_ID_MAX + 1];   /* "" = not a node */
    char address[FRAME_ADDR_MAX + 1]; /* advertised */
    char software[FRAME_SOFTWARE_MAX + 1];
};

struct net_meta { /* of a call; texts may be NULL */
    const char *user, *password;
    uint64_t
        timeout_ns; /* for the whole call, 0 = none; the receiver sees what is left */
    uint64_t call_id[2]; /* the same in each repetition of a call; 0,0 = none */
    bool node_authority; /* the caller is a member that has checked who wants this */
    bool forwarded; /* came from a node that passed it on: not to be passed on again */
};

/* Encoders give the length.  The rooms above suffice.  In a hello, texts over their limit
 * are cut; a meta is checked by frame_meta_check() first.  Bodies of END and GOAWAY are a
 * status (status.h). */
size_t frame_put_hello(uint8_t *out, const struct net_hello *h);
size_t frame_put_meta(uint8_t *out, const struct net_meta *m);

/* ERR_TOO_BIG if user or password is too long for the wire. */
MUST_USE enum err frame_meta_check(const struct net_meta *m, struct why *why);

/* Decoders: ERR_CORRUPT for bytes that are no such body.  Fields that a later version
 * appends are passed over. */
MUST_USE enum err frame_get_hello(struct net_hello *out, const void *body, size_t len,
                                  struct why *why);
/* Texts are copied into a; *used is where the message begins.  ERR_NOMEM, too. */
MUST_USE enum err frame_get_meta(struct net_meta *out, struct arena *a, const void *body,
                                 size_t len, size_t *used, struct why *why);

#endif
