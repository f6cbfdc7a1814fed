/* SPDX-License-Identifier: MIT */
#include "core/node/snapshots.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/doc.h"
#include "core/base/text.h"
#include "core/net/client.h"
#include "core/net/server.h"
#include "core/node/images.h"
#include "core/node/internal.h"
#include "core/node/restart.h"

enum { CHUNK_BYTES = 256 << 10, SEND_TIMEOUT_S = 600 };

struct sending {
    struct list link;
    struct snapshots *s;
    char peer[RAFT_ID_MAX + 1];
    struct net_channel *channel; /* owned */
    struct net_request *request; /* NULL when over */
    struct image_out out;
    struct mail mail; /* ends it outside of net's callbacks */
    bool ok;
};

struct receiving {
    struct snapshots *s;
    struct net_call *call;
    struct image_in *in; /* NULL once the stream is complete */
};

struct snapshots {
    struct node *n;
    struct snapshot_store *store; /* owned; any thread */
    struct images *images;        /* owned */
    struct call *waiting;         /* calls for the one being taken */
    struct list sendings;
    struct receiving *receiving; /* owned; its call is not ended yet; NULL = none */
    uint64_t check_ms;           /* when to look at the thresholds next */
    uint64_t begun_ns;           /* when the one being taken was begun */
    uint64_t last_size;          /* of the newest image */
    uint64_t last_changed; /* entry that changed the database last, in it, at first */
    uint64_t log_bytes;    /* written to the log when it was taken */
};

/* --- opening ---------------------------------------------------------------------- */

static uint64_t log_written(const struct node *n)
{
    struct wal_stats st;

    wal_stats(n->wal, &st);
    return st.written_bytes;
}

static void plan_check(struct snapshots *s, uint64_t now_ms)
{
    uint64_t period = s->n->o.snapshot_interval_ns / 1000000;

    if (period == 0) period = 10000;
    s->check_ms = now_ms + period + rand_below(&s->n->rand, period);
}

enum err snapshots_new(struct snapshots **out, struct node *n,
                       struct snapshot_store **store, const struct snapshot_meta *found,
                       struct why *why)
{
    struct snapshots *s = calloc(1, sizeof *s);

    if (s == NULL) {
        snapshot_store_close(*store);
        *store = NULL;
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    s->n = n;
    s->store = *store;
    *store = NULL;
    list_init(&s->sendings);
    s->last_size = found->size;
    s->last_changed = found->changed_index;
    plan_check(s, node_now_ms(n));
    *out = s;
    return ERR_OK;
}

static void sending_free(struct sending *x)
{
    if (x->request) net_request_cancel(x->request);
    net_channel_free(x->channel);
    image_out_close(&x->out);
    free(x);
}

static void receiving_free(struct receiving *x)
{
    x->s->receiving = NULL;
    free(x);
}

void snapshots_free(struct snapshots *s)
{
    struct list *l;

    if (s == NULL) return;
    while ((l = list_pop_front(&s->sendings)) != NULL)
        sending_free(LIST_ITEM(l, struct sending, link));
    if (s->receiving) { /* all of it was here, and not yet durable */
        net_call_end(s->receiving->call, ERR_CLOSED, "store not open");
        receiving_free(s->receiving);
    }
    images_free(s->images);
    snapshot_store_close(s->store);
    free(s);
}

enum err snapshots_restore(struct snapshots *s, const struct snapshot_meta *m,
                           struct why *why)
{
    return restart_database(s->n->applier, s->store, m, why);
}

/* --- taking ----------------------------------------------------------------------- */

static void answer_waiting(struct snapshots *s, const struct why *why)
{
    while (s->waiting) {
        struct call *c = s->waiting;

        s->waiting = c->next;
        c->why = *why;
        c->done(c);
    }
}

void snapshots_stop(struct snapshots *s)
{
    const struct why why = {.code = ERR_CLOSED, .text = "store not open"};

    answer_waiting(s, &why);
}

static void note_newest(struct snapshots *s, const struct snapshot_meta *m)
{
    s->last_size = m->size;
    s->log_bytes = log_written(s->n);
}

static void port_taken(void *host, const struct snapshot_meta *m, const struct why *why)
{
    struct node *n = host;
    struct snapshots *s = n->snapshots;
    char took[TEXT_DURATION_MAX];

    if (why->code == ERR_OK) {
        text_duration(took, (int64_t)(clock_mono_ns(n->o.clock) - s->begun_ns));
        logger_debug(n->o.logger, "store", "full snapshot created in %s on node ID %s",
                     took, n->o.id);
        metrics_add(n->o.metrics, METRIC_store_num_snapshots, 1);
        metrics_time(n->o.metrics, TIMER_snapshot,
                     clock_mono_ns(n->o.clock) - s->begun_ns);
        metrics_add(n->o.metrics, METRIC_store_num_snapshots_full, 1);
        note_newest(s, m);
    } else if (why->code != ERR_NOTHING) {
        logger_warn(n->o.logger, "store", "snapshot: %s", why->text);
        metrics_add(n->o.metrics, METRIC_store_num_snapshots_failed, 1);
    }
    answer_waiting(s, why);
}

static enum err take(struct snapshots *s, uint64_t trailing, struct why *why)
{
    s->begun_ns = clock_mono_ns(s->n->o.clock);
    return images_take(s->images, trailing, why);
}

static uint64_t default_trailing(const struct node *n)
{
    return n->o.snapshot_entries + n->o.snapshot_entries / 4;
}

/* An image is written whole, so it has to be worth it: the log since the last one must be
 * half as large as that one, which keeps what snapshots write in proportion to what
 * clients wrote. */
static bool due(const struct snapshots *s)
{
    const struct node *n = s->n;
    uint64_t since = raft_last_index(n->raft) - raft_snapshot_index(n->raft);

    return n->o.snapshot_entries > 0 && since >= n->o.snapshot_entries &&
           log_written(n) - s->log_bytes >= s->last_size / 2;
}

void snapshots_consider(struct snapshots *s, uint64_t now_ms)
{
    struct why why = {0};

    if (now_ms < s->check_ms) return;
    plan_check(s, now_ms);
    if (images_taking(s->images) || !due(s)) return;
    if (take(s, default_trailing(s->n), &why) != ERR_OK && why.code != ERR_NOTHING)
        logger_warn(s->n->o.logger, "store", "snapshot: %s", why.text);
}

uint64_t snapshots_deadline_ms(const struct snapshots *s)
{
    return s->check_ms;
}

void snapshots_take_for(struct snapshots *s, struct call_snapshot *c)
{
    metrics_add(s->n->o.metrics, METRIC_store_num_user_snapshots, 1);
    if (take(s, c->trailing ? c->trailing : default_trailing(s->n), &c->call.why) ==
        ERR_OK) {
        c->call.next = s->waiting;
        s->waiting = &c->call;
        return;
    }
    c->call.done(&c->call);
}

void snapshots_reap(struct snapshots *s, struct call_reap *c)
{
    c->snapshots_reaped = snapshot_reap(s->store);
    c->wals_checkpointed = 0;
    c->call.done(&c->call);
}

/* --- sending ---------------------------------------------------------------------- */

static void deliver_sent(struct mail *m, void *arg)
{
    struct sending *x = LIST_ITEM(m, struct sending, mail);
    struct node *n = arg;
    char peer[RAFT_ID_MAX + 1];
    uint64_t index = x->out.meta.index;
    bool ok = x->ok;

    snprintf(peer, sizeof peer, "%s", x->peer);
    list_remove(&x->link);
    sending_free(x);
    images_sent(n->snapshots->images, peer, index, ok);
}

static void sent(struct net_request *r, const struct net_result *result)
{
    struct sending *x = net_request_user(r);
    const Rqlite__SnapshotReply *reply =
        (const Rqlite__SnapshotReply *)(const void *)result->reply;

    x->request = NULL;
    x->ok = result->why.code == ERR_OK && reply && reply->ok;
    if (!x->ok)
        logger_warn(x->s->n->o.logger, "store", "snapshot to node %s failed: %s", x->peer,
                    result->why.code ? result->why.text
                    : reply          ? reply->text
                                     : "no answer");
    if (!node_post(x->s->n, &x->mail, deliver_sent))
        return; /* closing: snapshots_free() frees it */
}

static void send_more(struct net_request *r)
{
    struct sending *x = net_request_user(r);
    const Rqlite__SnapshotChunk *m;

    while (net_request_writable(r)) {
        if (image_out_next(&x->out, &m, NULL) != ERR_OK || m == NULL) {
            /* After an error the receiver misses bytes, and refuses the snapshot. */
            net_request_finish(r);
            return;
        }
        if (net_request_send(r, &m->base) != ERR_OK) return;
    }
}

static const struct net_request_events send_events = {.on_writable = send_more,
                                                      .on_done = sent};

static enum err port_stream(void *host, const char *peer, const char *addr,
                            struct why *why)
{
    struct node *n = host;
    struct sending *x = calloc(1, sizeof *x);
    struct net_channel_options co = {
        .address = addr, .class = NET_BULK, .expect_id = peer};
    struct net_request_options ro = {.service = &net_service_raft,
                                     .method = NET_RAFT_INSTALL_SNAPSHOT,
                                     .meta.timeout_ns = SEND_TIMEOUT_S * 1000000000ULL,
                                     .events = &send_events,
                                     .user = x};
    enum err e;

    if (x == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    x->s = n->snapshots;
    snprintf(x->peer, sizeof x->peer, "%s", peer);
    e = image_out_open(&x->out, x->s->store, n->o.io, CHUNK_BYTES, why);
    if (!e) e = net_channel_new(&x->channel, n->net, &co, why);
    if (!e) e = net_request_start(&x->request, x->channel, &ro, why);
    if (e) {
        logger_warn(n->o.logger, "store", "snapshot to node %s: %s", peer,
                    why ? why->text : err_name(e));
        x->request = NULL;
        sending_free(x);
        return e;
    }
    list_push_back(&x->s->sendings, &x->link);
    logger_info(n->o.logger, "store", "sending snapshot at index %" PRIu64 " to node %s",
                x->out.meta.index, peer);
    return ERR_OK;
}

void snapshots_send(struct snapshots *s, const char *peer, uint64_t min_index)
{
    images_send(s->images, peer, min_index);
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

static void port_received(void *host, void *user, const struct snapshot_meta *m,
                          const struct why *why)
{
    struct receiving *x = user;
    struct node *n = host;
    Rqlite__SnapshotReply reply = RQLITE__SNAPSHOT_REPLY__INIT;

    if (why->code) {
        refuse(x, why->code, why->text);
        return;
    }
    logger_info(n->o.logger, "store",
                "received snapshot at index %" PRIu64 ", %" PRIu64 " bytes", m->index,
                m->size);
    note_newest(x->s, m);
    reply.ok = true;
    reply.have = m->size;
    net_call_reply(x->call, &reply.base);
    receiving_free(x);
}

static void port_restored(void *host, const struct snapshot_meta *m)
{
    struct node *n = host;

    (void)m;
    metrics_add(n->o.metrics, METRIC_store_num_restores, 1);
}

static void install_message(struct net_call *c, const ProtobufCMessage *message)
{
    struct receiving *x = net_call_user(c);
    const Rqlite__SnapshotChunk *m = (const Rqlite__SnapshotChunk *)(const void *)message;
    struct why why = {0};
    enum err e = image_in_message(x->in, m, &why);

    if (e) refuse(x, e, why.text);
}

static void install_end(struct net_call *c)
{
    struct receiving *x = net_call_user(c);
    struct why why = {0};
    enum err e = image_in_end(x->in, &why);

    if (e)
        refuse(x, e, why.text);
    else
        x->in = NULL;
}

static void install_gone(struct net_call *c)
{
    struct receiving *x = net_call_user(c);

    if (x->in == NULL) return; /* all of it is here: go on */
    net_call_end(c, ERR_CANCELLED, NULL);
    image_in_abort(x->in);
    receiving_free(x);
}

static const struct net_call_events install_events = {
    .on_message = install_message, .on_end = install_end, .on_gone = install_gone};

void snapshots_on_install(struct snapshots *s, struct net_call *c)
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
    e = images_receive(s->images, &x->in, x, &why);
    if (e) {
        free(x);
        net_call_refuse(c, e, why.text);
        return;
    }
    s->receiving = x;
    net_call_listen(c, &install_events, x);
}

/* --- what images asks of its host --------------------------------------------------- */

static void port_aside(void *host, struct reader_job *j)
{
    readers_submit(((struct node *)host)->readers, j);
}

static bool port_back(void *host, struct mail *m,
                      void (*deliver)(struct mail *m, void *host))
{
    return node_post(host, m, deliver);
}

static uint64_t port_now_ms(void *host)
{
    return node_now_ms(host);
}

static uint64_t port_wall_ms(void *host)
{
    return clock_wall_ns(((struct node *)host)->o.clock) / 1000000;
}

static uint64_t port_cluster_id(void *host)
{
    return ((struct node *)host)->cluster_id;
}

static const struct images_ports ports = {
    .aside = port_aside,
    .back = port_back,
    .taken = port_taken,
    .stream = port_stream,
    .received = port_received,
    .restored = port_restored,
    .now_ms = port_now_ms,
    .wall_ms = port_wall_ms,
    .cluster_id = port_cluster_id,
};

enum err snapshots_begin(struct snapshots *s, struct why *why)
{
    struct node *n = s->n;
    struct images_options io = {.store = s->store,
                                .member = n->member,
                                .raft = n->raft,
                                .scratch_dir = n->scratch_dir,
                                .trailing = default_trailing(n),
                                .last_changed = s->last_changed,
                                .ports = &ports,
                                .host = n};

    return images_new(&s->images, &io, why);
}

/* --- status ----------------------------------------------------------------------- */

static void add_id(const char *id, void *arg)
{
    doc_add_text(arg, NULL, id);
}

void snapshots_status(struct snapshots *s, struct doc *store)
{
    struct doc *d = doc_add_object(store, "snapshot_store");
    struct snapshot_meta m;
    char dir[4096];

    snprintf(dir, sizeof dir, "%.4000s/snapshots", s->n->o.data_dir);
    doc_add_text(d, "dir", dir);
    if (snapshot_newest(s->store, &m) == ERR_OK) {
        doc_add_uint(d, "dir_size", m.size);
        snapshot_meta_fini(&m);
    } else {
        doc_add_uint(d, "dir_size", 0);
    }
    snapshot_each(s->store, add_id, doc_add_array(d, "snapshots"));
    d = doc_add_object(store, "snapshot_cas");
    doc_add_null(d, "owner");
    doc_add_duration(d, "duration", 0);
}
