/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <unistd.h>

#include "core/base/logger.h"
#include "core/server/options.h"
#include "core/server/server.h"
#include "core/server/about.h"

static void put(int fd, const void *text, size_t len)
{
    ssize_t n = len > 0 ? write(fd, text, len) : 0;

    (void)n; /* nobody could be told */
}

static void log_fatal(const char *text, const char *format)
{
    struct logger *logger;

    if (logger_new(&logger, STDERR_FILENO, LOGGER_INFO)) return;
    if (strcmp(format, "json") == 0) logger_set_format(logger, LOGGER_JSON);
    logger_error(logger, "rqlited", "%s", text);
    logger_free(logger);
}

/* The command line asked for a text or was refused: say so.  Returns the exit status. */
static int say_instead(struct options_end *end)
{
    int status = end->status;

    put(STDOUT_FILENO, end->out.data, end->out.len);
    put(STDERR_FILENO, end->err.data, end->err.len);
    if (end->version) put(STDERR_FILENO, about_line(), strlen(about_line()));
    if (*end->log_fatal.text) log_fatal(end->log_fatal.text, "text");
    options_end_fini(end);
    return status;
}

int main(int argc, char **argv)
{
    const char *const *args = (const char *const *)argv;
    struct options opt;
    struct options_end end;
    struct server server;
    struct why why = {0};
    enum err e;

    options_end_init(&end);
    if (options_parse(&opt, argc, args, &end)) return say_instead(&end);

    e = server_begin(&server, &opt, args, &why);
    if (!e) e = server_load_certificates(&server, &why);
    if (!e) e = server_take_data_dir(&server, &why);
    if (!e) e = server_listen_peers(&server, &why);
    if (!e) e = server_open_auth(&server, &why);
    if (!e) e = server_listen_http(&server, &why); /* up early: /readyz says "not yet" */
    if (!e) e = server_open_node(&server, &why);
    if (!e) e = server_form_cluster(&server, &why);
    if (!e) e = server_run(&server, &why); /* until SIGTERM */
    if (!e) e = server_leave(&server, &why);
    if (e == ERR_CANCELLED) e = ERR_OK; /* a signal during the start */
    server_close(&server); /* the reverse order; safe on a half-open server */
    if (e) log_fatal(why.text, opt.log_format); /* the last line is what people look at */
    return e ? 1 : 0;
}
