/* SPDX-License-Identifier: MIT */
/*
 * resolve: "host:port" to socket addresses, without blocking the loop.
 *
 * A name is looked up with getaddrinfo(3), so that it means here what it means to every
 * other program on the machine (hosts file, nsswitch, search domains), on a detached
 * thread of its own: a lookup may hang for as long as the system's resolver likes, and
 * nobody waits for it at exit.
 *
 * Owner: the loop's thread.  The lookup's thread sees only what it was given.
 */
#ifndef CORE_NET_RESOLVE_H
#define CORE_NET_RESOLVE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/base/err.h"

enum { RESOLVE_HOST_MAX = 255, RESOLVE_ADDRESSES_MAX = 8 };

struct net_address {
    struct sockaddr_storage sa;
    socklen_t len;
};

struct net_addresses { /* in the order in which to try them */
    struct net_address a[RESOLVE_ADDRESSES_MAX];
    size_t n;
};

/* Cut "host:port" or "[v6]:port" in two.  The host may be empty.  ERR_INVALID. */
MUST_USE enum err resolve_split(const char *address, char host[RESOLVE_HOST_MAX + 1],
                                uint16_t *port, struct why *why);

/* Now, on this thread.  With numeric_only a name is ERR_NOT_FOUND and nothing blocks.
 * passive: for listening; an empty host is every address. */
MUST_USE enum err resolve_now(struct net_addresses *out, const char *host, uint16_t port,
                              bool numeric_only, bool passive, struct why *why);

/* "10.1.0.2:4002", "[::1]:4002". */
void resolve_print(const struct sockaddr *sa, char *out, size_t cap);

struct event_base;
struct resolver; /* opaque */
struct lookup;   /* opaque */

MUST_USE enum err resolver_new(struct resolver **out, struct event_base *base,
                               struct why *why);
/* Lookups under way are forgotten.  NULL is allowed. */
void resolver_free(struct resolver *r);

/* Look host up; on_resolved comes from the loop, not from here, with n = 0 and why on
 * failure.  The lookup is gone then. */
MUST_USE enum err
resolver_start(struct lookup **out, struct resolver *r, const char *host, uint16_t port,
               void *arg, struct why *why,
               void (*on_resolved)(void *arg, const struct net_addresses *found,
                                   const struct why *why));
/* on_resolved does not come. */
void lookup_cancel(struct lookup *l);

#endif
