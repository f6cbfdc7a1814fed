/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <string.h>
#include <unistd.h>

#include "core/base/logger.h"

struct sink {
    int fds[2];
    struct logger *logger;
};

static void sink_open(struct sink *s, enum logger_level level)
{
    assert_int_equal(pipe2(s->fds, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(logger_new(&s->logger, s->fds[1], level), ERR_OK);
}

static void sink_close(struct sink *s)
{
    logger_free(s->logger);
    close(s->fds[0]);
    close(s->fds[1]);
}

/* All that was written since the last call. */
static char *sink_text(struct sink *s)
{
    static char text[65536];
    ssize_t n = read(s->fds[0], text, sizeof text - 1);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t re;

    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&re, text, 0, NULL, 0) != 0)
        fail_msg("'%s' does not match %s", text, pattern);
    regfree(&re);
}

#define TIME "[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"

static void a_line_has_component_time_and_text(void **state)
{
    struct sink s;

    (void)state;
    sink_open(&s, LOGGER_INFO);
    logger_info(s.logger, "raft", "elected term=%d", 7);
    assert_matches(sink_text(&s), "^\\[raft\\] " TIME " elected term=7\n$");
    sink_close(&s);
}

static void levels_below_the_set_one_are_silent(void **state)
{
    struct sink s;

    (void)state;
    sink_open(&s, LOGGER_WARN);
    logger_debug(s.logger, "a", "x");
    logger_info(s.logger, "a", "x");
    assert_string_equal(sink_text(&s), "");
    logger_warn(s.logger, "a", "warned");
    logger_error(s.logger, "a", "failed");
    assert_matches(sink_text(&s), "warned\n.*failed\n$");
    logger_set_level(s.logger, LOGGER_DEBUG);
    assert_int_equal(logger_level(s.logger), LOGGER_DEBUG);
    logger_debug(s.logger, "a", "deep");
    assert_matches(sink_text(&s), "deep\n$");
    sink_close(&s);
}

static void no_logger_prints_nothing(void **state)
{
    (void)state;
    logger_info(NULL, "a", "%d", 1);
    logger_set_level(NULL, LOGGER_DEBUG);
    logger_free(NULL);
}

static void a_long_line_is_whole(void **state)
{
    (void)state;
    for (size_t len = 950; len < 1100; len++) {
        char text[1100], *line;
        struct sink s;

        sink_open(&s, LOGGER_INFO);
        memset(text, 'x', len);
        text[len] = '\0';
        logger_info(s.logger, "a", "%s|", text);
        line = sink_text(&s);
        assert_int_equal(strlen(line), strlen("[a] 2000/01/01 00:00:00 ") + len + 2);
        assert_string_equal(line + strlen(line) - 3, "x|\n");
        sink_close(&s);
    }
}

static void a_text_cannot_forge_a_second_line(void **state)
{
    struct sink s;

    (void)state;
    sink_open(&s, LOGGER_INFO);
    logger_info(s.logger, "a", "%s", "user x\n[raft] forged\x1b[2J\x7f caf\u00e9");
    assert_matches(sink_text(&s), TIME " user x \\[raft\\] forged \\[2J  caf\u00e9\n$");
    sink_close(&s);
}

static void errno_survives(void **state)
{
    struct sink s;

    (void)state;
    sink_open(&s, LOGGER_INFO);
    close(s.fds[1]);
    errno = ENOENT;
    logger_info(s.logger, "a", "to nobody");
    assert_int_equal(errno, ENOENT);
    s.fds[1] = -1;
    sink_close(&s);
}

static void *log_lines(void *logger)
{
    for (int i = 0; i < 100; i++) logger_info(logger, "t", "0123456789");
    return NULL;
}

static void lines_of_many_threads_stay_whole(void **state)
{
    pthread_t threads[4];
    struct sink s;
    char *line, *rest;
    int n = 0;

    (void)state;
    sink_open(&s, LOGGER_INFO);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_lines, s.logger), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (line = strtok_r(sink_text(&s), "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        assert_matches(line, "^\\[t\\] " TIME " 0123456789$");
        n++;
    }
    assert_int_equal(n, 400);
    sink_close(&s);
}

static void json_lines_hold_what_text_lines_hold(void **state)
{
    struct sink s;

    (void)state;
    sink_open(&s, LOGGER_INFO);
    logger_set_format(s.logger, LOGGER_JSON);
    logger_warn(s.logger, "raft", "a \"b\" %s", "c\\d\n\x01\x7f\xff\xc3\xa9");
    assert_matches(
        sink_text(&s),
        "^\\{\"time\":\"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z\",\"level\":\"warn\","
        "\"component\":\"raft\",\"msg\":\"a \\\\\"b\\\\\" c\\\\\\\\d\\\\n"
        "\\\\u0001\\\\u007f\\\\ufffd\xc3\xa9\"\\}\n$");
    sink_close(&s);
}

static void an_event_has_its_fields_behind_it(void **state)
{
    const struct logger_field fields[] = {
        {.key = "took", .type = LOGGER_DURATION, .number = 1500000},
        {.key = "rows", .type = LOGGER_NUMBER, .number = 3},
        {.key = "none", .type = LOGGER_STRING},
        {.key = "word", .type = LOGGER_STRING, .text = "a-b", .len = 3},
        {.key = "sql", .type = LOGGER_STRING, .text = "SELECT \"x\"\n", .len = 11},
        {.key = "empty", .type = LOGGER_STRING, .text = ""},
    };
    struct sink s;

    (void)state;
    sink_open(&s, LOGGER_INFO);
    logger_event(s.logger, LOGGER_WARN, "http", "slow", fields, 6);
    assert_matches(sink_text(&s), "^\\[http\\] " TIME " slow took=1.5ms rows=3 word=a-b "
                                  "sql=\"SELECT \\\\\"x\\\\\"\\\\n\" empty=\"\"\n$");
    logger_set_format(s.logger, LOGGER_JSON);
    logger_event(s.logger, LOGGER_WARN, "http", "slow", fields, 6);
    assert_matches(sink_text(&s),
                   "\"msg\":\"slow\",\"took\":0.001500000,\"rows\":3,"
                   "\"word\":\"a-b\",\"sql\":\"SELECT .*\",\"empty\":\"\"\\}\n$");
    logger_event(s.logger, LOGGER_DEBUG, "http", "quiet", fields, 6);
    assert_string_equal(sink_text(&s), "");
    sink_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines_hold_what_text_lines_hold),
        cmocka_unit_test(an_event_has_its_fields_behind_it),
        cmocka_unit_test(a_line_has_component_time_and_text),
        cmocka_unit_test(levels_below_the_set_one_are_silent),
        cmocka_unit_test(no_logger_prints_nothing),
        cmocka_unit_test(a_long_line_is_whole),
        cmocka_unit_test(a_text_cannot_forge_a_second_line),
        cmocka_unit_test(errno_survives),
        cmocka_unit_test(lines_of_many_threads_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
