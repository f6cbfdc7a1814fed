/* SPDX-License-Identifier: MIT */
#include "core/wal/wal.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/base/blob.h"
#include "core/base/clock.h"
#include "core/base/io.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/wal/index.h"
#include "core/wal/prepare.h"
#include "core/wal/recover.h"
#include "core/wal/segment.h"

enum {
    SEGMENT_BYTES_DEFAULT = 16 * 1024 * 1024,
    SEGMENT_BYTES_FIRST = 1024 * 1024, /* small, so that a new node starts at once */
    SEGMENT_BYTES_MIN = SEGMENT_HEADER + SEGMENT_BLOCK,
    SEGMENT_BYTES_MAX = 1024 * 1024 * 1024,
    WINDOW_BYTES = 128 * 1024,
    SCRATCH_KEPT_BYTES = 1024 * 1024,
    PATH_MAX_BYTES = 4096,
    BULK_BYTES = 256 << 10, /* a record so large fills segments faster than they can be
                               prepared */
    ZLIB_RATIO_MAX = 1032,  /* no deflated byte becomes more (zlib's technical notes) */
};

struct kept { /* one segment on disk */
    uint64_t seq, first, size;
    uint64_t
        prev_end; /* where the records of the one before it end; 0 if there was none */
};

struct window {           /* the piece of a segment that was read last */
    struct io_file *file; /* owned, unless it is the active segment's */
    uint64_t seq;         /* of file; 0 = none */
    uint8_t *buf;         /* owned */
    uint64_t at;
    size_t len, cap;
};

struct wal {
    struct io *io;
    struct logger *logger;
    struct metrics *metrics; /* NULL: syncs are not timed */
    const struct clock *clock;
    char *dir; /* owned */
    uint64_t segment_bytes;
    size_t compress_above;
    uint8_t plain_type;

    struct log_index index;
    uint64_t term;
    char vote[RAFT_ID_MAX + 1];

    struct kept *kept; /* owned; oldest first, seq without gaps, the active one last */
    size_t n_kept, cap_kept;
    struct segment active;
    struct prepare prepare;
    uint64_t drop_seq;     /* segments before it may go once all is synced */
    uint64_t flushed_last; /* entries up to it can be read from the file */

    struct window window;
    uint8_t *scratch; /* owned; for a deflated payload */
    size_t scratch_cap;

    bool failed;
    struct why failure; /* the first one */

    /* The only fields other threads look at. */
    atomic_uint_least64_t stat_bytes, stat_segments, stat_syncs, stat_appends,
        stat_written;
};

/* --- failing ---------------------------------------------------------------------- */

/* After a failure nobody knows what the disk holds: this wal is over. */
static enum err fail(struct wal *w, enum err e, const struct why *cause, struct why *why)
{
    w->failed = true;
    w->failure = *cause;
    w->failure.code = e;
    return why_set(why, e, "%s", w->failure.text);
}

static enum err refuse(const struct wal *w, struct why *why)
{
    return why_set(why, ERR_IO, "the log failed earlier: %s", w->failure.text);
}

/* --- names ------------------------------------------------------------------------ */

static void segment_path(const struct wal *w, char out[PATH_MAX_BYTES],
                         const struct kept *k)
{
    char name[SEGMENT_NAME_MAX];

    segment_name(name, k->first, k->seq);
    snprintf(out, PATH_MAX_BYTES, "%s/%s", w->dir, name);
}

static const struct kept *kept_segment(const struct wal *w, uint64_t seq)
{
    const struct kept *k = &w->kept[seq - w->kept[0].seq];

    CHECK(k->seq == seq);
    return k;
}

static enum err kept_add(struct wal *w, const struct kept *k, struct why *why)
{
    if (w->n_kept == w->cap_kept) {
        size_t cap = w->cap_kept == 0 ? 8 : w->cap_kept * 2;
        struct kept *bigger = realloc(w->kept, cap * sizeof *bigger);
        if (bigger == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        w->kept = bigger;
        w->cap_kept = cap;
    }
    w->kept[w->n_kept++] = *k;
    return ERR_OK;
}

static void count_kept(struct wal *w)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < w->n_kept; i++) bytes += w->kept[i].size;
    atomic_store_explicit(&w->stat_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&w->stat_segments, w->n_kept, memory_order_relaxed);
}

/* --- the next segment ------------------------------------------------------------- */

/* Half as much again as the last one: with that, and with preparing no sooner than a
 * segment is three quarters full, zero-filling never writes more than 1.7 times what is
 * used (doubling: 2.7). */
static uint64_t next_size(const struct wal *w)
{
    uint64_t size = SEGMENT_BYTES_FIRST;

    if (w->n_kept > 0)
        size = round_up(w->kept[w->n_kept - 1].size / 2 * 3, SEGMENT_BLOCK);
    if (size < SEGMENT_BYTES_FIRST) size = SEGMENT_BYTES_FIRST;
    return size < w->segment_bytes ? size : w->segment_bytes;
}

/* Give the prepared file its header and its name. */
static enum err adopt(struct wal *w, struct io_file *file, const struct segment_header *h,
                      const struct kept *k, struct why *why)
{
    const struct io_ops *ops = w->io->ops;
    uint8_t header[SEGMENT_HEADER];
    char path[PATH_MAX_BYTES];
    enum err e;

    segment_path(w, path, k);
    segment_header_encode(header, h);
    e = ops->write(file, 0, header, sizeof header, why);
    if (!e) e = ops->sync(file, why);
    if (!e) e = ops->rename(w->io, w->prepare.path, path, why);
    if (!e) e = ops->sync_dir(w->io, w->dir, why);
    return e;
}

/* Begin a new segment with room for a record of need bytes and a batch before it.  The
 * old one is made durable first: the new one's header says where it ends, and is taken as
 * proof. */
static enum err roll(struct wal *w, uint64_t need, struct why *why)
{
    struct segment_header h = {.seq = 1, .first = w->index.last + 1, .term = w->term};
    struct io_file *file = NULL;
    struct kept k;
    enum err e;

    if (w->n_kept > 0) {
        e = segment_sync(&w->active, why);
        if (e) return err_wrap(why, e, "write to the log in %s", w->dir);
        h.seq = w->active.seq + 1;
        h.prev_end = w->active.pos;
    }
    h.before_term = log_index_term(&w->index, w->index.last);
    memcpy(h.vote, w->vote, sizeof h.vote);
    h.size = round_up(SEGMENT_HEADER + RECORD_HEADER + need, SEGMENT_BLOCK);
    if (h.size < next_size(w)) h.size = next_size(w);
    e = need >= BULK_BYTES ? prepare_take_sparse(&w->prepare, &file, &h.size, why)
                           : prepare_take(&w->prepare, &file, &h.size, why);
    k = (struct kept){h.seq, h.first, h.size, h.prev_end};
    if (!e) e = adopt(w, file, &h, &k, why);
    if (!e) e = kept_add(w, &k, why);
    if (e) {
        if (file != NULL) w->io->ops->close(file);
        return err_wrap(why, e, "make the next segment of the log in %s", w->dir);
    }
    if (w->window.seq == w->active.seq)
        w->window.seq = 0; /* its file is about to be closed */
    segment_continue(&w->active, file, h.seq, h.size, SEGMENT_HEADER, NULL);
    w->index.mark_next = true;
    w->flushed_last = w->index.last;
    count_kept(w);
    return ERR_OK;
}

static enum err put(struct wal *w, const struct record *r, struct why *why)
{
    enum err e = ERR_OK;

    if (!segment_fits(&w->active, r->len)) e = roll(w, record_size(r->len), why);
    if (e) return e;
    e = segment_put(&w->active, r, why);
    if (e) return err_wrap(why, e, "write to the log in %s", w->dir);
    if (w->active.pos > w->active.size / 4 * 3 && r->len < BULK_BYTES)
        prepare_start(&w->prepare, next_size(w));
    return ERR_OK;
}

/* --- recording -------------------------------------------------------------------- */

/* Deflate r's payload if that makes it smaller.  Not being able to is no failure. */
static void compress_payload(struct wal *w, struct record *r)
{
    uLong bound = compressBound(r->len);
    uLongf len;

    if (w->scratch_cap < bound) {
        free(w->scratch);
        w->scratch = malloc(bound);
        w->scratch_cap = w->scratch != NULL ? bound : 0;
    }
    if (w->scratch == NULL) return;
    len = w->scratch_cap;
    /* The fastest level: it stands before the sync that a client waits for. */
    if (compress2(w->scratch, &len, r->payload, r->len, Z_BEST_SPEED) != Z_OK) return;
    if (len >= r->len) return;
    r->kind = RECORD_ENTRY_ZLIB;
    r->raw_len = r->len;
    r->payload = w->scratch;
    r->len = (uint32_t)len;
}

static enum err append_entry(struct wal *w, const struct raft_entry *entry,
                             struct why *why)
{
    struct record r = {.kind = RECORD_ENTRY,
                       .type = entry->type,
                       .index = entry->index,
                       .term = entry->term};
    uint64_t offset;
    enum err e;

    if (entry->payload != NULL) {
        r.payload = entry->payload->data;
        r.len = entry->payload->len;
    }
    if (w->compress_above > 0 && r.len >= w->compress_above &&
        (w->plain_type == 0 || r.type != w->plain_type))
        compress_payload(w, &r);
    /* Asked afterwards: put() may have begun a new segment. */
    e = put(w, &r, why);
    if (e) return e;
    offset = w->active.pos - record_size(r.len);
    e = log_index_add(&w->index, entry->term, w->active.seq, offset);
    return e ? why_set(why, e, "out of memory") : ERR_OK;
}

enum err wal_append(struct wal *w, const struct raft_entry *entries, size_t n,
                    struct why *why)
{
    struct why cause = {0};
    enum err e = ERR_OK;

    if (w->failed) return refuse(w, why);
    for (size_t i = 0; i < n; i++)
        if (entries[i].index != w->index.last + 1 + i)
            return why_set(why, ERR_INVALID,
                           "entry %" PRIu64
                           " does not follow the last in the log, %" PRIu64,
                           entries[i].index, w->index.last + i);
    for (size_t i = 0; i < n && !e; i++) e = append_entry(w, &entries[i], &cause);
    if (w->scratch_cap > SCRATCH_KEPT_BYTES) { /* a big entry needed it; do not keep it */
        free(w->scratch);
        w->scratch = NULL;
        w->scratch_cap = 0;
    }
    if (e) return fail(w, e, &cause, why);
    atomic_fetch_add_explicit(&w->stat_appends, n, memory_order_relaxed);
    return ERR_OK;
}

static enum err put_or_fail(struct wal *w, const struct record *r, struct why *why)
{
    struct why cause = {0};
    enum err e = put(w, r, &cause);

    return e ? fail(w, e, &cause, why) : ERR_OK;
}

enum err wal_save_hard(struct wal *w, uint64_t term, const char *vote, struct why *why)
{
    size_t len = strlen(vote);
    struct record r = {.kind = RECORD_HARD,
                       .term = term,
                       .payload = (const uint8_t *)vote,
                       .len = (uint32_t)len};
    enum err e;

    if (w->failed) return refuse(w, why);
    if (len > RAFT_ID_MAX) return why_set(why, ERR_TOO_BIG, "a vote of %zu bytes", len);
    e = put_or_fail(w, &r, why);
    if (e) return e;
    w->term = term;
    memset(w->vote, 0, sizeof w->vote);
    memcpy(w->vote, vote, len);
    return ERR_OK;
}

enum err wal_truncate_from(struct wal *w, uint64_t from, struct why *why)
{
    struct record r = {.kind = RECORD_TRUNCATE, .index = from};
    enum err e;

    if (w->failed) return refuse(w, why);
    if (from > w->index.last) return ERR_OK;
    if (from < w->index.first)
        return why_set(why, ERR_INVALID,
                       "entries from %" PRIu64
                       " on cannot be removed: the log begins at %" PRIu64,
                       from, w->index.first);
    r.term = log_index_term(&w->index, from - 1);
    e = put_or_fail(w, &r, why);
    if (e) return e;
    log_index_truncate(&w->index, from, r.term);
    if (w->flushed_last >= from) w->flushed_last = from - 1;
    return ERR_OK;
}

enum err wal_reset(struct wal *w, uint64_t index, uint64_t term, struct why *why)
{
    struct record r = {.kind = RECORD_RESET, .index = index, .term = term};
    enum err e;

    if (w->failed) return refuse(w, why);
    if (index > LOG_NUMBER_MAX)
        return why_set(why, ERR_INVALID, "an index of %" PRIu64, index);
    e = put_or_fail(w, &r, why);
    if (e) return e;
    log_index_reset(&w->index, index, term);
    w->flushed_last = index;
    w->drop_seq = w->active.seq;
    return ERR_OK;
}

/* --- letting go ------------------------------------------------------------------- */

/* Oldest first, each one's going synced before the next: a crash must not leave a gap. */
static enum err drop_segments(struct wal *w, struct why *why)
{
    const struct io_ops *ops = w->io->ops;
    char path[PATH_MAX_BYTES];

    while (w->kept[0].seq < w->drop_seq) {
        enum err e;

        if (w->window.seq == w->kept[0].seq) {
            ops->close(w->window.file);
            w->window.seq = 0;
        }
        segment_path(w, path, &w->kept[0]);
        e = ops->unlink(w->io, path, why);
        if (e && e != ERR_NOT_FOUND) return e;
        e = ops->sync_dir(w->io, w->dir, why);
        if (e) return e;
        memmove(w->kept, w->kept + 1, --w->n_kept * sizeof *w->kept);
    }
    log_index_drop(&w->index, w->drop_seq);
    count_kept(w);
    return ERR_OK;
}

enum err wal_drop_before(struct wal *w, uint64_t index, struct why *why)
{
    struct why cause = {0};
    enum err e;

    if (w->failed) return refuse(w, why);
    /* What lies in a segment and still counts is less than the first index of its
     * successor. */
    for (size_t i = 1; i < w->n_kept && w->kept[i].first <= index; i++)
        if (w->drop_seq < w->kept[i].seq) w->drop_seq = w->kept[i].seq;
    /* Else the next sync does it: what replaces the old entries must be durable first. */
    if (w->active.pos != w->active.synced || w->kept[0].seq >= w->drop_seq) return ERR_OK;
    e = drop_segments(w, &cause);
    return e ? fail(w, e, &cause, why) : ERR_OK;
}

enum err wal_sync(struct wal *w, struct why *why)
{
    struct why cause = {0};
    bool needed = w->active.pos != w->active.synced;
    uint64_t begun_ns;
    enum err e;

    if (w->failed) return refuse(w, why);
    begun_ns = w->metrics && needed ? clock_mono_ns(w->clock) : 0;
    e = segment_sync(&w->active, &cause);
    if (w->metrics && needed)
        metrics_time(w->metrics, TIMER_wal_sync, clock_mono_ns(w->clock) - begun_ns);
    if (e) err_wrap(&cause, e, "write to the log in %s", w->dir);
    w->flushed_last = w->index.last;
    if (!e && w->kept[0].seq < w->drop_seq) e = drop_segments(w, &cause);
    if (e) return fail(w, e, &cause, why);
    atomic_fetch_add_explicit(&w->stat_syncs, needed, memory_order_relaxed);
    atomic_store_explicit(&w->stat_written, w->active.written_bytes,
                          memory_order_relaxed);
    return ERR_OK;
}

void wal_time_syncs(struct wal *w, struct metrics *m, const struct clock *clock)
{
    w->metrics = m;
    w->clock = clock;
}

/* --- reading ---------------------------------------------------------------------- */

static enum err window_open(struct wal *w, uint64_t seq, struct why *why)
{
    struct window *win = &w->window;
    char path[PATH_MAX_BYTES];
    enum err e;

    if (win->seq == seq) return ERR_OK;
    if (win->seq != 0 && win->seq != w->active.seq) w->io->ops->close(win->file);
    win->seq = 0;
    win->len = 0;
    win->file = w->active.file;
    if (seq != w->active.seq) {
        segment_path(w, path, kept_segment(w, seq));
        e = w->io->ops->open(w->io, &win->file, path, IO_READ, why);
        if (e) return e;
    }
    win->seq = seq;
    return ERR_OK;
}

static void window_close(struct wal *w)
{
    if (w->window.seq != 0 && w->window.seq != w->active.seq)
        w->io->ops->close(w->window.file);
    free(w->window.buf);
    memset(&w->window, 0, sizeof w->window);
}

/* Have the bytes [offset, offset + need) of the open segment in memory, as far as there
 * are any. */
static enum err window_fill(struct wal *w, uint64_t offset, size_t need, struct why *why)
{
    struct window *win = &w->window;

    if (offset >= win->at && offset - win->at <= win->len &&
        need <= win->len - (offset - win->at))
        return ERR_OK;
    if (win->cap < need || win->cap == 0) {
        size_t cap = need > WINDOW_BYTES ? need : WINDOW_BYTES;
        uint8_t *bigger = realloc(win->buf, cap);
        if (bigger == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        win->buf = bigger;
        win->cap = cap;
    }
    win->at = offset;
    return w->io->ops->read(win->file, offset, win->buf, win->cap, &win->len, why);
}

/* The record at offset of a segment; its payload lies in the window. */
static enum err window_record(struct wal *w, const struct log_mark *at, struct record *r,
                              struct why *why)
{
    struct window *win = &w->window;
    const struct kept *k = kept_segment(w, at->seq);
    uint64_t size = RECORD_HEADER, left = k->size - at->offset;
    char name[SEGMENT_NAME_MAX];
    enum err e = window_open(w, at->seq, why);

    if (!e && size <= left) e = window_fill(w, at->offset, (size_t)size, why);
    if (e) return e;
    if (size <= left && win->at + win->len >= at->offset + size) {
        size = record_peek_size(win->buf + (at->offset - win->at));
        if (size > 0 && size <= left) e = window_fill(w, at->offset, (size_t)size, why);
        if (e) return e;
    }
    left = win->at + win->len - at->offset;
    if (record_decode(r, record_seed(at->seq), win->buf + (at->offset - win->at), left))
        return ERR_OK;
    segment_name(name, k->first, k->seq);
    return why_set(why, ERR_CORRUPT, "%s/%s: offset %" PRIu64 ": a record is damaged",
                   w->dir, name, at->offset);
}

static enum err inflate_payload(struct blob **out, const struct record *r,
                                struct why *why)
{
    uLongf len = r->raw_len;

    /* A CRC is no reason to believe a length before allocating it. */
    if (r->raw_len / ZLIB_RATIO_MAX > r->len)
        return why_set(why, ERR_CORRUPT, "entry %" PRIu64 " cannot be decompressed",
                       r->index);
    *out = blob_new(r->raw_len);
    if (*out == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    if (uncompress((*out)->data, &len, r->payload, r->len) != Z_OK || len != r->raw_len)
        return why_set(why, ERR_CORRUPT, "entry %" PRIu64 " cannot be decompressed",
                       r->index);
    (*out)->len = r->raw_len;
    return ERR_OK;
}

/* entry->payload is the caller's to drop, also on failure. */
static enum err entry_of_record(struct raft_entry *entry, const struct record *r,
                                struct why *why)
{
    *entry = (struct raft_entry){.index = r->index, .term = r->term, .type = r->type};
    if (r->kind == RECORD_ENTRY_ZLIB) return inflate_payload(&entry->payload, r, why);
    if (r->len == 0) return ERR_OK;
    entry->payload = blob_copy(r->payload, r->len);
    return entry->payload == NULL ? why_set(why, ERR_NOMEM, "out of memory") : ERR_OK;
}

typedef enum err each_entry(const struct raft_entry *e, void *arg, struct why *why);

static enum err read_entries(struct wal *w, uint64_t from, uint64_t to, size_t max_bytes,
                             each_entry *each, void *arg, struct why *why)
{
    size_t mark = log_index_find(&w->index, from);
    struct log_mark at = w->index.marks[mark];
    size_t given = 0;
    enum err e = ERR_OK;

    w->window.len = 0; /* what it holds of the active segment may be old */
    while (!e && at.index <= to) {
        struct raft_entry entry;
        struct record r;
        size_t len;

        if (mark + 1 < w->index.n_marks && w->index.marks[mark + 1].index == at.index)
            at = w->index.marks[++mark];
        e = window_record(w, &at, &r, why);
        if (e) return e;
        at.offset += record_size(r.len);
        if (r.kind != RECORD_ENTRY && r.kind != RECORD_ENTRY_ZLIB) continue;
        if (r.index != at.index)
            return why_set(why, ERR_CORRUPT,
                           "entry %" PRIu64 " stands where entry %" PRIu64 " belongs",
                           r.index, at.index);
        if (at.index++ < from) continue;
        len = r.kind == RECORD_ENTRY_ZLIB ? r.raw_len : r.len;
        if (r.index > from && len > max_bytes - given) break;
        given += len < max_bytes - given ? len : max_bytes - given;
        e = entry_of_record(&entry, &r, why);
        if (!e) e = each(&entry, arg, why);
        blob_unref(entry.payload);
    }
    return e;
}

enum err wal_read(struct wal *w, uint64_t from, uint64_t to, size_t max_bytes,
                  each_entry *each, void *arg, struct why *why)
{
    struct why cause = {0};
    enum err e;

    if (w->failed) return refuse(w, why);
    if (from < w->index.first || from > w->index.last || to < from)
        return why_set(why, ERR_NOT_FOUND,
                       "entry %" PRIu64 " is not in the log, which holds %" PRIu64
                       " to %" PRIu64,
                       from, w->index.first, w->index.last);
    if (to > w->index.last) to = w->index.last;
    if (to > w->flushed_last) {
        e = segment_flush(&w->active, &cause);
        if (e) return fail(w, e, &cause, why);
        w->flushed_last = w->index.last;
    }
    e = read_entries(w, from, to, max_bytes, each, arg, why);
    if (w->window.cap > WINDOW_BYTES) { /* a big entry needed it; do not keep it */
        free(w->window.buf);
        w->window.buf = NULL;
        w->window.cap = w->window.len = 0;
    }
    return e;
}

/* --- opening ---------------------------------------------------------------------- */

/* Say where it was, and for damage what can be done about it. */
static enum err blame(const char *path, enum err e, struct why *why)
{
    struct why cause;

    if (why == NULL) return e;
    cause = *why;
    if (e != ERR_CORRUPT) return err_wrap(why, e, "%s", path);
    return why_set(
        why, e,
        "%s: %s.  No file has been changed.  Restore the data directory of this "
        "node from a backup or, if the cluster has others, empty it and let the "
        "node join again",
        path, cause.text);
}

static enum err blame_segment(const struct wal *w, const struct kept *k, enum err e,
                              struct why *why)
{
    char path[PATH_MAX_BYTES];

    segment_path(w, path, k);
    return blame(path, e, why);
}

struct listing {
    struct wal *w;
    bool leftover; /* of a segment that was being prepared */
    enum err e;
};

static void on_name(const char *name, void *arg)
{
    struct listing *l = arg;
    struct kept k = {0};

    if (strcmp(name, PREPARE_NAME) == 0) l->leftover = true;
    if (!segment_name_parse(name, &k.first, &k.seq)) return;
    if (!l->e) l->e = kept_add(l->w, &k, NULL);
}

static int by_seq(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;

    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Which segments are there?  They must follow one another. */
static enum err list_segments(struct wal *w, bool *leftover, struct why *why)
{
    struct listing l = {.w = w};
    enum err e = w->io->ops->list(w->io, w->dir, on_name, &l, why);

    if (e) return e;
    if (l.e) return why_set(why, l.e, "out of memory");
    *leftover = l.leftover;
    if (w->n_kept == 0) return ERR_OK;
    qsort(w->kept, w->n_kept, sizeof *w->kept, by_seq);
    for (size_t i = 1; i < w->n_kept; i++) {
        if (w->kept[i].seq == w->kept[i - 1].seq)
            return why_set(why, ERR_CORRUPT, "segment %" PRIu64 " is there twice",
                           w->kept[i].seq);
        if (w->kept[i].seq != w->kept[i - 1].seq + 1)
            return why_set(why, ERR_CORRUPT,
                           "segment %" PRIu64 " is missing: there are %" PRIu64
                           " and %" PRIu64,
                           w->kept[i - 1].seq + 1, w->kept[i - 1].seq, w->kept[i].seq);
    }
    return ERR_OK;
}

struct bytes {     /* a file in memory */
    uint8_t *data; /* owned */
    size_t len, cap;
};

static enum err read_file(struct wal *w, const struct kept *k, uint64_t limit,
                          struct bytes *out, struct why *why)
{
    const struct io_ops *ops = w->io->ops;
    char path[PATH_MAX_BYTES];
    struct io_file *file = NULL;
    uint64_t size = 0;
    enum err e;

    segment_path(w, path, k);
    e = ops->open(w->io, &file, path, IO_READ, why);
    if (!e) e = ops->size(file, &size, why);
    if (size > limit) size = limit;
    if (!e && size > out->cap) {
        free(out->data);
        out->data = malloc(size);
        out->cap = out->data != NULL ? size : 0;
        if (out->data == NULL) e = why_set(why, ERR_NOMEM, "out of memory");
    }
    out->len = 0;
    if (!e && size > 0) e = ops->read(file, 0, out->data, size, &out->len, why);
    ops->close(file);
    return e;
}

/* Is the segment the one that its name says? */
static enum err check_header(struct wal *w, struct kept *k, struct bytes *bytes,
                             struct why *why)
{
    struct segment_header h;
    enum err e = read_file(w, k, SEGMENT_HEADER, bytes, why);

    if (!e) e = segment_header_decode(&h, bytes->data, bytes->len, why);
    if (e) return e;
    if (h.seq != k->seq || h.first != k->first)
        return why_set(
            why, ERR_CORRUPT,
            "offset 0: the file has been renamed: its header is that of segment "
            "%" PRIu64,
            h.seq);
    k->size = h.size;
    k->prev_end = h.prev_end;
    return ERR_OK;
}

/* Replay all segments, oldest first; bytes is the last one's content then. */
static enum err replay_segments(struct wal *w, struct recovered *r, struct bytes *bytes,
                                struct why *why)
{
    enum err e = ERR_OK;

    for (size_t i = 0; i < w->n_kept; i++) {
        e = check_header(w, &w->kept[i], bytes, why);
        if (e) return blame_segment(w, &w->kept[i], e, why);
    }
    for (size_t i = 0; i < w->n_kept; i++) {
        uint64_t end = i + 1 < w->n_kept ? w->kept[i + 1].prev_end : 0;

        e = read_file(w, &w->kept[i], UINT64_MAX, bytes, why);
        if (!e) e = recover_segment(r, bytes->data, bytes->len, end, why);
        if (e) return blame_segment(w, &w->kept[i], e, why);
    }
    return ERR_OK;
}

/* What was accepted may be in the page cache alone, left there by a process that died or
 * whose sync failed: write the batch that nobody vouches for again, erase what follows
 * it, and sync. */
static enum err settle_tail(struct wal *w, const struct recovered *r, struct bytes *bytes,
                            struct why *why)
{
    const struct io_ops *ops = w->io->ops;
    const struct kept *k = &w->kept[w->n_kept - 1];
    uint64_t from = r->batch / SEGMENT_BLOCK * SEGMENT_BLOCK;
    uint64_t to = round_up(r->end + r->junk, SEGMENT_BLOCK);
    struct io_file *file = NULL;
    char path[PATH_MAX_BYTES];
    enum err e;

    segment_path(w, path, k);
    if (to > bytes->len) to = bytes->len;
    memset(bytes->data + r->end, 0, (size_t)r->junk);
    e = ops->open(w->io, &file, path, IO_WRITE, why);
    if (!e && to > from)
        e = ops->write(file, from, bytes->data + from, (size_t)(to - from), why);
    if (!e) e = ops->sync(file, why);
    if (!e && bytes->len < k->size) /* zeroes were cut off */
        e = prepare_zero(w->io, file, bytes->len, k->size, NULL, why);
    if (!e) e = ops->sync_dir(w->io, w->dir, why);
    if (e) {
        ops->close(file);
        return err_wrap(why, e, "%s", path);
    }
    segment_continue(&w->active, file, k->seq, k->size, r->end,
                     bytes->data + r->end / SEGMENT_BLOCK * SEGMENT_BLOCK);
    if (r->junk > 0)
        logger_warn(w->logger, "wal",
                    "%s: cut off %" PRIu64 " bytes at offset %" PRIu64
                    ", a write that a crash interrupted",
                    path, r->junk, r->end);
    return ERR_OK;
}

static enum err recover(struct wal *w, struct wal_found *found, struct why *why)
{
    struct bytes bytes = {0};
    struct recovered r;
    enum err e;

    recovered_init(&r);
    e = replay_segments(w, &r, &bytes, why);
    if (!e) e = settle_tail(w, &r, &bytes, why);
    if (!e) {
        w->index = r.index; /* moves */
        w->term = r.term;
        memcpy(w->vote, r.vote, sizeof w->vote);
        w->flushed_last = w->index.last;
        found->cut_bytes = r.junk;
        count_kept(w);
    } else {
        recovered_fini(&r);
    }
    free(bytes.data);
    return e;
}

/* The entry of dir in its parent must be durable, too. */
static enum err sync_parent(struct wal *w, struct why *why)
{
    const char *slash = strrchr(w->dir, '/');
    char parent[PATH_MAX_BYTES];

    if (slash == NULL) return w->io->ops->sync_dir(w->io, ".", why);
    if (slash == w->dir) return w->io->ops->sync_dir(w->io, "/", why);
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - w->dir), w->dir);
    return w->io->ops->sync_dir(w->io, parent, why);
}

static enum err open_dir(struct wal *w, struct wal_found *found, struct why *why)
{
    const struct io_ops *ops = w->io->ops;
    bool leftover = false;
    enum err e = ops->mkdir(w->io, w->dir, why);

    if (!e) e = list_segments(w, &leftover, why);
    if (e) return blame(w->dir, e, why);
    found->used = w->n_kept > 0;
    if (found->used) e = recover(w, found, why);
    if (!e && leftover) e = ops->unlink(w->io, w->prepare.path, why);
    if (!e && !found->used) e = sync_parent(w, why);
    if (!e && !found->used) e = roll(w, 0, why);
    if (e) return e;

    found->term = w->term;
    memcpy(found->vote, w->vote, sizeof found->vote);
    found->first = w->index.first;
    found->last = w->index.last;
    found->before_term = w->index.before_term;
    return ERR_OK;
}

enum err wal_open(struct wal **out, const struct wal_options *o, struct wal_found *found,
                  each_entry *each, void *arg, struct why *why)
{
    struct wal *w = calloc(1, sizeof *w);
    enum err e = ERR_OK;

    *out = NULL;
    memset(found, 0, sizeof *found);
    if (w == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    w->io = o->io;
    w->logger = o->logger;
    w->compress_above = o->compress_above;
    w->plain_type = o->plain_type;
    w->segment_bytes = o->segment_bytes == 0 ? SEGMENT_BYTES_DEFAULT
                                             : round_up(o->segment_bytes, SEGMENT_BLOCK);
    if (w->segment_bytes < SEGMENT_BYTES_MIN) w->segment_bytes = SEGMENT_BYTES_MIN;
    if (w->segment_bytes > SEGMENT_BYTES_MAX) w->segment_bytes = SEGMENT_BYTES_MAX;
    log_index_init(&w->index, 1, 0);
    if (strlen(o->dir) + SEGMENT_NAME_MAX >= PATH_MAX_BYTES)
        e = why_set(why, ERR_INVALID, "the name of the log's directory is too long");
    w->dir = strdup(o->dir);
    if (!e && w->dir == NULL) e = why_set(why, ERR_NOMEM, "out of memory");
    if (!e) e = prepare_init(&w->prepare, o->io, o->dir, o->prepare_in_background, why);
    if (!e) e = segment_init(&w->active, o->io, why);
    if (!e) e = open_dir(w, found, why);
    if (!e && each != NULL && w->index.first <= w->index.last)
        e = read_entries(w, w->index.first, w->index.last, SIZE_MAX, each, arg, why);
    if (e) {
        w->failed = true; /* so that closing writes nothing */
        wal_close(w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

void wal_close(struct wal *w)
{
    if (w == NULL) return;
    if (!w->failed) segment_seal(&w->active);
    prepare_fini(&w->prepare);
    window_close(w);
    segment_fini(&w->active);
    log_index_fini(&w->index);
    free(w->kept);
    free(w->scratch);
    free(w->dir);
    free(w);
}

/* --- looking in ------------------------------------------------------------------- */

uint64_t wal_first(const struct wal *w)
{
    return w->index.first;
}

uint64_t wal_last(const struct wal *w)
{
    return w->index.last;
}

void wal_stats(const struct wal *w, struct wal_stats *out)
{
    out->bytes = atomic_load_explicit(&w->stat_bytes, memory_order_relaxed);
    out->segments = atomic_load_explicit(&w->stat_segments, memory_order_relaxed);
    out->syncs = atomic_load_explicit(&w->stat_syncs, memory_order_relaxed);
    out->appends = atomic_load_explicit(&w->stat_appends, memory_order_relaxed);
    out->written_bytes = atomic_load_explicit(&w->stat_written, memory_order_relaxed);
}
