/* SPDX-License-Identifier: MIT */
#include "core/cluster/recover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/io.h"
#include "core/base/logger.h"
#include "core/base/metrics.h"
#include "core/cluster/address.h"
#include "core/cluster/json.h"
#include "core/raft/raft.h"

enum { FILE_MAX = 1 << 20 };

/* --- checks ----------------------------------------------------------------------- */

/* As the reference prints it: {[{Voter 1 h:4002} {Nonvoter 2 h:4004}]}. */
static enum err wrong(const struct raft_config *c, struct why *why, const char *what)
{
    struct buf b;

    buf_init(&b, sizeof why->text);
    for (size_t i = 0; i < c->n; i++)
        buf_printf(&b, "%s{%s %s %s}", i ? " " : "",
                   c->members[i].voter ? "Voter" : "Nonvoter", c->members[i].id,
                   c->members[i].addr);
    (void)why_set(why, ERR_INVALID, "%s in configuration: {[%.*s]}", what, (int)b.len,
                  b.data ? (const char *)b.data : "");
    buf_fini(&b);
    return ERR_INVALID;
}

enum err recover_check(const struct raft_config *c, struct why *why)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct raft_member *m = &c->members[i];

        if (m->id[0] == '\0') return wrong(c, why, "empty ID");
        if (m->addr[0] == '\0') return wrong(c, why, "empty address");
        for (size_t k = 0; k < i; k++) {
            if (strcmp(c->members[k].id, m->id) == 0)
                return why_set(why, ERR_INVALID,
                               "found duplicate ID in configuration: %s", m->id);
            if (strcmp(c->members[k].addr, m->addr) == 0)
                return why_set(why, ERR_INVALID,
                               "found duplicate address in configuration: %s", m->addr);
        }
    }
    if (raft_config_voters(c) == 0) return wrong(c, why, "need at least one voter");
    return ERR_OK;
}

enum err recover_check_addresses(const struct raft_config *c, struct why *why)
{
    struct address a;

    for (size_t i = 0; i < c->n; i++) {
        const char *addr = c->members[i].addr;

        if (strstr(addr, "://"))
            return why_set(why, ERR_INVALID, "protocol specified in address: %s", addr);
        if (!address_parse(&a, addr, strlen(addr)))
            return why_set(why, ERR_INVALID, "invalid address in configuration: %s",
                           addr);
    }
    return ERR_OK;
}

/* --- the file --------------------------------------------------------------------- */

static enum err read_file(struct io *io, const char *path, struct buf *out,
                          struct why *why)
{
    struct io_file *f;
    uint64_t size;
    size_t got = 0;
    uint8_t *bytes = NULL;
    enum err e = io->ops->open(io, &f, path, IO_READ, why);

    if (e) return e;
    e = io->ops->size(f, &size, why);
    if (!e && size > FILE_MAX) e = why_set(why, ERR_TOO_BIG, "longer than %d", FILE_MAX);
    if (!e) {
        bytes = malloc(size + 1);
        if (bytes == NULL) e = why_set(why, ERR_NOMEM, "out of memory");
    }
    if (!e) e = io->ops->read(f, 0, bytes, size, &got, why);
    if (!e) buf_append(out, bytes, got);
    if (!e && buf_error(out)) e = why_set(why, ERR_NOMEM, "out of memory");
    free(bytes);
    io->ops->close(f);
    return e;
}

/* ERR_NOT_FOUND: there is none. */
static enum err read_config(struct io *io, const char *path, struct raft_config *c,
                            struct why *why)
{
    struct buf text;
    enum err e;

    raft_config_init(c);
    buf_init(&text, 0);
    e = read_file(io, path, &text, why);
    if (e == ERR_NOT_FOUND) {
        buf_fini(&text);
        return e;
    }
    if (!e) e = json_read_peers(c, text.data, text.len, why);
    if (!e) e = recover_check(c, why);
    buf_fini(&text);
    if (!e) return ERR_OK;
    raft_config_fini(c);
    return err_wrap(why, e == ERR_NOT_FOUND ? ERR_IO : e, "failed to read peers file");
}

static enum err recover(const struct node_options *o, const struct raft_config *c,
                        struct why *why)
{
    struct raft_config sorted;
    enum err e = recover_check_addresses(c, why);

    raft_config_init(&sorted);
    for (size_t i = 0; !e && i < c->n; i++)
        e = raft_config_put(&sorted, c->members[i].id, c->members[i].addr,
                            c->members[i].voter);
    if (!e) e = node_recover(o, &sorted, why);
    raft_config_fini(&sorted);
    return e ? err_wrap(why, e, "failed to recover node") : ERR_OK;
}

enum err recover_if_asked(const struct node_options *o, struct why *why)
{
    char dir[4100], path[4200], done[4200];
    struct raft_config c;
    enum err e;

    snprintf(dir, sizeof dir, "%.4000s/raft", o->data_dir);
    snprintf(path, sizeof path, "%s/peers.json", dir);
    snprintf(done, sizeof done, "%s/peers.info", dir);
    e = read_config(o->io, path, &c, why);
    if (e == ERR_NOT_FOUND) return ERR_OK;
    logger_info(o->logger, "store", "attempting node recovery using %s", path);
    if (e) return e;
    e = recover(o, &c, why);
    raft_config_fini(&c);
    if (!e) e = o->io->ops->rename(o->io, path, done, why);
    if (!e) e = o->io->ops->sync_dir(o->io, dir, why);
    if (e) return e;
    metrics_add(o->metrics, METRIC_store_num_recoveries, 1);
    logger_info(o->logger, "store", "node recovered successfully using %s", path);
    return ERR_OK;
}
