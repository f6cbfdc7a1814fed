/* SPDX-License-Identifier: MIT */
#include "core/cluster/membership.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/cluster/admission.h"
#include "core/cluster/forward.h"
#include "core/cluster/gathering.h"
#include "core/cluster/internal.h"
#include "core/cluster/promote.h"
#include "core/cluster/keep.h"
#include "core/cluster/reap.h"
#include "core/net/resolve.h"
#include "core/raft/raft.h"

enum {
    JOIN_MS = 10000, /* a join that names no deadline */
    RETRY_MS = 5     /* to see a change committed that somebody else began */
};

struct membership {
    struct membership_options o; /* texts copied into names */
    struct arena names;
    struct resolver *resolver; /* owned, as the next three */
    struct promoter *promoter;
    struct reaper *reaper;       /* NULL: nobody is reaped */
    struct keeper *keeper;       /* NULL: this node does not want to vote */
    struct gathering *gathering; /* NULL without -bootstrap-expect */
    struct list joinings, notifies;
};

static uint64_t now_ms(void)
{
    return clock_mono_ns(clock_real()) / 1000000;
}

/* --- opening and closing ---------------------------------------------------------- */

enum err membership_new(struct membership **out, const struct membership_options *o,
                        struct why *why)
{
    struct membership *m = calloc(1, sizeof *m);
    enum err e;

    if (m == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    m->o = *o;
    arena_init(&m->names, 0);
    list_init(&m->joinings);
    list_init(&m->notifies);
    m->o.id = arena_strdup(&m->names, o->id);
    m->o.raft_addr = arena_strdup(&m->names, o->raft_addr);
    e = arena_failed(&m->names) ? why_set(why, ERR_NOMEM, "out of memory") : ERR_OK;
    if (!e) e = resolver_new(&m->resolver, node_base(o->node), why);
    if (!e) e = promoter_new(&m->promoter, o->node, o->logger, why);
    if (!e && node_wants_to_vote(o->node) && node_net(o->node)) {
        struct keeper_options ko = {.node = o->node,
                                    .id = m->o.id,
                                    .raft_addr = m->o.raft_addr,
                                    .auth = o->auth,
                                    .join_as = o->join_as,
                                    .logger = o->logger};

        e = keeper_new(&m->keeper, &ko, why);
    }
    if (!e && (o->reap_voter_ms || o->reap_replica_ms)) {
        struct reaper_options ro = {.node = o->node,
                                    .logger = o->logger,
                                    .metrics = o->metrics,
                                    .voter_ms = o->reap_voter_ms,
                                    .replica_ms = o->reap_replica_ms};

        e = reaper_new(&m->reaper, &ro, why);
    }
    if (!e && o->bootstrap_expect)
        e = gathering_new(&m->gathering, o->bootstrap_expect, why);
    if (e) {
        membership_free(m);
        return e;
    }
    *out = m;
    return ERR_OK;
}

struct gathering *cluster_gathering(struct cluster *c)
{
    return c->membership->gathering;
}

/* --- joining: the leader's side --------------------------------------------------- */

struct joining { /* one request to join, while it is being met */
    struct list link;
    struct membership *m;
    struct admission_request q; /* texts in id and addr */
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];
    struct net_call *call;  /* who asked: another node, */
    struct call_join *http; /* or POST /join */
    struct cluster *cl;     /* with http */
    struct lookup *lookup;
    struct event *timer; /* owned */
    struct call_change change;
    struct admission_step step; /* what change is about */
    char gone[RAFT_ID_MAX + 1]; /* REMOVE: who */
    bool changing;              /* the change is under way: this is not to be freed */
    bool changed, removed;      /* something; somebody */
    uint64_t deadline_ms;
};

static void joining_free(struct joining *j)
{
    if (j->lookup) lookup_cancel(j->lookup);
    if (j->timer) event_free(j->timer);
    list_remove(&j->link);
    free(j);
}

static void joining_end(struct joining *j, enum err code, const char *text)
{
    if (j->call) {
        net_call_end(j->call, code, text);
    } else {
        (void)why_set(&j->http->call.why, code, "%s", text);
        j->http->call.done(&j->http->call);
    }
    joining_free(j);
}

static void joining_joined(struct joining *j)
{
    Rqlite__JoinReply reply = RQLITE__JOIN_REPLY__INIT;

    if (j->http) {
        joining_end(j, ERR_OK, "");
        return;
    }
    reply.already = !j->changed;
    net_call_reply(j->call, &reply.base);
    joining_free(j);
}

/* Not the leader, or not any more: say who is. */
static void joining_elsewhere(struct joining *j)
{
    Rqlite__JoinReply reply = RQLITE__JOIN_REPLY__INIT;
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];
    bool known = node_leader(j->m->o.node, id, sizeof id, addr, sizeof addr) &&
                 strcmp(id, j->m->o.id) != 0;

    if (!known) {
        joining_end(j, ERR_NO_LEADER, "leader not found");
    } else if (j->http) {
        struct call *c = &j->http->call;

        c->outer.cluster = j->cl;
        c->outer.done = c->done;
        c->outer.kind = FORWARD_KINDS;
        infos_redirect(j->cl, c);
        joining_free(j);
    } else {
        reply.leader_addr = addr;
        net_call_reply(j->call, &reply.base);
        joining_free(j);
    }
}

static void joining_retry(struct joining *j)
{
    static const struct timeval soon = {.tv_usec = RETRY_MS * 1000};

    if (now_ms() >= j->deadline_ms)
        joining_end(j, ERR_TIMEOUT, "timed out changing the configuration");
    else
        (void)event_add(j->timer, &soon);
}

static void joining_count(struct joining *j)
{
    struct membership *m = j->m;
    const char *as = j->q.voter ? "voter" : "non-voter";

    if (j->changed) {
        metrics_add(m->o.metrics, METRIC_store_num_joins, 1);
        logger_info(m->o.logger, "store",
                    "node with ID %s, at %s, joined successfully as %s", j->id, j->addr,
                    as);
    } else {
        metrics_add(m->o.metrics, METRIC_store_num_ignored_joins, 1);
        logger_info(m->o.logger, "store",
                    "node %s at %s already member of cluster, ignoring join request",
                    j->id, j->addr);
    }
}

static void note_removed(struct joining *j, const char *id)
{
    j->removed = true;
    metrics_add(j->m->o.metrics, METRIC_store_num_removed_before_joins, 1);
    logger_info(j->m->o.logger, "store",
                "removed node %s prior to rejoin with changed ID or address", id);
}

static void joining_step(struct joining *j);

static void on_changed(struct call *c)
{
    struct joining *j = LIST_ITEM(c, struct joining, change.call);

    j->changing = false;
    switch (c->why.code) {
    case ERR_OK:
        j->changed = true;
        if (j->step.what == ADMISSION_REMOVE) note_removed(j, j->gone);
        if (j->step.what == ADMISSION_MOVE) note_removed(j, j->id);
        joining_step(j);
        break;
    case ERR_EXISTS:
    case ERR_NOT_FOUND:
    case ERR_NOT_LEADER:
    case ERR_NO_LEADER: joining_step(j); break;
    default: joining_end(j, c->why.code, c->why.text);
    }
}

static void joining_change(struct joining *j, bool put, bool voter)
{
    const char *id = j->id;

    if (!put) {
        snprintf(j->gone, sizeof j->gone, "%s", j->step.id);
        id = j->gone;
    }
    memset(&j->change, 0, sizeof j->change);
    j->change.put = put;
    j->change.id = id;
    j->change.addr = j->addr;
    j->change.voter = voter;
    j->change.call.done = on_changed;
    j->changing = true;
    node_change(j->m->o.node, &j->change);
}

/* It is in the configuration, which may not be committed yet. */
static void joining_done(struct joining *j, const struct raft_config *c)
{
    struct node_progress now;

    node_progress(j->m->o.node, &now);
    if (c->index > now.commit_index) {
        joining_retry(j);
        return;
    }
    if (admission_needs_promotion(c, &j->q) &&
        promoter_want(j->m->promoter, j->id) != ERR_OK) {
        joining_end(j, ERR_NOMEM, "out of memory");
        return;
    }
    if (!j->q.voter) promoter_forget(j->m->promoter, j->id);
    joining_count(j);
    joining_joined(j);
}

/* What to do depends on who is there: so it is decided for one at a time, when no other
 * change is on its way.  Two who saw the same address free would both take it. */
static bool another_changes(const struct joining *j)
{
    for (struct list *l = j->m->joinings.next; l != &j->m->joinings; l = l->next) {
        const struct joining *other = LIST_ITEM(l, struct joining, link);

        if (other != j && other->changing) return true;
    }
    return false;
}

static void joining_step(struct joining *j)
{
    struct raft_config c;
    char text[RAFT_ADDR_MAX + 80];

    if (another_changes(j)) {
        joining_retry(j);
        return;
    }
    if (!node_is_leader(j->m->o.node)) {
        joining_elsewhere(j);
        return;
    }
    if (node_members(j->m->o.node, &c) != ERR_OK) {
        joining_end(j, ERR_NOMEM, "out of memory");
        return;
    }
    j->step = admission_next(&c, j->m->o.id, &j->q);
    switch (j->step.what) {
    case ADMISSION_DONE: joining_done(j, &c); break;
    case ADMISSION_ADD:
    case ADMISSION_DEMOTE: joining_change(j, true, false); break;
    case ADMISSION_MOVE: joining_change(j, true, j->step.voter); break;
    case ADMISSION_REMOVE: joining_change(j, false, false); break;
    case ADMISSION_REFUSE_ID:
        snprintf(text, sizeof text, "node ID %s is that of the leader", j->id);
        joining_end(j, ERR_INVALID, text);
        break;
    case ADMISSION_REFUSE_ADDR:
        snprintf(text, sizeof text, "found duplicate address in configuration: %s",
                 j->addr);
        joining_end(j, ERR_INVALID, text);
        break;
    }
    raft_config_fini(&c);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    joining_step(arg);
}

/* A member is of no use whose address means nothing here. */
static void on_resolved(void *arg, const struct net_addresses *found,
                        const struct why *why)
{
    struct joining *j = arg;
    struct why told;

    j->lookup = NULL;
    if (found->n > 0) {
        joining_step(j);
        return;
    }
    (void)why_set(&told, ERR_UNREACHABLE,
                  j->http ? "can't resolve %s (%s)" : "failed to resolve %s: %s", j->addr,
                  why->text);
    joining_end(j, told.code, told.text);
}

/* Takes over the answer to call or http; one of them is NULL. */
static void begin_joining(struct cluster *cl, struct net_call *call,
                          struct call_join *http, const struct admission_request *q)
{
    struct membership *m = cl->membership;
    struct joining *j = calloc(1, sizeof *j);
    char host[RESOLVE_HOST_MAX + 1];
    struct why why = {0};
    uint16_t port;
    enum err e = ERR_OK;

    if (j) j->timer = evtimer_new(node_base(m->o.node), on_retry, j);
    if (j == NULL || j->timer == NULL) {
        free(j);
        if (call) {
            net_call_end(call, ERR_NOMEM, "out of memory");
        } else {
            (void)why_set(&http->call.why, ERR_NOMEM, "out of memory");
            http->call.done(&http->call);
        }
        return;
    }
    j->m = m;
    j->call = call;
    j->http = http;
    j->cl = cl;
    j->deadline_ms = now_ms() + JOIN_MS;
    j->q = *q;
    list_push_back(&m->joinings, &j->link);
    if (q->id[0] == '\0' || strlen(q->id) > RAFT_ID_MAX)
        e = why_set(&why, ERR_INVALID, "a node ID has 1 to %d bytes", RAFT_ID_MAX);
    else if (strlen(q->addr) > RAFT_ADDR_MAX)
        e = why_set(&why, ERR_INVALID, "an address has up to %d bytes", RAFT_ADDR_MAX);
    snprintf(j->id, sizeof j->id, "%s", q->id);
    snprintf(j->addr, sizeof j->addr, "%s", q->addr);
    j->q.id = j->id;
    j->q.addr = j->addr;
    if (!e && !node_is_leader(m->o.node)) {
        joining_elsewhere(j);
        return;
    }
    if (!e) e = resolve_split(j->addr, host, &port, &why);
    if (!e) e = resolver_start(&j->lookup, m->resolver, host, port, j, &why, on_resolved);
    if (e) joining_end(j, e, why.text);
}

void membership_on_join(struct cluster *c, struct net_call *call,
                        const Rqlite__JoinRequest *request)
{
    struct admission_request q = {.id = request->id,
                                  .addr = request->addr,
                                  .voter = request->voter,
                                  .empty_log = request->last_index == 0};

    begin_joining(c, call, NULL, &q);
}

/* --- gathering -------------------------------------------------------------------- */

struct notify { /* a notify whose address is being looked up */
    struct list link;
    struct membership *m;
    struct net_call *call;
    struct call_join *http;
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];
    uint64_t cluster_id; /* the one it says it belongs to */
    struct lookup *lookup;
};

static void end_notify(struct net_call *call, struct call_join *http, enum err code,
                       const char *text)
{
    Rqlite__Empty reply = RQLITE__EMPTY__INIT;

    if (http) {
        (void)why_set(&http->call.why, code, "%s", text);
        http->call.done(&http->call);
    } else if (code) {
        net_call_end(call, code, text);
    } else {
        net_call_reply(call, &reply.base);
    }
}

static void notify_end(struct notify *n, enum err code, const char *text)
{
    end_notify(n->call, n->http, code, text);
    list_remove(&n->link);
    free(n);
}

static void on_notify_resolved(void *arg, const struct net_addresses *found,
                               const struct why *why)
{
    struct notify *n = arg;
    struct why told;

    if (found->n > 0) {
        bool kept = gathering_add(n->m->gathering, n->id, n->addr, n->cluster_id);

        notify_end(n, kept ? ERR_OK : ERR_NOMEM, kept ? "" : "out of memory");
    } else {
        (void)why_set(&told, ERR_UNREACHABLE, "failed to resolve %s: %s", n->addr,
                      why->text);
        notify_end(n, told.code, told.text);
    }
}

static bool gathers(struct membership *m)
{
    return m->gathering && !node_has_leader(m->o.node) && gathering_open(m->gathering);
}

static void begin_notify(struct membership *m, struct net_call *call,
                         struct call_join *http, const char *id, const char *addr)
{
    char host[RESOLVE_HOST_MAX + 1];
    struct why why = {0};
    struct notify *n;
    uint16_t port;
    enum err e;

    if (!gathers(m)) { /* as asked: there is nothing to wait for */
        end_notify(call, http, ERR_OK, "");
        return;
    }
    n = calloc(1, sizeof *n);
    e = n ? resolve_split(addr, host, &port, &why)
          : why_set(&why, ERR_NOMEM, "out of memory");
    if (!e && (id[0] == '\0' || strlen(id) > RAFT_ID_MAX || strlen(addr) > RAFT_ADDR_MAX))
        e = why_set(&why, ERR_INVALID, "node ID or address is too long");
    if (!e) {
        list_push_back(&m->notifies, &n->link);
        n->m = m;
        n->call = call;
        n->http = http;
        if (call) n->cluster_id = net_call_peer(call)->hello.cluster_id;
        snprintf(n->id, sizeof n->id, "%s", id);
        snprintf(n->addr, sizeof n->addr, "%s", addr);
        e = resolver_start(&n->lookup, m->resolver, host, port, n, &why,
                           on_notify_resolved);
        if (e) notify_end(n, e, why.text);
        return;
    }
    end_notify(call, http, e, why.text);
    free(n);
}

void membership_on_notify(struct cluster *c, struct net_call *call,
                          const Rqlite__NotifyRequest *request)
{
    begin_notify(c->membership, call, NULL, request->id, request->addr);
}

/* --- POST /join and /notify of v5 to v7 ------------------------------------------- */

struct posted_join {
    struct mail mail;
    struct cluster *cl;
    struct call_join *c;
};

static void deliver_http(struct mail *mail, void *node)
{
    struct posted_join *h = LIST_ITEM(mail, struct posted_join, mail);
    struct call_join *c = h->c;
    struct cluster *cl = h->cl;
    /* Such a client does not tell about its log, nor does it speak our protocol; it is
     * taken for one that has kept it. */
    struct admission_request q = {.id = c->id, .addr = c->addr, .voter = c->voter};

    (void)node;
    free(h);
    if (c->notify)
        begin_notify(cl->membership, NULL, c, c->id, c->addr);
    else
        begin_joining(cl, NULL, c, &q);
}

void cluster_join(struct cluster *cl, struct call_join *c)
{
    struct posted_join *h = calloc(1, sizeof *h);

    if (h == NULL) {
        (void)why_set(&c->call.why, ERR_NOMEM, "out of memory");
    } else {
        h->cl = cl;
        h->c = c;
        if (node_post(cl->node, &h->mail, deliver_http)) return;
        free(h);
        (void)why_set(&c->call.why, ERR_NOT_OPEN, "store not open");
    }
    c->call.done(&c->call);
}

/* --- removing, stepping down ------------------------------------------------------ */

struct removing {
    struct net_call *call;
    struct call_remove remove;
};

static void end_empty(struct net_call *call, const struct why *why)
{
    Rqlite__Empty reply = RQLITE__EMPTY__INIT;

    if (why->code)
        net_call_end(call, why->code, why->text);
    else
        net_call_reply(call, &reply.base);
}

static void on_removed(struct call *c)
{
    struct removing *r = LIST_ITEM(c, struct removing, remove.call);

    end_empty(r->call, &c->why);
}

void membership_on_remove(struct cluster *c, struct net_call *call,
                          const Rqlite__RemoveRequest *request)
{
    struct removing *r = arena_calloc(net_call_arena(call), 1, sizeof *r);

    if (r == NULL) {
        net_call_end(call, ERR_NOMEM, "out of memory");
        return;
    }
    r->call = call;
    r->remove.call.done = on_removed;
    r->remove.id = request->id;
    node_remove(c->node, &r->remove);
}

struct stepping_down {
    struct net_call *call;
    struct call_step_down step;
};

static void on_stepped_down(struct call *c)
{
    struct stepping_down *s = LIST_ITEM(c, struct stepping_down, step.call);

    end_empty(s->call, &c->why);
}

void membership_on_step_down(struct cluster *c, struct net_call *call,
                             const Rqlite__StepDownRequest *request)
{
    struct stepping_down *s = arena_calloc(net_call_arena(call), 1, sizeof *s);

    if (s == NULL) {
        net_call_end(call, ERR_NOMEM, "out of memory");
        return;
    }
    s->call = call;
    s->step.call.done = on_stepped_down;
    s->step.id = request->id[0] ? request->id : NULL;
    s->step.wait = request->wait;
    node_step_down(c->node, &s->step);
}

/* --- closing ---------------------------------------------------------------------- */

void membership_free(struct membership *m)
{
    if (m == NULL) return;
    while (!list_empty(&m->joinings)) {
        struct joining *j = LIST_ITEM(m->joinings.next, struct joining, link);

        joining_end(j, ERR_CLOSED, "store not open");
    }
    while (!list_empty(&m->notifies))
        notify_end(LIST_ITEM(m->notifies.next, struct notify, link), ERR_CLOSED,
                   "store not open");
    reaper_free(m->reaper);
    keeper_free(m->keeper);
    promoter_free(m->promoter);
    resolver_free(m->resolver);
    gathering_free(m->gathering);
    arena_fini(&m->names);
    free(m);
}
