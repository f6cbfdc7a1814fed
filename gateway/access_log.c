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
#include "gateway/access_line.h"
#include "gateway/auth.h"
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

void access_log_line(struct access_log *l, const struct exchange *e, uint64_t sent_bytes,
                     uint64_t elapsed_ns)
{
    struct http_exchange *x = (struct http_exchange *)(uintptr_t)&e->x;
    char client[OBSERVE_CLIENT_MAX];
    const char *password;
    struct access_line line = {.at_ns = clock_wall_ns(clock_real()),
                               .client = observe_client(x, client),
                               .method = x->request.method_text,
                               .target = x->request.target,
                               .id = x->request_id,
                               .status = e->status ? e->status : CLIENT_LEFT,
                               .sent_bytes = sent_bytes,
                               .elapsed_ns = elapsed_ns};
    size_t before = l->lines.len;

    auth_credentials(x, &line.user, &password);
    access_line_put(&l->lines, &line, l->json);
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
