/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/blob.h"
#include "core/base/io.h"
#include "tests/lib/faulty_io.c"
#include "tests/unit/snapshot/harness.c"

struct fixture {
    struct faulty *disk;
    struct snapshot_store *store;
    struct image now;
    struct why why;
};

#define OK(call)                                                                         \
    do {                                                                                 \
        enum err ok_e = (call);                                                          \
        if (ok_e != ERR_OK) fail_msg("%s: %s: %s", #call, err_name(ok_e), f->why.text);  \
    } while (0)

static struct fixture *set_up(void)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->disk = faulty_new();
    OK(snapshot_store_open(&f->store, faulty_io(f->disk), "d", NULL, &f->why));
    return f;
}

static void tear_down(struct fixture *f)
{
    snapshot_store_close(f->store);
    faulty_free(f->disk);
    free(f);
}

static void check(struct fixture *f)
{
    const char *d = differs(f->store, &f->now);

    if (d != NULL) fail_msg("at %d: %s", (int)f->now.index, d);
}

static void reopen(struct fixture *f)
{
    snapshot_store_close(f->store);
    f->store = NULL;
    OK(snapshot_store_open(&f->store, faulty_io(f->disk), "d", NULL, &f->why));
    check(f);
}

static void base(struct fixture *f, uint64_t index, uint32_t pages)
{
    f->now = image_next(&f->now, index, pages, 1, 1);
    OK(put_base(f->store, &f->now, &f->why));
    check(f);
}

static void delta(struct fixture *f, uint64_t index, uint32_t pages, uint32_t first,
                  uint32_t nth)
{
    struct image next = image_next(&f->now, index, pages, first, nth);

    OK(put_delta(f->store, &f->now, &next, &f->why));
    f->now = next;
    check(f);
}

static void fold(struct fixture *f, size_t want)
{
    size_t folded;

    OK(snapshot_fold(f->store, &folded, &f->why));
    assert_int_equal(folded, want);
    check(f);
}

static size_t count_files(struct fixture *f)
{
    size_t n = 0;

    while (faulty_name(f->disk, n) != NULL) n++;
    return n;
}

/* --- contents ----------------------------------------------------------------------- */

static void an_empty_store_has_no_snapshot(void **state)
{
    struct fixture *f = set_up();
    struct snapshot_reader *r;
    struct snapshot_writer *w;
    struct snapshot_meta m;
    size_t folded = 7;

    (void)state;
    assert_int_equal(snapshot_newest(f->store, &m), ERR_NOT_FOUND);
    assert_int_equal(snapshot_reader_open(f->store, &r, NULL), ERR_NOT_FOUND);
    assert_int_equal(snapshot_fold(f->store, &folded, NULL), ERR_OK);
    assert_int_equal(folded, 0);
    assert_int_equal(snapshot_set_marker(f->store, 0, "x", 1, NULL), ERR_STALE);
    m.index = 1;
    assert_int_equal(snapshot_begin_delta(f->store, &w, &m, 1, NULL), ERR_NOT_FOUND);
    reopen(f);
    tear_down(f);
}

static void a_snapshot_is_its_base_and_the_deltas_since(void **state)
{
    struct fixture *f = set_up();

    (void)state;
    base(f, 10, 150);
    delta(f, 20, 150, 3, 7);
    delta(f, 30, 200, 5, 11);
    delta(f, 31, 200, 300, 1); /* nothing changed */
    delta(f, 40, 180, 1, 2);
    reopen(f);
    fold(f, 4);
    reopen(f);
    fold(f, 0);
    delta(f, 50, 180, 100, 1);
    reopen(f);
    tear_down(f);
}

static void a_page_that_was_cut_off_does_not_come_back(void **state)
{
    struct fixture *f = set_up();

    (void)state;
    base(f, 10, 100);
    delta(f, 20, 120, 90, 1);
    delta(f, 30, 40, 7, 9);
    delta(f, 40, 110, 200, 1); /* pages 41 to 110 are new */
    delta(f, 50, 20, 1, 19);
    delta(f, 60, 60, 200, 1);
    delta(f, 70, 50, 200, 1);
    reopen(f);
    fold(f, 6);
    reopen(f);
    delta(f, 80, 0, 1, 1);
    delta(f, 90, 130, 1, 1);
    fold(f, 2);
    reopen(f);
    tear_down(f);
}

static void a_delta_must_have_every_page_that_is_new(void **state)
{
    struct fixture *f = set_up();
    uint8_t page[2 * SNAPSHOT_PAGE] = {1};
    struct snapshot_writer *w;
    struct snapshot_meta m;
    struct image next;

    (void)state;
    base(f, 10, 10);
    delta(f, 20, 5, 1, 1);
    next = image_next(&f->now, 30, 9, 1, 1);
    m = image_meta(&next);
    OK(snapshot_begin_delta(f->store, &w, &m, 1, &f->why));
    OK(snapshot_put(w, 6, 1, page, &f->why));
    OK(snapshot_put(w, 8, 2, page, &f->why));
    assert_int_equal(snapshot_commit(w, &f->why), ERR_INVALID);
    assert_non_null(strstr(f->why.text, "page 7 of the snapshot is missing"));
    check(f);
    /* Neither out of order nor beyond the end. */
    OK(snapshot_begin_delta(f->store, &w, &m, 1, &f->why));
    assert_int_equal(snapshot_put(w, 9, 2, page, NULL), ERR_INVALID);
    snapshot_abort(w);
    OK(snapshot_begin_delta(f->store, &w, &m, 1, &f->why));
    OK(snapshot_put(w, 6, 2, page, &f->why));
    assert_int_equal(snapshot_put(w, 7, 1, page, NULL), ERR_INVALID);
    assert_int_equal(snapshot_put(w, 8, 2, page, NULL), ERR_INVALID); /* remembered */
    assert_int_equal(snapshot_commit(w, NULL), ERR_INVALID);
    OK(snapshot_begin_base(f->store, &w, &m, 1, &f->why));
    OK(snapshot_put(w, 1, 2, page, &f->why));
    assert_int_equal(snapshot_commit(w, NULL), ERR_INVALID);
    OK(snapshot_begin_base(f->store, &w, &m, 1, &f->why));
    assert_int_equal(snapshot_put(w, 2, 1, page, NULL), ERR_INVALID);
    snapshot_abort(w);
    snapshot_meta_fini(&m);
    reopen(f);
    tear_down(f);
}

static void a_base_replaces_everything(void **state)
{
    struct fixture *f = set_up();
    struct snapshot_stats st;

    (void)state;
    base(f, 10, 20);
    delta(f, 20, 20, 3, 7);
    base(f, 30, 12);
    snapshot_stats(f->store, &st);
    assert_int_equal(st.snapshots, 1);
    assert_int_equal(st.deltas, 0);
    assert_int_equal(st.written_bytes, (20 + 3 + 12) * SNAPSHOT_PAGE);
    assert_int_equal(count_files(f), 3);
    delta(f, 40, 12, 2, 1);
    snapshot_stats(f->store, &st);
    assert_int_equal(st.snapshots, 2);
    assert_int_equal(st.delta_bytes, (1 + 11) * SNAPSHOT_PAGE + 11 * 8);
    assert_true(st.bytes > st.delta_bytes + 12 * SNAPSHOT_PAGE);
    reopen(f);
    tear_down(f);
}

static void older_ones_are_refused(void **state)
{
    struct fixture *f = set_up();
    struct image old = image_next(&f->now, 9, 3, 1, 1), same;

    (void)state;
    base(f, 10, 20);
    assert_int_equal(put_base(f->store, &old, NULL), ERR_STALE);
    assert_int_equal(put_delta(f->store, &f->now, &old, NULL), ERR_STALE);
    assert_int_equal(receive(f->store, &old, 3, NULL, NULL), ERR_STALE);
    same = f->now;
    assert_int_equal(receive(f->store, &same, 20, NULL, NULL), ERR_STALE);
    /* A node that is recovered by hand: the same index once more, under another id. */
    delta(f, 10, 20, 300, 1);
    delta(f, 10, 20, 300, 1);
    fold(f, 2);
    base(f, 10, 20);
    reopen(f);
    tear_down(f);
}

static void collect(const char *id, void *arg)
{
    strcat(arg, id);
    strcat(arg, " ");
}

static void ids_are_listed_oldest_first(void **state)
{
    struct fixture *f = set_up();
    char ids[400] = "";

    (void)state;
    base(f, 10, 20);
    delta(f, 20, 20, 3, 7);
    delta(f, 30, 20, 3, 7);
    snapshot_each(f->store, collect, ids);
    assert_string_equal(ids, "3-10-1000 3-20-1000 3-30-1000 ");
    fold(f, 2);
    ids[0] = '\0';
    snapshot_each(f->store, collect, ids);
    assert_string_equal(ids, "3-30-1000 ");
    tear_down(f);
}

/* --- the marker --------------------------------------------------------------------- */

static void a_marker_ends_with_the_next_snapshot(void **state)
{
    struct fixture *f = set_up();
    struct image next;

    (void)state;
    base(f, 10, 5);
    OK(snapshot_set_marker(f->store, 10, "clean", 5, &f->why));
    strcpy(f->now.marker, "clean");
    reopen(f);
    assert_int_equal(snapshot_set_marker(f->store, 9, "other", 5, NULL), ERR_STALE);
    check(f);
    delta(f, 20, 5, 2, 2);
    assert_int_equal(f->now.marker[0], '\0');
    next = image_next(&f->now, 30, 6, 1, 4);
    strcpy(next.marker, "with it");
    OK(put_delta(f->store, &f->now, &next, &f->why));
    f->now = next;
    check(f);
    fold(f, 2);
    reopen(f);
    OK(snapshot_set_marker(f->store, 30, NULL, 0, &f->why));
    f->now.marker[0] = '\0';
    check(f);
    reopen(f);
    tear_down(f);
}

/* --- who excludes whom -------------------------------------------------------------- */

static void there_is_one_writer_at_a_time(void **state)
{
    struct fixture *f = set_up();
    struct snapshot_writer *w, *other;
    struct snapshot_meta m;
    struct image next;

    (void)state;
    base(f, 10, 5);
    next = image_next(&f->now, 20, 5, 1, 1);
    m = image_meta(&next);
    OK(snapshot_begin_delta(f->store, &w, &m, 1, &f->why));
    assert_int_equal(snapshot_begin_delta(f->store, &other, &m, 1, NULL), ERR_BUSY);
    assert_int_equal(snapshot_begin_base(f->store, &other, &m, 1, NULL), ERR_BUSY);
    assert_int_equal(snapshot_fold(f->store, NULL, NULL), ERR_BUSY);
    /* The marker is of the one before, and may change. */
    OK(snapshot_set_marker(f->store, 10, "m", 1, &f->why));
    strcpy(f->now.marker, "m");
    check(f);
    OK(snapshot_commit(w, &f->why));
    f->now.index = 20;
    f->now.marker[0] = '\0';
    snapshot_meta_fini(&m);
    check(f);
    tear_down(f);
}

static void a_reader_keeps_what_it_began_with(void **state)
{
    struct fixture *f = set_up();
    struct snapshot_reader *r;
    struct image then;

    (void)state;
    base(f, 10, 100);
    delta(f, 20, 100, 3, 7);
    OK(snapshot_reader_open(f->store, &r, &f->why));
    then = f->now;
    assert_int_equal(snapshot_fold(f->store, NULL, NULL), ERR_BUSY);
    delta(f, 30, 50, 2, 3);
    assert_null(reader_differs(r, &then));
    base(f, 40, 70);
    assert_null(reader_differs(r, &then));
    delta(f, 50, 120, 9, 9);
    assert_int_equal(snapshot_fold(f->store, NULL, NULL), ERR_BUSY);
    assert_null(reader_differs(r, &then));
    snapshot_reader_close(r);
    fold(f, 1);
    reopen(f);
    assert_int_equal(count_files(f), 3);
    tear_down(f);
}

static void what_is_not_committed_leaves_nothing(void **state)
{
    struct fixture *f = set_up();
    uint8_t page[SNAPSHOT_PAGE] = {1};
    struct snapshot_writer *w;
    struct snapshot_meta m;
    struct image next;

    (void)state;
    base(f, 10, 5);
    next = image_next(&f->now, 20, 5, 1, 1);
    m = image_meta(&next);
    OK(snapshot_begin_delta(f->store, &w, &m, 1, &f->why));
    OK(snapshot_put(w, 1, 1, page, &f->why));
    assert_int_equal(snapshot_put_bytes(w), SNAPSHOT_PAGE);
    snapshot_abort(w);
    snapshot_abort(NULL);
    check(f);
    OK(snapshot_begin_base(f->store, &w, &m, 1, &f->why));
    OK(snapshot_put(w, 1, 1, page, &f->why));
    snapshot_abort(w);
    snapshot_meta_fini(&m);
    assert_int_equal(count_files(f), 3);
    reopen(f);
    tear_down(f);
}

/* --- receiving ---------------------------------------------------------------------- */

static void a_broken_stream_goes_on_where_it_ended(void **state)
{
    struct fixture *f = set_up();
    struct image first = image_next(&f->now, 100, 150, 1, 1);
    struct image other = image_next(&f->now, 200, 90, 1, 1);
    uint32_t have = 9;

    (void)state;
    base(f, 10, 5);
    OK(receive(f->store, &first, 70, &have, &f->why));
    assert_int_equal(have, 0);
    check(f);
    OK(receive(f->store, &first, 75, &have, &f->why));
    assert_int_equal(have, 70);
    delta(f, 20, 5, 1, 2); /* local ones go on meanwhile */
    reopen(f);
    OK(receive(f->store, &first, 149, &have, &f->why));
    assert_int_equal(have, 75);
    OK(receive(f->store, &first, 150, &have, &f->why));
    assert_int_equal(have, 149);
    f->now = first;
    check(f);
    assert_int_equal(count_files(f), 3);
    /* Another one begins anew, and nothing is left of the one before. */
    first.index = 150;
    OK(receive(f->store, &first, 33, &have, &f->why));
    OK(receive(f->store, &other, 20, &have, &f->why));
    assert_int_equal(have, 0);
    OK(receive(f->store, &other, 90, &have, &f->why));
    assert_int_equal(have, 20);
    f->now = other;
    reopen(f);
    assert_int_equal(count_files(f), 3);
    tear_down(f);
}

/* Else what cannot be completed takes the room that the log needs. */
static void what_is_received_goes_when_the_disk_is_full(void **state)
{
    struct fixture *f = set_up();
    struct image in = image_next(&f->now, 100, 250, 1, 1);
    size_t had = count_files(f);
    struct snapshot_writer *w;
    uint8_t page[SNAPSHOT_PAGE];
    struct snapshot_meta m;
    uint32_t have;

    (void)state;
    for (int flush = 0; flush < 2; flush++) {
        enum err e = ERR_OK;

        OK(receive(f->store, &in, 130, NULL, &f->why));
        assert_int_equal(count_files(f), had + 2);
        m = image_meta(&in);
        memcpy(m.id, "3-100-99", 9);
        OK(snapshot_begin_incoming(f->store, &w, &m, &have, &f->why));
        snapshot_meta_fini(&m);
        assert_int_equal(have, 130);
        faulty_fail_at(f->disk, 1, ERR_NO_SPACE);
        for (uint32_t p = 131; p <= (flush ? 131 : 250) && !e; p++) {
            page_fill(page, p, in.version[p]);
            e = snapshot_put(w, p, 1, page, &f->why);
        }
        assert_int_equal(e, flush ? ERR_OK : ERR_NO_SPACE);
        snapshot_suspend(w);
        faulty_spare(f->disk);
        assert_int_equal(count_files(f), had);
    }
    OK(receive(f->store, &in, 250, &have, &f->why));
    assert_int_equal(have, 0);
    f->now = in;
    check(f);
    tear_down(f);
}

static void only_pages_that_are_right_count(void **state)
{
    struct fixture *f = set_up();
    struct image in = image_next(&f->now, 100, 150, 1, 1);
    uint32_t have;

    (void)state;
    OK(receive(f->store, &in, 140, &have, &f->why));
    faulty_bytes(f->disk, "d/incoming.pages", NULL)[99 * SNAPSHOT_PAGE + 5] ^= 1;
    OK(receive(f->store, &in, 140, &have, &f->why));
    assert_int_equal(have, 99);
    faulty_cut(f->disk, "d/incoming.pages", 50 * SNAPSHOT_PAGE + 7);
    reopen(f);
    OK(receive(f->store, &in, 120, &have, &f->why));
    assert_int_equal(have, 50);
    faulty_bytes(f->disk, "d/incoming.sums", NULL)[20] ^= 1;
    OK(receive(f->store, &in, 130, &have, &f->why));
    assert_int_equal(have, 0);
    faulty_remove(f->disk, "d/incoming.sums");
    reopen(f);
    assert_int_equal(count_files(f), 1); /* pages that nothing can be compared with */
    OK(receive(f->store, &in, 150, &have, &f->why));
    assert_int_equal(have, 0);
    f->now = in;
    reopen(f);
    tear_down(f);
}

static void what_is_received_goes_when_it_is_too_old(void **state)
{
    struct fixture *f = set_up();
    struct image in = image_next(&f->now, 100, 50, 1, 1);

    (void)state;
    base(f, 10, 5);
    OK(receive(f->store, &in, 40, NULL, &f->why));
    assert_int_equal(count_files(f), 5);
    delta(f, 100, 5, 1, 2);
    assert_int_equal(count_files(f), 4);
    tear_down(f);
}

static void an_id_from_elsewhere_cannot_be_a_path(void **state)
{
    static const char *const ids[] = {"",           "../x",    "3-100-9x", "3-100",
                                      "3-100-9/..", "4-100-9", "3-101-9",  "3-0100-9",
                                      "3--9",       "-1-2-3",  "3-100- 9"};
    struct fixture *f = set_up();
    struct image in = image_next(&f->now, 100, 50, 1, 1);
    struct snapshot_meta m = image_meta(&in);
    struct snapshot_writer *w;
    uint32_t have;

    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        strcpy(m.id, ids[i]);
        assert_int_equal(snapshot_begin_incoming(f->store, &w, &m, &have, NULL),
                         ERR_INVALID);
    }
    assert_int_equal(count_files(f), 1);
    snapshot_meta_fini(&m);
    tear_down(f);
}

/* --- the description ---------------------------------------------------------------- */

static void a_description_survives_its_encoding(void **state)
{
    struct image i = {.index = 20, .pages = 7};
    struct snapshot_meta m = image_meta(&i), back, copy;
    struct blob *b;

    (void)state;
    strcpy(m.id, "3-20-1");
    b = snapshot_meta_encode(&m);
    assert_non_null(b);
    snapshot_meta_init(&back);
    assert_int_equal(snapshot_meta_decode(&back, b->data, b->len, NULL), ERR_OK);
    assert_string_equal(back.id, "3-20-1");
    assert_true(same_meta(&back, &i));
    assert_int_equal(snapshot_meta_copy(&copy, &back), ERR_OK);
    assert_true(same_meta(&copy, &i));
    for (size_t n = 0; n < b->len; n++) {
        assert_int_not_equal(snapshot_meta_decode(&back, b->data, n, NULL), ERR_OK);
        b->data[n] ^= 0x10;
        assert_int_not_equal(snapshot_meta_decode(&back, b->data, b->len, NULL), ERR_OK);
        b->data[n] ^= 0x10;
        assert_true(same_meta(&back, &i)); /* untouched */
    }
    b->data[8] = 2;
    assert_int_equal(snapshot_meta_decode(&back, b->data, b->len, NULL), ERR_UNSUPPORTED);
    blob_unref(b);
    snapshot_meta_fini(&m);
    snapshot_meta_fini(&copy);
    snapshot_meta_fini(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_store_has_no_snapshot),
        cmocka_unit_test(a_snapshot_is_its_base_and_the_deltas_since),
        cmocka_unit_test(a_page_that_was_cut_off_does_not_come_back),
        cmocka_unit_test(a_delta_must_have_every_page_that_is_new),
        cmocka_unit_test(a_base_replaces_everything),
        cmocka_unit_test(older_ones_are_refused),
        cmocka_unit_test(ids_are_listed_oldest_first),
        cmocka_unit_test(a_marker_ends_with_the_next_snapshot),
        cmocka_unit_test(there_is_one_writer_at_a_time),
        cmocka_unit_test(a_reader_keeps_what_it_began_with),
        cmocka_unit_test(what_is_not_committed_leaves_nothing),
        cmocka_unit_test(a_broken_stream_goes_on_where_it_ended),
        cmocka_unit_test(what_is_received_goes_when_the_disk_is_full),
        cmocka_unit_test(only_pages_that_are_right_count),
        cmocka_unit_test(what_is_received_goes_when_it_is_too_old),
        cmocka_unit_test(an_id_from_elsewhere_cannot_be_a_path),
        cmocka_unit_test(a_description_survives_its_encoding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
