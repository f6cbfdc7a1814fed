/* SPDX-License-Identifier: MIT */
/*
 * tls: certificates and the encrypted connections made with them (HTTP API 15).
 *
 *     struct tls           one certificate and key, the CAs that others must come from,
 *                          and what is checked; any thread
 *     struct tls_session   one connection over a socket; its owner's thread
 *
 * TLS 1.2 and 1.3, no renegotiation.  Certificate, key and CA are read again when a
 * handshake finds that one of the files has changed; what cannot be read, or does not fit
 * together, is logged once and what was there before stays in use.
 *
 * Whose certificate is good: it must be signed by a CA of the file (none: the system's),
 * in date, and made for that use.  A server that is dialled must also have the name that
 * was dialled, or server_name: a host name among its DNS names, an IP address among its
 * IP addresses.  The common name counts as host name only in a certificate without any
 * DNS name, as old ones are; for IP addresses never.
 *
 * The sockets are non-blocking and stay the caller's.  The process ignores SIGPIPE.
 */
#ifndef CORE_TLS_TLS_H
#define CORE_TLS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/metrics.h"

struct logger;
struct tls; /* opaque, both */
struct tls_session;

struct tls_options {         /* texts are copied; NULL or "" = none */
    const char *cert, *key;  /* PEM files.  Needed for accepting, else optional */
    const char *ca;          /* PEM file with one or many; none = the system's */
    bool verify_client;      /* who connects must have a certificate that is good ... */
    const char *client_name; /* ... and whose subject has exactly this common name */
    bool no_verify;          /* whom we dial need not */
    const char *server_name; /* who is dialled is called that; none = as it was dialled */
    bool http;               /* offer h2 and http/1.1 (ALPN) to who connects */
    struct logger *logger;   /* borrowed; may be NULL */
    const char *component;   /* of log lines; static */
    struct metrics *metrics; /* borrowed; may be NULL */
    enum metric counter;     /* of handshakes begun */
};

/* Reads the files.  ERR_INVALID with the words for it, ERR_NOMEM.  On ERR_OK the caller
 * owns *out. */
MUST_USE enum err tls_new(struct tls **out, const struct tls_options *o, struct why *why);
/* No session is left.  NULL is allowed. */
void tls_free(struct tls *t);

/* Read the files again now, changed or not, and log how that went.  NULL is allowed. */
void tls_reload(struct tls *t);

/* Log that a handshake failed, s may be NULL; what outsiders can cause in any number is
 * limited to a few lines per second. */
void tls_report(struct tls *t, const struct tls_session *s, const struct why *why);

/* --- one connection --------------------------------------------------------------- */

enum tls_is {
    TLS_DONE,
    TLS_WANT_READ,  /* try the same again when the socket is readable ... */
    TLS_WANT_WRITE, /* ... or writable */
    TLS_EOF,        /* the other side sends no more */
    TLS_FAILED      /* the connection cannot go on; why says why */
};

/* Begin on a connected socket.  host is what was dialled, without port.  ERR_NOMEM. */
MUST_USE enum err tls_accept(struct tls_session **out, struct tls *t, int fd,
                             struct why *why);
MUST_USE enum err tls_dial(struct tls_session **out, struct tls *t, int fd,
                           const char *host, struct why *why);
/* NULL is allowed. */
void tls_session_free(struct tls_session *s);

/* Until TLS_DONE, before anything else.  Failures: ERR_UNAUTHORIZED, a certificate was
 * refused, here or there; ERR_UNSUPPORTED, the other side does not speak TLS, or none
 * that we do; else ERR_UNREACHABLE. */
enum tls_is tls_handshake(struct tls_session *s, struct why *why);

/* Some bytes, at most cap; *n is their number with TLS_DONE. */
enum tls_is tls_read(struct tls_session *s, void *out, size_t cap, size_t *n,
                     struct why *why);
/* Are bytes here that the socket will not announce? */
bool tls_has_more(const struct tls_session *s);

/* Send the first *n of len bytes.  After TLS_WANT_... they must be offered again,
 * possibly at another address and with more behind them. */
enum tls_is tls_write(struct tls_session *s, const void *data, size_t len, size_t *n,
                      struct why *why);
/* Say, if that needs no waiting, that nothing more will be sent. */
void tls_finish(struct tls_session *s);

/* Does a connection that begins with this byte speak TLS? */
static inline bool tls_begins(uint8_t first)
{
    return first == 0x16; /* a record of the handshake; RFC 8446, 5.1 */
}

#endif
