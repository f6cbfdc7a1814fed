/* SPDX-License-Identifier: MIT */
/*
 * images: the steps by which a snapshot is taken here, sent on and received, and which of
 * them exclude one another.
 *
 *                 node thread      apply thread     aside            node thread
 *     taking      images_take()    pin a reader     copy, sync member_snapshot_taken()
 *     receiving   image_in_...()                    sync, rename
 * member_snapshot_installed() restore                           unpin
 *
 * Acts only through its ports, as member does, so that the simulator is another host.
 * Owner: the node thread, except where noted.
 */
#ifndef CORE_NODE_IMAGES_H
#define CORE_NODE_IMAGES_H

#include "core/node/call.h"
#include "core/node/member.h"
#include "core/snapshot/snapshot.h"
#include "proto/raft.pb-c.h"

struct image_in; /* opaque: one being received */
struct images;   /* opaque */
struct io;

struct images_ports {
    /* Have j->run(j, NULL) called where it may wait for the disk. */
    void (*aside)(void *host, struct reader_job *j);
    /* Have deliver(m, host) called on the node thread.  False: closing, m is dropped. */
    bool (*back)(void *host, struct mail *m, void (*deliver)(struct mail *m, void *host));
    /* Taking one has ended; ERR_NOTHING: it would have held nothing new. */
    void (*taken)(void *host, const struct snapshot_meta *m, const struct why *why);
    /* Stream the newest to a member, and call images_sent() when that has ended, not
     * before this returns.  An error: it does not begin. */
    enum err (*stream)(void *host, const char *peer, const char *addr, struct why *why);
    /* One has been received and is durable, or why not.  The image_in is gone. */
    void (*received)(void *host, void *user, const struct snapshot_meta *m,
                     const struct why *why);
    /* ... and it is the state of the database now. */
    void (*restored)(void *host, const struct snapshot_meta *m);
    uint64_t (*now_ms)(void *host);
    uint64_t (*wall_ms)(void *host); /* any thread */
    uint64_t (*cluster_id)(void *host);
};

struct images_options {
    struct snapshot_store *store; /* borrowed, as the next two */
    struct member *member;
    struct raft *raft;
    const char *scratch_dir; /* where an image is made before the store adopts it */
    uint64_t trailing;       /* entries kept before a snapshot taken for a member */
    uint64_t last_changed;   /* changed_index of the newest snapshot; 0 = there is none */
    const struct images_ports *ports;
    void *host;
};

MUST_USE enum err images_new(struct images **out, const struct images_options *o,
                             struct why *why);
/* After the threads that work for it have ended.  What waits for them is freed.  NULL is
 * allowed. */
void images_free(struct images *x);

/* --- taking -------------------------------------------------------------------- */

/* Begin to take one exactly after the entries handed over so far; ends in taken().
 * ERR_BUSY: one is being taken.  ERR_NOTHING, ERR_NOMEM. */
MUST_USE enum err images_take(struct images *x, uint64_t trailing, struct why *why);
bool images_taking(const struct images *x);

/* --- sending ------------------------------------------------------------------- */

/* Raft wants a member to get one that reaches at least min_index. */
void images_send(struct images *x, const char *peer, uint64_t min_index);
/* The stream to peer has ended.  index: of the snapshot it was. */
void images_sent(struct images *x, const char *peer, uint64_t index, bool ok);

struct image_out { /* the pieces of a stream, in order */
    struct snapshot_store *store;
    struct io *io;
    struct io_file *file;      /* owned */
    struct snapshot_meta meta; /* its file is pinned until image_out_close() */
    struct blob *description;  /* owned */
    uint8_t *piece;            /* owned */
    size_t piece_bytes;
    uint64_t offset;
    bool pinned, header_given;
    Rqlite__SnapshotHeader header;
    Rqlite__SnapshotChunk chunk;
};

/* Open the newest snapshot.  An error leaves nothing to close. */
MUST_USE enum err image_out_open(struct image_out *o, struct snapshot_store *s,
                                 struct io *io, size_t piece_bytes, struct why *why);
/* *out: the next message, valid until the next call; NULL after the last. */
MUST_USE enum err image_out_next(struct image_out *o, const Rqlite__SnapshotChunk **out,
                                 struct why *why);
void image_out_close(struct image_out *o); /* safe on one that is all zero */

/* --- receiving ----------------------------------------------------------------- */

/* ERR_BUSY: another one is being received. */
MUST_USE enum err images_receive(struct images *x, struct image_in **out, void *user,
                                 struct why *why);
/* An error: end it with image_in_abort(). */
MUST_USE enum err image_in_message(struct image_in *in, const Rqlite__SnapshotChunk *m,
                                   struct why *why);
/* The stream is complete: on ERR_OK received() tells the rest, and in is not the caller's
 * any more. */
MUST_USE enum err image_in_end(struct image_in *in, struct why *why);
void image_in_abort(struct image_in *in);

#endif
