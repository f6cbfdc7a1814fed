/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "gateway/route.h"

static api_handler *find(const char *path)
{
    const struct route *r = route_find(path, strlen(path));
    return r ? r->handler : NULL;
}

static void prefixes_match_whatever_follows(void **state)
{
    (void)state;
    assert_ptr_equal(find("/db/query"), api_query);
    assert_ptr_equal(find("/db/queryx"), api_query);
    assert_ptr_equal(find("/db/execute/"), api_execute);
    assert_ptr_equal(find("/db/request"), api_request);
    assert_ptr_equal(find("/db/backup"), api_backup);
    assert_ptr_equal(find("/db/load"), api_load);
    assert_ptr_equal(find("/db/sql"), api_sql);
    assert_ptr_equal(find("/statusfoo"), api_status);
    assert_ptr_equal(find("/readyz/abc"), api_ready);
    assert_ptr_equal(find("/nodes/"), api_nodes);
    assert_ptr_equal(find("/remove/x"), api_remove);
    assert_ptr_equal(find("/debug/pprof/heap"), api_pprof);
    assert_ptr_equal(find("/console/"), api_console);
    assert_ptr_equal(find("/console/static/x"), api_console);
}

static void exact_paths_match_alone(void **state)
{
    static const char *const unknown[] = {
        "/nope",      "/db",          "/db/",    "/db/nosuch", "/DB/query",
        "//db/query", "/leader/",     "/boot/x", "/snapshot/", "/favicon.ico",
        "/reap/",     "/debug/vars/", "//",      "x"};

    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (find(unknown[i])) fail_msg("%s has a route", unknown[i]);
    assert_ptr_equal(find("/"), api_root);
    assert_ptr_equal(find(""), api_root);
    assert_ptr_equal(find("/console"), api_root);
    assert_ptr_equal(find("/leader"), api_leader);
    assert_ptr_equal(find("/boot"), api_boot);
    assert_ptr_equal(find("/snapshot"), api_snapshot);
    assert_ptr_equal(find("/reap"), api_reap);
    assert_ptr_equal(find("/licenses"), api_licenses);
    assert_ptr_equal(find("/metrics"), api_prom);
    assert_null(find("/metrics/"));
    assert_ptr_equal(find("/debug/vars"), api_vars);
    assert_null(route_find("/boot\0", 6));
    assert_ptr_equal(route_find("/status\0x", 9)->handler, api_status);
}

static void a_request_needs_both_permissions(void **state)
{
    const struct route *r = route_find("/db/request", 11);

    (void)state;
    assert_int_equal(r->permissions, AUTH_QUERY | AUTH_EXECUTE);
    assert_false(r->one_suffices);
    assert_int_equal(route_find("/db/query", 9)->permissions, AUTH_QUERY);
}

static void large_bodies_go_to_files(void **state)
{
    (void)state;
    assert_int_equal(route_find("/db/load", 8)->body, HTTP_BODY_FILE);
    assert_int_equal(route_find("/boot", 5)->body, HTTP_BODY_FILE);
    assert_int_equal(route_find("/db/execute", 11)->body, HTTP_BODY_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_match_whatever_follows),
        cmocka_unit_test(exact_paths_match_alone),
        cmocka_unit_test(a_request_needs_both_permissions),
        cmocka_unit_test(large_bodies_go_to_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
