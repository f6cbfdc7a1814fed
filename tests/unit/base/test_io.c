/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/io.h"

/* Every program starts in an empty directory of its own (tests/lib/run-unit). */

static struct io_file *open_file(const char *path, int flags)
{
    struct io *io = io_real();
    struct io_file *f;
    struct why why;

    assert_int_equal(io->ops->open(io, &f, path, flags, &why), ERR_OK);
    assert_non_null(f);
    return f;
}

static void write_file(const char *path, const char *text)
{
    struct io *io = io_real();
    struct io_file *f = open_file(path, IO_CREATE);

    assert_int_equal(io->ops->truncate(f, 0, NULL), ERR_OK);
    assert_int_equal(io->ops->write(f, 0, text, strlen(text), NULL), ERR_OK);
    io->ops->close(f);
}

static void a_missing_file_is_not_found(void **state)
{
    struct io *io = io_real();
    struct io_file *f = (void *)io;
    struct why why;

    (void)state;
    assert_int_equal(io->ops->open(io, &f, "missing", IO_READ, &why), ERR_NOT_FOUND);
    assert_null(f);
    assert_int_equal(why.code, ERR_NOT_FOUND);
    assert_string_equal(why.text, "open missing: No such file or directory");
    assert_int_equal(io->ops->open(io, &f, "missing", IO_WRITE, NULL), ERR_NOT_FOUND);
    assert_int_equal(io->ops->open(io, &f, "no/dir", IO_CREATE, NULL), ERR_NOT_FOUND);
    assert_int_equal(io->ops->unlink(io, "missing", &why), ERR_NOT_FOUND);
    assert_int_equal(io->ops->rename(io, "missing", "x", &why), ERR_NOT_FOUND);
    io->ops->close(NULL);
}

static void an_exclusive_file_must_not_exist(void **state)
{
    struct io *io = io_real();
    struct io_file *f;
    struct why why;
    struct stat st;

    (void)state;
    io->ops->close(open_file("excl", IO_EXCL));
    assert_int_equal(io->ops->open(io, &f, "excl", IO_EXCL, &why), ERR_EXISTS);
    assert_null(f);
    assert_int_equal(why.code, ERR_EXISTS);
    assert_int_equal(stat("excl", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    io->ops->close(open_file("excl", IO_CREATE));
}

static void a_read_past_the_end_is_short(void **state)
{
    struct io *io = io_real();
    struct io_file *f;
    char out[20] = "................";
    size_t got = 99;

    (void)state;
    write_file("short", "0123456789");
    f = open_file("short", IO_READ);
    assert_int_equal(io->ops->read(f, 0, out, 10, &got, NULL), ERR_OK);
    assert_int_equal(got, 10);
    assert_int_equal(io->ops->read(f, 6, out, 10, &got, NULL), ERR_OK);
    assert_int_equal(got, 4);
    assert_memory_equal(out, "678945", 6);
    assert_int_equal(io->ops->read(f, 10, out, 10, &got, NULL), ERR_OK);
    assert_int_equal(got, 0);
    assert_int_equal(io->ops->read(f, 1 << 20, out, 10, &got, NULL), ERR_OK);
    assert_int_equal(got, 0);
    assert_int_equal(io->ops->read(f, 0, out, 0, &got, NULL), ERR_OK);
    assert_int_equal(got, 0);
    io->ops->close(f);
}

static void a_file_opened_for_reading_cannot_be_written(void **state)
{
    struct io *io = io_real();
    struct io_file *f;
    struct why why;

    (void)state;
    write_file("ro", "abc");
    f = open_file("ro", IO_READ);
    assert_int_equal(io->ops->write(f, 0, "x", 1, &why), ERR_IO);
    assert_string_equal(why.text, "write ro: Bad file descriptor");
    io->ops->close(f);
}

static void writes_land_at_their_offset(void **state)
{
    struct io *io = io_real();
    struct io_file *f = open_file("offset", IO_CREATE);
    char out[8];
    uint64_t size;
    size_t got;

    (void)state;
    assert_int_equal(io->ops->write(f, 5, "xyz", 3, NULL), ERR_OK);
    assert_int_equal(io->ops->write(f, 0, "ab", 2, NULL), ERR_OK);
    assert_int_equal(io->ops->sync(f, NULL), ERR_OK);
    assert_int_equal(io->ops->size(f, &size, NULL), ERR_OK);
    assert_int_equal(size, 8);
    assert_int_equal(io->ops->read(f, 0, out, 8, &got, NULL), ERR_OK);
    assert_memory_equal(out, "ab\0\0\0xyz", 8);
    assert_int_equal(io->ops->truncate(f, 3, NULL), ERR_OK);
    assert_int_equal(io->ops->truncate(f, 6, NULL), ERR_OK);
    assert_int_equal(io->ops->read(f, 0, out, 8, &got, NULL), ERR_OK);
    assert_int_equal(got, 6);
    assert_memory_equal(out, "ab\0\0\0\0", 6);
    io->ops->close(f);

    f = open_file("offset", IO_WRITE); /* opening truncates nothing */
    assert_int_equal(io->ops->size(f, &size, NULL), ERR_OK);
    assert_int_equal(size, 6);
    io->ops->close(f);
}

static void a_full_disk_has_its_own_code(void **state)
{
    struct io *io = io_real();
    struct io_file *f;
    struct why why;

    (void)state;
    if (access("/dev/full", W_OK) != 0) skip();
    f = open_file("/dev/full", IO_WRITE);
    assert_int_equal(io->ops->write(f, 0, "x", 1, &why), ERR_NO_SPACE);
    assert_string_equal(why.text, "write /dev/full: No space left on device");
    io->ops->close(f);
}

static void a_program_we_start_inherits_no_file(void **state)
{
    int probe = open("/dev/null", O_RDONLY);
    struct io_file *f;

    (void)state;
    assert_true(probe >= 0);
    close(probe); /* the number that comes next */
    f = open_file("cloexec", IO_CREATE);
    assert_int_equal(fcntl(probe, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    io_real()->ops->close(f);
}

static void directories_are_made_with_their_parents(void **state)
{
    struct io *io = io_real();
    char cwd[3000], path[4000];
    struct stat st;
    struct why why;

    (void)state;
    assert_int_equal(io->ops->mkdir(io, "a/b//c/", &why), ERR_OK);
    assert_int_equal(stat("a/b/c", &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(io->ops->mkdir(io, "a/b/c", &why), ERR_OK);
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(path, sizeof path, "%s/d/e", cwd);
    assert_int_equal(io->ops->mkdir(io, path, &why), ERR_OK);
    assert_int_equal(stat("d/e", &st), 0);
    assert_int_equal(io->ops->mkdir(io, "/", &why), ERR_OK);
    assert_int_equal(io->ops->mkdir(io, ".", &why), ERR_OK);

    write_file("plain", "");
    assert_int_equal(io->ops->mkdir(io, "plain", &why), ERR_IO);
    assert_string_equal(why.text, "make directory plain: Not a directory");
    assert_int_equal(io->ops->mkdir(io, "plain/x", &why), ERR_IO);
    assert_int_equal(io->ops->mkdir(io, "", &why), ERR_NOT_FOUND);
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(io->ops->mkdir(io, path, &why), ERR_IO);
}

static void a_rename_replaces(void **state)
{
    struct io *io = io_real();
    struct io_file *f;
    char out[8];
    size_t got;

    (void)state;
    write_file("from", "new");
    write_file("to", "old");
    assert_int_equal(io->ops->rename(io, "from", "to", NULL), ERR_OK);
    assert_int_equal(io->ops->open(io, &f, "from", IO_READ, NULL), ERR_NOT_FOUND);
    f = open_file("to", IO_READ);
    assert_int_equal(io->ops->read(f, 0, out, sizeof out, &got, NULL), ERR_OK);
    assert_int_equal(got, 3);
    assert_memory_equal(out, "new", 3);
    io->ops->close(f);
    assert_int_equal(io->ops->unlink(io, "to", NULL), ERR_OK);
    assert_int_equal(io->ops->unlink(io, "to", NULL), ERR_NOT_FOUND);
}

static void directories_can_be_synced(void **state)
{
    struct io *io = io_real();

    (void)state;
    assert_int_equal(io->ops->sync_dir(io, ".", NULL), ERR_OK);
    assert_int_equal(io->ops->sync_dir(io, "nowhere", NULL), ERR_NOT_FOUND);
    write_file("file", "");
    assert_int_equal(io->ops->sync_dir(io, "file", NULL), ERR_IO);
}

struct names {
    int n, ones, twos, others;
};

static void note_name(const char *name, void *arg)
{
    struct names *names = arg;

    names->n++;
    if (strcmp(name, "one") == 0)
        names->ones++;
    else if (strcmp(name, ".two") == 0)
        names->twos++;
    else
        names->others++;
}

static void a_listing_leaves_out_dot_and_dot_dot(void **state)
{
    struct io *io = io_real();
    struct names names = {0};

    (void)state;
    assert_int_equal(io->ops->mkdir(io, "list", NULL), ERR_OK);
    assert_int_equal(io->ops->list(io, "list", note_name, &names, NULL), ERR_OK);
    assert_int_equal(names.n, 0);
    write_file("list/one", "");
    write_file("list/.two", "");
    assert_int_equal(io->ops->list(io, "list", note_name, &names, NULL), ERR_OK);
    assert_int_equal(names.ones, 1);
    assert_int_equal(names.twos, 1);
    assert_int_equal(names.others, 0);
    assert_int_equal(io->ops->list(io, "nowhere", note_name, &names, NULL),
                     ERR_NOT_FOUND);
    assert_int_equal(names.n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_file_is_not_found),
        cmocka_unit_test(an_exclusive_file_must_not_exist),
        cmocka_unit_test(a_read_past_the_end_is_short),
        cmocka_unit_test(a_file_opened_for_reading_cannot_be_written),
        cmocka_unit_test(writes_land_at_their_offset),
        cmocka_unit_test(a_full_disk_has_its_own_code),
        cmocka_unit_test(a_program_we_start_inherits_no_file),
        cmocka_unit_test(directories_are_made_with_their_parents),
        cmocka_unit_test(a_rename_replaces),
        cmocka_unit_test(directories_can_be_synced),
        cmocka_unit_test(a_listing_leaves_out_dot_and_dot_dot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
