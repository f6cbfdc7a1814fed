/* SPDX-License-Identifier: MIT */
#include "cli/shell/commands.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/man.h"
#include "cli/shell/session.h"

/* --- settings
 * --------------------------------------------------------------------------------- */

static void toggle(struct session *s, const char *arg, bool *setting)
{
    if (*arg == '\0')
        puts(*setting ? "on" : "off");
    else if (strcasecmp(arg, "on") == 0 || strcasecmp(arg, "off") == 0)
        *setting = strcasecmp(arg, "on") == 0;
    else
        session_fail(s, "invalid option '%s'. Use 'on' or 'off' (default)", arg);
}

static void command_blobarray(struct session *s, const char *arg)
{
    toggle(s, arg, &s->blob_array);
}

static void command_changes(struct session *s, const char *arg)
{
    toggle(s, arg, &s->changes);
}

static void command_forcewrites(struct session *s, const char *arg)
{
    toggle(s, arg, &s->force_writes);
}

static void command_timer(struct session *s, const char *arg)
{
    toggle(s, arg, &s->timer);
}

static void command_consistency(struct session *s, const char *arg)
{
    if (*arg == '\0')
        puts(consistency_name(s->consistency));
    else if (!consistency_find(&s->consistency, arg))
        session_fail(
            s,
            "invalid consistency '%s'. Use 'none', 'weak', 'linearizable', or 'strong'",
            arg);
}

static void command_mode(struct session *s, const char *arg)
{
    if (*arg == '\0')
        puts(render_mode_name(s->mode));
    else if (!render_mode_find(&s->mode, arg))
        session_fail(s, "invalid mode '%s'. Use 'column', 'csv', 'json', or 'line'", arg);
}

static void command_show(struct session *s, const char *arg)
{
    (void)arg;
    printf("  blobarray: %s\n", s->blob_array ? "on" : "off");
    printf("  changes: %s\n", s->changes ? "on" : "off");
    printf("  consistency: %s\n", consistency_name(s->consistency));
    printf("  forcewrites: %s\n", s->force_writes ? "on" : "off");
    printf("  mode: %s\n", render_mode_name(s->mode));
    printf("  output: %s\n", s->output_name ? s->output_name : "stdout");
    printf("  timer: %s\n", s->timer ? "on" : "off");
}

/* --- the schema
 * ------------------------------------------------------------------------------- */

static void command_indexes(struct session *s, const char *arg)
{
    (void)arg;
    session_query(s, "SELECT sql FROM sqlite_master WHERE type=\"index\"");
}

static void command_schema(struct session *s, const char *arg)
{
    (void)arg;
    session_query(
        s, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid ASC");
}

static void command_tables(struct session *s, const char *arg)
{
    (void)arg;
    session_query(
        s, "SELECT name FROM sqlite_master WHERE type=\"table\" ORDER BY name ASC");
}

/* --- the table
 * -------------------------------------------------------------------------------- */

static void command_help(struct session *s, const char *arg);

/* Sorted by name. */
static const struct command {
    const char *name;
    const char *arg; /* its syntax; "" = none */
    const char *help;
    void (*run)(struct session *s,
                const char *arg); /* NULL: the session ends before it gets here */
} COMMANDS[] = {
    {".backup", "FILE", "Write database backup to FILE", command_backup},
    {".blobarray", "[on|off]", "Show setting, or set BLOB data display as byte arrays",
     command_blobarray},
    {".boot", "FILE", "Boot the node using a SQLite file read from FILE", command_boot},
    {".changes", "[on|off]",
     "Show setting, or set display of last insert ID after writes", command_changes},
    {".consistency", "[none|weak|linearizable|strong]",
     "Show or set read consistency level", command_consistency},
    {".dump", "FILE [TABLE,TABLE...]",
     "Write database, or only the tables named, as SQL text to FILE", command_dump},
    {".exit", "", "Exit this program", NULL},
    {".expvar", "", "Show counters of the node", command_expvar},
    {".extensions", "", "Show loaded SQLite extensions", command_extensions},
    {".forcewrites", "[on|off]",
     "Show setting, or set sending of all statements as writes", command_forcewrites},
    {".help", "", "Show this message", command_help},
    {".indexes", "", "Show the statements that made the indexes", command_indexes},
    {".leader", "", "Show the leader of the cluster", command_leader},
    {".mode", "[column|csv|json|line]", "Show or set output mode of query results",
     command_mode},
    {".nodes", "[all]", "Show voting nodes of the cluster, or all nodes", command_nodes},
    {".output", "FILE", "Write results to FILE; without FILE, to the screen again",
     command_output},
    {".quit", "", "Exit this program", NULL},
    {".read", "FILE", "Run the SQL statements in FILE", command_read},
    {".ready", "", "Show whether the node is ready", command_ready},
    {".reap", "", "Merge old snapshots of the node", command_reap},
    {".remove", "NODEID", "Remove node NODEID from the cluster", command_remove},
    {".restore", "FILE", "Load FILE, SQL text or a SQLite database, into the cluster",
     command_restore},
    {".schema", "", "Show the statements that made tables, indexes, views and triggers",
     command_schema},
    {".show", "", "Show the settings of this shell", command_show},
    {".snapshot", "[TRAILINGLOGS]",
     "Take a snapshot, keeping TRAILINGLOGS entries of the log", command_snapshot},
    {".status", "", "Show status of the node", command_status},
    {".stepdown", "[NODEID]", "Make the leader step down, in favour of NODEID if given",
     command_stepdown},
    {".sysdump", "FILE", "Write diagnostics of all nodes to FILE", command_sysdump},
    {".tables", "", "Show names of tables", command_tables},
    {".timer", "[on|off]", "Show setting, or set display of statement times",
     command_timer},
};
enum { COMMAND_COUNT = sizeof(COMMANDS) / sizeof(COMMANDS[0]), SYNTAX_COLUMNS = 46 };

static void command_help(struct session *s, const char *arg)
{
    (void)s;
    (void)arg;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const struct command *c = &COMMANDS[i];
        int n = printf("%s%s%s", c->name, *c->arg ? " " : "", c->arg);
        printf("%*s%s\n", n < SYNTAX_COLUMNS ? SYNTAX_COLUMNS - n : 1, "", c->help);
    }
}

bool commands_run(struct session *s, const char *line)
{
    size_t len = strcspn(line, " \t");
    const char *arg = line + len + strspn(line + len, " \t");

    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const struct command *c = &COMMANDS[i];
        if (!c->run || strlen(c->name) != len || strncasecmp(c->name, line, len) != 0)
            continue;
        c->run(s, arg);
        return true;
    }
    return false;
}

const char *const *commands_words(void)
{
    static const char *words[COMMAND_COUNT + 1]; /* filled the same each time */

    for (size_t i = 0; i < COMMAND_COUNT; i++) words[i] = COMMANDS[i].name;
    return words;
}

void commands_man(FILE *out)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        man_item(out, COMMANDS[i].name, COMMANDS[i].arg, COMMANDS[i].help);
}
