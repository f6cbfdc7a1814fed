/* SPDX-License-Identifier: MIT */
#include "core/auth/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/auth/users.h"

enum { FILE_MAX = 16 << 20 };

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static struct auth_stamp stamp_of(const struct stat *s)
{
    return (struct auth_stamp){.device = s->st_dev,
                               .inode = s->st_ino,
                               .size = s->st_size,
                               .modified = s->st_mtim,
                               .changed = s->st_ctim};
}

bool auth_file_changed(const char *path, const struct auth_stamp *stamp)
{
    struct auth_stamp now = {0};
    struct stat s;

    if (stat(path, &s) == 0) now = stamp_of(&s);
    return now.device != stamp->device || now.inode != stamp->inode ||
           now.size != stamp->size || !same_time(now.modified, stamp->modified) ||
           !same_time(now.changed, stamp->changed);
}

/* Up to cap bytes, or the end; -1. */
static ssize_t read_all(int fd, char *out, size_t cap)
{
    size_t got = 0;

    while (got < cap) {
        ssize_t n = read(fd, out + got, cap - got);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static enum err read_users(struct auth_users **out, int fd, size_t size, struct why *why)
{
    char *text = malloc(size + 1); /* one more shows that it has grown meanwhile */
    ssize_t n;
    enum err e;

    if (text == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    n = read_all(fd, text, size + 1);
    if (n < 0)
        e = why_errno(why, "read");
    else if ((size_t)n > size)
        e = why_set(why, ERR_BUSY, "is being written");
    else
        e = auth_users_parse(out, text, (size_t)n, why);
    explicit_bzero(text, size + 1);
    free(text);
    return e;
}

enum err auth_file_read(struct auth_users **out, const char *path,
                        struct auth_stamp *stamp, struct why *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat s;
    enum err e;

    *out = NULL;
    memset(stamp, 0, sizeof *stamp);
    if (fd < 0) return why_errno(why, "open %s", path);
    if (fstat(fd, &s) != 0) {
        e = why_errno(why, "open %s", path);
        close(fd);
        return e;
    }
    *stamp = stamp_of(&s);
    if (!S_ISREG(s.st_mode) || s.st_size > FILE_MAX)
        e = why_set(why, ERR_INVALID, "not a file of at most %d MiB", FILE_MAX >> 20);
    else
        e = read_users(out, fd, (size_t)s.st_size, why);
    close(fd);
    return e ? err_wrap(why, e, "%s", path) : ERR_OK;
}
