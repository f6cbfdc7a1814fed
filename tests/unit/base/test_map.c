/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/list.h"
#include "core/base/map.h"
#include "core/base/rand.h"

static void an_empty_map_has_nothing(void **state)
{
    struct map m;
    size_t pos = 0;

    (void)state;
    map_init(&m, 1);
    assert_null(map_get(&m, "a", 1));
    assert_null(map_remove(&m, "a", 1));
    assert_null(map_next(&m, &pos));
    map_fini(&m);
    map_fini(&m);
}

static void an_equal_key_is_replaced(void **state)
{
    int one, two;
    char key[] = "key";
    void *old = &two;
    struct map m;

    (void)state;
    map_init(&m, 1);
    assert_int_equal(map_put(&m, "key", 3, &one, &old), ERR_OK);
    assert_null(old);
    assert_int_equal(map_put(&m, key, 3, &two, &old), ERR_OK);
    assert_ptr_equal(old, &one);
    assert_ptr_equal(map_get(&m, "key", 3), &two);
    assert_int_equal(m.count, 1);
    assert_int_equal(map_put(&m, key, 3, &one, NULL), ERR_OK);
    assert_ptr_equal(map_get(&m, "key", 3), &one);
    map_fini(&m);
}

static void a_key_is_any_bytes(void **state)
{
    int v[4];
    struct map m;

    (void)state;
    map_init(&m, 1);
    assert_int_equal(map_put(&m, "a\0b", 3, &v[0], NULL), ERR_OK);
    assert_int_equal(map_put(&m, "a\0c", 3, &v[1], NULL), ERR_OK);
    assert_int_equal(map_put(&m, "a", 1, &v[2], NULL), ERR_OK);
    assert_int_equal(map_put(&m, NULL, 0, &v[3], NULL), ERR_OK);
    assert_ptr_equal(map_get(&m, "a\0b", 3), &v[0]);
    assert_ptr_equal(map_get(&m, "a\0c", 3), &v[1]);
    assert_ptr_equal(map_get(&m, "a", 1), &v[2]);
    assert_ptr_equal(map_get(&m, "x", 0), &v[3]);
    assert_ptr_equal(map_remove(&m, "", 0), &v[3]);
    assert_null(map_get(&m, "", 0));
    assert_int_equal(m.count, 3);
    map_fini(&m);
}

/* Any mixture of puts and removals, compared with a plain array after each. */
static void it_behaves_like_an_array_of_pointers(void **state)
{
    enum { KEYS = 3000, STEPS = 200000 };
    static char keys[KEYS][32];
    static void *model[KEYS];
    size_t live = 0;
    struct map m;
    struct rand r;

    (void)state;
    rand_init(&r, 99);
    map_init(&m, rand_u64(&r));
    for (int i = 0; i < KEYS; i++) {
        snprintf(keys[i], sizeof keys[i], "%.*sk%d", i % 13, "............", i);
        model[i] = NULL;
    }
    for (int step = 0; step < STEPS; step++) {
        /* Mostly growing, mostly shrinking, in turns. */
        size_t i = (size_t)rand_below(&r, KEYS), len = strlen(keys[i]);
        bool grow = rand_below(&r, 10) < (step / 20000 % 2 ? 2U : 8U);
        void *old, *value = &keys[rand_below(&r, KEYS)];

        assert_ptr_equal(map_get(&m, keys[i], len), model[i]);
        if (grow) {
            assert_int_equal(map_put(&m, keys[i], len, value, &old), ERR_OK);
            assert_ptr_equal(old, model[i]);
            live += model[i] == NULL;
            model[i] = value;
        } else {
            assert_ptr_equal(map_remove(&m, keys[i], len), model[i]);
            live -= model[i] != NULL;
            model[i] = NULL;
        }
        assert_int_equal(m.count, live);
        assert_true(m.used < m.cap && m.count <= m.used);
    }
    for (int i = 0; i < KEYS; i++)
        assert_ptr_equal(map_get(&m, keys[i], strlen(keys[i])), model[i]);
    map_fini(&m);
}

static void removed_keys_do_not_fill_it(void **state)
{
    static char key[16];
    struct map m;
    int v;

    (void)state;
    map_init(&m, 3);
    for (int i = 0; i < 100000; i++) {
        size_t len = (size_t)snprintf(key, sizeof key, "%d", i);
        assert_int_equal(map_put(&m, key, len, &v, NULL), ERR_OK);
        assert_ptr_equal(map_remove(&m, key, len), &v);
    }
    assert_int_equal(m.count, 0);
    assert_int_equal(m.cap, 16);
    map_fini(&m);
}

static void next_visits_each_entry_once(void **state)
{
    enum { N = 100 };
    int values[N], seen[N] = {0}, *v, visited = 0;
    char keys[N][16];
    size_t pos = 0;
    struct map m;

    (void)state;
    map_init(&m, 3);
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "%d", i);
        assert_int_equal(map_put(&m, keys[i], strlen(keys[i]), &values[i], NULL), ERR_OK);
    }
    while ((v = map_next(&m, &pos))) {
        int i = (int)(v - values);
        seen[i]++;
        visited++;
        /* Removing while walking is allowed. */
        assert_ptr_equal(map_remove(&m, keys[i], strlen(keys[i])), v);
    }
    assert_int_equal(visited, N);
    for (int i = 0; i < N; i++) assert_int_equal(seen[i], 1);
    map_fini(&m);
}

static void seeds_give_different_orders(void **state)
{
    int values[26], same = 0;
    size_t a_pos = 0, b_pos = 0;
    struct map a, b;

    (void)state;
    map_init(&a, 1);
    map_init(&b, 2);
    for (int i = 0; i < 26; i++) {
        const char *key = &"abcdefghijklmnopqrstuvwxyz"[i];
        assert_int_equal(map_put(&a, key, 1, &values[i], NULL), ERR_OK);
        assert_int_equal(map_put(&b, key, 1, &values[i], NULL), ERR_OK);
    }
    for (int i = 0; i < 26; i++) same += map_next(&a, &a_pos) == map_next(&b, &b_pos);
    assert_true(same < 20);
    map_fini(&a);
    map_fini(&b);
}

struct item {
    int n;
    struct list link;
};

static void a_list_keeps_the_order_of_its_items(void **state)
{
    struct item items[3] = {{.n = 0}, {.n = 1}, {.n = 2}};
    struct list head, *l;

    (void)state;
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_pop_front(&head));
    assert_false(list_linked(&items[0].link));
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[2].link);
    list_push_front(&head, &items[0].link);
    assert_true(list_linked(&items[1].link));
    list_remove(&items[1].link);
    assert_false(list_linked(&items[1].link));
    l = list_pop_front(&head);
    assert_int_equal(LIST_ITEM(l, struct item, link)->n, 0);
    l = list_pop_front(&head);
    assert_int_equal(LIST_ITEM(l, struct item, link)->n, 2);
    assert_true(list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(an_equal_key_is_replaced),
        cmocka_unit_test(a_key_is_any_bytes),
        cmocka_unit_test(it_behaves_like_an_array_of_pointers),
        cmocka_unit_test(removed_keys_do_not_fill_it),
        cmocka_unit_test(next_visits_each_entry_once),
        cmocka_unit_test(seeds_give_different_orders),
        cmocka_unit_test(a_list_keeps_the_order_of_its_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
