/* SPDX-License-Identifier: MIT */
/* A database of over 1 GiB has a page that SQLite never writes, so that nobody puts it.
 * On real files, with holes where all is zeros. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/io.h"
#include "core/snapshot/snapshot.h"

enum { PAGES = SNAPSHOT_LOCK_PAGE + 2, PIECE = 512 };

static const uint8_t zeros[PIECE * SNAPSHOT_PAGE];

static enum err sparse_write(struct io_file *f, uint64_t off, const void *data,
                             size_t len, struct why *why)
{
    const struct io_ops *real = io_real()->ops;
    uint64_t size;
    enum err e;

    if (len > sizeof zeros || memcmp(data, zeros, len) != 0)
        return real->write(f, off, data, len, why);
    e = real->size(f, &size, why);
    return !e && size < off + len ? real->truncate(f, off + len, why) : e;
}

static struct io *sparse_io(void)
{
    static struct io_ops ops;
    static struct io io = {.ops = &ops};

    ops = *io_real()->ops;
    ops.write = sparse_write;
    return &io;
}

#define OK(call)                                                                         \
    do {                                                                                 \
        if ((call) != ERR_OK) fail_msg("%s: %s", #call, why.text);                       \
    } while (0)

static struct snapshot_meta meta(uint64_t index, uint32_t pages)
{
    struct snapshot_meta m;

    snapshot_meta_init(&m);
    m.index = index;
    m.term = 1;
    m.pages = pages;
    return m;
}

/* All from first on but the one; what is around it is not zero. */
static void put_all(struct snapshot_writer *w, uint32_t first)
{
    static uint8_t mark[SNAPSHOT_PAGE];
    struct why why;

    for (uint32_t p = first, n; p < SNAPSHOT_LOCK_PAGE - 1; p += n) {
        n = SNAPSHOT_LOCK_PAGE - 1 - p < PIECE ? SNAPSHOT_LOCK_PAGE - 1 - p : PIECE;
        OK(snapshot_put(w, p, n, zeros, &why));
    }
    memset(mark, 0xaa, sizeof mark);
    OK(snapshot_put(w, SNAPSHOT_LOCK_PAGE - 1, 1, mark, &why));
    OK(snapshot_put(w, SNAPSHOT_LOCK_PAGE + 1, 1, mark, &why));
    OK(snapshot_put(w, SNAPSHOT_LOCK_PAGE + 2, 1, mark, &why));
}

static void check(struct snapshot_store *s)
{
    static uint8_t out[4 * SNAPSHOT_PAGE];
    struct snapshot_reader *r;
    struct why why;

    OK(snapshot_reader_open(s, &r, &why));
    memset(out, 1, sizeof out);
    OK(snapshot_read(r, SNAPSHOT_LOCK_PAGE - 1, 4, out, &why));
    for (size_t i = 0; i < sizeof out; i++)
        assert_int_equal(out[i], i / SNAPSHOT_PAGE == 1 ? 0 : 0xaa);
    assert_true(snapshot_same_page(r, SNAPSHOT_LOCK_PAGE, zeros));
    assert_false(snapshot_same_page(r, SNAPSHOT_LOCK_PAGE, out));
    snapshot_reader_close(r);
}

static void the_page_of_the_locks_may_be_left_out(void **state)
{
    struct snapshot_meta first = meta(1, PAGES), small = meta(2, 100),
                         back = meta(3, PAGES);
    struct snapshot_store *s;
    struct snapshot_writer *w;
    struct why why;

    (void)state;
    OK(snapshot_store_open(&s, sparse_io(), "lock-page", NULL, &why));
    OK(snapshot_begin_base(s, &w, &first, 1, &why));
    put_all(w, 1);
    OK(snapshot_commit(w, &why));
    check(s);
    OK(snapshot_begin_delta(s, &w, &small, 1, &why));
    OK(snapshot_commit(w, &why));
    OK(snapshot_begin_delta(s, &w, &back, 1, &why));
    put_all(w, 101);
    OK(snapshot_commit(w, &why));
    check(s);
    OK(snapshot_fold(s, NULL, &why));
    check(s);
    snapshot_store_close(s);
    OK(snapshot_store_open(&s, sparse_io(), "lock-page", NULL, &why));
    check(s);
    snapshot_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_of_the_locks_may_be_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
