/* SPDX-License-Identifier: MIT */
#include "core/node/deflate.h"

#include <zlib.h>

bool deflate_pages(void *out, size_t cap, size_t *out_len, const void *data, size_t len)
{
    uLongf n = cap < len ? (uLongf)cap : (uLongf)len;

    /* Level 1: the disk and the network are rarely slower than a higher one. */
    if (compress2(out, &n, data, (uLong)len, 1) != Z_OK) return false;
    *out_len = n;
    return n < len;
}

bool inflate_pages(void *out, size_t out_len, const void *data, size_t len)
{
    uLongf n = (uLongf)out_len;

    return uncompress(out, &n, data, (uLong)len) == Z_OK && n == out_len;
}
