/* SPDX-License-Identifier: MIT */
/*
 * params: the query string of a request (HTTP API 2), decoded and checked once, before
 * anything else is looked at.
 *
 * A flag is on when its name is there at all; the first of several values counts; unknown
 * names are ignored.  Pure: texts are in the request's arena.
 */
#ifndef GATEWAY_PARAMS_H
#define GATEWAY_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/err.h"
#include "proto/command.pb-c.h"

enum param {
#define PARAM(name) PARAM_##name,
#include "gateway/params_table.h"
#undef PARAM
    PARAM_COUNT
};

struct param_text {
    const char *s; /* n bytes, then a NUL */
    size_t n;
};

struct params {
    uint64_t present;                    /* bit n = enum param n */
    struct param_text text[PARAM_COUNT]; /* set where present */

    /* Absent: 0. */
    int64_t timeout_ns, freshness_ns, db_timeout_ns, linearizable_timeout_ns;
    int64_t retries, trailing_logs;
    Rqlite__Level level;
};

/* ERR_INVALID with the text of HTTP API 2.2, or ERR_NOMEM. */
MUST_USE enum err params_parse(struct params *p, const char *query, struct arena *a,
                               struct why *why);

static inline bool params_has(const struct params *p, enum param which)
{
    return p->present >> which & 1;
}

/* The decoded value; "" if absent. */
static inline struct param_text params_text(const struct params *p, enum param which)
{
    return params_has(p, which) ? p->text[which] : (struct param_text){"", 0};
}

#endif
