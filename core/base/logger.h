/* SPDX-License-Identifier: MIT */
/*
 * logger: lines for people.
 *
 * "[component] YYYY/MM/DD HH:MM:SS text", local time, one write(2) per line, any thread.
 * With the format JSON instead an object on each line: time (RFC 3339, UTC), level,
 * component, msg, then the fields of the event.
 * error: someone must act.  warn: handled, worth knowing.  info: what a post-mortem
 * wants. debug: off by default, and free when off.  Never SQL parameters or credentials.
 */
#ifndef CORE_BASE_LOGGER_H
#define CORE_BASE_LOGGER_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct buf;

enum logger_level { LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARN, LOGGER_ERROR };
enum logger_format { LOGGER_TEXT, LOGGER_JSON };

struct logger; /* opaque */

/* Lines go to fd (not owned).  ERR_NOMEM only. */
MUST_USE enum err logger_new(struct logger **out, int fd, enum logger_level level);
void logger_free(struct logger *l); /* NULL is allowed */

void logger_set_level(struct logger *l, enum logger_level level);
enum logger_level logger_level(const struct logger *l);

/* Before other threads use it. */
void logger_set_format(struct logger *l, enum logger_format format);
enum logger_format logger_format(const struct logger *l); /* NULL: text */

/* l may be NULL: nothing is printed (tests, tools). */
void logger_log(struct logger *l, enum logger_level level, const char *component,
                const char *fmt, ...) PRINTF_LIKE(4, 5);

/* What an event is about, for programs that read the log: ' key=value' behind a text
 * line, a member of a JSON object. */
struct logger_field {
    const char *key;
    enum { LOGGER_STRING, LOGGER_NUMBER, LOGGER_DURATION } type;
    const char *text; /* STRING; NULL = leave the field out */
    size_t len;
    uint64_t number; /* DURATION: ns; "1.5ms" in text, seconds in JSON */
};

/* A line with a fixed msg and what it is about. */
void logger_event(struct logger *l, enum logger_level level, const char *component,
                  const char *msg, const struct logger_field *fields, size_t n);

/* Append text (NULL if len is 0) as a JSON string with its quotes; bytes that are no
 * UTF-8 become U+FFFD. */
void logger_put_json(struct buf *out, const char *text, size_t len);

#define logger_debug(l, ...) logger_log(l, LOGGER_DEBUG, __VA_ARGS__)
#define logger_info(l, ...)  logger_log(l, LOGGER_INFO, __VA_ARGS__)
#define logger_warn(l, ...)  logger_log(l, LOGGER_WARN, __VA_ARGS__)
#define logger_error(l, ...) logger_log(l, LOGGER_ERROR, __VA_ARGS__)

#endif
