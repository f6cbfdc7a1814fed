/* SPDX-License-Identifier: MIT */
/*
 * replace: a file that appears whole or not at all: written under another name in the
 * same directory, then renamed.  What is no regular file (a terminal, a pipe) is written
 * directly.
 */
#ifndef CLI_SHELL_REPLACE_H
#define CLI_SHELL_REPLACE_H

#include <stdio.h>

#include "core/base/err.h"

struct replace {
    FILE *file;    /* owned; write here */
    char *target;  /* owned; symbolic links followed */
    char *scratch; /* owned; NULL = file is the target */
};

/* On ERR_OK end it with replace_commit() or replace_abort(). */
MUST_USE enum err replace_open(struct replace *r, const char *path, struct why *why);

/* Make it durable and give it its name.  On failure the old file is as it was. */
MUST_USE enum err replace_commit(struct replace *r, struct why *why);
void replace_abort(struct replace *r);

#endif
