/* SPDX-License-Identifier: MIT */
#include "gateway/json_write.h"

#include <math.h>
#include <string.h>

#include "core/base/text.h"
#include "core/base/utf8.h"

enum {
    ESCAPE_MAX = 6, /* "\u003c" for one byte */
    PIECE = 4096    /* of a long string: room for the worst case is made piece by piece */
};

void json_init(struct json *j, struct buf *out, bool pretty)
{
    *j = (struct json){.out = out, .pretty = pretty, .empty = true};
}

static void new_line(struct json *j)
{
    buf_append_u8(j->out, '\n');
    for (unsigned i = 0; i < j->depth; i++) buf_append(j->out, "    ", 4);
}

void json_open(struct json *j, char bracket)
{
    buf_append_u8(j->out, (uint8_t)bracket);
    j->depth++;
    j->empty = true;
}

void json_close(struct json *j, char bracket)
{
    j->depth--;
    if (j->pretty && !j->empty) new_line(j);
    buf_append_u8(j->out, (uint8_t)bracket);
    j->empty = false;
}

void json_item(struct json *j)
{
    if (!j->empty) buf_append_u8(j->out, ',');
    if (j->pretty) new_line(j);
    j->empty = false;
}

void json_key(struct json *j, const char *key)
{
    json_item(j);
    buf_append_u8(j->out, '"');
    buf_append_str(j->out, key);
    buf_append(j->out, "\": ", j->pretty ? 3 : 2);
}

void json_keyn(struct json *j, const char *key, size_t n)
{
    json_item(j);
    json_put_string(j->out, key, n);
    buf_append(j->out, ": ", j->pretty ? 2 : 1);
}

/* --- strings --- */

static uint8_t *put_hex(uint8_t *to, unsigned c)
{
    static const char hex[] = "0123456789abcdef";

    memcpy(to, "\\u00", 4);
    to[4] = (uint8_t)hex[c >> 4];
    to[5] = (uint8_t)hex[c & 15];
    return to + 6;
}

/* One ASCII character that cannot stand as it is. */
static uint8_t *put_escape(uint8_t *to, uint8_t c)
{
    static const char shorts[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *known = c ? strchr(shorts, c) : NULL;

    if (!known) return put_hex(to, c);
    *to++ = '\\';
    *to++ = (uint8_t)letters[known - shorts];
    return to;
}

/* What begins at *p with a byte that is no plain ASCII. */
static uint8_t *put_special(uint8_t *to, const uint8_t **p, const uint8_t *end)
{
    const uint8_t *c = *p;
    size_t n;

    if (*c < 0x80) {
        *p += 1;
        return put_escape(to, *c);
    }
    n = utf8_len(c, end);
    if (n == 0) {
        *p += 1;
        memcpy(to, "\\ufffd", 6);
        return to + 6;
    }
    *p += n;
    if (n == 3 && c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9)) {
        memcpy(to, c[2] == 0xa8 ? "\\u2028" : "\\u2029", 6);
        return to + 6;
    }
    memcpy(to, c, n);
    return to + n;
}

static const char special[] = {'"', '\\', '<', '>', '&'};

/* Write up to stop, or a little further to the end of a character; to has room for the
 * worst case. */
static uint8_t *put_piece(uint8_t *to, const uint8_t **p, const uint8_t *stop,
                          const uint8_t *end)
{
    const uint8_t *from = *p;
    uint64_t x, found;

    while (from < stop) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        if (stop - from >= 8) {
            memcpy(&x, from, sizeof x);
            memcpy(to, from, sizeof x); /* all eight, whatever counts of them */
            found = bytes_special(x, special, sizeof special);
            if (!found) {
                from += 8;
                to += 8;
                continue;
            }
            from += __builtin_ctzll(found) >> 3;
            to += __builtin_ctzll(found) >> 3;
            to = put_special(to, &from, end);
            continue;
        }
#endif
        x = *from * 0x0101010101010101U;
        found = bytes_special(x, special, sizeof special);
        if (found)
            to = put_special(to, &from, end);
        else
            *to++ = *from++;
    }
    *p = from;
    return to;
}

void json_put_string(struct buf *out, const void *text, size_t n)
{
    const uint8_t *p = text, *end = n > 0 ? p + n : p;
    uint8_t *to;

    buf_append_u8(out, '"');
    while (p < end) {
        size_t piece = end - p < PIECE ? (size_t)(end - p) : PIECE;

        /* 8: a character that begins in this piece and ends behind it, or eight bytes
         * copied for less */
        to = buf_reserve(out, piece * ESCAPE_MAX + 8);
        if (!to) return;
        buf_advance(out, (size_t)(put_piece(to, &p, p + piece, end) - to));
    }
    buf_append_u8(out, '"');
}

void json_put_cstring(struct buf *out, const char *text)
{
    json_put_string(out, text, strlen(text));
}

/* --- numbers --- */

static const char two_digits[] = "00010203040506070809101112131415161718192021222324"
                                 "25262728293031323334353637383940414243444546474849"
                                 "50515253545556575859606162636465666768697071727374"
                                 "75767778798081828384858687888990919293949596979899";

void json_put_uint(struct buf *out, uint64_t v)
{
    char digits[20], *p = digits + sizeof digits;

    if (v < 10) {
        buf_append_u8(out, (uint8_t)('0' + v));
        return;
    }
    for (; v >= 100; v /= 100) {
        p -= 2;
        memcpy(p, two_digits + v % 100 * 2, 2);
    }
    if (v >= 10) {
        p -= 2;
        memcpy(p, two_digits + v * 2, 2);
    } else {
        *--p = (char)('0' + v);
    }
    buf_append(out, p, (size_t)(digits + sizeof digits - p));
}

void json_put_int(struct buf *out, int64_t v)
{
    if (v < 0) buf_append_u8(out, '-');
    json_put_uint(out, v < 0 ? -(uint64_t)v : (uint64_t)v);
}

bool json_put_real(struct buf *out, double v)
{
    char text[TEXT_REAL_MAX];
    size_t n;

    if (v >= 1 && v < 9e15 && v == (double)(uint64_t)v) { /* most reals that are stored */
        json_put_uint(out, (uint64_t)v);
        return true;
    }
    n = text_real(text, v);
    buf_append(out, text, n);
    return n > 0;
}

void json_put_seconds(struct buf *out, uint64_t ns)
{
    (void)json_put_real(out,
                        (double)(ns / 1000000000U) + (double)(ns % 1000000000U) / 1e9);
}

void json_put_bool(struct buf *out, bool v)
{
    buf_append(out, v ? "true" : "false", v ? 4 : 5);
}

/* --- blobs --- */

void json_put_base64(struct buf *out, const void *data, size_t n)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = data;
    size_t len = n / 3 * 4 + (n % 3 ? 4 : 0) + 2;
    uint8_t *to = n < SIZE_MAX / 2 ? buf_reserve(out, len) : NULL;

    if (!to) return;
    *to++ = '"';
    for (; n >= 3; n -= 3, p += 3) {
        *to++ = (uint8_t)alphabet[p[0] >> 2];
        *to++ = (uint8_t)alphabet[(p[0] & 3) << 4 | p[1] >> 4];
        *to++ = (uint8_t)alphabet[(p[1] & 15) << 2 | p[2] >> 6];
        *to++ = (uint8_t)alphabet[p[2] & 63];
    }
    if (n > 0) {
        *to++ = (uint8_t)alphabet[p[0] >> 2];
        *to++ = (uint8_t)alphabet[(p[0] & 3) << 4 | (n == 2 ? p[1] >> 4 : 0)];
        *to++ = n == 2 ? (uint8_t)alphabet[(p[1] & 15) << 2] : '=';
        *to++ = '=';
    }
    *to = '"';
    buf_advance(out, len);
}

void json_put_blob_array(struct json *j, const uint8_t *data, size_t n)
{
    json_open(j, '[');
    for (size_t i = 0; i < n; i++) {
        json_item(j);
        json_put_uint(j->out, data[i]);
    }
    json_close(j, ']');
}
