/* SPDX-License-Identifier: MIT */
/*
 * file: a credentials file on disk, and whether it has changed.  Internal to core/auth.
 */
#ifndef CORE_AUTH_FILE_H
#define CORE_AUTH_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "core/base/err.h"

struct auth_users;

struct auth_stamp { /* of a file; all zero: there is none */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

/* stamp is filled in either case.  The text of why begins with the path. */
MUST_USE enum err auth_file_read(struct auth_users **out, const char *path,
                                 struct auth_stamp *stamp, struct why *why);

/* Is it another one, or none, by now? */
bool auth_file_changed(const char *path, const struct auth_stamp *stamp);

#endif
