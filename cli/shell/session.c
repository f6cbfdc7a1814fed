/* SPDX-License-Identifier: MIT */
#include "cli/shell/session.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/shell/cancel.h"
#include "cli/shell/commands.h"
#include "cli/shell/json.h"
#include "cli/shell/line.h"
#include "cli/words.h"

static const char *const CONSISTENCY_NAMES[CONSISTENCY_COUNT] = {
    "none", "weak", "linearizable", "strong", "auto"};

const char *consistency_name(enum consistency c)
{
    return CONSISTENCY_NAMES[c];
}

bool consistency_find(enum consistency *out, const char *name)
{
    for (int i = 0; i < CONSISTENCY_COUNT; i++) {
        if (strcasecmp(name, CONSISTENCY_NAMES[i]) != 0) continue;
        *out = (enum consistency)i;
        return true;
    }
    return false;
}

void session_init(struct session *s, struct client *client)
{
    const char *no_colour = getenv("NO_COLOR");

    *s = (struct session){.client = client,
                          .consistency = CONSISTENCY_WEAK,
                          .mode = RENDER_COLUMN,
                          .output = stdout};
    s->colour = isatty(STDOUT_FILENO) && (!no_colour || *no_colour == '\0');
}

void session_fini(struct session *s)
{
    if (s->output && s->output != stdout) fclose(s->output);
    free(s->output_name);
}

/* --- answers
 * ---------------------------------------------------------------------------------- */

void session_fail(struct session *s, const char *fmt, ...)
{
    va_list args;

    fputs(s->colour ? "\033[31mERR!\033[0m " : "ERR! ", stdout);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

static bool send_any(struct session *s, const struct client_request *request,
                     struct client_reply *reply)
{
    struct why why;
    enum err e = client_send(s->client, request, reply, &why);

    if (!e) return true;
    if (e == ERR_CANCELLED) s->cancelled = true;
    session_fail(s, "%s", why.text);
    return false;
}

bool session_send(struct session *s, const struct client_request *request,
                  struct client_reply *reply)
{
    if (!send_any(s, request, reply)) return false;
    if (reply->status != 401) return true;
    session_fail(s, "unauthorized");
    return false;
}

void session_fail_status(struct session *s, const struct client_reply *reply)
{
    const char *body = reply->body.data ? (const char *)reply->body.data : "";
    size_t len = strlen(body);
    char words[WORDS_STATUS_MAX];

    while (len > 0 && isspace((unsigned char)body[len - 1])) len--;
    session_fail(s, "server responded with %s: %.*s", words_status(reply->status, words),
                 (int)len, body);
}

bool session_send_ok(struct session *s, const struct client_request *request,
                     struct client_reply *reply)
{
    if (!session_send(s, request, reply)) return false;
    if (reply->status == 200) return true;
    session_fail_status(s, reply);
    return false;
}

static json_t *parse_reply(struct session *s, const struct client_reply *reply)
{
    json_t *json = NULL;
    struct why why;

    if (json_read(&json, (const char *)reply->body.data, reply->body.len, &why))
        session_fail(s, "%s", why.text);
    return json;
}

json_t *session_get_json(struct session *s, const char *path)
{
    const struct client_request request = {.method = "GET", .path = path};
    struct client_reply reply;
    json_t *json = NULL;

    if (session_send_ok(s, &request, &reply)) json = parse_reply(s, &reply);
    client_reply_fini(&reply);
    return json;
}

/* --- results
 * ---------------------------------------------------------------------------------- */

static void show_table(struct session *s, const json_t *result)
{
    struct buf text;
    struct why why;

    buf_init(&text, 0);
    if (render_table(&text, s->mode, json_object_get(result, "columns"),
                     json_object_get(result, "values"), &why))
        session_fail(s, "%s", why.text);
    else if (text.len > 0)
        fwrite(text.data, 1, text.len, s->output);
    buf_fini(&text);
}

static void show_result(struct session *s, const json_t *result)
{
    const json_t *error = json_object_get(result, "error");
    double seconds = json_number_value(json_object_get(result, "time"));

    if (error) {
        fprintf(s->output, "Error: %s\n", json_string_value(error));
    } else if (json_object_get(result, "columns") || json_object_get(result, "values")) {
        show_table(s, result);
        if (s->timer) fprintf(s->output, "Run Time: %f seconds\n", seconds);
    } else {
        int64_t rows = json_integer_value(json_object_get(result, "rows_affected"));
        int64_t id = json_integer_value(json_object_get(result, "last_insert_id"));
        fprintf(s->output, "%" PRId64 " row%s affected", rows, rows > 1 ? "s" : "");
        if (s->timer) fprintf(s->output, " (%f sec)", seconds);
        fputc('\n', s->output);
        if (s->changes) fprintf(s->output, "last insert ID: %" PRId64 "\n", id);
    }
    if (fflush(s->output) != 0 && s->output != stdout) {
        char words[WORDS_ERRNO_MAX];
        session_fail(s, "write %s: %s", s->output_name, words_errno(errno, words));
        clearerr(s->output);
    }
}

static void show_reply(struct session *s, const struct client_reply *reply)
{
    json_t *json;
    const json_t *error, *results;

    if (reply->status != 200) {
        session_fail_status(s, reply);
        return;
    }
    json = parse_reply(s, reply);
    error = json_object_get(json, "error");
    results = json_object_get(json, "results");
    if (error)
        session_fail(s, "%s", json_string_value(error));
    else if (json_array_size(results) > 0)
        show_result(s, json_array_get(results, json_array_size(results) - 1));
    json_decref(json);
}

static void append_flag(struct buf *path, const char *flag)
{
    buf_append_u8(path, memchr(path->data, '?', path->len) ? '&' : '?');
    buf_append_str(path, flag);
}

void session_sql(struct session *s, const char *sql)
{
    struct buf path, body;
    struct client_request request = {.method = "POST"};
    struct client_reply reply = {0};

    buf_init(&path, 0);
    buf_init(&body, 0);
    buf_append_str(&path, s->force_writes ? "db/execute" : "db/request");
    if (s->timer) append_flag(&path, "timings");
    if (s->consistency != CONSISTENCY_WEAK) {
        append_flag(&path, "level=");
        buf_append_str(&path, consistency_name(s->consistency));
    }
    if (s->blob_array) append_flag(&path, "blob_array");
    buf_append(&path, "", 1);
    buf_append_u8(&body, '[');
    json_append_string(&body, sql, strlen(sql));
    buf_append_u8(&body, ']');

    if (buf_error(&path) || buf_error(&body)) {
        session_fail(s, "out of memory");
    } else {
        request.path = (const char *)path.data;
        request.body =
            (struct client_body){"application/json", body.data, body.len, NULL};
        if (session_send(s, &request, &reply)) show_reply(s, &reply);
        client_reply_fini(&reply);
    }
    buf_fini(&path);
    buf_fini(&body);
}

void session_query(struct session *s, const char *sql)
{
    struct buf path;
    struct client_request request = {.method = "GET"};
    struct client_reply reply = {0};

    buf_init(&path, 0);
    buf_printf(&path, "db/query?level=%s&q=", consistency_name(s->consistency));
    client_append_escaped(&path, sql);
    if (s->timer) append_flag(&path, "timings");
    if (s->blob_array) append_flag(&path, "blob_array");
    buf_append(&path, "", 1);
    if (buf_error(&path)) {
        session_fail(s, "out of memory");
    } else {
        request.path = (const char *)path.data;
        /* The reference words a 401 like any other status here. */
        if (send_any(s, &request, &reply)) show_reply(s, &reply);
        client_reply_fini(&reply);
    }
    buf_fini(&path);
}

/* --- the run
 * ---------------------------------------------------------------------------------- */

enum err session_connect(struct session *s, struct why *why)
{
    const struct client_request request = {.method = "GET", .path = "status"};
    struct client_reply reply;
    enum err e = client_send(s->client, &request, &reply, why);

    if (!e && !s->quiet)
        printf("Welcome to the rqlite CLI.\nEnter \".help\" for usage hints.\n"
               "Connected to %s://%s running version %s\n",
               client_scheme(s->client), client_host(s->client),
               *reply.version ? reply.version : "unknown");
    client_reply_fini(&reply);
    return e;
}

/* "quit" and "exit", with or without a dot and more words. */
static bool is_farewell(const char *line)
{
    size_t n;

    line += *line == '.';
    n = strcspn(line, " \t");
    return n == 4 &&
           (strncasecmp(line, "quit", 4) == 0 || strncasecmp(line, "exit", 4) == 0);
}

static void run_line(struct session *s, const char *line)
{
    s->cancelled = false;
    cancel_clear();
    if (*line == '\0') return;
    if (!commands_run(s, line)) session_sql(s, line);
    fflush(stdout);
}

enum err session_run(struct session *s, enum session_end *how, struct why *why)
{
    struct line *input;
    enum line_event event;
    const char *line;
    char prompt[300];
    bool stop = false;
    enum err e = line_open(&input, commands_words(), why);

    *how = SESSION_ENDED;
    if (e) return e;
    while (!stop) {
        snprintf(prompt, sizeof(prompt), s->quiet ? "%.0s" : "%.290s> ",
                 client_host(s->client));
        event = line_next(input, prompt, &line);
        stop = event == LINE_END || (event == LINE_READ && is_farewell(line));
        if (event == LINE_READ && !stop) run_line(s, line);
        if (ferror(stdout)) break; /* nobody is left to read */
        /* A script that Ctrl-C is pressed at is meant to end, not to go on with its next
         * line. */
        if (!line_is_terminal(input) && (event == LINE_CANCELLED || s->cancelled)) {
            *how = SESSION_INTERRUPTED;
            break;
        }
    }
    if (!s->quiet && *how == SESSION_ENDED) puts("bye~");
    line_close(input);
    return ERR_OK;
}
