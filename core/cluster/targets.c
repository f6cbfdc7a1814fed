/* SPDX-License-Identifier: MIT */
#include "core/cluster/targets.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/doc.h"
#include "core/cluster/internal.h"

static void on_state(void *arg, bool up, const struct why *why)
{
    struct target *t = arg;

    (void)why;
    /* A dial that fails says nothing of an earlier connection. */
    if (!up && t->up) t->lost = true;
    t->up = up;
}

static void target_free(struct target *t)
{
    list_remove(&t->link);
    net_channel_free(t->call);
    net_channel_free(t->bulk);
    free(t);
}

/* Those who left, if nobody is talking to them any more. */
static void forget_strangers(struct cluster *cl)
{
    struct raft_config c;

    if (node_members(cl->node, &c) != ERR_OK) return;
    for (struct list *l = cl->targets.next, *next; l != &cl->targets; l = next) {
        struct target *t = LIST_ITEM(l, struct target, link);

        next = l->next;
        if (t->users == 0 && raft_config_find(&c, t->id) == NULL) target_free(t);
    }
    raft_config_fini(&c);
}

static struct target *find(struct cluster *cl, const char *id)
{
    for (struct list *l = cl->targets.next; l != &cl->targets; l = l->next) {
        struct target *t = LIST_ITEM(l, struct target, link);

        if (strcmp(t->id, id) == 0) return t;
    }
    return NULL;
}

enum err target_use(struct target **out, struct cluster *cl, const char *id,
                    struct why *why)
{
    struct target *t = find(cl, id);

    *out = t;
    if (t == NULL) {
        forget_strangers(cl);
        t = calloc(1, sizeof *t);
        if (t == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        t->cluster = cl;
        snprintf(t->id, sizeof t->id, "%s", id);
        list_push_back(&cl->targets, &t->link);
        *out = t;
    }
    t->users++;
    return ERR_OK;
}

void target_drop(struct target *t)
{
    if (t) t->users--;
}

enum err target_channel(struct net_channel **out, struct target *t, const char *addr,
                        enum net_class class, struct why *why)
{
    struct net_channel **ch = class == NET_BULK ? &t->bulk : &t->call;
    struct net_channel_options o = {.address = addr,
                                    .class = class,
                                    .expect_id = t->id,
                                    .connect_ms = t->cluster->o.connect_ms,
                                    .on_state = class == NET_CALL ? on_state : NULL,
                                    .arg = t};
    enum err e;

    *out = NULL;
    if (*ch)
        e = net_channel_set_address(*ch, addr, why);
    else
        e = net_channel_new(ch, t->cluster->net, &o, why);
    if (!e) *out = *ch;
    return e;
}

void target_cause(struct why *why)
{
    char text[sizeof why->text], *last;

    if (why->code != ERR_UNREACHABLE && why->code != ERR_IO) return;
    snprintf(text, sizeof text, "dial tcp %.490s", why->text);
    last = strrchr(text, ' ');
    while (last && last > text && last[-1] != ':') { /* after the last ": " */
        do last--;
        while (last > text && *last != ' ');
    }
    if (last && last > text) last[1] = (char)tolower((unsigned char)last[1]);
    (void)why_set(why, why->code, "%s", text);
}

void targets_status(const struct cluster *cl, struct doc *root)
{
    struct doc *into = NULL;

    for (struct list *l = cl->targets.next; l != &cl->targets; l = l->next) {
        const struct target *t = LIST_ITEM(l, struct target, link);
        const struct net_channel *known = t->call ? t->call : t->bulk;
        unsigned open = 0;
        struct doc *d;

        if (!known || (into && doc_get(into, net_channel_address(known)))) continue;
        if (!into)
            into = doc_add_object(doc_add_object(doc_add_object(root, "http"), "cluster"),
                                  "conn_pool_stats");
        if (t->call && net_channel_up(t->call)) open++;
        if (t->bulk && net_channel_up(t->bulk)) open++;
        d = doc_add_object(into, net_channel_address(known));
        doc_add_uint(d, "idle", t->users == 0 ? open : 0);
        doc_add_uint(d, "max_open_connections", 2);
        doc_add_uint(d, "open_connections", open);
    }
}

void targets_close(struct cluster *cl)
{
    for (struct list *l = cl->targets.next; l != &cl->targets; l = l->next) {
        struct target *t = LIST_ITEM(l, struct target, link);

        net_channel_free(t->call);
        net_channel_free(t->bulk);
        t->call = t->bulk = NULL;
    }
}

void targets_free(struct cluster *cl)
{
    targets_close(cl);
    while (!list_empty(&cl->targets))
        target_free(LIST_ITEM(cl->targets.next, struct target, link));
}
