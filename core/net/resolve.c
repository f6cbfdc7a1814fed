/* SPDX-License-Identifier: MIT */
#include "core/net/resolve.h"

#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mailbox.h"

/* --- addresses -------------------------------------------------------------------- */

enum err resolve_split(const char *address, char host[RESOLVE_HOST_MAX + 1],
                       uint16_t *port, struct why *why)
{
    const char *colon = strrchr(address, ':'), *begin = address, *end = colon;
    unsigned long number = 0;

    if (colon == NULL)
        return why_set(why, ERR_INVALID, "address %s: missing port", address);
    if (address[0] == '[') {
        if (colon == address || colon[-1] != ']')
            return why_set(why, ERR_INVALID, "address %s: missing ']' or port", address);
        begin = address + 1;
        end = colon - 1;
    } else if (memchr(address, ':', (size_t)(colon - address)) != NULL) {
        return why_set(why, ERR_INVALID, "address %s: too many colons", address);
    }
    for (const char *p = colon + 1; *p; p++) {
        if (*p < '0' || *p > '9' || number > UINT16_MAX) number = UINT16_MAX + 1UL;
        number = number * 10 + (unsigned long)(*p - '0');
    }
    if (colon[1] == '\0' || number > UINT16_MAX)
        return why_set(why, ERR_INVALID, "address %s: bad port", address);
    if (end - begin > RESOLVE_HOST_MAX)
        return why_set(why, ERR_INVALID, "address %.40s...: host is too long", address);
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';
    *port = (uint16_t)number;
    return ERR_OK;
}

enum err resolve_now(struct net_addresses *out, const char *host, uint16_t port,
                     bool numeric_only, bool passive, struct why *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC}, *list;
    char service[8];
    int rc;

    out->n = 0;
    hints.ai_flags = AI_NUMERICSERV;
    if (numeric_only && host[0]) hints.ai_flags |= AI_NUMERICHOST;
    if (passive) hints.ai_flags |= AI_PASSIVE;
    snprintf(service, sizeof service, "%u", port);
    rc = getaddrinfo(host[0] ? host : NULL, service, &hints, &list);
    if (rc == EAI_SYSTEM) return why_errno(why, "look up %s", host);
    if (rc == EAI_MEMORY) return why_set(why, ERR_NOMEM, "look up %s: no memory", host);
    if (rc != 0)
        return why_set(why, ERR_NOT_FOUND, "look up %s: %s", host, gai_strerror(rc));
    for (struct addrinfo *i = list; i && out->n < RESOLVE_ADDRESSES_MAX; i = i->ai_next) {
        struct net_address *a = &out->a[out->n];

        if (i->ai_addrlen > sizeof a->sa) continue;
        memset(&a->sa, 0, sizeof a->sa);
        memcpy(&a->sa, i->ai_addr, i->ai_addrlen);
        a->len = i->ai_addrlen;
        out->n++;
    }
    freeaddrinfo(list);
    if (out->n == 0) return why_set(why, ERR_NOT_FOUND, "look up %s: no address", host);
    return ERR_OK;
}

void resolve_print(const struct sockaddr *sa, char *out, size_t cap)
{
    const struct sockaddr_in *v4 = (const void *)sa;
    const struct sockaddr_in6 *v6 = (const void *)sa;
    char text[INET6_ADDRSTRLEN] = "?";

    if (sa->sa_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        snprintf(out, cap, "%s:%u", text, ntohs(v4->sin_port));
    } else if (sa->sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        snprintf(out, cap, "[%s]:%u", text, ntohs(v6->sin6_port));
    } else {
        snprintf(out, cap, "?");
    }
}

/* --- lookups ---------------------------------------------------------------------- */

/* Held by the endpoint and by every lookup's thread: the last one frees it. */
struct resolver {
    atomic_uint refs;
    struct mailbox *box; /* owned */
    struct event *event; /* owned; the loop's thread */
};

struct lookup {
    struct mail mail;
    struct resolver *resolver;
    char host[RESOLVE_HOST_MAX + 1];
    uint16_t port;
    struct net_addresses found;
    struct why why;
    /* The loop's thread only: NULL when nobody waits any more. */
    void (*on_resolved)(void *arg, const struct net_addresses *found,
                        const struct why *why);
    void *arg;
};

static void resolver_unref(struct resolver *r)
{
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) > 1) return;
    mailbox_free(r->box);
    free(r);
}

static void deliver(struct mail *m, void *taker)
{
    struct lookup *l = (struct lookup *)(void *)m;

    (void)taker;
    if (l->on_resolved) l->on_resolved(l->arg, &l->found, &l->why);
    free(l);
}

static void *lookup_main(void *arg)
{
    struct lookup *l = arg;
    struct resolver *r = l->resolver;

    if (resolve_now(&l->found, l->host, l->port, false, false, &l->why)) l->found.n = 0;
    l->mail.deliver = deliver;
    if (mailbox_post_always(r->box, &l->mail) != ERR_OK)
        free(l); /* the endpoint closed */
    resolver_unref(r);
    return NULL;
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct resolver *r = arg;

    (void)fd;
    (void)what;
    for (struct mail *m = mailbox_take(r->box), *next; m; m = next) {
        next = m->next;
        m->deliver(m, r);
    }
}

enum err resolver_new(struct resolver **out, struct event_base *base, struct why *why)
{
    struct resolver *r = calloc(1, sizeof *r);
    enum err e;

    *out = NULL;
    if (r == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    atomic_init(&r->refs, 1);
    e = mailbox_new(&r->box, 0, true, why);
    if (e) {
        free(r);
        return e;
    }
    r->event = event_new(base, mailbox_fd(r->box), EV_READ | EV_PERSIST, on_mail, r);
    if (r->event == NULL || event_add(r->event, NULL) != 0) {
        resolver_free(r);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    *out = r;
    return ERR_OK;
}

void resolver_free(struct resolver *r)
{
    if (r == NULL) return;
    if (r->event) event_free(r->event);
    r->event = NULL;
    mailbox_close(r->box);
    for (struct mail *m = mailbox_take(r->box), *next; m; m = next) {
        next = m->next;
        free(m);
    }
    resolver_unref(r);
}

enum err resolver_start(struct lookup **out, struct resolver *r, const char *host,
                        uint16_t port, void *arg, struct why *why,
                        void (*on_resolved)(void *, const struct net_addresses *,
                                            const struct why *))
{
    struct lookup *l = calloc(1, sizeof *l);
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int rc;

    *out = NULL;
    if (l == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    l->resolver = r;
    snprintf(l->host, sizeof l->host, "%s", host);
    l->port = port;
    l->on_resolved = on_resolved;
    l->arg = arg;
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 256 << 10);
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, &attr, lookup_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        resolver_unref(r);
        free(l);
        errno = rc;
        return why_errno(why, "start a thread to look up %s", host);
    }
    *out = l;
    return ERR_OK;
}

void lookup_cancel(struct lookup *l)
{
    l->on_resolved = NULL;
}
