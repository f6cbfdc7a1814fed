/* SPDX-License-Identifier: MIT */
/*
 * backend: everything the gateway can ask of the database.
 *
 * One backend is the node in this process; a fake one stands behind the handlers in
 * tests; one over the wire makes a stateless gateway possible.  Each function starts a
 * call and returns at once; the answer is call->done(), on any thread, possibly before
 * the function returns.  Any gateway thread may call.
 */
#ifndef GATEWAY_BACKEND_H
#define GATEWAY_BACKEND_H

#include "core/node/call.h"

struct backend;

struct backend_ops {
    void (*execute)(struct backend *b, struct call_execute *c);
    void (*query)(struct backend *b, struct call_query *c); /* /db/query */
    void (*request)(struct backend *b,
                    struct call_query *c); /* /db/request: reads or writes */
    void (*analyze)(struct backend *b, struct call_analyze *c);
    void (*load)(struct backend *b, struct call_load *c);
    void (*boot)(struct backend *b, struct call_boot *c);
    void (*backup)(struct backend *b, struct call_backup *c);
    void (*nodes)(struct backend *b, struct call_nodes *c); /* also the leader alone */
    void (*ready)(struct backend *b, struct call_ready *c);
    void (*remove)(struct backend *b, struct call_remove *c);
    void (*step_down)(struct backend *b, struct call_step_down *c);
    void (*snapshot)(struct backend *b, struct call_snapshot *c);
    void (*reap)(struct backend *b, struct call_reap *c);
    void (*status)(struct backend *b, struct call_status *c);
    void (*join)(struct backend *b, struct call_join *c);

    /* Must a request with this SQL text be refused as a whole?  Pure. */
    bool (*disallowed)(struct backend *b, const char *sql, size_t len);
    /* Is a leader known right now (queued writes ask before they are taken)?  Does not
     * block. */
    bool (*has_leader)(struct backend *b);
};

struct backend {
    const struct backend_ops *ops;
};

#endif
