/* SPDX-License-Identifier: MIT */
/*
 * wal: the durable Raft log of one node.
 *
 * Segment files of records, zero-filled ahead of use, so that a sync is one rewrite of
 * blocks the file already has; term and vote are records in the same stream, so one sync
 * makes them and the entries durable.  The byte layout is drawn at the top of segment.c.
 *
 * Owner: the wal thread, for everything but the stats.  Nothing here locks; the thread
 * that zero-fills the next segment is this module's own affair and can be turned off.
 *
 * Durability: wal_append() and its like only put bytes into this module's write buffer or
 * the kernel.  Nothing in them may be promised to a peer until wal_sync() has returned
 * ERR_OK.  After a failed write or sync nobody knows what the disk holds: the kernel may
 * have dropped the dirty pages and would call the next sync clean.  So it ends this wal:
 * every later call is ERR_IO and the node stops.  The same goes for ERR_NO_SPACE and
 * ERR_NOMEM from a call that records.
 */
#ifndef CORE_WAL_WAL_H
#define CORE_WAL_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/raft/raft.h" /* struct raft_entry, RAFT_ID_MAX */

struct io; /* real files, or the simulator's faulty disk */
struct clock;
struct logger;
struct metrics;
struct wal; /* opaque */

struct wal_options {
    struct io *io;
    struct logger *logger;  /* may be NULL */
    const char *dir;        /* made if absent */
    uint64_t segment_bytes; /* 0 = 16 MiB; an entry larger than a segment gets one of its
                               own size */
    size_t compress_above;  /* payloads of at least this many bytes are zlib-compressed
                               when that helps; 0 = never */
    uint8_t plain_type;     /* but not those of entries of this type; 0 = no exception */
    bool prepare_in_background; /* zero-fill the next segment on a thread of its own */
};

struct wal_found { /* for a directory never used: all zero but first, which is 1 */
    uint64_t term;
    char vote[RAFT_ID_MAX + 1];
    uint64_t first, last; /* entries held; first = last + 1 when there are none */
    uint64_t
        before_term;    /* term of the entry before first (a snapshot's), 0 if unknown */
    bool used;          /* the directory held a log before */
    uint64_t cut_bytes; /* bytes of a torn tail that were cut off */
};

/*
 * Open the log, creating it if the directory is empty, and recover it.  each() is called
 * for every entry, in order (an entry overwritten by a later truncation is not shown);
 * the payload is the callee's to reference; an error it returns ends the opening with
 * that error.
 *
 * The last batch, everything written by one sync, may have been torn by a crash: from its
 * first bad record on it is cut off, which is logged, and what remains of it is written
 * again and synced, not only read.  Anything bad before that was known to be synced:
 * ERR_CORRUPT, no file has been changed, and the text names file and offset and what can
 * be done.  A missing segment and a file cut short are ERR_CORRUPT, too; a newer format
 * is ERR_UNSUPPORTED.
 *
 * On ERR_OK the caller owns *out and ends it with wal_close().
 */
MUST_USE enum err
wal_open(struct wal **out, const struct wal_options *o, struct wal_found *found,
         enum err (*each)(const struct raft_entry *e, void *arg, struct why *why),
         void *arg, struct why *why);

/* Close every file and free w; NULL is allowed.  Does not sync: what was not synced may
 * be lost. When all was, the file says so afterwards, and recovery will vouch for the
 * last batch, too. */
void wal_close(struct wal *w);

/* Append n entries after the last; they are copied, so the caller keeps its own.
 * ERR_INVALID if the first does not follow the last. */
MUST_USE enum err wal_append(struct wal *w, const struct raft_entry *entries, size_t n,
                             struct why *why);

/* Record term and vote ("" = none). */
MUST_USE enum err wal_save_hard(struct wal *w, uint64_t term, const char *vote,
                                struct why *why);

/* Entries >= from are gone (a conflict with the leader's log). */
MUST_USE enum err wal_truncate_from(struct wal *w, uint64_t from, struct why *why);

/* The whole log is gone; the next entry is index + 1, after (index, term), which a
 * snapshot holds. */
MUST_USE enum err wal_reset(struct wal *w, uint64_t index, uint64_t term,
                            struct why *why);

/* Entries < index are no longer needed (a durable snapshot holds them): deletes whole
 * segments, now or, when something is yet to be synced, in the next wal_sync(). */
MUST_USE enum err wal_drop_before(struct wal *w, uint64_t index, struct why *why);

/* Make everything recorded so far durable: one write, one fdatasync. */
MUST_USE enum err wal_sync(struct wal *w, struct why *why);

/* Read the entries from .. to, both included, or up to the last: as many as fit in
 * max_bytes of payload, and at least one.  Synced or not.  ERR_NOT_FOUND if from is not
 * in the log, ERR_CORRUPT if what is read is bad; neither ends the wal.  An error of
 * each() ends the reading with that error. */
MUST_USE enum err wal_read(struct wal *w, uint64_t from, uint64_t to, size_t max_bytes,
                           enum err (*each)(const struct raft_entry *e, void *arg,
                                            struct why *why),
                           void *arg, struct why *why);

/* First entry held (last + 1 when empty), last one, synced or not; 0 if there never was
 * one. */
uint64_t wal_first(const struct wal *w);
uint64_t wal_last(const struct wal *w);

struct wal_stats {
    uint64_t bytes, segments, syncs, appends, written_bytes; /* bytes: on disk */
};
void wal_stats(const struct wal *w,
               struct wal_stats *out); /* any thread; values may lag */

/* From now on every sync that had something to write is timed (TIMER_wal_sync). */
void wal_time_syncs(struct wal *w, struct metrics *m, const struct clock *clock);

/* --- pure parts, for tests and the fuzzer ----------------------------------------- */

/* Scan one segment's bytes: what a recovery would make of it.  Never reads past len,
 * allocates at most in proportion to len. */
struct wal_scan {
    uint64_t entries, valid_bytes;
    bool torn, corrupt;
    uint64_t bad_offset;
};
MUST_USE enum err wal_scan_segment(const void *data, size_t len, struct wal_scan *out,
                                   struct why *why);

#endif
