/* SPDX-License-Identifier: MIT */
/* Taking, offering and installing snapshots, as far as Raft is concerned. */
#include "tests/unit/raft/machine.h"

static const char *const b_only[] = {"b"};

static void take(struct machine *m, uint64_t index, uint64_t trailing)
{
    struct raft_event e = {.type = RAFT_SNAPSHOT_TAKEN,
                           .u.snapshot = {.index = index,
                                          .term = raft_term_of(m->r, index),
                                          .config = raft_config_at(m->r, index),
                                          .trailing = trailing}};

    machine_step(m, &e);
}

static void install(struct machine *m, uint64_t index, uint64_t term, const char *members)
{
    struct raft_config c;
    struct raft_event e = {.type = RAFT_SNAPSHOT_INSTALLED,
                           .u.snapshot = {.index = index, .term = term, .config = &c}};

    config_of(&c, members);
    machine_step(m, &e);
    raft_config_fini(&c);
}

static void sent(struct machine *m, const char *peer, uint64_t index, bool ok)
{
    struct raft_event e = {.type = RAFT_SNAPSHOT_SENT, .u.sent = {peer, index, ok}};

    machine_step(m, &e);
}

static struct raft_effects *refuse(struct machine *m, const char *from,
                                   uint64_t conflict_index)
{
    struct raft_message no = message(RAFT_MSG_APPEND_REPLY, from, "a", raft_term(m->r));

    no.conflict_index = conflict_index;
    no.sent_ms = m->now;
    return machine_receive(m, &no);
}

/* Leads three with entries 1 - 10 committed on a and c, and 1 - 8 in a snapshot. */
static void lead_with_snapshot_and(struct machine *m, const struct raft_options *o)
{
    machine_open_with(m, o, NULL);
    machine_bootstrap(m, "a b c");
    machine_sync(m);
    machine_elect(m, b_only, 1);
    for (int i = 0; i < 8; i++) machine_propose(m, "x");
    machine_sync(m);
    machine_ack(m, "c", 10);
    assert_int_equal(raft_commit(m->r), 10);
    take(m, 8, 2);
}

static void lead_with_snapshot(struct machine *m)
{
    struct raft_options o = machine_options("a");

    lead_with_snapshot_and(m, &o);
}

static void a_snapshot_lets_the_log_start_later(void **state)
{
    struct machine m;

    (void)state;
    lead_with_snapshot(&m);
    assert_int_equal(m.fx.drop_before, 7);
    assert_int_equal(raft_first_index(m.r), 7);
    assert_int_equal(raft_snapshot_index(m.r), 8);
    assert_int_equal(raft_snapshot_term(m.r), 2);
    assert_int_equal(raft_term_of(m.r, 6),
                     2); /* the one before the first is still known */
    assert_int_equal(raft_term_of(m.r, 5), 0);
    assert_int_equal(raft_term_of(m.r, 7), 2);
    assert_null(raft_cached(m.r, 6));
    assert_non_null(raft_cached(m.r, 7));
    take(&m, 8, 0);
    assert_int_equal(m.fx.drop_before, 9);
    take(&m, 10, 100);
    assert_int_equal(m.fx.drop_before, 0);
    assert_int_equal(raft_snapshot_index(m.r), 10);
    machine_close(&m);
}

static void a_snapshot_of_what_is_not_committed_is_ignored(void **state)
{
    struct machine m;
    struct raft_config c = {0};
    struct raft_event e = {.type = RAFT_SNAPSHOT_TAKEN,
                           .u.snapshot = {.index = 9, .term = 1, .config = &c}};

    (void)state;
    lead_with_snapshot(&m);
    machine_propose(&m, "x");
    take(&m, 11, 0);
    assert_int_equal(raft_snapshot_index(m.r), 8);
    take(&m, 7, 0);
    assert_int_equal(raft_snapshot_index(m.r), 8);
    machine_step(&m, &e); /* another term than ours */
    assert_int_equal(raft_snapshot_index(m.r), 8);
    machine_close(&m);
}

static void configurations_before_the_snapshot_are_forgotten(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a");
    machine_sync(&m);
    machine_sync(&m);
    machine_put(&m, "b", false); /* 3 */
    machine_sync(&m);
    machine_put(&m, "c", false); /* 4 */
    machine_sync(&m);
    assert_int_equal(raft_config_at(m.r, 1)->n, 1);
    take(&m, 3, 0);
    assert_null(raft_config_at(m.r, 2));
    assert_int_equal(raft_config_at(m.r, 3)->n, 2);
    assert_int_equal(raft_config_at(m.r, 4)->n, 3);
    machine_close(&m);
}

static void a_follower_behind_the_log_is_sent_a_snapshot(void **state)
{
    struct machine m;
    struct raft_peer_view view;
    const struct raft_message *offer;

    (void)state;
    lead_with_snapshot(&m);
    assert_int_equal(m.fx.n_snapshots, 0); /* nobody knows yet whether b is there */
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 0);
    machine_ack(&m, "b", 1); /* it is, and has committed 1 */
    offer = sent_now(&m, RAFT_MSG_SNAPSHOT, "b");
    assert_non_null(offer);
    assert_int_equal(offer->snap_index, 8);
    assert_int_equal(offer->snap_term, 2);
    assert_int_equal(m.fx.n_snapshots, 1);
    assert_string_equal(m.fx.snapshots[0].peer, "b");
    assert_int_equal(m.fx.snapshots[0].min_index, 6);
    raft_peer(m.r, 0, &view);
    assert_true(view.snapshotting);

    machine_tick(&m,
                 HEARTBEAT_MS / 5); /* heartbeats go on, and say nothing about the log */
    assert_int_equal(m.fx.n_snapshots, 0);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 0);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 0);
    machine_ack(&m, "b", 1);
    raft_peer(m.r, 0, &view);
    assert_true(view.snapshotting);
    refuse(&m, "b", 3); /* old news */
    assert_null(sent_now(&m, RAFT_MSG_APPEND, "b"));
    machine_close(&m);
}

static void a_refusal_that_leads_before_the_log_calls_for_a_snapshot(void **state)
{
    struct machine m;

    (void)state;
    lead_with_snapshot(&m);
    machine_ack(&m, "b", 10);
    machine_tick(&m, 1);
    refuse(&m, "b", 2); /* it has lost its disk */
    assert_int_equal(m.fx.n_snapshots, 1);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 0);
    machine_close(&m);
}

static void who_is_silent_is_sent_no_snapshot(void **state)
{
    struct machine m;

    (void)state;
    lead_with_snapshot(&m);
    machine_ack(&m, "b", 1);
    sent(&m, "b", 8, false);
    for (int i = 0; i < 20; i++) {
        machine_tick(&m, HEARTBEAT_MS / 5);
        machine_ack(&m, "c", 10);
        if (i > 5) assert_int_equal(m.fx.n_snapshots, 0);
    }
    machine_close(&m);
}

static void after_the_snapshot_appending_goes_on(void **state)
{
    struct machine m;
    struct raft_message done;

    (void)state;
    lead_with_snapshot(&m);
    machine_ack(&m, "b", 1);
    sent(&m, "b", 8, true);
    assert_null(sent_now(&m, RAFT_MSG_APPEND, "b"));
    done = message(RAFT_MSG_SNAPSHOT_REPLY, "b", "a", raft_term(m.r));
    machine_receive(&m, &done); /* not accepted */
    assert_null(sent_now(&m, RAFT_MSG_APPEND, "b"));
    done.accepted = true;
    done.match = 8;
    machine_receive(&m, &done);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 8);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 2);
    machine_close(&m);
}

/* The pause is for offering it again, not for reading what comes after it. */
static void after_the_snapshot_entries_are_read_at_once(void **state)
{
    struct raft_options o = machine_options("a");

    (void)state;
    o.cache_bytes = 1;
    for (int sent_first = 0; sent_first < 2; sent_first++) {
        struct machine m;
        struct raft_message done;
        struct raft_entry entry = {9, 2, RAFT_ENTRY_APP, NULL};
        struct raft_event loaded = {.type = RAFT_LOADED,
                                    .u.loaded = {.peer = "b", .entries = &entry, .n = 1}};

        lead_with_snapshot_and(&m, &o);
        machine_propose(&m, "x");
        machine_sync(&m);
        machine_ack(&m, "c", 11);
        machine_tick(&m, 1); /* 9 and 10 leave the cache */
        assert_null(raft_cached(m.r, 10));
        machine_ack(&m, "b", 1);
        assert_int_equal(m.fx.n_snapshots, 1);
        if (sent_first) sent(&m, "b", 8, true);
        done = message(RAFT_MSG_SNAPSHOT_REPLY, "b", "a", raft_term(m.r));
        done.accepted = true;
        done.match = 8;
        machine_receive(&m, &done);
        assert_int_equal(m.fx.n_loads, 1);
        if (!sent_first) sent(&m, "b", 8, true);
        entry.payload = blob_copy("x", 1);
        machine_step(&m, &loaded);
        assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 1);
        assert_int_equal(m.fx.n_loads, 1); /* 10 */
        machine_close(&m);
    }
}

static void a_lost_snapshot_reply_is_made_up_by_the_next_heartbeat(void **state)
{
    struct machine m;

    (void)state;
    lead_with_snapshot(&m);
    machine_ack(&m, "b", 1);
    machine_ack(&m, "b", 8);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 8);
    machine_close(&m);
}

static void a_failed_stream_is_tried_again_a_little_later(void **state)
{
    struct machine m;
    struct raft_event lost = {.type = RAFT_PEER_LOST, .u.peer = "b"};

    (void)state;
    lead_with_snapshot(&m);
    machine_ack(&m, "b", 1);
    machine_step(&m, &lost);
    assert_int_equal(m.fx.n_snapshots, 0);
    sent(&m, "b", 8, false);
    assert_int_equal(m.fx.n_snapshots, 0);
    sent(&m, "x", 8, false);
    machine_tick(&m, HEARTBEAT_MS / 5);
    assert_int_equal(m.fx.n_snapshots, 1);
    machine_close(&m);
}

static void an_offer_is_taken_by_who_lacks_it(void **state)
{
    struct machine m;
    struct raft_message offer = message(RAFT_MSG_SNAPSHOT, "b", "a", 3);
    const uint64_t terms[] = {2, 2};

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c");
    machine_append(&m, "b", 2, 1, 1, terms, 2, 3);
    offer.snap_index = 9;
    offer.snap_term = 2;
    machine_receive(&m, &offer);
    assert_true(m.fx.install_snapshot);
    assert_string_equal(m.fx.offered.from, "b");
    assert_int_equal(m.fx.offered.index, 9);
    assert_int_equal(m.fx.offered.term, 2);
    assert_string_equal(raft_leader(m.r), "b");
    assert_int_equal(raft_term(m.r), 3);
    offer.snap_index = 3; /* we have that */
    machine_receive(&m, &offer);
    assert_false(m.fx.install_snapshot);
    assert_int_equal(sent_after(&m, RAFT_MSG_SNAPSHOT_REPLY, "b")->match, 3);
    offer.snap_index = 0; /* nonsense */
    machine_receive(&m, &offer);
    assert_false(m.fx.install_snapshot);
    offer.snap_index = 9;
    offer.term = 2; /* of a leader that is none any more */
    machine_receive(&m, &offer);
    assert_false(m.fx.install_snapshot);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND_REPLY, "b")->term, 3);
    machine_close(&m);
}

/* Over a connection of its own, so perhaps before any message of its leader. */
static void a_snapshot_of_a_later_term_teaches_that_term(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    install(&m, 9, 3, "a b c");
    assert_int_equal(raft_term(m.r), 3);
    assert_true(m.fx.save_hard);
    assert_int_equal(m.fx.term, 3);
    assert_int_equal(raft_last_index(m.r), 9);
    machine_close(&m);
}

static void an_installed_snapshot_replaces_the_log(void **state)
{
    struct machine m;
    const uint64_t terms[] = {2, 2};

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c");
    machine_append(&m, "b", 3, 1, 1, terms, 2, 2);
    machine_sync(&m);
    install(&m, 9, 3, "a b c d");
    assert_true(m.fx.reset_log);
    assert_int_equal(m.fx.reset_index, 9);
    assert_int_equal(m.fx.reset_term, 3);
    assert_int_equal(m.fx.apply_to, 9);
    assert_int_equal(raft_commit(m.r), 9);
    assert_int_equal(raft_last_index(m.r), 9);
    assert_int_equal(raft_last_term(m.r), 3);
    assert_int_equal(raft_first_index(m.r), 10);
    assert_true(m.fx.config_changed);
    assert_int_equal(raft_config(m.r)->n, 4);
    assert_int_equal(sent_after(&m, RAFT_MSG_SNAPSHOT_REPLY, "b")->match, 9);
    machine_append(&m, "b", 3, 9, 3, NULL, 0, 9);
    assert_true(sent_now(&m, RAFT_MSG_APPEND_REPLY, "b")->accepted);
    install(&m, 5, 2, "a b c"); /* an old one */
    assert_int_equal(raft_snapshot_index(m.r), 9);
    machine_close(&m);
}

static void a_log_that_holds_the_snapshots_end_goes_on(void **state)
{
    struct machine m;
    const uint64_t terms[] = {2, 2, 2, 2};

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c");
    machine_append(&m, "b", 2, 1, 1, terms, 4, 2);
    install(&m, 4, 2, "a b c");
    assert_false(m.fx.reset_log);
    assert_int_equal(m.fx.drop_before, 5);
    assert_int_equal(raft_last_index(m.r), 5);
    assert_int_equal(raft_commit(m.r), 4);
    assert_int_equal(m.fx.apply_to, 4); /* the snapshot is durable, whatever the log is */
    machine_close(&m);
}

static void a_snapshot_that_contradicts_what_is_committed_is_ignored(void **state)
{
    struct machine m;
    const uint64_t terms[] = {2, 2, 2, 2};

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c");
    machine_append(&m, "b", 2, 1, 1, terms, 4, 5);
    install(&m, 4, 1, "a b c");
    assert_false(m.fx.reset_log);
    assert_int_equal(raft_snapshot_index(m.r), 0);
    machine_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_lets_the_log_start_later),
        cmocka_unit_test(a_snapshot_of_what_is_not_committed_is_ignored),
        cmocka_unit_test(configurations_before_the_snapshot_are_forgotten),
        cmocka_unit_test(a_follower_behind_the_log_is_sent_a_snapshot),
        cmocka_unit_test(a_refusal_that_leads_before_the_log_calls_for_a_snapshot),
        cmocka_unit_test(who_is_silent_is_sent_no_snapshot),
        cmocka_unit_test(after_the_snapshot_appending_goes_on),
        cmocka_unit_test(after_the_snapshot_entries_are_read_at_once),
        cmocka_unit_test(a_lost_snapshot_reply_is_made_up_by_the_next_heartbeat),
        cmocka_unit_test(a_failed_stream_is_tried_again_a_little_later),
        cmocka_unit_test(an_offer_is_taken_by_who_lacks_it),
        cmocka_unit_test(a_snapshot_of_a_later_term_teaches_that_term),
        cmocka_unit_test(an_installed_snapshot_replaces_the_log),
        cmocka_unit_test(a_log_that_holds_the_snapshots_end_goes_on),
        cmocka_unit_test(a_snapshot_that_contradicts_what_is_committed_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
