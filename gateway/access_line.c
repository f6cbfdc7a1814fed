/* SPDX-License-Identifier: MIT */
#include "gateway/access_line.h"

#include <string.h>

#include "core/base/buf.h"
#include "core/base/logger.h"
#include "core/base/text.h"
#include "gateway/json_write.h"

/* As sent, if that is what a URL may hold and does not end the field; else as %XX, which
 * is the same to who reads URLs. */
static void put_url(struct buf *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)text[i];

        if (c > ' ' && c < 0x7f && c != '"')
            buf_append_u8(out, c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

/* The target, but of a long statement in it only the beginning. */
static void put_target(struct buf *out, const char *target)
{
    size_t begin = out->len;
    bool query = false;

    for (const char *p = target; *p && out->len - begin < ACCESS_LINE_TARGET;) {
        size_t n = strcspn(p, query ? "&" : "?");
        bool sql = query && n > ACCESS_LINE_Q + 2 && strncmp(p, "q=", 2) == 0;
        size_t shown = sql ? ACCESS_LINE_Q + 2 : n;

        if (shown > ACCESS_LINE_TARGET) shown = ACCESS_LINE_TARGET;
        put_url(out, p, shown);
        if (shown < n) buf_append_str(out, "...");
        p += n;
        if (*p) buf_append_u8(out, (uint8_t)*p++);
        query = true;
    }
}

/* Is it one field of a text line as it stands?  "-" would be nobody. */
static bool is_word(const char *user)
{
    for (const char *p = user; *p; p++)
        if ((uint8_t)*p <= ' ' || (uint8_t)*p >= 0x7f || *p == '"' || *p == '\\')
            return false;
    return *user && strcmp(user, "-") != 0;
}

/* client user [time] "method target" status bytes seconds id */
static void put_text(struct buf *b, const struct access_line *l, const char *time,
                     size_t time_len)
{
    buf_printf(b, "%s ", l->client);
    if (!l->user)
        buf_append_u8(b, '-');
    else if (is_word(l->user))
        buf_append_str(b, l->user);
    else
        logger_put_json(b, l->user, strlen(l->user));
    buf_printf(b, " [%.*s] \"", (int)time_len, time);
    put_url(b, l->method, strlen(l->method));
    buf_append_u8(b, ' ');
    put_target(b, l->target);
    buf_printf(b, "\" %d ", l->status);
    buf_append_u64(b, l->sent_bytes);
    buf_append_u8(b, ' ');
    json_put_seconds(b, l->elapsed_ns);
    buf_printf(b, " %s\n", l->id ? l->id : "-");
}

static void put_member(struct buf *b, const char *key, const char *text, size_t n)
{
    buf_printf(b, ",\"%s\":", key);
    logger_put_json(b, text, n);
}

static void put_json(struct buf *b, const struct access_line *l, const char *time,
                     size_t time_len)
{
    struct buf target;

    buf_init(&target, 0);
    put_target(&target, l->target);
    buf_append_str(b, "{\"time\":");
    logger_put_json(b, time, time_len);
    put_member(b, "component", "access", strlen("access"));
    put_member(b, "client", l->client, strlen(l->client));
    if (l->user) put_member(b, "user", l->user, strlen(l->user));
    put_member(b, "method", l->method, strlen(l->method));
    put_member(b, "target", (const char *)target.data, target.len);
    buf_printf(b, ",\"status\":%d,\"bytes\":", l->status);
    buf_append_u64(b, l->sent_bytes);
    buf_append_str(b, ",\"duration\":");
    json_put_seconds(b, l->elapsed_ns);
    if (l->id) put_member(b, "request_id", l->id, strlen(l->id));
    buf_append_str(b, "}\n");
    buf_fini(&target);
}

void access_line_put(struct buf *out, const struct access_line *l, bool json)
{
    char time[TEXT_TIME_MAX];
    size_t time_len = text_time(time, l->at_ns);

    if (json)
        put_json(out, l, time, time_len);
    else
        put_text(out, l, time, time_len);
}
