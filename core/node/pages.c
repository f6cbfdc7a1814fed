/* SPDX-License-Identifier: MIT */
#include "core/node/pages.h"

#include <assert.h>
#include <string.h>

static_assert((int)DB_PAGE == (int)SNAPSHOT_PAGE, "pages go through as they are");
static_assert((int)DB_STATE_MAX == (int)SNAPSHOT_STATE_MAX, "so does the state");
static_assert((int)DB_FINGERPRINT_MAX <= (int)SNAPSHOT_MARKER_MAX, "it is the marker");

static enum err read_pages(void *arg, uint32_t first, uint32_t n, void *out,
                           struct why *why)
{
    return snapshot_read(arg, first, n, out, why);
}

static bool same_page(void *arg, uint32_t page, const void *data)
{
    return snapshot_same_page(arg, page, data);
}

struct db_pages pages_of(struct snapshot_reader *r)
{
    return (struct db_pages){.n = snapshot_reader_meta(r)->pages,
                             .read = read_pages,
                             .same = same_page,
                             .arg = r};
}

void pages_describe(struct snapshot_meta *m, const struct db_state *state,
                    uint64_t time_ns)
{
    m->time_ns = time_ns;
    m->effect_hash = state->effect_hash;
    m->changed_index = state->changed_index;
    m->pages = state->pages;
    m->state_len = state->len;
    memcpy(m->state, state->bytes, state->len);
}

void pages_state(struct db_state *out, const struct snapshot_meta *m)
{
    memset(out, 0, sizeof *out);
    out->index = m->index;
    out->effect_hash = m->effect_hash;
    out->changed_index = m->changed_index;
    out->pages = m->pages;
    out->len = m->state_len;
    memcpy(out->bytes, m->state, m->state_len);
}
