/* SPDX-License-Identifier: MIT */
/*
 * conn: one TCP connection that speaks frames.  Internal to core/net.
 *
 *                  preface and hello
 *      CONNECTING -> HELLO -> OPEN
 *           \          \        \   conn_fail(), conn_close() with words
 *            \          \--------+----> LINGER: the goaway is written, what comes is
 *             \          \        \         |   thrown away, so that no reset overtakes
 * it
 *              +----------+--------+--------+-> CLOSED: freed when the stack has unwound
 *
 * Output is gathered while the loop handles what has happened, and written once at the
 * end of that round: many small frames cost one write.  The kernel gets it directly, or
 * with TLS through secure.h; only what it does not take is left to the bufferevent.
 *
 * Reading never stops (windows bound what may come, see stream.h), so that a ping is
 * always answered.
 */
#ifndef CORE_NET_CONN_H
#define CORE_NET_CONN_H

#include <event2/event_struct.h>

#include "core/base/map.h"
#include "core/net/internal.h"
#include "core/net/resolve.h"

struct bufferevent;
struct conn;

struct conn_ops { /* what the server or channel that owns a connection does */
    /* The peer's hello is in c->peer and fits ours.  An error refuses it. */
    enum err (*on_hello)(struct conn *c, struct why *why);
    void (*on_open)(struct conn *c);
    /* A frame other than hello, ping, pong, goaway.  Its body is at the front of in;
     * what is left of it is drained afterwards.  An error closes the connection. */
    enum err (*on_frame)(struct conn *c, const struct frame *f, struct evbuffer *in,
                         struct why *why);
    void (*on_writable)(struct conn *c); /* conn_writable() was false and is true again */
    void (*on_goaway)(struct conn *c, const struct why *said); /* open calls go on */
    /* The connection is over, or was never made; the owner forgets it.  Not called after
     * conn_close(). */
    void (*on_closed)(struct conn *c, const struct why *why);
};

enum conn_state { CONN_CONNECTING, CONN_HELLO, CONN_OPEN, CONN_LINGER, CONN_CLOSED };

struct conn {
    struct net *net;
    struct list all;  /* in net->conns */
    struct list link; /* the owner's */
    const struct conn_ops *ops;
    void *owner;
    enum conn_state state;
    bool accepted;
    bool heard_preface, told_hello, was_open;
    bool blocked; /* somebody found it not writable */
    bool flush_asked;
    const char *broken; /* why sending cannot go on; static */
    enum err broken_code;
    bool untrusted; /* TLS failed for a reason that seldom mends itself */
    bool draining;  /* a goaway was sent or came: no new calls */
    enum net_class class;
    struct net_peer *peer; /* one reference; hello empty until it came */

    struct bufferevent *bev; /* owned; NULL while secure has the socket */
    struct secure *secure;   /* owned; NULL in clear text and until TCP is connected */
    const char *host;        /* that was dialled; borrowed until TCP is connected */
    struct evbuffer *out;    /* owned; goes to the kernel at the end of the round */
    struct event flush, timer;
    uint64_t queued; /* bytes ever put into out */
    uint64_t pinged_ms;
    uint64_t heard_ms; /* when the last bytes came */
    uint64_t ping_at,
        ping_flushed; /* queued behind the ping; progress when it was asked */
    bool pinged;

    struct map by_id; /* struct stream by its id */
    struct list streams;
    struct list waiting; /* streams to be told when they may send */
    unsigned n_streams;
    size_t kept;      /* bytes received that wait in streams: parts, and whole messages */
    uint32_t next_id; /* dialer: of the next call */
    struct later later;
};

/* A connection for an accepted socket, which passes in every case. */
MUST_USE enum err conn_accept(struct conn **out, struct net *n, int fd,
                              const struct sockaddr *from, const struct conn_ops *ops,
                              void *owner, struct why *why);
/* Dial; open_ms is for everything up to CONN_OPEN.  host is what to resolved from, which
 * TLS wants to know; borrowed as long as it is being dialled. */
MUST_USE enum err conn_dial(struct conn **out, struct net *n,
                            const struct net_address *to, const char *host,
                            enum net_class class, uint64_t open_ms,
                            const struct conn_ops *ops, void *owner, struct why *why);

/* The owner gives it up.  With text the peer is told why. */
void conn_close(struct conn *c, enum err code, const char *text);
/* The peer did wrong: tell it, log it, on_closed(). */
void conn_fail(struct conn *c, enum err code, const char *text);
/* It cannot go on here, for want of memory, say: it breaks from the loop, not from within
 * this. text is static. */
void conn_break(struct conn *c, enum err code, const char *text);
/* Tell the peer that no new calls are taken. */
void conn_goaway(struct conn *c, enum err code, const char *text);
/* At once, silently. */
void conn_free(struct conn *c);

/* Bytes not yet written, and a count of those that were: a frame that ends at position p
 * of c->queued is written when p <= conn_flushed(). */
size_t conn_queued(const struct conn *c);
uint64_t conn_flushed(const struct conn *c);
bool conn_writable(struct conn *c); /* false: on_writable() will come */

/* Queue one frame; its length and checksum are set here.  For parts of messages ask
 * conn_room() first.  Without memory the connection breaks, from the loop: ERR_NOMEM. */
enum err conn_send(struct conn *c, struct frame *f, const void *body, size_t len);
/* Body = head, then message packed. */
enum err conn_send_packed(struct conn *c, struct frame *f, const void *head,
                          size_t head_len, const ProtobufCMessage *message, size_t len);
/* Body = head, then the first len bytes of chain, which are moved. */
enum err conn_send_chain(struct conn *c, struct frame *f, const void *head,
                         size_t head_len, struct evbuffer *chain, size_t len);
/* May len bytes of message be queued now? */
bool conn_room(const struct conn *c, size_t len);

void net_peer_unref(struct net_peer *p);

#endif
