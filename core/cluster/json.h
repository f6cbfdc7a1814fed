/* SPDX-License-Identifier: MIT */
/*
 * json: the JSON documents this module reads: peers.json, and what a node's HTTP port
 * says of the cluster.  Knows jansson, and nothing else here does.  Pure; any thread.
 */
#ifndef CORE_CLUSTER_JSON_H
#define CORE_CLUSTER_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"
#include "core/raft/raft.h"

/* [{"id":"1","address":"h:4002","non_voter":false}, ...] in its order, which c->members
 * keeps; nothing but the form is checked.  ERR_INVALID says what is wrong.  The caller
 * ends *c with raft_config_fini(). */
MUST_USE enum err json_read_peers(struct raft_config *c, const void *data, size_t len,
                                  struct why *why);

/* The answer of GET /nodes?ver=2: the Raft address of the leader, else of a voter that
 * can be reached.  ERR_NOT_FOUND if there is none, ERR_INVALID if it is no such answer.
 */
MUST_USE enum err json_read_nodes(char *addr, size_t cap, const void *data, size_t len,
                                  struct why *why);

/* The answer of GET /status: store.addr.  Errors as above. */
MUST_USE enum err json_read_own_addr(char *addr, size_t cap, const void *data, size_t len,
                                     struct why *why);

/* {"id":id,"addr":addr,"voter":voter}; malloc'd, NULL when out of memory. */
char *json_join_body(const char *id, const char *addr, bool voter);

#endif
