/* SPDX-License-Identifier: MIT */
/*
 * sim: whole clusters in one process, on simulated clocks, disks and network.
 *
 * The code under test is the real one: core/raft, core/wal, core/snapshot, core/db and of
 * core/node everything that does not know of threads and sockets.  A host here stands
 * where node.c stands in a real node.
 *
 *     world.c      time, events in order, the transcript
 *     host.c       one node: its threads as queues with delays, its restarts
 *     network.c    messages and snapshot streams between hosts
 *     client.c     what clients ask, and what they may believe afterwards
 *     check.c      what must hold after every step
 *     chaos.c      a random run: a character, bad luck, then calm and progress
 *     scenario.c   readable stories with a recorded end
 *     main.c       many seeds, one seed, scenarios, mutations
 *
 * Everything follows from the seed.  Time is in microseconds.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/list.h"
#include "core/base/rand.h"
#include "core/node/images.h"
#include "core/node/member.h"
#include "core/node/restart.h"
#include "tests/lib/faulty_io.h"

enum {
    HOSTS = 8,
    CLIENTS = 8,
    KEYS = 4,
    HEARTBEAT_MS = 100,
    LEASE_MS = 80,
    GRANTS = 64,
    TERMS_MAX = 4096,
    MS = 1000 /* microseconds */
};

struct sim;
struct host;
struct op;
struct stream;

/* --- world.c ------------------------------------------------------------------- */

struct event {
    uint64_t at, order;
    struct host *host; /* whose it is; NULL = the world's */
    uint64_t life;     /* of the host: it dies with it */
    void (*run)(struct sim *w, struct event *e);
    void (*drop)(struct event *e); /* when the host is gone; NULL = nothing to free */
    void *arg;
    uint64_t number;
};

void sim_post(struct sim *w, uint64_t delay_us, struct event e);
/* The same for a host; the event dies with it. */
void host_post(struct host *h, uint64_t delay_us,
               void (*run)(struct sim *w, struct event *e), void (*drop)(struct event *e),
               void *arg);
void sim_drop_events(struct sim *w, struct host *h);
void sim_run_until(struct sim *w, uint64_t end);

uint64_t sim_below(struct sim *w, uint64_t n); /* n = 0 gives 0 */
bool sim_chance(struct sim *w, uint32_t per_mille);

/* A line of the transcript; h may be NULL.  level 0: a story's; 1: a trace's. */
void sim_say(struct sim *w, int level, const struct host *h, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void sim_violated(struct sim *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
uint64_t sim_mix(uint64_t h, uint64_t x);

/* --- host.c -------------------------------------------------------------------- */

struct queue {
    struct mail *first, **end;
};

struct host {
    struct sim *w;
    int number; /* from 1 */
    char id[8], addr[16], dir[100], scratch[110];
    struct faulty *disk; /* owned; outlives the process */
    bool up, failed, member_of_story;
    uint64_t life, paused_until;

    struct snapshot_store *store; /* owned, as what follows, while it is up */
    struct wal *wal;
    struct raft *raft;
    struct db *db;
    struct applier *applier;
    struct db_reader *reader;
    struct member *member;
    struct images *images;

    struct queue wal_queue, own_jobs, apply_queue;
    struct batch *batch; /* of jobs the wal thread is at */
    bool wal_busy, apply_busy, slow_disk, turn_posted;
    bool disk_held; /* by a story: what the wal thread is given stays there */
    size_t at_wal;
    uint64_t wal_back_at; /* reports of the wal thread stay in order */
    struct {
        uint64_t index, hash;
    } published;
    bool is_leader, caught_up; /* as other threads see it */
    uint64_t timer_at, timer_serial;

    int64_t clock_offset_us, clock_ppm, wall_offset_us;
    uint64_t started_at, last_wall, last_ms;
    struct rand rand;

    /* for the checks */
    uint64_t commit, term, applied;
    enum raft_role role;
    struct {
        uint64_t term;
        int from;
    } grants[GRANTS];
    size_t n_grants;
    bool told; /* to campaign, by the message being stepped */
    char leader[RAFT_ID_MAX + 1];
};

void host_init(struct sim *w, int number);
void host_free(struct host *h);
/* false: it could not, and is down (a disk that died meanwhile). */
bool host_start(struct host *h);
enum host_end { HOST_POWER, HOST_KILL, HOST_STOP };
void host_end(struct host *h, enum host_end how);
struct host *host_find(struct sim *w, const char *id);
uint64_t host_now_ms(struct host *h);
void host_turn_end(struct host *h);
void host_turn_end_soon(struct host *h);
void host_note_applied(struct host *h);
void host_execute(struct host *h, struct call_execute *c);
void host_query(struct host *h, struct call_query *c);
void host_snapshot(struct host *h, uint64_t trailing);
void host_hurry(struct host *h, uint64_t ms); /* its clock jumps ahead */
void host_hold_disk(struct host *h, bool hold);

/* --- network.c ----------------------------------------------------------------- */

void network_send(struct host *from, const struct raft_message *m);
enum err network_stream(struct host *from, const char *peer, uint64_t min_index,
                        struct why *why);
void network_received(struct host *to, void *user, const struct why *why);
void network_host_ended(struct host *h);
void network_free(struct sim *w);

/* --- client.c ------------------------------------------------------------------ */

enum op_kind { OP_SETUP, OP_APPEND, OP_COUNT, OP_READ };
enum op_state {
    OP_OPEN,
    OP_DONE,
    OP_REFUSED, /* it has not happened and never will */
    OP_UNKNOWN
};

struct op {
    uint64_t id; /* place in sim.ops, from 1 */
    enum op_kind kind;
    enum op_state state;
    int client, key;
    struct host *host;
    Rqlite__Level level;
    uint64_t begun, ended;
    size_t floor, floor_acks; /* read: what it must see, of struct seen as it began */
    size_t place;             /* write: in the order of its key, from 1; 0 = not seen */
    char text[200];           /* of the answer */
};

struct seen { /* what is known of a key: the order of its writes, which only grows */
    uint64_t *ids;
    size_t n, cap;
    size_t floor;    /* what a read that begins now must see */
    uint64_t *acked; /* in the order in which the clients learned of it */
    size_t n_acked, cap_acked;
};

struct op *client_begin(struct sim *w, int client, struct host *h, enum op_kind kind,
                        int key, Rqlite__Level level);
/* A read of the database is made: may it be, yet? */
void client_check_read(struct host *h, const struct call_query *c);
void client_chaos(struct sim *w, bool read); /* a client with nothing to do asks for it */
/* On a host that has everything: was everything done that was acknowledged, and nothing
 * twice? */
void client_check_end(struct sim *w, struct host *h);
void client_free(struct sim *w);
/* Everything in the database, as one number. */
uint64_t client_dump(struct host *h);

/* --- check.c ------------------------------------------------------------------- */

struct known { /* an entry that once was in some log */
    uint64_t term, prev_term, content;
};

struct slot { /* of the log, by index */
    struct known *known;
    size_t n, cap;
    bool committed, hashed, dumped;
    uint64_t term, commit_term, content; /* if committed */
    uint64_t hash;                       /* of effects, if hashed */
    uint64_t dump;                       /* of the content, if dumped */
};

void check_persist(struct host *h, const struct wal_job *job);
void check_turn(struct host *h);
void check_apply(struct host *h, const struct apply_job *job);
void check_applied(struct host *h, uint64_t index, uint64_t hash);
/* Everything in h's database, which is that of index. */
void check_content(struct host *h, uint64_t index);
void check_free(struct sim *w);

/* --- the world ----------------------------------------------------------------- */

struct character { /* of a run */
    uint32_t voters, non_voters;
    uint32_t loss, duplicate, quick; /* per mille; quick: of the disk's work */
    uint32_t delay_us, sync_us, apply_us;
    uint32_t propose, read, crash, partition, change, transfer, snapshot, pause, disk,
        stream_cut;  /* weights */
    uint32_t meddle; /* per mille: of elections that something follows at once */
    uint32_t skew_ppm, trailing, segment_bytes, piece_pages;
    uint32_t append_bytes, inflight_bytes, cache_bytes, uncommitted_bytes;
    uint32_t chaos_ms;
};

struct sim_stats {
    uint64_t steps, elections, commits, writes, reads, unknown, taken, deltas, folds,
        resumed, installs, changes, transfers, crashes, kills, disk_deaths, disk_errors,
        restarts, torn, messages;
};

struct sim {
    uint64_t seed, now, order, digest;
    struct rand rand;
    struct host hosts[HOSTS];
    struct event *heap;
    size_t n_heap, cap_heap;
    bool cut[HOSTS][HOSTS], calm, story;
    struct host *candidate; /* of a story: nobody else's timer makes it campaign */
    struct character c;
    uint64_t max_steps;

    struct stream *streams;
    struct op **ops; /* owned; ops[id - 1] */
    size_t n_ops, cap_ops;
    struct op *clients[CLIENTS]; /* what each waits for */
    bool set_up;
    struct seen seen[KEYS];

    struct slot *slots; /* by index */
    size_t cap_slots;
    uint64_t max_commit;
    int leader_of[TERMS_MAX]; /* by term; 0 = none, else the host's number */

    struct sim_stats stats;
    int trace; /* lines up to this level are printed */
    FILE *out; /* where to */
    char root[80];
    char violation[400];
};

/* Start with the c given; nothing happens yet. */
void sim_init(struct sim *w, uint64_t seed, const char *root);
void sim_free(struct sim *w);
void sim_bootstrap(struct sim *w, bool everywhere);
struct host *sim_leader(struct sim *w);

/* --- chaos.c, scenario.c ------------------------------------------------------- */

bool chaos_run(struct sim *w, const char *root, uint64_t seed, uint32_t nodes,
               uint64_t steps, int trace);
void chaos_calm(struct sim *w);
void chaos_elected(struct host *h); /* it leads for the first time in its term */
bool chaos_converge(struct sim *w, uint64_t within_ms);
/* Number of scenarios that did not come out as recorded; *n counts all. */
size_t scenario_run_all(const char *root, const char *dir, const char *match, bool update,
                        size_t *n);

#endif
