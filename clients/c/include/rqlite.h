/* SPDX-License-Identifier: MIT */
/*
 * rqlite: a client of an rqlite cluster, on its internal protocol (the Raft port, 4002).
 *
 *     struct rqlite_options o = {.nodes = "10.0.0.1:4002,10.0.0.2:4002"};
 *     struct rqlite_param id = {.value = rqlite_integer(90)};
 *     struct rqlite_statement s = {"SELECT Name FROM Artist WHERE ArtistId = ?", &id, 1};
 *     struct rqlite_request q = {.statements = &s, .n_statements = 1};
 *     struct rqlite_error error;
 *     struct rqlite_event event;
 *     struct rqlite_call *call;
 *     struct rqlite *db;
 *
 *     if (rqlite_open(&db, &o, &error)) ...
 *     if (rqlite_query(&call, db, &q, &error)) ...
 *     while (rqlite_next(call, &event) == RQLITE_OK)
 *         if (event.kind == RQLITE_ROW) puts(event.values[0].data);
 *     if (rqlite_call_error(call)->code) ...
 *     rqlite_free(call);
 *     rqlite_close(db);
 *
 * The client finds the leader by itself and follows it when it changes; the addresses
 * that nodes advertise must be reachable from the client, since nodes do not pass its
 * calls on (unlike those of the HTTP API).  What certainly had no effect is tried again,
 * within the call's time.  A write is never applied twice: when its connection breaks,
 * the node that had it is asked for the answer, under the same call id; if that node
 * cannot tell, the call fails and its error says `unknown`.
 *
 * A call's answer is taken event by event, so that a large one costs little memory: what
 * is not taken stays with the server.  rqlite_next() waits for the next event; programs
 * with an event loop use rqlite_try_next(), rqlite_fd() and rqlite_process() instead.
 *
 * Threads: a client and its calls belong to one thread at a time; only rqlite_interrupt()
 * may be called from others.  Different clients have nothing in common.  The library
 * keeps no global state and starts a thread only to look up a name.  SIGPIPE is kept from
 * the program.  After fork(2) the child must not touch the parent's clients.
 *
 * Ownership: what is passed in is copied before a function returns.  What an event points
 * to is the library's, and valid until the next call of any function with the same call
 * or client; column names live longer, see below.
 *
 * Times are in milliseconds, sizes in bytes.  Structs are zeroed before use: zero is
 * everywhere the default.
 */
#ifndef RQLITE_H
#define RQLITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RQLITE_API __attribute__((visibility("default")))
#else
#define RQLITE_API
#endif

struct rqlite;      /* a client of one cluster; opaque */
struct rqlite_call; /* a request and its answer; opaque */

/* --- errors ----------------------------------------------------------------------- */

/* What a caller might do about it is in the code; the text is for people. */
enum rqlite_code {
    RQLITE_OK = 0,
    RQLITE_DONE,         /* rqlite_next(): the answer is complete */
    RQLITE_AGAIN,        /* rqlite_try_next(): nothing is here yet */
    RQLITE_NOMEM,        /* out of memory, here or there */
    RQLITE_INVALID,      /* wrong use; the text says what */
    RQLITE_TOO_BIG,      /* over a limit; the text says which */
    RQLITE_SQL,          /* a statement failed: SQLite's own text; rqlite_write() only */
    RQLITE_FAILED,       /* the server could not carry it out; the text is its own */
    RQLITE_BUSY,         /* the server is overloaded; try later */
    RQLITE_TIMEOUT,      /* the call's time is up */
    RQLITE_CANCELLED,    /* by rqlite_cancel() or rqlite_interrupt() */
    RQLITE_NO_LEADER,    /* nodes were reached, but none knew a leader in time */
    RQLITE_UNREACHABLE,  /* no node could be reached, or the answer broke off */
    RQLITE_STALE,        /* the node's data is older than the request allows */
    RQLITE_UNAUTHORIZED, /* user and password do not suffice */
    RQLITE_UNSUPPORTED,  /* the server is too old for that */
    RQLITE_PROTOCOL,     /* the server sent what it must not */
    RQLITE_UNKNOWN       /* a write whose outcome nobody knows */
};

struct rqlite_error {
    enum rqlite_code code;
    /* Of a write: it may have been applied, or may still be.  False: it has not been and
     * will not be.  With RQLITE_UNKNOWN always true; with RQLITE_TIMEOUT, say, both are
     * possible. */
    bool unknown;
    char text[512]; /* a sentence without final dot; "" with RQLITE_OK */
};

/* "no leader"; static, never NULL. */
RQLITE_API const char *rqlite_code_text(enum rqlite_code code);

/* --- values and statements -------------------------------------------------------- */

enum rqlite_type {
    RQLITE_NULL = 0,
    RQLITE_INTEGER,
    RQLITE_REAL,
    RQLITE_TEXT, /* any bytes, with NULs where they are */
    RQLITE_BLOB
};

struct rqlite_value {
    enum rqlite_type type;
    union {
        int64_t integer;
        double real;
        size_t len; /* TEXT and BLOB: bytes at data */
    };
    /* TEXT and BLOB; never NULL in an answer, and there a NUL follows the last byte,
     * which len does not count.  Else NULL. */
    const char *data;
};

static inline struct rqlite_value rqlite_null(void)
{
    struct rqlite_value v;
    memset(&v, 0, sizeof v);
    return v;
}
static inline struct rqlite_value rqlite_integer(int64_t integer)
{
    struct rqlite_value v = rqlite_null();
    v.type = RQLITE_INTEGER;
    v.integer = integer;
    return v;
}
static inline struct rqlite_value rqlite_real(double real)
{
    struct rqlite_value v = rqlite_null();
    v.type = RQLITE_REAL;
    v.real = real;
    return v;
}
static inline struct rqlite_value rqlite_bytes(enum rqlite_type type, const void *data,
                                               size_t len)
{
    struct rqlite_value v = rqlite_null();
    v.type = type;
    v.data = (const char *)data;
    v.len = len;
    return v;
}
static inline struct rqlite_value rqlite_text(const char *text)
{
    return rqlite_bytes(RQLITE_TEXT, text, strlen(text));
}
static inline struct rqlite_value rqlite_blob(const void *data, size_t len)
{
    return rqlite_bytes(RQLITE_BLOB, data, len);
}

struct rqlite_param {
    /* NULL: the next by position.  Else for :name, @name and $name, without the sign. */
    const char *name;
    struct rqlite_value value;
};

struct rqlite_statement {
    const char *sql; /* not empty */
    const struct rqlite_param *params;
    size_t n_params;
};

/* --- the client ------------------------------------------------------------------- */

struct rqlite_options {
    /* "host:port[,host:port...]": Raft addresses of some nodes of one cluster, at least
     * one of which has to be up when the client first looks for the leader.  A name may
     * stand for several addresses; "[v6]:port". */
    const char *nodes;
    const char *user, *password; /* NULL: none */
    int64_t timeout_ms;          /* of calls that don't say [10000]; negative: none */
    int64_t connect_timeout_ms;  /* for one node: name, TCP, TLS and greeting [2000] */

    /* TLS, for nodes with -node-cert.  Any of these turns it on, for all nodes; without,
     * everything goes in clear text.  Files are PEM, and are read again when a connection
     * is made and they have changed; what cannot be used then leaves the old in use. */
    bool tls;                       /* on, even if nothing else is needed */
    const char *tls_ca;             /* file: who signs nodes' certificates; NULL: the
                                       authorities that the system trusts */
    const char *tls_cert, *tls_key; /* files, both or neither: shown to nodes that have
                                       -node-verify-client */
    const char *tls_server_name; /* that nodes' certificates must be made for; NULL: the
                                    host of each one's address */
    bool tls_no_verify;          /* take any certificate: encrypted, but to whomever */
};

/* Make a client; it connects when there is something to do.  On RQLITE_OK the caller owns
 * *out and ends it with rqlite_close().  error may be NULL.  RQLITE_INVALID: no such form
 * of address, or a file of tls_... cannot be used; RQLITE_TOO_BIG; RQLITE_NOMEM. */
RQLITE_API enum rqlite_code rqlite_open(struct rqlite **out,
                                        const struct rqlite_options *options,
                                        struct rqlite_error *error);

/* Cancel what is under way, free every call that is left, and the client.  NULL is
 * allowed.  Not from within on_ready(). */
RQLITE_API void rqlite_close(struct rqlite *db);

/* Raft address of the node that leads, as far as the client knows; "" if it does not.
 * Borrowed until the next call of a function with db. */
RQLITE_API const char *rqlite_leader(const struct rqlite *db);

/* End every call that is under way with RQLITE_CANCELLED, at once where the client's
 * thread waits in rqlite_next().  Any thread, and from signal handlers, as long as db
 * exists. */
RQLITE_API void rqlite_interrupt(struct rqlite *db);

/* --- calls ------------------------------------------------------------------------ */

/* What a read is allowed to see. */
enum rqlite_level {
    RQLITE_WEAK = 0,     /* from the leader's database */
    RQLITE_NONE,         /* from any node's, however old */
    RQLITE_LINEARIZABLE, /* all that was acknowledged before; costs a heartbeat round */
    RQLITE_STRONG,       /* through the Raft log */
    RQLITE_AUTO          /* none on a read-only node, weak on the others */
};

struct rqlite_request {
    const struct rqlite_statement *statements; /* run in order */
    size_t n_statements;                       /* at least 1 */
    bool transaction; /* all or nothing: the first that fails ends it */

    int64_t timeout_ms;    /* of the whole call with all retries, until its last event is
                              taken; 0: the client's; negative: none */
    int64_t db_timeout_ms; /* of each statement in the database; 0: none */

    /* queries */
    enum rqlite_level level;
    int64_t freshness_ms;  /* NONE: fail with RQLITE_STALE if the node has not heard from
                              the leader for so long; 0: never */
    bool freshness_strict; /* count from when the data was committed */
    int64_t linearizable_timeout_ms; /* LINEARIZABLE: for the heartbeat round; 0: the
                                        server's */

    /* Event loops: there is something to take, for the first time, or again after
     * rqlite_try_next() gave RQLITE_AGAIN.  Called from rqlite_process(), and from
     * rqlite_next() while that waits for another call.  In it, calls may be started,
     * taken from, cancelled and freed, this one, too, but not the one that rqlite_next()
     * waits for.  May be NULL. */
    void (*on_ready)(struct rqlite_call *call, void *arg);
    void *arg;
};

/*
 * Start a call; its answer is taken with rqlite_next() or rqlite_try_next().  Neither
 * waits for anything.  On RQLITE_OK the caller owns *out and ends it with rqlite_free();
 * error (may be NULL) and the returned code are about the request alone: RQLITE_INVALID,
 * RQLITE_TOO_BIG, RQLITE_NOMEM.
 *
 * rqlite_execute() runs statements through the Raft log: writes, and reads between them,
 * which see what was written before.  rqlite_query() only reads: writes fail.
 */
RQLITE_API enum rqlite_code rqlite_execute(struct rqlite_call **out, struct rqlite *db,
                                           const struct rqlite_request *request,
                                           struct rqlite_error *error);
RQLITE_API enum rqlite_code rqlite_query(struct rqlite_call **out, struct rqlite *db,
                                         const struct rqlite_request *request,
                                         struct rqlite_error *error);

/* Run an SQL text of any number of statements, such as a dump, as one write; request
 * gives time-out and on_ready() and may be NULL.  Answered by one WRITTEN or FAILED. */
RQLITE_API enum rqlite_code rqlite_script(struct rqlite_call **out, struct rqlite *db,
                                          const char *sql, size_t len,
                                          const struct rqlite_request *request,
                                          struct rqlite_error *error);

struct rqlite_column {
    const char *name;
    const char *declared; /* type as declared, in any case; NULL: none, an expression */
};

/* Each statement has one result, in order:  ( COLUMNS ROW* ROWS_END | WRITTEN | FAILED ),
 * where FAILED may also come in place of ROWS_END. */
enum rqlite_event_kind {
    RQLITE_COLUMNS,  /* columns: a result with rows begins */
    RQLITE_ROW,      /* values, and columns */
    RQLITE_ROWS_END, /* elapsed_ns */
    RQLITE_WRITTEN,  /* last_insert_id, rows_affected, elapsed_ns */
    RQLITE_ERROR     /* text: the statement failed; rows of it that came do not count */
};

struct rqlite_event {
    enum rqlite_event_kind kind;
    size_t statement; /* whose result this is: index in the request */
    /* Valid until the next COLUMNS of the call, or its end. */
    const struct rqlite_column *columns;
    const struct rqlite_value *values;
    size_t n_columns; /* also the number of values */
    int64_t last_insert_id, rows_affected;
    uint64_t elapsed_ns; /* in the database */
    const char *text;    /* SQLite's own */
    size_t text_len;
};

/* Take the next event, waiting for it.  RQLITE_OK: *event is filled.  RQLITE_DONE: there
 * are no more.  Anything else: the call has failed, see rqlite_call_error(); what came
 * before does not count.  From within on_ready() it does not wait: RQLITE_INVALID. */
RQLITE_API enum rqlite_code rqlite_next(struct rqlite_call *call,
                                        struct rqlite_event *event);

/* The same without waiting: RQLITE_AGAIN if nothing is here; on_ready() will tell. */
RQLITE_API enum rqlite_code rqlite_try_next(struct rqlite_call *call,
                                            struct rqlite_event *event);

/* How the call ended; code RQLITE_OK before that and if it succeeded.  Borrowed until
 * rqlite_free(). */
RQLITE_API const struct rqlite_error *rqlite_call_error(const struct rqlite_call *call);

/* After the end: index of the log entry that carried the call; 0: none. */
RQLITE_API uint64_t rqlite_call_index(const struct rqlite_call *call);

/* End the call now with RQLITE_CANCELLED, and tell the server.  Does nothing once it has
 * ended. */
RQLITE_API void rqlite_cancel(struct rqlite_call *call);

/* Cancel the call if it has not ended, and free it.  NULL is allowed. */
RQLITE_API void rqlite_free(struct rqlite_call *call);

/* --- one write, waited for -------------------------------------------------------- */

struct rqlite_written {
    int64_t last_insert_id, rows_affected;
};

/* Execute one statement and wait for its result, which goes to *out (may be NULL).  A
 * statement that fails is RQLITE_SQL.  Rows of a RETURNING clause are passed over. */
RQLITE_API enum rqlite_code rqlite_write(struct rqlite *db, struct rqlite_written *out,
                                         const char *sql,
                                         const struct rqlite_param *params,
                                         size_t n_params, struct rqlite_error *error);

/* --- event loops ------------------------------------------------------------------ */

/* A descriptor that polls readable when rqlite_process() has something to do.  It stays
 * the same and is the client's: only poll it (POLLIN; level-triggered).  -1: out of
 * memory or descriptors. */
RQLITE_API int rqlite_fd(struct rqlite *db);

/* Do what can be done without waiting: read, write, connect, give up what took too long,
 * and call on_ready().  Also useful now and then in programs that only wait, to answer
 * the keep-alive pings of servers, which else close the connection after some 15 idle
 * seconds; the next call then makes a new one.  RQLITE_INVALID: from within on_ready().
 */
RQLITE_API enum rqlite_code rqlite_process(struct rqlite *db);

#ifdef __cplusplus
}
#endif

#endif
