/* SPDX-License-Identifier: MIT */
/*
 * Linear probing over a power of two of slots, at most 3/4 of them used:
 *
 *     free      key NULL,       value NULL    ends a search
 *     deleted   key &deleted,   value NULL    a search goes on behind it
 *     live      key the user's, value set
 */
#include "core/base/map.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"

enum { CAP_MIN = 16 };

static const char deleted;

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotl(v[1], 13) ^ v[0], v[0] = rotl(v[0], 32);
    v[2] += v[3], v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotl(v[1], 17) ^ v[2], v[2] = rotl(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein), both halves of its key made of the seed. */
static uint64_t hash_key(uint64_t seed, const void *key, size_t len)
{
    uint64_t k1 = (seed ^ seed >> 32) * 0x9e3779b97f4a7c15U;
    uint64_t v[4] = {seed ^ 0x736f6d6570736575U, k1 ^ 0x646f72616e646f6dU,
                     seed ^ 0x6c7967656e657261U, k1 ^ 0x7465646279746573U};
    const uint8_t *p = key;
    uint8_t tail[8] = {0};
    uint64_t word;
    size_t left = len;

    for (; left >= 8; p += 8, left -= 8) {
        word = get_le64(p);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    if (left > 0) memcpy(tail, p, left);
    tail[7] = (uint8_t)len;
    word = get_le64(tail);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *m, uint64_t seed)
{
    *m = (struct map){.seed = seed};
}

void map_fini(struct map *m)
{
    free(m->slots);
    map_init(m, m->seed);
}

static struct map_slot *find(const struct map *m, const void *key, size_t len,
                             uint64_t hash)
{
    if (m->cap == 0) return NULL;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *s = &m->slots[i];

        if (!s->value) {
            if (!s->key) return NULL;
        } else if (s->hash == hash && s->len == len &&
                   (len == 0 || memcmp(s->key, key, len) == 0)) {
            return s;
        }
    }
}

/* The first slot on the key's way that holds nothing, free or deleted. */
static struct map_slot *find_room(const struct map *m, uint64_t hash)
{
    size_t i = hash & (m->cap - 1);

    while (m->slots[i].value) i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

/* Move everything to a new array, half empty with one more entry, without deleted slots.
 */
static enum err rehash(struct map *m)
{
    struct map bigger = {
        .cap = CAP_MIN, .count = m->count, .used = m->count, .seed = m->seed};

    while (bigger.cap < (m->count + 1) * 2) bigger.cap *= 2;
    bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots) return ERR_NOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value) *find_room(&bigger, m->slots[i].hash) = m->slots[i];
    free(m->slots);
    *m = bigger;
    return ERR_OK;
}

void *map_get(const struct map *m, const void *key, size_t len)
{
    struct map_slot *s;

    if (m->count == 0) return NULL;
    s = find(m, key, len, hash_key(m->seed, key, len));
    return s ? s->value : NULL;
}

enum err map_put(struct map *m, const void *key, size_t len, void *value, void **old)
{
    uint64_t hash = hash_key(m->seed, key, len);
    struct map_slot *s = find(m, key, len, hash);

    CHECK(value != NULL);
    if (old) *old = s ? s->value : NULL;
    if (!s) {
        if ((m->used + 1) * 4 > m->cap * 3) {
            enum err e = rehash(m);
            if (e) return e;
        }
        s = find_room(m, hash);
        if (!s->key) m->used++; /* else a deleted slot comes back to life */
        m->count++;
    }
    *s = (struct map_slot){
        .key = key ? key : "", .len = len, .hash = hash, .value = value};
    return ERR_OK;
}

void *map_remove(struct map *m, const void *key, size_t len)
{
    struct map_slot *s = find(m, key, len, hash_key(m->seed, key, len));
    void *value;

    if (!s) return NULL;
    value = s->value;
    *s = (struct map_slot){.key = &deleted};
    m->count--;
    return value;
}

void *map_next(const struct map *m, size_t *pos)
{
    while (*pos < m->cap) {
        struct map_slot *s = &m->slots[(*pos)++];
        if (s->value) return s->value;
    }
    return NULL;
}
