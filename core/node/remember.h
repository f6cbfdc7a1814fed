/* SPDX-License-Identifier: MIT */
/*
 * remember: what requests with an idempotency key were answered, so that a request that
 * is sent again is answered again and not run again.
 *
 * This is replicated state: it is a function of the log alone, so every node comes to the
 * same table, whichever leads, and it travels in snapshots.  Time is that of the entries.
 * Bounds: REMEMBER_LIFETIME_NS, REMEMBER_MAX answers of REMEMBER_BYTES_MAX together; the
 * oldest go first.  An answer larger than REMEMBER_ANSWER_MAX is not kept, only that
 * there was one.
 *
 * Owner: the apply thread.
 */
#ifndef CORE_NODE_REMEMBER_H
#define CORE_NODE_REMEMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/blob.h"
#include "core/base/err.h"

enum {
    REMEMBER_KEY_MAX = 512, /* bytes of a key; with what the gateway puts in front */
    REMEMBER_PRINT = 16,    /* bytes that tell one request from another */
    REMEMBER_ANSWER_MAX = 64 << 10,
    REMEMBER_BYTES_MAX = 16 << 20,
    REMEMBER_MAX = 100000
};
#define REMEMBER_LIFETIME_NS (24ULL * 3600 * 1000000000)

struct remember; /* opaque */

struct remembered {
    uint64_t index;   /* of the entry that ran it */
    uint64_t time_ns; /* of that entry */
    uint8_t print[REMEMBER_PRINT];
    size_t len;            /* of the answer; REMEMBER_ANSWER_MAX + 1: it was not kept */
    const uint8_t *answer; /* borrowed until the next call that changes the table */
};

MUST_USE enum err remember_new(struct remember **out);
void remember_free(struct remember *r); /* NULL is allowed */

/* Forget what is too old at now_ns, then look.  False: the key is not known. */
bool remember_find(struct remember *r, const void *key, size_t len, uint64_t now_ns,
                   struct remembered *out);

/* Keep what was answered under a key that is not known; m->time_ns is now.  What does not
 * fit beside it is forgotten.  ERR_NOMEM: nothing has changed. */
MUST_USE enum err remember_put(struct remember *r, const void *key, size_t key_len,
                               const struct remembered *m);

size_t remember_count(const struct remember *r);

/* All of it as bytes, the oldest first, with a version in front; NULL with ERR_OK when
 * there is nothing. */
MUST_USE enum err remember_encode(const struct remember *r, struct blob **out);
/* Replace what r holds (b NULL: by nothing).  ERR_CORRUPT, ERR_UNSUPPORTED for a later
 * version, ERR_NOMEM: r is empty then. */
MUST_USE enum err remember_decode(struct remember *r, const struct blob *b,
                                  struct why *why);

#endif
