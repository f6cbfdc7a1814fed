/* SPDX-License-Identifier: MIT */
/* Who speaks TLS and who does not, at the port of nodes.  That calls work over it is what
 * test_..._tls.c have. */
#include "tests/unit/net/harness.h"

#include "core/net/internal.h"
#include "tests/unit/tls/certs.h"

struct secured {
    struct world w;
    struct certs certs;
    struct tls *here, *there; /* NULL = clear text */
};

/* Both with a certificate for 127.0.0.1; options may be changed by the caller. */
static struct tls_options ordinary(struct secured *s, const char *name)
{
    certs_issue(&s->certs, name, name, "IP:127.0.0.1");
    return certs_options(&s->certs, name);
}

static void open_secured(struct secured *s, const struct tls_options *here,
                         const struct tls_options *there, const struct net_limits *l)
{
    world_open_with(&s->w, l, l);
    s->here = here ? certs_tls(here) : NULL;
    s->there = there ? certs_tls(there) : NULL;
    s->w.here.net->tls = s->here;
    s->w.there.net->tls = s->there;
}

static void close_secured(struct secured *s)
{
    world_close(&s->w);
    tls_free(s->here);
    tls_free(s->there);
    certs_close(&s->certs);
}

static void start_call(struct secured *s, struct outcome *got)
{
    static Rqlite__NodeInfoRequest message = RQLITE__NODE_INFO_REQUEST__INIT;
    struct net_request_options o =
        ask(&net_service_cluster, NET_CLUSTER_INFO, &message, got);

    start(s->w.channel, &o);
}

/* It fails, and certainly had no effect; text is in the reason, and in both logs. */
static void assert_refused(struct secured *s, const char *here, const char *there)
{
    struct outcome got;

    start_call(s, &got);
    WAIT(&s->w, got.done);
    assert_int_equal(got.why.code, ERR_UNREACHABLE);
    assert_true(got.not_run);
    if (!strstr(got.why.text, here)) fail_msg("%s: no \"%s\"", got.why.text, here);
    WAIT(&s->w, said(&s->w.here, here));
    WAIT(&s->w, said(&s->w.there, there));
    assert_int_equal(stats_of(&s->w.there).calls_in, 0);
    assert_true(stats_of(&s->w.there).refused > 0);
}

static void a_client_without_certificate_hears_why(void **state)
{
    struct secured s;
    struct tls_options there, here;

    (void)state;
    certs_open(&s.certs);
    there = ordinary(&s, "there");
    here = certs_options(&s.certs, NULL);
    there.verify_client = true;
    open_secured(&s, &here, &there, NULL);
    assert_refused(&s, "our certificate was refused by the other side",
                   "the other side has no certificate");
    close_secured(&s);
}

static void a_wrong_common_name_is_refused(void **state)
{
    struct secured s;
    struct tls_options there, here;

    (void)state;
    certs_open(&s.certs);
    there = ordinary(&s, "there");
    here = ordinary(&s, "here");
    there.verify_client = true;
    there.client_name = "node";
    open_secured(&s, &here, &there, NULL);
    assert_refused(&s, "our certificate was refused by the other side",
                   "bad certificate: common name is \"here\", not \"node\"");
    close_secured(&s);
}

static void a_wrong_server_name_is_refused(void **state)
{
    struct secured s;
    struct tls_options there, here;

    (void)state;
    certs_open(&s.certs);
    there = ordinary(&s, "there");
    here = ordinary(&s, "here");
    here.server_name = "node";
    open_secured(&s, &here, &there, NULL);
    assert_refused(&s, "bad certificate: it is not valid for node",
                   "our certificate was refused by the other side");
    close_secured(&s);
}

static void clear_text_is_answered_in_clear_text(void **state)
{
    struct secured s;
    struct tls_options there;
    struct outcome got;

    (void)state;
    certs_open(&s.certs);
    there = ordinary(&s, "there");
    open_secured(&s, NULL, &there, NULL);
    start_call(&s, &got);
    WAIT(&s.w, got.done);
    assert_true(got.not_run);
    assert_non_null(strstr(got.why.text, "Raft port is encrypted"));
    assert_true(said(&s.w.there, "this node's Raft port is encrypted"));
    close_secured(&s);
}

static void tls_is_no_match_for_clear_text(void **state)
{
    struct secured s;
    struct tls_options here;

    (void)state;
    certs_open(&s.certs);
    here = ordinary(&s, "here");
    open_secured(&s, &here, NULL, NULL);
    assert_refused(&s, "the other side does not speak TLS",
                   "not our protocol, but a TLS handshake");
    close_secured(&s);
}

static void a_handshake_has_its_time(void **state)
{
    struct net_limits limits = {.hello_ms = 50, .connect_ms = 50};
    const uint8_t begun[] = {0x16, 3, 1, 2, 0, 1};
    struct secured s;
    struct tls_options there;
    int fd[3];

    (void)state;
    certs_open(&s.certs);
    there = ordinary(&s, "there");
    open_secured(&s, NULL, &there, &limits);
    for (int i = 0; i < 3; i++) {
        fd[i] = plain_connect(&s.w);
        if (i)
            assert_int_equal(write(fd[i], begun, i == 1 ? 1 : sizeof begun),
                             i == 1 ? 1 : sizeof begun);
    }
    for (int i = 0; i < 3; i++) {
        WAIT(&s.w, plain_closed(fd[i], NULL));
        close(fd[i]);
    }
    WAIT(&s.w, stats_of(&s.w.there).connections == 0);
    close_secured(&s);
}

static void garbage_costs_its_connection_only(void **state)
{
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n",
                                          "\x16\x03\x01\x01\x01garbage",
                                          "\x16\x16\x16\x16\x16\x16\x16\x16", "\x80\x2e"};
    struct secured s;
    struct tls_options there;

    (void)state;
    certs_open(&s.certs);
    there = ordinary(&s, "there");
    open_secured(&s, NULL, &there, NULL);
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        int fd = plain_connect(&s.w);

        assert_true(write(fd, garbage[i], strlen(garbage[i])) > 0);
        shutdown(fd, SHUT_WR);
        WAIT(&s.w, plain_closed(fd, NULL));
        close(fd);
    }
    WAIT(&s.w, said(&s.w.there, "not TLS, but an HTTP request"));
    WAIT(&s.w, stats_of(&s.w.there).connections == 0);
    close_secured(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_without_certificate_hears_why),
        cmocka_unit_test(a_wrong_common_name_is_refused),
        cmocka_unit_test(a_wrong_server_name_is_refused),
        cmocka_unit_test(clear_text_is_answered_in_clear_text),
        cmocka_unit_test(tls_is_no_match_for_clear_text),
        cmocka_unit_test(a_handshake_has_its_time),
        cmocka_unit_test(garbage_costs_its_connection_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
