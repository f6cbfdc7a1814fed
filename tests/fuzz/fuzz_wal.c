/* SPDX-License-Identifier: MIT */
/* A segment's bytes: as they are, and with the CRCs put right so that what they guard is
 * reached. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/blob.h"
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/wal/segment.h"
#include "core/wal/wal.h"
#include "tests/lib/faulty_io.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    uint64_t next, bytes;
};

static enum err add(const struct raft_entry *e, void *arg, struct why *why)
{
    struct sum *s = arg;

    (void)why;
    CHECK(s->next == 0 || e->index == s->next);
    s->next = e->index + 1;
    if (e->payload != NULL)
        for (uint32_t i = 0; i < e->payload->len; i++) s->bytes += e->payload->data[i];
    return ERR_OK;
}

/* Open a log of that one segment; if that works, what it holds must still be there the
 * next time. */
static void open_log(const uint8_t *data, size_t size)
{
    struct faulty *disk = faulty_new();
    struct wal_options o = {
        .io = faulty_io(disk), .dir = "d", .segment_bytes = 8192, .compress_above = 50};
    struct raft_entry e = {.term = 9, .type = RAFT_ENTRY_APP};
    char name[SEGMENT_NAME_MAX], path[SEGMENT_NAME_MAX + 2] = "d/";
    struct segment_header h = {.seq = 1, .first = 1};
    struct wal_found found, again;
    struct sum sum = {0};
    struct wal *w;
    struct why why;

    (void)!segment_header_decode(&h, data, size, NULL);
    segment_name(name, h.first, h.seq);
    strcat(path, name);
    faulty_set(disk, path, data, size);
    if (wal_open(&w, &o, &found, add, &sum, &why) == ERR_OK) {
        CHECK(found.first > found.last || sum.next == found.last + 1);
        e.index = found.last + 1;
        CHECK(wal_append(w, &e, 1, &why) == ERR_OK);
        CHECK(wal_sync(w, &why) == ERR_OK);
        wal_close(w);
        memset(&sum, 0, sizeof sum);
        CHECK(wal_open(&w, &o, &again, add, &sum, &why) == ERR_OK);
        CHECK(again.last == e.index);
        CHECK(again.cut_bytes == 0);
        wal_close(w);
    } else {
        CHECK(!faulty_changed(disk) || why.code == ERR_CORRUPT);
    }
    faulty_free(disk);
}

static void mend(uint8_t *p, size_t size)
{
    struct segment_header h;
    size_t at = SEGMENT_HEADER;
    uint32_t seed;

    if (size < SEGMENT_HEADER) return;
    memcpy(p, "rqwalseg", 8);
    put_le32(p + 8, SEGMENT_VERSION);
    put_le64(p + 24, size / SEGMENT_BLOCK * SEGMENT_BLOCK);
    put_le32(p + 12, 0);
    put_le32(p + 12, crc32c(0, p, SEGMENT_HEADER));
    if (segment_header_decode(&h, p, size, NULL)) return;
    seed = record_seed(h.seq);
    while (size - at >= RECORD_HEADER) {
        uint64_t n = record_peek_size(p + at);
        if (n == 0 || n > size - at) break;
        put_le32(p + at, crc32c(seed, p + at + 4, (size_t)n - 4));
        at += (size_t)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    struct wal_scan scan;

    (void)!wal_scan_segment(data, size, &scan, NULL);
    CHECK(scan.valid_bytes <= size);
    open_log(data, size);
    if (copy == NULL) return 0;
    if (size > 0) memcpy(copy, data, size);
    mend(copy, size);
    open_log(copy, size);
    free(copy);
    return 0;
}
