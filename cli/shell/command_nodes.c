/* SPDX-License-Identifier: MIT */
/*
 * The commands that look at nodes and tell them what to do.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/shell/commands.h"
#include "cli/shell/json.h"
#include "cli/shell/session.h"

/* --- trees
 * ------------------------------------------------------------------------------------ */

static void print_tree(struct session *s, const json_t *object)
{
    struct buf text;

    buf_init(&text, 0);
    render_tree(&text, object);
    if (buf_error(&text)) session_fail(s, "out of memory");
    if (text.len > 0) fwrite(text.data, 1, text.len, stdout);
    buf_fini(&text);
}

/* Only the member key of object, under its name. */
static void print_member(struct session *s, const char *key, json_t *value)
{
    json_t *only = json_object();

    if (value && json_object_set(only, key, value) == 0) print_tree(s, only);
    json_decref(only);
}

void command_expvar(struct session *s, const char *arg)
{
    json_t *vars = session_get_json(s, "debug/vars");

    if (*arg)
        print_member(s, arg, json_object_get(vars, arg));
    else
        print_tree(s, vars);
    json_decref(vars);
}

/* The server follows a path into its status. */
static void print_status_at(struct session *s, const char *path)
{
    struct buf url;
    json_t *part = NULL;

    buf_init(&url, 0);
    buf_append_str(&url, "status?key=");
    client_append_escaped(&url, path);
    buf_append(&url, "", 1);
    if (buf_error(&url))
        session_fail(s, "out of memory");
    else
        part = session_get_json(s, (const char *)url.data);
    if (!json_is_object(part) || json_object_size(part) > 0) print_member(s, path, part);
    json_decref(part);
    buf_fini(&url);
}

void command_status(struct session *s, const char *arg)
{
    json_t *status;

    if (strchr(arg, '.')) {
        print_status_at(s, arg);
        return;
    }
    status = session_get_json(s, "status");
    if (*arg)
        print_member(s, arg, json_object_get(status, arg));
    else
        print_tree(s, status);
    json_decref(status);
}

void command_nodes(struct session *s, const char *arg)
{
    json_t *nodes = session_get_json(s, *arg ? "nodes?nonvoters" : "nodes");

    print_tree(s, nodes);
    json_decref(nodes);
}

void command_leader(struct session *s, const char *arg)
{
    json_t *nodes = session_get_json(s, "nodes");
    json_t *node, *leader = NULL;
    const char *id;

    (void)arg;
    json_object_foreach(
        nodes, id, node) if (json_is_true(json_object_get(node, "leader"))) leader = node;
    if (leader)
        print_tree(s, leader);
    else if (nodes)
        session_fail(s, "no leader found");
    json_decref(nodes);
}

void command_extensions(struct session *s, const char *arg)
{
    json_t *extensions = session_get_json(s, "status?key=extensions");
    json_t *names = json_object_get(extensions, "names");

    (void)arg;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name) puts(name);
    }
    json_decref(extensions);
}

/* --- orders
 * ----------------------------------------------------------------------------------- */

void command_ready(struct session *s, const char *arg)
{
    const struct client_request request = {.method = "GET", .path = "readyz"};
    struct client_reply reply;

    (void)arg;
    if (session_send(s, &request, &reply))
        puts(reply.status == 200 ? "ready" : "not ready");
    client_reply_fini(&reply);
}

void command_reap(struct session *s, const char *arg)
{
    const struct client_request request = {.method = "POST", .path = "reap"};
    struct client_reply reply;
    json_t *done = NULL;
    struct why why;

    (void)arg;
    if (session_send_ok(s, &request, &reply)) {
        if (json_read(&done, (const char *)reply.body.data, reply.body.len, &why))
            session_fail(s, "%s", why.text);
        else
            printf(
                "snapshots reaped: %" PRId64 ", WALs checkpointed: %" PRId64 "\n",
                (int64_t)json_integer_value(json_object_get(done, "snapshots_reaped")),
                (int64_t)json_integer_value(json_object_get(done, "wals_checkpointed")));
    }
    json_decref(done);
    client_reply_fini(&reply);
}

void command_snapshot(struct session *s, const char *arg)
{
    struct client_request request = {.method = "POST"};
    struct client_reply reply = {0};
    char path[64];
    size_t digits = strspn(arg, "0123456789");

    if (arg[digits] != '\0' || digits > 18) {
        session_fail(s, "invalid trailing logs value: %s", arg);
        return;
    }
    snprintf(path, sizeof(path), "snapshot?trailing_logs=%s", *arg ? arg : "0");
    request.path = path;
    if (session_send(s, &request, &reply) && reply.status != 200 && reply.status != 204)
        session_fail_status(s, &reply);
    client_reply_fini(&reply);
}

/* A request whose JSON body names a node. */
static void send_id(struct session *s, const char *method, const char *path,
                    const char *id)
{
    struct client_request request = {.method = method, .path = path};
    struct client_reply reply = {0};
    struct buf body;

    buf_init(&body, 0);
    if (*id) {
        buf_append_str(&body, "{\"id\":");
        json_append_string(&body, id, strlen(id));
        buf_append_u8(&body, '}');
        request.body =
            (struct client_body){"application/json", body.data, body.len, NULL};
    }
    if (buf_error(&body))
        session_fail(s, "out of memory");
    else
        session_send_ok(s, &request, &reply);
    client_reply_fini(&reply);
    buf_fini(&body);
}

void command_remove(struct session *s, const char *arg)
{
    if (*arg)
        send_id(s, "DELETE", "remove", arg);
    else
        session_fail(s, "please specify a node ID");
}

void command_stepdown(struct session *s, const char *arg)
{
    send_id(s, "POST", "leader?wait=true", arg);
}
