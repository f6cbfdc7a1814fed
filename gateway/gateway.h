/* SPDX-License-Identifier: MIT */
/*
 * gateway: the HTTP port.  One listener, N threads, each with an event_base and the
 * connections it accepted; the first bytes of a connection decide between HTTP/2 (prior
 * knowledge) and HTTP/1.1. Handlers translate JSON to messages and rows to JSON, no more:
 * everything else is the backend's.
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"

struct auth;
struct backend;
struct gateway; /* opaque */
struct logger;
struct metrics;
struct tls;

struct gateway_options {
    const char *bind_addr; /* host:port; an empty host = all interfaces */
    const char *adv_addr;  /* host:port told to others */
    struct tls *tls;       /* borrowed; NULL = clear text */
    const char *tls_cert, *tls_key, *tls_ca; /* its files, for /status; NULL = none */
    bool tls_verify_client;
    unsigned threads;        /* 0 = one per usable core */
    struct backend *backend; /* borrowed */
    struct logger *logger;
    struct metrics *metrics;
    struct auth *auth;        /* borrowed; NULL = everybody may do everything */
    const char *version;      /* X-Rqlite-Version */
    const char *allow_origin; /* NULL = no Access-Control-Allow-Origin */
    const char *scratch_dir;  /* where bodies and backups are spooled; must exist before
                                 the first such request */
    const char *const *argv;  /* for /debug/vars cmdline */
    const char *access_log; /* "stdout", "stderr" or a file; NULL = none.  In the logger's
                               format */
    uint64_t slow_query_ns; /* log statements that took as long; 0 = none */
    bool no_expvar, no_pprof; /* -expvar=false, -pprof=false: those routes are 404 */

    struct {
        uint64_t capacity, batch_size; /* requests */
        uint64_t timeout_ns;           /* 0 = only full batches */
        bool tx;
    } queue;

    struct { /* 0 = the default of HTTP API 16 */
        uint64_t header_bytes, body_bytes, connections;
        uint64_t requests, memory; /* at once; 0 = no limit */
        uint64_t header_ms, idle_ms, stall_ms;
    } limits;
};

/* Bind, listen and start serving.  ERR_IO "listen tcp ADDR: bind: address already in use"
 * and the like.  On ERR_OK the caller owns *out and ends it with gateway_free(). */
MUST_USE enum err gateway_start(struct gateway **out, const struct gateway_options *o,
                                struct why *why);

/* Stop accepting, let requests in flight finish and flush queued writes, for at most
 * grace_ms; then close all connections.  Blocks; called from the thread that started it.
 */
void gateway_stop(struct gateway *g, unsigned grace_ms);

/* Ends it if still running.  NULL is allowed. */
void gateway_free(struct gateway *g);

/* The port really bound (for port 0 in tests). */
unsigned gateway_port(const struct gateway *g);

#endif
