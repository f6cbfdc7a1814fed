/* SPDX-License-Identifier: MIT */
#include "tests/unit/wal/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/blob.h"

#define OK(call, why)                                                                    \
    do {                                                                                 \
        if ((call) != ERR_OK) fail_msg("%s: %s", #call, (why).text);                     \
    } while (0)

/* --- the model -------------------------------------------------------------------- */

void model_init(struct model *m)
{
    memset(m, 0, sizeof *m);
    m->first = 1;
}

static void forget_from(struct model *m, uint64_t from)
{
    for (uint64_t i = from; i <= m->last; i++)
        blob_unref(m->entries[i - m->first].payload);
}

void model_fini(struct model *m)
{
    forget_from(m, m->first);
    free(m->entries);
    model_init(m);
}

void model_append(struct model *m, const struct raft_entry *e)
{
    size_t n = (size_t)(m->last + 1 - m->first);

    assert_int_equal(e->index, m->last + 1);
    if (n == m->cap) {
        m->cap = n == 0 ? 64 : n * 2;
        m->entries = realloc(m->entries, m->cap * sizeof *m->entries);
        assert_non_null(m->entries);
    }
    m->entries[n] = *e;
    blob_ref(e->payload);
    m->last++;
}

void model_truncate(struct model *m, uint64_t from)
{
    if (from > m->last) return;
    forget_from(m, from);
    m->last = from - 1;
}

void model_reset(struct model *m, uint64_t index, uint64_t term)
{
    forget_from(m, m->first);
    m->first = index + 1;
    m->last = index;
    m->before_term = term;
}

void model_hard(struct model *m, uint64_t term, const char *vote)
{
    m->term = term;
    strcpy(m->vote, vote);
}

static bool same_entry(const struct raft_entry *a, const struct raft_entry *b)
{
    uint32_t len = a->payload != NULL ? a->payload->len : 0;

    if (a->index != b->index || a->term != b->term || a->type != b->type) return false;
    if (len != (b->payload != NULL ? b->payload->len : 0)) return false;
    return len == 0 || memcmp(a->payload->data, b->payload->data, len) == 0;
}

bool model_same(const struct model *a, const struct model *b)
{
    uint64_t from = a->first > b->first ? a->first : b->first;

    if (a->term != b->term || strcmp(a->vote, b->vote) != 0) return false;
    if (a->last != b->last) return false;
    for (uint64_t i = from; i <= a->last; i++)
        if (!same_entry(&a->entries[i - a->first], &b->entries[i - b->first]))
            return false;
    return true;
}

enum err model_collect(const struct raft_entry *e, void *arg, struct why *why)
{
    struct model *m = arg;

    (void)why;
    if (m->cap == 0) {
        m->first = e->index;
        m->last = e->index - 1;
    }
    model_append(m, e);
    return ERR_OK;
}

struct raft_entry entry_make(uint64_t index, uint64_t term, uint32_t len)
{
    struct raft_entry e = {.index = index, .term = term, .type = RAFT_ENTRY_APP};
    struct rand r;

    rand_init(&r, index * 1000003 + term * 101 + len);
    e.type = (uint8_t)(RAFT_ENTRY_APP + index % 3);
    if (len == 0) return e;
    e.payload = blob_new(len);
    assert_non_null(e.payload);
    rand_fill(&r, e.payload->data, len);
    e.payload->len = len;
    return e;
}

/* --- the log ---------------------------------------------------------------------- */

void log_open(struct log *l, struct io *io, uint64_t segment_bytes)
{
    struct wal_options o = {.io = io, .dir = "d", .segment_bytes = segment_bytes};

    log_open_with(l, &o);
}

void log_open_with(struct log *l, const struct wal_options *options)
{
    struct why why;

    memset(l, 0, sizeof *l);
    l->io = options->io;
    l->options = *options;
    model_init(&l->model);
    OK(wal_open(&l->wal, &l->options, &l->found, NULL, NULL, &why), why);
}

static void same_as_model(const struct log *l, const struct model *m)
{
    assert_int_equal(m->last, l->model.last);
    assert_true(model_same(m, &l->model));
}

void log_reopen(struct log *l)
{
    struct model m;
    struct why why;

    wal_close(l->wal);
    model_init(&m);
    OK(wal_open(&l->wal, &l->options, &l->found, model_collect, &m, &why), why);
    assert_true(l->found.used);
    assert_int_equal(l->found.first, wal_first(l->wal));
    assert_int_equal(l->found.last, wal_last(l->wal));
    if (m.cap > 0) assert_int_equal(m.first, l->found.first);
    m.first = l->found.first;
    m.last = l->found.last;
    model_hard(&m, l->found.term, l->found.vote);
    same_as_model(l, &m);
    model_fini(&m);
    log_check(l);
}

static void check_read(struct log *l, uint64_t from, uint64_t to, size_t max)
{
    const struct model *want = &l->model;
    struct model m;
    struct why why;
    size_t bytes = 0;

    model_init(&m);
    OK(wal_read(l->wal, from, to, max, model_collect, &m, &why), why);
    assert_int_equal(m.first, from);
    assert_true(m.last >= from);
    assert_true(m.last <= to);
    for (uint64_t i = m.first; i <= m.last; i++) {
        const struct blob *b = m.entries[i - m.first].payload;
        bytes += b != NULL ? b->len : 0;
        assert_true(same_entry(&m.entries[i - m.first], &want->entries[i - want->first]));
    }
    if (m.last > from) assert_true(bytes <= max);
    if (m.last < to && m.last < want->last) {
        const struct blob *b = want->entries[m.last + 1 - want->first].payload;
        assert_true(bytes + (b != NULL ? b->len : 0) > max);
    }
    model_fini(&m);
}

void log_check(struct log *l)
{
    uint64_t first = wal_first(l->wal), last = wal_last(l->wal);
    struct model m;
    struct why why;
    struct rand r;

    assert_int_equal(last, l->model.last);
    assert_true(first >= l->model.first);
    model_init(&m);
    assert_int_equal(wal_read(l->wal, last + 1, last + 1, 1, model_collect, &m, &why),
                     ERR_NOT_FOUND);
    assert_int_equal(wal_read(l->wal, first - 1, last, 1, model_collect, &m, &why),
                     ERR_NOT_FOUND);
    model_fini(&m);
    if (first > last) return;
    check_read(l, first, last, SIZE_MAX);
    check_read(l, first, last, 1);
    check_read(l, last, last, 0);
    rand_init(&r, last);
    for (int i = 0; i < 20; i++) {
        uint64_t from = first + rand_below(&r, last - first + 1);
        check_read(l, from, from + rand_below(&r, last - from + 1),
                   (size_t)rand_below(&r, 5000));
    }
}

void log_close(struct log *l)
{
    wal_close(l->wal);
    model_fini(&l->model);
}

void log_append(struct log *l, uint64_t term, size_t n, uint32_t len)
{
    struct raft_entry *entries = calloc(n, sizeof *entries);
    struct why why;

    assert_non_null(entries);
    for (size_t i = 0; i < n; i++)
        entries[i] = entry_make(l->model.last + 1 + i, term, len);
    OK(wal_append(l->wal, entries, n, &why), why);
    for (size_t i = 0; i < n; i++) {
        model_append(&l->model, &entries[i]);
        blob_unref(entries[i].payload);
    }
    free(entries);
}

void log_sync(struct log *l)
{
    struct why why;

    OK(wal_sync(l->wal, &why), why);
}

void log_truncate(struct log *l, uint64_t from)
{
    struct why why;

    OK(wal_truncate_from(l->wal, from, &why), why);
    model_truncate(&l->model, from);
}

void log_reset(struct log *l, uint64_t index, uint64_t term)
{
    struct why why;

    OK(wal_reset(l->wal, index, term, &why), why);
    model_reset(&l->model, index, term);
}

void log_hard(struct log *l, uint64_t term, const char *vote)
{
    struct why why;

    OK(wal_save_hard(l->wal, term, vote, &why), why);
    model_hard(&l->model, term, vote);
}

enum err log_inspect(struct io *io, struct model *m, struct wal_found *found,
                     struct why *why)
{
    struct wal_options o = {.io = io, .dir = "d", .segment_bytes = 16384};
    struct wal *w;
    enum err e;

    model_init(m);
    e = wal_open(&w, &o, found, model_collect, m, why);
    if (e) {
        model_fini(m);
        return e;
    }
    assert_true(found->first > found->last || m->first == found->first);
    m->first = found->first;
    m->last = found->last;
    m->before_term = found->before_term;
    model_hard(m, found->term, found->vote);
    wal_close(w);
    return ERR_OK;
}
