/* SPDX-License-Identifier: MIT */
#include "tests/unit/gateway/rig.h"

#include <nghttp2/nghttp2.h>

/* --- a client
 * ---------------------------------------------------------------------------- */

enum { STREAMS = 512 };

struct answer {
    int status;
    bool informed;      /* a 100 came */
    char headers[1024]; /* "name: value\n"... */
    char body[64];      /* its first bytes */
    uint64_t body_len;
    bool as_file; /* the body is rig_file()'s */
    bool closed;
    uint32_t code;
};

struct client {
    struct rig *rig;
    int fd;
    nghttp2_session *session;
    struct answer answers[STREAMS]; /* by stream id / 2 */
    const char *upload;
    size_t upload_left;
    bool goaway, eof;
    uint32_t goaway_code;
    size_t read_max; /* bytes read at a time */
};

static struct answer *answer_of(struct client *c, int32_t stream)
{
    return &c->answers[stream / 2 % STREAMS];
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name,
                     size_t nlen, const uint8_t *value, size_t len, uint8_t flags,
                     void *arg)
{
    struct answer *a = answer_of(arg, f->hd.stream_id);
    size_t used = strlen(a->headers);

    (void)s, (void)flags;
    if (nlen == 7 && memcmp(name, ":status", 7) == 0) {
        a->status = atoi((const char *)value);
        if (a->status == 100) a->informed = true;
    } else if (nlen == 4 && memcmp(name, "date", 4) == 0) {
        assert_int_equal(len, CONN_DATE);
    } else {
        snprintf(a->headers + used, sizeof a->headers - used, "%.*s: %.*s\n", (int)nlen,
                 name, (int)len, value);
    }
    return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *data,
                   size_t len, void *arg)
{
    struct answer *a = answer_of(arg, stream);

    (void)s, (void)flags;
    for (size_t i = 0; i < len; i++) {
        if (a->as_file && data[i] != rig_file_byte(a->body_len))
            fail_msg("the file differs");
        if (a->body_len < sizeof a->body - 1) a->body[a->body_len] = (char)data[i];
        a->body_len++;
    }
    return 0;
}

static int on_close(nghttp2_session *s, int32_t stream, uint32_t code, void *arg)
{
    struct answer *a = answer_of(arg, stream);

    (void)s;
    a->closed = true;
    a->code = code;
    return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *arg)
{
    struct client *c = arg;

    (void)s;
    if (f->hd.type != NGHTTP2_GOAWAY) return 0;
    c->goaway = true;
    c->goaway_code = f->goaway.error_code;
    return 0;
}

static struct client *client_new(struct rig *r)
{
    struct client *c = calloc(1, sizeof *c);
    nghttp2_session_callbacks *cb;

    c->rig = r;
    c->fd = rig_connect(r);
    c->read_max = 64 * 1024;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    assert_int_equal(nghttp2_session_client_new(&c->session, cb, c), 0);
    nghttp2_session_callbacks_del(cb);
    assert_int_equal(nghttp2_submit_settings(c->session, 0, NULL, 0), 0);
    return c;
}

static void client_free(struct client *c)
{
    nghttp2_session_del(c->session);
    close(c->fd);
    RIG_UNTIL(c->rig, c->rig->thread.conns->count == 0);
    free(c);
}

/* Send what there is to send, read what is there to be read. */
static void client_turn(struct client *c)
{
    static uint8_t piece[64 * 1024];
    const uint8_t *data;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(c->session, &data)) > 0)
        rig_send_bytes(c->rig, c->fd, data, (size_t)n);
    event_base_loop(c->rig->thread.base, EVLOOP_NONBLOCK);
    n = recv(c->fd, piece, c->read_max, 0);
    if (n == 0) c->eof = true;
    if (n > 0)
        assert_int_equal(nghttp2_session_mem_recv(c->session, piece, (size_t)n), n);
}

#define CLIENT_UNTIL(c, cond)                                                            \
    do {                                                                                 \
        uint64_t client_end_ms = rig_now_ms() + RIG_WAIT_MS;                             \
        while (!(cond)) {                                                                \
            client_turn(c);                                                              \
            if (rig_now_ms() > client_end_ms) fail_msg("never: %s", #cond);              \
        }                                                                                \
    } while (0)

/* As long as something still moves. */
static void client_rest(struct client *c)
{
    for (int i = 0; i < 20; i++) client_turn(c);
}

static ssize_t read_upload(nghttp2_session *s, int32_t stream, uint8_t *out, size_t cap,
                           uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct client *c = arg;
    size_t n = c->upload_left < cap ? c->upload_left : cap;

    (void)s, (void)stream, (void)source;
    if (c->upload)
        memcpy(out, c->upload, n);
    else
        memset(out, 'x', n);
    c->upload_left -= n;
    if (c->upload_left == 0) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
                        0};
}

/* extra: one more header, or NULL.  body_len: 0 = no body; body NULL = that many x. */
static int32_t request(struct client *c, const char *method, const char *path,
                       const char *extra, const char *value, const char *body,
                       size_t body_len)
{
    nghttp2_nv nv[] = {field(":method", method), field(":scheme", "http"),
                       field(":path", path), field(":authority", "x"),
                       field(extra ? extra : "", value ? value : "")};
    nghttp2_data_provider upload = {.read_callback = read_upload};
    int32_t stream;

    c->upload = body;
    c->upload_left = body_len;
    stream = nghttp2_submit_request(c->session, NULL, nv, extra ? 5 : 4,
                                    body_len > 0 ? &upload : NULL, NULL);
    assert_true(stream > 0);
    memset(answer_of(c, stream), 0, sizeof(struct answer));
    return stream;
}

static int32_t get(struct client *c, const char *path)
{
    return request(c, "GET", path, NULL, NULL, NULL, 0);
}

static int setup(void **state)
{
    struct rig *r = malloc(sizeof *r);

    rig_open(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

/* --- tests
 * ------------------------------------------------------------------------------- */

static void a_request_is_answered(void **state)
{
    struct client *c = client_new(*state);
    struct answer *a = answer_of(c, get(c, "/a%20b?q=1"));

    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->status, 200);
    assert_string_equal(a->body, "GET /a b?q=1");
    assert_string_equal(a->headers, "access-control-allow-headers: Content-Type\n"
                                    "access-control-allow-methods: OPTIONS, GET, POST\n"
                                    "x-rqlite-version: v1\n"
                                    "content-type: text/plain\n"
                                    "content-length: 12\n");
    client_free(c);
}

static void the_preface_may_come_in_single_bytes(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    const char *preface =
        NGHTTP2_CLIENT_MAGIC "\0\0\0\4\0\0\0\0\0"; /* and empty SETTINGS */
    char got[9];

    for (size_t i = 0; i < 24 + 9; i++) rig_send_bytes(r, fd, preface + i, 1);
    assert_int_equal(rig_recv(r, fd, got, 9), 9);
    assert_int_equal(got[3], NGHTTP2_SETTINGS);
    close(fd);
}

static void what_only_begins_like_the_preface_is_http_1(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char got[13] = "";

    rig_send(r, fd, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    rig_recv(r, fd, got, 12);
    assert_string_equal(got, "HTTP/1.1 505");
    close(fd);
}

static void streams_are_answered_in_any_order(void **state)
{
    struct client *c = client_new(*state);
    int32_t one = get(c, "/later/1"), two = get(c, "/later/2");
    int32_t post = request(c, "POST", "/p", NULL, NULL, "abc", 3);

    CLIENT_UNTIL(c, answer_of(c, post)->closed);
    assert_string_equal(answer_of(c, post)->body, "POST /p abc");
    assert_string_equal(http_header(&seen.later[1]->request, "Host"), "x");
    rig_answer(2);
    CLIENT_UNTIL(c, answer_of(c, two)->closed);
    assert_false(answer_of(c, one)->closed);
    rig_answer(1);
    CLIENT_UNTIL(c, answer_of(c, one)->closed);
    assert_string_equal(answer_of(c, one)->body, "later 1");
    client_free(c);
}

static void many_streams_run_at_once(void **state)
{
    struct client *c = client_new(*state);

    client_rest(c); /* learn the server's limit */
    for (int i = 0; i < 300; i++) get(c, "/x");
    for (int i = 0; i < 300; i++) CLIENT_UNTIL(c, c->answers[i].closed);
    for (int i = 0; i < 300; i++) assert_string_equal(c->answers[i].body, "GET /x");
    assert_int_equal(nghttp2_session_get_remote_settings(
                         c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
                     256);
    client_free(c);
}

static void head_and_204_have_no_body(void **state)
{
    struct client *c = client_new(*state);
    struct answer *head = answer_of(c, request(c, "HEAD", "/x", NULL, NULL, NULL, 0));
    struct answer *none = answer_of(c, get(c, "/none"));

    CLIENT_UNTIL(c, head->closed && none->closed);
    assert_int_equal(head->body_len, 0);
    assert_non_null(strstr(head->headers, "content-length: 7\n"));
    assert_int_equal(none->status, 204);
    assert_null(strstr(none->headers, "content-length"));
    client_free(c);
}

static void a_large_body_goes_to_a_file(void **state)
{
    struct client *c = client_new(*state);
    struct answer *a =
        answer_of(c, request(c, "POST", "/load", NULL, NULL, NULL, RIG_LOAD_MAX));

    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->status, 200);
    assert_int_equal(seen.file_size, RIG_LOAD_MAX);
    assert_memory_equal(seen.body, "xxx", 3);
    client_free(c);
}

static void bodies_have_a_limit(void **state)
{
    struct client *c = client_new(*state);
    struct answer *a =
        answer_of(c, request(c, "POST", "/", NULL, NULL, NULL, RIG_BODY_MAX + 1));

    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->status, 413);
    assert_string_equal(a->body, "request body too large\n");

    /* Told by its length: no need to send it. */
    a = answer_of(c,
                  request(c, "POST", "/", "content-length", "50000000", NULL, 50000000));
    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->status, 413);
    assert_true(c->upload_left > 0);

    a = answer_of(c, get(c, "/x")); /* the connection lives */
    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->status, 200);
    client_free(c);
}

static void continue_is_said_when_the_body_is_wanted(void **state)
{
    struct client *c = client_new(*state);
    struct answer *a =
        answer_of(c, request(c, "POST", "/p", "expect", "100-continue", "abc", 3));
    struct answer *other;

    CLIENT_UNTIL(c, a->closed);
    assert_true(a->informed);
    assert_int_equal(a->status, 200);
    other = answer_of(c, request(c, "POST", "/p", "expect", "more", "abc", 3));
    CLIENT_UNTIL(c, other->closed);
    assert_int_equal(other->status, 417);
    client_free(c);
}

static void a_large_answer_reaches_a_slow_reader(void **state)
{
    struct rig *r = *state;
    struct client *c = client_new(r);
    struct answer *file, *big, *quick;

    seen.file_size = 5 << 20;
    c->read_max = 1000;
    file = answer_of(c, get(c, "/file"));
    file->as_file = true;
    big = answer_of(c, get(c, "/big"));
    quick = answer_of(c, get(c, "/x"));
    CLIENT_UNTIL(c, quick->closed);
    assert_false(file->closed);
    while (!file->closed || !big->closed) {
        client_turn(c);
        assert_true(hconn_unsent(rig_conn(r)) <= 256 * 1024);
    }
    assert_int_equal(file->body_len, 5 << 20);
    assert_int_equal(big->body_len, 5 << 20);
    assert_int_equal(file->code, NGHTTP2_NO_ERROR);
    client_free(c);
}

static void a_compressed_file_has_no_length(void **state)
{
    struct client *c = client_new(*state);
    struct answer *a;

    seen.file_size = 1 << 20;
    a = answer_of(c, get(c, "/gzip"));
    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->code, NGHTTP2_NO_ERROR);
    assert_memory_equal(a->body, "\x1f\x8b", 2);
    assert_in_range(a->body_len, 100, 1 << 19);
    assert_null(strstr(a->headers, "content-length"));
    client_free(c);
}

static void a_file_that_cannot_be_read_resets_its_stream(void **state)
{
    struct client *c = client_new(*state);
    struct answer *a;

    seen.file_size = 1 << 20;
    a = answer_of(c, get(c, "/short"));
    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->code, NGHTTP2_INTERNAL_ERROR);
    a = answer_of(c, get(c, "/x"));
    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->status, 200);
    client_free(c);
}

static void a_reset_stream_is_gone(void **state)
{
    struct client *c = client_new(*state);
    int32_t stream = get(c, "/later/1");
    struct answer *other;

    CLIENT_UNTIL(c, seen.later[1]);
    nghttp2_submit_rst_stream(c->session, 0, stream, NGHTTP2_CANCEL);
    CLIENT_UNTIL(c, seen.gone == 1);
    rig_answer(1);
    other = answer_of(c, get(c, "/x"));
    CLIENT_UNTIL(c, other->closed);
    assert_int_equal(other->status, 200);
    client_free(c);
}

static void a_closed_connection_is_gone(void **state)
{
    struct client *c = client_new(*state);

    get(c, "/later/1");
    get(c, "/later/2");
    CLIENT_UNTIL(c, seen.later[1] && seen.later[2]);
    client_free(c);
    assert_int_equal(seen.gone, 2);
}

static void rapid_resets_end_the_connection(void **state)
{
    struct client *c = client_new(*state);

    client_rest(c);
    for (int i = 0; i < 3000 && !c->goaway && !c->eof; i++) {
        int32_t stream = get(c, "/later/1");

        client_turn(c);
        nghttp2_submit_rst_stream(c->session, 0, stream, NGHTTP2_CANCEL);
        client_turn(c);
        if (seen.later[1]) rig_answer(1);
    }
    CLIENT_UNTIL(c, c->goaway);
    assert_int_equal(c->goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    CLIENT_UNTIL(c, c->eof);
    assert_in_range(seen.dispatched, 500, 600);
    client_free(c);
}

static void header_lists_have_a_limit(void **state)
{
    struct rig *r = *state;
    struct client *c;
    struct answer *a;
    char value[900];

    r->gateway.options.limits.header_bytes = 1000;
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    c = client_new(r);
    a = answer_of(c, request(c, "GET", "/x", "a", value, NULL, 0));
    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->status, 431);
    assert_int_equal(seen.dispatched, 0);
    value[500] = '\0';
    a = answer_of(c, request(c, "GET", "/x", "a", value, NULL, 0));
    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->status, 200);
    client_free(c);
}

/* One field in the table, then references to it: small on the wire, large when decoded.
 */
static void a_header_bomb_ends_the_connection(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    static uint8_t bytes[24 + 9 + 9 + 16000];
    size_t block = 0;
    uint8_t *p = bytes + 24 + 9 + 9;
    char got[4096];

    memcpy(bytes, NGHTTP2_CLIENT_MAGIC, 24);
    memcpy(bytes + 24, "\0\0\0\4\0\0\0\0\0", 9);
    p[block++] = 0x82; /* GET */
    p[block++] = 0x84; /* / */
    p[block++] = 0x86; /* http */
    p[block++] = 0x40; /* a new field, kept in the table */
    p[block++] = 1;
    p[block++] = 'a';
    p[block++] =
        0x7f; /* of 127 + 3873 = 4000 bytes: 3873 is 0x1e 0x21 in groups of seven */
    p[block++] = 0xa1;
    p[block++] = 0x1e;
    memset(p + block, 'v', 4000);
    block += 4000;
    memset(p + block, 0xbe, 10000); /* that field again and again: 40 MB */
    block += 10000;
    memcpy(bytes + 33,
           (uint8_t[]){0, (uint8_t)(block >> 8), (uint8_t)block, 1, 5, 0, 0, 0, 1}, 9);
    rig_send_bytes(r, fd, bytes, 24 + 9 + 9 + block);
    rig_recv(r, fd, got, sizeof got);
    assert_int_equal(seen.dispatched, 0);
    assert_int_equal(r->thread.conns->count, 0);
    close(fd);
}

/* CONTINUATION frames without end. */
static void a_header_block_must_end(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    static uint8_t frame[9 + 16000];

    rig_send_bytes(r, fd, NGHTTP2_CLIENT_MAGIC "\0\0\0\4\0\0\0\0\0", 24 + 9);
    rig_send_bytes(r, fd, "\0\0\3\1\0\0\0\0\1\x82\x84\x86", 12);
    /* Size updates of the table do not count as fields. */
    memcpy(frame, "\0\0\0\x09\0\0\0\0\1", 9);
    for (int i = 0; i < 10000000 && r->thread.conns->count > 0; i++)
        rig_send_bytes(r, fd, frame, 9);
    assert_int_equal(r->thread.conns->count, 0);
    assert_int_equal(seen.dispatched, 0);
    close(fd);
}

static void garbage_ends_the_connection(void **state)
{
    struct rig *r = *state;
    int fd = rig_connect(r);
    char got[4096];

    rig_send_bytes(r, fd, NGHTTP2_CLIENT_MAGIC "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                   24 + 10);
    rig_recv(r, fd, got, sizeof got);
    rig_expect_closed(r, fd);
}

static void a_bad_target_is_refused(void **state)
{
    struct client *c = client_new(*state);
    struct answer *a = answer_of(c, get(c, "/%zz"));

    CLIENT_UNTIL(c, a->closed);
    assert_int_equal(a->status, 400);
    client_free(c);
}

static void a_header_cannot_smuggle_another(void **state)
{
    struct client *c = client_new(*state);
    struct answer *a = answer_of(c, get(c, "/header"));

    CLIENT_UNTIL(c, a->closed);
    assert_null(strstr(a->headers, "x-bad"));
    assert_non_null(strstr(a->headers, "x-good: good\n"));
    client_free(c);
}

static void draining_says_goodbye_and_finishes(void **state)
{
    struct rig *r = *state;
    struct client *idle = client_new(r), *busy = client_new(r);
    struct answer *a = answer_of(busy, get(busy, "/later/1"));

    client_rest(idle);
    CLIENT_UNTIL(busy, seen.later[1]);
    hconn_set_drain(r->thread.conns);
    CLIENT_UNTIL(idle, idle->goaway && idle->eof);
    CLIENT_UNTIL(busy, busy->goaway);
    assert_int_equal(busy->goaway_code, NGHTTP2_NO_ERROR);
    assert_false(busy->eof);
    rig_answer(1);
    CLIENT_UNTIL(busy, a->closed);
    assert_string_equal(a->body, "later 1");
    CLIENT_UNTIL(busy, busy->eof);
    nghttp2_session_del(idle->session);
    close(idle->fd);
    free(idle);
    client_free(busy);
}

static void an_idle_connection_times_out(void **state)
{
    struct rig *r = *state;
    struct client *c;
    struct answer *a;

    rig_waits(r, 60000, 30, 60000);
    c = client_new(r);
    a = answer_of(c, get(c, "/x"));
    CLIENT_UNTIL(c, a->closed);
    CLIENT_UNTIL(c, c->goaway && c->eof);
    client_free(c);
}

static void a_stalled_stream_times_out(void **state)
{
    struct rig *r = *state;
    int fd;

    rig_waits(r, 60000, 60000, 30);
    fd = rig_connect(r);
    rig_send_bytes(r, fd, NGHTTP2_CLIENT_MAGIC "\0\0\0\4\0\0\0\0\0", 24 + 9);
    rig_send_bytes(r, fd, "\0\0\6\1\4\0\0\0\1\x83\x84\x86\x41\1x", 15); /* POST / */
    rig_send_bytes(r, fd, "\0\0\3\0\0\0\0\0\1abc", 12);                 /* and no end */
    assert_int_equal(r->thread.conns->count, 1);
    RIG_UNTIL(r, r->thread.conns->count == 0);
    assert_int_equal(seen.dispatched, 0);
    close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        T(a_request_is_answered),
        T(the_preface_may_come_in_single_bytes),
        T(what_only_begins_like_the_preface_is_http_1),
        T(streams_are_answered_in_any_order),
        T(many_streams_run_at_once),
        T(head_and_204_have_no_body),
        T(a_large_body_goes_to_a_file),
        T(bodies_have_a_limit),
        T(continue_is_said_when_the_body_is_wanted),
        T(a_large_answer_reaches_a_slow_reader),
        T(a_compressed_file_has_no_length),
        T(a_file_that_cannot_be_read_resets_its_stream),
        T(a_reset_stream_is_gone),
        T(a_closed_connection_is_gone),
        T(rapid_resets_end_the_connection),
        T(header_lists_have_a_limit),
        T(a_header_bomb_ends_the_connection),
        T(a_header_block_must_end),
        T(garbage_ends_the_connection),
        T(a_bad_target_is_refused),
        T(a_header_cannot_smuggle_another),
        T(draining_says_goodbye_and_finishes),
        T(an_idle_connection_times_out),
        T(a_stalled_stream_times_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
