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

#include "core/db/snapshot.h"
#include "core/node/call.h"
#include "core/node/divergence.h"
#include "core/raft/raft.h"

struct applier;
struct logger;

struct apply_item {
    struct raft_entry entry; /* one reference of the payload */
    struct call *call;       /* who waits; NULL = nobody here */
};

/* Asks for the state exactly after the jobs before it, for a snapshot. */
struct apply_capture {
    /* Results of the beginning. */
    struct db_state state;
    uint32_t changed; /* pages, as db_capture_begin() says */
    bool replaced;    /* a whole file was loaded since the last one */
    uint64_t again;   /* ERR_BUSY: right after this entry it would work; 0 = not known */
    uint64_t time_ns;
    struct blob *extra; /* one reference, the receiver's; NULL = none */
    struct why why;
    /* On the apply thread, once; d is NULL if why has an error.  An error of its own: the
     * database is damaged, the node must stop. */
    enum err (*run)(struct apply_capture *c, struct db *d, struct why *why);
};

/* Become a snapshot; entries go on after its index. */
struct apply_restore {
    struct db_pages from;
    struct db_state state;
    uint64_t time_ns;
    struct blob *extra; /* borrowed; NULL = none */
    /* On the apply thread, once it is so. */
    void (*done)(struct apply_restore *r, struct db *d);
};

/* A run of consecutive entries, or one of the above.  Made by apply_job_new(), ended by
 * apply_job_free(). */
struct apply_job {
    struct mail mail;
    struct apply_capture *capture; /* with n = 0 */
    struct apply_restore *restore; /* with n = 0 */
    size_t n, cap;
    struct apply_item items[];
};

struct apply_job *apply_job_new(size_t cap); /* NULL when out of memory */
void apply_job_free(struct apply_job *j); /* drops payload references; NULL is allowed */

/* Answer everybody who waits for the job with why, and free it. */
void apply_job_fail(struct apply_job *j, const struct why *why);

/* d is borrowed; scratch_dir holds files being loaded. */
MUST_USE enum err applier_new(struct applier **out, struct db *d, const char *scratch_dir,
                              struct logger *logger, struct why *why);
void applier_free(struct applier *a); /* NULL is allowed */

/* Before the first run: the database is that of a snapshot at index, made at time_ns,
 * with this state beside it (once.h; NULL = none).  ERR_CORRUPT, ERR_UNSUPPORTED,
 * ERR_NOMEM. */
MUST_USE enum err applier_begin_at(struct applier *a, uint64_t index, uint64_t time_ns,
                                   const struct blob *extra, struct why *why);

/* Apply the jobs (linked by mail.next) as one batch: results are complete and committed
 * when this returns, then every waiting call is done() and the jobs are freed.  On an
 * error nothing of the batch has been answered; the calls are failed with why. */
MUST_USE enum err applier_run(struct applier *a, struct mail *jobs, struct why *why);

/* Before a capture that no later entry follows (recovery): half a load and temporary
 * objects hold it up no more. */
MUST_USE enum err applier_forget(struct applier *a, struct why *why);

uint64_t applier_index(const struct applier *a); /* last entry applied; any thread */
uint64_t
applier_time_ns(const struct applier *a); /* newest entry's context time; any thread */
/* Were the effects of the entries up to index those that another node reports?  Any
 * thread. */
enum divergence_verdict applier_compare(const struct applier *a, uint64_t index,
                                        uint64_t hash);

bool applier_loading(
    const struct applier *a); /* a load has begun and not ended; any thread */

#endif
