/* SPDX-License-Identifier: MIT */
/*
 * snapshot: a database as pages, out and in: what changed since the last time, the whole,
 * and a database made from such pages; with the connection state that decides what later
 * entries do (design 6.2, 6.3).
 *
 * Which pages changed is known from the WAL.  On disk it is copied back into the main
 * file only here, so that between two captures the main file is what the earlier one
 * left.
 */
#ifndef CORE_DB_SNAPSHOT_H
#define CORE_DB_SNAPSHOT_H

#include "core/db/db.h"

enum { DB_STATE_MAX = 512, DB_PAGE = 4096, DB_FINGERPRINT_MAX = 256 };

struct db_state {
    uint64_t index; /* of the last entry applied */
    uint64_t effect_hash;
    uint64_t changed_index;
    uint32_t pages; /* of the database */
    uint32_t len;
    uint8_t bytes[DB_STATE_MAX]; /* version, last_insert_rowid, replicated PRAGMAs */
};

/* --- out: apply thread -------------------------------------------------------------- */

/* Receives pages in ascending order, n consecutive ones from first (1-based) on. */
typedef enum err (*db_put_pages)(void *arg, uint32_t first, uint32_t n, const void *data,
                                 struct why *why);

/*
 * End the shared transaction and say what state this is, and how many pages changed since
 * the last db_capture() or db_captured() (UINT32_MAX: not known, all of them).  ERR_BUSY
 * while temporary objects of a request are kept, which no image can hold: try again right
 * after the entry at db_session_ends(), after db_session_end().
 */
MUST_USE enum err db_capture_begin(struct db *d, struct db_state *state,
                                   uint32_t *changed, struct why *why);

/* Entry that is the last to see the temporary objects there are; 0 = there are none. */
uint64_t db_session_ends(const struct db *d);
/* They end now: after that entry, or if none follows.  An error is this node's end. */
MUST_USE enum err db_session_end(struct db *d, struct why *why);

/* After db_capture_begin(), nothing applied in between, and only if the number was known:
 * give each changed page to put(), as it is now.  Counting starts anew only with
 * db_captured(). */
MUST_USE enum err db_capture(struct db *d, db_put_pages put, void *arg, struct why *why);

/* The state of db_capture_begin() has been given away, by db_capture() or as a whole by
 * the reader of db_snapshot_pin(): count changes from there on. */
void db_captured(struct db *d);

/* Instead of db_capture(): pin a reader to the state as it is now; db_reader_pages() on
 * it, on any thread, gives exactly this state however much is applied meanwhile.  The
 * caller closes the reader. */
MUST_USE enum err db_snapshot_pin(struct db *d, struct db_reader **out, struct why *why);
/* Every page of the database as this reader sees it.  The reader's thread. */
MUST_USE enum err db_reader_pages(struct db_reader *r, db_put_pages put, void *arg,
                                  struct why *why);

/*
 * On disk, right after db_capture(): copy the WAL back into the main file and start it
 * over.  *complete: the main file now holds exactly this state and nothing of the WAL is
 * needed; false if a reader (perhaps of another program) was in the way, which is no
 * error: what is left is copied another time.  In memory: the same, for its memory.
 * sync: also make the main file durable.
 */
MUST_USE enum err db_write_back(struct db *d, bool sync, bool *complete, struct why *why);

/* Bytes of the WAL that a write-back would free. */
uint64_t db_wal_bytes(const struct db *d); /* any thread */

/* What tells that the main file has not been touched since a complete db_write_back() or
 * a db_rebuild(): identity, size and times of the file, the machine's boot, and whether
 * it was synced.  Returns its length; 0 in memory, and where the file cannot be
 * recognised. durable: it has been synced. */
size_t db_fingerprint(const struct db *d, bool durable, uint8_t out[DB_FINGERPRINT_MAX]);

/* --- in ----------------------------------------------------------------------------- */

/* Where a database comes from. */
struct db_pages {
    uint32_t n; /* 0: empty */
    enum err (*read)(void *arg, uint32_t first, uint32_t n, void *out, struct why *why);
    /* Is data the content of that page?  NULL: never asked. */
    bool (*same)(void *arg, uint32_t page, const void *data);
    void *arg;
};

/* Before any connection but the writer's is open, on a database just opened: become that
 * image, in large pieces, not through SQLite. */
MUST_USE enum err db_rebuild(struct db *d, const struct db_pages *from,
                             const struct db_state *state, struct why *why);

/*
 * Can the file at o->path be used as it is, since it holds exactly the image that
 * fingerprint was taken of?  Then the WAL that a crash left beside it is emptied (in
 * place, for the programs that have it open), and true is returned: open it with
 * db_open_existing().  Compares the fingerprint and the content of some pages.  False
 * says why in why->text, for the log.
 */
bool db_can_reuse(const struct db_options *o, const uint8_t *fingerprint, size_t len,
                  const struct db_pages *from, struct why *why);
/* As db_open(), but keeps the file. */
MUST_USE enum err db_open_existing(struct db **out, const struct db_options *o,
                                   const struct db_state *state, struct why *why);

/* While readers are open, of other programs, too: become that image.  They go on with the
 * old content until the switch.  Apply thread.  ERR_CORRUPT, ERR_IO: the content is
 * unknown, the node must stop. */
MUST_USE enum err db_restore(struct db *d, const struct db_pages *from,
                             const struct db_state *state, struct why *why);

#endif
