/* SPDX-License-Identifier: MIT */
/*
 * api: what the handlers share: the way from a request to a call of the backend and back.
 *
 * A handler runs on its exchange's gateway thread.  It makes a struct api_call in the
 * exchange's arena (which holds the exchange), fills the call inside and starts it with
 * the backend.  The call's done() posts it back to that thread, where answer() responds;
 * then everything is let go.  In between the exchange belongs to the call: nobody here
 * touches it or its arena.  If the client leaves first, the call is told to stop early;
 * its answer goes nowhere.
 *
 * Results that grow large leave while the call is still under way (gateway/stream.h):
 * then the answer begins before answer(), which only ends it.
 */
#ifndef GATEWAY_API_API_H
#define GATEWAY_API_API_H

#include "core/node/call.h"
#include "gateway/backend.h"
#include "gateway/errors.h"
#include "gateway/http.h"
#include "gateway/json_read.h"
#include "gateway/json_sink.h"
#include "gateway/params.h"
#include "gateway/server.h"

#define API_JSON "application/json; charset=utf-8"
#define API_TEXT "text/plain; charset=utf-8"
#define API_PROM "text/plain; version=0.0.4; charset=utf-8"

struct api_call {
    struct http_exchange *x;
    const struct params *params;
    const struct api_endpoint *endpoint;
    void (*answer)(struct api_call *a); /* responds, exactly once */
    const char *refusal;                /* api_refuse()'s text, and its status */
    int refusal_status;
    struct json_sink sink;             /* of the data endpoints; all zero otherwise */
    const struct json_statements *sql; /* for the slow-query log; NULL = not in it */
    bool writes;                       /* so says the endpoint */
    struct http_stream *stream;        /* what of it has left; its writer is here */
    char served_by[CALL_ADDR_MAX];     /* as it was when that began */
    union {
        struct call call; /* each of the others begins with one */
        struct call_execute execute;
        struct call_query query;
        struct call_analyze analyze;
        struct call_load load;
        struct call_boot boot;
        struct call_backup backup;
        struct call_nodes nodes;
        struct call_ready ready;
        struct call_remove remove;
        struct call_step_down step_down;
        struct call_snapshot snapshot;
        struct call_reap reap;
        struct call_status status;
        struct call_join join;
    } c;
};

/* A call for x with what all calls have in common filled in.  NULL: out of memory, x is
 * answered. */
struct api_call *api_call_new(struct http_exchange *x, const struct params *p,
                              const struct api_endpoint *endpoint,
                              void (*answer)(struct api_call *a));

/* status.c: ask the backend for its status, as an object that answer() finds in the call;
 * figures: with those that only /metrics shows. */
void api_ask_status(struct http_exchange *x, const struct params *p,
                    const struct api_endpoint *endpoint, bool figures,
                    void (*answer)(struct api_call *a));

/* For a call that was not started after all, once x has been answered. */
void api_call_end(struct api_call *a);

/* Give it a sink, which ends with it. */
struct row_sink *api_call_sink(struct api_call *a);

/* Answer with what the sink got, or with how the call failed.  raft_index 0 = leave out.
 */
void api_answer_results(struct api_call *a, uint64_t raft_index);

/* Refuse x for what its body says: with the status, or with 200 and a top-level error.
 * But not if it wants to be redirected and another node leads: the leader says it then
 * (7.6). */
void api_refuse(struct http_exchange *x, const struct params *p,
                const struct api_endpoint *endpoint, int status, const char *text);

/* The statements of a body (HTTP API 3); plain: text/plain counts as one.
 * False: x is refused, as api_refuse() has it. */
bool api_read_statements(struct http_exchange *x, const struct params *p,
                         const struct api_endpoint *endpoint, bool plain,
                         struct json_statements *out);

/* Is one of them refused (5.7)?  Then x is, with the top-level error. */
bool api_disallowed(struct http_exchange *x, const struct params *p,
                    const struct api_endpoint *endpoint,
                    const struct json_statements *statements);

/* Idempotency-Key: the fields that a write of these statements carries, if the request
 * has one; rows: it came by /db/request.  False: x is answered (400, out of memory). */
bool api_once(struct http_exchange *x, const struct params *p,
              const struct json_statements *statements, bool rows,
              ProtobufCBinaryData *once_key, ProtobufCBinaryData *once_print);

/* {"results":[],"error":text}, status 200. */
void api_respond_top_level(struct http_exchange *x, const struct params *p,
                           const char *type, const char *text);

/* slow.c.  When the call is back: log it if it took as long as the option says. */
void api_slow_query(const struct api_call *a);

/* JSON text in body (whose bytes move), or 500 if it could not be built. */
void api_respond_json(struct http_exchange *x, const char *type, struct buf *body);

uint64_t
api_elapsed_ns(const struct http_exchange *x); /* since the request was received */
struct backend *api_backend(const struct http_exchange *x);
struct metrics *api_metrics(const struct http_exchange *x);

/* --- the handlers, for the table of routes --- */

typedef void api_handler(struct http_exchange *x, const struct params *p);

api_handler api_execute, api_query, api_request, api_sql, api_load, api_backup, api_boot,
    api_nodes, api_leader, api_ready, api_remove, api_snapshot, api_reap, api_status,
    api_vars, api_pprof, api_prom, api_licenses, api_root, api_console, api_join,
    api_notify;

#endif
