/* SPDX-License-Identifier: MIT */
/*
 * db: the SQLite database of one node, driven so that replicas cannot diverge.
 *
 * One write connection, fed in log order by the apply thread; any number of readers, one
 * thread each, that never block it and that it never blocks.  In memory our own VFS keeps
 * main file, WAL and shared-memory index on the heap; on disk it is the ordinary unix VFS
 * in WAL mode, so that other programs can read the file live.  SQLite's own files may be
 * lost at any time: the Raft log is the authority.
 *
 * Threads: db_* calls belong to the apply thread, db_reader_* to the thread that has that
 * reader, except where noted.
 */
#ifndef CORE_DB_DB_H
#define CORE_DB_DB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/db/sink.h"

struct arena;
struct db;
struct db_reader;
struct doc;
struct logger;
struct metrics;

/* --- statements --------------------------------------------------------------------- */

struct db_param {
    const char *name; /* NULL or "": by position */
    struct db_value value;
};

struct db_stmt {
    const char *sql; /* sql_len bytes followed by a NUL */
    size_t sql_len;
    const struct db_param *params;
    size_t n_params;
};

struct db_request {
    const struct db_stmt *stmts;
    size_t n;
    bool transaction;
    bool noparse; /* never rows for RETURNING (HTTP API 5.9) */
    bool rows;    /* /db/request: entries follow each statement, rows for reads (8.3) */
    bool qualify_columns; /* 6.2 */
    bool limited;         /* a db_timeout was given (its exceptions: 4.2, 5.6) */
    uint64_t
        max_steps; /* write path: budget of VM steps, the same on every node; 0 = none */
    uint64_t timeout_ns; /* read path: real time; 0 = none */
};

/* What makes a write come to the same bytes on every node (design 6.2). */
struct db_context {
    uint64_t index, term;
    uint64_t time_ns; /* leader's wall clock: every form of 'now' */
    uint64_t seed;    /* random(), randomblob() */
};

/* --- opening ------------------------------------------------------------------------ */

struct db_options {
    const char *path;        /* NULL: in memory */
    const char *scratch_dir; /* for temporary files of load and backup; must exist */
    bool foreign_keys;       /* -fk */
    const char *const *extensions; /* paths, loaded into every connection */
    size_t n_extensions;
    struct logger *logger;   /* may be NULL */
    struct metrics *metrics; /* may be NULL */
};

/* Open an empty database (an old file at path is removed: the caller replays the log). On
 * ERR_OK the caller owns *out and ends it with db_close(), after every reader is closed.
 */
MUST_USE enum err db_open(struct db **out, const struct db_options *o, struct why *why);
void db_close(struct db *d); /* NULL is allowed */

/* --- the write path: apply thread only ---------------------------------------------- */

/*
 * Apply one entry: run the request at its place in the log and report each result to sink
 * (may be NULL: replay).  Plain DML of consecutive entries shares one SQLite transaction,
 * which stays open until db_commit(); anything else ends it first and runs alone.  So no
 * result may be shown to a client, and no reader sees the rows, before db_commit() has
 * returned.
 *
 * Errors of statements go to the sink and are no error here.  An error here (I/O, out of
 * memory, corruption) means that this node could not apply a committed entry: it must
 * stop serving.
 */
MUST_USE enum err db_apply(struct db *d, const struct db_context *ctx,
                           const struct db_request *req, struct row_sink *sink,
                           struct why *why);

/* Entries with SQL text of /db/load: one string, any number of statements (HTTP
 * API 10.2). */
MUST_USE enum err db_apply_script(struct db *d, const struct db_context *ctx,
                                  const char *sql, size_t len, struct row_sink *sink,
                                  struct why *why);

/* Replace the whole content by that of the SQLite file at path (page size 4096, checked
 * by db_check_file() before it was proposed).  Readers go on with the old state until the
 * switch.  Resets last_insert_rowid and changes. */
MUST_USE enum err db_apply_replace(struct db *d, const struct db_context *ctx,
                                   const char *path, struct why *why);

/* An entry that changes no data (no-op, configuration, strong read): moves the applied
 * index on. */
void db_apply_nothing(struct db *d, const struct db_context *ctx);

/* End the shared transaction, if one is open. */
MUST_USE enum err db_commit(struct db *d, struct why *why);

/* A query at its place in the log (level strong): on a read-only connection of the apply
 * thread's own.  Commits first. */
MUST_USE enum err db_query_here(struct db *d, const struct db_request *req,
                                struct row_sink *sink, struct why *why);

/* The rolling hash of every entry's effects, and the index it belongs to. */
uint64_t db_effect_hash(const struct db *d, uint64_t *index);

uint64_t db_changed_index(
    const struct db *d); /* last entry that may have changed the database; any thread */

/* The newest VACUUM or PRAGMA optimize in what has been applied since the database was
 * opened, whoever asked for it. */
enum db_upkeep { DB_UPKEEP_VACUUM, DB_UPKEEP_OPTIMIZE, DB_UPKEEPS };
struct db_upkept {
    uint64_t time_ns; /* the entry's; 0 = none */
    uint64_t index;
    uint64_t changed_before; /* db_changed_index() as it was then */
};
void db_upkept(const struct db *d, enum db_upkeep what,
               struct db_upkept *out); /* any thread */

/* --- the read path: one thread per reader ------------------------------------------- */

MUST_USE enum err db_reader_open(struct db *d, struct db_reader **out,
                                 struct why *why); /* any thread */
void db_reader_close(struct db_reader *r);         /* NULL is allowed */

/* Run the statements, all read-only; what would write fails as HTTP API 5.7 says.  A set
 * *cancel (may be NULL) ends the running statement soon; the sink then gets
 * "interrupted".  Never fails as a whole except for ERR_NOMEM. */
MUST_USE enum err db_reader_query(struct db_reader *r, const struct db_request *req,
                                  const atomic_bool *cancel, struct row_sink *sink,
                                  struct why *why);

/* /db/request: is every statement read-only (first piece of each string decides; what
 * cannot be prepared counts as a write; EXPLAIN as a read)? */
bool db_reader_is_read_only(struct db_reader *r, const struct db_request *req);

/* /db/sql: SQLite's message if the text is no SQL, into err (empty if it is; unknown
 * names are no error). */
void db_reader_check_syntax(struct db_reader *r, const char *sql, size_t len, char *err,
                            size_t err_size);

/* --- backup and load: any reader's thread ------------------------------------------- */

enum db_backup_format {
    DB_BACKUP_WAL,
    DB_BACKUP_DELETE,
    DB_BACKUP_VACUUM,
    DB_BACKUP_SQL
};

/* Write a consistent copy into the open file fd (empty, read-write; path is its name or a
 * /proc/self/fd path).  The two bytes at 18 are 2,2 for WAL, 1,1 else.  tables
 * (NULL-terminated, may be NULL) limits SQL text. */
MUST_USE enum err db_reader_backup(struct db_reader *r, enum db_backup_format format,
                                   const char *const *tables, const char *path,
                                   struct why *why);

/* Is this a whole SQLite database: header, length, page size, quick_check?  ERR_INVALID
 * "invalid SQLite data" otherwise, nothing is changed.  A page size other than 4096 is
 * rewritten in place to 4096.  Any thread. */
MUST_USE enum err db_check_file(const char *path, struct why *why);

/* Does the request contain one of the texts that refuse it as a whole ("disallowed
 * pragma", HTTP API 5.7)?  Pure, any thread. */
bool db_text_disallowed(const char *sql, size_t len);

/* --- figures ------------------------------------------------------------------------ */

struct db_pool { /* connections, as the callers of this module use them */
    uint64_t max, open, in_use, waits, waited_ns; /* max 0 = no limit */
};

/* The object of HTTP API 12.5, from any thread, through a reader of the caller's. */
void db_reader_status(struct db_reader *r, const struct db_pool *ro,
                      const struct db_pool *rw, struct doc *into);
const char *db_sqlite_version(void);

#endif
