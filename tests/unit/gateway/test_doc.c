/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/json_doc.h"

static struct arena arena;
static struct buf out;

static const char *print(struct doc *d, bool pretty)
{
    struct json j;

    buf_clear(&out);
    json_init(&j, &out, pretty);
    json_doc(&j, d);
    buf_append_u8(&out, 0);
    return (const char *)out.data;
}

static void members_are_sorted_unless_they_keep_their_order(void **state)
{
    struct doc *d = doc_object(&arena), *kept;

    (void)state;
    doc_add_int(d, "b", -1);
    doc_add_uint(d, "a", UINT64_MAX);
    doc_add_text(d, "B", "<x>");
    kept = doc_add_object(d, "kept");
    kept->keep_order = true;
    doc_add_null(kept, "z");
    doc_add_bool(kept, "a", true);
    doc_add_real(doc_add_array(d, "0"), NULL, 1.5);
    assert_string_equal(
        print(d, false),
        "{\"0\":[1.5],\"B\":\"\\u003cx\\u003e\",\"a\":18446744073709551615,\"b\":-1,"
        "\"kept\":{\"z\":null,\"a\":true}}");
    doc_add_int(d, "A", 1); /* the list is still whole after the sort */
    assert_string_equal(print(doc_get(d, "kept"), true),
                        "{\n    \"z\": null,\n    \"a\": true\n}");
    assert_non_null(strstr(print(d, false), "\"A\":1"));
}

static void many_members_are_sorted(void **state)
{
    struct doc *d = doc_object(&arena);
    char key[16], last[16] = "";

    (void)state;
    for (unsigned n = 0; n < 500; n++) {
        snprintf(key, sizeof key, "k%u", n * 7919 % 500);
        doc_add_uint(d, key, n);
    }
    print(d, false);
    for (struct doc *kid = d->v.kids.first; kid; kid = kid->next) {
        assert_true(strcmp(last, kid->key) < 0);
        strcpy(last, kid->key);
    }
    assert_string_equal(d->v.kids.last->key, last);
}

static void empty_ones_have_no_lines(void **state)
{
    struct doc *d = doc_object(&arena);

    (void)state;
    doc_add_object(d, "a");
    doc_add_array(d, "b");
    assert_string_equal(print(d, true), "{\n    \"a\": {},\n    \"b\": []\n}");
    assert_string_equal(print(NULL, true), "null");
}

static void a_path_ends_at_the_first_scalar(void **state)
{
    struct doc *d = doc_object(&arena), *store = doc_add_object(d, "store");

    (void)state;
    doc_add_text(store, "node_id", "n1");
    doc_add_int(doc_add_array(store, "list"), NULL, 1);
    assert_string_equal(print(json_doc_at(d, "store.node_id"), false), "\"n1\"");
    assert_string_equal(print(json_doc_at(d, "store.node_id.deeper"), false), "\"n1\"");
    assert_string_equal(print(json_doc_at(d, "store.list.0"), false), "[1]");
    assert_null(json_doc_at(d, "nosuch"));
    assert_null(json_doc_at(d, "store.nosuch.deeper"));
    assert_null(json_doc_at(d, "stor"));
    assert_null(json_doc_at(d, ""));
    assert_ptr_equal(json_doc_at(d, "store"), store);
}

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    buf_init(&out, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_fini(&arena);
    buf_fini(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_sorted_unless_they_keep_their_order),
        cmocka_unit_test(many_members_are_sorted),
        cmocka_unit_test(empty_ones_have_no_lines),
        cmocka_unit_test(a_path_ends_at_the_first_scalar),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
