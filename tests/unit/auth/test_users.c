/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/auth/auth.h"
#include "core/auth/users.h"

static struct auth_users *read_ok(const char *text)
{
    struct auth_users *u;
    struct why why = {0};

    if (auth_users_parse(&u, text, strlen(text), &why)) fail_msg("%s", why.text);
    return u;
}

static void refused(const char *text, const char *words)
{
    struct auth_users *u;
    struct why why = {0};

    assert_int_equal(auth_users_parse(&u, text, strlen(text), &why), ERR_INVALID);
    assert_null(u);
    assert_non_null(strstr(why.text, words));
    assert_null(strstr(why.text, "secret"));
}

static void users_have_what_their_entries_say(void **state)
{
    struct auth_users *u =
        read_ok("[{\"username\":\"bob\",\"password\":\"secret1\",\"perms\":[\"all\"]},"
                " {\"username\":\"mary\",\"password\":\"\",\"perms\":[\"query\","
                "\"leader-ops\",\"fly\"],\"shoe\":42},"
                " {\"Username\":\"eve\"}, {\"username\":\"*\",\"perms\":[\"ready\"]}]\n");
    const struct auth_user *bob = auth_users_find(u, "bob");

    (void)state;
    assert_string_equal(bob->password, "secret1");
    assert_int_equal(bob->permissions, AUTH_EVERYTHING);
    assert_int_equal(auth_users_find(u, "mary")->permissions,
                     AUTH_QUERY | AUTH_LEADER_OPS);
    assert_string_equal(auth_users_find(u, "mary")->password, "");
    /* Nothing is inherited from the entry before. */
    assert_null(auth_users_find(u, "eve")->password);
    assert_int_equal(auth_users_find(u, "eve")->permissions, 0);
    assert_null(auth_users_find(u, "*"));
    assert_null(auth_users_find(u, "Bob"));
    assert_int_equal(auth_users_everybody(u), AUTH_READY);
    assert_null(auth_users_any_hash(u));
    auth_users_free(u);
}

static void every_permission_has_its_name(void **state)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } names[] = {
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
        {"all", AUTH_EVERYTHING},
        {"ALL", 0},
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct auth_users *u;

        snprintf(text, sizeof text, "[{\"username\":\"a\",\"perms\":[\"%s\"]}]",
                 names[i].name);
        u = read_ok(text);
        assert_int_equal(auth_users_find(u, "a")->permissions, names[i].bits);
        auth_users_free(u);
    }
}

static void the_last_entry_of_a_user_counts(void **state)
{
    struct auth_users *u = read_ok(
        "[{\"username\":\"a\",\"password\":\"1\",\"perms\":[\"all\"]},"
        "{\"username\":\"*\",\"perms\":[\"all\"]},"
        "{\"username\":\"a\",\"password\":\"2\",\"perms\":[]},{\"username\":\"*\"}]");

    (void)state;
    assert_string_equal(auth_users_find(u, "a")->password, "2");
    assert_int_equal(auth_users_find(u, "a")->permissions, 0);
    assert_int_equal(auth_users_everybody(u), 0);
    auth_users_free(u);
}

static void nobody_is_a_valid_list(void **state)
{
    struct auth_users *u = read_ok("[]");

    (void)state;
    assert_int_equal(auth_users_count(u), 0);
    assert_null(auth_users_find(u, ""));
    auth_users_free(u);
    u = read_ok("[{\"password\":\"x\",\"perms\":[\"all\"]},"
                "{\"username\":null,\"password\":\"x\"},{\"username\":\"\"}]");
    assert_null(auth_users_find(u, ""));
    auth_users_free(u);
}

static void hashes_are_told_from_passwords(void **state)
{
    static const struct {
        const char *password;
        bool hashed;
    } some[] = {
        {"$2b$04$T6dYb0/u4KDETiwrs3fVmODIFh72wFWcxV1DNlI3KWZMuL160cDCW", true},
        {"$6$8CRlGy/tXAR/afrc$P5pwAA5YBNat1PZLWm3MK.uiDVD1xq9BYprSJGfp4hdJHdtrB.v8l/"
         "s.bJGsaqLCHDH20xoecbQTApIo0ODl41",
         true},
        {"$y$j75$yKSJ9iIO29F20CG330uG//$ZlOTtLoXVpURhllTr.9LP98M7Inj66PwpWit7K3rNyC",
         true},
        {"$1$A9dERddM$P7NZaehwhuxL2Fqbco.dI1", true},
        {"$5.00", false},
        {"abJnggxhB/yWI", false}, /* might be the oldest kind: then as it is written */
        {"", false},
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        struct auth_users *u;

        snprintf(text, sizeof text, "[{\"username\":\"a\",\"password\":\"%s\"}]",
                 some[i].password);
        u = read_ok(text);
        assert_int_equal(auth_users_find(u, "a")->hashed, some[i].hashed);
        assert_int_equal(auth_users_any_hash(u) != NULL, some[i].hashed);
        auth_users_free(u);
    }
}

static void malformed_files_are_refused_without_repeating_them(void **state)
{
    char text[2000];

    (void)state;
    refused("", "invalid JSON at line 1");
    refused("[{\"username\":\"a\",\"password\":\"secret\"", "invalid JSON at line 1");
    refused("[\n{\"username\":secret}]", "invalid JSON at line 2");
    refused("[] secret", "invalid JSON");
    refused("{\"username\":\"secret\"}", "not a JSON array");
    refused("[[]]", "entry 1: not an object");
    refused("[{},\"secret\"]", "entry 2: not an object");
    refused("[{\"username\":\"secret\",\"password\":1}]", "\"password\" is not a text");
    refused("[{\"username\":\"secret\",\"perms\":\"all\"}]", "\"perms\" is not an array");
    refused("[{\"username\":\"secret\",\"perms\":[1]}]", "\"perms\" holds what is not");
    refused("[{\"username\":\"secret\",\"password\":\"$2b$99$secret\"}]",
            "entry 1: the password is a hash that this system does not know");
    refused("[{\"username\":\"a\",\"password\":\"$argon2id$v=19$secret\"}]",
            "entry 1: the password is a hash that this system does not know");
    memset(text, 0, sizeof text);
    strcpy(text, "[{\"password\":\"");
    memset(text + strlen(text), 'x', AUTH_PASSWORD_MAX + 1);
    strcat(text, "\"}]");
    refused(text, "\"password\" has more than 1023 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_have_what_their_entries_say),
        cmocka_unit_test(every_permission_has_its_name),
        cmocka_unit_test(the_last_entry_of_a_user_counts),
        cmocka_unit_test(nobody_is_a_valid_list),
        cmocka_unit_test(hashes_are_told_from_passwords),
        cmocka_unit_test(malformed_files_are_refused_without_repeating_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
