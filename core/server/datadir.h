/* SPDX-License-Identifier: MIT */
/*
 * datadir: the data directory before anything is opened in it: made, locked, recognised,
 * and the ID of the node that lives there (spec: server 4.3, 6, 7, 12).
 *
 * Owner: the main thread.
 */
#ifndef CORE_SERVER_DATADIR_H
#define CORE_SERVER_DATADIR_H

#include <stdbool.h>

#include "core/base/err.h"

struct datadir {
    char *path;      /* owned; as given on the command line */
    char *scratch;   /* owned; for spooled bodies and backups */
    char *node_id;   /* owned; "" until a first start has stored one */
    int lock_fd;     /* held until the process ends; -1 = none */
    bool preexists;  /* a node has lived here before */
    unsigned format; /* of what is in it, by the file "format"; 0 = there is none yet */
};

/*
 * Make the directory with its parents if need be, and take its lock for this process.
 * ERR_BUSY if another one has it; ERR_INVALID for the directory of another
 * implementation, ERR_UNSUPPORTED for one of a newer format: in both nothing has been
 * touched. datadir_close() is safe either way.
 */
MUST_USE enum err datadir_open(struct datadir *d, const char *path, struct why *why);

/* Does not remove the lock file: two processes could then hold locks on different ones.
 */
void datadir_close(struct datadir *d);

/* The node that starts here is id; NULL or "" = whoever lives here, else otherwise.
 * Stored when it is the first, and with it the format of what is written here from now
 * on; ERR_INVALID if another one is stored. */
MUST_USE enum err datadir_claim(struct datadir *d, const char *id, const char *otherwise,
                                struct why *why);

/* For a node in memory: remove the database file that an earlier run on disk left here.
 * *removed tells whether there was one. */
MUST_USE enum err datadir_remove_old_database(const struct datadir *d, bool *removed,
                                              struct why *why);

/* Is path a file with content that no node of this directory can have written? */
bool datadir_is_foreign_file(const struct datadir *d, const char *path);

#endif
