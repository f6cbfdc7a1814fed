/* SPDX-License-Identifier: MIT */
/* Unary calls: answers, errors, deadlines, cancelling, many at once, large ones. */
#include "tests/unit/net/harness.h"

enum { HELD_MAX = 2000 };

struct service { /* what the handlers saw */
    int calls, gone;
    struct net_call *held[HELD_MAX];
    size_t n_held;
    char user[64], password[64], from[300];
    uint64_t call_id[2], left_ns;
    bool forwarded;
};

static struct service seen;

static void on_info(struct net_call *c, const ProtobufCMessage *message)
{
    Rqlite__NodeInfo reply = RQLITE__NODE_INFO__INIT;

    assert_ptr_equal(message->descriptor, &rqlite__node_info_request__descriptor);
    seen.calls++;
    reply.id = arena_strdup(net_call_arena(c), "2");
    net_call_reply(c, &reply.base);
}

static void on_join(struct net_call *c, const ProtobufCMessage *message)
{
    const Rqlite__JoinRequest *join = (const void *)message;
    const struct net_meta *meta = net_call_meta(c);

    seen.calls++;
    snprintf(seen.user, sizeof seen.user, "%s", meta->user ? meta->user : "(none)");
    snprintf(seen.password, sizeof seen.password, "%s",
             meta->password ? meta->password : "(none)");
    snprintf(seen.from, sizeof seen.from, "%s", net_call_peer(c)->hello.node_id);
    memcpy(seen.call_id, meta->call_id, sizeof seen.call_id);
    seen.forwarded = meta->forwarded;
    seen.left_ns = meta->timeout_ns;
    net_call_end(c, ERR_NOT_LEADER, join->addr);
}

static void on_held_gone(struct net_call *c)
{
    assert_true(net_call_gone(c));
    assert_false(net_call_writable(c));
    seen.gone++;
}

static void on_notify(struct net_call *c, const ProtobufCMessage *message)
{
    static const struct net_call_events events = {.on_gone = on_held_gone};

    (void)message;
    assert_true(seen.n_held < HELD_MAX);
    seen.calls++;
    seen.held[seen.n_held++] = c;
    net_call_listen(c, &events, NULL);
}

/* The call is raw: the request's bytes come back as the answer's id. */
static void on_remove(struct net_call *c, const ProtobufCMessage *message)
{
    size_t len;
    const uint8_t *bytes = net_call_bytes(c, &len);
    struct evbuffer *out = evbuffer_new();

    assert_null(message);
    evbuffer_add(out, bytes, len);
    assert_int_equal(net_call_send_bytes(c, out), ERR_OK);
    assert_int_equal(net_call_send(c, NULL), ERR_INVALID); /* a second answer */
    net_call_end(c, ERR_OK, NULL);
    evbuffer_free(out);
}

static const struct net_method methods[NET_CLUSTER_METHODS] = {
    [NET_CLUSTER_INFO] = {.on_call = on_info},
    [NET_CLUSTER_JOIN] = {.on_call = on_join},
    [NET_CLUSTER_NOTIFY] = {.on_call = on_notify},
    [NET_CLUSTER_REMOVE] = {.on_call = on_remove, .raw = true},
};

static void open_served(struct world *w, const struct net_limits *here,
                        const struct net_limits *there)
{
    memset(&seen, 0, sizeof seen);
    world_open_with(w, here, there);
    assert_int_equal(net_server_add(w->server, &net_service_cluster, methods, NULL),
                     ERR_OK);
    assert_int_equal(net_server_add(w->server, &net_service_cluster, methods, NULL),
                     ERR_EXISTS);
}

static void a_call_is_answered(void **state)
{
    Rqlite__NodeInfoRequest ask_info = RQLITE__NODE_INFO_REQUEST__INIT;
    struct net_request_options o;
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    o = ask(&net_service_cluster, NET_CLUSTER_INFO, &ask_info, &got);
    start(w.channel, &o);
    assert_int_equal(got.done, 0); /* never from within the start */
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    assert_int_equal(got.status, NET_STATUS_OK);
    assert_string_equal(got.id, "2");
    assert_string_equal(net_channel_peer(w.channel)->hello.node_id, "2");

    got.done = 0; /* now the connection is there */
    start(w.channel, &o);
    assert_int_equal(got.done, 0);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    assert_int_equal(stats_of(&w.there).calls_in, 2);
    assert_int_equal(stats_of(&w.there).accepted, 1);
    assert_int_equal(stats_of(&w.here).streams, 0);
    assert_int_equal(stats_of(&w.there).streams, 0);
    world_close(&w);
}

static void metadata_and_status_arrive(void **state)
{
    Rqlite__JoinRequest join = RQLITE__JOIN_REQUEST__INIT;
    char addr[] = "localhost:4004", user[] = "bob", password[] = "";
    struct net_request_options o;
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    join.addr = addr;
    o = ask(&net_service_cluster, NET_CLUSTER_JOIN, &join, &got);
    o.meta = (struct net_meta){.user = user,
                               .password = password,
                               .timeout_ns = 5000000000,
                               .call_id = {11, 12},
                               .forwarded = true};
    start(w.channel, &o);
    memset(user, 'x', 3); /* they were copied */
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_NOT_LEADER);
    assert_int_equal(got.status, NET_STATUS_FAILED_PRECONDITION);
    assert_string_equal(got.why.text, "localhost:4004");
    assert_false(got.not_run);
    assert_string_equal(seen.user, "bob");
    assert_string_equal(seen.password, "");
    assert_string_equal(seen.from, "1");
    assert_int_equal(seen.call_id[0], 11);
    assert_int_equal(seen.call_id[1], 12);
    assert_true(seen.forwarded);
    assert_in_range(seen.left_ns, 1, 5000000000 - 1);

    o = ask(&net_service_cluster, NET_CLUSTER_JOIN, &join, &got);
    start(w.channel, &o);
    WAIT(&w, got.done);
    assert_string_equal(seen.user, "(none)");
    assert_string_equal(seen.password, "(none)");
    assert_int_equal(seen.left_ns, 0);
    world_close(&w);
}

static void what_is_not_served_is_refused_and_not_run(void **state)
{
    Rqlite__StepDownRequest step = RQLITE__STEP_DOWN_REQUEST__INIT;
    Rqlite__BackupRequest backup = RQLITE__BACKUP_REQUEST__INIT;
    struct net_request_options o;
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    o = ask(&net_service_cluster, NET_CLUSTER_STEP_DOWN, &step, &got);
    start(w.channel, &o);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_UNSUPPORTED);
    assert_true(got.not_run);

    o = ask(&net_service_database, NET_DATABASE_BACKUP, &backup, &got);
    start(w.channel, &o);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_UNSUPPORTED);
    assert_true(got.not_run);
    assert_int_equal(stats_of(&w.there).calls_refused, 2);
    world_close(&w);
}

static void a_message_that_is_none_is_refused(void **state)
{
    struct net_request_options o;
    struct outcome got;
    struct world w;
    struct evbuffer *bytes = evbuffer_new();

    (void)state;
    open_served(&w, NULL, NULL);
    evbuffer_add(bytes, "\x0a\xff", 2); /* a text that is cut short */
    o = ask(&net_service_cluster, NET_CLUSTER_JOIN, NULL, &got);
    o.packed = bytes;
    start(w.channel, &o);
    assert_int_equal(evbuffer_get_length(bytes), 0);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_INVALID);
    assert_true(got.not_run);
    assert_int_equal(seen.calls, 0);
    assert_int_equal(stats_of(&w.there).connections, 1); /* it stays */
    evbuffer_free(bytes);
    world_close(&w);
}

static void a_raw_method_and_a_raw_request_see_bytes(void **state)
{
    struct net_request_options o;
    struct outcome got;
    struct world w;
    struct evbuffer *bytes = evbuffer_new();

    (void)state;
    open_served(&w, NULL, NULL);
    evbuffer_add(bytes,
                 "\x0a\x03"
                 "abc",
                 5);
    o = ask(&net_service_cluster, NET_CLUSTER_REMOVE, NULL, &got);
    o.packed = bytes;
    o.raw = true;
    start(w.channel, &o);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    assert_false(got.replied);
    assert_int_equal(got.bytes, 5);
    evbuffer_free(bytes);
    world_close(&w);
}

static void a_call_ends_at_its_deadline(void **state)
{
    Rqlite__NotifyRequest notify = RQLITE__NOTIFY_REQUEST__INIT;
    struct net_request_options o;
    struct outcome got;
    struct world w;
    uint64_t since = now_ms();

    (void)state;
    open_served(&w, NULL, NULL);
    o = ask(&net_service_cluster, NET_CLUSTER_NOTIFY, &notify, &got);
    o.meta.timeout_ns = 50000000;
    start(w.channel, &o);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_TIMEOUT);
    assert_int_equal(got.status, NET_STATUS_DEADLINE_EXCEEDED);
    assert_false(got.not_run); /* who knows */
    assert_true(now_ms() - since >= 49);
    WAIT(&w, seen.gone == 1); /* the callee is told */
    net_call_reply(seen.held[0], &((Rqlite__Empty)RQLITE__EMPTY__INIT).base);
    world_run_ms(&w, 5);
    assert_int_equal(got.done, 1);
    world_close(&w);
}

static void a_cancelled_call_says_no_more(void **state)
{
    Rqlite__NotifyRequest notify = RQLITE__NOTIFY_REQUEST__INIT;
    struct net_request_options o;
    struct net_request *r;
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    o = ask(&net_service_cluster, NET_CLUSTER_NOTIFY, &notify, &got);
    r = start(w.channel, &o);
    WAIT(&w, seen.n_held == 1);
    net_request_cancel(r);
    WAIT(&w, seen.gone == 1);
    net_call_end(seen.held[0], ERR_OK, NULL);

    r = start(w.channel, &o); /* and answers that cross a cancel are dropped */
    WAIT(&w, seen.n_held == 2);
    net_call_end(seen.held[1], ERR_OK, NULL);
    net_request_cancel(r);
    r = start(w.channel, &o);
    net_request_cancel(r);
    world_run_ms(&w, 10);
    assert_int_equal(got.done, 0);
    if (seen.n_held == 3) net_call_end(seen.held[2], ERR_OK, NULL);
    assert_int_equal(stats_of(&w.there).connections, 1);
    world_close(&w);
}

static void a_thousand_calls_wait_at_once(void **state)
{
    Rqlite__NotifyRequest notify = RQLITE__NOTIFY_REQUEST__INIT;
    static struct outcome got[1000];
    struct net_request_options o;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    for (int i = 0; i < 1000; i++) {
        o = ask(&net_service_cluster, NET_CLUSTER_NOTIFY, &notify, &got[i]);
        o.meta.timeout_ns = 10000000000;
        start(w.channel, &o);
    }
    WAIT(&w, seen.n_held == 1000);
    assert_int_equal(stats_of(&w.there).streams, 1000);
    for (int i = 999; i >= 0; i--)
        net_call_reply(seen.held[i], &((Rqlite__Empty)RQLITE__EMPTY__INIT).base);
    for (int i = 0; i < 1000; i++) {
        WAIT(&w, got[i].done);
        assert_int_equal(got[i].why.code, ERR_OK);
    }
    /* Gathered: far fewer writes than frames would show as one or two rounds. */
    assert_int_equal(stats_of(&w.there).streams, 0);
    world_close(&w);
}

static void calls_over_the_limit_are_refused_and_not_run(void **state)
{
    Rqlite__NotifyRequest notify = RQLITE__NOTIFY_REQUEST__INIT;
    struct net_limits few = {.max_streams = 10};
    static struct outcome got[12];
    struct net_request_options o;
    int refused = 0, done = 0;
    struct world w;

    (void)state;
    open_served(&w, NULL, &few);
    for (int i = 0; i < 12; i++) {
        o = ask(&net_service_cluster, NET_CLUSTER_NOTIFY, &notify, &got[i]);
        start(w.channel, &o);
    }
    WAIT(&w, got[10].done && got[11].done);
    for (int i = 0; i < 12; i++) {
        refused += got[i].why.code == ERR_BUSY && got[i].not_run;
        done += got[i].done;
    }
    assert_int_equal(refused, 2);
    assert_int_equal(done, 2);
    for (size_t i = 0; i < seen.n_held; i++) net_call_end(seen.held[i], ERR_OK, NULL);
    world_close(&w);
}

/* Cancelled calls whose handlers still hold them count, or a peer could pile them up. */
static void cancelling_does_not_get_round_the_limit(void **state)
{
    Rqlite__NotifyRequest notify = RQLITE__NOTIFY_REQUEST__INIT;
    struct net_limits few = {.max_streams = 10};
    struct net_request_options o;
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, NULL, &few);
    o = ask(&net_service_cluster, NET_CLUSTER_NOTIFY, &notify, &got);
    WAIT(&w, (net_channel_connect(w.channel), net_channel_up(w.channel)));
    for (int i = 0; i < 50; i++) net_request_cancel(start(w.channel, &o));
    start(w.channel, &o);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_BUSY);
    assert_int_equal(seen.n_held, 10);
    for (size_t i = 0; i < seen.n_held; i++) net_call_end(seen.held[i], ERR_OK, NULL);
    world_close(&w);
}

static void a_large_message_goes_in_pieces(void **state)
{
    Rqlite__RemoveRequest remove = RQLITE__REMOVE_REQUEST__INIT;
    struct net_request_options o;
    struct outcome got;
    struct world w;
    const size_t len = 20 << 20;

    (void)state;
    open_served(&w, NULL, NULL);
    remove.id = malloc(len + 1);
    memset(remove.id, 'x', len);
    remove.id[len] = '\0';
    o = ask(&net_service_cluster, NET_CLUSTER_REMOVE, &remove, &got);
    o.raw = true;
    start(w.channel, &o); /* before there is a connection, */
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    assert_in_range(got.bytes, len, len + 10);
    got.bytes = 0;
    got.done = 0;
    start(w.channel, &o); /* and with one */
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    assert_in_range(got.bytes, len, len + 10);
    assert_true(stats_of(&w.there).frames_in > 40);
    free(remove.id);
    world_close(&w);
}

static void a_message_over_the_limit_fails_its_call_only(void **state)
{
    Rqlite__RemoveRequest remove = RQLITE__REMOVE_REQUEST__INIT;
    struct net_limits small = {.max_message_bytes = 3 << 20};
    struct net_request_options o;
    struct net_request *r;
    struct outcome got;
    struct world w;
    struct why why;
    const size_t len = 5 << 20;

    (void)state;
    open_served(&w, NULL, &small);
    remove.id = malloc(len + 1);
    memset(remove.id, 'x', len);
    remove.id[len] = '\0';
    o = ask(&net_service_cluster, NET_CLUSTER_REMOVE, &remove, &got);
    start(w.channel, &o);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_TOO_BIG);
    assert_true(got.not_run);
    assert_true(net_channel_up(w.channel));
    world_close(&w);

    open_served(&w, &small, NULL); /* the sender knows its own limit */
    assert_int_equal(net_request_start(&r, w.channel, &o, &why), ERR_TOO_BIG);
    o.meta.user = remove.id;
    remove.id[300] = '\0';
    assert_int_equal(net_request_start(&r, w.channel, &o, &why), ERR_TOO_BIG);
    free(remove.id);
    world_close(&w);
}

static void calls_outlive_the_server_until_they_are_ended(void **state)
{
    Rqlite__NotifyRequest notify = RQLITE__NOTIFY_REQUEST__INIT;
    struct net_request_options o;
    struct outcome got;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    o = ask(&net_service_cluster, NET_CLUSTER_NOTIFY, &notify, &got);
    start(w.channel, &o);
    WAIT(&w, seen.n_held == 1);
    net_server_free(w.server);
    w.server = NULL;
    assert_int_equal(seen.gone, 1);
    WAIT(&w, got.done);
    assert_int_equal(got.status, NET_STATUS_UNAVAILABLE);
    assert_false(got.not_run);
    assert_true(said(&w.here, "the node is shutting down"));
    assert_string_equal(net_call_peer(seen.held[0])->hello.node_id, "1");
    net_call_reply(seen.held[0], &((Rqlite__Empty)RQLITE__EMPTY__INIT).base);
    world_close(&w);
}

static void a_draining_server_ends_what_it_began(void **state)
{
    Rqlite__NotifyRequest notify = RQLITE__NOTIFY_REQUEST__INIT;
    struct net_request_options o;
    struct outcome got, late;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    o = ask(&net_service_cluster, NET_CLUSTER_NOTIFY, &notify, &got);
    start(w.channel, &o);
    WAIT(&w, seen.n_held == 1);
    net_server_drain(w.server);
    o = ask(&net_service_cluster, NET_CLUSTER_NOTIFY, &notify, &late);
    start(w.channel, &o); /* crosses the goaway */
    WAIT(&w, late.done);
    assert_int_equal(late.status, NET_STATUS_UNAVAILABLE);
    assert_true(late.not_run);
    assert_int_equal(got.done, 0);
    net_call_reply(seen.held[0], &((Rqlite__Empty)RQLITE__EMPTY__INIT).base);
    WAIT(&w, got.done);
    assert_int_equal(got.why.code, ERR_OK);
    WAIT(&w, stats_of(&w.there).connections == 0);
    world_close(&w);
}

static struct net_channel *to_free;

static void free_the_channel(struct net_request *r, const struct net_result *result)
{
    outcome_on_done(r, result);
    net_channel_free(to_free);
    to_free = NULL;
}

static void a_channel_may_be_freed_in_a_callback(void **state)
{
    static const struct net_request_events events = {.on_done = free_the_channel};
    Rqlite__NodeInfoRequest ask_info = RQLITE__NODE_INFO_REQUEST__INIT;
    struct net_request_options o;
    struct outcome first, second;
    struct world w;

    (void)state;
    open_served(&w, NULL, NULL);
    to_free = world_channel(&w, NET_CALL);
    o = ask(&net_service_cluster, NET_CLUSTER_INFO, &ask_info, &first);
    o.events = &events;
    start(to_free, &o);
    o = ask(&net_service_cluster, NET_CLUSTER_INFO, &ask_info, &second);
    start(to_free, &o);
    WAIT(&w, first.done);
    assert_int_equal(first.why.code, ERR_OK);
    assert_int_equal(second.done, 1); /* failed before the free returned */
    assert_int_equal(second.why.code, ERR_CLOSED);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_answered),
        cmocka_unit_test(metadata_and_status_arrive),
        cmocka_unit_test(what_is_not_served_is_refused_and_not_run),
        cmocka_unit_test(a_message_that_is_none_is_refused),
        cmocka_unit_test(a_raw_method_and_a_raw_request_see_bytes),
        cmocka_unit_test(a_call_ends_at_its_deadline),
        cmocka_unit_test(a_cancelled_call_says_no_more),
        cmocka_unit_test(a_thousand_calls_wait_at_once),
        cmocka_unit_test(calls_over_the_limit_are_refused_and_not_run),
        cmocka_unit_test(cancelling_does_not_get_round_the_limit),
        cmocka_unit_test(a_large_message_goes_in_pieces),
        cmocka_unit_test(a_message_over_the_limit_fails_its_call_only),
        cmocka_unit_test(calls_outlive_the_server_until_they_are_ended),
        cmocka_unit_test(a_draining_server_ends_what_it_began),
        cmocka_unit_test(a_channel_may_be_freed_in_a_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
