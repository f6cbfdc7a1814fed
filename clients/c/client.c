/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "clients/c/internal.h"

enum {
    TIMEOUT_MS = 10000,
    CONNECT_MS = 2000,
    IDLE_PING_MS = 5000,
    PONG_MS = 3000,
    BACKOFF_MAX_MS = 200
};

/* --- errors ----------------------------------------------------------------------- */

enum rqlite_code error_set(struct rqlite_error *error, enum rqlite_code code,
                           const char *fmt, ...)
{
    va_list args;

    if (error == NULL) return code;
    error->code = code;
    error->unknown = false;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return code;
}

enum rqlite_code code_of(enum err e)
{
    switch (e) {
    case ERR_OK: return RQLITE_OK;
    case ERR_NOMEM: return RQLITE_NOMEM;
    case ERR_CORRUPT: return RQLITE_PROTOCOL;
    case ERR_INVALID:
    case ERR_CONFLICT: return RQLITE_INVALID;
    case ERR_TOO_BIG: return RQLITE_TOO_BIG;
    case ERR_BUSY: return RQLITE_BUSY;
    case ERR_TIMEOUT: return RQLITE_TIMEOUT;
    case ERR_CANCELLED: return RQLITE_CANCELLED;
    case ERR_NOT_LEADER:
    case ERR_NO_LEADER:
    case ERR_TRANSFER:
    case ERR_NOT_READY: return RQLITE_NO_LEADER;
    case ERR_LEADERSHIP_LOST: return RQLITE_UNKNOWN;
    case ERR_CLOSED:
    case ERR_NOT_OPEN:
    case ERR_UNREACHABLE: return RQLITE_UNREACHABLE;
    case ERR_STALE: return RQLITE_STALE;
    case ERR_UNAUTHORIZED: return RQLITE_UNAUTHORIZED;
    case ERR_UNSUPPORTED: return RQLITE_UNSUPPORTED;
    case ERR_IO:
    case ERR_NO_SPACE:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_NOTHING:
    case ERR_SQL:
    case ERR_COUNT: break;
    }
    return RQLITE_FAILED;
}

const char *rqlite_code_text(enum rqlite_code code)
{
    switch (code) {
    case RQLITE_OK: return "success";
    case RQLITE_DONE: return "the answer is complete";
    case RQLITE_AGAIN: return "nothing is here yet";
    case RQLITE_NOMEM: return "out of memory";
    case RQLITE_INVALID: return "wrong use";
    case RQLITE_TOO_BIG: return "too big";
    case RQLITE_SQL: return "the statement failed";
    case RQLITE_FAILED: return "the server could not carry it out";
    case RQLITE_BUSY: return "the server is overloaded";
    case RQLITE_TIMEOUT: return "timed out";
    case RQLITE_CANCELLED: return "cancelled";
    case RQLITE_NO_LEADER: return "no leader";
    case RQLITE_UNREACHABLE: return "no node could be reached";
    case RQLITE_STALE: return "the node's data is too old";
    case RQLITE_UNAUTHORIZED: return "unauthorized";
    case RQLITE_UNSUPPORTED: return "not supported by the server";
    case RQLITE_PROTOCOL: return "malformed answer";
    case RQLITE_UNKNOWN: return "the outcome is unknown";
    }
    return "unknown code";
}

/* --- opening and closing ---------------------------------------------------------- */

static enum rqlite_code keep_options(struct rqlite *db, const struct rqlite_options *o,
                                     struct rqlite_error *error)
{
    struct net_meta meta = {.user = o->user, .password = o->password};
    struct why why;

    if (frame_meta_check(&meta, &why))
        return error_set(error, RQLITE_TOO_BIG, "%s", why.text);
    if (o->user) db->user = arena_strdup(&db->texts, o->user);
    if (o->password) db->password = arena_strdup(&db->texts, o->password);
    if (arena_failed(&db->texts)) return error_set(error, RQLITE_NOMEM, "out of memory");
    db->timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
    return RQLITE_OK;
}

static bool given(const char *text)
{
    return text && *text;
}

/* The certificates, if there shall be TLS. */
static enum rqlite_code open_tls(struct rqlite *db, const struct rqlite_options *o,
                                 struct rqlite_error *error)
{
    struct tls_options t = {.cert = o->tls_cert,
                            .key = o->tls_key,
                            .ca = o->tls_ca,
                            .server_name = o->tls_server_name,
                            .no_verify = o->tls_no_verify};
    struct why why;

    if (!o->tls && !given(o->tls_ca) && !given(o->tls_cert) && !given(o->tls_key) &&
        !given(o->tls_server_name) && !o->tls_no_verify)
        return RQLITE_OK;
    if (tls_new(&db->tls, &t, &why))
        return error_set(error, code_of(why.code), "%s", why.text);
    return RQLITE_OK;
}

static enum rqlite_code open_net(struct rqlite *db, const struct rqlite_options *o,
                                 struct rqlite_error *error)
{
    struct net_options n = {.base = db->base,
                            .tls = db->tls,
                            .limits = {.connect_ms = CONNECT_MS,
                                       .idle_ping_ms = IDLE_PING_MS,
                                       .pong_ms = PONG_MS,
                                       .backoff_max_ms = BACKOFF_MAX_MS},
                            .identity = {.software = "librqlite"}};
    struct why why;

    if (o->connect_timeout_ms > 0 && o->connect_timeout_ms < INT32_MAX)
        n.limits.connect_ms = (uint32_t)o->connect_timeout_ms;
    if (net_new(&db->net, &n, &why))
        return error_set(error, code_of(why.code), "%s", why.text);
    return RQLITE_OK;
}

enum rqlite_code rqlite_open(struct rqlite **out, const struct rqlite_options *options,
                             struct rqlite_error *error)
{
    struct rqlite *db = calloc(1, sizeof *db);
    enum rqlite_code code;

    *out = NULL;
    (void)error_set(error, RQLITE_OK, "%s", "");
    if (db == NULL) return error_set(error, RQLITE_NOMEM, "out of memory");
    db->interrupt_fd = -1;
    arena_init(&db->texts, 0);
    list_init(&db->nodes);
    list_init(&db->calls);
    list_init(&db->waiting);
    list_init(&db->ready);
    code = loop_open(db, error);
    if (!code) code = keep_options(db, options, error);
    if (!code) code = open_tls(db, options, error);
    if (!code) code = open_net(db, options, error);
    if (!code) code = nodes_init(db, options->nodes ? options->nodes : "", error);
    if (code) {
        rqlite_close(db);
        return code;
    }
    *out = db;
    return RQLITE_OK;
}

void rqlite_close(struct rqlite *db)
{
    if (db == NULL) return;
    while (!list_empty(&db->calls))
        call_free(LIST_ITEM(db->calls.next, struct rqlite_call, all));
    nodes_fini(db);
    /* What was cancelled is told to the servers, as far as that needs no waiting. */
    if (db->net) loop_turn(db, false);
    net_free(db->net);
    tls_free(db->tls);
    loop_close(db);
    arena_fini(&db->texts);
    free(db);
}

const char *rqlite_leader(const struct rqlite *db)
{
    return db->target && db->target_leads ? db->target->address : "";
}

/* --- calls ------------------------------------------------------------------------ */

static enum rqlite_code start(struct rqlite_call **out, struct rqlite *db,
                              enum call_kind kind, struct blob *packed,
                              const struct rqlite_request *r, struct rqlite_error *error)
{
    struct rqlite_call *c;

    if (list_empty(&db->calls)) {
        loop_forget_interrupt(db); /* it was meant for others */
        /* See what was closed while nobody looked, before something is sent there. */
        if (!db->telling) loop_turn(db, false);
    }
    c = call_new(db, kind, packed, r);
    if (c == NULL) {
        blob_unref(packed);
        return error_set(error, RQLITE_NOMEM, "out of memory for a call");
    }
    call_place(c);
    loop_changed(db);
    *out = c;
    return RQLITE_OK;
}

enum rqlite_code rqlite_execute(struct rqlite_call **out, struct rqlite *db,
                                const struct rqlite_request *request,
                                struct rqlite_error *error)
{
    struct blob *packed;
    enum rqlite_code code = request_pack(&packed, CALL_EXECUTE, request, error);

    *out = NULL;
    return code ? code : start(out, db, CALL_EXECUTE, packed, request, error);
}

enum rqlite_code rqlite_query(struct rqlite_call **out, struct rqlite *db,
                              const struct rqlite_request *request,
                              struct rqlite_error *error)
{
    struct blob *packed;
    enum rqlite_code code = request_pack(&packed, CALL_QUERY, request, error);

    *out = NULL;
    return code ? code : start(out, db, CALL_QUERY, packed, request, error);
}

enum rqlite_code rqlite_script(struct rqlite_call **out, struct rqlite *db,
                               const char *sql, size_t len,
                               const struct rqlite_request *request,
                               struct rqlite_error *error)
{
    struct blob *packed;
    enum rqlite_code code = request_pack_script(&packed, sql, len, error);

    *out = NULL;
    return code ? code : start(out, db, CALL_SCRIPT, packed, request, error);
}

/* Tell those whose calls have something for them. */
static void tell(struct rqlite *db)
{
    struct list mine, *l;

    if (db->telling || list_empty(&db->ready)) return;
    db->telling = true;
    list_init(&mine); /* those that become ready in on_ready() have their turn later */
    while ((l = list_pop_front(&db->ready))) list_push_back(&mine, l);
    while ((l = list_pop_front(&mine))) {
        struct rqlite_call *c = LIST_ITEM(l, struct rqlite_call, ready);

        c->on_ready(c, c->arg);
    }
    db->telling = false;
}

enum rqlite_code rqlite_try_next(struct rqlite_call *call, struct rqlite_event *event)
{
    enum rqlite_code code = call_take(call, event);

    if (code == RQLITE_AGAIN) call->hungry = true;
    if (code != RQLITE_OK) loop_changed(call->db); /* room was made for more */
    return code;
}

enum rqlite_code rqlite_next(struct rqlite_call *call, struct rqlite_event *event)
{
    struct rqlite *db = call->db;
    enum rqlite_code code = call_take(call, event);

    if (code == RQLITE_OK) return code;
    if (code == RQLITE_AGAIN && db->telling) return RQLITE_INVALID;
    call->hungry = false; /* who waits need not be told */
    while (code == RQLITE_AGAIN) {
        loop_turn(db, true);
        tell(db);
        code = call_take(call, event);
    }
    loop_changed(db);
    return code;
}

const struct rqlite_error *rqlite_call_error(const struct rqlite_call *call)
{
    return &call->error;
}

uint64_t rqlite_call_index(const struct rqlite_call *call)
{
    return call->over ? call->answer.raft_index : 0;
}

void rqlite_cancel(struct rqlite_call *call)
{
    bool sent = call->doubt || (call->request && call->writes_data);

    call_end(call, RQLITE_CANCELLED, sent, "the call was cancelled");
    loop_changed(call->db);
}

void rqlite_free(struct rqlite_call *call)
{
    struct rqlite *db;

    if (call == NULL) return;
    db = call->db;
    call_free(call);
    loop_changed(db);
}

/* --- one write -------------------------------------------------------------------- */

enum rqlite_code rqlite_write(struct rqlite *db, struct rqlite_written *out,
                              const char *sql, const struct rqlite_param *params,
                              size_t n_params, struct rqlite_error *error)
{
    struct rqlite_statement s = {.sql = sql, .params = params, .n_params = n_params};
    struct rqlite_request r = {.statements = &s, .n_statements = 1};
    struct rqlite_event e;
    struct rqlite_call *call;
    enum rqlite_code code, sql_code = RQLITE_OK;

    if (out) *out = (struct rqlite_written){0};
    (void)error_set(error, RQLITE_OK, "%s", "");
    code = rqlite_execute(&call, db, &r, error);
    if (code) return code;
    while ((code = rqlite_next(call, &e)) == RQLITE_OK) {
        if (e.kind == RQLITE_ERROR) sql_code = error_set(error, RQLITE_SQL, "%s", e.text);
        if (e.kind == RQLITE_WRITTEN && out)
            *out = (struct rqlite_written){e.last_insert_id, e.rows_affected};
    }
    if (code == RQLITE_DONE)
        code = sql_code;
    else if (error)
        *error = call->error;
    rqlite_free(call);
    return code;
}

/* --- event loops ------------------------------------------------------------------ */

enum rqlite_code rqlite_process(struct rqlite *db)
{
    if (db->telling) return RQLITE_INVALID;
    loop_turn(db, false);
    if (!list_empty(&db->ready)) {
        tell(db);
        loop_turn(db, false); /* what was started then leaves now */
    }
    loop_changed(db);
    return RQLITE_OK;
}
