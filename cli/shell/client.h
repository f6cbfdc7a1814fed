/* SPDX-License-Identifier: MIT */
/*
 * client: requests to a cluster through any of its nodes.  The only file of the shell
 * that knows libcurl.
 *
 * There is a current host.  A request that fails to be carried there (not one that is
 * refused) goes to the next of the hosts, once round; the one that answers is the current
 * host from then on.  Each host that failed is reported on stderr.  Redirects are
 * followed, keeping method and body. Ctrl-C (cancel.h) ends a request with ERR_CANCELLED.
 */
#ifndef CLI_SHELL_CLIENT_H
#define CLI_SHELL_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/buf.h"
#include "core/base/err.h"

struct client; /* opaque */

struct client_config {
    const char *scheme; /* "http" or "https" */
    const char *host;   /* IPv6 without brackets */
    uint16_t port;
    const char *alternatives; /* "host:port,..."; "" = none */
    const char *prefix;
    const char *ca_cert, *client_cert, *client_key; /* files; "" = none */
    const char *credentials;                        /* "name:password"; "" = none */
    bool insecure;
    uint64_t timeout_ms; /* 0 = none */
};

/* Where bytes come from. */
struct client_body {
    const char *type; /* Content-Type; NULL = no body */
    const void *data; /* len bytes from memory ... */
    size_t len;
    FILE *file; /* ... after this whole file; NULL = none */
};

struct client_request {
    const char *method;
    const char *path; /* below the prefix, with query string: "db/query?q=..." */
    const char *url;  /* instead of path: asked there and nowhere else */
    struct client_body body;
    FILE *download; /* takes the body of a 200 answer; NULL = memory */
    bool no_timeout;
};

struct client_reply {
    int status;
    struct buf body;  /* followed by a NUL that it does not count */
    char version[64]; /* X-Rqlite-Version; "" = absent */
};

/* Strings of the configuration are copied.  ERR_INVALID for a file that can't be opened.
 */
MUST_USE enum err client_open(struct client **out, const struct client_config *config,
                              struct why *why);
void client_close(struct client *c); /* NULL is allowed */

/* "127.0.0.1:4001", the current host, and how it is spoken to, "http". */
const char *client_host(const struct client *c);
const char *client_scheme(const struct client *c);

/*
 * Send, and wait for the answer, whatever its status.  End *reply with
 * client_reply_fini() in any case.  ERR_UNREACHABLE when no host carried it.
 */
MUST_USE enum err client_send(struct client *c, const struct client_request *request,
                              struct client_reply *reply, struct why *why);
void client_reply_fini(struct client_reply *reply);

/* Append text as part of a query string. */
void client_append_escaped(struct buf *out, const char *text);

#endif
