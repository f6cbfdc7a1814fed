/* SPDX-License-Identifier: MIT */
#include "gateway/json_doc.h"

#include <stdlib.h>
#include <string.h>

/* Merge sort of a list of n siblings; what becomes the first is returned, the rest of the
 * list in *rest. */
static struct doc *sort(struct doc *first, size_t n, struct doc **rest)
{
    struct doc *a, *b, *sorted = NULL, **tail = &sorted;

    if (n == 1) {
        *rest = first->next;
        first->next = NULL;
        return first;
    }
    a = sort(first, n / 2, &b);
    b = sort(b, n - n / 2, rest);
    while (a && b) {
        struct doc **less = strcmp(a->key, b->key) <= 0 ? &a : &b;

        *tail = *less;
        tail = &(*less)->next;
        *less = (*less)->next;
    }
    *tail = a ? a : b;
    return sorted;
}

static void object(struct json *j, struct doc *d)
{
    struct doc *rest;

    if (!d->keep_order && d->v.kids.n > 1) {
        d->v.kids.first = sort(d->v.kids.first, d->v.kids.n, &rest);
        d->v.kids.last = d->v.kids.first;
        while (d->v.kids.last->next) d->v.kids.last = d->v.kids.last->next;
    }
    json_open(j, '{');
    for (struct doc *kid = d->v.kids.first; kid; kid = kid->next) {
        json_keyn(j, kid->key, strlen(kid->key));
        json_doc(j, kid);
    }
    json_close(j, '}');
}

void json_doc(struct json *j, struct doc *d)
{
    switch (d ? d->type : DOC_NULL) {
    case DOC_NULL: buf_append(j->out, "null", 4); break;
    case DOC_BOOL: json_put_bool(j->out, d->v.b); break;
    case DOC_INT: json_put_int(j->out, d->v.i); break;
    case DOC_UINT: json_put_uint(j->out, d->v.u); break;
    case DOC_REAL:
        if (!json_put_real(j->out, d->v.r)) buf_append(j->out, "null", 4);
        break;
    case DOC_TEXT: json_put_string(j->out, d->v.text.s, d->v.text.n); break;
    case DOC_ARRAY:
        json_open(j, '[');
        for (struct doc *kid = d->v.kids.first; kid; kid = kid->next) {
            json_item(j);
            json_doc(j, kid);
        }
        json_close(j, ']');
        break;
    case DOC_OBJECT: object(j, d); break;
    }
}

struct doc *json_doc_at(struct doc *d, const char *path)
{
    while (d && d->type == DOC_OBJECT) {
        size_t n = strcspn(path, ".");
        struct doc *kid = d->v.kids.first;

        while (kid && (strncmp(kid->key, path, n) != 0 || kid->key[n] != '\0'))
            kid = kid->next;
        d = kid;
        if (path[n] == '\0') return d;
        path += n + 1;
    }
    return d;
}
