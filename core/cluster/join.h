/* SPDX-License-Identifier: MIT */
/*
 * join: how this node becomes a member through others (cluster.md 2.2, 2.3).
 *
 * Threads: the one that starts the node; it waits.
 */
#ifndef CORE_CLUSTER_JOIN_H
#define CORE_CLUSTER_JOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/cluster/address.h"
#include "core/cluster/ask.h"

struct logger;

struct join_options {
    const struct address *targets; /* in the order in which to ask; borrowed */
    size_t n;
    const char *id, *raft_addr; /* this node's */
    bool voter;
    unsigned attempts;    /* rounds over the targets */
    uint64_t interval_ns; /* between rounds */
    struct asker asker;
    bool encrypted;        /* Raft ports are: passwords never go in clear text instead */
    bool http_no_verify;   /* don't check https:// certificates */
    const char *ca_file;   /* that they must be signed by; NULL = the system's */
    const char *source_ip; /* of HTTP requests; NULL = any */
    struct logger *logger; /* may be NULL */
};

/* Rounds until one succeeds.  ERR_CANCELLED; ERR_UNREACHABLE when they are used up, after
 * which the log has the reasons. */
MUST_USE enum err join_cluster(const struct join_options *o, struct why *why);

/* One round: the first target that lets us in.  via gets its address. */
MUST_USE enum err join_round(const struct join_options *o, char via[ADDRESS_URL_MAX],
                             struct why *why);

/* The Raft address to ask for a target: its own, or what it says over HTTP.  The last one
 * is found by join_round() as well. */
MUST_USE enum err join_raft_address(const struct join_options *o, const struct address *t,
                                    char out[ASK_ADDR_MAX], struct why *why);

/* "[A B]", as long as it fits. */
void join_list(const struct join_options *o, char *out, size_t cap);

/* Wait; false if cancel_fd became readable. */
bool join_pause(const struct asker *a, uint64_t ms);

#endif
