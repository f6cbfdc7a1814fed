/* SPDX-License-Identifier: MIT */
/*
 * io: files, as a function table: the real ones, or the simulator's faulty disk.
 *
 * Every call is checked by its caller.  Names are plain paths.  Offsets and lengths are
 * bytes.
 */
#ifndef CORE_BASE_IO_H
#define CORE_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct io;
struct io_file; /* opaque to callers; owned by whoever opened it */

enum io_open_flags {
    IO_READ = 0,   /* must exist */
    IO_WRITE = 1,  /* read and write, must exist */
    IO_CREATE = 3, /* read and write, made if absent, mode 0600 */
    IO_EXCL = 7    /* read and write, must not exist */
};

/*
 * Whoever writes much gives the kernel no more than this at once.  A larger write to a
 * new part of a file gets larger pieces of page cache, of memory that has been free for
 * long: in a virtual machine that is fetched from the host first, which took ten times as
 * long.
 */
enum { IO_WRITE_MAX = 64 << 10 };
static inline size_t io_write_some(size_t len)
{
    return len < IO_WRITE_MAX ? len : IO_WRITE_MAX;
}

struct io_ops {
    enum err (*open)(struct io *io, struct io_file **out, const char *path, int flags,
                     struct why *why); /* ERR_NOT_FOUND, ERR_EXISTS told apart */
    void (*close)(struct io_file *f);  /* NULL is allowed */
    /* All of len unless the file ends first; *got says how much. */
    enum err (*read)(struct io_file *f, uint64_t off, void *out, size_t len, size_t *got,
                     struct why *why);
    enum err (*write)(struct io_file *f, uint64_t off, const void *data, size_t len,
                      struct why *why);                   /* all of it or an error */
    enum err (*sync)(struct io_file *f, struct why *why); /* fdatasync */
    enum err (*truncate)(struct io_file *f, uint64_t size, struct why *why);
    enum err (*size)(struct io_file *f, uint64_t *out, struct why *why);
    enum err (*mkdir)(struct io *io, const char *path,
                      struct why *why); /* with parents, 0755; exists = ok */
    enum err (*rename)(struct io *io, const char *from, const char *to, struct why *why);
    enum err (*unlink)(struct io *io, const char *path,
                       struct why *why); /* a file or an empty directory; ERR_NOT_FOUND */
    enum err (*sync_dir)(struct io *io, const char *path, struct why *why);
    /* Calls each(name, arg) for every entry but . and .., in any order. */
    enum err (*list)(struct io *io, const char *path,
                     void (*each)(const char *name, void *arg), void *arg,
                     struct why *why);
};

struct io {
    const struct io_ops *ops;
};

/* The machine's file system.  Static, any thread. */
struct io *io_real(void);

#endif
