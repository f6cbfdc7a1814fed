/* SPDX-License-Identifier: MIT */
/*
 * bench_options: the command line of rqbench, from one table.  Pure.
 *
 * Flag grammar: server spec 1.1 (-name=value, -name value, --name; a boolean takes no
 * word). Flags may also follow the statement.
 */
#ifndef CLI_BENCH_OPTIONS_H
#define CLI_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/err.h"

struct bench_options {
    const char *addr;      /* -a */
    int64_t requests;      /* -n */
    int64_t batch;         /* -b */
    int64_t progress;      /* -m; 0 = no progress lines */
    int64_t conns;         /* -c */
    int64_t duration_ns;   /* -d; 0 = until -n requests are done */
    const char *path;      /* -p */
    const char *once;      /* -o; "" = none */
    const char *transport; /* -t */
    const char *user;      /* -u; "" = no credentials */
    bool transaction;      /* -x */
    bool queued;           /* -q */
    bool latency;          /* -l */
    bool tls;              /* -s */
    bool help, man;        /* -h, -man: print and do nothing else */
    const char *statement; /* NULL = none given */
};

/* Fill *o from the words after argv[0]; its strings are borrowed from argv.  ERR_INVALID
 * with the sentence to print before the usage. */
MUST_USE enum err bench_options_parse(struct bench_options *o, int argc, char **argv,
                                      struct why *why);

void bench_options_usage(FILE *out);
void bench_options_man(FILE *out);

#endif
