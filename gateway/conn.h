/* SPDX-License-Identifier: MIT */
/*
 * conn: one connection of a client, below its protocol: socket, buffers, deadlines, end.
 *
 * Owner: its gateway thread.  Every entry from the event loop is wrapped in
 * hconn_set_enter() and hconn_set_leave(); in between, protocols and handlers only append
 * to output and mark connections, and the outermost leave settles each marked connection:
 * input that had to wait, one write for all that was queued, its deadline.  So answers to
 * a batch of requests leave in one system call, and a connection is freed only when no
 * caller on the stack can still hold it.
 *
 * Memory: bytes are read into a buffer of the thread.  A connection has an input buffer
 * only while it holds part of a request, an output buffer only while something is unsent,
 * so that an idle one costs well below a kilobyte.
 *
 * A client that shuts down its sending side may still read (printf ... | nc), and one
 * that is gone looks just the same.  So after its end of file requests in flight go on
 * for CONN_GONE; what is not answered by then counts as gone.  A reset is gone at once.
 */
#ifndef GATEWAY_CONN_H
#define GATEWAY_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "core/base/buf.h"
#include "core/base/list.h"
#include "gateway/server.h"
#include "gateway/transport.h"

struct hconn;

/* The socket's calls as a table, so that tests can replace them.  Results and errno as of
 * recv(2), sendmsg(2); they never block. */
struct hconn_io {
    ssize_t (*recv)(struct hconn *c, void *out, size_t cap);
    ssize_t (*send)(struct hconn *c, const struct iovec *v, int n);
    void (*shutdown)(struct hconn *c); /* no more will be sent */
    void (*close)(struct hconn *c, bool reset);
};
extern const struct hconn_io hconn_plain_io; /* of a socket in clear text */

/* Why a connection waits; each has one duration, so that each list is in order of
 * deadline. */
enum hconn_wait {
    CONN_HEADER, /* a request's headers have begun */
    CONN_IDLE,   /* between requests */
    CONN_STALL,  /* a body or response makes no progress */
    CONN_LINGER, /* our side is closed, and the client is to read our last words */
    CONN_GONE,   /* its sending side is closed, and it has not been answered */
    CONN_WAITS,
    CONN_NONE = CONN_WAITS /* a handler works: no deadline */
};

struct hconn_protocol {
    /* Take bytes; returns how many.  The rest is kept and offered again, together with
     * what comes, after more input or hconn_resume(). */
    size_t (*input)(struct hconn *c, const uint8_t *data, size_t len);
    /* All output was sent: queue more.  False if there is none now. */
    bool (*output)(struct hconn *c);
    /* The client will send no more, and what it sent was offered.  True: answers are
     * still to come, so keep it open.  Asked again whenever it is settled. */
    bool (*on_eof)(struct hconn *c);
    /* What is it waiting for, now that all output was sent? */
    enum hconn_wait (*waits)(const struct hconn *c);
    /* Finish what was begun, take on nothing new, then close. */
    void (*drain)(struct hconn *c);
    /* The connection ends: exchanges are gone; free state. */
    void (*fini)(struct hconn *c);
};

struct hconn {
    struct http_transport transport; /* set by the protocol */
    struct hconn_set *set;
    const struct hconn_io *io;
    const struct hconn_protocol *protocol; /* NULL until the first bytes have told */
    void *state;                           /* the protocol's, owned by it */
    void *io_state;                        /* the io's */
    int fd;                                /* owned; -1 with an io of its own */

    struct list all, marked, waiting; /* in the set's lists */
    enum hconn_wait wait;
    uint64_t deadline_ms;

    struct buf in;  /* taken from the socket but not by the protocol */
    struct buf out; /* to be sent: bytes from out_pos */
    size_t out_pos;
    uint8_t *tail; /* owned; to be sent after out */
    size_t tail_len, tail_pos;
    uint64_t tail_held; /* of the budget, for tail */

    bool reading, writing; /* its events are on */
    bool opening;          /* the io: a handshake has to end first */
    bool recv_blocked;     /* the io: receiving waits until the socket is writable */
    bool recv_more;        /* the io: there is input that the socket does not announce */
    bool resume;           /* offer in to the protocol again */
    bool held;       /* the protocol: not more bytes are missing, but a hconn_resume() */
    bool progress;   /* bytes of a body or response have moved */
    bool fresh;      /* a request was completed: idle time starts again */
    bool eof;        /* the client sends no more */
    bool finishing;  /* close when all output was sent ... */
    bool linger;     /* ... and the client has read it */
    bool discarding; /* our side is shut down; input is dropped */
    bool broken;     /* hconn_break() was called */
    bool closed;     /* to be freed at the end of this turn */
    struct event read_event, write_event;
};

/* --- a thread's connections --- */

enum { CONN_SCRATCH = 64 * 1024, CONN_SPARES = 16, CONN_DATE = 29 };

struct hconn_set {
    struct gateway_thread *thread;
    struct list all, marked, dead;
    size_t count;
    struct list waiting[CONN_WAITS];
    uint64_t wait_ms[CONN_WAITS];
    uint64_t now_ms; /* monotonic, as of the outermost enter */
    unsigned depth;  /* enters without their leave */
    bool draining;
    struct event *tick, *settle; /* owned */
    bool ticking;
    struct buf spare[CONN_SPARES]; /* output buffers to be used again */
    unsigned n_spare;
    struct exchange_pool exchanges;
    struct buf common; /* headers of every response, HTTP/1 form, Date last */
    int64_t date_s;    /* the second that common's Date says */
    uint8_t scratch[CONN_SCRATCH];
};

MUST_USE enum err hconn_set_new(struct hconn_set **out, struct gateway_thread *t,
                                struct why *why);
void hconn_set_free(struct hconn_set *s); /* closes all; NULL is allowed */
void hconn_set_enter(struct hconn_set *s);
void hconn_set_leave(struct hconn_set *s);
/* Idle ones close now, the others when they are through. */
void hconn_set_drain(struct hconn_set *s);
void hconn_set_close_all(struct hconn_set *s);

/* The headers that every response has, CRLF after each, with the Date of now; and where
 * the CONN_DATE bytes of its value are. */
const struct buf *hconn_set_common(struct hconn_set *s);
const char *hconn_set_date(struct hconn_set *s);

/* --- one connection --- */

/* Serve a connected, non-blocking socket on t, in t's thread.  Owns fd, also when it
 * fails. */
MUST_USE enum err hconn_open(struct gateway_thread *t, int fd);
/* As above without a socket: whoever has the bytes calls hconn_readable() and
 * hconn_writable().  NULL when out of memory. */
struct hconn *hconn_open_io(struct gateway_thread *t, const struct hconn_io *io,
                            void *io_state);
void hconn_readable(struct hconn *c);
void hconn_writable(struct hconn *c);

/* Where to append output (check nothing: a failed append ends the connection when it is
 * settled).  Not while there is a tail. */
struct buf *hconn_out(struct hconn *c);
/* Send a large malloc'd block without copying it; it moves. */
void hconn_send_tail(struct hconn *c, uint8_t *data, size_t len);
size_t hconn_unsent(const struct hconn *c);

void hconn_mark(struct hconn *c);   /* settle it at the end of this turn */
void hconn_resume(struct hconn *c); /* and offer it the rest of its input */
/* Close after what was queued has been sent.  linger: the client may still be sending,
 * and would lose our answer to a reset. */
void hconn_finish(struct hconn *c, bool linger);
/* Cut it, when no caller is inside its protocol any more: a response that was begun
 * cannot be completed. */
void hconn_break(struct hconn *c);
/* Now.  Not from inside the protocol. */
void hconn_close(struct hconn *c, bool reset);

#endif
