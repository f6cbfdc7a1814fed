/* SPDX-License-Identifier: MIT */
/*
 * streams: snapshots on their way from a leader to a member whose log is too far behind.
 *
 *     sender                                   receiver
 *     header                            ->
 *                                       <-     pages it has of this one already
 *     pages, a piece at a time          ->     each written before the next is taken
 *     end                               ->     commit
 *                                       <-     every few seconds: still at it
 *                                       <-     ok
 *
 * The files are read and written aside, so a slow disk costs no heartbeat; the streams
 * are of class NET_BULK, so neither does a large image.  Either side gives up when
 * nothing has moved for STREAM_STALL_MS, however long the whole takes.
 *
 * Owner: the node thread.
 */
#ifndef CORE_NODE_STREAMS_H
#define CORE_NODE_STREAMS_H

#include "core/node/images.h"

struct net_call;
struct node;
struct streams; /* opaque */

enum { STREAM_STALL_MS = 30000, STREAM_TELL_MS = 5000 };

MUST_USE enum err streams_new(struct streams **out, struct node *n, struct why *why);
/* After the threads that work for it have ended, and after the server that
 * streams_on_install() is called by; before images_free().  NULL is allowed. */
void streams_free(struct streams *s);

/* Look whether something has stalled; at streams_deadline_ms(). */
void streams_tick(struct streams *s, uint64_t now_ms);
uint64_t streams_deadline_ms(const struct streams *s);

/* As images_ports has them. */
MUST_USE enum err streams_send(struct streams *s, struct images *x, const char *peer,
                               const char *addr, uint64_t min_index, struct why *why);
void streams_received(void *user, const struct snapshot_meta *m, const struct why *why);

/* The handler of Raft.InstallSnapshot. */
void streams_on_install(struct streams *s, struct images *x, struct net_call *c);

#endif
