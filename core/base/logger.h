/* SPDX-License-Identifier: MIT */
/*
 * logger: lines for people.
 *
 * "[component] YYYY/MM/DD HH:MM:SS text", local time, one write(2) per line, any thread.
 * error: someone must act.  warn: handled, worth knowing.  info: what a post-mortem
 * wants. debug: off by default, and free when off.  Never SQL parameters or credentials.
 */
#ifndef CORE_BASE_LOGGER_H
#define CORE_BASE_LOGGER_H

#include "core/base/err.h"

enum logger_level { LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARN, LOGGER_ERROR };

struct logger; /* opaque */

/* Lines go to fd (not owned).  ERR_NOMEM only. */
MUST_USE enum err logger_new(struct logger **out, int fd, enum logger_level level);
void logger_free(struct logger *l); /* NULL is allowed */

void logger_set_level(struct logger *l, enum logger_level level);
enum logger_level logger_level(const struct logger *l);

/* l may be NULL: nothing is printed (tests, tools). */
void logger_log(struct logger *l, enum logger_level level, const char *component,
                const char *fmt, ...) PRINTF_LIKE(4, 5);

#define logger_debug(l, ...) logger_log(l, LOGGER_DEBUG, __VA_ARGS__)
#define logger_info(l, ...)  logger_log(l, LOGGER_INFO, __VA_ARGS__)
#define logger_warn(l, ...)  logger_log(l, LOGGER_WARN, __VA_ARGS__)
#define logger_error(l, ...) logger_log(l, LOGGER_ERROR, __VA_ARGS__)

#endif
