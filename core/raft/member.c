/* SPDX-License-Identifier: MIT */
/*
 * Membership (dissertation, 4.1): a configuration is in force as soon as it is in the
 * log, and one change is made at a time.  A change also waits until an entry of the own
 * term has committed: else two leaders, each with a change the other has not seen, could
 * form majorities that do not overlap (the bug in the dissertation's text, raft-dev, July
 * 2015).
 */
#include <stdlib.h>
#include <string.h>

#include "core/raft/internal.h"

const struct raft_config *member_config(const struct raft *r)
{
    return &r->configs.at[r->configs.n - 1];
}

bool member_is_voter(const struct raft *r, const char *id)
{
    const struct raft_member *m = raft_config_find(member_config(r), id);

    return m && m->voter;
}

bool member_alone(const struct raft *r)
{
    return member_is_voter(r, r->id) && raft_config_voters(member_config(r)) == 1;
}

/* Whom an uncommitted change would make a non-voter still has to stand: it may be the
 * only one whose log is long enough to win, under either configuration
 * (dissertation, 4.2.2). */
bool member_may_campaign(const struct raft *r)
{
    const struct raft_member *before;

    if (member_is_voter(r, r->id)) return true;
    if (r->configs.n < 2 || member_config(r)->index <= r->commit) return false;
    before = raft_config_find(&r->configs.at[r->configs.n - 2], r->id);
    return before && before->voter;
}

/* --- history ------------------------------------------------------------------------ */

static bool member_push(struct raft *r, struct raft_config *c) /* takes c's members */
{
    if (!raft_room(r, &r->configs.at, &r->configs.cap, r->configs.n, sizeof *c)) {
        raft_config_fini(c);
        return false;
    }
    r->configs.at[r->configs.n++] = *c;
    return true;
}

static void member_now_in_force(struct raft *r)
{
    if (r->fx) r->fx->config_changed = true;
    if (r->role == RAFT_LEADER)
        progress_rebuild(r);
    else
        election_config_changed(r);
}

bool member_appended(struct raft *r, uint64_t index, const struct blob *payload)
{
    struct raft_config c = {0};

    if (raft_config_decode(&c, payload->data, payload->len,
                           NULL)) { /* it was checked before */
        r->failed = true;
        return false;
    }
    c.index = index;
    if (!member_push(r, &c)) return false;
    trace(r, TRACE_CONFIG, "", index, raft_config_voters(member_config(r)));
    member_now_in_force(r);
    return true;
}

void member_truncated(struct raft *r, uint64_t from)
{
    size_t before = r->configs.n;

    while (r->configs.n > 1 && member_config(r)->index >= from)
        raft_config_fini(&r->configs.at[--r->configs.n]);
    if (r->configs.n == before) return;
    trace(r, TRACE_CONFIG_REVERTED, "", member_config(r)->index,
          raft_config_voters(member_config(r)));
    member_now_in_force(r);
}

bool member_reset(struct raft *r, const struct raft_config *c)
{
    struct raft_config copy = {0};

    if (c && raft_config_copy(&copy, c)) {
        r->failed = true;
        return false;
    }
    while (r->configs.n > 0) raft_config_fini(&r->configs.at[--r->configs.n]);
    if (!member_push(r, &copy)) return false;
    member_now_in_force(r);
    return true;
}

void member_forget_before(struct raft *r, uint64_t index)
{
    size_t gone = 0;

    while (gone + 1 < r->configs.n && r->configs.at[gone + 1].index <= index)
        raft_config_fini(&r->configs.at[gone++]);
    r->configs.n -= gone;
    memmove(r->configs.at, r->configs.at + gone, r->configs.n * sizeof *r->configs.at);
}

const struct raft_config *raft_config(const struct raft *r)
{
    return member_config(r);
}

const struct raft_config *raft_config_at(const struct raft *r, uint64_t index)
{
    for (size_t i = r->configs.n; i-- > 0;)
        if (r->configs.at[i].index <= index) return &r->configs.at[i];
    return NULL;
}

/* --- changes ------------------------------------------------------------------------ */

static enum err member_append_config(struct raft *r, uint64_t term,
                                     const struct raft_config *c)
{
    struct blob *payload = raft_config_encode(c);

    if (!payload || !raft_append_entry(r, term, RAFT_ENTRY_CONFIG, payload)) {
        r->failed = true;
        return ERR_NOMEM;
    }
    r->fx->first_index = r->log.last;
    return ERR_OK;
}

static enum err member_apply_change(struct raft_config *c, const struct raft_event *e)
{
    const struct raft_member *m = raft_config_find(c, e->u.change.id);
    enum err error = ERR_OK;

    if (e->u.change.op == RAFT_CHANGE_REMOVE) {
        if (!raft_config_remove(c, e->u.change.id)) return ERR_NOT_FOUND;
    } else {
        if (e->u.change.id[0] == 0) return ERR_INVALID;
        if (m && m->voter == e->u.change.voter && strcmp(m->addr, e->u.change.addr) == 0)
            return ERR_EXISTS;
        error = raft_config_put(c, e->u.change.id, e->u.change.addr, e->u.change.voter);
    }
    if (!error && raft_config_voters(c) == 0) return ERR_INVALID;
    return error;
}

enum err member_change(struct raft *r, const struct raft_event *e)
{
    struct raft_config next = {0};
    enum err error;

    if (r->role != RAFT_LEADER) return ERR_NOT_LEADER;
    if (transfer_active(r)) return ERR_TRANSFER;
    if (!mutation(RAFT_MUT_CHANGE_TOO_EARLY) && r->commit < r->noop) return ERR_NOT_READY;
    if (member_config(r)->index > r->commit) return ERR_BUSY;
    error = raft_config_copy(&next, member_config(r));
    if (!error) error = member_apply_change(&next, e);
    if (!error) error = member_append_config(r, r->term, &next);
    if (error == ERR_NOMEM) r->failed = true;
    raft_config_fini(&next);
    return error;
}

/* The first configuration is entry 1 of term 1 on every node that is given it, so nodes
 * that are bootstrapped with the same members start from the same log. */
enum err member_bootstrap(struct raft *r, const struct raft_config *c)
{
    if (r->log.last > 0 || member_config(r)->n > 0) return ERR_EXISTS;
    if (c->n > RAFT_MEMBERS_MAX || raft_config_voters(c) == 0) return ERR_INVALID;
    if (r->term == 0) {
        r->term = 1;
        durable_save_hard(r);
    }
    return member_append_config(r, 1, c);
}
