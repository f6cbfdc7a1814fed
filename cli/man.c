/* SPDX-License-Identifier: MIT */
#include "cli/man.h"

#include <ctype.h>

/* What roff would take for its own: backslashes, dashes (which would become hyphens that
 * nobody can paste) and a dot or quote at the start of a line. */
static void put_escaped(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'') fputs("\\&", out);
    for (; *text; text++) {
        switch (*text) {
        case '\\': fputs("\\e", out); break;
        case '-': fputs("\\-", out); break;
        default: fputc(*text, out);
        }
    }
}

void man_begin(FILE *out, const char *name, const char *version, const char *purpose)
{
    fputs(".TH ", out);
    for (const char *p = name; *p; p++) fputc(toupper((unsigned char)*p), out);
    fprintf(out, " 1 \"\" \"%s %s\" \"User Commands\"\n", name, version);
    man_section(out, "NAME");
    put_escaped(out, name);
    fputs(" \\- ", out);
    put_escaped(out, purpose);
    fputc('\n', out);
}

void man_section(FILE *out, const char *title)
{
    fprintf(out, ".SH %s\n", title);
}

void man_item(FILE *out, const char *term, const char *arg, const char *text)
{
    fputs(".TP\n\\fB", out);
    put_escaped(out, term);
    fputs("\\fR", out);
    if (arg && *arg) {
        fputs(" \\fI", out);
        put_escaped(out, arg);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    put_escaped(out, text);
    fputc('\n', out);
}

void man_text(FILE *out, const char *text)
{
    fputs(".PP\n", out);
    put_escaped(out, text);
    fputc('\n', out);
}

void man_example(FILE *out, const char *line)
{
    fputs(".PP\n.nf\n.RS\n", out);
    put_escaped(out, line);
    fputs("\n.RE\n.fi\n", out);
}
