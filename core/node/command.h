/* SPDX-License-Identifier: MIT */
/*
 * command: what the log's entries mean to the database, as bytes and as statements.
 *
 * The payload of an entry is the packed message of proto/command.proto that the gateway
 * made, with the leader's context (time, seed) appended: protobuf lets fields come in any
 * order, so nothing is encoded twice.  Pure; any thread.
 */
#ifndef CORE_NODE_COMMAND_H
#define CORE_NODE_COMMAND_H

#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/blob.h"
#include "core/base/err.h"
#include "core/db/db.h"
#include "core/raft/raft.h"
#include "proto/command.pb-c.h"

enum command_type {
    COMMAND_EXECUTE = RAFT_ENTRY_APP, /* ExecuteRequest */
    COMMAND_QUERY,                    /* no payload: marks the place of a strong read */
    COMMAND_SCRIPT,                   /* ScriptRequest */
    COMMAND_LOAD                      /* LoadChunk */
};

/* Append the context to a payload with CALL_SPARE bytes of room that nobody else holds
 * yet. */
void command_seal(struct blob *payload, uint64_t time_ns, uint64_t seed);

struct command {
    enum command_type type;
    uint64_t time_ns, seed;
    union {
        const Rqlite__ExecuteRequest *execute;
        const Rqlite__ScriptRequest *script;
        const Rqlite__LoadChunk *load;
    } u;
};

/* Decode a payload into the arena.  ERR_CORRUPT if it is no such message, ERR_UNSUPPORTED
 * for a type of a later version, ERR_NOMEM. */
MUST_USE enum err command_decode(struct command *out, struct arena *a, uint8_t type,
                                 const struct blob *payload, struct why *why);

/* View a query as the database takes it; it borrows from the message.  False: out of
 * memory. */
bool command_query(struct db_request *out, struct arena *a,
                   const Rqlite__QueryRequest *q);

/* View statements of a message as the database takes them; they borrow from the message.
 * NULL when out of memory. */
const struct db_stmt *command_statements(struct arena *a,
                                         Rqlite__Statement *const *statements, size_t n);

#endif
