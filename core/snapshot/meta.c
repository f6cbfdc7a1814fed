/* SPDX-License-Identifier: MIT */
/*
 * meta: the bytes of a snapshot's description.  Little endian:
 *
 *    0  "RQSNMETA" 8, version 4
 *   12  index term time_ns effect_hash changed_index cluster_id   6 x 8, pages 4
 *   64  id length 1, then the id
 *       state length 4, then the state
 *       1 if there is an extra, else 0; its length 4, then the extra
 *       config length 4, then the config as raft encodes it, then its index 8
 *       crc32c of all above 4
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/blob.h"
#include "core/base/buf.h"
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/snapshot/internal.h"

static const char magic[8] = {'R', 'Q', 'S', 'N', 'M', 'E', 'T', 'A'};

enum { META_VERSION = 1 };

void snapshot_meta_init(struct snapshot_meta *m)
{
    memset(m, 0, sizeof *m);
    raft_config_init(&m->config);
}

void snapshot_meta_fini(struct snapshot_meta *m)
{
    raft_config_fini(&m->config);
    blob_unref(m->extra);
    m->extra = NULL;
}

enum err snapshot_meta_copy(struct snapshot_meta *to, const struct snapshot_meta *from)
{
    struct raft_config config;
    enum err e;

    raft_config_init(&config);
    e = raft_config_copy(&config, &from->config);
    if (e) {
        snapshot_meta_init(to);
        return e;
    }
    *to = *from;
    to->config = config;
    (void)blob_ref(to->extra);
    return ERR_OK;
}

/* --- ids ---------------------------------------------------------------------------- */

/* A decimal number as printf() writes it.  What follows, or NULL. */
static const char *number(const char *p, uint64_t *out)
{
    uint64_t v = 0;

    if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9')) return NULL;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return NULL;
    *out = v;
    return p;
}

const char *id_parse(const char *text, uint64_t *term, uint64_t *index)
{
    uint64_t ms;
    const char *p = number(text, term);

    if (p != NULL && *p++ == '-')
        p = number(p, index);
    else
        return NULL;
    if (p == NULL || *p++ != '-') return NULL;
    p = number(p, &ms);
    return p != NULL && p - text < SNAPSHOT_ID_MAX ? p : NULL;
}

bool id_fits(const struct snapshot_meta *m)
{
    uint64_t term, index;
    const char *end = id_parse(m->id, &term, &index);

    return end != NULL && *end == '\0' && term == m->term && index == m->index;
}

const char *sums_parse(const char *text)
{
    uint64_t generation;

    return number(text, &generation);
}

/* --- bytes -------------------------------------------------------------------------- */

static void add64(struct buf *b, uint64_t v)
{
    uint8_t p[8];

    put_le64(p, v);
    buf_append(b, p, sizeof p);
}

static void add32(struct buf *b, uint32_t v)
{
    uint8_t p[4];

    put_le32(p, v);
    buf_append(b, p, sizeof p);
}

static void encode(struct buf *b, const struct snapshot_meta *m,
                   const struct blob *config)
{
    size_t id_len = strnlen(m->id, sizeof m->id - 1);

    buf_append(b, magic, sizeof magic);
    add32(b, META_VERSION);
    add64(b, m->index);
    add64(b, m->term);
    add64(b, m->time_ns);
    add64(b, m->effect_hash);
    add64(b, m->changed_index);
    add64(b, m->cluster_id);
    add32(b, m->pages);
    buf_append_u8(b, (uint8_t)id_len);
    buf_append(b, m->id, id_len);
    add32(b, m->state_len);
    buf_append(b, m->state, m->state_len);
    buf_append_u8(b, m->extra != NULL);
    add32(b, m->extra != NULL ? m->extra->len : 0);
    if (m->extra != NULL) buf_append(b, m->extra->data, m->extra->len);
    add32(b, config->len);
    buf_append(b, config->data, config->len);
    add64(b, m->config.index);
    if (!buf_error(b)) add32(b, crc32c(0, b->data, b->len));
}

struct blob *snapshot_meta_encode(const struct snapshot_meta *m)
{
    struct blob *config, *out = NULL;
    struct buf b;

    CHECK(m->state_len <= SNAPSHOT_STATE_MAX);
    if (m->extra != NULL && m->extra->len > SNAPSHOT_EXTRA_MAX) return NULL;
    config = raft_config_encode(&m->config);
    if (config == NULL) return NULL;
    buf_init(&b, 0);
    encode(&b, m, config);
    if (!buf_error(&b)) out = blob_copy(b.data, b.len);
    buf_fini(&b);
    blob_unref(config);
    return out;
}

/* Fields of r into m, which is empty.  *config: borrowed from r. */
static bool read_fields(struct snapshot_meta *m, struct reader *r, const uint8_t **config,
                        uint32_t *config_len, const uint8_t **extra, uint32_t *extra_len)
{
    const uint8_t *p;
    uint32_t n;
    uint8_t has_extra;

    m->index = read_le64(r);
    m->term = read_le64(r);
    m->time_ns = read_le64(r);
    m->effect_hash = read_le64(r);
    m->changed_index = read_le64(r);
    m->cluster_id = read_le64(r);
    m->pages = read_le32(r);
    n = read_u8(r);
    p = read_bytes(r, n);
    if (p == NULL || n >= sizeof m->id) return false;
    memcpy(m->id, p, n);
    if (n > 0 && (strlen(m->id) != n || !id_fits(m))) return false;
    m->state_len = read_le32(r);
    if (m->state_len > SNAPSHOT_STATE_MAX) return false;
    p = read_bytes(r, m->state_len);
    if (p == NULL) return false;
    memcpy(m->state, p, m->state_len);
    has_extra = read_u8(r);
    *extra_len = read_le32(r);
    if (has_extra > 1 || *extra_len > (has_extra ? SNAPSHOT_EXTRA_MAX : 0)) return false;
    p = read_bytes(r, *extra_len);
    *extra = has_extra ? p : NULL;
    *config_len = read_le32(r);
    *config = read_bytes(r, *config_len);
    m->config.index = read_le64(r);
    return !r->failed && reader_left(r) == 0;
}

enum err snapshot_meta_decode(struct snapshot_meta *m, const void *data, size_t len,
                              struct why *why)
{
    const uint8_t *bytes = data, *config = NULL, *extra = NULL;
    uint32_t config_len = 0, extra_len = 0;
    struct snapshot_meta got;
    struct reader r;
    enum err e;

    if (len < sizeof magic + 8 || memcmp(bytes, magic, sizeof magic) != 0)
        return why_set(why, ERR_CORRUPT, "not a snapshot's description");
    if (get_le32(bytes + 8) > META_VERSION)
        return why_set(why, ERR_UNSUPPORTED,
                       "the snapshot's description was written by a later version");
    if (crc32c(0, bytes, len - 4) != get_le32(bytes + len - 4))
        return why_set(why, ERR_CORRUPT,
                       "the snapshot's description does not match its checksum");
    snapshot_meta_init(&got);
    reader_init(&r, bytes + sizeof magic + 4, len - sizeof magic - 8);
    if (get_le32(bytes + 8) != META_VERSION ||
        !read_fields(&got, &r, &config, &config_len, &extra, &extra_len))
        return why_set(why, ERR_CORRUPT, "the snapshot's description is malformed");
    if (extra != NULL) {
        got.extra = blob_copy(extra, extra_len);
        if (got.extra == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    }
    e = raft_config_decode(&got.config, config, config_len, why);
    if (e) {
        snapshot_meta_fini(&got);
        return e;
    }
    snapshot_meta_fini(m);
    *m = got;
    return ERR_OK;
}
