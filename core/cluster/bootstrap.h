/* SPDX-License-Identifier: MIT */
/*
 * bootstrap: forming a new cluster of a group of nodes, none of which is special
 * (-bootstrap-expect, cluster.md 5).
 *
 * Every node asks the others to let it join, and tells them that it is there; when as
 * many are known as are expected, each writes the same first configuration.  What keeps
 * two sets of nodes from forming two clusters out of one group:
 *
 *   - all of the targets are heard before a set is chosen, and then it is the smallest
 *     IDs; when some target does not answer, only after a few rounds;
 *   - the id of the cluster is derived from the set, shown in every hello, and kept: a
 *     node belongs to one cluster only;
 *   - nobody who already belongs to a cluster is counted for a new one.
 *
 * Threads: the one that starts the node; it waits.
 */
#ifndef CORE_CLUSTER_BOOTSTRAP_H
#define CORE_CLUSTER_BOOTSTRAP_H

#include "core/cluster/join.h"

struct gathering;

struct bootstrap_options {
    const struct join_options *join;
    struct gathering *gathering; /* membership_gathering() */
    bool member; /* this node has a configuration: it only waits for a leader */
    uint64_t timeout_ns;
};

/* ERR_CANCELLED "boot canceled", ERR_TIMEOUT "boot timeout". */
MUST_USE enum err bootstrap_group(const struct bootstrap_options *o, struct why *why);

#endif
