/* SPDX-License-Identifier: MIT */
/*
 * A node that is sent a snapshot by this test: from the store of another node, whole or
 * in part, with mistakes or without.
 */
#include "tests/unit/node/bad_disk.h"
#include "tests/unit/node/one_node.h"

#include <event2/event.h>

#include "core/base/crc32c.h"
#include "core/net/client.h"
#include "core/net/server.h"
#include "core/node/deflate.h"
#include "core/snapshot/snapshot.h"
#include "proto/raft.pb-c.h"

/* --- who sends -------------------------------------------------------------------- */

struct sender {
    struct one from; /* whose snapshot it is, ended */
    struct snapshot_store *store;
    struct snapshot_reader *reader;
    struct blob *meta;
    uint64_t cluster_id;
    uint32_t pages;

    struct event_base *base;
    struct net *net;
    struct net_channel *channel;
    struct net_request *request; /* NULL when over */
    uint32_t next, stop_after;   /* pages; 0: after the header */
    bool header_sent, answered, finished, deflate, spoil, ok;
    uint32_t had; /* pages, it said */
    uint8_t page[SNAPSHOT_PAGE], squeezed[SNAPSHOT_PAGE];
    struct why why;
};

/* A node writes something, takes a snapshot, and is gone. */
static void sender_open(struct sender *s)
{
    struct asked *a = asked_new();
    struct node_progress p;
    char dir[100];

    memset(s, 0, sizeof *s);
    one_begin(&s->from);
    one_up(&s->from);
    must_execute(&s->from, "CREATE TABLE t(id INTEGER PRIMARY KEY, x)");
    must_execute(&s->from,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "
                 "i < 100) INSERT INTO t SELECT i, randomblob(3000) FROM n");
    node_snapshot(s->from.node, &a->u.snapshot);
    assert_int_equal(asked_wait(a), ERR_OK);
    asked_free(a);
    node_progress(s->from.node, &p);
    s->cluster_id = p.cluster_id;
    one_down(&s->from);
    snprintf(dir, sizeof dir, "%s/snapshots", s->from.dir);
    assert_int_equal(snapshot_store_open(&s->store, io_real(), dir, NULL, NULL), ERR_OK);
    assert_int_equal(snapshot_reader_open(s->store, &s->reader, NULL), ERR_OK);
    s->pages = snapshot_reader_meta(s->reader)->pages;
    assert_true(s->pages > 50);
    s->meta = snapshot_meta_encode(snapshot_reader_meta(s->reader));
    assert_non_null(s->meta);
}

static void sender_close(struct sender *s)
{
    snapshot_reader_close(s->reader);
    snapshot_store_close(s->store);
    blob_unref(s->meta);
    one_end(&s->from);
}

static void send_header(struct net_request *r)
{
    struct sender *s = net_request_user(r);
    Rqlite__SnapshotHeader h = RQLITE__SNAPSHOT_HEADER__INIT;
    Rqlite__SnapshotChunk m = RQLITE__SNAPSHOT_CHUNK__INIT;

    h.meta.data = s->meta->data;
    h.meta.len = s->meta->len;
    h.deflate = s->deflate;
    m.kind_case = RQLITE__SNAPSHOT_CHUNK__KIND_HEADER;
    m.header = &h;
    s->header_sent = net_request_send(r, &m.base) == ERR_OK;
}

static bool send_page(struct net_request *r)
{
    struct sender *s = net_request_user(r);
    Rqlite__SnapshotChunk m = RQLITE__SNAPSHOT_CHUNK__INIT;
    size_t len;

    CHECK(snapshot_read(s->reader, s->next, 1, s->page, NULL) == ERR_OK);
    m.kind_case = RQLITE__SNAPSHOT_CHUNK__KIND_DATA;
    m.page = s->next;
    m.pages = 1;
    m.crc32c = crc32c(0, s->page, sizeof s->page) + s->spoil;
    m.data.data = s->page;
    m.data.len = sizeof s->page;
    if (s->deflate &&
        deflate_pages(s->squeezed, sizeof s->squeezed, &len, s->page, sizeof s->page)) {
        m.data.data = s->squeezed;
        m.data.len = len;
        m.deflated = true;
    }
    if (net_request_send(r, &m.base) != ERR_OK) return false;
    s->next++;
    return true;
}

static void more(struct net_request *r)
{
    struct sender *s = net_request_user(r);

    if (!s->header_sent) send_header(r);
    if (!s->answered) return;
    while (s->next <= s->stop_after && net_request_writable(r))
        if (!send_page(r)) return;
    if (s->next > s->pages && !s->finished) {
        s->finished = true;
        net_request_finish(r);
    }
}

static void reply(struct net_request *r, const ProtobufCMessage *message)
{
    const Rqlite__SnapshotReply *m = (const Rqlite__SnapshotReply *)(const void *)message;
    struct sender *s = net_request_user(r);

    if (m->ok) s->ok = true;
    if (s->answered) return;
    s->answered = true;
    s->had = m->pages;
    s->next = m->pages + 1;
    more(r);
}

static void over(struct net_request *r, const struct net_result *result)
{
    struct sender *s = net_request_user(r);

    s->why = result->why;
    s->request = NULL;
}

static const struct net_request_events events = {
    .on_message = reply, .on_writable = more, .on_done = over};

/* Send pages up to that number; more than there are: to the end. */
static void stream_begin(struct sender *s, struct one *to, uint32_t upto)
{
    struct net_options no = {
        .identity = {.node_id = "2", .address = "x:1", .software = "test"}};
    struct net_channel_options co = {.class = NET_BULK};
    struct net_request_options ro = {.service = &net_service_raft,
                                     .method = NET_RAFT_INSTALL_SNAPSHOT,
                                     .events = &events,
                                     .user = s};
    struct node_progress p;
    char address[40];

    node_progress(to->node, &p);
    s->header_sent = s->answered = s->finished = s->ok = false;
    s->next = s->had = 0;
    s->stop_after = upto < s->pages ? upto : s->pages;
    memset(&s->why, 0, sizeof s->why);
    no.identity.cluster_id = p.cluster_id;
    no.base = s->base = event_base_new();
    assert_int_equal(net_new(&s->net, &no, NULL), ERR_OK);
    snprintf(address, sizeof address, "127.0.0.1:%u",
             net_server_port(node_server(to->node)));
    co.address = address;
    assert_int_equal(net_channel_new(&s->channel, s->net, &co, NULL), ERR_OK);
    assert_int_equal(net_request_start(&s->request, s->channel, &ro, NULL), ERR_OK);
}

static void stream_end(struct sender *s)
{
    if (s->request) net_request_cancel(s->request);
    net_channel_free(s->channel);
    net_free(s->net);
    event_base_free(s->base);
    s->request = NULL;
}

#define STREAM_UNTIL(s, condition)                                                       \
    WAIT_FOR(((void)event_base_loop((s)->base, EVLOOP_NONBLOCK), (condition)))

/* A node without a cluster. */
static void receiver_open(struct one *o)
{
    one_begin(o);
    o->bind = "127.0.0.1:0";
    one_open(o);
}

static bool holds(struct one *o, const char *text)
{
    struct asked *a =
        query_asked("SELECT count(*), sum(length(x)) FROM t", RQLITE__LEVEL__NONE, false);
    bool same;

    node_query(o->node, &a->u.query);
    same = asked_wait(a) == ERR_OK && strcmp(a->sink.text, text) == 0;
    asked_free(a);
    return same;
}

/* --- the tests -------------------------------------------------------------------- */

static void a_snapshot_is_received_and_becomes_the_database(void **state)
{
    struct sender s;
    struct one o;

    (void)state;
    sender_open(&s);
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        one_begin(&o);
        o.bind = "127.0.0.1:0";
        o.on_disk = on_disk;
        one_open(&o);
        s.deflate = on_disk;
        stream_begin(&s, &o, UINT32_MAX);
        STREAM_UNTIL(&s, s.request == NULL);
        assert_int_equal(s.why.code, ERR_OK);
        assert_true(s.ok);
        assert_int_equal(s.had, 0);
        WAIT_FOR(holds(&o, "100,300000;"));
        stream_end(&s);
        one_down(&o);
        one_open(&o); /* it is in the store, too */
        assert_true(holds(&o, "100,300000;"));
        one_end(&o);
    }
    sender_close(&s);
}

/* A connection that breaks costs what was on its way, no more. */
static void a_broken_stream_goes_on_where_it_was(void **state)
{
    struct sender s;
    struct one o;

    (void)state;
    sender_open(&s);
    receiver_open(&o);
    stream_begin(&s, &o, 40);
    STREAM_UNTIL(&s, s.next == 41);
    STREAM_UNTIL(&s, net_channel_queued(s.channel) == 0);
    stream_end(&s);
    do { /* the node may not have noticed the end of the other yet */
        stream_begin(&s, &o, UINT32_MAX);
        STREAM_UNTIL(&s, s.request == NULL);
        stream_end(&s);
    } while (s.why.code == ERR_BUSY);
    assert_int_equal(s.why.code, ERR_OK);
    assert_true(s.had > 0);
    assert_true(s.had <= 40);
    WAIT_FOR(holds(&o, "100,300000;"));
    one_end(&o);
    sender_close(&s);
}

static void it_goes_on_after_a_restart_of_the_receiver_too(void **state)
{
    struct sender s;
    struct one o;

    (void)state;
    sender_open(&s);
    receiver_open(&o);
    stream_begin(&s, &o, 40);
    STREAM_UNTIL(&s, s.next == 41 && net_channel_queued(s.channel) == 0);
    one_down(&o);
    stream_end(&s);
    one_open(&o);
    stream_begin(&s, &o, UINT32_MAX);
    STREAM_UNTIL(&s, s.request == NULL);
    stream_end(&s);
    assert_int_equal(s.why.code, ERR_OK);
    WAIT_FOR(holds(&o, "100,300000;"));
    one_end(&o);
    sender_close(&s);
}

static void a_damaged_piece_is_refused_and_nothing_is_changed(void **state)
{
    struct sender s;
    struct one o;

    (void)state;
    sender_open(&s);
    receiver_open(&o);
    s.spoil = true;
    stream_begin(&s, &o, UINT32_MAX);
    STREAM_UNTIL(&s, s.request == NULL);
    stream_end(&s);
    assert_int_equal(s.why.code, ERR_CORRUPT);
    s.spoil = false;
    stream_begin(&s, &o, UINT32_MAX);
    STREAM_UNTIL(&s, s.request == NULL);
    stream_end(&s);
    assert_int_equal(s.why.code, ERR_OK);
    WAIT_FOR(holds(&o, "100,300000;"));
    one_end(&o);
    sender_close(&s);
}

static void a_snapshot_of_another_cluster_is_refused(void **state)
{
    struct sender s;
    struct one o;

    (void)state;
    sender_open(&s);
    one_begin(&o);
    o.bind = "127.0.0.1:0";
    one_up(&o); /* has a cluster of its own */
    must_execute(&o, "CREATE TABLE mine(id)");
    stream_begin(&s, &o, UINT32_MAX);
    STREAM_UNTIL(&s, s.request == NULL);
    stream_end(&s);
    assert_int_equal(s.why.code, ERR_INVALID);
    must_query(&o, "SELECT count(*) FROM mine", "0;");
    one_end(&o);
    sender_close(&s);
}

static void a_node_stops_in_the_middle_of_a_snapshot(void **state)
{
    struct sender s;
    struct one o;

    (void)state;
    sender_open(&s);
    for (uint32_t i = 0; i < 3; i++) {
        receiver_open(&o);
        stream_begin(&s, &o, i * 20);
        STREAM_UNTIL(&s, i == 0 ? s.header_sent : s.next == i * 20 + 1);
        one_down(&o);
        stream_end(&s);
        one_end(&o);
    }
    sender_close(&s);
}

static void a_node_stops_before_the_snapshot_it_received_is_durable(void **state)
{
    struct sender s;
    struct disk disk;
    struct one o;
    unsigned syncs;

    (void)state;
    sender_open(&s);
    disk_init(&disk);
    one_begin(&o);
    o.io = &disk.io;
    o.bind = "127.0.0.1:0";
    one_open(&o);
    atomic_store(&disk.sync_ms, 300);
    syncs = atomic_load(&disk.syncs);
    stream_begin(&s, &o, UINT32_MAX);
    STREAM_UNTIL(&s, s.finished && atomic_load(&disk.syncs) > syncs);
    one_down(&o);
    stream_end(&s);
    one_open(&o);
    one_end(&o);
    sender_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_is_received_and_becomes_the_database),
        cmocka_unit_test(a_broken_stream_goes_on_where_it_was),
        cmocka_unit_test(it_goes_on_after_a_restart_of_the_receiver_too),
        cmocka_unit_test(a_damaged_piece_is_refused_and_nothing_is_changed),
        cmocka_unit_test(a_snapshot_of_another_cluster_is_refused),
        cmocka_unit_test(a_node_stops_in_the_middle_of_a_snapshot),
        cmocka_unit_test(a_node_stops_before_the_snapshot_it_received_is_durable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
