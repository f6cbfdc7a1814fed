/* SPDX-License-Identifier: MIT */
/*
 * serve: the service Database, as the leader carries it out for other nodes.
 *
 *     net_call -> work (a call of the node's, with a sink that packs) -> answer ->
 * net_call
 *
 * Rows of a read are sent while the statement runs: its reader's thread packs them into
 * pieces, of which AHEAD_MAX may wait for the wire; then it waits itself.  What went
 * through the log is packed by the apply thread, which waits for nobody, and must not be
 * shown before its transaction is committed; so that is kept until the call is done.
 */
#include "core/cluster/serve.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "core/base/io.h"
#include "core/base/pb.h"
#include "core/cluster/permit.h"

enum {
    AHEAD_MAX = 4,                /* pieces of RESULTS_BATCH_BYTES */
    LOGGED_BYTES_MAX = 128 << 20, /* of results of what went through the log */
    NS_PER_MS = 1000000,
    NS_PER_S = 1000 * NS_PER_MS
};

/* --- the answer ------------------------------------------------------------------- */

static void answer_free(struct answer *a)
{
    list_remove(&a->link);
    for (size_t i = 0; i < a->n; i++) blob_unref(a->pieces[i]);
    free(a->pieces);
    free(a->text);
    free(a);
}

/* Nobody waits for it, and it need not be kept. */
static void answer_check(struct answer *a)
{
    if (a->work == NULL && a->call == NULL && a->entry.session == NULL) answer_free(a);
}

void serve_dropped(struct answers_entry *e)
{
    answer_check(LIST_ITEM(e, struct answer, entry));
}

/* What certainly had no effect: the caller may go elsewhere. */
static bool had_no_effect(enum err code)
{
    return code == ERR_NOT_LEADER || code == ERR_NO_LEADER || code == ERR_TRANSFER ||
           code == ERR_NOT_READY || code == ERR_NOT_OPEN;
}

static void end_call(struct answer *a)
{
    struct net_call *c = a->call;

    a->call = NULL;
    if (a->code == ERR_OK)
        net_call_end(c, ERR_OK, NULL);
    else if (had_no_effect(a->code))
        net_call_refuse(c, a->code, a->text);
    else
        net_call_end(c, a->code, a->text);
}

/* The next piece to send, still in its place; NULL: there is none (yet). */
static struct blob *next_piece(struct answer *a)
{
    struct work *w = a->work;
    struct blob *b = NULL;

    if (w == NULL) return a->sent < a->n ? a->pieces[a->sent] : NULL;
    pthread_mutex_lock(&w->lock);
    if (w->streams && w->n > 0) b = w->pieces[0];
    pthread_mutex_unlock(&w->lock);
    return b;
}

static void piece_sent(struct answer *a)
{
    struct work *w = a->work;

    if (w == NULL) {
        a->sent++;
        return;
    }
    pthread_mutex_lock(&w->lock);
    blob_unref(w->pieces[0]);
    memmove(w->pieces, w->pieces + 1, --w->n * sizeof w->pieces[0]);
    pthread_cond_signal(&w->room);
    pthread_mutex_unlock(&w->lock);
}

static enum err send_piece(struct answer *a, struct blob *b)
{
    struct evbuffer *out = a->cluster->packed;
    enum err e = ERR_NOMEM;

    if (net_add_blob(out, b, 0)) e = net_call_send_bytes(a->call, out);
    evbuffer_drain(out, evbuffer_get_length(out));
    return e;
}

/* Rows go nowhere: whoever reads them may stop. */
static void stop_rows(struct work *w)
{
    pthread_mutex_lock(&w->lock);
    w->unwanted = true;
    pthread_cond_signal(&w->room);
    pthread_mutex_unlock(&w->lock);
    if (w->kind == WORK_QUERY && !w->u.query.request->rows)
        atomic_store(&w->call->cancelled, true);
}

/* Nobody waits for the answer any more.  A read is given up; a write goes on. */
static void detach(struct answer *a)
{
    a->call = NULL;
    if (a->work && a->entry.session == NULL) stop_rows(a->work);
    answer_check(a);
}

/* Send as much as the caller takes. */
static void answer_pump(struct answer *a)
{
    struct blob *b;

    while (a->call && (b = next_piece(a)) != NULL) {
        enum err e;

        if (!net_call_writable(a->call)) return;
        e = send_piece(a, b);
        if (e == ERR_BUSY || e == ERR_CANCELLED) return; /* an event follows */
        if (e) {
            struct net_call *c = a->call;

            detach(a);
            net_call_end(c, e, "the answer cannot be sent");
            return;
        }
        piece_sent(a);
    }
    if (a->call && a->work == NULL) {
        end_call(a);
        answer_check(a);
    }
}

static void on_writable(struct net_call *c)
{
    answer_pump(net_call_user(c));
}

static void on_gone(struct net_call *c)
{
    detach(net_call_user(c));
    net_call_end(c, ERR_CANCELLED, NULL);
}

static const struct net_call_events answer_events = {.on_writable = on_writable,
                                                     .on_gone = on_gone};

/* Let c have the answer, from its beginning; who had it before has lost its connection.
 */
static void attach(struct answer *a, struct net_call *c)
{
    struct net_call *before = a->call;

    a->call = c;
    a->sent = 0;
    net_call_listen(c, &answer_events, a);
    if (before) {
        net_call_listen(before, NULL, NULL);
        net_call_end(before, ERR_CANCELLED, "asked again");
    }
    answer_pump(a);
}

/* --- the work: packing, on whatever thread runs the statements -------------------- */

static struct work *work_of(struct results_writer *w)
{
    return LIST_ITEM(w, struct work, writer);
}

static void deliver_work(struct mail *m, void *node);

/* Under the lock: the node thread has something to look at. */
static void wake_node(struct work *w)
{
    if (w->posted) return;
    w->posted = true;
    cluster_post(w->cluster, &w->mail, deliver_work);
}

static bool add_piece(struct work *w, struct blob *b)
{
    if (w->n == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : AHEAD_MAX + 1;
        struct blob **p = realloc(w->pieces, cap * sizeof *p);

        if (p == NULL) return false;
        w->pieces = p;
        w->cap = cap;
    }
    w->pieces[w->n++] = b;
    w->bytes += b->len;
    return true;
}

/* Through the log: then the apply thread is here. */
static bool logged(const struct work *w)
{
    const struct call_query *q = &w->u.query;

    if (w->kind != WORK_QUERY) return true;
    return q->went_through_log || q->write.call.done != NULL;
}

/* Under the lock.  Wait for the wire to take a piece, not for long when the reader is
 * wanted elsewhere: then the answer ends here. */
static void wait_for_room(struct work *w)
{
    uint64_t hurried_ms = 0;

    while (w->n >= AHEAD_MAX && !w->unwanted && !w->writer.error) {
        uint64_t now = clock_mono_ns(clock_real()),
                 until = now + SINK_LOOK_MS * NS_PER_MS;
        struct timespec t = {(time_t)(until / NS_PER_S), (long)(until % NS_PER_S)};

        if (row_sink_hurries(&w->writer.sink, &hurried_ms, now / NS_PER_MS))
            w->writer.error = ERR_BUSY;
        else
            (void)pthread_cond_timedwait(&w->room, &w->lock, &t);
    }
}

static bool hand_over(struct work *w, bool last)
{
    struct buf *out = &w->writer.out;
    struct blob *b = blob_copy(out->data, out->len);
    bool wanted, fits = true;

    buf_clear(out);
    if (b == NULL) {
        w->writer.error = ERR_NOMEM;
        return false;
    }
    pthread_mutex_lock(&w->lock);
    if (!logged(w) && !last) {
        w->streams = true;
        wait_for_room(w);
    } else {
        fits = w->bytes + b->len <= LOGGED_BYTES_MAX;
    }
    wanted = (!w->unwanted || !w->streams) && w->writer.error == ERR_OK;
    if (wanted && fits && add_piece(w, b))
        b = NULL;
    else if (wanted)
        w->writer.error = fits ? ERR_NOMEM : ERR_TOO_BIG;
    if (b == NULL && w->streams) wake_node(w);
    pthread_mutex_unlock(&w->lock);
    if (b == NULL) return true;
    blob_unref(b);
    return false;
}

static bool on_full(struct results_writer *writer)
{
    return hand_over(work_of(writer), false);
}

static uint64_t index_of(const struct work *w)
{
    switch (w->kind) {
    case WORK_EXECUTE: return w->u.execute.raft_index;
    case WORK_QUERY: return w->u.query.raft_index;
    case WORK_LOAD: return w->u.load.raft_index;
    }
    return 0;
}

static void work_done(struct call *c)
{
    struct work *w = LIST_ITEM(c, struct work, u.execute.call);

    if (c->why.code == ERR_OK && !w->writer.error) {
        results_writer_end(&w->writer, index_of(w));
        if (!w->writer.error) (void)hand_over(w, true);
    }
    pthread_mutex_lock(&w->lock);
    w->finished = true;
    wake_node(w);
    pthread_mutex_unlock(&w->lock);
}

/* --- the work: on the node thread ------------------------------------------------- */

static void work_free(struct work *w)
{
    list_remove(&w->link);
    for (size_t i = 0; i < w->n; i++) blob_unref(w->pieces[i]);
    free(w->pieces);
    results_writer_fini(&w->writer);
    arena_fini(&w->arena);
    pthread_cond_destroy(&w->room);
    pthread_mutex_destroy(&w->lock);
    if (w->kind == WORK_LOAD && w->u.load.fd >= 0) close(w->u.load.fd);
    free(w);
}

/* Why results that there were have not all been sent. */
static const char *words_of(enum err e)
{
    switch (e) {
    case ERR_TOO_BIG: return "the results are too large to be sent to another node";
    case ERR_BUSY: return "the results were not taken while others waited to read";
    default: return "out of memory for results";
    }
}

static void set_outcome(struct answer *a, const struct work *w)
{
    const struct why *why = &w->call->why;

    a->code = why->code;
    if (why->code) {
        a->text = strdup(why->text);
    } else if (w->writer.error) { /* it was carried out: say so */
        a->code = w->writer.error;
        a->text = strdup(words_of(a->code));
    }
}

/* The answer lives on with what is still to be sent; the work is over. */
static void finish(struct work *w)
{
    struct answer *a = w->answer;
    struct answers *table = &w->cluster->answers;
    bool wanted;

    set_outcome(a, w);
    if (a->code == ERR_OK || w->streams) {
        a->pieces = w->pieces;
        a->n = w->n;
        w->pieces = NULL;
        w->n = 0;
    }
    if (had_no_effect(a->code) || !logged(w)) /* it may be run again */
        answers_remove(table, &a->entry);
    a->work = NULL;
    a->sent = 0;
    wanted = a->call != NULL;
    if (a->entry.session)
        answers_done(table, &a->entry, sizeof *a + w->bytes); /* may be the end of a */
    else
        answer_check(a);
    work_free(w);
    if (wanted) answer_pump(a);
}

static void deliver_work(struct mail *m, void *node)
{
    struct work *w = LIST_ITEM(m, struct work, mail);
    struct answer *a = w->answer;
    bool finished, streams;

    (void)node;
    pthread_mutex_lock(&w->lock);
    w->posted = false;
    finished = w->finished;
    streams = w->streams;
    pthread_mutex_unlock(&w->lock);
    if (streams) answers_remove(&w->cluster->answers, &a->entry); /* so it is a read */
    if (finished)
        finish(w);
    else if (a->call)
        answer_pump(a);
    else if (streams)
        stop_rows(w);
}

static struct work *work_new(struct cluster *cl, enum work_kind kind)
{
    struct work *w = calloc(1, sizeof *w);
    struct answer *a = calloc(1, sizeof *a);
    pthread_condattr_t attr;

    if (w == NULL || a == NULL) {
        free(w);
        free(a);
        return NULL;
    }
    a->cluster = w->cluster = cl;
    a->work = w;
    list_init(&a->entry.in_session);
    list_init(&a->entry.in_order);
    list_push_back(&cl->served, &a->link);
    w->answer = a;
    w->kind = kind;
    w->call = &w->u.execute.call; /* the first member of each */
    w->call->done = work_done;
    list_init(&w->link);
    arena_init(&w->arena, 0);
    results_writer_init(&w->writer, on_full);
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->room, &attr);
    pthread_condattr_destroy(&attr);
    return w;
}

/* It was never begun. */
static void work_abandon(struct work *w)
{
    struct answer *a = w->answer;

    a->work = NULL;
    work_free(w);
    answer_check(a);
}

/* --- the service ------------------------------------------------------------------ */

/* False: c has been dealt with, by what is known of its call already. */
static bool is_new(struct cluster *cl, struct net_call *c, struct answers_id *id,
                   bool *has_id)
{
    struct answers_entry *entry;
    enum answers_found found;

    *has_id = answers_id_get(id, net_call_meta(c)->call_id);
    if (!*has_id) return true;
    if (answers_find(&cl->answers, id, &found, &entry) != ERR_OK) {
        net_call_refuse(c, ERR_NOMEM, "out of memory");
        return false;
    }
    switch (found) {
    case ANSWERS_NEW: return true;
    case ANSWERS_KNOWN: attach(LIST_ITEM(entry, struct answer, entry), c); return false;
    case ANSWERS_FORGOTTEN: break;
    }
    net_call_end(c, ERR_LEADERSHIP_LOST,
                 "the leader does not know (any more) whether it carried this out: the "
                 "outcome is unknown");
    return false;
}

static bool open_here(struct cluster *cl, struct net_call *c)
{
    if (!atomic_load(&cl->stopping)) return true;
    net_call_refuse(c, ERR_CLOSED, "the node is shutting down");
    return false;
}

/* From here the answer goes to c. */
static void give_to(struct work *w, struct net_call *c, const struct answers_id *id)
{
    if (id) answers_add(&w->cluster->answers, id, &w->answer->entry);
    attach(w->answer, c);
}

static void execute(struct net_call *c, const ProtobufCMessage *message, uint32_t granted)
{
    struct cluster *cl = net_call_service_arg(c);
    struct answers_id id;
    struct work *w;
    const uint8_t *bytes;
    bool has_id;
    size_t len;

    (void)message; /* well-formed; the log takes it as it is */
    (void)granted;
    if (!open_here(cl, c) || !is_new(cl, c, &id, &has_id)) return;
    w = work_new(cl, WORK_EXECUTE);
    bytes = net_call_bytes(c, &len);
    if (w) w->u.execute.request = blob_new(len + CALL_SPARE);
    if (w == NULL || w->u.execute.request == NULL) {
        if (w) work_abandon(w);
        net_call_refuse(c, ERR_NOMEM, "out of memory");
        return;
    }
    if (len > 0) memcpy(w->u.execute.request->data, bytes, len);
    w->u.execute.request->len = (uint32_t)len;
    w->u.execute.sink = &w->writer.sink;
    give_to(w, c, has_id ? &id : NULL);
    node_execute(cl->node, &w->u.execute);
}

static void on_execute(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_execute_req, 1);
    permit_then(cl, c, message, AUTH_EXECUTE, execute);
}

/* The request outlives its call here, should the caller go: so it is decoded again. */
static bool decode_query(struct work *w, const struct net_call *c, struct why *why)
{
    size_t len;
    const uint8_t *bytes = net_call_bytes(c, &len);

    return pb_unpack(&w->u.query.request, &rqlite__query_request__descriptor, &w->arena,
                     bytes, len, why) == ERR_OK;
}

static void query(struct net_call *c, const ProtobufCMessage *message, uint32_t granted)
{
    struct cluster *cl = net_call_service_arg(c);
    struct answers_id id;
    struct why why = {0};
    struct work *w;
    bool has_id, rows;

    (void)message;
    if (!open_here(cl, c)) return;
    w = work_new(cl, WORK_QUERY);
    if (w == NULL) {
        net_call_refuse(c, ERR_NOMEM, "out of memory");
        return;
    }
    if (!decode_query(w, c, &why)) {
        work_abandon(w);
        net_call_refuse(c, why.code == ERR_CORRUPT ? ERR_INVALID : why.code, why.text);
        return;
    }
    rows = w->u.query.request->rows;
    metrics_add(cl->o.metrics,
                rows ? METRIC_cluster_num_request_req : METRIC_cluster_num_query_req, 1);
    if (!(granted & AUTH_QUERY) || (rows && !(granted & AUTH_EXECUTE))) {
        work_abandon(w);
        permit_refuse(c);
        return;
    }
    if (!is_new(cl, c, &id, &has_id)) {
        work_abandon(w);
        return;
    }
    w->u.query.arena = &w->arena;
    w->u.query.sink = &w->writer.sink;
    give_to(w, c, has_id ? &id : NULL);
    if (rows)
        node_request(cl->node, &w->u.query);
    else
        node_query(cl->node, &w->u.query);
}

/* What is wanted depends on the message, which is decoded once the caller is known. */
static void on_query(struct net_call *c, const ProtobufCMessage *message)
{
    permit_then(net_call_service_arg(c), c, message, AUTH_QUERY | AUTH_EXECUTE, query);
}

static void start_load(struct cluster *cl, struct net_call *c, int fd, uint64_t size,
                       bool script, const struct answers_id *id)
{
    struct work *w = work_new(cl, WORK_LOAD);

    if (w == NULL) {
        close(fd);
        net_call_refuse(c, ERR_NOMEM, "out of memory");
        return;
    }
    w->u.load.fd = fd;
    w->u.load.size = size;
    w->u.load.script = script;
    w->u.load.sink = &w->writer.sink;
    w->life_ms = cluster_now_ms(cl);
    list_push_back(&cl->loads, &w->link);
    cluster_tick(cl);
    give_to(w, c, id);
    node_load(cl->node, &w->u.load);
}

void serve_load(struct cluster *cl, struct net_call *c, int fd, uint64_t size,
                bool script)
{
    start_load(cl, c, fd, size, script, NULL);
}

static bool write_all(int fd, const uint8_t *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, data + done, io_write_some(len - done));

        if (n < 0 && errno != EINTR) return false;
        if (n > 0) done += (size_t)n;
    }
    return true;
}

static void script(struct net_call *c, const ProtobufCMessage *message, uint32_t granted)
{
    const Rqlite__ScriptRequest *q = (const void *)message;
    struct cluster *cl = net_call_service_arg(c);
    struct answers_id id;
    struct why why = {0};
    bool has_id;
    int fd;

    (void)granted;
    if (!open_here(cl, c) || !is_new(cl, c, &id, &has_id)) return;
    fd = memfd_create("script", MFD_CLOEXEC);
    if (fd < 0) {
        net_call_refuse(c, ERR_IO, "no file for the script");
        return;
    }
    if (!write_all(fd, q->sql.data, q->sql.len)) {
        (void)why_errno(&why, "write the script");
        close(fd);
        net_call_refuse(c, why.code, why.text);
        return;
    }
    start_load(cl, c, fd, q->sql.len, true, has_id ? &id : NULL);
}

static void on_script(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_load_req, 1);
    permit_then(cl, c, message, AUTH_LOAD, script);
}

const struct net_method serve_methods[NET_DATABASE_METHODS] = {
    [NET_DATABASE_EXECUTE] = {.on_call = on_execute},
    [NET_DATABASE_QUERY] = {.on_call = on_query, .raw = true},
    [NET_DATABASE_SCRIPT] = {.on_call = on_script},
    [NET_DATABASE_LOAD] = {.on_call = transfer_on_load},
    [NET_DATABASE_BACKUP] = {.on_call = transfer_on_backup},
};

/* --- while it lasts, and the end -------------------------------------------------- */

/* A load is silent for as long as it takes: tell its caller that it goes on. */
bool serve_tick(struct cluster *cl)
{
    static const Rqlite__Results nothing = RQLITE__RESULTS__INIT;
    uint64_t now = cluster_now_ms(cl);

    for (struct list *l = cl->loads.next; l != &cl->loads; l = l->next) {
        struct work *w = LIST_ITEM(l, struct work, link);
        struct net_call *c = w->answer->call;

        if (c == NULL || now - w->life_ms < CLUSTER_LIFE_MS) continue;
        w->life_ms = now;
        if (net_call_writable(c)) (void)!net_call_send(c, &nothing.base);
    }
    return !list_empty(&cl->loads);
}

void serve_stop(struct cluster *cl)
{
    for (struct list *l = cl->served.next; l != &cl->served; l = l->next) {
        struct answer *a = LIST_ITEM(l, struct answer, link);

        if (a->work) stop_rows(a->work);
    }
}

/* The node has stopped, so every work is done. */
void serve_free(struct cluster *cl)
{
    for (struct list *l = cl->served.next, *next; l != &cl->served; l = next) {
        struct answer *a = LIST_ITEM(l, struct answer, link);
        struct net_call *c = a->call;

        next = l->next;
        CHECK(a->work == NULL);
        if (c == NULL) continue;
        a->call = NULL;
        net_call_end(c, ERR_CLOSED, "the node is shutting down");
        answer_check(a);
    }
    answers_fini(&cl->answers);
}
