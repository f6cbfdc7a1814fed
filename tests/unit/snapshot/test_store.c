/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/io.h"
#include "core/snapshot/snapshot.h"
#include "tests/lib/faulty_io.c"

static char dir[64];
static unsigned serial;

static struct snapshot_store *fresh(void)
{
    struct snapshot_store *s;

    snprintf(dir, sizeof dir, "snapshots-%u", serial++);
    assert_int_equal(snapshot_store_open(&s, io_real(), dir, NULL, NULL), ERR_OK);
    return s;
}

static struct snapshot_store *reopen(struct snapshot_store *s)
{
    snapshot_store_close(s);
    assert_int_equal(snapshot_store_open(&s, io_real(), dir, NULL, NULL), ERR_OK);
    return s;
}

static struct snapshot_meta meta_at(uint64_t index)
{
    struct snapshot_meta m = {
        .index = index, .term = 3, .time_ns = 77, .effect_hash = 99, .state_len = 3};

    memcpy(m.state, "abc", 3);
    raft_config_init(&m.config);
    assert_int_equal(raft_config_put(&m.config, "1", "localhost:4002", true), ERR_OK);
    assert_int_equal(raft_config_put(&m.config, "2", "localhost:4004", false), ERR_OK);
    m.config.index = index - 1;
    return m;
}

static void write_at(struct snapshot_store *s, uint64_t index, uint64_t wall_ms,
                     const char *data)
{
    struct snapshot_meta m = meta_at(index);
    struct snapshot_writer *w;

    assert_int_equal(snapshot_begin(s, &w, index, 3, wall_ms, NULL), ERR_OK);
    assert_int_equal(snapshot_write(w, data, strlen(data), NULL), ERR_OK);
    assert_int_equal(snapshot_commit(w, &m, NULL), ERR_OK);
    snapshot_meta_fini(&m);
}

static void write_one(struct snapshot_store *s, uint64_t index, const char *data)
{
    write_at(s, index, 1000 + index, data);
}

static void a_snapshot_is_found_again_after_reopening(void **state)
{
    struct snapshot_store *s = fresh();
    struct snapshot_meta m;

    (void)state;
    write_one(s, 10, "the database");
    s = reopen(s);
    assert_int_equal(snapshot_newest(s, &m), ERR_OK);
    assert_true(m.index == 10 && m.term == 3 && m.time_ns == 77 && m.effect_hash == 99);
    assert_int_equal(m.size, 12);
    assert_int_equal(m.state_len, 3);
    assert_memory_equal(m.state, "abc", 3);
    assert_int_equal(m.config.n, 2);
    assert_true(m.config.index == 9);
    assert_false(m.config.members[1].voter);
    assert_int_equal(snapshot_verify(s, &m, NULL), ERR_OK);
    snapshot_meta_fini(&m);
    snapshot_store_close(s);
}

static void an_empty_store_has_no_newest(void **state)
{
    struct snapshot_store *s = fresh();
    struct snapshot_meta m;

    (void)state;
    assert_int_equal(snapshot_newest(s, &m), ERR_NOT_FOUND);
    snapshot_store_close(s);
}

static void a_newer_snapshot_replaces_older_ones_but_not_pinned_ones(void **state)
{
    struct snapshot_store *s = fresh();
    struct snapshot_meta m;
    char path[4096], data[16] = {0};
    struct stat st;
    FILE *f;

    (void)state;
    write_one(s, 10, "first");
    assert_int_equal(snapshot_pin(s, &m, path, sizeof path), ERR_OK);
    write_one(s, 20, "second");
    f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fread(data, 1, sizeof data, f), 5);
    fclose(f);
    snapshot_unpin(s, m.id);
    assert_int_not_equal(stat(path, &st), 0);
    snapshot_meta_fini(&m);
    assert_int_equal(snapshot_newest(s, &m), ERR_OK);
    assert_true(m.index == 20);
    snapshot_meta_fini(&m);
    snapshot_store_close(s);
}

/* A snapshot whose commit failed, or whose process died, may have its name only in the
 * kernel's memory: then the one before it must not go. */
static void what_a_restart_finds_survives_the_next_loss_of_power(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct faulty *f = faulty_new();
        struct snapshot_meta m = meta_at(20);
        struct snapshot_writer *w;
        struct snapshot_store *s;
        struct rand r;
        char path[4096];

        rand_init(&r, seed);
        assert_int_equal(snapshot_store_open(&s, faulty_io(f), "d/s", NULL, NULL),
                         ERR_OK);
        write_one(s, 10, "first");
        assert_int_equal(snapshot_begin(s, &w, 20, 3, 5000, NULL), ERR_OK);
        assert_int_equal(snapshot_write(w, "second", 6, NULL), ERR_OK);
        faulty_fail_at(f, seed % 10, ERR_IO);
        if (snapshot_commit(w, &m, NULL) == ERR_OK) assert_true(seed % 10 != 1);
        snapshot_meta_fini(&m);
        snapshot_store_close(s);
        faulty_restart(f);
        assert_int_equal(snapshot_store_open(&s, faulty_io(f), "d/s", NULL, NULL),
                         ERR_OK);
        assert_int_equal(snapshot_pin(s, &m, path, sizeof path), ERR_OK);
        snapshot_unpin(s, m.id);
        snapshot_meta_fini(&m);
        snapshot_store_close(s);
        faulty_crash(f, &r, 512);
        assert_int_equal(snapshot_store_open(&s, faulty_io(f), "d/s", NULL, NULL),
                         ERR_OK);
        assert_int_equal(snapshot_newest(s, &m), ERR_OK);
        assert_int_equal(snapshot_verify(s, &m, NULL), ERR_OK);
        snapshot_meta_fini(&m);
        snapshot_store_close(s);
        faulty_free(f);
    }
}

/* A crash may leave both behind, one of them without its data. */
static void of_two_for_the_same_index_the_later_is_the_newest(void **state)
{
    static const uint64_t times[2][2] = {{5000, 6000}, {6000, 5000}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct snapshot_store *s = fresh();
        struct snapshot_meta older, m;
        char path[4096];

        write_at(s, 10, times[i][0], "one");
        assert_int_equal(snapshot_pin(s, &older, path, sizeof path), ERR_OK);
        write_at(s, 10, times[i][1], "other");
        if (i == 0) assert_int_equal(unlink(path), 0);
        s = reopen(s);
        assert_int_equal(snapshot_newest(s, &m), ERR_OK);
        assert_string_equal(m.id, "3-10-6000");
        assert_int_equal(snapshot_verify(s, &m, NULL), ERR_OK);
        snapshot_meta_fini(&m);
        snapshot_meta_fini(&older);
        snapshot_store_close(s);
    }
}

static void one_that_was_being_written_is_removed_at_the_next_opening(void **state)
{
    struct snapshot_store *s = fresh();
    struct snapshot_writer *w;
    struct snapshot_meta m;
    char path[128];
    struct stat st;

    (void)state;
    write_one(s, 10, "good");
    assert_int_equal(snapshot_begin(s, &w, 20, 3, 5, NULL), ERR_OK);
    assert_int_equal(snapshot_write(w, "half", 4, NULL), ERR_OK);
    snprintf(path, sizeof path, "%s/3-20-5.tmp", dir);
    assert_int_equal(stat(path, &st), 0);
    s = reopen(s); /* as after a crash: nobody ended w */
    assert_int_not_equal(stat(path, &st), 0);
    assert_int_equal(snapshot_newest(s, &m), ERR_OK);
    assert_true(m.index == 10);
    snapshot_meta_fini(&m);
    snapshot_abort(w);
    snapshot_store_close(s);
}

static void data_that_was_promised_otherwise_is_refused(void **state)
{
    struct snapshot_store *s = fresh();
    struct snapshot_meta m = meta_at(10);
    struct snapshot_writer *w;

    (void)state;
    m.size = 4;
    m.crc32c = 1;
    assert_int_equal(snapshot_begin(s, &w, 10, 3, 5, NULL), ERR_OK);
    assert_int_equal(snapshot_write(w, "data", 4, NULL), ERR_OK);
    assert_int_equal(snapshot_commit(w, &m, NULL), ERR_CORRUPT);
    snapshot_meta_fini(&m);
    assert_int_equal(snapshot_newest(s, &m), ERR_NOT_FOUND);
    snapshot_store_close(s);
}

static void a_changed_byte_of_the_data_is_noticed(void **state)
{
    struct snapshot_store *s = fresh();
    struct snapshot_meta m;
    char path[4096];
    FILE *f;

    (void)state;
    write_one(s, 10, "the database");
    assert_int_equal(snapshot_pin(s, &m, path, sizeof path), ERR_OK);
    f = fopen(path, "r+");
    fputc('T', f);
    fclose(f);
    assert_int_equal(snapshot_verify(s, &m, NULL), ERR_CORRUPT);
    snapshot_unpin(s, m.id);
    snapshot_meta_fini(&m);
    snapshot_store_close(s);
}

static void every_truncated_or_changed_description_is_refused(void **state)
{
    struct snapshot_meta m = meta_at(10), out;
    struct blob *b = snapshot_meta_encode(&m);

    (void)state;
    assert_non_null(b);
    assert_int_equal(snapshot_meta_decode(&out, b->data, b->len, NULL), ERR_OK);
    snapshot_meta_fini(&out);
    for (size_t len = 0; len < b->len; len++) {
        uint8_t *copy = malloc(len ? len : 1);

        memcpy(copy, b->data, len);
        assert_int_not_equal(snapshot_meta_decode(&out, copy, len, NULL), ERR_OK);
        free(copy);
    }
    for (size_t i = 0; i < b->len; i++) {
        b->data[i] ^= 0x20;
        assert_int_not_equal(snapshot_meta_decode(&out, b->data, b->len, NULL), ERR_OK);
        b->data[i] ^= 0x20;
    }
    blob_unref(b);
    snapshot_meta_fini(&m);
}

static void a_bad_description_is_set_aside_when_there_is_a_good_one(void **state)
{
    struct snapshot_store *s = fresh();
    struct snapshot_meta m;
    char path[128];
    FILE *f;

    (void)state;
    write_one(s, 10, "good");
    snprintf(path, sizeof path, "%s/3-20-9", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/3-20-9/meta", dir);
    f = fopen(path, "w");
    fputs("nonsense", f);
    fclose(f);
    s = reopen(s);
    assert_int_equal(snapshot_newest(s, &m), ERR_OK);
    assert_true(m.index == 10);
    snapshot_meta_fini(&m);
    snapshot_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_is_found_again_after_reopening),
        cmocka_unit_test(an_empty_store_has_no_newest),
        cmocka_unit_test(a_newer_snapshot_replaces_older_ones_but_not_pinned_ones),
        cmocka_unit_test(what_a_restart_finds_survives_the_next_loss_of_power),
        cmocka_unit_test(of_two_for_the_same_index_the_later_is_the_newest),
        cmocka_unit_test(one_that_was_being_written_is_removed_at_the_next_opening),
        cmocka_unit_test(data_that_was_promised_otherwise_is_refused),
        cmocka_unit_test(a_changed_byte_of_the_data_is_noticed),
        cmocka_unit_test(every_truncated_or_changed_description_is_refused),
        cmocka_unit_test(a_bad_description_is_set_aside_when_there_is_a_good_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
