/* SPDX-License-Identifier: MIT */
#include "cli/shell/sqltext.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

void sqltext_init(struct sqltext *s)
{
    memset(s, 0, sizeof(*s));
}

/* Words separated by blanks. */
static bool is_one_of(const char *word, size_t len, const char *list)
{
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, " ");
        if (n == len && strncasecmp(p, word, len) == 0) return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static const char STARTERS[] =
    "ALTER ANALYZE ATTACH BEGIN COMMIT CREATE DELETE DETACH DROP END EXPLAIN "
    "INSERT PRAGMA REINDEX RELEASE REPLACE ROLLBACK SAVEPOINT SELECT UPDATE "
    "VACUUM VALUES WITH";
/* After these another word must come, even one that could begin a statement. */
static const char CONNECTORS[] =
    "ALL AND AS DO EXCEPT EXPLAIN FROM IN INTERSECT INTO IS NOT ON OR PLAN "
    "SET UNION WHERE";

static void take_word(struct sqltext *s, const char *word, size_t len)
{
    s->words++;
    s->needs_next = is_one_of(word, len, CONNECTORS);

    if (s->trigger) {
        s->trigger_end = s->after_semicolon && is_one_of(word, len, "END");
        return;
    }
    if (s->words == 1 && is_one_of(word, len, "EXPLAIN QUERY PLAN")) s->words = 0;
    if (s->words == 1) {
        s->create = is_one_of(word, len, "CREATE");
        s->needs_body = is_one_of(word, len, "INSERT REPLACE WITH ALTER");
    } else if (s->create && s->words <= 3 && is_one_of(word, len, "TRIGGER")) {
        s->trigger = true;
        s->cases = 0;
    } else if (s->depth == 0 &&
               is_one_of(word, len, "SELECT VALUES UPDATE DELETE ADD DROP RENAME")) {
        s->needs_body = false;
    } else if (s->depth == 0 && is_one_of(word, len, "INSERT")) {
        s->needs_body = true; /* WITH ... INSERT */
    }
    if (is_one_of(word, len, "CASE")) s->cases++;
    if (is_one_of(word, len, "END") && s->cases > 0) s->cases--;
}

static void take_semicolon(struct sqltext *s)
{
    if (s->trigger && !s->trigger_end) {
        s->after_semicolon = true;
        s->needs_next = true;
    } else {
        sqltext_init(s);
        s->end = SQLTEXT_DONE;
    }
}

static void take_operator(struct sqltext *s, char c)
{
    if (c == '(') s->depth++;
    if (c == ')' && s->depth > 0) s->depth--;
    s->needs_next = strchr(",=<>+-/%|&~.(", c) != NULL;
    s->words += s->words == 0; /* not at the start any more */
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* Inside a string, name or comment: where it ends, or len. */
static size_t skip_inside(struct sqltext *s, const char *line, size_t i, size_t len)
{
    for (; i < len; i++) {
        if (line[i] != s->inside) continue;
        if (s->inside == '*' && (i + 1 == len || line[i + 1] != '/')) continue;
        i += s->inside == '*' ? 2 : 1; /* a doubled quote just opens again */
        s->inside = '\0';
        return i;
    }
    return len;
}

void sqltext_line(struct sqltext *s, const char *line, size_t len)
{
    size_t i = 0;

    if (s->inside) i = skip_inside(s, line, 0, len);
    while (i < len) {
        char c = line[i];
        size_t start = i;

        if (isspace((unsigned char)c)) {
            i++;
            continue;
        }
        if (c == '-' && i + 1 < len && line[i + 1] == '-') {
            const char *nl = memchr(line + i, '\n', len - i);
            i = nl ? (size_t)(nl - line) : len;
            continue;
        }
        if (c == '/' && i + 1 < len && line[i + 1] == '*') {
            s->inside = '*';
            i = skip_inside(s, line, i + 2, len);
            continue;
        }
        if (c == ';') {
            take_semicolon(s);
            i++;
            continue;
        }
        s->end = SQLTEXT_MAYBE;
        if (c == '\'' || c == '"' || c == '`' || c == '[') {
            s->inside = c == '[' ? ']' : c;
            s->needs_next = false;
            s->words += s->words == 0;
            i = skip_inside(s, line, i + 1, len);
        } else if (is_word(c)) {
            while (i < len && is_word(line[i])) i++;
            take_word(s, line + start, i - start);
        } else {
            take_operator(s, c);
            i++;
        }
        s->after_semicolon = false;
    }
}

enum sqltext_end sqltext_state(const struct sqltext *s)
{
    if (s->inside) return SQLTEXT_OPEN;
    if (s->end != SQLTEXT_MAYBE) return s->end;
    if (s->depth > 0 || s->cases > 0 || s->needs_body || s->needs_next)
        return SQLTEXT_OPEN;
    if (s->trigger && !s->trigger_end) return SQLTEXT_OPEN;
    return SQLTEXT_MAYBE;
}

bool sqltext_starts(const char *line, size_t len)
{
    size_t i = 0, n = 0;

    while (i < len && isspace((unsigned char)line[i])) i++;
    while (i + n < len && is_word(line[i + n])) n++;
    return n > 0 && is_one_of(line + i, n, STARTERS);
}

bool sqltext_ignorable(const char *line, size_t len)
{
    size_t i = 0;

    while (i < len && isspace((unsigned char)line[i])) i++;
    return i == len || (len - i >= 2 && line[i] == '-' && line[i + 1] == '-');
}
