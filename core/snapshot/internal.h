/* SPDX-License-Identifier: MIT */
/*
 * internal: what the files of the snapshot store share.
 *
 *   meta.c      the bytes of a description          pure
 *   manifest.c  the bytes of the manifest           pure
 *   layer.c     one snapshot's files: the base with its sums, a delta with its index
 *   merge.c     which layer has the newest version of each page
 *   store.c     the list of layers, and how one takes the place of another
 *   writer.c, incoming.c, reader.c, fold.c          as snapshot.h says
 */
#ifndef CORE_SNAPSHOT_INTERNAL_H
#define CORE_SNAPSHOT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "core/base/io.h"
#include "core/snapshot/snapshot.h"

enum {
    FILE_NAME_MAX = SNAPSHOT_ID_MAX + 48,
    PATH_BYTES = 4096,
    LAYERS_MAX = 65536,
    MANIFEST_MAX = SNAPSHOT_EXTRA_MAX + (LAYERS_MAX * 128) + (1 << 20), /* bytes */
    PIECE_PAGES = 64 /* pages per read or write of our own: 256 KiB */
};

/* What a person can do about a snapshot that cannot be read. */
#define REMEDY                                                                           \
    "the snapshot cannot be used: remove the data directory and let the node join its "  \
    "cluster again, or load a backup"

/* --- ids and names (meta.c) --------------------------------------------------------- */

/* An id at the front of text: what follows it, or NULL if there is none. */
const char *id_parse(const char *text, uint64_t *term, uint64_t *index);
/* m->id is one, of m's term and index. */
bool id_fits(const struct snapshot_meta *m);
/* A generation at the front of text: what follows it, or NULL. */
const char *sums_parse(const char *text);

/* --- the manifest (manifest.c) ------------------------------------------------------ */

struct manifest_layer {
    char id[SNAPSHOT_ID_MAX];
    uint32_t pages; /* of the database */
    uint32_t n;     /* pages that the file has */
    uint32_t sum;   /* of the base's sums file, or of the delta's index */
};

struct manifest {
    char base[SNAPSHOT_ID_MAX];    /* whose name the base's file bears: a fold keeps it */
    uint64_t generation;           /* of the base's sums */
    uint32_t folding;              /* deltas that are being folded; 0 = none */
    uint32_t n;                    /* layers, the base first; 0 = an empty store */
    struct manifest_layer *layers; /* owned */
    const uint8_t *meta;           /* of the newest, encoded; borrowed */
    uint32_t meta_len;
    const uint8_t *marker; /* borrowed */
    uint32_t marker_len;
};

/* NULL when out of memory. */
struct blob *manifest_encode(const struct manifest *m);
/* Borrows from data.  ERR_CORRUPT, ERR_UNSUPPORTED, ERR_NOMEM leave nothing to free. */
MUST_USE enum err manifest_decode(struct manifest *m, const void *data, size_t len,
                                  struct why *why);
void manifest_fini(struct manifest *m);

/* --- one snapshot's files (layer.c) ------------------------------------------------- */

/* Immutable once it is in a state, but for the sums, which are read when first needed. */
struct layer {
    atomic_uint refs;
    struct io *io;
    const char *dir;               /* the store's; borrowed */
    char name[FILE_NAME_MAX];      /* of the file */
    char sums_name[FILE_NAME_MAX]; /* base: of the file with its sums */
    char id[SNAPSHOT_ID_MAX];
    uint32_t pages;            /* of the database */
    uint32_t n;                /* pages in the file: all of the base's */
    uint32_t sum;              /* as in the manifest */
    struct io_file *file;      /* owned, like all below */
    struct io_file *sums_file; /* base */
    uint32_t *numbers;         /* delta: of its pages, ascending */
    _Atomic(uint32_t *) sums;  /* CRC32C of each page, in the order of the file */
};

/* Where the page at position pos (0-based) of a delta is in its file. */
uint64_t delta_offset(uint32_t pos);
uint64_t delta_bytes(uint32_t n); /* length of the file */
uint64_t sums_bytes(uint32_t pages);

void delta_name(char out[FILE_NAME_MAX], const char *id);
void base_name(char out[FILE_NAME_MAX], const char *id);
void sums_name(char out[FILE_NAME_MAX], const char *id, uint64_t generation);

/* One reference, or NULL.  dir is borrowed. */
struct layer *layer_new(struct io *io, const char *dir, const char *id);
struct layer *layer_ref(struct layer *l);
void layer_unref(struct layer *l); /* closes its files with the last; NULL is allowed */

/* Open the files and check their lengths, and a delta's index.  pages, n and sum are what
 * the manifest says.  least: pages that the base's file must have; just as many unless
 * folding. */
MUST_USE enum err layer_open_delta(struct layer *l, struct why *why);
MUST_USE enum err layer_open_base(struct layer *l, uint32_t least, bool folding,
                                  struct why *why);
/* Read the base's sums if that has not been done yet; any thread. */
MUST_USE enum err layer_load_sums(struct layer *l, struct why *why);

/* Head and index into f, whose pages are there already; *sum: for the manifest. */
MUST_USE enum err delta_finish(struct io *io, struct io_file *f, const char *id,
                               uint32_t pages, uint32_t n, const uint32_t *numbers,
                               const uint32_t *sums, uint32_t *sum, struct why *why);
/* Make, write and sync a sums file; *out is the caller's to close, also on failure. */
MUST_USE enum err sums_write(struct io *io, const char *path, uint32_t pages,
                             const uint32_t *sums, uint32_t *sum, struct io_file **out,
                             struct why *why);

/* Pure: a delta's head.  n and pages are what it says, not yet compared with anything. */
struct delta_head {
    uint32_t pages, n, index_sum, sum; /* sum: for the manifest */
    char id[SNAPSHOT_ID_MAX];
};
MUST_USE enum err delta_head_decode(struct delta_head *h, const uint8_t *data, size_t len,
                                    struct why *why);

/* --- the store (store.c) ------------------------------------------------------------ */

/* What the store consists of.  Immutable once published. */
struct state {
    atomic_uint refs;
    char base[SNAPSHOT_ID_MAX];
    uint64_t generation;
    uint32_t folding;
    uint32_t n;
    struct layer **layers;     /* owned references */
    struct snapshot_meta meta; /* of the newest, if n > 0 */
    struct blob *bytes;        /* the same, encoded */
    uint32_t marker_len;
    uint8_t marker[SNAPSHOT_MARKER_MAX];
};

struct snapshot_store {
    struct io *io;
    struct logger *logger;
    char dir[3000];
    uint64_t incoming_index; /* of what is kept for the next attempt, 0 = nothing; the
                                writer's */

    pthread_mutex_t disk; /* held while the manifest is written; guards the next three */
    bool unsure;          /* the manifest on disk may be that of a step that failed */
    char (*doomed)[FILE_NAME_MAX]; /* files to remove once it is sure */
    size_t n_doomed;

    pthread_mutex_t lock; /* taken after disk, never held over a file operation */
    struct state *state;  /* replaced only by who holds disk, too */
    bool writing;         /* a writer is open or a fold under way */
    unsigned readers;
    struct snapshot_stats counts; /* what is not found out from the state */
};

/* dir/name; the directory's name is short enough for it. */
void store_path(const struct snapshot_store *s, char out[PATH_BYTES], const char *name);
void store_unlink(struct snapshot_store *s, const char *name); /* errors do not matter */

struct state *state_ref(struct state *st);
void state_unref(struct state *st);
struct state *store_state(struct snapshot_store *s); /* a new reference */
/* As st, with its layers 0 .. n-1 and room for one more; NULL when out of memory. */
struct state *state_clone(const struct state *st, uint32_t n);

/* Become the writer, after making sure of the manifest.  ERR_BUSY, ERR_IO. */
MUST_USE enum err store_begin_writing(struct snapshot_store *s, bool no_readers,
                                      struct why *why);
void store_end_writing(struct snapshot_store *s);

/*
 * Write the manifest of st and, if that works, let it take the place of the current
 * state, whose files that st does not have are removed.  Takes st.  The caller holds
 * s->disk. *unsure: after a failure, the new manifest may be found after a restart, so
 * its files have to stay until the next one has been written: store_doom().
 */
MUST_USE enum err store_publish(struct snapshot_store *s, struct state *st, bool *unsure,
                                struct why *why);
/* Remove a file after a failed step; later if unsure.  Not with s->disk held. */
void store_doom(struct snapshot_store *s, const char *name, bool unsure);

/* --- the merged image (merge.c) ----------------------------------------------------- */

struct merge { /* borrows the state */
    const struct state *state;
    uint32_t *at;  /* per layer: where in its numbers we are */
    uint32_t *cut; /* per layer: its pages beyond it were cut off by a later one */
};

MUST_USE enum err merge_init(struct merge *m, const struct state *st, struct why *why);
void merge_fini(struct merge *m);

struct place {
    const struct layer *layer; /* NULL: the page is all zeros */
    uint32_t pos;              /* in the file */
};

/* Where the newest version of page is.  ERR_CORRUPT if nothing has it. */
MUST_USE enum err merge_find(struct merge *m, uint32_t page, struct place *out,
                             struct why *why);
/* Its CRC.  The base's sums have been loaded. */
uint32_t place_sum(const struct place *p);
/* n pages from first on, each compared with its CRC. */
MUST_USE enum err merge_read(struct merge *m, uint32_t first, uint32_t n, void *out,
                             struct why *why);
/* The first page from page on that a delta has the newest version of; 0 if none. */
uint32_t merge_next_changed(struct merge *m, uint32_t page);

/* --- writers (writer.c, incoming.c) ------------------------------------------------- */

enum writer_kind { WRITER_BASE, WRITER_DELTA, WRITER_INCOMING };

struct snapshot_writer {
    struct snapshot_store *store;
    enum writer_kind kind;
    struct snapshot_meta meta; /* owned, like all pointers below */
    struct blob *bytes;        /* the same, encoded */
    char name[FILE_NAME_MAX];  /* of the file that is being written */
    struct io_file *file;
    struct io_file *log;   /* incoming: the CRCs of the pages that are in file */
    uint64_t log_at;       /* its length */
    uint32_t logged;       /* pages in it */
    uint32_t last;         /* page number put last */
    uint32_t before_pages; /* delta: pages of the snapshot before */
    uint32_t n, cap;       /* pages put */
    uint32_t written;      /* of these, handed to the system; the rest is in buffer */
    uint32_t *numbers;     /* delta: theirs */
    uint32_t *sums;
    uint8_t *buffer; /* of PIECE_PAGES; the last pages put, not yet written */
    uint32_t buffered;
    uint8_t marker[SNAPSHOT_MARKER_MAX];
    uint32_t marker_len;
    struct why failed; /* code is ERR_OK until something has */
};

MUST_USE enum err writer_new(struct snapshot_store *s, struct snapshot_writer **out,
                             enum writer_kind kind, const struct snapshot_meta *m,
                             struct why *why);
/* Closes the files and ends the writing; removes nothing. */
void writer_free(struct snapshot_writer *w);
MUST_USE enum err writer_flush(struct snapshot_writer *w, struct why *why);
/* One more page, which is in the file or will be. */
MUST_USE enum err writer_count(struct snapshot_writer *w, uint32_t page, uint32_t sum,
                               struct why *why);

#define INCOMING_PAGES "incoming.pages"
#define INCOMING_SUMS  "incoming.sums"

/* Append the CRCs of the pages that have been written to the log of them. */
MUST_USE enum err incoming_log(struct snapshot_writer *w, struct why *why);
void incoming_remove(struct snapshot_store *s);
/* At opening: is there something that may be gone on with?  Else it is removed. */
void incoming_look(struct snapshot_store *s);

#endif
