/* SPDX-License-Identifier: MIT */
#include "core/net/internal.h"

#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/net/conn.h"
#include "core/net/resolve.h"

static void defaults(struct net_limits *l)
{
    if (l->max_message_bytes == 0) l->max_message_bytes = 256 << 20;
    if (l->window_bytes == 0) l->window_bytes = 512 << 10;
    if (l->high_water_bytes == 0) l->high_water_bytes = 1 << 20;
    if (l->max_queued_bytes == 0) l->max_queued_bytes = 64 << 20;
    if (l->max_connections == 0) l->max_connections = 512;
    if (l->max_streams == 0) l->max_streams = 4096;
    if (l->connect_ms == 0) l->connect_ms = 30000;
    if (l->hello_ms == 0) l->hello_ms = 10000;
    if (l->idle_ping_ms == 0) l->idle_ping_ms = 10000;
    if (l->pong_ms == 0) l->pong_ms = 5000;
    if (l->backoff_max_ms == 0) l->backoff_max_ms = 1000;
    if (l->window_bytes > INT32_MAX) l->window_bytes = INT32_MAX;
}

static void run_laters(struct net *n)
{
    while (n->later) {
        struct later *l = n->later;

        n->later = l->next;
        if (n->later == NULL) n->later_end = &n->later;
        l->next = NULL;
        l->run(l);
    }
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    run_laters(arg);
}

enum err net_new(struct net **out, const struct net_options *o, struct why *why)
{
    struct net *n = calloc(1, sizeof *n);
    enum err e;

    *out = NULL;
    if (n == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    n->base = o->base;
    n->logger = o->logger;
    n->tls = o->tls;
    n->limits = o->limits;
    defaults(&n->limits);
    list_init(&n->conns);
    n->later_end = &n->later;
    n->later_event = event_new(n->base, -1, 0, on_later, n);
    n->hello.version_min = FRAME_VERSION_MIN;
    n->hello.version_max = FRAME_VERSION_MAX;
    n->hello.window = (uint32_t)n->limits.window_bytes;
    e = n->later_event ? net_set_identity(n, &o->identity, why)
                       : why_set(why, ERR_NOMEM, "out of memory");
    if (e) {
        net_free(n);
        return e;
    }
    *out = n;
    return ERR_OK;
}

void net_free(struct net *n)
{
    if (n == NULL) return;
    run_laters(n);
    while (!list_empty(&n->conns)) conn_free(LIST_ITEM(n->conns.next, struct conn, all));
    run_laters(n);
    CHECK(n->users == 0);
    resolver_free(n->resolver);
    if (n->later_event) event_free(n->later_event);
    free(n);
}

static bool fits(char *out, size_t cap, const char *text)
{
    size_t len = text ? strlen(text) : 0;

    if (len >= cap) return false;
    if (len > 0) memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

enum err net_set_identity(struct net *n, const struct net_identity *id, struct why *why)
{
    struct net_hello h = n->hello;

    h.cluster_id = id->cluster_id;
    if (!fits(h.node_id, sizeof h.node_id, id->node_id))
        return why_set(why, ERR_INVALID, "node ID is longer than %d bytes", FRAME_ID_MAX);
    if (!fits(h.address, sizeof h.address, id->address))
        return why_set(why, ERR_INVALID, "Raft address is longer than %d bytes",
                       FRAME_ADDR_MAX);
    if (!fits(h.software, sizeof h.software, id->software))
        return why_set(why, ERR_INVALID, "version is longer than %d bytes",
                       FRAME_SOFTWARE_MAX);
    n->hello = h;
    return ERR_OK;
}

uint64_t net_cluster_id(const struct net *n)
{
    return n->hello.cluster_id;
}

void net_stats(const struct net *n, struct net_stats *out)
{
    *out = n->stats;
    out->queued_bytes = 0;
    for (const struct list *i = n->conns.next; i != &n->conns; i = i->next)
        out->queued_bytes += conn_queued(LIST_ITEM(i, const struct conn, all));
}

enum err net_resolver(struct net *n, struct resolver **out, struct why *why)
{
    enum err e = ERR_OK;

    if (n->resolver == NULL) e = resolver_new(&n->resolver, n->base, why);
    *out = n->resolver;
    return e;
}

void net_later(struct net *n, struct later *l, void (*run)(struct later *l))
{
    l->run = run;
    l->next = NULL;
    *n->later_end = l;
    n->later_end = &l->next;
    event_active(n->later_event, EV_TIMEOUT, 1);
}

void net_warn(struct net *n, const char *fmt, ...)
{
    uint64_t second = net_now_ms() / 1000;
    char text[1024];
    va_list args;

    if (second != n->talk.second) {
        if (n->talk.left_out > 0)
            logger_warn(n->logger, "net", "%u more lines about bad connections left out",
                        n->talk.left_out);
        n->talk.second = second;
        n->talk.lines = n->talk.left_out = 0;
    }
    if (n->talk.lines >= NET_LINES_PER_SECOND) {
        n->talk.left_out++;
        return;
    }
    n->talk.lines++;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    logger_warn(n->logger, "net", "%s", text);
}

static void unref_blob(const void *data, size_t len, void *b)
{
    (void)data;
    (void)len;
    blob_unref(b);
}

bool net_add_blob(struct evbuffer *out, struct blob *b, size_t offset)
{
    if (offset >= b->len) return true;
    if (evbuffer_add_reference(out, b->data + offset, b->len - offset, unref_blob, b) !=
        0)
        return false;
    blob_ref(b);
    return true;
}
