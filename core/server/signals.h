/* SPDX-License-Identifier: MIT */
/*
 * signals: SIGINT and SIGTERM as a request to stop (spec: server 5).
 *
 * They are blocked in every thread and read by one of our own, so that a second one, or a
 * start that does not end, is dealt with whatever the main thread is doing.  Ending the
 * process at once is always safe: nothing acknowledged depends on an orderly end.
 */
#ifndef CORE_SERVER_SIGNALS_H
#define CORE_SERVER_SIGNALS_H

#include <stdbool.h>

#include "core/base/err.h"

struct logger;
struct signals; /* opaque */

/* Before any other thread is started.  On ERR_OK the caller owns *out. */
MUST_USE enum err signals_open(struct signals **out, struct logger *logger,
                               struct why *why);
void signals_close(struct signals *s); /* NULL is allowed */

/* The start is over: from now on a first signal has as long as the shutdown takes. */
void signals_started(struct signals *s);

/* Has one arrived? */
bool signals_received(const struct signals *s);

/* Readable, for good, once one has arrived. */
int signals_fd(const struct signals *s);

#endif
