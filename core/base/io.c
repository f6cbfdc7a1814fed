/* SPDX-License-Identifier: MIT */
#include "core/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct io_file {
    int fd;
    char path[]; /* for messages */
};

/* errno as an error, where a caller might care about what is or is not there. */
static enum err failed(struct why *why, const char *verb, const char *path)
{
    int number = errno;
    enum err e = why_errno(why, "%s %s", verb, path);

    if (number == ENOENT) e = ERR_NOT_FOUND;
    if (number == EEXIST) e = ERR_EXISTS;
    if (why) why->code = e;
    return e;
}

static enum err real_open(struct io *io, struct io_file **out, const char *path,
                          int flags, struct why *why)
{
    int mode = flags == IO_READ ? O_RDONLY : O_RDWR;
    struct io_file *f = malloc(sizeof *f + strlen(path) + 1);

    (void)io;
    *out = NULL;
    if (!f) return why_set(why, ERR_NOMEM, "open %s: out of memory", path);
    strcpy(f->path, path);
    if ((flags & IO_CREATE) == IO_CREATE) mode |= O_CREAT;
    if ((flags & IO_EXCL) == IO_EXCL) mode |= O_EXCL;
    do f->fd = open(path, mode | O_CLOEXEC, 0600);
    while (f->fd < 0 && errno == EINTR);
    if (f->fd < 0) {
        enum err e = failed(why, "open", path);
        free(f);
        return e;
    }
    *out = f;
    return ERR_OK;
}

static void real_close(struct io_file *f)
{
    if (!f) return;
    close(f->fd); /* never again after EINTR: Linux has closed it all the same */
    free(f);
}

static enum err real_read(struct io_file *f, uint64_t off, void *out, size_t len,
                          size_t *got, struct why *why)
{
    *got = 0;
    while (*got < len) {
        ssize_t n = pread(f->fd, (char *)out + *got, len - *got, (off_t)(off + *got));

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return why_errno(why, "read %s", f->path);
        if (n == 0) break;
        *got += (size_t)n;
    }
    return ERR_OK;
}

static enum err real_write(struct io_file *f, uint64_t off, const void *data, size_t len,
                           struct why *why)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = pwrite(f->fd, p, io_write_some(len), (off_t)off);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return why_errno(why, "write %s", f->path);
        if (n == 0) return why_set(why, ERR_IO, "write %s: nothing was written", f->path);
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static enum err real_sync(struct io_file *f, struct why *why)
{
    /* Not repeated on failure: the kernel may have dropped the pages and call the next
     * one clean. */
    if (fdatasync(f->fd) < 0) return why_errno(why, "sync %s", f->path);
    return ERR_OK;
}

static enum err real_truncate(struct io_file *f, uint64_t size, struct why *why)
{
    int r;

    do r = ftruncate(f->fd, (off_t)size);
    while (r < 0 && errno == EINTR);
    return r < 0 ? why_errno(why, "truncate %s", f->path) : ERR_OK;
}

static enum err real_size(struct io_file *f, uint64_t *out, struct why *why)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0) return why_errno(why, "size of %s", f->path);
    *out = (uint64_t)st.st_size;
    return ERR_OK;
}

static enum err make_dir(const char *path, struct why *why)
{
    struct stat st;

    if (mkdir(path, 0755) == 0) return ERR_OK;
    if (errno == EEXIST) {
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return ERR_OK;
        errno = ENOTDIR;
    }
    return failed(why, "make directory", path);
}

static enum err real_mkdir(struct io *io, const char *path, struct why *why)
{
    char part[PATH_MAX];
    size_t len = strlen(path);

    (void)io;
    if (len >= sizeof part)
        return why_set(why, ERR_INVALID, "make directory: the path is too long");
    memcpy(part, path, len + 1);
    for (char *p = part + 1; len > 0 && (p = strchr(p, '/')); p++) {
        enum err e;

        *p = '\0';
        e = make_dir(part, why);
        *p = '/';
        if (e) return e;
    }
    return make_dir(part, why);
}

static enum err real_rename(struct io *io, const char *from, const char *to,
                            struct why *why)
{
    (void)io;
    return rename(from, to) < 0 ? failed(why, "rename", from) : ERR_OK;
}

static enum err real_unlink(struct io *io, const char *path, struct why *why)
{
    (void)io;
    return remove(path) < 0 ? failed(why, "remove", path) : ERR_OK;
}

static enum err real_sync_dir(struct io *io, const char *path, struct why *why)
{
    int fd;
    enum err e = ERR_OK;

    (void)io;
    do fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return failed(why, "open directory", path);
    if (fsync(fd) < 0) e = why_errno(why, "sync directory %s", path);
    close(fd);
    return e;
}

static enum err real_list(struct io *io, const char *path,
                          void (*each)(const char *name, void *arg), void *arg,
                          struct why *why)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    enum err e = ERR_OK;

    (void)io;
    if (!dir) return failed(why, "list", path);
    while (errno = 0, (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        each(entry->d_name, arg);
    }
    if (errno) e = why_errno(why, "list %s", path);
    closedir(dir);
    return e;
}

struct io *io_real(void)
{
    static const struct io_ops ops = {
        .open = real_open,
        .close = real_close,
        .read = real_read,
        .write = real_write,
        .sync = real_sync,
        .truncate = real_truncate,
        .size = real_size,
        .mkdir = real_mkdir,
        .rename = real_rename,
        .unlink = real_unlink,
        .sync_dir = real_sync_dir,
        .list = real_list,
    };
    static struct io real = {.ops = &ops};
    return &real;
}
