/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/params.h"

static struct arena arena;
static struct params params;
static struct why why;

static const char *refusal(const char *query)
{
    arena_reset(&arena);
    return params_parse(&params, query, &arena, &why) ? why.text : NULL;
}

static const char *text(enum param which)
{
    return params_text(&params, which).s;
}

static void flags_count_by_presence(void **state)
{
    (void)state;
    assert_null(refusal("timings&pretty=false&associative=&wait=1"));
    assert_true(params_has(&params, PARAM_timings));
    assert_true(params_has(&params, PARAM_pretty));
    assert_true(params_has(&params, PARAM_associative));
    assert_true(params_has(&params, PARAM_wait));
    assert_false(params_has(&params, PARAM_queue));
    assert_null(refusal("Pretty&PRETTY&pre&prettyy"));
    assert_true(params.present == 0);
}

static void every_name_is_found(void **state)
{
    static const char *const names[] = {
#define PARAM(name) #name,
#include "gateway/params_table.h"
#undef PARAM
    };
    char query[64];

    (void)state;
    for (int i = 0; i < PARAM_COUNT; i++) {
        snprintf(query, sizeof query, "%s=0s", names[i]);
        (void)refusal(query);
        assert_true(params_has(&params, (enum param)i));
        if (i > 0) assert_true(strcmp(names[i - 1], names[i]) < 0);
    }
}

static void values_are_decoded(void **state)
{
    (void)state;
    assert_null(refusal("q=SELECT%20%27a%2Bb%27+FROM%20t&key=a.b"));
    assert_string_equal(text(PARAM_q), "SELECT 'a+b' FROM t");
    assert_string_equal(text(PARAM_key), "a.b");
    assert_null(refusal("%71=x"));
    assert_string_equal(text(PARAM_q), "x");
    assert_null(refusal("q=a%00b"));
    assert_int_equal(params_text(&params, PARAM_q).n, 3);
    assert_null(refusal("q%00z=x&&=x&"));
    assert_true(params.present == 0);
}

static void the_first_of_several_values_counts(void **state)
{
    (void)state;
    assert_null(refusal("q=1&q=2&timeout=1s&timeout=x"));
    assert_string_equal(text(PARAM_q), "1");
    assert_true(params.timeout_ns == 1000000000);
}

static void what_cannot_be_decoded_is_refused(void **state)
{
    (void)state;
    assert_string_equal(refusal("q=%zz"), "invalid URL escape \"%zz\"");
    assert_string_equal(refusal("x=%"), "invalid URL escape \"%\"");
    assert_string_equal(refusal("x=%1"), "invalid URL escape \"%1\"");
    assert_string_equal(refusal("%gg=1&q=1"), "invalid URL escape \"%gg\"");
    assert_string_equal(refusal("q=%4\x01z"), "invalid URL escape \"%4\\x01\"");
    assert_string_equal(refusal("a;b"), "invalid semicolon separator in query");
}

static void values_of_the_wrong_kind_are_refused(void **state)
{
    (void)state;
    assert_string_equal(refusal("timeout=abc"), "timeout is not a valid duration");
    assert_string_equal(refusal("timeout=5"), "timeout is not a valid duration");
    assert_string_equal(refusal("timeout="), "timeout is not a valid duration");
    assert_string_equal(refusal("timeout"), "timeout is not a valid duration");
    assert_string_equal(refusal("freshness=x"), "freshness is not a valid duration");
    assert_string_equal(refusal("db_timeout=1x"), "db_timeout is not a valid duration");
    assert_string_equal(refusal("linearizable_timeout=z"),
                        "linearizable_timeout is not a valid duration");
    assert_string_equal(refusal("retries=x"), "retries is not a valid integer");
    assert_string_equal(refusal("retries=1.5"), "retries is not a valid integer");
    assert_string_equal(refusal("retries="), "retries is not a valid integer");
    assert_string_equal(refusal("retries=0x10"), "retries is not a valid integer");
    assert_string_equal(refusal("retries=9223372036854775808"),
                        "retries is not a valid integer");
    assert_string_equal(refusal("trailing_logs=q"),
                        "trailing_logs is not a valid integer");
    assert_string_equal(refusal("freshness_strict"),
                        "freshness_strict requires freshness");
    assert_string_equal(refusal("q="), "query parameter not set");
    assert_string_equal(refusal("q"), "query parameter not set");
}

static void refusals_come_in_a_fixed_order(void **state)
{
    (void)state;
    assert_string_equal(refusal("q=&retries=x&timeout=x&freshness_strict&a;b&%zz"),
                        "invalid URL escape \"%zz\"");
    assert_string_equal(refusal("q=&retries=x&timeout=x&freshness_strict&a;b"),
                        "invalid semicolon separator in query");
    assert_string_equal(refusal("q=&retries=x&timeout=x&freshness_strict"),
                        "freshness_strict requires freshness");
    assert_string_equal(refusal("q=&retries=x&db_timeout=x&freshness=y&timeout=x"),
                        "timeout is not a valid duration");
    assert_string_equal(refusal("q=&retries=x&db_timeout=x&freshness=y"),
                        "freshness is not a valid duration");
    assert_string_equal(refusal("q=&trailing_logs=x&retries=x"),
                        "retries is not a valid integer");
    assert_string_equal(refusal("q=&trailing_logs=x"),
                        "trailing_logs is not a valid integer");
}

static void values_are_read(void **state)
{
    (void)state;
    assert_null(refusal("timeout=1h2m3.5s&freshness=250ms&db_timeout=-1s&linearizable_"
                        "timeout=0&retries=%2B3&trailing_logs=-7"));
    assert_true(params.timeout_ns == 3723500000000);
    assert_true(params.freshness_ns == 250000000);
    assert_true(params.db_timeout_ns == -1000000000);
    assert_true(params.linearizable_timeout_ns == 0);
    assert_true(params.retries == 3);
    assert_true(params.trailing_logs == -7);
}

static void levels_are_never_refused(void **state)
{
    (void)state;
    assert_null(refusal(""));
    assert_int_equal(params.level, RQLITE__LEVEL__WEAK);
    assert_null(refusal("level=STRONG"));
    assert_int_equal(params.level, RQLITE__LEVEL__STRONG);
    assert_null(refusal("level=None"));
    assert_int_equal(params.level, RQLITE__LEVEL__NONE);
    assert_null(refusal("level=linearizable"));
    assert_int_equal(params.level, RQLITE__LEVEL__LINEARIZABLE);
    assert_null(refusal("level=auto"));
    assert_int_equal(params.level, RQLITE__LEVEL__AUTO);
    assert_null(refusal("level=whatever"));
    assert_int_equal(params.level, RQLITE__LEVEL__WEAK);
}

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_count_by_presence),
        cmocka_unit_test(every_name_is_found),
        cmocka_unit_test(values_are_decoded),
        cmocka_unit_test(the_first_of_several_values_counts),
        cmocka_unit_test(what_cannot_be_decoded_is_refused),
        cmocka_unit_test(values_of_the_wrong_kind_are_refused),
        cmocka_unit_test(refusals_come_in_a_fixed_order),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(levels_are_never_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
