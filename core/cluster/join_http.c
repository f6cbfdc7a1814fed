/* SPDX-License-Identifier: MIT */
#include "core/cluster/join_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "core/base/buf.h"
#include "core/cluster/json.h"

enum {
    ANSWER_MAX = 1 << 20,
    ANSWER_MS = 5000,
    PROBE_MS = 2000,
    REDIRECTS_MAX = 5,
    SHOWN_MAX = 200 /* bytes of an answer in a log line */
};

struct exchange {
    const struct join_options *o;
    const struct address *t;
    const char *path;
    const char *body; /* NULL: GET */
    long timeout_ms;
    struct buf answer; /* result, as the next */
    long status;
    char error[CURL_ERROR_SIZE];
};

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;

    buf_append(&x->answer, data, size * n);
    return x->answer.error ? 0 : size * n;
}

/* Configured so that nothing but the request asked for is ever made. */
static void set_up(CURL *c, struct exchange *x, const char *url, struct curl_slist *heads)
{
    const struct join_options *o = x->o;
    const struct address *t = x->t;
    long connect_ms = o->asker.connect_ms ? (long)o->asker.connect_ms : 30000;
    const char *user = t->user[0] ? t->user : o->asker.user;
    const char *password = t->user[0] ? t->password : o->asker.password;

    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_POSTREDIR, (long)CURL_REDIR_POST_ALL);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, connect_ms + x->timeout_ms);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, x->error);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    if (o->source_ip) curl_easy_setopt(c, CURLOPT_INTERFACE, o->source_ip);
    if (o->ca_file) curl_easy_setopt(c, CURLOPT_CAINFO, o->ca_file);
    if (o->http_no_verify) {
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (user) {
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(c, CURLOPT_USERNAME, user);
        curl_easy_setopt(c, CURLOPT_PASSWORD, password ? password : "");
    }
    if (x->body) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, x->body);
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, heads);
    }
}

/* Run it, looking at cancel_fd as well. */
static enum err perform(CURLM *multi, CURL *c, struct exchange *x, struct why *why)
{
    struct curl_waitfd stop = {.fd = x->o->asker.cancel_fd, .events = CURL_WAIT_POLLIN};
    unsigned n_stop = stop.fd >= 0;
    int running = 1;

    for (;;) {
        CURLMcode rc = curl_multi_perform(multi, &running);
        CURLMsg *m;

        if (rc == CURLM_OK && running)
            rc = curl_multi_poll(multi, &stop, n_stop, 1000, NULL);
        if (rc != CURLM_OK) return why_set(why, ERR_IO, "%s", curl_multi_strerror(rc));
        if (stop.revents) return why_set(why, ERR_CANCELLED, "canceled");
        if (running) continue;
        m = curl_multi_info_read(multi, &running);
        if (m && m->data.result == CURLE_OK) break;
        return why_set(why, ERR_UNREACHABLE, "%s",
                       x->error[0] ? x->error
                       : m         ? curl_easy_strerror(m->data.result)
                                   : "no answer");
    }
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &x->status);
    return ERR_OK;
}

/* ERR_OK: there is an answer, of whatever status. */
static enum err run(struct exchange *x, struct why *why)
{
    struct curl_slist *heads = NULL;
    char url[ADDRESS_URL_MAX + 64], base[ADDRESS_URL_MAX];
    CURLM *multi = curl_multi_init();
    CURL *c = curl_easy_init();
    enum err e = why_set(why, ERR_NOMEM, "out of memory");

    buf_init(&x->answer, ANSWER_MAX);
    address_text(x->t, base);
    snprintf(url, sizeof url, "%s%s", base, x->path);
    if (x->body) heads = curl_slist_append(NULL, "Content-Type: application/json");
    if (multi && c && (heads || !x->body)) {
        set_up(c, x, url, heads);
        if (curl_multi_add_handle(multi, c) == CURLM_OK) {
            e = perform(multi, c, x, why);
            curl_multi_remove_handle(multi, c);
        }
    }
    curl_easy_cleanup(c);
    curl_multi_cleanup(multi);
    curl_slist_free_all(heads);
    return e;
}

static enum err check_status(const struct exchange *x, struct why *why)
{
    if (x->status == 200) return ERR_OK;
    return why_set(why, x->status == 401 ? ERR_UNAUTHORIZED : ERR_UNREACHABLE,
                   "HTTP status %ld: (%.*s)", x->status,
                   x->answer.len < SHOWN_MAX ? (int)x->answer.len : SHOWN_MAX,
                   x->answer.data ? (const char *)x->answer.data : "");
}

static enum err get(const struct join_options *o, const struct address *t,
                    const char *path, char out[ASK_ADDR_MAX],
                    enum err (*read)(char *, size_t, const void *, size_t, struct why *),
                    struct why *why)
{
    struct exchange x = {.o = o, .t = t, .path = path, .timeout_ms = ANSWER_MS};
    enum err e = run(&x, why);

    if (!e) e = check_status(&x, why);
    if (!e) e = read(out, ASK_ADDR_MAX, x.answer.data, x.answer.len, why);
    buf_fini(&x.answer);
    return e;
}

enum err join_http_own(const struct join_options *o, const struct address *t,
                       char out[ASK_ADDR_MAX], struct why *why)
{
    return get(o, t, "/status", out, json_read_own_addr, why);
}

enum err join_http_find(const struct join_options *o, const struct address *t,
                        char out[ASK_ADDR_MAX], struct why *why)
{
    enum err e = get(o, t, "/nodes?ver=2", out, json_read_nodes, why);

    /* No member of anything, but it may become one, or the list is not for us. */
    if (e == ERR_NOT_FOUND && join_http_own(o, t, out, NULL) == ERR_OK) e = ERR_OK;
    return e;
}

static enum err post(const struct join_options *o, const struct address *t,
                     const char *path, struct why *why)
{
    struct exchange x = {.o = o, .t = t, .path = path, .timeout_ms = ANSWER_MS};
    char *body = json_join_body(o->id, o->raft_addr, o->voter);
    enum err e = body ? ERR_OK : why_set(why, ERR_NOMEM, "out of memory");

    x.body = body;
    if (!e) e = run(&x, why);
    if (!e) e = check_status(&x, why);
    if (body) buf_fini(&x.answer);
    free(body);
    return e;
}

enum err join_http_post(const struct join_options *o, const struct address *t,
                        struct why *why)
{
    return post(o, t, "/join", why);
}

enum err join_http_notify(const struct join_options *o, const struct address *t,
                          struct why *why)
{
    return post(o, t, "/notify", why);
}

bool join_http_serves(const struct join_options *o, const struct address *t,
                      struct address *as)
{
    struct join_options probe = *o;

    /* Nobody knows yet who that is. */
    probe.http_no_verify = true;
    probe.asker.user = probe.asker.password = NULL;
    probe.asker.connect_ms = PROBE_MS;
    /* HTTPS first: its port has an answer to clear text as well, a refusal. */
    for (int https = 1; https >= 0; https--) {
        struct exchange x = {
            .o = &probe, .t = as, .path = "/status", .timeout_ms = PROBE_MS};
        enum err e;

        if (!https && o->encrypted && o->asker.user) break;
        *as = *t;
        as->http = true;
        as->https = https;
        e = run(&x, NULL);
        buf_fini(&x.answer);
        if (!e) return true;
        if (e == ERR_CANCELLED) break;
    }
    return false;
}
