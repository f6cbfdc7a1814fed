/* SPDX-License-Identifier: MIT */
/*
 * functions: random() and its like on the write connection, the same on every node
 * (design 6.2).
 *
 * Registered under the built-in names, so defaults, triggers and views use them, too. The
 * generator is seeded from the entry's seed and the number of the statement in it; every
 * call takes the next number, so rows differ. changes() and total_changes() count from
 * the start of the request: what went before may have happened before a restart of one
 * node and not of another.
 */
#include <string.h>

#include "core/db/internal.h"

static struct rand *generator(struct db_functions *f)
{
    if (!f->seeded) {
        rand_init(&f->rand, f->seed ^ db_mum(f->stmt + 1, 0x9e3779b97f4a7c15));
        f->seeded = true;
    }
    return &f->rand;
}

static void fn_random(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct db *d = sqlite3_user_data(ctx);
    uint64_t r = rand_u64(generator(&d->fn));
    (void)argc;
    (void)argv;
    /* As SQLite: never the smallest integer, whose abs() is an error. */
    sqlite3_result_int64(ctx, (int64_t)(r >> 63 ? ~(r & 0x7fffffffffffffff) + 1 : r));
}

static void fn_randomblob(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct db *d = sqlite3_user_data(ctx);
    int64_t n = sqlite3_value_int64(argv[0]);
    (void)argc;

    if (n < 1) n = 1;
    if (n > sqlite3_limit(sqlite3_context_db_handle(ctx), SQLITE_LIMIT_LENGTH, -1)) {
        sqlite3_result_error_toobig(ctx);
        return;
    }
    void *p = sqlite3_malloc64((sqlite3_uint64)n);
    if (!p) {
        sqlite3_result_error_nomem(ctx);
        return;
    }
    rand_fill(generator(&d->fn), p, (size_t)n);
    sqlite3_result_blob64(ctx, p, (sqlite3_uint64)n, sqlite3_free);
}

static void fn_total_changes(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct db *d = sqlite3_user_data(ctx);
    (void)argc;
    (void)argv;
    sqlite3_result_int64(ctx, sqlite3_total_changes64(d->w->sqlite) - d->fn.base_changes);
}

static void fn_changes(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct db *d = sqlite3_user_data(ctx);
    bool none_yet = sqlite3_total_changes64(d->w->sqlite) == d->fn.base_changes;
    (void)argc;
    (void)argv;
    sqlite3_result_int64(ctx, none_yet ? 0 : sqlite3_changes64(d->w->sqlite));
}

int db_functions_register(struct db_conn *c)
{
    static const struct {
        const char *name;
        int n_args;
        void (*fn)(sqlite3_context *, int, sqlite3_value **);
    } table[] = {
        {"random", 0, fn_random},
        {"randomblob", 1, fn_randomblob},
        {"changes", 0, fn_changes},
        {"total_changes", 0, fn_total_changes},
    };
    int rc = SQLITE_OK;

    for (size_t i = 0; i < sizeof table / sizeof *table && rc == SQLITE_OK; i++)
        rc = sqlite3_create_function_v2(c->sqlite, table[i].name, table[i].n_args,
                                        SQLITE_UTF8 | SQLITE_INNOCUOUS, c->db,
                                        table[i].fn, NULL, NULL, NULL);
    return rc;
}
