/* SPDX-License-Identifier: MIT */
#include "tests/unit/snapshot/harness.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/blob.h"

void page_fill(uint8_t out[SNAPSHOT_PAGE], uint32_t page, uint32_t version)
{
    for (size_t i = 0; i < SNAPSHOT_PAGE / 8; i++) {
        uint64_t word = (i + 1) * ((uint64_t)version << 32 | page);

        memcpy(out + i * 8, &word, sizeof word);
    }
}

struct image image_next(const struct image *before, uint64_t index, uint32_t pages,
                        uint32_t first, uint32_t nth)
{
    struct image i = {.index = index, .pages = pages};

    CHECK(pages <= IMAGE_PAGES_MAX);
    for (uint32_t p = 1; p <= pages; p++)
        i.version[p] = p > before->pages || (p >= first && (p - first) % nth == 0)
                           ? (uint32_t)index
                           : before->version[p];
    return i;
}

struct snapshot_meta image_meta(const struct image *i)
{
    struct snapshot_meta m;

    snapshot_meta_init(&m);
    m.index = i->index;
    m.term = 3;
    m.time_ns = i->index * 1000;
    m.effect_hash = i->index * 77;
    m.changed_index = i->index - 1;
    m.cluster_id = 5;
    m.pages = i->pages;
    m.state_len = 3;
    memcpy(m.state, "abc", 3);
    if (i->index % 20 == 0) m.extra = blob_copy(&i->index, sizeof i->index);
    CHECK(raft_config_put(&m.config, "1", "localhost:4002", true) == ERR_OK);
    CHECK(raft_config_put(&m.config, "2", "localhost:4004", false) == ERR_OK);
    m.config.index = i->index - 1;
    return m;
}

static enum err put_some(struct snapshot_writer *w, const struct image *i, uint32_t first,
                         uint32_t n, struct why *why)
{
    uint8_t *data = malloc((size_t)n * SNAPSHOT_PAGE);
    enum err e;

    CHECK(data != NULL);
    for (uint32_t k = 0; k < n; k++)
        page_fill(data + (size_t)k * SNAPSHOT_PAGE, first + k, i->version[first + k]);
    e = snapshot_put(w, first, n, data, why);
    free(data);
    return e;
}

static enum err end(struct snapshot_writer *w, const struct image *i, enum err e,
                    struct why *why)
{
    if (e) {
        snapshot_abort(w);
        return e;
    }
    if (i->marker[0] != '\0') snapshot_put_marker(w, i->marker, strlen(i->marker));
    return snapshot_commit(w, why);
}

enum err put_base(struct snapshot_store *s, const struct image *i, struct why *why)
{
    struct snapshot_meta m = image_meta(i);
    struct snapshot_writer *w;
    enum err e = snapshot_begin_base(s, &w, &m, 1000, why);

    snapshot_meta_fini(&m);
    if (e) return e;
    for (uint32_t p = 1, n; p <= i->pages && !e; p += n) {
        n = i->pages - p + 1 < p + 6 ? i->pages - p + 1 : p + 6;
        e = put_some(w, i, p, n, why);
    }
    return end(w, i, e, why);
}

static bool is_new(const struct image *before, const struct image *i, uint32_t p)
{
    return p > before->pages || i->version[p] != before->version[p];
}

enum err put_delta(struct snapshot_store *s, const struct image *before,
                   const struct image *i, struct why *why)
{
    struct snapshot_meta m = image_meta(i);
    struct snapshot_writer *w;
    enum err e = snapshot_begin_delta(s, &w, &m, 1000, why);

    snapshot_meta_fini(&m);
    if (e) return e;
    for (uint32_t p = 1; p <= i->pages && !e; p++) {
        uint32_t n = 0;

        while (n < 5 && p + n <= i->pages && is_new(before, i, p + n)) n++;
        if (n == 0) continue;
        e = put_some(w, i, p, n, why);
        p += n - 1;
    }
    return end(w, i, e, why);
}

enum err receive(struct snapshot_store *s, const struct image *i, uint32_t last,
                 uint32_t *have, struct why *why)
{
    struct snapshot_meta m = image_meta(i);
    struct snapshot_writer *w;
    uint32_t had;
    enum err e;

    snprintf(m.id, sizeof m.id, "3-%" PRIu64 "-99", i->index);
    e = snapshot_begin_incoming(s, &w, &m, &had, why);
    snapshot_meta_fini(&m);
    if (e) return e;
    if (have != NULL) *have = had;
    for (uint32_t p = had + 1; p <= last && !e; p += 7)
        e = put_some(w, i, p, last - p + 1 < 7 ? last - p + 1 : 7, why);
    if (last == i->pages) return end(w, i, e, why);
    snapshot_suspend(w);
    return e;
}

/* --- comparing ---------------------------------------------------------------------- */

static char difference[700];

static const char *page_differs(struct snapshot_reader *r, const struct image *i,
                                uint32_t page, const uint8_t *data)
{
    uint8_t want[SNAPSHOT_PAGE], other[SNAPSHOT_PAGE];

    page_fill(want, page, i->version[page]);
    memcpy(other, want, sizeof other);
    other[page % SNAPSHOT_PAGE] ^= 1;
    if (memcmp(want, data, SNAPSHOT_PAGE) != 0)
        snprintf(difference, sizeof difference, "page %" PRIu32 " is another", page);
    else if (!snapshot_same_page(r, page, want) || snapshot_same_page(r, page, other))
        snprintf(difference, sizeof difference, "page %" PRIu32 " has another CRC", page);
    else
        return NULL;
    return difference;
}

static bool same_meta(const struct snapshot_meta *m, const struct image *i)
{
    struct snapshot_meta want = image_meta(i);
    struct blob *a, *b;
    bool same;

    memcpy(want.id, m->id, sizeof want.id);
    a = snapshot_meta_encode(&want);
    b = snapshot_meta_encode(m);
    CHECK(a != NULL);
    CHECK(b != NULL);
    same = a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
    blob_unref(a);
    blob_unref(b);
    snapshot_meta_fini(&want);
    return same;
}

const char *reader_differs(struct snapshot_reader *r, const struct image *i)
{
    uint8_t *all = malloc((size_t)i->pages * SNAPSHOT_PAGE + 1);
    const char *d = NULL;
    struct why why;

    CHECK(all != NULL);
    if (!same_meta(snapshot_reader_meta(r), i)) d = "another description";
    if (d == NULL && snapshot_read(r, 1, i->pages, all, &why)) {
        snprintf(difference, sizeof difference, "%s", why.text);
        d = difference;
    }
    for (uint32_t p = 1; p <= i->pages && d == NULL; p++)
        d = page_differs(r, i, p, all + (size_t)(p - 1) * SNAPSHOT_PAGE);
    /* Backwards, and in ranges that begin anywhere. */
    for (uint32_t p = i->pages; p > 0 && d == NULL; p -= p > 9 ? 9 : p) {
        uint32_t n = i->pages - p + 1 < 11 ? i->pages - p + 1 : 11;

        if (snapshot_read(r, p, n, all, &why)) d = "cannot be read in pieces";
        for (uint32_t k = 0; k < n && d == NULL; k++)
            d = page_differs(r, i, p + k, all + (size_t)k * SNAPSHOT_PAGE);
    }
    free(all);
    return d;
}

const char *differs(struct snapshot_store *s, const struct image *i)
{
    uint8_t marker[SNAPSHOT_MARKER_MAX];
    struct snapshot_reader *r;
    struct why why;
    size_t len = snapshot_marker(s, marker);
    const char *d;
    enum err e;

    if (len != strlen(i->marker) || memcmp(marker, i->marker, len) != 0)
        return "another marker";
    e = snapshot_reader_open(s, &r, &why);
    if (e == ERR_NOT_FOUND) return i->index == 0 ? NULL : "there is none";
    if (e) {
        snprintf(difference, sizeof difference, "%s", why.text);
        return difference;
    }
    d = i->index == 0 ? "there is one" : reader_differs(r, i);
    snapshot_reader_close(r);
    return d;
}
