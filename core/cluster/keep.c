/* SPDX-License-Identifier: MIT */
#include "core/cluster/keep.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "core/auth/auth.h"
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
    struct keeper_options o;
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
        logger_debug(k->o.logger, "cluster-join", "asking to vote: %s", result->why.text);
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
    char password[AUTH_PASSWORD_MAX + 1];
    struct node_progress mine;

    if (k->o.auth && k->o.join_as &&
        auth_password(k->o.auth, k->o.join_as, password) == ERR_OK) {
        ro.meta.user = k->o.join_as;
        ro.meta.password = password;
    }
    node_progress(k->o.node, &mine);
    q.id = (char *)k->o.id; /* packed, not changed */
    q.addr = (char *)k->o.raft_addr;
    q.voter = true;
    q.last_index = mine.last_index;
    q.cluster_id = mine.cluster_id;
    ro.message = &q.base;
    net_channel_free(k->channel);
    k->channel = NULL;
    if (net_channel_new(&k->channel, node_net(k->o.node), &co, NULL) != ERR_OK) {
        explicit_bzero(password, sizeof password);
        return;
    }
    if (net_request_start(&k->request, k->channel, &ro, NULL) != ERR_OK)
        k->request = NULL;
    explicit_bzero(password, sizeof password);
}

/* A member that may not vote yet. */
static bool is_non_voter(const struct keeper *k)
{
    const struct raft_member *me;
    struct raft_config members;
    bool yes = false;

    if (node_members(k->o.node, &members) != ERR_OK) return false;
    me = raft_config_find(&members, k->o.id);
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
    if (k->looks < PATIENCE || !node_leader(k->o.node, id, sizeof id, addr, sizeof addr))
        return;
    if (addr[0] != '\0') ask(k, addr);
}

enum err keeper_new(struct keeper **out, const struct keeper_options *o, struct why *why)
{
    struct keeper *k = calloc(1, sizeof *k);

    if (k) k->timer = evtimer_new(node_base(o->node), on_timer, k);
    if (k == NULL || k->timer == NULL) {
        free(k);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    k->o = *o;
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
