/* SPDX-License-Identifier: MIT */
/* Streams both ways, with receivers that take their time: nothing piles up. */
#include "core/base/bytes.h"
#include "tests/unit/net/harness.h"

enum { CHUNK = 64 << 10 };

/* Every direction at once: a chunk in, a reply out. */
static const uint8_t echo_streams[] = {NET_STREAM_IN | NET_STREAM_OUT,
                                       NET_STREAM_IN | NET_STREAM_OUT};
static struct net_service echo_service = {.number = 200, .streams = echo_streams};

/* One way only, whatever the service of that name has come to. */
static const uint8_t one_way_streams[NET_DATABASE_METHODS] = {
    [NET_DATABASE_LOAD] = NET_STREAM_IN, [NET_DATABASE_BACKUP] = NET_STREAM_OUT};
static struct net_service one_way = {.number = 201, .streams = one_way_streams};

static struct callee {
    struct net_call *call;
    int to_send, sent, taken, ended, gone;
    size_t bytes;
    bool pause_each, end_early;
    struct net_server *free_in_message;
} it;

/* --- Backup: the callee streams
 * --------------------------------------------------------- */

static void send_chunks(struct net_call *c)
{
    static uint8_t block[CHUNK];
    Rqlite__Chunk chunk = RQLITE__CHUNK__INIT;

    chunk.data = (ProtobufCBinaryData){sizeof block, block};
    while (it.sent < it.to_send) {
        enum err e = net_call_send(c, &chunk.base);

        if (e == ERR_BUSY) return;
        assert_int_equal(e, ERR_OK);
        it.sent++;
    }
    it.call = NULL;
    net_call_end(c, ERR_OK, NULL);
}

static void on_gone(struct net_call *c)
{
    it.gone++;
    it.call = NULL;
    net_call_end(c, ERR_OK, NULL);
}

static void on_backup(struct net_call *c, const ProtobufCMessage *message)
{
    static const struct net_call_events events = {.on_writable = send_chunks,
                                                  .on_gone = on_gone};

    (void)message;
    it.call = c;
    net_call_listen(c, &events, NULL);
    send_chunks(c);
}

/* --- Load: the caller streams
 * ----------------------------------------------------------- */

static void on_chunk(struct net_call *c, const ProtobufCMessage *message)
{
    const Rqlite__Chunk *chunk = (const void *)message;
    size_t len;

    assert_non_null(net_call_bytes(c, &len));
    assert_true(len >= chunk->data.len);
    it.taken++;
    it.bytes += chunk->data.len;
    if (it.pause_each) net_call_pause(c);
    if (it.end_early) {
        it.call = NULL;
        net_call_end(c, ERR_NO_SPACE, "the disk is full");
    }
    if (it.free_in_message) {
        net_server_free(it.free_in_message);
        it.free_in_message = NULL;
    }
}

static void on_chunks_end(struct net_call *c)
{
    it.ended++;
    it.call = NULL;
    net_call_end(c, ERR_OK, NULL);
}

static void on_load(struct net_call *c, const ProtobufCMessage *message)
{
    static const struct net_call_events events = {
        .on_message = on_chunk, .on_end = on_chunks_end, .on_gone = on_gone};

    assert_null(message);
    it.call = c;
    net_call_listen(c, &events, NULL);
}

static const struct net_method database[NET_DATABASE_METHODS] = {
    [NET_DATABASE_LOAD] = {.on_call = on_load},
    [NET_DATABASE_BACKUP] = {.on_call = on_backup},
};

/* --- Step: Raft's stream, raw
 * ----------------------------------------------------------- */

static void on_raft_message(struct net_call *c, const ProtobufCMessage *message)
{
    size_t len;

    assert_null(message);
    assert_non_null(net_call_bytes(c, &len));
    it.taken++;
    it.bytes += len;
}

static void on_step(struct net_call *c, const ProtobufCMessage *message)
{
    static const struct net_call_events events = {
        .on_message = on_raft_message, .on_end = on_chunks_end, .on_gone = on_gone};

    (void)message;
    it.call = c;
    net_call_listen(c, &events, NULL);
}

/* --- echo
 * ------------------------------------------------------------------------------- */

static void on_echo_chunk(struct net_call *c, const ProtobufCMessage *message)
{
    const Rqlite__SnapshotChunk *chunk = (const void *)message;
    Rqlite__SnapshotReply reply = RQLITE__SNAPSHOT_REPLY__INIT;

    reply.pages = chunk->page;
    if (net_call_send(c, &reply.base) != ERR_OK) it.sent--;
    it.sent++;
}

static void on_echo(struct net_call *c, const ProtobufCMessage *message)
{
    static const struct net_call_events events = {
        .on_message = on_echo_chunk, .on_end = on_chunks_end, .on_gone = on_gone};

    assert_null(message);
    net_call_listen(c, &events, NULL);
}

static const struct net_method raft[NET_RAFT_METHODS] = {
    [NET_RAFT_STEP] = {.on_call = on_step, .raw = true},
};
static const struct net_method echo[NET_RAFT_METHODS] = {
    [NET_RAFT_INSTALL_SNAPSHOT] = {.on_call = on_echo},
};

static void open_served(struct world *w, const struct net_limits *here,
                        const struct net_limits *there)
{
    memset(&it, 0, sizeof it);
    world_open_with(w, here, there);
    echo_service.descriptor = &rqlite__raft__descriptor;
    one_way.descriptor = &rqlite__database__descriptor;
    assert_int_equal(net_server_add(w->server, &one_way, database, NULL), ERR_OK);
    assert_int_equal(net_server_add(w->server, &net_service_raft, raft, NULL), ERR_OK);
    assert_int_equal(net_server_add(w->server, &echo_service, echo, NULL), ERR_OK);
}

static struct net_request *start_backup(struct world *w, int chunks, struct outcome *got)
{
    Rqlite__BackupRequest backup = RQLITE__BACKUP_REQUEST__INIT;
    struct net_request_options o = ask(&one_way, NET_DATABASE_BACKUP, &backup, got);

    it.to_send = chunks;
    return start(w->channel, &o);
}

static void an_answer_streams_in_order_and_in_full(void **state)
{
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    start_backup(&w, 2000, &got); /* 125 MB */
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    assert_int_equal(got.messages, 2000);
    assert_in_range(got.bytes, 2000UL * CHUNK, 2000UL * (CHUNK + 16));
    assert_false(got.replied);
    assert_int_equal(stats_of(&w.here).streams, 0);
    world_close(&w);
}

static struct pausing {
    struct outcome got; /* first: the request's user */
    bool pause;
} slow;

static void pause_after_each(struct net_request *r, const ProtobufCMessage *message)
{
    outcome_on_message(r, message);
    if (slow.pause) net_request_pause(r);
}

static void a_slow_taker_stops_the_sender(void **state)
{
    static const struct net_request_events events = {.on_message = pause_after_each,
                                                     .on_done = outcome_on_done};
    Rqlite__BackupRequest backup = RQLITE__BACKUP_REQUEST__INIT;
    struct net_request_options o;
    struct net_request *r;
    struct world w;
    int bound;

    (void)state;
    open_served(&w, NULL, NULL);
    o = ask(&one_way, NET_DATABASE_BACKUP, &backup, &slow.got);
    o.events = &events;
    slow.pause = true;
    it.to_send = 3000;
    r = start(w.channel, &o);
    WAIT(&w, slow.got.messages == 1);
    world_run_ms(&w, 30);
    assert_int_equal(slow.got.messages, 1);
    bound = (512 << 10) / CHUNK + 1; /* the window, and the message that was begun */
    assert_in_range(it.sent, 2, bound);
    for (int i = 2; i < 40; i++) { /* one by one */
        net_request_resume(r);
        WAIT(&w, slow.got.messages >= (size_t)i);
        assert_true(it.sent <= (int)slow.got.messages + bound);
    }
    slow.pause = false;
    net_request_resume(r);
    WAIT(&w, slow.got.done);
    assert_int_equal(slow.got.messages, 3000);
    assert_int_equal(slow.got.why.code, ERR_OK);
    world_close(&w);
}

static void the_end_comes_after_what_was_held(void **state)
{
    static const struct net_request_events events = {.on_message = pause_after_each,
                                                     .on_done = outcome_on_done};
    Rqlite__BackupRequest backup = RQLITE__BACKUP_REQUEST__INIT;
    struct net_request_options o;
    struct net_request *r;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    o = ask(&one_way, NET_DATABASE_BACKUP, &backup, &slow.got);
    o.events = &events;
    slow.pause = true;
    it.to_send = 3;
    r = start(w.channel, &o);
    WAIT(&w, stats_of(&w.here).frames_in == 5); /* hello, messages, end */
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(slow.got.messages, i);
        assert_int_equal(slow.got.done, 0);
        net_request_resume(r);
    }
    assert_int_equal(slow.got.done, 1);
    world_close(&w);
}

static void a_cancelled_stream_stops_its_sender(void **state)
{
    struct net_request *r;
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    r = start_backup(&w, 100000, &got);
    WAIT(&w, got.messages > 3);
    net_request_cancel(r);
    WAIT(&w, it.gone == 1);
    assert_true(it.sent < 100000);
    assert_int_equal(got.done, 0);
    assert_true(net_channel_up(w.channel));
    world_close(&w);
}

/* A peer that keeps its connection but does not read it. */
static void a_peer_that_does_not_read_costs_bounded_memory(void **state)
{
    struct net_hello h = good_hello();
    uint8_t bytes[1000], body[FRAME_META_ROOM];
    struct net_meta meta = {0};
    struct world w;
    size_t len;
    int fd, before;

    (void)state;
    CLEAR_TEXT_ONLY();
    open_served(&w, NULL, NULL);
    it.to_send = 1 << 20;
    h.window = INT32_MAX; /* no bound from there */
    len = plain_hello(bytes, &h);
    len += plain_frame(bytes + len, false,
                       (struct frame){.kind = FRAME_CALL,
                                      .stream = 1,
                                      .service = one_way.number,
                                      .method = NET_DATABASE_BACKUP,
                                      .flags = FRAME_MESSAGE_HERE | FRAME_LAST},
                       body, frame_put_meta(body, &meta));
    fd = plain_connect(&w);
    assert_int_equal(send(fd, bytes, len, 0), len);
    WAIT(&w, it.sent > 0);
    do {
        before = it.sent;
        world_run_ms(&w, 20);
    } while (it.sent != before);
    assert_in_range(stats_of(&w.there).queued_bytes, 1, (1 << 20) + 2 * CHUNK);
    close(fd);
    WAIT(&w, it.gone == 1);
    world_close(&w);
}

/* --- the caller streams
 * ----------------------------------------------------------------- */

static struct sender {
    struct outcome got; /* first */
    int to_send, sent;
    bool finish;
} sender;

static void send_on(struct net_request *r)
{
    static uint8_t block[CHUNK];
    Rqlite__Chunk chunk = RQLITE__CHUNK__INIT;

    chunk.data = (ProtobufCBinaryData){sizeof block, block};
    while (sender.sent < sender.to_send) {
        enum err e = net_request_send(r, &chunk.base);

        if (e == ERR_BUSY) return;
        assert_int_equal(e, ERR_OK);
        sender.sent++;
    }
    if (sender.finish) {
        net_request_finish(r);
        assert_int_equal(net_request_send(r, &chunk.base), ERR_CLOSED);
        assert_false(net_request_writable(r));
    }
}

static struct net_request *start_load(struct world *w, int chunks)
{
    static const struct net_request_events events = {.on_writable = send_on,
                                                     .on_done = outcome_on_done};
    struct net_request_options o = ask(&one_way, NET_DATABASE_LOAD, NULL, &sender.got);

    o.events = &events;
    sender.sent = 0;
    sender.to_send = chunks;
    sender.finish = true;
    return start(w->channel, &o);
}

static void an_input_streams_once_there_is_a_connection(void **state)
{
    struct net_request *r;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    r = start_load(&w, 1000);
    assert_false(net_request_writable(r));
    WAIT(&w, sender.got.done);
    assert_int_equal(sender.got.why.code, ERR_OK);
    assert_true(sender.got.replied); /* END without a message stands for an empty one */
    assert_int_equal(it.taken, 1000);
    assert_int_equal(it.bytes, 1000UL * CHUNK);

    r = start_load(&w, 10); /* and when it is there already */
    assert_true(net_request_writable(r));
    send_on(r);
    WAIT(&w, sender.got.done);
    assert_int_equal(it.taken, 1010);
    assert_int_equal(it.ended, 2);
    world_close(&w);
}

static void an_empty_input_is_one(void **state)
{
    struct net_request *r;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    r = start_load(&w, 0);
    net_request_finish(r); /* before there is a connection */
    WAIT(&w, sender.got.done);
    assert_int_equal(sender.got.why.code, ERR_OK);
    assert_int_equal(it.taken, 0);
    assert_int_equal(it.ended, 1);
    world_close(&w);
}

static void a_slow_callee_stops_the_caller(void **state)
{
    struct world w;
    int bound = (512 << 10) / CHUNK + 1;

    (void)state;
    open_served(&w, NULL, NULL);
    it.pause_each = true;
    start_load(&w, 500);
    WAIT(&w, it.taken == 1);
    world_run_ms(&w, 30);
    assert_int_equal(it.taken, 1);
    assert_in_range(sender.sent, 2, bound);
    for (int i = 2; i < 50; i++) {
        net_call_resume(it.call);
        WAIT(&w, it.taken >= i);
        assert_true(sender.sent <= it.taken + bound);
    }
    it.pause_each = false;
    net_call_resume(it.call);
    WAIT(&w, sender.got.done);
    assert_int_equal(it.taken, 500);
    world_close(&w);
}

static void a_callee_may_end_before_the_input_does(void **state)
{
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    it.end_early = true;
    start_load(&w, 100000);
    WAIT(&w, sender.got.done);
    assert_int_equal(sender.got.why.code, ERR_NO_SPACE);
    assert_string_equal(sender.got.why.text, "the disk is full");
    assert_true(sender.sent < 100000);
    world_run_ms(&w, 5); /* what was on its way is thrown away */
    assert_int_equal(it.taken, 1);
    assert_true(net_channel_up(w.channel));
    world_close(&w);
}

static void a_bad_message_in_a_stream_ends_its_call(void **state)
{
    struct evbuffer *bytes = evbuffer_new();
    struct net_request *r;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    WAIT(&w, (net_channel_connect(w.channel), net_channel_up(w.channel)));
    r = start_load(&w, 0);
    evbuffer_add(bytes, "\x0a\xff", 2);
    assert_int_equal(net_request_send_bytes(r, bytes), ERR_OK);
    WAIT(&w, sender.got.done);
    assert_int_equal(sender.got.why.code, ERR_INVALID);
    assert_false(sender.got.not_run);
    assert_int_equal(it.gone, 1);
    assert_true(net_channel_up(w.channel));
    evbuffer_free(bytes);
    world_close(&w);
}

static void a_server_may_be_freed_in_a_message(void **state)
{
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    it.free_in_message = w.server;
    start_load(&w, 100);
    WAIT(&w, sender.got.done);
    assert_int_equal(sender.got.status, NET_STATUS_UNAVAILABLE);
    assert_int_equal(it.gone, 1);
    assert_int_equal(it.taken, 1);
    w.server = NULL;
    world_close(&w);
}

static void a_message_larger_than_the_window_passes(void **state)
{
    struct net_limits narrow = {.window_bytes = 100};
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, &narrow, &narrow);
    start_backup(&w, 50, &got);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    assert_int_equal(got.messages, 50);
    start_load(&w, 50);
    if (net_channel_up(w.channel)) sender.sent = 0;
    world_close(&w);

    open_served(&w, NULL, &narrow); /* each side has its own */
    start_load(&w, 50);
    WAIT(&w, sender.got.done);
    assert_int_equal(it.taken, 50);
    world_close(&w);
}

static void a_peer_that_ignores_the_window_is_closed(void **state)
{
    struct net_hello h = good_hello();
    struct net_limits narrow = {.window_bytes = 100};
    uint8_t bytes[3000], body[FRAME_META_ROOM + 200] = {0};
    struct net_meta meta = {0};
    struct world w;
    size_t len;
    int fd;

    (void)state;
    CLEAR_TEXT_ONLY();
    open_served(&w, NULL, &narrow);
    it.pause_each = true;
    len = plain_hello(bytes, &h);
    len += plain_frame(bytes + len, false,
                       (struct frame){.kind = FRAME_CALL,
                                      .stream = 1,
                                      .service = one_way.number,
                                      .method = NET_DATABASE_LOAD},
                       body, frame_put_meta(body, &meta));
    memcpy(body, "\x0a\x60", 2); /* a chunk of 96 bytes */
    for (int i = 0; i < 3; i++)
        len += plain_frame(bytes + len, false,
                           (struct frame){.kind = FRAME_MESSAGE, .stream = 1}, body, 98);
    fd = plain_connect(&w);
    assert_int_equal(send(fd, bytes, len, 0), len);
    WAIT(&w, plain_closed(fd, NULL));
    assert_true(said(&w.there, "stream 1: message beyond the window"));
    assert_int_equal(it.gone, 1);
    close(fd);

    /* Nor may it open ours without bounds. */
    put_le32(body, INT32_MAX);
    len -= 3 * (16 + 98);
    for (int i = 0; i < 2; i++)
        len += plain_frame(bytes + len, false,
                           (struct frame){.kind = FRAME_WINDOW, .stream = 1}, body, 4);
    fd = plain_connect(&w);
    assert_int_equal(send(fd, bytes, len, 0), len);
    WAIT(&w, plain_closed(fd, NULL));
    assert_true(said(&w.there, "grew beyond all bounds"));
    close(fd);
    world_close(&w);
}

static void parts_of_messages_have_a_limit_together(void **state)
{
    struct net_limits small = {.max_message_bytes = 64 << 10,
                               .max_queued_bytes = 64 << 10};
    struct net_hello h = good_hello();
    struct evbuffer *answer = evbuffer_new();
    uint8_t bytes[1000], body[FRAME_META_ROOM];
    static uint8_t part[16 + (60 << 10)];
    struct net_meta meta = {0};
    struct world w;
    size_t len;
    int fd;

    (void)state;
    CLEAR_TEXT_ONLY();
    open_served(&w, NULL, &small);
    len = plain_hello(bytes, &h);
    fd = plain_connect(&w);
    assert_int_equal(send(fd, bytes, len, 0), len);
    for (uint32_t i = 1; i <= 3; i++) {
        len = plain_frame(bytes, false,
                          (struct frame){.kind = FRAME_CALL,
                                         .stream = i,
                                         .service = one_way.number,
                                         .method = NET_DATABASE_BACKUP,
                                         .flags = FRAME_MESSAGE_HERE | FRAME_MORE},
                          body, frame_put_meta(body, &meta));
        assert_int_equal(send(fd, bytes, len, 0), len);
        frame_put(part, &(struct frame){.kind = FRAME_MESSAGE,
                                        .stream = i,
                                        .length = 60 << 10,
                                        .flags = FRAME_MORE});
        assert_int_equal(send(fd, part, sizeof part, 0), sizeof part);
        WAIT(&w, stats_of(&w.there).frames_in == 1 + 2 * i);
    }
    WAIT(&w, (assert_false(plain_closed(fd, answer)),
              evbuffer_search(answer, "too many messages wait", 22, NULL).pos >= 0));
    assert_int_equal(stats_of(&w.there).streams, 2);
    assert_int_equal(stats_of(&w.there).bad_peers, 0);
    close(fd);
    evbuffer_free(answer);
    WAIT(&w, stats_of(&w.there).streams == 0);
    world_close(&w);
}

static void raft_messages_have_no_window(void **state)
{
    static uint8_t block[CHUNK];
    struct evbuffer *bytes = evbuffer_new();
    struct net_limits queue = {.max_queued_bytes = 8 << 20};
    struct net_request_options o;
    struct net_request *r;
    struct outcome got;
    struct world w;
    int sent = 0;

    (void)state;
    open_served(&w, &queue, NULL);
    net_channel_free(w.channel);
    w.channel = world_channel(&w, NET_RAFT);
    WAIT(&w, (net_channel_connect(w.channel), net_channel_up(w.channel)));
    o = ask(&net_service_raft, NET_RAFT_STEP, NULL, &got);
    r = start(w.channel, &o);
    for (;;) { /* in one go, far beyond the high water mark */
        enum err e;

        evbuffer_add(bytes, block, sizeof block);
        e = net_request_send_bytes(r, bytes);
        if (e == ERR_BUSY) break;
        assert_int_equal(e, ERR_OK);
        sent++;
    }
    assert_int_equal(evbuffer_get_length(bytes), sizeof block); /* not taken */
    assert_int_equal(sent, (8 << 20) / (CHUNK + FRAME_HEADER_BYTES));
    assert_false(net_request_writable(r));
    WAIT(&w, it.taken == sent);
    assert_true(net_request_writable(r));
    assert_int_equal(stats_of(&w.there).frames_out, 1); /* its hello; no windows */
    net_request_finish(r);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    evbuffer_free(bytes);
    world_close(&w);
}

/* --- both ways
 * -------------------------------------------------------------------------- */

static void ping_pong(struct net_request *r, const ProtobufCMessage *message)
{
    const Rqlite__SnapshotReply *reply = (const void *)message;
    Rqlite__SnapshotChunk chunk = RQLITE__SNAPSHOT_CHUNK__INIT;

    outcome_on_message(r, message);
    chunk.page = reply->pages + 1;
    if (reply->pages == 500)
        net_request_finish(r);
    else
        assert_int_equal(net_request_send(r, &chunk.base), ERR_OK);
}

static void first_ping(struct net_request *r)
{
    Rqlite__SnapshotChunk chunk = RQLITE__SNAPSHOT_CHUNK__INIT;

    chunk.page = 1;
    assert_int_equal(net_request_send(r, &chunk.base), ERR_OK);
}

static void both_sides_stream_in_one_call(void **state)
{
    static const struct net_request_events events = {
        .on_message = ping_pong, .on_writable = first_ping, .on_done = outcome_on_done};
    struct net_request_options o;
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    o = ask(&echo_service, NET_RAFT_INSTALL_SNAPSHOT, NULL, &got);
    o.events = &events;
    start(w.channel, &o);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    assert_int_equal(got.messages, 500);
    assert_int_equal(it.sent, 500);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_streams_in_order_and_in_full),
        cmocka_unit_test(a_slow_taker_stops_the_sender),
        cmocka_unit_test(the_end_comes_after_what_was_held),
        cmocka_unit_test(a_cancelled_stream_stops_its_sender),
        cmocka_unit_test(a_peer_that_does_not_read_costs_bounded_memory),
        cmocka_unit_test(an_input_streams_once_there_is_a_connection),
        cmocka_unit_test(an_empty_input_is_one),
        cmocka_unit_test(a_slow_callee_stops_the_caller),
        cmocka_unit_test(a_callee_may_end_before_the_input_does),
        cmocka_unit_test(a_bad_message_in_a_stream_ends_its_call),
        cmocka_unit_test(a_server_may_be_freed_in_a_message),
        cmocka_unit_test(a_message_larger_than_the_window_passes),
        cmocka_unit_test(a_peer_that_ignores_the_window_is_closed),
        cmocka_unit_test(parts_of_messages_have_a_limit_together),
        cmocka_unit_test(raft_messages_have_no_window),
        cmocka_unit_test(both_sides_stream_in_one_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
