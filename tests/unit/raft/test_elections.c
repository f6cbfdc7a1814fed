/* SPDX-License-Identifier: MIT */
/* Who may lead, and when: timers, pre-votes, votes, leases. */
#include "tests/unit/raft/machine.h"

static const char *const b_only[] = {"b"};

static void open_three(struct machine *m)
{
    machine_open(m, "a");
    machine_bootstrap(m, "a b c");
    machine_sync(m);
}

static void lead_three(struct machine *m)
{
    open_three(m);
    machine_elect(m, b_only, 1);
}

static struct raft_effects *ask_vote(struct machine *m, enum raft_message_type type,
                                     const char *from, uint64_t term, uint64_t last_index,
                                     uint64_t last_term)
{
    struct raft_message msg = message(type, from, "a", term);

    msg.last_index = last_index;
    msg.last_term = last_term;
    return machine_receive(m, &msg);
}

static void a_follower_waits_one_to_two_timeouts(void **state)
{
    struct machine m;

    (void)state;
    open_three(&m);
    assert_in_range(m.fx.deadline_ms - m.now, HEARTBEAT_MS, 2 * HEARTBEAT_MS);
    machine_tick(&m, HEARTBEAT_MS - 1);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    machine_tick(&m, HEARTBEAT_MS + 1);
    assert_int_equal(raft_role(m.r), RAFT_PRE_CANDIDATE);
    machine_close(&m);
}

static void a_pre_vote_changes_no_term(void **state)
{
    struct machine m;

    (void)state;
    open_three(&m);
    for (int i = 0; i < 10; i++) machine_tick(&m, 3 * HEARTBEAT_MS);
    assert_int_equal(raft_term(m.r), 1);
    assert_false(m.fx.save_hard);
    assert_non_null(sent_now(&m, RAFT_MSG_PRE_VOTE, "b"));
    assert_non_null(sent_now(&m, RAFT_MSG_PRE_VOTE, "c"));
    assert_int_equal(sent_now(&m, RAFT_MSG_PRE_VOTE, "b")->term, 2);
    assert_int_equal(sent_now(&m, RAFT_MSG_PRE_VOTE, "b")->last_index, 1);
    machine_close(&m);
}

static void a_candidate_asks_only_after_its_own_vote_is_on_disk(void **state)
{
    struct machine m;

    (void)state;
    open_three(&m);
    machine_tick(&m, 3 * HEARTBEAT_MS);
    machine_vote(&m, "b", RAFT_MSG_PRE_VOTE_REPLY, 2);
    assert_int_equal(raft_role(m.r), RAFT_CANDIDATE);
    assert_true(m.fx.save_hard);
    assert_int_equal(m.fx.term, 2);
    assert_string_equal(m.fx.vote, "a");
    assert_null(sent_now(&m, RAFT_MSG_VOTE, "b"));
    assert_non_null(sent_after(&m, RAFT_MSG_VOTE, "b"));
    assert_false(sent_after(&m, RAFT_MSG_VOTE, "b")->transfer);
    machine_vote(&m, "b", RAFT_MSG_VOTE_REPLY,
                 2); /* too early to be true, but our vote is missing */
    assert_int_equal(raft_role(m.r), RAFT_CANDIDATE);
    machine_sync(&m);
    assert_int_equal(raft_role(m.r), RAFT_LEADER);
    machine_close(&m);
}

static void a_majority_of_voters_is_needed(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c d e/ f/");
    machine_sync(&m);
    machine_tick(&m, 3 * HEARTBEAT_MS);
    machine_vote(&m, "b", RAFT_MSG_PRE_VOTE_REPLY, 2);
    machine_vote(&m, "b", RAFT_MSG_PRE_VOTE_REPLY, 2);
    machine_vote(&m, "e", RAFT_MSG_PRE_VOTE_REPLY, 2);
    machine_vote(&m, "x", RAFT_MSG_PRE_VOTE_REPLY, 2);
    assert_int_equal(raft_role(m.r),
                     RAFT_PRE_CANDIDATE); /* two of four; e does not vote */
    machine_vote(&m, "c", RAFT_MSG_PRE_VOTE_REPLY, 2);
    assert_int_equal(raft_role(m.r), RAFT_CANDIDATE);
    machine_close(&m);
}

static void a_leader_starts_with_a_noop_and_sends_it_ahead_of_its_sync(void **state)
{
    struct machine m;
    const struct raft_message *append;

    (void)state;
    lead_three(&m);
    append = sent_now(&m, RAFT_MSG_APPEND, "c");
    assert_non_null(append);
    assert_int_equal(append->n_entries, 1);
    assert_int_equal(append->entries[0].type, RAFT_ENTRY_NOOP);
    assert_int_equal(append->prev_index, 1);
    assert_int_equal(append->prev_term, 1);
    assert_int_equal(m.fx.n_append, 1);
    machine_close(&m);
}

static void a_split_vote_is_tried_again_in_the_next_term(void **state)
{
    struct machine m;

    (void)state;
    open_three(&m);
    machine_tick(&m, 3 * HEARTBEAT_MS);
    machine_vote(&m, "b", RAFT_MSG_PRE_VOTE_REPLY, 2);
    machine_sync(&m);
    machine_tick(&m, 3 * ELECTION_MS);
    assert_int_equal(raft_role(m.r), RAFT_PRE_CANDIDATE);
    assert_int_equal(sent_now(&m, RAFT_MSG_PRE_VOTE, "b")->term, 3);
    machine_vote(&m, "b", RAFT_MSG_VOTE_REPLY, 2); /* of the round before */
    assert_int_equal(raft_role(m.r), RAFT_PRE_CANDIDATE);
    machine_close(&m);
}

static void a_refusal_with_a_newer_term_is_followed_by_another_try(void **state)
{
    struct machine m;
    struct raft_message no = message(RAFT_MSG_PRE_VOTE_REPLY, "b", "a", 7);

    (void)state;
    open_three(&m);
    machine_tick(&m, 3 * HEARTBEAT_MS);
    machine_receive(&m, &no);
    assert_int_equal(raft_term(m.r), 7);
    assert_true(m.fx.term_changed);
    assert_int_equal(sent_now(&m, RAFT_MSG_PRE_VOTE, "c")->term, 8);
    machine_close(&m);
}

static void a_vote_is_given_once_a_term_and_waits_for_the_disk(void **state)
{
    struct machine m;

    (void)state;
    open_three(&m);
    ask_vote(&m, RAFT_MSG_VOTE, "b", 2, 1, 1);
    assert_true(m.fx.save_hard);
    assert_string_equal(m.fx.vote, "b");
    assert_null(sent_now(&m, RAFT_MSG_VOTE_REPLY, "b"));
    assert_true(sent_after(&m, RAFT_MSG_VOTE_REPLY, "b")->granted);
    ask_vote(&m, RAFT_MSG_VOTE, "c", 2, 9, 1);
    assert_false(sent_now(&m, RAFT_MSG_VOTE_REPLY, "c")->granted);
    ask_vote(&m, RAFT_MSG_VOTE, "b", 2, 1,
             1); /* the reply was lost: again, behind the same sync */
    assert_true(sent_after(&m, RAFT_MSG_VOTE_REPLY, "b")->granted);
    assert_false(m.fx.save_hard);
    machine_close(&m);
}

static void a_vote_survives_a_restart(void **state)
{
    struct machine m;
    struct raft_options o = machine_options("a");
    struct raft_restored found = {.term = 5, .vote = "c"};

    (void)state;
    machine_open_with(&m, &o, &found);
    ask_vote(&m, RAFT_MSG_VOTE, "b", 5, 9, 4);
    assert_false(sent_now(&m, RAFT_MSG_VOTE_REPLY, "b")->granted);
    ask_vote(&m, RAFT_MSG_VOTE, "c", 5, 9, 4);
    assert_true(sent_after(&m, RAFT_MSG_VOTE_REPLY, "c")->granted);
    machine_close(&m);
}

static void nobody_votes_for_a_shorter_or_older_log(void **state)
{
    struct machine m;
    const uint64_t terms[] = {2, 3, 3};

    (void)state;
    open_three(&m);
    machine_append(&m, "b", 3, 1, 1, terms, 3, 0);
    machine_tick(&m, HEARTBEAT_MS); /* no longer hears it */
    ask_vote(&m, RAFT_MSG_PRE_VOTE, "c", 4, 3, 3);
    assert_false(sent_now(&m, RAFT_MSG_PRE_VOTE_REPLY, "c")->granted);
    ask_vote(&m, RAFT_MSG_VOTE, "c", 4, 9, 2);
    assert_false(sent_now(&m, RAFT_MSG_VOTE_REPLY, "c")->granted);
    assert_int_equal(raft_term(m.r), 4);
    ask_vote(&m, RAFT_MSG_VOTE, "c", 5, 4, 3);
    assert_true(sent_after(&m, RAFT_MSG_VOTE_REPLY, "c")->granted);
    ask_vote(&m, RAFT_MSG_VOTE, "b", 6, 2, 4);
    assert_true(sent_after(&m, RAFT_MSG_VOTE_REPLY, "b")->granted);
    machine_close(&m);
}

static void who_hears_a_leader_refuses_and_keeps_its_term(void **state)
{
    struct machine m;

    (void)state;
    open_three(&m);
    machine_append(&m, "b", 2, 1, 1, NULL, 0, 0);
    machine_tick(&m, HEARTBEAT_MS - 1);
    ask_vote(&m, RAFT_MSG_PRE_VOTE, "c", 9, 9, 9);
    assert_false(sent_now(&m, RAFT_MSG_PRE_VOTE_REPLY, "c")->granted);
    ask_vote(&m, RAFT_MSG_VOTE, "c", 9, 9, 9);
    assert_false(sent_now(&m, RAFT_MSG_VOTE_REPLY, "c")->granted);
    assert_int_equal(raft_term(m.r), 2);
    assert_string_equal(raft_leader(m.r), "b");
    machine_close(&m);
}

static void a_leader_is_not_deposed_by_a_stray_candidate(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    ask_vote(&m, RAFT_MSG_VOTE, "c", 9, 9, 9);
    assert_int_equal(raft_role(m.r), RAFT_LEADER);
    assert_int_equal(raft_term(m.r), 2);
    machine_close(&m);
}

static void a_vote_on_transfer_overrides_the_lease(void **state)
{
    struct machine m;
    struct raft_message ask = message(RAFT_MSG_VOTE, "c", "a", 9);

    (void)state;
    lead_three(&m);
    ask.transfer = true;
    ask.last_index = ask.last_term = 9;
    machine_receive(&m, &ask);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    assert_true(sent_after(&m, RAFT_MSG_VOTE_REPLY, "c")->granted);
    machine_close(&m);
}

static void a_leader_without_a_quorum_steps_down_when_its_lease_ends(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_tick(&m, LEASE_MS / 2);
    machine_ack(&m, "b", 2);
    machine_tick(&m, LEASE_MS - 1);
    assert_int_equal(raft_role(m.r), RAFT_LEADER);
    assert_true(m.fx.deadline_ms <= m.now + 1);
    machine_tick(&m, 1);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    assert_true(m.fx.role_changed);
    assert_string_equal(raft_leader(m.r), "");
    assert_int_equal(raft_term(m.r), 2);
    machine_close(&m);
}

static void contact_counts_from_the_time_of_sending(void **state)
{
    struct machine m;
    struct raft_message late;
    struct raft_peer_view view;

    (void)state;
    lead_three(&m);
    late = message(RAFT_MSG_APPEND_REPLY, "b", "a", 2);
    late.accepted = true;
    late.match = 2;
    late.sent_ms = m.now; /* answered much later */
    machine_tick(&m, LEASE_MS - 1);
    machine_receive(&m, &late);
    assert_true(raft_peer(m.r, 0, &view));
    assert_int_equal(view.last_contact_ms, late.sent_ms);
    machine_tick(&m, 1);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    machine_close(&m);
}

static void any_answer_keeps_the_lease_even_a_refusal(void **state)
{
    struct machine m;
    struct raft_message no;

    (void)state;
    lead_three(&m);
    machine_tick(&m, LEASE_MS - 1);
    no = message(RAFT_MSG_APPEND_REPLY, "b", "a", 2);
    no.conflict_index = 1;
    no.sent_ms = m.now;
    machine_receive(&m, &no);
    machine_tick(&m, LEASE_MS - 1);
    assert_int_equal(raft_role(m.r), RAFT_LEADER);
    machine_close(&m);
}

static void a_leader_hears_of_a_newer_term_and_follows(void **state)
{
    struct machine m;
    struct raft_message no = message(RAFT_MSG_APPEND_REPLY, "b", "a", 5);

    (void)state;
    lead_three(&m);
    machine_receive(&m, &no);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    assert_int_equal(raft_term(m.r), 5);
    assert_int_equal(raft_noop_index(m.r), 0);
    machine_propose(&m, "x");
    assert_int_equal(m.fx.refused, ERR_NOT_LEADER);
    machine_close(&m);
}

static void a_stale_leader_is_told(void **state)
{
    struct machine m;

    (void)state;
    open_three(&m);
    machine_append(&m, "b", 4, 1, 1, NULL, 0, 0);
    machine_append(&m, "c", 3, 1, 1, NULL, 0, 0);
    assert_false(sent_now(&m, RAFT_MSG_APPEND_REPLY, "c")->accepted);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND_REPLY, "c")->term, 4);
    assert_string_equal(raft_leader(m.r), "b");
    machine_close(&m);
}

static void a_non_voter_never_campaigns_but_forgets_a_silent_leader(void **state)
{
    struct machine m;
    struct raft_config c;
    struct raft_options o = machine_options("a");
    struct raft_restored found = {
        .term = 2, .snapshot_index = 4, .snapshot_term = 2, .config = &c};

    (void)state;
    config_of(&c, "a/ b c");
    machine_open_with(&m, &o, &found);
    machine_append(&m, "b", 2, 4, 2, NULL, 0, 4);
    assert_string_equal(raft_leader(m.r), "b");
    assert_int_equal(raft_last_contact_ms(m.r), m.now);
    machine_tick(&m, 3 * HEARTBEAT_MS);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    assert_true(m.fx.leader_changed);
    assert_string_equal(raft_leader(m.r), "");
    assert_true(m.fx.deadline_ms == UINT64_MAX);
    machine_append(&m, "b", 2, 4, 2, NULL, 0, 4);
    assert_true(m.fx.deadline_ms < UINT64_MAX);
    raft_config_fini(&c);
    machine_close(&m);
}

static void roles_have_the_names_users_know(void **state)
{
    (void)state;
    assert_string_equal(raft_role_name(RAFT_FOLLOWER), "Follower");
    assert_string_equal(raft_role_name(RAFT_PRE_CANDIDATE), "Candidate");
    assert_string_equal(raft_role_name(RAFT_CANDIDATE), "Candidate");
    assert_string_equal(raft_role_name(RAFT_LEADER), "Leader");
}

static void the_trace_tells_the_story_newest_first(void **state)
{
    struct machine m;
    char text[1000][120];
    size_t n;

    (void)state;
    lead_three(&m);
    n = raft_trace(m.r, text, 1000);
    assert_int_equal(n, 6);
    assert_string_equal(text[0], "1300 leads: term=2 no-op=2");
    assert_string_equal(text[1], "1300 campaigns: term=2 last=1");
    assert_string_equal(text[2], "1300 moves to a newer term: term=2 was=1");
    assert_string_equal(text[3], "1300 asks for pre-votes: for term=2 last=1");
    assert_string_equal(text[4], "1000 takes a configuration: index=1 voters=3");
    assert_string_equal(text[5], "1000 started: term=0 last=0");
    for (int i = 0; i < 2000; i++) ask_vote(&m, RAFT_MSG_VOTE, "c", 9, 9, 9);
    assert_int_equal(raft_trace(m.r, text, 1000), 1000);
    assert_string_equal(text[0], "1300 refuses its vote to c, term=9 its last=9");
    assert_int_equal(raft_trace(m.r, text, 3), 3);
    machine_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_follower_waits_one_to_two_timeouts),
        cmocka_unit_test(a_pre_vote_changes_no_term),
        cmocka_unit_test(a_candidate_asks_only_after_its_own_vote_is_on_disk),
        cmocka_unit_test(a_majority_of_voters_is_needed),
        cmocka_unit_test(a_leader_starts_with_a_noop_and_sends_it_ahead_of_its_sync),
        cmocka_unit_test(a_split_vote_is_tried_again_in_the_next_term),
        cmocka_unit_test(a_refusal_with_a_newer_term_is_followed_by_another_try),
        cmocka_unit_test(a_vote_is_given_once_a_term_and_waits_for_the_disk),
        cmocka_unit_test(a_vote_survives_a_restart),
        cmocka_unit_test(nobody_votes_for_a_shorter_or_older_log),
        cmocka_unit_test(who_hears_a_leader_refuses_and_keeps_its_term),
        cmocka_unit_test(a_leader_is_not_deposed_by_a_stray_candidate),
        cmocka_unit_test(a_vote_on_transfer_overrides_the_lease),
        cmocka_unit_test(a_leader_without_a_quorum_steps_down_when_its_lease_ends),
        cmocka_unit_test(contact_counts_from_the_time_of_sending),
        cmocka_unit_test(any_answer_keeps_the_lease_even_a_refusal),
        cmocka_unit_test(a_leader_hears_of_a_newer_term_and_follows),
        cmocka_unit_test(a_stale_leader_is_told),
        cmocka_unit_test(a_non_voter_never_campaigns_but_forgets_a_silent_leader),
        cmocka_unit_test(roles_have_the_names_users_know),
        cmocka_unit_test(the_trace_tells_the_story_newest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
