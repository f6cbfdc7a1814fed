/* SPDX-License-Identifier: MIT */
/*
 * faulty_disk: preloaded into a process, makes calls on some files fail, as a full or
 * dying disk does.
 *
 * The file named by FAULTY_DISK is looked at before each call, so that a fault can come
 * and go.  Its one line says what fails and where, "read,sync EIO /snapshots/":
 * operations (of read, write, sync, space, open-read, open-write; commas between), an
 * errno, part of a path.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

/* What glibc has under its 64-bit names is the same on the machines we run on. */
#define REAL(type, name, ...)                                                            \
    static type (*real)(__VA_ARGS__);                                                    \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int fault_for(const char *operation, const char *path)
{
    static int (*real_open)(const char *, int, ...);
    static const struct {
        const char *name;
        int code;
    } codes[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"EACCES", EACCES}};
    const char *control = getenv("FAULTY_DISK");
    char line[512], operations[64], code[16], part[256];
    int fd;
    ssize_t n;

    if (!control) return 0;
    if (!real_open) real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    fd = real_open(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    static ssize_t (*real_read)(int, void *, size_t);
    if (!real_read) real_read = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    n = real_read(fd, line, sizeof line - 1);
    close(fd);
    if (n <= 0) return 0;
    line[n] = '\0';
    if (sscanf(line, "%63s %15s %255s", operations, code, part) != 3) return 0;
    if (!strstr(operations, operation) || !strstr(path, part)) return 0;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(code, codes[i].name) == 0) return codes[i].code;
    return 0;
}

static int fails(const char *operation, int fd)
{
    char link[64], path[4096];
    ssize_t n;
    int saved = errno, code;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (n <= 0 || path[0] != '/') return 0;
    path[n] = '\0';
    code = fault_for(operation, path);
    if (!code) return 0;
    errno = code;
    return 1;
}

static int fails_path(const char *operation, const char *path)
{
    int saved = errno, code = fault_for(operation, path);

    errno = code ? code : saved;
    return code != 0;
}

#define WRITES(fd)                                                                       \
    if (fails("write", fd)) return -1
#define READS(fd)                                                                        \
    if (fails("read", fd)) return -1

ssize_t write(int fd, const void *p, size_t n)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    WRITES(fd);
    return real(fd, p, n);
}
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    WRITES(fd);
    return real(fd, p, n, at);
}
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
    return pwrite(fd, p, n, at);
}
ssize_t writev(int fd, const struct iovec *v, int n)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    WRITES(fd);
    return real(fd, v, n);
}
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    WRITES(fd);
    return real(fd, v, n, at);
}
ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t at)
{
    return pwritev(fd, v, n, at);
}
ssize_t pread(int fd, void *p, size_t n, off_t at)
{
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    READS(fd);
    return real(fd, p, n, at);
}
ssize_t pread64(int fd, void *p, size_t n, off_t at)
{
    return pread(fd, p, n, at);
}
ssize_t read(int fd, void *p, size_t n)
{
    REAL(ssize_t, "read", int, void *, size_t);
    READS(fd);
    return real(fd, p, n);
}
int fdatasync(int fd)
{
    REAL(int, "fdatasync", int);
    if (fails("sync", fd)) return -1;
    return real(fd);
}
int fsync(int fd)
{
    REAL(int, "fsync", int);
    if (fails("sync", fd)) return -1;
    return real(fd);
}
int ftruncate(int fd, off_t size)
{
    REAL(int, "ftruncate", int, off_t);
    WRITES(fd);
    return real(fd, size);
}
int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}
int fallocate(int fd, int mode, off_t at, off_t size)
{
    REAL(int, "fallocate", int, int, off_t, off_t);
    WRITES(fd);
    return real(fd, mode, at, size);
}
int fallocate64(int fd, int mode, off_t at, off_t size)
{
    return fallocate(fd, mode, at, size);
}
int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    if (fails_path("write", to)) return -1;
    return real(from, to);
}
int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    if (fails_path("write", path)) return -1;
    return real(path, mode);
}

static int opens(const char *path, int flags)
{
    return fails_path((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT)
                          ? "open-read"
                          : "open-write",
                      path);
}
int open(const char *path, int flags, ...)
{
    REAL(int, "open", const char *, int, ...);
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if (flags & O_CREAT) mode = va_arg(args, mode_t);
    va_end(args);
    if (opens(path, flags)) return -1;
    return real(path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if (flags & O_CREAT) mode = va_arg(args, mode_t);
    va_end(args);
    return open(path, flags, mode);
}

int statvfs(const char *path, struct statvfs *out)
{
    REAL(int, "statvfs", const char *, struct statvfs *);
    int rc = real(path, out);

    if (rc == 0 && fails_path("space", path)) out->f_bavail = 0;
    return rc;
}
