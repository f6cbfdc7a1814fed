/* SPDX-License-Identifier: MIT */
/*
 * The load test over libcurl: one connection with strictly one request after another, or
 * several at once (TLS; in the clear bench_epoll.c does that with less effort of its
 * own).
 */
#include "cli/bench.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "cli/words.h"
#include "core/base/buf.h"
#include "version.h"

struct transfer {
    CURL *easy; /* owned */
    struct buf reply;
    uint64_t sent_at_ns;
    char error[CURL_ERROR_SIZE];
};

struct driver {
    struct bench *bench;
    CURLM *multi;              /* owned; NULL with one connection */
    struct curl_slist *header; /* owned */
    struct transfer *transfers;
};

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;

    buf_append(&t->reply, data, size * n);
    return buf_error(&t->reply) ? 0 : size * n;
}

static enum err transfer_open(struct driver *d, struct transfer *t, struct why *why)
{
    struct bench *b = d->bench;
    const char *ca_file = getenv("SSL_CERT_FILE");

    buf_init(&t->reply, 0);
    t->easy = curl_easy_init();
    if (!t->easy) return why_set(why, ERR_NOMEM, "out of memory");
    curl_easy_setopt(t->easy, CURLOPT_URL, b->url);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(t->easy, CURLOPT_USERAGENT, "rqbench/" RQ_VERSION);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, d->header);
    curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, b->body);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)b->body_len);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    if (*b->user) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(t->easy, CURLOPT_USERPWD, b->user);
    }
    if (ca_file && *ca_file) curl_easy_setopt(t->easy, CURLOPT_CAINFO, ca_file);
    return ERR_OK;
}

static enum err transfer_failed(struct driver *d, struct transfer *t, CURLcode code,
                                struct why *why)
{
    const char *addr = d->bench->addr;
    char words[WORDS_ERRNO_MAX];
    long os_error = 0;

    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os_error);
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
    case CURLE_WRITE_ERROR: return why_set(why, ERR_NOMEM, "out of memory");
    case CURLE_COULDNT_CONNECT:
        why_set(why, ERR_UNREACHABLE, "dial tcp %s: connect: %s", addr,
                os_error ? words_errno((int)os_error, words) : curl_easy_strerror(code));
        break;
    case CURLE_COULDNT_RESOLVE_HOST:
        why_set(why, ERR_UNREACHABLE, "dial tcp: lookup %.*s: no such host",
                (int)strcspn(addr, ":"), addr);
        break;
    case CURLE_GOT_NOTHING: why_set(why, ERR_UNREACHABLE, "EOF"); break;
    default:
        why_set(why, ERR_UNREACHABLE, "%s",
                *t->error ? t->error : curl_easy_strerror(code));
    }
    return err_wrap(why, ERR_UNREACHABLE, "Post \"%s\"", d->bench->url);
}

static enum err transfer_done(struct driver *d, struct transfer *t, CURLcode code,
                              struct why *why)
{
    long status = 0;
    enum err e;

    if (code) return transfer_failed(d, t, code, why);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    e = bench_done_one(d->bench, bench_now_ns() - t->sent_at_ns, (int)status,
                       (const char *)t->reply.data, t->reply.len, why);
    buf_clear(&t->reply);
    return e;
}

static enum err run_one(struct driver *d, struct why *why)
{
    struct transfer *t = d->transfers;
    enum err e = ERR_OK;

    while (!e && bench_start_one(d->bench, bench_now_ns())) {
        t->sent_at_ns = bench_now_ns();
        e = transfer_done(d, t, curl_easy_perform(t->easy), why);
    }
    return e;
}

static enum err start_next(struct driver *d, struct transfer *t, size_t *busy,
                           struct why *why)
{
    t->sent_at_ns = bench_now_ns();
    if (!bench_start_one(d->bench, t->sent_at_ns)) return ERR_OK;
    if (curl_multi_add_handle(d->multi, t->easy))
        return why_set(why, ERR_NOMEM, "out of memory");
    ++*busy;
    return ERR_OK;
}

static enum err run_many(struct driver *d, struct why *why)
{
    enum err e = ERR_OK;
    size_t busy = 0;
    int running, queued;
    CURLMsg *message;

    for (unsigned i = 0; i < d->bench->conns && !e; i++)
        e = start_next(d, &d->transfers[i], &busy, why);
    while (!e && busy > 0) {
        CURLMcode code = curl_multi_perform(d->multi, &running);
        while (!e && (message = curl_multi_info_read(d->multi, &queued)) != NULL) {
            CURL *easy = message->easy_handle;
            CURLcode result = message->data.result;
            struct transfer *t = NULL;
            curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
            busy--;
            curl_multi_remove_handle(d->multi, easy);
            e = transfer_done(d, t, result, why);
            if (!e) e = start_next(d, t, &busy, why);
        }
        if (!e && !code && busy > 0)
            code = curl_multi_poll(d->multi, NULL, 0, 1000, NULL);
        if (!e && code) e = why_set(why, ERR_IO, "%s", curl_multi_strerror(code));
    }
    return e;
}

enum err bench_curl_run(struct bench *b, struct why *why)
{
    struct driver d = {.bench = b};
    enum err e = ERR_OK;

    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return why_set(why, ERR_NOMEM, "out of memory");
    d.header = curl_slist_append(NULL, "Content-Type: application/json");
    d.transfers = calloc(b->conns, sizeof(*d.transfers));
    if (b->conns > 1) d.multi = curl_multi_init();
    if (!d.header || !d.transfers || (b->conns > 1 && !d.multi))
        e = why_set(why, ERR_NOMEM, "out of memory");
    for (unsigned i = 0; i < b->conns && !e; i++)
        e = transfer_open(&d, &d.transfers[i], why);

    b->begin_ns = bench_now_ns();
    if (!e) e = d.multi ? run_many(&d, why) : run_one(&d, why);
    b->end_ns = bench_now_ns();

    for (unsigned i = 0; d.transfers && i < b->conns; i++) {
        struct transfer *t = &d.transfers[i];
        if (d.multi && t->easy) curl_multi_remove_handle(d.multi, t->easy);
        if (t->easy) curl_easy_cleanup(t->easy);
        buf_fini(&t->reply);
    }
    if (d.multi) curl_multi_cleanup(d.multi);
    curl_slist_free_all(d.header);
    free(d.transfers);
    curl_global_cleanup();
    return e;
}
