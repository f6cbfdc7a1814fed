/* SPDX-License-Identifier: MIT */
/*
 * internal: what the files of core/db share.  Nobody else includes it.
 *
 * A db has one write connection, fed by the apply thread; `here`, a read-only connection
 * of the same thread; and any number of readers.  Each is a db_conn: an SQLite
 * connection, its cache of prepared statements, and what the authorizer saw while the
 * latest one was being prepared.
 */
#ifndef CORE_DB_INTERNAL_H
#define CORE_DB_INTERNAL_H

#define SQLITE_ENABLE_PREUPDATE_HOOK 1 /* declares it; Debian's library has it */
#include <sqlite3.h>

#include "core/base/list.h"
#include "core/base/map.h"
#include "core/base/rand.h"
#include "core/db/snapshot.h"

struct clock;
struct db_vfs_mem;

/* --- what a statement is ------------------------------------------------------------ */

enum db_prep_flag {
    PREP_READ = 1 << 0,    /* read-only, or an EXPLAIN of anything */
    PREP_DML = 1 << 1,     /* INSERT, REPLACE, UPDATE, DELETE, also behind WITH */
    PREP_PLAIN = 1 << 2,   /* may share a transaction with other entries */
    PREP_PRAGMA = 1 << 3,  /* takes effect while it is prepared: never cached */
    PREP_SCHEMA = 1 << 4,  /* changes the schema, or what is attached */
    PREP_END = 1 << 5,     /* COMMIT, END, ROLLBACK (not ROLLBACK TO) */
    PREP_CONTROL = 1 << 6, /* BEGIN, PREP_END, SAVEPOINT, RELEASE, ROLLBACK TO */
    PREP_VTAB = 1 << 7,    /* touches a virtual table of the schema */
    PREP_SESSION = 1 << 8, /* makes temporary objects, or attaches */
    PREP_VACUUM = 1 << 9,
    PREP_OPTIMIZE = 1 << 10,   /* PRAGMA optimize */
    PREP_ALL_TABLES = 1 << 12, /* ANALYZE, REINDEX: may go through the list of tables */
    PREP_SEQUENCE = 1 << 11    /* writes to sqlite_sequence */
};

/* A prepared statement: in the cache, or loose (one of several in a string, or not worth
 * keeping). */
struct db_prep {
    sqlite3_stmt *handle; /* owned; NULL for blanks and comments */
    unsigned flags;
    int n_params, n_cols;
    struct row_column *cols; /* owned; valid while reprepared is the handle's counter */
    int reprepared;

    struct list lru;
    struct db_prep *next; /* in its bucket */
    uint64_t hash;
    size_t len; /* of sql, the whole string */
    bool cached;
    char sql[];
};

enum { STMT_CACHE_BUCKETS = 1024, STMT_CACHE_MAX = 400, STMT_CACHE_SQL_MAX = 64 * 1024 };

struct db_stmt_cache {
    struct db_prep *buckets[STMT_CACHE_BUCKETS];
    struct db_prep *latest; /* the one found last: the next is often the same */
    struct list lru;        /* head: the most recently used */
    unsigned n;
};

/* What the authorizer saw; cleared before each prepare. */
struct db_seen {
    bool schema, session, vtab, vtab_write, autoincrement, conflict, sequence_write;
    bool begin, end, savepoint, optimize, all_tables;
    bool pragma;          /* any PRAGMA */
    bool pragma_refused;  /* the error is "disallowed pragma" */
    bool pragma_setting;  /* changes this connection */
    bool pragma_question; /* asks for a setting: reads, whatever SQLite makes of it */
    bool defer_fk;
    const struct db_pragma *session_pragma; /* replicated setting, with its value */
    char pragma_value[64];
};

struct db_conn {
    sqlite3 *sqlite; /* owned */
    struct db *db;
    bool writer;
    bool vacuuming; /* VACUUM attaches its scratch database: the authorizer lets it */
    bool internal;  /* our own statements: the authorizer lets them pass */
    bool dirty;     /* settings were changed by a request: open it anew (readers) */
    struct db_seen seen;
    struct db_stmt_cache cache;

    struct db_value *values; /* owned scratch: one row */
    size_t values_cap;

    /* Read side: when to stop. */
    const atomic_bool *cancel;
    uint64_t deadline_ns; /* monotonic; 0 = none */
    bool timed_out;
};

/* --- wal_index.c: what is in the WAL ------------------------------------------------ */

struct db_wal {                /* as it is between two transactions */
    sqlite3_file *main, *file; /* SQLite's own */
    uint32_t frames;
    uint32_t copied;  /* of these, the first are in the main file as well */
    uint32_t pages;   /* of the database */
    uint32_t salt[2]; /* others whenever the WAL starts over */
};
MUST_USE enum err db_wal_look(sqlite3 *sqlite, struct db_wal *out, struct why *why);

/* Call each with the frames after that one and the page each holds.  No checkpoint and no
 * transaction since db_wal_look(). */
typedef void db_wal_frame(void *arg, uint32_t page, uint32_t frame);
MUST_USE enum err db_wal_each(const struct db_wal *w, uint32_t after, db_wal_frame *each,
                              void *arg, struct why *why);

/* Keep everybody from reading and writing.  False, with nothing locked, if somebody does,
 * or if there is something in the WAL. */
bool db_wal_lock(struct db *d, struct db_wal *out);
void db_wal_unlock(const struct db_wal *w);
/* Under those locks: there are so many pages now, all of them new to everybody. */
void db_wal_renew(const struct db_wal *w, uint32_t pages);

static inline uint64_t db_wal_bytes_of(uint64_t frames)
{
    return frames ? 32 + frames * (24 + DB_PAGE) : 0;
}

/* The database as of one transaction; its pages can be read while that one is open, or
 * nothing is written. */
struct db_image {
    sqlite3_file *main, *wal; /* SQLite's own */
    uint32_t pages;
    uint64_t *frames; /* owned; page << 32 | its frame, ascending */
    size_t n, at;     /* the next to be read, probably */
};
/* Right after db_wal_look().  Ended by db_image_fini(). */
MUST_USE enum err db_image_of(struct db_image *im, const struct db_wal *w,
                              struct why *why);
void db_image_fini(struct db_image *im);
/* n pages from first on; fast if in ascending order. */
MUST_USE enum err db_image_read(struct db_image *im, uint32_t first, uint32_t n,
                                uint8_t *out, struct why *why);

/* --- changes.c: which pages have changed -------------------------------------------- */

struct db_page_set {
    uint64_t *bits; /* owned; bit n is page n */
    size_t words;
    bool unknown; /* may be any */
};
struct db_changes {
    struct db_page_set set;   /* from the state captured last to db_capture_begin() */
    struct db_page_set fresh; /* from there on, as far as they are noted */
    uint32_t pages;           /* the database had in the state captured last */
    uint32_t pages_begun;     /* and had at db_capture_begin() */
    uint32_t salt[2];         /* of the WAL that was looked at last */
    uint32_t noted;           /* frames of it */
};
void db_changes_init(struct db_changes *c);
void db_changes_fini(struct db_changes *c);
/* Note what changed; between transactions, before anything that lets the WAL start over.
 * What is in the WAL into *wal, all zero if that cannot be said. */
void db_changes_look(struct db *d, struct db_wal *wal);
/* As it is now, nothing has changed. */
void db_changes_none(struct db *d);
MUST_USE enum err db_changes_begin(struct db *d, uint32_t *pages, uint32_t *changed,
                                   struct why *why);

/* --- the database ------------------------------------------------------------------- */

enum { DB_PRAGMA_MAX = 16 };

struct db_functions { /* state of the deterministic functions of the write connection */
    uint64_t seed;    /* the entry's */
    uint64_t stmt;    /* number of the statement in the entry */
    bool seeded;      /* rand is ready for this statement */
    struct rand rand;
    int64_t base_changes; /* sqlite3_total_changes64() when the request began */
};

struct db_effect {
    uint64_t hash; /* of all entries up to index */
    uint64_t index;
    uint64_t entry; /* of the entry being applied */
    uint64_t rows;  /* of the entry; decides which rows are hashed whole */
};

struct db {
    char *path;        /* owned; NULL: in memory */
    char *file;        /* owned; the name the connections open */
    char *scratch_dir; /* owned */
    bool foreign_keys;
    char **extensions; /* owned */
    size_t n_extensions;
    struct logger *logger;
    struct metrics *metrics;
    const struct clock *clock;

    struct db_vfs_mem *mem; /* owned; NULL on disk */
    sqlite3_vfs *vfs_read;  /* owned on disk, the memory VFS's own in memory */
    sqlite3_vfs *vfs_write; /* owned; reports ctx.time_ns as the present time */
    uint64_t write_time_ns; /* what it reports */

    struct db_conn *w;    /* owned */
    struct db_conn *here; /* owned; opened when first needed */
    atomic_uint n_readers;

    /* The shared transaction (design 6.4). */
    bool batch;                                                       /* it is open */
    sqlite3_stmt *begin, *commit, *savepoint, *release, *rollback_to; /* owned */
    bool schema_stale;  /* the next three have to be found out again */
    bool schema_reload; /* and SQLite has to read the schema again */
    bool alone;         /* nothing may share a transaction with this schema */
    struct map tables;  /* virtual and AUTOINCREMENT tables by lower-case name; owned */
    bool triggers;      /* there are any */
    bool rowid_max;     /* some table may hold the largest rowid (exec.c) */
    int wal_frames;     /* in the WAL after the latest commit */
    int wal_copied;     /* of these, frames a checkpoint has dealt with */
    int wal_valve;      /* on disk, a checkpoint is made at so many frames */
    uint64_t wal_tried_ns; /* when a checkpoint was last tried */
    _Atomic uint64_t wal_bytes;
    bool guarding;  /* nobody else can make a checkpoint (checkpoint.c) */
    bool unguarded; /* since changes were looked at last, somebody could */
    struct db_changes changes;

    /* What outlives a request on the write connection. */
    bool changes_stale;     /* the counters of 5.4 were reset by a load */
    uint64_t session_since; /* index that made temporary objects; 0 = there are none */
    struct {
        const struct db_pragma *pragma;
        char value[64];
    } pragmas[DB_PRAGMA_MAX];
    size_t n_pragmas;

    struct db_context ctx; /* of the entry being applied */
    struct db_functions fn;
    struct db_effect effect;
    _Atomic uint64_t changed_index;
    struct { /* db_upkept(); the count is odd while the rest is being written */
        _Atomic uint64_t count, time_ns, index, changed_before;
    } upkept[DB_UPKEEPS];

    uint64_t steps_left; /* VM steps; counted down in blocks of STEP_BLOCK */
    bool out_of_steps;
};

struct db_reader {
    struct db *db;
    struct db_conn *conn;  /* owned; NULL if opening it anew failed */
    bool pinned;           /* in a transaction, which image is of */
    struct db_image image; /* owned */
};

/* A virtual or AUTOINCREMENT table (exec.c). */
struct db_table {
    bool virtual;
    bool conflict; /* its declaration has an ON CONFLICT clause */
    size_t len;
    char name[];
};

/* What db_rebuild() writes, before it takes the database's name. */
#define DB_REBUILD_SUFFIX "-rebuild"

/* --- open.c ------------------------------------------------------------------------- */

enum err db_conn_open(struct db_conn **out, struct db *d, bool writer, struct why *why);
void db_conn_close(struct db_conn *c); /* NULL is allowed */
/* Close and open the write connection: temporary objects and settings are gone,
 * replicated PRAGMAs come back if keep. */
enum err db_writer_reopen(struct db *d, bool keep, struct why *why);
/* Run our own SQL, past the authorizer. */
int db_conn_exec(struct db_conn *c, const char *sql);
/* First column of the first row as integer; -1 on an error. */
int64_t db_conn_int(struct db_conn *c, const char *sql);
enum err db_conn_why(struct db_conn *c, int rc, struct why *why, const char *what);

/* --- vfs_mem.c, vfs_clock.c --------------------------------------------------------- */

/* A VFS whose files live on the heap, registered under a name of its own.  No file may be
 * open when it is freed. */
enum err db_vfs_mem_new(struct db_vfs_mem **out, struct why *why);
void db_vfs_mem_free(struct db_vfs_mem *m); /* NULL is allowed */
sqlite3_vfs *db_vfs_mem_vfs(struct db_vfs_mem *m);
uint64_t db_vfs_mem_size(struct db_vfs_mem *m,
                         const char *name); /* of a file; 0 if there is none */
/* The file, which nobody has open, gets that content; its wal-index is gone. */
enum err db_vfs_mem_fill(struct db_vfs_mem *m, const char *name,
                         const struct db_pages *from, struct why *why);

/* base with another clock (time_ns NULL: the real one) and temporary files in scratch_dir
 * (NULL: as base has them). */
enum err db_vfs_clock_new(sqlite3_vfs **out, sqlite3_vfs *base, const uint64_t *time_ns,
                          const char *scratch_dir, struct why *why);
void db_vfs_clock_free(sqlite3_vfs *v); /* NULL is allowed */

/* --- authorizer.c ------------------------------------------------------------------- */

enum db_pragma_rule {
    PRAGMA_REFUSED,     /* any use */
    PRAGMA_READ_ONLY,   /* setting it is refused */
    PRAGMA_REPLICATED,  /* changes what statements mean: kept in snapshots */
    PRAGMA_PER_REQUEST, /* ends with the request */
    PRAGMA_LOCAL        /* changes the connection, not the data */
};
struct db_pragma {
    const char *name;
    enum db_pragma_rule rule;
};
const struct db_pragma *
db_pragma_find(const char *name); /* NULL: no setting of a connection */
int db_authorize(void *conn, int action, const char *a, const char *b, const char *schema,
                 const char *trigger);

/* --- stmt_cache.c ------------------------------------------------------------------- */

/*
 * Prepare the first statement of sql (len bytes, then a NUL), or find the whole string in
 * the cache.  *tail is behind it. On SQLITE_OK the caller ends *out with db_prep_done().
 * cacheable false: never look, never keep.
 */
int db_prepare(struct db_conn *c, const char *sql, size_t len, bool cacheable,
               struct db_prep **out, const char **tail);
struct db_prep *db_prep_cached(struct db_conn *c, const char *sql,
                               size_t len); /* or NULL */
void db_prep_done(struct db_conn *c, struct db_prep *p);
void db_stmt_cache_init(struct db_stmt_cache *k);
void db_stmt_cache_clear(struct db_stmt_cache *k);
/* Names and declared types of the columns, after the first step (which may prepare anew);
 * NULL when out of memory. */
const struct row_column *db_prep_columns(struct db_prep *p);

/* --- bind.c ------------------------------------------------------------------------- */

struct db_binding {
    const struct db_stmt *in;
    bool named;     /* some entry has a name */
    bool read_path; /* the error counts what is left of the list */
    bool checked;   /* a statement without any entries is checked, too */
};
enum { DB_BIND_ERR_MAX = 320 };
/*
 * Bind the entries of b to p, which is the piece of its string after those that took
 * *used entries. Values are borrowed until the statement's next binding or end.  False:
 * text says why (HTTP API 4.2).
 */
bool db_bind(struct db_conn *c, struct db_prep *p, const struct db_binding *b,
             size_t *used, char text[DB_BIND_ERR_MAX]);
/* False: a name does not begin with a letter. */
bool db_binding_init(struct db_binding *b, const struct db_stmt *in, bool read_path,
                     bool limited, char text[DB_BIND_ERR_MAX]);

/* --- text.c ------------------------------------------------------------------------- */

enum db_word {
    WORD_NONE,
    WORD_OTHER,
    WORD_SELECT,
    WORD_VALUES,
    WORD_WITH,
    WORD_INSERT,
    WORD_REPLACE,
    WORD_UPDATE,
    WORD_DELETE,
    WORD_PRAGMA,
    WORD_VACUUM,
    WORD_EXPLAIN
};
enum db_word db_text_first_word(const char *sql, size_t len);
bool db_text_blank(const char *sql,
                   const char *end); /* nothing but white space up to end or a NUL */
bool db_text_contains(const char *sql, size_t len,
                      const char *lower); /* ignoring ASCII case */

/* --- functions.c, effect.c ---------------------------------------------------------- */

int db_functions_register(struct db_conn *c);
void db_effect_hook(void *arg, sqlite3 *sqlite, int op, const char *schema,
                    const char *table, sqlite3_int64 old_rowid, sqlite3_int64 new_rowid);
void db_effect_begin(struct db *d);
void db_effect_mix(struct db *d, uint64_t x);
void db_effect_text(struct db *d, const char *text, size_t len);
void db_effect_end(struct db *d);
uint64_t db_hash_bytes(const void *data, size_t len);

static inline uint64_t db_mum(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 u128;
    u128 r = (u128)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

/* --- schema.c ----------------------------------------------------------------------- */

/* What the write path has to know of the schema; called when it is stale.  Forgets every
 * statement in the cache. */
enum err db_schema_refresh(struct db *d, struct why *why);
void db_schema_free(struct db *d);
/* Look for tables that hold the largest rowid, after a load. */
void db_schema_find_rowid_max(struct db *d);

/* --- checkpoint.c, null_sink.c -------------------------------------------------------
 */

/* After a commit: make one if the WAL has grown enough. */
void db_checkpoint(struct db *d);
/* Copy all of the WAL back, so that it is empty; false if a reader is in the way. */
bool db_wal_empty(struct db *d);
/* Publish the size of the WAL. */
void db_wal_count(struct db *d);
/* Keep other programs from making checkpoints; until the write connection is closed. */
void db_guard(struct db *d);
void db_unguard(struct db *d);
extern struct row_sink db_null_sink; /* never written to */

/* --- query.c ------------------------------------------------------------------------ */

/* Open the connection anew if a client has changed its settings. */
enum err db_reader_refresh(struct db_reader *r, struct why *why);
void db_conn_query(struct db_conn *c, const struct db_request *req,
                   const atomic_bool *cancel, struct row_sink *sink);
/* Values of the present row into c->values; NULL when out of memory. */
const struct db_value *db_row_values(struct db_conn *c, struct db_prep *p);
/* False: out of memory. */
bool db_sink_columns(struct db_prep *p, bool qualify, struct row_sink *sink);
void db_sink_sqlite_error(struct db_conn *c, int rc, bool read_side,
                          struct row_sink *sink);
void db_sink_error(struct row_sink *sink, bool read_side, const char *text);

/* --- dump.c, vfs_image.c ------------------------------------------------------------ */

/* Everything as SQL text into fd, in one read transaction; sqlite is in none. */
enum err db_dump(sqlite3 *sqlite, const char *const *tables, int fd, struct why *why);

/* load.c: overwrite the file to, which exists, by the bytes of another. */
enum err db_copy_file(const char *from, const char *to, struct why *why);

/* vfs_image.c: open a file, complete by itself, whatever its journal mode says.  Ended,
 * even on an error, by db_image_close(). */
int db_image_open(sqlite3 **out, sqlite3_vfs **vfs, const char *path);
/* The same from pages, which outlive it; *why says why one could not be read. */
int db_image_open_pages(sqlite3 **out, sqlite3_vfs **vfs, const struct db_pages *from,
                        struct why *why);
void db_image_close(sqlite3 *sqlite, sqlite3_vfs *vfs);

/* load.c: at once for every reader, and as the effect of an entry at ctx, the content
 * becomes that of from, whose pages are pages (n is 0 if they cannot be taken as they
 * are); cause (may be NULL): if it has a code, why from failed. */
enum err db_replace_content(struct db *d, const struct db_context *ctx, sqlite3 *from,
                            const struct db_pages *pages, const struct why *cause,
                            struct why *why);

/* overwrite.c: between transactions, become those pages in place.  *done false with
 * ERR_OK: nothing has changed, since somebody reads, or from has none.  After an error
 * the content is unknown. */
enum err db_overwrite(struct db *d, const struct db_pages *from, bool *done,
                      struct why *why);

/* snapshot.c: what a state says beside the content, which is there already: settings,
 * rowid, hash, indexes.  Opens the write connection anew. */
enum err db_state_load(struct db *d, const struct db_state *in, struct why *why);

/* --- reuse.c: with the boot id as an argument -----------------------------------------
 */

enum { DB_BOOT_ID = 36 };
void db_boot_id(char out[DB_BOOT_ID + 1]); /* "" if it cannot be read */
size_t db_fingerprint_of(const char *path, const char *boot, bool durable,
                         uint8_t out[DB_FINGERPRINT_MAX]);
bool db_can_reuse_at(const struct db_options *o, const char *boot,
                     const uint8_t *fingerprint, size_t len, const struct db_pages *from,
                     struct why *why);

#endif
