/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/pb.h"
#include "core/base/rand.h"
#include "gateway/json_read.h"
#include "gateway/pack.h"

static void packs_as_the_library_does(const Rqlite__ExecuteRequest *m)
{
    struct blob *ours = pack_execute(m, 32), *theirs = pb_pack(&m->base, 32);

    assert_int_equal(ours->len, theirs->len);
    assert_memory_equal(ours->data, theirs->data, theirs->len);
    assert_true(ours->cap >= ours->len + 32);
    blob_unref(ours);
    blob_unref(theirs);
}

static void packs_body(const char *text, size_t len)
{
    Rqlite__ExecuteRequest m = RQLITE__EXECUTE_REQUEST__INIT;
    struct json_statements s;
    struct arena a;
    struct why why;

    arena_init(&a, 0);
    if (json_read_statements(&s, arena_strndup(&a, text, len), len, &a, &why))
        fail_msg("%s", why.text);
    m.statements = s.list;
    m.n_statements = s.n;
    packs_as_the_library_does(&m);
    m.transaction = true;
    m.db_timeout_ns = 1000000;
    m.max_steps = 20001;
    packs_as_the_library_does(&m);
    arena_fini(&a);
}

static void every_kind_of_value_is_packed_alike(void **state)
{
    static const char body[] =
        "[\"a\",[\"b\",0,-1,1,9223372036854775807,-9223372036854775808,1.5,0.0,-0.0,\"\","
        "\"x\",\"x''\",\"x'00ff'\",[],"
        "true,null],[\"c\",{\"n\":1,\"\":2,\"long name\":\"text\"}],\"\\u0000\"]";

    (void)state;
    packs_body(body, strlen(body));
    packs_body("[]", 2);
}

static void every_length_is_packed_alike(void **state)
{
    struct buf body;

    (void)state;
    for (size_t n = 1; n < 40000; n = n * 5 / 4 + 1) {
        buf_init(&body, 0);
        buf_append_str(&body, "[[\"");
        for (size_t i = 0; i < n; i++) buf_append_u8(&body, 's');
        buf_append_str(&body, "\",\"");
        for (size_t i = 0; i < n; i++) buf_append_u8(&body, 't');
        buf_append_str(&body, "\",{\"");
        for (size_t i = 0; i < n; i++) buf_append_u8(&body, 'n');
        buf_printf(&body, "\":%zu}]]", n);
        packs_body((char *)body.data, body.len);
        buf_fini(&body);
    }
}

static void every_integer_is_packed_alike(void **state)
{
    struct rand r;
    char body[64];

    (void)state;
    rand_init(&r, 1);
    for (int i = 0; i < 2000; i++) {
        int64_t v = (int64_t)(rand_u64(&r) >> rand_below(&r, 64));
        int n = snprintf(body, sizeof body, "[[\"a\",%lld,%lld]]", (long long)v,
                         -(long long)(v / 2));

        packs_body(body, (size_t)n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_packed_alike),
        cmocka_unit_test(every_length_is_packed_alike),
        cmocka_unit_test(every_integer_is_packed_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
