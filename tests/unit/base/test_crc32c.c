/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/base/crc32c.c" /* its two ways are static; the library's copy is then not linked */
#include "core/base/rand.h"

static void the_vectors_of_rfc_3720_hold(void **state)
{
    uint8_t block[32];

    (void)state;
    assert_int_equal(crc32c(0, NULL, 0), 0);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283U);
    memset(block, 0, sizeof block);
    assert_int_equal(crc32c(0, block, sizeof block), 0x8a9136aaU);
    memset(block, 0xff, sizeof block);
    assert_int_equal(crc32c(0, block, sizeof block), 0x62a8ab43U);
    for (int i = 0; i < 32; i++) block[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, block, sizeof block), 0x46dd794eU);
    for (int i = 0; i < 32; i++) block[i] = (uint8_t)(31 - i);
    assert_int_equal(crc32c(0, block, sizeof block), 0x113fdb5cU);
}

static uint32_t crc_bit_by_bit(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    for (; len > 0; p++, len--) {
        crc ^= *p;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

static void instruction_and_table_agree_with_the_definition(void **state)
{
    uint8_t data[300];
    struct rand r;

    (void)state;
    rand_init(&r, 1);
    rand_fill(&r, data, sizeof data);
    for (size_t start = 0; start < 9; start++) {
        for (size_t len = 0; start + len <= sizeof data; len++) {
            uint32_t seed = (uint32_t)rand_u64(&r);
            uint32_t want = crc_bit_by_bit(seed, data + start, len);

            assert_int_equal(~crc_by_table(~seed, data + start, len), want);
            assert_int_equal(crc32c(seed, data + start, len), want);
            if (have_instruction())
                assert_int_equal(~crc_by_instruction(~seed, data + start, len), want);
        }
    }
}

static void a_crc_can_be_continued(void **state)
{
    const char *text = "The quick brown fox jumps over the lazy dog";
    size_t len = strlen(text);
    uint32_t whole = crc32c(0, text, len);

    (void)state;
    assert_int_equal(whole, 0x22620404U);
    for (size_t cut = 0; cut <= len; cut++)
        assert_int_equal(crc32c(crc32c(0, text, cut), text + cut, len - cut), whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_rfc_3720_hold),
        cmocka_unit_test(instruction_and_table_agree_with_the_definition),
        cmocka_unit_test(a_crc_can_be_continued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
