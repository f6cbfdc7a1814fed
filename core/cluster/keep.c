/* SPDX-License-Identifier: MIT */
#include "core/cluster/keep.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/logger.h"
#include "core/net/client.h"
#include "core/node/node.h"
#include "core/raft/raft.h"

enum {
    LOOK_S = 1,
    PATIENCE = 4, /* looks: a promotion takes its time */
    ANSWER_S = 5
};

struct keeper {
    struct node *node; /* borrowed */
    struct logger *logger;
    const char *id, *raft_addr;
    struct event *timer;         /* owned, as the next two */
    struct net_channel *channel; /* to the leader asked last */
    struct net_request *request; /* under way */
    unsigned looks;              /* in a row that found this node a non-voter */
};

static void look_again(struct keeper *k)
{
    static const struct timeval pause = {.tv_sec = LOOK_S};

    (void)event_add(k->timer, &pause);
}

static void on_answer(struct net_request *r, const struct net_result *result)
{
    struct keeper *k = net_request_user(r);

    k->request = NULL;
    if (result->why.code)
        logger_debug(k->logger, "cluster-join", "asking to vote: %s", result->why.text);
}

static const struct net_request_events events = {.on_done = on_answer};

static void ask(struct keeper *k, const char *leader_addr)
{
    struct net_channel_options co = {.address = leader_addr, .class = NET_CALL};
    struct net_request_options ro = {.service = &net_service_cluster,
                                     .method = NET_CLUSTER_JOIN,
                                     .meta.timeout_ns = ANSWER_S * 1000000000ULL,
                                     .wait = true,
                                     .events = &events,
                                     .user = k};
    Rqlite__JoinRequest q = RQLITE__JOIN_REQUEST__INIT;
    struct node_progress mine;

    node_progress(k->node, &mine);
    q.id = (char *)k->id; /* packed, not changed */
    q.addr = (char *)k->raft_addr;
    q.voter = true;
    q.last_index = mine.last_index;
    q.cluster_id = mine.cluster_id;
    ro.message = &q.base;
    net_channel_free(k->channel);
    k->channel = NULL;
    if (net_channel_new(&k->channel, node_net(k->node), &co, NULL) != ERR_OK) return;
    if (net_request_start(&k->request, k->channel, &ro, NULL) != ERR_OK)
        k->request = NULL;
}

/* A member that may not vote yet. */
static bool is_non_voter(const struct keeper *k)
{
    const struct raft_member *me;
    struct raft_config members;
    bool yes = false;

    if (node_members(k->node, &members) != ERR_OK) return false;
    me = raft_config_find(&members, k->id);
    yes = me != NULL && !me->voter;
    raft_config_fini(&members);
    return yes;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct keeper *k = arg;
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];

    (void)fd;
    (void)what;
    look_again(k);
    if (k->request) return;
    k->looks = is_non_voter(k) ? k->looks + 1 : 0;
    if (k->looks < PATIENCE || !node_leader(k->node, id, sizeof id, addr, sizeof addr))
        return;
    if (addr[0] != '\0') ask(k, addr);
}

enum err keeper_new(struct keeper **out, struct node *n, const char *id,
                    const char *raft_addr, struct logger *logger, struct why *why)
{
    struct keeper *k = calloc(1, sizeof *k);

    if (k) k->timer = evtimer_new(node_base(n), on_timer, k);
    if (k == NULL || k->timer == NULL) {
        free(k);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    k->node = n;
    k->id = id;
    k->raft_addr = raft_addr;
    k->logger = logger;
    look_again(k);
    *out = k;
    return ERR_OK;
}

void keeper_free(struct keeper *k)
{
    if (k == NULL) return;
    if (k->request) net_request_cancel(k->request);
    net_channel_free(k->channel);
    event_free(k->timer);
    free(k);
}
