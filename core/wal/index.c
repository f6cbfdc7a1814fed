/* SPDX-License-Identifier: MIT */
#include "core/wal/index.h"

#include <stdlib.h>
#include <string.h>

enum { MARK_EVERY = 64 * 1024 };

void log_index_init(struct log_index *l, uint64_t first, uint64_t before_term)
{
    memset(l, 0, sizeof *l);
    l->first = first;
    l->last = first - 1;
    l->before_term = before_term;
    l->mark_next = true;
}

void log_index_fini(struct log_index *l)
{
    free(l->marks);
    free(l->runs);
    l->marks = NULL;
    l->runs = NULL;
    l->n_marks = l->cap_marks = l->n_runs = l->cap_runs = 0;
}

/* Room for one more element after n; false when out of memory. */
static bool grow(void **items, size_t n, size_t *cap, size_t size)
{
    size_t want = *cap == 0 ? 8 : *cap * 2;
    void *bigger;

    if (n < *cap) return true;
    bigger = realloc(*items, want * size);
    if (bigger == NULL) return false;
    *items = bigger;
    *cap = want;
    return true;
}

static bool wants_mark(const struct log_index *l, uint64_t seq, uint64_t offset)
{
    const struct log_mark *m;

    if (l->mark_next || l->n_marks == 0) return true;
    m = &l->marks[l->n_marks - 1];
    return m->seq != seq || offset - m->offset >= MARK_EVERY;
}

enum err log_index_add(struct log_index *l, uint64_t term, uint64_t seq, uint64_t offset)
{
    uint64_t index = l->last + 1;

    if (l->n_runs == 0 || l->runs[l->n_runs - 1].term != term) {
        void *runs = l->runs;
        if (!grow(&runs, l->n_runs, &l->cap_runs, sizeof *l->runs)) return ERR_NOMEM;
        l->runs = runs;
        l->runs[l->n_runs++] = (struct log_run){index, term};
    }
    if (wants_mark(l, seq, offset)) {
        void *marks = l->marks;
        if (!grow(&marks, l->n_marks, &l->cap_marks, sizeof *l->marks)) return ERR_NOMEM;
        l->marks = marks;
        l->marks[l->n_marks++] = (struct log_mark){index, seq, offset};
        l->mark_next = false;
    }
    l->last = index;
    return ERR_OK;
}

void log_index_truncate(struct log_index *l, uint64_t from, uint64_t before_term)
{
    if (from > l->last && from >= l->first) return;
    while (l->n_marks > 0 && l->marks[l->n_marks - 1].index >= from) l->n_marks--;
    while (l->n_runs > 0 && l->runs[l->n_runs - 1].index >= from) l->n_runs--;
    l->last = from - 1;
    l->mark_next = true;
    if (from <= l->first) {
        l->first = from;
        l->before_term = before_term;
    }
}

void log_index_reset(struct log_index *l, uint64_t index, uint64_t term)
{
    l->n_marks = l->n_runs = 0;
    l->first = index + 1;
    l->last = index;
    l->before_term = term;
    l->mark_next = true;
}

void log_index_drop(struct log_index *l, uint64_t seq)
{
    size_t marks = 0, runs = 0;
    uint64_t first;

    while (marks < l->n_marks && l->marks[marks].seq < seq) marks++;
    if (marks == 0) return;
    first = marks < l->n_marks ? l->marks[marks].index : l->last + 1;
    l->before_term = log_index_term(l, first - 1);
    l->first = first;
    l->n_marks -= marks;
    memmove(l->marks, l->marks + marks, l->n_marks * sizeof *l->marks);
    if (l->n_marks == 0) l->mark_next = true;

    /* Keep the run that first is in. */
    while (runs + 1 < l->n_runs && l->runs[runs + 1].index <= first) runs++;
    l->n_runs -= runs;
    memmove(l->runs, l->runs + runs, l->n_runs * sizeof *l->runs);
    if (l->n_runs > 0 && l->runs[0].index < first) l->runs[0].index = first;
    if (first > l->last) l->n_runs = 0;
}

uint64_t log_index_term(const struct log_index *l, uint64_t index)
{
    size_t i = l->n_runs;

    if (index + 1 == l->first) return l->before_term;
    if (index < l->first || index > l->last) return 0;
    while (i > 0 && l->runs[i - 1].index > index) i--;
    CHECK(i > 0);
    return l->runs[i - 1].term;
}

size_t log_index_find(const struct log_index *l, uint64_t index)
{
    size_t low = 0,
           high = l->n_marks; /* marks[low] is at or before index, marks[high] after */

    CHECK(l->n_marks > 0);
    CHECK(l->marks[0].index <= index);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (l->marks[middle].index <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}
