/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/base/doc.h"

static void members_keep_the_order_of_insertion(void **state)
{
    struct arena a;
    struct doc *root, *kid;
    const char *keys[] = {"z", "a", "m"};
    int i = 0;

    (void)state;
    arena_init(&a, 0);
    root = doc_object(&a);
    doc_add_int(root, "z", -1);
    doc_add_bool(root, "a", true);
    doc_add_null(root, "m");
    assert_int_equal(root->v.kids.n, 3);
    for (kid = root->v.kids.first; kid; kid = kid->next, i++)
        assert_string_equal(kid->key, keys[i]);
    assert_int_equal(i, 3);
    assert_ptr_equal(root->v.kids.last, doc_get(root, "m"));
    arena_fini(&a);
}

static void every_type_keeps_its_value(void **state)
{
    struct arena a;
    struct doc *d;

    (void)state;
    arena_init(&a, 0);
    d = doc_object(&a);
    doc_add_null(d, "null");
    doc_add_bool(d, "bool", true);
    doc_add_int(d, "int", INT64_MIN);
    doc_add_uint(d, "uint", UINT64_MAX);
    doc_add_real(d, "real", 2.5);
    doc_add_text(d, "text", "caf\u00e9");
    doc_add_textn(d, "bytes", "a\0b", 3);
    assert_int_equal(doc_get(d, "null")->type, DOC_NULL);
    assert_int_equal(doc_get(d, "bool")->type, DOC_BOOL);
    assert_true(doc_get(d, "bool")->v.b);
    assert_int_equal(doc_get(d, "int")->type, DOC_INT);
    assert_true(doc_get(d, "int")->v.i == INT64_MIN);
    assert_int_equal(doc_get(d, "uint")->type, DOC_UINT);
    assert_true(doc_get(d, "uint")->v.u == UINT64_MAX);
    assert_int_equal(doc_get(d, "real")->type, DOC_REAL);
    assert_true(doc_get(d, "real")->v.r == 2.5);
    assert_int_equal(doc_get(d, "text")->type, DOC_TEXT);
    assert_string_equal(doc_get(d, "text")->v.text.s, "caf\u00e9");
    assert_int_equal(doc_get(d, "bytes")->v.text.n, 3);
    assert_memory_equal(doc_get(d, "bytes")->v.text.s, "a\0b", 3);
    arena_fini(&a);
}

static void values_in_known_forms_are_text(void **state)
{
    struct arena a;
    struct doc *d;
    char long_text[600];

    (void)state;
    arena_init(&a, 0);
    d = doc_object(&a);
    doc_add_duration(d, "duration", 90 * INT64_C(1000000000));
    doc_add_time(d, "never", 0);
    doc_add_time(d, "time", UINT64_C(1795237760123000000));
    doc_add_bytes_friendly(d, "size", 4096);
    doc_addf(d, "printf", "%s:%d", "host", 4001);
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    doc_addf(d, "long", "%s", long_text);
    assert_string_equal(doc_get(d, "duration")->v.text.s, "1m30s");
    assert_string_equal(doc_get(d, "never")->v.text.s, "0001-01-01T00:00:00Z");
    assert_string_equal(doc_get(d, "time")->v.text.s, "2026-11-21T05:09:20.123Z");
    assert_string_equal(doc_get(d, "size")->v.text.s, "4.1 kB");
    assert_string_equal(doc_get(d, "printf")->v.text.s, "host:4001");
    assert_int_equal(doc_get(d, "printf")->v.text.n, 9);
    assert_string_equal(doc_get(d, "long")->v.text.s, long_text);
    assert_int_equal(doc_get(d, "long")->v.text.n, sizeof long_text - 1);
    arena_fini(&a);
}

static void trees_nest(void **state)
{
    struct arena a;
    struct doc *root, *nodes, *node;

    (void)state;
    arena_init(&a, 0);
    root = doc_object(&a);
    nodes = doc_add_array(root, "nodes");
    for (int i = 0; i < 3; i++) doc_add_int(doc_add_object(nodes, NULL), "id", i);
    doc_add_text(nodes, NULL, "end");
    assert_int_equal(nodes->v.kids.n, 4);
    assert_int_equal(doc_get(root, "nodes")->type, DOC_ARRAY);
    node = nodes->v.kids.first->next;
    assert_null(node->key);
    assert_int_equal(doc_get(node, "id")->v.i, 1);
    assert_int_equal(doc_array(&a)->type, DOC_ARRAY);
    arena_fini(&a);
}

static void keys_and_texts_are_copied(void **state)
{
    char key[] = "key", text[] = "text";
    struct arena a;
    struct doc *d;

    (void)state;
    arena_init(&a, 0);
    d = doc_object(&a);
    doc_add_text(d, key, text);
    key[0] = text[0] = '!';
    assert_string_equal(doc_get(d, "key")->v.text.s, "text");
    arena_fini(&a);
}

static void what_is_not_there_is_null(void **state)
{
    struct arena a;
    struct doc *d;

    (void)state;
    arena_init(&a, 0);
    d = doc_object(&a);
    doc_add_int(d, "n", 1);
    assert_null(doc_get(d, "x"));
    assert_null(doc_get(NULL, "x"));
    assert_null(doc_get(doc_get(d, "n"), "x"));
    assert_null(doc_get(doc_add_array(d, "list"), "x"));
    arena_fini(&a);
}

static struct doc *build(struct arena *a)
{
    struct doc *root = doc_object(a), *sub = doc_add_object(root, "sub");

    doc_add_null(sub, "null");
    doc_add_bool(sub, "bool", true);
    doc_add_int(sub, "int", 1);
    doc_add_uint(sub, "uint", 1);
    doc_add_real(sub, "real", 1);
    doc_add_text(sub, "text", "t");
    doc_addf(sub, "f", "%0300d", 1);
    doc_addf(sub, "g", "%d", 1);
    doc_add_duration(sub, "duration", 1);
    doc_add_time(sub, "time", 1);
    doc_add_bytes_friendly(sub, "size", 1);
    doc_add_int(doc_add_array(root, "array"), NULL, 1);
    return root;
}

static void a_failed_allocation_needs_no_checks(void **state)
{
    struct arena a;
    size_t needed;

    (void)state;
    arena_init(&a, 0);
    assert_non_null(build(&a));
    needed = a.used;
    arena_fini(&a);

    for (size_t limit = 1; limit < needed; limit += 8) {
        arena_init(&a, limit);
        build(&a);
        assert_true(arena_failed(&a));
        arena_fini(&a);
    }
    arena_init(&a, needed);
    assert_non_null(build(&a));
    assert_false(arena_failed(&a));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_keep_the_order_of_insertion),
        cmocka_unit_test(every_type_keeps_its_value),
        cmocka_unit_test(values_in_known_forms_are_text),
        cmocka_unit_test(trees_nest),
        cmocka_unit_test(keys_and_texts_are_copied),
        cmocka_unit_test(what_is_not_there_is_null),
        cmocka_unit_test(a_failed_allocation_needs_no_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
