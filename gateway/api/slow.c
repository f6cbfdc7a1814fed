/* SPDX-License-Identifier: MIT */
/* The slow-query log (-slow-query-ms): which statements took long, and who asked.  Values
 * of parameters are never in it. */
#include <string.h>

#include "core/base/logger.h"
#include "gateway/api/api.h"
#include "gateway/observe.h"

enum { SQL_MAX = 1024 };

/* The statements in a row, cut between characters. */
static size_t gather(char out[SQL_MAX], const struct json_statements *s)
{
    size_t at = 0;

    for (size_t i = 0; i < s->n && at < SQL_MAX; i++) {
        const char *sql = s->list[i]->sql;
        size_t n = strlen(sql);

        if (i > 0) out[at++] = ';';
        if (i > 0 && at < SQL_MAX) out[at++] = ' ';
        if (n > SQL_MAX - at) {
            n = SQL_MAX - at;
            while (n > 0 && ((unsigned char)sql[n] & 0xc0) == 0x80) n--;
            memcpy(out + at, sql, n);
            return at + n;
        }
        memcpy(out + at, sql, n);
        at += n;
    }
    return at;
}

static struct logger_field text(const char *key, const char *s)
{
    return (struct logger_field){
        .key = key, .type = LOGGER_STRING, .text = s, .len = s ? strlen(s) : 0};
}

static struct logger_field number(const char *key, uint64_t v)
{
    return (struct logger_field){.key = key, .type = LOGGER_NUMBER, .number = v};
}

static const char *level_name(const struct api_call *a)
{
    if (a->writes) return "write";
    switch (a->params->level) {
    case RQLITE__LEVEL__NONE: return "none";
    case RQLITE__LEVEL__LINEARIZABLE: return "linearizable";
    case RQLITE__LEVEL__STRONG: return "strong";
    case RQLITE__LEVEL__AUTO: return "auto";
    default: return "weak";
    }
}

void api_slow_query(const struct api_call *a)
{
    const struct gateway *g = a->x->thread->gateway;
    uint64_t limit_ns = g->options.slow_query_ns, took_ns;
    const char *error = a->c.call.why.code ? a->c.call.why.text : NULL;
    char sql[SQL_MAX], client[OBSERVE_CLIENT_MAX];

    if (limit_ns == 0 || !a->sql) return;
    took_ns = api_elapsed_ns(a->x);
    if (took_ns < limit_ns) return;
    const struct logger_field fields[] = {
        {.key = "duration", .type = LOGGER_DURATION, .number = took_ns},
        number("rows", a->sink.rows),
        number("statements", a->sql->n),
        text("consistency", level_name(a)),
        text("client", observe_client(a->x, client)),
        text("user", a->c.call.user),
        text("request_id", a->x->request_id),
        text("error", error),
        {.key = "sql", .type = LOGGER_STRING, .text = sql, .len = gather(sql, a->sql)},
    };
    logger_event(g->logger, LOGGER_WARN, "http", "slow query", fields,
                 sizeof fields / sizeof *fields);
}
