/* SPDX-License-Identifier: MIT */
/*
 * pages: a snapshot of the store as the database sees it, and the database's state as the
 * store describes it.  Neither knows of the other.
 */
#ifndef CORE_NODE_PAGES_H
#define CORE_NODE_PAGES_H

#include "core/db/snapshot.h"
#include "core/snapshot/snapshot.h"

/* What r reads; valid while it is open. */
struct db_pages pages_of(struct snapshot_reader *r);

/* The state in m, of which index and term are not set here. */
void pages_describe(struct snapshot_meta *m, const struct db_state *state,
                    uint64_t time_ns);
void pages_state(struct db_state *out, const struct snapshot_meta *m);

#endif
