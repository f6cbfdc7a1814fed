/* SPDX-License-Identifier: MIT */
/* When a group is complete, and that every node makes the same of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>

#include "core/cluster/gathering.h"
#include "core/raft/raft.h"

static struct gathering *make(unsigned expect)
{
    struct gathering *g;

    assert_int_equal(gathering_new(&g, expect, NULL), ERR_OK);
    return g;
}

static bool readable(struct gathering *g)
{
    struct pollfd fd = {.fd = gathering_fd(g), .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

static void it_is_complete_with_as_many_ids_as_expected(void **state)
{
    struct gathering *g = make(2);
    struct raft_config c;

    (void)state;
    assert_true(gathering_add(g, "b", "h:2", 0));
    assert_true(gathering_add(g, "b", "h:2", 0));
    assert_int_equal(gathering_count(g), 1);
    assert_int_equal(gathering_config(g, &c, NULL), ERR_NOT_FOUND);
    assert_false(readable(g));
    assert_true(gathering_add(g, "a", "h:1", 0));
    assert_true(readable(g));
    assert_int_equal(gathering_config(g, &c, NULL), ERR_OK);
    assert_int_equal(c.n, 2);
    assert_string_equal(c.members[0].id, "a");
    assert_true(c.members[0].voter && c.members[1].voter);
    raft_config_fini(&c);
    gathering_free(g);
}

static void the_order_of_arrival_does_not_matter(void **state)
{
    static const char *const ids[] = {"c", "a", "d", "b"};
    struct gathering *g = make(3), *h = make(3);
    struct raft_config c, d;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_true(gathering_add(g, ids[i], ids[i], 0));
        assert_true(gathering_add(h, ids[3 - i], ids[3 - i], 0));
    }
    assert_int_equal(gathering_config(g, &c, NULL), ERR_OK);
    assert_int_equal(gathering_config(h, &d, NULL), ERR_OK);
    assert_int_equal(c.n, 3);
    assert_string_equal(c.members[2].id, "c");
    assert_int_equal(gathering_cluster_id(&c), gathering_cluster_id(&d));
    c.members[2].addr[0] = 'x';
    assert_int_not_equal(gathering_cluster_id(&c), gathering_cluster_id(&d));
    c.n = 2;
    assert_int_not_equal(gathering_cluster_id(&c), gathering_cluster_id(&d));
    raft_config_fini(&c);
    raft_config_fini(&d);
    gathering_free(g);
    gathering_free(h);
}

static void who_has_a_cluster_is_not_counted_for_another(void **state)
{
    struct gathering *g = make(2);
    struct raft_config c;
    struct why why;
    uint64_t id;

    (void)state;
    assert_true(gathering_add(g, "a", "h:1", 0));
    assert_true(gathering_add(g, "b", "h:2", 0));
    assert_int_equal(gathering_config(g, &c, NULL), ERR_OK);
    id = gathering_cluster_id(&c);
    raft_config_fini(&c);
    gathering_met(g, "b", id + 1);
    assert_int_equal(gathering_config(g, &c, &why), ERR_EXISTS);
    gathering_met(g, "b", id); /* it was quicker than we are, with the same set */
    assert_int_equal(gathering_config(g, &c, NULL), ERR_OK);
    raft_config_fini(&c);
    assert_true(gathering_add(g, "a", "h:1", 7));
    assert_int_equal(gathering_config(g, &c, NULL), ERR_EXISTS);
    gathering_free(g);
}

static void nobody_is_added_once_it_is_closed(void **state)
{
    struct gathering *g = make(1);

    (void)state;
    assert_true(gathering_open(g));
    gathering_close(g);
    assert_false(gathering_open(g));
    assert_true(gathering_add(g, "a", "h:1", 0));
    assert_int_equal(gathering_count(g), 0);
    gathering_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_complete_with_as_many_ids_as_expected),
        cmocka_unit_test(the_order_of_arrival_does_not_matter),
        cmocka_unit_test(who_has_a_cluster_is_not_counted_for_another),
        cmocka_unit_test(nobody_is_added_once_it_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
