/* SPDX-License-Identifier: MIT */
#include "core/cluster/admission.h"

#include <string.h>

/* What a member with the request's ID comes to. */
static struct admission_step next_for_member(const struct raft_member *m,
                                             const struct admission_request *q)
{
    /* It may have voted, and has forgotten it; and what the leader believes to be on its
     * disk is not there.  As another member it starts from nothing on both sides. */
    if (m->voter && q->empty_log)
        return (struct admission_step){.what = ADMISSION_REMOVE, .id = m->id};
    if (strcmp(m->addr, q->addr) != 0)
        return (struct admission_step){.what = ADMISSION_MOVE,
                                       .voter = m->voter && q->voter};
    if (m->voter && !q->voter) return (struct admission_step){.what = ADMISSION_DEMOTE};
    return (struct admission_step){.what = ADMISSION_DONE};
}

struct admission_step admission_next(const struct raft_config *c, const char *leader,
                                     const struct admission_request *q)
{
    const struct raft_member *m = raft_config_find(c, q->id);
    const struct raft_member *there = raft_config_find_addr(c, q->addr);

    /* It asked others to let it in again, has won an election meanwhile, and was sent to
     * itself.  Nobody else is reached at its address. */
    if (strcmp(q->id, leader) == 0 && m && m->voter && q->voter && !q->empty_log &&
        strcmp(m->addr, q->addr) == 0)
        return (struct admission_step){.what = ADMISSION_DONE};
    if (strcmp(q->id, leader) == 0)
        return (struct admission_step){.what = ADMISSION_REFUSE_ID};
    if (there && strcmp(there->id, leader) == 0)
        return (struct admission_step){.what = ADMISSION_REFUSE_ADDR};
    if (there && there != m)
        return (struct admission_step){.what = ADMISSION_REMOVE, .id = there->id};
    if (m) return next_for_member(m, q);
    return (struct admission_step){.what = ADMISSION_ADD};
}

bool admission_needs_promotion(const struct raft_config *c,
                               const struct admission_request *q)
{
    const struct raft_member *m = raft_config_find(c, q->id);

    return m && q->voter && !m->voter;
}
