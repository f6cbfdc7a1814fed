/* SPDX-License-Identifier: MIT */
/*
 * render: results as text: the four table modes, and trees.  Shell spec 5 and 6.1.
 */
#ifndef CLI_SHELL_RENDER_H
#define CLI_SHELL_RENDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/base/buf.h"
#include "core/base/err.h"

enum render_mode { RENDER_COLUMN, RENDER_CSV, RENDER_JSON, RENDER_LINE, RENDER_MODES };

const char *render_mode_name(enum render_mode mode);
bool render_mode_find(enum render_mode *out, const char *name);

/* Append the table of one result: columns is an array of names, values an array of rows,
 * which may be NULL.  A row shorter than columns counts as filled with NULL. */
MUST_USE enum err render_table(struct buf *out, enum render_mode mode,
                               const json_t *columns, const json_t *values,
                               struct why *why);

/* Append an object as indented lines. */
void render_tree(struct buf *out, const json_t *object);

/* Append a value as it stands behind "key: ". */
void render_value(struct buf *out, const json_t *value, const char *null_text);

/* Columns of a terminal that len bytes of UTF-8 take. */
size_t render_width(const char *text, size_t len);

#endif
