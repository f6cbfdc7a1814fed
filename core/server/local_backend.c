/* SPDX-License-Identifier: MIT */
#include "core/server/local_backend.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "core/base/doc.h"
#include "core/cluster/cluster.h"
#include "core/cluster/membership.h"
#include "core/node/node.h"
#include "gateway/backend.h"

struct local_backend {
    struct backend backend;
    _Atomic(struct node *) node; /* NULL = not open */
    struct cluster *cluster;     /* set before node */
    void (*add_status)(void *arg, struct doc *root);
    void *arg;
};

static struct node *node_of(struct backend *b)
{
    return atomic_load(&((struct local_backend *)b)->node);
}

static struct cluster *cluster_of(struct backend *b)
{
    return ((struct local_backend *)b)->cluster;
}

static void not_open(struct call *c, const char *text)
{
    (void)why_set(&c->why, ERR_NOT_OPEN, "%s", text);
    c->top_level = true;
    c->done(c);
}

static void do_execute(struct backend *b, struct call_execute *c)
{
    struct node *n = node_of(b);

    if (n) {
        cluster_execute(cluster_of(b), c);
        return;
    }
    blob_unref(c->request);
    c->request = NULL;
    not_open(&c->call, "store not open");
}

/* The calls that only need to know whether there is a node: some are this one's alone. */
#define PASS(name, to)                                                                   \
    static void do_##name(struct backend *b, struct call_##name *c)                      \
    {                                                                                    \
        if (node_of(b))                                                                  \
            to;                                                                          \
        else                                                                             \
            not_open(&c->call, "store not open");                                        \
    }
PASS(query, cluster_query(cluster_of(b), c))
PASS(load, cluster_load(cluster_of(b), c))
PASS(backup, cluster_backup(cluster_of(b), c))
PASS(remove, cluster_remove(cluster_of(b), c))
PASS(step_down, cluster_step_down(cluster_of(b), c))
PASS(analyze, node_analyze(node_of(b), c))
PASS(snapshot, node_snapshot(node_of(b), c))
PASS(reap, node_reap(node_of(b), c))
#undef PASS

static void do_request(struct backend *b, struct call_query *c)
{
    struct node *n = node_of(b);

    if (n)
        cluster_request(cluster_of(b), c);
    else
        not_open(&c->call, "store not open");
}

static void do_nodes(struct backend *b, struct call_nodes *c)
{
    struct node *n = node_of(b);

    if (n)
        cluster_nodes(cluster_of(b), c);
    else
        not_open(&c->call,
                 c->leader_only ? "leader not found" : "store nodes: store not open");
}

static void do_ready(struct backend *b, struct call_ready *c)
{
    struct node *n = node_of(b);

    if (n) {
        cluster_ready(cluster_of(b), c);
        return;
    }
    c->stage = c->call.no_leader ? READY_OK : READY_NO_LEADER;
    c->call.done(&c->call);
}

static void do_status(struct backend *b, struct call_status *c)
{
    struct local_backend *l = (struct local_backend *)b;
    struct node *n = node_of(b);

    l->add_status(l->arg, c->into);
    if (n) {
        cluster_status(cluster_of(b), c);
        return;
    }
    doc_add_bool(doc_add_object(c->into, "store"), "open", false);
    c->call.done(&c->call);
}

static void do_boot(struct backend *b, struct call_boot *c)
{
    struct node *n = node_of(b);

    if (n)
        node_boot(n, c);
    else
        not_open(&c->call, "store not open");
}

static void do_join(struct backend *b, struct call_join *c)
{
    if (node_of(b))
        cluster_join(((struct local_backend *)b)->cluster, c);
    else
        not_open(&c->call, "store not open");
}

static bool do_disallowed(struct backend *b, const char *sql, size_t len)
{
    (void)b;
    return db_text_disallowed(sql, len);
}

static bool do_has_leader(struct backend *b)
{
    struct node *n = node_of(b);

    return n && node_has_leader(n);
}

static const struct backend_ops ops = {
    .execute = do_execute,
    .query = do_query,
    .request = do_request,
    .analyze = do_analyze,
    .load = do_load,
    .boot = do_boot,
    .backup = do_backup,
    .nodes = do_nodes,
    .ready = do_ready,
    .remove = do_remove,
    .step_down = do_step_down,
    .snapshot = do_snapshot,
    .reap = do_reap,
    .status = do_status,
    .join = do_join,
    .disallowed = do_disallowed,
    .has_leader = do_has_leader,
};

enum err local_backend_new(struct local_backend **out,
                           void (*add_status)(void *arg, struct doc *root), void *arg)
{
    struct local_backend *l = calloc(1, sizeof *l);

    if (l == NULL) return ERR_NOMEM;
    l->backend.ops = &ops;
    l->add_status = add_status;
    l->arg = arg;
    *out = l;
    return ERR_OK;
}

void local_backend_free(struct local_backend *b)
{
    free(b);
}

struct backend *local_backend_get(struct local_backend *b)
{
    return &b->backend;
}

void local_backend_attach(struct local_backend *b, struct node *n, struct cluster *cl)
{
    b->cluster = cl;
    atomic_store(&b->node, n);
}
