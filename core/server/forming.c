/* SPDX-License-Identifier: MIT */
/* server: becoming part of a cluster, and leaving it in order (spec: cluster 2, 5;
 * server 5). */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auth/auth.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/cluster/bootstrap.h"
#include "core/cluster/cluster.h"
#include "core/cluster/join.h"
#include "core/cluster/membership.h"
#include "core/node/node.h"
#include "core/raft/raft.h"
#include "core/server/flags.h"
#include "core/server/local_backend.h"
#include "core/server/options.h"
#include "core/server/server.h"
#include "core/server/signals.h"

enum {
    REMOVE_TRIES = 5,
    REMOVE_PAUSE_MS = 250,
    LEADER_MS = 5000, /* that a try to leave waits for a leader */
    LEAVE_MS = 10000, /* all of them together */
    NEW_LEADER_MS = 1000,
    CATCH_UP_LOOK_MS = 100,
    CATCH_UP_ASK_MS = 5000
};

static uint64_t now_ms(void)
{
    return clock_mono_ns(clock_real()) / 1000000;
}

static uint32_t connect_ms(const struct options *o)
{
    int64_t ms = o->cluster_connect_timeout_ns / 1000000;

    return ms <= 0 ? 0 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* --- forming ---------------------------------------------------------------------- */

/* The addresses of -join, which were checked with the command line; malloc'd. */
static enum err read_targets(const struct options *o, struct address **out, size_t *n,
                             struct why *why)
{
    const char *list = o->join, *item;
    struct address *targets = NULL;
    size_t len;

    *n = 0;
    while (flags_next_item(&list, &item, &len)) {
        struct address *more = realloc(targets, (*n + 1) * sizeof *more);

        if (more == NULL) {
            free(targets);
            return why_set(why, ERR_NOMEM, "out of memory");
        }
        targets = more;
        if (address_parse(&targets[*n], item, len)) ++*n;
    }
    *out = targets;
    return ERR_OK;
}

static bool alone_in_cluster(struct server *s)
{
    struct raft_config c;
    bool alone;

    if (node_members(s->node, &c) != ERR_OK) return false;
    alone = c.n == 1 && raft_config_find(&c, s->dir.node_id);
    raft_config_fini(&c);
    return alone;
}

static enum err found_alone(struct server *s, struct why *why)
{
    if (s->opt->raft_non_voter)
        return why_set(why, ERR_INVALID,
                       "cannot create a new non-voting node without joining it to an "
                       "existing cluster");
    logger_info(s->logger, "rqlited", "bootstrapping single new node");
    return node_bootstrap(s->node, why);
}

static enum err join(struct server *s, const struct join_options *o, bool member,
                     struct why *why)
{
    enum err e = join_cluster(o, why);

    if (e && node_has_leader(s->node)) return ERR_OK; /* that is what it was for */
    if (e == ERR_CANCELLED && member)
        return ERR_OK; /* ends as it would at any other time */
    if (e == ERR_UNREACHABLE && member) {
        logger_warn(s->logger, "rqlited",
                    "%s; going on as the member that this node is, with the "
                    "configuration it has",
                    why->text);
        return ERR_OK;
    }
    return e ? err_wrap(why, e, "failed to join cluster") : ERR_OK;
}

/* Is this node in its own configuration as it wants to be? */
static bool settled(struct server *s, bool *member)
{
    const struct raft_member *me;
    struct raft_config c;
    bool voter;

    *member = false;
    if (node_members(s->node, &c) != ERR_OK) return false;
    me = raft_config_find(&c, s->dir.node_id);
    *member = me != NULL;
    voter = me && me->voter;
    raft_config_fini(&c);
    return *member && (voter || s->opt->raft_non_voter);
}

/* The leader has let us in; we are of use when we have the log, and a voter is promoted
 * then.  A leader that was elected meanwhile does not know that one wants to be, so it is
 * told again from time to time. */
static void catch_up(struct server *s, const struct join_options *o)
{
    char via[ADDRESS_URL_MAX];
    uint64_t asked = now_ms();
    uint64_t pause = 2;
    bool member;

    while (!settled(s, &member) && join_pause(&o->asker, pause)) {
        pause = pause * 2 < CATCH_UP_LOOK_MS ? pause * 2 : CATCH_UP_LOOK_MS;
        if (!member || now_ms() - asked < CATCH_UP_ASK_MS) continue;
        (void)!join_round(o, via, NULL);
        asked = now_ms();
    }
}

/* As the user of -join-as, if its password is known; else anonymously. */
static void log_in(struct server *s, struct asker *a,
                   char password[AUTH_PASSWORD_MAX + 1])
{
    if (!*s->opt->join_as || s->auth == NULL) return;
    if (auth_password(s->auth, s->opt->join_as, password) != ERR_OK) return;
    a->user = s->opt->join_as;
    a->password = password;
}

static enum err form(struct server *s, bool member, struct why *why)
{
    const struct options *opt = s->opt;
    struct join_options jo = {
        .id = s->dir.node_id,
        .raft_addr = opt->raft_adv_addr,
        .voter = !opt->raft_non_voter,
        .attempts = opt->join_attempts > 0 ? (unsigned)opt->join_attempts : 0,
        .interval_ns = opt->join_interval_ns > 0 ? (uint64_t)opt->join_interval_ns : 0,
        .asker = {.node = s->node,
                  .connect_ms = connect_ms(opt),
                  .cancel_fd = signals_fd(s->signals)},
        .encrypted = s->node_tls != NULL,
        .http_no_verify = opt->http_no_verify,
        .ca_file = *opt->http_ca_cert ? opt->http_ca_cert : NULL,
        .source_ip = *opt->join_source_ip ? opt->join_source_ip : NULL,
        .logger = s->logger,
    };
    struct bootstrap_options bo = {
        .join = &jo,
        .gathering = cluster_gathering(s->cluster),
        .member = member,
        .timeout_ns = (uint64_t)opt->bootstrap_expect_timeout_ns,
    };
    char password[AUTH_PASSWORD_MAX + 1];
    struct address *targets = NULL;
    enum err e = read_targets(opt, &targets, &jo.n, why);

    if (e) return e;
    jo.targets = targets;
    log_in(s, &jo.asker, password);
    if (opt->bootstrap_expect > 0)
        e = bootstrap_group(&bo, why);
    else
        e = join(s, &jo, member, why);
    if (!e && !member) catch_up(s, &jo);
    explicit_bzero(password, sizeof password);
    free(targets);
    return e;
}

enum err server_form_cluster(struct server *s, struct why *why)
{
    bool member = node_has_peers(s->node), joins = *s->opt->join != '\0';
    enum err e;

    if (joins && s->opt->bootstrap_expect == 0 && alone_in_cluster(s))
        return why_set(why, ERR_INVALID,
                       "clustering failure: node is the only node in a single-node "
                       "cluster, joining other clusters not supported");
    node_set_joining(s->node, joins && !member);
    e = node_start(s->node, why);
    if (e) return err_wrap(why, e, "failed to open store");
    local_backend_attach(s->backend, s->node, s->cluster);
    atomic_store(&s->status.open, true);
    if (joins) {
        e = form(s, member, why);
        node_set_joining(s->node, false);
    } else if (!member)
        e = found_alone(s, why);
    if (e == ERR_CANCELLED) e = ERR_CLOSED; /* told, unlike a signal at any other time */
    if (e) return err_wrap(why, e, "clustering failure");
    return server_step_end(s, ERR_OK, why);
}

/* --- leaving ---------------------------------------------------------------------- */

struct awaited { /* a call that this thread waits for */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void awaited_init(struct awaited *a)
{
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->cond, NULL);
    a->done = false;
}

static void awaited_done(struct awaited *a)
{
    pthread_mutex_lock(&a->lock);
    a->done = true;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
}

static void awaited_wait(struct awaited *a)
{
    pthread_mutex_lock(&a->lock);
    while (!a->done) pthread_cond_wait(&a->cond, &a->lock);
    pthread_mutex_unlock(&a->lock);
    pthread_cond_destroy(&a->cond);
    pthread_mutex_destroy(&a->lock);
}

struct awaited_step_down {
    struct call_step_down c;
    struct awaited w;
};

static void on_stepped_down(struct call *c)
{
    awaited_done(&LIST_ITEM(c, struct awaited_step_down, c.call)->w);
}

static void step_down(struct server *s)
{
    struct awaited_step_down step = {.c.call.done = on_stepped_down, .c.wait = true};

    if (!node_is_leader(s->node) || alone_in_cluster(s)) return;
    logger_info(s->logger, "rqlited", "stepping down as Leader before shutdown");
    awaited_init(&step.w);
    node_step_down(s->node, &step.c);
    awaited_wait(&step.w);
    if (step.c.call.why.code)
        logger_warn(s->logger, "rqlited", "failed to step down: %s",
                    step.c.call.why.text);
    else /* the new leader may need our vote */
        for (uint64_t end = now_ms() + NEW_LEADER_MS;
             !node_has_leader(s->node) && now_ms() < end;)
            (void)poll(NULL, 0, 5);
}

struct awaited_remove {
    struct call_remove c;
    struct awaited w;
};

static void on_removed(struct call *c)
{
    awaited_done(&LIST_ITEM(c, struct awaited_remove, c.call)->w);
}

static enum err remove_here(struct server *s, struct why *why)
{
    struct awaited_remove r = {.c.call.done = on_removed, .c.id = s->dir.node_id};

    awaited_init(&r.w);
    node_remove(s->node, &r.c);
    awaited_wait(&r.w);
    *why = r.c.call.why;
    return why->code;
}

static bool wait_for_leader(struct server *s, char *id, char *addr)
{
    uint64_t end = now_ms() + LEADER_MS;

    while (!node_leader(s->node, id, RAFT_ID_MAX + 1, addr, RAFT_ADDR_MAX + 1)) {
        if (now_ms() >= end) return false;
        (void)poll(NULL, 0, 20);
    }
    return true;
}

static enum err remove_once(struct server *s, struct why *why)
{
    struct asker asker = {
        .node = s->node, .connect_ms = REMOVE_PAUSE_MS * 4, .cancel_fd = -1};
    Rqlite__RemoveRequest q = RQLITE__REMOVE_REQUEST__INIT;
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];
    char password[AUTH_PASSWORD_MAX + 1];
    enum err e;

    if (!wait_for_leader(s, id, addr))
        return why_set(why, ERR_NO_LEADER, "no leader found");
    logger_info(s->logger, "cluster-remove",
                "removing node %s from cluster via leader at %s", s->dir.node_id, addr);
    if (strcmp(id, s->dir.node_id) == 0) return remove_here(s, why);
    q.id = (char *)s->dir.node_id; /* packed, not changed */
    log_in(s, &asker, password);
    e = ask_remove(&asker, addr, &q, why);
    explicit_bzero(password, sizeof password);
    return e;
}

/* The leader answers when the removal is committed.  The own configuration is not looked
 * at: a node that is removed need not hear of it. */
static enum err remove_self(struct server *s, struct why *why)
{
    uint64_t begun = now_ms();
    enum err e = ERR_OK;

    logger_info(s->logger, "rqlited",
                "initiating removal of this node from cluster before shutdown");
    for (int i = 0; i < REMOVE_TRIES; i++) {
        if (i > 0) (void)poll(NULL, 0, REMOVE_PAUSE_MS);
        e = remove_once(s, why);
        if (e == ERR_OK || now_ms() - begun > LEAVE_MS) break;
    }
    if (e)
        return err_wrap(why, e,
                        "failed to remove this node from cluster before shutdown");
    logger_info(s->logger, "rqlited",
                "removed this node successfully from cluster before shutdown");
    return ERR_OK;
}

enum err server_leave(struct server *s, struct why *why)
{
    enum err e = ERR_OK;

    server_stop_http(s);
    if (s->opt->raft_cluster_remove_shutdown) {
        e = remove_self(s, why);
        if (e) logger_error(s->logger, "rqlited", "%s", why->text);
    }
    if (s->opt->raft_shutdown_stepdown) step_down(s);
    return e;
}
