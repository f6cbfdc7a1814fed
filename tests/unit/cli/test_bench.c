/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/bench_options.h"
#include "cli/bench_stats.h"
#include "cli/words.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

/* Words separated by single blanks. */
static enum err parse(struct bench_options *o, const char *words, struct why *why)
{
    static char space[512];
    char *argv[16] = {(char[]){"rqbench"}};
    int argc = 1;

    snprintf(space, sizeof(space), "%s", words);
    for (char *word = strtok(space, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    return bench_options_parse(o, argc, argv, why);
}

static void defaults(void **state)
{
    struct bench_options o;

    (void)state;
    assert_int_equal(parse(&o, "SQL", NULL), ERR_OK);
    assert_string_equal(o.addr, "localhost:4001");
    assert_string_equal(o.path, "/db/execute");
    assert_string_equal(o.statement, "SQL");
    assert_int_equal(o.requests, 100);
    assert_int_equal(o.batch, 1);
    assert_int_equal(o.conns, 1);
    assert_false(o.queued || o.transaction || o.latency || o.tls);
}

static void flags_stand_on_either_side_of_the_statement(void **state)
{
    struct bench_options o;

    (void)state;
    assert_int_equal(parse(&o, "-n=5 --b 2 -q SQL -c 0x10 -d 1m -l=false ignored", NULL),
                     ERR_OK);
    assert_string_equal(o.statement, "SQL");
    assert_int_equal(o.requests, 5);
    assert_int_equal(o.batch, 2);
    assert_int_equal(o.conns, 16);
    assert_int_equal(o.duration_ns, 60000000000);
    assert_true(o.queued);
    assert_false(o.latency);
    assert_int_equal(parse(&o, "-- -n", NULL), ERR_OK);
    assert_string_equal(o.statement, "-n");
    assert_int_equal(parse(&o, "-s https SQL", NULL), ERR_OK);
    assert_true(o.tls);
    assert_string_equal(o.statement, "SQL");
    assert_int_equal(parse(&o, "", NULL), ERR_OK);
    assert_null(o.statement);
}

static void errors_are_sentences(void **state)
{
    static const struct {
        const char *words, *text;
    } rows[] = {
        {"-bogus", "flag provided but not defined: -bogus"},
        {"-n", "flag needs an argument: -n"},
        {"-n abc", "invalid value \"abc\" for flag -n: parse error"},
        {"-n 99999999999999999999",
         "invalid value \"99999999999999999999\" for flag -n: value out of range"},
        {"-d 10", "invalid value \"10\" for flag -d: parse error"},
        {"-q=maybe", "invalid boolean value \"maybe\" for -q: parse error"},
        {"---n", "bad flag syntax: ---n"},
        {"-=x", "bad flag syntax: -=x"},
        {"-t foo SQL", "not a valid transport: foo"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct bench_options o;
        struct why why = {0};
        assert_int_equal(parse(&o, rows[i].words, &why), ERR_INVALID);
        assert_string_equal(why.text, rows[i].text);
    }
}

static void integers_may_be_written_as_in_go(void **state)
{
    static const struct {
        const char *words;
        int64_t n;
    } rows[] = {{"-n 017", 15},
                {"-n 0o17", 15},
                {"-n 0b101", 5},
                {"-n 1_000", 1000},
                {"-n +7", 7}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct bench_options o;
        assert_int_equal(parse(&o, rows[i].words, NULL), ERR_OK);
        assert_int_equal(o.requests, rows[i].n);
    }
}

static void quantiles_are_close(void **state)
{
    static struct bench_stats s;
    static const double shares[] = {0.01, 0.5, 0.9, 0.99, 0.999, 1};

    (void)state;
    assert_int_equal(bench_stats_quantile(&s, 0.5), 0);
    for (uint64_t i = 1; i <= 100000; i++) bench_stats_add(&s, i * 1000);
    assert_int_equal(s.count, 100000);
    assert_int_equal(s.min_ns, 1000);
    assert_int_equal(s.max_ns, 100000000);
    for (size_t i = 0; i < COUNT(shares); i++) {
        double wanted = shares[i] * 1e8,
               got = (double)bench_stats_quantile(&s, shares[i]);
        assert_true(got >= wanted * 0.999 && got <= wanted * 1.02);
    }
    bench_stats_add(&s, UINT64_MAX); /* the last bucket */
    bench_stats_add(&s, 0);
    assert_int_equal(bench_stats_quantile(&s, 1), UINT64_MAX);
    assert_int_equal(s.min_ns, 0);
}

static void words_for_people(void **state)
{
    char status[WORDS_STATUS_MAX], error[WORDS_ERRNO_MAX];

    (void)state;
    assert_string_equal(words_status(503, status), "503 Service Unavailable");
    assert_string_equal(words_status(599, status), "599");
    assert_string_equal(words_errno(2, error), "no such file or directory");
    assert_string_equal(words_errno(111, error), "connection refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(flags_stand_on_either_side_of_the_statement),
        cmocka_unit_test(errors_are_sentences),
        cmocka_unit_test(integers_may_be_written_as_in_go),
        cmocka_unit_test(quantiles_are_close),
        cmocka_unit_test(words_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
