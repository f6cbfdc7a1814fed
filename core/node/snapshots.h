/* SPDX-License-Identifier: MIT */
/*
 * snapshots: when this node takes one, and when it folds them.
 *
 * The steps are those of images.h, the streams to and from other members those of
 * streams.h.  Here are the thresholds (server.md 9), the calls that ask for one, and the
 * figures.
 *
 * Owner: the node thread, except where noted.
 */
#ifndef CORE_NODE_SNAPSHOTS_H
#define CORE_NODE_SNAPSHOTS_H

#include "core/node/call.h"
#include "core/snapshot/snapshot.h"

struct doc;
struct net_call;
struct node;
struct snapshots;

/* What becomes of options that are 0. */
enum {
    SNAPSHOTS_ENTRIES = 8192,
    SNAPSHOTS_INTERVAL_MS = 120000,
    SNAPSHOTS_WAL_BYTES_MAX = 64
                              << 20 /* of the database's WAL: not at the interval only */
};

/* Takes *store, also on failure.  found: the newest snapshot in it (index 0: none). */
MUST_USE enum err snapshots_new(struct snapshots **out, struct node *n,
                                struct snapshot_store **store,
                                const struct snapshot_meta *found, struct why *why);
/* The node is going to close: what takes long is ended soon.  Any thread. */
void snapshots_hurry(struct snapshots *s);
/* After the threads that work for it have ended: answer the calls that still wait. */
void snapshots_stop(struct snapshots *s);
/* After snapshots_stop(): a last one, so that the next start is quick.  What comes of it
 * is in the log. */
void snapshots_take_last(struct snapshots *s);
/* After snapshots_stop(), and after the server that snapshots_on_install() is called by.
 * NULL is allowed. */
void snapshots_free(struct snapshots *s);

/* Once the node has its database and its member.  Before the threads start. */
MUST_USE enum err snapshots_begin(struct snapshots *s, struct why *why);
struct snapshot_store *snapshots_store(struct snapshots *s);

/* Look whether one is due; call after every turn, it is quick.  */
void snapshots_consider(struct snapshots *s, uint64_t now_ms);
/* When snapshots_consider() wants to be called again; UINT64_MAX = no matter. */
uint64_t snapshots_deadline_ms(const struct snapshots *s);

/* Now one could be taken that could not be before; member_ports.cut. */
void snapshots_cut(struct snapshots *s);

/* POST /snapshot, POST /reap. */
void snapshots_take_for(struct snapshots *s, struct call_snapshot *c);
void snapshots_reap_for(struct snapshots *s, struct call_reap *c);

/* Entries kept before a snapshot that nobody asked for. */
uint64_t snapshots_trailing(const struct node *n);

/* Raft wants a member to get one that reaches at least min_index. */
void snapshots_send(struct snapshots *s, const char *peer, uint64_t min_index);

/* The handler of Raft.InstallSnapshot. */
void snapshots_on_install(struct snapshots *s, struct net_call *c);

/* Adds "snapshot_store".  Any thread. */
void snapshots_status(struct snapshots *s, struct doc *store);

#endif
