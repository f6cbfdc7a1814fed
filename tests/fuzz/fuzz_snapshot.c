/* SPDX-License-Identifier: MIT */
/* The bytes of a manifest, a description and a delta's head: as they are, and with the
 * CRCs put right so that what they guard is reached; and a store that is opened with
 * them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/blob.h"
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/snapshot/internal.h"
#include "tests/lib/faulty_io.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 112 /* of a delta */ };

static void put_crc(uint8_t *p, size_t size)
{
    if (size >= 4) put_le32(p + size - 4, crc32c(0, p, size - 4));
}

/* What can be decoded comes back the same. */
static void try_meta(const uint8_t *data, size_t size)
{
    struct snapshot_meta m;
    struct blob *b;

    snapshot_meta_init(&m);
    if (snapshot_meta_decode(&m, data, size, NULL) == ERR_OK) {
        b = snapshot_meta_encode(&m);
        CHECK(b != NULL);
        CHECK(b->len <= size); /* members may come sorted another way */
        blob_unref(b);
    }
    snapshot_meta_fini(&m);
}

static void try_manifest(const uint8_t *data, size_t size)
{
    struct manifest m;
    struct blob *b;

    if (manifest_decode(&m, data, size, NULL)) return;
    b = manifest_encode(&m);
    CHECK(b != NULL);
    CHECK(b->len == size);
    CHECK(memcmp(b->data, data, size) == 0);
    blob_unref(b);
    manifest_fini(&m);
}

/* A base of two pages and a delta with one of them. */
static struct faulty *make_disk(void)
{
    static const uint8_t pages[2 * SNAPSHOT_PAGE] = {1, 2, 3};
    struct snapshot_meta meta = {.index = 5, .term = 1, .pages = 2};
    struct faulty *disk = faulty_new();
    struct snapshot_store *s;
    struct snapshot_writer *w;

    CHECK(snapshot_store_open(&s, faulty_io(disk), "d", NULL, NULL) == ERR_OK);
    CHECK(snapshot_begin_base(s, &w, &meta, 1, NULL) == ERR_OK);
    CHECK(snapshot_put(w, 1, 2, pages, NULL) == ERR_OK);
    CHECK(snapshot_commit(w, NULL) == ERR_OK);
    meta.index = 6;
    CHECK(snapshot_begin_delta(s, &w, &meta, 1, NULL) == ERR_OK);
    CHECK(snapshot_put(w, 2, 1, pages, NULL) == ERR_OK);
    CHECK(snapshot_commit(w, NULL) == ERR_OK);
    snapshot_store_close(s);
    return disk;
}

static const char *file_of(const uint8_t *data, size_t size)
{
    if (size < 8) return NULL;
    if (memcmp(data, "RQSNAPS\n", 8) == 0) return "d/manifest";
    if (memcmp(data, "RQSNDELT", 8) == 0) return "d/1-6-1.delta";
    if (memcmp(data, "RQSNSUMS", 8) == 0) return "d/base-1-5-1.sums-1";
    return memcmp(data, "RQSNINCO", 8) == 0 ? "d/incoming.sums" : NULL;
}

/* The bytes take the place of the file that they might be. */
static void try_store(const uint8_t *data, size_t size)
{
    static struct faulty *good;
    const char *name = file_of(data, size);
    struct snapshot_store *s = NULL;
    struct snapshot_reader *r;
    uint8_t out[2 * SNAPSHOT_PAGE];
    struct why why = {0};
    struct faulty *disk;

    if (name == NULL) return;
    if (good == NULL) good = make_disk();
    disk = faulty_clone(good);
    faulty_set(disk, name, data, size);
    if (snapshot_store_open(&s, faulty_io(disk), "d", NULL, &why) == ERR_OK) {
        if (snapshot_reader_open(s, &r, &why) == ERR_OK) {
            uint32_t n = snapshot_reader_meta(r)->pages;

            if (n > 0) (void)!snapshot_read(r, 1, n < 2 ? n : 2, out, &why);
            snapshot_reader_close(r);
        }
        (void)!snapshot_fold(s, NULL, &why);
        snapshot_store_close(s);
    } else {
        CHECK(why.code != ERR_OK);
        CHECK(why.text[0] != '\0');
    }
    faulty_free(disk);
}

static void try_all(const uint8_t *data, size_t size)
{
    struct delta_head h;

    try_meta(data, size);
    try_manifest(data, size);
    (void)!delta_head_decode(&h, data, size, NULL);
    try_store(data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);

    try_all(data, size);
    if (copy == NULL) return 0;
    if (size > 0) memcpy(copy, data, size);
    put_crc(copy, size < HEAD ? size : HEAD);
    try_all(copy, size);
    if (size > 0) memcpy(copy, data, size);
    put_crc(copy, size);
    try_all(copy, size);
    free(copy);
    return 0;
}
