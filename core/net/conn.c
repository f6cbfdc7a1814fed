/* SPDX-License-Identifier: MIT */
#include "core/net/conn.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/net/secure.h"

enum {
    READ_BYTES = 256 << 10, /* taken from a socket before others get their turn */
    WRITE_BYTES = 1 << 20,  /* given to one */
    LINGER_MS = 1000,
    CONTROL_SLACK = 1 << 20 /* of unread control frames beyond max_queued_bytes */
};

/* --- the end ---------------------------------------------------------------------- */

void net_peer_unref(struct net_peer *p)
{
    if (p && --p->refs == 0) free(p);
}

static void free_later(struct later *l)
{
    struct conn *c = LIST_ITEM(l, struct conn, later);

    CHECK(list_empty(&c->streams));
    if (c->bev) bufferevent_free(c->bev); /* and the socket */
    secure_free(c->secure);
    if (c->out) evbuffer_free(c->out);
    map_fini(&c->by_id);
    net_peer_unref(c->peer);
    free(c);
}

static void close_now(struct conn *c)
{
    if (c->state == CONN_CLOSED) return;
    c->state = CONN_CLOSED;
    c->net->stats.connections--;
    event_del(&c->flush);
    event_del(&c->timer);
    if (c->bev) {
        bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
        bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    }
    if (c->secure) secure_stop(c->secure);
    list_remove(&c->all);
    net_later(c->net, &c->later, free_later);
}

void conn_free(struct conn *c)
{
    close_now(c);
}

/* Write what is queued, say that this was all, and wait for the peer to hang up: a socket
 * that is closed with unread bytes in it sends a reset, which would overtake the goaway.
 */
static void linger(struct conn *c)
{
    c->state = CONN_LINGER;
    if (c->bev) bufferevent_setwatermark(c->bev, EV_WRITE, 0, 0);
    net_arm(&c->timer, LINGER_MS);
}

static void end_write_side(struct conn *c)
{
    if (conn_queued(c) > 0) return;
    if (c->bev)
        shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    else
        secure_shutdown(c->secure);
}

static void put_preface(struct conn *c);

static void send_status(struct conn *c, uint8_t flags, enum err code, const char *text)
{
    struct frame f = {.kind = FRAME_GOAWAY, .flags = flags};
    uint8_t body[NET_STATUS_ROOM];

    if (!c->told_hello) put_preface(c);
    (void)conn_send(c, &f, body, net_status_put(body, code, text));
}

void conn_close(struct conn *c, enum err code, const char *text)
{
    if (c->state >= CONN_LINGER) return;
    if (text == NULL || c->state == CONN_CONNECTING) {
        close_now(c);
        return;
    }
    send_status(c, FRAME_FATAL, code, text);
    linger(c);
}

void conn_goaway(struct conn *c, enum err code, const char *text)
{
    if (c->state != CONN_OPEN || c->draining) return;
    c->draining = true;
    send_status(c, 0, code, text);
}

/* The connection broke by itself. */
static void lost(struct conn *c, const struct why *why)
{
    bool linger_ends = c->state == CONN_LINGER;

    if (c->state == CONN_CLOSED) return;
    if (c->state == CONN_OPEN) c->net->stats.lost++;
    close_now(c);
    if (!linger_ends) c->ops->on_closed(c, why);
}

static void refused(struct conn *c)
{
    if (c->state == CONN_OPEN)
        c->net->stats.lost++;
    else if (c->accepted)
        c->net->stats.refused++;
}

void conn_fail(struct conn *c, enum err code, const char *text)
{
    struct why why;

    if (c->state >= CONN_LINGER) return;
    refused(c);
    if (c->accepted || c->state == CONN_OPEN)
        net_warn(c->net, "closing connection %s %s%s%s: %s", c->accepted ? "from" : "to",
                 c->peer->remote, c->peer->hello.node_id[0] ? ", node " : "",
                 c->peer->hello.node_id, text);
    why_set(&why, code, "%s", text);
    conn_close(c, code, text);
    c->ops->on_closed(c, &why);
}

/* As conn_fail(), and it was the peer's fault. */
static void bad_peer(struct conn *c, const struct why *why)
{
    if (c->state >= CONN_LINGER) return;
    c->net->stats.bad_peers++;
    conn_fail(c, why->code, why->text);
}

/* --- out -------------------------------------------------------------------------- */

/* Not yet given to the kernel. */
static size_t unwritten(const struct conn *c)
{
    size_t len = evbuffer_get_length(c->out);

    return c->bev ? len + evbuffer_get_length(bufferevent_get_output(c->bev)) : len;
}

size_t conn_queued(const struct conn *c)
{
    return c->state == CONN_CLOSED ? 0 : unwritten(c);
}

uint64_t conn_flushed(const struct conn *c)
{
    /* What lingers is still being written, so none of it can be said to be not sent. */
    return c->state == CONN_LINGER ? c->queued : c->queued - unwritten(c);
}

bool conn_writable(struct conn *c)
{
    if (c->state != CONN_OPEN) return false;
    if (conn_queued(c) < c->net->limits.high_water_bytes) return true;
    c->blocked = true;
    return false;
}

bool conn_room(const struct conn *c, size_t len)
{
    size_t queued = conn_queued(c);

    return queued == 0 || queued + len <= c->net->limits.max_queued_bytes;
}

void conn_break(struct conn *c, enum err code, const char *text)
{
    if (c->broken || c->state == CONN_CLOSED) return;
    c->broken = text;
    c->broken_code = code;
    event_active(&c->flush, EV_TIMEOUT, 1);
}

static enum err out_of_memory(struct conn *c)
{
    conn_break(c, ERR_NOMEM, "out of memory");
    return ERR_NOMEM;
}

static void ask_flush(struct conn *c)
{
    if (c->flush_asked || c->state == CONN_CONNECTING) return;
    c->flush_asked = true;
    event_active(&c->flush, EV_TIMEOUT, 1);
}

static void drained(struct conn *c)
{
    if (c->state == CONN_LINGER) {
        end_write_side(c);
    } else if (c->blocked && conn_queued(c) <= c->net->limits.high_water_bytes / 4) {
        c->blocked = false;
        if (c->state == CONN_OPEN) c->ops->on_writable(c);
    }
}

static void flush_plain(struct conn *c)
{
    struct evbuffer *left = bufferevent_get_output(c->bev);
    size_t budget = WRITE_BYTES;

    while (evbuffer_get_length(left) == 0 && budget > 0 &&
           evbuffer_get_length(c->out) > 0) {
        int n =
            evbuffer_write_atmost(c->out, bufferevent_getfd(c->bev), (ev_ssize_t)budget);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
        if (n <= 0) {
            struct why why;

            why_errno(&why, "write");
            lost(c, &why);
            return;
        }
        c->net->stats.bytes_out += (uint64_t)n;
        budget -= (size_t)n;
    }
    if (evbuffer_get_length(c->out) > 0) {
        size_t len = evbuffer_get_length(c->out);

        if (bufferevent_write_buffer(c->bev, c->out) == 0)
            c->net->stats.bytes_out += len;
        else
            (void)out_of_memory(c);
    }
}

static void on_flush(evutil_socket_t nofd, short what, void *arg)
{
    struct conn *c = arg;

    (void)nofd;
    (void)what;
    c->flush_asked = false;
    if (c->broken) {
        struct why why;

        why_set(&why, c->broken_code, "%s", c->broken);
        lost(c, &why);
        return;
    }
    if (c->bev)
        flush_plain(c);
    else
        c->net->stats.bytes_out += secure_flush(c->secure);
    drained(c);
}

static void on_written(struct bufferevent *bev, void *arg)
{
    (void)bev;
    drained(arg);
}

static void put_preface(struct conn *c)
{
    c->told_hello = true;
    if (evbuffer_add(c->out, frame_preface, sizeof frame_preface) != 0)
        (void)out_of_memory(c);
    else
        c->queued += sizeof frame_preface;
}

/* Bytes were added to out: count and have them written. */
static void sent(struct conn *c, size_t len)
{
    c->queued += len;
    c->net->stats.frames_out++;
    ask_flush(c);
}

/* Control frames have no bound but this: a peer that makes us answer and never reads. */
static bool control_room(struct conn *c, const struct frame *f)
{
    if (f->kind == FRAME_CALL || f->kind == FRAME_MESSAGE) return true;
    return conn_queued(c) <= c->net->limits.max_queued_bytes + CONTROL_SLACK;
}

enum err conn_send(struct conn *c, struct frame *f, const void *body, size_t len)
{
    uint8_t header[FRAME_HEADER_BYTES];

    if (c->state >= CONN_LINGER || c->broken) return ERR_CLOSED;
    if (!control_room(c, f)) {
        conn_break(c, ERR_BUSY, "the peer does not read");
        return ERR_CLOSED;
    }
    f->length = (uint32_t)len;
    f->flags |= FRAME_CHECKED;
    frame_put(header, f);
    f->crc = crc32c(frame_crc_start(header), body, len);
    put_le32(header + 12, f->crc);
    if (evbuffer_add(c->out, header, sizeof header) != 0 ||
        (len > 0 && evbuffer_add(c->out, body, len) != 0))
        return out_of_memory(c);
    sent(c, sizeof header + len);
    return ERR_OK;
}

enum err conn_send_packed(struct conn *c, struct frame *f, const void *head,
                          size_t head_len, const ProtobufCMessage *message, size_t len)
{
    struct evbuffer_iovec v;
    uint8_t *p;

    if (c->state >= CONN_LINGER || c->broken) return ERR_CLOSED;
    f->length = (uint32_t)(head_len + len);
    f->flags |= FRAME_CHECKED;
    if (evbuffer_reserve_space(c->out, (ev_ssize_t)(FRAME_HEADER_BYTES + f->length), &v,
                               1) != 1)
        return out_of_memory(c);
    p = v.iov_base;
    frame_put(p, f);
    if (head_len > 0) memcpy(p + FRAME_HEADER_BYTES, head, head_len);
    CHECK(protobuf_c_message_pack(message, p + FRAME_HEADER_BYTES + head_len) == len);
    put_le32(p + 12, crc32c(frame_crc_start(p), p + FRAME_HEADER_BYTES, f->length));
    v.iov_len = FRAME_HEADER_BYTES + f->length;
    if (evbuffer_commit_space(c->out, &v, 1) != 0) return out_of_memory(c);
    sent(c, v.iov_len);
    return ERR_OK;
}

/* CRC of the first len bytes of chain, which stay where they are. */
static uint32_t chain_crc(uint32_t crc, struct evbuffer *chain, size_t len)
{
    struct evbuffer_iovec v[32];
    struct evbuffer_ptr at, *from = NULL;

    while (len > 0) {
        int n = evbuffer_peek(chain, (ev_ssize_t)len, from, v, 32);
        size_t done = 0;

        if (n > 32) n = 32;
        CHECK(n > 0);
        for (int i = 0; i < n && len > 0; i++) {
            size_t part = v[i].iov_len < len ? v[i].iov_len : len;

            crc = crc32c(crc, v[i].iov_base, part);
            len -= part;
            done += part;
        }
        if (len == 0) break;
        evbuffer_ptr_set(chain, &at, done, from ? EVBUFFER_PTR_ADD : EVBUFFER_PTR_SET);
        from = &at;
    }
    return crc;
}

enum err conn_send_chain(struct conn *c, struct frame *f, const void *head,
                         size_t head_len, struct evbuffer *chain, size_t len)
{
    uint8_t header[FRAME_HEADER_BYTES];
    uint32_t crc;
    int rc;

    if (c->state >= CONN_LINGER || c->broken) return ERR_CLOSED;
    f->length = (uint32_t)(head_len + len);
    f->flags |= FRAME_CHECKED;
    frame_put(header, f);
    crc = frame_crc_start(header);
    if (head_len > 0) crc = crc32c(crc, head, head_len);
    put_le32(header + 12, chain_crc(crc, chain, len));
    if (evbuffer_add(c->out, header, sizeof header) != 0 ||
        (head_len > 0 && evbuffer_add(c->out, head, head_len) != 0))
        return out_of_memory(c);
    if (len == evbuffer_get_length(chain))
        rc = evbuffer_add_buffer(c->out, chain);
    else
        rc = evbuffer_remove_buffer(chain, c->out, len) == (int)len ? 0 : -1;
    if (rc != 0) return out_of_memory(c);
    sent(c, sizeof header + f->length);
    return ERR_OK;
}

static void send_hello(struct conn *c)
{
    struct frame f = {.kind = FRAME_HELLO};
    struct net_hello h = c->net->hello;
    uint8_t body[FRAME_HELLO_ROOM];

    h.class = c->class;
    put_preface(c);
    (void)conn_send(c, &f, body, frame_put_hello(body, &h));
}

/* --- in --------------------------------------------------------------------------- */

static void opened(struct conn *c)
{
    c->state = CONN_OPEN;
    c->was_open = true;
    if (!net_arm(&c->timer, c->net->limits.idle_ping_ms)) (void)out_of_memory(c);
    c->ops->on_open(c);
}

static enum err check_hello(struct conn *c, struct why *why)
{
    const struct net_hello *mine = &c->net->hello, *h = &c->peer->hello;
    uint16_t low =
        h->version_min > mine->version_min ? h->version_min : mine->version_min;
    uint16_t high =
        h->version_max < mine->version_max ? h->version_max : mine->version_max;

    if (high < low)
        return why_set(why, ERR_UNSUPPORTED,
                       "protocol versions %u to %u of %s and %u to %u of %s have nothing "
                       "in common",
                       h->version_min, h->version_max, h->software, mine->version_min,
                       mine->version_max, mine->software);
    c->peer->version = high;
    if (h->cluster_id != 0 && mine->cluster_id != 0 && h->cluster_id != mine->cluster_id)
        return why_set(why, ERR_INVALID,
                       "node %s at %s belongs to cluster %016" PRIx64
                       ", node %s at %s to cluster %016" PRIx64,
                       h->node_id, h->address, h->cluster_id, mine->node_id,
                       mine->address, mine->cluster_id);
    if (!c->accepted && h->class != c->class)
        return why_set(why, ERR_CORRUPT, "asked for a %s connection, got %s",
                       net_class_name(c->class), net_class_name(h->class));
    c->class = h->class;
    return c->ops->on_hello(c, why);
}

static void on_hello(struct conn *c, const uint8_t *body, size_t len)
{
    struct why why = {0};
    enum err e = frame_get_hello(&c->peer->hello, body, len, &why);

    if (e) {
        bad_peer(c, &why);
        return;
    }
    e = check_hello(c, &why);
    if (c->state != CONN_HELLO) return;
    if (e) {
        conn_fail(c, e, why.text);
        return;
    }
    if (c->accepted) send_hello(c);
    if (c->state == CONN_HELLO) opened(c);
}

static void on_goaway(struct conn *c, const struct frame *f, const uint8_t *body)
{
    struct why said, why;

    if (net_status_get(&said, body, f->length, &why)) {
        bad_peer(c, &why);
        return;
    }
    if (said.code == ERR_OK) said.code = ERR_CLOSED;
    if (c->state == CONN_OPEN && !(f->flags & FRAME_FATAL)) {
        c->draining = true;
        c->ops->on_goaway(c, &said);
        return;
    }
    if (c->accepted || c->state == CONN_OPEN)
        net_warn(c->net, "connection %s %s%s%s was closed from there: %s",
                 c->accepted ? "from" : "to", c->peer->remote,
                 c->peer->hello.node_id[0] ? ", node " : "", c->peer->hello.node_id,
                 said.text);
    err_wrap(&said, said.code, "refused by %s", c->peer->remote);
    lost(c, &said);
}

/* One whole frame, its body at the front of in. */
static enum err on_frame(struct conn *c, const struct frame *f, struct evbuffer *in,
                         struct why *why)
{
    const uint8_t *body;

    c->net->stats.frames_in++;
    switch (f->kind) {
    case FRAME_HELLO:
        if (c->state != CONN_HELLO) return why_set(why, ERR_CORRUPT, "a second hello");
        break;
    case FRAME_GOAWAY: break;
    default:
        if (c->state == CONN_HELLO)
            return why_set(why, ERR_CORRUPT, "%s frame before the hello",
                           frame_kind_name(f->kind));
    }
    switch (f->kind) {
    case FRAME_HELLO:
    case FRAME_GOAWAY:
    case FRAME_PING:
        body = f->length ? evbuffer_pullup(in, f->length) : (const uint8_t *)"";
        if (body == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        if (f->kind == FRAME_HELLO) {
            on_hello(c, body, f->length);
        } else if (f->kind == FRAME_GOAWAY) {
            on_goaway(c, f, body);
        } else {
            struct frame pong = {.kind = FRAME_PONG};

            (void)conn_send(c, &pong, body, f->length);
        }
        return ERR_OK;
    case FRAME_PONG: return ERR_OK; /* that it came is what counts */
    default: return c->ops->on_frame(c, f, in, why);
    }
}

/* False if more bytes are needed, or no more are wanted. */
static bool take_frame(struct conn *c, struct evbuffer *in)
{
    size_t len = evbuffer_get_length(in), after;
    struct frame f;
    struct why why = {0};
    uint8_t header[FRAME_HEADER_BYTES];
    enum err e;

    if (len < sizeof header) return false;
    evbuffer_copyout(in, header, sizeof header);
    e = frame_get(&f, header, &why);
    /* A stranger gets no memory: in a hello there is nothing so large. */
    if (!e && c->state == CONN_HELLO && f.length > 4096)
        e = why_set(&why, ERR_TOO_BIG, "%s frame of %u bytes before the hello",
                    frame_kind_name(f.kind), f.length);
    if (e) {
        bad_peer(c, &why);
        return false;
    }
    if (len - sizeof header < f.length) return false;
    c->net->stats.bytes_in += sizeof header + f.length;
    evbuffer_drain(in, sizeof header);
    after = len - sizeof header - f.length;
    if ((f.flags & FRAME_CHECKED) &&
        chain_crc(frame_crc_start(header), in, f.length) != f.crc)
        e = why_set(&why, ERR_CORRUPT, "%s frame with a wrong checksum",
                    frame_kind_name(f.kind));
    if (!e) e = on_frame(c, &f, in, &why);
    if (e) bad_peer(c, &why);
    if (c->state >= CONN_LINGER) return false;
    CHECK(evbuffer_get_length(in) >= after);
    evbuffer_drain(in, evbuffer_get_length(in) - after);
    return true;
}

static bool take_preface(struct conn *c, struct evbuffer *in)
{
    uint8_t first[FRAME_PREFACE_BYTES];
    ev_ssize_t n = evbuffer_copyout(in, first, sizeof first);
    struct why why;

    if (n < 0) n = 0;
    if (memcmp(first, frame_preface, (size_t)n) != 0) {
        if (n < 4 && first[0] >= 'A' && first[0] <= 'Z')
            return false; /* a few more bytes tell what it is */
        why_set(&why, ERR_UNSUPPORTED, "not our protocol, but %s",
                frame_guess(first, (size_t)n));
        bad_peer(c, &why);
        return false;
    }
    if (n < (ev_ssize_t)sizeof first) return false;
    evbuffer_drain(in, sizeof first);
    c->heard_preface = true;
    return true;
}

static void on_input(void *arg, struct evbuffer *in)
{
    struct conn *c = arg;
    size_t before = evbuffer_get_length(in);

    if (c->state >= CONN_LINGER) {
        evbuffer_drain(in, before);
        return;
    }
    c->heard_ms = net_now_ms();
    if (!c->heard_preface && !take_preface(c, in)) return;
    while (c->state < CONN_LINGER && take_frame(c, in)) continue;
}

static void on_readable(struct bufferevent *bev, void *arg)
{
    on_input(arg, bufferevent_get_input(bev));
}

static void ended(struct conn *c, bool within_frame)
{
    struct why why;

    if (c->state == CONN_HELLO)
        why_set(&why, ERR_UNREACHABLE, "%s", "closed before its hello");
    else if (within_frame)
        why_set(&why, ERR_UNREACHABLE, "connection closed within a frame");
    else
        why_set(&why, ERR_UNREACHABLE, "connection closed");
    lost(c, &why);
}

static enum err encrypt(struct conn *c, int fd, const char *host, struct why *why);

static void connected(struct conn *c)
{
    struct why why;

    c->state = CONN_HELLO;
    c->heard_ms = net_now_ms();
    if (c->net->tls == NULL) {
        bufferevent_enable(c->bev, EV_READ);
    } else {
        struct bufferevent *bev = c->bev;
        int fd = bufferevent_getfd(bev);

        c->bev = NULL;
        bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
        bufferevent_setfd(bev, -1);
        bufferevent_free(bev);
        if (encrypt(c, fd, c->host, &why)) {
            lost(c, &why);
            return;
        }
    }
    send_hello(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct conn *c = arg;
    struct why why;

    if (what & BEV_EVENT_CONNECTED) {
        connected(c);
        return;
    }
    if (what & BEV_EVENT_EOF) {
        ended(c, evbuffer_get_length(bufferevent_get_input(bev)) > 0);
        return;
    }
    errno = EVUTIL_SOCKET_ERROR();
    why_errno(&why, "%s", c->state == CONN_CONNECTING ? "connect" : "connection");
    why.code = ERR_UNREACHABLE;
    lost(c, &why);
}

/* --- time ------------------------------------------------------------------------- */

static void ping(struct conn *c)
{
    struct frame f = {.kind = FRAME_PING};
    uint8_t body[8];

    put_le64(body, net_now_ms());
    c->pinged = true;
    c->pinged_ms = net_now_ms();
    c->ping_flushed = conn_flushed(c);
    if (conn_send(c, &f, body, sizeof body)) return;
    c->ping_at = c->queued;
    if (conn_queued(c) == FRAME_HEADER_BYTES + sizeof body) c->ping_flushed = c->ping_at;
    net_arm(&c->timer, c->net->limits.pong_ms);
}

static void on_idle(struct conn *c)
{
    uint64_t quiet = net_now_ms() - c->heard_ms;
    const struct net_limits *l = &c->net->limits;
    uint64_t flushed = conn_flushed(c);

    if (c->pinged && c->heard_ms >= c->pinged_ms) c->pinged = false;
    if (quiet < l->idle_ping_ms) {
        net_arm(&c->timer, l->idle_ping_ms - quiet);
    } else if (!c->pinged) {
        ping(c);
    } else if (c->ping_flushed < c->ping_at && flushed > c->ping_flushed) {
        /* The ping was still behind other bytes, and they do move. */
        c->ping_flushed = flushed;
        net_arm(&c->timer, l->pong_ms);
    } else {
        struct why why;

        c->net->stats.dead_peers++;
        why_set(&why, ERR_UNREACHABLE, "no answer to a ping within %u ms", l->pong_ms);
        net_warn(c->net, "connection %s %s%s%s: %s", c->accepted ? "from" : "to",
                 c->peer->remote, c->peer->hello.node_id[0] ? ", node " : "",
                 c->peer->hello.node_id, why.text);
        lost(c, &why);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    struct why why;

    (void)fd;
    (void)what;
    switch (c->state) {
    case CONN_CONNECTING:
        why_set(&why, ERR_UNREACHABLE, "connect: timed out");
        lost(c, &why);
        break;
    case CONN_HELLO:
        if (!c->accepted) {
            why_set(&why, ERR_UNREACHABLE, "no hello within the connect timeout");
            lost(c, &why);
        } else {
            conn_fail(c, ERR_TIMEOUT, "no hello in time");
        }
        break;
    case CONN_OPEN: on_idle(c); break;
    case CONN_LINGER: close_now(c); break;
    case CONN_CLOSED: break;
    }
}

/* --- the beginning ---------------------------------------------------------------- */

/* The bufferevent of a plain connection. */
static struct bufferevent *transport(struct conn *c, int fd)
{
    struct bufferevent *bev =
        bufferevent_socket_new(c->net->base, fd, BEV_OPT_CLOSE_ON_FREE);

    if (bev == NULL) return NULL;
    bufferevent_setcb(bev, on_readable, on_written, on_event, c);
    bufferevent_set_max_single_read(bev, READ_BYTES);
    bufferevent_set_max_single_write(bev, WRITE_BYTES);
    bufferevent_setwatermark(bev, EV_WRITE, c->net->limits.high_water_bytes / 4, 0);
    return bev;
}

static void on_sent(void *arg, uint64_t bytes)
{
    struct conn *c = arg;

    c->net->stats.bytes_out += bytes;
    drained(c);
}

/* Go on with the socket as it is. */
static bool decrypt(struct conn *c)
{
    int fd = secure_take_fd(c->secure);

    c->bev = transport(c, fd);
    if (c->bev) {
        bufferevent_enable(c->bev, EV_READ);
        return true;
    }
    evutil_closesocket(fd);
    conn_break(c, ERR_NOMEM, "out of memory");
    return false;
}

/* A node without TLS, or somebody else: tell it in its own words. */
static void on_plain(void *arg)
{
    struct conn *c = arg;
    uint8_t first[FRAME_PREFACE_BYTES];
    struct why why;
    ssize_t n;

    if (!decrypt(c)) return;
    n = recv(bufferevent_getfd(c->bev), first, sizeof first, MSG_PEEK);
    if (n > 0 && memcmp(first, frame_preface, (size_t)n) == 0)
        why_set(&why, ERR_UNSUPPORTED,
                "this node's Raft port is encrypted, and the connection is not");
    else
        why_set(&why, ERR_UNSUPPORTED, "not TLS, but %s",
                frame_guess(first, n < 0 ? 0 : (size_t)n));
    bad_peer(c, &why);
}

/* Who has connected to us must still read the alert that says why it cannot. */
static void handshake_failed(struct conn *c, const struct why *why)
{
    c->net->stats.refused++;
    net_warn(c->net, "closing connection from %s: %s", c->peer->remote, why->text);
    if (!decrypt(c)) return;
    linger(c);
    end_write_side(c);
    c->ops->on_closed(c, why);
}

/* handshake: it had not ended. */
static void on_end(void *arg, bool handshake, const struct why *why)
{
    struct conn *c = arg;
    struct why told = *why;

    if (why->code == ERR_OK && !handshake) {
        ended(c, false);
        return;
    }
    if (why->code == ERR_OK)
        why_set(&told, ERR_UNREACHABLE, "closed within the TLS handshake");
    c->untrusted = told.code == ERR_UNAUTHORIZED || told.code == ERR_UNSUPPORTED;
    /* No call was answered: what cannot be done is to reach the other side. */
    if (c->untrusted) told.code = ERR_UNREACHABLE;
    if (handshake && c->accepted && c->state == CONN_HELLO && why->code != ERR_OK)
        handshake_failed(c, &told);
    else
        lost(c, &told);
}

static enum err encrypt(struct conn *c, int fd, const char *host, struct why *why)
{
    static const struct secure_events events = {on_input, on_sent, on_plain, on_end};

    return secure_new(&c->secure, c->net->base, c->net->tls, fd, host, c->out, &events, c,
                      why);
}

static void no_delay(int fd)
{
    int on = 1;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static enum err conn_new(struct conn **out, struct net *n, int fd, uint64_t open_ms,
                         const struct conn_ops *ops, void *owner, struct why *why)
{
    struct conn *c = calloc(1, sizeof *c);

    *out = NULL;
    if (c == NULL) {
        if (fd >= 0) evutil_closesocket(fd);
        return why_set(why, ERR_NOMEM, "out of memory for a connection");
    }
    c->net = n;
    c->ops = ops;
    c->owner = owner;
    c->next_id = 1;
    list_init(&c->all);
    list_init(&c->link);
    list_init(&c->streams);
    list_init(&c->waiting);
    map_init(&c->by_id, (uint64_t)(uintptr_t)c ^ clock_mono_ns(clock_real()));
    event_assign(&c->flush, n->base, -1, 0, on_flush, c);
    event_assign(&c->timer, n->base, -1, 0, on_timer, c);
    c->peer = calloc(1, sizeof *c->peer);
    c->out = evbuffer_new();
    if (fd < 0 || n->tls == NULL)
        c->bev = transport(c, fd);
    else if (c->out && encrypt(c, fd, NULL, NULL))
        fd = -1; /* closed */
    if (c->peer) c->peer->refs = 1;
    if (c->peer == NULL || c->out == NULL || (c->bev == NULL && c->secure == NULL) ||
        !net_arm(&c->timer, open_ms)) {
        if (c->secure)
            secure_free(c->secure);
        else if (c->bev)
            bufferevent_free(c->bev);
        else if (fd >= 0)
            evutil_closesocket(fd);
        if (c->out) evbuffer_free(c->out);
        net_peer_unref(c->peer);
        map_fini(&c->by_id);
        free(c);
        return why_set(why, ERR_NOMEM, "out of memory for a connection");
    }
    list_push_back(&n->conns, &c->all);
    n->stats.connections++;
    *out = c;
    return ERR_OK;
}

enum err conn_accept(struct conn **out, struct net *n, int fd,
                     const struct sockaddr *from, const struct conn_ops *ops, void *owner,
                     struct why *why)
{
    struct conn *c;
    enum err e = conn_new(&c, n, fd, n->limits.hello_ms, ops, owner, why);

    *out = c;
    if (e) return e;
    c->accepted = true;
    c->state = CONN_HELLO;
    c->heard_ms = net_now_ms();
    resolve_print(from, c->peer->remote, sizeof c->peer->remote);
    no_delay(fd);
    if (c->bev) bufferevent_enable(c->bev, EV_READ);
    n->stats.accepted++;
    return ERR_OK;
}

enum err conn_dial(struct conn **out, struct net *n, const struct net_address *to,
                   const char *host, enum net_class class, uint64_t open_ms,
                   const struct conn_ops *ops, void *owner, struct why *why)
{
    struct conn *c;
    enum err e = conn_new(&c, n, -1, open_ms, ops, owner, why);

    *out = NULL;
    if (e) return e;
    c->state = CONN_CONNECTING;
    c->host = host;
    c->class = class;
    resolve_print((const struct sockaddr *)&to->sa, c->peer->remote,
                  sizeof c->peer->remote);
    if (bufferevent_socket_connect(c->bev, (const struct sockaddr *)&to->sa,
                                   (int)to->len) != 0) {
        why_errno(why, "connect");
        conn_free(c);
        return why ? (why->code = ERR_UNREACHABLE) : ERR_UNREACHABLE;
    }
    no_delay(bufferevent_getfd(c->bev));
    *out = c;
    return ERR_OK;
}
