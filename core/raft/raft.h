/* SPDX-License-Identifier: MIT */
/*
 * raft: consensus as a pure state machine.
 *
 * One call, raft_step(): an event in, effects out.  No I/O, no clock, no threads, no
 * printing: absolute time arrives in the event, randomness is a seed given at creation,
 * the disk and the network are the caller's.  So a whole cluster runs in one process on
 * simulated time, and a failing seed replays exactly.
 *
 * The protocol is that of D. Ongaro, "Consensus: Bridging Theory and Practice" (2014):
 * elections (3.4) with pre-vote (9.6) and check-quorum (6.2), replication (3.5) pipelined
 * with a byte window (10.2.1) and back-off by conflicting term (5.3 of the paper),
 * single-server membership change (4.1-4.2) with non-voters (4.2.1), leadership transfer
 * (3.10), read-index (6.4).
 *
 * What the caller owes:
 *
 *  - effects are carried out in the order of the fields in struct raft_effects;
 *
 *  - everything under "durable" goes to the log in order, under its ticket; when it is
 *    synced, the caller reports RAFT_SYNCED with that ticket (a later ticket covers
 *    earlier ones, so some may be left out);
 *
 *  - messages in send_after leave only when the effects' ticket is synced.  They may
 *    promise durability of something that an earlier step wrote, so this holds even when
 *    this step wrote nothing;
 *
 *  - raft_step() is called again with RAFT_TICK when deadline_ms has come.
 *
 * Owner: one thread (the node's).  Nothing here locks.
 */
#ifndef CORE_RAFT_RAFT_H
#define CORE_RAFT_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/blob.h"
#include "core/base/err.h"

enum { RAFT_ID_MAX = 255, RAFT_ADDR_MAX = 261, RAFT_MEMBERS_MAX = 127 };

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

/* Types below RAFT_ENTRY_APP belong to this module; the others are the application's,
 * opaque here. */
enum raft_entry_type { RAFT_ENTRY_NOOP = 1, RAFT_ENTRY_CONFIG = 2, RAFT_ENTRY_APP = 16 };

struct raft_entry {
    uint64_t index, term;
    uint8_t type;         /* enum raft_entry_type, or RAFT_ENTRY_APP and up */
    struct blob *payload; /* NULL = no bytes.  Who holds the entry holds a reference */
};

struct raft_member {
    char id[RAFT_ID_MAX + 1];
    char addr[RAFT_ADDR_MAX + 1];
    bool voter;
};

struct raft_config {
    struct raft_member *members; /* sorted by id; owned */
    size_t n;
    uint64_t index; /* of the entry it came from; 0 = bootstrap or none */
};

void raft_config_init(struct raft_config *c);
void raft_config_fini(struct raft_config *c);
/* to has been initialised; what it held is replaced, or kept on ERR_NOMEM. */
MUST_USE enum err raft_config_copy(struct raft_config *to,
                                   const struct raft_config *from);
/* Add a member, or replace the one of the same id.  ERR_NOMEM, ERR_TOO_BIG. */
MUST_USE enum err raft_config_put(struct raft_config *c, const char *id, const char *addr,
                                  bool voter);
bool raft_config_remove(struct raft_config *c, const char *id);
const struct raft_member *raft_config_find(const struct raft_config *c, const char *id);
const struct raft_member *raft_config_find_addr(const struct raft_config *c,
                                                const char *addr);
size_t raft_config_voters(const struct raft_config *c);
/* The payload of a RAFT_ENTRY_CONFIG: version byte, count, then per member voter flag,
 * id, addr with 16-bit lengths.  NULL when out of memory. */
struct blob *raft_config_encode(const struct raft_config *c);
/* Replaces what c held.  ERR_CORRUPT and ERR_NOMEM leave it as it was. */
MUST_USE enum err raft_config_decode(struct raft_config *c, const void *data, size_t len,
                                     struct why *why);

/* --- messages ----------------------------------------------------------------------- */

enum raft_message_type {
    /* Would you vote for me in term?  Changes nothing at the receiver. */
    RAFT_MSG_PRE_VOTE = 1,
    RAFT_MSG_PRE_VOTE_REPLY,
    RAFT_MSG_VOTE,
    RAFT_MSG_VOTE_REPLY,
    /* Entries after (prev_index, prev_term); none = heartbeat. */
    RAFT_MSG_APPEND,
    RAFT_MSG_APPEND_REPLY,
    /* "My log no longer holds what you need": offer of (snap_index, snap_term); the
     * caller streams the data out of band. */
    RAFT_MSG_SNAPSHOT,
    /* Accepted = the receiver now holds the snapshot at match. */
    RAFT_MSG_SNAPSHOT_REPLY,
    /* Leadership transfer: campaign at once. */
    RAFT_MSG_TIMEOUT_NOW
};

struct raft_message {
    enum raft_message_type type;
    char to[RAFT_ID_MAX + 1], from[RAFT_ID_MAX + 1];
    uint64_t term;

    /* votes */
    uint64_t last_index, last_term; /* of the candidate's log */
    bool granted;
    bool transfer; /* VOTE: told to campaign by the leader, so leases don't count */

    /* append */
    uint64_t prev_index, prev_term, commit;
    uint64_t read;    /* position of the newest read waiting for confirmation; echoed */
    uint64_t sent_ms; /* sender's clock, echoed: contact is measured from sending */
    uint64_t hash_index,
        hash; /* effect hash at an applied index; 0 = not given; opaque */
    struct raft_entry *entries; /* borrowed until the next raft_step() of the sender; each
                                   payload may be referenced to keep it longer */
    size_t n_entries;

    /* append reply */
    bool accepted;
    uint64_t match; /* accepted: highest index known equal *and durable* here */
    uint64_t conflict_term, conflict_index; /* refused: where to look next (paper, 5.3) */

    /* snapshot */
    uint64_t snap_index, snap_term;
};

/* --- events ------------------------------------------------------------------------- */

enum raft_event_type {
    RAFT_TICK = 1, /* time passed */
    RAFT_MESSAGE,  /* u.message; borrowed, entries are referenced if kept */
    RAFT_PROPOSE,  /* u.propose: entries to append, if leader */
    RAFT_READ,     /* u.read: when may a linearizable read with this id proceed? */
    RAFT_CHANGE,   /* u.change: one membership change */
    RAFT_TRANSFER, /* u.transfer: hand leadership over */
    RAFT_SYNCED,   /* u.synced: all durable work up to this ticket is on our disk */
    RAFT_APPLIED,  /* u.applied: state machine has applied up to here */
    RAFT_LOADED, /* u.loaded: answer to an effect "load", entries from the log on disk */
    /* u.snapshot: a durable snapshot at (index, term) exists here; keep trailing entries
     * before it. */
    RAFT_SNAPSHOT_TAKEN,
    RAFT_SNAPSHOT_SENT, /* u.sent: streaming to a peer ended, ok or not */
    /* u.snapshot: one from the leader is durable here and replaces the log where the log
     * does not contain its (index, term). */
    RAFT_SNAPSHOT_INSTALLED,
    /* u.bootstrap: first configuration of a node that has none.  It becomes entry 1 of
     * term 1, so all nodes that are given one must be given the same. */
    RAFT_BOOTSTRAP,
    RAFT_PEER_LOST /* u.peer: its connection broke: stop pipelining, probe */
};

struct raft_event {
    enum raft_event_type type;
    uint64_t now_ms; /* monotonic; never less than in the step before */
    union {
        const struct raft_message *message;
        struct { /* payloads: one reference of each passes to raft, also on failure */
            const uint8_t *types;
            struct blob **payloads;
            size_t n;
        } propose;
        struct {
            uint64_t id;
        } read; /* caller's number, unique among waiting reads */
        struct {
            enum { RAFT_CHANGE_PUT, RAFT_CHANGE_REMOVE } op;
            const char *id, *addr; /* addr for put */
            bool voter;
        } change;
        struct {
            const char *id;
        } transfer; /* NULL: the most caught-up voter */
        struct {
            uint64_t ticket;
        } synced;
        struct {
            uint64_t index;
            uint64_t hash;
        } applied;
        struct {
            const char *peer;
            struct raft_entry *entries; /* references pass to raft */
            size_t n; /* 0: the log no longer has them, or reading failed */
        } loaded;
        struct {
            uint64_t index, term;
            const struct raft_config *config; /* as of index */
            uint64_t trailing;                /* taken: entries to keep before index */
        } snapshot;
        struct {
            const char *peer;
            uint64_t index;
            bool ok;
        } sent;
        struct {
            const struct raft_config *config;
        } bootstrap;
        const char *peer;
    } u;
};

/* --- effects ------------------------------------------------------------------------ */

struct raft_read_result {
    uint64_t id;
    uint64_t index; /* ok: run the read once this much is applied */
    bool ok;        /* false: leadership could not be confirmed, or was lost */
};

struct raft_load { /* read the log, answer LOADED */
    const char *peer;
    uint64_t from;
    size_t max_bytes;
};

struct raft_send_snapshot { /* stream one that ends at min_index or later; answer SENT,
                               always */
    const char *peer;
    uint64_t min_index;
};

struct raft_effects {
    /* 1. messages that may leave at once */
    struct raft_message *send_now;
    size_t n_send_now;

    /* 2. durable work, in this order, under ticket.  ticket grows with every step that
     * writes; a step that writes nothing repeats the last one. */
    uint64_t ticket;
    bool save_hard; /* term and vote below changed */
    uint64_t term;
    const char *vote; /* "" = none */
    /* Drop the whole log; it continues after reset_index (a snapshot).  Also in the first
     * step, where the log that was found does not reach the snapshot that was found. */
    bool reset_log;
    uint64_t reset_index, reset_term;
    uint64_t truncate_from;          /* drop entries >= this before appending; 0 = none */
    const struct raft_entry *append; /* borrowed until the next raft_step() */
    size_t n_append;
    uint64_t drop_before; /* entries < this are no longer needed; 0 = no change */

    /* 3. messages that must wait until ticket is synced */
    struct raft_message *send_after;
    size_t n_send_after;

    /* 4. the state machine may apply up to here: committed and durable on this disk.
     * Never less than before. */
    uint64_t apply_to;

    /* 5. reads decided by this step */
    struct raft_read_result *reads;
    size_t n_reads;

    /* 6. answers to this event.  Why nothing was done:
     *
     *   ERR_NOT_LEADER
     *   ERR_TRANSFER    leadership is being handed over
     *   ERR_BUSY        a change is under way, or the window of uncommitted bytes is full
     *   ERR_NOT_READY   a change before an entry of the own term has committed
     *   ERR_NOT_FOUND
     *   ERR_EXISTS      the change asks for what is so; there is a log already
     *   ERR_INVALID     no voter would be left; transfer to oneself or a non-voter
     *   ERR_TOO_BIG     an id, an address, or one member too many
     *   ERR_NOMEM       with out_of_memory
     */
    enum err refused;     /* PROPOSE, CHANGE, TRANSFER, BOOTSTRAP */
    uint64_t first_index; /* PROPOSE, CHANGE: index of the first entry appended */

    /* 7. work for others */
    struct raft_load *loads;
    size_t n_loads;
    struct raft_send_snapshot *snapshots;
    size_t n_snapshots;
    bool install_snapshot; /* a leader offers one: expect its stream */
    struct {
        char from[RAFT_ID_MAX + 1];
        uint64_t index, term;
    } offered;

    /* 8. what changed, for logging and for failing what waits */
    bool role_changed, leader_changed, config_changed, term_changed;
    enum { RAFT_TRANSFER_NONE, RAFT_TRANSFER_DONE, RAFT_TRANSFER_FAILED } transfer;
    bool out_of_memory; /* the node must stop: this step has no other effects, nor will
                           any later one have */

    /* 9. call RAFT_TICK no later than this; UINT64_MAX = never */
    uint64_t deadline_ms;
};

/* --- the machine -------------------------------------------------------------------- */

struct raft;

struct raft_options {
    const char *id;        /* this node */
    uint64_t seed;         /* election jitter */
    uint32_t heartbeat_ms; /* follower: election after 1-2 x this without a leader
                              (rqlite: heartbeat timeout) */
    uint32_t election_ms;  /* candidate retries after 1-2 x this */
    uint32_t lease_ms; /* leader steps down after this long without a quorum; at most, and
                          0 =, heartbeat_ms */
    uint32_t commit_ms; /* idle leader spreads the commit index after about this; 0 = with
                           the next heartbeat */
    size_t max_append_bytes;      /* of one APPEND; one entry always fits.  0 = 512 KiB */
    size_t max_inflight_bytes;    /* per peer.  0 = 4 MiB */
    size_t max_uncommitted_bytes; /* proposals beyond are ERR_BUSY.  0 = 64 MiB */
    size_t cache_bytes; /* newest entries kept in memory for followers.  0 = 16 MiB */
};

/* What was found on disk.  All zero and an empty config for a new node. */
struct raft_restored {
    uint64_t term;
    const char *vote; /* "" or NULL = none */
    bool hard_later;  /* term and vote come by raft_restore_hard() instead */
    uint64_t snapshot_index, snapshot_term;
    const struct raft_config *config; /* of the snapshot; may be NULL */
};

/* On ERR_OK the caller owns *out and ends it with raft_free(). */
MUST_USE enum err raft_new(struct raft **out, const struct raft_options *o,
                           const struct raft_restored *found, struct why *why);
void raft_free(struct raft *r); /* NULL is allowed */

/* Before the first step: the log's entries in order, from the first one kept on disk.
 * Payloads are referenced while they are cached, the newest.  ERR_CORRUPT for a gap or a
 * term that falls. */
MUST_USE enum err raft_restore(struct raft *r, const struct raft_entry *e,
                               struct why *why);

/* After the last raft_restore(): what the end of the log says of term and vote.
 * ERR_CORRUPT: an entry is of a later term. */
MUST_USE enum err raft_restore_hard(struct raft *r, uint64_t term, const char *vote,
                                    struct why *why);

/* fx and everything it points to is valid until the next call with r. */
void raft_step(struct raft *r, const struct raft_event *event, struct raft_effects *fx);

/* --- looking in; same thread -------------------------------------------------------- */

enum raft_role raft_role(const struct raft *r);
const char *
raft_role_name(enum raft_role role); /* "Follower", "Candidate" (both kinds), "Leader" */
uint64_t raft_term(const struct raft *r);
const char *raft_leader(const struct raft *r); /* id, "" if unknown */
uint64_t raft_commit(const struct raft *r);
uint64_t raft_last_index(const struct raft *r);
uint64_t raft_last_term(const struct raft *r);
uint64_t raft_first_index(
    const struct raft *r); /* first entry still in the log; last + 1 when empty */
uint64_t raft_snapshot_index(const struct raft *r);
uint64_t raft_snapshot_term(const struct raft *r);
uint64_t raft_term_of(const struct raft *r, uint64_t index); /* 0 if not known */
uint64_t
raft_noop_index(const struct raft *r); /* leader: first entry of its own term; else 0 */
/* Follower: when the leader was last heard; leader: now; 0 = never. */
uint64_t raft_last_contact_ms(const struct raft *r);
const struct raft_config *
raft_config(const struct raft *r); /* newest, committed or not */
/* In force at index; NULL if that is before the snapshot. */
const struct raft_config *raft_config_at(const struct raft *r, uint64_t index);
/* The entry if it is in the cache, else NULL (read it from the log then). */
const struct raft_entry *raft_cached(const struct raft *r, uint64_t index);

struct raft_peer_view {
    const char *id, *addr;
    bool voter;
    uint64_t match, next;
    uint64_t last_contact_ms; /* 0 = never in this term */
    bool snapshotting;
};
/* Leader only: the i-th other member; false when there are no more. */
bool raft_peer(const struct raft *r, size_t i, struct raft_peer_view *out);

/* Newest first, up to max of the last 1,000 trace records, as text; for post-mortems and
 * tests. */
size_t raft_trace(const struct raft *r, char (*out)[120], size_t max);

#endif
