/* SPDX-License-Identifier: MIT */
/*
 * rqbench: sends one statement to a node many times and says how long that took.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/bench_options.h"
#include "core/base/buf.h"
#include "core/base/text.h"

/* A JSON array that holds the statement n times.  A statement that begins with a bracket,
 * which no SQL does, is JSON already: one with parameters, ["INSERT INTO t VALUES(?)",1].
 */
static void append_string(struct buf *out, const char *text)
{
    buf_append_u8(out, '"');
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_printf(out, "\\%c", *p);
        else if ((unsigned char)*p < 0x20)
            buf_printf(out, "\\u%04x", (unsigned)*p);
        else
            buf_append_u8(out, (uint8_t)*p);
    }
    buf_append_u8(out, '"');
}

static void append_body(struct buf *out, const char *statement, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        buf_append_u8(out, i == 0 ? '[' : ',');
        if (*statement == '[')
            buf_append_str(out, statement);
        else
            append_string(out, statement);
    }
    buf_append_u8(out, ']');
}

struct request {
    struct buf url, path, body;
};

static void request_fini(struct request *r)
{
    buf_fini(&r->url);
    buf_fini(&r->path);
    buf_fini(&r->body);
}

/* path with the flags that query names, added to the query string that is there. */
static enum err request_init(struct request *r, const struct bench_options *o,
                             const char *path, const char *query, const char *statement,
                             int64_t batch, struct why *why)
{
    memset(r, 0, sizeof(*r));
    buf_printf(&r->path, "%s%s%s%s", *path == '/' ? "" : "/", path,
               !*query             ? ""
               : strchr(path, '?') ? "&"
                                   : "?",
               query);
    buf_append(&r->path, "", 1);
    buf_printf(&r->url, "%s://%s%s", o->tls ? "https" : "http", o->addr,
               (char *)r->path.data);
    buf_append(&r->url, "", 1);
    append_body(&r->body, statement, batch);
    if (buf_error(&r->url) || buf_error(&r->path) || buf_error(&r->body))
        return why_set(why, ERR_NOMEM, "out of memory");
    return ERR_OK;
}

static void bench_of(struct bench *b, const struct bench_options *o,
                     const struct request *r)
{
    memset(b, 0, sizeof(*b));
    b->url = (const char *)r->url.data;
    b->addr = o->addr;
    b->path = (const char *)r->path.data;
    b->user = o->user;
    b->body = (const char *)r->body.data;
    b->body_len = r->body.len;
    b->conns = 1;
    b->requests = 1;
}

/* One request by itself; its time goes to *took_ns. */
static enum err send_once(const struct bench_options *o, const char *path,
                          const char *query, const char *statement, int64_t batch,
                          bool parse, uint64_t *took_ns, struct why *why)
{
    struct request request;
    struct bench bench;
    enum err e = request_init(&request, o, path, query, statement, batch, why);

    if (!e) {
        bench_of(&bench, o, &request);
        bench.parse = parse;
        e = bench_curl_run(&bench, why);
        *took_ns = bench.stats.sum_ns;
    }
    request_fini(&request);
    return e;
}

static void print_latency(const struct bench_stats *s)
{
    static const struct {
        const char *name;
        double share;
    } ROWS[] = {
        {"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p99.9", 0.999}};
    char text[TEXT_DURATION_MAX];

    text_duration(text, (int64_t)s->min_ns);
    printf("Latency min: %s\n", text);
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        text_duration(text, (int64_t)bench_stats_quantile(s, ROWS[i].share));
        printf("Latency %s: %s\n", ROWS[i].name, text);
    }
    text_duration(text, (int64_t)s->max_ns);
    printf("Latency max: %s\n", text);
}

static void print_totals(const struct bench_options *o, const struct bench *b)
{
    uint64_t total_ns = b->conns > 1 ? b->end_ns - b->begin_ns : b->stats.sum_ns;
    double seconds = (double)total_ns / 1e9;
    double rate = total_ns > 0 ? (double)b->stats.count / seconds : 0;
    char text[TEXT_DURATION_MAX];

    text_duration(text, (int64_t)total_ns);
    printf("Total duration: %s\n", text);
    printf("Requests/sec: %.2f\n", rate);
    printf("Statements/sec: %.2f\n", rate * (double)o->batch);
    if (o->duration_ns > 0)
        printf("Requests: %llu\n", (unsigned long long)b->stats.count);
    if (o->latency) print_latency(&b->stats);
}

static enum err run(const struct bench_options *o, struct bench *b, struct why *why)
{
    char text[TEXT_DURATION_MAX];
    uint64_t wait_ns;
    enum err e;

    if (o->queued) puts("using queued write tester");
    printf("Test target: %s\n", b->url);
    fflush(stdout);
    e = b->conns > 1 && !o->tls ? bench_epoll_run(b, why) : bench_curl_run(b, why);
    if (e || !o->queued) return e;

    e = send_once(o, o->path, "queue&wait", o->statement, o->batch, false, &wait_ns, why);
    if (e) return e;
    text_duration(text, (int64_t)wait_ns);
    printf("Queued tester wait request took %s\n", text);
    return ERR_OK;
}

/* Everything after the command line.  Says itself what went wrong. */
static enum err test(const struct bench_options *o)
{
    const char *query = o->queued ? "queue" : o->transaction ? "transaction" : "";
    struct why why = {0};
    struct request request = {0};
    struct bench *b = malloc(sizeof(*b));
    uint64_t ns;
    enum err e = ERR_OK;

    if (*o->once) e = send_once(o, "/db/execute", "", o->once, 1, true, &ns, &why);
    if (e) {
        printf("failed to execute oneshot: %s\n", why.text);
    } else {
        e = b ? request_init(&request, o, o->path, query, o->statement, o->batch, &why)
              : why_set(&why, ERR_NOMEM, "out of memory");
        if (!e) {
            bench_of(b, o, &request);
            b->parse = !o->queued;
            b->requests = (uint64_t)o->requests;
            b->duration_ns = (uint64_t)o->duration_ns;
            b->progress = (uint64_t)o->progress;
            b->conns = (unsigned)o->conns;
            e = run(o, b, &why);
        }
        if (e)
            printf("failed to run test: %s\n", why.text);
        else
            print_totals(o, b);
    }
    request_fini(&request);
    free(b);
    return e;
}

int main(int argc, char **argv)
{
    struct bench_options o;
    struct why why;
    enum err e = bench_options_parse(&o, argc, argv, &why);

    if (e) {
        fprintf(stderr, "%s\n", why.text);
        if (strcmp(o.transport, "http") == 0) bench_options_usage(stderr);
        return strcmp(o.transport, "http") == 0 ? 2 : 1;
    }
    if (o.help) {
        bench_options_usage(stdout);
        return 0;
    }
    if (o.man) {
        bench_options_man(stdout);
        return 0;
    }
    if (!o.statement) {
        bench_options_usage(stderr);
        return 1;
    }
    return test(&o) == ERR_OK ? 0 : 1;
}
