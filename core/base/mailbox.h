/* SPDX-License-Identifier: MIT */
/*
 * mailbox: how threads hand each other work.  Many posters, one taker.
 *
 * A mail is intrusive: embed struct mail in whatever is sent.  Once posted it belongs to
 * the taker, until the taker posts it (or something else) back.  Mails arrive in the
 * order in which they were posted.  A taker takes everything there is at once, so a busy
 * thread is woken once for many mails; posting to a taker that is awake costs no system
 * call.
 *
 * This file and its .c hold the only mutex on the request path.
 */
#ifndef CORE_BASE_MAILBOX_H
#define CORE_BASE_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

struct mail {
    struct mail *next;
    /* Called by the taker's loop with the mail; set by the poster. */
    void (*deliver)(struct mail *m, void *taker);
};

struct mailbox; /* opaque */

/* capacity bounds mailbox_post(); 0 = none.  With use_fd the taker polls mailbox_fd()
 * (event loops), else it blocks in mailbox_wait(). */
MUST_USE enum err mailbox_new(struct mailbox **out, size_t capacity, bool use_fd,
                              struct why *why);

/* No poster may be left; mails still inside are dropped, not freed.  NULL is allowed. */
void mailbox_free(struct mailbox *b);

/* Any thread.  ERR_BUSY when full, ERR_CLOSED after mailbox_close(): the mail stays the
 * caller's. */
MUST_USE enum err mailbox_post(struct mailbox *b, struct mail *m);

/* Any thread.  For answers, whose number is bounded by what they answer: never refused
 * for being full; ERR_CLOSED as above. */
MUST_USE enum err mailbox_post_always(struct mailbox *b, struct mail *m);

/* Later posts are refused; the taker is woken. */
void mailbox_close(struct mailbox *b);

/* The taker only.  Everything posted so far, oldest first, linked by next; NULL if there
 * is none. mailbox_take() never blocks; with use_fd it also resets the fd. mailbox_wait()
 * blocks until there is mail, the box is closed or timeout_ms (negative = for ever) has
 * passed. */
struct mail *mailbox_take(struct mailbox *b);
struct mail *mailbox_wait(struct mailbox *b, int timeout_ms);

/* Readable while there is mail; only with use_fd. */
int mailbox_fd(const struct mailbox *b);

bool mailbox_closed(struct mailbox *b);

#endif
