/* SPDX-License-Identifier: MIT */
/*
 * maintenance: VACUUM and PRAGMA optimize by themselves, every so often
 * (-auto-vacuum-int, -auto-optimize-int).
 *
 * The leader proposes them as entries, so that all nodes do the same at the same place
 * in the log.  One is due when the newest of its kind in the log is older than its
 * period, or, if there has been none, when it was first enabled so long ago; and when
 * something was written since.  Every node follows the log, and keeps both times in
 * <data dir>/maintenance, so neither a restart nor another leader begins anew.
 *
 * Owner: the node thread.
 */
#ifndef CORE_NODE_MAINTENANCE_H
#define CORE_NODE_MAINTENANCE_H

#include <stdint.h>

#include "core/base/err.h"

struct doc;
struct maintenance; /* opaque */
struct node;

/* Reads what was kept; what is switched off is forgotten.  Before the threads start, with
 * the database open.  A file that is damaged counts as none: its periods begin
 * anew. */
MUST_USE enum err maintenance_new(struct maintenance **out, struct node *n,
                                  struct why *why);
void maintenance_free(
    struct maintenance *m); /* the threads have ended; NULL is allowed */

/* Look whether something is due; call after every turn, it is quick. */
void maintenance_consider(struct maintenance *m, uint64_t now_ms);
/* When maintenance_consider() wants to be called again; UINT64_MAX = no matter. */
uint64_t maintenance_deadline_ms(const struct maintenance *m);

/* Adds "auto_vacuum" if that is enabled. */
void maintenance_status(const struct maintenance *m, struct doc *store);

#endif
