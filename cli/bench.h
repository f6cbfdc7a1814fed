/* SPDX-License-Identifier: MIT */
/*
 * bench: one load test: the same request over and over, and what came of it.
 *
 * Two drivers share it.  bench_curl_run() is libcurl: one connection, or several over
 * TLS. bench_epoll_run() is raw sockets, for several connections in the clear.
 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/bench_stats.h"
#include "core/base/err.h"

struct bench {
    const char *url;  /* "http://localhost:4001/db/execute?transaction" */
    const char *addr; /* its "localhost:4001" */
    const char *path; /* its "/db/execute?transaction" */
    const char *user; /* "name:password"; "" = no credentials */
    const char *body; /* JSON */
    size_t body_len;
    bool parse;        /* look into the replies */
    uint64_t requests; /* when there is no duration */
    uint64_t duration_ns;
    uint64_t progress; /* print a line every so many requests; 0 = none */
    unsigned conns;

    /* filled by a run */
    uint64_t started; /* requests sent so far */
    uint64_t begin_ns, end_ns;
    struct bench_stats stats;
};

uint64_t bench_now_ns(void);

/* May another request be sent?  Counts it as sent if so. */
bool bench_start_one(struct bench *b, uint64_t now_ns);

/* A reply arrived that took ns.  Counts it, prints a progress line; ERR_SQL if it was
 * refused. */
MUST_USE enum err bench_done_one(struct bench *b, uint64_t ns, int status,
                                 const char *body, size_t len, struct why *why);

/* Send everything.  The first failure ends the run. */
MUST_USE enum err bench_curl_run(struct bench *b, struct why *why);
MUST_USE enum err bench_epoll_run(struct bench *b, struct why *why);

#endif
