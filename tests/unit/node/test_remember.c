/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/node/remember.h"

static int setup(void **state)
{
    struct remember *r;

    if (remember_new(&r) != ERR_OK) return -1;
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    remember_free(*state);
    return 0;
}

static void put(struct remember *r, const char *key, uint64_t time_ns, const void *answer,
                size_t len)
{
    struct remembered m = {.index = time_ns + 1, .time_ns = time_ns, .len = len};

    m.answer = answer;
    memset(m.print, (int)key[0], sizeof m.print);
    assert_int_equal(remember_put(r, key, strlen(key), &m), ERR_OK);
}

static bool find(struct remember *r, const char *key, uint64_t now_ns,
                 struct remembered *out)
{
    return remember_find(r, key, strlen(key), now_ns, out);
}

static void an_answer_is_found_under_its_key(void **state)
{
    struct remember *r = *state;
    struct remembered m;

    put(r, "a", 5, "first", 5);
    put(r, "b", 6, "", 0);
    assert_true(find(r, "a", 7, &m));
    assert_int_equal(m.index, 6);
    assert_int_equal(m.time_ns, 5);
    assert_int_equal(m.print[15], 'a');
    assert_int_equal(m.len, 5);
    assert_memory_equal(m.answer, "first", 5);
    assert_true(find(r, "b", 7, &m));
    assert_int_equal(m.len, 0);
    assert_false(find(r, "c", 7, &m));
    assert_false(find(r, "", 7, &m));
}

static void an_answer_is_forgotten_after_its_lifetime(void **state)
{
    struct remember *r = *state;
    struct remembered m;

    put(r, "a", 100, "x", 1);
    put(r, "b", 101, "y", 1);
    assert_true(find(r, "a", 100 + REMEMBER_LIFETIME_NS - 1, &m));
    assert_false(find(r, "a", 100 + REMEMBER_LIFETIME_NS, &m));
    assert_true(find(r, "b", 100 + REMEMBER_LIFETIME_NS, &m));
    assert_int_equal(remember_count(r), 1);
}

static void a_large_answer_is_only_noted(void **state)
{
    struct remember *r = *state;
    struct remembered m;
    uint8_t *large = calloc(1, REMEMBER_ANSWER_MAX + 1);

    put(r, "just", 1, large, REMEMBER_ANSWER_MAX);
    put(r, "more", 1, large, REMEMBER_ANSWER_MAX + 1);
    assert_true(find(r, "just", 1, &m));
    assert_int_equal(m.len, REMEMBER_ANSWER_MAX);
    assert_true(find(r, "more", 1, &m));
    assert_true(m.len > REMEMBER_ANSWER_MAX);
    free(large);
}

static void the_oldest_make_room(void **state)
{
    struct remember *r = *state;
    uint8_t *large = calloc(1, REMEMBER_ANSWER_MAX);
    struct remembered m;
    char key[32];

    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "%d", i);
        put(r, key, (uint64_t)i, large, REMEMBER_ANSWER_MAX);
    }
    assert_true(remember_count(r) * REMEMBER_ANSWER_MAX <= REMEMBER_BYTES_MAX);
    assert_false(find(r, "0", 300, &m));
    assert_true(find(r, "299", 300, &m));
    free(large);
    for (int i = 0; i < REMEMBER_MAX + 5; i++) {
        snprintf(key, sizeof key, "k%d", i);
        put(r, key, 300, "x", 1);
    }
    assert_int_equal(remember_count(r), REMEMBER_MAX);
    assert_false(find(r, "k4", 300, &m));
    assert_true(find(r, "k5", 300, &m));
}

static void the_table_survives_as_bytes(void **state)
{
    struct remember *r = *state, *other;
    struct blob *b, *again;
    struct remembered m;
    uint8_t *large = calloc(1, REMEMBER_ANSWER_MAX + 1);

    assert_int_equal(remember_encode(r, &b), ERR_OK);
    assert_null(b);
    put(r, "a", 1, "one", 3);
    put(r, "b", 2, large, REMEMBER_ANSWER_MAX + 1);
    put(r, "c", 3, "", 0);
    assert_int_equal(remember_encode(r, &b), ERR_OK);
    assert_int_equal(remember_new(&other), ERR_OK);
    put(other, "old", 1, "x", 1);
    assert_int_equal(remember_decode(other, b, NULL), ERR_OK);
    assert_int_equal(remember_count(other), 3);
    assert_false(find(other, "old", 3, &m));
    assert_true(find(other, "a", 3, &m));
    assert_memory_equal(m.answer, "one", 3);
    assert_true(find(other, "b", 3, &m));
    assert_true(m.len > REMEMBER_ANSWER_MAX);
    assert_int_equal(remember_encode(other, &again), ERR_OK);
    assert_int_equal(again->len, b->len);
    assert_memory_equal(again->data, b->data, b->len);
    assert_int_equal(remember_decode(other, NULL, NULL), ERR_OK);
    assert_int_equal(remember_count(other), 0);
    blob_unref(b);
    blob_unref(again);
    remember_free(other);
    free(large);
}

static void damaged_bytes_are_refused(void **state)
{
    struct remember *r = *state, *other;
    struct blob *b, *copy;

    put(r, "a", 1, "one", 3);
    put(r, "b", 2, "two", 3);
    assert_int_equal(remember_encode(r, &b), ERR_OK);
    assert_int_equal(remember_new(&other), ERR_OK);
    for (uint32_t len = 0; len < b->len; len++) {
        copy = blob_copy(b->data, len);
        if (len == 1 || len == 1 + (b->len - 1) / 2) /* between answers */
            assert_int_equal(remember_decode(other, copy, NULL), ERR_OK);
        else
            assert_int_not_equal(remember_decode(other, copy, NULL), ERR_OK);
        blob_unref(copy);
    }
    copy = blob_copy(b->data, b->len);
    copy->data[0] = 9;
    assert_int_equal(remember_decode(other, copy, NULL), ERR_UNSUPPORTED);
    copy->data[0] = 1;
    copy->data[1 + 38 + 4 + 38] = 'a'; /* the same key twice */
    assert_int_equal(remember_decode(other, copy, NULL), ERR_CORRUPT);
    assert_int_equal(remember_count(other), 0);
    blob_unref(copy);
    blob_unref(b);
    remember_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_is_found_under_its_key, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_answer_is_forgotten_after_its_lifetime, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_large_answer_is_only_noted, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_make_room, setup, teardown),
        cmocka_unit_test_setup_teardown(the_table_survives_as_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_bytes_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
