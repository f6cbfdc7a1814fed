/* SPDX-License-Identifier: MIT */
#include "core/server/server.h"

#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/auth/auth.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/io.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/base/process.h"
#include "core/base/text.h"
#include "core/cluster/cluster.h"
#include "core/cluster/recover.h"
#include "core/node/node.h"
#include "core/server/local_backend.h"
#include "core/server/notify.h"
#include "core/server/options.h"
#include "core/server/signals.h"
#include "core/server/about.h"
#include "core/tls/tls.h"
#include "gateway/gateway.h"

enum {
    STOP_GRACE_MS = 10000, /* for requests in flight at a shutdown */
    ABORT_GRACE_MS = 100,  /* the same when the start has not ended */
    READY_WAIT_MS =
        10000 /* then the start is announced all the same: replay may take its time */
};

static void close_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* A signal that came during a step ends the start after it. */
enum err server_step_end(struct server *s, enum err e, struct why *why)
{
    if (!e && signals_received(s->signals))
        e = why_set(why, ERR_CANCELLED, "stopped by a signal");
    return e;
}

/* --- beginning -------------------------------------------------------------------- */

static void log_flags_without_effect(struct server *s)
{
    const char *name;
    size_t pos = 0;

    while ((name = options_next_without_effect(s->opt, &pos)))
        logger_info(s->logger, "rqlited", "flag -%s has no effect in this version", name);
    if (s->opt->node_encrypt && !*s->opt->node_cert) /* no such files here */
        logger_info(s->logger, "rqlited",
                    "flag -node-encrypt has no effect in this version");
}

/* There is something to read again.  A service is not ended by a reload in any case: that
 * is for terminals that go away. */
static bool takes_hangup(const struct options *opt)
{
    return *opt->auth || *opt->http_cert || *opt->node_cert || notify_wanted();
}

enum err server_begin(struct server *s, const struct options *opt,
                      const char *const *argv, struct why *why)
{
    bool debug = strcasecmp(opt->raft_log_level, "DEBUG") == 0;
    enum err e;

    memset(s, 0, sizeof *s);
    s->opt = opt;
    s->words = about_words(argv);
    s->status.opt = opt;
    s->status.extensions = &s->extensions;
    s->status.raft_bound = s->raft_bound;
    status_init(&s->status);
    s->dir.lock_fd = s->raft_fd = -1;
    s->fatal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->fatal_fd < 0) return why_errno(why, "failed to make an event descriptor");
    e = logger_new(&s->logger, STDERR_FILENO, debug ? LOGGER_DEBUG : LOGGER_INFO);
    if (!e && strcmp(opt->log_format, "json") == 0)
        logger_set_format(s->logger, LOGGER_JSON);
    if (!e) e = s->words ? metrics_new(&s->metrics) : ERR_NOMEM;
    if (e) return why_set(why, e, "out of memory");
    e = signals_open(&s->signals, s->logger, takes_hangup(opt), why);
    if (e) return e;
    process_allow_files();
    about_greet(s->logger, s->words);
    log_flags_without_effect(s);
    return ERR_OK;
}

/* --- certificates ----------------------------------------------------------------- */

static const char *http_scheme(const struct server *s)
{
    return s->http_tls ? "https" : "http";
}

/* ", CA cert A, mutual TLS enabled, required client CN "N"": as much of it as there is.
 */
static void describe_tls(const struct tls_options *o, char *out, size_t cap)
{
    bool named = o->verify_client && *o->client_name;

    snprintf(out, cap, "%s%s, mutual TLS %s%s%s%s", *o->ca ? ", CA cert " : "", o->ca,
             o->verify_client ? "enabled" : "disabled",
             named ? ", required client CN \"" : "", named ? o->client_name : "",
             named ? "\"" : "");
}

enum err server_load_certificates(struct server *s, struct why *why)
{
    const struct options *opt = s->opt;
    struct tls_options http = {.cert = opt->http_cert,
                               .key = opt->http_key,
                               .ca = opt->http_ca_cert,
                               .verify_client = opt->http_verify_client,
                               .client_name = opt->http_verify_common_name,
                               .http = true,
                               .logger = s->logger,
                               .component = "http",
                               .metrics = s->metrics,
                               .counter = METRIC_http_tls_cert_fetched};
    struct tls_options node = {.cert = opt->node_cert,
                               .key = opt->node_key,
                               .ca = opt->node_ca_cert,
                               .verify_client = opt->node_verify_client,
                               .client_name = opt->node_verify_common_name,
                               .no_verify = opt->node_no_verify,
                               .server_name = opt->node_verify_server_name,
                               .logger = s->logger,
                               .component = "mux",
                               .metrics = s->metrics,
                               .counter = METRIC_mux_num_tls_cert_fetched};
    char text[1024];
    enum err e;

    if (*opt->http_cert) {
        e = tls_new(&s->http_tls, &http, why);
        if (e) return err_wrap(why, e, "failed to start HTTP server");
        describe_tls(&http, text, sizeof text);
        logger_info(s->logger, "http",
                    "secure HTTPS server enabled with cert %s, key %s%s", http.cert,
                    http.key, text);
    }
    if (*opt->node_cert) {
        e = tls_new(&s->node_tls, &node, why);
        if (e) return err_wrap(why, e, "failed to enable node-to-node encryption");
        describe_tls(&node, text, sizeof text);
        logger_info(s->logger, "rqlited",
                    "enabling node-to-node encryption with cert: %s, key: %s%s",
                    node.cert, node.key, text);
    }
    return ERR_OK;
}

/* --- the data directory ----------------------------------------------------------- */

enum err server_take_data_dir(struct server *s, struct why *why)
{
    const char *path = s->opt->data_dir;
    enum err e = datadir_open(&s->dir, path, why);

    if (e) return e;
    if (s->dir.preexists)
        logger_info(s->logger, "rqlited", "preexisting node state detected in %s", path);
    else
        logger_info(s->logger, "rqlited",
                    "no preexisting node state detected in %s, node may be bootstrapping",
                    path);
    e = extensions_open(&s->extensions, path, s->opt->extensions_path, why);
    if (e) return err_wrap(why, e, "failed to create extensions store");
    return server_step_end(s, ERR_OK, why);
}

/* --- the Raft port ---------------------------------------------------------------- */

/* "host:port", checked when the command line was read, in two malloc'd parts without
 * brackets. */
static bool split_address(const char *addr, char **host, char **port)
{
    const char *colon = strrchr(addr, ':');
    bool bracketed = *addr == '[';

    CHECK(colon != NULL);
    *host = strndup(addr + bracketed, (size_t)(colon - addr) - (bracketed ? 2 : 0));
    *port = strdup(colon + 1);
    return *host && *port;
}

static enum err lookup(const char *addr, struct addrinfo **found, struct why *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char *host, *port;
    int rc = EAI_MEMORY;

    *found = NULL;
    if (split_address(addr, &host, &port))
        rc = getaddrinfo(*host ? host : NULL, *port ? port : "0", &hints, found);
    free(host);
    free(port);
    if (rc != 0) return why_set(why, ERR_IO, "lookup %s: %s", addr, gai_strerror(rc));
    /* As the reference: a name that has an IPv4 address is bound there. */
    for (struct addrinfo *a = *found; a; a = a->ai_next) {
        if (a->ai_family != AF_INET || a == *found) continue;
        struct addrinfo first = **found;

        (*found)->ai_family = a->ai_family, (*found)->ai_addr = a->ai_addr;
        (*found)->ai_addrlen = a->ai_addrlen;
        a->ai_family = first.ai_family, a->ai_addr = first.ai_addr;
        a->ai_addrlen = first.ai_addrlen;
        break;
    }
    return ERR_OK;
}

static void format_address(const struct sockaddr *sa, socklen_t len, char *out,
                           size_t cap)
{
    char host[64], port[8];

    if (getnameinfo(sa, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(out, cap, "?");
    else
        snprintf(out, cap, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static enum err bind_address(struct server *s, const struct addrinfo *a, struct why *why)
{
    socklen_t len = a->ai_addrlen;
    struct sockaddr_storage bound;
    int on = 1; /* connections of the run before don't keep us from coming back */

    format_address(a->ai_addr, len, s->raft_bound, sizeof s->raft_bound);
    s->raft_fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->raft_fd >= 0)
        (void)setsockopt(s->raft_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (s->raft_fd < 0 || bind(s->raft_fd, a->ai_addr, len) != 0) {
        enum err e = why_errno(why, "listen tcp %s: bind", s->raft_bound);

        /* The reference's spelling of errno's words. */
        for (char *p = why->text; *p; p++)
            if (strcmp(p, "Address already in use") == 0) *p = 'a';
        return e;
    }
    len = sizeof bound;
    if (getsockname(s->raft_fd, (struct sockaddr *)&bound, &len) == 0)
        format_address((struct sockaddr *)&bound, len, s->raft_bound,
                       sizeof s->raft_bound);
    return ERR_OK;
}

/* The port is taken, so that nobody else has it; the node listens on it when it can
 * answer.  Until then a connection is better refused than left waiting. */
enum err server_listen_peers(struct server *s, struct why *why)
{
    struct addrinfo *found;
    enum err e = lookup(s->opt->raft_addr, &found, why);

    if (!e) e = bind_address(s, found, why);
    if (found) freeaddrinfo(found);
    if (e) return err_wrap(why, e, "failed to listen on %s", s->opt->raft_addr);
    return server_step_end(s, ERR_OK, why);
}

/* Where addr is bound, in numbers; port is the one that was really taken. */
static void format_bound(const char *addr, unsigned port, char *out, size_t cap)
{
    struct addrinfo *found;
    char *colon;

    snprintf(out, cap, "%s", addr);
    if (lookup(addr, &found, NULL)) return;
    format_address(found->ai_addr, found->ai_addrlen, out, cap);
    freeaddrinfo(found);
    colon = strrchr(out, ':');
    if (colon) snprintf(colon + 1, cap - (size_t)(colon + 1 - out), "%u", port);
}

/* --- users ------------------------------------------------------------------------ */

static void on_hangup(void *arg)
{
    struct server *s = arg;

    tls_reload(s->http_tls);
    tls_reload(s->node_tls);
    if (s->auth) auth_reload(s->auth);
}

/* Joining needs what the user would type. */
static enum err check_join_as(struct server *s, struct why *why)
{
    const struct options *o = s->opt;
    char password[AUTH_PASSWORD_MAX + 1];
    enum err e;

    if (!*o->join_as) return ERR_OK;
    e = s->auth ? auth_password(s->auth, o->join_as, password) : ERR_NOT_FOUND;
    explicit_bzero(password, sizeof password);
    if (e == ERR_UNSUPPORTED)
        return why_set(why, ERR_INVALID,
                       "-join-as %s: the password in %s is a hash, but other nodes have "
                       "to be told it in clear text",
                       o->join_as, o->auth);
    if (e)
        logger_warn(s->logger, "rqlited",
                    "no password for -join-as %s in a credentials file, joining "
                    "anonymously",
                    o->join_as);
    return ERR_OK;
}

enum err server_open_auth(struct server *s, struct why *why)
{
    enum err e;

    if (*s->opt->auth) {
        e = auth_open(&s->auth, s->opt->auth, s->logger, why);
        if (e) return err_wrap(why, e, "failed to get credential store");
    }
    signals_on_hangup(s->signals, on_hangup, s); /* certificates and users are there */
    e = check_join_as(s, why);
    return server_step_end(s, e, why);
}

/* --- HTTP ------------------------------------------------------------------------- */

static void log_http(struct server *s)
{
    const struct options *o = s->opt;
    char addr[128], timeout[TEXT_DURATION_MAX];

    format_bound(o->http_addr, gateway_port(s->gateway), addr, sizeof addr);
    logger_info(s->logger, "http", "service listening on %s", addr);
    logger_info(s->logger, "http",
                "execute queue processing started with capacity %" PRId64
                ", batch size %" PRId64 ", timeout %.*s",
                o->write_queue_capacity, o->write_queue_batch_size,
                (int)text_duration(timeout, o->write_queue_timeout_ns), timeout);
}

enum err server_listen_http(struct server *s, struct why *why)
{
    const struct options *opt = s->opt;
    struct gateway_options o = {
        .bind_addr = opt->http_addr,
        .adv_addr = opt->http_adv_addr,
        .tls = s->http_tls,
        .tls_cert = opt->http_cert,
        .tls_key = opt->http_key,
        .tls_ca = opt->http_ca_cert,
        .tls_verify_client = opt->http_verify_client,
        .auth = s->auth,
        .logger = s->logger,
        .metrics = s->metrics,
        .version = about_version(),
        .allow_origin = *opt->http_allow_origin ? opt->http_allow_origin : NULL,
        .scratch_dir = s->dir.scratch,
        .argv = s->words,
        .access_log = *opt->access_log ? opt->access_log : NULL,
        .slow_query_ns = opt->slow_query_ms * UINT64_C(1000000),
        .no_expvar = !opt->expvar,
        .no_pprof = !opt->pprof,
        .queue = {.capacity = (uint64_t)opt->write_queue_capacity,
                  .batch_size = (uint64_t)opt->write_queue_batch_size,
                  .timeout_ns = (uint64_t)opt->write_queue_timeout_ns,
                  .tx = opt->write_queue_tx},
        .limits = {.header_bytes = opt->http_max_header_bytes,
                   .body_bytes = opt->http_max_body_bytes,
                   .connections = opt->http_max_conns,
                   .requests = opt->http_max_requests,
                   .memory = opt->http_max_memory,
                   .header_ms = (uint64_t)opt->http_header_timeout_ns / 1000000,
                   .idle_ms = (uint64_t)opt->http_idle_timeout_ns / 1000000,
                   .stall_ms = (uint64_t)opt->http_stall_timeout_ns / 1000000},
    };
    enum err e = local_backend_new(&s->backend, status_add, &s->status);

    if (e) return why_set(why, e, "out of memory");
    o.backend = local_backend_get(s->backend);
    e = gateway_start(&s->gateway, &o, why);
    if (e) return err_wrap(why, e, "failed to start HTTP server");
    log_http(s);
    return server_step_end(s, ERR_OK, why);
}

/* --- the node --------------------------------------------------------------------- */

static uint32_t to_ms(int64_t ns)
{
    int64_t ms = ns / 1000000;

    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static void on_node_fatal(void *arg, const struct why *why)
{
    struct server *s = arg;
    uint64_t one = 1;
    ssize_t n;

    s->fatal = *why;
    n = write(s->fatal_fd, &one, sizeof one);
    CHECK(n == sizeof one); /* the first write to a fresh eventfd */
}

/* Where the file would be; malloc'd. */
static char *database_path(const struct options *o)
{
    char *path;

    if (*o->on_disk_path) return strdup(o->on_disk_path);
    return asprintf(&path, "%s/db.sqlite", o->data_dir) < 0 ? NULL : path;
}

static enum err make_parents(const char *path, struct why *why)
{
    const char *slash = strrchr(path, '/');
    struct io *io = io_real();
    char *dir;
    enum err e;

    if (!slash || slash == path) return ERR_OK;
    dir = strndup(path, (size_t)(slash - path));
    if (!dir) return why_set(why, ERR_NOMEM, "out of memory");
    e = io->ops->mkdir(io, dir, why);
    free(dir);
    return e;
}

/* The file is made from snapshots and log: one that this node cannot have written must
 * not be lost, and one that it has written must not be taken for the truth when it is not
 * kept up. */
static enum err prepare_database_file(struct server *s, struct why *why)
{
    char *path = database_path(s->opt);
    bool removed = false;
    enum err e;

    if (!path) return why_set(why, ERR_NOMEM, "out of memory");
    if (!s->opt->on_disk) {
        e = datadir_remove_old_database(&s->dir, &removed, why);
        if (removed)
            logger_info(s->logger, "store",
                        "removed %s, since the database is in memory now", path);
    } else if (!*s->opt->on_disk_path && datadir_is_foreign_file(&s->dir, path)) {
        e = why_set(
            why, ERR_INVALID,
            "%s is there, but %s holds no node; move it away and load it with /db/load",
            path, s->opt->data_dir);
    } else {
        e = make_parents(path, why);
    }
    free(path);
    return e;
}

static void log_extensions(struct server *s)
{
    struct buf names;

    if (s->extensions.n == 0) return;
    buf_init(&names, 0);
    for (size_t i = 0; i < s->extensions.n; i++)
        buf_printf(&names, "%s%s", i ? ", " : "",
                   strrchr(s->extensions.paths[i], '/') + 1);
    if (!buf_error(&names))
        logger_info(s->logger, "db", "loaded extensions: %.*s", (int)names.len,
                    (const char *)names.data);
    buf_fini(&names);
}

static enum err open_cluster(struct server *s, struct why *why)
{
    const struct options *opt = s->opt;
    char api_url[600];
    struct cluster_options o = {
        .node = s->node,
        .id = s->dir.node_id,
        .raft_addr = opt->raft_adv_addr,
        .api_url = api_url,
        .version = about_version(),
        .connect_ms = to_ms(opt->cluster_connect_timeout_ns),
        .bootstrap_expect =
            opt->bootstrap_expect > 0 ? (unsigned)opt->bootstrap_expect : 0,
        .reap_voter_ms = (uint64_t)opt->raft_reap_node_timeout_ns / 1000000,
        .reap_replica_ms = (uint64_t)opt->raft_reap_read_only_node_timeout_ns / 1000000,
        .auth = s->auth,
        .join_as = *opt->join_as ? opt->join_as : NULL,
        .clock = clock_real(),
        .logger = s->logger,
        .metrics = s->metrics,
    };
    enum err e;

    snprintf(api_url, sizeof api_url, "%s://%s", http_scheme(s), opt->http_adv_addr);
    e = cluster_new(&s->cluster, &o, why);
    if (e) return err_wrap(why, e, "failed to create cluster service");
    logger_info(s->logger, "mux", "%smux serving on %s, advertising %s",
                s->node_tls ? "TLS " : "", s->raft_bound, opt->raft_adv_addr);
    logger_info(s->logger, "cluster", "service listening on %s", s->raft_bound);
    return ERR_OK;
}

enum err server_open_node(struct server *s, struct why *why)
{
    const struct options *opt = s->opt;
    struct node_options o = {
        .data_dir = opt->data_dir,
        .raft_addr = opt->raft_adv_addr,
        .raft_bind = opt->raft_addr,
        .raft_fd = s->raft_fd,
        .tls = s->node_tls,
        .connect_ms = to_ms(opt->cluster_connect_timeout_ns),
        .non_voter = opt->raft_non_voter,
        .shutdown_on_remove = opt->raft_remove_shutdown,
        .reap_ns = opt->raft_reap_node_timeout_ns,
        .reap_read_only_ns = opt->raft_reap_read_only_node_timeout_ns,
        .http_addr = opt->http_adv_addr,
        .https = s->http_tls != NULL,
        .version = about_version(),
        .on_disk = opt->on_disk,
        .on_disk_path = *opt->on_disk_path ? opt->on_disk_path : NULL,
        .foreign_keys = opt->fk,
        .extensions = (const char *const *)s->extensions.paths,
        .n_extensions = s->extensions.n,
        .max_readers =
            opt->db_max_ro_conns > 0 ? (unsigned)opt->db_max_ro_conns : UINT32_MAX,
        .heartbeat_ms = to_ms(opt->raft_heartbeat_timeout_ns),
        .election_ms = to_ms(opt->raft_election_timeout_ns),
        .lease_ms = to_ms(opt->raft_leader_lease_timeout_ns),
        .commit_ms = to_ms(opt->raft_commit_timeout_ns),
        .apply_timeout_ms = opt->raft_apply_timeout_ns > 0
                                ? to_ms(opt->raft_apply_timeout_ns)
                                : UINT32_MAX,
        .snapshot_entries = opt->raft_snap,
        .snapshot_interval_ns = (uint64_t)opt->raft_snap_int_ns,
        .snapshot_wal_bytes = opt->raft_snap_wal_size,
        .compress_snapshots = opt->compress_snap_transport,
        .auto_vacuum_ns = opt->auto_vacuum_int_ns,
        .auto_optimize_ns = opt->auto_optimize_int_ns,
        .raft_log_level = opt->raft_log_level,
        .clock = clock_real(),
        .io = io_real(),
        .logger = s->logger,
        .metrics = s->metrics,
        .on_fatal = on_node_fatal,
        .on_fatal_arg = s,
    };
    enum err e = prepare_database_file(s, why);

    if (!e) e = datadir_claim(&s->dir, opt->node_id, opt->raft_adv_addr, why);
    if (e) return e;
    o.id = s->dir.node_id;
    logger_info(s->logger, "store", "opening store with node ID %s, listening on %s",
                o.id, s->raft_bound);
    logger_info(s->logger, "store", "ensuring data directory exists at %s",
                opt->data_dir);
    e = recover_if_asked(&o, why);
    if (!e) e = node_open(&s->node, &o, why);
    if (e) return err_wrap(why, e, "failed to open store");
    close_fd(&s->raft_fd); /* the node has its own */
    log_extensions(s);
    e = open_cluster(s, why);
    if (e) return e;
    return server_step_end(s, ERR_OK, why);
}

/* --- running ---------------------------------------------------------------------- */

/* True when a signal or the node ends the run; false when timeout_ms has passed. */
static bool wait_for_end(struct server *s, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = signals_fd(s->signals), .events = POLLIN},
                           {.fd = s->fatal_fd, .events = POLLIN}};

    while (poll(fds, 2, timeout_ms) < 0) continue;
    return fds[0].revents || fds[1].revents;
}

static bool has_failed(struct server *s)
{
    uint64_t n;

    return read(s->fatal_fd, &n, sizeof n) == sizeof n;
}

static void announce(struct server *s)
{
    const char *adv = s->opt->http_adv_addr, *colon = strrchr(adv, ':');

    logger_info(s->logger, "rqlited", "node HTTP API available at %s://%s",
                http_scheme(s), adv);
    logger_info(s->logger, "rqlited",
                "connect using the command-line tool via 'rqlite %s-H %.*s -p %s'",
                s->http_tls ? "-s https " : "", (int)(colon - adv), adv, colon + 1);
    logger_info(s->logger, "rqlited",
                "visit the rqlite console for this node at %s://%s/console/",
                http_scheme(s), adv);
    notify_send("READY=1\nSTATUS=serving");
}

enum err server_run(struct server *s, struct why *why)
{
    bool ended = false;

    for (int ms = 0; ms < READY_WAIT_MS && !ended; ms += 50) {
        if (node_wait_ready(s->node, 50)) break;
        ended = wait_for_end(s, 0);
    }
    if (!ended) {
        signals_started(s->signals);
        s->serving = true;
        announce(s);
        wait_for_end(s, -1);
    }
    notify_send("STOPPING=1\nSTATUS=stopping");
    if (!has_failed(s)) return ERR_OK;
    if (why) *why = s->fatal;
    return s->fatal.code ? s->fatal.code : ERR_IO;
}

/* --- closing ---------------------------------------------------------------------- */

void server_stop_http(struct server *s)
{
    if (!s->gateway || s->http_stopped) return;
    s->http_stopped = true;
    logger_info(s->logger, "http", "closing HTTP service on %s", s->opt->http_addr);
    gateway_stop(s->gateway, s->serving ? STOP_GRACE_MS : ABORT_GRACE_MS);
}

static void stop_node(struct server *s)
{
    if (!s->node) return;
    if (s->cluster) cluster_stop(s->cluster);
    node_stop(s->node);
    logger_info(s->logger, "store", "store closed with node ID %s, listening on %s",
                s->dir.node_id, s->raft_bound);
}

/* Requests first, then what serves them; what a thread may still use is freed after it.
 */
void server_close(struct server *s)
{
    server_stop_http(s);
    close_fd(&s->raft_fd);
    stop_node(s);
    auth_stop(s->auth); /* nobody waits for a password any more */
    gateway_free(s->gateway);
    local_backend_free(s->backend);
    cluster_free(s->cluster);
    node_free(s->node);
    extensions_close(&s->extensions);
    datadir_close(&s->dir);
    signals_close(s->signals); /* they may reload certificates and users */
    tls_free(s->http_tls);
    tls_free(s->node_tls);
    about_words_free(s->words);
    auth_free(s->auth);
    if (s->serving) logger_info(s->logger, "rqlited", "rqlite server stopped");
    metrics_free(s->metrics);
    logger_free(s->logger);
    close_fd(&s->fatal_fd);
}
