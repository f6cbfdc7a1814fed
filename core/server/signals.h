/* SPDX-License-Identifier: MIT */
/*
 * signals: SIGINT and SIGTERM as a request to stop (spec: server 5), SIGHUP as one to
 * read files again.
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

/* Before any other thread is started.  hangup: take SIGHUP, too, which else ends the
 * process.  On ERR_OK the caller owns *out. */
MUST_USE enum err signals_open(struct signals **out, struct logger *logger, bool hangup,
                               struct why *why);
void signals_close(struct signals *s); /* NULL is allowed */

/* What to do on SIGHUP, on the signals' thread; once. */
void signals_on_hangup(struct signals *s, void (*on_hangup)(void *arg), void *arg);

/* The start is over: from now on a first signal has as long as the shutdown takes. */
void signals_started(struct signals *s);

/* Has one arrived? */
bool signals_received(const struct signals *s);

/* Readable, for good, once one has arrived. */
int signals_fd(const struct signals *s);

#endif
