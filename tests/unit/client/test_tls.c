/* SPDX-License-Identifier: MIT */
/* The C client and certificates: whom it trusts, who trusts it, and what it says if not.
 */
#include "tests/unit/client/fake.h"

#include "clients/c/include/rqlite.h"
#include "tests/unit/tls/certs.h"

struct world { /* a node, and what a client may show to it */
    struct certs certs, others;
    struct tls_options node_tls;
    struct tls *tls;
    struct fake node;
};

/* sans: of the node's certificate. */
static void world_open(struct world *w, const char *sans, bool verify_client, bool clear)
{
    struct fake_options o = {.tls = NULL};

    memset(w, 0, sizeof *w);
    certs_open(&w->certs);
    certs_open(&w->others);
    certs_issue(&w->certs, "node", "node", sans);
    certs_issue(&w->certs, "client", "client", NULL);
    certs_issue(&w->others, "client", "client", NULL);
    w->node_tls = certs_options(&w->certs, "node");
    w->node_tls.verify_client = verify_client;
    if (!clear) o.tls = w->tls = certs_tls(&w->node_tls);
    fake_open(&w->node, &o);
}

static void world_close(struct world *w)
{
    fake_close(&w->node);
    tls_free(w->tls);
    certs_close(&w->certs);
    certs_close(&w->others);
}

/* Options that trust w->certs, and show its client's certificate. */
static struct rqlite_options options(struct world *w)
{
    return (struct rqlite_options){.nodes = w->node.address,
                                   .timeout_ms = 20000,
                                   .tls_ca = certs_path(&w->certs, "ca.pem"),
                                   .tls_cert = certs_path(&w->certs, "client.pem"),
                                   .tls_key = certs_path(&w->certs, "client.key")};
}

static enum rqlite_code try_write(const struct rqlite_options *o,
                                  struct rqlite_error *error)
{
    enum rqlite_code code;
    struct rqlite *db;

    if (rqlite_open(&db, o, error)) fail_msg("open: %s", error->text);
    code = rqlite_write(db, NULL, "write", NULL, 0, error);
    rqlite_close(db);
    return code;
}

static void must_work(const struct rqlite_options *o)
{
    struct rqlite_error error;

    if (try_write(o, &error)) fail_msg("write: %s", error.text);
}

/* Nothing was applied, and the words are to the point.  It tries until its time is up,
 * since the node might mend its ways; on a busy machine the first attempt may take that
 * long. */
static void must_fail(struct world *w, struct rqlite_options *o, const char *words)
{
    struct rqlite_error error;
    int applied = atomic_load(&w->node.applied);
    enum rqlite_code code = RQLITE_TIMEOUT;

    for (o->timeout_ms = 300; code == RQLITE_TIMEOUT && o->timeout_ms < 60000;
         o->timeout_ms *= 3)
        code = try_write(o, &error);
    assert_int_equal(code, RQLITE_UNREACHABLE);
    assert_false(error.unknown);
    if (!strstr(error.text, words)) fail_msg("%s: not in: %s", words, error.text);
    assert_int_equal(atomic_load(&w->node.applied), applied);
    o->timeout_ms = 20000;
}

static void both_sides_show_certificates(void **state)
{
    struct world w;
    struct rqlite_options o;

    (void)state;
    world_open(&w, "IP:127.0.0.1", true, false);
    o = options(&w);
    must_work(&o);
    world_close(&w);
}

static void a_client_that_the_node_does_not_trust_is_told(void **state)
{
    struct world w;
    struct rqlite_options o;

    (void)state;
    world_open(&w, "IP:127.0.0.1", true, false);
    o = options(&w);
    o.tls_cert = o.tls_key = NULL;
    must_fail(&w, &o, "our certificate was refused by the other side");
    o = options(&w);
    o.tls_cert = certs_path(&w.others, "client.pem");
    o.tls_key = certs_path(&w.others, "client.key");
    must_fail(&w, &o, "our certificate was refused by the other side: unknown CA");
    world_close(&w);
}

static void a_node_that_is_not_trusted_gets_nothing(void **state)
{
    struct world w;
    struct rqlite_options o;

    (void)state;
    world_open(&w, "IP:127.0.0.1", false, false);
    o = options(&w);
    o.tls_ca = certs_path(&w.others, "ca.pem");
    must_fail(&w, &o, "bad certificate: unable to get local issuer certificate");
    o = options(&w);
    o.tls_ca = NULL; /* the system's authorities */
    must_fail(&w, &o, "bad certificate: unable to get local issuer certificate");
    assert_int_equal(atomic_load(&w.node.calls), 0);
    assert_int_equal(atomic_load(&w.node.infos), 0);
    world_close(&w);
}

static void a_node_must_have_the_name(void **state)
{
    struct world w;
    struct rqlite_options o;

    (void)state;
    world_open(&w, "DNS:db.example", false, false);
    o = options(&w);
    must_fail(&w, &o, "bad certificate: it is not valid for 127.0.0.1");
    o = options(&w);
    o.tls_server_name = "db.example";
    must_work(&o);
    o.tls_server_name = "other.example";
    must_fail(&w, &o, "bad certificate: it is not valid for other.example");
    world_close(&w);
}

static void nothing_is_checked_if_nothing_shall_be(void **state)
{
    struct world w;
    struct rqlite_options o = {.tls_no_verify = true};

    (void)state;
    world_open(&w, "DNS:elsewhere", false, false);
    o.nodes = w.node.address;
    must_work(&o);
    world_close(&w);
}

static void clear_text_and_tls_do_not_meet(void **state)
{
    struct world w;
    struct rqlite_options o = {.nodes = NULL};

    (void)state;
    world_open(&w, "IP:127.0.0.1", false, false);
    o.nodes = w.node.address;
    must_fail(&w, &o, "this node's Raft port is encrypted, and the connection is not");
    world_close(&w);
    world_open(&w, "IP:127.0.0.1", false, true);
    o = options(&w);
    must_fail(&w, &o, "the other side does not speak TLS");
    world_close(&w);
}

static void changed_files_count_for_the_next_connection(void **state)
{
    struct rqlite_options o;
    struct rqlite_error error;
    struct rqlite *db;
    struct world w;

    (void)state;
    world_open(&w, "IP:127.0.0.1", true, false);
    o = options(&w);
    assert_int_equal(rqlite_open(&db, &o, &error), RQLITE_OK);
    assert_int_equal(rqlite_write(db, NULL, "write", NULL, 0, NULL), RQLITE_OK);
    /* The node trusts other clients now, and forgets the old ones as it is restarted. */
    assert_int_equal(rename(certs_path(&w.others, "ca.pem"), w.node_tls.ca), 0);
    fake_kill(&w.node);
    fake_do(&w.node, fake_up);
    must_fail(&w, &o, "");
    /* Its own certificate is signed by an authority that the client has to know, too. */
    assert_int_equal(rename(certs_path(&w.others, "client.pem"), o.tls_cert), 0);
    assert_int_equal(rename(certs_path(&w.others, "client.key"), o.tls_key), 0);
    certs_issue(&w.others, "node", "node", "IP:127.0.0.1");
    assert_int_equal(rename(certs_path(&w.others, "node.pem"), w.node_tls.cert), 0);
    assert_int_equal(rename(certs_path(&w.others, "node.key"), w.node_tls.key), 0);
    assert_int_equal(rqlite_write(db, NULL, "write", NULL, 0, &error), RQLITE_OK);
    rqlite_close(db);
    world_close(&w);
}

static void files_that_are_no_use_are_refused_with_words(void **state)
{
    struct rqlite_options o;
    struct rqlite_error error;
    struct rqlite *db;
    struct world w;

    (void)state;
    world_open(&w, "IP:127.0.0.1", false, false);
    o = options(&w);
    o.tls_key = NULL;
    assert_int_equal(rqlite_open(&db, &o, &error), RQLITE_INVALID);
    assert_string_equal(error.text, "a certificate and its key go together");
    assert_null(db);
    o = options(&w);
    o.tls_key = certs_path(&w.certs, "node.key");
    assert_int_equal(rqlite_open(&db, &o, &error), RQLITE_INVALID);
    assert_non_null(strstr(error.text, "key values mismatch"));
    o = options(&w);
    o.tls_ca = "/nowhere/ca.pem";
    assert_int_equal(rqlite_open(&db, &o, &error), RQLITE_INVALID);
    assert_string_equal(error.text, "CA /nowhere/ca.pem: No such file or directory");
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_show_certificates),
        cmocka_unit_test(a_client_that_the_node_does_not_trust_is_told),
        cmocka_unit_test(a_node_that_is_not_trusted_gets_nothing),
        cmocka_unit_test(a_node_must_have_the_name),
        cmocka_unit_test(nothing_is_checked_if_nothing_shall_be),
        cmocka_unit_test(clear_text_and_tls_do_not_meet),
        cmocka_unit_test(changed_files_count_for_the_next_connection),
        cmocka_unit_test(files_that_are_no_use_are_refused_with_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
