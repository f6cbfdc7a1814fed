/* SPDX-License-Identifier: MIT */
/* Readers, a writer, folds and markers at the same time, on real files. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/blob.h"
#include "core/base/io.h"
#include "tests/lib/faulty_io.c"
#include "tests/unit/snapshot/harness.c"

enum { ROUNDS = 60 };

struct world {
    struct snapshot_store *store;
    struct image images[ROUNDS + 1]; /* that at index i; written before it is committed */
    atomic_bool stop;
    atomic_uint reads, folds, marks;
    atomic_int wrong;
};

static void read_once(struct world *w)
{
    struct snapshot_reader *r;
    uint8_t *all;
    struct why why;
    const struct image *i;

    if (snapshot_reader_open(w->store, &r, &why)) {
        atomic_fetch_add(&w->wrong, 1);
        return;
    }
    i = &w->images[snapshot_reader_meta(r)->index];
    all = malloc((size_t)i->pages * SNAPSHOT_PAGE);
    if (all == NULL || snapshot_read(r, 1, i->pages, all, &why)) {
        fprintf(stderr, "%s\n", why.text);
        atomic_fetch_add(&w->wrong, 1);
    }
    for (uint32_t p = 1; p <= i->pages; p++) {
        uint8_t want[SNAPSHOT_PAGE];

        page_fill(want, p, i->version[p]);
        if (memcmp(want, all + (size_t)(p - 1) * SNAPSHOT_PAGE, sizeof want) != 0 ||
            !snapshot_same_page(r, p, want))
            atomic_fetch_add(&w->wrong, 1);
    }
    free(all);
    snapshot_reader_close(r);
    atomic_fetch_add(&w->reads, 1);
}

static void *read_on(void *arg)
{
    struct world *w = arg;

    while (!atomic_load(&w->stop)) read_once(w);
    return NULL;
}

static void *fold_on(void *arg)
{
    struct world *w = arg;
    struct snapshot_stats st;
    struct why why;
    size_t n = 0;

    while (!atomic_load(&w->stop)) {
        enum err e = snapshot_fold(w->store, &n, &why);

        if (e && e != ERR_BUSY) atomic_fetch_add(&w->wrong, 1);
        if (!e && n > 0) atomic_fetch_add(&w->folds, 1);
        snapshot_stats(w->store, &st);
    }
    return NULL;
}

static void *mark_on(void *arg)
{
    struct world *w = arg;
    struct snapshot_meta m;

    while (!atomic_load(&w->stop)) {
        uint8_t marker[SNAPSHOT_MARKER_MAX];
        struct why why;
        enum err e = snapshot_newest(w->store, &m);

        if (!e)
            e = snapshot_set_marker(w->store, m.index, &m.index, sizeof m.index, &why);
        if (e && e != ERR_STALE) atomic_fetch_add(&w->wrong, 1);
        if (!e) atomic_fetch_add(&w->marks, 1);
        (void)snapshot_marker(w->store, marker);
        snapshot_meta_fini(&m);
    }
    return NULL;
}

static void write_one(struct world *w, uint64_t index)
{
    const struct image *before = &w->images[index - 1];
    struct why why;
    enum err e;

    w->images[index] =
        image_next(before, index, 60 + (uint32_t)(index * 37 % 90), 1 + index % 5, 7);
    do
        e = index % 25 == 1 ? put_base(w->store, &w->images[index], &why)
                            : put_delta(w->store, before, &w->images[index], &why);
    while (e == ERR_BUSY);
    if (e) fail_msg("%s", why.text);
}

static void readers_writers_and_folds_do_not_disturb_each_other(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    pthread_t threads[4];
    struct why why;

    (void)state;
    assert_non_null(w);
    assert_int_equal(snapshot_store_open(&w->store, io_real(), "threads", NULL, &why), 0);
    write_one(w, 1);
    pthread_create(&threads[0], NULL, read_on, w);
    pthread_create(&threads[1], NULL, read_on, w);
    pthread_create(&threads[2], NULL, fold_on, w);
    pthread_create(&threads[3], NULL, mark_on, w);
    for (uint64_t i = 2; i <= ROUNDS; i++) write_one(w, i);
    atomic_store(&w->stop, true);
    for (size_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&w->wrong), 0);
    snapshot_store_close(w->store);
    assert_int_equal(snapshot_store_open(&w->store, io_real(), "threads", NULL, &why), 0);
    read_once(w);
    assert_int_equal(snapshot_fold(w->store, NULL, &why), ERR_OK);
    read_once(w);
    assert_int_equal(atomic_load(&w->wrong), 0);
    snapshot_store_close(w->store);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_writers_and_folds_do_not_disturb_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
