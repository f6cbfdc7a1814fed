/* SPDX-License-Identifier: MIT */
/*
 * net: one endpoint of the internal protocol: what its servers and channels share.
 *
 *     net        event loop, limits, identity, counters          (this header)
 *     server.h   listens, and hands calls to handlers
 *     client.h   channels: one address each, on which calls are made
 *
 * Below them: conn (a TCP connection that speaks frames), stream (the messages of one
 * call on a connection, with its windows), frame (the pure codec), resolve (names).
 *
 * Owner: the thread that runs the event_base.  Everything here and in server.h and
 * client.h is called on that thread (or before it starts and after it has ended), and
 * calls back on it.  Nothing locks; there is no global state, so many endpoints fit in a
 * process.
 *
 * The process ignores SIGPIPE: a peer that has gone is an error of a call, not of us.
 *
 * Order of closing: channels and servers, then every net_call that handlers still hold
 * is ended, then net_free(), then the event_base.
 */
#ifndef CORE_NET_NET_H
#define CORE_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/blob.h"
#include "core/base/err.h"
#include "core/base/logger.h"
#include "core/net/frame.h"
#include "core/net/service.h"
#include "core/net/status.h"

struct evbuffer;
struct event_base;
struct net; /* opaque */
struct tls;

struct net_limits {           /* 0 = the default in brackets */
    size_t max_message_bytes; /* longer ones are ERR_TOO_BIG at the sender, and end the
                                 call at the receiver [256 MiB] */
    size_t window_bytes;     /* of unread messages per stream that a peer may send us, and
                                then     the rest of the message it has begun; not on NET_RAFT
                                [512 KiB] */
    size_t high_water_bytes; /* queued on a connection: nothing is "writable" any more [1
                                MiB] */
    size_t max_queued_bytes; /* queued on a connection: sends are refused with ERR_BUSY
                                [512 MiB] */
    unsigned max_connections; /* accepted of classes CALL and BULK, per server [512] */
    unsigned max_streams; /* open calls per accepted connection; beyond, calls are refused
                             with ERR_BUSY, not run [4096] */
    uint32_t connect_ms;  /* name, TCP and hello together [30 s] */
    uint32_t hello_ms;    /* accepted connections: until the hello is here [10 s] */
    uint32_t idle_ping_ms;   /* heard nothing for so long: ping [10 s] */
    uint32_t pong_ms;        /* and then nothing for so long: the peer is dead [5 s] */
    uint32_t backoff_max_ms; /* between dials: 10 ms, doubling up to this [1 s] */
};

struct net_identity {    /* what our hello says */
    uint64_t cluster_id; /* 0 = none yet */
    const char *node_id, *address, *software;
};

struct net_options {
    struct event_base *base; /* borrowed */
    struct logger *logger;   /* borrowed; may be NULL */
    struct tls *tls;         /* borrowed; all connections are encrypted.  NULL: none is */
    struct net_limits limits;
    struct net_identity identity; /* texts are copied */
};

struct net_stats { /* since net_new(), unless "now" */
    uint64_t dialed, dial_failed, accepted,
        refused;                   /* connections; refused = at hello or limit */
    uint64_t connections, streams; /* now */
    uint64_t lost;                 /* open connections that broke */
    uint64_t bad_peers;            /* of refused and lost: what they sent was wrong */
    uint64_t dead_peers;           /* of lost: no answer to a ping */
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    uint64_t messages_in, messages_out;
    uint64_t calls_in,
        calls_refused; /* refused = not run: unknown, over a limit, undecodable */
    uint64_t calls_out, calls_failed; /* failed = ended with anything but OK */
    uint64_t queued_bytes;            /* now, of all connections */
};

/* On ERR_OK the caller owns *out and ends it with net_free(). */
MUST_USE enum err net_new(struct net **out, const struct net_options *o, struct why *why);

/* Every server, channel and call of it is gone (CHECKed).  NULL is allowed. */
void net_free(struct net *n);

/* What hellos say from now on; open connections stay.  ERR_NOMEM, ERR_INVALID (a text too
 * long): nothing changed. */
MUST_USE enum err net_set_identity(struct net *n, const struct net_identity *id,
                                   struct why *why);
uint64_t net_cluster_id(const struct net *n);

void net_stats(const struct net *n, struct net_stats *out);

/* Append the bytes of b, from offset, to out by reference: b is kept until they are
 * written.  False when out of memory. */
bool net_add_blob(struct evbuffer *out, struct blob *b, size_t offset);

struct net_peer { /* who is at the other end; kept as long as any call refers to it */
    struct net_hello hello;
    uint16_t version; /* of the protocol, as agreed */
    char remote[64];  /* "10.1.0.2:51234" */
    unsigned refs;    /* not the user's */
};

#endif
