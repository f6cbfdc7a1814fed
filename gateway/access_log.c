/* SPDX-License-Identifier: MIT */
#include "gateway/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/logger.h"
#include "core/base/text.h"
#include "gateway/auth.h"
#include "gateway/json_write.h"
#include "gateway/observe.h"
#include "gateway/server.h"
#include "gateway/transport.h"

enum { FULL = 32 * 1024, CLIENT_LEFT = 499 };

struct access_log {
    struct gateway_thread *thread;
    const char *path; /* NULL: stdout or stderr */
    int fd;           /* owned if there is a path */
    dev_t device;
    ino_t inode;
    bool json, failing;
    struct buf lines;
    struct gateway_timer *timer; /* owned; set while there are lines */
};

static enum err open_file(struct access_log *l, struct why *why)
{
    int fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
    struct stat st;

    if (fd < 0) return why_errno(why, "failed to open access log %s", l->path);
    if (fstat(fd, &st) != 0) memset(&st, 0, sizeof st);
    if (l->fd >= 0) close(l->fd);
    l->fd = fd;
    l->device = st.st_dev;
    l->inode = st.st_ino;
    return ERR_OK;
}

/* Is the name still that of the file that we have open?  If not, what is written goes
 * where the name leads now; while that cannot be opened, to the old one. */
static void follow_name(struct access_log *l)
{
    struct stat st;
    struct why why;
    bool same =
        stat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode;
    enum err e = same ? ERR_OK : open_file(l, &why);

    if (e && !l->failing) logger_warn(l->thread->gateway->logger, "http", "%s", why.text);
    l->failing = e != ERR_OK;
}

static void flush(void *arg)
{
    struct access_log *l = arg;
    size_t at = 0;

    if (l->path && l->lines.len > 0) follow_name(l);
    while (at < l->lines.len) {
        ssize_t n = write(l->fd, l->lines.data + at, l->lines.len - at);

        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break; /* a full disk must not stop requests: the lines are lost */
        at += (size_t)n;
    }
    buf_clear(&l->lines);
}

enum err access_log_open(struct access_log **out, struct gateway_thread *t,
                         struct why *why)
{
    const char *name = t->gateway->options.access_log;
    struct access_log *l = calloc(1, sizeof *l);
    enum err e = ERR_OK;

    if (!l) return why_set(why, ERR_NOMEM, "out of memory for the access log");
    l->thread = t;
    l->json = logger_format(t->gateway->logger) == LOGGER_JSON;
    buf_init(&l->lines, 0);
    if (strcmp(name, "stdout") == 0) {
        l->fd = STDOUT_FILENO;
    } else if (strcmp(name, "stderr") == 0) {
        l->fd = STDERR_FILENO;
    } else {
        l->path = name;
        l->fd = -1;
        e = open_file(l, why);
    }
    if (!e) e = gateway_timer_new(&l->timer, t, flush, l);
    if (e) {
        access_log_close(l);
        return e;
    }
    *out = l;
    return ERR_OK;
}

void access_log_close(struct access_log *l)
{
    if (!l) return;
    flush(l);
    gateway_timer_free(l->timer);
    if (l->path && l->fd >= 0) close(l->fd);
    buf_fini(&l->lines);
    free(l);
}

/* --- lines ----------------------------------------------------------------------------
 */

/* The target as sent, but of a long statement in it only the beginning.  A quote would
 * end it in a text line. */
static void shorten(struct buf *out, const char *target)
{
    size_t begin = out->len;
    bool query = false;

    for (const char *p = target; *p && out->len - begin < ACCESS_LOG_TARGET;) {
        size_t n = strcspn(p, query ? "&" : "?");
        bool sql = query && n > ACCESS_LOG_Q + 2 && strncmp(p, "q=", 2) == 0;
        size_t shown = sql ? ACCESS_LOG_Q + 2 : n;

        if (shown > ACCESS_LOG_TARGET) shown = ACCESS_LOG_TARGET;
        for (size_t i = 0; i < shown; i++) {
            if (p[i] == '"')
                buf_append_str(out, "%22");
            else
                buf_append_u8(out, (uint8_t)p[i]);
        }
        if (shown < n) buf_append_str(out, "...");
        p += n;
        if (*p) buf_append_u8(out, (uint8_t)*p++);
        query = true;
    }
}

struct line {
    char time[TEXT_TIME_MAX];
    const char *client, *method, *target, *user, *id;
    size_t time_len, target_len;
    int status;
    uint64_t sent_bytes, elapsed_ns;
};

/* client user [time] "method target" status bytes seconds id */
static void put_text(struct buf *b, const struct line *l)
{
    buf_printf(b, "%s ", l->client);
    /* A name may hold anything: what would break the line apart is quoted. */
    if (l->user && (!*l->user || strpbrk(l->user, " \"\\") || strchr(l->user, 0x7f)))
        logger_put_json(b, l->user, strlen(l->user));
    else
        buf_append_str(b, l->user ? l->user : "-");
    buf_printf(b, " [%.*s] \"%s %.*s\" %d ", (int)l->time_len, l->time, l->method,
               (int)l->target_len, l->target, l->status);
    buf_append_u64(b, l->sent_bytes);
    buf_append_u8(b, ' ');
    json_put_seconds(b, l->elapsed_ns);
    buf_printf(b, " %s\n", l->id ? l->id : "-");
}

static void put_member(struct buf *b, const char *key, const char *text, size_t n)
{
    buf_printf(b, "%s\"%s\":", b->data[b->len - 1] == '{' ? "" : ",", key);
    json_put_string(b, text, n);
}

static void put_json(struct buf *b, const struct line *l)
{
    buf_append_u8(b, '{');
    if (buf_error(b)) return;
    put_member(b, "time", l->time, l->time_len);
    put_member(b, "component", "access", strlen("access"));
    put_member(b, "client", l->client, strlen(l->client));
    if (l->user) put_member(b, "user", l->user, strlen(l->user));
    put_member(b, "method", l->method, strlen(l->method));
    put_member(b, "target", l->target, l->target_len);
    buf_printf(b, ",\"status\":%d,\"bytes\":", l->status);
    buf_append_u64(b, l->sent_bytes);
    buf_append_str(b, ",\"duration\":");
    json_put_seconds(b, l->elapsed_ns);
    if (l->id) put_member(b, "request_id", l->id, strlen(l->id));
    buf_append_str(b, "}\n");
}

void access_log_line(struct access_log *l, const struct exchange *e, uint64_t sent_bytes,
                     uint64_t elapsed_ns)
{
    struct http_exchange *x = (struct http_exchange *)(uintptr_t)&e->x;
    char client[OBSERVE_CLIENT_MAX];
    const char *password;
    struct line line = {.client = observe_client(x, client),
                        .method = x->request.method_text,
                        .id = x->request_id,
                        .status = e->status ? e->status : CLIENT_LEFT,
                        .sent_bytes = sent_bytes,
                        .elapsed_ns = elapsed_ns};
    size_t before = l->lines.len;
    struct buf target;

    auth_credentials(x, &line.user, &password);
    line.time_len = text_time(line.time, clock_wall_ns(clock_real()));
    buf_init(&target, 0);
    shorten(&target, x->request.target);
    line.target = target.data ? (const char *)target.data : "";
    line.target_len = target.len;
    if (l->json)
        put_json(&l->lines, &line);
    else
        put_text(&l->lines, &line);
    buf_fini(&target);
    if (buf_error(&l->lines)) { /* then without this line */
        struct buf fresh = l->lines;

        buf_truncate(&fresh, before);
        fresh.error = ERR_OK;
        l->lines = fresh;
    }
    if (l->lines.len >= FULL) {
        gateway_timer_cancel(l->timer);
        flush(l);
    } else if (before == 0) {
        gateway_timer_set(l->timer, ACCESS_LOG_MS * UINT64_C(1000000));
    }
}
