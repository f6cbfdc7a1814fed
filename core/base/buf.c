/* SPDX-License-Identifier: MIT */
#include "core/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CAP_MIN = 64 };

void buf_init(struct buf *b, size_t limit)
{
    *b = (struct buf){.limit = limit};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    buf_init(b, b->limit);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->error = ERR_OK;
}

/* cap never exceeds limit, so that the quick path of buf_append() need not look at it. */
static void grow(struct buf *b, size_t n)
{
    size_t need, cap;
    uint8_t *data;

    if (__builtin_add_overflow(b->len, n, &need) || (b->limit > 0 && need > b->limit)) {
        b->error = ERR_TOO_BIG;
        return;
    }
    cap = b->cap > SIZE_MAX / 2 ? need : b->cap * 2;
    if (cap < CAP_MIN) cap = CAP_MIN;
    if (cap < need) cap = need;
    if (b->limit > 0 && cap > b->limit) cap = b->limit;
    data = realloc(b->data, cap);
    if (!data) {
        b->error = ERR_NOMEM;
        return;
    }
    b->data = data;
    b->cap = cap;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    if (b->error) return NULL;
    if (n > b->cap - b->len || !b->data) grow(b, n);
    return b->error ? NULL : b->data + b->len;
}

void buf_append_slow(struct buf *b, const void *data, size_t n)
{
    uint8_t *to = buf_reserve(b, n);

    if (!to) return;
    if (n > 0) memcpy(to, data, n);
    b->len += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    size_t room = b->cap - b->len;
    va_list args;
    int n;

    if (b->error) return;
    va_start(args, fmt);
    n = vsnprintf(room > 0 ? (char *)b->data + b->len : NULL, room, fmt, args);
    va_end(args);
    if (n < 0) {
        b->error = ERR_NOMEM;
        return;
    }
    if ((size_t)n >= room) { /* vsnprintf() wants a byte for its NUL, which is not kept */
        char small[256], *text = small;

        if ((size_t)n >= sizeof small && !(text = malloc((size_t)n + 1))) {
            b->error = ERR_NOMEM;
            return;
        }
        va_start(args, fmt);
        vsnprintf(text, (size_t)n + 1, fmt, args);
        va_end(args);
        buf_append(b, text, (size_t)n);
        if (text != small) free(text);
        return;
    }
    b->len += (size_t)n;
}

void buf_append_i64(struct buf *b, int64_t v)
{
    if (v < 0) buf_append_u8(b, '-');
    buf_append_u64(b, v < 0 ? -(uint64_t)v : (uint64_t)v);
}

void buf_append_u64(struct buf *b, uint64_t v)
{
    char digits[20], *p = digits + sizeof digits;

    do *--p = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    buf_append(b, p, (size_t)(digits + sizeof digits - p));
}

void buf_truncate(struct buf *b, size_t len)
{
    if (len < b->len) b->len = len;
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    if (n == 0) return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

uint8_t *buf_take(struct buf *b, size_t *len)
{
    uint8_t *data = b->data;

    *len = b->len;
    buf_init(b, b->limit);
    return data;
}
