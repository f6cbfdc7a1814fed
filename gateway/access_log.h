/* SPDX-License-Identifier: MIT */
/*
 * access_log: a line for each request that is over (-access-log).
 *
 * Each gateway thread has its own descriptor of the same file, opened for appending, and
 * writes whole lines, gathered for at most ACCESS_LOG_MS: no locks, one system call for
 * many requests.  A file that was moved away or removed is opened anew before the next
 * write, so that it can be rotated without a signal.
 */
#ifndef GATEWAY_ACCESS_LOG_H
#define GATEWAY_ACCESS_LOG_H

#include <stdint.h>

#include "core/base/err.h"

struct access_log; /* opaque */
struct exchange;
struct gateway_thread;

enum { ACCESS_LOG_MS = 200 };

/* gateway_options.access_log: "stderr", "stdout", or a file's name. */
MUST_USE enum err access_log_open(struct access_log **out, struct gateway_thread *t,
                                  struct why *why);
void access_log_close(struct access_log *l); /* writes what is left; NULL is allowed */

/* On the thread it was opened for. */
void access_log_line(struct access_log *l, const struct exchange *e, uint64_t sent_bytes,
                     uint64_t elapsed_ns);

#endif
