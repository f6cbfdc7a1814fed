/* SPDX-License-Identifier: MIT */
/*
 * gzip: a file, compressed while it is read.  One owner; does not keep the fd.
 */
#ifndef GATEWAY_GZIP_H
#define GATEWAY_GZIP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct gzip;

/* NULL when out of memory. */
struct gzip *gzip_new(int fd, uint64_t size);
void gzip_free(struct gzip *g); /* NULL is allowed */

/* The next compressed bytes, at most cap (> 0); 0 at the end, -1 when the file cannot be
 * read or is shorter than size. */
ssize_t gzip_read(struct gzip *g, void *out, size_t cap);

#endif
