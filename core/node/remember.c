/* SPDX-License-Identifier: MIT */
/*
 * The bytes, little endian:
 *
 *   version 1    1
 *   per answer:  index 8, time 8, print 16, key length 2, answer length 4, key, answer
 *                (an answer that was not kept has the length NOT_KEPT and no bytes)
 */
#include "core/node/remember.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/base/rand.h"

enum { VERSION = 1, HEAD = 1, RECORD = 38, NOT_KEPT = REMEMBER_ANSWER_MAX + 1 };

struct item {
    struct list link; /* the oldest first */
    uint64_t index, time_ns;
    uint8_t print[REMEMBER_PRINT];
    size_t key_len, len; /* NOT_KEPT: no answer follows */
    uint8_t bytes[];     /* key, answer */
};

struct remember {
    struct map by_key;
    struct list order;
    size_t n, bytes; /* as encoded */
};

static size_t answer_bytes(size_t len)
{
    return len > REMEMBER_ANSWER_MAX ? 0 : len;
}

static size_t item_bytes(const struct item *it)
{
    return RECORD + it->key_len + answer_bytes(it->len);
}

enum err remember_new(struct remember **out)
{
    struct remember *r = calloc(1, sizeof *r);

    if (r == NULL) return ERR_NOMEM;
    map_init(&r->by_key, rand_entropy());
    list_init(&r->order);
    *out = r;
    return ERR_OK;
}

static void forget(struct remember *r, struct item *it)
{
    (void)map_remove(&r->by_key, it->bytes, it->key_len);
    list_remove(&it->link);
    r->n--;
    r->bytes -= item_bytes(it);
    free(it);
}

static struct item *oldest(struct remember *r)
{
    return list_empty(&r->order) ? NULL : LIST_ITEM(r->order.next, struct item, link);
}

static void forget_all(struct remember *r)
{
    for (struct item *it; (it = oldest(r)) != NULL;) forget(r, it);
}

void remember_free(struct remember *r)
{
    if (r == NULL) return;
    forget_all(r);
    map_fini(&r->by_key);
    free(r);
}

static void forget_old(struct remember *r, uint64_t now_ns)
{
    for (struct item *it; (it = oldest(r)) != NULL;) {
        if (it->time_ns > now_ns || now_ns - it->time_ns < REMEMBER_LIFETIME_NS) return;
        forget(r, it);
    }
}

bool remember_find(struct remember *r, const void *key, size_t len, uint64_t now_ns,
                   struct remembered *out)
{
    const struct item *it;

    forget_old(r, now_ns);
    it = map_get(&r->by_key, key, len);
    if (it == NULL) return false;
    out->index = it->index;
    out->time_ns = it->time_ns;
    memcpy(out->print, it->print, sizeof out->print);
    out->len = it->len;
    out->answer = it->bytes + it->key_len;
    return true;
}

enum err remember_put(struct remember *r, const void *key, size_t key_len,
                      const struct remembered *m)
{
    size_t kept = answer_bytes(m->len);
    struct item *it = malloc(sizeof *it + key_len + kept);

    if (it == NULL) return ERR_NOMEM;
    it->index = m->index;
    it->time_ns = m->time_ns;
    memcpy(it->print, m->print, sizeof it->print);
    it->key_len = key_len;
    it->len = m->len > REMEMBER_ANSWER_MAX ? NOT_KEPT : m->len;
    if (key_len > 0) memcpy(it->bytes, key, key_len);
    if (kept > 0) memcpy(it->bytes + key_len, m->answer, kept);
    if (map_put(&r->by_key, it->bytes, key_len, it, NULL) != ERR_OK) {
        free(it);
        return ERR_NOMEM;
    }
    list_push_back(&r->order, &it->link);
    r->n++;
    r->bytes += item_bytes(it);
    while (r->n > REMEMBER_MAX || r->bytes > REMEMBER_BYTES_MAX) forget(r, oldest(r));
    return ERR_OK;
}

size_t remember_count(const struct remember *r)
{
    return r->n;
}

/* --- bytes ------------------------------------------------------------------------ */

enum err remember_encode(const struct remember *r, struct blob **out)
{
    struct blob *b;
    uint8_t *p;

    *out = NULL;
    if (r->n == 0) return ERR_OK;
    b = blob_new(HEAD + r->bytes);
    if (b == NULL) return ERR_NOMEM;
    p = b->data;
    *p++ = VERSION;
    for (const struct list *l = r->order.next; l != &r->order; l = l->next) {
        const struct item *it = LIST_ITEM(l, const struct item, link);
        size_t n = it->key_len + answer_bytes(it->len);

        put_le64(p, it->index);
        put_le64(p + 8, it->time_ns);
        memcpy(p + 16, it->print, REMEMBER_PRINT);
        put_le16(p + 32, (uint16_t)it->key_len);
        put_le32(p + 34, (uint32_t)it->len);
        memcpy(p + RECORD, it->bytes, n);
        p += RECORD + n;
    }
    b->len = (uint32_t)(HEAD + r->bytes);
    *out = b;
    return ERR_OK;
}

static enum err decode_one(struct remember *r, struct reader *in, struct why *why)
{
    struct remembered m, known;
    const uint8_t *print, *key;
    size_t key_len;

    memset(&m, 0, sizeof m);
    m.index = read_le64(in);
    m.time_ns = read_le64(in);
    print = read_bytes(in, REMEMBER_PRINT);
    key_len = read_le16(in);
    m.len = read_le32(in);
    key = read_bytes(in, key_len);
    if (!in->failed && m.len <= NOT_KEPT) m.answer = read_bytes(in, answer_bytes(m.len));
    if (in->failed || m.len > NOT_KEPT || key_len > REMEMBER_KEY_MAX ||
        remember_find(r, key, key_len, 0, &known))
        return why_set(why, ERR_CORRUPT, "the snapshot's remembered answers are damaged");
    memcpy(m.print, print, sizeof m.print);
    if (remember_put(r, key, key_len, &m) != ERR_OK)
        return why_set(why, ERR_NOMEM, "out of memory");
    return ERR_OK;
}

enum err remember_decode(struct remember *r, const struct blob *b, struct why *why)
{
    struct reader in;
    enum err e = ERR_OK;

    forget_all(r);
    if (b == NULL) return ERR_OK;
    reader_init(&in, b->data, b->len);
    if (read_u8(&in) != VERSION)
        return why_set(why, ERR_UNSUPPORTED,
                       "the snapshot's remembered answers are of a later version");
    while (reader_left(&in) > 0 && e == ERR_OK) e = decode_one(r, &in, why);
    if (e) forget_all(r);
    return e;
}
