/* SPDX-License-Identifier: MIT */
/*
 * raft_wire: Raft's messages as bytes of Rqlite__RaftMessage, and back.
 *
 * Pure; any thread.  What arrives is checked here: after raft_wire_decode() ids are short
 * enough, types and numbers are in range, entries follow one another.
 */
#ifndef CORE_NODE_RAFT_WIRE_H
#define CORE_NODE_RAFT_WIRE_H

#include "core/base/arena.h"
#include "core/raft/raft.h"
#include "proto/raft.pb-c.h"

struct evbuffer;

/* Entries in one message: what a receiver accepts, far over what a sender makes. */
enum { RAFT_WIRE_ENTRIES_MAX = 1 << 16 };

/* Append m, packed, to out.  Large payloads are referenced until they are written, small
 * ones copied.  False when out of memory: what is in out is of no use then. */
MUST_USE bool raft_wire_encode(struct evbuffer *out, const struct raft_message *m);

/* Translate what net decoded.  Payloads are copied into blobs; entries and message are in
 * a.  On ERR_OK the caller drops the blobs with raft_wire_release().  ERR_CORRUPT,
 * ERR_NOMEM: nothing to release. */
MUST_USE enum err raft_wire_decode(struct raft_message *out, struct arena *a,
                                   const Rqlite__RaftMessage *in, struct why *why);

/* Drop the references to payloads that m's entries hold. */
void raft_wire_release(struct raft_message *m);

#endif
