/* SPDX-License-Identifier: MIT */
/*
 * blob: an immutable, reference-counted block of bytes.
 *
 * How log entries travel between threads without a copy: whoever makes one fills it
 * before it is shared, then nobody writes to it again.  References are counted
 * atomically, so the last holder on any thread frees it.
 */
#ifndef CORE_BASE_BLOB_H
#define CORE_BASE_BLOB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct blob {
    atomic_uint refs;
    uint32_t
        cap; /* bytes in data; a maker may still append while it is the only holder */
    uint32_t len; /* bytes used */
    uint8_t data[];
};

/* A blob of len 0 and room for cap bytes, one reference; NULL when out of memory. */
struct blob *blob_new(size_t cap);

/* A blob holding a copy of len bytes; NULL when out of memory. */
struct blob *blob_copy(const void *data, size_t len);

/* Take another reference; returns b.  NULL is allowed. */
struct blob *blob_ref(struct blob *b);

/* Drop a reference; the last one frees.  NULL is allowed. */
void blob_unref(struct blob *b);

#endif
