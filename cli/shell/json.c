/* SPDX-License-Identifier: MIT */
#include "cli/shell/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"

/*
 * jansson keeps integers of 64 bits and doubles, and text_real() prints a double in the
 * server's own form.  Only two kinds of literals would not survive: integers without
 * exponent outside 64 bits (the server writes 1e20 as 100000000000000000000) and "-0".
 * Both are doubles there, so they get a ".0" that makes them doubles here.
 */
static bool needs_point(const char *digits, size_t len)
{
    char literal[24];
    size_t sign = *digits == '-';

    if (memchr(digits, '.', len) || memchr(digits, 'e', len) || memchr(digits, 'E', len))
        return false;
    if (len == 2 && memcmp(digits, "-0", 2) == 0) return true;
    if (len - sign < 19) return false;
    if (len - sign > 19) return true;
    memcpy(literal, digits, len);
    literal[len] = '\0';
    errno = 0;
    strtoll(literal, NULL, 10);
    return errno == ERANGE;
}

/* Copies text to out with those points added; leaves out empty when none is needed. */
static void add_points(struct buf *out, const char *text, size_t len)
{
    size_t copied = 0;

    for (size_t i = 0; i < len;) {
        if (text[i] == '"') {
            for (i++; i < len && text[i] != '"'; i++) i += text[i] == '\\';
            i++;
        } else if (text[i] == '-' || (text[i] >= '0' && text[i] <= '9')) {
            size_t start = i;
            while (i < len && text[i] && strchr("+-.0123456789eE", text[i])) i++;
            if (!needs_point(text + start, i - start)) continue;
            buf_append(out, text + copied, i - copied);
            buf_append_str(out, ".0");
            copied = i;
        } else {
            i++;
        }
    }
    if (copied > 0) buf_append(out, text + copied, len - copied);
}

enum err json_read(json_t **out, const char *text, size_t len, struct why *why)
{
    struct buf pointed;
    json_error_t at;
    enum err e;

    buf_init(&pointed, 0);
    add_points(&pointed, text, len);
    e = buf_error(&pointed);
    if (e) return why_set(why, e, "out of memory");
    if (pointed.len > 0) {
        text = (const char *)pointed.data;
        len = pointed.len;
    }
    *out = json_loadb(text ? text : "", len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &at);
    buf_fini(&pointed);
    if (!*out) return why_set(why, ERR_CORRUPT, "invalid JSON from server: %s", at.text);
    return ERR_OK;
}

void json_append_string(struct buf *out, const char *s, size_t len)
{
    buf_append_u8(out, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        switch (c) {
        case '"': buf_append_str(out, "\\\""); break;
        case '\\': buf_append_str(out, "\\\\"); break;
        case '\b': buf_append_str(out, "\\b"); break;
        case '\f': buf_append_str(out, "\\f"); break;
        case '\n': buf_append_str(out, "\\n"); break;
        case '\r': buf_append_str(out, "\\r"); break;
        case '\t': buf_append_str(out, "\\t"); break;
        default:
            if (c < 0x20 || c == '<' || c == '>' || c == '&') {
                buf_printf(out, "\\u%04x", c);
            } else if (len - i >= 3 && (memcmp(s + i, "\xe2\x80\xa8", 3) == 0 ||
                                        memcmp(s + i, "\xe2\x80\xa9", 3) == 0)) {
                buf_printf(out, "\\u20%02x", (unsigned char)s[i + 2] - 0x80);
                i += 2;
            } else {
                buf_append_u8(out, c);
            }
        }
    }
    buf_append_u8(out, '"');
}

void json_append_number(struct buf *out, const json_t *number)
{
    char text[TEXT_REAL_MAX];

    if (json_is_integer(number))
        buf_append_i64(out, json_integer_value(number));
    else
        buf_append(out, text, text_real(text, json_real_value(number)));
}
