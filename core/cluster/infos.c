/* SPDX-License-Identifier: MIT */
/*
 * infos: what other nodes say of themselves (Cluster.Info), and what is made of it:
 * /nodes, /leader, /readyz and redirects.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cluster/forward.h"
#include "core/net/client.h"

enum { READY_WAIT_MS = 1500 };

/* --- the answer ------------------------------------------------------------------- */

void infos_on_info(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];
    Rqlite__NodeInfo m = RQLITE__NODE_INFO__INIT;
    struct node_progress p;

    (void)message;
    metrics_add(cl->o.metrics, METRIC_cluster_num_get_node_api_req, 1);
    (void)node_leader(cl->node, id, sizeof id, addr, sizeof addr);
    node_progress(cl->node, &p);
    m.id = (char *)cl->o.id;
    m.api_url = (char *)cl->o.api_url;
    m.raft_addr = (char *)cl->o.raft_addr;
    m.version = (char *)cl->o.version;
    m.commit_index = p.commit_index;
    m.applied_index = p.applied_index;
    m.leader_id = id;
    m.leader_addr = addr;
    m.cluster_id = p.cluster_id;
    m.sqlite_version = (char *)db_sqlite_version();
    metrics_add(cl->o.metrics, METRIC_cluster_num_get_node_api_resp, 1);
    net_call_reply(c, &m.base);
}

/* --- the question ----------------------------------------------------------------- */

struct ask {
    struct list link; /* cl->asks */
    struct cluster *cluster;
    struct target *target; /* one use */
    struct net_request *request;
    char addr[RAFT_ADDR_MAX + 1];
    uint64_t begun_ns, timeout_ms;
    int retries_left;
    struct call *call;
    void *about;
    /* info is NULL if why says that there is none.  The ask is freed afterwards. */
    void (*told)(struct ask *a, const Rqlite__NodeInfo *info, const struct why *why);
};

static void ask_end(struct ask *a, const Rqlite__NodeInfo *info, const struct why *why)
{
    list_remove(&a->link);
    a->told(a, info, why);
    target_drop(a->target);
    free(a);
}

static void start_ask(struct ask *a);

static void on_done(struct net_request *r, const struct net_result *result)
{
    struct ask *a = net_request_user(r);
    struct why why = result->why;

    a->request = NULL;
    if (why.code == ERR_OK) {
        ask_end(a, (const Rqlite__NodeInfo *)(const void *)result->reply, NULL);
        return;
    }
    if (a->retries_left-- > 0 && !atomic_load(&a->cluster->stopping)) {
        metrics_add(a->cluster->o.metrics, METRIC_cluster_num_get_node_api_req_retries,
                    1);
        start_ask(a);
        return;
    }
    if (why.code == ERR_TIMEOUT)
        (void)why_set(&why, ERR_TIMEOUT, "timeout waiting for node to respond");
    else
        target_cause(&why);
    ask_end(a, NULL, &why);
}

static const struct net_request_events ask_events = {.on_done = on_done};

static void start_ask(struct ask *a)
{
    Rqlite__NodeInfoRequest m = RQLITE__NODE_INFO_REQUEST__INIT;
    struct net_request_options o = {.service = &net_service_cluster,
                                    .method = NET_CLUSTER_INFO,
                                    .message = &m.base,
                                    .meta.timeout_ns = a->timeout_ms * 1000000,
                                    .events = &ask_events,
                                    .user = a};
    struct net_channel *ch;
    struct why why = {0};
    enum err e = target_channel(&ch, a->target, a->addr, NET_CALL, &why);

    if (!e) e = net_request_start(&a->request, ch, &o, &why);
    if (e) ask_end(a, NULL, &why);
}

/* Ask a node for its details; told() is called once, perhaps at once. */
static void ask(struct cluster *cl, const char *id, const char *addr, uint64_t timeout_ms,
                struct call *call, void *about,
                void (*told)(struct ask *a, const Rqlite__NodeInfo *info,
                             const struct why *why))
{
    struct ask *a = calloc(1, sizeof *a), here;
    struct why why = {0};

    if (a == NULL) { /* tell it all the same */
        here = (struct ask){.cluster = cl, .call = call, .about = about, .told = told};
        (void)why_set(&why, ERR_NOMEM, "out of memory");
        told(&here, NULL, &why);
        return;
    }
    a->cluster = cl;
    a->call = call;
    a->about = about;
    a->told = told;
    a->timeout_ms = timeout_ms;
    a->retries_left = call->retries;
    a->begun_ns = clock_mono_ns(cl->o.clock);
    snprintf(a->addr, sizeof a->addr, "%s", addr);
    list_push_back(&cl->asks, &a->link);
    if (atomic_load(&cl->stopping))
        (void)why_set(&why, ERR_CLOSED, "store not open");
    else
        (void)!target_use(&a->target, cl, id, &why);
    if (why.code)
        ask_end(a, NULL, &why);
    else
        start_ask(a);
}

void infos_stop(struct cluster *cl)
{
    static const struct why closed = {.code = ERR_CLOSED, .text = "store not open"};

    while (!list_empty(&cl->asks)) {
        struct ask *a = LIST_ITEM(cl->asks.next, struct ask, link);

        if (a->request) net_request_cancel(a->request);
        ask_end(a, NULL, &closed);
    }
}

static void interpose(struct cluster *cl, struct call *c, void (*done)(struct call *c))
{
    c->outer.cluster = cl;
    c->outer.done = c->done;
    c->outer.kind = FORWARD_KINDS;
    c->outer.moves = 0;
    c->done = done;
}

/* --- /nodes and /leader ----------------------------------------------------------- */

static struct call_nodes *nodes_of(struct call *c)
{
    return LIST_ITEM(c, struct call_nodes, call);
}

static void one_less(struct call *c)
{
    if (--nodes_of(c)->waiting_for == 0) forward_end_call(c);
}

static void node_told(struct ask *a, const Rqlite__NodeInfo *info, const struct why *why)
{
    struct call_nodes *c = nodes_of(a->call);
    struct node_view *v = a->about;
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];

    if (info) {
        (void)node_leader(a->cluster->node, id, sizeof id, addr, sizeof addr);
        v->reachable = true;
        v->leader = strcmp(v->id, id) == 0;
        v->time_ns = clock_mono_ns(a->cluster->o.clock) - a->begun_ns;
        v->api_addr = arena_strdup(c->arena, info->api_url);
        v->version = info->version[0] ? arena_strdup(c->arena, info->version) : "unknown";
        v->error = "";
    } else {
        v->error = arena_strdup(c->arena, why->text);
    }
    if (v->api_addr == NULL) v->api_addr = "";
    if (v->version == NULL) v->version = "";
    if (v->error == NULL) v->error = "";
    one_less(a->call);
}

static void deliver_nodes(struct mail *m, void *node)
{
    struct call *call = LIST_ITEM(m, struct call, mail);
    struct call_nodes *c = nodes_of(call);
    struct cluster *cl = call->outer.cluster;

    (void)node;
    c->waiting_for = 1; /* until all have been asked */
    for (size_t i = 0; i < c->n; i++) {
        struct node_view *v = &c->nodes[i];

        if (strcmp(v->id, cl->o.id) == 0) {
            metrics_add(cl->o.metrics, METRIC_cluster_num_get_node_api_req_local, 1);
            continue;
        }
        c->waiting_for++;
        ask(cl, v->id, v->addr, cluster_timeout_ms(call), call, v, node_told);
    }
    one_less(call);
}

/* The members as this node knows them. */
static void nodes_listed(struct call *c)
{
    struct cluster *cl = c->outer.cluster;

    if (c->why.code || cl->net == NULL || !node_post(cl->node, &c->mail, deliver_nodes))
        forward_end_call(c);
}

void cluster_nodes(struct cluster *cl, struct call_nodes *c)
{
    interpose(cl, &c->call, nodes_listed);
    node_nodes(cl->node, c);
}

/* --- /readyz ---------------------------------------------------------------------- */

static void ready_told(struct ask *a, const Rqlite__NodeInfo *info, const struct why *why)
{
    struct call_ready *c = LIST_ITEM(a->call, struct call_ready, call);

    if (info == NULL) {
        c->stage = READY_LEADER_UNREACHABLE;
        c->call.why = *why;
        forward_end_call(&c->call);
        return;
    }
    c->sync_index = info->commit_index;
    c->call.done = c->call.outer.done;
    node_ready(a->cluster->node, c);
}

static void deliver_ready(struct mail *m, void *node)
{
    struct call *c = LIST_ITEM(m, struct call, mail);
    struct cluster *cl = c->outer.cluster;
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];

    if (!node_leader(node, id, sizeof id, addr, sizeof addr) ||
        strcmp(id, cl->o.id) == 0) {
        c->done = c->outer.done;
        node_ready(node, LIST_ITEM(c, struct call_ready, call));
        return;
    }
    ask(cl, id, addr, c->timeout_ns > 0 ? cluster_timeout_ms(c) : READY_WAIT_MS, c, NULL,
        ready_told);
}

void cluster_ready(struct cluster *cl, struct call_ready *c)
{
    c->sync_index = 0;
    if (!c->call.no_leader && cl->net && node_has_leader(cl->node) &&
        !node_is_leader(cl->node)) {
        interpose(cl, &c->call, c->call.done);
        if (node_post(cl->node, &c->call.mail, deliver_ready)) return;
    }
    node_ready(cl->node, c);
}

/* --- redirects -------------------------------------------------------------------- */

static void redirect_to(struct call *c, const char *url)
{
    snprintf(c->leader_url, sizeof c->leader_url, "%s", url);
    (void)why_set(&c->why, ERR_NOT_LEADER, "not leader");
    forward_end_call(c);
}

static void no_leader(struct call *c)
{
    (void)why_set(&c->why, ERR_NO_LEADER, "leader not found");
    forward_end_call(c);
}

static void leader_told(struct ask *a, const Rqlite__NodeInfo *info,
                        const struct why *why)
{
    struct cluster *cl = a->cluster;

    if (info == NULL || info->api_url[0] == '\0') {
        logger_warn(cl->o.logger, "cluster", "no HTTP address of the leader: %s",
                    why ? why->text : "it has told none");
        no_leader(a->call);
        return;
    }
    if (strcmp(info->id, cl->leader.id) == 0)
        snprintf(cl->leader.url, sizeof cl->leader.url, "%s", info->api_url);
    redirect_to(a->call, info->api_url);
}

void infos_redirect(struct cluster *cl, struct call *c)
{
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];
    struct node_progress p;

    c->served_by[0] = '\0';
    if (!node_leader(cl->node, id, sizeof id, addr, sizeof addr)) {
        no_leader(c);
        return;
    }
    node_progress(cl->node, &p); /* a leader that was restarted leads a new term */
    if (strcmp(id, cl->leader.id) != 0 || strcmp(addr, cl->leader.addr) != 0 ||
        p.term != cl->leader.term) {
        snprintf(cl->leader.id, sizeof cl->leader.id, "%s", id);
        snprintf(cl->leader.addr, sizeof cl->leader.addr, "%s", addr);
        cl->leader.term = p.term;
        cl->leader.url[0] = '\0';
    }
    if (cl->leader.url[0])
        redirect_to(c, cl->leader.url);
    else
        ask(cl, id, addr, cluster_timeout_ms(c), c, NULL, leader_told);
}
