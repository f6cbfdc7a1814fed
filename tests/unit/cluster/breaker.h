/* SPDX-License-Identifier: MIT */
/*
 * breaker: a TCP proxy before a node, which can lose answers.
 *
 * When it is armed and a caller's bytes hold its mark, they are passed on, but what comes
 * back on that connection is swallowed (but for the first bytes, if it shall pass some),
 * and then the connection is closed: the call was carried out, and its caller does not
 * know.
 */
#ifndef TESTS_UNIT_CLUSTER_BREAKER_H
#define TESTS_UNIT_CLUSTER_BREAKER_H

#include <poll.h>
#include <stdatomic.h>

#include "tests/unit/cluster/nodes.h"

enum { BREAKER_CONNS = 32 };

struct breaker {
    int listener;
    uint16_t port, target;
    pthread_t thread;
    atomic_bool stop, armed, refuse; /* refuse: no connections any more */
    atomic_int broken;               /* connections closed on purpose */
    atomic_size_t pass;              /* bytes let through before that */
    const char *mark;
    struct {
        int client, server;
        bool doomed;
        size_t passed; /* since then */
    } conns[BREAKER_CONNS];
    size_t n;
};

static inline int breaker_dial(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    close(fd);
    return -1;
}

static inline void breaker_drop(struct breaker *b, size_t i)
{
    close(b->conns[i].client);
    close(b->conns[i].server);
    b->conns[i] = b->conns[--b->n];
}

/* False: the connection is over. */
static inline bool breaker_pump(struct breaker *b, size_t i, bool from_client)
{
    static _Thread_local char piece[64 << 10];
    int from = from_client ? b->conns[i].client : b->conns[i].server;
    int to = from_client ? b->conns[i].server : b->conns[i].client;
    ssize_t n = read(from, piece, sizeof piece);

    if (n <= 0) return false;
    if (from_client && atomic_load(&b->armed) &&
        memmem(piece, (size_t)n, b->mark, strlen(b->mark)) != NULL)
        b->conns[i].doomed = true;
    if (!from_client && b->conns[i].doomed) b->conns[i].passed += (size_t)n;
    if (b->conns[i].passed > atomic_load(&b->pass)) {
        atomic_store(&b->armed, false);
        atomic_fetch_add(&b->broken, 1);
        return false;
    }
    for (ssize_t done = 0; done < n;) {
        ssize_t k = write(to, piece + done, (size_t)(n - done));

        if (k <= 0) return false;
        done += k;
    }
    return true;
}

static inline void *breaker_main(void *arg)
{
    struct breaker *b = arg;

    while (!atomic_load(&b->stop)) {
        struct pollfd p[1 + 2 * BREAKER_CONNS];
        size_t n = b->n;

        p[0] = (struct pollfd){.fd = b->listener, .events = POLLIN};
        for (size_t i = 0; i < n; i++) {
            p[1 + 2 * i] = (struct pollfd){.fd = b->conns[i].client, .events = POLLIN};
            p[2 + 2 * i] = (struct pollfd){.fd = b->conns[i].server, .events = POLLIN};
        }
        if (poll(p, (nfds_t)(1 + 2 * n), 20) <= 0) continue;
        for (size_t i = n; i-- > 0;) {
            bool alive = true;

            if (p[1 + 2 * i].revents) alive = breaker_pump(b, i, true);
            if (alive && p[2 + 2 * i].revents) alive = breaker_pump(b, i, false);
            if (!alive) breaker_drop(b, i);
        }
        if (p[0].revents && b->n < BREAKER_CONNS) {
            int client = accept(b->listener, NULL, NULL);
            int server = atomic_load(&b->refuse) ? -1 : breaker_dial(b->target);

            if (client >= 0 && server >= 0) {
                b->conns[b->n].client = client;
                b->conns[b->n].server = server;
                b->conns[b->n].passed = 0;
                b->conns[b->n++].doomed = false;
            } else if (client >= 0) {
                close(client);
            }
        }
    }
    while (b->n > 0) breaker_drop(b, b->n - 1);
    return NULL;
}

static inline struct breaker *breaker_new(uint16_t target, const char *mark)
{
    struct breaker *b = calloc(1, sizeof *b);
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;

    assert_non_null(b);
    b->target = target;
    b->mark = mark;
    b->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(b->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(b->listener, 64), 0);
    assert_int_equal(getsockname(b->listener, (struct sockaddr *)&a, &len), 0);
    b->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&b->thread, NULL, breaker_main, b), 0);
    return b;
}

static inline void breaker_free(struct breaker *b)
{
    atomic_store(&b->stop, true);
    pthread_join(b->thread, NULL);
    close(b->listener);
    free(b);
}

#endif
