/* SPDX-License-Identifier: MIT */
/* The log when memory runs out: its sources, with an allocator that fails when told to.
 */
#include <stdlib.h>
#include <string.h>

static long allocations_left = -1; /* negative: as many as there are */

static int exhausted(void)
{
    if (allocations_left < 0) return 0;
    return allocations_left-- == 0;
}

static void *test_malloc(size_t n)
{
    return exhausted() ? NULL : malloc(n);
}

static void *test_calloc(size_t n, size_t size)
{
    return exhausted() ? NULL : calloc(n, size);
}

static void *test_realloc(void *p, size_t n)
{
    return exhausted() ? NULL : realloc(p, n);
}

static char *test_strdup(const char *s)
{
    return exhausted() ? NULL : strdup(s);
}

#undef strdup
#define malloc(n)       test_malloc(n)
#define calloc(n, size) test_calloc(n, size)
#define realloc(p, n)   test_realloc(p, n)
#define strdup(s)       test_strdup(s)
#include "core/base/blob.c"
#include "core/wal/index.c"
#include "core/wal/prepare.c"
#include "core/wal/recover.c"
#include "core/wal/segment.c"
#include "core/wal/wal.c"
#undef malloc
#undef calloc
#undef realloc
#undef strdup

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/faulty_io.c"
#include "tests/unit/wal/harness.c"

enum { ENTRIES = 300 };

/* A short life in a new log; the error that ended it. */
static enum err live(struct io *io, uint64_t *synced, struct why *why)
{
    struct wal_options o = {
        .io = io, .dir = "d", .segment_bytes = 16384, .compress_above = 100};
    struct wal_found found;
    struct model m;
    struct wal *w = NULL;
    enum err e = wal_open(&w, &o, &found, NULL, NULL, why);
    long left;

    for (uint64_t i = 1; i <= ENTRIES && !e; i++) {
        struct raft_entry entry;

        left = allocations_left; /* ours do not count */
        allocations_left = -1;
        entry = entry_make(i, i / 10, 300);
        allocations_left = left;
        memset(entry.payload->data, (int)i, 150);
        e = wal_append(w, &entry, 1, why);
        if (!e && i % 10 == 0) e = wal_sync(w, why);
        if (!e && i % 10 == 0) *synced = i;
        blob_unref(entry.payload);
    }
    model_init(&m);
    if (!e) e = wal_read(w, 5, ENTRIES, SIZE_MAX, model_collect, &m, why);
    model_fini(&m);
    wal_close(w);
    if (e) return e;

    e = wal_open(&w, &o, &found, NULL, NULL, why);
    wal_close(w);
    return e;
}

static void any_failed_allocation_is_an_error_and_loses_nothing(void **state)
{
    enum err e = ERR_NOMEM;

    (void)state;
    for (long n = 0; e; n++) {
        struct faulty *disk = faulty_new();
        struct wal_found found;
        uint64_t synced = 0;
        struct model m;
        struct why why = {0};

        allocations_left = n;
        e = live(faulty_io(disk), &synced, &why);
        allocations_left = -1;
        if (e) {
            assert_int_equal(e, ERR_NOMEM);
            assert_non_null(strstr(why.text, "out of memory"));
        }
        if (log_inspect(faulty_io(disk), &m, &found, &why)) fail_msg("%s", why.text);
        assert_in_range(m.last, synced, ENTRIES);
        model_fini(&m);
        faulty_free(disk);
    }
    assert_int_equal(e, ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_failed_allocation_is_an_error_and_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
