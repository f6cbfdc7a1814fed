/* SPDX-License-Identifier: MIT */
/*
 * service: the services of proto/ and their numbers on the wire.
 *
 * A method is named by two bytes: its service's number, and its place in the .proto.  So
 * methods are only ever added at the end of a service there.  protobuf-c's descriptors do
 * not keep which methods stream; that stands here.
 */
#ifndef CORE_NET_SERVICE_H
#define CORE_NET_SERVICE_H

#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

enum { NET_STREAM_IN = 1, NET_STREAM_OUT = 2 }; /* as the callee sees it */

struct net_service {
    uint8_t number; /* never reused */
    const ProtobufCServiceDescriptor *descriptor;
    const uint8_t *streams; /* for each method NET_STREAM_... */
};

extern const struct net_service net_service_raft, net_service_database,
    net_service_cluster;

enum { NET_RAFT_STEP, NET_RAFT_INSTALL_SNAPSHOT, NET_RAFT_METHODS };
enum {
    NET_DATABASE_EXECUTE,
    NET_DATABASE_QUERY,
    NET_DATABASE_SCRIPT,
    NET_DATABASE_LOAD,
    NET_DATABASE_BACKUP,
    NET_DATABASE_METHODS
};
enum {
    NET_CLUSTER_JOIN,
    NET_CLUSTER_NOTIFY,
    NET_CLUSTER_REMOVE,
    NET_CLUSTER_STEP_DOWN,
    NET_CLUSTER_INFO,
    NET_CLUSTER_METHODS
};

#endif
