/* SPDX-License-Identifier: MIT */
/*
 * line: commands, one line at a time: edited on a terminal (libedit), plainly from
 * elsewhere. The only file that knows libedit.
 */
#ifndef CLI_SHELL_LINE_H
#define CLI_SHELL_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

struct line; /* opaque */

enum line_event {
    LINE_READ,      /* a line */
    LINE_CANCELLED, /* Ctrl-C: what was typed is dropped */
    LINE_END
};

/* words: what Tab completes at the start of a line, ended by NULL; borrowed. */
MUST_USE enum err line_open(struct line **out, const char *const *words, struct why *why);

/* Write the history and put the terminal back.  NULL is allowed. */
void line_close(struct line *l);

/* Is a person typing? */
bool line_is_terminal(const struct line *l);

/* Print the prompt and read.  On LINE_READ *out is the line without its newline and
 * without white space around it, valid until the next call. */
enum line_event line_next(struct line *l, const char *prompt, const char **out);

/* Ask for a password on the terminal, without echo.  False if there is none or Ctrl-C was
 * pressed. */
bool line_password(const char *prompt, char *out, size_t size);

#endif
