/* SPDX-License-Identifier: MIT */
/*
 * status: the "store" object of /status (HTTP API 12.3 to 12.5).
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/buf.h"
#include "core/base/doc.h"
#include "core/node/internal.h"
#include "core/node/maintenance.h"
#include "core/node/snapshots.h"

static uint64_t dir_size(const char *path, int depth)
{
    DIR *d = opendir(path);
    uint64_t sum = 0;
    struct dirent *e;

    if (d == NULL) return 0;
    while ((e = readdir(d)) != NULL) {
        char name[4400];
        struct stat st;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (snprintf(name, sizeof name, "%s/%s", path, e->d_name) >= (int)sizeof name)
            continue;
        if (lstat(name, &st) != 0) continue;
        if (S_ISDIR(st.st_mode))
            sum += depth > 0 ? dir_size(name, depth - 1) : 0;
        else
            sum += (uint64_t)st.st_size;
    }
    closedir(d);
    return sum;
}

static void add_configuration(const struct node *n, struct doc *raft)
{
    const struct raft_config *c = raft_config(n->raft);
    struct buf b;

    buf_init(&b, 0);
    buf_append_str(&b, "[");
    for (size_t i = 0; i < c->n; i++)
        buf_printf(&b, "%s{Suffrage:%s ID:%s Address:%s}", i ? " " : "",
                   c->members[i].voter ? "Voter" : "Nonvoter", c->members[i].id,
                   c->members[i].addr);
    buf_append_str(&b, "]");
    if (b.error == ERR_OK)
        doc_add_textn(raft, "latest_configuration", (const char *)b.data, b.len);
    buf_fini(&b);
    doc_add_uint(raft, "latest_configuration_index", c->index);
}

static void add_raft(struct node *n, struct doc *store)
{
    struct doc *r = doc_add_object(store, "raft"), *config, *bolt, *transport;
    const struct raft_config *c = raft_config(n->raft);
    const struct raft_member *me = raft_config_find(c, n->o.id);
    bool voter = me && me->voter, leader = raft_role(n->raft) == RAFT_LEADER;
    struct wal_stats ws;

    doc_add_text(r, "state", n->halted ? "Shutdown" : raft_role_name(raft_role(n->raft)));
    doc_add_uint(r, "term", raft_term(n->raft));
    doc_add_bool(r, "voter", voter);
    doc_add_uint(r, "applied_index", member_applied_index(n->member));
    doc_add_uint(r, "commit_index", raft_commit(n->raft));
    doc_add_uint(r, "fsm_pending",
                 raft_commit(n->raft) - member_applied_index(n->member));
    doc_add_uint(r, "last_log_index", raft_last_index(n->raft));
    doc_add_uint(r, "last_log_term", raft_last_term(n->raft));
    doc_add_uint(r, "last_snapshot_index", raft_snapshot_index(n->raft));
    doc_add_uint(r, "last_snapshot_term", raft_snapshot_term(n->raft));
    if (leader)
        doc_add_int(r, "last_contact", 0);
    else if (raft_last_contact_ms(n->raft) == 0)
        doc_add_text(r, "last_contact", "never");
    else
        doc_add_duration(r, "last_contact",
                         (int64_t)(node_now_ms(n) - raft_last_contact_ms(n->raft)) *
                             1000000);
    add_configuration(n, r);
    doc_add_uint(r, "num_peers", voter ? raft_config_voters(c) - 1 : 0);
    wal_stats(n->wal, &ws);
    doc_add_uint(r, "log_size", ws.bytes);
    doc_add_bytes_friendly(r, "log_size_friendly", ws.bytes);
    doc_add_int(r, "protocol_version", 3);
    doc_add_int(r, "protocol_version_min", 0);
    doc_add_int(r, "protocol_version_max", 3);
    doc_add_int(r, "snapshot_version_min", 0);
    doc_add_int(r, "snapshot_version_max", 1);
    transport = doc_add_object(r, "transport");
    doc_add_uint(transport, "command_commit_index", raft_commit(n->raft));
    doc_add_bool(transport, "compress_snap", n->o.compress_snapshots);
    doc_add_uint(transport, "leader_commit_index", raft_commit(n->raft));
    bolt = doc_add_object(r, "bolt");
    doc_add_uint(bolt, "bytes", ws.bytes);
    doc_add_uint(bolt, "segments", ws.segments);
    doc_add_uint(bolt, "syncs", ws.syncs);
    doc_add_uint(bolt, "appends", ws.appends);
    doc_add_uint(bolt, "written_bytes", ws.written_bytes);
    config = doc_add_object(r, "config");
    if (config) config->keep_order = true;
    doc_add_text(config, "LocalID", n->o.id);
    doc_add_uint(config, "HeartbeatTimeout", (uint64_t)n->o.heartbeat_ms * 1000000);
    doc_add_uint(config, "ElectionTimeout", (uint64_t)n->o.election_ms * 1000000);
    doc_add_uint(config, "LeaderLeaseTimeout", (uint64_t)n->o.lease_ms * 1000000);
    doc_add_uint(config, "CommitTimeout", (uint64_t)n->o.commit_ms * 1000000);
    doc_add_uint(config, "SnapshotInterval", n->o.snapshot_interval_ns);
    doc_add_uint(config, "SnapshotThreshold", n->o.snapshot_entries);
    doc_add_uint(config, "MaxAppendEntries", 64);
    doc_add_bool(config, "ShutdownOnRemove", n->o.shutdown_on_remove);
    doc_add_text(config, "LogLevel", n->o.raft_log_level);
    doc_add_bool(config, "NoSnapshotRestoreOnStart", true);
}

void status_from_node(struct node *n, struct doc *store)
{
    const struct raft_config *c = raft_config(n->raft);
    const char *leader = raft_leader(n->raft);
    const struct raft_member *lm = leader[0] ? raft_config_find(c, leader) : NULL;
    struct doc *d;

    doc_add_bool(store, "open", true);
    doc_add_bool(store, "ready",
                 leader[0] != '\0' &&
                     (raft_role(n->raft) != RAFT_LEADER || member_caught_up(n->member)));
    doc_add_text(store, "addr", n->o.raft_addr);
    doc_add_text(store, "node_id", n->o.id);
    doc_add_duration(store, "apply_timeout",
                     (int64_t)(n->o.apply_timeout_ms ? n->o.apply_timeout_ms : 10000) *
                         1000000);
    doc_add_duration(store, "commit_timeout", (int64_t)n->o.commit_ms * 1000000);
    doc_add_duration(store, "election_timeout", (int64_t)n->o.election_ms * 1000000);
    doc_add_duration(store, "heartbeat_timeout", (int64_t)n->o.heartbeat_ms * 1000000);
    doc_add_duration(store, "reap_timeout", n->o.reap_ns);
    doc_add_duration(store, "reap_read_only_timeout", n->o.reap_read_only_ns);
    doc_add_duration(store, "snapshot_interval", (int64_t)n->o.snapshot_interval_ns);
    doc_add_uint(store, "snapshot_threshold", n->o.snapshot_entries);
    doc_add_uint(store, "trailing_logs", snapshots_trailing(n));
    maintenance_status(n->maintenance, store);
    doc_add_uint(store, "db_applied_index", db_changed_index(n->db));
    doc_add_uint(store, "fsm_index", member_applied_index(n->member));
    doc_add_uint(store, "fsm_term",
                 raft_term_of(n->raft, member_applied_index(n->member)));
    doc_add_time(store, "fsm_update_time", applier_time_ns(n->applier));
    doc_add_time(store, "leader_appended_at_time", applier_time_ns(n->applier));
    doc_addf(store, "effect_hash", "%016" PRIx64, atomic_load(&n->applied.hash));
    d = doc_add_object(store, "leader");
    doc_add_text(d, "addr", lm ? lm->addr : "");
    doc_add_text(d, "node_id", leader);
    doc_add_bool(store, "no_freelist_sync", false);
    d = doc_add_array(store, "nodes");
    for (size_t i = 0; i < c->n; i++) {
        struct doc *m = doc_add_object(d, NULL);

        if (m) m->keep_order = true;
        doc_add_text(m, "id", c->members[i].id);
        doc_add_text(m, "addr", c->members[i].addr);
        doc_add_text(m, "suffrage", c->members[i].voter ? "voter" : "nonvoter");
    }
    d = doc_add_object(store, "observer");
    doc_add_int(d, "dropped", 0);
    doc_add_int(d, "observed",
                metrics_get(n->o.metrics, METRIC_store_leader_changes_observed));
    d = doc_add_object(store, "cdc");
    doc_add_bool(d, "enabled", false);
    doc_add_bool(d, "registered", false);
    d = doc_add_object(store, "request_marshaler");
    doc_add_int(d, "compression_batch", 0);
    doc_add_int(d, "compression_size", 64 << 10);
    doc_add_bool(d, "force_compression", false);
    doc_add_uint(store, "strong_read_term", member_strong_read_term(n->member));
    add_raft(n, store);
}

void status_from_reader(struct node *n, struct doc *store, struct db_reader *r)
{
    struct doc *d;
    struct readers_stats rs;
    struct db_pool ro, rw = {.max = 1, .open = 1};
    uint64_t size = dir_size(n->o.data_dir, 4);

    doc_add_text(store, "dir", n->o.data_dir);
    doc_add_uint(store, "dir_size", size);
    doc_add_bytes_friendly(store, "dir_size_friendly", size);
    d = doc_add_object(store, "db_conf");
    doc_add_bool(d, "fk_constraints", n->o.foreign_keys);
    doc_add_bool(d, "memory", !n->o.on_disk);
    doc_add_text(d, "on_disk_path", n->o.on_disk_path ? n->o.on_disk_path : "");
    if (n->o.n_extensions > 0) {
        struct doc *e = doc_add_array(d, "extensions");

        for (size_t i = 0; i < n->o.n_extensions; i++)
            doc_add_text(e, NULL, n->o.extensions[i]);
    }
    d = doc_add_object(store, "sqlite3");
    if (r) {
        readers_stats(n->readers, &rs);
        ro = (struct db_pool){.max = rs.max == UINT32_MAX ? 0 : rs.max,
                              .open = rs.threads,
                              .in_use = rs.busy,
                              .waits = rs.waits,
                              .waited_ns = rs.waited_ns};
        rw.in_use = atomic_load_explicit(&n->applying, memory_order_relaxed);
        db_reader_status(r, &ro, &rw, d);
    }
    snapshots_status(n->snapshots, store);
}
