/* SPDX-License-Identifier: MIT */
/*
 * loads: whole databases, in and out.  Long work with blocking files, done on reader
 * threads, of which there are more when some are held up (readers.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/crc32c.h"
#include "core/base/io.h"
#include "core/base/pb.h"
#include "core/node/command.h"
#include "core/node/internal.h"

enum { CHUNK_BYTES = 1 << 20, CHUNKS_UNDER_WAY = 16, CHUNKS_UNDER_WAY_MIN = 4 };

/* A chunk that took longer than this, from the proposal until it was applied, shows that
 * the disk or a majority of the nodes is busy: then fewer are under way, so that other
 * writes do not wait behind megabytes.  Many otherwise: they share a sync. */
static const uint64_t SLOW_CHUNK_NS = 500000000;

/* A name in the scratch directory that nobody else uses. */
static void scratch_path(struct node *n, char *out, size_t size, const char *what)
{
    static _Atomic unsigned serial;

    snprintf(out, size, "%.4000s/%s-%u.sqlite", n->scratch_dir, what,
             atomic_fetch_add(&serial, 1));
}

/* --- backup ----------------------------------------------------------------------- */

static void backup_on_reader(struct reader_job *j, struct db_reader *r)
{
    struct call_backup *c = LIST_ITEM(j, struct call_backup, call.job);
    struct node *n = c->call.owner;
    char path[4200];
    struct stat st;
    enum err e;

    c->fd = -1;
    if (r == NULL) {
        call_fail(&c->call, ERR_IO, "no read connection");
        return;
    }
    scratch_path(n, path, sizeof path, "backup");
    e = db_reader_backup(r, c->format, c->tables, path, &c->call.why);
    if (!e) {
        c->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (c->fd < 0 || fstat(c->fd, &st) != 0)
            e = why_errno(&c->call.why, "open the backup %s", path);
        else
            c->size = (uint64_t)st.st_size;
    }
    unlink(path); /* what is open stays until the answer has been sent */
    if (e && c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
    c->call.why.code = e;
    if (!e) metrics_add(n->o.metrics, METRIC_store_num_backups, 1);
    c->call.done(&c->call);
}

static void backup_resume(struct call *c, void *owner)
{
    c->job.run = backup_on_reader;
    readers_submit(((struct node *)owner)->readers, &c->job);
}

static void deliver_backup(struct mail *m, void *arg)
{
    struct node *n = arg;

    member_wait_ready(n->member, LIST_ITEM(m, struct call, mail), 10000, node_now_ms(n));
}

void node_backup(struct node *n, struct call_backup *c)
{
    c->call.owner = n;
    c->fd = -1;
    if (!atomic_load(&n->open)) {
        call_fail(&c->call, ERR_NOT_OPEN, "store not open");
    } else if (c->call.no_leader) {
        backup_resume(&c->call, n);
    } else if (!atomic_load(&n->is_leader)) {
        call_not_leader(n, &c->call);
    } else {
        c->call.resume = backup_resume;
        if (!node_post(n, &c->call.mail, deliver_backup))
            call_fail(&c->call, ERR_NOT_OPEN, "store not open");
    }
}

/* --- load ------------------------------------------------------------------------- */

/* A load in progress: the reader thread proposes chunk after chunk and waits here for
 * room. */
struct loading {
    struct call_load *call;
    struct node *node;
    pthread_mutex_t lock; /* chunks end on other threads */
    pthread_cond_t room;
    unsigned under_way, allowed;
    struct why why; /* of the first chunk that failed */
    uint64_t raft_index;
};

struct chunk {
    struct call_execute x;
    struct loading *load;
    uint64_t begun_ns;
};

/* Halve what may be under way, or add one. */
static void adapt(struct loading *l, uint64_t took_ns)
{
    if (took_ns > SLOW_CHUNK_NS)
        l->allowed =
            l->allowed > 2 * CHUNKS_UNDER_WAY_MIN ? l->allowed / 2 : CHUNKS_UNDER_WAY_MIN;
    else if (l->allowed < CHUNKS_UNDER_WAY)
        l->allowed++;
}

static void chunk_done(struct call *c)
{
    struct chunk *k = LIST_ITEM(c, struct chunk, x.call);
    struct loading *l = k->load;
    uint64_t took_ns = clock_mono_ns(l->node->o.clock) - k->begun_ns;

    pthread_mutex_lock(&l->lock);
    adapt(l, took_ns);
    if (c->why.code && !l->why.code) l->why = c->why;
    l->raft_index = k->x.raft_index;
    l->under_way--;
    pthread_cond_signal(&l->room);
    pthread_mutex_unlock(&l->lock);
    free(k);
}

/* Propose one message; waits until fewer than most are under way.  False when the load
 * has failed. */
static bool propose(struct loading *l, const ProtobufCMessage *m, uint8_t type,
                    struct row_sink *sink)
{
    struct chunk *k = calloc(1, sizeof *k);
    bool ok;

    if (k) k->x.request = pb_pack(m, CALL_SPARE);
    pthread_mutex_lock(&l->lock);
    if (k == NULL || k->x.request == NULL) {
        if (!l->why.code) (void)why_set(&l->why, ERR_NOMEM, "out of memory");
    }
    while (l->under_way >= l->allowed) pthread_cond_wait(&l->room, &l->lock);
    ok = l->why.code == ERR_OK;
    if (ok) l->under_way++;
    pthread_mutex_unlock(&l->lock);
    if (!ok) {
        if (k) blob_unref(k->x.request);
        free(k);
        return false;
    }
    k->load = l;
    k->begun_ns = clock_mono_ns(l->node->o.clock);
    k->x.call.done = chunk_done;
    k->x.sink = sink;
    node_propose(l->node, &k->x, type);
    return true;
}

static void loading_init(struct loading *l, struct call_load *c)
{
    memset(l, 0, sizeof *l);
    l->call = c;
    l->node = c->call.owner;
    l->allowed = CHUNKS_UNDER_WAY_MIN;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
}

/* Wait for what is under way, then answer. */
static void loading_finish(struct loading *l)
{
    struct call_load *c = l->call;

    pthread_mutex_lock(&l->lock);
    while (l->under_way > 0) pthread_cond_wait(&l->room, &l->lock);
    pthread_mutex_unlock(&l->lock);
    pthread_cond_destroy(&l->room);
    pthread_mutex_destroy(&l->lock);
    c->raft_index = l->raft_index;
    c->call.why = l->why;
    if (!l->why.code) metrics_add(l->node->o.metrics, METRIC_store_num_loads, 1);
    c->call.done(&c->call);
}

static enum err read_at(int fd, uint64_t off, void *out, size_t len, struct why *why)
{
    for (size_t got = 0; got < len;) {
        ssize_t k = pread(fd, (char *)out + got, len - got, (off_t)(off + got));

        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return why_errno(why, "read the loaded file");
        if (k == 0) return why_set(why, ERR_IO, "the loaded file became shorter");
        got += (size_t)k;
    }
    return ERR_OK;
}

static void load_script(struct loading *l)
{
    Rqlite__ScriptRequest m = RQLITE__SCRIPT_REQUEST__INIT;
    uint64_t size = l->call->size;

    if (size > CALL_ENTRY_MAX) {
        (void)why_set(&l->why, ERR_TOO_BIG,
                      "SQL text of more than %d MiB cannot be loaded at once; load a "
                      "SQLite file",
                      CALL_ENTRY_MAX >> 20);
        return;
    }
    m.sql.len = size;
    m.sql.data = malloc(size ? size : 1);
    if (m.sql.data == NULL) {
        (void)why_set(&l->why, ERR_NOMEM, "out of memory");
        return;
    }
    if (read_at(l->call->fd, 0, m.sql.data, size, &l->why) == ERR_OK)
        (void)propose(l, &m.base, COMMAND_SCRIPT, l->call->sink);
    free(m.sql.data);
}

static void load_chunks(struct loading *l, int fd, uint64_t size)
{
    Rqlite__LoadChunk m = RQLITE__LOAD_CHUNK__INIT;
    uint32_t crc = 0;

    m.load = rand_entropy();
    m.data.data = malloc(CHUNK_BYTES);
    if (m.data.data == NULL) {
        (void)why_set(&l->why, ERR_NOMEM, "out of memory");
        return;
    }
    for (uint64_t off = 0; off < size; off += m.data.len) {
        struct why why = {0};

        m.offset = off;
        m.data.len = size - off < CHUNK_BYTES ? (size_t)(size - off) : CHUNK_BYTES;
        if (read_at(fd, off, m.data.data, m.data.len, &why) != ERR_OK) {
            pthread_mutex_lock(&l->lock);
            if (!l->why.code) l->why = why;
            pthread_mutex_unlock(&l->lock);
            break;
        }
        crc = crc32c(crc, m.data.data, m.data.len);
        m.last = off + m.data.len == size;
        if (m.last) {
            m.size = size;
            m.crc32c = crc;
        }
        if (!propose(l, &m.base, COMMAND_LOAD, NULL)) break;
    }
    free(m.data.data);
}

/* The body is an unlinked file, which SQLite cannot open by name; the checker needs one.
 */
static enum err name_file(int fd, uint64_t size, const char *path, struct why *why)
{
    char proc[64];
    uint8_t *piece;
    int out;
    enum err e = ERR_OK;

    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, proc, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0) return ERR_OK;
    out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0) return why_errno(why, "create %s", path);
    piece = malloc(CHUNK_BYTES);
    if (piece == NULL) e = why_set(why, ERR_NOMEM, "out of memory");
    for (uint64_t off = 0; off < size && !e;) {
        size_t len = size - off < CHUNK_BYTES ? (size_t)(size - off) : CHUNK_BYTES;

        e = read_at(fd, off, piece, len, why);
        for (size_t done = 0; !e && done < len;) {
            ssize_t k =
                pwrite(out, piece + done, io_write_some(len - done), (off_t)(off + done));

            if (k < 0 && errno != EINTR) e = why_errno(why, "write %s", path);
            if (k > 0) done += (size_t)k;
        }
        off += len;
    }
    free(piece);
    close(out);
    return e;
}

static void load_file(struct loading *l)
{
    char path[4200], side[4300];
    struct stat st;
    int fd = -1;
    enum err e;

    scratch_path(l->node, path, sizeof path, "load");
    e = name_file(l->call->fd, l->call->size, path, &l->why);
    if (!e) e = db_check_file(path, &l->why);
    if (!e) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) != 0) (void)why_errno(&l->why, "open %s", path);
    }
    if (!l->why.code) load_chunks(l, fd, (uint64_t)st.st_size);
    if (fd >= 0) close(fd);
    unlink(path);
    snprintf(side, sizeof side, "%s-wal", path);
    unlink(side);
    snprintf(side, sizeof side, "%s-shm", path);
    unlink(side);
}

static void load_on_reader(struct reader_job *j, struct db_reader *r)
{
    struct call_load *c = LIST_ITEM(j, struct call_load, call.job);
    struct loading l;

    (void)r;
    loading_init(&l, c);
    if (c->script)
        load_script(&l);
    else
        load_file(&l);
    loading_finish(&l);
}

void node_load(struct node *n, struct call_load *c)
{
    c->call.owner = n;
    snprintf(c->call.served_by, sizeof c->call.served_by, "%s", n->o.http_addr);
    if (!atomic_load(&n->open)) {
        call_fail(&c->call, ERR_NOT_OPEN, "store not open");
    } else if (!atomic_load(&n->is_leader)) {
        call_not_leader(n, &c->call);
    } else {
        c->call.job.run = load_on_reader;
        readers_submit(n->readers, &c->call.job);
    }
}

/* --- boot ------------------------------------------------------------------------- */

static void boot_snapshot_done(struct call *c)
{
    struct call_boot *b = LIST_ITEM(c, struct call_boot, snapshot.call);

    b->call.done(&b->call); /* the load is in the log, whatever became of the snapshot */
}

static void boot_loaded(struct call *c)
{
    struct call_boot *b = LIST_ITEM(c, struct call_boot, load.call);

    b->call.why = c->why;
    if (c->why.code) {
        b->call.done(&b->call);
        return;
    }
    metrics_add(((struct node *)b->call.owner)->o.metrics, METRIC_store_num_boots, 1);
    b->snapshot.call.done = boot_snapshot_done;
    b->snapshot.trailing = 1;
    node_snapshot(b->call.owner, &b->snapshot);
}

void node_boot(struct node *n, struct call_boot *c)
{
    struct raft_config members;
    size_t count = 0;

    c->call.owner = n;
    if (!atomic_load(&n->is_leader)) {
        call_fail(&c->call, ERR_STALE, "not leader");
        return;
    }
    if (node_members(n, &members) == ERR_OK) {
        count = members.n;
        raft_config_fini(&members);
    }
    if (count != 1) {
        call_fail(&c->call, ERR_EXISTS, "not single-node");
        return;
    }
    c->load.call.done = boot_loaded;
    c->load.call.timeout_ns = c->call.timeout_ns;
    c->load.fd = c->fd;
    c->load.size = c->size;
    node_load(n, &c->load);
}
