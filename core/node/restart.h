/* SPDX-License-Identifier: MIT */
/*
 * restart: from what a data directory holds to a machine that can step: snapshot store,
 * log and Raft, brought to agree with one another, and a database that is the newest
 * snapshot.
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
    struct snapshot_meta snapshot; /* the newest; index 0: there is none */
    struct wal *wal;
    struct raft *raft; /* before its first step */
};

/* An error leaves nothing to close.  ERR_CORRUPT for a damaged log or store. */
MUST_USE enum err restart_open(struct restarted *out, const struct restart_options *o,
                               struct why *why);
void restart_close(struct restarted *r); /* what has not been taken; NULLs are skipped */

struct restarted_database { /* both owned by the caller, also after an error */
    struct db *db;
    struct applier *applier; /* at the snapshot's index */
    bool reused;             /* the file was that snapshot already */
    bool rebuilt;            /* it was made from the snapshot */
};

/*
 * A database that is the snapshot m (empty if its index is 0), before the first entry is
 * applied.  On disk a file that the store's marker vouches for is used as it is; either
 * way the marker afterwards says no more than that this machine has not been off since.
 * ERR_CORRUPT: the snapshot cannot be read.  id: of the node, for the log.
 */
MUST_USE enum err restart_database(struct restarted_database *out,
                                   const struct db_options *o, struct snapshot_store *s,
                                   const struct snapshot_meta *m, const char *id,
                                   struct why *why);

#endif
