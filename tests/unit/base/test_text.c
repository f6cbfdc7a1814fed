/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rand.h"
#include "core/base/text.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

/* --- real numbers --- */

static void reals_have_the_shortest_form_that_reads_back(void **state)
{
    static const struct {
        double v;
        const char *text;
    } rows[] = {
        {0.0, "0"},
        {-0.0, "-0"},
        {1.0, "1"},
        {-1.0, "-1"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {3.14, "3.14"},
        {-2.5, "-2.5"},
        {100.0, "100"},
        {1234567.875, "1234567.875"},
        {1e20, "100000000000000000000"},
        {123456789012345680000.0, "123456789012345680000"},
        {999999999999999900000.0, "999999999999999900000"},
        {1e21, "1e+21"},
        {1.5e21, "1.5e+21"},
        {1e22, "1e+22"},
        {1e100, "1e+100"},
        {1e-6, "0.000001"},
        {1.5e-6, "0.0000015"},
        {9.99e-7, "9.99e-7"},
        {1e-7, "1e-7"},
        {-1e-7, "-1e-7"},
        {1.25e-10, "1.25e-10"},
        {1e-100, "1e-100"},
        {5e-324, "5e-324"},
        {1e-323, "1e-323"},
        {2.2250738585072011e-308, "2.225073858507201e-308"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {-DBL_MAX, "-1.7976931348623157e+308"},
        {9007199254740991.0, "9007199254740991"},
        {9007199254740992.0, "9007199254740992"},
        {9007199254740993.0, "9007199254740992"},
        {9007199254740994.0, "9007199254740994"},
        {9223372036854775808.0, "9223372036854776000"},
        {2251799813685248.5, "2251799813685248.5"},
        {5e-5, "0.00005"},
        {1e15, "1000000000000000"},
        {123456.789e3, "123456789"},
        {8.41e21, "8.41e+21"},
        {9.5367431640625e-07, "9.5367431640625e-7"},
        {2.98023223876953125e-8, "2.9802322387695312e-8"},
    };
    char out[TEXT_REAL_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t n = text_real(out, rows[i].v);

        assert_int_equal(n, strlen(out));
        assert_string_equal(out, rows[i].text);
    }
}

static void below_a_power_of_two_the_upper_neighbour_may_be_shorter(void **state)
{
    char out[TEXT_REAL_MAX];

    (void)state;
    text_real(out, ldexp(1, -44));
    assert_string_equal(out, "5.684341886080802e-14");
    text_real(out, ldexp(1, -24));
    assert_string_equal(out, "5.960464477539063e-8");
}

static void what_is_not_finite_has_no_form(void **state)
{
    char out[TEXT_REAL_MAX];

    (void)state;
    assert_int_equal(text_real(out, INFINITY), 0);
    assert_int_equal(text_real(out, -INFINITY), 0);
    assert_int_equal(text_real(out, NAN), 0);
}

static void assert_reads_back(double v)
{
    char out[TEXT_REAL_MAX];
    size_t n = text_real(out, v);
    double back = strtod(out, NULL);

    assert_true(n > 0 && n < sizeof out);
    assert_int_equal(strlen(out), n);
    assert_memory_equal(&back, &v, sizeof v);
}

static void every_real_reads_back(void **state)
{
    struct rand r;

    (void)state;
    rand_init(&r, 17);
    for (int e = -1074; e < 1024; e++) {
        double v = ldexp(1, e);
        assert_reads_back(v);
        assert_reads_back(nextafter(v, 0));
        assert_reads_back(-nextafter(v, DBL_MAX));
    }
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = rand_u64(&r);
        double v;

        memcpy(&v, &bits, sizeof v);
        if (isfinite(v)) assert_reads_back(v);
        assert_reads_back((double)rand_below(&r, 100000000) / 1000);
        assert_reads_back((double)(bits >> 11) * 0x1p-53);
    }
}

/* --- durations --- */

static const int64_t US = 1000, MS = 1000000, S = 1000000000,
                     MIN = 60 * INT64_C(1000000000), H = 3600 * INT64_C(1000000000);

static void durations_are_printed_like_the_reference(void **state)
{
    const struct {
        int64_t ns;
        const char *text;
    } rows[] = {
        {0, "0s"},
        {1, "1ns"},
        {999, "999ns"},
        {US, "1\u00b5s"},
        {19219, "19.219\u00b5s"},
        {1100, "1.1\u00b5s"},
        {999999, "999.999\u00b5s"},
        {MS, "1ms"},
        {50 * MS, "50ms"},
        {2200000, "2.2ms"},
        {999999999, "999.999999ms"},
        {S, "1s"},
        {1500 * MS, "1.5s"},
        {S + 1, "1.000000001s"},
        {59 * S, "59s"},
        {MIN, "1m0s"},
        {99 * S + 47346790, "1m39.04734679s"},
        {10 * MIN + S / 2, "10m0.5s"},
        {H, "1h0m0s"},
        {24 * H, "24h0m0s"},
        {H + MIN + S, "1h1m1s"},
        {H + 1, "1h0m0.000000001s"},
        {-1, "-1ns"},
        {-1500 * MS, "-1.5s"},
        {-H, "-1h0m0s"},
        {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"},
    };
    char out[TEXT_DURATION_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(text_duration(out, rows[i].ns), strlen(rows[i].text));
        assert_string_equal(out, rows[i].text);
    }
}

static void durations_are_read_like_the_reference(void **state)
{
    const struct {
        const char *text;
        int64_t ns;
    } rows[] = {
        {"0", 0},
        {"-0", 0},
        {"+0", 0},
        {"0s", 0},
        {"1ns", 1},
        {"1h2m3.5s", H + 2 * MIN + 3 * S + S / 2},
        {"1.5h", H + H / 2},
        {"-1.5h", -H - H / 2},
        {"+5s", 5 * S},
        {"250ms", 250 * MS},
        {"10m", 10 * MIN},
        {"168h", 168 * H},
        {"7us", 7 * US},
        {"7\u00b5s", 7 * US},
        {"7\u03bcs", 7 * US},
        {".5s", S / 2},
        {"1.s", S},
        {"3s1m", MIN + 3 * S},
        {"1s1s", 2 * S},
        {"0.3333333333333333333h", 20 * MIN},
        {"0.100000000000000000000h", 6 * MIN},
        {"1.9ns", 1},
        {"9223372036854775807ns", INT64_MAX},
        {"-9223372036854775808ns", INT64_MIN},
        {"-9223372036854775.808us", INT64_MIN},
        {"2562047h47m16.854775807s", INT64_MAX},
    };
    int64_t ns;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_true(text_parse_duration(rows[i].text, strlen(rows[i].text), &ns));
        assert_true(ns == rows[i].ns);
    }
    assert_true(text_parse_duration("5seconds", 2, &ns)); /* not a byte behind len */
    assert_true(ns == 5 * S);
}

static void what_is_no_duration_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "1",
        "abc",
        "-",
        "+",
        ".",
        "s",
        ".s",
        "-.s",
        "00",
        "1.5",
        "1d",
        "1S",
        "1 s",
        " 1s",
        "1s ",
        "1s-1s",
        "--1s",
        "+-1s",
        "1,5s",
        "1e3s",
        "0x1s",
        "1m2",
        "\u00b5s",
        "9223372036854775808ns",
        "-9223372036854775809ns",
        "9223372036854775809ns",
        "18446744073709551616ns",
        "99999999999999999999999ns",
        "2562048h",
        "9223372036854775807ns1ns",
        "9223372036854775808ns9223372036854775808ns",
        "3000000000000h",
    };
    int64_t ns;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_false(text_parse_duration(rows[i], strlen(rows[i]), &ns));
}

static void a_printed_duration_reads_back(void **state)
{
    char out[TEXT_DURATION_MAX];
    struct rand r;
    int64_t back;

    (void)state;
    rand_init(&r, 23);
    for (int i = 0; i < 100000; i++) {
        int64_t ns = (int64_t)(rand_u64(&r) >> rand_below(&r, 64));
        size_t n = text_duration(out, ns);

        assert_true(text_parse_duration(out, n, &back));
        assert_true(back == ns);
    }
}

/* --- times and sizes --- */

static void times_are_rfc_3339_with_zeroes_cut(void **state)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } rows[] = {
        {0, "0001-01-01T00:00:00Z"},
        {1, "1970-01-01T00:00:00.000000001Z"},
        {UINT64_C(1795237760123000000), "2026-11-21T05:09:20.123Z"},
        {UINT64_C(1795237760000000000), "2026-11-21T05:09:20Z"},
        {UINT64_C(951782400500000000), "2000-02-29T00:00:00.5Z"},
        {UINT64_MAX, "2554-07-21T23:34:33.709551615Z"},
    };
    char out[TEXT_TIME_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(text_time(out, rows[i].ns), strlen(rows[i].text));
        assert_string_equal(out, rows[i].text);
    }
}

static void sizes_have_two_digits_below_ten(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {9, "9 B"},
        {10, "10 B"},
        {999, "999 B"},
        {1000, "1.0 kB"},
        {4096, "4.1 kB"},
        {9949, "9.9 kB"},
        {9950, "10 kB"},
        {8192, "8.2 kB"},
        {70000, "70 kB"},
        {292000, "292 kB"},
        {70499, "70 kB"},
        {70600, "71 kB"},
        {999949, "1000 kB"},
        {1200000, "1.2 MB"},
        {1048576, "1.0 MB"},
        {5000000000, "5.0 GB"},
        {UINT64_C(82854982000000), "83 TB"},
        {UINT64_MAX, "18 EB"},
    };
    char out[TEXT_SIZE_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(text_size(out, rows[i].bytes), strlen(rows[i].text));
        assert_string_equal(out, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reals_have_the_shortest_form_that_reads_back),
        cmocka_unit_test(below_a_power_of_two_the_upper_neighbour_may_be_shorter),
        cmocka_unit_test(what_is_not_finite_has_no_form),
        cmocka_unit_test(every_real_reads_back),
        cmocka_unit_test(durations_are_printed_like_the_reference),
        cmocka_unit_test(durations_are_read_like_the_reference),
        cmocka_unit_test(what_is_no_duration_is_refused),
        cmocka_unit_test(a_printed_duration_reads_back),
        cmocka_unit_test(times_are_rfc_3339_with_zeroes_cut),
        cmocka_unit_test(sizes_have_two_digits_below_ten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
