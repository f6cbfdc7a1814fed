/* SPDX-License-Identifier: MIT */
#include "core/node/peers.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/net/client.h"
#include "core/net/server.h"
#include "core/node/raft_wire.h"

struct peer {
    struct list link;
    struct peers *peers;
    char id[RAFT_ID_MAX + 1];
    struct net_channel *channel;  /* owned */
    struct net_request *stream;   /* the open Raft.Step call; NULL while there is none */
    struct evbuffer *out;         /* owned; messages of one turn, packed */
    char addr[RAFT_ADDR_MAX + 1]; /* in the configuration; "" = no member */
    struct net_call *from;        /* the stream it opened to us; NULL = none */
    bool seen;                    /* still a member (peers_set) */
};

struct peers {
    struct peers_options o;
    char id[RAFT_ID_MAX + 1];
    struct list list;
};

static void stream_ended(struct net_request *r, const struct net_result *result)
{
    struct peer *p = net_request_user(r);

    (void)result;
    p->stream = NULL;
    p->peers->o.events->on_lost(p->peers->o.arg, p->id);
}

static const struct net_request_events stream_events = {.on_done = stream_ended};

static void open_stream(struct peer *p)
{
    struct net_request_options o = {.service = &net_service_raft,
                                    .method = NET_RAFT_STEP,
                                    .events = &stream_events,
                                    .user = p};
    struct why why = {0};

    if (p->stream) return;
    if (net_request_start(&p->stream, p->channel, &o, &why) != ERR_OK) p->stream = NULL;
}

static void channel_state(void *arg, bool up, const struct why *why)
{
    struct peer *p = arg;

    if (up) {
        logger_debug(p->peers->o.logger, "raft", "connected to node %s at %s", p->id,
                     net_channel_address(p->channel));
        open_stream(p);
    } else {
        logger_debug(p->peers->o.logger, "raft", "connection to node %s at %s: %s", p->id,
                     net_channel_address(p->channel), why ? why->text : "lost");
    }
}

static void peer_free(struct peer *p)
{
    if (p->stream) net_request_cancel(p->stream);
    net_channel_free(p->channel);
    if (p->out) evbuffer_free(p->out);
    free(p);
}

static struct peer *find(const struct peers *ps, const char *id)
{
    for (struct list *l = ps->list.next; l != &ps->list; l = l->next) {
        struct peer *p = LIST_ITEM(l, struct peer, link);

        if (strcmp(p->id, id) == 0) return p;
    }
    return NULL;
}

enum err peers_new(struct peers **out, const struct peers_options *o, struct why *why)
{
    struct peers *ps = calloc(1, sizeof *ps);

    if (ps == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    ps->o = *o;
    snprintf(ps->id, sizeof ps->id, "%s", o->id);
    ps->o.id = ps->id;
    list_init(&ps->list);
    *out = ps;
    return ERR_OK;
}

void peers_free(struct peers *ps)
{
    struct list *l;

    if (ps == NULL) return;
    while ((l = list_pop_front(&ps->list)) != NULL)
        peer_free(LIST_ITEM(l, struct peer, link));
    free(ps);
}

static enum err add(struct peer **out, struct peers *ps, const char *id, const char *addr)
{
    struct peer *p = calloc(1, sizeof *p);
    struct net_channel_options co = {.address = addr,
                                     .class = NET_RAFT,
                                     .expect_id = id,
                                     .on_state = channel_state,
                                     .arg = p};
    struct why why = {0};
    enum err e;

    if (p == NULL) return ERR_NOMEM;
    p->peers = ps;
    snprintf(p->id, sizeof p->id, "%s", id);
    p->out = evbuffer_new();
    e = p->out ? net_channel_new(&p->channel, ps->o.net, &co, &why) : ERR_NOMEM;
    if (e) {
        logger_warn(ps->o.logger, "raft", "cannot reach node %s: %s", id, why.text);
        peer_free(p);
        return e;
    }
    list_push_back(&ps->list, &p->link);
    net_channel_connect(p->channel);
    *out = p;
    return ERR_OK;
}

enum err peers_set(struct peers *ps, const struct raft_config *c)
{
    enum err result = ERR_OK;

    for (struct list *l = ps->list.next; l != &ps->list; l = l->next)
        LIST_ITEM(l, struct peer, link)->seen = false;
    for (size_t i = 0; i < c->n; i++) {
        const struct raft_member *m = &c->members[i];
        struct peer *p = find(ps, m->id);
        enum err e = ERR_OK;

        if (strcmp(m->id, ps->id) == 0) continue;
        if (p == NULL)
            e = add(&p, ps, m->id, m->addr);
        else if (p->from == NULL)
            e = net_channel_set_address(p->channel, m->addr, NULL);
        if (e) result = e;
        if (p == NULL) continue;
        p->seen = true;
        snprintf(p->addr, sizeof p->addr, "%s", m->addr);
    }
    for (struct list *l = ps->list.next, *next; l != &ps->list; l = next) {
        struct peer *p = LIST_ITEM(l, struct peer, link);

        next = l->next;
        if (p->seen) continue;
        p->addr[0] = '\0';
        if (p->from) continue;
        list_remove(l);
        peer_free(p);
    }
    return result;
}

void peers_send(struct peers *ps, const struct raft_message *messages, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct peer *p = find(ps, messages[i].to);

        if (p == NULL) continue;
        if (p->stream == NULL && net_channel_up(p->channel)) open_stream(p);
        if (p->stream == NULL || !net_channel_up(p->channel)) continue;
        if (raft_wire_encode(p->out, &messages[i]))
            (void)!net_request_send_bytes(p->stream,
                                          p->out); /* refused = lost on the way */
        evbuffer_drain(p->out, evbuffer_get_length(p->out));
    }
}

bool peers_up(const struct peers *ps, const char *id)
{
    const struct peer *p = find(ps, id);

    return p && net_channel_up(p->channel);
}

const char *peers_address(const struct peers *ps, const char *id)
{
    const struct peer *p = find(ps, id);

    return p ? net_channel_address(p->channel) : "";
}

/* --- what arrives ----------------------------------------------------------------- */

static void step_message(struct net_call *c, const ProtobufCMessage *message)
{
    struct peers *ps = net_call_user(c);
    struct raft_message m;
    struct arena a;
    struct why why = {0};
    enum err e;

    arena_init(&a, 0);
    e = raft_wire_decode(&m, &a, (const Rqlite__RaftMessage *)(const void *)message,
                         &why);
    if (e == ERR_OK) {
        /* Who said hello speaks for itself only. */
        if (strcmp(m.from, net_call_peer(c)->hello.node_id) == 0 &&
            strcmp(m.to, ps->id) == 0)
            ps->o.events->on_message(ps->o.arg, &m);
        raft_wire_release(&m);
    } else {
        logger_warn(ps->o.logger, "raft", "message from %s: %s", net_call_peer(c)->remote,
                    why.text);
    }
    arena_fini(&a);
    if (e) net_call_end(c, e, why.text);
}

/* Who speaks to us is answered where it says it is: it may be a leader that this node,
 * new or long away, does not yet know, or knows by an address of the past. */
static void met(struct peers *ps, struct net_call *c)
{
    const struct net_hello *hello = &net_call_peer(c)->hello;
    struct peer *p = find(ps, hello->node_id);

    if (hello->node_id[0] == '\0' || hello->address[0] == '\0') return;
    if (strcmp(hello->node_id, ps->id) == 0) return;
    if (p)
        (void)!net_channel_set_address(p->channel, hello->address, NULL);
    else if (add(&p, ps, hello->node_id, hello->address) != ERR_OK)
        return;
    p->from = c;
}

static void step_over(struct net_call *c)
{
    struct peers *ps = net_call_user(c);
    struct peer *p = find(ps, net_call_peer(c)->hello.node_id);

    net_call_end(c, ERR_OK, NULL);
    if (p == NULL || p->from != c) return;
    p->from = NULL;
    if (p->addr[0]) {
        (void)!net_channel_set_address(p->channel, p->addr, NULL);
    } else {
        list_remove(&p->link);
        peer_free(p);
    }
}

static const struct net_call_events step_events = {
    .on_message = step_message, .on_end = step_over, .on_gone = step_over};

void peers_on_step(struct peers *ps, struct net_call *c)
{
    net_call_listen(c, &step_events, ps);
    met(ps, c);
}
