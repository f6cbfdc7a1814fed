/* SPDX-License-Identifier: MIT */
/*
 * divergence: the effect hashes of the entries applied last, to be compared with the
 * leader's.
 *
 * Replicas that applied the same entries must hold the same data (design 6.2).  The hash
 * of every entry's effects is kept for a while, since nodes hear of each other's progress
 * at different places.
 *
 * Threads: one records (apply), any compares; each slot is published whole or not at all.
 */
#ifndef CORE_NODE_DIVERGENCE_H
#define CORE_NODE_DIVERGENCE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { DIVERGENCE_KEPT = 4096 }; /* entries; a power of two */

struct divergence {
    struct {
        _Atomic uint64_t index, hash; /* index 0: being written, or never was */
    } slots[DIVERGENCE_KEPT];
};

enum divergence_verdict {
    DIVERGENCE_UNKNOWN, /* not applied here yet, or too long ago */
    DIVERGENCE_NONE,
    DIVERGENCE_FOUND
};

void divergence_record(struct divergence *d, uint64_t index, uint64_t hash);
enum divergence_verdict divergence_compare(const struct divergence *d, uint64_t index,
                                           uint64_t hash);

#endif
