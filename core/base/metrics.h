/* SPDX-License-Identifier: MIT */
/*
 * metrics: the counters of one node, by the map and key names of /debug/vars (HTTP
 * API 13.1).
 *
 * The table in metrics_table.h names each once; METRIC_<map>_<key> (dots as underscores)
 * is its number. Adding is a relaxed atomic: any thread, no lock, no order promised
 * between counters.
 */
#ifndef CORE_BASE_METRICS_H
#define CORE_BASE_METRICS_H

#include <stdint.h>

#include "core/base/err.h"
#include "core/base/histogram.h"

enum metric {
#define METRIC(map, map_name, key) METRIC_##map##_##key,
#include "core/base/metrics_table.h"
#undef METRIC
    METRIC_COUNT
};

/* What is timed, each by one thread: its owner's. */
enum metric_timer {
    TIMER_wal_sync, /* one sync of the log, writing included */
    TIMER_apply,    /* one batch of entries on the database, until it is committed */
    TIMER_snapshot, /* one snapshot, until it is durable */
    TIMER_COUNT
};

struct metrics; /* opaque */

MUST_USE enum err metrics_new(struct metrics **out);
void metrics_free(struct metrics *m); /* NULL is allowed */

/* m may be NULL: nothing is counted. */
void metrics_add(struct metrics *m, enum metric which, int64_t n);
void metrics_set(struct metrics *m, enum metric which, int64_t v);
int64_t metrics_get(const struct metrics *m, enum metric which);
void metrics_time(struct metrics *m, enum metric_timer which, uint64_t ns);
/* NULL only for m NULL. */
const struct histogram *metrics_timer(const struct metrics *m, enum metric_timer which);

/* Names of a counter: "db.wal", "compact_frames_input".  Static. */
const char *metrics_map_name(enum metric which);
const char *metrics_key(enum metric which);

#endif
