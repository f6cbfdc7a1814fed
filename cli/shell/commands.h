/* SPDX-License-Identifier: MIT */
/*
 * commands: the dot commands, in one table that .help, completion and the manual page
 * share.
 */
#ifndef CLI_SHELL_COMMANDS_H
#define CLI_SHELL_COMMANDS_H

#include <stdbool.h>
#include <stdio.h>

struct session;

/* Carry out a line that begins with a command's name, in any case; false if it is none.
 */
bool commands_run(struct session *s, const char *line);

/* The names, sorted, ended by NULL.  Static. */
const char *const *commands_words(void);

/* The commands part of the manual page. */
void commands_man(FILE *out);

/* --- handlers that have files of their own; arg is trimmed, "" if there is none
 * ------------------ */

void command_backup(struct session *s, const char *arg); /* command_files.c */
void command_boot(struct session *s, const char *arg);
void command_dump(struct session *s, const char *arg);
void command_output(struct session *s, const char *arg);
void command_read(struct session *s, const char *arg);
void command_restore(struct session *s, const char *arg);
void command_sysdump(struct session *s, const char *arg);

void command_expvar(struct session *s, const char *arg); /* command_nodes.c */
void command_extensions(struct session *s, const char *arg);
void command_leader(struct session *s, const char *arg);
void command_nodes(struct session *s, const char *arg);
void command_ready(struct session *s, const char *arg);
void command_reap(struct session *s, const char *arg);
void command_remove(struct session *s, const char *arg);
void command_snapshot(struct session *s, const char *arg);
void command_status(struct session *s, const char *arg);
void command_stepdown(struct session *s, const char *arg);

#endif
