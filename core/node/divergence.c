/* SPDX-License-Identifier: MIT */
#include "core/node/divergence.h"

void divergence_record(struct divergence *d, uint64_t index, uint64_t hash)
{
    size_t at = index % DIVERGENCE_KEPT;

    atomic_store(&d->slots[at].index, 0);
    atomic_store(&d->slots[at].hash, hash);
    atomic_store(&d->slots[at].index, index);
}

enum divergence_verdict divergence_compare(const struct divergence *d, uint64_t index,
                                           uint64_t hash)
{
    size_t at = index % DIVERGENCE_KEPT;
    uint64_t before = atomic_load(&d->slots[at].index);
    uint64_t mine = atomic_load(&d->slots[at].hash);

    if (index == 0 || before != index || atomic_load(&d->slots[at].index) != index)
        return DIVERGENCE_UNKNOWN;
    return mine == hash ? DIVERGENCE_NONE : DIVERGENCE_FOUND;
}
