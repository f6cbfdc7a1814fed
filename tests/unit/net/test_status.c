/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/net/service.h"
#include "core/net/status.h"

static void every_code_comes_back(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++) {
        uint8_t bytes[NET_STATUS_ROOM];
        struct why said = {0}, why;
        size_t len = net_status_put(bytes, (enum err)e, "some words");

        assert_int_equal(net_status_get(&said, bytes, len, &why), ERR_OK);
        assert_int_equal(said.code, e);
        assert_string_equal(said.text, "some words");
        assert_int_equal(net_status_of((enum err)e) == NET_STATUS_OK, e == ERR_OK);
        assert_string_not_equal(net_err_symbol((enum err)e), "UNKNOWN");
    }
}

static void an_outcome_that_nobody_knows_is_not_called_unavailable(void **state)
{
    (void)state;
    assert_int_equal(net_status_of(ERR_LEADERSHIP_LOST), NET_STATUS_UNKNOWN);
    assert_int_equal(net_status_of(ERR_NO_LEADER), NET_STATUS_UNAVAILABLE);
    assert_int_equal(net_status_of(ERR_COUNT), NET_STATUS_UNKNOWN);
}

static void a_symbol_unknown_here_gives_the_nearest_code(void **state)
{
    (void)state;
    assert_int_equal(net_err_of(NET_STATUS_UNAVAILABLE, "ON_HOLIDAY", 10),
                     ERR_UNREACHABLE);
    assert_int_equal(net_err_of(NET_STATUS_DEADLINE_EXCEEDED, "", 0), ERR_TIMEOUT);
    assert_int_equal(net_err_of(NET_STATUS_PERMISSION_DENIED, "", 0), ERR_UNAUTHORIZED);
    assert_int_equal(net_err_of(99, "", 0), ERR_IO);
    assert_int_equal(net_err_of(-1, "OK", 2), ERR_IO); /* not OK for both */
    assert_int_equal(net_err_of(NET_STATUS_OK, "NOT_LEADER", 10), ERR_OK);
    for (int s = 1; s <= 16; s++) assert_int_not_equal(net_err_of(s, "", 0), ERR_OK);
    for (int s = 0; s <= 16; s++)
        assert_true(s == NET_STATUS_UNKNOWN ||
                    strcmp(net_status_name((enum net_status)s), "UNKNOWN") != 0);
}

static void words_are_never_missing_and_have_a_limit(void **state)
{
    uint8_t *bytes = malloc(NET_STATUS_ROOM);
    char *text = malloc(5000);
    struct why said;
    size_t len;

    (void)state;
    len = net_status_put(bytes, ERR_BUSY, NULL);
    assert_int_equal(net_status_get(&said, bytes, len, NULL), ERR_OK);
    assert_string_equal(said.text, err_name(ERR_BUSY));
    memset(text, 'x', 4999);
    text[4999] = '\0';
    len = net_status_put(bytes, ERR_LEADERSHIP_LOST, text);
    assert_true(len <= NET_STATUS_ROOM);
    assert_int_equal(net_status_get(&said, bytes, len, NULL), ERR_OK);
    assert_int_equal(strlen(said.text), 511);
    free(text);
    free(bytes);
}

static void bytes_that_are_no_status_are_refused(void **state)
{
    uint8_t bytes[NET_STATUS_ROOM];
    size_t len = net_status_put(bytes, ERR_NOT_LEADER, "host:4002");
    struct why said;

    (void)state;
    for (size_t cut = 0; cut < len; cut++) {
        enum err e = net_status_get(&said, bytes, cut, NULL);

        assert_true(e == ERR_OK ||
                    e == ERR_CORRUPT); /* a cut between fields is no harm */
    }
    assert_int_equal(net_status_get(&said, "\xff\xff\xff", 3, NULL), ERR_CORRUPT);
}

static void methods_stand_where_the_proto_has_them(void **state)
{
    static const struct {
        const struct net_service *s;
        unsigned method, n;
        const char *name;
    } want[] = {
        {&net_service_raft, NET_RAFT_STEP, NET_RAFT_METHODS, "Step"},
        {&net_service_raft, NET_RAFT_INSTALL_SNAPSHOT, NET_RAFT_METHODS,
         "InstallSnapshot"},
        {&net_service_database, NET_DATABASE_EXECUTE, NET_DATABASE_METHODS, "Execute"},
        {&net_service_database, NET_DATABASE_QUERY, NET_DATABASE_METHODS, "Query"},
        {&net_service_database, NET_DATABASE_SCRIPT, NET_DATABASE_METHODS, "Script"},
        {&net_service_database, NET_DATABASE_LOAD, NET_DATABASE_METHODS, "Load"},
        {&net_service_database, NET_DATABASE_BACKUP, NET_DATABASE_METHODS, "Backup"},
        {&net_service_cluster, NET_CLUSTER_JOIN, NET_CLUSTER_METHODS, "Join"},
        {&net_service_cluster, NET_CLUSTER_NOTIFY, NET_CLUSTER_METHODS, "Notify"},
        {&net_service_cluster, NET_CLUSTER_REMOVE, NET_CLUSTER_METHODS, "Remove"},
        {&net_service_cluster, NET_CLUSTER_STEP_DOWN, NET_CLUSTER_METHODS, "StepDown"},
        {&net_service_cluster, NET_CLUSTER_INFO, NET_CLUSTER_METHODS, "Info"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_int_equal(want[i].s->descriptor->n_methods, want[i].n);
        assert_string_equal(want[i].s->descriptor->methods[want[i].method].name,
                            want[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_comes_back),
        cmocka_unit_test(an_outcome_that_nobody_knows_is_not_called_unavailable),
        cmocka_unit_test(a_symbol_unknown_here_gives_the_nearest_code),
        cmocka_unit_test(words_are_never_missing_and_have_a_limit),
        cmocka_unit_test(bytes_that_are_no_status_are_refused),
        cmocka_unit_test(methods_stand_where_the_proto_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
