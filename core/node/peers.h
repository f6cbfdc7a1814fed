/* SPDX-License-Identifier: MIT */
/*
 * peers: Raft's messages between this node and the other members.
 *
 * One connection of class NET_RAFT to each member, dialled by us and kept up; what
 * members send us arrives on connections that they dialled.  A message to a member that
 * is not connected is dropped: Raft sends again.
 *
 * Owner: the node thread.
 */
#ifndef CORE_NODE_PEERS_H
#define CORE_NODE_PEERS_H

#include "core/raft/raft.h"

struct logger;
struct net;

struct peers;

struct peers_events {
    void (*on_message)(void *arg, const struct raft_message *m); /* borrowed */
    void (*on_lost)(void *arg, const char *id); /* the connection to it broke */
};

struct peers_options {
    const char *id;  /* this node */
    struct net *net; /* borrowed */
    struct logger *logger;
    const struct peers_events *events;
    void *arg;
};

MUST_USE enum err peers_new(struct peers **out, const struct peers_options *o,
                            struct why *why);
void peers_free(struct peers *p); /* NULL is allowed */

/* Keep connections to exactly the other members of c.  ERR_NOMEM: some are missing, call
 * again. */
MUST_USE enum err peers_set(struct peers *p, const struct raft_config *c);

/* Messages to members that are connected; to an address that is not in the configuration
 * (an answer to a node that was removed or is not yet known) they go back to nobody. */
void peers_send(struct peers *p, const struct raft_message *messages, size_t n);

/* Is the connection to this member up? */
bool peers_up(const struct peers *p, const char *id);

/* The handler of Raft.Step for the service table whose arg is p's owner; p gets what
 * arrives. */
struct net_call;
void peers_on_step(struct peers *p, struct net_call *c);

#endif
