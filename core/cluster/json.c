/* SPDX-License-Identifier: MIT */
#include "core/cluster/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static enum err load(json_t **out, const void *data, size_t len, struct why *why)
{
    json_error_t error;

    *out = json_loadb(data, len, JSON_REJECT_DUPLICATES, &error);
    if (*out) return ERR_OK;
    return why_set(why, ERR_INVALID, "invalid JSON: %s (line %d)", error.text,
                   error.line);
}

/* --- peers.json ------------------------------------------------------------------- */

static enum err read_peer(struct raft_member *m, json_t *item, struct why *why)
{
    json_t *id = json_object_get(item, "id"), *addr = json_object_get(item, "address");
    json_t *non_voter = json_object_get(item, "non_voter");

    memset(m, 0, sizeof *m);
    if (!json_is_object(item))
        return why_set(why, ERR_INVALID, "a member is no JSON object");
    if ((id && !json_is_string(id)) || (addr && !json_is_string(addr)))
        return why_set(why, ERR_INVALID, "id and address of a member must be strings");
    if (non_voter && !json_is_boolean(non_voter) && !json_is_null(non_voter))
        return why_set(why, ERR_INVALID, "non_voter of a member must be true or false");
    if (id && json_string_length(id) > RAFT_ID_MAX)
        return why_set(why, ERR_INVALID, "id of a member is longer than %d bytes",
                       RAFT_ID_MAX);
    if (addr && json_string_length(addr) > RAFT_ADDR_MAX)
        return why_set(why, ERR_INVALID, "address of a member is longer than %d bytes",
                       RAFT_ADDR_MAX);
    if (id) snprintf(m->id, sizeof m->id, "%s", json_string_value(id));
    if (addr) snprintf(m->addr, sizeof m->addr, "%s", json_string_value(addr));
    m->voter = !json_is_true(non_voter);
    return ERR_OK;
}

enum err json_read_peers(struct raft_config *c, const void *data, size_t len,
                         struct why *why)
{
    json_t *root;
    enum err e;

    raft_config_init(c);
    e = load(&root, data, len, why);
    if (e) return e;
    if (!json_is_array(root))
        e = why_set(why, ERR_INVALID, "not a JSON array of members");
    else if (json_array_size(root) > RAFT_MEMBERS_MAX)
        e = why_set(why, ERR_INVALID, "more than %d members", RAFT_MEMBERS_MAX);
    if (!e && json_array_size(root) > 0) {
        c->members = calloc(json_array_size(root), sizeof *c->members);
        if (c->members == NULL) e = why_set(why, ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; !e && i < json_array_size(root); i++) {
        e = read_peer(&c->members[i], json_array_get(root, i), why);
        c->n = i + 1;
    }
    json_decref(root);
    if (e) raft_config_fini(c);
    return e;
}

/* --- what other nodes say --------------------------------------------------------- */

static bool take_addr(char *addr, size_t cap, json_t *value)
{
    if (!json_is_string(value) || json_string_length(value) == 0) return false;
    return (size_t)snprintf(addr, cap, "%s", json_string_value(value)) < cap;
}

enum err json_read_nodes(char *addr, size_t cap, const void *data, size_t len,
                         struct why *why)
{
    json_t *root, *nodes, *node;
    bool found = false;
    size_t i;
    enum err e = load(&root, data, len, why);

    if (e) return e;
    nodes = json_object_get(root, "nodes");
    if (!json_is_array(nodes)) {
        json_decref(root);
        return why_set(why, ERR_INVALID, "no list of nodes in the answer");
    }
    json_array_foreach(nodes, i, node)
    {
        bool leader = json_is_true(json_object_get(node, "leader"));
        bool usable = json_is_true(json_object_get(node, "reachable")) &&
                      json_is_true(json_object_get(node, "voter"));

        if (!leader && (found || !usable)) continue;
        found |= take_addr(addr, cap, json_object_get(node, "addr"));
        if (leader && found) break;
    }
    json_decref(root);
    return found ? ERR_OK : why_set(why, ERR_NOT_FOUND, "no leader");
}

enum err json_read_own_addr(char *addr, size_t cap, const void *data, size_t len,
                            struct why *why)
{
    json_t *root;
    bool found;
    enum err e = load(&root, data, len, why);

    if (e) return e;
    found = take_addr(addr, cap, json_object_get(json_object_get(root, "store"), "addr"));
    json_decref(root);
    return found ? ERR_OK : why_set(why, ERR_NOT_FOUND, "its store is not open");
}

char *json_join_body(const char *id, const char *addr, bool voter)
{
    json_t *o = json_pack("{s:s,s:s,s:b}", "id", id, "addr", addr, "voter", voter);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

    json_decref(o);
    return text;
}
