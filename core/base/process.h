/* SPDX-License-Identifier: MIT */
/*
 * process: what the kernel says about this process.
 */
#ifndef CORE_BASE_PROCESS_H
#define CORE_BASE_PROCESS_H

#include <stdint.h>

struct process_figures { /* zero where the kernel does not say */
    uint64_t resident_bytes, virtual_bytes;
    double cpu_seconds;
    uint64_t open_fds, max_fds, threads;
    double start_seconds; /* since 1970 */
};

/* Reads /proc; some system calls.  Any thread. */
void process_figures(struct process_figures *out);

/* Allow this process as many open files as the system lets it have: the soft limit is
 * there for programs that use select().  Where that is refused, it stays as it is. */
void process_allow_files(void);

#endif
