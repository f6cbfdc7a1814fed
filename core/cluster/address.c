/* SPDX-License-Identifier: MIT */
#include "core/cluster/address.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char HTTP_PORT[] = ":4001";

/* "host:port" as the reference's language splits it: IPv6 in brackets, either part may be
 * empty. */
static bool is_host_port(const char *s)
{
    const char *colon = strrchr(s, ':'), *host = s;
    size_t len;

    if (!colon) return false;
    len = (size_t)(colon - s);
    if (*s == '[') {
        const char *end = strchr(s, ']');

        if (!end || end + 1 != colon) return false;
        host++;
        len = (size_t)(end - host);
    } else if (memchr(s, ':', len) || memchr(s, ']', len)) {
        return false;
    }
    return !memchr(host, '[', len) && !strpbrk(colon + 1, "[]");
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* %41 is A.  False if it does not fit or is malformed. */
static bool decode(char *out, size_t cap, const char *s, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        char c = s[i];

        if (c == '%') {
            int high = i + 2 < len ? hex(s[i + 1]) : -1;
            int low = i + 2 < len ? hex(s[i + 2]) : -1;

            if (high < 0 || low < 0 || (high | low) == 0) return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (n + 1 >= cap) return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

static bool take_user(struct address *out, const char *s, size_t len)
{
    const char *colon = memchr(s, ':', len);
    size_t user_len = colon ? (size_t)(colon - s) : len;

    if (!decode(out->user, sizeof out->user, s, user_len)) return false;
    return !colon ||
           decode(out->password, sizeof out->password, colon + 1, len - user_len - 1);
}

/* What remains of a URL behind its scheme. */
static bool take_http(struct address *out, const char *s, size_t len)
{
    const char *at = memrchr(s, '@', len);

    if (at) {
        if (!take_user(out, s, (size_t)(at - s))) return false;
        len -= (size_t)(at + 1 - s);
        s = at + 1;
    }
    while (len > 0 && s[len - 1] == '/') len--;
    if (len == 0 || len + sizeof HTTP_PORT > sizeof out->at || memchr(s, '/', len))
        return false;
    memcpy(out->at, s, len);
    out->at[len] = '\0';
    if (is_host_port(out->at)) return true;
    memcpy(out->at + len, HTTP_PORT, sizeof HTTP_PORT);
    return is_host_port(out->at);
}

bool address_parse(struct address *out, const char *item, size_t len)
{
    memset(out, 0, sizeof *out);
    if (len >= 8 && strncasecmp(item, "https://", 8) == 0) {
        out->http = out->https = true;
        return take_http(out, item + 8, len - 8);
    }
    if (len >= 7 && strncasecmp(item, "http://", 7) == 0) {
        out->http = true;
        return take_http(out, item + 7, len - 7);
    }
    if (len == 0 || len >= sizeof out->at) return false;
    memcpy(out->at, item, len);
    out->at[len] = '\0';
    return is_host_port(out->at);
}

void address_text(const struct address *a, char out[ADDRESS_URL_MAX])
{
    const char *scheme = a->https ? "https://" : a->http ? "http://" : "";

    snprintf(out, ADDRESS_URL_MAX, "%s%s", scheme, a->at);
}
