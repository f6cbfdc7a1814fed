/* SPDX-License-Identifier: MIT */
/*
 * snapshot: the store of database images, each standing for the log up to an index: one
 * base image plus deltas (design 6.3).
 *
 *   <dir>/manifest                     what the store consists of; replaced atomically
 *        /base-<id>.sqlite             the oldest snapshot: a whole image
 *        /base-<id>.sums-<n>           a CRC32C of each of its pages
 *        /<id>.delta                   pages that changed since the snapshot before
 *        /incoming.*                   one being received; kept over a broken stream
 *
 * An id is <term>-<index>-<ms>.  A snapshot exists from the moment a manifest that lists
 * it has its name: its files are synced before that, the directory after it.  Files that
 * no manifest lists are removed at the next opening.  A newer snapshot's page is the one
 * in the newest delta that has it, else in the base.
 *
 * Folding writes the deltas' pages into the base, in place; the manifest says that it is
 * under way, and the deltas stay until it is over, so that a crash in between is
 * harmless: every page that may be half written is in a delta.
 *
 * Threads: any; a mutex guards the list.  One reader or writer belongs to one thread at a
 * time.  Nothing is folded while a reader is open; files that a base replaces lose their
 * names at once and their bytes when the last reader closes.
 *
 * A step that fails leaves the content of before.  If it cannot be known whether the new
 * manifest would be there after a loss of power, nothing of either state is removed, and
 * whatever changes the store next writes the manifest again first.
 */
#ifndef CORE_SNAPSHOT_SNAPSHOT_H
#define CORE_SNAPSHOT_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/raft/raft.h" /* struct raft_config */

struct blob;
struct io;
struct logger;
struct snapshot_reader; /* opaque */
struct snapshot_store;  /* opaque */
struct snapshot_writer; /* opaque */

enum {
    SNAPSHOT_ID_MAX = 80,
    SNAPSHOT_STATE_MAX = 512,
    SNAPSHOT_MARKER_MAX = 512,
    SNAPSHOT_PAGE = 4096, /* bytes; the only page size our databases have */
    /* The page that SQLite never uses, where its locks are (1 GiB into the file); it may
     * be left out of what is put, and reads as zeros then. */
    SNAPSHOT_LOCK_PAGE = 262145,
    SNAPSHOT_EXTRA_MAX = 64 << 20,
    SNAPSHOT_FOLD_AT = 4 /* deltas that are worth folding (server.md 9) */
};

struct snapshot_meta {
    uint64_t index, term;
    uint64_t time_ns;       /* newest time applied (command.proto) */
    uint64_t effect_hash;   /* db: rolling hash at index */
    uint64_t changed_index; /* db: last entry that may have changed the database */
    uint64_t cluster_id;
    uint32_t pages; /* of the database; 0: there is nothing in it */
    uint32_t state_len;
    uint8_t state[SNAPSHOT_STATE_MAX]; /* db's replicated connection state, opaque here */
    struct blob *extra;        /* replicated state beside the database, opaque here; one
                                  reference; NULL = none */
    struct raft_config config; /* in force at index; owned */
    char id[SNAPSHOT_ID_MAX];  /* set by snapshot_begin_*() and by decoding */
};

void snapshot_meta_init(struct snapshot_meta *m);
void snapshot_meta_fini(struct snapshot_meta *m);
/* *to is initialised here; nothing is in it on an error.  ERR_NOMEM. */
MUST_USE enum err snapshot_meta_copy(struct snapshot_meta *to,
                                     const struct snapshot_meta *from);
/* Pure: the bytes that go into the manifest and to other nodes; a version in front, a CRC
 * behind.  NULL when out of memory, or if extra is over its limit.  Decoding:
 * ERR_CORRUPT, ERR_UNSUPPORTED for a later version, ERR_NOMEM; *m has been initialised,
 * and is unchanged on an error. */
struct blob *snapshot_meta_encode(const struct snapshot_meta *m);
MUST_USE enum err snapshot_meta_decode(struct snapshot_meta *m, const void *data,
                                       size_t len, struct why *why);

/* --- the store ---------------------------------------------------------------------- */

/* Open dir, made if absent: read the manifest, remove what a crash left, check that every
 * file that is listed has its length.  ERR_CORRUPT and ERR_IO name the file and what can
 * be done; ERR_UNSUPPORTED for a later format, or for the one of whole images that older
 * builds wrote. */
MUST_USE enum err snapshot_store_open(struct snapshot_store **out, struct io *io,
                                      const char *dir, struct logger *logger,
                                      struct why *why);
/* NULL is allowed.  After every reader and writer of it. */
void snapshot_store_close(struct snapshot_store *s);

/* The newest one's description into *out (initialised here, the caller's to fini).
 * ERR_NOT_FOUND if there is none. */
MUST_USE enum err snapshot_newest(struct snapshot_store *s, struct snapshot_meta *out);

struct snapshot_stats {
    size_t snapshots, deltas;
    uint64_t bytes;                               /* of all files */
    uint64_t delta_bytes;                         /* of these, deltas */
    uint64_t folds, folded_deltas, written_bytes; /* since opening */
};
void snapshot_stats(struct snapshot_store *s, struct snapshot_stats *out);

/* Ids, oldest first, each given to each(). */
void snapshot_each(struct snapshot_store *s, void (*each)(const char *id, void *arg),
                   void *arg);

/* --- the marker --------------------------------------------------------------------- */

/*
 * A few bytes that the owner keeps with the newest snapshot: how to recognise a live
 * database file that holds exactly this snapshot's pages.  They become valid in the same
 * atomic step as their snapshot, and end with the next one.
 */
/* Of the newest snapshot: copies up to SNAPSHOT_MARKER_MAX bytes, returns how many; 0 =
 * none. */
size_t snapshot_marker(struct snapshot_store *s, uint8_t out[SNAPSHOT_MARKER_MAX]);
/* Replace it (len 0: remove it), if the newest snapshot's index is still index; ERR_STALE
 * if not.  Durable when it returns. */
MUST_USE enum err snapshot_set_marker(struct snapshot_store *s, uint64_t index,
                                      const void *data, size_t len, struct why *why);

/* --- writing ------------------------------------------------------------------------ */

/* Each begins one described by m (index, term, time, hashes, pages, state, extra, config;
 * copied, its id is made from wall_ms).  At most one writer at a time, and a fold is one,
 * too: ERR_BUSY.  ERR_STALE if the newest snapshot's index is above m's.  (It may be the
 * same: a node that is given another configuration by hand has no other index for it.) */

/* A whole image, which will be the only snapshot. */
MUST_USE enum err snapshot_begin_base(struct snapshot_store *s,
                                      struct snapshot_writer **out,
                                      const struct snapshot_meta *m, uint64_t wall_ms,
                                      struct why *why);
/* Only what changed since the newest snapshot; ERR_NOT_FOUND if there is none. */
MUST_USE enum err snapshot_begin_delta(struct snapshot_store *s,
                                       struct snapshot_writer **out,
                                       const struct snapshot_meta *m, uint64_t wall_ms,
                                       struct why *why);
/* n consecutive pages from first (1-based) on.  Page numbers only grow; a base gets every
 * page from 1 to m->pages, a delta at least those beyond the end of the snapshot before:
 * ERR_INVALID, here or from the commit.  Buffered: does not sync. */
MUST_USE enum err snapshot_put(struct snapshot_writer *w, uint32_t first, uint32_t n,
                               const void *data, struct why *why);
/* To be kept with it, see above; before the commit. */
void snapshot_put_marker(struct snapshot_writer *w, const void *data, size_t len);
/* Sync, list.  Ends w either way. */
MUST_USE enum err snapshot_commit(struct snapshot_writer *w, struct why *why);
void snapshot_abort(struct snapshot_writer *w);               /* NULL is allowed */
uint64_t snapshot_put_bytes(const struct snapshot_writer *w); /* so far */

/*
 * Receive a whole image from another node.  m comes from there, its id with it.  If what
 * is left of an earlier attempt is of the same snapshot (the bytes of the description are
 * equal), it goes on: *have = pages that are here already and need not be sent again
 * (their CRCs were checked).  snapshot_put() then goes on at page *have + 1.  ERR_STALE
 * if the newest snapshot's index is not below m's; ERR_INVALID for an id that cannot be
 * one.
 */
MUST_USE enum err snapshot_begin_incoming(struct snapshot_store *s,
                                          struct snapshot_writer **out,
                                          const struct snapshot_meta *m, uint32_t *have,
                                          struct why *why);
/* The stream broke: like snapshot_abort(), but keep what is here for the next attempt,
 * unless there is no room for more: others need that. */
void snapshot_suspend(struct snapshot_writer *w);

/* --- reading ------------------------------------------------------------------------ */

/* The newest snapshot as one image; it stays as it is while the reader is open, whatever
 * is taken or folded meanwhile.  ERR_NOT_FOUND if there is none. */
MUST_USE enum err snapshot_reader_open(struct snapshot_store *s,
                                       struct snapshot_reader **out, struct why *why);
const struct snapshot_meta *snapshot_reader_meta(const struct snapshot_reader *r);
/* n pages from first (1-based) on into out, each compared with its CRC: ERR_CORRUPT names
 * file and page. */
MUST_USE enum err snapshot_read(struct snapshot_reader *r, uint32_t first, uint32_t n,
                                void *out, struct why *why);
/* Is this the content of that page?  By its CRC, without reading it. */
bool snapshot_same_page(const struct snapshot_reader *r, uint32_t page, const void *data);
void snapshot_reader_close(struct snapshot_reader *r); /* NULL is allowed */

/* --- folding ------------------------------------------------------------------------ */

/* Fold every delta into the base; takes as long as the disk does, so not on a thread that
 * has something to do.  *folded (may be NULL): how many.  ERR_OK with 0 if there was
 * none, ERR_BUSY if a reader or a writer is open.  A reader may be opened while it works.
 */
MUST_USE enum err snapshot_fold(struct snapshot_store *s, size_t *folded,
                                struct why *why);

#endif
