/* SPDX-License-Identifier: MIT */
/*
 * peers: Raft's messages between this node and the other members.
 *
 * One connection of class NET_RAFT to each member, dialled by us and kept up; what
 * members send us arrives on connections that they dialled.  A message to a member that
 * is not connected is dropped: Raft sends again.  Who has a connection to us is dialled
 * where its hello says it is, member by our configuration or not.
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

/* Keep connections to the other members of c, and besides only to nodes that have one to
 * us. ERR_NOMEM: some are missing, call again. */
MUST_USE enum err peers_set(struct peers *p, const struct raft_config *c);

/* Messages to those that are connected; others' are lost. */
void peers_send(struct peers *p, const struct raft_message *messages, size_t n);

/* Where this node is, as far as we know; "" if we don't. */
const char *peers_address(const struct peers *p, const char *id);

/* Is the connection to this member up? */
bool peers_up(const struct peers *p, const char *id);

/* The handler of Raft.Step for the service table whose arg is p's owner; p gets what
 * arrives. */
struct net_call;
void peers_on_step(struct peers *p, struct net_call *c);

#endif
