/* SPDX-License-Identifier: MIT */
#include "core/wal/recover.h"

#include <inttypes.h>
#include <string.h>

#include "core/wal/wal.h"

void recovered_init(struct recovered *r)
{
    memset(r, 0, sizeof *r);
    log_index_init(&r->index, 1, 0);
}

void recovered_fini(struct recovered *r)
{
    log_index_fini(&r->index);
}

static enum err damaged(struct recovered *r, uint64_t offset, const char *what,
                        struct why *why)
{
    r->bad = offset;
    return why_set(why, ERR_CORRUPT, "offset %" PRIu64 ": %s", offset, what);
}

static enum err replay_entry(struct recovered *r, const struct record *rec,
                             uint64_t offset, struct why *why)
{
    if (rec->index != r->index.last + 1) {
        r->bad = offset;
        return why_set(why, ERR_CORRUPT,
                       "offset %" PRIu64 ": entry %" PRIu64 " stands where entry %" PRIu64
                       " belongs",
                       offset, rec->index, r->index.last + 1);
    }
    r->entries++;
    if (log_index_add(&r->index, rec->term, r->seq, offset))
        return why_set(why, ERR_NOMEM, "out of memory");
    return ERR_OK;
}

/* Records are valid bytes by now; what they say may still make no sense. */
static enum err replay(struct recovered *r, const struct record *rec, uint64_t offset,
                       struct why *why)
{
    switch (rec->kind) {
    case RECORD_BATCH:
        if (rec->index != offset)
            return damaged(r, offset, "a batch stands in another's place", why);
        r->batch = offset;
        return ERR_OK;
    case RECORD_ENTRY:
    case RECORD_ENTRY_ZLIB: return replay_entry(r, rec, offset, why);
    case RECORD_HARD:
        if (rec->len > RAFT_ID_MAX) return damaged(r, offset, "bad vote", why);
        r->term = rec->term;
        memset(r->vote, 0, sizeof r->vote);
        memcpy(r->vote, rec->payload, rec->len);
        return ERR_OK;
    case RECORD_TRUNCATE:
        if (rec->index == 0 || rec->index > r->index.last)
            return damaged(r, offset, "a truncation of entries that are not there", why);
        log_index_truncate(&r->index, rec->index, rec->term);
        return ERR_OK;
    case RECORD_RESET:
        if (rec->index > LOG_NUMBER_MAX) return damaged(r, offset, "bad reset", why);
        log_index_reset(&r->index, rec->index, rec->term);
        return ERR_OK;
    }
    return damaged(r, offset, "unknown record", why);
}

static enum err begin_segment(struct recovered *r, const struct segment_header *h,
                              struct why *why)
{
    if (r->seq == 0) {
        log_index_init(&r->index, h->first, h->before_term);
    } else if (h->first != r->index.last + 1) {
        r->bad = 0;
        return why_set(why, ERR_CORRUPT,
                       "offset 0: the segment begins at entry %" PRIu64
                       ", the one before it ends at entry %" PRIu64,
                       h->first, r->index.last);
    }
    r->seq = h->seq;
    r->term = h->term;
    memcpy(r->vote, h->vote, sizeof r->vote);
    r->index.mark_next = true;
    r->end = r->batch = SEGMENT_HEADER;
    r->junk = 0;
    return ERR_OK;
}

/* Bytes of data[from..len) up to the last that is not zero. */
static uint64_t nonzero_bytes(const uint8_t *data, uint64_t from, uint64_t len)
{
    static const uint8_t zeroes[SEGMENT_BLOCK];

    while (len - from >= sizeof zeroes &&
           memcmp(data + len - sizeof zeroes, zeroes, sizeof zeroes) == 0)
        len -= sizeof zeroes;
    while (len > from && data[len - 1] == 0) len--;
    return len - from;
}

/* Is there a batch in data[from..len), a multiple of RECORD_ALIGN from the start?  If so,
 * everything before it was once durable. */
static bool batch_follows(const uint8_t *data, uint64_t from, uint64_t len, uint32_t seed)
{
    struct record rec;

    for (; len - from >= RECORD_HEADER; from += RECORD_ALIGN) {
        const uint8_t *p = data + from;
        if (p[8] != RECORD_BATCH || record_peek_size(p) != RECORD_HEADER) continue;
        if (record_decode(&rec, seed, p, RECORD_HEADER) && rec.index == from) return true;
    }
    return false;
}

/* The records of the last segment stop at r->end.  Because a crash tore a write, or for
 * another reason? */
static enum err judge_tail(struct recovered *r, const uint8_t *data, uint64_t len,
                           const struct segment_header *h, struct why *why)
{
    bool cut_short = len < h->size;

    if (!cut_short) len = h->size;
    r->junk = nonzero_bytes(data, r->end, len);
    /* The size was synced before the first record was written, so no crash shortens a
     * file.  Only a header's worth of zeroes shows that nothing was ever written behind
     * the last record. */
    if (cut_short && (r->junk > 0 || len - r->end < RECORD_HEADER))
        return damaged(
            r, len, "the file has been cut short and its last entries are missing", why);
    if (r->junk == 0) return ERR_OK;
    /* To the end: the last record may itself end in zeroes. */
    if (batch_follows(data, r->end, len, record_seed(h->seq)))
        return damaged(r, r->end, "a record that was known to be synced is damaged", why);
    return ERR_OK;
}

enum err recover_segment(struct recovered *r, const void *bytes, size_t len, uint64_t end,
                         struct why *why)
{
    const uint8_t *data = bytes;
    struct segment_header h;
    struct record rec;
    uint64_t limit;
    uint32_t seed;
    enum err e;

    r->bad = 0;
    e = segment_header_decode(&h, data, len, why);
    if (e) return e;
    e = begin_segment(r, &h, why);
    if (e) return e;
    if (end > h.size || (end > 0 && end < SEGMENT_HEADER))
        return damaged(r, 0, "its successor claims that it ends elsewhere", why);
    limit = end > 0 ? end : h.size;
    if (limit > len) limit = len;
    seed = record_seed(h.seq);
    while (record_decode(&rec, seed, data + r->end, limit - r->end)) {
        e = replay(r, &rec, r->end, why);
        if (e) return e;
        r->end += record_size(rec.len);
    }
    if (end == 0) return judge_tail(r, data, len, &h, why);
    if (len < end) return damaged(r, len, "the file has been cut short", why);
    if (r->end != end)
        return damaged(r, r->end, "a record that was known to be synced is damaged", why);
    return ERR_OK;
}

enum err wal_scan_segment(const void *data, size_t len, struct wal_scan *out,
                          struct why *why)
{
    struct recovered r;
    enum err e;

    recovered_init(&r);
    e = recover_segment(&r, data, len, 0, why);
    *out = (struct wal_scan){.entries = r.entries,
                             .valid_bytes = r.end,
                             .torn = e == ERR_OK && r.junk > 0,
                             .corrupt = e == ERR_CORRUPT,
                             .bad_offset = e            ? r.bad
                                           : r.junk > 0 ? r.end
                                                        : 0};
    recovered_fini(&r);
    return e;
}
