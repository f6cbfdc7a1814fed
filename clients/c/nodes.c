/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "clients/c/internal.h"
#include "core/base/rand.h"
#include "proto/cluster.pb-c.h"

enum {
    STAGGER_MS = 50,        /* from one probe to the next, if the first says nothing */
    ROUND_MS = 100,         /* between rounds of probes */
    PROBE_MS = 3000,        /* for one probe */
    SHUN_MS = 2000,         /* a node that failed is not gone back to for so long ... */
    CHECK_LEADER_MS = 5000, /* who leads is asked again, while there are calls: of the
                               leader */
    CHECK_OTHER_MS = 500    /* and of a node that forwards to it */
};

static struct node *node_at(struct list *l)
{
    return LIST_ITEM(l, struct node, link);
}

static bool older_than(uint64_t since_ns, uint64_t ms)
{
    return now_ns() - since_ns >= ms * 1000000;
}

static bool shunned(const struct node *n)
{
    return n->failed_ns != 0 && !older_than(n->failed_ns, SHUN_MS);
}

/* --- the list --------------------------------------------------------------------- */

static struct node *node_new(struct rqlite *db, const char *address)
{
    struct node *n = calloc(1, sizeof *n);

    if (n == NULL) return NULL;
    n->db = db;
    n->session = rand_entropy();
    list_init(&n->writes);
    memcpy(n->address, address, strlen(address) + 1);
    list_push_back(&db->nodes, &n->link);
    return n;
}

static void node_free(struct node *n)
{
    if (n->probe) net_request_cancel(n->probe);
    net_channel_free(n->channel);
    list_remove(&n->link);
    free(n);
}

/* Known, or made; NULL: no room, or no address. */
static struct node *node_for(struct rqlite *db, const char *address)
{
    size_t n = 0;

    for (struct list *l = db->nodes.next; l != &db->nodes; l = l->next, n++)
        if (strcmp(node_at(l)->address, address) == 0) return node_at(l);
    if (n >= NODES_MAX || strlen(address) > NODE_ADDRESS_MAX) return NULL;
    return node_new(db, address);
}

enum err node_channel(struct node *n, struct why *why)
{
    struct net_channel_options o = {.address = n->address, .class = NET_CALL};

    if (n->channel) return ERR_OK;
    return net_channel_new(&n->channel, n->db->net, &o, why);
}

static void on_find_timer(evutil_socket_t fd, short what, void *arg);

enum rqlite_code nodes_init(struct rqlite *db, const char *list,
                            struct rqlite_error *error)
{
    event_assign(&db->find.timer, db->base, -1, 0, on_find_timer, db);
    db->find.set_up = true;
    while (*list) {
        size_t len = strcspn(list, ",");
        char address[NODE_ADDRESS_MAX + 1];
        struct node *n;
        struct why why;

        if (len == 0 || len > NODE_ADDRESS_MAX)
            return error_set(error, RQLITE_INVALID, "bad address of a node: \"%.*s\"",
                             (int)(len > 300 ? 300 : len), list);
        memcpy(address, list, len);
        address[len] = '\0';
        n = node_for(db, address);
        if (n == NULL)
            return error_set(error, RQLITE_NOMEM, "no room for node %s", address);
        if (node_channel(n, &why)) /* it checks the address's form */
            return error_set(error, code_of(why.code), "%s", why.text);
        list += len;
        if (*list == ',') list++;
    }
    if (list_empty(&db->nodes))
        return error_set(error, RQLITE_INVALID, "no address of a node was given");
    return RQLITE_OK;
}

void nodes_fini(struct rqlite *db)
{
    if (db->find.set_up) event_del(&db->find.timer);
    while (!list_empty(&db->nodes)) node_free(node_at(db->nodes.next));
}

/* --- looking for the leader ------------------------------------------------------- */

static void arm_find(struct rqlite *db, unsigned ms)
{
    struct timeval tv = {.tv_usec = (suseconds_t)ms * 1000};

    (void)event_add(&db->find.timer, &tv);
}

static void send_probe(struct node *n);
static void end_round(struct rqlite *db);

static void begin_round(struct rqlite *db)
{
    db->find.no_leader = db->find.heard = false;
    db->find.via = NULL;
    for (struct list *l = db->nodes.next; l != &db->nodes; l = l->next)
        node_at(l)->asked = false;
    arm_find(db, 0);
}

static bool probes_under_way(const struct rqlite *db)
{
    for (const struct list *l = db->nodes.next; l != &db->nodes; l = l->next)
        if (LIST_ITEM(l, const struct node, link)->probe) return true;
    return false;
}

static struct node *next_to_ask(struct rqlite *db)
{
    for (struct list *l = db->nodes.next; l != &db->nodes; l = l->next)
        if (!node_at(l)->asked) return node_at(l);
    return NULL;
}

static bool round_over(struct rqlite *db)
{
    return next_to_ask(db) == NULL && !probes_under_way(db);
}

/* The next probe, or the next round. */
static void on_find_timer(evutil_socket_t fd, short what, void *arg)
{
    struct rqlite *db = arg;
    struct node *n;

    (void)fd;
    (void)what;
    if (!db->find.going) return;
    if (round_over(db)) {
        if (list_empty(&db->waiting))
            db->find.going = false;
        else
            begin_round(db);
        return;
    }
    n = next_to_ask(db);
    if (n == NULL) return; /* the last probes' ends are awaited */
    n->asked = true;
    if (n->probe == NULL) send_probe(n);
    if (round_over(db))
        end_round(db);
    else if (next_to_ask(db))
        arm_find(db, STAGGER_MS);
}

static void found(struct rqlite *db, struct node *n, bool leads)
{
    db->target = n;
    db->target_leads = leads;
    db->found_ns = now_ns();
    db->find.going = false;
    event_del(&db->find.timer);
    for (struct list *l = db->nodes.next; l != &db->nodes; l = l->next) {
        struct node *other = node_at(l);

        if (other->probe) net_request_cancel(other->probe);
        other->probe = NULL;
    }
    while (db->target && !list_empty(&db->waiting))
        call_place(LIST_ITEM(db->waiting.next, struct rqlite_call, waiting));
}

/* No node named a leader that can be reached. */
static void end_round(struct rqlite *db)
{
    if (!db->find.going) return;
    if (db->find.via)
        found(db, db->find.via, false);
    else
        arm_find(db, ROUND_MS);
}

static void on_info(struct node *n, const Rqlite__NodeInfo *info)
{
    struct rqlite *db = n->db;
    struct node *leader = NULL;

    if (info->leader_addr[0]) leader = node_for(db, info->leader_addr);
    if (leader && (leader == n || !shunned(leader))) {
        if (db->find.going || leader != db->target)
            found(db, leader, true);
        else
            db->found_ns = now_ns();
        return;
    }
    db->find.heard = true;
    if (info->leader_addr[0])
        db->find.via = n; /* it may reach what we do not */
    else
        db->find.no_leader = true;
}

static void on_probe_done(struct net_request *r, const struct net_result *result)
{
    struct node *n = net_request_user(r);
    struct rqlite *db = n->db;

    n->probe = NULL;
    if (result->reply) {
        n->failed_ns = 0;
        on_info(n, (const Rqlite__NodeInfo *)(const void *)result->reply);
    } else {
        snprintf(db->find.text, sizeof db->find.text, "%.255s", result->why.text);
        if (net_channel_up(n->channel)) { /* it is there, and forwards */
            db->find.heard = true;
            if (result->why.code == ERR_UNSUPPORTED) db->find.via = n;
        } else {
            n->failed_ns = now_ns();
        }
    }
    if (!db->find.going) return;
    if (round_over(db))
        end_round(db);
    else if (next_to_ask(db))
        arm_find(db, 0); /* don't wait for the stagger */
}

static void send_probe(struct node *n)
{
    static const struct net_request_events events = {.on_done = on_probe_done};
    Rqlite__NodeInfoRequest info = RQLITE__NODE_INFO_REQUEST__INIT;
    struct rqlite *db = n->db;
    struct net_request_options o = {.service = &net_service_cluster,
                                    .method = NET_CLUSTER_INFO,
                                    .message = &info.base,
                                    .meta = {.user = db->user,
                                             .password = db->password,
                                             .timeout_ns = PROBE_MS * UINT64_C(1000000)},
                                    .events = &events,
                                    .user = n};
    struct why why = {0};

    if (node_channel(n, &why) || net_request_start(&n->probe, n->channel, &o, &why))
        snprintf(db->find.text, sizeof db->find.text, "%.255s", why.text);
}

/* --- where calls go --------------------------------------------------------------- */

static struct node *any_up(struct rqlite *db)
{
    for (struct list *l = db->nodes.next; l != &db->nodes; l = l->next)
        if (node_at(l)->channel && net_channel_up(node_at(l)->channel)) return node_at(l);
    return NULL;
}

struct node *nodes_pick(struct rqlite *db, bool any)
{
    struct node *n = any ? any_up(db) : NULL;

    if (n == NULL) n = db->target;
    if (n && n == db->target && n->probe == NULL &&
        older_than(db->found_ns, db->target_leads ? CHECK_LEADER_MS : CHECK_OTHER_MS)) {
        db->found_ns = now_ns();
        send_probe(n);
    }
    if (n == NULL && !db->find.going) {
        db->find.going = true;
        begin_round(db);
    }
    return n;
}

void nodes_failed(struct node *n)
{
    struct rqlite *db = n->db;

    if (!net_channel_up(n->channel)) {
        n->failed_ns = now_ns();
        list_remove(&n->link);
        list_push_back(&db->nodes, &n->link);
    }
    if (db->target == n) db->target = NULL;
}
