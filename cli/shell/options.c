/* SPDX-License-Identifier: MIT */
#include "cli/shell/options.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cli/man.h"
#include "core/base/text.h"

enum option_type { OPTION_BOOL, OPTION_PORT, OPTION_SECONDS, OPTION_STRING };

static const struct option {
    char letter; /* 0 = none */
    enum option_type type;
    const char *name;
    size_t offset; /* of its field in struct options */
    const char *initial;
    const char *arg; /* its name in the manual page */
    const char *help;
} OPTIONS[] = {
#define FIELD(f) offsetof(struct options, f)
    {'h', OPTION_BOOL, "help", FIELD(help), NULL, NULL, "display help information"},
    {'a', OPTION_STRING, "alternatives", FIELD(alternatives), "", "host:port,...",
     "comma separated list of 'host:port' pairs to use as fallback"},
    {'s', OPTION_STRING, "scheme", FIELD(scheme), "http", "scheme",
     "protocol scheme (http or https)"},
    {'H', OPTION_STRING, "host", FIELD(host), "127.0.0.1", "host",
     "rqlited host address"},
    {'p', OPTION_PORT, "port", FIELD(port), "4001", "port", "rqlited host port"},
    {'P', OPTION_STRING, "prefix", FIELD(prefix), "/", "prefix",
     "rqlited HTTP URL prefix"},
    {'i', OPTION_BOOL, "insecure", FIELD(insecure), "false", NULL,
     "do not verify rqlited HTTPS certificate"},
    {'c', OPTION_STRING, "ca-cert", FIELD(ca_cert), "", "file",
     "path to trusted X.509 root CA certificate"},
    {'d', OPTION_STRING, "client-cert", FIELD(client_cert), "", "file",
     "path to client X.509 certificate for mutual TLS"},
    {'k', OPTION_STRING, "client-key", FIELD(client_key), "", "file",
     "path to client X.509 key for mutual TLS"},
    {'u', OPTION_STRING, "user", FIELD(user), "", "username:password",
     "set basic auth credentials in form username:password"},
    {'v', OPTION_BOOL, "version", FIELD(version), NULL, NULL, "display CLI version"},
    {'t', OPTION_SECONDS, "http-timeout", FIELD(http_timeout_ns), "30s", "duration",
     "set timeout on HTTP requests"},
    {'q', OPTION_BOOL, "quiet", FIELD(quiet), NULL, NULL,
     "print neither welcome nor prompts, for scripts"},
    {0, OPTION_BOOL, "man", FIELD(man), NULL, NULL, "print the manual page"},
#undef FIELD
};
enum { OPTION_COUNT = sizeof(OPTIONS) / sizeof(OPTIONS[0]) };

static const struct option *find_letter(char letter)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (letter && OPTIONS[i].letter == letter) return &OPTIONS[i];
    return NULL;
}

static const struct option *find_name(const char *name, size_t len)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strlen(OPTIONS[i].name) == len && memcmp(OPTIONS[i].name, name, len) == 0)
            return &OPTIONS[i];
    return NULL;
}

/* --- values
 * ----------------------------------------------------------------------------------- */

static bool parse_bool(const char *s, bool *out)
{
    *out = strcmp(s, "true") == 0;
    return *out || strcmp(s, "false") == 0;
}

static bool parse_port(const char *s, int64_t *out)
{
    int64_t port = 0;

    if (*s == '\0') return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return false;
        port = port * 10 + (*s - '0');
        if (port > 65535) return false;
    }
    *out = port;
    return true;
}

/* A duration, or a bare number of seconds. */
static bool parse_seconds(const char *s, int64_t *ns)
{
    char with_unit[64];
    int64_t parsed;
    bool ok = text_parse_duration(s, strlen(s), &parsed);

    if (!ok && strlen(s) < sizeof(with_unit) - 1) {
        int n = snprintf(with_unit, sizeof(with_unit), "%ss", s);
        ok = text_parse_duration(with_unit, (size_t)n, &parsed);
    }
    if (ok && parsed >= 0) *ns = parsed;
    return ok && parsed >= 0;
}

static enum err option_set(struct options *o, const struct option *option,
                           const char *value, struct why *why)
{
    void *field = (char *)o + option->offset;

    switch (option->type) {
    case OPTION_STRING: memcpy(field, &value, sizeof(value)); return ERR_OK;
    case OPTION_BOOL:
        if (parse_bool(value, field)) return ERR_OK;
        return why_set(why, ERR_INVALID, "`%s' couldn't converted to a bool", value);
    case OPTION_PORT:
        if (parse_port(value, field)) return ERR_OK;
        return why_set(why, ERR_INVALID, "`%s' couldn't converted to an uint", value);
    case OPTION_SECONDS:
        if (parse_seconds(value, field)) return ERR_OK;
        return why_set(why, ERR_INVALID, "`%s' couldn't converted to a duration", value);
    }
    return ERR_OK;
}

/* --- words
 * ------------------------------------------------------------------------------------ */

struct words {
    int n, at; /* argv[at] is the word being read */
    char **argv;
    bool addressed; /* -H, -p or -s was there */
};

/* The option stands alone in argv[at], so its value, if any, is the next word. */
static enum err set_from_next(struct options *o, struct words *w,
                              const struct option *option, struct why *why)
{
    const char *next = w->at + 1 < w->n ? w->argv[w->at + 1] : NULL;
    bool ignored;

    if (option->type == OPTION_BOOL && (!next || !parse_bool(next, &ignored)))
        next = "true";
    else if (next)
        w->at++;
    if (!next)
        return why_set(why, ERR_INVALID, "option %s needs an argument", w->argv[w->at]);
    return option_set(o, option, next, why);
}

/* "-iq": letters that all are booleans. */
static enum err set_folded(struct options *o, const char *letters, struct why *why)
{
    enum err e = ERR_OK;

    for (const char *p = letters; *p && !e; p++) {
        const struct option *option = find_letter(*p);
        if (!option)
            e = why_set(why, ERR_INVALID, "undefined option -%c", *p);
        else if (option->type != OPTION_BOOL)
            e = why_set(why, ERR_INVALID,
                        "each fold option should be boolean, but -%c not", *p);
        else
            e = option_set(o, option, "true", why);
    }
    return e;
}

static enum err parse_word(struct options *o, struct words *w, struct why *why)
{
    const char *word = w->argv[w->at];
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    size_t len = is_long ? strcspn(name, "=") : 1;
    const struct option *option = is_long ? find_name(name, len) : find_letter(*name);

    if (!option)
        return why_set(why, ERR_INVALID, "undefined option %.*s",
                       (int)(name + len - word), word);
    if (strchr("Hps", option->letter) && option->letter) w->addressed = true;
    if (name[len] == '\0') return set_from_next(o, w, option, why);
    if (name[len] == '=') return option_set(o, option, name + len + 1, why);
    if (option->type == OPTION_BOOL) return set_folded(o, name, why);
    return option_set(o, option, name + len, why); /* -p4001 */
}

/* --- RQLITE_HOST
 * ------------------------------------------------------------------------------ */

/* "[http:|https:]//host[:port]", and ours: "host", "host:port".  What is missing is left.
 */
static enum err set_from_env(struct options *o, const char *value, struct why *why)
{
    const char *slashes = strstr(value, "//");
    const char *host = slashes ? slashes + 2 : value;
    size_t scheme_len = slashes ? (size_t)(slashes - value) : 0;
    const char *end = host + strcspn(host, "/?#");
    const char *at = memrchr(host, '@', (size_t)(end - host));
    const char *bracket, *colon;
    char port[8];

    if (scheme_len > 0 && value[scheme_len - 1] == ':') scheme_len--;
    if (scheme_len == 5 && memcmp(value, "https", 5) == 0)
        o->scheme = "https";
    else if (scheme_len != 0 && !(scheme_len == 4 && memcmp(value, "http", 4) == 0))
        return why_set(why, ERR_INVALID, "unsupported protocol %.*s", (int)scheme_len,
                       value);

    if (at) host = at + 1;
    bracket = memrchr(host, ']', (size_t)(end - host));
    colon =
        memchr(bracket ? bracket : host, ':', (size_t)(end - (bracket ? bracket : host)));
    if (colon && colon + 1 < end) {
        snprintf(port, sizeof(port), "%.*s", (int)(end - colon - 1), colon + 1);
        if (!parse_port(port, &o->port))
            return why_set(why, ERR_INVALID, "invalid port in RQLITE_HOST: %s", value);
    }
    if (colon) end = colon;
    if (bracket && *host == '[') host++, end = bracket;
    if (end == host)
        return why_set(why, ERR_INVALID, "RQLITE_HOST does not contain a hostname");
    if ((size_t)(end - host) >= sizeof(o->env_host))
        return why_set(why, ERR_INVALID, "RQLITE_HOST is too long");
    memcpy(o->env_host, host, (size_t)(end - host));
    o->env_host[end - host] = '\0';
    o->host = o->env_host;
    return ERR_OK;
}

enum err options_parse(struct options *o, int argc, char **argv, const char *rqlite_host,
                       struct why *why)
{
    struct words w = {.n = argc, .argv = argv};
    enum err e = ERR_OK;

    memset(o, 0, sizeof(*o));
    for (size_t i = 0; i < OPTION_COUNT && !e; i++)
        if (OPTIONS[i].initial) e = option_set(o, &OPTIONS[i], OPTIONS[i].initial, why);
    for (w.at = 1; w.at < argc && !e; w.at++)
        if (argv[w.at][0] == '-' && argv[w.at][1] != '\0') e = parse_word(o, &w, why);
    if (!e && strcmp(o->scheme, "http") != 0 && strcmp(o->scheme, "https") != 0)
        e = why_set(why, ERR_INVALID, "unsupported protocol %s", o->scheme);
    if (!e && !w.addressed && rqlite_host && *rqlite_host)
        e = set_from_env(o, rqlite_host, why);
    return e;
}

/* --- printed from the table
 * ------------------------------------------------------------------- */

void options_help(FILE *out)
{
    fputs("Options:\n", out);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &OPTIONS[i];
        if (option->letter)
            fprintf(out, "\n  -%c, --%s", option->letter, option->name);
        else
            fprintf(out, "\n      --%s", option->name);
        if (option->initial && *option->initial) fprintf(out, "[=%s]", option->initial);
        fprintf(out, "\n      %s\n", option->help);
    }
}

void options_man(FILE *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &OPTIONS[i];
        char letter[] = {'-', option->letter, ',', ' ', '\0'};
        char term[40], text[160];
        snprintf(term, sizeof(term), "%s--%s", option->letter ? letter : "",
                 option->name);
        snprintf(text, sizeof(text), "%s", option->help);
        if (option->initial && *option->initial)
            snprintf(text, sizeof(text), "%s (default %s)", option->help,
                     option->initial);
        man_item(out, term, option->arg, text);
    }
}
