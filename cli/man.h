/* SPDX-License-Identifier: MIT */
/*
 * man: the pieces of a manual page (man(7) macros) that both tools print from their
 * tables.
 */
#ifndef CLI_MAN_H
#define CLI_MAN_H

#include <stdio.h>

void man_begin(FILE *out, const char *name, const char *version, const char *purpose);
void man_section(FILE *out, const char *title);

/* A tagged paragraph: term in bold, an argument's name (may be NULL) in italics, then the
 * text. */
void man_item(FILE *out, const char *term, const char *arg, const char *text);

/* A paragraph; it may hold any text. */
void man_text(FILE *out, const char *text);

/* A line shown as it is typed. */
void man_example(FILE *out, const char *line);

#endif
