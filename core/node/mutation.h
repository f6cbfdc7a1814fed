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
    NODE_MUT_SKIP_SYNC,           /* durable is what has only been written */
    NODE_MUT_ACK_PAST_WAL,        /* an ack for which nothing is written does not queue */
    NODE_MUT_TAKEN_TOO_EARLY,     /* the log is dropped before the snapshot is durable */
    NODE_MUT_CHANGES_FORGOTTEN,   /* a snapshot that failed is followed by a delta */
    NODE_MUT_NOT_RESTORED,        /* an installed snapshot is not put into the database */
    NODE_MUT_READ_BEFORE_APPLIED, /* reads do not wait for their position */
    NODE_MUT_LOST_IS_REFUSED      /* of a write that may still happen: "not leader" */
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
