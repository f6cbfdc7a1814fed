/* SPDX-License-Identifier: MIT */
/*
 * local_backend: the gateway's backend that is the node in this process.
 *
 * It exists before the node does, since the HTTP port opens first: until
 * local_backend_attach() every call is answered as "not open".
 */
#ifndef CORE_SERVER_LOCAL_BACKEND_H
#define CORE_SERVER_LOCAL_BACKEND_H

#include "core/base/err.h"

struct backend;
struct cluster;
struct doc;
struct local_backend; /* opaque */
struct node;

/* add_status() puts the sections of /status that are the server's (build, node, os,
 * runtime, ...; HTTP API 12.1) into the root object, from any thread. */
MUST_USE enum err local_backend_new(struct local_backend **out,
                                    void (*add_status)(void *arg, struct doc *root),
                                    void *arg);
void local_backend_free(
    struct local_backend *b); /* NULL is allowed; after gateway_free() */

struct backend *local_backend_get(struct local_backend *b);

/* From now on calls go to n (started), as one node of cl.  Both outlive every call. */
void local_backend_attach(struct local_backend *b, struct node *n, struct cluster *cl);

#endif
