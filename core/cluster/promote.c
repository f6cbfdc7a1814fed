/* SPDX-License-Identifier: MIT */
#include "core/cluster/promote.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/node/node.h"
#include "core/raft/raft.h"

enum {
    LOOK_MS = 10, /* at first; then twice as long each time */
    LOOK_MAX_MS = 500,
    /* So many entries behind is caught up: they are on the way, and voting for what
     * comes next does not wait for them longer than a write does. */
    NEAR_ENTRIES = 128
};

struct wanted {
    struct list link;
    struct promoter *p;
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];
    struct call_change change;
    bool changing; /* the change is under way: not to be freed */
    bool dropped;  /* meanwhile forgotten */
};

struct promoter {
    struct node *node;
    struct logger *logger;
    struct event *timer; /* owned */
    struct list wanted;
    uint64_t term;    /* in which they were wanted */
    unsigned look_ms; /* pause before the next look */
};

static void look_again(struct promoter *p)
{
    const struct timeval soon = {.tv_usec = (suseconds_t)p->look_ms * 1000};

    p->look_ms = p->look_ms * 2 < LOOK_MAX_MS ? p->look_ms * 2 : LOOK_MAX_MS;
    (void)event_add(p->timer, &soon);
}

static void drop(struct wanted *w)
{
    w->dropped = true;
    if (w->changing) return;
    list_remove(&w->link);
    free(w);
}

static void changed(struct call *c)
{
    struct wanted *w = LIST_ITEM(c, struct wanted, change.call);
    enum err e = c->why.code;

    w->changing = false;
    if (e == ERR_OK)
        logger_info(w->p->logger, "store", "node %s has caught up and is a voter now",
                    w->id);
    if (e == ERR_OK || e == ERR_EXISTS || w->dropped) drop(w);
    /* Else it is tried again: a change under way, say, or a leader just elected. */
}

static void promote(struct wanted *w, const struct raft_member *m)
{
    memset(&w->change, 0, sizeof w->change);
    w->change.put = true;
    w->change.id = w->id;
    snprintf(w->addr, sizeof w->addr, "%s", m->addr);
    w->change.addr = w->addr;
    w->change.voter = true;
    w->change.call.done = changed;
    w->changing = true;
    node_change(w->p->node, &w->change);
}

struct look {
    struct promoter *p;
    const struct raft_config *config;
    uint64_t last_index;
};

static struct wanted *find(const struct promoter *p, const char *id)
{
    for (struct list *l = p->wanted.next; l != &p->wanted; l = l->next) {
        struct wanted *w = LIST_ITEM(l, struct wanted, link);

        if (!w->dropped && strcmp(w->id, id) == 0) return w;
    }
    return NULL;
}

static void look_at(void *arg, const struct node_peer *peer)
{
    struct look *k = arg;
    struct wanted *w = find(k->p, peer->id);
    const struct raft_member *m = raft_config_find(k->config, peer->id);

    if (w == NULL || w->changing || m == NULL) return;
    if (m->voter)
        drop(w);
    else if (peer->match > 0 && peer->match + NEAR_ENTRIES >= k->last_index)
        promote(w, m);
}

static void drop_strangers(struct promoter *p, const struct raft_config *c)
{
    for (struct list *l = p->wanted.next, *next; l != &p->wanted; l = next) {
        struct wanted *w = LIST_ITEM(l, struct wanted, link);

        next = l->next;
        if (raft_config_find(c, w->id) == NULL) drop(w);
    }
}

static void drop_all(struct promoter *p)
{
    for (struct list *l = p->wanted.next, *next; l != &p->wanted; l = next) {
        next = l->next;
        drop(LIST_ITEM(l, struct wanted, link));
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct promoter *p = arg;
    struct node_progress now;
    struct raft_config c;
    struct look k = {.p = p, .config = &c};

    (void)fd;
    (void)what;
    node_progress(p->node, &now);
    if (!now.leader || now.term != p->term) {
        drop_all(p);
    } else if (node_members(p->node, &c) == ERR_OK) {
        k.last_index = now.last_index;
        drop_strangers(p, &c);
        node_each_peer(p->node, look_at, &k);
        raft_config_fini(&c);
    }
    if (!list_empty(&p->wanted)) look_again(p);
}

enum err promoter_new(struct promoter **out, struct node *n, struct logger *logger,
                      struct why *why)
{
    struct promoter *p = calloc(1, sizeof *p);

    if (p) p->timer = evtimer_new(node_base(n), on_timer, p);
    if (p == NULL || p->timer == NULL) {
        free(p);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    list_init(&p->wanted);
    p->node = n;
    p->logger = logger;
    *out = p;
    return ERR_OK;
}

void promoter_free(struct promoter *p)
{
    if (p == NULL) return;
    drop_all(p);
    event_free(p->timer);
    free(p);
}

enum err promoter_want(struct promoter *p, const char *id)
{
    struct node_progress now;
    struct wanted *w;

    node_progress(p->node, &now);
    if (now.term != p->term) drop_all(p);
    p->term = now.term;
    if (find(p, id)) return ERR_OK;
    w = calloc(1, sizeof *w);
    if (w == NULL) return ERR_NOMEM;
    w->p = p;
    snprintf(w->id, sizeof w->id, "%s", id);
    list_push_back(&p->wanted, &w->link);
    p->look_ms = LOOK_MS;
    look_again(p);
    return ERR_OK;
}

void promoter_forget(struct promoter *p, const char *id)
{
    struct wanted *w = find(p, id);

    if (w) drop(w);
}
