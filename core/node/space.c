/* SPDX-License-Identifier: MIT */
#include "core/node/space.h"

#include <sys/statvfs.h>

/* Three segments of the log, one of them being filled, one made ready. */
static const uint64_t LOW_BYTES = 48 << 20,
                      LOW_PARTS = 10 /* or a tenth of a small disk */;

void space_init(struct space *s, const char *dir)
{
    *s = (struct space){.dir = dir};
}

bool space_is_low(bool was_low, uint64_t free_bytes, uint64_t all_bytes)
{
    uint64_t low = all_bytes / LOW_PARTS < LOW_BYTES ? all_bytes / LOW_PARTS : LOW_BYTES;

    return free_bytes < low + (was_low ? low / 4 : 0);
}

bool space_low(struct space *s, uint64_t now_ms, bool *changed)
{
    struct statvfs st;
    bool was = s->low;

    *changed = false;
    if (now_ms < s->look_ms) return s->low;
    s->look_ms = now_ms + SPACE_LOOK_MS;
    /* Not known: then the log will tell. */
    if (statvfs(s->dir, &st) != 0) return s->low = false;
    s->free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    s->low = space_is_low(was, s->free_bytes, (uint64_t)st.f_blocks * st.f_frsize);
    *changed = s->low != was;
    return s->low;
}
