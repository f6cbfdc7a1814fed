/* SPDX-License-Identifier: MIT */
/*
 * join_http: what the HTTP port of a node tells one that wants to join there
 * (cluster.md 2.3).  Knows libcurl, and nothing else here does.
 *
 * Threads: the one that starts the node; it waits, until cancel_fd says otherwise.
 */
#ifndef CORE_CLUSTER_JOIN_HTTP_H
#define CORE_CLUSTER_JOIN_HTTP_H

#include "core/cluster/join.h"

/* The Raft address to join at: the leader's, else that of a voter that can be reached,
 * else the node's own.  ERR_UNREACHABLE, ERR_UNAUTHORIZED, ERR_INVALID (no such
 * answer). */
MUST_USE enum err join_http_find(const struct join_options *o, const struct address *t,
                                 char out[ASK_ADDR_MAX], struct why *why);

/* That of the very node that answers. */
MUST_USE enum err join_http_own(const struct join_options *o, const struct address *t,
                                char out[ASK_ADDR_MAX], struct why *why);

/* POST /join there, following redirects to the leader. */
MUST_USE enum err join_http_post(const struct join_options *o, const struct address *t,
                                 struct why *why);

/* POST /notify there. */
MUST_USE enum err join_http_notify(const struct join_options *o, const struct address *t,
                                   struct why *why);

/* Does what is at a Raft address speak HTTPS, or HTTP?  Then *as is how to ask it.  It is
 * told no password. */
bool join_http_serves(const struct join_options *o, const struct address *t,
                      struct address *as);

#endif
