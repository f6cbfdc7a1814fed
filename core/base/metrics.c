/* SPDX-License-Identifier: MIT */
#include "core/base/metrics.h"

#include <stdatomic.h>
#include <stdlib.h>

struct metrics {
    _Atomic int64_t values[METRIC_COUNT];
    struct histogram timers[TIMER_COUNT];
};

static const struct {
    const char *map_name, *key;
} names[METRIC_COUNT] = {
#define METRIC(map, map_name, key) {map_name, #key},
#include "core/base/metrics_table.h"
#undef METRIC
};

enum err metrics_new(struct metrics **out)
{
    *out = calloc(1, sizeof **out);
    return *out ? ERR_OK : ERR_NOMEM;
}

void metrics_free(struct metrics *m)
{
    free(m);
}

void metrics_add(struct metrics *m, enum metric which, int64_t n)
{
    if (m) atomic_fetch_add_explicit(&m->values[which], n, memory_order_relaxed);
}

void metrics_set(struct metrics *m, enum metric which, int64_t v)
{
    if (m) atomic_store_explicit(&m->values[which], v, memory_order_relaxed);
}

int64_t metrics_get(const struct metrics *m, enum metric which)
{
    return m ? atomic_load_explicit(&m->values[which], memory_order_relaxed) : 0;
}

void metrics_time(struct metrics *m, enum metric_timer which, uint64_t ns)
{
    if (m) histogram_add(&m->timers[which], ns);
}

const struct histogram *metrics_timer(const struct metrics *m, enum metric_timer which)
{
    return m ? &m->timers[which] : NULL;
}

const char *metrics_map_name(enum metric which)
{
    return names[which].map_name;
}
const char *metrics_key(enum metric which)
{
    return names[which].key;
}
