/* SPDX-License-Identifier: MIT */
#include "cli/bench_reply.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/words.h"

/* --- framing (RFC 9112)
 * ---------------------------------------------------------------------- */

struct head {
    size_t len; /* with the blank line */
    size_t content_length;
    bool has_length, chunked;
};

static bool name_is(const char *line, const char *colon, const char *name)
{
    size_t len = (size_t)(colon - line);
    return len == strlen(name) && strncasecmp(line, name, len) == 0;
}

static bool value_has(const char *value, const char *end, const char *word)
{
    size_t n = strlen(word);
    for (; value + n <= end; value++)
        if (strncasecmp(value, word, n) == 0) return true;
    return false;
}

static enum err read_length(struct head *h, const char *p, const char *end,
                            struct why *why)
{
    size_t n = 0;

    while (p < end && (*p == ' ' || *p == '\t')) p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t')) end--;
    if (p == end)
        return why_set(why, ERR_CORRUPT, "malformed HTTP response: Content-Length");
    for (; p < end; p++) {
        if (*p < '0' || *p > '9' || n > (SIZE_MAX - 9) / 10)
            return why_set(why, ERR_CORRUPT, "malformed HTTP response: Content-Length");
        n = n * 10 + (size_t)(*p - '0');
    }
    h->content_length = n;
    h->has_length = true;
    return ERR_OK;
}

static enum err read_head(struct head *h, struct bench_reply *r, const char *data,
                          size_t len, struct why *why)
{
    const char *blank = memmem(data, len, "\r\n\r\n", 4);
    const char *line, *end;
    enum err e = ERR_OK;

    memset(h, 0, sizeof(*h));
    if (!blank) return ERR_NOTHING;
    h->len = (size_t)(blank - data) + 4;
    if (h->len < 16 || memcmp(data, "HTTP/1.", 7) != 0 || data[8] != ' ')
        return why_set(why, ERR_CORRUPT, "malformed HTTP response");
    r->status = 0;
    for (int i = 9; i < 12; i++) {
        if (data[i] < '0' || data[i] > '9')
            return why_set(why, ERR_CORRUPT, "malformed HTTP response");
        r->status = r->status * 10 + (data[i] - '0');
    }
    r->close = data[7] == '0';

    line = (const char *)memchr(data, '\n', h->len) + 1;
    for (; !e && line < blank; line = end + 2) {
        const char *colon;
        end = memchr(line, '\r', (size_t)(blank + 1 - line));
        colon = memchr(line, ':', (size_t)(end - line));
        if (!colon) return why_set(why, ERR_CORRUPT, "malformed HTTP response header");
        if (name_is(line, colon, "content-length"))
            e = read_length(h, colon + 1, end, why);
        else if (name_is(line, colon, "transfer-encoding"))
            h->chunked = value_has(colon + 1, end, "chunked");
        else if (name_is(line, colon, "connection"))
            r->close = value_has(colon + 1, end, "close");
    }
    return e;
}

/* The size line of a chunk at data + at.  The place behind it goes to *body. */
static enum err read_chunk_size(const char *data, size_t len, size_t at, size_t *size,
                                size_t *body, struct why *why)
{
    const char *nl = memchr(data + at, '\n', len - at);
    const char *p = data + at;
    size_t n = 0;

    if (!nl) return ERR_NOTHING;
    for (; p < nl && *p != ';' && *p != '\r'; p++) {
        int digit = *p >= '0' && *p <= '9'                     ? *p - '0'
                    : (*p | 0x20) >= 'a' && (*p | 0x20) <= 'f' ? (*p | 0x20) - 'a' + 10
                                                               : -1;
        if (digit < 0 || n > SIZE_MAX >> 8)
            return why_set(why, ERR_CORRUPT, "malformed chunked encoding");
        n = n << 4 | (size_t)digit;
    }
    if (p == data + at) return why_set(why, ERR_CORRUPT, "malformed chunked encoding");
    *size = n;
    *body = (size_t)(nl - data) + 1;
    return ERR_OK;
}

/* With move, chunk bodies are moved together; without, data is only measured. */
static enum err read_chunks(struct bench_reply *r, char *data, size_t len, size_t at,
                            bool move, struct why *why)
{
    size_t out = at, size = 0, body = at;

    for (;;) {
        enum err e = read_chunk_size(data, len, at, &size, &body, why);
        if (e) return e;
        if (size == 0) break;
        if (size > len - body || len - body - size < 2) return ERR_NOTHING;
        if (memcmp(data + body + size, "\r\n", 2) != 0)
            return why_set(why, ERR_CORRUPT, "malformed chunked encoding");
        if (move) memmove(data + out, data + body, size);
        out += size;
        at = body + size + 2;
    }
    for (;;) { /* trailer fields, then a blank line */
        char *nl = memchr(data + body, '\n', len - body);
        size_t line = body;
        if (!nl) return ERR_NOTHING;
        body = (size_t)(nl - data) + 1;
        if (body - line <= 2) break;
    }
    r->body_len = out - (size_t)(r->body - data);
    r->used = body;
    return ERR_OK;
}

enum err bench_reply_read(struct bench_reply *r, char *data, size_t len, bool at_end,
                          struct why *why)
{
    struct head h;
    enum err e = read_head(&h, r, data, len, why);

    if (e) return e;
    r->body = data + h.len;
    if (h.chunked) {
        e = read_chunks(r, data, len, h.len, false, why);
        return e ? e : read_chunks(r, data, len, h.len, true, why);
    }
    if (r->status == 204 || r->status == 304 || r->status / 100 == 1) {
        h.has_length = true;
        h.content_length = 0;
    }
    if (!h.has_length) {
        r->close = true;
        h.content_length = len - h.len;
        if (!at_end) return ERR_NOTHING;
    }
    if (len - h.len < h.content_length) return ERR_NOTHING;
    r->body_len = h.content_length;
    r->used = h.len + h.content_length;
    return ERR_OK;
}

/* --- meaning
 * --------------------------------------------------------------------------------- */

static enum err check_json(const char *body, size_t len, struct why *why)
{
    json_error_t at;
    json_t *root = json_loadb(body, len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &at);
    json_t *results = json_object_get(root, "results");
    const char *text = json_string_value(json_object_get(root, "error"));
    enum err e = ERR_OK;
    json_t *result;
    size_t i;

    if (!root)
        e = why_set(why, ERR_SQL, "invalid JSON in reply: %s", at.text);
    else if (text)
        e = why_set(why, ERR_SQL, "received error: %s", text);
    else if (json_array_size(results) == 0)
        e = why_set(why, ERR_SQL, "expected at least 1 result, got 0");
    json_array_foreach(results, i, result)
    {
        if (e) break;
        text = json_string_value(json_object_get(result, "error"));
        if (text) e = why_set(why, ERR_SQL, "received error: %s", text);
    }
    json_decref(root);
    return e;
}

enum err bench_reply_check(int status, const char *body, size_t len, bool parse,
                           struct why *why)
{
    static const char START[] = "{\"results\":[{";
    char words[WORDS_STATUS_MAX];

    if (status != 200)
        return why_set(why, ERR_SQL, "received %s", words_status(status, words));
    if (!parse) return ERR_OK;
    /* Inside a JSON string the quotes would carry backslashes, so a reply without this
     * text has no error anywhere, and need not be taken apart. */
    if (len >= sizeof(START) - 1 && memcmp(body, START, sizeof(START) - 1) == 0 &&
        body[len - 1] == '}' && !memmem(body, len, "\"error\"", 7))
        return ERR_OK;
    return check_json(body, len, why);
}
