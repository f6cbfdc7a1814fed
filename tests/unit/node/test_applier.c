/* SPDX-License-Identifier: MIT */
/* Entries given to an applier one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/resource.h>
#include <unistd.h>

#include "core/base/crc32c.h"
#include "core/base/list.h"
#include "core/base/pb.h"
#include "core/node/applier.h"
#include "core/node/command.h"
#include "core/node/remember.h"

#define MINUTE_NS (60 * UINT64_C(1000000000))

struct fixture {
    struct db *db;
    struct applier *applier;
    uint64_t index, term, time_ns;
};

static int setup_at(void **state, const char *path)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct db_options o = {.path = path, .scratch_dir = "."};
    struct why why = {0};

    assert_non_null(f);
    if (db_open(&f->db, &o, &why)) fail_msg("%s", why.text);
    assert_int_equal(applier_new(&f->applier, f->db, ".", NULL, &why), ERR_OK);
    f->term = 1;
    f->time_ns = 1000 * MINUTE_NS;
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_at(state, NULL);
}

static int setup_on_disk(void **state)
{
    return setup_at(state, "applier.sqlite");
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    applier_free(f->applier);
    db_close(f->db);
    free(f);
    return 0;
}

static void nothing(struct call *c)
{
    (void)c;
}

/* Apply one entry; how the call that waits for it ended is in c. */
static enum err apply(struct fixture *f, uint8_t type, struct blob *payload,
                      struct call *c, struct why *why)
{
    struct apply_job *j = apply_job_new(1);

    assert_non_null(j);
    c->done = nothing;
    if (payload) command_seal(payload, f->time_ns, 1);
    j->n = 1;
    j->items[0].entry = (struct raft_entry){++f->index, f->term, type, payload};
    j->items[0].call = c;
    return applier_run(f->applier, &j->mail, why);
}

static enum err chunk(struct fixture *f, uint64_t offset, const char *text)
{
    Rqlite__LoadChunk m = RQLITE__LOAD_CHUNK__INIT;
    struct call_execute c = {0};
    struct why why = {0};

    m.load = 9;
    m.offset = offset;
    m.data.data = (uint8_t *)(uintptr_t)text;
    m.data.len = strlen(text);
    if (apply(f, COMMAND_LOAD, pb_pack(&m.base, CALL_SPARE), &c.call, &why))
        fail_msg("%s", why.text);
    return c.call.why.code;
}

static void write_something(struct fixture *f)
{
    Rqlite__ExecuteRequest m = RQLITE__EXECUTE_REQUEST__INIT;
    struct call_execute c = {0};
    struct why why = {0};

    if (apply(f, COMMAND_EXECUTE, pb_pack(&m.base, CALL_SPARE), &c.call, &why))
        fail_msg("%s", why.text);
}

static enum err captured(struct apply_capture *c, struct db *d, struct why *why)
{
    (void)why;
    assert_true((c->why.code == ERR_OK) == (d != NULL));
    return ERR_OK;
}

static enum err capture_now(struct fixture *f)
{
    struct apply_job *j = apply_job_new(0);
    struct apply_capture c = {.run = captured};
    struct why why = {0};

    assert_non_null(j);
    j->capture = &c;
    assert_int_equal(applier_run(f->applier, &j->mail, &why), ERR_OK);
    blob_unref(c.extra);
    return c.why.code;
}

static void a_load_given_up_does_not_keep_snapshots_away_for_ever(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(chunk(f, 0, "SQLite "), ERR_OK);
    assert_int_equal(capture_now(f), ERR_BUSY);
    f->time_ns += 9 * MINUTE_NS;
    assert_int_equal(chunk(f, 7, "format "), ERR_OK); /* slow, but it goes on */
    f->time_ns += 9 * MINUTE_NS;
    write_something(f);
    assert_int_equal(capture_now(f), ERR_BUSY);
    f->time_ns += 2 * MINUTE_NS;
    write_something(f);
    assert_int_equal(capture_now(f), ERR_OK);
    assert_int_equal(chunk(f, 14, "3"), ERR_INVALID);
}

static void write_sql(struct fixture *f, const char *sql)
{
    Rqlite__ExecuteRequest m = RQLITE__EXECUTE_REQUEST__INIT;
    Rqlite__Statement s = RQLITE__STATEMENT__INIT, *statements = &s;
    struct call_execute c = {0};
    struct why why = {0};

    s.sql = (char *)(uintptr_t)sql;
    m.statements = &statements;
    m.n_statements = 1;
    if (apply(f, COMMAND_EXECUTE, pb_pack(&m.base, CALL_SPARE), &c.call, &why))
        fail_msg("%s", why.text);
}

/* However often there are new ones, there is a place where there are none. */
static void between_temporary_objects_there_is_a_place_for_a_snapshot(void **state)
{
    struct fixture *f = *state;
    uint64_t ends;

    assert_true(db_session_ends(f->db) == 0);
    for (int i = 0; i < 2; i++) {
        write_sql(f, "CREATE TEMP TABLE IF NOT EXISTS tt(a)");
        ends = db_session_ends(f->db);
        assert_true(ends > f->index);
        while (f->index < ends) {
            assert_int_equal(capture_now(f), ERR_BUSY);
            write_sql(f, "CREATE TEMP TABLE IF NOT EXISTS tt(a)");
        }
        assert_int_equal(capture_now(f), ERR_OK);
        assert_true(db_session_ends(f->db) == 0);
    }
    write_sql(f, "CREATE TEMP TABLE tt(a)");
    assert_int_equal(capture_now(f), ERR_BUSY);
    assert_int_equal(applier_forget(f->applier, NULL), ERR_OK);
    assert_int_equal(capture_now(f), ERR_OK);
}

/* Else nodes would differ by when they took a snapshot. */
static void it_is_given_up_whether_a_snapshot_was_taken_or_not(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(chunk(f, 0, "SQLite "), ERR_OK);
    f->time_ns += 11 * MINUTE_NS;
    assert_int_equal(chunk(f, 7, "format "), ERR_INVALID);
}

/* Who sent it does not lead any more; nobody goes on with it. */
static void a_new_leaders_first_entry_ends_half_a_load(void **state)
{
    struct fixture *f = *state;
    struct call_execute c = {0};
    struct why why = {0};

    assert_int_equal(chunk(f, 0, "SQLite "), ERR_OK);
    assert_true(applier_loading(f->applier));
    f->term++;
    assert_int_equal(apply(f, RAFT_ENTRY_NOOP, NULL, &c.call, &why), ERR_OK);
    assert_false(applier_loading(f->applier));
    assert_int_equal(capture_now(f), ERR_OK);
    assert_int_equal(chunk(f, 7, "format "), ERR_INVALID);
}

static void a_strong_read_that_cannot_be_run_costs_itself_alone(void **state)
{
    struct fixture *f = *state;
    Rqlite__QueryRequest q = RQLITE__QUERY_REQUEST__INIT;
    struct call_query c = {.request = &q};
    struct rlimit old, none;
    struct why why = {0};
    enum err e;

    write_something(f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    e = apply(f, COMMAND_QUERY, NULL, &c.call, &why); /* wants a connection */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(e, ERR_OK);
    assert_true(c.call.why.code != ERR_OK);
    write_something(f);
    assert_true(applier_index(f->applier) == f->index);
}

/* --- what is replicated beside the database -------------------------------------------
 */

static enum err take_extra(struct apply_capture *c, struct db *d, struct why *why)
{
    (void)d;
    (void)why;
    return c->why.code;
}

static void no_page(struct apply_restore *r, struct db *d)
{
    (void)r;
    assert_non_null(d);
}

static void state_beside_the_database_goes_through_a_snapshot(void **state)
{
    struct fixture *f = *state;
    struct apply_job *j = apply_job_new(0);
    struct apply_capture c = {.run = take_extra};
    struct apply_restore r = {.done = no_page, .time_ns = 7};
    struct remember *table;
    struct remembered answer = {.index = 1, .time_ns = 7};
    struct blob *extra;

    assert_int_equal(remember_new(&table), ERR_OK);
    assert_int_equal(remember_put(table, "key", 3, &answer), ERR_OK);
    assert_int_equal(remember_encode(table, &extra), ERR_OK);
    remember_free(table);
    write_something(f);
    assert_non_null(j);
    j->capture = &c;
    assert_int_equal(applier_run(f->applier, &j->mail, NULL), ERR_OK);
    assert_null(c.extra);
    r.state = c.state;
    r.state.index = 50;
    r.state.pages = 0;
    r.extra = extra;
    j = apply_job_new(0);
    assert_non_null(j);
    j->restore = &r;
    assert_int_equal(applier_run(f->applier, &j->mail, NULL), ERR_OK);
    assert_int_equal(applier_index(f->applier), 50);
    assert_int_equal(applier_time_ns(f->applier), 7);
    memset(&c, 0, sizeof c);
    c.run = take_extra;
    j = apply_job_new(0);
    assert_non_null(j);
    j->capture = &c;
    assert_int_equal(applier_run(f->applier, &j->mail, NULL), ERR_OK);
    assert_non_null(c.extra);
    assert_int_equal(c.extra->len, extra->len);
    assert_memory_equal(c.extra->data, extra->data, extra->len);
    blob_unref(c.extra);
    blob_unref(extra);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_load_given_up_does_not_keep_snapshots_away_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(
            between_temporary_objects_there_is_a_place_for_a_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(
            it_is_given_up_whether_a_snapshot_was_taken_or_not, setup, teardown),
        cmocka_unit_test_setup_teardown(state_beside_the_database_goes_through_a_snapshot,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_leaders_first_entry_ends_half_a_load, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_strong_read_that_cannot_be_run_costs_itself_alone, setup_on_disk, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
