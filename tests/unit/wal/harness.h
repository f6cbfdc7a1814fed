/* SPDX-License-Identifier: MIT */
/*
 * harness: a log under test, and a model of what it must hold.
 *
 * Included, with its .c, by the tests of the wal.  Whatever fails ends the test.
 */
#ifndef TESTS_UNIT_WAL_HARNESS_H
#define TESTS_UNIT_WAL_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/raft/raft.h"
#include "core/wal/wal.h"
#include "tests/lib/faulty_io.h"

/* What a log holds, or should. */
struct model {
    uint64_t first, last, before_term;
    uint64_t term;
    char vote[RAFT_ID_MAX + 1];
    struct raft_entry *entries; /* of first .. last; owned, with their payloads */
    size_t cap;
};

void model_init(struct model *m);
void model_fini(struct model *m);
void model_append(struct model *m, const struct raft_entry *e);
void model_truncate(struct model *m, uint64_t from);
void model_reset(struct model *m, uint64_t index, uint64_t term);
void model_hard(struct model *m, uint64_t term, const char *vote);
/* The same hard state, last entry and entries, from the later first one on. */
bool model_same(const struct model *a, const struct model *b);

/* An each() that appends to the model in arg, which begins with the first entry shown. */
enum err model_collect(const struct raft_entry *e, void *arg, struct why *why);

/* An entry with len bytes that depend on index, term and len; the caller drops the
 * payload. */
struct raft_entry entry_make(uint64_t index, uint64_t term, uint32_t len);

struct log { /* a wal and the model of it */
    struct io *io;
    struct wal_options options;
    struct wal *wal;
    struct wal_found found;
    struct model model;
};

/* Open in dir "d" on io; the options may be changed first through log_open_with(). */
void log_open(struct log *l, struct io *io, uint64_t segment_bytes);
void log_open_with(struct log *l, const struct wal_options *options);
/* Close, open again, and compare everything with the model. */
void log_reopen(struct log *l);
/* Compare with the model what the open log gives to wal_read(), whole and in windows. */
void log_check(struct log *l);
void log_close(struct log *l);

/* On both, and must succeed. */
void log_append(struct log *l, uint64_t term, size_t n, uint32_t len);
void log_sync(struct log *l);
void log_truncate(struct log *l, uint64_t from);
void log_reset(struct log *l, uint64_t index, uint64_t term);
void log_hard(struct log *l, uint64_t term, const char *vote);

/* Open what is on io and say what it holds; m is empty unless ERR_OK is returned. */
enum err log_inspect(struct io *io, struct model *m, struct wal_found *found,
                     struct why *why);

#endif
