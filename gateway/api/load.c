/* SPDX-License-Identifier: MIT */
/* POST /db/load and /boot (HTTP API 10.2, 10.3): a SQLite file or SQL text, from the
 * scratch file that the body was spooled to. */
#include <string.h>
#include <unistd.h>

#include "gateway/api/api.h"
#include "gateway/pack.h"

static const char magic[] = "SQLite format";

enum {
    HEAD = 4096,       /* of SQL text, looked at for a refused PRAGMA */
    SQLITE_HEADER = 32 /* less is no SQLite file */
};

static const struct api_endpoint script_endpoint = {API_DATA, "load", API_TEXT};
static const struct api_endpoint file_endpoint = {API_FILE, "load", API_TEXT};
static const struct api_endpoint boot_endpoint = {API_BOOT, "boot", NULL};

/* The first bytes of the body; -1 if the file cannot be read. */
static ssize_t body_head(const struct http_request *r, char *out, size_t cap)
{
    if (r->body_kind == HTTP_BODY_FILE)
        return r->body_size > 0 ? pread(r->body_fd, out, cap, 0) : 0;
    if (r->body.len < cap) cap = r->body.len;
    if (cap > 0) memcpy(out, r->body.data, cap);
    return (ssize_t)cap;
}

static bool is_sqlite(const char *head, ssize_t n)
{
    return n > (ssize_t)strlen(magic) && memcmp(head, magic, strlen(magic)) == 0;
}

static void answer_load(struct api_call *a)
{
    api_answer_results(a, 0);
}

/* An empty body is a request without statements. */
static void load_nothing(struct http_exchange *x, const struct params *p)
{
    Rqlite__ExecuteRequest message = RQLITE__EXECUTE_REQUEST__INIT;
    struct backend *b = api_backend(x);
    struct api_call *a = api_call_new(x, p, &script_endpoint, answer_load);

    if (!a) return;
    a->c.execute.request = pack_execute(&message, CALL_SPARE);
    if (!a->c.execute.request) {
        http_respond_text(x, 500, "out of memory");
        api_call_end(a);
        return;
    }
    a->c.execute.sink = api_call_sink(a);
    b->ops->execute(b, &a->c.execute);
}

void api_load(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    const struct http_request *r = &x->request;
    char head[HEAD];
    ssize_t n = body_head(r, head, sizeof head);
    bool script = !is_sqlite(head, n);
    struct api_call *a;

    if (n < 0) {
        http_respond_text(x, 500, "the body could not be read back");
        return;
    }
    if (n == 0) {
        load_nothing(x, p);
        return;
    }
    if (script && b->ops->disallowed(b, head, (size_t)n)) {
        api_respond_top_level(x, p, API_TEXT, "disallowed pragma");
        return;
    }
    a = api_call_new(x, p, script ? &script_endpoint : &file_endpoint, answer_load);
    if (!a) return;
    a->c.load.script = script;
    a->c.load.fd = r->body_fd;
    a->c.load.size = r->body_size;
    a->c.load.sink = api_call_sink(a);
    b->ops->load(b, &a->c.load);
}

static void answer_boot(struct api_call *a)
{
    if (a->c.call.why.code)
        respond_failed(a->x, a->params, a->endpoint, &a->c.call);
    else
        http_respond_empty(a->x, 200, NULL);
}

void api_boot(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    char head[SQLITE_HEADER];
    ssize_t n = body_head(&x->request, head, sizeof head);
    struct api_call *a;

    if (n < SQLITE_HEADER || !is_sqlite(head, n)) {
        http_respond_text(x, 400, "invalid SQLite data");
        return;
    }
    a = api_call_new(x, p, &boot_endpoint, answer_boot);
    if (!a) return;
    a->c.boot.fd = x->request.body_fd;
    a->c.boot.size = x->request.body_size;
    b->ops->boot(b, &a->c.boot);
}
