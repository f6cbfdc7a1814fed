/* SPDX-License-Identifier: MIT */
/*
 * The follower's half of replication (paper, 5.3).  Entries up to our commit index agree
 * with every leader's by leader completeness, so they are never compared and never cut
 * off, whatever a message says.
 */
#include <string.h>

#include "core/raft/internal.h"

static bool append_config_valid(const struct raft_entry *e)
{
    struct raft_config c = {0};
    enum err error = ERR_CORRUPT;

    if (e->payload)
        error = raft_config_decode(&c, e->payload->data, e->payload->len, NULL);
    raft_config_fini(&c);
    return error == ERR_OK || error == ERR_NOMEM;
}

bool append_message_valid(const struct raft_message *m)
{
    uint64_t term = m->prev_term;

    if (m->prev_term > m->term) return false;
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index != m->prev_index + 1 + i) return false;
        if (e->term < term || e->term == 0 || e->term > m->term) return false;
        if (e->type == RAFT_ENTRY_CONFIG
                ? !append_config_valid(e)
                : e->type < RAFT_ENTRY_APP && e->type != RAFT_ENTRY_NOOP)
            return false;
        term = e->term;
    }
    return true;
}

static struct raft_message *append_reply(struct raft *r, struct raft_outbox *box,
                                         const struct raft_message *m, bool accepted)
{
    struct raft_message *reply = raft_post(r, box, RAFT_MSG_APPEND_REPLY, m->from);

    if (!reply) return NULL;
    reply->accepted = accepted;
    reply->read = m->read;
    reply->sent_ms = m->sent_ms;
    reply->hash_index = r->applied;
    reply->hash = r->hash;
    return reply;
}

void append_refuse_stale(struct raft *r, const struct raft_message *m)
{
    struct raft_message *reply = append_reply(r, &r->now, m, false);

    if (reply) reply->read = 0; /* our term deposes the sender, it confirms nothing */
}

/* Where the leader should look next: the start of what we hold of the term that is in the
 * way, or our end. */
static void append_refuse(struct raft *r, const struct raft_message *m)
{
    struct raft_message *reply = append_reply(r, &r->now, m, false);

    if (!reply) return;
    if (m->prev_index > r->log.last) {
        reply->conflict_index = r->log.last + 1;
    } else {
        reply->conflict_term = log_term(&r->log, m->prev_index);
        reply->conflict_index = log_run_start(&r->log, m->prev_index);
        if (reply->conflict_index <= r->commit) reply->conflict_index = r->commit + 1;
    }
    trace(r, TRACE_APPEND_REFUSED, m->from, m->prev_index, reply->conflict_index);
}

/* Term and vote as they are now are on our disk. */
static bool append_hard_durable(const struct raft *r)
{
    return !r->saves_hard && r->hard_ticket <= r->synced;
}

static void append_answer(struct raft *r, struct raft_outbox *box,
                          const struct raft_message *m, uint64_t match)
{
    struct raft_message *reply = append_reply(r, box, m, true);

    if (reply) reply->match = match;
}

/* What is on our disk may be said at once.  So a sync that takes long, of megabytes,
 * keeps back only the promise of what it writes, and not the news that we are here: else
 * the leader would lose its lease, and reads would wait.  The log up to match is the
 * leader's, hence the durable part of it, too. */
static void append_accept(struct raft *r, const struct raft_message *m, uint64_t match)
{
    bool early = mutation(RAFT_MUT_ACK_BEFORE_SYNC) ||
                 (mutation(RAFT_MUT_ACK_OVERTAKES_SYNC) && !r->writes);
    uint64_t held = match < r->durable ? match : r->durable;

    if (append_hard_durable(r) && !early) {
        if (held == match) {
            append_answer(r, &r->now, m, match);
            return;
        }
        if (m->n_entries == 0 || r->now_ms - r->answered_ms >= r->interval_ms) {
            append_answer(r, &r->now, m, held);
            r->answered_ms = r->now_ms;
        }
    }
    append_answer(r, early ? &r->now : &r->after, m, match);
}

static void append_cut(struct raft *r, uint64_t from)
{
    CHECK(from > r->commit);
    trace(r, TRACE_TRUNCATED, "", from, r->log.last);
    log_truncate(&r->log, from);
    durable_cut(r, from - 1);
    durable_write(r);
    r->fx->truncate_from = from;
    member_truncated(r, from);
}

/* Entries that we hold already are left alone: the message may be an old one, overtaken
 * by others. */
static void append_entries(struct raft *r, const struct raft_message *m)
{
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index <= r->commit) continue;
        if (e->index <= r->log.last) {
            if (log_term(&r->log, e->index) == e->term) continue;
            append_cut(r, e->index);
        }
        if (!raft_append_entry(r, e->term, e->type, blob_ref(e->payload))) return;
    }
}

void append_on_message(struct raft *r, const struct raft_message *m)
{
    uint64_t match = m->prev_index + m->n_entries;

    election_heard_leader(r, m->from);
    if (m->prev_index > r->commit && (m->prev_index > r->log.last ||
                                      log_term(&r->log, m->prev_index) != m->prev_term)) {
        append_refuse(r, m);
        return;
    }
    append_entries(r, m);
    if (r->failed) return;
    raft_commit_to(r, m->commit < match ? m->commit : match);
    append_accept(r, m, match > r->commit ? match : r->commit);
}
