/* SPDX-License-Identifier: MIT */
#include "core/cluster/bootstrap.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/logger.h"
#include "core/base/rand.h"
#include "core/cluster/gathering.h"
#include "core/cluster/join_http.h"
#include "core/node/node.h"
#include "core/raft/raft.h"

enum {
    PASS_MS = 1000,      /* to twice as long, drawn anew each time */
    PATIENCE_PASSES = 3, /* that targets may be silent before we go on without them */
    LOOK_MS = 50,
    LIST_ROOM = 2048
};

struct group {
    const struct bootstrap_options *o;
    const struct join_options *join;
    struct rand rand;
    uint64_t end_ms;
    bool woken;         /* as many are known as are expected */
    unsigned impatient; /* passes since */
    bool founded;
    enum err refused; /* the last reason not to, so that it is told once */
};

static uint64_t now_ms(void)
{
    return clock_mono_ns(clock_real()) / 1000000;
}

/* Wait for the next pass, or until a leader or enough nodes are known.  False:
 * cancelled. */
static bool pause_until_pass(struct group *g, uint64_t ms)
{
    uint64_t end = now_ms() + ms;
    struct pollfd fds[] = {
        {.fd = g->join->asker.cancel_fd, .events = POLLIN},
        {.fd = g->woken ? -1 : gathering_fd(g->o->gathering), .events = POLLIN}};

    for (uint64_t now = now_ms(); now < end; now = now_ms()) {
        (void)poll(fds, 2, end - now < LOOK_MS ? (int)(end - now) : LOOK_MS);
        if (fds[0].revents) return false;
        if (fds[1].revents) g->woken = true;
        if (fds[1].revents || node_has_leader(g->join->asker.node)) break;
    }
    return true;
}

/* --- telling the others ----------------------------------------------------------- */

static enum err notify_one(struct group *g, const struct address *t, struct why *why)
{
    Rqlite__NotifyRequest q = RQLITE__NOTIFY_REQUEST__INIT;
    struct net_hello who = {0};
    char addr[ASK_ADDR_MAX];
    enum err e = ERR_OK;

    if (t->http)
        e = join_http_own(g->join, t, addr, why);
    else
        snprintf(addr, sizeof addr, "%s", t->at);
    q.id = (char *)g->join->id; /* packed, not changed */
    q.addr = (char *)g->join->raft_addr;
    if (!e) e = ask_notify(&g->join->asker, addr, &q, &who, why);
    if (who.node_id[0]) gathering_met(g->o->gathering, who.node_id, who.cluster_id);
    if (e && e != ERR_CANCELLED && t->http && join_http_notify(g->join, t, why) == ERR_OK)
        e = ERR_OK;
    return e;
}

/* One that is down does not keep the others from hearing of us. */
static void notify_all(struct group *g)
{
    char list[LIST_ROOM], failed[ADDRESS_URL_MAX] = "";
    struct why first = {0};

    for (size_t i = 0; i < g->join->n; i++) {
        struct why why = {0};
        enum err e = notify_one(g, &g->join->targets[i], &why);

        if (e == ERR_CANCELLED) return;
        if (e == ERR_OK || first.code) continue;
        first = why;
        address_text(&g->join->targets[i], failed);
    }
    join_list(g->join, list, sizeof list);
    if (first.code)
        logger_info(g->join->logger, "cluster-bootstrap",
                    "failed to notify all targets: %s (failed to notify node at %s: %s, "
                    "will retry)",
                    list, failed, first.text);
    else
        logger_info(g->join->logger, "cluster-bootstrap",
                    "succeeded notifying all targets: %s", list);
}

/* --- founding --------------------------------------------------------------------- */

static void log_founded(struct group *g, const struct raft_config *c)
{
    struct buf b;

    buf_init(&b, 0);
    for (size_t i = 0; i < c->n; i++)
        buf_printf(&b, "%s{Voter %s %s}", i ? " " : "", c->members[i].id,
                   c->members[i].addr);
    if (!buf_error(&b))
        logger_info(g->join->logger, "store",
                    "cluster bootstrap successful, servers: [%.*s]", (int)b.len,
                    (const char *)b.data);
    buf_fini(&b);
}

static void log_refused(struct group *g, const struct why *why)
{
    if (why->code != g->refused)
        logger_warn(g->join->logger, "store", "cluster bootstrap failed: %s", why->text);
    g->refused = why->code;
}

static void found(struct group *g, const struct raft_config *c)
{
    struct why why = {0};
    enum err e;

    if (!raft_config_find(c, g->join->id)) return; /* others form it; then we join */
    logger_info(g->join->logger, "store",
                "reached expected bootstrap count of %zu, starting cluster bootstrap",
                c->n);
    e = node_bootstrap_as(g->join->asker.node, c, gathering_cluster_id(c), &why);
    if (e) {
        log_refused(g, &why);
        return;
    }
    log_founded(g, c);
    g->founded = true;
    gathering_close(g->o->gathering);
}

static void consider_founding(struct group *g)
{
    size_t known = gathering_count(g->o->gathering);
    struct raft_config c;
    struct why why = {0};
    enum err e;

    if (g->founded || g->o->member || !g->woken) return;
    /* With more targets than are expected the set is not settled before all were heard.
     */
    if (known < g->join->n && g->impatient++ < PATIENCE_PASSES) return;
    e = gathering_config(g->o->gathering, &c, &why);
    if (e) {
        log_refused(g, &why);
        return;
    }
    found(g, &c);
    raft_config_fini(&c);
}

/* --- the loop --------------------------------------------------------------------- */

static bool led(struct group *g)
{
    if (!node_has_leader(g->join->asker.node)) return false;
    logger_info(g->join->logger, "cluster-bootstrap", "boot operation marked done");
    return true;
}

/* ERR_OK: this node is a member of a working cluster. */
static enum err one_pass(struct group *g, struct why *why)
{
    char via[ADDRESS_URL_MAX];
    enum err e = ERR_NO_LEADER;

    if (!g->founded) e = join_round(g->join, via, why);
    if (!e) {
        logger_info(g->join->logger, "cluster-bootstrap",
                    "succeeded directly joining cluster via node at %s as %s", via,
                    g->join->voter ? "voter" : "non-voter");
        return ERR_OK;
    }
    if (e != ERR_CANCELLED && g->join->voter && !g->o->member) notify_all(g);
    return e;
}

enum err bootstrap_group(const struct bootstrap_options *o, struct why *why)
{
    struct group g = {.o = o, .join = o->join};
    uint64_t pause = 1;

    rand_init(&g.rand, rand_entropy());
    g.end_ms = now_ms() + o->timeout_ns / 1000000;
    if (o->member) gathering_close(o->gathering);
    for (;;) {
        if (!pause_until_pass(&g, pause) && !node_has_leader(o->join->asker.node))
            return why_set(why, ERR_CANCELLED, "boot canceled");
        if (led(&g)) return ERR_OK;
        if (now_ms() >= g.end_ms) return why_set(why, ERR_TIMEOUT, "boot timeout");
        consider_founding(&g);
        if (one_pass(&g, why) == ERR_OK) return ERR_OK;
        pause = PASS_MS + rand_below(&g.rand, PASS_MS);
    }
}
