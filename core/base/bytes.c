/* SPDX-License-Identifier: MIT */
#include "core/base/bytes.h"

void reader_init(struct reader *r, const void *data, size_t len)
{
    r->p = data;
    r->end = len > 0 ? r->p + len : r->p;
    r->failed = false;
}

size_t reader_left(const struct reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->p);
}

const uint8_t *read_bytes(struct reader *r, size_t n)
{
    const uint8_t *p = r->p;

    if (n > reader_left(r) || r->failed) {
        r->failed = true;
        return NULL;
    }
    if (n > 0) r->p += n;
    return p;
}

uint8_t read_u8(struct reader *r)
{
    const uint8_t *p = read_bytes(r, 1);
    return p ? *p : 0;
}

uint16_t read_le16(struct reader *r)
{
    const uint8_t *p = read_bytes(r, 2);
    return p ? get_le16(p) : 0;
}

uint32_t read_le32(struct reader *r)
{
    const uint8_t *p = read_bytes(r, 4);
    return p ? get_le32(p) : 0;
}

uint64_t read_le64(struct reader *r)
{
    const uint8_t *p = read_bytes(r, 8);
    return p ? get_le64(p) : 0;
}
