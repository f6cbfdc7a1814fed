/* SPDX-License-Identifier: MIT */
/* raft/peers.json as text, and the other documents that are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/cluster/json.h"
#include "core/cluster/recover.h"
#include "core/raft/raft.h"

static struct why why;

/* The file's content to a checked configuration, or to the text of the error. */
static enum err read_peers(const char *text, struct raft_config *c)
{
    enum err e;

    memset(&why, 0, sizeof why);
    e = json_read_peers(c, text, strlen(text), &why);
    if (!e) e = recover_check(c, &why);
    if (!e) e = recover_check_addresses(c, &why);
    return e;
}

static void assert_refused(const char *text, const char *because)
{
    struct raft_config c;

    assert_int_equal(read_peers(text, &c), ERR_INVALID);
    if (strstr(why.text, because) == NULL)
        fail_msg("\"%s\" says \"%s\", not \"%s\"", text, why.text, because);
    raft_config_fini(&c);
}

static void a_peers_file_is_a_configuration(void **state)
{
    struct raft_config c;

    (void)state;
    assert_int_equal(
        read_peers("[{\"id\":\"2\",\"address\":\"h:1\",\"non_voter\":false},\n"
                   " {\"id\":\"1\",\"address\":\"[::1]:2\",\"non_voter\":true},\n"
                   " {\"id\":\"x\",\"address\":\"h:3\",\"more\":[1]}]\n",
                   &c),
        ERR_OK);
    assert_int_equal(c.n, 3);
    assert_string_equal(c.members[0].id, "2");
    assert_string_equal(c.members[1].addr, "[::1]:2");
    assert_true(c.members[0].voter && !c.members[1].voter && c.members[2].voter);
    raft_config_fini(&c);
}

static void what_is_no_configuration_is_refused_with_a_reason(void **state)
{
    (void)state;
    assert_refused("", "invalid JSON");
    assert_refused("[", "invalid JSON");
    assert_refused("{}", "not a JSON array");
    assert_refused("[1]", "no JSON object");
    assert_refused("[{\"id\":1,\"address\":\"h:1\"}]", "must be strings");
    assert_refused("[{\"id\":\"1\",\"address\":\"h:1\",\"non_voter\":\"no\"}]",
                   "true or false");
    assert_refused("[]", "need at least one voter in configuration: {[]}");
    assert_refused("[{\"id\":\"1\",\"address\":\"h:1\",\"non_voter\":true}]",
                   "need at least one voter in configuration: {[{Nonvoter 1 h:1}]}");
    assert_refused("[{\"address\":\"h:1\"}]",
                   "empty ID in configuration: {[{Voter  h:1}]}");
    assert_refused("[{\"id\":\"1\"}]", "empty address in configuration: ");
    assert_refused("[{\"id\":\"1\",\"address\":\"h:1\"},{\"id\":\"1\",\"address\":"
                   "\"h:2\"}]",
                   "found duplicate ID in configuration: 1");
    assert_refused("[{\"id\":\"1\",\"address\":\"h:1\"},{\"id\":\"2\",\"address\":"
                   "\"h:1\"}]",
                   "found duplicate address in configuration: h:1");
    assert_refused("[{\"id\":\"1\",\"address\":\"h\"}]",
                   "invalid address in configuration: h");
    assert_refused("[{\"id\":\"1\",\"address\":\"https://h:1\"}]",
                   "protocol specified in address: https://h:1");
}

static void ids_and_addresses_have_limits(void **state)
{
    char text[2000], name[400];

    (void)state;
    memset(name, 'n', sizeof name);
    name[300] = '\0';
    snprintf(text, sizeof text, "[{\"id\":\"%s\",\"address\":\"h:1\"}]", name);
    assert_refused(text, "longer than 255");
    snprintf(text, sizeof text, "[{\"id\":\"1\",\"address\":\"%s:1\"}]", name);
    assert_refused(text, "longer than 261");
}

static enum err nodes(const char *text, char out[64])
{
    return json_read_nodes(out, 64, text, strlen(text), &why);
}

static void the_leader_is_asked_first_then_any_voter(void **state)
{
    char addr[64];

    (void)state;
    assert_int_equal(
        nodes("{\"nodes\":[{\"addr\":\"a:1\",\"voter\":true,\"reachable\":true},"
              "{\"addr\":\"a:2\",\"voter\":true,\"reachable\":true,\"leader\":true}]}",
              addr),
        ERR_OK);
    assert_string_equal(addr, "a:2");
    assert_int_equal(
        nodes("{\"nodes\":[{\"addr\":\"a:1\",\"voter\":true,\"reachable\":false},"
              "{\"addr\":\"a:2\",\"voter\":false,\"reachable\":true},"
              "{\"addr\":\"a:3\",\"voter\":true,\"reachable\":true},"
              "{\"addr\":\"a:4\",\"voter\":true,\"reachable\":true}]}",
              addr),
        ERR_OK);
    assert_string_equal(addr, "a:3");
    assert_int_equal(nodes("{\"nodes\":[]}", addr), ERR_NOT_FOUND);
    assert_int_equal(nodes("{\"nodes\":[1,{}]}", addr), ERR_NOT_FOUND);
    assert_int_equal(nodes("[]", addr), ERR_INVALID);
    assert_int_equal(nodes("<html>", addr), ERR_INVALID);
}

static void a_node_tells_its_own_address(void **state)
{
    static const char text[] = "{\"store\":{\"addr\":\"a:1\"}}";
    char addr[64];

    (void)state;
    assert_int_equal(json_read_own_addr(addr, 64, text, sizeof text - 1, &why), ERR_OK);
    assert_string_equal(addr, "a:1");
    assert_int_equal(json_read_own_addr(addr, 3, text, sizeof text - 1, &why),
                     ERR_NOT_FOUND);
    assert_int_equal(json_read_own_addr(addr, 64, "{}", 2, &why), ERR_NOT_FOUND);
}

static void a_request_to_join_is_an_object(void **state)
{
    char *body = json_join_body("\"2\"", "h:4002", true);

    (void)state;
    assert_string_equal(body,
                        "{\"id\":\"\\\"2\\\"\",\"addr\":\"h:4002\",\"voter\":true}");
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peers_file_is_a_configuration),
        cmocka_unit_test(what_is_no_configuration_is_refused_with_a_reason),
        cmocka_unit_test(ids_and_addresses_have_limits),
        cmocka_unit_test(the_leader_is_asked_first_then_any_voter),
        cmocka_unit_test(a_node_tells_its_own_address),
        cmocka_unit_test(a_request_to_join_is_an_object),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
