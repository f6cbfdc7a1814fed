/* SPDX-License-Identifier: MIT */
/*
 * figures: numbers for /metrics that have no place in /status.
 */
#include "core/base/doc.h"
#include "core/net/net.h"
#include "core/node/internal.h"
#include "core/node/peers.h"

static void add_peer(struct node *n, struct doc *list, const struct node_peer *p)
{
    struct doc *d = doc_add_object(list, NULL);
    uint64_t last = raft_last_index(n->raft);

    doc_add_text(d, "id", p->id);
    doc_add_uint(d, "match_index", p->match);
    doc_add_uint(d, "lag", last > p->match ? last - p->match : 0);
    doc_add_bool(d, "connected", n->peers && peers_up(n->peers, p->id));
    if (p->silent_ms != UINT64_MAX)
        doc_add_real(d, "silent_seconds", (double)p->silent_ms / 1e3);
}

/* The Raft port. */
static void add_net(struct node *n, struct doc *into)
{
    struct net_stats s;

    if (!n->net) return;
    net_stats(n->net, &s);
    doc_add_uint(into, "connections", s.connections);
    doc_add_uint(into, "accepted", s.accepted);
    doc_add_uint(into, "dialed", s.dialed);
    doc_add_uint(into, "dial_failed", s.dial_failed);
    doc_add_uint(into, "lost", s.lost);
    doc_add_uint(into, "bytes_in", s.bytes_in);
    doc_add_uint(into, "bytes_out", s.bytes_out);
    doc_add_uint(into, "calls_in", s.calls_in);
    doc_add_uint(into, "calls_out", s.calls_out);
    doc_add_uint(into, "calls_failed", s.calls_failed);
    doc_add_uint(into, "queued_bytes", s.queued_bytes);
}

struct peer_list {
    struct node *node;
    struct doc *into;
};

static void each_peer(void *arg, const struct node_peer *p)
{
    struct peer_list *l = arg;

    add_peer(l->node, l->into, p);
}

void figures_from_node(struct node *n, struct doc *store)
{
    struct doc *d = doc_add_object(store, "figures");
    bool leader = raft_role(n->raft) == RAFT_LEADER;
    uint64_t heard_ms = raft_last_contact_ms(n->raft), now_ms = node_now_ms(n);
    struct peer_list peers = {n, doc_add_array(d, "peers")};
    struct readers_stats rs;

    if (leader) node_each_peer(n, each_peer, &peers);
    doc_add_bool(d, "leader_known", raft_leader(n->raft)[0] != '\0');
    if (leader)
        doc_add_real(d, "last_contact_seconds", 0);
    else if (heard_ms != 0)
        doc_add_real(d, "last_contact_seconds",
                     now_ms > heard_ms ? (double)(now_ms - heard_ms) / 1e3 : 0);
    doc_add_real(d, "apply_lag_seconds", (double)atomic_load(&n->lag_ns) / 1e9);
    add_net(n, doc_add_object(d, "net"));
    readers_stats(n->readers, &rs);
    doc_add_uint(d, "readers", rs.threads);
    doc_add_uint(d, "readers_busy", rs.busy);
    doc_add_uint(d, "reads_queued", rs.queued);
    doc_add_uint(d, "read_waits", rs.waits);
    doc_add_real(d, "read_wait_seconds", (double)rs.waited_ns / 1e9);
}
