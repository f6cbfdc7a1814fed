/* SPDX-License-Identifier: MIT */
/*
 * readers: the threads that run reads, each with a read-only connection of its own.
 *
 * A few threads serve ordinary reads.  When all of them are held up by slow ones while
 * others wait, more are started, up to a maximum, and end again when they have been idle
 * for a while: so a handful of long queries cannot block the short ones.  When that many
 * are held up, those that only wait for a slow client are told to hurry, by awaited.
 *
 * The queue has its own mutex, since it has many takers and a mailbox has one.  It is not
 * bounded here: every job belongs to an HTTP request, and those are.
 */
#ifndef CORE_NODE_READERS_H
#define CORE_NODE_READERS_H

#include "core/db/db.h"
#include "core/node/call.h" /* struct reader_job */

struct logger;
struct readers;

MUST_USE enum err readers_start(struct readers **out, struct db *d, unsigned n,
                                unsigned max, struct logger *logger, struct why *why);

/* Any thread, until readers_free().  After readers_stop() the job is run at once, by its
 * submitter, and without a connection. */
void readers_submit(struct readers *r, struct reader_job *j);

struct readers_stats {
    unsigned max, threads, busy; /* now; max: of -db-max-ro-conns */
    uint64_t queued;             /* jobs that no thread has begun, now */
    uint64_t waits, waited_ns;   /* jobs that found no idle thread, and for how long */
};
void readers_stats(struct readers *r, struct readers_stats *out); /* any thread */

/* Finish what is queued, end the threads.  NULL is allowed. */
void readers_stop(struct readers *r);
void readers_free(struct readers *r); /* after readers_stop(); NULL is allowed */

#endif
