/* SPDX-License-Identifier: MIT */
/*
 * What the files of core/raft share, and nobody else includes.
 *
 *     raft.c       one step: an event in, the duties of the role, effects out
 *     restore.c    from what is on disk to a machine
 *     election.c   timers, pre-vote, votes, becoming leader or follower
 *     replicate.c  the leader's half of appending
 *     append.c     the follower's half
 *     progress.c   what a leader knows of one peer
 *     quorum.c     what a majority has in common
 *     read.c       reads that wait for a confirmation
 *     transfer.c   handing leadership over
 *     member.c     changing the configuration
 *     config.c     configurations as values
 *     snapshot.c   offering, taking, installing
 *     durable.c    tickets and our own disk
 *     entries.c    the log: terms of all of it, the newest entries themselves
 *     trace.c      the last thousand things that happened
 *
 * A failed allocation anywhere sets raft.failed.  The step then returns no effects but
 * out_of_memory, and so does every later one: to its peers the node has crashed before
 * that step, which is the one kind of failure that the protocol is built for.
 */
#ifndef CORE_RAFT_INTERNAL_H
#define CORE_RAFT_INTERNAL_H

#include "core/base/arena.h"
#include "core/base/rand.h"
#include "core/raft/raft.h"

/* --- mistakes to make on purpose -------------------------------------------------
 *
 * tests/unit/raft/test_mutations.c builds this directory with RAFT_MUTATIONS and shows
 * that the simulation notices each of them.  In every other build mutation() is the
 * constant false. */

enum raft_mutations {
    RAFT_MUT_NONE,
    RAFT_MUT_VOTE_UNSAVED,       /* a vote leaves without being on disk */
    RAFT_MUT_COMMIT_OLD_TERM,    /* older terms commit by counting (paper, fig. 8) */
    RAFT_MUT_NO_PRE_VOTE,        /* candidates ask nobody before they raise the term */
    RAFT_MUT_READ_UNCONFIRMED,   /* reads are answered without asking a quorum */
    RAFT_MUT_ACK_BEFORE_SYNC,    /* a follower promises what its disk does not have */
    RAFT_MUT_ACK_OVERTAKES_SYNC, /* the same, only when the step itself wrote nothing */
    RAFT_MUT_CHANGE_TOO_EARLY    /* members change before the own term has committed */
};

#ifdef RAFT_MUTATIONS
extern enum raft_mutations raft_mutation;
static inline bool mutation(enum raft_mutations m)
{
    return raft_mutation == m;
}
#else
static inline bool mutation(enum raft_mutations m)
{
    (void)m;
    return false;
}
#endif

/* --- the log (entries.c) ------------------------------------------------------------ */

struct raft_run { /* consecutive entries of one term */
    uint64_t first, term;
};

/*
 *      dropped     only on disk      cached
 *    |---------|-----------------|-----------|
 *              base                          last        base <= snap_index <= last
 */
struct raft_log {
    uint64_t snap_index, snap_term; /* of the newest durable snapshot; 0, 0 = none */
    uint64_t base;                  /* the index before the first entry */
    uint64_t base_term;             /* 0 = not known (or base is 0) */
    uint64_t last;
    struct raft_run *runs; /* owned; in order; covers base + 1 .. last */
    size_t n_runs, cap_runs;

    struct raft_entry *ring; /* owned; the newest n_ring entries, the oldest at head */
    size_t head, n_ring, cap_ring;
    size_t ring_bytes, max_ring_bytes;
};

void log_init(struct raft_log *l, uint64_t snap_index, uint64_t snap_term,
              size_t cache_bytes);
void log_fini(struct raft_log *l);
uint64_t log_term(const struct raft_log *l,
                  uint64_t index); /* 0 = not known, and of index 0 */
bool log_knows(const struct raft_log *l,
               uint64_t index); /* may an append start after it? */
uint64_t log_run_start(const struct raft_log *l,
                       uint64_t index); /* first kept of the same term */
uint64_t log_last_upto_term(const struct raft_log *l,
                            uint64_t term); /* base when there is none */
const struct raft_entry *log_cached(const struct raft_log *l,
                                    uint64_t index); /* or NULL */
/* Append *e, whose index follows the last, and take over the caller's reference to its
 * payload, also on failure (false: out of memory, nothing changed). */
bool log_append(struct raft_log *l, const struct raft_entry *e);
void log_truncate(struct raft_log *l, uint64_t from); /* entries >= from are gone */
void log_reset(struct raft_log *l, uint64_t index, uint64_t term);
void log_drop_upto(struct raft_log *l, uint64_t base);
/* Bring the cache back to its size, by entries below keep. */
void log_evict(struct raft_log *l, uint64_t keep);

/* --- configurations (config.c, member.c) -------------------------------------------- */

struct raft_history { /* all configurations since the snapshot, oldest first; never none
                       */
    struct raft_config *at; /* owned */
    size_t n, cap;
};

/* --- a leader's view of one peer (progress.c) --------------------------------------- */

/* Appends on their way to one peer; further entries share the next one. */
enum { INFLIGHT_MAX = 256 };

/*
 *               agrees on a position              its log ends before ours begins
 *      PROBE ------------------------> PIPELINE -----------------------------+
 *        ^ ^   refuses, or is lost        |                                  v
 *        | +------------------------------+                              SNAPSHOT
 *        +-------------------------------------------------------------------+
 *                            holds the snapshot
 */
enum progress_mode {
    PROGRESS_PROBE,    /* one append at a time, to find where the logs agree */
    PROGRESS_PIPELINE, /* many, next runs ahead of match */
    PROGRESS_SNAPSHOT  /* waits for a snapshot; heartbeats say nothing about the log */
};

struct progress {
    char id[RAFT_ID_MAX + 1];
    bool voter;
    enum progress_mode mode;
    uint64_t mode_ms;     /* since when; refusals of what was sent before are old news */
    uint64_t match, next; /* match < next, always */
    uint64_t matched_ms;  /* sending time of the append that match was last proved with */
    uint64_t contact_ms;  /* newest sending time it answered to; 0 = none in this term */
    uint64_t read;        /* newest read position it has confirmed ... */
    uint64_t read_sent;   /* ... and been asked for */
    uint64_t sent_ms;     /* when it was last sent something */
    uint64_t commit_sent; /* newest commit index it was told */
    bool waiting;         /* PROBE: the probe is not answered yet */
    bool bare;            /* PROBE: no entries with the probe, agreement is doubtful */
    bool loading;         /* PIPELINE: entries are being read from disk for it */
    bool streaming;       /* SNAPSHOT: one is being sent */
    uint64_t retry_ms;    /* not before: offer a snapshot again, read from disk again */
    struct inflight {
        uint64_t last;
        size_t bytes;
    } flight[INFLIGHT_MAX]; /* a ring */
    size_t flight_head, flight_n, flight_bytes;
};

struct raft_progresses {
    struct progress *at; /* owned; the other members, by id */
    size_t n;
};

struct progress *progress_find(struct raft *r, const char *id);
/* Make the peers those of the newest configuration, keeping what is known. */
void progress_rebuild(struct raft *r);
void progress_probe(const struct raft *r, struct progress *p, uint64_t next, bool bare);
void progress_pipeline(const struct raft *r, struct progress *p);
bool progress_window_open(const struct raft *r, const struct progress *p);
void progress_sent(struct progress *p, uint64_t last, size_t bytes);
/* The peer holds everything up to match, durably. */
void progress_match(struct progress *p, uint64_t match);
uint64_t progress_due_ms(const struct raft *r, const struct progress *p);

/* --- the machine -------------------------------------------------------------------- */

struct raft_outbox {
    struct raft_message *at; /* owned */
    size_t n, cap;
};

struct raft_waiting_read {
    uint64_t id, position, index;
};

struct raft_unsynced {
    uint64_t ticket;
    uint64_t last; /* the log's end as of this ticket, as far as it still stands */
};

enum { RAFT_TRACE_MAX = 1000, RAFT_TRACE_PEER_MAX = 40 };

struct raft_trace_record {
    uint64_t now_ms, a, b;
    uint8_t what; /* enum trace_what */
    char peer[RAFT_TRACE_PEER_MAX];
};

struct raft {
    char id[RAFT_ID_MAX + 1];
    struct raft_options o; /* with defaults filled in */
    uint32_t interval_ms;  /* between heartbeats */
    struct rand rand;

    bool started, restored_any, hard_later;
    bool failed; /* out of memory: no further effects */
    uint64_t now_ms;

    /* on disk */
    uint64_t term;
    char vote[RAFT_ID_MAX + 1]; /* "" = none in this term */
    struct raft_log log;
    struct raft_history configs; /* the last one is in force, committed or not */

    /* our disk */
    uint64_t ticket;                /* newest given out */
    uint64_t synced;                /* newest reported back */
    uint64_t hard_ticket;           /* newest that term and vote were part of */
    uint64_t durable;               /* up to here, the log as it is now is on our disk */
    struct raft_unsynced *unsynced; /* owned; ring of cap_unsynced, the oldest at head */
    size_t unsynced_head, n_unsynced, cap_unsynced;

    enum raft_role role;
    char leader[RAFT_ID_MAX + 1]; /* "" = not known */
    uint64_t contact_ms;          /* when the leader was last heard; 0 = never */
    uint64_t answered_ms;   /* when it was last told that we are here, ahead of a sync */
    uint64_t timer_ms;      /* not leader: campaign at this time; UINT64_MAX = never */
    uint64_t commit;        /* <= log.last, always */
    uint64_t apply_to;      /* committed and durable here; never falls */
    uint64_t applied, hash; /* newest RAFT_APPLIED */

    /* candidates, of either kind: answers by place in the newest configuration */
    bool granted[RAFT_MEMBERS_MAX];
    uint64_t vote_ticket; /* our own vote counts when this is synced */

    /* leader */
    struct raft_progresses peers;
    uint64_t since_ms;        /* of the election */
    uint64_t noop;            /* first entry of the own term; 0 = not leader */
    size_t uncommitted_bytes; /* of entries >= noop and > commit */
    uint64_t read_position;   /* of the newest read */
    uint64_t read_round;     /* newest position that a round of heartbeats was sent for */
    uint64_t read_confirmed; /* newest position that a quorum has confirmed */
    uint64_t lease_end_ms;   /* step down then, unless a quorum is heard */
    struct raft_waiting_read *reads; /* owned; by position */
    size_t n_reads, cap_reads;
    struct {
        char to[RAFT_ID_MAX + 1]; /* "" = none under way */
        uint64_t deadline_ms;
        uint64_t told_ms; /* when TIMEOUT_NOW was last sent; 0 = not yet */
    } transfer;

    /* the step being made */
    struct raft_effects *fx;
    bool writes, saves_hard; /* there is durable work; term and vote are part of it */
    uint64_t append_from;    /* entries >= this were appended; 0 = none */
    enum raft_role was_role;
    uint64_t was_term;
    char was_leader[RAFT_ID_MAX + 1];
    struct raft_outbox now, after;
    struct arena arena; /* arrays of the effects */
    struct blob **held; /* owned; references kept until the next step */
    size_t n_held, cap_held;
    struct raft_read_result *results; /* owned */
    size_t cap_results;
    struct raft_load *loads; /* owned */
    size_t cap_loads;
    struct raft_send_snapshot *sends; /* owned */
    size_t cap_sends;

    struct raft_trace_record *trace; /* owned; ring of RAFT_TRACE_MAX */
    uint64_t traced;                 /* records ever made */
};

/* --- raft.c ------------------------------------------------------------------------- */

/* Room for one more item; false and r->failed when out of memory. */
bool raft_room(struct raft *r, void *array, size_t *cap, size_t n, size_t item_size);
/* A new message in box, addressed and with our term; NULL when out of memory. */
struct raft_message *raft_post(struct raft *r, struct raft_outbox *box,
                               enum raft_message_type type, const char *to);
/* Append to the log; takes the reference to payload.  False when out of memory. */
bool raft_append_entry(struct raft *r, uint64_t term, uint8_t type, struct blob *payload);
void raft_commit_to(struct raft *r, uint64_t index);
void raft_copy_id(char to[RAFT_ID_MAX + 1], const char *from);

/* --- restore.c ---------------------------------------------------------------------- */

void restore_finish(
    struct raft *r); /* in the first step: the log that was found is complete */

/* --- durable.c ---------------------------------------------------------------------- */

uint64_t durable_write(struct raft *r); /* this step writes: the ticket it will have */
uint64_t
durable_save_hard(struct raft *r);     /* the same, and term and vote are part of it */
bool durable_end_step(struct raft *r); /* give out the ticket */
void durable_synced(struct raft *r, uint64_t ticket);
void durable_cut(struct raft *r,
                 uint64_t last); /* what was written beyond last is void */
void durable_reset(struct raft *r,
                   uint64_t index); /* a durable snapshot stands for the log */

/* --- election.c --------------------------------------------------------------------- */

void election_start(struct raft *r);  /* the first step */
void election_settle(struct raft *r); /* timers, and votes that may now count */
void election_campaign(struct raft *r, bool transfer);
/* Become or stay a follower in term (>= ours) of leader ("" = not known). */
void election_follow(struct raft *r, uint64_t term, const char *leader);
void election_heard_leader(struct raft *r, const char *leader);
void election_config_changed(struct raft *r);
bool election_hears_leader(const struct raft *r);
void election_on_pre_vote(struct raft *r, const struct raft_message *m);
void election_on_pre_vote_reply(struct raft *r, const struct raft_message *m);
void election_on_vote(struct raft *r, const struct raft_message *m);
void election_on_vote_reply(struct raft *r, const struct raft_message *m);

/* --- replicate.c, append.c, snapshot.c ---------------------------------------------- */

void replicate_push(struct raft *r, struct progress *p); /* whatever may be sent now */
void replicate_heartbeat(struct raft *r, struct progress *p);
void replicate_on_reply(struct raft *r, struct progress *p, const struct raft_message *m);
void replicate_on_loaded(struct raft *r, const struct raft_event *e);
void replicate_on_peer_lost(struct raft *r, const char *peer);
enum err replicate_propose(struct raft *r, const struct raft_event *e);

bool append_message_valid(const struct raft_message *m);
void append_on_message(struct raft *r, const struct raft_message *m);
void append_refuse_stale(struct raft *r, const struct raft_message *m);

void snapshot_wanted(struct raft *r,
                     struct progress *p); /* its log ends before ours begins */
void snapshot_push(struct raft *r, struct progress *p);
void snapshot_on_offer(struct raft *r, const struct raft_message *m);
void snapshot_on_reply(struct raft *r, struct progress *p, const struct raft_message *m);
void snapshot_on_sent(struct raft *r, const char *peer, uint64_t index, bool ok);
void snapshot_on_taken(struct raft *r, const struct raft_event *e);
void snapshot_on_installed(struct raft *r, const struct raft_event *e);

/* --- quorum.c ----------------------------------------------------------------------- */

struct quorum { /* what a majority of the voters has reached */
    uint64_t match, read, contact_ms;
};
struct quorum quorum_reached(const struct raft *r);

/* --- read.c ------------------------------------------------------------------------- */

void read_ask(struct raft *r, uint64_t id);
void read_confirm(struct raft *r, uint64_t position);
void read_start_round(struct raft *r);
void read_fail_all(struct raft *r);

/* --- member.c ----------------------------------------------------------------------- */

const struct raft_config *member_config(const struct raft *r); /* the newest */
bool member_is_voter(const struct raft *r, const char *id);
bool member_may_campaign(const struct raft *r);
bool member_alone(const struct raft *r); /* we are the only voter */
enum err member_change(struct raft *r, const struct raft_event *e);
enum err member_bootstrap(struct raft *r, const struct raft_config *c);
bool member_appended(struct raft *r, uint64_t index, const struct blob *payload);
void member_truncated(struct raft *r, uint64_t from);
bool member_reset(struct raft *r,
                  const struct raft_config *c); /* a snapshot's, instead of all */
void member_forget_before(struct raft *r, uint64_t index);

/* --- transfer.c --------------------------------------------------------------------- */

enum err transfer_start(struct raft *r, const char *to);
void transfer_settle(struct raft *r);
void transfer_end(struct raft *r, bool done);
bool transfer_active(const struct raft *r);
void transfer_farewell(
    struct raft *r); /* we leave the cluster: wake the best successor */
void transfer_on_timeout_now(struct raft *r, const struct raft_message *m);

/* --- trace.c ------------------------------------------------------------------------ */

enum trace_what {
    TRACE_STARTED,
    TRACE_PRE_CANDIDATE,
    TRACE_CANDIDATE,
    TRACE_LEADER,
    TRACE_FOLLOWS,
    TRACE_NO_LEADER,
    TRACE_TERM,
    TRACE_VOTED,
    TRACE_VOTE_REFUSED,
    TRACE_LEASE_LOST,
    TRACE_REMOVED,
    TRACE_APPEND_REFUSED,
    TRACE_BACKED_OFF,
    TRACE_LOG_LOST,
    TRACE_TRUNCATED,
    TRACE_RESET,
    TRACE_CONFIG,
    TRACE_CONFIG_REVERTED,
    TRACE_SNAPSHOT_WANTED,
    TRACE_SNAPSHOT_OFFERED,
    TRACE_SNAPSHOT_TAKEN,
    TRACE_SNAPSHOT_INSTALLED,
    TRACE_TRANSFER,
    TRACE_TIMEOUT_NOW,
    TRACE_TRANSFER_ENDED,
    TRACE_PEER_LOST,
    TRACE_NONSENSE,
    TRACE_NO_MEMORY
};
void trace(struct raft *r, enum trace_what what, const char *peer, uint64_t a,
           uint64_t b);

#endif
