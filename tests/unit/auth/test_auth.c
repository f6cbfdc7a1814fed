/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/auth/auth.h"

#define BCRYPT "$2b$04$T6dYb0/u4KDETiwrs3fVmODIFh72wFWcxV1DNlI3KWZMuL160cDCW"
#define SHA512                                                                           \
    "$6$8CRlGy/tXAR/afrc$P5pwAA5YBNat1PZLWm3MK.uiDVD1xq9BYprSJGfp4hdJHdtrB.v8l/"         \
    "s.bJGsaqLCHDH20xoecbQTApIo0ODl41"
#define YESCRYPT                                                                         \
    "$y$j75$yKSJ9iIO29F20CG330uG//$ZlOTtLoXVpURhllTr.9LP98M7Inj66PwpWit7K3rNyC"
#define USER(name, password, perms)                                                      \
    "{\"username\":\"" name "\",\"password\":\"" password "\",\"perms\":[" perms "]}"

enum { ALL = AUTH_QUERY | AUTH_EXECUTE | AUTH_READY };

static char path[64];

static void write_users(const char *text)
{
    char other[80];
    FILE *f;

    snprintf(other, sizeof other, "%s.new", path);
    f = fopen(other, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(other, path), 0);
}

static struct auth *open_with(const char *text)
{
    struct why why = {0};
    struct auth *a;

    write_users(text);
    if (auth_open(&a, path, NULL, &why)) fail_msg("%s", why.text);
    return a;
}

struct login {
    struct auth_login l;
    sem_t done;
};

static void on_done(struct auth_login *l)
{
    sem_post(&((struct login *)(void *)l)->done);
}

/* What is granted, however long it takes. */
static uint32_t ask(struct auth *a, const char *user, const char *password)
{
    struct login q = {.l.done = on_done};
    uint32_t granted;
    enum auth_answer answer;

    sem_init(&q.done, 0, 0);
    answer = auth_ask(a, user, password, ALL, &granted, &q.l);
    assert_int_not_equal(answer, AUTH_BUSY);
    if (answer == AUTH_LATER) {
        while (sem_wait(&q.done) != 0) {
        }
        granted = q.l.granted;
    }
    sem_destroy(&q.done);
    return granted;
}

static enum auth_answer ask_quickly(struct auth *a, const char *user,
                                    const char *password)
{
    struct login q = {.l.done = on_done};
    uint32_t granted;
    enum auth_answer answer;

    sem_init(&q.done, 0, 0);
    answer = auth_ask(a, user, password, ALL, &granted, &q.l);
    if (answer == AUTH_LATER)
        while (sem_wait(&q.done) != 0) {
        }
    sem_destroy(&q.done);
    return answer;
}

static void without_a_file_everybody_may_do_everything(void **state)
{
    uint32_t granted;

    (void)state;
    assert_int_equal(auth_ask(NULL, NULL, NULL, ALL, &granted, NULL), AUTH_NOW);
    assert_int_equal(granted, ALL);
    assert_false(auth_never(NULL, NULL, NULL, ALL));
}

static void a_user_has_his_permissions_and_those_of_everybody(void **state)
{
    struct auth *a = open_with("[" USER("bob", "pw", "\"query\"") "," USER(
        "*", "star", "\"ready\"") ",{\"username\":\"none\",\"perms\":[\"all\"]}"
                                  "," USER("empty", "", "\"execute\"") "]");

    (void)state;
    assert_int_equal(ask(a, "bob", "pw"), AUTH_QUERY | AUTH_READY);
    assert_int_equal(ask(a, "bob", "pW"), AUTH_READY);
    assert_int_equal(ask(a, "bob", "pw "), AUTH_READY);
    assert_int_equal(ask(a, "bob", NULL), AUTH_READY);
    assert_int_equal(ask(a, "Bob", "pw"), AUTH_READY);
    assert_int_equal(ask(a, "bobp", "w"), AUTH_READY);
    assert_int_equal(ask(a, NULL, NULL), AUTH_READY);
    assert_int_equal(ask(a, "", ""), AUTH_READY);
    assert_int_equal(ask(a, "*", "star"), AUTH_READY);
    assert_int_equal(ask(a, "none", NULL), AUTH_READY);
    assert_int_equal(ask(a, "none", ""), AUTH_READY);
    assert_int_equal(ask(a, "empty", ""), AUTH_READY | AUTH_EXECUTE);
    assert_true(auth_never(a, "bob", "no", AUTH_QUERY));
    assert_false(auth_never(a, "bob", "no", AUTH_READY));
    assert_false(auth_never(a, "bob", "pw", AUTH_QUERY));
    auth_free(a);
}

static void a_hash_is_only_checked_as_a_hash(void **state)
{
    struct auth *a = open_with(
        "[" USER("b", BCRYPT, "\"all\"") "," USER("s", SHA512, "\"query\"") "," USER(
            "y", YESCRYPT, "\"execute\"") "," USER("plain", "clear", "\"query\"") "]");

    (void)state;
    assert_int_equal(ask(a, "b", "secret"), ALL);
    assert_int_equal(ask(a, "s", "secret"), AUTH_QUERY);
    assert_int_equal(ask(a, "y", "secret"), AUTH_EXECUTE);
    assert_int_equal(ask(a, "plain", "clear"), AUTH_QUERY);
    assert_int_equal(ask(a, "b", BCRYPT), 0);
    assert_int_equal(ask(a, "s", SHA512), 0);
    assert_int_equal(ask(a, "y", YESCRYPT), 0);
    assert_int_equal(ask(a, "y", "secreT"), 0);
    assert_int_equal(ask(a, "plain", "secret"), 0); /* although it is somebody's */
    assert_int_equal(ask(a, "nobody", "secret"), 0);
    auth_free(a);
}

static void a_password_is_hashed_once(void **state)
{
    struct auth *a = open_with(
        "[" USER("b", BCRYPT, "\"all\"") "," USER("plain", "clear", "\"query\"") "]");

    (void)state;
    assert_false(auth_never(a, "b", "secret", ALL));
    assert_int_equal(ask_quickly(a, "b", "secret"), AUTH_LATER);
    assert_int_equal(ask_quickly(a, "b", "secret"), AUTH_NOW);
    assert_int_equal(ask_quickly(a, "plain", "clear"), AUTH_NOW);
    /* A refusal costs the same whoever is named, the first time. */
    assert_int_equal(ask_quickly(a, "b", "wrong"), AUTH_LATER);
    assert_int_equal(ask_quickly(a, "plain", "wrong"), AUTH_LATER);
    assert_int_equal(ask_quickly(a, "nobody", "wrong"), AUTH_LATER);
    assert_int_equal(ask_quickly(a, "nobody", "wrong"), AUTH_NOW);
    assert_true(auth_never(a, "nobody", "wrong", ALL));
    assert_int_equal(ask_quickly(a, "b", "secret"), AUTH_NOW);
    auth_free(a);
}

static void many_logins_with_one_password_share_a_hash(void **state)
{
    struct auth *a = open_with("[" USER("b", BCRYPT, "\"all\"") "]");
    enum { N = 500 };
    struct login *q = calloc(N, sizeof *q);
    unsigned later = 0;

    (void)state;
    assert_non_null(q);
    for (int i = 0; i < N; i++) {
        uint32_t granted;

        q[i].l.done = on_done;
        sem_init(&q[i].done, 0, 0);
        switch (auth_ask(a, "b", "secret", ALL, &granted, &q[i].l)) {
        case AUTH_LATER: later++; break;
        case AUTH_NOW: /* the first is through already */
            assert_int_equal(granted, ALL);
            q[i].l.granted = ALL;
            sem_post(&q[i].done);
            break;
        case AUTH_BUSY: fail_msg("refused"); break;
        }
    }
    assert_true(later > 0);
    for (int i = 0; i < N; i++) {
        while (sem_wait(&q[i].done) != 0) {
        }
        assert_int_equal(q[i].l.granted, ALL);
        sem_destroy(&q[i].done);
    }
    free(q);
    auth_free(a);
}

static void too_many_different_passwords_are_turned_away(void **state)
{
    struct auth *a = open_with("[" USER("s", SHA512, "\"all\"") "]");
    enum { N = 2000 };
    struct login *q = calloc(N, sizeof *q);
    unsigned busy = 0;

    (void)state;
    assert_non_null(q);
    for (int i = 0; i < N; i++) {
        char password[16];
        uint32_t granted;
        enum auth_answer answer;

        q[i].l.done = on_done;
        sem_init(&q[i].done, 0, 0);
        snprintf(password, sizeof password, "%d", i);
        answer = auth_ask(a, "s", password, ALL, &granted, &q[i].l);
        assert_int_equal(granted, 0);
        busy += answer == AUTH_BUSY;
        if (answer == AUTH_BUSY) sem_post(&q[i].done);
    }
    assert_true(busy > 0);
    auth_stop(a); /* refuses those that wait */
    for (int i = 0; i < N; i++) {
        while (sem_wait(&q[i].done) != 0) {
        }
        assert_int_equal(q[i].l.granted, 0);
        sem_destroy(&q[i].done);
    }
    assert_int_equal(ask_quickly(a, "s", "x"), AUTH_BUSY);
    free(q);
    auth_free(a);
}

static void until(struct auth *a, const char *user, const char *password, uint32_t want)
{
    for (int i = 0; i < 10000; i++) {
        if (ask(a, user, password) == want) return;
        usleep(5000);
    }
    fail_msg("%s never got %x", user, (unsigned)want);
}

static void a_changed_file_is_read_and_a_broken_one_is_not(void **state)
{
    struct auth *a = open_with("[" USER("b", BCRYPT, "\"all\"") "]");

    (void)state;
    assert_int_equal(ask(a, "b", "secret"), ALL);
    write_users("[" USER("c", "pw", "\"query\"") "," USER("b", SHA512, "\"query\"") "]");
    until(a, "c", "pw", AUTH_QUERY);
    assert_int_equal(ask(a, "b", "secret"), AUTH_QUERY);
    write_users("[" USER("b", "other", "\"all\"")); /* cut */
    auth_reload(a);
    assert_int_equal(ask(a, "b", "secret"), AUTH_QUERY);
    assert_int_equal(unlink(path), 0);
    auth_reload(a);
    assert_int_equal(ask(a, "b", "secret"), AUTH_QUERY);
    write_users("[" USER("b", "other", "\"all\"") "]");
    until(a, "b", "other", ALL);
    assert_int_equal(ask(a, "b", "secret"), 0); /* what was known is forgotten */
    assert_int_equal(ask(a, "c", "pw"), 0);
    auth_free(a);
}

static void passwords_for_elsewhere_must_be_clear(void **state)
{
    struct auth *a = open_with(
        "[" USER("b", BCRYPT, "") "," USER("c", "clear", "") ",{\"username\":\"none\"}]");
    char password[AUTH_PASSWORD_MAX + 1];

    (void)state;
    assert_int_equal(auth_password(a, "c", password), ERR_OK);
    assert_string_equal(password, "clear");
    assert_int_equal(auth_password(a, "b", password), ERR_UNSUPPORTED);
    assert_int_equal(auth_password(a, "none", password), ERR_NOT_FOUND);
    assert_int_equal(auth_password(a, "x", password), ERR_NOT_FOUND);
    auth_free(a);
}

static void what_cannot_be_read_is_an_error(void **state)
{
    struct why why = {0};
    struct auth *a;

    (void)state;
    assert_int_equal(auth_open(&a, "/nonexistent/users", NULL, &why), ERR_IO);
    assert_non_null(strstr(why.text, "open /nonexistent/users: No such file"));
    assert_null(a);
    assert_int_equal(auth_open(&a, "/", NULL, &why), ERR_INVALID);
    write_users("nonsense");
    assert_int_equal(auth_open(&a, path, NULL, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, path));
}

static void very_long_names_are_nobodys(void **state)
{
    struct auth *a = open_with("[" USER("b", BCRYPT, "\"all\"") "]");
    char text[2 * AUTH_PASSWORD_MAX];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(ask(a, text, "x"), 0);
    assert_int_equal(ask(a, "b", text), 0);
    auth_free(a);
}

static int setup(void **state)
{
    int fd;

    (void)state;
    strcpy(path, "users-XXXXXX");
    fd = mkstemp(path);
    if (fd < 0) return -1;
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_everybody_may_do_everything),
        cmocka_unit_test(a_user_has_his_permissions_and_those_of_everybody),
        cmocka_unit_test(a_hash_is_only_checked_as_a_hash),
        cmocka_unit_test(a_password_is_hashed_once),
        cmocka_unit_test(many_logins_with_one_password_share_a_hash),
        cmocka_unit_test(too_many_different_passwords_are_turned_away),
        cmocka_unit_test(a_changed_file_is_read_and_a_broken_one_is_not),
        cmocka_unit_test(passwords_for_elsewhere_must_be_clear),
        cmocka_unit_test(what_cannot_be_read_is_an_error),
        cmocka_unit_test(very_long_names_are_nobodys),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
