/* SPDX-License-Identifier: MIT */
/* GET /db/backup (HTTP API 10.1). */
#include <string.h>
#include <strings.h>

#include "core/base/clock.h"
#include "gateway/api/api.h"

static const struct api_endpoint file_endpoint = {API_FILE, "backup",
                                                  "application/octet-stream"};
static const struct api_endpoint sql_endpoint = {API_FILE, "backup", "application/sql"};

static void answer(struct api_call *a)
{
    const struct call_backup *c = &a->c.backup;
    const struct http_response r = {.status = 200, .content_type = a->endpoint->type};

    if (!c->call.why.code)
        atomic_store_explicit(&a->x->thread->gateway->last_backup_ns,
                              clock_wall_ns(clock_real()), memory_order_relaxed);
    if (c->call.why.code)
        respond_failed(a->x, a->params, a->endpoint, &c->call);
    else if (params_has(a->params, PARAM_compress))
        http_respond_file_gzip(a->x, &r, c->fd, c->size);
    else
        http_respond_file(a->x, &r, c->fd, c->size);
}

/* "a, b,," -> {"a", "b", NULL}; NULL for all tables.  False when out of memory. */
static bool split_tables(struct http_exchange *x, const char *list,
                         const char *const **out)
{
    size_t n = 0, most = 1;
    const char **tables;

    for (const char *s = list; *s; s++) most += *s == ',';
    tables = arena_alloc(&x->arena, (most + 1) * sizeof *tables);
    if (!tables) return false;
    for (const char *s = list;; s++) {
        const char *start = s + strspn(s, " \t\r\n\v\f"), *end;

        s += strcspn(s, ",");
        end = s;
        while (end > start && strchr(" \t\r\n\v\f", end[-1])) end--;
        if (end > start) {
            tables[n] = arena_strndup(&x->arena, start, (size_t)(end - start));
            if (!tables[n++]) return false;
        }
        if (*s == '\0') break;
    }
    tables[n] = NULL;
    *out = n > 0 ? tables : NULL;
    return true;
}

void api_backup(struct http_exchange *x, const struct params *p)
{
    struct backend *b = api_backend(x);
    const char *fmt = params_text(p, PARAM_fmt).s;
    bool sql = strcasecmp(fmt, "sql") == 0, delete = strcasecmp(fmt, "delete") == 0;
    bool vacuum = params_has(p, PARAM_vacuum);
    const char *const *tables = NULL;
    struct api_call *a;

    if (vacuum && (sql || delete)) {
        http_respond_text(x, 500, "invalid backup format");
        return;
    }
    if (sql && !split_tables(x, params_text(p, PARAM_tables).s, &tables)) {
        http_respond_text(x, 500, "out of memory");
        return;
    }
    a = api_call_new(x, p, sql ? &sql_endpoint : &file_endpoint, answer);
    if (!a) return;
    a->c.backup.format = sql      ? DB_BACKUP_SQL
                         : delete ? DB_BACKUP_DELETE
                         : vacuum ? DB_BACKUP_VACUUM
                                  : DB_BACKUP_WAL;
    a->c.backup.tables = tables;
    a->c.backup.fd = -1;
    b->ops->backup(b, &a->c.backup);
}
