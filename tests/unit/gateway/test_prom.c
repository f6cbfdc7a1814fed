/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "gateway/prom.h"

static const char *text_of(struct buf *b)
{
    buf_append_u8(b, 0);
    assert_int_equal(buf_error(b), ERR_OK);
    return (const char *)b->data;
}

static void a_family_has_its_two_lines(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    prom_family(&b, "x_total", PROM_COUNTER, "one\\two\nthree \"four\"");
    prom_uint(&b, "x_total", NULL, 0, UINT64_MAX);
    assert_string_equal(text_of(&b), "# HELP x_total one\\\\two\\nthree \"four\"\n"
                                     "# TYPE x_total counter\n"
                                     "x_total 18446744073709551615\n");
    buf_fini(&b);
}

static void labels_are_escaped(void **state)
{
    const struct prom_label labels[] = {{"a", "q\"b\\n\n"}, {"b", "\xff\xc3\xa9"}};
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    prom_int(&b, "x", labels, 2, -1);
    assert_string_equal(text_of(&b),
                        "x{a=\"q\\\"b\\\\n\\n\",b=\"\xef\xbf\xbd\xc3\xa9\"} -1\n");
    buf_fini(&b);
}

static void what_is_no_finite_number_has_a_name(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    prom_real(&b, "x", NULL, 0, INFINITY);
    prom_real(&b, "x", NULL, 0, -INFINITY);
    prom_real(&b, "x", NULL, 0, NAN);
    prom_real(&b, "x", NULL, 0, 0.25);
    assert_string_equal(text_of(&b), "x +Inf\nx -Inf\nx NaN\nx 0.25\n");
    buf_fini(&b);
}

static void buckets_are_cumulative(void **state)
{
    const struct prom_label label = {"e", "/"};
    struct histogram h;
    struct histogram_sum s = {0};
    const char *text;
    struct buf b;

    (void)state;
    memset(&h, 0, sizeof h);
    histogram_add(&h, 1000);
    histogram_add(&h, UINT64_C(60000000000));
    histogram_collect(&s, &h);
    buf_init(&b, 0);
    prom_histogram(&b, "x", &label, &s);
    text = text_of(&b);
    assert_non_null(strstr(text, "x_bucket{e=\"/\",le=\"0.00005\"} 1\n"));
    assert_non_null(strstr(text, "x_bucket{e=\"/\",le=\"10\"} 1\n"));
    assert_non_null(strstr(text, "x_bucket{e=\"/\",le=\"+Inf\"} 2\n"
                                 "x_sum{e=\"/\"} 60.000001\nx_count{e=\"/\"} 2\n"));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_has_its_two_lines),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(what_is_no_finite_number_has_a_name),
        cmocka_unit_test(buckets_are_cumulative),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
