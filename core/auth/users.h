/* SPDX-License-Identifier: MIT */
/*
 * users: a credentials file as it was read (HTTP API 14.1).  Pure: bytes in, users out.
 *
 *     [{"username": "bob", "password": "secret or a crypt(3) hash", "perms": ["query"]},
 *      {"username": "*", "perms": ["ready"]}]
 */
#ifndef CORE_AUTH_USERS_H
#define CORE_AUTH_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct auth_user {
    char *name;     /* owned */
    char *password; /* owned; NULL: cannot log in */
    bool hashed;    /* password is a hash, and nothing else */
    uint32_t permissions;
    size_t index; /* in its file, from 0 */
};

struct auth_users; /* opaque; never changes */

/* ERR_INVALID with where and what, but never with what the file says there; ERR_NOMEM.
 * On ERR_OK the caller owns *out. */
MUST_USE enum err auth_users_parse(struct auth_users **out, const char *text, size_t len,
                                   struct why *why);
void auth_users_free(struct auth_users *u); /* wipes the passwords; NULL is allowed */

/* The last entry of that name, or NULL. */
const struct auth_user *auth_users_find(const struct auth_users *u, const char *name);

size_t auth_users_count(const struct auth_users *u); /* entries */
const struct auth_user *auth_users_at(const struct auth_users *u, size_t index);

/* What everybody may do, with or without a password: the user "*". */
uint32_t auth_users_everybody(const struct auth_users *u);

/* The hash of one of them, which a refused login may be measured by; NULL if no password
 * is one. */
const char *auth_users_any_hash(const struct auth_users *u);

#endif
