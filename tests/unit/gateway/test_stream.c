/* SPDX-License-Identifier: MIT */
/* A stream between its writer and its reader, without a gateway: what is posted to the
 * exchange's thread is delivered when the test says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it */
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mailbox.h"
#include "core/db/sink.h"
#include "gateway/http.h"
#include "gateway/server.h"
#include "gateway/stream.h"
#include "gateway/transport.h"

enum { FOREVER_MS = 1000000 };

static struct {
    pthread_mutex_t lock; /* of posted: a writer may be on any thread */
    struct mail *posted;
    unsigned posts, begun, resumed, rooms;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct http_exchange exchange;
static int argument;
static const struct row_sink sink; /* nobody waits for its reader */

/* --- in place of the gateway -------------------------------------------------------- */

void gateway_post(struct gateway_thread *t, struct mail *m)
{
    (void)t;
    pthread_mutex_lock(&seen.lock);
    assert_null(seen.posted);
    seen.posted = m;
    seen.posts++;
    pthread_mutex_unlock(&seen.lock);
}

void transport_resume(struct http_exchange *x)
{
    assert_ptr_equal(x, &exchange);
    seen.resumed++;
}

/* False: nothing was posted. */
static bool deliver(void)
{
    struct mail *m;

    pthread_mutex_lock(&seen.lock);
    m = seen.posted;
    seen.posted = NULL;
    pthread_mutex_unlock(&seen.lock);
    if (m) m->deliver(m, NULL);
    return m != NULL;
}

static void on_begin(struct http_exchange *x, struct http_stream *s, void *arg)
{
    assert_ptr_equal(x, &exchange);
    assert_ptr_equal(arg, &argument);
    assert_non_null(s);
    seen.begun++;
}

static void on_room(void *arg)
{
    assert_ptr_equal(arg, &argument);
    seen.rooms++;
}

/* --- both ends ---------------------------------------------------------------------- */

static struct http_stream *open_stream(uint64_t stall_ms)
{
    struct http_stream *s;

    assert_null(seen.posted);
    seen.posts = seen.begun = seen.resumed = seen.rooms = 0;
    s = http_stream_new(&exchange, stall_ms, on_begin, &argument);
    assert_non_null(s);
    return s;
}

static bool put(struct http_stream *s, const char *text)
{
    return http_stream_put(s, (uint8_t *)strdup(text), strlen(text));
}

static void fill(struct http_stream *s)
{
    for (int i = 0; i < STREAM_AHEAD / STREAM_PIECE; i++) {
        assert_true(http_stream_room(s, on_room, &argument));
        assert_true(http_stream_put(s, calloc(1, STREAM_PIECE), STREAM_PIECE));
    }
}

static void assert_reads(struct http_stream *s, size_t cap, const char *text)
{
    char out[100];
    ssize_t n = http_stream_read(s, out, cap);

    assert_int_equal(n, (ssize_t)strlen(text));
    assert_memory_equal(out, text, (size_t)n);
}

static ssize_t read_any(struct http_stream *s)
{
    static char out[STREAM_AHEAD * 2];

    return http_stream_read(s, out, sizeof out);
}

/* --- tests -------------------------------------------------------------------------- */

static void pieces_are_read_as_one_text(void **state)
{
    struct http_stream *s = open_stream(FOREVER_MS);

    (void)state;
    assert_int_equal(seen.posts, 0); /* nothing is answered before there is something */
    assert_true(put(s, "one "));
    assert_true(put(s, "two "));
    assert_true(put(s, "three"));
    assert_int_equal(seen.posts, 1);
    assert_int_equal(seen.begun, 0); /* that is for the exchange's thread */
    assert_true(deliver());
    assert_int_equal(seen.begun, 1);
    assert_reads(s, 2, "on");
    assert_reads(s, 5, "e two");
    assert_reads(s, 100, " three");
    assert_int_equal(read_any(s), STREAM_LATER);
    http_stream_end(s, true);
    assert_int_equal(read_any(s), 0);
    assert_false(http_stream_broken(s));
    http_stream_close(s);
}

static void a_reader_is_woken_once_when_it_has_run_out(void **state)
{
    struct http_stream *s = open_stream(FOREVER_MS);

    (void)state;
    assert_true(put(s, "a"));
    assert_true(deliver());
    assert_int_equal(seen.begun, 1);
    assert_true(put(s, "b")); /* the reader has not run out */
    assert_false(deliver());
    assert_reads(s, 100, "ab");
    assert_int_equal(read_any(s), STREAM_LATER);
    assert_true(put(s, "c"));
    assert_true(put(s, "d"));
    assert_int_equal(seen.posts, 2);
    assert_true(deliver());
    assert_int_equal(seen.resumed, 1);
    assert_reads(s, 100, "cd");
    assert_int_equal(read_any(s), STREAM_LATER);
    http_stream_end(s, true); /* it has to learn of the end, too */
    assert_int_equal(seen.resumed, 2);
    assert_int_equal(seen.begun, 1);
    assert_int_equal(read_any(s), 0);
    http_stream_close(s);
}

static void a_writer_is_told_when_there_is_room(void **state)
{
    struct http_stream *s = open_stream(FOREVER_MS);

    (void)state;
    fill(s);
    assert_false(http_stream_room(s, on_room, &argument));
    assert_int_equal(seen.rooms, 0);
    assert_true(deliver());
    assert_int_equal(read_any(s), STREAM_AHEAD);
    assert_int_equal(seen.rooms, 1);
    assert_int_equal(read_any(s), STREAM_LATER);
    assert_int_equal(seen.rooms, 1); /* once */
    assert_true(http_stream_room(s, on_room, &argument));
    assert_true(http_stream_wait(s, &sink));
    http_stream_end(s, true);
    http_stream_close(s);
    assert_int_equal(seen.rooms, 1);
}

static void *close_it(void *s)
{
    http_stream_close(s);
    return NULL;
}

static void *read_it(void *s)
{
    assert_int_equal(read_any(s), STREAM_AHEAD);
    return NULL;
}

static void a_writer_that_waits_goes_on_when_bytes_are_taken(void **state)
{
    struct http_stream *s = open_stream(FOREVER_MS);
    pthread_t reader;

    (void)state;
    fill(s);
    assert_true(deliver());
    assert_int_equal(pthread_create(&reader, NULL, read_it, s), 0);
    assert_true(http_stream_wait(s, &sink));
    pthread_join(reader, NULL);
    http_stream_end(s, true);
    http_stream_close(s);
}

static void a_writer_that_waits_ends_when_the_client_leaves(void **state)
{
    struct http_stream *s = open_stream(FOREVER_MS);
    pthread_t reader;

    (void)state;
    fill(s);
    assert_true(deliver());
    assert_int_equal(pthread_create(&reader, NULL, close_it, s), 0);
    assert_false(http_stream_wait(s, &sink));
    pthread_join(reader, NULL);
    assert_false(put(s, "more"));
    http_stream_end(s, true);
    assert_int_equal(seen.resumed, 0); /* there is nobody any more */
}

static void who_asked_for_room_is_told_that_the_client_left(void **state)
{
    struct http_stream *s = open_stream(FOREVER_MS);

    (void)state;
    fill(s);
    assert_true(deliver());
    assert_false(http_stream_room(s, on_room, &argument));
    http_stream_close(s);
    assert_int_equal(seen.rooms, 1);
    assert_true(http_stream_room(s, on_room, &argument)); /* nothing to wait for ... */
    assert_false(put(s, "more"));                         /* ... and nobody */
    http_stream_end(s, false);
    assert_int_equal(seen.rooms, 1);
}

static void a_client_that_does_not_read_is_given_up(void **state)
{
    struct http_stream *s = open_stream(20);

    (void)state;
    fill(s);
    assert_true(deliver());
    assert_false(http_stream_wait(s, &sink));
    assert_true(http_stream_broken(s));
    assert_true(deliver()); /* its connection is to be closed */
    assert_int_equal(seen.resumed, 1);
    assert_int_equal(read_any(s), STREAM_BROKEN);
    http_stream_close(s);
    http_stream_end(s, true);
}

static void an_answer_that_is_not_whole_is_broken(void **state)
{
    struct http_stream *s = open_stream(FOREVER_MS);

    (void)state;
    assert_true(put(s, "half"));
    assert_true(deliver());
    http_stream_end(s, false);
    assert_int_equal(seen.resumed, 1); /* though it had not run out */
    assert_true(http_stream_broken(s));
    assert_int_equal(read_any(s), STREAM_BROKEN); /* not even what was there */
    http_stream_close(s);
}

static void what_is_left_is_freed_whoever_goes_last(void **state)
{
    struct http_stream *s = open_stream(FOREVER_MS);

    (void)state;
    assert_true(put(s, "unread"));
    assert_true(deliver());
    http_stream_end(s, true);
    http_stream_close(s);
    s = open_stream(FOREVER_MS);
    assert_true(put(s, "unread"));
    assert_true(deliver());
    http_stream_close(s);
    http_stream_end(s, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_read_as_one_text),
        cmocka_unit_test(a_reader_is_woken_once_when_it_has_run_out),
        cmocka_unit_test(a_writer_is_told_when_there_is_room),
        cmocka_unit_test(a_writer_that_waits_goes_on_when_bytes_are_taken),
        cmocka_unit_test(a_writer_that_waits_ends_when_the_client_leaves),
        cmocka_unit_test(who_asked_for_room_is_told_that_the_client_left),
        cmocka_unit_test(a_client_that_does_not_read_is_given_up),
        cmocka_unit_test(an_answer_that_is_not_whole_is_broken),
        cmocka_unit_test(what_is_left_is_freed_whoever_goes_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
