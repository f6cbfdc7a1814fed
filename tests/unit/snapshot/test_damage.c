/* SPDX-License-Identifier: MIT */
/* Directories and files that are not as the store left them. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/blob.h"
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "tests/lib/faulty_io.c"
#include "tests/unit/snapshot/harness.c"

#define BASE  "d/base-3-10-1000.sqlite"
#define SUMS  "d/base-3-10-1000.sums-1"
#define DELTA "d/3-20-1000.delta"
#define HINT  "load a backup" /* what can be done */

struct fixture {
    struct faulty *disk;
    struct snapshot_store *store;
    struct image before, now;
    struct why why;
};

#define OK(call)                                                                         \
    do {                                                                                 \
        enum err ok_e = (call);                                                          \
        if (ok_e != ERR_OK) fail_msg("%s: %s: %s", #call, err_name(ok_e), f->why.text);  \
    } while (0)

static enum err open_store(struct fixture *f)
{
    memset(&f->why, 0, sizeof f->why);
    return snapshot_store_open(&f->store, faulty_io(f->disk), "d", NULL, &f->why);
}

/* A base of 9 pages and a delta with pages 2, 5 and 8, closed. */
static struct fixture *set_up(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct image none = {0};
    struct faulty *disk;

    assert_non_null(f);
    f->disk = faulty_new();
    OK(open_store(f));
    f->before = image_next(&none, 10, 9, 1, 1);
    f->now = image_next(&f->before, 20, 9, 2, 3);
    strcpy(f->now.marker, "m");
    OK(put_base(f->store, &f->before, &f->why));
    OK(put_delta(f->store, &f->before, &f->now, &f->why));
    snapshot_store_close(f->store);
    f->store = NULL;
    disk = f->disk;
    f->disk = faulty_clone(disk); /* on which nothing has been done yet */
    faulty_free(disk);
    return f;
}

static void tear_down(struct fixture *f)
{
    snapshot_store_close(f->store);
    faulty_free(f->disk);
    free(f);
}

/* Every page is right, or it is said which is not; and that is what a fold says, too. */
static bool reads_right(struct fixture *f)
{
    struct snapshot_reader *r;
    uint8_t page[SNAPSHOT_PAGE], want[SNAPSHOT_PAGE];
    bool all = true;
    enum err e = snapshot_reader_open(f->store, &r, &f->why);

    if (e) {
        assert_true(e == ERR_CORRUPT || e == ERR_UNSUPPORTED);
        assert_non_null(strstr(f->why.text, e == ERR_CORRUPT ? HINT : "later version"));
        return false;
    }
    for (uint32_t p = 1; p <= f->now.pages; p++) {
        e = snapshot_read(r, p, 1, page, &f->why);
        page_fill(want, p, f->now.version[p]);
        if (e == ERR_OK) {
            assert_memory_equal(page, want, sizeof page);
            continue;
        }
        all = false;
        assert_int_equal(e, ERR_CORRUPT);
        assert_non_null(strstr(f->why.text, HINT));
        snprintf((char *)want, sizeof want, "page %" PRIu32 " does not match", p);
        assert_non_null(strstr(f->why.text, (char *)want));
        assert_true(strstr(f->why.text, "d/base-3-10-1000.sqlite") != NULL ||
                    strstr(f->why.text, "d/3-20-1000.delta") != NULL);
    }
    snapshot_reader_close(r);
    return all;
}

/* A bit of the file at place at, and then back. */
static void flip(struct fixture *f, const char *name, size_t at, bool *noticed)
{
    struct faulty *disk = f->disk;
    size_t len;
    enum err e;

    f->disk = faulty_clone(disk);
    faulty_bytes(f->disk, name, &len)[at] ^= 0x20;
    e = open_store(f);
    *noticed = e != ERR_OK || !reads_right(f);
    if (e) {
        assert_true(e == ERR_CORRUPT || e == ERR_UNSUPPORTED);
        assert_non_null(strstr(f->why.text, name));
        assert_true(e == ERR_UNSUPPORTED || strstr(f->why.text, HINT) != NULL);
        assert_false(faulty_changed(f->disk)); /* nothing is made worse */
    }
    snapshot_store_close(f->store);
    f->store = NULL;
    faulty_free(f->disk);
    f->disk = disk;
}

static void any_wrong_bit_is_noticed(void **state)
{
    static const char *const names[] = {"d/manifest", SUMS, DELTA};
    struct fixture *f = set_up();
    bool noticed;
    size_t len;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        faulty_bytes(f->disk, names[i], &len);
        for (size_t at = 0; at < len; at++) {
            /* What fills up the page of a delta's head means nothing; and of its pages
             * some bytes are enough. */
            if (i == 2 && at >= 112 && at < SNAPSHOT_PAGE) continue;
            if (i == 2 && at > SNAPSHOT_PAGE && at < 4 * SNAPSHOT_PAGE && at % 97 != 0)
                continue;
            flip(f, names[i], at, &noticed);
            if (!noticed) fail_msg("%s, byte %zu", names[i], at);
        }
    }
    tear_down(f);
}

static void a_wrong_page_of_the_base_matters_if_it_is_the_newest(void **state)
{
    struct fixture *f = set_up();
    bool noticed;

    (void)state;
    for (size_t at = 0; at < 9 * SNAPSHOT_PAGE; at += 333) {
        uint32_t page = (uint32_t)(at / SNAPSHOT_PAGE) + 1;

        flip(f, BASE, at, &noticed);
        assert_int_equal(noticed, page % 3 != 2);
    }
    tear_down(f);
}

static void a_fold_does_not_hide_a_wrong_page(void **state)
{
    struct fixture *f = set_up();
    uint8_t page[SNAPSHOT_PAGE];
    struct snapshot_reader *r;

    (void)state;
    faulty_bytes(f->disk, DELTA, NULL)[2 * SNAPSHOT_PAGE + 17] ^= 1; /* its second: 5 */
    faulty_bytes(f->disk, BASE, NULL)[6 * SNAPSHOT_PAGE + 17] ^= 1;
    OK(open_store(f));
    assert_int_equal(snapshot_fold(f->store, NULL, &f->why), ERR_CORRUPT);
    assert_non_null(strstr(f->why.text, "3-20-1000.delta: page 5 does not match"));
    assert_false(reads_right(f));
    snapshot_store_close(f->store);
    f->store = NULL;
    faulty_bytes(f->disk, DELTA, NULL)[2 * SNAPSHOT_PAGE + 17] ^= 1;
    OK(open_store(f));
    OK(snapshot_fold(f->store, NULL, &f->why));
    OK(snapshot_reader_open(f->store, &r, &f->why));
    for (uint32_t p = 1; p <= 9; p++)
        assert_int_equal(snapshot_read(r, p, 1, page, NULL),
                         p == 7 ? ERR_CORRUPT : ERR_OK);
    snapshot_reader_close(r);
    tear_down(f);
}

static void a_file_that_is_missing_or_cut_is_named(void **state)
{
    static const char *const names[] = {BASE, SUMS, DELTA};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (int how = 0; how < 3; how++) {
            struct fixture *f = set_up();
            size_t len;

            faulty_bytes(f->disk, names[i], &len);
            if (how == 0)
                faulty_remove(f->disk, names[i]);
            else
                faulty_cut(f->disk, names[i], how == 1 ? len - 1 : len + 1);
            assert_int_equal(open_store(f), ERR_CORRUPT);
            assert_non_null(strstr(f->why.text, names[i]));
            assert_non_null(strstr(f->why.text, HINT));
            assert_false(faulty_changed(f->disk));
            tear_down(f);
        }
    }
}

static void without_its_manifest_nothing_is_removed(void **state)
{
    struct fixture *f = set_up();

    (void)state;
    faulty_remove(f->disk, "d/manifest");
    assert_int_equal(open_store(f), ERR_CORRUPT);
    assert_non_null(strstr(f->why.text, "d/manifest is missing"));
    assert_non_null(faulty_bytes(f->disk, BASE, NULL));
    assert_non_null(faulty_bytes(f->disk, DELTA, NULL));
    tear_down(f);
}

/* A delta of another store, as good as it is in itself. */
static void a_file_that_has_been_exchanged_is_noticed(void **state)
{
    struct fixture *f = set_up(), *other = set_up();
    const uint8_t *bytes;
    size_t len;

    (void)state;
    OK(open_store(other));
    faulty_remove(f->disk, DELTA);
    other->before = other->now;
    other->now = image_next(&other->before, 30, 9, 1, 4);
    OK(put_delta(other->store, &other->before, &other->now, &other->why));
    bytes = faulty_bytes(other->disk, "d/3-30-1000.delta", &len);
    faulty_set(f->disk, DELTA, bytes, len);
    assert_int_equal(open_store(f), ERR_CORRUPT);
    assert_non_null(strstr(f->why.text, DELTA));
    tear_down(f);
    tear_down(other);
}

static void later_formats_are_refused(void **state)
{
    struct fixture *f = set_up();
    size_t len;
    uint8_t *bytes = faulty_bytes(f->disk, "d/manifest", &len);

    (void)state;
    put_le32(bytes + 8, 2);
    put_le32(bytes + len - 4, crc32c(0, bytes, len - 4));
    assert_int_equal(open_store(f), ERR_UNSUPPORTED);
    assert_non_null(strstr(f->why.text, "written by a later version"));
    assert_false(faulty_changed(f->disk));
    put_le32(bytes + 8, 1);
    put_le32(bytes + len - 4, crc32c(0, bytes, len - 4));
    bytes = faulty_bytes(f->disk, DELTA, &len);
    put_le32(bytes + 8, 2);
    put_le32(bytes + 108, crc32c(0, bytes, 108));
    assert_int_equal(open_store(f), ERR_UNSUPPORTED);
    assert_non_null(strstr(f->why.text, "written by a later version"));
    tear_down(f);
}

static void the_format_of_older_builds_is_refused(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    (void)state;
    assert_non_null(f);
    f->disk = faulty_new();
    faulty_set(f->disk, "d/3-77-1234/meta", "RQSNAP1\n", 8);
    faulty_set(f->disk, "d/3-77-1234/data.sqlite", "SQLite", 6);
    assert_int_equal(open_store(f), ERR_UNSUPPORTED);
    assert_non_null(strstr(f->why.text, "d/3-77-1234 is a snapshot in the format of an "
                                        "older build"));
    assert_false(faulty_changed(f->disk));
    tear_down(f);
}

static void what_is_not_ours_is_left_alone(void **state)
{
    static const char *const foreign[] = {"d/lost+found/x",
                                          "d/notes.txt",
                                          "d/base-1-2-3.sqlite.bak",
                                          "d/base-1-2-x.sqlite",
                                          "d/1-2-3.delta~",
                                          "d/base-1-2-3.sums-",
                                          "d/base-1-2-3.sums-1x",
                                          "d/manifest.old",
                                          "d/1-2-3/other",
                                          "d/01-2-3.delta",
                                          "d/base--1-2-3.sqlite",
                                          "d/1-2-3-4.delta",
                                          "d/99999999999999999999-1-1.delta"};
    static const char *const ours[] = {"d/base-1-2-3.sqlite", "d/base-1-2-3.sums-7",
                                       "d/1-2-3.delta",       "d/manifest.new",
                                       "d/incoming.pages",    "d/incoming.sums"};
    struct fixture *f = set_up();
    const char *d;

    (void)state;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        faulty_set(f->disk, foreign[i], "x", 1);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        faulty_set(f->disk, ours[i], "x", 1);
    OK(open_store(f));
    d = differs(f->store, &f->now);
    if (d != NULL) fail_msg("%s", d);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        assert_non_null(faulty_bytes(f->disk, foreign[i], NULL));
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        assert_null(faulty_bytes(f->disk, ours[i], NULL));
    tear_down(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_wrong_bit_is_noticed),
        cmocka_unit_test(a_wrong_page_of_the_base_matters_if_it_is_the_newest),
        cmocka_unit_test(a_fold_does_not_hide_a_wrong_page),
        cmocka_unit_test(a_file_that_is_missing_or_cut_is_named),
        cmocka_unit_test(without_its_manifest_nothing_is_removed),
        cmocka_unit_test(a_file_that_has_been_exchanged_is_noticed),
        cmocka_unit_test(later_formats_are_refused),
        cmocka_unit_test(the_format_of_older_builds_is_refused),
        cmocka_unit_test(what_is_not_ours_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
