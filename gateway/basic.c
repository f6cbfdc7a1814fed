/* SPDX-License-Identifier: MIT */
#include "gateway/basic.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "core/base/arena.h"

/* 0 to 63, or -1. */
static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Into out, which has room for 3/4 of len, and a zero behind it.  -1: not base64. */
static ptrdiff_t decode(char *out, const char *in, size_t len)
{
    size_t pad = 0, n = 0;

    if (len % 4 != 0) return -1;
    while (pad < 2 && pad < len && in[len - 1 - pad] == '=') pad++;
    for (size_t i = 0; i < len; i += 4) {
        size_t letters = i + 4 == len ? 4 - pad : 4;
        uint32_t bits = 0;

        for (size_t j = 0; j < 4; j++) {
            int six = j < letters ? sextet(in[i + j]) : 0;

            if (six < 0) return -1;
            bits = bits << 6 | (uint32_t)six;
        }
        for (size_t j = 0; j + 1 < letters; j++)
            out[n++] = (char)(bits >> (16 - 8 * j) & 0xff);
    }
    out[n] = '\0';
    return (ptrdiff_t)n;
}

bool basic_parse(const char *value, struct arena *a, const char **user,
                 const char **password)
{
    static const char scheme[] = "Basic ";
    size_t len;
    char *text, *colon;
    ptrdiff_t n;

    *user = *password = NULL;
    if (strncasecmp(value, scheme, strlen(scheme)) != 0) return false;
    value += strlen(scheme);
    len = strlen(value);
    text = arena_alloc(a, len / 4 * 3 + 1);
    n = text ? decode(text, value, len) : -1;
    if (n < 0 || memchr(text, '\0', (size_t)n)) return false;
    colon = strchr(text, ':');
    if (colon == NULL) return false;
    *colon = '\0';
    *user = text;
    *password = colon + 1;
    return true;
}
