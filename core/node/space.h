/* SPDX-License-Identifier: MIT */
/*
 * space: is there room on the disk for what clients write?
 *
 * A log that meets a full disk ends its node (wal.h).  So a leader takes no more writes
 * while there is still room for what is under way, and takes them again, by itself, when
 * there is more: reads go on meanwhile.
 *
 * Owner: one thread.
 */
#ifndef CORE_NODE_SPACE_H
#define CORE_NODE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"

enum { SPACE_LOOK_MS = 1000 }; /* the disk is asked no more often */

struct space {
    const char *dir; /* borrowed; on the disk that is meant */
    uint64_t look_ms;
    uint64_t free_bytes;
    bool low;
};

void space_init(struct space *s, const char *dir);

/* Too little?  *changed: since the last call it has become so, or ended. */
bool space_low(struct space *s, uint64_t now_ms, bool *changed);

/* Pure: by how much is left of so many bytes in all, and by what was so. */
bool space_is_low(bool was_low, uint64_t free_bytes, uint64_t all_bytes);

#endif
