/* SPDX-License-Identifier: MIT */
#include "core/server/flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"

/* --- values ----------------------------------------------------------------------- */

enum reading { READ_OK, READ_SYNTAX, READ_RANGE };

static bool read_bool(const char *s, bool *out)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcmp(s, yes[i]) == 0) return *out = true, true;
        if (strcmp(s, no[i]) == 0) return *out = false, true;
    }
    return false;
}

/* The base that a prefix of *s names, and *s behind it; "0x", "0o", "0b" or a leading 0.
 */
static unsigned read_base(const char **s)
{
    const char *p = *s;
    unsigned base;

    if (p[0] != '0' || p[1] == '\0') return 10;
    switch (p[1]) {
    case 'x':
    case 'X': base = 16; break;
    case 'o':
    case 'O': base = 8; break;
    case 'b':
    case 'B': base = 2; break;
    default: *s = p + 1; return 8;
    }
    *s = p + 2;
    return base;
}

static unsigned digit_of(char c)
{
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') return (unsigned)(c - 'A') + 10;
    return 99;
}

/* No sign.  A '_' may stand between digits, or between prefix and digits. */
static enum reading read_u64(const char *s, uint64_t *out)
{
    const char *begin = s;
    unsigned base = read_base(&s);
    bool after_digit = s != begin, overflow = false;
    uint64_t v = 0;

    if (*s == '\0') return READ_SYNTAX;
    for (; *s; s++) {
        unsigned d = digit_of(*s);

        if (*s == '_') {
            if (!after_digit) return READ_SYNTAX;
            after_digit = false;
            continue;
        }
        if (d >= base) return READ_SYNTAX;
        after_digit = true;
        if (v > (UINT64_MAX - d) / base) overflow = true;
        v = v * base + d;
    }
    if (!after_digit) return READ_SYNTAX;
    *out = v;
    return overflow ? READ_RANGE : READ_OK;
}

static enum reading read_i64(const char *s, int64_t *out)
{
    bool negative = *s == '-';
    uint64_t v = 0;
    enum reading r = read_u64(s + (*s == '-' || *s == '+'), &v);

    if (r != READ_OK) return r;
    if (v > (uint64_t)INT64_MAX + negative) return READ_RANGE;
    *out = negative ? (int64_t)-v : (int64_t)v;
    return READ_OK;
}

static void *field(const struct flag *f, const void *target)
{
    return (char *)(uintptr_t)target + f->offset;
}

static enum reading set_value(const struct flag *f, void *target, const char *value)
{
    void *at = field(f, target);
    bool ok = true;

    switch (f->type) {
    case FLAG_BOOL: ok = read_bool(value, at); break;
    case FLAG_STRING: *(const char **)at = value; break;
    case FLAG_INT: return read_i64(value, at);
    case FLAG_UINT: return read_u64(value, at);
    case FLAG_DURATION: ok = text_parse_duration(value, strlen(value), at); break;
    case FLAG_HEADING: break;
    }
    return ok ? READ_OK : READ_SYNTAX;
}

static void set_preset(const struct flag *f, void *target)
{
    static const char *const nothing[] = {
        [FLAG_BOOL] = "false", [FLAG_STRING] = "",    [FLAG_INT] = "0",
        [FLAG_UINT] = "0",     [FLAG_DURATION] = "0",
    };

    if (f->type == FLAG_HEADING) return;
    CHECK(set_value(f, target, *f->preset ? f->preset : nothing[f->type]) == READ_OK);
}

void flags_preset(struct flag_table t, void *target)
{
    for (size_t i = 0; i < t.n; i++) set_preset(&t.rows[i], target);
}

/* Room for one value of any type. */
union value {
    bool b;
    const char *s;
    int64_t i;
    uint64_t u;
};

static bool equal(const struct flag *f, const void *a, const void *b)
{
    switch (f->type) {
    case FLAG_BOOL: return *(const bool *)a == *(const bool *)b;
    case FLAG_STRING:
        return strcmp(*(const char *const *)a, *(const char *const *)b) == 0;
    case FLAG_INT:
    case FLAG_DURATION: return *(const int64_t *)a == *(const int64_t *)b;
    case FLAG_UINT: return *(const uint64_t *)a == *(const uint64_t *)b;
    case FLAG_HEADING: break;
    }
    return true;
}

bool flag_is_idle(const struct flag *f, const void *target)
{
    struct flag alone = *f;
    union value v;

    alone.offset = 0;
    set_preset(&alone, &v);
    if (equal(f, field(f, target), &v)) return true;
    alone.preset = "";
    set_preset(&alone, &v);
    return equal(f, field(f, target), &v);
}

bool flags_next_item(const char **list, const char **item, size_t *len)
{
    static const char blanks[] = " \t\n\v\f\r";

    if (!**list) return false;
    *item = *list + strspn(*list, blanks);
    *len = strcspn(*item, ",");
    *list = *item + *len + ((*item)[*len] == ',');
    while (*len > 0 && strchr(blanks, (*item)[*len - 1])) --*len;
    return true;
}

/* --- the grammar ------------------------------------------------------------------ */

static const struct flag *find(struct flag_table t, const char *name, size_t len)
{
    for (size_t i = 0; i < t.n; i++) {
        const struct flag *f = &t.rows[i];

        if (f->type != FLAG_HEADING && strncmp(f->name, name, len) == 0 &&
            f->name[len] == '\0')
            return f;
    }
    return NULL;
}

/* As the reference's language quotes text in messages. */
static void append_quoted(struct buf *out, const char *s)
{
    static const char controls[] = "\a\b\f\n\r\t\v", letters[] = "abfnrtv";

    buf_append_u8(out, '"');
    for (; *s; s++) {
        const char *c = strchr(controls, *s);

        if (c)
            buf_printf(out, "\\%c", letters[c - controls]);
        else if (*s == '"' || *s == '\\')
            buf_printf(out, "\\%c", *s);
        else if ((unsigned char)*s < ' ' || *s == 0x7f)
            buf_printf(out, "\\x%02x", (unsigned char)*s);
        else
            buf_append(out, s, 1);
    }
    buf_append_u8(out, '"');
}

static enum flags_end refuse_value(struct buf *text, const struct flag *f,
                                   const char *value, enum reading why)
{
    buf_append_str(text,
                   f->type == FLAG_BOOL ? "invalid boolean value " : "invalid value ");
    append_quoted(text, value);
    buf_append_str(text, f->type == FLAG_BOOL ? " for -" : " for flag -");
    buf_append_str(text, f->name);
    buf_append_str(text, why == READ_RANGE ? ": value out of range" : ": parse error");
    return FLAGS_WRONG;
}

/* One flag: argv[*i], and the word after it where that is its value. */
static enum flags_end parse_flag(struct flag_table t, void *target, bool *given, int argc,
                                 const char *const *argv, int *i, struct buf *text)
{
    const char *word = argv[*i], *name = word + (word[1] == '-' ? 2 : 1);
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    const struct flag *f;
    enum reading r;

    if (len == 0 || *name == '-') {
        buf_printf(text, "bad flag syntax: %s", word);
        return FLAGS_WRONG;
    }
    f = find(t, name, len);
    if (!f) {
        if ((len == 1 && *name == 'h') || (len == 4 && memcmp(name, "help", 4) == 0))
            return FLAGS_HELP;
        buf_printf(text, "flag provided but not defined: -%.*s", (int)len, name);
        return FLAGS_WRONG;
    }
    if (!value && f->type == FLAG_BOOL) value = "true";
    if (!value && *i + 1 < argc) value = argv[++*i];
    if (!value) {
        buf_printf(text, "flag needs an argument: -%s", f->name);
        return FLAGS_WRONG;
    }
    r = set_value(f, target, value);
    if (r != READ_OK) return refuse_value(text, f, value, r);
    given[f - t.rows] = true;
    return FLAGS_OK;
}

enum flags_end flags_parse(struct flag_table t, void *target, bool *given, int argc,
                           const char *const *argv, const char **rest, size_t *n_rest,
                           struct buf *text)
{
    bool flags_over = false;

    *n_rest = 0;
    for (int i = 1; i < argc; i++) {
        enum flags_end end;

        if (flags_over || argv[i][0] != '-' || argv[i][1] == '\0') {
            rest[(*n_rest)++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            flags_over = true;
            continue;
        }
        end = parse_flag(t, target, given, argc, argv, &i, text);
        if (end != FLAGS_OK) return end;
    }
    return FLAGS_OK;
}

/* --- texts from the table --------------------------------------------------------- */

static const char *type_word(enum flag_type type)
{
    static const char *const words[] = {
        [FLAG_HEADING] = "", [FLAG_BOOL] = "",     [FLAG_STRING] = "string",
        [FLAG_INT] = "int",  [FLAG_UINT] = "uint", [FLAG_DURATION] = "duration",
    };

    return words[type];
}

/* The preset as the reference shows it: "localhost:4001" in quotes, 2m0s, 1024; nothing
 * for what is empty.  Returns its length. */
static size_t format_preset(const struct flag *f, char *out, size_t cap)
{
    struct flag alone = *f;
    char duration[TEXT_DURATION_MAX];
    union value v;
    int n;

    out[0] = '\0';
    if (!*f->preset) return 0;
    if (f->type == FLAG_STRING) {
        n = snprintf(out, cap, "\"%s\"", f->preset);
    } else if (f->type == FLAG_DURATION) {
        alone.offset = 0;
        set_preset(&alone, &v);
        n = snprintf(out, cap, "%.*s", (int)text_duration(duration, v.i), duration);
    } else {
        n = snprintf(out, cap, "%s", f->preset);
    }
    CHECK(n > 0 && (size_t)n < cap);
    return (size_t)n;
}

static const char *state_note(const struct flag *f)
{
    return f->state == FLAG_LATER ? " (not available yet)" : "";
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct flag *const *)a)->name,
                  (*(const struct flag *const *)b)->name);
}

enum { PRESET_MAX = 80 };

void flags_usage(struct flag_table t, struct buf *out)
{
    const struct flag **sorted = malloc(t.n * sizeof *sorted);
    char preset[PRESET_MAX];
    size_t n = 0;

    if (!sorted) return;
    for (size_t i = 0; i < t.n; i++)
        if (t.rows[i].type != FLAG_HEADING) sorted[n++] = &t.rows[i];
    qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 0; i < n; i++) {
        const struct flag *f = sorted[i];
        const char *word = type_word(f->type);

        buf_printf(out, "  -%s%s%s\n    \t%s%s", f->name, *word ? " " : "", word, f->help,
                   state_note(f));
        if (format_preset(f, preset, sizeof preset))
            buf_printf(out, " (default %s)", preset);
        buf_append_u8(out, '\n');
    }
    free(sorted);
}

void flags_man_text(struct buf *out, const char *text)
{
    bool line_start = true;

    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\'')) buf_append_str(out, "\\&");
        if (*text == '-')
            buf_append_str(out, "\\-");
        else if (*text == '\\')
            buf_append_str(out, "\\e");
        else
            buf_append(out, text, 1);
        line_start = *text == '\n';
    }
}

void flags_man(struct flag_table t, struct buf *out)
{
    char preset[PRESET_MAX];

    for (size_t i = 0; i < t.n; i++) {
        const struct flag *f = &t.rows[i];
        const char *word = type_word(f->type);

        if (f->type == FLAG_HEADING) {
            buf_printf(out, ".SS \"%s\"\n", f->help);
            continue;
        }
        buf_append_str(out, ".TP\n.BR \\-");
        flags_man_text(out, f->name);
        if (*word) buf_printf(out, " \" \" \\fI%s\\fR", word);
        buf_append_u8(out, '\n');
        flags_man_text(out, f->help);
        buf_append_str(out, state_note(f));
        if (format_preset(f, preset, sizeof preset)) {
            buf_append_str(out, " (default ");
            flags_man_text(out, preset);
            buf_append_u8(out, ')');
        }
        buf_append_u8(out, '\n');
    }
}

static void append_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|') buf_append_u8(out, '\\');
        buf_append(out, text, 1);
    }
}

void flags_markdown(struct flag_table t, struct buf *out)
{
    char preset[PRESET_MAX];

    for (size_t i = 0; i < t.n; i++) {
        const struct flag *f = &t.rows[i];
        const char *word = type_word(f->type);

        if (f->type == FLAG_HEADING) {
            buf_printf(out,
                       "%s**%s**\n\n| flag | value | default | meaning |\n| --- | --- | "
                       "--- | --- |\n",
                       i > 0 ? "\n" : "", f->help);
            continue;
        }
        buf_printf(out, "| `-%s` | %s | ", f->name, *word ? word : "bool");
        if (format_preset(f, preset, sizeof preset)) buf_printf(out, "`%s`", preset);
        buf_append_str(out, " | ");
        append_cell(out, f->help);
        buf_printf(out, "%s |\n", state_note(f));
    }
}
