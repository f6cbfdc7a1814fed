/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/pb.h"
#include "core/node/call.h"
#include "core/node/command.h"

static struct blob *packed(void)
{
    Rqlite__Value number = RQLITE__VALUE__INIT, text = RQLITE__VALUE__INIT;
    Rqlite__Parameter p1 = RQLITE__PARAMETER__INIT, p2 = RQLITE__PARAMETER__INIT,
                      p3 = RQLITE__PARAMETER__INIT;
    Rqlite__Parameter *params[] = {&p1, &p2, &p3};
    Rqlite__Statement s = RQLITE__STATEMENT__INIT;
    Rqlite__Statement *statements[] = {&s};
    Rqlite__ExecuteRequest x = RQLITE__EXECUTE_REQUEST__INIT;

    number.kind_case = RQLITE__VALUE__KIND_INTEGER;
    number.integer = INT64_MIN;
    text.kind_case = RQLITE__VALUE__KIND_TEXT;
    text.text.data = (uint8_t *)"a\0b";
    text.text.len = 3;
    p1.value = &number;
    p2.value = &text;
    p2.name = (char *)"n";
    s.sql = (char *)"INSERT INTO t VALUES(?,:n,?)";
    s.n_parameters = 3;
    s.parameters = params;
    x.statements = statements;
    x.n_statements = 1;
    x.transaction = true;
    return pb_pack(&x.base, CALL_SPARE);
}

static void context_appended_to_a_packed_request_is_decoded_with_it(void **state)
{
    struct blob *b = packed();
    struct arena a;
    struct command c;
    const struct db_stmt *s;

    (void)state;
    assert_non_null(b);
    command_seal(b, 1234567890123456789u, 42);
    arena_init(&a, 0);
    assert_int_equal(command_decode(&c, &a, COMMAND_EXECUTE, b, NULL), ERR_OK);
    assert_true(c.time_ns == 1234567890123456789u);
    assert_true(c.seed == 42);
    assert_true(c.u.execute->transaction);
    s = command_statements(&a, c.u.execute->statements, c.u.execute->n_statements);
    assert_string_equal(s[0].sql, "INSERT INTO t VALUES(?,:n,?)");
    assert_int_equal(s[0].n_params, 3);
    assert_int_equal(s[0].params[0].value.type, DB_INTEGER);
    assert_true(s[0].params[0].value.u.i == INT64_MIN);
    assert_string_equal(s[0].params[1].name, "n");
    assert_int_equal(s[0].params[1].value.u.s.n, 3);
    assert_memory_equal(s[0].params[1].value.u.s.p, "a\0b", 3);
    assert_int_equal(s[0].params[2].value.type, DB_NULL);
    arena_fini(&a);
    blob_unref(b);
}

static void
a_payload_cut_short_is_corrupt_or_a_smaller_message_but_never_more(void **state)
{
    struct blob *b = packed();
    struct arena a;

    (void)state;
    command_seal(b, 1, 2);
    arena_init(&a, 0);
    for (uint32_t len = 0; len < b->len; len++) {
        struct blob *cut = blob_copy(b->data, len);
        struct command c;

        arena_reset(&a);
        if (command_decode(&c, &a, COMMAND_EXECUTE, cut, NULL) == ERR_OK)
            assert_true(c.u.execute->n_statements <= 1);
        blob_unref(cut);
    }
    arena_fini(&a);
    blob_unref(b);
}

static void an_entry_type_of_a_later_version_is_unsupported(void **state)
{
    struct arena a;
    struct command c;
    struct why why = {0};

    (void)state;
    arena_init(&a, 0);
    assert_int_equal(command_decode(&c, &a, 200, NULL, &why), ERR_UNSUPPORTED);
    assert_non_null(strstr(why.text, "200"));
    arena_fini(&a);
}

static void a_db_timeout_becomes_a_budget_that_is_never_zero(void **state)
{
    (void)state;
    assert_true(call_max_steps(0) == 0);
    assert_true(call_max_steps(-5) == 0);
    assert_true(call_max_steps(1) >= 1);
    assert_true(call_max_steps(1000000) >= CALL_STEPS_PER_MS);
    assert_true(call_max_steps(INT64_MAX) > call_max_steps(INT64_MAX / 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_appended_to_a_packed_request_is_decoded_with_it),
        cmocka_unit_test(
            a_payload_cut_short_is_corrupt_or_a_smaller_message_but_never_more),
        cmocka_unit_test(an_entry_type_of_a_later_version_is_unsupported),
        cmocka_unit_test(a_db_timeout_becomes_a_budget_that_is_never_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
