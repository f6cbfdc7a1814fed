/* SPDX-License-Identifier: MIT */
/*
 * A server and a channel to it on one loop, each with its endpoint, and what their logs
 * say.  Tests wait for conditions: WAIT(w, condition).
 */
#ifndef TESTS_UNIT_NET_HARNESS_H
#define TESTS_UNIT_NET_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/net/client.h"
#include "core/net/server.h"
#include "proto/cluster.pb-c.h"
#include "proto/raft.pb-c.h"
#ifdef HARNESS_TLS
#include "tests/unit/tls/certs.h"
/* For tests whose other side is a socket that speaks frames itself. */
#define CLEAR_TEXT_ONLY() skip()
#else
#define CLEAR_TEXT_ONLY() (void)0
#endif

struct side { /* an endpoint and what it logs */
    struct net *net;
    struct logger *logger;
    int log; /* a memfd */
    struct tls *tls;
};

struct world {
    struct event_base *base;
    struct event *tick;
    struct side here, there; /* the caller's and the callee's */
    struct net_server *server;
    struct net_channel *channel;
    char address[32];
    uint64_t waiting_since;
};

static inline uint64_t now_ms(void)
{
    return clock_mono_ns(clock_real()) / 1000000;
}

static inline void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

/* One round of the loop; fails the test after 20 seconds. */
static inline bool world_turn(struct world *w, const char *what)
{
    if (now_ms() - w->waiting_since > 20000) fail_msg("waited in vain for: %s", what);
    assert_true(event_base_loop(w->base, EVLOOP_ONCE) >= 0);
    return true;
}

#define WAIT(w, condition)                                                               \
    do {                                                                                 \
        (w)->waiting_since = now_ms();                                                   \
        while (!(condition)) world_turn(w, #condition);                                  \
    } while (0)

/* For what must not happen: a few rounds. */
static inline void world_run_ms(struct world *w, uint64_t ms)
{
    uint64_t until = now_ms() + ms;

    WAIT(w, now_ms() >= until);
}

static inline void side_open(struct world *w, struct side *s, const struct net_limits *l,
                             const char *id, uint64_t cluster)
{
    struct net_options o = {.base = w->base};
    struct why why;

    s->log = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(logger_new(&s->logger, s->log, LOGGER_INFO), ERR_OK);
    o.logger = s->logger;
    if (l) o.limits = *l;
#ifdef HARNESS_TLS
    struct certs certs;

    certs_open(&certs);
    certs_issue(&certs, "node", "node", "IP:127.0.0.1,DNS:localhost");
    struct tls_options to = certs_options(&certs, "node");

    to.no_verify = true; /* each side has an authority of its own */
    s->tls = o.tls = certs_tls(&to);
    certs_close(&certs);
#else
    s->tls = NULL;
#endif
    o.identity = (struct net_identity){cluster, id, "localhost:4002", "v1.0.0"};
    assert_int_equal(net_new(&s->net, &o, &why), ERR_OK);
}

static inline void side_close(struct side *s)
{
    net_free(s->net);
#ifdef HARNESS_TLS
    tls_free(s->tls);
#endif
    logger_free(s->logger);
    close(s->log);
}

/* Does the log hold text? */
static inline bool said(const struct side *s, const char *text)
{
    static char all[1 << 20];
    ssize_t n = pread(s->log, all, sizeof all - 1, 0);

    all[n < 0 ? 0 : n] = '\0';
    return strstr(all, text) != NULL;
}

static inline struct net_stats stats_of(const struct side *s)
{
    struct net_stats st;

    net_stats(s->net, &st);
    return st;
}

static inline void world_listen(struct world *w)
{
    struct why why;

    assert_int_equal(net_server_new(&w->server, w->there.net, NULL, &why), ERR_OK);
    assert_int_equal(
        net_server_listen(w->server, w->address[0] ? w->address : "127.0.0.1:0", &why),
        ERR_OK);
    snprintf(w->address, sizeof w->address, "127.0.0.1:%u", net_server_port(w->server));
}

static inline struct net_channel *world_channel(struct world *w, enum net_class class)
{
    struct net_channel_options o = {.address = w->address, .class = class};
    struct net_channel *ch;
    struct why why;

    assert_int_equal(net_channel_new(&ch, w->here.net, &o, &why), ERR_OK);
    return ch;
}

static inline void world_open_with(struct world *w, const struct net_limits *here,
                                   const struct net_limits *there)
{
    struct timeval tick = {0, 2000};

    signal(SIGPIPE, SIG_IGN);
    memset(w, 0, sizeof *w);
    w->base = event_base_new();
    w->tick = event_new(w->base, -1, EV_PERSIST, on_tick, NULL);
    event_add(w->tick, &tick);
    side_open(w, &w->here, here, "1", 7);
    side_open(w, &w->there, there, "2", 7);
    world_listen(w);
    w->channel = world_channel(w, NET_CALL);
}

static inline void world_open(struct world *w)
{
    world_open_with(w, NULL, NULL);
}

static inline void world_close(struct world *w)
{
    net_channel_free(w->channel);
    net_server_free(w->server);
    side_close(&w->here);
    side_close(&w->there);
    event_free(w->tick);
    event_base_free(w->base);
}

/* --- a call and how it ended ------------------------------------------------------ */

struct outcome {
    int done;
    struct why why;
    enum net_status status;
    bool not_run, replied;
    char id[300];           /* of a NodeInfo */
    size_t bytes, messages; /* of a streamed answer */
};

static inline void outcome_on_message(struct net_request *r,
                                      const ProtobufCMessage *message)
{
    struct outcome *o = net_request_user(r);
    size_t len;

    (void)message;
    assert_non_null(net_request_bytes(r, &len));
    o->bytes += len;
    o->messages++;
}

static inline void outcome_on_done(struct net_request *r, const struct net_result *result)
{
    struct outcome *o = net_request_user(r);

    o->done++;
    o->why = result->why;
    o->status = result->status;
    o->not_run = result->not_run;
    o->replied = result->reply != NULL;
    o->bytes += result->len;
    if (result->reply && result->reply->descriptor == &rqlite__node_info__descriptor)
        snprintf(o->id, sizeof o->id, "%.299s",
                 ((const Rqlite__NodeInfo *)(const void *)result->reply)->id);
}

static const struct net_request_events outcome_events = {.on_message = outcome_on_message,
                                                         .on_done = outcome_on_done};

static inline struct net_request_options ask(const struct net_service *service,
                                             unsigned method, const void *message,
                                             struct outcome *o)
{
    memset(o, 0, sizeof *o);
    return (struct net_request_options){.service = service,
                                        .method = method,
                                        .message = message,
                                        .events = &outcome_events,
                                        .user = o};
}

static inline struct net_request *start(struct net_channel *ch,
                                        const struct net_request_options *o)
{
    struct net_request *r;
    struct why why = {0};

    if (net_request_start(&r, ch, o, &why) != ERR_OK) fail_msg("start: %s", why.text);
    return r;
}

/* --- a raw socket to the server --------------------------------------------------- */

static inline int plain_connect(const struct world *w)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_port = htons(net_server_port(w->server));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Has the other side hung up?  What it sent is kept in out. */
static inline bool plain_closed(int fd, struct evbuffer *out)
{
    char block[4096];
    ssize_t n;

    while ((n = recv(fd, block, sizeof block, MSG_DONTWAIT)) > 0)
        if (out) evbuffer_add(out, block, (size_t)n);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* The preface and a frame, as a peer with these values sends them. */
static inline size_t plain_frame(uint8_t *out, bool preface, struct frame f,
                                 const void *body, size_t len)
{
    size_t at = 0;

    if (preface) {
        memcpy(out, frame_preface, FRAME_PREFACE_BYTES);
        at = FRAME_PREFACE_BYTES;
    }
    f.length = (uint32_t)len;
    frame_put(out + at, &f);
    if (len > 0) memcpy(out + at + FRAME_HEADER_BYTES, body, len);
    return at + FRAME_HEADER_BYTES + len;
}

static inline size_t plain_hello(uint8_t *out, const struct net_hello *h)
{
    uint8_t body[FRAME_HELLO_ROOM];

    return plain_frame(out, true, (struct frame){.kind = FRAME_HELLO}, body,
                       frame_put_hello(body, h));
}

static inline struct net_hello good_hello(void)
{
    return (struct net_hello){.version_min = 1,
                              .version_max = 1,
                              .class = NET_CALL,
                              .cluster_id = 7,
                              .window = 1 << 20,
                              .node_id = "3",
                              .address = "localhost:4006",
                              .software = "v9"};
}

#endif
