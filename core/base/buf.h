/* SPDX-License-Identifier: MIT */
/*
 * buf: bytes that grow at the end.
 *
 * A failure (out of memory, over the limit) is remembered: later appends do nothing and
 * buf_error() says which, so code that builds something checks once, at the end.  One
 * owner.
 */
#ifndef CORE_BASE_BUF_H
#define CORE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/err.h"

struct buf {
    uint8_t *data; /* owned */
    size_t len, cap, limit;
    enum err error;
};

void buf_init(struct buf *b, size_t limit); /* limit 0 = none; allocates nothing */
void buf_fini(struct buf *b);               /* frees; leaves an empty buf */
void buf_clear(struct buf *b);              /* len 0 and no error, memory kept */

/* Room for at least n more bytes; where to write them, or NULL.  Then buf_advance(). */
uint8_t *buf_reserve(struct buf *b, size_t n);
static inline void buf_advance(struct buf *b, size_t n)
{
    b->len += n;
}

void buf_append_slow(struct buf *b, const void *data, size_t n);
static inline void buf_append(struct buf *b, const void *data, size_t n)
{
    if (n <= b->cap - b->len && b->error == ERR_OK) {
        if (n > 0) memcpy(b->data + b->len, data, n);
        b->len += n;
    } else {
        buf_append_slow(b, data, n);
    }
}
static inline void buf_append_u8(struct buf *b, uint8_t c)
{
    buf_append(b, &c, 1);
}
static inline void buf_append_str(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s));
}
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_append_i64(struct buf *b, int64_t v);  /* decimal */
void buf_append_u64(struct buf *b, uint64_t v); /* decimal */

/* Cut back to an earlier length.  Clears no error. */
void buf_truncate(struct buf *b, size_t len);

/* Remove n bytes at the front (moves the rest). */
void buf_consume(struct buf *b, size_t n);

/* Hand the malloc'd bytes to the caller, who frees them; b is empty afterwards. */
uint8_t *buf_take(struct buf *b, size_t *len);

static inline enum err buf_error(const struct buf *b)
{
    return b->error;
}

#endif
