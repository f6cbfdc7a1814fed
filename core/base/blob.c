/* SPDX-License-Identifier: MIT */
#include "core/base/blob.h"

#include <stdlib.h>
#include <string.h>

struct blob *blob_new(size_t cap)
{
    struct blob *b;

    if (cap > UINT32_MAX) return NULL;
    b = malloc(sizeof *b + cap);
    if (!b) return NULL;
    atomic_init(&b->refs, 1);
    b->cap = (uint32_t)cap;
    b->len = 0;
    return b;
}

struct blob *blob_copy(const void *data, size_t len)
{
    struct blob *b = blob_new(len);

    if (!b) return NULL;
    if (len > 0) memcpy(b->data, data, len);
    b->len = (uint32_t)len;
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    if (b) atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void blob_unref(struct blob *b)
{
    if (!b) return;
    /* Release what this holder read, acquire what the others did: only then may it be
     * freed. */
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) free(b);
}
