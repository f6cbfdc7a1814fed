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

#include "cli/shell/replace.h"

static const char PATH[] = "replace-under-test";

static void put(const char *text)
{
    FILE *f = fopen(PATH, "w");
    fputs(text, f);
    fclose(f);
}

static void assert_file(const char *path, const char *text)
{
    char got[64] = "";
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(got, text);
}

static void nothing_changes_before_the_commit(void **state)
{
    struct replace r;
    struct stat st;

    (void)state;
    put("old and longer");
    chmod(PATH, 0640);
    assert_int_equal(replace_open(&r, PATH, NULL), ERR_OK);
    fputs("new", r.file);
    fflush(r.file);
    assert_file(PATH, "old and longer");
    assert_int_equal(replace_commit(&r, NULL), ERR_OK);
    assert_file(PATH, "new");
    assert_int_equal(stat(PATH, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    unlink(PATH);
}

static void an_abort_leaves_nothing(void **state)
{
    struct replace r;
    char scratch[64];

    (void)state;
    put("old");
    assert_int_equal(replace_open(&r, PATH, NULL), ERR_OK);
    fputs("new", r.file);
    snprintf(scratch, sizeof(scratch), "%s", strrchr(r.scratch, '/') + 1);
    assert_int_equal(access(scratch, F_OK), 0);
    replace_abort(&r);
    assert_int_not_equal(access(scratch, F_OK), 0);
    assert_file(PATH, "old");
    unlink(PATH);
}

static void a_link_stays_a_link(void **state)
{
    struct replace r;
    struct stat st;

    (void)state;
    put("old");
    assert_int_equal(symlink(PATH, "link"), 0);
    assert_int_equal(replace_open(&r, "link", NULL), ERR_OK);
    fputs("new", r.file);
    assert_int_equal(replace_commit(&r, NULL), ERR_OK);
    assert_int_equal(lstat("link", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_file(PATH, "new");
    unlink("link");
    unlink(PATH);
}

static void what_is_no_file_is_written_directly(void **state)
{
    struct replace r;
    struct stat st;

    (void)state;
    assert_int_equal(replace_open(&r, "/dev/null", NULL), ERR_OK);
    fputs("new", r.file);
    assert_int_equal(replace_commit(&r, NULL), ERR_OK);
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
}

static void a_missing_directory_is_named(void **state)
{
    struct replace r;
    struct why why = {0};

    (void)state;
    assert_int_equal(replace_open(&r, "no/such", &why), ERR_IO);
    assert_string_equal(why.text, "open no/such: no such file or directory");
    assert_int_equal(replace_open(&r, ".", &why), ERR_IO);
    assert_string_equal(why.text, "open .: is a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changes_before_the_commit),
        cmocka_unit_test(an_abort_leaves_nothing),
        cmocka_unit_test(a_link_stays_a_link),
        cmocka_unit_test(what_is_no_file_is_written_directly),
        cmocka_unit_test(a_missing_directory_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
