/* SPDX-License-Identifier: MIT */
/*
 * map: byte-string keys to pointers, open addressing, keyed hashing (SipHash-like seed
 * per map, so that clients cannot choose colliding keys).  Keys are borrowed: they must
 * outlive their entry.  One owner.
 */
#ifndef CORE_BASE_MAP_H
#define CORE_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct map_slot {
    const void *key;
    size_t len;
    uint64_t hash;
    void *value; /* NULL = free or deleted */
};
struct map {
    struct map_slot *slots;  /* owned */
    size_t cap, count, used; /* used counts deleted slots, too */
    uint64_t seed;
};

void map_init(struct map *m, uint64_t seed);
void map_fini(struct map *m);
void *map_get(const struct map *m, const void *key, size_t len);
/* value must not be NULL.  Replaces key and value of an equal key; the old value is
 * returned in *old (may be NULL). */
MUST_USE enum err map_put(struct map *m, const void *key, size_t len, void *value,
                          void **old);
void *map_remove(struct map *m, const void *key, size_t len); /* the value, or NULL */
/* Next entry at or after *pos; NULL at the end.  Start with *pos = 0. */
void *map_next(const struct map *m, size_t *pos);

#endif
