/* SPDX-License-Identifier: MIT */
/*
 * call: one request to the database while it is being served.
 *
 * Whoever calls allocates the call (in its request's arena), fills the inputs, starts it
 * and leaves it alone until done() is called, exactly once, on any thread.  Then the call
 * is the caller's again and why says how it ended.  Everything an input points to stays
 * valid and unchanged until then.
 *
 * The calls are the services of proto/cluster.proto plus what only concerns this node.
 */
#ifndef CORE_NODE_CALL_H
#define CORE_NODE_CALL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/blob.h"
#include "core/base/err.h"
#include "core/base/mailbox.h"
#include "core/db/db.h"
#include "core/db/sink.h"
#include "proto/cluster.pb-c.h"
#include "proto/command.pb-c.h"

enum {
    CALL_SPARE =
        32, /* bytes to leave behind a packed request for the leader's context fields */
    CALL_ADDR_MAX = 300,
    CALL_ENTRY_MAX = 240 << 20, /* bytes of a request for the log: with what is around it,
                                   it has to fit into one message to another node */
    CALL_STEPS_PER_MS =
        20000 /* VM steps that stand for a millisecond of db_timeout on the write path:
                 about what a 2020s core does, so that the limit means what it says */
};

/* The budget that a db_timeout becomes in a log entry (design 6.2): 0 for none, never 0
 * for some. */
static inline uint64_t call_max_steps(int64_t db_timeout_ns)
{
    if (db_timeout_ns <= 0) return 0;
    return (uint64_t)db_timeout_ns / 1000000 * CALL_STEPS_PER_MS +
           (uint64_t)db_timeout_ns % 1000000 * CALL_STEPS_PER_MS / 1000000 + 1;
}

struct cluster;
struct db_reader;

struct reader_job { /* something for a reader's thread to do (readers.h) */
    struct reader_job *next;
    uint64_t since_ns;
    bool waited;                /* no thread was idle when it came */
    const atomic_bool *awaited; /* while it runs: do others wait for its thread? */
    /* The job is the callee's.  r is NULL if no connection could be opened. */
    void (*run)(struct reader_job *j, struct db_reader *r);
};

struct call {
    /* For whoever has the call; its caller leaves them alone. */
    struct mail mail;
    struct reader_job job;
    struct call *next; /* its place in a list */
    void *owner;       /* the node that has it */
    uint64_t since_ms; /* when it began to wait */
    uint64_t wait_index, wait_until_ms, read_id;
    void (*resume)(struct call *c, void *owner); /* wait_index has been applied */
    struct {
        struct cluster *cluster;
        void (*done)(struct call *c); /* the caller's */
        uint8_t kind, moves;
    } outer; /* while core/cluster looks at the end first */

    void (*done)(struct call *c); /* any thread; must not block */
    atomic_bool cancelled;        /* the caller left: stop early where that is cheap */

    /* inputs for calls that may be forwarded */
    const char *user, *password; /* of the HTTP request; NULL = none */
    int64_t timeout_ns;          /* per exchange with another node; 0 = 30 s */
    int retries;
    bool redirect;  /* do not forward: fail with ERR_NOT_LEADER and leader_url */
    bool no_leader; /* noleader: serve locally even without a leader */
    bool
        own_authority; /* a batch of queued writes: the permission was checked on entry */

    /* results */
    struct why why; /* code ERR_OK = the call was carried out; statement errors are in the
                       sink */
    bool top_level; /* failed, and shown as a top-level error with status 200 (HTTP
                       API 7.5) */
    char served_by[CALL_ADDR_MAX];  /* for X-Rqlite-Served-By; "" = don't send */
    char leader_url[CALL_ADDR_MAX]; /* with redirect: "http://host:4001" */
};

struct call_execute { /* POST /db/execute; also a batch of queued writes */
    struct call call;
    struct blob *request; /* packed ExecuteRequest with CALL_SPARE behind it; one
                             reference, passes to the callee */
    struct row_sink *sink;
    uint64_t raft_index; /* result */
    uint8_t entry_type;  /* callee's, as the next */
    struct blob *kept;   /* core/cluster's reference to the request */
};

struct call_query { /* /db/query; and /db/request with rows set: then it may turn out to
                       write */
    struct call call;
    Rqlite__QueryRequest *request; /* borrowed until done */
    struct arena *arena; /* the request's; the callee may allocate from it until done */
    struct row_sink *sink;
    uint64_t raft_index; /* result: set if it went through the log */
    bool went_through_log;
    struct call_execute
        write; /* callee's, when it turns out to write or goes through the log */
};

struct call_analyze { /* /db/sql */
    struct call call;
    const char *const *sql;
    size_t n;
    char (*errors)[256]; /* n of them, the caller's; "" = fine */
};

struct call_load { /* POST /db/load */
    struct call call;
    bool script; /* SQL text, else a SQLite file */
    int fd;      /* scratch file with the body, at any offset; the caller's */
    uint64_t size;
    struct row_sink *sink; /* script: its one result */
    uint64_t raft_index;
};

struct call_snapshot { /* POST /snapshot: ERR_NOTHING = 204 */
    struct call call;
    uint64_t trailing; /* 0 = the node's setting */
};

struct call_boot { /* POST /boot */
    struct call call;
    int fd;
    uint64_t size;
    struct call_load load;         /* callee's */
    struct call_snapshot snapshot; /* callee's */
};

struct call_backup { /* GET /db/backup */
    struct call call;
    enum db_backup_format format;
    const char *const *tables; /* NULL-terminated, may be NULL */
    int fd; /* result: an unlinked scratch file with the backup; the caller closes it */
    uint64_t size;
};

struct node_view { /* HTTP API 11.1; texts in the call's arena */
    const char *id, *api_addr, *addr, *version,
        *error; /* api_addr with scheme; "" = leave out */
    bool voter, reachable, leader;
    uint64_t time_ns;
};

struct call_nodes { /* GET /nodes, GET /leader */
    struct call call;
    struct arena *arena;
    bool nonvoters, leader_only;
    struct node_view *nodes; /* result, sorted by id */
    size_t n;
    size_t waiting_for; /* callee's */
};

enum ready_stage {
    READY_OK,
    READY_NO_LEADER,
    READY_LEADER_UNREACHABLE,
    READY_STORE,
    READY_SYNC,
    READY_DB
};

struct call_ready {   /* GET /readyz */
    struct call call; /* no_leader, timeout_ns (0 = 1.5 s) */
    bool sync;
    uint64_t sync_index; /* with sync: the leader's commit index, if known */
    enum ready_stage
        stage; /* result: the first check that failed; the cause is in why.text */
};

struct call_change { /* of membership, on the leader */
    struct call call;
    bool put; /* add or replace, else remove */
    const char *id, *addr;
    bool voter;
    uint64_t index, term; /* callee's: of its entry */
};

struct call_remove { /* DELETE /remove */
    struct call call;
    const char *id;
    struct call_change change; /* callee's */
};

struct call_step_down { /* POST /leader */
    struct call call;
    const char *id; /* NULL = any voter */
    bool wait;
};

struct call_reap { /* POST /reap */
    struct call call;
    uint64_t snapshots_reaped, wals_checkpointed;
};

struct call_status { /* GET /status, all but "http" */
    struct call call;
    struct doc *into; /* an object */
    bool figures;     /* also store.figures, for /metrics */
};

struct call_join { /* POST /join and /notify of v5-v7 */
    struct call call;
    const char *id, *addr;
    bool voter, notify;
};

#endif
