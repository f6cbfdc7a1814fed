/* SPDX-License-Identifier: MIT */
#include "core/server/about.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* One of the comma-separated items of a word. */
static void put_item(struct buf *out, const char *item, size_t len)
{
    const char *host = memmem(item, len, "://", 3);
    const char *at = host ? memrchr(item, '@', len) : NULL;
    const char *colon =
        at ? memchr(host + 3, ':', len - (size_t)(host + 3 - item)) : NULL;

    if (colon && colon < at) {
        buf_append(out, item, (size_t)(colon + 1 - item));
        buf_append_str(out, "***");
        len -= (size_t)(at - item);
        item = at;
    }
    buf_append(out, item, len);
}

static char *shown(const char *word)
{
    struct buf out;
    size_t n;

    buf_init(&out, 0);
    for (;; word += n + 1) {
        n = strcspn(word, ",");
        put_item(&out, word, n);
        if (word[n] == '\0') break;
        buf_append_u8(&out, ',');
    }
    buf_append_u8(&out, '\0');
    if (buf_error(&out)) buf_fini(&out);
    return (char *)buf_take(&out, &n);
}

const char **about_words(const char *const *argv)
{
    const char **words;
    size_t n = 0;

    while (argv[n]) n++;
    words = calloc(n + 1, sizeof *words);
    for (size_t i = 0; words && i < n; i++) {
        words[i] = shown(argv[i]);
        if (words[i]) continue;
        about_words_free(words);
        words = NULL;
    }
    return words;
}

void about_words_free(const char **words)
{
    for (size_t i = 0; words && words[i]; i++) free((char *)(uintptr_t)words[i]);
    free(words);
}

void about_greet(struct logger *logger, const char *const *words)
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
    for (size_t i = 0; words[i]; i++)
        buf_printf(&command, "%s%s", i ? " " : "", words[i]);
    logger_info(logger, "rqlited", "launch command: %.*s", (int)command.len,
                command.data ? (const char *)command.data : "");
    buf_fini(&command);
}
