/* SPDX-License-Identifier: MIT */
/*
 * harness: images whose every page can be told from every other, and a store that is
 * compared with them.
 *
 * Included, with its .c, by the tests of the snapshot store.
 */
#ifndef TESTS_UNIT_SNAPSHOT_HARNESS_H
#define TESTS_UNIT_SNAPSHOT_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/snapshot/snapshot.h"
#include "tests/lib/faulty_io.h"

enum { IMAGE_PAGES_MAX = 256 };

struct image {
    uint64_t index; /* 0: there is no snapshot */
    uint32_t pages;
    uint32_t version[IMAGE_PAGES_MAX + 1]; /* of each page, by its number */
    char marker[16];                       /* "" = none */
};

void page_fill(uint8_t out[SNAPSHOT_PAGE], uint32_t page, uint32_t version);

/* The next image: at index, with that many pages, of which every nth from first on is
 * new, and those that the one before does not have. */
struct image image_next(const struct image *before, uint64_t index, uint32_t pages,
                        uint32_t first, uint32_t nth);

/* The caller's to fini. */
struct snapshot_meta image_meta(const struct image *i);

/* Write it, the pages in pieces of a few. */
enum err put_base(struct snapshot_store *s, const struct image *i, struct why *why);
enum err put_delta(struct snapshot_store *s, const struct image *before,
                   const struct image *i, struct why *why);
/* Receive it, up to page last: suspended if that is not all of it.  *have may be NULL. */
enum err receive(struct snapshot_store *s, const struct image *i, uint32_t last,
                 uint32_t *have, struct why *why);

/* NULL, or how the newest snapshot differs from it. */
const char *differs(struct snapshot_store *s, const struct image *i);
const char *reader_differs(struct snapshot_reader *r, const struct image *i);

#endif
