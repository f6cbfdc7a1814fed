/* SPDX-License-Identifier: MIT */
/*
 * changes: which pages differ from what was captured last.
 *
 * They are noted before the WAL that has them can start over, that is before every
 * checkpoint, and when asked.  Whatever cannot be known for sure makes all of them count.
 */
#include <stdlib.h>
#include <string.h>

#include "core/db/internal.h"

enum { WORD_BITS = 64, PIECE_PAGES = 64 };

static bool set_reserve(struct db_page_set *s, uint32_t page)
{
    size_t need = (size_t)page / WORD_BITS + 1;
    uint64_t *grown;

    if (need <= s->words) return true;
    need += need / 2;
    grown = realloc(s->bits, need * sizeof *grown);
    if (!grown) return false;
    memset(grown + s->words, 0, (need - s->words) * sizeof *grown);
    s->bits = grown;
    s->words = need;
    return true;
}

static void set_add(struct db_page_set *s, uint32_t page)
{
    if (s->unknown) return;
    if (set_reserve(s, page))
        s->bits[page / WORD_BITS] |= UINT64_C(1) << page % WORD_BITS;
    else
        s->unknown = true;
}

static void set_clear(struct db_page_set *s)
{
    if (s->words > 0) memset(s->bits, 0, s->words * sizeof *s->bits);
    s->unknown = false;
}

/* Move what is in from over to s. */
static void set_take(struct db_page_set *s, struct db_page_set *from)
{
    if (from->unknown ||
        (from->words > 0 && !set_reserve(s, (uint32_t)(from->words - 1) * WORD_BITS)))
        s->unknown = true;
    for (size_t i = 0; i < from->words && !s->unknown; i++) s->bits[i] |= from->bits[i];
    set_clear(from);
}

/* The first page of the set from page on; 0 if there is none. */
static uint32_t set_next(const struct db_page_set *s, uint32_t page)
{
    for (size_t w = page / WORD_BITS; w < s->words; w++) {
        uint64_t bits = s->bits[w];

        if (w == page / WORD_BITS) bits &= UINT64_MAX << page % WORD_BITS;
        if (bits) return (uint32_t)(w * WORD_BITS) + (uint32_t)__builtin_ctzll(bits);
    }
    return 0;
}

static uint32_t set_count(const struct db_page_set *s, uint32_t pages)
{
    uint32_t n = 0;

    for (size_t w = 0; w < s->words && w <= pages / WORD_BITS; w++) {
        uint64_t bits = s->bits[w];

        if (w == pages / WORD_BITS && pages % WORD_BITS != WORD_BITS - 1)
            bits &= (UINT64_C(2) << pages % WORD_BITS) - 1;
        n += (uint32_t)__builtin_popcountll(bits);
    }
    return n;
}

void db_changes_init(struct db_changes *c)
{
    memset(c, 0, sizeof *c);
    c->set.unknown = true;
}

void db_changes_fini(struct db_changes *c)
{
    free(c->set.bits);
    free(c->fresh.bits);
}

static void add_frame(void *arg, uint32_t page, uint32_t frame)
{
    (void)frame;
    set_add(arg, page);
}

void db_changes_look(struct db *d, struct db_wal *wal)
{
    struct db_changes *c = &d->changes;

    if (db_wal_look(d->w->sqlite, wal, NULL) != ERR_OK) {
        memset(wal, 0, sizeof *wal);
        c->fresh.unknown = true;
        return;
    }
    if (memcmp(c->salt, wal->salt, sizeof c->salt) != 0 || wal->frames < c->noted) {
        /* It has started over, which takes a checkpoint: was that ours, before which we
         * had looked? */
        if (d->unguarded) c->fresh.unknown = true;
        memcpy(c->salt, wal->salt, sizeof c->salt);
        c->noted = 0;
    }
    if (db_wal_each(wal, c->noted, add_frame, &c->fresh, NULL) != ERR_OK)
        c->fresh.unknown = true;
    c->noted = wal->frames;
    d->unguarded = d->path && !d->guarding;
    d->wal_frames = (int)wal->frames;
    db_wal_count(d);
}

void db_changes_none(struct db *d)
{
    struct db_wal wal;

    db_changes_look(d, &wal);
    set_clear(&d->changes.fresh);
    set_clear(&d->changes.set);
    d->changes.set.unknown = wal.main == NULL;
    d->changes.pages = d->changes.pages_begun = wal.pages;
}

/* --- given away --------------------------------------------------------------------- */

enum err db_changes_begin(struct db *d, uint32_t *pages, uint32_t *changed,
                          struct why *why)
{
    struct db_changes *c = &d->changes;
    struct db_wal wal;

    db_changes_look(d, &wal);
    if (!wal.main) return db_wal_look(d->w->sqlite, &wal, why);
    set_take(&c->set, &c->fresh);
    /* New pages that were never written exist all the same: the one at 1 GiB. */
    for (uint64_t page = (uint64_t)c->pages + 1; page <= wal.pages && !c->set.unknown;
         page++)
        set_add(&c->set, (uint32_t)page);
    c->pages_begun = *pages = wal.pages;
    *changed = c->set.unknown ? UINT32_MAX : set_count(&c->set, wal.pages);
    return ERR_OK;
}

void db_captured(struct db *d)
{
    set_clear(&d->changes.set);
    d->changes.pages = d->changes.pages_begun;
}

static enum err put_changed(const struct db_page_set *s, struct db_image *im,
                            uint8_t *piece, db_put_pages put, void *arg, struct why *why)
{
    uint32_t first = set_next(s, 1);
    enum err e = ERR_OK;

    while (first > 0 && first <= im->pages && !e) {
        uint32_t n = 1, next;

        while ((next = set_next(s, first + n)) == first + n && n < PIECE_PAGES &&
               next <= im->pages)
            n++;
        e = db_image_read(im, first, n, piece, why);
        if (!e) e = put(arg, first, n, piece, why);
        first = next;
    }
    return e;
}

enum err db_capture(struct db *d, db_put_pages put, void *arg, struct why *why)
{
    struct db_image im = {0};
    struct db_wal wal;
    uint8_t *piece;
    enum err e;

    CHECK(!d->changes.set.unknown);
    e = db_wal_look(d->w->sqlite, &wal, why);
    if (!e) e = db_image_of(&im, &wal, why);
    if (e) return e;
    piece = malloc((size_t)PIECE_PAGES * DB_PAGE);
    e = piece ? put_changed(&d->changes.set, &im, piece, put, arg, why)
              : why_set(why, ERR_NOMEM, "snapshot: out of memory");
    free(piece);
    db_image_fini(&im);
    return e;
}

/* --- the whole ---------------------------------------------------------------------- */

enum err db_reader_pages(struct db_reader *r, db_put_pages put, void *arg,
                         struct why *why)
{
    uint8_t *piece = malloc((size_t)PIECE_PAGES * DB_PAGE);
    enum err e = ERR_OK;

    CHECK(r->pinned);
    if (!piece) return why_set(why, ERR_NOMEM, "snapshot: out of memory");
    for (uint64_t first = 1; first <= r->image.pages && !e; first += PIECE_PAGES) {
        uint64_t left = r->image.pages - first + 1;
        uint32_t n = left < PIECE_PAGES ? (uint32_t)left : PIECE_PAGES;

        e = db_image_read(&r->image, (uint32_t)first, n, piece, why);
        if (!e) e = put(arg, (uint32_t)first, n, piece, why);
    }
    free(piece);
    return e;
}
