/* SPDX-License-Identifier: MIT */
/* Certificates for tests, made on the spot in a directory that is removed again. */
#ifndef TESTS_UNIT_TLS_CERTS_H
#define TESTS_UNIT_TLS_CERTS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "core/tls/tls.h"

struct certs { /* a directory, and the authority that signs */
    char dir[32];
    EVP_PKEY *key;
    X509 *ca;
    long serial;
    char files[32][96];
    unsigned n_files;
};

enum { CERTS_DAY = 24 * 3600 };

/* dir/name; remembered, to be removed. */
static inline const char *certs_path(struct certs *c, const char *name)
{
    char path[96];

    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    for (unsigned i = 0; i < c->n_files; i++)
        if (strcmp(c->files[i], path) == 0) return c->files[i];
    assert_true(c->n_files < 32);
    return strcpy(c->files[c->n_files++], path);
}

static inline void certs_extend(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    assert_non_null(ext);
    assert_int_equal(X509_add_ext(cert, ext, -1), 1);
    X509_EXTENSION_free(ext);
}

/* Signed by c, or by its own key before there is an authority.  len of cn, or -1. */
static inline X509 *certs_sign(struct certs *c, EVP_PKEY *key, const char *cn, int len,
                               const char *sans, long days)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);

    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++c->serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -10L * CERTS_DAY);
    X509_gmtime_adj(X509_getm_notAfter(cert), days * CERTS_DAY);
    X509_set_pubkey(cert, key);
    if (cn)
        X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                   (const unsigned char *)cn, len, -1, 0);
    X509_set_issuer_name(cert, c->ca ? X509_get_subject_name(c->ca) : name);
    if (!c->ca) certs_extend(cert, NID_basic_constraints, "critical,CA:TRUE");
    if (sans) certs_extend(cert, NID_subject_alt_name, sans);
    assert_true(X509_sign(cert, c->ca ? c->key : key, EVP_sha256()) > 0);
    return cert;
}

static inline void certs_write(struct certs *c, const char *name, EVP_PKEY *key,
                               X509 *cert)
{
    char file[40];
    FILE *f;

    if (cert) {
        snprintf(file, sizeof file, "%s.pem", name);
        assert_non_null(f = fopen(certs_path(c, file), "w"));
        PEM_write_X509(f, cert);
        fclose(f);
    }
    if (key) {
        snprintf(file, sizeof file, "%s.key", name);
        assert_non_null(f = fopen(certs_path(c, file), "w"));
        PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
        fclose(f);
    }
}

/* name.pem and name.key, replaced if they are there. */
static inline void certs_issue_named(struct certs *c, const char *name, const char *cn,
                                     int len, const char *sans, long days)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = certs_sign(c, key, cn, len, sans, days);

    certs_write(c, name, key, cert);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline void certs_issue(struct certs *c, const char *name, const char *cn,
                               const char *sans)
{
    certs_issue_named(c, name, cn, -1, sans, 10);
}

/* An authority, in ca.pem. */
static inline void certs_open(struct certs *c)
{
    memset(c, 0, sizeof *c);
    strcpy(c->dir, "certs.XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    c->key = EVP_EC_gen("P-256");
    c->ca = certs_sign(c, c->key, c->dir, -1, NULL, 10);
    certs_write(c, "ca", NULL, c->ca);
}

static inline void certs_close(struct certs *c)
{
    for (unsigned i = 0; i < c->n_files; i++) unlink(c->files[i]);
    assert_int_equal(rmdir(c->dir), 0);
    X509_free(c->ca);
    EVP_PKEY_free(c->key);
}

/* With name.pem, name.key (NULL: none), and ca.pem as the CA. */
static inline struct tls_options certs_options(struct certs *c, const char *name)
{
    struct tls_options o = {.ca = certs_path(c, "ca.pem"), .component = "test"};
    char file[40];

    if (!name) return o;
    snprintf(file, sizeof file, "%s.pem", name);
    o.cert = certs_path(c, file);
    snprintf(file, sizeof file, "%s.key", name);
    o.key = certs_path(c, file);
    return o;
}

static inline struct tls *certs_tls(const struct tls_options *o)
{
    struct tls *t;
    struct why why = {0};

    if (tls_new(&t, o, &why)) fail_msg("%s", why.text);
    return t;
}

#endif
