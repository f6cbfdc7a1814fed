/* SPDX-License-Identifier: MIT */
/*
 * The reader of JSON bodies: whatever comes, it stays within the body, and what it makes
 * of it is a message that packs and unpacks to the same, with texts that are UTF-8.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/pb.h"
#include "gateway/json_read.h"
#include "gateway/pack.h"
#include "core/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_utf8(const uint8_t *p, size_t n)
{
    for (const uint8_t *end = p + n; p < end;) {
        size_t len = utf8_len(p, end);

        CHECK(len > 0);
        p += len;
    }
}

static void check_statement(const Rqlite__Statement *s)
{
    CHECK(*s->sql != '\0');
    check_utf8((const uint8_t *)s->sql, strlen(s->sql));
    for (size_t i = 0; i < s->n_parameters; i++) {
        const Rqlite__Parameter *p = s->parameters[i];

        check_utf8((const uint8_t *)p->name, strlen(p->name));
        if (p->value->kind_case == RQLITE__VALUE__KIND_TEXT)
            check_utf8(p->value->text.data, p->value->text.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Rqlite__ExecuteRequest message = RQLITE__EXECUTE_REQUEST__INIT, *again;
    char *body = malloc(
        size > 0 ? size : 1); /* of that very size, so that a byte too far is seen */
    struct json_statements s;
    struct arena a;
    struct why why;
    struct blob *packed, *repacked;

    arena_init(&a, 0);
    if (size > 0) memcpy(body, data, size);
    if (json_read_statements(&s, body, size, &a, &why) == ERR_OK) {
        CHECK(s.n <= s.received);
        for (size_t i = 0; i < s.n; i++) check_statement(s.list[i]);
        message.statements = s.list;
        message.n_statements = s.n;
        packed = pack_execute(&message, 0);
        CHECK(packed != NULL);
        CHECK(pb_unpack(&again, &rqlite__execute_request__descriptor, &a, packed->data,
                        packed->len, &why) == ERR_OK);
        repacked = pb_pack(&again->base, 0);
        CHECK(repacked != NULL && repacked->len == packed->len);
        CHECK(memcmp(repacked->data, packed->data, packed->len) == 0);
        blob_unref(packed);
        blob_unref(repacked);
    } else {
        CHECK(why.code == ERR_INVALID && why.text[0] != '\0');
    }
    arena_fini(&a);
    free(body);
    return 0;
}
