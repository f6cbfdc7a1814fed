/* SPDX-License-Identifier: MIT */
/*
 * options: the command line and environment of the shell, from one table.  Pure.
 */
#ifndef CLI_SHELL_OPTIONS_H
#define CLI_SHELL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/err.h"

struct options {
    const char *alternatives; /* "host:port,host:port" */
    const char *scheme;       /* "http" or "https" */
    const char *host;         /* IPv6 without brackets */
    int64_t port;
    const char *prefix;
    const char *ca_cert, *client_cert, *client_key; /* "" = none */
    const char *user;                               /* "name:password"; "" = none */
    int64_t http_timeout_ns;
    bool insecure, quiet;
    bool help, version, man; /* print and do nothing else */

    char env_host[256]; /* what host points to when it came from the environment */
};

/*
 * Fill *o from the words after argv[0] and, unless one of -H, -p, -s is there, from the
 * value of RQLITE_HOST (may be NULL).  Strings are borrowed from argv and from *o itself,
 * which must not be moved.  ERR_INVALID with the sentence to print.
 */
MUST_USE enum err options_parse(struct options *o, int argc, char **argv,
                                const char *rqlite_host, struct why *why);

void options_help(FILE *out);

/* The options part of the manual page. */
void options_man(FILE *out);

#endif
