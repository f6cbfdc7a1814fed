/* SPDX-License-Identifier: MIT */
/* One change at a time, in force when appended; and handing leadership over. */
#include "tests/unit/raft/machine.h"

static const char *const b_only[] = {"b"};

static void lead(struct machine *m, const char *members)
{
    machine_open(m, "a");
    machine_bootstrap(m, members);
    machine_sync(m);
    machine_elect(m, b_only, 1);
    machine_sync(m);
}

static void lead_ready(struct machine *m, const char *members)
{
    lead(m, members);
    machine_ack(m, "b", 2);
    if (raft_config_voters(raft_config(m->r)) > 3) machine_ack(m, "c", 2);
    assert_int_equal(raft_commit(m->r), 2);
}

static void a_change_waits_for_the_own_term_to_commit(void **state)
{
    struct machine m;

    (void)state;
    lead(&m, "a b c");
    machine_put(&m, "d", true);
    assert_int_equal(m.fx.refused, ERR_NOT_READY);
    machine_ack(&m, "b", 2);
    machine_put(&m, "d", true);
    assert_int_equal(m.fx.refused, ERR_OK);
    machine_close(&m);
}

static void a_change_is_in_force_when_it_is_appended(void **state)
{
    struct machine m;
    struct raft_config c;

    (void)state;
    lead_ready(&m, "a b c");
    machine_put(&m, "d", true);
    assert_int_equal(m.fx.first_index, 3);
    assert_true(m.fx.config_changed);
    assert_int_equal(raft_config(m.r)->n, 4);
    assert_int_equal(raft_config(m.r)->index, 3);
    assert_int_equal(raft_config_at(m.r, 2)->n, 3);
    assert_int_equal(raft_config_at(m.r, 3)->n, 4);
    assert_int_equal(raft_config_at(m.r, 99)->n, 4);
    raft_config_init(&c);
    assert_int_equal(raft_config_decode(&c, m.fx.append[0].payload->data,
                                        m.fx.append[0].payload->len, NULL),
                     ERR_OK);
    assert_non_null(raft_config_find(&c, "d"));
    raft_config_fini(&c);
    assert_non_null(sent_now(&m, RAFT_MSG_APPEND, "d")); /* asked at once how far it is */
    machine_sync(&m);
    machine_ack(&m, "b", 3); /* two of four */
    assert_int_equal(raft_commit(m.r), 2);
    machine_ack(&m, "d", 3);
    assert_int_equal(raft_commit(m.r), 3);
    machine_close(&m);
}

static void one_change_at_a_time(void **state)
{
    struct machine m;

    (void)state;
    lead_ready(&m, "a b c");
    machine_put(&m, "d", false);
    machine_put(&m, "e", false);
    assert_int_equal(m.fx.refused, ERR_BUSY);
    machine_sync(&m);
    machine_ack(&m, "b", 3);
    machine_put(&m, "e", false);
    assert_int_equal(m.fx.refused, ERR_OK);
    machine_close(&m);
}

static void changes_that_make_no_sense_are_refused(void **state)
{
    struct machine m;
    char long_id[RAFT_ID_MAX + 2];

    (void)state;
    memset(long_id, 'x', sizeof long_id);
    long_id[sizeof long_id - 1] = 0;
    lead_ready(&m, "a b c");
    machine_put(&m, "b", true);
    assert_int_equal(m.fx.refused, ERR_EXISTS);
    machine_put(&m, "", true);
    assert_int_equal(m.fx.refused, ERR_INVALID);
    machine_put(&m, long_id, true);
    assert_int_equal(m.fx.refused, ERR_TOO_BIG);
    machine_remove(&m, "x");
    assert_int_equal(m.fx.refused, ERR_NOT_FOUND);
    assert_int_equal(raft_last_index(m.r), 2);
    machine_close(&m);

    machine_open(&m, "a");
    machine_bootstrap(&m, "a b/");
    machine_put(&m, "c", true);
    assert_int_equal(m.fx.refused, ERR_NOT_LEADER);
    machine_sync(&m);
    machine_sync(&m);
    machine_remove(&m, "a");
    assert_int_equal(m.fx.refused, ERR_INVALID); /* nobody left to vote */
    machine_put(&m, "a", false);
    assert_int_equal(m.fx.refused, ERR_INVALID);
    machine_close(&m);
}

static void a_member_changes_its_address_and_its_vote(void **state)
{
    struct machine m;
    struct raft_event e = {
        .type = RAFT_CHANGE,
        .u.change = {
            .op = RAFT_CHANGE_PUT, .id = "c", .addr = "elsewhere", .voter = false}};

    (void)state;
    lead_ready(&m, "a b c");
    machine_step(&m, &e);
    assert_int_equal(m.fx.refused, ERR_OK);
    assert_int_equal(raft_config(m.r)->n, 3);
    assert_string_equal(raft_config_find(raft_config(m.r), "c")->addr, "elsewhere");
    assert_int_equal(raft_config_voters(raft_config(m.r)), 2);
    machine_close(&m);
}

static void removing_all_others_leaves_a_quorum_of_one(void **state)
{
    struct machine m;

    (void)state;
    lead_ready(&m, "a b");
    machine_remove(&m, "b");
    assert_int_equal(raft_commit(m.r), 2);
    machine_sync(&m);
    assert_int_equal(raft_commit(m.r), 3);
    assert_true(m.fx.deadline_ms == UINT64_MAX);
    machine_tick(&m, 1000 * LEASE_MS);
    assert_int_equal(raft_role(m.r), RAFT_LEADER);
    machine_close(&m);
}

static void a_leader_that_removes_itself_leads_until_that_commits(void **state)
{
    struct machine m;

    (void)state;
    lead_ready(&m, "a b c");
    machine_ack(&m, "c", 2);
    machine_remove(&m, "a");
    assert_int_equal(m.fx.refused, ERR_OK);
    machine_sync(&m);
    machine_ack(&m, "b", 3); /* one of two: the leader does not count itself */
    assert_int_equal(raft_role(m.r), RAFT_LEADER);
    assert_int_equal(raft_commit(m.r), 2);
    machine_ack(&m, "c", 3);
    assert_int_equal(raft_commit(m.r), 3);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->commit,
                     3); /* it says so before it goes */
    assert_non_null(
        find_message(m.fx.send_now, m.fx.n_send_now, RAFT_MSG_TIMEOUT_NOW, "b"));
    machine_tick(&m, 10 * HEARTBEAT_MS);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    machine_close(&m);
}

/* a follows b in a cluster of three, with its own removal in the log, uncommitted. */
static void follow_own_removal(struct machine *m)
{
    struct raft_config c;
    struct raft_entry e = {2, 2, RAFT_ENTRY_CONFIG, NULL};
    struct raft_message msg = message(RAFT_MSG_APPEND, "b", "a", 2);

    machine_open(m, "a");
    machine_bootstrap(m, "a b c");
    config_of(&c, "b c");
    e.payload = raft_config_encode(&c);
    msg.prev_index = msg.prev_term = 1;
    msg.entries = &e;
    msg.n_entries = 1;
    machine_receive(m, &msg);
    assert_true(m->fx.config_changed);
    assert_int_equal(raft_config(m->r)->n, 2);
    blob_unref(e.payload);
    raft_config_fini(&c);
}

static void truncation_reverts_a_change(void **state)
{
    struct machine m;
    const uint64_t terms[] = {3};

    (void)state;
    follow_own_removal(&m);
    machine_append(&m, "c", 3, 1, 1, terms, 1, 0);
    assert_int_equal(m.fx.truncate_from, 2);
    assert_true(m.fx.config_changed);
    assert_int_equal(raft_config(m.r)->n, 3);
    assert_int_equal(raft_config(m.r)->index, 1);
    machine_close(&m);
}

static void an_outgoing_voter_stands_until_its_removal_commits(void **state)
{
    struct machine m;
    const char *const others[] = {"b", "c"};

    (void)state;
    follow_own_removal(&m);
    machine_sync(&m);
    machine_elect(&m, others,
                  2); /* both of the two that are left; it does not count itself */
    machine_close(&m);

    follow_own_removal(&m);
    machine_append(&m, "b", 2, 2, 2, NULL, 0, 2);
    machine_tick(&m, 3 * HEARTBEAT_MS);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    assert_true(m.fx.deadline_ms == UINT64_MAX);
    machine_close(&m);
}

static void votes_of_a_removed_member_do_not_count(void **state)
{
    struct machine m;

    (void)state;
    follow_own_removal(&m);
    machine_sync(&m);
    machine_tick(&m, 3 * HEARTBEAT_MS);
    machine_vote(&m, "b", RAFT_MSG_PRE_VOTE_REPLY, 3);
    machine_vote(&m, "d", RAFT_MSG_PRE_VOTE_REPLY, 3);
    assert_int_equal(raft_role(m.r), RAFT_PRE_CANDIDATE);
    machine_close(&m);
}

static void a_node_that_becomes_a_voter_while_it_waits_starts_its_timer(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    machine_tick(&m, 0);
    machine_tick(&m, 3 * HEARTBEAT_MS);
    assert_true(m.fx.deadline_ms == UINT64_MAX);
    machine_bootstrap(&m, "a b c");
    assert_true(m.fx.deadline_ms < UINT64_MAX);
    machine_close(&m);
}

static void a_full_cluster_takes_nobody_more(void **state)
{
    struct raft_config c;
    char id[16];

    (void)state;
    raft_config_init(&c);
    for (int i = 0; i < RAFT_MEMBERS_MAX; i++) {
        snprintf(id, sizeof id, "n%d", i);
        assert_int_equal(raft_config_put(&c, id, "addr", true), ERR_OK);
    }
    assert_int_equal(raft_config_put(&c, "more", "addr", true), ERR_TOO_BIG);
    assert_int_equal(raft_config_put(&c, "n7", "elsewhere", true), ERR_OK);
    raft_config_fini(&c);
}

/* --- transfer ----------------------------------------------------------------------- */

static void a_transfer_brings_the_successor_up_to_date_first(void **state)
{
    struct machine m;

    (void)state;
    lead_ready(&m, "a b c");
    machine_propose(&m, "x");
    machine_sync(&m);
    machine_transfer(&m, "b");
    assert_int_equal(m.fx.refused, ERR_OK);
    assert_null(sent_now(&m, RAFT_MSG_TIMEOUT_NOW, "b"));
    machine_ack(&m, "b", 3);
    assert_non_null(sent_now(&m, RAFT_MSG_TIMEOUT_NOW, "b"));
    machine_tick(&m, 1);
    assert_null(sent_now(&m, RAFT_MSG_TIMEOUT_NOW, "b"));
    machine_tick(&m, HEARTBEAT_MS / 5);
    assert_non_null(sent_now(&m, RAFT_MSG_TIMEOUT_NOW, "b")); /* it may have been lost */
    machine_close(&m);
}

static void nothing_is_proposed_while_leadership_is_handed_over(void **state)
{
    struct machine m;

    (void)state;
    lead_ready(&m, "a b c");
    machine_transfer(&m, "c");
    machine_propose(&m, "x");
    assert_int_equal(m.fx.refused, ERR_TRANSFER);
    machine_put(&m, "d", true);
    assert_int_equal(m.fx.refused, ERR_TRANSFER);
    machine_transfer(&m, "b");
    assert_int_equal(m.fx.refused, ERR_TRANSFER);
    machine_close(&m);
}

static void a_transfer_ends_after_an_election_timeout(void **state)
{
    struct machine m;

    (void)state;
    lead_ready(&m, "a b c");
    machine_transfer(&m, "c");
    for (int i = 0; i < 3; i++) {
        machine_tick(&m, 25);
        machine_ack(&m, "b", 2);
        assert_int_equal(m.fx.transfer, RAFT_TRANSFER_NONE);
    }
    machine_tick(&m, 25);
    assert_int_equal(m.fx.transfer, RAFT_TRANSFER_FAILED);
    assert_int_equal(raft_role(m.r), RAFT_LEADER);
    machine_propose(&m, "x");
    assert_int_equal(m.fx.refused, ERR_OK);
    machine_close(&m);
}

static void a_transfer_is_done_when_the_successor_campaigns(void **state)
{
    struct machine m;
    struct raft_message ask = message(RAFT_MSG_VOTE, "b", "a", 3);

    (void)state;
    lead_ready(&m, "a b c");
    machine_transfer(&m, NULL); /* the most caught-up voter is b */
    assert_non_null(sent_now(&m, RAFT_MSG_TIMEOUT_NOW, "b"));
    ask.last_index = 2;
    ask.last_term = 2;
    ask.transfer = true;
    machine_receive(&m, &ask);
    assert_int_equal(m.fx.transfer, RAFT_TRANSFER_DONE);
    assert_true(sent_after(&m, RAFT_MSG_VOTE_REPLY, "b")->granted);
    machine_close(&m);
}

static void a_transfer_fails_with_the_lease_or_the_member(void **state)
{
    struct machine m;

    (void)state;
    lead_ready(&m, "a b c");
    machine_transfer(&m, "c");
    machine_tick(&m, LEASE_MS);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    assert_int_equal(m.fx.transfer, RAFT_TRANSFER_FAILED);
    machine_close(&m);
}

static void transfers_that_make_no_sense_are_refused(void **state)
{
    struct machine m;

    (void)state;
    lead_ready(&m, "a b c d/");
    machine_transfer(&m, "a");
    assert_int_equal(m.fx.refused, ERR_INVALID);
    machine_transfer(&m, "d");
    assert_int_equal(m.fx.refused, ERR_INVALID);
    machine_transfer(&m, "x");
    assert_int_equal(m.fx.refused, ERR_NOT_FOUND);
    machine_close(&m);

    machine_open(&m, "a");
    machine_transfer(&m, "b");
    assert_int_equal(m.fx.refused, ERR_NOT_LEADER);
    machine_bootstrap(&m, "a");
    machine_sync(&m);
    machine_transfer(&m, NULL);
    assert_int_equal(m.fx.refused, ERR_NOT_FOUND);
    machine_close(&m);
}

static void who_is_told_to_campaigns_without_pre_votes(void **state)
{
    struct machine m;
    struct raft_message now = message(RAFT_MSG_TIMEOUT_NOW, "b", "a", 2);
    struct raft_message stranger = message(RAFT_MSG_TIMEOUT_NOW, "c", "a", 2);

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c");
    machine_append(&m, "b", 2, 1, 1, NULL, 0, 0);
    machine_receive(&m, &stranger); /* only its leader may say so */
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    machine_receive(&m, &now);
    assert_int_equal(raft_role(m.r), RAFT_CANDIDATE);
    assert_int_equal(m.fx.term, 3);
    assert_true(sent_after(&m, RAFT_MSG_VOTE, "b")->transfer);
    machine_receive(&m, &now); /* again: of an older term now */
    assert_int_equal(raft_term(m.r), 3);
    machine_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_waits_for_the_own_term_to_commit),
        cmocka_unit_test(a_change_is_in_force_when_it_is_appended),
        cmocka_unit_test(one_change_at_a_time),
        cmocka_unit_test(changes_that_make_no_sense_are_refused),
        cmocka_unit_test(a_member_changes_its_address_and_its_vote),
        cmocka_unit_test(removing_all_others_leaves_a_quorum_of_one),
        cmocka_unit_test(a_leader_that_removes_itself_leads_until_that_commits),
        cmocka_unit_test(truncation_reverts_a_change),
        cmocka_unit_test(an_outgoing_voter_stands_until_its_removal_commits),
        cmocka_unit_test(votes_of_a_removed_member_do_not_count),
        cmocka_unit_test(a_node_that_becomes_a_voter_while_it_waits_starts_its_timer),
        cmocka_unit_test(a_full_cluster_takes_nobody_more),
        cmocka_unit_test(a_transfer_brings_the_successor_up_to_date_first),
        cmocka_unit_test(nothing_is_proposed_while_leadership_is_handed_over),
        cmocka_unit_test(a_transfer_ends_after_an_election_timeout),
        cmocka_unit_test(a_transfer_is_done_when_the_successor_campaigns),
        cmocka_unit_test(a_transfer_fails_with_the_lease_or_the_member),
        cmocka_unit_test(transfers_that_make_no_sense_are_refused),
        cmocka_unit_test(who_is_told_to_campaigns_without_pre_votes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
