/* SPDX-License-Identifier: MIT */
/*
 * One raft machine under test, with the verbs that the tests are written in.  Time stands
 * still unless a test moves it; the disk is as slow as the test wants.
 */
#ifndef TESTS_UNIT_RAFT_MACHINE_H
#define TESTS_UNIT_RAFT_MACHINE_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/raft/raft.h"

enum { HEARTBEAT_MS = 100, ELECTION_MS = 100, LEASE_MS = 60 };

struct machine {
    struct raft *r;
    struct raft_effects fx; /* of the last step */
    uint64_t now;
};

static inline struct raft_options machine_options(const char *id)
{
    return (struct raft_options){.id = id,
                                 .seed = 1,
                                 .heartbeat_ms = HEARTBEAT_MS,
                                 .election_ms = ELECTION_MS,
                                 .lease_ms = LEASE_MS,
                                 .commit_ms = 10};
}

static inline void machine_open_with(struct machine *m, const struct raft_options *o,
                                     const struct raft_restored *found)
{
    struct raft_restored none = {0};

    memset(m, 0, sizeof *m);
    m->now = 1000;
    assert_int_equal(raft_new(&m->r, o, found ? found : &none, NULL), ERR_OK);
}

static inline void machine_open(struct machine *m, const char *id)
{
    struct raft_options o = machine_options(id);

    machine_open_with(m, &o, NULL);
}

static inline void machine_close(struct machine *m)
{
    raft_free(m->r);
    m->r = NULL;
}

static inline struct raft_effects *machine_step(struct machine *m, struct raft_event *e)
{
    e->now_ms = m->now;
    raft_step(m->r, e, &m->fx);
    return &m->fx;
}

static inline struct raft_effects *machine_tick(struct machine *m, uint64_t after_ms)
{
    struct raft_event e = {.type = RAFT_TICK};

    m->now += after_ms;
    return machine_step(m, &e);
}

/* Our disk has caught up with everything asked of it. */
static inline struct raft_effects *machine_sync(struct machine *m)
{
    struct raft_event e = {.type = RAFT_SYNCED, .u.synced.ticket = m->fx.ticket};

    return machine_step(m, &e);
}

static inline struct raft_effects *machine_sync_upto(struct machine *m, uint64_t ticket)
{
    struct raft_event e = {.type = RAFT_SYNCED, .u.synced.ticket = ticket};

    return machine_step(m, &e);
}

static inline struct raft_effects *machine_propose(struct machine *m, const char *text)
{
    uint8_t type = RAFT_ENTRY_APP;
    struct blob *payload = blob_copy(text, strlen(text));
    struct raft_event e = {.type = RAFT_PROPOSE,
                           .u.propose = {.types = &type, .payloads = &payload, .n = 1}};

    return machine_step(m, &e);
}

static inline struct raft_effects *machine_read(struct machine *m, uint64_t id)
{
    struct raft_event e = {.type = RAFT_READ, .u.read.id = id};

    return machine_step(m, &e);
}

static inline struct raft_effects *machine_put(struct machine *m, const char *id,
                                               bool voter)
{
    struct raft_event e = {
        .type = RAFT_CHANGE,
        .u.change = {.op = RAFT_CHANGE_PUT, .id = id, .addr = "addr", .voter = voter}};

    return machine_step(m, &e);
}

static inline struct raft_effects *machine_remove(struct machine *m, const char *id)
{
    struct raft_event e = {.type = RAFT_CHANGE,
                           .u.change = {.op = RAFT_CHANGE_REMOVE, .id = id}};

    return machine_step(m, &e);
}

static inline struct raft_effects *machine_transfer(struct machine *m, const char *id)
{
    struct raft_event e = {.type = RAFT_TRANSFER, .u.transfer.id = id};

    return machine_step(m, &e);
}

/* "a b c/" is two voters and a non-voter. */
static inline void config_of(struct raft_config *c, const char *members)
{
    char copy[256], *rest = copy, *id;

    raft_config_init(c);
    snprintf(copy, sizeof copy, "%s", members);
    while ((id = strtok_r(rest, " ", &rest))) {
        size_t len = strlen(id);
        bool voter = id[len - 1] != '/';
        if (!voter) id[len - 1] = 0;
        assert_int_equal(raft_config_put(c, id, "addr", voter), ERR_OK);
    }
}

static inline struct raft_effects *machine_bootstrap(struct machine *m,
                                                     const char *members)
{
    struct raft_config c;
    struct raft_event e = {.type = RAFT_BOOTSTRAP, .u.bootstrap.config = &c};

    config_of(&c, members);
    machine_step(m, &e);
    raft_config_fini(&c);
    return &m->fx;
}

/* --- messages ----------------------------------------------------------------------- */

static inline struct raft_message message(enum raft_message_type type, const char *from,
                                          const char *to, uint64_t term)
{
    struct raft_message m = {.type = type, .term = term};

    snprintf(m.from, sizeof m.from, "%s", from);
    snprintf(m.to, sizeof m.to, "%s", to);
    return m;
}

static inline struct raft_effects *machine_receive(struct machine *m,
                                                   const struct raft_message *msg)
{
    struct raft_event e = {.type = RAFT_MESSAGE, .u.message = msg};

    return machine_step(m, &e);
}

static inline const struct raft_message *find_message(const struct raft_message *at,
                                                      size_t n,
                                                      enum raft_message_type type,
                                                      const char *to)
{
    for (size_t i = 0; i < n; i++)
        if (at[i].type == type && strcmp(at[i].to, to) == 0) return &at[i];
    return NULL;
}

static inline const struct raft_message *
sent_now(const struct machine *m, enum raft_message_type type, const char *to)
{
    return find_message(m->fx.send_now, m->fx.n_send_now, type, to);
}

static inline const struct raft_message *
sent_after(const struct machine *m, enum raft_message_type type, const char *to)
{
    return find_message(m->fx.send_after, m->fx.n_send_after, type, to);
}

/* An append of entries with the given terms, after (prev_index, prev_term); "" payloads.
 */
static inline struct raft_effects *
machine_append(struct machine *m, const char *from, uint64_t term, uint64_t prev_index,
               uint64_t prev_term, const uint64_t *terms, size_t n, uint64_t commit)
{
    struct raft_message msg = message(RAFT_MSG_APPEND, from, "a", term);
    struct raft_entry entries[64];

    for (size_t i = 0; i < n; i++)
        entries[i] =
            (struct raft_entry){prev_index + 1 + i, terms[i], RAFT_ENTRY_APP, NULL};
    msg.prev_index = prev_index;
    msg.prev_term = prev_term;
    msg.entries = entries;
    msg.n_entries = n;
    msg.commit = commit;
    msg.sent_ms = m->now;
    return machine_receive(m, &msg);
}

static inline struct raft_effects *machine_ack(struct machine *m, const char *from,
                                               uint64_t match)
{
    struct raft_message msg = message(RAFT_MSG_APPEND_REPLY, from, "a", raft_term(m->r));

    msg.accepted = true;
    msg.match = match;
    msg.sent_ms = m->now;
    return machine_receive(m, &msg);
}

static inline struct raft_effects *machine_vote(struct machine *m, const char *from,
                                                enum raft_message_type type,
                                                uint64_t term)
{
    struct raft_message msg = message(type, from, "a", term);

    msg.granted = true;
    return machine_receive(m, &msg);
}

/* Make m ("a" of members, "b" among the voters) leader by the ordinary way. */
static inline void machine_elect(struct machine *m, const char *const *voters, size_t n)
{
    machine_tick(m, 3 * HEARTBEAT_MS);
    assert_int_equal(raft_role(m->r), RAFT_PRE_CANDIDATE);
    for (size_t i = 0; i < n; i++)
        machine_vote(m, voters[i], RAFT_MSG_PRE_VOTE_REPLY, raft_term(m->r) + 1);
    assert_int_equal(raft_role(m->r), RAFT_CANDIDATE);
    machine_sync(m);
    for (size_t i = 0; i < n; i++)
        machine_vote(m, voters[i], RAFT_MSG_VOTE_REPLY, raft_term(m->r));
    assert_int_equal(raft_role(m->r), RAFT_LEADER);
}

#endif
