/* SPDX-License-Identifier: MIT */
/*
 * utf8: what whoever reads or writes JSON looks for in bytes.  Pure.
 */
#ifndef CORE_BASE_UTF8_H
#define CORE_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Length of the UTF-8 character at p (p < end); 0 if the byte there begins none: overlong
 * forms, surrogates and what lies above U+10FFFF are none (RFC 3629, 4). */
static inline size_t utf8_len(const uint8_t *p, const uint8_t *end)
{
    size_t left = (size_t)(end - p);

    if (p[0] < 0x80) return 1;
    if (p[0] < 0xc2) return 0;
    if (left < 2 || (p[1] & 0xc0) != 0x80) return 0;
    if (p[0] < 0xe0) return 2;
    if (left < 3 || (p[2] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0;
    if (p[0] == 0xed && p[1] > 0x9f) return 0;
    if (p[0] < 0xf0) return 3;
    if (left < 4 || (p[3] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xf0 && p[1] < 0x90) return 0;
    if (p[0] == 0xf4 && p[1] > 0x8f) return 0;
    return p[0] < 0xf5 ? 4 : 0;
}

/* Eight bytes at a time: the high bit of each byte that is below 0x20 or above 0x7f, or
 * is one of chars (n of them). The lowest such bit is exact, those above it may be false
 * (borrows run upwards). */
static inline uint64_t bytes_special(uint64_t x, const char *chars, size_t n)
{
    const uint64_t ones = 0x0101010101010101U, highs = 0x8080808080808080U;
    uint64_t found = x | ((x - ones * 0x20) & ~x);

    for (size_t i = 0; i < n; i++) {
        uint64_t y = x ^ (ones * (uint8_t)chars[i]);
        found |= (y - ones) & ~y;
    }
    return found & highs;
}

/* The first byte at or after p that bytes_special() means; end if there is none. */
static inline const uint8_t *bytes_plain_end(const uint8_t *p, const uint8_t *end,
                                             const char *chars, size_t n)
{
    uint64_t x, found;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; end - p >= 8; p += 8) {
        memcpy(&x, p, sizeof x);
        found = bytes_special(x, chars, n);
        if (found) return p + (__builtin_ctzll(found) >> 3);
    }
#endif
    for (; p < end; p++) {
        x = *p * 0x0101010101010101U;
        found = bytes_special(x, chars, n);
        if (found) return p;
    }
    return end;
}

#endif
