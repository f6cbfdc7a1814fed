/* SPDX-License-Identifier: MIT */
/*
 * segment: one file of the log.  What its bytes mean, and how they get there.
 *
 * The codec half is pure.  The writer half gathers records in a bounded buffer and hands
 * them to the file in whole blocks.  Inside core/wal only; owner: whoever owns the wal.
 */
#ifndef CORE_WAL_SEGMENT_H
#define CORE_WAL_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/raft/raft.h" /* RAFT_ID_MAX */

struct io;
struct io_file;

enum {
    SEGMENT_VERSION = 1,
    SEGMENT_BLOCK = 4096,           /* what a disk or a page cache writes at a time */
    SEGMENT_HEADER = SEGMENT_BLOCK, /* so that records never share a block with it */
    SEGMENT_NAME_MAX = 48,
    RECORD_HEADER = 32,
    RECORD_ALIGN = 8,
};

/* Beyond these a number was not written by us, and adding to it could overflow. */
#define SEGMENT_SIZE_MAX ((uint64_t)1 << 34)
#define LOG_NUMBER_MAX   (UINT64_MAX / 2) /* index and seq */

struct segment_header {
    uint64_t seq; /* 1, 2, 3, ... over the life of the log; no two files ever share one */
    uint64_t size;        /* bytes the file was made with */
    uint64_t first;       /* index the next entry had when the segment was begun */
    uint64_t before_term; /* term of the entry before it, 0 if unknown */
    uint64_t prev_end; /* where the records of segment seq - 1 end; 0 if there was none */
    uint64_t term;     /* hard state at that time, so that older segments may go */
    char vote[RAFT_ID_MAX + 1];
};

enum record_kind {
    RECORD_BATCH = 1, /* everything before it is synced; index = its own offset */
    RECORD_ENTRY,
    RECORD_ENTRY_ZLIB, /* payload deflated; raw_len is what it was */
    RECORD_HARD,       /* term; payload = vote */
    RECORD_TRUNCATE,   /* entries >= index are gone; term = that of index - 1 */
    RECORD_RESET,      /* all entries are gone; the next follows (index, term) */
};

struct record {
    enum record_kind kind;
    uint8_t type;
    uint32_t raw_len;
    uint64_t index, term;
    const uint8_t *payload; /* borrowed */
    uint32_t len;
};

/* --- codec ------------------------------------------------------------------------ */

/* n rounded up to a multiple of to, a power of two. */
static inline uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) & ~(to - 1);
}

/* "<first, 20 digits>-<seq, 20 digits>.seg" */
void segment_name(char out[SEGMENT_NAME_MAX], uint64_t first, uint64_t seq);
bool segment_name_parse(const char *name, uint64_t *first, uint64_t *seq);

void segment_header_encode(uint8_t out[SEGMENT_HEADER], const struct segment_header *h);

/* ERR_CORRUPT, or ERR_UNSUPPORTED for a newer format. */
MUST_USE enum err segment_header_decode(struct segment_header *h, const void *data,
                                        size_t len, struct why *why);

/* What every CRC in segment seq starts from: a record is valid in its own segment only.
 */
uint32_t record_seed(uint64_t seq);

/* Bytes a record with len bytes of payload takes. */
static inline uint64_t record_size(uint32_t len)
{
    return round_up((uint64_t)RECORD_HEADER + len, RECORD_ALIGN);
}

void record_encode_header(uint8_t out[RECORD_HEADER], const struct record *r,
                          uint32_t seed);

/* The size claimed by the header at p (RECORD_HEADER bytes); 0 if it cannot be one. */
uint64_t record_peek_size(const uint8_t *p);

/* Decode and check the record at p, of which left bytes are there.  r->payload points
 * into p. */
bool record_decode(struct record *r, uint32_t seed, const uint8_t *p, uint64_t left);

/* --- writer ----------------------------------------------------------------------- */

struct segment {
    struct io *io;        /* borrowed */
    struct io_file *file; /* owned */
    uint64_t seq, size;
    uint32_t seed;
    uint64_t pos;    /* where the next record goes */
    uint64_t synced; /* <= pos; what lies before is durable */
    bool dirty;      /* the buffer holds bytes the file does not */
    uint64_t base; /* file offset of buf[0], a multiple of SEGMENT_BLOCK; pos - base bytes
                      are used */
    uint8_t *buf;  /* owned */
    uint64_t written_bytes; /* handed to the file so far, over all segments */
};

/* Memory only.  ERR_NOMEM. */
MUST_USE enum err segment_init(struct segment *s, struct io *io, struct why *why);
void segment_fini(struct segment *s); /* closes the file; safe on zeroes and twice */

/* Continue in file, which s owns from now on, at pos.  tail is the block that pos lies
 * in, or NULL if pos begins one.  All before pos is durable. */
void segment_continue(struct segment *s, struct io_file *file, uint64_t seq,
                      uint64_t size, uint64_t pos, const uint8_t *tail);

/* Is there room for one more record with that much payload? */
bool segment_fits(const struct segment *s, uint32_t len);

/* Add a record, for which there is room; the first one after a sync begins a batch. */
MUST_USE enum err segment_put(struct segment *s, const struct record *r, struct why *why);

/* Hand everything to the file, so that it can be read there. */
MUST_USE enum err segment_flush(struct segment *s, struct why *why);

/* Make everything durable: one write, one fdatasync; nothing if nothing was put since. */
MUST_USE enum err segment_sync(struct segment *s, struct why *why);

/* Note in the file, without a sync, that all of it is synced.  A courtesy to recovery. */
void segment_seal(struct segment *s);

#endif
