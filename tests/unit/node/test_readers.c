/* SPDX-License-Identifier: MIT */
/* Slow reads and quick ones on a few threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/resource.h>
#include <unistd.h>

#include "core/base/list.h"
#include "core/node/readers.h"

struct job {
    struct reader_job job;
    atomic_bool *go; /* waits for it; NULL = quick */
    atomic_bool done;
    bool had_connection;
};

static void run(struct reader_job *j, struct db_reader *r)
{
    struct job *x = LIST_ITEM(j, struct job, job);

    while (x->go && !atomic_load(x->go)) usleep(200);
    x->had_connection = r != NULL;
    atomic_store(&x->done, true);
}

static bool ends(struct job *x) /* within a time that is long for it */
{
    for (int i = 0; i < 20000 && !atomic_load(&x->done); i++) usleep(200);
    return atomic_load(&x->done);
}

static struct db *open_db(void)
{
    struct db_options o = {.scratch_dir = "."};
    struct db *d = NULL;
    struct why why = {0};

    if (db_open(&d, &o, &why)) fail_msg("%s", why.text);
    return d;
}

static void submit(struct readers *r, struct job *x, atomic_bool *go)
{
    memset(x, 0, sizeof *x);
    x->job.run = run;
    x->go = go;
    readers_submit(r, &x->job);
}

static void quick_jobs_do_not_wait_for_slow_ones(void **state)
{
    struct db *d = open_db();
    struct why why = {0};

    (void)state;
    for (int round = 0; round < 100; round++) {
        struct readers *r = NULL;
        struct job slow[2], quick;
        atomic_bool go = false;

        assert_int_equal(readers_start(&r, d, 2, 4, NULL, &why), ERR_OK);
        submit(r, &quick, NULL);
        assert_true(ends(&quick));
        usleep((unsigned)round * 10); /* so that they sleep, or are about to */
        submit(r, &slow[0], &go);
        submit(r, &slow[1], &go);
        submit(r, &quick, NULL);
        if (!ends(&quick)) {
            atomic_store(&go, true);
            fail_msg("round %d: a quick job waits for the slow ones", round);
        }
        atomic_store(&go, true);
        readers_stop(r);
        assert_true(atomic_load(&slow[0].done) && atomic_load(&slow[1].done));
        readers_free(r);
    }
    db_close(d);
}

/* A thread takes several jobs when many wait. */
static void what_was_taken_with_a_slow_job_does_not_wait_for_it(void **state)
{
    struct db *d = open_db();
    struct why why = {0};

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct readers *r = NULL;
        struct job first, slow, quick[3];
        atomic_bool begin = false, go = false;
        bool ok = true;

        assert_int_equal(readers_start(&r, d, 1, 4, NULL, &why), ERR_OK);
        submit(r, &first, &begin);
        usleep(1000); /* it has been taken, alone */
        submit(r, &slow, &go);
        for (int i = 0; i < 3; i++) submit(r, &quick[i], NULL);
        atomic_store(&begin, true);
        for (int i = 0; i < 3; i++) ok = ok && ends(&quick[i]);
        atomic_store(&go, true);
        readers_stop(r);
        readers_free(r);
        assert_true(ok);
        assert_true(atomic_load(&slow.done));
    }
    db_close(d);
}

static void a_connection_that_could_not_be_opened_is_tried_again(void **state)
{
    struct db_options o = {.path = "readers.sqlite", .scratch_dir = "."};
    struct readers *r = NULL;
    struct rlimit old, none;
    struct db *d = NULL;
    struct why why = {0};
    struct job j;

    (void)state;
    assert_int_equal(db_open(&d, &o, &why), ERR_OK);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(readers_start(&r, d, 1, 1, NULL, &why), ERR_OK);
    submit(r, &j, NULL);
    assert_true(ends(&j) && !j.had_connection);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    submit(r, &j, NULL);
    assert_true(ends(&j) && j.had_connection);
    readers_stop(r);
    readers_free(r);
    db_close(d);
}

static void what_comes_after_the_end_is_run_without_a_connection(void **state)
{
    struct db *d = open_db();
    struct readers *r = NULL;
    struct why why = {0};
    struct job j;

    (void)state;
    assert_int_equal(readers_start(&r, d, 2, 4, NULL, &why), ERR_OK);
    submit(r, &j, NULL);
    readers_stop(r);
    assert_true(atomic_load(&j.done) && j.had_connection);
    submit(r, &j, NULL);
    assert_true(atomic_load(&j.done) && !j.had_connection);
    readers_free(r);
    db_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quick_jobs_do_not_wait_for_slow_ones),
        cmocka_unit_test(what_was_taken_with_a_slow_job_does_not_wait_for_it),
        cmocka_unit_test(a_connection_that_could_not_be_opened_is_tried_again),
        cmocka_unit_test(what_comes_after_the_end_is_run_without_a_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
