/* SPDX-License-Identifier: MIT */
#include "core/node/results.h"
#include "tests/unit/cluster/nodes.h"

#include <float.h>
#include <math.h>

/* --- there and back ----------------------------------------------------------------- */

static bool leave_it(struct results_writer *w)
{
    (void)w;
    return true;
}

static struct db_value integer(int64_t i)
{
    return (struct db_value){.type = DB_INTEGER, .u.i = i};
}

static struct db_value real(double r)
{
    return (struct db_value){.type = DB_REAL, .u.r = r};
}

static struct db_value text(const char *p, size_t n)
{
    return (struct db_value){.type = DB_TEXT, .u.s = {p, n}};
}

static struct db_value blob(const char *p, size_t n)
{
    return (struct db_value){.type = DB_BLOB, .u.s = {p, n}};
}

/* Everything a sink can be told, once. */
static void tell_all(struct row_sink *s)
{
    const struct row_column cols[] = {
        {"id", "INTEGER"}, {"", NULL}, {"t.\xff", ""}, {"n", "VARCHAR(10)"}};
    const struct db_value rows[][4] = {
        {integer(0), integer(-1), integer(INT64_MIN), integer(INT64_MAX)},
        {real(0.0), real(-0.0), real(DBL_MIN), real(DBL_MAX)},
        {real(INFINITY), real(-INFINITY), real(1e-320), integer(300)},
        {text("", 0), text("a\0b", 3), text("\xff\xfe\x80", 3), text("\xc3\xa9", 2)},
        {blob("", 0), blob("\0\0", 2), blob("\xff", 1), {.type = DB_NULL}},
    };

    s->ops->columns(s, cols, 4);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_true(s->ops->row(s, rows[i], 4));
    s->ops->rows_end(s, 12345678901);
    s->ops->columns(s, NULL, 0);
    s->ops->rows_end(s, 0);
    s->ops->written(s, INT64_MIN, -1, UINT64_MAX);
    s->ops->written(s, 0, 0, 0);
    s->ops->failed(s, true, "no such table: \xff\0x", 17);
    s->ops->failed(s, false, "", 0);
    s->ops->columns(s, cols, 1); /* a statement that fails half-way */
    assert_true(s->ops->row(s, rows[0], 1));
    s->ops->failed(s, true, "interrupted", 11);
    s->ops->request_failed(s, "all of it", 9);
}

static void every_event_and_value_comes_back_as_it_was(void **state)
{
    struct text_sink direct, wire;
    struct results_writer w;
    struct results_reader r;
    struct why why = {0};

    (void)state;
    text_sink_init(&direct);
    text_sink_init(&wire);
    tell_all(&direct.sink);
    results_writer_init(&w, leave_it);
    tell_all(&w.sink);
    results_writer_end(&w, 42);
    assert_int_equal(w.error, ERR_OK);
    results_reader_init(&r, &wire.sink);
    if (results_read(&r, w.out.data, w.out.len, &why)) fail_msg("%s", why.text);
    assert_string_equal(text_sink_get(&wire), text_sink_get(&direct));
    assert_true(r.done && r.begun && r.over && !r.muted);
    assert_int_equal(r.raft_index, 42);
    results_reader_fini(&r);
    results_writer_fini(&w);
    text_sink_fini(&direct);
    text_sink_fini(&wire);
}

/* The .proto says what the bytes are: the generated code reads the same. */
static void the_bytes_are_the_message_of_the_proto_file(void **state)
{
    struct results_writer w;
    Rqlite__Results *m;
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    results_writer_init(&w, leave_it);
    tell_all(&w.sink);
    results_writer_end(&w, 7);
    assert_int_equal(
        pb_unpack(&m, &rqlite__results__descriptor, &a, w.out.data, w.out.len, NULL),
        ERR_OK);
    assert_true(m->done);
    assert_int_equal(m->raft_index, 7);
    assert_int_equal(m->n_events, 17);
    assert_int_equal(m->events[0]->kind_case, RQLITE__EVENT__KIND_COLUMNS);
    assert_int_equal(m->events[0]->columns->n_columns, 4);
    assert_string_equal(m->events[0]->columns->columns[0]->declared, "INTEGER");
    assert_false(m->events[0]->columns->columns[1]->has_declared);
    assert_true(m->events[0]->columns->columns[2]->has_declared);
    assert_true(m->events[1]->row->values[2]->integer == INT64_MIN);
    assert_true(m->events[2]->row->values[3]->real == DBL_MAX);
    assert_int_equal(m->events[4]->row->values[1]->text.len, 3);
    assert_int_equal(m->events[5]->row->values[3]->kind_case,
                     RQLITE__VALUE__KIND__NOT_SET);
    assert_true(m->events[6]->rows_end_ns == 12345678901);
    assert_true(m->events[9]->written->last_insert_id == INT64_MIN);
    assert_true(m->events[9]->written->rows_affected == -1);
    assert_true(m->events[9]->written->elapsed_ns == UINT64_MAX);
    assert_int_equal(m->events[11]->failed->text.len, 17);
    assert_true(m->events[11]->failed->read_side);
    assert_int_equal(m->events[16]->kind_case, RQLITE__EVENT__KIND_REQUEST_FAILED);
    results_writer_fini(&w);
    arena_fini(&a);
}

static void what_the_generated_code_packs_is_read(void **state)
{
    Rqlite__Results m = RQLITE__RESULTS__INIT;
    Rqlite__Event e = RQLITE__EVENT__INIT;
    Rqlite__Written written = RQLITE__WRITTEN__INIT;
    Rqlite__Event *events[] = {&e};
    struct text_sink sink;
    struct results_reader r;
    uint8_t bytes[100];

    (void)state;
    text_sink_init(&sink);
    results_reader_init(&r, &sink.sink);
    assert_int_equal(results_read(&r, bytes, rqlite__results__pack(&m, bytes), NULL),
                     ERR_OK); /* nothing: a sign of life */
    assert_false(r.begun || r.done);
    written.rows_affected = -3; /* and what is 0 is left out */
    e.kind_case = RQLITE__EVENT__KIND_WRITTEN;
    e.written = &written;
    m.n_events = 1;
    m.events = events;
    m.done = true;
    assert_int_equal(results_read(&r, bytes, rqlite__results__pack(&m, bytes), NULL),
                     ERR_OK);
    assert_string_equal(text_sink_get(&sink), "{0,-3}");
    assert_true(r.done);
    results_reader_fini(&r);
    text_sink_fini(&sink);
}

/* --- pieces ------------------------------------------------------------------------- */

struct piecemeal {
    struct results_writer w;
    struct results_reader *to;
    unsigned pieces, most;
};

static bool pass_on(struct results_writer *w)
{
    struct piecemeal *p = LIST_ITEM(w, struct piecemeal, w);

    assert_true(w->out.len >= RESULTS_BATCH_BYTES);
    assert_int_equal(results_read(p->to, w->out.data, w->out.len, NULL), ERR_OK);
    buf_clear(&w->out);
    p->pieces++;
    return p->most == 0 || p->pieces < p->most;
}

static void rows_are_handed_on_in_pieces(void **state)
{
    const struct row_column col = {"x", NULL};
    char thousand[1000];
    struct db_value v = text(thousand, sizeof thousand);
    struct text_sink sink;
    struct results_reader r;
    struct piecemeal p = {.to = &r};

    (void)state;
    memset(thousand, 'x', sizeof thousand);
    text_sink_init(&sink);
    sink.quiet = true;
    results_reader_init(&r, &sink.sink);
    results_writer_init(&p.w, pass_on);
    p.w.sink.ops->columns(&p.w.sink, &col, 1);
    for (int i = 0; i < 1000; i++) assert_true(p.w.sink.ops->row(&p.w.sink, &v, 1));
    p.w.sink.ops->rows_end(&p.w.sink, 1);
    results_writer_end(&p.w, 0);
    assert_int_equal(results_read(&r, p.w.out.data, p.w.out.len, NULL), ERR_OK);
    assert_int_equal(sink.rows, 1000);
    assert_true(r.done && p.pieces >= 15);
    results_writer_fini(&p.w);
    results_reader_fini(&r);

    results_reader_init(&r, &sink.sink); /* nobody wants the third piece */
    p.pieces = 0;
    p.most = 2;
    results_writer_init(&p.w, pass_on);
    sink.rows = 0;
    p.w.sink.ops->columns(&p.w.sink, &col, 1);
    for (int i = 0; i < 1000 && p.w.sink.ops->row(&p.w.sink, &v, 1); i++) continue;
    assert_true(p.w.stopped);
    assert_int_equal(p.pieces, 2);
    assert_true(sink.rows > 100 && sink.rows < 200);
    results_writer_fini(&p.w);
    results_reader_fini(&r);
    text_sink_fini(&sink);
}

/* Whether what was told may be taken back is known to who told it, and counts for the
 * sink behind the wire. */
static void final_results_may_be_passed_on_at_once(void **state)
{
    static const struct {
        enum sink_pace pace;
        bool final;
    } paces[] = {{SINK_KEEPS, false}, {SINK_WAITS, true}, {SINK_PAUSES, true}};

    (void)state;
    for (size_t i = 0; i < sizeof paces / sizeof *paces; i++) {
        struct results_writer w;
        struct results_reader r;
        struct text_sink sink;

        text_sink_init(&sink);
        assert_int_equal(sink.sink.pace, SINK_KEEPS);
        results_reader_init(&r, &sink.sink);
        results_writer_init(&w, leave_it);
        w.sink.pace = paces[i].pace;
        w.sink.ops->columns(&w.sink, NULL, 0);
        assert_int_equal(results_read(&r, w.out.data, w.out.len, NULL), ERR_OK);
        assert_int_equal(r.final, paces[i].final);
        assert_int_equal(sink.sink.pace, paces[i].final ? SINK_PAUSES : SINK_KEEPS);

        /* It stays so, and the end alone says nothing else. */
        buf_clear(&w.out);
        w.sink.ops->rows_end(&w.sink, 1);
        results_writer_end(&w, 7);
        assert_int_equal(results_read(&r, w.out.data, w.out.len, NULL), ERR_OK);
        assert_int_equal(r.final, paces[i].final);
        assert_true(r.done && r.raft_index == 7);
        results_reader_fini(&r);
        results_writer_fini(&w);
        text_sink_fini(&sink);
    }
}

static void final_results_without_a_sink_are_read(void **state)
{
    const uint8_t message[] = {5 << 3, 1, 2 << 3, 1};
    struct results_reader r;

    (void)state;
    results_reader_init(&r, NULL);
    assert_int_equal(results_read(&r, message, sizeof message, NULL), ERR_OK);
    assert_true(r.final && r.done);
    results_reader_fini(&r);
}

static void a_sink_that_wants_no_more_is_told_no_more(void **state)
{
    const struct row_column col = {"x", NULL};
    struct db_value v = integer(1);
    struct results_writer w;
    struct results_reader r;
    struct text_sink sink;

    (void)state;
    text_sink_init(&sink);
    sink.stop_after = 2;
    results_writer_init(&w, leave_it);
    w.sink.ops->columns(&w.sink, &col, 1);
    for (int i = 0; i < 5; i++) assert_true(w.sink.ops->row(&w.sink, &v, 1));
    w.sink.ops->rows_end(&w.sink, 1);
    w.sink.ops->written(&w.sink, 1, 1, 1);
    results_writer_end(&w, 9);
    results_reader_init(&r, &sink.sink);
    assert_int_equal(results_read(&r, w.out.data, w.out.len, NULL), ERR_OK);
    assert_string_equal(text_sink_get(&sink), "[x:-](1)(1)");
    assert_true(r.muted && r.done);
    assert_int_equal(r.raft_index, 9);
    results_reader_fini(&r);
    results_reader_init(&r, NULL); /* nobody at all */
    assert_true(r.muted);
    assert_int_equal(results_read(&r, w.out.data, w.out.len, NULL), ERR_OK);
    results_reader_fini(&r);
    results_writer_fini(&w);
    text_sink_fini(&sink);
}

/* --- what must be refused ----------------------------------------------------------- */

static enum err read_bytes(const char *bytes, size_t len)
{
    struct results_reader r;
    struct text_sink sink;
    enum err e;

    text_sink_init(&sink);
    results_reader_init(&r, &sink.sink);
    e = results_read(&r, bytes, len, NULL);
    results_reader_fini(&r);
    text_sink_fini(&sink);
    return e;
}

#define READ(literal) read_bytes(literal, sizeof literal - 1)

static void events_out_of_place_are_refused(void **state)
{
    (void)state;
    assert_int_equal(READ("\x0a\x02\x12\x00"), ERR_CORRUPT); /* a row without columns */
    assert_int_equal(READ("\x0a\x02\x18\x01"), ERR_CORRUPT); /* an end without columns */
    assert_int_equal(READ("\x0a\x02\x0a\x00\x0a\x02\x0a\x00"), ERR_CORRUPT); /* twice */
    assert_int_equal(READ("\x0a\x02\x0a\x00\x0a\x02\x22\x00"), ERR_CORRUPT); /* written */
    assert_int_equal(READ("\x0a\x02\x0a\x00\x10\x01"), ERR_CORRUPT); /* done, but open */
    assert_int_equal(READ("\x10\x01\x0a\x02\x22\x00"), ERR_CORRUPT); /* after the end */
    assert_int_equal(READ("\x0a\x02\x32\x00\x0a\x02\x22\x00"), ERR_CORRUPT);
    assert_int_equal(READ("\x0a\x02\x3a\x00"), ERR_CORRUPT); /* an unknown kind */
    assert_int_equal(READ("\x0a\x00"), ERR_CORRUPT);         /* none */
    assert_int_equal(READ("\x0a\x02\x0a\x00\x0a\x02\x2a\x00\x10\x01"), ERR_OK);
    assert_int_equal(READ("\x0a\x04\x0a\x02\x0a\x00\x0a\x02\x12\x00"), /* short row */
                     ERR_CORRUPT);
    assert_int_equal(READ("\x0a\x02\x0a\x00\x0a\x04\x12\x02\x0a\x00"), /* long row */
                     ERR_CORRUPT);
    assert_int_equal(READ("\x0a\x04\x0a\x02\x0a\x00\x0a\x04\x12\x02\x0a\x00"), ERR_OK);
}

static void bytes_that_are_no_message_are_refused(void **state)
{
    struct results_writer w;

    (void)state;
    assert_int_equal(READ(""), ERR_OK);
    assert_int_equal(READ("\x0a"), ERR_CORRUPT);
    assert_int_equal(READ("\x0a\x05\x00"), ERR_CORRUPT);
    assert_int_equal(READ("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                     ERR_CORRUPT);
    assert_int_equal(READ("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), ERR_CORRUPT);
    assert_int_equal(READ("\x0f"), ERR_CORRUPT); /* wire type 7 */
    assert_int_equal(READ("\x58\x01\x5d\x01\x02\x03\x04"),
                     ERR_OK); /* of a later version */
    results_writer_init(&w, leave_it);
    tell_all(&w.sink);
    results_writer_end(&w, 1);
    for (size_t len = 0; len < w.out.len; len++) {
        char *cut = malloc(len ? len : 1); /* so that reading over the end is noticed */

        assert_non_null(cut);
        memcpy(cut, w.out.data, len);
        (void)read_bytes(cut, len);
        free(cut);
    }
    results_writer_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_and_value_comes_back_as_it_was),
        cmocka_unit_test(the_bytes_are_the_message_of_the_proto_file),
        cmocka_unit_test(what_the_generated_code_packs_is_read),
        cmocka_unit_test(rows_are_handed_on_in_pieces),
        cmocka_unit_test(final_results_may_be_passed_on_at_once),
        cmocka_unit_test(final_results_without_a_sink_are_read),
        cmocka_unit_test(a_sink_that_wants_no_more_is_told_no_more),
        cmocka_unit_test(events_out_of_place_are_refused),
        cmocka_unit_test(bytes_that_are_no_message_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
