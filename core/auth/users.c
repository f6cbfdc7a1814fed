/* SPDX-License-Identifier: MIT */
#include "core/auth/users.h"

#include <crypt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/auth/auth.h"
#include "core/base/map.h"
#include "core/base/rand.h"

struct auth_users {
    struct auth_user *list; /* owned */
    size_t n;
    struct map by_name;
    uint32_t everybody;
    const char *any_hash;
};

static const struct {
    const char *name;
    uint32_t bits;
} permissions[] = {
    {"all", AUTH_EVERYTHING},
    {"join", AUTH_JOIN},
    {"join-read-only", AUTH_JOIN_READ_ONLY},
    {"join-read-replica", AUTH_JOIN_READ_ONLY},
    {"remove", AUTH_REMOVE},
    {"execute", AUTH_EXECUTE},
    {"query", AUTH_QUERY},
    {"status", AUTH_STATUS},
    {"ready", AUTH_READY},
    {"backup", AUTH_BACKUP},
    {"load", AUTH_LOAD},
    {"snapshot", AUTH_SNAPSHOT},
    {"leader-ops", AUTH_LEADER_OPS},
    {"ui", AUTH_UI},
};

static uint32_t permission_of(const char *name)
{
    for (size_t i = 0; i < sizeof permissions / sizeof *permissions; i++)
        if (strcmp(permissions[i].name, name) == 0) return permissions[i].bits;
    return 0;
}

/* How crypt(3) hashes begin.  The oldest ones, thirteen letters, cannot be told from a
 * password and are not meant. */
static bool looks_hashed(const char *s)
{
    static const char *const begin[] = {"$1$",  "$2a$", "$2b$",   "$2x$",   "$2y$",
                                        "$3$",  "$5$",  "$6$",    "$7$",    "$y$",
                                        "$gy$", "$md5", "$sha1$", "$argon2"};

    for (size_t i = 0; i < sizeof begin / sizeof *begin; i++)
        if (strncmp(s, begin[i], strlen(begin[i])) == 0) return true;
    return false;
}

/* --- one entry -------------------------------------------------------------------- */

/* As the reference reads it: names of members in any case, the last of equal ones. */
static const json_t *member(const json_t *entry, const char *name)
{
    const json_t *found = NULL, *value;
    const char *key;

    json_object_foreach((json_t *)(uintptr_t)entry, key, value)
    {
        if (strcasecmp(key, name) == 0) found = value;
    }
    return json_is_null(found) ? NULL : found;
}

/* A text member: NULL if there is none. */
static enum err read_text(const json_t *entry, const char *name, size_t max, char **out,
                          struct why *why)
{
    const json_t *value = member(entry, name);
    const char *text = json_string_value(value);

    *out = NULL;
    if (value == NULL) return ERR_OK;
    if (text == NULL) return why_set(why, ERR_INVALID, "\"%s\" is not a text", name);
    if (strlen(text) > max)
        return why_set(why, ERR_INVALID, "\"%s\" has more than %zu bytes", name, max);
    *out = strdup(text);
    return *out ? ERR_OK : why_set(why, ERR_NOMEM, "out of memory");
}

static enum err read_permissions(const json_t *entry, uint32_t *out, struct why *why)
{
    const json_t *list = member(entry, "perms");

    *out = 0;
    if (list == NULL) return ERR_OK;
    if (!json_is_array(list))
        return why_set(why, ERR_INVALID, "\"perms\" is not an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));

        if (name == NULL)
            return why_set(why, ERR_INVALID, "\"perms\" holds what is not a text");
        *out |= permission_of(name);
    }
    return ERR_OK;
}

/* The library looks at the beginning alone: $2b$NN$, then 22 letters of salt and 31 of
 * the hash. */
static bool whole_bcrypt(const char *s)
{
    static const char letters[] =
        "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    if (strncmp(s, "$2", 2) != 0) return true; /* another kind */
    return strlen(s) == 60 && s[6] == '$' && s[4] >= '0' && s[4] <= '3' && s[5] >= '0' &&
           s[5] <= '9' && strspn(s + 7, letters) == 53;
}

static enum err check_hash(struct auth_user *u, struct why *why)
{
    int salt;

    if (u->password == NULL || !looks_hashed(u->password)) return ERR_OK;
    u->hashed = true;
    salt = crypt_checksalt(u->password);
    if (whole_bcrypt(u->password) &&
        (salt == CRYPT_SALT_OK || salt == CRYPT_SALT_METHOD_LEGACY ||
         salt == CRYPT_SALT_TOO_CHEAP))
        return ERR_OK;
    return why_set(why, ERR_INVALID,
                   "the password is a hash that this system does not know");
}

static enum err read_user(struct auth_user *u, const json_t *entry, struct why *why)
{
    enum err e;

    if (!json_is_object(entry)) return why_set(why, ERR_INVALID, "not an object");
    e = read_text(entry, "username", AUTH_USER_MAX, &u->name, why);
    if (!e) e = read_text(entry, "password", AUTH_PASSWORD_MAX, &u->password, why);
    if (!e) e = read_permissions(entry, &u->permissions, why);
    return e ? e : check_hash(u, why);
}

/* --- the file --------------------------------------------------------------------- */

static enum err add_user(struct auth_users *all, struct auth_user *u, struct why *why)
{
    void *old;

    if (u->name == NULL || u->name[0] == '\0') return ERR_OK; /* never valid */
    if (strcmp(u->name, "*") == 0) {
        all->everybody = u->permissions;
        return ERR_OK;
    }
    if (map_put(&all->by_name, u->name, strlen(u->name), u, &old))
        return why_set(why, ERR_NOMEM, "out of memory");
    if (u->hashed) all->any_hash = u->password;
    return ERR_OK;
}

static enum err read_users(struct auth_users *all, const json_t *root, struct why *why)
{
    size_t n = json_array_size(root);

    if (!json_is_array(root)) return why_set(why, ERR_INVALID, "not a JSON array");
    all->list = calloc(n ? n : 1, sizeof *all->list);
    if (all->list == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        struct auth_user *u = &all->list[i];
        enum err e;

        u->index = i;
        all->n = i + 1;
        e = read_user(u, json_array_get(root, i), why);
        if (!e) e = add_user(all, u, why);
        if (e) return err_wrap(why, e, "entry %zu", i + 1);
    }
    return ERR_OK;
}

enum err auth_users_parse(struct auth_users **out, const char *text, size_t len,
                          struct why *why)
{
    struct auth_users *all = calloc(1, sizeof *all);
    json_error_t where;
    json_t *root;
    enum err e;

    *out = NULL;
    if (all == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    map_init(&all->by_name, rand_entropy());
    root = json_loadb(text, len, 0, &where);
    /* Not the library's words: they repeat what stands there, be it a password. */
    if (root == NULL)
        e = why_set(why, ERR_INVALID, "invalid JSON at line %d, column %d", where.line,
                    where.column);
    else
        e = read_users(all, root, why);
    json_decref(root);
    if (e) {
        auth_users_free(all);
        return e;
    }
    *out = all;
    return ERR_OK;
}

static void wipe(char *s)
{
    if (s) explicit_bzero(s, strlen(s));
    free(s);
}

void auth_users_free(struct auth_users *u)
{
    if (u == NULL) return;
    for (size_t i = 0; i < u->n; i++) {
        free(u->list[i].name);
        wipe(u->list[i].password);
    }
    free(u->list);
    map_fini(&u->by_name);
    free(u);
}

const struct auth_user *auth_users_find(const struct auth_users *u, const char *name)
{
    return map_get(&u->by_name, name, strlen(name));
}

size_t auth_users_count(const struct auth_users *u)
{
    return u->n;
}

const struct auth_user *auth_users_at(const struct auth_users *u, size_t index)
{
    return &u->list[index];
}

uint32_t auth_users_everybody(const struct auth_users *u)
{
    return u->everybody;
}

const char *auth_users_any_hash(const struct auth_users *u)
{
    return u->any_hash;
}
