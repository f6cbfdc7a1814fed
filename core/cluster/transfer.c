/* SPDX-License-Identifier: MIT */
/*
 * transfer: databases to and from other nodes, on the leader's side.
 *
 *     load      chunks -> spool -> serve_load()
 *     backup    node_backup() -> spool -> chunks
 *
 * One piece is in memory at a time, and the spool's thread touches the file.  A transfer
 * has its call until that is over, also when the caller is gone.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cluster/permit.h"
#include "core/cluster/serve.h"
#include "core/cluster/spool.h"

struct transfer {
    struct list link; /* cl->transfers */
    struct cluster *cluster;
    struct net_call *call;
    int fd; /* owned; -1 */
    uint64_t offset;
    uint8_t *piece; /* owned */
    struct spool_job job;
    bool busy; /* the job or the backup is under way */
    bool gone;
    bool ended; /* load: the last chunk is here */
    bool full;  /* backup: piece waits for the wire */
    bool script;
    uint64_t life_ms;
    struct call_backup backup;
    struct mail mail;
};

static struct transfer *transfer_new(struct cluster *cl, struct net_call *c,
                                     const struct net_call_events *events)
{
    struct transfer *t = calloc(1, sizeof *t);

    if (t == NULL) {
        net_call_refuse(c, ERR_NOMEM, "out of memory");
        return NULL;
    }
    t->cluster = cl;
    t->call = c;
    t->fd = -1;
    t->life_ms = cluster_now_ms(cl);
    list_push_back(&cl->transfers, &t->link);
    net_call_listen(c, events, t);
    return t;
}

static void transfer_free(struct transfer *t)
{
    list_remove(&t->link);
    if (t->fd >= 0) close(t->fd);
    free(t->piece);
    free(t);
}

static void end(struct transfer *t, enum err code, const char *text)
{
    struct net_call *c = t->call;

    transfer_free(t);
    net_call_end(c, code, text);
}

static void on_gone(struct net_call *c)
{
    struct transfer *t = net_call_user(c);

    t->gone = true;
    if (!t->busy) end(t, ERR_CANCELLED, NULL);
}

/* False: t is gone. */
static bool submit(struct transfer *t, size_t len, bool write,
                   void (*done)(struct spool_job *j))
{
    struct spool_job *j = &t->job;
    struct why why = {0};

    j->write = write;
    j->fd = t->fd;
    j->offset = t->offset;
    j->data = t->piece;
    j->len = len;
    j->done = done;
    t->busy = true;
    if (spool_submit(t->cluster, j, &why) == ERR_OK) return true;
    end(t, why.code, why.text);
    return false;
}

/* The job is back.  False: and t is gone. */
static bool job_is_back(struct transfer *t)
{
    t->busy = false;
    if (!t->gone && t->job.why.code == ERR_OK) return true;
    end(t, t->gone ? ERR_CANCELLED : t->job.why.code, t->job.why.text);
    return false;
}

/* --- load ------------------------------------------------------------------------- */

static void all_here(struct transfer *t)
{
    struct cluster *cl = t->cluster;
    struct net_call *c = t->call;
    uint64_t size = t->offset;
    bool script = t->script;
    int fd = t->fd;

    t->fd = -1;
    transfer_free(t);
    serve_load(cl, c, fd, size, script);
}

static void piece_written(struct spool_job *j)
{
    struct transfer *t = LIST_ITEM(j, struct transfer, job);

    if (!job_is_back(t)) return;
    t->offset += j->len;
    if (t->ended)
        all_here(t);
    else
        net_call_resume(t->call);
}

static void load_message(struct net_call *c, const ProtobufCMessage *message)
{
    const Rqlite__Chunk *m = (const void *)message;
    struct transfer *t = net_call_user(c);
    uint8_t *piece;

    t->script = t->script || m->script;
    if (m->data.len == 0) return;
    piece = realloc(t->piece, m->data.len);
    if (piece == NULL) {
        end(t, ERR_NOMEM, "out of memory");
        return;
    }
    t->piece = piece;
    memcpy(piece, m->data.data, m->data.len);
    net_call_pause(c); /* the next one when this is in the file */
    (void)submit(t, m->data.len, true, piece_written);
}

static void load_end(struct net_call *c)
{
    struct transfer *t = net_call_user(c);

    t->ended = true;
    if (!t->busy) all_here(t);
}

static const struct net_call_events load_events = {
    .on_message = load_message, .on_end = load_end, .on_gone = on_gone};

/* Before a database travels here in vain. */
static bool leads(struct cluster *cl, struct net_call *c)
{
    if (atomic_load(&cl->stopping))
        net_call_refuse(c, ERR_CLOSED, "the node is shutting down");
    else if (!node_is_leader(cl->node))
        net_call_refuse(c, ERR_NOT_LEADER, "not leader");
    else
        return true;
    return false;
}

static void begin_load(struct net_call *c, const ProtobufCMessage *message,
                       uint32_t granted)
{
    struct cluster *cl = net_call_service_arg(c);
    struct why why = {0};
    struct transfer *t;

    (void)message;
    (void)granted;
    if (!leads(cl, c)) return;
    t = transfer_new(cl, c, &load_events);
    if (t == NULL) return;
    if (spool_file(cl, &t->fd, &why) != ERR_OK)
        end(t, why.code, why.text);
    else
        net_call_resume(c);
}

void transfer_on_load(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_load_req, 1);
    permit_then(cl, c, message, AUTH_LOAD, begin_load);
}

/* --- backup ----------------------------------------------------------------------- */

static void read_on(struct transfer *t);

static void send_piece(struct transfer *t)
{
    Rqlite__Chunk m = RQLITE__CHUNK__INIT;
    enum err e;

    m.data.data = t->piece;
    m.data.len = t->job.len;
    if (t->offset == 0) m.size = t->backup.size;
    e = net_call_send(t->call, &m.base);
    if (e == ERR_BUSY || e == ERR_CANCELLED) return; /* an event follows */
    if (e) {
        end(t, e, "the backup cannot be sent");
        return;
    }
    t->full = false;
    t->offset += t->job.len;
    read_on(t);
}

static void piece_read(struct spool_job *j)
{
    struct transfer *t = LIST_ITEM(j, struct transfer, job);

    if (!job_is_back(t)) return;
    t->full = true;
    send_piece(t);
}

static void read_on(struct transfer *t)
{
    uint64_t left = t->backup.size - t->offset;

    if (left == 0)
        end(t, ERR_OK, NULL);
    else if (net_call_writable(t->call))
        (void)submit(t, left < SPOOL_PIECE_BYTES ? (size_t)left : SPOOL_PIECE_BYTES,
                     false, piece_read);
}

static void backup_writable(struct net_call *c)
{
    struct transfer *t = net_call_user(c);

    if (t->busy || t->fd < 0) return;
    if (t->full)
        send_piece(t);
    else
        read_on(t);
}

static const struct net_call_events backup_events = {.on_writable = backup_writable,
                                                     .on_gone = on_gone};

static void deliver_backup(struct mail *m, void *node)
{
    struct transfer *t = LIST_ITEM(m, struct transfer, mail);
    struct net_call *c = t->call;
    struct why why = t->backup.call.why;

    (void)node;
    t->busy = false;
    t->fd = t->backup.fd;
    if (t->gone) {
        end(t, ERR_CANCELLED, NULL);
    } else if (why.code) { /* a backup has no effect */
        transfer_free(t);
        net_call_refuse(c, why.code, why.text);
    } else if ((t->piece = malloc(SPOOL_PIECE_BYTES)) == NULL) {
        end(t, ERR_NOMEM, "out of memory");
    } else {
        read_on(t);
    }
}

static void backup_done(struct call *c)
{
    struct transfer *t = LIST_ITEM(c, struct transfer, backup.call);

    cluster_post(t->cluster, &t->mail, deliver_backup);
}

static enum db_backup_format format_of(Rqlite__BackupRequest__Format f)
{
    switch (f) {
    case RQLITE__BACKUP_REQUEST__FORMAT__DELETE: return DB_BACKUP_DELETE;
    case RQLITE__BACKUP_REQUEST__FORMAT__VACUUM: return DB_BACKUP_VACUUM;
    case RQLITE__BACKUP_REQUEST__FORMAT__SQL: return DB_BACKUP_SQL;
    default: return DB_BACKUP_WAL;
    }
}

static void begin_backup(struct net_call *c, const ProtobufCMessage *message,
                         uint32_t granted)
{
    const Rqlite__BackupRequest *q = (const void *)message;
    struct cluster *cl = net_call_service_arg(c);
    const char **tables = NULL;
    struct transfer *t;

    (void)granted;
    if (!leads(cl, c)) return;
    if (q->n_tables > 0) {
        tables = arena_calloc(net_call_arena(c), q->n_tables + 1, sizeof *tables);
        if (tables == NULL) {
            net_call_refuse(c, ERR_NOMEM, "out of memory");
            return;
        }
        for (size_t i = 0; i < q->n_tables; i++) tables[i] = q->tables[i];
    }
    t = transfer_new(cl, c, &backup_events);
    if (t == NULL) return;
    t->busy = true;
    t->backup.call.done = backup_done;
    t->backup.format = format_of(q->format);
    t->backup.tables = tables;
    t->backup.fd = -1;
    cluster_tick(cl);
    node_backup(cl->node, &t->backup);
}

void transfer_on_backup(struct net_call *c, const ProtobufCMessage *message)
{
    struct cluster *cl = net_call_service_arg(c);

    metrics_add(cl->o.metrics, METRIC_cluster_num_backup_req, 1);
    permit_then(cl, c, message, AUTH_BACKUP, begin_backup);
}

/* --- while it lasts, and the end -------------------------------------------------- */

bool transfers_tick(struct cluster *cl)
{
    static const Rqlite__Chunk nothing = RQLITE__CHUNK__INIT;
    uint64_t now = cluster_now_ms(cl);
    bool more = false;

    for (struct list *l = cl->transfers.next; l != &cl->transfers; l = l->next) {
        struct transfer *t = LIST_ITEM(l, struct transfer, link);

        if (t->backup.call.done == NULL || t->fd >= 0) continue;
        more = true; /* a backup that is still being made */
        if (t->gone || now - t->life_ms < CLUSTER_LIFE_MS) continue;
        t->life_ms = now;
        if (net_call_writable(t->call)) (void)!net_call_send(t->call, &nothing.base);
    }
    return more;
}

void transfers_free(struct cluster *cl)
{
    while (!list_empty(&cl->transfers))
        end(LIST_ITEM(cl->transfers.next, struct transfer, link), ERR_CLOSED,
            "the node is shutting down");
}
