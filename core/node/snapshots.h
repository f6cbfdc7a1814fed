/* SPDX-License-Identifier: MIT */
/*
 * snapshots: when this node takes one, and how one travels to a member whose log is too
 * far behind.
 *
 * The steps are those of images.h.  Here are the thresholds, the calls that ask for one,
 * and the streams, which are of class NET_BULK, so that they never delay a heartbeat.
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

/* Takes *store, also on failure.  found: the newest snapshot in it (index 0: none). */
MUST_USE enum err snapshots_new(struct snapshots **out, struct node *n,
                                struct snapshot_store **store,
                                const struct snapshot_meta *found, struct why *why);
/* After the threads that work for it have ended: answer the calls that still wait. */
void snapshots_stop(struct snapshots *s);
/* After snapshots_stop(), and after the server that snapshots_on_install() is called by.
 * NULL is allowed. */
void snapshots_free(struct snapshots *s);

/* Put the snapshot's content into the node's database.  Before the threads start. */
MUST_USE enum err snapshots_restore(struct snapshots *s, const struct snapshot_meta *m,
                                    struct why *why);

/* Once the node has its member.  Before the threads start. */
MUST_USE enum err snapshots_begin(struct snapshots *s, struct why *why);

/* Look whether one is due; call after every turn, it is quick.  */
void snapshots_consider(struct snapshots *s, uint64_t now_ms);
/* When snapshots_consider() wants to be called again; UINT64_MAX = no matter. */
uint64_t snapshots_deadline_ms(const struct snapshots *s);

/* POST /snapshot. */
void snapshots_take_for(struct snapshots *s, struct call_snapshot *c);
/* POST /reap.  Any thread. */
void snapshots_reap(struct snapshots *s, struct call_reap *c);

/* Raft wants a member to get one that reaches at least min_index. */
void snapshots_send(struct snapshots *s, const char *peer, uint64_t min_index);

/* The handler of Raft.InstallSnapshot. */
void snapshots_on_install(struct snapshots *s, struct net_call *c);

/* Adds "snapshot_store".  Any thread. */
void snapshots_status(struct snapshots *s, struct doc *store);

#endif
