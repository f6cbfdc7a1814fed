/* SPDX-License-Identifier: MIT */
/*
 * incoming: a whole image from another node, which may come in several attempts.
 *
 *   incoming.pages   page 1, page 2, ...
 *   incoming.sums    "RQSNINCO" 8, version 4, length 4 and bytes of the description,
 * crc32c of all that 4; then a crc32c of each page that has been written
 *
 * Nothing is synced before the commit.  After a crash any part of these may be missing or
 * be of an earlier one; what counts are the pages whose CRC is in a log that begins with
 * the very description that is asked for.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/blob.h"
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/logger.h"
#include "core/snapshot/internal.h"

static const char magic[8] = {'R', 'Q', 'S', 'N', 'I', 'N', 'C', 'O'};

enum { INCOMING_VERSION = 1, HEAD = 16 };

void incoming_remove(struct snapshot_store *s)
{
    if (s->incoming_index == 0) return;
    store_unlink(s, INCOMING_PAGES);
    store_unlink(s, INCOMING_SUMS);
    s->incoming_index = 0;
}

static enum err open_file(struct snapshot_store *s, struct io_file **out,
                          const char *name, int flags, struct why *why)
{
    char path[PATH_BYTES];

    store_path(s, path, name);
    return s->io->ops->open(s->io, out, path, flags, why);
}

/* The log's head: its description, *at: where the CRCs begin.  NULL if it is no good. */
static struct blob *read_head(struct io *io, struct io_file *log, uint64_t *at)
{
    uint8_t head[HEAD], sum[4];
    struct blob *b;
    uint32_t len;
    size_t got;

    if (io->ops->read(log, 0, head, sizeof head, &got, NULL) || got != sizeof head)
        return NULL;
    len = get_le32(head + 12);
    if (memcmp(head, magic, sizeof magic) != 0 || len > SNAPSHOT_EXTRA_MAX + (1 << 20) ||
        get_le32(head + 8) != INCOMING_VERSION)
        return NULL;
    b = blob_new(len);
    if (b == NULL) return NULL;
    b->len = len;
    if (io->ops->read(log, HEAD, b->data, len, &got, NULL) || got != len) goto bad;
    if (io->ops->read(log, HEAD + len, sum, 4, &got, NULL) || got != 4) goto bad;
    if (crc32c(crc32c(0, head, HEAD), b->data, len) != get_le32(sum)) goto bad;
    *at = (uint64_t)HEAD + len + 4;
    return b;
bad:
    blob_unref(b);
    return NULL;
}

void incoming_look(struct snapshot_store *s)
{
    struct snapshot_meta m;
    struct io_file *log = NULL;
    struct blob *b = NULL;
    uint64_t at;

    snapshot_meta_init(&m);
    if (open_file(s, &log, INCOMING_SUMS, IO_READ, NULL) == ERR_OK)
        b = read_head(s->io, log, &at);
    s->io->ops->close(log);
    if (b != NULL && snapshot_meta_decode(&m, b->data, b->len, NULL) == ERR_OK &&
        (s->state->n == 0 || m.index > s->state->meta.index))
        s->incoming_index = m.index;
    if (s->incoming_index == 0) {
        store_unlink(s, INCOMING_PAGES);
        store_unlink(s, INCOMING_SUMS);
    }
    snapshot_meta_fini(&m);
    blob_unref(b);
}

/* --- going on ----------------------------------------------------------------------- */

/* Pages whose CRCs are in the log, up to the first that is not what it says. */
static enum err check_pages(struct snapshot_writer *w, struct why *why)
{
    struct io *io = w->store->io;
    uint8_t sums[PIECE_PAGES * 4];
    enum err e = ERR_OK;

    while (!e && w->n < w->meta.pages) {
        uint32_t some = w->meta.pages - w->n, had = w->n;
        size_t pages, logged;

        if (some > PIECE_PAGES) some = PIECE_PAGES;
        e = io->ops->read(w->log, w->log_at + (uint64_t)w->n * 4, sums, (size_t)some * 4,
                          &logged, why);
        if (!e)
            e = io->ops->read(w->file, (uint64_t)w->n * SNAPSHOT_PAGE, w->buffer,
                              (size_t)some * SNAPSHOT_PAGE, &pages, why);
        for (uint32_t i = 0; i < some && !e; i++) {
            uint32_t sum =
                crc32c(0, w->buffer + (size_t)i * SNAPSHOT_PAGE, SNAPSHOT_PAGE);

            if (logged < ((size_t)i + 1) * 4 || get_le32(sums + (size_t)i * 4) != sum ||
                pages < ((size_t)i + 1) * SNAPSHOT_PAGE)
                break;
            e = writer_count(w, had + i + 1, sum, why);
        }
        if (w->n < had + some) break;
    }
    w->written = w->logged = w->n;
    return e;
}

/* False: nothing that could be gone on with. */
static bool resume(struct snapshot_writer *w)
{
    struct snapshot_store *s = w->store;
    struct blob *b = NULL;
    bool same;

    if (s->incoming_index != w->meta.index) return false;
    if (open_file(s, &w->log, INCOMING_SUMS, IO_WRITE, NULL)) return false;
    b = read_head(s->io, w->log, &w->log_at);
    same = b != NULL && b->len == w->bytes->len &&
           memcmp(b->data, w->bytes->data, b->len) == 0;
    blob_unref(b);
    if (!same || open_file(s, &w->file, INCOMING_PAGES, IO_WRITE, NULL)) return false;
    if (check_pages(w, NULL)) return false;
    if (s->io->ops->truncate(w->file, (uint64_t)w->n * SNAPSHOT_PAGE, NULL)) return false;
    return s->io->ops->truncate(w->log, w->log_at + (uint64_t)w->n * 4, NULL) == ERR_OK;
}

/* --- starting anew ------------------------------------------------------------------ */

static enum err write_head(struct snapshot_writer *w, struct why *why)
{
    struct io *io = w->store->io;
    uint8_t head[HEAD], sum[4];
    uint32_t len = w->bytes->len;
    enum err e;

    memcpy(head, magic, sizeof magic);
    put_le32(head + 8, INCOMING_VERSION);
    put_le32(head + 12, len);
    put_le32(sum, crc32c(crc32c(0, head, HEAD), w->bytes->data, len));
    e = io->ops->write(w->log, 0, head, HEAD, why);
    if (!e) e = io->ops->write(w->log, HEAD, w->bytes->data, len, why);
    if (!e) e = io->ops->write(w->log, (uint64_t)HEAD + len, sum, sizeof sum, why);
    w->log_at = (uint64_t)HEAD + len + 4;
    return e;
}

static enum err start_anew(struct snapshot_writer *w, struct why *why)
{
    struct snapshot_store *s = w->store;
    enum err e;

    s->io->ops->close(w->file);
    s->io->ops->close(w->log);
    w->file = w->log = NULL;
    w->n = w->written = w->logged = w->last = 0;
    s->incoming_index = w->meta.index > 0 ? w->meta.index : 1;
    store_unlink(s, INCOMING_PAGES);
    store_unlink(s, INCOMING_SUMS);
    e = open_file(s, &w->file, INCOMING_PAGES, IO_EXCL, why);
    if (!e) e = open_file(s, &w->log, INCOMING_SUMS, IO_EXCL, why);
    return e ? e : write_head(w, why);
}

static enum err begin(struct snapshot_writer *w, struct why *why)
{
    struct state *st = store_state(w->store);
    bool stale = st->n > 0 && st->meta.index >= w->meta.index;
    enum err e = ERR_OK;

    if (stale)
        e = why_set(why, ERR_STALE, "there is a snapshot at %" PRIu64 " already",
                    st->meta.index);
    state_unref(st);
    if (e) return e;
    if (!id_fits(&w->meta))
        return why_set(why, ERR_INVALID, "the snapshot that is sent has an unusable id");
    w->bytes = snapshot_meta_encode(&w->meta);
    if (w->bytes == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    memcpy(w->name, INCOMING_PAGES, sizeof INCOMING_PAGES);
    if (resume(w)) {
        logger_info(w->store->logger, "snapshot-store",
                    "receiving %s goes on after %" PRIu32 " of %" PRIu32 " pages",
                    w->meta.id, w->n, w->meta.pages);
        return ERR_OK;
    }
    e = start_anew(w, why);
    if (e) incoming_remove(w->store);
    return e;
}

enum err snapshot_begin_incoming(struct snapshot_store *s, struct snapshot_writer **out,
                                 const struct snapshot_meta *m, uint32_t *have,
                                 struct why *why)
{
    enum err e = writer_new(s, out, WRITER_INCOMING, m, why);

    if (e) return e;
    e = begin(*out, why);
    *have = (*out)->n;
    if (e) {
        writer_free(*out);
        *out = NULL;
    }
    return e;
}

enum err incoming_log(struct snapshot_writer *w, struct why *why)
{
    uint8_t bytes[PIECE_PAGES * 4];
    enum err e = ERR_OK;

    while (!e && w->logged < w->written) {
        uint32_t some = w->written - w->logged;

        if (some > PIECE_PAGES) some = PIECE_PAGES;
        for (uint32_t i = 0; i < some; i++)
            put_le32(bytes + (size_t)i * 4, w->sums[w->logged + i]);
        e = w->store->io->ops->write(w->log, w->log_at + (uint64_t)w->logged * 4, bytes,
                                     (size_t)some * 4, why);
        w->logged += some;
    }
    return e;
}

void snapshot_suspend(struct snapshot_writer *w)
{
    /* What cannot be written will be sent again. */
    if (w->failed.code == ERR_OK) w->failed.code = writer_flush(w, NULL);
    if (w->failed.code == ERR_NO_SPACE) incoming_remove(w->store);
    writer_free(w);
}
