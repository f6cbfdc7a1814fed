/* SPDX-License-Identifier: MIT */
#include "tests/unit/cluster/nodes.h"

static void a_write_through_a_follower_is_answered_as_by_the_leader(void **state)
{
    struct nodes *s = *state;
    struct member_node *f = follower_of(s, 0), *l = leader_of(s);
    struct asked *a;

    expect(execute_on(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)"), "{0,0}");
    a = execute_on(f, "INSERT INTO t(v) VALUES('a')");
    assert_string_equal(a->u.call.served_by, l->addr);
    assert_true(a->u.execute.raft_index > 0);
    expect(a, "{1,1}");
    a = execute_on(l, "INSERT INTO t(v) VALUES('b')");
    assert_string_equal(a->u.call.served_by, l->http);
    expect(a, "{2,1}");
    expect(execute_on(f, "INSERT INTO nope VALUES(1)"), "<w:no such table: nope>");
    expect(query_on(f, "SELECT * FROM t", RQLITE__LEVEL__WEAK),
           "[id:INTEGER,v:-](1,'a')(2,'b').");
    expect(query_on(f, "SELECT count(*) FROM t", RQLITE__LEVEL__LINEARIZABLE),
           "[count(*):-](2).");
    expect(query_on(f, "SELECT count(*) FROM t", RQLITE__LEVEL__STRONG),
           "[count(*):-](2).");
    expect(execute_on(f, "DROP TABLE t"), "{2,1}");
}

static int up(void **state)
{
    *state = nodes_up(3);
    return 0;
}

static int down(void **state)
{
    nodes_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_through_a_follower_is_answered_as_by_the_leader),
    };

    return cmocka_run_group_tests(tests, up, down);
}
