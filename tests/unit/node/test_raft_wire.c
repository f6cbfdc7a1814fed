/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>

#include "core/base/pb.h"
#include "core/node/raft_wire.h"

/* Encode, let protobuf-c decode, translate.  The arena keeps it. */
static enum err there_and_back(struct raft_message *out, struct arena *a,
                               const struct raft_message *m, struct why *why)
{
    struct evbuffer *bytes = evbuffer_new();
    Rqlite__RaftMessage *w;
    enum err e;
    size_t len;

    assert_true(raft_wire_encode(bytes, m));
    len = evbuffer_get_length(bytes);
    e = pb_unpack(&w, &rqlite__raft_message__descriptor, a, evbuffer_pullup(bytes, -1),
                  len, why);
    if (!e) {
        assert_int_equal(rqlite__raft_message__get_packed_size(w), len); /* canonical */
        e = raft_wire_decode(out, a, w, why);
    }
    evbuffer_free(bytes);
    return e;
}

static struct raft_message full_message(enum raft_message_type type)
{
    struct raft_message m = {.type = type,
                             .to = "node-2",
                             .from = "node-1",
                             .term = UINT64_MAX,
                             .last_index = 1,
                             .last_term = 2,
                             .granted = true,
                             .transfer = true,
                             .prev_index = 3,
                             .prev_term = 4,
                             .commit = 5,
                             .read = 6,
                             .sent_ms = 7,
                             .hash_index = 8,
                             .hash = UINT64_MAX - 1,
                             .accepted = true,
                             .match = 9,
                             .conflict_term = 10,
                             .conflict_index = 11,
                             .snap_index = 12,
                             .snap_term = 13};
    return m;
}

static void same_message(const struct raft_message *a, const struct raft_message *b)
{
#define SAME(field) assert_int_equal(a->field, b->field)
    assert_string_equal(a->to, b->to);
    assert_string_equal(a->from, b->from);
    SAME(type), SAME(term), SAME(last_index), SAME(last_term), SAME(granted);
    SAME(transfer), SAME(prev_index), SAME(prev_term), SAME(commit), SAME(read);
    SAME(sent_ms), SAME(hash_index), SAME(hash), SAME(accepted), SAME(match);
    SAME(conflict_term), SAME(conflict_index), SAME(snap_index), SAME(snap_term);
    SAME(n_entries);
#undef SAME
}

static void every_field_of_every_type_comes_back(void **state)
{
    (void)state;
    for (int type = RAFT_MSG_PRE_VOTE; type <= RAFT_MSG_TIMEOUT_NOW; type++) {
        struct raft_message m = full_message((enum raft_message_type)type), back;
        struct raft_message bare = {
            .type = (enum raft_message_type)type, .to = "2", .from = "1"};
        struct arena a;
        struct why why;

        arena_init(&a, 0);
        assert_int_equal(there_and_back(&back, &a, &m, &why), ERR_OK);
        same_message(&back, &m);
        assert_int_equal(there_and_back(&back, &a, &bare, &why), ERR_OK);
        same_message(&back, &bare);
        arena_fini(&a);
    }
}

static void the_longest_ids_fit(void **state)
{
    struct raft_message m = full_message(RAFT_MSG_APPEND), back;
    uint64_t *const numbers[] = {&m.last_index, &m.last_term, &m.prev_term,
                                 &m.commit,     &m.read,      &m.sent_ms,
                                 &m.hash_index, &m.match,     &m.conflict_term,
                                 &m.snap_index, &m.snap_term, &m.conflict_index};
    struct arena a;
    struct why why;

    (void)state;
    memset(m.to, 't', RAFT_ID_MAX);
    memset(m.from, 'f', RAFT_ID_MAX);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        *numbers[i] = UINT64_MAX;
    arena_init(&a, 0);
    assert_int_equal(there_and_back(&back, &a, &m, &why), ERR_OK);
    same_message(&back, &m);
    arena_fini(&a);
}

static void entries_come_back_with_their_payloads(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 2048, 2049, 200000};
    enum { N = sizeof sizes / sizeof sizes[0] };
    struct raft_entry entries[N + 1] = {0};
    struct raft_message m = full_message(RAFT_MSG_APPEND), back;
    struct arena a;
    struct why why;

    (void)state;
    m.entries = entries;
    m.n_entries = N + 1; /* the last has no payload at all */
    for (size_t i = 0; i <= N; i++) {
        entries[i].index = m.prev_index + 1 + i;
        entries[i].term = m.prev_term + i;
        entries[i].type = (uint8_t)(i == 0 ? RAFT_ENTRY_NOOP : RAFT_ENTRY_APP + i);
        if (i == N) break;
        entries[i].payload = blob_new(sizes[i]);
        memset(entries[i].payload->data, 'a' + (int)i, sizes[i]);
        entries[i].payload->len = (uint32_t)sizes[i];
    }
    arena_init(&a, 0);
    assert_int_equal(there_and_back(&back, &a, &m, &why), ERR_OK);
    assert_int_equal(back.n_entries, N + 1);
    for (size_t i = 0; i <= N; i++) {
        size_t len = i < N ? sizes[i] : 0;

        assert_int_equal(back.entries[i].index, entries[i].index);
        assert_int_equal(back.entries[i].term, entries[i].term);
        assert_int_equal(back.entries[i].type, entries[i].type);
        if (len == 0) {
            assert_null(back.entries[i].payload);
        } else {
            assert_int_equal(back.entries[i].payload->len, len);
            assert_memory_equal(back.entries[i].payload->data, entries[i].payload->data,
                                len);
        }
        blob_unref(entries[i].payload);
    }
    raft_wire_release(&back);
    assert_int_equal(back.n_entries, 0);
    arena_fini(&a);
}

static void a_large_payload_is_referenced_until_it_is_written(void **state)
{
    struct raft_entry e = {.index = 4, .term = 4, .type = RAFT_ENTRY_APP};
    struct raft_message m = full_message(RAFT_MSG_APPEND);
    struct evbuffer *bytes = evbuffer_new();

    (void)state;
    e.payload = blob_new(1 << 20);
    memset(e.payload->data, 'x', 1 << 20);
    e.payload->len = 1 << 20;
    m.entries = &e;
    m.n_entries = 1;
    assert_true(raft_wire_encode(bytes, &m));
    assert_int_equal(e.payload->refs, 2);
    evbuffer_drain(bytes, evbuffer_get_length(bytes));
    assert_int_equal(e.payload->refs, 1);
    blob_unref(e.payload);
    evbuffer_free(bytes);
}

static void refused(Rqlite__RaftMessage *w, const char *text)
{
    struct raft_message out;
    struct why why = {0};
    struct arena a;

    arena_init(&a, 0);
    if (raft_wire_decode(&out, &a, w, &why) != ERR_CORRUPT) fail_msg("taken: %s", text);
    if (strstr(why.text, text) == NULL) fail_msg("%s: %s", text, why.text);
    assert_int_equal(out.n_entries, 0);
    arena_fini(&a);
}

static void what_raft_could_not_bear_is_refused(void **state)
{
    char id[RAFT_ID_MAX + 2];
    Rqlite__Entry one = RQLITE__ENTRY__INIT, two = RQLITE__ENTRY__INIT;
    Rqlite__Entry *entries[] = {&one, &two};
    Rqlite__RaftMessage w = RQLITE__RAFT_MESSAGE__INIT, good;
    struct raft_message out;
    struct arena a;

    (void)state;
    memset(id, 'i', RAFT_ID_MAX + 1);
    id[RAFT_ID_MAX + 1] = '\0';
    one.index = 8;
    two.index = 9;
    one.term = two.term = 3;
    one.type = two.type = RAFT_ENTRY_APP;
    w.type = RAFT_MSG_APPEND;
    w.to = w.from = id + 1;
    w.term = 3;
    w.prev_index = 7;
    w.prev_term = 3;
    w.entries = entries;
    w.n_entries = 2;
    good = w;
    arena_init(&a, 0);
    assert_int_equal(raft_wire_decode(&out, &a, &w, NULL), ERR_OK);
    raft_wire_release(&out);
    arena_fini(&a);

    w.type = 0;
    refused(&w, "unknown type");
    w.type = RAFT_MSG_TIMEOUT_NOW + 1;
    refused(&w, "unknown type");
    w.type = UINT32_MAX;
    refused(&w, "unknown type");
    w.type = RAFT_MSG_VOTE;
    refused(&w, "with entries");
    w = good;
    w.to = id;
    refused(&w, "bad node id");
    w.to = id + RAFT_ID_MAX + 1;
    refused(&w, "bad node id");
    w = good;
    w.from = id;
    refused(&w, "bad node id");
    w = good;
    two.index = 10;
    refused(&w, "gap");
    two.index = 9;
    w.prev_index = 6;
    refused(&w, "gap");
    w.prev_index = UINT64_MAX;
    refused(&w, "impossible index");
    w = good;
    two.term = 2;
    refused(&w, "wrong term");
    two.term = 4; /* above the leader's own */
    refused(&w, "wrong term");
    two.term = 3;
    w.prev_term = 4;
    refused(&w, "wrong term");
    w = good;
    two.type = 0;
    refused(&w, "entry of type 0");
    two.type = 256;
    refused(&w, "entry of type 256");
    two.type = RAFT_ENTRY_APP;
    w.n_entries = RAFT_WIRE_ENTRIES_MAX + 1; /* not looked at one by one */
    refused(&w, "entries");
}

static void a_decode_without_memory_leaves_nothing(void **state)
{
    uint8_t data[] = "payload";
    Rqlite__Entry one = RQLITE__ENTRY__INIT, *entries[] = {&one};
    Rqlite__RaftMessage w = RQLITE__RAFT_MESSAGE__INIT;
    char id[] = "1";
    struct raft_message out;
    struct arena a;

    (void)state;
    one.index = one.term = 1;
    one.type = RAFT_ENTRY_APP;
    one.payload = (ProtobufCBinaryData){sizeof data, data};
    w.type = RAFT_MSG_APPEND;
    w.to = w.from = id;
    w.term = 1;
    w.entries = entries;
    w.n_entries = 1;
    arena_init(&a, 1);
    assert_int_equal(raft_wire_decode(&out, &a, &w, NULL), ERR_NOMEM);
    assert_int_equal(out.n_entries, 0);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_every_type_comes_back),
        cmocka_unit_test(the_longest_ids_fit),
        cmocka_unit_test(entries_come_back_with_their_payloads),
        cmocka_unit_test(a_large_payload_is_referenced_until_it_is_written),
        cmocka_unit_test(what_raft_could_not_bear_is_refused),
        cmocka_unit_test(a_decode_without_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
