/* SPDX-License-Identifier: MIT */
#include "tests/unit/db/db_test.h"

static void the_first_answers_are_an_empty_object_and_an_id(void **state)
{
    struct fixture f;
    (void)state;
    fixture_open(&f, false, false);
    assert_text(
        execute(
            &f,
            "CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT, age INTEGER)",
            NULL),
        "{}");
    assert_text(execute(&f, "INSERT INTO foo(name, age) VALUES('fiona', 20)", NULL),
                "id=1 n=1");
    assert_text(execute(&f, "INSERT INTO foo(name, age) VALUES('bob', 21)", NULL),
                "id=2 n=1");
    assert_text(query(&f, "SELECT * FROM foo", NULL),
                "(id:INTEGER, name:TEXT, age:INTEGER) [1, 'fiona', 20] [2, 'bob', 21]");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_answers_are_an_empty_object_and_an_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
