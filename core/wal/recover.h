/* SPDX-License-Identifier: MIT */
/*
 * recover: what the bytes of a segment mean for the log.  A pure scan: it changes nothing
 * and allocates in proportion to what it reads.
 */
#ifndef CORE_WAL_RECOVER_H
#define CORE_WAL_RECOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/wal/index.h"
#include "core/wal/segment.h"

struct recovered { /* the log as the segments scanned so far tell it */
    struct log_index index;
    uint64_t term;
    char vote[RAFT_ID_MAX + 1];
    uint64_t entries; /* met, whether or not they were truncated later */
    uint64_t seq;     /* last segment; 0 = none yet */
    uint64_t end;     /* where its valid records end */
    uint64_t batch;   /* last batch record in it: all before is known to be synced */
    uint64_t junk;    /* bytes after end, up to the last that is not zero */
    uint64_t bad;     /* offset of what is to blame for ERR_CORRUPT */
};

void recovered_init(struct recovered *r);
void recovered_fini(struct recovered *r);

/* The next segment, oldest first, as far as it was read: len may be less than its size.
 * end is where its records must end if a later segment says so, 0 for the last one.
 *
 * ERR_OK, also for a torn tail: then r->junk > 0.  ERR_CORRUPT and ERR_UNSUPPORTED say at
 * which offset and why; the caller adds the file's name. */
MUST_USE enum err recover_segment(struct recovered *r, const void *data, size_t len,
                                  uint64_t end, struct why *why);

#endif
