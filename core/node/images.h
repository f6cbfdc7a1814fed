/* SPDX-License-Identifier: MIT */
/*
 * images: the steps by which a snapshot is taken here, folded, sent on and received, and
 * which of them exclude one another.
 *
 *             node thread      apply thread        aside              node thread
 *   changes   images_take()    capture, write back commit             log may go
 *   whole     images_take()    write back, pin     copy, commit       log may go
 *   fold      images_fold()                        fold               folded()
 *   receive   images_receive()                     image_in_message()
 *             image_in_end()                       commit             log starts anew
 *                              restore                                restored()
 *
 * One of taking, folding and receiving at a time; sending goes on beside each of them,
 * but for folding, which waits for it.
 *
 * A snapshot is of what changed since the newest in the store.  That holds only as long
 * as the database is what that one became: after a commit that failed, or a snapshot from
 * elsewhere that was not put into the database, the next is a whole one.  So it is when
 * what the store holds turns out to be damaged, and then it is taken at once.
 *
 * On disk the main file is written back when a snapshot is taken, so it is the newest
 * snapshot from then on: a marker kept with that says how to recognise it, and the next
 * start can use the file as it is.
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

struct image_in;  /* opaque: one being received */
struct image_out; /* opaque: one being sent */
struct images;    /* opaque */

enum {
    IMAGE_OUT_KEPT_MS = 60000,     /* for whom a stream broke to, to go on */
    IMAGES_CATCH_UP_MAX = 1 << 20, /* entries that are kept for who is being sent one */
    IMAGES_CLOSE_MS = 3000         /* the last one may take so long to write */
};

struct image_taken { /* what taken() is told */
    const struct snapshot_meta *meta;
    const struct why *why; /* ERR_NOTHING: it would have held nothing new */
    bool whole;            /* not only what changed */
    uint64_t bytes;        /* written into the store */
    bool written_back;     /* and the database's WAL is empty */
    uint64_t again; /* ERR_BUSY: right after this entry it would work; 0 = unknown */
};

struct images_ports {
    /* Have j->run(j, NULL) called where it may wait for the disk. */
    void (*aside)(void *host, struct reader_job *j);
    /* Have deliver(m, host) called on the node thread.  False: closing, m is dropped. */
    bool (*back)(void *host, struct mail *m, void (*deliver)(struct mail *m, void *host));
    /* Taking one has ended. */
    void (*taken)(void *host, const struct image_taken *t);
    /* Folding has ended; n deltas are no more. */
    void (*folded)(void *host, size_t n, const struct why *why);
    /* Stream one to a member, and call images_sent() when that has ended, not before this
     * returns.  An error: it does not begin. */
    enum err (*stream)(void *host, const char *peer, const char *addr, uint64_t min_index,
                       struct why *why);
    /* One has been received and is durable, or why not.  The image_in is gone. */
    void (*received)(void *host, void *user, const struct snapshot_meta *m,
                     const struct why *why);
    /* ... and it is the state of the database now. */
    void (*restored)(void *host, const struct snapshot_meta *m);
    uint64_t (*now_ms)(void *host);     /* any thread */
    uint64_t (*wall_ms)(void *host);    /* any thread */
    uint64_t (*cluster_id)(void *host); /* any thread; 0 = not yet part of one */
};

struct images_options {
    struct snapshot_store *store; /* borrowed, as the next two */
    struct member *member;
    struct raft *raft;
    uint64_t trailing;     /* entries kept before a snapshot taken for a member */
    uint64_t last_changed; /* changed_index of the newest snapshot; 0 = there is none */
    bool marked;           /* on disk, the main file is the newest snapshot's since now */
    uint32_t piece_pages;  /* sent at once; 0 = 64 */
    bool deflate;          /* offer to compress what is sent */
    const struct images_ports *ports;
    void *host;
};

MUST_USE enum err images_new(struct images **out, const struct images_options *o,
                             struct why *why);
/* Any thread: the node is going to close, so end soon what takes long. */
void images_hurry(struct images *x);
/* After the threads that work for it have ended.  What waits for them is freed.  NULL is
 * allowed. */
void images_free(struct images *x);

/* Taking, folding or receiving? */
bool images_busy(const struct images *x);
/* What has waited for its time.  Call it at images_deadline_ms(). */
void images_tick(struct images *x, uint64_t now_ms);
uint64_t images_deadline_ms(const struct images *x);

/* --- taking -------------------------------------------------------------------- */

/* Begin to take one exactly after the entries handed over so far; ends in taken().
 * unchanged: also if nothing has changed the database since the newest one, so that
 * entries that change nothing (reads of level strong, writes that fail) can be dropped.
 * ERR_BUSY: something excludes it.  ERR_NOTHING, ERR_NOMEM. */
MUST_USE enum err images_take(struct images *x, uint64_t trailing, bool unchanged,
                              struct why *why);

/* After all threads have ended, on this one: take a last one of what a applied, and make
 * the main file durable, so that even after the machine was off it need not be rebuilt.
 * ERR_NOTHING, ERR_TIMEOUT when it takes too long, ... */
MUST_USE enum err images_take_last(struct images *x, struct applier *a, struct why *why);

/* --- folding ------------------------------------------------------------------- */

/* Fold what deltas there are; ends in folded().  ERR_BUSY. */
MUST_USE enum err images_fold(struct images *x, struct why *why);

/* --- sending ------------------------------------------------------------------- */

/* Raft wants a member to get one that reaches at least min_index. */
void images_send(struct images *x, const char *peer, uint64_t min_index);
/* The stream to peer has ended.  index: of the snapshot it was. */
void images_sent(struct images *x, const char *peer, uint64_t index, bool ok);

/* The newest snapshot, or one whose stream was broken off not long ago, if it reaches
 * min_index. */
MUST_USE enum err image_out_open(struct images *x, struct image_out **out,
                                 uint64_t min_index, struct why *why);
uint64_t image_out_index(const struct image_out *o);
/* The first message; valid until the next call. */
const Rqlite__SnapshotChunk *image_out_header(struct image_out *o);
/* The receiver's answer to it: go on from there.  ERR_INVALID. */
MUST_USE enum err image_out_answer(struct image_out *o, const Rqlite__SnapshotReply *r,
                                   struct why *why);
/* Any thread: *out is the next message, valid until the next call; NULL after the last.
 */
MUST_USE enum err image_out_next(struct image_out *o, const Rqlite__SnapshotChunk **out,
                                 struct why *why);
/* again: the stream broke, another may go on.  NULL is allowed. */
void image_out_close(struct images *x, struct image_out *o, bool again);

/* --- receiving ----------------------------------------------------------------- */

/* ERR_BUSY: another one is being received, or one is being taken. */
MUST_USE enum err images_receive(struct images *x, struct image_in **out, void *user,
                                 struct why *why);
/* Any thread, but one at a time, and not while the node thread ends it.  An error: end it
 * with image_in_abort(). */
MUST_USE enum err image_in_message(struct image_in *in, const Rqlite__SnapshotChunk *m,
                                   struct why *why);
/* The answer to the header, once it was taken. */
void image_in_answer(const struct image_in *in, Rqlite__SnapshotReply *out);
/* The stream is complete: on ERR_OK received() tells the rest, and in is not the caller's
 * any more. */
MUST_USE enum err image_in_end(struct image_in *in, struct why *why);
/* What is here is kept for the next attempt, unless it is of no use. */
void image_in_abort(struct image_in *in);

#endif
