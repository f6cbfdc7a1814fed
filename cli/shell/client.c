/* SPDX-License-Identifier: MIT */
#include "cli/shell/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/shell/cancel.h"
#include "cli/words.h"
#include "core/base/logger.h"
#include "version.h"

enum { MOST_REDIRECTS = 21 };

struct client {
    char *scheme, *prefix, *ca_cert, *client_cert, *client_key, *credentials; /* owned */
    char **hosts;                                                             /* owned */
    size_t n_hosts, current; /* current < n_hosts */
    bool insecure;
    uint64_t timeout_ms;
    char *no_proxy; /* owned */
    CURLM *multi;   /* owned; keeps the connections */
    CURL *easy;     /* owned */
    struct logger *logger;
    char error[CURL_ERROR_SIZE];
};

/* --- opening
 * ---------------------------------------------------------------------------------- */

static enum err check_file(const char *path, struct why *why)
{
    char words[WORDS_ERRNO_MAX];

    if (*path == '\0' || access(path, R_OK) == 0) return ERR_OK;
    return why_set(why, ERR_INVALID, "open %s: %s", path, words_errno(errno, words));
}

/* Takes host, which may be NULL. */
static bool add_host(struct client *c, char *host)
{
    char **hosts = host ? realloc(c->hosts, (c->n_hosts + 1) * sizeof(*hosts)) : NULL;

    if (!hosts) {
        free(host);
        return false;
    }
    c->hosts = hosts;
    c->hosts[c->n_hosts++] = host;
    return true;
}

static bool add_hosts(struct client *c, const struct client_config *config)
{
    const bool bare_ipv6 = strchr(config->host, ':') && *config->host != '[';
    char *host;

    if (asprintf(&host, bare_ipv6 ? "[%s]:%u" : "%s:%u", config->host, config->port) <
            0 ||
        !add_host(c, host))
        return false;
    for (const char *p = config->alternatives; *p;) {
        size_t len, end = strcspn(p, ",");
        const char *next = p + end + (p[end] == ',');
        while (end > 0 && strchr(" \t", *p)) p++, end--;
        for (len = end; len > 0 && strchr(" \t", p[len - 1]); len--) continue;
        if (len > 0 && !add_host(c, strndup(p, len))) return false;
        p = next;
    }
    return true;
}

/* A proxy is never asked for what is on this machine. */
static char *no_proxy_list(void)
{
    const char *set = getenv("NO_PROXY") ? getenv("NO_PROXY") : getenv("no_proxy");
    char *list = NULL;

    if (asprintf(&list, "localhost,127.0.0.0/8,::1%s%s", set && *set ? "," : "",
                 set ? set : "") < 0)
        return NULL;
    return list;
}

/* "/", "/a/": with a slash on both sides. */
static char *whole_prefix(const char *prefix)
{
    size_t len = strlen(prefix);
    char *whole = NULL;

    if (asprintf(&whole, "%s%s%s", *prefix == '/' ? "" : "/", prefix,
                 len > 0 && prefix[len - 1] != '/' ? "/" : "") < 0)
        return NULL;
    return whole;
}

enum err client_open(struct client **out, const struct client_config *config,
                     struct why *why)
{
    struct client *c = calloc(1, sizeof(*c));
    enum err e = check_file(config->ca_cert, why);

    if (!e) e = check_file(config->client_cert, why);
    if (!e) e = check_file(config->client_key, why);
    if (e) {
        free(c);
        return e;
    }
    if (!c || curl_global_init(CURL_GLOBAL_DEFAULT)) {
        free(c);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    c->insecure = config->insecure;
    c->timeout_ms = config->timeout_ms;
    c->scheme = strdup(config->scheme);
    c->prefix = whole_prefix(config->prefix);
    c->ca_cert = strdup(config->ca_cert);
    c->client_cert = strdup(config->client_cert);
    c->client_key = strdup(config->client_key);
    c->credentials = strdup(config->credentials);
    c->no_proxy = no_proxy_list();
    c->multi = curl_multi_init();
    c->easy = curl_easy_init();
    if (!c->scheme || !c->prefix || !c->ca_cert || !c->client_cert || !c->client_key ||
        !c->credentials || !c->no_proxy || !c->multi || !c->easy ||
        !add_hosts(c, config) || logger_new(&c->logger, STDERR_FILENO, LOGGER_INFO)) {
        client_close(c);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    *out = c;
    return ERR_OK;
}

void client_close(struct client *c)
{
    if (!c) return;
    if (c->easy) curl_easy_cleanup(c->easy);
    if (c->multi) curl_multi_cleanup(c->multi);
    for (size_t i = 0; i < c->n_hosts; i++) free(c->hosts[i]);
    free(c->hosts);
    free(c->scheme);
    free(c->prefix);
    free(c->ca_cert);
    free(c->client_cert);
    free(c->client_key);
    free(c->credentials);
    free(c->no_proxy);
    logger_free(c->logger);
    free(c);
    curl_global_cleanup();
}

const char *client_host(const struct client *c)
{
    return c->hosts[c->current];
}

const char *client_scheme(const struct client *c)
{
    return c->scheme;
}

/* --- one exchange
 * ----------------------------------------------------------------------------- */

struct exchange {
    struct client *client;
    const struct client_request *request;
    struct client_reply *reply;
    size_t sent;      /* bytes of the body's memory part */
    bool local_error; /* the fault is on this side: no other host would help */
    struct why why;   /* of that fault */
};

static size_t on_read(char *out, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    const struct client_body *body = &x->request->body;
    size_t room = size * n, got = 0;

    if (body->file) {
        got = fread(out, 1, room, body->file);
        if (got == 0 && ferror(body->file)) {
            x->local_error = true;
            why_errno(&x->why, "read");
            return CURL_READFUNC_ABORT;
        }
    }
    if (got > 0) return got;
    got = body->len - x->sent < room ? body->len - x->sent : room;
    if (got > 0) memcpy(out, (const char *)body->data + x->sent, got);
    x->sent += got;
    return got;
}

static bool rewind_body(struct exchange *x)
{
    x->sent = 0;
    return !x->request->body.file || fseeko(x->request->body.file, 0, SEEK_SET) == 0;
}

/* libcurl sends the body anew after a redirect: always from the start. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    return offset == 0 && origin == SEEK_SET && rewind_body(arg) ? CURL_SEEKFUNC_OK
                                                                 : CURL_SEEKFUNC_FAIL;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    long status = 0;

    curl_easy_getinfo(x->client->easy, CURLINFO_RESPONSE_CODE, &status);
    if (x->request->download && status == 200) {
        if (fwrite(data, 1, size * n, x->request->download) == size * n) return size * n;
        x->local_error = true;
        why_errno(&x->why, "write");
        return 0;
    }
    buf_append(&x->reply->body, data, size * n);
    if (!buf_error(&x->reply->body)) return size * n;
    x->local_error = true;
    why_set(&x->why, ERR_NOMEM, "out of memory");
    return 0;
}

static enum err body_size(const struct client_body *body, curl_off_t *out,
                          struct why *why)
{
    off_t file = 0;

    if (body->file) {
        if (fseeko(body->file, 0, SEEK_END) < 0 || (file = ftello(body->file)) < 0)
            return why_errno(why, "seek");
    }
    *out = (curl_off_t)file + (curl_off_t)body->len;
    return ERR_OK;
}

static void set_tls(const struct client *c)
{
    const char *ca = *c->ca_cert ? c->ca_cert : getenv("SSL_CERT_FILE");

    if (ca && *ca) curl_easy_setopt(c->easy, CURLOPT_CAINFO, ca);
    if (*c->client_cert) curl_easy_setopt(c->easy, CURLOPT_SSLCERT, c->client_cert);
    if (*c->client_key) curl_easy_setopt(c->easy, CURLOPT_SSLKEY, c->client_key);
    curl_easy_setopt(c->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYPEER, c->insecure ? 0L : 1L);
    curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYHOST, c->insecure ? 0L : 2L);
}

static void set_proxy(const struct client *c)
{
    const char *proxy =
        getenv("HTTP_PROXY"); /* libcurl itself reads the other spellings only */

    curl_easy_setopt(c->easy, CURLOPT_NOPROXY, c->no_proxy);
    if (proxy && *proxy && !getenv("http_proxy") && strcmp(c->scheme, "http") == 0)
        curl_easy_setopt(c->easy, CURLOPT_PROXY, proxy);
}

static enum err set_request(struct exchange *x, const char *url,
                            struct curl_slist **headers, struct why *why)
{
    const struct client_request *request = x->request;
    CURL *easy = x->client->easy;
    curl_off_t size = 0;
    char type[128];
    enum err e = body_size(&request->body, &size, why);

    if (e || !rewind_body(x)) return e ? e : why_errno(why, "seek");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    if (request->body.type) {
        snprintf(type, sizeof(type), "Content-Type: %s", request->body.type);
        *headers = curl_slist_append(NULL, type);
        if (!*headers) return why_set(why, ERR_NOMEM, "out of memory");
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, *headers);
    }
    if (request->body.type || strcmp(request->method, "GET") != 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, x);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, x);
        if (strcmp(request->method, "POST") != 0)
            curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    }
    return ERR_OK;
}

static void set_common(struct exchange *x)
{
    const struct client *c = x->client;

    curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(c->easy, CURLOPT_USERAGENT, "rqlite/" RQ_VERSION);
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c->easy, CURLOPT_MAXREDIRS, (long)MOST_REDIRECTS);
    curl_easy_setopt(c->easy, CURLOPT_POSTREDIR, (long)CURL_REDIR_POST_ALL);
    if (c->timeout_ms > 0) {
        curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)c->timeout_ms);
        if (!x->request->no_timeout)
            curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
    }
    if (*c->credentials) {
        curl_easy_setopt(c->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(c->easy, CURLOPT_USERPWD, c->credentials);
        /* The leader that we are redirected to wants to know as well who asks. */
        curl_easy_setopt(c->easy, CURLOPT_UNRESTRICTED_AUTH, 1L);
    }
    set_tls(c);
    set_proxy(c);
}

/* Run what is set up until it is done or Ctrl-C is pressed. */
static enum err perform(struct client *c, CURLcode *result, struct why *why)
{
    struct curl_waitfd cancel = {.fd = cancel_fd(), .events = CURL_WAIT_POLLIN};
    unsigned n_cancel = cancel.fd >= 0;
    CURLMcode code = curl_multi_add_handle(c->multi, c->easy);
    int running = 1, queued;

    while (!code && !cancel_wished()) {
        code = curl_multi_perform(c->multi, &running);
        if (code || running == 0) break;
        code = curl_multi_poll(c->multi, n_cancel ? &cancel : NULL, n_cancel, 1000, NULL);
    }
    if (!code && running == 0) {
        CURLMsg *message = curl_multi_info_read(c->multi, &queued);
        *result = message ? message->data.result : CURLE_OK;
    }
    curl_multi_remove_handle(c->multi, c->easy);
    if (code) return why_set(why, ERR_IO, "%s", curl_multi_strerror(code));
    return running ? why_set(why, ERR_CANCELLED, "request canceled") : ERR_OK;
}

/* Why a host is unavailable, or what is wrong whichever host is asked. */
static enum err explain(struct exchange *x, CURLcode code, struct why *why)
{
    char words[WORDS_ERRNO_MAX];
    long os_error = 0;

    if (x->local_error) return why_set(why, x->why.code, "%s", x->why.text);
    curl_easy_getinfo(x->client->easy, CURLINFO_OS_ERRNO, &os_error);
    switch (code) {
    case CURLE_TOO_MANY_REDIRECTS: return why_set(why, ERR_INVALID, "too many redirects");
    case CURLE_OUT_OF_MEMORY: return why_set(why, ERR_NOMEM, "out of memory");
    case CURLE_OPERATION_TIMEDOUT:
        return why_set(why, ERR_UNREACHABLE, "request timed out");
    case CURLE_COULDNT_RESOLVE_HOST: return why_set(why, ERR_UNREACHABLE, "no such host");
    case CURLE_GOT_NOTHING:
        return why_set(why, ERR_UNREACHABLE, "connection closed without answer");
    default: break;
    }
    if (os_error != 0)
        return why_set(why, ERR_UNREACHABLE, "%s", words_errno((int)os_error, words));
    return why_set(why, ERR_UNREACHABLE, "%s",
                   *x->client->error ? x->client->error : curl_easy_strerror(code));
}

static enum err reset_download(FILE *download, struct why *why)
{
    if (!download) return ERR_OK;
    rewind(download);
    return ftruncate(fileno(download), 0) < 0 && errno != EINVAL
               ? why_errno(why, "truncate")
               : ERR_OK;
}

static enum err send_to(struct client *c, const char *url,
                        const struct client_request *request, struct client_reply *reply,
                        struct why *why)
{
    struct exchange x = {.client = c, .request = request, .reply = reply};
    struct curl_slist *headers = NULL;
    struct curl_header *version = NULL;
    CURLcode code = CURLE_OK;
    long status = 0;
    enum err e = reset_download(request->download, why);

    if (e) return e;
    buf_clear(&reply->body);
    c->error[0] = '\0';
    curl_easy_reset(c->easy);
    set_common(&x);
    e = set_request(&x, url, &headers, why);
    if (!e) e = perform(c, &code, why);
    if (!e && code) e = explain(&x, code, why);
    if (!e) {
        curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
        reply->status = (int)status;
        if (!curl_easy_header(c->easy, "X-Rqlite-Version", 0, CURLH_HEADER, -1, &version))
            snprintf(reply->version, sizeof(reply->version), "%s", version->value);
        buf_append(&reply->body, "", 1);
        if (buf_error(&reply->body))
            e = why_set(why, ERR_NOMEM, "out of memory");
        else
            buf_truncate(&reply->body, reply->body.len - 1);
    }
    curl_slist_free_all(headers);
    return e;
}

/* --- all hosts
 * -------------------------------------------------------------------------------- */

enum err client_send(struct client *c, const struct client_request *request,
                     struct client_reply *reply, struct why *why)
{
    enum err e = ERR_OK;

    memset(reply, 0, sizeof(*reply));
    buf_init(&reply->body, 0);
    if (request->url) return send_to(c, request->url, request, reply, why);

    for (size_t i = 0; i < c->n_hosts; i++) {
        size_t host = (c->current + i) % c->n_hosts;
        struct why cause = {0};
        char *url = NULL;
        if (asprintf(&url, "%s://%s%s%s", c->scheme, c->hosts[host], c->prefix,
                     request->path) < 0)
            return why_set(why, ERR_NOMEM, "out of memory");
        e = send_to(c, url, request, reply, &cause);
        free(url);
        if (!e) c->current = host;
        if (e != ERR_UNREACHABLE) return e ? why_set(why, e, "%s", cause.text) : ERR_OK;
        logger_warn(c->logger, "client",
                    "host '%s' is unavailable, retrying with the next available host: %s",
                    c->hosts[host], cause.text);
    }
    logger_warn(c->logger, "client", "none of the available hosts are responsive");
    return why_set(why, ERR_UNREACHABLE, "no host available to perform the request");
}

void client_reply_fini(struct client_reply *reply)
{
    buf_fini(&reply->body);
}

void client_append_escaped(struct buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                     (c >= 'a' && c <= 'z') || (c && strchr("-_.~", c));
        if (plain)
            buf_append_u8(out, c);
        else
            buf_printf(out, "%%%02X", c);
    }
}
