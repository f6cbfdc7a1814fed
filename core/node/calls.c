/* SPDX-License-Identifier: MIT */
/*
 * calls: the way of a request through the threads (design 3).
 *
 * A write goes gateway -> node -> wal -> node -> apply -> gateway.  A read at none or
 * weak goes gateway -> reader -> gateway and never meets the node thread; linearizable
 * and strong ask there first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/doc.h"
#include "core/base/pb.h"
#include "core/base/text.h"
#include "core/node/command.h"
#include "core/node/internal.h"
#include "core/node/snapshots.h"

enum { DEFAULT_WAIT_MS = 10000, READY_WAIT_MS = 1500 };

void call_fail(struct call *c, enum err code, const char *text)
{
    (void)why_set(&c->why, code, "%s", text);
    c->top_level = code != ERR_NOT_LEADER && code != ERR_NO_LEADER;
    c->done(c);
}

static struct call_query *query_of(struct call *c)
{
    return LIST_ITEM(c, struct call_query, call);
}

void call_not_leader(struct node *n, struct call *c)
{
    if (atomic_load(&n->has_leader))
        call_fail(c, ERR_NOT_LEADER, "not leader");
    else
        call_fail(c, ERR_NO_LEADER, "leader not found");
}

static bool refuse_closed(struct node *n, struct call *c)
{
    if (atomic_load_explicit(&n->open, memory_order_relaxed)) return false;
    call_fail(c, ERR_NOT_OPEN, "store not open");
    return true;
}

static void begin(struct node *n, struct call *c)
{
    c->owner = n;
    snprintf(c->served_by, sizeof c->served_by, "%s", n->o.http_addr);
}

/* --- writes ----------------------------------------------------------------------- */

static void tell_space(const struct node *n)
{
    char left[TEXT_SIZE_MAX];

    text_size(left, n->space.free_bytes);
    logger_warn(n->o.logger, "store", "%s is left on the disk of %s: %s", left,
                n->o.data_dir,
                n->space.low ? "writes are refused until there is more"
                             : "writes are taken again");
}

static bool refuse_full(struct node *n, struct call *c)
{
    bool changed, low = space_low(&n->space, node_now_ms(n), &changed);
    char left[TEXT_SIZE_MAX], text[80];

    if (changed) tell_space(n);
    if (!low || raft_role(n->raft) != RAFT_LEADER) return false;
    text_size(left, n->space.free_bytes);
    snprintf(text, sizeof text, "disk full: %s is left on the leader's disk", left);
    call_fail(c, ERR_NO_SPACE, text);
    return true;
}

static void deliver_execute(struct mail *m, void *arg)
{
    struct node *n = arg;
    struct call_execute *c = LIST_ITEM(m, struct call_execute, call.mail);

    if (refuse_full(n, &c->call)) return;
    member_propose(n->member, c, c->entry_type, node_now_ms(n));
}

void node_propose(struct node *n, struct call_execute *c, uint8_t type)
{
    bool fits = c->request->len <= CALL_ENTRY_MAX;

    c->entry_type = type;
    if (fits && node_post(n, &c->call.mail, deliver_execute)) return;
    blob_unref(c->request);
    c->request = NULL;
    if (fits)
        call_fail(&c->call, ERR_NOT_OPEN, "store not open");
    else
        call_fail(&c->call, ERR_TOO_BIG, "the request is too large for the Raft log");
}

void node_execute(struct node *n, struct call_execute *c)
{
    bool open = atomic_load_explicit(&n->open, memory_order_relaxed);

    if (!open || !atomic_load(&n->is_leader)) {
        blob_unref(c->request);
        c->request = NULL;
        if (!refuse_closed(n, &c->call)) call_not_leader(n, &c->call);
        return;
    }
    begin(n, &c->call);
    node_propose(n, c, COMMAND_EXECUTE);
}

/* --- reads ------------------------------------------------------------------------ */

static void read_now(struct reader_job *j, struct db_reader *r)
{
    struct call_query *c = LIST_ITEM(j, struct call_query, call.job);
    struct db_request req;

    if (r == NULL || !command_query(&req, c->arena, c->request)) {
        call_fail(&c->call, r ? ERR_NOMEM : ERR_IO,
                  r ? "out of memory" : "no read connection");
        return;
    }
    c->sink->pace = SINK_WAITS;
    c->sink->awaited = j->awaited;
    c->call.why.code =
        db_reader_query(r, &req, &c->call.cancelled, c->sink, &c->call.why);
    c->call.done(&c->call);
}

/* Member's resume: what the read had to wait for has been applied. */
static void resume_read(struct call *c, void *owner)
{
    struct node *n = owner;

    c->job.run = read_now;
    readers_submit(n->readers, &c->job);
}

static void deliver_ready_read(struct mail *m, void *arg)
{
    struct node *n = arg;

    member_wait_ready(n->member, LIST_ITEM(m, struct call, mail), DEFAULT_WAIT_MS,
                      node_now_ms(n));
}

static void deliver_strong(struct mail *m, void *arg)
{
    struct node *n = arg;

    member_propose_query(n->member, query_of(LIST_ITEM(m, struct call, mail)),
                         node_now_ms(n));
}

static void deliver_linearizable(struct mail *m, void *arg)
{
    struct node *n = arg;
    struct call *c = LIST_ITEM(m, struct call, mail);
    int64_t timeout_ns = query_of(c)->request->linearizable_timeout_ns;

    /* The first such read of a term goes through the log, as the reference does it:
     * clients see its raft_index. */
    if (member_strong_read_term(n->member) != raft_term(n->raft)) {
        deliver_strong(m, arg);
        return;
    }
    member_read(n->member, c,
                timeout_ns > 0 ? (uint64_t)timeout_ns / 1000000 : DEFAULT_WAIT_MS,
                node_now_ms(n));
}

static bool stale(struct node *n, const Rqlite__QueryRequest *q)
{
    uint64_t contact, now;

    if (q->freshness_ns <= 0 || atomic_load(&n->is_leader)) return false;
    contact = atomic_load(&n->last_contact_ms);
    now = node_now_ms(n);
    if (contact == 0 || (now - contact) * 1000000 > (uint64_t)q->freshness_ns)
        return true;
    return q->freshness_strict &&
           applier_index(n->applier) < atomic_load(&n->last_index) &&
           atomic_load(&n->lag_ns) > (uint64_t)q->freshness_ns;
}

/* On reader r, if we are on one already; else on whichever is free. */
static void read_soon(struct node *n, struct call_query *c, struct db_reader *r)
{
    if (r)
        read_now(&c->call.job, r);
    else
        resume_read(&c->call, n);
}

/* level: what it comes to on this node (auto has been resolved). */
static void serve_read(struct node *n, struct call_query *c, Rqlite__Level level,
                       struct db_reader *r)
{
    void (*deliver)(struct mail * m, void *node) = NULL;

    if (level == RQLITE__LEVEL__NONE) {
        if (stale(n, c->request))
            call_fail(&c->call, ERR_STALE, "stale read");
        else
            read_soon(n, c, r);
        return;
    }
    if (!atomic_load(&n->is_leader)) {
        call_not_leader(n, &c->call);
        return;
    }
    if (level == RQLITE__LEVEL__WEAK) {
        if (atomic_load(&n->caught_up)) {
            read_soon(n, c, r);
            return;
        }
        deliver = deliver_ready_read;
    } else {
        deliver = level == RQLITE__LEVEL__STRONG ? deliver_strong : deliver_linearizable;
    }
    c->call.resume = resume_read;
    if (!node_post(n, &c->call.mail, deliver))
        call_fail(&c->call, ERR_NOT_OPEN, "store not open");
}

static Rqlite__Level resolve_level(const struct node *n, Rqlite__Level level)
{
    if (level != RQLITE__LEVEL__AUTO) return level;
    return n->o.non_voter ? RQLITE__LEVEL__NONE : RQLITE__LEVEL__WEAK;
}

void node_query(struct node *n, struct call_query *c)
{
    if (refuse_closed(n, &c->call)) return;
    begin(n, &c->call);
    serve_read(n, c, resolve_level(n, c->request->level), NULL);
}

/* --- /db/request: reads or writes, which only a look at the database tells -------- */

static void write_done(struct call *w)
{
    struct call_query *c = LIST_ITEM(w, struct call_query, write.call);

    c->raft_index = c->write.raft_index;
    c->went_through_log = true;
    c->call.why = w->why;
    c->call.top_level = w->top_level;
    c->call.done(&c->call);
}

static void request_writes(struct node *n, struct call_query *c)
{
    Rqlite__ExecuteRequest x = RQLITE__EXECUTE_REQUEST__INIT;
    const Rqlite__QueryRequest *q = c->request;

    x.n_statements = q->n_statements;
    x.statements = q->statements;
    x.transaction = q->transaction;
    x.noparse = q->noparse;
    x.rows = true;
    x.qualify_columns = q->qualify_columns;
    x.db_timeout_ns = q->db_timeout_ns;
    x.max_steps = call_max_steps(q->db_timeout_ns);
    x.once_key = q->once_key;
    x.once_print = q->once_print;
    c->write.request = pb_pack(&x.base, CALL_SPARE);
    if (c->write.request == NULL) {
        call_fail(&c->call, ERR_NOMEM, "out of memory");
        return;
    }
    c->write.call.done = write_done;
    c->write.call.why = (struct why){0}; /* the call may have been here before */
    c->write.call.top_level = false;
    c->write.sink = c->sink;
    node_execute(n, &c->write);
}

static void request_on_reader(struct reader_job *j, struct db_reader *r)
{
    struct call_query *c = LIST_ITEM(j, struct call_query, call.job);
    struct node *n = c->call.owner;
    Rqlite__Level level = resolve_level(n, c->request->level);
    struct db_request req;

    if (r == NULL || !command_query(&req, c->arena, c->request)) {
        call_fail(&c->call, r ? ERR_NOMEM : ERR_IO,
                  r ? "out of memory" : "no read connection");
        return;
    }
    if (level == RQLITE__LEVEL__STRONG || !db_reader_is_read_only(r, &req)) {
        request_writes(n, c);
        return;
    }
    serve_read(n, c, level, r);
}

void node_request(struct node *n, struct call_query *c)
{
    if (refuse_closed(n, &c->call)) return;
    begin(n, &c->call);
    c->call.job.run = request_on_reader;
    readers_submit(n->readers, &c->call.job);
}

/* --- the rest --------------------------------------------------------------------- */

static void analyze_on_reader(struct reader_job *j, struct db_reader *r)
{
    struct call_analyze *c = LIST_ITEM(j, struct call_analyze, call.job);

    if (r == NULL) {
        call_fail(&c->call, ERR_IO, "no read connection");
        return;
    }
    for (size_t i = 0; i < c->n; i++)
        db_reader_check_syntax(r, c->sql[i], strlen(c->sql[i]), c->errors[i],
                               sizeof c->errors[i]);
    c->call.done(&c->call);
}

void node_analyze(struct node *n, struct call_analyze *c)
{
    if (refuse_closed(n, &c->call)) return;
    c->call.owner = n;
    c->call.job.run = analyze_on_reader;
    readers_submit(n->readers, &c->call.job);
}

void node_nodes(struct node *n, struct call_nodes *c)
{
    uint64_t begun = clock_mono_ns(n->o.clock);
    size_t count = 0;

    if (!atomic_load(&n->open)) {
        call_fail(&c->call, ERR_NOT_OPEN,
                  c->leader_only ? "leader not found" : "store nodes: store not open");
        return;
    }
    pthread_mutex_lock(&n->lock);
    if (c->leader_only && n->leader_id[0] == '\0') {
        pthread_mutex_unlock(&n->lock);
        call_fail(&c->call, ERR_NO_LEADER, "leader not found");
        return;
    }
    c->nodes = arena_calloc(c->arena, n->view.n + 1, sizeof *c->nodes);
    for (size_t i = 0; c->nodes && i < n->view.n; i++) {
        const struct raft_member *m = &n->view.members[i];
        struct node_view *v = &c->nodes[count];
        bool self = strcmp(m->id, n->o.id) == 0;

        if (!m->voter && !c->nonvoters && !c->leader_only) continue;
        if (c->leader_only && strcmp(m->id, n->leader_id) != 0) continue;
        v->id = arena_strdup(c->arena, m->id);
        v->addr = arena_strdup(c->arena, m->addr);
        v->voter = m->voter;
        v->reachable = self;
        v->leader = self && strcmp(m->id, n->leader_id) == 0;
        v->version = self ? n->o.version : "";
        v->api_addr = self ? arena_printf(c->arena, "%s://%s",
                                          n->o.https ? "https" : "http", n->o.http_addr)
                           : "";
        v->error = self ? "" : "not contacted";
        v->time_ns = clock_mono_ns(n->o.clock) - begun + 1;
        count++;
    }
    c->n = count;
    pthread_mutex_unlock(&n->lock);
    if (arena_failed(c->arena)) {
        call_fail(&c->call, ERR_NOMEM, "out of memory");
        return;
    }
    c->call.done(&c->call);
}

/* Does the database answer at all?  Only a failure is of interest. */
struct probe {
    struct row_sink sink;
    struct why *why;
};

static void probe_columns(struct row_sink *s, const struct row_column *cols, size_t n)
{
    (void)s;
    (void)cols;
    (void)n;
}

static bool probe_row(struct row_sink *s, const struct db_value *values, size_t n)
{
    (void)s;
    (void)values;
    (void)n;
    return true;
}

static void probe_end(struct row_sink *s, uint64_t elapsed_ns)
{
    (void)s;
    (void)elapsed_ns;
}

static void probe_written(struct row_sink *s, int64_t id, int64_t rows,
                          uint64_t elapsed_ns)
{
    (void)s;
    (void)id;
    (void)rows;
    (void)elapsed_ns;
}

static void probe_failed(struct row_sink *s, bool read_side, const char *text, size_t len)
{
    (void)read_side;
    (void)why_set(LIST_ITEM(s, struct probe, sink)->why, ERR_SQL, "%.*s", (int)len, text);
}

static void probe_request_failed(struct row_sink *s, const char *text, size_t len)
{
    probe_failed(s, true, text, len);
}

static const struct row_sink_ops probe_ops = {.columns = probe_columns,
                                              .row = probe_row,
                                              .rows_end = probe_end,
                                              .written = probe_written,
                                              .failed = probe_failed,
                                              .request_failed = probe_request_failed};

static void ready_on_reader(struct reader_job *j, struct db_reader *r)
{
    struct call_ready *c = LIST_ITEM(j, struct call_ready, call.job);
    const struct db_stmt select_1 = {.sql = "SELECT 1", .sql_len = 8};
    const struct db_request req = {.stmts = &select_1, .n = 1};
    struct probe probe = {.sink.ops = &probe_ops, .why = &c->call.why};

    if (r == NULL)
        (void)why_set(&c->call.why, ERR_IO, "no read connection");
    else if (db_reader_query(r, &req, NULL, &probe.sink, &c->call.why) != ERR_OK)
        c->call.why.code = ERR_SQL;
    c->stage = c->call.why.code ? READY_DB : READY_OK;
    c->call.done(&c->call);
}

static void ready_applied(struct call *c, void *owner)
{
    struct node *n = owner;

    c->job.run = ready_on_reader;
    readers_submit(n->readers, &c->job);
}

/* What was committed when this node began to lead, or first heard a leader, is applied.
 */
static bool caught_up_since_start(struct node *n)
{
    if (raft_role(n->raft) == RAFT_LEADER) return member_caught_up(n->member);
    return applier_index(n->applier) >= n->first_commit;
}

static void deliver_ready(struct mail *m, void *arg)
{
    struct node *n = arg;
    struct call *c = LIST_ITEM(m, struct call, mail);
    struct call_ready *r = LIST_ITEM(c, struct call_ready, call);
    uint64_t timeout_ms =
        c->timeout_ns > 0 ? (uint64_t)c->timeout_ns / 1000000 : READY_WAIT_MS;

    if (atomic_load(&n->joining) || !caught_up_since_start(n)) {
        r->stage = READY_STORE;
        c->done(c);
    } else if (r->sync) {
        uint64_t index = raft_commit(n->raft);

        if (r->sync_index > index) index = r->sync_index;
        r->stage = READY_SYNC; /* should the wait end in a time-out */
        c->resume = ready_applied;
        member_wait_applied(n->member, c, index, timeout_ms, node_now_ms(n));
    } else {
        ready_applied(c, n);
    }
}

void node_set_joining(struct node *n, bool joining)
{
    atomic_store(&n->joining, joining);
}

void node_ready(struct node *n, struct call_ready *c)
{
    c->call.owner = n;
    c->stage = READY_OK;
    if (c->call.no_leader) {
        c->call.done(&c->call);
        return;
    }
    if (!node_has_leader(n)) {
        c->stage = READY_NO_LEADER;
        c->call.done(&c->call);
        return;
    }
    if (!node_post(n, &c->call.mail, deliver_ready)) {
        c->stage = READY_NO_LEADER;
        c->call.done(&c->call);
    }
}

/* --- membership and leadership ---------------------------------------------------- */

/* What has been applied at its index is the change only if it is of the same term. */
static void changed_resume(struct call *c, void *owner)
{
    struct node *n = owner;
    const struct call_change *x = LIST_ITEM(c, struct call_change, call);

    if (raft_term_of(n->raft, x->index) == x->term)
        c->done(c);
    else
        call_fail(c, ERR_LEADERSHIP_LOST, "leadership lost while committing log");
}

/* False: it has to wait for another change, for an entry of the leader's own term, or for
 * a transfer to end. */
static bool begin_change(struct node *n, struct call *c)
{
    struct call_change *x = LIST_ITEM(c, struct call_change, call);
    uint64_t index = 0;
    enum err e = member_change_config(n->member, x->put, x->id, x->put ? x->addr : "",
                                      x->voter, &index, node_now_ms(n));

    if (e == ERR_BUSY || e == ERR_NOT_READY || e == ERR_TRANSFER) return false;
    if (e == ERR_NOT_LEADER) {
        call_not_leader(n, c);
    } else if (e) {
        call_fail(c, e,
                  e == ERR_INVALID ? "need at least one voter in configuration"
                                   : err_name(e));
    } else {
        x->index = index;
        x->term = raft_term(n->raft);
        c->resume = changed_resume;
        member_wait_applied(n->member, c, index, DEFAULT_WAIT_MS, node_now_ms(n));
    }
    return true;
}

void calls_changes(struct node *n)
{
    uint64_t now = node_now_ms(n);

    if (n->trying_changes) return; /* called from a step of its own */
    n->trying_changes = true;
    while (n->changes) {
        struct call *c = n->changes;

        n->changes = c->next; /* whoever has it next uses the link */
        if (now - c->since_ms >= DEFAULT_WAIT_MS) {
            call_fail(c, ERR_TIMEOUT, "timed out waiting for a change of configuration");
        } else if (!begin_change(n, c)) {
            c->next = n->changes;
            n->changes = c;
            break;
        }
    }
    n->trying_changes = false;
}

uint64_t calls_changes_deadline_ms(const struct node *n)
{
    return n->changes ? n->changes->since_ms + DEFAULT_WAIT_MS : UINT64_MAX;
}

void calls_changes_fail(struct node *n)
{
    while (n->changes) {
        struct call *c = n->changes;

        n->changes = c->next;
        call_fail(c, ERR_CLOSED, "store not open");
    }
}

static void deliver_change(struct mail *m, void *arg)
{
    struct node *n = arg;
    struct call *c = LIST_ITEM(m, struct call, mail), **end = &n->changes;

    if (!atomic_load(&n->open)) {
        call_fail(c, ERR_NOT_OPEN, "store not open");
        return;
    }
    while (*end) end = &(*end)->next;
    c->next = NULL;
    c->since_ms = node_now_ms(n);
    *end = c;
    calls_changes(n);
}

void node_change(struct node *n, struct call_change *c)
{
    if (refuse_closed(n, &c->call)) return;
    if (!atomic_load(&n->is_leader)) {
        call_not_leader(n, &c->call);
        return;
    }
    begin(n, &c->call);
    if (!node_post(n, &c->call.mail, deliver_change))
        call_fail(&c->call, ERR_NOT_OPEN, "store not open");
}

static void remove_done(struct call *x)
{
    struct call_remove *c = LIST_ITEM(x, struct call_remove, change.call);
    struct node *n = x->owner;

    if (x->why.code == ERR_NOT_FOUND)
        x->why.code = ERR_OK; /* as asked: it is no member */
    else if (x->why.code == ERR_OK)
        logger_info(n->o.logger, "store", "node %s removed successfully", c->id);
    c->call.why = x->why;
    c->call.done(&c->call);
}

void node_remove(struct node *n, struct call_remove *c)
{
    begin(n, &c->call);
    logger_info(n->o.logger, "store", "received request to remove node %s", c->id);
    c->change.id = c->id;
    c->change.call.done = remove_done;
    c->change.call.why = (struct why){0};
    c->change.call.owner = n;
    node_change(n, &c->change);
}

void calls_handed_over(struct node *n, enum err code, const char *text)
{
    while (n->handing_over) {
        struct call *c = n->handing_over;

        n->handing_over = c->next;
        if (code)
            call_fail(c, code, text);
        else
            c->done(c);
    }
}

/* The last one that began to wait. */
static void hand_over_refused(struct node *n, enum err e)
{
    struct call *c = n->handing_over;
    struct call_step_down *s = LIST_ITEM(c, struct call_step_down, call);

    n->handing_over = c->next;
    if (e == ERR_NOT_LEADER)
        call_not_leader(n, c);
    else if (e == ERR_TRANSFER)
        call_fail(c, e, "leadership transfer in progress");
    else if (!s->wait && s->id == NULL)
        c->done(c); /* nobody to hand over to, and nobody waits to hear so */
    else
        call_fail(c, e, "cannot find peer");
}

static void deliver_step_down(struct mail *m, void *arg)
{
    struct node *n = arg;
    struct call *c = LIST_ITEM(m, struct call, mail);
    struct call_step_down *s = LIST_ITEM(c, struct call_step_down, call);
    const struct raft_member *to =
        s->id ? raft_config_find(raft_config(n->raft), s->id) : NULL;
    struct why why;
    enum err e;

    if (s->id && strcmp(s->id, n->o.id) == 0) {
        call_fail(c, ERR_INVALID, "cannot step down to the current Leader");
        return;
    }
    if (s->id && to == NULL) {
        call_fail(c, ERR_NOT_FOUND, "node not found in cluster");
        return;
    }
    if (to && !to->voter) {
        (void)why_set(&why, ERR_INVALID, "node %s is not a voter", s->id);
        call_fail(c, why.code, why.text);
        return;
    }
    c->next = n->handing_over; /* before, since it may end in that very step */
    n->handing_over = c;
    e = member_transfer(n->member, s->id, node_now_ms(n));
    if (e && n->handing_over == c)
        hand_over_refused(n, e);
    else if (n->handing_over == c && !s->wait) { /* else c is its caller's again */
        n->handing_over = c->next;
        c->done(c);
    }
}

void node_step_down(struct node *n, struct call_step_down *c)
{
    if (refuse_closed(n, &c->call)) return;
    if (!atomic_load(&n->is_leader)) {
        call_not_leader(n, &c->call);
        return;
    }
    begin(n, &c->call);
    if (!node_post(n, &c->call.mail, deliver_step_down))
        call_fail(&c->call, ERR_NOT_OPEN, "store not open");
}

/* --- snapshots -------------------------------------------------------------------- */

static void deliver_snapshot(struct mail *m, void *arg)
{
    struct node *n = arg;

    snapshots_take_for(n->snapshots, LIST_ITEM(m, struct call_snapshot, call.mail));
}

void node_snapshot(struct node *n, struct call_snapshot *c)
{
    if (refuse_closed(n, &c->call)) return;
    if (!node_post(n, &c->call.mail, deliver_snapshot))
        call_fail(&c->call, ERR_NOT_OPEN, "store not open");
}

static void deliver_reap(struct mail *m, void *arg)
{
    struct node *n = arg;

    snapshots_reap_for(n->snapshots, LIST_ITEM(m, struct call_reap, call.mail));
}

void node_reap(struct node *n, struct call_reap *c)
{
    if (refuse_closed(n, &c->call)) return;
    if (!node_post(n, &c->call.mail, deliver_reap))
        call_fail(&c->call, ERR_NOT_OPEN, "store not open");
}

/* --- status: the node thread's part, then a reader's ------------------------------ */

static void status_on_reader(struct reader_job *j, struct db_reader *r)
{
    struct call_status *c = LIST_ITEM(j, struct call_status, call.job);

    status_from_reader(c->call.owner, doc_get(c->into, "store"), r);
    c->call.done(&c->call);
}

static void deliver_status(struct mail *m, void *arg)
{
    struct node *n = arg;
    struct call_status *c = LIST_ITEM(m, struct call_status, call.mail);

    status_from_node(n, doc_add_object(c->into, "store"));
    if (c->figures) figures_from_node(n, doc_get(c->into, "store"));
    c->call.job.run = status_on_reader;
    readers_submit(n->readers, &c->call.job);
}

void node_status(struct node *n, struct call_status *c)
{
    c->call.owner = n;
    if (atomic_load(&n->open) && node_post(n, &c->call.mail, deliver_status)) return;
    doc_add_bool(doc_add_object(c->into, "store"), "open", false);
    c->call.done(&c->call);
}
