/* SPDX-License-Identifier: MIT */
/* Queued writes, through a real gateway with a fake backend behind it. */
#include "fake.h"

#include <inttypes.h>

static struct fake f;

static int send_queued(const char *target, const char *body)
{
    return client_send(&f, "POST", target, "", body, strlen(body));
}

static uint64_t number_in(const struct answer *a)
{
    const char *at = strstr(a->body, "\"sequence_number\":");

    if (a->status != 200 || !at) fail_msg("no sequence number in %s", a->all);
    return strtoull(at + strlen("\"sequence_number\":"), NULL, 10);
}

/* Queue it and return its number. */
static uint64_t queue(const char *target, const char *body)
{
    struct answer a;
    uint64_t n;

    client_answer(send_queued(target, body), &a);
    n = number_in(&a);
    free(a.all);
    return n;
}

static void expect_answer(int fd, int status, const char *body)
{
    struct answer a;

    client_answer(fd, &a);
    if (a.status != status || strcmp(a.body, body) != 0)
        fail_msg("expected %d %s, got %s", status, body, a.all);
    free(a.all);
}

static const char *get(const char *target)
{
    static char body[4096];
    struct answer a;

    client_answer(client_send(&f, "GET", target, "", "", 0), &a);
    snprintf(body, sizeof body, "%s", a.body);
    free(a.all);
    return body;
}

static bool still_open(int fd)
{
    char c;
    return recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

static const char *asked(void)
{
    static char copy[sizeof f.asked];

    pthread_mutex_lock(&f.mutex);
    memcpy(copy, f.asked, sizeof copy);
    f.asked[0] = '\0';
    pthread_mutex_unlock(&f.mutex);
    return copy;
}

static void start(uint64_t capacity, uint64_t batch_size, uint64_t timeout_ms, bool tx)
{
    struct gateway_options o = {0};

    o.queue.capacity = capacity;
    o.queue.batch_size = batch_size;
    o.queue.timeout_ns = timeout_ms * 1000000;
    o.queue.tx = tx;
    fake_start(&f, &o);
}

static void a_full_batch_is_written_as_one(void **state)
{
    uint64_t first;

    (void)state;
    start(100, 3, 0, false);
    first = queue("/db/execute?queue", "[\"a\"]");
    assert_true(first > 1600000000000000000U);
    assert_true(queue("/db/execute?queue&transaction", "[[\"b ?\",1],\"c\"]") ==
                first + 1);
    assert_int_equal(f.calls, 0);
    assert_true(queue("/db/execute?queue", "[\"d\"]") == first + 2);
    fake_wait_calls(&f, 1);
    assert_string_equal(asked(), "execute own a() b ?(1) c() d()\n");
    fake_stop(&f);
}

static void a_batch_is_written_when_its_time_has_come(void **state)
{
    (void)state;
    start(100, 128, 20, false);
    queue("/db/execute?queue", "[\"a\"]");
    queue("/db/execute?queue", "[\"b\"]");
    fake_wait_calls(&f, 1);
    assert_true(strncmp(asked(), "execute own a()", 15) == 0);
    fake_stop(&f);
}

static void a_batch_may_be_a_transaction(void **state)
{
    (void)state;
    start(100, 2, 0, true);
    queue("/db/execute?queue", "[\"a\"]");
    queue("/db/execute?queue", "[\"b\"]");
    fake_wait_calls(&f, 1);
    assert_string_equal(asked(), "execute own tx a() b()\n");
    fake_stop(&f);
}

static void while_one_is_written_the_next_gathers(void **state)
{
    (void)state;
    for (int tx = 0; tx < 2; tx++) {
        start(100, 2, 0, tx);
        f.hold = true;
        queue("/db/execute?queue", "[\"a\"]");
        queue("/db/execute?queue", "[\"b\"]");
        fake_wait_calls(&f, 1);
        for (int i = 0; i < 4; i++) queue("/db/execute?queue", "[\"c\"]");
        assert_int_equal(f.calls, 1);
        fake_let_go(&f);
        fake_wait_calls(&f, 2);
        fake_let_go(&f);
        if (tx) {
            fake_wait_calls(&f, 3);
            fake_let_go(&f);
        }
        assert_string_equal(asked(),
                            tx ? "execute own tx a() b()\nexecute own tx c() "
                                 "c()\nexecute own tx c() c()\n"
                               : "execute own a() b()\nexecute own c() c() c() c()\n");
        fake_stop(&f);
    }
}

static void wait_answers_when_it_was_written(void **state)
{
    char number[32];
    struct answer a;
    int fd;

    (void)state;
    start(100, 1, 0, false);
    f.hold = true;
    fd = send_queued("/db/execute?queue&wait", "[\"nonsense\"]");
    fake_wait_calls(&f, 1);
    assert_true(still_open(fd));
    fake_let_go(&f);
    client_answer(fd, &a);
    snprintf(number, sizeof number, "%" PRIu64, number_in(&a));
    assert_string_equal(get("/status?key=http.queue._default.sequence_number"), number);
    free(a.all);
    fake_stop(&f);
}

static void wait_ends_after_its_timeout(void **state)
{
    (void)state;
    start(100, 100, 0, false);
    expect_answer(send_queued("/db/execute?queue&wait&timeout=20ms", "[\"a\"]"), 408,
                  "queue wait timeout\n");
    assert_int_equal(metrics_get(f.metrics, METRIC_http_queued_executions_wait_timeout),
                     1);
    fake_stop(&f); /* writes what is left */
    assert_string_equal(asked(), "execute own a()\n");
}

static void a_client_that_leaves_changes_nothing(void **state)
{
    int fd;

    (void)state;
    start(100, 2, 0, false);
    fd = send_queued("/db/execute?queue&wait", "[\"a\"]");
    while (metrics_get(f.metrics, METRIC_http_queued_executions) == 0) usleep(1000);
    close(fd);
    queue("/db/execute?queue", "[\"b\"]");
    fake_wait_calls(&f, 1);
    assert_string_equal(asked(), "execute own a() b()\n");
    fake_stop(&f);
}

static void an_empty_list_is_a_marker(void **state)
{
    (void)state;
    start(100, 1, 0, false);
    expect_answer(send_queued("/db/execute?queue", "[]"), 400, "no statements\n");
    queue("/db/execute?queue&wait", "[]");
    queue("/db/execute?queue&wait", "[\"\"]");
    assert_int_equal(f.calls, 0);
    queue("/db/execute?queue&wait", "[\" \"]");
    assert_string_equal(asked(), "execute own  ()\n");
    fake_stop(&f);
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    start(100, 1, 0, false);
    expect_answer(send_queued("/db/execute?queue", "garbage"), 400,
                  "invalid JSON body\n");
    expect_answer(send_queued("/db/execute?queue", "{}"), 400, "invalid request\n");
    expect_answer(send_queued("/db/execute?queue&wait", ""), 400, "invalid JSON body\n");
    expect_answer(
        client_send(&f, "POST", "/db/execute?queue&wait&timeout=x", "", "[\"a\"]", 5),
        400, "timeout is not a valid duration\n");
    assert_int_equal(f.calls, 0);
    f.no_leader = true;
    expect_answer(send_queued("/db/execute?queue", "[\"a\"]"), 503, "leader not found\n");
    queue("/db/execute?queue&wait&noleader", "[\"a\"]");
    f.no_leader = false;
    {
        struct answer a;
        client_answer(client_send(&f, "POST", "/db/execute?queue&wait",
                                  "Content-Type: text/plain\r\n", "plain", 5),
                      &a);
        number_in(&a);
        free(a.all);
    }
    assert_string_equal(asked(), "execute own a()\nexecute own plain()\n");
    fake_stop(&f);
}

static void a_batch_that_fails_as_a_whole_is_tried_again(void **state)
{
    int fd;
    struct answer a;

    (void)state;
    start(100, 1, 0, false);
    f.hold = true;
    fd = send_queued("/db/execute?queue&wait", "[\"a\"]");
    fake_wait_calls(&f, 1);
    f.fail = ERR_NO_LEADER;
    fake_let_go(&f);
    queue("/db/execute?queue", "[\"b\"]"); /* waits behind it */
    fake_wait_calls(&f, 2);
    assert_true(still_open(fd));
    f.fail = ERR_OK;
    fake_let_go(&f);
    client_answer(fd, &a);
    number_in(&a);
    free(a.all);
    fake_wait_calls(&f, 3);
    fake_let_go(&f);
    assert_string_equal(asked(), "execute own a()\nexecute own a()\nexecute own b()\n");
    assert_int_equal(metrics_get(f.metrics, METRIC_http_queued_executions_no_leader), 1);
    fake_stop(&f);
}

static void a_batch_that_cannot_succeed_is_given_up(void **state)
{
    (void)state;
    start(100, 1, 0, false);
    f.fail = ERR_TOO_BIG;
    queue("/db/execute?queue&wait", "[\"a\"]");
    f.fail = ERR_OK;
    queue("/db/execute?queue&wait", "[\"b\"]");
    assert_string_equal(asked(), "execute own a()\nexecute own b()\n");
    fake_stop(&f);
}

static void a_full_queue_makes_requests_wait(void **state)
{
    int fd;
    struct answer a;

    (void)state;
    start(3, 1, 0, false);
    f.hold = true;
    queue("/db/execute?queue", "[\"a\"]");
    fake_wait_calls(&f, 1);
    queue("/db/execute?queue", "[\"b\"]");
    queue("/db/execute?queue", "[\"c\"]");
    fd = send_queued("/db/execute?queue", "[\"d\"]");
    while (metrics_get(f.metrics, METRIC_http_queued_executions) < 4) usleep(1000);
    usleep(20000);
    assert_true(still_open(fd));
    fake_let_go(&f);
    client_answer(fd, &a);
    number_in(&a);
    free(a.all);
    fake_wait_calls(&f, 2);
    fake_let_go(&f);
    assert_string_equal(asked(), "execute own a()\nexecute own b() c() d()\n");
    fake_stop(&f);
}

static void what_is_left_is_written_at_the_end(void **state)
{
    (void)state;
    start(100, 100, 0, false);
    queue("/db/execute?queue", "[\"a\"]");
    queue("/db/execute?queue", "[\"b\"]");
    assert_int_equal(f.calls, 0);
    fake_stop(&f);
    assert_string_equal(asked(), "execute own a() b()\n");
}

static void numbers_rise_over_all_connections(void **state)
{
    uint64_t last = 0;

    (void)state;
    start(1000, 7, 5, false);
    for (int i = 0; i < 100; i++) {
        uint64_t n = queue("/db/execute?queue", "[\"a\"]");

        assert_true(last == 0 || n == last + 1);
        last = n;
    }
    queue("/db/execute?queue&wait", "[]");
    assert_int_equal(metrics_get(f.metrics, METRIC_http_queued_executions_num_stmts_tx),
                     100);
    fake_stop(&f);
}

static void one_fails(struct row_sink *s)
{
    s->ops->written(s, 1, 1, 1);
    s->ops->failed(s, false, "no such table: x", 16);
}

static void failed_statements_are_counted_and_do_no_harm(void **state)
{
    (void)state;
    start(100, 1, 0, false);
    f.results = one_fails;
    queue("/db/execute?queue&wait", "[\"a\",\"b\"]");
    assert_int_equal(metrics_get(f.metrics, METRIC_http_queued_executions_failed), 1);
    assert_int_equal(metrics_get(f.metrics, METRIC_http_queued_executions_ok), 1);
    assert_int_equal(f.calls, 1);
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_batch_is_written_as_one),
        cmocka_unit_test(a_batch_is_written_when_its_time_has_come),
        cmocka_unit_test(a_batch_may_be_a_transaction),
        cmocka_unit_test(while_one_is_written_the_next_gathers),
        cmocka_unit_test(wait_answers_when_it_was_written),
        cmocka_unit_test(wait_ends_after_its_timeout),
        cmocka_unit_test(a_client_that_leaves_changes_nothing),
        cmocka_unit_test(an_empty_list_is_a_marker),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(a_batch_that_fails_as_a_whole_is_tried_again),
        cmocka_unit_test(a_batch_that_cannot_succeed_is_given_up),
        cmocka_unit_test(failed_statements_are_counted_and_do_no_harm),
        cmocka_unit_test(a_full_queue_makes_requests_wait),
        cmocka_unit_test(what_is_left_is_written_at_the_end),
        cmocka_unit_test(numbers_rise_over_all_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
