/* SPDX-License-Identifier: MIT */
#include "core/cluster/reap.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/node/node.h"
#include "core/raft/raft.h"

enum { LOOK_MS = 250 };

struct reaper {
    struct reaper_options o;
    struct event *timer; /* owned */
    uint64_t term;       /* in which this node leads, since leader_ms; 0 = it does not */
    uint64_t leader_ms;
    struct call_change change; /* one at a time */
    bool changing, voter;
    char id[RAFT_ID_MAX + 1];
};

static void on_removed(struct call *c)
{
    struct reaper *r = LIST_ITEM(c, struct reaper, change.call);
    const char *kind = r->voter ? "voting" : "non-voting";
    enum err e = c->why.code;

    r->changing = false;
    if (e == ERR_OK) {
        metrics_add(r->o.metrics, METRIC_store_nodes_reaped_ok, 1);
        logger_info(r->o.logger, "store", "successfully reaped %s node %s", kind, r->id);
    } else {
        metrics_add(r->o.metrics, METRIC_store_nodes_reaped_failed, 1);
        logger_warn(r->o.logger, "store", "failed to reap %s node %s: %s", kind, r->id,
                    c->why.text);
    }
}

static void reap(struct reaper *r, const struct node_peer *p)
{
    memset(&r->change, 0, sizeof r->change);
    snprintf(r->id, sizeof r->id, "%s", p->id);
    r->voter = p->voter;
    r->change.id = r->id;
    r->change.call.done = on_removed;
    r->changing = true;
    node_change(r->o.node, &r->change);
}

static void look_at(void *arg, const struct node_peer *p)
{
    struct reaper *r = arg;
    uint64_t limit = p->voter ? r->o.voter_ms : r->o.replica_ms;
    uint64_t leading = clock_mono_ns(clock_real()) / 1000000 - r->leader_ms;
    uint64_t silent = p->silent_ms == UINT64_MAX ? leading : p->silent_ms;

    if (silent > 2 * LOOK_MS)
        metrics_add(r->o.metrics, METRIC_store_failed_heartbeat_observed, 1);
    if (limit > 0 && silent > limit && !r->changing) reap(r, p);
}

static void look_again(struct reaper *r)
{
    static const struct timeval pause = {.tv_usec = LOOK_MS * 1000};

    (void)event_add(r->timer, &pause);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct reaper *r = arg;
    struct node_progress now;

    (void)fd;
    (void)what;
    node_progress(r->o.node, &now);
    if (!now.leader) {
        r->term = 0;
    } else {
        if (now.term != r->term) r->leader_ms = clock_mono_ns(clock_real()) / 1000000;
        r->term = now.term;
        node_each_peer(r->o.node, look_at, r);
    }
    look_again(r);
}

enum err reaper_new(struct reaper **out, const struct reaper_options *o, struct why *why)
{
    struct reaper *r = calloc(1, sizeof *r);

    if (r) r->timer = evtimer_new(node_base(o->node), on_timer, r);
    if (r == NULL || r->timer == NULL) {
        free(r);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    r->o = *o;
    look_again(r);
    *out = r;
    return ERR_OK;
}

void reaper_free(struct reaper *r)
{
    if (r == NULL) return;
    event_free(r->timer);
    free(r);
}
