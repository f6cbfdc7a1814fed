/* SPDX-License-Identifier: MIT */
/*
 * arena: memory that lives as long as one request and is dropped in one call.
 *
 * Not thread-safe: one owner at a time; it may be handed to another thread with its
 * request. A failed allocation is remembered, so code that builds something checks
 * arena_failed() once.
 */
#ifndef CORE_BASE_ARENA_H
#define CORE_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    char *next, *end;           /* free bytes of the newest chunk */
    size_t used, limit;         /* bytes handed out; 0 = no limit */
    bool failed;
};

/* Ready an empty arena without allocating.  limit 0 = none. */
void arena_init(struct arena *a, size_t limit);

/* Aligned for any type; NULL (and remembered) when out of memory or over the limit.
 * A size of 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_calloc(struct arena *a, size_t n,
                   size_t size); /* zeroed; overflow is a failure */
void *arena_dup(struct arena *a, const void *data, size_t len);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t len); /* adds the final NUL */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

bool arena_failed(const struct arena *a);

/* Forget everything but keep the first chunk for reuse. */
void arena_reset(struct arena *a);

/* Free everything.  Safe to call twice. */
void arena_fini(struct arena *a);

#endif
