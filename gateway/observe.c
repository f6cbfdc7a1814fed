/* SPDX-License-Identifier: MIT */
#include "gateway/observe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "core/base/clock.h"
#include "core/base/rand.h"
#include "gateway/access_log.h"
#include "gateway/conn.h"
#include "gateway/server.h"
#include "gateway/transport.h"

enum err observe_new(struct observe **out, struct gateway_thread *t, struct why *why)
{
    struct observe *o = calloc(1, sizeof *o);
    enum err e = ERR_OK;

    if (!o) return why_set(why, ERR_NOMEM, "out of memory for a thread's figures");
    o->id_state = rand_entropy();
    if (t->gateway->options.access_log) e = access_log_open(&o->log, t, why);
    if (e) {
        observe_free(o);
        return e;
    }
    *out = o;
    return ERR_OK;
}

void observe_free(struct observe *o)
{
    if (!o) return;
    access_log_close(o->log);
    free(o);
}

/* --- IDs ---------------------------------------------------------------------------- */

/* One that a client sent; NULL if it sent none that may stand in a log. */
static const char *sent_id(const struct http_request *r)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        const char *name = r->headers[i].name, *id = r->headers[i].value;
        size_t n = 0;

        if ((name[0] | 0x20) != 'x' || strcasecmp(name, "X-Request-Id") != 0) continue;
        while (n <= OBSERVE_ID_MAX && id[n] > ' ' && id[n] < 0x7f) n++;
        return n > 0 && n <= OBSERVE_ID_MAX && id[n] == '\0' ? id : NULL;
    }
    return NULL;
}

/* Numbers that look random, and are different until 2^64 were given (splitmix64). */
static const char *new_id(struct http_exchange *x, struct observe *o)
{
    char *out = arena_alloc(&x->arena, 17);
    uint64_t z = o->id_state += UINT64_C(0x9e3779b97f4a7c15);

    if (!out) return NULL;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    snprintf(out, 17, "%016llx", (unsigned long long)(z ^ z >> 31));
    return out;
}

void observe_begin(struct http_exchange *x, unsigned endpoint)
{
    struct observe *o = x->thread->observe;

    CHECK(endpoint < OBSERVE_ENDPOINTS);
    x->endpoint = (uint8_t)endpoint;
    x->request_id = sent_id(&x->request);
    if (!x->request_id && o && (o->log || x->thread->gateway->options.slow_query_ns > 0))
        x->request_id = new_id(x, o);
}

/* --- clients ------------------------------------------------------------------------ */

const char *observe_client(const struct http_exchange *x, char out[OBSERVE_CLIENT_MAX])
{
    const struct exchange *e = (const struct exchange *)x; /* its first member */
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    const struct sockaddr_in *four = (const void *)&a;
    const struct sockaddr_in6 *six = (const void *)&a;
    char host[INET6_ADDRSTRLEN];

    strcpy(out, "-");
    if (!e->conn || e->conn->fd < 0) return out;
    if (getpeername(e->conn->fd, (struct sockaddr *)&a, &len) != 0) return out;
    if (a.ss_family == AF_INET && inet_ntop(AF_INET, &four->sin_addr, host, sizeof host))
        snprintf(out, OBSERVE_CLIENT_MAX, "%s:%u", host, ntohs(four->sin_port));
    else if (a.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) &&
             inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, host, sizeof host))
        snprintf(out, OBSERVE_CLIENT_MAX, "%s:%u", host, ntohs(six->sin6_port));
    else if (a.ss_family == AF_INET6 &&
             inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host))
        snprintf(out, OBSERVE_CLIENT_MAX, "[%s]:%u", host, ntohs(six->sin6_port));
    return out;
}

/* --- the end ------------------------------------------------------------------------ */

void observe_end(struct exchange *e)
{
    struct http_exchange *x = &e->x;
    struct observe *o = x->thread->observe;
    unsigned class = (unsigned)e->status / 100, method = (unsigned)x->request.method;
    uint64_t ns, sent;

    if (!o || !e->dispatched) return;
    if (class >= OBSERVE_CLASSES) class = 0;
    ns = clock_mono_ns(clock_real()) - x->request.received_ns;
    sent = e->payload.done > e->body_size ? e->payload.done : e->body_size;
    counter_add(&o->requests[x->endpoint][method][class], 1);
    counter_add(&o->sent_bytes[x->endpoint], sent);
    histogram_add(&o->seconds[x->endpoint], ns);
    if (o->log) access_log_line(o->log, e, sent, ns);
}
