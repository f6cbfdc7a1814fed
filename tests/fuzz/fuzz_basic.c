/* SPDX-License-Identifier: MIT */
/* Values of an Authorization header: a name and a password that encode to the same again,
 * or none. */
#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "gateway/basic.h"
#include "gateway/json_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* "Basic ..." and a NUL. */
static void encode(struct buf *out, const char *user, const char *password)
{
    struct buf text;

    buf_init(&text, 0);
    buf_printf(&text, "%s:%s", user, password);
    buf_append_str(out, "bAsIc ");
    json_put_base64(out, text.data, text.len);
    if (buf_error(out)) abort();
    /* It is a string of JSON: without the quotes. */
    memmove(out->data + 6, out->data + 7, out->len - 8);
    out->data[out->len - 2] = '\0';
    buf_fini(&text);
}

static void check_round_trip(const char *user, const char *password, struct arena *a)
{
    const char *user_again, *password_again;
    struct buf header;

    buf_init(&header, 0);
    encode(&header, user, password);
    CHECK(basic_parse((const char *)header.data, a, &user_again, &password_again));
    CHECK(strcmp(user, user_again) == 0);
    CHECK(strcmp(password, password_again) == 0);
    buf_fini(&header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *user, *password;
    char *value = malloc(size + 1);
    struct arena a;

    if (value == NULL) abort();
    memcpy(value, data, size);
    value[size] = '\0';
    arena_init(&a, 0);
    if (basic_parse(value, &a, &user, &password)) {
        CHECK(strchr(user, ':') == NULL);
        CHECK(strlen(user) + strlen(password) + 1 <= size / 4 * 3);
        check_round_trip(user, password, &a);
    } else {
        CHECK(user == NULL && password == NULL);
    }
    arena_fini(&a);
    free(value);
    return 0;
}
