/* SPDX-License-Identifier: MIT */
#include "core/base/crc32c.h"

#include <stdbool.h>

#include "core/base/bytes.h"

/*
 * table[k][b] is the CRC of byte b with k zero bytes behind it ("slicing by 8").  A CRC
 * is linear, so each table is given by the values of the eight bytes with a single bit
 * set.
 */
#define T1(i, a, b, c, d, e, f, g, h)                                                    \
    (((i)&1 ? a : 0U) ^ ((i)&2 ? b : 0U) ^ ((i)&4 ? c : 0U) ^ ((i)&8 ? d : 0U) ^         \
     ((i)&16 ? e : 0U) ^ ((i)&32 ? f : 0U) ^ ((i)&64 ? g : 0U) ^ ((i)&128 ? h : 0U))
#define T4(i, ...)                                                                       \
    T1(i, __VA_ARGS__), T1((i) + 1, __VA_ARGS__), T1((i) + 2, __VA_ARGS__),              \
        T1((i) + 3, __VA_ARGS__)
#define T16(i, ...)                                                                      \
    T4(i, __VA_ARGS__), T4((i) + 4, __VA_ARGS__), T4((i) + 8, __VA_ARGS__),              \
        T4((i) + 12, __VA_ARGS__)
#define T64(i, ...)                                                                      \
    T16(i, __VA_ARGS__), T16((i) + 16, __VA_ARGS__), T16((i) + 32, __VA_ARGS__),         \
        T16((i) + 48, __VA_ARGS__)
#define TABLE(...)                                                                       \
    {                                                                                    \
        T64(0, __VA_ARGS__), T64(64, __VA_ARGS__), T64(128, __VA_ARGS__),                \
            T64(192, __VA_ARGS__)                                                        \
    }

static const uint32_t table[8][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede,
          0x417b1dbc, 0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302,
          0xff17c604, 0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14,
          0xc76580d9, 0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b,
          0xaba65fe7, 0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557,
          0x37516aae, 0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d,
          0x0e045beb, 0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd,
          0x7ab7077a, 0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599,
          0x1a00cb32, 0x34019664),
};

/* Both take and give the CRC without its final inversion. */
static uint32_t crc_by_table(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint32_t low = get_le32(p) ^ crc, high = get_le32(p + 4);

        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^
              table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^ table[3][high & 0xff] ^
              table[2][high >> 8 & 0xff] ^ table[1][high >> 16 & 0xff] ^
              table[0][high >> 24];
    }
    for (; len > 0; p++, len--) crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
    return crc;
}

#if defined(__x86_64__)
static bool have_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t
crc_by_instruction(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t wide = crc;

    for (; len >= 8; p += 8, len -= 8) wide = __builtin_ia32_crc32di(wide, get_le64(p));
    crc = (uint32_t)wide;
    for (; len > 0; p++, len--) crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}
#else
static bool have_instruction(void)
{
    return false;
}

static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *p, size_t len)
{
    return crc_by_table(crc, p, len);
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return have_instruction() ? ~crc_by_instruction(~crc, data, len)
                              : ~crc_by_table(~crc, data, len);
}
