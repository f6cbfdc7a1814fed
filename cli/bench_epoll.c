/* SPDX-License-Identifier: MIT */
/*
 * Many connections from one thread: an epoll loop over HTTP/1.1 keep-alive sockets.
 *
 * Why not libcurl, as everywhere else in cli/: the load generator usually shares a
 * machine with the node it measures.  libcurl's multi interface spends several times what
 * this loop does on each request, so that above ten thousand requests a second we would
 * measure it instead of the node. The request is built once; after that a request costs
 * one send() and one recv(), and epoll_wait() is shared by all that are ready.
 *
 * Each connection has at most one request under way, and goes round
 *
 *     send -> wait for the whole reply -> judge it, note the time -> send
 *
 * until bench_start_one() says that it was the last.
 */
#include "cli/bench.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/bench_reply.h"
#include "cli/words.h"
#include "core/base/buf.h"
#include "version.h"

struct conn {
    int fd; /* -1 = not connected */
    bool busy;
    size_t sent; /* bytes of the request */
    uint64_t sent_at_ns;
    struct buf in;
};

struct loop {
    struct bench *bench;
    struct addrinfo *addrs; /* owned */
    struct buf request;
    struct conn *conns; /* owned */
    int epoll;
    size_t busy; /* connections with a request under way */
};

/* --- the request
 * ------------------------------------------------------------------------------ */

static void append_base64(struct buf *b, const char *s)
{
    static const char DIGITS[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)(uint8_t)s[i] << 16;
        if (i + 1 < n) v |= (uint32_t)(uint8_t)s[i + 1] << 8;
        if (i + 2 < n) v |= (uint8_t)s[i + 2];
        buf_append_u8(b, (uint8_t)DIGITS[v >> 18]);
        buf_append_u8(b, (uint8_t)DIGITS[v >> 12 & 63]);
        buf_append_u8(b, i + 1 < n ? (uint8_t)DIGITS[v >> 6 & 63] : '=');
        buf_append_u8(b, i + 2 < n ? (uint8_t)DIGITS[v & 63] : '=');
    }
}

static enum err build_request(struct loop *l, struct why *why)
{
    const struct bench *b = l->bench;

    buf_printf(&l->request,
               "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: rqbench/" RQ_VERSION "\r\n",
               b->path, b->addr);
    if (*b->user) {
        buf_append_str(&l->request, "Authorization: Basic ");
        append_base64(&l->request, b->user);
        buf_append_str(&l->request, "\r\n");
    }
    buf_printf(&l->request,
               "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
               b->body_len);
    buf_append(&l->request, b->body, b->body_len);
    if (buf_error(&l->request))
        return why_set(why, buf_error(&l->request), "out of memory");
    return ERR_OK;
}

/* --- connections
 * ------------------------------------------------------------------------------ */

static enum err resolve(struct loop *l, struct why *why)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    const char *addr = l->bench->addr;
    const char *colon = strrchr(addr, ':');
    const char *end = colon && !strchr(colon, ']') ? colon : addr + strlen(addr);
    const char *port = *end == ':' ? end + 1 : "80";
    char host[256];
    int failed;

    if (*addr == '[' && end > addr && end[-1] == ']') addr++, end--;
    snprintf(host, sizeof(host), "%.*s", (int)(end - addr), addr);
    failed = getaddrinfo(host, port, &hints, &l->addrs);
    if (failed)
        return why_set(why, ERR_UNREACHABLE, "dial tcp: lookup %s: %s", host,
                       failed == EAI_NONAME ? "no such host" : gai_strerror(failed));
    return ERR_OK;
}

static enum err dial_failed(const struct addrinfo *a, int error, struct why *why)
{
    char host[64] = "", port[8] = "", words[WORDS_ERRNO_MAX];
    bool six = a->ai_family == AF_INET6;

    getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
    return why_set(why, ERR_UNREACHABLE, "dial tcp %s%s%s:%s: connect: %s",
                   six ? "[" : "", host, six ? "]" : "", port, words_errno(error, words));
}

/* Connects before anything is measured, so it may block. */
static enum err conn_open(struct loop *l, struct conn *c, struct why *why)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = c}};
    const int on = 1;
    enum err e = ERR_UNREACHABLE;

    for (const struct addrinfo *a = l->addrs; a && c->fd < 0; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            e = dial_failed(a, errno, why);
        } else if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            e = dial_failed(a, errno, why);
            close(fd);
        } else {
            c->fd = fd;
        }
    }
    if (c->fd < 0) return e;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        return why_errno(why, "epoll_ctl");
    return ERR_OK;
}

static void conn_close(struct conn *c)
{
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static enum err conn_failed(const char *what, int error, struct why *why)
{
    char words[WORDS_ERRNO_MAX];
    return why_set(why, ERR_UNREACHABLE, "%s: %s", what, words_errno(error, words));
}

/* As much of the request as the socket takes now; EPOLLOUT calls again for the rest. */
static enum err conn_send(struct loop *l, struct conn *c, struct why *why)
{
    size_t left = l->request.len - c->sent;
    ssize_t n = send(c->fd, l->request.data + c->sent, left, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return conn_failed("write", errno, why);
    if (n > 0) c->sent += (size_t)n;
    if (n != (ssize_t)left) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data = {.ptr = c}};
        if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &event) < 0)
            return why_errno(why, "epoll_ctl");
    }
    return ERR_OK;
}

static enum err conn_writable(struct loop *l, struct conn *c, struct why *why)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = c}};

    if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &event) < 0)
        return why_errno(why, "epoll_ctl");
    return c->sent < l->request.len ? conn_send(l, c, why) : ERR_OK;
}

/* Send the next request, if there is one to send. */
static enum err conn_next(struct loop *l, struct conn *c, uint64_t now_ns,
                          struct why *why)
{
    enum err e = ERR_OK;

    c->busy = bench_start_one(l->bench, now_ns);
    if (!c->busy) return ERR_OK;
    l->busy++;
    c->sent = 0;
    c->sent_at_ns = now_ns;
    if (c->fd < 0) e = conn_open(l, c, why);
    return e ? e : conn_send(l, c, why);
}

static enum err conn_reply(struct loop *l, struct conn *c, bool at_end, struct why *why)
{
    struct bench_reply reply;
    uint64_t now_ns;
    enum err e;

    e = bench_reply_read(&reply, (char *)c->in.data, c->in.len, at_end, why);
    if (e == ERR_NOTHING && !at_end) return ERR_OK;
    if (e == ERR_NOTHING)
        return why_set(why, ERR_UNREACHABLE, c->in.len > 0 ? "unexpected EOF" : "EOF");
    if (!e && (!c->busy || c->sent < l->request.len))
        e = why_set(why, ERR_CORRUPT, "reply without a request");
    if (e) return e;

    now_ns = bench_now_ns();
    l->busy--;
    e = bench_done_one(l->bench, now_ns - c->sent_at_ns, reply.status, reply.body,
                       reply.body_len, why);
    if (e) return e;
    buf_consume(&c->in, reply.used);
    if (reply.close || at_end) conn_close(c);
    return conn_next(l, c, now_ns, why);
}

static enum err conn_readable(struct loop *l, struct conn *c, struct why *why)
{
    enum { READ_BYTES = 16384 };
    uint8_t *room = buf_reserve(&c->in, READ_BYTES);
    ssize_t n;

    if (!room) return why_set(why, ERR_NOMEM, "out of memory");
    n = recv(c->fd, room, READ_BYTES, MSG_DONTWAIT);
    if (n < 0) {
        bool again = errno == EAGAIN || errno == EINTR;
        return again ? ERR_OK : conn_failed("read", errno, why);
    }
    if (n == 0 && !c->busy) {
        conn_close(c);
        return ERR_OK;
    }
    buf_advance(&c->in, (size_t)n);
    return conn_reply(l, c, n == 0, why);
}

/* --- the loop
 * --------------------------------------------------------------------------------- */

static enum err loop_run(struct loop *l, struct why *why)
{
    enum { EVENTS = 256 };
    struct epoll_event events[EVENTS];
    enum err e = ERR_OK;

    l->bench->begin_ns = bench_now_ns();
    for (unsigned i = 0; i < l->bench->conns && !e; i++)
        e = conn_next(l, &l->conns[i], bench_now_ns(), why);
    while (!e && l->busy > 0) {
        int n = epoll_wait(l->epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) return why_errno(why, "epoll_wait");
        for (int i = 0; i < n && !e; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) e = conn_writable(l, c, why);
            if (!e && events[i].events & ~(uint32_t)EPOLLOUT)
                e = conn_readable(l, c, why);
        }
    }
    l->bench->end_ns = bench_now_ns();
    return e;
}

/* As many descriptors as we may have without asking anyone. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit); /* a refusal shows as a failed socket() */
}

enum err bench_epoll_run(struct bench *b, struct why *why)
{
    struct loop l = {.bench = b, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    enum err e = ERR_OK;

    raise_limit();
    buf_init(&l.request, 0);
    l.conns = calloc(b->conns, sizeof(*l.conns));
    for (unsigned i = 0; l.conns && i < b->conns; i++) l.conns[i].fd = -1;
    if (!l.conns) e = why_set(why, ERR_NOMEM, "out of memory");
    if (!e && l.epoll < 0) e = why_errno(why, "epoll_create1");
    if (!e) e = build_request(&l, why);
    if (!e) e = resolve(&l, why);
    for (unsigned i = 0; i < b->conns && !e; i++) e = conn_open(&l, &l.conns[i], why);
    if (!e) e = loop_run(&l, why);
    if (e == ERR_UNREACHABLE) e = err_wrap(why, e, "Post \"%s\"", b->url);

    for (unsigned i = 0; l.conns && i < b->conns; i++) {
        conn_close(&l.conns[i]);
        buf_fini(&l.conns[i].in);
    }
    if (l.addrs) freeaddrinfo(l.addrs);
    if (l.epoll >= 0) close(l.epoll);
    free(l.conns);
    buf_fini(&l.request);
    return e;
}
