/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/blob.h"
#include "tests/lib/faulty_io.c"
#include "tests/unit/wal/harness.c"

enum { SMALL = 16384 }; /* segments that are full soon */

static int new_disk(void **state)
{
    *state = faulty_new();
    return 0;
}

static int free_disk(void **state)
{
    faulty_free(*state);
    return 0;
}

static uint64_t segments(const struct log *l)
{
    struct wal_stats s;

    wal_stats(l->wal, &s);
    return s.segments;
}

static void a_new_directory_is_an_empty_log(void **state)
{
    struct log l;

    log_open(&l, faulty_io(*state), 0);
    assert_false(l.found.used);
    assert_int_equal(l.found.first, 1);
    assert_int_equal(l.found.last, 0);
    assert_int_equal(l.found.term, 0);
    assert_string_equal(l.found.vote, "");
    assert_int_equal(wal_last(l.wal), 0);
    log_reopen(&l);
    log_close(&l);
}

static void the_first_segment_is_small_and_later_ones_grow(void **state)
{
    struct wal_stats s;
    struct log l;

    log_open(&l, faulty_io(*state), 0);
    wal_stats(l.wal, &s);
    assert_int_equal(s.bytes, 1 << 20);
    log_append(&l, 1, 30, 100000);
    wal_stats(l.wal, &s);
    assert_int_equal(s.segments, 3);
    assert_int_equal(s.bytes, (1 << 20) + (3 << 19) + (9 << 18));
    log_close(&l);
}

static void what_was_appended_is_there_after_reopening(void **state)
{
    struct log l;

    log_open(&l, faulty_io(*state), 0);
    for (int i = 0; i < 50; i++) {
        log_append(&l, 1, (size_t)(i % 7), (uint32_t)(i * 13));
        log_check(&l);
        if (i % 3 == 0) log_sync(&l);
    }
    log_sync(&l);
    log_reopen(&l);
    log_append(&l, 2, 3, 10);
    log_sync(&l);
    log_reopen(&l);
    log_reopen(&l);
    log_close(&l);
}

static void a_sync_is_one_write_and_one_sync(void **state)
{
    struct faulty *f = *state;
    uint64_t writes, syncs;
    struct log l;

    log_open(&l, faulty_io(f), 0);
    for (int i = 0; i < 10; i++) {
        log_append(&l, 1, 20, 500);
        log_hard(&l, 1, "a");
        writes = faulty_writes(f);
        syncs = faulty_syncs(f);
        log_sync(&l);
        assert_int_equal(faulty_writes(f), writes + 1);
        assert_int_equal(faulty_syncs(f), syncs + 1);
        log_sync(&l); /* nothing new: nothing done */
        assert_int_equal(faulty_syncs(f), syncs + 1);
    }
    log_close(&l);
}

static void small_entries_cost_little_more_than_themselves(void **state)
{
    struct wal_stats before, after;
    struct log l;

    log_open(&l, faulty_io(*state), 0);
    wal_stats(l.wal, &before);
    for (int i = 0; i < 100; i++) {
        log_append(&l, 1, 32, 90);
        log_sync(&l);
    }
    wal_stats(l.wal, &after);
    assert_in_range((after.written_bytes - before.written_bytes) / 3200, 100, 330);
    log_close(&l);
}

static void an_entry_that_does_not_follow_is_refused(void **state)
{
    struct raft_entry e = entry_make(3, 1, 5);
    struct why why;
    struct log l;

    log_open(&l, faulty_io(*state), 0);
    log_append(&l, 1, 1, 5);
    assert_int_equal(wal_append(l.wal, &e, 1, &why), ERR_INVALID);
    e.index = 1;
    assert_int_equal(wal_append(l.wal, &e, 1, &why), ERR_INVALID);
    e.index = 2;
    assert_int_equal(wal_append(l.wal, &e, 1, &why), ERR_OK);
    model_append(&l.model, &e);
    log_check(&l);
    blob_unref(e.payload);
    log_close(&l);
}

static void term_and_vote_are_there_after_reopening(void **state)
{
    struct log l;
    char longest[RAFT_ID_MAX + 2];
    struct why why;

    memset(longest, 'x', sizeof longest);
    log_open(&l, faulty_io(*state), SMALL);
    log_hard(&l, 3, "node-1");
    log_sync(&l);
    log_reopen(&l);
    log_hard(&l, 4, "");
    log_append(&l, 4, 1, 10);
    log_sync(&l);
    log_reopen(&l);
    longest[RAFT_ID_MAX + 1] = '\0';
    assert_int_equal(wal_save_hard(l.wal, 5, longest, &why), ERR_TOO_BIG);
    longest[RAFT_ID_MAX] = '\0';
    log_hard(&l, 5, longest);
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
}

static void term_and_vote_outlive_the_segments_they_were_written_in(void **state)
{
    struct why why;
    struct log l;

    log_open(&l, faulty_io(*state), SMALL);
    log_hard(&l, 7, "n7");
    log_append(&l, 7, 100, 500);
    log_sync(&l);
    assert_int_equal(wal_drop_before(l.wal, 99, &why), ERR_OK);
    assert_true(wal_first(l.wal) > 60);
    log_reopen(&l);
    assert_int_equal(l.found.term, 7);
    log_close(&l);
}

static void truncated_entries_are_gone_and_may_be_written_anew(void **state)
{
    struct log l;

    log_open(&l, faulty_io(*state), SMALL);
    log_append(&l, 1, 10, 50);
    log_truncate(&l, 11); /* nothing there: nothing happens */
    log_truncate(&l, 6);
    log_check(&l);
    log_sync(&l);
    log_reopen(&l);
    log_append(&l, 2, 20, 60);
    log_check(&l);
    log_truncate(&l, 8);
    log_append(&l, 3, 200, 300); /* over several segments */
    log_check(&l);
    log_truncate(&l, 20); /* back over segment borders */
    log_check(&l);
    log_append(&l, 4, 70, 300);
    log_truncate(&l, 1);
    log_check(&l);
    log_sync(&l);
    log_reopen(&l);
    log_append(&l, 5, 7, 7);
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
}

static void truncating_what_is_no_longer_held_is_refused(void **state)
{
    struct why why;
    struct log l;

    log_open(&l, faulty_io(*state), SMALL);
    log_append(&l, 1, 200, 500);
    log_sync(&l);
    assert_int_equal(wal_drop_before(l.wal, 150, &why), ERR_OK);
    assert_int_equal(wal_truncate_from(l.wal, 5, &why), ERR_INVALID);
    log_check(&l);
    log_close(&l);
}

static void after_a_reset_the_log_goes_on_behind_the_snapshot(void **state)
{
    struct log l;

    log_open(&l, faulty_io(*state), SMALL);
    log_append(&l, 1, 200, 300);
    log_hard(&l, 2, "b");
    log_sync(&l);
    assert_true(segments(&l) > 3);
    log_reset(&l, 1000, 9);
    log_check(&l);
    log_sync(&l);
    assert_int_equal(segments(&l), 1);
    log_reopen(&l);
    assert_int_equal(l.found.first, 1001);
    assert_int_equal(l.found.last, 1000);
    assert_int_equal(l.found.before_term, 9);
    log_append(&l, 9, 100, 300);
    log_reset(&l, 1050, 10);
    log_append(&l, 10, 5, 5);
    log_sync(&l);
    log_reopen(&l);
    assert_int_equal(l.found.before_term, 10);
    log_close(&l);
}

static void a_reset_log_may_be_truncated_to_nothing(void **state)
{
    struct log l;

    log_open(&l, faulty_io(*state), SMALL);
    log_reset(&l, 10, 3);
    log_append(&l, 4, 3, 3);
    log_truncate(&l, 11);
    log_sync(&l);
    log_reopen(&l);
    assert_int_equal(l.found.before_term, 3);
    log_close(&l);
}

static void dropping_removes_whole_segments_only(void **state)
{
    struct why why;
    uint64_t before;
    struct log l;

    log_open(&l, faulty_io(*state), SMALL);
    log_append(&l, 1, 100, 500);
    log_append(&l, 2, 100, 500);
    log_sync(&l);
    before = segments(&l);
    assert_int_equal(wal_drop_before(l.wal, 2, &why), ERR_OK);
    assert_int_equal(segments(&l), before);
    assert_int_equal(wal_drop_before(l.wal, 120, &why), ERR_OK);
    assert_in_range(segments(&l), 2, before - 1);
    assert_in_range(wal_first(l.wal), 90, 120);
    log_check(&l);
    log_reopen(&l);
    assert_int_equal(l.found.before_term, l.found.first > 101 ? 2 : 1);
    assert_int_equal(wal_drop_before(l.wal, 10000, &why), ERR_OK);
    assert_int_equal(segments(&l), 1);
    log_check(&l);
    log_append(&l, 3, 100, 500);
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
}

static void dropping_waits_for_the_sync_of_what_came_before_it(void **state)
{
    struct why why;
    uint64_t before;
    struct log l;

    log_open(&l, faulty_io(*state), SMALL);
    log_append(&l, 1, 100, 500);
    before = segments(&l);
    assert_int_equal(wal_drop_before(l.wal, 90, &why), ERR_OK);
    assert_int_equal(segments(&l), before);
    log_sync(&l);
    assert_true(segments(&l) < before);
    log_check(&l);
    log_close(&l);
}

static void a_truncation_into_a_dropped_segment_survives(void **state)
{
    struct why why;
    struct log l;

    log_open(&l, faulty_io(*state), SMALL);
    while (segments(&l) < 2) log_append(&l, 1, 1, 500);
    log_truncate(&l, 10); /* in the second segment, of entries in the first */
    log_append(&l, 2, 40, 200);
    log_sync(&l);
    assert_int_equal(wal_drop_before(l.wal, 45, &why), ERR_OK);
    assert_int_equal(segments(&l), 1);
    assert_int_equal(wal_first(l.wal), 10);
    log_reopen(&l);
    assert_int_equal(l.found.first, 10);
    assert_int_equal(l.found.before_term, 1);
    log_close(&l);
}

static void an_entry_larger_than_a_segment_gets_its_own(void **state)
{
    struct log l;

    log_open(&l, faulty_io(*state), SMALL);
    log_append(&l, 1, 3, 100);
    log_append(&l, 1, 1, 100000);
    log_append(&l, 1, 1, 3000000); /* more than the write buffer holds, too */
    log_append(&l, 1, 3, 100);
    log_check(&l);
    log_sync(&l);
    log_reopen(&l);
    log_append(&l, 1, 1,
               SMALL - 4096 - 64); /* exactly what fits, and a little around it */
    log_append(&l, 1, 1, SMALL - 4096 - 63);
    log_append(&l, 1, 1, SMALL - 4096 - 65);
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
}

static void compressed_payloads_read_as_they_were(void **state)
{
    struct wal_options o = {.io = faulty_io(*state),
                            .dir = "d",
                            .segment_bytes = 1 << 20,
                            .compress_above = 100};
    struct wal_stats before, after;
    struct why why;
    struct log l;

    log_open_with(&l, &o);
    wal_stats(l.wal, &before);
    for (uint32_t len = 50; len < 200000; len = len * 3 / 2) {
        struct raft_entry e = entry_make(l.model.last + 1, 1, len);
        memset(e.payload->data, 'a', len);
        assert_int_equal(wal_append(l.wal, &e, 1, &why), ERR_OK);
        model_append(&l.model, &e);
        blob_unref(e.payload);
        log_append(&l, 1, 1, 300); /* of random bytes: stays as it is */
    }
    log_check(&l);
    log_sync(&l);
    wal_stats(l.wal, &after);
    assert_true(after.written_bytes - before.written_bytes < 40000);
    log_reopen(&l);
    log_close(&l);
}

static void entries_of_the_plain_type_are_not_compressed(void **state)
{
    struct wal_options o = {.io = faulty_io(*state),
                            .dir = "d",
                            .segment_bytes = 1 << 20,
                            .compress_above = 100,
                            .plain_type = 201};
    struct wal_stats before, after;
    struct why why;
    struct log l;

    log_open_with(&l, &o);
    for (int plain = 0; plain < 2; plain++) {
        struct raft_entry e = entry_make(l.model.last + 1, 1, 50000);

        memset(e.payload->data, 'a', 50000);
        e.type = plain ? 201 : 200;
        wal_stats(l.wal, &before);
        assert_int_equal(wal_append(l.wal, &e, 1, &why), ERR_OK);
        model_append(&l.model, &e);
        blob_unref(e.payload);
        log_sync(&l);
        wal_stats(l.wal, &after);
        assert_true((after.written_bytes - before.written_bytes >= 50000) == plain);
    }
    log_check(&l);
    log_reopen(&l);
    log_close(&l);
}

/* Zeroes are written four KiB at a time, so it would show. */
static void segments_for_large_entries_are_not_zero_filled(void **state)
{
    struct faulty *disk = *state;
    struct wal_options o = {.io = faulty_io(disk), .dir = "d", .segment_bytes = 2 << 20};
    struct log l;
    uint64_t before;

    log_open_with(&l, &o);
    log_append(&l, 1, 1, 600 * 1024);
    log_sync(&l);
    before = faulty_writes(disk);
    for (int i = 0; i < 12; i++) {
        log_append(&l, 1, 1, 600 * 1024);
        log_sync(&l);
        log_append(&l, 1, 1, 10); /* and small ones among them */
        log_sync(&l);
    }
    assert_true(faulty_writes(disk) - before < 7 * 1024 / 4);
    log_check(&l);
    log_reopen(&l);
    log_append(&l, 2, 200, 10 * 1024); /* segments like before */
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
}

static void entries_without_payload_are_entries(void **state)
{
    struct log l;

    log_open(&l, faulty_io(*state), 0);
    log_append(&l, 1, 5, 0);
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
}

static enum err stop(const struct raft_entry *e, void *arg, struct why *why)
{
    (void)e;
    ++*(int *)arg;
    return why_set(why, ERR_CANCELLED, "enough");
}

static void a_reader_may_stop_early(void **state)
{
    struct why why;
    struct log l;
    int calls = 0;

    log_open(&l, faulty_io(*state), 0);
    log_append(&l, 1, 5, 5);
    assert_int_equal(wal_read(l.wal, 1, 5, 100, stop, &calls, &why), ERR_CANCELLED);
    assert_int_equal(calls, 1);
    log_sync(&l);
    wal_close(l.wal);
    assert_int_equal(wal_open(&l.wal, &l.options, &l.found, stop, &calls, &why),
                     ERR_CANCELLED);
    assert_null(l.wal);
    assert_int_equal(calls, 2);
    log_close(&l);
}

static void a_long_random_life_ends_as_the_model_says(void **state)
{
    struct why why;
    struct log l;
    struct rand r;

    rand_init(&r, 20240801);
    log_open(&l, faulty_io(*state), SMALL);
    for (int i = 0; i < 3000; i++) {
        uint64_t term = (uint64_t)i / 50 + 1, last = l.model.last;

        switch (rand_below(&r, 12)) {
        case 0: log_hard(&l, term, i % 2 == 0 ? "even" : "odd"); break;
        case 1:
            if (last > wal_first(l.wal) + 10) log_truncate(&l, last - rand_below(&r, 10));
            break;
        case 2:
            if (rand_below(&r, 20) == 0) log_reset(&l, last + rand_below(&r, 5), term);
            break;
        case 3:
            assert_int_equal(wal_drop_before(l.wal, last > 40 ? last - 40 : 1, &why),
                             ERR_OK);
            break;
        case 4:
            log_sync(&l);
            log_reopen(&l);
            break;
        case 5: log_check(&l); break;
        case 6: log_sync(&l); break;
        default:
            log_append(&l, term, (size_t)rand_below(&r, 20),
                       (uint32_t)rand_below(&r, 400));
        }
    }
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
}

#define FACT(f) cmocka_unit_test_setup_teardown(f, new_disk, free_disk)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FACT(a_new_directory_is_an_empty_log),
        FACT(the_first_segment_is_small_and_later_ones_grow),
        FACT(what_was_appended_is_there_after_reopening),
        FACT(a_sync_is_one_write_and_one_sync),
        FACT(small_entries_cost_little_more_than_themselves),
        FACT(an_entry_that_does_not_follow_is_refused),
        FACT(term_and_vote_are_there_after_reopening),
        FACT(term_and_vote_outlive_the_segments_they_were_written_in),
        FACT(truncated_entries_are_gone_and_may_be_written_anew),
        FACT(truncating_what_is_no_longer_held_is_refused),
        FACT(after_a_reset_the_log_goes_on_behind_the_snapshot),
        FACT(a_reset_log_may_be_truncated_to_nothing),
        FACT(dropping_removes_whole_segments_only),
        FACT(dropping_waits_for_the_sync_of_what_came_before_it),
        FACT(a_truncation_into_a_dropped_segment_survives),
        FACT(an_entry_larger_than_a_segment_gets_its_own),
        FACT(compressed_payloads_read_as_they_were),
        FACT(segments_for_large_entries_are_not_zero_filled),
        FACT(entries_of_the_plain_type_are_not_compressed),
        FACT(entries_without_payload_are_entries),
        FACT(a_reader_may_stop_early),
        FACT(a_long_random_life_ends_as_the_model_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
