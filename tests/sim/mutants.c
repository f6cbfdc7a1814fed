/* SPDX-License-Identifier: MIT */
#include "tests/sim/mutants.h"

#include <string.h>

#include "core/node/mutation.h"
#include "core/raft/internal.h"

static const struct mutant mutants[] = {
    {"vote-unsaved", RAFT_MUT_VOTE_UNSAVED, NODE_MUT_NONE, 1550},
    {"commit-old-term", RAFT_MUT_COMMIT_OLD_TERM, NODE_MUT_NONE, 2820},
    {"no-pre-vote", RAFT_MUT_NO_PRE_VOTE, NODE_MUT_NONE, 1},
    {"read-unconfirmed", RAFT_MUT_READ_UNCONFIRMED, NODE_MUT_NONE, 1},
    {"ack-before-sync", RAFT_MUT_ACK_BEFORE_SYNC, NODE_MUT_NONE, 20},
    {"ack-overtakes-sync", RAFT_MUT_ACK_OVERTAKES_SYNC, NODE_MUT_NONE, 900},
    {"change-too-early", RAFT_MUT_CHANGE_TOO_EARLY, NODE_MUT_NONE, 2110},
    {"skip-sync", RAFT_MUT_NONE, NODE_MUT_SKIP_SYNC, 1},
    {"ack-past-wal", RAFT_MUT_NONE, NODE_MUT_ACK_PAST_WAL, 900},
    {"taken-too-early", RAFT_MUT_NONE, NODE_MUT_TAKEN_TOO_EARLY, 35},
    {"changes-forgotten", RAFT_MUT_NONE, NODE_MUT_CHANGES_FORGOTTEN, 77},
    {"not-restored", RAFT_MUT_NONE, NODE_MUT_NOT_RESTORED, 1},
    {"read-before-applied", RAFT_MUT_NONE, NODE_MUT_READ_BEFORE_APPLIED, 1},
    {"lost-is-refused", RAFT_MUT_NONE, NODE_MUT_LOST_IS_REFUSED, 1},
};

const struct mutant *mutant_at(size_t i)
{
    return i < sizeof mutants / sizeof mutants[0] ? &mutants[i] : NULL;
}

const struct mutant *mutant_find(const char *name)
{
    for (size_t i = 0; mutant_at(i); i++)
        if (strcmp(mutants[i].name, name) == 0) return &mutants[i];
    return NULL;
}

bool mutant_use(const struct mutant *m)
{
#ifdef RAFT_MUTATIONS
    raft_mutation = m ? (enum raft_mutations)m->raft : RAFT_MUT_NONE;
    node_mutant = m ? (enum node_mutations)m->node : NODE_MUT_NONE;
    return true;
#else
    return m == NULL;
#endif
}
