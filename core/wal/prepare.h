/* SPDX-License-Identifier: MIT */
/*
 * prepare: the next segment's file, zero-filled and synced before it is needed.
 *
 * In the background if so asked: one thread per file, which touches nothing but that file
 * and its own struct, and is joined before either is looked at.  Nothing locks.
 */
#ifndef CORE_WAL_PREPARE_H
#define CORE_WAL_PREPARE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"

struct io;
struct io_file;

#define PREPARE_NAME "next.tmp" /* until it becomes a segment */

struct prepare {
    struct io *io; /* borrowed */
    char *path;    /* owned */
    bool background;
    bool running; /* thread is to be joined */
    pthread_t thread;
    uint64_t want; /* the thread's order */
    uint64_t done; /* bytes ready at path; 0 = no file worth having */
    atomic_bool cancel;
};

/* ERR_NOMEM. */
MUST_USE enum err prepare_init(struct prepare *p, struct io *io, const char *dir,
                               bool background, struct why *why);
void prepare_fini(struct prepare *p); /* waits for the thread; safe on zeroes */

/* Begin to make a file of that size, unless there is one or one is being made.  A hint:
 * does nothing without a background, and what goes wrong is told by prepare_take(). */
void prepare_start(struct prepare *p, uint64_t size);

/* A file of at least *size bytes, all zero, synced, still at p->path; made now where that
 * has not been done.  On ERR_OK the caller owns *file, *size is its size, and the next
 * prepare begins afresh.  ERR_NO_SPACE when the disk is full. */
MUST_USE enum err prepare_take(struct prepare *p, struct io_file **file, uint64_t *size,
                               struct why *why);

/* The same for what comes in pieces as large as a write of zeroes would be: a file that
 * has its size but not its blocks, unless one has been prepared.  Nobody has to wait
 * while zeroes are written, and they are not written at all; but writing to it changes
 * the file's metadata, which makes each sync of a small record dearer. */
MUST_USE enum err prepare_take_sparse(struct prepare *p, struct io_file **file,
                                      uint64_t *size, struct why *why);

/* Fill file with zeroes in [from, to) and sync. */
MUST_USE enum err prepare_zero(struct io *io, struct io_file *file, uint64_t from,
                               uint64_t to, const atomic_bool *cancel, struct why *why);

#endif
