/* SPDX-License-Identifier: MIT */
/*
 * tls: the io of a connection that is encrypted.
 *
 * The handshake is part of the first reads.  What does not begin as TLS does was meant
 * for a port without: it is told so in clear text.  After either that or a failed
 * handshake the connection goes on as a plain one, on which nothing is left to say.
 */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

struct hconn_io;

extern const struct hconn_io tls_io;

#endif
