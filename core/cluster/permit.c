/* SPDX-License-Identifier: MIT */
#include "core/cluster/permit.h"

#include "core/cluster/internal.h"

/*
 * First tries of a session's writes must be taken up in the order in which they came
 * (answers.h).  So while one waits for its password to be hashed, those behind it wait,
 * too, whatever is known of theirs.
 */
struct permit {       /* in the call's arena */
    struct list link; /* cl->permits, in order of arrival */
    struct auth_login login;
    struct mail mail;
    struct cluster *cluster;
    struct net_call *call;
    const ProtobufCMessage *message;
    permit_run *run;
    uint64_t session; /* 0: of none */
    bool decided;     /* login.granted is set */
    bool lost;        /* the message could not be kept */
};

void permit_refuse(struct net_call *c)
{
    net_call_refuse(c, ERR_UNAUTHORIZED, "unauthorized");
}

static void carry_out(struct permit *p)
{
    struct net_call *c = p->call;

    list_remove(&p->link);
    if (net_call_gone(c))
        net_call_end(c, ERR_CANCELLED, NULL);
    else if (atomic_load(&p->cluster->stopping))
        net_call_refuse(c, ERR_CLOSED, "the node is shutting down");
    else if (p->lost)
        net_call_refuse(c, ERR_NOMEM, "out of memory");
    else if (p->login.granted)
        p->run(c, p->message, p->login.granted);
    else
        permit_refuse(c);
}

static struct permit *first_of(struct cluster *cl, uint64_t session)
{
    if (session == 0) return NULL;
    for (struct list *l = cl->permits.next; l != &cl->permits; l = l->next) {
        struct permit *p = LIST_ITEM(l, struct permit, link);

        if (p->session == session) return p;
    }
    return NULL;
}

static void deliver(struct mail *m, void *node)
{
    struct permit *p = LIST_ITEM(m, struct permit, mail);
    struct cluster *cl = p->cluster;
    uint64_t session = p->session;

    (void)node;
    p->decided = true;
    if (session == 0) {
        carry_out(p);
        return;
    }
    while ((p = first_of(cl, session)) != NULL && p->decided) carry_out(p);
}

static void on_done(struct auth_login *l)
{
    struct permit *p = LIST_ITEM(l, struct permit, login);

    cluster_post(p->cluster, &p->mail, deliver);
}

/* A member passes on what it has checked itself: a batch of queued writes. */
static bool has_node_authority(const struct cluster *cl, const struct net_call *c)
{
    const struct net_hello *h = &net_call_peer(c)->hello;
    struct raft_config members;
    bool member;

    if (!net_call_meta(c)->node_authority || h->cluster_id == 0 || h->node_id[0] == '\0')
        return false;
    if (node_members(cl->node, &members) != ERR_OK) return false;
    member = raft_config_find(&members, h->node_id) != NULL;
    raft_config_fini(&members);
    return member;
}

static enum auth_answer ask(struct cluster *cl, struct net_call *c, uint32_t wanted,
                            uint32_t *granted, struct auth_login *login)
{
    const struct net_meta *m = net_call_meta(c);
    struct auth *auth = has_node_authority(cl, c) ? NULL : cl->o.auth;

    return auth_ask(auth, m->user, m->password, wanted, granted, login);
}

/* Until it is decided, or those before it are. */
static void put_off(struct permit *p)
{
    list_push_back(&p->cluster->permits, &p->link);
    net_call_pause(p->call);
    p->lost = net_call_keep(p->call) != ERR_OK;
}

void permit_then(struct cluster *cl, struct net_call *c, const ProtobufCMessage *message,
                 uint32_t wanted, permit_run *run)
{
    uint32_t granted;
    struct permit *p;

    if (cl->o.auth == NULL) {
        run(c, message, wanted);
        return;
    }
    p = arena_calloc(net_call_arena(c), 1, sizeof *p);
    if (p == NULL) {
        net_call_refuse(c, ERR_NOMEM, "out of memory");
        return;
    }
    *p = (struct permit){.login.done = on_done,
                         .cluster = cl,
                         .call = c,
                         .message = message,
                         .run = run,
                         .session = net_call_meta(c)->call_id[0]};
    switch (ask(cl, c, wanted, &granted, &p->login)) {
    case AUTH_NOW:
        if (granted == 0) {
            permit_refuse(c);
        } else if (first_of(cl, p->session)) {
            p->decided = true;
            p->login.granted = granted;
            put_off(p);
        } else {
            run(c, message, granted);
        }
        break;
    case AUTH_LATER: put_off(p); break; /* deliver() runs on this thread, so not yet */
    case AUTH_BUSY:
        net_call_refuse(c, ERR_BUSY, "too many passwords are being checked");
        break;
    }
}
