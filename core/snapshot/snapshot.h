/* SPDX-License-Identifier: MIT */
/*
 * snapshot: the store of whole-database images, each standing for the log up to an index.
 *
 *   <dir>/<term>-<index>-<ms>/data.sqlite    the database
 *                            /meta           what it stands for, with a CRC of its own
 *   <dir>/<name>.tmp/                        one being made or received
 *
 * A snapshot exists once its directory has its final name: data and meta are synced
 * before the rename, the directories after it.  What a crash leaves behind with .tmp is
 * removed at the next opening.
 *
 * Threads: any; a mutex guards the list of snapshots and the pins that keep one from
 * being removed while it is streamed.
 */
#ifndef CORE_SNAPSHOT_SNAPSHOT_H
#define CORE_SNAPSHOT_SNAPSHOT_H

#include <stdint.h>

#include "core/base/err.h"
#include "core/raft/raft.h" /* struct raft_config */

struct io;
struct logger;
struct snapshot_store;  /* opaque */
struct snapshot_writer; /* opaque */

enum { SNAPSHOT_ID_MAX = 80, SNAPSHOT_STATE_MAX = 512 };

struct snapshot_meta {
    uint64_t index, term;
    uint64_t time_ns;       /* newest time applied (command.proto) */
    uint64_t effect_hash;   /* db: rolling hash at index */
    uint64_t changed_index; /* db: last entry that may have changed the database */
    uint64_t cluster_id;
    uint64_t size;   /* of data.sqlite; filled by snapshot_commit() */
    uint32_t crc32c; /* likewise */
    uint32_t state_len;
    uint8_t state[SNAPSHOT_STATE_MAX]; /* db's replicated connection state, opaque here */
    struct raft_config config;         /* in force at index; owned */
    char id[SNAPSHOT_ID_MAX];
};

void snapshot_meta_fini(struct snapshot_meta *m);
MUST_USE enum err snapshot_meta_copy(struct snapshot_meta *to,
                                     const struct snapshot_meta *from);

/* Open dir, made if absent: read every meta, remove what a crash left.  A snapshot whose
 * meta is bad is logged and set aside; ERR_CORRUPT if that leaves none where there were
 * some, ERR_UNSUPPORTED for a later format, ERR_IO if a meta cannot be read. */
MUST_USE enum err snapshot_store_open(struct snapshot_store **out, struct io *io,
                                      const char *dir, struct logger *logger,
                                      struct why *why);
void snapshot_store_close(struct snapshot_store *s); /* NULL is allowed */

/* The newest one's description into *out (the caller's to fini).  ERR_NOT_FOUND if there
 * is none. */
MUST_USE enum err snapshot_newest(struct snapshot_store *s, struct snapshot_meta *out);

/* Its data file's path, pinned: not removed until snapshot_unpin().  ERR_NOT_FOUND if
 * there is none. */
MUST_USE enum err snapshot_pin(struct snapshot_store *s, struct snapshot_meta *out,
                               char *path, size_t path_size);
void snapshot_unpin(struct snapshot_store *s, const char *id);

/* Compare a snapshot's data with its length and CRC, reading it once.  ERR_CORRUPT. */
MUST_USE enum err snapshot_verify(struct snapshot_store *s, const struct snapshot_meta *m,
                                  struct why *why);

/* Begin one at (index, term); wall_ms goes into its name. */
MUST_USE enum err snapshot_begin(struct snapshot_store *s, struct snapshot_writer **out,
                                 uint64_t index, uint64_t term, uint64_t wall_ms,
                                 struct why *why);
/* Its data: either a finished file that is renamed into place, or pieces in order. */
MUST_USE enum err snapshot_adopt(struct snapshot_writer *w, const char *path,
                                 struct why *why);
MUST_USE enum err snapshot_write(struct snapshot_writer *w, const void *data, size_t len,
                                 struct why *why);
uint64_t snapshot_written(const struct snapshot_writer *w); /* bytes so far */
/* Sync, describe, rename.  m's index and term are those of snapshot_begin(); if m->size
 * is not 0, size and CRC must match (ERR_CORRUPT).  Older snapshots that nobody has
 * pinned are removed.  Ends w either way. */
MUST_USE enum err snapshot_commit(struct snapshot_writer *w,
                                  const struct snapshot_meta *m, struct why *why);
void snapshot_abort(struct snapshot_writer *w); /* NULL is allowed */

/* Remove all but the newest (pinned ones stay).  Returns how many went. */
size_t snapshot_reap(struct snapshot_store *s);

/* Ids, oldest first, each given to each(). */
void snapshot_each(struct snapshot_store *s, void (*each)(const char *id, void *arg),
                   void *arg);

/* Pure: the bytes of a meta file.  NULL when out of memory. */
struct blob *snapshot_meta_encode(const struct snapshot_meta *m);
MUST_USE enum err snapshot_meta_decode(struct snapshot_meta *m, const void *data,
                                       size_t len, struct why *why);

#endif
