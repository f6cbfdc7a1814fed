/* SPDX-License-Identifier: MIT */
#include "core/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* vsnprintf() that, where the text was cut, does not leave half a UTF-8 character behind.
 */
static size_t format(char *out, size_t cap, const char *fmt, va_list args)
    PRINTF_LIKE(3, 0);
static size_t format(char *out, size_t cap, const char *fmt, va_list args)
{
    int n = vsnprintf(out, cap, fmt, args);
    size_t len;

    if (n < 0) n = 0;
    if ((size_t)n < cap) {
        out[n] = '\0';
        return (size_t)n;
    }
    len = cap - 1;
    while (len > 0 && ((unsigned char)out[len - 1] & 0xc0) == 0x80) len--;
    if (len > 0 && ((unsigned char)out[len - 1] & 0x80) != 0) len--;
    out[len] = '\0';
    return len;
}

static size_t append(struct why *why, size_t at, const char *fmt, ...) PRINTF_LIKE(3, 4);
static size_t append(struct why *why, size_t at, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    at += format(why->text + at, sizeof why->text - at, fmt, args);
    va_end(args);
    return at;
}

enum err why_set(struct why *why, enum err code, const char *fmt, ...)
{
    va_list args;

    if (!why) return code;
    why->code = code;
    va_start(args, fmt);
    format(why->text, sizeof why->text, fmt, args);
    va_end(args);
    return code;
}

enum err why_errno(struct why *why, const char *fmt, ...)
{
    int number = errno;
    enum err code = ERR_IO;
    char words[128];
    size_t at;
    va_list args;

    if (number == ENOSPC || number == EDQUOT) code = ERR_NO_SPACE;
    if (number == ENOMEM) code = ERR_NOMEM;
    if (!why) return code;
    why->code = code;
    va_start(args, fmt);
    at = format(why->text, sizeof why->text, fmt, args);
    va_end(args);
    append(why, at, ": %s", strerror_r(number, words, sizeof words));
    return code;
}

enum err err_wrap(struct why *why, enum err code, const char *fmt, ...)
{
    char old[sizeof why->text];
    size_t at;
    va_list args;

    if (!why) return code;
    snprintf(old, sizeof old, "%s", why->text[0] ? why->text : err_name(code));
    why->code = code;
    va_start(args, fmt);
    at = format(why->text, sizeof why->text, fmt, args);
    va_end(args);
    append(why, at, ": %s", old);
    return code;
}

const char *err_name(enum err code)
{
    switch (code) {
    case ERR_OK: return "ok";
    case ERR_NOMEM: return "out of memory";
    case ERR_IO: return "input/output error";
    case ERR_NO_SPACE: return "no space left";
    case ERR_CORRUPT: return "corrupt data";
    case ERR_INVALID: return "invalid input";
    case ERR_TOO_BIG: return "too big";
    case ERR_NOT_FOUND: return "not found";
    case ERR_EXISTS: return "already exists";
    case ERR_BUSY: return "busy";
    case ERR_TIMEOUT: return "timeout";
    case ERR_CANCELLED: return "cancelled";
    case ERR_CLOSED: return "closed";
    case ERR_NOT_LEADER: return "not leader";
    case ERR_NO_LEADER: return "leader not found";
    case ERR_LEADERSHIP_LOST: return "leadership lost while committing log";
    case ERR_TRANSFER: return "leadership transfer in progress";
    case ERR_NOT_READY: return "not ready";
    case ERR_NOT_OPEN: return "store not open";
    case ERR_STALE: return "stale read";
    case ERR_UNAUTHORIZED: return "unauthorized";
    case ERR_UNREACHABLE: return "unreachable";
    case ERR_NOTHING: return "nothing to do";
    case ERR_UNSUPPORTED: return "unsupported";
    case ERR_SQL: return "SQL error";
    case ERR_CONFLICT: return "conflict";
    case ERR_COUNT: break;
    }
    return "unknown error";
}

void check_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, expr);
    abort();
}
