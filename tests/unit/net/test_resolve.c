/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "core/net/resolve.h"

static void an_address_is_cut_in_host_and_port(void **state)
{
    static const struct {
        const char *address, *host;
        int port; /* -1: refused */
    } want[] = {
        {"localhost:4002", "localhost", 4002},
        {":4002", "", 4002},
        {"[::1]:80", "::1", 80},
        {"[::]:0", "::", 0},
        {"1.2.3.4:65535", "1.2.3.4", 65535},
        {"host", "", -1},
        {"host:", "", -1},
        {"host:65536", "", -1},
        {"host:4x", "", -1},
        {"::1:80", "", -1},
        {"[::1]", "", -1},
        {"[::1:80", "", -1},
        {"host:-1", "", -1},
        {"host:99999999999999999999", "", -1},
        {"", "", -1},
        {"host:4002/", "", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        char host[RESOLVE_HOST_MAX + 1];
        uint16_t port = 0;
        struct why why;
        enum err e = resolve_split(want[i].address, host, &port, &why);

        if (want[i].port < 0) {
            if (e != ERR_INVALID) fail_msg("%s was taken", want[i].address);
            continue;
        }
        if (e) fail_msg("%s", why.text);
        assert_string_equal(host, want[i].host);
        assert_int_equal(port, want[i].port);
    }
}

static void a_long_host_is_refused(void **state)
{
    char address[RESOLVE_HOST_MAX + 20], host[RESOLVE_HOST_MAX + 1];
    uint16_t port;

    (void)state;
    memset(address, 'h', RESOLVE_HOST_MAX);
    strcpy(address + RESOLVE_HOST_MAX, ":1");
    assert_int_equal(resolve_split(address, host, &port, NULL), ERR_OK);
    assert_int_equal(strlen(host), RESOLVE_HOST_MAX);
    memset(address, 'h', RESOLVE_HOST_MAX + 1);
    strcpy(address + RESOLVE_HOST_MAX + 1, ":1");
    assert_int_equal(resolve_split(address, host, &port, NULL), ERR_INVALID);
}

static void numbers_need_no_lookup_and_names_do(void **state)
{
    struct net_addresses found;
    struct why why;
    char text[64];

    (void)state;
    assert_int_equal(resolve_now(&found, "10.1.2.3", 4002, true, false, &why), ERR_OK);
    assert_int_equal(found.n, 1);
    resolve_print((struct sockaddr *)&found.a[0].sa, text, sizeof text);
    assert_string_equal(text, "10.1.2.3:4002");
    assert_int_equal(resolve_now(&found, "::1", 80, true, false, &why), ERR_OK);
    resolve_print((struct sockaddr *)&found.a[0].sa, text, sizeof text);
    assert_string_equal(text, "[::1]:80");
    assert_int_equal(resolve_now(&found, "localhost", 80, true, false, &why),
                     ERR_NOT_FOUND);
    assert_int_equal(found.n, 0);
}

struct answer {
    int n;
    struct net_addresses found;
    struct why why;
};

static void on_resolved(void *arg, const struct net_addresses *found,
                        const struct why *why)
{
    struct answer *a = arg;

    a->n++;
    a->found = *found;
    a->why = *why;
}

static void a_name_is_looked_up_off_the_loop(void **state)
{
    struct event_base *base = event_base_new();
    struct resolver *r;
    struct lookup *good, *bad, *dropped;
    struct answer yes = {0}, no = {0}, never = {0};
    struct why why;

    (void)state;
    assert_int_equal(resolver_new(&r, base, &why), ERR_OK);
    assert_int_equal(resolver_start(&good, r, "localhost", 4002, &yes, &why, on_resolved),
                     ERR_OK);
    assert_int_equal(
        resolver_start(&bad, r, "no such host", 4002, &no, &why, on_resolved), ERR_OK);
    assert_int_equal(
        resolver_start(&dropped, r, "localhost", 4002, &never, &why, on_resolved),
        ERR_OK);
    lookup_cancel(dropped);
    while (yes.n == 0 || no.n == 0) event_base_loop(base, EVLOOP_ONCE);
    assert_true(yes.found.n >= 1);
    assert_int_equal(no.found.n, 0);
    assert_int_not_equal(no.why.code, ERR_OK);
    assert_non_null(strstr(no.why.text, "no such host"));

    /* An endpoint does not wait for a lookup when it closes. */
    assert_int_equal(
        resolver_start(&dropped, r, "localhost", 4002, &never, &why, on_resolved),
        ERR_OK);
    resolver_free(r);
    assert_int_equal(never.n, 0);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_cut_in_host_and_port),
        cmocka_unit_test(a_long_host_is_refused),
        cmocka_unit_test(numbers_need_no_lookup_and_names_do),
        cmocka_unit_test(a_name_is_looked_up_off_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
