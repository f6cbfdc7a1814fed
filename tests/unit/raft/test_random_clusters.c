/* SPDX-License-Identifier: MIT */
/*
 * Clusters of raft machines under chaos, a few hundred seeds of it.  More, or one again:
 *
 *     RAFT_SEED=<first> RAFT_SEEDS=<number>
 * build/release/tests/unit/raft/test_random_clusters
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/raft/sim.c"

enum { SEEDS = 300 };

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

static void safe_at_every_step_and_live_after_healing(void **state)
{
    uint64_t first = setting("RAFT_SEED", 1), n = setting("RAFT_SEEDS", SEEDS);
    struct sim *w = malloc(sizeof *w), sum = {0};

    (void)state;
    assert_non_null(w);
    for (uint64_t seed = first; seed < first + n; seed++) {
        bool ok = sim_run(w, seed);
        if (!ok) {
            sim_print_traces(w, 40);
            fail_msg("%s\nreplay: RAFT_SEED=%" PRIu64 " RAFT_SEEDS=1 "
                     "build/release/tests/unit/raft/test_random_clusters",
                     w->violation, seed);
        }
        sum.steps += w->steps;
        sum.elections += w->elections;
        sum.commits += w->commits;
        sum.reads_ok += w->reads_ok;
        sum.installs += w->installs;
        sum.changes += w->changes;
        sum.transfers += w->transfers;
        sum.crashes += w->crashes;
        sum.loads += w->loads;
        sim_free(w);
    }
    free(w);
    print_message("%" PRIu64 " seeds: %" PRIu64 " steps, %" PRIu64 " elections, %" PRIu64
                  " entries, %" PRIu64 " reads, %" PRIu64 " snapshots installed, %" PRIu64
                  " membership changes, %" PRIu64 " transfers, %" PRIu64
                  " crashes, %" PRIu64 " loads\n",
                  n, sum.steps, sum.elections, sum.commits, sum.reads_ok, sum.installs,
                  sum.changes, sum.transfers, sum.crashes, sum.loads);
    if (n < 100) return;
    assert_true(sum.elections > n && sum.commits > 10 * n && sum.reads_ok > n);
    assert_true(sum.installs > n && sum.changes > n && sum.transfers > 0 &&
                sum.crashes > n);
    assert_true(sum.loads > n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safe_at_every_step_and_live_after_healing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
