/* SPDX-License-Identifier: MIT */
/*
 * histfile: the commands typed, kept in a file from session to session.  One owner.
 *
 * One command per line, oldest first.  Blank lines and repetitions of the line before are
 * dropped; at most limit lines are kept, the latest.
 */
#ifndef CLI_SHELL_HISTFILE_H
#define CLI_SHELL_HISTFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

enum { HISTFILE_DEFAULT = 100 };

struct histfile {
    char **lines; /* owned, oldest first */
    size_t n, limit;
};

/* The limit that a value of RQLITE_HISTFILESIZE (may be NULL) asks for: 0 = keep nothing.
 */
size_t histfile_limit(const char *setting);

void histfile_init(struct histfile *h, size_t limit);
void histfile_fini(struct histfile *h);

/* Was the line kept? */
bool histfile_add(struct histfile *h, const char *line);

/* A file that can't be read counts as empty. */
void histfile_load(struct histfile *h, const char *path);

/* Write the file, mode 0600, or remove it when the limit is 0. */
MUST_USE enum err histfile_save(const struct histfile *h, const char *path,
                                struct why *why);

#endif
