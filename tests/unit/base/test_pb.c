/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/base/pb.h"

/* message Note { uint64 number = 1; string text = 2; repeated uint32 marks = 3; }, by
 * hand: this directory is tested without the project's own messages. */
struct note {
    ProtobufCMessage base;
    uint64_t number;
    char *text;
    size_t n_marks;
    uint32_t *marks;
};

static const char no_text[] = "";

static const ProtobufCFieldDescriptor note_fields[] = {
    {.name = "number",
     .id = 1,
     .label = PROTOBUF_C_LABEL_NONE,
     .type = PROTOBUF_C_TYPE_UINT64,
     .offset = offsetof(struct note, number)},
    {.name = "text",
     .id = 2,
     .label = PROTOBUF_C_LABEL_NONE,
     .type = PROTOBUF_C_TYPE_STRING,
     .offset = offsetof(struct note, text),
     .default_value = no_text},
    {.name = "marks",
     .id = 3,
     .label = PROTOBUF_C_LABEL_REPEATED,
     .type = PROTOBUF_C_TYPE_UINT32,
     .quantifier_offset = offsetof(struct note, n_marks),
     .offset = offsetof(struct note, marks),
     .flags = PROTOBUF_C_FIELD_FLAG_PACKED},
};
static const unsigned note_by_name[] = {2, 0, 1};
static const ProtobufCIntRange note_ranges[] = {{1, 0}, {0, 3}};
static const ProtobufCMessageDescriptor note_type = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "Note",
    .short_name = "Note",
    .c_name = "note",
    .package_name = "",
    .sizeof_message = sizeof(struct note),
    .n_fields = 3,
    .fields = note_fields,
    .fields_sorted_by_name = note_by_name,
    .n_field_ranges = 1,
    .field_ranges = note_ranges,
};

static char text_of_note[] = "hello";
static uint32_t marks_of_note[] = {1, 300, 70000};

static struct blob *pack_note(size_t spare)
{
    struct note n = {.base = {.descriptor = &note_type},
                     .number = 77,
                     .text = text_of_note,
                     .n_marks = 3,
                     .marks = marks_of_note};
    return pb_pack(&n.base, spare);
}

static void a_message_survives_packing(void **state)
{
    struct blob *b = pack_note(0);
    struct arena a;
    struct note *n;
    struct why why;

    (void)state;
    arena_init(&a, 0);
    assert_int_equal(pb_unpack(&n, &note_type, &a, b->data, b->len, &why), ERR_OK);
    blob_unref(b); /* nothing in the message points into the bytes */
    assert_int_equal(n->number, 77);
    assert_string_equal(n->text, "hello");
    assert_int_equal(n->n_marks, 3);
    assert_memory_equal(n->marks, marks_of_note, sizeof marks_of_note);
    arena_fini(&a);
}

static void spare_room_is_behind_the_message(void **state)
{
    struct blob *plain = pack_note(0), *roomy = pack_note(100);

    (void)state;
    assert_int_equal(plain->cap, plain->len);
    assert_int_equal(roomy->len, plain->len);
    assert_int_equal(roomy->cap, plain->len + 100);
    assert_memory_equal(roomy->data, plain->data, plain->len);
    blob_unref(plain);
    blob_unref(roomy);
    assert_null(pack_note(UINT32_MAX));
    assert_null(pack_note(SIZE_MAX));
}

static void no_bytes_are_an_empty_message(void **state)
{
    struct arena a;
    struct note *n;

    (void)state;
    arena_init(&a, 0);
    assert_int_equal(pb_unpack(&n, &note_type, &a, NULL, 0, NULL), ERR_OK);
    assert_int_equal(n->number, 0);
    assert_string_equal(n->text, "");
    assert_int_equal(n->n_marks, 0);
    arena_fini(&a);
}

static void malformed_bytes_are_corrupt(void **state)
{
    struct blob *b = pack_note(0);
    struct arena a;
    struct note *n = (void *)b;
    struct why why;

    (void)state;
    arena_init(&a, 0);
    assert_int_equal(pb_unpack(&n, &note_type, &a, b->data, b->len - 1, &why),
                     ERR_CORRUPT);
    assert_null(n);
    assert_string_equal(why.text, "decode Note: malformed message");
    assert_false(arena_failed(&a));
    assert_int_equal(pb_unpack(&n, &note_type, &a, "\xff\xff\xff", 3, NULL), ERR_CORRUPT);
    blob_unref(b);
    arena_fini(&a);
}

static void a_full_arena_is_no_corruption(void **state)
{
    struct blob *b = pack_note(0);
    struct arena a;
    struct note *n;
    size_t needed;

    (void)state;
    arena_init(&a, 0);
    assert_int_equal(pb_unpack(&n, &note_type, &a, b->data, b->len, NULL), ERR_OK);
    needed = a.used;
    arena_fini(&a);
    for (size_t limit = 1; limit < needed; limit++) {
        arena_init(&a, limit);
        assert_int_equal(pb_unpack(&n, &note_type, &a, b->data, b->len, NULL), ERR_NOMEM);
        assert_true(arena_failed(&a));
        arena_fini(&a);
    }
    blob_unref(b);
}

static void an_earlier_failure_of_the_arena_stays_remembered(void **state)
{
    struct blob *b = pack_note(0);
    struct arena a;
    struct note *n;

    (void)state;
    arena_init(&a, 10000);
    assert_null(arena_alloc(&a, 20000));
    assert_int_equal(pb_unpack(&n, &note_type, &a, b->data, b->len, NULL), ERR_OK);
    assert_true(arena_failed(&a));
    assert_int_equal(pb_unpack(&n, &note_type, &a, b->data, 1, NULL), ERR_CORRUPT);
    assert_true(arena_failed(&a));
    blob_unref(b);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_survives_packing),
        cmocka_unit_test(spare_room_is_behind_the_message),
        cmocka_unit_test(no_bytes_are_an_empty_message),
        cmocka_unit_test(malformed_bytes_are_corrupt),
        cmocka_unit_test(a_full_arena_is_no_corruption),
        cmocka_unit_test(an_earlier_failure_of_the_arena_stays_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
