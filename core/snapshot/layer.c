/* SPDX-License-Identifier: MIT */
/*
 * layer: one snapshot's files.  Little endian, pages as they are.
 *
 *   base-<id>.sqlite      page 1, page 2, ...
 *   base-<id>.sums-<g>    "RQSNSUMS" 8, version 4, pages 4, crc32c of the array 4,
 *                         crc32c of the 20 bytes before 4; then the array: a crc32c of
 *                         each page
 *   <id>.delta            head, in a page of its own: "RQSNDELT" 8, version 4, page size
 * 4, pages of the database 4, pages here 4, crc32c of the index 4, id 80 (zeros behind
 * it), crc32c of the 108 bytes before 4; the pages; index: the number of each page,
 * ascending, then the crc32c of each
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/snapshot/internal.h"

static const char delta_magic[8] = {'R', 'Q', 'S', 'N', 'D', 'E', 'L', 'T'};
static const char sums_magic[8] = {'R', 'Q', 'S', 'N', 'S', 'U', 'M', 'S'};

enum { LAYER_VERSION = 1, DELTA_HEAD = 112, SUMS_HEAD = 24 };

uint64_t delta_offset(uint32_t pos)
{
    return ((uint64_t)pos + 1) * SNAPSHOT_PAGE;
}

uint64_t delta_bytes(uint32_t n)
{
    return delta_offset(n) + (uint64_t)n * 8;
}

uint64_t sums_bytes(uint32_t pages)
{
    return SUMS_HEAD + (uint64_t)pages * 4;
}

void delta_name(char out[FILE_NAME_MAX], const char *id)
{
    snprintf(out, FILE_NAME_MAX, "%s.delta", id);
}

void base_name(char out[FILE_NAME_MAX], const char *id)
{
    snprintf(out, FILE_NAME_MAX, "base-%s.sqlite", id);
}

void sums_name(char out[FILE_NAME_MAX], const char *id, uint64_t generation)
{
    snprintf(out, FILE_NAME_MAX, "base-%s.sums-%" PRIu64, id, generation);
}

/* --- one in memory ------------------------------------------------------------------ */

struct layer *layer_new(struct io *io, const char *dir, const char *id)
{
    struct layer *l = calloc(1, sizeof *l);

    if (l == NULL) return NULL;
    atomic_init(&l->refs, 1);
    l->io = io;
    l->dir = dir;
    snprintf(l->id, sizeof l->id, "%s", id);
    return l;
}

struct layer *layer_ref(struct layer *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void layer_unref(struct layer *l)
{
    if (l == NULL) return;
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1) return;
    l->io->ops->close(l->file);
    l->io->ops->close(l->sums_file);
    free(l->numbers);
    free(l->sums);
    free(l);
}

/* --- reading ------------------------------------------------------------------------ */

static enum err bad(const struct layer *l, struct why *why, const char *name,
                    const char *what)
{
    return why_set(why, ERR_CORRUPT, "%s/%s %s: " REMEDY, l->dir, name, what);
}

static enum err open_listed(struct layer *l, struct io_file **out, const char *name,
                            struct why *why)
{
    char path[PATH_BYTES];
    enum err e;

    snprintf(path, sizeof path, "%s/%s", l->dir, name);
    e = l->io->ops->open(l->io, out, path, IO_READ, why);
    return e == ERR_NOT_FOUND ? bad(l, why, name, "is missing") : e;
}

static enum err check_size(struct layer *l, struct io_file *f, const char *name,
                           uint64_t least, bool may_be_more, struct why *why)
{
    uint64_t size;
    enum err e = l->io->ops->size(f, &size, why);

    if (e) return e;
    if (size < least || (size > least && !may_be_more))
        return why_set(why, ERR_CORRUPT,
                       "%s/%s has %" PRIu64 " bytes instead of %" PRIu64 ": " REMEDY,
                       l->dir, name, size, least);
    return ERR_OK;
}

/* len bytes of f that must be there; *out is the caller's to free. */
static enum err read_all(struct layer *l, struct io_file *f, const char *name,
                         uint64_t at, size_t len, uint8_t **out, struct why *why)
{
    size_t got = 0;
    enum err e;

    *out = malloc(len > 0 ? len : 1);
    if (*out == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    e = l->io->ops->read(f, at, *out, len, &got, why);
    if (!e && got != len) e = bad(l, why, name, "is cut short");
    if (e) free(*out);
    return e;
}

/* In place: from the bytes of the file to numbers. */
static uint32_t *to_numbers(uint8_t *bytes, size_t n)
{
    uint32_t *out = (uint32_t *)(void *)bytes;

    for (size_t i = 0; i < n; i++) {
        uint32_t v = get_le32(bytes + i * 4);
        memcpy(&out[i], &v, sizeof v);
    }
    return out;
}

enum err delta_head_decode(struct delta_head *h, const uint8_t *data, size_t len,
                           struct why *why)
{
    if (len < DELTA_HEAD || memcmp(data, delta_magic, sizeof delta_magic) != 0)
        return why_set(why, ERR_CORRUPT, "is not a delta");
    if (get_le32(data + 8) > LAYER_VERSION)
        return why_set(why, ERR_UNSUPPORTED, "was written by a later version");
    h->sum = get_le32(data + DELTA_HEAD - 4);
    if (crc32c(0, data, DELTA_HEAD - 4) != h->sum)
        return why_set(why, ERR_CORRUPT, "has a head that does not match its checksum");
    h->pages = get_le32(data + 16);
    h->n = get_le32(data + 20);
    h->index_sum = get_le32(data + 24);
    memcpy(h->id, data + 28, sizeof h->id);
    if (get_le32(data + 8) != LAYER_VERSION || get_le32(data + 12) != SNAPSHOT_PAGE ||
        h->n > h->pages || memchr(h->id, 0, sizeof h->id) == NULL)
        return why_set(why, ERR_CORRUPT, "has a malformed head");
    return ERR_OK;
}

static enum err read_head(struct layer *l, struct delta_head *h, struct why *why)
{
    uint8_t head[DELTA_HEAD];
    struct why local = {0};
    size_t got;
    enum err e = l->io->ops->read(l->file, 0, head, sizeof head, &got, why);

    if (e) return e;
    e = delta_head_decode(h, head, got, &local);
    if (e == ERR_UNSUPPORTED)
        return why_set(why, e, "%s/%s %s", l->dir, l->name, local.text);
    if (e) return bad(l, why, l->name, local.text);
    if (h->n != l->n || h->pages != l->pages || h->sum != l->sum ||
        strcmp(h->id, l->id) != 0)
        return bad(l, why, l->name, "is not the delta that the manifest speaks of");
    return ERR_OK;
}

static enum err read_index(struct layer *l, uint32_t index_sum, struct why *why)
{
    size_t bytes = (size_t)l->n * 8, half = (size_t)l->n * 4;
    uint32_t *sums;
    uint8_t *index;
    enum err e = read_all(l, l->file, l->name, delta_offset(l->n), bytes, &index, why);

    if (e) return e;
    if (crc32c(0, index, bytes) != index_sum) {
        free(index);
        return bad(l, why, l->name, "has an index that does not match its checksum");
    }
    sums = malloc(half > 0 ? half : 1);
    if (sums == NULL) {
        free(index);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    memcpy(sums, to_numbers(index, (size_t)l->n * 2) + l->n, half);
    l->numbers = (uint32_t *)(void *)index;
    atomic_store(&l->sums, sums);
    for (uint32_t i = 0; i < l->n; i++)
        if (l->numbers[i] == 0 || l->numbers[i] > l->pages ||
            (i > 0 && l->numbers[i] <= l->numbers[i - 1]))
            return bad(l, why, l->name, "has page numbers that are not in order");
    return ERR_OK;
}

enum err layer_open_delta(struct layer *l, struct why *why)
{
    struct delta_head h;
    enum err e;

    delta_name(l->name, l->id);
    e = open_listed(l, &l->file, l->name, why);
    if (!e) e = check_size(l, l->file, l->name, delta_bytes(l->n), false, why);
    if (!e) e = read_head(l, &h, why);
    if (!e) e = read_index(l, h.index_sum, why);
    return e;
}

enum err layer_open_base(struct layer *l, uint32_t least, bool folding, struct why *why)
{
    enum err e = open_listed(l, &l->file, l->name, why);

    if (!e)
        e = check_size(l, l->file, l->name, (uint64_t)least * SNAPSHOT_PAGE, folding,
                       why);
    if (!e) e = open_listed(l, &l->sums_file, l->sums_name, why);
    if (!e)
        e = check_size(l, l->sums_file, l->sums_name, sums_bytes(l->pages), false, why);
    return e;
}

enum err layer_load_sums(struct layer *l, struct why *why)
{
    uint8_t head[SUMS_HEAD], *bytes;
    uint32_t *none = NULL;
    size_t got;
    enum err e;

    if (atomic_load(&l->sums) != NULL) return ERR_OK;
    e = l->io->ops->read(l->sums_file, 0, head, sizeof head, &got, why);
    if (e) return e;
    if (got != sizeof head || memcmp(head, sums_magic, sizeof sums_magic) != 0)
        return bad(l, why, l->sums_name, "is not a file of checksums");
    if (get_le32(head + 8) > LAYER_VERSION)
        return why_set(why, ERR_UNSUPPORTED, "%s/%s was written by a later version",
                       l->dir, l->sums_name);
    if (crc32c(0, head, SUMS_HEAD - 4) != get_le32(head + SUMS_HEAD - 4) ||
        get_le32(head + 8) != LAYER_VERSION || get_le32(head + 12) != l->pages ||
        get_le32(head + 16) != l->sum)
        return bad(l, why, l->sums_name, "is not the one that the manifest speaks of");
    e = read_all(l, l->sums_file, l->sums_name, SUMS_HEAD, (size_t)l->pages * 4, &bytes,
                 why);
    if (e) return e;
    if (crc32c(0, bytes, (size_t)l->pages * 4) != l->sum) {
        free(bytes);
        return bad(l, why, l->sums_name, "does not match its checksum");
    }
    if (!atomic_compare_exchange_strong(&l->sums, &none, to_numbers(bytes, l->pages)))
        free(bytes); /* another thread was quicker */
    return ERR_OK;
}

/* --- writing ------------------------------------------------------------------------ */

/* As bytes, the caller's to free; NULL when out of memory. */
static uint8_t *to_bytes(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b)
{
    uint8_t *out = malloc(n_a + n_b > 0 ? (n_a + n_b) * 4 : 1);

    if (out == NULL) return NULL;
    for (size_t i = 0; i < n_a; i++) put_le32(out + i * 4, a[i]);
    for (size_t i = 0; i < n_b; i++) put_le32(out + (n_a + i) * 4, b[i]);
    return out;
}

enum err delta_finish(struct io *io, struct io_file *f, const char *id, uint32_t pages,
                      uint32_t n, const uint32_t *numbers, const uint32_t *sums,
                      uint32_t *sum, struct why *why)
{
    uint8_t *index = to_bytes(numbers, n, sums, n), head[SNAPSHOT_PAGE] = {0};
    size_t len = (size_t)n * 8;
    enum err e = ERR_OK;

    if (index == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    memcpy(head, delta_magic, sizeof delta_magic);
    put_le32(head + 8, LAYER_VERSION);
    put_le32(head + 12, SNAPSHOT_PAGE);
    put_le32(head + 16, pages);
    put_le32(head + 20, n);
    put_le32(head + 24, crc32c(0, index, len));
    snprintf((char *)head + 28, SNAPSHOT_ID_MAX, "%s", id);
    *sum = crc32c(0, head, DELTA_HEAD - 4);
    put_le32(head + DELTA_HEAD - 4, *sum);
    if (n > 0) e = io->ops->write(f, delta_offset(n), index, len, why);
    if (!e) e = io->ops->write(f, 0, head, sizeof head, why);
    free(index);
    return e;
}

enum err sums_write(struct io *io, const char *path, uint32_t pages, const uint32_t *sums,
                    uint32_t *sum, struct io_file **out, struct why *why)
{
    uint8_t head[SUMS_HEAD], *bytes = to_bytes(sums, pages, NULL, 0);
    size_t len = (size_t)pages * 4;
    enum err e;

    *out = NULL;
    if (bytes == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    *sum = crc32c(0, bytes, len);
    memcpy(head, sums_magic, sizeof sums_magic);
    put_le32(head + 8, LAYER_VERSION);
    put_le32(head + 12, pages);
    put_le32(head + 16, *sum);
    put_le32(head + 20, crc32c(0, head, SUMS_HEAD - 4));
    e = io->ops->open(io, out, path, IO_EXCL, why);
    if (!e) e = io->ops->write(*out, 0, head, sizeof head, why);
    if (!e && len > 0) e = io->ops->write(*out, SUMS_HEAD, bytes, len, why);
    if (!e) e = io->ops->sync(*out, why);
    free(bytes);
    return e;
}
