/* SPDX-License-Identifier: MIT */
/*
 * manifest: what the store consists of.  Little endian:
 *
 *    0  "RQSNAPS\n" 8, version 4, layers 4, deltas being folded 4
 *   20  the base's file: generation of its sums 8, id length 1, id
 *       per layer: id length 1, id, pages of the database 4, pages in the file 4, sum 4
 *       length 4 and bytes of the newest's description
 *       length 4 and bytes of the marker
 *       crc32c of all above 4
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/blob.h"
#include "core/base/buf.h"
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/snapshot/internal.h"

static const char magic[8] = {'R', 'Q', 'S', 'N', 'A', 'P', 'S', '\n'};

enum { MANIFEST_VERSION = 1, LAYER_LEAST = 18 /* bytes of one in the manifest */ };

static void add32(struct buf *b, uint32_t v)
{
    uint8_t p[4];

    put_le32(p, v);
    buf_append(b, p, sizeof p);
}

static void add_id(struct buf *b, const char *id)
{
    size_t len = strlen(id);

    buf_append_u8(b, (uint8_t)len);
    buf_append(b, id, len);
}

struct blob *manifest_encode(const struct manifest *m)
{
    struct blob *out = NULL;
    struct buf b;

    buf_init(&b, 0);
    buf_append(&b, magic, sizeof magic);
    add32(&b, MANIFEST_VERSION);
    add32(&b, m->n);
    add32(&b, m->folding);
    add32(&b, (uint32_t)m->generation);
    add32(&b, (uint32_t)(m->generation >> 32));
    add_id(&b, m->base);
    for (uint32_t i = 0; i < m->n; i++) {
        add_id(&b, m->layers[i].id);
        add32(&b, m->layers[i].pages);
        add32(&b, m->layers[i].n);
        add32(&b, m->layers[i].sum);
    }
    add32(&b, m->meta_len);
    buf_append(&b, m->meta, m->meta_len);
    add32(&b, m->marker_len);
    buf_append(&b, m->marker, m->marker_len);
    if (!buf_error(&b)) add32(&b, crc32c(0, b.data, b.len));
    if (!buf_error(&b)) out = blob_copy(b.data, b.len);
    buf_fini(&b);
    return out;
}

static bool read_id(struct reader *r, char out[SNAPSHOT_ID_MAX], bool may_lack)
{
    size_t len = read_u8(r);
    const uint8_t *p = len < SNAPSHOT_ID_MAX ? read_bytes(r, len) : NULL;
    uint64_t term, index;
    const char *end;

    if (p == NULL) return false;
    memcpy(out, p, len);
    out[len] = '\0';
    if (len == 0) return may_lack;
    end = id_parse(out, &term, &index);
    return end == out + len;
}

static bool read_layers(struct manifest *m, struct reader *r)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct manifest_layer *l = &m->layers[i];

        if (!read_id(r, l->id, false)) return false;
        l->pages = read_le32(r);
        l->n = read_le32(r);
        l->sum = read_le32(r);
        if (l->n > l->pages || (i == 0 && l->n != l->pages)) return false;
    }
    return !r->failed;
}

static bool read_rest(struct manifest *m, struct reader *r)
{
    m->meta_len = read_le32(r);
    m->meta = read_bytes(r, m->meta_len);
    m->marker_len = read_le32(r);
    if (m->marker_len > SNAPSHOT_MARKER_MAX) return false;
    m->marker = read_bytes(r, m->marker_len);
    return !r->failed && reader_left(r) == 0;
}

enum err manifest_decode(struct manifest *m, const void *data, size_t len,
                         struct why *why)
{
    const uint8_t *bytes = data;
    struct reader r;

    memset(m, 0, sizeof *m);
    if (len < sizeof magic + 8 || memcmp(bytes, magic, sizeof magic) != 0)
        return why_set(why, ERR_CORRUPT, "not a manifest of snapshots");
    if (get_le32(bytes + 8) > MANIFEST_VERSION)
        return why_set(why, ERR_UNSUPPORTED, "written by a later version");
    if (crc32c(0, bytes, len - 4) != get_le32(bytes + len - 4))
        return why_set(why, ERR_CORRUPT, "does not match its checksum");
    reader_init(&r, bytes + 8, len - 12);
    if (read_le32(&r) != MANIFEST_VERSION) goto malformed;
    m->n = read_le32(&r);
    m->folding = read_le32(&r);
    m->generation = read_le64(&r);
    if (!read_id(&r, m->base, m->n == 0)) goto malformed;
    if (m->n > LAYERS_MAX || m->n > reader_left(&r) / LAYER_LEAST) goto malformed;
    if (m->folding > 0 && m->folding >= m->n) goto malformed;
    m->layers = calloc(m->n > 0 ? m->n : 1, sizeof *m->layers);
    if (m->layers == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    if (!read_layers(m, &r) || !read_rest(m, &r)) goto malformed;
    return ERR_OK;
malformed:
    manifest_fini(m);
    return why_set(why, ERR_CORRUPT, "malformed");
}

void manifest_fini(struct manifest *m)
{
    free(m->layers);
    m->layers = NULL;
}
