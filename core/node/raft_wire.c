/* SPDX-License-Identifier: MIT */
/*
 * The fields but the entries are packed by protobuf-c.  The entries are written here, as
 * the encoding has it: field 16 of the message, each with its length, and inside the
 * fields index, term, type and, last, payload.  So a large payload is never copied on its
 * way from the log's cache to the kernel.
 */
#include "core/node/raft_wire.h"

#include <event2/buffer.h>
#include <string.h>

#include "core/net/net.h"

enum {
    REFERENCE_ABOVE = 2048, /* bytes; what is smaller is quicker copied */
    ENTRY_HEAD_MAX = 64,
    HEAD_MAX = 1024, /* two ids and twenty numbers */
    ENTRIES_TAG = 16 << 3 | 2,
    INDEX_TAG = 1 << 3,
    TERM_TAG = 2 << 3,
    TYPE_TAG = 3 << 3,
    PAYLOAD_TAG = 4 << 3 | 2
};

static size_t put_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;

    for (; v >= 0x80; v >>= 7) p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

/* The entry without its payload's bytes; gives the length. */
static size_t put_entry_head(uint8_t *out, const struct raft_entry *e)
{
    uint8_t in[ENTRY_HEAD_MAX / 2 + 8];
    size_t len = e->payload ? e->payload->len : 0, n = 0, at;

    in[n++] = INDEX_TAG;
    n += put_varint(in + n, e->index);
    in[n++] = TERM_TAG;
    n += put_varint(in + n, e->term);
    in[n++] = TYPE_TAG;
    n += put_varint(in + n, e->type);
    if (len > 0) {
        in[n++] = PAYLOAD_TAG;
        n += put_varint(in + n, len);
    }
    at = put_varint(out, ENTRIES_TAG);
    at += put_varint(out + at, n + len);
    memcpy(out + at, in, n);
    return at + n;
}

static bool add_entry(struct evbuffer *out, const struct raft_entry *e)
{
    uint8_t head[ENTRY_HEAD_MAX];

    if (evbuffer_add(out, head, put_entry_head(head, e)) != 0) return false;
    if (e->payload == NULL || e->payload->len == 0) return true;
    if (e->payload->len > REFERENCE_ABOVE) return net_add_blob(out, e->payload, 0);
    return evbuffer_add(out, e->payload->data, e->payload->len) == 0;
}

bool raft_wire_encode(struct evbuffer *out, const struct raft_message *m)
{
    Rqlite__RaftMessage w = RQLITE__RAFT_MESSAGE__INIT;
    uint8_t head[HEAD_MAX];
    size_t len;

    w.type = (uint32_t)m->type;
    w.to = (char *)m->to;
    w.from = (char *)m->from;
    w.term = m->term;
    w.last_index = m->last_index;
    w.last_term = m->last_term;
    w.granted = m->granted;
    w.transfer = m->transfer;
    w.prev_index = m->prev_index;
    w.prev_term = m->prev_term;
    w.commit = m->commit;
    w.read = m->read;
    w.sent_ms = m->sent_ms;
    w.hash_index = m->hash_index;
    w.hash = m->hash;
    w.accepted = m->accepted;
    w.match = m->match;
    w.conflict_term = m->conflict_term;
    w.conflict_index = m->conflict_index;
    w.snap_index = m->snap_index;
    w.snap_term = m->snap_term;
    len = rqlite__raft_message__get_packed_size(&w);
    CHECK(len <= sizeof head);
    (void)rqlite__raft_message__pack(&w, head);
    if (evbuffer_add(out, head, len) != 0) return false;
    for (size_t i = 0; i < m->n_entries; i++)
        if (!add_entry(out, &m->entries[i])) return false;
    return true;
}

static bool copy_id(char out[RAFT_ID_MAX + 1], const char *id)
{
    size_t len = strlen(id);

    if (len == 0 || len > RAFT_ID_MAX) return false;
    memcpy(out, id, len + 1);
    return true;
}

/* What the sender's own raft guarantees of the entries of one message. */
static enum err check_entries(const Rqlite__RaftMessage *in, struct why *why)
{
    uint64_t term = in->prev_term;

    if (in->n_entries > 0 && in->type != RAFT_MSG_APPEND)
        return why_set(why, ERR_CORRUPT, "Raft message of type %u with entries",
                       in->type);
    if (in->n_entries > RAFT_WIRE_ENTRIES_MAX)
        return why_set(why, ERR_CORRUPT, "Raft message with %zu entries", in->n_entries);
    if (in->prev_index > UINT64_MAX - RAFT_WIRE_ENTRIES_MAX)
        return why_set(why, ERR_CORRUPT, "Raft message with an impossible index");
    for (size_t i = 0; i < in->n_entries; i++) {
        const Rqlite__Entry *e = in->entries[i];

        if (e->index != in->prev_index + 1 + i)
            return why_set(why, ERR_CORRUPT, "Raft message with a gap in its entries");
        if (e->term < term || e->term == 0 || e->term > in->term)
            return why_set(why, ERR_CORRUPT,
                           "Raft message with an entry of a wrong term");
        if (e->type == 0 || e->type > UINT8_MAX)
            return why_set(why, ERR_CORRUPT, "Raft message with an entry of type %u",
                           e->type);
        term = e->term;
    }
    return ERR_OK;
}

static enum err copy_entries(struct raft_message *out, struct arena *a,
                             const Rqlite__RaftMessage *in, struct why *why)
{
    if (in->n_entries == 0) return ERR_OK;
    out->entries = arena_calloc(a, in->n_entries, sizeof *out->entries);
    if (out->entries == NULL) return why_set(why, ERR_NOMEM, "out of memory for entries");
    for (size_t i = 0; i < in->n_entries; i++) {
        const Rqlite__Entry *from = in->entries[i];
        struct raft_entry *to = &out->entries[i];

        to->index = from->index;
        to->term = from->term;
        to->type = (uint8_t)from->type;
        if (from->payload.len > 0) {
            to->payload = blob_copy(from->payload.data, from->payload.len);
            if (to->payload == NULL) {
                raft_wire_release(out);
                return why_set(why, ERR_NOMEM, "out of memory for entries");
            }
        }
        out->n_entries++;
    }
    return ERR_OK;
}

enum err raft_wire_decode(struct raft_message *out, struct arena *a,
                          const Rqlite__RaftMessage *in, struct why *why)
{
    enum err e;

    memset(out, 0, sizeof *out);
    if (in->type < RAFT_MSG_PRE_VOTE || in->type > RAFT_MSG_TIMEOUT_NOW)
        return why_set(why, ERR_CORRUPT, "Raft message of unknown type %u", in->type);
    if (!copy_id(out->to, in->to) || !copy_id(out->from, in->from))
        return why_set(why, ERR_CORRUPT, "Raft message with a bad node id");
    e = check_entries(in, why);
    if (e) return e;
    out->type = (enum raft_message_type)in->type;
    out->term = in->term;
    out->last_index = in->last_index;
    out->last_term = in->last_term;
    out->granted = in->granted;
    out->transfer = in->transfer;
    out->prev_index = in->prev_index;
    out->prev_term = in->prev_term;
    out->commit = in->commit;
    out->read = in->read;
    out->sent_ms = in->sent_ms;
    out->hash_index = in->hash_index;
    out->hash = in->hash;
    out->accepted = in->accepted;
    out->match = in->match;
    out->conflict_term = in->conflict_term;
    out->conflict_index = in->conflict_index;
    out->snap_index = in->snap_index;
    out->snap_term = in->snap_term;
    return copy_entries(out, a, in, why);
}

void raft_wire_release(struct raft_message *m)
{
    for (size_t i = 0; i < m->n_entries; i++) blob_unref(m->entries[i].payload);
    m->n_entries = 0;
}
