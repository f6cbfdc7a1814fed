/* SPDX-License-Identifier: MIT */
/*
 * A sole voter on a host made of lists: nothing is durable or applied until the test says
 * so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/list.h"
#include "core/node/command.h"
#include "core/node/member.h"

struct host {
    struct raft *raft;
    struct member *member;
    struct wal_job *wal[64];
    size_t n_wal;
    struct apply_job *apply[64];
    size_t n_apply;
    int fatal;
    int cuts;
    uint64_t cut_at; /* where the latest was */
    uint64_t now;
    uint64_t wall;
};

static void to_wal(void *h, struct wal_job *job)
{
    struct host *host = h;

    assert_true(host->n_wal < 64);
    host->wal[host->n_wal++] = job;
}

static void to_apply(void *h, struct apply_job *job)
{
    struct host *host = h;

    assert_true(host->n_apply < 64);
    host->apply[host->n_apply++] = job;
}

static void send_nobody(void *h, const struct raft_message *m, size_t n)
{
    (void)h;
    (void)m;
    (void)n;
    fail_msg("a sole voter writes to nobody");
}

static void changed(void *h, const struct raft_effects *fx)
{
    (void)h;
    (void)fx;
}

static void no_snapshot(void *h, const char *peer, uint64_t index)
{
    (void)h;
    (void)peer;
    (void)index;
}

static void no_install(void *h, const char *from, uint64_t index, uint64_t term)
{
    (void)h;
    (void)from;
    (void)index;
    (void)term;
}

static void fatal(void *h, const struct why *why)
{
    (void)why;
    ((struct host *)h)->fatal++;
}

static void cut(void *h)
{
    struct host *host = h;

    host->cuts++;
    host->cut_at = member_handed_over(host->member);
    assert_true(host->apply[host->n_apply - 1]->items[0].entry.index <= host->cut_at);
}

static uint64_t wall(void *h)
{
    return ((struct host *)h)->wall++;
}

static uint64_t seed(void *h)
{
    (void)h;
    return 7;
}

static const struct member_ports ports = {.to_wal = to_wal,
                                          .to_apply = to_apply,
                                          .send = send_nobody,
                                          .changed = changed,
                                          .send_snapshot = no_snapshot,
                                          .expect_snapshot = no_install,
                                          .fatal = fatal,
                                          .cut = cut,
                                          .wall_ns = wall,
                                          .random = seed};

/* Everything handed to the disk becomes durable, in order. */
static void sync_all(struct host *h)
{
    for (size_t i = 0; i < h->n_wal; i++) { /* more may be added meanwhile */
        assert_int_equal(h->wal[i]->kind, WAL_JOB_PERSIST);
        member_wal_done(h->member, h->wal[i], h->now);
    }
    h->n_wal = 0;
}

/* Everything handed over is applied and answered.  Returns the last index. */
static uint64_t apply_all(struct host *h)
{
    uint64_t last = 0;

    for (size_t i = 0; i < h->n_apply; i++) {
        struct apply_job *j = h->apply[i];

        for (size_t k = 0; k < j->n; k++) {
            last = j->items[k].entry.index;
            if (j->items[k].call) j->items[k].call->done(j->items[k].call);
        }
        apply_job_free(j);
    }
    h->n_apply = 0;
    if (last) member_applied(h->member, last, 99, h->now);
    return last;
}

static int setup(void **state)
{
    struct host *h = calloc(1, sizeof *h);
    struct raft_options ro = {
        .id = "1", .seed = 1, .heartbeat_ms = 1000, .election_ms = 1000, .lease_ms = 500};
    struct raft_restored found = {0};
    struct member_options mo = {.ports = &ports, .host = h, .apply_timeout_ms = 100};
    struct raft_config c;

    h->now = 1000;
    h->wall = 5000;
    assert_int_equal(raft_new(&h->raft, &ro, &found, NULL), ERR_OK);
    assert_int_equal(member_new(&h->member, h->raft, &mo, NULL), ERR_OK);
    member_tick(h->member, h->now);
    raft_config_init(&c);
    assert_int_equal(raft_config_put(&c, "1", "localhost:4002", true), ERR_OK);
    assert_int_equal(member_bootstrap_config(h->member, &c, h->now), ERR_OK);
    raft_config_fini(&c);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct host *h = *state;

    member_stop(h->member, ERR_CLOSED, "closing");
    for (size_t i = 0; i < h->n_wal; i++) wal_job_free(h->wal[i]);
    for (size_t i = 0; i < h->n_apply; i++) apply_job_free(h->apply[i]);
    member_free(h->member);
    raft_free(h->raft);
    free(h);
    return 0;
}

static void lead(struct host *h)
{
    for (int i = 0; i < 10 && raft_role(h->raft) != RAFT_LEADER; i++) {
        sync_all(h);
        member_tick(h->member, h->now += 100);
    }
    assert_int_equal(raft_role(h->raft), RAFT_LEADER);
}

static int ended;

static void count_done(struct call *c)
{
    (void)c;
    ended++;
}

static struct call_execute write_call(void)
{
    struct call_execute c = {.call.done = count_done, .request = blob_new(CALL_SPARE)};

    return c;
}

static void a_write_is_applied_only_after_it_is_durable(void **state)
{
    struct host *h = *state;
    struct call_execute c = write_call();

    lead(h);
    sync_all(h);
    (void)apply_all(h);
    ended = 0;
    member_propose(h->member, &c, COMMAND_EXECUTE, h->now);
    member_flush(h->member, h->now);
    assert_int_equal(h->n_wal, 1);
    assert_int_equal(h->n_apply, 0);
    sync_all(h);
    assert_int_equal(h->n_apply, 1);
    assert_ptr_equal(h->apply[0]->items[0].call, &c.call);
    assert_int_equal(ended, 0);
    (void)apply_all(h);
    assert_int_equal(ended, 1);
    assert_int_equal(c.call.why.code, ERR_OK);
    assert_true(c.raft_index == raft_last_index(h->raft));
}

static void queued_writes_go_into_the_log_in_one_step_and_in_order(void **state)
{
    struct host *h = *state;
    struct call_execute c[3];

    lead(h);
    sync_all(h);
    (void)apply_all(h);
    ended = 0;
    for (int i = 0; i < 3; i++) {
        c[i] = write_call();
        member_propose(h->member, &c[i], COMMAND_EXECUTE, h->now);
    }
    member_flush(h->member, h->now);
    assert_int_equal(h->n_wal, 1);
    assert_int_equal(h->wal[0]->n_entries, 3);
    sync_all(h);
    (void)apply_all(h);
    assert_int_equal(ended, 3);
    assert_true(c[0].raft_index + 1 == c[1].raft_index &&
                c[1].raft_index + 1 == c[2].raft_index);
}

/* So that something can be pinned between two entries that come in one batch. */
static void the_host_is_asked_between_the_entries_it_has_named(void **state)
{
    struct host *h = *state;
    struct call_execute c[5];
    uint64_t first;

    lead(h);
    sync_all(h);
    (void)apply_all(h);
    first = member_handed_over(h->member) + 1;
    member_cut(h->member, first - 1); /* it is too late for that */
    for (int i = 0; i < 5; i++) {
        c[i] = write_call();
        member_propose(h->member, &c[i], COMMAND_EXECUTE, h->now);
    }
    member_flush(h->member, h->now);
    member_cut(h->member, first + 2);
    sync_all(h);
    assert_int_equal(h->cuts, 1);
    assert_true(h->cut_at == first + 2);
    assert_int_equal(h->n_apply, 2);
    assert_int_equal(h->apply[0]->n, 3);
    assert_int_equal(h->apply[1]->n, 2);
    (void)apply_all(h);
    assert_int_equal(h->cuts, 1);
}

static int resumed;

static void count_resumed(struct call *c, void *owner)
{
    (void)c;
    (void)owner;
    resumed++;
}

static void a_linearizable_read_waits_until_what_was_committed_is_applied(void **state)
{
    struct host *h = *state;
    struct call_execute w = write_call();
    struct call_query q = {.call.done = count_done, .call.resume = count_resumed};

    lead(h);
    sync_all(h);
    (void)apply_all(h);
    member_propose(h->member, &w, COMMAND_EXECUTE, h->now);
    member_flush(h->member, h->now);
    sync_all(h); /* committed, not yet applied */
    resumed = 0;
    member_read(h->member, &q.call, 1000, h->now);
    assert_int_equal(resumed, 0);
    (void)apply_all(h);
    assert_int_equal(resumed, 1);
}

static void a_read_that_waits_too_long_is_told_so(void **state)
{
    struct host *h = *state;
    struct call_query q = {.call.done = count_done, .call.resume = count_resumed};

    lead(h);
    sync_all(h);
    (void)apply_all(h);
    ended = resumed = 0;
    member_wait_applied(h->member, &q.call, raft_last_index(h->raft) + 5, 50, h->now);
    assert_true(member_deadline_ms(h->member) <= h->now + 50);
    member_tick(h->member, h->now + 49);
    assert_int_equal(ended, 0);
    member_tick(h->member, h->now + 50);
    assert_int_equal(ended, 1);
    assert_int_equal(resumed, 0);
    assert_int_equal(q.call.why.code, ERR_TIMEOUT);
    assert_non_null(strstr(q.call.why.text, "timeout waiting for fsm"));
}

static void before_there_is_a_leader_a_write_is_refused(void **state)
{
    struct host *h = *state;
    struct call_execute c = write_call();

    ended = 0;
    if (raft_role(h->raft) == RAFT_LEADER) skip();
    member_propose(h->member, &c, COMMAND_EXECUTE, h->now);
    member_flush(h->member, h->now);
    assert_int_equal(ended, 1);
    assert_int_equal(c.call.why.code, ERR_NO_LEADER);
}

static void a_failed_write_to_the_log_ends_the_node_and_every_call(void **state)
{
    struct host *h = *state;
    struct call_execute c = write_call();

    lead(h);
    sync_all(h);
    (void)apply_all(h);
    ended = 0;
    member_propose(h->member, &c, COMMAND_EXECUTE, h->now);
    member_flush(h->member, h->now);
    (void)why_set(&h->wal[0]->why, ERR_IO, "fdatasync: Input/output error");
    member_wal_done(h->member, h->wal[0], h->now);
    h->n_wal = 0;
    assert_int_equal(h->fatal, 1);
    assert_true(member_deadline_ms(h->member) ==
                UINT64_MAX); /* nothing is due any more */
    assert_int_equal(ended, 1);
    assert_int_equal(c.call.why.code,
                     ERR_LEADERSHIP_LOST); /* it may be in the log or not */
    c = write_call();
    member_propose(h->member, &c, COMMAND_EXECUTE, h->now);
    assert_int_equal(ended, 2);
}

static void entries_read_for_a_peer_are_dropped_after_a_halt(void **state)
{
    struct host *h = *state;
    struct wal_job *job = wal_job_fetch("2", 1, 1, 100);
    struct blob *b = blob_new(10);

    assert_non_null(job);
    assert_non_null(b);
    job->entries = malloc(sizeof *job->entries);
    assert_non_null(job->entries);
    job->entries[0] = (struct raft_entry){1, 1, RAFT_ENTRY_APP, blob_ref(b)};
    job->n_entries = job->cap_entries = 1;
    lead(h);
    sync_all(h);
    member_halt(h->member);
    member_wal_done(h->member, job, h->now);
    assert_int_equal(atomic_load(&b->refs), 1);
    blob_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_write_is_applied_only_after_it_is_durable,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            the_host_is_asked_between_the_entries_it_has_named, setup, teardown),
        cmocka_unit_test_setup_teardown(entries_read_for_a_peer_are_dropped_after_a_halt,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            queued_writes_go_into_the_log_in_one_step_and_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_linearizable_read_waits_until_what_was_committed_is_applied, setup,
            teardown),
        cmocka_unit_test_setup_teardown(a_read_that_waits_too_long_is_told_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(before_there_is_a_leader_a_write_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_failed_write_to_the_log_ends_the_node_and_every_call, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
