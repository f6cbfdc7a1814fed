/* SPDX-License-Identifier: MIT */
/* Who is let in, and what happens to the rest.  Bad bytes cost one connection, leave a
 * line in the log, and nothing else. */
#include "core/base/bytes.h"
#include "core/base/rand.h"
#include "tests/unit/net/harness.h"

static void on_info(struct net_call *c, const ProtobufCMessage *message)
{
    Rqlite__NodeInfo reply = RQLITE__NODE_INFO__INIT;

    (void)message;
    net_call_reply(c, &reply.base);
}

static const struct net_method methods[NET_CLUSTER_METHODS] = {
    [NET_CLUSTER_INFO] = {.on_call = on_info},
};

static void open_served(struct world *w, const struct net_limits *there)
{
    world_open_with(w, NULL, there);
    assert_int_equal(net_server_add(w->server, &net_service_cluster, methods, NULL),
                     ERR_OK);
}

static struct outcome call(struct world *w)
{
    Rqlite__NodeInfoRequest info = RQLITE__NODE_INFO_REQUEST__INIT;
    static struct outcome got;
    struct net_request_options o =
        ask(&net_service_cluster, NET_CLUSTER_INFO, &info, &got);

    start(w->channel, &o);
    WAIT(w, got.done);
    return got;
}

/* The server hangs up on these bytes, says text, and serves the next caller. */
static void refuses(struct world *w, const void *bytes, size_t len, const char *text)
{
    struct evbuffer *answer = evbuffer_new();
    uint64_t bad = stats_of(&w->there).bad_peers;
    int fd = plain_connect(w);

    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
    WAIT(w, plain_closed(fd, answer));
    close(fd);
    if (!said(&w->there, text)) fail_msg("the log does not say: %s", text);
    assert_int_equal(stats_of(&w->there).bad_peers, bad + 1);
    evbuffer_free(answer);
    assert_int_equal(call(w).why.code, ERR_OK);
}

static void other_protocols_are_closed_with_a_line_in_the_log(void **state)
{
    static const char http[] = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct world w;

    (void)state;
    open_served(&w, NULL);
    refuses(&w, http, sizeof http - 1, "not our protocol, but an HTTP request");
    refuses(&w, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11,
            "not our protocol, but a TLS handshake");
    refuses(&w, "\x02\x0a\x0b\x0c", 4,
            "not our protocol, but perhaps a node of another implementation");
    refuses(&w, "\x89RQLNET\r\n", 9, "not our protocol"); /* line ends were translated */
    world_close(&w);
}

/* An HTTP server would do what the join rules take an HTTP address for: answer HTTP. */
static void an_http_request_gets_no_http_answer(void **state)
{
    struct evbuffer *answer = evbuffer_new();
    struct world w;
    int fd;

    (void)state;
    open_served(&w, NULL);
    fd = plain_connect(&w);
    assert_int_equal(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
    WAIT(&w, plain_closed(fd, answer));
    assert_int_equal(evbuffer_search(answer, "HTTP/", 5, NULL).pos, -1);
    assert_memory_equal(evbuffer_pullup(answer, 8), frame_preface, 8);
    close(fd);
    evbuffer_free(answer);
    world_close(&w);
}

static void random_bytes_cost_their_connection_only(void **state)
{
    struct net_limits quick = {.hello_ms = 30};
    struct world w;
    struct rand rnd;

    (void)state;
    open_served(&w, &quick);
    rand_init(&rnd, 4);
    for (int i = 0; i < 200; i++) {
        uint8_t bytes[700];
        size_t len = 1 + rand_below(&rnd, sizeof bytes), at = 0;
        struct net_hello h = good_hello();
        int fd = plain_connect(&w);

        /* Some know how to begin. */
        if (i % 3 == 1) memcpy(bytes, frame_preface, at = sizeof frame_preface);
        if (i % 3 == 2) at = plain_hello(bytes, &h);
        if (len < at) len = at;
        rand_fill(&rnd, bytes + at, len - at);
        if (i % 6 >= 3 && len > at + 10) { /* and some what a header looks like */
            put_le32(bytes + at, (uint32_t)rand_below(&rnd, 100));
            bytes[at + 4] = (uint8_t)(1 + rand_below(&rnd, FRAME_GOAWAY));
            bytes[at + 5] &= 0x1f;
        }
        (void)!send(fd, bytes, len, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        WAIT(&w, plain_closed(fd, NULL));
        close(fd);
    }
    assert_int_equal(call(&w).why.code, ERR_OK);
    WAIT(&w, stats_of(&w.there).connections == 1);
    assert_int_equal(stats_of(&w.there).streams, 0);
    world_close(&w);
}

static void a_frame_before_the_hello_is_refused(void **state)
{
    uint8_t bytes[200], body[40] = {25};
    struct world w;
    size_t len;

    (void)state;
    open_served(&w, NULL);
    len = plain_frame(bytes, true, (struct frame){.kind = FRAME_PING}, "12345678", 8);
    refuses(&w, bytes, len, "ping frame before the hello");
    len = plain_frame(bytes, true, (struct frame){.kind = FRAME_CALL, .stream = 1}, body,
                      40);
    refuses(&w, bytes, len, "call frame before the hello");
    put_le32(bytes + 8, 100000); /* no memory for strangers */
    refuses(&w, bytes, 24, "call frame of 100000 bytes before the hello");
    world_close(&w);
}

static void bad_frames_after_the_hello_are_refused(void **state)
{
    struct net_hello h = good_hello();
    uint8_t bytes[1000], body[200] = {0};
    struct net_meta meta = {0};
    struct world w;
    size_t hello, len, meta_len = frame_put_meta(body, &meta);
    struct frame info = {.kind = FRAME_CALL,
                         .stream = 1,
                         .service = net_service_cluster.number,
                         .method = NET_CLUSTER_INFO,
                         .flags = FRAME_MESSAGE_HERE};

    (void)state;
    open_served(&w, NULL);
    hello = plain_hello(bytes, &h);
    len = hello + plain_frame(bytes + hello, false, (struct frame){.kind = FRAME_HELLO},
                              bytes + 24, hello - 24);
    refuses(&w, bytes, len, "node 3: a second hello");
    memset(bytes + hello, 0xff, 16);
    refuses(&w, bytes, hello + 16, "unknown kind of frame 255");
    len =
        hello +
        plain_frame(bytes + hello, false,
                    (struct frame){.kind = FRAME_PING, .flags = FRAME_CHECKED, .crc = 1},
                    "12345678", 8);
    refuses(&w, bytes, len, "ping frame with a wrong checksum");
    frame_put(bytes + hello, &(struct frame){.kind = FRAME_MESSAGE,
                                             .stream = 1,
                                             .length = FRAME_BODY_MAX + 1});
    refuses(&w, bytes, hello + 16, "is over the limit of 1048576");
    len = hello + plain_frame(bytes + hello, false, info, "\xff\xff", 2);
    put_le32(bytes + hello, 31);
    memset(bytes + len, 0, 29);
    refuses(&w, bytes, len + 29, "call with cut metadata");
    len = hello + plain_frame(bytes + hello, false, (struct frame){.kind = FRAME_GOAWAY},
                              "\xff", 1);
    refuses(&w, bytes, len, "malformed message");

    /* Replayed: a call twice on one stream that is still open. */
    info.method = NET_CLUSTER_INFO;
    info.flags |= FRAME_MORE;
    len = hello + plain_frame(bytes + hello, false, info, body, meta_len);
    len += plain_frame(bytes + len, false, info, body, meta_len);
    refuses(&w, bytes, len, "call on stream 1, which is open");
    world_close(&w);
}

static void frames_of_streams_that_are_over_are_passed_over(void **state)
{
    static const enum frame_kind kinds[] = {FRAME_MESSAGE, FRAME_END, FRAME_CANCEL,
                                            FRAME_WINDOW};
    struct net_hello h = good_hello();
    struct evbuffer *answer = evbuffer_new();
    uint8_t bytes[1000];
    struct world w;
    size_t len;
    int fd;

    (void)state;
    open_served(&w, NULL);
    len = plain_hello(bytes, &h);
    for (int i = 0; i < 4; i++)
        len += plain_frame(bytes + len, false,
                           (struct frame){.kind = kinds[i], .stream = 77}, "\1\0\0\0",
                           kinds[i] == FRAME_WINDOW ? 4 : 0);
    len += plain_frame(bytes + len, false, (struct frame){.kind = FRAME_PING}, "abcdefgh",
                       8);
    fd = plain_connect(&w);
    assert_int_equal(send(fd, bytes, len, 0), len);
    WAIT(&w, (plain_closed(fd, answer),
              evbuffer_search(answer, "abcdefgh", 8, NULL).pos >= 0)); /* the pong */
    assert_false(plain_closed(fd, answer));
    close(fd);
    evbuffer_free(answer);
    world_close(&w);
}

static void every_beginning_of_a_conversation_may_be_its_end(void **state)
{
    struct net_hello h = good_hello();
    uint8_t bytes[1000], body[FRAME_META_ROOM];
    struct net_meta meta = {0};
    size_t len = plain_hello(bytes, &h);
    struct world w;

    (void)state;
    open_served(&w, NULL);
    len += plain_frame(bytes + len, false,
                       (struct frame){.kind = FRAME_CALL,
                                      .stream = 1,
                                      .service = net_service_cluster.number,
                                      .method = NET_CLUSTER_INFO,
                                      .flags = FRAME_MESSAGE_HERE | FRAME_LAST},
                       body, frame_put_meta(body, &meta));
    for (size_t cut = 0; cut <= len; cut++) {
        int fd = plain_connect(&w);

        (void)!send(fd, bytes, cut, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        WAIT(&w, plain_closed(fd, NULL));
        close(fd);
    }
    assert_int_equal(stats_of(&w.there).bad_peers, 0);
    assert_int_equal(stats_of(&w.there).calls_in, 1);
    assert_int_equal(call(&w).why.code, ERR_OK);
    world_close(&w);
}

static void a_silent_stranger_is_closed(void **state)
{
    struct net_limits quick = {.hello_ms = 20};
    struct world w;
    int fd;

    (void)state;
    open_served(&w, &quick);
    fd = plain_connect(&w);
    WAIT(&w, plain_closed(fd, NULL));
    assert_true(said(&w.there, "no hello in time"));
    close(fd);
    world_close(&w);
}

static void another_cluster_is_refused_with_a_line_on_both_sides(void **state)
{
    struct net_identity other = {8, "1", "localhost:4002", "v1.0.0"};
    struct outcome got;
    struct world w;
    struct why why;

    (void)state;
    open_served(&w, NULL);
    assert_int_equal(net_set_identity(w.here.net, &other, &why), ERR_OK);
    got = call(&w);
    assert_int_equal(got.why.code, ERR_INVALID);
    assert_true(got.not_run);
    assert_non_null(strstr(got.why.text, "belongs to cluster 0000000000000008"));
    assert_true(said(&w.here, "cannot connect to 127.0.0.1:"));
    assert_true(said(&w.here, "belongs to cluster 0000000000000008"));
    assert_true(said(&w.there, "belongs to cluster 0000000000000008"));
    assert_int_equal(stats_of(&w.there).refused, 1);
    assert_int_equal(stats_of(&w.there).bad_peers, 0);

    other.cluster_id = 0; /* who belongs to none yet may come */
    assert_int_equal(net_set_identity(w.here.net, &other, &why), ERR_OK);
    WAIT(&w, call(&w).why.code == ERR_OK);
    world_close(&w);
}

static void another_version_is_refused_in_words(void **state)
{
    struct evbuffer *answer = evbuffer_new();
    struct net_hello h = good_hello();
    uint8_t bytes[700];
    struct world w;
    size_t len;
    int fd;

    (void)state;
    open_served(&w, NULL);
    h.version_min = 2;
    h.version_max = 3;
    len = plain_hello(bytes, &h);
    fd = plain_connect(&w);
    assert_int_equal(send(fd, bytes, len, 0), len);
    WAIT(&w, plain_closed(fd, answer));
    close(fd);
    assert_true(said(&w.there, "protocol versions 2 to 3 of v9 and 1 to 1 of v1.0.0"));
    assert_true(evbuffer_search(answer, "protocol versions 2 to 3", 24, NULL).pos >= 0);
    assert_true(evbuffer_search(answer, "UNSUPPORTED", 11, NULL).pos >= 0);

    /* A later version that still speaks ours is welcome. */
    h.version_min = 1;
    len = plain_hello(bytes, &h);
    fd = plain_connect(&w);
    assert_int_equal(send(fd, bytes, len, 0), len);
    evbuffer_drain(answer, evbuffer_get_length(answer));
    WAIT(&w, (plain_closed(fd, answer), evbuffer_get_length(answer) > 40));
    assert_int_equal(evbuffer_pullup(answer, 40)[8 + 4], FRAME_HELLO);
    close(fd);
    evbuffer_free(answer);
    world_close(&w);
}

static enum err only_node_9(void *arg, const struct net_hello *peer, struct why *why)
{
    (*(int *)arg)++;
    if (strcmp(peer->node_id, "9") == 0) return ERR_OK;
    return why_set(why, ERR_UNAUTHORIZED, "only node 9 may come");
}

static void the_owner_of_the_server_may_refuse(void **state)
{
    int asked = 0;
    struct net_server_options o = {.on_hello = only_node_9, .arg = &asked};
    struct outcome got;
    struct world w;
    struct why why;

    (void)state;
    world_open(&w);
    net_server_free(w.server);
    assert_int_equal(net_server_new(&w.server, w.there.net, &o, &why), ERR_OK);
    assert_int_equal(net_server_listen(w.server, w.address, &why), ERR_OK);
    got = call(&w);
    assert_int_equal(got.why.code, ERR_UNAUTHORIZED);
    assert_non_null(strstr(got.why.text, "only node 9 may come"));
    assert_int_equal(asked, 1);
    world_close(&w);
}

static void an_unexpected_node_is_refused(void **state)
{
    struct net_channel_options o = {.class = NET_RAFT, .expect_id = "5"};
    struct outcome got;
    struct world w;
    struct why why;

    (void)state;
    open_served(&w, NULL);
    net_channel_free(w.channel);
    o.address = w.address;
    assert_int_equal(net_channel_new(&w.channel, w.here.net, &o, &why), ERR_OK);
    got = call(&w);
    assert_int_equal(got.why.code, ERR_NOT_FOUND);
    assert_true(said(&w.here, "expected node 5 at 127.0.0.1:"));
    assert_true(said(&w.here, "found node 2"));
    WAIT(&w, said(&w.there, "expected node 5 at 127.0.0.1:"));
    world_close(&w);
}

static void connections_beyond_the_limit_are_refused_but_those_for_raft(void **state)
{
    struct net_limits few = {.max_connections = 2};
    struct net_channel *ch[4];
    struct world w;
    struct outcome got;

    (void)state;
    open_served(&w, &few);
    for (int i = 0; i < 4; i++) {
        ch[i] = world_channel(&w, i < 3 ? NET_CALL : NET_RAFT);
        net_channel_connect(ch[i]);
        if (i != 2) WAIT(&w, net_channel_up(ch[i]));
        if (i == 2) WAIT(&w, said(&w.there, "too many connections"));
    }
    got = call(&w);
    assert_int_equal(got.why.code, ERR_BUSY);
    assert_true(got.not_run);
    net_channel_free(ch[0]);
    WAIT(&w, call(&w).why.code == ERR_OK || net_channel_up(ch[2]));
    for (int i = 1; i < 4; i++) net_channel_free(ch[i]);
    world_close(&w);
}

static void many_bad_peers_do_not_fill_the_log(void **state)
{
    struct world w;
    static char all[1 << 20];
    int lines = 0;

    (void)state;
    open_served(&w, NULL);
    for (int i = 0; i < 100; i++) {
        int fd = plain_connect(&w);

        assert_int_equal(send(fd, "\0\0\0\0", 4, 0), 4);
        WAIT(&w, plain_closed(fd, NULL));
        close(fd);
    }
    assert_true(pread(w.there.log, all, sizeof all - 1, 0) > 0);
    for (const char *p = all; (p = strchr(p, '\n')) != NULL; p++) lines++;
    assert_in_range(lines, 10, 99);
    assert_int_equal(stats_of(&w.there).bad_peers, 100);
    world_close(&w);
}

/* The other side's port speaks HTTP: what a wrong -join address looks like. */
static void dialing_another_protocol_says_what_it_is(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct net_channel_options o = {.class = NET_CALL};
    Rqlite__NodeInfoRequest info = RQLITE__NODE_INFO_REQUEST__INIT;
    struct net_request_options ro;
    socklen_t len = sizeof at;
    struct outcome got;
    struct world w;
    struct why why;
    char address[40];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), peer = -1;

    (void)state;
    open_served(&w, NULL);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 4), 0);
    getsockname(fd, (struct sockaddr *)&at, &len);
    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(at.sin_port));
    net_channel_free(w.channel);
    o.address = address;
    assert_int_equal(net_channel_new(&w.channel, w.here.net, &o, &why), ERR_OK);
    ro = ask(&net_service_cluster, NET_CLUSTER_INFO, &info, &got);
    start(w.channel, &ro);
    WAIT(&w, (peer = accept(fd, NULL, NULL)) >= 0);
    assert_int_equal(send(peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, 0), 28);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_UNSUPPORTED);
    assert_true(got.not_run);
    assert_non_null(
        strstr(got.why.text, "not our protocol, but an HTTP server's answer"));
    close(peer);
    close(fd);
    world_close(&w);
}

static void an_identity_must_fit(void **state)
{
    char longest[300];
    struct net_identity id = {1, longest, "", ""};
    struct world w;
    struct why why;

    (void)state;
    world_open(&w);
    memset(longest, 'x', sizeof longest - 1);
    longest[299] = '\0';
    assert_int_equal(net_set_identity(w.here.net, &id, &why), ERR_INVALID);
    assert_int_equal(net_cluster_id(w.here.net), 7);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_protocols_are_closed_with_a_line_in_the_log),
        cmocka_unit_test(an_http_request_gets_no_http_answer),
        cmocka_unit_test(random_bytes_cost_their_connection_only),
        cmocka_unit_test(a_frame_before_the_hello_is_refused),
        cmocka_unit_test(bad_frames_after_the_hello_are_refused),
        cmocka_unit_test(frames_of_streams_that_are_over_are_passed_over),
        cmocka_unit_test(every_beginning_of_a_conversation_may_be_its_end),
        cmocka_unit_test(a_silent_stranger_is_closed),
        cmocka_unit_test(another_cluster_is_refused_with_a_line_on_both_sides),
        cmocka_unit_test(another_version_is_refused_in_words),
        cmocka_unit_test(the_owner_of_the_server_may_refuse),
        cmocka_unit_test(an_unexpected_node_is_refused),
        cmocka_unit_test(connections_beyond_the_limit_are_refused_but_those_for_raft),
        cmocka_unit_test(many_bad_peers_do_not_fill_the_log),
        cmocka_unit_test(dialing_another_protocol_says_what_it_is),
        cmocka_unit_test(an_identity_must_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
