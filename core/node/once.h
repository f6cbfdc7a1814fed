/* SPDX-License-Identifier: MIT */
/*
 * once: entries with an idempotency key, applied at most once (README, "Safe retries").
 *
 * The first entry with a key is run, and its results are kept in a table that is part of
 * the replicated state (remember.h).  A later one with the same key is answered from
 * there and changes nothing; one that asks for something else under that key is refused.
 *
 * Owner: the apply thread.
 */
#ifndef CORE_NODE_ONCE_H
#define CORE_NODE_ONCE_H

#include <stdint.h>

#include "core/base/blob.h"
#include "core/base/err.h"
#include "core/db/db.h"
#include "proto/command.pb-c.h"

struct once; /* opaque */

struct once_outcome {
    uint64_t index; /* of the entry that ran the request: the first one with this key */
    struct why refusal; /* ERR_CONFLICT: the key stands for another request */
};

MUST_USE enum err once_new(struct once **out);
void once_free(struct once *o); /* NULL is allowed */

/* Apply an entry that has a key.  sink may be NULL.  Times are left out of what is kept,
 * since they differ from node to node.  Errors as of db_apply(). */
MUST_USE enum err once_apply(struct once *o, struct db *d, const struct db_context *ctx,
                             const struct db_request *req,
                             const Rqlite__ExecuteRequest *m, struct row_sink *sink,
                             struct once_outcome *out, struct why *why);

/* The table as bytes, for a snapshot (*out NULL: it is empty); and from one. */
MUST_USE enum err once_save(const struct once *o, struct blob **out);
MUST_USE enum err once_load(struct once *o, const struct blob *b, struct why *why);

#endif
