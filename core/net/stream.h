/* SPDX-License-Identifier: MIT */
/*
 * stream: the messages of one call on a connection, either side.  Internal to core/net.
 *
 * Messages are cut into frames, put together again, held while the user has paused, and
 * bounded by a window: a side may begin a message while its window is above zero, and
 * the whole message counts against it.  Who receives gives bytes back when the user has
 * taken them.  So a stream costs its receiver at most a window and a message, and there
 * is no deadlock for a message larger than the window.  NET_RAFT has no windows.
 */
#ifndef CORE_NET_STREAM_H
#define CORE_NET_STREAM_H

#include "core/net/conn.h"

struct stream;

struct stream_ops {
    /* One whole message; borrowed until this returns. */
    void (*on_message)(struct stream *s, const uint8_t *data, size_t len);
    /* After the last message has been taken. */
    void (*on_last)(struct stream *s);
    void (*on_writable)(struct stream *s);
};

struct stream {
    struct conn *conn; /* NULL: not, or no more, on a connection */
    const struct stream_ops *ops;
    uint32_t id;
    struct list link;         /* in conn->streams */
    struct list waiting;      /* in conn->waiting, or nowhere */
    int64_t may_send;         /* bytes; a message may begin while above 0 */
    int64_t may_come;         /* the same for the other side */
    uint32_t owed;            /* of may_come: taken by the user, not yet told */
    struct evbuffer *partial; /* owned; the message being put together, or NULL */
    struct list held;         /* whole messages that wait for stream_resume() */
    bool in_message;          /* the next frame continues one */
    bool paused, delivering;
    bool last_in;   /* the peer has sent its last message */
    bool last_told; /* and on_last() was called */
    bool last_out;  /* we have */
};

void stream_init(struct stream *s, const struct stream_ops *ops);

/* Put s on c as number id.  ERR_EXISTS, ERR_NOMEM. */
MUST_USE enum err stream_attach(struct stream *s, struct conn *c, uint32_t id);
/* Take it off and drop what was held; no callback comes any more.  Safe to repeat. */
void stream_detach(struct stream *s);
struct stream *stream_find(const struct conn *c, uint32_t id);

/* May a message be begun?  If not, on_writable() will come. */
bool stream_writable(struct stream *s);

/* What a message is made of, one of the two; packed is drained if it is taken. */
struct stream_body {
    const ProtobufCMessage *message;
    struct evbuffer *packed;
};

/* Send a message as frames like first, which carries kind, flags but FRAME_MORE, and
 * method; head goes before the message in the first.  ERR_TOO_BIG, ERR_BUSY (the
 * connection's queue is full), ERR_CLOSED, ERR_NOMEM: nothing was sent.  The window is
 * the caller's to ask for. */
MUST_USE enum err stream_send(struct stream *s, const struct frame *first,
                              const void *head, size_t head_len,
                              const struct stream_body *body);

/* A CALL's or MESSAGE's part of a message, len bytes at the front of in, was received. An
 * error is the peer's fault and the connection's end, but ERR_TOO_BIG and ERR_BUSY (too
 * much waits on this connection), which are this call's. */
MUST_USE enum err stream_receive(struct stream *s, const struct frame *f,
                                 struct evbuffer *in, size_t len, struct why *why);
/* The peer said that it has sent its last message. */
void stream_receive_last(struct stream *s);
/* A WINDOW came. */
MUST_USE enum err stream_receive_window(struct stream *s, uint32_t bytes,
                                        struct why *why);

/* on_message() and on_last() come no more, and later go on, from within the call. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/* Tell streams that wait for it that they may send; for conn_ops. */
void stream_wake(struct conn *c);

#endif
