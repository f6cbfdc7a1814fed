/* SPDX-License-Identifier: MIT */
#include "gateway/gzip.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

enum {
    READ_BYTES = 32 * 1024,
    GZIP_WRAPPER = 16 /* zlib: gzip instead of zlib header */
};

struct gzip {
    z_stream z;
    int fd;
    uint64_t off, size;
    bool ended;
    uint8_t in[READ_BYTES];
};

struct gzip *gzip_new(int fd, uint64_t size)
{
    struct gzip *g = calloc(1, sizeof *g);

    if (!g) return NULL;
    if (deflateInit2(&g->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + GZIP_WRAPPER,
                     8, Z_DEFAULT_STRATEGY) != Z_OK) {
        free(g);
        return NULL;
    }
    g->fd = fd;
    g->size = size;
    return g;
}

void gzip_free(struct gzip *g)
{
    if (!g) return;
    deflateEnd(&g->z);
    free(g);
}

static bool refill(struct gzip *g)
{
    uint64_t left = g->size - g->off;
    size_t want = left < sizeof g->in ? (size_t)left : sizeof g->in;
    ssize_t n;

    do n = pread(g->fd, g->in, want, (off_t)g->off);
    while (n < 0 && errno == EINTR);
    if (n <= 0) return false;
    g->off += (uint64_t)n;
    g->z.next_in = g->in;
    g->z.avail_in = (uInt)n;
    return true;
}

ssize_t gzip_read(struct gzip *g, void *out, size_t cap)
{
    if (cap > INT32_MAX) cap = INT32_MAX;
    g->z.next_out = out;
    g->z.avail_out = (uInt)cap;
    while (!g->ended && g->z.avail_out > 0) {
        int z;

        if (g->z.avail_in == 0 && g->off < g->size && !refill(g)) return -1;
        z = deflate(&g->z, g->off < g->size ? Z_NO_FLUSH : Z_FINISH);
        if (z == Z_STREAM_END)
            g->ended = true;
        else if (z != Z_OK && z != Z_BUF_ERROR)
            return -1;
    }
    return (ssize_t)(cap - g->z.avail_out);
}
