/* SPDX-License-Identifier: MIT */
/*
 * serve: calls of other nodes while this one carries them out.  Internal to core/cluster;
 * see serve.c.
 */
#ifndef CORE_CLUSTER_SERVE_H
#define CORE_CLUSTER_SERVE_H

#include "core/cluster/internal.h"
#include "core/node/results.h"

enum work_kind { WORK_EXECUTE, WORK_QUERY, WORK_LOAD };

struct work {         /* from the start of a call until it is done */
    struct list link; /* WORK_LOAD: cl->loads */
    struct cluster *cluster;
    struct answer *answer;
    enum work_kind kind;
    union {
        struct call_execute execute;
        struct call_query query;
        struct call_load load; /* fd: owned */
    } u;
    struct call *call;  /* in u */
    struct arena arena; /* what u points to */
    uint64_t life_ms;   /* WORK_LOAD: when the caller was last told that it goes on */
    struct results_writer writer; /* whoever runs the statements */

    /* Guards all below: whoever runs the statements waits here for the wire. */
    pthread_mutex_t lock;
    pthread_cond_t room;
    struct mail mail;
    struct blob **pieces; /* owned, and each one reference */
    size_t n, cap;
    size_t bytes;  /* of all pieces so far */
    bool posted;   /* the mail is on its way */
    bool streams;  /* pieces are sent as they come: certainly a read */
    bool unwanted; /* nobody takes them */
    bool finished;
};

struct answer {       /* until it has been sent, and is kept no more */
    struct list link; /* cl->served */
    struct answers_entry entry;
    struct cluster *cluster;
    struct work *work;     /* owned; NULL when done */
    struct net_call *call; /* who waits for it; NULL: nobody */
    struct blob **pieces;  /* owned, and each one reference */
    size_t n, sent;
    char *text; /* owned; of a failure; may be NULL */
    enum err code;
};

/* Begin a load that came from another node: the call and the file pass to it. */
void serve_load(struct cluster *cl, struct net_call *c, int fd, uint64_t size,
                bool script);

#endif
