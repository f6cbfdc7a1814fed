/* SPDX-License-Identifier: MIT */
#include "core/server/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/logger.h"

enum {
    START_GRACE_MS = 800, /* a start is ended in under a second */
    IMPATIENT_MS = 1000   /* a second signal after this is meant */
};

struct signals {
    struct logger *logger;
    pthread_t thread;
    bool running;
    int signal_fd; /* the kernel's */
    int stop_fd;   /* readable once a signal has arrived */
    int quit_fd;   /* ends our thread */
    atomic_bool started, received;
    void *hangup_arg; /* set before the next, which is NULL until then */
    void (*_Atomic on_hangup)(void *arg);
};

static const char *signal_name(int number)
{
    if (number == SIGHUP) return "hangup";
    return number == SIGINT ? "interrupt" : "terminated";
}

static uint64_t now_ms(void)
{
    return clock_mono_ns(clock_real()) / 1000000;
}

static void raise_fd(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one); /* fails only when it is readable already */

    (void)n;
}

/* How long poll() may wait before the start counts as hanging; negative = for ever. */
static int patience_ms(const struct signals *s, uint64_t first_ms)
{
    uint64_t waited;

    if (first_ms == 0 || atomic_load(&s->started)) return -1;
    waited = now_ms() - first_ms;
    return waited >= START_GRACE_MS ? 0 : (int)(START_GRACE_MS - waited);
}

static void hang_up(struct signals *s)
{
    void (*on_hangup)(void *arg) = atomic_load(&s->on_hangup);

    if (on_hangup) on_hangup(s->hangup_arg);
}

static void *signals_thread(void *arg)
{
    struct signals *s = arg;
    struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                           {.fd = s->quit_fd, .events = POLLIN}};
    uint64_t first_ms = 0;

    for (;;) {
        struct signalfd_siginfo info;
        int patience = patience_ms(s, first_ms);

        if (poll(fds, 2, patience) == 0 && !atomic_load(&s->started)) {
            logger_warn(s->logger, "rqlited", "the start does not end, exiting at once");
            _exit(1);
        }
        if (fds[1].revents) return NULL;
        if (!fds[0].revents || read(s->signal_fd, &info, sizeof info) != sizeof info)
            continue;
        logger_info(s->logger, "rqlited", "received signal \"%s\"",
                    signal_name((int)info.ssi_signo));
        if (info.ssi_signo == SIGHUP) {
            hang_up(s);
            continue;
        }
        if (first_ms == 0) {
            first_ms = now_ms();
            atomic_store(&s->received, true);
            raise_fd(s->stop_fd);
        } else if (now_ms() - first_ms > IMPATIENT_MS) {
            logger_warn(s->logger, "rqlited", "second signal, exiting at once");
            _exit(1);
        }
    }
}

enum err signals_open(struct signals **out, struct logger *logger, bool hangup,
                      struct why *why)
{
    struct signals *s = calloc(1, sizeof *s);
    sigset_t set;
    int n;

    *out = NULL;
    if (!s) return why_set(why, ERR_NOMEM, "out of memory");
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    if (hangup) sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    s->logger = logger;
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->signal_fd < 0 || s->stop_fd < 0 || s->quit_fd < 0) {
        why_errno(why, "failed to watch signals");
        goto fail;
    }
    n = pthread_create(&s->thread, NULL, signals_thread, s);
    if (n != 0) {
        why_set(why, ERR_NOMEM, "failed to start a thread");
        goto fail;
    }
    s->running = true;
    *out = s;
    return ERR_OK;
fail:
    signals_close(s);
    return why ? why->code : ERR_IO;
}

void signals_close(struct signals *s)
{
    if (!s) return;
    if (s->running) {
        raise_fd(s->quit_fd);
        pthread_join(s->thread, NULL);
    }
    if (s->signal_fd >= 0) close(s->signal_fd);
    if (s->stop_fd >= 0) close(s->stop_fd);
    if (s->quit_fd >= 0) close(s->quit_fd);
    free(s);
}

void signals_on_hangup(struct signals *s, void (*on_hangup)(void *arg), void *arg)
{
    s->hangup_arg = arg;
    atomic_store(&s->on_hangup, on_hangup);
}

void signals_started(struct signals *s)
{
    atomic_store(&s->started, true);
}

bool signals_received(const struct signals *s)
{
    return atomic_load(&s->received);
}

int signals_fd(const struct signals *s)
{
    return s->stop_fd;
}
