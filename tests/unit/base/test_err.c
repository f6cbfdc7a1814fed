/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/base/err.h"

static void a_why_holds_code_and_words(void **state)
{
    struct why why;

    (void)state;
    assert_int_equal(why_set(&why, ERR_INVALID, "port %d", 70000), ERR_INVALID);
    assert_int_equal(why.code, ERR_INVALID);
    assert_string_equal(why.text, "port 70000");
}

static void nobody_need_ask_why(void **state)
{
    (void)state;
    errno = ENOSPC;
    assert_int_equal(why_errno(NULL, "write"), ERR_NO_SPACE);
    assert_int_equal(why_set(NULL, ERR_BUSY, "x"), ERR_BUSY);
    assert_int_equal(err_wrap(NULL, ERR_BUSY, "x"), ERR_BUSY);
}

static void errno_decides_the_code(void **state)
{
    static const struct {
        int number;
        enum err code;
    } rows[] = {{ENOSPC, ERR_NO_SPACE},
                {EDQUOT, ERR_NO_SPACE},
                {ENOMEM, ERR_NOMEM},
                {EIO, ERR_IO},
                {EACCES, ERR_IO}};
    struct why why;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        errno = rows[i].number;
        assert_int_equal(why_errno(&why, "write %s", "a"), rows[i].code);
        assert_int_equal(why.code, rows[i].code);
    }
    errno = EIO;
    (void)why_errno(&why, "write %s", "a.seg");
    assert_string_equal(why.text, "write a.seg: Input/output error");
}

static void context_goes_in_front(void **state)
{
    struct why why;

    (void)state;
    why_set(&why, ERR_CORRUPT, "17.seg: bad record");
    assert_int_equal(err_wrap(&why, ERR_CORRUPT, "open log in %s", "/data"), ERR_CORRUPT);
    assert_string_equal(why.text, "open log in /data: 17.seg: bad record");
}

static void an_empty_why_gets_the_name_of_its_code(void **state)
{
    struct why why = {0};

    (void)state;
    err_wrap(&why, ERR_NOT_FOUND, "member %d", 3);
    assert_int_equal(why.code, ERR_NOT_FOUND);
    assert_string_equal(why.text, "member 3: not found");
}

static void a_long_text_is_cut_between_characters(void **state)
{
    struct why why;
    char text[2000];
    size_t len;

    (void)state;
    for (size_t i = 0; i + 2 < sizeof text; i += 2) memcpy(text + i, "\xc3\xa9", 2);
    text[sizeof text - 2] = '\0';
    why_set(&why, ERR_SQL, "%s", text);
    len = strlen(why.text);
    assert_true(len >= sizeof why.text - 3);
    assert_int_equal(len % 2, 0);
    why_set(&why, ERR_SQL, "x%s", text);
    assert_int_equal(strlen(why.text) % 2, 1);
    err_wrap(&why, ERR_SQL, "%s", text);
    assert_true(strlen(why.text) < sizeof why.text);
}

static void every_code_has_a_name(void **state)
{
    (void)state;
    for (int i = 0; i < ERR_COUNT; i++) {
        assert_non_null(err_name((enum err)i));
        assert_string_not_equal(err_name((enum err)i), "unknown error");
        for (int j = 0; j < i; j++)
            assert_string_not_equal(err_name((enum err)i), err_name((enum err)j));
    }
    assert_string_equal(err_name(ERR_COUNT), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_why_holds_code_and_words),
        cmocka_unit_test(nobody_need_ask_why),
        cmocka_unit_test(errno_decides_the_code),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(an_empty_why_gets_the_name_of_its_code),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
        cmocka_unit_test(every_code_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
