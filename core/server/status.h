/* SPDX-License-Identifier: MIT */
/* status: the sections of /status that are about the process and the machine (HTTP
 * API 12.1). */
#ifndef CORE_SERVER_STATUS_H
#define CORE_SERVER_STATUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct doc;
struct extensions;
struct options;

/* What they are about; nothing changes once open is set. */
struct status_source {
    const struct options *opt;
    const struct extensions *extensions;
    const char *raft_bound; /* where the Raft port really is */
    uint64_t started_wall_ns, started_mono_ns;
    atomic_bool open; /* the node is; some sections are there only then */
};

void status_init(struct status_source *s);

/* source: a struct status_source.  Any thread. */
void status_add(void *source, struct doc *root);

#endif
