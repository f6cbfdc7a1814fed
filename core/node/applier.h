/* SPDX-License-Identifier: MIT */
/*
 * applier: runs committed entries on the database, in order, and answers who waits for
 * them.
 *
 * Owner: the apply thread (or the simulator).  No locks, no threads, no network.
 *
 * An entry that cannot be applied is never skipped: applier_run() fails, and the node
 * stops serving (a replica that went on would silently differ from the others).
 */
#ifndef CORE_NODE_APPLIER_H
#define CORE_NODE_APPLIER_H

#include "core/node/call.h"
#include "core/raft/raft.h"

struct applier;
struct logger;

struct apply_item {
    struct raft_entry entry; /* one reference of the payload */
    struct call *call;       /* who waits; NULL = nobody here */
};

/* A run of consecutive entries.  Made by apply_job_new(), ended by apply_job_free(). */
struct apply_job {
    struct mail mail;
    size_t n, cap;
    struct apply_item items[];
};

struct apply_job *apply_job_new(size_t cap); /* NULL when out of memory */
void apply_job_free(struct apply_job *j); /* drops payload references; NULL is allowed */

/* d is borrowed; scratch_dir holds files being loaded. */
MUST_USE enum err applier_new(struct applier **out, struct db *d, const char *scratch_dir,
                              struct logger *logger, struct why *why);
void applier_free(struct applier *a); /* NULL is allowed */

/* Apply the jobs (linked by mail.next) as one batch: results are complete and committed
 * when this returns, then every waiting call is done() and the jobs are freed.  On an
 * error nothing of the batch has been answered; the calls are failed with why. */
MUST_USE enum err applier_run(struct applier *a, struct mail *jobs, struct why *why);

uint64_t applier_index(const struct applier *a); /* last entry applied; any thread */
uint64_t
applier_time_ns(const struct applier *a); /* newest entry's context time; any thread */
bool applier_loading(
    const struct applier *a); /* a load has begun and not ended; any thread */

#endif
