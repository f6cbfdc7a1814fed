/* SPDX-License-Identifier: MIT */
/*
 * A cluster of raft machines on simulated time, network and disks: what its parts share.
 *
 *     sim_disk.c    a disk that syncs late and loses the rest in a crash
 *     sim_check.c   what must hold after every step
 *     sim.c         nodes, network, chaos, and the healing at the end
 *
 * The files are included by the tests, not linked: test_mutations.c builds them around a
 * raft with mistakes in it.  Everything follows from the seed.
 */
#ifndef TESTS_UNIT_RAFT_SIM_H
#define TESTS_UNIT_RAFT_SIM_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rand.h"
#include "core/raft/raft.h"

enum {
    SIM_NODES = 8,
    SIM_HEARTBEAT_MS = 100,
    SIM_LEASE_MS = 80,
    SIM_CHAOS_MS = 8000,
    SIM_CALM_MS = 30000,  /* after healing: until everybody has everything */
    SIM_STABLE_MS = 2000, /* and then nobody may campaign */
    SIM_GRANTS = 64,
    SIM_STORM = 20000 /* events under way; no run needs a tenth */
};

/* --- disk --------------------------------------------------------------------------- */

struct sim_entry {
    uint64_t term;
    uint8_t type;
    struct blob *payload;
};

struct sim_snapshot {
    uint64_t index, term, hash;
    struct raft_config config;
};

struct sim_write { /* the durable work of one step */
    uint64_t ticket;
    bool save_hard;
    uint64_t term;
    char vote[RAFT_ID_MAX + 1];
    bool reset;
    uint64_t reset_index, truncate_from, drop_before;
    uint64_t first;
    struct sim_entry *entries;
    size_t n;
    struct sim_write *next;
};

struct sim_disk {
    uint64_t term;
    char vote[RAFT_ID_MAX + 1];
    uint64_t base, last;
    struct sim_entry *log; /* base + 1 .. last */
    size_t cap;
    struct sim_snapshot snapshot;

    struct sim_write *pending, **pending_end; /* asked for, not synced */
    uint64_t synced;                          /* ticket */
    bool syncing;
};

/* --- world -------------------------------------------------------------------------- */

enum sim_kind {
    SIM_MESSAGE,
    SIM_SYNC,
    SIM_TIMER,
    SIM_APPLY,
    SIM_LOAD,
    SIM_TAKEN,
    SIM_ARRIVED, /* a snapshot, at the follower */
    SIM_CHANGE,  /* an operator who does not wait */
    SIM_CHAOS
};

struct sim_event {
    uint64_t at, order;
    enum sim_kind kind;
    int node;
    uint64_t life;                /* of the node; the event dies with it */
    struct raft_message *message; /* MESSAGE; owned, with its entries */
    uint64_t ticket;              /* SYNC, LOAD */
    int peer;                     /* LOAD, ARRIVED */
    uint64_t from;                /* LOAD */
    size_t max_bytes;
    struct sim_snapshot *snapshot; /* TAKEN, ARRIVED; owned */
    bool ok;
};

struct sim_held { /* a message that waits for our disk */
    uint64_t ticket;
    struct raft_message *message;
};

struct sim_read {
    uint64_t id, floor;
};

struct sim_node {
    char id[16];
    struct raft *r; /* NULL = down */
    uint64_t life, ticket, clock_offset;
    uint64_t deadline, timer_at,
        timer_serial; /* when to tick; the timer event on its way */
    struct sim_disk disk;
    struct sim_held held[4096];
    size_t n_held;
    uint64_t applied, hash, apply_to, commit, written_upto;
    bool applying;
    struct sim_read reads[256];
    size_t n_reads;
    struct {
        uint64_t term;
        int from;
    } grants[SIM_GRANTS];
    size_t n_grants;
};

struct sim_known { /* an entry that once was in some log */
    uint64_t term, prev_term, content;
};

struct sim_index {
    struct sim_known *known;
    size_t n, cap;
    bool committed;
    uint64_t term, commit_term, content, hash; /* if committed */
};

struct sim {
    uint64_t seed, now, order, next_value, next_read;
    struct rand rand;
    struct sim_node nodes[SIM_NODES];
    struct sim_event *heap;
    size_t n_heap, cap_heap;
    bool cut[SIM_NODES][SIM_NODES];
    bool calm;

    struct sim_index *index; /* by log index */
    size_t cap_index;
    uint64_t max_commit;
    int leader_of[4096]; /* by term; 0 = none, else node + 1 */

    /* the character of this run */
    uint32_t voters, non_voters;                 /* at first */
    uint32_t loss, duplicate, delay_ms, sync_ms; /* per mille; ms */
    uint32_t crash, partition, change, transfer, snapshot, propose, read; /* weights */
    size_t append_bytes, inflight_bytes, cache_bytes, uncommitted_bytes;

    /* statistics, so that a run which tests nothing is noticed */
    uint64_t steps, elections, commits, reads_ok, installs, changes, transfers, crashes,
        loads;

    char violation[256];
};

static bool sim_run(struct sim *w, uint64_t seed);
static void sim_free(struct sim *w);

#endif
