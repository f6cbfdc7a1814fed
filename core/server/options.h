/* SPDX-License-Identifier: MIT */
/*
 * options: rqlited's command line as plain fields.
 *
 * One table in options.c names every flag once; parsing, -h, the man page and README's
 * table come from its rows.  Nothing is printed here: what the process is to say is
 * handed back, so tests need no process.  The file system is asked only whether named
 * files exist.
 */
#ifndef CORE_SERVER_OPTIONS_H
#define CORE_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"

enum { OPTIONS_FLAGS_MAX = 128 };

/* One field per flag, by the flag's name.  Texts are never NULL and borrowed from argv;
 * durations
 * (_ns) are nanoseconds.  After options_parse() the advertised addresses are filled in,
 * and Raft settings of 0 are replaced by what 0 stands for. */
struct options {
    const char *data_dir;

    /* general */
    bool version;
    const char *node_id; /* "" = the stored one, or the advertised Raft address */
    bool fk;
    const char *extensions_path;
    int64_t db_max_ro_conns, auto_vacuum_int_ns, auto_optimize_int_ns;
    const char *cpu_profile, *mem_profile, *trace_profile;

    /* the database file */
    bool on_disk, on_disk_startup;
    const char *on_disk_path;

    /* HTTP */
    const char *http_addr, *http_adv_addr, *http_allow_origin, *auth;
    const char *http_cert, *http_key, *http_ca_cert, *http_verify_common_name;
    bool http_verify_client, http_no_verify;
    uint64_t http_max_header_bytes, http_max_body_bytes, http_max_conns;
    uint64_t http_max_requests, http_max_memory;
    int64_t http_header_timeout_ns, http_idle_timeout_ns, http_stall_timeout_ns;

    /* node to node */
    const char *raft_addr, *raft_adv_addr;
    const char *node_cert, *node_key, *node_ca_cert;
    const char *node_verify_server_name, *node_verify_common_name;
    bool node_no_verify, node_verify_client, node_encrypt;
    int64_t cluster_connect_timeout_ns;
    bool compress_snap_transport;

    /* forming a cluster */
    const char *join, *join_as, *join_source_ip;
    int64_t join_attempts, join_interval_ns;
    int64_t bootstrap_expect, bootstrap_expect_timeout_ns;
    const char *disco_mode, *disco_key, *disco_config, *disco_id, *disco_url;
    bool raft_non_voter;

    /* Raft */
    const char *raft_log_level;
    int64_t raft_heartbeat_timeout_ns, raft_election_timeout_ns;
    int64_t raft_leader_lease_timeout_ns, raft_commit_timeout_ns, raft_apply_timeout_ns;
    int64_t raft_timeout_ns; /* legacy name of the heartbeat's */
    uint64_t raft_snap, raft_snap_wal_size;
    int64_t raft_snap_int_ns;
    bool raft_remove_shutdown, raft_cluster_remove_shutdown, raft_shutdown_stepdown;
    int64_t raft_reap_node_timeout_ns, raft_reap_read_only_node_timeout_ns;

    /* logs */
    const char *log_format, *access_log;
    uint64_t slow_query_ms;

    /* queued writes */
    int64_t write_queue_capacity, write_queue_batch_size, write_queue_timeout_ns;
    bool write_queue_tx;

    /* change data capture, backups, metrics */
    const char *cdc_config, *auto_backup, *auto_restore;
    const char *otlp_endpoint, *otlp_ca_cert, *otlp_cert, *otlp_key;
    int64_t otlp_interval_ns;
    bool otlp_insecure, otlp_no_verify;

    /* legacy */
    bool tls1011, expvar, pprof, raft_no_freelist_sync, raft_leader_wait;
    int64_t compression_size, compression_batch, raft_open_timeout_ns;
    const char *dsn;

    bool given[OPTIONS_FLAGS_MAX]; /* by row of the table: was it on the command line? */
};

/* What the process has to do when it is not to run as a server. */
struct options_end {
    int status;           /* to exit with */
    struct buf out, err;  /* for stdout and stderr */
    bool version;         /* print the version line */
    struct why log_fatal; /* unless empty: a log line */
};

void options_end_init(struct options_end *end);
void options_end_fini(struct options_end *end);

/*
 * ERR_OK: the server may start with o.  ERR_NOTHING: the command line asked for a text,
 * which is in end.  ERR_INVALID: it is refused, with the words for it in end.
 */
MUST_USE enum err options_parse(struct options *o, int argc, const char *const *argv,
                                struct options_end *end);

/* Names of the flags given that do nothing: the next one at or after *pos (start with 0),
 * or NULL. */
const char *options_next_without_effect(const struct options *o, size_t *pos);

#endif
