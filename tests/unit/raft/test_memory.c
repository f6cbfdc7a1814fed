/* SPDX-License-Identifier: MIT */
/*
 * The first allocation fails, then the second, and so on through a life: each time the
 * step has no effect but out_of_memory, what can be looked at stays sound, and nothing
 * leaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/base/arena.h"

static size_t fail_at; /* 0 = never */
static size_t allocations;

static bool allocation_fails(void)
{
    return ++allocations == fail_at;
}

static void *failing_malloc(size_t n)
{
    return allocation_fails() ? NULL : malloc(n);
}

static void *failing_calloc(size_t n, size_t size)
{
    return allocation_fails() ? NULL : calloc(n, size);
}

static void *failing_realloc(void *p, size_t n)
{
    return allocation_fails() ? NULL : realloc(p, n);
}

static void *failing_arena_alloc(struct arena *a, size_t n)
{
    if (allocation_fails()) a->failed = true;
    return a->failed ? NULL : arena_alloc(a, n);
}

#define malloc(n)         failing_malloc(n)
#define calloc(n, size)   failing_calloc(n, size)
#define realloc(p, n)     failing_realloc(p, n)
#define arena_alloc(a, n) failing_arena_alloc(a, n)
#include "core/raft/append.c"
#include "core/raft/config.c"
#include "core/raft/durable.c"
#include "core/raft/election.c"
#include "core/raft/entries.c"
#include "core/raft/member.c"
#include "core/raft/progress.c"
#include "core/raft/quorum.c"
#include "core/raft/raft.c"
#include "core/raft/read.c"
#include "core/raft/replicate.c"
#include "core/raft/restore.c"
#include "core/raft/snapshot.c"
#include "core/raft/trace.c"
#include "core/raft/transfer.c"
#undef malloc
#undef calloc
#undef realloc
#undef arena_alloc

#include "tests/unit/raft/machine.h"

static const uint64_t terms[] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
static struct raft_config snapshot_config;

/* The parts of a life; each may be the one that fails. */
static void propose(struct machine *m)
{
    machine_propose(m, "some text");
}
static void many(struct machine *m)
{
    uint8_t types[70];
    struct blob *payloads[70];
    struct raft_event e = {.type = RAFT_PROPOSE,
                           .u.propose = {.types = types, .payloads = payloads, .n = 70}};

    for (size_t i = 0; i < 70; i++) {
        types[i] = RAFT_ENTRY_APP;
        payloads[i] = blob_copy("x", 1);
    }
    machine_step(m, &e);
}
static void sync_disk(struct machine *m)
{
    machine_sync(m);
}
static void bootstrap(struct machine *m)
{
    struct raft_event e = {.type = RAFT_BOOTSTRAP,
                           .u.bootstrap.config = &snapshot_config};

    machine_step(m, &e);
}
static void time_out(struct machine *m)
{
    machine_tick(m, 3 * HEARTBEAT_MS);
}
static void pre_vote(struct machine *m)
{
    machine_vote(m, "b", RAFT_MSG_PRE_VOTE_REPLY, raft_term(m->r) + 1);
}
static void vote(struct machine *m)
{
    machine_vote(m, "b", RAFT_MSG_VOTE_REPLY, raft_term(m->r));
}
static void ack(struct machine *m)
{
    machine_ack(m, "b", raft_last_index(m->r));
}
static void change(struct machine *m)
{
    machine_put(m, "d", true);
}
static void read(struct machine *m)
{
    for (uint64_t i = 0; i < 9; i++) machine_read(m, i);
}
static void transfer(struct machine *m)
{
    machine_transfer(m, "b");
}
static void loaded(struct machine *m)
{
    struct raft_entry e = {2, 2, RAFT_ENTRY_APP, blob_copy("x", 1)};
    struct raft_event event = {.type = RAFT_LOADED,
                               .u.loaded = {.peer = "b", .entries = &e, .n = 1}};

    machine_step(m, &event);
}
static void newer_leader(struct machine *m)
{
    machine_append(m, "c", 9, 1, 1, terms, 10, 4);
}
static void conflict(struct machine *m)
{
    static const uint64_t others[] = {2, 2, 2, 9};

    machine_append(m, "c", 9, 1, 1, others, 4, 4);
}
static void installed(struct machine *m)
{
    struct raft_event e = {
        .type = RAFT_SNAPSHOT_INSTALLED,
        .u.snapshot = {.index = 500, .term = 9, .config = &snapshot_config}};

    machine_step(m, &e);
}

static void (*const life[])(struct machine *) = {
    bootstrap, sync_disk,    time_out, pre_vote,  sync_disk, vote,
    sync_disk, ack,          change,   read,      propose,   many,
    ack,       sync_disk,    transfer, loaded,    time_out,  pre_vote,
    read,      newer_leader, conflict, sync_disk, installed, sync_disk,
};

static void look_around(const struct machine *m)
{
    char text[20][120];
    struct raft_peer_view view;

    assert_true(raft_commit(m->r) <= raft_last_index(m->r));
    assert_true(raft_config(m->r) != NULL);
    for (size_t i = 0; raft_peer(m->r, i, &view); i++)
        assert_true(view.match < view.next);
    raft_trace(m->r, text, 20);
}

/* True if the allocation to fail was reached. */
static bool live(void)
{
    struct raft_options o = machine_options("a");
    struct raft_restored none = {0};
    struct machine m = {.now = 1000};
    struct why why;

    allocations = 0;
    if (raft_new(&m.r, &o, &none, &why)) {
        assert_int_equal(why.code, ERR_NOMEM);
        assert_null(m.r);
        return true;
    }
    for (size_t i = 0; i < sizeof life / sizeof life[0]; i++) {
        bool failed = m.fx.out_of_memory;
        life[i](&m);
        look_around(&m);
        if (failed) assert_true(m.fx.out_of_memory); /* for good */
        if (!m.fx.out_of_memory) continue;
        assert_int_equal(m.fx.refused, ERR_NOMEM);
        assert_int_equal(m.fx.n_send_now + m.fx.n_send_after + m.fx.n_append, 0);
        assert_int_equal(m.fx.n_reads + m.fx.n_loads + m.fx.n_snapshots, 0);
        assert_false(m.fx.save_hard || m.fx.reset_log || m.fx.truncate_from);
        assert_true(m.fx.deadline_ms == UINT64_MAX);
    }
    raft_free(m.r);
    return fail_at > 0 && allocations >= fail_at;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    config_of(&snapshot_config, "a b c");
    fail_at = 0;
    live();
    assert_true(allocations > 30);
    for (fail_at = 1; live();) fail_at++;
    assert_true(fail_at > 30);
    fail_at = 0;
    raft_config_fini(&snapshot_config);
}

static void restoring_reports_it(void **state)
{
    struct raft_options o = machine_options("a");
    struct raft_restored found = {.term = 2};
    struct raft_config c;
    bool done = false;

    (void)state;
    config_of(&c, "a b c");
    for (fail_at = 1; !done; fail_at++) {
        struct raft *r;
        struct raft_entry e = {1, 1, RAFT_ENTRY_CONFIG, raft_config_encode(&c)};
        allocations = 0;
        if (raft_new(&r, &o, &found, NULL) == ERR_OK) {
            enum err error = raft_restore(r, &e, NULL);
            done = error == ERR_OK;
            if (!done) assert_int_equal(error, ERR_NOMEM);
        }
        raft_free(r);
        blob_unref(e.payload);
    }
    fail_at = 0;
    raft_config_fini(&c);
}

static void values_stay_whole(void **state)
{
    struct raft_config c, copy;

    (void)state;
    config_of(&c, "a b");
    config_of(&copy, "x");
    allocations = 0;
    fail_at = 1;
    assert_int_equal(raft_config_copy(&copy, &c), ERR_NOMEM);
    assert_string_equal(copy.members[0].id, "x");
    allocations = 0;
    assert_int_equal(raft_config_put(&c, "d", "addr", true), ERR_NOMEM);
    assert_int_equal(c.n, 2);
    fail_at = 0;
    raft_config_fini(&c);
    raft_config_fini(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(restoring_reports_it),
        cmocka_unit_test(values_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
