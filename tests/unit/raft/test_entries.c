/* SPDX-License-Identifier: MIT */
/* The log's table of terms and its cache, against the plainest model there is; and
 * configurations as bytes. */
#include "tests/unit/raft/machine.h"

#include "core/base/rand.h"
#include "core/raft/internal.h"

static void append(struct raft_log *l, uint64_t term, size_t bytes)
{
    struct raft_entry e = {l->last + 1, term, RAFT_ENTRY_APP, blob_new(bytes)};

    e.payload->len = (uint32_t)bytes;
    assert_true(log_append(l, &e));
}

static void the_term_table_agrees_with_a_plain_array(void **state)
{
    static uint64_t model[4000]; /* term by index; 0 = dropped */
    struct raft_log l;
    struct rand rand;
    uint64_t term = 1, base = 0, last = 0;

    (void)state;
    rand_init(&rand, 7);
    log_init(&l, 0, 0, 500);
    for (int step = 0; step < 3000; step++) {
        uint64_t dice = rand_below(&rand, 100);
        if (dice < 80 && last < 3900) {
            if (rand_below(&rand, 10) == 0) term++;
            append(&l, term, rand_below(&rand, 50));
            model[++last] = term;
        } else if (dice < 90 && last > base) {
            uint64_t from =
                last + 1 - rand_below(&rand, last - base < 20 ? last - base : 20);
            if (from <= last) log_truncate(&l, from);
            last = from - 1;
        } else if (dice < 95 && last > base) {
            base += rand_below(&rand, last - base + 1);
            l.snap_index = base;
            l.snap_term = base ? model[base] : 0;
            log_drop_upto(&l, base);
        } else {
            log_evict(&l, UINT64_MAX);
            assert_true(l.ring_bytes <= 500 || l.n_ring == 1);
        }
        assert_int_equal(l.base, base);
        assert_int_equal(l.last, last);
        for (uint64_t i = base > 30 ? base - 30 : 0; i <= last + 2; i++) {
            const struct raft_entry *e = log_cached(&l, i);
            bool known = i >= base && i <= last && i > 0;
            assert_int_equal(log_term(&l, i), known ? model[i] : 0);
            assert_true(!e ||
                        (i > base && i <= last && e->index == i && e->term == model[i]));
        }
        if (last > base) {
            uint64_t i = base + 1 + rand_below(&rand, last - base), first = i,
                     upto = last;
            while (first > base + 1 && model[first - 1] == model[i]) first--;
            assert_int_equal(log_run_start(&l, i), first);
            while (upto > base && model[upto] > model[i]) upto--;
            assert_int_equal(log_last_upto_term(&l, model[i]), upto);
        }
    }
    assert_int_equal(log_run_start(&l, base), base);
    log_fini(&l);
}

static void the_cache_keeps_what_it_must(void **state)
{
    struct raft_log l;

    (void)state;
    log_init(&l, 0, 0, 10);
    for (int i = 0; i < 100; i++) append(&l, 1, 10);
    log_evict(&l, 50);
    assert_null(log_cached(&l, 49));
    assert_non_null(log_cached(&l, 50));
    log_evict(&l, UINT64_MAX);
    assert_null(log_cached(&l, 99));
    assert_non_null(log_cached(&l, 100)); /* the newest stays, whatever its size */
    log_truncate(&l, 50);
    assert_int_equal(l.last, 49);
    assert_null(log_cached(&l, 49));
    append(&l, 2, 10);
    assert_non_null(log_cached(&l, 50));
    log_reset(&l, 80, 3);
    assert_int_equal(log_term(&l, 80), 3);
    assert_true(log_knows(&l, 80));
    assert_false(log_knows(&l, 0));
    assert_null(log_cached(&l, 50));
    append(&l, 3, 10);
    assert_int_equal(log_cached(&l, 81)->term, 3);
    log_fini(&l);
}

static void a_configuration_survives_its_encoding(void **state)
{
    struct raft_config c, back;
    struct blob *b;
    char addr[RAFT_ADDR_MAX + 1];

    (void)state;
    memset(addr, 'h', RAFT_ADDR_MAX);
    addr[RAFT_ADDR_MAX] = 0;
    config_of(&c, "node3 node1/ node2");
    assert_int_equal(raft_config_put(&c, "node4", addr, true), ERR_OK);
    assert_int_equal(raft_config_put(&c, "node5", "", true), ERR_OK);
    c.index = 17;
    b = raft_config_encode(&c);
    assert_int_equal(b->data[0], 1);
    raft_config_init(&back);
    assert_int_equal(raft_config_decode(&back, b->data, b->len, NULL), ERR_OK);
    assert_int_equal(back.n, 5);
    assert_memory_equal(back.members, c.members, c.n * sizeof *c.members);
    assert_string_equal(back.members[0].id, "node1"); /* sorted */
    assert_false(back.members[0].voter);
    assert_int_equal(raft_config_voters(&back), 4);
    assert_string_equal(raft_config_find_addr(&back, addr)->id, "node4");
    assert_null(raft_config_find_addr(&back, "nowhere"));
    assert_null(raft_config_find(&back, "node9"));
    assert_true(raft_config_remove(&back, "node2"));
    assert_false(raft_config_remove(&back, "node2"));
    assert_int_equal(raft_config_copy(&back, &c), ERR_OK);
    assert_int_equal(back.n, 5);
    assert_int_equal(back.index, 17);
    blob_unref(b);
    raft_config_fini(&c);
    raft_config_fini(&back);
}

static void a_truncated_configuration_is_corrupt(void **state)
{
    struct raft_config c, back;
    struct blob *b;
    struct why why;

    (void)state;
    config_of(&c, "a b/ c");
    b = raft_config_encode(&c);
    config_of(&back, "x");
    for (uint32_t len = 0; len < b->len; len++) {
        uint8_t *exact = malloc(len + 1); /* so that the sanitizer sees a read beyond */
        memcpy(exact, b->data, len);
        assert_int_equal(raft_config_decode(&back, exact, len, &why), ERR_CORRUPT);
        assert_string_equal(back.members[0].id, "x"); /* untouched */
        free(exact);
    }
    blob_unref(b);
    raft_config_fini(&c);
    raft_config_fini(&back);
}

static void bytes_that_are_no_configuration_are_corrupt(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"\2\0\0", 3},                        /* another version */
        {"\1\0\0x", 4},                       /* more than it says */
        {"\1\200\0", 3},                      /* 128 members */
        {"\1\1\0\2\1\0a\0\0", 9},             /* half a voter */
        {"\1\1\0\1\0\0\0\0", 8},              /* nameless */
        {"\1\1\0\1\2\0a\0\0\0", 10},          /* a NUL in the name */
        {"\1\1\0\1\1\0a\377\377", 9},         /* an address of 65535 bytes */
        {"\1\2\0\1\1\0a\0\0\1\1\0a\0\0", 15}, /* twice */
    };
    struct raft_config c = {0};
    struct why why;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(raft_config_decode(&c, bad[i].bytes, bad[i].len, &why),
                         ERR_CORRUPT);
        assert_true(why.text[0] != 0);
    }
    assert_int_equal(raft_config_decode(&c, "\1\0\0", 3, &why), ERR_OK);
    assert_int_equal(c.n, 0);
}

static void mangled_configurations_never_crash(void **state)
{
    struct raft_config c, back;
    struct blob *b;
    struct rand rand;

    (void)state;
    rand_init(&rand, 3);
    config_of(&c, "alpha beta/ gamma delta");
    b = raft_config_encode(&c);
    raft_config_init(&back);
    for (int i = 0; i < 20000; i++) {
        uint8_t copy[256];
        memcpy(copy, b->data, b->len);
        for (uint64_t k = rand_below(&rand, 3) + 1; k > 0; k--)
            copy[rand_below(&rand, b->len)] = (uint8_t)rand_u64(&rand);
        if (raft_config_decode(&back, copy, rand_below(&rand, b->len + 1), NULL) ==
            ERR_OK)
            assert_true(back.n <= RAFT_MEMBERS_MAX);
    }
    blob_unref(b);
    raft_config_fini(&c);
    raft_config_fini(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_term_table_agrees_with_a_plain_array),
        cmocka_unit_test(the_cache_keeps_what_it_must),
        cmocka_unit_test(a_configuration_survives_its_encoding),
        cmocka_unit_test(a_truncated_configuration_is_corrupt),
        cmocka_unit_test(bytes_that_are_no_configuration_are_corrupt),
        cmocka_unit_test(mangled_configurations_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
