/* SPDX-License-Identifier: MIT */
/*
 * doc: a tree of values (objects, arrays, scalars) in an arena, for documents such as
 * /status that many modules contribute to.  Whoever prints it decides about order and
 * layout; members keep the order of insertion.  Allocation failure is remembered by the
 * arena.  One owner.
 */
#ifndef CORE_BASE_DOC_H
#define CORE_BASE_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"

enum doc_type {
    DOC_NULL,
    DOC_BOOL,
    DOC_INT,
    DOC_UINT,
    DOC_REAL,
    DOC_TEXT,
    DOC_ARRAY,
    DOC_OBJECT
};

struct doc {
    enum doc_type type;
    bool keep_order; /* objects: print members as inserted, not sorted */
    const char *key; /* as member of an object; in the arena or static */
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double r;
        struct {
            const char *s;
            size_t n;
        } text; /* n bytes, any content */
        struct {
            struct doc *first, *last;
            size_t n;
        } kids;
    } v;
    struct doc *next;    /* sibling */
    struct arena *arena; /* where kids are allocated */
};

struct doc *doc_object(struct arena *a); /* a root; NULL when out of memory */
struct doc *doc_array(struct arena *a);

/* Add to an object (key copied into the arena) or, with key NULL, to an array.  A parent
 * of NULL is allowed and gives NULL, so a chain of calls needs no checks. */
struct doc *doc_add_object(struct doc *parent, const char *key);
struct doc *doc_add_array(struct doc *parent, const char *key);
void doc_add_null(struct doc *parent, const char *key);
void doc_add_bool(struct doc *parent, const char *key, bool v);
void doc_add_int(struct doc *parent, const char *key, int64_t v);
void doc_add_uint(struct doc *parent, const char *key, uint64_t v);
void doc_add_real(struct doc *parent, const char *key, double v);
void doc_add_text(struct doc *parent, const char *key, const char *s);
void doc_add_textn(struct doc *parent, const char *key, const char *s, size_t n);
void doc_addf(struct doc *parent, const char *key, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void doc_add_duration(struct doc *parent, const char *key,
                      int64_t ns); /* "1m30s", as text */
void doc_add_time(struct doc *parent, const char *key,
                  uint64_t wall_ns); /* RFC 3339 UTC; 0 = "0001-01-01T00:00:00Z" */
void doc_add_bytes_friendly(struct doc *parent, const char *key,
                            uint64_t n); /* "4.1 kB" */

/* Member of an object by name; NULL if d is no object or has none. */
struct doc *doc_get(const struct doc *d, const char *key);

#endif
