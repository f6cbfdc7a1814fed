/* SPDX-License-Identifier: MIT */
#include "core/cluster/forward.h"

#include <event2/buffer.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/net/client.h"

enum {
    MOVES_MAX = 4,         /* between this node and others, should leadership not rest */
    FULL_MAX_MS = 60000,   /* for a sink that is full */
    PATIENCE_MS = 3000,    /* to learn who leads, after a node that did not, or is gone */
    REFERENCE_ABOVE = 2048 /* bytes; what is smaller is quicker copied */
};

static const struct kind {
    unsigned service, method;
    enum net_class class;
    bool writes, keeps_answer;
    enum metric sent, failed, retries; /* METRIC_COUNT: none */
} kinds[FORWARD_KINDS] = {
    [FORWARD_EXECUTE] = {2, NET_DATABASE_EXECUTE, NET_CALL, true, true,
                         METRIC_proxy_remote_executions,
                         METRIC_proxy_remote_executions_failed,
                         METRIC_cluster_num_client_execute_retries},
    [FORWARD_QUERY] = {2, NET_DATABASE_QUERY, NET_CALL, false, false,
                       METRIC_proxy_remote_queries, METRIC_proxy_remote_queries_failed,
                       METRIC_cluster_num_client_query_retries},
    [FORWARD_REQUEST] = {2, NET_DATABASE_QUERY, NET_CALL, true, true,
                         METRIC_proxy_remote_requests,
                         METRIC_proxy_remote_requests_failed,
                         METRIC_cluster_num_client_request_retries},
    [FORWARD_LOAD] = {2, NET_DATABASE_LOAD, NET_BULK, true, false,
                      METRIC_proxy_remote_loads, METRIC_COUNT,
                      METRIC_cluster_num_client_load_retries},
    [FORWARD_BACKUP] = {2, NET_DATABASE_BACKUP, NET_BULK, false, false,
                        METRIC_proxy_remote_backups, METRIC_COUNT, METRIC_COUNT},
    [FORWARD_REMOVE] = {3, NET_CLUSTER_REMOVE, NET_CALL, true, false,
                        METRIC_proxy_remote_remove_node, METRIC_COUNT, METRIC_COUNT},
    [FORWARD_STEP_DOWN] = {3, NET_CLUSTER_STEP_DOWN, NET_CALL, true, false,
                           METRIC_proxy_remote_stepdowns, METRIC_COUNT, METRIC_COUNT},
};

static void count(const struct cluster *cl, enum metric m)
{
    if (m != METRIC_COUNT) metrics_add(cl->o.metrics, m, 1);
}

static struct call_execute *execute_of(struct call *c)
{
    return LIST_ITEM(c, struct call_execute, call);
}

static struct call_query *query_of(struct call *c)
{
    return LIST_ITEM(c, struct call_query, call);
}

static struct call_load *load_of(struct call *c)
{
    return LIST_ITEM(c, struct call_load, call);
}

/* --- here, first ------------------------------------------------------------------ */

static void deliver_forward(struct mail *m, void *node);

void forward_end_call(struct call *c)
{
    if (c->outer.kind == FORWARD_EXECUTE) {
        blob_unref(execute_of(c)->kept);
        execute_of(c)->kept = NULL;
    }
    c->done = c->outer.done;
    c->done(c);
}

static void fail(struct call *c, enum err code, const char *text)
{
    (void)why_set(&c->why, code, "%s", text);
    c->top_level = code != ERR_NOT_LEADER && code != ERR_NO_LEADER &&
                   code != ERR_UNAUTHORIZED && code != ERR_CONFLICT;
    c->served_by[0] = '\0';
    forward_end_call(c);
}

static void to_leader(struct call *c)
{
    if (!node_post(c->outer.cluster->node, &c->mail, deliver_forward))
        fail(c, ERR_NOT_OPEN, "store not open");
}

/* This node has answered, or does not lead. */
static void here_done(struct call *c)
{
    if (c->why.code == ERR_NOT_LEADER && c->outer.cluster->net)
        to_leader(c);
    else
        forward_end_call(c);
}

static void try_here(struct call *c)
{
    struct node *n = c->outer.cluster->node;
    struct call_execute *x;

    c->done = here_done;
    c->why = (struct why){0};
    c->top_level = false;
    switch ((enum forward_kind)c->outer.kind) {
    case FORWARD_EXECUTE:
        x = execute_of(c);
        if (x->request == NULL) x->request = blob_ref(x->kept);
        node_execute(n, x);
        return;
    case FORWARD_QUERY: node_query(n, query_of(c)); return;
    case FORWARD_REQUEST: node_request(n, query_of(c)); return;
    case FORWARD_LOAD: node_load(n, load_of(c)); return;
    case FORWARD_BACKUP: node_backup(n, LIST_ITEM(c, struct call_backup, call)); return;
    case FORWARD_REMOVE: node_remove(n, LIST_ITEM(c, struct call_remove, call)); return;
    case FORWARD_STEP_DOWN:
        node_step_down(n, LIST_ITEM(c, struct call_step_down, call));
        return;
    case FORWARD_KINDS: break;
    }
}

static void begin(struct cluster *cl, struct call *c, enum forward_kind kind)
{
    c->outer.cluster = cl;
    c->outer.done = c->done;
    c->outer.kind = (uint8_t)kind;
    c->outer.moves = 0;
}

void cluster_execute(struct cluster *cl, struct call_execute *c)
{
    begin(cl, &c->call, FORWARD_EXECUTE);
    c->kept = blob_ref(c->request);
    try_here(&c->call);
}

void cluster_query(struct cluster *cl, struct call_query *c)
{
    begin(cl, &c->call, FORWARD_QUERY);
    try_here(&c->call);
}

/* On the leader, and where reads at level none are for this node, a reader has to look
 * what the statements are; elsewhere they go to the leader unseen. */
void cluster_request(struct cluster *cl, struct call_query *c)
{
    Rqlite__Level level = c->request->level;

    begin(cl, &c->call, FORWARD_REQUEST);
    if (cl->net && node_has_leader(cl->node) && !node_is_leader(cl->node) &&
        level != RQLITE__LEVEL__NONE && level != RQLITE__LEVEL__AUTO)
        to_leader(&c->call);
    else
        try_here(&c->call);
}

void cluster_load(struct cluster *cl, struct call_load *c)
{
    begin(cl, &c->call, FORWARD_LOAD);
    try_here(&c->call);
}

void cluster_backup(struct cluster *cl, struct call_backup *c)
{
    begin(cl, &c->call, FORWARD_BACKUP);
    try_here(&c->call);
}

void cluster_remove(struct cluster *cl, struct call_remove *c)
{
    begin(cl, &c->call, FORWARD_REMOVE);
    try_here(&c->call);
}

void cluster_step_down(struct cluster *cl, struct call_step_down *c)
{
    begin(cl, &c->call, FORWARD_STEP_DOWN);
    try_here(&c->call);
}

/* --- the end ---------------------------------------------------------------------- */

static struct row_sink *sink_of(struct call *c)
{
    switch ((enum forward_kind)c->outer.kind) {
    case FORWARD_EXECUTE: return execute_of(c)->sink;
    case FORWARD_QUERY:
    case FORWARD_REQUEST: return query_of(c)->sink;
    case FORWARD_LOAD: return load_of(c)->sink;
    default: return NULL;
    }
}

static void give_index(struct call *c, uint64_t index)
{
    switch ((enum forward_kind)c->outer.kind) {
    case FORWARD_EXECUTE: execute_of(c)->raft_index = index; break;
    case FORWARD_QUERY:
    case FORWARD_REQUEST:
        query_of(c)->raft_index = index;
        query_of(c)->went_through_log = index > 0;
        break;
    case FORWARD_LOAD: load_of(c)->raft_index = index; break;
    default: break;
    }
}

static void forget_serial(struct forward *f)
{
    f->serial = 0;
    list_remove(&f->in_serials);
}

static void forward_free(struct forward *f)
{
    forward_bulk_fini(f);
    results_reader_fini(&f->results);
    free(f);
}

/* --- a sink that is full ---------------------------------------------------------- */

/* Its on_room() may come when the forward is long over; and who is told first is a
 * matter of luck, hence the lock. */
struct forward_room {
    struct mail mail;
    struct cluster *cl;
    struct forward *f; /* the node thread's, while not dropped */
    pthread_mutex_t lock;
    bool dropped;
};

static void room_free(struct forward_room *room)
{
    pthread_mutex_destroy(&room->lock);
    free(room);
}

static void deliver_room(struct mail *m, void *node)
{
    struct forward_room *room = LIST_ITEM(m, struct forward_room, mail);
    struct forward *f = room->f;

    (void)node;
    pthread_mutex_lock(&room->lock); /* so that on_room() is through with it */
    pthread_mutex_unlock(&room->lock);
    if (!room->dropped) {
        f->room = NULL;
        forward_moves(f);
        if (f->request) net_request_resume(f->request); /* may be its end */
    }
    room_free(room);
}

/* Any thread. */
static void on_room(void *arg)
{
    struct forward_room *room = arg;
    bool dropped;

    pthread_mutex_lock(&room->lock);
    dropped = room->dropped;
    if (!dropped) cluster_post(room->cl, &room->mail, deliver_room);
    pthread_mutex_unlock(&room->lock);
    if (dropped) room_free(room);
}

/* Whoever still has it frees it. */
static void room_drop(struct forward_room *room)
{
    if (room == NULL) return;
    pthread_mutex_lock(&room->lock);
    room->dropped = true;
    pthread_mutex_unlock(&room->lock);
}

static bool wait_for_room(struct forward *f, struct row_sink *sink)
{
    struct forward_room *room;

    if (!f->results.final || sink == NULL || sink->ops->room == NULL) return true;
    room = calloc(1, sizeof *room);
    if (room == NULL) return false;
    room->cl = f->cl;
    room->f = f;
    pthread_mutex_init(&room->lock, NULL);
    if (sink->ops->room(sink, on_room, room)) {
        room_free(room);
        return true;
    }
    f->room = room;
    f->full_ms = cluster_now_ms(f->cl);
    net_request_pause(f->request);
    return true;
}

/* --- the end, continued ----------------------------------------------------------- */

/* Take it out of everything; its call is not its any more. */
static void release(struct forward *f)
{
    if (f->request) net_request_cancel(f->request);
    f->request = NULL;
    room_drop(f->room);
    f->room = NULL;
    target_drop(f->target);
    f->target = NULL;
    forget_serial(f);
    list_remove(&f->waiting);
    list_remove(&f->link);
}

void forward_finish(struct forward *f, enum err code, const char *text)
{
    struct call *c = f->call;
    const struct kind *k = &kinds[f->kind];

    if (f->bulk.busy) { /* its job has pointers to it and to the call's file */
        f->bulk.then = BULK_FINISHED;
        (void)why_set(&f->bulk.then_why, code, "%s", text);
        if (f->request) net_request_cancel(f->request);
        f->request = NULL;
        return;
    }
    release(f);
    count(f->cl, k->sent);
    if (code) {
        struct why why;

        count(f->cl, k->failed);
        (void)why_set(&why, code, "%s", text); /* which may be in f */
        forward_free(f);
        fail(c, code, why.text);
        return;
    }
    snprintf(c->served_by, sizeof c->served_by, "%s", f->leader_addr);
    give_index(c, f->results.raft_index);
    c->why = (struct why){0};
    c->top_level = false;
    forward_free(f);
    forward_end_call(c);
}

/* Leadership came here meanwhile. */
static void give_back(struct forward *f)
{
    struct call *c = f->call;

    release(f);
    forward_free(f);
    if (++c->outer.moves > MOVES_MAX)
        fail(c, ERR_NO_LEADER, "leader not found");
    else
        try_here(c);
}

static void unknown_outcome(struct forward *f)
{
    char text[sizeof f->last.text + 64];

    snprintf(text, sizeof text, "%.440s: the outcome is unknown", f->last.text);
    forward_finish(f, ERR_LEADERSHIP_LOST, text);
}

/* --- when an exchange fails ------------------------------------------------------- */

static void later(struct forward *f)
{
    f->again_ms = cluster_now_ms(f->cl) + CLUSTER_TICK_MS;
    list_push_back(&f->cl->waiting, &f->waiting);
    cluster_tick(f->cl);
}

/* Another than the one that was asked leads now. */
static bool leader_moved(const struct forward *f)
{
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];

    if (!node_leader(f->cl->node, id, sizeof id, addr, sizeof addr)) return false;
    return strcmp(id, f->leader_id) != 0 || strcmp(addr, f->leader_addr) != 0;
}

/* One of the tries that the client asked for. */
static bool retry_left(struct forward *f)
{
    if (f->retries_left-- <= 0) return false;
    count(f->cl, kinds[f->kind].retries);
    count(f->cl, METRIC_cluster_num_client_retries);
    f->patience_ms = cluster_now_ms(f->cl) + PATIENCE_MS;
    later(f);
    return true;
}

/* It had no effect, so it may be tried again anywhere. */
static void try_again(struct forward *f)
{
    bool patient = cluster_now_ms(f->cl) < f->patience_ms;

    f->repeat = false;
    forget_serial(f);
    switch (f->last.code) {
    case ERR_NOT_LEADER:
    case ERR_NO_LEADER:
        if (patient)
            later(f);
        else
            forward_finish(f, ERR_NO_LEADER, "leader not found");
        return;
    case ERR_CLOSED: /* it said goodbye: another one leads soon */
        if (patient) {
            later(f);
            return;
        }
        break;
    case ERR_UNREACHABLE: /* just gone, perhaps: the others notice within a heartbeat */
        if (patient) {
            later(f);
            return;
        }
        if (retry_left(f)) return;
        break;
    case ERR_IO:
    case ERR_TIMEOUT:
    case ERR_NOT_FOUND: /* another node answers at that address */
        if (patient && leader_moved(f)) {
            later(f);
            return;
        }
        if (retry_left(f)) return;
        break;
    default: break;
    }
    forward_finish(f, f->last.code, f->last.text);
}

/* The connection broke with the call under way, or the time is up. */
static void lost_sight(struct forward *f, bool timed_out)
{
    const struct kind *k = &kinds[f->kind];

    if (timed_out)
        metrics_add(f->cl->o.metrics, METRIC_cluster_num_client_read_timeouts, 1);
    if (timed_out && !k->writes) {
        forward_finish(f, f->last.code, f->last.text);
    } else if (!k->writes) {
        try_again(f);
    } else if (k->keeps_answer && !timed_out) {
        f->repeat = true;
        later(f);
    } else {
        unknown_outcome(f);
    }
}

/* up: the connection has not broken, so it was the leader that said so. */
static void failed(struct forward *f, bool not_run, bool up)
{
    uint64_t now = cluster_now_ms(f->cl);
    bool refused = f->last.code == ERR_NOT_LEADER || f->last.code == ERR_NO_LEADER;
    bool timed_out = f->last.code == ERR_TIMEOUT && now + 1 >= f->until_ms;

    target_drop(f->target);
    f->target = NULL;
    if (f->results.begun) { /* the sink cannot be told twice */
        forward_finish(f, f->last.code, f->last.text);
        return;
    }
    if (f->repeat && !(not_run && refused)) {
        /* A refusal of the repeat says nothing of the first try; but a leader looks for
         * an answer before it looks whether it leads. */
        if (up && !not_run)
            forward_finish(f, f->last.code, f->last.text);
        else if (now < f->until_ms)
            later(f);
        else
            unknown_outcome(f);
    } else if (not_run) {
        try_again(f);
    } else if (timed_out || !up) {
        lost_sight(f, timed_out);
    } else {
        forward_finish(f, f->last.code, f->last.text);
    }
}

void forward_failed(struct forward *f, const struct why *why, bool not_run)
{
    bool up = net_channel_up(f->channel);

    f->request = NULL;
    f->last = *why;
    if (not_run) target_cause(&f->last);
    if (f->bulk.busy) {
        f->bulk.then = BULK_FAILED;
        f->bulk.then_not_run = not_run;
        f->bulk.then_up = up;
    } else {
        failed(f, not_run, up);
    }
}

bool forward_job_back(struct forward *f)
{
    struct why why = f->bulk.then_why;

    f->bulk.busy = false;
    switch (f->bulk.then) {
    case BULK_GOES_ON: return true;
    case BULK_FINISHED: forward_finish(f, why.code, why.text); return false;
    case BULK_FAILED:
        f->bulk.then = BULK_GOES_ON;
        failed(f, f->bulk.then_not_run, f->bulk.then_up);
        return false;
    }
    return false;
}

/* Certainly a read: it may be given up at any time. */
static bool reads_only(const struct forward *f)
{
    return f->kind == FORWARD_QUERY || f->results.final;
}

/* --- an exchange ------------------------------------------------------------------ */

void forward_succeeded(struct forward *f)
{
    f->request = NULL; /* it ends by itself */
    forward_finish(f, ERR_OK, "");
}

bool forward_results(struct forward *f, struct net_request *r)
{
    struct why why = {0};
    size_t len;
    const uint8_t *bytes = net_request_bytes(r, &len);
    bool was_final = f->results.final;
    enum err e;

    if (!f->results.begun) /* the sink may begin its answer now */
        snprintf(f->call->served_by, sizeof f->call->served_by, "%s", f->leader_addr);
    e = results_read(&f->results, bytes, len, &why);
    if (f->results.final && !was_final) net_request_no_deadline(r);
    if (f->results.final) forward_moves(f);
    if (e) {
        f->last = why;
        if (kinds[f->kind].writes)
            unknown_outcome(f);
        else
            forward_finish(f, e, why.text);
        return false;
    }
    if (f->kind == FORWARD_QUERY && atomic_load(&f->call->cancelled)) {
        forward_finish(f, ERR_CANCELLED, "the caller left");
        return false;
    }
    if (reads_only(f) && f->results.muted) {
        forward_finish(f, ERR_OK, ""); /* as db_reader_query() has it */
        return false;
    }
    if (!wait_for_room(f, sink_of(f->call))) {
        forward_finish(f, ERR_NOMEM, "out of memory");
        return false;
    }
    return true;
}

static void on_message(struct net_request *r, const ProtobufCMessage *message)
{
    (void)message;
    (void)forward_results(net_request_user(r), r);
}

void forward_on_done(struct net_request *r, const struct net_result *result)
{
    struct forward *f = net_request_user(r);
    static const struct why cut = {.code = ERR_CORRUPT, .text = "results without an end"};

    if (f->results.done)
        forward_succeeded(f);
    else if (result->why.code)
        forward_failed(f, &result->why, result->not_run);
    else
        forward_failed(f, &cut, false);
}

static void on_unary_done(struct net_request *r, const struct net_result *result)
{
    struct forward *f = net_request_user(r);

    if (result->why.code)
        forward_failed(f, &result->why, result->not_run);
    else
        forward_succeeded(f);
}

static const struct net_request_events call_events = {.on_message = on_message,
                                                      .on_done = forward_on_done};
static const struct net_request_events unary_events = {.on_done = on_unary_done};

static bool put_request(struct evbuffer *out, struct blob *b)
{
    if (b->len > REFERENCE_ABOVE) return net_add_blob(out, b, 0);
    return evbuffer_add(out, b->data, b->len) == 0;
}

/* A write that may have to be repeated gets its id here, at the moment of its first try:
 * serials leave in their order (answers.h). */
static enum err give_id(struct forward *f, uint64_t out[2], struct why *why)
{
    struct cluster *cl = f->cl;
    struct answers_id id = {.session = cl->session, .repeat = f->repeat};

    if (f->serial == 0) {
        f->serial = ++cl->serial;
        list_push_back(&cl->serials, &f->in_serials);
    }
    id.serial = f->serial;
    id.oldest = LIST_ITEM(cl->serials.next, struct forward, in_serials)->serial;
    if (id.serial - id.oldest > ANSWERS_BACK_MAX)
        return why_set(why, ERR_BUSY, "too many calls wait for the leader");
    answers_id_put(out, &id);
    return ERR_OK;
}

static enum err start_request(struct forward *f, struct net_request_options *o,
                              struct why *why)
{
    Rqlite__RemoveRequest remove = RQLITE__REMOVE_REQUEST__INIT;
    Rqlite__StepDownRequest step_down = RQLITE__STEP_DOWN_REQUEST__INIT;
    struct evbuffer *packed = f->cl->packed;
    struct call_step_down *s;
    enum err e;

    o->events = &call_events;
    o->raw = true;
    switch (f->kind) {
    case FORWARD_EXECUTE:
        if (!put_request(packed, execute_of(f->call)->kept))
            return why_set(why, ERR_NOMEM, "out of memory");
        o->packed = packed;
        break;
    case FORWARD_QUERY:
    case FORWARD_REQUEST: o->message = &query_of(f->call)->request->base; break;
    case FORWARD_LOAD:
    case FORWARD_BACKUP: return forward_bulk_start(f, o, why);
    case FORWARD_REMOVE:
        remove.id = (char *)LIST_ITEM(f->call, struct call_remove, call)->id;
        o->events = &unary_events;
        o->message = &remove.base;
        o->raw = false;
        break;
    case FORWARD_STEP_DOWN:
        s = LIST_ITEM(f->call, struct call_step_down, call);
        step_down.id = s->id ? (char *)s->id : (char *)"";
        step_down.wait = s->wait;
        o->events = &unary_events;
        o->message = &step_down.base;
        o->raw = false;
        break;
    case FORWARD_KINDS: break;
    }
    e = net_request_start(&f->request, f->channel, o, why);
    evbuffer_drain(packed, evbuffer_get_length(packed));
    return e;
}

static enum err start_exchange(struct forward *f, struct why *why)
{
    const struct kind *k = &kinds[f->kind];
    struct net_request_options o = {.service = k->service == 2 ? &net_service_database
                                                               : &net_service_cluster,
                                    .method = k->method,
                                    .meta = {.user = f->call->user,
                                             .password = f->call->password,
                                             .node_authority = f->call->own_authority,
                                             .forwarded = true},
                                    .user = f};
    uint64_t now = cluster_now_ms(f->cl);
    enum err e = target_use(&f->target, f->cl, f->leader_id, why);

    if (!e) e = target_channel(&f->channel, f->target, f->leader_addr, k->class, why);
    if (!e && k->keeps_answer) e = give_id(f, o.meta.call_id, why);
    if (e) return e;
    if (reads_only(f)) cluster_tick(f->cl); /* its caller may leave */
    if (!f->repeat) f->until_ms = now + cluster_timeout_ms(f->call);
    if (k->class == NET_CALL) /* a large file's exchange lasts while something moves */
        o.meta.timeout_ns = f->until_ms > now ? (f->until_ms - now) * 1000000 : 1;
    if (k->class == NET_CALL && f->target->lost) /* the first call on a new one */
        metrics_add(f->cl->o.metrics, METRIC_cluster_num_client_force_new_conn, 1);
    if (k->class == NET_CALL) f->target->lost = false;
    return start_request(f, &o, why);
}

/* Only with the node that was asked first, as long as it leads.  False: f waits, or is
 * over. */
static bool may_repeat(struct forward *f)
{
    bool known = node_has_leader(f->cl->node);

    if (cluster_now_ms(f->cl) >= f->until_ms || (known && leader_moved(f))) {
        unknown_outcome(f);
        return false;
    }
    if (!known) later(f);
    return known;
}

static bool find_leader(struct forward *f)
{
    struct cluster *cl = f->cl;

    if (!node_leader(cl->node, f->leader_id, sizeof f->leader_id, f->leader_addr,
                     sizeof f->leader_addr)) {
        if (f->last.code && cluster_now_ms(cl) < f->patience_ms)
            later(f); /* there was one a moment ago */
        else
            forward_finish(f, ERR_NO_LEADER, "leader not found");
        return false;
    }
    if (strcmp(f->leader_id, cl->o.id) != 0) return true;
    give_back(f);
    return false;
}

static void exchange(struct forward *f)
{
    struct why why = {0};

    if (!(f->repeat ? may_repeat(f) : find_leader(f))) return;
    if (start_exchange(f, &why) == ERR_OK) return;
    f->request = NULL;
    if (f->repeat)
        unknown_outcome(f);
    else
        forward_finish(f, why.code, why.text);
}

/* --- on the node thread ----------------------------------------------------------- */

static void deliver_forward(struct mail *m, void *node)
{
    struct call *c = LIST_ITEM(m, struct call, mail);
    struct cluster *cl = c->outer.cluster;
    struct forward *f;

    (void)node;
    if (atomic_load(&cl->stopping)) {
        fail(c, ERR_NOT_OPEN, "store not open");
        return;
    }
    if (c->redirect && !node_is_leader(cl->node)) {
        infos_redirect(cl, c);
        return;
    }
    f = calloc(1, sizeof *f);
    if (f == NULL) {
        fail(c, ERR_NOMEM, "out of memory");
        return;
    }
    f->cl = cl;
    f->call = c;
    f->kind = (enum forward_kind)c->outer.kind;
    f->retries_left = c->retries;
    f->patience_ms = cluster_now_ms(cl) + PATIENCE_MS;
    f->bulk.fd = -1;
    list_init(&f->waiting);
    list_init(&f->in_serials);
    list_push_back(&cl->forwards, &f->link);
    results_reader_init(&f->results, sink_of(c));
    exchange(f);
}

static void wake_waiting(struct cluster *cl)
{
    struct list due;
    struct list *l;

    list_init(&due); /* those that go on waiting are put back */
    while ((l = list_pop_front(&cl->waiting)) != NULL) list_push_back(&due, l);
    while ((l = list_pop_front(&due)) != NULL) {
        struct forward *f = LIST_ITEM(l, struct forward, waiting);

        if (cluster_now_ms(cl) < f->again_ms)
            list_push_back(&cl->waiting, l);
        else
            exchange(f);
    }
}

static bool in_pieces(const struct forward *f)
{
    return kinds[f->kind].class == NET_BULK;
}

/* Reads that nobody waits for any more, and answers that have begun and do not go on. */
static void look_after_reads(struct cluster *cl)
{
    uint64_t now = cluster_now_ms(cl);

    for (struct list *l = cl->forwards.next, *next; l != &cl->forwards; l = next) {
        struct forward *f = LIST_ITEM(l, struct forward, link);

        next = l->next;
        if (!reads_only(f)) continue;
        if (atomic_load(&f->call->cancelled))
            forward_finish(f, ERR_CANCELLED, "the caller left");
        else if (f->room && now - f->full_ms > FULL_MAX_MS)
            forward_finish(f, ERR_TIMEOUT, "the caller takes nothing");
        else if (f->results.final && !f->room && f->request && now >= f->until_ms)
            forward_finish(f, ERR_TIMEOUT, "no answer in time");
    }
}

static void time_out_pieces(struct cluster *cl)
{
    for (struct list *l = cl->forwards.next, *next; l != &cl->forwards; l = next) {
        struct forward *f = LIST_ITEM(l, struct forward, link);
        struct why why;

        next = l->next;
        if (!in_pieces(f) || f->request == NULL || f->bulk.busy) continue;
        if (cluster_now_ms(cl) < f->until_ms) continue;
        why_set(&why, ERR_TIMEOUT, "no answer from %s in time", f->leader_addr);
        net_request_cancel(f->request);
        forward_failed(f, &why, false);
    }
}

bool forwards_tick(struct cluster *cl)
{
    bool more = false;

    wake_waiting(cl);
    look_after_reads(cl);
    time_out_pieces(cl);
    for (struct list *l = cl->forwards.next; l != &cl->forwards && !more; l = l->next)
        more = in_pieces(LIST_ITEM(l, struct forward, link)) ||
               reads_only(LIST_ITEM(l, struct forward, link));
    return more || !list_empty(&cl->waiting);
}

void forward_moves(struct forward *f)
{
    f->until_ms = cluster_now_ms(f->cl) + cluster_timeout_ms(f->call);
}

void forwards_stop(struct cluster *cl)
{
    for (struct list *l = cl->forwards.next, *next; l != &cl->forwards; l = next) {
        struct forward *f = LIST_ITEM(l, struct forward, link);
        bool asked = f->request || f->repeat;

        next = l->next;
        (void)why_set(&f->last, ERR_NOT_OPEN, "store not open");
        if (asked && kinds[f->kind].writes)
            unknown_outcome(f);
        else
            forward_finish(f, ERR_NOT_OPEN, "store not open");
    }
}
