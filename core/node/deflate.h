/* SPDX-License-Identifier: MIT */
/*
 * deflate: pages of a snapshot on their way between nodes, smaller.  Pure, any thread.
 */
#ifndef CORE_NODE_DEFLATE_H
#define CORE_NODE_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>

/* Compress len bytes into out, which has room for cap.  False when that does not help. */
bool deflate_pages(void *out, size_t cap, size_t *out_len, const void *data, size_t len);

/* The opposite: exactly out_len bytes have to come out. */
bool inflate_pages(void *out, size_t out_len, const void *data, size_t len);

#endif
