/* SPDX-License-Identifier: MIT */
/* The codec: what is read back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/net/frame.h"

static const struct frame good[] = {
    {.kind = FRAME_HELLO, .length = 40},
    {.kind = FRAME_CALL, .length = 31, .stream = 1, .service = 3, .method = 4},
    {.kind = FRAME_CALL,
     .length = 400,
     .stream = UINT32_MAX,
     .service = 255,
     .method = 255,
     .flags = FRAME_MESSAGE_HERE | FRAME_LAST | FRAME_CHECKED,
     .crc = 0x12345678},
    {.kind = FRAME_CALL,
     .length = FRAME_BODY_MAX,
     .stream = 2,
     .flags = FRAME_MESSAGE_HERE | FRAME_MORE},
    {.kind = FRAME_MESSAGE, .stream = 9},
    {.kind = FRAME_MESSAGE, .stream = 9, .length = FRAME_BODY_MAX, .flags = FRAME_MORE},
    {.kind = FRAME_MESSAGE, .stream = 9, .length = 5, .flags = FRAME_LAST},
    {.kind = FRAME_END, .stream = 9},
    {.kind = FRAME_END, .stream = 9, .length = 100, .flags = FRAME_NOT_RUN},
    {.kind = FRAME_CANCEL, .stream = 9},
    {.kind = FRAME_WINDOW, .stream = 9, .length = 4},
    {.kind = FRAME_PING, .length = 8},
    {.kind = FRAME_PONG, .length = 8, .flags = FRAME_CHECKED},
    {.kind = FRAME_GOAWAY, .length = 10, .flags = FRAME_FATAL},
};

static void every_kind_is_read_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint8_t bytes[FRAME_HEADER_BYTES];
        struct frame back;
        struct why why;

        frame_put(bytes, &good[i]);
        if (frame_get(&back, bytes, &why)) fail_msg("%zu: %s", i, why.text);
        assert_int_equal(back.length, good[i].length);
        assert_int_equal(back.kind, good[i].kind);
        assert_int_equal(back.flags, good[i].flags);
        assert_int_equal(back.service, good[i].service);
        assert_int_equal(back.method, good[i].method);
        assert_int_equal(back.stream, good[i].stream);
        assert_int_equal(back.crc, good[i].crc);
    }
}

static void the_bytes_are_these(void **state)
{
    static const uint8_t want[] = {1, 2, 0, 0, 2,   0x86, 3,   4,
                                   5, 6, 7, 8, 0xd, 0xc,  0xb, 0xa};
    struct frame f = {.kind = FRAME_CALL,
                      .length = 0x201,
                      .flags = FRAME_CHECKED | FRAME_MESSAGE_HERE | FRAME_LAST,
                      .service = 3,
                      .method = 4,
                      .stream = 0x08070605,
                      .crc = 0x0a0b0c0d};
    uint8_t bytes[FRAME_HEADER_BYTES];

    (void)state;
    frame_put(bytes, &f);
    assert_memory_equal(bytes, want, sizeof want);
    assert_int_equal(frame_crc_start(bytes), crc32c(0, want, 12));
}

static void a_header_that_its_kind_does_not_allow_is_refused(void **state)
{
    static const struct frame bad[] = {
        {.kind = 0},
        {.kind = FRAME_GOAWAY + 1},
        {.kind = 255},
        {.kind = FRAME_HELLO, .length = 23},              /* too short */
        {.kind = FRAME_HELLO, .length = 40, .stream = 1}, /* not of a stream */
        {.kind = FRAME_HELLO, .length = 40, .flags = FRAME_LAST},
        {.kind = FRAME_CALL, .length = 31}, /* no stream */
        {.kind = FRAME_CALL, .length = 30, .stream = 1},
        {.kind = FRAME_CALL, .length = 31, .stream = 1, .flags = FRAME_MORE},
        {.kind = FRAME_CALL,
         .length = 31,
         .stream = 1,
         .flags = FRAME_MESSAGE_HERE | FRAME_MORE | FRAME_LAST},
        {.kind = FRAME_CALL, .length = 31, .stream = 1, .flags = FRAME_NOT_RUN},
        {.kind = FRAME_MESSAGE, .length = 1},
        {.kind = FRAME_MESSAGE, .stream = 1, .service = 1}, /* methods are a call's */
        {.kind = FRAME_MESSAGE, .stream = 1, .method = 1},
        {.kind = FRAME_MESSAGE, .stream = 1, .flags = 0x40},
        {.kind = FRAME_MESSAGE, .stream = 1, .crc = 1}, /* without the flag */
        {.kind = FRAME_END, .stream = 1, .length = 4097},
        {.kind = FRAME_CANCEL, .stream = 1, .length = 1},
        {.kind = FRAME_WINDOW, .stream = 1, .length = 3},
        {.kind = FRAME_WINDOW, .stream = 1, .length = 5},
        {.kind = FRAME_PING, .length = 7},
        {.kind = FRAME_PONG, .length = 8, .stream = 3},
        {.kind = FRAME_GOAWAY, .length = 4097},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t bytes[FRAME_HEADER_BYTES];
        struct frame back;
        struct why why = {0};

        frame_put(bytes, &bad[i]);
        if (frame_get(&back, bytes, &why) != ERR_CORRUPT) fail_msg("%zu was taken", i);
        assert_true(why.text[0] != '\0');
    }
}

static void an_oversized_body_is_refused(void **state)
{
    struct frame f = {.kind = FRAME_MESSAGE, .stream = 1, .length = FRAME_BODY_MAX + 1};
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame back;

    (void)state;
    frame_put(bytes, &f);
    assert_int_equal(frame_get(&back, bytes, NULL), ERR_TOO_BIG);
    f.length = UINT32_MAX;
    frame_put(bytes, &f);
    assert_int_equal(frame_get(&back, bytes, NULL), ERR_TOO_BIG);
}

static struct net_hello a_hello(void)
{
    struct net_hello h = {.version_min = 1,
                          .version_max = 7,
                          .class = NET_BULK,
                          .cluster_id = 0x0123456789abcdef,
                          .window = 1 << 19,
                          .node_id = "node-1",
                          .address = "host:4002",
                          .software = "v1.2.3"};
    return h;
}

static void same_hello(const struct net_hello *a, const struct net_hello *b)
{
    assert_int_equal(a->version_min, b->version_min);
    assert_int_equal(a->version_max, b->version_max);
    assert_int_equal(a->class, b->class);
    assert_int_equal(a->cluster_id, b->cluster_id);
    assert_int_equal(a->window, b->window);
    assert_string_equal(a->node_id, b->node_id);
    assert_string_equal(a->address, b->address);
    assert_string_equal(a->software, b->software);
}

/* A copy of exactly len bytes on the heap, where a sanitizer sees a read beyond them. */
static uint8_t *exactly(const uint8_t *bytes, size_t len)
{
    uint8_t *p = malloc(len ? len : 1);

    memcpy(p, bytes, len);
    return p;
}

static void a_hello_is_read_back_and_no_part_of_it_is_one(void **state)
{
    struct net_hello h = a_hello(), back;
    uint8_t bytes[FRAME_HELLO_ROOM + 9];
    size_t len = frame_put_hello(bytes, &h);
    struct why why;

    (void)state;
    assert_int_equal(frame_get_hello(&back, bytes, len, &why), ERR_OK);
    same_hello(&back, &h);
    memset(bytes + len, 'x', 9); /* fields of a later version */
    assert_int_equal(frame_get_hello(&back, bytes, len + 9, &why), ERR_OK);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *p = exactly(bytes, cut);

        assert_int_equal(frame_get_hello(&back, p, cut, &why), ERR_CORRUPT);
        free(p);
    }
}

static void the_longest_hello_fits(void **state)
{
    struct net_hello h = a_hello(), back;
    uint8_t *bytes = malloc(FRAME_HELLO_ROOM);
    size_t len;

    (void)state;
    memset(h.node_id, 'n', FRAME_ID_MAX);
    memset(h.address, 'a', FRAME_ADDR_MAX);
    memset(h.software, 's', FRAME_SOFTWARE_MAX);
    len = frame_put_hello(bytes, &h);
    assert_int_equal(len, FRAME_HELLO_ROOM);
    assert_int_equal(frame_get_hello(&back, bytes, len, NULL), ERR_OK);
    same_hello(&back, &h);
    free(bytes);
}

static void a_hello_with_impossible_fields_is_refused(void **state)
{
    struct net_hello back;
    uint8_t bytes[FRAME_HELLO_ROOM];

    (void)state;
    for (int i = 0; i < 9; i++) {
        struct net_hello h = a_hello();
        size_t len;

        switch (i) {
        case 0: h.class = 0; break;
        case 1: h.class = NET_BULK + 1; break;
        case 2: h.version_min = h.version_max = 0; break;
        case 3: h.version_min = 8; break;
        case 4: h.window = 0; break;
        case 5: h.window = UINT32_MAX; break;
        case 6: h.node_id[2] = '\n'; break; /* would forge a log line */
        case 7: h.software[0] = '\x1b'; break;
        case 8: h.address[1] = '\x7f'; break;
        }
        len = frame_put_hello(bytes, &h);
        assert_int_equal(frame_get_hello(&back, bytes, len, NULL), ERR_CORRUPT);
    }
    struct net_hello h = a_hello();
    size_t len = frame_put_hello(bytes, &h);

    put_le16(bytes + 18, FRAME_ID_MAX + 1);
    assert_int_equal(frame_get_hello(&back, bytes, len, NULL), ERR_CORRUPT);
}

static void metadata_is_read_back_and_no_part_of_it_is_any(void **state)
{
    struct net_meta m = {.user = "bob",
                         .password = "secret",
                         .timeout_ns = 30000000000,
                         .call_id = {1, UINT64_MAX},
                         .forwarded = true},
                    back;
    uint8_t bytes[FRAME_META_ROOM + 4];
    size_t len = frame_put_meta(bytes, &m), used;
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    memcpy(bytes + len, "rest", 4);
    assert_int_equal(frame_get_meta(&back, &a, bytes, len + 4, &used, NULL), ERR_OK);
    assert_int_equal(used, len);
    assert_string_equal(back.user, "bob");
    assert_string_equal(back.password, "secret");
    assert_int_equal(back.timeout_ns, m.timeout_ns);
    assert_int_equal(back.call_id[0], 1);
    assert_int_equal(back.call_id[1], UINT64_MAX);
    assert_true(back.forwarded);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *p = exactly(bytes, cut);

        assert_int_equal(frame_get_meta(&back, &a, p, cut, &used, NULL), ERR_CORRUPT);
        if (cut >= 2) { /* and if it says that it is so short */
            put_le16(p, (uint16_t)(cut - 2));
            assert_int_equal(frame_get_meta(&back, &a, p, cut, &used, NULL), ERR_CORRUPT);
        }
        free(p);
    }
    /* A later version's metadata is longer. */
    put_le16(bytes, (uint16_t)(len + 4 - 2));
    assert_int_equal(frame_get_meta(&back, &a, bytes, len + 4, &used, NULL), ERR_OK);
    assert_int_equal(used, len + 4);
    arena_fini(&a);
}

static void no_user_and_an_empty_user_differ(void **state)
{
    struct net_meta none = {0}, empty = {.user = "", .password = ""}, back;
    uint8_t bytes[FRAME_META_ROOM];
    struct arena a;
    size_t used;

    (void)state;
    arena_init(&a, 0);
    assert_int_equal(
        frame_get_meta(&back, &a, bytes, frame_put_meta(bytes, &none), &used, NULL),
        ERR_OK);
    assert_null(back.user);
    assert_null(back.password);
    assert_int_equal(
        frame_get_meta(&back, &a, bytes, frame_put_meta(bytes, &empty), &used, NULL),
        ERR_OK);
    assert_string_equal(back.user, "");
    assert_string_equal(back.password, "");
    arena_fini(&a);
}

static void credentials_have_a_limit_and_no_zero_bytes(void **state)
{
    char user[FRAME_USER_MAX + 2] = "", password[FRAME_PASSWORD_MAX + 2] = "";
    struct net_meta m = {.user = user, .password = password}, back;
    uint8_t *bytes = malloc(FRAME_META_ROOM);
    struct arena a;
    size_t used, len;

    (void)state;
    arena_init(&a, 0);
    memset(user, 'u', FRAME_USER_MAX);
    memset(password, 'p', FRAME_PASSWORD_MAX);
    assert_int_equal(frame_meta_check(&m, NULL), ERR_OK);
    len = frame_put_meta(bytes, &m);
    assert_int_equal(len, FRAME_META_ROOM);
    assert_int_equal(frame_get_meta(&back, &a, bytes, len, &used, NULL), ERR_OK);
    assert_string_equal(back.password, password);
    bytes[30] = '\0';
    assert_int_equal(frame_get_meta(&back, &a, bytes, len, &used, NULL), ERR_CORRUPT);
    user[FRAME_USER_MAX] = 'u';
    assert_int_equal(frame_meta_check(&m, NULL), ERR_TOO_BIG);
    m.user = NULL;
    password[FRAME_PASSWORD_MAX] = 'p';
    assert_int_equal(frame_meta_check(&m, NULL), ERR_TOO_BIG);
    free(bytes);
    arena_fini(&a);
}

static void metadata_without_memory_says_so(void **state)
{
    struct net_meta m = {.user = "bob"}, back;
    uint8_t bytes[FRAME_META_ROOM];
    size_t len = frame_put_meta(bytes, &m), used;
    struct arena a;

    (void)state;
    arena_init(&a, 1);
    assert_int_equal(frame_get_meta(&back, &a, bytes, len, &used, NULL), ERR_NOMEM);
    arena_fini(&a);
}

static void strangers_are_told_apart(void **state)
{
    (void)state;
#define GUESS(bytes) frame_guess((const uint8_t *)(bytes), sizeof(bytes) - 1)
    assert_string_equal(GUESS("GET / HTTP/1.1"), "an HTTP request");
    assert_string_equal(GUESS("PRI * HTTP/2.0"), "an HTTP request");
    assert_string_equal(GUESS("HTTP/1.1 400"), "an HTTP server's answer");
    assert_string_equal(GUESS("\x16\x03\x01\x02\x00"), "a TLS handshake");
    assert_string_equal(GUESS("SSH-2.0-x"), "an SSH greeting");
    assert_string_equal(GUESS("\x02"), "perhaps a node of another implementation");
    assert_string_equal(GUESS(""), "bytes of no protocol known here");
    assert_string_equal(GUESS("\xff\xff\xff"), "bytes of no protocol known here");
#undef GUESS
}

static void names_are_for_people(void **state)
{
    (void)state;
    assert_string_equal(frame_kind_name(FRAME_CALL), "call");
    assert_string_equal(frame_kind_name((enum frame_kind)0), "unknown");
    assert_string_equal(frame_kind_name((enum frame_kind)77), "unknown");
    assert_string_equal(net_class_name(NET_RAFT), "raft");
    assert_string_equal(net_class_name(NET_BULK), "bulk");
    assert_string_equal(net_class_name((enum net_class)9), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read_back),
        cmocka_unit_test(the_bytes_are_these),
        cmocka_unit_test(a_header_that_its_kind_does_not_allow_is_refused),
        cmocka_unit_test(an_oversized_body_is_refused),
        cmocka_unit_test(a_hello_is_read_back_and_no_part_of_it_is_one),
        cmocka_unit_test(the_longest_hello_fits),
        cmocka_unit_test(a_hello_with_impossible_fields_is_refused),
        cmocka_unit_test(metadata_is_read_back_and_no_part_of_it_is_any),
        cmocka_unit_test(no_user_and_an_empty_user_differ),
        cmocka_unit_test(credentials_have_a_limit_and_no_zero_bytes),
        cmocka_unit_test(metadata_without_memory_says_so),
        cmocka_unit_test(strangers_are_told_apart),
        cmocka_unit_test(names_are_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
