/* SPDX-License-Identifier: MIT */
#include "core/cluster/join.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/logger.h"
#include "core/base/text.h"
#include "core/cluster/join_http.h"
#include "core/node/node.h"

enum { REDIRECTS_MAX = 10, LIST_ROOM = 2048 };

bool join_pause(const struct asker *a, uint64_t ms)
{
    uint64_t end = clock_mono_ns(clock_real()) / 1000000 + ms;
    struct pollfd fd = {.fd = a->cancel_fd, .events = POLLIN};

    for (;;) {
        uint64_t now = clock_mono_ns(clock_real()) / 1000000;

        if (fd.revents) return false;
        if (now >= end) return true;
        (void)poll(&fd, 1, end - now > 60000 ? 60000 : (int)(end - now));
    }
}

void join_list(const struct join_options *o, char *out, size_t cap)
{
    char one[ADDRESS_URL_MAX];
    size_t n = 0;

    for (size_t i = 0; i < o->n && n < cap; i++) {
        address_text(&o->targets[i], one);
        n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? " " : "[", one);
    }
    if (n < cap) snprintf(out + n, cap - n, "%s", o->n ? "]" : "[]");
}

/* Ask the node at addr, and whom it names, until one leads. */
static enum err join_through(const struct join_options *o, const char *addr,
                             struct why *why)
{
    Rqlite__JoinRequest q = RQLITE__JOIN_REQUEST__INIT;
    char at[ASK_ADDR_MAX], next[ASK_ADDR_MAX];
    struct node_progress mine;

    node_progress(o->asker.node, &mine);
    q.id = (char *)o->id; /* packed, not changed */
    q.addr = (char *)o->raft_addr;
    q.voter = o->voter;
    q.last_index = mine.last_index;
    q.cluster_id = mine.cluster_id;
    snprintf(at, sizeof at, "%s", addr);
    for (int i = 0; i <= REDIRECTS_MAX; i++) {
        enum err e = ask_join(&o->asker, at, &q, next, why);

        if (e == ERR_NO_LEADER) return why_set(why, e, "no leader");
        if (e != ERR_NOT_LEADER) return e;
        memcpy(at, next, sizeof at);
    }
    return why_set(why, ERR_UNREACHABLE, "max redirects exceeded");
}

enum err join_raft_address(const struct join_options *o, const struct address *t,
                           char out[ASK_ADDR_MAX], struct why *why)
{
    if (!t->http) {
        snprintf(out, ASK_ADDR_MAX, "%s", t->at);
        return ERR_OK;
    }
    return join_http_find(o, t, out, why);
}

static enum err join_target(const struct join_options *o, const struct address *t,
                            struct why *why)
{
    char addr[ASK_ADDR_MAX];
    struct address as;
    enum err e = join_raft_address(o, t, addr, why);

    if (!e) e = join_through(o, addr, why);
    if (e == ERR_UNSUPPORTED && !t->http && join_http_serves(o, t, &as)) {
        logger_info(o->logger, "cluster-join",
                    "join address %s serves HTTP%s, better give a node's Raft address",
                    t->at, as.https ? "S" : "");
        return join_target(o, &as, why);
    }
    /* Where only the HTTP port can be reached, the old way may still lead in. */
    if (e && e != ERR_CANCELLED && t->http && join_http_post(o, t, why) == ERR_OK)
        e = ERR_OK;
    return e;
}

enum err join_round(const struct join_options *o, char via[ADDRESS_URL_MAX],
                    struct why *why)
{
    enum err e = ERR_UNREACHABLE;

    for (size_t i = 0; i < o->n; i++) {
        struct why cause = {0};

        address_text(&o->targets[i], via);
        e = join_target(o, &o->targets[i], &cause);
        if (!e) return ERR_OK;
        if (e == ERR_CANCELLED) break;
        /* A certificate that was refused is ERR_UNREACHABLE. */
        logger_info(o->logger, "cluster-join", "failed to join via node at %s: %s%s", via,
                    cause.text,
                    cause.code == ERR_UNAUTHORIZED && o->asker.user == NULL
                        ? " (did you forget to set -join-as?)"
                        : "");
    }
    if (e == ERR_CANCELLED) return why_set(why, e, "join operation canceled");
    return why_set(why, ERR_UNREACHABLE, "failed to join cluster");
}

enum err join_cluster(const struct join_options *o, struct why *why)
{
    char via[ADDRESS_URL_MAX], list[LIST_ROOM], pause[TEXT_DURATION_MAX] = "";

    join_list(o, list, sizeof list);
    text_duration(pause, (int64_t)o->interval_ns);
    for (unsigned i = 1; i <= o->attempts; i++) {
        enum err e = join_round(o, via, why);

        if (!e) {
            logger_info(o->logger, "rqlited", "successfully joined cluster at %s", via);
            return ERR_OK;
        }
        if (e == ERR_CANCELLED) return e;
        if (i == o->attempts) break;
        logger_info(o->logger, "cluster-join",
                    "failed to join cluster at %s, sleeping %s before retry", list,
                    pause);
        if (!join_pause(&o->asker, o->interval_ns / 1000000))
            return why_set(why, ERR_CANCELLED, "join operation canceled");
    }
    logger_info(o->logger, "cluster-join",
                "failed to join cluster at %s, after %u attempt(s)", list, o->attempts);
    return why_set(why, ERR_UNREACHABLE, "failed to join cluster");
}
