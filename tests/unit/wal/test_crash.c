/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/blob.h"
#include "tests/lib/faulty_io.c"
#include "tests/unit/wal/harness.c"

enum { SMALL = 16384, STEPS_MAX = 4000 };

/* One record each, so that a state between two of them is a state the log may be found
 * in. */
struct step {
    enum { APPEND, HARD, TRUNCATE, RESET } kind;
    struct raft_entry entry;
    uint64_t index, term;
    char vote[8];
};

struct life {
    struct faulty *disk;
    struct wal *wal;
    struct model base; /* what the log was opened with */
    struct model now;  /* after all steps */
    struct step *steps;
    size_t n, synced; /* steps attempted, and known to be durable */
    uint64_t dropped; /* entries before it may be gone */
    uint64_t seed;    /* for messages */
    const char *doing;
    struct why why;
};

static void model_copy(struct model *to, const struct model *from)
{
    model_init(to);
    model_reset(to, from->first - 1, from->before_term);
    for (uint64_t i = from->first; i <= from->last; i++)
        model_append(to, &from->entries[i - from->first]);
    model_hard(to, from->term, from->vote);
}

static void step_apply(struct model *m, const struct step *s)
{
    switch (s->kind) {
    case APPEND: model_append(m, &s->entry); break;
    case HARD: model_hard(m, s->term, s->vote); break;
    case TRUNCATE: model_truncate(m, s->index); break;
    case RESET: model_reset(m, s->index, s->term); break;
    }
}

static struct step *step_add(struct life *l)
{
    assert_true(l->n < STEPS_MAX);
    memset(&l->steps[l->n], 0, sizeof *l->steps);
    return &l->steps[l->n++];
}

static void life_init(struct life *l, uint64_t seed)
{
    memset(l, 0, sizeof *l);
    l->disk = faulty_new();
    l->steps = calloc(STEPS_MAX, sizeof *l->steps);
    assert_non_null(l->steps);
    model_init(&l->base);
    model_init(&l->now);
    l->seed = seed;
    l->dropped = 1;
}

static void forget_steps(struct life *l)
{
    for (size_t i = 0; i < l->n; i++) blob_unref(l->steps[i].entry.payload);
    l->n = l->synced = 0;
}

static void life_fini(struct life *l)
{
    forget_steps(l);
    free(l->steps);
    model_fini(&l->base);
    model_fini(&l->now);
    faulty_free(l->disk);
}

static enum err some_appends(struct life *l, struct rand *r, uint64_t term)
{
    struct raft_entry e[8];
    size_t n = 1 + (size_t)rand_below(r, 8);
    uint32_t most = rand_below(r, 15) == 0 ? 20000 : 300;

    for (size_t i = 0; i < n; i++) {
        struct step *s = step_add(l);

        e[i] = entry_make(l->now.last + 1, term, (uint32_t)rand_below(r, most));
        if (rand_below(r, 6) == 0 && e[i].payload != NULL)
            memset(e[i].payload->data, 'z', e[i].payload->len);
        s->kind = APPEND;
        s->entry = e[i];
        step_apply(&l->now, s);
    }
    l->doing = "append";
    return wal_append(l->wal, e, n, &l->why);
}

static enum err some_other(struct life *l, struct rand *r, uint64_t term)
{
    uint64_t last = l->now.last, first = wal_first(l->wal);
    struct model m;
    enum err e;

    switch (rand_below(r, 7)) {
    case 0: {
        struct step *s = step_add(l);
        s->kind = HARD;
        s->term = term;
        snprintf(s->vote, sizeof s->vote, "n%u", (unsigned)(term % 100));
        step_apply(&l->now, s);
        l->doing = "save_hard";
        return wal_save_hard(l->wal, term, s->vote, &l->why);
    }
    case 1: {
        struct step *s;
        if (last < first) return ERR_OK;
        s = step_add(l);
        s->kind = TRUNCATE;
        s->index = last - rand_below(r, last - first + 1 > 12 ? 12 : last - first + 1);
        step_apply(&l->now, s);
        l->doing = "truncate";
        return wal_truncate_from(l->wal, s->index, &l->why);
    }
    case 2: {
        struct step *s;
        if (rand_below(r, 5) != 0) return ERR_OK;
        s = step_add(l);
        s->kind = RESET;
        s->index = last + rand_below(r, 4);
        s->term = term;
        step_apply(&l->now, s);
        l->doing = "reset";
        return wal_reset(l->wal, s->index, term, &l->why);
    }
    case 3: {
        uint64_t index = last > 20 ? last - 20 : 1;
        if (index > l->dropped) l->dropped = index;
        l->doing = "drop";
        return wal_drop_before(l->wal, index, &l->why);
    }
    case 4:
        if (last < first) return ERR_OK;
        model_init(&m);
        l->doing = "read";
        e = wal_read(l->wal, first + rand_below(r, last - first + 1), last, 2000,
                     model_collect, &m, &l->why);
        model_fini(&m);
        return e;
    default: {
        size_t n = l->n;
        l->doing = "sync";
        e = wal_sync(l->wal, &l->why);
        if (!e) l->synced = n;
        return e;
    }
    }
}

/* Do as the seed says until something fails or count things were done. */
static enum err life_go_on(struct life *l, uint64_t seed, int count)
{
    uint64_t term = l->now.term + 1;
    struct rand r;
    enum err e = ERR_OK;

    rand_init(&r, seed);
    for (int i = 0; i < count && !e; i++) {
        if (rand_below(&r, 10) == 0) term++;
        if (rand_below(&r, 2) == 0)
            e = some_appends(l, &r, term);
        else
            e = some_other(l, &r, term);
    }
    return e;
}

/* The log on the disk is one that it was at some time since the last sync that succeeded;
 * go on from there.  False if it is not. */
static bool life_settles(struct life *l, const struct model *found)
{
    struct model m;
    bool same = false;

    model_copy(&m, &l->base);
    for (size_t i = 0; i <= l->n && !same; i++) {
        if (i > 0) step_apply(&m, &l->steps[i - 1]);
        if (i < l->synced || !model_same(&m, found)) continue;
        same = found->first >= m.first &&
               (found->first <= l->dropped || found->first == m.first);
    }
    model_fini(&l->base);
    model_fini(&l->now);
    model_fini(&m);
    model_copy(&l->base, found);
    model_copy(&l->now, found);
    forget_steps(l);
    return same;
}

/* Open the log, which must hold what it may hold. */
static enum err life_open(struct life *l)
{
    struct wal_options o = {.io = faulty_io(l->disk),
                            .dir = "d",
                            .segment_bytes = SMALL,
                            .compress_above = 300};
    struct wal_found found;
    struct model m;
    enum err e;

    l->doing = "open";
    model_init(&m);
    e = wal_open(&l->wal, &o, &found, model_collect, &m, &l->why);
    if (!e) {
        m.first = found.first;
        m.last = found.last;
        m.before_term = found.before_term;
        model_hard(&m, found.term, found.vote);
        if (!life_settles(l, &m))
            fail_msg("seed %llu: the log holds %llu to %llu, which it never did",
                     (unsigned long long)l->seed, (unsigned long long)m.first,
                     (unsigned long long)m.last);
    }
    model_fini(&m);
    return e;
}

static void look(struct life *l, uint64_t at)
{
    if (life_open(l))
        fail_msg("seed %llu, operation %llu: %s", (unsigned long long)l->seed,
                 (unsigned long long)at, l->why.text);
    wal_close(l->wal);
}

/* Power goes during operation at of the life that seed describes.  False if it ended
 * before. */
static bool crash_once(uint64_t seed, uint64_t at, size_t granule)
{
    struct life l;
    struct rand r;
    bool died;

    life_init(&l, seed);
    rand_init(&r, seed * 7919 + at);
    faulty_die_at(l.disk, at);
    if (life_open(&l) == ERR_OK) (void)!life_go_on(&l, seed, 60);
    died = faulty_dead(l.disk);
    wal_close(l.wal);
    faulty_crash(l.disk, &r, granule);

    /* Once more while recovering; whatever that left, the next one finds it good. */
    faulty_die_at(l.disk, 1 + rand_below(&r, 20));
    if (life_open(&l) == ERR_OK) wal_close(l.wal);
    faulty_crash(l.disk, &r, granule);
    look(&l, at);

    /* What an opened log was found to hold is durable. */
    faulty_crash(l.disk, &r, granule);
    look(&l, at);
    life_fini(&l);
    return died;
}

static void a_crash_at_any_operation_loses_nothing_synced(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        for (uint64_t at = 1; crash_once(seed, at, seed % 2 == 0 ? 512 : 4096); at++)
            continue;
}

/* Many short lives of one disk, each ended by a crash. */
static void one_log_survives_crash_after_crash(void **state)
{
    struct rand r;

    (void)state;
    for (uint64_t seed = 100; seed < 130; seed++) {
        struct life l;

        rand_init(&r, seed);
        life_init(&l, seed);
        for (uint64_t round = 0; round < 40; round++) {
            faulty_die_at(l.disk, 1 + rand_below(&r, 120));
            if (life_open(&l) == ERR_OK) (void)!life_go_on(&l, rand_u64(&r), 40);
            wal_close(l.wal);
            if (rand_below(&r, 3) == 0)
                faulty_restart(l.disk);
            else
                faulty_crash(l.disk, &r, rand_below(&r, 2) == 0 ? 512 : 4096);
            if (rand_below(&r, 2) == 0) look(&l, round);
        }
        life_fini(&l);
    }
}

/* Everything but the first failing call itself is refused, and the reason is kept. */
static void is_over(struct life *l, enum err e)
{
    struct raft_entry entry = entry_make(wal_last(l->wal) + 1, 1, 1);
    struct model m;
    struct why why;

    model_init(&m);
    assert_int_equal(wal_append(l->wal, &entry, 1, &why), ERR_IO);
    assert_int_equal(wal_save_hard(l->wal, 1, "", &why), ERR_IO);
    assert_int_equal(wal_truncate_from(l->wal, 1, &why), ERR_IO);
    assert_int_equal(wal_reset(l->wal, 1, 1, &why), ERR_IO);
    assert_int_equal(wal_drop_before(l->wal, 1, &why), ERR_IO);
    assert_int_equal(wal_read(l->wal, 1, 1, 1, model_collect, &m, &why), ERR_IO);
    assert_int_equal(wal_sync(l->wal, &why), ERR_IO);
    assert_non_null(strstr(why.text, "failed earlier"));
    assert_non_null(strstr(why.text, e == ERR_NO_SPACE ? "No space" : "Input/output"));
    blob_unref(entry.payload);
    model_fini(&m);
}

static bool fail_once(uint64_t seed, uint64_t at, enum err with)
{
    struct life l;
    struct rand r;
    enum err e;
    bool reached;

    rand_init(&r, at);
    life_init(&l, seed);
    faulty_fail_at(l.disk, at, with);
    e = life_open(&l);
    if (!e) e = life_go_on(&l, seed, 60);
    reached = faulty_ops(l.disk) >= at;
    if (e) {
        assert_int_equal(e, with);
        assert_int_equal(l.why.code, with);
        assert_non_null(
            strstr(l.why.text, with == ERR_NO_SPACE ? "No space" : "Input/output"));
        if (l.wal != NULL && strcmp(l.doing, "read") != 0) is_over(&l, with);
    } else {
        assert_false(reached);
    }
    wal_close(l.wal);
    faulty_restart(l.disk);
    look(&l, at);

    /* A log whose sync had failed was read from the page cache; now it is on the disk. */
    faulty_crash(l.disk, &r, 512);
    look(&l, at);
    life_fini(&l);
    return reached;
}

static void a_failed_operation_ends_the_log_with_a_clear_error(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        for (uint64_t at = 1; fail_once(seed, at, ERR_IO); at++) continue;
        for (uint64_t at = 1; fail_once(seed, at, ERR_NO_SPACE); at++) continue;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_at_any_operation_loses_nothing_synced),
        cmocka_unit_test(one_log_survives_crash_after_crash),
        cmocka_unit_test(a_failed_operation_ends_the_log_with_a_clear_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
