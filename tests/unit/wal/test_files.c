/* SPDX-License-Identifier: MIT */
/* The log on the real file system, below the directory the test was started in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/blob.h"
#include "core/base/clock.h"
#include "tests/lib/faulty_io.c"
#include "tests/unit/wal/harness.c"

static char dir[64];

static int new_dir(void **state)
{
    (void)state;
    strcpy(dir, "wal-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static void remove_name(const char *name, void *arg)
{
    char path[512];

    (void)arg;
    snprintf(path, sizeof path, "%s/log/%s", dir, name);
    unlink(path);
}

static int remove_dir(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/log", dir);
    (void)!io_real()->ops->list(io_real(), path, remove_name, NULL, NULL);
    rmdir(path);
    return rmdir(dir);
}

static struct wal_options options(char path[128])
{
    snprintf(path, 128, "%s/log", dir);
    return (struct wal_options){.io = io_real(), .dir = path};
}

static void a_log_of_many_segments_is_there_after_reopening(void **state)
{
    char path[128];
    struct wal_options o = options(path);
    struct wal_stats s;
    struct why why;
    struct log l;

    (void)state;
    o.segment_bytes = 256 * 1024;
    o.prepare_in_background = true;
    o.compress_above = 1000;
    log_open_with(&l, &o);
    log_hard(&l, 5, "me");
    for (int i = 0; i < 150; i++) {
        log_append(&l, 5, 20, 500);
        if (i % 50 == 49) log_truncate(&l, l.model.last - 100);
        log_sync(&l);
    }
    log_check(&l);
    wal_stats(l.wal, &s);
    assert_true(s.segments > 4);
    log_reopen(&l);
    assert_int_equal(wal_drop_before(l.wal, l.model.last, &why), ERR_OK);
    wal_stats(l.wal, &s);
    assert_int_equal(s.segments, 1);
    log_reopen(&l);
    log_append(&l, 6, 1, 3000000);
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
}

static void closing_does_not_wait_for_the_next_segment(void **state)
{
    char path[128];
    struct wal_options o = options(path);
    struct log l;

    (void)state;
    o.prepare_in_background = true;
    log_open_with(&l, &o);
    log_append(&l, 1, 9, 100 * 1024); /* most of the first */
    log_sync(&l);
    log_reopen(&l);
    log_append(&l, 1, 9, 100 * 1024);
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
}

static enum err count(const struct raft_entry *e, void *arg, struct why *why)
{
    (void)why;
    *(uint64_t *)arg += e->payload->len;
    return ERR_OK;
}

static void a_hundred_thousand_entries_are_recovered(void **state)
{
    char path[128];
    struct wal_options o = options(path);
    struct wal_found found;
    uint64_t bytes = 0, begin, ms;
    struct why why;
    struct log l;

    (void)state;
    log_open_with(&l, &o);
    for (int i = 0; i < 1000; i++) {
        log_append(&l, 1, 100, 100);
        if (i % 100 == 0) log_sync(&l);
    }
    log_sync(&l);
    wal_close(l.wal);
    begin = clock_mono_ns(clock_real());
    assert_int_equal(wal_open(&l.wal, &o, &found, count, &bytes, &why), ERR_OK);
    ms = (clock_mono_ns(clock_real()) - begin) / 1000000;
    print_message("recovered 100,000 entries in %llu ms\n", (unsigned long long)ms);
    assert_int_equal(bytes, 100000 * 100);
    log_close(&l);
}

static void a_directory_that_cannot_be_made_is_a_clear_error(void **state)
{
    struct wal_options o = {.io = io_real(), .dir = "/proc/self/nothing/log"};
    struct wal_found found;
    struct wal *w;
    struct why why;

    (void)state;
    assert_int_not_equal(wal_open(&w, &o, &found, NULL, NULL, &why), ERR_OK);
    assert_non_null(strstr(why.text, "/proc/self"));
    assert_null(w);
}

#define FACT(f) cmocka_unit_test_setup_teardown(f, new_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FACT(a_log_of_many_segments_is_there_after_reopening),
        FACT(closing_does_not_wait_for_the_next_segment),
        FACT(a_hundred_thousand_entries_are_recovered),
        FACT(a_directory_that_cannot_be_made_is_a_clear_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
