/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/x509v3.h>

#include "core/tls/internal.h"

enum { NAME_SHOWN = 200 };

struct tls_session {
    struct tls *tls;           /* borrowed */
    SSL *ssl;                  /* owned */
    bool done;                 /* the handshake */
    bool failed;               /* nothing more may be asked of ssl */
    char misnamed[NAME_SHOWN]; /* why a common name was refused */
    char host[256]; /* dialled: what the other side must be called; accepted: its address
                     */
};

/* --- names ------------------------------------------------------------------------ */

/* The last common name of the subject, malloc'd by OpenSSL; its length, negative if there
 * is none. */
static int common_name(X509 *cert, unsigned char **out)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    int at = -1, next;

    while ((next = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0)
        at = next;
    if (at < 0) return -1;
    return ASN1_STRING_to_UTF8(
        out, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

static bool is_called(struct tls_session *s, X509 *cert, const char *name)
{
    unsigned char *found = NULL;
    int len = common_name(cert, &found);
    bool yes =
        len >= 0 && (size_t)len == strlen(name) && memcmp(found, name, (size_t)len) == 0;

    if (!yes)
        snprintf(s->misnamed, sizeof s->misnamed,
                 "common name is \"%.*s\", not \"%.80s\"",
                 len < 0    ? 0
                 : len > 80 ? 80
                            : len,
                 len < 0 ? "" : (const char *)found, name);
    for (char *p = s->misnamed; *p; p++) /* it goes to a log */
        if ((unsigned char)*p < ' ' || *p == 0x7f) *p = '?';
    OPENSSL_free(found);
    return yes;
}

int session_verify(int good, X509_STORE_CTX *chain)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *s = SSL_get_app_data(ssl);
    const char *name = tls_client_name(s->tls);

    if (!good || !name || X509_STORE_CTX_get_error_depth(chain) != 0) return good;
    if (is_called(s, X509_STORE_CTX_get_current_cert(chain), name)) return 1;
    X509_STORE_CTX_set_error(chain,
                             X509_V_ERR_CERT_REJECTED); /* alert: bad certificate */
    return 0;
}

static bool is_ip(const char *host)
{
    struct in6_addr a;

    return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

/* Demand that the other side is called host, and tell it whom we want. */
static bool expect(struct tls_session *s, const char *host)
{
    if (is_ip(host))
        return !tls_verifies_server(s->tls) ||
               X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), host) == 1;
    if (SSL_set_tlsext_host_name(s->ssl, host) != 1) return false;
    SSL_set_hostflags(s->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return !tls_verifies_server(s->tls) || SSL_set1_host(s->ssl, host) == 1;
}

/* --- beginning and ending --------------------------------------------------------- */

static enum err session_new(struct tls_session **out, struct tls *t, int fd,
                            bool accepting, struct why *why)
{
    struct tls_session *s = calloc(1, sizeof *s);

    *out = s;
    if (s) s->ssl = tls_new_ssl(t, accepting);
    if (!s || !s->ssl || SSL_set_fd(s->ssl, fd) != 1) {
        tls_session_free(s);
        *out = NULL;
        return why_set(why, ERR_NOMEM, "out of memory for a TLS connection");
    }
    s->tls = t;
    SSL_set_app_data(s->ssl, s);
    if (accepting)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    return ERR_OK;
}

/* Now, since nobody can tell when it has hung up. */
static void keep_remote(struct tls_session *s, int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char host[64], port[8];

    if (getpeername(fd, (struct sockaddr *)&a, &len) != 0 ||
        getnameinfo((struct sockaddr *)&a, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(s->host, sizeof s->host, "a client");
    else
        snprintf(s->host, sizeof s->host, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
                 port);
}

const char *session_remote(const struct tls_session *s)
{
    return s->host;
}

enum err tls_accept(struct tls_session **out, struct tls *t, int fd, struct why *why)
{
    enum err e = session_new(out, t, fd, true, why);

    if (!e) keep_remote(*out, fd);
    return e;
}

enum err tls_dial(struct tls_session **out, struct tls *t, int fd, const char *host,
                  struct why *why)
{
    const char *name = tls_server_name(t);
    enum err e = session_new(out, t, fd, false, why);

    if (e) return e;
    if (!name) name = host;
    snprintf((*out)->host, sizeof(*out)->host, "%s", name);
    if (strlen(name) < sizeof(*out)->host && expect(*out, name)) return ERR_OK;
    tls_session_free(*out);
    *out = NULL;
    ERR_clear_error();
    return why_set(why, ERR_INVALID, "\"%.100s\" is no name that a certificate can have",
                   name);
}

void tls_session_free(struct tls_session *s)
{
    if (!s) return;
    SSL_free(s->ssl);
    free(s);
}

/* --- what went wrong -------------------------------------------------------------- */

/* The words for a certificate of the other side that is not good; false if it is. */
static bool bad_certificate(const struct tls_session *s, struct why *why)
{
    long result = SSL_get_verify_result(s->ssl);

    switch (result) {
    case X509_V_OK: return false;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        why_set(why, ERR_UNAUTHORIZED, "bad certificate: it is not valid for %s",
                s->host);
        return true;
    default:
        why_set(why, ERR_UNAUTHORIZED, "bad certificate: %s",
                *s->misnamed ? s->misnamed : X509_verify_cert_error_string(result));
        return true;
    }
}

/* Alerts that say what the other side thinks of our certificate. */
static bool is_about_certificate(int alert)
{
    return (alert >= SSL_AD_NO_CERTIFICATE && alert <= SSL_AD_CERTIFICATE_UNKNOWN) ||
           alert == SSL_AD_UNKNOWN_CA || alert == SSL_AD_ACCESS_DENIED ||
           alert == SSL_AD_CERTIFICATE_REQUIRED;
}

static void explain_protocol(const struct tls_session *s, unsigned long code,
                             struct why *why)
{
    int reason = ERR_GET_REASON(code);
    const char *text = ERR_reason_error_string(code);
    int alert = reason - SSL_AD_REASON_OFFSET;

    if (ERR_GET_LIB(code) == ERR_LIB_SSL && alert > 0) {
        why_set(why, is_about_certificate(alert) ? ERR_UNAUTHORIZED : ERR_UNREACHABLE,
                "%s by the other side: %s",
                is_about_certificate(alert) ? "our certificate was refused"
                                            : "TLS was ended",
                SSL_alert_desc_string_long(alert));
        return;
    }
    if (bad_certificate(s, why)) return;
    switch (ERR_GET_LIB(code) == ERR_LIB_SSL ? reason : 0) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        why_set(why, ERR_UNAUTHORIZED, "the other side has no certificate");
        break;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        why_set(why, ERR_UNSUPPORTED, "the other side does not speak TLS");
        break;
    default: why_set(why, ERR_UNREACHABLE, "TLS: %s", text ? text : "failed");
    }
}

static enum tls_is outcome(struct tls_session *s, int rc, int saved_errno,
                           struct why *why)
{
    int ssl_error = SSL_get_error(s->ssl, rc);
    unsigned long code = ERR_peek_error();

    switch (ssl_error) {
    case SSL_ERROR_NONE: return TLS_DONE;
    case SSL_ERROR_WANT_READ: return TLS_WANT_READ;
    case SSL_ERROR_WANT_WRITE: return TLS_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN: return TLS_EOF;
    case SSL_ERROR_SYSCALL:
        s->failed = true;
        errno = saved_errno;
        if (code == 0 && saved_errno == 0) return TLS_EOF;
        why_errno(why, "connection");
        if (why) why->code = ERR_UNREACHABLE;
        break;
    default: s->failed = true; explain_protocol(s, code, why);
    }
    ERR_clear_error();
    return TLS_FAILED;
}

/* --- bytes ------------------------------------------------------------------------ */

/* The error queue is the thread's: what another connection left there is not ours. */
#define RUN(s, call, why) (ERR_clear_error(), errno = 0, run_ended(s, call, why))

static enum tls_is run_ended(struct tls_session *s, int rc, struct why *why)
{
    return rc == 1 ? TLS_DONE : outcome(s, rc, errno, why);
}

enum tls_is tls_handshake(struct tls_session *s, struct why *why)
{
    enum tls_is is;

    if (s->done) return TLS_DONE;
    if (s->failed) return TLS_EOF;
    is = RUN(s, SSL_do_handshake(s->ssl), why);
    s->done = is == TLS_DONE;
    return is;
}

enum tls_is tls_read(struct tls_session *s, void *out, size_t cap, size_t *n,
                     struct why *why)
{
    if (s->failed) return TLS_EOF;
    return RUN(s, SSL_read_ex(s->ssl, out, cap, n), why);
}

bool tls_has_more(const struct tls_session *s)
{
    return !s->failed && SSL_has_pending(s->ssl);
}

enum tls_is tls_write(struct tls_session *s, const void *data, size_t len, size_t *n,
                      struct why *why)
{
    enum tls_is is = TLS_EOF;

    if (!s->failed) is = RUN(s, SSL_write_ex(s->ssl, data, len, n), why);
    if (is != TLS_EOF) return is;
    s->failed = true; /* OpenSSL has only seen the end of the input */
    why_set(why, ERR_UNREACHABLE, "connection closed");
    return TLS_FAILED;
}

void tls_finish(struct tls_session *s)
{
    if (!s->done || s->failed) return;
    ERR_clear_error();
    (void)SSL_shutdown(s->ssl);
    ERR_clear_error();
}
