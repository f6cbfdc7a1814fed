/* SPDX-License-Identifier: MIT */
/*
 * sqltext: does a statement that was read line by line go on in the next line?  Pure.
 *
 * A script may end its statements with ';' or, as the reference's shell wants it, hold
 * one statement per line without.  The scan knows strings, quoted names, comments,
 * parentheses, CASE and CREATE TRIGGER ... END; for a line that is complete as it stands
 * but has no ';' the first word of the next line decides (so that "DELETE FROM foo" is
 * never sent without its "WHERE id=1").
 */
#ifndef CLI_SHELL_SQLTEXT_H
#define CLI_SHELL_SQLTEXT_H

#include <stdbool.h>
#include <stddef.h>

enum sqltext_end {
    SQLTEXT_BLANK, /* nothing but white space and comments since the last ';' or the start
                    */
    SQLTEXT_OPEN,  /* the statement must go on */
    SQLTEXT_MAYBE, /* it may end here: see sqltext_starts() */
    SQLTEXT_DONE   /* it was ended by ';' */
};

struct sqltext {
    char inside; /* the closing quote of an open string or name, or '*' in a comment */
    int depth;   /* open parentheses */
    int cases;   /* CASE without END */
    int words;   /* keywords and names of the statement so far */
    bool needs_body;  /* INSERT without VALUES or SELECT, WITH or ALTER TABLE without a
                         verb */
    bool needs_next;  /* the last token can't be a statement's last */
    bool create;      /* the first word is CREATE */
    bool trigger;     /* in CREATE TRIGGER: ';' does not end it ... */
    bool trigger_end; /* ... unless it follows END, which must follow another ';' */
    bool after_semicolon;
    enum sqltext_end end;
};

void sqltext_init(struct sqltext *s); /* at the start of a statement */

/* Take the next line, with its newline if it has one. */
void sqltext_line(struct sqltext *s, const char *line, size_t len);

enum sqltext_end sqltext_state(const struct sqltext *s);

/* Does the line begin with a word that begins statements? */
bool sqltext_starts(const char *line, size_t len);

/* Nothing but white space, or a comment of the form "-- ..." */
bool sqltext_ignorable(const char *line, size_t len);

#endif
