/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"

static void assert_text(const struct buf *b, const char *text)
{
    assert_int_equal(buf_error(b), ERR_OK);
    assert_int_equal(b->len, strlen(text));
    assert_memory_equal(b->data, text, b->len);
}

static void bytes_grow_at_the_end(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    buf_append(&b, NULL, 0);
    buf_append_str(&b, "ab");
    buf_append_u8(&b, 'c');
    buf_printf(&b, "%d|", 42);
    buf_append(&b, "xyz", 3);
    assert_text(&b, "abc42|xyz");
    buf_fini(&b);
    assert_null(b.data);
    buf_fini(&b);
}

static void many_small_appends_add_up(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    for (int i = 0; i < 100000; i++) buf_append_u8(&b, (uint8_t)i);
    assert_int_equal(b.len, 100000);
    for (int i = 0; i < 100000; i++) assert_int_equal(b.data[i], (uint8_t)i);
    buf_fini(&b);
}

static void the_limit_is_exact(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    for (int i = 0; i < 100; i++) buf_append_u8(&b, 'x');
    assert_int_equal(buf_error(&b), ERR_OK);
    assert_true(b.cap <= 100);
    buf_append_u8(&b, 'x');
    assert_int_equal(buf_error(&b), ERR_TOO_BIG);
    assert_int_equal(b.len, 100);
    buf_fini(&b);
}

static void a_failed_append_is_remembered(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    buf_append_str(&b, "12345");
    buf_append_str(&b, "1234567");
    buf_append_str(&b, "1");
    buf_printf(&b, "1");
    buf_append_i64(&b, 1);
    assert_null(buf_reserve(&b, 1));
    assert_int_equal(buf_error(&b), ERR_TOO_BIG);
    assert_int_equal(b.len, 5);
    buf_truncate(&b, 2);
    assert_int_equal(b.len, 2);
    assert_int_equal(buf_error(&b), ERR_TOO_BIG);
    buf_clear(&b);
    buf_append_str(&b, "1234567890");
    assert_text(&b, "1234567890");
    buf_fini(&b);
}

static void sizes_that_overflow_are_too_big(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    buf_append_u8(&b, 'x');
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_int_equal(buf_error(&b), ERR_TOO_BIG);
    buf_fini(&b);
}

static void out_of_memory_is_remembered(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    buf_append_u8(&b, 'x');
    /* More than any address space holds, so that malloc must refuse. */
    assert_null(buf_reserve(&b, SIZE_MAX / 2 - 1));
    assert_int_equal(buf_error(&b), ERR_NOMEM);
    assert_int_equal(b.len, 1);
    buf_fini(&b);
}

static void reserved_room_is_written_in_place(void **state)
{
    struct buf b;
    uint8_t *p;

    (void)state;
    buf_init(&b, 0);
    assert_non_null(buf_reserve(&b, 0));
    p = buf_reserve(&b, 1000);
    memset(p, 'a', 1000);
    buf_advance(&b, 3);
    assert_text(&b, "aaa");
    buf_fini(&b);
}

static void printf_fills_the_room_to_the_last_byte(void **state)
{
    (void)state;
    for (size_t len = 0; len < 600; len++) {
        char text[601];
        struct buf b;

        buf_init(&b, len + 2);
        memset(text, 'p', len);
        text[len] = '\0';
        buf_append_str(&b, "12");
        buf_printf(&b, "%s", text);
        assert_int_equal(buf_error(&b), ERR_OK);
        assert_int_equal(b.len, len + 2);
        assert_memory_equal(b.data + 2, text, len);
        buf_printf(&b, "x");
        assert_int_equal(buf_error(&b), ERR_TOO_BIG);
        buf_fini(&b);
    }
}

static void integers_are_decimal(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    buf_append_i64(&b, 0);
    buf_append_u8(&b, ' ');
    buf_append_i64(&b, INT64_MIN);
    buf_append_u8(&b, ' ');
    buf_append_i64(&b, INT64_MAX);
    buf_append_u8(&b, ' ');
    buf_append_u64(&b, UINT64_MAX);
    buf_append_u8(&b, ' ');
    buf_append_i64(&b, -10);
    assert_text(&b,
                "0 -9223372036854775808 9223372036854775807 18446744073709551615 -10");
    buf_fini(&b);
}

static void the_front_can_be_consumed(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    buf_consume(&b, 0);
    buf_append_str(&b, "abcdef");
    buf_consume(&b, 2);
    assert_text(&b, "cdef");
    buf_truncate(&b, 3);
    buf_truncate(&b, 10);
    assert_text(&b, "cde");
    buf_consume(&b, 3);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void taken_bytes_belong_to_the_taker(void **state)
{
    struct buf b;
    uint8_t *data;
    size_t len;

    (void)state;
    buf_init(&b, 50);
    buf_append_str(&b, "abc");
    data = buf_take(&b, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "abc", 3);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.limit, 50);
    buf_append_str(&b, "de");
    assert_text(&b, "de");
    assert_memory_equal(data, "abc", 3);
    free(data);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_grow_at_the_end),
        cmocka_unit_test(many_small_appends_add_up),
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(a_failed_append_is_remembered),
        cmocka_unit_test(sizes_that_overflow_are_too_big),
        cmocka_unit_test(out_of_memory_is_remembered),
        cmocka_unit_test(reserved_room_is_written_in_place),
        cmocka_unit_test(printf_fills_the_room_to_the_last_byte),
        cmocka_unit_test(integers_are_decimal),
        cmocka_unit_test(the_front_can_be_consumed),
        cmocka_unit_test(taken_bytes_belong_to_the_taker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
