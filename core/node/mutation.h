/* SPDX-License-Identifier: MIT */
/*
 * mutation: mistakes this module makes on purpose, as core/raft/internal.h has its own.
 *
 * The simulator is also built with RAFT_MUTATIONS (tests/sim/sim-mutants), and shows that
 * it notices each of them.  In every other build node_mutation() is the constant false.
 */
#ifndef CORE_NODE_MUTATION_H
#define CORE_NODE_MUTATION_H

#include <stdbool.h>

enum node_mutations {
    NODE_MUT_NONE,
    NODE_MUT_SKIP_SYNC,       /* the wal thread reports as durable what is only written */
    NODE_MUT_FETCH_UNCHECKED, /* entries of the wrong place go to the state machine */
    NODE_MUT_KEEP_LOG,        /* a log that a snapshot has overtaken is kept at restart */
    NODE_MUT_PIN_LATE,        /* a snapshot claims less than its image holds */
    NODE_MUT_WEAK_TOO_EARLY   /* reads do not wait until what they need is applied */
};

#ifdef RAFT_MUTATIONS
extern enum node_mutations node_mutant;
static inline bool node_mutation(enum node_mutations m)
{
    return node_mutant == m;
}
#else
static inline bool node_mutation(enum node_mutations m)
{
    (void)m;
    return false;
}
#endif

#endif
