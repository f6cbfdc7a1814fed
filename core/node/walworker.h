/* SPDX-License-Identifier: MIT */
/*
 * walworker: what the wal thread is asked to do, and how it does it.
 *
 * Jobs are carried out in order; one sync makes all of a batch durable.  The messages of
 * a job (votes, acks) travel with it and back, which is what keeps them behind every sync
 * that they may speak of.  Owner of the wal: whoever calls wal_jobs_run() (the wal
 * thread, or the simulator).
 */
#ifndef CORE_NODE_WALWORKER_H
#define CORE_NODE_WALWORKER_H

#include "core/base/mailbox.h"
#include "core/raft/raft.h"
#include "core/wal/wal.h"

enum wal_job_kind { WAL_JOB_PERSIST, WAL_JOB_FETCH };

/* The durable part of one raft_effects, and the messages that wait for it.  Made by
 * wal_job_persist(). */
struct wal_job {
    struct mail mail;
    enum wal_job_kind kind;
    struct why why; /* result */

    /* persist */
    uint64_t ticket;
    bool save_hard, reset_log, has_work;
    uint64_t term, reset_index, reset_term, truncate_from, drop_before;
    char vote[RAFT_ID_MAX + 1];
    struct raft_message *messages; /* owned; to send once this job is durable */
    size_t n_messages;

    /* fetch: read entries from .. to */
    char peer[RAFT_ID_MAX + 1]; /* "" = for applying */
    uint64_t from, to;
    size_t max_bytes;

    /* persist: to append; fetch: result.  References owned. */
    struct raft_entry *entries;
    size_t n_entries, cap_entries;
};

/* Copy what fx wants to be durable; NULL when out of memory. */
struct wal_job *wal_job_persist(const struct raft_effects *fx);
struct wal_job *wal_job_fetch(const char *peer, uint64_t from, uint64_t to,
                              size_t max_bytes);
void wal_job_free(struct wal_job *j); /* NULL is allowed */

/* Carry out the jobs linked by mail.next: all writes, one sync, then the reads.  A failed
 * write or sync is ERR_IO and so on and is in why of every job; the wal must not be used
 * again.  A failed fetch is only in its own job. */
enum err wal_jobs_run(struct wal *w, struct mail *jobs, struct why *why);

#endif
