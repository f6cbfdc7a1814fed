/* SPDX-License-Identifier: MIT */
/*
 * text: what can be told from SQL text alone, without SQLite.  Pure; any thread.
 */
#include <string.h>

#include "core/db/internal.h"

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool is_word(char c)
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && is_space(*p)) p++;
    return p;
}

/* Past white space, comments and lone semicolons. */
static const char *skip_noise(const char *p, const char *end)
{
    for (;;) {
        p = skip_space(p, end);
        if (p < end && *p == ';') {
            p++;
        } else if (end - p >= 2 && p[0] == '-' && p[1] == '-') {
            const char *nl = memchr(p, '\n', (size_t)(end - p));
            p = nl ? nl + 1 : end;
        } else if (end - p >= 2 && p[0] == '/' && p[1] == '*') {
            const char *close = memmem(p + 2, (size_t)(end - p - 2), "*/", 2);
            p = close ? close + 2 : end;
        } else {
            return p;
        }
    }
}

/* Does the word at p equal the lower-case word?  Then *p is behind it. */
static bool take_word(const char **p, const char *end, const char *word)
{
    const char *at = *p;
    for (; *word; at++, word++)
        if (at >= end || lower(*at) != *word) return false;
    if (at < end && is_word(*at)) return false;
    *p = at;
    return true;
}

enum db_word db_text_first_word(const char *sql, size_t len)
{
    static const struct {
        const char *text;
        enum db_word word;
    } words[] = {
        {"select", WORD_SELECT},   {"insert", WORD_INSERT}, {"update", WORD_UPDATE},
        {"delete", WORD_DELETE},   {"with", WORD_WITH},     {"replace", WORD_REPLACE},
        {"values", WORD_VALUES},   {"pragma", WORD_PRAGMA}, {"vacuum", WORD_VACUUM},
        {"explain", WORD_EXPLAIN},
    };
    const char *end = sql + len, *p = skip_noise(sql, end);

    if (p >= end || *p == '\0') return WORD_NONE;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (take_word(&p, end, words[i].text)) return words[i].word;
    return WORD_OTHER;
}

bool db_text_blank(const char *sql, const char *end)
{
    const char *p = skip_space(sql, end);
    return p >= end || *p == '\0';
}

bool db_text_contains(const char *sql, size_t len, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= len; i++) {
        size_t k = 0;
        while (k < n && lower(sql[i + k]) == word[k]) k++;
        if (k == n) return true;
    }
    return false;
}

/* [schema.] before a PRAGMA's name. */
static const char *skip_schema(const char *p, const char *end)
{
    const char *at = p;
    while (at < end && is_word(*at)) at++;
    return at > p && at < end && *at == '.' ? at + 1 : p;
}

static bool then_equals(const char *p, const char *end)
{
    p = skip_space(p, end);
    return p < end && *p == '=';
}

bool db_text_disallowed(const char *sql, size_t len)
{
    const char *end = sql + len, *p = skip_space(sql, end);

    if (!take_word(&p, end, "pragma") || p >= end || !is_space(*p)) return false;
    p = skip_space(p, end);
    if (take_word(&p, end, "wal_autocheckpoint")) return then_equals(p, end);
    p = skip_schema(p, end);
    if (take_word(&p, end, "wal_checkpoint")) return true;
    if (take_word(&p, end, "journal_mode") || take_word(&p, end, "synchronous") ||
        take_word(&p, end, "query_only"))
        return then_equals(p, end);
    return false;
}
