/* SPDX-License-Identifier: MIT */
/*
 * recover: raft/peers.json, by which an operator gives a node another configuration
 * (server.md 11).
 *
 * Owner: the main thread, before node_open().
 */
#ifndef CORE_CLUSTER_RECOVER_H
#define CORE_CLUSTER_RECOVER_H

#include "core/base/err.h"
#include "core/node/node.h"

/* If the data directory holds the file: make it the configuration of this node, then
 * rename it to peers.info, so that it is read once.  On an error it stays. */
MUST_USE enum err recover_if_asked(const struct node_options *o, struct why *why);

/* Pure: may this be a cluster's configuration, as text and by its addresses?
 * ERR_INVALID. */
MUST_USE enum err recover_check(const struct raft_config *c, struct why *why);
MUST_USE enum err recover_check_addresses(const struct raft_config *c, struct why *why);

#endif
