/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/blob.h"
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/wal/segment.h"
#include "tests/lib/faulty_io.c"
#include "tests/unit/wal/harness.c"

enum { SMALL = 16384, BATCHES = 6 };

/* A segment of several batches, as a crash leaves it: closed without the seal. */
struct sample {
    struct faulty *disk;
    char path[200]; /* of the last segment */
    uint64_t segments;
    struct model models[BATCHES + 1]; /* after so many batches */
    size_t ends[BATCHES + 1];         /* bytes used in the last segment by then */
};

static size_t used_bytes(struct faulty *disk, const char *path)
{
    struct wal_scan scan;
    size_t len;
    const uint8_t *p = faulty_bytes(disk, path, &len);

    assert_int_equal(wal_scan_segment(p, len, &scan, NULL), ERR_OK);
    return (size_t)scan.valid_bytes;
}

static const char *last_name(const struct faulty *disk)
{
    const char *name = NULL, *next;

    for (size_t i = 0; (next = faulty_name(disk, i)) != NULL; i++) name = next;
    return name;
}

static void model_copy(struct model *to, const struct model *from)
{
    model_init(to);
    for (uint64_t i = from->first; i <= from->last; i++)
        model_append(to, &from->entries[i - from->first]);
    model_hard(to, from->term, from->vote);
}

/* Entries of len bytes; entries before them fill segments more. */
static void sample_make(struct sample *s, uint64_t segments, uint32_t len)
{
    struct faulty *disk = faulty_new();
    struct wal_stats stats = {0};
    struct log l;

    memset(s, 0, sizeof *s);
    log_open(&l, faulty_io(disk), SMALL);
    log_hard(&l, 1, "one");
    while (stats.segments < segments) {
        log_append(&l, 1, 1, 200);
        wal_stats(l.wal, &stats);
    }
    log_sync(&l);
    snprintf(s->path, sizeof s->path, "%s", last_name(disk));
    model_copy(&s->models[0], &l.model);
    s->ends[0] = used_bytes(disk, s->path);
    for (int i = 1; i <= BATCHES; i++) {
        log_append(&l, 2, 3, len + (uint32_t)i);
        if (i == 2) log_hard(&l, 2, "two");
        if (i == 4) log_truncate(&l, l.model.last - 1);
        log_sync(&l);
        model_copy(&s->models[i], &l.model);
        s->ends[i] = used_bytes(disk, s->path);
    }
    s->segments = segments;
    s->disk = faulty_clone(disk);
    log_close(&l);
    faulty_free(disk);
}

static void sample_free(struct sample *s)
{
    faulty_free(s->disk);
    for (int i = 0; i <= BATCHES; i++) model_fini(&s->models[i]);
}

static void refuses(struct faulty *disk, enum err code, const char *path,
                    const char *text)
{
    struct faulty *before = faulty_clone(disk);
    struct wal_found found;
    struct model m;
    struct why why;

    assert_int_equal(log_inspect(faulty_io(disk), &m, &found, &why), code);
    assert_non_null(strstr(why.text, path));
    if (strstr(why.text, text) == NULL) fail_msg("'%s' lacks '%s'", why.text, text);
    if (code == ERR_CORRUPT) assert_non_null(strstr(why.text, "Restore"));
    assert_false(faulty_changed(disk));
    for (size_t i = 0; faulty_name(before, i) != NULL; i++) {
        size_t a, b;
        const char *name = faulty_name(before, i);
        const uint8_t *x = faulty_bytes(before, name, &a),
                      *y = faulty_bytes(disk, name, &b);
        assert_int_equal(a, b);
        assert_memory_equal(x, y, a);
    }
    faulty_free(before);
}

/* Opens, with at least what batch n held, and not more than the last batch; and again. */
static uint64_t opens(struct faulty *disk, const struct sample *s, int n)
{
    const struct model *least = &s->models[n], *most = &s->models[BATCHES];
    struct wal_found found;
    struct model m;
    struct why why;
    uint64_t cut;

    if (log_inspect(faulty_io(disk), &m, &found, &why)) fail_msg("%s", why.text);
    cut = found.cut_bytes;
    assert_in_range(m.last, least->last, most->last);
    model_truncate(&m, least->last + 1);
    assert_true(model_same(&m, least));
    model_fini(&m);
    if (log_inspect(faulty_io(disk), &m, &found, &why)) fail_msg("%s", why.text);
    assert_int_equal(found.cut_bytes, 0);
    model_fini(&m);
    return cut;
}

static int batch_of(const struct sample *s, size_t offset)
{
    for (int i = 0; i <= BATCHES; i++)
        if (offset < s->ends[i]) return i;
    return BATCHES + 1;
}

static void corrupt_every_byte(uint64_t segments, uint32_t len)
{
    struct sample s;

    sample_make(&s, segments, len);
    for (size_t at = SEGMENT_HEADER; at < s.ends[BATCHES] + 64; at++) {
        struct faulty *disk = faulty_clone(s.disk);
        int batch = batch_of(&s, at);

        faulty_bytes(disk, s.path, NULL)[at] ^= (uint8_t)(1 << at % 8);
        if (batch < BATCHES)
            refuses(disk, ERR_CORRUPT, s.path, "known to be synced");
        else
            assert_true(opens(disk, &s, batch == BATCHES ? BATCHES - 1 : BATCHES) > 0);
        faulty_free(disk);
    }
    sample_free(&s);
}

static void any_bad_byte_before_the_last_batch_is_corruption(void **state)
{
    (void)state;
    corrupt_every_byte(1, 20);
    corrupt_every_byte(3, 20);
    corrupt_every_byte(1, 500); /* batches over several sectors */
}

static void a_file_cut_short_is_corruption_unless_only_zeroes_are_gone(void **state)
{
    struct sample s;
    size_t len;

    (void)state;
    sample_make(&s, 2, 30);
    faulty_bytes(s.disk, s.path, &len);
    for (size_t at = 0; at < len; at += at < s.ends[BATCHES] + 100 ? 1 : 101) {
        struct faulty *disk = faulty_clone(s.disk);

        faulty_cut(disk, s.path, at);
        if (at < s.ends[BATCHES] + RECORD_HEADER)
            refuses(disk, ERR_CORRUPT, s.path, "offset");
        else
            assert_int_equal(opens(disk, &s, BATCHES), 0);
        faulty_free(disk);
    }
    sample_free(&s);
}

/* A torn write leaves zeroes, or old sectors, where it did not reach. */
static void a_torn_last_batch_is_cut_off_wherever_it_is_torn(void **state)
{
    struct sample s;

    (void)state;
    sample_make(&s, 2, 700);
    for (size_t from = s.ends[BATCHES - 1]; from < s.ends[BATCHES]; from++)
        for (size_t to = from + 1; to <= s.ends[BATCHES]; to += 97) {
            struct faulty *disk = faulty_clone(s.disk);

            memset(faulty_bytes(disk, s.path, NULL) + from, 0, to - from);
            opens(disk, &s, BATCHES - 1);
            faulty_free(disk);
        }
    sample_free(&s);
}

static void what_was_cut_off_never_comes_back(void **state)
{
    struct faulty *disk;
    struct sample s;
    struct log l;

    (void)state;
    sample_make(&s, 1, 20);
    /* The first entry of the last batch is bad; the two after it are good, and would
     * follow. */
    disk = s.disk;
    faulty_bytes(disk, s.path, NULL)[s.ends[BATCHES - 1] + RECORD_HEADER + 20] ^= 1;
    log_open(&l, faulty_io(disk), SMALL);
    assert_int_equal(wal_last(l.wal), s.models[BATCHES - 1].last);
    model_fini(&l.model);
    model_copy(&l.model, &s.models[BATCHES - 1]);
    log_append(&l, 3, 1, 20 + BATCHES);
    log_sync(&l);
    log_reopen(&l);
    log_close(&l);
    sample_free(&s);
}

static void a_clean_close_vouches_for_the_last_batch(void **state)
{
    struct faulty *disk = faulty_new();
    const char *path;
    struct log l;
    size_t end;

    (void)state;
    log_open(&l, faulty_io(disk), SMALL);
    log_append(&l, 1, 5, 50);
    log_sync(&l);
    path = last_name(disk);
    end = used_bytes(disk, path);
    log_close(&l);
    for (size_t at = SEGMENT_HEADER; at < end; at++) {
        struct faulty *copy = faulty_clone(disk);

        faulty_bytes(copy, path, NULL)[at] ^= 0x10;
        refuses(copy, ERR_CORRUPT, path, "known to be synced");
        faulty_free(copy);
    }
    faulty_free(disk);
}

static void a_bad_byte_in_an_older_segment_is_corruption(void **state)
{
    struct sample s;

    (void)state;
    sample_make(&s, 4, 20);
    for (size_t i = 0; i < 3; i++) {
        const char *path = faulty_name(s.disk, i);
        size_t end = used_bytes(s.disk, path), len;

        faulty_bytes(s.disk, path, &len);
        for (size_t at = 0; at < len; at += at < SEGMENT_HEADER ? 61 : 7) {
            struct faulty *disk = faulty_clone(s.disk);

            faulty_bytes(disk, path, NULL)[at] ^= 4;
            if (at < end)
                refuses(disk, ERR_CORRUPT, path, "offset");
            else
                opens(disk, &s, BATCHES); /* nothing was there */
            faulty_free(disk);
        }
    }
    sample_free(&s);
}

static void a_bad_header_is_corruption(void **state)
{
    struct sample s;

    (void)state;
    sample_make(&s, 2, 20);
    for (size_t at = 0; at < SEGMENT_HEADER; at++) {
        struct faulty *disk = faulty_clone(s.disk);

        faulty_bytes(disk, s.path, NULL)[at] ^= 0x80;
        refuses(disk, ERR_CORRUPT, s.path, at < 8 ? "magic" : "header is damaged");
        faulty_free(disk);
    }
    sample_free(&s);
}

static void a_newer_format_is_refused_by_name(void **state)
{
    struct sample s;
    uint8_t *p;

    (void)state;
    sample_make(&s, 1, 20);
    p = faulty_bytes(s.disk, s.path, NULL);
    put_le32(p + 8, 2);
    put_le32(p + 12, 0);
    put_le32(p + 12, crc32c(0, p, SEGMENT_HEADER));
    refuses(s.disk, ERR_UNSUPPORTED, s.path, "format 2");
    sample_free(&s);
}

static void a_missing_segment_is_named(void **state)
{
    struct sample s;
    char second[200];

    (void)state;
    sample_make(&s, 4, 20);
    snprintf(second, sizeof second, "%s", faulty_name(s.disk, 1));
    faulty_remove(s.disk, second);
    refuses(s.disk, ERR_CORRUPT, "d", "segment 2 is missing");
    sample_free(&s);
}

static void a_renamed_segment_is_noticed(void **state)
{
    struct sample s;
    char name[SEGMENT_NAME_MAX], path[200];

    (void)state;
    sample_make(&s, 2, 20);
    segment_name(name, 12345, 2);
    snprintf(path, sizeof path, "d/%s", name);
    faulty_rename(s.disk, s.path, path);
    refuses(s.disk, ERR_CORRUPT, path, "renamed");
    sample_free(&s);
}

static void records_of_another_segment_are_not_taken_for_this_ones(void **state)
{
    struct sample s;
    uint8_t *first, *last;

    (void)state;
    sample_make(&s, 2, 20);
    first = faulty_bytes(s.disk, faulty_name(s.disk, 0), NULL);
    last = faulty_bytes(s.disk, s.path, NULL);
    memcpy(last + s.ends[BATCHES], first + SEGMENT_HEADER, 4096);
    assert_true(opens(s.disk, &s, BATCHES) > 0);
    sample_free(&s);
}

static void files_that_are_not_segments_are_left_alone(void **state)
{
    struct sample s;
    struct why why;
    struct log l;

    (void)state;
    sample_make(&s, 1, 20);
    faulty_set(s.disk, "d/README", "hello", 5);
    faulty_set(s.disk, "d/next.tmp", "half", 4); /* but this is ours */
    opens(s.disk, &s, BATCHES);
    assert_non_null(faulty_bytes(s.disk, "d/README", NULL));
    assert_null(faulty_bytes(s.disk, "d/next.tmp", NULL));
    log_open(&l, faulty_io(s.disk), SMALL);
    assert_int_equal(wal_drop_before(l.wal, 5, &why), ERR_OK);
    log_close(&l);
    sample_free(&s);
}

static void a_scan_of_any_prefix_or_noise_stays_inside_it(void **state)
{
    struct wal_scan scan;
    struct sample s;
    struct rand r;
    size_t len;
    const uint8_t *p;

    (void)state;
    rand_init(&r, 1);
    sample_make(&s, 1, 20);
    p = faulty_bytes(s.disk, s.path, &len);
    for (size_t n = 0; n < s.ends[BATCHES] + 50; n++) {
        uint8_t *copy = malloc(n > 0 ? n : 1); /* of that size, for the sanitizers */
        assert_non_null(copy);
        memcpy(copy, p, n);
        assert_true(wal_scan_segment(copy, n, &scan, NULL) == ERR_CORRUPT ||
                    scan.entries > 0);
        for (int i = 0; n > SEGMENT_HEADER && i < 4; i++)
            copy[SEGMENT_HEADER + rand_below(&r, n - SEGMENT_HEADER)] =
                (uint8_t)rand_u64(&r);
        (void)!wal_scan_segment(copy, n, &scan, NULL);
        assert_true(scan.valid_bytes <= n);
        free(copy);
    }
    sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bad_byte_before_the_last_batch_is_corruption),
        cmocka_unit_test(a_file_cut_short_is_corruption_unless_only_zeroes_are_gone),
        cmocka_unit_test(a_torn_last_batch_is_cut_off_wherever_it_is_torn),
        cmocka_unit_test(what_was_cut_off_never_comes_back),
        cmocka_unit_test(a_clean_close_vouches_for_the_last_batch),
        cmocka_unit_test(a_bad_byte_in_an_older_segment_is_corruption),
        cmocka_unit_test(a_bad_header_is_corruption),
        cmocka_unit_test(a_newer_format_is_refused_by_name),
        cmocka_unit_test(a_missing_segment_is_named),
        cmocka_unit_test(a_renamed_segment_is_noticed),
        cmocka_unit_test(records_of_another_segment_are_not_taken_for_this_ones),
        cmocka_unit_test(files_that_are_not_segments_are_left_alone),
        cmocka_unit_test(a_scan_of_any_prefix_or_noise_stays_inside_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
