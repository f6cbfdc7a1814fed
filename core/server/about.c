/* SPDX-License-Identifier: MIT */
#include "core/server/about.h"

#include <stdio.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/logger.h"
#include "core/db/db.h"
#include "version.h"

#define TEXT_OF(x) #x
#define NUMBER(x)  TEXT_OF(x)
#ifdef __clang__
#define TOOLCHAIN "clang-" NUMBER(__clang_major__) "." NUMBER(__clang_minor__)
#else
#define TOOLCHAIN "gcc-" NUMBER(__GNUC__) "." NUMBER(__GNUC_MINOR__)
#endif

#if defined __x86_64__
#define ARCHITECTURE "amd64"
#elif defined __aarch64__
#define ARCHITECTURE "arm64"
#elif defined __i386__
#define ARCHITECTURE "386"
#elif defined __arm__
#define ARCHITECTURE "arm"
#elif defined __riscv
#define ARCHITECTURE "riscv64"
#else
#define ARCHITECTURE "unknown"
#endif

static const char logo[] =
    "\n"
    "            _ _ _           _\n"
    "  _ __ __ _| (_) |_ ___  __| |\n"
    " | '__/ _` | | | __/ _ \\/ _` |\n"
    " | | | (_| | | | ||  __/ (_| |   SQLite on several machines,\n"
    " |_|  \\__, |_|_|\\__\\___|\\__,_|   kept the same by Raft\n"
    "         |_|\n\n";

const char *about_version(void)
{
    return RQ_VERSION;
}

const char *about_toolchain(void)
{
    return TOOLCHAIN;
}

const char *about_architecture(void)
{
    return ARCHITECTURE;
}

const char *about_commit(void)
{
    return RQ_COMMIT;
}

const char *about_line(void)
{
    static char line[200];

    snprintf(line, sizeof line,
             "rqlited " RQ_VERSION " linux " ARCHITECTURE " " TOOLCHAIN
             " sqlite%s (commit " RQ_COMMIT ", compiler " ABOUT_COMPILER ")\n",
             db_sqlite_version());
    return line;
}

void about_greet(struct logger *logger, const char *const *argv)
{
    struct buf command;

    /* Nobody may be reading, and a broken pipe must not matter. */
    if (write(STDOUT_FILENO, logo, sizeof logo - 1) < 0)
        logger_debug(logger, "rqlited", "no stdout");
    logger_info(logger, "rqlited",
                "rqlited starting, version " RQ_VERSION ", SQLite %s, commit " RQ_COMMIT
                ", compiler (toolchain) " ABOUT_COMPILER
                ", compiler (command) " ABOUT_COMPILER,
                db_sqlite_version());
    logger_info(logger, "rqlited",
                TOOLCHAIN ", target architecture is " ARCHITECTURE
                          ", operating system target is linux");
    buf_init(&command, 0);
    for (size_t i = 0; argv[i]; i++) buf_printf(&command, "%s%s", i ? " " : "", argv[i]);
    logger_info(logger, "rqlited", "launch command: %.*s", (int)command.len,
                command.data ? (const char *)command.data : "");
    buf_fini(&command);
}
