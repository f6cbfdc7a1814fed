/* SPDX-License-Identifier: MIT */
/*
 * restart: from what a data directory holds to a machine that can step: snapshot store,
 * log and Raft, brought to agree with one another.
 *
 * No threads and no network, so the simulator restarts its nodes by the same code.
 * Owner: whoever opens the node, before its threads start.
 */
#ifndef CORE_NODE_RESTART_H
#define CORE_NODE_RESTART_H

#include "core/node/applier.h"
#include "core/raft/raft.h"
#include "core/snapshot/snapshot.h"
#include "core/wal/wal.h"

struct io;
struct logger;

struct restart_options {
    struct io *io;
    struct logger *logger; /* may be NULL */
    const char *data_dir;  /* the log is <data_dir>/wal, the store <data_dir>/snapshots */
    uint64_t segment_bytes; /* of the log; 0 = its default */
    bool prepare_in_background;
    struct raft_options raft;
};

struct restarted { /* all owned by the caller, who may take them one by one */
    struct snapshot_store *store;
    struct snapshot_meta snapshot; /* the newest, verified; index 0: there is none */
    struct wal *wal;
    struct raft *raft; /* before its first step */
};

/* An error leaves nothing to close.  ERR_CORRUPT for a damaged log or snapshot. */
MUST_USE enum err restart_open(struct restarted *out, const struct restart_options *o,
                               struct why *why);
void restart_close(struct restarted *r); /* what has not been taken; NULLs are skipped */

/* Put the snapshot's content into the database, before the first entry is applied. */
MUST_USE enum err restart_database(struct applier *a, struct snapshot_store *s,
                                   const struct snapshot_meta *m, struct why *why);

#endif
