/* SPDX-License-Identifier: MIT */
#include "core/node/walworker.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/list.h"
#include "core/node/mutation.h"

#ifdef RAFT_MUTATIONS
enum node_mutations node_mutant;
#endif

struct wal_job *wal_job_persist(const struct raft_effects *fx)
{
    struct wal_job *j = calloc(1, sizeof *j);

    if (j == NULL) return NULL;
    j->kind = WAL_JOB_PERSIST;
    j->ticket = fx->ticket;
    j->save_hard = fx->save_hard;
    j->term = fx->term;
    if (fx->save_hard && fx->vote) {
        strncpy(j->vote, fx->vote, sizeof j->vote - 1);
    }
    j->reset_log = fx->reset_log;
    j->reset_index = fx->reset_index;
    j->reset_term = fx->reset_term;
    j->truncate_from = fx->truncate_from;
    j->drop_before = fx->drop_before;
    j->has_work = j->save_hard || j->reset_log || j->truncate_from || fx->n_append > 0;
    if (fx->n_append > 0) {
        j->entries = malloc(fx->n_append * sizeof *j->entries);
        if (j->entries == NULL) goto fail;
        for (size_t i = 0; i < fx->n_append; i++) {
            j->entries[i] = fx->append[i];
            blob_ref(j->entries[i].payload);
        }
        j->n_entries = j->cap_entries = fx->n_append;
    }
    if (fx->n_send_after > 0) {
        j->messages = malloc(fx->n_send_after * sizeof *j->messages);
        if (j->messages == NULL) goto fail;
        memcpy(j->messages, fx->send_after, fx->n_send_after * sizeof *j->messages);
        j->n_messages = fx->n_send_after;
        /* Votes and acks carry no entries; what they would point to is gone by then. */
        for (size_t i = 0; i < j->n_messages; i++) CHECK(j->messages[i].n_entries == 0);
    }
    return j;
fail:
    wal_job_free(j);
    return NULL;
}

struct wal_job *wal_job_fetch(const char *peer, uint64_t from, uint64_t to,
                              size_t max_bytes)
{
    struct wal_job *j = calloc(1, sizeof *j);

    if (j == NULL) return NULL;
    j->kind = WAL_JOB_FETCH;
    strncpy(j->peer, peer, sizeof j->peer - 1);
    j->from = from;
    j->to = to;
    j->max_bytes = max_bytes;
    return j;
}

void wal_job_free(struct wal_job *j)
{
    if (j == NULL) return;
    for (size_t i = 0; i < j->n_entries; i++) blob_unref(j->entries[i].payload);
    free(j->entries);
    free(j->messages);
    free(j);
}

static enum err persist(struct wal *w, const struct wal_job *j, struct why *why)
{
    enum err e = ERR_OK;

    if (j->reset_log) e = wal_reset(w, j->reset_index, j->reset_term, why);
    if (!e && j->truncate_from) e = wal_truncate_from(w, j->truncate_from, why);
    if (!e && j->save_hard) e = wal_save_hard(w, j->term, j->vote, why);
    if (!e && j->n_entries) e = wal_append(w, j->entries, j->n_entries, why);
    return e;
}

static enum err collect(const struct raft_entry *entry, void *arg, struct why *why)
{
    struct wal_job *j = arg;

    if (j->n_entries == j->cap_entries) {
        size_t cap = j->cap_entries ? j->cap_entries * 2 : 256;
        struct raft_entry *p = realloc(j->entries, cap * sizeof *p);

        if (p == NULL) return why_set(why, ERR_NOMEM, "out of memory");
        j->entries = p;
        j->cap_entries = cap;
    }
    j->entries[j->n_entries] = *entry;
    blob_ref(entry->payload);
    j->n_entries++;
    return ERR_OK;
}

enum err wal_jobs_run(struct wal *w, struct mail *jobs, struct why *why)
{
    struct why local = {0};
    uint64_t drop_before = 0;
    bool dirty = false;
    enum err e = ERR_OK;

    for (struct mail *m = jobs; m && !e; m = m->next) {
        struct wal_job *j = LIST_ITEM(m, struct wal_job, mail);

        if (j->kind != WAL_JOB_PERSIST) continue;
        e = persist(w, j, &local);
        if (j->has_work) dirty = true;
        if (j->drop_before > drop_before) drop_before = j->drop_before;
    }
    if (!e && dirty && !node_mutation(NODE_MUT_SKIP_SYNC)) e = wal_sync(w, &local);
    if (!e && drop_before) e = wal_drop_before(w, drop_before, &local);
    for (struct mail *m = jobs; m; m = m->next) {
        struct wal_job *j = LIST_ITEM(m, struct wal_job, mail);

        if (e) {
            j->why = local;
            j->why.code = e;
        } else if (j->kind == WAL_JOB_FETCH) {
            j->why.code = wal_read(w, j->from, j->to, j->max_bytes, collect, j, &j->why);
        }
    }
    if (e && why) {
        *why = local;
        why->code = e;
    }
    return e;
}
