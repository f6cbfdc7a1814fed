/* SPDX-License-Identifier: MIT */
/* GET /metrics: figures for Prometheus.  Most are numbers of /status under a name of
 * their own, so the two cannot disagree: a table of paths and names. */
#include <stdio.h>
#include <string.h>

#include "core/base/doc.h"
#include "core/base/metrics.h"
#include "core/base/process.h"
#include "gateway/api/api.h"
#include "gateway/json_doc.h"
#include "gateway/observe.h"
#include "gateway/prom.h"
#include "gateway/route.h"

static const struct api_endpoint endpoint = {API_OTHER, "status", API_PROM};

/* --- figures of the node: paths into the document of /status --------------------------
 */

struct figure {
    const char *path, *name;
    enum prom_type type;
    const char *help;
};

/* clang-format off */
static const struct figure figures[] = {
    {"store.open", "rqlite_store_open", PROM_GAUGE, "1 if the database is open."},
    {"store.ready", "rqlite_store_ready", PROM_GAUGE, "1 if the node knows a leader and, as leader itself, has caught up."},
    {"store.dir_size", "rqlite_data_dir_bytes", PROM_GAUGE, "Size of the data directory."},

    {"store.raft.voter", "rqlite_raft_voter", PROM_GAUGE, "1 if the node votes, 0 if it is a read replica or not in a cluster."},
    {"store.figures.leader_known", "rqlite_raft_leader_known", PROM_GAUGE, "1 if the node knows a leader (itself, perhaps)."},
    {"store.raft.term", "rqlite_raft_term", PROM_GAUGE, "Raft term."},
    {"store.raft.commit_index", "rqlite_raft_commit_index", PROM_GAUGE, "Last log entry known to be committed."},
    {"store.raft.applied_index", "rqlite_raft_applied_index", PROM_GAUGE, "Last log entry applied to the database."},
    {"store.raft.fsm_pending", "rqlite_raft_pending_entries", PROM_GAUGE, "Entries committed but not yet applied."},
    {"store.raft.last_log_index", "rqlite_raft_last_log_index", PROM_GAUGE, "Last entry in the log."},
    {"store.raft.last_snapshot_index", "rqlite_raft_last_snapshot_index", PROM_GAUGE, "Last entry that the newest snapshot holds."},
    {"store.raft.num_peers", "rqlite_raft_other_voters", PROM_GAUGE, "Other voters in the configuration; 0 if this node is none."},
    {"store.figures.last_contact_seconds", "rqlite_raft_leader_silent_seconds", PROM_GAUGE, "Time since the leader was heard; 0 on the leader, absent if none was ever heard."},
    {"store.figures.apply_lag_seconds", "rqlite_raft_apply_lag_seconds", PROM_GAUGE, "How long after the leader took it the newest entry was applied here."},

    {"store.raft.log_size", "rqlite_wal_bytes", PROM_GAUGE, "Size of the Raft log on disk."},
    {"store.raft.bolt.segments", "rqlite_wal_segments", PROM_GAUGE, "Files of the Raft log."},
    {"store.raft.bolt.syncs", "rqlite_wal_syncs_total", PROM_COUNTER, "Syncs of the Raft log that had something to write."},
    {"store.raft.bolt.appends", "rqlite_wal_appended_entries_total", PROM_COUNTER, "Entries appended to the Raft log."},
    {"store.raft.bolt.written_bytes", "rqlite_wal_written_bytes_total", PROM_COUNTER, "Bytes written to the Raft log."},
    {"store.snapshot_store.dir_size", "rqlite_snapshot_store_bytes", PROM_GAUGE, "Size of the snapshot store."},
    {"store.snapshot_store.snapshots", "rqlite_snapshot_store_snapshots", PROM_GAUGE, "Snapshots in the store."},

    {"store.sqlite3.db_size", "rqlite_sqlite_db_bytes", PROM_GAUGE, "Size of the SQLite database."},
    {"store.sqlite3.wal_size", "rqlite_sqlite_wal_bytes", PROM_GAUGE, "Size of SQLite's own WAL."},
    {"store.sqlite3.mem_stats.freelist_count", "rqlite_sqlite_free_pages", PROM_GAUGE, "Unused pages in the SQLite database."},
    {"store.figures.net.connections", "rqlite_net_connections", PROM_GAUGE, "Open connections with other nodes, both ways."},
    {"store.figures.net.accepted", "rqlite_net_accepted_total", PROM_COUNTER, "Connections accepted on the Raft port."},
    {"store.figures.net.dialed", "rqlite_net_dialed_total", PROM_COUNTER, "Connections tried to other nodes."},
    {"store.figures.net.dial_failed", "rqlite_net_dial_failures_total", PROM_COUNTER, "Of them, those that failed."},
    {"store.figures.net.lost", "rqlite_net_lost_connections_total", PROM_COUNTER, "Open connections that broke."},
    {"store.figures.net.bytes_in", "rqlite_net_received_bytes_total", PROM_COUNTER, "Bytes received from other nodes."},
    {"store.figures.net.bytes_out", "rqlite_net_sent_bytes_total", PROM_COUNTER, "Bytes sent to other nodes."},
    {"store.figures.net.calls_in", "rqlite_net_calls_served_total", PROM_COUNTER, "Calls of other nodes."},
    {"store.figures.net.calls_out", "rqlite_net_calls_made_total", PROM_COUNTER, "Calls to other nodes."},
    {"store.figures.net.calls_failed", "rqlite_net_calls_failed_total", PROM_COUNTER, "Of them, those that failed."},
    {"store.figures.net.queued_bytes", "rqlite_net_queued_bytes", PROM_GAUGE, "Bytes that wait to be sent to other nodes."},

    {"store.figures.readers", "rqlite_sqlite_readers", PROM_GAUGE, "Threads with a read connection."},
    {"store.figures.readers_busy", "rqlite_sqlite_readers_in_use", PROM_GAUGE, "Of them, those at work."},
    {"store.figures.reads_queued", "rqlite_sqlite_reads_waiting", PROM_GAUGE, "Reads that wait for a thread."},
    {"store.figures.read_waits", "rqlite_sqlite_read_waits_total", PROM_COUNTER, "Reads that found no idle thread."},
    {"store.figures.read_wait_seconds", "rqlite_sqlite_read_wait_seconds_total", PROM_COUNTER, "How long they waited, in all."},
};

/* Counters of /debug/vars that operators ask for first, under names of their own, too. */
static const struct {
    enum metric metric;
    const char *name, *help;
} counters[] = {
    {METRIC_db_executions, "rqlite_sqlite_writes_total", "Statements run on the write connection."},
    {METRIC_db_execution_errors, "rqlite_sqlite_write_errors_total", "Of them, those that failed."},
    {METRIC_db_queries, "rqlite_sqlite_queries_total", "Statements run on read connections."},
    {METRIC_db_query_errors, "rqlite_sqlite_query_errors_total", "Of them, those that failed."},
    {METRIC_store_num_snapshots, "rqlite_snapshots_total", "Snapshots taken."},
    {METRIC_store_num_snapshots_failed, "rqlite_snapshots_failed_total", "Snapshots that could not be taken."},
    {METRIC_store_num_restores, "rqlite_snapshots_received_total", "Snapshots received from the leader and installed."},
    {METRIC_store_leader_changes_observed, "rqlite_raft_leader_changes_total", "Changes of leader that this node has seen."},
};

static const struct {
    enum metric_timer timer;
    const char *name, *help;
} timers[] = {
    {TIMER_wal_sync, "rqlite_wal_sync_duration_seconds", "Syncs of the Raft log, writing included."},
    {TIMER_apply, "rqlite_apply_duration_seconds", "Batches of committed entries, until they are in the database."},
    {TIMER_snapshot, "rqlite_snapshot_duration_seconds", "Snapshots taken, until they are on the disk."},
};
/* clang-format on */

static void put_value(struct buf *b, const char *name, const struct doc *d)
{
    switch (d->type) {
    case DOC_BOOL: prom_uint(b, name, NULL, 0, d->v.b); break;
    case DOC_INT: prom_int(b, name, NULL, 0, d->v.i); break;
    case DOC_UINT: prom_uint(b, name, NULL, 0, d->v.u); break;
    case DOC_REAL: prom_real(b, name, NULL, 0, d->v.r); break;
    case DOC_ARRAY: prom_uint(b, name, NULL, 0, d->v.kids.n); break;
    default: break;
    }
}

static bool is_number(const struct doc *d)
{
    return d && (d->type == DOC_BOOL || d->type == DOC_INT || d->type == DOC_UINT ||
                 d->type == DOC_REAL || d->type == DOC_ARRAY);
}

static void put_figures(struct buf *b, struct doc *root)
{
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        const struct figure *f = &figures[i];
        const struct doc *d = json_doc_at(root, f->path);

        if (!is_number(d)) continue;
        prom_family(b, f->name, f->type, f->help);
        put_value(b, f->name, d);
    }
}

static bool text_is(const struct doc *d, const char *s)
{
    return d && d->type == DOC_TEXT && d->v.text.n == strlen(s) &&
           memcmp(d->v.text.s, s, d->v.text.n) == 0;
}

static void put_role(struct buf *b, struct doc *root)
{
    static const char *const states[] = {"Leader", "Follower", "Candidate", "Shutdown"};
    const struct doc *state = json_doc_at(root, "store.raft.state");

    if (!state) return;
    prom_family(b, "rqlite_raft_state", PROM_GAUGE, "1 for the state the node is in.");
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        const struct prom_label label = {"state", states[i]};

        prom_uint(b, "rqlite_raft_state", &label, 1, text_is(state, states[i]));
    }
}

/* What a leader knows of the others. */
static void put_peers(struct buf *b, struct doc *root)
{
    static const struct {
        const char *key, *name, *help;
    } rows[] = {
        {"match_index", "rqlite_raft_peer_match_index",
         "Last entry that the peer has on its disk, as the leader knows."},
        {"lag", "rqlite_raft_peer_lag_entries",
         "Entries that the peer has yet to confirm to the leader."},
        {"connected", "rqlite_raft_peer_connected",
         "1 if the leader's connection to the peer is up."},
        {"silent_seconds", "rqlite_raft_peer_silent_seconds",
         "Time since the leader heard the peer; absent if never."},
    };
    const struct doc *peers = json_doc_at(root, "store.figures.peers");

    if (!peers || peers->type != DOC_ARRAY || peers->v.kids.n == 0) return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        prom_family(b, rows[i].name, PROM_GAUGE, rows[i].help);
        for (const struct doc *p = peers->v.kids.first; p; p = p->next) {
            const struct doc *id = doc_get(p, "id"), *v = doc_get(p, rows[i].key);
            const struct prom_label label = {"peer", id ? id->v.text.s : ""};

            if (!v) continue;
            if (v->type == DOC_REAL)
                prom_real(b, rows[i].name, &label, 1, v->v.r);
            else
                prom_uint(b, rows[i].name, &label, 1,
                          v->type == DOC_BOOL ? v->v.b : v->v.u);
        }
    }
}

/* --- requests -------------------------------------------------------------------------
 */

/* Rows of the table of routes for one path count as one; "" is "/". */
static const char *endpoint_name(unsigned number)
{
    const struct route *r = route_numbered(number);

    if (number == 0) return "other";
    return r->path[0] ? r->path : "/";
}

static bool is_first_of_its_name(unsigned number)
{
    for (unsigned i = 0; i < number; i++)
        if (strcmp(endpoint_name(i), endpoint_name(number)) == 0) return false;
    return true;
}

static uint64_t look(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

struct endpoint_sum {
    uint64_t requests[OBSERVE_METHODS][OBSERVE_CLASSES], sent_bytes;
    struct histogram_sum seconds;
};

/* Of all threads, and of all rows with the name of this one. */
static void add_up(const struct gateway *g, unsigned number, struct endpoint_sum *sum)
{
    memset(sum, 0, sizeof *sum);
    for (unsigned row = number; row == 0 || route_numbered(row); row++) {
        if (strcmp(endpoint_name(row), endpoint_name(number)) != 0) continue;
        for (unsigned t = 0; t < g->n_threads; t++) {
            const struct observe *o = g->threads[t].observe;

            for (int m = 0; m < OBSERVE_METHODS; m++)
                for (int c = 0; c < OBSERVE_CLASSES; c++)
                    sum->requests[m][c] += look(&o->requests[row][m][c]);
            sum->sent_bytes += look(&o->sent_bytes[row]);
            histogram_collect(&sum->seconds, &o->seconds[row]);
        }
    }
}

static void put_counts(struct buf *b, const char *name, unsigned number,
                       const struct endpoint_sum *sum)
{
    static const char *const methods[OBSERVE_METHODS] = {
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "other"};
    static const char *const classes[OBSERVE_CLASSES] = {"gone", "1xx", "2xx",
                                                         "3xx",  "4xx", "5xx"};

    for (int m = 0; m < OBSERVE_METHODS; m++) {
        for (int c = 0; c < OBSERVE_CLASSES; c++) {
            const struct prom_label labels[] = {{"endpoint", endpoint_name(number)},
                                                {"method", methods[m]},
                                                {"code", classes[c]}};

            if (sum->requests[m][c] > 0)
                prom_uint(b, name, labels, 3, sum->requests[m][c]);
        }
    }
}

/* Each family in a go of its own, since its samples must stand together. */
enum request_family { REQUESTS, SENT, SECONDS, REQUEST_FAMILIES };

static void put_requests(struct buf *b, const struct gateway *g)
{
    static const struct {
        const char *name;
        enum prom_type type;
        const char *help;
    } families[REQUEST_FAMILIES] = {
        {"rqlite_http_requests_total", PROM_COUNTER,
         "Requests that are over, by endpoint, method and class of status; gone: the "
         "client left before the answer."},
        {"rqlite_http_sent_bytes_total", PROM_COUNTER, "Bytes of answers' bodies."},
        {"rqlite_http_request_duration_seconds", PROM_HISTOGRAM,
         "From the end of a request's headers until its answer was handed to the "
         "connection."},
    };

    for (int f = 0; f < REQUEST_FAMILIES; f++) {
        const char *name = families[f].name;

        prom_family(b, name, families[f].type, families[f].help);
        for (unsigned i = 0; i == 0 || route_numbered(i); i++) {
            const struct prom_label label = {"endpoint", endpoint_name(i)};
            struct endpoint_sum sum;

            if (!is_first_of_its_name(i)) continue;
            add_up(g, i, &sum);
            if (sum.seconds.total == 0) continue;
            if (f == REQUESTS) put_counts(b, name, i, &sum);
            if (f == SENT) prom_uint(b, name, &label, 1, sum.sent_bytes);
            if (f == SECONDS) prom_histogram(b, name, &label, &sum.seconds);
        }
    }
    prom_family(b, "rqlite_http_connections", PROM_GAUGE, "Open connections of clients.");
    prom_uint(b, "rqlite_http_connections", NULL, 0, atomic_load(&g->connections));
}

/* --- the process, and the counters
 * ------------------------------------------------------ */

static void put_one(struct buf *b, const char *name, enum prom_type type,
                    const char *help, double v)
{
    prom_family(b, name, type, help);
    prom_real(b, name, NULL, 0, v);
}

static void put_process(struct buf *b)
{
    struct process_figures p;

    process_figures(&p);
    put_one(b, "process_cpu_seconds_total", PROM_COUNTER,
            "User and system CPU time spent.", p.cpu_seconds);
    put_one(b, "process_resident_memory_bytes", PROM_GAUGE, "Resident memory.",
            (double)p.resident_bytes);
    put_one(b, "process_virtual_memory_bytes", PROM_GAUGE, "Virtual memory.",
            (double)p.virtual_bytes);
    put_one(b, "process_open_fds", PROM_GAUGE, "Open file descriptors.",
            (double)p.open_fds);
    put_one(b, "process_max_fds", PROM_GAUGE, "Most of them allowed.", (double)p.max_fds);
    put_one(b, "process_threads", PROM_GAUGE, "Threads.", (double)p.threads);
    put_one(b, "process_start_time_seconds", PROM_GAUGE,
            "Start of the process, since 1970.", p.start_seconds);
}

static const char *doc_text(struct doc *root, const char *path)
{
    const struct doc *d = json_doc_at(root, path);

    return d && d->type == DOC_TEXT ? d->v.text.s : "";
}

static void put_build(struct buf *b, struct doc *root)
{
    const struct prom_label labels[] = {
        {"version", doc_text(root, "build.version")},
        {"commit", doc_text(root, "build.commit")},
        {"toolchain", doc_text(root, "build.compiler_toolchain")},
        {"sqlite", doc_text(root, "store.sqlite3.version")},
    };

    prom_family(b, "rqlite_build_info", PROM_GAUGE, "1; what runs is in the labels.");
    prom_uint(b, "rqlite_build_info", labels, sizeof labels / sizeof *labels, 1);
}

/* "db.wal", "compact_frames_input" -> rqlite_vars_db_wal_compact_frames_input_total */
static void put_vars(struct buf *b, const struct metrics *m)
{
    for (int i = 0; i < METRIC_COUNT; i++) {
        const char *map = metrics_map_name((enum metric)i),
                   *key = metrics_key((enum metric)i);
        char name[160], help[160];

        snprintf(name, sizeof name, "rqlite_vars_%s_%s_total", map, key);
        for (char *p = name; *p; p++)
            if (*p == '.') *p = '_';
        snprintf(help, sizeof help, "%s in the map %s of /debug/vars.", key, map);
        prom_family(b, name, PROM_COUNTER, help);
        prom_int(b, name, NULL, 0, metrics_get(m, (enum metric)i));
    }
}

static void put_counters(struct buf *b, const struct metrics *m)
{
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        prom_family(b, counters[i].name, PROM_COUNTER, counters[i].help);
        prom_int(b, counters[i].name, NULL, 0, metrics_get(m, counters[i].metric));
    }
    for (size_t i = 0; m && i < sizeof timers / sizeof *timers; i++) {
        struct histogram_sum sum = {0};

        histogram_collect(&sum, metrics_timer(m, timers[i].timer));
        prom_family(b, timers[i].name, PROM_HISTOGRAM, timers[i].help);
        prom_histogram(b, timers[i].name, NULL, &sum);
    }
}

/* --- the page
 * ----------------------------------------------------------------------------- */

static void answer(struct api_call *a)
{
    const struct gateway *g = a->x->thread->gateway;
    struct doc *root = a->c.status.into;
    struct buf body;

    if (a->c.call.why.code) {
        respond_failed(a->x, a->params, a->endpoint, &a->c.call);
        return;
    }
    buf_init(&body, 0);
    put_build(&body, root);
    put_figures(&body, root);
    put_role(&body, root);
    put_peers(&body, root);
    put_requests(&body, g);
    put_counters(&body, g->metrics);
    put_process(&body);
    put_vars(&body, g->metrics);
    if (arena_failed(&a->x->arena))
        http_respond_text(a->x, 500, "out of memory");
    else
        api_respond_json(a->x, API_PROM, &body);
    buf_fini(&body);
}

void api_prom(struct http_exchange *x, const struct params *p)
{
    api_ask_status(x, p, &endpoint, true, answer);
}
