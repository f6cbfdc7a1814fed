/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdalign.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/base/blob.h"

static void an_empty_arena_holds_nothing(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    assert_null(a.chunks);
    assert_false(arena_failed(&a));
    arena_fini(&a);
    arena_fini(&a);
}

static void memory_is_aligned_for_any_type(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    for (size_t size = 0; size < 6000; size = size * 2 + 1) {
        char *p = arena_alloc(&a, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
        memset(p, 0xff, size);
    }
    arena_fini(&a);
}

static void allocations_do_not_overlap(void **state)
{
    enum { N = 3000 };
    static uint8_t *blocks[N];
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    for (int i = 0; i < N; i++) {
        size_t size = i % 100 == 99 ? 20000 : (size_t)i % 97;
        blocks[i] = arena_alloc(&a, size);
        assert_non_null(blocks[i]);
        memset(blocks[i], i & 0xff, size);
    }
    for (int i = 0; i < N; i++) {
        size_t size = i % 100 == 99 ? 20000 : (size_t)i % 97;
        for (size_t k = 0; k < size; k++) assert_int_equal(blocks[i][k], i & 0xff);
    }
    arena_fini(&a);
}

static void a_large_allocation_leaves_the_rest_of_the_chunk_in_use(void **state)
{
    struct arena a;
    char *before, *after;

    (void)state;
    arena_init(&a, 0);
    before = arena_alloc(&a, 16);
    assert_non_null(arena_alloc(&a, 1 << 20));
    after = arena_alloc(&a, 16);
    assert_ptr_equal(after, before + 16);
    arena_fini(&a);
}

static void the_limit_is_exact(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 64);
    assert_non_null(arena_alloc(&a, 48));
    assert_non_null(arena_alloc(&a, 16));
    assert_false(arena_failed(&a));
    assert_null(arena_alloc(&a, 1));
    assert_true(arena_failed(&a));
    assert_int_equal(a.used, 64);
    arena_fini(&a);
}

static void a_failure_is_remembered_until_the_reset(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 128);
    assert_null(arena_alloc(&a, 1000));
    assert_non_null(arena_alloc(&a, 8));
    assert_true(arena_failed(&a));
    arena_reset(&a);
    assert_false(arena_failed(&a));
    assert_non_null(arena_alloc(&a, 128));
    assert_null(arena_alloc(&a, 1));
    arena_fini(&a);
}

static void every_way_to_allocate_notices_the_limit(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 16);
    assert_null(arena_calloc(&a, 5, 4));
    assert_null(arena_dup(&a, "01234567890123456", 17));
    assert_null(arena_strdup(&a, "0123456789012345"));
    assert_null(arena_strndup(&a, "0123456789012345", 16));
    assert_null(arena_printf(&a, "%020d", 1));
    assert_null(arena_printf(&a, "%0200d", 1));
    assert_true(arena_failed(&a));
    assert_string_equal(arena_strdup(&a, "012345678901234"), "012345678901234");
    arena_fini(&a);
}

static void sizes_that_overflow_are_failures(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 15));
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    assert_null(arena_strndup(&a, "", SIZE_MAX));
    assert_true(arena_failed(&a));
    arena_fini(&a);
}

static void calloc_gives_zeroes_in_used_memory(void **state)
{
    struct arena a;
    char *p;

    (void)state;
    arena_init(&a, 0);
    memset(arena_alloc(&a, 1000), 0xff, 1000);
    arena_reset(&a);
    p = arena_calloc(&a, 10, 100);
    for (int i = 0; i < 1000; i++) assert_int_equal(p[i], 0);
    arena_fini(&a);
}

static void strings_are_copied(void **state)
{
    struct arena a;
    char long_text[500];

    (void)state;
    arena_init(&a, 0);
    assert_string_equal(arena_strdup(&a, "abc"), "abc");
    assert_string_equal(arena_strndup(&a, "abcdef", 2), "ab");
    assert_string_equal(arena_strndup(&a, NULL, 0), "");
    assert_memory_equal(arena_dup(&a, "a\0b", 3), "a\0b", 3);
    assert_non_null(arena_dup(&a, NULL, 0));
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 7), "x-7");
    memset(long_text, 'y', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    assert_string_equal(arena_printf(&a, "%s", long_text), long_text);
    arena_fini(&a);
}

static void a_reset_keeps_the_first_chunk(void **state)
{
    struct arena a;
    void *first;

    (void)state;
    arena_init(&a, 0);
    first = arena_alloc(&a, 16);
    for (int i = 0; i < 1000; i++) assert_non_null(arena_alloc(&a, 500));
    arena_reset(&a);
    assert_int_equal(a.used, 0);
    assert_ptr_equal(arena_alloc(&a, 16), first);
    arena_fini(&a);
}

static void a_reset_keeps_no_huge_chunk(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    assert_non_null(arena_alloc(&a, 10 << 20));
    arena_reset(&a);
    assert_null(a.chunks);
    assert_non_null(arena_alloc(&a, 1));
    arena_fini(&a);
}

static void a_blob_is_freed_by_its_last_holder(void **state)
{
    struct blob *b = blob_copy("hello", 5), *same;

    (void)state;
    assert_int_equal(b->len, 5);
    assert_int_equal(b->cap, 5);
    assert_memory_equal(b->data, "hello", 5);
    same = blob_ref(b);
    assert_ptr_equal(same, b);
    blob_unref(b);
    assert_memory_equal(same->data, "hello", 5);
    blob_unref(same);
    assert_null(blob_ref(NULL));
    blob_unref(NULL);
}

static void a_blob_has_a_largest_size(void **state)
{
    struct blob *b = blob_new(0);

    (void)state;
    assert_int_equal(b->len, 0);
    blob_unref(b);
    b = blob_copy(NULL, 0);
    assert_non_null(b);
    blob_unref(b);
    assert_null(blob_new((size_t)UINT32_MAX + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_arena_holds_nothing),
        cmocka_unit_test(memory_is_aligned_for_any_type),
        cmocka_unit_test(allocations_do_not_overlap),
        cmocka_unit_test(a_large_allocation_leaves_the_rest_of_the_chunk_in_use),
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(a_failure_is_remembered_until_the_reset),
        cmocka_unit_test(every_way_to_allocate_notices_the_limit),
        cmocka_unit_test(sizes_that_overflow_are_failures),
        cmocka_unit_test(calloc_gives_zeroes_in_used_memory),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(a_reset_keeps_the_first_chunk),
        cmocka_unit_test(a_reset_keeps_no_huge_chunk),
        cmocka_unit_test(a_blob_is_freed_by_its_last_holder),
        cmocka_unit_test(a_blob_has_a_largest_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
