/* SPDX-License-Identifier: MIT */
#include "core/net/secure.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/tls/tls.h"

enum {
    RECORD = 16 << 10,      /* most bytes that TLS encrypts as one */
    READ_BYTES = 256 << 10, /* taken from a socket before others get their turn */
    WRITE_BYTES = 1 << 20   /* given to one */
};

struct secure {
    struct tls *tls;
    struct tls_session *session; /* owned; NULL until the other side has begun */
    int fd;                      /* owned */
    bool open;                   /* the handshake is over */
    bool read_blocked;           /* reading waits until the socket is writable */
    bool stopped, ended;         /* ended: was told */
    struct evbuffer *in;         /* owned */
    struct evbuffer *out;        /* borrowed */
    struct event read, write;
    const struct secure_events *events;
    void *arg;
};

/* --- the end ---------------------------------------------------------------------- */

void secure_stop(struct secure *s)
{
    s->stopped = true;
    event_del(&s->read);
    event_del(&s->write);
}

int secure_take_fd(struct secure *s)
{
    int fd = s->fd;

    secure_stop(s);
    s->fd = -1;
    return fd;
}

void secure_free(struct secure *s)
{
    if (!s) return;
    secure_stop(s);
    tls_session_free(s->session);
    if (s->in) evbuffer_free(s->in);
    if (s->fd >= 0) close(s->fd);
    free(s);
}

void secure_shutdown(struct secure *s)
{
    if (s->session) tls_finish(s->session);
    shutdown(s->fd, SHUT_WR);
}

static void tell_end(struct secure *s, const struct why *why)
{
    if (s->stopped || s->ended) return;
    s->ended = true;
    event_del(&s->read); /* a socket at its end is always readable */
    s->events->on_end(s->arg, !s->open, why);
}

static void end(struct secure *s, enum tls_is is, const struct why *why)
{
    static const struct why eof = {0};

    tell_end(s, is == TLS_EOF ? &eof : why);
}

/* --- the handshake ---------------------------------------------------------------- */

/* The first byte tells whether it is TLS at all.  False: not yet, or not at all. */
static bool begin(struct secure *s)
{
    struct why why = {0};
    uint8_t first;
    ssize_t n = recv(s->fd, &first, 1, MSG_PEEK);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n < 0) why_errno(&why, "connection");
    if (n <= 0) {
        tell_end(s, &why);
        return false;
    }
    if (!tls_begins(first)) {
        s->events->on_plain(s->arg);
        return false;
    }
    if (tls_accept(&s->session, s->tls, s->fd, &why) == ERR_OK) return true;
    tell_end(s, &why);
    return false;
}

/* True once it is over. */
static bool handshake(struct secure *s)
{
    struct why why = {0};
    enum tls_is is;

    if (s->open) return true;
    if (!s->session && !begin(s)) return false;
    is = tls_handshake(s->session, &why);
    if (is == TLS_WANT_WRITE) event_add(&s->write, NULL);
    if (is == TLS_EOF || is == TLS_FAILED) end(s, is, &why);
    s->open = is == TLS_DONE;
    return s->open;
}

/* --- bytes ------------------------------------------------------------------------ */

static enum tls_is read_some(struct secure *s, size_t *n, struct why *why)
{
    struct evbuffer_iovec v;
    enum tls_is is;

    if (evbuffer_reserve_space(s->in, RECORD, &v, 1) != 1) {
        why_set(why, ERR_NOMEM, "out of memory");
        return TLS_FAILED;
    }
    is = tls_read(s->session, v.iov_base, v.iov_len, n, why);
    v.iov_len = is == TLS_DONE ? *n : 0;
    if (is == TLS_DONE && evbuffer_commit_space(s->in, &v, 1) != 0) {
        why_set(why, ERR_NOMEM, "out of memory");
        return TLS_FAILED;
    }
    return is;
}

static void read_all(struct secure *s)
{
    struct why why = {0};
    enum tls_is is = TLS_DONE;
    size_t got = 0, n;

    s->read_blocked = false;
    while (is == TLS_DONE && got < READ_BYTES) {
        is = read_some(s, &n, &why);
        if (is == TLS_DONE) got += n;
    }
    if (is == TLS_DONE) {
        event_active(&s->read, EV_READ, 1); /* when the others had their turn */
    } else if (is == TLS_WANT_WRITE) {
        s->read_blocked = true;
        event_add(&s->write, NULL);
    }
    if (got > 0) s->events->on_input(s->arg, s->in);
    if (is == TLS_EOF || is == TLS_FAILED) end(s, is, &why);
}

/* The next bytes to be encrypted, where they are or gathered in block: after a write that
 * was cut short no fewer are offered than then. */
static const void *next_bytes(struct evbuffer *out, size_t len, uint8_t block[RECORD])
{
    struct evbuffer_iovec v;

    if (evbuffer_peek(out, -1, NULL, &v, 1) > 0 && v.iov_len >= len) return v.iov_base;
    return evbuffer_copyout(out, block, len) == (ev_ssize_t)len ? block : NULL;
}

uint64_t secure_flush(struct secure *s)
{
    uint8_t block[RECORD];
    uint64_t sent = 0;
    size_t len, n;

    if (!s->open || s->stopped || s->ended) return 0;
    while ((len = evbuffer_get_length(s->out)) > 0 && sent < WRITE_BYTES) {
        struct why why = {0};
        const void *data = next_bytes(s->out, len = len < RECORD ? len : RECORD, block);
        enum tls_is is = tls_write(s->session, data, len, &n, &why);

        if (is == TLS_DONE) {
            evbuffer_drain(s->out, n);
            sent += n;
            continue;
        }
        /* Without renegotiation writing never has to wait for input. */
        if (is != TLS_WANT_WRITE) {
            end(s, TLS_FAILED, &why);
            return sent;
        }
        break;
    }
    if (evbuffer_get_length(s->out) > 0) event_add(&s->write, NULL);
    return sent;
}

static void flush(struct secure *s)
{
    uint64_t sent = secure_flush(s);

    if (!s->stopped) s->events->on_sent(s->arg, sent);
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
    struct secure *s = arg;
    bool was_open = s->open;

    (void)fd;
    (void)what;
    if (!handshake(s)) return;
    if (!was_open) flush(s); /* what has waited for this */
    if (!s->stopped && !s->ended) read_all(s);
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
    struct secure *s = arg;

    (void)fd;
    (void)what;
    if (!handshake(s)) return;
    if (s->read_blocked) read_all(s);
    if (!s->stopped) flush(s);
}

/* --- the beginning ---------------------------------------------------------------- */

enum err secure_new(struct secure **out, struct event_base *base, struct tls *tls, int fd,
                    const char *host, struct evbuffer *from,
                    const struct secure_events *events, void *arg, struct why *why)
{
    struct secure *s = calloc(1, sizeof *s);
    enum err e = ERR_OK;

    *out = NULL;
    if (!s) {
        close(fd);
        return why_set(why, ERR_NOMEM, "out of memory for a connection");
    }
    s->tls = tls;
    s->fd = fd;
    s->out = from;
    s->events = events;
    s->arg = arg;
    event_assign(&s->read, base, fd, EV_READ | EV_PERSIST, on_read, s);
    event_assign(&s->write, base, fd, EV_WRITE, on_write, s);
    s->in = evbuffer_new();
    if (!s->in) e = why_set(why, ERR_NOMEM, "out of memory for a connection");
    if (!e && host) e = tls_dial(&s->session, tls, fd, host, why);
    /* Who dials speaks first. */
    if (!e &&
        (event_add(&s->read, NULL) != 0 || (host && event_add(&s->write, NULL) != 0)))
        e = why_set(why, ERR_NOMEM, "out of memory for a connection");
    if (e) {
        secure_free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}
