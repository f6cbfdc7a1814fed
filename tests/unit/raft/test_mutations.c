/* SPDX-License-Identifier: MIT */
/*
 * Does the simulation notice mistakes?  This program is built around a raft that can be
 * told to make one (core/raft/internal.h), and shows for each that some seed finds it.
 */
#define RAFT_MUTATIONS
#include "core/raft/append.c"
#include "core/raft/config.c"
#include "core/raft/durable.c"
#include "core/raft/election.c"
#include "core/raft/entries.c"
#include "core/raft/member.c"
#include "core/raft/progress.c"
#include "core/raft/quorum.c"
#include "core/raft/raft.c"
#include "core/raft/read.c"
#include "core/raft/replicate.c"
#include "core/raft/restore.c"
#include "core/raft/snapshot.c"
#include "core/raft/trace.c"
#include "core/raft/transfer.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/raft/sim.c"

enum { SEEDS_MAX = 3000 };

/* hint is where the search starts: a seed that once found it, so that the test is quick.
 * When raft or the simulation changes, another one will. */
static void is_noticed(enum raft_mutations m, uint64_t hint)
{
    const char *first = getenv("RAFT_SEED");
    uint64_t seed = first ? strtoull(first, NULL, 0) : hint, end = seed + SEEDS_MAX;
    struct sim *w = malloc(sizeof *w);
    bool ok = true;

    assert_non_null(w);
    raft_mutation = m;
    for (; ok && seed < end; seed++) {
        ok = sim_run(w, seed);
        if (!ok) print_message("seed %" PRIu64 ": %s\n", seed, w->violation);
        sim_free(w);
    }
    raft_mutation = RAFT_MUT_NONE;
    free(w);
    assert_false(ok);
}

static void without_a_mutation_nothing_is_noticed(void **state)
{
    struct sim *w = malloc(sizeof *w);

    (void)state;
    assert_non_null(w);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        bool ok = sim_run(w, seed);
        if (!ok) sim_print_traces(w, 20);
        assert_true(ok);
        sim_free(w);
    }
    free(w);
}

static void a_vote_that_is_not_on_disk_is_noticed(void **state)
{
    (void)state;
    is_noticed(RAFT_MUT_VOTE_UNSAVED, 569);
}

static void committing_an_older_term_by_counting_is_noticed(void **state)
{
    (void)state;
    is_noticed(RAFT_MUT_COMMIT_OLD_TERM, 324);
}

static void campaigning_without_pre_votes_is_noticed(void **state)
{
    (void)state;
    is_noticed(RAFT_MUT_NO_PRE_VOTE, 1);
}

static void a_read_without_confirmation_is_noticed(void **state)
{
    (void)state;
    is_noticed(RAFT_MUT_READ_UNCONFIRMED, 2);
}

static void an_ack_before_the_sync_is_noticed(void **state)
{
    (void)state;
    is_noticed(RAFT_MUT_ACK_BEFORE_SYNC, 16);
}

static void an_ack_that_overtakes_a_sync_is_noticed(void **state)
{
    (void)state;
    is_noticed(RAFT_MUT_ACK_OVERTAKES_SYNC, 3);
}

static void a_change_before_the_own_term_commits_is_noticed(void **state)
{
    (void)state;
    is_noticed(RAFT_MUT_CHANGE_TOO_EARLY, 1682);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_mutation_nothing_is_noticed),
        cmocka_unit_test(a_vote_that_is_not_on_disk_is_noticed),
        cmocka_unit_test(committing_an_older_term_by_counting_is_noticed),
        cmocka_unit_test(campaigning_without_pre_votes_is_noticed),
        cmocka_unit_test(a_read_without_confirmation_is_noticed),
        cmocka_unit_test(an_ack_before_the_sync_is_noticed),
        cmocka_unit_test(an_ack_that_overtakes_a_sync_is_noticed),
        cmocka_unit_test(a_change_before_the_own_term_commits_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
