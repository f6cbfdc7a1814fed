/* SPDX-License-Identifier: MIT */
/* A credentials file: whatever it holds becomes users who can be found, or is refused
 * with a text. */
#include <stdint.h>
#include <string.h>

#include "core/auth/auth.h"
#include "core/auth/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_user(const struct auth_users *u, size_t i)
{
    const struct auth_user *one = auth_users_at(u, i), *found;

    CHECK(one->index == i);
    CHECK(one->password == NULL || strlen(one->password) <= AUTH_PASSWORD_MAX);
    CHECK(!one->hashed || one->password != NULL);
    CHECK((one->permissions & ~(uint32_t)AUTH_EVERYTHING) == 0);
    if (one->name == NULL || one->name[0] == '\0') return; /* nobody */
    CHECK(strlen(one->name) <= AUTH_USER_MAX);
    found = auth_users_find(u, one->name);
    if (strcmp(one->name, "*") == 0) {
        CHECK(found == NULL); /* everybody cannot log in */
        return;
    }
    CHECK(found != NULL && found->index >= i && strcmp(found->name, one->name) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct auth_users *u;
    struct why why = {0};

    if (auth_users_parse(&u, (const char *)data, size, &why)) {
        CHECK(why.text[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < auth_users_count(u); i++) check_user(u, i);
    CHECK((auth_users_everybody(u) & ~(uint32_t)AUTH_EVERYTHING) == 0);
    auth_users_any_hash(u);
    auth_users_free(u);
    return 0;
}
