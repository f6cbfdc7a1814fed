/* SPDX-License-Identifier: MIT */
/*
 * snapshot: what a whole-database image needs besides the pages: the position it stands
 * for, and the connection state that decides what later entries do (design 6.2).
 */
#ifndef CORE_DB_SNAPSHOT_H
#define CORE_DB_SNAPSHOT_H

#include "core/db/db.h"

enum { DB_STATE_MAX = 512 };

struct db_state {
    uint64_t index; /* of the last entry applied */
    uint64_t effect_hash;
    uint64_t changed_index;
    uint32_t len;
    uint8_t bytes[DB_STATE_MAX]; /* version, last_insert_rowid, replicated PRAGMAs */
};

/*
 * End the shared transaction and pin a reader to the state as it is now:
 * db_reader_backup() on it, on any thread, copies exactly this state however much is
 * applied meanwhile.  The caller closes the reader.  Apply thread. ERR_BUSY while
 * temporary objects of a request are kept, which no image can hold: try again some
 * entries later.
 */
MUST_USE enum err db_snapshot_pin(struct db *d, struct db_reader **out,
                                  struct db_state *state, struct why *why);

/* Become the image at path with that state, whatever was there before.  Readers go on
 * with the old content until the switch. Apply thread.  ERR_CORRUPT, ERR_IO: the content
 * is unknown, the node must stop. */
MUST_USE enum err db_snapshot_restore(struct db *d, const char *path,
                                      const struct db_state *state, struct why *why);

#endif
