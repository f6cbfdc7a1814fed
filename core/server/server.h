/* SPDX-License-Identifier: MIT */
/*
 * server: the parts of a running rqlited, made and ended in one place.
 *
 * main() calls the steps below in their order; each finds what the earlier ones made.  A
 * step that fails has said nothing: the words are in why.  ERR_CANCELLED means that a
 * signal ended the start.
 *
 * Owner: the main thread.
 */
#ifndef CORE_SERVER_SERVER_H
#define CORE_SERVER_SERVER_H

#include "core/base/err.h"
#include "core/server/datadir.h"
#include "core/server/extensions.h"
#include "core/server/status.h"

struct auth;
struct cluster;
struct gateway;
struct local_backend;
struct logger;
struct metrics;
struct node;
struct options;
struct signals;
struct tls;

struct server {
    const struct options *opt; /* borrowed */
    const char **words;        /* of the command line, to be shown; owned */
    struct logger *logger;     /* owned, and so on */
    struct metrics *metrics;
    struct signals *signals;
    struct datadir dir;
    struct extensions extensions;
    struct auth *auth; /* NULL without -auth */
    struct status_source status;
    struct tls *http_tls, *node_tls; /* NULL = clear text */
    struct local_backend *backend;   /* the gateway's way to the node */
    struct gateway *gateway;
    struct node *node;
    struct cluster *cluster; /* the node among others */
    char raft_bound[128];    /* where the Raft port really is */
    int raft_fd;             /* holds the Raft port until the node listens on it */
    int fatal_fd;            /* readable once the node must not go on */
    bool serving;            /* the start is over */
    bool http_stopped;
    struct why fatal; /* why; written before fatal_fd */
};

/* Everything that works before there is a data directory: signals, log, counters, the
 * banner. */
MUST_USE enum err server_begin(struct server *s, const struct options *opt,
                               const char *const *argv, struct why *why);

/* The certificates of both ports. */
MUST_USE enum err server_load_certificates(struct server *s, struct why *why);

/* Make, lock and recognise the data directory. */
MUST_USE enum err server_take_data_dir(struct server *s, struct why *why);

/* The Raft port. */
MUST_USE enum err server_listen_peers(struct server *s, struct why *why);

/* Who may do what: the users of -auth, if it is given. */
MUST_USE enum err server_open_auth(struct server *s, struct why *why);

/* The HTTP port.  Until the node is open, requests are answered by "not open". */
MUST_USE enum err server_listen_http(struct server *s, struct why *why);

/* Recover the node from the data directory. */
MUST_USE enum err server_open_node(struct server *s, struct why *why);

/* Start the node's threads, then become part of a cluster: a new one of this node alone
 * or of a group, or an existing one.  This may take long; HTTP is served meanwhile. */
MUST_USE enum err server_form_cluster(struct server *s, struct why *why);

/* Say that the node is there, then wait for a signal (ERR_OK) or for the node's end. */
MUST_USE enum err server_run(struct server *s, struct why *why);

/* Stop serving and, as the flags have it, leave the cluster or hand leadership over.  On
 * an error the shutdown goes on all the same. */
MUST_USE enum err server_leave(struct server *s, struct why *why);

/* The reverse order; safe after any step, or none. */
void server_close(struct server *s);

/* --- for the files of this module ------------------------------------------------- */

/* Running requests end, within limits; safe to call twice. */
void server_stop_http(struct server *s);

/* e, unless a signal came meanwhile: ERR_CANCELLED. */
MUST_USE enum err server_step_end(struct server *s, enum err e, struct why *why);

#endif
