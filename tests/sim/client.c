/* SPDX-License-Identifier: MIT */
/*
 * Clients: what they ask, and what they may believe afterwards.
 *
 * Every write appends its own number to the list of one key.  So a read shows the order
 * of all writes before it, and linearizability is plain: whatever anybody has read is the
 * beginning of one order; a read holds what was acknowledged, and what an earlier read
 * held, before it began; and that order respects who had ended before who began.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/pb.h"
#include "tests/sim/sim.h"

enum { TIMEOUT_US = 3000 * MS, PAD_MAX = 6000 };

struct asked { /* a call while a host has it */
    struct call_execute x;
    struct call_query q;
    struct row_sink sink;
    struct arena arena;
    Rqlite__QueryRequest query;
    struct sim *w;
    uint64_t op, floor; /* floor: what had been committed when the host was asked */
    struct host *host;
    uint64_t *ids;
    size_t n, cap;
    bool failed;
    char text[200];
};

struct answer { /* on its way to the client */
    uint64_t op;
    enum err code;
    bool failed;
    uint64_t *ids;
    size_t n;
    char text[200];
};

static struct asked *of_sink(struct row_sink *s)
{
    return LIST_ITEM(s, struct asked, sink);
}

/* --- the sink ------------------------------------------------------------------ */

static void sink_columns(struct row_sink *s, const struct row_column *cols, size_t n)
{
    (void)s;
    (void)cols;
    (void)n;
}

static bool sink_row(struct row_sink *s, const struct db_value *v, size_t n)
{
    struct asked *a = of_sink(s);

    (void)n;
    if (a->n == a->cap) {
        a->cap = a->cap ? a->cap * 2 : 64;
        a->ids = realloc(a->ids, a->cap * sizeof *a->ids);
        CHECK(a->ids != NULL);
    }
    a->ids[a->n++] = v[0].type == DB_INTEGER ? (uint64_t)v[0].u.i : 0;
    return true;
}

static void sink_rows_end(struct row_sink *s, uint64_t elapsed_ns)
{
    (void)s;
    (void)elapsed_ns;
}

static void sink_written(struct row_sink *s, int64_t id, int64_t rows, uint64_t ns)
{
    (void)s;
    (void)id;
    (void)rows;
    (void)ns;
}

static void sink_failed(struct row_sink *s, bool read_side, const char *text, size_t len)
{
    struct asked *a = of_sink(s);

    (void)read_side;
    a->failed = true;
    snprintf(a->text, sizeof a->text, "%.*s", (int)len, text);
}

static void sink_request_failed(struct row_sink *s, const char *text, size_t len)
{
    sink_failed(s, false, text, len);
}

static const struct row_sink_ops sink_ops = {.columns = sink_columns,
                                             .row = sink_row,
                                             .rows_end = sink_rows_end,
                                             .written = sink_written,
                                             .failed = sink_failed,
                                             .request_failed = sink_request_failed};

/* --- answers ------------------------------------------------------------------- */

static struct op *op_of(struct sim *w, uint64_t id)
{
    return id > 0 && id <= w->n_ops ? w->ops[id - 1] : NULL;
}

static void add(uint64_t **to, size_t *n, size_t *cap, uint64_t v)
{
    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 64;
        *to = realloc(*to, *cap * sizeof **to);
        CHECK(*to != NULL);
    }
    (*to)[(*n)++] = v;
}

static const char *op_name(const struct op *o)
{
    return o->kind == OP_READ ? "read" : o->kind == OP_SETUP ? "setup" : "write";
}

static void op_end(struct sim *w, struct op *o, enum op_state state)
{
    static const char *const names[] = {"", "done", "refused", "unknown"};

    o->state = state;
    o->ended = w->now;
    if (w->clients[o->client] == o) w->clients[o->client] = NULL;
    if (state == OP_UNKNOWN) w->stats.unknown++;
    if (!w->story)
        sim_say(w, 1, o->host, "%s %" PRIu64 " %s: %s", op_name(o), o->id, names[state],
                o->text);
}

/* Part of the one order of its key. */
static void see(struct sim *w, const struct op *read, int key, const uint64_t *ids,
                size_t n)
{
    struct seen *s = &w->seen[key];

    for (size_t i = 0; i < n; i++) {
        struct op *o = op_of(w, ids[i]);

        if (i < s->n) {
            if (s->ids[i] != ids[i])
                sim_violated(w,
                             "read %" PRIu64 " on %s sees write %" PRIu64
                             " where another saw %" PRIu64,
                             read->id, read->host->id, ids[i], s->ids[i]);
            continue;
        }
        if (o == NULL || o->key != key || (o->kind != OP_APPEND && o->kind != OP_COUNT)) {
            sim_violated(w, "%s has a write %" PRIu64 " that nobody asked for",
                         read->host->id, ids[i]);
            return;
        }
        if (o->state == OP_REFUSED)
            sim_violated(w, "write %" PRIu64 " was refused, but is on %s", ids[i],
                         read->host->id);
        if (o->place)
            sim_violated(w, "write %" PRIu64 " is applied twice on %s", ids[i],
                         read->host->id);
        add(&s->ids, &s->n, &s->cap, ids[i]);
        o->place = s->n;
    }
}

static bool is_fresh(const struct op *o)
{
    return o->level == RQLITE__LEVEL__LINEARIZABLE || o->level == RQLITE__LEVEL__STRONG;
}

static void check_fresh(struct sim *w, const struct op *o, size_t n)
{
    struct seen *s = &w->seen[o->key];

    if (n < o->floor)
        sim_violated(w,
                     "stale read: %" PRIu64 " on %s sees %zu writes, but %zu were seen "
                     "before it began",
                     o->id, o->host->id, n, o->floor);
    for (size_t i = 0; i < o->floor_acks; i++) {
        const struct op *write = op_of(w, s->acked[i]);

        if (write->place == 0 || write->place > n)
            sim_violated(w,
                         "stale read: %" PRIu64 " on %s lacks write %" PRIu64
                         ", which was acknowledged before it began",
                         o->id, o->host->id, write->id);
    }
    if (n > s->floor) s->floor = n;
}

static void read_ends(struct sim *w, struct op *o, const struct answer *a)
{
    snprintf(o->text, sizeof o->text, "%zu writes", a->n);
    w->stats.reads++;
    see(w, o, o->key, a->ids, a->n);
    if (is_fresh(o)) check_fresh(w, o, a->n);
    op_end(w, o, OP_DONE);
}

static void write_ends(struct sim *w, struct op *o)
{
    struct seen *s = &w->seen[o->key];

    w->stats.writes++;
    snprintf(o->text, sizeof o->text, "ok");
    if (o->kind == OP_SETUP)
        w->set_up = true;
    else
        add(&s->acked, &s->n_acked, &s->cap_acked, o->id);
    op_end(w, o, OP_DONE);
}

/* After these, a write cannot happen any more. */
static bool is_refusal(enum err code)
{
    switch (code) {
    case ERR_NOT_LEADER:
    case ERR_NO_LEADER:
    case ERR_TRANSFER:
    case ERR_TIMEOUT:
    case ERR_BUSY:
    case ERR_NOT_OPEN:
    case ERR_CLOSED: return true;
    default: return false;
    }
}

static void story_line(struct sim *w, const struct op *o, const struct answer *a)
{
    char list[200] = "";

    if (!w->story) return;
    for (size_t i = 0; i < a->n && i < 20; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), " %" PRIu64, a->ids[i]);
    if (a->code)
        sim_say(w, 0, o->host, "%s %" PRIu64 " fails: %s", op_name(o), o->id, a->text);
    else if (o->kind == OP_READ)
        sim_say(w, 0, o->host, "read %" PRIu64 " sees%s", o->id,
                a->n ? list : " nothing");
    else if (o->kind != OP_SETUP)
        sim_say(w, 0, o->host, "write %" PRIu64 " is acknowledged", o->id);
}

static void free_answer(struct event *e)
{
    struct answer *a = e->arg;

    free(a->ids);
    free(a);
}

static void answered(struct sim *w, struct event *e)
{
    struct answer *a = e->arg;
    struct op *o = op_of(w, a->op);

    if (o->state == OP_OPEN) {
        snprintf(o->text, sizeof o->text, "%s", a->text);
        story_line(w, o, a);
        if (a->code != ERR_OK)
            op_end(w, o,
                   o->kind == OP_READ || is_refusal(a->code) ? OP_REFUSED : OP_UNKNOWN);
        else if (a->failed && o->kind == OP_READ && !is_fresh(o))
            op_end(w, o, OP_REFUSED); /* before the tables were made there */
        else if (a->failed && w->set_up)
            sim_violated(w, "%s %" PRIu64 " fails on %s: %s", op_name(o), o->id,
                         o->host->id, a->text);
        else if (a->failed)
            op_end(w, o, OP_UNKNOWN);
        else if (o->kind == OP_READ)
            read_ends(w, o, a);
        else
            write_ends(w, o);
    }
    free_answer(e);
}

static void give_up(struct sim *w, struct event *e)
{
    struct op *o = op_of(w, e->number);

    if (o->state != OP_OPEN) return;
    snprintf(o->text, sizeof o->text, "no answer");
    if (w->story) sim_say(w, 0, o->host, "%s %" PRIu64 ": no answer", op_name(o), o->id);
    op_end(w, o, OP_UNKNOWN);
}

/* The host has ended the call.  One that lost its power meanwhile says nothing. */
static void call_ended(struct asked *a, const struct call *c)
{
    struct sim *w = a->w;
    struct answer *r;

    if (a->host->up && !faulty_dead(a->host->disk) &&
        (w->calm || w->story || !sim_chance(w, 10))) {
        r = calloc(1, sizeof *r);
        CHECK(r != NULL);
        r->op = a->op;
        r->code = c->why.code;
        r->failed = a->failed;
        snprintf(r->text, sizeof r->text, "%.190s",
                 c->why.code ? c->why.text
                 : a->failed ? a->text
                             : "");
        r->ids = a->ids;
        r->n = a->n;
        a->ids = NULL;
        sim_post(w, 50 + sim_below(w, w->c.delay_us),
                 (struct event){.run = answered, .drop = free_answer, .arg = r});
    }
    free(a->ids);
    arena_fini(&a->arena);
    free(a);
}

static void execute_done(struct call *c)
{
    call_ended(LIST_ITEM(LIST_ITEM(c, struct call_execute, call), struct asked, x), c);
}

static void query_done(struct call *c)
{
    call_ended(LIST_ITEM(LIST_ITEM(c, struct call_query, call), struct asked, q), c);
}

/* --- requests ------------------------------------------------------------------ */

static Rqlite__Parameter *parameter(struct arena *a, int64_t v)
{
    Rqlite__Parameter *p = arena_alloc(a, sizeof *p);

    rqlite__parameter__init(p);
    p->value = arena_alloc(a, sizeof *p->value);
    rqlite__value__init(p->value);
    p->value->kind_case = RQLITE__VALUE__KIND_INTEGER;
    p->value->integer = v;
    return p;
}

static Rqlite__Statement *statement(struct arena *a, const char *sql, size_t n)
{
    Rqlite__Statement *s = arena_alloc(a, sizeof *s);

    rqlite__statement__init(s);
    s->sql = arena_strdup(a, sql);
    s->n_parameters = n;
    s->parameters = arena_calloc(a, n + 1, sizeof *s->parameters);
    return s;
}

static const char *const setup_sql[] = {
    ("CREATE TABLE IF NOT EXISTS ops(seq INTEGER PRIMARY KEY, id INTEGER, key INTEGER, "
     "pad INTEGER, r INTEGER DEFAULT (random()), t TEXT DEFAULT (strftime('%f','now')))"),
    "CREATE TABLE IF NOT EXISTS counters(key INTEGER PRIMARY KEY, n INTEGER)",
    "INSERT OR IGNORE INTO counters VALUES(0,0),(1,0),(2,0),(3,0)"};

static void add_append(struct asked *a, Rqlite__ExecuteRequest *x, const struct op *o)
{
    Rqlite__Statement *s =
        statement(&a->arena, "INSERT INTO ops(id,key,pad) VALUES(?,?,length(?))", 3);
    Rqlite__Parameter *pad = parameter(&a->arena, 0);
    size_t len = a->w->story ? 10 : (size_t)sim_below(a->w, 60);

    if (!a->w->story && sim_chance(a->w, 30)) len = (size_t)sim_below(a->w, PAD_MAX);
    s->parameters[0] = parameter(&a->arena, (int64_t)o->id);
    s->parameters[1] = parameter(&a->arena, o->key);
    s->parameters[2] = pad;
    pad->value->kind_case = RQLITE__VALUE__KIND_TEXT;
    pad->value->text.data = arena_calloc(&a->arena, 1, len + 1);
    memset(pad->value->text.data, 'x', len);
    pad->value->text.len = len;
    x->statements[x->n_statements++] = s;
}

static void ask_write(struct asked *a, struct op *o)
{
    Rqlite__ExecuteRequest x = RQLITE__EXECUTE_REQUEST__INIT;

    x.statements = arena_calloc(&a->arena, 4, sizeof *x.statements);
    x.transaction = o->kind == OP_COUNT;
    if (o->kind == OP_SETUP)
        for (size_t i = 0; i < 3; i++)
            x.statements[x.n_statements++] = statement(&a->arena, setup_sql[i], 0);
    else
        add_append(a, &x, o);
    if (o->kind == OP_COUNT) {
        Rqlite__Statement *s =
            statement(&a->arena, "UPDATE counters SET n = n + 1 WHERE key = ?", 1);

        s->parameters[0] = parameter(&a->arena, o->key);
        x.statements[x.n_statements++] = s;
    }
    a->x.request = pb_pack(&x.base, CALL_SPARE);
    CHECK(a->x.request != NULL);
    a->x.sink = &a->sink;
    a->x.call.done = execute_done;
    host_execute(a->host, &a->x);
}

static void ask_read(struct asked *a, struct op *o)
{
    Rqlite__Statement *s =
        statement(&a->arena, "SELECT id FROM ops WHERE key = ? ORDER BY seq", 1);

    s->parameters[0] = parameter(&a->arena, o->key);
    rqlite__query_request__init(&a->query);
    a->query.statements = arena_calloc(&a->arena, 1, sizeof *a->query.statements);
    a->query.statements[0] = s;
    a->query.n_statements = 1;
    a->query.level = o->level;
    if (!a->w->story && sim_chance(a->w, 300)) /* an impatient one */
        a->query.linearizable_timeout_ns = (int64_t)(1 + sim_below(a->w, 20)) * 1000000;
    a->q.request = &a->query;
    a->q.arena = &a->arena;
    a->q.sink = &a->sink;
    a->q.call.done = query_done;
    host_query(a->host, &a->q);
}

static void arrive(struct sim *w, struct event *e)
{
    struct op *o = op_of(w, e->number);
    struct asked *a;

    if (!o->host->up || faulty_dead(o->host->disk)) return;
    if (o->host->paused_until > w->now) {
        sim_post(w, o->host->paused_until - w->now, *e);
        return;
    }
    a = calloc(1, sizeof *a);
    CHECK(a != NULL);
    a->w = w;
    a->op = o->id;
    a->floor = w->max_commit;
    a->host = o->host;
    a->sink.ops = &sink_ops;
    arena_init(&a->arena, 0);
    if (o->kind == OP_READ)
        ask_read(a, o);
    else
        ask_write(a, o);
}

void client_check_read(struct host *h, const struct call_query *c)
{
    const struct asked *a = LIST_ITEM(c, struct asked, q);

    if (c->request->level == RQLITE__LEVEL__LINEARIZABLE && h->published.index < a->floor)
        sim_violated(h->w,
                     "stale read: %" PRIu64 " on %s is made at %" PRIu64 ", but %" PRIu64
                     " had committed before it was asked",
                     a->op, h->id, h->published.index, a->floor);
}

struct op *client_begin(struct sim *w, int client, struct host *h, enum op_kind kind,
                        int key, Rqlite__Level level)
{
    struct op *o = calloc(1, sizeof *o);

    CHECK(o != NULL);
    if (w->n_ops == w->cap_ops) {
        w->cap_ops = w->cap_ops ? w->cap_ops * 2 : 256;
        w->ops = realloc(w->ops, w->cap_ops * sizeof(struct op *));
        CHECK(w->ops != NULL);
    }
    w->ops[w->n_ops++] = o;
    o->id = w->n_ops;
    o->kind = kind;
    o->client = client;
    o->key = key;
    o->host = h;
    o->level = level;
    o->begun = w->now;
    o->floor = w->seen[key].floor;
    o->floor_acks = w->seen[key].n_acked;
    w->clients[client] = o;
    sim_say(w, 2, h, "%s %" PRIu64 " of client %d, key %d, begins", op_name(o), o->id,
            client, key);
    sim_post(w, 50 + sim_below(w, w->c.delay_us),
             (struct event){.run = arrive, .number = o->id});
    sim_post(w, TIMEOUT_US, (struct event){.run = give_up, .number = o->id});
    return o;
}

static struct host *some_host(struct sim *w)
{
    struct host *h = sim_leader(w);
    int at = (int)sim_below(w, HOSTS);

    if (h && sim_chance(w, 600)) return h;
    for (int i = 0; i < HOSTS && sim_chance(w, 900);
         i++) { /* some still ask a former one */
        h = &w->hosts[(at + i) % HOSTS];
        if (h->up && h->is_leader) return h;
    }
    h = &w->hosts[at];
    return h->up ? h : NULL;
}

void client_chaos(struct sim *w, bool read)
{
    static const Rqlite__Level levels[] = {
        RQLITE__LEVEL__LINEARIZABLE, RQLITE__LEVEL__LINEARIZABLE,
        RQLITE__LEVEL__LINEARIZABLE, RQLITE__LEVEL__LINEARIZABLE,
        RQLITE__LEVEL__WEAK,         RQLITE__LEVEL__NONE,
        RQLITE__LEVEL__STRONG};
    int client = (int)sim_below(w, CLIENTS), key = (int)sim_below(w, KEYS);
    struct host *h = some_host(w);
    Rqlite__Level level = levels[sim_below(w, sizeof levels / sizeof levels[0])];

    if (h == NULL || w->clients[client]) return;
    if (!w->set_up) {
        if (client == 0) (void)client_begin(w, 0, h, OP_SETUP, 0, level);
        return;
    }
    (void)client_begin(w, client, h,
                       read                 ? OP_READ
                       : sim_chance(w, 300) ? OP_COUNT
                                            : OP_APPEND,
                       key, level);
}

/* --- the end ------------------------------------------------------------------- */

struct digest {
    struct row_sink sink;
    uint64_t hash, rows;
    int64_t counters[KEYS];
    uint64_t *ids[KEYS];
    size_t n[KEYS], cap[KEYS];
    char failed[200];
};

static bool digest_row(struct row_sink *s, const struct db_value *v, size_t n)
{
    struct digest *d = LIST_ITEM(s, struct digest, sink);

    d->rows++;
    for (size_t i = 0; i < n; i++) {
        d->hash = sim_mix(d->hash, v[i].type);
        if (v[i].type == DB_INTEGER) d->hash = sim_mix(d->hash, (uint64_t)v[i].u.i);
        if (v[i].type == DB_TEXT || v[i].type == DB_BLOB)
            for (size_t k = 0; k < v[i].u.s.n; k++)
                d->hash = sim_mix(d->hash, ((const uint8_t *)v[i].u.s.p)[k]);
    }
    if (n == 6 && v[2].u.i >= 0 && v[2].u.i < KEYS)
        add(&d->ids[v[2].u.i], &d->n[v[2].u.i], &d->cap[v[2].u.i], (uint64_t)v[1].u.i);
    if (n == 2 && v[0].u.i >= 0 && v[0].u.i < KEYS) d->counters[v[0].u.i] = v[1].u.i;
    return true;
}

static void digest_failed(struct row_sink *s, bool read_side, const char *text,
                          size_t len)
{
    struct digest *d = LIST_ITEM(s, struct digest, sink);

    (void)read_side;
    snprintf(d->failed, sizeof d->failed, "%.*s", (int)len, text);
}

static void digest_request_failed(struct row_sink *s, const char *text, size_t len)
{
    digest_failed(s, true, text, len);
}

static const struct row_sink_ops digest_ops = {.columns = sink_columns,
                                               .row = digest_row,
                                               .rows_end = sink_rows_end,
                                               .written = sink_written,
                                               .failed = digest_failed,
                                               .request_failed = digest_request_failed};

static void digest_of(struct host *h, struct digest *d)
{
    static const char *const sql[] = {
        "SELECT name, sql, 0 FROM sqlite_schema ORDER BY name",
        "SELECT seq, id, key, pad, r, t FROM ops ORDER BY seq",
        "SELECT key, n FROM counters ORDER BY key"};
    struct db_stmt stmts[3] = {{0}};
    struct db_request req = {.stmts = stmts, .n = 3};
    struct why why = {0};

    memset(d, 0, sizeof *d);
    d->sink.ops = &digest_ops;
    for (size_t i = 0; i < 3; i++) {
        stmts[i].sql = sql[i];
        stmts[i].sql_len = strlen(sql[i]);
    }
    if (h->reader == NULL && db_reader_open(h->db, &h->reader, &why) != ERR_OK)
        sim_violated(h->w, "%s: %s", h->id, why.text);
    else if (db_reader_query(h->reader, &req, NULL, &d->sink, &why) != ERR_OK)
        sim_violated(h->w, "%s: %s", h->id, why.text);
}

static void digest_free(struct digest *d)
{
    for (size_t k = 0; k < KEYS; k++) free(d->ids[k]);
}

uint64_t client_dump(struct host *h)
{
    struct digest d;
    uint64_t hash;

    digest_of(h, &d);
    hash = sim_mix(d.hash, d.rows);
    digest_free(&d);
    return hash;
}

/* Who had ended before another began comes before it. */
static void check_order(struct sim *w, const struct seen *s)
{
    uint64_t begun = 0;

    for (size_t i = 0; i < s->n; i++) {
        const struct op *o = op_of(w, s->ids[i]);

        if (o->state == OP_DONE && o->ended < begun)
            sim_violated(w,
                         "write %" PRIu64
                         " was acknowledged before one began that comes before it",
                         o->id);
        if (o->begun > begun) begun = o->begun;
    }
}

void client_check_end(struct sim *w, struct host *h)
{
    struct digest d;
    struct op read = {.host = h};

    digest_of(h, &d);
    if (w->set_up && d.failed[0]) sim_violated(w, "%s at the end: %s", h->id, d.failed);
    for (int k = 0; k < KEYS; k++) {
        const struct seen *s = &w->seen[k];
        int64_t counted = 0;

        if (d.n[k] < s->n)
            sim_violated(w, "%s lacks write %" PRIu64 ", which was seen", h->id,
                         s->ids[d.n[k]]);
        see(w, &read, k, d.ids[k], d.n[k]);
        for (size_t i = 0; i < s->n_acked; i++)
            if (op_of(w, s->acked[i])->place == 0)
                sim_violated(w, "acknowledged write %" PRIu64 " is lost", s->acked[i]);
        for (size_t i = 0; i < s->n; i++)
            counted += op_of(w, s->ids[i])->kind == OP_COUNT;
        if (d.counters[k] != counted)
            sim_violated(w, "%s counts %" PRId64 " of key %d, but has %" PRId64, h->id,
                         d.counters[k], k, counted);
        check_order(w, s);
    }
    digest_free(&d);
}

void client_free(struct sim *w)
{
    for (size_t i = 0; i < w->n_ops; i++) free(w->ops[i]);
    free(w->ops);
    for (int k = 0; k < KEYS; k++) {
        free(w->seen[k].ids);
        free(w->seen[k].acked);
    }
}
