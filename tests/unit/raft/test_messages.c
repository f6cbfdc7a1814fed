/* SPDX-License-Identifier: MIT */
/* Bytes from peers are never trusted: nonsense is ignored or refused, and leaves no mark.
 */
#include "tests/unit/raft/machine.h"

#include "core/base/rand.h"

static const char *const b_only[] = {"b"};

static void open_following(struct machine *m)
{
    machine_open(m, "a");
    machine_bootstrap(m, "a b c");
    machine_append(m, "b", 2, 1, 1, (const uint64_t[]){2, 2}, 2, 2);
    machine_sync(m);
}

static void open_leading(struct machine *m)
{
    machine_open(m, "a");
    machine_bootstrap(m, "a b c");
    machine_sync(m);
    machine_elect(m, b_only, 1);
    machine_sync(m);
}

static void ignored(struct machine *m, const struct raft_message *msg)
{
    uint64_t term = raft_term(m->r), last = raft_last_index(m->r),
             commit = raft_commit(m->r);
    enum raft_role role = raft_role(m->r);

    machine_receive(m, msg);
    assert_int_equal(m->fx.n_send_now, 0);
    assert_int_equal(m->fx.n_send_after, 0);
    assert_int_equal(m->fx.n_append, 0);
    assert_int_equal(m->fx.truncate_from, 0);
    assert_false(m->fx.save_hard);
    assert_int_equal(raft_term(m->r), term);
    assert_int_equal(raft_last_index(m->r), last);
    assert_int_equal(raft_commit(m->r), commit);
    assert_int_equal(raft_role(m->r), role);
}

static void messages_for_others_or_from_nobody_are_ignored(void **state)
{
    struct machine m;
    struct raft_message msg;

    (void)state;
    open_following(&m);
    msg = message(RAFT_MSG_APPEND, "b", "x", 2);
    ignored(&m, &msg);
    msg = message(RAFT_MSG_APPEND, "", "a", 2);
    ignored(&m, &msg);
    msg = message(RAFT_MSG_APPEND, "a", "a", 2);
    ignored(&m, &msg);
    msg = message(RAFT_MSG_VOTE, "c", "a", 0);
    ignored(&m, &msg);
    msg = message((enum raft_message_type)99, "c", "a", 2);
    ignored(&m, &msg);
    msg = message(RAFT_MSG_APPEND, "b", "a", 2);
    memset(msg.from, 'b', sizeof msg.from); /* no end */
    ignored(&m, &msg);
    machine_close(&m);
}

static void absurd_numbers_are_ignored(void **state)
{
    struct machine m;
    struct raft_message msg;
    struct raft_entry e = {4, 2, RAFT_ENTRY_APP, NULL};

    (void)state;
    open_following(&m);
    msg = message(RAFT_MSG_VOTE, "c", "a", UINT64_MAX);
    ignored(&m, &msg);
    msg = message(RAFT_MSG_APPEND, "b", "a", 2);
    msg.prev_index = UINT64_MAX;
    msg.entries = &e;
    msg.n_entries = 1;
    ignored(&m, &msg);
    msg.prev_index = 3;
    msg.n_entries = SIZE_MAX;
    ignored(&m, &msg);
    msg.n_entries = 1;
    msg.entries = NULL;
    ignored(&m, &msg);
    msg = message(RAFT_MSG_SNAPSHOT, "b", "a", 2);
    msg.snap_index = UINT64_MAX;
    ignored(&m, &msg);
    machine_close(&m);
}

static void malformed_entries_are_ignored_as_a_whole(void **state)
{
    static const struct {
        struct raft_entry first, second;
        uint64_t prev_term;
    } bad[] = {
        {{4, 2, RAFT_ENTRY_APP, NULL}, {6, 2, RAFT_ENTRY_APP, NULL}, 2}, /* a gap */
        {{4, 2, RAFT_ENTRY_APP, NULL}, {4, 2, RAFT_ENTRY_APP, NULL}, 2}, /* twice */
        {{5, 2, RAFT_ENTRY_APP, NULL},
         {6, 2, RAFT_ENTRY_APP, NULL},
         2}, /* not after prev */
        {{4, 2, RAFT_ENTRY_APP, NULL},
         {5, 1, RAFT_ENTRY_APP, NULL},
         2}, /* a term that falls */
        {{4, 1, RAFT_ENTRY_APP, NULL},
         {5, 2, RAFT_ENTRY_APP, NULL},
         2}, /* before prev's term */
        {{4, 0, RAFT_ENTRY_APP, NULL}, {5, 2, RAFT_ENTRY_APP, NULL}, 0}, /* no term */
        {{4, 2, RAFT_ENTRY_APP, NULL},
         {5, 3, RAFT_ENTRY_APP, NULL},
         2},                                                /* after its own term */
        {{4, 2, RAFT_ENTRY_APP, NULL}, {5, 2, 0, NULL}, 2}, /* no type */
        {{4, 2, 9, NULL}, {5, 2, RAFT_ENTRY_APP, NULL}, 2}, /* a reserved type */
        {{4, 2, RAFT_ENTRY_CONFIG, NULL}, {5, 2, RAFT_ENTRY_APP, NULL}, 2},
        {{4, 2, RAFT_ENTRY_APP, NULL},
         {5, 2, RAFT_ENTRY_APP, NULL},
         3}, /* prev after its term */
    };
    struct machine m;

    (void)state;
    open_following(&m);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct raft_message msg = message(RAFT_MSG_APPEND, "b", "a", 2);
        struct raft_entry entries[2] = {bad[i].first, bad[i].second};
        msg.prev_index = 3;
        msg.prev_term = bad[i].prev_term;
        msg.entries = entries;
        msg.n_entries = 2;
        ignored(&m, &msg);
    }
    machine_close(&m);
}

static void a_configuration_entry_that_is_none_is_ignored(void **state)
{
    struct machine m;
    struct raft_entry e = {4, 2, RAFT_ENTRY_CONFIG, blob_copy("\1\5", 2)};
    struct raft_message msg = message(RAFT_MSG_APPEND, "b", "a", 2);

    (void)state;
    open_following(&m);
    msg.prev_index = 3;
    msg.prev_term = 2;
    msg.entries = &e;
    msg.n_entries = 1;
    ignored(&m, &msg);
    blob_unref(e.payload);
    machine_close(&m);
}

static void two_leaders_in_one_term_cannot_be(void **state)
{
    struct machine m;
    struct raft_message msg = message(RAFT_MSG_APPEND, "c", "a", 2);

    (void)state;
    open_following(&m);
    ignored(&m, &msg);
    assert_string_equal(raft_leader(m.r), "b");
    machine_close(&m);

    open_leading(&m);
    ignored(&m, &msg);
    machine_close(&m);
}

static void answers_of_strangers_count_for_nothing(void **state)
{
    static const enum raft_message_type types[] = {
        RAFT_MSG_PRE_VOTE_REPLY, RAFT_MSG_VOTE_REPLY, RAFT_MSG_APPEND_REPLY,
        RAFT_MSG_SNAPSHOT_REPLY};
    struct machine m;

    (void)state;
    open_leading(&m);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct raft_message msg = message(types[i], "x", "a", 9);
        msg.accepted = true;
        msg.match = 2;
        ignored(&m, &msg);
    }
    machine_close(&m);
}

static void answers_that_cannot_be_are_ignored(void **state)
{
    struct machine m;
    struct raft_message msg;
    struct raft_peer_view view;

    (void)state;
    open_leading(&m);
    msg = message(RAFT_MSG_APPEND_REPLY, "b", "a", 2);
    msg.accepted = true;
    msg.match = 3; /* beyond our last */
    ignored(&m, &msg);
    msg.match = 2;
    msg.sent_ms = m.now + 1; /* not sent yet */
    ignored(&m, &msg);
    msg.sent_ms = 0;
    msg.term = 1; /* of an older term */
    ignored(&m, &msg);
    msg.term = 2;
    msg.accepted = false; /* refused, and no word where to look */
    ignored(&m, &msg);
    assert_true(raft_peer(m.r, 0, &view));
    assert_int_equal(view.match, 0);
    assert_int_equal(view.last_contact_ms, 0);
    machine_close(&m);
}

static void stale_requests_to_campaign_are_ignored(void **state)
{
    struct machine m;
    struct raft_message msg = message(RAFT_MSG_TIMEOUT_NOW, "b", "a", 1);

    (void)state;
    open_following(&m);
    ignored(&m, &msg);
    msg.term = 3; /* of a leader we do not know */
    ignored(&m, &msg);
    machine_close(&m);
}

static void a_ticket_never_given_covers_what_there_is(void **state)
{
    struct machine m;

    (void)state;
    open_leading(&m);
    machine_sync_upto(&m, UINT64_MAX);
    machine_propose(&m, "x");
    machine_ack(&m, "b", 3);
    assert_int_equal(raft_commit(m.r), 2);
    machine_close(&m);
}

/* Anything at all: the sanitizers and the checks inside are the judges. */
static void random_messages_never_crash(void **state)
{
    static const char *const ids[] = {"a", "b", "c", "x", ""};
    struct rand rand;

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct machine m;
        rand_init(&rand, seed);
        if (seed % 2)
            open_leading(&m);
        else
            open_following(&m);
        for (int i = 0; i < 300; i++) {
            struct raft_entry entries[4];
            struct raft_message msg =
                message((enum raft_message_type)rand_below(&rand, 11),
                        ids[rand_below(&rand, 5)], "a", rand_below(&rand, 12));
            uint64_t term = rand_below(&rand, 6);
            m.now += rand_below(&rand, 10);
            msg.last_index = rand_below(&rand, 12);
            msg.last_term = rand_below(&rand, 12);
            msg.granted = rand_below(&rand, 2);
            msg.transfer = rand_below(&rand, 8) == 0;
            msg.prev_index = rand_below(&rand, 10);
            msg.prev_term = rand_below(&rand, 6);
            msg.commit = rand_below(&rand, 20);
            msg.read = rand_below(&rand, 3);
            msg.sent_ms = m.now - rand_below(&rand, 50);
            msg.accepted = rand_below(&rand, 2);
            msg.match = rand_below(&rand, 12);
            msg.conflict_term = rand_below(&rand, 6);
            msg.conflict_index = rand_below(&rand, 12);
            msg.snap_index = rand_below(&rand, 12);
            msg.snap_term = rand_below(&rand, 6);
            msg.entries = entries;
            msg.n_entries = rand_below(&rand, 5);
            for (size_t k = 0; k < msg.n_entries; k++)
                entries[k] = (struct raft_entry){msg.prev_index + 1 + k,
                                                 term += rand_below(&rand, 8) == 0,
                                                 RAFT_ENTRY_APP, NULL};
            machine_receive(&m, &msg);
            if (rand_below(&rand, 3) == 0) machine_sync(&m);
            if (rand_below(&rand, 5) == 0) machine_tick(&m, rand_below(&rand, 300));
            if (rand_below(&rand, 5) == 0) machine_propose(&m, "x");
            assert_true(raft_commit(m.r) <= raft_last_index(m.r));
            assert_false(m.fx.out_of_memory);
        }
        machine_close(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_for_others_or_from_nobody_are_ignored),
        cmocka_unit_test(absurd_numbers_are_ignored),
        cmocka_unit_test(malformed_entries_are_ignored_as_a_whole),
        cmocka_unit_test(a_configuration_entry_that_is_none_is_ignored),
        cmocka_unit_test(two_leaders_in_one_term_cannot_be),
        cmocka_unit_test(answers_of_strangers_count_for_nothing),
        cmocka_unit_test(answers_that_cannot_be_are_ignored),
        cmocka_unit_test(stale_requests_to_campaign_are_ignored),
        cmocka_unit_test(a_ticket_never_given_covers_what_there_is),
        cmocka_unit_test(random_messages_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
