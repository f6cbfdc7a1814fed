/* SPDX-License-Identifier: MIT */
/*
 * checkpoint: the WAL's way back into the database.  Only the apply thread makes one,
 * between transactions.
 */
#include "core/base/clock.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/db/internal.h"

enum {
    CHECKPOINT_FRAMES = 1000, /* copy the WAL back when it has grown by so many pages */
    RESTART_FRAMES = 4000,    /* wait a moment for readers, so that it starts over */
    TRUNCATE_FRAMES = 16000,  /* and give its memory back */
    RESTART_WAIT_MS = 10,
    BUSY_MS = 5000
};
static const uint64_t RETRY_NS = 1000000000;

/*
 * Copy the WAL back into the database, now that nothing is being written: SQLite
 * before 3.51.3 has a race between a checkpoint and a WAL that starts over, which cannot
 * happen if one thread does both.  Readers are never waited for by more than
 * RESTART_WAIT_MS, and they never wait.  What fails for a reader's sake is tried again
 * later.
 */
void db_checkpoint(struct db *d)
{
    int mode = SQLITE_CHECKPOINT_PASSIVE, frames = 0, copied = 0;

    if (d->wal_frames < d->wal_copied) d->wal_copied = 0; /* it has started over */
    if (d->wal_frames - d->wal_copied < CHECKPOINT_FRAMES) {
        /* Large, because a reader was in the way: look again now and then. */
        if (d->wal_frames < RESTART_FRAMES ||
            clock_mono_ns(d->clock) - d->wal_tried_ns < RETRY_NS)
            return;
    }
    if (d->wal_frames >= TRUNCATE_FRAMES)
        mode = SQLITE_CHECKPOINT_TRUNCATE;
    else if (d->wal_frames >= RESTART_FRAMES)
        mode = SQLITE_CHECKPOINT_RESTART;
    if (mode != SQLITE_CHECKPOINT_PASSIVE)
        sqlite3_busy_timeout(d->w->sqlite, RESTART_WAIT_MS);
    int rc = sqlite3_wal_checkpoint_v2(d->w->sqlite, "main", mode, &frames, &copied);
    metrics_add(d->metrics, METRIC_db_checkpoints, 1);
    if (mode != SQLITE_CHECKPOINT_PASSIVE) sqlite3_busy_timeout(d->w->sqlite, BUSY_MS);
    if ((rc & 0xff) == SQLITE_BUSY)
        metrics_add(d->metrics, METRIC_db_checkpoint_busy_errors, 1);
    else if (rc != SQLITE_OK)
        logger_warn(d->logger, "db", "checkpoint: %s", sqlite3_errmsg(d->w->sqlite));
    d->wal_copied = d->wal_frames;
    d->wal_tried_ns = clock_mono_ns(d->clock);
    if (rc == SQLITE_OK && mode != SQLITE_CHECKPOINT_PASSIVE)
        d->wal_frames = d->wal_copied = 0;
}
