/* SPDX-License-Identifier: MIT */
#include "core/tls/tls.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/clock.h"
#include "core/base/logger.h"
#include "core/tls/internal.h"

enum { LINES_PER_SECOND = 10, FILES = 3 };

struct stamp { /* tells whether a file is another one than it was */
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

struct stamps {
    struct stamp of[FILES];
};

struct tls {
    char *files[FILES]; /* cert, key, ca; owned; NULL = none */
    char *client_name, *server_name;
    bool verify_client, no_verify, http;
    struct logger *logger;
    const char *component;
    struct metrics *metrics;
    enum metric counter;
    /* Connections of all threads begin here, each with the contexts of the moment, which
     * are counted by those that use them. */
    pthread_mutex_t lock;
    SSL_CTX *server, *client;     /* owned; server NULL without certificate */
    struct stamps loaded, failed; /* of the files in use; of those last refused */
    uint64_t second;              /* of the lines counted */
    unsigned lines, left_out;
};

/* --- errors ----------------------------------------------------------------------- */

/* What OpenSSL says happened, its own codes left out. */
static const char *openssl_says(void)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);

    if (ERR_SYSTEM_ERROR(code)) return strerror(ERR_GET_REASON(code));
    return reason ? reason : "unknown error";
}

static enum err bad_file(struct why *why, const char *what, const char *path)
{
    enum err e = why_set(why, ERR_INVALID, "%s %s: %s", what, path, openssl_says());

    ERR_clear_error();
    return e;
}

/* --- the files -------------------------------------------------------------------- */

static void take_stamps(const struct tls *t, struct stamps *out)
{
    memset(out, 0, sizeof *out); /* they are compared as bytes */
    for (int i = 0; i < FILES; i++) {
        struct stat st;

        if (!t->files[i] || stat(t->files[i], &st) != 0) continue;
        out->of[i].dev = st.st_dev;
        out->of[i].ino = st.st_ino;
        out->of[i].size = st.st_size;
        out->of[i].changed = st.st_mtim;
    }
}

static bool same(const struct stamps *a, const struct stamps *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* Never ask at the terminal. */
static int no_password(char *out, int size, int writing, void *arg)
{
    (void)out, (void)size, (void)writing, (void)arg;
    return -1;
}

static enum err load_pair(SSL_CTX *c, const char *cert, const char *key, struct why *why)
{
    SSL_CTX_set_default_passwd_cb(c, no_password);
    if (SSL_CTX_use_certificate_chain_file(c, cert) != 1)
        return bad_file(why, "certificate", cert);
    if (SSL_CTX_use_PrivateKey_file(c, key, SSL_FILETYPE_PEM) != 1)
        return bad_file(why, "key", key);
    if (SSL_CTX_check_private_key(c) != 1) return bad_file(why, "key", key);
    return ERR_OK;
}

static enum err load_ca(SSL_CTX *c, const char *ca, struct why *why)
{
    if (ca && SSL_CTX_load_verify_file(c, ca) != 1) return bad_file(why, "CA", ca);
    if (!ca) (void)SSL_CTX_set_default_verify_paths(c); /* none there: nobody is good */
    return ERR_OK;
}

/* --- contexts --------------------------------------------------------------------- */

/* HTTP/1.0 is what curl -0 asks for; we answer it as HTTP/1.1. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1\x08http/1.0";
    unsigned char *chosen;

    (void)ssl, (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *new_context(const SSL_METHOD *method)
{
    SSL_CTX *c = SSL_CTX_new(method);

    if (!c) return NULL;
    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* One recv(2) for a record, not two. */
    SSL_CTX_set_read_ahead(c, 1);
    /* Sessions are kept by clients, in tickets.  Those of one context are worth nothing
     * in the next, so that a changed CA counts for everybody. */
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    return c;
}

static enum err server_context(const struct tls *t, SSL_CTX **out, struct why *why)
{
    static const unsigned char id[] = "rqlite";
    SSL_CTX *c = new_context(TLS_server_method());
    enum err e;

    *out = c;
    if (!c) return why_set(why, ERR_NOMEM, "out of memory for TLS");
    SSL_CTX_set_session_id_context(c, id, sizeof id - 1);
    if (t->http) SSL_CTX_set_alpn_select_cb(c, choose_protocol, NULL);
    e = load_pair(c, t->files[0], t->files[1], why);
    if (!e && t->verify_client) {
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                           session_verify);
        e = load_ca(c, t->files[2], why);
        if (!e && t->files[2])
            SSL_CTX_set_client_CA_list(c, SSL_load_client_CA_file(t->files[2]));
    }
    return e;
}

static enum err client_context(const struct tls *t, SSL_CTX **out, struct why *why)
{
    SSL_CTX *c = new_context(TLS_client_method());
    enum err e = ERR_OK;

    *out = c;
    if (!c) return why_set(why, ERR_NOMEM, "out of memory for TLS");
    if (t->files[0]) e = load_pair(c, t->files[0], t->files[1], why);
    if (!e && !t->no_verify) {
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
        e = load_ca(c, t->files[2], why);
    }
    return e;
}

/* Replaces the contexts if all is well. */
static enum err load(struct tls *t, struct why *why)
{
    SSL_CTX *server = NULL, *client = NULL;
    enum err e = ERR_OK;

    ERR_clear_error();
    if (t->files[0]) e = server_context(t, &server, why);
    if (!e && !t->http) e = client_context(t, &client, why);
    if (e) {
        SSL_CTX_free(server);
        SSL_CTX_free(client);
        return e;
    }
    SSL_CTX_free(t->server);
    SSL_CTX_free(t->client);
    t->server = server;
    t->client = client;
    return ERR_OK;
}

/* With the lock held.  asked: not because they have changed. */
static void read_again(struct tls *t, const struct stamps *now, bool asked)
{
    struct why why;

    if (load(t, &why) == ERR_OK) {
        t->loaded = *now;
        logger_info(t->logger, t->component, "TLS files %s read again",
                    asked ? "were" : "have changed and were");
    } else {
        t->failed = *now;
        logger_error(t->logger, t->component,
                     "TLS files %scannot be used, so what they held before stays: %s",
                     asked ? "" : "have changed and ", why.text);
    }
}

/* With the lock held. */
static void look_at_files(struct tls *t)
{
    struct stamps now;

    take_stamps(t, &now);
    if (!same(&now, &t->loaded) && !same(&now, &t->failed)) read_again(t, &now, false);
}

void tls_reload(struct tls *t)
{
    struct stamps now;

    if (!t) return;
    pthread_mutex_lock(&t->lock);
    take_stamps(t, &now);
    read_again(t, &now, true);
    pthread_mutex_unlock(&t->lock);
}

/* --- making and ending ------------------------------------------------------------ */

static bool keep(char **out, const char *text)
{
    if (!text || !*text) return true;
    *out = strdup(text);
    return *out != NULL;
}

enum err tls_new(struct tls **out, const struct tls_options *o, struct why *why)
{
    struct tls *t = calloc(1, sizeof *t);
    enum err e = ERR_OK;

    *out = NULL;
    if (!t) return why_set(why, ERR_NOMEM, "out of memory for TLS");
    pthread_mutex_init(&t->lock, NULL);
    t->verify_client = o->verify_client;
    t->no_verify = o->no_verify;
    t->http = o->http;
    t->logger = o->logger;
    t->component = o->component;
    t->metrics = o->metrics;
    t->counter = o->counter;
    if (!keep(&t->files[0], o->cert) || !keep(&t->files[1], o->key) ||
        !keep(&t->files[2], o->ca) || !keep(&t->client_name, o->client_name) ||
        !keep(&t->server_name, o->server_name))
        e = why_set(why, ERR_NOMEM, "out of memory for TLS");
    else if (!t->files[0] != !t->files[1])
        e = why_set(why, ERR_INVALID, "a certificate and its key go together");
    if (!e) {
        take_stamps(t, &t->loaded);
        e = load(t, why);
    }
    if (e) {
        tls_free(t);
        return e;
    }
    *out = t;
    return ERR_OK;
}

void tls_free(struct tls *t)
{
    if (!t) return;
    SSL_CTX_free(t->server);
    SSL_CTX_free(t->client);
    for (int i = 0; i < FILES; i++) free(t->files[i]);
    free(t->client_name);
    free(t->server_name);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

SSL *tls_new_ssl(struct tls *t, bool accepting)
{
    SSL_CTX *c;
    SSL *ssl;

    pthread_mutex_lock(&t->lock);
    look_at_files(t);
    c = accepting ? t->server : t->client;
    CHECK(c != NULL); /* whoever accepts has a certificate; HTTP does not dial */
    ssl = SSL_new(c);
    pthread_mutex_unlock(&t->lock);
    metrics_add(t->metrics, t->counter, 1);
    return ssl;
}

const char *tls_client_name(const struct tls *t)
{
    return t->client_name;
}

const char *tls_server_name(const struct tls *t)
{
    return t->server_name;
}

bool tls_verifies_server(const struct tls *t)
{
    return !t->no_verify;
}

void tls_report(struct tls *t, const struct tls_session *s, const struct why *why)
{
    uint64_t second = clock_mono_ns(clock_real()) / 1000000000;
    unsigned left_out = 0;
    bool print;

    pthread_mutex_lock(&t->lock);
    if (second != t->second) {
        left_out = t->left_out;
        t->second = second;
        t->lines = t->left_out = 0;
    }
    print = t->lines < LINES_PER_SECOND;
    if (print)
        t->lines++;
    else
        t->left_out++;
    pthread_mutex_unlock(&t->lock);
    if (left_out > 0)
        logger_warn(t->logger, t->component, "%u more TLS handshake errors left out",
                    left_out);
    if (print)
        logger_warn(t->logger, t->component, "TLS handshake error from %s: %s",
                    s ? session_remote(s) : "a client", why->text);
}
