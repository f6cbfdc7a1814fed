/* SPDX-License-Identifier: MIT */
#include "core/node/member.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/list.h"
#include "core/node/command.h"
#include "core/node/mutation.h"

enum {
    PROPOSE_MAX = 1024, /* entries taken into the log by one step */
    APPLY_JOB_ENTRIES = 2048,
    AHEAD_JOBS = 64,
    APPLY_AHEAD_BYTES = 16 << 20, /* handed to the apply thread and not yet applied */
    FETCH_BYTES = 4 << 20
};

struct pending { /* a call that waits for its entry */
    uint64_t index, term;
    struct call *call;
};

struct member {
    struct raft *raft; /* borrowed */
    const struct member_ports *ports;
    void *host;
    uint32_t apply_timeout_ms;

    struct call *queue, **queue_end; /* proposals not yet in the log */

    struct pending
        *ring; /* in the log, not yet handed to the apply thread; indexes rise */
    size_t ring_head, ring_n, ring_cap;

    struct call *reads;   /* wait for a position */
    uint64_t last_read;   /* their ids; never used twice, for raft may still decide about
                             one that has been given up */
    struct call *waiting; /* have a position, wait until it is applied */

    uint64_t apply_to;   /* committed and durable */
    uint64_t apply_next; /* first entry not yet handed over; <= apply_to + 1 */
    uint64_t cut;        /* where the host wants to be asked; 0 = nowhere */
    uint64_t applied;
    struct {
        uint64_t last;
        size_t bytes;
    } ahead[AHEAD_JOBS]; /* jobs handed over, oldest first */
    size_t ahead_head, ahead_n;
    size_t ahead_bytes;
    bool fetching;

    uint64_t strong_read_term;
    uint64_t raft_deadline_ms;
    bool stopped, failed, halted;
};

/* A call's own members say what it is: proposals of statements embed call_execute, strong
 * reads call_query. */
static struct call_query *query_of(struct call *c)
{
    return LIST_ITEM(c, struct call_query, call);
}

static struct call_execute *execute_of(struct call *c)
{
    return LIST_ITEM(c, struct call_execute, call);
}

enum err member_new(struct member **out, struct raft *r, const struct member_options *o,
                    struct why *why)
{
    struct member *m = calloc(1, sizeof *m);

    if (m == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    m->raft = r;
    m->ports = o->ports;
    m->host = o->host;
    m->apply_timeout_ms = o->apply_timeout_ms;
    m->queue_end = &m->queue;
    m->applied = raft_snapshot_index(r);
    m->apply_to = m->applied;
    m->apply_next = m->applied + 1;
    *out = m;
    return ERR_OK;
}

void member_free(struct member *m)
{
    if (m == NULL) return;
    free(m->ring);
    free(m);
}

static void fail_call(struct call *c, enum err code, const char *text)
{
    (void)why_set(&c->why, code, "%s", text);
    c->top_level = code != ERR_NOT_LEADER && code != ERR_NO_LEADER;
    c->done(c);
}

static void fatal(struct member *m, const struct why *why)
{
    if (m->failed) return;
    m->failed = true;
    m->raft_deadline_ms = UINT64_MAX; /* no step comes any more */
    member_stop(m, ERR_CLOSED, why->text);
    m->ports->fatal(m->host, why);
}

static void no_memory(struct member *m)
{
    struct why why;

    (void)why_set(&why, ERR_NOMEM, "out of memory");
    fatal(m, &why);
}

/* --- calls that wait for their entry ---------------------------------------------- */

static bool ring_push(struct member *m, struct pending p)
{
    if (m->ring_n == m->ring_cap) {
        size_t cap = m->ring_cap ? m->ring_cap * 2 : 256;
        struct pending *r = malloc(cap * sizeof *r);

        if (r == NULL) return false;
        for (size_t i = 0; i < m->ring_n; i++)
            r[i] = m->ring[(m->ring_head + i) % m->ring_cap];
        free(m->ring);
        m->ring = r;
        m->ring_cap = cap;
        m->ring_head = 0;
    }
    m->ring[(m->ring_head + m->ring_n) % m->ring_cap] = p;
    m->ring_n++;
    return true;
}

static struct pending *ring_front(struct member *m)
{
    return m->ring_n ? &m->ring[m->ring_head] : NULL;
}

static void ring_pop(struct member *m)
{
    m->ring_head = (m->ring_head + 1) % m->ring_cap;
    m->ring_n--;
}

/* Who asked for a strong read may ask elsewhere; who asked for a write must know that it
 * may still happen. */
static void lose(struct member *m, struct pending *p, bool query)
{
    if (query || node_mutation(NODE_MUT_LOST_IS_REFUSED)) {
        bool known = raft_leader(m->raft)[0] != '\0';

        fail_call(p->call, known ? ERR_NOT_LEADER : ERR_NO_LEADER,
                  known ? "not leader" : "leader not found");
    } else {
        fail_call(p->call, ERR_LEADERSHIP_LOST, "leadership lost while committing log");
    }
}

static void lose_pending(struct member *m)
{
    struct pending *p;

    while ((p = ring_front(m)) != NULL) {
        struct pending copy = *p;

        ring_pop(m);
        lose(m, &copy, copy.call->since_ms == UINT64_MAX);
    }
}

static struct call *claim(struct member *m, const struct raft_entry *e)
{
    struct pending *p = ring_front(m);
    struct call *c;

    if (p == NULL || p->index != e->index) return NULL;
    c = p->call;
    ring_pop(m);
    CHECK(p->term ==
          e->term); /* pending calls are failed as soon as leadership is lost */
    if (e->type == COMMAND_QUERY) {
        query_of(c)->raft_index = e->index;
        query_of(c)->went_through_log = true;
        m->strong_read_term = e->term;
    } else {
        execute_of(c)->raft_index = e->index;
    }
    return c;
}

/* --- feeding the state machine ---------------------------------------------------- */

static size_t entry_bytes(const struct raft_entry *e)
{
    return 64 + (e->payload ? e->payload->len : 0);
}

static void hand_over(struct member *m, struct apply_job *job, size_t bytes)
{
    size_t slot = (m->ahead_head + m->ahead_n) % (AHEAD_JOBS);

    m->ahead[slot].last = job->items[job->n - 1].entry.index;
    m->ahead[slot].bytes = bytes;
    m->ahead_n++;
    m->ahead_bytes += bytes;
    m->apply_next = m->ahead[slot].last + 1;
    m->ports->to_apply(m->host, job);
    if (m->cut == 0 || m->apply_next <= m->cut) return;
    m->cut = 0;
    m->ports->cut(m->host);
}

/* The last entry that the next job may hold. */
static uint64_t hand_over_to(const struct member *m)
{
    return m->cut > 0 && m->cut < m->apply_to ? m->cut : m->apply_to;
}

static bool may_hand_over(const struct member *m)
{
    return m->ahead_n < AHEAD_JOBS &&
           (m->ahead_n == 0 || m->ahead_bytes < APPLY_AHEAD_BYTES);
}

static void put_item(struct member *m, struct apply_job *job, const struct raft_entry *e)
{
    job->items[job->n].entry = *e;
    blob_ref(e->payload);
    job->items[job->n].call = claim(m, e);
    job->n++;
}

static void advance_apply(struct member *m)
{
    while (m->apply_next <= m->apply_to && !m->fetching && may_hand_over(m)) {
        uint64_t left = hand_over_to(m) - m->apply_next + 1;
        const struct raft_entry *e = raft_cached(m->raft, m->apply_next);
        struct apply_job *job;
        size_t bytes = 0;

        if (e == NULL) { /* replay after a start, or far behind: from the log on disk */
            struct wal_job *fetch =
                wal_job_fetch("", m->apply_next, m->apply_to, FETCH_BYTES);

            if (fetch == NULL) {
                no_memory(m);
                return;
            }
            m->fetching = true;
            m->ports->to_wal(m->host, fetch);
            return;
        }
        job = apply_job_new(left < APPLY_JOB_ENTRIES ? (size_t)left : APPLY_JOB_ENTRIES);
        if (job == NULL) {
            no_memory(m);
            return;
        }
        while (job->n < job->cap && bytes < APPLY_AHEAD_BYTES) {
            e = raft_cached(m->raft, m->apply_next + job->n);
            if (e == NULL) break;
            bytes += entry_bytes(e);
            put_item(m, job, e);
        }
        hand_over(m, job, bytes);
    }
}

static void fetched_for_apply(struct member *m, struct wal_job *fetch)
{
    struct apply_job *job;
    size_t bytes = 0;

    m->fetching = false;
    if (fetch->why.code == ERR_NOT_FOUND && fetch->from != m->apply_next)
        return; /* a snapshot came between */
    if (fetch->why.code) {
        (void)err_wrap(&fetch->why, fetch->why.code, "read committed entries");
        fatal(m, &fetch->why);
        return;
    }
    if (fetch->from != m->apply_next || fetch->n_entries == 0) return;
    job = apply_job_new(fetch->n_entries);
    if (job == NULL) {
        no_memory(m);
        return;
    }
    for (size_t i = 0; i < fetch->n_entries; i++) {
        if (fetch->entries[i].index > hand_over_to(m)) break;
        bytes += entry_bytes(&fetch->entries[i]);
        put_item(m, job, &fetch->entries[i]);
    }
    hand_over(m, job, bytes);
}

/* --- reads ------------------------------------------------------------------------ */

static void resume_at(struct member *m, struct call *c, uint64_t index)
{
    if (m->applied >= index || node_mutation(NODE_MUT_READ_BEFORE_APPLIED)) {
        c->resume(c, m->host);
        return;
    }
    c->wait_index = index;
    c->next = m->waiting;
    m->waiting = c;
}

static void release_waiting(struct member *m)
{
    struct call **at = &m->waiting, *c;

    while ((c = *at) != NULL) {
        if (c->wait_index <= m->applied) {
            *at = c->next;
            c->resume(c, m->host);
        } else {
            at = &c->next;
        }
    }
}

static void expire(struct call **list, uint64_t now_ms)
{
    for (struct call **at = list, *c; (c = *at) != NULL;) {
        if (c->wait_until_ms > now_ms) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        (void)why_set(&c->why, ERR_TIMEOUT, "index %" PRIu64 ": timeout waiting for fsm",
                      c->wait_index);
        c->top_level = true;
        c->done(c);
    }
}

static struct call *take_read(struct member *m, uint64_t id)
{
    for (struct call **at = &m->reads, *c; (c = *at) != NULL; at = &c->next) {
        if (c->read_id != id) continue;
        *at = c->next;
        return c;
    }
    return NULL;
}

static void fail_not_leader(struct member *m, struct call *c)
{
    bool known = raft_leader(m->raft)[0] != '\0' && raft_role(m->raft) != RAFT_LEADER;

    fail_call(c, known ? ERR_NOT_LEADER : ERR_NO_LEADER,
              known ? "not leader" : "leader not found");
}

static void decide_reads(struct member *m, const struct raft_effects *fx)
{
    for (size_t i = 0; i < fx->n_reads; i++) {
        struct call *c = take_read(m, fx->reads[i].id);

        if (c == NULL) continue;
        if (fx->reads[i].ok)
            resume_at(m, c, fx->reads[i].index);
        else
            fail_not_leader(m, c);
    }
}

/* --- one turn --------------------------------------------------------------------- */

static void persist(struct member *m, const struct raft_effects *fx)
{
    struct wal_job *job;
    bool work = fx->save_hard || fx->reset_log || fx->truncate_from || fx->n_append > 0 ||
                fx->drop_before;

    /* Even with nothing new to write: an ack may speak of entries whose sync is still
     * under way, and the wal thread's queue is what keeps it behind them. */
    if (!work && fx->n_send_after == 0) return;
    if (!work && node_mutation(NODE_MUT_ACK_PAST_WAL)) {
        m->ports->send(m->host, fx->send_after, fx->n_send_after);
        return;
    }
    job = wal_job_persist(fx);
    if (job == NULL) {
        no_memory(m);
        return;
    }
    m->ports->to_wal(m->host, job);
}

static void load_for_peers(struct member *m, const struct raft_effects *fx)
{
    for (size_t i = 0; i < fx->n_loads; i++) {
        struct wal_job *job = wal_job_fetch(fx->loads[i].peer, fx->loads[i].from,
                                            UINT64_MAX, fx->loads[i].max_bytes);

        if (job == NULL) {
            no_memory(m);
            return;
        }
        m->ports->to_wal(m->host, job);
    }
}

static void carry_out(struct member *m, const struct raft_effects *fx)
{
    m->raft_deadline_ms = m->halted || m->failed ? UINT64_MAX : fx->deadline_ms;
    if (fx->out_of_memory) {
        no_memory(m);
        return;
    }
    /* Ahead of our own sync, on purpose: followers answer for their disks, not for ours
     * (Raft dissertation, 10.2.1), so the two writes overlap. */
    if (fx->n_send_now) m->ports->send(m->host, fx->send_now, fx->n_send_now);
    persist(m, fx);

    if (fx->role_changed && raft_role(m->raft) != RAFT_LEADER) lose_pending(m);
    if (fx->apply_to > m->apply_to) m->apply_to = fx->apply_to;
    advance_apply(m);
    if (fx->n_reads) decide_reads(m, fx);

    load_for_peers(m, fx);
    for (size_t i = 0; i < fx->n_snapshots; i++)
        m->ports->send_snapshot(m->host, fx->snapshots[i].peer,
                                fx->snapshots[i].min_index);
    if (fx->install_snapshot)
        m->ports->expect_snapshot(m->host, fx->offered.from, fx->offered.index,
                                  fx->offered.term);
    if (fx->role_changed || fx->leader_changed || fx->config_changed ||
        fx->term_changed || fx->transfer != RAFT_TRANSFER_NONE)
        m->ports->changed(m->host, fx);
}

/* An event in, effects out. */
static void turn(struct member *m, const struct raft_event *event,
                 struct raft_effects *fx)
{
    raft_step(m->raft, event, fx);
    carry_out(m, fx);
}

/* --- proposals -------------------------------------------------------------------- */

static void enqueue(struct member *m, struct call *c)
{
    c->next = NULL;
    *m->queue_end = c;
    m->queue_end = &c->next;
}

void member_propose(struct member *m, struct call_execute *c, uint8_t type,
                    uint64_t now_ms)
{
    c->entry_type = type;
    c->call.since_ms = now_ms;
    if (m->stopped) {
        blob_unref(c->request);
        c->request = NULL;
        fail_call(&c->call, ERR_CLOSED, "store not open");
        return;
    }
    enqueue(m, &c->call);
}

void member_propose_query(struct member *m, struct call_query *c, uint64_t now_ms)
{
    (void)now_ms;
    c->call.since_ms = UINT64_MAX; /* marks a strong read in the queue and in the ring */
    if (m->stopped) {
        fail_call(&c->call, ERR_CLOSED, "store not open");
        return;
    }
    enqueue(m, &c->call);
}

static struct call *dequeue(struct member *m)
{
    struct call *c = m->queue;

    m->queue = c->next;
    if (m->queue == NULL) m->queue_end = &m->queue;
    return c;
}

static void drop_request(struct call *c)
{
    if (c->since_ms == UINT64_MAX) return;
    blob_unref(execute_of(c)->request);
    execute_of(c)->request = NULL;
}

static void refuse_queue(struct member *m, enum err refused)
{
    while (m->queue) {
        struct call *c = dequeue(m);

        drop_request(c);
        if (refused == ERR_TRANSFER)
            fail_call(c, ERR_TRANSFER, "leadership transfer in progress");
        else
            fail_not_leader(m, c);
    }
}

/* Too much is uncommitted already: what has waited too long is told so, the rest stays
 * queued. */
static void expire_queue(struct member *m, uint64_t now_ms)
{
    while (m->queue && m->queue->since_ms != UINT64_MAX &&
           now_ms - m->queue->since_ms >= m->apply_timeout_ms) {
        struct call *c = dequeue(m);

        drop_request(c);
        fail_call(c, ERR_TIMEOUT, "timed out enqueuing operation");
    }
}

/* Take up to PROPOSE_MAX queued calls into the log.  False when there is no use in trying
 * again now. */
static bool propose_some(struct member *m, uint64_t now_ms)
{
    uint8_t types[PROPOSE_MAX];
    struct blob *payloads[PROPOSE_MAX];
    uint32_t lens[PROPOSE_MAX];
    struct raft_effects fx;
    struct raft_event ev = {.type = RAFT_PROPOSE, .now_ms = now_ms};
    struct call *c = m->queue;
    uint64_t time_ns = m->ports->wall_ns(m->host);
    size_t n = 0;

    for (; c != NULL && n < PROPOSE_MAX; c = c->next, n++) {
        if (c->since_ms == UINT64_MAX) {
            types[n] = COMMAND_QUERY;
            payloads[n] = NULL;
            lens[n] = 0;
            continue;
        }
        types[n] = execute_of(c)->entry_type;
        payloads[n] = blob_ref(execute_of(c)->request);
        lens[n] = payloads[n]->len;
        command_seal(payloads[n], time_ns, m->ports->random(m->host));
    }
    ev.u.propose.types = types;
    ev.u.propose.payloads = payloads;
    ev.u.propose.n = n;

    /* Who waits must be known before the effects are carried out: they may already hand
     * the entries on. */
    raft_step(m->raft, &ev, &fx);
    if (fx.refused != ERR_OK) {
        struct call *q = m->queue;

        for (size_t i = 0; i < n; i++, q = q->next) /* unseal: it may be proposed again */
            if (q->since_ms != UINT64_MAX) execute_of(q)->request->len = lens[i];
        if (fx.refused == ERR_BUSY)
            expire_queue(m, now_ms);
        else
            refuse_queue(m, fx.refused);
        carry_out(m, &fx);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        struct pending p = {.index = fx.first_index + i, .term = raft_term(m->raft)};

        p.call = dequeue(m);
        if (p.call->since_ms != UINT64_MAX) drop_request(p.call);
        if (!ring_push(m, p)) {
            fail_call(p.call, ERR_LEADERSHIP_LOST, "out of memory while committing log");
            no_memory(m);
            return false;
        }
    }
    carry_out(m, &fx);
    return m->queue != NULL && !m->stopped;
}

void member_flush(struct member *m, uint64_t now_ms)
{
    if (m->stopped || m->queue == NULL) return;
    if (raft_role(m->raft) != RAFT_LEADER) {
        refuse_queue(m, ERR_NOT_LEADER);
        return;
    }
    while (!m->stopped && propose_some(m, now_ms)) continue;
}

/* --- events ----------------------------------------------------------------------- */

static bool begin_wait(struct member *m, struct call *c, uint64_t timeout_ms,
                       uint64_t now_ms)
{
    if (m->stopped) {
        fail_call(c, ERR_CLOSED, "store not open");
        return false;
    }
    c->since_ms = now_ms;
    c->wait_index = 0;
    c->wait_until_ms = now_ms + timeout_ms;
    return true;
}

void member_read(struct member *m, struct call *c, uint64_t timeout_ms, uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_READ, .now_ms = now_ms};
    struct raft_effects fx;

    if (!begin_wait(m, c, timeout_ms, now_ms)) return;
    c->next = m->reads;
    m->reads = c;
    c->read_id = ++m->last_read;
    ev.u.read.id = c->read_id;
    turn(m, &ev, &fx);
    if (fx.refused) {
        struct call *mine = take_read(m, ev.u.read.id);

        if (mine) fail_not_leader(m, mine);
    }
}

void member_wait_ready(struct member *m, struct call *c, uint64_t timeout_ms,
                       uint64_t now_ms)
{
    if (!begin_wait(m, c, timeout_ms, now_ms)) return;
    if (raft_role(m->raft) != RAFT_LEADER)
        fail_not_leader(m, c);
    else
        resume_at(m, c, raft_noop_index(m->raft));
}

void member_wait_applied(struct member *m, struct call *c, uint64_t index,
                         uint64_t timeout_ms, uint64_t now_ms)
{
    if (begin_wait(m, c, timeout_ms, now_ms)) resume_at(m, c, index);
}

static void step(struct member *m, const struct raft_event *ev)
{
    struct raft_effects fx;

    if (m->failed || m->halted) return;
    turn(m, ev, &fx);
}

void member_message(struct member *m, const struct raft_message *msg, uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_MESSAGE, .now_ms = now_ms, .u.message = msg};

    step(m, &ev);
}

void member_peer_lost(struct member *m, const char *id, uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_PEER_LOST, .now_ms = now_ms, .u.peer = id};

    step(m, &ev);
}

static void wal_persisted(struct member *m, struct wal_job *job, uint64_t now_ms)
{
    struct raft_event ev = {
        .type = RAFT_SYNCED, .now_ms = now_ms, .u.synced.ticket = job->ticket};

    if (job->n_messages) m->ports->send(m->host, job->messages, job->n_messages);
    if (job->has_work) step(m, &ev);
}

void member_wal_done(struct member *m, struct wal_job *job, uint64_t now_ms)
{
    if (job->kind == WAL_JOB_PERSIST) {
        if (job->why.code)
            fatal(m, &job->why);
        else if (!m->failed)
            wal_persisted(m, job, now_ms);
    } else if (job->peer[0] == '\0') {
        if (!m->failed) fetched_for_apply(m, job);
        if (!m->failed) advance_apply(m);
    } else if (!m->failed && !m->halted) { /* else the references stay the job's */
        struct raft_event ev = {.type = RAFT_LOADED, .now_ms = now_ms};

        ev.u.loaded.peer = job->peer;
        ev.u.loaded.entries = job->entries;
        ev.u.loaded.n = job->why.code ? 0 : job->n_entries;
        if (job->why.code == ERR_OK) job->n_entries = 0; /* references pass on */
        step(m, &ev);
    }
    wal_job_free(job);
}

void member_applied(struct member *m, uint64_t index, uint64_t hash, uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_APPLIED, .now_ms = now_ms};

    if (index <= m->applied) return;
    m->applied = index;
    while (m->ahead_n && m->ahead[m->ahead_head].last <= index) {
        m->ahead_bytes -= m->ahead[m->ahead_head].bytes;
        m->ahead_head = (m->ahead_head + 1) % (AHEAD_JOBS);
        m->ahead_n--;
    }
    ev.u.applied.index = index;
    ev.u.applied.hash = hash;
    step(m, &ev);
    if (!m->failed) release_waiting(m);
    if (m->queue && !m->failed) member_flush(m, now_ms);
}

void member_tick(struct member *m, uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_TICK, .now_ms = now_ms};

    if (now_ms >= m->raft_deadline_ms) step(m, &ev);
    expire(&m->waiting, now_ms);
    expire(&m->reads, now_ms);
    if (m->queue) member_flush(m, now_ms);
}

enum err member_change_config(struct member *m, bool put, const char *id,
                              const char *addr, bool voter, uint64_t *index,
                              uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_CHANGE, .now_ms = now_ms};
    struct raft_effects fx;

    if (m->stopped) return ERR_CLOSED;
    ev.u.change.op = put ? RAFT_CHANGE_PUT : RAFT_CHANGE_REMOVE;
    ev.u.change.id = id;
    ev.u.change.addr = addr;
    ev.u.change.voter = voter;
    turn(m, &ev, &fx);
    *index = fx.first_index;
    return fx.refused;
}

enum err member_transfer(struct member *m, const char *id, uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_TRANSFER, .now_ms = now_ms, .u.transfer.id = id};
    struct raft_effects fx;

    if (m->stopped) return ERR_CLOSED;
    turn(m, &ev, &fx);
    return fx.refused;
}

enum err member_bootstrap_config(struct member *m, const struct raft_config *c,
                                 uint64_t now_ms)
{
    struct raft_event ev = {
        .type = RAFT_BOOTSTRAP, .now_ms = now_ms, .u.bootstrap.config = c};
    struct raft_effects fx;

    if (m->stopped) return ERR_CLOSED;
    turn(m, &ev, &fx);
    return fx.refused;
}

void member_snapshot_taken(struct member *m, uint64_t index, uint64_t term,
                           const struct raft_config *c, uint64_t trailing,
                           uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_SNAPSHOT_TAKEN, .now_ms = now_ms};

    ev.u.snapshot.index = index;
    ev.u.snapshot.term = term;
    ev.u.snapshot.config = c;
    ev.u.snapshot.trailing = trailing;
    step(m, &ev);
}

bool member_snapshot_installed(struct member *m, uint64_t index, uint64_t term,
                               const struct raft_config *c, struct apply_job *job,
                               uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_SNAPSHOT_INSTALLED, .now_ms = now_ms};
    bool restore = index >= m->apply_next;

    ev.u.snapshot.index = index;
    ev.u.snapshot.term = term;
    ev.u.snapshot.config = c;
    if (restore) { /* before the step, whose effects may already hand over what follows */
        m->apply_next = index + 1;
        if (m->cut <= index) m->cut = 0;
        m->ports->to_apply(m->host, job);
    } else {
        apply_job_free(job);
    }
    step(m, &ev);
    return restore;
}

void member_snapshot_sent(struct member *m, const char *peer, uint64_t index, bool ok,
                          uint64_t now_ms)
{
    struct raft_event ev = {.type = RAFT_SNAPSHOT_SENT, .now_ms = now_ms};

    ev.u.sent.peer = peer;
    ev.u.sent.index = index;
    ev.u.sent.ok = ok;
    step(m, &ev);
}

void member_pin(struct member *m, struct apply_job *job)
{
    m->ports->to_apply(m->host, job);
}

void member_cut(struct member *m, uint64_t index)
{
    m->cut = m->ports->cut != NULL && index >= m->apply_next ? index : 0;
}

uint64_t member_handed_over(const struct member *m)
{
    return m->apply_next - 1;
}

void member_fail(struct member *m, const struct why *why)
{
    fatal(m, why);
}

void member_halt(struct member *m)
{
    m->halted = true;
    m->raft_deadline_ms = UINT64_MAX;
}

void member_stop(struct member *m, enum err code, const char *text)
{
    struct call *lists[3] = {m->queue, m->reads, m->waiting};

    m->stopped = true;
    m->queue = m->reads = m->waiting = NULL;
    m->queue_end = &m->queue;
    for (struct call *c = lists[0]; c; c = c->next) drop_request(c);
    for (size_t i = 0; i < 3; i++) {
        for (struct call *c = lists[i], *next; c; c = next) {
            next = c->next;
            fail_call(c, code, text);
        }
    }
    for (struct pending *p;
         (p = ring_front(m)) != NULL;) { /* in the log: may still be applied */
        struct call *c = p->call;

        ring_pop(m);
        fail_call(c, code == ERR_CLOSED ? ERR_LEADERSHIP_LOST : code, text);
    }
}

uint64_t member_deadline_ms(const struct member *m)
{
    uint64_t at = m->raft_deadline_ms;

    for (const struct call *c = m->waiting; c; c = c->next)
        if (c->wait_until_ms < at) at = c->wait_until_ms;
    for (const struct call *c = m->reads; c; c = c->next)
        if (c->wait_until_ms < at) at = c->wait_until_ms;
    return at;
}

bool member_caught_up(const struct member *m)
{
    uint64_t noop = raft_noop_index(m->raft);

    return raft_role(m->raft) == RAFT_LEADER && noop > 0 && m->applied >= noop;
}

bool member_wants_applied(const struct member *m)
{
    bool becoming = raft_role(m->raft) == RAFT_LEADER && !member_caught_up(m);

    return m->waiting != NULL || m->queue != NULL || becoming ||
           m->apply_next <= m->apply_to || m->ahead_n > AHEAD_JOBS / 2 ||
           m->ahead_bytes > APPLY_AHEAD_BYTES / 2;
}

uint64_t member_applied_index(const struct member *m)
{
    return m->applied;
}

uint64_t member_strong_read_term(const struct member *m)
{
    return m->strong_read_term;
}
