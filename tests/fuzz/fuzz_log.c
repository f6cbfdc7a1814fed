/* SPDX-License-Identifier: MIT */
/*
 * Lines of the access log and of the log, with any bytes in them: one line each, with
 * nothing in it that moves a cursor; as JSON, one valid object that tells the same.
 * The input's parts end with zero bytes.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/logger.h"
#include "core/base/utf8.h"
#include "gateway/access_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARTS = 4 };

/* --- what a line must be ---------------------------------------------------------- */

static void check_clean(const char *line, size_t len)
{
    CHECK(len > 0 && line[len - 1] == '\n');
    for (size_t i = 0; i + 1 < len; i++)
        CHECK((uint8_t)line[i] >= ' ' && line[i] != 0x7f);
}

/* Is it what UTF-8 can say? */
static bool is_text(const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + len;

    while (p < end) {
        size_t n = utf8_len(p, end);

        if (n == 0) return false;
        p += n;
    }
    return true;
}

static void check_member(const json_t *object, const char *key, const char *text,
                         size_t len)
{
    const json_t *value = json_object_get(object, key);

    CHECK(json_is_string(value));
    if (!is_text(text, len)) return; /* it cannot be told without loss */
    CHECK(json_string_length(value) == len);
    CHECK(memcmp(json_string_value(value), text, len) == 0);
}

static json_t *check_json(const char *line, size_t len)
{
    json_error_t where;
    json_t *object;

    check_clean(line, len);
    object = json_loadb(line, len - 1, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &where);
    CHECK(json_is_object(object));
    return object;
}

/* --- the access log --------------------------------------------------------------- */

/* Behind n spaces: a field in quotes must not have any of its own. */
static const char *after_spaces(const char *p, unsigned n)
{
    while (n-- > 0) {
        p = strchr(p, ' ');
        CHECK(p != NULL);
        p++;
    }
    return p;
}

/* client user [time] "method target" status bytes seconds id, as a program takes it
 * apart. */
static void check_fields(char *line, const struct access_line *l)
{
    const char *p = after_spaces(line, 1);

    if (*p == '"') {
        for (p++; *p != '"'; p++)
            if (*p == '\\') p++;
        p++;
    } else {
        p += strcspn(p, " ");
    }
    CHECK(strncmp(p, " [", 2) == 0);
    p = strchr(p, ']');
    CHECK(p != NULL && strncmp(p, "] \"", 3) == 0);
    p = strchr(p + 3, '"');
    CHECK(p != NULL && strncmp(p, "\" 200 7 ", 8) == 0);
    CHECK(strcmp(after_spaces(p + 8, 1), l->id ? l->id : "-") == 0);
}

static void check_access(const struct access_line *l)
{
    struct buf line;
    json_t *object;

    buf_init(&line, 0);
    access_line_put(&line, l, true);
    if (buf_error(&line)) abort();
    object = check_json((const char *)line.data, line.len);
    if (l->user) check_member(object, "user", l->user, strlen(l->user));
    check_member(object, "method", l->method, strlen(l->method));
    json_decref(object);
    buf_clear(&line);
    access_line_put(&line, l, false);
    if (buf_error(&line)) abort();
    check_clean((const char *)line.data, line.len);
    line.data[line.len - 1] = '\0';
    check_fields((char *)line.data, l);
    buf_fini(&line);
}

/* --- the log ---------------------------------------------------------------------- */

static void check_log(const char *text, size_t len, bool json)
{
    static struct logger *logger;
    static int fd = -1;
    struct logger_field fields[] = {
        {.key = "sql", .type = LOGGER_STRING, .text = text, .len = len},
        {.key = "rows", .type = LOGGER_NUMBER, .number = len},
        {.key = "duration", .type = LOGGER_DURATION, .number = len * 1000}};
    size_t cap = 2 * (len * 6 + 4096);
    char *lines = malloc(cap), *second;
    ssize_t n;

    if (logger == NULL) {
        fd = memfd_create("log", MFD_CLOEXEC);
        if (fd < 0 || logger_new(&logger, fd, LOGGER_INFO) != ERR_OK) abort();
    }
    if (lines == NULL || ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0) abort();
    logger_set_format(logger, json ? LOGGER_JSON : LOGGER_TEXT);
    logger_warn(logger, "http", "%.*s", (int)len, text);
    logger_event(logger, LOGGER_WARN, "http", "slow query", fields, 3);
    n = pread(fd, lines, cap, 0);
    CHECK(n > 0 && (size_t)n < cap);
    second = memchr(lines, '\n', (size_t)n);
    CHECK(second != NULL);
    second++;
    if (json) {
        json_t *object = check_json(lines, (size_t)(second - lines));

        check_member(object, "msg", text, strnlen(text, len));
        json_decref(object);
        object = check_json(second, (size_t)(lines + n - second));
        check_member(object, "sql", text, len);
        json_decref(object);
    } else {
        check_clean(lines, (size_t)(second - lines));
        check_clean(second, (size_t)(lines + n - second));
    }
    free(lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct access_line l = {.at_ns = 1, .client = "-", .status = 200, .sent_bytes = 7};
    const char *parts[PARTS];
    char *text = malloc(size + 1), *p = text;

    if (text == NULL) abort();
    memcpy(text, data, size);
    text[size] = '\0';
    for (int i = 0; i < PARTS; i++) {
        parts[i] = p;
        p += strlen(p);
        if (p < text + size) p++;
    }
    l.target = parts[0];
    l.method = parts[1];
    l.user = size % 2 ? parts[2] : NULL;
    l.id = size % 3 ? "id-1" : NULL;
    l.elapsed_ns = size * 1000003;
    check_access(&l);
    check_log(text, size, true);
    check_log(text, size, false);
    free(text);
    return 0;
}
