/* SPDX-License-Identifier: MIT */
#include "core/node/snapshots.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/crc32c.h"
#include "core/base/doc.h"
#include "core/base/io.h"
#include "core/base/text.h"
#include "core/db/snapshot.h"
#include "core/net/client.h"
#include "core/net/server.h"
#include "core/node/internal.h"
#include "core/node/restart.h"

enum { CHUNK_BYTES = 256 << 10, SEND_TIMEOUT_S = 600 };

struct take {              /* one being taken; travels from thread to thread */
    struct apply_pin pin;  /* apply thread */
    struct reader_job job; /* reader thread */
    struct mail mail;      /* back to the node thread */
    struct snapshots *s;
    struct snapshot_meta meta;
    uint64_t trailing, begun_ns, last_changed;
    struct why why;
};

struct sending {
    struct list link;
    struct snapshots *s;
    char peer[RAFT_ID_MAX + 1];
    struct net_channel *channel; /* owned */
    struct net_request *request; /* NULL when over */
    struct snapshot_meta meta;
    bool pinned, header_sent;
    int fd;
    uint64_t offset;
    struct mail mail; /* ends it outside of net's callbacks */
    bool ok;
};

struct receiving {
    struct snapshots *s;
    struct net_call *call;
    struct snapshot_writer *writer; /* NULL until the header is here */
    struct snapshot_meta meta;
    struct reader_job job;
    struct apply_restore restore;
    struct mail mail;
    struct why why;
    char path[4096];
    bool committing;
};

struct snapshots {
    struct node *n;
    struct snapshot_store *store; /* any thread */
    struct take *taking;          /* NULL = none */
    struct call *waiting;         /* calls for the one being taken */
    struct list sendings;
    struct want { /* members that wait for one to be taken */
        char peer[RAFT_ID_MAX + 1];
        uint64_t min_index;
    } wants[RAFT_MEMBERS_MAX];
    size_t n_wants;
    struct receiving *receiving; /* at most one */
    uint64_t check_ms;           /* when to look at the thresholds next */
    uint64_t last_size;          /* of the newest image */
    uint64_t last_changed;       /* entry that changed the database last, in it */
    uint64_t log_bytes;          /* written to the log when it was taken */
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
    if (x->fd >= 0) close(x->fd);
    if (x->pinned) snapshot_unpin(x->s->store, x->meta.id);
    snapshot_meta_fini(&x->meta);
    free(x);
}

void snapshots_free(struct snapshots *s)
{
    struct list *l;

    if (s == NULL) return;
    while ((l = list_pop_front(&s->sendings)) != NULL)
        sending_free(LIST_ITEM(l, struct sending, link));
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

static void try_wants(struct snapshots *s);

/* Node thread: it is durable, or it failed. */
static void deliver_taken(struct mail *m, void *arg)
{
    struct take *t = LIST_ITEM(m, struct take, mail);
    struct snapshots *s = t->s;
    struct node *n = arg;
    char took[TEXT_DURATION_MAX];

    s->taking = NULL;
    if (t->why.code == ERR_OK) {
        text_duration(took, (int64_t)(clock_mono_ns(n->o.clock) - t->begun_ns));
        logger_debug(n->o.logger, "store", "full snapshot created in %s on node ID %s",
                     took, n->o.id);
        metrics_add(n->o.metrics, METRIC_store_num_snapshots, 1);
        metrics_add(n->o.metrics, METRIC_store_num_snapshots_full, 1);
        s->last_size = t->meta.size;
        s->last_changed = t->meta.changed_index;
        s->log_bytes = log_written(n);
        member_snapshot_taken(n->member, t->meta.index, t->meta.term, &t->meta.config,
                              t->trailing, node_now_ms(n));
    } else if (t->why.code != ERR_NOTHING) {
        logger_warn(n->o.logger, "store", "snapshot: %s", t->why.text);
        metrics_add(n->o.metrics, METRIC_store_num_snapshots_failed, 1);
    }
    answer_waiting(s, &t->why);
    snapshot_meta_fini(&t->meta);
    free(t);
    try_wants(s);
}

/* Reader thread: copy what the pinned reader sees. */
static void take_on_reader(struct reader_job *j, struct db_reader *unused)
{
    struct take *t = LIST_ITEM(j, struct take, job);
    struct node *n = t->s->n;
    struct snapshot_writer *w = NULL;
    struct snapshot_meta newest;
    char path[4200];
    enum err e;

    (void)unused;
    snprintf(path, sizeof path, "%.4000s/snapshot.sqlite", n->scratch_dir);
    e = db_reader_backup(t->pin.reader, DB_BACKUP_WAL, NULL, path, &t->why);
    db_reader_close(t->pin.reader);
    if (!e)
        e = snapshot_begin(t->s->store, &w, t->meta.index, t->meta.term,
                           clock_wall_ns(n->o.clock) / 1000000, &t->why);
    if (!e) {
        e = snapshot_adopt(w, path, &t->why);
        if (e)
            snapshot_abort(w);
        else
            e = snapshot_commit(w, &t->meta, &t->why);
    }
    unlink(path);
    if (!e && snapshot_newest(t->s->store, &newest) == ERR_OK) {
        t->meta.size = newest.size;
        snapshot_meta_fini(&newest);
    }
    t->why.code = e;
    (void)node_post(n, &t->mail, deliver_taken);
}

/* Apply thread: the state is pinned. */
static void take_pinned(struct apply_pin *p)
{
    struct take *t = LIST_ITEM(p, struct take, pin);
    struct node *n = t->s->n;

    t->why = p->why;
    if (p->why.code == ERR_OK && p->state.changed_index <= t->last_changed) {
        db_reader_close(p->reader); /* membership entries and the like only */
        (void)why_set(&t->why, ERR_NOTHING, "nothing new to snapshot");
    }
    if (t->why.code) {
        (void)node_post(n, &t->mail, deliver_taken);
        return;
    }
    CHECK(p->state.index == t->meta.index);
    t->meta.time_ns = p->time_ns;
    t->meta.effect_hash = p->state.effect_hash;
    t->meta.changed_index = p->state.changed_index;
    t->meta.state_len = p->state.len;
    memcpy(t->meta.state, p->state.bytes, p->state.len);
    t->job.run = take_on_reader;
    readers_submit(n->readers, &t->job);
}

static enum err take(struct snapshots *s, uint64_t trailing, struct why *why)
{
    struct node *n = s->n;
    struct take *t = calloc(1, sizeof *t);
    struct apply_job *job = apply_job_new(0);
    const struct raft_config *c;
    enum err e = ERR_OK;

    if (t == NULL || job == NULL) {
        free(t);
        apply_job_free(job);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    t->s = s;
    t->trailing = trailing;
    t->last_changed = s->last_changed;
    t->begun_ns = clock_mono_ns(n->o.clock);
    t->meta.index = member_handed_over(n->member);
    t->meta.term = raft_term_of(n->raft, t->meta.index);
    t->meta.cluster_id = n->cluster_id;
    raft_config_init(&t->meta.config);
    c = raft_config_at(n->raft, t->meta.index);
    if (t->meta.index <= raft_snapshot_index(n->raft) || t->meta.term == 0 || c == NULL)
        e = why_set(why, ERR_NOTHING, "nothing new to snapshot");
    if (!e) e = raft_config_copy(&t->meta.config, c);
    if (!e) t->meta.config.index = c->index;
    if (e) {
        snapshot_meta_fini(&t->meta);
        free(t);
        apply_job_free(job);
        return e;
    }
    t->pin.done = take_pinned;
    job->pin = &t->pin;
    s->taking = t;
    member_pin(n->member, job);
    return ERR_OK;
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
    if (s->taking || !due(s)) return;
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
    if (s->taking) {
        (void)why_set(&c->call.why, ERR_BUSY, "snapshot already in progress");
    } else if (take(s, c->trailing ? c->trailing : default_trailing(s->n),
                    &c->call.why) == ERR_OK) {
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
    uint64_t index = x->meta.index;
    bool ok = x->ok;

    snprintf(peer, sizeof peer, "%s", x->peer);
    list_remove(&x->link);
    sending_free(x);
    member_snapshot_sent(n->member, peer, index, ok, node_now_ms(n));
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

static enum err send_header(struct sending *x)
{
    Rqlite__SnapshotHeader h = RQLITE__SNAPSHOT_HEADER__INIT;
    Rqlite__SnapshotChunk m = RQLITE__SNAPSHOT_CHUNK__INIT;
    struct blob *meta = snapshot_meta_encode(&x->meta);
    enum err e;

    if (meta == NULL) return ERR_NOMEM;
    h.index = x->meta.index;
    h.term = x->meta.term;
    h.size = x->meta.size;
    h.crc32c = x->meta.crc32c;
    h.effect_hash = x->meta.effect_hash;
    h.meta.data = meta->data;
    h.meta.len = meta->len;
    m.kind_case = RQLITE__SNAPSHOT_CHUNK__KIND_HEADER;
    m.header = &h;
    e = net_request_send(x->request, &m.base);
    blob_unref(meta);
    return e;
}

static void send_more(struct net_request *r)
{
    struct sending *x = net_request_user(r);
    static _Thread_local uint8_t piece[CHUNK_BYTES];

    if (!x->header_sent) {
        if (send_header(x) != ERR_OK) return;
        x->header_sent = true;
    }
    while (x->offset < x->meta.size && net_request_writable(r)) {
        Rqlite__SnapshotChunk m = RQLITE__SNAPSHOT_CHUNK__INIT;
        ssize_t n = pread(x->fd, piece, sizeof piece, (off_t)x->offset);

        if (n <= 0) { /* the receiver will miss bytes and refuse the snapshot */
            net_request_finish(r);
            return;
        }
        m.kind_case = RQLITE__SNAPSHOT_CHUNK__KIND_DATA;
        m.data.data = piece;
        m.data.len = (size_t)n;
        m.offset = x->offset;
        m.crc32c = crc32c(0, piece, (size_t)n);
        if (net_request_send(r, &m.base) != ERR_OK) return;
        x->offset += (uint64_t)n;
    }
    if (x->offset >= x->meta.size) net_request_finish(r);
}

static const struct net_request_events send_events = {.on_writable = send_more,
                                                      .on_done = sent};

static enum err start_sending(struct snapshots *s, const char *peer, const char *addr,
                              struct why *why)
{
    struct sending *x = calloc(1, sizeof *x);
    struct net_channel_options co = {
        .address = addr, .class = NET_BULK, .expect_id = peer};
    struct net_request_options ro = {.service = &net_service_raft,
                                     .method = NET_RAFT_INSTALL_SNAPSHOT,
                                     .meta.timeout_ns = SEND_TIMEOUT_S * 1000000000ULL,
                                     .events = &send_events,
                                     .user = x};
    char path[4096];
    enum err e;

    if (x == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    x->s = s;
    x->fd = -1;
    snprintf(x->peer, sizeof x->peer, "%s", peer);
    e = snapshot_pin(s->store, &x->meta, path, sizeof path);
    x->pinned = e == ERR_OK;
    if (!e && (x->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        e = why_errno(why, "open %s", path);
    if (!e) e = net_channel_new(&x->channel, s->n->net, &co, why);
    if (!e) e = net_request_start(&x->request, x->channel, &ro, why);
    if (e) {
        x->request = NULL;
        sending_free(x);
        return e;
    }
    list_push_back(&s->sendings, &x->link);
    logger_info(s->n->o.logger, "store",
                "sending snapshot at index %" PRIu64 " to node %s", x->meta.index, peer);
    return ERR_OK;
}

static bool is_sending(const struct snapshots *s, const char *peer)
{
    for (struct list *l = s->sendings.next; l != &s->sendings; l = l->next)
        if (strcmp(LIST_ITEM(l, struct sending, link)->peer, peer) == 0) return true;
    return false;
}

/* Start what can be started; take a newer snapshot for the others. */
static void try_wants(struct snapshots *s)
{
    struct node *n = s->n;
    struct why why = {0};
    bool missing = false;

    for (size_t i = 0; i < s->n_wants;) {
        struct want w = s->wants[i];
        const struct raft_member *m = raft_config_find(raft_config(n->raft), w.peer);

        if (m && raft_snapshot_index(n->raft) < w.min_index) {
            missing = true;
            i++;
            continue;
        }
        s->wants[i] = s->wants[--s->n_wants];
        if (m == NULL || is_sending(s, w.peer)) continue;
        if (start_sending(s, w.peer, m->addr, &why) != ERR_OK) {
            logger_warn(n->o.logger, "store", "snapshot to node %s: %s", w.peer,
                        why.text);
            member_snapshot_sent(n->member, w.peer, w.min_index, false, node_now_ms(n));
        }
    }
    if (!missing || s->taking) return;
    if (take(s, default_trailing(n), &why) == ERR_OK) return;
    while (s->n_wants > 0) { /* raft asks again */
        struct want w = s->wants[--s->n_wants];

        member_snapshot_sent(n->member, w.peer, w.min_index, false, node_now_ms(n));
    }
}

static void deliver_wants(struct mail *m, void *arg)
{
    struct node *n = arg;

    free(m);
    try_wants(n->snapshots);
}

void snapshots_send(struct snapshots *s, const char *peer, uint64_t min_index)
{
    struct mail *m;

    for (size_t i = 0; i < s->n_wants; i++)
        if (strcmp(s->wants[i].peer, peer) == 0) return;
    if (s->n_wants == RAFT_MEMBERS_MAX) return;
    snprintf(s->wants[s->n_wants].peer, sizeof s->wants[0].peer, "%s", peer);
    s->wants[s->n_wants++].min_index = min_index;
    m = calloc(1, sizeof *m); /* not within the turn that asked */
    if (m == NULL || !node_post(s->n, m, deliver_wants)) free(m);
}

/* --- receiving -------------------------------------------------------------------- */

static void receiving_free(struct receiving *x)
{
    snapshot_abort(x->writer);
    snapshot_meta_fini(&x->meta);
    if (x->s->receiving == x) x->s->receiving = NULL;
    free(x);
}

static void refuse(struct receiving *x, enum err code, const char *text)
{
    logger_warn(x->s->n->o.logger, "store", "snapshot from node %s: %s",
                net_call_peer(x->call)->hello.node_id, text);
    net_call_end(x->call, code, text);
    receiving_free(x);
}

static void deliver_restored(struct mail *m, void *arg)
{
    struct receiving *x = LIST_ITEM(m, struct receiving, mail);
    struct node *n = arg;

    snapshot_unpin(x->s->store, x->meta.id);
    metrics_add(n->o.metrics, METRIC_store_num_restores, 1);
    member_applied(n->member, x->meta.index, x->meta.effect_hash, node_now_ms(n));
    receiving_free(x);
}

/* Apply thread. */
static void restored(struct apply_restore *r)
{
    struct receiving *x = LIST_ITEM(r, struct receiving, restore);

    (void)node_post(x->s->n, &x->mail, deliver_restored);
}

/* Node thread: the snapshot is durable here, or refused. */
static void deliver_committed(struct mail *m, void *arg)
{
    struct receiving *x = LIST_ITEM(m, struct receiving, mail);
    struct snapshots *s = x->s;
    struct node *n = arg;
    Rqlite__SnapshotReply reply = RQLITE__SNAPSHOT_REPLY__INIT;
    struct apply_job *job;

    if (x->why.code) {
        refuse(x, x->why.code, x->why.text);
        return;
    }
    job = apply_job_new(0);
    if (job == NULL) {
        snapshot_unpin(s->store, x->meta.id);
        refuse(x, ERR_NOMEM, "out of memory");
        return;
    }
    logger_info(n->o.logger, "store",
                "received snapshot at index %" PRIu64 ", %" PRIu64 " bytes",
                x->meta.index, x->meta.size);
    s->last_size = x->meta.size;
    s->last_changed = x->meta.changed_index;
    s->log_bytes = log_written(n);
    reply.ok = true;
    reply.have = x->meta.size;
    net_call_reply(x->call, &reply.base);
    x->call = NULL;
    x->restore.path = x->path;
    x->restore.time_ns = x->meta.time_ns;
    x->restore.state.index = x->meta.index;
    x->restore.state.effect_hash = x->meta.effect_hash;
    x->restore.state.changed_index = x->meta.changed_index;
    x->restore.state.len = x->meta.state_len;
    memcpy(x->restore.state.bytes, x->meta.state, x->meta.state_len);
    x->restore.done = restored;
    job->restore = &x->restore;
    if (!member_snapshot_installed(n->member, x->meta.index, x->meta.term,
                                   &x->meta.config, job, node_now_ms(n))) {
        snapshot_unpin(s->store, x->meta.id); /* we were past it already */
        receiving_free(x);
    }
}

/* Reader thread: syncing a large file must not hold up the node thread. */
static void commit_on_reader(struct reader_job *j, struct db_reader *unused)
{
    struct receiving *x = LIST_ITEM(j, struct receiving, job);
    struct snapshot_meta pinned;

    (void)unused;
    x->why.code = snapshot_commit(x->writer, &x->meta, &x->why);
    x->writer = NULL;
    if (x->why.code == ERR_OK) {
        x->why.code = snapshot_pin(x->s->store, &pinned, x->path, sizeof x->path);
        if (x->why.code == ERR_OK) {
            if (pinned.index != x->meta.index) /* ours is newer by now */
                (void)why_set(&x->why, ERR_STALE, "this node has a newer snapshot");
            snprintf(x->meta.id, sizeof x->meta.id, "%s", pinned.id);
            if (x->why.code) snapshot_unpin(x->s->store, pinned.id);
            snapshot_meta_fini(&pinned);
        }
    }
    (void)node_post(x->s->n, &x->mail, deliver_committed);
}

static enum err begin_receiving(struct receiving *x, const Rqlite__SnapshotHeader *h,
                                struct why *why)
{
    struct snapshots *s = x->s;
    enum err e = snapshot_meta_decode(&x->meta, h->meta.data, h->meta.len, why);

    if (e) return e;
    if (s->taking) return why_set(why, ERR_BUSY, "a snapshot is being taken here");
    return snapshot_begin(s->store, &x->writer, x->meta.index, x->meta.term,
                          clock_wall_ns(s->n->o.clock) / 1000000, why);
}

static enum err take_piece(struct receiving *x, const Rqlite__SnapshotChunk *m,
                           struct why *why)
{
    if (x->writer == NULL) return why_set(why, ERR_INVALID, "data before the header");
    if (m->offset != snapshot_written(x->writer) ||
        m->data.len > x->meta.size - m->offset)
        return why_set(why, ERR_INVALID, "data out of order");
    if (crc32c(0, m->data.data, m->data.len) != m->crc32c)
        return why_set(why, ERR_CORRUPT, "a chunk does not match its checksum");
    return snapshot_write(x->writer, m->data.data, m->data.len, why);
}

static void install_message(struct net_call *c, const ProtobufCMessage *message)
{
    struct receiving *x = net_call_user(c);
    const Rqlite__SnapshotChunk *m = (const Rqlite__SnapshotChunk *)(const void *)message;
    struct why why = {0};
    enum err e;

    if (m->kind_case == RQLITE__SNAPSHOT_CHUNK__KIND_HEADER && x->writer == NULL)
        e = begin_receiving(x, m->header, &why);
    else if (m->kind_case == RQLITE__SNAPSHOT_CHUNK__KIND_DATA)
        e = take_piece(x, m, &why);
    else
        e = why_set(&why, ERR_INVALID, "unexpected message");
    if (e) refuse(x, e, why.text);
}

static void install_end(struct net_call *c)
{
    struct receiving *x = net_call_user(c);

    if (x->writer == NULL || snapshot_written(x->writer) != x->meta.size) {
        refuse(x, ERR_INVALID, "the stream ended too early");
        return;
    }
    x->committing = true;
    x->job.run = commit_on_reader;
    readers_submit(x->s->n->readers, &x->job);
}

static void install_gone(struct net_call *c)
{
    struct receiving *x = net_call_user(c);

    if (x->committing) return; /* all of it is here: go on */
    net_call_end(c, ERR_CANCELLED, NULL);
    receiving_free(x);
}

static const struct net_call_events install_events = {
    .on_message = install_message, .on_end = install_end, .on_gone = install_gone};

void snapshots_on_install(struct snapshots *s, struct net_call *c)
{
    struct receiving *x;

    if (s->receiving) {
        net_call_refuse(c, ERR_BUSY, "another snapshot is being received");
        return;
    }
    x = calloc(1, sizeof *x);
    if (x == NULL) {
        net_call_refuse(c, ERR_NOMEM, "out of memory");
        return;
    }
    x->s = s;
    x->call = c;
    raft_config_init(&x->meta.config);
    s->receiving = x;
    net_call_listen(c, &install_events, x);
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
