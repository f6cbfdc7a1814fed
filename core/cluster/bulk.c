/* SPDX-License-Identifier: MIT */
/*
 * bulk: loads and backups on their way to the leader and back: files, piece by piece.
 * One piece is in memory at a time, and the spool's thread touches the file.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cluster/forward.h"
#include "core/net/client.h"

static struct forward *forward_of(struct spool_job *j)
{
    return LIST_ITEM(j, struct forward, bulk.job);
}

static bool room_for_piece(struct forward *f)
{
    if (f->bulk.piece == NULL) f->bulk.piece = malloc(SPOOL_PIECE_BYTES);
    return f->bulk.piece != NULL;
}

static void submit(struct forward *f, int fd, size_t len, bool write,
                   void (*done)(struct spool_job *j))
{
    struct spool_job *j = &f->bulk.job;
    struct why why = {0};

    j->write = write;
    j->fd = fd;
    j->offset = f->bulk.offset;
    j->data = f->bulk.piece;
    j->len = len;
    j->done = done;
    f->bulk.busy = true;
    if (spool_submit(f->cl, j, &why) == ERR_OK) return;
    f->bulk.busy = false;
    forward_finish(f, why.code, why.text);
}

/* --- load: the file goes out ------------------------------------------------------ */

static struct call_load *load_of(struct forward *f)
{
    return LIST_ITEM(f->call, struct call_load, call);
}

static void feed(struct forward *f);

static void send_piece(struct forward *f)
{
    struct call_load *c = load_of(f);
    Rqlite__Chunk m = RQLITE__CHUNK__INIT;
    enum err e;

    m.data.data = f->bulk.piece;
    m.data.len = f->bulk.job.len;
    if (!f->bulk.sent_first) {
        m.size = c->size;
        m.script = c->script;
    }
    e = net_request_send(f->request, &m.base);
    if (e == ERR_BUSY) return; /* on_writable will come */
    if (e) {
        forward_finish(f, e, err_name(e));
        return;
    }
    forward_moves(f);
    f->bulk.sent_first = true;
    f->bulk.full = false;
    f->bulk.offset += f->bulk.job.len;
    if (f->bulk.offset == c->size)
        net_request_finish(f->request);
    else
        feed(f);
}

static void piece_read(struct spool_job *j)
{
    struct forward *f = forward_of(j);

    if (!forward_job_back(f)) return;
    if (j->why.code) {
        forward_finish(f, j->why.code, j->why.text);
        return;
    }
    f->bulk.full = true;
    send_piece(f);
}

static void feed(struct forward *f)
{
    uint64_t left = load_of(f)->size - f->bulk.offset;

    if (f->bulk.busy || !net_request_writable(f->request)) return;
    if (f->bulk.full) {
        send_piece(f);
        return;
    }
    if (!room_for_piece(f)) {
        forward_finish(f, ERR_NOMEM, "out of memory");
        return;
    }
    submit(f, load_of(f)->fd, left < SPOOL_PIECE_BYTES ? (size_t)left : SPOOL_PIECE_BYTES,
           false, piece_read);
}

static void load_writable(struct net_request *r)
{
    struct forward *f = net_request_user(r);

    if (f->bulk.offset < load_of(f)->size || !f->bulk.sent_first) feed(f);
}

static void load_message(struct net_request *r, const ProtobufCMessage *message)
{
    struct forward *f = net_request_user(r);

    (void)message;
    forward_moves(f);
    (void)forward_results(f, r);
}

static const struct net_request_events load_events = {
    .on_writable = load_writable, .on_message = load_message, .on_done = forward_on_done};

/* --- backup: the file comes in ---------------------------------------------------- */

static void piece_written(struct spool_job *j)
{
    struct forward *f = forward_of(j);

    if (!forward_job_back(f)) return;
    if (j->why.code) {
        forward_finish(f, j->why.code, j->why.text);
        return;
    }
    f->bulk.offset += j->len;
    net_request_resume(f->request);
}

static void backup_message(struct net_request *r, const ProtobufCMessage *message)
{
    const Rqlite__Chunk *m = (const void *)message;
    struct forward *f = net_request_user(r);
    uint8_t *piece;

    forward_moves(f);
    if (m->data.len == 0) return; /* a sign of life */
    piece = realloc(f->bulk.piece, m->data.len);
    if (piece == NULL) {
        forward_finish(f, ERR_NOMEM, "out of memory");
        return;
    }
    f->bulk.piece = piece;
    memcpy(piece, m->data.data, m->data.len);
    net_request_pause(r); /* the next one when this is in the file */
    submit(f, f->bulk.fd, m->data.len, true, piece_written);
}

static void backup_done(struct net_request *r, const struct net_result *result)
{
    struct forward *f = net_request_user(r);
    struct call_backup *c = LIST_ITEM(f->call, struct call_backup, call);

    if (result->why.code) {
        forward_failed(f, &result->why, result->not_run);
        return;
    }
    c->fd = f->bulk.fd;
    c->size = f->bulk.offset;
    f->bulk.fd = -1;
    forward_succeeded(f);
}

static const struct net_request_events backup_events = {.on_message = backup_message,
                                                        .on_done = backup_done};

static enum err start_backup(struct forward *f, struct net_request_options *o,
                             struct why *why)
{
    const struct call_backup *c = LIST_ITEM(f->call, struct call_backup, call);
    Rqlite__BackupRequest m = RQLITE__BACKUP_REQUEST__INIT;
    enum err e;

    switch (c->format) {
    case DB_BACKUP_WAL: m.format = RQLITE__BACKUP_REQUEST__FORMAT__WAL; break;
    case DB_BACKUP_DELETE: m.format = RQLITE__BACKUP_REQUEST__FORMAT__DELETE; break;
    case DB_BACKUP_VACUUM: m.format = RQLITE__BACKUP_REQUEST__FORMAT__VACUUM; break;
    case DB_BACKUP_SQL: m.format = RQLITE__BACKUP_REQUEST__FORMAT__SQL; break;
    }
    m.tables = (char **)c->tables;
    while (m.tables && m.tables[m.n_tables]) m.n_tables++;
    if (f->bulk.fd >= 0) close(f->bulk.fd); /* of a try before */
    f->bulk.fd = -1;
    f->bulk.offset = 0;
    e = spool_file(f->cl, &f->bulk.fd, why);
    o->raw = false;
    o->message = &m.base;
    o->events = &backup_events;
    return e ? e : net_request_start(&f->request, f->channel, o, why);
}

/* --- both ------------------------------------------------------------------------- */

enum err forward_bulk_start(struct forward *f, struct net_request_options *o,
                            struct why *why)
{
    enum err e;

    cluster_tick(f->cl); /* for the time-out */
    if (f->kind == FORWARD_BACKUP) return start_backup(f, o, why);
    f->bulk.offset = 0;
    f->bulk.sent_first = f->bulk.full = false;
    o->events = &load_events;
    e = net_request_start(&f->request, f->channel, o, why);
    if (!e) feed(f); /* on_writable comes only if it has to be waited for */
    return e;
}

void forward_bulk_fini(struct forward *f)
{
    free(f->bulk.piece);
    f->bulk.piece = NULL;
    if (f->bulk.fd >= 0) close(f->bulk.fd);
    f->bulk.fd = -1;
}
