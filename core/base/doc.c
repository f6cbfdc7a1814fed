/* SPDX-License-Identifier: MIT */
#include "core/base/doc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/text.h"

static struct doc *root_new(struct arena *a, enum doc_type type)
{
    struct doc *d = arena_calloc(a, 1, sizeof *d);

    if (!d) return NULL;
    d->type = type;
    d->arena = a;
    return d;
}

struct doc *doc_object(struct arena *a)
{
    return root_new(a, DOC_OBJECT);
}
struct doc *doc_array(struct arena *a)
{
    return root_new(a, DOC_ARRAY);
}

/* A new last kid of parent, whose value the caller fills in; NULL when out of memory. */
static struct doc *add(struct doc *parent, const char *key, enum doc_type type)
{
    struct doc *d;

    if (!parent) return NULL;
    CHECK(parent->type == DOC_OBJECT || parent->type == DOC_ARRAY);
    CHECK((key != NULL) == (parent->type == DOC_OBJECT));
    d = root_new(parent->arena, type);
    if (!d) return NULL;
    if (key && !(d->key = arena_strdup(parent->arena, key))) return NULL;
    if (parent->v.kids.last)
        parent->v.kids.last->next = d;
    else
        parent->v.kids.first = d;
    parent->v.kids.last = d;
    parent->v.kids.n++;
    return d;
}

struct doc *doc_add_object(struct doc *parent, const char *key)
{
    return add(parent, key, DOC_OBJECT);
}

struct doc *doc_add_array(struct doc *parent, const char *key)
{
    return add(parent, key, DOC_ARRAY);
}

void doc_add_null(struct doc *parent, const char *key)
{
    add(parent, key, DOC_NULL);
}

void doc_add_bool(struct doc *parent, const char *key, bool v)
{
    struct doc *d = add(parent, key, DOC_BOOL);
    if (d) d->v.b = v;
}

void doc_add_int(struct doc *parent, const char *key, int64_t v)
{
    struct doc *d = add(parent, key, DOC_INT);
    if (d) d->v.i = v;
}

void doc_add_uint(struct doc *parent, const char *key, uint64_t v)
{
    struct doc *d = add(parent, key, DOC_UINT);
    if (d) d->v.u = v;
}

void doc_add_real(struct doc *parent, const char *key, double v)
{
    struct doc *d = add(parent, key, DOC_REAL);
    if (d) d->v.r = v;
}

void doc_add_text(struct doc *parent, const char *key, const char *s)
{
    doc_add_textn(parent, key, s, strlen(s));
}

void doc_add_textn(struct doc *parent, const char *key, const char *s, size_t n)
{
    struct doc *d;
    char *copy;

    if (!parent) return;
    copy = arena_strndup(parent->arena, s, n);
    if (!copy) return;
    d = add(parent, key, DOC_TEXT);
    if (!d) return;
    d->v.text.s = copy;
    d->v.text.n = n;
}

void doc_addf(struct doc *parent, const char *key, const char *fmt, ...)
{
    char small[256];
    va_list args;
    int n;

    if (!parent) return;
    va_start(args, fmt);
    n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (n < 0) return;
    if ((size_t)n < sizeof small) {
        doc_add_textn(parent, key, small, (size_t)n);
    } else {
        char *text = arena_alloc(parent->arena, (size_t)n + 1);
        struct doc *d = text ? add(parent, key, DOC_TEXT) : NULL;

        if (!d) return;
        va_start(args, fmt);
        vsnprintf(text, (size_t)n + 1, fmt, args);
        va_end(args);
        d->v.text.s = text;
        d->v.text.n = (size_t)n;
    }
}

void doc_add_duration(struct doc *parent, const char *key, int64_t ns)
{
    char text[TEXT_DURATION_MAX];
    size_t n = text_duration(text, ns);

    doc_add_textn(parent, key, text, n);
}

void doc_add_time(struct doc *parent, const char *key, uint64_t wall_ns)
{
    char text[TEXT_TIME_MAX];
    size_t n = text_time(text, wall_ns);

    doc_add_textn(parent, key, text, n);
}

void doc_add_bytes_friendly(struct doc *parent, const char *key, uint64_t bytes)
{
    char text[TEXT_SIZE_MAX];
    size_t n = text_size(text, bytes);

    doc_add_textn(parent, key, text, n);
}

struct doc *doc_get(const struct doc *d, const char *key)
{
    if (!d || d->type != DOC_OBJECT) return NULL;
    for (struct doc *kid = d->v.kids.first; kid; kid = kid->next)
        if (strcmp(kid->key, key) == 0) return kid;
    return NULL;
}
