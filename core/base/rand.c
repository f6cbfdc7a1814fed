/* SPDX-License-Identifier: MIT */
/* xoshiro256** 1.0 and splitmix64, by David Blackman and Sebastiano Vigna
 * (prng.di.unimi.it). */
#include "core/base/rand.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "core/base/bytes.h"
#include "core/base/err.h"

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

void rand_init(struct rand *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) r->s[i] = splitmix(&seed);
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t rand_u64(struct rand *r)
{
    uint64_t *s = r->s, out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

uint64_t rand_below(struct rand *r, uint64_t n)
{
    uint64_t x, partial;

    CHECK(n > 0);
    partial =
        -n % n; /* 2^64 mod n: drawn again, or the low values would come more often */
    do x = rand_u64(r);
    while (x < partial);
    return x % n;
}

void rand_fill(struct rand *r, void *out, size_t len)
{
    uint8_t *p = out, word[8];

    while (len > 0) {
        size_t n = len < sizeof word ? len : sizeof word;

        put_le64(word, rand_u64(r)); /* the same bytes on every machine */
        memcpy(p, word, n);
        p += n;
        len -= n;
    }
}

uint64_t rand_entropy(void)
{
    uint64_t seed;
    ssize_t n;

    do n = getrandom(&seed, sizeof seed, 0);
    while (n < 0 && errno == EINTR);
    CHECK(n == (ssize_t)sizeof seed);
    return seed;
}
