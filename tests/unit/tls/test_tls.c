/* SPDX-License-Identifier: MIT */
/* Sessions over a socket pair: who trusts whom, what is said when not, and bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it */
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/base/logger.h"
#include "tests/unit/tls/certs.h"

struct end { /* of a connection */
    struct tls *tls;
    struct tls_session *s;
    int fd;
    enum tls_is is;
    struct why why;
};

struct pair {
    struct end here, there; /* who dials and who accepts */
};

static bool waits(enum tls_is is)
{
    return is == TLS_WANT_READ || is == TLS_WANT_WRITE;
}

static void pair_open(struct pair *p, const struct tls_options *here,
                      const struct tls_options *there, const char *host)
{
    int fd[2];

    memset(p, 0, sizeof *p);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    p->here.fd = fd[0];
    p->there.fd = fd[1];
    p->here.tls = certs_tls(here);
    p->there.tls = certs_tls(there);
    assert_int_equal(tls_dial(&p->here.s, p->here.tls, fd[0], host, NULL), ERR_OK);
    assert_int_equal(tls_accept(&p->there.s, p->there.tls, fd[1], NULL), ERR_OK);
}

static void pair_close(struct pair *p)
{
    tls_session_free(p->here.s);
    tls_session_free(p->there.s);
    tls_free(p->here.tls);
    tls_free(p->there.tls);
    close(p->here.fd);
    close(p->there.fd);
}

/* Until nobody waits any more.  An alert about the dialer's certificate comes to it by
 * its first read. */
static void shake(struct pair *p)
{
    char byte;
    size_t n;

    p->here.is = p->there.is = TLS_WANT_READ;
    for (int i = 0; i < 20; i++) {
        if (waits(p->here.is)) p->here.is = tls_handshake(p->here.s, &p->here.why);
        if (waits(p->there.is)) p->there.is = tls_handshake(p->there.s, &p->there.why);
    }
    if (p->here.is == TLS_DONE && p->there.is == TLS_FAILED)
        p->here.is = tls_read(p->here.s, &byte, 1, &n, &p->here.why);
}

static void assert_said(const struct end *e, enum err code, const char *words)
{
    assert_int_equal(e->is, TLS_FAILED);
    assert_int_equal(e->why.code, code);
    if (!strstr(e->why.text, words)) fail_msg("%s: no \"%s\"", e->why.text, words);
}

/* --- names ------------------------------------------------------------------------ */

static void the_dialled_name_must_be_in_the_certificate(void **state)
{
    static const struct {
        const char *cn, *sans, *host, *server_name;
        bool good;
    } cases[] = {
        {"x", "DNS:localhost", "localhost", NULL, true},
        {"x", "DNS:localhost", "LocalHost", NULL, true},
        {"x", "DNS:localhost", "localhost.", NULL, false},
        {"x", "DNS:localhost", "127.0.0.1", NULL, false},
        {"x", "IP:127.0.0.1", "127.0.0.1", NULL, true},
        {"x", "IP:127.0.0.1", "127.0.0.2", NULL, false},
        {"x", "IP:::1", "::1", NULL, true},
        {"x", "IP:::1", "0:0:0:0:0:0:0:1", NULL, true},
        {"x", "DNS:127.0.0.1", "127.0.0.1", NULL, false},
        {"x", "DNS:*.db.example", "one.db.example", NULL, true},
        {"x", "DNS:*.db.example", "a.one.db.example", NULL, false},
        {"x", "DNS:o*.db.example", "one.db.example", NULL, false},
        {"one", NULL, "one", NULL, true},
        {"one", "IP:127.0.0.1", "one", NULL, true},
        {"one", "DNS:two", "one", NULL, false},
        {"127.0.0.1", NULL, "127.0.0.1", NULL, false},
        {"x", "DNS:db", "127.0.0.1", "db", true},
        {"x", "DNS:db", "db", "other", false},
        {"x", "IP:10.0.0.1", "db", "10.0.0.1", true},
    };
    struct certs c;

    (void)state;
    certs_open(&c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tls_options here = certs_options(&c, NULL), there;
        struct pair p;

        certs_issue(&c, "server", cases[i].cn, cases[i].sans);
        there = certs_options(&c, "server");
        here.server_name = cases[i].server_name;
        pair_open(&p, &here, &there, cases[i].host);
        shake(&p);
        if ((p.here.is == TLS_DONE) != cases[i].good)
            fail_msg("case %zu: %s", i, p.here.why.text);
        if (!cases[i].good) {
            assert_said(&p.here, ERR_UNAUTHORIZED, "it is not valid for ");
            assert_said(&p.there, ERR_UNAUTHORIZED, "our certificate was refused");
        }
        pair_close(&p);
    }
    certs_close(&c);
}

static void a_host_that_cannot_be_a_name_is_refused(void **state)
{
    struct tls_session *s;
    struct tls_options o;
    struct certs c;
    struct tls *t;
    char host[400];
    struct why why;

    (void)state;
    certs_open(&c);
    o = certs_options(&c, NULL);
    t = certs_tls(&o);
    memset(host, 'a', sizeof host);
    host[sizeof host - 1] = '\0';
    assert_int_equal(tls_dial(&s, t, 0, host, &why), ERR_INVALID);
    assert_null(s);
    tls_free(t);
    certs_close(&c);
}

/* --- certificates of clients ------------------------------------------------------ */

static void only_the_right_client_is_let_in(void **state)
{
    static const struct {
        const char *cn;
        int len;
        long days;
        const char *there; /* NULL: it is the right one */
    } cases[] = {
        {"alice", -1, 10, NULL},
        {NULL, 0, 0, "has no certificate"},
        {"bob", -1, 10, "common name is \"bob\", not \"alice\""},
        {"alice\0x", 7, 10, "common name is"},
        {"ali", -1, 10, "common name is \"ali\", not \"alice\""},
        {"a\nb", -1, 10, "common name is \"a?b\", not \"alice\""},
        {"alice", -1, -1, "certificate has expired"},
    };
    struct certs c;

    (void)state;
    certs_open(&c);
    certs_issue(&c, "server", "x", "DNS:localhost");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tls_options here, there = certs_options(&c, "server");
        struct pair p;

        if (cases[i].cn)
            certs_issue_named(&c, "client", cases[i].cn, cases[i].len, NULL,
                              cases[i].days);
        here = certs_options(&c, cases[i].cn ? "client" : NULL);
        there.verify_client = true;
        there.client_name = "alice";
        pair_open(&p, &here, &there, "localhost");
        shake(&p);
        if (!cases[i].there) {
            assert_int_equal(p.there.is, TLS_DONE);
            assert_int_equal(p.here.is, TLS_DONE);
        } else {
            assert_said(&p.there, ERR_UNAUTHORIZED, cases[i].there);
            assert_said(&p.here, ERR_UNAUTHORIZED,
                        "our certificate was refused by the other side");
        }
        pair_close(&p);
    }
    certs_close(&c);
}

static void another_authority_is_not_trusted_unless_nobody_is_checked(void **state)
{
    struct certs c, other;
    struct tls_options here, there;
    struct pair p;

    (void)state;
    certs_open(&c);
    certs_open(&other);
    certs_issue(&other, "server", "x", "DNS:localhost");
    here = certs_options(&c, NULL);
    there = certs_options(&other, "server");
    pair_open(&p, &here, &there, "localhost");
    shake(&p);
    assert_said(&p.here, ERR_UNAUTHORIZED, "unable to get local issuer certificate");
    assert_said(&p.there, ERR_UNAUTHORIZED, "our certificate was refused");
    pair_close(&p);

    here.no_verify = true;
    pair_open(&p, &here, &there, "elsewhere");
    shake(&p);
    assert_int_equal(p.here.is, TLS_DONE);
    pair_close(&p);
    certs_close(&other);
    certs_close(&c);
}

/* --- what is no handshake --------------------------------------------------------- */

static void clear_text_is_recognised(void **state)
{
    struct certs c;
    struct tls_options here, there;
    struct pair p;

    (void)state;
    certs_open(&c);
    certs_issue(&c, "server", "x", "DNS:localhost");
    here = certs_options(&c, NULL);
    there = certs_options(&c, "server");

    pair_open(&p, &here, &there, "localhost");
    assert_int_equal(write(p.here.fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    p.there.is = tls_handshake(p.there.s, &p.there.why);
    assert_said(&p.there, ERR_UNSUPPORTED, "does not speak TLS");
    pair_close(&p);

    pair_open(&p, &here, &there, "localhost");
    assert_int_equal(write(p.there.fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 28);
    p.here.is = tls_handshake(p.here.s, &p.here.why);
    assert_said(&p.here, ERR_UNSUPPORTED, "does not speak TLS");
    assert_int_equal(tls_handshake(p.here.s, &p.here.why), TLS_EOF); /* and no more */
    pair_close(&p);

    pair_open(&p, &here, &there, "localhost");
    shutdown(p.here.fd, SHUT_WR);
    assert_int_equal(tls_handshake(p.there.s, &p.there.why), TLS_EOF);
    pair_close(&p);
    certs_close(&c);
}

/* --- bytes ------------------------------------------------------------------------ */

static void bytes_pass_a_full_socket(void **state)
{
    enum { ALL = 3 << 20, READ = 5000 };
    static uint8_t sent[ALL], got[ALL];
    uint8_t *moved = NULL;
    size_t out = 0, in = 0, n;
    unsigned blocked = 0;
    struct tls_options here, there;
    struct certs c;
    struct pair p;

    (void)state;
    certs_open(&c);
    certs_issue(&c, "server", "x", "DNS:localhost");
    here = certs_options(&c, NULL);
    there = certs_options(&c, "server");
    pair_open(&p, &here, &there, "localhost");
    shake(&p);
    for (size_t i = 0; i < ALL; i++) sent[i] = (uint8_t)(i * 7 / 13);
    while (in < ALL) {
        enum tls_is is = TLS_DONE;

        while (out < ALL && is == TLS_DONE) {
            size_t len = ALL - out;

            free(moved); /* each time from another place */
            assert_non_null(moved = malloc(len));
            memcpy(moved, sent + out, len);
            is = tls_write(p.here.s, moved, len, &n, &p.here.why);
            if (is == TLS_DONE) out += n;
            if (is == TLS_WANT_WRITE) blocked++;
        }
        assert_true(is == TLS_DONE || is == TLS_WANT_WRITE);
        is = tls_read(p.there.s, got + in, ALL - in < READ ? ALL - in : READ, &n,
                      &p.there.why);
        if (is == TLS_DONE) in += n;
    }
    assert_memory_equal(sent, got, ALL);
    assert_true(blocked > 0);
    free(moved);

    /* What is left in the session is known; the end is told apart from a wait. */
    assert_int_equal(tls_write(p.here.s, "twelve bytes", 12, &n, NULL), TLS_DONE);
    assert_int_equal(tls_read(p.there.s, got, 5, &n, NULL), TLS_DONE);
    assert_true(tls_has_more(p.there.s));
    assert_int_equal(tls_read(p.there.s, got, 50, &n, NULL), TLS_DONE);
    assert_int_equal(n, 7);
    assert_false(tls_has_more(p.there.s));
    assert_int_equal(tls_read(p.there.s, got, 50, &n, NULL), TLS_WANT_READ);
    tls_finish(p.here.s);
    assert_int_equal(tls_read(p.there.s, got, 50, &n, NULL), TLS_EOF);
    pair_close(&p);
    certs_close(&c);
}

static void a_peer_that_is_gone_is_an_end_or_an_error(void **state)
{
    struct tls_options here, there;
    struct certs c;
    struct pair p;
    uint8_t block[1 << 16] = {0};
    size_t n;
    enum tls_is is = TLS_DONE;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    certs_open(&c);
    certs_issue(&c, "server", "x", "DNS:localhost");
    here = certs_options(&c, NULL);
    there = certs_options(&c, "server");
    pair_open(&p, &here, &there, "localhost");
    shake(&p);
    shutdown(p.here.fd, SHUT_RDWR); /* without a word */
    assert_int_equal(tls_read(p.there.s, block, 50, &n, NULL), TLS_EOF);
    while (is == TLS_DONE)
        is = tls_write(p.there.s, block, sizeof block, &n, &p.there.why);
    assert_int_equal(is, TLS_FAILED);
    assert_int_equal(p.there.why.code, ERR_UNREACHABLE);
    assert_int_equal(tls_write(p.there.s, block, 1, &n, &p.there.why), TLS_FAILED);
    pair_close(&p);
    certs_close(&c);
}

/* --- files ------------------------------------------------------------------------ */

struct log {
    struct logger *logger;
    int fd;
};

static void log_open(struct log *l)
{
    l->fd = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(logger_new(&l->logger, l->fd, LOGGER_INFO), ERR_OK);
}

static unsigned log_count(const struct log *l, const char *text)
{
    static char all[1 << 16];
    ssize_t n = pread(l->fd, all, sizeof all - 1, 0);
    unsigned count = 0;

    all[n < 0 ? 0 : n] = '\0';
    for (const char *p = all; (p = strstr(p, text)); p++) count++;
    return count;
}

static void log_close(struct log *l)
{
    logger_free(l->logger);
    close(l->fd);
}

/* Does the server of p present the certificate of this authority? */
static bool still_good(struct tls *server, struct certs *c)
{
    struct tls_options here = certs_options(c, NULL);
    struct pair p = {0};
    bool good;
    int fd[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    p.here.fd = fd[0];
    p.there.fd = fd[1];
    p.here.tls = certs_tls(&here);
    assert_int_equal(tls_dial(&p.here.s, p.here.tls, fd[0], "localhost", NULL), ERR_OK);
    assert_int_equal(tls_accept(&p.there.s, server, fd[1], NULL), ERR_OK);
    shake(&p);
    good = p.here.is == TLS_DONE && p.there.is == TLS_DONE;
    pair_close(&p);
    return good;
}

static void changed_files_are_used_and_broken_ones_are_not(void **state)
{
    struct certs c, other;
    struct tls_options o;
    struct log log;
    struct tls *t;
    FILE *f;

    (void)state;
    log_open(&log);
    certs_open(&c);
    certs_open(&other);
    certs_issue(&c, "server", "x", "DNS:localhost");
    certs_issue(&other, "server", "x", "DNS:localhost");
    o = certs_options(&c, "server");
    o.logger = log.logger;
    t = certs_tls(&o);
    assert_true(still_good(t, &c));

    /* Only one of the two has come so far. */
    assert_int_equal(rename(certs_path(&other, "server.pem"), o.cert), 0);
    for (int i = 0; i < 3; i++) assert_true(still_good(t, &c));
    assert_int_equal(log_count(&log, "what they held before stays: key "), 1);
    assert_int_equal(log_count(&log, "key values mismatch"), 1);
    assert_int_equal(rename(certs_path(&other, "server.key"), o.key), 0);
    assert_false(still_good(t, &c));
    assert_true(still_good(t, &other));
    assert_int_equal(log_count(&log, "were read again"), 1);

    /* Cut short, then gone. */
    assert_non_null(f = fopen(o.cert, "w"));
    fprintf(f, "-----BEGIN CERTIFICATE-----\n");
    fclose(f);
    assert_true(still_good(t, &other));
    unlink(o.cert);
    tls_reload(t);
    assert_true(still_good(t, &other));
    assert_int_equal(log_count(&log, "what they held before stays"), 3);
    certs_issue(&c, "server", "x", "DNS:localhost");
    assert_true(still_good(t, &c));
    assert_int_equal(log_count(&log, "have changed and were read again"), 2);

    /* Who asks is told in any case. */
    tls_reload(t);
    assert_true(still_good(t, &c));
    assert_int_equal(log_count(&log, "TLS files were read again"), 1);
    tls_reload(NULL);
    tls_free(t);
    certs_close(&other);
    certs_close(&c);
    log_close(&log);
}

static void files_that_are_no_use_are_refused_with_words(void **state)
{
    struct tls_options o;
    struct certs c;
    struct tls *t;
    struct why why;
    FILE *f;

    (void)state;
    certs_open(&c);
    certs_issue(&c, "server", "x", NULL);
    certs_issue(&c, "other", "x", NULL);
    o = certs_options(&c, "server");

    o.key = certs_path(&c, "other.key");
    assert_int_equal(tls_new(&t, &o, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "key values mismatch"));
    o.key = NULL;
    assert_int_equal(tls_new(&t, &o, &why), ERR_INVALID);
    o.key = "/nowhere";
    assert_int_equal(tls_new(&t, &o, &why), ERR_INVALID);
    assert_string_equal(why.text, "key /nowhere: No such file or directory");
    o = certs_options(&c, "server");
    assert_non_null(f = fopen(certs_path(&c, "words"), "w"));
    fprintf(f, "nothing\n");
    fclose(f);
    o.ca = certs_path(&c, "words");
    assert_int_equal(tls_new(&t, &o, &why), ERR_INVALID);
    assert_null(t);
    assert_non_null(strstr(why.text, "CA "));
    o = certs_options(&c, "server");
    o.cert = certs_path(&c, "words");
    assert_int_equal(tls_new(&t, &o, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "certificate "));
    certs_close(&c);
}

static void failures_fill_no_log(void **state)
{
    struct why why = {.text = "it failed"};
    struct tls_options o;
    struct certs c;
    struct log log;
    struct tls *t;

    (void)state;
    log_open(&log);
    certs_open(&c);
    o = certs_options(&c, NULL);
    o.logger = log.logger;
    t = certs_tls(&o);
    for (int i = 0; i < 5000; i++) tls_report(t, NULL, &why);
    assert_in_range(log_count(&log, "TLS handshake error from a client: it failed"), 10,
                    200);
    tls_free(t);
    certs_close(&c);
    log_close(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_dialled_name_must_be_in_the_certificate),
        cmocka_unit_test(a_host_that_cannot_be_a_name_is_refused),
        cmocka_unit_test(only_the_right_client_is_let_in),
        cmocka_unit_test(another_authority_is_not_trusted_unless_nobody_is_checked),
        cmocka_unit_test(clear_text_is_recognised),
        cmocka_unit_test(bytes_pass_a_full_socket),
        cmocka_unit_test(a_peer_that_is_gone_is_an_end_or_an_error),
        cmocka_unit_test(changed_files_are_used_and_broken_ones_are_not),
        cmocka_unit_test(files_that_are_no_use_are_refused_with_words),
        cmocka_unit_test(failures_fill_no_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
