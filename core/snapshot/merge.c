/* SPDX-License-Identifier: MIT */
/*
 * merge: the newest snapshot as one image.
 *
 * A page is looked for from the newest layer to the oldest.  A database may shrink and
 * grow again: what a layer has beyond the end of a later one was cut off there, and must
 * not come back, so each layer counts up to its cut alone.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/crc32c.h"
#include "core/snapshot/internal.h"

enum err merge_init(struct merge *m, const struct state *st, struct why *why)
{
    uint32_t cut = UINT32_MAX;

    m->state = st;
    m->at = calloc(st->n + 1, sizeof *m->at);
    m->cut = calloc(st->n + 1, sizeof *m->cut);
    if (m->at == NULL || m->cut == NULL) {
        merge_fini(m);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    for (uint32_t i = st->n; i-- > 0;) {
        if (st->layers[i]->pages < cut) cut = st->layers[i]->pages;
        m->cut[i] = cut;
    }
    return ERR_OK;
}

void merge_fini(struct merge *m)
{
    free(m->at);
    free(m->cut);
    m->at = m->cut = NULL;
}

/* Position of the first of its pages that is not below page.  Mostly that is where the
 * last search ended, or the next one. */
static uint32_t seek(const struct layer *l, uint32_t *at, uint32_t page)
{
    uint32_t low = 0, high = l->n;

    if (*at < l->n && l->numbers[*at] < page) {
        low = *at + 1;
        if (low == l->n || l->numbers[low] >= page) return *at = low;
    } else if (*at == 0 || l->numbers[*at - 1] < page) {
        return *at;
    } else {
        high = *at - 1;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (l->numbers[middle] < page)
            low = middle + 1;
        else
            high = middle;
    }
    return *at = low;
}

enum err merge_find(struct merge *m, uint32_t page, struct place *out, struct why *why)
{
    const struct state *st = m->state;

    for (uint32_t i = st->n; i-- > 1 && page <= m->cut[i];) {
        const struct layer *l = st->layers[i];
        uint32_t pos = seek(l, &m->at[i], page);

        if (pos < l->n && l->numbers[pos] == page) {
            *out = (struct place){l, pos};
            return ERR_OK;
        }
    }
    if (page <= m->cut[0]) {
        *out = (struct place){st->layers[0], page - 1};
        return ERR_OK;
    }
    *out = (struct place){NULL, 0};
    if (page == SNAPSHOT_LOCK_PAGE) return ERR_OK;
    return why_set(why, ERR_CORRUPT,
                   "no file has page %" PRIu32 " of snapshot %s: " REMEDY, page,
                   st->meta.id);
}

static const uint8_t zeros[SNAPSHOT_PAGE];

uint32_t place_sum(const struct place *p)
{
    if (p->layer == NULL) return crc32c(0, zeros, sizeof zeros);
    return atomic_load_explicit(&p->layer->sums, memory_order_acquire)[p->pos];
}

/* The pages of a run are neighbours in the database and in the file. */
static enum err run_read(const struct place *p, uint32_t first, uint32_t n, uint8_t *out,
                         struct why *why)
{
    const struct layer *l = p->layer;
    uint64_t at =
        l->numbers != NULL ? delta_offset(p->pos) : (uint64_t)p->pos * SNAPSHOT_PAGE;
    const uint32_t *sums = atomic_load_explicit(&l->sums, memory_order_acquire) + p->pos;
    size_t got;
    enum err e = l->io->ops->read(l->file, at, out, (size_t)n * SNAPSHOT_PAGE, &got, why);

    if (e) return err_wrap(why, e, "page %" PRIu32, first);
    for (uint32_t i = 0; i < n; i++)
        if (got < ((size_t)i + 1) * SNAPSHOT_PAGE ||
            crc32c(0, out + (size_t)i * SNAPSHOT_PAGE, SNAPSHOT_PAGE) != sums[i])
            return why_set(why, ERR_CORRUPT,
                           "%s/%s: page %" PRIu32 " does not match its checksum: " REMEDY,
                           l->dir, l->name, first + i);
    return ERR_OK;
}

enum err merge_read(struct merge *m, uint32_t first, uint32_t n, void *out,
                    struct why *why)
{
    struct place start, next;
    uint8_t *to = out;
    enum err e = n > 0 ? merge_find(m, first, &start, why) : ERR_OK;

    while (n > 0 && !e) {
        uint32_t run = 1;

        for (; run < n && run < PIECE_PAGES; run++) {
            e = merge_find(m, first + run, &next, why);
            if (e || next.layer != start.layer || next.pos != start.pos + run) break;
        }
        if (e) break;
        if (start.layer == NULL)
            memset(to, 0, SNAPSHOT_PAGE);
        else
            e = run_read(&start, first, run, to, why);
        first += run;
        n -= run;
        to += (size_t)run * SNAPSHOT_PAGE;
        if (n > 0 && !e) e = merge_find(m, first, &start, why);
    }
    return e;
}

uint32_t merge_next_changed(struct merge *m, uint32_t page)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < m->state->n; i++) {
        const struct layer *l = m->state->layers[i];
        uint32_t pos = seek(l, &m->at[i], page);

        if (pos == l->n || l->numbers[pos] > m->cut[i]) continue;
        if (best == 0 || l->numbers[pos] < best) best = l->numbers[pos];
    }
    return best;
}
