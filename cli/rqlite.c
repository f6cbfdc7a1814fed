/* SPDX-License-Identifier: MIT */
/*
 * rqlite: the interactive shell.
 */
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/man.h"
#include "cli/shell/cancel.h"
#include "cli/shell/client.h"
#include "cli/shell/commands.h"
#include "cli/shell/line.h"
#include "cli/shell/options.h"
#include "cli/shell/session.h"
#include "version.h"

static void print_man(void)
{
    man_begin(stdout, "rqlite", RQ_VERSION, "command-line shell for rqlite");
    man_section(stdout, "SYNOPSIS");
    man_text(stdout, "rqlite [options]");
    man_section(stdout, "DESCRIPTION");
    man_text(
        stdout,
        "Connects to a node of a cluster and runs the statements and commands typed, "
        "or read from standard input, one per line. The exit status is 1 when the "
        "options are wrong or no node could be reached, otherwise 0.");
    man_section(stdout, "OPTIONS");
    options_man(stdout);
    man_section(stdout, "COMMANDS");
    man_text(stdout, "Every line that does not begin with one of these is sent as SQL.");
    commands_man(stdout);
    man_section(stdout, "ENVIRONMENT");
    man_item(
        stdout, "RQLITE_HOST", NULL,
        "Node to connect to, [http:|https:]//host[:port], unless -H, -p or -s is given.");
    man_item(stdout, "RQLITE_HISTFILESIZE", NULL,
             "Commands kept in ~/.rqlite_history (default 100); 0 removes the file.");
    man_item(stdout, "HTTP_PROXY, HTTPS_PROXY, NO_PROXY", NULL,
             "Proxy to use. Addresses of this machine are never asked through one.");
    man_item(stdout, "NO_COLOR", NULL,
             "If set and not empty, nothing is printed in colour.");
    man_section(stdout, "SEE ALSO");
    man_text(stdout, "rqbench(1), rqlited(8)");
}

/* -h, -v, --man: true if one of them was all there is to do. */
static bool print_and_done(const struct options *o)
{
    if (o->help)
        options_help(stdout);
    else if (o->version)
        printf("Version %s, commit %s, built on unknown\n", RQ_VERSION, RQ_COMMIT);
    else if (o->man)
        print_man();
    return o->help || o->version || o->man;
}

/* Name and password; a name alone gets its password from the terminal. */
static enum err credentials(char **out, const struct options *o, struct why *why)
{
    char password[256] = "";
    int n;

    if (*o->user && !strchr(o->user, ':') &&
        !line_password("Password: ", password, sizeof(password)))
        password[0] = '\0';
    if (cancel_wished()) return why_set(why, ERR_CANCELLED, "canceled");
    n = asprintf(out, "%s%s%s", o->user, *o->user && !strchr(o->user, ':') ? ":" : "",
                 password);
    explicit_bzero(password, sizeof(password));
    if (n < 0) *out = NULL;
    return n < 0 ? why_set(why, ERR_NOMEM, "out of memory") : ERR_OK;
}

static enum err connect_as(struct client **out, const struct options *o, struct why *why)
{
    struct client_config config = {.scheme = o->scheme,
                                   .host = o->host,
                                   .port = (uint16_t)o->port,
                                   .alternatives = o->alternatives,
                                   .prefix = o->prefix,
                                   .ca_cert = o->ca_cert,
                                   .client_cert = o->client_cert,
                                   .client_key = o->client_key,
                                   .insecure = o->insecure,
                                   .timeout_ms =
                                       (uint64_t)(o->http_timeout_ns + 999999) / 1000000};
    char *user = NULL;
    enum err e = credentials(&user, o, why);

    config.credentials = user;
    if (!e) e = client_open(out, &config, why);
    free(user);
    return e;
}

/* Cells are aligned by what a terminal shows, so the text must be understood even in the
 * C locale. */
static void set_locale(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

int main(int argc, char **argv)
{
    struct options o;
    struct client *client = NULL;
    struct session session;
    enum session_end how = SESSION_ENDED;
    struct why why;
    enum err e = options_parse(&o, argc, argv, getenv("RQLITE_HOST"), &why);

    if (e) {
        fprintf(stderr, "ERR! %s\n", why.text);
        return 1;
    }
    if (print_and_done(&o)) return 0;

    set_locale();
    signal(SIGPIPE, SIG_IGN);
    session_init(&session, NULL);
    session.quiet = o.quiet;
    e = cancel_init(&why);
    if (!e) e = connect_as(&client, &o, &why);
    session.client = client;
    if (!e) e = session_connect(&session, &why);
    if (!e) e = session_run(&session, &how, &why);
    if (e) session_fail(&session, "%s", why.text);
    session_fini(&session);
    client_close(client);
    return e ? 1 : how == SESSION_INTERRUPTED ? 128 + SIGINT : 0;
}
