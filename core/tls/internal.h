/* SPDX-License-Identifier: MIT */
/* What the files of core/tls share. */
#ifndef CORE_TLS_INTERNAL_H
#define CORE_TLS_INTERNAL_H

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "core/tls/tls.h"

/* A connection with the files as they are now; NULL when out of memory. */
SSL *tls_new_ssl(struct tls *t, bool accepting);

const char *tls_client_name(const struct tls *t); /* NULL = any */
const char *tls_server_name(const struct tls *t); /* NULL = as it was dialled */
bool tls_verifies_server(const struct tls *t);

/* Who has connected: "10.1.0.2:51234". */
const char *session_remote(const struct tls_session *s);

/* OpenSSL's question about each certificate of a chain: is it good? */
int session_verify(int good, X509_STORE_CTX *chain);

#endif
