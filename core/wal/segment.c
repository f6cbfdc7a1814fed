/* SPDX-License-Identifier: MIT */
/*
 * A segment, all numbers little-endian:
 *
 *     0        4096                                                            size
 *     | header | batch | entry | entry | hard | batch | entry | ... | zeroes ... |
 *              ^ records, each at a multiple of 8
 *
 * Header, one block, written and synced before the file gets its name, never touched
 * again:
 *
 *     0      8         12      16    24     32      40            48         56     64 65
 *     | magic | version | crc  | seq | size | first | before_term | prev_end | term |
 * vote len | vote 8       4         4      8     8      8       8             8 8      1
 * 255
 *
 * then zeroes.  crc is CRC-32C of the whole block with crc itself taken as zero.
 *
 * Record:
 *
 *     0     4     8      9      10     12        16      24     32
 *     | crc | len | kind | type | zero | raw_len | index | term | payload (len) | zeroes
 * to 8 | 4     4     1      1      2      4         8       8
 *
 * crc is CRC-32C of everything behind it, padding included, started from a seed made of
 * the segment's seq: bytes of another segment that turn up in this one are not records.
 *
 * Batches.  The first record after a sync is a RECORD_BATCH.  It is written only once the
 * sync before it has succeeded, so a valid one proves that all that lies before it was
 * durable.  This is how recovery tells a torn last write (nothing but the last batch can
 * be bad, and no batch follows) from rot in what was already promised (a batch follows
 * what is bad).
 *
 * Blocks.  Writes begin at the block in which the last one ended and rewrite the bytes of
 * older records in it as they were.  Whatever sectors of such a write reach the disk,
 * those bytes are the same.  The alternative, to pad each batch to a block, protects
 * against disks that destroy a sector they fail to write as well, but costs a zero-filled
 * block per sync: alone on a connection, 8 KiB of traffic per insert instead of 4.2, a
 * log 30 times as long, and a recovery that reads all of that. Disks promise whole
 * sectors; SQLite and PostgreSQL rely on it in the same way.
 *
 * A segment is zero-filled and synced before use (prepare.c), so a sync has no extents or
 * size to write: 8,500 per second where appending does 3,800.  Zeroes behind the last
 * record also mean that what a crash leaves there can be measured and erased.  For that
 * reason old segments are deleted and not recycled: their leftovers would have to be
 * zeroed all the same.
 */
#include "core/wal/segment.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/io.h"

enum { BUFFER_BYTES = 512 * 1024 }; /* a multiple of SEGMENT_BLOCK */

enum { /* header */
       H_MAGIC = 0,
       H_VERSION = 8,
       H_CRC = 12,
       H_SEQ = 16,
       H_SIZE = 24,
       H_FIRST = 32,
       H_BEFORE_TERM = 40,
       H_PREV_END = 48,
       H_TERM = 56,
       H_VOTE_LEN = 64,
       H_VOTE = 65,
};

enum { /* record */
       R_CRC = 0,
       R_LEN = 4,
       R_KIND = 8,
       R_TYPE = 9,
       R_ZERO = 10,
       R_RAW_LEN = 12,
       R_INDEX = 16,
       R_TERM = 24,
};

static const uint8_t magic[8] = {'r', 'q', 'w', 'a', 'l', 's', 'e', 'g'};
static const uint8_t zeroes[RECORD_ALIGN];

void segment_name(char out[SEGMENT_NAME_MAX], uint64_t first, uint64_t seq)
{
    snprintf(out, SEGMENT_NAME_MAX, "%020" PRIu64 "-%020" PRIu64 ".seg", first, seq);
}

bool segment_name_parse(const char *name, uint64_t *first, uint64_t *seq)
{
    char back[SEGMENT_NAME_MAX];

    if (strlen(name) != 45) return false;
    *first = strtoull(name, NULL, 10);
    *seq = strtoull(name + 21, NULL, 10);
    segment_name(back, *first, *seq);
    return strcmp(name, back) == 0;
}

static uint32_t header_crc(const uint8_t *p)
{
    uint32_t crc = crc32c(0, p, H_CRC);

    crc = crc32c(crc, zeroes, 4);
    return crc32c(crc, p + H_SEQ, SEGMENT_HEADER - H_SEQ);
}

void segment_header_encode(uint8_t out[SEGMENT_HEADER], const struct segment_header *h)
{
    size_t vote_len = strlen(h->vote);

    CHECK(vote_len <= RAFT_ID_MAX);
    memset(out, 0, SEGMENT_HEADER);
    memcpy(out + H_MAGIC, magic, sizeof magic);
    put_le32(out + H_VERSION, SEGMENT_VERSION);
    put_le64(out + H_SEQ, h->seq);
    put_le64(out + H_SIZE, h->size);
    put_le64(out + H_FIRST, h->first);
    put_le64(out + H_BEFORE_TERM, h->before_term);
    put_le64(out + H_PREV_END, h->prev_end);
    put_le64(out + H_TERM, h->term);
    out[H_VOTE_LEN] = (uint8_t)vote_len;
    memcpy(out + H_VOTE, h->vote, vote_len);
    put_le32(out + H_CRC, header_crc(out));
}

enum err segment_header_decode(struct segment_header *h, const void *data, size_t len,
                               struct why *why)
{
    const uint8_t *p = data;
    uint32_t version;

    if (len < sizeof magic || memcmp(p, magic, sizeof magic) != 0)
        return why_set(why, ERR_CORRUPT,
                       "offset 0: this is not a log segment (wrong magic)");
    if (len < SEGMENT_HEADER)
        return why_set(why, ERR_CORRUPT, "offset %zu: the file ends inside its header",
                       len);
    /* Later formats keep magic, version and crc where they are, so the two can be told
     * apart. */
    version = get_le32(p + H_VERSION);
    if (get_le32(p + H_CRC) != header_crc(p))
        return why_set(why, ERR_CORRUPT,
                       "offset 0: the header is damaged (bad CRC, format %" PRIu32 ")",
                       version);
    if (version != SEGMENT_VERSION)
        return why_set(why, ERR_UNSUPPORTED,
                       "the log is of format %" PRIu32 ", this release reads format %d: "
                       "start the release that wrote it",
                       version, SEGMENT_VERSION);
    h->seq = get_le64(p + H_SEQ);
    h->size = get_le64(p + H_SIZE);
    h->first = get_le64(p + H_FIRST);
    h->before_term = get_le64(p + H_BEFORE_TERM);
    h->prev_end = get_le64(p + H_PREV_END);
    h->term = get_le64(p + H_TERM);
    memset(h->vote, 0, sizeof h->vote);
    memcpy(h->vote, p + H_VOTE, p[H_VOTE_LEN]);
    if (h->seq == 0 || h->seq > LOG_NUMBER_MAX || h->first == 0 ||
        h->first > LOG_NUMBER_MAX || h->size % SEGMENT_BLOCK != 0 ||
        h->size <= SEGMENT_HEADER || h->size > SEGMENT_SIZE_MAX)
        return why_set(why, ERR_CORRUPT, "offset 0: the header makes no sense");
    return ERR_OK;
}

uint32_t record_seed(uint64_t seq)
{
    uint8_t p[8];

    put_le64(p, seq);
    return crc32c(crc32c(0, magic, sizeof magic), p, sizeof p);
}

/* header without its crc, payload, padding */
static uint32_t record_crc(const uint8_t *header, const uint8_t *payload, uint32_t len,
                           uint32_t seed)
{
    uint32_t crc = crc32c(seed, header + R_LEN, RECORD_HEADER - R_LEN);

    if (len > 0) crc = crc32c(crc, payload, len);
    return crc32c(crc, zeroes, (size_t)(record_size(len) - RECORD_HEADER - len));
}

void record_encode_header(uint8_t out[RECORD_HEADER], const struct record *r,
                          uint32_t seed)
{
    put_le32(out + R_LEN, r->len);
    out[R_KIND] = (uint8_t)r->kind;
    out[R_TYPE] = r->type;
    put_le16(out + R_ZERO, 0);
    put_le32(out + R_RAW_LEN, r->raw_len);
    put_le64(out + R_INDEX, r->index);
    put_le64(out + R_TERM, r->term);
    put_le32(out + R_CRC, record_crc(out, r->payload, r->len, seed));
}

uint64_t record_peek_size(const uint8_t *p)
{
    if (p[R_KIND] < RECORD_BATCH || p[R_KIND] > RECORD_RESET) return 0;
    if (get_le16(p + R_ZERO) != 0) return 0;
    return record_size(get_le32(p + R_LEN));
}

bool record_decode(struct record *r, uint32_t seed, const uint8_t *p, uint64_t left)
{
    uint64_t size;

    if (left < RECORD_HEADER) return false;
    size = record_peek_size(p);
    if (size == 0 || size > left) return false;
    r->kind = p[R_KIND];
    r->type = p[R_TYPE];
    r->len = get_le32(p + R_LEN);
    r->raw_len = get_le32(p + R_RAW_LEN);
    r->index = get_le64(p + R_INDEX);
    r->term = get_le64(p + R_TERM);
    r->payload = p + RECORD_HEADER;
    /* The padding as it is, not as it should be: rot in it is rot. */
    return get_le32(p + R_CRC) == crc32c(seed, p + R_LEN, (size_t)size - R_LEN);
}

/* --- writer ----------------------------------------------------------------------- */

enum err segment_init(struct segment *s, struct io *io, struct why *why)
{
    memset(s, 0, sizeof *s);
    s->io = io;
    s->buf = malloc(BUFFER_BYTES);
    if (s->buf == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    return ERR_OK;
}

void segment_fini(struct segment *s)
{
    if (s->file != NULL) s->io->ops->close(s->file);
    free(s->buf);
    s->file = NULL;
    s->buf = NULL;
}

void segment_continue(struct segment *s, struct io_file *file, uint64_t seq,
                      uint64_t size, uint64_t pos, const uint8_t *tail)
{
    size_t used = (size_t)(pos % SEGMENT_BLOCK);

    CHECK(pos % RECORD_ALIGN == 0);
    CHECK(used == 0 || tail != NULL);
    if (s->file != NULL) s->io->ops->close(s->file);
    s->file = file;
    s->seq = seq;
    s->size = size;
    s->seed = record_seed(seq);
    s->pos = s->synced = pos;
    s->base = pos - used;
    s->dirty = false;
    if (used > 0) memcpy(s->buf, tail, used);
}

bool segment_fits(const struct segment *s, uint32_t len)
{
    uint64_t size = record_size(len) + (s->pos == s->synced ? RECORD_HEADER : 0);

    return size <= s->size - s->pos;
}

/* Whole blocks only, or all with zeroes up to the end of the last block. */
static enum err write_out(struct segment *s, bool all, struct why *why)
{
    size_t used = (size_t)(s->pos - s->base);
    size_t whole = used / SEGMENT_BLOCK * SEGMENT_BLOCK;
    size_t n = all ? (size_t)round_up(used, SEGMENT_BLOCK) : whole;
    enum err e;

    CHECK(s->base + n <= s->size);
    if (n > used) memset(s->buf + used, 0, n - used);
    e = s->io->ops->write(s->file, s->base, s->buf, n, why);
    if (e) return e;
    s->written_bytes += n;
    if (all) s->dirty = false;
    /* The block that is not full yet is written again, with what comes next. */
    memmove(s->buf, s->buf + whole, used - whole);
    s->base += whole;
    return ERR_OK;
}

static enum err put_bytes(struct segment *s, const void *data, uint64_t len,
                          struct why *why)
{
    const uint8_t *p = data;

    while (len > 0) {
        size_t used = (size_t)(s->pos - s->base);
        size_t n = BUFFER_BYTES - used;

        if (n == 0) {
            enum err e = write_out(s, false, why);
            if (e) return e;
            continue;
        }
        if (n > len) n = (size_t)len;
        memcpy(s->buf + used, p, n);
        p += n;
        s->pos += n;
        len -= n;
    }
    return ERR_OK;
}

static enum err put_record(struct segment *s, const struct record *r, struct why *why)
{
    uint8_t header[RECORD_HEADER];
    enum err e;

    record_encode_header(header, r, s->seed);
    s->dirty = true;
    e = put_bytes(s, header, sizeof header, why);
    if (!e) e = put_bytes(s, r->payload, r->len, why);
    if (!e) e = put_bytes(s, zeroes, record_size(r->len) - RECORD_HEADER - r->len, why);
    return e;
}

static enum err put_batch(struct segment *s, struct why *why)
{
    struct record batch = {.kind = RECORD_BATCH, .index = s->pos};

    return put_record(s, &batch, why);
}

enum err segment_put(struct segment *s, const struct record *r, struct why *why)
{
    enum err e = ERR_OK;

    CHECK(segment_fits(s, r->len));
    if (s->pos == s->synced) e = put_batch(s, why);
    if (!e) e = put_record(s, r, why);
    return e;
}

enum err segment_flush(struct segment *s, struct why *why)
{
    return s->dirty ? write_out(s, true, why) : ERR_OK;
}

enum err segment_sync(struct segment *s, struct why *why)
{
    enum err e;

    if (s->synced == s->pos) return ERR_OK;
    e = segment_flush(s, why);
    if (!e) e = s->io->ops->sync(s->file, why);
    if (!e) s->synced = s->pos;
    return e;
}

void segment_seal(struct segment *s)
{
    if (s->file == NULL || s->pos != s->synced) return;
    if (s->pos <= SEGMENT_HEADER || s->size - s->pos < RECORD_HEADER) return;
    /* Should it fail, recovery only knows less. */
    if (put_batch(s, NULL) == ERR_OK && write_out(s, true, NULL) == ERR_OK)
        s->synced = s->pos;
}
