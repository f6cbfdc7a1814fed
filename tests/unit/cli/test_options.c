/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/shell/options.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

/* Words separated by single blanks. */
static enum err parse(struct options *o, const char *words, const char *env,
                      struct why *why)
{
    static char space[512];
    char *argv[16] = {(char[]){"rqlite"}};
    int argc = 1;

    snprintf(space, sizeof(space), "%s", words);
    for (char *word = strtok(space, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    return options_parse(o, argc, argv, env, why);
}

static void defaults(void **state)
{
    struct options o;

    (void)state;
    assert_int_equal(parse(&o, "", NULL, NULL), ERR_OK);
    assert_string_equal(o.host, "127.0.0.1");
    assert_string_equal(o.scheme, "http");
    assert_string_equal(o.prefix, "/");
    assert_string_equal(o.user, "");
    assert_int_equal(o.port, 4001);
    assert_int_equal(o.http_timeout_ns, 30000000000);
    assert_false(o.insecure || o.quiet || o.help || o.version || o.man);
}

static void a_port_can_be_written_in_five_ways(void **state)
{
    static const char *const rows[] = {"-p 4003", "-p4003", "-p=4003", "--port 4003",
                                       "--port=4003"};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct options o;
        assert_int_equal(parse(&o, rows[i], NULL, NULL), ERR_OK);
        assert_int_equal(o.port, 4003);
    }
}

static void a_boolean_can_be_written_in_many_ways(void **state)
{
    static const struct {
        const char *words;
        bool on;
    } rows[] = {
        {"-i", true},
        {"-i=true", true},
        {"-i true", true},
        {"--insecure", true},
        {"-i=false", false},
        {"-i false", false},
        {"--insecure=false", false},
        {"-qi", true},
        {"-iq", true},
        {"-i nonsense", true},
        {"", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct options o;
        assert_int_equal(parse(&o, rows[i].words, NULL, NULL), ERR_OK);
        assert_int_equal(o.insecure, rows[i].on);
    }
}

static void a_timeout_without_unit_is_in_seconds(void **state)
{
    struct options o;

    (void)state;
    assert_int_equal(parse(&o, "-t 5", NULL, NULL), ERR_OK);
    assert_int_equal(o.http_timeout_ns, 5000000000);
    assert_int_equal(parse(&o, "--http-timeout=250ms", NULL, NULL), ERR_OK);
    assert_int_equal(o.http_timeout_ns, 250000000);
}

static void errors_are_sentences(void **state)
{
    static const struct {
        const char *words, *text;
    } rows[] = {
        {"--bogus", "undefined option --bogus"},
        {"--bogus=1", "undefined option --bogus"},
        {"-z", "undefined option -z"},
        {"-p abc", "`abc' couldn't converted to an uint"},
        {"-p 65536", "`65536' couldn't converted to an uint"},
        {"-p -1", "`-1' couldn't converted to an uint"},
        {"-p=", "`' couldn't converted to an uint"},
        {"-ip", "each fold option should be boolean, but -p not"},
        {"-t x", "`x' couldn't converted to a duration"},
        {"-t -1s", "`-1s' couldn't converted to a duration"},
        {"-i=maybe", "`maybe' couldn't converted to a bool"},
        {"-H", "option -H needs an argument"},
        {"-s ftp", "unsupported protocol ftp"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct options o;
        struct why why = {0};
        assert_int_equal(parse(&o, rows[i].words, NULL, &why), ERR_INVALID);
        assert_string_equal(why.text, rows[i].text);
    }
}

static void the_environment_names_a_host(void **state)
{
    static const struct {
        const char *value, *scheme, *host;
        int port;
    } rows[] = {
        {"http://h:1", "http", "h", 1},
        {"https://h:1", "https", "h", 1},
        {"//h:1", "http", "h", 1},
        {"//h", "http", "h", 4001},
        {"//h:", "http", "h", 4001},
        {"http://[::1]:5", "http", "::1", 5},
        {"//[::1]", "http", "::1", 4001},
        {"http://h:1/path?x", "http", "h", 1},
        {"http://bob:secret@h:1", "http", "h", 1},
        {"h", "http", "h", 4001},
        {"10.0.0.1:4003", "http", "10.0.0.1", 4003},
        {"", "http", "127.0.0.1", 4001},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct options o;
        assert_int_equal(parse(&o, "-i", rows[i].value, NULL), ERR_OK);
        assert_string_equal(o.scheme, rows[i].scheme);
        assert_string_equal(o.host, rows[i].host);
        assert_int_equal(o.port, rows[i].port);
    }
}

static void an_address_option_hides_the_environment(void **state)
{
    static const char *const rows[] = {"-H 127.0.0.1", "-p 4001", "-s http",
                                       "--port=4001"};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct options o;
        assert_int_equal(parse(&o, rows[i], "https://other:9", NULL), ERR_OK);
        assert_string_equal(o.host, "127.0.0.1");
        assert_string_equal(o.scheme, "http");
        assert_int_equal(o.port, 4001);
    }
}

static void a_bad_environment_is_refused(void **state)
{
    static const struct {
        const char *value, *text;
    } rows[] = {
        {"ftp://h", "unsupported protocol ftp"},
        {"http://", "RQLITE_HOST does not contain a hostname"},
        {"//:4001", "RQLITE_HOST does not contain a hostname"},
        {"//h:x", "invalid port in RQLITE_HOST: //h:x"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct options o;
        struct why why = {0};
        assert_int_equal(parse(&o, "", rows[i].value, &why), ERR_INVALID);
        assert_string_equal(why.text, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(a_port_can_be_written_in_five_ways),
        cmocka_unit_test(a_boolean_can_be_written_in_many_ways),
        cmocka_unit_test(a_timeout_without_unit_is_in_seconds),
        cmocka_unit_test(errors_are_sentences),
        cmocka_unit_test(the_environment_names_a_host),
        cmocka_unit_test(an_address_option_hides_the_environment),
        cmocka_unit_test(a_bad_environment_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
