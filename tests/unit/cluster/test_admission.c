/* SPDX-License-Identifier: MIT */
/* What a leader does about a request to join, case by case (cluster.md 2.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/cluster/admission.h"

static struct raft_config config;

static void put(const char *id, const char *addr, bool voter)
{
    assert_int_equal(raft_config_put(&config, id, addr, voter), ERR_OK);
}

/* The leader is 1; 2 is a voter, 3 a replica. */
static int set_up(void **state)
{
    (void)state;
    raft_config_init(&config);
    put("1", "a:1", true);
    put("2", "a:2", true);
    put("3", "a:3", false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    raft_config_fini(&config);
    return 0;
}

static struct admission_step next(const char *id, const char *addr, bool voter,
                                  bool empty)
{
    const struct admission_request q = {id, addr, voter, empty};

    return admission_next(&config, "1", &q);
}

static bool promotes(const char *id, const char *addr, bool voter)
{
    const struct admission_request q = {id, addr, voter, false};

    return admission_needs_promotion(&config, &q);
}

static void a_stranger_is_added(void **state)
{
    (void)state;
    assert_int_equal(next("4", "a:4", true, true).what, ADMISSION_ADD);
    assert_int_equal(next("4", "a:4", false, false).what, ADMISSION_ADD);
}

static void a_member_as_it_is_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(next("2", "a:2", true, false).what, ADMISSION_DONE);
    assert_int_equal(next("3", "a:3", false, false).what, ADMISSION_DONE);
    assert_int_equal(next("3", "a:3", false, true).what, ADMISSION_DONE);
    assert_false(promotes("2", "a:2", true));
    assert_false(promotes("3", "a:3", false));
}

static void a_member_may_move(void **state)
{
    struct admission_step s = next("2", "a:9", true, false);

    (void)state;
    assert_int_equal(s.what, ADMISSION_MOVE);
    assert_true(s.voter);
    s = next("2", "a:9", false, false);
    assert_int_equal(s.what, ADMISSION_MOVE);
    assert_false(s.voter);
    s = next("3", "a:9", true, false); /* promoted later, when it has caught up */
    assert_int_equal(s.what, ADMISSION_MOVE);
    assert_false(s.voter);
}

static void a_member_may_change_its_kind(void **state)
{
    (void)state;
    assert_int_equal(next("2", "a:2", false, false).what, ADMISSION_DEMOTE);
    assert_int_equal(next("3", "a:3", true, false).what, ADMISSION_DONE);
    assert_true(promotes("3", "a:3", true));
}

static void who_holds_the_address_goes_first(void **state)
{
    struct admission_step s = next("4", "a:2", true, true);

    (void)state;
    assert_int_equal(s.what, ADMISSION_REMOVE);
    assert_string_equal(s.id, "2");
    s = next("3", "a:2", false, false); /* a member that took another one's place */
    assert_int_equal(s.what, ADMISSION_REMOVE);
    assert_string_equal(s.id, "2");
}

static void a_voter_without_its_log_is_removed_and_added_again(void **state)
{
    struct admission_step s = next("2", "a:2", true, true);

    (void)state;
    assert_int_equal(s.what, ADMISSION_REMOVE);
    assert_string_equal(s.id, "2");
    assert_true(raft_config_remove(&config, "2"));
    assert_int_equal(next("2", "a:2", true, true).what, ADMISSION_ADD);
    put("2", "a:2", false);
    assert_int_equal(next("2", "a:2", true, true).what, ADMISSION_DONE);
    assert_true(promotes("2", "a:2", true));
}

static void a_leader_that_asks_itself_is_a_member(void **state)
{
    (void)state;
    assert_int_equal(next("1", "a:1", true, false).what, ADMISSION_DONE);
    assert_int_equal(next("1", "a:1", false, false).what, ADMISSION_REFUSE_ID);
    assert_int_equal(next("1", "a:9", true, false).what, ADMISSION_REFUSE_ID);
}

static void nobody_takes_the_leaders_place(void **state)
{
    (void)state;
    assert_int_equal(next("1", "a:9", true, true).what, ADMISSION_REFUSE_ID);
    assert_int_equal(next("1", "a:1", true, true).what, ADMISSION_REFUSE_ID);
    assert_int_equal(next("4", "a:1", true, true).what, ADMISSION_REFUSE_ADDR);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_stranger_is_added),
        T(a_member_as_it_is_changes_nothing),
        T(a_member_may_move),
        T(a_leader_that_asks_itself_is_a_member),
        T(a_member_may_change_its_kind),
        T(who_holds_the_address_goes_first),
        T(a_voter_without_its_log_is_removed_and_added_again),
        T(nobody_takes_the_leaders_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
