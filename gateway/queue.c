/* SPDX-License-Identifier: MIT */
#include "gateway/queue.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "gateway/api/api.h"
#include "gateway/pack.h"
#include "gateway/transport.h"

static const uint64_t MS = 1000000;

enum {
    RETRY_MS = 1000,
    STOP_RETRY_MS = 100,
    STOP_TRIES = 50,              /* then what is left is given up */
    BATCH_BYTES = 8 * 1024 * 1024 /* a batch is closed when it has grown to this */
};

/* A client that waits, on its own thread.  Thread 0 posts it back exactly once; it is
 * freed there. */
struct waiter {
    struct mail mail;
    struct gateway_thread *thread;
    struct http_exchange *x; /* held; NULL once it was answered or let go */
    const struct params *params;
    struct gateway_timer *timer; /* owned; NULL: waits for room only */
    uint64_t sequence_number;
};

struct entry { /* one request, on its way to thread 0 and then in the queue there */
    struct mail mail;
    struct list link;
    struct waiter *waiter; /* NULL: answered already */
    bool for_room; /* the waiter goes when the entry gets into the queue, not when it is
                      written */
    uint64_t sequence_number;
    size_t statements;
    uint64_t held; /* of the gateway's budget, for data */
    size_t len;    /* of the statements, packed as fields of an ExecuteRequest */
    uint8_t data[];
};

struct gateway_api {
    struct gateway *gateway;
    struct gateway_thread *thread; /* 0, the owner of all that is no atomic */
    atomic_size_t queued;          /* requests taken and not yet written */
    atomic_uint_fast64_t next_number, last_written;

    struct list waiting; /* entries, oldest first */
    size_t n_waiting, bytes_waiting;
    struct list batch; /* those under way */
    size_t n_batch, batch_statements;
    uint64_t sent_ns; /* when the batch under way was given to the backend */
    struct gateway_timer *flush_timer, *retry_timer; /* owned */
    bool flush_set, due, stopping, held, flying;
    unsigned stop_tries;

    struct call_execute call;
    struct row_sink sink;
    size_t failed;      /* statements of the batch, as its sink saw */
    struct why failure; /* of the first of them */
};

static void flush(struct gateway_api *q);

static struct metrics *metrics_of(struct gateway_api *q)
{
    return q->gateway->metrics;
}

/* --- answering --- */

static void respond(struct http_exchange *x, const struct params *p,
                    uint64_t sequence_number)
{
    struct json_envelope envelope = {.elapsed_ns = api_elapsed_ns(x),
                                     .sequence_number = sequence_number};
    struct json_sink s;
    struct why why;

    json_sink_init(&s, p);
    if (json_sink_finish(&s, &envelope, &why))
        http_respond_text(x, 500, why.text);
    else
        api_respond_json(x, API_JSON, &s.body);
    json_sink_fini(&s);
}

static void waiter_let_go(struct waiter *w)
{
    struct http_exchange *x = w->x;

    if (w->timer) gateway_timer_cancel(w->timer);
    w->x = NULL;
    x->handler_state = NULL;
    x->on_gone = NULL;
    http_release(x);
}

static void waiter_gone(struct http_exchange *x)
{
    waiter_let_go(x->handler_state);
}

static void waiter_late(void *arg)
{
    struct waiter *w = arg;

    if (!w->x) return;
    metrics_add(api_metrics(w->x), METRIC_http_queued_executions_wait_timeout, 1);
    http_respond_text(w->x, 408, "queue wait timeout");
    waiter_let_go(w);
}

/* On the waiter's thread: what it waited for has come. */
static void waiter_done(struct mail *m, void *taker)
{
    struct waiter *w =
        (struct waiter *)(void *)((char *)m - offsetof(struct waiter, mail));
    struct gateway_thread *t = w->thread;

    (void)taker;
    if (w->x) {
        respond(w->x, w->params, w->sequence_number);
        waiter_let_go(w);
    }
    gateway_timer_free(w->timer);
    free(w);
    gateway_release(t);
}

static struct waiter *waiter_new(struct http_exchange *x, const struct params *p,
                                 bool wait)
{
    struct waiter *w = calloc(1, sizeof *w);
    int64_t timeout = p->timeout_ns;

    if (!w) return NULL;
    w->thread = x->thread;
    w->x = x;
    w->params = p;
    if (wait) {
        if (gateway_timer_new(&w->timer, x->thread, waiter_late, w)) {
            free(w);
            return NULL;
        }
        if (!params_has(p, PARAM_timeout)) timeout = 30000 * (int64_t)MS;
        gateway_timer_set(w->timer, timeout > 0 ? (uint64_t)timeout : 0);
    }
    x->handler_state = w;
    x->on_gone = waiter_gone;
    http_hold(x);
    gateway_hold(x->thread); /* until it comes back, even if the client does not stay */
    return w;
}

/* On thread 0. */
static void waiter_post(struct waiter *w)
{
    w->mail.deliver = waiter_done;
    gateway_post(w->thread, &w->mail);
}

/* --- a batch --- */

static void ignore_columns(struct row_sink *s, const struct row_column *cols, size_t n)
{
    (void)s, (void)cols, (void)n;
}

static bool ignore_row(struct row_sink *s, const struct db_value *values, size_t n)
{
    (void)s, (void)values, (void)n;
    return true;
}

static void ignore_rows_end(struct row_sink *s, uint64_t elapsed_ns)
{
    (void)s, (void)elapsed_ns;
}

static void ignore_written(struct row_sink *s, int64_t id, int64_t rows,
                           uint64_t elapsed_ns)
{
    (void)s, (void)id, (void)rows, (void)elapsed_ns;
}

static void count_request_failed(struct row_sink *s, const char *text, size_t len)
{
    struct gateway_api *q =
        (struct gateway_api *)(void *)((char *)s - offsetof(struct gateway_api, sink));

    if (q->failed++ == 0)
        why_set(&q->failure, ERR_SQL, "%.*s", (int)(len < 400 ? len : 400), text);
}

static void count_failed(struct row_sink *s, bool read_side, const char *text, size_t len)
{
    (void)read_side;
    count_request_failed(s, text, len);
}

static const struct row_sink_ops sink_ops = {
    ignore_columns,       ignore_row, ignore_rows_end, ignore_written, count_failed,
    count_request_failed, NULL,
};

static void hold(struct gateway_api *q, bool on)
{
    if (on == q->held) return;
    q->held = on;
    if (on)
        gateway_hold(q->thread);
    else
        gateway_release(q->thread);
}

static void entry_free(struct gateway *g, struct entry *e)
{
    budget_return(&g->budget, &e->held);
    free(e);
}

/* The batch is written or given up: its entries are through. */
static void batch_end(struct gateway_api *q)
{
    struct list *link;

    while ((link = list_pop_front(&q->batch))) {
        struct entry *e = LIST_ITEM(link, struct entry, link);
        struct waiter *w = e->waiter;

        entry_free(q->gateway, e);
        if (w) waiter_post(w);
    }
    atomic_fetch_sub(&q->queued, q->n_batch);
    q->n_batch = 0;
}

/* Those that did not fit have got into the queue: their clients need not wait any longer.
 */
static void admit(struct gateway_api *q)
{
    uint64_t room = q->gateway->options.queue.capacity, n = q->n_batch;

    for (struct list *l = q->waiting.next; l != &q->waiting && n < room;
         l = l->next, n++) {
        struct entry *e = LIST_ITEM(l, struct entry, link);

        if (!e->waiter || !e->for_room) continue;
        waiter_post(e->waiter);
        e->waiter = NULL;
    }
}

static void batch_written(struct gateway_api *q)
{
    const struct entry *last = LIST_ITEM(q->batch.prev, const struct entry, link);

    atomic_store(&q->last_written, last->sequence_number);
    batch_end(q);
    admit(q);
}

static void count_outcome(struct gateway_api *q, enum err code)
{
    enum metric m;

    switch (code) {
    case ERR_OK: m = METRIC_http_queued_executions_ok; break;
    case ERR_NO_LEADER: m = METRIC_http_queued_executions_no_leader; break;
    case ERR_NOT_LEADER: m = METRIC_http_queued_executions_not_leader; break;
    case ERR_LEADERSHIP_LOST: m = METRIC_http_queued_executions_leadership_lost; break;
    default: m = METRIC_http_queued_executions_unknown_error; break;
    }
    metrics_add(metrics_of(q), m, 1);
    if (code) metrics_add(metrics_of(q), METRIC_http_queued_executions_failed, 1);
}

/* Could the same batch succeed another time? */
static bool worth_retrying(struct gateway_api *q, enum err code)
{
    switch (code) {
    case ERR_INVALID:
    case ERR_TOO_BIG:
    case ERR_UNSUPPORTED:
    case ERR_CORRUPT: return false;
    case ERR_CLOSED: return !q->stopping;
    default: return !q->stopping || ++q->stop_tries < STOP_TRIES;
    }
}

/* On thread 0: the call has ended. */
/* For the slow-query log.  Whose statements they were is not known any more. */
static void log_slow(const struct gateway_api *q)
{
    uint64_t limit_ns = q->gateway->options.slow_query_ns;
    uint64_t took_ns = clock_mono_ns(clock_real()) - q->sent_ns;
    const char *error = q->call.call.why.code ? q->call.call.why.text : NULL;
    const struct logger_field fields[] = {
        {.key = "duration", .type = LOGGER_DURATION, .number = took_ns},
        {.key = "requests", .type = LOGGER_NUMBER, .number = q->n_batch},
        {.key = "statements", .type = LOGGER_NUMBER, .number = q->batch_statements},
        {.key = "error",
         .type = LOGGER_STRING,
         .text = error,
         .len = error ? strlen(error) : 0},
    };

    if (limit_ns > 0 && took_ns >= limit_ns)
        logger_event(q->gateway->logger, LOGGER_WARN, "http",
                     "slow batch of queued writes", fields,
                     sizeof fields / sizeof *fields);
}

static void batch_done(struct mail *m, void *taker)
{
    struct gateway_api *q =
        (struct gateway_api *)(void *)((char *)m -
                                       offsetof(struct gateway_api, call.call.mail));
    enum err code = q->call.call.why.code;

    (void)taker;
    q->flying = false;
    log_slow(q);
    count_outcome(q, code);
    if (code && worth_retrying(q, code)) {
        gateway_timer_set(q->retry_timer, (q->stopping ? STOP_RETRY_MS : RETRY_MS) * MS);
        return;
    }
    if (code) {
        logger_error(q->gateway->logger, "http", "%zu queued writes given up: %s",
                     q->n_batch, q->call.call.why.text);
        batch_end(q);
        admit(q);
    } else {
        metrics_add(metrics_of(q), METRIC_http_queued_executions_num_stmts_tx,
                    (int64_t)q->batch_statements);
        metrics_add(metrics_of(q), METRIC_queue_objects_tx, (int64_t)q->batch_statements);
        if (q->failed > 0) {
            metrics_add(metrics_of(q), METRIC_http_queued_executions_failed,
                        (int64_t)q->failed);
            logger_warn(q->gateway->logger, "http",
                        "%zu of %zu queued statements failed, the first with: %s",
                        q->failed, q->batch_statements, q->failure.text);
        }
        batch_written(q);
    }
    flush(q);
}

static void on_done(struct call *c)
{
    struct gateway_api *q =
        (struct gateway_api *)(void *)((char *)c - offsetof(struct gateway_api, call));

    c->mail.deliver = batch_done;
    gateway_post(q->thread, &c->mail);
}

/* The batch's statements in a row, then transaction if asked for. */
static struct blob *batch_pack(struct gateway_api *q)
{
    static const uint8_t transaction[] = {2 << 3, 1}; /* bool transaction = 2 */
    size_t len = sizeof transaction;
    struct blob *b;

    for (struct list *l = q->batch.next; l != &q->batch; l = l->next)
        len += LIST_ITEM(l, struct entry, link)->len;
    b = blob_new(len + CALL_SPARE);
    if (!b) return NULL;
    for (struct list *l = q->batch.next; l != &q->batch; l = l->next) {
        const struct entry *e = LIST_ITEM(l, struct entry, link);

        memcpy(b->data + b->len, e->data, e->len);
        b->len += (uint32_t)e->len;
    }
    if (q->gateway->options.queue.tx) {
        memcpy(b->data + b->len, transaction, sizeof transaction);
        b->len += (uint32_t)sizeof transaction;
    }
    return b;
}

/* Write the batch; also when it is tried again. */
static void batch_send(void *arg)
{
    struct gateway_api *q = arg;
    struct backend *b = q->gateway->backend;
    struct blob *packed = batch_pack(q);

    if (!packed) {
        gateway_timer_set(q->retry_timer, RETRY_MS * MS);
        return;
    }
    q->call = (struct call_execute){.request = packed, .sink = &q->sink};
    q->call.call.done = on_done;
    q->call.call.own_authority = true;
    q->failed = 0;
    q->flying = true;
    q->sent_ns = clock_mono_ns(clock_real());
    b->ops->execute(b, &q->call);
}

/* --- the queue --- */

static bool batch_is_due(const struct gateway_api *q)
{
    const struct gateway_options *o = &q->gateway->options;

    return q->n_waiting > 0 &&
           (q->due || q->stopping || q->n_waiting >= o->queue.batch_size ||
            q->bytes_waiting >= BATCH_BYTES);
}

static void batch_begin(struct gateway_api *q)
{
    const struct gateway_options *o = &q->gateway->options;
    size_t bytes = 0;

    q->batch_statements = 0;
    while (!list_empty(&q->waiting)) {
        struct entry *e = LIST_ITEM(q->waiting.next, struct entry, link);

        if (q->n_batch > 0 && bytes + e->len > BATCH_BYTES) break;
        if (o->queue.tx && q->n_batch >= o->queue.batch_size) break;
        list_remove(&e->link);
        list_push_back(&q->batch, &e->link);
        q->n_batch++;
        q->batch_statements += e->statements;
        bytes += e->len;
    }
    q->n_waiting -= q->n_batch;
    q->bytes_waiting -= bytes;
}

/* Start a batch if it is time and none is under way; else see to it that its time comes.
 */
static void flush(struct gateway_api *q)
{
    const struct gateway_options *o = &q->gateway->options;

    while (q->n_batch == 0 && batch_is_due(q)) {
        batch_begin(q);
        q->due = false;
        metrics_add(metrics_of(q), METRIC_queue_num_flush, 1);
        if (q->batch_statements > 0)
            batch_send(q);
        else
            batch_written(q); /* markers only */
    }
    if (q->n_waiting == 0 && q->flush_set) {
        gateway_timer_cancel(q->flush_timer);
        q->flush_set = false;
    } else if (q->n_waiting > 0 && !q->flush_set && !q->due && o->queue.timeout_ns > 0) {
        gateway_timer_set(q->flush_timer, o->queue.timeout_ns);
        q->flush_set = true;
    }
    hold(q, q->n_waiting > 0 || q->n_batch > 0);
}

static void on_flush_time(void *arg)
{
    struct gateway_api *q = arg;

    q->flush_set = false;
    q->due = true;
    metrics_add(metrics_of(q), METRIC_queue_num_timeout, 1);
    flush(q);
}

/* On thread 0: a request has come. */
static void take(struct mail *m, void *taker)
{
    struct entry *e = (struct entry *)(void *)((char *)m - offsetof(struct entry, mail));
    struct gateway_api *q = ((struct gateway_thread *)taker)->gateway->api;

    list_push_back(&q->waiting, &e->link);
    q->n_waiting++;
    q->bytes_waiting += e->len;
    if (e->for_room && q->n_batch + q->n_waiting <= q->gateway->options.queue.capacity) {
        waiter_post(e->waiter); /* there is room by now */
        e->waiter = NULL;
    }
    flush(q);
}

/* ERR_NOMEM; ERR_BUSY: what is queued already, and other bodies, leave no room. */
static enum err entry_new(struct entry **out, struct gateway *g,
                          const struct json_statements *statements)
{
    size_t len = pack_statements_size(statements->list, statements->n);
    struct entry *e;
    uint64_t held = 0;

    if (!budget_cover(&g->budget, &held, len)) return ERR_BUSY;
    e = malloc(sizeof *e + len);
    if (!e) {
        budget_return(&g->budget, &held);
        return ERR_NOMEM;
    }
    *e = (struct entry){.statements = statements->n, .held = held};
    list_init(&e->link);
    e->mail.deliver = take;
    e->len = len;
    pack_statements(e->data, statements->list, statements->n);
    *out = e;
    return ERR_OK;
}

/* Never redirected: a batch finds its leader by itself. */
static const struct api_endpoint endpoint = {API_OTHER, "Execute", API_JSON};

void queue_request(struct http_exchange *x, const struct params *p)
{
    struct gateway_api *q = x->thread->gateway->api;
    struct backend *b = api_backend(x);
    bool wait = params_has(p, PARAM_wait), full;
    struct json_statements statements;
    struct entry *e;
    enum err error;

    if (!params_has(p, PARAM_noleader) && !b->ops->has_leader(b)) {
        metrics_add(api_metrics(x), METRIC_http_leader_not_found, 1);
        http_respond_text(x, 503, "leader not found");
        return;
    }
    if (!api_read_statements(x, p, &endpoint, true, &statements)) return;
    if (statements.received == 0 && !wait) {
        http_respond_text(x, 400, "no statements");
        return;
    }
    metrics_add(api_metrics(x), METRIC_http_queued_executions, 1);
    metrics_add(api_metrics(x), METRIC_http_queued_executions_num_stmts_rx,
                (int64_t)statements.received);
    metrics_add(api_metrics(x), METRIC_queue_objects_rx, (int64_t)statements.received);
    if (wait) metrics_add(api_metrics(x), METRIC_http_queued_executions_wait, 1);
    if (api_disallowed(x, p, &endpoint, &statements)) return;

    error = entry_new(&e, x->thread->gateway, &statements);
    if (error == ERR_BUSY) {
        http_respond_busy(x, EXCHANGE_NO_MEMORY);
        return;
    }
    if (error) {
        http_respond_text(x, 500, "out of memory");
        return;
    }
    full = atomic_fetch_add(&q->queued, 1) >= q->gateway->options.queue.capacity;
    if (wait || full) {
        e->waiter = waiter_new(x, p, wait);
        e->for_room = !wait;
        if (!e->waiter) {
            atomic_fetch_sub(&q->queued, 1);
            http_respond_text(x, 500, "out of memory");
            entry_free(x->thread->gateway, e);
            return;
        }
    }
    e->sequence_number = atomic_fetch_add(&q->next_number, 1);
    if (e->waiter)
        e->waiter->sequence_number = e->sequence_number;
    else
        respond(x, p, e->sequence_number);
    if (x->thread == q->thread)
        take(&e->mail, q->thread);
    else
        gateway_post(q->thread, &e->mail);
}

void queue_status(struct gateway *g, struct doc *into)
{
    struct doc *d = doc_add_object(into, "_default");

    doc_add_uint(d, "batch_size", g->options.queue.batch_size);
    doc_add_uint(d, "max_size", g->options.queue.capacity);
    doc_add_uint(d, "sequence_number", atomic_load(&g->api->last_written));
    doc_add_duration(d, "timeout", (int64_t)g->options.queue.timeout_ns);
}

/* --- life --- */

enum err gateway_api_start(struct gateway *g, struct why *why)
{
    struct gateway_api *q = calloc(1, sizeof *q);
    struct gateway_options *o = &g->options;
    enum err e;

    if (!q) return why_set(why, ERR_NOMEM, "out of memory");
    g->api = q;
    q->gateway = g;
    q->thread = &g->threads[0];
    q->sink.ops = &sink_ops;
    list_init(&q->waiting);
    list_init(&q->batch);
    atomic_init(&q->next_number, clock_wall_ns(clock_real()));
    if (o->queue.capacity == 0) o->queue.capacity = 1024;
    if (o->queue.batch_size == 0) o->queue.batch_size = 128;
    e = gateway_timer_new(&q->flush_timer, q->thread, on_flush_time, q);
    if (!e) e = gateway_timer_new(&q->retry_timer, q->thread, batch_send, q);
    return e ? why_set(why, e, "make the timers of the write queue") : ERR_OK;
}

void gateway_api_stop(struct gateway *g)
{
    struct gateway_api *q = g->api;

    q->stopping = true;
    if (q->n_batch > 0 && !q->flying) { /* it waits to be tried again */
        gateway_timer_cancel(q->retry_timer);
        batch_send(q);
    }
    flush(q);
}

static void free_entries(struct gateway *g, struct list *entries)
{
    struct list *link;

    while ((link = list_pop_front(entries)))
        entry_free(g, LIST_ITEM(link, struct entry, link));
}

void gateway_api_free(struct gateway *g)
{
    struct gateway_api *q = g->api;

    if (!q) return;
    free_entries(g, &q->waiting);
    free_entries(g, &q->batch);
    gateway_timer_free(q->flush_timer);
    gateway_timer_free(q->retry_timer);
    free(q);
    g->api = NULL;
}
