/* SPDX-License-Identifier: MIT */
/* One life of a store, in which each operation on the disk in turn is the last one, or
 * fails.  What is found afterwards is the content of before the step that was under way,
 * or of after it. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/blob.h"
#include "core/snapshot/internal.h"
#include "tests/lib/faulty_io.c"
#include "tests/unit/snapshot/harness.c"

struct life {
    struct faulty *disk;
    struct snapshot_store *store;
    struct image now;   /* what has been promised */
    struct image maybe; /* what may be there instead, after a failed step */
    struct image in;    /* what is being received */
    struct why why;
    char what[80]; /* for messages */
};

/* --- steps -------------------------------------------------------------------------- */

enum verb { BASE, DELTA, FOLD, MARK, UNMARK, REOPEN, RECEIVE, ABORT_RECEIVE };

struct step {
    enum verb verb;
    uint64_t index;
    uint32_t pages, first, nth; /* RECEIVE: first = page to suspend after */
    const char *marker;
};

static const struct step script[] = {
    {.verb = REOPEN},
    {BASE, 10, 70, 1, 1, NULL},
    {.verb = MARK},
    {DELTA, 20, 70, 3, 9, "m20"},
    {.verb = UNMARK},
    {DELTA, 30, 20, 2, 7, NULL},
    {DELTA, 40, 75, 90, 1, "m40"},
    {.verb = FOLD},
    {DELTA, 50, 75, 5, 30, NULL},
    {.verb = REOPEN},
    {DELTA, 60, 68, 1, 1, NULL},
    {.verb = MARK},
    {.verb = FOLD},
    {RECEIVE, 500, 70, 66, 0, NULL},
    {DELTA, 70, 30, 1, 8, "m70"},
    {.verb = REOPEN},
    {RECEIVE, 500, 70, 70, 0, "m500"},
    {DELTA, 510, 70, 4, 20, NULL},
    {BASE, 520, 12, 1, 1, "m520"},
    {DELTA, 530, 14, 2, 2, NULL},
    {RECEIVE, 600, 9, 5, 0, NULL},
    {RECEIVE, 700, 8, 3, 0, NULL},
    {.verb = ABORT_RECEIVE, .index = 700},
    {.verb = FOLD},
    {DELTA, 540, 13, 1, 3, NULL},
    {.verb = REOPEN},
};

enum { STEPS = sizeof script / sizeof *script };

static enum err do_receive(struct life *l, const struct step *s)
{
    struct image none = {0};
    enum err e;

    l->in = image_next(&none, s->index, s->pages, 1, 1);
    if (s->marker != NULL) strcpy(l->in.marker, s->marker);
    if (s->first == s->pages) l->maybe = l->in;
    e = receive(l->store, &l->in, s->first, NULL, &l->why);
    if (!e && s->first == s->pages) l->now = l->in;
    return e;
}

static enum err do_abort_receive(struct life *l, const struct step *s)
{
    struct snapshot_meta m = image_meta(&l->in);
    struct snapshot_writer *w;
    uint32_t have;
    enum err e;

    sprintf(m.id, "3-%d-99", (int)s->index);
    e = snapshot_begin_incoming(l->store, &w, &m, &have, &l->why);
    snapshot_meta_fini(&m);
    if (!e) snapshot_abort(w);
    return e;
}

static enum err do_write(struct life *l, const struct step *s)
{
    struct image next = image_next(&l->now, s->index, s->pages, s->first, s->nth);
    enum err e;

    if (s->marker != NULL) strcpy(next.marker, s->marker);
    l->maybe = next;
    e = s->verb == BASE ? put_base(l->store, &next, &l->why)
                        : put_delta(l->store, &l->now, &next, &l->why);
    if (!e) l->now = next;
    return e;
}

static enum err do_mark(struct life *l, const char *marker)
{
    enum err e;

    l->maybe = l->now;
    strcpy(l->maybe.marker, marker);
    e = snapshot_set_marker(l->store, l->now.index, marker, strlen(marker), &l->why);
    if (!e) l->now = l->maybe;
    return e;
}

static enum err do_reopen(struct life *l)
{
    snapshot_store_close(l->store);
    l->store = NULL;
    return snapshot_store_open(&l->store, faulty_io(l->disk), "d", NULL, &l->why);
}

static enum err take(struct life *l, const struct step *s)
{
    if (l->store == NULL && s->verb != REOPEN) {
        enum err e = do_reopen(l);

        if (e) return e;
    }
    switch (s->verb) {
    case BASE:
    case DELTA: return do_write(l, s);
    case FOLD: return snapshot_fold(l->store, NULL, &l->why);
    case MARK: return do_mark(l, "marked");
    case UNMARK: return do_mark(l, "");
    case REOPEN: return do_reopen(l);
    case RECEIVE: return do_receive(l, s);
    case ABORT_RECEIVE: return do_abort_receive(l, s);
    }
    return ERR_INVALID;
}

/* --- what is found ------------------------------------------------------------------ */

static void born(struct life *l)
{
    memset(l, 0, sizeof *l);
    l->disk = faulty_new();
}

static void dies(struct life *l)
{
    snapshot_store_close(l->store);
    faulty_free(l->disk);
}

#define HOLDS(l, call)                                                                   \
    do {                                                                                 \
        if ((call) != ERR_OK) fail_msg("%s: %s: %s", (l)->what, #call, (l)->why.text);   \
    } while (0)

/* Become what is there: one of the two. */
static void recognise(struct life *l)
{
    const char *d = differs(l->store, &l->now);
    char first[200];

    if (d == NULL) {
        l->maybe = l->now;
        return;
    }
    snprintf(first, sizeof first, "%s", d);
    d = differs(l->store, &l->maybe);
    if (d != NULL)
        fail_msg("%s: neither the state at %d (%s) nor that at %d (%s)", l->what,
                 (int)l->now.index, first, (int)l->maybe.index, d);
    l->now = l->maybe;
}

static void keep_names(const char *name, void *arg)
{
    strcat(arg, name);
    strcat(arg, " ");
}

/* Nothing is left but what is listed. */
static void no_rubbish(struct life *l)
{
    struct io *io = faulty_io(l->disk);
    char names[4000] = "", *save, *name;
    struct snapshot_stats st;
    size_t n = 0;

    snapshot_stats(l->store, &st);
    HOLDS(l, io->ops->list(io, "d", keep_names, names, &l->why));
    for (name = strtok_r(names, " ", &save); name != NULL;
         name = strtok_r(NULL, " ", &save))
        n += strncmp(name, "incoming.", 9) != 0;
    if (n != 1 + (st.snapshots > 0) + st.snapshots)
        fail_msg("%s: %zu files for %zu snapshots", l->what, n, st.snapshots);
}

/* The store goes on from what was found: everything works once more. */
static void goes_on(struct life *l)
{
    const struct step more[] = {
        {RECEIVE, 500, 70, 70, 0, "m500"}, {BASE, 1000, 9, 1, 1, NULL},
        {DELTA, 1010, 11, 1, 4, "m1010"},  {FOLD, 0, 0, 0, 0, NULL},
        {DELTA, 1020, 10, 1, 4, "m1020"},  {REOPEN, 0, 0, 0, 0, NULL},
    };

    for (size_t i = l->now.index >= 500; i < sizeof more / sizeof *more; i++) {
        const char *d;

        HOLDS(l, take(l, &more[i]));
        d = differs(l->store, &l->now);
        if (d != NULL) fail_msg("%s: afterwards: %s", l->what, d);
    }
    no_rubbish(l);
}

static void look(struct life *l)
{
    HOLDS(l, do_reopen(l));
    recognise(l);
    no_rubbish(l);
    /* Once more, and after a fold, which goes on where one was under way. */
    HOLDS(l, do_reopen(l));
    recognise(l);
    HOLDS(l, snapshot_fold(l->store, NULL, &l->why));
    recognise(l);
    goes_on(l);
}

/* --- crashes ------------------------------------------------------------------------ */

/* Power goes during the k-th operation.  False: there are fewer. */
static bool crash_at(uint64_t k, uint64_t seed)
{
    struct life l;
    struct rand r;
    bool died;
    size_t i;

    born(&l);
    rand_init(&r, k * 1000 + seed);
    faulty_die_at(l.disk, k);
    for (i = 0; i < STEPS && !faulty_dead(l.disk); i++) (void)!take(&l, &script[i]);
    died = faulty_dead(l.disk);
    snapshot_store_close(l.store);
    l.store = NULL;
    snprintf(l.what, sizeof l.what, "crash at %d, seed %d, step %d", (int)k, (int)seed,
             (int)i - 1);
    if (seed == 0)
        faulty_restart(l.disk);
    else
        faulty_crash(l.disk, &r, seed % 2 == 0 ? 512 : 4096);
    if (died) look(&l);
    dies(&l);
    return died;
}

static void after_a_crash_there_is_the_old_state_or_the_new(void **state)
{
    const char *seeds = getenv("SEEDS");
    uint64_t n = seeds != NULL ? strtoull(seeds, NULL, 10) : 2;

    (void)state;
    for (uint64_t k = 1; crash_at(k, 0); k++)
        for (uint64_t seed = 1; seed <= n; seed++) assert_true(crash_at(k, seed));
}

/* The power goes once more while what a crash left is put in order. */
static void a_crash_while_recovering_does_no_harm(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k += 7) {
        for (uint64_t j = 1 + k % 2; j < 14; j += 2) {
            struct life l;
            struct rand r;

            born(&l);
            rand_init(&r, k * 1000 + j);
            faulty_die_at(l.disk, k);
            for (size_t i = 0; i < STEPS && !faulty_dead(l.disk); i++)
                (void)!take(&l, &script[i]);
            if (!faulty_dead(l.disk)) {
                dies(&l);
                return;
            }
            snapshot_store_close(l.store);
            l.store = NULL;
            if (j % 2 == 0)
                faulty_restart(l.disk);
            else
                faulty_crash(l.disk, &r, 512);
            faulty_die_at(l.disk, j);
            if (do_reopen(&l) == ERR_OK) (void)!snapshot_fold(l.store, NULL, &l.why);
            snapshot_store_close(l.store);
            l.store = NULL;
            faulty_crash(l.disk, &r, 4096);
            snprintf(l.what, sizeof l.what, "crash at %d, then at %d", (int)k, (int)j);
            look(&l);
            dies(&l);
        }
    }
}

/* --- errors ------------------------------------------------------------------------- */

/* A step failed: the open store goes on with the content of before. */
static void unchanged(struct life *l)
{
    const char *d = l->store != NULL ? differs(l->store, &l->now) : NULL;

    if (d != NULL) fail_msg("%s: %s", l->what, d);
}

/* The k-th operation fails with code; then either the power goes (seed > 0), or the step
 * is taken once more and all the others follow. */
static bool fail_at(uint64_t k, enum err code, uint64_t seed)
{
    struct life l;
    struct rand r;
    bool failed = false;

    born(&l);
    rand_init(&r, k * 1000 + seed);
    faulty_fail_at(l.disk, k, code);
    for (size_t i = 0; i < STEPS; i++) {
        enum err e;

        snprintf(l.what, sizeof l.what, "%s at %d, seed %d, step %d", err_name(code),
                 (int)k, (int)seed, (int)i);
        e = take(&l, &script[i]);
        if (!e) continue;
        failed = true;
        if (e != code && e != ERR_EXISTS)
            fail_msg("%s: %s: %s", l.what, err_name(e), l.why.text);
        assert_true(l.why.text[0] != '\0');
        unchanged(&l);
        if (seed > 0) break;
        /* What may be there is gone as soon as something has worked. */
        HOLDS(&l, take(&l, &script[i]));
        unchanged(&l);
    }
    if (faulty_ops(l.disk) < k) {
        dies(&l);
        return false;
    }
    if (!failed) l.maybe = l.now;
    snapshot_store_close(l.store);
    l.store = NULL;
    faulty_spare(l.disk);
    if (seed == 1)
        faulty_restart(l.disk);
    else
        faulty_crash(l.disk, &r, 512);
    look(&l);
    dies(&l);
    return true;
}

static void after_an_error_the_content_of_before_stays(void **state)
{
    (void)state;
    for (uint64_t k = 1; fail_at(k, ERR_IO, 0); k++) {
        (void)fail_at(k, ERR_IO, 1 + k % 3);
        (void)fail_at(k, ERR_NO_SPACE, k % 3);
    }
}

/* The k-th operation fails, and the power goes during the j-th one after the failed step,
 * which is being taken again.  Only if it was left open which manifest is on disk. */
static bool fail_and_crash_at(uint64_t k, uint64_t j, bool *unsure)
{
    struct life l;
    struct rand r;
    bool reached;

    born(&l);
    rand_init(&r, k * 1000 + j);
    faulty_fail_at(l.disk, k, ERR_IO);
    *unsure = false;
    for (size_t i = 0; i < STEPS && !*unsure; i++) {
        snprintf(l.what, sizeof l.what, "error at %d, step %d, crash %d later", (int)k,
                 (int)i, (int)j);
        if (take(&l, &script[i]) == ERR_OK) continue;
        if (l.store == NULL || !l.store->unsure) break;
        *unsure = true;
        faulty_die_at(l.disk, j);
        (void)!take(&l, &script[i]);
    }
    reached = faulty_ops(l.disk) >= k;
    snapshot_store_close(l.store);
    l.store = NULL;
    if (*unsure) {
        faulty_crash(l.disk, &r, 512);
        look(&l);
    }
    dies(&l);
    return reached;
}

static void an_error_and_then_a_crash_leave_one_of_both(void **state)
{
    bool unsure = false;
    size_t found = 0;

    (void)state;
    for (uint64_t k = 1; fail_and_crash_at(k, 1, &unsure); k++) {
        found += unsure;
        for (uint64_t j = 2; unsure && j < 40; j++)
            assert_true(fail_and_crash_at(k, j, &unsure));
    }
    assert_true(found > 20);
}

/* All operations fail for a while: whatever is tried meanwhile gives an error. */
static void errors_one_after_another_do_no_harm(void **state)
{
    (void)state;
    for (uint64_t k = 2;; k += 3) {
        struct life l;
        struct rand r;
        uint64_t ops;

        born(&l);
        rand_init(&r, k);
        snprintf(l.what, sizeof l.what, "errors from %d on", (int)k);
        for (size_t i = 0; i < STEPS; i++) {
            int tries = 0;

            if (faulty_ops(l.disk) >= k || i == 0)
                faulty_fail_at(l.disk, 0, ERR_OK);
            else
                faulty_fail_at(l.disk, k - faulty_ops(l.disk), ERR_IO);
            while (take(&l, &script[i]) != ERR_OK) {
                unchanged(&l);
                if (++tries == 4) break;
                faulty_fail_at(l.disk, 1 + rand_below(&r, 12), ERR_IO);
            }
            faulty_fail_at(l.disk, 0, ERR_OK);
            if (tries == 4) HOLDS(&l, take(&l, &script[i]));
            unchanged(&l);
        }
        ops = faulty_ops(l.disk);
        l.maybe = l.now;
        snapshot_store_close(l.store);
        l.store = NULL;
        faulty_crash(l.disk, &r, 512);
        look(&l);
        dies(&l);
        if (ops < k) return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_crash_there_is_the_old_state_or_the_new),
        cmocka_unit_test(a_crash_while_recovering_does_no_harm),
        cmocka_unit_test(after_an_error_the_content_of_before_stays),
        cmocka_unit_test(an_error_and_then_a_crash_leave_one_of_both),
        cmocka_unit_test(errors_one_after_another_do_no_harm),
    };

    mallopt(M_MMAP_THRESHOLD, 1 << 30); /* thousands of disks, made and thrown away */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
