/* SPDX-License-Identifier: MIT */
/*
 * err: how a call says that it failed.
 *
 * A code says what a caller might do about it; the words for people are in struct why.
 * Branch on the code, never on the text.
 */
#ifndef CORE_BASE_ERR_H
#define CORE_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define MUST_USE          __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

enum err {
    ERR_OK = 0,
    ERR_NOMEM,    /* an allocation failed */
    ERR_IO,       /* the operating system refused; the text has errno's words */
    ERR_NO_SPACE, /* the disk is full */
    ERR_CORRUPT,  /* bytes on disk or wire are not what they must be */
    ERR_INVALID,  /* the caller's input is wrong; the text says what */
    ERR_TOO_BIG,  /* over a limit; the text says which */
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_BUSY, /* a queue is full or another job excludes this one: retry later */
    ERR_TIMEOUT,
    ERR_CANCELLED,       /* the caller left */
    ERR_CLOSED,          /* the thing is shutting down */
    ERR_NOT_LEADER,      /* another node leads: forward or redirect */
    ERR_NO_LEADER,       /* nobody is known to lead */
    ERR_LEADERSHIP_LOST, /* outcome unknown: the entry may still commit */
    ERR_TRANSFER,        /* leadership is being handed over: retry */
    ERR_NOT_READY, /* leader, but not yet caught up with what was committed before */
    ERR_NOT_OPEN,  /* the database is not open yet */
    ERR_STALE,     /* the local data is older than the caller allows */
    ERR_UNAUTHORIZED,
    ERR_UNREACHABLE, /* a peer could not be contacted */
    ERR_NOTHING,     /* there was nothing to do */
    ERR_UNSUPPORTED,
    ERR_SQL,      /* SQLite's own message is in the text */
    ERR_CONFLICT, /* what was asked for contradicts what was asked for before */
    ERR_COUNT
};

struct why {
    enum err code;
    char text[512];
};

/* Fill why (may be NULL) with code and a sentence without final dot or newline.  Returns
 * code. */
enum err why_set(struct why *why, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As why_set(), with ": <strerror(errno)>" appended; ENOSPC and EDQUOT become
 * ERR_NO_SPACE, ENOMEM ERR_NOMEM, everything else ERR_IO. */
enum err why_errno(struct why *why, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Put "<context>: " before the text that is there, keep or set the code.  Returns code.
 */
enum err err_wrap(struct why *why, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A short constant text for a code, for logs and for a why without text.  Never NULL. */
const char *err_name(enum err code);

/* Ends the process with file, line and expression; stays on in release builds.  For what
 * must hold whatever the world sends us, never for input. */
#define CHECK(x) ((x) ? (void)0 : check_failed(#x, __FILE__, __LINE__))
_Noreturn void check_failed(const char *expr, const char *file, int line);

#endif
