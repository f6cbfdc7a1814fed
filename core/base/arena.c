/* SPDX-License-Identifier: MIT */
#include "core/base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGN = alignof(max_align_t),
    CHUNK_MIN = 4096, /* the first chunk, header included; each next one doubles ... */
    CHUNK_MAX = 64 * 1024 /* ... up to this */
};

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* of data */
    alignas(max_align_t) char data[];
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
}

static void *fail(struct arena *a)
{
    a->failed = true;
    return NULL;
}

static struct arena_chunk *chunk_new(size_t size)
{
    struct arena_chunk *c = malloc(sizeof *c + size);

    if (c) c->size = size;
    return c;
}

/* A chunk of its own for something large.  It goes behind the newest one, whose free rest
 * stays in use. */
static void *alloc_large(struct arena *a, size_t size)
{
    struct arena_chunk *c = chunk_new(size);

    if (!c) return fail(a);
    if (a->chunks) {
        c->older = a->chunks->older;
        a->chunks->older = c;
    } else {
        c->older = NULL;
        a->chunks = c;
        a->next = a->end = c->data + size;
    }
    a->used += size;
    return c->data;
}

static bool add_chunk(struct arena *a)
{
    size_t size = CHUNK_MIN - sizeof(struct arena_chunk);
    struct arena_chunk *c;

    if (a->chunks && a->chunks->size >= size) size = a->chunks->size * 2;
    if (size > CHUNK_MAX) size = CHUNK_MAX;
    c = chunk_new(size);
    if (!c) return false;
    c->older = a->chunks;
    a->chunks = c;
    a->next = c->data;
    a->end = c->data + size;
    return true;
}

void *arena_alloc(struct arena *a, size_t size)
{
    void *p;

    if (size == 0) size = 1;
    if (size > SIZE_MAX / 2) return fail(a);
    size = (size + ALIGN - 1) / ALIGN * ALIGN;
    if (a->limit > 0 && (a->used > a->limit || size > a->limit - a->used)) return fail(a);
    if (size > (size_t)(a->end - a->next)) {
        if (size > CHUNK_MIN / 4) return alloc_large(a, size);
        if (!add_chunk(a)) return fail(a);
    }
    p = a->next;
    a->next += size;
    a->used += size;
    return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
    size_t total;
    void *p;

    if (__builtin_mul_overflow(n, size, &total)) return fail(a);
    p = arena_alloc(a, total);
    if (p) memset(p, 0, total);
    return p;
}

void *arena_dup(struct arena *a, const void *data, size_t len)
{
    void *p = arena_alloc(a, len);

    if (p && len > 0) memcpy(p, data, len);
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_dup(a, s, strlen(s) + 1);
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
    char *p;

    if (len == SIZE_MAX) return fail(a);
    p = arena_alloc(a, len + 1);
    if (!p) return NULL;
    if (len > 0) memcpy(p, s, len);
    p[len] = '\0';
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    char small[128], *p;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (n < 0) return fail(a);
    if ((size_t)n < sizeof small) return arena_dup(a, small, (size_t)n + 1);

    p = arena_alloc(a, (size_t)n + 1);
    if (!p) return NULL;
    va_start(args, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, args);
    va_end(args);
    return p;
}

bool arena_failed(const struct arena *a)
{
    return a->failed;
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *c = a->chunks, *older;

    for (; c && c->older; c = older) {
        older = c->older;
        free(c);
    }
    if (c && c->size > CHUNK_MAX) { /* made for one large thing, not worth keeping */
        free(c);
        c = NULL;
    }
    *a = (struct arena){.limit = a->limit, .chunks = c};
    if (c) {
        a->next = c->data;
        a->end = c->data + c->size;
    }
}

void arena_fini(struct arena *a)
{
    struct arena_chunk *c, *older;

    for (c = a->chunks; c; c = older) {
        older = c->older;
        free(c);
    }
    *a = (struct arena){.limit = a->limit};
}
