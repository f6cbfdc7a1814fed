/* SPDX-License-Identifier: MIT */
#include "gateway/params.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/text.h"

_Static_assert(PARAM_COUNT <= 64, "struct params has one bit for each");

static const char *const names[PARAM_COUNT] = {
#define PARAM(name) #name,
#include "gateway/params_table.h"
#undef PARAM
};

static enum param find(const char *name, size_t n)
{
    int low = 0, high = PARAM_COUNT - 1;

    while (low <= high) {
        int middle = (low + high) / 2;
        int order = strncmp(names[middle], name, n);

        if (order == 0 && strlen(names[middle]) == n) return (enum param)middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle - 1; /* also where names[middle] only begins with name */
    }
    return PARAM_COUNT;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* "invalid URL escape "%zz"": up to three bytes, what cannot be printed as \xnn. */
static enum err bad_escape(struct why *why, const char *s, size_t n)
{
    char shown[3 * 4 + 1], *to = shown;

    if (n > 3) n = 3;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '"' || c == '\\') *to++ = '\\';
        if (c >= 0x20 && c < 0x7f) {
            *to++ = (char)c;
        } else {
            static const char hex[] = "0123456789abcdef";
            *to++ = '\\';
            *to++ = 'x';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
        }
    }
    *to = '\0';
    return why_set(why, ERR_INVALID, "invalid URL escape \"%s\"", shown);
}

/* Decode n bytes into the arena. */
static enum err decode(struct param_text *out, const char *s, size_t n, struct arena *a,
                       struct why *why)
{
    char *to = arena_alloc(a, n + 1);

    *out = (struct param_text){to, 0};
    if (!to) return why_set(why, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '%') {
            int high = i + 2 < n ? hex_digit(s[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(s[i + 2]) : -1;

            if (low < 0) return bad_escape(why, s + i, n - i);
            *to++ = (char)(high << 4 | low);
            i += 2;
        } else {
            *to++ = s[i] == '+' ? ' ' : s[i];
        }
    }
    *to = '\0';
    out->n = (size_t)(to - out->s);
    return ERR_OK;
}

/* One "name=value"; the first of a name counts. */
static enum err take(struct params *p, const char *s, size_t n, struct arena *a,
                     struct why *why)
{
    const char *equals = memchr(s, '=', n);
    size_t name_len = equals ? (size_t)(equals - s) : n;
    size_t value_at = equals ? name_len + 1 : n;
    struct param_text name = {s, name_len}, value;
    enum param which;
    enum err e;

    if (n == 0) return ERR_OK;
    if (memchr(s, '%', name_len) || memchr(s, '+', name_len)) {
        e = decode(&name, s, name_len, a, why);
        if (e) return e;
    }
    e = decode(&value, s + value_at, n - value_at, a, why);
    if (e) return e;
    which = find(name.s, name.n);
    if (which == PARAM_COUNT || params_has(p, which)) return ERR_OK;
    p->present |= (uint64_t)1 << which;
    p->text[which] = value;
    return ERR_OK;
}

static enum err duration(const struct params *p, enum param which, int64_t *ns,
                         struct why *why)
{
    if (!params_has(p, which)) return ERR_OK;
    if (text_parse_duration(p->text[which].s, p->text[which].n, ns)) return ERR_OK;
    return why_set(why, ERR_INVALID, "%s is not a valid duration", names[which]);
}

static bool is_integer(struct param_text t)
{
    size_t i = t.n > 0 && (t.s[0] == '-' || t.s[0] == '+') ? 1 : 0;

    if (i == t.n) return false;
    for (; i < t.n; i++)
        if (t.s[i] < '0' || t.s[i] > '9') return false;
    return true;
}

static enum err integer(const struct params *p, enum param which, int64_t *v,
                        struct why *why)
{
    if (!params_has(p, which)) return ERR_OK;
    if (is_integer(p->text[which])) {
        errno = 0;
        *v = strtoll(p->text[which].s, NULL, 10);
        if (errno == 0) return ERR_OK;
    }
    return why_set(why, ERR_INVALID, "%s is not a valid integer", names[which]);
}

static Rqlite__Level level_of(struct param_text t)
{
    static const struct {
        const char *name;
        Rqlite__Level level;
    } levels[] = {
        {"weak", RQLITE__LEVEL__WEAK},
        {"none", RQLITE__LEVEL__NONE},
        {"linearizable", RQLITE__LEVEL__LINEARIZABLE},
        {"strong", RQLITE__LEVEL__STRONG},
        {"auto", RQLITE__LEVEL__AUTO},
    };

    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcasecmp(levels[i].name, t.s) == 0) return levels[i].level;
    return RQLITE__LEVEL__WEAK;
}

enum err params_parse(struct params *p, const char *query, struct arena *a,
                      struct why *why)
{
    enum err e = ERR_OK;
    size_t n;

    p->present = 0;
    p->timeout_ns = p->freshness_ns = p->db_timeout_ns = p->linearizable_timeout_ns = 0;
    p->retries = p->trailing_logs = 0;
    p->level = RQLITE__LEVEL__WEAK;
    if (*query == '\0') return ERR_OK;

    for (const char *s = query; !e; s += n + 1) {
        n = strcspn(s, "&");
        e = take(p, s, n, a, why);
        if (s[n] == '\0') break;
    }
    if (e) return e;
    if (strchr(query, ';'))
        return why_set(why, ERR_INVALID, "invalid semicolon separator in query");
    if (params_has(p, PARAM_freshness_strict) && !params_has(p, PARAM_freshness))
        return why_set(why, ERR_INVALID, "freshness_strict requires freshness");
    e = duration(p, PARAM_timeout, &p->timeout_ns, why);
    if (!e) e = duration(p, PARAM_freshness, &p->freshness_ns, why);
    if (!e) e = duration(p, PARAM_db_timeout, &p->db_timeout_ns, why);
    if (!e) e = duration(p, PARAM_linearizable_timeout, &p->linearizable_timeout_ns, why);
    if (!e) e = integer(p, PARAM_retries, &p->retries, why);
    if (!e) e = integer(p, PARAM_trailing_logs, &p->trailing_logs, why);
    if (!e && params_has(p, PARAM_q) && p->text[PARAM_q].n == 0)
        e = why_set(why, ERR_INVALID, "query parameter not set");
    if (!e) p->level = level_of(params_text(p, PARAM_level));
    return e;
}
