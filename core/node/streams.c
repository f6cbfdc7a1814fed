/* SPDX-License-Identifier: MIT */
#include "core/node/streams.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/net/client.h"
#include "core/net/server.h"
#include "core/node/internal.h"

struct sending {
    struct list link;
    struct streams *s;
    struct images *images;
    char peer[RAFT_ID_MAX + 1];
    struct net_channel *channel;        /* owned */
    struct net_request *request;        /* NULL when over */
    struct image_out *out;              /* owned */
    const Rqlite__SnapshotChunk *piece; /* to send next; NULL = none is ready */
    struct reader_job job;              /* reads a piece */
    struct mail read_mail, end_mail;
    uint64_t progress_ms;
    bool header_sent, answered, reading, finished;
    bool over;        /* nothing more is sent */
    bool end_posted;  /* ... and end_mail is on its way */
    bool read_failed; /* going on would not help */
    bool ok;
    struct why why; /* of reading */
};

struct receiving {
    struct streams *s;
    struct net_call *call;
    struct image_in *in;                  /* NULL once the stream is complete */
    const Rqlite__SnapshotChunk *message; /* being taken, while busy */
    struct reader_job job;
    struct mail mail;
    uint64_t heard_ms, told_ms;
    uint32_t pages;
    bool answered, busy, gone;
    struct why why;
};

struct streams {
    struct node *n;
    struct list sendings;
    struct receiving *receiving; /* owned; its call is not ended yet; NULL = none */
};

enum err streams_new(struct streams **out, struct node *n, struct why *why)
{
    struct streams *s = calloc(1, sizeof *s);

    if (s == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    s->n = n;
    list_init(&s->sendings);
    *out = s;
    return ERR_OK;
}

static void sending_free(struct sending *x, bool again)
{
    if (x->request) net_request_cancel(x->request);
    net_channel_free(x->channel);
    image_out_close(x->images, x->out, again);
    free(x);
}

static void receiving_free(struct receiving *x)
{
    x->s->receiving = NULL;
    free(x);
}

void streams_free(struct streams *s)
{
    struct list *l;

    if (s == NULL) return;
    while ((l = list_pop_front(&s->sendings)) != NULL)
        sending_free(LIST_ITEM(l, struct sending, link), false);
    if (s->receiving) { /* its image is images' to free */
        net_call_end(s->receiving->call, ERR_CLOSED, "store not open");
        receiving_free(s->receiving);
    }
    free(s);
}

/* --- sending ---------------------------------------------------------------------- */

static void deliver_end(struct mail *m, void *arg)
{
    struct sending *x = LIST_ITEM(m, struct sending, end_mail);
    struct images *images = x->images;
    char peer[RAFT_ID_MAX + 1];
    uint64_t index = image_out_index(x->out);
    bool ok = x->ok, again = !x->ok && x->answered && !x->read_failed;

    (void)arg;
    snprintf(peer, sizeof peer, "%s", x->peer);
    list_remove(&x->link);
    sending_free(x, again);
    images_sent(images, peer, index, ok);
}

/* Outside of net's callbacks, and not while a piece is being read. */
static void end_soon(struct sending *x)
{
    x->over = true;
    if (x->end_posted || x->reading) return;
    x->end_posted = node_post(x->s->n, &x->end_mail, deliver_end);
}

static void give_up(struct sending *x, const char *text)
{
    if (x->over) return;
    logger_warn(x->s->n->o.logger, "store", "snapshot to node %s failed: %s", x->peer,
                text);
    end_soon(x);
}

static void deliver_read(struct mail *m, void *arg);

/* Aside. */
static void read_piece(struct reader_job *j, struct db_reader *unused)
{
    struct sending *x = LIST_ITEM(j, struct sending, job);

    (void)unused;
    x->why.code = image_out_next(x->out, &x->piece, &x->why);
    (void)node_post(x->s->n, &x->read_mail, deliver_read);
}

static void read_next(struct sending *x)
{
    x->reading = true;
    x->job.run = read_piece;
    readers_submit(x->s->n->readers, &x->job);
}

static enum err send_one(struct sending *x, const Rqlite__SnapshotChunk *m)
{
    enum err e;

    if (!net_request_writable(x->request)) return ERR_BUSY;
    e = net_request_send(x->request, &m->base);
    if (e == ERR_OK) x->progress_ms = node_now_ms(x->s->n);
    if (e && e != ERR_BUSY) give_up(x, err_name(e));
    return e;
}

static void send_more(struct sending *x)
{
    if (x->over || x->request == NULL) return;
    if (!x->header_sent) {
        x->header_sent = send_one(x, image_out_header(x->out)) == ERR_OK;
        return;
    }
    if (x->piece == NULL || send_one(x, x->piece) != ERR_OK) return;
    x->piece = NULL;
    read_next(x);
}

static void deliver_read(struct mail *m, void *arg)
{
    struct sending *x = LIST_ITEM(m, struct sending, read_mail);

    (void)arg;
    x->reading = false;
    if (x->over) {
        end_soon(x);
    } else if (x->why.code) { /* at once: who waits would do so in vain */
        x->read_failed = true;
        give_up(x, x->why.text);
    } else if (x->piece == NULL) {
        x->progress_ms = node_now_ms(x->s->n);
        x->finished = true;
        net_request_finish(x->request);
    } else {
        send_more(x);
    }
}

static void on_writable(struct net_request *r)
{
    send_more(net_request_user(r));
}

static void on_reply(struct net_request *r, const ProtobufCMessage *message)
{
    struct sending *x = net_request_user(r);
    const Rqlite__SnapshotReply *reply =
        (const Rqlite__SnapshotReply *)(const void *)message;
    struct why why = {0};

    if (x->over) return;
    x->progress_ms = node_now_ms(x->s->n);
    if (reply->ok) x->ok = x->finished;
    if (x->answered || reply->ok) return;
    if (!x->header_sent || image_out_answer(x->out, reply, &why) != ERR_OK) {
        give_up(x, why.text);
        return;
    }
    x->answered = true;
    if (reply->pages > 0)
        logger_info(x->s->n->o.logger, "store",
                    "snapshot to node %s goes on after page %" PRIu32, x->peer,
                    reply->pages);
    read_next(x);
}

static void on_done(struct net_request *r, const struct net_result *result)
{
    struct sending *x = net_request_user(r);

    x->request = NULL;
    if (result->why.code) x->ok = false;
    if (!x->ok) give_up(x, result->why.code ? result->why.text : "no answer");
    end_soon(x);
}

static const struct net_request_events send_events = {
    .on_message = on_reply, .on_writable = on_writable, .on_done = on_done};

static enum err start(struct sending *x, const char *addr, uint64_t min_index,
                      struct why *why)
{
    struct node *n = x->s->n;
    struct net_channel_options co = {
        .address = addr, .class = NET_BULK, .expect_id = x->peer};
    struct net_request_options ro = {.service = &net_service_raft,
                                     .method = NET_RAFT_INSTALL_SNAPSHOT,
                                     .events = &send_events,
                                     .user = x};
    enum err e = image_out_open(x->images, &x->out, min_index, why);

    if (!e) e = net_channel_new(&x->channel, n->net, &co, why);
    if (!e) e = net_request_start(&x->request, x->channel, &ro, why);
    if (e) x->request = NULL;
    return e;
}

enum err streams_send(struct streams *s, struct images *images, const char *peer,
                      const char *addr, uint64_t min_index, struct why *why)
{
    struct node *n = s->n;
    struct sending *x = calloc(1, sizeof *x);
    enum err e;

    if (x == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    x->s = s;
    x->images = images;
    x->progress_ms = node_now_ms(n);
    snprintf(x->peer, sizeof x->peer, "%s", peer);
    e = start(x, addr, min_index, why);
    if (e) {
        logger_warn(n->o.logger, "store", "snapshot to node %s: %s", peer,
                    why ? why->text : err_name(e));
        sending_free(x, false);
        return e;
    }
    list_push_back(&s->sendings, &x->link);
    logger_info(n->o.logger, "store", "sending snapshot at index %" PRIu64 " to node %s",
                image_out_index(x->out), peer);
    return ERR_OK;
}

/* --- receiving -------------------------------------------------------------------- */

static void refuse(struct receiving *x, enum err code, const char *text)
{
    logger_warn(x->s->n->o.logger, "store", "snapshot from node %s: %s",
                net_call_peer(x->call)->hello.node_id, text);
    net_call_end(x->call, code, text);
    if (x->in) image_in_abort(x->in);
    receiving_free(x);
}

static void leave(struct receiving *x)
{
    net_call_end(x->call, ERR_CANCELLED, NULL);
    if (x->in) image_in_abort(x->in);
    receiving_free(x);
}

void streams_received(void *user, const struct snapshot_meta *m, const struct why *why)
{
    struct receiving *x = user;
    Rqlite__SnapshotReply reply = RQLITE__SNAPSHOT_REPLY__INIT;

    if (why->code) {
        refuse(x, why->code, why->text);
        return;
    }
    logger_info(x->s->n->o.logger, "store",
                "received snapshot at index %" PRIu64 ", %" PRIu64 " bytes", m->index,
                (uint64_t)m->pages * SNAPSHOT_PAGE);
    reply.ok = true;
    reply.pages = m->pages;
    net_call_reply(x->call, &reply.base);
    receiving_free(x);
}

static void deliver_taken_in(struct mail *m, void *arg);

/* Aside: the message stays valid until the call is resumed. */
static void take_in(struct reader_job *j, struct db_reader *unused)
{
    struct receiving *x = LIST_ITEM(j, struct receiving, job);

    (void)unused;
    x->why.code = image_in_message(x->in, x->message, &x->why);
    (void)node_post(x->s->n, &x->mail, deliver_taken_in);
}

static bool answer(struct receiving *x)
{
    Rqlite__SnapshotReply reply;

    image_in_answer(x->in, &reply);
    x->pages = reply.pages;
    if (x->answered) return true;
    x->answered = true;
    if (reply.pages > 0)
        logger_info(x->s->n->o.logger, "store",
                    "snapshot goes on after %" PRIu32 " pages that are here",
                    reply.pages);
    return net_call_send(x->call, &reply.base) == ERR_OK;
}

static void deliver_taken_in(struct mail *m, void *arg)
{
    struct receiving *x = LIST_ITEM(m, struct receiving, mail);

    (void)arg;
    x->busy = false;
    x->heard_ms = node_now_ms(x->s->n);
    if (x->gone)
        leave(x);
    else if (x->why.code)
        refuse(x, x->why.code, x->why.text);
    else if (!answer(x))
        refuse(x, ERR_BUSY, "cannot answer");
    else
        net_call_resume(x->call);
}

static void install_message(struct net_call *c, const ProtobufCMessage *message)
{
    struct receiving *x = net_call_user(c);

    x->message = (const Rqlite__SnapshotChunk *)(const void *)message;
    x->busy = true;
    net_call_pause(c);
    x->job.run = take_in;
    readers_submit(x->s->n->readers, &x->job);
}

static void install_end(struct net_call *c)
{
    struct receiving *x = net_call_user(c);
    struct why why = {0};
    enum err e = image_in_end(x->in, &why);

    if (e) {
        refuse(x, e, why.text);
        return;
    }
    x->in = NULL;
    x->told_ms = node_now_ms(x->s->n);
}

static void install_gone(struct net_call *c)
{
    struct receiving *x = net_call_user(c);

    x->gone = true;
    if (x->in && !x->busy) leave(x); /* else what is under way goes on */
}

static const struct net_call_events install_events = {
    .on_message = install_message, .on_end = install_end, .on_gone = install_gone};

void streams_on_install(struct streams *s, struct images *images, struct net_call *c)
{
    struct receiving *x = calloc(1, sizeof *x);
    struct why why = {0};
    enum err e;

    if (x == NULL) {
        net_call_refuse(c, ERR_NOMEM, "out of memory");
        return;
    }
    x->s = s;
    x->call = c;
    x->heard_ms = node_now_ms(s->n);
    e = images_receive(images, &x->in, x, &why);
    if (e) {
        free(x);
        net_call_refuse(c, e, why.text);
        return;
    }
    s->receiving = x;
    net_call_listen(c, &install_events, x);
}

/* --- patience --------------------------------------------------------------------- */

static void tick_receiving(struct receiving *x, uint64_t now_ms)
{
    Rqlite__SnapshotReply reply = RQLITE__SNAPSHOT_REPLY__INIT;

    if (x->busy) return;
    if (x->in && now_ms >= x->heard_ms + STREAM_STALL_MS) {
        refuse(x, ERR_TIMEOUT, "nothing has come for too long");
    } else if (x->in == NULL && now_ms >= x->told_ms + STREAM_TELL_MS) {
        x->told_ms = now_ms;
        reply.pages = x->pages;
        if (!x->gone) (void)!net_call_send(x->call, &reply.base);
    }
}

void streams_tick(struct streams *s, uint64_t now_ms)
{
    for (struct list *l = s->sendings.next; l != &s->sendings; l = l->next) {
        struct sending *x = LIST_ITEM(l, struct sending, link);

        if (now_ms < x->progress_ms + STREAM_STALL_MS) continue;
        if (x->reading)
            x->progress_ms = now_ms; /* the disk's time is not the receiver's */
        else
            give_up(x, "nothing was taken for too long");
    }
    if (s->receiving) tick_receiving(s->receiving, now_ms);
}

uint64_t streams_deadline_ms(const struct streams *s)
{
    const struct receiving *r = s->receiving;
    uint64_t at = UINT64_MAX, due;

    for (const struct list *l = s->sendings.next; l != &s->sendings; l = l->next) {
        const struct sending *x = LIST_ITEM(l, struct sending, link);

        if (x->over) continue;
        due = x->progress_ms + STREAM_STALL_MS;
        if (due < at) at = due;
    }
    if (r == NULL || r->busy) return at;
    due = r->in ? r->heard_ms + STREAM_STALL_MS : r->told_ms + STREAM_TELL_MS;
    return due < at ? due : at;
}
