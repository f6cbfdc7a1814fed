/* SPDX-License-Identifier: MIT */
/* Appending, from both ends: conflicts, acks, the window, what may commit. */
#include "tests/unit/raft/machine.h"

static const char *const b_only[] = {"b"};

static void follow_with(struct machine *m, const uint64_t *terms, size_t n)
{
    machine_open(m, "a");
    machine_bootstrap(m, "a b c");
    machine_append(m, "b", terms[n - 1], 1, 1, terms, n, 0);
    machine_sync(m);
    assert_int_equal(raft_last_index(m->r), n + 1);
}

static void lead_three_with(struct machine *m, const struct raft_options *o)
{
    machine_open_with(m, o, NULL);
    machine_bootstrap(m, "a b c");
    machine_sync(m);
    machine_elect(m, b_only, 1);
    machine_sync(m);
}

static void lead_three(struct machine *m)
{
    struct raft_options o = machine_options("a");

    lead_three_with(m, &o);
}

static struct raft_effects *refuse(struct machine *m, const char *from,
                                   uint64_t conflict_term, uint64_t conflict_index)
{
    struct raft_message no = message(RAFT_MSG_APPEND_REPLY, from, "a", raft_term(m->r));

    no.conflict_term = conflict_term;
    no.conflict_index = conflict_index;
    no.sent_ms = m->now;
    return machine_receive(m, &no);
}

/* --- the follower ------------------------------------------------------------------- */

static void an_ack_waits_for_the_disk(void **state)
{
    struct machine m;
    const uint64_t terms[] = {2, 2};

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c");
    machine_append(&m, "b", 2, 1, 1, terms, 2, 3);
    assert_int_equal(m.fx.n_append, 2);
    assert_null(sent_now(&m, RAFT_MSG_APPEND_REPLY, "b"));
    assert_true(sent_after(&m, RAFT_MSG_APPEND_REPLY, "b")->accepted);
    assert_int_equal(sent_after(&m, RAFT_MSG_APPEND_REPLY, "b")->match, 3);
    assert_int_equal(raft_commit(m.r), 3);
    assert_int_equal(m.fx.apply_to, 0); /* committed, but not on our disk */
    machine_sync(&m);
    assert_int_equal(m.fx.apply_to, 3);
    machine_close(&m);
}

static void an_ack_that_writes_nothing_still_waits_behind_the_sync(void **state)
{
    struct machine m;
    const uint64_t terms[] = {2, 2};
    uint64_t ticket;

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c");
    machine_append(&m, "b", 2, 1, 1, terms, 2, 0);
    ticket = m.fx.ticket;
    machine_append(&m, "b", 2, 1, 1, terms, 2, 0); /* the same again */
    assert_int_equal(m.fx.n_append, 0);
    assert_int_equal(m.fx.ticket, ticket);
    assert_int_equal(m.fx.n_send_now, 0);
    assert_int_equal(sent_after(&m, RAFT_MSG_APPEND_REPLY, "b")->match, 3);
    machine_close(&m);
}

static void replies_echo_what_the_leader_sent(void **state)
{
    struct machine m;
    struct raft_message beat = message(RAFT_MSG_APPEND, "b", "a", 2);
    struct raft_event applied = {.type = RAFT_APPLIED, .u.applied = {1, 0xabcd}};
    const struct raft_message *reply;

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c");
    machine_step(&m, &applied);
    beat.prev_index = beat.prev_term = 1;
    beat.read = 77;
    beat.sent_ms = 123456;
    machine_receive(&m, &beat);
    reply = sent_after(&m, RAFT_MSG_APPEND_REPLY, "b");
    assert_int_equal(reply->read, 77);
    assert_int_equal(reply->sent_ms, 123456);
    assert_int_equal(reply->hash_index, 1);
    assert_int_equal(reply->hash, 0xabcd);
    machine_close(&m);
}

static void a_gap_is_refused_with_our_end(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 2}, more[] = {2};

    (void)state;
    follow_with(&m, have, 2);
    machine_append(&m, "b", 2, 9, 2, more, 1, 0);
    assert_int_equal(m.fx.n_append, 0);
    assert_false(sent_now(&m, RAFT_MSG_APPEND_REPLY, "b")->accepted);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND_REPLY, "b")->conflict_term, 0);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND_REPLY, "b")->conflict_index, 4);
    machine_close(&m);
}

static void a_conflict_is_refused_with_the_start_of_its_term(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 3, 3, 3};

    (void)state;
    follow_with(&m, have, 4);
    machine_append(&m, "c", 5, 5, 4, NULL, 0, 0);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND_REPLY, "c")->conflict_term, 3);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND_REPLY, "c")->conflict_index, 3);
    machine_close(&m);
}

static void conflicting_entries_are_replaced(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 3, 3, 3}, new[] = {2, 4};

    (void)state;
    follow_with(&m, have, 4);
    machine_append(&m, "c", 5, 1, 1, new, 2, 0);
    assert_int_equal(m.fx.truncate_from, 3);
    assert_int_equal(m.fx.n_append, 1);
    assert_int_equal(m.fx.append[0].index, 3);
    assert_int_equal(m.fx.append[0].term, 4);
    assert_int_equal(raft_last_index(m.r), 3);
    assert_int_equal(sent_after(&m, RAFT_MSG_APPEND_REPLY, "c")->match, 3);
    machine_close(&m);
}

static void an_old_append_truncates_nothing(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 2, 2, 2}, old[] = {2};

    (void)state;
    follow_with(&m, have, 4);
    machine_append(&m, "b", 2, 1, 1, old, 1, 0);
    assert_int_equal(m.fx.truncate_from, 0);
    assert_int_equal(raft_last_index(m.r), 5);
    machine_close(&m);
}

static void committed_entries_are_never_cut_off(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 2, 2}, wrong[] = {3, 3, 3};

    (void)state;
    follow_with(&m, have, 3);
    machine_append(&m, "b", 2, 4, 2, NULL, 0, 3);
    assert_int_equal(raft_commit(m.r), 3);
    machine_append(&m, "c", 3, 1, 1, wrong, 3, 0); /* no leader can send this */
    assert_int_equal(m.fx.truncate_from, 4);
    assert_int_equal(raft_term_of(m.r, 3), 2);
    machine_close(&m);
}

static void a_tardy_ticket_does_not_vouch_for_what_replaced_its_entries(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 2, 2}, new[] = {4, 4, 4};
    uint64_t first;

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c");
    machine_append(&m, "b", 2, 1, 1, have, 3, 0);
    first = m.fx.ticket;
    machine_append(&m, "c", 4, 1, 1, new, 3, 4); /* cuts them off, and commits its own */
    machine_sync_upto(&m, first);
    assert_int_equal(m.fx.apply_to, 1);
    machine_sync(&m);
    assert_int_equal(m.fx.apply_to, 4);
    machine_close(&m);
}

static void the_commit_index_goes_no_further_than_what_is_known_equal(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 2, 2};

    (void)state;
    follow_with(&m, have, 3);
    machine_append(&m, "c", 3, 2, 2, NULL, 0, 4); /* 3 and 4 may differ from its own */
    assert_int_equal(raft_commit(m.r), 2);
    machine_close(&m);
}

static void a_heartbeat_below_the_commit_index_tells_how_far_we_are(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 2, 2};

    (void)state;
    follow_with(&m, have, 3);
    machine_append(&m, "b", 2, 4, 2, NULL, 0, 4);
    machine_append(&m, "b", 2, 0, 0, NULL, 0, 4);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND_REPLY, "b")->match, 4);
    machine_close(&m);
}

/* A leader whose followers write megabytes must keep its lease meanwhile. */
static void a_heartbeat_is_answered_at_once_with_what_is_durable(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 2, 2}, more[] = {2, 2};
    const struct raft_message *reply;

    (void)state;
    follow_with(&m, have, 3);
    machine_append(&m, "b", 2, 4, 2, more, 2, 4);
    assert_int_equal(sent_after(&m, RAFT_MSG_APPEND_REPLY, "b")->match, 6);
    machine_append(&m, "b", 2, 6, 2, NULL, 0, 4);
    reply = sent_now(&m, RAFT_MSG_APPEND_REPLY, "b");
    assert_non_null(reply);
    assert_true(reply->accepted);
    assert_int_equal(reply->match, 4);
    assert_int_equal(sent_after(&m, RAFT_MSG_APPEND_REPLY, "b")->match, 6);
    machine_sync(&m);
    machine_append(&m, "b", 2, 6, 2, NULL, 0, 4);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND_REPLY, "b")->match, 6);
    assert_null(sent_after(&m, RAFT_MSG_APPEND_REPLY, "b"));
    machine_close(&m);
}

static void nothing_is_answered_before_the_term_is_durable(void **state)
{
    struct machine m;
    const uint64_t have[] = {2, 2, 2};

    (void)state;
    follow_with(&m, have, 3);
    machine_append(&m, "c", 5, 4, 2, NULL, 0, 4);
    machine_append(&m, "c", 5, 4, 2, NULL, 0, 4);
    assert_null(sent_now(&m, RAFT_MSG_APPEND_REPLY, "c"));
    assert_int_equal(sent_after(&m, RAFT_MSG_APPEND_REPLY, "c")->match, 4);
    machine_close(&m);
}

/* --- the leader --------------------------------------------------------------------- */

static void a_majority_commits_with_the_leaders_disk_as_one_of_it(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_propose(&m, "x");
    machine_sync(&m);
    assert_int_equal(raft_commit(m.r), 0);
    machine_ack(&m, "b", 3);
    assert_int_equal(raft_commit(m.r), 3);
    assert_int_equal(m.fx.apply_to, 3);
    machine_close(&m);
}

static void followers_commit_without_the_leaders_disk_but_it_does_not_apply(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_propose(&m, "x");
    machine_ack(&m, "b", 3);
    assert_int_equal(raft_commit(m.r), 2);
    machine_ack(&m, "c", 3);
    assert_int_equal(raft_commit(m.r), 3);
    assert_int_equal(m.fx.apply_to, 2);
    machine_sync(&m);
    assert_int_equal(m.fx.apply_to, 3);
    machine_close(&m);
}

static void entries_of_older_terms_commit_only_with_one_of_the_own(void **state)
{
    struct machine m;
    const uint64_t terms[] = {2, 2};

    (void)state;
    follow_with(&m, terms, 2); /* paper, figure 8: entries 2 and 3 are of term 2 */
    machine_tick(&m, HEARTBEAT_MS);
    machine_elect(&m, b_only, 1);
    assert_int_equal(raft_noop_index(m.r), 4);
    machine_ack(&m, "b", 3);
    machine_ack(&m, "c", 3);
    assert_int_equal(raft_commit(m.r), 0);
    machine_ack(&m, "c", 4);
    assert_int_equal(raft_commit(m.r), 0);
    machine_sync(&m);
    assert_int_equal(raft_commit(m.r), 4);
    machine_close(&m);
}

static void non_voters_get_entries_but_do_not_count(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a b c d/ e/");
    machine_sync(&m);
    machine_elect(&m, b_only, 1);
    assert_non_null(sent_now(&m, RAFT_MSG_APPEND, "d"));
    machine_sync(&m);
    machine_ack(&m, "d", 2);
    machine_ack(&m, "e", 2);
    assert_int_equal(raft_commit(m.r), 0);
    machine_ack(&m, "c", 2);
    assert_int_equal(raft_commit(m.r), 2);
    machine_close(&m);
}

static void appends_are_pipelined_once_the_logs_agree(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_propose(&m, "one");
    assert_null(sent_now(&m, RAFT_MSG_APPEND, "b")); /* the probe is not answered yet */
    machine_ack(&m, "b", 2);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 1);
    machine_propose(&m, "two");
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 3);
    machine_propose(&m, "three");
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 4);
    assert_null(sent_now(&m, RAFT_MSG_APPEND, "c"));
    machine_close(&m);
}

static void the_window_of_bytes_is_kept(void **state)
{
    struct raft_options o = machine_options("a");
    struct machine m;

    (void)state;
    o.max_inflight_bytes = 10;
    o.max_append_bytes = 8;
    lead_three_with(&m, &o);
    machine_ack(&m, "b", 2);
    machine_propose(&m, "123456");
    machine_propose(&m, "123456");
    assert_non_null(sent_now(&m, RAFT_MSG_APPEND, "b"));
    for (int i = 0; i < 3; i++) {
        machine_propose(&m, "12");
        assert_null(sent_now(&m, RAFT_MSG_APPEND, "b"));
    }
    machine_ack(&m, "b", 3);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries,
                     3); /* what waited, together */
    machine_close(&m);
}

static void an_entry_over_the_limit_travels_alone(void **state)
{
    struct raft_options o = machine_options("a");
    struct machine m;

    (void)state;
    o.max_append_bytes = 4;
    lead_three_with(&m, &o);
    machine_propose(&m, "1234567890");
    machine_propose(&m, "12");
    machine_propose(&m, "12");
    machine_ack(&m, "b", 2);
    assert_int_equal(m.fx.n_send_now, 2);
    assert_int_equal(m.fx.send_now[0].n_entries, 1);
    assert_int_equal(m.fx.send_now[1].n_entries, 2);
    machine_close(&m);
}

static void too_many_uncommitted_bytes_are_refused(void **state)
{
    struct raft_options o = machine_options("a");
    struct machine m;

    (void)state;
    o.max_uncommitted_bytes = 10;
    lead_three_with(&m, &o);
    machine_propose(&m, "a very long one, alone");
    assert_int_equal(m.fx.refused, ERR_OK);
    machine_propose(&m, "x");
    assert_int_equal(m.fx.refused, ERR_BUSY);
    machine_sync(&m);
    machine_ack(&m, "b", 3);
    machine_propose(&m, "12345678");
    assert_int_equal(m.fx.refused, ERR_OK);
    machine_propose(&m, "12");
    assert_int_equal(m.fx.refused, ERR_OK);
    machine_propose(&m, "1");
    assert_int_equal(m.fx.refused, ERR_BUSY);
    machine_close(&m);
}

static void heartbeats_come_at_their_interval_and_carry_everything(void **state)
{
    struct machine m;
    struct raft_event applied = {.type = RAFT_APPLIED, .u.applied = {2, 99}};
    const struct raft_message *beat;

    (void)state;
    lead_three(&m);
    machine_ack(&m, "b", 2);
    machine_step(&m, &applied);
    assert_int_equal(m.fx.deadline_ms, m.now + 10); /* b may know of the commit soon */
    machine_tick(&m, 10);
    beat = sent_now(&m, RAFT_MSG_APPEND, "b");
    assert_non_null(beat);
    assert_int_equal(beat->n_entries, 0);
    assert_int_equal(beat->commit, 2);
    assert_int_equal(beat->prev_index, 2);
    assert_int_equal(beat->sent_ms, m.now);
    assert_int_equal(beat->hash_index, 2);
    assert_int_equal(beat->hash, 99);
    assert_int_equal(m.fx.deadline_ms,
                     m.now + HEARTBEAT_MS / 5); /* now there is no news */
    machine_tick(&m, HEARTBEAT_MS / 5 - 1);
    assert_int_equal(m.fx.n_send_now, 0);
    machine_tick(&m, 1);
    assert_non_null(sent_now(&m, RAFT_MSG_APPEND, "b"));
    assert_non_null(sent_now(&m, RAFT_MSG_APPEND, "c"));
    machine_close(&m);
}

static void a_refused_probe_goes_back_by_whole_terms(void **state)
{
    struct machine m;
    const uint64_t terms[] = {2, 2, 2, 4, 4, 4};
    struct raft_peer_view view;

    (void)state;
    follow_with(&m, terms, 6); /* 2-4 of term 2, 5-7 of term 4 */
    machine_tick(&m, HEARTBEAT_MS);
    machine_elect(&m, b_only, 1);
    machine_tick(&m, 1);
    refuse(&m, "b", 3, 6); /* b has term 3 from 6 on: none of ours above 4 can match */
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 4);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 0);
    refuse(&m, "c", 2, 3); /* c has term 2 up to the probe: after our last of term 2 */
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "c")->prev_index, 4);
    refuse(&m, "c", 1, 3); /* c has term 1 at 3: nothing of ours above 1 */
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "c")->prev_index, 1);
    refuse(&m, "b", 0, 3); /* b ends at 2 */
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 2);
    machine_ack(&m, "b", 2);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 2);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 6);
    assert_true(raft_peer(m.r, 0, &view));
    assert_string_equal(view.id, "b");
    assert_string_equal(view.addr, "addr");
    assert_int_equal(view.match, 2);
    assert_int_equal(view.next, 9);
    assert_true(view.voter);
    assert_false(view.snapshotting);
    assert_true(raft_peer(m.r, 1, &view));
    assert_false(raft_peer(m.r, 2, &view));
    machine_close(&m);
}

static void refusals_of_an_overtaken_window_start_one_probe(void **state)
{
    struct machine m;

    (void)state;
    lead_three(&m);
    machine_ack(&m, "b", 2);
    for (int i = 0; i < 5; i++) machine_propose(&m, "x");
    machine_tick(&m, 5);
    refuse(&m, "b", 0, 4);
    assert_int_equal(m.fx.n_send_now, 1);
    assert_int_equal(m.fx.send_now[0].prev_index, 3);
    for (int i = 0; i < 4; i++) {
        refuse(&m, "b", 0, 4);
        assert_int_equal(m.fx.n_send_now, 0);
    }
    machine_close(&m);
}

static void a_lost_connection_is_probed_not_flooded(void **state)
{
    struct machine m;
    struct raft_event lost = {.type = RAFT_PEER_LOST, .u.peer = "b"};
    struct raft_event unknown = {.type = RAFT_PEER_LOST, .u.peer = "x"};

    (void)state;
    lead_three(&m);
    machine_ack(&m, "b", 2);
    machine_propose(&m, "one");
    machine_step(&m, &lost);
    machine_step(&m, &unknown);
    machine_propose(&m, "two");
    assert_null(sent_now(&m, RAFT_MSG_APPEND, "b"));
    machine_tick(&m, HEARTBEAT_MS / 5);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 0);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 3);
    refuse(&m, "b", 0, 3);
    machine_ack(&m, "b", 2);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 2);
    machine_close(&m);
}

static void a_follower_that_lost_its_disk_starts_over_and_counts_for_nothing(void **state)
{
    struct machine m;
    struct raft_peer_view view;

    (void)state;
    lead_three(&m);
    machine_propose(&m, "x");
    machine_sync(&m);
    machine_ack(&m, "b", 3);
    assert_int_equal(raft_commit(m.r), 3);
    machine_propose(&m, "y");
    machine_tick(&m, 5);
    refuse(&m, "b", 0, 1);
    raft_peer(m.r, 0, &view);
    assert_int_equal(view.match, 0);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->prev_index, 0);
    assert_int_equal(raft_commit(m.r), 3); /* what has committed stays so */
    machine_ack(&m, "b", 0);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 4);
    machine_close(&m);
}

static void entries_no_longer_cached_are_read_from_disk(void **state)
{
    struct raft_options o = machine_options("a");
    struct machine m;
    struct raft_entry entries[3];
    struct raft_event loaded = {.type = RAFT_LOADED,
                                .u.loaded = {.peer = "b", .entries = entries}};

    (void)state;
    o.cache_bytes = 1;
    lead_three_with(&m, &o);
    for (int i = 0; i < 8; i++) machine_propose(&m, "x");
    machine_sync(&m);
    machine_ack(&m, "c", 10);
    machine_tick(&m, 1); /* 3 - 9 have committed, and leave the cache */
    assert_null(raft_cached(m.r, 9));
    assert_non_null(raft_cached(m.r, 10));
    machine_ack(&m, "b", 2);
    assert_int_equal(m.fx.n_loads, 1);
    assert_string_equal(m.fx.loads[0].peer, "b");
    assert_int_equal(m.fx.loads[0].from, 3);
    machine_tick(&m, 1);
    assert_int_equal(m.fx.n_loads, 0); /* one at a time */
    for (size_t i = 0; i < 3; i++)
        entries[i] = (struct raft_entry){3 + i, 2, RAFT_ENTRY_APP, blob_copy("x", 1)};
    loaded.u.loaded.n = 3;
    machine_step(&m, &loaded);
    assert_int_equal(sent_now(&m, RAFT_MSG_APPEND, "b")->n_entries, 3);
    assert_int_equal(m.fx.loads[0].from, 6);
    for (size_t i = 0; i < 3; i++) /* not what was asked for */
        entries[i] = (struct raft_entry){3 + i, 2, RAFT_ENTRY_APP, blob_copy("x", 1)};
    machine_step(&m, &loaded);
    assert_null(sent_now(&m, RAFT_MSG_APPEND, "b"));
    loaded.u.loaded.n = 0; /* reading failed: not again at once */
    machine_step(&m, &loaded);
    assert_int_equal(m.fx.n_loads, 0);
    machine_tick(&m, HEARTBEAT_MS / 5);
    assert_int_equal(m.fx.n_loads, 1);
    loaded.u.loaded.n = 3;
    for (size_t i = 0; i < 3; i++)
        entries[i] = (struct raft_entry){6 + i, 1, RAFT_ENTRY_APP, blob_copy("x", 1)};
    machine_step(&m, &loaded); /* of another term than ours: stale */
    assert_null(sent_now(&m, RAFT_MSG_APPEND, "b"));
    machine_close(&m);
}

static void loaded_entries_are_let_go_when_nobody_wants_them(void **state)
{
    struct machine m;
    struct raft_entry entry = {2, 2, RAFT_ENTRY_APP, blob_copy("x", 1)};
    struct raft_event loaded = {.type = RAFT_LOADED,
                                .u.loaded = {.peer = "b", .entries = &entry, .n = 1}};

    (void)state;
    machine_open(&m, "a");
    machine_step(&m, &loaded);
    assert_int_equal(m.fx.n_send_now, 0);
    machine_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ack_waits_for_the_disk),
        cmocka_unit_test(an_ack_that_writes_nothing_still_waits_behind_the_sync),
        cmocka_unit_test(replies_echo_what_the_leader_sent),
        cmocka_unit_test(a_gap_is_refused_with_our_end),
        cmocka_unit_test(a_conflict_is_refused_with_the_start_of_its_term),
        cmocka_unit_test(conflicting_entries_are_replaced),
        cmocka_unit_test(an_old_append_truncates_nothing),
        cmocka_unit_test(committed_entries_are_never_cut_off),
        cmocka_unit_test(a_tardy_ticket_does_not_vouch_for_what_replaced_its_entries),
        cmocka_unit_test(the_commit_index_goes_no_further_than_what_is_known_equal),
        cmocka_unit_test(a_heartbeat_below_the_commit_index_tells_how_far_we_are),
        cmocka_unit_test(a_heartbeat_is_answered_at_once_with_what_is_durable),
        cmocka_unit_test(nothing_is_answered_before_the_term_is_durable),
        cmocka_unit_test(a_majority_commits_with_the_leaders_disk_as_one_of_it),
        cmocka_unit_test(followers_commit_without_the_leaders_disk_but_it_does_not_apply),
        cmocka_unit_test(entries_of_older_terms_commit_only_with_one_of_the_own),
        cmocka_unit_test(non_voters_get_entries_but_do_not_count),
        cmocka_unit_test(appends_are_pipelined_once_the_logs_agree),
        cmocka_unit_test(the_window_of_bytes_is_kept),
        cmocka_unit_test(an_entry_over_the_limit_travels_alone),
        cmocka_unit_test(too_many_uncommitted_bytes_are_refused),
        cmocka_unit_test(heartbeats_come_at_their_interval_and_carry_everything),
        cmocka_unit_test(a_refused_probe_goes_back_by_whole_terms),
        cmocka_unit_test(refusals_of_an_overtaken_window_start_one_probe),
        cmocka_unit_test(a_lost_connection_is_probed_not_flooded),
        cmocka_unit_test(
            a_follower_that_lost_its_disk_starts_over_and_counts_for_nothing),
        cmocka_unit_test(entries_no_longer_cached_are_read_from_disk),
        cmocka_unit_test(loaded_entries_are_let_go_when_nobody_wants_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
