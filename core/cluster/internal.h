/* SPDX-License-Identifier: MIT */
/*
 * What the files of core/cluster share.
 *
 *   cluster.c     opening, closing, the calls' first step
 *   forward.c     calls carried out by the leader: the caller's side
 *   serve.c       and the leader's side: the service Database
 *   answers.c     answers kept for repeats, so that no write is applied twice
 *   results.c     results of statements <-> messages (pure)
 *   targets.c     channels to other nodes
 *   infos.c       what other nodes say of themselves: /nodes, /readyz, redirects
 *   membership.h  joining and what follows from it
 */
#ifndef CORE_CLUSTER_INTERNAL_H
#define CORE_CLUSTER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/base/arena.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/cluster/cluster.h"
#include "core/cluster/membership.h"
#include "core/node/node.h"

struct cluster {
    struct cluster_options o; /* texts copied into names */
    struct arena names;
    struct node *node; /* borrowed, as the next */
    struct event_base *base;
    struct net *net; /* NULL: this node talks to nobody */

    struct membership *membership; /* owned; membership.h */

    /* Texts of a node's own are for anyone; all else is the node thread's. */
    atomic_bool stopping;
};

static inline uint64_t cluster_now_ms(const struct cluster *cl)
{
    return clock_mono_ns(cl->o.clock) / 1000000;
}

/* Is the caller of a method allowed to do perm?  ERR_UNAUTHORIZED. */
enum err cluster_authorize(const struct cluster *cl, const char *user,
                           const char *password, const char *perm);

#endif
