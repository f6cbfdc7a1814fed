/* SPDX-License-Identifier: MIT */
/* A cluster of one: the whole way of an entry, with nobody to wait for but the disk. */
#include "tests/unit/raft/machine.h"

static void a_node_without_configuration_waits(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    machine_tick(&m, 0);
    machine_tick(&m, 10 * HEARTBEAT_MS);
    assert_int_equal(raft_role(m.r), RAFT_FOLLOWER);
    assert_int_equal(raft_term(m.r), 0);
    assert_true(m.fx.deadline_ms == UINT64_MAX);
    machine_close(&m);
}

static void bootstrap_is_entry_one_and_campaigns_at_once(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a");
    assert_int_equal(m.fx.refused, ERR_OK);
    assert_true(m.fx.config_changed);
    assert_int_equal(m.fx.n_append, 1);
    assert_int_equal(m.fx.append[0].index, 1);
    assert_int_equal(m.fx.append[0].term, 1);
    assert_int_equal(m.fx.append[0].type, RAFT_ENTRY_CONFIG);
    assert_true(m.fx.save_hard);
    assert_int_equal(m.fx.term, 2);
    assert_string_equal(m.fx.vote, "a");
    assert_int_equal(raft_role(m.r), RAFT_CANDIDATE);
    machine_close(&m);
}

static void the_own_vote_counts_only_when_it_is_on_disk(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a");
    machine_tick(&m, 10 * ELECTION_MS); /* a slow disk is waited for */
    machine_tick(&m, 10 * ELECTION_MS);
    assert_int_equal(raft_role(m.r), RAFT_CANDIDATE);
    assert_int_equal(raft_term(m.r), 2);
    machine_sync(&m);
    assert_int_equal(raft_role(m.r), RAFT_LEADER);
    assert_true(m.fx.role_changed);
    assert_true(m.fx.leader_changed);
    assert_string_equal(raft_leader(m.r), "a");
    assert_int_equal(m.fx.n_append, 1);
    assert_int_equal(m.fx.append[0].type, RAFT_ENTRY_NOOP);
    assert_int_equal(raft_noop_index(m.r), 2);
    assert_int_equal(m.fx.apply_to, 0);
    machine_sync(&m);
    assert_int_equal(m.fx.apply_to, 2);
    assert_int_equal(raft_commit(m.r), 2);
    machine_close(&m);
}

static void lead_alone(struct machine *m)
{
    machine_open(m, "a");
    machine_bootstrap(m, "a");
    machine_sync(m);
    machine_sync(m);
    assert_int_equal(raft_role(m->r), RAFT_LEADER);
    assert_int_equal(raft_commit(m->r), 2);
}

static void bootstrap_is_refused_when_there_is_a_log(void **state)
{
    struct machine m;

    (void)state;
    lead_alone(&m);
    machine_bootstrap(&m, "a b");
    assert_int_equal(m.fx.refused, ERR_EXISTS);
    machine_close(&m);

    machine_open(&m, "a");
    machine_bootstrap(&m, "a/");
    assert_int_equal(m.fx.refused, ERR_INVALID);
    assert_int_equal(m.fx.n_append, 0);
    machine_close(&m);
}

static void nothing_is_applied_before_it_is_synced(void **state)
{
    struct machine m;
    uint64_t first;

    (void)state;
    lead_alone(&m);
    machine_propose(&m, "one");
    first = m.fx.ticket;
    assert_int_equal(m.fx.refused, ERR_OK);
    assert_int_equal(m.fx.first_index, 3);
    assert_int_equal(m.fx.n_append, 1);
    assert_memory_equal(m.fx.append[0].payload->data, "one", 3);
    assert_int_equal(m.fx.apply_to, 2);
    machine_propose(&m, "two");
    assert_int_equal(m.fx.ticket, first + 1);
    assert_int_equal(m.fx.first_index, 4);
    assert_int_equal(m.fx.apply_to, 2);
    machine_sync_upto(&m, first);
    assert_int_equal(m.fx.apply_to, 3);
    assert_int_equal(m.fx.ticket, first + 1); /* repeated: this step wrote nothing */
    machine_sync(&m);
    assert_int_equal(m.fx.apply_to, 4);
    machine_close(&m);
}

static void a_later_ticket_covers_earlier_ones(void **state)
{
    struct machine m;

    (void)state;
    lead_alone(&m);
    for (int i = 0; i < 50; i++) machine_propose(&m, "x");
    machine_sync(&m);
    assert_int_equal(m.fx.apply_to, 52);
    machine_close(&m);
}

static void a_batch_is_one_ticket(void **state)
{
    struct machine m;
    uint8_t types[3] = {RAFT_ENTRY_APP, RAFT_ENTRY_APP + 1, RAFT_ENTRY_NOOP};
    struct blob *payloads[3] = {blob_copy("a", 1), NULL, NULL};
    struct raft_event e = {.type = RAFT_PROPOSE,
                           .u.propose = {.types = types, .payloads = payloads, .n = 3}};
    uint64_t before;

    (void)state;
    lead_alone(&m);
    before = m.fx.ticket;
    machine_step(&m, &e);
    assert_int_equal(m.fx.first_index, 3);
    assert_int_equal(m.fx.n_append, 3);
    assert_int_equal(m.fx.append[1].type, RAFT_ENTRY_APP + 1);
    assert_int_equal(m.fx.ticket, before + 1);
    machine_close(&m);
}

static void reserved_types_are_refused(void **state)
{
    struct machine m;
    uint8_t type = RAFT_ENTRY_CONFIG;
    struct blob *payload = blob_copy("a", 1);
    struct raft_event e = {.type = RAFT_PROPOSE,
                           .u.propose = {.types = &type, .payloads = &payload, .n = 1}};

    (void)state;
    lead_alone(&m);
    machine_step(&m, &e);
    assert_int_equal(m.fx.refused, ERR_INVALID);
    e.u.propose.n = 0;
    machine_step(&m, &e);
    assert_int_equal(m.fx.refused, ERR_INVALID);
    machine_close(&m);
}

static void an_idle_single_node_needs_no_timer(void **state)
{
    struct machine m;

    (void)state;
    lead_alone(&m);
    assert_true(m.fx.deadline_ms == UINT64_MAX);
    machine_tick(&m, 1000 * HEARTBEAT_MS);
    assert_int_equal(raft_role(m.r), RAFT_LEADER);
    machine_close(&m);
}

static void reads_are_confirmed_at_once_after_the_noop_commits(void **state)
{
    struct machine m;

    (void)state;
    machine_open(&m, "a");
    machine_bootstrap(&m, "a");
    machine_read(&m, 6);
    assert_int_equal(m.fx.n_reads, 1);
    assert_false(m.fx.reads[0].ok);
    machine_sync(&m);
    machine_read(&m, 7);
    assert_int_equal(m.fx.n_reads, 0);
    machine_sync(&m);
    assert_int_equal(m.fx.n_reads, 1);
    assert_int_equal(m.fx.reads[0].id, 7);
    assert_true(m.fx.reads[0].ok);
    assert_int_equal(m.fx.reads[0].index, 2);
    machine_propose(&m, "one");
    machine_read(&m, 8);
    assert_int_equal(m.fx.n_reads, 1);
    assert_int_equal(m.fx.reads[0].index, 2); /* "one" is not committed */
    machine_close(&m);
}

static void restore_entries(struct machine *m, uint64_t first, uint64_t last,
                            uint64_t term)
{
    for (uint64_t i = first; i <= last; i++) {
        struct raft_entry e = {i, term, RAFT_ENTRY_APP, NULL};
        assert_int_equal(raft_restore(m->r, &e, NULL), ERR_OK);
    }
}

static void restore_config_entry(struct machine *m, uint64_t index, uint64_t term,
                                 const char *members)
{
    struct raft_config c;
    struct raft_entry e = {index, term, RAFT_ENTRY_CONFIG, NULL};

    config_of(&c, members);
    e.payload = raft_config_encode(&c);
    assert_int_equal(raft_restore(m->r, &e, NULL), ERR_OK);
    blob_unref(e.payload);
    raft_config_fini(&c);
}

static void a_restart_takes_the_log_up_again(void **state)
{
    struct machine m;
    struct raft_options o = machine_options("a");
    struct raft_restored found = {.term = 3, .vote = "a"};

    (void)state;
    machine_open_with(&m, &o, &found);
    restore_config_entry(&m, 1, 1, "a");
    restore_entries(&m, 2, 10, 3);
    assert_int_equal(raft_last_index(m.r), 10);
    machine_tick(&m, 0);
    assert_int_equal(m.fx.apply_to, 0); /* it cannot know yet what had committed */
    assert_int_equal(m.fx.term, 4);
    machine_sync(&m);
    machine_sync(&m);
    assert_int_equal(m.fx.apply_to, 11);
    assert_int_equal(raft_term_of(m.r, 1), 1);
    assert_int_equal(raft_term_of(m.r, 10), 3);
    assert_int_equal(raft_term_of(m.r, 11), 4);
    machine_close(&m);
}

static void a_restart_from_a_snapshot_applies_from_there(void **state)
{
    struct machine m;
    struct raft_options o = machine_options("a");
    struct raft_config c;
    struct raft_restored found = {
        .term = 3, .snapshot_index = 8, .snapshot_term = 3, .config = &c};

    (void)state;
    config_of(&c, "a");
    c.index = 1;
    machine_open_with(&m, &o, &found);
    restore_entries(&m, 6, 10, 3);
    machine_tick(&m, 0);
    assert_false(m.fx.reset_log);
    assert_int_equal(m.fx.apply_to, 8);
    assert_int_equal(raft_first_index(m.r), 6);
    assert_int_equal(raft_snapshot_index(m.r), 8);
    assert_int_equal(raft_snapshot_term(m.r), 3);
    machine_sync(&m);
    machine_sync(&m);
    assert_int_equal(m.fx.apply_to, 11);
    machine_close(&m);
    raft_config_fini(&c);
}

static void a_log_older_than_the_snapshot_is_replaced(void **state)
{
    struct raft_options o = machine_options("a");
    struct raft_config c;
    struct raft_restored found = {
        .term = 5, .snapshot_index = 8, .snapshot_term = 4, .config = &c};
    struct machine m;

    (void)state;
    config_of(&c, "a b");
    c.index = 1;
    machine_open_with(&m, &o, &found); /* ends before the snapshot */
    restore_entries(&m, 2, 6, 3);
    machine_tick(&m, 0);
    assert_true(m.fx.reset_log);
    assert_int_equal(m.fx.reset_index, 8);
    assert_int_equal(m.fx.reset_term, 4);
    assert_int_equal(raft_last_index(m.r), 8);
    assert_int_equal(raft_last_term(m.r), 4);
    machine_close(&m);

    machine_open_with(
        &m, &o, &found); /* contradicts the snapshot, with a configuration after it */
    restore_entries(&m, 2, 8, 3);
    restore_config_entry(&m, 9, 3, "a");
    assert_int_equal(raft_config(m.r)->n, 1);
    machine_tick(&m, 0);
    assert_true(m.fx.reset_log);
    assert_int_equal(raft_config(m.r)->n, 2);
    assert_int_equal(raft_first_index(m.r), 9);
    assert_int_equal(raft_last_index(m.r), 8);
    machine_close(&m);

    machine_open_with(&m, &o,
                      &found); /* no log at all: the disk is told where it goes on */
    machine_tick(&m, 0);
    assert_true(m.fx.reset_log);
    assert_int_equal(raft_last_index(m.r), 8);
    machine_close(&m);
    raft_config_fini(&c);
}

static void a_broken_log_is_not_restored(void **state)
{
    struct raft_options o = machine_options("a");
    struct raft_restored found = {.term = 5, .snapshot_index = 8, .snapshot_term = 4};
    struct raft_entry gap_after_snapshot = {10, 4, RAFT_ENTRY_APP, NULL};
    struct raft_entry first = {7, 4, RAFT_ENTRY_APP, NULL};
    struct raft_entry gap = {9, 4, RAFT_ENTRY_APP, NULL};
    struct raft_entry falls = {8, 3, RAFT_ENTRY_APP, NULL};
    struct raft_entry unknown_term = {8, 6, RAFT_ENTRY_APP, NULL};
    struct raft_entry no_config = {8, 4, RAFT_ENTRY_CONFIG, NULL};
    struct why why;
    struct machine m;

    (void)state;
    machine_open_with(&m, &o, &found);
    assert_int_equal(raft_restore(m.r, &gap_after_snapshot, &why), ERR_CORRUPT);
    assert_int_equal(raft_restore(m.r, &first, &why), ERR_OK);
    assert_int_equal(raft_restore(m.r, &gap, &why), ERR_CORRUPT);
    assert_int_equal(raft_restore(m.r, &falls, &why), ERR_CORRUPT);
    assert_int_equal(raft_restore(m.r, &unknown_term, &why), ERR_CORRUPT);
    assert_int_equal(raft_restore(m.r, &no_config, &why), ERR_CORRUPT);
    machine_close(&m);
}

/* The whole of it need not fit into memory. */
static void a_restart_keeps_the_newest_entries_up_to_the_cache(void **state)
{
    struct raft_options o = machine_options("a");
    struct raft_restored found = {.hard_later = true};
    struct blob *payload = blob_new(1000);
    struct machine m;

    (void)state;
    assert_non_null(payload);
    payload->len = 1000;
    o.cache_bytes = 20000;
    machine_open_with(&m, &o, &found);
    restore_config_entry(&m, 1, 1, "a");
    for (uint64_t i = 2; i <= 1000; i++) {
        struct raft_entry e = {i, 3, RAFT_ENTRY_APP, payload};

        assert_int_equal(raft_restore(m.r, &e, NULL), ERR_OK);
    }
    assert_int_equal(raft_restore_hard(m.r, 7, "a", NULL), ERR_OK);
    assert_null(raft_cached(m.r, 500));
    assert_non_null(raft_cached(m.r, 1000));
    assert_int_equal(raft_term(m.r), 7);
    assert_int_equal(raft_last_index(m.r), 1000);
    assert_int_equal(raft_term_of(m.r, 500), 3);
    machine_close(&m);
    blob_unref(payload);
}

static void an_entry_of_a_term_unknown_at_the_end_of_the_log_is_refused(void **state)
{
    struct raft_options o = machine_options("a");
    struct raft_restored found = {.hard_later = true};
    struct machine m;
    struct why why;

    (void)state;
    machine_open_with(&m, &o, &found);
    restore_config_entry(&m, 1, 1, "a");
    restore_entries(&m, 2, 10, 3);
    assert_int_equal(raft_restore_hard(m.r, 2, "a", &why), ERR_CORRUPT);
    assert_string_equal(why.text, "entry 10 has term 3, but the node only knew term 2");
    machine_close(&m);
}

static void bad_options_are_a_sentence(void **state)
{
    struct raft_options o = machine_options("");
    struct raft_restored none = {0};
    struct raft *r;
    struct why why;

    (void)state;
    assert_int_equal(raft_new(&r, &o, &none, &why), ERR_INVALID);
    assert_null(r);
    o = machine_options("a");
    o.election_ms = 0;
    assert_int_equal(raft_new(&r, &o, &none, &why), ERR_INVALID);
    o = machine_options("a");
    o.lease_ms = o.heartbeat_ms + 1;
    assert_int_equal(raft_new(&r, &o, &none, &why), ERR_INVALID);
    assert_string_equal(why.text,
                        "leader lease (101ms) must not be longer than the heartbeat "
                        "timeout (100ms)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_without_configuration_waits),
        cmocka_unit_test(bootstrap_is_entry_one_and_campaigns_at_once),
        cmocka_unit_test(the_own_vote_counts_only_when_it_is_on_disk),
        cmocka_unit_test(bootstrap_is_refused_when_there_is_a_log),
        cmocka_unit_test(nothing_is_applied_before_it_is_synced),
        cmocka_unit_test(a_later_ticket_covers_earlier_ones),
        cmocka_unit_test(a_batch_is_one_ticket),
        cmocka_unit_test(reserved_types_are_refused),
        cmocka_unit_test(an_idle_single_node_needs_no_timer),
        cmocka_unit_test(reads_are_confirmed_at_once_after_the_noop_commits),
        cmocka_unit_test(a_restart_takes_the_log_up_again),
        cmocka_unit_test(a_restart_from_a_snapshot_applies_from_there),
        cmocka_unit_test(a_log_older_than_the_snapshot_is_replaced),
        cmocka_unit_test(a_broken_log_is_not_restored),
        cmocka_unit_test(a_restart_keeps_the_newest_entries_up_to_the_cache),
        cmocka_unit_test(an_entry_of_a_term_unknown_at_the_end_of_the_log_is_refused),
        cmocka_unit_test(bad_options_are_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
