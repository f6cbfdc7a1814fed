/* SPDX-License-Identifier: MIT */
/* /debug/vars and /debug/pprof (HTTP API 13.1, 13.2). */
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/metrics.h"
#include "gateway/api/api.h"

/* --- /debug/vars: every map a line, in the order of their names --- */

struct vars {
    struct buf body;
    const char *only; /* NULL: all maps */
    bool first;
};

/* Begin the line of a map; false if it is not asked for. */
static bool begin(struct vars *v, const char *name)
{
    if (v->only && strcmp(v->only, name) != 0) return false;
    if (!v->first) buf_append_str(&v->body, ",\n");
    v->first = false;
    buf_printf(&v->body, "\"%s\": ", name);
    return true;
}

static void write_cmdline(struct vars *v, const struct gateway *g)
{
    if (!begin(v, "cmdline")) return;
    buf_append_u8(&v->body, '[');
    for (const char *const *arg = g->options.argv; arg && *arg; arg++) {
        if (arg != g->options.argv) buf_append_u8(&v->body, ',');
        json_put_cstring(&v->body, *arg);
    }
    buf_append_u8(&v->body, ']');
}

static void write_memstats(struct vars *v)
{
    struct mallinfo2 m;
    size_t in_use, mapped;

    if (!begin(v, "memstats")) return;
    m = mallinfo2();
    in_use = m.uordblks + m.hblkhd;
    mapped = m.arena + m.hblkhd;
    buf_printf(
        &v->body,
        "{\"Alloc\": %zu, \"HeapAlloc\": %zu, \"HeapIdle\": %zu, \"HeapInuse\": %zu, "
        "\"HeapReleased\": 0, \"HeapSys\": %zu, \"NumGC\": 0, \"Sys\": %zu, "
        "\"TotalAlloc\": %zu}",
        in_use, in_use, m.fordblks, in_use, mapped, mapped, in_use);
}

/* The counters from first on that share a map; where the next map begins. */
static int write_map(struct vars *v, const struct metrics *m, int first)
{
    const char *name = metrics_map_name((enum metric)first);
    bool wanted = begin(v, name);
    int i = first;

    if (wanted) buf_append_u8(&v->body, '{');
    for (; i < METRIC_COUNT && strcmp(metrics_map_name((enum metric)i), name) == 0; i++) {
        if (!wanted) continue;
        buf_printf(&v->body, "%s\"%s\": ", i > first ? ", " : "",
                   metrics_key((enum metric)i));
        json_put_int(&v->body, metrics_get(m, (enum metric)i));
    }
    if (wanted) buf_append_u8(&v->body, '}');
    return i;
}

void api_vars(struct http_exchange *x, const struct params *p)
{
    const struct gateway *g = x->thread->gateway;
    struct vars v = {.first = true};
    bool cmdline = false, memstats = false;
    const char *name = "";

    if (params_has(p, PARAM_key)) v.only = params_text(p, PARAM_key).s;
    buf_init(&v.body, 0);
    buf_append_str(&v.body, "{\n");
    for (int i = 0; i < METRIC_COUNT;) {
        name = metrics_map_name((enum metric)i);
        if (!cmdline && strcmp(name, "cmdline") > 0) {
            write_cmdline(&v, g);
            cmdline = true;
        }
        if (!memstats && strcmp(name, "memstats") > 0) {
            write_memstats(&v);
            memstats = true;
        }
        i = write_map(&v, g->metrics, i);
    }
    buf_append_str(&v.body, "\n}\n");
    api_respond_json(x, API_JSON, &v.body);
    buf_fini(&v.body);
}

/* --- /debug/pprof --- */

static void respond_plain(struct http_exchange *x, const char *type, struct buf *body)
{
    struct http_response r = {.status = 200, .content_type = type};

    r.headers[r.n_headers++] = (struct http_header){"X-Content-Type-Options", "nosniff"};
    http_respond(x, &r, body);
    buf_fini(body);
}

static void show_index(struct http_exchange *x)
{
    static const char page[] =
        "<!DOCTYPE html>\n<html><head><title>/debug/pprof/</title></head>\n<body>\n"
        "<h1>/debug/pprof/</h1>\n<ul>\n"
        "<li><a href=\"/debug/pprof/cmdline\">cmdline</a>: the command line of this "
        "program</li>\n"
        "<li><a href=\"/debug/pprof/goroutine\">goroutine</a>: its threads, and where "
        "each waits</li>\n"
        "<li><a href=\"/debug/pprof/heap\">heap</a>: what its allocator says</li>\n"
        "</ul>\n</body></html>\n";
    struct buf body;

    buf_init(&body, 0);
    buf_append_str(&body, page);
    respond_plain(x, "text/html; charset=utf-8", &body);
}

static void show_cmdline(struct http_exchange *x)
{
    const char *const *argv = x->thread->gateway->options.argv;
    struct buf body;

    buf_init(&body, 0);
    for (const char *const *arg = argv; arg && *arg; arg++) {
        if (arg != argv) buf_append_u8(&body, 0);
        buf_append_str(&body, *arg);
    }
    respond_plain(x, API_TEXT, &body);
}

/* Append a small file of /proc, its last line end cut; nothing if it cannot be read. */
static void append_file(struct buf *out, const char *path)
{
    char text[4096];
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;

    if (f) fclose(f);
    while (n > 0 && text[n - 1] == '\n') n--;
    buf_append(out, text, n);
}

/* proc(5): the letter behind the command's name. */
static void append_state(struct buf *out, const char *id)
{
    char path[320], letter;
    size_t before = out->len;
    const uint8_t *end;

    snprintf(path, sizeof path, "/proc/self/task/%s/stat", id);
    append_file(out, path);
    end = out->len > before ? memrchr(out->data + before, ')', out->len - before) : NULL;
    letter = end && out->data + out->len - end > 2 ? (char)end[2] : '?';
    buf_truncate(out, before);
    buf_append_str(out, letter == 'R'   ? "running"
                        : letter == 'S' ? "sleeping"
                        : letter == 'D' ? "waiting for the disk"
                                        : "in another state");
}

/* One thread: name, state and what it waits for; its kernel stack where we may read it.
 */
static void append_thread(struct buf *out, const char *id)
{
    char path[320];
    size_t before;

    buf_printf(out, "thread %s [", id);
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", id);
    append_file(out, path);
    buf_append_str(out, "] ");
    append_state(out, id);
    buf_append_str(out, " in ");
    snprintf(path, sizeof path, "/proc/self/task/%s/wchan", id);
    before = out->len;
    append_file(out, path);
    if (out->len == before || (out->len == before + 1 && out->data[before] == '0')) {
        buf_truncate(out, before);
        buf_append_str(out, "user code");
    }
    buf_append_str(out, "\nsyscall ");
    snprintf(path, sizeof path, "/proc/self/task/%s/syscall", id);
    append_file(out, path);
    buf_append_u8(out, '\n');
    snprintf(path, sizeof path, "/proc/self/task/%s/stack", id);
    append_file(out, path);
    buf_append_str(out, "\n\n");
}

static void show_threads(struct http_exchange *x)
{
    DIR *d = opendir("/proc/self/task");
    const struct dirent *entry;
    struct buf body;

    buf_init(&body, 0);
    while (d && (entry = readdir(d)))
        if (entry->d_name[0] != '.') append_thread(&body, entry->d_name);
    if (d) closedir(d);
    respond_plain(x, API_TEXT, &body);
}

static void show_heap(struct http_exchange *x)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    struct buf body;

    buf_init(&body, 0);
    if (f) {
        malloc_info(0, f);
        fclose(f);
        buf_append(&body, text, n);
        free(text);
    }
    respond_plain(x, API_TEXT, &body);
}

void api_pprof(struct http_exchange *x, const struct params *p)
{
    static const struct {
        const char *name;
        void (*show)(struct http_exchange *x);
    } pages[] = {
        {"", show_index},           {"/", show_index},
        {"/cmdline", show_cmdline}, {"/goroutine", show_threads},
        {"/heap", show_heap},
    };
    const char *name = x->request.path + strlen("/debug/pprof");

    (void)p;
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (strcmp(pages[i].name, name) == 0) {
            pages[i].show(x);
            return;
        }
    }
    http_respond_text(x, 404, "Unknown profile");
}
