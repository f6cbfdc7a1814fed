/* SPDX-License-Identifier: MIT */
#include "cli/shell/cancel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* A handler has no argument to carry state, so this is the one place with globals. */
static volatile sig_atomic_t wished;
static int pipe_fds[2] = {-1, -1};

static void on_sigint(int sig)
{
    int saved = errno;
    ssize_t written;

    (void)sig;
    wished = 1;
    written = write(pipe_fds[1], "", 1); /* a full pipe is readable, too */
    (void)written;
    errno = saved;
}

enum err cancel_init(struct why *why)
{
    struct sigaction action = {.sa_handler = on_sigint};

    sigemptyset(&action.sa_mask);
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0) return why_errno(why, "pipe");
    if (sigaction(SIGINT, &action, NULL) < 0) return why_errno(why, "sigaction");
    return ERR_OK;
}

bool cancel_wished(void)
{
    return wished != 0;
}

void cancel_clear(void)
{
    char bytes[64];

    wished = 0;
    if (pipe_fds[0] >= 0)
        while (read(pipe_fds[0], bytes, sizeof(bytes)) > 0) continue;
}

int cancel_fd(void)
{
    return pipe_fds[0];
}
