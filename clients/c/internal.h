/* SPDX-License-Identifier: MIT */
/*
 * What the files of the client share.
 *
 *   client.c    opening, closing, what the public functions do to calls
 *   call.c      one call: attempts, repeats, its end
 *   nodes.c     the nodes, and which of them calls go to
 *   loop.c      the private event loop, and the descriptor that stands for it
 *   request.c   statements -> messages (pure)
 *   answer.c    messages -> events (pure)
 *
 * A call on its way:
 *
 *      +--------> waiting for a node ---> with a node ---> over
 *      |                                   |   |  ^
 *      +--- pause <--- certainly not run --+   |  | repeat, there alone
 *                                              v  |
 *                                       in doubt: a write whose connection broke
 *
 * Writes carry an id (core/cluster/answers.h has the other side): session and serial.
 * Each node has its own session with us, because each keeps its own answers, and a repeat
 * only goes to the node that had the first try: elsewhere it could overtake that.
 *
 * Owner: the thread that has the client.  Nothing locks.
 */
#ifndef CLIENTS_C_INTERNAL_H
#define CLIENTS_C_INTERNAL_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "clients/c/include/rqlite.h"
#include "core/base/arena.h"
#include "core/base/blob.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/net/client.h"
#include "core/tls/tls.h"
#include "proto/command.pb-c.h"

enum { NODE_ADDRESS_MAX = FRAME_ADDR_MAX, NODES_MAX = 64 };

/* --- events out of messages (answer.c) -------------------------------------------- */

struct answer {
    const Rqlite__Results *message; /* being taken apart; borrowed.  NULL: none */
    size_t at;                      /* its next event */
    size_t statement;
    uint64_t taken; /* events given out */
    uint64_t skip;  /* of a repeated answer: so many were given out before */
    bool open;      /* columns came, their end not yet */
    bool done;      /* the last message came */
    uint64_t raft_index;

    struct arena names; /* columns and what they point to */
    struct rqlite_column *columns;
    size_t n_columns;
    struct rqlite_value *values; /* owned; room for values_cap */
    size_t values_cap;
    struct buf bytes; /* texts and blobs of a row */
};

void answer_init(struct answer *a);
void answer_fini(struct answer *a);
/* The answer begins anew, as a repetition of what it was. */
void answer_again(struct answer *a);
/* m lives until answer_next() gives RQLITE_AGAIN, or the answer is given up. */
void answer_feed(struct answer *a, const Rqlite__Results *m);
/* RQLITE_OK, RQLITE_AGAIN (no event is left), or why the call has failed. */
enum rqlite_code answer_next(struct answer *a, struct rqlite_event *out,
                             struct rqlite_error *error);

/* --- messages out of statements (request.c) --------------------------------------- */

enum call_kind { CALL_EXECUTE, CALL_QUERY, CALL_SCRIPT };

enum rqlite_code request_pack(struct blob **out, enum call_kind kind,
                              const struct rqlite_request *r, struct rqlite_error *error);
enum rqlite_code request_pack_script(struct blob **out, const char *sql, size_t len,
                                     struct rqlite_error *error);

/* --- nodes (nodes.c) -------------------------------------------------------------- */

struct node {
    struct list link; /* db->nodes; those that failed last are behind */
    struct rqlite *db;
    char address[NODE_ADDRESS_MAX + 1];
    struct net_channel *channel; /* owned; NULL until needed */
    struct net_request *probe;   /* Cluster.Info under way */
    bool asked;                  /* in this round */
    uint64_t failed_ns; /* when it last failed, and has not answered since; or 0 */

    uint64_t session, serial; /* of writes there */
    struct list writes;       /* calls with an id, by serial */
};

/* Make nodes of the list in options. */
enum rqlite_code nodes_init(struct rqlite *db, const char *list,
                            struct rqlite_error *error);
/* Every call is gone. */
void nodes_fini(struct rqlite *db);

/* Where a call should go now, or NULL: the leader is being looked for, and call_place()
 * will be called for db->waiting when a node is found. */
struct node *nodes_pick(struct rqlite *db, bool any);
enum err node_channel(struct node *n, struct why *why);
/* It could not be reached, or does not lead: look again. */
void nodes_failed(struct node *n);

/* --- calls (call.c) --------------------------------------------------------------- */

struct rqlite_call {
    struct rqlite *db;
    struct list all;     /* db->calls */
    struct list waiting; /* db->waiting, or nowhere */
    struct list ready;   /* db->ready, or nowhere */
    struct list writes;  /* node->writes, or nowhere: it has an id */
    void (*on_ready)(struct rqlite_call *call, void *arg);
    void *arg;

    enum call_kind kind;
    bool writes_data, any_node;
    struct blob *packed;  /* one reference */
    uint64_t deadline_ns; /* UINT64_MAX: none */
    struct event timer;   /* while it waits or pauses */

    struct node *node;           /* that has it, or had it last; NULL: none yet */
    struct net_request *request; /* NULL: it waits, pauses or is over */
    uint64_t serial;             /* on node; 0: none */
    bool doubt;                  /* an attempt may have had an effect */
    uint32_t pause_ms;
    struct rqlite_error last; /* how the last attempt failed */

    struct answer answer;
    bool begun;  /* a part of the answer has come */
    bool hungry; /* on_ready() is wanted */
    bool over;
    struct rqlite_error error;
};

struct rqlite_call *call_new(struct rqlite *db, enum call_kind kind, struct blob *packed,
                             const struct rqlite_request *r);
void call_free(struct rqlite_call *c);
/* Send it to a node, or let it wait for one. */
void call_place(struct rqlite_call *c);
void call_end(struct rqlite_call *c, enum rqlite_code code, bool unknown,
              const char *text);
enum rqlite_code call_take(struct rqlite_call *c, struct rqlite_event *out);

/* --- the client ------------------------------------------------------------------- */

struct rqlite {
    struct event_base *base; /* owned, as the next */
    struct net *net;
    struct tls *tls; /* owned; NULL: clear text */
    struct arena texts;
    const char *user, *password;
    int64_t timeout_ms;
    int interrupt_fd; /* an eventfd */
    struct event interrupt;
    bool interrupt_set_up;

    struct list nodes;
    struct node *target; /* where calls go; NULL: being looked for, or not yet */
    bool target_leads;
    uint64_t found_ns; /* when target was last confirmed */
    struct find {
        bool going;
        bool no_leader;   /* in this round, a node answered that it knows none */
        bool heard;       /* ... a node answered anything */
        struct node *via; /* ... a node that answered, if its leader cannot be reached */
        struct event timer; /* the next probe, or the next round */
        bool set_up;
        char text[256]; /* how the last probe failed */
    } find;

    struct list calls, waiting, ready;
    bool telling;       /* within on_ready() */
    struct loop_fd *fd; /* loop.c; NULL until rqlite_fd() */
};

static inline uint64_t now_ns(void)
{
    return clock_mono_ns(clock_real());
}

/* Fill error (may be NULL).  Returns code. */
enum rqlite_code error_set(struct rqlite_error *error, enum rqlite_code code,
                           const char *fmt, ...) PRINTF_LIKE(3, 4);
enum rqlite_code code_of(enum err e);

/* --- the loop (loop.c) ------------------------------------------------------------ */

enum rqlite_code loop_open(struct rqlite *db, struct rqlite_error *error);
void loop_close(struct rqlite *db);
/* One round; wait: until something happens. */
void loop_turn(struct rqlite *db, bool wait);
void loop_forget_interrupt(struct rqlite *db);
/* What was asked of the loop from outside has to be seen by who polls the descriptor. */
void loop_changed(struct rqlite *db);

#endif
