/* SPDX-License-Identifier: MIT */
/*
 * permit: may the caller of a method do that here (HTTP API 14.3)?
 *
 * The Raft port is inside the boundary of trust, as the consensus that runs over it needs
 * (mutual TLS is what protects it); what is checked here is the user behind a call.
 *
 * Owner: the node thread.
 */
#ifndef CORE_CLUSTER_PERMIT_H
#define CORE_CLUSTER_PERMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/auth/auth.h"
#include "core/net/server.h"

struct cluster;

/* Carry the call out.  message and net_call_bytes() are there; granted is what the caller
 * may do of what was wanted. */
typedef void permit_run(struct net_call *c, const ProtobufCMessage *message,
                        uint32_t granted);

/* From a method's on_call(): run() now, or when the caller's password has been hashed;
 * or, if none of the wanted permissions (enum auth_permission) is the caller's, refuse
 * the call.  In between a stream is paused: run() has it resumed. */
void permit_then(struct cluster *cl, struct net_call *c, const ProtobufCMessage *message,
                 uint32_t wanted, permit_run *run);

void permit_refuse(struct net_call *c);

#endif
