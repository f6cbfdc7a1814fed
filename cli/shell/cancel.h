/* SPDX-License-Identifier: MIT */
/*
 * cancel: Ctrl-C as a wish that whoever waits can see.
 *
 * SIGINT no longer ends the process: it sets a flag and makes a descriptor readable, and
 * interrupts system calls (no SA_RESTART).  One per process, since signals are.
 */
#ifndef CLI_SHELL_CANCEL_H
#define CLI_SHELL_CANCEL_H

#include <stdbool.h>

#include "core/base/err.h"

MUST_USE enum err cancel_init(struct why *why);

/* Was Ctrl-C pressed since the last cancel_clear()? */
bool cancel_wished(void);
void cancel_clear(void);

/* Readable from the moment of the wish until it is cleared. */
int cancel_fd(void);

#endif
