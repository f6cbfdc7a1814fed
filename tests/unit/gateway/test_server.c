/* SPDX-License-Identifier: MIT */
/* The listener and its threads, with clients on real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it */
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "gateway/server.h"

enum { WAIT_MS = 10000 };

/* --- the fake handlers
 * ------------------------------------------------------------------- */

/* A call that another thread answers, as a backend would. */
struct work {
    struct mail mail;
    struct http_exchange *x;
};

static struct mailbox *worker_box;
static atomic_uint held, api_stops, api_frees, timer_fired;
static atomic_bool keep_held;

static void respond_text(struct http_exchange *x, const char *text)
{
    struct http_response r = {.status = 200, .content_type = "text/plain"};
    struct buf body;

    buf_init(&body, 0);
    buf_append_str(&body, text);
    http_respond(x, &r, &body);
}

static void work_done(struct mail *m, void *taker)
{
    struct work *w = (struct work *)m;

    assert_ptr_equal(taker, w->x->thread);
    respond_text(w->x, "worked");
    http_release(w->x);
    atomic_fetch_sub(&held, 1);
}

static void on_time(void *arg)
{
    struct gateway_timer **timer = arg;

    atomic_fetch_add(&timer_fired, 1);
    gateway_timer_free(*timer);
    free(timer);
}

/* Works on what the handlers send until its box is closed. */
static void *worker_main(void *arg)
{
    (void)arg;
    for (;;) {
        struct mail *m = mailbox_wait(worker_box, 10), *next;

        if (!m && mailbox_closed(worker_box)) return NULL;
        while (m && atomic_load(&keep_held))
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        for (; m; m = next) {
            struct work *w = (struct work *)m;

            next = m->next;
            m->deliver = work_done;
            gateway_post(w->x->thread, m);
        }
    }
}

void gateway_dispatch(struct http_exchange *x)
{
    if (strcmp(x->request.path, "/work") == 0) {
        struct work *w = arena_calloc(&x->arena, 1, sizeof *w);

        w->x = x;
        http_hold(x);
        atomic_fetch_add(&held, 1);
        assert_int_equal(mailbox_post(worker_box, &w->mail), ERR_OK);
    } else if (strcmp(x->request.path, "/timer") == 0) {
        struct gateway_timer **timer = malloc(sizeof *timer);

        assert_int_equal(gateway_timer_new(timer, x->thread, on_time, timer), ERR_OK);
        gateway_timer_set(*timer, 1000000);
        respond_text(x, "set");
    } else {
        char text[32];

        snprintf(text, sizeof text, "thread %u", x->thread->index);
        respond_text(x, text);
    }
}

struct http_body_rule gateway_body_rule(struct http_request *r)
{
    (void)r;
    return (struct http_body_rule){.max = 1000};
}

enum err gateway_api_start(struct gateway *g, struct why *why)
{
    if (strcmp(g->options.version, "fail") == 0)
        return why_set(why, ERR_INVALID, "as asked");
    return ERR_OK;
}

void gateway_api_stop(struct gateway *g)
{
    (void)g;
    atomic_fetch_add(&api_stops, 1);
}

void gateway_api_free(struct gateway *g)
{
    (void)g;
    atomic_fetch_add(&api_frees, 1);
}

/* --- clients
 * ----------------------------------------------------------------------------- */

static struct gateway_options options(void)
{
    return (struct gateway_options){
        .bind_addr = "127.0.0.1:0", .threads = 4, .version = "v1", .scratch_dir = "."};
}

static struct gateway *start(const struct gateway_options *o)
{
    struct gateway *g;
    struct why why = {0};

    if (gateway_start(&g, o, &why)) fail_msg("%s", why.text);
    return g;
}

static int dial(const struct gateway *g)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)gateway_port(g))};
    struct timeval wait = {WAIT_MS / 1000, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void ask(int fd, const char *path)
{
    char text[256];
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);

    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

/* The body of the next answer; "" at the end of the connection. */
static const char *hear(int fd)
{
    static _Thread_local char text[4096];
    size_t len = 0;
    char *body = NULL, *length = NULL;

    for (;;) {
        ssize_t n = recv(fd, text + len, 1, 0);

        if (n <= 0) return "";
        len += (size_t)n;
        text[len] = '\0';
        if (!body && len > 4 && strcmp(text + len - 4, "\r\n\r\n") == 0) {
            body = text + len;
            length = strstr(text, "Content-Length: ");
            assert_non_null(length);
        }
        if (body && len - (size_t)(body - text) == strtoul(length + 16, NULL, 10))
            return body;
    }
}

/* Is there something to be read (or the end) within ms? */
static bool hears(int fd, int ms)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ms) == 1;
}

#define UNTIL(cond)                                                                      \
    do {                                                                                 \
        uint64_t until_ns = clock_mono_ns(clock_real()) + WAIT_MS * 1000000ull;          \
        while (!(cond)) {                                                                \
            nanosleep(&(struct timespec){0, 1000000}, NULL);                             \
            if (clock_mono_ns(clock_real()) > until_ns) fail_msg("never: %s", #cond);    \
        }                                                                                \
    } while (0)

/* --- tests
 * ------------------------------------------------------------------------------- */

static void few_connections_spread_evenly(void **state)
{
    struct gateway_options o = options();
    struct gateway *g = start(&o);
    int fd[8], again[2];
    unsigned count[4] = {0};

    (void)state;
    for (int i = 0; i < 8; i++) {
        fd[i] = dial(g);
        ask(fd[i], "/");
        count[atoi(hear(fd[i]) + 7)]++;
    }
    for (int i = 0; i < 4; i++) assert_int_equal(count[i], 2);

    /* Those that leave make room on their thread. */
    ask(fd[0], "/");
    count[0] = (unsigned)atoi(hear(fd[0]) + 7);
    close(fd[0]);
    UNTIL(atomic_load(&g->connections) == 7);
    again[0] = dial(g);
    ask(again[0], "/");
    assert_int_equal(atoi(hear(again[0]) + 7), count[0]);
    close(again[0]);
    for (int i = 1; i < 8; i++) close(fd[i]);
    gateway_free(g);
}

static void answers_may_come_from_other_threads(void **state)
{
    struct gateway_options o = options();
    struct gateway *g = start(&o);
    int fd[16];

    (void)state;
    for (int i = 0; i < 16; i++) fd[i] = dial(g);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 16; i++) ask(fd[i], i % 2 ? "/work" : "/");
        for (int i = 0; i < 16; i++)
            assert_memory_equal(hear(fd[i]), i % 2 ? "worked" : "thread", 6);
    }
    for (int i = 0; i < 16; i++) close(fd[i]);
    gateway_free(g);
    assert_int_equal(atomic_load(&held), 0);
}

static void a_timer_fires_once(void **state)
{
    struct gateway_options o = options();
    struct gateway *g = start(&o);
    int fd = dial(g);

    (void)state;
    ask(fd, "/timer");
    assert_string_equal(hear(fd), "set");
    UNTIL(atomic_load(&timer_fired) == 1);
    close(fd);
    gateway_free(g);
    assert_int_equal(atomic_load(&timer_fired), 1);
}

static void *free_main(void *arg)
{
    gateway_free(arg);
    return NULL;
}

static void freeing_waits_for_calls_under_way(void **state)
{
    struct gateway_options o = options();
    struct gateway *g = start(&o);
    int busy = dial(g), idle = dial(g);
    pthread_t stopper;

    (void)state;
    atomic_store(&keep_held, true);
    ask(idle, "/");
    hear(idle);
    ask(busy, "/work");
    UNTIL(atomic_load(&held) == 1);
    pthread_create(&stopper, NULL, free_main, g);
    assert_string_equal(hear(idle), ""); /* closed at once */
    close(idle);
    atomic_store(&keep_held, false);
    pthread_join(stopper, NULL);
    close(busy);
    assert_int_equal(atomic_load(&held), 0);
}

static struct gateway *stopping;

static void *stop_main(void *arg)
{
    (void)arg;
    gateway_stop(stopping, WAIT_MS);
    return NULL;
}

static void requests_in_flight_finish_within_the_grace(void **state)
{
    struct gateway_options o = options();
    struct gateway *g = start(&o);
    int busy = dial(g);
    pthread_t stopper;
    unsigned stops = atomic_load(&api_stops), frees = atomic_load(&api_frees);
    unsigned port = gateway_port(g);

    (void)state;
    atomic_store(&keep_held, true);
    ask(busy, "/work");
    UNTIL(atomic_load(&held) == 1);
    stopping = g;
    pthread_create(&stopper, NULL, stop_main, NULL);
    UNTIL(atomic_load(&api_stops) == stops + 1);
    assert_false(hears(busy, 20));
    atomic_store(&keep_held, false);
    assert_string_equal(hear(busy), "worked");
    assert_string_equal(hear(busy), "");
    pthread_join(stopper, NULL);
    close(busy);
    assert_int_equal(atomic_load(&g->connections), 0);
    gateway_free(g);
    assert_int_equal(atomic_load(&api_frees), frees + 1);

    /* The port is free again. */
    {
        char addr[32];

        snprintf(addr, sizeof addr, "127.0.0.1:%u", port);
        o.bind_addr = addr;
        g = start(&o);
        gateway_free(g);
    }
}

static void the_grace_ends(void **state)
{
    struct gateway_options o = options();
    struct gateway *g = start(&o);
    int busy = dial(g);

    (void)state;
    atomic_store(&keep_held, true);
    ask(busy, "/work");
    UNTIL(atomic_load(&held) == 1);
    gateway_stop(g, 20);
    assert_string_equal(hear(busy), ""); /* cut */
    close(busy);
    atomic_store(&keep_held, false);
    gateway_free(g); /* the call ends in its own time */
    assert_int_equal(atomic_load(&held), 0);
}

static void accepting_pauses_at_the_limit(void **state)
{
    struct gateway_options o = options();
    struct gateway *g;
    int fd[3], late;

    (void)state;
    o.limits.connections = 3;
    g = start(&o);
    for (int i = 0; i < 3; i++) {
        fd[i] = dial(g);
        ask(fd[i], "/");
        hear(fd[i]);
    }
    late = dial(g); /* by the kernel */
    ask(late, "/");
    assert_false(hears(late, 50));
    close(fd[1]);
    assert_memory_equal(hear(late), "thread", 6);
    for (int i = 0; i < 50; i++) { /* and again and again */
        close(fd[2]);
        fd[2] = dial(g);
        ask(fd[2], "/");
        assert_memory_equal(hear(fd[2]), "thread", 6);
    }
    close(fd[0]);
    close(fd[2]);
    close(late);
    gateway_free(g);
}

static void a_lack_of_descriptors_is_survived(void **state)
{
    struct gateway_options o = options();
    struct gateway *g = start(&o);
    struct rlimit before, low;
    int fd = dial(g), late;

    (void)state;
    ask(fd, "/");
    hear(fd);
    late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)late + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    {
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)gateway_port(g))};

        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        assert_int_equal(connect(late, (struct sockaddr *)&a, sizeof a), 0);
    }
    ask(late, "/");
    assert_false(hears(late, 50));
    ask(fd, "/"); /* others are served */
    assert_memory_equal(hear(fd), "thread", 6);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(hears(late, WAIT_MS));
    assert_memory_equal(hear(late), "thread", 6);
    close(fd);
    close(late);
    gateway_free(g);
}

static void a_port_in_use_is_named(void **state)
{
    struct gateway_options o = options();
    struct gateway *g = start(&o), *second;
    struct why why;
    char addr[32], want[100];

    (void)state;
    snprintf(addr, sizeof addr, "localhost:%u", gateway_port(g));
    snprintf(want, sizeof want, "listen tcp 127.0.0.1:%u: bind: address already in use",
             gateway_port(g));
    o.bind_addr = addr;
    assert_int_equal(gateway_start(&second, &o, &why), ERR_IO);
    assert_string_equal(why.text, want);
    o.bind_addr = "4001";
    assert_int_equal(gateway_start(&second, &o, &why), ERR_INVALID);
    assert_string_equal(why.text, "listen tcp: address 4001: missing port in address");
    gateway_free(g);
}

static void a_failed_start_leaves_nothing(void **state)
{
    struct gateway_options o = options();
    struct gateway *g;
    unsigned frees = atomic_load(&api_frees);

    (void)state;
    o.version = "fail";
    assert_int_equal(gateway_start(&g, &o, NULL), ERR_INVALID);
    assert_null(g);
    assert_int_equal(atomic_load(&api_frees), frees + 1);
    gateway_free(NULL);
}

static void an_empty_host_is_every_interface(void **state)
{
    struct gateway_options o = options();
    struct gateway *g;
    int fd;

    (void)state;
    o.bind_addr = ":0";
    o.threads = 0;
    g = start(&o);
    assert_true(g->n_threads > 0);
    fd = dial(g);
    ask(fd, "/");
    assert_memory_equal(hear(fd), "thread", 6);
    close(fd);
    gateway_free(g);
}

static pthread_t worker;

static int start_worker(void **state)
{
    (void)state;
    assert_int_equal(mailbox_new(&worker_box, 0, false, NULL), ERR_OK);
    return pthread_create(&worker, NULL, worker_main, NULL);
}

static int stop_worker(void **state)
{
    (void)state;
    mailbox_close(worker_box);
    pthread_join(worker, NULL);
    mailbox_free(worker_box);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_connections_spread_evenly),
        cmocka_unit_test(answers_may_come_from_other_threads),
        cmocka_unit_test(a_timer_fires_once),
        cmocka_unit_test(freeing_waits_for_calls_under_way),
        cmocka_unit_test(requests_in_flight_finish_within_the_grace),
        cmocka_unit_test(the_grace_ends),
        cmocka_unit_test(accepting_pauses_at_the_limit),
        cmocka_unit_test(a_lack_of_descriptors_is_survived),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test(a_failed_start_leaves_nothing),
        cmocka_unit_test(an_empty_host_is_every_interface),
    };

    return cmocka_run_group_tests(tests, start_worker, stop_worker);
}
