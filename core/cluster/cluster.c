/* SPDX-License-Identifier: MIT */
#include "core/cluster/cluster.h"

#include <stdlib.h>

#include "core/cluster/internal.h"
#include "core/net/server.h"

enum err cluster_authorize(const struct cluster *cl, const char *user,
                           const char *password, const char *perm)
{
    if (cl->o.authorize == NULL) return ERR_OK;
    return cl->o.authorize(cl->o.authorize_arg, user, password, perm);
}

/* --- the service Cluster ---------------------------------------------------------- */

/* False: the call has been refused. */
static bool allowed(struct cluster *cl, struct net_call *c, const char *perm)
{
    const struct net_meta *m = net_call_meta(c);

    if (cluster_authorize(cl, m->user, m->password, perm) == ERR_OK) return true;
    net_call_refuse(c, ERR_UNAUTHORIZED, "unauthorized");
    return false;
}

static void on_join(struct net_call *c, const ProtobufCMessage *message)
{
    const Rqlite__JoinRequest *q = (const void *)message;
    struct cluster *cl = net_call_service_arg(c);
    const struct net_meta *m = net_call_meta(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_join_req, 1);
    if (!q->voter &&
        cluster_authorize(cl, m->user, m->password, "join-read-only") == ERR_OK)
        membership_on_join(cl, c, q);
    else if (allowed(cl, c, q->voter ? "join" : "join-read-replica"))
        membership_on_join(cl, c, q);
}

static void on_notify(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_notify_req, 1);
    if (allowed(cl, c, "join")) membership_on_notify(cl, c, (const void *)message);
}

static void on_remove(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_remove_node_req, 1);
    if (allowed(cl, c, "remove")) membership_on_remove(cl, c, (const void *)message);
}

static void on_step_down(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_stepdown_req, 1);
    if (allowed(cl, c, "leader-ops"))
        membership_on_step_down(cl, c, (const void *)message);
}

static const struct net_method cluster_methods[NET_CLUSTER_METHODS] = {
    [NET_CLUSTER_JOIN] = {.on_call = on_join},
    [NET_CLUSTER_NOTIFY] = {.on_call = on_notify},
    [NET_CLUSTER_REMOVE] = {.on_call = on_remove},
    [NET_CLUSTER_STEP_DOWN] = {.on_call = on_step_down},
};

/* --- opening and closing ---------------------------------------------------------- */

static enum err copy_options(struct cluster *cl, const struct cluster_options *o,
                             struct why *why)
{
    struct arena *a = &cl->names;

    cl->o = *o;
    cl->o.id = arena_strdup(a, o->id);
    cl->o.raft_addr = arena_strdup(a, o->raft_addr);
    cl->o.api_url = arena_strdup(a, o->api_url ? o->api_url : "");
    cl->o.version = arena_strdup(a, o->version ? o->version : "");
    return arena_failed(a) ? why_set(why, ERR_NOMEM, "out of memory") : ERR_OK;
}

enum err cluster_new(struct cluster **out, const struct cluster_options *o,
                     struct why *why)
{
    struct cluster *cl = calloc(1, sizeof *cl);
    struct membership_options mo;
    enum err e;

    *out = NULL;
    if (cl == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    arena_init(&cl->names, 0);
    cl->node = o->node;
    cl->base = node_base(o->node);
    cl->net = node_net(o->node);
    e = copy_options(cl, o, why);
    mo = (struct membership_options){.id = cl->o.id,
                                     .raft_addr = cl->o.raft_addr,
                                     .bootstrap_expect = o->bootstrap_expect,
                                     .reap_voter_ms = o->reap_voter_ms,
                                     .reap_replica_ms = o->reap_replica_ms,
                                     .node = cl->node,
                                     .logger = cl->o.logger,
                                     .metrics = cl->o.metrics};
    if (!e) e = membership_new(&cl->membership, &mo, why);
    if (!e && cl->net)
        e = net_server_add(node_server(cl->node), &net_service_cluster, cluster_methods,
                           cl);
    if (e) {
        cluster_free(cl);
        return e;
    }
    *out = cl;
    return ERR_OK;
}

void cluster_stop(struct cluster *cl)
{
    atomic_store(&cl->stopping, true);
}

void cluster_free(struct cluster *cl)
{
    if (cl == NULL) return;
    membership_free(cl->membership);
    arena_fini(&cl->names);
    free(cl);
}
