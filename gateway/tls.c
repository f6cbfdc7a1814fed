/* SPDX-License-Identifier: MIT */
#include "gateway/tls.h"

#include <errno.h>
#include <sys/socket.h>

#include "core/tls/tls.h"
#include "gateway/conn.h"

static struct gateway *gateway_of(const struct hconn *c)
{
    return c->set->thread->gateway;
}

/* --- the handshake ---------------------------------------------------------------- */

static ssize_t try_again(void)
{
    errno = EAGAIN;
    return -1;
}

/* No TLS any more: close when the client has read what there is, an alert say. */
static ssize_t give_up(struct hconn *c)
{
    tls_session_free(c->io_state);
    c->io_state = NULL;
    c->io = &hconn_plain_io;
    c->opening = false;
    hconn_finish(c, true);
    return try_again();
}

/* HTTP API 1.6 */
static ssize_t refuse_plain(struct hconn *c)
{
    buf_append_str(hconn_out(c), "HTTP/1.0 400 Bad Request\r\n\r\n"
                                 "Client sent an HTTP request to an HTTPS server.\n");
    return give_up(c);
}

static ssize_t handshake_failed(struct hconn *c, const struct why *why)
{
    tls_report(gateway_of(c)->options.tls, c->io_state, why);
    return give_up(c);
}

/* The files are looked at when a handshake begins, not when a connection does. */
static ssize_t begin(struct hconn *c, struct why *why)
{
    struct tls_session *s;
    uint8_t first;
    ssize_t n;

    do n = recv(c->fd, &first, 1, MSG_PEEK);
    while (n < 0 && errno == EINTR);
    if (n <= 0) return n;
    if (!tls_begins(first)) return refuse_plain(c);
    if (tls_accept(&s, gateway_of(c)->options.tls, c->fd, why))
        return handshake_failed(c, why);
    c->io_state = s;
    return 1;
}

/* --- the calls -------------------------------------------------------------------- */

/* As errno has it what tls_... has said. */
static ssize_t failed(struct hconn *c, enum tls_is is)
{
    switch (is) {
    case TLS_WANT_WRITE: c->recv_blocked = true; return try_again();
    case TLS_WANT_READ: return try_again();
    case TLS_EOF: return 0;
    default: errno = EPROTO; return -1;
    }
}

static ssize_t handshake(struct hconn *c)
{
    struct why why = {0};
    enum tls_is is;
    ssize_t n = 1;

    if (!c->io_state) n = begin(c, &why);
    if (!c->io_state) return n;
    is = tls_handshake(c->io_state, &why);
    if (is == TLS_FAILED) return handshake_failed(c, &why);
    if (is != TLS_DONE) return failed(c, is);
    c->opening = false;
    return 1;
}

static ssize_t secure_recv(struct hconn *c, void *out, size_t cap)
{
    enum tls_is is = TLS_DONE;
    size_t got = 0, n;

    c->recv_blocked = c->recv_more = false;
    if (c->opening) {
        ssize_t ready = handshake(c);

        if (ready <= 0) return ready;
    }
    /* What is here already; asking the socket once more would seldom find anything. */
    do {
        is = tls_read(c->io_state, (uint8_t *)out + got, cap - got, &n, NULL);
        if (is == TLS_DONE) got += n;
    } while (is == TLS_DONE && got < cap && tls_has_more(c->io_state));
    if (got == 0) return failed(c, is);
    if (is == TLS_WANT_WRITE) c->recv_blocked = true;
    /* An end or a failure comes again when it is asked for again. */
    c->recv_more = is != TLS_WANT_READ && is != TLS_WANT_WRITE &&
                   (is != TLS_DONE || tls_has_more(c->io_state));
    return (ssize_t)got;
}

static ssize_t secure_send(struct hconn *c, const struct iovec *v, int n)
{
    size_t done = 0;

    /* Nothing is sent before the handshake: it is received that starts a protocol. */
    if (!c->io_state || c->opening) return failed(c, TLS_FAILED);
    for (int i = 0; i < n; i++) {
        const uint8_t *data = v[i].iov_base;
        size_t len = v[i].iov_len, part;

        while (len > 0) {
            enum tls_is is = tls_write(c->io_state, data, len, &part, NULL);

            if (is == TLS_DONE) {
                done += part;
                data += part;
                len -= part;
                continue;
            }
            if (done > 0) return (ssize_t)done;
            if (is == TLS_WANT_WRITE) return try_again();
            /* Without renegotiation writing never has to wait for input. */
            return failed(c, TLS_FAILED);
        }
    }
    return (ssize_t)done;
}

static void secure_shutdown(struct hconn *c)
{
    if (c->io_state) tls_finish(c->io_state);
    hconn_plain_io.shutdown(c);
}

static void secure_close(struct hconn *c, bool reset)
{
    if (c->io_state && !reset) tls_finish(c->io_state);
    tls_session_free(c->io_state);
    c->io_state = NULL;
    hconn_plain_io.close(c, reset);
}

const struct hconn_io tls_io = {
    .recv = secure_recv,
    .send = secure_send,
    .shutdown = secure_shutdown,
    .close = secure_close,
};
