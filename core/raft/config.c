/* SPDX-License-Identifier: MIT */
/* Configurations as values: who is a member, who votes; and the bytes they travel in. */
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/bytes.h"
#include "core/raft/internal.h"

enum { CONFIG_VERSION = 1 };

void raft_config_init(struct raft_config *c)
{
    *c = (struct raft_config){0};
}

void raft_config_fini(struct raft_config *c)
{
    free(c->members);
    raft_config_init(c);
}

enum err raft_config_copy(struct raft_config *to, const struct raft_config *from)
{
    struct raft_member *members = NULL;

    if (from->n > 0) {
        members = malloc(from->n * sizeof *members);
        if (!members) return ERR_NOMEM;
        memcpy(members, from->members, from->n * sizeof *members);
    }
    free(to->members);
    *to = (struct raft_config){.members = members, .n = from->n, .index = from->index};
    return ERR_OK;
}

/* Where id is, or would have to be inserted. */
static size_t config_place(const struct raft_config *c, const char *id, bool *found)
{
    for (size_t i = 0; i < c->n; i++) {
        int order = strcmp(c->members[i].id, id);
        *found = order == 0;
        if (order >= 0) return i;
    }
    *found = false;
    return c->n;
}

enum err raft_config_put(struct raft_config *c, const char *id, const char *addr,
                         bool voter)
{
    size_t id_len = strlen(id), addr_len = strlen(addr);
    struct raft_member *m;
    bool found;
    size_t at;

    if (id_len > RAFT_ID_MAX || addr_len > RAFT_ADDR_MAX) return ERR_TOO_BIG;
    at = config_place(c, id, &found);
    if (!found) {
        if (c->n == RAFT_MEMBERS_MAX) return ERR_TOO_BIG;
        m = realloc(c->members, (c->n + 1) * sizeof *m);
        if (!m) return ERR_NOMEM;
        c->members = m;
        memmove(m + at + 1, m + at, (c->n - at) * sizeof *m);
        c->n++;
    }
    m = &c->members[at];
    memset(m, 0, sizeof *m);
    memcpy(m->id, id, id_len);
    memcpy(m->addr, addr, addr_len);
    m->voter = voter;
    return ERR_OK;
}

bool raft_config_remove(struct raft_config *c, const char *id)
{
    bool found;
    size_t at = config_place(c, id, &found);

    if (!found) return false;
    c->n--;
    memmove(c->members + at, c->members + at + 1, (c->n - at) * sizeof *c->members);
    return true;
}

const struct raft_member *raft_config_find(const struct raft_config *c, const char *id)
{
    bool found;
    size_t at = config_place(c, id, &found);

    return found ? &c->members[at] : NULL;
}

const struct raft_member *raft_config_find_addr(const struct raft_config *c,
                                                const char *addr)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->members[i].addr, addr) == 0) return &c->members[i];
    return NULL;
}

size_t raft_config_voters(const struct raft_config *c)
{
    size_t voters = 0;

    for (size_t i = 0; i < c->n; i++) voters += c->members[i].voter;
    return voters;
}

/*
 *      u8 version   le16 members   { u8 voter   le16 length, id   le16 length, addr } ...
 */
static void config_append_text(struct buf *b, const char *s)
{
    size_t len = strlen(s);
    uint8_t head[2];

    put_le16(head, (uint16_t)len);
    buf_append(b, head, sizeof head);
    buf_append(b, s, len);
}

struct blob *raft_config_encode(const struct raft_config *c)
{
    struct blob *out = NULL;
    struct buf b;
    uint8_t count[2];

    buf_init(&b, 0);
    buf_append_u8(&b, CONFIG_VERSION);
    put_le16(count, (uint16_t)c->n);
    buf_append(&b, count, sizeof count);
    for (size_t i = 0; i < c->n; i++) {
        buf_append_u8(&b, c->members[i].voter);
        config_append_text(&b, c->members[i].id);
        config_append_text(&b, c->members[i].addr);
    }
    if (!buf_error(&b)) out = blob_copy(b.data, b.len);
    buf_fini(&b);
    return out;
}

/* A text of 1 (id) or 0 (addr) to max bytes, without a NUL inside. */
static bool config_read_text(struct reader *in, char *out, size_t min, size_t max)
{
    size_t len = read_le16(in);
    const uint8_t *text = len <= max ? read_bytes(in, len) : NULL;

    if (in->failed || len < min || len > max) return false;
    if (len > 0 && memchr(text, 0, len)) return false;
    if (len > 0) memcpy(out, text, len);
    out[len] = 0;
    return true;
}

enum err raft_config_decode(struct raft_config *c, const void *data, size_t len,
                            struct why *why)
{
    struct raft_config got = {.index = c->index};
    char id[RAFT_ID_MAX + 1], addr[RAFT_ADDR_MAX + 1];
    struct reader in;
    enum err e;
    size_t n;

    reader_init(&in, data, len);
    if (read_u8(&in) != CONFIG_VERSION || in.failed)
        return why_set(why, ERR_CORRUPT, "configuration has an unknown version");
    n = read_le16(&in);
    if (n > RAFT_MEMBERS_MAX)
        return why_set(why, ERR_CORRUPT, "configuration has %zu members, over %d", n,
                       RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < n; i++) {
        uint8_t voter = read_u8(&in);
        if (voter > 1 || !config_read_text(&in, id, 1, RAFT_ID_MAX) ||
            !config_read_text(&in, addr, 0, RAFT_ADDR_MAX)) {
            e = why_set(why, ERR_CORRUPT, "configuration is malformed at member %zu",
                        i + 1);
            goto fail;
        }
        if (raft_config_find(&got, id)) {
            e = why_set(why, ERR_CORRUPT, "configuration has a member twice: %s", id);
            goto fail;
        }
        e = raft_config_put(&got, id, addr, voter);
        if (e) {
            e = why_set(why, e, "decode a configuration: %s", err_name(e));
            goto fail;
        }
    }
    if (in.failed || reader_left(&in) > 0) {
        e = why_set(why, ERR_CORRUPT, "configuration has the wrong length");
        goto fail;
    }
    free(c->members);
    *c = got;
    return ERR_OK;
fail:
    raft_config_fini(&got);
    return e;
}
