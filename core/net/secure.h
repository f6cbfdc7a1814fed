/* SPDX-License-Identifier: MIT */
/*
 * secure: TLS between a connection's buffers and its socket.  Internal to core/net.
 *
 * What is in the out buffer leaves encrypted; what comes is put into an in buffer.  The
 * handshake goes on by itself; bytes to be sent wait for its end.
 *
 * Callbacks come from the loop or from secure_flush().  In each of them secure_stop() may
 * be called, but secure_free() only when the stack has unwound.
 */
#ifndef CORE_NET_SECURE_H
#define CORE_NET_SECURE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"

struct evbuffer;
struct event_base;
struct secure; /* opaque */
struct tls;

struct secure_events {
    void (*on_input)(void *arg, struct evbuffer *in); /* more is in the buffer */
    void (*on_sent)(void *arg, uint64_t bytes); /* from the loop; of the out buffer */
    /* Who connected does not speak TLS; nothing was read.  secure_take_fd() goes on in
     * clear text. */
    void (*on_plain)(void *arg);
    /* The end: of input, or (why has a code) of the connection. */
    void (*on_end)(void *arg, bool handshake, const struct why *why);
};

/* A connected socket, which passes in every case.  host was dialled; NULL: it was
 * accepted.  out and events are borrowed. */
MUST_USE enum err secure_new(struct secure **s, struct event_base *base, struct tls *tls,
                             int fd, const char *host, struct evbuffer *out,
                             const struct secure_events *events, void *arg,
                             struct why *why);
/* Closes the socket.  NULL is allowed. */
void secure_free(struct secure *s);

/* No callback comes any more. */
void secure_stop(struct secure *s);

/* Stop, and give the socket to the caller. */
int secure_take_fd(struct secure *s);

/* Send what is in the out buffer, or as much as may be now, and the rest by and by;
 * on_end() may come.  The bytes sent. */
uint64_t secure_flush(struct secure *s);

/* Nothing more will be sent. */
void secure_shutdown(struct secure *s);

#endif
