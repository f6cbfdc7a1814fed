/* SPDX-License-Identifier: MIT */
/* A disk: writes are done in order, become durable when a sync ends, and a crash keeps
 * any part of what was not synced that a torn write may leave. */
#include "tests/unit/raft/sim.h"

static void sim_must(bool ok)
{
    if (!ok) abort();
}

static void disk_init(struct sim_disk *d)
{
    memset(d, 0, sizeof *d);
    d->pending_end = &d->pending;
}

static struct sim_entry *disk_entry(struct sim_disk *d, uint64_t index)
{
    return index > d->base && index <= d->last ? &d->log[index - d->base - 1] : NULL;
}

static void disk_truncate(struct sim_disk *d, uint64_t from)
{
    for (; d->last >= from && d->last > d->base; d->last--)
        blob_unref(disk_entry(d, d->last)->payload);
}

static void disk_reset(struct sim_disk *d, uint64_t index)
{
    disk_truncate(d, 0);
    d->base = d->last = index;
}

static void disk_append(struct sim_disk *d, uint64_t index, const struct sim_entry *e)
{
    sim_must(index == d->last + 1);
    if (d->last - d->base == d->cap) {
        d->cap = d->cap ? d->cap * 2 : 64;
        d->log = realloc(d->log, d->cap * sizeof *d->log);
        sim_must(d->log != NULL);
    }
    d->last++;
    d->log[index - d->base - 1] = *e;
    blob_ref(e->payload);
}

static void disk_drop_before(struct sim_disk *d, uint64_t index)
{
    uint64_t gone;

    if (index <= d->base + 1) return;
    if (index > d->last + 1) index = d->last + 1;
    gone = index - 1 - d->base;
    for (uint64_t i = 0; i < gone; i++) blob_unref(d->log[i].payload);
    memmove(d->log, d->log + gone, (d->last - d->base - gone) * sizeof *d->log);
    d->base += gone;
}

/* Carry out parts of a write: 0 = nothing, 1 = term and vote, 2 = the cut, then one entry
 * each. */
static void disk_do(struct sim_disk *d, const struct sim_write *op, size_t parts)
{
    if (parts >= 1 && op->save_hard) {
        d->term = op->term;
        memcpy(d->vote, op->vote, sizeof d->vote);
    }
    if (parts >= 2 && op->reset) disk_reset(d, op->reset_index);
    if (parts >= 2 && op->truncate_from) disk_truncate(d, op->truncate_from);
    for (size_t i = 0; i < op->n && i + 3 <= parts; i++)
        disk_append(d, op->first + i, &op->entries[i]);
    if (parts >= op->n + 3 && op->drop_before) disk_drop_before(d, op->drop_before);
}

static void disk_free_write(struct sim_write *op)
{
    for (size_t i = 0; i < op->n; i++) blob_unref(op->entries[i].payload);
    free(op->entries);
    free(op);
}

static void disk_post(struct sim_disk *d, const struct raft_effects *fx)
{
    struct sim_write *op = calloc(1, sizeof *op);

    sim_must(op != NULL);
    op->ticket = fx->ticket;
    op->save_hard = fx->save_hard;
    op->term = fx->term;
    snprintf(op->vote, sizeof op->vote, "%s", fx->vote);
    op->reset = fx->reset_log;
    op->reset_index = fx->reset_index;
    op->truncate_from = fx->truncate_from;
    op->drop_before = fx->drop_before;
    op->n = fx->n_append;
    op->first = op->n > 0 ? fx->append[0].index : 0;
    op->entries = calloc(op->n + 1, sizeof *op->entries);
    sim_must(op->entries != NULL);
    for (size_t i = 0; i < op->n; i++)
        op->entries[i] = (struct sim_entry){fx->append[i].term, fx->append[i].type,
                                            blob_ref(fx->append[i].payload)};
    *d->pending_end = op;
    d->pending_end = &op->next;
}

static void disk_pop(struct sim_disk *d)
{
    struct sim_write *op = d->pending;

    d->pending = op->next;
    if (!d->pending) d->pending_end = &d->pending;
    disk_free_write(op);
}

static void disk_synced(struct sim_disk *d, uint64_t ticket)
{
    while (d->pending && d->pending->ticket <= ticket) {
        disk_do(d, d->pending, SIZE_MAX);
        disk_pop(d);
    }
    if (ticket > d->synced) d->synced = ticket;
    d->syncing = false;
}

static void disk_crash(struct sim_disk *d, struct rand *rand)
{
    size_t n = 0, kept;

    for (struct sim_write *op = d->pending; op; op = op->next) n++;
    /* Often nothing survives: the case that finds promises made too early. */
    kept = n > 0 && rand_below(rand, 2) ? rand_below(rand, n + 1) : 0;
    for (size_t i = 0; i < kept; i++) {
        disk_do(d, d->pending, SIZE_MAX);
        disk_pop(d);
    }
    if (d->pending && rand_below(rand, 2))
        disk_do(d, d->pending, rand_below(rand, d->pending->n + 4));
    while (d->pending) disk_pop(d);
    d->synced = 0;
    d->syncing = false;
}

static void disk_free(struct sim_disk *d)
{
    while (d->pending) disk_pop(d);
    disk_truncate(d, 0);
    free(d->log);
    raft_config_fini(&d->snapshot.config);
}
