/* SPDX-License-Identifier: MIT */
/*
 * faulty_io: a disk in memory that fails and loses power when told to.
 *
 * It knows what has been synced.  A sync that fails has synced nothing, and nothing of it
 * will be by the next.  After a loss of power each sector (or block) written since the
 * last sync of its file holds any one of the versions it had since, independently of the
 * others; any subset of the changes to a directory since its last sync has happened, in
 * order.
 *
 * Directories are but the names below them: mkdir does nothing, an empty one is not
 * there.
 *
 * One thread.  Test programs and fuzzers include faulty_io.c.
 */
#ifndef TESTS_LIB_FAULTY_IO_H
#define TESTS_LIB_FAULTY_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/io.h"
#include "core/base/rand.h"

struct faulty;

struct faulty *faulty_new(void); /* aborts when out of memory, as all here does */
void faulty_free(struct faulty *f);
struct io *faulty_io(struct faulty *f);

/* A new disk with the same files, all synced; faults are not copied. */
struct faulty *faulty_clone(const struct faulty *f);

/* A rename from a name that is not here takes the file from the real disk. */
void faulty_import(struct faulty *f);

/* Operations so far: opens, reads, writes, syncs, ... all but close. */
uint64_t faulty_ops(const struct faulty *f);
uint64_t faulty_writes(const struct faulty *f);
uint64_t faulty_syncs(const struct faulty *f);
bool faulty_changed(const struct faulty *
                        f); /* any operation that changes something, since new or clone */

/* The n-th operation from now (1 = the next) fails with e and has no effect; 0 = none. */
void faulty_fail_at(struct faulty *f, uint64_t n, enum err e);
/* Power goes during the n-th operation from now: it and all later ones fail. */
void faulty_die_at(struct faulty *f, uint64_t n);
void faulty_spare(struct faulty *f); /* nothing of the two happens */
void faulty_die(struct faulty *f);   /* now */
bool faulty_dead(const struct faulty *f);

/* Decide what the disk holds after the loss of power, and turn it on again.  granule: 512
 * or 4096.  No file may be open. */
void faulty_crash(struct faulty *f, struct rand *r, size_t granule);

/* Only the process died: the kernel has everything, synced or not. */
void faulty_restart(struct faulty *f);

/* The bytes of a file, to look at or to damage; NULL if there is none. */
uint8_t *faulty_bytes(struct faulty *f, const char *path, size_t *len);
void faulty_set(struct faulty *f, const char *path, const void *data, size_t len);
void faulty_cut(struct faulty *f, const char *path, size_t len);
void faulty_remove(struct faulty *f, const char *path);
void faulty_rename(struct faulty *f, const char *from, const char *to);

/* The i-th name in order, NULL after the last. */
const char *faulty_name(const struct faulty *f, size_t i);

#endif
