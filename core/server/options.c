/* SPDX-License-Identifier: MIT */
#include "core/server/options.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/base/text.h"
#include "core/cluster/address.h"
#include "core/server/flags.h"

/* --- the table -------------------------------------------------------------------- */

#define AT(field) offsetof(struct options, field)
#define HEADING(text)                                                                    \
    {                                                                                    \
        "", FLAG_HEADING, 0, "", FLAG_WORKS, text                                        \
    }
#define BOOL(name, field, preset, state, help)                                           \
    {                                                                                    \
        name, FLAG_BOOL, AT(field), preset, state, help                                  \
    }
#define TEXT(name, field, preset, state, help)                                           \
    {                                                                                    \
        name, FLAG_STRING, AT(field), preset, state, help                                \
    }
#define INT(name, field, preset, state, help)                                            \
    {                                                                                    \
        name, FLAG_INT, AT(field), preset, state, help                                   \
    }
#define UINT(name, field, preset, state, help)                                           \
    {                                                                                    \
        name, FLAG_UINT, AT(field), preset, state, help                                  \
    }
#define TIME(name, field, preset, state, help)                                           \
    {                                                                                    \
        name, FLAG_DURATION, AT(field), preset, state, help                              \
    }
#define WORKS     FLAG_WORKS
#define LATER     FLAG_LATER
#define NO_EFFECT FLAG_NO_EFFECT
#define GONE      FLAG_GONE

/* clang-format off */
static const struct flag ROWS[] = {
HEADING("General"),
BOOL("version", version, "", WORKS, "Show version information and exit"),
TEXT("node-id", node_id, "", WORKS, "Unique ID for this node. If not set, the one stored in the data directory, or else the advertised Raft address"),
BOOL("fk", fk, "", WORKS, "Enable SQLite foreign key constraints on every connection. Must be the same on all nodes"),
TEXT("extensions-path", extensions_path, "", WORKS, "Comma-delimited list of SQLite extension files, or directories of them, to load"),
INT("db-max-ro-conns", db_max_ro_conns, "256", WORKS, "Maximum number of reads that run at once; others wait. 0 means no limit"),
TIME("auto-vacuum-int", auto_vacuum_int_ns, "", WORKS, "Period between automatic VACUUMs. If not set, not enabled"),
TIME("auto-optimize-int", auto_optimize_int_ns, "24h", WORKS, "Period between automatic 'PRAGMA optimize'. 0 disables it"),
TEXT("cpu-profile", cpu_profile, "", NO_EFFECT, "Accepted for compatibility, without effect"),
TEXT("mem-profile", mem_profile, "", NO_EFFECT, "Accepted for compatibility, without effect"),
TEXT("trace-profile", trace_profile, "", NO_EFFECT, "Accepted for compatibility, without effect"),

HEADING("Database file"),
/* Names of v5 to v9, too, but no legacy: the only way to a file that other programs can read. */
BOOL("on-disk", on_disk, "", WORKS, "Keep the SQLite database in a file other programs can read, not in memory"),
TEXT("on-disk-path", on_disk_path, "", WORKS, "Path of that file. If not set, db.sqlite in the data directory. Needs -on-disk"),

HEADING("HTTP"),
TEXT("http-addr", http_addr, "localhost:4001", WORKS, "HTTP server bind address. To listen on all interfaces use 0.0.0.0 as host and set -http-adv-addr"),
TEXT("http-adv-addr", http_adv_addr, "", WORKS, "HTTP address told to clients and other nodes. If not set, same as -http-addr"),
TEXT("http-allow-origin", http_allow_origin, "", WORKS, "Value of the Access-Control-Allow-Origin header. If not set, it is not sent"),
TEXT("auth", auth, "", WORKS, "Path to authentication and authorization file. If not set, not enabled"),
TEXT("http-cert", http_cert, "", WORKS, "Path to X.509 certificate of the HTTPS server"),
TEXT("http-key", http_key, "", WORKS, "Path to X.509 private key of the HTTPS server"),
TEXT("http-ca-cert", http_ca_cert, "", WORKS, "Path to X.509 CA certificate that client certificates, and those of https:// join addresses, must be signed by"),
BOOL("http-verify-client", http_verify_client, "", WORKS, "Require a verified certificate of HTTPS clients (mutual TLS)"),
TEXT("http-verify-common-name", http_verify_common_name, "", WORKS, "Common name a client certificate must have. Needs -http-verify-client"),
UINT("http-max-header-bytes", http_max_header_bytes, "1052672", WORKS, "Largest header block of a request, in bytes"),
UINT("http-max-body-bytes", http_max_body_bytes, "268435456", WORKS, "Largest body of a request, in bytes. Loads and boots have no limit"),
UINT("http-max-conns", http_max_conns, "", WORKS, "Connections served at once; others wait to be accepted. If not set, as many as open files allow"),
UINT("http-max-requests", http_max_requests, "20000", WORKS, "Requests to the database worked on at once; others are answered 503. 0 means no limit"),
UINT("http-max-memory", http_max_memory, "1073741824", WORKS, "Bytes that bodies and results may take together before requests fail. 0 means no limit"),
TIME("http-header-timeout", http_header_timeout_ns, "10s", WORKS, "Time the header block of a request may take"),
TIME("http-idle-timeout", http_idle_timeout_ns, "2m0s", WORKS, "Time a connection may stay open without a request"),
TIME("http-stall-timeout", http_stall_timeout_ns, "1m0s", WORKS, "Time a body or a response may make no progress before its connection is closed"),

HEADING("Node to node"),
TEXT("raft-addr", raft_addr, "localhost:4002", WORKS, "Bind address of the port that nodes talk to each other on"),
TEXT("raft-adv-addr", raft_adv_addr, "", WORKS, "Address other nodes use for this node. If not set, same as -raft-addr"),
TEXT("node-cert", node_cert, "", WORKS, "Path to X.509 certificate for encryption between nodes. If set, all of the Raft port is encrypted"),
TEXT("node-key", node_key, "", WORKS, "Path to X.509 private key for encryption between nodes"),
TEXT("node-ca-cert", node_ca_cert, "", WORKS, "Path to X.509 CA certificate that node certificates must be signed by"),
BOOL("node-no-verify", node_no_verify, "", WORKS, "Skip the check of other nodes' certificates"),
BOOL("node-verify-client", node_verify_client, "", WORKS, "Require a verified certificate of connecting nodes (mutual TLS)"),
TEXT("node-verify-server-name", node_verify_server_name, "", WORKS, "Host name that other nodes' certificates must be issued for. If not set, the host part of their address"),
TEXT("node-verify-common-name", node_verify_common_name, "", WORKS, "Common name that connecting nodes' certificates must have. Needs -node-verify-client"),
TIME("cluster-connect-timeout", cluster_connect_timeout_ns, "30s", WORKS, "Timeout for connecting to other nodes"),
BOOL("compress-snap-transport", compress_snap_transport, "", WORKS, "Compress snapshots sent to other nodes"),

HEADING("Forming a cluster"),
TEXT("join", join, "", WORKS, "Comma-delimited list of nodes to join a cluster through, each host:port of a Raft port or http(s)://host:port"),
INT("join-attempts", join_attempts, "5", WORKS, "Number of rounds over the join addresses"),
TIME("join-interval", join_interval_ns, "3s", WORKS, "Pause between rounds"),
TEXT("join-as", join_as, "", WORKS, "User of the -auth file to join as. If not set, joins anonymously"),
INT("bootstrap-expect", bootstrap_expect, "", WORKS, "Number of nodes that must be there before a new cluster forms. 0 forms one at once"),
TIME("bootstrap-expect-timeout", bootstrap_expect_timeout_ns, "120s", WORKS, "Longest wait for them"),
TEXT("disco-mode", disco_mode, "", LATER, "How to discover other nodes: consul-kv, etcd-kv, dns or dns-srv. If not set, not enabled"),
TEXT("disco-key", disco_key, "rqlite", LATER, "Key prefix in Consul or etcd"),
TEXT("disco-config", disco_config, "", LATER, "Discovery configuration: JSON text, or the path of a file with it"),
BOOL("raft-non-voter", raft_non_voter, "", WORKS, "Be a read-only node: a replica that never votes or leads"),

HEADING("Raft"),
TEXT("raft-log-level", raft_log_level, "WARN", WORKS, "Level of Raft's log lines: DEBUG, INFO, WARN or ERROR"),
TIME("raft-heartbeat-timeout", raft_heartbeat_timeout_ns, "1s", WORKS, "Time without a leader after which a follower stands for election"),
TIME("raft-election-timeout", raft_election_timeout_ns, "1s", WORKS, "Time after which a candidate tries again"),
TIME("raft-leader-lease-timeout", raft_leader_lease_timeout_ns, "", WORKS, "Time without a quorum after which a leader steps down. 0 means 500ms"),
TIME("raft-commit-timeout", raft_commit_timeout_ns, "50ms", WORKS, "Time after which an idle leader tells followers the commit index"),
TIME("raft-apply-timeout", raft_apply_timeout_ns, "10s", WORKS, "Longest wait for a write to be taken into the log"),
UINT("raft-snap", raft_snap, "8192", WORKS, "Number of outstanding log entries which triggers Raft snapshot"),
TIME("raft-snap-int", raft_snap_int_ns, "10s", WORKS, "How often it is checked whether a snapshot is due"),
UINT("raft-snap-wal-size", raft_snap_wal_size, "4194304", WORKS, "Size of the SQLite WAL, in bytes, which triggers a snapshot. 0 disables it"),
BOOL("raft-remove-shutdown", raft_remove_shutdown, "", WORKS, "Stop Raft when this node learns that it was removed from the cluster"),
BOOL("raft-cluster-remove-shutdown", raft_cluster_remove_shutdown, "", WORKS, "Leave the cluster on graceful shutdown"),
BOOL("raft-shutdown-stepdown", raft_shutdown_stepdown, "true", WORKS, "If leader, hand over leadership before shutting down"),
TIME("raft-reap-node-timeout", raft_reap_node_timeout_ns, "", WORKS, "Time after which an unreachable voter is removed. If not set, never"),
TIME("raft-reap-read-only-node-timeout", raft_reap_read_only_node_timeout_ns, "", WORKS, "Time after which an unreachable read-only node is removed. If not set, never"),

HEADING("Logs"),
TEXT("log-format", log_format, "text", WORKS, "Format of log lines: text, or json (an object on each line)"),
TEXT("access-log", access_log, "", WORKS, "Where to write a line for each HTTP request: a file, stderr or stdout. If not set, nowhere"),
UINT("slow-query-ms", slow_query_ms, "", WORKS, "Log requests to the database that take as many milliseconds. 0 means none"),

HEADING("Queued writes"),
INT("write-queue-capacity", write_queue_capacity, "1024", WORKS, "Number of queued requests held; when full, further ones wait"),
INT("write-queue-batch-size", write_queue_batch_size, "128", WORKS, "Number of queued requests written together"),
TIME("write-queue-timeout", write_queue_timeout_ns, "50ms", WORKS, "Age of the oldest queued request at which a part-filled batch is written. 0 means only full batches"),
BOOL("write-queue-tx", write_queue_tx, "", WORKS, "Run each batch in a transaction"),

HEADING("Change data capture, backups, metrics"),
TEXT("cdc-config", cdc_config, "", LATER, "Change data capture: URL, 'stdout', or the path of a configuration file. If not set, not enabled"),
TEXT("auto-backup", auto_backup, "", LATER, "Path to automatic backup configuration file. If not set, not enabled"),
TEXT("auto-restore", auto_restore, "", LATER, "Path to automatic restore configuration file. If not set, not enabled"),
TEXT("otlp-endpoint", otlp_endpoint, "", LATER, "OpenTelemetry collector, host:port. If not set, not enabled"),
TIME("otlp-interval", otlp_interval_ns, "30s", LATER, "Period between metrics sent to it"),
BOOL("otlp-insecure", otlp_insecure, "", LATER, "Talk to it without TLS"),
BOOL("otlp-no-verify", otlp_no_verify, "", LATER, "Skip the check of its certificate"),
TEXT("otlp-ca-cert", otlp_ca_cert, "", LATER, "Path to X.509 CA certificate that its certificate must be signed by"),
TEXT("otlp-cert", otlp_cert, "", LATER, "Path to X.509 certificate shown to it"),
TEXT("otlp-key", otlp_key, "", LATER, "Path to X.509 private key of that certificate"),

HEADING("Legacy"),
TIME("raft-timeout", raft_timeout_ns, "1s", WORKS, "Legacy: same as -raft-heartbeat-timeout, which wins if both are given"),
TEXT("join-source-ip", join_source_ip, "", WORKS, "Legacy: source address of join requests"),
BOOL("http-no-verify", http_no_verify, "", WORKS, "Legacy: skip the check of certificates of https:// join addresses"),
BOOL("node-encrypt", node_encrypt, "", WORKS, "Legacy: encryption between nodes with cert.pem and key.pem of the working directory, where they exist and -node-cert is not given"),
BOOL("expvar", expvar, "true", WORKS, "Legacy: serve /debug/vars"),
BOOL("pprof", pprof, "true", WORKS, "Legacy: serve /debug/pprof"),
BOOL("on-disk-startup", on_disk_startup, "", NO_EFFECT, "Legacy: accepted, without effect"),
BOOL("tls1011", tls1011, "", NO_EFFECT, "Legacy: accepted, without effect; TLS 1.0 and 1.1 stay off"),
INT("compression-size", compression_size, "150", NO_EFFECT, "Legacy: accepted, without effect"),
INT("compression-batch", compression_batch, "5", NO_EFFECT, "Legacy: accepted, without effect"),
BOOL("raft-no-freelist-sync", raft_no_freelist_sync, "", NO_EFFECT, "Legacy: accepted, without effect"),
TIME("raft-open-timeout", raft_open_timeout_ns, "120s", NO_EFFECT, "Legacy: accepted, without effect"),
BOOL("raft-leader-wait", raft_leader_wait, "true", NO_EFFECT, "Legacy: accepted, without effect"),
TEXT("dsn", dsn, "", NO_EFFECT, "Legacy: accepted, without effect"),
TEXT("disco-id", disco_id, "", GONE, "Legacy: refused, that discovery service is gone; see -disco-mode"),
TEXT("disco-url", disco_url, "", GONE, "Legacy: refused, that discovery service is gone; see -disco-mode"),
};
/* clang-format on */

static const struct flag_table TABLE = {ROWS, sizeof ROWS / sizeof *ROWS};
_Static_assert(sizeof ROWS / sizeof *ROWS <= OPTIONS_FLAGS_MAX,
               "struct options.given is too small");

static bool given(const struct options *o, const char *name)
{
    for (size_t i = 0; i < TABLE.n; i++)
        if (strcmp(ROWS[i].name, name) == 0) return o->given[i];
    CHECK(!"a flag of the table");
    return false;
}

const char *options_next_without_effect(const struct options *o, size_t *pos)
{
    for (; *pos < TABLE.n; ++*pos)
        if (ROWS[*pos].state == FLAG_NO_EFFECT && o->given[*pos])
            return ROWS[(*pos)++].name;
    return NULL;
}

/* --- addresses -------------------------------------------------------------------- */

struct host_port {
    const char *host, *port; /* port ends with the text */
    size_t host_len;
};

/* "host:port" as the reference's language splits it: IPv6 in brackets, either part may be
 * empty. */
static bool split_host_port(const char *s, struct host_port *out)
{
    const char *colon = strrchr(s, ':');

    if (!colon) return false;
    out->port = colon + 1;
    if (*s == '[') {
        const char *end = strchr(s, ']');

        if (!end || end + 1 != colon) return false;
        out->host = s + 1;
        out->host_len = (size_t)(end - out->host);
    } else {
        out->host = s;
        out->host_len = (size_t)(colon - s);
        if (memchr(s, ':', out->host_len) || memchr(s, ']', out->host_len)) return false;
    }
    return !memchr(out->host, '[', out->host_len) && !strpbrk(out->port, "[]");
}

static bool is_host_port(const char *s)
{
    struct host_port hp;

    return split_host_port(s, &hp);
}

/* A whole decimal number, with a sign if need be. */
static bool is_number(const char *s)
{
    size_t n;

    if (*s == '-' || *s == '+') s++;
    n = strspn(s, "0123456789");
    return n > 0 && n < 19 && s[n] == '\0';
}

/* The host as text if it is an address that stands for all of them. */
static bool is_unspecified(const struct host_port *hp, char *host, size_t cap)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (hp->host_len >= cap) return false;
    memcpy(host, hp->host, hp->host_len);
    host[hp->host_len] = '\0';
    if (inet_pton(AF_INET, host, &v4) == 1) return v4.s_addr == 0;
    if (inet_pton(AF_INET6, host, &v6) != 1) return false;
    if (IN6_IS_ADDR_V4MAPPED(&v6)) return memcmp(v6.s6_addr + 12, "\0\0\0\0", 4) == 0;
    return IN6_IS_ADDR_UNSPECIFIED(&v6);
}

/* --- checks, in the order of the specification (server 3) ------------------------- */

static enum err refuse(struct options_end *end, const char *fmt, ...) PRINTF_LIKE(2, 3);
static enum err refuse(struct options_end *end, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    buf_printf(&end->err, "fatal: %s\n", text);
    end->status = 1;
    return ERR_INVALID;
}

static bool any(const char *s)
{
    return *s != '\0';
}

static bool is_blank(const char *s)
{
    return s[strspn(s, " \t\n\v\f\r")] == '\0';
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static bool begins_with_http(const char *s)
{
    return strncasecmp(s, "http", 4) == 0;
}

static enum err check_extensions(const struct options *o, struct options_end *end)
{
    const char *list = o->extensions_path, *item;
    char path[4096];
    size_t len;

    while (flags_next_item(&list, &item, &len)) {
        if (len >= sizeof path) return refuse(end, "extension path is too long");
        memcpy(path, item, len);
        path[len] = '\0';
        if (!exists(path)) return refuse(end, "extension path does not exist: %s", path);
    }
    return ERR_OK;
}

static enum err check_logs(const struct options *o, struct options_end *end)
{
    if (strcmp(o->log_format, "text") != 0 && strcmp(o->log_format, "json") != 0)
        return refuse(end, "log format must be text or json");
    return ERR_OK;
}

static enum err check_tls(const struct options *o, struct options_end *end)
{
    if (any(o->http_cert) != any(o->http_key))
        return refuse(end,
                      "either both -http-cert and -http-key must be set, or neither");
    if (any(o->node_cert) != any(o->node_key))
        return refuse(end,
                      "either both -node-cert and -node-key must be set, or neither");
    if (any(o->http_verify_common_name) && !o->http_verify_client)
        return refuse(end, "-http-verify-common-name requires -http-verify-client");
    if (any(o->node_verify_common_name) && !o->node_verify_client)
        return refuse(end, "-node-verify-common-name requires -node-verify-client");
    return ERR_OK;
}

static enum err check_http_addresses(const struct options *o, struct options_end *end)
{
    struct host_port adv;
    char host[64];

    if (begins_with_http(o->http_addr) || begins_with_http(o->http_adv_addr))
        return refuse(end,
                      "HTTP options should not include protocol (http:// or https://)");
    if (!is_host_port(o->http_addr)) return refuse(end, "HTTP bind address not valid");
    if (!split_host_port(o->http_adv_addr, &adv))
        return refuse(end, "HTTP advertised HTTP address not valid");
    if (is_unspecified(&adv, host, sizeof host))
        return refuse(end,
                      "advertised HTTP address is not routable (%s), specify it via "
                      "-http-addr or -http-adv-addr",
                      host);
    return ERR_OK;
}

static enum err check_raft_addresses(const struct options *o, struct options_end *end)
{
    struct host_port bind, adv;
    char host[64];

    if (!split_host_port(o->raft_addr, &bind))
        return refuse(end, "raft bind address not valid");
    if (!is_number(bind.port)) return refuse(end, "raft bind port not valid");
    if (!split_host_port(o->raft_adv_addr, &adv))
        return refuse(end, "raft advertised address not valid");
    if (is_unspecified(&adv, host, sizeof host))
        return refuse(end,
                      "advertised Raft address is not routable (%s), specify it via "
                      "-raft-addr or -raft-adv-addr",
                      host);
    if (!is_number(adv.port)) return refuse(end, "raft advertised port is not valid");
    if (strcmp(o->http_adv_addr, o->raft_adv_addr) == 0)
        return refuse(end, "advertised HTTP and Raft addresses must differ");
    return ERR_OK;
}

static bool is_own_address(const struct options *o, const struct address *j)
{
    const char *bind = j->http ? o->http_addr : o->raft_addr;
    const char *adv = j->http ? o->http_adv_addr : o->raft_adv_addr;

    return strcmp(j->at, bind) == 0 || strcmp(j->at, adv) == 0;
}

static enum err check_joining(const struct options *o, struct options_end *end)
{
    bool bootstrap = o->bootstrap_expect > 0;
    struct in6_addr ip;
    struct address j;
    const char *list, *item;
    size_t len;

    if (bootstrap && o->raft_non_voter)
        return refuse(end, "bootstrapping only applicable to voting nodes");
    for (list = o->join; flags_next_item(&list, &item, &len);)
        if (!address_parse(&j, item, len))
            return refuse(end, "%.*s is an invalid join address", (int)len, item);
    for (list = o->join; !bootstrap && flags_next_item(&list, &item, &len);)
        if (address_parse(&j, item, len) && is_own_address(o, &j))
            return refuse(end, "node cannot join with itself unless bootstrapping");
    if (any(o->join_source_ip) && inet_pton(AF_INET, o->join_source_ip, &ip) != 1 &&
        inet_pton(AF_INET6, o->join_source_ip, &ip) != 1)
        return refuse(end, "invalid join source IP address: %s", o->join_source_ip);
    if (!bootstrap && any(o->join) && any(o->auto_restore))
        return refuse(end, "auto-restoring cannot be used when joining a cluster");
    if (any(o->join) && any(o->disco_mode))
        return refuse(end,
                      "disco mode cannot be used when also explicitly joining a cluster");
    return ERR_OK;
}

static enum err check_otlp(const struct options *o, struct options_end *end)
{
    bool tls = o->otlp_no_verify || any(o->otlp_ca_cert) || any(o->otlp_cert);

    if (any(o->otlp_cert) != any(o->otlp_key))
        return refuse(end,
                      "either both -otlp-cert and -otlp-key must be set, or neither");
    if (!any(o->otlp_endpoint))
        return tls || o->otlp_insecure
                   ? refuse(end, "OTLP options require -otlp-endpoint")
                   : ERR_OK;
    if (strstr(o->otlp_endpoint, "://"))
        return refuse(end, "-otlp-endpoint must not include a protocol scheme");
    if (!is_host_port(o->otlp_endpoint))
        return refuse(end, "-otlp-endpoint is not a valid address");
    if (o->otlp_interval_ns <= 0)
        return refuse(end, "-otlp-interval must be greater than zero");
    if (o->otlp_insecure && tls)
        return refuse(end, "-otlp-insecure cannot be used with other OTLP TLS options");
    return ERR_OK;
}

static enum err check_discovery(const struct options *o, struct options_end *end)
{
    const char *mode = o->disco_mode;

    if (!any(mode)) return ERR_OK;
    if (strcmp(mode, "consul-kv") == 0 || strcmp(mode, "etcd-kv") == 0)
        return o->bootstrap_expect > 0
                   ? refuse(end, "bootstrapping not applicable when using %s", mode)
                   : ERR_OK;
    if (strcmp(mode, "dns") == 0 || strcmp(mode, "dns-srv") == 0)
        return o->bootstrap_expect == 0 && !o->raft_non_voter
                   ? refuse(end,
                            "bootstrap-expect value required when using %s with a voting "
                            "node",
                            mode)
                   : ERR_OK;
    return refuse(end, "disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv");
}

static enum err check_queue(const struct options *o, struct options_end *end)
{
    if (o->write_queue_capacity < 1)
        return refuse(end, "-write-queue-capacity must be greater than 0");
    if (o->write_queue_batch_size < 1)
        return refuse(end, "-write-queue-batch-size must be greater than 0");
    if (o->write_queue_timeout_ns < 0)
        return refuse(end, "-write-queue-timeout must not be negative");
    return ERR_OK;
}

/* Here, before any port opens, rather than by whoever opens them. */
static enum err check_files(const struct options *o, struct options_end *end)
{
    const char *const files[] = {
        o->auth,         o->auto_backup,  o->auto_restore, o->http_cert,
        o->http_key,     o->http_ca_cert, o->node_cert,    o->node_key,
        o->node_ca_cert, o->otlp_ca_cert, o->otlp_cert,    o->otlp_key,
    };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (any(files[i]) && !exists(files[i]))
            return refuse(end, "%s does not exist", files[i]);
    return ERR_OK;
}

static enum err check_states(const struct options *o, struct options_end *end)
{
    for (size_t i = 0; i < TABLE.n; i++) {
        const struct flag *f = &ROWS[i];

        if (!o->given[i]) continue;
        if (f->state == FLAG_GONE)
            return refuse(
                end,
                "-%s is no longer supported, its discovery service is gone; use "
                "-disco-mode instead",
                f->name);
        if (f->state == FLAG_LATER && !flag_is_idle(f, o))
            return refuse(end, "-%s is not available yet", f->name);
    }
    return ERR_OK;
}

static enum err check_limits(const struct options *o, struct options_end *end)
{
    static const int64_t MS = 1000000;

    if (o->http_max_header_bytes < 1024)
        return refuse(end, "-http-max-header-bytes must be at least 1024");
    if (o->http_max_body_bytes == 0)
        return refuse(end, "-http-max-body-bytes must be greater than 0");
    if (o->http_header_timeout_ns < MS || o->http_idle_timeout_ns < MS ||
        o->http_stall_timeout_ns < MS)
        return refuse(end, "HTTP timeouts must be at least 1ms");
    return ERR_OK;
}

static enum err check_all(const struct options *o, struct options_end *end)
{
    enum err e = ERR_OK;

    if (is_blank(o->data_dir)) return refuse(end, "data directory path is required");
    if (any(o->on_disk_path) && !o->on_disk)
        return refuse(end, "-on-disk-path is set, but -on-disk is not");
    e = check_extensions(o, end);
    if (!e) e = check_tls(o, end);
    if (!e && strcmp(o->http_addr, o->raft_addr) == 0)
        e = refuse(end, "HTTP and Raft addresses must differ");
    if (!e) e = check_http_addresses(o, end);
    if (!e) e = check_limits(o, end);
    if (!e) e = check_raft_addresses(o, end);
    if (!e) e = check_joining(o, end);
    if (!e && any(o->cdc_config) && o->raft_non_voter)
        e = refuse(end, "CDC cannot be enabled on non-voting nodes");
    if (!e) e = check_otlp(o, end);
    if (!e) e = check_discovery(o, end);
    if (!e) e = check_logs(o, end);
    if (!e) e = check_queue(o, end);
    if (!e) e = check_files(o, end);
    if (!e) e = check_states(o, end);
    return e;
}

/* Checked before ports open, with the words the reference has when its store opens. */
static enum err check_raft_timing(const struct options *o, struct options_end *end)
{
    static const int64_t MS = 1000000;
    const int64_t heartbeat = o->raft_heartbeat_timeout_ns;
    const int64_t election = o->raft_election_timeout_ns;
    const int64_t lease = o->raft_leader_lease_timeout_ns;
    char a[TEXT_DURATION_MAX], b[TEXT_DURATION_MAX], text[200];

    text[0] = '\0';
    if (heartbeat < 5 * MS)
        snprintf(text, sizeof text, "HeartbeatTimeout is too low");
    else if (election < 5 * MS)
        snprintf(text, sizeof text, "ElectionTimeout is too low");
    else if (o->raft_commit_timeout_ns < MS)
        snprintf(text, sizeof text, "CommitTimeout is too low");
    else if (o->raft_snap_int_ns < 5 * MS)
        snprintf(text, sizeof text, "SnapshotInterval is too low");
    else if (lease < 5 * MS)
        snprintf(text, sizeof text, "LeaderLeaseTimeout is too low");
    else if (lease > heartbeat)
        snprintf(
            text, sizeof text,
            "LeaderLeaseTimeout (%.*s) cannot be larger than heartbeat timeout (%.*s)",
            (int)text_duration(a, lease), a, (int)text_duration(b, heartbeat), b);
    else if (election < heartbeat)
        snprintf(text, sizeof text,
                 "ElectionTimeout (%.*s) must be equal or greater than Heartbeat Timeout "
                 "(%.*s)",
                 (int)text_duration(a, election), a, (int)text_duration(b, heartbeat), b);
    if (!*text) return ERR_OK;
    end->status = 1;
    return why_set(&end->log_fatal, ERR_INVALID,
                   "failed to open store: creating the raft system failed: %s", text);
}

/* --- texts ------------------------------------------------------------------------ */

static void append_usage(struct buf *out)
{
    buf_append_str(out, "\nrqlite is a lightweight, distributed relational database, "
                        "which uses SQLite as its\n"
                        "storage engine. It keeps every node's copy of the data the same "
                        "by Raft consensus.\n"
                        "\nSee rqlited(8) and the project's README to learn more.\n"
                        "\nUsage: rqlited [flags] <data directory>\n");
    flags_usage(TABLE, out);
}

static void append_man(struct buf *out)
{
    buf_append_str(out,
                   ".TH RQLITED 8 \"\" rqlite \"System Administration\"\n"
                   ".SH NAME\nrqlited \\- distributed relational database server\n"
                   ".SH SYNOPSIS\n.B rqlited\n[\\fIflags\\fR] \\fIdata\\-directory\\fR\n"
                   ".SH DESCRIPTION\n");
    flags_man_text(out, "rqlited keeps an SQLite database that a Raft cluster "
                        "replicates, and serves it over HTTP. "
                        "The database lives in memory and is rebuilt from the log in the "
                        "data directory at start, "
                        "or, with -on-disk, in a file that other programs may read. A "
                        "write is acknowledged when "
                        "it is on disk on a majority of the nodes.\n");
    buf_append_str(out, ".PP\n");
    flags_man_text(out, "Flags may stand on either side of the data directory, with one "
                        "dash or two; their "
                        "values follow after '=' or a blank, those of booleans after '=' "
                        "only. If a flag is "
                        "repeated, the last one counts. Durations are written like "
                        "1h30m, 0.5s or 50ms.\n");
    buf_append_str(out, ".SH OPTIONS\n");
    flags_man(TABLE, out);
    buf_append_str(out, ".SH SIGNALS\n");
    flags_man_text(
        out,
        "SIGINT and SIGTERM end the server in order, within seconds. A second one, more "
        "than a second later, ends it at once. Killing it at any moment loses "
        "nothing that was acknowledged.\n");
    buf_append_str(out,
                   ".SH EXIT STATUS\n.TP\n.B 0\norderly shutdown\n.TP\n.B 1\nrefused "
                   "configuration, or a failure\n.TP\n.B 2\nwrong command line\n");
    buf_append_str(out,
                   ".SH FILES\n.TP\n.I data\\-directory/wal\nthe Raft log\n.TP\n.I "
                   "data\\-directory/db.sqlite\nthe database, with \\-on\\-disk\n.TP\n.I "
                   "data\\-directory/node\\-id\nthe ID of this node\n");
    buf_append_str(out,
                   ".SH SEE ALSO\n.BR rqlite (1),\n.BR rqbench (1),\n.BR sqlite3 (1)\n");
}

/* --- parsing ---------------------------------------------------------------------- */

void options_end_init(struct options_end *end)
{
    memset(end, 0, sizeof *end);
    buf_init(&end->out, 0);
    buf_init(&end->err, 0);
}

void options_end_fini(struct options_end *end)
{
    buf_fini(&end->out);
    buf_fini(&end->err);
}

/* Texts for our own build: the man page and README's table.  Not in -h. */
static bool is_hidden_request(int argc, const char *const *argv, struct buf *out)
{
    if (argc != 2) return false;
    if (strcmp(argv[1], "-man") == 0) return append_man(out), true;
    if (strcmp(argv[1], "-flags-markdown") == 0) return flags_markdown(TABLE, out), true;
    return false;
}

static enum err refuse_surplus(struct options_end *end, const char *const *rest, size_t n)
{
    buf_printf(&end->err,
               "fatal: arguments after data directory (%s) are not accepted ([", rest[0]);
    for (size_t i = 1; i < n; i++)
        buf_printf(&end->err, "%s%s", i > 1 ? " " : "", rest[i]);
    buf_append_str(&end->err, "])\n");
    end->status = 1;
    return ERR_INVALID;
}

/* Fill in what depends on other flags. */
static void complete(struct options *o)
{
    static const int64_t MS = 1000000;

    if (!any(o->http_adv_addr)) o->http_adv_addr = o->http_addr;
    if (!any(o->raft_adv_addr)) o->raft_adv_addr = o->raft_addr;
    /* As in v5; later versions ignored it. */
    if (o->node_encrypt && !any(o->node_cert) && !any(o->node_key) &&
        exists("cert.pem") && exists("key.pem")) {
        o->node_cert = "cert.pem";
        o->node_key = "key.pem";
    }
    if (given(o, "raft-timeout") && !given(o, "raft-heartbeat-timeout"))
        o->raft_heartbeat_timeout_ns = o->raft_timeout_ns;
    if (o->raft_heartbeat_timeout_ns == 0) o->raft_heartbeat_timeout_ns = 1000 * MS;
    if (o->raft_election_timeout_ns == 0) o->raft_election_timeout_ns = 1000 * MS;
    if (o->raft_leader_lease_timeout_ns == 0) o->raft_leader_lease_timeout_ns = 500 * MS;
    if (o->raft_commit_timeout_ns == 0) o->raft_commit_timeout_ns = 50 * MS;
    if (o->raft_snap == 0) o->raft_snap = 8192;
    if (o->raft_snap_int_ns == 0) {
        o->raft_snap_int_ns = 120 * 1000 * MS;
        o->raft_snap_wal_size = 0;
    }
}

static enum err parse(struct options *o, int argc, const char *const *argv,
                      const char **rest, struct options_end *end)
{
    size_t n_rest;

    switch (flags_parse(TABLE, o, o->given, argc, argv, rest, &n_rest, &end->err)) {
    case FLAGS_OK: break;
    case FLAGS_HELP: append_usage(&end->err); return ERR_NOTHING;
    case FLAGS_WRONG:
        buf_append_u8(&end->err, '\n');
        append_usage(&end->err);
        end->status = 2;
        return ERR_INVALID;
    }
    if (o->version) {
        end->version = true;
        return ERR_NOTHING;
    }
    if (given(o, "raft-reap-node-timeout") && o->raft_reap_node_timeout_ns <= 0)
        return refuse(end, "-raft-reap-node-timeout must be greater than 0");
    if (given(o, "raft-reap-read-only-node-timeout") &&
        o->raft_reap_read_only_node_timeout_ns <= 0)
        return refuse(end, "-raft-reap-read-only-node-timeout must be greater than 0");
    if (n_rest > 1) return refuse_surplus(end, rest, n_rest);
    o->data_dir = n_rest ? rest[0] : "";
    return ERR_OK;
}

enum err options_parse(struct options *o, int argc, const char *const *argv,
                       struct options_end *end)
{
    const char **rest;
    enum err e;

    memset(o, 0, sizeof *o);
    flags_preset(TABLE, o);
    o->data_dir = "";
    if (is_hidden_request(argc, argv, &end->out)) return ERR_NOTHING;
    if (argc < 2) {
        end->status = 1;
        return why_set(
            &end->log_fatal, ERR_INVALID,
            "failed to parse command-line flags: missing required argument: DataPath");
    }
    rest = calloc((size_t)argc, sizeof *rest);
    if (!rest) {
        end->status = 1;
        return why_set(&end->log_fatal, ERR_NOMEM, "out of memory");
    }
    e = parse(o, argc, argv, rest, end);
    free(rest);
    if (e) return e;
    complete(o);
    e = check_all(o, end);
    return e ? e : check_raft_timing(o, end);
}
