/* SPDX-License-Identifier: MIT */
/* Channels when things break: what failed calls are told, when they dial again. */
#include <fcntl.h>

#include "core/base/bytes.h"
#include "tests/unit/net/harness.h"

static int infos, held_gone;
static struct net_call *held;

static void on_info(struct net_call *c, const ProtobufCMessage *message)
{
    Rqlite__NodeInfo reply = RQLITE__NODE_INFO__INIT;

    (void)message;
    infos++;
    net_call_reply(c, &reply.base);
}

static void on_gone(struct net_call *c)
{
    held_gone++;
    held = NULL;
    net_call_end(c, ERR_OK, NULL);
}

static void on_notify(struct net_call *c, const ProtobufCMessage *message)
{
    static const struct net_call_events events = {.on_gone = on_gone};

    (void)message;
    held = c;
    net_call_listen(c, &events, NULL);
}

static const struct net_method methods[NET_CLUSTER_METHODS] = {
    [NET_CLUSTER_INFO] = {.on_call = on_info},
    [NET_CLUSTER_NOTIFY] = {.on_call = on_notify},
};

static void serve(struct world *w)
{
    infos = held_gone = 0;
    assert_int_equal(net_server_add(w->server, &net_service_cluster, methods, NULL),
                     ERR_OK);
}

/* --- a server made of a plain socket, that does what a test wants
 * ----------------------- */

struct fake {
    int listener, fd;
};

static void fake_open(struct fake *f, struct world *w)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;

    f->fd = -1;
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(f->listener, 16), 0);
    getsockname(f->listener, (struct sockaddr *)&at, &len);
    snprintf(w->address, sizeof w->address, "127.0.0.1:%u", ntohs(at.sin_port));
    net_channel_free(w->channel);
    w->channel = world_channel(w, NET_CALL);
}

static void fake_accept(struct fake *f, struct world *w)
{
    WAIT(w, (f->fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
}

static void fake_greet(struct fake *f)
{
    struct net_hello h = good_hello();
    uint8_t bytes[700];
    size_t len = plain_hello(bytes, &h);

    assert_int_equal(send(f->fd, bytes, len, 0), len);
}

static void fake_close(struct fake *f)
{
    if (f->fd >= 0) close(f->fd);
    close(f->listener);
}

/* Wait until what the channel sent holds the method's CALL frame. */
static void fake_await(struct fake *f, struct world *w, size_t bytes)
{
    struct evbuffer *in = evbuffer_new();

    WAIT(w, (assert_false(plain_closed(f->fd, in)), evbuffer_get_length(in) >= bytes));
    evbuffer_free(in);
}

static struct net_request *start_info(struct world *w, struct outcome *got, bool wait,
                                      uint64_t timeout_ms)
{
    Rqlite__NodeInfoRequest info = RQLITE__NODE_INFO_REQUEST__INIT;
    struct net_request_options o =
        ask(&net_service_cluster, NET_CLUSTER_INFO, &info, got);

    o.wait = wait;
    o.meta.timeout_ns = timeout_ms * 1000000;
    return start(w->channel, &o);
}

/* --- tests
 * ------------------------------------------------------------------------------ */

static void a_call_whose_connection_breaks_is_not_known_to_have_run(void **state)
{
    struct fake f;
    struct outcome got;
    struct world w;

    (void)state;
    CLEAR_TEXT_ONLY();
    world_open(&w);
    fake_open(&f, &w);
    start_info(&w, &got, false, 0);
    fake_accept(&f, &w);
    fake_greet(&f);
    WAIT(&w, net_channel_up(w.channel));
    fake_await(&f, &w, 60);
    close(f.fd);
    f.fd = -1;
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_UNREACHABLE);
    assert_int_equal(got.status, NET_STATUS_UNAVAILABLE);
    assert_false(got.not_run);
    assert_true(said(&w.here, "lost the call connection to 127.0.0.1:"));
    assert_int_equal(stats_of(&w.here).lost, 1);
    fake_close(&f);
    world_close(&w);
}

static void a_call_that_was_never_written_is_known_not_to_have_run(void **state)
{
    Rqlite__RemoveRequest remove = RQLITE__REMOVE_REQUEST__INIT;
    struct outcome first, second;
    struct net_request_options o;
    struct linger at_once = {1, 0};
    struct world w;
    struct fake f;
    const size_t len = 30 << 20;

    (void)state;
    CLEAR_TEXT_ONLY();
    world_open(&w);
    fake_open(&f, &w);
    net_channel_connect(w.channel);
    fake_accept(&f, &w);
    fake_greet(&f);
    WAIT(&w, net_channel_up(w.channel));
    remove.id = malloc(len + 1);
    memset(remove.id, 'x', len);
    remove.id[len] = '\0';
    o = ask(&net_service_cluster, NET_CLUSTER_REMOVE, &remove, &first);
    start(w.channel, &o);
    start_info(&w, &second, false, 0); /* behind more than the kernel takes */
    world_run_ms(&w, 20);
    assert_true(net_channel_queued(w.channel) > 0);
    setsockopt(f.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(f.fd);
    f.fd = -1;
    WAIT(&w, first.done && second.done);
    assert_int_equal(second.why.code, ERR_UNREACHABLE);
    assert_true(second.not_run);
    assert_true(first.not_run); /* a part of a message is none */
    free(remove.id);
    fake_close(&f);
    world_close(&w);
}

static void the_queue_of_a_connection_has_a_limit(void **state)
{
    struct net_limits small = {.max_queued_bytes = 1 << 20};
    Rqlite__RemoveRequest remove = RQLITE__REMOVE_REQUEST__INIT;
    struct outcome first, second;
    struct net_request_options o;
    struct net_request *r;
    struct world w;
    struct fake f;
    struct why why;
    const size_t len = 20 << 20;

    (void)state;
    CLEAR_TEXT_ONLY();
    world_open_with(&w, &small, NULL);
    fake_open(&f, &w);
    net_channel_connect(w.channel);
    fake_accept(&f, &w);
    fake_greet(&f);
    WAIT(&w, net_channel_up(w.channel));
    remove.id = malloc(len + 1);
    memset(remove.id, 'x', len);
    remove.id[len] = '\0';
    o = ask(&net_service_cluster, NET_CLUSTER_REMOVE, &remove, &first);
    start(w.channel, &o); /* into an empty queue goes any message */
    o.user = &second;
    assert_int_equal(net_request_start(&r, w.channel, &o, &why), ERR_BUSY);
    assert_null(r);
    free(remove.id);
    fake_close(&f);
    WAIT(&w, first.done);
    world_close(&w);
}

static void calls_fail_at_once_while_nobody_is_there_and_waiting_ones_wait(void **state)
{
    struct outcome got, waiting, late;
    struct world w;
    uint64_t since;

    (void)state;
    world_open(&w);
    net_server_free(w.server);
    w.server = NULL;
    start_info(&w, &waiting, true, 0);
    start_info(&w, &late, true, 100);
    start_info(&w, &got, false, 0);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_UNREACHABLE);
    assert_non_null(strstr(got.why.text, "Connection refused"));
    assert_true(got.not_run);
    WAIT(&w, stats_of(&w.here).dial_failed >= 3);
    since = now_ms();
    start_info(&w, &got, false, 0); /* in the back-off: the last failure, again */
    assert_int_equal(got.done, 0);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_UNREACHABLE);
    assert_true(now_ms() - since < 1000);
    WAIT(&w, late.done);
    assert_int_equal(late.why.code, ERR_TIMEOUT);
    assert_true(late.not_run);
    assert_non_null(strstr(late.why.text, "Connection refused"));
    assert_int_equal(waiting.done, 0);

    world_listen(&w);
    serve(&w);
    WAIT(&w, waiting.done);
    assert_int_equal(waiting.why.code, ERR_OK);
    assert_true(said(&w.here, "connected to 127.0.0.1:"));
    world_close(&w);
}

static void dialing_backs_off(void **state)
{
    struct net_limits l = {.backoff_max_ms = 80};
    struct world w;
    uint64_t dials;

    (void)state;
    world_open_with(&w, &l, NULL);
    net_server_free(w.server);
    w.server = NULL;
    net_channel_connect(w.channel);
    world_run_ms(&w, 400); /* 0, 10, 30, 70, 150, 230, 310, 390 */
    dials = stats_of(&w.here).dialed;
    assert_in_range(dials, 3, 8);
    world_listen(&w);
    serve(&w);
    WAIT(&w, net_channel_up(w.channel)); /* without any request */
    world_close(&w);
}

static int ups, downs;

static void on_state(void *arg, bool up, const struct why *why)
{
    (void)arg;
    assert_int_equal(up, why->code == ERR_OK);
    if (up)
        ups++;
    else
        downs++;
}

static void a_lost_connection_is_made_again(void **state)
{
    struct net_channel_options o = {.class = NET_RAFT, .on_state = on_state};
    struct world w;
    struct why why;

    (void)state;
    world_open(&w);
    serve(&w);
    ups = downs = 0;
    net_channel_free(w.channel);
    o.address = w.address;
    assert_int_equal(net_channel_new(&w.channel, w.here.net, &o, &why), ERR_OK);
    net_channel_connect(w.channel);
    for (int i = 1; i <= 3; i++) {
        WAIT(&w, net_channel_up(w.channel));
        assert_int_equal(ups, i);
        net_server_free(w.server);
        WAIT(&w, downs >= i && !net_channel_up(w.channel));
        assert_null(net_channel_peer(w.channel));
        world_listen(&w);
        serve(&w);
        downs = i;
    }
    WAIT(&w, net_channel_up(w.channel));
    world_close(&w);
}

static void a_peer_that_swallows_everything_is_found_dead(void **state)
{
    struct net_limits quick = {.idle_ping_ms = 30, .pong_ms = 30};
    struct outcome got;
    struct world w;
    struct fake f;

    (void)state;
    CLEAR_TEXT_ONLY();
    world_open_with(&w, &quick, NULL);
    fake_open(&f, &w);
    start_info(&w, &got, false, 0);
    fake_accept(&f, &w);
    fake_greet(&f);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_UNREACHABLE);
    assert_non_null(strstr(got.why.text, "no answer to a ping"));
    assert_int_equal(stats_of(&w.here).dead_peers, 1);
    fake_close(&f);
    world_close(&w);
}

static void a_caller_that_vanished_is_found_dead_by_the_server(void **state)
{
    struct net_limits quick = {.idle_ping_ms = 30, .pong_ms = 30};
    struct net_hello h = good_hello();
    uint8_t bytes[1000], body[FRAME_META_ROOM];
    struct net_meta meta = {0};
    struct world w;
    size_t len;
    int fd;

    (void)state;
    CLEAR_TEXT_ONLY();
    world_open_with(&w, NULL, &quick);
    serve(&w);
    len = plain_hello(bytes, &h);
    len += plain_frame(bytes + len, false,
                       (struct frame){.kind = FRAME_CALL,
                                      .stream = 1,
                                      .service = net_service_cluster.number,
                                      .method = NET_CLUSTER_NOTIFY,
                                      .flags = FRAME_MESSAGE_HERE | FRAME_LAST},
                       body, frame_put_meta(body, &meta));
    fd = plain_connect(&w);
    assert_int_equal(send(fd, bytes, len, 0), len);
    WAIT(&w, held_gone == 1);
    assert_true(said(&w.there, "node 3: no answer to a ping within 30 ms"));
    close(fd);
    world_close(&w);
}

static void an_idle_connection_stays_alive_by_pings(void **state)
{
    struct net_limits quick = {.idle_ping_ms = 10, .pong_ms = 1000};
    struct world w;

    (void)state;
    world_open_with(&w, &quick, NULL);
    serve(&w);
    net_channel_connect(w.channel);
    WAIT(&w, stats_of(&w.here).frames_in >= 5); /* the hello and pongs */
    assert_true(net_channel_up(w.channel));
    assert_int_equal(stats_of(&w.here).lost, 0);
    world_close(&w);
}

/* A ping waits behind megabytes that a slow peer does take. */
static void a_slow_reader_is_not_dead(void **state)
{
    struct net_limits quick = {.idle_ping_ms = 30, .pong_ms = 60};
    Rqlite__RemoveRequest remove = RQLITE__REMOVE_REQUEST__INIT;
    struct net_request_options o;
    struct outcome got;
    struct world w;
    struct fake f;
    const size_t len = 40 << 20;
    static char block[256 << 10];

    (void)state;
    CLEAR_TEXT_ONLY();
    world_open_with(&w, &quick, NULL);
    fake_open(&f, &w);
    net_channel_connect(w.channel);
    fake_accept(&f, &w);
    fake_greet(&f);
    WAIT(&w, net_channel_up(w.channel));
    remove.id = malloc(len + 1);
    memset(remove.id, 'x', len);
    remove.id[len] = '\0';
    o = ask(&net_service_cluster, NET_CLUSTER_REMOVE, &remove, &got);
    start(w.channel, &o);
    free(remove.id);
    for (int i = 0; i < 60 && net_channel_queued(w.channel) > 4 << 20; i++) {
        for (int k = 0; k < 4; k++) (void)!recv(f.fd, block, sizeof block, MSG_DONTWAIT);
        world_run_ms(&w, 10);
        assert_int_equal(got.done, 0);
    }
    assert_int_equal(stats_of(&w.here).dead_peers, 0);
    WAIT(&w, got.done); /* and now it does not read any more */
    assert_int_equal(stats_of(&w.here).dead_peers, 1);
    fake_close(&f);
    world_close(&w);
}

static void connecting_has_a_time_limit(void **state)
{
    struct net_channel_options o = {.class = NET_CALL, .connect_ms = 40};
    struct outcome got;
    struct world w;
    struct fake f;
    struct why why;

    (void)state;
    world_open(&w);
    fake_open(&f, &w);
    net_channel_free(w.channel);
    o.address = w.address;
    assert_int_equal(net_channel_new(&w.channel, w.here.net, &o, &why), ERR_OK);
    start_info(&w, &got, false, 0);
    WAIT(&w, got.done); /* TCP connects, and nobody says hello */
    assert_int_equal(got.why.code, ERR_UNREACHABLE);
    assert_non_null(strstr(got.why.text, "no hello within the connect timeout"));
    assert_true(got.not_run);
    fake_close(&f);
    world_close(&w);
}

static void names_are_looked_up(void **state)
{
    struct net_channel_options o = {.class = NET_CALL};
    char address[40];
    struct outcome got;
    struct world w;
    struct why why;

    (void)state;
    world_open(&w);
    serve(&w);
    snprintf(address, sizeof address, "localhost:%u", net_server_port(w.server));
    net_channel_free(w.channel);
    o.address = address;
    assert_int_equal(net_channel_new(&w.channel, w.here.net, &o, &why), ERR_OK);
    start_info(&w, &got, false, 0);
    WAIT(&w, got.done); /* also if the first address is ::1, where nobody listens */
    assert_int_equal(got.why.code, ERR_OK);

    net_channel_free(w.channel);
    o.address = "no such host:1";
    assert_int_equal(net_channel_new(&w.channel, w.here.net, &o, &why), ERR_OK);
    start_info(&w, &got, false, 0);
    WAIT(&w, got.done);
    assert_int_not_equal(got.why.code, ERR_OK);
    assert_non_null(strstr(got.why.text, "look up no such host"));
    start_info(&w, &got, true, 0); /* freed with a lookup under way, perhaps */
    world_close(&w);
    assert_int_equal(got.why.code, ERR_CLOSED);
}

static void an_address_must_be_one(void **state)
{
    static const char *const bad[] = {"localhost", ":4002", "a:b:c", "x:99999"};
    struct net_channel_options o = {.class = NET_CALL};
    struct net_channel *ch;
    struct world w;
    struct why why;

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        o.address = bad[i];
        assert_int_equal(net_channel_new(&ch, w.here.net, &o, &why), ERR_INVALID);
        assert_null(ch);
    }
    assert_int_equal(net_server_listen(w.server, w.address, &why), ERR_IO);
    assert_non_null(strstr(why.text, "Address already in use"));
    world_close(&w);
}

static void a_channel_follows_its_node_to_a_new_address(void **state)
{
    struct outcome got;
    struct world w;
    struct fake f;
    struct why why;
    char old[32];

    (void)state;
    CLEAR_TEXT_ONLY();
    world_open(&w);
    serve(&w);
    snprintf(old, sizeof old, "%s", w.address);
    fake_open(&f, &w);
    start_info(&w, &got, false, 0);
    fake_accept(&f, &w);
    fake_greet(&f);
    WAIT(&w, net_channel_up(w.channel));
    assert_int_equal(net_channel_set_address(w.channel, w.address, &why), ERR_OK);
    assert_true(net_channel_up(w.channel));
    assert_int_equal(net_channel_set_address(w.channel, old, &why), ERR_OK);
    assert_int_equal(got.done, 1);
    assert_int_equal(got.why.code, ERR_UNREACHABLE);
    assert_string_equal(net_channel_address(w.channel), old);
    start_info(&w, &got, false, 0);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    fake_close(&f);
    world_close(&w);
}

static void listening_on_every_address_and_on_a_name(void **state)
{
    static const char *const at[] = {":0", "localhost:0", "[::]:0", "0.0.0.0:0"};
    struct outcome got;
    struct world w;
    struct why why;

    (void)state;
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        world_open(&w);
        net_server_free(w.server);
        assert_int_equal(net_server_new(&w.server, w.there.net, NULL, &why), ERR_OK);
        if (net_server_listen(w.server, at[i], &why) != ERR_OK) {
            assert_int_equal(i, 2); /* a machine without IPv6 */
            world_close(&w);
            continue;
        }
        serve(&w);
        snprintf(w.address, sizeof w.address, "127.0.0.1:%u", net_server_port(w.server));
        assert_int_equal(net_channel_set_address(w.channel, w.address, &why), ERR_OK);
        start_info(&w, &got, false, 0);
        WAIT(&w, got.done);
        assert_int_equal(got.why.code, ERR_OK);
        world_close(&w);
    }
}

static void three_endpoints_live_in_one_process(void **state)
{
    struct world w[3];
    struct outcome got[3];

    (void)state;
    for (int i = 0; i < 3; i++) world_open(&w[i]);
    for (int i = 0; i < 3; i++) serve(&w[i]);
    for (int i = 0; i < 3; i++) start_info(&w[i], &got[i], false, 0);
    for (int i = 0; i < 3; i++) WAIT(&w[i], got[i].done);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(got[i].why.code, ERR_OK);
        assert_int_equal(stats_of(&w[i].there).calls_in, 1);
        world_close(&w[i]);
    }
    assert_int_equal(infos, 3);
}

/* --- without memory
 * --------------------------------------------------------------------- */

static int until_failure = -1; /* allocations of libevent's; negative: none fails */

static bool fails(void)
{
    return until_failure >= 0 && until_failure-- == 0;
}
static void *failing_malloc(size_t n)
{
    return fails() ? NULL : malloc(n);
}
static void *failing_realloc(void *p, size_t n)
{
    return fails() ? NULL : realloc(p, n);
}

/* Each allocation of the buffers and events below us fails once: a call may fail then,
 * and so may its connection, but nothing else, and the next call succeeds. */
static void an_allocation_that_fails_costs_a_call_at_most(void **state)
{
    Rqlite__NodeInfoRequest info = RQLITE__NODE_INFO_REQUEST__INIT;
    struct net_request *r;
    struct outcome got;
    struct world w;
    struct why why;

    (void)state;
    world_open(&w);
    serve(&w);
    for (int i = 0; i < 60; i++) {
        struct net_request_options o =
            ask(&net_service_cluster, NET_CLUSTER_INFO, &info, &got);
        struct net_channel_options co = {.address = w.address, .class = NET_CALL};

        if (i % 2 == 0) { /* with a new connection, and on one that is there */
            net_channel_free(w.channel);
            assert_int_equal(net_channel_new(&w.channel, w.here.net, &co, &why), ERR_OK);
        }
        until_failure = i / 2;
        o.meta.timeout_ns = 300000000;
        if (net_request_start(&r, w.channel, &o, &why) == ERR_OK) WAIT(&w, got.done);
        until_failure = -1;
        WAIT(&w, (start_info(&w, &got, true, 5000), world_run_ms(&w, 3), got.done));
        WAIT(&w, stats_of(&w.here).streams == 0);
        assert_int_equal(got.why.code, ERR_OK);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_whose_connection_breaks_is_not_known_to_have_run),
        cmocka_unit_test(a_call_that_was_never_written_is_known_not_to_have_run),
        cmocka_unit_test(the_queue_of_a_connection_has_a_limit),
        cmocka_unit_test(calls_fail_at_once_while_nobody_is_there_and_waiting_ones_wait),
        cmocka_unit_test(dialing_backs_off),
        cmocka_unit_test(a_lost_connection_is_made_again),
        cmocka_unit_test(a_peer_that_swallows_everything_is_found_dead),
        cmocka_unit_test(a_caller_that_vanished_is_found_dead_by_the_server),
        cmocka_unit_test(an_idle_connection_stays_alive_by_pings),
        cmocka_unit_test(a_slow_reader_is_not_dead),
        cmocka_unit_test(connecting_has_a_time_limit),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(an_address_must_be_one),
        cmocka_unit_test(a_channel_follows_its_node_to_a_new_address),
        cmocka_unit_test(listening_on_every_address_and_on_a_name),
        cmocka_unit_test(three_endpoints_live_in_one_process),
        cmocka_unit_test(an_allocation_that_fails_costs_a_call_at_most),
    };

    event_set_mem_functions(failing_malloc, failing_realloc, free); /* before any use */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
