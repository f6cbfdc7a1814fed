/* SPDX-License-Identifier: MIT */
/*
 * flags: a command line read by the conventions of Go's flag package, on which the
 * reference's users and scripts depend (spec: server 1.1), and the texts printed from the
 * same table.
 *
 * Pure: nothing is printed, opened or remembered.
 */
#ifndef CORE_SERVER_FLAGS_H
#define CORE_SERVER_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"

enum flag_type {
    FLAG_HEADING, /* not a flag: its help heads the rows that follow */
    FLAG_BOOL,    /* bool */
    FLAG_STRING,  /* const char *, never NULL, borrowed from argv or the table */
    FLAG_INT,     /* int64_t */
    FLAG_UINT,    /* uint64_t */
    FLAG_DURATION /* int64_t, nanoseconds */
};

enum flag_state {
    FLAG_WORKS,
    FLAG_LATER,     /* refused unless it asks for what is so without it */
    FLAG_NO_EFFECT, /* accepted, and the log says that it does nothing */
    FLAG_GONE       /* refused: what it asked for no longer exists anywhere */
};

struct flag {
    const char *name;
    enum flag_type type;
    size_t offset;      /* of the field that takes the value */
    const char *preset; /* as it would be typed; "" for "", 0 and false */
    enum flag_state state;
    const char *help;
};

struct flag_table {
    const struct flag *rows;
    size_t n;
};

enum flags_end {
    FLAGS_OK,
    FLAGS_HELP,  /* -h or -help */
    FLAGS_WRONG, /* the error's one line is in the text, without a newline */
};

/* Every field of target at its preset. */
void flags_preset(struct flag_table t, void *target);

/*
 * Read argv[1..argc-1] into target.  given[i] tells whether row i was there; words that
 * are no flags go to rest (room for argc of them), wherever they stand.  Stops at the
 * first error.
 */
enum flags_end flags_parse(struct flag_table t, void *target, bool *given, int argc,
                           const char *const *argv, const char **rest, size_t *n_rest,
                           struct buf *text);

/* Is the field at its preset, or does it hold "", 0 or false? */
bool flag_is_idle(const struct flag *f, const void *target);

/* The next item of a comma list at *list, without the blanks around it; false at the end.
 */
bool flags_next_item(const char **list, const char **item, size_t *len);

/* The rows as -h lists them, by name. */
void flags_usage(struct flag_table t, struct buf *out);
/* The rows in the table's order, under its headings. */
void flags_man(struct flag_table t, struct buf *out);
void flags_markdown(struct flag_table t, struct buf *out);

/* Text as roff shows it unchanged. */
void flags_man_text(struct buf *out, const char *text);

#endif
