/* SPDX-License-Identifier: MIT */
/*
 * server: accepts connections and hands their calls to handlers.
 *
 * A call belongs to its handler from on_call() until the handler ends it with
 * net_call_end() or net_call_reply(), which it owes in every case, also after on_gone().
 * Until then the call, its metadata, peer and arena stay valid, whatever happens to the
 * connection or the server; so a handler may give them to another thread to read, as long
 * as all functions here are called on the owner's thread.
 *
 *     on_call -> (on_message)* -> on_end          what the caller sends
 *     net_call_send* -> net_call_end              what the handler answers, at any time
 *
 * A method whose input does not stream gets its message with on_call().
 */
#ifndef CORE_NET_SERVER_H
#define CORE_NET_SERVER_H

#include "core/base/arena.h"
#include "core/net/net.h"

struct net_server; /* opaque */
struct net_call;   /* opaque */

/* What a handler wants to know later; any may be NULL. */
struct net_call_events {
    /* The next message of the stream; NULL for a raw method.  It lives until this
     * returns, or, if the call was paused in it, until net_call_resume(). */
    void (*on_message)(struct net_call *c, const ProtobufCMessage *message);
    /* The caller has sent its last message. */
    void (*on_end)(struct net_call *c);
    /* After net_call_send() gave ERR_BUSY or net_call_writable() false: go on. */
    void (*on_writable)(struct net_call *c);
    /* The caller cancelled or its connection broke: the answer goes nowhere. */
    void (*on_gone)(struct net_call *c);
};

struct net_method {
    /* message is the input, or NULL if it streams or the method is raw.  NULL handler:
     * the method is refused as ERR_UNSUPPORTED. */
    void (*on_call)(struct net_call *c, const ProtobufCMessage *message);
    /* Don't decode: the handler takes net_call_bytes(). */
    bool raw;
};

struct net_server_options {
    /* An accepted connection has said hello (cluster ids that differ were refused
     * before). Anything but ERR_OK refuses it; the text in why is told to the peer.  May
     * be NULL. */
    enum err (*on_hello)(void *arg, const struct net_hello *peer, struct why *why);
    void *arg;
};

/* On ERR_OK the caller owns *out and ends it with net_server_free(). */
MUST_USE enum err net_server_new(struct net_server **out, struct net *n,
                                 const struct net_server_options *o, struct why *why);

/* Closes listeners and connections; calls still with handlers get on_gone() before this
 * returns.  NULL is allowed. */
void net_server_free(struct net_server *s);

/* Serve s with the handlers in methods, one for each method of the descriptor; both are
 * borrowed.  net_call_service_arg() gives arg.  ERR_EXISTS, ERR_NOMEM. */
MUST_USE enum err net_server_add(struct net_server *s, const struct net_service *service,
                                 const struct net_method *methods, void *arg);

/* Listen on "host:port": "" or "[::]" is every address, a name its first address, IPv4
 * preferred; port 0 any free one.  May be called several times.  Resolves a name on this
 * thread, so before the loop runs.  ERR_INVALID, ERR_IO. */
MUST_USE enum err net_server_listen(struct net_server *s, const char *address,
                                    struct why *why);

/* Listen on a socket that is bound already.  On ERR_OK it is the server's; else it stays
 * the caller's.  ERR_IO. */
MUST_USE enum err net_server_listen_fd(struct net_server *s, int fd, struct why *why);

/* Port of the first listener; 0 if there is none. */
uint16_t net_server_port(const struct net_server *s);

/* Stop listening and tell all callers to go elsewhere; open calls go on, new ones are
 * refused, not run. */
void net_server_drain(struct net_server *s);

/* --- one call --------------------------------------------------------------------- */

/* Which events the handler wants, and what net_call_user() gives.  events is borrowed. */
void net_call_listen(struct net_call *c, const struct net_call_events *events,
                     void *user);
void *net_call_user(const struct net_call *c);
void *net_call_service_arg(const struct net_call *c);

const struct net_meta *net_call_meta(const struct net_call *c);
const struct net_peer *net_call_peer(const struct net_call *c);
uint64_t
net_call_deadline_ns(const struct net_call *c); /* of clock_real(); UINT64_MAX = none */
/* Dies with the call.  The message of a method without input stream is in it. */
struct arena *net_call_arena(struct net_call *c);

/* In on_call() and on_message(): the encoded message.  Borrowed until that returns,
 * unless net_call_keep() was called. */
const uint8_t *net_call_bytes(const struct net_call *c, size_t *len);

/* Keep them until the call ends, for a handler that decides later.  ERR_NOMEM. */
MUST_USE enum err net_call_keep(struct net_call *c);

/* May more be sent without piling up?  If not, on_writable() will tell. */
bool net_call_writable(struct net_call *c);

/* Send one message of the answer.  ERR_BUSY: not taken, the window is full, wait for
 * on_writable(); ERR_TOO_BIG, ERR_NOMEM: not taken; ERR_CANCELLED: nobody is there.  A
 * method whose output does not stream sends one, which is taken even if the window is
 * full. */
MUST_USE enum err net_call_send(struct net_call *c, const ProtobufCMessage *message);
/* The same with a packed message, which is drained from packed if it is taken. */
MUST_USE enum err net_call_send_bytes(struct net_call *c, struct evbuffer *packed);

/* Take no more messages for now; the window makes the caller stop. */
void net_call_pause(struct net_call *c);
void net_call_resume(struct net_call *c);

bool net_call_gone(const struct net_call *c);

/* End the call and free it.  ERR_OK with text NULL is success. */
void net_call_end(struct net_call *c, enum err code, const char *text);
/* As above, saying that the call had no effect and may be repeated. */
void net_call_refuse(struct net_call *c, enum err code, const char *text);
/* One message and success.  If it cannot be sent the call ends with that error. */
void net_call_reply(struct net_call *c, const ProtobufCMessage *message);

#endif
