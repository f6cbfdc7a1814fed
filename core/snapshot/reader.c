/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/crc32c.h"
#include "core/snapshot/internal.h"

struct snapshot_reader {
    struct snapshot_store *store;
    struct state *state; /* owned reference: keeps the files open */
    struct merge merge;
};

/* From here on nothing is folded. */
static struct state *pin(struct snapshot_store *s)
{
    struct state *st;

    pthread_mutex_lock(&s->lock);
    s->readers++;
    st = state_ref(s->state);
    pthread_mutex_unlock(&s->lock);
    return st;
}

static void unpin(struct snapshot_store *s, struct state *st)
{
    pthread_mutex_lock(&s->lock);
    s->readers--;
    pthread_mutex_unlock(&s->lock);
    state_unref(st);
}

enum err snapshot_reader_open(struct snapshot_store *s, struct snapshot_reader **out,
                              struct why *why)
{
    struct snapshot_reader *r = calloc(1, sizeof *r);
    enum err e = ERR_OK;

    *out = NULL;
    if (r == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    r->store = s;
    r->state = pin(s);
    if (r->state->n == 0) e = why_set(why, ERR_NOT_FOUND, "there is no snapshot");
    if (!e) e = layer_load_sums(r->state->layers[0], why);
    if (!e) e = merge_init(&r->merge, r->state, why);
    if (e) {
        snapshot_reader_close(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

const struct snapshot_meta *snapshot_reader_meta(const struct snapshot_reader *r)
{
    return &r->state->meta;
}

enum err snapshot_read(struct snapshot_reader *r, uint32_t first, uint32_t n, void *out,
                       struct why *why)
{
    uint32_t pages = r->state->meta.pages;

    if (n == 0) return ERR_OK;
    if (first == 0 || n > pages || first > pages - n + 1)
        return why_set(why, ERR_INVALID,
                       "page %" PRIu32 " is not in a snapshot of %" PRIu32 " pages",
                       first, pages);
    return merge_read(&r->merge, first, n, out, why);
}

bool snapshot_same_page(const struct snapshot_reader *r, uint32_t page, const void *data)
{
    struct merge m = r->merge; /* its arrays are but hints of this reader's one thread */
    struct place p;

    if (page == 0 || page > r->state->meta.pages) return false;
    if (merge_find(&m, page, &p, NULL)) return false;
    return crc32c(0, data, SNAPSHOT_PAGE) == place_sum(&p);
}

void snapshot_reader_close(struct snapshot_reader *r)
{
    if (r == NULL) return;
    merge_fini(&r->merge);
    unpin(r->store, r->state);
    free(r);
}
