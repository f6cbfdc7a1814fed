/* SPDX-License-Identifier: MIT */
/*
 * vfs_clock: another VFS with a clock that is told what time it is.
 *
 * SQLite asks the VFS of the connection for the present time, wherever 'now' or
 * CURRENT_TIMESTAMP stands: in a statement, a default, a trigger, a view.  So a write
 * connection whose VFS gives the entry's time sees the same time on every node
 * (design 6.2).  Files are opened by the VFS below, whose methods then serve them without
 * a detour.
 *
 * Besides, temporary files go to the scratch directory.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/db/internal.h"

enum { TEMP_NAME_MAX = 512 };
static const sqlite3_int64 EPOCH_MS =
    210866760000000; /* 1970 in milliseconds of the Julian day */

struct clock_vfs {
    sqlite3_vfs vfs;
    sqlite3_vfs *base;
    const uint64_t *time_ns; /* NULL: as base has it */
    char *scratch_dir;       /* owned; may be NULL */
    atomic_uint n_temp;
    char name[40];
};

static struct clock_vfs *of(sqlite3_vfs *v)
{
    return v->pAppData;
}

/* The file's struct is the base's, with room for the name of a temporary file behind it.
 */
static int clock_open(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags,
                      int *out_flags)
{
    struct clock_vfs *c = of(v);

    if (!name && c->scratch_dir) {
        char *temp = (char *)file + c->base->szOsFile;
        int n = snprintf(temp, TEMP_NAME_MAX - 1, "%s/sqlite-%p-%u", c->scratch_dir,
                         (void *)c, atomic_fetch_add(&c->n_temp, 1));
        if (n < TEMP_NAME_MAX - 1) {
            temp[n + 1] = '\0'; /* no URI parameters follow */
            name = temp;
        }
    }
    return c->base->xOpen(c->base, name, file, flags, out_flags);
}

static int clock_delete(sqlite3_vfs *v, const char *name, int sync_dir)
{
    return of(v)->base->xDelete(of(v)->base, name, sync_dir);
}

static int clock_access(sqlite3_vfs *v, const char *name, int flags, int *out)
{
    return of(v)->base->xAccess(of(v)->base, name, flags, out);
}

static int clock_full_path(sqlite3_vfs *v, const char *name, int n, char *out)
{
    return of(v)->base->xFullPathname(of(v)->base, name, n, out);
}

static int clock_randomness(sqlite3_vfs *v, int n, char *out)
{
    return of(v)->base->xRandomness(of(v)->base, n, out);
}

static int clock_sleep(sqlite3_vfs *v, int us)
{
    return of(v)->base->xSleep(of(v)->base, us);
}

static int clock_time_ms(sqlite3_vfs *v, sqlite3_int64 *out)
{
    const struct clock_vfs *c = of(v);
    if (!c->time_ns) return c->base->xCurrentTimeInt64(c->base, out);
    *out = (sqlite3_int64)(*c->time_ns / 1000000) + EPOCH_MS;
    return SQLITE_OK;
}

static int clock_time(sqlite3_vfs *v, double *out)
{
    sqlite3_int64 ms;
    int rc = clock_time_ms(v, &ms);
    *out = (double)ms / 86400000.0;
    return rc;
}

static int clock_last_error(sqlite3_vfs *v, int n, char *out)
{
    return of(v)->base->xGetLastError(of(v)->base, n, out);
}

enum err db_vfs_clock_new(sqlite3_vfs **out, sqlite3_vfs *base, const uint64_t *time_ns,
                          const char *scratch_dir, struct why *why)
{
    struct clock_vfs *c = calloc(1, sizeof *c);

    *out = NULL;
    if (!c) return why_set(why, ERR_NOMEM, "database files: out of memory");
    snprintf(c->name, sizeof c->name, "rq-clock-%p", (void *)c);
    c->base = base;
    c->time_ns = time_ns;
    if (scratch_dir && !(c->scratch_dir = strdup(scratch_dir))) {
        free(c);
        return why_set(why, ERR_NOMEM, "database files: out of memory");
    }
    c->vfs = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = base->szOsFile + TEMP_NAME_MAX,
        .mxPathname = base->mxPathname,
        .zName = c->name,
        .pAppData = c,
        .xOpen = clock_open,
        .xDelete = clock_delete,
        .xAccess = clock_access,
        .xFullPathname = clock_full_path,
        .xDlOpen = base->xDlOpen,
        .xDlError = base->xDlError,
        .xDlSym = base->xDlSym,
        .xDlClose = base->xDlClose,
        .xRandomness = clock_randomness,
        .xSleep = clock_sleep,
        .xCurrentTime = clock_time,
        .xGetLastError = clock_last_error,
        .xCurrentTimeInt64 = clock_time_ms,
    };
    if (sqlite3_vfs_register(&c->vfs, 0) != SQLITE_OK) {
        free(c->scratch_dir);
        free(c);
        return why_set(why, ERR_NOMEM, "database files: cannot register");
    }
    *out = &c->vfs;
    return ERR_OK;
}

void db_vfs_clock_free(sqlite3_vfs *v)
{
    if (!v) return;
    struct clock_vfs *c = of(v);
    sqlite3_vfs_unregister(v);
    free(c->scratch_dir);
    free(c);
}
