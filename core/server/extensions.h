/* SPDX-License-Identifier: MIT */
/*
 * extensions: the SQLite extensions of -extensions-path, copied flat below the data
 * directory, so that they stay what they were when the node started (spec: server 14).
 */
#ifndef CORE_SERVER_EXTENSIONS_H
#define CORE_SERVER_EXTENSIONS_H

#include <stddef.h>

#include "core/base/err.h"

struct extensions {
    char *dir;    /* owned; <data directory>/extensions */
    char **paths; /* owned; of the copies, sorted by name */
    size_t n;
};

/* Empty dir, then copy what the comma list names: files, and directories' regular files
 * that do not start with a dot.  A later name overwrites an earlier one.
 * extensions_close() is safe whatever came back. */
MUST_USE enum err extensions_open(struct extensions *x, const char *data_dir,
                                  const char *list, struct why *why);
void extensions_close(struct extensions *x);

#endif
