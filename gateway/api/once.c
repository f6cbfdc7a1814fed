/* SPDX-License-Identifier: MIT */
/*
 * Idempotency-Key: what a write that may be sent again is known by (core/node/once.h).
 *
 * The key is that of a user, so nobody can be given another's results.  The print of a
 * request is a digest of what it asks for: not of how the answer is to look.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/digest.h"
#include "gateway/api/api.h"
#include "gateway/auth.h"
#include "gateway/pack.h"

enum { KEY_MAX = 255, PRINT_BYTES = 16 };

static bool valid(const char *key)
{
    size_t n = strlen(key);

    for (size_t i = 0; i < n; i++)
        if (key[i] < 0x20 || key[i] > 0x7e) return false;
    return n > 0 && n <= KEY_MAX;
}

/* Scope and key, with a byte between them that neither can hold. */
static bool scope(struct http_exchange *x, const char *key, ProtobufCBinaryData *out)
{
    const char *user, *password;
    size_t key_len = strlen(key), user_len;
    char *text;

    auth_credentials(x, &user, &password);
    user_len = user ? strlen(user) : 0;
    if (user_len > KEY_MAX) user_len = KEY_MAX;
    text = arena_alloc(&x->arena, user_len + 1 + key_len);
    if (!text) return false;
    if (user_len > 0) memcpy(text, user, user_len);
    text[user_len] = '\0';
    memcpy(text + user_len + 1, key, key_len);
    out->data = (uint8_t *)text;
    out->len = user_len + 1 + key_len;
    return true;
}

static bool print(struct http_exchange *x, const struct params *p,
                  const struct json_statements *s, uint8_t kind, ProtobufCBinaryData *out)
{
    uint8_t *packed = malloc(pack_statements_size(s->list, s->n) + 2);
    uint8_t *digest = arena_alloc(&x->arena, DIGEST_BYTES), *end;
    bool ok = packed && digest;

    if (ok) {
        packed[0] = kind;
        packed[1] = (uint8_t)(params_has(p, PARAM_transaction) |
                              params_has(p, PARAM_noparse) << 1);
        end = pack_statements(packed + 2, s->list, s->n);
        ok = digest_sha256(packed, (size_t)(end - packed), digest) == ERR_OK;
        out->data = digest;
        out->len = PRINT_BYTES;
    }
    free(packed);
    return ok;
}

bool api_once(struct http_exchange *x, const struct params *p,
              const struct json_statements *statements, bool rows,
              ProtobufCBinaryData *once_key, ProtobufCBinaryData *once_print)
{
    const char *key = http_header(&x->request, "Idempotency-Key");

    if (!key) return true;
    if (!valid(key)) {
        http_respond_text(x, 400,
                          "Idempotency-Key must be 1 to 255 printable characters");
        return false;
    }
    if (scope(x, key, once_key) && print(x, p, statements, rows, once_print)) return true;
    http_respond_text(x, 500, "out of memory");
    return false;
}
