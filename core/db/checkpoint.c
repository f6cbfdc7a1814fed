/* SPDX-License-Identifier: MIT */
/*
 * checkpoint: the WAL's way back into the database.  Only the apply thread makes one,
 * between transactions: SQLite before 3.51.3 has a race between a checkpoint and a WAL
 * that starts over, which cannot happen if one thread does both.
 *
 * In memory, one is made whenever the WAL has grown by CHECKPOINT_FRAMES.  On disk the
 * main file has to stay what the latest snapshot is, so only db_write_back() makes one;
 * or the valve, if that has not been called for so long that the WAL fills the disk.
 *
 * Another program that has the file open could make one, too, and the WAL would start
 * over before we have noted what is in it.  So while the write connection is open it
 * holds the lock that a checkpoint takes.
 */
#include <inttypes.h>

#include "core/base/clock.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/db/internal.h"

enum {
    CHECKPOINT_FRAMES = 1000, /* copy the WAL back when it has grown by so many pages */
    RESTART_FRAMES = 4000,    /* wait a moment for readers, so that it starts over */
    TRUNCATE_FRAMES = 16000,  /* and give its memory back */
    RESTART_WAIT_MS = 10,
    BUSY_MS = 5000,
    CHECKPOINT_LOCK = 1 /* of the wal-index */
};
static const uint64_t RETRY_NS = 1000000000;

void db_wal_count(struct db *d)
{
    atomic_store_explicit(&d->wal_bytes, db_wal_bytes_of((uint64_t)d->wal_frames),
                          memory_order_relaxed);
}

uint64_t db_wal_bytes(const struct db *d)
{
    return atomic_load_explicit(&d->wal_bytes, memory_order_relaxed);
}

/* --- keeping others from it --------------------------------------------------------- */

static bool checkpoint_lock(const struct db *d, int how)
{
    sqlite3_file *f = NULL;

    return sqlite3_file_control(d->w->sqlite, "main", SQLITE_FCNTL_FILE_POINTER, &f) ==
               SQLITE_OK &&
           f->pMethods->xShmLock(f, CHECKPOINT_LOCK, 1, how | SQLITE_SHM_EXCLUSIVE) ==
               SQLITE_OK;
}

void db_guard(struct db *d)
{
    if (!d->path || d->guarding) return;
    d->guarding = checkpoint_lock(d, SQLITE_SHM_LOCK);
    if (!d->guarding) d->unguarded = true;
}

void db_unguard(struct db *d)
{
    if (d->guarding) (void)checkpoint_lock(d, SQLITE_SHM_UNLOCK);
    d->guarding = false;
}

/* --- one ---------------------------------------------------------------------------- */

/* Readers are never waited for by more than RESTART_WAIT_MS, and they never wait. */
static int checkpoint(struct db *d, int mode)
{
    struct db_wal wal;
    int frames, copied;

    db_changes_look(d, &wal);
    db_unguard(d);
    if (mode != SQLITE_CHECKPOINT_PASSIVE)
        sqlite3_busy_timeout(d->w->sqlite, RESTART_WAIT_MS);
    int rc = sqlite3_wal_checkpoint_v2(d->w->sqlite, "main", mode, &frames, &copied);
    if (mode != SQLITE_CHECKPOINT_PASSIVE) sqlite3_busy_timeout(d->w->sqlite, BUSY_MS);
    db_guard(d);
    metrics_add(d->metrics, METRIC_db_checkpoints, 1);
    if ((rc & 0xff) == SQLITE_BUSY)
        metrics_add(d->metrics, METRIC_db_checkpoint_busy_errors, 1);
    d->wal_tried_ns = clock_mono_ns(d->clock);
    if (rc == SQLITE_OK && mode != SQLITE_CHECKPOINT_PASSIVE) d->wal_frames = 0;
    d->wal_copied = d->wal_frames;
    db_wal_count(d);
    return rc;
}

void db_checkpoint(struct db *d)
{
    int mode = SQLITE_CHECKPOINT_PASSIVE, least = CHECKPOINT_FRAMES,
        again = RESTART_FRAMES;

    db_guard(d);
    if (d->path) {
        mode = SQLITE_CHECKPOINT_TRUNCATE;
        least = again = d->wal_valve;
    }
    if (d->wal_frames < d->wal_copied) d->wal_copied = 0; /* it has started over */
    if (d->wal_frames - d->wal_copied < least) {
        /* Large, because a reader was in the way: look again now and then. */
        if (d->wal_frames < again || clock_mono_ns(d->clock) - d->wal_tried_ns < RETRY_NS)
            return;
    }
    if (d->wal_frames >= TRUNCATE_FRAMES)
        mode = SQLITE_CHECKPOINT_TRUNCATE;
    else if (d->wal_frames >= RESTART_FRAMES)
        mode = SQLITE_CHECKPOINT_RESTART;
    int rc = checkpoint(d, mode);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
        logger_warn(d->logger, "db", "checkpoint: %s", sqlite3_errmsg(d->w->sqlite));
}

bool db_wal_empty(struct db *d)
{
    return checkpoint(d, SQLITE_CHECKPOINT_TRUNCATE) == SQLITE_OK;
}

static enum err sync_main(struct db *d, struct why *why)
{
    sqlite3_file *f = NULL;
    int rc = sqlite3_file_control(d->w->sqlite, "main", SQLITE_FCNTL_FILE_POINTER, &f);

    if (rc == SQLITE_OK) rc = f->pMethods->xSync(f, SQLITE_SYNC_NORMAL);
    if (rc == SQLITE_OK) return ERR_OK;
    return why_set(why, ERR_IO, "sync %s: %s", d->file, sqlite3_errstr(rc));
}

enum err db_write_back(struct db *d, bool sync, bool *complete, struct why *why)
{
    char what[4200];
    enum err e = db_commit(d, why);

    *complete = false;
    if (e) return e;
    int rc = checkpoint(d, SQLITE_CHECKPOINT_TRUNCATE);
    if ((rc & 0xff) == SQLITE_BUSY) return ERR_OK;
    if (rc != SQLITE_OK) {
        sqlite3_snprintf(sizeof what, what, "copy the WAL back into %s", d->file);
        return db_conn_why(d->w, rc, why, what);
    }
    if (sync && d->path) e = sync_main(d, why);
    *complete = !e;
    return e;
}
