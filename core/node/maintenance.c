/* SPDX-License-Identifier: MIT */
#include "core/node/maintenance.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/doc.h"
#include "core/base/io.h"
#include "core/base/pb.h"
#include "core/base/text.h"
#include "core/node/command.h"
#include "core/node/internal.h"

enum {
    LOOK_MS_MIN = 100, /* between two looks at the clock, which may be set */
    LOOK_MS_MAX = 60000,
    FILE_MAX = 256,
    OPTIMIZE_FIRST = 0x10002, /* all tables, not only those this process has read */
    OPTIMIZE_LATER = 0xfffe
};

struct task {
    int64_t period_ns;   /* 0 = off */
    uint64_t enabled_ns; /* when it was switched on; wall clock, as the next */
    struct db_upkept last;
};

struct maintenance {
    struct node *node; /* borrowed */
    char path[4200], temporary[4200];
    struct task tasks[DB_UPKEEPS];
    uint64_t look_ms; /* the next look; UINT64_MAX = everything is off */

    bool running; /* what follows is under way */
    bool optimized;
    enum db_upkeep what;
    uint64_t begun_ns;
    struct call_execute execute;
    struct row_sink sink;
    char failure[200]; /* "" = none; the sink's until the call is done */
    struct mail mail;
};

static const struct kind {
    const char *name, *done;
    enum metric runs, failed, duration;
} kinds[DB_UPKEEPS] = {
    [DB_UPKEEP_VACUUM] = {"vacuum", "vacuumed", METRIC_store_num_auto_vacuums,
                          METRIC_store_num_auto_vacuums_failed,
                          METRIC_store_auto_vacuum_duration},
    [DB_UPKEEP_OPTIMIZE] = {"optimize", "optimized", METRIC_store_num_auto_optimizes,
                            METRIC_store_num_auto_optimizes_failed,
                            METRIC_store_auto_optimize_duration},
};

/* --- what is kept: a line "name enabled last index changed" for each --------------- */

/* Times that are yet to come were not written by this clock, and would last for ever. */
static void parse(struct maintenance *m, const char *text)
{
    uint64_t now_ns = clock_wall_ns(m->node->o.clock);

    for (int i = 0; i < DB_UPKEEPS; i++) {
        struct task *t = &m->tasks[i], found = {0};
        const char *line = strstr(text, kinds[i].name);

        if (t->period_ns <= 0 || line == NULL) continue;
        if (sscanf(line + strlen(kinds[i].name),
                   " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &found.enabled_ns,
                   &found.last.time_ns, &found.last.index,
                   &found.last.changed_before) != 4)
            continue;
        if (found.enabled_ns > now_ns || found.last.time_ns > now_ns) continue;
        t->enabled_ns = found.enabled_ns;
        t->last = found.last;
    }
}

static enum err read_file(struct maintenance *m, char text[FILE_MAX + 1], struct why *why)
{
    struct io *io = m->node->o.io;
    struct io_file *f = NULL;
    size_t got = 0;
    enum err e = io->ops->open(io, &f, m->path, IO_READ, why);

    text[0] = '\0';
    if (e == ERR_NOT_FOUND) return ERR_OK;
    if (!e) e = io->ops->read(f, 0, text, FILE_MAX, &got, why);
    text[e ? 0 : got] = '\0';
    io->ops->close(f);
    return e;
}

static enum err write_file(struct maintenance *m, const char *text, struct why *why)
{
    struct io *io = m->node->o.io;
    struct io_file *f = NULL;
    enum err e = io->ops->open(io, &f, m->temporary, IO_CREATE, why);

    if (!e) e = io->ops->truncate(f, 0, why);
    if (!e) e = io->ops->write(f, 0, text, strlen(text), why);
    if (!e) e = io->ops->sync(f, why);
    io->ops->close(f);
    if (!e) e = io->ops->rename(io, m->temporary, m->path, why);
    if (!e) e = io->ops->sync_dir(io, m->node->o.data_dir, why);
    return e;
}

/* Not being able to is told and no failure: a run may come too early. */
static void save(struct maintenance *m)
{
    char text[FILE_MAX + 1] = "";
    struct why why = {0};
    size_t len = 0;
    enum err e;

    for (int i = 0; i < DB_UPKEEPS; i++) {
        const struct task *t = &m->tasks[i];

        if (t->period_ns <= 0) continue;
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                                kinds[i].name, t->enabled_ns, t->last.time_ns,
                                t->last.index, t->last.changed_before);
    }
    e = len > 0 ? write_file(m, text, &why)
                : m->node->o.io->ops->unlink(m->node->o.io, m->path, &why);
    if (e && e != ERR_NOT_FOUND)
        logger_warn(m->node->o.logger, "store",
                    "the times of maintenance are not kept: %s", why.text);
}

/* --- the entry --------------------------------------------------------------------- */

static void keep_failure(struct row_sink *s, const char *text, size_t len)
{
    struct maintenance *m = LIST_ITEM(s, struct maintenance, sink);

    snprintf(m->failure, sizeof m->failure, "%.*s", (int)(len < 190 ? len : 190), text);
}

static void on_failed(struct row_sink *s, bool read_side, const char *text, size_t len)
{
    (void)read_side;
    keep_failure(s, text, len);
}

static void on_columns(struct row_sink *s, const struct row_column *cols, size_t n)
{
    (void)s, (void)cols, (void)n;
}

static bool on_row(struct row_sink *s, const struct db_value *values, size_t n)
{
    (void)s, (void)values, (void)n;
    return true;
}

static void on_rows_end(struct row_sink *s, uint64_t ns)
{
    (void)s, (void)ns;
}

static void on_written(struct row_sink *s, int64_t id, int64_t rows, uint64_t ns)
{
    (void)s, (void)id, (void)rows, (void)ns;
}

static const struct row_sink_ops sink_ops = {.columns = on_columns,
                                             .row = on_row,
                                             .rows_end = on_rows_end,
                                             .written = on_written,
                                             .failed = on_failed,
                                             .request_failed = keep_failure};

/* The newest in the log, as far as it has been applied here.  True: it is another. */
static bool follow(struct maintenance *m, enum db_upkeep what)
{
    struct task *t = &m->tasks[what];
    struct db_upkept seen;

    db_upkept(m->node->db, what, &seen);
    if (t->period_ns <= 0 || seen.time_ns == 0 || seen.index <= t->last.index)
        return false;
    t->last = seen;
    return true;
}

static void deliver_done(struct mail *mail, void *node)
{
    struct maintenance *m = LIST_ITEM(mail, struct maintenance, mail);
    struct node *n = node;
    const struct kind *k = &kinds[m->what];
    int64_t took = (int64_t)(clock_mono_ns(n->o.clock) - m->begun_ns);
    const char *failure =
        m->execute.call.why.code ? m->execute.call.why.text : m->failure;
    char text[TEXT_DURATION_MAX];

    m->running = false;
    if (failure[0]) {
        metrics_add(n->o.metrics, k->failed, 1);
        logger_warn(n->o.logger, "store", "automatic %s failed: %s", k->name, failure);
        return;
    }
    if (m->what == DB_UPKEEP_OPTIMIZE) m->optimized = true;
    metrics_add(n->o.metrics, k->runs, 1);
    metrics_set(n->o.metrics, k->duration, took / 1000000);
    text_duration(text, took);
    logger_info(n->o.logger, "store", "database %s in %s", k->done, text);
    if (follow(m, m->what)) save(m);
}

static void on_done(struct call *c)
{
    struct maintenance *m = LIST_ITEM(c, struct maintenance, execute.call);

    (void)!node_post(m->node, &m->mail, deliver_done); /* closing: nobody asks */
}

static void propose(struct maintenance *m, enum db_upkeep what)
{
    Rqlite__Statement statement = RQLITE__STATEMENT__INIT, *statements = &statement;
    Rqlite__ExecuteRequest request = RQLITE__EXECUTE_REQUEST__INIT;
    char sql[40] = "VACUUM";

    if (what == DB_UPKEEP_OPTIMIZE)
        snprintf(sql, sizeof sql, "PRAGMA optimize=0x%x",
                 (unsigned)(m->optimized ? OPTIMIZE_LATER : OPTIMIZE_FIRST));
    statement.sql = sql;
    request.statements = &statements;
    request.n_statements = 1;
    m->execute = (struct call_execute){.sink = &m->sink};
    m->execute.request = pb_pack(&request.base, CALL_SPARE);
    if (m->execute.request == NULL) return; /* the next look tries again */
    m->execute.call.owner = m->node;
    m->execute.call.done = on_done;
    m->failure[0] = '\0';
    m->what = what;
    m->begun_ns = clock_mono_ns(m->node->o.clock);
    m->running = true;
    node_propose(m->node, &m->execute, COMMAND_EXECUTE);
}

/* --- when -------------------------------------------------------------------------- */

static uint64_t due_ns(const struct task *t)
{
    return (t->last.time_ns ? t->last.time_ns : t->enabled_ns) + (uint64_t)t->period_ns;
}

/* Has anything but such work changed the database since the last of this kind? */
static bool written_since(const struct maintenance *m, enum db_upkeep what)
{
    const struct db_upkept *other =
        &m->tasks[what == DB_UPKEEP_VACUUM ? DB_UPKEEP_OPTIMIZE : DB_UPKEEP_VACUUM].last;
    uint64_t changed = db_changed_index(m->node->db);

    if (other->index > 0 && changed == other->index) changed = other->changed_before;
    return changed > m->tasks[what].last.index;
}

/* Milliseconds from now to the time when a task may be due. */
static uint64_t wait_ms(const struct task *t, uint64_t wall_ns)
{
    uint64_t due = due_ns(t);
    uint64_t ms =
        due > wall_ns ? (due - wall_ns) / 1000000 + 1 : (uint64_t)t->period_ns / 1000000;

    if (ms < LOOK_MS_MIN) return LOOK_MS_MIN;
    return ms > LOOK_MS_MAX ? LOOK_MS_MAX : ms;
}

void maintenance_consider(struct maintenance *m, uint64_t now_ms)
{
    struct node *n = m->node;
    uint64_t wall_ns;
    bool news = false;

    if (now_ms < m->look_ms) return;
    wall_ns = clock_wall_ns(n->o.clock);
    m->look_ms = UINT64_MAX;
    for (int i = 0; i < DB_UPKEEPS; i++) {
        struct task *t = &m->tasks[i];

        if (t->period_ns <= 0) continue;
        if (follow(m, i)) news = true;
        if (due_ns(t) < wall_ns && !m->running && atomic_load(&n->open) &&
            atomic_load(&n->caught_up) && written_since(m, i))
            propose(m, i);
        if (now_ms + wait_ms(t, wall_ns) < m->look_ms)
            m->look_ms = now_ms + wait_ms(t, wall_ns);
    }
    if (news) save(m);
}

uint64_t maintenance_deadline_ms(const struct maintenance *m)
{
    return m->look_ms;
}

/* --- from beginning to end --------------------------------------------------------- */

enum err maintenance_new(struct maintenance **out, struct node *n, struct why *why)
{
    struct maintenance *m = calloc(1, sizeof *m);
    struct why trouble = {0};
    char text[FILE_MAX + 1];
    bool fresh = false;

    if (m == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    m->node = n;
    m->sink.ops = &sink_ops;
    m->look_ms = UINT64_MAX;
    m->tasks[DB_UPKEEP_VACUUM].period_ns = n->o.auto_vacuum_ns;
    m->tasks[DB_UPKEEP_OPTIMIZE].period_ns = n->o.auto_optimize_ns;
    snprintf(m->path, sizeof m->path, "%.4000s/maintenance", n->o.data_dir);
    snprintf(m->temporary, sizeof m->temporary, "%.4000s/maintenance.tmp", n->o.data_dir);
    *out = m;
    if (read_file(m, text, &trouble) != ERR_OK)
        logger_warn(n->o.logger, "store", "%s", trouble.text);
    parse(m, text);
    for (int i = 0; i < DB_UPKEEPS; i++) {
        struct task *t = &m->tasks[i];
        bool kept = strstr(text, kinds[i].name) != NULL;

        if (t->period_ns > 0) m->look_ms = 0;
        if (t->period_ns > 0 && t->enabled_ns == 0) {
            t->enabled_ns = clock_wall_ns(n->o.clock);
            fresh = true;
        } else if (t->period_ns <= 0 && kept) {
            fresh = true;
        }
    }
    if (fresh) save(m);
    return ERR_OK;
}

void maintenance_free(struct maintenance *m)
{
    free(m);
}

void maintenance_status(const struct maintenance *m, struct doc *store)
{
    const struct task *t = &m->tasks[DB_UPKEEP_VACUUM];
    struct doc *d;

    if (t->period_ns <= 0) return;
    d = doc_add_object(store, "auto_vacuum");
    if (t->last.time_ns) doc_add_time(d, "last_vacuum", t->last.time_ns);
    doc_add_time(d, "next_vacuum_after", due_ns(t));
}
