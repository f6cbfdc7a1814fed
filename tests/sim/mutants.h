/* SPDX-License-Identifier: MIT */
/*
 * Mistakes to make on purpose, by name.  Only sim-mutants can make them.
 */
#ifndef TESTS_SIM_MUTANTS_H
#define TESTS_SIM_MUTANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mutant {
    const char *name;
    int raft, node; /* enum raft_mutations, enum node_mutations */
    /* Where the search starts: a seed that once noticed it, so that the test is quick.
     * When the code or the simulation changes, another one will. */
    uint64_t hint;
};

const struct mutant *mutant_at(size_t i); /* NULL after the last */
const struct mutant *mutant_find(const char *name);
/* From now on; false in a build without mistakes.  NULL: none. */
bool mutant_use(const struct mutant *m);

#endif
