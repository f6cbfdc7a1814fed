/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "core/base/metrics.h"

static void names_are_those_of_the_table(void **state)
{
    (void)state;
    assert_string_equal(metrics_map_name(METRIC_db_wal_compact_frames_input), "db.wal");
    assert_string_equal(metrics_key(METRIC_db_wal_compact_frames_input),
                        "compact_frames_input");
    assert_string_equal(metrics_map_name(METRIC_http_user_snapshots), "http");
    assert_string_equal(metrics_key(METRIC_http_user_snapshots), "user_snapshots");
}

/* The order in which /debug/vars prints them. */
static void the_table_is_sorted_without_repeats(void **state)
{
    (void)state;
    for (int i = 1; i < METRIC_COUNT; i++) {
        enum metric a = (enum metric)(i - 1), b = (enum metric)i;
        int order = strcmp(metrics_map_name(a), metrics_map_name(b));

        if (order == 0) order = strcmp(metrics_key(a), metrics_key(b));
        if (order >= 0) fail_msg("%s %s", metrics_map_name(b), metrics_key(b));
    }
}

static void counters_start_at_zero(void **state)
{
    struct metrics *m;

    (void)state;
    assert_int_equal(metrics_new(&m), ERR_OK);
    for (int i = 0; i < METRIC_COUNT; i++)
        assert_int_equal(metrics_get(m, (enum metric)i), 0);
    metrics_add(m, METRIC_http_executions, 2);
    metrics_add(m, METRIC_http_executions, 3);
    metrics_set(m, METRIC_cdc_service_fifo_size, -7);
    assert_int_equal(metrics_get(m, METRIC_http_executions), 5);
    assert_int_equal(metrics_get(m, METRIC_cdc_service_fifo_size), -7);
    assert_int_equal(metrics_get(m, METRIC_http_queries), 0);
    metrics_free(m);
}

static void without_metrics_nothing_is_counted(void **state)
{
    (void)state;
    metrics_add(NULL, METRIC_http_executions, 1);
    metrics_set(NULL, METRIC_http_executions, 1);
    assert_int_equal(metrics_get(NULL, METRIC_http_executions), 0);
    metrics_free(NULL);
}

static void *count(void *m)
{
    for (int i = 0; i < 10000; i++) metrics_add(m, METRIC_http_executions, 1);
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    pthread_t threads[4];
    struct metrics *m;

    (void)state;
    assert_int_equal(metrics_new(&m), ERR_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, m), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(metrics_get(m, METRIC_http_executions), 40000);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_table),
        cmocka_unit_test(the_table_is_sorted_without_repeats),
        cmocka_unit_test(counters_start_at_zero),
        cmocka_unit_test(without_metrics_nothing_is_counted),
        cmocka_unit_test(threads_lose_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
