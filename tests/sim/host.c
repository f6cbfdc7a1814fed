/* SPDX-License-Identifier: MIT */
/*
 * One node on simulated threads: what node.c, calls.c and snapshots.c are in a real one.
 *
 * The wal thread, the apply thread and the readers are queues whose turn comes a while
 * later; the node thread is the order of events.  What one of them has begun when the
 * host ends is lost, like everything that was not synced.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/io.h"
#include "core/node/command.h"
#include "tests/sim/sim.h"

enum { SYNC_HERE_MAX = 4, READ_WAIT_MS = 10000, APPLY_TIMEOUT_MS = 1000 };

static const struct why gone = {.code = ERR_CLOSED, .text = "store not open"};

/* --- queues -------------------------------------------------------------------- */

static void queue_clear(struct queue *q)
{
    q->first = NULL;
    q->end = &q->first;
}

static void queue_put(struct queue *q, struct mail *m)
{
    m->next = NULL;
    *q->end = m;
    q->end = &m->next;
}

static struct mail *queue_take(struct queue *q)
{
    struct mail *m = q->first;

    queue_clear(q);
    return m;
}

/* --- clocks -------------------------------------------------------------------- */

static uint64_t mono_us(const struct host *h)
{
    int64_t t = (int64_t)(h->w->now - h->started_at);

    return (uint64_t)(h->clock_offset_us + t + t * h->clock_ppm / 1000000);
}

uint64_t host_now_ms(struct host *h)
{
    return mono_us(h) / MS;
}

/* When the host's clock will show local_ms. */
static uint64_t when(const struct host *h, uint64_t local_ms)
{
    int64_t local = (int64_t)(local_ms * MS) - h->clock_offset_us;

    if (local <= 0) return h->w->now;
    return h->started_at + (uint64_t)(local * 1000000 / (1000000 + h->clock_ppm)) + 1;
}

static uint64_t wall_us(const struct host *h)
{
    return (uint64_t)((int64_t)(1700000000000000 + (int64_t)h->w->now) +
                      h->wall_offset_us);
}

/* --- the wal thread ------------------------------------------------------------ */

struct batch { /* of jobs, on their way through the wal thread */
    struct mail *jobs;
    bool done;
};

static void free_jobs(struct mail *jobs)
{
    for (struct mail *next; jobs; jobs = next) {
        next = jobs->next;
        wal_job_free(LIST_ITEM(jobs, struct wal_job, mail));
    }
}

static void drop_batch(struct event *e)
{
    struct batch *b = e->arg;

    free_jobs(b->jobs);
    free(b);
}

static void wal_start(struct host *h);

static void wal_back(struct sim *w, struct event *e)
{
    struct batch *b = e->arg;
    struct host *h = e->host;
    struct mail *jobs = b->jobs;

    (void)w;
    free(b);
    for (struct mail *next; jobs; jobs = next) {
        next = jobs->next;
        h->at_wal--;
        member_wal_done(h->member, LIST_ITEM(jobs, struct wal_job, mail), host_now_ms(h));
    }
    host_note_applied(h);
    member_flush(h->member, host_now_ms(h));
    host_turn_end(h);
}

static void wal_work(struct host *h, struct batch *b)
{
    struct why why = {0};

    b->done = true;
    if (wal_jobs_run(h->wal, b->jobs, &why) != ERR_OK)
        sim_say(h->w, 0, h, "cannot write the log");
}

static void wal_end(struct sim *w, struct event *e)
{
    struct batch *b = e->arg;
    struct host *h = e->host;
    uint64_t at;

    if (!b->done) wal_work(h, b);
    at = w->now + sim_below(w, 50);
    if (at < h->wal_back_at) at = h->wal_back_at;
    h->wal_back_at = at;
    h->batch = NULL;
    host_post(h, at - w->now, wal_back, drop_batch, b);
    h->wal_busy = false;
    h->slow_disk = !sim_chance(w, w->c.quick);
    wal_start(h);
}

/* Whether the bytes reach the disk early or late in the time it takes, nobody knows. */
static void wal_start(struct host *h)
{
    struct batch *b;

    if (h->wal_busy || h->wal_queue.first == NULL || h->disk_held) return;
    b = calloc(1, sizeof *b);
    CHECK(b != NULL);
    b->jobs = queue_take(&h->wal_queue);
    h->wal_busy = true;
    h->batch = b;
    if (sim_chance(h->w, 500)) wal_work(h, b);
    host_post(h, 20 + sim_below(h->w, h->w->c.sync_us), wal_end, drop_batch, b);
}

void host_hold_disk(struct host *h, bool hold)
{
    h->disk_held = hold;
    if (!hold && h->up) wal_start(h);
}

/* Jobs that the node thread carries out itself. */
static void run_own_jobs(struct host *h)
{
    while (h->own_jobs.first) {
        struct mail *jobs = queue_take(&h->own_jobs);
        struct why why = {0};

        (void)wal_jobs_run(h->wal, jobs, &why);
        h->slow_disk = !sim_chance(h->w, h->w->c.quick);
        for (struct mail *next; jobs; jobs = next) {
            next = jobs->next;
            member_wal_done(h->member, LIST_ITEM(jobs, struct wal_job, mail),
                            host_now_ms(h));
        }
    }
}

/* As node.c: small batches while the disk is quick, and what writes nothing. */
static bool sync_here(struct host *h, const struct wal_job *job)
{
    if (h->at_wal > 0 || job->kind != WAL_JOB_PERSIST) return false;
    if (!job->has_work && !job->drop_before) return true;
    return job->n_entries <= SYNC_HERE_MAX && !h->slow_disk && !h->disk_held;
}

static void port_to_wal(void *host, struct wal_job *job)
{
    struct host *h = host;
    bool here = sync_here(h, job);

    if (job->kind == WAL_JOB_PERSIST) check_persist(h, job);
    if (h->own_jobs.first || here) {
        queue_put(&h->own_jobs, &job->mail);
        return;
    }
    queue_put(&h->wal_queue, &job->mail);
    h->at_wal++;
    wal_start(h);
}

/* --- the apply thread ---------------------------------------------------------- */

void host_note_applied(struct host *h)
{
    member_applied(h->member, h->published.index, h->published.hash, host_now_ms(h));
}

static void applied_mail(struct sim *w, struct event *e)
{
    (void)w;
    host_note_applied(e->host);
    host_turn_end(e->host);
}

static void apply_start(struct host *h);

/* Does the last of them look at the whole state? */
static bool check_jobs(struct host *h, struct mail *jobs)
{
    bool whole = false;

    for (struct mail *m = jobs; m; m = m->next) {
        struct apply_job *j = LIST_ITEM(m, struct apply_job, mail);

        if (j->n > 0) check_apply(h, j);
        whole = j->capture || j->restore;
    }
    return whole;
}

static void apply_run(struct sim *w, struct event *e)
{
    struct host *h = e->host;
    struct mail *jobs = queue_take(&h->apply_queue);
    bool whole = check_jobs(h, jobs);
    struct why why = {0};
    uint64_t index, hash;

    h->apply_busy = false;
    if (w->violation[0]) {
        for (struct mail *next; jobs; jobs = next) {
            next = jobs->next;
            apply_job_fail(LIST_ITEM(jobs, struct apply_job, mail), &gone);
        }
        return;
    }
    if (applier_run(h->applier, jobs, &why) != ERR_OK) {
        /* A snapshot that was received may be unreadable by now. */
        if (faulty_dead(h->disk) || (!w->calm && why.code == ERR_IO))
            member_fail(h->member, &why);
        else
            sim_violated(w, "%s cannot apply: %s", h->id, why.text);
        return;
    }
    hash = db_effect_hash(h->db, &index);
    check_applied(h, index, hash);
    if (whole) check_content(h, index);
    h->published.index = applier_index(h->applier);
    h->published.hash = hash;
    if (member_wants_applied(h->member))
        host_post(h, sim_below(w, 100), applied_mail, NULL, NULL);
    apply_start(h);
}

static void apply_start(struct host *h)
{
    if (h->apply_busy || h->apply_queue.first == NULL) return;
    h->apply_busy = true;
    host_post(h, 10 + sim_below(h->w, h->w->c.apply_us), apply_run, NULL, NULL);
}

static void port_to_apply(void *host, struct apply_job *job)
{
    struct host *h = host;

    queue_put(&h->apply_queue, &job->mail);
    apply_start(h);
}

/* --- the node thread's turn ---------------------------------------------------- */

static void timer(struct sim *w, struct event *e);

static void set_timer(struct host *h)
{
    uint64_t at = member_deadline_ms(h->member), other = images_deadline_ms(h->images);

    if (other < at) at = other;
    if (at == UINT64_MAX || at >= h->timer_at) return;
    h->timer_at = at;
    at = when(h, at);
    sim_post(h->w,
             (at > h->w->now ? at - h->w->now : 0) +
                 sim_below(h->w, 3 * MS) * (uint64_t)!h->w->story,
             (struct event){
                 .host = h, .life = h->life, .run = timer, .number = ++h->timer_serial});
}

static void timer(struct sim *w, struct event *e)
{
    struct host *h = e->host;
    uint64_t now = host_now_ms(h);

    if (e->number != h->timer_serial) return; /* set anew since */
    if (w->candidate && w->candidate != h && raft_role(h->raft) != RAFT_LEADER) {
        sim_post(w, 10 * MS, *e);
        return;
    }
    h->timer_at = UINT64_MAX;
    if (now >= member_deadline_ms(h->member)) member_tick(h->member, now);
    host_turn_end(h);
}

static void turn_end(struct sim *w, struct event *e)
{
    (void)w;
    e->host->turn_posted = false;
    host_turn_end(e->host);
}

/* Messages come several at a time. */
void host_turn_end_soon(struct host *h)
{
    if (sim_chance(h->w, 500)) {
        host_turn_end(h);
        return;
    }
    check_turn(h);
    if (h->turn_posted) return;
    h->turn_posted = true;
    host_post(h, sim_below(h->w, 60), turn_end, NULL, NULL);
}

void host_turn_end(struct host *h)
{
    run_own_jobs(h);
    if (h->published.index > member_applied_index(h->member) &&
        member_wants_applied(h->member))
        host_note_applied(h);
    run_own_jobs(h);
    h->is_leader = raft_role(h->raft) == RAFT_LEADER;
    h->caught_up = h->is_leader && member_caught_up(h->member);
    check_turn(h);
    images_tick(h->images, host_now_ms(h));
    set_timer(h);
}

void host_hurry(struct host *h, uint64_t ms)
{
    h->clock_offset_us += (int64_t)(ms * MS);
    h->timer_at = UINT64_MAX; /* it was set by the clock as it was */
    if (h->paused_until > h->w->now) return;
    member_tick(h->member, host_now_ms(h));
    host_turn_end(h);
}

/* --- ports --------------------------------------------------------------------- */

static void port_send(void *host, const struct raft_message *messages, size_t n)
{
    for (size_t i = 0; i < n; i++) network_send(host, &messages[i]);
}

static void port_changed(void *host, const struct raft_effects *fx)
{
    struct host *h = host;
    const char *leader = raft_leader(h->raft);

    if (fx->leader_changed || fx->role_changed) {
        enum raft_role role = raft_role(h->raft);

        if (role == RAFT_LEADER && h->role != RAFT_LEADER)
            sim_say(h->w, 0, h, "leads in term %" PRIu64, raft_term(h->raft));
        else if (role != RAFT_LEADER && h->role == RAFT_LEADER)
            sim_say(h->w, 0, h, "leads no longer, term is %" PRIu64, raft_term(h->raft));
        if (role != RAFT_LEADER && leader[0] && strcmp(leader, h->leader) != 0)
            sim_say(h->w, 0, h, "follows %s in term %" PRIu64, leader,
                    raft_term(h->raft));
        else if (role == RAFT_CANDIDATE && h->role != role)
            sim_say(h->w, 0, h, "campaigns in term %" PRIu64, raft_term(h->raft));
        else if (role == RAFT_PRE_CANDIDATE && h->role != role)
            sim_say(h->w, 0, h, "asks for pre-votes");
        h->role = role;
        snprintf(h->leader, sizeof h->leader, "%s", leader);
    }
    if (fx->config_changed) {
        const struct raft_config *c = raft_config(h->raft);
        char text[200] = "";

        for (size_t i = 0; i < c->n; i++)
            snprintf(text + strlen(text), sizeof text - strlen(text), " %.20s%s",
                     c->members[i].id, c->members[i].voter ? "" : "/");
        sim_say(h->w, 0, h, "members are%s", text);
    }
    if (fx->reset_log)
        sim_say(h->w, 0, h, "drops its log, goes on after %" PRIu64, fx->reset_index);
    if (fx->transfer == RAFT_TRANSFER_DONE) h->w->stats.transfers++;
    if (fx->transfer != RAFT_TRANSFER_NONE)
        sim_say(h->w, 0, h, "transfer %s",
                fx->transfer == RAFT_TRANSFER_DONE ? "done" : "failed");
}

static void port_send_snapshot(void *host, const char *peer, uint64_t min_index)
{
    images_send(((struct host *)host)->images, peer, min_index);
}

static void port_expect_snapshot(void *host, const char *from, uint64_t index,
                                 uint64_t term)
{
    (void)term;
    sim_say(((struct host *)host)->w, 1, host, "%s offers a snapshot at %" PRIu64, from,
            index);
}

static void port_fatal(void *host, const struct why *why)
{
    struct host *h = host;

    h->failed = true;
    sim_say(h->w, 0, h, "stops serving: %s", why->text);
}

static uint64_t port_wall_ns(void *host)
{
    struct host *h = host;
    uint64_t now = wall_us(h) * 1000;

    if (now > h->last_wall) h->last_wall = now;
    return h->last_wall;
}

static uint64_t port_random(void *host)
{
    return rand_u64(&((struct host *)host)->rand);
}

static const struct member_ports member_ports = {
    .to_wal = port_to_wal,
    .to_apply = port_to_apply,
    .send = port_send,
    .changed = port_changed,
    .send_snapshot = port_send_snapshot,
    .expect_snapshot = port_expect_snapshot,
    .fatal = port_fatal,
    .wall_ns = port_wall_ns,
    .random = port_random,
};

static void aside_run(struct sim *w, struct event *e)
{
    struct reader_job *j = e->arg;

    (void)w;
    j->run(j, NULL);
}

static void port_aside(void *host, struct reader_job *j)
{
    struct host *h = host;

    host_post(h, sim_below(h->w, 4 * h->w->c.sync_us), aside_run, NULL, j);
}

static void back_run(struct sim *w, struct event *e)
{
    struct mail *m = e->arg;

    (void)w;
    m->deliver(m, e->host);
    host_note_applied(e->host);
    member_flush(e->host->member, host_now_ms(e->host));
    host_turn_end(e->host);
}

static bool port_back(void *host, struct mail *m,
                      void (*deliver)(struct mail *m, void *host))
{
    struct host *h = host;

    if (!h->up) return false; /* ending: nothing is delivered any more */
    m->deliver = deliver;
    host_post(h, sim_below(h->w, 100), back_run, NULL, m);
    return true;
}

static void fold_if_due(struct host *h)
{
    struct snapshot_stats st;
    struct why why = {0};

    snapshot_stats(h->store, &st);
    if (st.deltas == 0 || images_busy(h->images)) return;
    if (st.deltas < SNAPSHOT_FOLD_AT && !sim_chance(h->w, 100)) return;
    if (images_fold(h->images, &why) != ERR_OK)
        sim_say(h->w, 1, h, "folds nothing: %s", why.text);
}

static void port_taken(void *host, const struct image_taken *t)
{
    struct host *h = host;

    if (t->why->code == ERR_OK) {
        h->w->stats.taken++;
        h->w->stats.deltas += !t->whole;
        sim_say(h->w, 0, h, "has taken a snapshot at %" PRIu64, t->meta->index);
        fold_if_due(h);
    } else {
        sim_say(h->w, 0, h, "has taken no snapshot: %s", t->why->text);
    }
}

static void port_folded(void *host, size_t n, const struct why *why)
{
    struct host *h = host;

    h->w->stats.folds += why->code == ERR_OK;
    sim_say(h->w, 1, h, "has folded %zu: %s", n, why->code ? why->text : "fine");
}

static enum err port_stream(void *host, const char *peer, const char *addr,
                            uint64_t min_index, struct why *why)
{
    (void)addr;
    return network_stream(host, peer, min_index, why);
}

static void port_received(void *host, void *user, const struct snapshot_meta *m,
                          const struct why *why)
{
    struct host *h = host;

    if (why->code == ERR_OK)
        sim_say(h->w, 0, h, "has received a snapshot at %" PRIu64, m->index);
    else
        sim_say(h->w, 0, h, "refuses a snapshot: %s", why->text);
    network_received(host, user, why);
}

static void port_restored(void *host, const struct snapshot_meta *m)
{
    struct host *h = host;

    h->w->stats.installs++;
    sim_say(h->w, 0, h, "has restored the snapshot at %" PRIu64, m->index);
}

static uint64_t port_now_ms(void *host)
{
    return host_now_ms(host);
}

static uint64_t port_wall_ms(void *host)
{
    return wall_us(host) / MS;
}

static uint64_t port_cluster_id(void *host)
{
    (void)host;
    return 1;
}

static const struct images_ports images_ports = {
    .aside = port_aside,
    .back = port_back,
    .taken = port_taken,
    .folded = port_folded,
    .stream = port_stream,
    .received = port_received,
    .restored = port_restored,
    .now_ms = port_now_ms,
    .wall_ms = port_wall_ms,
    .cluster_id = port_cluster_id,
};

/* --- calls, as calls.c serves them --------------------------------------------- */

static void refuse(struct call *c, enum err code, const char *text)
{
    (void)why_set(&c->why, code, "%s", text);
    c->done(c);
}

static void refuse_not_leader(struct host *h, struct call *c)
{
    bool known = raft_leader(h->raft)[0] != '\0';

    refuse(c, known ? ERR_NOT_LEADER : ERR_NO_LEADER,
           known ? "not leader" : "leader not found");
}

static void drop_call(struct event *e)
{
    refuse(e->arg, ERR_CLOSED, "store not open");
}

static void drop_execute(struct event *e)
{
    struct call_execute *c = LIST_ITEM(e->arg, struct call_execute, call);

    blob_unref(c->request);
    c->request = NULL;
    refuse(e->arg, ERR_CLOSED, "store not open");
}

static void execute_mail(struct sim *w, struct event *e)
{
    struct host *h = e->host;

    (void)w;
    member_propose(h->member, LIST_ITEM(e->arg, struct call_execute, call),
                   COMMAND_EXECUTE, host_now_ms(h));
    host_note_applied(h);
    member_flush(h->member, host_now_ms(h));
    host_turn_end(h);
}

void host_execute(struct host *h, struct call_execute *c)
{
    if (!h->is_leader) {
        blob_unref(c->request);
        c->request = NULL;
        refuse_not_leader(h, &c->call);
        return;
    }
    host_post(h, sim_below(h->w, 100), execute_mail, drop_execute, &c->call);
}

static void read_now(struct sim *w, struct event *e)
{
    struct call_query *c = LIST_ITEM(e->arg, struct call_query, call);
    struct host *h = e->host;
    struct db_request req = {.n = c->request->n_statements};

    (void)w;
    if (h->reader == NULL && db_reader_open(h->db, &h->reader, NULL) != ERR_OK) {
        sim_violated(h->w, "%s: no read connection", h->id);
        return;
    }
    client_check_read(h, c);
    req.stmts = command_statements(c->arena, c->request->statements, req.n);
    c->call.why.code =
        db_reader_query(h->reader, &req, &c->call.cancelled, c->sink, &c->call.why);
    c->call.done(&c->call);
}

static void resume_read(struct call *c, void *owner)
{
    struct host *h = owner;

    host_post(h, sim_below(h->w, 2 * h->w->c.apply_us), read_now, drop_call, c);
}

static void query_mail(struct sim *w, struct event *e)
{
    struct host *h = e->host;
    struct call_query *c = LIST_ITEM(e->arg, struct call_query, call);
    Rqlite__Level level = c->request->level;
    uint64_t now = host_now_ms(h);

    /* The first such read of a term goes through the log: for those who look at its
     * index, so it must be right without, too. */
    if (level == RQLITE__LEVEL__LINEARIZABLE && (w->story || sim_chance(w, 400)) &&
        member_strong_read_term(h->member) != raft_term(h->raft))
        level = RQLITE__LEVEL__STRONG;
    if (level == RQLITE__LEVEL__WEAK)
        member_wait_ready(h->member, &c->call, READ_WAIT_MS, now);
    else if (level == RQLITE__LEVEL__STRONG)
        member_propose_query(h->member, c, now);
    else
        member_read(h->member, &c->call,
                    c->request->linearizable_timeout_ns > 0
                        ? (uint64_t)c->request->linearizable_timeout_ns / 1000000
                        : READ_WAIT_MS,
                    now);
    host_note_applied(h);
    member_flush(h->member, host_now_ms(h));
    host_turn_end(h);
}

void host_query(struct host *h, struct call_query *c)
{
    c->call.resume = resume_read;
    if (c->request->level == RQLITE__LEVEL__NONE) {
        resume_read(&c->call, h);
        return;
    }
    if (!h->is_leader) {
        refuse_not_leader(h, &c->call);
        return;
    }
    if (c->request->level == RQLITE__LEVEL__WEAK && h->caught_up) {
        resume_read(&c->call, h);
        return;
    }
    host_post(h, sim_below(h->w, 100), query_mail, drop_call, &c->call);
}

void host_snapshot(struct host *h, uint64_t trailing)
{
    struct why why = {0};

    if (images_take(h->images, trailing, false, &why) != ERR_OK)
        sim_say(h->w, h->w->story ? 0 : 1, h, "takes no snapshot: %s", why.text);
    host_turn_end(h);
}

/* --- life and death ------------------------------------------------------------ */

void host_init(struct sim *w, int number)
{
    struct host *h = &w->hosts[number - 1];

    memset(h, 0, sizeof *h);
    h->w = w;
    h->number = number;
    snprintf(h->id, sizeof h->id, "%d", number);
    snprintf(h->addr, sizeof h->addr, "host%d:4002", number);
    snprintf(h->dir, sizeof h->dir, "%.70s/%d", w->root, number);
    snprintf(h->scratch, sizeof h->scratch, "%.70s/%d/scratch", w->root, number);
    h->disk = faulty_new();
    faulty_import(h->disk);
    h->life = 1;
}

void host_free(struct host *h)
{
    faulty_free(h->disk);
}

struct host *host_find(struct sim *w, const char *id)
{
    for (int i = 0; i < HOSTS; i++)
        if (strcmp(w->hosts[i].id, id) == 0) return &w->hosts[i];
    return NULL;
}

static void make_parents(const char *path)
{
    char part[256];

    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(part, 0700);
        *p = '/';
    }
}

static void close_parts(struct host *h)
{
    images_free(h->images);
    member_free(h->member);
    raft_free(h->raft);
    applier_free(h->applier);
    db_reader_close(h->reader);
    db_close(h->db);
    wal_close(h->wal);
    snapshot_store_close(h->store);
    h->images = NULL;
    h->member = NULL;
    h->raft = NULL;
    h->applier = NULL;
    h->reader = NULL;
    h->db = NULL;
    h->wal = NULL;
    h->store = NULL;
}

static enum err open_database(struct host *h, const struct snapshot_meta *snap,
                              struct why *why)
{
    struct db_options o = {.scratch_dir = h->scratch};
    struct restarted_database d;
    enum err e;

    make_parents(h->scratch);
    (void)mkdir(h->scratch, 0700);
    e = restart_database(&d, &o, h->store, snap, h->id, why);
    h->db = d.db;
    h->applier = d.applier;
    if (e || snap->index == 0) return e;
    check_applied(h, snap->index, snap->effect_hash);
    check_content(h, snap->index);
    return e;
}

static enum err open_parts(struct host *h, struct why *why)
{
    struct sim *w = h->w;
    struct restart_options ro = {.io = faulty_io(h->disk),
                                 .data_dir = h->dir,
                                 .segment_bytes = w->c.segment_bytes,
                                 .raft = {.id = h->id,
                                          .seed = rand_u64(&w->rand),
                                          .heartbeat_ms = HEARTBEAT_MS,
                                          .election_ms = HEARTBEAT_MS,
                                          .lease_ms = LEASE_MS,
                                          .commit_ms = 10,
                                          .max_append_bytes = w->c.append_bytes,
                                          .max_inflight_bytes = w->c.inflight_bytes,
                                          .max_uncommitted_bytes = w->c.uncommitted_bytes,
                                          .cache_bytes = w->c.cache_bytes}};
    struct member_options mo = {
        .ports = &member_ports, .host = h, .apply_timeout_ms = APPLY_TIMEOUT_MS};
    struct images_options io = {.trailing = w->c.trailing,
                                .piece_pages = w->c.piece_pages,
                                .deflate = !w->story && sim_chance(w, 300),
                                .ports = &images_ports,
                                .host = h};
    struct restarted r;
    enum err e = restart_open(&r, &ro, why);

    if (e) return e;
    h->store = r.store;
    h->wal = r.wal;
    h->raft = r.raft;
    r.store = NULL;
    r.wal = NULL;
    r.raft = NULL;
    io.store = h->store;
    io.raft = h->raft;
    io.last_changed = r.snapshot.changed_index;
    e = open_database(h, &r.snapshot, why);
    if (!e) e = member_new(&h->member, h->raft, &mo, why);
    io.member = h->member;
    if (!e) e = images_new(&h->images, &io, why);
    if (!e)
        sim_say(w, 0, h,
                "starts with entries %" PRIu64 " to %" PRIu64 ", snapshot at %" PRIu64,
                wal_first(h->wal), wal_last(h->wal), r.snapshot.index);
    h->commit = h->applied = r.snapshot.index;
    restart_close(&r);
    return e;
}

bool host_start(struct host *h)
{
    struct sim *w = h->w;
    struct why why = {0};
    enum err e;

    CHECK(!h->up);
    queue_clear(&h->wal_queue);
    queue_clear(&h->own_jobs);
    queue_clear(&h->apply_queue);
    h->wal_busy = h->apply_busy = h->failed = h->is_leader = h->caught_up = false;
    h->at_wal = 0;
    h->slow_disk = !sim_chance(w, w->c.quick);
    h->turn_posted = false;
    h->batch = NULL;
    h->wal_back_at = 0;
    h->published.index = h->published.hash = 0;
    h->timer_at = UINT64_MAX;
    h->started_at = w->now;
    h->clock_offset_us = (int64_t)sim_below(w, 100000 * MS) + MS;
    h->clock_ppm =
        (int64_t)sim_below(w, 2 * (uint64_t)w->c.skew_ppm + 1) - (int64_t)w->c.skew_ppm;
    h->last_wall = 0;
    h->applied = 0;
    rand_init(&h->rand, rand_u64(&w->rand));
    h->n_grants = 0;
    h->role = RAFT_FOLLOWER;
    h->leader[0] = '\0';
    h->paused_until = 0;
    w->stats.restarts++;

    e = open_parts(h, &why);
    if (e) {
        bool expected = faulty_dead(h->disk) || (!w->calm && e == ERR_IO);

        if (!expected) sim_violated(w, "%s cannot start: %s", h->id, why.text);
        sim_say(w, 0, h, "cannot start: %s", why.text);
        bool dead = faulty_dead(h->disk);

        faulty_die(h->disk);
        close_parts(h);
        if (dead)
            faulty_crash(h->disk, &w->rand, sim_chance(w, 500) ? 512 : 4096);
        else
            faulty_restart(h->disk);
        return false;
    }
    h->up = true;
    h->term = raft_term(h->raft);
    member_tick(h->member, host_now_ms(h));
    host_turn_end(h);
    return true;
}

static void free_apply_jobs(struct mail *jobs)
{
    for (struct mail *next; jobs; jobs = next) {
        next = jobs->next;
        apply_job_fail(LIST_ITEM(jobs, struct apply_job, mail), &gone);
    }
}

static void take_last(struct host *h)
{
    struct why why = {0};

    if (images_take_last(h->images, h->applier, &why) != ERR_OK) {
        sim_say(h->w, 1, h, "takes no last snapshot: %s", why.text);
        return;
    }
    h->w->stats.taken++;
    sim_say(h->w, 0, h, "has taken a last snapshot");
    check_content(h, applier_index(h->applier));
}

void host_end(struct host *h, enum host_end how)
{
    struct sim *w = h->w;
    struct why why = {0};

    CHECK(h->up);
    if (how == HOST_STOP) { /* what the wal thread has is still written and synced */
        struct mail *jobs = queue_take(&h->wal_queue);

        if (h->batch && !h->batch->done) wal_work(h, h->batch);
        if (jobs) (void)wal_jobs_run(h->wal, jobs, &why);
        free_jobs(jobs);
        if (!h->failed && h->apply_queue.first == NULL && !images_busy(h->images) &&
            !w->violation[0])
            take_last(h);
    } else if (!faulty_dead(h->disk)) {
        faulty_die(h->disk); /* closing is for the memory's sake only */
    }
    h->up = h->disk_held = false;
    images_hurry(h->images);
    member_stop(h->member, ERR_CLOSED, "store not open");
    free_jobs(queue_take(&h->wal_queue));
    free_jobs(queue_take(&h->own_jobs));
    free_apply_jobs(queue_take(&h->apply_queue));
    sim_drop_events(w, h);
    network_host_ended(h);
    close_parts(h);
    h->life++;
    if (how == HOST_POWER)
        faulty_crash(h->disk, &w->rand, sim_chance(w, 500) ? 512 : 4096);
    else
        faulty_restart(h->disk);
    if (how == HOST_POWER)
        w->stats.crashes++;
    else
        w->stats.kills++;
    if (!faulty_dead(h->disk))
        sim_say(w, 0, h, "%s",
                how == HOST_POWER  ? "is without power"
                : how == HOST_KILL ? "is killed"
                                   : "is stopped");
}
