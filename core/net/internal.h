/* SPDX-License-Identifier: MIT */
/*
 * What the files of core/net share: the endpoint, and things to do a little later.
 *
 * An object here may be given up from within one of its own callbacks, with several of
 * its functions on the stack.  So nothing is freed on the spot: it is taken out of
 * whatever it is in, and freed by net_later() when the stack has unwound.
 */
#ifndef CORE_NET_INTERNAL_H
#define CORE_NET_INTERNAL_H

#include <event2/event.h>

#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/net/net.h"

struct resolver;

struct later { /* embedded in what is done later; at most once in the queue */
    struct later *next;
    void (*run)(struct later *l);
};

struct net {
    struct event_base *base; /* borrowed */
    struct logger *logger;   /* borrowed; may be NULL */
    struct tls *tls;         /* borrowed; NULL: clear text */
    struct net_limits limits;
    struct net_stats stats;
    struct net_hello hello;    /* ours, but for the class */
    struct resolver *resolver; /* owned; NULL until a name is looked up */
    struct list conns;         /* all, also those that linger */
    struct later *later, **later_end;
    struct event *later_event; /* owned */
    unsigned users;            /* servers, channels, calls: must be gone before the net */
    struct {                   /* log lines about peers, which peers can provoke */
        uint64_t second;
        unsigned lines, left_out;
    } talk;
};

enum { NET_LINES_PER_SECOND = 10 };

static inline uint64_t net_now_ms(void)
{
    return clock_mono_ns(clock_real()) / 1000000;
}

/* Have run(l) called from the loop, in the order of asking; at the latest in net_free().
 */
void net_later(struct net *n, struct later *l, void (*run)(struct later *l));

/* A warning about a peer; beyond NET_LINES_PER_SECOND they are counted only. */
void net_warn(struct net *n, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The resolver, made on first use.  ERR_NOMEM, ERR_IO. */
MUST_USE enum err net_resolver(struct net *n, struct resolver **out, struct why *why);

/* Set a timer, ms from now.  False when out of memory. */
static inline bool net_arm(struct event *e, uint64_t ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000),
                         .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

    return event_add(e, &tv) == 0;
}

#endif
