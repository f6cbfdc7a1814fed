/* SPDX-License-Identifier: MIT */
/* The last thousand things that happened, kept as numbers and put into words only when
 * asked for. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/raft/internal.h"

/* %1 is the peer; the two numbers follow in order. */
static const struct {
    const char *words, *a, *b;
} trace_texts[] = {
    [TRACE_STARTED] = {"started", "term", "last"},
    [TRACE_PRE_CANDIDATE] = {"asks for pre-votes", "for term", "last"},
    [TRACE_CANDIDATE] = {"campaigns", "term", "last"},
    [TRACE_LEADER] = {"leads", "term", "no-op"},
    [TRACE_FOLLOWS] = {"follows", "term", NULL},
    [TRACE_NO_LEADER] = {"knows no leader", "term", NULL},
    [TRACE_TERM] = {"moves to a newer term", "term", "was"},
    [TRACE_VOTED] = {"votes for", "term", NULL},
    [TRACE_VOTE_REFUSED] = {"refuses its vote to", "term", "its last"},
    [TRACE_LEASE_LOST] = {"has lost its quorum, steps down", "term", "heard ms ago"},
    [TRACE_REMOVED] = {"is no longer a voter, steps down", "term", "config"},
    [TRACE_APPEND_REFUSED] = {"refuses to append from", "after", "conflict"},
    [TRACE_BACKED_OFF] = {"backs off for", "next", "match"},
    [TRACE_LOG_LOST] = {"sees that a log is gone on", "match", "conflict"},
    [TRACE_TRUNCATED] = {"truncates its log", "from", "last"},
    [TRACE_RESET] = {"replaces its log by a snapshot", "index", "term"},
    [TRACE_CONFIG] = {"takes a configuration", "index", "voters"},
    [TRACE_CONFIG_REVERTED] = {"goes back to a configuration", "index", "voters"},
    [TRACE_SNAPSHOT_WANTED] = {"needs a snapshot for", "next", "first"},
    [TRACE_SNAPSHOT_OFFERED] = {"is offered a snapshot by", "index", "term"},
    [TRACE_SNAPSHOT_TAKEN] = {"has a snapshot", "index", "log from"},
    [TRACE_SNAPSHOT_INSTALLED] = {"has installed a snapshot", "index", "term"},
    [TRACE_TRANSFER] = {"hands leadership to", "term", "its match"},
    [TRACE_TIMEOUT_NOW] = {"is told to campaign by", "term", NULL},
    [TRACE_TRANSFER_ENDED] = {"no longer hands leadership to", "done", "term"},
    [TRACE_PEER_LOST] = {"has lost its connection to", "match", "next"},
    [TRACE_NONSENSE] = {"ignores a message from", "type", "term"},
    [TRACE_NO_MEMORY] = {"is out of memory", NULL, NULL},
};

void trace(struct raft *r, enum trace_what what, const char *peer, uint64_t a, uint64_t b)
{
    struct raft_trace_record *t = &r->trace[r->traced++ % RAFT_TRACE_MAX];
    size_t len = strnlen(peer, RAFT_TRACE_PEER_MAX - 1);

    *t = (struct raft_trace_record){
        .now_ms = r->now_ms, .what = (uint8_t)what, .a = a, .b = b};
    memcpy(t->peer, peer, len);
}

static void trace_print(const struct raft_trace_record *t, char out[120])
{
    const char *a = trace_texts[t->what].a, *b = trace_texts[t->what].b;
    int n = snprintf(out, 120, "%" PRIu64 " %s", t->now_ms, trace_texts[t->what].words);

    if (t->peer[0]) n += snprintf(out + n, 120 - (size_t)n, " %s", t->peer);
    if (a)
        n += snprintf(out + n, 120 - (size_t)n, "%s %s=%" PRIu64, t->peer[0] ? "," : ":",
                      a, t->a);
    if (b) snprintf(out + n, 120 - (size_t)n, " %s=%" PRIu64, b, t->b);
}

size_t raft_trace(const struct raft *r, char (*out)[120], size_t max)
{
    size_t n = r->traced < RAFT_TRACE_MAX ? (size_t)r->traced : RAFT_TRACE_MAX;

    if (n > max) n = max;
    for (size_t i = 0; i < n; i++)
        trace_print(&r->trace[(r->traced - 1 - i) % RAFT_TRACE_MAX], out[i]);
    return n;
}
