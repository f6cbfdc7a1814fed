/* SPDX-License-Identifier: MIT */
#include "core/net/stream.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"

struct held { /* a whole message that waits */
    struct list link;
    struct evbuffer *bytes; /* owned */
};

void stream_init(struct stream *s, const struct stream_ops *ops)
{
    memset(s, 0, sizeof *s);
    s->ops = ops;
    list_init(&s->link);
    list_init(&s->waiting);
    list_init(&s->held);
}

enum err stream_attach(struct stream *s, struct conn *c, uint32_t id)
{
    enum err e;

    s->id = id;
    if (stream_find(c, id)) return ERR_EXISTS;
    e = map_put(&c->by_id, &s->id, sizeof s->id, s, NULL);
    if (e) return e;
    s->conn = c;
    s->may_send = c->peer->hello.window;
    s->may_come = (int64_t)c->net->limits.window_bytes;
    list_push_back(&c->streams, &s->link);
    c->n_streams++;
    c->net->stats.streams++;
    return ERR_OK;
}

static struct held *take_held(struct stream *s)
{
    struct held *h = LIST_ITEM(s->held.next, struct held, link);

    list_remove(&h->link);
    s->conn->kept -= evbuffer_get_length(h->bytes);
    return h;
}

static void free_held(struct held *h)
{
    evbuffer_free(h->bytes);
    free(h);
}

void stream_detach(struct stream *s)
{
    if (s->conn) {
        while (!list_empty(&s->held)) free_held(take_held(s));
        if (s->partial) s->conn->kept -= evbuffer_get_length(s->partial);
        (void)map_remove(&s->conn->by_id, &s->id, sizeof s->id);
        list_remove(&s->link);
        list_remove(&s->waiting);
        s->conn->n_streams--;
        s->conn->net->stats.streams--;
        s->conn = NULL;
    }
    if (s->partial) evbuffer_free(s->partial);
    s->partial = NULL;
}

struct stream *stream_find(const struct conn *c, uint32_t id)
{
    return map_get(&c->by_id, &id, sizeof id);
}

/* --- out -------------------------------------------------------------------------- */

static bool windowed(const struct stream *s)
{
    return s->conn->class != NET_RAFT;
}

bool stream_writable(struct stream *s)
{
    if (s->conn == NULL || s->last_out) return false;
    if ((!windowed(s) || s->may_send > 0) && conn_writable(s->conn)) return true;
    if (!list_linked(&s->waiting)) list_push_back(&s->conn->waiting, &s->waiting);
    return false;
}

void stream_wake(struct conn *c)
{
    struct list ready;

    /* Whoever still cannot go on queues up again, behind. */
    list_init(&ready);
    while (!list_empty(&c->waiting)) {
        struct list *i = c->waiting.next;

        list_remove(i);
        list_push_back(&ready, i);
    }
    while (!list_empty(&ready)) {
        struct stream *s = LIST_ITEM(ready.next, struct stream, waiting);

        list_remove(&s->waiting);
        if (stream_writable(s)) s->ops->on_writable(s);
    }
}

/* Cut chain into frames. */
static enum err send_cut(struct stream *s, struct frame f, const void *head,
                         size_t head_len, struct evbuffer *chain)
{
    uint8_t last = f.flags & FRAME_LAST;

    for (;;) {
        size_t left = evbuffer_get_length(chain), part = FRAME_BODY_MAX - head_len;
        enum err e;

        if (part >= left) part = left;
        f.flags = (uint8_t)((f.flags & ~(FRAME_MORE | FRAME_LAST)) |
                            (part < left ? FRAME_MORE : last));
        e = conn_send_chain(s->conn, &f, head, head_len, chain, part);
        if (e || part == left) return e;
        f = (struct frame){.kind = FRAME_MESSAGE, .stream = s->id};
        head_len = 0;
    }
}

static enum err pack_and_cut(struct stream *s, const struct frame *first,
                             const void *head, size_t head_len,
                             const ProtobufCMessage *message, size_t len)
{
    struct evbuffer *chain = evbuffer_new();
    struct evbuffer_iovec v;
    enum err e = ERR_NOMEM;

    if (chain && evbuffer_reserve_space(chain, (ev_ssize_t)len, &v, 1) == 1) {
        v.iov_len = protobuf_c_message_pack(message, v.iov_base);
        if (evbuffer_commit_space(chain, &v, 1) == 0)
            e = send_cut(s, *first, head, head_len, chain);
    }
    if (chain) evbuffer_free(chain);
    return e;
}

enum err stream_send(struct stream *s, const struct frame *first, const void *head,
                     size_t head_len, const struct stream_body *body)
{
    size_t len = body->message ? protobuf_c_message_get_packed_size(body->message)
                               : evbuffer_get_length(body->packed);
    struct frame f = *first;
    enum err e;

    if (s->conn == NULL) return ERR_CLOSED;
    if (len > s->conn->net->limits.max_message_bytes) return ERR_TOO_BIG;
    if (!conn_room(s->conn, head_len + len)) {
        s->conn->blocked = true;
        if (!list_linked(&s->waiting)) list_push_back(&s->conn->waiting, &s->waiting);
        return ERR_BUSY;
    }
    f.stream = s->id;
    if (body->packed)
        e = send_cut(s, f, head, head_len, body->packed);
    else if (head_len + len <= FRAME_BODY_MAX)
        e = conn_send_packed(s->conn, &f, head, head_len, body->message, len);
    else
        e = pack_and_cut(s, &f, head, head_len, body->message, len);
    if (e) return e;
    s->may_send -= (int64_t)len;
    if (first->flags & FRAME_LAST) s->last_out = true;
    s->conn->net->stats.messages_out++;
    return ERR_OK;
}

enum err stream_receive_window(struct stream *s, uint32_t bytes, struct why *why)
{
    if (bytes > INT32_MAX || s->may_send + bytes > INT32_MAX)
        return why_set(why, ERR_CORRUPT, "window of stream %u grew beyond all bounds",
                       s->id);
    s->may_send += bytes;
    if (s->may_send > 0 && list_linked(&s->waiting) && conn_writable(s->conn)) {
        list_remove(&s->waiting);
        s->ops->on_writable(s);
    }
    return ERR_OK;
}

/* --- in --------------------------------------------------------------------------- */

/* Give back what the user has taken, not in crumbs. */
static void give_back(struct stream *s)
{
    struct frame f = {.kind = FRAME_WINDOW, .stream = s->id};
    uint8_t body[4];

    if (s->conn == NULL || !windowed(s) || s->last_in) return;
    if (s->owed < s->conn->net->limits.window_bytes / 2) return;
    put_le32(body, s->owed);
    s->may_come += s->owed;
    s->owed = 0;
    (void)conn_send(s->conn, &f, body, sizeof body);
}

static void deliver(struct stream *s, const uint8_t *data, size_t len)
{
    s->conn->net->stats.messages_in++;
    if (windowed(s)) s->owed += (uint32_t)len;
    s->delivering = true;
    s->ops->on_message(s, data, len);
    s->delivering = false;
    if (!s->paused) give_back(s);
}

/* Hand out what is held, as long as the user takes it. */
static void pump(struct stream *s)
{
    if (s->delivering) return; /* the loop below is further up the stack */
    while (s->conn && !s->paused && !list_empty(&s->held)) {
        struct held *h = take_held(s); /* first: the user may give the stream up */
        size_t len = evbuffer_get_length(h->bytes);
        const uint8_t *data = len ? evbuffer_pullup(h->bytes, -1) : (const uint8_t *)"";

        if (data)
            deliver(s, data, len);
        else
            conn_break(s->conn, ERR_NOMEM, "out of memory");
        free_held(h);
        if (data == NULL) return;
    }
    if (s->conn && !s->paused && s->last_in && !s->last_told && list_empty(&s->held)) {
        s->last_told = true;
        s->ops->on_last(s);
    }
}

/* The message is whole: in s->partial. */
static enum err hold(struct stream *s)
{
    struct held *h = malloc(sizeof *h);

    if (h == NULL) return ERR_NOMEM;
    h->bytes = s->partial;
    s->partial = NULL;
    list_push_back(&s->held, &h->link);
    return ERR_OK;
}

/* Any number of streams may each be in the middle of a message; together they may not
 * hold more than a few large ones. */
static size_t kept_max(const struct conn *c)
{
    return c->net->limits.max_message_bytes + c->net->limits.max_queued_bytes;
}

static enum err begin_part(struct stream *s, size_t len, struct why *why)
{
    const struct net_limits *l = &s->conn->net->limits;
    size_t before = s->partial ? evbuffer_get_length(s->partial) : 0;

    if (!s->in_message && windowed(s) && s->may_come <= 0)
        return why_set(why, ERR_CORRUPT, "stream %u: message beyond the window", s->id);
    if (before + len > l->max_message_bytes)
        return why_set(why, ERR_TOO_BIG, "message is over the limit of %zu bytes",
                       l->max_message_bytes);
    return ERR_OK;
}

enum err stream_receive(struct stream *s, const struct frame *f, struct evbuffer *in,
                        size_t len, struct why *why)
{
    bool more = (f->flags & FRAME_MORE) != 0;
    enum err e;

    if (s->last_in)
        return why_set(why, ERR_CORRUPT, "stream %u: message after the last", s->id);
    e = begin_part(s, len, why);
    if (e) return e;
    s->may_come -= (int64_t)len;
    s->in_message = more;
    if (f->flags & FRAME_LAST) s->last_in = true;

    if (!more && s->partial == NULL && !s->paused && !s->delivering &&
        list_empty(&s->held)) {
        const uint8_t *data =
            len ? evbuffer_pullup(in, (ev_ssize_t)len) : (const uint8_t *)"";

        if (data == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        deliver(s, data, len);
        pump(s);
        return ERR_OK;
    }
    if (s->conn->kept + len > kept_max(s->conn))
        return why_set(why, ERR_BUSY, "too many messages wait on one connection");
    s->conn->kept += len;
    if (s->partial == NULL) s->partial = evbuffer_new();
    if (s->partial == NULL || evbuffer_remove_buffer(in, s->partial, len) != (int)len ||
        (!more && hold(s)))
        return why_set(why, ERR_NOMEM, "out of memory");
    pump(s);
    return ERR_OK;
}

void stream_receive_last(struct stream *s)
{
    s->last_in = true;
    pump(s);
}

void stream_pause(struct stream *s)
{
    s->paused = true;
}

void stream_resume(struct stream *s)
{
    if (!s->paused) return;
    s->paused = false;
    if (s->delivering) return;
    give_back(s);
    pump(s);
}
