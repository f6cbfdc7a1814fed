/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mailbox.h"

struct letter {
    struct mail mail; /* first: a mail is its letter */
    int poster, number;
};

static struct mailbox *new_box(size_t capacity, bool use_fd)
{
    struct mailbox *b;
    struct why why;

    assert_int_equal(mailbox_new(&b, capacity, use_fd, &why), ERR_OK);
    return b;
}

static bool fd_readable(struct mailbox *b, int timeout_ms)
{
    struct pollfd p = {.fd = mailbox_fd(b), .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

static void mails_arrive_in_the_order_of_posting(void **state)
{
    struct mailbox *b = new_box(0, false);
    struct mail m[3], *got;

    (void)state;
    assert_null(mailbox_take(b));
    for (int i = 0; i < 3; i++) assert_int_equal(mailbox_post(b, &m[i]), ERR_OK);
    got = mailbox_take(b);
    assert_ptr_equal(got, &m[0]);
    assert_ptr_equal(got->next, &m[1]);
    assert_ptr_equal(got->next->next, &m[2]);
    assert_null(got->next->next->next);
    assert_null(mailbox_take(b));
    mailbox_free(b);
    mailbox_free(NULL);
}

static void a_full_box_refuses_but_not_answers(void **state)
{
    struct mailbox *b = new_box(2, false);
    struct mail m[4], *got;

    (void)state;
    assert_int_equal(mailbox_post(b, &m[0]), ERR_OK);
    assert_int_equal(mailbox_post(b, &m[1]), ERR_OK);
    assert_int_equal(mailbox_post(b, &m[2]), ERR_BUSY);
    assert_int_equal(mailbox_post_always(b, &m[3]), ERR_OK);
    got = mailbox_take(b);
    assert_ptr_equal(got->next->next, &m[3]);
    assert_null(m[3].next);
    assert_int_equal(mailbox_post(b, &m[2]), ERR_OK);
    assert_ptr_equal(mailbox_take(b), &m[2]);
    mailbox_free(b);
}

static void a_closed_box_refuses_but_gives_what_it_has(void **state)
{
    struct mailbox *b = new_box(0, true);
    struct mail m[2];

    (void)state;
    assert_int_equal(mailbox_post(b, &m[0]), ERR_OK);
    assert_false(mailbox_closed(b));
    mailbox_close(b);
    mailbox_close(b);
    assert_true(mailbox_closed(b));
    assert_int_equal(mailbox_post(b, &m[1]), ERR_CLOSED);
    assert_int_equal(mailbox_post_always(b, &m[1]), ERR_CLOSED);
    assert_ptr_equal(mailbox_wait(b, -1), &m[0]);
    assert_null(mailbox_wait(b, -1));
    mailbox_free(b);
}

static void waiting_ends_at_the_timeout(void **state)
{
    struct mailbox *b = new_box(0, false);
    uint64_t start = clock_mono_ns(clock_real());

    (void)state;
    assert_null(mailbox_wait(b, 0));
    assert_null(mailbox_wait(b, 30));
    assert_true(clock_mono_ns(clock_real()) - start >= 30 * 1000000U);
    mailbox_free(b);
}

static void the_fd_is_readable_while_there_is_mail(void **state)
{
    struct mailbox *b = new_box(0, true);
    struct mail m[3];

    (void)state;
    assert_false(fd_readable(b, 0));
    assert_int_equal(mailbox_post(b, &m[0]), ERR_OK);
    assert_int_equal(mailbox_post(b, &m[1]), ERR_OK);
    assert_true(fd_readable(b, 0));
    assert_ptr_equal(mailbox_take(b), &m[0]);
    assert_false(fd_readable(b, 0));
    assert_null(mailbox_take(b));
    assert_int_equal(mailbox_post(b, &m[2]), ERR_OK);
    assert_true(fd_readable(b, 0));
    assert_ptr_equal(mailbox_wait(b, -1), &m[2]);
    assert_false(fd_readable(b, 0));
    mailbox_free(b);
}

static void closing_makes_the_fd_readable(void **state)
{
    struct mailbox *b = new_box(0, true);

    (void)state;
    mailbox_close(b);
    assert_true(fd_readable(b, 0));
    assert_null(mailbox_take(b));
    assert_false(fd_readable(b, 0));
    mailbox_free(b);
}

static void a_box_without_fd_has_none(void **state)
{
    struct mailbox *b = new_box(0, false);

    (void)state;
    assert_int_equal(mailbox_fd(b), -1);
    mailbox_free(b);
}

static void *close_it(void *box)
{
    mailbox_close(box);
    return NULL;
}

static void closing_wakes_the_taker(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct mailbox *b = new_box(0, false);
        pthread_t t;

        assert_int_equal(pthread_create(&t, NULL, close_it, b), 0);
        while (!mailbox_closed(b)) assert_null(mailbox_wait(b, -1));
        pthread_join(t, NULL);
        mailbox_free(b);
    }
}

/* --- many posters --- */

enum { POSTERS = 4, LETTERS = 20000 };

struct poster {
    struct mailbox *box;
    int number;
    struct letter *letters;
};

static void *post_all(void *arg)
{
    struct poster *p = arg;

    for (int i = 0; i < LETTERS; i++) {
        p->letters[i].poster = p->number;
        p->letters[i].number = i;
        while (mailbox_post(p->box, &p->letters[i].mail) == ERR_BUSY) sched_yield();
    }
    return NULL;
}

static void every_letter_arrives(size_t capacity, bool use_fd)
{
    struct mailbox *b = new_box(capacity, use_fd);
    int next[POSTERS] = {0}, left = POSTERS * LETTERS;
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];

    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){b, i, malloc(LETTERS * sizeof(struct letter))};
        assert_non_null(posters[i].letters);
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    while (left > 0) {
        struct mail *m;
        size_t n = 0;

        if (use_fd)
            assert_true(fd_readable(b, 10000)); /* a lost wake-up would end here */
        m = use_fd ? mailbox_take(b) : mailbox_wait(b, 10000);
        if (!use_fd) assert_non_null(m);
        for (; m; m = m->next, n++, left--) {
            struct letter *l = (struct letter *)(void *)m;
            assert_int_equal(l->number, next[l->poster]);
            next[l->poster]++;
        }
        if (capacity > 0) assert_true(n <= capacity);
    }
    for (int i = 0; i < POSTERS; i++) pthread_join(threads[i], NULL);
    assert_null(mailbox_take(b));
    if (use_fd) assert_false(fd_readable(b, 0)); /* no wake-up is left behind */
    for (int i = 0; i < POSTERS; i++) free(posters[i].letters);
    mailbox_free(b);
}

static void no_letter_of_many_posters_is_lost(void **state)
{
    (void)state;
    every_letter_arrives(0, false);
}

static void no_letter_is_lost_through_a_small_box(void **state)
{
    (void)state;
    every_letter_arrives(3, false);
}

static void no_wake_up_of_the_fd_is_lost(void **state)
{
    (void)state;
    every_letter_arrives(0, true);
    every_letter_arrives(3, true);
}

/* One mail to and fro: each side sleeps before each turn, so every wake-up counts. */
struct echo {
    struct mailbox *in, *out;
};

static void *echo_all(void *arg)
{
    struct echo *e = arg;
    struct mail *m;

    while ((m = mailbox_wait(e->in, -1)))
        if (mailbox_post(e->out, m)) break;
    return NULL;
}

static void a_mail_goes_to_and_fro(void **state)
{
    struct echo e = {new_box(1, false), new_box(1, false)};
    struct mail m;
    pthread_t t;

    (void)state;
    assert_int_equal(pthread_create(&t, NULL, echo_all, &e), 0);
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(mailbox_post(e.in, &m), ERR_OK);
        assert_ptr_equal(mailbox_wait(e.out, 10000), &m);
    }
    mailbox_close(e.in);
    pthread_join(t, NULL);
    mailbox_free(e.in);
    mailbox_free(e.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mails_arrive_in_the_order_of_posting),
        cmocka_unit_test(a_full_box_refuses_but_not_answers),
        cmocka_unit_test(a_closed_box_refuses_but_gives_what_it_has),
        cmocka_unit_test(waiting_ends_at_the_timeout),
        cmocka_unit_test(the_fd_is_readable_while_there_is_mail),
        cmocka_unit_test(closing_makes_the_fd_readable),
        cmocka_unit_test(a_box_without_fd_has_none),
        cmocka_unit_test(closing_wakes_the_taker),
        cmocka_unit_test(no_letter_of_many_posters_is_lost),
        cmocka_unit_test(no_letter_is_lost_through_a_small_box),
        cmocka_unit_test(no_wake_up_of_the_fd_is_lost),
        cmocka_unit_test(a_mail_goes_to_and_fro),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
