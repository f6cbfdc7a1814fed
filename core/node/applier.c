/* SPDX-License-Identifier: MIT */
#include "core/node/applier.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/crc32c.h"
#include "core/base/io.h"
#include "core/base/list.h"
#include "core/base/logger.h"
#include "core/node/command.h"
#include "core/node/mutation.h"
#include "core/node/once.h"

/* A load whose next chunk is so late was given up by whoever sent it.  By the time in the
 * log, so every node gives it up at the same entry. */
#define LOAD_IDLE_NS (10 * 60 * UINT64_C(1000000000))

struct load { /* a SQLite file arriving in chunks */
    uint64_t id;
    int fd; /* -1 = none under way */
    uint64_t size;
    uint64_t term;    /* of its first chunk: no later leader goes on with it */
    uint64_t time_ns; /* of the newest chunk */
    uint32_t crc;
};

struct applier {
    struct db *db; /* borrowed */
    struct logger *logger;
    struct arena arena; /* one entry's decoded message */
    char load_path[4096];
    struct load load;
    bool replaced;     /* since the last capture */
    struct once *once; /* owned; answers to requests with an idempotency key */
    _Atomic uint64_t index, time_ns;
    atomic_bool loading;
    struct divergence effects; /* written by the apply thread */
};

struct apply_job *apply_job_new(size_t cap)
{
    struct apply_job *j = malloc(sizeof *j + cap * sizeof j->items[0]);

    if (j == NULL) return NULL;
    memset(j, 0, sizeof *j);
    j->cap = cap;
    return j;
}

void apply_job_free(struct apply_job *j)
{
    if (j == NULL) return;
    for (size_t i = 0; i < j->n; i++) blob_unref(j->items[i].entry.payload);
    free(j);
}

enum err applier_new(struct applier **out, struct db *d, const char *scratch_dir,
                     struct logger *logger, struct why *why)
{
    struct applier *a = calloc(1, sizeof *a);
    int n;

    if (a == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    a->db = d;
    a->logger = logger;
    a->load.fd = -1;
    arena_init(&a->arena, 0);
    n = snprintf(a->load_path, sizeof a->load_path, "%s/load.sqlite", scratch_dir);
    if (n < 0 || (size_t)n >= sizeof a->load_path) {
        free(a);
        return why_set(why, ERR_TOO_BIG, "data directory path is too long");
    }
    if (once_new(&a->once) != ERR_OK) {
        free(a);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    *out = a;
    return ERR_OK;
}

static void load_drop(struct applier *a)
{
    if (a->load.fd < 0) return;
    close(a->load.fd);
    a->load.fd = -1;
    unlink(a->load_path);
    atomic_store(&a->loading, false);
}

void applier_free(struct applier *a)
{
    if (a == NULL) return;
    load_drop(a);
    once_free(a->once);
    arena_fini(&a->arena);
    free(a);
}

enum err applier_begin_at(struct applier *a, uint64_t index, uint64_t time_ns,
                          const struct blob *extra, struct why *why)
{
    enum err e = once_load(a->once, extra, why);

    if (e) return err_wrap(why, e, "restore snapshot at %" PRIu64, index);
    atomic_store_explicit(&a->time_ns, time_ns, memory_order_relaxed);
    atomic_store_explicit(&a->index, index, memory_order_release);
    return ERR_OK;
}

/* As of the time of the newest entry: no image holds half a load, and none that goes on
 * may be dropped, for other nodes go on with it. */
static bool load_given_up(const struct applier *a, uint64_t time_ns)
{
    return a->load.fd >= 0 && time_ns - a->load.time_ns > LOAD_IDLE_NS;
}

static enum err load_begin(struct applier *a, uint64_t id, uint64_t term, struct why *why)
{
    load_drop(a);
    a->load.fd = open(a->load_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (a->load.fd < 0) return why_errno(why, "create %s", a->load_path);
    a->load.id = id;
    a->load.term = term;
    a->load.size = 0;
    a->load.crc = 0;
    atomic_store(&a->loading, true);
    return ERR_OK;
}

/* A chunk that does not continue the load under way is refused, the same on every node:
 * what came before it decides, and that is the log.  Refusals are the proposer's; only
 * this node's own trouble is an error. */
static enum err apply_load(struct applier *a, const struct db_context *ctx,
                           const Rqlite__LoadChunk *m, struct why *refusal,
                           struct why *why)
{
    enum err e;

    if (m->offset == 0) {
        e = load_begin(a, m->load, ctx->term, why);
        if (e) return e;
    } else if (a->load.fd < 0 || a->load.id != m->load || a->load.size != m->offset ||
               load_given_up(a, ctx->time_ns)) {
        db_apply_nothing(a->db, ctx);
        (void)why_set(refusal, ERR_INVALID,
                      "load interrupted by another one, or by a change of leader");
        return ERR_OK;
    }
    for (size_t done = 0; done < m->data.len;) {
        ssize_t n =
            pwrite(a->load.fd, m->data.data + done, io_write_some(m->data.len - done),
                   (off_t)(a->load.size + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return why_errno(why, "write %s", a->load_path);
        done += (size_t)n;
    }
    a->load.crc = crc32c(a->load.crc, m->data.data, m->data.len);
    a->load.size += m->data.len;
    a->load.time_ns = ctx->time_ns;
    if (!m->last) {
        db_apply_nothing(a->db, ctx);
        return ERR_OK;
    }
    if (a->load.size != m->size || a->load.crc != m->crc32c) {
        load_drop(a);
        db_apply_nothing(a->db, ctx);
        (void)why_set(refusal, ERR_INVALID,
                      "load does not match its length and checksum");
        return ERR_OK;
    }
    e = db_apply_replace(a->db, ctx, a->load_path, why);
    a->replaced = true;
    load_drop(a);
    return e;
}

enum err applier_forget(struct applier *a, struct why *why)
{
    load_drop(a);
    return db_session_end(a->db, why);
}

static enum err apply_once(struct applier *a, const struct db_context *ctx,
                           const struct db_request *req, const Rqlite__ExecuteRequest *m,
                           struct row_sink *sink, struct call *call, struct why *why)
{
    struct once_outcome out;
    enum err e = once_apply(a->once, a->db, ctx, req, m, sink, &out, why);

    if (e || call == NULL) return e;
    LIST_ITEM(call, struct call_execute, call)->raft_index = out.index;
    if (out.refusal.code) call->why = out.refusal;
    return ERR_OK;
}

static enum err apply_entry(struct applier *a, const struct raft_entry *entry,
                            struct row_sink *sink, struct call *call, struct why *why)
{
    struct db_context ctx = {.index = entry->index, .term = entry->term};
    struct command cmd;
    enum err e;

    /* A new leader's first entry ends what its predecessor left half done. */
    if (a->load.fd >= 0 && entry->term != a->load.term) load_drop(a);
    if (entry->type < RAFT_ENTRY_APP || entry->type == COMMAND_QUERY) {
        ctx.time_ns = atomic_load_explicit(&a->time_ns, memory_order_relaxed);
        db_apply_nothing(a->db, &ctx);
        if (entry->type == COMMAND_QUERY && call != NULL) {
            struct call_query *q = LIST_ITEM(call, struct call_query, call);
            struct db_request req;

            e = db_commit(a->db, why);
            if (e) return e;
            /* What fails from here on costs this read alone. */
            if (!command_query(&req, &a->arena, q->request))
                (void)why_set(&call->why, ERR_NOMEM, "out of memory");
            else
                (void)!db_query_here(a->db, &req, q->sink, &call->why);
        }
        return ERR_OK;
    }
    e = command_decode(&cmd, &a->arena, entry->type, entry->payload, why);
    if (e) return err_wrap(why, e, "entry %" PRIu64, entry->index);

    /* Time never runs backwards, whichever clock a later leader has: the rule depends on
     * the log alone, so every node comes to the same time. */
    ctx.time_ns = atomic_load_explicit(&a->time_ns, memory_order_relaxed);
    if (cmd.time_ns > ctx.time_ns) ctx.time_ns = cmd.time_ns;
    atomic_store_explicit(&a->time_ns, ctx.time_ns, memory_order_relaxed);
    ctx.seed = cmd.seed;

    switch (cmd.type) {
    case COMMAND_EXECUTE: {
        const Rqlite__ExecuteRequest *m = cmd.u.execute;
        struct db_request req = {.n = m->n_statements,
                                 .transaction = m->transaction,
                                 .noparse = m->noparse,
                                 .rows = m->rows,
                                 .qualify_columns = m->qualify_columns,
                                 .limited = m->max_steps > 0,
                                 .max_steps = m->max_steps};

        req.stmts = command_statements(&a->arena, m->statements, m->n_statements);
        if (req.stmts == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        if (m->once_key.len > 0) return apply_once(a, &ctx, &req, m, sink, call, why);
        return db_apply(a->db, &ctx, &req, sink, why);
    }
    case COMMAND_SCRIPT: {
        const ProtobufCBinaryData *text = &cmd.u.script->sql;
        const char *sql =
            arena_strndup(&a->arena, (const char *)text->data, text->len); /* ends it */

        if (sql == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        return db_apply_script(a->db, &ctx, sql, text->len, sink, why);
    }
    case COMMAND_LOAD: {
        struct why refusal = {0};

        e = apply_load(a, &ctx, cmd.u.load, &refusal, why);
        if (e == ERR_OK && refusal.code && call) call->why = refusal;
        return e;
    }
    default:
        return why_set(why, ERR_UNSUPPORTED, "entry %" PRIu64 " is of unknown type",
                       entry->index);
    }
}

static struct row_sink *sink_of(const struct apply_item *it)
{
    if (it->call == NULL || it->entry.type == COMMAND_QUERY) return NULL;
    return LIST_ITEM(it->call, struct call_execute, call)->sink;
}

static enum err capture(struct applier *a, struct apply_capture *c, struct why *why)
{
    uint64_t ends = db_session_ends(a->db);

    if (ends && applier_index(a) >= ends && db_session_end(a->db, &c->why) != ERR_OK) {
        if (why) *why = c->why;
        (void)!c->run(c, NULL, NULL);
        return why ? why->code : ERR_IO;
    }
    if (load_given_up(a, atomic_load_explicit(&a->time_ns, memory_order_relaxed)))
        load_drop(a); /* its next chunk is refused, dropped or not */
    if (atomic_load(&a->loading))
        c->why.code = why_set(&c->why, ERR_BUSY, "load in progress");
    else
        c->why.code = db_capture_begin(a->db, &c->state, &c->changed, &c->why);
    if (c->why.code == ERR_OK && once_save(a->once, &c->extra) != ERR_OK)
        c->why.code = why_set(&c->why, ERR_NOMEM, "out of memory");
    if (c->why.code) {
        if (!atomic_load(&a->loading)) c->again = db_session_ends(a->db);
        return c->run(c, NULL, why);
    }
    c->time_ns = atomic_load_explicit(&a->time_ns, memory_order_relaxed);
    c->replaced = a->replaced;
    a->replaced = false;
    return c->run(c, a->db, why);
}

static enum err restore(struct applier *a, struct apply_restore *r, struct why *why)
{
    enum err e;

    load_drop(a);
    e = db_restore(a->db, &r->from, &r->state, why);
    if (e) return err_wrap(why, e, "restore snapshot at %" PRIu64, r->state.index);
    return applier_begin_at(a, r->state.index, r->time_ns, r->extra, why);
}

void apply_job_fail(struct apply_job *j, const struct why *why)
{
    for (size_t i = 0; i < j->n; i++) {
        struct call *c = j->items[i].call;

        if (c == NULL) continue;
        c->why = *why;
        if (c->why.code == ERR_CLOSED) /* it is committed: others apply it */
            c->why.code = ERR_LEADERSHIP_LOST;
        c->top_level = true;
        c->done(c);
    }
    if (j->capture) {
        j->capture->why = *why;
        (void)!j->capture->run(j->capture, NULL, NULL);
    }
    apply_job_free(j);
}

static void fail_jobs(struct mail *jobs, const struct why *why)
{
    for (struct mail *m = jobs, *next; m != NULL; m = next) {
        struct apply_job *j = LIST_ITEM(m, struct apply_job, mail);

        next = m->next;
        apply_job_fail(j, why);
    }
}

static void record_effects(struct applier *a)
{
    uint64_t index, hash = db_effect_hash(a->db, &index);

    divergence_record(&a->effects, index, hash);
}

/* Jobs that hold entries, up to the next that is something else: applied as one batch. */
static enum err run_entries(struct applier *a, struct mail *jobs, const struct mail *end,
                            struct why *why)
{
    uint64_t index = atomic_load_explicit(&a->index, memory_order_relaxed);
    enum err e = ERR_OK;

    for (struct mail *m = jobs; m != end && e == ERR_OK; m = m->next) {
        struct apply_job *j = LIST_ITEM(m, struct apply_job, mail);

        for (size_t i = 0; i < j->n && e == ERR_OK; i++) {
            struct apply_item *it = &j->items[i];

            CHECK(index == 0 || it->entry.index == index + 1);
            arena_reset(&a->arena);
            e = apply_entry(a, &it->entry, sink_of(it), it->call, why);
            index = it->entry.index;
            if (e == ERR_OK) record_effects(a);
        }
    }
    if (e == ERR_OK) e = db_commit(a->db, why);
    if (e == ERR_OK) atomic_store_explicit(&a->index, index, memory_order_release);
    return e;
}

static struct mail *answer(struct mail *jobs, const struct mail *end)
{
    struct mail *m = jobs;

    for (struct mail *next; m != end; m = next) {
        struct apply_job *j = LIST_ITEM(m, struct apply_job, mail);

        next = m->next;
        for (size_t i = 0; i < j->n; i++) {
            struct call *c = j->items[i].call;

            if (c) c->done(c);
        }
        apply_job_free(j);
    }
    return m;
}

static bool has_entries(const struct mail *m)
{
    return LIST_ITEM(m, struct apply_job, mail)->n > 0;
}

static enum err run_other(struct applier *a, struct apply_job *j, struct why *why)
{
    struct apply_capture *c = j->capture;
    enum err e = ERR_OK;

    j->capture = NULL; /* told once, also if it fails */
    if (c) e = capture(a, c, why);
    if (j->restore) {
        if (!node_mutation(NODE_MUT_NOT_RESTORED)) e = restore(a, j->restore, why);
        if (!e) j->restore->done(j->restore, a->db);
    }
    return e;
}

enum err applier_run(struct applier *a, struct mail *jobs, struct why *why)
{
    struct why local = {0};
    enum err e = ERR_OK;

    while (jobs && !e) {
        struct mail *end = jobs;

        if (!has_entries(jobs)) {
            struct apply_job *j = LIST_ITEM(jobs, struct apply_job, mail);
            struct mail *next = jobs->next;

            e = run_other(a, j, &local);
            if (e) break;
            apply_job_free(j);
            jobs = next;
            continue;
        }
        while (end && has_entries(end)) end = end->next;
        e = run_entries(a, jobs, end, &local);
        if (!e) jobs = answer(jobs, end);
    }
    if (e) {
        local.code = e;
        if (why) *why = local;
        fail_jobs(jobs, &local);
    }
    return e;
}

uint64_t applier_index(const struct applier *a)
{
    return atomic_load_explicit(&a->index, memory_order_acquire);
}

uint64_t applier_time_ns(const struct applier *a)
{
    return atomic_load_explicit(&a->time_ns, memory_order_relaxed);
}

enum divergence_verdict applier_compare(const struct applier *a, uint64_t index,
                                        uint64_t hash)
{
    return divergence_compare(&a->effects, index, hash);
}

bool applier_loading(const struct applier *a)
{
    return atomic_load(&a->loading);
}
