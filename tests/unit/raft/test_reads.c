/* SPDX-License-Identifier: MIT */
/* Linearizable reads: confirmed by a quorum, shared rounds, refused when leadership goes.
 */
#include "tests/unit/raft/machine.h"

static const char *const b_only[] = {"b"};

static void lead_three(struct machine *m)
{
    machine_open(m, "a");
    machine_bootstrap(m, "a b c d/");
    machine_sync(m);
    machine_elect(m, b_only, 1);
    machine_sync(m);
}

static struct raft_effects *echo(struct machine *m, const char *from, uint64_t match,
                                 uint64_t read)
{
    struct raft_message msg = message(RAFT_MSG_APPEND_REPLY, from, "a", raft_term(m->r));

    msg.accepted = true;
    msg.match = match;
    msg.read = read;
    msg.sent_ms = m->now;
    return machine_receive(m, &msg);
}

static void a_follower_refuses_reads(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    machine_read(&m, 5);
    assert_int_equal(m.fx.n_reads, 1);
    assert_int_equal(m.fx.reads[0].id, 5);
    assert_false(m.fx.reads[0].ok);
    machine_close(&m);
}

static void a_read_waits_for_a_quorum_of_echoes(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_ack(&m, "b", 2);
    machine_tick(&m, 1);
    machine_read(&m, 1);
    assert_int_equal(m.fx.n_reads, 0);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->read, 1);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "c")->read, 1);
    assert_null(
        sent_now(&m, RAFT_MSG_APPEND, "d")); /* does not vote: need not be asked */
    echo(&m, "d", 2, 1);
    assert_int_equal(m.fx.n_reads, 0);
    echo(&m, "b", 2, 0); /* of something sent before the read */
    assert_int_equal(m.fx.n_reads, 0);
    echo(&m, "c", 2, 1);
    assert_int_equal(m.fx.n_reads, 1);
    assert_true(m.fx.reads[0].ok);
    assert_int_equal(m.fx.reads[0].index, 2);
    machine_close(&m);
}

static void a_refused_append_confirms_reads_as_well(void **state)
{
    struct machine m;
    struct raft_message no;

    (void)state;
    lead_three(&m);
    machine_ack(&m, "b", 2);
    machine_read(&m, 1);
    no = message(RAFT_MSG_APPEND_REPLY, "c", "a", 2);
    no.conflict_index = 1;
    no.read = 1;
    no.sent_ms = m.now;
    machine_receive(&m, &no);
    assert_int_equal(m.fx.n_reads, 1);
    machine_close(&m);
}

static void no_read_is_confirmed_before_the_own_term_commits(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_read(&m, 1);
    echo(&m, "b", 1, 1);
    assert_int_equal(m.fx.n_reads, 0);
    echo(&m, "c", 2, 1);
    assert_int_equal(m.fx.n_reads, 1);
    assert_int_equal(m.fx.reads[0].index,
                     2); /* the no-op, not what was committed when it was asked */
    machine_close(&m);
}

static void reads_share_rounds(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_ack(&m, "b", 2);
    machine_ack(&m, "c", 2);
    machine_tick(&m, 1);
    machine_read(&m, 1);
    assert_int_equal(m.fx.n_send_now, 2);
    for (uint64_t id = 2; id < 10; id++) {
        machine_read(&m, id);
        assert_int_equal(m.fx.n_send_now, 0);
    }
    echo(&m, "b", 2, 1);
    assert_int_equal(m.fx.n_reads, 1);
    assert_int_equal(m.fx.n_send_now, 2); /* the round for those that came meanwhile */
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->read, 9);
    echo(&m, "c", 2, 9);
    assert_int_equal(m.fx.n_reads, 8);
    assert_int_equal(m.fx.reads[0].id, 2);
    assert_int_equal(m.fx.reads[7].id, 9);
    assert_int_equal(m.fx.n_send_now, 0);
    machine_close(&m);
}

static void an_append_carries_the_read_position(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_ack(&m, "b", 2);
    machine_read(&m, 1);
    machine_propose(&m, "x");
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 1);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->read, 1);
    machine_close(&m);
}

static void a_lost_round_is_made_up_by_the_next_heartbeat(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_ack(&m, "b", 2);
    machine_read(&m, 1);
    machine_tick(&m, HEARTBEAT_MS / 5);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->read, 1);
    machine_close(&m);
}

static void waiting_reads_fail_when_leadership_is_lost(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_read(&m, 1);
    machine_read(&m, 2);
    machine_tick(&m, LEASE_MS);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    assert_int_equal(m.fx.n_reads, 2);
    assert_false(m.fx.reads[0].ok);
    assert_false(m.fx.reads[1].ok);
    machine_close(&m);
}

static void an_echo_of_a_position_never_given_is_ignored(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_ack(&m, "b", 2);
    echo(&m, "b", 2, 1000);
    machine_read(&m, 1);
    assert_int_equal(m.fx.n_reads, 0);
    machine_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_follower_refuses_reads),
        cmocka_unit_test(a_read_waits_for_a_quorum_of_echoes),
        cmocka_unit_test(a_refused_append_confirms_reads_as_well),
        cmocka_unit_test(no_read_is_confirmed_before_the_own_term_commits),
        cmocka_unit_test(reads_share_rounds),
        cmocka_unit_test(an_append_carries_the_read_position),
        cmocka_unit_test(a_lost_round_is_made_up_by_the_next_heartbeat),
        cmocka_unit_test(waiting_reads_fail_when_leadership_is_lost),
        cmocka_unit_test(an_echo_of_a_position_never_given_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
