/* SPDX-License-Identifier: MIT */
#include "cli/bench_options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cli/man.h"
#include "core/base/text.h"
#include "version.h"

enum flag_type { FLAG_BOOL, FLAG_INT, FLAG_DURATION, FLAG_STRING };

static const struct flag {
    const char *name;
    enum flag_type type;
    size_t offset; /* of its field in struct bench_options */
    const char *initial;
    const char *help;
} FLAGS[] = {
#define FIELD(f) offsetof(struct bench_options, f)
    {"a", FLAG_STRING, FIELD(addr), "localhost:4001", "Node address"},
    {"b", FLAG_INT, FIELD(batch), "1", "Statements per request"},
    {"c", FLAG_INT, FIELD(conns), "1", "Concurrent connections"},
    {"d", FLAG_DURATION, FIELD(duration_ns), "0s",
     "Time to run for, instead of a number of requests"},
    {"h", FLAG_BOOL, FIELD(help), NULL, "Show this text"},
    {"help", FLAG_BOOL, FIELD(help), NULL, NULL},
    {"l", FLAG_BOOL, FIELD(latency), NULL, "Print latency percentiles"},
    {"m", FLAG_INT, FIELD(progress), "0", "Print progress every this many requests"},
    {"man", FLAG_BOOL, FIELD(man), NULL, "Print the manual page"},
    {"n", FLAG_INT, FIELD(requests), "100", "Number of requests"},
    {"o", FLAG_STRING, FIELD(once), "", "One-shot statement to execute first"},
    {"p", FLAG_STRING, FIELD(path), "/db/execute", "Endpoint to use"},
    {"q", FLAG_BOOL, FIELD(queued), NULL, "Use queued writes"},
    {"s", FLAG_BOOL, FIELD(tls), NULL, "Use https"},
    {"t", FLAG_STRING, FIELD(transport), "http", "Transport to use"},
    {"u", FLAG_STRING, FIELD(user), "", "Credentials, in the form username:password"},
    {"x", FLAG_BOOL, FIELD(transaction), NULL, "Use a transaction for each request"},
#undef FIELD
};
enum { FLAG_COUNT = sizeof(FLAGS) / sizeof(FLAGS[0]) };

static const struct flag *flag_find(const char *name, size_t len)
{
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (strlen(FLAGS[i].name) == len && memcmp(FLAGS[i].name, name, len) == 0)
            return &FLAGS[i];
    return NULL;
}

static bool parse_bool(const char *s, bool *out)
{
    static const char *const YES[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const NO[] = {"0", "f", "F", "false", "FALSE", "False"};

    for (size_t i = 0; i < sizeof(YES) / sizeof(YES[0]); i++) {
        *out = strcmp(s, YES[i]) == 0;
        if (*out || strcmp(s, NO[i]) == 0) return true;
    }
    return false;
}

/* Decimal, 0x, 0o or leading 0, 0b; an underscore may stand between two digits. */
static bool parse_int(const char *s, int64_t *out, bool *too_big)
{
    char digits[72];
    size_t n = 0;
    const char *p = s;
    char *end;
    int base = 10;

    *too_big = false;
    if (*p == '-' || *p == '+') digits[n++] = *p++;
    if (p[0] == '0' && p[1] != '\0') {
        base = 8;
        if (p[1] == 'x' || p[1] == 'X') base = 16;
        if (p[1] == 'b' || p[1] == 'B') base = 2;
        p += p[1] == 'x' || p[1] == 'X' || p[1] == 'b' || p[1] == 'B' || p[1] == 'o' ||
                     p[1] == 'O'
                 ? 2
                 : 1;
        if (*p == '_') p++;
    }
    for (; *p; p++) {
        if (*p == '_' && n > 0 && digits[n - 1] != '_' && p[1] != '\0' && p[1] != '_')
            continue;
        if (n == sizeof(digits) - 1 || *p == '-' || *p == '+' || *p == ' ') return false;
        digits[n++] = *p;
    }
    digits[n] = '\0';
    errno = 0;
    *out = strtoll(digits, &end, base);
    *too_big = errno == ERANGE;
    return n > 0 && end != digits && *end == '\0' && !*too_big;
}

static enum err flag_set(struct bench_options *o, const struct flag *f, const char *value,
                         struct why *why)
{
    void *field = (char *)o + f->offset;
    bool too_big = false;

    switch (f->type) {
    case FLAG_BOOL:
        if (parse_bool(value, field)) return ERR_OK;
        return why_set(why, ERR_INVALID,
                       "invalid boolean value \"%s\" for -%s: parse error", value,
                       f->name);
    case FLAG_STRING: memcpy(field, &value, sizeof(value)); return ERR_OK;
    case FLAG_INT:
        if (parse_int(value, field, &too_big)) return ERR_OK;
        break;
    case FLAG_DURATION:
        if (text_parse_duration(value, strlen(value), field)) return ERR_OK;
        break;
    }
    return why_set(why, ERR_INVALID, "invalid value \"%s\" for flag -%s: %s", value,
                   f->name, too_big ? "value out of range" : "parse error");
}

/* One flag at argv[*i], and its value's word if it takes one; *i is left on the last one
 * used. */
static enum err parse_flag(struct bench_options *o, int argc, char **argv, int *i,
                           struct why *why)
{
    const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    const struct flag *f =
        flag_find(name, equals ? (size_t)(equals - name) : strlen(name));

    if (*name == '-' || *name == '=')
        return why_set(why, ERR_INVALID, "bad flag syntax: %s", argv[*i]);
    if (!f)
        return why_set(why, ERR_INVALID, "flag provided but not defined: -%.*s",
                       equals ? (int)(equals - name) : (int)strlen(name), name);
    if (equals) return flag_set(o, f, equals + 1, why);
    if (f->type == FLAG_BOOL) return flag_set(o, f, "true", why);
    if (++*i == argc)
        return why_set(why, ERR_INVALID, "flag needs an argument: -%s", f->name);
    return flag_set(o, f, argv[*i], why);
}

static enum err check(const struct bench_options *o, struct why *why)
{
    if (strcmp(o->transport, "http") != 0)
        return why_set(why, ERR_INVALID, "not a valid transport: %s", o->transport);
    if (o->batch < 1 || o->requests < 0 || o->progress < 0 || o->duration_ns < 0)
        return why_set(why, ERR_INVALID,
                       "-b must be at least 1; -n, -m and -d not negative");
    if (o->conns < 1 || o->conns > 10000)
        return why_set(why, ERR_INVALID, "-c must be between 1 and 10000");
    return ERR_OK;
}

enum err bench_options_parse(struct bench_options *o, int argc, char **argv,
                             struct why *why)
{
    bool only_words = false;
    enum err e = ERR_OK;

    memset(o, 0, sizeof(*o));
    for (size_t i = 0; i < FLAG_COUNT && !e; i++)
        if (FLAGS[i].initial) e = flag_set(o, &FLAGS[i], FLAGS[i].initial, why);

    for (int i = 1; i < argc && !e; i++) {
        if (only_words || argv[i][0] != '-' || argv[i][1] == '\0') {
            /* "-s https" reads so naturally that it is allowed: no statement looks like
             * this. */
            if (i > 1 && strcmp(argv[i], "https") == 0 && strcmp(argv[i - 1], "-s") == 0)
                continue;
            if (!o->statement) o->statement = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else {
            e = parse_flag(o, argc, argv, &i, why);
            if (o->help) return e;
        }
    }
    return e || o->man ? e : check(o, why);
}

static const char *flag_argument(enum flag_type type)
{
    switch (type) {
    case FLAG_BOOL: return "";
    case FLAG_INT: return "int";
    case FLAG_DURATION: return "duration";
    case FLAG_STRING: return "string";
    }
    return "";
}

/* A value worth showing as the default: not false, zero or empty. */
static bool shows_initial(const struct flag *f)
{
    return f->initial && *f->initial && *f->initial != '0';
}

void bench_options_usage(FILE *out)
{
    fputs("\nrqbench is a simple load testing utility for rqlite.\n\n"
          "Usage: rqbench [arguments] <SQL statement>\n",
          out);
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        const struct flag *f = &FLAGS[i];
        if (!f->help) continue;
        fprintf(out, "  -%s", f->name);
        if (f->type == FLAG_BOOL && strlen(f->name) == 1)
            fputc('\t', out);
        else
            fprintf(out, "%s%s\n    \t", f->type == FLAG_BOOL ? "" : " ",
                    flag_argument(f->type));
        fputs(f->help, out);
        if (shows_initial(f))
            fprintf(out, f->type == FLAG_STRING ? " (default \"%s\")" : " (default %s)",
                    f->initial);
        fputc('\n', out);
    }
}

void bench_options_man(FILE *out)
{
    man_begin(out, "rqbench", RQ_VERSION, "simple load testing utility for rqlite");
    man_section(out, "SYNOPSIS");
    man_text(out, "rqbench [arguments] <SQL statement>");
    man_section(out, "DESCRIPTION");
    man_text(
        out,
        "Sends the statement to a node again and again and prints how long that took. "
        "With one connection requests are sent strictly one after another, and the "
        "total is the sum of their times; with more connections it is the time that "
        "passed. The first request that fails ends the run with exit status 1.");
    man_section(out, "OPTIONS");
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        char term[16], text[160];
        if (!FLAGS[i].help) continue;
        snprintf(term, sizeof(term), "-%s", FLAGS[i].name);
        snprintf(text, sizeof(text), shows_initial(&FLAGS[i]) ? "%s (default %s)" : "%s",
                 FLAGS[i].help, FLAGS[i].initial);
        man_item(out, term, flag_argument(FLAGS[i].type), text);
    }
    man_section(out, "EXAMPLE");
    man_example(out, "rqbench -c 64 -d 10s -l \"INSERT INTO foo(name) VALUES('fiona')\"");
    man_section(out, "SEE ALSO");
    man_text(out, "rqlite(1), rqlited(8)");
}
