/* SPDX-License-Identifier: MIT */
#include "core/net/client.h"

#include <event2/buffer.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/pb.h"
#include "core/net/resolve.h"
#include "core/net/stream.h"

enum {
    BACKOFF_MIN_MS = 10,
    BACKOFF_REFUSED =
        10, /* times the longest, for who was refused for what it is: that seldom
               mends itself, and costs the other side a line each time */
    DECODED_MAX = 1 << 30 /* bytes that an answer may take in memory */
};

enum channel_state {
    CHANNEL_IDLE,
    CHANNEL_DIALING, /* looking up, connecting, or waiting for the hello */
    CHANNEL_OPEN,
    CHANNEL_BACKOFF /* until the timer */
};

struct net_channel {
    struct net *net;
    struct net_channel_options o; /* texts below */
    char address[RESOLVE_HOST_MAX + 16], host[RESOLVE_HOST_MAX + 1];
    char expect_id[FRAME_ID_MAX + 1];
    uint16_t port;
    enum channel_state state;
    bool keep;      /* stay connected without requests */
    bool failed;    /* the last dial did: requests that do not wait fail at once */
    bool untrusted; /* since TLS did; see conn.h */
    bool closed;
    struct why why; /* of that */
    struct lookup *lookup;
    struct net_addresses found;
    size_t next_address;
    uint64_t dial_until_ms, opened_ms;
    uint32_t backoff_ms;
    struct event
        timer; /* idle: dial now; dialing: the name took too long; back-off is over */
    struct conn *conn;    /* dialing or open */
    struct list draining; /* connections that take no new calls, by conn.link */
    struct list waiting;  /* requests without a connection */
    struct later later;
};

struct net_request {
    struct stream stream;
    struct net *net;
    struct net_channel *channel; /* NULL when finished */
    struct list link;            /* in channel->waiting, or nowhere */
    const struct net_service *service;
    uint8_t method, streams; /* NET_STREAM_..., as the callee sees it */
    const ProtobufCMessageDescriptor *output;
    struct net_meta meta;
    uint64_t deadline_ns;
    struct event timer;
    struct evbuffer *packed; /* owned; the input until it is sent, NULL if it streams */
    uint64_t sent_at;        /* position in the connection's output where the call ends */
    const struct net_request_events *events;
    void *user;
    bool wait, raw, finish; /* finish: the input ended before there was a connection */
    bool done;              /* the end is decided; on_done() may be still to come */
    bool silent;            /* cancelled */
    struct arena keep;      /* meta, until it is sent */
    struct arena arena;     /* the answer */
    const uint8_t *bytes;   /* of the message being handed out */
    size_t len;
    bool answered; /* output without stream: its message is in reply and arena */
    const ProtobufCMessage *reply;
    struct evbuffer *reply_bytes; /* owned; a raw one */
    struct net_result result;     /* to be told by later */
    struct later later;
};

/* --- the end of a request --------------------------------------------------------- */

static struct net_request *request_of(struct stream *s)
{
    return LIST_ITEM(s, struct net_request, stream);
}

static void free_request(struct later *l)
{
    struct net_request *r = LIST_ITEM(l, struct net_request, later);

    if (r->packed) evbuffer_free(r->packed);
    if (r->reply_bytes) evbuffer_free(r->reply_bytes);
    arena_fini(&r->keep);
    arena_fini(&r->arena);
    r->net->users--;
    free(r);
}

static void tell_later(struct later *l)
{
    struct net_request *r = LIST_ITEM(l, struct net_request, later);

    if (!r->silent) r->events->on_done(r, &r->result);
    free_request(l);
}

/* Take it out of everything it is in. */
static void unlink_request(struct net_request *r)
{
    struct conn *c = r->stream.conn;

    r->done = true;
    event_del(&r->timer);
    list_remove(&r->link);
    stream_detach(&r->stream);
    r->channel = NULL;
    /* A connection that takes no new calls ends with its last one. */
    if (c && c->draining && c->n_streams == 0 && c->state == CONN_OPEN) {
        struct net_channel *ch = c->owner;

        if (ch->conn != c) {
            list_remove(&c->link);
            conn_close(c, ERR_OK, NULL);
        }
    }
}

static void set_result(struct net_request *r, enum err code, const char *text,
                       bool not_run)
{
    r->result = (struct net_result){.status = net_status_of(code), .not_run = not_run};
    why_set(&r->result.why, code, "%s", text ? text : err_name(code));
    if (code != ERR_OK) r->net->stats.calls_failed++;
}

/* Fail it now, telling the user at once: not for use within net_request_start(). */
static void fail_request(struct net_request *r, enum err code, const char *text,
                         bool not_run)
{
    if (r->done) return;
    unlink_request(r);
    set_result(r, code, text, not_run);
    r->events->on_done(r, &r->result);
    net_later(r->net, &r->later, free_request);
}

static void succeed(struct net_request *r)
{
    unlink_request(r);
    set_result(r, ERR_OK, "", false);
    if (!(r->streams & NET_STREAM_OUT)) {
        r->result.reply = r->reply;
        if (r->reply_bytes) {
            r->result.len = evbuffer_get_length(r->reply_bytes);
            r->result.bytes =
                r->result.len ? evbuffer_pullup(r->reply_bytes, -1) : (const uint8_t *)"";
        }
    }
    r->events->on_done(r, &r->result);
    net_later(r->net, &r->later, free_request);
}

static void send_cancel(struct net_request *r)
{
    struct frame f = {.kind = FRAME_CANCEL, .stream = r->stream.id};

    if (r->stream.conn) (void)conn_send(r->stream.conn, &f, NULL, 0);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct net_request *r = arg;
    const struct net_channel *ch = r->channel;
    struct why why;

    (void)fd;
    (void)what;
    if (r->done) return;
    if (r->stream.conn)
        why_set(&why, ERR_TIMEOUT, "no answer from %s in time", ch->address);
    else if (ch->failed)
        why_set(&why, ERR_TIMEOUT, "no connection in time: %s", ch->why.text);
    else
        why_set(&why, ERR_TIMEOUT, "no connection to %s in time", ch->address);
    send_cancel(r);
    fail_request(r, ERR_TIMEOUT, why.text, r->stream.conn == NULL);
}

/* --- a request on its connection -------------------------------------------------- */

/* False: the request has failed. */
static const ProtobufCMessage *decode(struct net_request *r, const uint8_t *data,
                                      size_t len)
{
    ProtobufCMessage *m;
    struct why why;

    if (pb_unpack(&m, r->output, &r->arena, data, len, &why) == ERR_OK) return m;
    send_cancel(r);
    fail_request(r, why.code, why.text, false);
    return NULL;
}

static void keep_reply(struct net_request *r, const uint8_t *data, size_t len)
{
    if (r->answered) return;
    r->answered = true;
    if (!r->raw) {
        r->reply = decode(r, data, len);
        return;
    }
    r->reply_bytes = evbuffer_new();
    if (r->reply_bytes == NULL || evbuffer_add(r->reply_bytes, data, len) != 0) {
        send_cancel(r);
        fail_request(r, ERR_NOMEM, "out of memory", false);
    }
}

static void request_on_message(struct stream *s, const uint8_t *data, size_t len)
{
    struct net_request *r = request_of(s);
    const ProtobufCMessage *m = NULL;

    if (!(r->streams & NET_STREAM_OUT)) {
        keep_reply(r, data, len);
        return;
    }
    arena_reset(&r->arena);
    r->arena.failed = false;
    if (!r->raw && (m = decode(r, data, len)) == NULL) return;
    r->bytes = data;
    r->len = len;
    if (r->events->on_message) r->events->on_message(r, m);
    r->bytes = NULL;
    r->len = 0;
}

/* The callee ends with success by a message marked as the last, or by END, whose status
 * is kept until the messages before it have been taken. */
static void request_on_last(struct stream *s)
{
    struct net_request *r = request_of(s);

    if (r->result.why.code != ERR_OK) {
        struct why why = r->result.why;

        fail_request(r, why.code, why.text, r->result.not_run);
        return;
    }
    if (!(r->streams & NET_STREAM_OUT) && !r->answered)
        keep_reply(r, (const uint8_t *)"", 0); /* OK without a message: an empty one */
    if (!r->done) succeed(r);
}

static void request_on_writable(struct stream *s)
{
    struct net_request *r = request_of(s);

    if (r->events->on_writable) r->events->on_writable(r);
}

static const struct stream_ops request_ops = {request_on_message, request_on_last,
                                              request_on_writable};

static uint32_t free_id(struct conn *c)
{
    while (c->next_id == 0 || stream_find(c, c->next_id)) c->next_id++;
    return c->next_id++;
}

/* What is left of the deadline; false if nothing. */
static bool time_left(const struct net_request *r, uint64_t *ns)
{
    uint64_t now = clock_mono_ns(clock_real());

    *ns = 0;
    if (r->deadline_ns == UINT64_MAX) return true;
    *ns = r->deadline_ns > now ? r->deadline_ns - now : 0;
    return *ns > 0;
}

/* Send the CALL, with message or the packed input.  On failure nothing has left. */
static enum err put_on(struct net_request *r, struct conn *c,
                       const ProtobufCMessage *message)
{
    struct frame f = {
        .kind = FRAME_CALL, .service = r->service->number, .method = r->method};
    struct stream_body body = {.message = message, .packed = r->packed};
    struct net_meta meta = r->meta;
    uint8_t head[FRAME_META_ROOM];
    size_t head_len;
    enum err e;

    if (!time_left(r, &meta.timeout_ns)) return ERR_TIMEOUT;
    head_len = frame_put_meta(head, &meta);
    e = stream_attach(&r->stream, c, free_id(c));
    if (e) return e;
    if (!(r->streams & NET_STREAM_IN)) {
        f.flags = FRAME_MESSAGE_HERE | FRAME_LAST;
        e = stream_send(&r->stream, &f, head, head_len, &body);
    } else {
        f.stream = r->stream.id;
        if (r->finish) f.flags = FRAME_LAST;
        r->stream.last_out = r->finish;
        e = conn_send(c, &f, head, head_len);
    }
    if (e) {
        stream_detach(&r->stream);
        return e;
    }
    r->sent_at = c->queued;
    return ERR_OK;
}

static void put_waiting_on(struct net_channel *ch, struct conn *c)
{
    struct list ready;

    list_init(&ready); /* those that come meanwhile are put on c at once */
    while (!list_empty(&ch->waiting)) {
        struct list *i = ch->waiting.next;

        list_remove(i);
        list_push_back(&ready, i);
    }
    while (!list_empty(&ready)) {
        struct net_request *r = LIST_ITEM(ready.next, struct net_request, link);
        enum err e = c->state == CONN_OPEN ? put_on(r, c, NULL) : ERR_CLOSED;

        if (e == ERR_CLOSED && !ch->closed) { /* lost meanwhile */
            list_remove(&r->link);
            list_push_back(&ch->waiting, &r->link);
        } else if (e) {
            fail_request(r, e, NULL, true);
        } else {
            list_remove(&r->link);
            if (r->packed) evbuffer_free(r->packed);
            r->packed = NULL;
            if ((r->streams & NET_STREAM_IN) && !r->finish && r->events->on_writable &&
                stream_writable(&r->stream))
                r->events->on_writable(r);
        }
    }
}

static enum err on_end(struct net_request *r, const struct frame *f, struct evbuffer *in,
                       struct why *why)
{
    const uint8_t *body = evbuffer_pullup(in, f->length);
    struct why said = {0};
    enum err e = ERR_OK;

    if (f->length > 0 && body == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    if (f->length > 0) e = net_status_get(&said, body, f->length, why);
    if (e) return e;
    if (said.code != ERR_OK) {
        r->result.why = said;
        r->result.not_run = (f->flags & FRAME_NOT_RUN) != 0;
    }
    stream_receive_last(&r->stream);
    return ERR_OK;
}

static enum err conn_on_frame(struct conn *c, const struct frame *f, struct evbuffer *in,
                              struct why *why)
{
    struct stream *s = stream_find(c, f->stream);
    struct net_request *r = s ? request_of(s) : NULL;
    uint8_t window[4];
    enum err e;

    switch (f->kind) {
    case FRAME_MESSAGE:
        if (r == NULL) return ERR_OK; /* it ended here while this was on its way */
        e = stream_receive(s, f, in, f->length, why);
        if ((e == ERR_TOO_BIG || e == ERR_BUSY) && !r->done) {
            send_cancel(r);
            fail_request(r, e, why->text, false);
            return ERR_OK;
        }
        if (!e && !r->done && (f->flags & FRAME_LAST)) stream_receive_last(s);
        return e;
    case FRAME_END: return r ? on_end(r, f, in, why) : ERR_OK;
    case FRAME_WINDOW:
        if (r == NULL) return ERR_OK;
        evbuffer_copyout(in, window, sizeof window);
        return stream_receive_window(s, get_le32(window), why);
    default:
        return why_set(why, ERR_CORRUPT, "unexpected %s frame", frame_kind_name(f->kind));
    }
}

/* --- the connection --------------------------------------------------------------- */

static enum err conn_on_hello(struct conn *c, struct why *why)
{
    const struct net_channel *ch = c->owner;

    if (ch->expect_id[0] && strcmp(ch->expect_id, c->peer->hello.node_id) != 0)
        return why_set(why, ERR_NOT_FOUND, "expected node %s at %s, found node %s",
                       ch->expect_id, ch->address, c->peer->hello.node_id);
    return ERR_OK;
}

static void tell_state(struct net_channel *ch, bool up, const struct why *why)
{
    if (ch->o.on_state) ch->o.on_state(ch->o.arg, up, why);
}

static void conn_on_open(struct conn *c)
{
    struct net_channel *ch = c->owner;
    static const struct why fine = {0};

    ch->state = CHANNEL_OPEN;
    ch->opened_ms = net_now_ms();
    if (ch->failed)
        logger_info(ch->net->logger, "net", "connected to %s again", ch->address);
    ch->failed = ch->untrusted = false;
    tell_state(ch, true, &fine);
    if (ch->conn == c) put_waiting_on(ch, c);
}

/* Another cluster, another node, another protocol. */
static bool refused_for_good(enum err e)
{
    return e == ERR_INVALID || e == ERR_UNSUPPORTED || e == ERR_NOT_FOUND ||
           e == ERR_UNAUTHORIZED;
}

static void back_off(struct net_channel *ch)
{
    uint32_t longest = ch->net->limits.backoff_max_ms;

    if (ch->failed && (ch->untrusted || refused_for_good(ch->why.code)))
        longest *= BACKOFF_REFUSED;
    ch->state = CHANNEL_BACKOFF;
    ch->backoff_ms = ch->backoff_ms == 0 ? BACKOFF_MIN_MS : ch->backoff_ms * 2;
    if (ch->backoff_ms > longest) ch->backoff_ms = longest;
    if (!net_arm(&ch->timer, ch->backoff_ms)) ch->state = CHANNEL_IDLE;
}

/* Fail the requests that do not wait. */
static void fail_waiting(struct net_channel *ch, enum err code, const char *text,
                         bool all)
{
    struct list mine;

    list_init(&mine);
    while (!list_empty(&ch->waiting)) {
        struct list *i = ch->waiting.next;

        list_remove(i);
        list_push_back(&mine, i);
    }
    while (!list_empty(&mine)) {
        struct net_request *r = LIST_ITEM(mine.next, struct net_request, link);

        if (all || !r->wait || ch->closed) {
            fail_request(r, code, text, true);
        } else {
            list_remove(&r->link);
            list_push_back(&ch->waiting, &r->link);
        }
    }
}

static void dial_failed(struct net_channel *ch, const struct why *why)
{
    struct why told;

    ch->net->stats.dial_failed++;
    ch->conn = NULL;
    why_set(&told, why->code, "%s: %s", ch->address, why->text);
    if (!ch->failed)
        logger_warn(ch->net->logger, "net", "cannot connect to %s", told.text);
    else
        logger_debug(ch->net->logger, "net", "cannot connect to %s", told.text);
    ch->failed = true;
    ch->why = told;
    back_off(ch);
    tell_state(ch, false, &told);
    if (!ch->closed) fail_waiting(ch, told.code, told.text, false);
}

static void fail_streams(struct conn *c, enum err code, const char *text)
{
    uint64_t flushed = conn_flushed(c);

    while (!list_empty(&c->streams)) {
        struct net_request *r =
            request_of(LIST_ITEM(c->streams.next, struct stream, link));

        fail_request(r, code, text, r->sent_at > flushed);
    }
}

static void try_next_address(struct net_channel *ch, const struct why *last);

static void conn_on_closed(struct conn *c, const struct why *why)
{
    struct net_channel *ch = c->owner;
    struct why told;

    if (!c->was_open) { /* it was dialing */
        ch->conn = NULL;
        ch->untrusted = c->untrusted;
        try_next_address(ch, why);
        return;
    }
    why_set(&told, why->code == ERR_OK ? ERR_CLOSED : why->code, "connection to %s: %s",
            ch->address, why->text);
    if (c != ch->conn) { /* draining */
        list_remove(&c->link);
        fail_streams(c, told.code, told.text);
        return;
    }
    ch->conn = NULL;
    logger_info(ch->net->logger, "net", "lost the %s %s", net_class_name(c->class),
                told.text);
    if (net_now_ms() - ch->opened_ms > ch->net->limits.backoff_max_ms) ch->backoff_ms = 0;
    back_off(ch);
    tell_state(ch, false, &told);
    fail_streams(c, told.code, told.text);
}

static void conn_on_goaway(struct conn *c, const struct why *said)
{
    struct net_channel *ch = c->owner;

    if (ch->conn != c) return;
    logger_info(ch->net->logger, "net", "%s: %s", ch->address, said->text);
    ch->conn = NULL;
    if (c->n_streams > 0)
        list_push_back(&ch->draining, &c->link);
    else
        conn_close(c, ERR_OK, NULL);
    back_off(ch);
    tell_state(ch, false, said);
}

static const struct conn_ops conn_ops = {
    .on_hello = conn_on_hello,
    .on_open = conn_on_open,
    .on_frame = conn_on_frame,
    .on_writable = stream_wake,
    .on_goaway = conn_on_goaway,
    .on_closed = conn_on_closed,
};

/* --- dialing ---------------------------------------------------------------------- */

/* Addresses left share the time left, so that one that does not answer leaves some for
 * the next. */
static void try_next_address(struct net_channel *ch, const struct why *last)
{
    struct why why = *last;

    while (ch->next_address < ch->found.n) {
        uint64_t now = net_now_ms(), share;
        size_t left = ch->found.n - ch->next_address;

        if (ch->dial_until_ms <= now) {
            why_set(&why, ERR_UNREACHABLE, "connect: timed out");
            break;
        }
        share = (ch->dial_until_ms - now + left - 1) / left;
        if (conn_dial(&ch->conn, ch->net, &ch->found.a[ch->next_address++], ch->host,
                      ch->o.class, share, &conn_ops, ch, &why) == ERR_OK)
            return;
    }
    dial_failed(ch, &why);
}

static void on_resolved(void *arg, const struct net_addresses *found,
                        const struct why *why)
{
    struct net_channel *ch = arg;

    ch->lookup = NULL;
    event_del(&ch->timer);
    ch->found = *found;
    ch->next_address = 0;
    try_next_address(ch, why);
}

static void dial(struct net_channel *ch)
{
    uint32_t limit = ch->o.connect_ms ? ch->o.connect_ms : ch->net->limits.connect_ms;
    struct resolver *resolver;
    struct why why = {0};

    if (ch->state != CHANNEL_IDLE || ch->closed) return;
    ch->state = CHANNEL_DIALING;
    ch->net->stats.dialed++;
    ch->dial_until_ms = net_now_ms() + limit;
    ch->next_address = 0;
    if (resolve_now(&ch->found, ch->host, ch->port, true, false, &why) == ERR_OK) {
        try_next_address(ch, &why);
        return;
    }
    ch->found.n = 0;
    if (net_resolver(ch->net, &resolver, &why) ||
        resolver_start(&ch->lookup, resolver, ch->host, ch->port, ch, &why,
                       on_resolved)) {
        dial_failed(ch, &why);
        return;
    }
    (void)net_arm(&ch->timer, limit);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct net_channel *ch = arg;
    struct why why;

    (void)fd;
    (void)what;
    if (ch->state == CHANNEL_DIALING && ch->lookup) {
        lookup_cancel(ch->lookup);
        ch->lookup = NULL;
        why_set(&why, ERR_UNREACHABLE, "look up %s: timed out", ch->host);
        dial_failed(ch, &why);
        return;
    }
    if (ch->state == CHANNEL_BACKOFF) ch->state = CHANNEL_IDLE;
    if (ch->keep || !list_empty(&ch->waiting)) dial(ch);
}

/* From the loop, so that no callback comes from within the call that asks. */
static void dial_soon(struct net_channel *ch)
{
    if (ch->state == CHANNEL_IDLE) event_active(&ch->timer, EV_TIMEOUT, 1);
}

/* --- the channel ------------------------------------------------------------------ */

static enum err set_address(struct net_channel *ch, const char *address, struct why *why)
{
    enum err e = resolve_split(address, ch->host, &ch->port, why);

    if (!e && ch->host[0] == '\0')
        e = why_set(why, ERR_INVALID, "address %s: missing host", address);
    if (!e && strlen(address) >= sizeof ch->address)
        e = why_set(why, ERR_INVALID, "address %.40s... is too long", address);
    if (!e) strcpy(ch->address, address);
    return e;
}

enum err net_channel_new(struct net_channel **out, struct net *n,
                         const struct net_channel_options *o, struct why *why)
{
    struct net_channel *ch = calloc(1, sizeof *ch);
    enum err e;

    *out = NULL;
    if (ch == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    ch->net = n;
    ch->o = *o;
    ch->o.address = ch->o.expect_id = NULL; /* copied below */
    list_init(&ch->draining);
    list_init(&ch->waiting);
    event_assign(&ch->timer, n->base, -1, 0, on_timer, ch);
    e = set_address(ch, o->address, why);
    if (!e && o->expect_id && strlen(o->expect_id) > FRAME_ID_MAX)
        e = why_set(why, ERR_INVALID, "node ID is longer than %d bytes", FRAME_ID_MAX);
    if (e) {
        free(ch);
        return e;
    }
    if (o->expect_id) strcpy(ch->expect_id, o->expect_id);
    n->users++;
    *out = ch;
    return ERR_OK;
}

/* Give up what there is of a connection, and who is on it. */
static void disconnect(struct net_channel *ch, enum err code, const char *text)
{
    struct conn *c = ch->conn;

    event_del(&ch->timer);
    if (ch->lookup) lookup_cancel(ch->lookup);
    ch->lookup = NULL;
    ch->conn = NULL;
    ch->state = CHANNEL_IDLE;
    if (c) {
        conn_close(c, ERR_OK, NULL);
        fail_streams(c, code, text);
    }
    while (!list_empty(&ch->draining)) {
        c = LIST_ITEM(ch->draining.next, struct conn, link);
        list_remove(&c->link);
        conn_close(c, ERR_OK, NULL);
        fail_streams(c, code, text);
    }
}

static void free_channel(struct later *l)
{
    struct net_channel *ch = LIST_ITEM(l, struct net_channel, later);

    ch->net->users--;
    free(ch);
}

void net_channel_free(struct net_channel *ch)
{
    if (ch == NULL || ch->closed) return;
    ch->closed = true;
    ch->keep = false;
    ch->o.on_state = NULL;
    disconnect(ch, ERR_CLOSED, "the channel was closed");
    fail_waiting(ch, ERR_CLOSED, "the channel was closed", true);
    net_later(ch->net, &ch->later, free_channel);
}

void net_channel_connect(struct net_channel *ch)
{
    ch->keep = true;
    dial_soon(ch);
}

enum err net_channel_set_address(struct net_channel *ch, const char *address,
                                 struct why *why)
{
    enum err e;

    if (strcmp(ch->address, address) == 0) return ERR_OK;
    e = set_address(ch, address, why);
    if (e) return e;
    disconnect(ch, ERR_UNREACHABLE, "the node has another address now");
    ch->backoff_ms = 0;
    ch->failed = false;
    if (ch->keep || !list_empty(&ch->waiting)) dial_soon(ch);
    return ERR_OK;
}

const char *net_channel_address(const struct net_channel *ch)
{
    return ch->address;
}

bool net_channel_up(const struct net_channel *ch)
{
    return ch->state == CHANNEL_OPEN;
}

const struct net_peer *net_channel_peer(const struct net_channel *ch)
{
    return ch->state == CHANNEL_OPEN ? ch->conn->peer : NULL;
}

size_t net_channel_queued(const struct net_channel *ch)
{
    return ch->conn ? conn_queued(ch->conn) : 0;
}

/* --- requests --------------------------------------------------------------------- */

static enum err check_options(const struct net_channel *ch,
                              const struct net_request_options *o, struct why *why)
{
    const struct net_service *v = o->service;
    bool stream_in;
    size_t len = 0;

    CHECK(o->method < v->descriptor->n_methods);
    stream_in = (v->streams[o->method] & NET_STREAM_IN) != 0;
    CHECK(stream_in == (o->message == NULL && o->packed == NULL));
    CHECK(o->message == NULL || o->packed == NULL);
    CHECK(o->message == NULL ||
          o->message->descriptor == v->descriptor->methods[o->method].input);
    if (ch->closed) return why_set(why, ERR_CLOSED, "the channel was closed");
    if (o->message) len = protobuf_c_message_get_packed_size(o->message);
    if (o->packed) len = evbuffer_get_length(o->packed);
    if (len > ch->net->limits.max_message_bytes)
        return why_set(why, ERR_TOO_BIG, "message of %zu bytes is over the limit of %zu",
                       len, ch->net->limits.max_message_bytes);
    return frame_meta_check(&o->meta, why);
}

static struct net_request *new_request(struct net_channel *ch,
                                       const struct net_request_options *o)
{
    struct net_request *r = calloc(1, sizeof *r);

    if (r == NULL) return NULL;
    stream_init(&r->stream, &request_ops);
    list_init(&r->link);
    r->net = ch->net;
    r->net->users++;
    r->channel = ch;
    r->service = o->service;
    r->method = (uint8_t)o->method;
    r->streams = o->service->streams[o->method];
    r->output = o->service->descriptor->methods[o->method].output;
    r->meta = o->meta;
    r->events = o->events;
    r->user = o->user;
    r->wait = o->wait;
    r->raw = o->raw;
    r->deadline_ns = UINT64_MAX;
    event_assign(&r->timer, r->net->base, -1, 0, on_deadline, r);
    arena_init(&r->keep, 0);
    arena_init(&r->arena, DECODED_MAX);
    return r;
}

static enum err set_deadline(struct net_request *r)
{
    uint64_t now = clock_mono_ns(clock_real());

    if (r->meta.timeout_ns == 0) return ERR_OK;
    if (__builtin_add_overflow(now, r->meta.timeout_ns, &r->deadline_ns)) {
        r->deadline_ns = UINT64_MAX;
        return ERR_OK;
    }
    return net_arm(&r->timer, (r->meta.timeout_ns + 999999) / 1000000) ? ERR_OK
                                                                       : ERR_NOMEM;
}

/* Keep what the CALL will be made of until there is a connection. */
static enum err keep_input(struct net_request *r, const struct net_request_options *o)
{
    struct evbuffer_iovec v;
    size_t len;

    if (r->meta.user) r->meta.user = arena_strdup(&r->keep, r->meta.user);
    if (r->meta.password) r->meta.password = arena_strdup(&r->keep, r->meta.password);
    if (arena_failed(&r->keep)) return ERR_NOMEM;
    if (o->message == NULL && o->packed == NULL) return ERR_OK;
    r->packed = evbuffer_new();
    if (r->packed == NULL) return ERR_NOMEM;
    if (o->packed)
        return evbuffer_add_buffer(r->packed, o->packed) == 0 ? ERR_OK : ERR_NOMEM;
    len = protobuf_c_message_get_packed_size(o->message);
    if (len == 0) return ERR_OK;
    if (evbuffer_reserve_space(r->packed, (ev_ssize_t)len, &v, 1) != 1) return ERR_NOMEM;
    v.iov_len = protobuf_c_message_pack(o->message, v.iov_base);
    return evbuffer_commit_space(r->packed, &v, 1) == 0 ? ERR_OK : ERR_NOMEM;
}

/* Send it, or let it wait for a connection, or see that it fails. */
static enum err place_request(struct net_request *r, struct net_channel *ch,
                              const struct net_request_options *o)
{
    enum err e = ERR_CLOSED;

    if (ch->state == CHANNEL_OPEN) {
        r->packed = o->packed;
        e = put_on(r, ch->conn, o->message);
        r->packed = NULL;
    }
    if (e != ERR_CLOSED) return e;
    e = keep_input(r, o);
    if (e) return e;
    if (ch->state == CHANNEL_BACKOFF && ch->failed && !r->wait) {
        unlink_request(r);
        set_result(r, ch->why.code, ch->why.text, true);
        net_later(r->net, &r->later, tell_later);
        return ERR_OK;
    }
    list_push_back(&ch->waiting, &r->link);
    dial_soon(ch);
    return ERR_OK;
}

enum err net_request_start(struct net_request **out, struct net_channel *ch,
                           const struct net_request_options *o, struct why *why)
{
    struct net_request *r;
    enum err e = check_options(ch, o, why);

    *out = NULL;
    if (e) return e;
    r = new_request(ch, o);
    if (r == NULL) return why_set(why, ERR_NOMEM, "out of memory for a call");
    e = set_deadline(r);
    if (!e) e = place_request(r, ch, o);
    if (e) {
        unlink_request(r);
        net_later(r->net, &r->later, free_request);
        return why_set(why, e, "call %s: %s", ch->address, err_name(e));
    }
    ch->net->stats.calls_out++;
    *out = r;
    return ERR_OK;
}

void *net_request_user(const struct net_request *r)
{
    return r->user;
}

const uint8_t *net_request_bytes(const struct net_request *r, size_t *len)
{
    *len = r->len;
    return r->bytes;
}

bool net_request_writable(struct net_request *r)
{
    return !r->done && !r->finish && stream_writable(&r->stream);
}

static enum err request_send(struct net_request *r, const struct stream_body *b)
{
    struct frame f = {.kind = FRAME_MESSAGE};

    if (r->done || r->finish || r->stream.last_out || !(r->streams & NET_STREAM_IN))
        return ERR_CLOSED;
    /* Raft counts its own bytes: it is stopped only by a queue that is full. */
    if (r->stream.conn == NULL || r->stream.conn->class != NET_RAFT)
        if (!stream_writable(&r->stream)) return ERR_BUSY;
    return stream_send(&r->stream, &f, NULL, 0, b);
}

enum err net_request_send(struct net_request *r, const ProtobufCMessage *message)
{
    return request_send(r, &(struct stream_body){.message = message});
}

enum err net_request_send_bytes(struct net_request *r, struct evbuffer *packed)
{
    return request_send(r, &(struct stream_body){.packed = packed});
}

void net_request_finish(struct net_request *r)
{
    struct frame f = {.kind = FRAME_END, .stream = r->stream.id};

    if (r->done || r->finish || !(r->streams & NET_STREAM_IN)) return;
    r->finish = true;
    if (r->stream.conn == NULL) return;
    r->stream.last_out = true;
    (void)conn_send(r->stream.conn, &f, NULL, 0);
}

void net_request_no_deadline(struct net_request *r)
{
    r->deadline_ns = UINT64_MAX;
    event_del(&r->timer);
}

void net_request_pause(struct net_request *r)
{
    stream_pause(&r->stream);
}

void net_request_resume(struct net_request *r)
{
    stream_resume(&r->stream);
}

void net_request_cancel(struct net_request *r)
{
    if (r->done) { /* its failure is about to be told */
        r->silent = true;
        return;
    }
    send_cancel(r);
    unlink_request(r);
    net_later(r->net, &r->later, free_request);
}
