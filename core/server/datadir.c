/* SPDX-License-Identifier: MIT */
#include "core/server/datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/io.h"

/* "dir/name", malloc'd. */
static char *join_path(const char *dir, const char *name)
{
    char *path;

    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static bool exists_in(const char *dir, const char *name)
{
    char *path = join_path(dir, name);
    bool there = path && access(path, F_OK) == 0;

    free(path);
    return there;
}

/* raft.db is the log of the implementation in Go; raft/ alone may hold a peers.json of
 * ours. */
static enum err refuse_foreign(const char *dir, struct why *why)
{
    if (!exists_in(dir, "raft.db")) return ERR_OK;
    return why_set(
        why, ERR_INVALID,
        "%s holds data of another rqlite version; take a backup there and load it "
        "here (see README, \"Moving from rqlite\")",
        dir);
}

static enum err take_lock(struct datadir *d, struct why *why)
{
    char *path = join_path(d->path, "lock");
    enum err e = ERR_OK;

    if (!path) return why_set(why, ERR_NOMEM, "out of memory");
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        e = why_errno(why, "failed to open lock file %s", path);
    else if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0)
        e = errno == EWOULDBLOCK
                ? why_set(why, ERR_BUSY, "data directory %s is in use by another process",
                          d->path)
                : why_errno(why, "failed to lock %s", path);
    free(path);
    return e;
}

/* --- the format -------------------------------------------------------------------- */

/* Of log, snapshots and everything else in here together.  A node that reads an older one
 * may go on with it; what it cannot read any more it has to refuse in read_format(). */
enum { FORMAT = 1, FORMAT_TEXT_MAX = 32 };

/* Before the lock and before anything is touched.  A directory without the file is new,
 * or as old as format 1. */
static enum err read_format(struct datadir *d, struct why *why)
{
    struct io *io = io_real();
    char *path = join_path(d->path, "format"), text[FORMAT_TEXT_MAX + 1] = "", end;
    struct io_file *f = NULL;
    unsigned format = 0;
    size_t len = 0;
    enum err e = path ? io->ops->open(io, &f, path, IO_READ, why)
                      : why_set(why, ERR_NOMEM, "out of memory");

    free(path);
    if (e == ERR_NOT_FOUND) return ERR_OK;
    if (!e) e = io->ops->read(f, 0, text, FORMAT_TEXT_MAX, &len, why);
    io->ops->close(f);
    if (e) return e;
    if (sscanf(text, "%9u%c", &format, &end) != 2 || end != '\n' || format == 0)
        return why_set(why, ERR_CORRUPT, "%s/format does not hold a format's number",
                       d->path);
    if (format > FORMAT)
        return why_set(
            why, ERR_UNSUPPORTED,
            "%s was written by a newer rqlited (format %u; this one knows %u): "
            "start that version, take a backup there and boot an empty data "
            "directory with it (see README, \"Moving from rqlite\")",
            d->path, format, (unsigned)FORMAT);
    d->format = format;
    return ERR_OK;
}

/* --- scratch files ---------------------------------------------------------------- */

struct emptying {
    struct io *io;
    const char *dir;
};

static void remove_entry(const char *name, void *arg)
{
    struct emptying *job = arg;
    char *path = join_path(job->dir, name);

    /* What cannot be removed is in nobody's way. */
    if (path && job->io->ops->unlink(job->io, path, NULL)) rmdir(path);
    free(path);
}

/* Make and empty the node's own directory for them; clients' bodies go to TMPDIR if that
 * is set. */
static enum err prepare_scratch(struct datadir *d, struct why *why)
{
    const char *tmpdir = getenv("TMPDIR");
    char *own = join_path(d->path, "scratch");
    struct emptying job = {.io = io_real(), .dir = own};
    enum err e = own ? ERR_OK : why_set(why, ERR_NOMEM, "out of memory");

    if (!e) e = job.io->ops->mkdir(job.io, own, why);
    if (!e) e = job.io->ops->list(job.io, own, remove_entry, &job, why);
    d->scratch = tmpdir && *tmpdir ? strdup(tmpdir) : own ? strdup(own) : NULL;
    if (!e && !d->scratch) e = why_set(why, ERR_NOMEM, "out of memory");
    free(own);
    return e;
}

/* --- the node's ID ---------------------------------------------------------------- */

enum { ID_MAX = 4096 };

static enum err read_id(struct datadir *d, struct why *why)
{
    struct io *io = io_real();
    char *path = join_path(d->path, "node-id");
    struct io_file *f = NULL;
    size_t len = 0;
    enum err e;

    d->node_id = calloc(1, ID_MAX + 1);
    if (!path || !d->node_id) {
        free(path);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    e = io->ops->open(io, &f, path, IO_READ, why);
    if (!e) e = io->ops->read(f, 0, d->node_id, ID_MAX, &len, why);
    if (!e && (len == 0 || strlen(d->node_id) != len))
        e = why_set(why, ERR_CORRUPT, "%s does not hold a node ID", path);
    io->ops->close(f);
    free(path);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* A whole new file under the final name, durable, or nothing. */
static enum err write_file(struct datadir *d, const char *name, const char *text,
                           struct why *why)
{
    struct io *io = io_real();
    char *path = join_path(d->path, name), *fresh = NULL;
    struct io_file *f = NULL;
    enum err e = ERR_OK;

    if (!path || asprintf(&fresh, "%s.new", path) < 0) {
        free(path);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    e = io->ops->open(io, &f, fresh, IO_CREATE, why);
    if (!e) e = io->ops->truncate(f, 0, why);
    if (!e) e = io->ops->write(f, 0, text, strlen(text), why);
    if (!e) e = io->ops->sync(f, why);
    io->ops->close(f);
    if (!e) e = io->ops->rename(io, fresh, path, why);
    if (!e) e = io->ops->sync_dir(io, d->path, why);
    free(path);
    free(fresh);
    return e;
}

/* Before anything is written in this format. */
static enum err write_format(struct datadir *d, struct why *why)
{
    char text[FORMAT_TEXT_MAX];
    enum err e;

    if (d->format == FORMAT) return ERR_OK;
    snprintf(text, sizeof text, "%d\n", FORMAT);
    e = write_file(d, "format", text, why);
    if (!e) d->format = FORMAT;
    return e;
}

enum err datadir_claim(struct datadir *d, const char *id, const char *otherwise,
                       struct why *why)
{
    enum err e;

    if (!id || !*id) id = *d->node_id ? d->node_id : otherwise;
    if (strcmp(id, d->node_id) == 0) return write_format(d, why);
    if (*d->node_id)
        return why_set(why, ERR_INVALID,
                       "node ID \"%s\" does not match the ID \"%s\" stored in %s", id,
                       d->node_id, d->path);
    if (strlen(id) > ID_MAX) return why_set(why, ERR_INVALID, "node ID is too long");
    e = write_file(d, "node-id", id, why);
    if (e) return err_wrap(why, e, "failed to store the node ID in %s", d->path);
    strcpy(d->node_id, id);
    return write_format(d, why);
}

/* Where an operator puts peers.json; it is always there. */
static enum err make_raft_dir(const struct datadir *d, struct why *why)
{
    struct io *io = io_real();
    char *path;
    enum err e;

    if (asprintf(&path, "%s/raft", d->path) < 0)
        return why_set(why, ERR_NOMEM, "out of memory");
    e = io->ops->mkdir(io, path, why);
    free(path);
    return e;
}

/* --- opening ---------------------------------------------------------------------- */

enum err datadir_open(struct datadir *d, const char *path, struct why *why)
{
    struct io *io = io_real();
    enum err e;

    *d = (struct datadir){.lock_fd = -1, .path = strdup(path)};
    if (!d->path) return why_set(why, ERR_NOMEM, "out of memory");
    e = io->ops->mkdir(io, path, why);
    if (e) return err_wrap(why, e, "failed to create data directory %s", path);
    e = refuse_foreign(path, why);
    if (!e) e = read_format(d, why);
    if (!e) e = take_lock(d, why);
    if (!e) e = prepare_scratch(d, why);
    if (!e) e = make_raft_dir(d, why);
    if (!e) e = read_id(d, why);
    if (!e) d->preexists = exists_in(path, "wal");
    return e;
}

void datadir_close(struct datadir *d)
{
    if (d->lock_fd >= 0) close(d->lock_fd);
    free(d->node_id);
    free(d->scratch);
    free(d->path);
    *d = (struct datadir){.lock_fd = -1};
}

/* --- database files left behind --------------------------------------------------- */

enum err datadir_remove_old_database(const struct datadir *d, bool *removed,
                                     struct why *why)
{
    static const char *const names[] = {"db.sqlite", "db.sqlite-wal", "db.sqlite-shm"};
    struct io *io = io_real();

    *removed = false;
    if (!d->preexists) return ERR_OK; /* then it is not ours */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = join_path(d->path, names[i]);
        enum err e = path ? io->ops->unlink(io, path, why)
                          : why_set(why, ERR_NOMEM, "out of memory");

        free(path);
        if (e && e != ERR_NOT_FOUND) return e;
        if (!e) *removed = true;
    }
    return ERR_OK;
}

bool datadir_is_foreign_file(const struct datadir *d, const char *path)
{
    struct stat st;

    return !d->preexists && stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}
