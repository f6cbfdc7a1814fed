/* SPDX-License-Identifier: MIT */
#include "core/node/internal.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/io.h"
#include "core/base/text.h"
#include "core/net/client.h"
#include "core/net/server.h"
#include "core/node/identity.h"
#include "core/node/maintenance.h"
#include "core/node/peers.h"
#include "core/node/restart.h"
#include "core/node/snapshots.h"

enum {
    SYNC_HERE_MAX = 4,       /* entries of a job that the node thread syncs itself, */
    SYNC_HERE_BYTES = 65536, /* and the bytes in them */
    SLOW_SYNC_NS = 2000000,  /* a sync that took longer shows a slow disk */
    SLOW_DISK_MS = 1000      /* which is left to the wal thread for so long */
};

static const struct why closed = {.code = ERR_CLOSED, .text = "store not open"};

/* --- threads ---------------------------------------------------------------------- */

static void deliver_wal_done(struct mail *m, void *arg)
{
    struct node *n = arg;

    n->at_wal--;
    member_wal_done(n->member, LIST_ITEM(m, struct wal_job, mail), node_now_ms(n));
}

static void *wal_main(void *arg)
{
    struct node *n = arg;
    struct mail *jobs;

    while ((jobs = mailbox_wait(n->wal_box, -1)) != NULL || !mailbox_closed(n->wal_box)) {
        struct why why = {0};

        if (jobs == NULL) continue;
        (void)wal_jobs_run(n->wal, jobs, &why); /* each job carries its outcome back */
        for (struct mail *next; jobs; jobs = next) {
            next = jobs->next;
            jobs->deliver = deliver_wal_done;
            if (mailbox_post_always(n->box, jobs) != ERR_OK)
                wal_job_free(LIST_ITEM(jobs, struct wal_job, mail));
        }
    }
    return NULL;
}

/* Index and hash belong together, so they are published under a counter that is odd
 * meanwhile: a reader that saw it change looks again. */
static void applied_publish(struct node *n, uint64_t index, uint64_t hash)
{
    atomic_fetch_add(&n->applied.changes, 1);
    atomic_store(&n->applied.index, index);
    atomic_store(&n->applied.hash, hash);
    atomic_fetch_add(&n->applied.changes, 1);
}

/* Tell the member how far the state machine is.  At most once a turn: nobody is in a
 * hurry unless something waits for it. */
static void note_applied(struct node *n)
{
    uint64_t before, index, hash;

    do {
        before = atomic_load(&n->applied.changes);
        index = atomic_load(&n->applied.index);
        hash = atomic_load(&n->applied.hash);
    } while (before % 2 != 0 || before != atomic_load(&n->applied.changes));
    member_applied(n->member, index, hash, node_now_ms(n));
}

static void deliver_applied(struct mail *m, void *arg)
{
    (void)m;
    atomic_store(&((struct node *)arg)->applied.posted,
                 false); /* before looking, so that none is missed */
    note_applied(arg);
}

static void deliver_not_applied(struct mail *m, void *arg)
{
    struct node *n = arg;

    (void)m;
    member_fail(n->member, &n->not_applied.why);
}

static void note_lag(struct node *n, uint64_t taken_ns)
{
    uint64_t now = clock_wall_ns(n->o.clock);

    atomic_store(&n->lag_ns, now > taken_ns ? now - taken_ns : 0);
}

static enum err apply_timed(struct node *n, struct mail *jobs, struct why *why)
{
    uint64_t begun_ns = clock_mono_ns(n->o.clock), took_ns;
    enum err e;

    atomic_store_explicit(&n->applying, true, memory_order_relaxed);
    e = applier_run(n->applier, jobs, why);
    atomic_store_explicit(&n->applying, false, memory_order_relaxed);
    took_ns = clock_mono_ns(n->o.clock) - begun_ns;
    metrics_time(n->o.metrics, TIMER_apply, took_ns);
    metrics_add(n->o.metrics, METRIC_store_fsm_apply_duration_us,
                (int64_t)(took_ns / 1000));
    return e;
}

static void *apply_main(void *arg)
{
    struct node *n = arg;
    struct mail *jobs;
    uint64_t newest = 0;

    while ((jobs = mailbox_wait(n->apply_box, -1)) != NULL ||
           !mailbox_closed(n->apply_box)) {
        struct why why = {0};
        uint64_t index;

        if (jobs == NULL) continue;
        if (atomic_load(&n->failed)) {
            for (struct mail *next; jobs; jobs = next) { /* nothing more is applied */
                next = jobs->next;
                apply_job_fail(LIST_ITEM(jobs, struct apply_job, mail), &closed);
            }
            continue;
        }
        if (apply_timed(n, jobs, &why) != ERR_OK) {
            atomic_store(&n->failed, true); /* so this happens once */
            n->not_applied.why = why;
            n->not_applied.mail.deliver = deliver_not_applied;
            (void)!mailbox_post_always(n->box, &n->not_applied.mail);
            continue;
        }
        if (applier_time_ns(n->applier) > newest) {
            newest = applier_time_ns(n->applier);
            note_lag(n, newest);
        }
        applied_publish(n, applier_index(n->applier), db_effect_hash(n->db, &index));
        if (atomic_load(&n->applied.wanted) &&
            !atomic_exchange(&n->applied.posted, true)) {
            n->applied.mail.deliver = deliver_applied;
            if (mailbox_post_always(n->box, &n->applied.mail) != ERR_OK)
                atomic_store(&n->applied.posted, false); /* closing: nobody asks */
        }
    }
    return NULL;
}

static void publish(struct node *n)
{
    bool leader = raft_role(n->raft) == RAFT_LEADER;

    atomic_store(&n->caught_up, leader && member_caught_up(n->member));
    atomic_store(&n->is_leader, leader);
    atomic_store(&n->has_leader, !n->halted && raft_leader(n->raft)[0] != '\0');
    atomic_store(&n->term, raft_term(n->raft));
    atomic_store(&n->commit, raft_commit(n->raft));
    atomic_store(&n->last_index, raft_last_index(n->raft));
    atomic_store(&n->last_contact_ms, raft_last_contact_ms(n->raft));
    atomic_store(&n->strong_read_term, member_strong_read_term(n->member));
}

static void set_timer(struct node *n)
{
    uint64_t at = member_deadline_ms(n->member), now;
    uint64_t snapshot_at = snapshots_deadline_ms(n->snapshots);
    struct timeval tv;

    if (snapshot_at < at) at = snapshot_at;
    if (maintenance_deadline_ms(n->maintenance) < at)
        at = maintenance_deadline_ms(n->maintenance);
    if (calls_changes_deadline_ms(n) < at) at = calls_changes_deadline_ms(n);

    /* A timer that fires early only looks again; moving it at every step would cost a
     * heap update each. */
    if (at >= n->timer_ms || at == UINT64_MAX) return;
    now = node_now_ms(n);
    n->timer_ms = at;
    at = at > now ? at - now : 0;
    tv.tv_sec = (time_t)(at / 1000);
    tv.tv_usec = (suseconds_t)(at % 1000 * 1000);
    event_add(n->timer, &tv);
}

/* Jobs that port_to_wal() kept for this thread.  Ending one may make more. */
static void run_own_jobs(struct node *n)
{
    while (n->own_jobs) {
        struct mail *jobs = n->own_jobs;
        struct why why = {0};
        uint64_t begun = clock_mono_ns(n->o.clock);

        n->own_jobs = NULL;
        n->own_jobs_end = &n->own_jobs;
        (void)wal_jobs_run(n->wal, jobs, &why);
        if (clock_mono_ns(n->o.clock) - begun > SLOW_SYNC_NS)
            n->slow_disk_until_ms = node_now_ms(n) + SLOW_DISK_MS;
        for (struct mail *next; jobs; jobs = next) {
            next = jobs->next;
            member_wal_done(n->member, LIST_ITEM(jobs, struct wal_job, mail),
                            node_now_ms(n));
        }
    }
}

/* The apply thread wakes us only when asked to.  What it applied before it could see that
 * is looked at here. */
static void want_applied(struct node *n)
{
    bool wanted = member_wants_applied(n->member);

    if (wanted != atomic_load(&n->applied.wanted))
        atomic_store(&n->applied.wanted, wanted);
    if (wanted && atomic_load(&n->applied.index) > member_applied_index(n->member))
        note_applied(n);
}

static void publish_view(struct node *n);

/* Its own removal, committed, is the last thing that a node learns from the log: with
 * -raft-remove-shutdown it then stops for good, so that it cannot lead a configuration of
 * the past. */
static void halt_if_removed(struct node *n)
{
    const struct raft_config *c = raft_config(n->raft), none = {0};
    bool member = raft_config_find(c, n->o.id) != NULL;

    if (member) n->was_member = true;
    if (member || !n->was_member || n->halted || c->index > raft_commit(n->raft)) return;
    logger_info(n->o.logger, "raft",
                "this node was removed from the cluster, Raft stops");
    n->halted = true;
    member_halt(n->member);
    publish(n);
    publish_view(n);
    if (n->peers) (void)!peers_set(n->peers, &none);
}

static void after_turn(struct node *n)
{
    bool was = atomic_load(&n->caught_up);

    do {
        run_own_jobs(n);
        want_applied(n);
        if (n->changes) calls_changes(n);
    } while (n->own_jobs); /* the other two may have made some */
    publish(n);
    if (n->o.shutdown_on_remove) halt_if_removed(n);
    if (atomic_load(&n->caught_up) != was) {
        pthread_mutex_lock(&n->lock);
        pthread_cond_broadcast(&n->lock_changed);
        pthread_mutex_unlock(&n->lock);
    }
    snapshots_consider(n->snapshots, node_now_ms(n));
    maintenance_consider(n->maintenance, node_now_ms(n));
    set_timer(n);
    if (n->ending) event_base_loopbreak(n->base);
}

static void correct_own_address(struct node *n);

/* Messages come several at a time: what they have to be written is written once, after
 * the last. */
static void after_turn_soon(struct node *n)
{
    event_active(n->turn_end, EV_TIMEOUT, 0);
}

static void on_turn_end(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    after_turn(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct node *n = arg;
    uint64_t now = node_now_ms(n);

    (void)fd;
    (void)what;
    n->timer_ms = UINT64_MAX;
    if (now >= member_deadline_ms(n->member)) member_tick(n->member, now);
    after_turn(n);
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct node *n = arg;
    struct mail *m = mailbox_take(n->box);

    (void)fd;
    (void)what;
    note_applied(n);
    for (struct mail *next; m; m = next) {
        next = m->next;
        m->deliver(m, n);
    }
    member_flush(n->member, node_now_ms(n));
    correct_own_address(n);
    after_turn(n);
}

static void *node_main(void *arg)
{
    struct node *n = arg;

    event_base_loop(n->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

bool node_post(struct node *n, struct mail *m,
               void (*deliver)(struct mail *m, void *node))
{
    m->deliver = deliver;
    return mailbox_post_always(n->box, m) == ERR_OK;
}

/* --- what the member asks of its host --------------------------------------------- */

/*
 * The node thread syncs a small batch itself when the wal thread is idle, which saves two
 * wake-ups: what arrives meanwhile makes the next batch.  Larger ones go to the wal
 * thread, so that the next is made ready while the disk works; and so does everything
 * while the disk is slow, since heartbeats must not wait for it.  A job that writes
 * nothing (acks of what is durable already) has nothing to wait for.
 */
static bool sync_here(const struct node *n, const struct wal_job *job)
{
    size_t bytes = 0;

    if (n->at_wal > 0 || job->kind != WAL_JOB_PERSIST) return false;
    if (!job->has_work && !job->drop_before) return true;
    if (job->n_entries > SYNC_HERE_MAX) return false;
    for (size_t i = 0; i < job->n_entries; i++)
        if (job->entries[i].payload) bytes += job->entries[i].payload->len;
    return bytes <= SYNC_HERE_BYTES && node_now_ms(n) >= n->slow_disk_until_ms;
}

static void port_to_wal(void *host, struct wal_job *job)
{
    struct node *n = host;

    job->mail.next = NULL;
    if (n->own_jobs || sync_here(n, job)) { /* carried out when the turn is over */
        *n->own_jobs_end = &job->mail;
        n->own_jobs_end = &job->mail.next;
        return;
    }
    if (mailbox_post_always(n->wal_box, &job->mail) == ERR_OK)
        n->at_wal++;
    else
        wal_job_free(job);
}

static void port_to_apply(void *host, struct apply_job *job)
{
    struct node *n = host;

    if (mailbox_post_always(n->apply_box, &job->mail) != ERR_OK)
        apply_job_fail(job, &closed);
}

static void port_send(void *host, const struct raft_message *messages, size_t count)
{
    struct node *n = host;

    if (n->peers) peers_send(n->peers, messages, count);
}

/* A node that has just joined hears its leader before it has a configuration. */
static const char *address_of(const struct node *n, const char *id)
{
    const struct raft_member *m = raft_config_find(raft_config(n->raft), id);

    return m ? m->addr : n->peers ? peers_address(n->peers, id) : "";
}

static void log_leader(struct node *n)
{
    const char *id = raft_leader(n->raft);

    metrics_add(n->o.metrics, METRIC_store_leader_changes_observed, 1);
    if (id[0] == '\0')
        logger_info(n->o.logger, "store", "Leader is now unknown");
    else if (strcmp(id, n->o.id) == 0)
        logger_info(n->o.logger, "store", "this node (ID=%s, addr=%s) is now Leader", id,
                    n->o.raft_addr);
    else
        logger_info(n->o.logger, "store", "node %s at %s is now Leader", id,
                    address_of(n, id));
}

static void publish_view(struct node *n)
{
    const struct raft_config *c = raft_config(n->raft);
    const char *id = n->halted ? "" : raft_leader(n->raft);
    struct raft_member *copy = NULL;

    if (c->n > 0) {
        copy = malloc(c->n * sizeof *copy);
        if (copy) memcpy(copy, c->members, c->n * sizeof *copy);
    }
    pthread_mutex_lock(&n->lock);
    snprintf(n->leader_id, sizeof n->leader_id, "%s", id);
    snprintf(n->leader_addr, sizeof n->leader_addr, "%s", id[0] ? address_of(n, id) : "");
    free(n->view.members);
    n->view.members = copy;
    n->view.n = copy ? c->n : 0;
    n->view.index = c->index;
    pthread_cond_broadcast(&n->lock_changed);
    pthread_mutex_unlock(&n->lock);
}

/* A sole voter whose address changed corrects it in the configuration: nobody else can
 * (server.md 12). */
static void correct_own_address(struct node *n)
{
    const struct raft_config *c = raft_config(n->raft);
    const struct raft_member *me = raft_config_find(c, n->o.id);
    uint64_t index;

    if (raft_role(n->raft) != RAFT_LEADER || c->n != 1 || me == NULL) return;
    if (strcmp(me->addr, n->o.raft_addr) == 0 || !member_caught_up(n->member)) return;
    if (member_change_config(n->member, true, n->o.id, n->o.raft_addr, true, &index,
                             node_now_ms(n)) == ERR_OK)
        logger_info(n->o.logger, "store", "own Raft address is now %s", n->o.raft_addr);
}

static void port_changed(void *host, const struct raft_effects *fx)
{
    struct node *n = host;

    if (fx->leader_changed) log_leader(n);
    if (n->first_commit == 0 && raft_leader(n->raft)[0])
        n->first_commit = raft_commit(n->raft);
    publish(n);
    if (fx->leader_changed || fx->config_changed) publish_view(n);
    if (fx->config_changed && n->peers &&
        peers_set(n->peers, raft_config(n->raft)) != ERR_OK)
        logger_error(n->o.logger, "store", "not every member can be contacted");
    if (fx->transfer == RAFT_TRANSFER_DONE)
        calls_handed_over(n, ERR_OK, NULL);
    else if (fx->transfer == RAFT_TRANSFER_FAILED)
        calls_handed_over(n, ERR_TIMEOUT, "leadership transfer timeout");
}

static void port_send_snapshot(void *host, const char *peer, uint64_t min_index)
{
    snapshots_send(((struct node *)host)->snapshots, peer, min_index);
}

static void port_expect_snapshot(void *host, const char *from, uint64_t index,
                                 uint64_t term)
{
    struct node *n = host; /* its stream comes by itself (snapshots_on_install) */

    logger_debug(n->o.logger, "store",
                 "node %s offers a snapshot at index %" PRIu64 ", term %" PRIu64, from,
                 index, term);
}

static void port_fatal(void *host, const struct why *why)
{
    struct node *n = host;

    atomic_store(&n->failed, true);
    atomic_store(&n->open, false);
    logger_error(n->o.logger, "store", "node stops serving: %s", why->text);
    calls_handed_over(n, ERR_CLOSED, "store not open");
    calls_changes_fail(n);
    if (n->o.on_fatal) n->o.on_fatal(n->o.on_fatal_arg, why);
}

static uint64_t port_wall_ns(void *host)
{
    struct node *n = host;
    uint64_t now = clock_wall_ns(n->o.clock);

    if (now > n->last_wall) n->last_wall = now;
    return n->last_wall;
}

static uint64_t port_random(void *host)
{
    return rand_u64(&((struct node *)host)->rand);
}

static void port_cut(void *host)
{
    snapshots_cut(((struct node *)host)->snapshots);
}

static const struct member_ports ports = {
    .to_wal = port_to_wal,
    .to_apply = port_to_apply,
    .send = port_send,
    .changed = port_changed,
    .send_snapshot = port_send_snapshot,
    .expect_snapshot = port_expect_snapshot,
    .fatal = port_fatal,
    .cut = port_cut,
    .wall_ns = port_wall_ns,
    .random = port_random,
};

/* --- other nodes -------------------------------------------------------------------- */

/* A node without any configuration may have lost its disk, and with it the memory of
 * whom it voted for in this very term.  Who founds a cluster writes the configuration
 * first, and who is made a voter has the log by then, so nobody needs such a vote. */
static bool may_have_forgotten(const struct node *n, const struct raft_message *m)
{
    return (m->type == RAFT_MSG_PRE_VOTE || m->type == RAFT_MSG_VOTE) &&
           raft_config(n->raft)->n == 0;
}

/* Compare our data with the leader's, where both have applied the same entries
 * (design 6.2).  A node that differs must neither serve nor vote: what it holds is not
 * what was agreed. */
static void compare_effects(struct node *n, const struct raft_message *m)
{
    struct why why;

    if (m->type != RAFT_MSG_APPEND || m->hash_index == 0 ||
        m->term != raft_term(n->raft) || atomic_load(&n->failed))
        return;
    if (applier_compare(n->applier, m->hash_index, m->hash) != DIVERGENCE_FOUND) return;
    (void)why_set(
        &why, ERR_CORRUPT,
        "this node's data differs from the leader's at index %" PRIu64
        ": remove the node from the cluster, empty its data directory and join it again",
        m->hash_index);
    member_fail(n->member, &why);
}

static void peer_message(void *arg, const struct raft_message *m)
{
    struct node *n = arg;

    if (may_have_forgotten(n, m)) return;
    member_message(n->member, m, node_now_ms(n));
    compare_effects(n, m);
    after_turn_soon(n);
}

static void peer_lost(void *arg, const char *id)
{
    struct node *n = arg;

    member_peer_lost(n->member, id, node_now_ms(n));
    after_turn_soon(n);
}

static const struct peers_events peers_events = {.on_message = peer_message,
                                                 .on_lost = peer_lost};

static void on_step(struct net_call *c, const ProtobufCMessage *message)
{
    struct node *n = net_call_service_arg(c);

    (void)message;
    peers_on_step(n->peers, c);
}

static void on_install(struct net_call *c, const ProtobufCMessage *message)
{
    struct node *n = net_call_service_arg(c);

    (void)message;
    snapshots_on_install(n->snapshots, c);
}

static const struct net_method raft_methods[NET_RAFT_METHODS] = {
    [NET_RAFT_STEP] = {.on_call = on_step},
    [NET_RAFT_INSTALL_SNAPSHOT] = {.on_call = on_install},
};

/* A node without a cluster belongs to the first one that counts it among its members:
 * that is who dials it for Raft, and by its own ID (peers.c). */
static enum err on_hello(void *arg, const struct net_hello *peer, struct why *why)
{
    struct node *n = arg;

    metrics_add(n->o.metrics, METRIC_mux_num_connections_handled, 1);
    if (peer->class != NET_RAFT || peer->cluster_id == 0 || n->cluster_id != 0)
        return ERR_OK;
    return node_set_cluster_id(n, peer->cluster_id, why);
}

enum err node_set_cluster_id(struct node *n, uint64_t id, struct why *why)
{
    struct net_identity who = {.cluster_id = id,
                               .node_id = n->o.id,
                               .address = n->o.raft_addr,
                               .software = n->o.version};
    enum err e = cluster_id_save(n->o.io, n->o.data_dir, id, why);

    if (!e && n->net) e = net_set_identity(n->net, &who, why);
    if (!e) n->cluster_id = id;
    return e;
}

static enum err listen_for_peers(struct node *n, struct why *why)
{
    enum err e;
    int fd;

    if (n->o.raft_fd <= 0) return net_server_listen(n->server, n->o.raft_bind, why);
    fd = fcntl(n->o.raft_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return why_errno(why, "listen on %s", n->o.raft_bind);
    e = net_server_listen_fd(n->server, fd, why);
    if (e) close(fd);
    return e ? err_wrap(why, e, "listen on %s", n->o.raft_bind) : ERR_OK;
}

static enum err open_net(struct node *n, struct why *why)
{
    struct net_options no = {.base = n->base,
                             .logger = n->o.logger,
                             .tls = n->o.tls,
                             .limits.connect_ms = n->o.connect_ms,
                             .identity = {.cluster_id = n->cluster_id,
                                          .node_id = n->o.id,
                                          .address = n->o.raft_addr,
                                          .software = n->o.version}};
    struct net_server_options so = {.on_hello = on_hello, .arg = n};
    struct peers_options po = {
        .id = n->o.id, .logger = n->o.logger, .events = &peers_events, .arg = n};
    enum err e = net_new(&n->net, &no, why);

    if (!e) e = net_server_new(&n->server, n->net, &so, why);
    po.net = n->net;
    if (!e) e = peers_new(&n->peers, &po, why);
    if (!e) e = net_server_add(n->server, &net_service_raft, raft_methods, n);
    if (!e) e = listen_for_peers(n, why);
    if (!e) e = peers_set(n->peers, raft_config(n->raft));
    return e;
}

/* --- opening ---------------------------------------------------------------------- */

static unsigned usable_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return n < 1 ? 1 : (unsigned)n;
}

static enum err copy_options(struct node *n, const struct node_options *o,
                             struct why *why)
{
    const char **ext;

    n->o = *o;
    arena_init(&n->names, 0);
    n->o.id = arena_strdup(&n->names, o->id);
    n->o.data_dir = arena_strdup(&n->names, o->data_dir);
    n->o.raft_addr = arena_strdup(&n->names, o->raft_addr);
    n->o.http_addr = arena_strdup(&n->names, o->http_addr);
    n->o.version = arena_strdup(&n->names, o->version);
    n->o.raft_log_level =
        arena_strdup(&n->names, o->raft_log_level ? o->raft_log_level : "WARN");
    if (o->on_disk_path) n->o.on_disk_path = arena_strdup(&n->names, o->on_disk_path);
    ext = arena_calloc(&n->names, o->n_extensions + 1, sizeof *ext);
    for (size_t i = 0; ext && i < o->n_extensions; i++)
        ext[i] = arena_strdup(&n->names, o->extensions[i]);
    n->o.extensions = ext;
    if (n->o.readers == 0) n->o.readers = usable_cores();
    if (n->o.max_readers == 0) n->o.max_readers = 256;
    if (n->o.readers > n->o.max_readers) n->o.readers = n->o.max_readers;
    if (arena_failed(&n->names)) return why_set(why, ERR_NOMEM, "out of memory");
    if (strlen(o->id) > RAFT_ID_MAX)
        return why_set(why, ERR_INVALID, "node ID is longer than %d bytes", RAFT_ID_MAX);
    if (strlen(o->raft_addr) > RAFT_ADDR_MAX)
        return why_set(why, ERR_INVALID, "Raft address is longer than %d bytes",
                       RAFT_ADDR_MAX);
    if (strlen(o->data_dir) > sizeof n->scratch_dir - 64)
        return why_set(why, ERR_INVALID, "data directory path is too long");
    snprintf(n->scratch_dir, sizeof n->scratch_dir, "%.4000s/scratch", o->data_dir);
    if (o->on_disk && o->on_disk_path)
        snprintf(n->db_path, sizeof n->db_path, "%s", o->on_disk_path);
    else if (o->on_disk)
        snprintf(n->db_path, sizeof n->db_path, "%.4000s/db.sqlite", o->data_dir);
    return ERR_OK;
}

static enum err restart(struct node *n, struct restarted *r, struct why *why)
{
    struct restart_options ro = {.io = n->o.io,
                                 .logger = n->o.logger,
                                 .data_dir = n->o.data_dir,
                                 .prepare_in_background = true,
                                 .raft = {.id = n->o.id,
                                          .seed = rand_entropy(),
                                          .heartbeat_ms = n->o.heartbeat_ms,
                                          .election_ms = n->o.election_ms,
                                          .lease_ms = n->o.lease_ms,
                                          .commit_ms = n->o.commit_ms}};
    enum err e = restart_open(r, &ro, why);

    if (e) return e;
    n->wal = r->wal;
    wal_time_syncs(n->wal, n->o.metrics, n->o.clock);
    n->raft = r->raft;
    r->wal = NULL;
    r->raft = NULL;
    return snapshots_new(&n->snapshots, n, &r->store, &r->snapshot, why);
}

static enum err open_database(struct node *n, const struct snapshot_meta *m,
                              struct why *why)
{
    struct db_options o = {.path = n->o.on_disk ? n->db_path : NULL,
                           .scratch_dir = n->scratch_dir,
                           .foreign_keys = n->o.foreign_keys,
                           .extensions = n->o.extensions,
                           .n_extensions = n->o.n_extensions,
                           .logger = n->o.logger,
                           .metrics = n->o.metrics};
    uint64_t begun_ns = clock_mono_ns(n->o.clock);
    struct restarted_database d;
    char took[TEXT_DURATION_MAX];
    enum err e = restart_database(&d, &o, snapshots_store(n->snapshots), m, n->o.id, why);

    n->db = d.db;
    n->applier = d.applier;
    if (e) return e;
    if (d.reused) {
        logger_info(n->o.logger, "store",
                    "detected successful prior snapshot operation, skipping restore");
        metrics_add(n->o.metrics, METRIC_store_num_restores_start_skipped, 1);
    } else if (d.rebuilt) {
        text_duration(took, (int64_t)(clock_mono_ns(n->o.clock) - begun_ns));
        logger_info(n->o.logger, "store", "node restored in %s", took);
        metrics_add(n->o.metrics, METRIC_store_num_restores_start, 1);
    }
    return ERR_OK;
}

enum err node_open(struct node **out, const struct node_options *o, struct why *why)
{
    struct node *n = calloc(1, sizeof *n);
    struct member_options mo = {.ports = &ports};
    struct restarted found = {0};
    pthread_condattr_t attr;
    uint64_t cluster_id = 0;
    enum err e;

    if (n == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&n->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&n->lock_changed, &attr);
    pthread_condattr_destroy(&attr);
    e = copy_options(n, o, why);
    if (e) goto fail;
    rand_init(&n->rand, rand_entropy());
    space_init(&n->space, n->o.data_dir);
    n->timer_ms = UINT64_MAX;
    n->own_jobs_end = &n->own_jobs;
    n->start_wall_ns = clock_wall_ns(o->clock);
    e = o->io->ops->mkdir(o->io, n->scratch_dir, why);
    if (!e) e = cluster_id_load(o->io, o->data_dir, &cluster_id, why);
    n->cluster_id = cluster_id;
    if (!e) e = restart(n, &found, why);
    if (e) goto fail;

    e = open_database(n, &found.snapshot, why);
    mo.host = n;
    mo.apply_timeout_ms = o->apply_timeout_ms ? o->apply_timeout_ms : 10000;
    if (!e) e = member_new(&n->member, n->raft, &mo, why);
    if (!e) e = snapshots_begin(n->snapshots, why);
    if (!e) e = maintenance_new(&n->maintenance, n, why);
    if (!e) e = mailbox_new(&n->box, 0, true, why);
    if (!e) e = mailbox_new(&n->wal_box, 0, false, why);
    if (!e) e = mailbox_new(&n->apply_box, 0, false, why);
    if (e) goto fail;
    n->base = event_base_new();
    if (n->base) {
        n->box_event =
            event_new(n->base, mailbox_fd(n->box), EV_READ | EV_PERSIST, on_mail, n);
        n->timer = event_new(n->base, -1, 0, on_timer, n);
        n->turn_end = event_new(n->base, -1, 0, on_turn_end, n);
    }
    if (n->base == NULL || n->box_event == NULL || n->timer == NULL ||
        n->turn_end == NULL || event_add(n->box_event, NULL) != 0) {
        e = why_set(why, ERR_NOMEM, "cannot make the node's event loop");
        goto fail;
    }
    if (n->o.raft_bind) {
        e = open_net(n, why);
        if (e) goto fail;
    }
    publish_view(n);
    restart_close(&found);
    *out = n;
    return ERR_OK;
fail:
    restart_close(&found);
    node_free(n);
    return e;
}

bool node_has_peers(const struct node *n)
{
    return raft_config(n->raft)->n > 0; /* before node_start(): nobody else looks */
}

static enum err start_thread(pthread_t *t, bool *started, void *(*main)(void *),
                             struct node *n, const char *name, struct why *why)
{
    int rc = pthread_create(t, NULL, main, n);

    if (rc != 0) {
        errno = rc;
        return why_errno(why, "start the %s thread", name);
    }
    *started = true;
    (void)pthread_setname_np(*t, name);
    return ERR_OK;
}

enum err node_start(struct node *n, struct why *why)
{
    enum err e;

    e = readers_start(&n->readers, n->db, n->o.readers, n->o.max_readers, n->o.logger,
                      why);
    if (e) return e;
    n->started = true;
    e = start_thread(&n->wal_thread, &n->wal_started, wal_main, n, "wal", why);
    if (!e)
        e = start_thread(&n->apply_thread, &n->apply_started, apply_main, n, "apply",
                         why);
    if (e) return e;
    member_tick(n->member,
                node_now_ms(n)); /* the first deadline; a sole voter campaigns */
    after_turn(n);
    atomic_store(&n->open, true);
    return start_thread(&n->thread, &n->thread_started, node_main, n, "node", why);
}

/* --- requests that block the caller ----------------------------------------------- */

struct errand { /* something for the node thread to do while the caller waits */
    struct mail mail;
    void (*run)(struct node *n, struct errand *e);
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    bool done;
    enum err result;
};

static void deliver_errand(struct mail *m, void *arg)
{
    struct errand *e = LIST_ITEM(m, struct errand, mail);

    e->run(arg, e);
    pthread_mutex_lock(&e->lock);
    e->done = true;
    pthread_cond_signal(&e->done_cond);
    pthread_mutex_unlock(&e->lock);
}

static enum err run_errand(struct node *n, struct errand *e)
{
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->done_cond, NULL);
    if (node_post(n, &e->mail, deliver_errand)) {
        pthread_mutex_lock(&e->lock);
        while (!e->done) pthread_cond_wait(&e->done_cond, &e->lock);
        pthread_mutex_unlock(&e->lock);
    } else {
        e->result = ERR_CLOSED;
    }
    pthread_cond_destroy(&e->done_cond);
    pthread_mutex_destroy(&e->lock);
    return e->result;
}

struct bootstrap {
    struct errand errand;
    const struct raft_config *config;
    uint64_t cluster_id; /* 0: any_id, or the one that is there */
    uint64_t any_id;
};

static void errand_bootstrap(struct node *n, struct errand *e)
{
    struct bootstrap *b = LIST_ITEM(e, struct bootstrap, errand);
    uint64_t mine = n->cluster_id; /* also what a start that was cut short left behind */

    if (mine == 0)
        e->result =
            node_set_cluster_id(n, b->cluster_id ? b->cluster_id : b->any_id, NULL);
    else if (b->cluster_id != 0 && b->cluster_id != mine)
        e->result = ERR_EXISTS;
    if (!e->result)
        e->result = member_bootstrap_config(n->member, b->config, node_now_ms(n));
}

enum err node_bootstrap_as(struct node *n, const struct raft_config *c,
                           uint64_t cluster_id, struct why *why)
{
    struct bootstrap b = {.errand.run = errand_bootstrap,
                          .config = c,
                          .cluster_id = cluster_id,
                          .any_id = rand_entropy() | 1};
    enum err e = run_errand(n, &b.errand);

    if (e) return why_set(why, e, "bootstrap: %s", err_name(e));
    return ERR_OK;
}

enum err node_bootstrap(struct node *n, struct why *why)
{
    struct raft_config c;
    enum err e;

    raft_config_init(&c);
    e = raft_config_put(&c, n->o.id, n->o.raft_addr, true);
    if (!e) e = node_bootstrap_as(n, &c, 0, why);
    raft_config_fini(&c);
    return e;
}

bool node_wait_ready(struct node *n, unsigned timeout_ms)
{
    struct timespec until;
    int rc = 0;
    bool ready;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&n->lock);
    for (;;) {
        ready = atomic_load(&n->has_leader) &&
                (!atomic_load(&n->is_leader) || atomic_load(&n->caught_up));
        if (ready || rc != 0 || atomic_load(&n->failed)) break;
        rc = pthread_cond_timedwait(&n->lock_changed, &n->lock, &until);
    }
    pthread_mutex_unlock(&n->lock);
    return ready;
}

/* --- closing ---------------------------------------------------------------------- */

static void errand_stop(struct node *n, struct errand *e)
{
    (void)e;
    member_stop(n->member, ERR_CLOSED, "store not open");
    calls_handed_over(n, ERR_CLOSED, "store not open");
    calls_changes_fail(n);
    n->ending = true;
}

/* The order matters.  The node thread feeds the others, so it ends first.  A reader may
 * still wait for what it posted to it (a load's chunk), and what is in the box may still
 * want a reader: so the box is closed and emptied between the two. */
void node_stop(struct node *n)
{
    struct errand stop = {.run = errand_stop};

    if (!n->started) return;
    n->started = false;
    atomic_store(&n->open, false);
    snapshots_hurry(n->snapshots);
    if (n->thread_started) {
        (void)run_errand(n, &stop);
        pthread_join(n->thread, NULL);
    }
    if (n->wal_started) {
        mailbox_close(n->wal_box); /* what is in it is still written and synced */
        pthread_join(n->wal_thread, NULL);
    }
    if (n->apply_started) {
        mailbox_close(n->apply_box);
        pthread_join(n->apply_thread, NULL);
    }
    mailbox_close(n->box);
    for (struct mail *m = mailbox_take(n->box), *next; m; m = next) {
        next = m->next;
        m->deliver(m, n); /* frees what came back; calls that came too late are refused */
    }
    member_flush(n->member, node_now_ms(n));
    run_own_jobs(n);
    readers_stop(n->readers);
    snapshots_stop(n->snapshots);
    if (n->thread_started && !atomic_load(&n->failed)) snapshots_take_last(n->snapshots);
}

void node_free(struct node *n)
{
    if (n == NULL) return;
    node_stop(n);
    readers_free(n->readers);
    net_server_free(n->server); /* tells snapshots that what it receives is gone */
    snapshots_free(n->snapshots);
    maintenance_free(n->maintenance);
    peers_free(n->peers);
    net_free(n->net);
    member_free(n->member);
    raft_free(n->raft);
    applier_free(n->applier);
    db_close(n->db);
    wal_close(n->wal);
    if (n->box_event) event_free(n->box_event);
    if (n->timer) event_free(n->timer);
    if (n->turn_end) event_free(n->turn_end);
    if (n->base) event_base_free(n->base);
    mailbox_free(n->box);
    mailbox_free(n->wal_box);
    mailbox_free(n->apply_box);
    free(n->view.members);
    arena_fini(&n->names);
    pthread_cond_destroy(&n->lock_changed);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

/* --- for core/cluster ------------------------------------------------------------- */

struct event_base *node_base(struct node *n)
{
    return n->base;
}

bool node_wants_to_vote(const struct node *n)
{
    return !n->o.non_voter;
}

struct net *node_net(struct node *n)
{
    return n->net;
}

struct net_server *node_server(struct node *n)
{
    return n->server;
}

const char *node_scratch_dir(const struct node *n)
{
    return n->scratch_dir;
}

bool node_leader(struct node *n, char *id, size_t id_size, char *addr, size_t addr_size)
{
    pthread_mutex_lock(&n->lock);
    snprintf(id, id_size, "%s", n->leader_id);
    snprintf(addr, addr_size, "%s", n->leader_addr);
    pthread_mutex_unlock(&n->lock);
    return id[0] != '\0';
}

enum err node_members(struct node *n, struct raft_config *out)
{
    enum err e = ERR_OK;

    raft_config_init(out);
    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; i < n->view.n && !e; i++)
        e = raft_config_put(out, n->view.members[i].id, n->view.members[i].addr,
                            n->view.members[i].voter);
    out->index = n->view.index;
    pthread_mutex_unlock(&n->lock);
    if (e) raft_config_fini(out);
    return e;
}

void node_progress(struct node *n, struct node_progress *out)
{
    memset(out, 0, sizeof *out);
    out->term = atomic_load(&n->term);
    out->commit_index = atomic_load(&n->commit);
    out->applied_index = applier_index(n->applier);
    out->last_index = atomic_load(&n->last_index);
    out->cluster_id = atomic_load(&n->cluster_id);
    out->effect_hash = atomic_load(&n->applied.hash);
    out->leader = atomic_load(&n->is_leader);
    out->caught_up = atomic_load(&n->caught_up);
    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; i < n->view.n; i++)
        if (strcmp(n->view.members[i].id, n->o.id) == 0)
            out->voter = n->view.members[i].voter;
    pthread_mutex_unlock(&n->lock);
}

void node_each_peer(struct node *n, void (*each)(void *arg, const struct node_peer *p),
                    void *arg)
{
    struct raft_peer_view v;
    uint64_t now = node_now_ms(n);

    for (size_t i = 0; raft_peer(n->raft, i, &v); i++) {
        struct node_peer p = {
            .id = v.id, .addr = v.addr, .voter = v.voter, .match = v.match};

        p.silent_ms = UINT64_MAX;
        if (v.last_contact_ms)
            p.silent_ms = now > v.last_contact_ms ? now - v.last_contact_ms : 0;
        each(arg, &p);
    }
}

bool node_has_leader(const struct node *n)
{
    return atomic_load(&n->open) && atomic_load(&n->has_leader);
}

bool node_is_leader(const struct node *n)
{
    return atomic_load(&n->is_leader);
}
