/* SPDX-License-Identifier: MIT */
/*
 * auth: who may do what: the users of a credentials file, kept up to date (HTTP API 14).
 *
 * A password in clear text, and a hash that was found right before, are checked in
 * microseconds by whoever asks.  The first check of a hash, and every wrong password once
 * there are hashes, costs as much as whoever chose the hash wanted it to: that is done by
 * threads of our own, with low priority, so that neither an event loop nor Raft waits for
 * a password.  How long a refusal takes does not tell which names exist.
 *
 * Passwords that were verified are remembered as an HMAC under a key of this process, one
 * for each user, until the file changes.
 *
 * Threads: any, for all but opening, stopping and freeing.
 */
#ifndef CORE_AUTH_AUTH_H
#define CORE_AUTH_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct auth; /* opaque */
struct logger;

enum auth_permission {
    AUTH_JOIN = 1 << 0,
    AUTH_JOIN_READ_ONLY = 1 << 1, /* and join-read-replica: a second name of the same */
    AUTH_REMOVE = 1 << 2,
    AUTH_EXECUTE = 1 << 3,
    AUTH_QUERY = 1 << 4,
    AUTH_STATUS = 1 << 5,
    AUTH_READY = 1 << 6,
    AUTH_BACKUP = 1 << 7,
    AUTH_LOAD = 1 << 8,
    AUTH_SNAPSHOT = 1 << 9,
    AUTH_LEADER_OPS = 1 << 10,
    AUTH_UI = 1 << 11,
    AUTH_EVERYTHING = (1 << 12) - 1 /* "all" */
};

enum { /* longer ones are nobody's; what fits a call to another node */
       AUTH_USER_MAX = 255,
       AUTH_PASSWORD_MAX = 1023
};

/* Read the file and start the threads that watch it and hash.  On ERR_OK the caller owns
 * *out.  ERR_INVALID, ERR_IO, ERR_NOMEM; the text names the file.  logger may be NULL. */
MUST_USE enum err auth_open(struct auth **out, const char *path, struct logger *logger,
                            struct why *why);

/* End the threads.  Logins under way are refused before this returns, and later ones that
 * need a hash are AUTH_BUSY.  NULL is allowed. */
void auth_stop(struct auth *a);
void auth_free(struct auth *a); /* stops it first; NULL is allowed */

/* Read the file again, soon.  (That it has changed is noticed without that, within about
 * a second.)  One that cannot be read or is malformed is reported in the log, and what
 * was read before stays in force. */
void auth_reload(struct auth *a);

enum auth_answer {
    AUTH_NOW,   /* granted is set */
    AUTH_LATER, /* a password is being hashed: done() will be called */
    AUTH_BUSY   /* too many are: nothing was granted, nothing follows */
};

/* The caller's, from AUTH_LATER until done(). */
struct auth_login {
    struct auth_login *next;
    uint32_t wanted;
    uint32_t granted;                   /* result */
    void (*done)(struct auth_login *l); /* on a thread of ours; must not block */
};

/* Which of the wanted permissions does this user have?  user and password may be NULL and
 * are not kept.  a may be NULL: then everybody has every permission. */
enum auth_answer auth_ask(struct auth *a, const char *user, const char *password,
                          uint32_t wanted, uint32_t *granted, struct auth_login *login);

/* Is it certain, without hashing anything, that none of the wanted permissions would be
 * granted?  a may be NULL: never. */
bool auth_never(struct auth *a, const char *user, const char *password, uint32_t wanted);

/* The password with which to log in elsewhere.  ERR_NOT_FOUND: no such user, or one
 * without; ERR_UNSUPPORTED: it is a hash. */
MUST_USE enum err auth_password(struct auth *a, const char *user,
                                char out[AUTH_PASSWORD_MAX + 1]);

#endif
