/* SPDX-License-Identifier: MIT */
/*
 * index: which entries the log holds, and roughly where.
 *
 * One mark per 64 KiB of log instead of one per entry, and one run per term.  Pure.
 */
#ifndef CORE_WAL_INDEX_H
#define CORE_WAL_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

/* From offset of segment seq on, the first entries to be met are index, index + 1, ... up
 * to the one before the next mark's; other records may stand between them.  What a
 * truncation has left behind is never met first, because the entry that follows one
 * always gets a mark. */
struct log_mark {
    uint64_t index, seq, offset;
};

struct log_run { /* entries from index up to the next run's have this term */
    uint64_t index, term;
};

struct log_index {
    uint64_t first, last;   /* first = last + 1 when there are no entries */
    uint64_t before_term;   /* of entry first - 1, 0 if unknown */
    bool mark_next;         /* the next entry gets a mark whatever its distance */
    struct log_mark *marks; /* owned; index and seq grow */
    size_t n_marks, cap_marks;
    struct log_run *runs; /* owned; index grows */
    size_t n_runs, cap_runs;
};

/* Empty, the next entry being first.  Allocates nothing. */
void log_index_init(struct log_index *l, uint64_t first, uint64_t before_term);
void log_index_fini(struct log_index *l);

/* Entry last + 1 stands at that place.  ERR_NOMEM. */
MUST_USE enum err log_index_add(struct log_index *l, uint64_t term, uint64_t seq,
                                uint64_t offset);

/* Entries >= from are gone; before_term is that of from - 1. */
void log_index_truncate(struct log_index *l, uint64_t from, uint64_t before_term);

/* All are gone; the next follows (index, term). */
void log_index_reset(struct log_index *l, uint64_t index, uint64_t term);

/* Segments before seq are gone. */
void log_index_drop(struct log_index *l, uint64_t seq);

/* Term of an entry held, or of the one before the first; 0 if unknown. */
uint64_t log_index_term(const struct log_index *l, uint64_t index);

/* Number of the last mark at or before index, an entry held. */
size_t log_index_find(const struct log_index *l, uint64_t index);

#endif
