/* SPDX-License-Identifier: MIT */
/*
 * admission: what a leader has to do before a node that asks to join is a member
 * (cluster.md 2.4), one change of the configuration at a time.
 *
 * Pure: looks at a configuration and a request, changes nothing.  Asked again after each
 * change, it ends in ADMISSION_DONE.
 */
#ifndef CORE_CLUSTER_ADMISSION_H
#define CORE_CLUSTER_ADMISSION_H

#include <stdbool.h>

#include "core/raft/raft.h"

struct admission_request {
    const char *id, *addr;
    bool voter;     /* wants to be one */
    bool empty_log; /* has nothing on its disk */
};

enum admission {
    ADMISSION_DONE,       /* it is a member as it wishes, but may still need promotion */
    ADMISSION_ADD,        /* as a non-voter; promoted when it has caught up */
    ADMISSION_MOVE,       /* it keeps its ID and gets another address */
    ADMISSION_DEMOTE,     /* a voter no more */
    ADMISSION_REMOVE,     /* the member named by the step goes first */
    ADMISSION_REFUSE_ID,  /* the leader itself has this ID */
    ADMISSION_REFUSE_ADDR /* the leader itself is at this address */
};

struct admission_step {
    enum admission what;
    const char *id; /* REMOVE: who; borrowed from the configuration or the request */
    bool voter;     /* MOVE: as what */
};

/* The next step on the way, or that there is none.  leader: the ID of who asks this. */
struct admission_step admission_next(const struct raft_config *c, const char *leader,
                                     const struct admission_request *q);

/* Once nothing is left to do: is it a non-voter that wants to vote? */
bool admission_needs_promotion(const struct raft_config *c,
                               const struct admission_request *q);

#endif
