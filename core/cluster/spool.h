/* SPDX-License-Identifier: MIT */
/*
 * spool: files on their way, read and written by a thread of its own.
 *
 * Loads and backups are as large as databases; a disk that is slow must not hold up the
 * node thread, which has heartbeats to send.  The thread starts with the first job.
 */
#ifndef CORE_CLUSTER_SPOOL_H
#define CORE_CLUSTER_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/mailbox.h"

struct cluster;
struct spool; /* opaque */

enum { SPOOL_PIECE_BYTES = 256 << 10 };

struct spool_job {
    struct mail mail;
    struct cluster *cluster;
    bool write; /* data to the file, else the other way round */
    int fd;     /* borrowed */
    uint64_t offset;
    uint8_t *data; /* borrowed, like the job, until done() */
    size_t len;    /* all of it, or why says */
    struct why why;
    void (*done)(struct spool_job *j); /* node thread, or after it has ended */
};

/* Node thread.  ERR_NOMEM, ERR_IO: there is no thread, and done() will not come. */
MUST_USE enum err spool_submit(struct cluster *cl, struct spool_job *j, struct why *why);

/* Carries out what was submitted, then ends the thread.  NULL is allowed. */
void spool_free(struct spool *s);

/* An empty file without a name in the node's scratch directory. */
MUST_USE enum err spool_file(const struct cluster *cl, int *fd, struct why *why);

#endif
