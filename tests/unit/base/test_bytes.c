/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/bytes.h"

static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void fields_are_little_endian(void **state)
{
    uint8_t out[8];

    (void)state;
    put_le64(out, 0x0807060504030201U);
    assert_memory_equal(out, bytes, 8);
    assert_true(get_le64(bytes) == 0x0807060504030201U);
    put_le32(out, 0xfffefdfcU);
    assert_int_equal(out[0], 0xfc);
    assert_int_equal(get_le32(out), 0xfffefdfcU);
    put_le16(out, 0x8001);
    assert_int_equal(get_le16(out), 0x8001);
    put_le64(out, UINT64_MAX);
    assert_true(get_le64(out) == UINT64_MAX);
}

static void a_reader_gives_fields_in_order(void **state)
{
    struct reader r;

    (void)state;
    reader_init(&r, bytes, sizeof bytes);
    assert_int_equal(read_u8(&r), 1);
    assert_int_equal(read_le16(&r), 0x0302);
    assert_int_equal(read_le32(&r), 0x07060504);
    assert_true(read_le64(&r) == 0x0f0e0d0c0b0a0908U);
    assert_int_equal(reader_left(&r), 0);
    assert_false(r.failed);
}

static void a_reader_cannot_run_past_its_end(void **state)
{
    struct reader r;

    (void)state;
    for (size_t len = 0; len < 8; len++) {
        reader_init(&r, bytes, len);
        assert_int_equal(read_le64(&r), 0);
        assert_true(r.failed);
    }
    reader_init(&r, bytes, 3);
    assert_int_equal(read_le32(&r), 0);
    reader_init(&r, bytes, 1);
    assert_int_equal(read_le16(&r), 0);
    reader_init(&r, bytes, 0);
    assert_int_equal(read_u8(&r), 0);
    reader_init(&r, bytes, 5);
    assert_null(read_bytes(&r, 6));
    reader_init(&r, bytes, 5);
    assert_null(read_bytes(&r, SIZE_MAX));
    assert_true(r.failed);
}

static void after_a_failure_everything_is_zero(void **state)
{
    struct reader r;

    (void)state;
    reader_init(&r, bytes, 5);
    assert_int_equal(read_le64(&r), 0);
    assert_int_equal(read_u8(&r), 0);
    assert_int_equal(read_le16(&r), 0);
    assert_int_equal(read_le32(&r), 0);
    assert_null(read_bytes(&r, 1));
    assert_null(read_bytes(&r, 0));
    assert_int_equal(reader_left(&r), 0);
    assert_true(r.failed);
}

static void bytes_are_borrowed_from_the_block(void **state)
{
    struct reader r;

    (void)state;
    reader_init(&r, bytes, sizeof bytes);
    assert_ptr_equal(read_bytes(&r, 4), bytes);
    assert_ptr_equal(read_bytes(&r, 0), bytes + 4);
    assert_ptr_equal(read_bytes(&r, sizeof bytes - 4), bytes + 4);
    assert_non_null(read_bytes(&r, 0));
    assert_false(r.failed);
    assert_null(read_bytes(&r, 1));
}

static void an_empty_block_may_be_null(void **state)
{
    struct reader r;

    (void)state;
    reader_init(&r, NULL, 0);
    assert_int_equal(reader_left(&r), 0);
    assert_false(r.failed);
    assert_int_equal(read_u8(&r), 0);
    assert_true(r.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_little_endian),
        cmocka_unit_test(a_reader_gives_fields_in_order),
        cmocka_unit_test(a_reader_cannot_run_past_its_end),
        cmocka_unit_test(after_a_failure_everything_is_zero),
        cmocka_unit_test(bytes_are_borrowed_from_the_block),
        cmocka_unit_test(an_empty_block_may_be_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
