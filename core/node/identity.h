/* SPDX-License-Identifier: MIT */
/*
 * identity: which cluster this data directory belongs to, as a file.
 *
 * <data dir>/cluster-id holds a number drawn when the cluster was founded.  Nodes show it
 * to each other, so that members of different clusters refuse each other however their
 * addresses are mixed up.
 */
#ifndef CORE_NODE_IDENTITY_H
#define CORE_NODE_IDENTITY_H

#include <stdint.h>

#include "core/base/err.h"

struct io;

/* 0 in *id if there is none yet.  ERR_CORRUPT if the file is not ours. */
MUST_USE enum err cluster_id_load(struct io *io, const char *data_dir, uint64_t *id,
                                  struct why *why);

/* Durable when it returns. */
MUST_USE enum err cluster_id_save(struct io *io, const char *data_dir, uint64_t id,
                                  struct why *why);

#endif
