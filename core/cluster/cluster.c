/* SPDX-License-Identifier: MIT */
#include "core/cluster/cluster.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdlib.h>

#include "core/base/rand.h"
#include "core/cluster/internal.h"
#include "core/cluster/permit.h"
#include "core/cluster/spool.h"
#include "core/cluster/targets.h"

/* --- mail ------------------------------------------------------------------------- */

void cluster_post(struct cluster *cl, struct mail *m,
                  void (*deliver)(struct mail *m, void *node))
{
    if (node_post(cl->node, m, deliver)) return;
    pthread_mutex_lock(&cl->late_lock);
    m->next = cl->late;
    cl->late = m;
    pthread_mutex_unlock(&cl->late_lock);
}

/* Nobody else is left to post. */
static void deliver_late(struct cluster *cl)
{
    while (cl->late) {
        struct mail *m = cl->late;

        cl->late = m->next;
        m->deliver(m, cl->node);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct cluster *cl = arg;
    bool forwards = forwards_tick(cl), loads = serve_tick(cl), files = transfers_tick(cl);

    (void)fd;
    (void)what;
    if (forwards || loads || files) return;
    event_del(cl->tick);
    cl->ticking = false;
}

void cluster_tick(struct cluster *cl)
{
    static const struct timeval every = {.tv_usec = CLUSTER_TICK_MS * 1000};

    if (cl->ticking) return;
    cl->ticking = event_add(cl->tick, &every) == 0;
}

/* --- the service Cluster ---------------------------------------------------------- */

static void join(struct net_call *c, const ProtobufCMessage *message, uint32_t granted)
{
    const Rqlite__JoinRequest *q = (const void *)message;

    if (granted & (q->voter ? AUTH_JOIN : AUTH_JOIN_READ_ONLY))
        membership_on_join(net_call_service_arg(c), c, q);
    else
        permit_refuse(c);
}

static void on_join(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_join_req, 1);
    permit_then(cl, c, message, AUTH_JOIN | AUTH_JOIN_READ_ONLY, join);
}

static void notify(struct net_call *c, const ProtobufCMessage *message, uint32_t granted)
{
    (void)granted;
    membership_on_notify(net_call_service_arg(c), c, (const void *)message);
}

static void on_notify(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_notify_req, 1);
    permit_then(cl, c, message, AUTH_JOIN, notify);
}

static void remove_node(struct net_call *c, const ProtobufCMessage *message,
                        uint32_t granted)
{
    (void)granted;
    membership_on_remove(net_call_service_arg(c), c, (const void *)message);
}

static void on_remove(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_remove_node_req, 1);
    permit_then(cl, c, message, AUTH_REMOVE, remove_node);
}

static void step_down(struct net_call *c, const ProtobufCMessage *message,
                      uint32_t granted)
{
    (void)granted;
    membership_on_step_down(net_call_service_arg(c), c, (const void *)message);
}

static void on_step_down(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_stepdown_req, 1);
    permit_then(cl, c, message, AUTH_LEADER_OPS, step_down);
}

static const struct net_method cluster_methods[NET_CLUSTER_METHODS] = {
    [NET_CLUSTER_JOIN] = {.on_call = on_join},
    [NET_CLUSTER_NOTIFY] = {.on_call = on_notify},
    [NET_CLUSTER_REMOVE] = {.on_call = on_remove},
    [NET_CLUSTER_STEP_DOWN] = {.on_call = on_step_down},
    [NET_CLUSTER_INFO] = {.on_call = infos_on_info},
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
    if (o->join_as) cl->o.join_as = arena_strdup(a, o->join_as);
    if (cl->o.clock == NULL) cl->o.clock = clock_real();
    return arena_failed(a) ? why_set(why, ERR_NOMEM, "out of memory") : ERR_OK;
}

static enum err add_services(struct cluster *cl, struct why *why)
{
    struct net_server *s = node_server(cl->node);
    enum err e;

    cl->packed = evbuffer_new();
    cl->tick = event_new(cl->base, -1, EV_PERSIST, on_tick, cl);
    if (cl->packed == NULL || cl->tick == NULL)
        return why_set(why, ERR_NOMEM, "out of memory");
    e = net_server_add(s, &net_service_cluster, cluster_methods, cl);
    if (!e) e = net_server_add(s, &net_service_database, serve_methods, cl);
    return e ? why_set(why, e, "the node has these services already") : ERR_OK;
}

static void init(struct cluster *cl, const struct cluster_options *o)
{
    cl->node = o->node;
    cl->base = node_base(o->node);
    cl->net = node_net(o->node);
    arena_init(&cl->names, 0);
    list_init(&cl->targets);
    list_init(&cl->forwards);
    list_init(&cl->waiting);
    list_init(&cl->serials);
    list_init(&cl->asks);
    list_init(&cl->served);
    list_init(&cl->loads);
    list_init(&cl->permits);
    list_init(&cl->transfers);
    answers_init(&cl->answers, serve_dropped);
    pthread_mutex_init(&cl->late_lock, NULL);
    cl->session = rand_entropy() | 1;
}

enum err cluster_new(struct cluster **out, const struct cluster_options *o,
                     struct why *why)
{
    struct cluster *cl = calloc(1, sizeof *cl);
    struct membership_options mo;
    enum err e;

    *out = NULL;
    if (cl == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    init(cl, o);
    e = copy_options(cl, o, why);
    mo = (struct membership_options){.id = cl->o.id,
                                     .raft_addr = cl->o.raft_addr,
                                     .bootstrap_expect = o->bootstrap_expect,
                                     .auth = cl->o.auth,
                                     .join_as = cl->o.join_as,
                                     .reap_voter_ms = o->reap_voter_ms,
                                     .reap_replica_ms = o->reap_replica_ms,
                                     .node = cl->node,
                                     .logger = cl->o.logger,
                                     .metrics = cl->o.metrics};
    if (!e) e = membership_new(&cl->membership, &mo, why);
    if (!e && cl->net) e = add_services(cl, why);
    if (e) {
        cluster_free(cl);
        return e;
    }
    *out = cl;
    return ERR_OK;
}

static void deliver_status(struct mail *m, void *node)
{
    struct call_status *c = LIST_ITEM(m, struct call_status, call.mail);
    struct cluster *cl = c->call.outer.cluster;

    targets_status(cl, c->into);
    node_status(node, c);
}

void cluster_status(struct cluster *cl, struct call_status *c)
{
    c->call.outer.cluster = cl;
    if (!node_post(cl->node, &c->call.mail, deliver_status)) node_status(cl->node, c);
}

static void deliver_stop(struct mail *m, void *node)
{
    struct cluster *cl = LIST_ITEM(m, struct cluster, stop);

    (void)node;
    forwards_stop(cl);
    infos_stop(cl);
    serve_stop(cl);
    targets_close(cl);
}

void cluster_stop(struct cluster *cl)
{
    if (cl->net == NULL || atomic_exchange(&cl->stopping, true)) return;
    (void)node_post(cl->node, &cl->stop, deliver_stop); /* ahead of node_stop()'s mail */
}

void cluster_free(struct cluster *cl)
{
    if (cl == NULL) return;
    spool_free(cl->spool); /* its last jobs come as late mail */
    deliver_late(cl);
    if (cl->net) {
        atomic_store(&cl->stopping, true);
        forwards_stop(cl);
        infos_stop(cl);
        transfers_free(cl);
        serve_free(cl);
        targets_free(cl);
    }
    membership_free(cl->membership);
    if (cl->tick) event_free(cl->tick);
    if (cl->packed) evbuffer_free(cl->packed);
    pthread_mutex_destroy(&cl->late_lock);
    arena_fini(&cl->names);
    free(cl);
}
