/* SPDX-License-Identifier: MIT */
#include "core/base/logger.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/text.h"
#include "core/base/utf8.h"

struct logger {
    int fd;
    enum logger_format format;
    atomic_int level;
};

enum err logger_new(struct logger **out, int fd, enum logger_level level)
{
    struct logger *l = malloc(sizeof *l);

    *out = l;
    if (!l) return ERR_NOMEM;
    l->fd = fd;
    l->format = LOGGER_TEXT;
    atomic_init(&l->level, (int)level);
    return ERR_OK;
}

void logger_free(struct logger *l)
{
    free(l);
}

void logger_set_level(struct logger *l, enum logger_level level)
{
    if (l) atomic_store_explicit(&l->level, (int)level, memory_order_relaxed);
}

enum logger_level logger_level(const struct logger *l)
{
    return (enum logger_level)atomic_load_explicit(&l->level, memory_order_relaxed);
}

void logger_set_format(struct logger *l, enum logger_format format)
{
    if (l) l->format = format;
}

enum logger_format logger_format(const struct logger *l)
{
    return l ? l->format : LOGGER_TEXT;
}

/* Nobody could be told of a failure, and a second write might tear the line. */
static void put_line(const struct logger *l, const void *line, size_t len)
{
    ssize_t written = write(l->fd, line, len);

    (void)written;
}

/* --- JSON -------------------------------------------------------------------------- */

void logger_put_json(struct buf *out, const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text, *end = len > 0 ? p + len : p;

    buf_append_u8(out, '"');
    while (p < end) {
        const uint8_t *plain = bytes_plain_end(p, end, "\"\\\x7f", 3);
        size_t n;

        buf_append(out, p, (size_t)(plain - p));
        p = plain;
        if (p == end) break;
        n = utf8_len(p, end);
        if (*p == '"' || *p == '\\')
            buf_printf(out, "\\%c", *p);
        else if (*p == '\n')
            buf_append_str(out, "\\n");
        else if (*p < ' ' || *p == 0x7f)
            buf_printf(out, "\\u%04x", *p);
        else if (n == 0)
            buf_append_str(out, "\\ufffd");
        else
            buf_append(out, p, n);
        p += n > 0 ? n : 1;
    }
    buf_append_u8(out, '"');
}

static void put_json_member(struct buf *b, const char *key, const char *text, size_t len)
{
    buf_printf(b, "%s\"%s\":", b->len > 1 ? "," : "", key);
    logger_put_json(b, text, len);
}

static void put_json_field(struct buf *b, const struct logger_field *f)
{
    if (f->type == LOGGER_STRING) {
        if (f->text) put_json_member(b, f->key, f->text, f->len);
        return;
    }
    buf_printf(b, ",\"%s\":", f->key);
    if (f->type == LOGGER_NUMBER)
        buf_append_u64(b, f->number);
    else
        buf_printf(b, "%llu.%09llu", (unsigned long long)(f->number / 1000000000),
                   (unsigned long long)(f->number % 1000000000));
}

static void log_json(const struct logger *l, enum logger_level level,
                     const char *component, const char *msg, size_t len,
                     const struct logger_field *fields, size_t n)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char time[TEXT_TIME_MAX];
    struct buf b;

    buf_init(&b, 0);
    buf_append_u8(&b, '{');
    put_json_member(&b, "time", time, text_time(time, clock_wall_ns(clock_real())));
    put_json_member(&b, "level", names[level], strlen(names[level]));
    put_json_member(&b, "component", component, strlen(component));
    put_json_member(&b, "msg", msg, len);
    for (size_t i = 0; i < n; i++) put_json_field(&b, &fields[i]);
    buf_append_str(&b, "}\n");
    if (!buf_error(&b)) put_line(l, b.data, b.len);
    buf_fini(&b);
}

/* --- text -------------------------------------------------------------------------- */

static size_t format_head(char *out, size_t cap, const char *component)
{
    time_t now = time(NULL);
    struct tm t;
    int n;

    localtime_r(&now, &t);
    n = snprintf(out, cap, "[%.100s] %04d/%02d/%02d %02d:%02d:%02d ", component,
                 t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min,
                 t.tm_sec);
    return n < 0 ? 0 : (size_t)n;
}

/* What comes from outside must not be able to forge a line, or move a terminal's
 * cursor. */
static void make_harmless(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) text[i] = ' ';
}

void logger_log(struct logger *l, enum logger_level level, const char *component,
                const char *fmt, ...)
{
    char small[1024], *line = small;
    size_t cap = sizeof small, head, len;
    int saved = errno, n;
    va_list args;

    if (!l || level < logger_level(l)) return;
    head = l->format == LOGGER_JSON ? 0 : format_head(small, cap, component);
    va_start(args, fmt);
    n = vsnprintf(small + head, cap - head, fmt, args);
    va_end(args);
    if (n < 0) n = 0, small[head] = '\0';
    len = head + (size_t)n;
    if (len >= cap) { /* without memory the line is cut */
        cap = len + 1;
        line = malloc(cap);
        if (line) {
            if (head) head = format_head(line, cap, component);
            va_start(args, fmt);
            vsnprintf(line + head, cap - head, fmt, args);
            va_end(args);
        } else {
            line = small;
            len = sizeof small - 1;
        }
    }
    if (l->format == LOGGER_JSON) {
        log_json(l, level, component, line, len, NULL, 0);
    } else {
        make_harmless(line + head, len - head);
        line[len++] = '\n';
        put_line(l, line, len);
    }
    if (line != small) free(line);
    errno = saved;
}

/* Anything that is no word in quotes. */
static void put_text_field(struct buf *b, const struct logger_field *f)
{
    char duration[TEXT_DURATION_MAX];
    bool word = true;

    if (f->type == LOGGER_STRING && !f->text) return;
    buf_printf(b, " %s=", f->key);
    if (f->type == LOGGER_NUMBER) {
        buf_append_u64(b, f->number);
    } else if (f->type == LOGGER_DURATION) {
        buf_append(b, duration, text_duration(duration, (int64_t)f->number));
    } else {
        for (size_t i = 0; i < f->len; i++)
            word = word && f->text[i] > ' ' && f->text[i] < 0x7f && f->text[i] != '"';
        if (word && f->len > 0)
            buf_append(b, f->text, f->len);
        else
            logger_put_json(b, f->text, f->len);
    }
}

void logger_event(struct logger *l, enum logger_level level, const char *component,
                  const char *msg, const struct logger_field *fields, size_t n)
{
    int saved = errno;
    char head[160];
    struct buf b;

    if (!l || level < logger_level(l)) return;
    if (l->format == LOGGER_JSON) {
        log_json(l, level, component, msg, strlen(msg), fields, n);
        errno = saved;
        return;
    }
    buf_init(&b, 0);
    buf_append(&b, head, format_head(head, sizeof head, component));
    buf_append_str(&b, msg);
    for (size_t i = 0; i < n; i++) put_text_field(&b, &fields[i]);
    if (!buf_error(&b)) make_harmless((char *)b.data, b.len);
    buf_append_u8(&b, '\n');
    if (!buf_error(&b)) put_line(l, b.data, b.len);
    buf_fini(&b);
    errno = saved;
}
