/* SPDX-License-Identifier: MIT */
#include "core/net/server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/pb.h"
#include "core/net/resolve.h"
#include "core/net/stream.h"

enum {
    SERVICES_MAX = 16,
    LISTENERS_MAX = 8,
    BACKLOG = 512,
    STRANGERS =
        64, /* connections beyond the limit that may say hello: some are for Raft */
    RAFT_MAX = 512,
    DECODED_MAX = 1 << 30, /* bytes that a message may take in memory */
    REST_MS = 100 /* no accepting after accept(2) failed, for want of descriptors, say */
};

struct net_server {
    struct net *net;
    struct net_server_options o;
    struct evconnlistener *listeners[LISTENERS_MAX]; /* owned */
    size_t n_listeners;
    struct event *rest; /* owned */
    struct served {
        const struct net_service *service;
        const struct net_method *methods;
        void *arg;
    } services[SERVICES_MAX];
    size_t n_services;
    struct list conns; /* of any state; by conn.link */
    unsigned n_conns, n_raft;
    bool draining;
    struct later later;
};

struct net_call {
    struct stream stream;
    struct net *net;
    struct net_peer *peer; /* one reference */
    const struct net_method *method;
    const ProtobufCMessageDescriptor *input;
    uint8_t streams; /* NET_STREAM_... */
    void *service_arg;
    struct net_meta meta;
    uint64_t deadline_ns;
    struct arena arena;   /* the call's */
    struct arena message; /* a streamed message's */
    const uint8_t *bytes; /* of the message being handed out */
    size_t len;
    const uint8_t
        *kept; /* the same, in the arena; NULL: net_call_keep() was not called */
    size_t kept_len;
    const struct net_call_events *events; /* may be NULL */
    void *user;
    bool started; /* on_call() was called: the handler ends it */
    bool gone;
    bool sent; /* output without stream: the one message */
    struct later later;
};

/* --- calls ------------------------------------------------------------------------ */

static void call_on_message(struct stream *s, const uint8_t *data, size_t len);
static void call_on_last(struct stream *s);
static void call_on_writable(struct stream *s);
static const struct stream_ops call_ops = {call_on_message, call_on_last,
                                           call_on_writable};

static struct net_call *call_of(struct stream *s)
{
    return LIST_ITEM(s, struct net_call, stream);
}

static void free_call(struct later *l)
{
    struct net_call *c = LIST_ITEM(l, struct net_call, later);

    net_peer_unref(c->peer);
    arena_fini(&c->message);
    arena_fini(&c->arena);
    c->net->users--;
    free(c);
}

static void bury_call(struct net_call *c)
{
    stream_detach(&c->stream);
    net_later(c->net, &c->later, free_call);
}

static void send_end(struct conn *c, uint32_t stream, uint8_t flags, enum err code,
                     const char *text)
{
    struct frame f = {.kind = FRAME_END, .flags = flags, .stream = stream};
    uint8_t body[NET_STATUS_ROOM];

    (void)conn_send(c, &f, body, net_status_put(body, code, text));
}

static void end_call(struct net_call *c, uint8_t flags, enum err code, const char *text)
{
    if (c->stream.conn) {
        if (code != ERR_OK && (flags & FRAME_NOT_RUN)) c->net->stats.calls_refused++;
        send_end(c->stream.conn, c->stream.id, flags, code, text);
    }
    bury_call(c);
}

/* Caller or connection left.  A handler that has the call is told; it still ends it. */
static void lose_call(struct net_call *c)
{
    stream_detach(&c->stream);
    c->gone = true;
    if (!c->started)
        bury_call(c);
    else if (c->events && c->events->on_gone)
        c->events->on_gone(c);
}

/* NULL: the call has been refused. */
static const ProtobufCMessage *decode(struct net_call *c, struct arena *a)
{
    ProtobufCMessage *m;
    struct why why;

    if (pb_unpack(&m, c->input, a, c->bytes, c->len, &why) == ERR_OK) return m;
    if (why.code == ERR_CORRUPT) why.code = ERR_INVALID; /* theirs, not our disk's */
    if (c->started) { /* what came before may have had effects */
        send_end(c->stream.conn, c->stream.id, 0, why.code, why.text);
        lose_call(c);
    } else {
        end_call(c, FRAME_NOT_RUN, why.code, why.text);
    }
    return NULL;
}

static void call_on_message(struct stream *s, const uint8_t *data, size_t len)
{
    struct net_call *c = call_of(s);
    const ProtobufCMessage *m = NULL;

    c->bytes = data;
    c->len = len;
    if (c->streams & NET_STREAM_IN) {
        arena_reset(&c->message);
        c->message.failed = false;
        if (!c->method->raw && (m = decode(c, &c->message)) == NULL) return;
        if (c->events && c->events->on_message) c->events->on_message(c, m);
    } else if (!c->started) {
        if (!c->method->raw && (m = decode(c, &c->arena)) == NULL) return;
        c->started = true;
        c->method->on_call(c, m);
    }
    c->bytes = NULL;
    c->len = 0;
}

static void call_on_last(struct stream *s)
{
    struct net_call *c = call_of(s);

    if ((c->streams & NET_STREAM_IN) && c->events && c->events->on_end)
        c->events->on_end(c);
}

static void call_on_writable(struct stream *s)
{
    struct net_call *c = call_of(s);

    if (c->events && c->events->on_writable) c->events->on_writable(c);
}

static const struct served *find_service(const struct net_server *s, uint8_t number)
{
    for (size_t i = 0; i < s->n_services; i++)
        if (s->services[i].service->number == number) return &s->services[i];
    return NULL;
}

/* May the call be taken?  What is refused here had no effect. */
static enum err admit(const struct net_server *s, const struct conn *conn,
                      const struct frame *f, const struct served *v, struct why *why)
{
    if (v == NULL) return why_set(why, ERR_UNSUPPORTED, "no service %u here", f->service);
    if (f->method >= v->service->descriptor->n_methods ||
        v->methods[f->method].on_call == NULL)
        return why_set(why, ERR_UNSUPPORTED, "no method %u of %s here", f->method,
                       v->service->descriptor->name);
    if (s->draining || conn->draining)
        return why_set(why, ERR_CLOSED, "the node is shutting down");
    /* Calls that were cancelled count until their handlers are done with them. */
    if (conn->n_streams >= s->net->limits.max_streams ||
        conn->peer->refs > s->net->limits.max_streams)
        return why_set(why, ERR_BUSY, "more than %u calls on one connection",
                       s->net->limits.max_streams);
    if (!(v->service->streams[f->method] & NET_STREAM_IN) &&
        !(f->flags & FRAME_MESSAGE_HERE))
        return why_set(why, ERR_INVALID, "call of %s.%s without a message",
                       v->service->descriptor->short_name,
                       v->service->descriptor->methods[f->method].name);
    return ERR_OK;
}

static struct net_call *new_call(struct net_server *s, struct conn *conn,
                                 const struct frame *f, const struct served *v)
{
    struct net_call *c = calloc(1, sizeof *c);

    if (c == NULL) return NULL;
    stream_init(&c->stream, &call_ops);
    c->net = s->net;
    c->peer = conn->peer;
    c->peer->refs++;
    s->net->users++;
    c->method = &v->methods[f->method];
    c->input = v->service->descriptor->methods[f->method].input;
    c->streams = v->service->streams[f->method];
    c->service_arg = v->arg;
    c->deadline_ns = UINT64_MAX;
    arena_init(&c->arena, DECODED_MAX);
    arena_init(&c->message, DECODED_MAX);
    return c;
}

static enum err take_meta(struct net_call *c, struct evbuffer *in, size_t len,
                          size_t *used, struct why *why)
{
    uint8_t size[2];
    const uint8_t *head;
    size_t want = sizeof size;
    enum err e;

    evbuffer_copyout(in, size, sizeof size); /* a CALL has at least 31 bytes */
    want += get_le16(size);
    if (want > len) return why_set(why, ERR_CORRUPT, "call with cut metadata");
    head = evbuffer_pullup(in, (ev_ssize_t)want);
    if (head == NULL) return why_set(why, ERR_NOMEM, "out of memory for a call");
    e = frame_get_meta(&c->meta, &c->arena, head, want, used, why);
    if (!e && c->meta.timeout_ns != 0 &&
        __builtin_add_overflow(clock_mono_ns(clock_real()), c->meta.timeout_ns,
                               &c->deadline_ns))
        c->deadline_ns = UINT64_MAX;
    return e;
}

/* What is too much costs the call, what is wrong the connection. */
static enum err take_message(struct net_call *c, const struct frame *f,
                             struct evbuffer *in, size_t len, struct why *why)
{
    enum err e = stream_receive(&c->stream, f, in, len, why);

    if (e != ERR_TOO_BIG && e != ERR_BUSY) return e;
    send_end(c->stream.conn, f->stream, c->started ? 0 : FRAME_NOT_RUN, e, why->text);
    lose_call(c);
    return ERR_OK;
}

static enum err on_call(struct net_server *s, struct conn *conn, const struct frame *f,
                        struct evbuffer *in, struct why *why)
{
    const struct served *v = find_service(s, f->service);
    struct why refusal = {0};
    struct net_call *c;
    size_t used;
    enum err e;

    s->net->stats.calls_in++;
    if (stream_find(conn, f->stream))
        return why_set(why, ERR_CORRUPT, "call on stream %u, which is open", f->stream);
    e = admit(s, conn, f, v, &refusal);
    c = e ? NULL : new_call(s, conn, f, v);
    if (c == NULL) {
        if (!e) e = why_set(&refusal, ERR_NOMEM, "out of memory for a call");
        s->net->stats.calls_refused++;
        send_end(conn, f->stream, FRAME_NOT_RUN, e, refusal.text);
        return ERR_OK;
    }
    e = take_meta(c, in, f->length, &used, why);
    if (!e) e = stream_attach(&c->stream, conn, f->stream);
    if (e) {
        bury_call(c);
        return e;
    }
    evbuffer_drain(in, used);
    if (c->streams & NET_STREAM_IN) {
        c->started = true;
        c->method->on_call(c, NULL);
        if (c->stream.conn == NULL) return ERR_OK; /* ended, or the connection closed */
    }
    if (f->flags & FRAME_MESSAGE_HERE) {
        e = take_message(c, f, in, f->length - used, why);
    } else if (f->flags & FRAME_LAST) {
        stream_receive_last(&c->stream);
    }
    return e;
}

static enum err on_stream_frame(struct conn *conn, const struct frame *f,
                                struct evbuffer *in, struct why *why)
{
    struct stream *s = stream_find(conn, f->stream);
    struct net_call *c = s ? call_of(s) : NULL;
    uint8_t window[4];

    if (c == NULL) return ERR_OK; /* it ended here while this was on its way */
    switch (f->kind) {
    case FRAME_MESSAGE: return take_message(c, f, in, f->length, why);
    case FRAME_END: stream_receive_last(s); return ERR_OK;
    case FRAME_CANCEL: lose_call(c); return ERR_OK;
    case FRAME_WINDOW:
        evbuffer_copyout(in, window, sizeof window);
        return stream_receive_window(s, get_le32(window), why);
    default:
        return why_set(why, ERR_CORRUPT, "unexpected %s frame", frame_kind_name(f->kind));
    }
}

/* --- connections ------------------------------------------------------------------ */

static enum err conn_on_hello(struct conn *c, struct why *why)
{
    struct net_server *s = c->owner;
    const struct net_limits *l = &s->net->limits;

    if (s->draining) return why_set(why, ERR_CLOSED, "the node is shutting down");
    if (c->class == NET_RAFT ? s->n_raft >= RAFT_MAX
                             : s->n_conns - s->n_raft > l->max_connections)
        return why_set(why, ERR_BUSY, "too many connections");
    return s->o.on_hello ? s->o.on_hello(s->o.arg, &c->peer->hello, why) : ERR_OK;
}

static void conn_on_open(struct conn *c)
{
    struct net_server *s = c->owner;

    if (c->class == NET_RAFT) s->n_raft++;
    logger_debug(s->net->logger, "net", "%s connection from %s, node %s at %s, %s",
                 net_class_name(c->class), c->peer->remote, c->peer->hello.node_id,
                 c->peer->hello.address, c->peer->hello.software);
}

static enum err conn_on_frame(struct conn *c, const struct frame *f, struct evbuffer *in,
                              struct why *why)
{
    if (f->kind == FRAME_CALL) return on_call(c->owner, c, f, in, why);
    return on_stream_frame(c, f, in, why);
}

static void conn_on_goaway(struct conn *c, const struct why *said)
{
    (void)c; /* a caller that goes away just calls no more */
    (void)said;
}

static void forget_conn(struct conn *c, bool was_open)
{
    struct net_server *s = c->owner;

    list_remove(&c->link);
    s->n_conns--;
    if (was_open && c->class == NET_RAFT) s->n_raft--;
    while (!list_empty(&c->streams))
        lose_call(call_of(LIST_ITEM(c->streams.next, struct stream, link)));
}

static void conn_on_closed(struct conn *c, const struct why *why)
{
    logger_debug(c->net->logger, "net", "connection from %s ended: %s", c->peer->remote,
                 why->text);
    forget_conn(c, c->was_open);
}

static const struct conn_ops conn_ops = {
    .on_hello = conn_on_hello,
    .on_open = conn_on_open,
    .on_frame = conn_on_frame,
    .on_writable = stream_wake,
    .on_goaway = conn_on_goaway,
    .on_closed = conn_on_closed,
};

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *from,
                      int len, void *arg)
{
    struct net_server *s = arg;
    struct why why;
    struct conn *c;

    (void)l;
    (void)len;
    if (s->n_conns - s->n_raft >= s->net->limits.max_connections + STRANGERS) {
        s->net->stats.refused++;
        net_warn(s->net, "too many connections, one more is closed");
        evutil_closesocket(fd);
        return;
    }
    if (conn_accept(&c, s->net, fd, from, &conn_ops, s, &why)) {
        net_warn(s->net, "accept: %s", why.text);
        return;
    }
    s->n_conns++;
    list_push_back(&s->conns, &c->link);
}

static void on_accept_error(struct evconnlistener *l, void *arg)
{
    struct net_server *s = arg;

    net_warn(s->net, "accept: %s", strerror(EVUTIL_SOCKET_ERROR()));
    evconnlistener_disable(l); /* else the loop would come back here at once, for ever */
    (void)net_arm(s->rest, REST_MS);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
    struct net_server *s = arg;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < s->n_listeners; i++) evconnlistener_enable(s->listeners[i]);
}

/* --- the server ------------------------------------------------------------------- */

enum err net_server_new(struct net_server **out, struct net *n,
                        const struct net_server_options *o, struct why *why)
{
    struct net_server *s = calloc(1, sizeof *s);

    *out = NULL;
    if (s) s->rest = event_new(n->base, -1, 0, on_rested, s);
    if (s == NULL || s->rest == NULL) {
        free(s);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    s->net = n;
    if (o) s->o = *o;
    list_init(&s->conns);
    n->users++;
    *out = s;
    return ERR_OK;
}

enum err net_server_add(struct net_server *s, const struct net_service *service,
                        const struct net_method *methods, void *arg)
{
    if (find_service(s, service->number)) return ERR_EXISTS;
    if (s->n_services == SERVICES_MAX) return ERR_NOMEM;
    s->services[s->n_services++] = (struct served){service, methods, arg};
    return ERR_OK;
}

static enum err bound_socket(int *out, const struct net_address *a, struct why *why)
{
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, off = 0;
    enum err e;

    if (fd < 0) return why_errno(why, "socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->sa.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len) == 0 &&
        listen(fd, BACKLOG) == 0) {
        *out = fd;
        return ERR_OK;
    }
    e = why_errno(why, "bind");
    close(fd);
    return e;
}

/* The first address, IPv4 preferred; for every address IPv6 preferred, which takes IPv4,
 * too. */
static enum err bind_one(int *out, const char *host, uint16_t port, struct why *why)
{
    struct net_addresses found;
    int family = host[0] ? AF_INET : AF_INET6;
    size_t first = 0;
    enum err e = resolve_now(&found, host, port, false, true, why);

    if (e) return e;
    for (size_t i = found.n; i-- > 0;)
        if (found.a[i].sa.ss_family == family) first = i;
    e = bound_socket(out, &found.a[first], why);
    if (e && host[0] == '\0') /* a machine without IPv6 */
        for (size_t i = 0; e && i < found.n; i++)
            if (i != first) e = bound_socket(out, &found.a[i], why);
    return e;
}

/* fd listens already. */
static enum err accept_from(struct net_server *s, int fd, struct why *why)
{
    struct evconnlistener *l;

    if (s->n_listeners == LISTENERS_MAX)
        return why_set(why, ERR_TOO_BIG, "more than %d addresses", LISTENERS_MAX);
    l = evconnlistener_new(s->net->base, on_accept, s,
                           LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (l == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    evconnlistener_set_error_cb(l, on_accept_error);
    s->listeners[s->n_listeners++] = l;
    return ERR_OK;
}

enum err net_server_listen(struct net_server *s, const char *address, struct why *why)
{
    char host[RESOLVE_HOST_MAX + 1];
    uint16_t port;
    int fd;
    enum err e = resolve_split(address, host, &port, why);

    if (!e) e = bind_one(&fd, host, port, why);
    if (!e) {
        e = accept_from(s, fd, why);
        if (e) close(fd);
    }
    return e ? err_wrap(why, e, "listen on %s", address) : ERR_OK;
}

enum err net_server_listen_fd(struct net_server *s, int fd, struct why *why)
{
    if (evutil_make_socket_nonblocking(fd) != 0 || listen(fd, BACKLOG) != 0)
        return why_errno(why, "listen");
    return accept_from(s, fd, why);
}

uint16_t net_server_port(const struct net_server *s)
{
    union {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } u;
    socklen_t len = sizeof u;

    if (s->n_listeners == 0) return 0;
    if (getsockname(evconnlistener_get_fd(s->listeners[0]), &u.sa, &len) != 0) return 0;
    return ntohs(u.sa.sa_family == AF_INET6 ? u.v6.sin6_port : u.v4.sin_port);
}

static void stop_listening(struct net_server *s)
{
    while (s->n_listeners > 0) evconnlistener_free(s->listeners[--s->n_listeners]);
    event_del(s->rest);
}

void net_server_drain(struct net_server *s)
{
    s->draining = true;
    stop_listening(s);
    for (struct list *i = s->conns.next; i != &s->conns; i = i->next)
        conn_goaway(LIST_ITEM(i, struct conn, link), ERR_CLOSED,
                    "the node is shutting down");
}

static void free_server(struct later *l)
{
    struct net_server *s = LIST_ITEM(l, struct net_server, later);

    event_free(s->rest);
    s->net->users--;
    free(s);
}

void net_server_free(struct net_server *s)
{
    if (s == NULL) return;
    s->draining = true;
    stop_listening(s);
    while (!list_empty(&s->conns)) {
        struct conn *c = LIST_ITEM(s->conns.next, struct conn, link);

        conn_close(c, ERR_CLOSED, "the node is shutting down");
        forget_conn(c, c->was_open);
    }
    net_later(s->net, &s->later, free_server);
}

/* --- for handlers ----------------------------------------------------------------- */

void net_call_listen(struct net_call *c, const struct net_call_events *events, void *user)
{
    c->events = events;
    c->user = user;
}

void *net_call_user(const struct net_call *c)
{
    return c->user;
}

void *net_call_service_arg(const struct net_call *c)
{
    return c->service_arg;
}

const struct net_meta *net_call_meta(const struct net_call *c)
{
    return &c->meta;
}

const struct net_peer *net_call_peer(const struct net_call *c)
{
    return c->peer;
}

uint64_t net_call_deadline_ns(const struct net_call *c)
{
    return c->deadline_ns;
}

struct arena *net_call_arena(struct net_call *c)
{
    return &c->arena;
}

const uint8_t *net_call_bytes(const struct net_call *c, size_t *len)
{
    if (c->bytes == NULL && c->kept) {
        *len = c->kept_len;
        return c->kept;
    }
    *len = c->len;
    return c->bytes;
}

enum err net_call_keep(struct net_call *c)
{
    uint8_t *copy;

    if (c->bytes == NULL || c->kept) return ERR_OK;
    copy = arena_alloc(&c->arena, c->len ? c->len : 1);
    if (copy == NULL) return ERR_NOMEM;
    if (c->len > 0) memcpy(copy, c->bytes, c->len);
    c->kept = copy;
    c->kept_len = c->len;
    return ERR_OK;
}

bool net_call_writable(struct net_call *c)
{
    return stream_writable(&c->stream);
}

static enum err call_send(struct net_call *c, uint8_t flags, const struct stream_body *b)
{
    struct frame f = {.kind = FRAME_MESSAGE, .flags = flags};
    enum err e;

    if (c->stream.conn == NULL) return ERR_CANCELLED;
    if (c->streams & NET_STREAM_OUT) {
        if (!stream_writable(&c->stream)) return ERR_BUSY;
    } else if (c->sent) {
        return ERR_INVALID;
    }
    e = stream_send(&c->stream, &f, NULL, 0, b);
    if (!e) c->sent = true;
    return e == ERR_CLOSED ? ERR_CANCELLED : e;
}

enum err net_call_send(struct net_call *c, const ProtobufCMessage *message)
{
    return call_send(c, 0, &(struct stream_body){.message = message});
}

enum err net_call_send_bytes(struct net_call *c, struct evbuffer *packed)
{
    return call_send(c, 0, &(struct stream_body){.packed = packed});
}

void net_call_pause(struct net_call *c)
{
    stream_pause(&c->stream);
}

void net_call_resume(struct net_call *c)
{
    stream_resume(&c->stream);
}

bool net_call_gone(const struct net_call *c)
{
    return c->gone;
}

void net_call_end(struct net_call *c, enum err code, const char *text)
{
    end_call(c, 0, code, text);
}

void net_call_refuse(struct net_call *c, enum err code, const char *text)
{
    end_call(c, FRAME_NOT_RUN, code, text);
}

void net_call_reply(struct net_call *c, const ProtobufCMessage *message)
{
    enum err e = call_send(c, FRAME_LAST, &(struct stream_body){.message = message});

    if (e)
        end_call(c, 0, e, e == ERR_TOO_BIG ? "the answer is over the limit" : NULL);
    else
        bury_call(c);
}
