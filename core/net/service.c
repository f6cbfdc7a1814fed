/* SPDX-License-Identifier: MIT */
#include "core/net/service.h"

#include "proto/cluster.pb-c.h"
#include "proto/raft.pb-c.h"

static const uint8_t raft_streams[NET_RAFT_METHODS] = {
    [NET_RAFT_STEP] = NET_STREAM_IN,
    [NET_RAFT_INSTALL_SNAPSHOT] = NET_STREAM_IN | NET_STREAM_OUT,
};
static const uint8_t database_streams[NET_DATABASE_METHODS] = {
    [NET_DATABASE_EXECUTE] = NET_STREAM_OUT,
    [NET_DATABASE_QUERY] = NET_STREAM_OUT,
    [NET_DATABASE_SCRIPT] = NET_STREAM_OUT,
    [NET_DATABASE_LOAD] = NET_STREAM_IN | NET_STREAM_OUT,
    [NET_DATABASE_BACKUP] = NET_STREAM_OUT,
};
static const uint8_t cluster_streams[NET_CLUSTER_METHODS] = {0};

const struct net_service net_service_raft = {1, &rqlite__raft__descriptor, raft_streams};
const struct net_service net_service_database = {2, &rqlite__database__descriptor,
                                                 database_streams};
const struct net_service net_service_cluster = {3, &rqlite__cluster__descriptor,
                                                cluster_streams};
