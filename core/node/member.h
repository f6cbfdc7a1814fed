/* SPDX-License-Identifier: MIT */
/*
 * member: one Raft member's decisions, and what waits for them.
 *
 * Around raft_step() it keeps the calls that wait for their entry to be applied, the
 * reads that wait for a position, and how far the state machine has been fed.  It acts
 * only through its ports, so the same code runs on threads (node.c) and in the simulator.
 * Time arrives as an argument.
 *
 * Owner: the node thread.
 */
#ifndef CORE_NODE_MEMBER_H
#define CORE_NODE_MEMBER_H

#include "core/node/applier.h"
#include "core/node/call.h"
#include "core/node/walworker.h"
#include "core/raft/raft.h"

struct member; /* opaque */

/* What a member asks of its host.  Jobs pass to the host, which brings wal jobs back by
 * member_wal_done(). */
struct member_ports {
    void (*to_wal)(void *host, struct wal_job *job);
    void (*to_apply)(void *host, struct apply_job *job);
    void (*send)(void *host, const struct raft_message *messages,
                 size_t n); /* borrowed; copies what it keeps */
    void (*changed)(void *host,
                    const struct raft_effects
                        *fx); /* role, leader or configuration: publish and log */
    void (*send_snapshot)(void *host, const char *peer, uint64_t min_index);
    void (*expect_snapshot)(void *host, const char *from, uint64_t index, uint64_t term);
    void (*fatal)(void *host,
                  const struct why *why); /* the node must stop; called at most once */
    void (*cut)(void *host);              /* see member_cut(); may be NULL */
    uint64_t (*wall_ns)(void *host);
    uint64_t (*random)(void *host);
};

struct member_options {
    const struct member_ports *ports;
    void *host;
    uint32_t
        apply_timeout_ms; /* longest wait of a proposal before it is taken into the log */
};

/* r is borrowed and not stepped by anybody else. */
MUST_USE enum err member_new(struct member **out, struct raft *r,
                             const struct member_options *o, struct why *why);
/* Every waiting call has been failed before (member_stop()). */
void member_free(struct member *m); /* NULL is allowed */

/* Queue a proposal; member_flush() takes all that are queued into the log in one step.
 * c->request or, for a strong read, nothing is the payload. */
void member_propose(struct member *m, struct call_execute *c, uint8_t type,
                    uint64_t now_ms);
void member_propose_query(struct member *m, struct call_query *c, uint64_t now_ms);
void member_flush(struct member *m, uint64_t now_ms);

/* The next three end in c->resume(c, host), possibly at once, or in c->done() with an
 * error: ERR_NOT_LEADER, ERR_NO_LEADER, or ERR_TIMEOUT when timeout_ms have passed
 * ("index 48: timeout waiting for fsm"). */

/* A linearizable read (dissertation, 6.4). */
void member_read(struct member *m, struct call *c, uint64_t timeout_ms, uint64_t now_ms);
/* Wait until everything from before this leader's term is applied: until then its state
 * may lack what was acknowledged. */
void member_wait_ready(struct member *m, struct call *c, uint64_t timeout_ms,
                       uint64_t now_ms);
/* Wait until index is applied; needs no leader. */
void member_wait_applied(struct member *m, struct call *c, uint64_t index,
                         uint64_t timeout_ms, uint64_t now_ms);

void member_message(struct member *m, const struct raft_message *msg, uint64_t now_ms);
void member_peer_lost(struct member *m, const char *id, uint64_t now_ms);
void member_wal_done(struct member *m, struct wal_job *job,
                     uint64_t now_ms); /* takes the job back */
void member_applied(struct member *m, uint64_t index, uint64_t hash, uint64_t now_ms);
void member_tick(struct member *m, uint64_t now_ms);
/* Membership change, transfer, bootstrap: refused at once with the code, or under way;
 * done tells nothing more here. *index is the entry's. */
enum err member_change_config(struct member *m, bool put, const char *id,
                              const char *addr, bool voter, uint64_t *index,
                              uint64_t now_ms);
enum err member_transfer(struct member *m, const char *id, uint64_t now_ms);
enum err member_bootstrap_config(struct member *m, const struct raft_config *c,
                                 uint64_t now_ms);

/* A durable snapshot of ours stands for everything up to index; entries before it, but
 * for the last trailing ones, may go. */
void member_snapshot_taken(struct member *m, uint64_t index, uint64_t term,
                           const struct raft_config *c, uint64_t trailing,
                           uint64_t now_ms);
/* One from the leader is durable here.  job restores it (to_apply) unless the state
 * machine is past it already: then it is freed and false is returned. */
bool member_snapshot_installed(struct member *m, uint64_t index, uint64_t term,
                               const struct raft_config *c, struct apply_job *job,
                               uint64_t now_ms);
/* Streaming to a peer ended. */
void member_snapshot_sent(struct member *m, const char *peer, uint64_t index, bool ok,
                          uint64_t now_ms);
/* Have job done exactly after the entries handed over so far, of which this is the last.
 */
void member_pin(struct member *m, struct apply_job *job);
uint64_t member_handed_over(const struct member *m);

/* Once exactly the entries up to index have been handed over, and before more are, call
 * cut(), which may pin something there.  Nothing if they have been already. */
void member_cut(struct member *m, uint64_t index);

/* The state machine failed: as member_ports.fatal, which is called. */
void member_fail(struct member *m, const struct why *why);

/* Take no more part in the cluster; what is applied stays readable. */
void member_halt(struct member *m);

/* Fail everything that waits with code; nothing is taken afterwards. */
void member_stop(struct member *m, enum err code, const char *text);

uint64_t member_deadline_ms(const struct member *m); /* call member_tick() no later */
bool member_caught_up(
    const struct member *m); /* leader: what was committed before its term is applied */
uint64_t member_applied_index(const struct member *m);
/* Does something wait for entries to be applied?  Else member_applied() may be late. */
bool member_wants_applied(const struct member *m);
/* When the strong read at this index has been answered: linearizable reads of its term
 * need no upgrade any more (HTTP API 7.1). */
uint64_t member_strong_read_term(const struct member *m);

#endif
