/* SPDX-License-Identifier: MIT */
/*
 * session: one run of the shell: its settings, and how SQL lines and answers are shown.
 */
#ifndef CLI_SHELL_SESSION_H
#define CLI_SHELL_SESSION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "cli/shell/client.h"
#include "cli/shell/render.h"

enum consistency {
    CONSISTENCY_NONE,
    CONSISTENCY_WEAK,
    CONSISTENCY_LINEARIZABLE,
    CONSISTENCY_STRONG,
    CONSISTENCY_AUTO,
    CONSISTENCY_COUNT
};

struct session {
    struct client *client; /* borrowed */
    bool changes, blob_array, force_writes, timer;
    enum consistency consistency;
    enum render_mode mode;
    FILE *output;      /* where results go; owned unless it is stdout */
    char *output_name; /* owned; NULL = stdout */
    bool colour;
    bool quiet;
    bool cancelled; /* the last command was ended by Ctrl-C */
};

const char *consistency_name(enum consistency c);
bool consistency_find(enum consistency *out, const char *name);

void session_init(struct session *s, struct client *client);
void session_fini(struct session *s);

/* Reach a host and say so. */
MUST_USE enum err session_connect(struct session *s, struct why *why);

enum session_end { SESSION_ENDED, SESSION_INTERRUPTED };

/* Read and carry out commands until the end of input or of patience. */
MUST_USE enum err session_run(struct session *s, enum session_end *how, struct why *why);

/* --- for commands
 * ------------------------------------------------------------------------------ */

/* Print "ERR! ..." to stdout. */
void session_fail(struct session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "ERR! server responded with 503 Service Unavailable: ..." and the body. */
void session_fail_status(struct session *s, const struct client_reply *reply);

/* Send; an error of transport and 401 are reported here and give false.  The caller ends
 * *reply in any case. */
bool session_send(struct session *s, const struct client_request *request,
                  struct client_reply *reply);

/* As session_send(), and any status but 200 is reported, too, with the body. */
bool session_send_ok(struct session *s, const struct client_request *request,
                     struct client_reply *reply);

/* GET path and parse the answer, which the caller ends; NULL when that failed and was
 * reported. */
json_t *session_get_json(struct session *s, const char *path);

/* Run a statement and show the outcome. */
void session_sql(struct session *s, const char *sql);

/* Ask db/query, as the commands do that show tables. */
void session_query(struct session *s, const char *sql);

#endif
