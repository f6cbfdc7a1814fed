/* SPDX-License-Identifier: MIT */
/*
 * node: one member of a cluster: raft + wal + db, and the threads they run on (design 4).
 *
 * node_open() recovers what is on disk; node_start() starts the threads; calls may come
 * from any thread from then until node_stop().  Many nodes fit in one process.
 */
#ifndef CORE_NODE_NODE_H
#define CORE_NODE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/node/call.h"

struct clock;
struct doc;
struct io;
struct logger;
struct metrics;
struct node; /* opaque */
struct raft_config;
struct tls;

struct node_options {
    const char *id;        /* this node's ID in the cluster */
    const char *data_dir;  /* must exist */
    const char *raft_addr; /* advertised */
    const char *raft_bind; /* listen here for other nodes; NULL: talk to nobody (tests) */
    int raft_fd;         /* a socket bound there already; stays the caller's.  0 = none */
    struct tls *tls;     /* for all of that port, and when dialling; NULL = clear text */
    uint32_t connect_ms; /* dialling other nodes; 0 = 30 s */
    const char *http_addr; /* advertised host:port */
    bool https;            /* the HTTP port speaks TLS */
    const char *version;
    bool non_voter;

    bool on_disk;
    const char *on_disk_path; /* NULL: <data_dir>/db.sqlite */
    bool foreign_keys;
    const char *const *extensions; /* files already copied below data_dir */
    size_t n_extensions;
    unsigned readers;     /* threads kept for reads; 0 = usable cores */
    unsigned max_readers; /* most that run at once when they are slow; 0 = 256 */

    uint32_t heartbeat_ms, election_ms, lease_ms, commit_ms, apply_timeout_ms;
    uint64_t snapshot_entries;                /* -raft-snap */
    uint64_t snapshot_interval_ns;            /* -raft-snap-int */
    uint64_t snapshot_wal_bytes;              /* -raft-snap-wal-size */
    bool compress_snapshots;                  /* sent to other nodes */
    int64_t auto_vacuum_ns, auto_optimize_ns; /* periods; 0 = off (maintenance.h) */
    bool shutdown_on_remove;
    int64_t reap_ns, reap_read_only_ns; /* for /status; core/cluster does it */
    const char *raft_log_level;

    const struct clock *clock;
    struct io *io;
    struct logger *logger;
    struct metrics *metrics;

    /* The node met an error after which it must not serve (failed fsync, an entry that
     * could not be applied): called once, from any of its threads, after it has stopped
     * answering.  The process should end. */
    void (*on_fatal)(void *arg, const struct why *why);
    void *on_fatal_arg;
};

/*
 * Recover log and identity from data_dir and open the database: it is the newest
 * snapshot, and the log is replayed into it once the threads run.  ERR_CORRUPT for a
 * damaged log, ERR_INVALID for a directory that is not ours.  On ERR_OK the caller owns
 * *out.
 */
MUST_USE enum err node_open(struct node **out, const struct node_options *o,
                            struct why *why);

/* Instead of node_open(), before it: make c the configuration of this node, keeping all
 * data.  For a cluster that cannot change it any more (recover.c).  ERR_NOT_FOUND: there
 * is no data. */
MUST_USE enum err node_recover(const struct node_options *o, const struct raft_config *c,
                               struct why *why);

/* Does the log or a snapshot hold a configuration, i.e. has this node been part of a
 * cluster? */
bool node_has_peers(const struct node *n);

/* --- for core/cluster ------------------------------------------------------------- */

struct event_base;
struct net;
struct net_server;

/* The node thread's event loop and endpoint; NULL without raft_bind.  Services are added
 * to the server before node_start(); everything on them happens on the node thread, see
 * core/net. */
struct event_base *node_base(struct node *n);
struct net *node_net(struct node *n);
struct net_server *node_server(struct node *n);

/* A directory for files that need not outlive the process; it exists. */
const char *node_scratch_dir(const struct node *n);

/* Any thread: have deliver(m, n) run on the node thread.  False when the node is closing:
 * the mail stays the caller's. */
bool node_post(struct node *n, struct mail *m,
               void (*deliver)(struct mail *m, void *node));

/* Any thread: false for a read replica (-raft-non-voter). */
bool node_wants_to_vote(const struct node *n);

/* Any thread: the leader's id and Raft address, "" if unknown.  True if it is known. */
bool node_leader(struct node *n, char *id, size_t id_size, char *addr, size_t addr_size);

/* Any thread: a copy of the configuration in force here (n 0: none), committed or not.
 * The caller ends it with raft_config_fini(). */
MUST_USE enum err node_members(struct node *n, struct raft_config *out);

/* Any thread: progress as this node knows it. */
struct node_progress {
    uint64_t term, commit_index, applied_index, last_index, cluster_id, effect_hash;
    bool leader, voter, caught_up;
};
void node_progress(struct node *n, struct node_progress *out);

/* A change of membership on the leader; waits until others are done, and is ended when
 * it is committed and applied here.  Errors: ERR_NOT_LEADER, ERR_NOT_FOUND, ERR_EXISTS,
 * ERR_INVALID (no voter would be left), ERR_TOO_BIG, ERR_TIMEOUT.  Any thread. */
void node_change(struct node *n, struct call_change *c);

/* Found a cluster of these members, this node among them (bootstrap-expect).  cluster_id
 * must be the same on every one that does so; 0 draws one.  Blocks until it is in the
 * log; not on the node thread.  ERR_EXISTS: there is a log, or the node belongs to
 * another cluster already. */
MUST_USE enum err node_bootstrap_as(struct node *n, const struct raft_config *c,
                                    uint64_t cluster_id, struct why *why);

/* What a leader knows of another member. */
struct node_peer {
    const char *id, *addr;
    bool voter;
    uint64_t match;     /* its log agrees up to here, on its disk */
    uint64_t silent_ms; /* since it was heard; UINT64_MAX = never in this term */
};
/* On the leader, every other member; elsewhere none.  Node thread. */
void node_each_peer(struct node *n, void (*each)(void *arg, const struct node_peer *p),
                    void *arg);

/* Any thread: this node is about to join a cluster; until that is over /readyz says that
 * it is not ready. */
void node_set_joining(struct node *n, bool joining);

/* --- starting --------------------------------------------------------------------- */

/* Start the threads.  A node that is its cluster's only voter elects itself at once. */
MUST_USE enum err node_start(struct node *n, struct why *why);

/* Make a new single-node cluster of this node.  Blocks until the configuration is in the
 * log.  ERR_EXISTS if there is one. */
MUST_USE enum err node_bootstrap(struct node *n, struct why *why);

/* Block until a leader is known and, on the leader, everything committed before is
 * applied; or timeout_ms has passed (false).  For start-up messages and tests. */
bool node_wait_ready(struct node *n, unsigned timeout_ms);

/* Refuse new calls, end those under way, make the log durable, join the threads, take a
 * last snapshot if that is quick.  Blocks.
 * Safe to call twice. */
void node_stop(struct node *n);
void node_free(struct node *n); /* NULL is allowed; stops first */

/* --- calls: any thread; see call.h ------------------------------------------------ */
void node_execute(struct node *n, struct call_execute *c);
void node_query(struct node *n, struct call_query *c);
void node_request(struct node *n, struct call_query *c);
void node_analyze(struct node *n, struct call_analyze *c);
void node_load(struct node *n, struct call_load *c);
/* Fill a cluster of one with a SQLite file: through the log, then a snapshot.  ERR_STALE
 * "not leader", ERR_EXISTS "not single-node". */
void node_boot(struct node *n, struct call_boot *c);
void node_backup(struct node *n, struct call_backup *c);
void node_nodes(struct node *n, struct call_nodes *c);
void node_ready(struct node *n, struct call_ready *c);
void node_remove(struct node *n, struct call_remove *c);
void node_step_down(struct node *n, struct call_step_down *c);
void node_snapshot(struct node *n, struct call_snapshot *c);
void node_reap(struct node *n, struct call_reap *c);
void node_status(struct node *n, struct call_status *c); /* adds "store" */
bool node_has_leader(const struct node *n);
bool node_is_leader(const struct node *n);

#endif
