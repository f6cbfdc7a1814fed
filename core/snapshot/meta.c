/* SPDX-License-Identifier: MIT */
/*
 * meta: the bytes of a snapshot's description.
 *
 *   0  "RQSNAP1\n"          8
 *   8  index term time_ns effect_hash changed_index cluster_id size    7 x 8, little
 * endian 64  crc32c of data       4 68  state length         4, then the state config
 * length        4, then the config as raft encodes it, then its index 8 crc32c of all
 * above  4
 */
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/snapshot/snapshot.h"

static const char magic[8] = {'R', 'Q', 'S', 'N', 'A', 'P', '1', '\n'};

void snapshot_meta_fini(struct snapshot_meta *m)
{
    raft_config_fini(&m->config);
}

enum err snapshot_meta_copy(struct snapshot_meta *to, const struct snapshot_meta *from)
{
    *to = *from;
    raft_config_init(&to->config);
    return raft_config_copy(&to->config, &from->config);
}

static uint8_t *add64(uint8_t *p, uint64_t v)
{
    put_le64(p, v);
    return p + 8;
}

static uint8_t *add32(uint8_t *p, uint32_t v)
{
    put_le32(p, v);
    return p + 4;
}

struct blob *snapshot_meta_encode(const struct snapshot_meta *m)
{
    struct blob *config = raft_config_encode(&m->config), *out;
    uint8_t *p;

    if (config == NULL) return NULL;
    CHECK(m->state_len <= SNAPSHOT_STATE_MAX);
    out = blob_new(sizeof magic + 56 + 4 + 4 + m->state_len + 4 + config->len + 8 + 4);
    if (out == NULL) {
        blob_unref(config);
        return NULL;
    }
    p = out->data;
    memcpy(p, magic, sizeof magic);
    p += sizeof magic;
    p = add64(p, m->index);
    p = add64(p, m->term);
    p = add64(p, m->time_ns);
    p = add64(p, m->effect_hash);
    p = add64(p, m->changed_index);
    p = add64(p, m->cluster_id);
    p = add64(p, m->size);
    p = add32(p, m->crc32c);
    p = add32(p, m->state_len);
    memcpy(p, m->state, m->state_len);
    p += m->state_len;
    p = add32(p, config->len);
    memcpy(p, config->data, config->len);
    p += config->len;
    p = add64(p, m->config.index);
    p = add32(p, crc32c(0, out->data, (size_t)(p - out->data)));
    out->len = (uint32_t)(p - out->data);
    blob_unref(config);
    return out;
}

enum err snapshot_meta_decode(struct snapshot_meta *m, const void *data, size_t len,
                              struct why *why)
{
    const uint8_t *bytes = data, *p;
    struct reader r;
    uint32_t n;
    enum err e;

    memset(m, 0, sizeof *m);
    raft_config_init(&m->config);
    if (len >= sizeof magic && memcmp(bytes, magic, 6) == 0 && bytes[6] > '1' &&
        bytes[6] <= '9')
        return why_set(why, ERR_UNSUPPORTED, "snapshot format %c is of a later version",
                       bytes[6]);
    if (len < sizeof magic + 4 || memcmp(bytes, magic, sizeof magic) != 0)
        return why_set(why, ERR_CORRUPT, "not a snapshot description");
    if (crc32c(0, bytes, len - 4) != get_le32(bytes + len - 4))
        return why_set(why, ERR_CORRUPT,
                       "snapshot description does not match its checksum");
    reader_init(&r, bytes + sizeof magic, len - sizeof magic - 4);
    m->index = read_le64(&r);
    m->term = read_le64(&r);
    m->time_ns = read_le64(&r);
    m->effect_hash = read_le64(&r);
    m->changed_index = read_le64(&r);
    m->cluster_id = read_le64(&r);
    m->size = read_le64(&r);
    m->crc32c = read_le32(&r);
    m->state_len = read_le32(&r);
    if (m->state_len > SNAPSHOT_STATE_MAX)
        return why_set(why, ERR_CORRUPT, "snapshot state is too long");
    p = read_bytes(&r, m->state_len);
    if (p) memcpy(m->state, p, m->state_len);
    n = read_le32(&r);
    p = read_bytes(&r, n);
    if (p == NULL) return why_set(why, ERR_CORRUPT, "snapshot description is cut short");
    e = raft_config_decode(&m->config, p, n, why);
    if (e) return e;
    m->config.index = read_le64(&r);
    if (r.failed || reader_left(&r) != 0) {
        raft_config_fini(&m->config);
        return why_set(why, ERR_CORRUPT, "snapshot description has a wrong length");
    }
    return ERR_OK;
}
