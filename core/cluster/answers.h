/* SPDX-License-Identifier: MIT */
/*
 * answers: what the leader answered to writes that came from elsewhere, so that a write
 * whose caller lost the connection is answered when it is repeated, and not run again.
 *
 * A call id (net_meta.call_id) is two numbers.  The first names the caller's session: 64
 * random bits, made anew when the caller starts.  The second says, from high to low,
 *
 *     40 bits   serial: rises with each call that the session starts; a call that was
 *               certainly not run and is tried again gets a new one
 *      1 bit    this is a repeat: the call may have arrived before
 *     23 bits   how many serials before this one the oldest call without an answer is
 *
 * So the caller tells with every call what it needs no more (a client's sessions, Raft
 * dissertation 6.3), and an answer is usually dropped with the next call.  First tries of
 * a session arrive in the order of their serials; one that does not was overtaken by its
 * repeat while it lay in a lost connection's buffers, or is the work of a third party,
 * and is ANSWERS_FORGOTTEN.
 *
 * Bounds: SESSIONS_MAX sessions, the one that was silent longest goes first;
 * ANSWERS_MAX answers of ANSWERS_BYTES_MAX together, the oldest goes first.  Neither
 * endangers the promise: a repeat whose session or answer is gone, also because this
 * process is new, is ANSWERS_FORGOTTEN, and its outcome unknown.  Writes under way are
 * never dropped.
 *
 * Owner: the node thread.
 */
#ifndef CORE_CLUSTER_ANSWERS_H
#define CORE_CLUSTER_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/list.h"
#include "core/base/map.h"

enum {
    ANSWERS_SESSIONS_MAX = 1024,
    ANSWERS_MAX = 16384,
    ANSWERS_BYTES_MAX = 16 << 20,
    ANSWERS_BACK_MAX = (1 << 23) - 1 /* calls of a session without an answer */
};

/* --- ids: pure -------------------------------------------------------------------- */

struct answers_id {
    uint64_t session, serial;
    uint64_t oldest; /* serial of the oldest call that still wants its answer */
    bool repeat;
};

void answers_id_put(uint64_t out[2], const struct answers_id *id);
/* False: no id (0, 0). */
bool answers_id_get(struct answers_id *out, const uint64_t in[2]);

/* --- the table -------------------------------------------------------------------- */

/* Embedded in what carries out a write, from its start until it is dropped. */
struct answers_entry {
    struct list in_session, in_order; /* by serial; by the time of the answer */
    struct answers_session *session;  /* NULL: not in the table */
    uint64_t serial;
    size_t bytes; /* of the answer; 0 while it is under way */
};

struct answers {
    struct map sessions; /* by key */
    struct list recent;  /* sessions, the most recent last */
    struct list order;   /* answered entries, oldest first */
    size_t n_sessions, n_answered, bytes;
    /* The entry was taken out of the table, to make room or because nobody wants it any
     * more; it has been answered. */
    void (*on_drop)(struct answers_entry *e);
};

enum answers_found {
    ANSWERS_NEW,      /* run it; answers_add() */
    ANSWERS_KNOWN,    /* *out is under way or answered */
    ANSWERS_FORGOTTEN /* it may have been run: nobody knows */
};

void answers_init(struct answers *a, void (*on_drop)(struct answers_entry *e));
/* Drops every entry; those under way are only taken out. */
void answers_fini(struct answers *a);

/* Has this call been seen?  Drops what its caller needs no more.  ERR_NOMEM. */
MUST_USE enum err answers_find(struct answers *a, const struct answers_id *id,
                               enum answers_found *found, struct answers_entry **out);

/* After ANSWERS_NEW: e is under way. */
void answers_add(struct answers *a, const struct answers_id *id, struct answers_entry *e);

/* It has its answer, of so many bytes; e may be dropped before this returns. */
void answers_done(struct answers *a, struct answers_entry *e, size_t bytes);

/* Take it out, without on_drop(): a call that needs no answer kept (it had no effect, or
 * may be run again).  Does nothing if it is not in. */
void answers_remove(struct answers *a, struct answers_entry *e);

#endif
