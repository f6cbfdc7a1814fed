/* SPDX-License-Identifier: MIT */
#include <event2/buffer.h>
#include <stdlib.h>

#include "clients/c/internal.h"

enum {
    PAUSE_MIN_MS = 10, /* before the second attempt and those after it, twice as long
                          each time */
    PAUSE_MAX_MS = 320,
    /* Of a call id's second half (core/cluster/answers.h). */
    ID_SERIAL_SHIFT = 24,
    ID_REPEAT_SHIFT = 23,
    ID_BACK_MAX = (1 << 23) - 1
};

/* --- the end ---------------------------------------------------------------------- */

static void forget_id(struct rqlite_call *c)
{
    c->serial = 0;
    list_remove(&c->writes);
}

static void wake(struct rqlite_call *c)
{
    if (!c->hungry || c->on_ready == NULL) return;
    c->hungry = false;
    list_push_back(&c->db->ready, &c->ready);
}

/* Take it away from the network; the answer's message dies with the request. */
static void detach(struct rqlite_call *c)
{
    if (c->request) net_request_cancel(c->request);
    c->request = NULL;
    c->answer.message = NULL;
    event_del(&c->timer);
    list_remove(&c->waiting);
    forget_id(c);
    blob_unref(c->packed);
    c->packed = NULL;
}

void call_end(struct rqlite_call *c, enum rqlite_code code, bool unknown,
              const char *text)
{
    struct rqlite_error error;

    if (c->over) return;
    error_set(&error, code, "%s", text); /* text may be of c, or of its request */
    error.unknown = unknown;
    c->over = true;
    c->error = error;
    detach(c);
    wake(c);
}

/* --- when an attempt fails -------------------------------------------------------- */

/* May another attempt, here or elsewhere, have more success? */
static bool transient(enum err e)
{
    switch (e) {
    case ERR_BUSY:
    case ERR_CLOSED:
    case ERR_NOT_LEADER:
    case ERR_NO_LEADER:
    case ERR_TRANSFER:
    case ERR_NOT_READY:
    case ERR_NOT_OPEN:
    case ERR_UNREACHABLE: return true;
    default: return false;
    }
}

/* Does an error of this kind, which did not come with "not run", leave it open whether a
 * write was applied? */
static bool leaves_open(enum err e)
{
    switch (e) {
    case ERR_INVALID:
    case ERR_UNAUTHORIZED:
    case ERR_UNSUPPORTED:
    case ERR_SQL: return false;
    default: return true;
    }
}

static void arm(struct rqlite_call *c, uint64_t ns)
{
    struct timeval tv = {.tv_sec = (time_t)(ns / 1000000000),
                         .tv_usec = (suseconds_t)(ns % 1000000000 / 1000)};

    if (event_add(&c->timer, &tv) != 0)
        call_end(c, RQLITE_NOMEM, c->doubt, "out of memory");
}

static void place_later(struct rqlite_call *c)
{
    uint64_t now = now_ns(), ns = (uint64_t)c->pause_ms * 1000000;

    c->pause_ms = c->pause_ms ? c->pause_ms * 2 : PAUSE_MIN_MS;
    if (c->pause_ms > PAUSE_MAX_MS) c->pause_ms = PAUSE_MAX_MS;
    if (c->deadline_ns <= now)
        ns = 0;
    else if (c->deadline_ns - now < ns)
        ns = c->deadline_ns - now;
    arm(c, ns);
}

static void give_up(struct rqlite_call *c)
{
    const struct find *f = &c->db->find;

    if (c->doubt)
        call_end(c, RQLITE_TIMEOUT, true, c->last.text);
    else if (c->last.code)
        call_end(c, c->last.code, false, c->last.text);
    else if (f->no_leader)
        call_end(c, RQLITE_NO_LEADER, false, "no leader was found in time");
    else if (f->text[0])
        call_end(c, RQLITE_UNREACHABLE, false, f->text);
    else
        call_end(c, RQLITE_TIMEOUT, false, "no node answered in time");
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct rqlite_call *c = arg;

    (void)fd;
    (void)what;
    if (now_ns() >= c->deadline_ns)
        give_up(c);
    else
        call_place(c);
}

/* A write that may have had an effect: only the node that had it can tell. */
static void in_doubt(struct rqlite_call *c, bool dial_failed)
{
    char text[sizeof c->last.text];

    if (dial_failed) { /* the node is gone, and with it what it knew */
        snprintf(text, sizeof text, "%.440s: the outcome is unknown", c->last.text);
        call_end(c, RQLITE_UNKNOWN, true, text);
        return;
    }
    c->doubt = true;
    if (c->begun) answer_again(&c->answer);
    place_later(c);
}

static void attempt_failed(struct rqlite_call *c, const struct net_result *r)
{
    bool lost = !net_channel_up(c->node->channel);
    bool may_have_run = c->writes_data && !r->not_run && leaves_open(r->why.code);

    /* A node looks for the answer to a repeat before it looks whether it leads. */
    if (r->not_run && (r->why.code == ERR_NOT_LEADER || r->why.code == ERR_NO_LEADER))
        c->doubt = false;
    error_set(&c->last, code_of(r->why.code), "%s", r->why.text);
    if (lost && c->last.code == RQLITE_FAILED) c->last.code = RQLITE_UNREACHABLE;
    if (!lost && !transient(r->why.code)) { /* the server's own answer */
        call_end(c, c->last.code, c->doubt || may_have_run, c->last.text);
        return;
    }
    if (r->why.code == ERR_TIMEOUT && !r->not_run) {
        call_end(c, RQLITE_TIMEOUT, c->doubt || may_have_run, c->last.text);
        return;
    }
    if (c->doubt || may_have_run) {
        if (lost) nodes_failed(c->node);
        in_doubt(c, c->doubt && lost && r->not_run);
        return;
    }
    if (c->begun) { /* of a read: what was given out cannot be taken back */
        call_end(c, RQLITE_UNREACHABLE, false, c->last.text);
        return;
    }
    forget_id(c);
    if (r->why.code != ERR_BUSY) nodes_failed(c->node);
    place_later(c);
}

static void on_done(struct net_request *r, const struct net_result *result)
{
    struct rqlite_call *c = net_request_user(r);

    c->request = NULL;
    c->answer.message = NULL;
    if (result->why.code != ERR_OK)
        attempt_failed(c, result);
    else if (!c->answer.done || c->answer.open)
        call_end(c, RQLITE_PROTOCOL, c->writes_data, "answer without an end");
    else
        call_end(c, RQLITE_OK, false, "");
}

static void on_message(struct net_request *r, const ProtobufCMessage *message)
{
    struct rqlite_call *c = net_request_user(r);
    const Rqlite__Results *m = (const Rqlite__Results *)(const void *)message;

    if (m->status && m->status->code != 0) {
        enum err e =
            net_err_of(m->status->code, m->status->reason, strlen(m->status->reason));

        call_end(c, code_of(e), c->writes_data && leaves_open(e), m->status->text);
        return;
    }
    answer_feed(&c->answer, m);
    if (m->n_events == 0) { /* the end, or a sign of life */
        c->answer.message = NULL;
        return;
    }
    c->begun = true;
    net_request_pause(r); /* keeps the message, and those behind it where they are */
    wake(c);
}

/* --- an attempt ------------------------------------------------------------------- */

static void put_id(struct rqlite_call *c, struct node *n, uint64_t out[2])
{
    const struct rqlite_call *oldest;

    if (c->serial == 0) {
        c->serial = ++n->serial;
        list_push_back(&n->writes, &c->writes);
    }
    oldest = LIST_ITEM(n->writes.next, const struct rqlite_call, writes);
    out[0] = n->session;
    out[1] = c->serial << ID_SERIAL_SHIFT | (uint64_t)c->doubt << ID_REPEAT_SHIFT;
    if (c->serial - oldest->serial <= ID_BACK_MAX)
        out[1] |= c->serial - oldest->serial;
    else
        out[1] |= ID_BACK_MAX;
}

static enum err start(struct rqlite_call *c, struct node *n, uint64_t left_ns,
                      struct why *why)
{
    static const unsigned methods[] = {[CALL_EXECUTE] = NET_DATABASE_EXECUTE,
                                       [CALL_QUERY] = NET_DATABASE_QUERY,
                                       [CALL_SCRIPT] = NET_DATABASE_SCRIPT};
    static const struct net_request_events events = {.on_message = on_message,
                                                     .on_done = on_done};
    struct net_request_options o = {
        .service = &net_service_database,
        .method = methods[c->kind],
        .meta = {.user = c->db->user, .password = c->db->password, .timeout_ns = left_ns},
        .events = &events,
        .user = c};
    enum err e = node_channel(n, why);

    if (e) return e;
    o.packed = evbuffer_new();
    if (o.packed == NULL || !net_add_blob(o.packed, c->packed, 0)) {
        e = why_set(why, ERR_NOMEM, "out of memory");
    } else {
        c->node = n;
        if (c->writes_data) put_id(c, n, o.meta.call_id);
        e = net_request_start(&c->request, n->channel, &o, why);
    }
    if (o.packed) evbuffer_free(o.packed);
    return e;
}

void call_place(struct rqlite_call *c)
{
    uint64_t now = now_ns(), left = 0;
    struct node *n = c->doubt ? c->node : nodes_pick(c->db, c->any_node);
    struct why why = {0};
    enum err e;

    event_del(&c->timer);
    list_remove(&c->waiting);
    if (c->deadline_ns != UINT64_MAX) {
        if (c->deadline_ns <= now) {
            give_up(c);
            return;
        }
        left = c->deadline_ns - now;
    }
    if (n == NULL) {
        list_push_back(&c->db->waiting, &c->waiting);
        if (left) arm(c, left);
        return;
    }
    e = start(c, n, left, &why);
    if (e) call_end(c, code_of(e), c->doubt, why.text);
}

/* --- taking ----------------------------------------------------------------------- */

static void fail_answer(struct rqlite_call *c, enum rqlite_code code)
{
    struct rqlite_error error = c->error;
    bool ran = code != RQLITE_FAILED; /* else the server says that it did not */

    c->error = (struct rqlite_error){0};
    call_end(c, code, ran && c->writes_data, error.text);
}

enum rqlite_code call_take(struct rqlite_call *c, struct rqlite_event *out)
{
    for (;;) {
        if (c->answer.message) {
            enum rqlite_code code = answer_next(&c->answer, out, &c->error);

            if (code == RQLITE_OK) return code;
            if (code != RQLITE_AGAIN)
                fail_answer(c, code);
            else if (c->request)
                net_request_resume(c->request); /* may bring the next, or the end */
            continue;
        }
        if (c->over) return c->error.code ? c->error.code : RQLITE_DONE;
        return RQLITE_AGAIN;
    }
}

/* --- making and freeing ----------------------------------------------------------- */

static uint64_t deadline_of(const struct rqlite *db, const struct rqlite_request *r)
{
    int64_t ms = r && r->timeout_ms ? r->timeout_ms : db->timeout_ms;
    uint64_t ns;

    if (ms < 0 || __builtin_mul_overflow((uint64_t)ms, 1000000, &ns) ||
        __builtin_add_overflow(ns, now_ns(), &ns))
        return UINT64_MAX;
    return ns;
}

struct rqlite_call *call_new(struct rqlite *db, enum call_kind kind, struct blob *packed,
                             const struct rqlite_request *r)
{
    struct rqlite_call *c = calloc(1, sizeof *c);

    if (c == NULL) return NULL;
    c->db = db;
    list_push_back(&db->calls, &c->all);
    list_init(&c->waiting);
    list_init(&c->ready);
    list_init(&c->writes);
    event_assign(&c->timer, db->base, -1, 0, on_timer, c);
    answer_init(&c->answer);
    c->kind = kind;
    c->packed = packed;
    c->writes_data = kind != CALL_QUERY;
    c->deadline_ns = deadline_of(db, r);
    c->hungry = true;
    if (r) {
        c->any_node =
            kind == CALL_QUERY && (r->level == RQLITE_NONE || r->level == RQLITE_AUTO);
        c->on_ready = r->on_ready;
        c->arg = r->arg;
    }
    return c;
}

void call_free(struct rqlite_call *c)
{
    detach(c);
    list_remove(&c->ready);
    list_remove(&c->all);
    answer_fini(&c->answer);
    free(c);
}
