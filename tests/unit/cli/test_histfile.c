/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/shell/histfile.h"

static const char PATH[] = "history-under-test";

static void the_setting_gives_the_limit(void **state)
{
    static const struct {
        const char *setting;
        size_t limit;
    } rows[] = {
        {NULL, 100}, {"", 100},  {"5", 5},    {"0", 0},
        {"-1", 0},   {"x", 100}, {"5x", 100}, {"99999999999999999999", 100},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(histfile_limit(rows[i].setting), rows[i].limit);
}

static void blanks_and_repetitions_are_dropped(void **state)
{
    struct histfile h;

    (void)state;
    histfile_init(&h, 100);
    assert_true(histfile_add(&h, "a"));
    assert_false(histfile_add(&h, "a"));
    assert_false(histfile_add(&h, ""));
    assert_false(histfile_add(&h, " \t"));
    assert_true(histfile_add(&h, "b"));
    assert_true(histfile_add(&h, "a"));
    assert_int_equal(h.n, 3);
    histfile_fini(&h);
}

static void only_the_latest_are_kept(void **state)
{
    struct histfile h;

    (void)state;
    histfile_init(&h, 2);
    histfile_add(&h, "a");
    histfile_add(&h, "b");
    histfile_add(&h, "c");
    assert_int_equal(h.n, 2);
    assert_string_equal(h.lines[0], "b");
    assert_string_equal(h.lines[1], "c");
    histfile_fini(&h);
}

static void a_file_is_private_and_comes_back(void **state)
{
    struct histfile h;
    struct stat st;
    FILE *f = fopen(PATH, "w");

    (void)state;
    fputs("old\n\nold\nlast without newline", f);
    fclose(f);
    chmod(PATH, 0755);
    histfile_init(&h, 100);
    histfile_load(&h, PATH);
    assert_int_equal(h.n, 2);
    histfile_add(&h, "new");
    assert_int_equal(histfile_save(&h, PATH, NULL), ERR_OK);
    histfile_fini(&h);

    assert_int_equal(stat(PATH, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    histfile_init(&h, 2);
    histfile_load(&h, PATH);
    assert_int_equal(h.n, 2);
    assert_string_equal(h.lines[0], "last without newline");
    assert_string_equal(h.lines[1], "new");
    histfile_fini(&h);
    unlink(PATH);
}

static void a_limit_of_0_removes_the_file(void **state)
{
    struct histfile h;

    (void)state;
    fclose(fopen(PATH, "w"));
    histfile_init(&h, 0);
    assert_false(histfile_add(&h, "a"));
    assert_int_equal(histfile_save(&h, PATH, NULL), ERR_OK);
    assert_int_not_equal(access(PATH, F_OK), 0);
    assert_int_equal(histfile_save(&h, PATH, NULL), ERR_OK);
    histfile_fini(&h);
}

static void a_file_that_cannot_be_written_is_reported(void **state)
{
    struct histfile h;
    struct why why = {0};

    (void)state;
    histfile_init(&h, 1);
    assert_int_equal(histfile_save(&h, "no/such/dir", &why), ERR_IO);
    assert_non_null(strstr(why.text, "no/such/dir"));
    histfile_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_setting_gives_the_limit),
        cmocka_unit_test(blanks_and_repetitions_are_dropped),
        cmocka_unit_test(only_the_latest_are_kept),
        cmocka_unit_test(a_file_is_private_and_comes_back),
        cmocka_unit_test(a_limit_of_0_removes_the_file),
        cmocka_unit_test(a_file_that_cannot_be_written_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
