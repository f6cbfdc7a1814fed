/* SPDX-License-Identifier: MIT */
/*
 * client: channels, each one connection to one address, and the calls made on them.
 *
 * A channel dials when it is first needed and stays connected; when the connection breaks
 * its requests fail, and it dials again when there is a request (or at once, after
 * net_channel_connect()), waiting 10 ms after the first failure and twice as long after
 * each next one, up to the limit, or ten times that if the peer was the wrong one.  The
 * name is looked up at each dial, on a thread of its own.
 *
 *      idle -> dialing -> open -> (lost) idle
 *               |  ^
 *               v  | back-off over
 *              failed: requests that do not wait fail at once
 */
#ifndef CORE_NET_CLIENT_H
#define CORE_NET_CLIENT_H

#include "core/base/arena.h"
#include "core/net/net.h"

struct net_channel; /* opaque */
struct net_request; /* opaque: a call, as its caller sees it */

struct net_channel_options {
    const char *address; /* host:port; copied */
    enum net_class class;
    const char *expect_id; /* node id that must answer; NULL = any.  Copied */
    uint32_t connect_ms;   /* 0 = the endpoint's */
    /* The connection is up, or was lost, or could not be made (why: each time).  May be
     * NULL. */
    void (*on_state)(void *arg, bool up, const struct why *why);
    void *arg;
};

/* On ERR_OK the caller owns *out and ends it with net_channel_free().  ERR_INVALID: no
 * such form of address. */
MUST_USE enum err net_channel_new(struct net_channel **out, struct net *n,
                                  const struct net_channel_options *o, struct why *why);

/* Requests that are left fail with ERR_CLOSED before this returns; on_state() is not
 * called any more.  NULL is allowed. */
void net_channel_free(struct net_channel *ch);

/* Connect now and stay connected, with or without requests. */
void net_channel_connect(struct net_channel *ch);

/* Dial another address from now on; an open connection to the old one is given up, and
 * its requests fail.  The same address changes nothing. */
MUST_USE enum err net_channel_set_address(struct net_channel *ch, const char *address,
                                          struct why *why);

const char *net_channel_address(const struct net_channel *ch);
bool net_channel_up(const struct net_channel *ch);
/* The other end, while up; else NULL. */
const struct net_peer *net_channel_peer(const struct net_channel *ch);
/* Bytes waiting to be written. */
size_t net_channel_queued(const struct net_channel *ch);

/* --- calls ------------------------------------------------------------------------ */

struct net_result {
    struct why why;         /* code ERR_OK = success */
    enum net_status status; /* the same in gRPC's code */
    bool not_run; /* failed, and certainly without effect: never left this process, or
                     refused before it ran.  Else the outcome is unknown */
    /* Success of a method whose output does not stream: the answer.  They live until
     * on_done() returns. */
    const ProtobufCMessage *reply; /* NULL for a raw request */
    const uint8_t *bytes;
    size_t len;
};

struct net_request_events {
    /* The next message of a streamed answer; NULL for a raw request.  It lives until this
     * returns, or, if the request was paused in it, until net_request_resume(). */
    void (*on_message)(struct net_request *r, const ProtobufCMessage *message);
    /* Connected, or ERR_BUSY is over: go on sending.  May be NULL. */
    void (*on_writable)(struct net_request *r);
    /* The end, exactly once unless cancelled, never before net_request_start() has
     * returned.  The request is freed when this returns. */
    void (*on_done)(struct net_request *r, const struct net_result *result);
};

struct net_request_options {
    const struct net_service *service;
    unsigned method;
    /* The input, one of the two; neither for a method whose input streams.  packed is
     * drained on ERR_OK, and of no use after ERR_NOMEM. */
    const ProtobufCMessage *message;
    struct evbuffer *packed;
    struct net_meta meta; /* copied.  timeout_ns runs from now on */
    bool wait;            /* for a connection, through failures, until the deadline */
    bool raw;             /* don't decode answers: net_request_bytes() */
    const struct net_request_events *events; /* borrowed */
    void *user;
};

/* Start a call.  On ERR_OK *out is valid until on_done() returns or it is cancelled.
 * ERR_TOO_BIG; ERR_BUSY, too much is queued on the connection; ERR_CLOSED, ERR_NOMEM. */
MUST_USE enum err net_request_start(struct net_request **out, struct net_channel *ch,
                                    const struct net_request_options *o, struct why *why);

void *net_request_user(const struct net_request *r);
/* The encoded message in on_message(); borrowed until that returns. */
const uint8_t *net_request_bytes(const struct net_request *r, size_t *len);

/* May more be sent?  Not while there is no connection.  If not, on_writable() will tell.
 */
bool net_request_writable(struct net_request *r);
/* Send one message of a streamed input.  ERR_BUSY: not taken, on_writable() will tell;
 * ERR_TOO_BIG, ERR_NOMEM: not taken; ERR_CLOSED: the input has ended. */
MUST_USE enum err net_request_send(struct net_request *r,
                                   const ProtobufCMessage *message);
/* The same with a packed message, drained from packed if it is taken. */
MUST_USE enum err net_request_send_bytes(struct net_request *r, struct evbuffer *packed);
/* No more messages will come.  Before a connection is there it is remembered. */
void net_request_finish(struct net_request *r);

/* The deadline counts no more: an answer has begun, and how long it takes is up to who
 * reads it. */
void net_request_no_deadline(struct net_request *r);

/* Take no more messages for now; the window makes the callee stop. */
void net_request_pause(struct net_request *r);
void net_request_resume(struct net_request *r);

/* Give the call up and free it: no callback comes any more. */
void net_request_cancel(struct net_request *r);

#endif
