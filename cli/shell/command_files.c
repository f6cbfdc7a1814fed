/* SPDX-License-Identifier: MIT */
/*
 * The commands that read and write files.  Whole databases pass through: nothing here
 * holds a file in memory.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/shell/cancel.h"
#include "cli/shell/commands.h"
#include "cli/shell/json.h"
#include "cli/shell/replace.h"
#include "cli/shell/session.h"
#include "cli/shell/sqltext.h"
#include "cli/words.h"

/* Opens a file, or says why not. */
static FILE *open_file(struct session *s, const char *path, const char *mode)
{
    char words[WORDS_ERRNO_MAX];
    FILE *f = fopen(path, mode);

    if (!f) session_fail(s, "open %s: %s", path, words_errno(errno, words));
    return f;
}

/* --- downloads
 * -------------------------------------------------------------------------------- */

static void download(struct session *s, const char *request_path, const char *file_path,
                     const char *done)
{
    struct client_request request = {.method = "GET", .path = request_path};
    struct client_reply reply = {0};
    struct replace file;
    char words[WORDS_STATUS_MAX];
    struct why why;

    if (replace_open(&file, file_path, &why)) {
        session_fail(s, "%s", why.text);
        return;
    }
    request.download = file.file;
    if (!session_send(s, &request, &reply)) {
        replace_abort(&file);
    } else if (reply.status != 200) {
        session_fail(s, "server responded with: %s", words_status(reply.status, words));
        replace_abort(&file);
    } else if (replace_commit(&file, &why)) {
        session_fail(s, "%s", why.text);
    } else {
        puts(done);
    }
    client_reply_fini(&reply);
}

void command_backup(struct session *s, const char *arg)
{
    if (*arg)
        download(s, "db/backup", arg, "backup file written successfully");
    else
        session_fail(s, "please specify an output file for the backup");
}

/* "a, b" -> "a,b", escaped for a query string. */
static void append_tables(struct buf *out, const char *list)
{
    char name[1024];
    bool first = true;

    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ","), end = len;
        const char *next = p + len + (p[len] == ',');
        while (end > 0 && isspace((unsigned char)*p)) p++, end--;
        while (end > 0 && isspace((unsigned char)p[end - 1])) end--;
        if (end > 0) {
            snprintf(name, sizeof(name), "%.*s", (int)end, p);
            buf_append_str(out, first ? "&tables=" : ",");
            client_append_escaped(out, name);
            first = false;
        }
        p = next;
    }
}

void command_dump(struct session *s, const char *arg)
{
    size_t len = strcspn(arg, " \t");
    char *file = strndup(arg, len);
    struct buf path;

    buf_init(&path, 0);
    buf_append_str(&path, "db/backup?fmt=sql");
    append_tables(&path, arg + len);
    buf_append(&path, "", 1);
    if (!file || buf_error(&path))
        session_fail(s, "out of memory");
    else if (*file == '\0')
        session_fail(s, "please specify an output file for the SQL text");
    else
        download(s, (const char *)path.data, file, "SQL text file written successfully");
    buf_fini(&path);
    free(file);
}

void command_output(struct session *s, const char *arg)
{
    FILE *f = stdout;
    char *name = NULL;

    if (*arg && strcmp(arg, "stdout") != 0) {
        f = open_file(s, arg, "we");
        name = f ? strdup(arg) : NULL;
        if (f && !name) {
            session_fail(s, "out of memory");
            fclose(f);
        }
        if (!name) return;
    }
    if (s->output != stdout) fclose(s->output);
    free(s->output_name);
    s->output = f;
    s->output_name = name;
}

/* --- uploads
 * ---------------------------------------------------------------------------------- */

static bool is_sqlite(FILE *f)
{
    static const char MAGIC[] = "SQLite format";
    char head[sizeof(MAGIC) - 1];
    bool is = fread(head, 1, sizeof(head), f) == sizeof(head) &&
              memcmp(head, MAGIC, sizeof(head)) == 0;

    rewind(f);
    return is;
}

/* Opens a file to send, which must be seekable and no directory. */
static FILE *open_upload(struct session *s, const char *path)
{
    char words[WORDS_ERRNO_MAX];
    FILE *f = open_file(s, path, "re");

    if (f && (getc(f) != EOF || !ferror(f)) && fseeko(f, 0, SEEK_SET) == 0) return f;
    if (f) {
        session_fail(s, "read %s: %s", path, words_errno(errno, words));
        fclose(f);
    }
    return NULL;
}

void command_boot(struct session *s, const char *arg)
{
    struct client_request request = {
        .method = "POST", .path = "boot", .no_timeout = true};
    struct client_reply reply = {0};
    char words[WORDS_STATUS_MAX];
    json_t *status = NULL;
    FILE *f = NULL;

    if (*arg == '\0')
        session_fail(s, "please specify an input file to boot with");
    else
        f = open_upload(s, arg);
    if (!f) return;
    if (!is_sqlite(f)) {
        session_fail(s, "%s is not a valid SQLite file", arg);
    } else if ((status = session_get_json(s, "status")) != NULL) {
        request.body =
            (struct client_body){.type = "application/octet-stream", .file = f};
        if (session_send(s, &request, &reply)) {
            if (reply.status == 200)
                puts("Node booted successfully.");
            else
                session_fail(s, "boot failed, status code: %s, %.*s\n",
                             words_status(reply.status, words),
                             (int)strcspn((const char *)reply.body.data, "\r\n"),
                             (const char *)reply.body.data);
        }
    }
    json_decref(status);
    client_reply_fini(&reply);
    fclose(f);
}

/* Does the server enforce foreign keys?  v10 and ours say so in db_conf, v5 said it in
 * words. */
static bool enforces_foreign_keys(const json_t *status)
{
    const json_t *store = json_object_get(status, "store");
    const json_t *conf =
        json_object_get(json_object_get(store, "db_conf"), "fk_constraints");
    const char *words = json_string_value(
        json_object_get(json_object_get(store, "sqlite3"), "fk_constraints"));

    if (conf) return json_is_true(conf);
    return words && strcmp(words, "enabled") == 0;
}

static void show_restored(struct session *s, const struct client_reply *reply,
                          bool sqlite)
{
    json_t *json = NULL;
    const json_t *results, *result, *error;
    struct why why;

    if (json_read(&json, (const char *)reply->body.data, reply->body.len, &why)) {
        session_fail(s, "%s", why.text);
        return;
    }
    results = json_object_get(json, "results");
    result =
        json_array_get(results, json_array_size(results) - 1); /* NULL if there is none */
    error = json_object_get(result, "error");
    if (json_object_get(json, "error")) {
        session_fail(s, "%s", json_string_value(json_object_get(json, "error")));
    } else if (error) {
        printf("Error: %s\n", json_string_value(error));
    } else {
        if (!sqlite)
            printf("last inserted ID: %" PRId64 "\nrows affected: %" PRId64 "\n",
                   (int64_t)json_integer_value(json_object_get(result, "last_insert_id")),
                   (int64_t)json_integer_value(json_object_get(result, "rows_affected")));
        puts("Database restored successfully.");
    }
    json_decref(json);
}

void command_restore(struct session *s, const char *arg)
{
    struct client_request request = {
        .method = "POST", .path = "db/load", .no_timeout = true};
    struct client_reply reply = {0};
    json_t *status = NULL;
    FILE *f = NULL;

    if (*arg == '\0')
        session_fail(s, "please specify an input file to restore from");
    else
        f = open_upload(s, arg);
    if (f) status = session_get_json(s, "status");
    if (status) {
        bool sqlite = is_sqlite(f);
        /* On a line of its own, in case the file ends in a comment. */
        const char *pragma = enforces_foreign_keys(status) ? "\nPRAGMA foreign_keys=ON;"
                                                           : "\nPRAGMA foreign_keys=OFF;";
        request.body =
            (struct client_body){.type = "application/octet-stream", .file = f};
        if (!sqlite)
            request.body = (struct client_body){"text/plain", pragma, strlen(pragma), f};
        if (session_send_ok(s, &request, &reply)) show_restored(s, &reply, sqlite);
        client_reply_fini(&reply);
    }
    json_decref(status);
    if (f) fclose(f);
}

/* --- .read
 * ------------------------------------------------------------------------------------ */

struct script {
    struct session *session;
    struct buf pending; /* the statement so far */
    struct sqltext state;
};

static void script_run_pending(struct script *sc)
{
    size_t len = sc->pending.len;

    while (len > 0 && isspace(sc->pending.data[len - 1])) len--;
    buf_truncate(&sc->pending, len);
    buf_append(&sc->pending, "", 1);
    if (buf_error(&sc->pending))
        session_fail(sc->session, "out of memory");
    else if (len > 0)
        session_sql(sc->session, (const char *)sc->pending.data);
    buf_clear(&sc->pending);
    sqltext_init(&sc->state);
}

static void script_line(struct script *sc, const char *line, size_t len)
{
    enum sqltext_end state = sqltext_state(&sc->state);

    if (state == SQLTEXT_MAYBE && sqltext_starts(line, len)) script_run_pending(sc);
    /* Where a statement is not under way, or in a string. */
    if (!sc->state.inside && sqltext_ignorable(line, len)) return;
    sqltext_line(&sc->state, line, len);
    buf_append(&sc->pending, line, len);
    state = sqltext_state(&sc->state);
    if (state == SQLTEXT_DONE || state == SQLTEXT_BLANK) script_run_pending(sc);
}

void command_read(struct session *s, const char *arg)
{
    struct script script = {.session = s};
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    FILE *f = NULL;

    if (*arg == '\0')
        session_fail(s, "please specify an input file to read from");
    else
        f = open_upload(s, arg);
    if (!f) return;
    buf_init(&script.pending, 0);
    while (!s->cancelled && !cancel_wished() && (len = getline(&line, &cap, f)) >= 0)
        script_line(&script, line, (size_t)len);
    if (!s->cancelled && !cancel_wished()) script_run_pending(&script);
    if (cancel_wished()) s->cancelled = true;
    free(line);
    buf_fini(&script.pending);
    fclose(f);
}

/* --- .sysdump
 * --------------------------------------------------------------------------------- */

static void dump_url(struct session *s, FILE *out, const char *api_addr, const char *path)
{
    struct client_request request = {.method = "GET"};
    struct client_reply reply = {0};
    char url[512], words[WORDS_STATUS_MAX];
    struct why why;
    enum err e;

    snprintf(url, sizeof(url), "%s%s", api_addr, path);
    request.url = url;
    fprintf(out, "\n=========================================\nURL: %s\n", url);
    e = client_send(s->client, &request, &reply, &why);
    if (e == ERR_CANCELLED) s->cancelled = true;
    fprintf(out, "Status: %s\n\n", e ? why.text : words_status(reply.status, words));
    if (!e && reply.status == 200) fwrite(reply.body.data, 1, reply.body.len, out);
    client_reply_fini(&reply);
}

void command_sysdump(struct session *s, const char *arg)
{
    static const char *const PATHS[] = {"/status?pretty", "/nodes?pretty", "/readyz",
                                        "/debug/vars"};
    json_t *nodes = NULL, *node;
    const char *id;
    struct replace file;
    struct why why;

    if (*arg == '\0')
        session_fail(s, "please specify an output file for the sysdump");
    else
        nodes = session_get_json(s, "nodes");
    if (!nodes) return;
    if (replace_open(&file, arg, &why)) {
        session_fail(s, "%s", why.text);
        json_decref(nodes);
        return;
    }
    json_object_foreach(nodes, id, node)
    {
        const char *api_addr = json_string_value(json_object_get(node, "api_addr"));
        for (size_t i = 0; api_addr && *api_addr && i < sizeof(PATHS) / sizeof(PATHS[0]);
             i++)
            if (!s->cancelled) dump_url(s, file.file, api_addr, PATHS[i]);
    }
    if (s->cancelled)
        replace_abort(&file);
    else if (replace_commit(&file, &why))
        session_fail(s, "%s", why.text);
    json_decref(nodes);
}
