/* SPDX-License-Identifier: MIT */
#include "core/cluster/gathering.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/raft/raft.h"

struct gathering {
    unsigned expect;
    int fd;               /* owned */
    pthread_mutex_t lock; /* guards the rest: written by the node thread, read by main */
    struct raft_config known; /* as a sorted list of IDs and addresses */
    struct belongs {
        char id[RAFT_ID_MAX + 1];
        uint64_t cluster_id;
    } * belongs; /* of those that belong to one; owned */
    size_t n_belongs;
    bool closed;
};

enum err gathering_new(struct gathering **out, unsigned expect, struct why *why)
{
    struct gathering *g = calloc(1, sizeof *g);

    if (g == NULL) return why_set(why, ERR_NOMEM, "out of memory");
    g->expect = expect;
    g->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (g->fd < 0) {
        free(g);
        return why_errno(why, "make an event descriptor");
    }
    pthread_mutex_init(&g->lock, NULL);
    raft_config_init(&g->known);
    *out = g;
    return ERR_OK;
}

void gathering_free(struct gathering *g)
{
    if (g == NULL) return;
    raft_config_fini(&g->known);
    free(g->belongs);
    pthread_mutex_destroy(&g->lock);
    close(g->fd);
    free(g);
}

bool gathering_open(struct gathering *g)
{
    bool open;

    pthread_mutex_lock(&g->lock);
    open = !g->closed;
    pthread_mutex_unlock(&g->lock);
    return open;
}

void gathering_close(struct gathering *g)
{
    pthread_mutex_lock(&g->lock);
    g->closed = true;
    pthread_mutex_unlock(&g->lock);
}

/* With the lock held. */
static bool note(struct gathering *g, const char *id, uint64_t cluster_id)
{
    struct belongs *b;

    for (size_t i = 0; i < g->n_belongs; i++) {
        if (strcmp(g->belongs[i].id, id) != 0) continue;
        g->belongs[i].cluster_id = cluster_id;
        return true;
    }
    if (cluster_id == 0 || g->n_belongs == RAFT_MEMBERS_MAX) return true;
    b = realloc(g->belongs, (g->n_belongs + 1) * sizeof *b);
    if (b == NULL) return false;
    g->belongs = b;
    snprintf(b[g->n_belongs].id, sizeof b->id, "%s", id);
    b[g->n_belongs++].cluster_id = cluster_id;
    return true;
}

bool gathering_add(struct gathering *g, const char *id, const char *addr,
                   uint64_t cluster_id)
{
    uint64_t one = 1;
    bool ok;
    ssize_t n;

    pthread_mutex_lock(&g->lock);
    ok = g->closed || note(g, id, cluster_id);
    if (ok && !g->closed && raft_config_find(&g->known, id) == NULL) {
        ok = raft_config_put(&g->known, id, addr, true) == ERR_OK;
        if (ok && g->known.n == g->expect) {
            n = write(g->fd, &one, sizeof one);
            CHECK(n == sizeof one); /* the only write to it */
        }
    }
    pthread_mutex_unlock(&g->lock);
    return ok;
}

void gathering_met(struct gathering *g, const char *id, uint64_t cluster_id)
{
    pthread_mutex_lock(&g->lock);
    (void)note(g, id, cluster_id); /* at worst it is met again */
    pthread_mutex_unlock(&g->lock);
}

size_t gathering_count(struct gathering *g)
{
    size_t n;

    pthread_mutex_lock(&g->lock);
    n = g->known.n;
    pthread_mutex_unlock(&g->lock);
    return n;
}

int gathering_fd(const struct gathering *g)
{
    return g->fd;
}

/* Nobody of c's may belong to another cluster. */
static enum err check_belongs(const struct gathering *g, const struct raft_config *c,
                              struct why *why)
{
    uint64_t id = gathering_cluster_id(c);

    for (size_t i = 0; i < g->n_belongs; i++) {
        const struct belongs *b = &g->belongs[i];

        if (b->cluster_id != 0 && b->cluster_id != id)
            return why_set(why, ERR_EXISTS, "node %s belongs to a cluster already",
                           b->id);
    }
    return ERR_OK;
}

enum err gathering_config(struct gathering *g, struct raft_config *out, struct why *why)
{
    enum err e;

    raft_config_init(out);
    pthread_mutex_lock(&g->lock);
    e = g->known.n < g->expect ? ERR_NOT_FOUND : raft_config_copy(out, &g->known);
    if (!e && out->n > g->expect) out->n = g->expect;
    if (!e) e = check_belongs(g, out, why);
    pthread_mutex_unlock(&g->lock);
    if (e) raft_config_fini(out);
    return e;
}

/* --- the cluster's id ------------------------------------------------------------- */

/* FNV-1a over the text and the NUL that ends it. */
static uint64_t mix(uint64_t h, const char *s)
{
    do h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    while (*s++);
    return h;
}

uint64_t gathering_cluster_id(const struct raft_config *c)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < c->n; i++)
        h = mix(mix(h, c->members[i].id), c->members[i].addr);
    h ^= h >> 32; /* FNV's low bits know little of the last bytes' high ones */
    h *= UINT64_C(0x9e3779b97f4a7c15);
    return h ? h : 1;
}
