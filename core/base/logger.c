/* SPDX-License-Identifier: MIT */
#include "core/base/logger.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct logger {
    int fd;
    atomic_int level;
};

enum err logger_new(struct logger **out, int fd, enum logger_level level)
{
    struct logger *l = malloc(sizeof *l);

    *out = l;
    if (!l) return ERR_NOMEM;
    l->fd = fd;
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

void logger_log(struct logger *l, enum logger_level level, const char *component,
                const char *fmt, ...)
{
    char small[1024], *line = small;
    size_t cap = sizeof small, head, len;
    int saved = errno, n;
    ssize_t written;
    va_list args;

    if (!l || level < logger_level(l)) return;
    head = format_head(small, cap, component);
    va_start(args, fmt);
    n = vsnprintf(small + head, cap - head, fmt, args);
    va_end(args);
    if (n < 0) n = 0, small[head] = '\0';
    len = head + (size_t)n;
    if (len >= cap) { /* without memory the line is cut */
        cap = len + 1;
        line = malloc(cap);
        if (line) {
            head = format_head(line, cap, component);
            va_start(args, fmt);
            vsnprintf(line + head, cap - head, fmt, args);
            va_end(args);
        } else {
            line = small;
            len = sizeof small - 1;
        }
    }
    /* What comes from outside must not be able to forge a line, or move a terminal's
     * cursor. */
    for (size_t i = head; i < len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) line[i] = ' ';
    line[len++] = '\n';

    /* Nobody could be told of a failure, and a second write might tear the line. */
    written = write(l->fd, line, len);
    (void)written;
    if (line != small) free(line);
    errno = saved;
}
