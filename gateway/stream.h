/* SPDX-License-Identifier: MIT */
/*
 * stream: the body of a response that is sent while it is being written.
 *
 *     writer, any thread  -- pieces -->  exchange's gateway thread  -->  client
 *
 * The writer hands over pieces and is held up, or told to pause, while STREAM_AHEAD bytes
 * are unsent, so that a response costs the node that much however large it is.  The
 * reader is the transport, which takes bytes as its client does; it is woken only when it
 * has run out of them.
 *
 * Two hold a stream: the writer until http_stream_end(), the reader until
 * http_stream_close(), which it calls early when the client has left.  A writer that
 * waits gives up when nothing was taken for stall_ms, or much sooner while others wait
 * for its thread: so clients that do not read cannot keep all readers.
 *
 * The writer keeps the exchange by an http_hold() of its own, and ends the stream on the
 * exchange's thread, before it releases that.
 */
#ifndef GATEWAY_STREAM_H
#define GATEWAY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/err.h"

struct http_exchange;
struct http_stream;
struct row_sink;

enum {
    STREAM_PIECE = 64 * 1024, /* a good size of one */
    STREAM_AHEAD = 4 * STREAM_PIECE
};

/* --- the writer -------------------------------------------------------------------- */

/* A stream whose first piece makes begin(x, s, arg) be called on x's thread, which
 * answers with http_respond_stream().  NULL when out of memory. */
struct http_stream *http_stream_new(struct http_exchange *x, uint64_t stall_ms,
                                    void (*begin)(struct http_exchange *x,
                                                  struct http_stream *s, void *arg),
                                    void *arg);

/* Hand over a malloc'd block, which moves.  False: nobody wants more. */
bool http_stream_put(struct http_stream *s, uint8_t *data, size_t len);

/* Block until there is room, not for long when the sink has to hurry.  False: nobody
 * wants more. */
bool http_stream_wait(struct http_stream *s, const struct row_sink *sink);

/* The same without blocking, as row_sink_ops.room. */
bool http_stream_room(struct http_stream *s, void (*on_room)(void *arg), void *arg);

/* The end, on the exchange's thread, after at least one piece; s is not the writer's any
 * more.  Not whole: what was sent cannot be completed, and the client is to notice. */
void http_stream_end(struct http_stream *s, bool whole);

/* --- the reader -------------------------------------------------------------------- */

enum { STREAM_BROKEN = -1, STREAM_LATER = -2 };

/* The next bytes, at most cap (> 0); 0 at the end; STREAM_LATER: there are none yet, and
 * the transport's resume() will be called; STREAM_BROKEN. */
ssize_t http_stream_read(struct http_stream *s, void *out, size_t cap);

bool http_stream_broken(struct http_stream *s);

/* No more is wanted; s is not the reader's any more. */
void http_stream_close(struct http_stream *s);

#endif
